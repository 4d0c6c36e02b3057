//! The straight line M(t) = a·t + b by least squares, with an error that knows that neighbouring
//! samples resemble each other.

use statrs::distribution::{ContinuousCDF, Normal, StudentsT};

use super::mean;

/// A fitted line.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Line {
    /// Units per second.
    pub slope: f64,
    /// The value at time zero.
    pub intercept: f64,
    /// The slope's standard error, widened for autocorrelation.
    pub slope_error: f64,
    /// Degrees of freedom left after that correction, at least 1.
    pub freedom: f64,
    /// The part of the variance that the line explains, 0 to 1.
    pub r2: f64,
    /// The residuals' standard deviation.
    pub residual_sd: f64,
    /// Sum of squared residuals.
    pub residual_sum: f64,
}

impl Line {
    /// The slope's interval at `level` (such as 0.95) by Student's t.
    #[must_use]
    pub fn interval(&self, level: f64) -> (f64, f64) {
        let reach = quantile(self.freedom, 0.5 + level / 2.0) * self.slope_error;
        if reach.is_nan() {
            return (self.slope, self.slope);
        }
        (self.slope - reach, self.slope + reach)
    }

    /// The probability of a slope at least this far from zero if there were none (two-sided).
    #[must_use]
    pub fn p_value(&self) -> f64 {
        if self.slope_error <= 0.0 {
            return if self.slope == 0.0 { 1.0 } else { 0.0 };
        }
        let t = (self.slope / self.slope_error).abs();
        // Absurd values give absurd quotients; they prove nothing.
        if t.is_nan() {
            return 1.0;
        }
        student(self.freedom).map_or(1.0, |student| 2.0 * student.sf(t.min(1e9)))
    }
}

/// From so many degrees of freedom on the expansion below is right to three digits and more.
const EXPANDED_FROM: f64 = 5.0;

/// Student's t at probability `p`: by the expansion around the normal distribution, since the search for the inverse
/// takes a hundred times as long.
///
/// Source: R. Fisher, E. Cornish (1960), Technometrics 2:209–225.
pub(super) fn quantile(freedom: f64, p: f64) -> f64 {
    if freedom < EXPANDED_FROM {
        return student(freedom).map_or(f64::INFINITY, |t| t.inverse_cdf(p));
    }
    let z = Normal::standard().inverse_cdf(p);
    let (z2, v) = (z * z, freedom);
    let first = z * (z2 + 1.0) / (4.0 * v);
    let second = z * ((5.0 * z2 + 16.0) * z2 + 3.0) / (96.0 * v * v);
    let third = z * (((3.0 * z2 + 19.0) * z2 + 17.0) * z2 - 15.0) / (384.0 * v * v * v);
    z + first + second + third
}

fn student(freedom: f64) -> Option<StudentsT> {
    StudentsT::new(0.0, 1.0, freedom).ok()
}

/// Above this an autocorrelation is not believed: it comes from a bend that the line does not
/// follow, and 19 samples would count as one.
const R_MAX: f64 = 0.9;

/// Least-squares line through samples that follow each other in time.
///
/// The residuals' lag-1 autocorrelation r shrinks the sample to n·(1−r)/(1+r) independent values,
/// which widens the error and lowers the degrees of freedom; r is held below 0.9. Assumes residuals of one spread whose
/// memory is a first-order one; a step, a saw-tooth or a random walk breaks that, so it is never
/// asked alone. O(n). `None` below 3 points or without spread in time.
///
/// Source: H. von Storch, F. Zwiers (1999), Statistical Analysis in Climate Research, 6.6.8;
/// B. Santer et al. (2000), J. Geophys. Res. 105:7337–7356.
#[must_use]
pub fn fit_line(times: &[f64], values: &[f64]) -> Option<Line> {
    fit(times, values, true)
}

/// The same without the correction for autocorrelation: for points far enough apart to be
/// independent, and too few to estimate an autocorrelation from.
#[must_use]
pub fn fit_line_sparse(times: &[f64], values: &[f64]) -> Option<Line> {
    fit(times, values, false)
}

fn fit(times: &[f64], values: &[f64], correct: bool) -> Option<Line> {
    let n = times.len();
    if n < 3 || values.len() != n {
        return None;
    }
    let (mean_t, mean_y) = (mean(times), mean(values));
    let (mut tt, mut ty, mut yy) = (0.0, 0.0, 0.0);
    for (&t, &y) in times.iter().zip(values) {
        tt += (t - mean_t) * (t - mean_t);
        ty += (t - mean_t) * (y - mean_y);
        yy += (y - mean_y) * (y - mean_y);
    }
    if tt <= 0.0 {
        return None;
    }
    let slope = ty / tt;
    let intercept = mean_y - slope * mean_t;
    let (mut squares, mut neighbours, mut before) = (0.0, 0.0, None);
    for (&t, &y) in times.iter().zip(values) {
        let residual = y - intercept - slope * t;
        squares += residual * residual;
        if let Some(before) = before {
            neighbours += residual * before;
        }
        before = Some(residual);
    }
    let count = n as f64;
    let r = if correct && squares > 0.0 {
        (neighbours / squares).clamp(0.0, R_MAX)
    } else {
        0.0
    };
    let freedom = (count * (1.0 - r) / (1.0 + r) - 2.0).max(1.0);
    Some(Line {
        slope,
        intercept,
        slope_error: (squares / freedom / tt).sqrt(),
        freedom,
        r2: if yy > 0.0 { 1.0 - squares / yy } else { 0.0 },
        residual_sd: (squares / (count - 2.0)).sqrt(),
        residual_sum: squares,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn textbook_line() {
        // x = 1..5, y = 2 4 5 4 5: slope 0.6, intercept 2.2, error of the slope 0.2828,
        // t = 2.1213 on 3 degrees of freedom: p = 0.124.
        let line = fit_line_sparse(&[1.0, 2.0, 3.0, 4.0, 5.0], &[2.0, 4.0, 5.0, 4.0, 5.0]).unwrap();
        assert!((line.slope - 0.6).abs() < 1e-12 && (line.intercept - 2.2).abs() < 1e-12);
        assert!((line.slope_error - 0.282_842_7).abs() < 1e-6);
        assert!((line.p_value() - 0.1240).abs() < 1e-3, "{}", line.p_value());
        assert!((line.r2 - 0.6).abs() < 1e-12);
        let (low, high) = line.interval(0.95);
        assert!((low + 0.3001).abs() < 1e-3 && (high - 1.5001).abs() < 1e-3);
    }

    #[test]
    fn the_expansion_is_near_the_search() {
        for freedom in [5.0, 7.5, 12.0, 40.0, 1000.0] {
            for p in [0.9, 0.975, 0.995] {
                let wanted = student(freedom).unwrap().inverse_cdf(p);
                let off = quantile(freedom, p) / wanted - 1.0;
                assert!(off.abs() < 6e-3, "{freedom} {p}: {off}");
            }
        }
    }

    #[test]
    fn autocorrelation_widens_the_error() {
        let times: Vec<f64> = (0..200).map(f64::from).collect();
        let slow: Vec<f64> = times.iter().map(|t| (t / 12.0).sin() + t * 0.001).collect();
        let (with, without) = (
            fit_line(&times, &slow).unwrap(),
            fit_line_sparse(&times, &slow).unwrap(),
        );
        assert!(with.slope_error > 3.0 * without.slope_error);
        assert!(with.p_value() > 0.05);
    }

    #[test]
    fn what_does_not_determine_a_line() {
        assert_eq!(fit_line(&[1.0, 2.0], &[1.0, 2.0]), None);
        assert_eq!(fit_line(&[1.0, 1.0, 1.0], &[1.0, 2.0, 3.0]), None);
        assert_eq!(fit_line(&[1.0, 2.0, 3.0], &[1.0, 2.0]), None);
        let flat = fit_line(&[1.0, 2.0, 3.0], &[7.0, 7.0, 7.0]).unwrap();
        assert_eq!((flat.slope, flat.p_value(), flat.r2), (0.0, 1.0, 0.0));
    }
}
