//! From stored series to a verdict.

use std::time::Duration;

use model::series::ReadError;
use model::verdict::Judged;
use model::{
    Budget, Cancel, Channel, ChannelData, Component, Facts, Ledger, Matcher, Series, SeriesRead,
    TARGET_LABEL, Target, UnixMs, Verdict,
};

use crate::own_names;

/// Samples that one judgement may read: 25 channels over a day at one a second.
const SAMPLES_MAX: u64 = 3_000_000;
/// The judge looks back over so many periods, and never less than an hour.
const PERIODS: u32 = 1_440;
const WINDOW_MIN: Duration = Duration::from_secs(3_600);

/// How far back a judgement looks at this period.
#[must_use]
pub fn window(period: Duration) -> Duration {
    (period * PERIODS).max(WINDOW_MIN)
}

/// Judges `target` by what is stored of it. Reads and computes for some milliseconds: call it on a
/// blocking thread.
///
/// # Errors
/// Those of the store.
pub fn judge_target(
    series: &dyn SeriesRead,
    target: &Target,
    facts: &Facts,
    ledger: Option<&Ledger>,
    now: UnixMs,
) -> Result<Verdict, ReadError> {
    let period = Duration::try_from_secs_f64(facts.period_s).unwrap_or(Duration::from_secs(15));
    let mut from = now.before(window(period));
    if let Some(started) = facts.started {
        from = from.max(started);
    }
    let matchers = [Matcher::equal(TARGET_LABEL, target.id.0.as_str())];
    let budget = Budget::samples(SAMPLES_MAX);
    let found = series.select(&matchers, from, now, &budget, &Cancel::default())?;
    let judged = judge_series(&found, facts, now);
    let components = components(ledger, &judged.slopes);
    Ok(Verdict::assemble(
        now,
        target.clone(),
        judged,
        facts,
        components,
    ))
}

/// Judges what `series`, as a store keeps them of one target, show up to `now`.
pub(crate) fn judge_series(series: &[Series], facts: &Facts, now: UnixMs) -> Judged {
    let (sources, channels): (Vec<String>, Vec<ChannelData>) =
        ledger::channels_by_source(series).into_iter().unzip();
    let mut judged = judge::judge(&judge::Input {
        now,
        channels: &channels,
        facts,
    });
    let loads = channels.iter().zip(&sources);
    let loads = loads.filter(|(data, _)| data.channel == Channel::LoadLevel);
    let loads: Vec<&str> = loads.map(|(_, source)| &**source).collect();
    own_names::name_loads(&mut judged.findings, &loads);
    own_names::name_gauges(
        &mut judged.findings,
        &channels,
        &ledger::risen_gauges(series),
    );
    judged
}

/// The ledger's lines with their growth, where a channel tells it.
fn components(ledger: Option<&Ledger>, slopes: &[(Channel, f64)]) -> Vec<Component> {
    let Some(ledger) = ledger else {
        return Vec::new();
    };
    let mut lines = ledger.components.clone();
    for line in &mut lines {
        let slope = channel_of(&line.name)
            .and_then(|channel| slopes.iter().find(|(of, _)| *of == channel))
            .map(|(_, slope)| *slope);
        line.bytes_per_minute = slope;
    }
    let risen: f64 = lines
        .iter()
        .filter_map(|l| l.bytes_per_minute)
        .map(|v| v.max(0.0))
        .sum();
    if risen > 0.0 {
        for line in &mut lines {
            line.growth_share = line.bytes_per_minute.map(|slope| slope.max(0.0) / risen);
        }
    }
    lines.push(Component::new("unexplained", ledger.unexplained_bytes));
    lines.extend(ledger.outside.iter().cloned());
    lines
}

fn channel_of(component: &str) -> Option<Channel> {
    Some(match component {
        "go.live" => Channel::GoLive,
        "go.idle" => Channel::GoIdle,
        "go.stacks" => Channel::GoStacks,
        "go.runtime" => Channel::GoRuntime,
        "native" => Channel::Native,
        "native.heap" => Channel::NativeHeap,
        "native.mmap" => Channel::NativeMmap,
        "anon" => Channel::Anon,
        "file" => Channel::File,
        "shmem" => Channel::Shmem,
        _ => return None,
    })
}
