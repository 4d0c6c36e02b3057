//! Where a holder's memory was allocated: the memory profile's samples that are still alive, each under the holder
//! that has it now. Holder and allocator in one line, also in stripped programs.

use std::collections::HashMap;

use super::groups::{Groups, Numbered};
use super::{Site, Taken};
use crate::memory::le64;
use crate::{InspectError, Program, limits};

/// Sites told of one holder.
const SITES_TOLD: usize = 3;
/// Frames of one allocation.
const FRAMES_MAX: u64 = 128;

/// Fills in the allocation sites of `holders`.
pub(super) fn add(
    buckets: &mut Buckets<'_>,
    taken: &Taken,
    groups: &Groups,
    holders: &mut [Numbered],
) {
    let mut found: HashMap<u32, HashMap<u64, u64>> = HashMap::new();
    for &(object, bucket) in &taken.roots.samples {
        if let Some(top) = groups.top_of(object) {
            *found.entry(top).or_default().entry(bucket).or_default() += 1;
        }
    }
    for numbered in holders {
        let samples = found.remove(&numbered.top).unwrap_or_default();
        numbered.holder.allocated_at = buckets.sites(samples);
    }
}

/// The buckets of the memory profile that were asked for so far.
pub(super) struct Buckets<'a> {
    program: &'a Program,
    rate: u64,
    known: HashMap<u64, Option<Bucket>>,
}

impl<'a> Buckets<'a> {
    pub(super) fn new(program: &'a Program) -> Self {
        let rate = program.symbol("runtime.MemProfileRate").ok();
        let rate = rate.and_then(|addr| program.memory().u64(addr).ok());
        Self {
            program,
            rate: rate.unwrap_or(0),
            known: HashMap::new(),
        }
    }

    /// The places that stand for so many samples of each bucket, the biggest first.
    pub(super) fn sites(&mut self, samples: impl IntoIterator<Item = (u64, u64)>) -> Vec<Site> {
        let mut sites: HashMap<(String, String, u32), (u64, u64)> = HashMap::new();
        for (bucket, samples) in samples {
            let known = self
                .known
                .entry(bucket)
                .or_insert_with(|| Bucket::read(self.program, bucket).ok());
            if let Some(bucket) = known
                && let Some(place) = &bucket.place
            {
                let site = sites.entry(place.clone()).or_default();
                let bytes = samples.saturating_mul(bucket.bytes_of_sample(self.rate));
                site.0 = site.0.saturating_add(bytes);
                site.1 += samples;
            }
        }
        let site = |((function, file, line), (bytes, samples))| Site {
            function,
            file,
            line,
            bytes,
            samples,
        };
        let mut sites: Vec<Site> = sites.into_iter().map(site).collect();
        sites.sort_by(|left, right| {
            (right.bytes, &left.function, left.line).cmp(&(left.bytes, &right.function, right.line))
        });
        sites.truncate(SITES_TOLD);
        sites
    }
}

/// One bucket of the memory profile.
struct Bucket {
    size: u64,
    place: Option<(String, String, u32)>,
}

impl Bucket {
    fn read(program: &Program, addr: u64) -> Result<Self, InspectError> {
        let (memory, layout) = (program.memory(), program.layout());
        let header = layout.size("bucket")?;
        let bytes = memory.bytes(
            "a bucket of the memory profile",
            addr,
            header,
            limits::STRUCTURE_BYTES_MAX,
        )?;
        let frames = layout.field("bucket.nstk")?.get(&bytes).min(FRAMES_MAX);
        let stack = memory.bytes(
            "a stack of the memory profile",
            addr + header,
            frames * 8,
            8 * FRAMES_MAX,
        )?;
        let stack: Vec<u64> = stack.chunks_exact(8).map(|word| le64(word, 0)).collect();
        Ok(Self {
            size: layout.field("bucket.size")?.get(&bytes),
            place: place(program, &stack),
        })
    }

    /// What one sample stands for: the profiler takes one allocation of about `rate` bytes.
    fn bytes_of_sample(&self, rate: u64) -> u64 {
        if rate <= 1 || self.size == 0 {
            return self.size;
        }
        let taken = 1.0 - (-(self.size as f64) / rate as f64).exp();
        (self.size as f64 / taken) as u64
    }
}

/// The innermost frame of the program's own code; else of a third party's; else outside the runtime.
fn place(program: &Program, stack: &[u64]) -> Option<(String, String, u32)> {
    let own = &program.executable().build.module_path;
    let mut best: Option<(u8, (String, String, u32))> = None;
    for &pc in stack {
        // Return addresses: the call lies before them.
        let Some(call) = pc.checked_sub(1) else {
            continue;
        };
        let Some(functions) = program.functions_of(call) else {
            continue;
        };
        let Some(id) = functions.find(call) else {
            continue;
        };
        for source in functions.sources(program.memory(), id, call) {
            let rank = rank(source.function, own);
            if best.as_ref().is_none_or(|(best, _)| rank < *best) {
                let place = (
                    source.function.to_owned(),
                    source.file.to_owned(),
                    source.line,
                );
                best = Some((rank, place));
            }
        }
    }
    best.filter(|(rank, _)| *rank < 4).map(|(_, place)| place)
}

/// 0 for the program's own packages, 1 for others with a domain in their path, 2 for the rest of the standard
/// library, 4 for the runtime.
pub(super) fn rank(function: &str, own: &str) -> u8 {
    let first = function.split(['/', '(']).next().unwrap_or_default();
    let package = function.split('(').next().unwrap_or_default();
    let is_own = package.starts_with("main.") || (!own.is_empty() && package.starts_with(own));
    match function {
        _ if is_own => 0,
        _ if function.starts_with("runtime.") || function.starts_with("internal/") => 4,
        // The first part of a path has a dot in a domain, and behind the package's name.
        _ if function.contains('/') && first.contains('.') => 1,
        _ => 2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_code_comes_before_libraries() {
        let rows = [
            ("main.(*Cache).Put", 0),
            ("example.com/shop/internal/cart.Add", 0),
            ("github.com/x/lru.(*Cache[...]).Add", 1),
            ("strings.(*Builder).grow", 2),
            ("encoding/json.Unmarshal", 2),
            ("runtime.mallocgc", 4),
            ("internal/runtime/maps.newarray", 4),
        ];
        for (function, want) in rows {
            assert_eq!(rank(function, "example.com/shop"), want, "{function}");
        }
    }

    #[test]
    fn a_sample_stands_for_what_the_profiler_passed_over() {
        let bucket = |size| Bucket { size, place: None };
        assert_eq!(bucket(64).bytes_of_sample(1), 64);
        let small = bucket(64).bytes_of_sample(512 << 10);
        assert!((520_000..530_000).contains(&small), "{small}");
        assert_eq!(bucket(100 << 20).bytes_of_sample(512 << 10), 100 << 20);
        // A size that no object has: its bytes are added up without a panic.
        assert_eq!(bucket(u64::MAX).bytes_of_sample(512 << 10), u64::MAX);
    }
}
