//! Memory against two explanations at once: how much is left for time when load is known.

use super::mean;

/// Coefficients of y = c + first·a + second·b.
#[derive(Debug, Clone, Copy)]
pub(super) struct Two {
    pub(super) first: f64,
    pub(super) second: f64,
    pub(super) residual_sum: f64,
    /// Variance of each coefficient per unit of residual variance.
    pub(super) unit_variance: (f64, f64),
}

/// Least squares on two regressors; `None` where they are collinear.
pub(super) fn fit_two(a: &[f64], b: &[f64], y: &[f64]) -> Option<Two> {
    let (mean_a, mean_b, mean_y) = (mean(a), mean(b), mean(y));
    let (mut aa, mut bb, mut ab, mut ay, mut by) = (0.0, 0.0, 0.0, 0.0, 0.0);
    for ((&a, &b), &y) in a.iter().zip(b).zip(y) {
        let (a, b, y) = (a - mean_a, b - mean_b, y - mean_y);
        aa += a * a;
        bb += b * b;
        ab += a * b;
        ay += a * y;
        by += b * y;
    }
    let determinant = aa * bb - ab * ab;
    if determinant <= 1e-12 * aa * bb {
        return None;
    }
    let first = (ay * bb - by * ab) / determinant;
    let second = (by * aa - ay * ab) / determinant;
    let residual_sum = a
        .iter()
        .zip(b)
        .zip(y)
        .map(|((&a, &b), &y)| y - mean_y - first * (a - mean_a) - second * (b - mean_b))
        .map(|residual| residual * residual)
        .sum();
    Some(Two {
        first,
        second,
        residual_sum,
        unit_variance: (bb / determinant, aa / determinant),
    })
}

/// What is left of a growth when a load is taken out.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Partial {
    /// Memory per unit of load.
    pub per_load: f64,
    /// Growth per second at constant load.
    pub per_second: f64,
    /// Standard error of `per_second`.
    pub per_second_error: f64,
    /// Degrees of freedom.
    pub freedom: f64,
    /// The part of the variance that load and time explain together.
    pub r2: f64,
}

impl Partial {
    /// The interval of the growth at constant load.
    #[must_use]
    pub fn interval(&self, level: f64) -> (f64, f64) {
        let reach = super::line::quantile(self.freedom, 0.5 + level / 2.0) * self.per_second_error;
        (self.per_second - reach, self.per_second + reach)
    }
}

/// Regression of memory on load and time together.
///
/// Assumes that memory follows the load in a straight line and without delay, and that the load is
/// measured without noise: a noisy load is under-weighted and time takes its place, so smooth the
/// load first. `None` below 8 points or where load and time move as one (then nothing can tell
/// them apart).
///
/// Source: R. Frisch, F. Waugh (1933), Econometrica 1:387–401.
#[must_use]
pub fn fit_partial(times: &[f64], load: &[f64], memory: &[f64]) -> Option<Partial> {
    let n = times.len();
    if n < 8 || load.len() != n || memory.len() != n {
        return None;
    }
    let fit = fit_two(load, times, memory)?;
    let freedom = n as f64 - 3.0;
    let mean_y = mean(memory);
    let total: f64 = memory.iter().map(|y| (y - mean_y) * (y - mean_y)).sum();
    Some(Partial {
        per_load: fit.first,
        per_second: fit.second,
        per_second_error: (fit.residual_sum / freedom * fit.unit_variance.1).sqrt(),
        freedom,
        r2: if total > 0.0 {
            1.0 - fit.residual_sum / total
        } else {
            0.0
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_load_from_time() {
        let times: Vec<f64> = (0..120).map(f64::from).collect();
        let load: Vec<f64> = times.iter().map(|t| 10.0 + 5.0 * (t / 9.0).sin()).collect();
        let memory: Vec<f64> = times
            .iter()
            .zip(&load)
            .map(|(t, load)| 3.0 * load + 0.25 * t)
            .collect();
        let fit = fit_partial(&times, &load, &memory).unwrap();
        assert!((fit.per_load - 3.0).abs() < 1e-6 && (fit.per_second - 0.25).abs() < 1e-6);
        assert!(fit.r2 > 0.999_999);
        assert_eq!(fit_partial(&times, &times, &memory), None, "collinear");
    }
}
