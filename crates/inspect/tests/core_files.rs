//! Cores of real programs against the same programs alive: the same figures, profile and goroutines.
//!
//! The cores are made here, as the kernel makes them by default: without pages that are unchanged copies of files,
//! but for the first one of each. So neither a debugger nor a setting of the host is needed.
#![allow(
    clippy::unwrap_used,
    reason = "helpers of tests, too, fail by panicking"
)]

mod common;

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use common::{FORMS, Running, Source, newest};
use inspect::goroutines::{Options, goroutines};
use inspect::{HeapProfile, InspectError, MemStats, MemStatsReader, Program, fuzz_one};

const SOURCE: Source = Source::new("core", &[("main.go", include_str!("core_files/main.go"))]);

fn build(flags: &[&str]) -> PathBuf {
    SOURCE.build(&newest(), flags)
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

/// A mapping of `/proc/PID/maps`, with the bytes that go into a core.
struct Mapping {
    start: u64,
    end: u64,
    offset: u64,
    is_code: bool,
    file: Option<String>,
    bytes: Vec<u8>,
}

fn mappings(pid: u32) -> Vec<Mapping> {
    let memory = fs::File::open(format!("/proc/{pid}/mem")).unwrap();
    let text = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
    let mapping = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let (start, end) = fields[0].split_once('-').unwrap();
        let number = |text| u64::from_str_radix(text, 16).unwrap();
        let (start, end, offset) = (number(start), number(end), number(fields[2]));
        let file = fields.get(5).filter(|file| file.starts_with('/'));
        let stored = match (fields[1].as_bytes(), file.is_some(), offset) {
            ([b'r', b'w', ..], _, _) | ([b'r', ..], false, _) => end - start,
            ([b'r', ..], true, 0) => 4096,
            _ => 0,
        };
        let mut bytes = vec![0; stored as usize];
        if memory.read_exact_at(&mut bytes, start).is_err() {
            bytes.clear();
        }
        Mapping {
            start,
            end,
            offset,
            is_code: fields[1].contains('x'),
            file: file.map(|file| (*file).to_owned()),
            bytes,
        }
    };
    text.lines().map(mapping).collect()
}

fn core_of(pid: u32) -> Vec<u8> {
    let mappings = mappings(pid);
    let files: Vec<&Mapping> = mappings.iter().filter(|of| of.file.is_some()).collect();
    let ranges = files
        .iter()
        .map(|of| words(&[of.start, of.end, of.offset / 4096]));
    let names = files
        .iter()
        .map(|of| [of.file.clone().unwrap().as_bytes(), b"\0"].concat());
    let mut file_note = words(&[files.len() as u64, 4096]);
    file_note.extend(ranges.chain(names).flatten());
    let auxv = fs::read(format!("/proc/{pid}/auxv")).unwrap();
    let notes = [note(6, &auxv), note(0x4649_4c45, &file_note)].concat();

    let count = mappings.len() as u16 + 1;
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
    for of in &mappings {
        let flags = if of.is_code { 5 } else { 6 };
        segment(1, flags, of.start, of.bytes.len() as u64, of.end - of.start);
    }
    core.extend(notes);
    for of in mappings {
        core.extend(of.bytes);
    }
    core
}

fn figures(program: &Program) -> MemStats {
    let mut stats = MemStatsReader::new(program).unwrap().read().unwrap();
    stats.cost = inspect::memory::ReadCost::default();
    // The scavenger gives pages back when it likes.
    (stats.heap_released, stats.sys) = (0, 0);
    stats
}

fn text(program: &Program) -> String {
    let dump = goroutines(program, &Options::default()).unwrap();
    dump.text(false).to_string()
}

#[test]
fn a_core_tells_what_the_process_told() {
    for (form, flags) in FORMS {
        let executable = build(flags);
        let running = Running::start(&executable, &[]);
        let live = Program::attach(running.pid()).unwrap();
        // It says that it is ready, and goes to wait then.
        while !text(&live).contains("main.main") || !text(&live).contains("os.(*File).Read") {
            std::thread::sleep(Duration::from_millis(5));
        }
        let core = executable.with_file_name("core");
        fs::write(&core, core_of(running.pid())).unwrap();
        let dead = Program::from_core(&core, None).unwrap();
        assert_eq!(dead.bias(), live.bias(), "{form}");
        assert_eq!(figures(&dead), figures(&live), "{form}");

        let (ours, theirs) = (
            HeapProfile::read(&dead).unwrap(),
            HeapProfile::read(&live).unwrap(),
        );
        assert!(
            theirs.steady && theirs.buckets.len() > 10,
            "{form}: {}",
            theirs.buckets.len()
        );
        assert_eq!(ours.buckets, theirs.buckets, "{form}");

        assert_eq!(text(&dead), text(&live), "{form}");
        assert!(
            text(&dead).matches("[chan send]").count() == 20,
            "{form}: {}",
            text(&dead)
        );

        let code = |program: &Program| {
            let mut all = program.mappings().into_iter();
            all.find(|of| of.file.ends_with("program")).unwrap()
        };
        assert_eq!(code(&dead), code(&live), "{form}");
    }
}

#[test]
fn another_executable_is_refused() {
    let executable = build(FORMS[1].1);
    let running = Running::start(&executable, &[]);
    let core = executable.with_file_name("core-of-another");
    fs::write(&core, core_of(running.pid())).unwrap();
    let others = [build(FORMS[0].1), build(FORMS[2].1)];
    for other in others {
        let refused = Program::from_core(&core, Some(&other));
        assert!(
            matches!(refused, Err(InspectError::OtherExecutable)),
            "{refused:?}"
        );
    }
    let refused = Program::from_core(&core, Some(Path::new("/no/such/file")));
    assert!(
        matches!(refused, Err(InspectError::NoExecutable { .. })),
        "{refused:?}"
    );
    let mut cut = fs::read(&core).unwrap();
    cut.truncate(cut.len() / 8);
    fs::write(&core, cut).unwrap();
    let refused = Program::from_core(&core, None);
    assert!(
        matches!(refused, Err(InspectError::CutCore { .. })),
        "{refused:?}"
    );
}

/// As often as `UNSWEPT_FUZZ_ROUNDS` says; `UNSWEPT_SEED` repeats a run.
#[test]
fn no_changed_core_makes_a_panic() {
    let number = |name: &str| {
        std::env::var(name)
            .ok()
            .map(|text| text.parse::<u64>().unwrap())
    };
    let seed = number("UNSWEPT_SEED").unwrap_or_else(|| std::process::id().into());
    println!("UNSWEPT_SEED={seed}");
    let mut state = seed | 1;
    // xorshift64* (G. Marsaglia, S. Vigna).
    let mut below = |limit: usize| {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        (state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32) as usize % limit
    };
    let executable = build(FORMS[1].1);
    let running = Running::start(&executable, &[]);
    let core = core_of(running.pid());
    drop(running);
    let mut input = b"core".to_vec();
    input.extend((core.len() as u32).to_le_bytes());
    input.extend(&core);
    let start = 8;
    input.extend(fs::read(&executable).unwrap());
    // Most of a core is zeros that nobody reads: words that hold something are changed.
    let held: Vec<usize> = (0..core.len() / 8)
        .filter(|at| core[at * 8..][..8] != [0; 8])
        .collect();
    for _ in 0..number("UNSWEPT_FUZZ_ROUNDS").unwrap_or(30) {
        let mut changed = input.clone();
        for _ in 0..1 + below(200) {
            let at = start + held[below(held.len())] * 8 + below(8);
            changed[at] = below(256) as u8;
        }
        fuzz_one(&changed);
    }
}
