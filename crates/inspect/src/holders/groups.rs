//! The tree of holders that people read: objects on the same way are one group.
//!
//! The dominator tree is walked once, from the top down. An object's group is found from the group of what holds it,
//! the step to it and its type; a type that already lies on the way (a list's next element, a tree's child) goes back
//! to its group, so that a list of ten million elements is one line.

use std::collections::{BTreeSet, HashMap};

use super::label::{Kind, Labels, NONE};
use super::names::Named;
use super::{Holder, HolderKind, Options, Path};
use crate::graph::{Edges, Huge, Tree};
use crate::heap::Heap;
use crate::types::Piece;

/// Groups told apart; what comes later goes to its parent's group.
const GROUPS_MAX: usize = 4 << 20;
/// How far up a type is looked for.
const UP_MAX: usize = 48;
/// Ways told from an object to the next ones of its kind.
const AGAIN_MAX: usize = 4;

/// How the objects of a [`Path`] follow one another by its `again`: many on one, or by several ways, are a tree.
pub fn again_words(again: &str) -> &'static str {
    let is_tree = again.contains(" and ") || again.contains("[*]");
    if is_tree {
        "a tree by"
    } else {
        "one after another by"
    }
}

/// One group.
#[derive(Debug, Clone)]
struct Group {
    above: u32,
    step: Piece,
    /// The readable name of its type.
    ty: Piece,
    /// Objects of the runtime's that carry others, such as the inside of maps: shown as part of the way.
    is_quiet: bool,
    bytes: u64,
    objects: u64,
    retained_bytes: u64,
    retained_objects: u64,
}

/// All groups, and the group of each object.
pub(super) struct Groups {
    groups: Vec<Group>,
    /// By object; `NONE` for what is not reached.
    of: Huge<u32>,
    /// The holders that the first groups stand for.
    tops: Vec<Top>,
    /// By group: the ways from one object of it to the next, of a list or a tree.
    again: HashMap<u32, BTreeSet<String>>,
}

/// What was found out about ways to groups.
#[derive(Default)]
struct Found {
    /// By the group above, the step and the label, or the name.
    groups: HashMap<(u32, Piece, u32), u32>,
    /// By kind: the last group above, the step from there, and the group.
    last: Vec<(u32, Step, u32)>,
    /// By the last step of a way that is left out: how it is told.
    indirect: HashMap<Piece, Piece>,
}

/// How an object lies under what holds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// It is the highest.
    Nothing,
    /// One pointer leads to it from there.
    Direct,
    /// Some of what hangs there shares it: the way through them is left out.
    LeftOut,
}

#[derive(Debug, Clone)]
struct Top {
    kind: HolderKind,
    name: String,
    ty: String,
    count: u64,
}

/// How one comes from a holder to a group.
pub(super) struct Way {
    /// The holder's group.
    pub(super) top: u32,
    /// All steps.
    pub(super) path: String,
    /// The readable type there; empty where unknown.
    pub(super) ty: String,
    /// The same one step before.
    pub(super) ty_above: String,
}

/// A holder and the group that it was made of.
pub(super) struct Numbered {
    pub(super) holder: Holder,
    pub(super) top: u32,
}

impl Groups {
    /// The groups of all objects. Each object's kind gives way to its group, so that this takes no more memory.
    pub(super) fn new(heap: &Heap, tree: &Tree, labels: &mut Labels<'_>, named: &Named) -> Self {
        let mut groups = Self {
            groups: Vec::new(),
            of: labels.take_kinds(),
            tops: Vec::new(),
            again: HashMap::new(),
        };
        for top in &named.tops {
            groups.tops.push(Top {
                kind: top.kind,
                name: top.name.clone(),
                ty: top.ty.clone(),
                count: top.count,
            });
            groups.push(NONE, Piece::default(), Piece::default(), false);
        }
        let mut found = Found::default();
        tree.each_down(|node, above| {
            if node >= heap.slots() {
                return;
            }
            let holder = match above {
                // What several roots share is its own top.
                None => named.of_shared(node),
                Some(above) => match above.checked_sub(heap.slots()) {
                    Some(root) => named.of_root(root),
                    None => groups.of[above as usize],
                },
            };
            let kind = groups.of[node as usize];
            let step = match above {
                None => Step::Nothing,
                Some(_) if labels.is_direct(node) => Step::Direct,
                Some(_) => Step::LeftOut,
            };
            groups.of[node as usize] = groups.of_kind(labels, holder, step, kind, &mut found);
        });
        groups.count(heap, tree);
        groups.sum();
        groups
    }

    /// The group of an object of this kind below `above`.
    #[inline]
    fn of_kind(
        &mut self,
        labels: &mut Labels<'_>,
        above: u32,
        step: Step,
        kind: u32,
        found: &mut Found,
    ) -> u32 {
        // Most objects lie as the last one of their kind does.
        if let Some(&(last_above, last_step, group)) = found.last.get(kind as usize)
            && (last_above, last_step) == (above, step)
        {
            return group;
        }
        let Kind { label, piece } = labels.kind_by(kind);
        let told = match step {
            Step::Nothing => Piece::default(),
            Step::Direct => piece,
            Step::LeftOut => *found.indirect.entry(piece).or_insert_with(|| {
                let step = format!("…{}", labels.types.piece(piece));
                labels.types.intern(&step)
            }),
        };
        let group = self.below(labels, above, told, label, &mut found.groups);
        if kind != NONE {
            let len = found.last.len().max(kind as usize + 1);
            found.last.resize(len, (NONE, Step::Nothing, NONE));
            found.last[kind as usize] = (above, step, group);
        }
        group
    }

    /// What each group has itself. In the order of the objects, which is that of their sizes.
    fn count(&mut self, heap: &Heap, tree: &Tree) {
        heap.bytes_in(0..heap.slots(), |object, bytes| {
            let of = &mut self.of[object as usize];
            if !tree.is_reached(object) {
                *of = NONE;
            }
            if let Some(group) = self.groups.get_mut(*of as usize) {
                group.bytes += bytes;
                group.objects += 1;
            }
        });
    }

    fn push(&mut self, above: u32, step: Piece, ty: Piece, is_quiet: bool) -> u32 {
        self.groups.push(Group {
            above,
            step,
            ty,
            is_quiet,
            bytes: 0,
            objects: 0,
            retained_bytes: 0,
            retained_objects: 0,
        });
        (self.groups.len() - 1) as u32
    }

    /// The group of objects with this label that lie one step below `above`.
    fn below(
        &mut self,
        labels: &mut Labels<'_>,
        above: u32,
        step: Piece,
        label: u32,
        found: &mut HashMap<(u32, Piece, u32), u32>,
    ) -> u32 {
        let key = (above, step, label);
        if let Some(&group) = found.get(&key) {
            return group;
        }
        let ty = labels.name(label);
        let is_quiet = labels
            .label(label)
            .is_some_and(|label| labels.types.is_quiet(label));
        let group = match self.recursion(above, ty) {
            Some(group) => {
                self.add_way(labels, group, above, step);
                group
            }
            None if self.groups.len() >= GROUPS_MAX => above,
            None => self.same(above, step, ty, is_quiet, found),
        };
        found.insert(key, group);
        group
    }

    /// Labels that differ in where the value begins have one name: they are one group.
    fn same(
        &mut self,
        above: u32,
        step: Piece,
        ty: Piece,
        is_quiet: bool,
        found: &mut HashMap<(u32, Piece, u32), u32>,
    ) -> u32 {
        // Numbers of names, told apart from numbers of labels by the top bit.
        let key = (above, step, ty.number() | 1 << 31);
        *found
            .entry(key)
            .or_insert_with(|| self.push(above, step, ty, is_quiet))
    }

    /// The group on the way up that has this type.
    fn recursion(&self, above: u32, ty: Piece) -> Option<u32> {
        if ty == Piece::default() {
            return None;
        }
        let mut at = above;
        for _ in 0..UP_MAX {
            let group = self.groups.get(at as usize)?;
            // The first groups are holders and have no type of their own.
            if group.above == NONE {
                return None;
            }
            if group.ty == ty {
                return Some(at);
            }
            at = group.above;
        }
        None
    }

    /// Remembers the way from `group` down to `above` and one step more, which leads to the same type.
    fn add_way(&mut self, labels: &Labels<'_>, group: u32, above: u32, step: Piece) {
        let (mut pieces, mut at) = (vec![step], above);
        while at != group {
            let between = &self.groups[at as usize];
            pieces.push(between.step);
            at = between.above;
        }
        let pieces = pieces.iter().rev().map(|&piece| labels.types.piece(piece));
        let way = pieces.collect::<String>();
        let ways = self.again.entry(group).or_default();
        if !way.is_empty() && ways.len() <= AGAIN_MAX {
            ways.insert(way);
        }
    }

    /// As [`Path::again`].
    fn again(&self, group: u32) -> String {
        let ways = self.again.get(&group).into_iter().flatten();
        let ways: Vec<&str> = ways.map(String::as_str).collect();
        match ways.as_slice() {
            [] => String::new(),
            [one] => (*one).to_owned(),
            [most @ .., last] if ways.len() <= AGAIN_MAX => {
                format!("{} and {last}", most.join(", "))
            }
            _ => format!("{} and others", ways[..AGAIN_MAX].join(", ")),
        }
    }

    /// Adds each group to those above it: a group is made after the one above it.
    fn sum(&mut self) {
        for at in (0..self.groups.len()).rev() {
            let group = &mut self.groups[at];
            group.retained_bytes += group.bytes;
            group.retained_objects += group.objects;
            let (bytes, objects, above) =
                (group.retained_bytes, group.retained_objects, group.above);
            if above != NONE {
                let above = &mut self.groups[above as usize];
                above.retained_bytes += bytes;
                above.retained_objects += objects;
            }
        }
    }

    /// The holder's group that an object belongs to.
    pub(super) fn top_of(&self, object: u32) -> Option<u32> {
        let mut at = *self.of.get(object as usize)?;
        while let Some(group) = self.groups.get(at as usize) {
            if group.above == NONE {
                return Some(at);
            }
            at = group.above;
        }
        None
    }

    /// The group that an object belongs to; `None` for what nothing reaches.
    pub(super) fn group_of(&self, object: u32) -> Option<u32> {
        let group = *self.of.get(object as usize)?;
        ((group as usize) < self.groups.len()).then_some(group)
    }

    /// The way to a group from its holder, which it begins at.
    pub(super) fn way(&self, labels: &Labels<'_>, group: u32) -> Way {
        let (mut pieces, mut types) = (Vec::new(), Vec::new());
        let mut at = &self.groups[group as usize];
        let mut top = group;
        while at.above != NONE {
            pieces.push(labels.types.piece(at.step));
            types.push(labels.types.piece(at.ty).to_owned());
            top = at.above;
            at = &self.groups[at.above as usize];
        }
        pieces.reverse();
        types.truncate(2);
        let mut types = types.into_iter();
        Way {
            top,
            path: pieces.concat(),
            ty: types.next().unwrap_or_default(),
            ty_above: types.next().unwrap_or_default(),
        }
    }

    /// A holder's kind and name.
    pub(super) fn top(&self, top: u32) -> (HolderKind, &str) {
        let top = &self.tops[top as usize];
        (top.kind, &top.name)
    }

    /// The holders, the biggest first, with their paths.
    pub(super) fn holders(&self, labels: &mut Labels<'_>, options: &Options) -> Vec<Numbered> {
        let mut below: Vec<Vec<u32>> = vec![Vec::new(); self.groups.len()];
        for (at, group) in self.groups.iter().enumerate() {
            if group.above != NONE {
                below[group.above as usize].push(at as u32);
            }
        }
        let size = |at: u32| self.groups[at as usize].retained_bytes;
        for below in &mut below {
            below.sort_by_key(|&at| std::cmp::Reverse(size(at)));
        }
        let mut tops: Vec<u32> = (0..self.tops.len() as u32)
            .filter(|&at| size(at) > 0)
            .collect();
        tops.sort_by_key(|&at| std::cmp::Reverse(size(at)));
        let told = options.holders;
        let numbered = tops.into_iter().enumerate().map(|(rank, top)| {
            let paths = match rank < told {
                true => self.paths(&below, labels, top, options.depth, options.paths),
                false => Vec::new(),
            };
            self.holder(top, paths)
        });
        numbered.collect()
    }

    fn holder(&self, at: u32, paths: Vec<Path>) -> Numbered {
        let (top, group) = (&self.tops[at as usize], &self.groups[at as usize]);
        let holder = Holder {
            name: top.name.clone(),
            kind: top.kind,
            ty: top.ty.clone(),
            count: top.count,
            retained_bytes: group.retained_bytes,
            retained_objects: group.retained_objects,
            approximate: false,
            used_by: Vec::new(),
            paths,
            allocated_at: Vec::new(),
        };
        Numbered { holder, top: at }
    }

    fn paths(
        &self,
        below: &[Vec<u32>],
        labels: &Labels<'_>,
        at: u32,
        depth: usize,
        count: usize,
    ) -> Vec<Path> {
        if depth == 0 {
            return Vec::new();
        }
        let total = self.groups[at as usize].retained_bytes;
        let mut steps = Vec::new();
        self.visible(below, labels, at, "", UP_MAX, &mut steps);
        steps.sort_by_key(|&(_, at)| std::cmp::Reverse(self.groups[at as usize].retained_bytes));
        let told = steps.into_iter().take(count);
        // What is less than a hundredth tells nothing.
        let told = told.filter(|&(_, at)| self.groups[at as usize].retained_bytes * 100 >= total);
        told.map(|(path, at)| {
            let group = &self.groups[at as usize];
            Path {
                path,
                ty: labels.types.piece(group.ty).to_owned(),
                bytes: group.retained_bytes,
                count: group.objects,
                again: self.again(at),
                children: self.paths(below, labels, at, depth - 1, count),
            }
        })
        .collect()
    }

    /// The groups below `at` that people see, each with the way to it: the inside of maps and the like is passed
    /// through.
    fn visible(
        &self,
        below: &[Vec<u32>],
        labels: &Labels<'_>,
        at: u32,
        way: &str,
        depth: usize,
        steps: &mut Vec<(String, u32)>,
    ) {
        for &next in &below[at as usize] {
            let group = &self.groups[next as usize];
            let way = format!("{way}{}", labels.types.piece(group.step));
            if group.is_quiet && depth > 0 && !below[next as usize].is_empty() {
                self.visible(below, labels, next, &way, depth - 1, steps);
            } else {
                steps.push((way, next));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_and_trees_are_told_apart() {
        for (again, want) in [
            (".next", "one after another by"),
            (".left and .right", "a tree by"),
            (".children[*]", "a tree by"),
        ] {
            assert_eq!(again_words(again), want, "{again}");
        }
    }
}
