//! Who holds what: immediate dominators and retained sizes.

use std::ops::Range;

use super::bits::Bits;
use super::edges::{Edges, NODES_MAX};
use super::preorder::{Preorder, TOP, UNREACHED, Whole};
use super::roots::Roots;
use super::semi_nca::{Semi, dominate};
use super::spill::{BUCKET, Buckets};
use super::stored::{Popularity, Stored};

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
    /// Pointers are walked again each time they are needed, which is at least four times: under 24 bytes per object.
    LowMemory,
}

/// The most bytes that were held at a time, besides the objects and pointers themselves.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Held {
    /// While numbering the nodes.
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

/// The dominator tree of a heap: each reached object hangs under the one object or root without which it would not
/// be reached.
///
/// Nodes are the objects, 0 up to the number of objects, and behind them the roots. Objects that several roots reach
/// on separate ways hang directly under the top, beside the roots.
#[derive(Debug)]
pub struct Dominators {
    pub(super) objects: u32,
    /// By node: its number, of slim ones that of their dominator.
    pub(super) number: Vec<u32>,
    /// Reached through one pointer and without pointers: such nodes have no number of their own.
    pub(super) slim: Bits,
    /// By number: the node.
    pub(super) node: Vec<u32>,
    /// By number: the number of the dominator, which is lower.
    pub(super) idom: Vec<u32>,
    /// By number.
    pub(super) retained: Vec<u64>,
    held: Held,
}

impl Dominators {
    /// The dominators of all that `roots` reach through `edges`.
    ///
    /// Takes `O(m log n)` time for `m` pointers and `n` objects, whatever their shape, and nothing recursive.
    /// `None` when there are more than [`NODES_MAX`] objects and roots.
    pub fn new<E: Edges>(edges: &E, roots: &Roots, effort: Effort) -> Option<Self> {
        if edges.objects() > NODES_MAX || edges.objects() + roots.count() > NODES_MAX {
            return None;
        }
        Some(match effort {
            Effort::Fast { threads } => {
                let (stored, mut popularity) = Stored::new(edges, threads);
                count_roots(roots, edges.objects(), &mut popularity);
                let slim = popularity.slim(&stored.pointing());
                let held = stored.held();
                Build::new(&stored, roots, slim, held).fast()
            }
            Effort::LowMemory => {
                let objects = edges.objects();
                let mut popularity = Popularity::new(objects);
                let mut pointing = Bits::new(objects as usize);
                edges.each_in(0..objects, |source, target| {
                    if source != target && target < objects {
                        pointing.set(source);
                        popularity.count(target);
                    }
                });
                count_roots(roots, objects, &mut popularity);
                let slim = popularity.slim(&pointing);
                drop(pointing);
                Build::new(edges, roots, slim, 0).in_rounds()
            }
        })
    }

    /// What was held to get here.
    pub fn held(&self) -> Held {
        self.held
    }
}

fn count_roots(roots: &Roots, objects: u32, popularity: &mut Popularity) {
    for root in 0..roots.count() {
        for &target in roots.targets(root) {
            if target < objects {
                popularity.count(target);
            }
        }
    }
}

/// The way from the depth-first tree to the result.
struct Build<'a, E> {
    whole: Whole<'a, E>,
    slim: Bits,
    pre: Preorder,
    held: Held,
    /// Bytes that are held from beginning to end.
    constant: u64,
}

impl<'a, E: Edges> Build<'a, E> {
    fn new(edges: &'a E, roots: &'a Roots, slim: Bits, stored: u64) -> Self {
        let nodes = edges.objects() as usize + roots.count() as usize;
        let slims: usize = slim
            .words()
            .iter()
            .map(|word| word.count_ones() as usize)
            .sum();
        let whole = Whole { edges, roots };
        let constant = stored + roots.held() + slim.held() + 4 * nodes as u64;
        let mut seen = Bits::new(nodes);
        seen.words_mut()[..slim.words().len()].copy_from_slice(slim.words());
        let seen_bytes = seen.held();
        let mut pre = Preorder::new(&whole, seen, nodes - slims + 1);
        pre.node.shrink_to_fit();
        pre.parent.shrink_to_fit();
        let walking = constant + seen_bytes + 8 * pre.node.len() as u64 + pre.stack_bytes;
        Self {
            whole,
            slim,
            pre,
            held: Held {
                walking,
                ..Held::default()
            },
            constant,
        }
    }

    /// Everything kept at once.
    fn fast(mut self) -> Dominators {
        let len = self.pre.node.len() as u32;
        let mut semi = self.pre.parent.clone();
        let mut buckets = Buckets::new(0..len);
        self.each_pointer(|source, target| {
            if source < target {
                lower(&mut semi[target as usize], source);
            } else {
                buckets.keep(source, target);
            }
        });
        self.linking(buckets.held() + 4 * u64::from(len));
        let mut linked = Semi::new(semi);
        linked.link_all(buckets, &self.pre.parent);
        self.finish(linked)
    }

    /// Kept pointers in several rounds, as many at a time as fit.
    fn in_rounds(mut self) -> Dominators {
        let len = self.pre.node.len() as u32;
        self.pre.node = Vec::new();
        let mut semi = self.pre.parent.clone();
        let mut counts = vec![0u64; len.div_ceil(BUCKET) as usize];
        self.each_pointer(|source, target| {
            if source < target {
                lower(&mut semi[target as usize], source);
            } else {
                counts[(target / BUCKET) as usize] += 1;
            }
        });
        let room = self.pre.number.len() as u64 * KEPT_BYTES_PER_TEN_NODES / 60;
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
        self.finish(linked)
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

    /// Calls `visit` with the numbers of source and target of each pointer that counts, and notes who holds the
    /// slim objects.
    fn each_pointer(&mut self, mut visit: impl FnMut(u32, u32)) {
        let Self { pre, slim, .. } = self;
        let (number, class_starts) = (&mut pre.number, &pre.class_starts);
        let mut batch = Vec::with_capacity(BATCH);
        let mut flush = |batch: &mut Vec<(u32, u32)>, number: &[u32]| {
            for (_, target) in batch.iter_mut() {
                *target = number[*target as usize];
            }
            for (from, to) in batch.drain(..) {
                // What a class has claimed, no later class shares.
                if from < to || from > to && to >= class_start(class_starts, from) {
                    visit(from, to);
                }
            }
        };
        self.whole.each(|source, target| {
            let from = number[source as usize];
            if from == UNREACHED {
            } else if slim.get(target) {
                number[target as usize] = from;
            } else {
                // Many numbers are asked for at once, before anything depends on one.
                batch.push((from, target));
                if batch.len() == BATCH {
                    flush(&mut batch, number);
                }
            }
        });
        flush(&mut batch, number);
    }

    /// Notes what is held while linking: numbers, parents, semidominators, the forest and `kept` bytes.
    fn linking(&mut self, kept: u64) {
        let numbered = self.pre.parent.len() as u64;
        let held = self.constant + 16 * numbered + kept;
        self.held.linking = self.held.linking.max(held);
    }

    fn finish(self, linked: Semi) -> Dominators {
        let Self {
            whole,
            slim,
            pre,
            mut held,
            constant,
        } = self;
        let Preorder {
            number,
            mut node,
            parent,
            ..
        } = pre;
        let semi = linked.finish();
        let (idom, shortcut_bytes) = dominate(parent, &semi);
        drop(semi);
        if node.is_empty() {
            node = vec![UNREACHED; idom.len()];
            for (at, &number) in (0..).zip(&number) {
                if number != UNREACHED && !slim.get(at) {
                    node[number as usize] = at;
                }
            }
        }
        let mut retained = vec![0u64; idom.len()];
        let objects = whole.edges.objects();
        whole.edges.bytes_in(0..objects, |object, bytes| {
            if let Some(retained) = retained.get_mut(number[object as usize] as usize) {
                *retained += bytes;
            }
        });
        for at in (1..idom.len()).rev() {
            retained[idom[at] as usize] += retained[at];
        }
        let numbered = idom.len() as u64;
        held.linking = held.linking.max(constant + 8 * numbered + shortcut_bytes);
        held.result = constant + 16 * numbered;
        Dominators {
            objects,
            number,
            slim,
            node,
            idom,
            retained,
            held,
        }
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

impl Dominators {
    /// Whether any root reaches `node`. Roots are always reached.
    pub fn is_reached(&self, node: u32) -> bool {
        let number = self.number.get(node as usize);
        number.is_some_and(|&number| number != UNREACHED)
    }

    /// The object or root that holds `node`: without it, `node` would not be reached. `None` when it is not reached,
    /// is a root, or is reached by several roots on separate ways.
    pub fn idom(&self, node: u32) -> Option<u32> {
        let number = *self.number.get(node as usize)?;
        let above = if self.slim.get(node) {
            number
        } else {
            *self.idom.get(number as usize)?
        };
        self.node
            .get(above as usize)
            .copied()
            .filter(|_| above != TOP && number != UNREACHED)
    }

    /// The bytes that would go with `node`: its own and those of everything under it. 0 when it is not reached.
    pub fn retained<E: Edges>(&self, edges: &E, node: u32) -> u64 {
        match self.number.get(node as usize) {
            Some(&number) if number != UNREACHED && self.slim.get(node) => edges.bytes(node),
            Some(&number) => self.retained.get(number as usize).copied().unwrap_or(0),
            None => 0,
        }
    }
}
