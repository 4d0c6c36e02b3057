//! The embedded tables: one for each Go minor version and machine, made by `cargo xtask layouts` from real builds.
//!
//! A table is text: `field`, `size` and `constant` lines (see [`Layout`]), and `signature SYMBOL FUNCTION OFFSET TAIL
//! ADD` lines: in FUNCTION of the runtime, OFFSET bytes from its entry, lie four bytes that hold the distance from
//! the end of their instruction (TAIL bytes behind them) to SYMBOL + ADD. Stripped programs have the same code, so
//! the same places tell where their variables are.

use super::Layout;
use crate::elf::Arch;

/// One place in the code that mentions a variable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Signature {
    /// The variable, as `runtime.mheap_`.
    pub(crate) symbol: String,
    /// The function, as `runtime.gcSweep`.
    pub(crate) function: String,
    /// From the function's entry to the four bytes.
    pub(crate) offset: u32,
    /// From the end of the four bytes to the next instruction.
    pub(crate) tail: u32,
    /// From the variable's start to the address that is mentioned.
    pub(crate) add: u32,
}

/// What one table holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Table {
    pub(crate) layout: Layout,
    pub(crate) signatures: Vec<Signature>,
}

const TABLES: &[(u32, Arch, &str)] = &[
    (
        21,
        Arch::Amd64,
        include_str!("../../tables/go1.21-amd64.txt"),
    ),
    (
        22,
        Arch::Amd64,
        include_str!("../../tables/go1.22-amd64.txt"),
    ),
    (
        23,
        Arch::Amd64,
        include_str!("../../tables/go1.23-amd64.txt"),
    ),
    (
        24,
        Arch::Amd64,
        include_str!("../../tables/go1.24-amd64.txt"),
    ),
    (
        25,
        Arch::Amd64,
        include_str!("../../tables/go1.25-amd64.txt"),
    ),
    (
        26,
        Arch::Amd64,
        include_str!("../../tables/go1.26-amd64.txt"),
    ),
    (
        27,
        Arch::Amd64,
        include_str!("../../tables/go1.27-amd64.txt"),
    ),
];

impl Table {
    /// The table of Go 1.`minor` on `arch`, if there is one.
    pub(crate) fn embedded(minor: u32, arch: Arch) -> Option<Self> {
        let (_, _, text) = TABLES.iter().find(|row| (row.0, row.1) == (minor, arch))?;
        Some(Self::parse(text))
    }

    /// The newest and the oldest minor version that have a table.
    pub(crate) fn minors() -> (u32, u32) {
        let minors = || TABLES.iter().map(|row| row.0);
        (minors().min().unwrap_or(0), minors().max().unwrap_or(0))
    }

    /// Lines that are no table lines, such as comments, are passed over.
    pub(crate) fn parse(text: &str) -> Self {
        let mut table = Self::default();
        for line in text.lines() {
            if table.layout.take_line(line).is_none() {
                table.signatures.extend(Signature::parse(line));
            }
        }
        table
    }
}

impl Signature {
    fn parse(line: &str) -> Option<Self> {
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        let [kind, symbol, function, offset, tail, add] = words[..] else {
            return None;
        };
        let number = |word: &str| word.parse::<u32>().ok();
        (kind == "signature").then_some(Self {
            symbol: symbol.to_owned(),
            function: function.to_owned(),
            offset: number(offset)?,
            tail: number(tail)?,
            add: number(add)?,
        })
    }

    pub(crate) fn line(&self) -> String {
        let Self {
            symbol,
            function,
            offset,
            tail,
            add,
        } = self;
        format!("signature {symbol} {function} {offset} {tail} {add}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::wanted::{SIZES, SYMBOLS};

    #[test]
    fn every_embedded_table_is_whole() {
        for (minor, _, text) in TABLES {
            let table = Table::parse(text);
            for name in [
                "g.goid",
                "mspan.startAddr",
                "moduledata.next",
                "mheap.allspans",
            ] {
                assert!(table.layout.find(name).is_some(), "go1.{minor}: {name}");
            }
            for name in SIZES
                .iter()
                .filter(|name| !["spanInlineMarkBits", "timerWhen"].contains(*name))
            {
                assert!(
                    table.layout.size(name).is_ok(),
                    "go1.{minor}: size of {name}"
                );
            }
            let signed = |symbol: &str| {
                let of = |line: &&Signature| line.symbol == symbol;
                table.signatures.iter().filter(of).count() >= 2
            };
            let unsigned: Vec<_> = SYMBOLS.iter().filter(|symbol| !signed(symbol)).collect();
            // What only some programs have can't be told of a program without it.
            let optional = [
                "runtime.buildVersion",
                "runtime.disableMemoryProfiling",
                "runtime.fingStatus",
                "runtime.finq",
                "runtime.allfin",
            ];
            assert!(
                unsigned.iter().all(|symbol| optional.contains(*symbol)),
                "go1.{minor}: {unsigned:?}"
            );
        }
    }
}
