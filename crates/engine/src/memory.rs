//! Series in memory for one session: `diagnose` judges what it reads itself, and leaves nothing on
//! disk.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use model::series::{AppendError, Appended, ReadError};
use model::{
    Append, Batch, Budget, Cancel, Labels, MatchOp, Matcher, Sample, Series, SeriesRead, UnixMs,
};

/// Samples kept per series: five hours at one a second.
const SAMPLES_MAX: usize = 18_000;
const SERIES_MAX: usize = 2_000;

/// A small store without a disk. Of each series it keeps the latest 18,000 samples, and it takes
/// at most 2,000 series. Matchers other than `=` are refused.
#[derive(Debug, Default)]
pub struct MemorySeries(Mutex<BTreeMap<Labels, Vec<Sample>>>);

impl MemorySeries {
    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<Labels, Vec<Sample>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Append for MemorySeries {
    fn append(&self, batch: &Batch) -> Result<Appended, AppendError> {
        let mut appended = Appended::default();
        let mut all = self.lock();
        for (labels, sample) in &batch.samples {
            if all.len() >= SERIES_MAX && !all.contains_key(labels) {
                continue;
            }
            let samples = all.entry(labels.clone()).or_default();
            if samples.last().is_some_and(|last| last.t >= sample.t) {
                appended.out_of_order += 1;
                continue;
            }
            if samples.len() >= SAMPLES_MAX {
                samples.drain(..SAMPLES_MAX / 2);
            }
            samples.push(*sample);
            appended.stored += 1;
        }
        Ok(appended)
    }
}

impl SeriesRead for MemorySeries {
    fn select(
        &self,
        matchers: &[Matcher],
        from: UnixMs,
        to: UnixMs,
        budget: &Budget,
        _cancel: &Cancel,
    ) -> Result<Vec<Series>, ReadError> {
        if let Some(matcher) = matchers.iter().find(|matcher| matcher.op != MatchOp::Equal) {
            return Err(ReadError::BadQuery(format!(
                "only = is known here, not {:?}",
                matcher.op
            )));
        }
        let mut found = Vec::new();
        for (labels, samples) in self.lock().iter() {
            if !matchers
                .iter()
                .all(|m| labels.get(&m.name).unwrap_or("") == m.value)
            {
                continue;
            }
            let begin = samples.partition_point(|sample| sample.t < from);
            let end = samples.partition_point(|sample| sample.t <= to);
            if begin < end {
                if !budget.take((end - begin) as u64) {
                    return Err(ReadError::OverBudget);
                }
                let samples = samples[begin..end].to_vec();
                found.push(Series {
                    labels: labels.clone(),
                    samples,
                });
            }
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_in_comes_out_within_its_time() {
        let store = MemorySeries::default();
        for second in [1, 2, 2, 3] {
            let sample = Sample {
                t: UnixMs(second * 1000),
                v: 7.0,
            };
            let samples = vec![(Labels::metric("up", [("a", "b")]), sample)];
            store.append(&Batch { samples }).unwrap();
        }
        let select = |matcher, from, to| {
            let budget = Budget::samples(100);
            store.select(
                &[matcher],
                UnixMs(from),
                UnixMs(to),
                &budget,
                &Cancel::default(),
            )
        };
        let found = select(Matcher::metric("up"), 1000, 2000).unwrap();
        assert_eq!(found[0].samples.len(), 2, "the repeated second was dropped");
        assert!(select(Matcher::metric("down"), 0, 9000).unwrap().is_empty());
        assert!(
            select(Matcher::metric("up"), 4000, 9000)
                .unwrap()
                .is_empty()
        );
    }
}
