//! Small inputs: recorded ones, damaged as bytes.

use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use crate::parsers::{Input, Parser};
use crate::random::Random;

/// Of a recorded file that is read; what is longer says nothing new.
const SEED_BYTES_MAX: u64 = 1 << 20;

/// A parser of one piece of bytes, and recorded inputs for it.
pub(crate) struct Texts {
    seeds: Vec<(String, Vec<u8>)>,
    run: fn(&[u8]),
}

impl Texts {
    /// With all files below `folders` for seeds; the unpacked form of what is gzip, too.
    pub(crate) fn new(folders: &[PathBuf], run: fn(&[u8])) -> anyhow::Result<Self> {
        let mut seeds = vec![("nothing".to_owned(), Vec::new())];
        for folder in folders {
            add(folder, &mut seeds)?;
        }
        anyhow::ensure!(seeds.len() > 1, "no recorded input in {folders:?}");
        seeds.sort();
        Ok(Self { seeds, run })
    }
}

fn add(folder: &Path, seeds: &mut Vec<(String, Vec<u8>)>) -> anyhow::Result<()> {
    let entries = fs::read_dir(folder).with_context(|| format!("no {}", folder.display()))?;
    for entry in entries {
        let path = entry?.path();
        if path.is_dir() {
            add(&path, seeds)?;
            continue;
        }
        let mut bytes = Vec::new();
        let file = fs::File::open(&path)?.take(SEED_BYTES_MAX);
        std::io::BufReader::new(file).read_to_end(&mut bytes)?;
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let mut unpacked = Vec::new();
        let gzip = flate2::read::GzDecoder::new(&bytes[..]).take(SEED_BYTES_MAX);
        if { gzip }.read_to_end(&mut unpacked).is_ok() {
            // Twice as often as the packed one, where most damage ends in the checksum.
            seeds.push((format!("{name}, unpacked"), unpacked.clone()));
            seeds.push((format!("{name}, unpacked"), unpacked));
        }
        seeds.push((name.into_owned(), bytes));
    }
    Ok(())
}

impl Parser for Texts {
    fn make(&self, random: &mut Random) -> Box<dyn Input + '_> {
        let (name, seed) = &self.seeds[random.place(self.seeds.len())];
        let mut bytes = seed.clone();
        let mut steps = format!("seed {name}\n");
        for _ in 0..random.below(8) {
            steps += &self.damage(&mut bytes, random);
        }
        Box::new(Text {
            bytes,
            steps,
            run: self.run,
        })
    }
}

impl Texts {
    fn damage(&self, bytes: &mut Vec<u8>, random: &mut Random) -> String {
        let at = random.place(bytes.len() + 1);
        let end = (at + random.place(40)).min(bytes.len());
        let value = random.next() as u8;
        match random.below(12) {
            0..3 if at < bytes.len() => {
                bytes[at] = value;
                format!("byte {at} = {value:#x}\n")
            }
            3..5 if at < bytes.len() => {
                bytes[at] ^= 1 << (value % 8);
                format!("byte {at} ^ bit {}\n", value % 8)
            }
            5 => {
                bytes.truncate(at);
                format!("truncated to {at}\n")
            }
            6 => {
                bytes[at..end].fill(0xff);
                format!("bytes {at}..{end} = 0xff\n")
            }
            7 => {
                bytes.drain(at..end);
                format!("bytes {at}..{end} cut out\n")
            }
            8 => {
                // What a field was, as big as it can be.
                let words: [&[u8]; 5] = [
                    b"18446744073709551615",
                    b"-9223372036854775808",
                    b"1e999",
                    b"0xffffffffffffffff",
                    b"NaN",
                ];
                let word = words[random.place(words.len())];
                bytes.splice(at..end, word.iter().copied());
                format!("bytes {at}..{end} = {}\n", String::from_utf8_lossy(word))
            }
            9 => {
                let (name, other) = &self.seeds[random.place(self.seeds.len())];
                let from = random.place(other.len() + 1);
                let to = (from + random.place(200)).min(other.len());
                bytes.splice(at..end, other[from..to].iter().copied());
                format!("bytes {at}..{end} = {from}..{to} of {name}\n")
            }
            _ => {
                let piece = bytes[at..end].to_vec();
                let times = 1 + random.place(20);
                for _ in 0..times {
                    bytes.splice(at..at, piece.iter().copied());
                }
                format!("bytes {at}..{end} again {times} times\n")
            }
        }
    }
}

struct Text {
    bytes: Vec<u8>,
    steps: String,
    run: fn(&[u8]),
}

impl Input for Text {
    fn run(&self) -> u64 {
        (self.run)(&self.bytes);
        self.bytes.len() as u64
    }

    fn recipe(&self) -> String {
        self.steps.clone()
    }

    fn files(&self) -> Vec<(&'static str, Vec<u8>)> {
        vec![("input", self.bytes.clone())]
    }
}
