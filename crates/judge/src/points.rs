//! Points of a channel, and how many become few.

use crate::stats::median;

/// Times in seconds since the first sample, strictly increasing, with a finite value each.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Points {
    pub(crate) times: Vec<f64>,
    pub(crate) values: Vec<f64>,
}

/// How several points become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Thin {
    /// For what carries noise to both sides.
    Median,
    /// For what only has teeth upwards.
    Min,
}

impl Points {
    pub(crate) fn push(&mut self, time: f64, value: f64) {
        self.times.push(time);
        self.values.push(value);
    }

    pub(crate) fn len(&self) -> usize {
        self.times.len()
    }

    pub(crate) fn first(&self) -> Option<(f64, f64)> {
        Some((*self.times.first()?, *self.values.first()?))
    }

    pub(crate) fn last(&self) -> Option<(f64, f64)> {
        Some((*self.times.last()?, *self.values.last()?))
    }

    /// Seconds from the first to the last point; zero if there are none.
    pub(crate) fn span(&self) -> f64 {
        match (self.times.first(), self.times.last()) {
            (Some(first), Some(last)) => last - first,
            _ => 0.0,
        }
    }

    /// The points from `from` to `to`, both included.
    pub(crate) fn between(&self, from: f64, to: f64) -> Self {
        let start = self.times.partition_point(|&t| t < from);
        let end = self.times.partition_point(|&t| t <= to).max(start);
        Self {
            times: self.times[start..end].to_vec(),
            values: self.values[start..end].to_vec(),
        }
    }

    /// At most `max` points, each standing for as many neighbours as it takes.
    pub(crate) fn thinned(&self, max: usize, how: Thin) -> Self {
        if self.len() <= max || max == 0 {
            return self.clone();
        }
        self.in_groups_of(self.len().div_ceil(max), how)
    }

    /// One point for every `size` neighbours; the last may stand for fewer.
    pub(crate) fn in_groups_of(&self, size: usize, how: Thin) -> Self {
        let mut thinned = Self::default();
        let size = size.max(1);
        for (times, values) in self.times.chunks(size).zip(self.values.chunks(size)) {
            let (time, value) = match how {
                Thin::Median => (mean(times), median(&mut values.to_vec())),
                Thin::Min => values
                    .iter()
                    .zip(times)
                    .min_by(|a, b| a.0.total_cmp(b.0))
                    .map_or((0.0, None), |(&value, &time)| (time, Some(value))),
            };
            if let Some(value) = value {
                thinned.push(time, value);
            }
        }
        thinned
    }

    /// The value at `time`, on the line between its neighbours; held constant outside.
    pub(crate) fn at(&self, time: f64) -> Option<f64> {
        let next = self.times.partition_point(|&t| t < time);
        if next == 0 {
            return self.values.first().copied();
        }
        if next == self.len() {
            return self.values.last().copied();
        }
        let (t0, t1) = (self.times[next - 1], self.times[next]);
        let (y0, y1) = (self.values[next - 1], self.values[next]);
        Some(y0 + (y1 - y0) * (time - t0) / (t1 - t0))
    }

    /// Least and greatest value.
    pub(crate) fn range(&self) -> Option<(f64, f64)> {
        let least = self.values.iter().copied().min_by(f64::total_cmp)?;
        let greatest = self.values.iter().copied().max_by(f64::total_cmp)?;
        Some((least, greatest))
    }
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn points(pairs: &[(f64, f64)]) -> Points {
        Points {
            times: pairs.iter().map(|pair| pair.0).collect(),
            values: pairs.iter().map(|pair| pair.1).collect(),
        }
    }

    #[test]
    fn thinning_keeps_the_ends_of_what_it_stands_for() {
        let many: Vec<(f64, f64)> = (0..1000)
            .map(|i| (f64::from(i), f64::from(i % 10)))
            .collect();
        let thin = points(&many).thinned(100, Thin::Min);
        assert_eq!(thin.len(), 100);
        assert!(thin.values.iter().all(|&value| value == 0.0));
        assert_eq!(points(&many).thinned(100, Thin::Median).values[0], 4.5);
    }
}
