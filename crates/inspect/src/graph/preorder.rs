//! The depth-first walk: which nodes are reached, in which order, and from where.

use super::bits::Bits;
use super::huge::Huge;
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
    /// Walks `graph` from its roots, class after class.
    pub(crate) fn new(graph: &impl Walked) -> Self {
        let (objects, roots) = (graph.objects(), graph.roots());
        let nodes = (graph.inner() + roots.count()) as usize;
        let mut walk = Walk {
            graph,
            seen: graph.never_entered(),
            slot: Huge::zeroed(nodes + 1),
            parent: Huge::zeroed(nodes + 1),
            len: 1,
            stack: Vec::new(),
            stack_max: (nodes / 8).max(WAITING_MAX),
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
        let stack = walk.stack.capacity() as u64 * 8;
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
    /// Beyond this length a node leaves one entry at most, so the stack is bounded by the depth of the tree.
    stack_max: usize,
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
        let number = self.len;
        self.slot[number as usize] = node;
        self.parent[number as usize] = parent;
        self.len += 1;
        self.push_children(node, number, 0);
    }

    #[inline]
    fn push_children(&mut self, node: u32, number: u32, from: u32) {
        let base = self.stack.len();
        if self.stack.capacity() - base <= WAITING_MAX {
            // By a quarter: doubling could take as much again as all else.
            self.stack.reserve_exact(base / 4 + 16 * WAITING_MAX);
        }
        let room = if base > self.stack_max {
            1
        } else {
            WAITING_MAX
        };
        let (seen, stack) = (&self.seen, &mut self.stack);
        let more = self.graph.each_from(node, from, |child| {
            if !seen.get(child) {
                stack.push((number, child));
            }
            stack.len() < base + room
        });
        if let Some(from) = more {
            // Below its children, so that it comes up when they are done.
            let first = self.stack[base];
            self.stack[base] = (number | MORE, from);
            self.stack.push(first);
        }
    }
}
