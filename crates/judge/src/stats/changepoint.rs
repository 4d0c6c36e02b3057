//! Where one slope turns into another: two lines that meet.

/// Two lines joined at a point.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Hinge {
    /// Time of the joint, seconds.
    pub at: f64,
    /// Slope before it, units per second.
    pub before: f64,
    /// Slope after it.
    pub after: f64,
    /// Sum of squared residuals of the two lines.
    pub residual_sum: f64,
}

/// How many places for the joint are tried.
const CANDIDATES: usize = 64;

/// The best fit of two lines that meet: the start of a growth, or the end of a warm-up.
///
/// Assumes exactly one bend; with more, it finds the one that matters most for the residuals. A
/// step shows as a steep line. Tries 64 places evenly spread over the points, O(64·n). `None`
/// below 6 points.
///
/// Source: D. Hudson (1966), J. Amer. Stat. Assoc. 61:1097–1129.
#[must_use]
pub fn fit_hinge(times: &[f64], values: &[f64]) -> Option<Hinge> {
    let n = times.len();
    if n < 6 || values.len() != n {
        return None;
    }
    let (first, last) = (2, n - 3);
    let steps = (last - first).clamp(1, CANDIDATES);
    (0..=steps)
        .filter_map(|i| at(times, values, times[first + (last - first) * i / steps]))
        .min_by(|a, b| a.residual_sum.total_cmp(&b.residual_sum))
}

/// y = c + b1·(t − at) + b2·max(0, t − at), by its normal equations.
fn at(times: &[f64], values: &[f64], at: f64) -> Option<Hinge> {
    let early: Vec<f64> = times.iter().map(|t| t - at).collect();
    let late: Vec<f64> = early.iter().map(|t| t.max(0.0)).collect();
    let fit = super::partial::fit_two(&early, &late, values)?;
    Some(Hinge {
        at,
        before: fit.first,
        after: fit.first + fit.second,
        residual_sum: fit.residual_sum,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_bend() {
        let times: Vec<f64> = (0..200).map(f64::from).collect();
        let values: Vec<f64> = times
            .iter()
            .map(|t| 50.0 + (t - 80.0).max(0.0) * 1.5 + (t * 1.7).sin())
            .collect();
        let hinge = fit_hinge(&times, &values).unwrap();
        assert!((hinge.at - 80.0).abs() < 4.0, "{hinge:?}");
        assert!(hinge.before.abs() < 0.05 && (hinge.after - 1.5).abs() < 0.05);
        assert_eq!(fit_hinge(&times[..5], &values[..5]), None);
    }
}
