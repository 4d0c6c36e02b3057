//! Pointers from higher numbers to lower ones, kept until their target's turn comes.
//!
//! They are found in order of their sources and needed in order of their targets. Sorting them in two steps, first
//! roughly into buckets while they are found, then exactly within one bucket, never leaves the cache for long.

use std::ops::Range;

/// Numbers in one bucket: 16 bits, so that a kept pointer is 6 bytes.
pub(crate) const BUCKET: u32 = 1 << 16;

/// The pointers at a range of numbers.
#[derive(Debug, Default)]
pub(crate) struct Buckets {
    range: Range<u32>,
    /// (target within the bucket, low and high half of the source)
    kept: Vec<Vec<[u16; 3]>>,
    starts: Vec<u32>,
    sources: Vec<u32>,
}

/// The pointers at some successive numbers, by target.
pub(crate) struct Sorted<'a> {
    /// The first number.
    pub(crate) first: u32,
    /// Per number where its sources begin, and one more, where the last one's end.
    pub(crate) starts: &'a [u32],
    /// The sources.
    pub(crate) sources: &'a [u32],
}

impl Buckets {
    /// For the numbers in `range`.
    pub(crate) fn new(range: Range<u32>) -> Self {
        let count =
            range.end.div_ceil(BUCKET) - (range.start / BUCKET).min(range.end.div_ceil(BUCKET));
        Self {
            range,
            kept: vec![Vec::new(); count as usize],
            ..Self::default()
        }
    }

    /// Makes room for exactly `len` pointers at numbers of the `at`th bucket of the range.
    pub(crate) fn reserve(&mut self, at: u32, len: u64) {
        if let Some(kept) = self.kept.get_mut(at as usize) {
            kept.reserve_exact(len as usize);
        }
    }

    /// Keeps a pointer, if its target is in the range.
    #[inline]
    pub(crate) fn keep(&mut self, source: u32, target: u32) {
        if !self.range.contains(&target) {
            return;
        }
        let bucket = target / BUCKET - self.range.start / BUCKET;
        if let Some(kept) = self.kept.get_mut(bucket as usize) {
            kept.push([target as u16, source as u16, (source >> 16) as u16]);
        }
    }

    /// Bytes held now, and the most that sorting will add.
    pub(crate) fn held(&self) -> u64 {
        let kept: usize = self.kept.iter().map(Vec::capacity).sum();
        let largest = self.kept.iter().map(Vec::len).max().unwrap_or(0);
        let starts = (self.range.len()).min(BUCKET as usize) + 2;
        (kept * 6 + self.kept.capacity() * 24 + (largest + starts) * 4) as u64
    }

    /// Takes the last bucket. Together, the buckets give each number of the range once, from the highest down.
    pub(crate) fn pop(&mut self) -> Option<Sorted<'_>> {
        let kept = self.kept.pop()?;
        let base = (self.range.start / BUCKET + self.kept.len() as u32) * BUCKET;
        let first = base.max(self.range.start);
        let (len, skipped) = ((self.range.end - first) as usize, (first - base) as usize);
        // Counted one place late, so that each place ends as the beginning of its own sources.
        self.starts.clear();
        self.starts.resize(len + 2, 0);
        for [target, ..] in &kept {
            self.starts[usize::from(*target) - skipped + 2] += 1;
        }
        for at in 2..self.starts.len() {
            self.starts[at] += self.starts[at - 1];
        }
        self.sources.clear();
        self.sources.resize(kept.len(), 0);
        for [target, low, high] in kept {
            let place = &mut self.starts[usize::from(target) - skipped + 1];
            self.sources[*place as usize] = u32::from(low) | u32::from(high) << 16;
            *place += 1;
        }
        self.range.end = first;
        Some(Sorted {
            first,
            starts: &self.starts[..=len],
            sources: &self.sources,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{BUCKET, Buckets};

    #[test]
    fn pointers_come_back_by_target_highest_bucket_first() {
        let far = 2 * BUCKET;
        let mut buckets = Buckets::new(BUCKET + 5..far + 3);
        for (source, target) in [
            (9 * BUCKET + 7, far + 1),
            (5, far + 1),
            (6, far + 2),
            (7, BUCKET + 5),
            (8, BUCKET + 4), // before the range
            (8, far + 3),    // behind it
        ] {
            buckets.keep(source, target);
        }
        let sorted = buckets.pop().unwrap();
        assert_eq!((sorted.first, sorted.starts), (far, &[0, 0, 2, 3][..]));
        assert_eq!(sorted.sources, [9 * BUCKET + 7, 5, 6]);
        let sorted = buckets.pop().unwrap();
        assert_eq!(sorted.first, BUCKET + 5);
        assert_eq!(sorted.starts.len(), BUCKET as usize - 5 + 1);
        assert_eq!(
            (&sorted.starts[..3], sorted.sources),
            (&[0, 1, 1][..], &[7][..])
        );
        assert!(buckets.pop().is_none());
    }
}
