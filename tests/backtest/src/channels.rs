//! Readings of the corpus as the judge's channels, as collecting and storing would make them.

use corpus::{History, Reading, Settings, View};
use model::{Channel, ChannelData, Facts, UnixMs};

type Value = fn(&Settings, &Reading) -> f64;

/// Meaning, and who tells it.
const CHANNELS: &[(Channel, &[View], Value)] = {
    use View::{All, Container, MemStats, Rss};
    &[
        (Channel::Rss, &[All, Rss], |_, r| r.memory.rss),
        (Channel::Anon, &[All], |s, r| r.memory.rss - s.files),
        (Channel::File, &[All], |s, _| s.files),
        (Channel::GoLive, &[All], |_, r| r.memory.live),
        (Channel::GoHeapAlloc, &[All, MemStats], |_, r| {
            r.memory.heap_alloc
        }),
        (Channel::GoHeapInuse, &[All, MemStats], |_, r| {
            r.memory.heap_inuse
        }),
        (Channel::GoIdle, &[All, MemStats], |_, r| {
            r.memory.heap_idle - r.memory.heap_released
        }),
        (Channel::GoStacks, &[All, MemStats], |_, r| r.memory.stacks),
        (Channel::GoRuntime, &[All, MemStats], |_, r| {
            r.memory.runtime
        }),
        (Channel::GoNextGc, &[All, MemStats], |_, r| r.memory.next_gc),
        (Channel::Native, &[All], native),
        (Channel::Goroutines, &[All, MemStats], |_, r| {
            r.memory.goroutines
        }),
        (Channel::GcCycles, &[All], |_, r| r.memory.gc_cycles),
        (Channel::LoadLevel, &[All], |_, r| r.connections),
        (Channel::ContainerUsage, &[Container], |_, r| {
            r.memory.rss + r.page_cache
        }),
        (Channel::ContainerAnon, &[Container], |_, r| r.memory.rss),
    ]
};

fn native(settings: &Settings, reading: &Reading) -> f64 {
    let memory = &reading.memory;
    let go = memory.heap_sys - memory.heap_released + memory.stacks + memory.runtime;
    (memory.rss - settings.files - go).max(0.0)
}

/// When something was read.
pub(crate) fn time(seconds: f64) -> UnixMs {
    UnixMs(1_767_225_600_000 + (seconds * 1000.0) as i64)
}

/// What `readings`, all of one process of the history, say to the judge; `before` is the reading before them, if it is
/// of the same process. Only what `view` has.
pub(crate) fn channels(
    history: &History,
    view: View,
    before: Option<&Reading>,
    readings: &[Reading],
) -> Vec<ChannelData> {
    let mut all: Vec<ChannelData> = CHANNELS
        .iter()
        .filter(|(_, views, _)| views.contains(&view))
        .map(|(channel, _, value)| {
            let values = readings
                .iter()
                .map(|reading| value(&history.settings, reading));
            data(*channel, readings.iter().map(|one| one.at_s).zip(values))
        })
        .collect();
    if view != View::All {
        return all;
    }
    let with_before: Vec<&Reading> = before.into_iter().chain(readings).collect();
    let rates = with_before.windows(2).map(|pair| {
        let passed = pair[1].at_s - pair[0].at_s;
        (pair[1].at_s, (pair[1].requests - pair[0].requests) / passed)
    });
    all.push(data(
        Channel::LoadLevel,
        rates.filter(|(_, rate)| rate.is_finite() && *rate >= 0.0),
    ));
    all
}

/// As the store gives them.
fn data(channel: Channel, points: impl Iterator<Item = (f64, f64)>) -> ChannelData {
    let (times, values) = points.map(|(at, value)| (time(at), value)).unzip();
    ChannelData {
        channel,
        times,
        values,
    }
}

/// What `view` knows of the target at its last reading.
pub(crate) fn facts(history: &History, view: View, last: &Reading) -> Facts {
    let all = view == View::All;
    let limited = all || view == View::Container;
    Facts {
        started: Some(time(last.started_s)),
        limit_bytes: limited.then_some(history.limit as u64),
        limit_source: limited.then(|| "memory.max".into()),
        limit_used_bytes: limited.then_some((last.memory.rss + last.page_cache) as u64),
        gogc_percent: all.then_some(history.settings.gogc.unwrap_or(-1.0)),
        gomemlimit_bytes: all.then_some(history.settings.memory_limit.unwrap_or(f64::INFINITY)),
        period_s: history.period_s,
        frees_lazily: false,
        patience_s: None,
    }
}
