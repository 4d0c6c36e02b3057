//! Where the collector begins: variables, goroutines' stacks, timers, finalizers and the runtime's own structures.
//!
//! Each root has a *rank*. What a root of a lower rank reaches counts for that rank alone, so that a map held by
//! `main.sessions` counts for `main.sessions` although goroutines that use it and the runtime's lists reach it too:
//! a person wants the variable, and memory that only a goroutine or a timer holds stands out.

mod circle;
mod descriptors;
mod functions;
mod globals;
mod specials;
mod stack;
mod statics;
mod timers;

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use crate::dwarf::FrameSlot;
use crate::goroutines::{self, Code, Goroutines, OWN, SeenStack, Standing};
use crate::heap::Heap;
use crate::memory::{Memory, le64};
use crate::{InspectError, Program};

pub use descriptors::{Closer, Descriptor};
pub(crate) use globals::variables_at;
pub use globals::{Global, Globals};
use stack::{StackPointer, StackScanner};

/// What kind of root it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RootKind {
    /// A variable of a package.
    Global,
    /// A goroutine: its stack and what the runtime keeps for it.
    Goroutine,
    /// A timer that waits, with what its function holds.
    Timer,
    /// A function that runs when some object is no longer reached, with what it holds.
    Finalizer,
    /// The same for `runtime.AddCleanup`.
    Cleanup,
    /// What an object with a finalizer refers to: kept until the finalizer has run.
    Referent,
    /// The runtime's own variables and goroutines.
    Runtime,
}

/// One root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Root {
    /// What it is.
    pub kind: RootKind,
    /// For a global its place in [`Globals`], for a goroutine its place in the dump, for a timer the address of its
    /// function's code; else zero.
    pub at: u64,
    /// Of a `Runtime` root: a variable, and no goroutine.
    pub is_variable: bool,
    /// Of a `Goroutine` root: a second one, for words that look like pointers where no map tells.
    pub is_guess: bool,
    /// Of a `Global` root: a `sync.Pool`. What lies in it is in nobody's use, and mostly has a pointer left to what it
    /// was used for last.
    pub is_pool: bool,
}

/// Where in a frame a pointer lies, in the form that many of them are kept in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FramePlace(i32);

impl FramePlace {
    /// In no frame.
    pub const NONE: Self = Self(i32::MIN);
    /// Registers have numbers from here on.
    const REGISTERS: i32 = i32::MIN + 1;
    /// As many registers as there are numbers for.
    const REGISTERS_MAX: i32 = 64;

    fn of_slot(slot: i64) -> Self {
        let place = i32::try_from(slot).map_or(Self::NONE, Self);
        match place.slot() {
            Some(FrameSlot::Frame(_)) => place,
            _ => Self::NONE,
        }
    }

    fn of_register(number: usize) -> Self {
        let number = i32::try_from(number).ok();
        let number = number.filter(|&number| number < Self::REGISTERS_MAX);
        number.map_or(Self::NONE, |number| Self(Self::REGISTERS + number))
    }

    /// The slot as debug information names it.
    pub fn slot(self) -> Option<FrameSlot> {
        if self == Self::NONE {
            return None;
        }
        match self.0.wrapping_sub(Self::REGISTERS) {
            number @ 0..Self::REGISTERS_MAX => Some(FrameSlot::Register(number as u16)),
            _ => Some(FrameSlot::Frame(self.0.into())),
        }
    }
}

/// A pointer that a root holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RootPointer {
    /// Which root, by its place in [`RootSet::roots`].
    pub root: u32,
    /// On a stack: where in its frame.
    pub slot: FramePlace,
    /// Where in the root: bytes from a variable's start; of a stack, the code address at which its frame stands.
    pub place: u64,
    /// The pointer itself, which may lie inside its object.
    pub value: u64,
}

/// A timer in a processor's list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timer {
    /// Its root, by its place in [`RootSet::roots`].
    pub root: u32,
    /// The code of the runtime's own function for it: that of `time.goFunc` where the root names the caller's.
    pub code: u64,
    /// What that function is called with.
    pub argument: u64,
    /// When it fires, on the runtime's clock (`CLOCK_MONOTONIC`) in nanoseconds.
    pub when_ns: i64,
    /// Nanoseconds from one time to the next; zero for once.
    pub period_ns: i64,
}

/// All roots of a program.
#[derive(Debug)]
pub struct RootSet {
    /// The roots.
    pub roots: Vec<Root>,
    /// Their pointers into the heap.
    pub pointers: Vec<RootPointer>,
    /// The variables that `Global` roots name.
    pub globals: Globals,
    /// The goroutines that `Goroutine` roots name.
    pub goroutines: Goroutines,
    /// The runtime's structures of goroutines, processors and threads, by their object. They lead from each to all
    /// others, so they and their pointers count for the runtime, and nobody's way leads through them: see `Heap::cut`.
    pub structures: Vec<u32>,
    /// The timers that `Timer` roots stand for.
    pub timers: Vec<Timer>,
    /// Objects that the memory profile sampled, and the bucket of each.
    pub samples: Vec<(u32, u64)>,
    /// Files and connections that have a descriptor.
    pub descriptors: Vec<Descriptor>,
}

/// How roots rank, see [`crate::roots`].
impl Root {
    /// The lower, the earlier it may claim an object.
    pub fn rank(&self, goroutines: &Goroutines) -> u8 {
        match self.kind {
            RootKind::Global if self.is_pool => 5,
            RootKind::Global => 0,
            // The main goroutine's variables are as good as globals in many programs.
            RootKind::Goroutine => match goroutines.goroutines.get(self.at as usize) {
                // What it may have left behind long ago must not be taken from others.
                _ if self.is_guess => 4,
                Some(goroutine) if goroutine.id == 1 => 1,
                _ => 2,
            },
            RootKind::Timer => 3,
            RootKind::Finalizer | RootKind::Cleanup => 4,
            RootKind::Runtime => 6,
            RootKind::Referent => 7,
        }
    }
}

impl RootSet {
    /// Whether a root is a variable, the runtime's own ones among them.
    pub fn is_global(&self, root: &Root) -> bool {
        match root.kind {
            RootKind::Global => true,
            RootKind::Runtime => root.is_variable,
            _ => false,
        }
    }

    /// Collects the roots of `program`, whose heap was read just before. `options` say how goroutines are read:
    /// with the registers of stopped threads nothing is missed.
    ///
    /// # Errors
    /// When the program has ended, or a part of its layout is unknown.
    pub fn read(
        program: &Program,
        heap: &Heap,
        options: &goroutines::Options<'_>,
    ) -> Result<Self, InspectError> {
        let mut roots = Collector {
            heap,
            roots: Vec::new(),
            pointers: Vec::new(),
            structures: Vec::new(),
            timers: Vec::new(),
            records: Vec::new(),
        };
        let globals = globals::read(program, &mut roots)?;
        let goroutines = roots.goroutines(program, options)?;
        roots.timers(program)?;
        let (samples, closers) = roots.specials(program)?;
        let descriptors = roots.descriptors(program.memory(), &closers);
        roots.queue(program)?;
        roots.structures(program);
        Ok(Self {
            structures: roots.structures,
            timers: roots.timers,
            roots: roots.roots,
            pointers: roots.pointers,
            globals,
            goroutines,
            samples,
            descriptors,
        })
    }
}

/// Takes roots and those of their pointers that lead to an object.
struct Collector<'a> {
    heap: &'a Heap,
    roots: Vec<Root>,
    pointers: Vec<RootPointer>,
    structures: Vec<u32>,
    timers: Vec<Timer>,
    /// Those of them that are goroutines' records.
    records: Vec<u32>,
}

/// Structures that are read at a time: some megabytes.
const BATCH: usize = 16 << 10;
/// Below it lies nothing.
const LOWEST: u64 = 4096;

impl Collector<'_> {
    fn add(&mut self, kind: RootKind, at: u64) -> u32 {
        self.roots.push(Root {
            kind,
            at,
            is_variable: false,
            is_guess: false,
            is_pool: false,
        });
        (self.roots.len() - 1) as u32
    }

    fn point(&mut self, root: u32, place: u64, value: u64) {
        let slot = FramePlace::NONE;
        if self.heap.object_at(value).is_some() {
            self.pointers.push(RootPointer {
                root,
                slot,
                place,
                value,
            });
        }
    }

    /// Structures of `len` bytes at these addresses, one behind the other: out of the heap's copy where they lie in
    /// there, else read from the program, many a call. What cannot be read is zeros.
    fn records(&self, memory: &dyn Memory, addrs: &[u64], len: usize) -> Vec<u8> {
        let mut bytes = vec![0; addrs.len() * len];
        let mut elsewhere = Vec::new();
        for (at, (&addr, piece)) in addrs.iter().zip(bytes.chunks_exact_mut(len)).enumerate() {
            match self.heap.copied_at(addr, len) {
                Some(copy) => piece.copy_from_slice(copy),
                None if addr >= LOWEST => elsewhere.push((addr, at)),
                None => {}
            }
        }
        elsewhere.sort_unstable();
        // Many point at the same thing, which is read once.
        let same: Vec<&[(u64, usize)]> = elsewhere
            .chunk_by(|left, right| left.0 == right.0)
            .collect();
        let (read, _) = memory.records(same.iter().map(|same| same[0].0), len);
        for (same, read) in same.iter().zip(read.chunks_exact(len)) {
            for (_, at) in *same {
                bytes[at * len..][..len].copy_from_slice(read);
            }
        }
        bytes
    }

    /// The word at each of these addresses, as [`Self::records`].
    fn words(&self, memory: &dyn Memory, addrs: &[u64]) -> Vec<u64> {
        let bytes = self.records(memory, addrs, 8);
        bytes.chunks_exact(8).map(|word| le64(word, 0)).collect()
    }

    /// Each goroutine is a root: its stack, its deferred calls, its labels.
    fn goroutines(
        &mut self,
        program: &Program,
        options: &goroutines::Options<'_>,
    ) -> Result<Goroutines, InspectError> {
        let code = Code::of(program)?;
        let rodata = program
            .modules()
            .iter()
            .map(|module| module.rodata)
            .collect();
        let return_bytes = if program.machine().call_pushes { 8 } else { 0 };
        let mut scanner = StackScanner::new(program.memory(), &code, rodata, return_bytes);
        let mut found: Vec<(u64, StackPointer)> = Vec::new();
        let (mut pointers, mut threads) = (Vec::new(), Vec::new());
        let heap = self.heap;
        let mut visit = |seen: &SeenStack<'_>| {
            pointers.clear();
            if seen.standing == Standing::Guessed || seen.frames.is_empty() {
                scanner.scan_all(seen, &mut pointers);
            } else {
                scanner.scan(seen, &mut pointers);
            }
            let into_heap = pointers
                .iter()
                .filter(|pointer| heap.object_at(pointer.value).is_some());
            found.extend(into_heap.map(|&pointer| (seen.addr, pointer)));
            // The rest of the `runtime.g` leads to its thread and from there to everything: it counts for the runtime.
            let own = seen.own.into_iter();
            let own = own.filter(|&value| heap.object_at(value).is_some());
            found.extend(own.map(|value| (seen.addr, StackPointer::of_record(value))));
            let of = seen.threads.into_iter();
            threads.extend(of.filter_map(|thread| heap.object_at(thread)));
        };
        let options = goroutines::Options {
            system: true,
            ..*options
        };
        let dump = goroutines::with_stacks(program, &options, Some(&mut visit))?;
        self.structures.extend(threads);
        let mut by_addr = HashMap::new();
        for (at, goroutine) in dump.goroutines.iter().enumerate() {
            let kind = match goroutine.system {
                true => RootKind::Runtime,
                false => RootKind::Goroutine,
            };
            let root = self.add(kind, at as u64);
            by_addr.insert(goroutine.addr, root);
            self.records.extend(self.heap.object_at(goroutine.addr));
        }
        let mut guessed: HashMap<u32, u32> = HashMap::new();
        for (addr, pointer) in found {
            if let Some(&sure) = by_addr.get(&addr) {
                let root = match pointer.is_guess {
                    true => *guessed.entry(sure).or_insert_with(|| {
                        let root = self.roots[sure as usize];
                        self.roots.push(Root {
                            is_guess: true,
                            ..root
                        });
                        (self.roots.len() - 1) as u32
                    }),
                    false => sure,
                };
                self.pointers.push(RootPointer {
                    root,
                    slot: pointer.slot,
                    place: pointer.pc,
                    value: pointer.value,
                });
            }
        }
        Ok(dump)
    }

    /// What the structures point at, for the runtime.
    fn structures(&mut self, program: &Program) {
        let heap = self.heap;
        let own: Vec<u64> = OWN
            .iter()
            .filter_map(|name| Some(program.layout().find(name)?.offset))
            .collect();
        self.records.sort_unstable();
        self.structures.extend(&self.records);
        self.structures.sort_unstable();
        self.structures.dedup();
        let root = self.add(RootKind::Runtime, u64::MAX);
        // A call of C has its thread's structure in a variable: that is no reason to keep it.
        for pointer in &mut self.pointers {
            let of_goroutine = self.roots[pointer.root as usize].kind == RootKind::Goroutine;
            let object = || heap.object_at(pointer.value);
            let is_own = |object| self.structures.binary_search(&object).is_ok();
            if of_goroutine && object().is_some_and(is_own) {
                (pointer.root, pointer.slot, pointer.place) = (root, FramePlace::NONE, 0);
            }
        }
        for object in self.structures.clone() {
            let span = heap.span_of(object);
            let is_record = self.records.binary_search(&object).is_ok();
            heap.each_word(span, object - span.first, 0, |word, value| {
                let place = u64::from(word) * 8;
                if !is_record || !own.contains(&place) {
                    self.point(root, place, value);
                }
                true
            });
        }
    }
}
