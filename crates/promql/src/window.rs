//! Functions over the samples of one series in a window, as Prometheus 3 computes them.

use model::Sample;

use crate::ast::RangeFunction;

/// A window `(end - range, end]`; staleness markers are not in `samples`.
pub(crate) struct Window<'a> {
    pub(crate) samples: &'a [Sample],
    pub(crate) end_ms: i64,
    pub(crate) range_ms: u64,
}

impl Window<'_> {
    /// `None` where the function has no answer, such as the rate of a single sample.
    pub(crate) fn evaluate(&self, function: RangeFunction) -> Option<f64> {
        let samples = self.samples;
        let values = || samples.iter().map(|sample| sample.v);
        if samples.is_empty() {
            return None;
        }
        match function {
            RangeFunction::Rate => self.extrapolated(true).map(|rise| rise / self.range_s()),
            RangeFunction::Increase => self.extrapolated(true),
            RangeFunction::Delta => self.extrapolated(false),
            RangeFunction::Deriv => slope(samples),
            RangeFunction::Avg => Some(sum(values()) / samples.len() as f64),
            RangeFunction::Min => Some(least(values())),
            RangeFunction::Max => Some(most(values())),
            RangeFunction::Sum => Some(sum(values())),
            RangeFunction::Count => Some(samples.len() as f64),
        }
    }

    fn range_s(&self) -> f64 {
        self.range_ms as f64 / 1_000.0
    }

    /// The difference between the ends of the window. It is extended towards each border by at
    /// most the distance to it, and by half a sample distance where the border is further away
    /// than 1.1 of them; a counter's not below zero.
    fn extrapolated(&self, counter: bool) -> Option<f64> {
        let ([first, .., last], samples) = (self.samples, self.samples) else {
            return None;
        };
        let mut rise = last.v - first.v;
        if counter {
            let resets = samples.windows(2).filter(|pair| pair[1].v < pair[0].v);
            rise += resets.map(|pair| pair[0].v).sum::<f64>();
        }
        let seconds = |from: i64, to: i64| (to - from) as f64 / 1_000.0;
        let start_ms = self.end_ms.saturating_sub_unsigned(self.range_ms);
        let sampled = seconds(first.t.0, last.t.0);
        let between = sampled / (samples.len() - 1) as f64;
        let far = between * 1.1;
        let mut to_start = seconds(start_ms, first.t.0);
        if to_start >= far {
            to_start = between / 2.0;
        }
        if counter && rise > 0.0 && first.v >= 0.0 {
            to_start = to_start.min(sampled * (first.v / rise));
        }
        let mut to_end = seconds(last.t.0, self.end_ms);
        if to_end >= far {
            to_end = between / 2.0;
        }
        Some(rise * ((sampled + to_start + to_end) / sampled))
    }
}

/// Least squares slope per second.
fn slope(samples: &[Sample]) -> Option<f64> {
    let [first, .., _] = samples else {
        return None;
    };
    if samples.iter().all(|sample| sample.v == first.v) {
        return Some(if first.v.is_infinite() { f64::NAN } else { 0.0 });
    }
    let n = samples.len() as f64;
    let x = |sample: &Sample| (sample.t.0 - first.t.0) as f64 / 1_000.0;
    let sum_x = sum(samples.iter().map(x));
    let sum_y = sum(samples.iter().map(|sample| sample.v));
    let sum_xy = sum(samples.iter().map(|sample| x(sample) * sample.v));
    let sum_xx = sum(samples.iter().map(|sample| x(sample) * x(sample)));
    Some((sum_xy - sum_x * sum_y / n) / (sum_xx - sum_x * sum_x / n))
}

/// The sum with Neumaier's correction, as Prometheus 3 sums.
pub(crate) fn sum(values: impl Iterator<Item = f64>) -> f64 {
    let (mut sum, mut lost) = (0.0_f64, 0.0_f64);
    for value in values {
        let next = sum + value;
        if next.is_infinite() {
            lost = 0.0;
        } else if sum.abs() >= value.abs() {
            lost += (sum - next) + value;
        } else {
            lost += (value - next) + sum;
        }
        sum = next;
    }
    sum + lost
}

/// NaN only if all are.
pub(crate) fn least(values: impl Iterator<Item = f64>) -> f64 {
    values.fold(f64::NAN, f64::min)
}

/// NaN only if all are.
pub(crate) fn most(values: impl Iterator<Item = f64>) -> f64 {
    values.fold(f64::NAN, f64::max)
}
