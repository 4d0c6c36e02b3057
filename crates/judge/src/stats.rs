//! The statistics that the judge weighs, over plain slices. Each says what it assumes, what breaks
//! it and where it comes from. Nothing here knows what the numbers mean.
//!
//! Times are seconds from any zero, strictly increasing; values have any unit; both slices have
//! the same length and hold no NaN. A function returns `None` where there are too few points or
//! the points do not determine the answer.

mod changepoint;
mod line;
mod partial;
mod robust;
mod saturating;

pub use changepoint::{Hinge, fit_hinge};
pub use line::{Line, fit_line, fit_line_sparse};
pub use partial::{Partial, fit_partial};
pub use robust::{MannKendall, POINTS_EXACT, mann_kendall, median, theil_sen_slope};
pub use saturating::{Saturating, fit_saturating};

/// Pearson's correlation of two slices; `None` if one of them does not vary.
///
/// Assumes a linear relation; a single outlier breaks it.
#[must_use]
pub fn correlation(a: &[f64], b: &[f64]) -> Option<f64> {
    if a.len() != b.len() || a.len() < 3 {
        return None;
    }
    let (mean_a, mean_b) = (mean(a), mean(b));
    let (mut aa, mut bb, mut ab) = (0.0, 0.0, 0.0);
    for (&a, &b) in a.iter().zip(b) {
        aa += (a - mean_a) * (a - mean_a);
        bb += (b - mean_b) * (b - mean_b);
        ab += (a - mean_a) * (b - mean_b);
    }
    let spread = (aa * bb).sqrt();
    (spread > 0.0).then(|| ab / spread)
}

pub(crate) fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}
