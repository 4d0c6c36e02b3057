//! Both ledgers against the kernel's own files and `runtime.ReadMemStats` and `runtime/metrics` of the
//! same process: programs whose memory is known, of each kind that a ledger can get wrong.
//!
//! The programs change nothing once they are ready, so that readings of before and after the watcher's
//! hold for the watcher's as well: what is compared is one state, not one moment.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use e2e::targets::cases;
use e2e::{Form, Program, RunningTarget, Setting, Settings, Target, Watcher, tell, wait_until};
use serde_json::Value;

const MIB: i64 = 1 << 20;

/// A reading of mappings is due each fourth period of a second, and later where it took long.
const PATIENCE: Duration = Duration::from_secs(90);

/// Figures that differ by no more are the same: metadata between two readings, a page here and there.
const NEAR: i64 = 4 * MIB;

/// What is known of a kind, in MiB, beside what holds for all.
struct Kind {
    name: &'static str,
    variables: &'static [(&'static str, &'static str)],
    /// Lines, in the sum or beside it, with the least and the most that they can be.
    lines: &'static [(&'static str, i64, i64)],
}

const KINDS: &[Kind] = &[
    Kind {
        name: "untouched",
        variables: &[],
        lines: &[
            ("go.not-resident", 250, 270),
            ("go.live", 0, 4),
            ("native.mmap", 0, 4),
        ],
    },
    Kind {
        name: "freed",
        variables: &[("GODEBUG", "madvdontneed=0")],
        lines: &[
            ("go.idle", 240, 270),
            ("go.extra-resident", 240, 270),
            ("lazy-free", 240, 270),
        ],
    },
    Kind {
        name: "huge",
        variables: &[],
        lines: &[
            ("go.idle", 200, 270),
            ("go.extra-resident", 200, 270),
            ("huge-pages", 240, 270),
        ],
    },
    Kind {
        name: "idle",
        variables: &[],
        lines: &[
            ("go.idle", 240, 270),
            ("go.extra-resident", 0, 4),
            ("go.not-resident", 0, 6),
        ],
    },
    Kind {
        name: "stacks",
        variables: &[],
        lines: &[("go.stacks", 92, 130), ("go.not-resident", 0, 40)],
    },
    Kind {
        name: "mapped",
        variables: &[],
        lines: &[("file", 64, 74), ("data", 32, 36), ("native.mmap", 0, 4)],
    },
    Kind {
        name: "tmpfs",
        variables: &[],
        lines: &[("shmem", 64, 65), ("native.mmap", 0, 4)],
    },
    Kind {
        name: "anonymous",
        variables: &[],
        lines: &[("native.mmap", 60, 68), ("data", 0, 2)],
    },
    Kind {
        name: "globals",
        variables: &[],
        lines: &[("data", 32, 36), ("native.mmap", 0, 4)],
    },
    BELOW,
];

/// Memory of C below memory of Go's that was never touched.
const BELOW: Kind = Kind {
    name: "below",
    variables: &[],
    lines: &[
        ("go.live", 60, 70),
        ("go.idle", 90, 104),
        ("go.not-resident", 250, 270),
        ("native.mmap", 160, 168),
        ("anon-rest", 0, 0),
    ],
};

#[test]
fn each_line_is_what_the_kernel_and_the_runtime_say() {
    let Some(setting) = Setting::find() else {
        return;
    };
    let story = Instant::now();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let watcher = Watcher::start(&setting, &Settings::default(), &folder.path().join("data"));
    let releases = cases(&setting).into_iter();
    for (release, form) in releases.filter(|(_, form)| *form == Form::StrippedPie) {
        let target = Target::build(&setting, &release, form, Program::Targets);
        let start = |kind: &Kind| target.start_with(&["resident", kind.name], kind.variables);
        let mut running: Vec<(&Kind, RunningTarget)> =
            KINDS.iter().map(|kind| (kind, start(kind))).collect();
        running.retain_mut(|(kind, running)| is_ready(&format!("{target} {}", kind.name), running));
        // All are waited for at once: a reading of mappings may be due seconds later.
        let before: Vec<Truth> = running.iter_mut().map(|(_, one)| Truth::of(one)).collect();
        let now = UnixMs::now();
        for ((kind, running), before) in running.iter_mut().zip(&before) {
            let name = format!("{target} {}", kind.name);
            let ledger = Ledger::after(now, &watcher, running.pid());
            let between = Ledger::between(now, &watcher, running.pid());
            let after = Truth::of(running);
            ledger.assert_closes(&name);
            between.assert_adds_up(&name);
            let live = running.ask("live");
            for ledger in [&ledger, &between] {
                assert_holds(&name, ledger, before, &after);
                assert_settings(&name, ledger, &live);
                kind.assert_lines(&name, ledger);
            }
        }
        tell(story, format!("{target}: {} kinds", KINDS.len()));
    }
}

impl Kind {
    fn assert_lines(&self, name: &str, ledger: &Ledger) {
        for (line, least, most) in self.lines {
            let bytes = ledger.line(line);
            let range = least * MIB..=most * MIB;
            assert!(
                range.contains(&bytes),
                "{name}: {line} is {bytes}\n{ledger}"
            );
        }
    }
}

/// A leak of C memory that is smaller than what Go never touched, by rounds with mappings and without.
#[test]
fn native_memory_below_what_go_never_touched_is_told() {
    let Some(setting) = Setting::find() else {
        return;
    };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let watcher = Watcher::start(&setting, &Settings::default(), &folder.path().join("data"));
    let (release, form) = cases(&setting).pop().expect("a case");
    let target = Target::build(&setting, &release, form, Program::Targets);
    let mut running = target.start_with(&["resident", BELOW.name], &[]);
    let name = format!("{target} {}", BELOW.name);
    assert!(is_ready(&name, &mut running));
    let quiet = Ledger::between(UnixMs::now(), &watcher, running.pid());
    BELOW.assert_lines(&name, &quiet);
    running.ask("map");
    let grown = Ledger::after(UnixMs::now(), &watcher, running.pid());
    let between = Ledger::between(UnixMs::now(), &watcher, running.pid());
    for ledger in [&grown, &between] {
        let more = ledger.line("native.mmap") - quiet.line("native.mmap");
        assert!((36 * MIB..=44 * MIB).contains(&more), "{name}\n{ledger}");
        assert_eq!(ledger.line("go.idle") / MIB, quiet.line("go.idle") / MIB);
    }
    let id = &quiet.view["target"]["id"];
    let selector = format!("unswept_process_native_bytes{{target_id={id}}}");
    let samples = watcher.samples(&selector).expect("one course");
    // Of the beginning, when the program was still making its memory, nothing is asked.
    let since = quiet.view["ledger"]["at"].as_i64().expect("a time") as f64 / 1000.0;
    let course: Vec<f64> = samples
        .iter()
        .filter(|(at, _)| *at >= since)
        .map(|(_, bytes)| bytes / MIB as f64)
        .collect();
    println!("{name}: what the judge is fed, in MiB: {course:.0?}");
    let (first, last) = (course[0], course[course.len() - 1]);
    assert!((160.0..=180.0).contains(&first), "{course:?}");
    assert!((36.0..=44.0).contains(&(last - first)), "{course:?}");
    let steps = course
        .windows(2)
        .filter(|pair| (pair[1] - pair[0]).abs() > 1.0);
    assert_eq!(steps.count(), 1, "one step, when it was read: {course:?}");
}

/// Brings a program into its state; what the kernel refuses is told.
fn is_ready(name: &str, running: &mut RunningTarget) -> bool {
    let trouble = running.ask("trouble")["trouble"].clone();
    if trouble != "" {
        println!("SKIP: {name}: the kernel refuses {trouble}");
        return false;
    }
    if name.ends_with(" idle") || name.ends_with(BELOW.name) {
        running.ask("free");
    }
    true
}

#[test]
fn memory_of_c_is_told_by_allocator_mapping_and_stack() {
    let Some(setting) = Setting::find() else {
        return;
    };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let watcher = Watcher::start(&setting, &Settings::default(), &folder.path().join("data"));
    let releases = cases(&setting).into_iter();
    for (release, form) in releases.filter(|(_, form)| *form == Form::Normal) {
        let target = Target::build(&setting, &release, form, Program::CgoHeap);
        let mut running = target.start(&[]);
        let quiet = Ledger::after(UnixMs::now(), &watcher, running.pid());
        running.ask("native");
        let before = Truth::of(&mut running);
        let ledger = Ledger::after(UnixMs::now(), &watcher, running.pid());
        let after = Truth::of(&mut running);
        let name = target.to_string();
        ledger.assert_closes(&name);
        assert_holds(&name, &ledger, &before, &after);
        for (line, least, most) in [
            ("native.heap", 31, 36),
            ("native.stacks", 8, 10),
            ("native.mmap", -1, 1),
        ] {
            let grown = ledger.line(line) - quiet.line(line);
            let range = least * MIB..=most * MIB;
            assert!(
                range.contains(&grown),
                "{name}: {line} grew by {grown}\n{quiet}\n{ledger}"
            );
        }
        // 64 blocks of 256 KiB, which glibc maps one by one.
        let mapped = quiet.line("native.mmap");
        assert!(
            (16 * MIB - NEAR..16 * MIB + NEAR).contains(&mapped),
            "{name}\n{quiet}"
        );
    }
}

#[test]
fn the_containers_ledger_and_limit_are_the_cgroups() {
    let Some(setting) = Setting::find() else {
        return;
    };
    let Some(cgroups) = Cgroups::make() else {
        println!("SKIP: no cgroup of version 1 with the memory controller can be made here");
        return;
    };
    println!("live: cgroup version 1; version 2 is tested on recorded trees, by the reader");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let watcher = Watcher::start(&setting, &Settings::default(), &folder.path().join("data"));
    let (release, form) = cases(&setting).pop().expect("a case");
    let target = Target::build(&setting, &release, form, Program::Targets);
    let mut running = target.start_in(&cgroups.path("own"), &["resident", "tmpfs"]);
    let _others = target.start_in(&cgroups.path("others"), &["resident", "anonymous"]);

    let before = cgroups.figures("own");
    let ledger = Ledger::after(UnixMs::now(), &watcher, running.pid());
    let after = cgroups.figures("own");
    let container = &ledger.view["container"];
    let of = |field: &str| container[field].as_i64().unwrap_or(-1);
    let bytes_near = |what: &str, got: i64, of: &str| {
        let (least, most) = (before[of].min(after[of]), before[of].max(after[of]));
        let near = least - MIB / 2..=most + MIB / 2;
        assert!(
            near.contains(&got),
            "{what}: {got}, not {least} to {most}\n{container:#}"
        );
    };
    bytes_near("usage", of("usage_bytes"), "memory.usage_in_bytes");
    bytes_near("anon", of("anon_bytes"), "total_rss");
    bytes_near("file", of("file_bytes"), "total_cache");
    bytes_near("shmem", of("shmem_bytes"), "total_shmem");
    bytes_near("active file", of("active_file_bytes"), "total_active_file");
    bytes_near(
        "inactive file",
        of("inactive_file_bytes"),
        "total_inactive_file",
    );
    bytes_near("kernel", of("kernel_bytes"), "memory.kmem.usage_in_bytes");
    let tmpfs = of("shmem_bytes");
    assert!(
        (96 * MIB..97 * MIB).contains(&tmpfs),
        "of 96 MiB only 64 are mapped: {tmpfs}"
    );
    let rss = ledger.view["process"]["rss_bytes"].as_i64().expect("RSS");
    let processes = of("processes_rss_bytes");
    assert!(
        (processes - rss).abs() < MIB,
        "its only process: {processes} {rss}"
    );

    let lines = &ledger.view["container_ledger"];
    let sum: i64 = figures(&lines["components"]).values().sum();
    let unexplained = lines["unexplained_bytes"].as_i64().expect("a rest");
    assert_eq!(sum + unexplained, of("usage_bytes"), "{lines:#}");
    assert!(unexplained.abs() <= 8 * MIB, "{lines:#}");

    // Both share 512 MiB: what is left to one is that less what the other cannot give back.
    let others = cgroups.figures("others");
    let held = others["total_rss"] + others["total_shmem"] + others["memory.kmem.usage_in_bytes"];
    let limit = &ledger.view["limit"];
    let bytes = limit["bytes"].as_i64().expect("a limit");
    assert!(held > 64 * MIB, "{others:?}");
    assert!(
        (bytes - (512 * MIB - held)).abs() < 2 * MIB,
        "{limit:#} {held}"
    );
    let source = limit["source"].as_str().expect("a source");
    assert_eq!(source, format!("memory.limit_in_bytes /{}", cgroups.name));
    let used = limit["used_bytes"].as_i64().expect("what is used");
    let of_own = of("anon_bytes") + tmpfs + of("kernel_bytes");
    assert_eq!(used, of_own, "page cache does not count");
    drop(running.ask("trouble"));
}

/// What holds for every program, whatever its kind.
fn assert_holds(name: &str, ledger: &Ledger, before: &Truth, after: &Truth) {
    let near = |what: &str, got: i64, of: fn(&Truth) -> i64| {
        let (one, other) = (of(before), of(after));
        let range = one.min(other) - NEAR..=one.max(other) + NEAR;
        assert!(
            range.contains(&got),
            "{name}: {what} is {got}, not {one} to {other}\n{ledger}"
        );
    };
    let heap = [
        "go.live",
        "go.since-gc",
        "go.fragmentation",
        "go.idle",
        "go.stacks",
    ];
    let heap: i64 = heap.iter().map(|line| ledger.line(line)).sum();
    near("what of the heap is resident", heap, |truth| truth.arenas);
    let runtime = ledger.line("go.runtime");
    let beyond = ledger.line("go.extra-resident") - ledger.line("go.not-resident") - runtime;
    near("resident less counted", beyond, |truth| {
        truth.arenas - truth.counted() - truth.runtime()
    });
    assert!(
        runtime <= before.runtime().max(after.runtime()),
        "{name}\n{ledger}"
    );
    let others = ["native.mmap", "native.stacks", "data"].map(|line| ledger.line(line));
    near(
        "beside the heap",
        runtime + others.iter().sum::<i64>(),
        |truth| truth.status["RssAnon"] - truth.arenas - truth.allocators,
    );
    near("native.heap", ledger.line("native.heap"), |truth| {
        truth.allocators
    });
    near("file", ledger.line("file"), |truth| truth.status["RssFile"]);
    near(
        "shmem",
        ledger.line("shmem"),
        |truth| truth.status["RssShmem"],
    );
    near("RSS", ledger.total(), |truth| truth.status["VmRSS"]);
    near("swap", ledger.line("swap"), |truth| truth.status["VmSwap"]);
    near("huge-pages", ledger.line("huge-pages"), |truth| truth.huge);
    near("lazy-free", ledger.line("lazy-free"), |truth| truth.lazy);
}

/// The live heap is what the runtime says unless it was cut, and the settings are those in force.
fn assert_settings(name: &str, ledger: &Ledger, live: &Value) {
    let (ours, theirs) = (
        ledger.line("go.live"),
        live["live"].as_i64().expect("bytes"),
    );
    let cut = ledger.line("go.not-resident");
    assert!(
        ours <= theirs + NEAR && ours >= theirs - NEAR - cut,
        "{name}: {ours} {theirs}\n{ledger}"
    );
    assert_eq!(ledger.view["ledger"]["live_source"], "process", "{name}");
    let gogc = &ledger.view["settings"]["gogc_percent"];
    // The runtime says "off" as the largest number there is.
    let percent = live["gogc"].as_f64().filter(|percent| *percent < 1e9);
    assert_eq!(gogc["value"].as_f64(), percent, "{name}: {gogc}");
    assert_eq!(gogc["source"], "process", "{name}");
}

/// Milliseconds since 1970, as the watcher tells times.
#[derive(Clone, Copy)]
struct UnixMs(i64);

impl UnixMs {
    fn now() -> Self {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        Self(i64::try_from(now.expect("a clock").as_millis()).expect("a time of now"))
    }
}

/// The watcher's view of a process, with a ledger that has mappings.
struct Ledger {
    view: Value,
}

impl Ledger {
    /// One whose readings were all made after `time`, of a round with mappings.
    fn after(time: UnixMs, watcher: &Watcher, pid: u32) -> Self {
        Self::of("mappings", time, watcher, pid)
    }

    /// The same of a round without mappings, which goes by an earlier one's.
    fn between(time: UnixMs, watcher: &Watcher, pid: u32) -> Self {
        Self::of("earlier-mappings", time, watcher, pid)
    }

    fn of(basis: &str, time: UnixMs, watcher: &Watcher, pid: u32) -> Self {
        let view = wait_until("a ledger with mappings", PATIENCE, || {
            let row = watcher.target_of(pid)?;
            let id = row["target"]["id"]
                .as_str()
                .ok_or("a target without an id")?;
            let view = watcher.api(&format!("targets/{id}"))?;
            let at = view["ledger"]["at"].as_i64();
            let lines = figures(&view["ledger"]["components"]);
            let of_basis = view["ledger"]["basis"] == basis;
            let whole = of_basis && lines.contains_key("go.live");
            // The mappings were read before the rest of it.
            let skew = view["ledger"]["skew_ms"].as_i64().unwrap_or(0);
            let read = at.map(|at| at - skew.max(1500));
            match read.is_some_and(|read| read > time.0) && whole {
                true => Ok(view),
                false => Err(format!("{basis}: {at:?} {lines:?} {}", view["probes"])),
            }
        });
        Self { view }
    }

    /// A line in the sum or beside it; nothing where it is not.
    fn line(&self, name: &str) -> i64 {
        let ledger = &self.view["ledger"];
        let of = |lines: &Value| figures(lines).get(name).copied();
        of(&ledger["components"])
            .or(of(&ledger["outside"]))
            .unwrap_or(0)
    }

    fn total(&self) -> i64 {
        self.view["ledger"]["total_bytes"]
            .as_i64()
            .expect("a total")
    }

    /// To the byte with `unexplained`, and that within the bound, by readings of one second.
    fn assert_closes(&self, name: &str) {
        self.assert_adds_up(name);
        let skew = self.view["ledger"]["skew_ms"].as_i64().expect("a skew");
        assert!(skew <= 1000, "{name}: {skew} ms between the two sides");
    }

    /// The same of readings that lie apart, of a program that does not change.
    fn assert_adds_up(&self, name: &str) {
        let ledger = &self.view["ledger"];
        let rest = ledger["unexplained_bytes"].as_i64().expect("a rest");
        let sum: i64 = figures(&ledger["components"]).values().sum();
        assert_eq!(sum + rest, self.total(), "{name}\n{self}");
        let allowed = (8 * MIB).max(self.total() / 100 * 3);
        assert!(
            rest.abs() <= allowed,
            "{name} does not close: {rest}\n{self}"
        );
        println!("{name}: {} unexplained of {}", rest, self.total());
    }
}

impl std::fmt::Display for Ledger {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let ledger = &self.view["ledger"];
        let (inside, beside) = (figures(&ledger["components"]), figures(&ledger["outside"]));
        let rest = &ledger["unexplained_bytes"];
        write!(
            f,
            "{inside:?}, unexplained {rest}, of {}; beside: {beside:?}",
            self.total()
        )
    }
}

fn figures(lines: &Value) -> BTreeMap<String, i64> {
    let lines = lines.as_array().into_iter().flatten();
    let pair = |line: &Value| Some((line["name"].as_str()?.to_owned(), line["bytes"].as_i64()?));
    lines.filter_map(pair).collect()
}

/// What the kernel's files and the runtime say, read without the product.
#[derive(Debug)]
struct Truth {
    /// `/proc/PID/status`, bytes.
    status: BTreeMap<String, i64>,
    /// `runtime.MemStats`.
    stats: BTreeMap<String, i64>,
    /// Anonymous memory around an object of the heap.
    arenas: i64,
    /// glibc's arenas and the brk heap.
    allocators: i64,
    huge: i64,
    lazy: i64,
}

impl Truth {
    fn of(running: &mut RunningTarget) -> Self {
        let object = running.ask("object")["object"]
            .as_u64()
            .expect("an address");
        let stats = running.mem_stats().into_iter();
        let stats = stats
            .map(|(name, value)| (name, value.cast_signed()))
            .collect();
        let folder = PathBuf::from(format!("/proc/{}", running.pid()));
        let status = fs::read_to_string(folder.join("status")).expect("a status");
        let smaps = fs::read_to_string(folder.join("smaps")).expect("smaps");
        let mut truth = Self {
            status: status.lines().filter_map(kib).collect(),
            stats,
            arenas: 0,
            allocators: 0,
            huge: 0,
            lazy: 0,
        };
        truth.add(&smaps, object);
        truth
    }

    fn add(&mut self, smaps: &str, object: u64) {
        const ARENA: u64 = 64 << 20;
        let mappings = mappings(smaps);
        // Go's heap is one piece in these programs: what touches the mapping of an object.
        let at = mappings
            .iter()
            .position(|one| (one.start..one.end).contains(&object));
        let at = at.expect("an object lies in a mapping");
        let touches = |pair: &[Mapping]| {
            pair[0].end == pair[1].start && pair[0].name.is_empty() && pair[1].name.is_empty()
        };
        let below = mappings[..=at]
            .windows(2)
            .rev()
            .take_while(|pair| touches(pair))
            .count();
        let above = mappings[at..]
            .windows(2)
            .take_while(|pair| touches(pair))
            .count();
        for (place, one) in mappings.iter().enumerate() {
            let of = |field: &str| one.bytes.get(field).copied().unwrap_or(0);
            // As glibc makes its arenas: from a border of 64 MiB on, and smaller than that.
            let in_arena =
                one.name.is_empty() && one.start % ARENA == 0 && one.end - one.start < ARENA;
            if (at - below..=at + above).contains(&place) {
                self.arenas += of("Anonymous");
                self.lazy += of("LazyFree");
            } else if one.name == "[heap]" || in_arena {
                self.allocators += of("Anonymous");
            }
            self.huge += of("AnonHugePages");
        }
    }

    fn stat(&self, name: &str) -> i64 {
        self.stats.get(name).copied().unwrap_or(0)
    }

    /// What Go counts in its heap, and has not given back.
    fn counted(&self) -> i64 {
        self.stat("heap_inuse") + self.stat("heap_idle") - self.stat("heap_released")
            + self.stat("stack_inuse")
    }

    /// What Go counts of its own tables.
    fn runtime(&self) -> i64 {
        let parts = [
            "mspan_inuse",
            "mcache_inuse",
            "buck_hash_sys",
            "gc_sys",
            "other_sys",
        ];
        parts.iter().map(|part| self.stat(part)).sum()
    }
}

/// One entry of `smaps`.
struct Mapping {
    start: u64,
    end: u64,
    name: String,
    bytes: BTreeMap<String, i64>,
}

fn mappings(smaps: &str) -> Vec<Mapping> {
    let mut all: Vec<Mapping> = Vec::new();
    for line in smaps.lines() {
        if let Some((start, end)) = line.split(' ').next().and_then(|word| word.split_once('-')) {
            let address = |text| u64::from_str_radix(text, 16).expect("an address");
            all.push(Mapping {
                start: address(start),
                end: address(end),
                name: line
                    .split_ascii_whitespace()
                    .nth(5)
                    .unwrap_or("")
                    .to_owned(),
                bytes: BTreeMap::new(),
            });
        } else if let Some(last) = all.last_mut() {
            last.bytes.extend(kib(line));
        }
    }
    all
}

/// `Name:   12 kB`.
fn kib(line: &str) -> Option<(String, i64)> {
    let (name, rest) = line.split_once(':')?;
    let number: i64 = rest.strip_suffix(" kB")?.trim().parse().ok()?;
    Some((name.to_owned(), number * 1024))
}

/// A cgroup with a limit, and two below it without; removed at the end.
struct Cgroups {
    root: PathBuf,
    name: String,
}

impl Cgroups {
    fn make() -> Option<Self> {
        let root = PathBuf::from("/sys/fs/cgroup/memory");
        let name = format!("unswept-peer-ledger-{}", std::process::id());
        fs::create_dir(root.join(&name)).ok()?;
        let cgroups = Self { root, name };
        for inner in ["own", "others"] {
            fs::create_dir(cgroups.path(inner)).expect("a cgroup below ours");
        }
        let limit = cgroups.path("").join("memory.limit_in_bytes");
        fs::write(limit, (512 * MIB).to_string()).expect("a limit");
        Some(cgroups)
    }

    fn path(&self, inner: &str) -> PathBuf {
        self.root.join(&self.name).join(inner)
    }

    /// Its files of one number, and the lines of `memory.stat`.
    fn figures(&self, inner: &str) -> BTreeMap<String, i64> {
        let read = |file: &str| {
            fs::read_to_string(self.path(inner).join(file)).expect("a file of the cgroup")
        };
        let number = |text: &str| text.trim().parse::<i64>().ok();
        let stat = read("memory.stat");
        let lines = stat.lines().filter_map(|line| line.split_once(' '));
        let mut all: BTreeMap<String, i64> = lines
            .filter_map(|(name, value)| Some((name.to_owned(), number(value)?)))
            .collect();
        for file in ["memory.usage_in_bytes", "memory.kmem.usage_in_bytes"] {
            all.insert(file.to_owned(), number(&read(file)).expect("a number"));
        }
        all
    }
}

impl Drop for Cgroups {
    fn drop(&mut self) {
        let remove = |path: &Path| fs::remove_dir(path);
        // A process that was killed leaves its cgroup a moment later.
        for inner in ["own", "others", ""] {
            let path = self.path(inner);
            let deadline = Instant::now() + Duration::from_secs(5);
            while remove(&path).is_err() && path.exists() && Instant::now() < deadline {
                std::thread::sleep(Duration::from_millis(20));
            }
        }
    }
}
