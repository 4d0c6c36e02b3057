//! A small cache: the latest used stay.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

/// Values kept: about a megabyte each at most.
const KEPT_MAX: usize = 6;

/// The kept ones, the latest used last.
pub(crate) struct Kept<K, V>(Mutex<VecDeque<(K, Arc<V>)>>);

impl<K, V> Default for Kept<K, V> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: PartialEq + Clone, V> Kept<K, V> {
    pub(crate) fn get(&self, key: &K) -> Option<Arc<V>> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let at = kept.iter().position(|(have, _)| have == key)?;
        let entry = kept.remove(at)?;
        kept.push_back(entry.clone());
        Some(entry.1)
    }

    pub(crate) fn empty(&self) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
    }

    pub(crate) fn put(&self, key: K, made: Arc<V>) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.retain(|(have, _)| *have != key);
        kept.push_back((key, made));
        while kept.len() > KEPT_MAX {
            kept.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_unused_goes() {
        let kept = Kept::default();
        for number in 0..=KEPT_MAX {
            kept.put(number, Arc::new(number));
            assert!(
                kept.get(&1).is_some() || number == 0,
                "used again and again"
            );
        }
        assert!(kept.get(&0).is_none());
        assert!(kept.get(&1).is_some());
        kept.empty();
        assert!(kept.get(&1).is_none());
    }
}
