//! Where the runtime keeps what: offsets of its structures' fields, by name.
//!
//! A layout comes from the program's DWARF, or from a table of its Go version that lies in this crate
//! (`tables/`, made by `cargo xtask layouts`). Either way it is held against the program's memory before it is
//! believed.

mod make;
mod table;
mod wanted;

use std::collections::HashMap;
use std::fmt::Write as _;

use crate::InspectError;
use crate::dwarf::Dwarf;
use crate::memory::{le16, le32, le64};

pub use make::{layout_lines, make_table};
pub(crate) use table::{Signature, Table};
pub(crate) use wanted::SYMBOLS;

/// One field: where it lies in its structure, and how long it is. In bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field {
    /// From the structure's start.
    pub offset: u64,
    /// Its own length.
    pub bytes: u64,
}

impl Field {
    /// The field's value in the bytes of its structure: an unsigned number of up to eight bytes; zero where the
    /// bytes end before it.
    #[inline]
    pub fn get(&self, structure: &[u8]) -> u64 {
        let at = self.offset as usize;
        match self.bytes {
            1 => structure.get(at).copied().unwrap_or(0).into(),
            2 => le16(structure, at).into(),
            4 => le32(structure, at).into(),
            _ => le64(structure, at),
        }
    }
}

/// Offsets, sizes and constants of one runtime.
///
/// Names are those of Go's `runtime` package without the package: `g.goid`, `mspan.state.s.value`; a size has the
/// structure's name, a constant its own.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Layout {
    fields: HashMap<String, Field>,
    sizes: HashMap<String, u64>,
    constants: HashMap<String, u64>,
}

impl Layout {
    /// What debug information tells of the fields that are needed.
    pub(crate) fn from_dwarf(dwarf: &Dwarf) -> Self {
        let mut layout = Self::default();
        for name in wanted::FIELDS.iter().copied().flatten() {
            let found = name
                .split_once('.')
                .and_then(|(structure, path)| dwarf.field(&format!("runtime.{structure}"), path));
            if let Some((offset, bytes)) = found {
                layout.set_field(name, Field { offset, bytes });
            }
        }
        for name in wanted::SIZES {
            if let Some(bytes) = dwarf.size(&format!("runtime.{name}")) {
                layout.set_size(name, bytes);
            }
        }
        for name in wanted::CONSTANTS {
            if let Some(value) = dwarf.constant(&format!("runtime.{name}")) {
                layout.set_constant(name, value);
            }
        }
        layout
    }

    /// A field that this version may lack.
    pub fn find(&self, name: &str) -> Option<Field> {
        self.fields.get(name).copied()
    }

    /// A field that must be there.
    ///
    /// # Errors
    /// [`InspectError::Missing`].
    pub fn field(&self, name: &str) -> Result<Field, InspectError> {
        self.find(name).ok_or_else(|| missing("field", name))
    }

    /// The size of a structure in bytes, never zero.
    ///
    /// # Errors
    /// [`InspectError::Missing`].
    pub fn size(&self, name: &str) -> Result<u64, InspectError> {
        let size = self.sizes.get(name).copied().filter(|&size| size > 0);
        size.ok_or_else(|| missing("structure", name))
    }

    /// A constant that this version may lack.
    pub fn constant(&self, name: &str) -> Option<u64> {
        self.constants.get(name).copied()
    }

    /// Where the last field ends whose name begins with `prefix` (`mstats.`): a structure's useful length in bytes.
    pub(crate) fn end_of(&self, prefix: &str) -> u64 {
        let of = self
            .fields
            .iter()
            .filter(|(name, _)| name.starts_with(prefix));
        let ends = of.map(|(_, field)| field.offset.saturating_add(field.bytes));
        ends.max().unwrap_or(0)
    }

    /// The fields and sizes with a name that is kept; constants are not.
    pub(crate) fn only(&self, kept: impl Fn(&str) -> bool) -> Self {
        let mut layout = Self::default();
        for (name, field) in self.fields.iter().filter(|(name, _)| kept(name)) {
            layout.set_field(name, *field);
        }
        for (name, bytes) in self.sizes.iter().filter(|(name, _)| kept(name)) {
            layout.set_size(name, *bytes);
        }
        layout
    }

    /// Notes a field.
    pub fn set_field(&mut self, name: &str, field: Field) {
        self.fields.insert(name.to_owned(), field);
    }

    /// Notes a structure's size.
    pub fn set_size(&mut self, name: &str, bytes: u64) {
        self.sizes.insert(name.to_owned(), bytes);
    }

    /// Notes a constant.
    pub fn set_constant(&mut self, name: &str, value: u64) {
        self.constants.insert(name.to_owned(), value);
    }

    /// Takes one line of a table, `field NAME OFFSET BYTES`, `size NAME BYTES` or `constant NAME VALUE`.
    /// `None` for a line of another kind.
    pub(crate) fn take_line(&mut self, line: &str) -> Option<()> {
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        let number = |at: usize| {
            words
                .get(at)
                .and_then(|word: &&str| word.parse::<u64>().ok())
        };
        match *words.first()? {
            "field" => {
                let (offset, bytes) = (number(2)?, number(3)?);
                self.set_field(words[1], Field { offset, bytes });
            }
            "size" => self.set_size(words[1], number(2)?),
            "constant" => self.set_constant(words[1], number(2)?),
            _ => return None,
        }
        Some(())
    }

    /// The lines of a table, sorted.
    pub(crate) fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for (name, field) in &self.fields {
            lines.push(format!("field {name} {} {}", field.offset, field.bytes));
        }
        lines.extend(
            self.sizes
                .iter()
                .map(|(name, bytes)| format!("size {name} {bytes}")),
        );
        let constants = self.constants.iter();
        lines.extend(constants.map(|(name, value)| format!("constant {name} {value}")));
        lines.sort();
        lines
    }
}

fn missing(kind: &str, name: &str) -> InspectError {
    let mut what = String::new();
    let _ = write!(what, "{kind} `{name}` in its runtime's layout");
    InspectError::Missing { what }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_read_back_as_it_was_written() {
        let mut layout = Layout::default();
        layout.set_field(
            "g.goid",
            Field {
                offset: 152,
                bytes: 8,
            },
        );
        layout.set_size("g", 456);
        layout.set_constant("_KindSpecialProfile", 4);
        let mut again = Layout::default();
        for line in layout.lines() {
            again.take_line(&line).unwrap();
        }
        assert_eq!(again, layout);
        for bad in [
            "",
            "field g.goid 152",
            "field",
            "size g -1",
            "signature a b 1",
        ] {
            assert_eq!(again.take_line(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn fields_of_each_width_are_read_and_a_short_structure_gives_zero() {
        let bytes = [1, 2, 3, 4, 5, 6, 7, 8, 9];
        let get = |offset, bytes_len| {
            Field {
                offset,
                bytes: bytes_len,
            }
            .get(&bytes)
        };
        assert_eq!(get(8, 1), 9);
        assert_eq!(get(1, 2), 0x0302);
        assert_eq!(get(1, 4), 0x0504_0302);
        assert_eq!(get(1, 8), 0x0908_0706_0504_0302);
        assert_eq!(get(2, 8), 0);
    }
}
