//! The graph algorithms against slow and plain ones, on many small graphs and a few extreme ones.

use proptest::prelude::*;

use super::{Blocked, Dominators, Edges, Effort, Reach, Roots, exclusive, leaked, wakes, way_to};

/// A graph as a list of lists; object `i` has `1 + i % 7 * 8` bytes.
#[derive(Debug, Clone)]
pub(crate) struct Lists(pub(crate) Vec<Vec<u32>>);

impl Edges for Lists {
    fn objects(&self) -> u32 {
        self.0.len() as u32
    }
    fn bytes(&self, object: u32) -> u64 {
        u64::from(1 + object % 7 * 8)
    }
    fn each_from(&self, object: u32, from: u32, mut visit: impl FnMut(u32) -> bool) -> Option<u32> {
        let targets = self.0[object as usize].get(from as usize..)?;
        for (at, &target) in (from..).zip(targets) {
            if !visit(target) {
                return Some(at + 1);
            }
        }
        None
    }
    fn touch(&self, object: u32) -> u32 {
        self.0[object as usize].len() as u32
    }
}

/// A small heap: pointers as pairs, roots with their classes, and pointers of roots. Few objects for many pointers,
/// so that self-loops, double pointers, unreached parts and targets that do not exist are all common.
pub(crate) fn heaps() -> impl Strategy<Value = (Lists, Roots)> {
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
    #![proptest_config(ProptestConfig::with_cases(2000))]

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
                for above in 0..lists.objects() + roots.count() {
                    prop_assert_eq!(found.is_under(node, above), nearest == Some(above));
                }
            }
        }
    }

    #[test]
    fn the_tree_turned_around_agrees_with_itself((lists, roots) in heaps()) {
        let (_, dominated) = naive(&lists, &roots);
        let nodes = lists.objects() + roots.count();
        for effort in [FAST, LOW] {
            let found = Dominators::new(&lists, &roots, effort).unwrap();
            let (children, tops, counts) = (found.children(&lists), found.tops(), found.counts());
            let mut listed = 0;
            for node in (0..nodes).filter(|&node| found.is_reached(node)) {
                let below = found.children_of(&children, node);
                listed += below.len();
                prop_assert!(below.iter().all(|&child| found.idom(child) == Some(node)));
                let falling = below
                    .iter()
                    .is_sorted_by_key(|&child| std::cmp::Reverse(found.retained(&lists, child)));
                prop_assert!(falling);
                let count = dominated[node as usize].iter().filter(|lost| **lost).count();
                prop_assert_eq!(counts.of(node) as usize, count);
                let mut top = node;
                while let Some(above) = found.idom(top) {
                    top = above;
                }
                prop_assert_eq!(tops.of(node), Some(top));
                prop_assert!(children.top().contains(&top));
            }
            let all = (0..nodes).filter(|&node| found.is_reached(node)).count();
            prop_assert_eq!(listed + children.top().len(), all);
            prop_assert_eq!(counts.total() as usize, all - roots.count() as usize);
            prop_assert!(found.shared().all(|object| found.idom(object).is_none()));
            let shared = children.top().iter().filter(|node| **node < lists.objects());
            prop_assert_eq!(found.shared().count(), shared.count());
        }
    }

    #[test]
    fn marking_and_owning_agree_with_the_dominators((lists, roots) in heaps()) {
        let seen = reached(&lists, &roots, None, |_| true);
        let marks = Reach::from_roots(&lists, &roots);
        for (at, seen) in (0..).zip(&seen) {
            prop_assert_eq!(marks.is_marked(at), *seen);
        }
        let found = Dominators::new(&lists, &roots, FAST).unwrap();
        let counts = found.counts();
        prop_assert_eq!(marks.total(&lists), (counts.total(), found.total_bytes()));
        let alone = exclusive(&lists, &roots).unwrap();
        let mut rest = found.total_bytes();
        for (root, &(bytes, count)) in (0..).zip(&alone.by_root) {
            let node = lists.objects() + root;
            prop_assert_eq!((bytes, count), (found.retained(&lists, node), counts.of(node)));
            rest -= bytes;
        }
        prop_assert_eq!(alone.shared.0, rest);
    }

    #[test]
    fn a_way_leads_from_an_allowed_root_past_what_is_barred(
        (lists, roots) in heaps(),
        object in 0u32..24,
        without in 0u32..4,
        barred in 0u32..24,
    ) {
        let past = Some(barred).filter(|&barred| barred < lists.objects());
        let way = way_to(&lists, &roots, object, &[barred], |root| root != without);
        let seen = reached(&lists, &roots, past, |root| root != without);
        prop_assert_eq!(way.is_some(), seen.get(object as usize).copied().unwrap_or(false));
        if let Some(way) = way {
            prop_assert!(way.root != without && !way.objects.contains(&barred));
            prop_assert!(roots.targets(way.root).contains(&way.objects[0]));
            prop_assert_eq!(way.objects.last(), Some(&object));
            for step in way.objects.windows(2) {
                prop_assert!(lists.0[step[0] as usize].contains(&step[1]));
            }
            let mut unique = way.objects.clone();
            unique.sort_unstable();
            unique.dedup();
            prop_assert_eq!(unique.len(), way.objects.len(), "no object twice");
        }
    }

    #[test]
    fn what_could_wake_a_goroutine_is_alive_itself(
        (lists, roots) in heaps(),
        waits_on in prop::collection::vec(prop::collection::vec(0u32..24, 0..3), 0..4),
        barred in 0u32..24,
        late in 0u32..5,
    ) {
        let blocked: Vec<Blocked> = (0..)
            .zip(waits_on)
            .map(|(root, waits_on)| Blocked { root, waits_on })
            .collect();
        let all: Vec<usize> = (0..blocked.len()).collect();
        let asleep = leaked(&lists, &roots, &blocked, &[barred]);
        let found = wakes(&lists, &roots, &blocked, &[barred], |root| root == late).unwrap();
        let leaked: Vec<usize> = all.iter().copied().filter(|&at| found.is_leaked(at)).collect();
        // What is barred counts as marked there, and nobody waits on it in earnest.
        let waits_on_barred = |at: &usize| blocked[*at].waits_on.contains(&barred);
        if !all.iter().any(waits_on_barred) {
            prop_assert_eq!(&leaked, &asleep);
        }
        for at in all {
            let way = found.way(at);
            prop_assert_eq!(way.is_none(), found.is_leaked(at));
            let Some(way) = way else { continue };
            prop_assert!(roots.targets(way.root).contains(&way.objects[0]));
            prop_assert!(blocked[at].waits_on.contains(way.objects.last().unwrap()));
            for step in way.objects.windows(2) {
                prop_assert!(lists.0[step[0] as usize].contains(&step[1]));
            }
            let of_sleeper = |at: &usize| blocked[*at].root == way.root;
            prop_assert!(!leaked.iter().any(of_sleeper), "a way from one that never runs");
        }
    }

    #[test]
    fn what_leaked_is_the_largest_set_that_nothing_else_reaches(
        (lists, roots) in heaps(),
        waits_on in prop::collection::vec(prop::collection::vec(0u32..24, 0..3), 0..4),
    ) {
        let blocked: Vec<Blocked> = (0..)
            .zip(waits_on)
            .map(|(root, waits_on)| Blocked { root, waits_on })
            .collect();
        let found = leaked(&lists, &roots, &blocked, &[]);
        // Slowly: begin with all asleep, and wake until nothing changes.
        let mut asleep: Vec<usize> = (0..blocked.len()).collect();
        loop {
            let awake = |root| !asleep.iter().any(|&at| blocked[at].root == root);
            let seen = reached(&lists, &roots, None, awake);
            let wakes = |object: &u32| seen.get(*object as usize).copied().unwrap_or(false);
            let left: Vec<usize> = asleep
                .iter()
                .copied()
                .filter(|&at| !blocked[at].waits_on.iter().any(wakes))
                .collect();
            if left == asleep {
                break;
            }
            asleep = left;
        }
        prop_assert_eq!(found, asleep);
    }
}

/// The place where a long object goes on waits among objects, and is none.
#[test]
fn what_is_ahead_may_be_no_object() {
    let pointers = |object: u32| (0..300).map(|at| (object + 1 + at) % 9).collect();
    let lists = Lists((0..9).map(pointers).collect());
    let roots = Roots::new(&[0], &[(0, 0)]);
    for effort in [FAST, THREADS, LOW] {
        let found = Dominators::new(&lists, &roots, effort).unwrap();
        assert_eq!(found.idom(8), Some(0), "{effort:?}");
    }
}

/// Everything hangs under everything before it; then a star; then a list whose entries each share something with
/// the root, which takes shortcuts to do in time.
#[test]
fn extreme_shapes_take_neither_stack_nor_quadratic_time() {
    // Far more than a stack has room for, and squared far more than anybody waits for.
    const LONG: u32 = 600_000;
    let root = Roots::new(&[0], &[(0, 0)]);
    let list = Lists((0..LONG).map(|at| vec![at + 1]).collect());
    let ring = Lists((0..LONG).map(|at| vec![(at + 1) % LONG, at]).collect());
    let back = Lists((0..LONG).map(|at| vec![at + 1, at / 2, 0]).collect());
    let mut star = vec![Vec::new(); LONG as usize];
    star[0] = (0..LONG).collect();
    let mut both_ways = vec![vec![0]; LONG as usize];
    both_ways[0] = (0..LONG).collect();
    // Entry i of the list is object i + 1; what it shares with object 0's table is i + 1 + HALF.
    const HALF: u32 = LONG / 2;
    let mut table: Vec<Vec<u32>> = (0..HALF).map(|at| vec![at + HALF, at + 1]).collect();
    table.extend(vec![vec![0]; HALF as usize]);
    table[0].extend(HALF..LONG);
    // Object 0 is met first and its list last, so that entries are numbered along the list.
    table[0].push(1);
    table[HALF as usize - 1].pop();
    for (name, lists, direct) in [
        ("list", list, 1),
        ("ring", ring, 1),
        ("list with pointers back", back, 1),
        ("star", Lists(star), LONG as usize - 1),
        ("star both ways", Lists(both_ways), LONG as usize - 1),
        (
            "list that shares with a table",
            Lists(table),
            HALF as usize + 1,
        ),
    ] {
        let all: u64 = (0..LONG).map(|at| lists.bytes(at)).sum();
        for effort in [FAST, LOW] {
            let found = Dominators::new(&lists, &root, effort).unwrap();
            assert_eq!(found.retained(&lists, 0), all, "{name}, {effort:?}");
            let children = found.children(&lists);
            assert_eq!(
                found.children_of(&children, 0).len(),
                direct,
                "{name}, {effort:?}"
            );
            assert_eq!(found.tops().of(LONG - 1), Some(LONG), "{name}");
            let per_object = found.held().peak() as f64 / f64::from(LONG);
            assert!(
                effort == FAST || per_object < 24.0,
                "{name}: {per_object} bytes per object"
            );
        }
        assert_eq!(
            Reach::from_roots(&lists, &root).total(&lists),
            (LONG, all),
            "{name}"
        );
        let way = way_to(&lists, &root, LONG - 1, &[], |_| true);
        assert!(way.is_some(), "{name}");
    }
}

/// A heap that answers otherwise each time, as a core does that somebody writes over.
struct Restless(Lists, std::sync::atomic::AtomicU32);

impl Edges for Restless {
    fn objects(&self) -> u32 {
        self.0.objects()
    }
    fn bytes(&self, object: u32) -> u64 {
        self.0.bytes(object)
    }
    fn each_from(&self, object: u32, from: u32, visit: impl FnMut(u32) -> bool) -> Option<u32> {
        let times = self.1.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let other = (object + times % 5) % self.0.objects();
        self.0.each_from(other, from, visit)
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn a_heap_that_contradicts_itself_makes_no_panic((lists, roots) in heaps()) {
        let heap = Restless(lists, 0.into());
        for effort in [FAST, LOW] {
            let found = Dominators::new(&heap, &roots, effort).unwrap();
            let _ = (found.children(&heap), found.tops(), found.counts());
            found.each_down(|_, _| {});
        }
        Reach::from_roots(&heap, &roots).total(&heap);
        exclusive(&heap, &roots);
    }
}
