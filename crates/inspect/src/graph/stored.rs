//! Pointers walked once and kept, for walks that come back to them.

use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use super::bits::Bits;
use super::edges::Edges;

/// No target: beyond every object.
const NONE: u32 = u32::MAX >> 1;
/// In the second half of a row: the targets lie in the segment, and this many of them.
const ELSEWHERE: u32 = 1 << 31;
/// The number of objects in a segment is a power of two, so that finding it is a shift.
const SEGMENT_SHIFT_MIN: u32 = 16;
/// About this many segments, for threads to share.
const SEGMENTS: u32 = 16;

/// The pointers of a heap: 8 bytes per object, which hold up to two targets, and 4 per target where there are more.
///
/// Most objects have two pointers or fewer, so most visits cost one miss of the cache instead of two.
#[derive(Debug)]
pub(crate) struct Stored<'a, E> {
    from: &'a E,
    rows: Vec<[u32; 2]>,
    segments: Vec<Vec<u32>>,
    shift: u32,
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

    /// Bytes held.
    pub(crate) fn held(&self) -> u64 {
        self.once.held() + self.more.held()
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
        let mut rows = vec![[NONE; 2]; objects as usize];
        let parts: Vec<_> = rows.chunks_mut(1 << shift).map(Mutex::new).collect();
        let segments: Vec<_> = parts.iter().map(|_| Mutex::new(Vec::new())).collect();
        let next = AtomicU32::new(0);
        let work = || {
            let mut popularity = Popularity::new(objects);
            loop {
                let at = next.fetch_add(1, Ordering::Relaxed);
                let Some(part) = parts.get(at as usize) else {
                    return popularity;
                };
                let (Ok(mut part), Ok(mut segment)) = (part.lock(), segments[at as usize].lock())
                else {
                    continue;
                };
                let first = at << shift;
                let range = first..first + part.len() as u32;
                *segment = fill(from, range, &mut part, &mut popularity);
            }
        };
        let popularity = thread::scope(|scope| {
            let helpers: Vec<_> = (1..threads.clamp(1, parts.len().max(1)))
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
        drop(parts);
        let segments = segments
            .into_iter()
            .map(|segment| segment.into_inner().unwrap_or_default())
            .collect();
        let stored = Self {
            from,
            rows,
            segments,
            shift,
        };
        (stored, popularity)
    }

    /// The objects that have pointers.
    pub(crate) fn pointing(&self) -> Bits {
        let mut pointing = Bits::new(self.rows.len());
        for (word, rows) in pointing.words_mut().iter_mut().zip(self.rows.chunks(64)) {
            for (at, row) in rows.iter().enumerate() {
                *word |= u64::from(row[0] != NONE) << at;
            }
        }
        pointing
    }

    /// Bytes held.
    pub(crate) fn held(&self) -> u64 {
        let targets: usize = self.segments.iter().map(Vec::capacity).sum();
        (self.rows.capacity() * 8 + targets * 4) as u64
    }

    #[inline]
    fn targets(&self, object: u32) -> (&[u32], [u32; 2]) {
        let Some(&row) = self.rows.get(object as usize) else {
            return (&[], [NONE; 2]);
        };
        if row[1] & ELSEWHERE == 0 {
            return (&[], row);
        }
        let (start, len) = (row[0] as usize, (row[1] & !ELSEWHERE) as usize);
        let segment = &self.segments[(object >> self.shift) as usize];
        (&segment[start..start + len], [NONE; 2])
    }
}

/// Fills the rows of `range`; returns the targets of those that have more than two.
fn fill<E: Edges>(
    from: &E,
    range: Range<u32>,
    rows: &mut [[u32; 2]],
    popularity: &mut Popularity,
) -> Vec<u32> {
    let (objects, first) = (from.objects(), range.start);
    let mut segment: Vec<u32> = Vec::new();
    from.each_in(range, |source, target| {
        if target >= objects || target == source {
            return;
        }
        let Some(row) = rows.get_mut((source - first) as usize) else {
            return;
        };
        popularity.count(target);
        match *row {
            [NONE, _] => row[0] = target,
            [_, NONE] => row[1] = target,
            [one, two] if two & ELSEWHERE == 0 => {
                *row = [segment.len() as u32, ELSEWHERE | 3];
                segment.extend([one, two, target]);
            }
            _ => {
                segment.push(target);
                row[1] += 1;
            }
        }
    });
    segment.shrink_to_fit();
    segment
}

impl<E: Edges> Edges for Stored<'_, E> {
    fn objects(&self) -> u32 {
        self.rows.len() as u32
    }

    fn bytes(&self, object: u32) -> u64 {
        self.from.bytes(object)
    }

    fn bytes_in(&self, range: Range<u32>, visit: impl FnMut(u32, u64)) {
        self.from.bytes_in(range, visit);
    }

    #[inline]
    fn each_from(&self, object: u32, from: u32, mut visit: impl FnMut(u32) -> bool) -> Option<u32> {
        let (many, few) = self.targets(object);
        let targets = if many.is_empty() { &few[..] } else { many };
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
        self.rows.get(object as usize).map_or(0, |row| row[0])
    }
}
