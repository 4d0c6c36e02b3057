//! One bit per node: small enough to stay in the cache where a number per node does not.

/// A fixed number of bits, all clear at first.
#[derive(Debug, Clone, Default)]
pub(crate) struct Bits {
    words: Vec<u64>,
}

impl Bits {
    /// `len` clear bits.
    pub(crate) fn new(len: usize) -> Self {
        Self {
            words: vec![0; len.div_ceil(64)],
        }
    }

    /// Bit `at`; clear beyond the end.
    #[inline]
    pub(crate) fn get(&self, at: u32) -> bool {
        self.words
            .get(at as usize / 64)
            .is_some_and(|word| word >> (at % 64) & 1 == 1)
    }

    /// Sets bit `at` and tells whether it was clear. Beyond the end nothing is set and nothing was clear.
    #[inline]
    pub(crate) fn set(&mut self, at: u32) -> bool {
        let Some(word) = self.words.get_mut(at as usize / 64) else {
            return false;
        };
        let was_clear = *word >> (at % 64) & 1 == 0;
        *word |= 1 << (at % 64);
        was_clear
    }

    /// Clears bit `at` and tells whether it was set.
    #[inline]
    pub(crate) fn clear(&mut self, at: u32) -> bool {
        let was_set = self.get(at);
        if let Some(word) = self.words.get_mut(at as usize / 64) {
            *word &= !(1 << (at % 64));
        }
        was_set
    }

    /// The bits, 64 at a time.
    pub(crate) fn words_mut(&mut self) -> &mut [u64] {
        &mut self.words
    }

    /// The bits, 64 at a time.
    pub(crate) fn words(&self) -> &[u64] {
        &self.words
    }

    /// Turns the first `len` bits around, and clears those behind.
    pub(crate) fn flip(&mut self, len: usize) {
        for (at, word) in self.words.iter_mut().enumerate() {
            let valid = match len.saturating_sub(at * 64) {
                count @ 0..64 => (1 << count) - 1,
                _ => u64::MAX,
            };
            *word = !*word & valid;
        }
    }

    /// Bytes held.
    pub(crate) fn held(&self) -> u64 {
        self.words.capacity() as u64 * 8
    }
}

#[cfg(test)]
mod tests {
    use super::Bits;

    #[test]
    fn a_bit_is_set_once_and_none_beyond_the_end() {
        let mut bits = Bits::new(65);
        assert!(bits.set(64), "clear before");
        assert!(!bits.set(64), "set before");
        assert!(bits.get(64) && !bits.get(63));
        assert!(!bits.set(1000) && !bits.get(1000), "beyond the end");
        assert_eq!(bits.words(), [0, 1]);
        assert!(bits.clear(64) && !bits.clear(64) && !bits.clear(1000));
        bits.flip(67);
        assert_eq!(bits.words(), [u64::MAX, 0b111]);
    }
}
