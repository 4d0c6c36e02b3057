//! What holders are called: a variable's name, the function that goroutines began in, the function of a timer; and
//! for what several hold, the names of those.

use std::collections::{BTreeSet, HashMap};

use super::label::Labels;
use super::repeated;
use super::users::Users;
use super::{HolderKind, Taken};
use crate::Program;
use crate::goroutines::Goroutine;
use crate::graph::{Dominators, Edges};
use crate::roots::{Root, RootKind};

/// Shared objects that are named after those who share them.
const SHARED_MAX: usize = 4 << 20;
/// Pointers between shared objects that are remembered.
const THROUGH_MAX: usize = 16 << 20;
/// Rounds in which sharers are passed on.
const ROUNDS: usize = 8;
/// Names kept of one shared object.
const SHARERS_MAX: usize = 8;
/// Names told of those who share.
const SHARERS_TOLD: usize = 3;

/// One line of the report before anything is counted.
pub(super) struct Top {
    pub(super) kind: HolderKind,
    pub(super) name: String,
    pub(super) ty: String,
    /// Roots of that name.
    pub(super) count: u64,
    /// Where the variable lies, if its name is not known.
    pub(super) unnamed_at: Option<u64>,
}

/// Every root's and shared object's line.
pub(super) struct Named {
    pub(super) tops: Vec<Top>,
    by_root: Vec<u32>,
    by_shared: HashMap<u32, u32>,
    other_shared: u32,
    /// Of variables without a name.
    pub(super) users: Users,
}

impl Named {
    pub(super) fn of_root(&self, root: u32) -> u32 {
        self.by_root
            .get(root as usize)
            .copied()
            .unwrap_or(self.other_shared)
    }

    /// Kind and name of a root.
    pub(super) fn root(&self, root: u32) -> (HolderKind, &str) {
        let top = &self.tops[self.of_root(root) as usize];
        (top.kind, &top.name)
    }

    pub(super) fn of_shared(&self, object: u32) -> u32 {
        self.by_shared
            .get(&object)
            .copied()
            .unwrap_or(self.other_shared)
    }
}

/// Collects lines, each name of a kind once.
#[derive(Default)]
struct Lines {
    tops: Vec<Top>,
    known: HashMap<(HolderKind, String), u32>,
}

impl Lines {
    fn line(&mut self, kind: HolderKind, name: String) -> u32 {
        *self.known.entry((kind, name.clone())).or_insert_with(|| {
            self.tops.push(Top {
                kind,
                name,
                ty: String::new(),
                count: 0,
                unnamed_at: None,
            });
            (self.tops.len() - 1) as u32
        })
    }
}

/// Names every root, and what big shared objects are shared by.
pub(super) fn holders(
    program: &Program,
    taken: &Taken,
    dominators: &Dominators,
    labels: &mut Labels<'_>,
) -> Named {
    let mut lines = Lines::default();
    let (mut repeated, users) = repeated::find(program, taken);
    let mut by_root = Vec::with_capacity(taken.roots.roots.len());
    for root in &taken.roots.roots {
        let variable = taken.roots.is_global(root).then_some(root.at as usize);
        let element = variable.and_then(|at| repeated.remove(&at));
        let (name, base) = match element {
            Some(element) => (element.name, Some(element.base)),
            None => (root_name(program, taken, root), None),
        };
        let line = lines.line(root.kind.into(), name);
        let top = &mut lines.tops[line as usize];
        top.count += u64::from(!root.is_guess);
        if taken.roots.is_global(root) {
            let global = &taken.roots.globals.all[root.at as usize];
            top.unnamed_at = base.or((!global.is_named).then_some(global.addr));
            if let Some(ty) = global.ty {
                let ty = labels.types.by_die(ty);
                top.ty = labels.types.name(ty).into();
            }
        }
        by_root.push(line);
    }
    let by_shared = shared(taken, dominators, &by_root, &mut lines);
    let other_shared = lines.line(HolderKind::Several, "several holders".to_owned());
    Named {
        tops: lines.tops,
        by_root,
        by_shared,
        other_shared,
        users,
    }
}

fn root_name(program: &Program, taken: &Taken, root: &Root) -> String {
    let function = |code: u64| {
        let functions = program.functions_of(code)?;
        Some(functions.name(functions.find(code)?).to_owned())
    };
    let goroutine = || taken.roots.goroutines.goroutines.get(root.at as usize);
    match root.kind {
        _ if taken.roots.is_global(root) => {
            taken.roots.globals.all[root.at as usize].name.to_string()
        }
        RootKind::Goroutine => {
            goroutine().map_or_else(String::new, |goroutine| entry(taken, goroutine))
        }
        RootKind::Runtime => match goroutine() {
            Some(goroutine) => entry(taken, goroutine),
            None => "lists of goroutines, processors and weak pointers".to_owned(),
        },
        RootKind::Timer => function(root.at).unwrap_or_else(|| "timers".to_owned()),
        RootKind::Finalizer | RootKind::Cleanup => {
            function(root.at).unwrap_or_else(|| "finalizers that wait to run".to_owned())
        }
        RootKind::Referent => "objects with finalizers".to_owned(),
        RootKind::Global => String::new(),
    }
}

/// The function that a goroutine began in, else the one that began it.
fn entry(taken: &Taken, goroutine: &Goroutine) -> String {
    let dump = &taken.roots.goroutines;
    let frames = goroutine.stack.and_then(|stack| dump.stacks.get(stack));
    let frames = frames.map_or(&[][..], |stack| &stack.frames);
    let is_start = |name: &str| matches!(name, "runtime.goexit" | "runtime.main");
    let outermost = frames
        .iter()
        .rev()
        .find(|frame| !is_start(&frame.function) && !frame.wrapper);
    let creator = goroutine
        .creator
        .and_then(|creator| dump.creators.get(creator));
    match (outermost, creator) {
        (Some(frame), _) => frame.function.to_string(),
        _ if let Some(entry) = &goroutine.entry => entry.to_string(),
        (None, Some(creator)) => format!("goroutine begun by {}", creator.function),
        (None, None) => "a goroutine that runs".to_owned(),
    }
}

/// The lines of shared objects, named after those who share them.
fn shared(
    taken: &Taken,
    dominators: &Dominators,
    by_root: &[u32],
    lines: &mut Lines,
) -> HashMap<u32, u32> {
    let mut sharers = Sharers::new(dominators.shared().take(SHARED_MAX));
    if sharers.of.is_empty() {
        return HashMap::new();
    }
    sharers.collect(taken, dominators, by_root);
    // What a root of a later rank points at is no sharer: the earlier ones have it.
    let mut ranks = vec![u8::MAX; lines.tops.len()];
    for (root, &line) in taken.roots.roots.iter().zip(by_root) {
        ranks[line as usize] = root.rank(&taken.roots.goroutines);
    }
    let mut names: HashMap<u32, Option<u32>> = HashMap::new();
    let mut found = HashMap::new();
    for (&object, &set) in &sharers.of {
        let line = *names.entry(set).or_insert_with(|| {
            let set = &sharers.sets[set as usize];
            let first = set.iter().map(|&line| ranks[line as usize]).min()?;
            let of_first = set.iter().filter(|&&line| ranks[line as usize] == first);
            let names: BTreeSet<(&str, HolderKind)> = of_first
                .map(|&line| &lines.tops[line as usize])
                .map(|top| (top.name.as_str(), top.kind))
                .collect();
            let name = told(&names);
            Some(lines.line(HolderKind::Several, name))
        });
        if let Some(line) = line {
            found.insert(object, line);
        }
    }
    found
}

/// `a, b and c`, `a and 4 others`, `goroutines of a`: those who share.
fn told(sharers: &BTreeSet<(&str, HolderKind)>) -> String {
    let names: BTreeSet<&str> = sharers.iter().map(|(name, _)| *name).collect();
    let names: Vec<&str> = names.into_iter().collect();
    match names.as_slice() {
        [] => String::new(),
        // Roots of one name are many only where they are named after a function.
        [one] => match sharers.first().map(|(_, kind)| kind) {
            Some(HolderKind::Goroutine) => format!("goroutines of {one}"),
            Some(HolderKind::Timer) => format!("timers for {one}"),
            Some(HolderKind::Finalizer) => format!("finalizers {one}"),
            Some(HolderKind::Cleanup) => format!("cleanups {one}"),
            _ => (*one).to_owned(),
        },
        [most @ .., last] if names.len() <= SHARERS_TOLD => {
            format!("{} and {last}", most.join(", "))
        }
        _ => format!("{} and {} others", names[..2].join(", "), names.len() - 2),
    }
}

/// Which lines share which objects. Sets of lines are few and numbered; the first one is empty.
struct Sharers {
    of: HashMap<u32, u32>,
    sets: Vec<Vec<u32>>,
    numbers: HashMap<Vec<u32>, u32>,
    unions: HashMap<(u32, u32), u32>,
    /// An object and another shared one under which a pointer to it lies.
    through: Vec<(u32, u32)>,
}

impl Sharers {
    fn new(objects: impl Iterator<Item = u32>) -> Self {
        Self {
            of: objects.map(|object| (object, 0)).collect(),
            sets: vec![Vec::new()],
            numbers: HashMap::from([(Vec::new(), 0)]),
            unions: HashMap::new(),
            through: Vec::new(),
        }
    }

    fn number(&mut self, set: Vec<u32>) -> u32 {
        let next = self.sets.len() as u32;
        if let Some(&number) = self.numbers.get(&set) {
            return number;
        }
        self.sets.push(set.clone());
        self.numbers.insert(set, next);
        next
    }

    fn add_line(&mut self, object: u32, line: u32) {
        let other = self.number(vec![line]);
        self.unite(object, other);
    }

    /// Adds the lines of set `other` to those of `object`; says whether there were new ones.
    fn unite(&mut self, object: u32, other: u32) -> bool {
        let Some(&set) = self.of.get(&object) else {
            return false;
        };
        let united = match self.unions.get(&(set, other)) {
            Some(&united) => united,
            None => {
                let both = self.sets[set as usize]
                    .iter()
                    .chain(&self.sets[other as usize]);
                let both: BTreeSet<u32> = both.copied().collect();
                let both = both.into_iter().take(SHARERS_MAX).collect();
                let united = self.number(both);
                self.unions.insert((set, other), united);
                united
            }
        };
        self.of.insert(object, united);
        united != set
    }

    /// Goes through every pointer once.
    fn collect(&mut self, taken: &Taken, dominators: &Dominators, by_root: &[u32]) {
        let heap = &taken.heap;
        let wanted = Wanted::new(heap.slots(), self.of.keys().copied());
        for pointer in &taken.roots.pointers {
            if let Some(object) = heap
                .object_at(pointer.value)
                .filter(|&object| wanted.has(object))
            {
                self.add_line(object, by_root[pointer.root as usize]);
            }
        }
        let tops = dominators.tops();
        heap.each_in(0..heap.slots(), |source, target| {
            if !wanted.has(target) {
                return;
            }
            match tops
                .of(source)
                .map(|top| (top, top.checked_sub(heap.slots())))
            {
                Some((_, Some(root))) => self.add_line(target, by_root[root as usize]),
                Some((top, None)) if top != target && self.through.len() < THROUGH_MAX => {
                    self.through.push((target, top));
                }
                _ => {}
            }
        });
        // Those who share an object share what hangs on it; a few rounds reach through chains.
        let through = std::mem::take(&mut self.through);
        for _ in 0..ROUNDS {
            let mut is_done = true;
            for (object, other) in &through {
                let other = self.of.get(other).copied().unwrap_or(0);
                is_done &= !self.unite(*object, other);
            }
            if is_done {
                break;
            }
        }
    }
}

/// One bit for each object: asked for.
struct Wanted(Vec<u64>);

impl Wanted {
    fn new(objects: u32, wanted: impl Iterator<Item = u32>) -> Self {
        let mut bits = vec![0u64; (objects as usize).div_ceil(64)];
        for object in wanted {
            bits[object as usize / 64] |= 1 << (object % 64);
        }
        Self(bits)
    }

    fn has(&self, object: u32) -> bool {
        self.0[object as usize / 64] >> (object % 64) & 1 == 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sharers_are_told_as_a_person_would() {
        use HolderKind::{Global, Goroutine, Timer};
        type Row<'a> = (&'a str, &'a [(&'a str, HolderKind)], &'a str);
        let rows: [Row<'_>; 6] = [
            ("two", &[("a", Global), ("b", Global)], "a and b"),
            (
                "three",
                &[("a", Global), ("b", Global), ("c", Global)],
                "a, b and c",
            ),
            (
                "more",
                &[("a", Global), ("b", Global), ("c", Global), ("d", Global)],
                "a, b and 2 others",
            ),
            (
                "goroutines of one function",
                &[("a", Goroutine)],
                "goroutines of a",
            ),
            ("timers", &[("a", Timer)], "timers for a"),
            ("a variable and its value", &[("a", Global)], "a"),
        ];
        for (name, sharers, wanted) in rows {
            assert_eq!(told(&sharers.iter().copied().collect()), wanted, "{name}");
        }
    }
}
