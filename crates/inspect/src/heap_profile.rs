//! The memory profile that the runtime keeps anyway: what `/debug/pprof/heap` would answer, without an endpoint.
//!
//! The runtime notes every so many allocated bytes the stack and the size of an allocation in a bucket, and counts
//! there how many such objects were allocated and freed. Frees are known only once the collector has swept, so
//! counts wait in a ring of three until their cycle is published (`memRecord` in `runtime/mprof.go` of the Go
//! source). What is read here is what `runtime.MemProfile` would give at that moment: the published counts, and
//! those of the cycle that is about to be.

use crate::locations::Locations;
use crate::memory::{Blocks, Memory, Range, ReadCost, le64};
use crate::program::minor_version;
use crate::{InspectError, NoHeapProfile, Program, limits};

/// The counts are read until two readings agree; a collection in between makes them differ.
const READINGS_MAX: usize = 6;
/// The rings of [`Bucket`]s have so many cycles.
const CYCLES: u64 = 3;

/// The profile of one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct HeapProfile {
    /// `runtime.MemProfileRate`: one sample in so many allocated bytes.
    pub rate: u64,
    /// As the runtime has them: the newest first.
    pub buckets: Vec<Bucket>,
    /// False when the program published counts between every two readings: those of some buckets may then be of
    /// another cycle than those of others.
    pub steady: bool,
    /// What reading took.
    pub cost: ReadCost,
    frames: Vec<u64>,
    has_label_always: bool,
    hides_internal_runtime: bool,
}

/// The samples of one allocating stack and object size. Counts are of samples, not of all objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bucket {
    /// Where the bucket lies; profile records of sampled objects point to it.
    pub addr: u64,
    /// The objects' size in bytes.
    pub size: u64,
    /// Sampled allocations.
    pub allocs: u64,
    /// Of those, freed.
    pub frees: u64,
    frames: (u32, u32),
}

/// One bucket as Go writes it into a profile file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeapSample {
    /// Its stack, the allocating function first: indices into [`Locations::list`].
    pub locations: Vec<usize>,
    /// `alloc_objects`, `alloc_space`, `inuse_objects`, `inuse_space`: estimates for all objects.
    pub values: [i64; 4],
    /// The label `bytes`: the objects' size.
    pub bytes: Option<u64>,
}

impl HeapProfile {
    /// Reads the profile. It neither stops nor changes the program, and never disturbs its own profiling.
    ///
    /// Cost: one read for each 64 KiB of buckets, which lie side by side, and for each 1,000 buckets two; 100,000
    /// buckets take some tens of milliseconds.
    ///
    /// # Errors
    /// [`InspectError::NoHeapProfile`] when the program keeps none, with the reason; otherwise when it has ended or
    /// its list of buckets contradicts itself.
    pub fn read(program: &Program) -> Result<Self, InspectError> {
        let (memory, layout) = (program.memory(), program.layout());
        let before = memory.cost();
        let rate = memory.u64(program.symbol("runtime.MemProfileRate")?)?;
        let first = memory.u64(program.symbol("runtime.mbuckets")?)?;
        let cycle = program.symbol("runtime.mProfCycle")?;
        let record_bytes = layout.size("memRecordCycle")? as usize;
        let chain = Chain {
            header_bytes: layout.size("bucket")?,
            next: layout.field("bucket.allnext")?,
            size: layout.field("bucket.size")?,
            depth: layout.field("bucket.nstk")?,
        };
        let (mut buckets, frames) = chain.read(memory, first)?;
        let counts = Counts {
            memory,
            cycle,
            header_bytes: chain.header_bytes,
            cycle_bytes: record_bytes,
        };
        let steady = counts.read(&mut buckets)?;
        if rate == 0 {
            refuse_if_not_kept(program, &buckets)?;
        }
        let after = memory.cost();
        let minor = minor_version(program.go_version()).unwrap_or(u32::MAX);
        Ok(Self {
            rate,
            buckets,
            steady,
            cost: ReadCost {
                calls: after.calls - before.calls,
                bytes: after.bytes - before.bytes,
            },
            frames,
            has_label_always: minor >= 27,
            hides_internal_runtime: minor >= 24,
        })
    }

    /// The bucket's stack, the allocating function first: return addresses, one for each call, inlined ones
    /// included.
    pub fn stack(&self, bucket: &Bucket) -> &[u64] {
        let (start, end) = bucket.frames;
        self.frames
            .get(start as usize..end as usize)
            .unwrap_or_default()
    }

    /// What Go writes for the bucket: the runtime's own frames at the leaf are hidden, counts are scaled to what
    /// they stand for.
    pub fn sample(&self, bucket: &Bucket, locations: &mut Locations<'_>) -> HeapSample {
        let stack = self.stack(bucket);
        let is_runtime = |addr: &u64| {
            let name = locations.function_at(*addr).unwrap_or("");
            name.starts_with("runtime.")
                || (self.hides_internal_runtime && name.starts_with("internal/runtime/"))
        };
        let hidden = stack.iter().position(|addr| !is_runtime(addr)).unwrap_or(0);
        let mut places = locations.of(&stack[hidden..]);
        if places.is_empty() {
            places = locations.of(stack);
        }
        let (allocs, frees) = (bucket.allocs as i64, bucket.frees as i64);
        let allocated = scaled(allocs, bucket.size, self.rate);
        let in_use = scaled(allocs.wrapping_sub(frees), bucket.size, self.rate);
        HeapSample {
            locations: places,
            values: [allocated.0, allocated.1, in_use.0, in_use.1],
            bytes: (self.has_label_always || allocs > 0).then_some(bucket.size),
        }
    }
}

/// Objects and bytes that `count` sampled objects of `size` bytes stand for: an object is sampled with the
/// probability 1 - e^(-size / rate) (`runtime/pprof/protomem.go`).
pub fn scaled(count: i64, size: u64, rate: u64) -> (i64, i64) {
    if count == 0 || size == 0 {
        return (0, 0);
    }
    let bytes = count.wrapping_mul(size as i64);
    if rate as i64 <= 1 {
        return (count, bytes);
    }
    let scale = 1.0 / (1.0 - (-(size as f64) / rate as f64).exp());
    ((count as f64 * scale) as i64, (bytes as f64 * scale) as i64)
}

/// With a rate of zero nothing is sampled: says why, unless something was before.
fn refuse_if_not_kept(program: &Program, buckets: &[Bucket]) -> Result<(), InspectError> {
    let why = if is_left_out(program) {
        NoHeapProfile::LeftOut
    } else if buckets.iter().all(|bucket| bucket.allocs == 0) {
        NoHeapProfile::TurnedOff
    } else {
        return Ok(());
    };
    Err(InspectError::NoHeapProfile { why })
}

/// The linker sets `disableMemoryProfiling` when nothing reaches `runtime.MemProfile`, or what does its work since
/// Go 1.23. Where the variable was not found, in a stripped program, the missing function tells the same.
fn is_left_out(program: &Program) -> bool {
    let flag = program.symbol("runtime.disableMemoryProfiling");
    match flag.and_then(|addr| program.memory().u8(addr)) {
        Ok(flag) => flag != 0,
        Err(_) => {
            let functions = program.modules().first();
            let functions = functions.and_then(|module| module.functions(program.memory()).ok());
            functions.is_some_and(|functions| {
                let reads = ["runtime.memProfileInternal", "runtime.MemProfile"];
                reads.iter().all(|name| functions.by_name(name).is_none())
            })
        }
    }
}

/// The list of all buckets. Headers and stacks don't change once a bucket is made, and none is ever freed.
struct Chain {
    header_bytes: u64,
    next: crate::layout::Field,
    size: crate::layout::Field,
    depth: crate::layout::Field,
}

impl Chain {
    fn read(
        &self,
        memory: &dyn Memory,
        first: u64,
    ) -> Result<(Vec<Bucket>, Vec<u64>), InspectError> {
        let mut blocks = Blocks::new(memory);
        let (mut buckets, mut frames) = (Vec::new(), Vec::new());
        let mut header = vec![0; self.header_bytes.min(limits::STRUCTURE_BYTES_MAX) as usize];
        let (mut at, mut seen) = (first, first);
        while at != 0 {
            blocks.read(at, &mut header)?;
            let depth = self.depth.get(&header);
            let too_many =
                buckets.len() >= limits::BUCKETS_MAX || frames.len() >= limits::BUCKETS_FRAMES_MAX;
            if depth > limits::BUCKET_FRAMES_MAX || too_many {
                return Err(contradiction("a bucket of the memory profile", at));
            }
            let start = frames.len();
            let mut stack = vec![0; depth as usize * 8];
            blocks.read(at.wrapping_add(self.header_bytes), &mut stack)?;
            frames.extend(stack.chunks_exact(8).map(|word| le64(word, 0)));
            buckets.push(Bucket {
                addr: at,
                size: self.size.get(&header),
                allocs: 0,
                frees: 0,
                // At most `BUCKETS_FRAMES_MAX` and one stack.
                frames: (start as u32, frames.len() as u32),
            });
            at = self.next.get(&header);
            // Brent: a cycle comes back to the bucket that stood at the last power of two.
            if at == seen {
                return Err(contradiction(
                    "the list of the memory profile's buckets",
                    at,
                ));
            }
            if buckets.len().is_power_of_two() {
                seen = at;
            }
        }
        Ok((buckets, frames))
    }
}

fn contradiction(what: &'static str, addr: u64) -> InspectError {
    InspectError::Contradiction { what, addr }
}

/// The counts behind each bucket's stack: those published, then the ring.
struct Counts<'a> {
    memory: &'a dyn Memory,
    cycle: u64,
    header_bytes: u64,
    cycle_bytes: usize,
}

impl Counts<'_> {
    /// Reads until two readings agree; false when none did. What counts are published changes once a collection,
    /// whatever is allocated meanwhile.
    fn read(&self, buckets: &mut [Bucket]) -> Result<bool, InspectError> {
        let mut before = None;
        for _ in 0..READINGS_MAX {
            let counts = self.once(buckets)?;
            let agree = before.as_ref() == Some(&counts);
            for (bucket, (allocs, frees)) in buckets.iter_mut().zip(&counts) {
                (bucket.allocs, bucket.frees) = (*allocs, *frees);
            }
            if agree {
                return Ok(true);
            }
            before = Some(counts);
        }
        Ok(false)
    }

    fn once(&self, buckets: &[Bucket]) -> Result<Vec<(u64, u64)>, InspectError> {
        let record_bytes = self.cycle_bytes.saturating_mul(1 + CYCLES as usize);
        let stack_bytes = |bucket: &Bucket| 8 * u64::from(bucket.frames.1 - bucket.frames.0);
        let range = |bucket: &Bucket| Range {
            addr: bucket
                .addr
                .wrapping_add(self.header_bytes)
                .wrapping_add(stack_bytes(bucket)),
            len: record_bytes,
        };
        let ranges: Vec<Range> = buckets.iter().map(range).collect();
        let mut bytes = vec![0; record_bytes.saturating_mul(ranges.len())];
        // The lowest bit says whether this cycle is published already; then its place in the ring is empty.
        let cycle = u64::from(self.memory.u32(self.cycle)? >> 1) % CYCLES;
        if self.memory.read_many(&ranges, &mut bytes) > 0 {
            return Err(contradiction("a bucket of the memory profile", self.cycle));
        }
        let records: Vec<&[u8]> = bytes.chunks_exact(record_bytes).collect();
        let of = |record: &[u8], at: u64| {
            let at = at as usize * self.cycle_bytes;
            (le64(record, at), le64(record, at + 8))
        };
        let add = |a: (u64, u64), b: (u64, u64)| (a.0.wrapping_add(b.0), a.1.wrapping_add(b.1));
        let published: Vec<(u64, u64)> = records
            .iter()
            .map(|record| add(of(record, 0), of(record, 1 + cycle)))
            .collect();
        if published.iter().any(|&counts| counts != (0, 0)) {
            return Ok(published);
        }
        // No collection yet: then all there is counts, as for whoever has turned the collector off.
        let all = |record: &&[u8]| (0..=CYCLES).fold((0, 0), |sum, at| add(sum, of(record, at)));
        Ok(records.iter().map(all).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::Field;
    use crate::memory::Pieces;

    const CYCLE: u64 = 0x1000;
    const HEADER: u64 = 48;

    fn chain() -> Chain {
        let word = |offset| Field { offset, bytes: 8 };
        Chain {
            header_bytes: HEADER,
            next: word(8),
            size: word(32),
            depth: word(40),
        }
    }

    fn words(words: &[u64]) -> Vec<u8> {
        words.iter().flat_map(|word| word.to_le_bytes()).collect()
    }

    /// A bucket of 512-byte objects with this stack and four pairs of counts.
    fn bucket(next: u64, stack: &[u64], counts: [u64; 8]) -> Vec<u8> {
        let header = [0, next, 1, 0, 512, stack.len() as u64];
        [words(&header), words(stack), words(&counts)].concat()
    }

    fn counts(memory: &Pieces, buckets: &mut [Bucket]) -> Result<Vec<(u64, u64)>, InspectError> {
        let counts = Counts {
            memory,
            cycle: CYCLE,
            header_bytes: HEADER,
            cycle_bytes: 16,
        };
        assert!(counts.read(buckets)?, "nothing moves here");
        Ok(buckets.iter().map(|of| (of.allocs, of.frees)).collect())
    }

    #[test]
    fn what_is_about_to_be_published_counts() {
        // Each digit is one place: published, then the ring.
        type Row = (&'static str, u32, [[u64; 8]; 2], [(u64, u64); 2]);
        let rows: &[Row] = &[
            (
                "cycle 0",
                0,
                [[1, 2, 10, 20, 100, 200, 1000, 2000], [0; 8]],
                [(11, 22), (0, 0)],
            ),
            (
                "cycle 1, published",
                3,
                [[1, 2, 10, 20, 0, 0, 1000, 2000], [0; 8]],
                [(1, 2), (0, 0)],
            ),
            (
                "cycle 5",
                10,
                [[1, 2, 10, 20, 100, 200, 1000, 2000], [5; 8]],
                [(1001, 2002), (10, 10)],
            ),
            (
                "nothing yet",
                2,
                [[0, 0, 10, 20, 0, 0, 1000, 2000], [0, 0, 0, 0, 0, 0, 7, 0]],
                [(1010, 2020), (7, 0)],
            ),
        ];
        for (name, cycle, records, want) in rows {
            let mut memory = Pieces::new();
            memory.put(CYCLE, words(&[u64::from(*cycle)]));
            memory.put(0x20_0000, bucket(0x30_0000, &[1, 2, 3], records[0]));
            memory.put(0x30_0000, bucket(0, &[], records[1]));
            let (mut buckets, frames) = chain().read(&memory, 0x20_0000).unwrap();
            assert_eq!(frames, [1, 2, 3]);
            assert_eq!(counts(&memory, &mut buckets).unwrap(), want, "{name}");
        }
    }

    #[test]
    fn a_list_that_contradicts_itself_is_refused() {
        let at = |nth: u64| 0x10_0000 + nth * 0x1_0000;
        let with = |next: &dyn Fn(u64) -> u64| {
            let mut memory = Pieces::new();
            for nth in 0..40 {
                memory.put(at(nth), bucket(next(nth), &[nth], [1; 8]));
            }
            chain()
                .read(&memory, at(0))
                .map(|(buckets, _)| buckets.len())
        };
        let end = |nth: u64| if nth == 39 { 0 } else { at(nth + 1) };
        assert_eq!(with(&end).unwrap(), 40);
        let rows: &[(&str, &dyn Fn(u64) -> u64)] = &[
            ("itself", &|_| at(0)),
            ("back to the start", &|nth| at((nth + 1) % 40)),
            ("back to the middle", &|nth| {
                at(if nth == 39 { 22 } else { nth + 1 })
            }),
            ("not there", &|_| 0x55),
            ("past the end of memory", &|_| u64::MAX - 3),
        ];
        for (name, next) in rows {
            assert!(with(*next).is_err(), "{name}");
        }
        let mut memory = Pieces::new();
        let mut deep = bucket(0, &[], [0; 8]);
        deep[40..48].copy_from_slice(&(limits::BUCKET_FRAMES_MAX + 1).to_le_bytes());
        memory.put(at(0), [deep, vec![0; 1 << 16]].concat());
        assert!(
            chain().read(&memory, at(0)).is_err(),
            "deeper than any stack"
        );
    }

    #[test]
    fn counts_that_cannot_be_read_are_an_error() {
        let mut memory = Pieces::new();
        let mut cut = bucket(0, &[1], [1; 8]);
        cut.truncate(HEADER as usize + 8 + 30);
        memory.put(0x20_0000, cut).put(CYCLE, words(&[0]));
        let (mut buckets, _) = chain().read(&memory, 0x20_0000).unwrap();
        assert!(counts(&memory, &mut buckets).is_err(), "a cut record");
        let mut memory = Pieces::new();
        memory.put(0x20_0000, bucket(0, &[1], [1; 8]));
        assert!(counts(&memory, &mut buckets).is_err(), "no cycle");
    }

    #[test]
    fn samples_stand_for_what_was_not_sampled() {
        let rows = [
            ("no objects", (0, 64, 524_288), (0, 0)),
            ("no size", (5, 0, 524_288), (0, 0)),
            ("all are sampled", (5, 64, 1), (5, 320)),
            ("rate unknown", (5, 64, 0), (5, 320)),
            (
                "as likely as 1 - 1/e",
                (1000, 4096, 4096),
                (1581, 6_479_776),
            ),
            (
                "large objects are always seen",
                (3, 1 << 30, 4096),
                (3, 3 << 30),
            ),
            (
                "more freed than allocated",
                (-3, 1 << 30, 4096),
                (-3, -(3 << 30)),
            ),
        ];
        for (name, (count, size, rate), want) in rows {
            assert_eq!(scaled(count, size, rate), want, "{name}");
        }
        assert_eq!(
            scaled(i64::MAX, u64::MAX, 2).0,
            i64::MAX,
            "whatever is there"
        );
    }
}
