//! Light snapshots of a target for its ring: every so often, and early when it comes near its limit, so
//! that there is evidence from before when it dies there.

use std::time::Duration;

use collect::Source;
use locate::Request;
use model::RefusedCapture;

use crate::budget::{self, Pace};
use crate::config::Evidence;
use crate::evidence::{Capture, Subject, Terms};
use crate::rails::Standing;

/// What is taken for the ring.
pub(crate) const REQUESTS: [Request; 3] = [Request::Heap, Request::Goroutine, Request::Mappings];
/// After one that was not complete, as before the endpoint was found, the next comes after so many
/// periods.
const AGAIN_PERIODS: u32 = 10;
/// An extra snapshot is taken when so much of the limit is used,
const LEVELS: [f64; 2] = [0.70, 0.85];
/// once, until so much less is used.
const HYSTERESIS: f64 = 0.05;
/// Of a limit that others share, such as the machine's memory, a target that holds less than this is
/// nobody whose snapshot would tell why it is met.
const SHARE_LEAST: f64 = 0.1;

/// Which levels a target has crossed, each told once for each crossing.
#[derive(Debug, Default)]
pub(crate) struct Levels {
    crossed: [bool; LEVELS.len()],
}

impl Levels {
    /// Whether one more level is crossed now, by a target that itself holds `own_bytes`.
    pub(crate) fn cross(&mut self, standing: &Standing, own_bytes: Option<u64>) -> bool {
        let limit = &standing.limit;
        let Some((bytes, used)) = limit.bytes.zip(limit.used_bytes).filter(|(b, _)| *b > 0) else {
            return false;
        };
        let part = |of: u64| of as f64 / bytes as f64;
        let mut new = false;
        for (level, crossed) in LEVELS.into_iter().zip(&mut self.crossed) {
            if part(used) < level - HYSTERESIS {
                *crossed = false;
            } else if part(used) >= level
                && !*crossed
                && part(own_bytes.unwrap_or(0)) >= SHARE_LEAST
            {
                *crossed = true;
                new = true;
            }
        }
        new
    }
}

/// What a driver keeps of its target's ring.
#[derive(Debug)]
pub(crate) struct Ring {
    settings: Evidence,
    period: Duration,
    due: Duration,
    levels: Levels,
}

/// A snapshot for the ring.
#[derive(Debug)]
pub(crate) struct Snapshot {
    pub(crate) files: Vec<model::EvidenceFile>,
    /// What was not taken: an incident will say so.
    pub(crate) refusals: Vec<RefusedCapture>,
    /// As [`Capture::was_outside`].
    pub(crate) was_outside: bool,
}

impl From<Capture> for Snapshot {
    fn from(capture: Capture) -> Self {
        Self {
            files: capture.files,
            refusals: capture.refusals,
            was_outside: capture.was_outside,
        }
    }
}

impl Ring {
    /// The first is taken when it is `due`, by the monotonic clock, but in time by these settings.
    pub(crate) fn new(settings: Evidence, period: Duration, due: Duration, now: Duration) -> Self {
        let due = due.min(now.saturating_add(settings.ring_interval));
        Self {
            settings,
            period,
            due,
            levels: Levels::default(),
        }
    }

    /// When the next is due.
    pub(crate) fn due(&self) -> Duration {
        self.due
    }

    /// Takes a snapshot where one is due, of a target that stands so and itself holds `own_bytes`.
    pub(crate) async fn take(
        &mut self,
        subject: &Subject,
        source: &Source,
        standing: Standing,
        own_bytes: Option<u64>,
        pace: Pace,
    ) -> Option<Snapshot> {
        let early = self.levels.cross(&standing, own_bytes);
        if source.clock.monotonic() < self.due && !early {
            return None;
        }
        let terms =
            Terms::for_ring(standing, &self.settings).refused_by(pace.refused.map(budget::refusal));
        let capture = subject.capture(source, &REQUESTS, &terms).await;
        // Before the endpoint was found there is nothing to take: it is tried again soon.
        let complete = capture.look.heap.is_some() || subject.process.is_none();
        let pause = match complete {
            true => self.settings.ring_interval * pace.ring,
            false => (self.period * AGAIN_PERIODS).min(self.settings.ring_interval),
        };
        self.due = source.clock.monotonic() + pause;
        Some(capture.into())
    }
}

#[cfg(test)]
mod tests {
    use model::EffectiveLimit;

    use super::*;

    fn at(used_percent: u64) -> Standing {
        Standing {
            limit: EffectiveLimit {
                bytes: Some(1000),
                source: None,
                used_bytes: Some(used_percent * 10),
            },
            goroutines: None,
        }
    }

    #[test]
    fn after_a_reload_the_next_is_due_when_it_was_but_in_time() {
        let settings = Evidence::default();
        let (every, second) = (settings.ring_interval, Duration::from_secs(1));
        let due = |due, now| Ring::new(settings.clone(), second, due, now).due();
        assert_eq!(due(Duration::ZERO, 100 * second), Duration::ZERO, "new");
        assert_eq!(due(105 * second, 100 * second), 105 * second);
        let late = 100 * second + 10 * every;
        assert_eq!(due(late, 100 * second), 100 * second + every, "shorter now");
    }

    #[test]
    fn each_level_is_told_once_for_each_crossing() {
        let mut levels = Levels::default();
        let rows = [
            ("far away", 69, false),
            ("the first level", 70, true),
            ("still there", 75, false),
            ("a bit less", 66, false),
            ("and up again", 71, false),
            ("the second level", 85, true),
            ("beyond", 99, false),
            ("below the second", 79, false),
            ("the second again", 86, true),
            ("a collection that helped", 40, false),
            ("both at once are one", 90, true),
            ("and that was it", 91, false),
        ];
        for (name, used, want) in rows {
            assert_eq!(levels.cross(&at(used), Some(500)), want, "{name}");
        }
    }

    #[test]
    fn nobody_is_captured_for_what_others_use() {
        let mut levels = Levels::default();
        assert!(!levels.cross(&at(90), Some(99)));
        assert!(!levels.cross(&at(90), None));
        assert!(levels.cross(&at(90), Some(100)), "once it holds a tenth");
        assert!(!levels.cross(&Standing::default(), Some(100)), "no limit");
    }
}
