//! Recorded series as the readings that they were: all samples of one time together, in the order of time.

use model::{Sample, UnixMs};

use super::gather::{Member, Recorded};

/// Periods without a reading after which another recorder of the same target is believed.
const GAP_PERIODS: i64 = 3;
/// Intervals from which the period is told.
const INTERVALS: usize = 200;

/// One side of a target, as one or several recorders have it, reading by reading.
///
/// Of several the first is believed as long as it has readings; after a gap, whoever has the next one. Two
/// recorders' readings are never mixed: they read at different times, and a rate between them is none.
#[derive(Debug)]
pub(crate) struct Moments<'a> {
    recorders: Vec<Recorder<'a>>,
    believed: usize,
    last: Option<UnixMs>,
}

#[derive(Debug)]
struct Recorder<'a> {
    series: &'a [Recorded],
    /// The next sample of each series.
    next: Vec<usize>,
    /// The earliest of their times.
    at: Option<UnixMs>,
    gap_ms: i64,
}

impl<'a> Moments<'a> {
    /// The readings of `members`, which tell of one side of one target.
    pub(crate) fn new(members: impl IntoIterator<Item = &'a Member>) -> Self {
        let recorders = members
            .into_iter()
            .map(|member| Recorder::new(&member.series));
        Self {
            recorders: recorders.collect(),
            believed: 0,
            last: None,
        }
    }

    /// When the next reading was.
    pub(crate) fn next_at(&mut self) -> Option<UnixMs> {
        let believed = self.recorders.get(self.believed)?;
        let goes_on = |at: &UnixMs| {
            let last = self.last.unwrap_or(*at);
            at.0.saturating_sub(last.0) <= believed.gap_ms
        };
        if let Some(at) = believed.at.filter(goes_on) {
            return Some(at);
        }
        // Of equals the first.
        let all = self.recorders.iter().enumerate();
        let told = all.filter_map(|(place, recorder)| Some((recorder.at?, place)));
        let (at, place) = told.min()?;
        self.believed = place;
        Some(at)
    }

    /// The samples of the reading at `at`, which [`Moments::next_at`] told; series without one are not in it.
    pub(crate) fn take(&mut self, at: UnixMs, mut each: impl FnMut(&'a Recorded, f64)) {
        for (place, recorder) in self.recorders.iter_mut().enumerate() {
            let is_believed = place == self.believed;
            recorder.pass(at, |series, sample| {
                if is_believed && sample.t == at {
                    each(series, sample.v);
                }
            });
        }
        self.last = Some(at);
    }
}

impl<'a> Recorder<'a> {
    fn new(series: &'a [Recorded]) -> Self {
        let mut recorder = Self {
            series,
            next: vec![0; series.len()],
            at: None,
            gap_ms: period_ms(series).saturating_mul(GAP_PERIODS),
        };
        recorder.look();
        recorder
    }

    /// Goes past all samples up to `until`.
    fn pass(&mut self, until: UnixMs, mut each: impl FnMut(&'a Recorded, Sample)) {
        if self.at.is_none_or(|at| at > until) {
            return;
        }
        for (series, next) in self.series.iter().zip(&mut self.next) {
            while let Some(sample) = series.samples.get(*next).filter(|one| one.t <= until) {
                each(series, *sample);
                *next += 1;
            }
        }
        self.look();
    }

    fn look(&mut self) {
        let ahead = self.series.iter().zip(&self.next);
        let times = ahead.filter_map(|(series, next)| Some(series.samples.get(*next)?.t));
        self.at = times.min();
    }
}

/// The usual time between two samples of the longest series.
fn period_ms(series: &[Recorded]) -> i64 {
    let longest = series.iter().max_by_key(|one| one.samples.len());
    let samples = longest.map_or(&[][..], |one| &one.samples);
    let pairs = samples.windows(2).take(INTERVALS);
    let mut gaps: Vec<i64> = pairs
        .map(|pair| pair[1].t.0.saturating_sub(pair[0].t.0))
        .collect();
    gaps.sort_unstable();
    gaps.get(gaps.len() / 2).copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use model::Labels;

    use super::super::place::{Side, What};
    use super::*;

    fn member(replica: &str, series: &[(&str, &[i64])]) -> Member {
        let series = series.iter().map(|(name, times)| Recorded {
            labels: Labels::metric(name, []),
            what: What::Figure,
            samples: times
                .iter()
                .map(|t| Sample {
                    t: UnixMs(*t),
                    v: *t as f64,
                })
                .collect(),
        });
        Member {
            side: Side::Container,
            replica: replica.into(),
            series: series.collect(),
        }
    }

    fn all(members: &[Member]) -> Vec<String> {
        let mut moments = Moments::new(members);
        let mut got = Vec::new();
        while let Some(at) = moments.next_at() {
            let mut line = format!("{}:", at.0);
            moments.take(at, |series, v| {
                line += &format!(" {}={v}", series.labels.name())
            });
            got.push(line);
        }
        got
    }

    #[test]
    fn samples_of_one_time_are_one_reading() {
        let got = all(&[member("", &[("a", &[1, 2, 4]), ("b", &[2, 3])])]);
        assert_eq!(got, ["1: a=1", "2: a=2 b=2", "3: b=3", "4: a=4"]);
        assert!(all(&[]).is_empty());
        assert!(all(&[member("", &[])]).is_empty());
    }

    #[test]
    fn another_recorder_fills_gaps_and_is_never_mixed_in() {
        let first = member("a", &[("m", &[10, 20, 30, 100, 110])]);
        let second = member("b", &[("m", &[15, 25, 35, 45, 55, 65, 75, 85, 95, 105])]);
        let got = all(&[first, second]);
        let times: Vec<&str> = got
            .iter()
            .map(|line| line.split(':').next().unwrap())
            .collect();
        // Both are whole again when the second one ends.
        assert_eq!(
            times,
            [
                "10", "20", "30", "35", "45", "55", "65", "75", "85", "95", "105", "110"
            ]
        );
    }
}
