//! The graph algorithms against slow and plain ones, on many small graphs and a few extreme ones.

use proptest::prelude::*;

use super::{Dominators, Edges, Effort, Roots};

/// A graph as a list of lists; object `i` has `1 + i % 7 * 8` bytes.
#[derive(Debug, Clone)]
pub(super) struct Lists(pub(super) Vec<Vec<u32>>);

impl Edges for Lists {
    fn objects(&self) -> u32 {
        self.0.len() as u32
    }
    fn bytes(&self, object: u32) -> u64 {
        u64::from(1 + object % 7 * 8)
    }
    fn each_from(&self, object: u32, from: u32, mut visit: impl FnMut(u32) -> bool) -> Option<u32> {
        for (at, &target) in (0..).zip(&self.0[object as usize]).skip(from as usize) {
            if !visit(target) {
                return Some(at + 1);
            }
        }
        None
    }
}

/// A small heap: pointers as pairs, roots with their classes, and pointers of roots. Few objects for many pointers,
/// so that self-loops, double pointers, unreached parts and targets that do not exist are all common.
pub(super) fn heaps() -> impl Strategy<Value = (Lists, Roots)> {
    (1u32..24, 1usize..5).prop_flat_map(|(objects, roots)| {
        let pointers = prop::collection::vec((0..objects, 0..objects + 1), 0..60);
        let classes = prop::collection::vec(0u8..3, roots);
        let held = prop::collection::vec((0..roots as u32, 0..objects + 1), 0..8);
        (pointers, classes, held).prop_map(move |(pointers, classes, held)| {
            let mut lists = vec![Vec::new(); objects as usize];
            for (source, target) in pointers {
                lists[source as usize].push(target);
            }
            (Lists(lists), Roots::new(&classes, &held))
        })
    })
}

/// What is reached from the roots that `take` takes, without passing through node `without`.
pub(super) fn reached(
    lists: &Lists,
    roots: &Roots,
    without: Option<u32>,
    take: impl Fn(u32) -> bool,
) -> Vec<bool> {
    let objects = lists.objects();
    let mut seen = vec![false; objects as usize];
    let mut todo: Vec<u32> = (0..roots.count())
        .filter(|&root| take(root) && without != Some(objects + root))
        .flat_map(|root| roots.targets(root).to_vec())
        .collect();
    while let Some(object) = todo.pop() {
        if object < objects && without != Some(object) && !seen[object as usize] {
            seen[object as usize] = true;
            todo.extend(&lists.0[object as usize]);
        }
    }
    seen
}

/// For each node, the set of objects that are lost without it, by trying each node in turn: the definition.
/// Objects count only within the first class that reaches them.
fn naive(lists: &Lists, roots: &Roots) -> (Vec<bool>, Vec<Vec<bool>>) {
    let (objects, nodes) = (lists.objects(), lists.objects() + roots.count());
    let mut class_of = vec![None; objects as usize];
    for class in (0..3).rev() {
        let seen = reached(lists, roots, None, |root| roots.class(root) == class);
        for (at, _) in seen.iter().enumerate().filter(|(_, seen)| **seen) {
            class_of[at] = Some(class);
        }
    }
    let dominated = (0..nodes)
        .map(|node| {
            let mut lost = vec![false; objects as usize];
            for class in 0..3 {
                let left = reached(lists, roots, Some(node), |root| roots.class(root) == class);
                for at in 0..objects as usize {
                    lost[at] |= class_of[at] == Some(class) && !left[at];
                }
            }
            lost
        })
        .collect();
    (class_of.iter().map(Option::is_some).collect(), dominated)
}

const LOW: Effort = Effort::LowMemory;
const FAST: Effort = Effort::Fast { threads: 1 };
const THREADS: Effort = Effort::Fast { threads: 3 };

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    #[test]
    fn dominators_are_what_the_definition_says((lists, roots) in heaps()) {
        let (seen, dominated) = naive(&lists, &roots);
        for effort in [FAST, THREADS, LOW] {
            let found = Dominators::new(&lists, &roots, effort).unwrap();
            for node in 0..lists.objects() + roots.count() {
                let lost = &dominated[node as usize];
                let is_root = node >= lists.objects();
                prop_assert_eq!(found.is_reached(node), is_root || seen[node as usize]);
                if !found.is_reached(node) {
                    continue;
                }
                let bytes: u64 = (0..lists.objects())
                    .filter(|&at| lost[at as usize])
                    .map(|at| lists.bytes(at))
                    .sum();
                prop_assert_eq!(found.retained(&lists, node), bytes, "{:?} of {}", effort, node);
                // The nearest dominator is the one that the most others dominate.
                let nearest = (0..lists.objects() + roots.count())
                    .filter(|&other| other != node && !is_root)
                    .filter(|&other| dominated[other as usize][node as usize])
                    .min_by_key(|&other| dominated[other as usize].iter().filter(|lost| **lost).count());
                prop_assert_eq!(found.idom(node), nearest, "{:?} of {}", effort, node);
            }
        }
    }
}
