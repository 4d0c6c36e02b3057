//! Channels as points: cleaned, thinned, and the heap's saw-tooth reduced to its floor.

use model::{ChannelData, UnixMs};

use crate::stats::median;

/// Times in seconds since the window's start, strictly increasing, with a finite value each.
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
    /// The channel's points up to `now`. What breaks the channel's promise (times that do not
    /// increase, values that are not finite) is left out, so nothing later need look.
    pub(crate) fn of(data: &ChannelData, zero: UnixMs, now: UnixMs) -> Self {
        let mut points = Self::default();
        let mut before = i64::MIN;
        for (&time, &value) in data.times.iter().zip(&data.values) {
            if time.0 <= before || time > now || time < zero || !value.is_finite() {
                continue;
            }
            before = time.0;
            points.push((time.0 - zero.0) as f64 / 1000.0, value);
        }
        points
    }

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

    /// The last value at or before `time`: for what changes in steps.
    pub(crate) fn held_at(&self, time: f64) -> Option<f64> {
        let next = self.times.partition_point(|&t| t <= time);
        next.checked_sub(1).map(|i| self.values[i])
    }

    /// The median gap between neighbours, seconds.
    pub(crate) fn period(&self) -> Option<f64> {
        let mut gaps: Vec<f64> = self
            .times
            .windows(2)
            .map(|pair| pair[1] - pair[0])
            .collect();
        median(&mut gaps)
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

/// One point for each mark: the live heap only changes when a collection ends, so equal
/// neighbours are one observation, not many.
pub(crate) fn marks(live: &Points) -> Points {
    let mut points = Points::default();
    for (&time, &value) in live.times.iter().zip(&live.values) {
        if points.values.last() != Some(&value) {
            points.push(time, value);
        }
    }
    points
}

/// Samples that must follow a collection, or several, before their least value counts as a floor:
/// the first sample comes up to a period late, with what was allocated meanwhile.
const SAMPLES_EACH: u32 = 6;

/// The floor of `HeapAlloc`: its least value between two collections, or over as many of them as
/// it takes to see [`SAMPLES_EACH`] samples. Collections are told by the counter of cycles where
/// there is one, else by falls. What lies before the first is left out: its floor was not seen.
pub(crate) fn floors(alloc: &Points, cycles: Option<&Points>) -> Points {
    let mut floors = Points::default();
    let mut collected_once = false;
    // The least value since the last floor that counted, and the samples it is the least of.
    let mut lowest: Option<(f64, f64)> = None;
    let mut samples = 0;
    let mut before: Option<(f64, Option<f64>)> = None;
    for (&time, &value) in alloc.times.iter().zip(&alloc.values) {
        let count = cycles.and_then(|cycles| cycles.held_at(time));
        let collected =
            before.is_some_and(|(value_before, count_before)| match (count, count_before) {
                (Some(count), Some(count_before)) => count != count_before,
                _ => value_before - value > (value_before * 0.03).max(256.0 * 1024.0),
            });
        before = Some((value, count));
        if collected && (!collected_once || samples >= SAMPLES_EACH) {
            if let (Some((time, value)), true) = (lowest, collected_once) {
                floors.push(time, value);
            }
            collected_once = true;
            (lowest, samples) = (None, 0);
        }
        samples += 1;
        if lowest.is_none_or(|(_, low)| value < low) {
            lowest = Some((time, value));
        }
    }
    if let (Some((time, value)), true) = (lowest, collected_once && samples >= SAMPLES_EACH / 2) {
        floors.push(time, value);
    }
    floors
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::Channel;

    fn points(pairs: &[(f64, f64)]) -> Points {
        Points {
            times: pairs.iter().map(|pair| pair.0).collect(),
            values: pairs.iter().map(|pair| pair.1).collect(),
        }
    }

    #[test]
    fn what_breaks_the_promise_is_left_out() {
        let data = ChannelData {
            channel: Channel::Rss,
            times: [1000, 2000, 2000, 1500, 3000, 4000, 9000]
                .map(UnixMs)
                .to_vec(),
            values: vec![1.0, 2.0, 9.0, 9.0, f64::NAN, 4.0, 9.0],
        };
        let points = Points::of(&data, UnixMs(1000), UnixMs(5000));
        assert_eq!(points.times, [0.0, 1.0, 3.0]);
        assert_eq!(points.values, [1.0, 2.0, 4.0]);
    }

    #[test]
    fn a_mark_is_one_point() {
        let live = points(&[(0.0, 5.0), (1.0, 5.0), (2.0, 7.0), (3.0, 7.0), (4.0, 5.0)]);
        assert_eq!(marks(&live), points(&[(0.0, 5.0), (2.0, 7.0), (4.0, 5.0)]));
    }

    #[test]
    fn floors_by_cycles_and_by_falls() {
        const MIB: f64 = 1_048_576.0;
        let alloc: Vec<(f64, f64)> = (0..24)
            .map(|i| (f64::from(i), (10.0 + f64::from(i % 6) * 2.0) * MIB))
            .collect();
        let alloc = points(&alloc);
        let cycles: Vec<(f64, f64)> = (0..24).map(|i| (f64::from(i), f64::from(i / 6))).collect();
        let wanted = points(&[(6.0, 10.0 * MIB), (12.0, 10.0 * MIB), (18.0, 10.0 * MIB)]);
        assert_eq!(floors(&alloc, Some(&points(&cycles))), wanted);
        assert_eq!(floors(&alloc, None), wanted);
        assert_eq!(floors(&points(&[(0.0, 1.0), (1.0, 2.0)]), None).len(), 0);
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
