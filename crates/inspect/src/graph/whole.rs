//! What the dominators ask of a graph: objects and roots under slots, which may be numbered as walks like it.

use std::ops::Range;

use super::bits::Bits;
use super::edges::Edges;
use super::huge::Huge;
use super::roots::Roots;

/// A heap and its roots, as a depth-first walk needs them. Each object and each root has a slot: the roots behind all
/// objects, in their order.
///
/// Objects without pointers are leaves: nothing can hang under them, so walks do not enter them. A slot in the words
/// below has pointers, or is a root, unless it is called a leaf.
pub(crate) trait Walked {
    /// How many objects there are.
    fn objects(&self) -> u32;

    /// The roots.
    fn roots(&self) -> &Roots;

    /// How many objects have pointers.
    fn inner(&self) -> u32;

    /// Slots that a walk must not enter, one bit for every slot.
    fn never_entered(&self) -> Bits;

    /// Calls `visit` with each target of `slot` until it answers false; leaves may be left out. `from` and the result
    /// are as with [`Edges::each_from`].
    fn each_from(&self, slot: u32, from: u32, visit: impl FnMut(u32) -> bool) -> Option<u32>;

    /// Reads what will be needed first when `slot` is walked. The answer means nothing.
    fn touch(&self, slot: u32) -> u32;

    /// Bytes held, the roots' among them.
    fn held(&self) -> u64;

    /// The most bytes held so far.
    fn held_at_most(&self) -> u64 {
        self.held()
    }
}

/// The rest of what the dominators ask: all pointers, in order.
pub(crate) trait Graph: Walked {
    /// Which objects, by object, are leaves.
    fn leaves(&self) -> Bits;

    /// Calls `visit` with source and target of each pointer at something that is no leaf, in order of the sources.
    fn each_inner(&self, visit: impl FnMut(u32, u32));

    /// Calls `visit` with source and target of each pointer at a leaf, in order of the sources.
    fn each_leaf(&self, visit: impl FnMut(u32, u32));

    /// Values by slot become values by object, and behind those the roots'.
    fn by_object(&self, of_slot: Huge<u32>) -> Huge<u32>;
}

/// A graph that keeps nothing but which objects have pointers, and walks the heap again each time. Slots are objects.
pub(crate) struct Direct<'a, E> {
    edges: &'a E,
    roots: &'a Roots,
    pointing: Bits,
}

impl<'a, E: Edges> Direct<'a, E> {
    pub(crate) fn new(edges: &'a E, roots: &'a Roots) -> Self {
        let objects = edges.objects();
        let mut pointing = Bits::new(objects as usize);
        edges.each_in(0..objects, |source, target| {
            if source != target && target < objects {
                pointing.set(source);
            }
        });
        Self {
            edges,
            roots,
            pointing,
        }
    }

    /// Calls `visit` with each pointer of the objects in `range` at another that has pointers, in order of the sources.
    pub(crate) fn each_inner_in(&self, range: Range<u32>, visit: impl FnMut(u32, u32)) {
        self.each_in(range, true, visit);
    }

    fn each_in(&self, range: Range<u32>, pointing: bool, mut visit: impl FnMut(u32, u32)) {
        let objects = self.edges.objects();
        self.edges.each_in(range, |source, target| {
            if source != target && target < objects && self.pointing.get(target) == pointing {
                visit(source, target);
            }
        });
    }

    /// Calls `visit` with each pointer at an object that has pointers, or has none.
    fn each(&self, pointing: bool, mut visit: impl FnMut(u32, u32)) {
        let objects = self.edges.objects();
        let wanted = |target| target < objects && self.pointing.get(target) == pointing;
        self.each_in(0..objects, pointing, &mut visit);
        for root in 0..self.roots.count() {
            let targets = self.roots.targets(root).iter().copied();
            targets
                .filter(|&target| wanted(target))
                .for_each(|target| visit(objects + root, target));
        }
    }
}

impl<E: Edges> Walked for Direct<'_, E> {
    fn objects(&self) -> u32 {
        self.edges.objects()
    }

    fn roots(&self) -> &Roots {
        self.roots
    }

    fn inner(&self) -> u32 {
        let words = self.pointing.words().iter();
        words.map(|word| word.count_ones()).sum()
    }

    fn never_entered(&self) -> Bits {
        let mut bits = Bits::new((self.objects() + self.roots.count()) as usize);
        for (word, leaves) in bits.words_mut().iter_mut().zip(self.leaves().words()) {
            *word = *leaves;
        }
        bits
    }

    #[inline]
    fn each_from(&self, slot: u32, from: u32, mut visit: impl FnMut(u32) -> bool) -> Option<u32> {
        let objects = self.objects();
        if slot < objects {
            let visit = |target| target >= objects || visit(target);
            return self.edges.each_from(slot, from, visit);
        }
        let targets = self.roots.targets(slot - objects);
        for (at, &target) in targets.iter().enumerate().skip(from as usize) {
            if target < objects && !visit(target) {
                return Some(at as u32 + 1);
            }
        }
        None
    }

    #[inline]
    fn touch(&self, slot: u32) -> u32 {
        // What is ahead may be a root, or the place where a long object goes on.
        match slot < self.objects() {
            true => self.edges.touch(slot),
            false => 0,
        }
    }

    fn held(&self) -> u64 {
        self.pointing.held() + self.roots.held()
    }
}

impl<E: Edges> Graph for Direct<'_, E> {
    fn leaves(&self) -> Bits {
        let mut leaves = self.pointing.clone();
        leaves.flip(self.objects() as usize);
        leaves
    }

    fn each_inner(&self, visit: impl FnMut(u32, u32)) {
        self.each(true, visit);
    }

    fn each_leaf(&self, visit: impl FnMut(u32, u32)) {
        self.each(false, visit);
    }

    fn by_object(&self, of_slot: Huge<u32>) -> Huge<u32> {
        of_slot
    }
}
