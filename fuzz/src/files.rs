//! Big inputs: executables and cores. They are not copied for a round; changed bytes lie over them.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use inspect::ReadAt;
use inspect::fuzz::Source;

use crate::corpus::Made;
use crate::parsers::{Input, Parser};
use crate::random::Random;

/// Of one read, so many bytes at its beginning are where headers are.
const HEAD_BYTES: usize = 512;

/// What is done with the files of one program.
pub(crate) type Run = fn(&[Source]);

/// Programs as files, and where their readers look.
pub(crate) struct Files {
    sets: Vec<Set>,
    run: Run,
}

struct Set {
    name: String,
    files: Vec<File>,
}

struct File {
    bytes: Arc<Vec<u8>>,
    /// Offset and length of what was read of it when it was whole.
    seen: Vec<(usize, usize)>,
}

impl Files {
    /// The files of each of these programs that `of` picks.
    pub(crate) fn new(made: &[Made], of: fn(&Made) -> Vec<Arc<Vec<u8>>>, run: Run) -> Self {
        let sets = made.iter().map(|made| {
            let whole = of(made);
            let traced: Vec<Arc<Traced>> = whole.into_iter().map(Traced::new).collect();
            let sources: Vec<Source> = traced.iter().map(|of| Arc::clone(of) as Source).collect();
            run(&sources);
            Set {
                name: made.name.clone(),
                files: traced.iter().map(|of| of.file()).collect(),
            }
        });
        Self {
            sets: sets.collect(),
            run,
        }
    }
}

impl Parser for Files {
    fn make(&self, random: &mut Random) -> Box<dyn Input + '_> {
        let set = &self.sets[random.place(self.sets.len())];
        let mut files: Vec<Changed> = set.files.iter().map(Changed::new).collect();
        let count = [2, 4, 40, 400][random.place(4)];
        for _ in 0..=random.below(count) {
            // The first file is the one that it is about.
            let at = if random.below(4) == 0 {
                random.place(files.len())
            } else {
                0
            };
            files[at].damage(&set.files[at], random);
        }
        if random.below(16) == 0 {
            files[0].len = random.place(files[0].bytes.len());
        }
        Box::new(Pair {
            name: &set.name,
            files: files.into_iter().map(Arc::new).collect(),
            run: self.run,
        })
    }
}

/// One file with changes.
struct Changed {
    bytes: Arc<Vec<u8>>,
    len: usize,
    changes: BTreeMap<usize, u8>,
}

impl Changed {
    fn new(file: &File) -> Self {
        Self {
            bytes: Arc::clone(&file.bytes),
            len: file.bytes.len(),
            changes: BTreeMap::new(),
        }
    }

    fn damage(&mut self, file: &File, random: &mut Random) {
        let (start, mut len) = match file.seen.len() {
            0 => (0, self.bytes.len()),
            count => file.seen[random.place(count)],
        };
        if random.below(2) == 0 {
            len = len.min(HEAD_BYTES);
        }
        let mut at = start + random.place(len);
        if random.below(2) == 0 {
            at &= !7;
        }
        let old = self.bytes.get(at..at + 8).map_or(0, |of| {
            of.iter().rev().fold(0, |n, b| n << 8 | u64::from(*b))
        });
        let width = [1, 2, 4, 8][random.place(4)];
        let value = match random.below(8) {
            0 | 1 => old ^ 1 << random.below(8 * width),
            2 => 0,
            3 => u64::MAX >> random.below(64),
            4 => old.wrapping_add(1 << random.below(33)),
            5 => random.below(64),
            6 => old.wrapping_sub(random.below(64)),
            _ => random.next(),
        };
        for (i, byte) in value.to_le_bytes()[..width as usize].iter().enumerate() {
            self.changes.insert(at + i, *byte);
        }
    }

    fn made(&self) -> Vec<u8> {
        let mut bytes = self.bytes.to_vec();
        for (&at, &value) in &self.changes {
            if let Some(byte) = bytes.get_mut(at) {
                *byte = value;
            }
        }
        bytes.truncate(self.len);
        bytes
    }
}

impl ReadAt for Changed {
    fn read_exact_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        self.bytes[..self.len].read_exact_at(offset, buf)?;
        let start = offset as usize; // Less than the length, as that has worked.
        for (&at, &value) in self.changes.range(start..start + buf.len()) {
            buf[at - start] = value;
        }
        Ok(())
    }
}

struct Pair<'a> {
    name: &'a str,
    files: Vec<Arc<Changed>>,
    run: Run,
}

impl Input for Pair<'_> {
    fn run(&self) -> u64 {
        let sources: Vec<Source> = self
            .files
            .iter()
            .map(|of| Arc::clone(of) as Source)
            .collect();
        (self.run)(&sources);
        self.files.iter().map(|of| of.len as u64).sum()
    }

    fn recipe(&self) -> String {
        let mut text = format!("program {}\n", self.name);
        for (at, file) in self.files.iter().enumerate() {
            let _ = writeln!(
                text,
                "file {at}: {} of {} bytes",
                file.len,
                file.bytes.len()
            );
            for (offset, value) in &file.changes {
                let _ = writeln!(text, "file {at}: byte {offset} = {value:#x}");
            }
        }
        text
    }

    fn files(&self) -> Vec<(&'static str, Vec<u8>)> {
        let names = ["file0", "file1"];
        let made = self.files.iter().map(|file| file.made());
        names.into_iter().zip(made).collect()
    }
}

/// A file that notes what is read of it.
struct Traced {
    bytes: Arc<Vec<u8>>,
    seen: Mutex<Vec<(usize, usize)>>,
}

impl Traced {
    fn new(bytes: Arc<Vec<u8>>) -> Arc<Self> {
        let seen = Mutex::default();
        Arc::new(Self { bytes, seen })
    }

    fn file(&self) -> File {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let mut seen = std::mem::take(&mut *seen);
        seen.sort_unstable();
        seen.dedup();
        File {
            bytes: Arc::clone(&self.bytes),
            seen,
        }
    }
}

impl ReadAt for Traced {
    fn read_exact_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        self.bytes.read_exact_at(offset, buf)?;
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.push((offset as usize, buf.len()));
        Ok(())
    }
}
