//! The process ledger: lines that add up to RSS, the rest in `unexplained`.
//!
//! A line means one thing whatever was read. Go's numbers are not resident bytes: an allocation
//! never touched is counted by Go and not held by the kernel, and what Go gave back with
//! `MADV_FREE`, or what the kernel filled up to a huge page, is held and not counted. So the lines
//! inside the sum are *what of Go's numbers is resident*, and what they differ by from Go's numbers
//! is told outside the sum:
//!
//! * Where Go's memory holds less than Go counts, lines are cut, those least likely to be touched
//!   first, and what was cut off is `go.not-resident`.
//! * Where it holds more, the excess is in `go.idle` as far as Go has given memory back that the
//!   kernel has not taken (HeapReleased), and `go.extra-resident` tells it. What is beyond that is
//!   in `unexplained`.
//!
//! Only mappings tell how much of Go's memory is resident, and they are read seldom. In between, the
//! last reading's figures hold on with their time ([`Mapped`]): native lines stay as they were, Go's
//! follow Go's numbers of now, and what RssAnon did since that Go's numbers do not tell is in
//! `unexplained` until mappings are read again.
//!
//! | what is known | lines | basis |
//! |---|---|---|
//! | `/proc`, Go's numbers, mappings | `go.*`, `native.heap`, `native.mmap`, `native.stacks`, `data`, `file`, `shmem` | `mappings` |
//! | the same, mappings from before | the same, those of mappings as of then | `earlier-mappings` |
//! | `/proc`, mappings of now or before | `go` (Go's mappings, not split), `native.*`, `data`, `file`, `shmem` | the same |
//! | `/proc`, Go's numbers, mappings never | `go.*` at most, `anon-rest` at least, `file`, `shmem` | `none` |
//! | `/proc` alone | `anon`, `file`, `shmem`: nothing tells Go's from other anonymous memory | `none` |
//! | Go's numbers and RSS without its parts | `go.*` at most; files and native memory are `unexplained` | `none` |
//!
//! Without a live figure `go.live` and `go.since-gc` are one line, `go.heap`.

use model::{Component, GoMemory, Ledger, LedgerBasis, ProcessMemory, UnixMs};

use crate::live::Live;
use crate::mapped::Mapped;

/// What is known of one process at one time.
#[derive(Debug, Clone, Copy)]
pub struct Sides<'a> {
    /// The kernel's side: its time is the ledger's, and its RSS is what the lines close on.
    pub kernel: &'a ProcessMemory,
    /// Go's numbers.
    pub go: Option<&'a GoMemory>,
    /// The last reading of mappings, of now or before.
    pub maps: Option<&'a Mapped>,
    /// What [`LiveTracker`](crate::LiveTracker) made of Go's numbers.
    pub live: Option<Live>,
    /// The runtime gives memory back in the lazy way:
    /// [`frees_lazily`](crate::settings::frees_lazily).
    pub frees_lazily: bool,
}

/// In which order lines are cut when less is resident than Go counts, and by which part at most.
///
/// Fresh memory of the kernel's stays untouched only in its first use: a large object is not written
/// to before the program does it, and free slots of a new span are not either. What the runtime uses
/// again it zeroes, so it is touched for good, until it is given back, and then it is not counted.
/// Idle spans were in use once, so they go last: what was never touched is most likely in an object
/// that is still held. A stack that was doubled has one half that was written, and perhaps no more.
/// Only swap turns that around ([`GoLines::cut`]).
const CUT_ORDER: [(&str, u64); 8] = [
    ("go.fragmentation", 1),
    ("go.runtime", 1),
    ("go.since-gc", 1),
    ("go.stacks", 2),
    ("go.heap", 1),
    ("go.live", 1),
    ("go.stacks", 1),
    ("go.idle", 1),
];

/// The lines of Go's numbers in the ledger's order, each with its bytes.
#[derive(Debug)]
pub(crate) struct GoLines {
    lines: Vec<(&'static str, u64)>,
    /// HeapReleased.
    released: u64,
}

impl GoLines {
    /// `None` unless HeapAlloc, HeapInuse, HeapIdle, HeapReleased, StackInuse and the runtime's own
    /// structures are all known: with a part of them missing, the rest of the anonymous memory
    /// could not be called native.
    pub(crate) fn new(go: &GoMemory, live: Option<Live>) -> Option<Self> {
        let heap_alloc = bytes(go.heap_alloc_bytes)?;
        let heap_inuse = bytes(go.heap_inuse_bytes)?;
        let released = bytes(go.heap_released_bytes)?;
        let idle = bytes(go.heap_idle_bytes)?.saturating_sub(released);
        let stacks = bytes(go.stack_inuse_bytes)?;
        let runtime = runtime_bytes(go)?;
        let mut lines = Vec::with_capacity(6);
        match live.and_then(|live| bytes(Some(live.bytes))) {
            Some(live) => {
                let live = live.min(heap_alloc);
                lines.push(("go.live", live));
                lines.push(("go.since-gc", heap_alloc - live));
            }
            None => lines.push(("go.heap", heap_alloc)),
        }
        lines.push(("go.fragmentation", heap_inuse.saturating_sub(heap_alloc)));
        lines.push(("go.idle", idle));
        lines.push(("go.stacks", stacks));
        lines.push(("go.runtime", runtime));
        Some(Self { lines, released })
    }

    /// The heap and its stacks, without the runtime's own.
    pub(crate) fn heap(&self) -> u64 {
        self.sum() - self.runtime()
    }

    /// The runtime's own.
    pub(crate) fn runtime(&self) -> u64 {
        let mut lines = self.lines.iter();
        let line = lines.find(|(line, _)| *line == "go.runtime");
        line.map_or(0, |(_, bytes)| *bytes)
    }

    /// HeapReleased.
    pub(crate) fn released(&self) -> u64 {
        self.released
    }

    fn sum(&self) -> u64 {
        self.lines.iter().map(|(_, bytes)| bytes).sum()
    }

    fn line(&mut self, name: &str) -> Option<&mut u64> {
        let line = self.lines.iter_mut().find(|(line, _)| *line == name);
        line.map(|(_, bytes)| bytes)
    }

    /// Cuts `excess` bytes off in all. What nobody uses was swapped out first: as much as is
    /// `swapped` may be of the idle spans.
    fn cut(&mut self, mut excess: u64, swapped: u64) {
        if let Some(idle) = self.line("go.idle") {
            let off = excess.min(swapped).min(*idle);
            *idle -= off;
            excess -= off;
        }
        for (name, part) in CUT_ORDER {
            let Some(bytes) = self.line(name) else {
                continue;
            };
            let off = excess.min(*bytes / part);
            *bytes -= off;
            excess -= off;
        }
    }

    /// Adds to the idle spans what is resident beyond Go's numbers, as far as Go has given that
    /// much back. Returns what was added.
    fn keep(&mut self, excess: u64) -> u64 {
        let kept = excess.min(self.released);
        if let Some(idle) = self.line("go.idle") {
            *idle += kept;
        }
        kept
    }
}

/// The runtime's own structures: as given, else what Sys has beyond the heap and stacks.
fn runtime_bytes(go: &GoMemory) -> Option<u64> {
    bytes(go.runtime_bytes).or_else(|| {
        let heap = bytes(go.heap_inuse_bytes)? + bytes(go.heap_idle_bytes)?;
        let stacks = bytes(go.stack_inuse_bytes)?;
        Some(bytes(go.sys_bytes)?.saturating_sub(heap + stacks))
    })
}

/// No process maps more; sums of a few cannot overflow.
pub(crate) const BYTES_MAX: u64 = 1 << 48;

/// A figure that is whole bytes of this world: not negative, finite, at most [`BYTES_MAX`].
pub(crate) fn bytes(value: Option<f64>) -> Option<u64> {
    let value = value.filter(|value| value.is_finite() && *value >= 0.0)?;
    Some((value as u64).min(BYTES_MAX))
}

/// Whether RSS comes with its parts. A figure from the process collector has none.
pub(crate) fn split_known(kernel: &ProcessMemory) -> bool {
    kernel.rss_bytes == 0
        || kernel
            .anon_bytes
            .max(kernel.file_bytes)
            .max(kernel.shmem_bytes)
            > 0
}

/// The ledger of one process at one time.
///
/// `total_bytes` is exactly the sum of the components and `unexplained_bytes`, for any input.
#[must_use]
pub fn process_ledger(sides: &Sides<'_>) -> Ledger {
    let Sides {
        kernel, maps, live, ..
    } = *sides;
    let lines = sides.go.and_then(|go| GoLines::new(go, live));
    let go_at = sides.go.filter(|_| lines.is_some()).map(|go| go.at);
    let mut sheet = Sheet::default();
    match (lines, maps) {
        (Some(lines), Some(maps)) => sheet.go_and_mappings(sides, lines, maps),
        (Some(lines), None) => sheet.go_alone(sides, lines),
        (None, Some(maps)) => {
            sheet.line("go", maps.bytes.go_bytes, maps.bytes.at);
            sheet.mappings(maps, maps.bytes.anon_other_bytes);
        }
        (None, None) if split_known(kernel) => sheet.line("anon", kernel.anon_bytes, kernel.at),
        (None, None) => {}
    }
    if split_known(kernel) {
        sheet.line("file", kernel.file_bytes, kernel.at);
        sheet.line("shmem", kernel.shmem_bytes, kernel.at);
    }
    sheet.outside("swap", kernel.swap_bytes, kernel.at);
    let others = go_at.into_iter().chain(maps.map(|maps| maps.bytes.at));
    let skew_ms = others.map(|at| at.0.abs_diff(kernel.at.0)).max();
    let source = live.filter(|_| go_at.is_some());
    Ledger {
        skew_ms: skew_ms.unwrap_or(0),
        live_source: source.map_or("", |live| live.source.as_str()).to_owned(),
        basis: match maps {
            Some(maps) if maps.is_of(kernel.at) => LedgerBasis::Mappings,
            Some(_) => LedgerBasis::EarlierMappings,
            None => LedgerBasis::None,
        },
        ..sheet.close(kernel.at, kernel.rss_bytes)
    }
}

/// A ledger in the making.
#[derive(Debug, Default)]
pub(crate) struct Sheet {
    inside: Vec<Component>,
    outside: Vec<Component>,
    sum: i128,
}

impl Sheet {
    /// Go's numbers against Go's own mappings, each pool by itself: the heap's lines against the
    /// arenas, the runtime's own against its tables.
    fn go_and_mappings(&mut self, sides: &Sides<'_>, mut lines: GoLines, maps: &Mapped) {
        let at = sides.go_at();
        let (runtime, heap) = (lines.runtime(), lines.heap());
        let held = maps.held(sides.kernel, &lines, sides.frees_lazily);
        if let Some(line) = lines.line("go.runtime") {
            *line = 0; // Out of the way of the cut, which is the heap's.
        }
        let missing = heap.saturating_sub(held.heap);
        let surplus = held.heap.saturating_sub(heap);
        lines.cut(missing, sides.kernel.swap_bytes);
        lines.keep(surplus);
        if let Some(line) = lines.line("go.runtime") {
            *line = held.runtime;
        }
        self.lines(lines, at);
        let not_resident = missing + (runtime - held.runtime);
        self.outside("go.not-resident", not_resident, at);
        let extra = surplus.saturating_add(held.stray_tables);
        self.outside("go.extra-resident", extra, at);
        self.mappings(maps, held.native_mmap);
    }

    /// Go's numbers against all anonymous memory, or against RSS where its parts are not known.
    /// Nothing tells how much of what Go counts is resident, so the lines are the most that it can
    /// be, and what they leave of RssAnon is the least that is not Go's.
    fn go_alone(&mut self, sides: &Sides<'_>, mut lines: GoLines) {
        let (at, kernel) = (sides.go_at(), sides.kernel);
        let split = split_known(kernel);
        let room = if split {
            kernel.anon_bytes
        } else {
            kernel.rss_bytes
        };
        let counted = lines.sum();
        let missing = counted.saturating_sub(room);
        lines.cut(missing, kernel.swap_bytes);
        let mut over = room.saturating_sub(counted);
        if sides.frees_lazily && split {
            let kept = lines.keep(over);
            over -= kept;
            self.outside("go.extra-resident", kept, at);
        }
        self.lines(lines, at);
        if split {
            self.line("anon-rest", over, at);
        }
        self.outside("go.not-resident", missing, at);
    }

    fn lines(&mut self, lines: GoLines, at: UnixMs) {
        for (name, bytes) in lines.lines {
            self.line(name, bytes, at);
        }
    }

    fn mappings(&mut self, maps: &Mapped, mmap_bytes: u64) {
        let maps = &maps.bytes;
        let heap = maps.brk_bytes.saturating_add(maps.arena_bytes);
        self.line("native.heap", heap, maps.at);
        self.line("native.mmap", mmap_bytes, maps.at);
        self.line("native.stacks", maps.stack_bytes, maps.at);
        self.line("data", maps.data_bytes, maps.at);
        self.outside("huge-pages", maps.huge_bytes, maps.at);
        self.outside("lazy-free", maps.go_lazy_free_bytes, maps.at);
    }

    pub(crate) fn line(&mut self, name: &str, bytes: u64, at: UnixMs) {
        let bytes = bytes.min(1 << 56); // so that sums stay within an i64
        self.sum += i128::from(bytes);
        self.inside.push(component(name, bytes, at));
    }

    /// Lines outside the sum are there when there is something to say.
    pub(crate) fn outside(&mut self, name: &str, bytes: u64, at: UnixMs) {
        if bytes > 0 {
            self.outside.push(component(name, bytes.min(1 << 56), at));
        }
    }

    pub(crate) fn close(self, at: UnixMs, total: u64) -> Ledger {
        Ledger {
            at,
            total_bytes: total,
            unexplained_bytes: signed(i128::from(total) - self.sum),
            components: self.inside,
            outside: self.outside,
            ..Ledger::default()
        }
    }
}

impl Sides<'_> {
    /// When Go's numbers were read.
    fn go_at(&self) -> UnixMs {
        self.go.map_or(self.kernel.at, |go| go.at)
    }
}

fn component(name: &str, bytes: u64, at: UnixMs) -> Component {
    Component {
        at: Some(at),
        ..Component::new(name, signed(i128::from(bytes)))
    }
}

fn signed(value: i128) -> i64 {
    i64::try_from(value).unwrap_or(if value < 0 { i64::MIN } else { i64::MAX })
}

#[cfg(test)]
mod tests {
    use model::{MappingBytes, UnixMs};
    use proptest::prelude::*;

    use super::*;
    use crate::live::LiveSource;
    use crate::mapped::native;

    const MIB: u64 = 1 << 20;

    fn mib(n: u64) -> Option<f64> {
        Some((n * MIB) as f64)
    }

    fn kernel() -> ProcessMemory {
        ProcessMemory {
            at: UnixMs(10_000),
            rss_bytes: 260 * MIB,
            anon_bytes: 220 * MIB,
            file_bytes: 30 * MIB,
            shmem_bytes: 10 * MIB,
            ..ProcessMemory::default()
        }
    }

    /// 130 MiB that should be resident.
    fn go() -> GoMemory {
        GoMemory {
            at: UnixMs(10_200),
            heap_alloc_bytes: mib(90),
            heap_inuse_bytes: mib(100),
            heap_idle_bytes: mib(40),
            heap_released_bytes: mib(20),
            stack_inuse_bytes: mib(6),
            runtime_bytes: mib(4),
            sys_bytes: mib(151),
            ..GoMemory::default()
        }
    }

    fn maps() -> MappingBytes {
        MappingBytes {
            at: UnixMs(9_900),
            go_bytes: 126 * MIB,
            brk_bytes: 50 * MIB,
            arena_bytes: 10 * MIB,
            stack_bytes: 5 * MIB,
            data_bytes: 2 * MIB,
            anon_other_bytes: 26 * MIB,
            file_bytes: 30 * MIB,
            shmem_bytes: 10 * MIB,
            ..MappingBytes::default()
        }
    }

    fn closed(
        kernel: &ProcessMemory,
        go: Option<&GoMemory>,
        maps: Option<&MappingBytes>,
        live: Option<Live>,
    ) -> Ledger {
        let maps = maps.map(|maps| Mapped::new(maps.clone(), kernel, go));
        process_ledger(&Sides {
            kernel,
            go,
            maps: maps.as_ref(),
            live,
            frees_lazily: false,
        })
    }

    fn live(n: u64) -> Option<Live> {
        let source = LiveSource::NextGc;
        Some(Live {
            bytes: (n * MIB) as f64,
            source,
        })
    }

    fn sum(ledger: &Ledger) -> i128 {
        let lines = ledger.components.iter().map(|line| i128::from(line.bytes));
        lines.sum::<i128>() + i128::from(ledger.unexplained_bytes)
    }

    /// The lines as `name MiB`, then `unexplained`, then those outside.
    fn shown(ledger: &Ledger) -> String {
        let show = |line: &Component| format!("{} {}", line.name, line.bytes / MIB as i64);
        let lines: Vec<_> = ledger.components.iter().map(show).collect();
        let outside: Vec<_> = ledger.outside.iter().map(show).collect();
        let unexplained = ledger.unexplained_bytes / MIB as i64;
        format!(
            "{} | {unexplained} | {}",
            lines.join(", "),
            outside.join(", ")
        )
    }

    #[test]
    fn each_state_of_knowledge_gives_its_lines() {
        let (k, g, m) = (kernel(), go(), maps());
        let go_lines = "go.live 60, go.since-gc 30, go.fragmentation 10, go.idle 20, go.stacks 6, go.runtime 4";
        let native = "native.heap 60, native.mmap 25, native.stacks 5, data 2, file 30, shmem 10";
        let remote = ProcessMemory {
            anon_bytes: 0,
            file_bytes: 0,
            shmem_bytes: 0,
            ..k
        };
        for (why, ledger, want) in [
            (
                "all",
                closed(&k, Some(&g), Some(&m), live(60)),
                format!(
                    "{}, {native} | 1 | go.not-resident 3",
                    go_lines.replace("runtime 4", "runtime 1")
                ),
            ),
            (
                "no mappings",
                closed(&k, Some(&g), None, live(60)),
                format!("{go_lines}, anon-rest 90, file 30, shmem 10 | 0 | "),
            ),
            (
                "no live",
                closed(&k, Some(&g), None, None),
                format!(
                    "go.heap 90{}, anon-rest 90, file 30, shmem 10 | 0 | ",
                    go_lines.strip_prefix("go.live 60, go.since-gc 30").unwrap()
                ),
            ),
            (
                "no Go",
                closed(&k, None, Some(&m), None),
                format!("go 126, {} | 1 | ", native.replace("mmap 25", "mmap 26")),
            ),
            (
                "/proc alone",
                closed(&k, None, None, live(60)),
                "anon 220, file 30, shmem 10 | 0 | ".into(),
            ),
            (
                "Go's numbers not whole",
                closed(
                    &k,
                    Some(&GoMemory {
                        heap_idle_bytes: None,
                        ..g
                    }),
                    None,
                    live(60),
                ),
                "anon 220, file 30, shmem 10 | 0 | ".into(),
            ),
            (
                "remote",
                closed(&remote, Some(&g), None, live(60)),
                format!("{go_lines} | 130 | "),
            ),
            (
                "remote without Go",
                closed(&remote, None, None, None),
                " | 260 | ".into(),
            ),
        ] {
            assert_eq!(shown(&ledger), want, "{why}");
            assert_eq!(sum(&ledger), i128::from(k.rss_bytes), "{why}");
        }
        let ledger = closed(&k, Some(&g), Some(&m), live(60));
        assert_eq!((ledger.skew_ms, &*ledger.live_source), (200, "next-gc"));
        assert!(ledger.closes() && ledger.basis == LedgerBasis::Mappings);
        assert_eq!(closed(&k, None, None, live(60)).live_source, "");
        let ledger = closed(&k, Some(&g), None, live(60));
        assert!(!ledger.closes() && ledger.basis == LedgerBasis::None);
    }

    #[test]
    fn what_go_counts_and_the_kernel_does_not_hold_goes_outside() {
        let (k, g) = (kernel(), go());
        let untouched = ProcessMemory {
            rss_bytes: 115 * MIB,
            anon_bytes: 75 * MIB,
            ..k
        };
        let ledger = closed(&untouched, Some(&g), None, live(60));
        let want = "go.live 52, go.since-gc 0, go.fragmentation 0, go.idle 20, go.stacks 3, go.runtime 0, anon-rest 0, file 30, shmem 10 | 0 | go.not-resident 55";
        // 55 MiB are cut: 10 of fragmentation, 4 of the runtime, 30 since the GC, 3 of stacks, 8 live.
        assert_eq!(shown(&ledger), want);
        let swapped = ProcessMemory {
            swap_bytes: 15 * MIB,
            rss_bytes: 155 * MIB,
            anon_bytes: 115 * MIB,
            ..k
        };
        let ledger = closed(&swapped, Some(&g), None, live(60));
        let want = "go.live 60, go.since-gc 30, go.fragmentation 10, go.idle 5, go.stacks 6, go.runtime 4, anon-rest 0, file 30, shmem 10 | 0 | go.not-resident 15, swap 15";
        assert_eq!(shown(&ledger), want);
    }

    #[test]
    fn with_mappings_heap_and_tables_are_held_against_their_own() {
        let (k, g) = (kernel(), go());
        let go_part = |m: &MappingBytes, g: &GoMemory| {
            let text = shown(&closed(&k, Some(g), Some(m), live(60)));
            let (inside, rest) = text.split_once(", native.heap").unwrap();
            let mmap = rest.split_once("native.mmap ").unwrap().1;
            let (mmap, outside) = (
                mmap.split_once(',').unwrap().0,
                rest.rsplit_once("| ").unwrap().1,
            );
            format!("{inside}; {mmap}; {outside}")
        };
        type Change = fn(&mut MappingBytes, &mut GoMemory);
        let rows: [(&str, Change, &str); 7] = [
            (
                "an allocation of 1 GiB that nobody touched",
                |_, g| {
                    g.heap_alloc_bytes = mib(90 + 1024);
                    g.heap_inuse_bytes = mib(100 + 1024);
                },
                "go.live 60, go.since-gc 40, go.fragmentation 0, go.idle 20, go.stacks 6, go.runtime 1; 25; go.not-resident 1027",
            ),
            (
                "given back by MADV_FREE, and by huge pages filled up",
                |m, _| {
                    m.go_bytes += 13 * MIB;
                    (m.huge_bytes, m.go_lazy_free_bytes) = (64 * MIB, 9 * MIB);
                },
                "go.live 60, go.since-gc 30, go.fragmentation 10, go.idle 33, go.stacks 6, go.runtime 1; 25; go.not-resident 3, go.extra-resident 13, huge-pages 64, lazy-free 9",
            ),
            (
                "more than Go has given back: in no line",
                |m, _| m.go_bytes += 25 * MIB,
                "go.live 60, go.since-gc 30, go.fragmentation 10, go.idle 40, go.stacks 6, go.runtime 4; 25; go.extra-resident 22",
            ),
            (
                "every table has a name: nothing of it is elsewhere",
                |m, _| (m.go_tables_whole, m.go_tables_bytes, m.go_bytes) = (true, MIB, 127 * MIB),
                "go.live 60, go.since-gc 30, go.fragmentation 10, go.idle 20, go.stacks 6, go.runtime 1; 26; go.not-resident 3",
            ),
            (
                "tables that grew with the heap are in use",
                |_, g| g.runtime_bytes = mib(20),
                "go.live 60, go.since-gc 30, go.fragmentation 10, go.idle 20, go.stacks 6, go.runtime 17; 9; go.not-resident 3",
            ),
            (
                "the collector's work buffers lie in the arenas",
                |m, _| (m.go_bytes, m.anon_other_bytes) = (129 * MIB, MIB / 2),
                "go.live 60, go.since-gc 30, go.fragmentation 10, go.idle 20, go.stacks 6, go.runtime 3; 0; go.not-resident 0",
            ),
            (
                "tables larger than Go counts: in no line",
                |m, _| (m.go_bytes, m.go_tables_bytes) = (133 * MIB, 7 * MIB),
                "go.live 60, go.since-gc 30, go.fragmentation 10, go.idle 20, go.stacks 6, go.runtime 4; 26; go.extra-resident 3",
            ),
        ];
        for (why, change, want) in rows {
            let (mut m, mut g) = (maps(), g);
            change(&mut m, &mut g);
            // Rounded down to whole MiB, an empty `outside` is an empty text.
            assert_eq!(go_part(&m, &g), want, "{why}");
        }
    }

    #[test]
    fn without_mappings_lazy_freeing_is_kept_apart_from_native_memory() {
        let lazy = Sides {
            kernel: &kernel(),
            go: Some(&go()),
            maps: None,
            live: live(60),
            frees_lazily: true,
        };
        let want = "go.live 60, go.since-gc 30, go.fragmentation 10, go.idle 40, go.stacks 6, go.runtime 4, anon-rest 70, file 30, shmem 10 | 0 | go.extra-resident 20";
        assert_eq!(shown(&process_ledger(&lazy)), want);
        let by_difference = native(&lazy).unwrap();
        assert_eq!(by_difference.bytes, (220 - 151) * MIB);
        assert_eq!(by_difference.basis, "difference");
    }

    #[test]
    fn each_figure_has_its_time() {
        let ledger = closed(&kernel(), Some(&go()), Some(&maps()), live(60));
        let at = |name: &str| {
            let line = ledger.components.iter().find(|line| line.name == name);
            line.and_then(|line| line.at).unwrap().0
        };
        let times = ["go.live", "native.mmap", "data", "file"].map(at);
        assert_eq!(times, [10_200, 9_900, 9_900, 10_000]);
        assert_eq!(ledger.skew_ms, 200, "the farthest from the kernel's");
    }

    fn figure() -> impl Strategy<Value = Option<f64>> {
        prop_oneof![
            8 => (0u64..1 << 33).prop_map(|n| Some(n as f64)),
            1 => any::<f64>().prop_map(Some),
            1 => Just(None),
        ]
    }

    /// Bytes of a class of mappings, now and then more than there can be.
    fn mapped() -> impl Strategy<Value = u64> {
        prop_oneof![8 => 0u64..1 << 34, 1 => any::<u64>()]
    }

    fn any_go() -> impl Strategy<Value = GoMemory> {
        proptest::array::uniform7(figure()).prop_map(|f| GoMemory {
            heap_alloc_bytes: f[0],
            heap_inuse_bytes: f[1],
            heap_idle_bytes: f[2],
            heap_released_bytes: f[3],
            stack_inuse_bytes: f[4],
            runtime_bytes: f[5],
            sys_bytes: f[6],
            ..GoMemory::default()
        })
    }

    proptest! {
        #[test]
        fn lines_and_unexplained_add_up_to_rss(
            parts in proptest::array::uniform4(0u64..1 << 34),
            off in 0u64..1 << 22,
            go in proptest::option::of(any_go()),
            mapped in proptest::option::of((proptest::array::uniform9(mapped()), any::<bool>())),
            live in figure(),
            frees_lazily in any::<bool>(),
            later in proptest::option::of((0u64..1 << 34, any_go(), 0i64..2_000)),
        ) {
            let kernel = ProcessMemory {
                rss_bytes: parts[0] + parts[1] + parts[2] + off,
                anon_bytes: parts[0],
                file_bytes: parts[1],
                shmem_bytes: parts[2],
                swap_bytes: parts[3],
                ..ProcessMemory::default()
            };
            let maps = mapped.map(|(m, go_tables_whole)| MappingBytes {
                go_bytes: m[0], brk_bytes: m[1], arena_bytes: m[2],
                stack_bytes: m[3], anon_other_bytes: m[4], huge_bytes: m[5],
                go_tables_bytes: m[6], data_bytes: m[7], go_lazy_free_bytes: m[8],
                go_tables_whole,
                ..MappingBytes::default()
            });
            let live = live.map(|bytes| Live { bytes, source: LiveSource::Floor });
            let never = maps.is_none();
            let maps = maps.map(|maps| Mapped::new(maps, &kernel, go.as_ref()));
            // The same round, or a later one in which all may be otherwise.
            let (kernel, go) = match later {
                Some((anon_bytes, go, ms)) => {
                    let rss_bytes = kernel.rss_bytes - kernel.anon_bytes + anon_bytes;
                    (ProcessMemory { at: UnixMs(ms), rss_bytes, anon_bytes, ..kernel }, Some(go))
                }
                None => (kernel, go),
            };
            let sides = Sides {
                kernel: &kernel,
                go: go.as_ref(),
                maps: maps.as_ref(),
                live,
                frees_lazily,
            };
            let ledger = process_ledger(&sides);
            let _ = native(&sides);
            prop_assert_eq!(sum(&ledger), i128::from(kernel.rss_bytes));
            prop_assert!(ledger.components.iter().all(|line| line.bytes >= 0));
            prop_assert_eq!(never, ledger.basis == LedgerBasis::None);
            if never {
                prop_assert_eq!(ledger.unexplained_bytes, off as i64, "only what the kernel's parts leave");
                prop_assert!(!ledger.closes(), "that is no proof");
            }
        }
    }
}
