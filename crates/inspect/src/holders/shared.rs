//! The objects that several roots hold on separate ways: numbered, and what leads to them.
//!
//! The tree gives those that are highest, and what hangs under them; so who has them is found by one walk over the
//! heap's pointers, and a small graph of those objects alone.

use crate::graph::{Edges, Roots, Tops, Tree};

/// Pointers from one of these objects to another are remembered for one in so many objects of the heap.
const BETWEEN_SHARE: usize = 2;
/// At least so many, and at most.
const BETWEEN: std::ops::RangeInclusive<usize> = 1 << 20..=16 << 20;

/// The highest of the shared objects, each with a place: 0, 1, 2 and so on in the order of the objects.
#[derive(Default)]
pub(super) struct Shared {
    /// For 64 objects at a time: which are shared, and how many before them are. Empty where none is.
    places: Vec<(u64, u32)>,
    count: u32,
    /// The most pointers between them that are remembered.
    between_max: usize,
}

/// What leads from one shared object to another.
#[derive(Debug, Default)]
pub(super) struct Between {
    /// From and to, as places: sorted, each once.
    pub(super) pairs: Vec<(u32, u32)>,
    /// One bit for each place: more leads there than was remembered. Empty where nothing was left out.
    more: Vec<u64>,
}

impl Shared {
    pub(super) fn new(tree: &Tree, objects: u32) -> Self {
        let room = objects as usize / BETWEEN_SHARE;
        let mut shared = Self {
            between_max: room.clamp(*BETWEEN.start(), *BETWEEN.end()),
            ..Self::default()
        };
        for object in tree.shared() {
            if shared.places.is_empty() {
                shared.places = vec![(0, 0); (objects as usize).div_ceil(64)];
            }
            shared.places[object as usize / 64].0 |= 1 << (object % 64);
        }
        for (bits, before) in &mut shared.places {
            *before = shared.count;
            shared.count += bits.count_ones();
        }
        shared
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.count as usize
    }

    /// The place of an object, if it is one of them.
    #[inline]
    pub(super) fn place(&self, object: u32) -> Option<u32> {
        let (bits, before) = *self.places.get(object as usize / 64)?;
        let bit = 1u64 << (object % 64);
        (bits & bit != 0).then(|| before + (bits & (bit - 1)).count_ones())
    }

    /// Calls `visit` with root and place for each pointer at one of them that a root has, or something that hangs
    /// under a root; and returns those that hang under another of them. One walk over all pointers, or none.
    pub(super) fn each_way<E: Edges>(
        &self,
        edges: &E,
        roots: &Roots,
        tops: &Tops<'_>,
        mut visit: impl FnMut(u32, u32),
    ) -> Between {
        let mut between = Between::default();
        if self.count == 0 {
            return between;
        }
        for root in 0..roots.count() {
            let targets = roots.targets(root).iter();
            targets
                .filter_map(|&target| self.place(target))
                .for_each(|place| visit(root, place));
        }
        edges.each_in(0..edges.objects(), |source, target| {
            let Some(place) = self.place(target) else {
                return;
            };
            match tops.of(source) {
                None => {}
                Some(top) if top == target => {}
                Some(top) => match (top.checked_sub(edges.objects()), self.place(top)) {
                    (Some(root), _) => visit(root, place),
                    (None, Some(from)) => between.add(from, place, self),
                    (None, None) => {}
                },
            }
        });
        between.settle();
        between
    }
}

impl Between {
    #[inline]
    fn add(&mut self, from: u32, to: u32, shared: &Shared) {
        if self.pairs.len() < shared.between_max {
            self.pairs.push((from, to));
            return;
        }
        if self.more.is_empty() {
            self.more = vec![0; shared.count().div_ceil(64)];
        }
        self.more[to as usize / 64] |= 1 << (to % 64);
    }

    fn settle(&mut self) {
        self.pairs.sort_unstable();
        self.pairs.dedup();
    }

    /// Whether more leads to a place than is known.
    pub(super) fn has_more(&self, place: u32) -> bool {
        let word = self.more.get(place as usize / 64);
        word.is_some_and(|word| word >> (place % 64) & 1 == 1)
    }

    /// The pairs that begin at a place.
    pub(super) fn from(&self, from: u32) -> impl Iterator<Item = u32> + '_ {
        let first = self.pairs.partition_point(|&(other, _)| other < from);
        let of = self.pairs[first..].iter();
        of.take_while(move |pair| pair.0 == from).map(|&(_, to)| to)
    }
}

#[cfg(test)]
impl Shared {
    /// Remembers nothing between them.
    pub(super) fn without_between(mut self) -> Self {
        self.between_max = 0;
        self
    }
}
