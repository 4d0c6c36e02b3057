//! Big inputs: executables and cores. They are not copied for a round; changed bytes lie over them. A reader that looked
//! at none of the changed bytes when the files were whole would read the same again, so it is not asked.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use inspect::ReadAt;
use inspect::fuzz::{Look, Source};

use crate::corpus::Made;
use crate::parsers::{Input, Parser};
use crate::random::Random;

/// Of one read, so many bytes at its beginning are where headers are.
const HEAD_BYTES: usize = 512;

/// A reader of the files of one program.
pub(crate) type Reader = fn(&[Source], Look);

/// Picks the files of a program.
pub(crate) type Pick = fn(&Made) -> anyhow::Result<Vec<Arc<Vec<u8>>>>;

/// Programs as files, and where their readers look.
pub(crate) struct Files {
    sets: Vec<Set>,
    readers: &'static [Reader],
}

struct Set {
    name: String,
    files: Vec<File>,
}

struct File {
    bytes: Arc<Vec<u8>>,
    /// What was read of it when it was whole.
    seen: Vec<Stretch>,
    /// The same, of each reader.
    by_reader: Vec<Seen>,
}

/// Offset and length.
type Stretch = (usize, usize);

impl Files {
    /// The files of each of these programs that `of` picks.
    pub(crate) fn new(made: &[Made], of: Pick, readers: &'static [Reader]) -> anyhow::Result<Self> {
        let sets = made.iter().map(|made| {
            let traced: Vec<Arc<Traced>> = of(made)?.into_iter().map(Traced::new).collect();
            let sources: Vec<Source> = traced.iter().map(|of| Arc::clone(of) as Source).collect();
            let mut files: Vec<File> = traced.iter().map(|of| of.file()).collect();
            for reader in readers {
                // Either way of a look, as it reads more than the other somewhere.
                for low_memory in [false, true] {
                    let look = Look {
                        low_memory,
                        ..Look::default()
                    };
                    reader(&sources, look);
                }
                for (file, traced) in files.iter_mut().zip(&traced) {
                    file.add(traced.take());
                }
            }
            anyhow::Ok(Set {
                name: made.name.clone(),
                files,
            })
        });
        Ok(Self {
            sets: sets.collect::<anyhow::Result<_>>()?,
            readers,
        })
    }
}

impl File {
    /// Adds what one more reader saw.
    fn add(&mut self, seen: Vec<Stretch>) {
        self.by_reader.push(Seen::new(&seen));
        self.seen.extend(seen);
        self.seen.sort_unstable();
        self.seen.dedup();
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
            set,
            files: files.into_iter().map(Arc::new).collect(),
            readers: self.readers,
            look: Look::new(&mut |limit| random.below(limit)),
        })
    }
}

/// The bytes that a reader saw, as sorted stretches that do not touch: begin and end.
#[derive(Debug, PartialEq, Eq)]
struct Seen(Vec<(usize, usize)>);

impl Seen {
    fn new(stretches: &[Stretch]) -> Self {
        let mut sorted = stretches.to_vec();
        sorted.sort_unstable();
        let mut joined: Vec<(usize, usize)> = Vec::new();
        for (start, len) in sorted.into_iter().filter(|(_, len)| *len > 0) {
            match joined.last_mut() {
                Some(last) if start <= last.1 => last.1 = last.1.max(start + len),
                _ => joined.push((start, start + len)),
            }
        }
        Self(joined)
    }

    fn has(&self, at: usize) -> bool {
        let after = self.0.partition_point(|(start, _)| *start <= at);
        after > 0 && at < self.0[after - 1].1
    }

    /// Whether it would see what is changed.
    fn meets(&self, file: &Changed) -> bool {
        let is_cut = self.0.last().is_some_and(|(_, end)| *end > file.len);
        is_cut || file.changes.keys().any(|&at| self.has(at))
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
    set: &'a Set,
    files: Vec<Arc<Changed>>,
    readers: &'static [Reader],
    look: Look,
}

impl Pair<'_> {
    /// Whether a reader, by its number, sees any of the changes.
    fn meets(&self, reader: usize) -> bool {
        let mut files = self.set.files.iter().zip(&self.files);
        files.any(|(whole, changed)| whole.by_reader[reader].meets(changed))
    }
}

impl Input for Pair<'_> {
    fn run(&self) -> u64 {
        let sources: Vec<Source> = self
            .files
            .iter()
            .map(|of| Arc::clone(of) as Source)
            .collect();
        for (number, reader) in self.readers.iter().enumerate() {
            if self.meets(number) {
                reader(&sources, self.look);
            }
        }
        self.files.iter().map(|of| of.len as u64).sum()
    }

    fn recipe(&self) -> String {
        let mut text = format!("program {}\n{:?}\n", self.set.name, self.look);
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
    seen: Mutex<Vec<Stretch>>,
}

impl Traced {
    fn new(bytes: Arc<Vec<u8>>) -> Arc<Self> {
        let seen = Mutex::default();
        Arc::new(Self { bytes, seen })
    }

    /// The file, of which nothing was seen.
    fn file(&self) -> File {
        File {
            bytes: Arc::clone(&self.bytes),
            seen: Vec::new(),
            by_reader: Vec::new(),
        }
    }

    /// What was read since the last time that this was asked.
    fn take(&self) -> Vec<Stretch> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let mut seen = std::mem::take(&mut *seen);
        seen.sort_unstable();
        seen.dedup();
        seen
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_is_asked_when_it_would_see_a_change() {
        let seen = Seen::new(&[(10, 4), (0, 0), (14, 2), (12, 1), (40, 8)]);
        assert_eq!(seen, Seen(vec![(10, 16), (40, 48)]));
        let rows: &[(&str, usize, &[usize], bool)] = &[
            ("nothing is changed", 50, &[], false),
            ("before, between and behind", 50, &[9, 16, 39, 48], false),
            ("the first byte", 50, &[10], true),
            ("the last byte", 50, &[1, 47], true),
            ("where two reads meet", 50, &[14], true),
            ("cut behind all", 48, &[], false),
            ("cut", 47, &[], true),
        ];
        for (name, len, changes, want) in rows {
            let file = Changed {
                bytes: Arc::new(vec![0; 50]),
                len: *len,
                changes: changes.iter().map(|&at| (at, 1)).collect(),
            };
            assert_eq!(seen.meets(&file), *want, "{name}");
        }
        assert!(!Seen::new(&[]).meets(&Changed {
            bytes: Arc::default(),
            len: 0,
            changes: BTreeMap::new(),
        }));
    }
}
