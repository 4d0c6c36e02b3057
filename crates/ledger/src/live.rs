//! How much of the heap is live: reachable at the last mark.
//!
//! Three ways, best first. *Exported*: `/gc/heap/live:bytes`; *process* is the same figure, read in the
//! process's memory. *Next-gc*: the pacer sets the goal of
//! the next cycle from what it marked (`gcControllerState.commit` in Go's runtime/mgcpacer.go):
//!
//! ```text
//! goal = live + (live + stack + globals) * GOGC/100, at least 4 MiB * GOGC/100
//! ```
//!
//! which is solved for `live`. *Floor*: the lower envelope of HeapAlloc over whole cycles, which
//! lies above live by what is allocated between a mark's end and the reading.

use std::collections::VecDeque;

use model::{GoMemory, GoSource};

/// Where a live figure came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LiveSource {
    /// The target says it.
    Exported,
    /// Read in the process's memory.
    Process,
    /// Derived from NextGC.
    NextGc,
    /// The lower envelope of HeapAlloc.
    Floor,
}

impl LiveSource {
    /// As ledgers and series spell it: `exported`, `process`, `next-gc`, `floor`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Exported => "exported",
            Self::Process => "process",
            Self::NextGc => "next-gc",
            Self::Floor => "floor",
        }
    }
}

/// A live figure.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Live {
    /// Bytes.
    pub bytes: f64,
    /// How it is known.
    pub source: LiveSource,
}

/// How many readings the floor is the least of at least, of whole cycles from the newest back. Readings fall anywhere
/// in a cycle, so where a cycle has but one, its minimum is high more often than not: five cycles make the least of
/// them low. A cycle with as many readings needs no other: the floor of a heap that grows would lag behind it, more and
/// more as cycles get longer, and growth would look slower than it is.
const FLOOR_READINGS: u32 = 5;

/// Feeds on each reading of one target and says what is live. Holds a few numbers.
#[derive(Debug, Clone, Default)]
pub struct LiveTracker {
    cycle: Option<f64>,
    /// Whether `low` covers its cycle from the start: not so for the first one seen.
    whole: bool,
    low: f64,
    readings: u32,
    /// Of the cycles before: their minima and how many readings each had.
    lows: VecDeque<(f64, u32)>,
}

impl LiveTracker {
    /// What is live by this reading, and by `marked`: what was read in the process beside it, where
    /// the endpoint does not say what is live. Readings come in the order of time; a fall of the
    /// cycle count means a restart and forgets what was before.
    pub fn update(&mut self, go: &GoMemory, marked: Option<f64>) -> Option<Live> {
        let floor = self.floor(go);
        let told = match go.source {
            GoSource::Metrics | GoSource::Traces => LiveSource::Exported,
            GoSource::Process => LiveSource::Process,
        };
        let exported = usable(go.live_bytes).map(|bytes| (bytes, told));
        let marked = || usable(marked).map(|bytes| (bytes, LiveSource::Process));
        let derived = || live_from_next_gc(go).map(|bytes| (bytes, LiveSource::NextGc));
        let floor = || floor.map(|bytes| (bytes, LiveSource::Floor));
        let (bytes, source) = exported.or_else(marked).or_else(derived).or_else(floor)?;
        Some(Live { bytes, source })
    }

    fn floor(&mut self, go: &GoMemory) -> Option<f64> {
        let heap_alloc = usable(go.heap_alloc_bytes)?;
        // The time of the last collection tells cycles apart as well as their count does.
        let cycle = usable(go.gc_cycles).or(usable(go.last_gc_unix_s))?;
        match self.cycle {
            Some(known) if cycle == known => {
                self.low = self.low.min(heap_alloc);
                self.readings = self.readings.saturating_add(1);
            }
            Some(known) if cycle > known => {
                if self.whole {
                    self.lows.push_back((self.low, self.readings));
                    if self.lows.len() > FLOOR_READINGS as usize {
                        self.lows.pop_front();
                    }
                }
                (self.cycle, self.whole) = (Some(cycle), true);
                (self.low, self.readings) = (heap_alloc, 1);
            }
            _ => {
                *self = Self {
                    cycle: Some(cycle),
                    low: heap_alloc,
                    readings: 1,
                    ..Self::default()
                };
            }
        }
        self.least()
    }

    /// `None` while there is no whole cycle, nor enough readings of the one that goes on.
    fn least(&self) -> Option<f64> {
        let present = self.whole.then_some((self.low, self.readings));
        let is_enough = |readings: u32| readings >= FLOOR_READINGS;
        if self.lows.is_empty() && !is_enough(present?.1) {
            return None;
        }
        let (mut least, mut readings) = (f64::INFINITY, 0);
        let cycles = present.into_iter().chain(self.lows.iter().rev().copied());
        for (low, more) in cycles {
            least = least.min(low);
            readings = u32::saturating_add(readings, more);
            if is_enough(readings) {
                break;
            }
        }
        Some(least)
    }
}

fn usable(value: Option<f64>) -> Option<f64> {
    value.filter(|value| value.is_finite() && *value >= 0.0)
}

/// Live from NextGC, GOGC and the stacks; `None` where the goal was not set by GOGC: GOGC off or
/// unknown, the minimum heap, or GOMEMLIMIT in force or unknown.
///
/// The stack that counts is what the mark scanned, which no default collector exports: half of
/// StackInuse is taken (the GC halves a stack that is used less than a quarter, so it is between
/// a quarter and all for most). Globals are taken as none; a megabyte of them makes the figure too
/// big by half a megabyte at GOGC=100.
///
/// Source: `commit`, `heapGoalInternal` and `memoryLimitHeapGoal` in runtime/mgcpacer.go, go1.19
/// to go1.27.
#[must_use]
pub fn live_from_next_gc(go: &GoMemory) -> Option<f64> {
    let goal = usable(go.next_gc_bytes)?;
    let ratio = usable(go.gogc_percent)? / 100.0;
    let heap_minimum = 4.0 * 1024.0 * 1024.0 * ratio;
    // 64 KiB above a trigger that came late is the other way to leave the minimum.
    if goal <= heap_minimum * 1.05 + 65_536.0 {
        return None;
    }
    if set_by_memory_limit(go, goal)? {
        return None;
    }
    let stack = usable(go.stack_inuse_bytes).unwrap_or(0.0) / 2.0;
    let live = (goal - stack * ratio) / (1.0 + ratio);
    // What is live is allocated. Above it, the goal was pushed up by something else: no figure.
    let allocated = usable(go.heap_alloc_bytes).unwrap_or(f64::INFINITY);
    (live > 0.0 && live <= allocated * 1.02 + 1e6).then_some(live.min(allocated))
}

/// Whether GOMEMLIMIT may have set the goal: the goal that the runtime derives from the limit is
/// not clearly above the one in force. `None` where that cannot be told.
fn set_by_memory_limit(go: &GoMemory, goal: f64) -> Option<bool> {
    let limit = go.gomemlimit_bytes?;
    if limit.is_infinite() {
        return Some(false);
    }
    let (sys, released) = (usable(go.sys_bytes)?, usable(go.heap_released_bytes)?);
    let (idle, allocated) = (usable(go.heap_idle_bytes)?, usable(go.heap_alloc_bytes)?);
    let mapped = sys - released;
    let other_than_heap = (mapped - (idle - released) - allocated).max(0.0);
    let overage = (mapped - limit).max(0.0);
    let before_headroom = limit - other_than_heap - overage;
    let limit_goal = before_headroom - (before_headroom * 0.03).max(1024.0 * 1024.0);
    // The figures are of another moment than the goal: a tenth of margin.
    Some(goal >= limit_goal * 0.9)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: f64 = 1024.0 * 1024.0;

    /// Figures of a recorded process: GOGC=50, and live exported as 25,427,096.
    fn recorded() -> GoMemory {
        GoMemory {
            heap_alloc_bytes: Some(35_027_976.0),
            heap_idle_bytes: Some(9_576_448.0),
            heap_released_bytes: Some(4_374_528.0),
            stack_inuse_bytes: Some(458_752.0),
            sys_bytes: Some(50_698_504.0),
            next_gc_bytes: Some(38_264_833.0),
            gogc_percent: Some(50.0),
            gomemlimit_bytes: Some(400.0 * MIB),
            ..GoMemory::default()
        }
    }

    #[test]
    fn next_gc_gives_live_where_gogc_set_it() {
        let live = live_from_next_gc(&recorded()).expect("GOGC set the goal");
        assert!((live - 25_427_096.0).abs() < 0.001 * live, "{live}");
        let of = |change: fn(&mut GoMemory)| {
            let mut go = recorded();
            change(&mut go);
            live_from_next_gc(&go).is_some()
        };
        assert!(
            of(|go| go.gomemlimit_bytes = Some(f64::INFINITY)),
            "no limit"
        );
        for (why, change) in [
            (
                "GOGC unknown",
                (|go| go.gogc_percent = None) as fn(&mut GoMemory),
            ),
            ("GOGC off", |go| go.gogc_percent = Some(-1.0)),
            ("limit unknown", |go| go.gomemlimit_bytes = None),
            ("limit just above what is mapped", |go| {
                go.gomemlimit_bytes = Some(47.0 * MIB)
            }),
            ("limit passed", |go| go.gomemlimit_bytes = Some(40.0 * MIB)),
            ("limit without the figures to tell", |go| {
                go.sys_bytes = None
            }),
            ("minimum heap", |go| go.next_gc_bytes = Some(2.0 * MIB)),
            ("minimum heap of a big GOGC", |go| {
                go.gogc_percent = Some(1000.0)
            }),
            ("more live than allocated", |go| {
                go.heap_alloc_bytes = Some(1.0 * MIB)
            }),
            ("no goal", |go| go.next_gc_bytes = None),
        ] {
            assert!(!of(change), "{why}");
        }
    }

    #[test]
    fn the_best_source_is_used_and_named() {
        let mut tracker = LiveTracker::default();
        let mut go = GoMemory {
            live_bytes: Some(5.0),
            ..recorded()
        };
        let source = |live: Option<Live>| live.map(|live| live.source.as_str());
        assert_eq!(source(tracker.update(&go, None)), Some("exported"));
        go.source = GoSource::Process;
        assert_eq!(source(tracker.update(&go, None)), Some("process"));
        go.live_bytes = None;
        let marked = tracker.update(&go, Some(4.0)).unwrap();
        assert_eq!((marked.bytes, marked.source), (4.0, LiveSource::Process));
        assert_eq!(source(tracker.update(&go, None)), Some("next-gc"));
        go.gogc_percent = None;
        assert_eq!(
            source(tracker.update(&go, None)),
            None,
            "no whole cycle yet"
        );
    }

    #[test]
    fn the_floor_follows_whole_cycles_only() {
        let mut tracker = LiveTracker::default();
        let mut feed = |cycle: f64, heap: f64| {
            let go = GoMemory {
                gc_cycles: Some(cycle),
                heap_alloc_bytes: Some(heap),
                ..GoMemory::default()
            };
            tracker.update(&go, None).map(|live| live.bytes)
        };
        assert_eq!(feed(7.0, 50.0), None, "in the middle of a cycle");
        assert_eq!(feed(7.0, 90.0), None);
        assert_eq!(feed(8.0, 60.0), None, "a cycle begins");
        assert_eq!(feed(8.0, 95.0), None);
        assert_eq!(feed(9.0, 70.0), Some(60.0), "one is whole");
        assert_eq!(feed(9.0, 65.0), Some(60.0));
        assert_eq!(
            feed(10.0, 55.0),
            Some(55.0),
            "a lower reading counts at once"
        );
        for cycle in 11..=15 {
            feed(f64::from(cycle), 80.0);
        }
        assert_eq!(feed(16.0, 99.0), Some(80.0), "old cycles are forgotten");
        let more = [98.0, 97.0, 96.0, 95.0].map(|heap| feed(16.0, heap));
        assert_eq!(
            more,
            [80.0, 80.0, 80.0, 95.0].map(Some),
            "enough of its own"
        );
        assert_eq!(feed(2.0, 10.0), None, "a restart");
        assert_eq!(feed(f64::NAN, 10.0), None);
    }
}
