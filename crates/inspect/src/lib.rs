//! A Go executable, a live Go process or a core, seen from outside.
//!
//! Today: the executable. [`Executable::read`] answers in a few small reads whether a file is a Go program, and
//! which: version, module, dependencies, build settings, build ids. [`handlers`] tells whether pprof, Prometheus
//! or expvar handlers were linked in. Both work on normal, stripped, position-independent, static and cgo
//! binaries of Go 1.13 and newer (tried on 1.21 to 1.27), through [`ReadAt`], so a file, `/proc/PID/exe` and a
//! test's bytes are the same to them.
//!
//! Everything read is hostile until parsed: sizes and counts have limits ([`limits`]), nothing is loaded whole,
//! and no input makes this crate panic.
//!
//! What it deliberately does not do: no printing, no opening of files but those it is told to open and those of
//! `/proc`, no knowledge of `unswept`'s own types, no big-endian ELF (Go runs on it; the supported machines don't).
#![forbid(unsafe_code)]

mod arch;
mod arenas;
mod buildinfo;
mod check;
#[cfg(test)]
#[path = "../tests/common/mod.rs"]
mod common;
mod core_file;
pub mod dwarf;
mod elf;
mod error;
mod executable;
mod find_module;
pub mod functions;
pub mod fuzz;
pub mod goroutines;
pub mod graph;
mod handlers;
pub mod heap;
mod heap_profile;
pub mod holders;
pub mod layout;
pub mod limits;
mod locations;
mod mapping;
pub mod memory;
mod module;
mod open_descriptors;
mod pclntab;
mod places;
mod plugins;
mod program;
mod read;
pub mod roots;
mod statistics;
pub mod stop;
mod symbols;
pub mod types;

pub use arenas::GoRanges;
pub use buildinfo::{BuildInfo, Dependency};
pub use core_file::{Core, CoreFacts, CoreThread};
pub use elf::Arch;
pub use error::{InspectError, NoHeapProfile};
pub use executable::Executable;
pub use handlers::{Evidence, Handlers, handlers};
pub use heap_profile::{Bucket, HeapProfile, HeapSample, scaled};
pub use locations::{Line, Location, Locations};
pub use mapping::Mapping;
pub use module::Module;
pub use places::Places;
pub use program::{LayoutSource, Program};
pub use read::ReadAt;
pub use statistics::{MemStats, MemStatsReader};
