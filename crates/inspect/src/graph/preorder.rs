//! The depth-first walk: which nodes are reached, in which order, and from where.

use super::bits::Bits;
use super::huge::Huge;
use super::path::Path;
use super::whole::Walked;

/// The number of the node above all roots.
pub(crate) const TOP: u32 = 0;
/// The number of a node that was not reached.
pub(crate) const UNREACHED: u32 = u32::MAX;

/// Children of one node that wait at a time; of the others, only where to go on is kept.
const WAITING_MAX: usize = 64;
/// In the first half of an entry: not a child of that parent, but where to go on among its children.
const MORE: u32 = 1 << 31;
/// How far below the top of the stack nodes are touched, so that they have come from memory when they are on top.
const AHEAD: usize = 6;

/// A depth-first spanning tree of all that has pointers. Numbers count the nodes as they are first met; [`TOP`] is the
/// node above the roots.
pub(crate) struct Preorder {
    /// By number: the slot; for [`TOP`] nothing that means anything.
    pub(crate) slot: Huge<u32>,
    /// By number: the number of the node it was met from.
    pub(crate) parent: Huge<u32>,
    /// The first number of each class of roots, in order.
    pub(crate) class_starts: Vec<u32>,
    /// The most bytes that walking took, the graph that was walked among them.
    pub(crate) held: u64,
}

impl Preorder {
    /// Walks `graph` from its roots, class after class. Of the nodes met, 8 bytes for one in `share` may wait; beyond
    /// that the walk goes on in a byte a node, but reads each once more for each pointer.
    pub(crate) fn new(graph: &impl Walked, share: usize) -> Self {
        let nodes = (graph.inner() + graph.roots().count()) as usize;
        Self::with_stack(graph, (nodes / share).max(WAITING_MAX))
    }

    fn with_stack(graph: &impl Walked, stack_max: usize) -> Self {
        let (objects, roots) = (graph.objects(), graph.roots());
        let nodes = (graph.inner() + roots.count()) as usize;
        let mut walk = Walk {
            graph,
            seen: graph.never_entered(),
            slot: Huge::zeroed(nodes + 1),
            parent: Huge::zeroed(nodes + 1),
            len: 1,
            stack: Vec::new(),
            stack_max,
            path: Path::default(),
            touched: 0,
        };
        let mut class_starts = Vec::new();
        for class in roots.classes() {
            class_starts.push(walk.len);
            for root in (0..roots.count()).filter(|&root| roots.class(root) == class) {
                walk.enter(objects + root, TOP);
                walk.run();
            }
        }
        std::hint::black_box(walk.touched);
        walk.slot.truncate(walk.len as usize);
        walk.parent.truncate(walk.len as usize);
        let stack = 8 * walk.stack.capacity() as u64 + walk.path.held();
        Self {
            held: graph.held() + walk.seen.held() + walk.slot.held() + walk.parent.held() + stack,
            slot: walk.slot,
            parent: walk.parent,
            class_starts,
        }
    }

    /// By slot: its number.
    pub(crate) fn numbers(&self, slots: usize) -> Huge<u32> {
        let mut number = Huge::filled(slots, UNREACHED);
        // Each place is far from the last, and none waits for another.
        for (at, &slot) in (1..).zip(&self.slot[1..]) {
            number[slot as usize] = at;
        }
        number
    }
}

struct Walk<'a, G> {
    graph: &'a G,
    seen: Bits,
    slot: Huge<u32>,
    parent: Huge<u32>,
    /// How many have numbers.
    len: u32,
    /// (parent's number, child) or (parent's number | MORE, where to go on).
    stack: Vec<(u32, u32)>,
    /// Beyond this length, what hangs under a node is walked by [`Walk::deep`].
    stack_max: usize,
    /// The way down from where [`Walk::deep`] began.
    path: Path,
    touched: u32,
}

impl<G: Walked> Walk<'_, G> {
    fn run(&mut self) {
        while let Some((parent, child)) = self.stack.pop() {
            if parent & MORE != 0 {
                let number = parent & !MORE;
                self.push_children(self.slot[number as usize], number, child);
            } else if self.seen.set(child) {
                self.enter(child, parent);
            } else if let Some(ahead) = self.stack.len().checked_sub(AHEAD) {
                // On the way back what comes next is known.
                let (_, node) = self.stack[ahead];
                if !self.seen.get(node) {
                    self.touched ^= self.graph.touch(node);
                }
            }
        }
    }

    /// Numbers `node` and puts its children on the stack.
    #[inline]
    fn enter(&mut self, node: u32, parent: u32) {
        let number = self.number(node, parent);
        if self.stack.len() > self.stack_max {
            self.deep(number);
        } else {
            self.push_children(node, number, 0);
        }
    }

    #[inline]
    fn number(&mut self, node: u32, parent: u32) -> u32 {
        let number = self.len;
        self.slot[number as usize] = node;
        self.parent[number as usize] = parent;
        self.len += 1;
        number
    }

    /// Walks all that hangs under the node of this number, one child at a time. A way down may be as long as there are
    /// nodes, as through a list: the parents are known, so it takes a byte a step.
    fn deep(&mut self, mut number: u32) {
        self.path.enter();
        while let Some(from) = self.path.next() {
            let (seen, mut next) = (&mut self.seen, None);
            let node = self.slot[number as usize];
            let more = from.and_then(|from| {
                self.graph.each_from(node, from, |child| {
                    next = seen.set(child).then_some(child);
                    next.is_none()
                })
            });
            self.path.go_on_from(more);
            if let Some(child) = next {
                self.path.enter();
                number = self.number(child, number);
            } else {
                self.path.leave();
                number = self.parent[number as usize];
            }
        }
    }

    #[inline]
    fn push_children(&mut self, node: u32, number: u32, from: u32) {
        let base = self.stack.len();
        if self.stack.capacity() - base <= WAITING_MAX {
            // By a quarter: doubling could take as much again as all else.
            self.stack.reserve_exact(base / 4 + 16 * WAITING_MAX);
        }
        let (seen, stack) = (&self.seen, &mut self.stack);
        let more = self.graph.each_from(node, from, |child| {
            if !seen.get(child) {
                stack.push((number, child));
            }
            stack.len() < base + WAITING_MAX
        });
        if let Some(from) = more {
            // Below its children, so that it comes up when they are done.
            let first = self.stack[base];
            self.stack[base] = (number | MORE, from);
            self.stack.push(first);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::tests::heaps;
    use super::super::whole::Direct;
    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1000))]

        /// What makes a spanning tree a depth-first one: a pointer at a later number is at a descendant.
        #[test]
        fn every_walk_is_depth_first((lists, roots) in heaps(), stack_max in 0usize..6) {
            let graph = Direct::new(&lists, &roots);
            let usual = Preorder::new(&graph, 1);
            let pre = Preorder::with_stack(&graph, stack_max);
            let slots = (lists.0.len() + roots.count() as usize) as u32;
            let number = pre.numbers(slots as usize);
            let wanted = usual.numbers(slots as usize);
            for source in 0..slots {
                let from = number[source as usize];
                prop_assert_eq!(from == UNREACHED, wanted[source as usize] == UNREACHED);
                if from == UNREACHED {
                    continue;
                }
                graph.each_from(source, 0, |target| {
                    let to = number.get(target as usize).copied().unwrap_or(UNREACHED);
                    let mut above = to;
                    while to != UNREACHED && above > from {
                        above = pre.parent[above as usize];
                    }
                    assert!(to == UNREACHED || to <= from || above == from, "{source} to {target}");
                    true
                });
            }
        }
    }
}
