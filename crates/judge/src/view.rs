//! The input as the judge reads it: one set of points per meaning, on one time axis.

use std::collections::BTreeMap;

use model::{Channel, Facts, UnixMs};

use crate::Input;
use crate::growth::Demands;
use crate::points::{Points, floors, marks};

/// Shortest growth that can count, however often it is sampled.
const SECONDS_LEAST: f64 = 105.0;
/// The same where a person asked for an answer sooner: part of that time, and the least of it.
const PATIENCE_SHARE: f64 = 0.7;
const PATIENT_SECONDS_LEAST: f64 = 30.0;
/// Shortest growth that can count, in samples.
const SAMPLES_LEAST: f64 = 30.0;
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
    pub(crate) loads: Vec<Points>,
    channels: BTreeMap<Channel, Points>,
}

impl<'a> View<'a> {
    /// `None` if there is not one sample.
    pub(crate) fn of(input: &Input<'a>) -> Option<Self> {
        let memory = || {
            input
                .channels
                .iter()
                .filter(|data| data.channel != Channel::LoadLevel)
        };
        let zero = memory()
            .filter_map(|data| data.times.first().copied())
            .filter(|&time| time <= input.now)
            .min()?;
        let mut channels = BTreeMap::new();
        let mut loads = Vec::new();
        for data in input.channels {
            let points = Points::of(data, zero, input.now);
            if data.channel == Channel::LoadLevel {
                loads.push(points);
            } else if points.len() > 0 {
                channels.entry(data.channel).or_insert(points);
            }
        }
        // One without points keeps its place: a load is named by it.
        if loads.iter().all(|load| load.len() == 0) {
            loads.clear();
        }
        let end = channels
            .values()
            .filter_map(Points::last)
            .map(|(time, _)| time)
            .fold(0.0, f64::max);
        let measured = channels
            .values()
            .filter_map(Points::period)
            .min_by(f64::total_cmp);
        let configured = Some(input.facts.period_s).filter(|p| p.is_finite() && *p > 0.0);
        let period_s = measured.or(configured).unwrap_or(1.0);
        // A start after the first sample would be another process's; take the sample's word.
        let started = input
            .facts
            .started
            .map(|started| ((started.0 - zero.0) as f64 / 1000.0).min(0.0));
        Some(Self {
            zero,
            end,
            period_s,
            started,
            facts: input.facts,
            loads,
            channels,
        })
    }

    pub(crate) fn get(&self, channel: Channel) -> Option<&Points> {
        self.channels.get(&channel)
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = (Channel, &Points)> {
        self.channels
            .iter()
            .map(|(&channel, points)| (channel, points))
    }

    /// The time on the stored axis.
    pub(crate) fn time(&self, seconds: f64) -> UnixMs {
        UnixMs(self.zero.0.saturating_add((seconds * 1000.0) as i64))
    }

    /// Age of the process at the last sample, if known.
    pub(crate) fn age_s(&self) -> Option<f64> {
        self.started.map(|started| self.end - started)
    }

    /// The heap's floor, one point per collection, and where it is from.
    pub(crate) fn heap_floor(&self) -> Option<(Channel, Points)> {
        if let Some(live) = self.get(Channel::GoLive) {
            return Some((Channel::GoLive, marks(live)));
        }
        let alloc = self.get(Channel::GoHeapAlloc)?;
        let floors = floors(alloc, self.get(Channel::GcCycles));
        Some((Channel::GoHeapAlloc, floors))
    }

    /// Collections completed between two times, by the counter where there is one.
    pub(crate) fn collections(&self, from: f64, to: f64) -> Option<f64> {
        let cycles = self.get(Channel::GcCycles)?;
        let first = cycles.held_at(from).or(cycles.values.first().copied())?;
        Some((cycles.held_at(to)? - first).max(0.0))
    }

    /// Anonymous memory less all that Go holds, where the ledger gives no native channel.
    pub(crate) fn native_by_difference(&self) -> Option<Points> {
        let anon = self.get(Channel::Anon)?;
        let parts = [
            self.get(Channel::GoHeapInuse)?,
            self.get(Channel::GoIdle)?,
            self.get(Channel::GoStacks)?,
            self.get(Channel::GoRuntime)?,
        ];
        let mut native = Points::default();
        for (&time, &value) in anon.times.iter().zip(&anon.values) {
            let go: f64 = parts.iter().filter_map(|part| part.at(time)).sum();
            native.push(time, value - go);
        }
        Some(native)
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
        Demands {
            seconds: self.seconds_least().max(SAMPLES_LEAST * self.period_s),
            points: kept_points,
            material,
            material_share,
            started: self.started,
        }
    }
}
