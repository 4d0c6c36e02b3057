//! Time as it is stored and as it is measured.
//!
//! Stored times are [`UnixMs`]. Durations and deadlines come from [`Clock::monotonic`], which
//! neither jumps nor runs backwards. All code takes a clock, so tests drive every layer by one
//! [`SimClock`].

use std::fmt;
use std::sync::Mutex;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Milliseconds since 1970-01-01T00:00:00Z, as Prometheus stores times.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct UnixMs(pub i64);

impl UnixMs {
    /// The time `duration` after this one; saturates at the end of time.
    #[must_use]
    pub fn after(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(millis(duration)))
    }

    /// The time `duration` before this one; saturates at the beginning of time.
    #[must_use]
    pub fn before(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(millis(duration)))
    }

    /// How long after `earlier` this is; zero if it is before.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// Seconds since the epoch, with the milliseconds as a fraction.
    #[must_use]
    pub fn as_secs_f64(self) -> f64 {
        self.0 as f64 / 1000.0
    }

    /// RFC 3339 in UTC with seconds, such as `2026-11-21T22:30:00Z`: the form of every time in our
    /// JSON. Years outside 0 to 9999 are clamped.
    #[must_use]
    pub fn rfc3339(self) -> String {
        let (year, month, day, hour, minute, second) = self.civil();
        format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
    }

    /// Reads what [`UnixMs::rfc3339`] writes. `None` for anything else.
    #[must_use]
    pub fn parse_rfc3339(text: &str) -> Option<Self> {
        let bytes = text.as_bytes();
        if bytes.len() != 20 || !text.is_ascii() || bytes[19] != b'Z' {
            return None;
        }
        let separators = [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':')];
        if separators.iter().any(|&(at, byte)| bytes[at] != byte) {
            return None;
        }
        let number = |from: usize, to: usize| text.get(from..to)?.parse::<i64>().ok();
        let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
        let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
        if !(1..=12).contains(&month) || !(1..=31).contains(&day) {
            return None;
        }
        if !(0..24).contains(&hour) || !(0..60).contains(&minute) || !(0..61).contains(&second) {
            return None;
        }
        let days = days_from_civil(year, month, day);
        Some(Self(
            (days * 86_400 + hour * 3_600 + minute * 60 + second) * 1000,
        ))
    }

    fn civil(self) -> (i64, i64, i64, i64, i64, i64) {
        // 0000-01-01 to 9999-12-31, so that the text always has its 20 characters.
        let seconds = self
            .0
            .div_euclid(1000)
            .clamp(-62_167_219_200, 253_402_300_799);
        let (days, rest) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
        let (year, month, day) = civil_from_days(days);
        (year, month, day, rest / 3_600, rest / 60 % 60, rest % 60)
    }
}

impl fmt::Display for UnixMs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.rfc3339())
    }
}

/// `#[serde(with = "model::time::rfc3339")]`: a time as RFC 3339 text, as all JSON for people and
/// other programs has it.
pub mod rfc3339 {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    use super::UnixMs;

    /// Writes the time as RFC 3339 text.
    ///
    /// # Errors
    /// Those of the serializer.
    pub fn serialize<S: Serializer>(time: &UnixMs, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&time.rfc3339())
    }

    /// Reads RFC 3339 text in UTC.
    ///
    /// # Errors
    /// If the text is not `YYYY-MM-DDTHH:MM:SSZ`.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<UnixMs, D::Error> {
        let text = String::deserialize(deserializer)?;
        UnixMs::parse_rfc3339(&text)
            .ok_or_else(|| D::Error::custom(format!("expected 2026-11-21T22:30:00Z, found {text}")))
    }

    /// The same for a time that may be absent.
    pub mod option {
        use serde::{Deserialize, Deserializer, Serializer, de::Error};

        use crate::time::UnixMs;

        /// Writes the time as RFC 3339 text, or null.
        ///
        /// # Errors
        /// Those of the serializer.
        pub fn serialize<S: Serializer>(t: &Option<UnixMs>, s: S) -> Result<S::Ok, S::Error> {
            match t {
                Some(t) => s.serialize_str(&t.rfc3339()),
                None => s.serialize_none(),
            }
        }

        /// Reads RFC 3339 text in UTC, or null.
        ///
        /// # Errors
        /// If it is neither.
        pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Option<UnixMs>, D::Error> {
            let Some(text) = Option::<String>::deserialize(d)? else {
                return Ok(None);
            };
            UnixMs::parse_rfc3339(&text)
                .map(Some)
                .ok_or_else(|| D::Error::custom(format!("expected RFC 3339 in UTC, found {text}")))
        }
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// Days since 1970-01-01 of a date in the Gregorian calendar. The year is counted from March, so
/// that the leap day is its last.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

/// The inverse of [`days_from_civil`].
fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 {
        shifted_month + 3
    } else {
        shifted_month - 9
    };
    (era * 400 + year_of_era + i64::from(month <= 2), month, day)
}

/// Where time comes from. The daemon passes the system's, tests a [`SimClock`].
pub trait Clock: Send + Sync {
    /// The wall clock: for times that are stored or shown. It may jump.
    fn now(&self) -> UnixMs;

    /// Time since some fixed moment: for durations and deadlines. It never runs backwards.
    fn monotonic(&self) -> Duration;
}

/// What makes a wall clock steady: when it is set back by up to an hour, the time that is shown goes on
/// from where it was, a hundredth slower, until the clock has caught up. So no sample is older than the
/// one before it, and a leak's slope stays what it is. A clock that is set ahead is followed at once, and
/// so is one that is set back further: it was wrong before.
#[derive(Debug, Default)]
pub struct Steady(Mutex<Option<Shown>>);

#[derive(Debug, Clone, Copy)]
struct Shown {
    /// What was shown, in nanoseconds since 1970: sums of milliseconds would lose their fractions.
    time_ns: i128,
    /// How far that was ahead of the clock.
    ahead_ns: i128,
    monotonic: Duration,
}

/// Beyond this, a clock that is set back is followed.
const BACK_MAX: Duration = Duration::from_secs(3_600);
/// The part of the time that passes by which the time shown lags until the clock has caught up.
const SLEWED_PART: i128 = 100;

impl Steady {
    /// One that has shown nothing yet.
    #[must_use]
    pub const fn new() -> Self {
        Self(Mutex::new(None))
    }

    /// The time to show when the wall clock shows `wall`, and `monotonic` is of the same moment.
    pub fn show(&self, wall: UnixMs, monotonic: Duration) -> UnixMs {
        let mut shown = self
            .0
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let wall_ns = i128::from(wall.0) * 1_000_000;
        let mut time_ns = wall_ns;
        if let Some(before) = *shown {
            let passed = monotonic.saturating_sub(before.monotonic).as_nanos();
            let passed = i128::try_from(passed).unwrap_or(0);
            let slewed = before.ahead_ns.min(passed / SLEWED_PART);
            let expected = before.time_ns + passed - slewed;
            let back_ns_max = i128::try_from(BACK_MAX.as_nanos()).unwrap_or(0);
            if (0..=back_ns_max).contains(&(expected - wall_ns)) {
                time_ns = expected;
            }
        }
        *shown = Some(Shown {
            time_ns,
            ahead_ns: time_ns - wall_ns,
            monotonic,
        });
        UnixMs(i64::try_from(time_ns / 1_000_000).unwrap_or(wall.0))
    }
}

/// A clock that stands still until it is told to go on.
#[derive(Debug)]
pub struct SimClock(Mutex<(UnixMs, Duration)>);

impl SimClock {
    /// A clock that shows `now`.
    #[must_use]
    pub fn new(now: UnixMs) -> Self {
        Self(Mutex::new((now, Duration::ZERO)))
    }

    /// Lets `duration` pass on both faces of the clock.
    pub fn advance(&self, duration: Duration) {
        let mut time = self.lock();
        *time = (time.0.after(duration), time.1 + duration);
    }

    /// Sets its wall clock, as people and NTP do.
    pub fn set(&self, now: UnixMs) {
        self.lock().0 = now;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, (UnixMs, Duration)> {
        // Two plain numbers cannot be left half changed by a panic elsewhere.
        self.0
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Clock for SimClock {
    fn now(&self) -> UnixMs {
        self.lock().0
    }

    fn monotonic(&self) -> Duration {
        self.lock().1
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn rfc3339_of_known_moments() {
        let rows = [
            ("epoch", 0, "1970-01-01T00:00:00Z"),
            ("leap day", 951_782_400_000, "2000-02-29T00:00:00Z"),
            ("before the epoch", -1, "1969-12-31T23:59:59Z"),
            ("this design", 1_795_300_200_000, "2026-11-21T22:30:00Z"),
        ];
        for (name, ms, text) in rows {
            assert_eq!(UnixMs(ms).rfc3339(), text, "{name}");
        }
    }

    #[test]
    fn a_clock_set_back_is_caught_up_with_and_one_set_ahead_is_followed() {
        const S: Duration = Duration::from_secs(1);
        let start = UnixMs(1_795_300_200_000);
        let (clock, steady) = (SimClock::new(start), Steady::new());
        let show = || steady.show(clock.now(), clock.monotonic());
        assert_eq!(show(), start);
        clock.set(start.before(10 * S));
        assert_eq!(show(), start, "not back");
        clock.advance(100 * S);
        assert_eq!(show(), start.after(99 * S), "a hundredth slower");
        // However often it is asked.
        for _ in 0..100_000 {
            clock.advance(Duration::from_millis(1));
            show();
        }
        assert_eq!(show(), start.after(198 * S));
        clock.advance(1_000 * S);
        assert_eq!(show(), clock.now(), "caught up");
        clock.set(clock.now().after(5_000 * S));
        assert_eq!(show(), clock.now(), "ahead");
        clock.set(clock.now().before(5_000 * S));
        assert_eq!(show(), clock.now(), "far back: it was wrong");
    }

    #[test]
    fn parse_refuses_what_is_not_a_time() {
        let rows = [
            "",
            "2026-11-21",
            "2026-13-21T22:30:00Z",
            "2026-11-21T22:30:00+01:00",
        ];
        for text in rows {
            assert_eq!(UnixMs::parse_rfc3339(text), None, "{text}");
        }
        assert_eq!(UnixMs::parse_rfc3339("20é6-11-21T22:30:00"), None);
    }

    proptest! {
        #[test]
        fn parse_reads_what_is_written(seconds in -62_167_219_200i64..253_402_300_799) {
            let time = UnixMs(seconds * 1000);
            prop_assert_eq!(UnixMs::parse_rfc3339(&time.rfc3339()), Some(time));
        }
    }
}
