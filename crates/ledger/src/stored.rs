//! The series that a store keeps of a target's readings, and back from them to the judge's channels.
//!
//! All have the target's labels and a name below; counts have no unit in their names, all else is
//! bytes. They are our own so that a judgement is one select, whatever the target called its
//! metrics.

use std::collections::BTreeMap;

use model::series::is_stale_marker;
use model::{
    Channel, ChannelData, ContainerMemory, GoMemory, Labels, Ledger, LedgerBasis, METRIC_NAME,
    ProcessMemory, Sample, Series, UnixMs,
};

use crate::container::container_ledger;
use crate::live::{Live, LiveSource};
use crate::load::{LoadValue, is_load_like};
use crate::mapped::Native;
use crate::process::split_known;

/// RSS.
pub const PROCESS_RSS: &str = "unswept_process_rss_bytes";
/// RssAnon.
pub const PROCESS_ANON: &str = "unswept_process_anon_bytes";
/// RssFile.
pub const PROCESS_FILE: &str = "unswept_process_file_bytes";
/// RssShmem.
pub const PROCESS_SHMEM: &str = "unswept_process_shmem_bytes";
/// VmSwap.
pub const PROCESS_SWAP: &str = "unswept_process_swap_bytes";
/// Anonymous memory that is not Go's; the label `basis` says how it is known ([`Native`]). One series
/// a basis: figures of two differ by a step that is no growth.
pub const PROCESS_NATIVE: &str = "unswept_process_native_bytes";
/// Threads.
pub const PROCESS_THREADS: &str = "unswept_process_threads";
/// Open descriptors.
pub const PROCESS_FDS: &str = "unswept_process_fds";
/// Of those, sockets.
pub const PROCESS_SOCKETS: &str = "unswept_process_sockets";
/// CPU time, seconds, a counter.
pub const PROCESS_CPU: &str = "unswept_process_cpu_seconds_total";
/// Live heap; the label `source` says how it is known. One series a source: figures of two
/// sources differ by a step that is no growth.
pub const GO_LIVE: &str = "unswept_go_live_bytes";
/// HeapAlloc.
pub const GO_HEAP_ALLOC: &str = "unswept_go_heap_alloc_bytes";
/// HeapInuse.
pub const GO_HEAP_INUSE: &str = "unswept_go_heap_inuse_bytes";
/// HeapIdle less HeapReleased.
pub const GO_IDLE: &str = "unswept_go_idle_bytes";
/// StackInuse.
pub const GO_STACKS: &str = "unswept_go_stacks_bytes";
/// The runtime's own structures.
pub const GO_RUNTIME: &str = "unswept_go_runtime_bytes";
/// NextGC.
pub const GO_NEXT_GC: &str = "unswept_go_next_gc_bytes";
/// Collections completed, a counter.
pub const GO_GC_CYCLES: &str = "unswept_go_gc_cycles";
/// Goroutines.
pub const GO_GOROUTINES: &str = "unswept_go_goroutines";
/// One line of the ledger, named by the label `component`; those outside the sum too.
pub const COMPONENT: &str = "unswept_component_bytes";
/// The ledger's rest.
pub const UNEXPLAINED: &str = "unswept_unexplained_bytes";
/// One measure of load, named by the label `source`.
pub const LOAD: &str = "unswept_load";
/// The container's charged memory.
pub const CONTAINER_USAGE: &str = "unswept_container_usage_bytes";
/// Its anonymous part.
pub const CONTAINER_ANON: &str = "unswept_container_anon_bytes";
/// Page cache, without shared memory.
pub const CONTAINER_FILE: &str = "unswept_container_file_bytes";
/// Shared memory and tmpfs.
pub const CONTAINER_SHMEM: &str = "unswept_container_shmem_bytes";
/// The kernel's own.
pub const CONTAINER_KERNEL: &str = "unswept_container_kernel_bytes";
/// Buffers of sockets.
pub const CONTAINER_SOCKETS: &str = "unswept_container_sockets_bytes";
/// The usage less its parts; may be below zero.
pub const CONTAINER_UNEXPLAINED: &str = "unswept_container_unexplained_bytes";
/// Usage less inactive file pages.
pub const CONTAINER_WORKING_SET: &str = "unswept_container_working_set_bytes";
/// Active file pages.
pub const CONTAINER_ACTIVE_FILE: &str = "unswept_container_active_file_bytes";
/// Inactive file pages.
pub const CONTAINER_INACTIVE_FILE: &str = "unswept_container_inactive_file_bytes";
/// Swapped out.
pub const CONTAINER_SWAP: &str = "unswept_container_swap_bytes";
/// RSS of its processes, summed.
pub const CONTAINER_PROCESSES: &str = "unswept_container_processes_rss_bytes";
/// The effective limit.
pub const CONTAINER_LIMIT: &str = "unswept_container_limit_bytes";
/// The effective `memory.high`.
pub const CONTAINER_HIGH: &str = "unswept_container_high_bytes";
/// Events at its limits, named by the label `event`, a counter.
pub const CONTAINER_EVENTS: &str = "unswept_container_events_total";
/// Time that tasks have waited for memory; the label `kind` is `some` or `full`, a counter.
pub const CONTAINER_PRESSURE: &str = "unswept_container_pressure_seconds_total";

/// All names above: what may be stored of a target.
pub const NAMES: [&str; 38] = [
    PROCESS_RSS,
    PROCESS_ANON,
    PROCESS_FILE,
    PROCESS_SHMEM,
    PROCESS_SWAP,
    PROCESS_NATIVE,
    PROCESS_THREADS,
    PROCESS_FDS,
    PROCESS_SOCKETS,
    PROCESS_CPU,
    GO_LIVE,
    GO_HEAP_ALLOC,
    GO_HEAP_INUSE,
    GO_IDLE,
    GO_STACKS,
    GO_RUNTIME,
    GO_NEXT_GC,
    GO_GC_CYCLES,
    GO_GOROUTINES,
    COMPONENT,
    UNEXPLAINED,
    LOAD,
    CONTAINER_USAGE,
    CONTAINER_ANON,
    CONTAINER_FILE,
    CONTAINER_SHMEM,
    CONTAINER_KERNEL,
    CONTAINER_SOCKETS,
    CONTAINER_UNEXPLAINED,
    CONTAINER_WORKING_SET,
    CONTAINER_ACTIVE_FILE,
    CONTAINER_INACTIVE_FILE,
    CONTAINER_SWAP,
    CONTAINER_PROCESSES,
    CONTAINER_LIMIT,
    CONTAINER_HIGH,
    CONTAINER_EVENTS,
    CONTAINER_PRESSURE,
];

/// What one collection round learned of a target; what it did not is `None` or empty.
#[derive(Debug, Clone, Copy, Default)]
pub struct Reading<'a> {
    /// When: all its samples get this time.
    pub at: UnixMs,
    /// The kernel's side.
    pub process: Option<&'a ProcessMemory>,
    /// The runtime's side.
    pub go: Option<&'a GoMemory>,
    /// What is live of it.
    pub live: Option<Live>,
    /// What is not Go's: [`native`](crate::native).
    pub native: Option<Native>,
    /// The two joined.
    pub ledger: Option<&'a Ledger>,
    /// The container around it.
    pub container: Option<&'a ContainerMemory>,
    /// Load from its own scrape. Sockets need not be in it.
    pub load: &'a [LoadValue],
}

/// The samples to store of one reading: about 30, and up to 22 of its container.
#[must_use]
pub fn reading_samples(target: &Labels, reading: &Reading<'_>) -> Vec<(Labels, Sample)> {
    let mut all = Vec::with_capacity(64);
    reading_figures(reading, &mut |figure| {
        let name = (METRIC_NAME, figure.name);
        let labels = target.with(figure.label.into_iter().chain([name]));
        let sample = Sample {
            t: reading.at,
            v: figure.value,
        };
        all.push((labels, sample));
    });
    all
}

/// A sample without its target's labels and its time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Figure<'a> {
    /// The series' name.
    pub name: &'static str,
    /// The one label that it has besides, if any.
    pub label: Option<(&'static str, &'a str)>,
    /// Finite.
    pub value: f64,
}

/// The same without a target's labels.
pub fn reading_figures(reading: &Reading<'_>, each: &mut dyn FnMut(Figure<'_>)) {
    let mut out = Figures { each };
    if let Some(process) = reading.process {
        out.process(process);
    }
    if let Some(go) = reading.go {
        out.go(go);
    }
    if let Some(Native { bytes, basis }) = reading.native {
        out.labelled(PROCESS_NATIVE, "basis", basis, bytes as f64);
    }
    if let Some(live) = reading.live {
        out.labelled(GO_LIVE, "source", live.source.as_str(), live.bytes);
    }
    if let Some(ledger) = reading.ledger {
        let carried = ledger.basis == LedgerBasis::EarlierMappings;
        let lines = ledger.components.iter().chain(&ledger.outside);
        // A figure is stored once, when it was read: repeated it would be a reading that nobody made.
        for line in lines.filter(|line| !(carried && is_of_mappings(&line.name))) {
            out.labelled(COMPONENT, "component", &line.name, line.bytes as f64);
        }
        out.add(UNEXPLAINED, Some(ledger.unexplained_bytes as f64));
    }
    if let Some(container) = reading.container {
        out.container(container);
    }
    for load in reading.load {
        out.labelled(LOAD, "source", &load.source, load.value);
    }
}

/// Whether a line of the ledger comes from mappings alone.
fn is_of_mappings(line: &str) -> bool {
    line.starts_with("native.") || ["go", "data", "huge-pages", "lazy-free"].contains(&line)
}

/// Hands out what is a number.
struct Figures<'e> {
    each: &'e mut dyn FnMut(Figure<'_>),
}

impl Figures<'_> {
    fn add(&mut self, name: &'static str, value: Option<f64>) {
        if let Some(value) = value {
            self.tell(name, None, value);
        }
    }

    fn labelled(&mut self, name: &'static str, label: &'static str, label_value: &str, v: f64) {
        self.tell(name, Some((label, label_value)), v);
    }

    fn tell(&mut self, name: &'static str, label: Option<(&'static str, &str)>, value: f64) {
        if value.is_finite() {
            (self.each)(Figure { name, label, value });
        }
    }

    fn process(&mut self, process: &ProcessMemory) {
        let count = |value: Option<u64>| value.map(|value| value as f64);
        self.add(PROCESS_RSS, Some(process.rss_bytes as f64));
        if split_known(process) {
            self.add(PROCESS_ANON, Some(process.anon_bytes as f64));
            self.add(PROCESS_FILE, Some(process.file_bytes as f64));
            self.add(PROCESS_SHMEM, Some(process.shmem_bytes as f64));
            self.add(PROCESS_SWAP, Some(process.swap_bytes as f64));
        }
        // A process without a thread has not been read, only guessed at from afar.
        self.add(
            PROCESS_THREADS,
            count((process.threads > 0).then_some(process.threads)),
        );
        self.add(PROCESS_FDS, count(process.fds));
        self.add(PROCESS_SOCKETS, count(process.sockets));
        self.add(PROCESS_CPU, Some(process.cpu_ms as f64 / 1000.0));
    }

    fn container(&mut self, container: &ContainerMemory) {
        let ledger = container_ledger(container);
        self.add(CONTAINER_USAGE, Some(ledger.total_bytes as f64));
        self.add(CONTAINER_UNEXPLAINED, Some(ledger.unexplained_bytes as f64));
        for line in &ledger.components {
            let name = match line.name.as_str() {
                "anon" => CONTAINER_ANON,
                "file" => CONTAINER_FILE,
                "shmem" => CONTAINER_SHMEM,
                "kernel" => CONTAINER_KERNEL,
                "sockets" => CONTAINER_SOCKETS,
                _ => continue,
            };
            self.add(name, Some(line.bytes as f64));
        }
        for (name, bytes) in [
            (CONTAINER_WORKING_SET, container.working_set_bytes()),
            (CONTAINER_ACTIVE_FILE, container.active_file_bytes),
            (CONTAINER_INACTIVE_FILE, container.inactive_file_bytes),
            (CONTAINER_SWAP, container.swap_bytes),
            (CONTAINER_PROCESSES, container.processes_rss_bytes),
            (CONTAINER_LIMIT, container.limit_bytes),
            (CONTAINER_HIGH, container.high_bytes),
        ] {
            self.add(name, bytes.map(|bytes| bytes as f64));
        }
        let events = container.events;
        for (event, count) in [
            ("high", events.high),
            ("max", events.max),
            ("oom", events.oom),
            ("oom_kill", events.oom_kill),
        ] {
            if let Some(count) = count {
                self.labelled(CONTAINER_EVENTS, "event", event, count as f64);
            }
        }
        if let Some(pressure) = container.pressure {
            for (kind, micros) in [("some", pressure.some_us), ("full", pressure.full_us)] {
                self.labelled(CONTAINER_PRESSURE, "kind", kind, micros as f64 / 1e6);
            }
        }
    }

    fn go(&mut self, go: &GoMemory) {
        let idle = go.heap_idle_bytes.zip(go.heap_released_bytes);
        self.add(GO_HEAP_ALLOC, go.heap_alloc_bytes);
        self.add(GO_HEAP_INUSE, go.heap_inuse_bytes);
        self.add(
            GO_IDLE,
            idle.map(|(idle, released)| (idle - released).max(0.0)),
        );
        self.add(GO_STACKS, go.stack_inuse_bytes);
        self.add(GO_RUNTIME, go.runtime_bytes);
        self.add(GO_NEXT_GC, go.next_gc_bytes);
        self.add(GO_GC_CYCLES, go.gc_cycles);
        self.add(GO_GOROUTINES, go.goroutines);
    }
}

/// The judge's channels from one target's stored series; other series are passed over.
///
/// * A staleness marker means that the process ended: only what follows the last one counts, unless
///   nothing does (a process that has just died is judged on its life). Other values that are not
///   finite are left out.
/// * Of several series for one channel (live figures of several sources, one process under two
///   label sets) the one with most samples is taken, never a mixture.
/// * Load: every rate, and the gauges that the configuration names; of other gauges and sockets those that [`is_load_like`] over these samples.
///
/// In the order of [`Channel`], loads in the order of their sources.
#[must_use]
pub fn channels(series: &[Series]) -> Vec<ChannelData> {
    let named = channels_by_source(series).into_iter();
    named.map(|(_, data)| data).collect()
}

/// The same, each with its source: of loads what [`LoadValue::source`] says, of others nothing.
fn channels_by_source(series: &[Series]) -> Vec<(String, ChannelData)> {
    let chosen = choose(series).into_iter();
    let told = chosen.filter_map(|one| {
        let found = series.iter().find(|series| series.labels == one.labels)?;
        Some((one.source, channel_data(one.channel, &found.samples)))
    });
    told.collect()
}

/// A series that is taken for a channel, chosen once by a long look at all there are, and followed from then on.
#[derive(Debug, Clone, PartialEq)]
pub struct Chosen {
    /// The series.
    pub labels: Labels,
    /// What it is taken for.
    pub channel: Channel,
    /// Of loads what [`LoadValue::source`] says, of others nothing.
    pub source: String,
}

impl Chosen {
    /// The channel from `from` on, as far as `series`, a later look, tells it; empty if it has nothing.
    #[must_use]
    pub fn follow(&self, series: &[Series], from: UnixMs) -> ChannelData {
        let found = series.iter().find(|one| one.labels == self.labels);
        let samples = found.map_or(&[] as &[Sample], |one| &one.samples);
        let new = samples.partition_point(|sample| sample.t < from);
        channel_data(self.channel, &samples[new..])
    }
}

/// Which series are taken for which channels, in the order of [`Channel`], loads in the order of their sources.
#[must_use]
pub fn choose(series: &[Series]) -> Vec<Chosen> {
    /// Samples, then which source is trusted more.
    type Rank = (usize, u8);
    let mut best: BTreeMap<(Channel, String), (Rank, &Labels)> = BTreeMap::new();
    for one in series {
        let Some((channel, source)) = channel_of(&one.labels) else {
            continue;
        };
        let data = channel_data(channel, &one.samples);
        let sure = source.starts_with("rate:") || source.starts_with("named:");
        let refused = channel == Channel::LoadLevel && !sure && !is_load_like(&data.values);
        if data.times.is_empty() || refused {
            continue;
        }
        let rank = (data.times.len(), trust(&one.labels));
        let held = best.entry((channel, source.to_owned()));
        let held = held.or_insert(((0, 0), &one.labels));
        if rank > held.0 {
            *held = (rank, &one.labels);
        }
    }
    let chosen = best.into_iter();
    chosen
        .map(|((channel, source), (_, labels))| Chosen {
            labels: labels.clone(),
            channel,
            source,
        })
        .collect()
}

/// The gauges of a target's own that only rise, or rise in the end: no load, but perhaps the count of what leaks.
/// By their names, the last life's samples.
#[must_use]
pub fn risen_gauges(series: &[Series]) -> Vec<(&str, ChannelData)> {
    let gauges = series.iter().filter_map(|one| {
        let (channel, source) = channel_of(&one.labels)?;
        let name = source.strip_prefix("gauge:")?;
        let data = channel_data(channel, &one.samples);
        (!is_load_like(&data.values)).then_some((name, data))
    });
    gauges.collect()
}

/// The channel of a stored series and, for loads, its source: what tells two apart.
fn channel_of(labels: &Labels) -> Option<(Channel, &str)> {
    let channel = match labels.name() {
        PROCESS_RSS => Channel::Rss,
        PROCESS_ANON => Channel::Anon,
        PROCESS_FILE => Channel::File,
        PROCESS_SHMEM => Channel::Shmem,
        PROCESS_NATIVE => Channel::Native,
        PROCESS_THREADS => Channel::Threads,
        PROCESS_FDS => Channel::Fds,
        PROCESS_SOCKETS => return Some((Channel::LoadLevel, "sockets")),
        GO_LIVE => Channel::GoLive,
        GO_HEAP_ALLOC => Channel::GoHeapAlloc,
        GO_HEAP_INUSE => Channel::GoHeapInuse,
        GO_IDLE => Channel::GoIdle,
        GO_STACKS => Channel::GoStacks,
        GO_RUNTIME => Channel::GoRuntime,
        GO_NEXT_GC => Channel::GoNextGc,
        GO_GC_CYCLES => Channel::GcCycles,
        GO_GOROUTINES => Channel::Goroutines,
        CONTAINER_USAGE => Channel::ContainerUsage,
        CONTAINER_ANON => Channel::ContainerAnon,
        LOAD => return Some((Channel::LoadLevel, labels.get("source")?)),
        COMPONENT => match labels.get("component")? {
            "native.heap" => Channel::NativeHeap,
            "native.mmap" => Channel::NativeMmap,
            "go.fragmentation" => Channel::GoFragmentation,
            "go.extra-resident" => Channel::GoExtraResident,
            "huge-pages" => Channel::HugePages,
            "swap" => Channel::Swap,
            _ => return None,
        },
        _ => return None,
    };
    Some((channel, ""))
}

/// Of series equally long, the better source or basis.
fn trust(labels: &Labels) -> u8 {
    if labels.get("basis") == Some("mappings") {
        return 1;
    }
    let source = labels.get("source");
    let marked = [LiveSource::Exported, LiveSource::Process];
    if marked.iter().any(|best| source == Some(best.as_str())) {
        2
    } else {
        u8::from(source == Some(LiveSource::NextGc.as_str()))
    }
}

fn channel_data(channel: Channel, samples: &[Sample]) -> ChannelData {
    let ends = |sample: &Sample| is_stale_marker(sample.v);
    let mut lives = samples.split(ends).rev();
    let usable = |sample: &&Sample| sample.v.is_finite();
    let life = lives
        .find(|life| life.iter().any(|sample| usable(&sample)))
        .unwrap_or(&[]);
    let mut data = ChannelData {
        channel,
        times: Vec::new(),
        values: Vec::new(),
    };
    for sample in life.iter().filter(usable) {
        // Stores promise rising times; what a remote one sends is not taken on trust.
        if data.times.last().is_none_or(|last| sample.t > *last) {
            data.times.push(sample.t);
            data.values.push(sample.v);
        }
    }
    data
}

#[cfg(test)]
mod tests {
    use model::series::stale_marker;
    use model::{MappingBytes, Pressure};

    use super::*;
    use crate::mapped::{Mapped, native};
    use crate::process::{Sides, process_ledger};

    fn target() -> Labels {
        Labels::new([("job", "shop"), ("instance", "a:1")])
    }

    fn series(name: &str, extra: &[(&str, &str)], values: &[f64]) -> Series {
        let at = |n: usize| UnixMs(n as i64 * 15_000);
        let pairs = extra.iter().copied().chain([(METRIC_NAME, name)]);
        let samples = values
            .iter()
            .enumerate()
            .map(|(n, &v)| Sample { t: at(n), v });
        Series {
            labels: target().with(pairs),
            samples: samples.collect(),
        }
    }

    #[test]
    fn a_reading_goes_into_series_and_comes_back_as_channels() {
        let process = ProcessMemory {
            rss_bytes: 100,
            anon_bytes: 80,
            file_bytes: 20,
            threads: 7,
            sockets: Some(3),
            ..ProcessMemory::default()
        };
        let go = GoMemory {
            heap_alloc_bytes: Some(40.0),
            heap_inuse_bytes: Some(45.0),
            heap_idle_bytes: Some(9.0),
            heap_released_bytes: Some(4.0),
            stack_inuse_bytes: Some(2.0),
            runtime_bytes: Some(1.0),
            sys_bytes: Some(60.0),
            goroutines: Some(f64::NAN),
            ..GoMemory::default()
        };
        let live = Some(Live {
            bytes: 30.0,
            source: LiveSource::NextGc,
        });
        let sides = Sides {
            kernel: &process,
            go: Some(&go),
            maps: None,
            live,
            frees_lazily: false,
        };
        let ledger = process_ledger(&sides);
        let container = ContainerMemory {
            usage_bytes: 300,
            file_bytes: Some(70),
            shmem_bytes: Some(20),
            inactive_file_bytes: Some(25),
            pressure: Some(Pressure {
                some_us: 1_500_000,
                full_us: 0,
            }),
            ..ContainerMemory::default()
        };
        let reading = Reading {
            at: UnixMs(5),
            process: Some(&process),
            go: Some(&go),
            live,
            native: native(&sides),
            ledger: Some(&ledger),
            container: Some(&container),
            load: &[LoadValue {
                source: "rate:x_total".into(),
                value: 2.5,
            }],
        };
        let samples = reading_samples(&target(), &reading);
        for (labels, sample) in &samples {
            assert!(NAMES.contains(&labels.name()), "{labels}");
            assert_eq!(
                (labels.get("job"), sample.t),
                (Some("shop"), UnixMs(5)),
                "{labels}"
            );
        }
        let value = |name: &str| {
            let sample = samples.iter().find(|(labels, _)| labels.name() == name);
            sample.map(|(_, sample)| sample.v)
        };
        assert_eq!(value(CONTAINER_FILE), Some(50.0), "without shared memory");
        assert_eq!(value(CONTAINER_WORKING_SET), Some(275.0));
        assert_eq!(value(CONTAINER_UNEXPLAINED), Some(230.0));
        assert_eq!(value(CONTAINER_PRESSURE), Some(1.5));
        assert_eq!(value(CONTAINER_SWAP), None, "what is not known is no zero");
        let stored = samples.into_iter().map(|(labels, sample)| Series {
            labels,
            samples: vec![sample],
        });
        let back = channels(&stored.collect::<Vec<_>>());
        let back: Vec<_> = back
            .iter()
            .map(|data| (data.channel, data.values[0]))
            .collect();
        let want = [
            (Channel::Rss, 100.0),
            (Channel::Anon, 80.0),
            (Channel::File, 20.0),
            (Channel::Shmem, 0.0),
            (Channel::GoLive, 30.0),
            (Channel::GoHeapAlloc, 40.0),
            (Channel::GoHeapInuse, 45.0),
            (Channel::GoIdle, 5.0),
            (Channel::GoStacks, 2.0),
            (Channel::GoRuntime, 1.0),
            (Channel::GoFragmentation, 5.0),
            (Channel::Native, 24.0),
            (Channel::Threads, 7.0),
            (Channel::LoadLevel, 2.5),
            (Channel::ContainerUsage, 300.0),
        ];
        assert_eq!(
            back, want,
            "sockets of one reading are no load yet, and NaN is nothing"
        );
        assert!(reading_samples(&target(), &Reading::default()).is_empty());
    }

    #[test]
    fn a_process_from_afar_has_no_parts() {
        let process = ProcessMemory {
            rss_bytes: 100,
            ..ProcessMemory::default()
        };
        let reading = Reading {
            process: Some(&process),
            ..Reading::default()
        };
        let samples = reading_samples(&target(), &reading);
        let names: Vec<_> = samples.iter().map(|(labels, _)| labels.name()).collect();
        assert_eq!(names, [PROCESS_RSS, PROCESS_CPU]);
    }

    #[test]
    fn markers_cut_lives_and_odd_values_are_left_out() {
        let (nan, end) = (f64::NAN, stale_marker());
        for (why, values, want) in [
            ("whole", vec![1.0, 2.0], vec![1.0, 2.0]),
            ("a hole", vec![1.0, nan, 3.0, f64::INFINITY], vec![1.0, 3.0]),
            ("a restart", vec![1.0, 2.0, end, 7.0], vec![7.0]),
            ("just died", vec![1.0, 2.0, end], vec![1.0, 2.0]),
            ("died twice", vec![1.0, end, 2.0, end, end], vec![2.0]),
            ("nothing left", vec![nan, end, nan], vec![]),
        ] {
            let got = channels(&[series(PROCESS_RSS, &[], &values)]);
            let got = got
                .into_iter()
                .flat_map(|data| data.values)
                .collect::<Vec<_>>();
            assert_eq!(got, want, "{why}");
        }
        let mut twice = series(PROCESS_RSS, &[], &[1.0, 2.0]);
        twice.samples[1].t = twice.samples[0].t;
        assert_eq!(channels(&[twice])[0].values, [1.0], "times rise strictly");
    }

    #[test]
    fn of_several_series_the_longest_or_the_better_source_is_taken() {
        let pick = |all: &[(&str, usize)]| {
            let all = all.iter().enumerate().map(|(n, (source, len))| {
                series(GO_LIVE, &[("source", source)], &vec![n as f64; *len])
            });
            channels(&all.collect::<Vec<_>>())[0].values[0]
        };
        assert_eq!(pick(&[("floor", 9), ("next-gc", 9), ("exported", 9)]), 2.0);
        assert_eq!(pick(&[("exported", 9), ("next-gc", 9)]), 0.0);
        assert_eq!(pick(&[("next-gc", 9), ("process", 9), ("floor", 9)]), 1.0);
        assert_eq!(pick(&[("floor", 10), ("exported", 9)]), 0.0);
    }

    #[test]
    fn figures_of_an_earlier_reading_are_stored_once() {
        let process = ProcessMemory {
            at: UnixMs(60_000),
            rss_bytes: 100,
            anon_bytes: 80,
            ..ProcessMemory::default()
        };
        let maps = |at| MappingBytes {
            at: UnixMs(at),
            go_bytes: 30,
            anon_other_bytes: 50,
            ..MappingBytes::default()
        };
        let stored = |at| {
            let maps = Mapped::new(maps(at), &process, None);
            let ledger = process_ledger(&Sides {
                kernel: &process,
                go: None,
                maps: Some(&maps),
                live: None,
                frees_lazily: false,
            });
            let reading = Reading {
                ledger: Some(&ledger),
                ..Reading::default()
            };
            let samples = reading_samples(&target(), &reading).into_iter();
            let lines = samples.filter_map(|(labels, _)| Some(labels.get("component")?.to_owned()));
            lines.collect::<Vec<_>>().join(" ")
        };
        let all = "go native.heap native.mmap native.stacks data file shmem";
        assert_eq!(stored(59_500), all);
        assert_eq!(stored(30_000), "file shmem");
    }

    #[test]
    fn native_memory_of_two_bases_is_never_one_course() {
        let of = |basis, values: &[f64]| series(PROCESS_NATIVE, &[("basis", basis)], values);
        let seen = [of("difference", &[0.0; 3]), of("mappings", &[164.0; 3])];
        let back = channels(&seen);
        assert_eq!(back[0].values, [164.0; 3], "no step of 164");
    }

    #[test]
    fn loads_are_filtered_and_components_mapped() {
        let wave: Vec<f64> = (0..40).map(|n| f64::from(n % 10)).collect();
        let climb: Vec<f64> = (0..40).map(f64::from).collect();
        let all = [
            series(LOAD, &[("source", "gauge:cache_entries")], &climb),
            series(LOAD, &[("source", "gauge:in_flight")], &wave),
            series(LOAD, &[("source", "named:cache_entries")], &climb),
            series(LOAD, &[("source", "rate:jobs_total")], &climb),
            series(PROCESS_SOCKETS, &[], &climb),
            series(COMPONENT, &[("component", "native.heap")], &climb),
            series(COMPONENT, &[("component", "file")], &climb),
            series("go_goroutines", &[], &climb),
        ];
        let risen: Vec<_> = risen_gauges(&all)
            .into_iter()
            .map(|(name, _)| name)
            .collect();
        assert_eq!(risen, ["cache_entries"]);
        let sources = channels_by_source(&all)
            .into_iter()
            .map(|(source, _)| source);
        let sources: Vec<_> = sources.collect();
        assert_eq!(
            sources,
            [
                "",
                "gauge:in_flight",
                "named:cache_entries",
                "rate:jobs_total"
            ]
        );
        let got: Vec<_> = channels(&all)
            .into_iter()
            .map(|data| (data.channel, data.values))
            .collect();
        let want = [
            (Channel::NativeHeap, climb.clone()),
            (Channel::LoadLevel, wave),
            (Channel::LoadLevel, climb.clone()),
            (Channel::LoadLevel, climb),
        ];
        assert_eq!(got, want);
    }
}
