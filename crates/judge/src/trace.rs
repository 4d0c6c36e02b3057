//! One channel through time, in little memory: recent samples as they came, older ones ever coarser.

use std::collections::VecDeque;

use crate::points::Points;

/// How several samples become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keep {
    /// For memory: what came down at any time in between is not kept by anybody.
    Min,
    /// For loads.
    Mean,
    /// For counters.
    Last,
}

/// How much of the past is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Detail {
    /// For what can leak.
    Full,
    /// For what only explains.
    Sketch,
}

/// Something that can be looked at for a stretch of time.
pub(crate) trait Window {
    /// The points from `from` to `to`, both included, evenly far apart.
    fn between(&self, from: f64, to: f64) -> Points;
    /// Time and value of the first and the last point.
    fn ends(&self) -> Option<((f64, f64), (f64, f64))>;
    /// The value of the first point from `from` on.
    fn value_at(&self, from: f64) -> Option<f64>;
    /// Samples that a point of `between(from, _)` stands for.
    fn samples_each(&self, _from: f64) -> f64 {
        1.0
    }

    /// Seconds from the first to the last point; zero if there are none.
    fn span(&self) -> f64 {
        self.ends().map_or(0.0, |(first, last)| last.0 - first.0)
    }

    fn last(&self) -> Option<(f64, f64)> {
        self.ends().map(|(_, last)| last)
    }

    /// All that is known, evenly far apart.
    fn whole(&self) -> Points {
        self.between(f64::MIN, f64::MAX)
    }
}

impl Window for Points {
    fn between(&self, from: f64, to: f64) -> Points {
        Points::between(self, from, to)
    }

    fn ends(&self) -> Option<((f64, f64), (f64, f64))> {
        Some((self.first()?, Points::last(self)?))
    }

    fn value_at(&self, from: f64) -> Option<f64> {
        let next = self.times.partition_point(|time| *time < from);
        self.values.get(next).copied()
    }
}

/// Seconds that a bucket of a coarser tier covers. From an hour on they divide the day, so that a day's load
/// looks the same in each.
const WIDTHS: [f64; 9] = [
    1.0, 4.0, 15.0, 60.0, 240.0, 900.0, 3_600.0, 21_600.0, 86_400.0,
];
/// A tier is so many times coarser than the one before, at least.
const COARSER: f64 = 3.0;
/// A bucket that is still being filled counts once it covers so much of its time; of those of an hour and more
/// only whole ones count, since the low time of a day may be still to come.
const OPEN_COUNTS: f64 = 0.5;
const OPEN_NEVER_FROM: f64 = 3_600.0;

/// Of buckets of less than this more are kept than a look from afar takes: swings of half a minute, as loads of tests
/// and of batches have them, are seen in these only, and must be seen often enough: see [`Trace::grain`].
const SHORT_S: f64 = 60.0;

/// Buckets that a tier keeps.
fn length(detail: Detail, width: f64, fine: bool) -> usize {
    let more = detail == Detail::Full && !fine && width < SHORT_S;
    reach(detail, fine) * if more { 2 } else { 1 }
}

/// Buckets of a tier that stand for the time they cover; further back a coarser tier does.
fn reach(detail: Detail, fine: bool) -> usize {
    match (detail, fine) {
        (Detail::Full, true) => 160,
        (Detail::Full, false) => 64,
        (Detail::Sketch, true) => 48,
        (Detail::Sketch, false) => 24,
    }
}

/// See the module.
#[derive(Debug, Clone)]
pub(crate) struct Trace {
    keep: Keep,
    detail: Detail,
    period_s: f64,
    first: Option<(f64, f64)>,
    last: (f64, f64),
    /// Samples so far.
    count: f64,
    tiers: Vec<Tier>,
}

/// Buckets of one width, the newest last.
#[derive(Debug, Clone)]
struct Tier {
    width: f64,
    /// The finest: a bucket is a sample, its number the nearest to the sample's time.
    fine: bool,
    /// Number of the bucket at the front.
    front: i64,
    /// NaN where nothing was seen.
    buckets: VecDeque<f32>,
    open: Option<Open>,
}

/// The bucket that is being filled.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Open {
    number: i64,
    value: f64,
    count: f64,
}

impl Trace {
    pub(crate) fn new(keep: Keep, detail: Detail, period_s: f64) -> Self {
        let mut widths = vec![period_s];
        widths.extend(WIDTHS.into_iter().filter(|w| *w >= COARSER * period_s));
        let tier = |width| Tier {
            width,
            fine: width == period_s,
            front: 0,
            buckets: VecDeque::new(),
            open: None,
        };
        Self {
            keep,
            detail,
            period_s,
            first: None,
            last: (0.0, 0.0),
            count: 0.0,
            tiers: widths.into_iter().map(tier).collect(),
        }
    }

    /// Takes in a sample; false where it is not after the last one, or not finite: then it is passed over.
    pub(crate) fn push(&mut self, time: f64, value: f64) -> bool {
        let after = self.first.is_none() || time > self.last.0;
        if !after || !value.is_finite() || !time.is_finite() {
            return false;
        }
        self.first.get_or_insert((time, value));
        self.last = (time, value);
        self.count += 1.0;
        for tier in &mut self.tiers {
            let length = length(self.detail, tier.width, tier.fine);
            tier.push(time, value, self.keep, length);
        }
        true
    }

    /// Bytes that it takes.
    pub(crate) fn bytes(&self) -> usize {
        let tiers = self.tiers.iter();
        let buckets: usize = tiers
            .map(|tier| tier.buckets.capacity() * size_of::<f32>())
            .sum();
        size_of::<Self>() + self.tiers.capacity() * size_of::<Tier>() + buckets
    }

    /// The finest tier that reaches back to `from`, or to the beginning.
    fn tier(&self, from: f64) -> Option<&Tier> {
        let begin = self.first?.0.max(from);
        let reaches = |tier: &&Tier| tier.begin(self.detail) <= begin + tier.width;
        self.tiers.iter().find(reaches).or(self.tiers.last())
    }

    /// As much of the past as buckets of at most `width` seconds reach back to, evenly far apart.
    pub(crate) fn fine(&self, width: f64) -> Points {
        let tiers = self.tiers.iter().rev();
        let begin = tiers
            .filter(|tier| tier.width <= width)
            .map(|tier| tier.begin(self.detail))
            .next();
        self.between(begin.unwrap_or(f64::MIN), f64::MAX)
    }

    /// The widths of its buckets in seconds, the finest first.
    pub(crate) fn widths(&self) -> impl Iterator<Item = f64> {
        self.tiers.iter().map(|tier| tier.width)
    }

    /// All that is kept in buckets of this width; nothing where there are none of it.
    pub(crate) fn grain(&self, width: f64) -> Points {
        let mut points = Points::default();
        if let Some(tier) = self.tiers.iter().find(|tier| tier.width == width) {
            tier.each(self.last.0, |time, value| points.push(time, value));
        }
        points
    }

    /// The value at `time`, on the line between its neighbours; held constant outside.
    pub(crate) fn at(&self, time: f64) -> Option<f64> {
        self.between(time - 4.0 * self.period_s, f64::MAX).at(time)
    }
}

impl Window for Trace {
    fn between(&self, from: f64, to: f64) -> Points {
        let mut points = Points::default();
        if let Some(tier) = self.tier(from) {
            tier.each(self.last.0, |time, value| {
                if (from..=to).contains(&time) {
                    points.push(time, value);
                }
            });
        }
        points
    }

    fn ends(&self) -> Option<((f64, f64), (f64, f64))> {
        Some((self.first?, self.last))
    }

    fn value_at(&self, from: f64) -> Option<f64> {
        let tier = self.tier(from)?;
        let skipped = (from / tier.width).floor() as i64 - tier.front;
        let buckets = tier.buckets.iter().skip(skipped.max(0) as usize);
        let mut seen = buckets.copied().filter(|value| value.is_finite());
        seen.next().map(f64::from)
    }

    fn samples_each(&self, from: f64) -> f64 {
        let gap = self.span() / (self.count - 1.0);
        match self.tier(from) {
            Some(tier) if gap > 0.0 => (tier.width / gap).max(1.0),
            _ => 1.0,
        }
    }
}

impl Tier {
    fn push(&mut self, time: f64, value: f64, keep: Keep, length: usize) {
        let nearest = if self.fine { 0.5 } else { 0.0 };
        let number = (time / self.width + nearest).floor() as i64;
        match &mut self.open {
            Some(open) if open.number == number => {
                open.value = match keep {
                    Keep::Min => open.value.min(value),
                    Keep::Mean => open.value + (value - open.value) / (open.count + 1.0),
                    Keep::Last => value,
                };
                open.count += 1.0;
                return;
            }
            _ => {}
        }
        if let Some(open) = self.open.take() {
            self.close(open, length);
        }
        self.open = Some(Open {
            number,
            value,
            count: 1.0,
        });
    }

    fn close(&mut self, open: Open, length: usize) {
        let next = self.front + self.buckets.len() as i64;
        if self.buckets.is_empty() || open.number - next >= length as i64 {
            self.buckets.clear();
            self.front = open.number;
        } else {
            for _ in next..open.number {
                self.buckets.push_back(f32::NAN);
            }
        }
        self.buckets.push_back(open.value as f32);
        while self.buckets.len() > length {
            self.buckets.pop_front();
            self.front += 1;
        }
    }

    /// When the oldest bucket within reach begins.
    fn begin(&self, detail: Detail) -> f64 {
        let beyond = self.buckets.len().saturating_sub(reach(detail, self.fine));
        match (self.buckets.is_empty(), self.open) {
            (false, _) => (self.front + beyond as i64) as f64 * self.width,
            (true, Some(open)) => open.number as f64 * self.width,
            (true, None) => f64::MAX,
        }
    }

    /// Each bucket's middle and value, up to now.
    fn each(&self, now: f64, mut tell: impl FnMut(f64, f64)) {
        let middle_at = if self.fine { 0.0 } else { 0.5 };
        let middle = |number: i64| (number as f64 + middle_at) * self.width;
        for (number, value) in (self.front..).zip(&self.buckets) {
            if value.is_finite() {
                tell(middle(number), f64::from(*value));
            }
        }
        if let Some(open) = self.open {
            let covered = now / self.width - open.number as f64;
            let counts = covered >= OPEN_COUNTS && self.width < OPEN_NEVER_FROM;
            if counts || self.fine {
                tell(middle(open.number), open.value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(seconds: u32, keep: Keep) -> Trace {
        let mut trace = Trace::new(keep, Detail::Full, 1.0);
        for t in 0..seconds {
            assert!(trace.push(f64::from(t), f64::from(t)));
        }
        trace
    }

    #[test]
    fn recent_samples_stay_as_they_came_and_old_ones_get_coarser() {
        let trace = line(10_000, Keep::Min);
        let recent = trace.between(9_900.0, f64::MAX);
        assert_eq!(recent.times, recent.values);
        assert_eq!(recent.len(), 100);
        let whole = trace.whole();
        assert!((32..=65).contains(&whole.len()), "{}", whole.len());
        let gaps = whole.times.windows(2).map(|pair| pair[1] - pair[0]);
        assert!(
            gaps.into_iter().all(|gap| gap == 240.0),
            "{:?}",
            whole.times
        );
        // The least of a bucket is its first here; its time is the middle.
        assert_eq!(whole.first(), Some((120.0, 0.0)));
        assert!(line(10_000_000, Keep::Min).bytes() < 8 * 1024);
    }

    #[test]
    fn what_is_not_after_the_last_sample_or_no_number_is_passed_over() {
        let mut trace = line(10, Keep::Mean);
        for (time, value) in [(9.0, 5.0), (3.0, 5.0), (20.0, f64::NAN), (f64::NAN, 5.0)] {
            assert!(!trace.push(time, value), "{time} {value}");
        }
        assert_eq!(trace.ends(), Some(((0.0, 0.0), (9.0, 9.0))));
    }

    #[test]
    fn a_gap_leaves_no_points() {
        let mut trace = line(10, Keep::Min);
        trace.push(100.0, 7.0);
        let times = trace.between(5.0, f64::MAX).times;
        assert_eq!(times, [5.0, 6.0, 7.0, 8.0, 9.0, 100.0]);
        trace.push(1e6, 7.0);
        assert_eq!(trace.between(1e6 - 10.0, f64::MAX).times, [1e6]);
    }
}
