//! Who holds the heap: for each variable, goroutine, timer and finalizer what would go without it, along which
//! paths, of which types, and where that was allocated.
//!
//! A look has two halves. [`Taken::read`] reads what may change, and is all that a stopped program has to wait for.
//! [`Taken::report`] works it out at leisure: [`graph`](crate::graph) decides what holds what, by the
//! collector's own pointer masks; [`types`](crate::types) only gives names and never decides.
//!
//! Contents of objects are looked at as pointers and never told.

mod descriptors;
mod diff;
mod groups;
mod label;
mod locals;
mod mentions;
mod names;
mod repeated;
mod shared;
mod sites;
mod stuck;
mod sums;
mod timers;
mod users;

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

use crate::goroutines;
use crate::graph::{Effort, Roots, Tree};
use crate::heap::{Heap, HeapSize, Reading};
use crate::memory::ReadCost;
use crate::roots::{RootKind, RootSet};
use crate::{InspectError, LayoutSource, Program};

pub use descriptors::{DescriptorGroup, DescriptorKind, Descriptors, KindCount};
pub use diff::{Change, DescriptorChange, Diff};
use groups::Groups;
pub use groups::again_words;
use label::Labels;
use names::{Named, Sharers};
use shared::Shared;
use stuck::Stuck;
pub use stuck::{GoroutineGroup, KeptBy, Place};
use sums::{Owners, Sums};
pub use timers::{TimerGroup, TimerHolding, TimerKind};

/// How a look is taken, and how much of it is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// The most bytes of the target's memory that are copied.
    pub max_bytes: u64,
    /// The most bytes of our own that all may take by an estimate: above it the holders are found with
    /// [`Effort::LowMemory`], whatever `effort` says.
    pub memory_bytes: u64,
    /// How the holders are found.
    pub effort: Effort,
    /// Holders told, the biggest first.
    pub holders: usize,
    /// Paths told below each step.
    pub paths: usize,
    /// Steps of a path told.
    pub depth: usize,
    /// Groups of goroutines told, those that hold most first. None saves the time of the proof, which walks the heap
    /// once more when something has leaked.
    pub goroutine_groups: usize,
    /// Timers told one by one in each of their groups.
    pub timers: usize,
    /// The machine's monotonic clock in nanoseconds, `CLOCK_MONOTONIC`; without it neither wait times nor when timers
    /// fire are told.
    pub now_ns: Option<u64>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            max_bytes: 16 << 30,
            memory_bytes: 16 << 30,
            effort: Effort::Fast { threads: 2 },
            holders: 30,
            paths: 8,
            depth: 10,
            goroutine_groups: 100,
            timers: 20,
            now_ns: None,
        }
    }
}

/// Who holds a heap.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Report {
    /// As the program's build information has it.
    pub go_version: String,
    /// What told the layout of its runtime.
    pub layout: LayoutSource,
    /// How much heap there is.
    pub heap: HeapSize,
    /// Bytes of objects that some root reaches.
    pub reached_bytes: u64,
    /// How many those are.
    pub reached_objects: u64,
    /// The program ran while it was read: sizes are of no one moment.
    pub approximate: bool,
    /// The holders were found with [`Effort::LowMemory`].
    #[serde(default)]
    pub low_memory: bool,
    /// Pieces of the heap and stacks that could not be read as they were freed or moved meanwhile.
    pub blurred: u64,
    /// The holders, the biggest first.
    pub holders: Vec<Holder>,
    /// Holders left out, and their bytes.
    pub left_out: LeftOut,
    /// Goroutines of the program's own in groups, those that hold most first.
    #[serde(default)]
    pub goroutines: Vec<GoroutineGroup>,
    /// Timers in groups, those that hold most first.
    #[serde(default)]
    pub timers: Vec<TimerGroup>,
    /// Who holds the open file descriptors.
    #[serde(default)]
    pub descriptors: Descriptors,
    /// What reading took.
    #[serde(default)]
    pub cost: ReadCost,
}

/// What a report leaves out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftOut {
    /// How many.
    pub holders: u64,
    /// Their bytes together.
    pub bytes: u64,
}

/// One root, or some of the same kind and name, with all that only they hold.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Holder {
    /// `main.sessions`, a goroutine's or timer's function; for `several` the names of those that share.
    pub name: String,
    /// What kind of root.
    pub kind: HolderKind,
    /// The variable's type; empty where unknown.
    #[serde(rename = "type")]
    pub ty: String,
    /// How many roots of that name: goroutines, timers.
    pub count: u64,
    /// Bytes that would go.
    pub retained_bytes: u64,
    /// Objects that would go.
    pub retained_objects: u64,
    /// Two looks at the running program disagreed about its size.
    #[serde(default)]
    pub approximate: bool,
    /// Functions that use the variable, each with a line where it does, where its own name was stripped:
    /// `main.main main.go:97`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub used_by: Vec<String>,
    /// What it holds, along which ways.
    pub paths: Vec<Path>,
    /// Where what it holds was allocated, by the samples of the memory profile.
    pub allocated_at: Vec<Site>,
}

/// The kinds of holders.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HolderKind {
    /// A variable of a package.
    Global,
    /// Goroutines, by the function that they began in.
    Goroutine,
    /// Timers, by the function that they will run.
    Timer,
    /// Finalizers, by their function.
    Finalizer,
    /// Cleanups, by their function.
    Cleanup,
    /// What objects with finalizers refer to, and nothing else.
    Referent,
    /// The runtime itself.
    Runtime,
    /// Held by several of the others on separate ways.
    Several,
}

/// A step from a holder into the heap, for all objects on the same way.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Path {
    /// As one would write it in Go, from the step above: `.entries[*].value`.
    pub path: String,
    /// The type of what is there; empty where unknown.
    #[serde(rename = "type")]
    pub ty: String,
    /// Bytes that hang there.
    pub bytes: u64,
    /// Objects on this very step; of a list, all its elements.
    pub count: u64,
    /// The step from one of these objects to the next of its kind, of a list: `.next`; all of them, of a tree:
    /// `.left and .right`. How to say that: [`again_words`].
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub again: String,
    /// Where it goes on.
    pub children: Vec<Path>,
}

/// A place in the program that allocated.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Site {
    /// The function.
    pub function: String,
    /// The source file.
    pub file: String,
    /// The line.
    pub line: u32,
    /// Bytes, estimated from the samples.
    pub bytes: u64,
    /// How many samples that rests on.
    pub samples: u64,
}

/// What the fast way takes at most for each object beside the heap: its pointers, the dominators, types and groups.
/// Measured with objects of three pointers each: 46.
const FAST_BYTES_PER_OBJECT: u64 = 60;

/// What was read of a program.
#[derive(Debug)]
pub struct Taken {
    heap: Heap,
    roots: RootSet,
    approximate: bool,
    cost: ReadCost,
}

impl Taken {
    /// Reads the heap as `reading` says, and the roots. `registers` tell where stopped threads stand: without them the
    /// program is taken to be running.
    ///
    /// # Errors
    /// As [`Heap::read`] and [`RootSet::read`].
    pub fn read(
        program: &Program,
        options: &Options,
        reading: Reading,
        registers: Option<&dyn Fn(u64) -> Option<goroutines::Registers>>,
    ) -> Result<Self, InspectError> {
        let before = program.memory().cost();
        let mut heap = Heap::read(program, options.max_bytes, reading)?;
        let goroutines = goroutines::Options {
            registers,
            no_labels: true,
            now_ns: options.now_ns,
            ..goroutines::Options::default()
        };
        let roots = RootSet::read(program, &heap, &goroutines)?;
        heap.cut(&roots.structures);
        let after = program.memory().cost();
        Ok(Self {
            heap,
            roots,
            approximate: registers.is_none(),
            cost: ReadCost {
                calls: after.calls - before.calls,
                bytes: after.bytes - before.bytes,
            },
        })
    }

    /// The heap.
    pub fn heap(&self) -> &Heap {
        &self.heap
    }

    /// The roots.
    pub fn roots(&self) -> &RootSet {
        &self.roots
    }

    /// Says that nothing moved while this was read: for a core, or a snapshot of a stopped program.
    pub fn of_one_moment(mut self) -> Self {
        self.approximate = false;
        self
    }

    /// Says that the program ran again before everything was read.
    pub fn of_several_moments(mut self) -> Self {
        self.approximate = true;
        self
    }

    /// The roots as the graph's algorithms take them.
    fn graph_roots(&self) -> Roots {
        let ranks = self
            .roots
            .roots
            .iter()
            .map(|root| root.rank(&self.roots.goroutines));
        let ranks: Vec<u8> = ranks.collect();
        let pointers = self
            .roots
            .pointers
            .iter()
            .filter_map(|pointer| Some((pointer.root, self.heap.object_at(pointer.value)?)));
        let pointers: Vec<(u32, u32)> = pointers.collect();
        Roots::new(&ranks, &pointers)
    }

    /// The way that fits into `options.memory_bytes`.
    fn effort(&self, options: &Options) -> Effort {
        let graph = FAST_BYTES_PER_OBJECT * u64::from(self.heap.slots());
        match self.heap.held() + graph > options.memory_bytes {
            true => Effort::LowMemory,
            false => options.effort,
        }
    }

    /// Works out who holds what. The program is asked for types and names only, and may run or have ended; unless its
    /// heap was not copied ([`Heap::is_copied`]).
    ///
    /// # Errors
    /// [`InspectError::TooBig`] for more objects than can be numbered.
    pub fn report(&self, program: &Program, options: &Options) -> Result<Report, InspectError> {
        let before = program.memory().cost();
        let (heap, roots) = (&self.heap, self.graph_roots());
        let stuck = match options.goroutine_groups {
            0 => Stuck::default(),
            _ => Stuck::new(program, self, &roots),
        };
        let effort = self.effort(options);
        let tree = Tree::new(heap, &roots, effort).ok_or(InspectError::TooBig {
            what: "the number of objects",
            offset: 0,
            len: heap.slots().into(),
            max: crate::graph::NODES_MAX.into(),
        })?;
        let mut labels = Labels::new(program);
        let (named, sums) = self.sums(program, &roots, &tree, &stuck, &mut labels);
        labels.walk(program, self, &tree);
        let known = stuck::Known {
            program,
            taken: self,
            named: &named,
        };
        let told = options.goroutine_groups;
        let goroutines = stuck.groups(&known, &mut labels, &sums.by_group, told);
        let groups = Groups::new(heap, &tree, &mut labels, &named);
        let mut holders = groups.holders(&mut labels, options);
        let left_out = holders.split_off(options.holders.min(holders.len()));
        let mut buckets = sites::Buckets::new(program);
        sites::add(&mut buckets, self, &groups, &mut holders);
        let known = descriptors::Known {
            program,
            taken: self,
            named: &named,
            groups: &groups,
        };
        let descriptors = descriptors::of(&known, &labels, &mut buckets);
        named.users.add(program, &named, &mut holders);
        let mut cost = self.cost;
        if !heap.is_copied() {
            let after = program.memory().cost();
            cost.calls += after.calls - before.calls;
            cost.bytes += after.bytes - before.bytes;
        }
        Ok(Report {
            go_version: program.go_version().to_owned(),
            layout: program.layout_source(),
            heap: heap.size(),
            reached_bytes: sums.all.bytes,
            reached_objects: sums.all.objects,
            approximate: self.approximate,
            low_memory: effort == Effort::LowMemory,
            goroutines,
            timers: timers::groups(program, self, &tree, &sums, options),
            descriptors,
            blurred: heap.blurred() as u64,
            left_out: LeftOut {
                holders: left_out.len() as u64,
                bytes: left_out
                    .iter()
                    .map(|holder| holder.holder.retained_bytes)
                    .sum(),
            },
            holders: holders
                .into_iter()
                .map(|numbered| numbered.holder)
                .collect(),
            cost,
        })
    }
}

impl Taken {
    /// The lines of the report, and what everybody holds. Takes 4 bytes per object beside the tree, and for what several
    /// roots hold up to 12 more.
    fn sums(
        &self,
        program: &Program,
        roots: &Roots,
        tree: &Tree,
        stuck: &Stuck,
        labels: &mut Labels<'_>,
    ) -> (Named, Sums) {
        let heap = &self.heap;
        let lines = names::roots(program, self, labels);
        let tops = tree.tops();
        let shared = Shared::new(tree, heap.slots());
        let mut sharers = Sharers::new(&shared, &lines);
        let mut owners = Owners::new(&shared, roots, stuck.grouped());
        let between = shared.each_way(heap, roots, &tops, |root, place| {
            sharers.meet(root, place);
            owners.meet(root, place);
        });
        sharers.pass_on(&between);
        owners.pass_on(&between);
        drop(between);
        let sums = Sums::new(heap, roots, &tops, &shared, &owners);
        (lines.with_shared(self, shared, sharers), sums)
    }
}

impl From<RootKind> for HolderKind {
    fn from(kind: RootKind) -> Self {
        match kind {
            RootKind::Global => Self::Global,
            RootKind::Goroutine => Self::Goroutine,
            RootKind::Timer => Self::Timer,
            RootKind::Finalizer => Self::Finalizer,
            RootKind::Cleanup => Self::Cleanup,
            RootKind::Referent => Self::Referent,
            RootKind::Runtime => Self::Runtime,
        }
    }
}

/// A holder of this part of all is great: there are few enough of them to be in every report.
const GREAT_PART: u64 = 20;

impl Report {
    /// Compares two looks at a running program that were taken one after the other: holders whose sizes differ by more
    /// than a hundredth are marked approximate, and goroutines seem to have leaked only if they do in both.
    pub fn agree(mut self, other: &Self) -> Self {
        for holder in &mut self.holders {
            let before = other.retained_by(holder);
            let difference = holder.retained_bytes.abs_diff(before);
            holder.approximate = difference > holder.retained_bytes / 100;
        }
        let seen = other.goroutines.iter().flat_map(|group| &group.leaked);
        let seen: HashSet<u64> = seen.copied().collect();
        for group in &mut self.goroutines {
            group.agree(&seen);
        }
        self
    }

    /// Whether a holder of a good part of what `other` reached has not half of that here: as when a goroutine that ran
    /// had the same in a register for a moment, so that no variable alone held it.
    pub fn lacks_one_of(&self, other: &Self) -> bool {
        let great = |holder: &&Holder| holder.retained_bytes >= other.reached_bytes / GREAT_PART;
        let halved = |holder: &Holder| self.retained_by(holder) < holder.retained_bytes / 2;
        other.holders.iter().filter(great).any(halved)
    }

    /// What the holder of this kind and name retains here.
    fn retained_by(&self, like: &Holder) -> u64 {
        let same = |other: &&Holder| other.kind == like.kind && other.name == like.name;
        let found = self.holders.iter().find(same);
        found.map_or(0, |holder| holder.retained_bytes)
    }
}
