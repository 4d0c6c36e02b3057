//! A reading of mappings, and what it says of the rounds after it.
//!
//! Mappings alone tell what of Go's memory is resident and what of the rest is whose, and they are
//! read seldom. RssAnon and Go's numbers are read each round. So between two readings what was not
//! resident then is taken off Go's numbers of now; how that may have changed since is told by where
//! the two go apart:
//!
//! * Go counts more, and RssAnon has not grown by as much: what is new is not touched.
//! * Go counts less, and RssAnon has not fallen by as much: what is gone was never touched. Where
//!   memory is given back in the lazy way, the kernel has not taken it.
//! * RssAnon moves and Go's numbers do not: memory of C, or memory of Go's that was counted all along
//!   and is touched now. No number tells which, so it is `unexplained` until mappings are read again.

use model::{GoMemory, MappingBytes, ProcessMemory, UnixMs};

use crate::process::{BYTES_MAX, GoLines, Sides, bytes, split_known};

/// So much of a rise that may be Go's is left out of the native part; of more there is no figure.
const UNKNOWN_MAX: u64 = 1 << 20;

/// A reading is followed by another one before it is so old; where it is not, there will be none.
const NEXT_COMES_MS: i64 = 600_000;

/// Readings that are farther apart are not of one moment.
const ONE_MOMENT_MS: u64 = 1_000;

/// A reading of mappings with what else was known then.
#[derive(Debug, Clone)]
pub struct Mapped {
    /// The reading.
    pub bytes: MappingBytes,
    /// RssAnon at its time.
    anon: u64,
    /// Go's numbers of its time, where they were read then.
    go: Option<GoMemory>,
}

/// What of Go's memory is resident.
pub(crate) struct Held {
    /// Heap and stacks.
    pub(crate) heap: u64,
    /// The runtime's tables.
    pub(crate) runtime: u64,
    /// Tables that have Go's shape and are beyond what Go counts of them.
    pub(crate) stray_tables: u64,
    /// Anonymous memory of no class, without tables of Go's.
    pub(crate) native_mmap: u64,
}

/// Native memory for the judge, and how it is known: figures of two ways differ by a step that is
/// no growth, so they are never mixed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Native {
    /// Bytes.
    pub bytes: u64,
    /// `mappings`, or `difference` where they were never read.
    pub basis: &'static str,
}

impl Mapped {
    /// A reading, with what was read in the round that it belongs to.
    #[must_use]
    pub fn new(maps: MappingBytes, kernel: &ProcessMemory, go: Option<&GoMemory>) -> Self {
        let of_moment = |at: UnixMs| at.0.abs_diff(maps.at.0) <= ONE_MOMENT_MS;
        let of_round = of_moment(kernel.at);
        let go = go.filter(|go| of_round && of_moment(go.at));
        Self {
            anon: match of_round && split_known(kernel) {
                true => kernel.anon_bytes,
                false => anonymous(&maps),
            },
            go: go.copied(),
            bytes: MappingBytes {
                native_mappings: Vec::new(), // Kept for each target, and of no use here.
                ..maps
            },
        }
    }

    /// Whether it was read at the moment of `at`.
    pub(crate) fn is_of(&self, at: UnixMs) -> bool {
        self.bytes.at.0.abs_diff(at.0) <= ONE_MOMENT_MS
    }

    /// What is resident by now of what Go counts now.
    pub(crate) fn held(&self, kernel: &ProcessMemory, now: &GoLines, lazily: bool) -> Held {
        let (heap, runtime) = (now.heap(), now.runtime());
        let pools = self.pools(now);
        let tables = pools.runtime_by_now(runtime);
        let change = Change {
            counted_then: self.lines().map(|lines| lines.heap() + lines.runtime()),
            counted: heap + runtime,
            resident_then: pools.heap.saturating_add(pools.runtime),
            anon_then: self.anon,
            anon: kernel.anon_bytes,
            // What was given back may all be there still.
            beyond_max: if lazily { now.released() } else { 0 },
        };
        Held {
            heap: change.resident().saturating_sub(tables),
            runtime: tables,
            stray_tables: pools.stray_tables,
            native_mmap: pools.native_mmap,
        }
    }

    /// What is not Go's, by the reading and what happened since.
    ///
    /// RssAnon that grows by itself may be memory of Go's that was not touched when mappings were
    /// read. So that a large buffer that fills slowly never looks like a native leak, there is no figure while it
    /// may be that, until the next reading tells: a figure without it would stand still, and one that stands still looks
    /// like growth that has ended. Where no further reading comes, it is what is not Go's in any case.
    fn native(&self, sides: &Sides<'_>, go: &GoMemory, now: &GoLines) -> Option<u64> {
        let lazily = sides.frees_lazily;
        let released = if lazily { now.released() } else { 0 };
        let pools = self.pools(now);
        let change = Change {
            counted_then: self.go.as_ref().and_then(|go| mapped(go, lazily)),
            counted: mapped(go, lazily)?,
            resident_then: pools.heap.saturating_add(pools.runtime),
            anon_then: self.anon,
            anon: sides.kernel.anon_bytes,
            beyond_max: 0,
        };
        let resident = change.resident();
        let grown = wide(change.anon) - wide(change.anon_then);
        let alone = grown - (wide(resident) - wide(change.resident_then));
        let tables = now
            .runtime()
            .saturating_sub(pools.runtime_by_now(now.runtime()));
        let untouched = wide(change.counted) - wide(resident) - wide(tables);
        let maps = &self.bytes;
        let parts = [
            maps.brk_bytes,
            maps.arena_bytes,
            maps.stack_bytes,
            maps.data_bytes,
        ];
        let then: i128 = parts.into_iter().chain([pools.native_mmap]).map(wide).sum();
        let unknown = alone.min(untouched.max(0));
        let age_ms = sides.kernel.at.0.saturating_sub(maps.at.0);
        if unknown > wide(UNKNOWN_MAX) && age_ms < NEXT_COMES_MS {
            return None;
        }
        let alone = match alone > 0 {
            true => alone - unknown,
            // What was given back lazily is taken when the kernel likes.
            false => (alone + wide(released)).min(0),
        };
        Some(narrow(then + alone))
    }

    /// How the reading is split: by Go's numbers of its time, else by those of now.
    fn pools(&self, now: &GoLines) -> Pools {
        let then = self.lines();
        let of = then.as_ref().unwrap_or(now);
        Pools::new(&self.bytes, of.heap(), of.runtime())
    }

    /// What Go counted at its time.
    fn lines(&self) -> Option<GoLines> {
        self.go.as_ref().and_then(|go| GoLines::new(go, None))
    }
}

/// Anonymous memory that is not Go's, in bytes, for the judge's channel: so it has to be quiet before
/// all. `None` without the parts of RSS, or without Go's numbers.
#[must_use]
pub fn native(sides: &Sides<'_>) -> Option<Native> {
    let go = sides.go.filter(|_| split_known(sides.kernel))?;
    let Some(maps) = sides.maps else {
        let bytes = native_by_difference(sides.kernel, go, sides.frees_lazily)?;
        let basis = "difference";
        return Some(Native { bytes, basis });
    };
    let lines = GoLines::new(go, None)?;
    let bytes = maps.native(sides, go, &lines)?;
    let basis = "mappings";
    Some(Native { bytes, basis })
}

/// The same where mappings were never read: RssAnon less what Go has [`mapped`], never below zero.
///
/// What it gets wrong: pages that Go has mapped and nobody touched count as resident, so it is too
/// low by them; and when they are touched later it rises. Left signed, a big buffer that fills slowly
/// would rise from far below zero and look like a native leak; at zero it rests until the touched
/// pages are all of Go's, at the price that a native leak shows only after as many bytes as are
/// untouched. The wrong alarm is worse.
fn native_by_difference(kernel: &ProcessMemory, go: &GoMemory, lazily: bool) -> Option<u64> {
    Some(kernel.anon_bytes.saturating_sub(mapped(go, lazily)?))
}

/// Sys less HeapReleased: all that the runtime has mapped and not given back. It has no GC saw-tooth
/// at all (a collection moves bytes between in use and idle, both inside), needs two counters of one
/// reading, and equals HeapInuse + HeapIdle - HeapReleased + stacks + runtime structures but for the
/// free parts of the mspan and mcache tables (some ten KB) and cgo's OS stacks. Where the scavenger
/// returns pages, RssAnon and HeapReleased move together; where it gives memory back in the lazy way
/// (`lazily`), HeapReleased may be resident still, and is not taken off Sys.
fn mapped(go: &GoMemory, lazily: bool) -> Option<u64> {
    let (sys, released) = (bytes(go.sys_bytes)?, bytes(go.heap_released_bytes)?);
    Some(sys.saturating_sub(if lazily { 0 } else { released }))
}

/// All anonymous memory of a reading.
fn anonymous(maps: &MappingBytes) -> u64 {
    let parts = [
        maps.go_bytes,
        maps.brk_bytes,
        maps.arena_bytes,
        maps.stack_bytes,
        maps.data_bytes,
        maps.anon_other_bytes,
    ];
    parts.into_iter().fold(0, u64::saturating_add)
}

/// What a runtime counts of its tables when the program has just started, beyond those that are
/// found by their shape. Hash tables and bitmaps are mapped whole: it has touched about a quarter
/// (Go 1.21, 1.24, 1.26 and 1.27). Tables that come later grow with the heap and are in use.
const TABLES_AT_START: u64 = 4 << 20;

/// How much of so many bytes of the runtime's tables is resident, about.
fn touched(tables: u64) -> u64 {
    let at_start = tables.min(TABLES_AT_START);
    at_start / 4 + (tables - at_start)
}

/// A reading's anonymous memory split by what Go counted.
struct Pools {
    /// Resident of heap and stacks.
    heap: u64,
    /// Resident of the runtime's tables.
    runtime: u64,
    /// What Go counted of those.
    runtime_counted: u64,
    stray_tables: u64,
    native_mmap: u64,
}

impl Pools {
    fn new(maps: &MappingBytes, heap: u64, runtime: u64) -> Self {
        let go_bytes = maps.go_bytes.min(BYTES_MAX);
        let tables = maps.go_tables_bytes.min(go_bytes);
        let arenas = go_bytes - tables;
        // Most of the runtime's tables have no shape that tells them from other anonymous memory:
        // how much they are is known from the runtime's numbers only.
        let shapeless = match maps.go_tables_whole {
            true => 0,
            false => touched(runtime.saturating_sub(tables)).min(maps.anon_other_bytes),
        };
        // Work buffers of the collector lie in the arenas too: what is over is theirs, unless it was
        // freed lazily, or a huge page has it.
        let over = arenas.saturating_sub(heap);
        let apart = maps.go_lazy_free_bytes.saturating_add(maps.huge_bytes);
        let of_tables = tables + shapeless;
        let own = runtime.min(of_tables + over.saturating_sub(apart));
        Self {
            heap: arenas.saturating_sub(own.saturating_sub(of_tables)),
            runtime: own,
            runtime_counted: runtime,
            stray_tables: tables.saturating_sub(runtime),
            native_mmap: maps.anon_other_bytes - shapeless,
        }
    }

    /// The runtime's tables when it counts so many bytes of them: those that come later are in use.
    fn runtime_by_now(&self, counted: u64) -> u64 {
        let grown = counted.saturating_sub(self.runtime_counted);
        self.runtime.saturating_add(grown).min(counted)
    }
}

/// What Go counts and what is resident, at a reading of mappings and after it.
struct Change {
    /// `None` where Go's numbers were not read then.
    counted_then: Option<u64>,
    counted: u64,
    resident_then: u64,
    anon_then: u64,
    anon: u64,
    /// How much more than Go counts may be resident by now, where it was less then.
    beyond_max: u64,
}

impl Change {
    /// What is resident of Go's memory by now.
    fn resident(&self) -> u64 {
        let grown = wide(self.anon) - wide(self.anon_then);
        let (counted, held) = (wide(self.counted), wide(self.resident_then));
        let Some(then) = self.counted_then.map(wide) else {
            // A program that has just begun: what comes is Go's first, as far as Go counts it.
            return narrow(counted.min(held + grown.max(0)).max(held));
        };
        let gap = then - held;
        let more = counted - then;
        let alone = grown - more;
        let gap = match (alone < 0, more < 0) {
            (true, false) => gap + more.min(-alone),
            (false, true) => {
                let least = gap.min(-wide(self.beyond_max));
                (gap - alone.min(-more)).max(least)
            }
            _ => gap,
        };
        narrow(counted - gap)
    }
}

fn wide(bytes: u64) -> i128 {
    i128::from(bytes)
}

fn narrow(bytes: i128) -> u64 {
    u64::try_from(bytes.max(0)).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::live::{Live, LiveSource};
    use crate::process::process_ledger;

    const MIB: u64 = 1 << 20;

    fn mib(n: u64) -> Option<f64> {
        Some((n * MIB) as f64)
    }

    fn kernel(at: i64, anon: u64) -> ProcessMemory {
        ProcessMemory {
            at: UnixMs(at),
            rss_bytes: (anon + 10) * MIB,
            anon_bytes: anon * MIB,
            file_bytes: 10 * MIB,
            ..ProcessMemory::default()
        }
    }

    /// A live heap, of which 256 MiB were never touched, and so much idle and given back.
    fn go(at: i64, alloc: u64, idle: u64, released: u64) -> GoMemory {
        GoMemory {
            at: UnixMs(at),
            heap_alloc_bytes: mib(alloc),
            heap_inuse_bytes: mib(alloc),
            heap_idle_bytes: mib(idle + released),
            heap_released_bytes: mib(released),
            stack_inuse_bytes: mib(0),
            runtime_bytes: mib(0),
            sys_bytes: mib(alloc + idle + released),
            ..GoMemory::default()
        }
    }

    /// At second 0: 320 MiB live, 64 of them touched; 100 idle; 164 mapped by C, 20 of malloc.
    fn at_first() -> (ProcessMemory, GoMemory, Mapped) {
        let maps = MappingBytes {
            go_bytes: 164 * MIB,
            anon_other_bytes: 164 * MIB,
            brk_bytes: 20 * MIB,
            ..MappingBytes::default()
        };
        let (kernel, go) = (kernel(0, 348), go(0, 320, 100, 30));
        let maps = Mapped::new(maps, &kernel, Some(&go));
        (kernel, go, maps)
    }

    struct Round {
        why: &'static str,
        /// RssAnon, HeapAlloc, idle and HeapReleased, in MiB.
        now: [u64; 4],
        lazily: bool,
        /// Live and idle, `unexplained`, what is not resident, what the judge is told.
        want: [i64; 5],
    }

    const ROUNDS: &[Round] = &[
        Round {
            why: "nothing changed",
            now: [348, 320, 100, 30],
            lazily: false,
            want: [64, 100, 0, 256, 184],
        },
        Round {
            why: "C allocates, or Go touches: no number tells which",
            now: [388, 320, 100, 30],
            lazily: false,
            want: [64, 100, 40, 256, -1],
        },
        Round {
            why: "more than Go could touch is C's in any case",
            now: [648, 320, 100, 30],
            lazily: false,
            want: [64, 100, 300, 256, -1],
        },
        Round {
            why: "Go's heap grows and is touched",
            now: [378, 350, 100, 30],
            lazily: false,
            want: [94, 100, 0, 256, 184],
        },
        Round {
            why: "Go's heap grows and is not touched",
            now: [348, 420, 100, 30],
            lazily: false,
            want: [64, 100, 0, 356, 184],
        },
        Round {
            why: "idle memory is given back",
            now: [268, 320, 20, 110],
            lazily: false,
            want: [64, 20, 0, 256, 184],
        },
        Round {
            why: "what nobody touched is let go",
            now: [348, 64, 100, 286],
            lazily: false,
            want: [64, 100, 0, 0, 184],
        },
        Round {
            why: "C gives back",
            now: [308, 320, 100, 30],
            lazily: false,
            want: [64, 100, -40, 256, 144],
        },
        Round {
            why: "given back lazily, and the kernel has not taken it",
            now: [348, 64, 20, 366],
            lazily: true,
            want: [64, 100, 0, 0, 184],
        },
        Round {
            why: "the kernel took what was given back lazily before",
            now: [328, 320, 100, 30],
            lazily: true,
            want: [64, 100, -20, 256, 184],
        },
    ];

    #[test]
    fn between_two_readings_lines_follow_what_is_known() {
        let (_, _, maps) = at_first();
        for round in ROUNDS {
            let [anon, alloc, idle, released] = round.now;
            let (kernel, go) = (kernel(45_000, anon), go(45_000, alloc, idle, released));
            let sides = Sides {
                kernel: &kernel,
                go: Some(&go),
                maps: Some(&maps),
                live: Some(Live {
                    bytes: (alloc * MIB) as f64,
                    source: LiveSource::Process,
                }),
                frees_lazily: round.lazily,
            };
            let ledger = process_ledger(&sides);
            let lines = || ledger.components.iter().chain(&ledger.outside);
            let line = |name: &str| {
                let line = lines().find(|line| line.name == name);
                line.map_or(0, |line| line.bytes / MIB as i64)
            };
            let got = [
                line("go.live"),
                line("go.idle"),
                ledger.unexplained_bytes / MIB as i64,
                line("go.not-resident"),
                native(&sides).map_or(-1, |native| (native.bytes / MIB) as i64),
            ];
            assert_eq!(got, round.want, "{}", round.why);
            assert_eq!([line("native.mmap"), line("native.heap")], [164, 20]);
            assert_eq!(ledger.skew_ms, 45_000, "{}", round.why);
            assert!(!ledger.closes(), "{}: as of before", round.why);
        }
    }

    #[test]
    fn a_leak_below_what_go_never_touched_is_seen_at_each_reading() {
        let mut seen = Vec::new();
        let mut maps = None;
        for round in 0..9_u64 {
            let (at, leaked) = (round as i64 * 15_000, round * 5);
            let (kernel, go) = (kernel(at, 164 + leaked), go(at, 420, 0, 0));
            if round % 4 == 0 {
                let read = MappingBytes {
                    at: UnixMs(at),
                    go_bytes: 164 * MIB,
                    anon_other_bytes: leaked * MIB,
                    ..MappingBytes::default()
                };
                maps = Some(Mapped::new(read, &kernel, Some(&go)));
            }
            let sides = Sides {
                kernel: &kernel,
                go: Some(&go),
                maps: maps.as_ref(),
                live: None,
                frees_lazily: false,
            };
            seen.push(native(&sides).map_or(-1, |native| (native.bytes / MIB) as i64));
        }
        assert_eq!(seen, [0, -1, -1, -1, 20, -1, -1, -1, 40]);
    }

    #[test]
    fn a_buffer_that_fills_slowly_is_no_native_memory() {
        let (_, go_first, mut maps) = at_first();
        for round in 1..200_u64 {
            let at = round as i64 * 15_000;
            let (kernel, now) = (
                kernel(at, 348 + round),
                GoMemory {
                    at: UnixMs(at),
                    ..go_first
                },
            );
            if round % 4 == 0 {
                let bytes = MappingBytes {
                    at: UnixMs(at),
                    go_bytes: (164 + round) * MIB,
                    ..maps.bytes.clone()
                };
                maps = Mapped::new(bytes, &kernel, Some(&now));
            }
            let sides = Sides {
                kernel: &kernel,
                go: Some(&now),
                maps: Some(&maps),
                live: None,
                frees_lazily: false,
            };
            let told = native(&sides).map(|told| (told.bytes / MIB, told.basis));
            // Within a MiB of the last reading there is a figure, too.
            let known = round % 4 < 2;
            assert_eq!(told, known.then_some((184, "mappings")), "{round}");
        }
    }

    #[test]
    fn go_s_numbers_may_come_after_the_mappings() {
        let (first, _, maps) = at_first();
        let maps = Mapped::new(maps.bytes, &first, None);
        for (why, anon, alloc, want) in [
            ("as it was", 348, 320, [0, 256, 184]),
            ("it grew since, which is Go's", 400, 372, [0, 256, 184]),
            ("Go counts less than it grew", 600, 100, [216, 0, 400]),
        ] {
            let (kernel, go) = (kernel(15_000, anon), go(15_000, alloc, 100, 0));
            let sides = Sides {
                kernel: &kernel,
                go: Some(&go),
                maps: Some(&maps),
                live: None,
                frees_lazily: false,
            };
            let ledger = process_ledger(&sides);
            let missing = ledger
                .outside
                .iter()
                .find(|line| line.name == "go.not-resident");
            let got = [
                ledger.unexplained_bytes / MIB as i64,
                missing.map_or(0, |line| line.bytes / MIB as i64),
                native(&sides).map_or(-1, |native| (native.bytes / MIB) as i64),
            ];
            assert_eq!(got, want, "{why}");
        }
    }

    #[test]
    fn without_mappings_native_is_a_difference_and_never_below_zero() {
        let now = go(0, 90, 40, 20);
        let of = |kernel: &ProcessMemory, go: &GoMemory| {
            let sides = Sides {
                kernel,
                go: Some(go),
                maps: None,
                live: None,
                frees_lazily: false,
            };
            native(&sides).map(|native| (native.bytes / MIB, native.basis))
        };
        assert_eq!(of(&kernel(0, 220), &now), Some((90, "difference")));
        assert_eq!(of(&kernel(0, 1), &now), Some((0, "difference")));
        let remote = ProcessMemory {
            rss_bytes: 5,
            ..ProcessMemory::default()
        };
        assert_eq!(of(&remote, &now), None);
        let no_sys = GoMemory {
            sys_bytes: None,
            ..now
        };
        assert_eq!(of(&kernel(0, 220), &no_sys), None);
    }
}
