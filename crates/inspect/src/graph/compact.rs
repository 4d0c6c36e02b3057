//! Pointers walked once and kept, in a numbering that walks well.

use std::ops::Range;

use super::bits::Bits;
use super::edges::Edges;
use super::huge::Huge;
use super::roots::Roots;
use super::share::share;
use super::whole::{Graph, Walked};

/// No target: beyond every object.
const NONE: u32 = u32::MAX >> 1;
/// Targets in a row.
const ROW: usize = 4;
/// In the last place of a row: the targets lie elsewhere, and the row says where.
const ELSEWHERE: u32 = 1 << 31;
/// In a stream: this is the source of the targets that follow.
const SOURCE: u32 = 1 << 31;
/// The number of objects in a segment is a power of two, and a multiple of 64.
const SEGMENT_SHIFT_MIN: u32 = 16;
/// About this many segments, for threads to share.
const SEGMENTS: u32 = 16;

/// The pointers of a heap and its roots, walked once.
///
/// Objects with pointers have the first slots, in a row of 16 bytes each: most have four pointers or fewer to others
/// that have some, so a visit mostly costs one miss of the cache. Objects without pointers, often more than half of
/// all, have the slots behind, and the pointers at them are kept apart: no walk needs them.
#[derive(Debug)]
pub(crate) struct Compact<'a> {
    roots: &'a Roots,
    objects: u32,
    /// How many objects have pointers.
    inner: u32,
    /// For 64 objects at a time: which have pointers, and how many before them have.
    places: Vec<(u64, u32)>,
    rows: Huge<[u32; ROW]>,
    segments: Vec<Segment>,
    /// Where the targets of each root begin that have pointers, and one more.
    root_starts: Vec<u32>,
    root_targets: Vec<u32>,
    root_leaves: Vec<u32>,
    held_at_most: u64,
}

/// What does not fit into the rows of successive objects.
#[derive(Debug, Default)]
struct Segment {
    /// The targets of sources with more than a row of them.
    many: Vec<u32>,
    /// A stream of the pointers at objects without pointers: a source, then its targets.
    leaves: Vec<u32>,
}

/// The pointers of successive objects, as they were found.
struct Found {
    pointing: Vec<u64>,
    /// A stream, in objects.
    stream: Vec<u32>,
}

impl<'a> Compact<'a> {
    /// Walks all pointers of `from` with up to `threads` threads. Pointers of an object at itself and at nothing are
    /// left out.
    pub(crate) fn new<E: Edges>(from: &E, roots: &'a Roots, threads: usize) -> Self {
        let objects = from.objects();
        let shift = (objects / SEGMENTS)
            .checked_ilog2()
            .map_or(0, |log| log + 1)
            .max(SEGMENT_SHIFT_MIN);
        let ranges = (0..objects.div_ceil(1 << shift)).map(|at| {
            let first = at << shift;
            first..objects.min(first + (1 << shift))
        });
        let found = share(ranges.collect(), threads, |range| find(from, range));
        let found_bytes: usize = found.iter().map(|found| found.stream.capacity() * 4).sum();

        let mut inner = 0;
        let mut places = Vec::with_capacity((objects as usize).div_ceil(64));
        let firsts: Vec<u32> = found
            .iter()
            .map(|found| {
                let first = inner;
                for &pointing in &found.pointing {
                    places.push((pointing, inner));
                    inner += pointing.count_ones();
                }
                first
            })
            .collect();
        let mut compact = Self {
            roots,
            objects,
            inner,
            places,
            rows: Huge::zeroed(inner as usize),
            segments: Vec::new(),
            root_starts: vec![0],
            root_targets: Vec::new(),
            root_leaves: Vec::new(),
            held_at_most: 0,
        };
        let mut rows = std::mem::take(&mut compact.rows);
        let mut left = &mut rows[..];
        let work = found.into_iter().enumerate().map(|(at, found)| {
            let next = firsts.get(at + 1).copied().unwrap_or(inner);
            let rows = left.split_off_mut(..(next - firsts[at]) as usize);
            (
                at as u32,
                firsts[at],
                found.stream,
                rows.unwrap_or_default(),
            )
        });
        compact.segments = share(work.collect(), threads, |(at, first, stream, rows)| {
            compact.segment(at, first, &stream, rows)
        });
        compact.rows = rows;
        compact.keep_roots();
        compact.held_at_most = compact.held() + found_bytes as u64;
        compact
    }

    /// The slot of an object that exists, and whether it has pointers.
    #[inline]
    fn slot(&self, object: u32) -> (u32, bool) {
        let (pointing, before) = self.places[object as usize / 64];
        let bit = 1u64 << (object % 64);
        let before = before + (pointing & (bit - 1)).count_ones();
        if pointing & bit != 0 {
            (before, true)
        } else {
            (self.inner + object - before, false)
        }
    }

    /// The rows of the sources in `stream`, and what does not fit into them.
    fn segment(&self, at: u32, first: u32, stream: &[u32], rows: &mut [[u32; ROW]]) -> Segment {
        let mut segment = Segment::default();
        let mut inner = Vec::new();
        let mut rest = stream;
        for (source, row) in (first..).zip(rows) {
            let Some((_, targets)) = rest.split_first() else {
                break;
            };
            let end = targets.iter().position(|word| word & SOURCE != 0);
            let (targets, next) = targets.split_at(end.unwrap_or(targets.len()));
            rest = next;
            inner.clear();
            segment.leaves.push(source | SOURCE);
            for &target in targets {
                match self.slot(target) {
                    (slot, true) => inner.push(slot),
                    (slot, false) => segment.leaves.push(slot),
                }
            }
            segment.leaves.pop_if(|last| *last & SOURCE != 0);
            *row = [NONE; ROW];
            if let Some(row) = row.get_mut(..inner.len()) {
                row.copy_from_slice(&inner);
            } else {
                let start = segment.many.len() as u64;
                let start_high = (start >> 32) as u32 | ELSEWHERE;
                *row = [start as u32, at, inner.len() as u32, start_high];
                segment.many.extend_from_slice(&inner);
            }
        }
        segment.many.shrink_to_fit();
        segment.leaves.shrink_to_fit();
        segment
    }

    /// Keeps the targets of the roots.
    fn keep_roots(&mut self) {
        for root in 0..self.roots.count() {
            self.root_leaves.push((self.objects + root) | SOURCE);
            for &target in self.roots.targets(root) {
                if target < self.objects {
                    match self.slot(target) {
                        (slot, true) => self.root_targets.push(slot),
                        (slot, false) => self.root_leaves.push(slot),
                    }
                }
            }
            self.root_leaves.pop_if(|last| *last & SOURCE != 0);
            self.root_starts.push(self.root_targets.len() as u32);
        }
    }

    /// What `slot` points at that has pointers.
    #[inline]
    fn targets(&self, slot: u32) -> &[u32] {
        if let Some(row) = self.rows.get(slot as usize) {
            let &[start, segment, len, last] = row;
            if last & ELSEWHERE == 0 {
                return row;
            }
            let start = start as usize | ((last & !ELSEWHERE) as usize) << 32;
            let many = self.segments.get(segment as usize).map(|of| &of.many);
            let targets = many.and_then(|many| many.get(start..start + len as usize));
            return targets.unwrap_or_default();
        }
        let root = slot.wrapping_sub(self.objects) as usize;
        match (self.root_starts.get(root), self.root_starts.get(root + 1)) {
            (Some(&start), Some(&end)) => &self.root_targets[start as usize..end as usize],
            _ => &[],
        }
    }
}

/// The pointers of the objects in `range`.
fn find<E: Edges>(from: &E, range: Range<u32>) -> Found {
    let (objects, first) = (from.objects(), range.start);
    let mut found = Found {
        pointing: vec![0; range.len().div_ceil(64)],
        stream: Vec::new(),
    };
    let mut last = u32::MAX;
    from.each_in(range, |source, target| {
        if target < objects && target != source {
            if source != last {
                last = source;
                found.stream.push(source | SOURCE);
                let at = source - first;
                found.pointing[at as usize / 64] |= 1 << (at % 64);
            }
            found.stream.push(target);
        }
    });
    found
}

impl Walked for Compact<'_> {
    fn objects(&self) -> u32 {
        self.objects
    }

    fn roots(&self) -> &Roots {
        self.roots
    }

    fn inner(&self) -> u32 {
        self.inner
    }

    fn never_entered(&self) -> Bits {
        Bits::new((self.objects + self.roots.count()) as usize)
    }

    #[inline]
    fn each_from(&self, slot: u32, from: u32, mut visit: impl FnMut(u32) -> bool) -> Option<u32> {
        // A slice, and not a skip over pairs with numbers, which would count from the first one each time.
        let targets = self.targets(slot).get(from as usize..)?;
        for (at, &target) in (from..).zip(targets) {
            if target == NONE {
                return None;
            }
            if !visit(target) {
                return Some(at + 1);
            }
        }
        None
    }

    #[inline]
    fn touch(&self, slot: u32) -> u32 {
        self.rows.get(slot as usize).map_or(0, |row| row[0])
    }

    fn held(&self) -> u64 {
        let segments = self.segments.iter();
        let words = segments.map(|of| of.many.capacity() + of.leaves.capacity());
        let roots = self.root_targets.capacity() + self.root_leaves.capacity();
        let words = words.sum::<usize>() + roots + self.root_starts.capacity();
        (self.places.capacity() * 16 + words * 4) as u64 + self.rows.held() + self.roots.held()
    }

    fn held_at_most(&self) -> u64 {
        self.held_at_most
    }
}

impl Graph for Compact<'_> {
    fn leaves(&self) -> Bits {
        let mut leaves = Bits::new(self.objects as usize);
        for (word, (pointing, _)) in leaves.words_mut().iter_mut().zip(&self.places) {
            *word = *pointing;
        }
        leaves.flip(self.objects as usize);
        leaves
    }

    fn each_inner(&self, mut visit: impl FnMut(u32, u32)) {
        let slots = 0..self.inner();
        for slot in slots.chain(self.objects..self.objects + self.roots.count()) {
            for &target in self.targets(slot) {
                if target == NONE {
                    break;
                }
                visit(slot, target);
            }
        }
    }

    fn each_leaf(&self, mut visit: impl FnMut(u32, u32)) {
        let streams = self.segments.iter().map(|segment| &segment.leaves);
        for stream in streams.chain([&self.root_leaves]) {
            let mut source = 0;
            for &word in stream {
                if word & SOURCE != 0 {
                    source = word & !SOURCE;
                } else {
                    visit(source, word);
                }
            }
        }
    }

    fn by_object(&self, of_slot: Huge<u32>) -> Huge<u32> {
        let mut of_object = Huge::zeroed(of_slot.len());
        let (objects, roots) = of_object.split_at_mut(self.objects as usize);
        let (mut inner, mut leaf) = (0, self.inner());
        for (chunk, (pointing, _)) in objects.chunks_mut(64).zip(&self.places) {
            for (at, place) in chunk.iter_mut().enumerate() {
                let next = match pointing >> at & 1 {
                    0 => &mut leaf,
                    _ => &mut inner,
                };
                *place = of_slot[*next as usize];
                *next += 1;
            }
        }
        roots.copy_from_slice(&of_slot[self.objects as usize..]);
        of_object
    }
}
