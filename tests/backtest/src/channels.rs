//! Readings of the corpus as the judge's channels, as collecting and storing would make them.

use corpus::{History, Reading, Settings};
use model::{Channel, ChannelData, Facts, UnixMs};

/// The judge looks back over so many readings, as the watcher asks it to.
pub(crate) const WINDOW: usize = 1_440;

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

/// What the last of `readings`, all of one history, would be judged by: the life that it is of.
pub(crate) fn channels(history: &History, readings: &[Reading]) -> Vec<ChannelData> {
    let window = &readings[readings.len().saturating_sub(WINDOW)..];
    let started = window.last().map(|last| last.started_s);
    let life: Vec<&Reading> = window
        .iter()
        .filter(|one| Some(one.started_s) == started)
        .collect();
    let mut all: Vec<ChannelData> = CHANNELS
        .iter()
        .map(|(channel, value)| {
            let values = life.iter().map(|reading| value(&history.settings, reading));
            data(*channel, life.iter().map(|one| one.at_s).zip(values))
        })
        .collect();
    let rates = life.windows(2).map(|pair| {
        let passed = pair[1].at_s - pair[0].at_s;
        (pair[1].at_s, (pair[1].requests - pair[0].requests) / passed)
    });
    all.push(data(
        Channel::LoadLevel,
        rates.filter(|(_, rate)| rate.is_finite() && *rate >= 0.0),
    ));
    all
}

/// Times that do not increase are left out, as the store does it.
fn data(channel: Channel, points: impl Iterator<Item = (f64, f64)>) -> ChannelData {
    let (mut times, mut values): (Vec<UnixMs>, Vec<f64>) = (Vec::new(), Vec::new());
    for (at, value) in points {
        let at = time(at);
        if times.last().is_none_or(|last| *last < at) {
            times.push(at);
            values.push(value);
        }
    }
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
