//! Pointers walked once and kept, for walks that come back to them.

use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use super::bits::Bits;
use super::edges::Edges;

/// No target: beyond every object.
const NONE: u32 = u32::MAX >> 1;
/// Targets in a row.
const ROW: usize = 4;
/// In the last place of a row: the targets lie in `many`, from the first place on, and this many of them.
const ELSEWHERE: u32 = 1 << 31;
/// The number of objects in a segment is a power of two, so that finding it is a shift.
const SEGMENT_SHIFT_MIN: u32 = 16;
/// About this many segments, for threads to share.
const SEGMENTS: u32 = 16;

/// The pointers of a heap, in one row of 16 bytes per object that has any.
///
/// Most objects have four pointers or fewer, so a visit mostly costs one miss of the cache; whether an object has
/// pointers at all, and where its row is, takes a quarter of a byte per object, which stays in the cache.
#[derive(Debug)]
pub(crate) struct Stored<'a, E> {
    from: &'a E,
    objects: u32,
    segments: Vec<Segment>,
    shift: u32,
}

/// The pointers of successive objects.
#[derive(Debug, Default)]
struct Segment {
    /// For 64 objects at a time: which have pointers, and how many rows there are before theirs.
    places: Vec<(u64, u32)>,
    rows: Vec<[u32; ROW]>,
    many: Vec<u32>,
}

impl Segment {
    #[inline]
    fn row(&self, at: u32) -> Option<&[u32; ROW]> {
        let &(pointing, before) = self.places.get(at as usize / 64)?;
        let bit = 1u64 << (at % 64);
        if pointing & bit == 0 {
            return None;
        }
        let before = before + (pointing & (bit - 1)).count_ones();
        self.rows.get(before as usize)
    }

    /// Adds a pointer of the object `at`, which is the last one that has any so far.
    #[inline]
    fn add(&mut self, at: u32, target: u32) {
        let place = at as usize / 64;
        let bit = 1u64 << (at % 64);
        if self.places[place].0 & bit == 0 {
            if self.places[place].0 == 0 {
                self.places[place].1 = self.rows.len() as u32;
            }
            self.places[place].0 |= bit;
            self.rows.push([target, NONE, NONE, NONE]);
            return;
        }
        let Some(row) = self.rows.last_mut() else {
            return;
        };
        if row[ROW - 1] & ELSEWHERE != 0 {
            row[ROW - 1] += 1;
            self.many.push(target);
        } else if let Some(free) = row.iter_mut().find(|place| **place == NONE) {
            *free = target;
        } else {
            let start = self.many.len() as u32;
            self.many.extend_from_slice(row);
            self.many.push(target);
            *row = [start, NONE, NONE, ELSEWHERE | (ROW as u32 + 1)];
        }
    }
}

/// Which objects are pointed at how often: not at all, once, or more.
#[derive(Debug, Default)]
pub(crate) struct Popularity {
    once: Bits,
    more: Bits,
}

impl Popularity {
    pub(crate) fn new(objects: u32) -> Self {
        Self {
            once: Bits::new(objects as usize),
            more: Bits::new(objects as usize),
        }
    }

    #[inline]
    pub(crate) fn count(&mut self, target: u32) {
        if !self.once.set(target) {
            self.more.set(target);
        }
    }

    /// Adds what another thread has counted.
    pub(crate) fn add(&mut self, other: &Self) {
        let theirs = other.once.words().iter().zip(other.more.words());
        let ours = self.once.words_mut().iter_mut().zip(self.more.words_mut());
        for ((once, more), (their_once, their_more)) in ours.zip(theirs) {
            *more |= their_more | (*once & their_once);
            *once |= their_once;
        }
    }

    /// The objects pointed at exactly once that are not `pointing` themselves.
    pub(crate) fn slim(mut self, pointing: &Bits) -> Bits {
        let others = self.more.words().iter().zip(pointing.words());
        for (once, (more, pointing)) in self.once.words_mut().iter_mut().zip(others) {
            *once &= !more & !pointing;
        }
        self.once
    }
}

impl<'a, E: Edges> Stored<'a, E> {
    /// Walks all pointers of `from` with up to `threads` threads. Pointers of an object at itself and at nothing are
    /// left out.
    pub(crate) fn new(from: &'a E, threads: usize) -> (Self, Popularity) {
        let objects = from.objects();
        let shift = (objects / SEGMENTS)
            .checked_ilog2()
            .map_or(0, |log| log + 1)
            .max(SEGMENT_SHIFT_MIN);
        let count = objects.div_ceil(1 << shift);
        let segments: Vec<Mutex<Segment>> = (0..count).map(|_| Mutex::default()).collect();
        let next = AtomicU32::new(0);
        let work = || {
            let mut popularity = Popularity::new(objects);
            loop {
                let at = next.fetch_add(1, Ordering::Relaxed);
                let Some(segment) = segments.get(at as usize) else {
                    return popularity;
                };
                let first = at << shift;
                let range = first..objects.min(first + (1 << shift));
                if let Ok(mut segment) = segment.lock() {
                    *segment = fill(from, range, &mut popularity);
                }
            }
        };
        let popularity = thread::scope(|scope| {
            let helpers: Vec<_> = (1..threads.clamp(1, segments.len().max(1)))
                .map(|_| scope.spawn(work))
                .collect();
            let mut all = work();
            for helper in helpers {
                match helper.join() {
                    Ok(counted) => all.add(&counted),
                    Err(panic) => std::panic::resume_unwind(panic),
                }
            }
            all
        });
        let segments = segments
            .into_iter()
            .map(|segment| segment.into_inner().unwrap_or_default())
            .collect();
        let stored = Self {
            from,
            objects,
            segments,
            shift,
        };
        (stored, popularity)
    }

    /// The objects that have pointers.
    pub(crate) fn pointing(&self) -> Bits {
        let mut pointing = Bits::new(self.objects as usize);
        let places = self.segments.iter().flat_map(|segment| &segment.places);
        for (word, place) in pointing.words_mut().iter_mut().zip(places) {
            *word = place.0;
        }
        pointing
    }

    /// Bytes held.
    pub(crate) fn held(&self) -> u64 {
        let held = self.segments.iter().map(|segment| {
            let rows = segment.places.capacity() + segment.rows.capacity();
            rows * 16 + segment.many.capacity() * 4
        });
        held.sum::<usize>() as u64
    }

    #[inline]
    fn row(&self, object: u32) -> Option<(&Segment, &[u32; ROW])> {
        let segment = self.segments.get((object >> self.shift) as usize)?;
        let row = segment.row(object & ((1 << self.shift) - 1))?;
        Some((segment, row))
    }
}

/// The pointers of the objects in `range`.
fn fill<E: Edges>(from: &E, range: Range<u32>, popularity: &mut Popularity) -> Segment {
    let (objects, first) = (from.objects(), range.start);
    let mut segment = Segment {
        places: vec![(0, 0); range.len().div_ceil(64)],
        ..Segment::default()
    };
    from.each_in(range, |source, target| {
        if target < objects && target != source {
            popularity.count(target);
            segment.add(source - first, target);
        }
    });
    segment.rows.shrink_to_fit();
    segment.many.shrink_to_fit();
    segment
}

impl<E: Edges> Edges for Stored<'_, E> {
    fn objects(&self) -> u32 {
        self.objects
    }

    fn bytes(&self, object: u32) -> u64 {
        self.from.bytes(object)
    }

    fn bytes_in(&self, range: Range<u32>, visit: impl FnMut(u32, u64)) {
        self.from.bytes_in(range, visit);
    }

    #[inline]
    fn each_from(&self, object: u32, from: u32, mut visit: impl FnMut(u32) -> bool) -> Option<u32> {
        let (segment, row) = self.row(object)?;
        let targets = if row[ROW - 1] & ELSEWHERE == 0 {
            &row[..]
        } else {
            let (start, len) = (row[0] as usize, (row[ROW - 1] & !ELSEWHERE) as usize);
            segment.many.get(start..start + len)?
        };
        for (at, &target) in targets.iter().enumerate().skip(from as usize) {
            if target == NONE {
                return None;
            }
            if !visit(target) {
                return Some(at as u32 + 1);
            }
        }
        None
    }

    #[inline]
    fn touch(&self, object: u32) -> u32 {
        self.row(object).map_or(0, |(_, row)| row[0])
    }
}
