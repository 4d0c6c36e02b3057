//! The system's clock, handed to everything that needs one.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use model::time::Steady;
use model::{Clock, UnixMs};

/// The machine's own clocks, the wall clock steadied.
#[derive(Debug)]
pub struct SystemClock {
    started: Instant,
    steady: Steady,
}

impl Default for SystemClock {
    fn default() -> Self {
        Self {
            started: Instant::now(),
            steady: Steady::new(),
        }
    }
}

impl Clock for SystemClock {
    fn now(&self) -> UnixMs {
        // A machine whose clock stands before 1970 gets the epoch.
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let wall = UnixMs(i64::try_from(since.as_millis()).unwrap_or(i64::MAX));
        self.steady.show(wall, self.monotonic())
    }

    fn monotonic(&self) -> Duration {
        self.started.elapsed()
    }
}
