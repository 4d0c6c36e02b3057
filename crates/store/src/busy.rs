//! Since when the disk has been at work for us. A disk that hangs answers nobody, so whoever shows how the
//! store is asks here and does not wait for a lock.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use model::Clock;

/// The longest that a write takes on a disk that is well, slow ones included.
const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) struct Busy {
    clock: Arc<dyn Clock>,
    works: Mutex<Works>,
}

#[derive(Default)]
struct Works {
    next: u64,
    /// When each began.
    began: BTreeMap<u64, Duration>,
}

/// A piece of work that ends when it is dropped.
pub(crate) struct AtWork<'a> {
    busy: &'a Busy,
    number: u64,
}

impl Busy {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            works: Mutex::default(),
        }
    }

    pub(crate) fn begin(&self) -> AtWork<'_> {
        let now = self.clock.monotonic();
        let mut works = self.lock();
        let number = works.next;
        works.next += 1;
        works.began.insert(number, now);
        AtWork { busy: self, number }
    }

    /// For how long the oldest piece of work has gone on, if that is longer than a disk may take.
    pub(crate) fn hangs_for(&self) -> Option<Duration> {
        let oldest = self.lock().began.values().min().copied()?;
        let time = self.clock.monotonic().saturating_sub(oldest);
        (time >= PATIENCE).then_some(time)
    }

    fn lock(&self) -> MutexGuard<'_, Works> {
        self.works.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for AtWork<'_> {
    fn drop(&mut self) {
        self.busy.lock().began.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use model::{SimClock, UnixMs};

    use super::*;

    #[test]
    fn the_oldest_work_tells_how_long_the_disk_has_hung() {
        let clock = Arc::new(SimClock::new(UnixMs(0)));
        let busy = Busy::new(clock.clone());
        let first = busy.begin();
        clock.advance(Duration::from_secs(6));
        let second = busy.begin();
        assert_eq!(busy.hangs_for(), None, "a slow disk may take that long");
        clock.advance(Duration::from_secs(6));
        assert_eq!(busy.hangs_for(), Some(Duration::from_secs(12)));
        drop(first);
        assert_eq!(busy.hangs_for(), None, "the other one is younger");
        drop(second);
        clock.advance(Duration::from_secs(60));
        assert_eq!(busy.hangs_for(), None, "nothing is under way");
    }
}
