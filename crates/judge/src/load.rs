//! Does the load explain the memory?

use crate::growth::{Demands, Stretch, scan};
use crate::points::{Points, Thin};
use crate::stats::{Partial, correlation, fit_line, fit_partial, mean};
use crate::trace::{Trace, Window};

/// Together load and time must explain so much of memory before the load's part is taken out of it.
const EXPLAINED_MIN: f64 = 0.9;

/// And of what time alone leaves unexplained, the load so much: else there is no load's part to be taken out.
const OF_LOAD_MIN: f64 = 0.5;

/// How probable the steps of what is left may be by chance: memory of which load and time explain so much has hardly
/// anything that could walk.
const CHANCE_BESIDE_LOAD: f64 = 1e-4;

/// In buckets longer than this the swing of a day is not seen.
const SWING_SEEN_S: f64 = 3_600.0;

/// Memory follows a load within this time: users end, and a collection comes.
const NO_LAG_S: f64 = 900.0;

/// What the load channels say of a growth.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum LoadSays {
    /// There are none.
    Absent,
    /// There are some, and the growth goes on without them.
    Unrelated,
    /// Memory follows one that has risen and fallen.
    Explains(Follows),
    /// Memory follows one that has risen and fallen many times, and grows all the same when that is taken out.
    Beyond { follows: Follows, swing_s: f64 },
    /// One rose together with memory and has not yet fallen, so it cannot be told which it is.
    RoseToo { share: f64 },
}

/// Which load memory follows, and how well.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Follows {
    pub(crate) r2: f64,
    /// Which of the loads, counted from 0.
    pub(crate) load: usize,
}

/// How well memory follows the best of `loads` over all its points.
pub(crate) fn follows(points: &Trace, loads: &[Trace], period_s: f64) -> Option<Followed> {
    let points = points.fine(SWING_SEEN_S);
    let begin = points.times.first().copied()?;
    let loads: Vec<Points> = loads
        .iter()
        .map(|load| since(load, begin, period_s))
        .collect();
    let all = all_followed(&points, &loads, period_s).into_iter();
    all.max_by(|a, b| a.follows.r2.total_cmp(&b.follows.r2))
}

/// The growth that is left of memory when the load is taken out that, together with time, explains it best; and
/// what was taken out.
///
/// The finer the grain the shorter it reaches back, and the coarser the longer a swing must be to be seen in it: so
/// one after the other is looked at.
pub(crate) fn beyond(
    points: &Trace,
    loads: &[Trace],
    period_s: f64,
    demands: &Demands,
) -> Option<(Stretch, LoadSays)> {
    let mut widths = points.widths().take_while(|width| *width <= SWING_SEEN_S);
    widths.find_map(|width| {
        // Both at one grain: a finer tier of the load that does not reach back as far would leave its swings there
        // to a coarser one, which does not have them.
        let loads: Vec<Points> = loads.iter().map(|load| load.grain(width)).collect();
        beyond_at(&points.grain(width), &loads, period_s, demands)
    })
}

/// The same, at one grain.
fn beyond_at(
    points: &Points,
    loads: &[Points],
    period_s: f64,
    demands: &Demands,
) -> Option<(Stretch, LoadSays)> {
    let demands = &Demands {
        chance: CHANCE_BESIDE_LOAD,
        ..*demands
    };
    let explains = |followed: Followed| Some((followed.explained()?, followed));
    let (fit, followed) = all_followed(points, loads, period_s)
        .into_iter()
        .filter(|followed| followed.fell)
        .filter_map(explains)
        .max_by(|a, b| a.0.r2.total_cmp(&b.0.r2))?;
    let (swing_s, stretch) = followed.beyond(&fit, demands)?;
    let follows = followed.follows;
    Some((stretch, LoadSays::Beyond { follows, swing_s }))
}

/// All loads that memory follows somehow.
///
/// The load is averaged over several spans before each point: memory answers with the delay of
/// its users and of the next collection, and a rate over one period is noisy.
fn all_followed(points: &Points, loads: &[Points], period_s: f64) -> Vec<Followed> {
    if points.len() < 6 {
        return Vec::new();
    }
    let averaged = loads.iter().enumerate().flat_map(|(place, load)| {
        let variants = averaged_variants(load, &points.times, period_s).into_iter();
        variants.map(move |load| (place, load))
    });
    let followed = averaged.filter_map(|(place, load)| {
        let r = correlation(&load, &points.values)?;
        let series = Points {
            times: points.times.clone(),
            values: load,
        };
        let (least, greatest) = series.range()?;
        let swings = greatest - least > 0.2 * greatest.abs().max(least.abs());
        (r > 0.0 && swings).then_some(Followed {
            follows: Follows {
                r2: r * r,
                load: place,
            },
            fell: falls(&series),
            load: series,
            memory: points.values.clone(),
        })
    });
    followed.collect()
}

/// A load that memory follows.
pub(crate) struct Followed {
    pub(crate) follows: Follows,
    /// It has come down by at least a third of its range: then it can be seen whether memory does.
    pub(crate) fell: bool,
    load: Points,
    memory: Vec<f64>,
}

impl Followed {
    /// How load and time together explain the memory, where they do.
    fn explained(&self) -> Option<Partial> {
        let times = &self.load.times;
        let fit = fit_partial(times, &self.load.values, &self.memory)?;
        let of_time = correlation(times, &self.memory)?.powi(2);
        let of_load = (fit.r2 - of_time) / (1.0 - of_time);
        let explained = fit.r2 >= EXPLAINED_MIN && of_load >= OF_LOAD_MIN;
        (explained && fit.per_second > 0.0 && fit.per_load > 0.0).then_some(fit)
    }

    /// The growth that is left when the load's part by `fit` is taken out: a leak below days of more and less load;
    /// and how long such a day is. Each point is the mean over a whole swing of the load, so that it does not matter
    /// how memory lags behind it.
    fn beyond(&self, fit: &Partial, demands: &Demands) -> Option<(f64, Stretch)> {
        let Points { times, values } = &self.load;
        let level = mean(values);
        let rises = rises(&self.load);
        let swing_of = |count: usize| {
            let (first, last) = (*rises.first()?, *rises.last()?);
            Some((times[last] - times[first]) / count as f64)
        };
        let gap = self.load.span() / (times.len() - 1) as f64;
        if gap >= NO_LAG_S {
            // In buckets as long as these memory lags behind by nothing.
            let swing_s = swing_of(rises.len().checked_sub(1).filter(|swings| *swings > 0)?)?;
            let mut rest = Points::default();
            for ((time, load), memory) in times.iter().zip(values).zip(&self.memory) {
                rest.push(*time, memory - fit.per_load * (load - level));
            }
            return Some((swing_s, scan(&rest, demands).leak?));
        }
        let mut rest = Points::default();
        for swing in rises.windows(2) {
            let (from, to) = (swing[0], swing[1]);
            let of_load = fit.per_load * (mean(&values[from..to]) - level);
            rest.push(
                mean(&times[from..to]),
                mean(&self.memory[from..to]) - of_load,
            );
        }
        Some((swing_of(rest.len().max(1))?, scan(&rest, demands).leak?))
    }
}

/// Where a load has risen through the middle of its range, after it was in the lower third and before it was in the
/// upper one. Its range leaves out the least and the greatest twentieth: after a reading that came late, a rate is
/// higher for once than it ever is.
fn rises(load: &Points) -> Vec<usize> {
    let mut sorted = load.values.clone();
    sorted.sort_by(f64::total_cmp);
    let at = |part: f64| sorted.get((part * sorted.len() as f64) as usize).copied();
    let Some((least, greatest)) = at(0.05).zip(at(0.95)).filter(|(low, high)| low < high) else {
        return Vec::new();
    };
    let (mut through, mut found) = (None, Vec::new());
    for (at, value) in load.values.iter().enumerate() {
        let height = (value - least) / (greatest - least);
        if height < 1.0 / 3.0 {
            through = Some(at);
        } else if height < 0.5 {
            // Still below the middle, if it comes from below.
            through = through.map(|_| at);
        } else if height > 2.0 / 3.0 {
            found.extend(through.take());
        }
    }
    found
}

/// Whether the growth of `stretch` is the load's.
pub(crate) fn weigh(points: &Trace, stretch: &Stretch, loads: &[Trace], period_s: f64) -> LoadSays {
    if loads.is_empty() {
        return LoadSays::Absent;
    }
    if let Some(followed) = follows(points, loads, period_s)
        && followed.follows.r2 >= 0.7
        && followed.fell
    {
        // What grows at constant load? If nearly all of it, load is not the reason.
        let left = fit_partial(
            &followed.load.times,
            &followed.load.values,
            &followed.memory,
        );
        if left.is_none_or(|left| left.interval(0.95).0 < 0.5 * stretch.line.slope) {
            return LoadSays::Explains(followed.follows);
        }
    }
    let within = points
        .between(stretch.from, stretch.to)
        .thinned(120, Thin::Median);
    let share = loads
        .iter()
        .filter_map(|load| rose_with(&within, load, period_s))
        .max_by(f64::total_cmp);
    match share {
        Some(share) => LoadSays::RoseToo { share },
        None => LoadSays::Unrelated,
    }
}

/// By which part of its level `load` rose together with memory; `None` if it did not, or if it is
/// a stock (it only piles up, in a line: the leak's own count, not a load).
fn rose_with(memory: &Points, load: &Trace, period_s: f64) -> Option<f64> {
    let recent = since(load, memory.first()?.0, period_s);
    averaged_variants(&recent, &memory.times, period_s)
        .into_iter()
        .filter_map(|values| {
            let rise = |values: &[f64]| {
                let line = fit_line(&memory.times, values)?;
                let start = line.intercept + line.slope * memory.first()?.0;
                Some((line, line.slope * memory.span() / start.abs().max(1e-9)))
            };
            let (line, share) = rise(&values)?;
            // Half as much as memory rose, each of its own level: memory that a load needs grows hardly more than in
            // proportion to it. At least what noise does not do; and a load that rose by half always counts, since of a
            // level near nothing the part is not known well.
            let enough = (0.5 * rise(&memory.values)?.1).clamp(0.05, 0.5);
            let together = correlation(&values, &memory.values)? >= 0.7;
            let stock = line.r2 > 0.995 && !wavers(load, period_s);
            // Of few points in a line no p-value is small.
            let rises = line.p_value() < 1e-3 || line.r2 > 0.9;
            (share >= enough && rises && together && !stock).then_some(share)
        })
        .max_by(f64::total_cmp)
}

/// Whether its samples, not averaged, go down again and again, as a load does, but a stock does not.
fn wavers(load: &Trace, period_s: f64) -> bool {
    let samples = load.fine(period_s);
    let steps = samples.values.windows(2).map(|pair| pair[1] - pair[0]);
    let (mut down, mut moved) = (0, 0);
    for step in steps.filter(|step| *step != 0.0) {
        moved += 1;
        down += u32::from(step < 0.0);
    }
    f64::from(down) > DOWN_SHARE * f64::from(moved)
}

fn falls(series: &Points) -> bool {
    let Some((least, greatest)) = series.range() else {
        return false;
    };
    let mut peak = f64::MIN;
    series.values.iter().any(|&value| {
        peak = peak.max(value);
        peak - value > (greatest - least) / 3.0
    })
}

/// More of its moves than this go down in a load.
const DOWN_SHARE: f64 = 0.2;

/// Periods that a load is averaged over.
const SPANS: [f64; 4] = [2.0, 6.0, 15.0, 30.0];

/// As much of `load` as the means before points from `begin` on are made of.
fn since(load: &Trace, begin: f64, period_s: f64) -> Points {
    load.between(begin - SPANS[3] * period_s, f64::MAX)
}

/// `load` averaged over so many periods before each of `times`.
fn averaged_variants(load: &Points, times: &[f64], period_s: f64) -> Vec<Vec<f64>> {
    if load.len() < 6 {
        return Vec::new();
    }
    let mut sums = Vec::with_capacity(load.len() + 1);
    sums.push(0.0);
    for (i, value) in load.values.iter().enumerate() {
        sums.push(sums[i] + value);
    }
    let gap = load.span() / (load.len() - 1) as f64;
    let spans = SPANS.iter().map(|spans| spans * period_s);
    // Of those that are shorter than the load's own gaps one is enough.
    let shorter = spans.clone().filter(|span| *span <= gap).count();
    spans
        .skip(shorter.saturating_sub(1))
        .map(|span| means_before(times, span, &load.times, &sums))
        .collect()
}

/// The mean over the `span` before each of `times`, which increase, of what has these `sums` up to each of `of`.
fn means_before(times: &[f64], span: f64, of: &[f64], sums: &[f64]) -> Vec<f64> {
    let (mut start, mut end) = (0, 0);
    let mean_before = |&time: &f64| {
        while end < of.len() && of[end] <= time {
            end += 1;
        }
        while start < of.len() && of[start] <= time - span {
            start += 1;
        }
        let end = end.max(1);
        let start = start.min(end - 1);
        (sums[end] - sums[start]) / (end - start) as f64
    };
    times.iter().map(mean_before).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::{Detail, Keep};

    fn points(value: impl Fn(f64) -> f64) -> Points {
        let mut points = Points::default();
        for t in 0..240 {
            points.push(f64::from(t), value(f64::from(t)));
        }
        points
    }

    fn series(value: impl Fn(f64) -> f64) -> Trace {
        lasting(240, value)
    }

    fn lasting(seconds: u32, value: impl Fn(f64) -> f64) -> Trace {
        let mut trace = Trace::new(Keep::Mean, Detail::Full, 1.0);
        for t in 0..seconds {
            trace.push(f64::from(t), value(f64::from(t)));
        }
        trace
    }

    #[test]
    fn memory_behind_a_wave_follows_it() {
        let load = series(|t| 10.0 + 5.0 * (t / 10.0).sin());
        let memory = series(|t| 100.0 + 60.0 * ((t - 3.0) / 10.0).sin());
        let followed = follows(&memory, std::slice::from_ref(&load), 1.0).unwrap();
        assert!(
            followed.follows.r2 > 0.95 && followed.fell,
            "{:?}",
            followed.follows
        );
        let leak = series(|t| t);
        assert!(follows(&leak, &[load], 1.0).is_none_or(|followed| followed.follows.r2 < 0.3));
        assert!(follows(&leak, &[], 1.0).is_none());
    }

    #[test]
    fn a_load_explains_growth_in_proportion_to_its_own() {
        let load = series(|t| 100.0 + 30.0 * t / 240.0 + 3.0 * noise(t));
        for (grown, is_explained) in [(0.2, true), (0.5, true), (1.0, false), (3.0, false)] {
            let memory = points(|t| 1e8 * (1.0 + grown * t / 240.0));
            let share = rose_with(&memory, &load, 1.0);
            assert_eq!(share.is_some(), is_explained, "{grown}: {share:?}");
        }
    }

    /// A swing of half a minute.
    fn wave(t: f64) -> f64 {
        (t / 30.0 * std::f64::consts::TAU).sin()
    }

    fn noise(t: f64) -> f64 {
        (t * 7.31).sin() * (t * 1.7).cos()
    }

    fn demands(started: f64) -> Demands {
        Demands {
            seconds: 105.0,
            points: 5,
            material: 8e6,
            material_share: 0.02,
            started: Some(started),
            chance: crate::growth::CHANCE,
        }
    }

    /// A wave of the load with the period of 30 s, and `per_second` beside it.
    fn below_a_wave(per_second: f64) -> Option<Stretch> {
        let load = series(|t| 40.0 + 20.0 * wave(t) + noise(t));
        let memory = series(|t| 1e8 + 2e7 * wave(t - 2.0) + 1e6 * noise(t + 0.5) + per_second * t);
        // Beside one that says nothing.
        let loads = [series(|t| 5.0 + noise(3.0 * t)), load];
        let demands = demands(-1000.0);
        let (stretch, load) = beyond(&memory, &loads, 1.0, &demands)?;
        let LoadSays::Beyond { follows, swing_s } = load else {
            panic!("{load:?}");
        };
        assert!(follows.load == 1, "{follows:?}");
        assert!((swing_s - 30.0).abs() < 1.0, "{swing_s}");
        Some(stretch)
    }

    #[test]
    fn a_leak_below_a_wave_is_left_when_the_wave_is_taken_out() {
        let stretch = below_a_wave(6e4).unwrap();
        let (low, high) = stretch.line.interval(0.95);
        assert!((low..=high).contains(&6e4), "{low} to {high}");
        assert!(below_a_wave(0.0).is_none());
        assert!(below_a_wave(-6e4).is_none());
    }

    /// The swing of half a minute is seen in buckets of some seconds only, which must reach back far enough.
    #[test]
    fn a_slow_leak_below_short_swings_is_told_of_a_longer_life() {
        let told = |seconds: u32, mib_a_minute: f64| {
            let pace = mib_a_minute * 1_048_576.0 / 60.0;
            let load = lasting(seconds, |t| 40.0 + 20.0 * wave(t) + noise(t));
            let memory = lasting(seconds, |t| {
                1e8 + 1e7 * wave(t - 2.0) + 5e5 * noise(t + 0.5) + pace * t
            });
            let demands = demands(-60.0);
            beyond(&memory, &[load], 1.0, &demands).map(|(stretch, _)| stretch.line.slope / pace)
        };
        for seconds in [330, 390, 450, 600] {
            let slope = told(seconds, 2.2).unwrap_or_default();
            assert!((0.9..1.1).contains(&slope), "{slope} after {seconds} s");
        }
        assert_eq!(told(600, 0.0), None);
    }

    /// As a live service shows it: what lives is known when a collection ends, each some seconds, and a swing is not
    /// like the one before. Load and memory have to be looked at in buckets of the same width, or the swings of the
    /// load are lost for the older part of the life.
    #[test]
    fn a_slow_leak_below_short_swings_is_told_of_rare_and_rough_marks() {
        let told = |mib_a_minute: f64, seed: f64| {
            let pace = mib_a_minute * 1_048_576.0 / 60.0;
            let load = lasting(450, |t| 20.0 - 18.0 * wave(t) + noise(t + seed));
            let mut memory = Trace::new(Keep::Min, Detail::Full, 1.0);
            for t in (0..450).filter(|t| t % 3 != 1) {
                let t = f64::from(t);
                let rough = 1.0 + 0.05 * noise((t / 30.0).floor() + seed);
                let swings = 2.2e7 * rough * -wave(t - 2.0) + 1.5e6 * noise(t + 0.5 + seed);
                memory.push(t, 5e7 + swings + pace * t);
            }
            let demands = demands(-1.0);
            let found = beyond(&memory, &[load], 1.0, &demands)?;
            Some(found.0.line.slope / pace)
        };
        for seed in 0..10 {
            let slope = told(2.2, f64::from(seed)).unwrap_or_default();
            assert!((0.7..1.3).contains(&slope), "{slope}, seed {seed}");
            assert_eq!(told(0.0, f64::from(seed)), None, "seed {seed}");
        }
    }

    #[test]
    fn a_load_rises_once_a_swing() {
        let load = points(|t| (t / 10.0 * std::f64::consts::TAU).sin() + 0.3 * (t * 2.9).sin());
        // The first began before it was seen.
        assert_eq!(rises(&load).len(), 23);
        let mut late = load;
        late.values[22] = 9.0;
        assert_eq!(rises(&late).len(), 23, "a reading came late once");
        assert_eq!(rises(&points(|_| 1.0)), Vec::<usize>::new());
    }
}
