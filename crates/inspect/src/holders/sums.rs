//! What each root holds alone, and each group of goroutines as a whole.
//!
//! What one goroutine holds alone is what hangs under its root in the dominator tree. What several share hangs under
//! none; it belongs to a group if everything that leads to it does ([`Owners`]). The result is what the dominators would
//! give with one root for each group.

use super::shared::{Between, Shared};
use crate::graph::{Edges, Roots, Tops};

/// No group.
pub(super) const NONE: u32 = u32::MAX;

/// What somebody holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Sum {
    pub(super) bytes: u64,
    pub(super) objects: u64,
}

impl Sum {
    fn add(&mut self, bytes: u64) {
        self.bytes += bytes;
        self.objects += 1;
    }
}

/// Everybody's.
pub(super) struct Sums {
    pub(super) by_root: Vec<Sum>,
    /// By group of goroutines.
    pub(super) by_group: Vec<Sum>,
    /// All that is reached.
    pub(super) all: Sum,
}

impl Sums {
    /// The sums of all roots, and of `owners`' groups. One pass over all objects.
    pub(super) fn new<E: Edges>(
        edges: &E,
        roots: &Roots,
        tops: &Tops<'_>,
        shared: &Shared,
        owners: &Owners<'_>,
    ) -> Self {
        let mut sums = Self {
            by_root: vec![Sum::default(); roots.count() as usize],
            by_group: vec![Sum::default(); owners.groups.count],
            all: Sum::default(),
        };
        edges.bytes_in(0..edges.objects(), |object, bytes| {
            let Some(top) = tops.of(object) else {
                return;
            };
            sums.all.add(bytes);
            let of = match top.checked_sub(edges.objects()) {
                Some(root) => sums.by_root.get_mut(root as usize),
                None => {
                    let group = shared.place(top).map_or(NONE, |place| owners.group(place));
                    sums.by_group.get_mut(group as usize)
                }
            };
            if let Some(sum) = of {
                sum.add(bytes);
            }
        });
        for (sum, &group) in sums.by_root.iter().zip(owners.groups.of_root) {
            if let Some(of) = sums.by_group.get_mut(group as usize) {
                of.bytes += sum.bytes;
                of.objects += sum.objects;
            }
        }
        sums
    }
}

/// Which group each root is of.
#[derive(Clone, Copy)]
pub(super) struct Grouped<'a> {
    /// By root; [`NONE`] for those of no group.
    pub(super) of_root: &'a [u32],
    /// How many groups there are: goroutines are limited to some millions, and so are these.
    pub(super) count: usize,
}

/// Who has each shared object: the first class of roots that reaches it, and the only group of that class that does.
pub(super) struct Owners<'a> {
    roots: &'a Roots,
    groups: Grouped<'a>,
    /// By place.
    of: Vec<Owner>,
}

/// A class of roots in the first 8 bits, and a group of them in the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Owner(u32);

const GROUP: u32 = u32::MAX >> 8;
/// Several groups, or roots that are of none.
const SEVERAL: u32 = GROUP - 1;
/// Nobody: no group of the last class.
const NOBODY: Owner = Owner(u32::MAX);
/// Several, and nothing changes it any more.
const CLOSED: Owner = Owner(SEVERAL);

impl Owner {
    fn new(class: u8, group: u32) -> Self {
        Self(u32::from(class) << 24 | group.min(SEVERAL))
    }

    fn class(self) -> u32 {
        self.0 >> 24
    }

    fn group(self) -> u32 {
        self.0 & GROUP
    }

    /// Both of them have it.
    #[inline]
    fn and(self, other: Self) -> Self {
        if self == NOBODY || other.class() < self.class() {
            return other;
        }
        let is_same =
            other.group() == self.group() || other.class() > self.class() || other == NOBODY;
        match is_same {
            true => self,
            false => Self(self.0 & !GROUP | SEVERAL),
        }
    }
}

impl<'a> Owners<'a> {
    pub(super) fn new(shared: &Shared, roots: &'a Roots, groups: Grouped<'a>) -> Self {
        // Without groups nobody asks.
        let count = if groups.count > 0 { shared.count() } else { 0 };
        Self {
            roots,
            groups,
            of: vec![NOBODY; count],
        }
    }

    /// A pointer of `root`, or of what hangs under it, leads to a place.
    #[inline]
    pub(super) fn meet(&mut self, root: u32, place: u32) {
        if let Some(of) = self.of.get_mut(place as usize) {
            let group = self.groups.of_root.get(root as usize);
            let group = group.copied().unwrap_or(NONE);
            *of = of.and(Owner::new(self.roots.class(root), group));
        }
    }

    /// Who has an object has what it points at. Each changes hands a few times for each class. Those to which more leads
    /// than is known count for nobody.
    pub(super) fn pass_on(&mut self, between: &Between) {
        let mut todo: Vec<u32> = (0..self.of.len() as u32).collect();
        for &place in todo.iter().filter(|&&place| between.has_more(place)) {
            self.of[place as usize] = CLOSED;
        }
        while let Some(from) = todo.pop() {
            let owner = self.of[from as usize];
            for to in between.from(from) {
                let before = self.of[to as usize];
                self.of[to as usize] = before.and(owner);
                if self.of[to as usize] != before {
                    todo.push(to);
                }
            }
        }
    }

    /// The only group that has what is at a place; else a number that no group has.
    fn group(&self, place: u32) -> u32 {
        self.of
            .get(place as usize)
            .map_or(NONE, |owner| owner.group())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::graph::tests::heaps;
    use crate::graph::{Dominators, Effort, Tree};

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
            let of_root: Vec<u32> = (0..roots.count()).map(group).collect();
            let groups = Grouped { of_root: &of_root, count: 3 };
            let tree = Tree::new(&lists, &roots, effort).unwrap();
            let tops = tree.tops();
            let sums = |shared: Shared| {
                let mut owners = Owners::new(&shared, &roots, groups);
                let between = shared.each_way(&lists, &roots, &tops, |root, place| owners.meet(root, place));
                owners.pass_on(&between);
                Sums::new(&lists, &roots, &tops, &shared, &owners)
            };
            let found = sums(Shared::new(&tree, lists.objects()));
            let less = sums(Shared::new(&tree, lists.objects()).without_between());
            let dominators = Dominators::new(&lists, &merged, effort).unwrap();
            let counts = dominators.counts();
            for group in 0..3 {
                let node = lists.objects() + group;
                let bytes = dominators.retained(&lists, node);
                let objects = counts.of(node).into();
                prop_assert_eq!(found.by_group[group as usize], Sum { bytes, objects });
                prop_assert!(less.by_group[group as usize].bytes <= bytes, "what is not known counts for nobody");
            }
            let dominators = Dominators::new(&lists, &roots, effort).unwrap();
            let counts = dominators.counts();
            for (root, &sum) in (0..).zip(&found.by_root) {
                let node = lists.objects() + root;
                let bytes = dominators.retained(&lists, node);
                prop_assert_eq!(sum, Sum { bytes, objects: counts.of(node).into() });
            }
            prop_assert_eq!(found.all.bytes, dominators.total_bytes());
            prop_assert_eq!(found.all.objects, u64::from(counts.total()));
        }
    }
}
