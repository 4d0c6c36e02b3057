//! Which metric means what: Go's and the process collector's numbers under all names they have.
//!
//! Names: client_golang's `collectors.NewGoCollector` (the `go_memstats_*` names and those made
//! from `runtime/metrics`), OpenTelemetry's Go runtime conventions as Prometheus spells them, and
//! the names of common articles. Of several names for one figure the first in the list wins; of
//! several samples of one name the first.

use std::collections::HashMap;

use model::{GoMemory, GoSource, Labels, ProcessMemory, UnixMs};

/// Figures of one name each, by field, best name first.
const LIVE: &[&str] = &["go_gc_heap_live_bytes"];
const HEAP_ALLOC: &[&str] = &[
    "go_memstats_heap_alloc_bytes",
    "go_memory_classes_heap_objects_bytes",
    "go_memstats_alloc_bytes",
    "go_mem_heap_alloc_bytes",
    "process_runtime_go_mem_heap_alloc_bytes", // OpenTelemetry's, until 2024
];
const HEAP_INUSE: &[&str] = &[
    "go_memstats_heap_inuse_bytes",
    "process_runtime_go_mem_heap_inuse_bytes",
];
const HEAP_IDLE: &[&str] = &[
    "go_memstats_heap_idle_bytes",
    "process_runtime_go_mem_heap_idle_bytes",
];
const HEAP_RELEASED: &[&str] = &[
    "go_memstats_heap_released_bytes",
    "go_memory_classes_heap_released_bytes",
    "process_runtime_go_mem_heap_released_bytes",
];
const HEAP_OBJECTS: &[&str] = &[
    "go_memstats_heap_objects",
    "go_gc_heap_objects_objects",
    "process_runtime_go_mem_heap_objects",
];
const STACK_INUSE: &[&str] = &[
    "go_memstats_stack_inuse_bytes",
    "go_memory_classes_heap_stacks_bytes",
];
const SYS: &[&str] = &["go_memstats_sys_bytes", "go_memory_classes_total_bytes"];
const NEXT_GC: &[&str] = &[
    "go_memstats_next_gc_bytes",
    "go_gc_heap_goal_bytes",
    "go_memory_gc_goal_bytes",
];
const GC_CYCLES: &[&str] = &[
    "go_gc_cycles_total_gc_cycles_total",
    "go_gc_duration_seconds_count",
    "go_gc_cycles_total",
    "process_runtime_go_gc_count_total",
];
const LAST_GC: &[&str] = &["go_memstats_last_gc_time_seconds"];
const ALLOC_TOTAL: &[&str] = &[
    "go_memstats_alloc_bytes_total",
    "go_gc_heap_allocs_bytes_total",
    "go_memory_allocated_bytes_total",
];
const GOROUTINES: &[&str] = &[
    "go_goroutines",
    "go_sched_goroutines_goroutines",
    "go_goroutine_count",
    "process_runtime_go_goroutines",
    "goroutines", // a variable that many programs put on their expvar page
];
const THREADS: &[&str] = &["go_threads", "go_sched_threads_total_threads"];
const GOGC: &[&str] = &["go_gc_gogc_percent", "go_config_gogc_percent"];
const GOMEMLIMIT: &[&str] = &["go_gc_gomemlimit_bytes", "go_memory_limit_bytes"];

/// Figures that are sums, all parts needed: the first sum that is whole wins.
const HEAP_INUSE_PARTS: &[&str] = &[
    "go_memory_classes_heap_objects_bytes",
    "go_memory_classes_heap_unused_bytes",
];
const HEAP_IDLE_PARTS: &[&str] = &[
    "go_memory_classes_heap_free_bytes",
    "go_memory_classes_heap_released_bytes",
];
const RUNTIME_PARTS: [&[&str]; 2] = [
    &[
        "go_memstats_mspan_inuse_bytes",
        "go_memstats_mcache_inuse_bytes",
        "go_memstats_buck_hash_sys_bytes",
        "go_memstats_gc_sys_bytes",
        "go_memstats_other_sys_bytes",
    ],
    &[
        "go_memory_classes_metadata_mspan_inuse_bytes",
        "go_memory_classes_metadata_mcache_inuse_bytes",
        "go_memory_classes_profiling_buckets_bytes",
        "go_memory_classes_metadata_other_bytes",
        "go_memory_classes_other_bytes",
    ],
];

const RSS: &[&str] = &["process_resident_memory_bytes"];
/// The parts of RSS, as VictoriaMetrics' client has them.
const RSS_PARTS: [&[&str]; 3] = [
    &["process_resident_memory_anon_bytes"],
    &["process_resident_memory_file_bytes"],
    &["process_resident_memory_shared_bytes"],
];
const START_TIME: &[&str] = &["process_start_time_seconds"];
const OPEN_FDS: &[&str] = &["process_open_fds"];
const MAX_FDS: &[&str] = &["process_max_fds"];
const CPU: &[&str] = &["process_cpu_seconds_total"];

/// What the first letters of any name above are; other samples are passed over quickly.
fn may_be_known(name: &str) -> bool {
    name.starts_with("go_") || name.starts_with("process_") || name == "goroutines"
}

/// Whether [`go_memory`] or [`remote_process`] reads a metric of this name.
#[must_use]
pub fn is_figure(name: &str) -> bool {
    let single = [
        LIVE,
        HEAP_ALLOC,
        HEAP_INUSE,
        HEAP_IDLE,
        HEAP_RELEASED,
        HEAP_OBJECTS,
        STACK_INUSE,
        SYS,
        NEXT_GC,
        GC_CYCLES,
        LAST_GC,
        ALLOC_TOTAL,
        GOROUTINES,
        THREADS,
        GOGC,
        GOMEMLIMIT,
        HEAP_INUSE_PARTS,
        HEAP_IDLE_PARTS,
        RSS,
        START_TIME,
        OPEN_FDS,
        MAX_FDS,
        CPU,
    ];
    let lists = single.iter().chain(&RUNTIME_PARTS).chain(&RSS_PARTS);
    may_be_known(name) && lists.into_iter().any(|names| names.contains(&name))
}

/// The samples that may matter, by name.
struct Known<'a>(HashMap<&'a str, f64>);

impl<'a> Known<'a> {
    fn new(samples: impl IntoIterator<Item = (&'a Labels, f64)>) -> Self {
        let mut known = HashMap::new();
        for (labels, value) in samples {
            let name = labels.name();
            // A quantile or a bucket is not the figure itself.
            if may_be_known(name) && labels.get("quantile").or(labels.get("le")).is_none() {
                known.entry(name).or_insert(value);
            }
        }
        Self(known)
    }

    /// A figure that cannot be below zero or infinite.
    fn figure(&self, names: &[&str]) -> Option<f64> {
        let value = self.raw(names)?;
        (value.is_finite() && value >= 0.0).then_some(value)
    }

    fn raw(&self, names: &[&str]) -> Option<f64> {
        names.iter().find_map(|name| self.0.get(name).copied())
    }

    fn sum(&self, parts: &[&str]) -> Option<f64> {
        parts.iter().map(|part| self.figure(&[part])).sum()
    }
}

/// The Go runtime's figures in a scrape's samples; `None` when there is not one of them.
///
/// * `at`: when the scrape was answered.
/// * `gogc_percent` is -1 for GOGC=off, which `runtime/metrics` gives as a huge unsigned number;
///   `gomemlimit_bytes` is infinite for the default, `math.MaxInt64`.
pub fn go_memory<'a>(
    samples: impl IntoIterator<Item = (&'a Labels, f64)>,
    at: UnixMs,
) -> Option<GoMemory> {
    let known = Known::new(samples);
    let above_zero = |value: &f64| *value > 0.0;
    let go = GoMemory {
        at,
        source: GoSource::Metrics,
        live_bytes: known.figure(LIVE).filter(above_zero), // zero until the first mark
        heap_alloc_bytes: known.figure(HEAP_ALLOC),
        heap_inuse_bytes: known
            .figure(HEAP_INUSE)
            .or_else(|| known.sum(HEAP_INUSE_PARTS)),
        heap_idle_bytes: known
            .figure(HEAP_IDLE)
            .or_else(|| known.sum(HEAP_IDLE_PARTS)),
        heap_released_bytes: known.figure(HEAP_RELEASED),
        heap_objects: known.figure(HEAP_OBJECTS),
        stack_inuse_bytes: known.figure(STACK_INUSE),
        runtime_bytes: RUNTIME_PARTS.iter().find_map(|parts| known.sum(parts)),
        sys_bytes: known.figure(SYS),
        next_gc_bytes: known.figure(NEXT_GC).filter(above_zero),
        gc_cycles: known.figure(GC_CYCLES),
        last_gc_unix_s: known.figure(LAST_GC).filter(above_zero),
        alloc_bytes_total: known.figure(ALLOC_TOTAL),
        goroutines: known.figure(GOROUTINES),
        threads: known.figure(THREADS),
        gogc_percent: known.raw(GOGC).and_then(gogc),
        gomemlimit_bytes: known.raw(GOMEMLIMIT).and_then(gomemlimit),
    };
    (go != GoMemory {
        at,
        ..GoMemory::default()
    })
    .then_some(go)
}

/// GOGC is an int32 in the runtime; what is no int32 is a -1 that went through a uint64.
fn gogc(value: f64) -> Option<f64> {
    match value {
        v if v.is_nan() => None,
        v if v < 0.0 || v > f64::from(i32::MAX) => Some(-1.0),
        v => Some(v),
    }
}

/// `math.MaxInt64` means no limit; a float64 rounds it up to 2^63.
fn gomemlimit(value: f64) -> Option<f64> {
    match value {
        v if v.is_nan() || v <= 0.0 => None,
        v if v >= i64::MAX as f64 => Some(f64::INFINITY),
        v => Some(v),
    }
}

/// The `version` of `go_info`, such as `go1.26.8`.
pub fn go_version<'a>(samples: impl IntoIterator<Item = (&'a Labels, f64)>) -> Option<&'a str> {
    let mut names = samples.into_iter().map(|(labels, _)| labels);
    names
        .find(|labels| labels.name() == "go_info")?
        .get("version")
}

/// What the process collector says of a target whose `/proc` is out of reach.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct RemoteProcess {
    /// When it was read.
    pub at: UnixMs,
    /// `process_resident_memory_bytes`.
    pub rss_bytes: Option<f64>,
    /// RSS by anonymous memory, files and shared memory, where all three are exported.
    pub rss_parts: Option<[f64; 3]>,
    /// `process_start_time_seconds`, as a time.
    pub started: Option<UnixMs>,
    /// `process_open_fds`.
    pub fds: Option<f64>,
    /// `process_max_fds`.
    pub fds_max: Option<f64>,
    /// `process_cpu_seconds_total`, in milliseconds.
    pub cpu_ms: Option<f64>,
    /// `go_threads`: threads that the runtime made, which are nearly all.
    pub threads: Option<f64>,
}

impl RemoteProcess {
    /// As if from `/proc`. Few clients export the split of RSS: without it its parts are zero, and
    /// [`process_ledger`](crate::process_ledger) and [`reading_samples`](crate::reading_samples)
    /// know that from their sum. `None` without RSS.
    #[must_use]
    pub fn memory(&self) -> Option<ProcessMemory> {
        let [anon, file, shmem] = self.rss_parts.unwrap_or_default();
        Some(ProcessMemory {
            at: self.at,
            rss_bytes: self.rss_bytes? as u64,
            anon_bytes: anon as u64,
            file_bytes: file as u64,
            shmem_bytes: shmem as u64,
            threads: self.threads.unwrap_or(0.0) as u64,
            fds: self.fds.map(|fds| fds as u64),
            cpu_ms: self.cpu_ms.unwrap_or(0.0) as u64,
            ..ProcessMemory::default()
        })
    }
}

/// The process collector's figures in a scrape's samples; `None` when there is not one of them.
pub fn remote_process<'a>(
    samples: impl IntoIterator<Item = (&'a Labels, f64)>,
    at: UnixMs,
) -> Option<RemoteProcess> {
    let known = Known::new(samples);
    // No machine has a pebibyte: such a figure is a mistake or a lie.
    let bytes = |names| {
        let figure: Option<f64> = known.figure(names);
        figure.filter(|bytes| *bytes <= (1_u64 << 50) as f64)
    };
    let [anon, file, shmem] = RSS_PARTS.map(bytes);
    let process = RemoteProcess {
        at,
        rss_bytes: bytes(RSS),
        rss_parts: anon.zip(file).zip(shmem).map(|((a, f), s)| [a, f, s]),
        started: known
            .figure(START_TIME)
            .map(|s| UnixMs((s * 1000.0) as i64)),
        fds: known.figure(OPEN_FDS),
        fds_max: known.figure(MAX_FDS),
        cpu_ms: known.figure(CPU).map(|s| s * 1000.0),
        threads: None,
    };
    (process
        != RemoteProcess {
            at,
            ..RemoteProcess::default()
        })
    .then_some(RemoteProcess {
        threads: known.figure(THREADS),
        ..process
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: UnixMs = UnixMs(1_795_363_413_000);

    /// The samples of a recorded page without escapes, timestamps and exemplars.
    fn recorded(text: &str) -> Vec<(Labels, f64)> {
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        lines
            .map(|line| {
                let (series, value) = line.rsplit_once(' ').expect("name and value");
                let (name, inside) = series.split_once('{').unwrap_or((series, "}"));
                let inside = inside.trim_end_matches('}');
                let pairs = inside.split(',').filter_map(|pair| pair.split_once('='));
                let pairs = pairs.map(|(name, value)| (name, value.trim_matches('"')));
                (
                    Labels::metric(name, pairs),
                    value.parse().expect("a number"),
                )
            })
            .collect()
    }

    fn go(samples: &[(Labels, f64)]) -> Option<GoMemory> {
        go_memory(samples.iter().map(|(labels, value)| (labels, *value)), AT)
    }

    fn of(pairs: &[(&str, f64)]) -> Option<GoMemory> {
        let samples = pairs
            .iter()
            .map(|(name, value)| (Labels::metric(name, []), *value));
        go(&samples.collect::<Vec<_>>())
    }

    #[test]
    fn a_recorded_page_of_the_default_collectors_is_read() {
        let samples = recorded(include_str!("../tests/data/client_golang_old.txt"));
        let want = GoMemory {
            at: AT,
            source: GoSource::Metrics,
            live_bytes: None,
            heap_alloc_bytes: Some(35_027_976.0),
            heap_inuse_bytes: Some(36_102_144.0),
            heap_idle_bytes: Some(9_576_448.0),
            heap_released_bytes: Some(4_374_528.0),
            heap_objects: Some(1742.0),
            stack_inuse_bytes: Some(458_752.0),
            runtime_bytes: Some(34_400.0 + 4592.0 + 1_443_971.0 + 2_472_176.0 + 579_981.0),
            sys_bytes: Some(50_698_504.0),
            next_gc_bytes: Some(38_264_833.0),
            gc_cycles: Some(11.0),
            last_gc_unix_s: Some(1_795_363_411.229_815),
            alloc_bytes_total: Some(88_635_488.0),
            goroutines: Some(47.0),
            threads: Some(6.0),
            gogc_percent: Some(50.0),
            gomemlimit_bytes: Some(419_430_400.0),
        };
        assert_eq!(go(&samples), Some(want));
        let pairs = || samples.iter().map(|(labels, value)| (labels, *value));
        assert_eq!(go_version(pairs()), Some("go1.26.8"));
        let process = remote_process(pairs(), AT).expect("the process collector");
        assert_eq!(process.started, Some(UnixMs(1_795_363_411_180)));
        let memory = process.memory().expect("RSS");
        assert_eq!(
            (memory.rss_bytes, memory.fds, memory.threads),
            (49_422_336, Some(11), 6)
        );
        assert_eq!((memory.anon_bytes, memory.cpu_ms), (0, 30));
    }

    /// Recorded from client_golang 1.25 on go1.26.8, histograms' buckets left out.
    #[test]
    fn a_recorded_page_of_the_runtime_metrics_collector_is_read() {
        let samples = recorded(include_str!("../tests/data/client_golang_new.txt"));
        let go = go(&samples).expect("Go's figures");
        assert_eq!(go.live_bytes, Some(25_427_096.0));
        assert_eq!(go.heap_alloc_bytes, Some(35_135_880.0));
        assert_eq!(go.heap_inuse_bytes, Some(35_135_880.0 + 1_400_440.0));
        assert_eq!(go.heap_idle_bytes, Some(4_702_208.0 + 4_374_528.0));
        assert_eq!(go.next_gc_bytes, Some(38_264_833.0));
        assert_eq!((go.gc_cycles, go.goroutines), (Some(11.0), Some(46.0)));
        assert!(go.runtime_bytes.is_some() && go.stack_inuse_bytes.is_some());
        assert!(go.alloc_bytes_total.is_some() && go.threads.is_some());
    }

    #[test]
    fn what_is_read_is_known_by_name() {
        for (name, known) in [
            ("go_memstats_heap_alloc_bytes", true),
            ("go_memstats_mspan_inuse_bytes", true),
            ("process_resident_memory_anon_bytes", true),
            ("process_start_time_seconds", true),
            ("go_memstats_lookups_total", false),
            ("http_requests_total", false),
        ] {
            assert_eq!(is_figure(name), known, "{name}");
        }
    }

    #[test]
    fn odd_figures_and_other_names_are_understood() {
        assert_eq!(of(&[]), None, "nothing");
        assert_eq!(of(&[("http_requests_total", 5.0)]), None, "nothing of Go");
        let one = |name, value| of(&[(name, value)]);
        let limit = |value| one("go_gc_gomemlimit_bytes", value).and_then(|go| go.gomemlimit_bytes);
        assert_eq!(limit(9.223372036854776e18), Some(f64::INFINITY), "off");
        assert_eq!(limit(4e8), Some(4e8));
        assert_eq!(limit(f64::NAN), None);
        let gogc = |value| one("go_gc_gogc_percent", value).and_then(|go| go.gogc_percent);
        assert_eq!(
            gogc(1.8446744073709552e19),
            Some(-1.0),
            "off, as runtime/metrics says it"
        );
        assert_eq!(
            (gogc(-1.0), gogc(0.0), gogc(200.0)),
            (Some(-1.0), Some(0.0), Some(200.0))
        );
        let heap = |name, value| one(name, value).and_then(|go| go.heap_alloc_bytes);
        assert_eq!(
            heap("go_mem_heap_alloc_bytes", 7.0),
            Some(7.0),
            "an article's name"
        );
        assert_eq!(
            heap("go_memstats_heap_alloc_bytes", -7.0),
            None,
            "below zero"
        );
        assert_eq!(heap("go_memstats_heap_alloc_bytes", f64::INFINITY), None);
        assert_eq!(
            one("go_goroutine_count", 9.0).and_then(|go| go.goroutines),
            Some(9.0)
        );
        assert_eq!(
            one("go_gc_cycles_total", 3.0).and_then(|go| go.gc_cycles),
            Some(3.0)
        );
        assert_eq!(one("go_gc_heap_live_bytes", 0.0), None, "no mark yet");
        let both = of(&[
            ("go_mem_heap_alloc_bytes", 1.0),
            ("go_memstats_heap_alloc_bytes", 2.0),
        ]);
        assert_eq!(
            both.and_then(|go| go.heap_alloc_bytes),
            Some(2.0),
            "the better name wins"
        );
        let parts = |pairs: &[(&str, f64)]| {
            let samples = pairs.iter().map(|(name, v)| (Labels::metric(name, []), *v));
            let samples: Vec<_> = samples.collect();
            let pairs = samples.iter().map(|(labels, value)| (labels, *value));
            remote_process(pairs, AT).and_then(|process| process.memory())
        };
        let rss = ("process_resident_memory_bytes", 60.0);
        let anon = ("process_resident_memory_anon_bytes", 40.0);
        let file = ("process_resident_memory_file_bytes", 15.0);
        let shared = ("process_resident_memory_shared_bytes", 5.0);
        let memory = parts(&[rss, anon, file, shared]).expect("RSS");
        let split = (memory.anon_bytes, memory.file_bytes, memory.shmem_bytes);
        assert_eq!(split, (40, 15, 5), "a client that splits RSS");
        let memory = parts(&[rss, anon]).expect("RSS");
        assert_eq!(memory.anon_bytes, 0, "half a split is none");
        let part = of(&[("go_memory_classes_heap_objects_bytes", 1.0)]).expect("HeapAlloc");
        assert_eq!(part.heap_inuse_bytes, None, "half a sum is no figure");
    }
}
