//! A sliding window of readings, and the straight line through them by least squares.

use std::collections::VecDeque;

/// Readings that are still looked at, with running sums, so that a new one costs the same however long the window is.
#[derive(Debug, Clone, Default)]
pub(crate) struct Window {
    points: VecDeque<(f64, f64)>,
    /// What the sums count from: near the readings, so that squares stay small.
    origin: (f64, f64),
    sums: Sums,
    /// Readings forgotten since the sums were last made anew.
    forgotten: usize,
}

#[derive(Debug, Clone, Copy, Default)]
struct Sums {
    t: f64,
    v: f64,
    tt: f64,
    tv: f64,
    vv: f64,
}

/// The line through some readings.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Line {
    /// Readings that it goes through, at least two.
    pub(crate) readings: usize,
    /// The values' unit a second.
    pub(crate) slope: f64,
    /// The slope over its standard error, errors taken as independent; infinite where all lie on the line, 0 below
    /// three readings.
    pub(crate) t: f64,
    middle: (f64, f64),
}

impl Line {
    /// The line's value at this time.
    pub(crate) fn at(&self, at_s: f64) -> f64 {
        self.middle.1 + self.slope * (at_s - self.middle.0)
    }
}

impl Sums {
    fn count(&mut self, (t, v): (f64, f64), sign: f64) {
        self.t += sign * t;
        self.v += sign * v;
        self.tt += sign * t * t;
        self.tv += sign * t * v;
        self.vv += sign * v * v;
    }
}

impl Window {
    /// Takes in a reading, whose time is after all others.
    pub(crate) fn push(&mut self, at_s: f64, value: f64) {
        if self.points.is_empty() {
            self.clear();
            self.origin = (at_s, value);
        }
        self.points.push_back((at_s, value));
        self.sums.count(self.offset((at_s, value)), 1.0);
    }

    /// Forgets what was read at this time or earlier.
    pub(crate) fn forget(&mut self, until_s: f64) {
        while let Some(&point) = self.points.front().filter(|point| point.0 <= until_s) {
            self.points.pop_front();
            self.sums.count(self.offset(point), -1.0);
            self.forgotten += 1;
        }
        // Taking away leaves rounding errors behind, and the readings move away from the origin.
        if self.forgotten > self.points.len() {
            self.anew();
        }
    }

    /// Forgets everything.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    /// When the oldest reading was made that is still known.
    pub(crate) fn first_s(&self) -> Option<f64> {
        self.points.front().map(|point| point.0)
    }

    /// The line; `None` below two readings.
    pub(crate) fn line(&self) -> Option<Line> {
        let readings = self.points.len();
        let n = readings as f64;
        let Sums { t, v, tt, tv, vv } = self.sums;
        let spread = tt - t * t / n;
        if readings < 2 || spread <= 0.0 {
            return None;
        }
        let together = tv - t * v / n;
        let slope = together / spread;
        let rest = (vv - v * v / n - slope * together).max(0.0);
        let t_value = match readings {
            ..=2 => 0.0,
            _ => slope / (rest / (n - 2.0) / spread).sqrt(),
        };
        Some(Line {
            readings,
            slope,
            // A flat line without errors has no t: nothing over nothing.
            t: if t_value.is_nan() { 0.0 } else { t_value },
            middle: (self.origin.0 + t / n, self.origin.1 + v / n),
        })
    }

    fn offset(&self, point: (f64, f64)) -> (f64, f64) {
        (point.0 - self.origin.0, point.1 - self.origin.1)
    }

    fn anew(&mut self) {
        self.forgotten = 0;
        self.sums = Sums::default();
        self.origin = self.points.front().copied().unwrap_or_default();
        for &point in &self.points {
            let (t, v) = (point.0 - self.origin.0, point.1 - self.origin.1);
            self.sums.count((t, v), 1.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_through_points_by_hand() {
        let mut window = Window::default();
        for (at, value) in [(10.0, 1.0), (11.0, 3.0), (12.0, 2.0), (13.0, 5.0)] {
            window.push(at, value);
        }
        let line = window.line().unwrap();
        assert!((line.slope - 1.1).abs() < 1e-12, "{line:?}");
        assert!((line.at(11.5) - 2.75).abs() < 1e-12, "{line:?}");
        // The rest is 8.75 - 1.21 * 5 = 2.7; the error of the slope sqrt(2.7 / 2 / 5).
        assert!(
            (line.t - 1.1 / (2.7f64 / 10.0).sqrt()).abs() < 1e-9,
            "{line:?}"
        );
    }

    #[test]
    fn few_points_have_no_line_and_two_no_t() {
        let mut window = Window::default();
        assert_eq!(window.line(), None);
        window.push(0.0, 1.0);
        assert_eq!(window.line(), None);
        window.push(1.0, 2.0);
        assert_eq!(
            window.line().map(|line| (line.slope, line.t)),
            Some((1.0, 0.0))
        );
    }

    #[test]
    fn sliding_gives_what_looking_at_the_window_alone_gives() {
        let value = |i: u32| 3e9 + f64::from(i * 7919 % 1013) * 1e4 + f64::from(i) * 50.0;
        let mut slid = Window::default();
        for i in 0..40_000 {
            slid.push(f64::from(i) * 15.0, value(i));
            slid.forget(f64::from(i) * 15.0 - 3600.0);
        }
        let mut alone = Window::default();
        for i in 40_000 - 240..40_000 {
            alone.push(f64::from(i) * 15.0, value(i));
        }
        let (slid, alone) = (slid.line().unwrap(), alone.line().unwrap());
        assert_eq!(slid.readings, alone.readings);
        assert!((slid.slope / alone.slope - 1.0).abs() < 1e-9);
        assert!((slid.t / alone.t - 1.0).abs() < 1e-9);
    }
}
