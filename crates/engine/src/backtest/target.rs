//! One target replayed from its first reading to its last.

use std::collections::VecDeque;

use ledger::stored::{CONTAINER_ANON, CONTAINER_LIMIT, CONTAINER_USAGE, CONTAINER_WORKING_SET};
use ledger::{Figure, LiveTracker, LoadRow, LoadTracker, Native, Reading, Sides};
use model::verdict::Window;
use model::{Facts, GoMemory, Labels, ProcessMemory, UnixMs};

use super::gather::Recorded;
use super::moments::Moments;
use super::place::{CONTAINER_START, KUBE_LIMITS, What};
use super::record::{Record, Whole};
use super::replay::Replay;
use super::sightings::Sightings;

/// Readings between two judgements. The watcher judges at every reading; that would take hours here.
const JUDGED_READINGS: u32 = 20;
/// The same where readings are rare.
const JUDGED_MS: i64 = 5 * 60 * 1000;
/// A start that moved by less is the same one: it is computed from a clock and a clock's reading.
const SAME_START_MS: u64 = 5_000;
/// Intervals that the period is the median of.
const INTERVALS: usize = 9;
/// No machine has a pebibyte: such a limit is none.
const LIMIT_MAX: f64 = (1_u64 << 50) as f64;

/// A target while it is replayed.
#[derive(Debug, Default)]
pub(crate) struct Target {
    replay: Replay,
    live: LiveTracker,
    load: LoadTracker,
    sightings: Sightings,
    facts: Facts,
    limit_used: Option<f64>,
    /// Counters that only a restart sets back, where nobody tells the start.
    counters: [Option<f64>; 2],
    intervals: VecDeque<i64>,
    first: Option<UnixMs>,
    last: Option<UnixMs>,
    readings: u64,
    lives: u32,
    unjudged: u32,
    judged_at: Option<UnixMs>,
}

impl Target {
    /// Replays it; `container` is what is known of the container around `process`, or all there is.
    /// `told` hears of the time that has been reached.
    pub(crate) fn run(
        mut self,
        labels: Labels,
        mut process: Moments<'_>,
        mut container: Moments<'_>,
        told: &mut dyn FnMut(UnixMs),
    ) -> Vec<Record> {
        let of_process = process.next_at().is_some();
        loop {
            let (inside, outside) = (process.next_at(), container.next_at());
            let Some(at) = inside.into_iter().chain(outside).min() else {
                break;
            };
            // What its container says first, so that a reading is judged by the limit of its time.
            if outside == Some(at) {
                self.take_container(at, &mut container, of_process);
            }
            if inside == Some(at) {
                self.take_process(at, &mut process);
            }
            if of_process == (inside == Some(at)) {
                self.end_reading(at, told);
            }
        }
        self.finish(labels)
    }

    fn take_process(&mut self, at: UnixMs, moments: &mut Moments<'_>) {
        let mut figures = Vec::with_capacity(64);
        let mut rows = Vec::new();
        moments.take(at, |series: &Recorded, value| match series.what {
            What::Figure => figures.push((&series.labels, value)),
            What::Load(kind) => rows.push(LoadRow {
                name: series.labels.name(),
                kind,
                value,
            }),
            What::Container => {}
        });
        let go = ledger::go_memory(figures.iter().copied(), at);
        let remote = ledger::remote_process(figures.iter().copied(), at);
        let cpu = remote.and_then(|remote| remote.cpu_ms);
        let cycles = go.as_ref().and_then(|go| go.gc_cycles);
        self.note_life(remote.and_then(|remote| remote.started), [cpu, cycles]);
        let memory = remote.and_then(|remote| remote.memory());
        let load = self.load.update(at, rows);
        let live = go.as_ref().and_then(|go| self.live.update(go, None));
        if let Some(go) = &go {
            self.facts.gogc_percent = go.gogc_percent.or(self.facts.gogc_percent);
            self.facts.gomemlimit_bytes = go.gomemlimit_bytes.or(self.facts.gomemlimit_bytes);
        }
        let reading = Reading {
            at,
            process: memory.as_ref(),
            go: go.as_ref(),
            live,
            native: native(memory.as_ref(), go.as_ref()),
            load: &load,
            ..Reading::default()
        };
        let replay = &mut self.replay;
        ledger::reading_figures(&reading, &mut |figure| replay.push(at, &figure));
    }

    fn take_container(&mut self, at: UnixMs, moments: &mut Moments<'_>, of_process: bool) {
        let mut pairs = Vec::with_capacity(16);
        moments.take(at, |series: &Recorded, value| {
            pairs.push((&series.labels, value))
        });
        only_the_newest(&mut pairs);
        for (labels, value) in &pairs {
            match labels.name() {
                KUBE_LIMITS => self.set_limit(*value, KUBE_LIMITS),
                // A process tells its own start better.
                CONTAINER_START if !of_process => self.note_life(unix_s(*value), [None; 2]),
                _ => {}
            }
        }
        for (labels, sample) in ledger::container_series(pairs, at) {
            match labels.name() {
                CONTAINER_USAGE | CONTAINER_ANON => {
                    let of_usage = labels.name() == CONTAINER_USAGE;
                    let name = if of_usage {
                        CONTAINER_USAGE
                    } else {
                        CONTAINER_ANON
                    };
                    let (label, value) = (None, sample.v);
                    self.replay.push(at, &Figure { name, label, value });
                }
                CONTAINER_WORKING_SET => self.limit_used = Some(sample.v),
                CONTAINER_LIMIT => self.set_limit(sample.v, "container_spec_memory_limit_bytes"),
                _ => {}
            }
        }
    }

    fn set_limit(&mut self, bytes: f64, source: &str) {
        if bytes > 0.0 && bytes < LIMIT_MAX {
            self.facts.limit_bytes = Some(bytes as u64);
            if self.facts.limit_source.as_deref() != Some(source) {
                self.facts.limit_source = Some(source.to_owned());
            }
        }
    }

    /// Begins a new life where the start moved or, without one, a counter fell.
    fn note_life(&mut self, started: Option<UnixMs>, counters: [Option<f64>; 2]) {
        let moved = match (self.facts.started, started) {
            (Some(before), Some(now)) => now.0.abs_diff(before.0) > SAME_START_MS,
            (None, None) => {
                let pairs = self.counters.iter().zip(&counters);
                let mut both = pairs.filter_map(|(before, now)| Some(((*before)?, (*now)?)));
                both.any(|(before, now)| now < before)
            }
            _ => false,
        };
        for (held, now) in self.counters.iter_mut().zip(counters) {
            *held = now.or(*held);
        }
        if moved {
            self.replay.restart();
            self.live = LiveTracker::default();
            self.sightings.restarted();
            self.lives = self.lives.saturating_add(1);
            self.facts.started = started;
        } else if self.facts.started.is_none() {
            self.facts.started = started;
        }
    }

    fn end_reading(&mut self, at: UnixMs, told: &mut dyn FnMut(UnixMs)) {
        if let Some(last) = self.last.replace(at) {
            self.intervals.push_back(at.0.saturating_sub(last.0));
            if self.intervals.len() > INTERVALS {
                self.intervals.pop_front();
            }
        }
        self.first.get_or_insert(at);
        self.readings += 1;
        self.unjudged += 1;
        let judged_at = *self.judged_at.get_or_insert(at);
        let waited = at.0.saturating_sub(judged_at.0);
        if self.unjudged >= JUDGED_READINGS || waited >= JUDGED_MS {
            self.inform();
            let judged = self.replay.judge(at);
            self.sightings.judged(at, &judged, self.replay.facts());
            (self.unjudged, self.judged_at) = (0, Some(at));
            told(at);
        }
    }

    /// Hands the replay what is known by now.
    fn inform(&mut self) {
        let mut intervals: Vec<i64> = self.intervals.iter().copied().collect();
        intervals.sort_unstable();
        let period = intervals.get(intervals.len() / 2);
        self.replay.set_facts(Facts {
            limit_used_bytes: self.limit_used.map(|used| used as u64),
            period_s: period.map_or(0.0, |ms| *ms as f64 / 1000.0),
            ..self.facts.clone()
        });
    }

    fn finish(mut self, labels: Labels) -> Vec<Record> {
        let Some((first, last)) = self.first.zip(self.last) else {
            return Vec::new();
        };
        if self.unjudged > 0 {
            self.inform();
            let judged = self.replay.judge(last);
            self.sightings.look(last, &judged, self.replay.facts());
        }
        let whole = Whole {
            labels,
            replayed: Window {
                from: first,
                to: last,
            },
            readings: self.readings,
            lives: self.lives + 1,
            judged: self.sightings.judged,
            unsure: self.sightings.unsure,
        };
        let (incidents, answer) = self.sightings.finish();
        if incidents.is_empty() {
            let answer = answer.map(|answer| answer.into_record(&whole, None, None));
            return answer.into_iter().collect();
        }
        let records = incidents.into_iter().map(|one| {
            let at = one.answer.at;
            one.answer.into_record(&whole, Some(at), one.ended_at)
        });
        records.collect()
    }
}

/// Leaves out what is told of a container's predecessor: for some minutes after a restart both are told, apart by the
/// label `id`.
fn only_the_newest(pairs: &mut Vec<(&Labels, f64)>) {
    let starts = pairs
        .iter()
        .filter(|(labels, _)| labels.name() == CONTAINER_START);
    let newest = starts.max_by(|a, b| a.1.total_cmp(&b.1));
    if let Some(id) = newest.and_then(|(labels, _)| labels.get("id")) {
        pairs.retain(|(labels, _)| labels.get("id").is_none_or(|own| own == id));
    }
}

fn unix_s(seconds: f64) -> Option<UnixMs> {
    (seconds > 0.0).then(|| wire::unix_ms(seconds)).flatten()
}

/// Memory outside Go: mappings are in no history.
fn native(memory: Option<&ProcessMemory>, go: Option<&GoMemory>) -> Option<Native> {
    ledger::native(&Sides {
        kernel: memory?,
        go,
        maps: None,
        live: None,
        frees_lazily: false,
    })
}
