//! The dominator tree; the same turned around: what hangs under a node; and which root a node hangs under.

use super::bits::Bits;
use super::compact::Compact;
use super::dominators::{Build, Dominators, Effort, Held};
use super::edges::{Edges, NODES_MAX};
use super::huge::Huge;
use super::lists::Lists;
use super::preorder::{Preorder, TOP, UNREACHED};
use super::roots::Roots;
use super::whole::Direct;

/// The dominator tree of a heap: each reached object hangs under the one object or root without which it would not
/// be reached. 12 bytes per object.
///
/// Nodes are the objects, 0 up to the number of objects, and behind them the roots. Objects that several roots reach
/// on separate ways hang directly under the top, beside the roots.
#[derive(Debug)]
pub struct Tree {
    pub(super) objects: u32,
    /// By node: its number, of leaves that of their dominator.
    pub(super) number: Huge<u32>,
    /// Objects without pointers: they have no number of their own.
    pub(super) leaves: Bits,
    /// By number: the node.
    pub(super) node: Huge<u32>,
    /// By number: the number of the dominator, which is lower.
    pub(super) idom: Huge<u32>,
    pub(super) held: Held,
}

impl Tree {
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
                let graph = Compact::new(edges, roots, threads);
                let pre = Preorder::new(&graph, 1);
                Build::new(&graph, pre).fast().finish()
            }
            Effort::LowMemory => {
                let graph = Direct::new(edges, roots);
                let pre = match Lists::new(&graph) {
                    Some(lists) => Preorder::new(&lists, 16),
                    None => Preorder::new(&graph, 16),
                };
                Build::new(&graph, pre).in_rounds().finish()
            }
        })
    }

    /// What was held to get here.
    pub fn held(&self) -> Held {
        self.held
    }

    /// Whether any root reaches `node`. Roots are always reached.
    pub fn is_reached(&self, node: u32) -> bool {
        let number = self.number.get(node as usize);
        number.is_some_and(|&number| number != UNREACHED)
    }

    /// The object or root that holds `node`: without it, `node` would not be reached. `None` when it is not reached,
    /// is a root, or is reached by several roots on separate ways.
    pub fn idom(&self, node: u32) -> Option<u32> {
        let above = self.above(node)?;
        self.node
            .get(above as usize)
            .copied()
            .filter(|_| above != TOP)
    }

    /// Whether `node` hangs directly under `above`.
    #[inline]
    pub fn is_under(&self, node: u32, above: u32) -> bool {
        match (self.above(node), self.own_number(above)) {
            (Some(number), Some(own)) => number == own,
            _ => false,
        }
    }

    /// The number of what `node` hangs under, if it is reached.
    #[inline]
    fn above(&self, node: u32) -> Option<u32> {
        match *self.number.get(node as usize)? {
            UNREACHED => None,
            number if self.leaves.get(node) => Some(number),
            number => self.idom.get(number as usize).copied(),
        }
    }

    /// What hangs under `node`, largest first.
    pub fn children_of<'a>(&self, children: &'a Children, node: u32) -> &'a [u32] {
        match self.own_number(node) {
            Some(number) => children.of(number),
            None => &[],
        }
    }

    /// For each node, the root that it hangs under, or the shared object: 4 bytes per object.
    pub fn tops(&self) -> Tops<'_> {
        let mut tops = Huge::filled(self.idom.len(), UNREACHED);
        for number in 1..tops.len() {
            // Dominators have lower numbers, so theirs are known.
            tops[number] = match self.idom[number] {
                TOP => self.node[number],
                above => tops[above as usize],
            };
        }
        Tops { tree: self, tops }
    }

    /// How many objects hang under each node, itself included: 4 bytes per object.
    pub fn counts(&self) -> Counts<'_> {
        let mut counts = vec![0u32; self.idom.len()];
        for &number in &self.number[..self.objects as usize] {
            if let Some(count) = counts.get_mut(number as usize) {
                *count += 1;
            }
        }
        for at in (1..counts.len()).rev() {
            counts[self.idom[at] as usize] += counts[at];
        }
        Counts { tree: self, counts }
    }

    /// The objects that hang under no single root: several reach them on separate ways.
    pub fn shared(&self) -> impl Iterator<Item = u32> + '_ {
        let numbers = self.idom.iter().zip(&self.node[..]).skip(1);
        let inner = numbers
            .filter(|(above, node)| **above == TOP && **node < self.objects)
            .map(|(_, node)| *node);
        let objects = (0..self.objects).zip(&self.number[..]);
        let leaves = objects
            .filter(|(object, number)| **number == TOP && self.leaves.get(*object))
            .map(|(object, _)| object);
        inner.chain(leaves)
    }

    /// Calls `visit` with each reached node and what it hangs under (`None` for roots and what several of them share):
    /// no node before the one that it hangs under.
    pub fn each_down(&self, mut visit: impl FnMut(u32, Option<u32>)) {
        let above = |number: u32| (number != TOP).then(|| self.node[number as usize]);
        for number in 1..self.idom.len() {
            visit(self.node[number], above(self.idom[number]));
        }
        for (node, &number) in (0..).zip(&self.number[..]) {
            if number != UNREACHED && self.leaves.get(node) {
                visit(node, above(number));
            }
        }
    }

    /// The number of `node`, if it is reached and may have something under it.
    fn own_number(&self, node: u32) -> Option<u32> {
        let number = *self.number.get(node as usize)?;
        (number != UNREACHED && !self.leaves.get(node)).then_some(number)
    }

    /// Calls `visit` with each reached node and the number above it.
    fn each_below(&self, mut visit: impl FnMut(u32, u32)) {
        for (node, &number) in (0..).zip(&self.number[..]) {
            if number == UNREACHED {
            } else if self.leaves.get(node) {
                visit(number, node);
            } else {
                visit(self.idom[number as usize], node);
            }
        }
    }
}

/// What hangs under each node, largest first. 8 bytes per object.
#[derive(Debug)]
pub struct Children {
    /// By number: where its children begin.
    starts: Vec<u32>,
    nodes: Vec<u32>,
}

impl Dominators {
    /// Turns the tree around. `edges` are those it was made of. Takes about as long as sorting the objects.
    pub fn children<E: Edges>(&self, edges: &E) -> Children {
        let mut starts = vec![0u32; self.idom.len() + 2];
        // Counted one place late, so that each place ends as the beginning of its own children.
        self.each_below(|above, _| starts[above as usize + 2] += 1);
        for at in 2..starts.len() {
            starts[at] += starts[at - 1];
        }
        let mut nodes = vec![0u32; starts[self.idom.len() + 1] as usize];
        self.each_below(|above, node| {
            let place = &mut starts[above as usize + 1];
            nodes[*place as usize] = node;
            *place += 1;
        });
        for range in starts.windows(2) {
            let children = &mut nodes[range[0] as usize..range[1] as usize];
            if children.len() > 1 {
                children.sort_unstable_by_key(|&node| {
                    (std::cmp::Reverse(self.retained(edges, node)), node)
                });
            }
        }
        Children { starts, nodes }
    }
}

impl Children {
    /// What hangs under nothing else: the roots, and the objects that several of them share.
    pub fn top(&self) -> &[u32] {
        self.of(TOP)
    }

    fn of(&self, number: u32) -> &[u32] {
        let number = number as usize;
        match (self.starts.get(number), self.starts.get(number + 1)) {
            (Some(&start), Some(&end)) => &self.nodes[start as usize..end as usize],
            _ => &[],
        }
    }
}

/// The root that each node hangs under. See [`Tree::tops`].
#[derive(Debug)]
pub struct Tops<'a> {
    tree: &'a Tree,
    tops: Huge<u32>,
}

impl Tops<'_> {
    /// The root, as a node, that alone holds `node`; where several do, the object under which it hangs and that they
    /// share, which may be itself. `None` when it is not reached.
    pub fn of(&self, node: u32) -> Option<u32> {
        match *self.tree.number.get(node as usize)? {
            TOP => Some(node),
            number => self.tops.get(number as usize).copied(),
        }
    }
}

/// How many objects hang under each node. See [`Tree::counts`].
#[derive(Debug)]
pub struct Counts<'a> {
    tree: &'a Tree,
    counts: Vec<u32>,
}

impl Counts<'_> {
    /// The objects that would go with `node`, itself included if it is one. 0 when it is not reached.
    pub fn of(&self, node: u32) -> u32 {
        match self.tree.number.get(node as usize) {
            Some(&number) if number != UNREACHED && self.tree.leaves.get(node) => 1,
            Some(&number) => self.counts.get(number as usize).copied().unwrap_or(0),
            None => 0,
        }
    }

    /// All reached objects.
    pub fn total(&self) -> u32 {
        self.counts.first().copied().unwrap_or(0)
    }
}
