//! Readings of the corpus as the judge's channels, as collecting and storing would make them.

use corpus::{History, Reading, Settings};
use model::{Channel, ChannelData, Facts, UnixMs};

type Value = fn(&Settings, &Reading) -> f64;

const CHANNELS: &[(Channel, Value)] = &[
    (Channel::Rss, |_, r| r.memory.rss),
    (Channel::Anon, |s, r| r.memory.rss - s.files),
    (Channel::File, |s, _| s.files),
    (Channel::GoLive, |_, r| r.memory.live),
    (Channel::GoHeapAlloc, |_, r| r.memory.heap_alloc),
    (Channel::GoHeapInuse, |_, r| r.memory.heap_inuse),
    (Channel::GoIdle, |_, r| {
        r.memory.heap_idle - r.memory.heap_released
    }),
    (Channel::GoStacks, |_, r| r.memory.stacks),
    (Channel::GoRuntime, |_, r| r.memory.runtime),
    (Channel::GoNextGc, |_, r| r.memory.next_gc),
    (Channel::Native, native),
    (Channel::Goroutines, |_, r| r.memory.goroutines),
    (Channel::GcCycles, |_, r| r.memory.gc_cycles),
    (Channel::LoadLevel, |_, r| r.connections),
];

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
/// of the same process.
pub(crate) fn channels(
    history: &History,
    before: Option<&Reading>,
    readings: &[Reading],
) -> Vec<ChannelData> {
    let mut all: Vec<ChannelData> = CHANNELS
        .iter()
        .map(|(channel, value)| {
            let values = readings
                .iter()
                .map(|reading| value(&history.settings, reading));
            data(*channel, readings.iter().map(|one| one.at_s).zip(values))
        })
        .collect();
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

/// What is known of the target at its last reading.
pub(crate) fn facts(history: &History, last: &Reading) -> Facts {
    Facts {
        started: Some(time(last.started_s)),
        limit_bytes: Some(history.limit as u64),
        limit_source: Some("memory.max".into()),
        limit_used_bytes: Some((last.memory.rss + last.page_cache) as u64),
        gogc_percent: Some(history.settings.gogc.unwrap_or(-1.0)),
        gomemlimit_bytes: Some(history.settings.memory_limit.unwrap_or(f64::INFINITY)),
        period_s: history.period_s,
        patience_s: None,
    }
}
