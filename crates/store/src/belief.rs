//! What time it is when something is to be deleted for its age.
//!
//! A clock that is set a year ahead by mistake must not cost the history of a month. So a jump ahead is
//! believed only once it has lasted; what is deleted meanwhile goes by the time from before.

use std::time::Duration;

use model::UnixMs;

/// A step ahead up to this is no jump: clocks are corrected, machines sleep.
const STEP_MAX: Duration = Duration::from_secs(3_600);

/// A jump that has lasted so long is the time.
const BELIEVED_AFTER: Duration = Duration::from_secs(86_400);

/// The time as it was last believed.
#[derive(Debug)]
pub(crate) struct Belief {
    wall: UnixMs,
    monotonic: Duration,
    doubted_since: Option<Duration>,
}

impl Belief {
    /// Believes `wall`, which may be the time of the newest sample: the clock may have been set since.
    pub(crate) fn new(wall: UnixMs, monotonic: Duration) -> Self {
        Self {
            wall,
            monotonic,
            doubted_since: None,
        }
    }

    /// The time to go by, now that the clocks show these.
    pub(crate) fn now(&mut self, wall: UnixMs, monotonic: Duration) -> UnixMs {
        let passed = monotonic.saturating_sub(self.monotonic);
        let expected = self.wall.after(passed);
        if wall > expected.after(STEP_MAX) {
            let since = *self.doubted_since.get_or_insert(monotonic);
            if monotonic.saturating_sub(since) < BELIEVED_AFTER {
                return expected;
            }
        }
        *self = Self::new(wall, monotonic);
        wall
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3_600);
    const NOW: UnixMs = UnixMs(1_795_300_200_000);

    #[test]
    fn a_jump_ahead_is_believed_once_it_has_lasted() {
        let mut belief = Belief::new(NOW, HOUR);
        let passed = |hours: u32| NOW.after(hours * HOUR);
        assert_eq!(belief.now(passed(1), 2 * HOUR), passed(1));
        let ahead = |hours: u32| passed(hours).after(9_000 * HOUR);
        assert_eq!(belief.now(ahead(2), 3 * HOUR), passed(2), "just now");
        assert_eq!(belief.now(ahead(25), 26 * HOUR), passed(25), "not yet");
        assert_eq!(belief.now(ahead(26), 27 * HOUR), ahead(26), "for a day");
    }

    #[test]
    fn a_jump_that_is_taken_back_was_none() {
        let mut belief = Belief::new(NOW, HOUR);
        let ahead = NOW.after(9_000 * HOUR);
        assert_eq!(belief.now(ahead, HOUR), NOW);
        assert_eq!(belief.now(NOW.before(HOUR), HOUR), NOW.before(HOUR));
        assert_eq!(belief.now(ahead, 30 * HOUR), NOW.after(28 * HOUR), "anew");
    }
}
