//! What is known of one life of a process at a moment, and the judgement on it.

use std::time::Duration;

use ledger::Figure;
use model::verdict::Judged;
use model::{Facts, Labels, Sample, Series, UnixMs};

use crate::judging::{Remembered, name_gauges, window};

/// Series of one process. Its figures and up to 16 loads at a time are some 60; a program that changes what its
/// load is called gets no more room.
const SERIES_MAX: usize = 256;

/// The figures of one life as they come in.
///
/// State: the samples of the [`window`], 16 bytes each, by which it is decided which series are which channels, and
/// what the judge remembers.
#[derive(Debug, Default)]
pub(crate) struct Replay {
    series: Vec<Series>,
    facts: Facts,
    remembered: Remembered,
}

impl Replay {
    /// A new life: of the one before only how it went is remembered.
    pub(crate) fn restart(&mut self) {
        self.series.clear();
        self.remembered = self.remembered.heir();
    }

    /// What is known beside the figures from now on.
    pub(crate) fn set_facts(&mut self, facts: Facts) {
        self.facts = facts;
    }

    /// What is known beside the figures.
    pub(crate) fn facts(&self) -> &Facts {
        &self.facts
    }

    /// Takes one figure in, as it would be stored. What is not newer than the last one of its series is left out.
    pub(crate) fn push(&mut self, at: UnixMs, figure: &Figure<'_>) {
        let &Figure { name, label, value } = figure;
        let is_it = |series: &Series| {
            let labels = &series.labels;
            let labelled = label.is_none_or(|(label, value)| labels.get(label) == Some(value));
            labels.name() == name && labelled
        };
        let sample = Sample { t: at, v: value };
        match self.series.iter().position(is_it) {
            Some(place) => {
                let samples = &mut self.series[place].samples;
                if samples.last().is_none_or(|last| last.t < at) {
                    samples.push(sample);
                }
            }
            None if self.series.len() < SERIES_MAX => self.series.push(Series {
                labels: Labels::metric(name, label),
                samples: vec![sample],
            }),
            None => {}
        }
    }

    /// Judges by all that was taken in until `now`.
    pub(crate) fn judge(&mut self, now: UnixMs) -> Judged {
        let period = Duration::try_from_secs_f64(self.facts.period_s).unwrap_or_default();
        if self.remembered.is_look_due(now) {
            self.remembered.look(&self.series, &self.facts, now);
        }
        self.remembered.take(&self.series, &self.facts);
        self.forget_before(now.before(window(period)));
        let mut judged = self.remembered.judge(now, &self.facts);
        name_gauges(&mut judged, &self.series);
        judged
    }

    fn forget_before(&mut self, from: UnixMs) {
        for series in &mut self.series {
            let old = series.samples.partition_point(|sample| sample.t < from);
            series.samples.drain(..old);
        }
        self.series.retain(|series| !series.samples.is_empty());
    }
}

#[cfg(test)]
mod tests {
    use ledger::stored::{GO_GOROUTINES, LOAD, PROCESS_RSS};

    use super::*;

    fn figure(name: &'static str, source: Option<&'static str>, value: f64) -> Figure<'static> {
        let label = source.map(|source| ("source", source));
        Figure { name, label, value }
    }

    fn at(seconds: i64) -> UnixMs {
        UnixMs(1_767_225_600_000 + seconds * 1000)
    }

    #[test]
    fn only_the_window_of_this_life_is_kept() {
        let mut replay = Replay::default();
        replay.set_facts(Facts {
            period_s: 15.0,
            ..Facts::default()
        });
        for n in 0..10_000 {
            replay.push(at(n * 15), &figure(PROCESS_RSS, None, 5e7));
            replay.push(at(n * 15), &figure(LOAD, Some("rate:a_total"), 1.0));
            replay.push(at(n * 15), &figure(LOAD, Some("rate:b_total"), 2.0));
            if n % 20 == 0 {
                replay.judge(at(n * 15));
                let held = replay.series.iter().map(|series| series.samples.len());
                assert!(held.max() <= Some(1_441), "the window of a day's quarter");
            }
        }
        replay.push(at(0), &figure(PROCESS_RSS, None, 7.0));
        assert_eq!(replay.series.len(), 3);
        let last = replay.series[0].samples.last().copied();
        assert_eq!(
            last.map(|sample| sample.v),
            Some(5e7),
            "time never goes back"
        );
        replay.restart();
        replay.push(at(1), &figure(GO_GOROUTINES, None, 7.0));
        assert_eq!(replay.series.len(), 1);
        for n in 0..1_000 {
            let source = format!("rate:{n}");
            let label = Some(("source", source.as_str()));
            let (name, value) = (LOAD, 1.0);
            replay.push(at(2), &Figure { name, label, value });
        }
        assert_eq!(replay.series.len(), SERIES_MAX);
    }
}
