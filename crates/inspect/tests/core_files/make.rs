//! A core of a process that goes on, made without a debugger and whatever the host's settings are.
//!
//! For tests and fuzzers: whatever goes wrong here is a panic.

use std::fs;
use std::os::unix::fs::FileExt;

const NT_AUXV: u32 = 6;
const NT_FILE: u32 = 0x4649_4c45;

/// What a core is made from. The process should stand still, at least where somebody will look.
pub(crate) struct Image {
    mappings: Vec<Mapping>,
    auxv: Vec<u8>,
}

/// A mapping of `/proc/PID/maps`, with its bytes; none where it cannot be read.
struct Mapping {
    start: u64,
    end: u64,
    offset: u64,
    is_code: bool,
    file: Option<String>,
    /// How many bytes the kernel writes by default: no pages that are unchanged copies of files, but for the first
    /// one of each.
    by_default: usize,
    bytes: Vec<u8>,
}

impl Image {
    /// Copies the memory of `pid`.
    pub(crate) fn of(pid: u32) -> Self {
        let memory = fs::File::open(format!("/proc/{pid}/mem")).expect("its memory");
        let text = fs::read_to_string(format!("/proc/{pid}/maps")).expect("its mappings");
        Self {
            mappings: text.lines().map(|line| mapping(&memory, line)).collect(),
            auxv: fs::read(format!("/proc/{pid}/auxv")).expect("its start-up values"),
        }
    }

    /// A core: with all its memory, or as the kernel writes it by default.
    pub(crate) fn core(&self, whole: bool) -> Vec<u8> {
        let stored = |of: &Mapping| match whole {
            true => of.bytes.len(),
            false => of.by_default.min(of.bytes.len()),
        };
        let notes = [note(NT_AUXV, &self.auxv), note(NT_FILE, &self.files())].concat();
        let count = u16::try_from(self.mappings.len() + 1).expect("few mappings");
        let mut at = 64 + u64::from(count) * 56;
        let mut core = vec![0; 64];
        core[..6].copy_from_slice(b"\x7fELF\x02\x01");
        core[16..20].copy_from_slice(&[4, 0, 62, 0]);
        core[32] = 64;
        core[54] = 56;
        core[56..58].copy_from_slice(&count.to_le_bytes());
        let mut segment = |kind: u32, flags: u32, addr: u64, stored: u64, bytes: u64| {
            core.extend([kind.to_le_bytes(), flags.to_le_bytes()].concat());
            core.extend(words(&[at, addr, 0, stored, bytes, 1]));
            at += stored;
        };
        segment(4, 0, 0, notes.len() as u64, 0);
        for of in &self.mappings {
            let flags = if of.is_code { 5 } else { 6 };
            segment(1, flags, of.start, stored(of) as u64, of.end - of.start);
        }
        core.extend(notes);
        for of in &self.mappings {
            core.extend(&of.bytes[..stored(of)]);
        }
        core
    }

    /// Which file was mapped where.
    fn files(&self) -> Vec<u8> {
        let files = self
            .mappings
            .iter()
            .filter_map(|of| Some((of, of.file.as_ref()?)));
        let (mut ranges, mut names, mut count) = (Vec::new(), Vec::new(), 0);
        for (of, name) in files {
            ranges.extend(words(&[of.start, of.end, of.offset / 4096]));
            names.extend([name.as_bytes(), b"\0"].concat());
            count += 1;
        }
        [words(&[count, 4096]), ranges, names].concat()
    }
}

fn mapping(memory: &fs::File, line: &str) -> Mapping {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let (start, end) = fields[0].split_once('-').expect("a range");
    let number = |text| u64::from_str_radix(text, 16).expect("a number");
    let (start, end, offset) = (number(start), number(end), number(fields[2]));
    let file = fields.get(5).filter(|file| file.starts_with('/'));
    let all = (end - start) as usize;
    let (readable, by_default) = match (fields[1].as_bytes(), file.is_some(), offset) {
        ([b'r', b'w', ..], _, _) | ([b'r', ..], false, _) => (all, all),
        ([b'r', ..], true, 0) => (all, 4096),
        ([b'r', ..], true, _) => (all, 0),
        _ => (0, 0),
    };
    let mut bytes = vec![0; readable];
    if memory.read_exact_at(&mut bytes, start).is_err() {
        bytes.clear();
    }
    Mapping {
        start,
        end,
        offset,
        is_code: fields[1].contains('x'),
        file: file.map(|file| (*file).to_owned()),
        by_default,
        bytes,
    }
}

fn words(words: &[u64]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

fn note(kind: u32, contents: &[u8]) -> Vec<u8> {
    let head = [5_u32, contents.len() as u32, kind];
    let mut bytes: Vec<u8> = head.iter().flat_map(|word| word.to_le_bytes()).collect();
    bytes.extend(b"CORE\0\0\0\0");
    bytes.extend(contents);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}
