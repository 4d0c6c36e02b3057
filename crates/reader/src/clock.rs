//! The system's clock. The reader is a process of its own, so it brings its own; tests pass
//! another.

use std::time::Duration;

use model::time::Steady;
use model::{Clock, UnixMs};
use rustix::time::{ClockId, Timespec, clock_gettime};

/// The same rule as in the main process, so that times of both stay comparable.
static STEADY: Steady = Steady::new();

/// The wall clock, steadied, and `CLOCK_MONOTONIC`.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> UnixMs {
        let wall = UnixMs(millis(clock_gettime(ClockId::Realtime)));
        STEADY.show(wall, self.monotonic())
    }

    fn monotonic(&self) -> Duration {
        let now = clock_gettime(ClockId::Monotonic);
        Duration::new(
            u64::try_from(now.tv_sec).unwrap_or(0),
            u32::try_from(now.tv_nsec).unwrap_or(0),
        )
    }
}

/// Milliseconds since boot, suspended time included: what start ticks count.
pub(crate) fn since_boot_ms() -> i64 {
    millis(clock_gettime(ClockId::Boottime))
}

fn millis(time: Timespec) -> i64 {
    time.tv_sec
        .saturating_mul(1000)
        .saturating_add(time.tv_nsec / 1_000_000)
}
