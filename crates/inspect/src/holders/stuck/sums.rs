//! What each group of goroutines holds as a whole.
//!
//! What one goroutine holds alone is what hangs under its root in the dominator tree. What several share hangs under
//! none; it belongs to a group if everything that leads to it does. The tree gives the shared objects that are highest,
//! and what hangs under them; so a small graph of those alone is coloured, by one walk over the heap's pointers. The
//! result is what the dominators would give with one root for each group.

use super::NONE;
use crate::graph::{Dominators, Edges, Roots};

/// Pointers between shared objects that are remembered. Those to the targets beyond count for nobody.
const THROUGH_MAX: usize = 16 << 20;

/// What a group holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Sum {
    pub(super) bytes: u64,
    pub(super) objects: u64,
}

/// Who has a shared object: the first class of roots that reaches it, and the only group of that class that does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Owner {
    class: u8,
    group: u32,
}

/// Several groups, or roots that are of none.
const SEVERAL: u32 = NONE - 1;
const NOBODY: Owner = Owner {
    class: u8::MAX,
    group: NONE,
};
/// Nothing changes it any more.
const CLOSED: Owner = Owner {
    class: 0,
    group: SEVERAL,
};

impl Owner {
    fn of(roots: &Roots, group_of_root: &[u32], root: u32) -> Self {
        let group = group_of_root.get(root as usize).copied().unwrap_or(NONE);
        Self {
            class: roots.class(root),
            group: if group == NONE { SEVERAL } else { group },
        }
    }

    /// Both of them have it.
    fn and(self, other: Self) -> Self {
        if self.group == NONE || other.class < self.class {
            return other;
        }
        let is_same = other.group == self.group || other.class > self.class || other.group == NONE;
        Self {
            group: if is_same { self.group } else { SEVERAL },
            ..self
        }
    }
}

/// What each of `count` groups holds. `group_of_root` has [`NONE`] for roots of no group.
pub(super) fn sums<E: Edges>(
    edges: &E,
    roots: &Roots,
    dominators: &Dominators,
    group_of_root: &[u32],
    count: usize,
) -> Vec<Sum> {
    let mut sums = vec![Sum::default(); count];
    if count == 0 {
        return sums;
    }
    let counts = dominators.counts();
    let mut add = |group: u32, node: u32| {
        if let Some(sum) = sums.get_mut(group as usize) {
            sum.bytes += dominators.retained(edges, node);
            sum.objects += u64::from(counts.of(node));
        }
    };
    for (root, &group) in (0..).zip(group_of_root) {
        add(group, edges.objects() + root);
    }
    for (object, owner) in Shared::new(edges, roots, dominators).owners(edges, group_of_root) {
        add(owner.group, object);
    }
    sums
}

/// The highest of the shared objects.
struct Shared<'a> {
    roots: &'a Roots,
    dominators: &'a Dominators,
    /// In order.
    objects: Vec<u32>,
    /// By object: one bit for those.
    is_shared: Vec<u64>,
}

impl<'a> Shared<'a> {
    fn new<E: Edges>(edges: &E, roots: &'a Roots, dominators: &'a Dominators) -> Self {
        let mut objects: Vec<u32> = dominators.shared().collect();
        objects.sort_unstable();
        let mut is_shared = Vec::new();
        if !objects.is_empty() {
            is_shared = vec![0u64; (edges.objects() as usize).div_ceil(64)];
        }
        for &object in &objects {
            is_shared[object as usize / 64] |= 1 << (object % 64);
        }
        Self {
            roots,
            dominators,
            objects,
            is_shared,
        }
    }

    /// The place of an object in `objects`.
    fn place(&self, object: u32) -> Option<usize> {
        let word = self.is_shared.get(object as usize / 64)?;
        if word >> (object % 64) & 1 == 0 {
            return None;
        }
        self.objects.binary_search(&object).ok()
    }

    /// Who has each of them.
    fn owners<E: Edges>(&self, edges: &E, group_of_root: &[u32]) -> Vec<(u32, Owner)> {
        if self.objects.is_empty() {
            return Vec::new();
        }
        let mut owners = vec![NOBODY; self.objects.len()];
        for root in 0..self.roots.count() {
            let owner = Owner::of(self.roots, group_of_root, root);
            for place in self
                .roots
                .targets(root)
                .iter()
                .filter_map(|&at| self.place(at))
            {
                owners[place] = owners[place].and(owner);
            }
        }
        // (from, to), as places.
        let mut through: Vec<(u32, u32)> = Vec::new();
        let tops = self.dominators.tops();
        edges.each_in(0..edges.objects(), |source, target| {
            let Some(place) = self.place(target) else {
                return;
            };
            let Some(top) = tops.of(source).filter(|&top| top != target) else {
                return;
            };
            match top.checked_sub(edges.objects()) {
                Some(root) => {
                    let owner = Owner::of(self.roots, group_of_root, root);
                    owners[place] = owners[place].and(owner);
                }
                None if owners[place] == CLOSED => {}
                None if through.len() >= THROUGH_MAX => owners[place] = CLOSED,
                None => through.extend(self.place(top).map(|from| (from as u32, place as u32))),
            }
        });
        pass_on(&mut owners, through);
        self.objects.iter().copied().zip(owners).collect()
    }
}

/// Who has an object has what it points at. Each changes hands a few times for each class.
fn pass_on(owners: &mut [Owner], mut through: Vec<(u32, u32)>) {
    through.sort_unstable();
    through.dedup();
    let mut todo: Vec<u32> = (0..owners.len() as u32).collect();
    while let Some(from) = todo.pop() {
        let owner = owners[from as usize];
        let first = through.partition_point(|&(other, _)| other < from);
        for &(_, to) in through[first..].iter().take_while(|pair| pair.0 == from) {
            let before = owners[to as usize];
            owners[to as usize] = before.and(owner);
            if owners[to as usize] != before {
                todo.push(to);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::graph::Effort;
    use crate::graph::tests::heaps;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        /// Three groups of one class each, and roots of none: the same as with one root for each group.
        #[test]
        fn a_group_holds_what_one_root_in_its_place_would(
            (lists, roots) in heaps(),
            group_of in prop::collection::vec(0u32..5, 5),
            class_of in prop::collection::vec(0u8..3, 3),
        ) {
            let group = |root: u32| match group_of[root as usize] {
                group @ 0..3 => group,
                _ => NONE,
            };
            let (mut classes, mut pointers) = (Vec::new(), Vec::new());
            let mut merged_pointers = Vec::new();
            // Behind the groups' own roots.
            let mut merged_classes = class_of.clone();
            for root in 0..roots.count() {
                let class = match group(root) {
                    NONE => roots.class(root),
                    group => class_of[group as usize],
                };
                classes.push(class);
                let merged = match group(root) {
                    NONE => {
                        merged_classes.push(class);
                        merged_classes.len() as u32 - 1
                    }
                    group => group,
                };
                for &target in roots.targets(root) {
                    pointers.push((root, target));
                    merged_pointers.push((merged, target));
                }
            }
            let roots = Roots::new(&classes, &pointers);
            let merged = Roots::new(&merged_classes, &merged_pointers);
            let effort = Effort::Fast { threads: 1 };
            let groups: Vec<u32> = (0..roots.count()).map(group).collect();
            let dominators = Dominators::new(&lists, &roots, effort).unwrap();
            let found = sums(&lists, &roots, &dominators, &groups, 3);
            let dominators = Dominators::new(&lists, &merged, effort).unwrap();
            let counts = dominators.counts();
            for (group, found) in (0..).zip(found) {
                let node = lists.objects() + group;
                let bytes = dominators.retained(&lists, node);
                let objects = counts.of(node).into();
                prop_assert_eq!(found, Sum { bytes, objects });
            }
        }
    }
}
