//! Growth that fills something and stops, against growth that goes on.

use super::fit_line_sparse;

/// The curve c + a·(1 − exp(−t/tau)).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Saturating {
    /// Time constant, seconds: after three of them 95 % is there.
    pub tau: f64,
    /// What is filled in the end.
    pub amplitude: f64,
    /// Sum of squared residuals.
    pub residual_sum: f64,
}

/// The best saturating curve through the points, its time constant searched from a twentieth to
/// three times the span (above that it is a line to the eye). Compare its residuals with those of
/// a line.
///
/// Assumes one fill with one time constant, starting at the first point. A cache under a heavy
/// tail of keys fills more slowly at the end than this curve; it still beats the line. O(20·n).
/// `None` below 5 points.
///
/// Source: the separable least squares of G. Golub, V. Pereyra (1973), SIAM J. Numer. Anal.
/// 10:413–432, with the one non-linear parameter on a grid.
#[must_use]
pub fn fit_saturating(times: &[f64], values: &[f64]) -> Option<Saturating> {
    let (&first, &last) = (times.first()?, times.last()?);
    if times.len() < 5 || last <= first {
        return None;
    }
    const STEPS: i32 = 20;
    (0..=STEPS)
        .filter_map(|step| {
            let tau = (last - first) / 20.0 * 60f64.powf(f64::from(step) / f64::from(STEPS));
            let curve: Vec<f64> = times
                .iter()
                .map(|t| -(-(t - first) / tau).exp_m1())
                .collect();
            let line = fit_line_sparse(&curve, values)?;
            Some(Saturating {
                tau,
                amplitude: line.slope,
                residual_sum: line.residual_sum,
            })
        })
        .min_by(|a, b| a.residual_sum.total_cmp(&b.residual_sum))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_time_constant() {
        let times: Vec<f64> = (0..120).map(f64::from).collect();
        let values: Vec<f64> = times
            .iter()
            .map(|t| 5.0 + 96.0 * (1.0 - (-t / 25.0).exp()))
            .collect();
        let fit = fit_saturating(&times, &values).unwrap();
        assert!((fit.tau - 25.0).abs() < 4.0 && (fit.amplitude - 96.0).abs() < 5.0);
        let line = fit_line_sparse(&times, &values).unwrap();
        assert!(fit.residual_sum * 20.0 < line.residual_sum);
    }
}
