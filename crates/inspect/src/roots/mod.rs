//! Where the collector begins: variables, goroutines' stacks, timers, finalizers and the runtime's own structures.
//!
//! Each root has a *rank*. What a root of a lower rank reaches counts for that rank alone, so that a map held by
//! `main.sessions` counts for `main.sessions` although goroutines that use it and the runtime's lists reach it too:
//! a person wants the variable, and memory that only a goroutine or a timer holds stands out.

mod circle;
mod globals;
mod specials;
mod stack;

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use crate::dwarf::FrameSlot;
use crate::goroutines::{self, Code, Goroutines, SeenStack, Standing};
use crate::heap::Heap;
use crate::layout::Field;
use crate::memory::{Memory, le64};
use crate::{InspectError, Program, limits};

use circle::Circle;
pub(crate) use globals::variables_at;
pub use globals::{Global, Globals};
use specials::{Special, each_special};
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
    /// The runtime's structures of goroutines and processors, by their object. They lead from each to all others, so
    /// their pointers count for the runtime, and nobody's way leads through them: see `Heap::cut`.
    pub structures: Vec<u32>,
    /// The timers that `Timer` roots stand for.
    pub timers: Vec<Timer>,
    /// Objects that the memory profile sampled, and the bucket of each.
    pub samples: Vec<(u32, u64)>,
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
        let samples = roots.specials(program)?;
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

/// What of a goroutine's record only the goroutine itself uses, when it runs: it counts for its own root.
const OWN: [&str; 3] = ["g._defer", "g.labels", "g.sched.ctxt"];

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
        let mut pointers = Vec::new();
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
        };
        let options = goroutines::Options {
            system: true,
            ..*options
        };
        let dump = goroutines::with_stacks(program, &options, Some(&mut visit))?;
        let mut by_addr = HashMap::new();
        // The `runtime.g` itself leads to its thread and from there to everything: it counts for the runtime.
        let parts = OWN.map(|name| program.layout().find(name));
        for (at, goroutine) in dump.goroutines.iter().enumerate() {
            let kind = match goroutine.system {
                true => RootKind::Runtime,
                false => RootKind::Goroutine,
            };
            let root = self.add(kind, at as u64);
            by_addr.insert(goroutine.addr, root);
            self.records.extend(self.heap.object_at(goroutine.addr));
            for field in parts.iter().flatten() {
                if let Ok(value) = program.memory().u64(goroutine.addr + field.offset) {
                    self.point(root, 0, value);
                }
            }
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

    /// The timers of every processor's heap.
    fn timers(&mut self, program: &Program) -> Result<(), InspectError> {
        let (memory, layout) = (program.memory(), program.layout());
        let Some(function) = layout.find("timer.f") else {
            return Ok(());
        };
        let argument = layout.field("timer.arg")?;
        let (when, period) = (layout.field("timer.when")?, layout.field("timer.period")?);
        // An interface: its type, then its value.
        let argument = Field {
            offset: argument.offset + 8,
            bytes: 8,
        };
        // Since Go 1.23 an entry is the timer and its time; before, the timer alone.
        let (list, entry) = match layout.find("p.timers.heap") {
            Some(list) => (list, layout.size("timerWhen")?),
            None => (layout.field("p.timers")?, 8),
        };
        let at = layout
            .find("timerWhen.timer")
            .map_or(0, |field| field.offset as usize);
        let (array, count) = memory.slice_header(program.symbol("runtime.allp")?)?;
        let max = 8 * limits::PROCESSORS_MAX;
        let processors = memory.bytes(
            "the list of processors",
            array,
            count.saturating_mul(8),
            max,
        )?;
        for processor in processors.chunks_exact(8).map(|word| le64(word, 0)) {
            self.structures.extend(self.heap.object_at(processor));
            let (array, count) = memory.slice_header(processor.wrapping_add(list.offset))?;
            let max = entry * limits::TIMERS_MAX;
            // A list that is being replaced while we read is read at the next look.
            let Ok(entries) = memory.bytes("timers", array, count.saturating_mul(entry), max)
            else {
                continue;
            };
            for timer in entries
                .chunks_exact(entry as usize)
                .map(|entry| le64(entry, at))
            {
                let word = |field: Field| memory.u64(timer.wrapping_add(field.offset));
                let (Ok(function), Ok(argument)) = (word(function), word(argument)) else {
                    continue;
                };
                let code = timer_code(memory, program, function, argument);
                let root = self.add(RootKind::Timer, code);
                let number = |field| word(field).unwrap_or(0) as i64;
                self.timers.push(Timer {
                    root,
                    code: memory.u64(function).unwrap_or(0),
                    argument,
                    when_ns: number(when),
                    period_ns: number(period),
                });
                self.point(root, 0, timer);
                // A runtime-made timer (of a connection's deadline) lies outside the heap.
                self.point(root, 0, argument);
            }
        }
        Ok(())
    }

    /// Finalizers and cleanups, weak handles, and what objects with finalizers refer to.
    fn specials(&mut self, program: &Program) -> Result<Vec<(u32, u64)>, InspectError> {
        let heap = self.heap;
        let referent = self.add(RootKind::Referent, 0);
        let weak = self.add(RootKind::Runtime, u64::MAX);
        let mut samples = Vec::new();
        let mut roots: HashMap<u64, u32> = HashMap::new();
        each_special(program, heap, |object, special| match special {
            Special::Sample(bucket) => samples.push((object, bucket)),
            Special::WeakHandle(handle) => self.point(weak, 0, handle),
            Special::Finalizer(function) => {
                self.function(program, RootKind::Finalizer, &mut roots, function, 0);
                let span = heap.span_of(object);
                heap.each_word(span, object - span.first, 0, |word, value| {
                    self.point(referent, u64::from(word) * 8, value);
                    true
                });
            }
            Special::Cleanup(function, argument) => {
                self.function(program, RootKind::Cleanup, &mut roots, function, argument);
            }
        })?;
        Ok(samples)
    }

    /// A finalizer or cleanup: those with the same code share a root.
    fn function(
        &mut self,
        program: &Program,
        kind: RootKind,
        roots: &mut HashMap<u64, u32>,
        function: u64,
        argument: u64,
    ) {
        let code = cleanup_code(program, function);
        let root = *roots.entry(code).or_insert_with(|| self.add(kind, code));
        self.point(root, 0, function);
        self.point(root, 8, argument);
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

    /// Finalizers that wait to be run.
    fn queue(&mut self, program: &Program) -> Result<(), InspectError> {
        let (memory, layout) = (program.memory(), program.layout());
        let either = |name: &str| {
            let new = layout.find(&format!("finBlock.{name}"));
            new.or_else(|| layout.find(&format!("finblock.{name}")))
        };
        let (Ok(first), Some(next), Some(count), Some(entries)) = (
            program.symbol("runtime.allfin"),
            either("alllink"),
            either("cnt"),
            either("fin"),
        ) else {
            return Ok(());
        };
        let entry = layout.size("finalizer")? as usize;
        let fields =
            ["fn", "arg", "fint", "ot"].map(|name| layout.find(&format!("finalizer.{name}")));
        let mut at = memory.u64(first)?;
        let (mut root, mut circle) = (None, Circle::new(at));
        for _ in 0..limits::FINALIZER_BLOCKS_MAX {
            if at == 0 {
                break;
            }
            let len = entries.offset + entries.bytes;
            let Ok(block) = memory.bytes("queued finalizers", at, len, limits::STRUCTURE_BYTES_MAX)
            else {
                break;
            };
            let queued = count.get(&block) as usize;
            let queue = block.get(entries.offset as usize..).unwrap_or_default();
            for finalizer in queue.chunks_exact(entry).take(queued) {
                let root = *root.get_or_insert_with(|| self.add(RootKind::Finalizer, 0));
                for field in fields.into_iter().flatten() {
                    self.point(root, 0, field.get(finalizer));
                }
            }
            at = next.get(&block);
            if circle.closes(at) {
                break;
            }
        }
        Ok(())
    }
}

/// The code of a finalizer or cleanup. Up to Go 1.25 `runtime.AddCleanup` wraps the caller's function into one of its
/// own, which keeps it.
fn cleanup_code(program: &Program, function: u64) -> u64 {
    let word = |addr: u64| program.memory().u64(addr).ok();
    let code = word(function).unwrap_or(0);
    let begins = |code: u64| {
        let functions = program.functions_of(code)?;
        let id = functions.find(code)?;
        (functions.entry(id) == code).then(|| functions.name(id))
    };
    if !begins(code).is_some_and(|name| name.starts_with("runtime.AddCleanup[")) {
        return code;
    }
    let kept = [8, 16]
        .into_iter()
        .filter_map(|at| word(word(function.checked_add(at)?)?));
    kept.into_iter()
        .find(|&kept| begins(kept).is_some())
        .unwrap_or(code)
}

/// The code that a timer runs: of `time.AfterFunc` the caller's own function, which is its argument.
fn timer_code(memory: &dyn Memory, program: &Program, function: u64, argument: u64) -> u64 {
    let code = memory.u64(function).unwrap_or(0);
    let name = |code: u64| {
        let functions = program.functions_of(code)?;
        Some(functions.name(functions.find(code)?).to_owned())
    };
    let is_wrapper = name(code).is_some_and(|name| name == "time.goFunc");
    if is_wrapper {
        memory.u64(argument).unwrap_or(code)
    } else {
        code
    }
}
