//! Goroutines in groups: what each group holds, and which of them can never run again.
//!
//! The proof is that of the runtime's own goroutineleak profile (Go 1.26 and newer), made from outside and for every
//! version: a goroutine has leaked when nothing that could run reaches what it waits on. Where a variable reaches it
//! the profile is silent; here the way is told that keeps it ([`KeptBy`]), so that a reader can judge. Whether code
//! will ever go that way can't be told from memory, so nothing is said of it: groups are in the order of their bytes.
//!
//! A semaphore's waiter tells what it waits on since Go 1.26; before, the runtime's `sudog` structures are searched for
//! in the heap, and a `sync.Cond` is taken from the stack of who waits on it.

mod places;
mod waiting;
mod ways;

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

use super::label::Labels;
use super::names::Named;
use super::sums::{Grouped, Sum};
use super::{HolderKind, Taken};
use crate::Program;
use crate::goroutines::WaitTimes;
use crate::graph::Roots;

use places::Places;
use waiting::Waiting;
use ways::Ways;

/// Goroutines of the program's own that began in the same function and are at the same place, in the same state, begun
/// at the same place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct GoroutineGroup {
    /// The function that they began in.
    pub entry: String,
    /// What they do, in the runtime's words: `chan receive`.
    pub state: String,
    /// The innermost call outside the runtime and `sync`; nothing where their stacks are not known.
    pub at: Option<Place>,
    /// Where they were begun; nothing for the first goroutine.
    pub created_by: Option<Place>,
    /// How many there are.
    pub count: u64,
    /// Bytes of objects that would go with all of them: what each holds alone, and what only they share. What a
    /// variable reaches counts for the variable.
    pub retained_bytes: u64,
    /// How many objects those are.
    pub retained_objects: u64,
    /// Bytes of their stacks, which lie outside the objects.
    pub stack_bytes: u64,
    /// Bytes of one on average, of stack and objects together.
    pub average_bytes: u64,
    /// How long they have waited at least, where the time was given and the runtime noted it.
    pub waited: Option<WaitTimes>,
    /// How many wait for a channel or semaphore that was found, so that the proof was tried.
    pub judged: u64,
    /// How many have leaked: nothing that could run reaches what they wait on. Zero for a program that ran while it was
    /// read: what moves meanwhile may be missed in each look.
    pub proven_leaked: u64,
    /// How many seem to have leaked, of a program that ran while it was read: the same goroutines in each look.
    #[serde(default)]
    pub seem_leaked: u64,
    /// The goroutines that are, or seem to be; for [`Report::agree`].
    #[serde(skip)]
    pub(super) leaked: Vec<u64>,
    /// What keeps what the others wait on: the most frequent ways first, of a sample.
    pub kept_by: Vec<KeptBy>,
}

/// A place in the program's source.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Place {
    /// The function.
    pub function: String,
    /// The source file.
    pub file: String,
    /// The line.
    pub line: u32,
}

/// A way to what goroutines wait on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptBy {
    /// What kind of root it begins at. Of a goroutine: one that runs, or that something can wake.
    pub kind: HolderKind,
    /// As one would write it in Go: `main.pool.jobs[*].done`.
    pub path: String,
    /// How many of those looked at it leads to.
    pub count: u64,
}

/// What a report has worked out.
pub(super) struct Known<'a> {
    pub(super) program: &'a Program,
    pub(super) taken: &'a Taken,
    pub(super) named: &'a Named,
}

/// What must be found out before the dominators are there, so that both need not be held at once.
#[derive(Default)]
pub(super) struct Stuck {
    places: Places,
    group_of_root: Vec<u32>,
    /// By goroutine: it has leaked.
    leaked: Vec<bool>,
    /// By goroutine: the proof was tried.
    judged: Vec<bool>,
    ways: Ways,
}

impl Stuck {
    /// Groups the goroutines and proves what can be proven.
    pub(super) fn new(program: &Program, taken: &Taken, roots: &Roots) -> Self {
        let places = Places::new(&taken.roots.goroutines);
        let waiting = Waiting::new(program, taken);
        let count = places.group_of.len();
        let (mut leaked, mut judged) = (vec![false; count], vec![false; count]);
        for &goroutine in waiting.goroutines.iter().chain(waiting.outside.keys()) {
            judged[goroutine as usize] = true;
        }
        let wakes = waiting.wakes(taken, roots);
        if let Some(wakes) = &wakes {
            for (at, &goroutine) in waiting.goroutines.iter().enumerate() {
                leaked[goroutine as usize] =
                    wakes.is_leaked(at) && !waiting.is_idle_main(taken, goroutine);
            }
        }
        let ways = Ways::new(&places, &waiting, wakes.as_ref());
        Self {
            group_of_root: places.group_of_root(taken),
            places,
            leaked,
            judged,
            ways,
        }
    }

    /// The group of each root.
    pub(super) fn grouped(&self) -> Grouped<'_> {
        Grouped {
            of_root: &self.group_of_root,
            count: self.places.groups.len(),
        }
    }

    /// The groups, of which `sums` tell what each holds, those that hold most first, and as many as `told`.
    pub(super) fn groups(
        &self,
        known: &Known<'_>,
        labels: &mut Labels<'_>,
        sums: &[Sum],
        told: usize,
    ) -> Vec<GoroutineGroup> {
        let mut groups = self.counted(known.taken, sums);
        let mut order: Vec<usize> = (0..groups.len()).collect();
        order.sort_by_key(|&at| {
            let group = &groups[at];
            let bytes = group.stack_bytes.saturating_add(group.retained_bytes);
            (std::cmp::Reverse((bytes, group.count)), at)
        });
        order.truncate(told);
        self.ways.tell(known, labels, &order, &mut groups);
        let mut groups: Vec<Option<GoroutineGroup>> = groups.into_iter().map(Some).collect();
        let told = order.into_iter().filter_map(|at| groups[at].take());
        told.collect()
    }

    /// The groups with their numbers.
    fn counted(&self, taken: &Taken, sums: &[Sum]) -> Vec<GoroutineGroup> {
        let dump = &taken.roots.goroutines;
        let mut groups = self.places.empty_groups();
        let mut waited = vec![Vec::new(); groups.len()];
        for (at, goroutine) in dump.goroutines.iter().enumerate() {
            let number = self.places.group_of[at] as usize;
            let Some(group) = groups.get_mut(number) else {
                continue;
            };
            group.count += 1;
            let bytes = goroutine.stack_bytes.allocated;
            group.stack_bytes = group.stack_bytes.saturating_add(bytes);
            group.judged += u64::from(self.judged[at]);
            if self.leaked[at] {
                group.leaked.push(goroutine.id);
            }
            waited[number].extend(goroutine.waited_ns);
        }
        for ((group, &sum), waited) in groups.iter_mut().zip(sums).zip(waited) {
            let Sum { bytes, objects } = sum;
            (group.retained_bytes, group.retained_objects) = (bytes, objects);
            let all = group.stack_bytes.saturating_add(bytes);
            group.average_bytes = all / group.count.max(1);
            group.waited = WaitTimes::of(waited);
            let leaked = group.leaked.len() as u64;
            match taken.approximate {
                true => group.seem_leaked = leaked,
                false => group.proven_leaked = leaked,
            }
        }
        groups
    }
}

impl GoroutineGroup {
    /// Only goroutines that seem to have leaked in both looks at a running program still do.
    pub(super) fn agree(&mut self, seen: &HashSet<u64>) {
        self.leaked.retain(|goroutine| seen.contains(goroutine));
        self.seem_leaked = self.seem_leaked.min(self.leaked.len() as u64);
    }
}
