//! The dominator tree turned around: what hangs under a node, and which root a node hangs under.

use super::dominators::Dominators;
use super::edges::Edges;
use super::preorder::{TOP, UNREACHED};

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

    /// What hangs under `node`, largest first.
    pub fn children_of<'a>(&self, children: &'a Children, node: u32) -> &'a [u32] {
        match self.own_number(node) {
            Some(number) => children.of(number),
            None => &[],
        }
    }

    /// For each node, the root that it hangs under, or the shared object: 4 bytes per object.
    pub fn tops(&self) -> Tops<'_> {
        let mut tops = vec![UNREACHED; self.idom.len()];
        for number in 1..tops.len() {
            // Dominators have lower numbers, so theirs are known.
            tops[number] = match self.idom[number] {
                TOP => self.node[number],
                above => tops[above as usize],
            };
        }
        Tops {
            dominators: self,
            tops,
        }
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
        Counts {
            dominators: self,
            counts,
        }
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

    /// All that is reached: bytes.
    pub fn total_bytes(&self) -> u64 {
        self.retained.first().copied().unwrap_or(0)
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

/// The root that each node hangs under. See [`Dominators::tops`].
#[derive(Debug)]
pub struct Tops<'a> {
    dominators: &'a Dominators,
    tops: Vec<u32>,
}

impl Tops<'_> {
    /// The root, as a node, that alone holds `node`; where several do, the object under which it hangs and that they
    /// share, which may be itself. `None` when it is not reached.
    pub fn of(&self, node: u32) -> Option<u32> {
        match *self.dominators.number.get(node as usize)? {
            TOP => Some(node),
            number => self.tops.get(number as usize).copied(),
        }
    }
}

/// How many objects hang under each node. See [`Dominators::counts`].
#[derive(Debug)]
pub struct Counts<'a> {
    dominators: &'a Dominators,
    counts: Vec<u32>,
}

impl Counts<'_> {
    /// The objects that would go with `node`, itself included if it is one. 0 when it is not reached.
    pub fn of(&self, node: u32) -> u32 {
        match self.dominators.number.get(node as usize) {
            Some(&number) if number != UNREACHED && self.dominators.leaves.get(node) => 1,
            Some(&number) => self.counts.get(number as usize).copied().unwrap_or(0),
            None => 0,
        }
    }

    /// All reached objects.
    pub fn total(&self) -> u32 {
        self.counts.first().copied().unwrap_or(0)
    }
}
