//! Which of a target's own series are stored: so many as one target may have, under labels of a bearable
//! size. What a scrape invents anew each time must not grow without end here.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::time::Duration;

use model::Labels;

/// Series that a target's own scrapes may have stored at one time.
pub(crate) const SERIES_MAX: usize = 10_000;
/// Bytes of all names and values of one series' labels.
pub(crate) const LABEL_BYTES_MAX: usize = 2 << 10;
/// A series that was not seen for so long makes room, as it does in the store's memory.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(3_600);
const SWEEP_EVERY: Duration = Duration::from_secs(60);

#[derive(Default)]
pub(crate) struct Admission {
    /// When each was seen last, by the hash of its labels: they may be long.
    seen: HashMap<u64, Duration>,
    hashes: RandomState,
    swept: Duration,
}

impl Admission {
    /// Whether a sample under these labels is stored.
    pub(crate) fn admits(&mut self, labels: &Labels, now: Duration) -> bool {
        let bytes = labels.iter().map(|(name, value)| name.len() + value.len());
        if bytes.sum::<usize>() > LABEL_BYTES_MAX {
            return false;
        }
        if now >= self.swept + SWEEP_EVERY {
            self.swept = now;
            let since = now.saturating_sub(FORGOTTEN_AFTER);
            self.seen.retain(|_, seen| *seen >= since);
        }
        let hash = self.hashes.hash_one(labels);
        if self.seen.len() >= SERIES_MAX && !self.seen.contains_key(&hash) {
            return false;
        }
        self.seen.insert(hash, now);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_has_so_many_series_and_no_more() {
        let mut admission = Admission::default();
        let labels = |number: usize| Labels::metric("m", [("n", number.to_string().as_str())]);
        let at = Duration::from_secs;
        for number in 0..SERIES_MAX {
            assert!(admission.admits(&labels(number), at(1)));
        }
        assert!(!admission.admits(&labels(SERIES_MAX), at(2)), "a new one");
        assert!(admission.admits(&labels(7), at(1_000)), "a known one");
        assert!(
            admission.admits(&labels(SERIES_MAX), at(3_700)),
            "others have ended"
        );
        assert_eq!(admission.seen.len(), 2, "they are forgotten");
    }

    #[test]
    fn a_giant_label_is_left_out() {
        let mut admission = Admission::default();
        let giant = "x".repeat(LABEL_BYTES_MAX);
        let labels = Labels::metric("m", [("giant", giant.as_str())]);
        assert!(!admission.admits(&labels, Duration::ZERO));
    }
}
