//! Whether stated confidences are worth what they say: of all verdicts held 90 % probable, nine in ten should be right.

use serde::{Deserialize, Serialize};

/// The lower ends of the bins.
const BINS: [f64; 7] = [0.0, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98];

/// Stated confidences against what came true, by bins of what was stated.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub(crate) struct Reliability {
    bins: [Bin; BINS.len()],
}

#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
struct Bin {
    stated: f64,
    right: u32,
    all: u32,
}

/// A bin with something in it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Row {
    /// What was stated: from, and up to but not including that; the last one includes it.
    pub(crate) between: (f64, f64),
    /// Verdicts.
    pub(crate) verdicts: u32,
    /// What they stated in the mean.
    pub(crate) stated: f64,
    /// The part that was right.
    pub(crate) right: f64,
}

impl Reliability {
    /// Counts a verdict that was held so probable.
    pub(crate) fn add(&mut self, confidence: f64, is_right: bool) {
        let at = BINS.iter().rposition(|from| confidence >= *from);
        let bin = &mut self.bins[at.unwrap_or(0)];
        bin.stated += confidence;
        bin.right += u32::from(is_right);
        bin.all += 1;
    }

    pub(crate) fn join(&mut self, other: &Self) {
        for (bin, other) in self.bins.iter_mut().zip(&other.bins) {
            bin.stated += other.stated;
            bin.right += other.right;
            bin.all += other.all;
        }
    }

    /// The bins that something fell into, from the least confidence up.
    pub(crate) fn rows(&self) -> Vec<Row> {
        let ends = BINS.iter().skip(1).chain(&[1.0]);
        let bins = BINS.iter().zip(ends).zip(&self.bins);
        let rows = bins.filter(|(_, bin)| bin.all > 0);
        rows.map(|((from, to), bin)| Row {
            between: (*from, *to),
            verdicts: bin.all,
            stated: bin.stated / f64::from(bin.all),
            right: f64::from(bin.right) / f64::from(bin.all),
        })
        .collect()
    }

    /// How far stated and true part from each other, in the mean over all verdicts; `None` without any.
    pub(crate) fn error(&self) -> Option<f64> {
        let all: u32 = self.bins.iter().map(|bin| bin.all).sum();
        let apart = self
            .bins
            .iter()
            .map(|bin| (bin.stated - f64::from(bin.right)).abs());
        (all > 0).then(|| apart.sum::<f64>() / f64::from(all))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdicts_fall_into_the_bin_of_what_they_state() {
        let mut one = Reliability::default();
        one.add(0.9, true);
        one.add(0.94, false);
        one.add(1.0, true);
        let mut other = Reliability::default();
        other.add(0.3, false);
        one.join(&other);
        let rows = one.rows();
        let seen: Vec<_> = rows
            .iter()
            .map(|row| (row.between, row.verdicts, row.right))
            .collect();
        assert_eq!(
            seen,
            [
                ((0.0, 0.6), 1, 0.0),
                ((0.9, 0.95), 2, 0.5),
                ((0.98, 1.0), 1, 1.0)
            ]
        );
        assert!((rows[1].stated - 0.92).abs() < 1e-12);
        assert!((one.error().unwrap() - (0.3 + 0.84) / 4.0).abs() < 1e-12);
    }

    #[test]
    fn nothing_stated_says_nothing() {
        let none = Reliability::default();
        assert_eq!((none.rows(), none.error()), (Vec::new(), None));
    }
}
