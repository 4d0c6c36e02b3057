//! What a judge of leaks is worth: the same figures for every judge and rule, from nothing but when it raised alarms.

use std::collections::BTreeMap;

use corpus::{History, Leaking, Replica};
use model::Kind;
use serde::{Deserialize, Serialize};
use statrs::distribution::{ChiSquared, ContinuousCDF};

use crate::reliability::Reliability;
use crate::replay::is_kind;

/// An alarm that ends and begins again within this time is the same incident to whoever is called.
const INCIDENT_GAP_S: f64 = 3600.0;
/// After so many seconds, and so many periods, of one life of a process a judge is expected to know.
pub(crate) const WINDOW_S: f64 = 3600.0;
/// See [`WINDOW_S`].
pub(crate) const WINDOW_PERIODS: f64 = 60.0;
/// Paces that are about 5 MB a minute, in bytes.
pub(crate) const PACES: (f64, f64) = (4e6, 6.5e6);
const HOURS_PER_YEAR: f64 = 24.0 * 365.25;

/// A stretch of time in which there is said to be a leak.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Alarm {
    /// When this was first said: the time of the reading, in seconds from the beginning of the history.
    pub(crate) from_s: f64,
    /// When it was last said.
    pub(crate) until_s: f64,
    /// What leaks, where the judge says it.
    pub(crate) kind: Option<Kind>,
    /// How probable the judge held it when it began; rules say nothing of that.
    pub(crate) confidence: Option<f64>,
}

impl Alarm {
    /// One that has just begun.
    pub(crate) fn at(at_s: f64) -> Self {
        Self {
            from_s: at_s,
            until_s: at_s,
            kind: None,
            confidence: None,
        }
    }
}

/// Judgements made, and those of them that could not tell.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub(crate) struct Judged {
    pub(crate) all: u32,
    pub(crate) unsure: u32,
}

impl Judged {
    pub(crate) fn add(&mut self, is_unsure: bool) {
        self.join(Self {
            all: 1,
            unsure: u32::from(is_unsure),
        });
    }

    fn join(&mut self, other: Self) {
        self.all += other.all;
        self.unsure += other.unsure;
    }

    /// The part that could not tell; `None` without judgements.
    pub(crate) fn part(self) -> Option<f64> {
        (self.all > 0).then(|| f64::from(self.unsure) / f64::from(self.all))
    }
}

/// What was said of one replica, from its first reading to its last.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Told {
    /// In any order; those of different kinds may overlap.
    pub(crate) alarms: Vec<Alarm>,
    /// Judgements, where they can be unsure.
    pub(crate) judged: Judged,
    /// Those of them made when the life of the process had been read for as long as [`is_late`] says.
    pub(crate) late: Judged,
    /// How many of `late` could not tell, by the code of their first reason.
    pub(crate) unsure: BTreeMap<String, u32>,
    /// What was said with the first alarm, or last if there was none.
    pub(crate) words: String,
}

impl Told {
    /// The first alarm that was raised while there was no leak.
    pub(crate) fn false_alarm(&self, case: &Case) -> Option<Alarm> {
        self.first(|alarm| alarm.from_s < case.onset_s())
    }

    /// The first alarm that was raised since the leak began; one that stands since before tells nobody of it.
    pub(crate) fn found(&self, case: &Case) -> Option<Alarm> {
        self.first(|alarm| alarm.from_s >= case.onset_s())
    }

    fn first(&self, is_one: impl Fn(&Alarm) -> bool) -> Option<Alarm> {
        let those = self.alarms.iter().copied().filter(is_one);
        those.min_by(|one, other| one.from_s.total_cmp(&other.from_s))
    }

    /// How often somebody was called.
    fn incidents(&self) -> u32 {
        let mut alarms: Vec<(f64, f64)> = self
            .alarms
            .iter()
            .map(|it| (it.from_s, it.until_s))
            .collect();
        alarms.sort_by(|one, other| one.0.total_cmp(&other.0));
        let (mut incidents, mut until_s) = (0, f64::NEG_INFINITY);
        for (from, until) in alarms {
            incidents += u32::from(from - until_s > INCIDENT_GAP_S);
            until_s = until_s.max(until);
        }
        incidents
    }
}

/// Whether a judge should be able to tell by now: `read_s` is how long the present life of the process has been read.
pub(crate) fn is_late(read_s: f64, period_s: f64) -> bool {
    read_s >= WINDOW_S.max(WINDOW_PERIODS * period_s)
}

/// What is true of one replica.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Case {
    /// Its leak, if it leaks.
    pub(crate) leak: Option<Leaking>,
    /// Minutes from the leak's beginning until the limit was reached at the leak's pace.
    minutes_to_limit: f64,
    /// Hours that were read.
    hours: f64,
}

impl Case {
    pub(crate) fn of(history: &History, replica: &Replica) -> Self {
        let leak = history.truth.leak.filter(|_| replica.leaks);
        let minutes_to_limit = leak.map_or(f64::INFINITY, |leak| {
            let mut readings = replica.readings.iter();
            let begin = readings.find(|reading| reading.at_s >= leak.from_s);
            let used = begin.map_or(0.0, |reading| reading.memory.rss);
            // With each byte that lives the collector lets so much more be allocated.
            let headroom = match (leak.kind, history.settings.gogc) {
                ("go-heap", Some(gogc)) => 1.0 + gogc / 100.0,
                _ => 1.0,
            };
            (history.limit - used) / (leak.bytes_per_minute * headroom).max(1.0)
        });
        Self {
            leak,
            minutes_to_limit,
            hours: replica.readings.len() as f64 * history.period_s / 3600.0,
        }
    }

    /// One that does not leak, read for so many hours.
    #[cfg(test)]
    pub(crate) fn calm(hours: f64) -> Self {
        Self {
            leak: None,
            minutes_to_limit: f64::INFINITY,
            hours,
        }
    }

    /// When the leak begins: never, without one.
    pub(crate) fn onset_s(&self) -> f64 {
        self.leak.map_or(f64::INFINITY, |leak| leak.from_s)
    }
}

/// What one judge came to over many replicas.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub(crate) struct Score {
    /// Replicas that leak.
    pub(crate) leaks: u32,
    /// Those whose leak was told.
    pub(crate) found: u32,
    /// And told as what it is.
    pub(crate) right_kind: u32,
    /// Replicas that leak, of which it was said before they did.
    early: u32,
    /// Replicas that do not leak.
    pub(crate) calm: u32,
    /// Those of which it was said all the same.
    pub(crate) calm_alarmed: u32,
    /// How often somebody was called for replicas that do not leak.
    pub(crate) incidents: u32,
    /// Hours of replicas that do not leak.
    calm_hours: f64,
    /// Minutes from the beginning of a leak until it was told.
    pub(crate) minutes: Vec<f64>,
    /// The same as a part of the time until the limit.
    pub(crate) parts: Vec<f64>,
    /// The same minutes, of leaks with a pace within [`PACES`], and how many such leaks there are.
    pub(crate) paced: (Vec<f64>, u32),
    pub(crate) judged: Judged,
    pub(crate) late: Judged,
    /// See [`Told::unsure`].
    #[serde(default)]
    pub(crate) unsure: BTreeMap<String, u32>,
    pub(crate) reliability: Reliability,
}

impl Score {
    /// Counts one replica.
    pub(crate) fn add(&mut self, case: &Case, told: &Told) {
        self.judged.join(told.judged);
        self.late.join(told.late);
        add_all(&mut self.unsure, &told.unsure);
        if let Some(first) = told.first(|_| true)
            && let Some(confidence) = first.confidence
        {
            self.reliability
                .add(confidence, first.from_s >= case.onset_s());
        }
        let is_false = u32::from(told.false_alarm(case).is_some());
        let Some(leak) = case.leak else {
            self.calm += 1;
            self.calm_alarmed += is_false;
            self.incidents += told.incidents();
            self.calm_hours += case.hours;
            return;
        };
        self.leaks += 1;
        self.early += is_false;
        let is_paced = (PACES.0..=PACES.1).contains(&leak.bytes_per_minute);
        self.paced.1 += u32::from(is_paced);
        let Some(alarm) = told.found(case) else {
            return;
        };
        let minutes = (alarm.from_s - leak.from_s) / 60.0;
        self.found += 1;
        self.right_kind += u32::from(alarm.kind.is_some_and(|kind| is_kind(kind, leak.kind)));
        self.minutes.push(minutes);
        self.parts.push(minutes / case.minutes_to_limit);
        if is_paced {
            self.paced.0.push(minutes);
        }
    }

    /// Adds what came of other replicas.
    pub(crate) fn join(&mut self, other: &Self) {
        self.leaks += other.leaks;
        self.found += other.found;
        self.right_kind += other.right_kind;
        self.early += other.early;
        self.calm += other.calm;
        self.calm_alarmed += other.calm_alarmed;
        self.incidents += other.incidents;
        self.calm_hours += other.calm_hours;
        self.minutes.extend(&other.minutes);
        self.parts.extend(&other.parts);
        self.paced.0.extend(&other.paced.0);
        self.paced.1 += other.paced.1;
        self.judged.join(other.judged);
        self.late.join(other.late);
        add_all(&mut self.unsure, &other.unsure);
        self.reliability.join(&other.reliability);
    }

    /// Replicas of which a leak was told while they had none.
    pub(crate) fn false_alarms(&self) -> u32 {
        self.early + self.calm_alarmed
    }

    /// The part of what it told that was so; `None` if it told nothing, or there was nothing to tell.
    pub(crate) fn precision(&self) -> Option<f64> {
        let told = self.found + self.false_alarms();
        part(self.found, told).filter(|_| self.leaks > 0)
    }

    /// The part of the leaks that it told.
    pub(crate) fn recall(&self) -> Option<f64> {
        part(self.found, self.leaks)
    }

    /// The part of what it told that was so, if one process in a hundred leaked; and the least that this is with 95 %
    /// confidence in the rate of false alarms.
    pub(crate) fn rare_precision(&self) -> Option<(f64, f64)> {
        let recall = self.recall()?;
        let calm = f64::from(self.calm);
        if self.calm == 0 || self.found == 0 {
            return None;
        }
        let bayes = |false_rate: f64| {
            let (right, wrong) = (0.01 * recall, 0.99 * false_rate.min(1.0));
            right / (right + wrong)
        };
        let alarmed = self.calm_alarmed;
        Some((
            bayes(f64::from(alarmed) / calm),
            bayes(most(alarmed) / calm),
        ))
    }

    /// Years of processes that do not leak.
    pub(crate) fn calm_years(&self) -> f64 {
        self.calm_hours / HOURS_PER_YEAR
    }

    /// False incidents in a year of one such process, and how many it may be at most with 95 % confidence.
    pub(crate) fn incidents_per_year(&self) -> Option<(f64, f64)> {
        let years = self.calm_years();
        let rate = |incidents: f64| incidents / years;
        (years > 0.0).then(|| (rate(f64::from(self.incidents)), rate(most(self.incidents))))
    }
}

fn add_all(sums: &mut BTreeMap<String, u32>, others: &BTreeMap<String, u32>) {
    for (code, count) in others {
        *sums.entry(code.clone()).or_default() += count;
    }
}

fn part(of: u32, all: u32) -> Option<f64> {
    (all > 0).then(|| f64::from(of) / f64::from(all))
}

/// The greatest expectation under which `seen` events or fewer come with a probability of 5 %: the exact upper bound of
/// one side for a Poisson count, with 95 % confidence. It assumes that events come independently.
///
/// Source: F. Garwood (1936), Biometrika 28:437–442.
fn most(seen: u32) -> f64 {
    let chi_squared = ChiSquared::new(2.0 * (f64::from(seen) + 1.0));
    chi_squared.map_or(f64::INFINITY, |it| it.inverse_cdf(0.95) / 2.0)
}

/// The middle value; of an even number, the upper of the two.
pub(crate) fn median(values: &[f64]) -> Option<f64> {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn case(onset_s: Option<f64>) -> Case {
        Case {
            leak: onset_s.map(|from_s| Leaking {
                kind: "go-heap",
                from_s,
                bytes_per_minute: 5e6,
            }),
            minutes_to_limit: 100.0,
            hours: 24.0 * 365.25 / 10.0,
        }
    }

    fn told(alarms: &[(f64, f64)]) -> Told {
        let alarm = |&(from_s, until_s): &(f64, f64)| Alarm {
            until_s,
            ..Alarm::at(from_s)
        };
        Told {
            alarms: alarms.iter().map(alarm).collect(),
            ..Told::default()
        }
    }

    #[test]
    fn the_bound_is_that_of_the_tables() {
        for (seen, bound) in [
            (0, 2.9957),
            (1, 4.7439),
            (5, 10.513),
            (10, 16.962),
            (100, 118.079),
        ] {
            assert!(
                (most(seen) - bound).abs() < 0.001 * bound,
                "{seen}: {}",
                most(seen)
            );
        }
    }

    #[test]
    fn alarms_within_an_hour_are_one_incident() {
        for (why, alarms, incidents) in [
            ("none", &[][..], 0),
            ("one", &[(0.0, 100.0)], 1),
            (
                "again within the hour",
                &[(0.0, 100.0), (3700.0, 3800.0)],
                1,
            ),
            ("again after it", &[(0.0, 100.0), (3701.0, 3800.0)], 2),
            (
                "two kinds at once",
                &[(0.0, 9000.0), (100.0, 200.0), (9100.0, 9200.0)],
                1,
            ),
            ("out of order", &[(9000.0, 9100.0), (0.0, 100.0)], 2),
        ] {
            assert_eq!(told(alarms).incidents(), incidents, "{why}");
        }
    }

    #[test]
    fn what_began_before_the_leak_is_false_and_finds_nothing() {
        let mut score = Score::default();
        score.add(&case(Some(1000.0)), &told(&[(900.0, 5000.0)]));
        assert_eq!((score.found, score.false_alarms()), (0, 1));
        score.add(
            &case(Some(1000.0)),
            &told(&[(1600.0, 5000.0), (900.0, 950.0)]),
        );
        assert_eq!((score.found, score.false_alarms()), (1, 2));
        assert_eq!(score.minutes, [10.0]);
        assert_eq!(score.parts, [0.1]);
        assert_eq!(score.paced, (vec![10.0], 2));
        assert_eq!(score.incidents, 0, "counted on calm replicas only");
    }

    #[test]
    fn figures_of_ten_replicas() {
        let mut score = Score::default();
        for i in 0..5 {
            let alarms: &[(f64, f64)] = if i < 4 { &[(60.0, 60.0)] } else { &[] };
            score.add(&case(Some(0.0)), &told(alarms));
            let alarms: &[(f64, f64)] = if i < 1 {
                &[(0.0, 1.0), (8000.0, 8001.0)]
            } else {
                &[]
            };
            score.add(&case(None), &told(alarms));
        }
        assert_eq!(score.precision(), Some(0.8));
        assert_eq!(score.recall(), Some(0.8));
        let (at_one, least) = score.rare_precision().unwrap();
        assert!((at_one - 0.008 / (0.008 + 0.99 * 0.2)).abs() < 1e-12);
        assert!(least < at_one);
        let (rate, bound) = score.incidents_per_year().unwrap();
        assert!((rate - 4.0).abs() < 1e-9, "two incidents in half a year");
        assert!((bound - 12.592).abs() < 0.001, "{bound}");
    }

    #[test]
    fn without_anything_there_are_no_figures() {
        let score = Score::default();
        assert_eq!(score.precision(), None);
        assert_eq!(score.recall(), None);
        assert_eq!(score.rare_precision(), None);
        assert_eq!(score.incidents_per_year(), None);
        assert_eq!(median(&[]), None);
    }
}
