//! Slopes and trends that a few wild samples do not move.

use statrs::distribution::{ContinuousCDF, Normal};

/// Up to this many points [`theil_sen_slope`] looks at every pair.
pub const POINTS_EXACT: usize = 1500;

/// The median; reorders `values`. `None` if there are none.
#[must_use]
pub fn median(values: &mut [f64]) -> Option<f64> {
    let n = values.len();
    if n == 0 {
        return None;
    }
    let (below, middle, _) = values.select_nth_unstable_by(n / 2, f64::total_cmp);
    let middle = *middle;
    if n % 2 == 1 {
        return Some(middle);
    }
    let lower = below.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    Some(lower + (middle - lower) / 2.0)
}

/// Theil–Sen slope: the median of the slopes between all pairs of samples, in units per second.
///
/// Holds up to 29 % outliers, so one garbage-collection tooth does not move it; a step in the
/// middle does. Exact to [`POINTS_EXACT`] points in O(n²); above, medians of neighbouring points
/// are taken first, down to that number. `None` below 2 points.
///
/// Source: P. K. Sen (1968), J. Amer. Stat. Assoc. 63:1379–1389.
#[must_use]
pub fn theil_sen_slope(times: &[f64], values: &[f64]) -> Option<f64> {
    if times.len() != values.len() || times.len() < 2 {
        return None;
    }
    if times.len() > POINTS_EXACT {
        let size = times.len().div_ceil(POINTS_EXACT);
        let medians = |all: &[f64]| -> Vec<f64> {
            all.chunks(size)
                .filter_map(|bucket| median(&mut bucket.to_vec()))
                .collect()
        };
        return theil_sen_slope(&medians(times), &medians(values));
    }
    let mut slopes = Vec::with_capacity(times.len() * (times.len() - 1) / 2);
    for (i, (&t, &y)) in times.iter().zip(values).enumerate() {
        for (&earlier_t, &earlier_y) in times.iter().zip(values).take(i) {
            if t > earlier_t {
                slopes.push((y - earlier_y) / (t - earlier_t));
            }
        }
    }
    median(&mut slopes)
}

/// What [`mann_kendall`] found.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MannKendall {
    /// Kendall's tau, −1 to 1: pairs that rise less pairs that fall, over all pairs.
    pub tau: f64,
    /// Standard score, corrected for autocorrelation; positive when rising.
    pub z: f64,
    /// Probability of such a score without a trend (two-sided).
    pub p: f64,
}

/// Mann–Kendall: is there a monotonic trend, straight or not?
///
/// Assumes nothing of the distribution. Autocorrelation makes it see trends where there are none;
/// the variance is widened by the lag-1 autocorrelation of the detrended ranks' stand-in, the
/// detrended values. A random walk still breaks it. O(n²): downsample first. `None` below 4 points.
///
/// Source: H. B. Mann (1945), Econometrica 13:245–259; K. Hamed, A. Rao (1998), J. Hydrology
/// 204:182–196 for the correction, here in its first-order form.
#[must_use]
pub fn mann_kendall(times: &[f64], values: &[f64]) -> Option<MannKendall> {
    let n = values.len();
    if n < 4 || times.len() != n {
        return None;
    }
    let mut score = 0.0;
    for (i, later) in values.iter().enumerate() {
        for earlier in &values[..i] {
            score += match later.total_cmp(earlier) {
                std::cmp::Ordering::Greater => 1.0,
                std::cmp::Ordering::Less => -1.0,
                std::cmp::Ordering::Equal => 0.0,
            };
        }
    }
    let count = n as f64;
    let mut variance = count * (count - 1.0) * (2.0 * count + 5.0) - ties(values);
    let line = super::fit_line(times, values)?;
    let r = lag1(times, values, &line).clamp(0.0, 0.9);
    variance *= (1.0 + r) / (1.0 - r) / 18.0;
    let toward_zero = if score > 0.0 {
        score - 1.0
    } else if score < 0.0 {
        score + 1.0
    } else {
        0.0
    };
    let z = if variance > 0.0 {
        toward_zero / variance.sqrt()
    } else {
        0.0
    };
    let p = Normal::standard().sf(z.abs()) * 2.0;
    Some(MannKendall {
        tau: score / (count * (count - 1.0) / 2.0),
        z,
        p,
    })
}

/// The correction of the variance for equal values: Σ t(t−1)(2t+5) over groups of t equal ones.
fn ties(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted
        .chunk_by(|a, b| a.total_cmp(b).is_eq())
        .map(|group| group.len() as f64)
        .map(|t| t * (t - 1.0) * (2.0 * t + 5.0))
        .sum()
}

fn lag1(times: &[f64], values: &[f64], line: &super::Line) -> f64 {
    let (mut squares, mut neighbours, mut before) = (0.0, 0.0, None);
    for (&t, &y) in times.iter().zip(values) {
        let residual = y - line.intercept - line.slope * t;
        squares += residual * residual;
        if let Some(before) = before {
            neighbours += residual * before;
        }
        before = Some(residual);
    }
    if squares > 0.0 {
        neighbours / squares
    } else {
        0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians() {
        for (name, values, wanted) in [
            ("none", vec![], None),
            ("one", vec![3.0], Some(3.0)),
            ("even", vec![4.0, 1.0, 3.0, 2.0], Some(2.5)),
            ("odd", vec![9.0, 1.0, 5.0], Some(5.0)),
        ] {
            assert_eq!(median(&mut values.clone()), wanted, "{name}");
        }
    }

    #[test]
    fn outliers_do_not_move_theil_sen() {
        let times: Vec<f64> = (0..100).map(f64::from).collect();
        let mut values: Vec<f64> = times.iter().map(|t| 2.0 * t).collect();
        for i in (0..100).step_by(5) {
            values[i] += 1000.0;
        }
        let slope = theil_sen_slope(&times, &values).unwrap();
        assert!((slope - 2.0).abs() < 0.1, "{slope}");
        assert_eq!(theil_sen_slope(&[1.0], &[1.0]), None);
    }

    #[test]
    fn theil_sen_above_the_exact_limit() {
        let times: Vec<f64> = (0..5000).map(f64::from).collect();
        let values: Vec<f64> = times.iter().map(|t| 3.0 * t).collect();
        assert!((theil_sen_slope(&times, &values).unwrap() - 3.0).abs() < 1e-9);
    }

    #[test]
    fn mann_kendall_by_hand() {
        // 1 2 3 4 5: S = 10, Var = 5·4·15/18 = 16.67, z = 9/4.082 = 2.2045.
        let times = [0.0, 1.0, 2.0, 3.0, 4.0];
        let rising = mann_kendall(&times, &[1.0, 2.0, 3.0, 4.0, 5.0]).unwrap();
        assert!((rising.z - 2.2045).abs() < 1e-3 && rising.tau == 1.0);
        assert!((rising.p - 0.0275).abs() < 1e-3);
        let level = mann_kendall(&times, &[5.0; 5]).unwrap();
        assert_eq!((level.z, level.tau), (0.0, 0.0));
        let falling = mann_kendall(&times, &[5.0, 4.0, 3.0, 2.0, 1.0]).unwrap();
        assert!(falling.z < -2.0);
    }
}
