//! A process's memory outside the Go heap, from the kernel's list of its mappings.
//!
//! Start with [`parse_smaps`] on the text of `/proc/PID/smaps` (or `maps`, which is cheap but has no sizes in
//! memory), class the result with [`MemoryMap::new`], ask it for [`MemoryMap::totals`], and compare two of them
//! with [`growth`]. Each class comes with its [`Basis`]: told by the caller from the runtime's own structures,
//! named by the kernel, or judged by layout, which is a rule of thumb and says so.
//!
//! Reading smaps holds the target's memory map lock while the kernel walks its page tables (about 20 ms per
//! GiB): the caller decides how often. Nothing here opens a file.
//!
//! What it deliberately does not do: no printing, no unwinding, no knowledge of `unswept`'s own types; no telling
//! of the Go runtime's small bookkeeping mappings from C's (see [`Class::AnonOther`]).
#![forbid(unsafe_code)]

mod class;
mod growth;
mod layout;
mod parse;

pub use class::{Basis, Class, ClassTotals, Hints, Kind, MemoryMap, Totals};
pub use growth::{ClassGrowth, Growth, MappingGrowth, growth};
pub use parse::{
    Flags, Limits, Mapping, Mappings, MapsError, Permissions, parse_maps, parse_smaps,
};

/// Feeds arbitrary bytes to the parser and all that follows it. For fuzzers: must return, without panic.
pub fn fuzz_one(bytes: &[u8]) {
    let limits = Limits {
        mappings_max: 4096,
        ..Limits::default()
    };
    let half = bytes.len() / 2;
    let map = |text| {
        let mappings = parse_smaps(text, &limits).ok()?;
        Some(MemoryMap::new(mappings, &Hints::default()))
    };
    if let (Some(before), Some(after)) = (map(&bytes[..half]), map(bytes)) {
        for line in growth(&before, &after).mappings {
            let _ = line.to_string();
        }
    }
}
