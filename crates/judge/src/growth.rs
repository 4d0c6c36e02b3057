//! Is there a stretch, up to now, in which this grows as a leak grows: steadily, for long enough,
//! by enough, to where it has not been before?
//!
//! A leak has no reason to slow down; a cache that fills, a warm-up and the rise of a wave have.
//! Over a short time they cannot be told apart, so the shorter the stretch the straighter it must
//! be: see [`evenness_needed`].

use crate::points::{Points, Thin};
use crate::stats::{self, Line, fit_hinge, fit_line, fit_line_sparse, fit_saturating};
use crate::trace::Window;

/// What a channel must show before its growth counts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Demands {
    /// Seconds that growth must have lasted.
    pub(crate) seconds: f64,
    /// Points that it must show.
    pub(crate) points: usize,
    /// Least growth that counts, in the channel's unit.
    pub(crate) material: f64,
    /// Least growth that counts, as a part of the level before it.
    pub(crate) material_share: f64,
    /// Seconds since the window's start at which the process started, if known.
    pub(crate) started: Option<f64>,
    /// The most probable that its steps may be by chance, where nothing is known of the time before.
    pub(crate) chance: f64,
}

/// Usually so much: there are many channels, looks and stretches, in each of which chance has another try.
pub(crate) const CHANCE: f64 = 1e-5;

impl Demands {
    /// A growth that begins before the process has been alive for so long may be its warm-up.
    fn warm_up_seconds(&self) -> f64 {
        0.4 * self.seconds
    }

    pub(crate) fn material_over(&self, level: f64) -> f64 {
        self.material.max(self.material_share * level.abs())
    }
}

/// A stretch of growth up to the last point.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Stretch {
    /// When the growth began: where the bend is, or where the stretch begins.
    pub(crate) onset: f64,
    pub(crate) from: f64,
    pub(crate) to: f64,
    /// Points in it.
    pub(crate) points: usize,
    /// Its line; the error corrected for autocorrelation.
    pub(crate) line: Line,
    /// Growth along the line over the stretch.
    pub(crate) rise: f64,
    /// Level where it began.
    pub(crate) base: f64,
    /// Least quarter's slope over the greatest's: 1 is a straight line.
    pub(crate) evenness: f64,
    /// The last quarter's slope over the greatest's.
    pub(crate) last_quarter: f64,
    /// The probability of increments as regular as these under a random walk without drift.
    pub(crate) walk_p: f64,
    /// The rise over what a walk with the steps seen before the stretch would make of the same
    /// time (one standard deviation); `None` if too little was seen before.
    pub(crate) outruns: Option<f64>,
    /// Kendall's tau of the blocks.
    pub(crate) tau: f64,
    /// Began when the process did, or before anything was seen of it.
    pub(crate) from_birth: bool,
}

impl Stretch {
    pub(crate) fn seconds(&self) -> f64 {
        self.to - self.from
    }
}

/// Why a stretch is not a leak's.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Miss {
    /// Too few points, seconds or bytes: wait for so many seconds more.
    Short { wait_s: f64 },
    /// It does not rise, or not by enough to be told from chance.
    Flat,
    /// It slows down as a fill does; the time constant where the curve tells it.
    Slowing { tau_s: f64 },
    /// It rises, but by fits and starts.
    Uneven,
    /// It has been up there before and came down.
    BeenThere,
}

/// What a look at a channel found.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Scan {
    /// The longest stretch that passes.
    pub(crate) leak: Option<Stretch>,
    /// Else the stretch that came nearest, and what it lacks.
    pub(crate) miss: Option<(Stretch, Miss)>,
}

/// What has not risen from its first to its last sample by this part of the least that counts is not looked at.
const LEAST_RISE: f64 = 0.25;

/// Points that a stretch is thinned to before it is weighed.
const POINTS_MAX: usize = 240;

/// Looks for the longest stretch up to the last point that grows as a leak does. Tries lengths
/// from the whole down to the shortest that could count, each an eighth shorter.
pub(crate) fn scan(points: &impl Window, demands: &Demands) -> Scan {
    let mut nearest: Option<(Stretch, Miss)> = None;
    let Some((end, _)) = points.last() else {
        return Scan {
            leak: None,
            miss: None,
        };
    };
    let mut length = points.span();
    let least_rise = LEAST_RISE * demands.material;
    loop {
        let from = points.value_at(end - length);
        let rises = from.is_none_or(|from| {
            points
                .last()
                .is_some_and(|(_, now)| now - from > least_rise)
        });
        if rises && let Some(stretch) = weigh(points, end - length, demands) {
            let miss = check(points, &stretch, demands);
            match miss {
                None => {
                    let leak = refine(points, stretch, demands);
                    return Scan {
                        leak: Some(leak),
                        miss: None,
                    };
                }
                Some(miss) => {
                    let better = nearest
                        .as_ref()
                        .is_none_or(|(_, other)| rank(miss) > rank(*other));
                    if better {
                        nearest = Some((stretch, miss));
                    }
                }
            }
        }
        length *= 0.88;
        if length < demands.seconds * 0.25 {
            return Scan {
                leak: None,
                miss: nearest,
            };
        }
    }
}

/// How near to a leak a miss is.
fn rank(miss: Miss) -> u8 {
    match miss {
        Miss::Flat => 0,
        Miss::Uneven => 1,
        Miss::Short { .. } => 2,
        Miss::Slowing { .. } => 3,
        Miss::BeenThere => 4,
    }
}

/// The figures of the stretch from `from` to the last point; `None` where there are too few.
pub(crate) fn weigh(points: &impl Window, from: f64, demands: &Demands) -> Option<Stretch> {
    let (to, _) = points.last()?;
    let raw = points.between(from, to);
    let samples = raw.len() as f64 * points.samples_each(from);
    if raw.len() < 6 {
        return None;
    }
    let thin = raw.thinned(POINTS_MAX, Thin::Median);
    let line = fit_line(&thin.times, &thin.values).filter(|line| line.slope > 0.0)?;
    let (from, _) = raw.first()?;
    let quarters = quarter_slopes(&thin)?;
    let greatest = quarters.iter().copied().fold(f64::MIN, f64::max);
    let least = quarters.iter().copied().fold(f64::MAX, f64::min);
    let over = |slope: f64| {
        if greatest > 0.0 {
            slope / greatest
        } else {
            0.0
        }
    };
    let blocks = blocks(
        &thin,
        if to - from >= 2.0 * demands.seconds {
            13
        } else {
            8
        },
    );
    let single = thin.len() < 2 * blocks.len();
    let walk_p = walk_p(&blocks, single);
    let rise = line.slope * (to - from);
    let outruns = step_before(points, from, (to - from) / blocks.len() as f64)
        .map(|step| (rise / (step * (blocks.len() as f64).sqrt()).max(1e-9)).min(1000.0));
    let tau = stats::mann_kendall(&blocks.times, &blocks.values).map_or(0.0, |mk| mk.tau);
    let base = line.intercept + line.slope * from;
    let from_birth = match demands.started {
        Some(started) => from - started < demands.warm_up_seconds(),
        None => from < demands.warm_up_seconds(),
    };
    Some(Stretch {
        onset: from,
        from,
        to,
        points: samples as usize,
        line,
        rise,
        base,
        evenness: over(least),
        last_quarter: over(quarters[3]),
        walk_p,
        outruns,
        tau,
        from_birth,
    })
}

/// Slopes of the four quarters of the time, each with its neighbours' nearest points so that
/// rare points give a slope too.
fn quarter_slopes(points: &Points) -> Option<[f64; 4]> {
    let (start, _) = points.first()?;
    let quarter = points.span() / 4.0;
    let mut slopes = [0.0; 4];
    for (i, slope) in slopes.iter_mut().enumerate() {
        let from = start + quarter * i as f64;
        let mut first = points.times.partition_point(|&t| t < from);
        let mut end = points.times.partition_point(|&t| t <= from + quarter);
        if end - first < 5 {
            first = first.saturating_sub(1);
            end = (end + 1).min(points.len());
        }
        let (times, values) = (&points.times[first..end], &points.values[first..end]);
        *slope = match (times, values) {
            ([t0, t1], [y0, y1]) => (y1 - y0) / (t1 - t0),
            _ => fit_line_sparse(times, values)?.slope,
        };
    }
    Some(slopes)
}

/// At most `count` medians of equally many points each.
fn blocks(points: &Points, count: usize) -> Points {
    let n = points.len();
    let count = count.min(n);
    let mut blocks = Points::default();
    for i in 0..count {
        let (from, to) = (n * i / count, n * (i + 1) / count);
        let part = Points {
            times: points.times[from..to].to_vec(),
            values: points.values[from..to].to_vec(),
        };
        let one = part.in_groups_of(part.len(), Thin::Median);
        if let Some((time, value)) = one.first() {
            blocks.push(time, value);
        }
    }
    blocks
}

/// One-sided probability of the blocks' increments per second by Student's t. Under a random
/// walk the increments are independent with mean zero, however strong the walk's trend looks to
/// least squares.
///
/// Of single points noise is not averaged out. What it adds to one increment it takes from the next, which no walk
/// does: so the variance is that of their sum then, by the covariance of neighbours with Bartlett's weight (W. Newey,
/// K. West (1987), Econometrica 55:703–708).
fn walk_p(blocks: &Points, single: bool) -> f64 {
    use statrs::distribution::{ContinuousCDF, StudentsT};
    let steps: Vec<f64> = (1..blocks.len())
        .map(|i| {
            (blocks.values[i] - blocks.values[i - 1]) / (blocks.times[i] - blocks.times[i - 1])
        })
        .collect();
    let n = steps.len() as f64;
    if steps.len() < 3 {
        return 1.0;
    }
    let mean = stats::mean(&steps);
    let products = |lag: usize| {
        let pairs = steps.iter().zip(&steps[lag..]);
        pairs.map(|(a, b)| (a - mean) * (b - mean)).sum::<f64>()
    };
    let taken_back = if single {
        products(1).clamp(-0.5 * products(0), 0.0)
    } else {
        0.0
    };
    let variance = (products(0) + taken_back) / (n - 1.0);
    let t = if variance > 0.0 {
        (mean / (variance / n).sqrt()).min(1000.0)
    } else if mean > 0.0 {
        1000.0
    } else {
        0.0
    };
    StudentsT::new(0.0, 1.0, n - 1.0).map_or(1.0, |student| student.sf(t))
}

/// How even a growth of `times` the least duration must be. The first entries keep the rise of
/// a slow wave out, whose quarters are at best 0.70 even over 0.7 of its rise, 0.55 over 0.87 and
/// 0.41 over the whole; the last let a slow leak through that load makes bumpy.
pub(crate) fn evenness_needed(times: f64) -> f64 {
    const TABLE: [(f64, f64); 6] = [
        (1.0, 0.78),
        (1.25, 0.66),
        (1.45, 0.55),
        (2.0, 0.50),
        (6.0, 0.35),
        (12.0, 0.25),
    ];
    let next = TABLE.partition_point(|&(at, _)| at < times);
    match (next.checked_sub(1).map(|i| TABLE[i]), TABLE.get(next)) {
        (None, _) => TABLE[0].1,
        (Some((_, last)), None) => last,
        (Some((t0, y0)), Some(&(t1, y1))) => y0 + (y1 - y0) * (times - t0) / (t1 - t0),
    }
}

/// A growth from birth must last so much longer: there is no level before it to compare with.
const FROM_BIRTH: f64 = 1.2;

/// What the stretch lacks; `None` if it passes.
fn check(points: &impl Window, stretch: &Stretch, demands: &Demands) -> Option<Miss> {
    let times = stretch.seconds() / demands.seconds;
    let needed = if stretch.from_birth { FROM_BIRTH } else { 1.0 };
    let material = demands.material_over(stretch.base);
    if stretch.line.slope <= 0.0 || stretch.line.p_value() >= 0.05 || stretch.tau < 0.3 {
        return Some(Miss::Flat);
    }
    let long = times >= needed && stretch.points >= demands.points;
    if !long || stretch.rise < material {
        if stretch.rise < 0.5 * material {
            return Some(Miss::Flat);
        }
        if stretch.last_quarter < 0.35 {
            return Some(Miss::Slowing {
                tau_s: stretch.seconds() / 2.0,
            });
        }
        let time_lacks = (needed - times).max(0.0) * demands.seconds;
        let points_lack = (demands.points.saturating_sub(stretch.points)) as f64
            * stretch.seconds()
            / stretch.points as f64;
        let rise_lacks = (material / stretch.rise - 1.0).max(0.0) * stretch.seconds();
        let wait_s = time_lacks.max(points_lack).max(rise_lacks);
        return Some(Miss::Short { wait_s });
    }
    if let Some(tau_s) = slows(points, stretch) {
        return Some(Miss::Slowing { tau_s });
    }
    let accelerating = times >= 2.5 && stretch.last_quarter >= 0.85 && stretch.evenness > 0.0;
    let even = stretch.evenness >= evenness_needed(times);
    if !(even || accelerating) || stretch.tau < 0.8 || !beats_walk(stretch, demands) {
        let slowing = stretch.last_quarter < 0.6 * evenness_needed(times);
        return Some(if slowing {
            Miss::Slowing {
                tau_s: stretch.seconds() / 2.0,
            }
        } else {
            Miss::Uneven
        });
    }
    if been_there(points, stretch, material) {
        return Some(Miss::BeenThere);
    }
    None
}

/// Whether a random walk is ruled out: by steps of a regularity that chance does not have, or by
/// less of it after a time that was quiet beside this growth.
fn beats_walk(stretch: &Stretch, demands: &Demands) -> bool {
    match stretch.outruns {
        Some(outruns) if outruns < 5.0 => false,
        Some(outruns) if outruns >= 10.0 => stretch.walk_p <= 1e-3,
        _ => stretch.walk_p <= demands.chance,
    }
}

/// The standard deviation of a step of `seconds` before `from`, from the median of the steps'
/// sizes, so that one ramp does not count; `None` below three steps.
fn step_before(points: &impl Window, from: f64, seconds: f64) -> Option<f64> {
    let before = points.between(from - 60.0 * seconds, from);
    let mut levels = Vec::new();
    let (mut start, mut next) = (0, before.first()?.0 + seconds);
    for (i, &time) in before.times.iter().enumerate() {
        if time >= next {
            levels.extend(stats::median(&mut before.values[start..i].to_vec()));
            start = i;
            next = time + seconds;
        }
    }
    let mut sizes: Vec<f64> = levels
        .windows(2)
        .map(|pair| (pair[1] - pair[0]).abs())
        .collect();
    if sizes.len() < 3 {
        return None;
    }
    // For a normal distribution the median size is 0.6745 standard deviations.
    stats::median(&mut sizes).map(|size| size / 0.6745)
}

/// The time constant of a fill, if the stretch is better described by one than by a line, or if
/// the growth was clearly faster just before it.
fn slows(points: &impl Window, stretch: &Stretch) -> Option<f64> {
    let seconds = stretch.seconds();
    let thin = points
        .between(stretch.from, stretch.to)
        .thinned(POINTS_MAX / 2, Thin::Median);
    let line = fit_line_sparse(&thin.times, &thin.values)?;
    if let Some(fill) = fit_saturating(&thin.times, &thin.values)
        && fill.amplitude > 0.0
        && fill.tau < 1.5 * seconds
        && fill.residual_sum < 0.6 * line.residual_sum
    {
        return Some(fill.tau);
    }
    let before = points
        .between(stretch.from - seconds, stretch.from)
        .thinned(POINTS_MAX / 2, Thin::Median);
    let line_before = fit_line(&before.times, &before.values)?;
    let faster = line_before.interval(0.95).0 > stretch.line.slope / 0.8;
    (before.span() > seconds / 3.0 && faster).then_some(seconds)
}

/// Whether memory was as high before the stretch, for long, and came down by itself.
fn been_there(points: &impl Window, stretch: &Stretch, material: f64) -> bool {
    let before = points.between(0.0, stretch.from);
    let smooth = before.in_groups_of(3, Thin::Median);
    let Some((_, peak)) = smooth.range() else {
        return false;
    };
    let now = stretch.base + stretch.rise;
    if now >= peak + material.max(0.3 * stretch.rise) {
        return false;
    }
    let middle = stretch.base + stretch.rise / 2.0;
    let above: f64 = (1..before.len())
        .filter(|&i| before.values[i] > middle)
        .map(|i| before.times[i] - before.times[i - 1])
        .sum();
    stretch.seconds() < 3.0 * above
}

/// Finds where the growth bends off from the level before it, if the stretch has points before it,
/// and takes the figures from there if they still pass.
fn refine(points: &impl Window, stretch: Stretch, demands: &Demands) -> Stretch {
    let around = points
        .between(stretch.from - stretch.seconds(), stretch.to)
        .thinned(POINTS_MAX, Thin::Median);
    let Some(hinge) = fit_hinge(&around.times, &around.values) else {
        return stretch;
    };
    let bends = hinge.before < 0.5 * hinge.after;
    let near = hinge.at > stretch.from - 0.3 * stretch.seconds()
        && stretch.to - hinge.at >= 0.7 * stretch.seconds();
    if !(bends && near) {
        return stretch;
    }
    let passes = |refined: &Stretch| {
        let needed = evenness_needed(refined.seconds() / demands.seconds);
        refined.evenness >= needed && beats_walk(refined, demands)
    };
    match weigh(points, hinge.at, demands) {
        Some(refined) if passes(&refined) => refined,
        _ => Stretch {
            onset: hinge.at,
            ..stretch
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: f64 = 1_048_576.0;

    fn demands(started: f64) -> Demands {
        Demands {
            seconds: 105.0,
            points: 30,
            material: 8.0 * MIB,
            material_share: 0.02,
            started: Some(started),
            chance: CHANCE,
        }
    }

    fn series(seconds: u32, value: impl Fn(f64) -> f64) -> Points {
        let mut points = Points::default();
        for t in 0..seconds {
            let t = f64::from(t);
            // Small noise that repeats from run to run.
            points.push(t, value(t) * MIB + (t * 12.9898).sin() * 0.3 * MIB);
        }
        points
    }

    #[test]
    fn shapes() {
        let passes = |points: &Points, started| scan(points, &demands(started)).leak.is_some();
        let old = -1000.0;
        let line = |t: f64| 50.0 + (t - 60.0).max(0.0);
        assert!(
            !passes(&series(150, line), old),
            "90 s of growth are too few"
        );
        assert!(passes(&series(180, line), old), "120 s are enough");
        assert!(
            !passes(&series(115, |t| t), 0.0),
            "from birth more is needed"
        );
        assert!(passes(&series(140, |t| t), 0.0));
        let fill = |t: f64| 96.0 * (1.0 - (-t / 25.0).exp());
        for seconds in (20..400).step_by(5) {
            assert!(!passes(&series(seconds, fill), 0.0), "fill at {seconds} s");
        }
        let step = |t: f64| if t > 100.0 { 150.0 } else { 50.0 };
        assert!(!passes(&series(200, step), old));
        assert!(!passes(&series(300, |_| 50.0), old));
    }

    #[test]
    fn the_onset_is_found() {
        let points = series(240, |t| 50.0 + (t - 90.0).max(0.0));
        let leak = scan(&points, &demands(-1000.0)).leak.unwrap();
        assert!((leak.from - 90.0).abs() < 8.0, "{}", leak.from);
        assert!((leak.line.slope / MIB - 1.0).abs() < 0.02);
        let (low, high) = leak.line.interval(0.95);
        assert!(low < leak.line.slope && leak.line.slope < high);
    }

    #[test]
    fn evenness_falls_with_time() {
        assert_eq!(evenness_needed(0.5), 0.78);
        assert_eq!(evenness_needed(100.0), 0.25);
        assert!((evenness_needed(1.125) - 0.72).abs() < 1e-9);
    }
}
