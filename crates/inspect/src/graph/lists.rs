//! Pointers kept for the one walk that goes anywhere, in little memory: four bytes each, and one for each object.
//!
//! A depth-first walk takes the objects in no order that memory knows. Of a heap that is read as it is needed, each step
//! would be a read; so the pointers are read in order before, as long as they fit, and given back after the walk.

use std::collections::HashMap;
use std::ops::Range;

use super::bits::Bits;
use super::edges::Edges;
use super::roots::Roots;
use super::whole::{Direct, Walked};

/// All that is kept may take so many bytes per object; with what the walk itself takes that is below 24.
const BYTES_PER_OBJECT: u64 = 13;
/// The number of objects in a segment, a multiple of a block.
const SEGMENT: u32 = 1 << 16;
/// Objects that share the beginning of their lists.
const BLOCK: u32 = 32;
/// So many pointers, or more: the block's lists begin where [`Segment::wide`] says.
const MANY: u8 = u8::MAX;

/// The pointers of all objects at others that have pointers.
pub(super) struct Lists<'a, E> {
    of: &'a Direct<'a, E>,
    segments: Vec<Segment>,
}

/// Those of successive objects.
struct Segment {
    /// One list after the other.
    targets: Box<[u32]>,
    /// By block: where its first list begins.
    starts: Vec<u32>,
    /// By object: how many pointers it has.
    counts: Vec<u8>,
    /// By block that has an object with many: where each of its lists begins, and where the last one ends.
    wide: HashMap<u32, Vec<u32>>,
}

impl<'a, E: Edges> Lists<'a, E> {
    /// One walk over all pointers in their order. `None` when they do not fit.
    pub(super) fn new(of: &'a Direct<'a, E>) -> Option<Self> {
        let objects = of.objects();
        let mut left = u64::from(objects) * BYTES_PER_OBJECT;
        let mut segments = Vec::with_capacity(objects.div_ceil(SEGMENT) as usize);
        // Used again: room that a growing list leaves behind would stay ours, and be held beside the lists.
        let mut found = Vec::new();
        for first in (0..objects).step_by(SEGMENT as usize) {
            let end = objects.min(first.saturating_add(SEGMENT));
            let segment = Segment::new(of, first..end, left, &mut found)?;
            left = left.checked_sub(segment.held())?;
            segments.push(segment);
        }
        Some(Self { of, segments })
    }
}

impl Segment {
    fn new<E: Edges>(
        of: &Direct<'_, E>,
        range: Range<u32>,
        left: u64,
        found: &mut Vec<u32>,
    ) -> Option<Self> {
        let mut ends = vec![0u32; range.len()];
        let targets_max = (left / 4).min(u32::MAX.into()) as usize;
        found.clear();
        of.each_inner_in(range.clone(), |source, target| {
            if found.len() < targets_max {
                found.push(target);
            }
            ends[(source - range.start) as usize] = found.len() as u32;
        });
        if found.len() >= targets_max {
            return None;
        }
        let mut segment = Self {
            targets: found.as_slice().into(),
            starts: Vec::with_capacity(ends.len().div_ceil(BLOCK as usize)),
            counts: Vec::with_capacity(ends.len()),
            wide: HashMap::new(),
        };
        let mut start = 0;
        for (block, ends) in (0..).zip(ends.chunks_mut(BLOCK as usize)) {
            segment.starts.push(start);
            let mut begin = start;
            let mut is_wide = false;
            for end in ends.iter_mut() {
                // Those without any were not met.
                *end = begin.max(*end);
                let count = u8::try_from(*end - begin).unwrap_or(MANY);
                is_wide |= count == MANY;
                segment.counts.push(count);
                begin = *end;
            }
            if is_wide {
                let starts = [start].into_iter().chain(ends.iter().copied());
                segment.wide.insert(block, starts.collect());
            }
            start = begin;
        }
        Some(segment)
    }

    /// The targets of the `at`th object.
    #[inline]
    fn of(&self, at: u32) -> &[u32] {
        let (block, place) = (at / BLOCK, (at % BLOCK) as usize);
        let counts = self
            .counts
            .get((block * BLOCK) as usize..)
            .unwrap_or_default();
        let before = counts.get(..place).unwrap_or_default();
        let before: u32 = before.iter().map(|&count| u32::from(count)).sum();
        let start = self
            .starts
            .get(block as usize)
            .map_or(0, |start| start + before);
        let count = counts.get(place).copied().unwrap_or(0);
        let mut range = start..start + u32::from(count);
        if !self.wide.is_empty()
            && let Some(starts) = self.wide.get(&block)
        {
            range = starts[place]..starts[place + 1];
        }
        let range = range.start as usize..range.end as usize;
        self.targets.get(range).unwrap_or_default()
    }

    fn held(&self) -> u64 {
        let wide = self.wide.len() * (BLOCK as usize + 16) * 4;
        let words = self.targets.len() + self.starts.capacity();
        (4 * words + self.counts.capacity() + wide) as u64
    }
}

impl<E: Edges> Walked for Lists<'_, E> {
    fn objects(&self) -> u32 {
        self.of.objects()
    }

    fn roots(&self) -> &Roots {
        self.of.roots()
    }

    fn inner(&self) -> u32 {
        self.of.inner()
    }

    fn never_entered(&self) -> Bits {
        self.of.never_entered()
    }

    #[inline]
    fn each_from(&self, slot: u32, from: u32, mut visit: impl FnMut(u32) -> bool) -> Option<u32> {
        if slot >= self.objects() {
            return self.of.each_from(slot, from, visit);
        }
        let segment = self.segments.get((slot / SEGMENT) as usize)?;
        let targets = segment.of(slot % SEGMENT).get(from as usize..)?;
        for (at, &target) in (from..).zip(targets) {
            if !visit(target) {
                return Some(at + 1);
            }
        }
        None
    }

    #[inline]
    fn touch(&self, slot: u32) -> u32 {
        let segment = self.segments.get((slot / SEGMENT) as usize);
        let count = segment.and_then(|of| of.counts.get((slot % SEGMENT) as usize));
        count.map_or(0, |&count| count.into())
    }

    fn held(&self) -> u64 {
        self.of.held() + self.segments.iter().map(Segment::held).sum::<u64>()
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::Lists as Plain;
    use super::super::whole::Direct;
    use super::*;

    fn targets(of: &impl Walked, slot: u32) -> Vec<u32> {
        let mut found = Vec::new();
        of.each_from(slot, 0, |target| {
            found.push(target);
            true
        });
        found
    }

    #[test]
    fn lists_are_what_was_read_however_long_they_are() {
        // Several blocks and segments; one object with far more pointers than a byte counts.
        let objects = SEGMENT + 100;
        let mut lists: Vec<Vec<u32>> = (0..objects)
            .map(|at| {
                (0..at % 4)
                    .map(|to| (at * 7 + to * 13 + 1) % objects)
                    .collect()
            })
            .collect();
        lists[70] = (0..1000).map(|to| to * 3).collect();
        let plain = Plain(lists);
        let roots = Roots::new(&[0], &[(0, 70)]);
        let direct = Direct::new(&plain, &roots);
        let kept = Lists::new(&direct).unwrap();
        let leaves = direct.never_entered();
        for slot in 0..=objects {
            let found = targets(&kept, slot);
            let mut wanted = targets(&direct, slot);
            // Pointers at objects without any, and at the object itself, lead nowhere new.
            wanted.retain(|&to| slot == objects || to != slot && !leaves.get(to));
            assert_eq!(found, wanted, "of {slot}");
        }
        let mut seen = Vec::new();
        let next = kept.each_from(70, 500, |to| {
            seen.push(to);
            seen.len() < 3
        });
        assert_eq!((seen.len(), next), (3, Some(503)));
        assert!(kept.held() < direct.held() + u64::from(objects) * BYTES_PER_OBJECT);
    }

    #[test]
    fn what_does_not_fit_is_not_kept() {
        let objects = 2000;
        let many = (0..4).map(|at| vec![at + 1; 10_000]);
        let lists: Vec<Vec<u32>> = many.chain((4..objects).map(|_| vec![0])).collect();
        let plain = Plain(lists);
        let roots = Roots::new(&[0], &[(0, 4)]);
        assert!(Lists::new(&Direct::new(&plain, &roots)).is_none());
    }
}
