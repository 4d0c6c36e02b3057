//! The memory of one Go process, as its runtime keeps it: what the collector leaves, when it runs, and what the kernel
//! still holds of it.
//!
//! Sources: "A Guide to the Go Garbage Collector" (go.dev/doc/gc-guide) for the heap's goal and GOMEMLIMIT; the design
//! of the scavenger (golang.org/issue/30333, 48409): it keeps a tenth above the goal and gives back the rest slowly.

/// Bytes of a mebibyte.
pub const MIB: f64 = 1_048_576.0;

/// The least heap that the collector waits for, at GOGC=100.
const HEAP_MIN: f64 = 4.0 * MIB;
/// Package variables, which the collector looks through and counts.
const GLOBALS: f64 = 0.5 * MIB;
/// What the scavenger keeps above the goal.
const KEPT_ABOVE_GOAL: f64 = 1.1;
/// The part of GOMEMLIMIT that the runtime aims at.
const LIMIT_AIM: f64 = 0.97;
/// The collector never leaves less room than this part of what lives, however near the limit is: beyond, it would take
/// more than half of the processors' time, and the runtime does not let it.
const ROOM_MIN: f64 = 0.05;
/// Metadata, as a part of the heap, and what is there from the beginning.
const META_PART: f64 = 0.025;
const META_BYTES: f64 = 3.0 * MIB;
/// A collection comes at the latest after this time.
const FORCED_S: f64 = 120.0;
/// The heap grows by arenas.
const ARENA: f64 = 4.0 * MIB;

/// How a process is set up; constant over its life.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Settings {
    /// GOGC in percent; `None` for `off`.
    pub gogc: Option<f64>,
    /// GOMEMLIMIT in bytes.
    pub memory_limit: Option<f64>,
    /// Bytes lost inside spans, as a part of what is allocated.
    pub fragmentation: f64,
    /// Bytes of a goroutine's stack.
    pub stack: f64,
    /// Resident pages of the executable and other files.
    pub files: f64,
    /// Bytes a second that the scavenger gives back.
    pub gives_back: f64,
}

/// What the program wants of its runtime at a moment.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Demand {
    /// Bytes that can be reached, leaked ones among them.
    pub live: f64,
    /// Bytes allocated a second.
    pub allocated_per_s: f64,
    /// Goroutines.
    pub goroutines: f64,
    /// Bytes that C allocated.
    pub native: f64,
}

/// What its exported figures, and the kernel, would say.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Memory {
    /// `/gc/heap/live:bytes`.
    pub live: f64,
    /// HeapAlloc.
    pub heap_alloc: f64,
    /// HeapInuse.
    pub heap_inuse: f64,
    /// HeapIdle.
    pub heap_idle: f64,
    /// HeapReleased.
    pub heap_released: f64,
    /// HeapSys.
    pub heap_sys: f64,
    /// StackInuse.
    pub stacks: f64,
    /// The runtime's own structures: MSpanSys, GCSys and the like.
    pub runtime: f64,
    /// NextGC.
    pub next_gc: f64,
    /// Collections so far.
    pub gc_cycles: f64,
    /// Goroutines.
    pub goroutines: f64,
    /// VmRSS.
    pub rss: f64,
}

/// One process from its start to its end.
#[derive(Debug, Clone)]
pub struct Process {
    settings: Settings,
    demand: Demand,
    /// What the last collection found alive.
    marked: f64,
    heap: f64,
    /// Bytes of the heap that the kernel holds.
    retained: f64,
    sys: f64,
    cycles: f64,
    since_gc_s: f64,
}

impl Process {
    /// Just started.
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            demand: Demand::default(),
            marked: 0.0,
            heap: 0.0,
            retained: 0.0,
            sys: ARENA,
            cycles: 0.0,
            since_gc_s: 0.0,
        }
    }

    /// `seconds` pass, in which the program wants this.
    pub fn run(&mut self, seconds: f64, demand: Demand) {
        // What begins to live was allocated, too, and is there at once.
        let grown = (demand.live - self.demand.live).max(0.0);
        self.demand = demand;
        let mut left = (demand.allocated_per_s * seconds).max(grown);
        let before = self.goal();
        let mut peak = self.heap;
        self.since_gc_s += seconds;
        let room = (before - self.heap).max(0.0);
        if left >= room {
            peak = peak.max(before.min(self.heap + left));
            left -= room;
            self.collect();
            let each = (self.goal() - self.marked).max(MIB / 16.0);
            let more = (left / each).floor();
            if more >= 1.0 {
                peak = peak.max(self.goal());
            }
            self.cycles += more;
            left -= more * each;
        } else if self.since_gc_s >= FORCED_S {
            peak = peak.max(self.heap + left);
            left = 0.0;
            self.collect();
        }
        self.heap += left;
        self.keep(seconds, peak.max(self.heap));
    }

    fn collect(&mut self) {
        self.marked = self.demand.live;
        self.heap = self.marked;
        self.cycles += 1.0;
        self.since_gc_s = 0.0;
    }

    /// Where the next collection begins.
    fn goal(&self) -> f64 {
        let roots = self.stacks() + GLOBALS;
        let by_percent = self.settings.gogc.map_or(f64::INFINITY, |percent| {
            let grown = self.marked + (self.marked + roots) * percent / 100.0;
            grown.max(HEAP_MIN * percent / 100.0)
        });
        let by_limit = self.settings.memory_limit.map_or(f64::INFINITY, |limit| {
            let others = self.stacks() + self.meta();
            let inside = (LIMIT_AIM * limit - others) / (1.0 + self.settings.fragmentation);
            inside.max(self.marked * (1.0 + ROOM_MIN))
        });
        by_percent.min(by_limit)
    }

    /// What the kernel holds of the heap after `seconds` in which it was at most `peak` bytes.
    fn keep(&mut self, seconds: f64, peak: f64) {
        let spread = 1.0 + self.settings.fragmentation;
        self.retained = self.retained.max(peak * spread);
        let goal = self.goal();
        let wanted = match goal.is_finite() {
            true => (goal * spread * KEPT_ABOVE_GOAL).max(self.heap * spread),
            false => self.heap * spread,
        };
        let above = (self.retained - wanted).max(0.0);
        self.retained -= above.min(self.settings.gives_back * seconds);
        self.sys = self.sys.max((self.retained / ARENA).ceil() * ARENA);
    }

    fn stacks(&self) -> f64 {
        self.demand.goroutines * self.settings.stack
    }

    fn meta(&self) -> f64 {
        META_BYTES + META_PART * self.sys
    }

    /// What would be read now.
    pub fn memory(&self) -> Memory {
        let inuse = self.heap * (1.0 + self.settings.fragmentation);
        let goal = self.goal();
        Memory {
            live: self.marked,
            heap_alloc: self.heap,
            heap_inuse: inuse,
            heap_idle: self.sys - inuse,
            heap_released: self.sys - self.retained,
            heap_sys: self.sys,
            stacks: self.stacks(),
            runtime: self.meta(),
            // As the runtime says it when there is no goal.
            next_gc: if goal.is_finite() {
                goal
            } else {
                f64::from(u32::MAX) * 4_294_967_296.0
            },
            gc_cycles: self.cycles,
            goroutines: self.demand.goroutines,
            rss: self.retained
                + self.stacks()
                + self.meta()
                + self.settings.files
                + self.demand.native,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const USUAL: Settings = Settings {
        gogc: Some(100.0),
        memory_limit: None,
        fragmentation: 0.05,
        stack: 8192.0,
        files: 20.0 * MIB,
        gives_back: 8.0 * MIB,
    };

    fn demand(live_mib: f64, allocated_mib_per_s: f64) -> Demand {
        Demand {
            live: live_mib * MIB,
            allocated_per_s: allocated_mib_per_s * MIB,
            goroutines: 100.0,
            native: 0.0,
        }
    }

    #[test]
    fn the_heap_swings_between_what_lives_and_the_goal() {
        let mut process = Process::new(USUAL);
        let (mut low, mut high) = (f64::INFINITY, 0.0f64);
        for step in 0..2000 {
            process.run(15.0, demand(100.0, 3.0));
            let memory = process.memory();
            if step > 100 {
                (low, high) = (low.min(memory.heap_alloc), high.max(memory.heap_alloc));
                assert_eq!(memory.live, 100.0 * MIB);
                assert!(memory.heap_released >= 0.0 && memory.heap_idle >= memory.heap_released);
            }
        }
        assert!((100.0..110.0).contains(&(low / MIB)), "{}", low / MIB);
        assert!((190.0..203.0).contains(&(high / MIB)), "{}", high / MIB);
        // 45 MiB every step, a cycle for each 101 MiB.
        let cycles = process.memory().gc_cycles;
        assert!((850.0..950.0).contains(&cycles), "{cycles}");
    }

    #[test]
    fn a_quiet_program_is_collected_every_two_minutes() {
        let mut process = Process::new(USUAL);
        for _ in 0..240 {
            process.run(15.0, demand(50.0, 0.001));
        }
        let cycles = process.memory().gc_cycles;
        assert!((29.0..=33.0).contains(&cycles), "{cycles}");
    }

    #[test]
    fn the_limit_holds_the_heap_down_until_what_lives_comes_near() {
        let settings = Settings {
            gogc: None,
            memory_limit: Some(500.0 * MIB),
            ..USUAL
        };
        let mut process = Process::new(settings);
        let mut high = 0.0f64;
        for _ in 0..1000 {
            process.run(15.0, demand(100.0, 5.0));
            high = high.max(process.memory().rss - USUAL.files);
        }
        assert!((450.0..500.0).contains(&(high / MIB)), "{}", high / MIB);
        for _ in 0..100 {
            process.run(15.0, demand(600.0, 5.0));
        }
        assert!(process.memory().rss > 600.0 * MIB);
    }

    #[test]
    fn after_a_peak_memory_is_given_back_slowly() {
        let mut process = Process::new(USUAL);
        for _ in 0..20 {
            process.run(15.0, demand(1000.0, 50.0));
        }
        let peak = process.memory().rss;
        let mut last = peak;
        for _ in 0..10 {
            process.run(15.0, demand(50.0, 50.0));
            let now = process.memory().rss;
            assert!(now <= last);
            last = now;
        }
        // Ten steps of at most 120 MiB.
        assert!(
            peak - last > 600.0 * MIB && peak - last <= 1210.0 * MIB,
            "{} {}",
            peak / MIB,
            last / MIB
        );
        assert!(process.memory().heap_released > 500.0 * MIB);
    }
}
