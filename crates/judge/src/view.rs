//! The input as the judge reads it: one set of points per meaning, on one time axis.

use std::collections::VecDeque;

use model::{Channel, Facts, Kind, UnixMs};

use crate::growth::{CHANCE, Demands, Stretch};
use crate::past::{self, Earlier, Past};
use crate::trace::{Trace, Window};
use crate::track::{Life, Track};

/// Shortest growth that can count, however often it is sampled.
const SECONDS_LEAST: f64 = 105.0;
/// The same where a person asked for an answer sooner: part of that time, and the least of it.
const PATIENCE_SHARE: f64 = 0.7;
const PATIENT_SECONDS_LEAST: f64 = 30.0;
/// Shortest growth that can count, in samples; where so many take more than an hour, so many do.
const SAMPLES_LEAST: f64 = 30.0;
/// See [`SAMPLES_LEAST`]: readings minutes apart have a collection or several between them, and so say more each.
const RARE_SAMPLES_LEAST: f64 = 12.0;
const RARE_S: f64 = 3_600.0;
const MIB: f64 = 1_048_576.0;

/// Channels on one time axis, in seconds since the first sample.
pub(crate) struct View<'a> {
    pub(crate) zero: UnixMs,
    /// The last sample.
    pub(crate) end: f64,
    /// Seconds between samples.
    pub(crate) period_s: f64,
    /// When the process started, on the axis.
    pub(crate) started: Option<f64>,
    pub(crate) facts: &'a Facts,
    pub(crate) loads: &'a [Trace],
    pub(crate) life: &'a Life,
    past: &'a VecDeque<Past>,
}

impl<'a> View<'a> {
    /// `None` if there is not one sample.
    pub(crate) fn of(track: &'a Track, facts: &'a Facts) -> Option<Self> {
        let life = track.life.as_ref()?;
        // A start after the first sample would be another process's; take the sample's word.
        let started = facts.started.or(life.started);
        let started = started.map(|started| ((started.0 - life.zero.0) as f64 / 1000.0).min(0.0));
        // One without points keeps its place: a load is named by it.
        let any_load = life.loads.iter().any(|load| load.ends().is_some());
        Some(Self {
            zero: life.zero,
            end: life.end,
            period_s: track.period_s,
            started,
            facts,
            loads: if any_load { &life.loads } else { &[] },
            life,
            past: &track.past,
        })
    }

    pub(crate) fn get(&self, channel: Channel) -> Option<&'a Trace> {
        self.life.channels.get(&channel)
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = (Channel, &'a Trace)> {
        self.life
            .channels
            .iter()
            .map(|(&channel, trace)| (channel, trace))
    }

    /// The time on the stored axis.
    pub(crate) fn time(&self, seconds: f64) -> UnixMs {
        UnixMs(self.zero.0.saturating_add((seconds * 1000.0) as i64))
    }

    /// Age of the process at the last sample, if known.
    pub(crate) fn age_s(&self) -> Option<f64> {
        self.started.map(|started| self.end - started)
    }

    /// Collections completed between two times, by the counter where there is one.
    pub(crate) fn collections(&self, from: f64, to: f64) -> Option<f64> {
        let cycles = self.get(Channel::GcCycles)?.between(from, to);
        Some((cycles.last()?.1 - cycles.first()?.1).max(0.0))
    }

    /// What earlier lives say of a growth from the beginning of this one.
    pub(crate) fn earlier(&self, age: f64, stretch: &Stretch, material: f64) -> Option<Earlier> {
        let of_heap = self.life.level()?.1;
        // The heap's floor of one and the resident size of another are not compared.
        let lives = self.past.iter().filter(|past| past.of_heap == of_heap);
        past::earlier(lives, age, stretch, material)
    }

    /// Bytes towards the limit for each byte that lives: the next collection waits for (1 + GOGC/100) of it.
    pub(crate) fn headroom(&self, kind: Kind) -> f64 {
        match (kind, self.facts.gogc_percent) {
            (Kind::GoHeap, Some(gogc)) if gogc >= 0.0 => 1.0 + gogc.min(400.0) / 100.0,
            (Kind::GoHeap, None) => 2.0,
            _ => 1.0,
        }
    }

    /// How long growth must have lasted, whatever the channel.
    fn seconds_least(&self) -> f64 {
        let asked = self.facts.patience_s.filter(|asked| asked.is_finite());
        asked.map_or(SECONDS_LEAST, |asked| {
            (asked * PATIENCE_SHARE).clamp(PATIENT_SECONDS_LEAST, SECONDS_LEAST)
        })
    }

    /// The doubt that comes with an answer that was wanted sooner: none at the usual length.
    pub(crate) fn haste(&self) -> f64 {
        0.25 * (1.0 - self.seconds_least() / SECONDS_LEAST)
    }

    /// What growth of `channel` must show.
    pub(crate) fn demands(&self, channel: Channel, kept_points: usize) -> Demands {
        let (material, material_share) = match channel {
            Channel::Goroutines => (100.0, 0.2),
            Channel::Threads => (20.0, 0.2),
            Channel::Fds => (50.0, 0.2),
            _ => (8.0 * MIB, 0.02),
        };
        let rare_s = (RARE_SAMPLES_LEAST * self.period_s).max(RARE_S);
        let sampled_s = (SAMPLES_LEAST * self.period_s).min(rare_s);
        Demands {
            seconds: self.seconds_least().max(sampled_s),
            points: kept_points.min((sampled_s / self.period_s) as usize),
            material,
            material_share,
            started: self.started,
            chance: CHANCE,
        }
    }
}
