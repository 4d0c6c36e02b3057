//! Histories made, judged and scored on all processors, with results that do not depend on how many there are.

use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use corpus::{Family, Replica, View, history};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::baselines;
use crate::kept::Kept;
use crate::replay::replay;
use crate::score::{Case, Score, Told};

/// The judge and the rules beside it.
pub(crate) const JUDGES: usize = 1 + baselines::COUNT;
/// Seeds that are judged before it is looked whether there are enough. What comes out does not depend on it.
const SEEDS_AT_ONCE: u64 = 4;

/// What came of one history.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Measured {
    #[serde(serialize_with = "by_name", deserialize_with = "named")]
    pub(crate) family: Family,
    pub(crate) seed: u64,
    /// The judge's first, then those of the rules.
    pub(crate) scores: [Score; JUDGES],
    /// What the judge got wrong.
    pub(crate) wrong: Vec<String>,
}

fn by_name<S: Serializer>(family: &Family, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(family.name())
}

fn named<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Family, D::Error> {
    let name = String::deserialize(deserializer)?;
    let family = Family::ALL.iter().find(|family| family.name() == name);
    family
        .copied()
        .ok_or_else(|| serde::de::Error::custom(format!("no such family: `{name}`")))
}

/// Judges `seeds` histories of each family, from the seed `first` on, by what `view` has.
pub(crate) fn seeds(
    families: &[Family],
    first: u64,
    seeds: u64,
    view: View,
    threads: usize,
    kept: &Kept,
) -> Vec<Measured> {
    let work: Vec<(Family, u64)> = families
        .iter()
        .flat_map(|family| (first..first.saturating_add(seeds)).map(|seed| (*family, seed)))
        .collect();
    in_order(&work, threads, |(family, seed)| {
        kept.measured(*family, *seed, || measure(*family, *seed, view))
    })
}

/// Judges histories of each family, from the seed `first` on, until those without a leak make up so many years.
pub(crate) fn calm_years(
    families: &[Family],
    first: u64,
    years: f64,
    view: View,
    threads: usize,
    kept: &Kept,
) -> Vec<Measured> {
    until(years, families.len(), first, |seeds| {
        let work: Vec<(Family, u64)> = seeds
            .flat_map(|seed| families.iter().map(move |family| (*family, seed)))
            .collect();
        in_order(&work, threads, |(family, seed)| {
            kept.measured(*family, *seed, || measure(*family, *seed, view))
        })
    })
}

/// Takes whole seeds, each of so many histories, until there are `years` of what does not leak.
fn until(
    years: f64,
    histories: usize,
    first: u64,
    mut judged: impl FnMut(Range<u64>) -> Vec<Measured>,
) -> Vec<Measured> {
    let (mut all, mut calm, mut next) = (Vec::new(), 0.0, first);
    while calm < years && next < u64::MAX {
        let end = next.saturating_add(SEEDS_AT_ONCE);
        for seed in judged(next..end).chunks(histories.max(1)) {
            if calm < years {
                let years = seed.iter().map(|one| one.scores[0].calm_years());
                calm += years.sum::<f64>();
                all.extend_from_slice(seed);
            }
        }
        next = end;
    }
    all
}

/// Does each piece of `work`, several at a time, and returns the results in the order of `work`.
fn in_order<T: Sync, R: Send>(work: &[T], threads: usize, does: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let results: Mutex<Vec<(usize, R)>> = Mutex::default();
    thread::scope(|scope| {
        for _ in 0..threads.max(1) {
            scope.spawn(|| {
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let Some(piece) = work.get(at) else {
                        return;
                    };
                    let result = does(piece);
                    let mut results = results.lock().unwrap_or_else(PoisonError::into_inner);
                    results.push((at, result));
                }
            });
        }
    });
    let mut results = results.into_inner().unwrap_or_else(PoisonError::into_inner);
    results.sort_by_key(|(at, _)| *at);
    results.into_iter().map(|(_, result)| result).collect()
}

fn measure(family: Family, seed: u64, view: View) -> Measured {
    let history = history(family, seed);
    let mut scores = <[Score; JUDGES]>::default();
    let mut wrong = Vec::new();
    for replica in &history.replicas {
        let case = Case::of(&history, replica);
        let told = replay(&history, view, replica);
        wrong.extend(what_is_wrong(replica, &case, &told));
        scores[0].add(&case, &told);
        for (score, mut rule) in scores[1..].iter_mut().zip(baselines::rules(history.limit)) {
            score.add(&case, &baselines::replay(rule.as_mut(), &replica.readings));
        }
    }
    Measured {
        family,
        seed: history.seed,
        scores,
        wrong,
    }
}

fn what_is_wrong(replica: &Replica, case: &Case, told: &Told) -> Vec<String> {
    let mut wrong = Vec::new();
    let name = &replica.instance;
    if let Some(alarm) = told.false_alarm(case) {
        let kind = alarm.kind.map_or("a leak", |kind| kind.as_str());
        let hours = alarm.from_s / 3600.0;
        wrong.push(format!(
            "{name}: no leak, {kind} told at {hours:.2} h: {}",
            told.words
        ));
    }
    if let Some(leak) = case.leak
        && told.found(case).is_none()
    {
        let last = replica.readings.last().map_or(0.0, |last| last.at_s);
        wrong.push(format!(
            "{name}: {:.0} KiB/min from {:.2} h to {:.2} h, never told: {}",
            leak.bytes_per_minute / 1024.0,
            leak.from_s / 3600.0,
            last / 3600.0,
            told.words,
        ));
    }
    wrong
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_come_in_the_order_of_the_work_whatever_the_threads() {
        let work: Vec<u64> = (0..200).collect();
        for threads in [0, 1, 2, 7] {
            let results = in_order(&work, threads, |number| {
                thread::sleep(std::time::Duration::from_micros(200 - number));
                number * number
            });
            let expected: Vec<u64> = work.iter().map(|number| number * number).collect();
            assert_eq!(results, expected, "{threads} threads");
        }
    }

    /// Two histories of each seed, each of a day in which nothing leaks.
    fn two_days(seeds: Range<u64>) -> Vec<Measured> {
        let case = Case::calm(24.0);
        let both = seeds.flat_map(|seed| [(Family::WarmUp, seed), (Family::Steps, seed)]);
        both.map(|(family, seed)| {
            let mut scores = <[Score; JUDGES]>::default();
            scores[0].add(&case, &Told::default());
            Measured {
                family,
                seed,
                scores,
                wrong: Vec::new(),
            }
        })
        .collect()
    }

    #[test]
    fn enough_years_end_with_a_whole_seed() {
        for (days, seeds) in [(0.0, 0), (0.5, 1), (2.5, 2), (17.0, 9)] {
            let all = until(days / 365.25, 2, 7, two_days);
            let taken: Vec<u64> = all.iter().map(|one| one.seed).collect();
            let expected: Vec<u64> = (7..7 + seeds).flat_map(|seed| [seed, seed]).collect();
            assert_eq!(taken, expected, "{days} days");
        }
        let last = until(1.0, 2, u64::MAX - 1, two_days);
        assert_eq!(last.len(), 2, "seeds end somewhere");
    }
}
