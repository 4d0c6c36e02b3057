//! Core files: the memory, threads and mapped files of a process that has stopped.
//!
//! Written by the kernel when a process dies of a signal (core(5)), or by a debugger (`gcore`). Format: an ELF file of
//! the type `ET_CORE`, whose notes are described by `linux/elfcore.h` and `fs/binfmt_elf.c` of the Linux source.

use std::collections::HashSet;
use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;

use crate::elf::{Arch, Elf};
use crate::memory::{CoreMemory, Memory, Source, Stored, le16, le32, le64};
use crate::program::entry_of;
use crate::read::{fill, take};
use crate::{InspectError, Mapping, Program, ReadAt, limits};

const ET_CORE: u16 = 4;
const PT_LOAD: u32 = 1;
const PT_NOTE: u32 = 4;
const PF_X: u32 = 1;
const PF_W: u32 = 2;
/// The count of program headers does not fit; the first section header has it.
const PN_XNUM: u16 = 0xffff;
const HEADER_BYTES: usize = 64;
const SEGMENT_BYTES: usize = 56;

const NT_PRSTATUS: u32 = 1;
const NT_PRPSINFO: u32 = 3;
const NT_AUXV: u32 = 6;
const NT_FILE: u32 = 0x4649_4c45;
const NT_GNU_BUILD_ID: u32 = 3;
const NT_GO_BUILD_ID: u32 = 4;
const AT_EXECFN: u64 = 31;

/// A core file, before its executable is known.
#[derive(Debug)]
pub struct Core {
    pub(crate) memory: CoreMemory,
    pub(crate) entry: u64,
    /// Where the beginning of the executable was mapped.
    base: Option<u64>,
    executable_path: Option<String>,
    facts: CoreFacts,
}

/// What a core tells beside its memory.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CoreFacts {
    /// The process that it was.
    pub pid: Option<u32>,
    /// Its name as the kernel had it.
    pub name: String,
    /// Its threads, the one that brought the process down first.
    pub threads: Vec<CoreThread>,
    /// The file is shorter than its headers say: a limit of size (`ulimit -c`), or a full disk. What is missing
    /// cannot be read.
    pub is_cut: bool,
    pub(crate) code: Vec<Mapping>,
}

/// One thread of a core.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CoreThread {
    /// Its id.
    pub tid: u32,
    /// The next instruction.
    pub pc: u64,
    /// The stack pointer.
    pub sp: u64,
    /// The link register, on machines that have one; else zero.
    pub lr: u64,
    /// The general registers by their numbers in debug information.
    pub general: Vec<u64>,
}

impl Core {
    /// Reads headers and notes; no memory yet.
    ///
    /// # Errors
    /// When it is no core of a 64-bit little-endian machine, or contradicts itself.
    pub fn read(file: Source) -> Result<Self, InspectError> {
        let mut header = [0; HEADER_BYTES];
        fill(&*file, "ELF header", 0, &mut header)?;
        let arch = check_header(&header)?;
        let segments = Segment::read_all(&*file, &header)?;
        let mut notes = Notes::read(&*file, &segments, arch)?;
        let entry = entry_of(&notes.auxv).ok_or_else(|| InspectError::Missing {
            what: "start-up values (NT_AUXV) in the core".to_owned(),
        })?;
        let loads: Vec<&Segment> = segments.iter().filter(|of| of.kind == PT_LOAD).collect();
        let memory = CoreMemory::new(
            Arc::clone(&file),
            loads.iter().map(|of| of.stored).collect(),
        );
        let executable_path = notes
            .file_at(entry)
            .or_else(|| executed(&memory, &notes.auxv));
        let facts = CoreFacts {
            is_cut: is_cut(&*file, &loads),
            code: notes.code(&loads),
            pid: notes.pid,
            name: std::mem::take(&mut notes.name),
            threads: std::mem::take(&mut notes.threads),
        };
        Ok(Self {
            memory,
            entry,
            base: notes.base_of(entry),
            executable_path,
            facts,
        })
    }

    /// The program's executable as the process saw it.
    pub fn executable_path(&self) -> Option<&str> {
        self.executable_path.as_deref()
    }

    /// What the core tells beside its memory.
    pub fn facts(&self) -> &CoreFacts {
        &self.facts
    }
}

impl Program {
    /// Opens a core, with the executable that it is of; without one, that is looked for where the process had it.
    ///
    /// Cost: headers and notes; then as [`Program::attach`].
    ///
    /// # Errors
    /// [`InspectError::NoExecutable`] when the executable is not there, [`InspectError::OtherExecutable`] when it is
    /// another than the core's; otherwise when a file is broken, no Go program, or its runtime's layout is unknown.
    pub fn from_core(core: &Path, executable: Option<&Path>) -> Result<Self, InspectError> {
        let opened = File::open(core).map_err(|source| InspectError::Read {
            what: "the core",
            offset: 0,
            source,
        })?;
        let core = Core::read(Arc::new(opened))?;
        let path = executable.map(Path::to_path_buf);
        let path = path.or_else(|| core.executable_path().map(Into::into));
        let path = path.ok_or_else(|| InspectError::Missing {
            what: "name of its executable in the core".to_owned(),
        })?;
        let executable = File::open(&path).map_err(|source| InspectError::NoExecutable {
            path: path.to_string_lossy().into_owned(),
            source,
        })?;
        Self::open_core(core, Arc::new(executable))
    }

    /// As [`Self::from_core`], of files that are open.
    ///
    /// # Errors
    /// As [`Self::from_core`].
    pub fn open_core(core: Core, executable: Source) -> Result<Self, InspectError> {
        let Core {
            mut memory,
            entry,
            base,
            mut facts,
            ..
        } = core;
        let elf = Elf::read(&*executable)?;
        let bias = entry.wrapping_sub(elf.entry);
        compare(&memory, base, &*executable, &elf, bias)?;
        let segments = elf.segments.iter().filter(|of| of.is_load());
        let segments = segments.map(|of| Stored {
            addr: of.addr.wrapping_add(bias),
            bytes: of.file_bytes,
            offset: of.offset,
            file_bytes: of.file_bytes,
        });
        memory.put_executable(Arc::clone(&executable), segments.collect());
        if let Some(of) = facts
            .code
            .iter_mut()
            .find(|of| (of.start..of.end).contains(&entry))
        {
            of.build_id = elf.build_id(&*executable).unwrap_or_default();
        }
        let opened = Self::open(Box::new(memory), Box::new(executable), entry, None);
        let mut program = opened.map_err(|source| match facts.is_cut {
            true => InspectError::CutCore {
                source: Box::new(source),
            },
            false => source,
        })?;
        program.set_core(facts);
        Ok(program)
    }
}

/// Whether the executable can be the core's: where it was loaded, and, as far as the core has them, its build ids.
///
/// The kernel writes the first page of every mapped ELF file (bit 4 of `coredump_filter`), and the linker puts the
/// ids there. An executable with symbols stands in for the stripped one that ran.
fn compare(
    memory: &CoreMemory,
    base: Option<u64>,
    executable: &(dyn ReadAt + Send + Sync),
    elf: &Elf,
    bias: u64,
) -> Result<(), InspectError> {
    const PAGE_BYTES: u64 = 4096;
    let fits = if elf.is_pie(executable) {
        bias.is_multiple_of(PAGE_BYTES)
    } else {
        bias == 0
    };
    if !fits {
        return Err(InspectError::OtherExecutable);
    }
    let Some(base) = base else {
        return Ok(());
    };
    let image = Image { memory, base };
    let Ok(theirs) = Elf::read(&image) else {
        return Ok(());
    };
    for (owner, kind) in [(&b"GNU"[..], NT_GNU_BUILD_ID), (b"Go", NT_GO_BUILD_ID)] {
        let ids = (
            elf.note(executable, owner, kind),
            theirs.note(&image, owner, kind),
        );
        if matches!(ids, (Some(ours), Some(theirs)) if ours != theirs) {
            return Err(InspectError::OtherExecutable);
        }
    }
    Ok(())
}

/// A file as far as it was mapped and written into a core.
struct Image<'a> {
    memory: &'a CoreMemory,
    base: u64,
}

impl ReadAt for Image<'_> {
    fn read_exact_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        let at = self.base.checked_add(offset);
        let read = at.and_then(|at| self.memory.read(at, buf).ok());
        read.ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }
}

fn check_header(header: &[u8; HEADER_BYTES]) -> Result<Arch, InspectError> {
    if !header.starts_with(b"\x7fELF") {
        let magic = [header[0], header[1], header[2], header[3]];
        return Err(InspectError::NotElf { magic });
    }
    let unsupported = |what, value: u64| Err(InspectError::UnsupportedElf { what, value });
    match (header[4], header[5], le16(header, 16)) {
        (2, 1, ET_CORE) => Ok(Arch::from_machine(le16(header, 18))),
        (2, 1, kind) => unsupported("file type", kind.into()),
        (2, order, _) => unsupported("byte order", order.into()),
        (class, _, _) => unsupported("class", class.into()),
    }
}

#[derive(Debug, Clone, Copy)]
struct Segment {
    kind: u32,
    flags: u32,
    stored: Stored,
}

impl Segment {
    fn read_all(
        file: &(dyn ReadAt + Send + Sync),
        header: &[u8; HEADER_BYTES],
    ) -> Result<Vec<Self>, InspectError> {
        let what = "program headers";
        let (offset, sections) = (le64(header, 32), le64(header, 40));
        let count = match le16(header, 56) {
            PN_XNUM => {
                let mut section = [0; 64];
                fill(file, "first section header", sections, &mut section)?;
                u64::from(le32(&section, 44))
            }
            count => count.into(),
        };
        let max = limits::CORE_SEGMENTS_MAX;
        if usize::from(le16(header, 54)) != SEGMENT_BYTES {
            return Err(InspectError::Malformed {
                what,
                offset,
                expected: "entries of the standard size",
            });
        }
        let bytes = SEGMENT_BYTES as u64;
        let all = take(file, what, offset, count * bytes, max * bytes)?;
        let parse = |entry: &[u8]| Self {
            kind: le32(entry, 0),
            flags: le32(entry, 4),
            stored: Stored {
                offset: le64(entry, 8),
                addr: le64(entry, 16),
                file_bytes: le64(entry, 32),
                bytes: le64(entry, 40),
            },
        };
        Ok(all.chunks_exact(SEGMENT_BYTES).map(parse).collect())
    }
}

fn is_cut(file: &(dyn ReadAt + Send + Sync), loads: &[&Segment]) -> bool {
    let end = |of: &&Segment| of.stored.offset.saturating_add(of.stored.file_bytes);
    let stored = loads.iter().copied().filter(|of| of.stored.file_bytes > 0);
    let last = stored.map(|of| end(&of)).max();
    last.is_some_and(|end| file.read_exact_at(end.saturating_sub(1), &mut [0]).is_err())
}

/// `AT_EXECFN`: the name that the program was started by.
fn executed(memory: &CoreMemory, auxv: &[u8]) -> Option<String> {
    const BYTES_MAX: u64 = 4096;
    let pairs = auxv.chunks_exact(16);
    let mut pairs = pairs.map(|pair| (le64(pair, 0), le64(pair, 8)));
    let (_, addr) = pairs.find(|&(key, _)| key == AT_EXECFN)?;
    let mut name = Vec::new();
    for at in 0..BYTES_MAX {
        let mut byte = [0];
        memory.read(addr.checked_add(at)?, &mut byte).ok()?;
        if byte[0] == 0 {
            return String::from_utf8(name).ok().filter(|name| !name.is_empty());
        }
        name.push(byte[0]);
    }
    None
}

/// What the notes of a core tell.
#[derive(Default)]
struct Notes {
    auxv: Vec<u8>,
    pid: Option<u32>,
    name: String,
    threads: Vec<CoreThread>,
    files: Vec<MappedFile>,
}

struct MappedFile {
    start: u64,
    end: u64,
    offset: u64,
    path: String,
}

impl Notes {
    fn read(
        file: &(dyn ReadAt + Send + Sync),
        segments: &[Segment],
        arch: Arch,
    ) -> Result<Self, InspectError> {
        let mut notes = Self::default();
        let mut left = limits::CORE_NOTES_MAX;
        for segment in segments.iter().filter(|of| of.kind == PT_NOTE) {
            let (mut at, bytes) = (segment.stored.offset, segment.stored.file_bytes);
            let end = at.saturating_add(bytes);
            while end.saturating_sub(at) >= 12 && left > 0 {
                left -= 1;
                let mut header = [0; 20];
                let header = &mut header[..(end - at).min(20) as usize];
                fill(file, "core notes", at, header)?;
                let (name, contents) = (le32(header, 0), le32(header, 4));
                let start = at + 12 + padded(name);
                // What fills it up may be anything (QEMU).
                let is_core = name == 5 && header.get(12..17) == Some(b"CORE\0");
                if is_core && end.saturating_sub(start) >= contents.into() {
                    notes.take_note(file, le32(header, 8), start, contents.into(), arch)?;
                }
                at = start + padded(contents);
            }
        }
        Ok(notes)
    }

    fn take_note(
        &mut self,
        file: &(dyn ReadAt + Send + Sync),
        kind: u32,
        offset: u64,
        bytes: u64,
        arch: Arch,
    ) -> Result<(), InspectError> {
        let contents = |max| take(file, "core note", offset, bytes, max);
        match kind {
            NT_AUXV => self.auxv = contents(limits::CORE_NOTE_BYTES_MAX)?,
            NT_PRSTATUS if self.threads.len() < limits::CORE_THREADS_MAX => {
                self.threads
                    .extend(thread(&contents(limits::NOTE_BYTES_MAX)?, arch));
            }
            NT_PRPSINFO => {
                let info = contents(limits::NOTE_BYTES_MAX)?;
                self.pid = info
                    .get(24..28)
                    .map(|_| le32(&info, 24))
                    .filter(|&pid| pid != 0);
                let name = info.get(40..56).unwrap_or_default();
                let name = name.split(|&byte| byte == 0).next().unwrap_or_default();
                self.name = String::from_utf8_lossy(name).into_owned();
            }
            NT_FILE => self.files = files(&contents(limits::CORE_NOTE_BYTES_MAX)?),
            _ => {}
        }
        Ok(())
    }

    fn mapping_at(&self, addr: u64) -> Option<&MappedFile> {
        let holds = |of: &&MappedFile| (of.start..of.end).contains(&addr);
        self.files.iter().find(holds)
    }

    /// Where the beginning of the file is that is mapped at `addr`.
    fn base_of(&self, addr: u64) -> Option<u64> {
        let file = self.mapping_at(addr)?;
        let is_first = |of: &&MappedFile| of.offset == 0 && of.path == file.path;
        let firsts = self.files.iter().filter(is_first);
        firsts
            .map(|of| of.start)
            .filter(|&start| start <= addr)
            .max()
    }

    fn file_at(&self, addr: u64) -> Option<String> {
        let file = self.mapping_at(addr)?;
        Some(
            file.path
                .strip_suffix(" (deleted)")
                .unwrap_or(&file.path)
                .to_owned(),
        )
    }

    /// The mappings of code that have a file.
    fn code(&self, loads: &[&Segment]) -> Vec<Mapping> {
        let is_code = |of: &&&Segment| of.flags & PF_X != 0 && of.flags & PF_W == 0;
        let code: HashSet<u64> = loads
            .iter()
            .filter(is_code)
            .map(|of| of.stored.addr)
            .collect();
        let mapping = |of: &MappedFile| Mapping {
            start: of.start,
            end: of.end,
            offset: of.offset,
            file: of.path.clone(),
            build_id: String::new(),
        };
        let files = self.files.iter().filter(|of| code.contains(&of.start));
        files.map(mapping).take(limits::MAPPED_FILES_MAX).collect()
    }
}

fn padded(bytes: u32) -> u64 {
    u64::from(bytes).next_multiple_of(4)
}

/// `struct elf_prstatus`: the thread's id at 32, its registers from 112 on.
fn thread(bytes: &[u8], arch: Arch) -> Option<CoreThread> {
    // rax, rdx, rcx, rbx, rsi, rdi, rbp, rsp, r8 to r15.
    const AMD64: [usize; 16] = [10, 12, 11, 5, 13, 14, 4, 19, 9, 8, 7, 6, 3, 2, 1, 0];
    let (count, pc, sp, lr, general) = match arch {
        Arch::Amd64 => (27, 16, 19, None, AMD64.to_vec()),
        Arch::Arm64 => (34, 32, 31, Some(30), (0..31).collect()),
        _ => return None,
    };
    let registers = bytes.get(112..112 + count * 8)?.chunks_exact(8);
    let registers: Vec<u64> = registers.map(|word| le64(word, 0)).collect();
    Some(CoreThread {
        tid: le32(bytes, 32),
        pc: registers[pc],
        sp: registers[sp],
        lr: lr.map_or(0, |at: usize| registers[at]),
        general: general.into_iter().map(|at: usize| registers[at]).collect(),
    })
}

/// `NT_FILE`: a count, the unit of offsets, three words a mapping, then as many texts.
fn files(bytes: &[u8]) -> Vec<MappedFile> {
    let (count, unit) = (le64(bytes, 0), le64(bytes, 8));
    let Some(words) = usize::try_from(count)
        .ok()
        .and_then(|count| count.checked_mul(24))
    else {
        return Vec::new();
    };
    let rest = bytes.get(16..).unwrap_or_default();
    let Some((ranges, texts)) = rest.split_at_checked(words) else {
        return Vec::new();
    };
    let texts = texts.split(|&byte| byte == 0);
    let mapped = |(range, text): (&[u8], &[u8])| MappedFile {
        start: le64(range, 0),
        end: le64(range, 8),
        offset: le64(range, 16).saturating_mul(unit),
        path: String::from_utf8_lossy(text).into_owned(),
    };
    ranges.chunks_exact(24).zip(texts).map(mapped).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn note(kind: u32, contents: &[u8]) -> Vec<u8> {
        let words = [5, contents.len() as u32, kind];
        let mut bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        bytes.extend(b"CORE\0\0\0\0");
        bytes.extend(contents);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    fn words(words: &[u64]) -> Vec<u8> {
        words.iter().flat_map(|word| word.to_le_bytes()).collect()
    }

    fn status(tid: u32, pc: u64, sp: u64) -> Vec<u8> {
        let mut bytes = vec![0; 336];
        bytes[32..36].copy_from_slice(&tid.to_le_bytes());
        bytes[112 + 16 * 8..][..8].copy_from_slice(&pc.to_le_bytes());
        bytes[112 + 19 * 8..][..8].copy_from_slice(&sp.to_le_bytes());
        bytes
    }

    fn info(pid: u32, name: &str) -> Vec<u8> {
        let mut bytes = vec![0; 136];
        bytes[24..28].copy_from_slice(&pid.to_le_bytes());
        bytes[40..40 + name.len()].copy_from_slice(name.as_bytes());
        bytes
    }

    /// A core of two threads with one mapped file at 0x40_0000, whose second page was left out, and some data.
    fn notes() -> Vec<u8> {
        let files = [
            words(&[2, 4096, 0x40_0000, 0x40_2000, 0, 0x40_2000, 0x40_3000, 2]),
            b"/srv/shop\0/srv/shop\0".to_vec(),
        ];
        [
            note(NT_PRSTATUS, &status(7, 0x40_1234, 0x7ff0)),
            note(NT_PRPSINFO, &info(5, "shop")),
            note(
                NT_AUXV,
                &words(&[3, 64, 9, 0x40_1000, AT_EXECFN, 0x60_0004, 0, 0]),
            ),
            note(NT_FILE, &files.concat()),
            note(NT_PRSTATUS, &status(8, 0x40_1238, 0x6ff0)),
        ]
        .concat()
    }

    const DATA: &[u8] = b"1234./shop\0and more";

    fn core(notes: &[u8]) -> Vec<u8> {
        let count = 4_u64;
        let notes_at = HEADER_BYTES as u64 + count * SEGMENT_BYTES as u64;
        let data_at = notes_at + notes.len() as u64;
        let mut header = vec![0; HEADER_BYTES];
        header[..6].copy_from_slice(b"\x7fELF\x02\x01");
        header[16..20].copy_from_slice(&[4, 0, 62, 0]);
        header[32..40].copy_from_slice(&(HEADER_BYTES as u64).to_le_bytes());
        header[54..58].copy_from_slice(&[SEGMENT_BYTES as u8, 0, count as u8, 0]);
        let segment = |kind: u32, flags: u32, offset, addr, file_bytes, bytes| {
            let head = [kind.to_le_bytes(), flags.to_le_bytes()].concat();
            [head, words(&[offset, addr, 0, file_bytes, bytes, 1])].concat()
        };
        let len = DATA.len() as u64;
        [
            header,
            segment(PT_NOTE, 0, notes_at, 0, notes.len() as u64, 0),
            segment(PT_LOAD, PF_X, data_at, 0x40_0000, 0, 0x2000),
            segment(PT_LOAD, 4, data_at, 0x40_2000, 0, 0x1000),
            segment(PT_LOAD, 6, data_at, 0x60_0000, len, 0x1000),
            notes.to_vec(),
            DATA.to_vec(),
        ]
        .concat()
    }

    fn read(bytes: Vec<u8>) -> Result<Core, InspectError> {
        Core::read(Arc::new(bytes))
    }

    #[test]
    fn a_core_tells_threads_files_and_memory() {
        let core = read(core(&notes())).unwrap();
        let facts = core.facts();
        assert_eq!((facts.pid, facts.name.as_str()), (Some(5), "shop"));
        let threads: Vec<_> = facts
            .threads
            .iter()
            .map(|of| (of.tid, of.pc, of.sp))
            .collect();
        assert_eq!(threads, [(7, 0x40_1234, 0x7ff0), (8, 0x40_1238, 0x6ff0)]);
        assert!(!facts.is_cut);
        assert_eq!(core.executable_path(), Some("/srv/shop"));
        assert_eq!((core.entry, core.base), (0x40_1000, Some(0x40_0000)));
        let code: Vec<_> = facts
            .code
            .iter()
            .map(|of| (of.start, of.end, of.offset))
            .collect();
        assert_eq!(code, [(0x40_0000, 0x40_2000, 0)]);
        let mut buf = [0; 4];
        core.memory.read(0x60_0004, &mut buf).unwrap();
        assert_eq!(&buf, b"./sh");
        assert!(core.memory.read(0x40_0000, &mut buf).is_err(), "left out");
        assert!(
            core.memory
                .read(0x60_0000 + DATA.len() as u64 - 2, &mut buf)
                .is_err(),
            "its end"
        );
    }

    #[test]
    fn without_mapped_files_the_start_command_names_the_executable() {
        let notes = note(NT_AUXV, &words(&[9, 0x40_1000, AT_EXECFN, 0x60_0004, 0, 0]));
        assert_eq!(
            read(core(&notes)).unwrap().executable_path(),
            Some("./shop")
        );
        let notes = note(NT_AUXV, &words(&[9, 0x40_1000, AT_EXECFN, 0x10, 0, 0]));
        assert_eq!(read(core(&notes)).unwrap().executable_path(), None);
    }

    #[test]
    fn what_is_no_core_or_a_broken_one_is_refused() {
        let whole = core(&notes());
        let with = |at: usize, bytes: &[u8]| {
            let mut broken = whole.clone();
            broken[at..at + bytes.len()].copy_from_slice(bytes);
            broken
        };
        let rows = [
            ("empty", Vec::new()),
            ("text", b"#!/bin/sh\n".repeat(20)),
            ("an executable", with(16, &[2])),
            ("32 bits", with(4, &[1])),
            ("big-endian", with(5, &[2])),
            ("headers of another size", with(54, &[32])),
            ("cut in its headers", whole[..200].to_vec()),
            ("more headers than there are", with(56, &[0xff, 0xfe])),
            (
                "no start-up values",
                core(&note(NT_PRPSINFO, &info(5, "shop"))),
            ),
            (
                "notes past the end",
                with(HEADER_BYTES + 8, &[0xff, 0xff, 0xff]),
            ),
        ];
        for (name, bytes) in rows {
            assert!(read(bytes).is_err(), "{name}");
        }
        let cut = read(whole[..whole.len() - 1].to_vec()).unwrap();
        assert!(cut.facts().is_cut);
    }

    #[test]
    fn more_segments_than_the_header_can_count() {
        let mut bytes = core(&notes());
        bytes[56..58].copy_from_slice(&PN_XNUM.to_le_bytes());
        let at = bytes.len() as u64;
        bytes[40..48].copy_from_slice(&at.to_le_bytes());
        let mut section = vec![0; 64];
        section[44] = 4;
        bytes.extend(section);
        assert_eq!(read(bytes.clone()).unwrap().facts().threads.len(), 2);
        let end = bytes.len();
        bytes[end - 18] = 0xff; // The count's third byte.
        assert!(read(bytes).is_err());
    }

    proptest! {
        #[test]
        fn no_change_of_a_core_makes_a_panic(
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..12),
            end in any::<prop::sample::Index>(),
            addrs in prop::collection::vec(any::<u64>(), 4),
        ) {
            let mut bytes = core(&notes());
            for (at, byte) in changes {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            if end.index(4) == 0 {
                bytes.truncate(end.index(bytes.len()));
            }
            if let Ok(core) = read(bytes.clone()) {
                for addr in addrs.iter().copied().chain([0x60_0000, 0x40_0ff8]) {
                    let _ = core.memory.read(addr, &mut [0; 64]);
                }
                let _ = Program::open_core(core, Arc::new(bytes));
            }
        }
    }
}
