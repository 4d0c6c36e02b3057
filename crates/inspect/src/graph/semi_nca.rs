//! Immediate dominators, by the Semi-NCA algorithm.
//!
//! Source: L. Georgiadis (2005), Linear-Time Algorithms for Dominators and Related Problems, section 2.4.

use super::huge::Huge;
use super::preorder::TOP;
use super::spill::{Buckets, Sorted};

/// How many sources' forest entries are asked for ahead of their use.
const BATCH: usize = 64;
/// How many steps up the forest they are asked for; most ways are no longer.
const AHEAD: usize = 5;
/// Steps per node that looking for dominators may take before long chains get shortcuts.
pub(crate) const STEPS_PER_NODE: u64 = 8;

/// Semidominators in the making. All arrays are by number; sources and targets are numbers.
pub(crate) struct Semi {
    /// Smallest source seen so far; the semidominator once a node is linked.
    pub(crate) semi: Huge<u32>,
    /// Of linked nodes: an ancestor, and the smallest semidominator on the way to it, without it.
    forest: Huge<[u32; 2]>,
    touched: u32,
}

impl Semi {
    /// Begins with each node's parent, and the smallest sources already known.
    pub(crate) fn new(semi: Huge<u32>) -> Self {
        Self {
            forest: Huge::zeroed(semi.len()),
            semi,
            touched: 0,
        }
    }

    /// Considers the pointers in `buckets` and links their range, which ends where the last one began.
    pub(crate) fn link_all(&mut self, mut buckets: Buckets, parent: &[u32]) {
        while let Some(Sorted {
            first,
            starts,
            sources,
        }) = buckets.pop()
        {
            let mut ahead = sources.len();
            for at in (0..starts.len() - 1).rev() {
                let (start, end) = (starts[at] as usize, starts[at + 1] as usize);
                if start < ahead {
                    // Independent reads, many at once: the evaluation below would wait for each in turn.
                    let next = start.saturating_sub(BATCH);
                    self.touch(&sources[next..ahead]);
                    ahead = next;
                }
                let number = first + at as u32;
                for &source in &sources[start..end] {
                    self.consider(number, source);
                }
                self.link(number, parent);
            }
        }
    }

    /// Reads what evaluating `sources` will read, some steps deep.
    #[inline]
    fn touch(&mut self, sources: &[u32]) {
        for sources in sources.chunks(2 * BATCH) {
            let mut above = [0; 2 * BATCH];
            for (above, &source) in above.iter_mut().zip(sources) {
                *above = source;
            }
            for _ in 0..AHEAD {
                for above in &mut above {
                    *above = self.forest[*above as usize][0];
                }
            }
            self.touched ^= above.iter().fold(0, |all, above| all ^ above);
        }
    }

    /// Takes a pointer from `source`, which is linked, to `number`, which is next to be linked.
    #[inline]
    pub(crate) fn consider(&mut self, number: u32, source: u32) {
        let smallest = self.eval(source, number);
        let semi = &mut self.semi[number as usize];
        *semi = smallest.min(*semi);
    }

    /// All pointers at `number` were considered.
    #[inline]
    pub(crate) fn link(&mut self, number: u32, parent: &[u32]) {
        let at = number as usize;
        self.forest[at] = [parent[at], self.semi[at]];
    }

    /// The smallest semidominator from `node` up to the root of its tree in the forest, without that root. Nodes
    /// above `last` are linked. Halves the path on the way (Tarjan and van Leeuwen 1984), so it needs no stack.
    #[inline]
    fn eval(&mut self, mut node: u32, last: u32) -> u32 {
        let mut smallest = u32::MAX;
        loop {
            let [above, label] = self.forest[node as usize];
            if above <= last {
                return smallest.min(label);
            }
            let [over, over_label] = self.forest[above as usize];
            let label = label.min(over_label);
            self.forest[node as usize] = [over, label];
            smallest = smallest.min(label);
            if over <= last {
                return smallest;
            }
            node = over;
        }
    }

    /// The semidominators; the forest is given back.
    pub(crate) fn finish(self) -> Huge<u32> {
        std::hint::black_box(self.touched);
        self.semi
    }
}

/// Turns parents into immediate dominators: the nearest ancestor that is not above the semidominator.
/// Also returns how many bytes were needed beside it.
pub(crate) fn dominate(mut idom: Huge<u32>, semi: &[u32]) -> (Huge<u32>, u64) {
    let all = &mut idom[..];
    let mut budget = all.len() as u64 * STEPS_PER_NODE;
    let mut shortcuts: Option<Shortcuts> = None;
    for number in 1..all.len() {
        let (mut dominator, limit) = (all[number], semi[number]);
        if let Some(shortcuts) = &mut shortcuts {
            dominator = shortcuts.first_not_above(all, dominator, limit);
            shortcuts.add(number, dominator);
        } else {
            while dominator > limit {
                dominator = all[dominator as usize];
                budget = budget.saturating_sub(1);
            }
        }
        all[number] = dominator;
        if budget == 0 && shortcuts.is_none() {
            shortcuts = Some(Shortcuts::new(all, number + 1));
        }
    }
    (idom, shortcuts.map_or(0, |shortcuts| shortcuts.held()))
}

/// A shortcut per node of the dominator tree: no chain, however long, takes more than a logarithm of its length. A
/// list of ten million entries, each of which shares something with a map, needs it.
///
/// Source: E. W. Myers (1983), An applicative random-access stack, Information Processing Letters 17:241-248.
pub(crate) struct Shortcuts {
    /// Depth, and a dominator further up.
    jumps: Huge<[u32; 2]>,
}

impl Shortcuts {
    /// For the first `count` nodes of `idom`, with room for the others.
    pub(crate) fn new(idom: &[u32], count: usize) -> Self {
        let mut shortcuts = Self {
            jumps: Huge::filled(idom.len(), [0, TOP]),
        };
        for (number, &dominator) in idom[..count].iter().enumerate().skip(1) {
            shortcuts.add(number, dominator);
        }
        shortcuts
    }

    /// The next number has this dominator.
    fn add(&mut self, number: usize, dominator: u32) {
        let [depth, jump] = self.jumps[dominator as usize];
        let [jump_depth, jump_jump] = self.jumps[jump as usize];
        let [far_depth, _] = self.jumps[jump_jump as usize];
        let equal = depth - jump_depth == jump_depth - far_depth;
        self.jumps[number] = [depth + 1, if equal { jump_jump } else { dominator }];
    }

    /// The first of `number`, its dominator, the dominator of that and so on that is not above `limit`.
    fn first_not_above(&self, idom: &[u32], mut number: u32, limit: u32) -> u32 {
        while number > limit {
            let [_, jump] = self.jumps[number as usize];
            number = if jump >= limit {
                jump
            } else {
                idom[number as usize]
            };
        }
        number
    }

    /// The nearest node that dominates both, or is one of them.
    pub(crate) fn nearest(&self, idom: &[u32], mut one: u32, mut other: u32) -> u32 {
        let depth = |number: u32| self.jumps[number as usize][0];
        let jump = |number: u32| self.jumps[number as usize][1];
        let up = |number: u32| idom[number as usize];
        if depth(one) < depth(other) {
            (one, other) = (other, one);
        }
        while depth(one) > depth(other) {
            let far = jump(one);
            one = if depth(far) >= depth(other) {
                far
            } else {
                up(one)
            };
        }
        while one != other {
            // Nodes of one depth jump equally far.
            (one, other) = match (jump(one), jump(other)) {
                (far, other_far) if far != other_far => (far, other_far),
                _ => (up(one), up(other)),
            };
        }
        one
    }

    /// Bytes held.
    pub(crate) fn held(&self) -> u64 {
        self.jumps.held()
    }
}
