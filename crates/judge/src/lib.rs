//! Channels in, verdict out: does this memory leak, is its growth harmless, or can it not be told
//! yet, and why.
//!
//! Start at [`judge`]. The statistics it weighs are in [`stats`], usable by themselves.
//!
//! How it goes about it: each channel that can leak is looked at alone (the heap by the floor that
//! collections leave behind), for a stretch up to now that rises as a leak does: evenly, for long
//! enough, by enough, to where it has not been before. The shorter the stretch, the straighter it
//! must be, since a fill or a wave is straight only in part. What a load explains is no leak. Then
//! what is one leak seen in two channels is put together, and the rest is put in order.
//!
//! Pure: no clock, no I/O, no threads, and no label names, so no rule can depend on a service. The
//! same input gives the same verdict bit for bit. All that it keeps is in a [`Track`]; it opens no
//! incident and names no culprit.
#![forbid(unsafe_code)]

mod advice;
mod assess;
mod birth;
mod compose;
mod growth;
mod heap;
mod load;
mod past;
mod points;
pub mod stats;
mod trace;
mod track;
mod view;
mod words;

use model::verdict::{self, Judged};
use model::{Channel, ChannelData, Facts, Finding, Judgement, UnixMs};

pub use crate::track::Track;

use crate::points::Thin;
use crate::trace::Window;
use crate::view::View;

/// What is judged.
#[derive(Debug, Clone, Copy)]
pub struct Input<'a> {
    /// Samples after this are not looked at.
    pub now: UnixMs,
    /// The channels, in any order and on their own timestamps; of a meaning given twice the first
    /// counts, except for load levels, of which there may be several.
    pub channels: &'a [ChannelData],
    /// What is known beside them.
    pub facts: &'a Facts,
}

/// Judges one target.
///
/// Findings are ordered: leaks, then what cannot be told, then the harmless, each by its share of
/// the growth; there is always one. Suspects are left empty. Figures are bytes and counts, rates
/// per minute; `slopes` covers the byte channels, from the first leak's onset if there is one,
/// else over the window. A reason about a load says in its value `load` which of the load levels
/// it means, counted from 0.
///
/// Times that do not increase and values that are not finite are passed over. Cost: about half a microsecond for each
/// point, and some 0.2 ms for the judgement; who judges again and again keeps a [`Track`] and pays for new points only.
#[must_use]
pub fn judge(input: &Input) -> Judged {
    let mut track = Track::new(period(input));
    let until = |data: &ChannelData| {
        let end = data.times.partition_point(|time| *time <= input.now);
        ChannelData {
            channel: data.channel,
            times: data.times[..end].to_vec(),
            values: data.values[..end.min(data.values.len())].to_vec(),
        }
    };
    let known: Vec<ChannelData> = input.channels.iter().map(until).collect();
    track.push(&known, input.facts.started);
    track.judge(input.now, input.facts)
}

/// Seconds between samples: the least of the channels' median gaps, else what is configured.
fn period(input: &Input) -> f64 {
    let memory = input
        .channels
        .iter()
        .filter(|data| data.channel != Channel::LoadLevel);
    let measured = memory.filter_map(|data| {
        let gaps = data
            .times
            .windows(2)
            .map(|pair| (pair[1].0 - pair[0].0) as f64 / 1000.0);
        stats::median(&mut gaps.collect::<Vec<f64>>())
    });
    let measured = measured
        .filter(|period| *period > 0.0)
        .min_by(f64::total_cmp);
    measured.unwrap_or(input.facts.period_s)
}

impl Track {
    /// Judges the target by what was pushed; [`judge`] tells what comes of it.
    #[must_use]
    pub fn judge(&self, now: UnixMs, facts: &Facts) -> Judged {
        let Some(view) = View::of(self, facts) else {
            return nothing(now);
        };
        let ranked = compose::findings(&view);
        if ranked.is_empty() {
            return nothing(now);
        }
        let seconds_to_limit = compose::time_to_limit(&view, &ranked);
        let mut findings: Vec<Finding> = ranked.into_iter().map(|one| one.finding).collect();
        if let Some(first) = findings.first_mut() {
            let more = advice::of_settings(&view, first);
            first.advice.extend(more);
        }
        let onset = findings.first().and_then(|finding| finding.onset);
        Judged {
            window: verdict::Window {
                from: view.zero,
                to: view.time(view.end),
            },
            slopes: slopes(&view, onset.unwrap_or(view.zero)),
            findings,
            seconds_to_limit,
        }
    }
}

/// Nothing was read of the target.
fn nothing(now: UnixMs) -> Judged {
    Judged {
        window: verdict::Window { from: now, to: now },
        findings: vec![Finding {
            verdict: Judgement::Unsure,
            kind: None,
            confidence: None,
            onset: None,
            growth: None,
            why: vec![words::reason("no-data", Judgement::Unsure, &[])],
            suspects: Vec::new(),
            advice: Vec::new(),
        }],
        seconds_to_limit: None,
        slopes: Vec::new(),
    }
}

/// Points that a slope is taken of: all pairs of them are looked at.
const SLOPE_POINTS: usize = 40;

/// Growth a minute of each channel of bytes since `from`, robust against teeth and spikes.
fn slopes(view: &View, from: UnixMs) -> Vec<(Channel, f64)> {
    let from = (from.0 - view.zero.0) as f64 / 1000.0;
    let counts = [
        Channel::Goroutines,
        Channel::Threads,
        Channel::Fds,
        Channel::GcCycles,
        Channel::LoadLevel,
    ];
    view.all()
        .filter(|(channel, _)| !counts.contains(channel))
        .filter_map(|(channel, points)| {
            let thin = points
                .between(from, f64::MAX)
                .thinned(SLOPE_POINTS, Thin::Median);
            let slope = stats::theil_sen_slope(&thin.times, &thin.values)?;
            Some((channel, slope * 60.0))
        })
        .collect()
}
