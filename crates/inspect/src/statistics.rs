//! The runtime's own memory figures, as `runtime.ReadMemStats` gives them, without stopping the program.
//!
//! `ReadMemStats` stops the world and empties every processor's allocation cache into the totals. This reads the
//! totals and adds what lies in the caches, so the figures are what `ReadMemStats` would have said at that moment;
//! while the program allocates, figures read some microseconds apart may differ by what came between.

use serde::{Deserialize, Serialize};

use crate::layout::Field;
use crate::memory::{Memory, Range, ReadCost, le32, le64};
use crate::places::Places;
use crate::{InspectError, Program, limits};

/// Processors whose caches are read: no machine has more, and a count above it is no count.
const PROCESSORS_MAX: u64 = 4096;
/// Caches that are held at a time: with their spans about a megabyte and a half.
const CACHES_AT_ONCE: usize = 64;
/// No address space is larger, so no figure in bytes is.
const BYTES_MAX: u64 = 1 << 48;

/// Memory figures of one moment. Bytes, unless said otherwise; names as in `runtime.MemStats`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct MemStats {
    /// Bytes of objects: reachable ones, and unreachable ones not swept yet.
    pub heap_alloc: u64,
    /// Bytes of objects ever allocated.
    pub total_alloc: u64,
    /// Everything obtained from the system.
    pub sys: u64,
    /// Objects ever allocated.
    pub mallocs: u64,
    /// Objects ever freed.
    pub frees: u64,
    /// Address space of the heap.
    pub heap_sys: u64,
    /// Bytes in spans that have objects.
    pub heap_inuse: u64,
    /// Bytes in spans without objects.
    pub heap_idle: u64,
    /// Of the idle bytes, those given back to the system.
    pub heap_released: u64,
    /// Objects, `mallocs - frees`.
    pub heap_objects: u64,
    /// Bytes of goroutines' stacks.
    pub stack_inuse: u64,
    /// Bytes of stacks, those of the system's threads included.
    pub stack_sys: u64,
    /// Bytes of span structures in use.
    pub mspan_inuse: u64,
    /// Bytes obtained for them.
    pub mspan_sys: u64,
    /// Bytes of allocation caches in use.
    pub mcache_inuse: u64,
    /// Bytes obtained for them.
    pub mcache_sys: u64,
    /// Bytes of the profiler's table.
    pub buck_hash_sys: u64,
    /// Bytes of the collector's metadata.
    pub gc_sys: u64,
    /// Bytes of everything else of the runtime.
    pub other_sys: u64,
    /// Heap size at which the next cycle ends.
    pub next_gc: u64,
    /// When the last cycle ended, in nanoseconds since 1970; zero before the first.
    pub last_gc_ns: u64,
    /// Pauses of all cycles together, in nanoseconds.
    pub pause_total_ns: u64,
    /// Cycles completed.
    pub num_gc: u32,
    /// Of those, cycles that the program itself asked for.
    pub num_forced_gc: u32,
    /// The collector's estimate of what lives, as of the last cycle and what came since.
    pub heap_live: u64,
    /// Bytes marked by the last cycle.
    pub heap_marked: u64,
    /// GOGC in force, in percent; -1 when off.
    pub gogc: i32,
    /// GOMEMLIMIT in force; `i64::MAX` when there is none.
    pub memory_limit: i64,
    /// Goroutines, as `runtime.NumGoroutine` counts them: without the runtime's own.
    pub num_goroutine: u64,
    /// Threads that the runtime has made and not ended. A process has more where C makes its own.
    pub num_thread: u64,
    /// What reading these took.
    pub cost: ReadCost,
}

/// Reads the figures of one program, as often as wanted. Whoever does not want to keep the program keeps its
/// [`Places`] instead.
#[derive(Debug)]
pub struct MemStatsReader<'a> {
    program: &'a Program,
    places: Places,
}

/// One of the runtime's variables, copied whole.
struct Copy {
    addr: u64,
    bytes: Vec<u8>,
}

impl Copy {
    fn read(memory: &dyn Memory, addr: u64, len: u64) -> Result<Self, InspectError> {
        let bytes = memory.bytes("figures", addr, len, limits::STRUCTURE_BYTES_MAX)?;
        Ok(Self { addr, bytes })
    }
}

/// What the allocation caches hold that is not in the totals yet.
#[derive(Default)]
struct Cached {
    bytes: u64,
    objects: u64,
    tiny: u64,
}

impl<'a> MemStatsReader<'a> {
    /// # Errors
    /// [`InspectError::Missing`] when a variable could not be found in a stripped program.
    pub fn new(program: &'a Program) -> Result<Self, InspectError> {
        let places = Places::of(program)?;
        Ok(Self { program, places })
    }

    /// Reads the figures: about ten calls of the kernel and 20 KiB on an 8-core machine, below a millisecond.
    ///
    /// # Errors
    /// When the process has ended, or a field is missing in its runtime's layout.
    pub fn read(&self) -> Result<MemStats, InspectError> {
        self.places.mem_stats(self.program.memory())
    }
}

impl Places {
    /// Reads the figures: see [`MemStatsReader::read`].
    ///
    /// # Errors
    /// When the process has ended, a field is missing in its runtime's layout, or a figure is absurd: then these are
    /// the places of another program.
    pub fn mem_stats(&self, memory: &dyn Memory) -> Result<MemStats, InspectError> {
        let before = memory.cost();
        let look = Look {
            places: self,
            memory,
        };
        let mut figures = look.read()?;
        let after = memory.cost();
        figures.cost = ReadCost {
            calls: after.calls - before.calls,
            bytes: after.bytes - before.bytes,
        };
        figures.check(self.stats)?;
        Ok(figures)
    }
}

/// One reading.
struct Look<'a> {
    places: &'a Places,
    memory: &'a dyn Memory,
}

impl Look<'_> {
    fn read(&self) -> Result<MemStats, InspectError> {
        let stats = self.whole(self.places.stats, "mstats.")?;
        let controller = self.whole(self.places.controller, "gcControllerState.")?;
        let processors = self.processors()?;
        let cached = self.cached(&processors)?;
        let counts = self.counts(&stats)?;
        let mut figures = self.figures(&stats, &controller, &counts)?;
        figures.add(&cached);
        figures.mspan_inuse = self.inuse_of("mheap.spanalloc")?;
        figures.mcache_inuse = self.inuse_of("mheap.cachealloc")?;
        let scheduler = self.whole(self.places.sched, "schedt.")?;
        figures.num_goroutine = self.goroutines(&scheduler, &processors)?;
        let of = |name: &str| self.get(&scheduler, name);
        figures.num_thread = of("schedt.mnext")?.saturating_sub(of("schedt.nmfreed")?);
        Ok(figures)
    }

    /// A variable from its start to the end of the last field that the layout names.
    fn whole(&self, addr: u64, prefix: &str) -> Result<Copy, InspectError> {
        let len = self.places.layout().end_of(prefix);
        Copy::read(self.memory, addr, len)
    }

    fn get(&self, copy: &Copy, name: &str) -> Result<u64, InspectError> {
        Ok(self.places.layout().field(name)?.get(&copy.bytes))
    }

    /// The three generations of the consistent statistics, added up: every processor writes to one of them.
    fn counts(&self, stats: &Copy) -> Result<Counts, InspectError> {
        let layout = self.places.layout();
        let bytes = layout.size("heapStatsDelta")? as usize;
        let at = layout.field("mstats.heapStats")?.offset
            + layout.field("consistentHeapStats.stats")?.offset;
        let all = stats.bytes.get(at as usize..).unwrap_or_default();
        let generations: Vec<&[u8]> = all.chunks_exact(bytes).take(3).collect();
        if generations.len() < 3 {
            return Err(InspectError::Contradiction {
                what: "the heap's statistics",
                addr: stats.addr,
            });
        }
        let field = |name: &str| layout.find(&format!("heapStatsDelta.{name}"));
        let sum = |name: &str| {
            field(name).map_or(0, |field| {
                let values = generations.iter().map(|delta| field.get(delta));
                values.fold(0, u64::wrapping_add)
            })
        };
        let sum_array = |name: &str| {
            field(name).map_or(0, |field| {
                let words = (0..field.bytes / 8).map(|word| Field {
                    offset: field.offset + word * 8,
                    bytes: 8,
                });
                let values =
                    words.flat_map(|word| generations.iter().map(move |delta| word.get(delta)));
                values.fold(0, u64::wrapping_add)
            })
        };
        let tiny = sum("tinyAllocCount");
        Ok(Counts {
            mallocs: sum("largeAllocCount")
                .wrapping_add(sum_array("smallAllocCount"))
                .wrapping_add(tiny),
            frees: sum("largeFreeCount")
                .wrapping_add(sum_array("smallFreeCount"))
                .wrapping_add(tiny),
            stacks: sum("inStacks"),
            collector: sum("inWorkBufs").wrapping_add(sum("inPtrScalarBits")),
        })
    }

    fn figures(
        &self,
        stats: &Copy,
        controller: &Copy,
        counts: &Counts,
    ) -> Result<MemStats, InspectError> {
        let of = |name: &str| self.get(stats, &format!("mstats.{name}"));
        let gc = |name: &str| self.get(controller, &format!("gcControllerState.{name}"));
        let (in_use, free, released) = (gc("heapInUse")?, gc("heapFree")?, gc("heapReleased")?);
        let heap_sys = in_use.wrapping_add(free).wrapping_add(released);
        let (total, freed) = (gc("totalAlloc.value")?, gc("totalFree.value")?);
        let gc_sys = of("gcMiscSys")?.wrapping_add(counts.collector);
        let mut figures = MemStats {
            heap_alloc: total.saturating_sub(freed),
            total_alloc: total,
            mallocs: counts.mallocs,
            frees: counts.frees,
            heap_sys,
            heap_inuse: in_use,
            heap_idle: free.wrapping_add(released),
            heap_released: released,
            heap_objects: counts.mallocs.saturating_sub(counts.frees),
            stack_inuse: counts.stacks,
            stack_sys: counts.stacks.wrapping_add(of("stacks_sys")?),
            mspan_sys: of("mspan_sys")?,
            mcache_sys: of("mcache_sys")?,
            buck_hash_sys: of("buckhash_sys")?,
            gc_sys,
            other_sys: of("other_sys")?,
            last_gc_ns: of("last_gc_unix")?,
            pause_total_ns: of("pause_total_ns")?,
            num_gc: of("numgc")? as u32,
            num_forced_gc: of("numforcedgc")? as u32,
            heap_live: gc("heapLive.value")?,
            heap_marked: gc("heapMarked")?,
            gogc: gc("gcPercent.value")? as i32,
            memory_limit: gc("memoryLimit.value")? as i64,
            ..MemStats::default()
        };
        let parts = [
            figures.mspan_sys,
            figures.mcache_sys,
            figures.buck_hash_sys,
            gc_sys,
            figures.other_sys,
            figures.stack_sys,
        ];
        figures.sys = parts
            .iter()
            .fold(heap_sys, |sum, part| sum.wrapping_add(*part));
        figures.next_gc = Goal {
            by_percent: gc("gcPercentHeapGoal.value")?,
            sweep_trigger: gc("sweepDistMinTrigger.value")?,
            triggered: gc("triggered")?,
            mapped: gc("mappedReady.value")?,
            free,
            allocated: figures.heap_alloc,
            marked: figures.heap_marked,
            limit: figures.memory_limit as u64,
        }
        .bytes();
        Ok(figures)
    }

    /// The addresses of the processors.
    fn processors(&self) -> Result<Vec<u64>, InspectError> {
        let (array, count) = self.memory.slice_header(self.places.allp)?;
        let processors = self.memory.bytes(
            "the list of processors",
            array,
            count.saturating_mul(8),
            8 * PROCESSORS_MAX,
        )?;
        Ok(words(&processors).collect())
    }

    /// Every goroutine ever made stays in the list of all; those that ended wait in lists of free ones, and the
    /// runtime's own are counted (`runtime.gcount`).
    fn goroutines(&self, scheduler: &Copy, processors: &[u64]) -> Result<u64, InspectError> {
        let layout = self.places.layout();
        let (_, all) = self.memory.slice_header(self.places.allgs)?;
        let either = |new: &str, old: &str| layout.find(new).map_or_else(|| layout.field(old), Ok);
        let free_here = either("p.gFree.size", "p.gFree.n")?;
        let free = gather(self.memory, processors.iter().copied(), free_here.offset, 4);
        let free = free.chunks_exact(4).map(|count| u64::from(le32(count, 0)));
        let stacked = either("schedt.gFree.stack.size", "schedt.gFree.n")?;
        let bare = layout.find("schedt.gFree.noStack.size");
        let system = layout.field("schedt.ngsys.value")?;
        let more = [Some(stacked), bare, Some(system)].into_iter().flatten();
        let more = more.map(|field| field.get(&scheduler.bytes));
        let others = free.chain(more).fold(0, u64::saturating_add);
        // They are not counted at one moment; the runtime says so too, and that there is at least one.
        Ok(all.saturating_sub(others).max(1))
    }

    /// What the processors' caches hold: in each span the objects that were handed out since it was cached.
    fn cached(&self, processors: &[u64]) -> Result<Cached, InspectError> {
        let layout = self.places.layout();
        let field = layout.field("p.mcache")?;
        let caches = gather(self.memory, processors.iter().copied(), field.offset, 8);
        let caches: Vec<u64> = words(&caches).filter(|&addr| addr != 0).collect();
        let mut cached = Cached::default();
        for caches in caches.chunks(CACHES_AT_ONCE) {
            self.add_caches(caches, &mut cached)?;
        }
        Ok(cached)
    }

    fn add_caches(&self, caches: &[u64], cached: &mut Cached) -> Result<(), InspectError> {
        let layout = self.places.layout();
        let cache_bytes = layout.size("mcache")? as usize;
        let caches = gather(self.memory, caches.iter().copied(), 0, cache_bytes);
        let (alloc, tiny) = (
            layout.field("mcache.alloc")?,
            layout.field("mcache.tinyAllocs")?,
        );
        let mut spans = Vec::new();
        for cache in caches.chunks_exact(cache_bytes) {
            cached.tiny = cached.tiny.wrapping_add(tiny.get(cache));
            let (from, len) = (alloc.offset as usize, alloc.bytes as usize);
            spans.extend(words(cache.get(from..from + len).unwrap_or_default()));
        }
        let span_bytes = layout.size("mspan")? as usize;
        let spans = spans.into_iter().filter(|&addr| addr != 0);
        let spans = gather(self.memory, spans, 0, span_bytes);
        let (count, before) = (
            layout.field("mspan.allocCount")?,
            layout.field("mspan.allocCountBeforeCache")?,
        );
        let elem = layout.field("mspan.elemsize")?;
        for span in spans.chunks_exact(span_bytes) {
            let handed_out = count.get(span).saturating_sub(before.get(span));
            cached.objects = cached.objects.wrapping_add(handed_out);
            let bytes = handed_out.saturating_mul(elem.get(span));
            cached.bytes = cached.bytes.saturating_add(bytes);
        }
        Ok(())
    }

    /// Bytes in use of one of the runtime's fixed-size allocators.
    fn inuse_of(&self, allocator: &str) -> Result<u64, InspectError> {
        let layout = self.places.layout();
        let (allocator, inuse) = (layout.field(allocator)?, layout.field("fixalloc.inuse")?);
        let at = self.places.heap.wrapping_add(allocator.offset);
        let at = at.wrapping_add(inuse.offset);
        let bytes = self.memory.bytes("figures", at, inuse.bytes, 8)?;
        Ok(Field { offset: 0, ..inuse }.get(&bytes))
    }
}

struct Counts {
    mallocs: u64,
    frees: u64,
    stacks: u64,
    collector: u64,
}

impl MemStats {
    fn add(&mut self, cached: &Cached) {
        self.heap_alloc = self.heap_alloc.saturating_add(cached.bytes);
        self.total_alloc = self.total_alloc.saturating_add(cached.bytes);
        self.mallocs = self.mallocs.wrapping_add(cached.objects);
        self.mallocs = self.mallocs.wrapping_add(cached.tiny);
        self.frees = self.frees.wrapping_add(cached.tiny);
        self.heap_objects = self.mallocs.saturating_sub(self.frees);
    }

    /// What no program's figures are. Memory that another program took over since shows here.
    fn check(&self, addr: u64) -> Result<(), InspectError> {
        let sizes = [
            self.heap_alloc,
            self.heap_sys,
            self.stack_sys,
            self.sys,
            self.heap_marked,
        ];
        let sane = sizes.iter().all(|&bytes| bytes < BYTES_MAX)
            && self.heap_inuse.is_multiple_of(8192)
            && self.heap_inuse > 0
            && self.gogc >= -1
            && self.memory_limit >= 0
            && self.num_gc < 1 << 31
            && self.num_goroutine <= limits::GOROUTINES_MAX
            && self.num_thread < 1 << 31;
        sane.then_some(()).ok_or(InspectError::Contradiction {
            what: "the runtime's figures",
            addr,
        })
    }
}

/// `len` bytes from each of `addrs` + `offset`, one behind the other, zeros where there is nothing to read.
fn gather(
    memory: &dyn Memory,
    addrs: impl Iterator<Item = u64>,
    offset: u64,
    len: usize,
) -> Vec<u8> {
    let range = |addr: u64| Range {
        addr: addr.wrapping_add(offset),
        len,
    };
    let ranges: Vec<Range> = addrs.map(range).collect();
    let mut bytes = vec![0; ranges.len() * len];
    memory.read_many(&ranges, &mut bytes);
    bytes
}

fn words(bytes: &[u8]) -> impl Iterator<Item = u64> {
    bytes.chunks_exact(8).map(|word| le64(word, 0))
}

/// What the heap's goal is made of (`gcControllerState.heapGoalInternal`).
struct Goal {
    by_percent: u64,
    sweep_trigger: u64,
    triggered: u64,
    mapped: u64,
    free: u64,
    allocated: u64,
    marked: u64,
    limit: u64,
}

impl Goal {
    /// The smaller of GOGC's goal and GOMEMLIMIT's; GOGC's leaves sweeping and marking some room.
    fn bytes(&self) -> u64 {
        const RUNWAY: u64 = 64 << 10;
        let by_limit = self.by_limit();
        if by_limit < self.by_percent {
            return by_limit;
        }
        let goal = self.by_percent.max(self.sweep_trigger);
        // All ones: no cycle is running.
        if self.triggered != u64::MAX && goal < self.triggered.saturating_add(RUNWAY) {
            return self.triggered.saturating_add(RUNWAY);
        }
        goal
    }

    fn by_limit(&self) -> u64 {
        const HEADROOM_PERCENT: u64 = 3;
        const HEADROOM_MIN: u64 = 1 << 20;
        let used = self.free.saturating_add(self.allocated);
        let other = self.mapped.saturating_sub(used);
        let overage = self.mapped.saturating_sub(self.limit);
        let taken = other.saturating_add(overage);
        if taken >= self.limit {
            return self.marked;
        }
        let goal = self.limit - taken;
        let headroom = (goal / 100 * HEADROOM_PERCENT).max(HEADROOM_MIN);
        let goal = if goal < headroom || goal - headroom < headroom {
            headroom
        } else {
            goal - headroom
        };
        goal.max(self.marked)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_goal_follows_gogc_or_the_limit_whichever_is_nearer() {
        const MIB: u64 = 1 << 20;
        let goal = Goal {
            by_percent: 200 * MIB,
            sweep_trigger: 0,
            triggered: u64::MAX,
            mapped: 130 * MIB,
            free: 10 * MIB,
            allocated: 100 * MIB,
            marked: 90 * MIB,
            limit: i64::MAX as u64,
        };
        let with = |change: fn(&mut Goal)| {
            let mut goal = Goal { ..goal };
            change(&mut goal);
            goal.bytes()
        };
        assert_eq!(goal.bytes(), 200 * MIB, "no limit");
        // 120 MiB less 20 of other memory and 10 over: 90, less 3 %, at least what was marked.
        assert_eq!(with(|goal| goal.limit = 120 * MIB), 90 * MIB);
        let limited = with(|goal| goal.limit = 200 * MIB);
        assert_eq!(limited, 180 * MIB - 180 * MIB / 100 * 3);
        assert_eq!(
            with(|goal| goal.limit = 5 * MIB),
            90 * MIB,
            "nothing left: what was marked"
        );
        assert_eq!(
            with(|goal| goal.triggered = 210 * MIB),
            210 * MIB + (64 << 10)
        );
        assert_eq!(with(|goal| goal.sweep_trigger = 201 * MIB), 201 * MIB);
    }
}
