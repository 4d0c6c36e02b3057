//! The depth-first walk: which nodes are reached, in which order, and from where.

use super::bits::Bits;
use super::edges::Edges;
use super::roots::Roots;

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

/// A heap and its roots as one graph: objects first, then roots. The node above the roots is not in it.
pub(crate) struct Whole<'a, E> {
    pub(crate) edges: &'a E,
    pub(crate) roots: &'a Roots,
}

impl<E: Edges> Whole<'_, E> {
    #[inline]
    pub(crate) fn each_from(
        &self,
        node: u32,
        from: u32,
        mut visit: impl FnMut(u32) -> bool,
    ) -> Option<u32> {
        let objects = self.edges.objects();
        if node < objects {
            let visit = |target| target >= objects || visit(target);
            return self.edges.each_from(node, from, visit);
        }
        let targets = self.roots.targets(node - objects);
        for (at, &target) in targets.iter().enumerate().skip(from as usize) {
            if target < objects && !visit(target) {
                return Some(at as u32 + 1);
            }
        }
        None
    }

    /// Every pointer, in order of the sources.
    pub(crate) fn each(&self, mut visit: impl FnMut(u32, u32)) {
        let objects = self.edges.objects();
        self.edges.each_in(0..objects, |source, target| {
            if target < objects {
                visit(source, target);
            }
        });
        for root in 0..self.roots.count() {
            for &target in self.roots.targets(root) {
                if target < objects {
                    visit(objects + root, target);
                }
            }
        }
    }
}

/// A depth-first spanning tree. Numbers count the nodes as they are first met; [`TOP`] is the node above the roots.
pub(crate) struct Preorder {
    /// By node, objects and then roots: its number.
    pub(crate) number: Vec<u32>,
    /// By number: the node; for [`TOP`] nothing that means anything.
    pub(crate) node: Vec<u32>,
    /// By number: the number of the node it was met from.
    pub(crate) parent: Vec<u32>,
    /// The first number of each class of roots, in order.
    pub(crate) class_starts: Vec<u32>,
    /// The most bytes that the stack took.
    pub(crate) stack_bytes: u64,
}

impl Preorder {
    /// Walks `whole` from its roots, class after class, and does not enter the nodes in `seen`. `len_max` is one
    /// more than the most nodes that can be met.
    pub(crate) fn new<E: Edges>(whole: &Whole<'_, E>, seen: Bits, len_max: usize) -> Self {
        let (objects, roots) = (whole.edges.objects(), whole.roots);
        let nodes = objects as usize + roots.count() as usize;
        let mut walk = Walk {
            whole,
            seen,
            number: vec![UNREACHED; nodes],
            node: Vec::with_capacity(len_max),
            parent: Vec::with_capacity(len_max),
            stack: Vec::new(),
            stack_max: (nodes / 8).max(WAITING_MAX),
            touched: 0,
        };
        walk.node.push(UNREACHED);
        walk.parent.push(TOP);
        let mut class_starts = Vec::new();
        for class in roots.classes() {
            class_starts.push(walk.node.len() as u32);
            for root in (0..roots.count()).filter(|&root| roots.class(root) == class) {
                walk.enter(objects + root, TOP);
                walk.run();
            }
        }
        std::hint::black_box(walk.touched);
        Self {
            stack_bytes: walk.stack.capacity() as u64 * 8,
            number: walk.number,
            node: walk.node,
            parent: walk.parent,
            class_starts,
        }
    }
}

struct Walk<'a, E> {
    whole: &'a Whole<'a, E>,
    seen: Bits,
    number: Vec<u32>,
    node: Vec<u32>,
    parent: Vec<u32>,
    /// (parent's number, child) or (parent's number | MORE, where to go on).
    stack: Vec<(u32, u32)>,
    /// Beyond this length a node leaves one entry at most, so the stack is bounded by the depth of the tree.
    stack_max: usize,
    touched: u32,
}

impl<E: Edges> Walk<'_, E> {
    fn run(&mut self) {
        while let Some((parent, child)) = self.stack.pop() {
            if parent & MORE != 0 {
                let number = parent & !MORE;
                self.push_children(self.node[number as usize], number, child);
            } else if self.seen.set(child) {
                self.enter(child, parent);
            } else if let Some(ahead) = self.stack.len().checked_sub(AHEAD) {
                // On the way back what comes next is known.
                let (_, node) = self.stack[ahead];
                if !self.seen.get(node) {
                    self.touched ^= self.whole.edges.touch(node);
                }
            }
        }
    }

    /// Numbers `node` and puts its children on the stack.
    #[inline]
    fn enter(&mut self, node: u32, parent: u32) {
        let number = self.node.len() as u32;
        self.number[node as usize] = number;
        self.node.push(node);
        self.parent.push(parent);
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
        let more = self.whole.each_from(node, from, |child| {
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
