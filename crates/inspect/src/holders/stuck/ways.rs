//! What keeps what goroutines wait on, told as paths.

use std::collections::HashMap;

use super::places::Places;
use super::waiting::Waiting;
use super::{GoroutineGroup, KeptBy, Known};
use crate::graph::{Wakes, Way};
use crate::holders::label::Labels;
use crate::holders::{HolderKind, Taken};
use crate::roots::{RootPointer, variables_at};

/// Goroutines of a group whose ways are looked at.
const SAMPLE: usize = 8;
/// Ways told of one group.
const TOLD: usize = 3;
/// Steps told of one way.
const STEPS_TOLD: usize = 16;
/// Steps of all ways together; lists are long, and each goroutine may wait at the end of one.
const STEPS_MAX: usize = 1 << 26;
/// Ways looked at, of all groups.
const WAYS_MAX: usize = 1 << 16;

/// The ways to what a sample of each group waits on.
#[derive(Default)]
pub(super) struct Ways {
    /// Group, way: shortened.
    ways: Vec<(u32, Way, bool)>,
    /// Group, address outside the heap.
    outside: Vec<(u32, u64)>,
}

impl Ways {
    pub(super) fn new(places: &Places, waiting: &Waiting, wakes: Option<&Wakes>) -> Self {
        let mut ways = Self::default();
        let mut sampled = vec![0; places.groups.len()];
        let mut is_wanted = |goroutine: u32| {
            let group = places.group_of[goroutine as usize];
            let sampled: &mut usize = sampled.get_mut(group as usize)?;
            *sampled += 1;
            (*sampled <= SAMPLE).then_some(group)
        };
        let mut steps = 0;
        for (at, &goroutine) in waiting.goroutines.iter().enumerate() {
            let Some(wakes) = wakes.filter(|wakes| !wakes.is_leaked(at)) else {
                continue;
            };
            if steps >= STEPS_MAX || ways.ways.len() >= WAYS_MAX {
                break;
            }
            if let Some(group) = is_wanted(goroutine)
                && let Some(mut way) = wakes.way(at)
            {
                steps += way.objects.len();
                let is_long = way.objects.len() > STEPS_TOLD;
                way.objects.truncate(STEPS_TOLD);
                way.objects.shrink_to_fit();
                ways.ways.push((group, way, is_long));
            }
        }
        let mut outside: Vec<(u32, u64)> = waiting
            .outside
            .iter()
            .map(|(&at, &addr)| (at, addr))
            .collect();
        outside.sort_unstable();
        for (goroutine, addr) in outside {
            if let Some(group) = is_wanted(goroutine) {
                ways.outside.push((group, addr));
            }
        }
        ways
    }

    /// Fills in the ways of those of `groups` that are in `told`.
    pub(super) fn tell(
        &self,
        known: &Known<'_>,
        labels: &mut Labels<'_>,
        told: &[usize],
        groups: &mut [GoroutineGroup],
    ) {
        let mut is_told = vec![false; groups.len()];
        for &group in told {
            is_told[group] = true;
        }
        let mut found: HashMap<(u32, HolderKind, String), u64> = HashMap::new();
        let pointers = self.pointers(known.taken);
        for (group, way, is_long) in self.ways.iter().filter(|way| is_told[way.0 as usize]) {
            if let Some(pointer) = pointers.get(&(way.root, way.objects[0])) {
                let (kind, path) = path(known, labels, pointer, way, *is_long);
                *found.entry((*group, kind, path)).or_default() += 1;
            }
        }
        let outside = self.outside.iter().copied();
        let outside: Vec<(u32, u64)> = outside.filter(|row| is_told[row.0 as usize]).collect();
        let addrs: Vec<u64> = outside.iter().map(|row| row.1).collect();
        for ((group, addr), variable) in outside.iter().zip(variables_at(known.program, &addrs)) {
            let name = match variable {
                Some(variable) => variable.name.trim_start_matches('*').to_owned(),
                None => format!("variable at {:#x}", addr.wrapping_sub(known.program.bias())),
            };
            let key = (*group, HolderKind::Global, name);
            *found.entry(key).or_default() += 1;
        }
        for ((group, kind, path), count) in found {
            let kept = KeptBy { kind, path, count };
            groups[group as usize].kept_by.push(kept);
        }
        for group in groups {
            let order = |kept: &KeptBy| (std::cmp::Reverse(kept.count), kept.path.clone());
            group.kept_by.sort_by_key(order);
            group.kept_by.truncate(TOLD);
        }
    }

    /// The pointers that the ways begin with, by root and object.
    fn pointers<'a>(&self, taken: &'a Taken) -> HashMap<(u32, u32), &'a RootPointer> {
        let wanted = self
            .ways
            .iter()
            .map(|(_, way, _)| ((way.root, way.objects[0]), None));
        let mut wanted: HashMap<(u32, u32), Option<&RootPointer>> = wanted.collect();
        for pointer in &taken.roots.pointers {
            if let Some(object) = taken.heap.object_at(pointer.value)
                && let Some(found) = wanted.get_mut(&(pointer.root, object))
            {
                found.get_or_insert(pointer);
            }
        }
        let found = wanted.into_iter();
        found
            .filter_map(|(key, pointer)| Some((key, pointer?)))
            .collect()
    }
}

/// A way as people write it.
fn path(
    known: &Known<'_>,
    labels: &mut Labels<'_>,
    pointer: &RootPointer,
    way: &Way,
    is_long: bool,
) -> (HolderKind, String) {
    let (kind, name) = known.named.root(way.root);
    // `var x = &T{...}` is a variable of the compiler's that is told as `*x`; its fields are read as `x.field`.
    let mut path = name.trim_start_matches('*').to_owned();
    let mut last = None;
    for piece in labels.way(known.program, known.taken, pointer, &way.objects) {
        // A list's next element, and the next.
        if last != Some(piece) {
            path.push_str(labels.types.piece(piece));
        }
        last = Some(piece);
    }
    if is_long {
        path.push('…');
    }
    (kind, path)
}
