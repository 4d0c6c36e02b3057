//! Who holds what: immediate dominators and retained sizes.

use std::ops::Range;

use super::edges::Edges;
use super::huge::Huge;
use super::leaves::{Leaves, is_number, settle};
use super::preorder::{Preorder, TOP, UNREACHED};
use super::roots::Roots;
use super::semi_nca::{Semi, dominate};
use super::spill::{BUCKET, Buckets};
use super::tree::Tree;
use super::whole::Graph;

/// With little memory, kept pointers may take this many bytes per ten nodes.
const KEPT_BYTES_PER_TEN_NODES: u64 = 25;

/// Pointers whose targets' numbers are looked up together.
const BATCH: usize = 256;

/// How much memory the dominators may take. The result is the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effort {
    /// Pointers are walked once, by this many threads, and kept: the fastest.
    Fast {
        /// Threads for the walk; more than the machine has gain nothing.
        threads: usize,
    },
    /// Pointers are walked again each time they are needed, which is at least five times: under 24 bytes per object.
    LowMemory,
}

/// The most bytes that were held at a time, besides the objects and pointers themselves.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Held {
    /// While reading pointers and numbering the nodes.
    pub walking: u64,
    /// While looking for dominators.
    pub linking: u64,
    /// In the result.
    pub result: u64,
}

impl Held {
    /// The most at any time.
    pub fn peak(&self) -> u64 {
        self.walking.max(self.linking).max(self.result)
    }
}

/// The dominator tree, and what hangs under each node in bytes.
#[derive(Debug)]
pub struct Dominators {
    tree: Tree,
    /// By number.
    retained: Huge<u64>,
    held: Held,
}

impl Dominators {
    /// The dominators of all that `roots` reach through `edges`. See [`Tree::new`].
    pub fn new<E: Edges>(edges: &E, roots: &Roots, effort: Effort) -> Option<Self> {
        let tree = Tree::new(edges, roots, effort)?;
        let mut retained = Huge::<u64>::zeroed(tree.idom.len());
        edges.bytes_in(0..tree.objects, |object, bytes| {
            let number = tree.number[object as usize];
            if let Some(retained) = retained.get_mut(number as usize) {
                *retained += bytes;
            }
        });
        for at in (1..retained.len()).rev() {
            let bytes = retained[at];
            retained[tree.idom[at] as usize] += bytes;
        }
        let mut held = tree.held();
        held.result += retained.held();
        Some(Self {
            tree,
            retained,
            held,
        })
    }

    /// What was held to get here.
    pub fn held(&self) -> Held {
        self.held
    }

    /// The bytes that would go with `node`: its own and those of everything under it. 0 when it is not reached.
    pub fn retained<E: Edges>(&self, edges: &E, node: u32) -> u64 {
        match self.tree.number.get(node as usize) {
            Some(&number) if number != UNREACHED && self.tree.leaves.get(node) => edges.bytes(node),
            Some(&number) => self.retained.get(number as usize).copied().unwrap_or(0),
            None => 0,
        }
    }

    /// All that is reached: bytes.
    pub fn total_bytes(&self) -> u64 {
        self.retained.first().copied().unwrap_or(0)
    }
}

impl std::ops::Deref for Dominators {
    type Target = Tree;

    fn deref(&self) -> &Tree {
        &self.tree
    }
}

/// The way from the depth-first tree to the result.
pub(super) struct Build<'a, G> {
    graph: &'a G,
    pre: Preorder,
    /// By slot.
    number: Huge<u32>,
    held: Held,
}

/// The dominators of all that has pointers.
pub(super) struct Linked<'a, G> {
    graph: &'a G,
    number: Huge<u32>,
    idom: Huge<u32>,
    class_starts: Vec<u32>,
    held: Held,
}

impl<'a, G: Graph> Build<'a, G> {
    /// After the depth-first walk over this graph, or over what it was made of.
    pub(super) fn new(graph: &'a G, mut pre: Preorder) -> Self {
        let slots = (graph.objects() + graph.roots().count()) as usize;
        let number = pre.numbers(slots);
        let walking = pre.held.max(graph.held_at_most());
        pre.slot = Huge::default();
        let held = Held {
            walking,
            ..Held::default()
        };
        Self {
            graph,
            pre,
            number,
            held,
        }
    }

    /// Everything kept at once.
    pub(super) fn fast(mut self) -> Linked<'a, G> {
        let len = self.pre.parent.len() as u32;
        let mut semi = Huge::zeroed(len as usize);
        semi.copy_from_slice(&self.pre.parent);
        let mut buckets = Buckets::new(0..len);
        self.each_pointer(|source, target| {
            if source < target {
                lower(&mut semi[target as usize], source);
            } else {
                buckets.keep(source, target);
            }
        });
        self.linking(buckets.held());
        let mut linked = Semi::new(semi);
        linked.link_all(buckets, &self.pre.parent);
        self.dominate(linked)
    }

    /// Kept pointers in several rounds, as many at a time as fit.
    pub(super) fn in_rounds(mut self) -> Linked<'a, G> {
        let len = self.pre.parent.len() as u32;
        let mut semi = Huge::zeroed(len as usize);
        semi.copy_from_slice(&self.pre.parent);
        let mut counts = vec![0u64; len.div_ceil(BUCKET) as usize];
        self.each_pointer(|source, target| {
            if source < target {
                lower(&mut semi[target as usize], source);
            } else {
                counts[(target / BUCKET) as usize] += 1;
            }
        });
        let room = self.number.len() as u64 * KEPT_BYTES_PER_TEN_NODES / 60;
        let mut linked = Semi::new(semi);
        let mut end = counts.len();
        while end > 0 {
            let begin = begin_of_round(&counts[..end], room);
            let numbers = begin as u32 * BUCKET..(end as u32 * BUCKET).min(len);
            if counts[begin..end].iter().sum::<u64>() <= room {
                self.round(&mut linked, numbers, &counts[begin..end]);
            } else {
                self.crowded_bucket(&mut linked, numbers, room);
            }
            end = begin;
        }
        self.dominate(linked)
    }

    /// Collects and links the pointers at `numbers`, of which there are `counts` per bucket.
    fn round(&mut self, linked: &mut Semi, numbers: Range<u32>, counts: &[u64]) {
        let mut buckets = Buckets::new(numbers);
        for (at, &count) in counts.iter().enumerate() {
            buckets.reserve(at as u32, count);
        }
        self.each_pointer(|source, target| {
            if source > target {
                buckets.keep(source, target);
            }
        });
        self.linking(buckets.held());
        linked.link_all(buckets, &self.pre.parent);
    }

    /// A bucket that does not fit: its numbers in parts, and the pointers at one that still does not fit as they
    /// come, without keeping any.
    fn crowded_bucket(&mut self, linked: &mut Semi, numbers: Range<u32>, room: u64) {
        let first = numbers.start;
        let mut counts = vec![0u64; numbers.len()];
        self.each_pointer(|source, target| {
            if source > target && numbers.contains(&target) {
                counts[(target - first) as usize] += 1;
            }
        });
        let mut end = counts.len();
        while end > 0 {
            let begin = begin_of_round(&counts[..end], room);
            let kept = counts[begin..end].iter().sum::<u64>();
            if kept <= room {
                self.round(linked, first + begin as u32..first + end as u32, &[kept]);
            } else {
                let number = first + begin as u32;
                self.each_pointer(|source, target| {
                    if target == number && source > target {
                        linked.consider(target, source);
                    }
                });
                linked.link(number, &self.pre.parent);
            }
            end = begin;
        }
    }

    /// Calls `visit` with the numbers of source and target of each pointer that counts, except those at leaves.
    fn each_pointer(&self, mut visit: impl FnMut(u32, u32)) {
        let (number, class_starts) = (&self.number[..], &self.pre.class_starts);
        let mut batch = Batch::new(|pointers: &mut Vec<(u32, u32)>| {
            for (_, target) in pointers.iter_mut() {
                *target = number[*target as usize];
            }
            for (from, to) in pointers.drain(..) {
                // A heap that answers otherwise than before makes a wrong tree, and no panic.
                if to == UNREACHED {
                    continue;
                }
                // What a class has claimed, no later class shares.
                if from < to || from > to && to >= class_start(class_starts, from) {
                    visit(from, to);
                }
            }
        });
        self.graph.each_inner(|source, target| {
            let from = number[source as usize];
            if from != UNREACHED {
                batch.add(from, target);
            }
        });
        batch.flush();
    }

    /// Notes what is held while linking: numbers, parents, semidominators, the forest and `kept` bytes.
    fn linking(&mut self, kept: u64) {
        let numbered = self.pre.parent.len() as u64;
        let held = self.graph.held() + self.number.held() + 16 * numbered + kept;
        self.held.linking = self.held.linking.max(held);
    }

    fn dominate(self, linked: Semi) -> Linked<'a, G> {
        let (idom, shortcuts) = dominate(self.pre.parent, &linked.finish());
        let mut held = self.held;
        let linking = self.graph.held() + self.number.held() + 2 * idom.held() + shortcuts;
        held.linking = held.linking.max(linking);
        Linked {
            graph: self.graph,
            number: self.number,
            idom,
            class_starts: self.pre.class_starts,
            held,
        }
    }
}

impl<G: Graph> Linked<'_, G> {
    pub(super) fn finish(mut self) -> Tree {
        self.leaves();
        let objects = self.graph.objects();
        let leaves = self.graph.leaves();
        let number = self.graph.by_object(self.number);
        let idom = self.idom;
        let mut node = Huge::filled(idom.len(), UNREACHED);
        for (at, &number) in (0..).zip(&number[..]) {
            if number != UNREACHED && (at >= objects || !leaves.get(at)) {
                node[number as usize] = at;
            }
        }
        let mut held = self.held;
        held.result = leaves.held() + number.held() + 2 * idom.held();
        Tree {
            objects,
            number,
            leaves,
            node,
            idom,
            held,
        }
    }

    /// Gives each leaf the number of the node that holds it.
    fn leaves(&mut self) {
        let number = &mut self.number[..];
        let mut leaves = Leaves::new(&self.idom, &self.class_starts);
        let mut touched = 0;
        let mut batch = Batch::new(|pointers: &mut Vec<(u32, u32)>| {
            for (source, leaf) in pointers.iter_mut() {
                *source = number[*source as usize];
                touched ^= number[*leaf as usize];
            }
            for (from, leaf) in pointers.drain(..) {
                if is_number(from) {
                    let place = &mut number[leaf as usize];
                    *place = leaves.held(*place, from);
                }
            }
        });
        self.graph.each_leaf(|source, leaf| batch.add(source, leaf));
        batch.flush();
        std::hint::black_box(touched);
        self.held.linking = self
            .held
            .linking
            .max(self.graph.held() + self.number.held() + self.idom.held() + leaves.held_bytes());
        settle(&mut self.number);
    }
}

/// Pointers that are looked up together: many numbers are asked for at once, before anything depends on one.
struct Batch<F> {
    pointers: Vec<(u32, u32)>,
    settle: F,
}

impl<F: FnMut(&mut Vec<(u32, u32)>)> Batch<F> {
    fn new(settle: F) -> Self {
        Self {
            pointers: Vec::with_capacity(BATCH),
            settle,
        }
    }

    #[inline]
    fn add(&mut self, from: u32, target: u32) {
        self.pointers.push((from, target));
        if self.pointers.len() == BATCH {
            self.flush();
        }
    }

    fn flush(&mut self) {
        (self.settle)(&mut self.pointers);
    }
}

/// `smallest` becomes `number` if that is lower.
#[inline]
fn lower(smallest: &mut u32, number: u32) {
    // Always stored: a branch would wait for the value.
    *smallest = number.min(*smallest);
}

/// The first number of the class that `number` is in.
#[inline]
fn class_start(starts: &[u32], number: u32) -> u32 {
    let mut starts = starts.iter().rev().copied();
    starts.find(|&start| start <= number).unwrap_or(TOP)
}

/// Where the longest tail of `counts` begins whose sum is at most `room`; one of them at least is taken.
fn begin_of_round(counts: &[u64], room: u64) -> usize {
    let mut begin = counts.len().saturating_sub(1);
    let mut sum = counts.last().copied().unwrap_or(0);
    while let Some(next) = begin.checked_sub(1) {
        sum += counts[next];
        if sum > room {
            break;
        }
        begin = next;
    }
    begin
}
