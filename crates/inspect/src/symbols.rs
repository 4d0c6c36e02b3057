//! Where the runtime's variables are.
//!
//! From the symbol table where the program has one; else from its DWARF (`-s` without `-w` is rare, but external
//! linkers make such programs); else from the places in the runtime's own code that mention them, which a table of
//! the same Go version names (see [`crate::layout`]). A place counts as one vote; a variable without two votes for
//! one address, or with a strong minority for another, stays unknown.

use std::collections::HashMap;

use crate::elf::Elf;
use crate::functions::Functions;
use crate::layout::Signature;
use crate::limits;
use crate::memory::Memory;
use crate::read::{ReadAt, take};

/// Addresses by name.
pub(crate) type Symbols = HashMap<String, u64>;

/// One entry of a symbol table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ElfSymbol {
    /// As the linker wrote it.
    pub(crate) name: String,
    /// Link-time address.
    pub(crate) addr: u64,
    /// Bytes; zero where unknown.
    pub(crate) bytes: u64,
}

const SYMBOL_BYTES: usize = 24;
const STT_OBJECT: u8 = 1;
const STT_NOTYPE: u8 = 0;

/// Data symbols (variables) of a 64-bit ELF file that `keep` wants, in the file's order; none when it has no symbol
/// table, or one that can't be believed.
pub(crate) fn data_symbols<R: ReadAt + ?Sized>(
    reader: &R,
    elf: &Elf,
    keep: impl Fn(&str) -> bool,
) -> Vec<ElfSymbol> {
    read_symbols(reader, elf, keep).unwrap_or_default()
}

fn read_symbols<R: ReadAt + ?Sized>(
    reader: &R,
    elf: &Elf,
    keep: impl Fn(&str) -> bool,
) -> Option<Vec<ElfSymbol>> {
    let (table, names) = (elf.section(".symtab")?, elf.section(".strtab")?);
    let max = limits::SYMBOL_TABLE_BYTES_MAX;
    let table = take(reader, "symbol table", table.offset, table.bytes, max).ok()?;
    let names = take(reader, "symbol names", names.offset, names.bytes, max).ok()?;
    let mut symbols = Vec::new();
    for entry in table.chunks_exact(SYMBOL_BYTES) {
        let kind = entry[4] & 0xf;
        let addr = crate::memory::le64(entry, 8);
        if addr == 0 || (kind != STT_OBJECT && kind != STT_NOTYPE) {
            continue;
        }
        let start = crate::memory::le32(entry, 0) as usize;
        let Some(name) = names.get(start..).and_then(until_nul) else {
            continue;
        };
        if keep(name) {
            symbols.push(ElfSymbol {
                name: name.to_owned(),
                addr,
                bytes: crate::memory::le64(entry, 16),
            });
        }
    }
    Some(symbols)
}

fn until_nul(bytes: &[u8]) -> Option<&str> {
    let end = bytes.iter().position(|&byte| byte == 0)?;
    std::str::from_utf8(&bytes[..end]).ok()
}

/// Reads the places that `signatures` name and lets them vote. Nothing when fewer than six in ten places agree with the
/// outcome: then the table is of another version's code.
pub(crate) fn vote(
    memory: &dyn Memory,
    functions: &Functions,
    signatures: &[Signature],
) -> Option<Symbols> {
    let mut votes: HashMap<&str, HashMap<u64, u32>> = HashMap::new();
    for signature in signatures {
        let Some(addr) = mentioned(memory, functions, signature) else {
            continue;
        };
        let symbol = votes.entry(&signature.symbol).or_default();
        *symbol.entry(addr).or_default() += 1;
    }
    let mut symbols = Symbols::new();
    let mut agreeing = 0;
    for (symbol, votes) in votes {
        let all: u32 = votes.values().sum();
        let best = votes.iter().max_by_key(|&(addr, count)| (*count, *addr));
        if let Some((&addr, &count)) = best
            && count >= 2
            && count * 3 >= all * 2
        {
            symbols.insert(symbol.to_owned(), addr);
            agreeing += count as usize;
        }
    }
    (agreeing * 10 >= signatures.len() * 6).then_some(symbols)
}

fn mentioned(memory: &dyn Memory, functions: &Functions, signature: &Signature) -> Option<u64> {
    let id = functions.by_name(&signature.function)?;
    let place = functions.entry(id).checked_add(signature.offset.into())?;
    if place.checked_add(4)? > functions.end(id) {
        return None;
    }
    let distance = memory.u32(place).ok()? as i32;
    let next = place.wrapping_add(4 + u64::from(signature.tail));
    let addr = next.wrapping_add_signed(distance.into());
    Some(addr.wrapping_sub(signature.add.into()))
}
