//! Rules that people use instead of a judge, to be measured beside it. They see the resident set, and when the process
//! started where they say so, and nothing else; each looks at every reading.

use corpus::Reading;
use statrs::distribution::{ContinuousCDF, StudentsT};

use crate::score::{Alarm, Told};
use crate::window::Window;

/// Bytes of a megabyte, as alarm rules count them.
const MB: f64 = 1e6;
const MINUTE: f64 = 60.0;
const HOUR: f64 = 3600.0;
/// Times are sums of periods: so little is no difference.
const TIME_ERROR: f64 = 0.001;

/// All that a rule sees of a reading.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Seen {
    pub(crate) at_s: f64,
    pub(crate) rss: f64,
    pub(crate) started_s: f64,
}

/// An alarm rule.
pub(crate) trait Rule {
    /// Takes in one more reading, later than all before; whether there is an alarm now.
    fn alarms(&mut self, seen: Seen) -> bool;
}

/// What people call a rule, and what it does, in short.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Name {
    pub(crate) name: &'static str,
    pub(crate) what: &'static str,
}

/// How many rules there are.
pub(crate) const COUNT: usize = 4;

/// The rules in the order of [`rules`].
pub(crate) const RULES: [Name; COUNT] = [
    Name {
        name: "pace",
        what: "RSS grows by 5 MB/min in each of three windows of 15 s in a row",
    },
    Name {
        name: "t-test",
        what: "least squares over RSS of the last hour: the slope is positive with p < 0.01",
    },
    Name {
        name: "predict_linear",
        what: "`predict_linear(rss[1h], 4 * 3600) > limit` with `for: 5m`",
    },
    Name {
        name: "plateau test",
        what: "regression over RSS of one life, 3 hours at most: at least 5 % of the limit an hour, and in the last third at \
               least 30 % of that slope",
    },
];

/// The rules for a process that may have `limit` bytes.
pub(crate) fn rules(limit: f64) -> [Box<dyn Rule>; COUNT] {
    [
        Box::new(Pace::default()),
        Box::new(Significant::default()),
        Box::new(Predicted::new(limit)),
        Box::new(Levelling::new(limit)),
    ]
}

/// What a rule makes of these readings. Those whose time is not after the last one's are passed over, as Prometheus
/// does not take them in.
pub(crate) fn replay(rule: &mut dyn Rule, readings: &[Reading]) -> Told {
    let mut told = Told::default();
    let (mut last_s, mut alarm) = (f64::NEG_INFINITY, None::<Alarm>);
    for reading in readings.iter().filter(|reading| reading.at_s.is_finite()) {
        if reading.at_s <= last_s {
            continue;
        }
        last_s = reading.at_s;
        let is_alarm = rule.alarms(Seen {
            at_s: reading.at_s,
            rss: reading.memory.rss,
            started_s: reading.started_s,
        });
        match (is_alarm, &mut alarm) {
            (true, None) => alarm = Some(Alarm::at(reading.at_s)),
            (true, Some(alarm)) => alarm.until_s = reading.at_s,
            (false, _) => told.alarms.extend(alarm.take()),
        }
    }
    told.alarms.extend(alarm);
    told
}

/// Growth of at least 5 MB a minute over each of three windows in a row, one after the other.
///
/// A window is 15 s long, or from one reading to the next where that is longer. It knows nothing of restarts; an alarm
/// ends with the first window that grows by less.
#[derive(Debug, Default)]
struct Pace {
    /// Time and bytes at which the window began.
    began: Option<(f64, f64)>,
    windows: u32,
}

impl Pace {
    const BYTES_PER_MINUTE: f64 = 5.0 * MB;
    const WINDOW_S: f64 = 15.0;
    const WINDOWS: u32 = 3;
}

impl Rule for Pace {
    fn alarms(&mut self, seen: Seen) -> bool {
        let (began_s, rss) = *self.began.get_or_insert((seen.at_s, seen.rss));
        let passed = seen.at_s - began_s;
        if passed >= Self::WINDOW_S - TIME_ERROR {
            let per_minute = (seen.rss - rss) / passed * MINUTE;
            self.windows = match per_minute >= Self::BYTES_PER_MINUTE {
                true => self.windows + 1,
                false => 0,
            };
            self.began = Some((seen.at_s, seen.rss));
        }
        self.windows >= Self::WINDOWS
    }
}

/// The line by least squares through the last hour rises, and a t-test gives its slope a p below 0.01 (of both sides,
/// readings taken as independent).
///
/// It speaks once an hour has been read, with at least 5 readings in the last one, and knows nothing of restarts.
#[derive(Debug, Default)]
struct Significant {
    hour: Window,
    first_s: Option<f64>,
    /// Degrees of freedom, and the t that they must reach: the same for most readings.
    least: Option<(usize, f64)>,
}

impl Significant {
    const P: f64 = 0.01;
    const READINGS: usize = 5;

    fn least_t(&mut self, freedom: usize) -> f64 {
        if let Some((_, least)) = self.least.filter(|(of, _)| *of == freedom) {
            return least;
        }
        let student = StudentsT::new(0.0, 1.0, freedom as f64);
        let least = student.map_or(f64::INFINITY, |it| it.inverse_cdf(1.0 - Self::P / 2.0));
        self.least = Some((freedom, least));
        least
    }
}

impl Rule for Significant {
    fn alarms(&mut self, seen: Seen) -> bool {
        self.hour.push(seen.at_s, seen.rss);
        self.hour.forget(seen.at_s - HOUR - TIME_ERROR);
        let read_s = seen.at_s - *self.first_s.get_or_insert(seen.at_s);
        let line = self.hour.line();
        line.filter(|line| line.readings >= Self::READINGS && read_s >= HOUR - TIME_ERROR)
            .is_some_and(|line| line.t > self.least_t(line.readings - 2))
    }
}

/// Prometheus' `predict_linear(rss[1h], 4 * 3600) > limit`, evaluated at each reading, with `for: 5m`.
///
/// As there, two readings in the hour are enough, and restarts are not known: the line goes through what was before and
/// after. The hour is open to the left.
#[derive(Debug)]
struct Predicted {
    limit: f64,
    hour: Window,
    /// Since when the expression holds.
    pending_s: Option<f64>,
}

impl Predicted {
    const AHEAD_S: f64 = 4.0 * HOUR;
    const FOR_S: f64 = 5.0 * MINUTE;

    fn new(limit: f64) -> Self {
        Self {
            limit,
            hour: Window::default(),
            pending_s: None,
        }
    }
}

impl Rule for Predicted {
    fn alarms(&mut self, seen: Seen) -> bool {
        self.hour.push(seen.at_s, seen.rss);
        self.hour.forget(seen.at_s - HOUR);
        let line = self.hour.line();
        if !line.is_some_and(|line| line.at(seen.at_s + Self::AHEAD_S) > self.limit) {
            self.pending_s = None;
            return false;
        }
        let since_s = *self.pending_s.get_or_insert(seen.at_s);
        seen.at_s - since_s >= Self::FOR_S - TIME_ERROR
    }
}

/// A regression over one life of a process, and a test for plateaus: the line by least squares rises by at least 5 % of
/// the limit an hour, and that through the last third of the time by at least 30 % of it.
///
/// It looks at the last 3 hours of the life, begins anew where the start time of the process changes, and speaks after
/// 30 minutes with at least 12 readings, 4 of them in the last third.
#[derive(Debug)]
struct Levelling {
    limit: f64,
    started_s: Option<f64>,
    whole: Window,
    tail: Window,
}

impl Levelling {
    const LIMIT_SHARE_PER_HOUR: f64 = 0.05;
    const TAIL: f64 = 1.0 / 3.0;
    const TAIL_SHARE: f64 = 0.3;
    const WINDOW_S: f64 = 3.0 * HOUR;
    const WINDOW_LEAST_S: f64 = 30.0 * MINUTE;
    const READINGS: usize = 12;
    const TAIL_READINGS: usize = 4;

    fn new(limit: f64) -> Self {
        Self {
            limit,
            started_s: None,
            whole: Window::default(),
            tail: Window::default(),
        }
    }
}

impl Rule for Levelling {
    fn alarms(&mut self, seen: Seen) -> bool {
        if self.started_s.replace(seen.started_s) != Some(seen.started_s) {
            self.whole.clear();
            self.tail.clear();
        }
        self.whole.push(seen.at_s, seen.rss);
        self.whole.forget(seen.at_s - Self::WINDOW_S - TIME_ERROR);
        self.tail.push(seen.at_s, seen.rss);
        let span = self.whole.first_s().map_or(0.0, |first| seen.at_s - first);
        self.tail.forget(seen.at_s - Self::TAIL * span - TIME_ERROR);
        let (Some(whole), Some(tail)) = (self.whole.line(), self.tail.line()) else {
            return false;
        };
        span >= Self::WINDOW_LEAST_S - TIME_ERROR
            && whole.readings >= Self::READINGS
            && tail.readings >= Self::TAIL_READINGS
            && whole.slope * HOUR >= Self::LIMIT_SHARE_PER_HOUR * self.limit
            && tail.slope >= Self::TAIL_SHARE * whole.slope
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: f64 = 1000.0 * MB;

    /// When `rule` first alarms on readings each 15 s, and at how many, of a process started at 0.
    fn run(rule: &mut dyn Rule, seconds: u32, rss: impl Fn(f64) -> f64) -> (Option<f64>, usize) {
        let times = (0..=seconds / 15).map(|i| f64::from(i) * 15.0);
        let alarms = times.filter(|&at_s| {
            rule.alarms(Seen {
                at_s,
                rss: rss(at_s),
                started_s: 0.0,
            })
        });
        let alarms: Vec<f64> = alarms.collect();
        (alarms.first().copied(), alarms.len())
    }

    /// Regular, and not on a line.
    fn noise(at_s: f64) -> f64 {
        [0.0, 0.7, -0.4, 0.2, -0.6][(at_s / 15.0) as usize % 5] * MB
    }

    #[test]
    fn the_pace_must_hold_for_three_windows() {
        let fast = |at_s: f64| 100.0 * MB + 6.0 * MB * at_s / 60.0;
        assert_eq!(run(&mut Pace::default(), 60, fast), (Some(45.0), 2));
        let slow = |at_s: f64| 100.0 * MB + 4.9 * MB * at_s / 60.0;
        assert_eq!(run(&mut Pace::default(), 6000, slow).1, 0);
        let two_windows = |at_s: f64| 100.0 * MB + 9.0 * MB * (at_s.min(30.0)) / 60.0;
        assert_eq!(run(&mut Pace::default(), 600, two_windows).1, 0);
    }

    #[test]
    fn windows_of_shorter_periods_are_put_together() {
        let mut rule = Pace::default();
        let mut first = None;
        for i in 0..20 {
            let at_s = f64::from(i) * 5.0;
            let rss = 6.0 * MB * at_s / 60.0;
            let alarms = rule.alarms(Seen {
                at_s,
                rss,
                started_s: 0.0,
            });
            first = first.or(alarms.then_some(at_s));
        }
        assert_eq!(first, Some(45.0));
    }

    #[test]
    fn a_slope_must_be_beyond_chance_and_rise() {
        let rises = |at_s: f64| 100.0 * MB + 1.0 * MB * at_s / HOUR + noise(at_s);
        assert_eq!(
            run(&mut Significant::default(), 7200, rises).0,
            Some(HOUR),
            "an hour must have been read"
        );
        let falls = |at_s: f64| 100.0 * MB - 1.0 * MB * at_s / HOUR + noise(at_s);
        assert_eq!(run(&mut Significant::default(), 7200, falls).1, 0);
        let level = |at_s: f64| 100.0 * MB + noise(at_s);
        assert_eq!(run(&mut Significant::default(), 7200, level).1, 0);
        assert_eq!(run(&mut Significant::default(), 7200, |_| 100.0 * MB).1, 0);
    }

    #[test]
    fn the_least_t_is_that_of_the_tables() {
        let mut rule = Significant::default();
        for (freedom, t) in [(10, 3.1693), (30, 2.7500), (240, 2.5965)] {
            assert!((rule.least_t(freedom) - t).abs() < 5e-4, "{freedom}");
        }
    }

    #[test]
    fn predicting_alarms_five_minutes_after_the_line_reaches_the_limit() {
        // 100 MB an hour from 500 MB on: 4 hours before the limit at 1 hour, the alarm 5 minutes later.
        let rises = |at_s: f64| 500.0 * MB + 100.0 * MB * at_s / HOUR;
        let rule = &mut Predicted::new(LIMIT - 1.0);
        assert_eq!(run(rule, 7200, rises).0, Some(HOUR + 300.0));
        // A step is followed by a steep line for some time; 60 MB are not enough for this limit.
        let step = |at_s: f64| {
            if at_s < 3600.0 {
                500.0 * MB
            } else {
                560.0 * MB
            }
        };
        assert_eq!(run(&mut Predicted::new(LIMIT), 7200, step).1, 0);
        let greater = |at_s: f64| {
            if at_s < 3600.0 {
                500.0 * MB
            } else {
                700.0 * MB
            }
        };
        assert!(run(&mut Predicted::new(LIMIT), 10_800, greater).1 > 0);
    }

    #[test]
    fn a_plateau_is_not_told_and_a_line_is() {
        let rises = |at_s: f64| 100.0 * MB + 51.0 * MB * at_s / HOUR;
        assert_eq!(run(&mut Levelling::new(LIMIT), 7200, rises).0, Some(1800.0));
        let slower = |at_s: f64| 100.0 * MB + 49.0 * MB * at_s / HOUR;
        assert_eq!(run(&mut Levelling::new(LIMIT), 7200, slower).1, 0);
        let fills = |at_s: f64| 100.0 * MB + 200.0 * MB * (1.0 - (-at_s / 400.0).exp());
        assert_eq!(run(&mut Levelling::new(LIMIT), 7200, fills).1, 0);
    }

    #[test]
    fn a_restart_splits_what_one_regression_sees() {
        let mut rule = Levelling::new(LIMIT);
        // 40 minutes at 100 MB, then a new process at 400 MB: a line through both rises, each by itself does not.
        for i in 0..320 {
            let at_s = f64::from(i) * 15.0;
            let (rss, started_s) = match at_s < 2400.0 {
                true => (100.0 * MB, 0.0),
                false => (400.0 * MB, 2400.0),
            };
            assert!(
                !rule.alarms(Seen {
                    at_s,
                    rss,
                    started_s
                }),
                "{at_s}"
            );
        }
    }

    #[test]
    fn alarms_in_a_row_are_one_and_time_going_back_is_passed_over() {
        struct At(Vec<f64>);
        impl Rule for At {
            fn alarms(&mut self, seen: Seen) -> bool {
                self.0.contains(&seen.at_s)
            }
        }
        let readings =
            corpus::history(corpus::Family::Sparse, 1).replicas[0].readings[..8].to_vec();
        let times = [0.0, 15.0, 30.0, 20.0, 45.0, 60.0, 75.0, 90.0];
        let readings: Vec<Reading> = readings
            .into_iter()
            .zip(times)
            .map(|(reading, at_s)| Reading { at_s, ..reading })
            .collect();
        let told = replay(&mut At(vec![15.0, 30.0, 20.0, 60.0, 90.0]), &readings);
        let alarms: Vec<(f64, f64)> = told
            .alarms
            .iter()
            .map(|it| (it.from_s, it.until_s))
            .collect();
        assert_eq!(alarms, [(15.0, 30.0), (60.0, 60.0), (90.0, 90.0)]);
    }
}
