//! What holders are called: a variable's name, the function that goroutines began in, the function of a timer; and
//! for what several hold, the names of those.

use std::collections::{BTreeSet, HashMap};

use super::label::Labels;
use super::repeated;
use super::shared::{Between, Shared};
use super::users::Users;
use super::{HolderKind, Taken};
use crate::Program;
use crate::goroutines::Goroutine;
use crate::roots::{Root, RootKind};

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
    shared: Shared,
    /// By place.
    by_shared: Vec<u32>,
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
        let place = self.shared.place(object);
        let line = place.and_then(|place| self.by_shared.get(place as usize));
        line.copied().unwrap_or(self.other_shared)
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

/// The lines of roots.
pub(super) struct RootLines {
    lines: Lines,
    by_root: Vec<u32>,
    /// Of variables without a name.
    users: Users,
}

/// Names every root.
pub(super) fn roots(program: &Program, taken: &Taken, labels: &mut Labels<'_>) -> RootLines {
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
    RootLines {
        lines,
        by_root,
        users,
    }
}

impl RootLines {
    /// All lines, those of shared objects among them: they are named after their `sharers`.
    pub(super) fn with_shared(self, taken: &Taken, shared: Shared, sharers: Sharers) -> Named {
        let Self {
            mut lines,
            by_root,
            users,
        } = self;
        let other_shared = lines.line(HolderKind::Several, "several holders".to_owned());
        // What a root of a later rank points at is no sharer: the earlier ones have it.
        let mut ranks = vec![u8::MAX; lines.tops.len()];
        for (root, &line) in taken.roots.roots.iter().zip(&by_root) {
            ranks[line as usize] = root.rank(&taken.roots.goroutines);
        }
        let line_of = |set: &Vec<u32>| {
            let Some(first) = set.iter().map(|&line| ranks[line as usize]).min() else {
                return other_shared;
            };
            let of_first = set.iter().filter(|&&line| ranks[line as usize] == first);
            // What only parts of one variable share is that variable's.
            if let [line] = of_first.clone().collect::<Vec<_>>()[..]
                && lines.tops[*line as usize].kind == HolderKind::Global
            {
                return *line;
            }
            let names: BTreeSet<(&str, HolderKind)> = of_first
                .map(|&line| &lines.tops[line as usize])
                .map(|top| (top.name.as_str(), top.kind))
                .collect();
            let name = told(&names);
            lines.line(HolderKind::Several, name)
        };
        let lines_of_sets: Vec<u32> = sharers.sets.iter().map(line_of).collect();
        let mut by_shared = sharers.of;
        for of in &mut by_shared {
            *of = lines_of_sets[*of as usize];
        }
        Named {
            tops: lines.tops,
            by_root,
            shared,
            by_shared,
            other_shared,
            users,
        }
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
    let stack = goroutine.stack.and_then(|stack| dump.stacks.get(stack));
    let outermost = stack.and_then(|stack| stack.entry());
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
pub(super) struct Sharers {
    /// By place.
    of: Vec<u32>,
    /// In order.
    sets: Vec<Vec<u32>>,
    numbers: HashMap<Vec<u32>, u32>,
    unions: HashMap<(u32, u32), u32>,
    line_of_root: Vec<u32>,
}

impl Sharers {
    pub(super) fn new(shared: &Shared, lines: &RootLines) -> Self {
        Self {
            of: vec![0; shared.count()],
            sets: vec![Vec::new()],
            numbers: HashMap::from([(Vec::new(), 0)]),
            unions: HashMap::new(),
            line_of_root: lines.by_root.clone(),
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

    /// A pointer of `root`, or of what hangs under it, leads to a place.
    #[inline]
    pub(super) fn meet(&mut self, root: u32, place: u32) {
        let line = self.line_of_root[root as usize];
        let set = &self.sets[self.of[place as usize] as usize];
        // Mostly nothing new.
        let is_full = set.len() == SHARERS_MAX && set.last().is_some_and(|&last| last < line);
        if !is_full && !set.contains(&line) {
            let other = self.number(vec![line]);
            self.unite(place, other);
        }
    }

    /// Adds the lines of set `other` to those at a place; says whether there were new ones.
    fn unite(&mut self, place: u32, other: u32) -> bool {
        let set = self.of[place as usize];
        if set == other || other == 0 {
            return false;
        }
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
        self.of[place as usize] = united;
        united != set
    }

    /// Those who share an object share what hangs on it. A few rounds reach through chains: each goes the other way
    /// through the addresses than the last one, since long chains mostly lie in the order that they were made in.
    pub(super) fn pass_on(&mut self, between: &Between) {
        for round in 0..ROUNDS {
            let mut is_done = true;
            let mut pass = |&(from, to): &(u32, u32)| {
                let other = self.of[from as usize];
                is_done &= !self.unite(to, other);
            };
            match round % 2 {
                0 => between.pairs.iter().for_each(&mut pass),
                _ => between.pairs.iter().rev().for_each(&mut pass),
            }
            if is_done {
                break;
            }
        }
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
