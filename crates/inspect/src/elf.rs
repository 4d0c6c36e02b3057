//! The headers of an ELF file: segments, sections by name, notes.
//!
//! Format: the System V ABI's "Object Files" chapter; `elf(5)`. Read here by hand because discovery asks every
//! executable on the host: the headers of a program cost four or five reads and about 3 KiB. DWARF and symbol
//! tables, which need a whole reader, are left to `object` and `gimli`.

use serde::{Deserialize, Serialize};

use crate::InspectError;
use crate::limits;
use crate::read::{ReadAt, fill, take};

pub(crate) const PF_X: u32 = 1;
pub(crate) const PF_W: u32 = 2;

const ET_EXEC: u16 = 2;
const ET_DYN: u16 = 3;
const PT_LOAD: u32 = 1;
const PT_DYNAMIC: u32 = 2;
const PT_INTERP: u32 = 3;
const PT_NOTE: u32 = 4;
const SHT_NOBITS: u32 = 8;
const SHT_SYMTAB: u32 = 2;
const SHF_COMPRESSED: u64 = 1 << 11;
const DT_FLAGS_1: u64 = 0x6fff_fffb;
const DF_1_PIE: u64 = 0x0800_0000;

/// The machine that an executable is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Arch {
    /// x86-64.
    Amd64,
    /// 64-bit ARM.
    Arm64,
    /// 32-bit x86.
    X86,
    /// 32-bit ARM.
    Arm,
    /// 64-bit RISC-V.
    Riscv64,
    /// Any other, by its ELF machine number.
    Other(u16),
}

impl Arch {
    pub(crate) fn from_machine(machine: u16) -> Self {
        match machine {
            62 => Self::Amd64,
            183 => Self::Arm64,
            3 => Self::X86,
            40 => Self::Arm,
            243 => Self::Riscv64,
            other => Self::Other(other),
        }
    }
}

/// One program header.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Segment {
    kind: u32,
    pub(crate) flags: u32,
    pub(crate) offset: u64,
    pub(crate) addr: u64,
    pub(crate) file_bytes: u64,
}

impl Segment {
    pub(crate) fn is_load(&self) -> bool {
        self.kind == PT_LOAD
    }
}

/// One section header with its name.
#[derive(Debug, Clone)]
pub(crate) struct Section {
    pub(crate) name: String,
    kind: u32,
    /// Link-time address; zero for what is not loaded.
    pub(crate) addr: u64,
    pub(crate) offset: u64,
    pub(crate) bytes: u64,
    /// Its bytes begin with a compression header.
    pub(crate) is_compressed: bool,
}

/// The headers of an ELF file.
#[derive(Debug, Clone)]
pub(crate) struct Elf {
    pub(crate) is_64: bool,
    pub(crate) arch: Arch,
    is_dyn: bool,
    /// Where the program's first instruction is, as linked.
    pub(crate) entry: u64,
    pub(crate) segments: Vec<Segment>,
    /// Empty when the headers are gone or contradict themselves: a stripped file is no error.
    pub(crate) sections: Vec<Section>,
}

impl Elf {
    /// Reads the headers.
    pub(crate) fn read<R: ReadAt + ?Sized>(reader: &R) -> Result<Self, InspectError> {
        let mut ident = [0; 16];
        read_ident(reader, &mut ident)?;
        let is_64 = match ident[4] {
            1 => false,
            2 => true,
            class => return Err(unsupported("class", class.into())),
        };
        if ident[5] != 1 {
            return Err(unsupported("byte order", ident[5].into()));
        }
        let mut header = [0; 64];
        let header = &mut header[..if is_64 { 64 } else { 52 }];
        fill(reader, "ELF header", 0, header)?;
        let kind = u16_at(header, 16);
        if kind != ET_EXEC && kind != ET_DYN {
            return Err(unsupported("file type", kind.into()));
        }
        let counts_at = if is_64 { 54 } else { 42 };
        let table = |at: usize| Table {
            entry_bytes: u16_at(header, at),
            count: u16_at(header, at + 2),
        };
        let (segment_table, section_table) = (table(counts_at), table(counts_at + 4));
        let names_index = u16_at(header, counts_at + 8);
        let (segments_at, sections_at) = if is_64 {
            (u64_at(header, 32), u64_at(header, 40))
        } else {
            (u32_at(header, 28).into(), u32_at(header, 32).into())
        };
        let segments = read_segments(reader, is_64, segments_at, segment_table)?;
        let sections = read_sections(reader, is_64, sections_at, section_table, names_index);
        Ok(Self {
            is_64,
            arch: Arch::from_machine(u16_at(header, 18)),
            is_dyn: kind == ET_DYN,
            entry: word_at(header, 24, if is_64 { 8 } else { 4 }),
            segments,
            sections: sections.unwrap_or_default(),
        })
    }

    /// The section of that name, if it has bytes in the file.
    pub(crate) fn section(&self, name: &str) -> Option<&Section> {
        self.sections
            .iter()
            .find(|section| section.name == name && section.kind != SHT_NOBITS)
    }

    pub(crate) fn has_dwarf(&self) -> bool {
        [".debug_info", ".zdebug_info"]
            .iter()
            .any(|name| self.section(name).is_some())
    }

    pub(crate) fn has_symtab(&self) -> bool {
        self.sections
            .iter()
            .any(|section| section.kind == SHT_SYMTAB && section.bytes > 0)
    }

    pub(crate) fn pointer_bytes(&self) -> usize {
        if self.is_64 { 8 } else { 4 }
    }

    /// Where `addr` lies in the file, and how many bytes of its segment follow from there.
    pub(crate) fn file_range(&self, addr: u64) -> Option<(u64, u64)> {
        self.segments
            .iter()
            .filter(|segment| segment.is_load())
            .find_map(|segment| {
                let inside = addr.checked_sub(segment.addr)?;
                let left = segment
                    .file_bytes
                    .checked_sub(inside)
                    .filter(|&left| left > 0)?;
                Some((segment.offset.checked_add(inside)?, left))
            })
    }

    /// Position-independent: loaded by an interpreter at any address, or marked so by the linker (static PIE).
    pub(crate) fn is_pie<R: ReadAt + ?Sized>(&self, reader: &R) -> bool {
        if !self.is_dyn {
            return false;
        }
        if self
            .segments
            .iter()
            .any(|segment| segment.kind == PT_INTERP)
        {
            return true;
        }
        let Some(dynamic) = self
            .segments
            .iter()
            .find(|segment| segment.kind == PT_DYNAMIC)
        else {
            return false;
        };
        let bytes = dynamic.file_bytes.min(limits::NOTE_BYTES_MAX);
        let Ok(bytes) = take(reader, "dynamic section", dynamic.offset, bytes, bytes) else {
            return false;
        };
        let word = self.pointer_bytes();
        bytes.chunks_exact(2 * word).any(|entry| {
            let (tag, value) = (word_at(entry, 0, word), word_at(entry, word, word));
            tag == DT_FLAGS_1 && value & DF_1_PIE != 0
        })
    }

    /// The GNU build id in lower-case hexadecimal digits.
    pub(crate) fn build_id<R: ReadAt + ?Sized>(&self, reader: &R) -> Option<String> {
        const NT_GNU_BUILD_ID: u32 = 3;
        let id = self.note(reader, b"GNU", NT_GNU_BUILD_ID)?;
        Some(id.iter().map(|byte| format!("{byte:02x}")).collect())
    }

    /// The contents of every note of `owner` and `kind`: from note segments, else from note sections.
    pub(crate) fn note<R: ReadAt + ?Sized>(
        &self,
        reader: &R,
        owner: &[u8],
        kind: u32,
    ) -> Option<Vec<u8>> {
        let segments = self
            .segments
            .iter()
            .filter(|segment| segment.kind == PT_NOTE);
        let segments = segments.map(|segment| (segment.offset, segment.file_bytes));
        // The Go linker puts only one of its two notes into the segment of some versions.
        let sections = self
            .sections
            .iter()
            .filter(|section| section.name.starts_with(".note."));
        let sections = sections.map(|section| (section.offset, section.bytes));
        segments
            .chain(sections)
            .take(32)
            .find_map(|(offset, bytes)| {
                let bytes = take(reader, "note", offset, bytes, limits::NOTE_BYTES_MAX).ok()?;
                find_note(&bytes, owner, kind)
            })
    }
}

/// A header table as the ELF header describes it.
struct Table {
    entry_bytes: u16,
    count: u16,
}

fn unsupported(what: &'static str, value: u64) -> InspectError {
    InspectError::UnsupportedElf { what, value }
}

/// The 16 bytes that say what the rest is. A file too short for them is simply no ELF file.
fn read_ident<R: ReadAt + ?Sized>(reader: &R, ident: &mut [u8; 16]) -> Result<(), InspectError> {
    match fill(reader, "ELF identification", 0, ident) {
        Ok(()) if ident.starts_with(b"\x7fELF") => Ok(()),
        Ok(()) => Err(InspectError::NotElf {
            magic: [ident[0], ident[1], ident[2], ident[3]],
        }),
        Err(InspectError::Truncated { .. }) => {
            let mut magic = [0; 4];
            let _ = reader.read_exact_at(0, &mut magic);
            if magic == *b"\x7fELF" {
                return Err(InspectError::Truncated {
                    what: "ELF identification",
                    offset: 0,
                    len: 16,
                });
            }
            Err(InspectError::NotElf { magic })
        }
        Err(error) => Err(error),
    }
}

fn read_segments<R: ReadAt + ?Sized>(
    reader: &R,
    is_64: bool,
    offset: u64,
    table: Table,
) -> Result<Vec<Segment>, InspectError> {
    let what = "program headers";
    let entry_bytes = if is_64 { 56 } else { 32 };
    if table.count == 0 {
        return Ok(Vec::new());
    }
    if table.entry_bytes != entry_bytes {
        return Err(InspectError::Malformed {
            what,
            offset,
            expected: "entries of the standard size",
        });
    }
    if table.count > limits::SEGMENTS_MAX {
        let (len, max) = (table.count.into(), limits::SEGMENTS_MAX.into());
        return Err(InspectError::TooBig {
            what,
            offset,
            len,
            max,
        });
    }
    let bytes = u64::from(entry_bytes) * u64::from(table.count);
    let bytes = take(reader, what, offset, bytes, bytes)?;
    let parse = |entry: &[u8]| {
        if is_64 {
            Segment {
                kind: u32_at(entry, 0),
                flags: u32_at(entry, 4),
                offset: u64_at(entry, 8),
                addr: u64_at(entry, 16),
                file_bytes: u64_at(entry, 32),
            }
        } else {
            Segment {
                kind: u32_at(entry, 0),
                flags: u32_at(entry, 24),
                offset: u32_at(entry, 4).into(),
                addr: u32_at(entry, 8).into(),
                file_bytes: u32_at(entry, 16).into(),
            }
        }
    };
    Ok(bytes.chunks_exact(entry_bytes.into()).map(parse).collect())
}

/// The sections, or nothing when there are none that can be believed: programs run without them, so tools
/// remove or garble them freely.
fn read_sections<R: ReadAt + ?Sized>(
    reader: &R,
    is_64: bool,
    offset: u64,
    table: Table,
    names_index: u16,
) -> Option<Vec<Section>> {
    let entry_bytes: u16 = if is_64 { 64 } else { 40 };
    if offset == 0 || table.entry_bytes != entry_bytes || table.count == 0 {
        return None;
    }
    let bytes = u64::from(entry_bytes) * u64::from(table.count);
    let bytes_max = u64::from(entry_bytes) * limits::SECTIONS_MAX;
    let bytes = take(reader, "section headers", offset, bytes, bytes_max).ok()?;
    // (name offset, kind, [flags, address, file offset, size])
    let parse = |entry: &[u8]| {
        let words = if is_64 {
            [8, 16, 24, 32].map(|at| u64_at(entry, at))
        } else {
            [8, 12, 16, 20].map(|at| u32_at(entry, at).into())
        };
        (u32_at(entry, 0), u32_at(entry, 4), words)
    };
    let raw: Vec<_> = bytes.chunks_exact(entry_bytes.into()).map(parse).collect();
    let &(_, _, [_, _, names_at, names_bytes]) = raw.get(usize::from(names_index))?;
    let max = limits::SECTION_NAMES_BYTES_MAX;
    let names = take(reader, "section names", names_at, names_bytes, max).ok()?;
    let name_of = |at: u32| {
        let rest = names.get(at as usize..).unwrap_or_default();
        let rest = &rest[..rest.len().min(64)];
        let end = rest
            .iter()
            .position(|&byte| byte == 0)
            .unwrap_or(rest.len());
        String::from_utf8_lossy(&rest[..end]).into_owned()
    };
    let section = |(name, kind, [flags, addr, offset, bytes]): (u32, u32, [u64; 4])| Section {
        name: name_of(name),
        kind,
        is_compressed: flags & SHF_COMPRESSED != 0,
        addr,
        offset,
        bytes,
    };
    Some(raw.into_iter().map(section).collect())
}

/// The first note of `owner` (without its NUL) and `kind` in a note segment's bytes.
fn find_note(mut bytes: &[u8], owner: &[u8], kind: u32) -> Option<Vec<u8>> {
    while bytes.len() >= 12 {
        let (owner_bytes, contents_bytes) = (u32_at(bytes, 0) as usize, u32_at(bytes, 4) as usize);
        let contents_at = 12usize
            .checked_add(owner_bytes)?
            .checked_next_multiple_of(4)?;
        let end = contents_at.checked_add(contents_bytes)?;
        let contents = bytes.get(contents_at..end)?;
        let name = bytes.get(12..12 + owner_bytes)?;
        // The Go linker counts the padding into its name's length: "Go\0\0".
        let name = &name[..name
            .iter()
            .position(|&byte| byte == 0)
            .unwrap_or(name.len())];
        if u32_at(bytes, 8) == kind && name == owner {
            return Some(contents.to_vec());
        }
        bytes = bytes.get(end.checked_next_multiple_of(4)?..)?;
    }
    None
}

// The callers below have checked the length: each entry is of the standard size.
pub(crate) fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from(u16_at(bytes, at)) | u32::from(u16_at(bytes, at + 2)) << 16
}

pub(crate) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}

/// A word of the target: 4 or 8 bytes.
pub(crate) fn word_at(bytes: &[u8], at: usize, word: usize) -> u64 {
    if word == 8 {
        u64_at(bytes, at)
    } else {
        u32_at(bytes, at).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(owner: &[u8], kind: u32, contents: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for word in [owner.len() as u32 + 1, contents.len() as u32, kind] {
            bytes.extend(word.to_le_bytes());
        }
        for part in [&[owner, b"\0"].concat(), contents] {
            bytes.extend(part);
            bytes.resize(bytes.len().next_multiple_of(4), 0);
        }
        bytes
    }

    #[test]
    fn notes_are_found_by_owner_and_kind() {
        let both = [note(b"Go", 4, b"abc"), note(b"GNU", 3, &[1, 2, 3, 4])].concat();
        let mut lying = both.clone();
        lying[4] = 0xff; // The first note's length runs past the end.
        type Row<'a> = (&'a str, &'a [u8], &'a [u8], u32, Option<&'a [u8]>);
        let rows: &[Row<'_>] = &[
            ("first, padded", &both, b"Go", 4, Some(b"abc")),
            ("second", &both, b"GNU", 3, Some(&[1, 2, 3, 4])),
            ("other kind", &both, b"GNU", 4, None),
            ("other owner", &both, b"G", 4, None),
            ("length past the end", &lying, b"GNU", 3, None),
            ("cut in the header", &both[..11], b"Go", 4, None),
            ("empty", b"", b"Go", 4, None),
        ];
        for (name, bytes, owner, kind, want) in rows {
            assert_eq!(find_note(bytes, owner, *kind).as_deref(), *want, "{name}");
        }
    }
}
