//! Reading all goroutines out of a program.
//!
//! Goroutines are taken in batches: one read for their records, one for their stacks, then their records again.
//! Those whose place changed in between go into the next round.

use std::collections::HashMap;
use std::sync::Arc;

use super::labels::{Form, LabelReader};
use super::names::is_system;
use super::raw::{Fields, OWN, RawGoroutine, Status};
use super::reasons::wait_reasons;
use super::stacks::Stacks;
use super::unwind::{Code, End, PhysicalFrame, StackBytes, Start, Unwinder};
use super::waits::waits;
use super::{Bubble, Goroutine, Goroutines, StackSize};
use crate::InspectError;
use crate::functions::{FunctionId, Functions};
use crate::layout::Layout;
use crate::limits;
use crate::memory::{Memory, Range, le32, le64};

/// How often a goroutine that moves is read before it is taken as it is.
const ROUNDS: usize = 4;
/// Goroutines whose records are held at a time.
const BATCH: usize = 16 << 10;

/// What to read and how.
#[derive(Clone, Copy, Default)]
pub struct Options<'a> {
    /// The runtime's own goroutines too.
    pub system: bool,
    /// The machine's monotonic clock in nanoseconds, `CLOCK_MONOTONIC`; without it no wait time is told.
    pub now_ns: Option<u64>,
    /// Leave out `pprof` labels.
    pub no_labels: bool,
    /// Where a thread, by its id, stands: asked for running goroutines. Only a stopped thread has an answer that
    /// holds.
    pub registers: Option<&'a dyn Fn(u64) -> Option<Registers>>,
}

/// The registers that a stack begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Registers {
    /// The next instruction.
    pub pc: u64,
    /// The stack pointer.
    pub sp: u64,
    /// The link register on machines that have one, else zero.
    pub lr: u64,
    /// The general registers by their numbers in debug information, as many as the machine has and are known; the
    /// rest are zero.
    pub general: [u64; GENERAL_REGISTERS_MAX],
}

/// General registers of the machine that has most.
pub const GENERAL_REGISTERS_MAX: usize = 31;

impl Registers {
    /// With the general registers that are known.
    pub fn new(pc: u64, sp: u64, lr: u64, general: &[u64]) -> Self {
        let mut all = [0; GENERAL_REGISTERS_MAX];
        for (to, from) in all.iter_mut().zip(general) {
            *to = *from;
        }
        Self {
            pc,
            sp,
            lr,
            general: all,
        }
    }
}

/// What of a program this needs.
pub(crate) struct Target<'a> {
    pub(crate) memory: &'a dyn Memory,
    pub(crate) layout: &'a Layout,
    pub(crate) code: Code<'a>,
    /// The second number of its Go version.
    pub(crate) minor: u32,
    /// Addresses of the runtime's variables.
    pub(crate) allgs: u64,
    pub(crate) wait_reasons: Option<u64>,
    pub(crate) finalizer_status: Option<u64>,
}

/// One goroutine's stack, as it was read: shown to whoever looks for pointers on it.
pub(crate) struct SeenStack<'a> {
    /// Where its `runtime.g` lies.
    pub(crate) addr: u64,
    /// Its frames.
    pub(crate) frames: &'a [PhysicalFrame],
    /// Its bytes, from the innermost frame on.
    pub(crate) bytes: StackBytes<'a>,
    /// What is known of it.
    pub(crate) standing: Standing,
    /// The general registers of its thread, when those are its own.
    pub(crate) general: &'a [u64],
    /// What its record has of [`OWN`](super::OWN).
    pub(crate) own: [u64; OWN.len()],
    /// Where the `runtime.m` of its thread lies, and of the one that it is bound to; zero where it has none.
    pub(crate) threads: [u64; 2],
}

/// How sure the place of a goroutine is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// At a call.
    AtCall,
    /// It runs: its innermost frame stands between calls.
    Between,
    /// It runs, nobody tells where: the bytes are its whole stack, and the frames those whose return addresses lie
    /// there, which may have returned by now.
    Guessed,
}

/// Sees each stack once.
pub(crate) type Visit<'a> = &'a mut dyn FnMut(&SeenStack<'_>);

/// Reads all goroutines of `target`, and shows each stack to `visit`.
pub(crate) fn look(
    target: &Target<'_>,
    options: &Options<'_>,
    visit: Option<Visit<'_>>,
) -> Result<Goroutines, InspectError> {
    let memory = target.memory;
    let addrs = all_goroutines(memory, target.allgs)?;
    let mut look = Look::new(target, options, visit)?;
    for batch in addrs.chunks(BATCH) {
        let mut left = batch.to_vec();
        for round in 1..=ROUNDS {
            left = look.round(&left, round == 1, round == ROUNDS)?;
            if left.is_empty() {
                break;
            }
        }
    }
    Ok(look.finish(&addrs))
}

fn all_goroutines(memory: &dyn Memory, allgs: u64) -> Result<Vec<u64>, InspectError> {
    let (addr, count) = memory.slice_header(allgs)?;
    let what = "list of goroutines";
    let bytes = memory.bytes(
        what,
        addr,
        count.saturating_mul(8),
        limits::GOROUTINES_MAX * 8,
    )?;
    Ok(bytes
        .as_chunks::<8>()
        .0
        .iter()
        .map(|word| u64::from_le_bytes(*word))
        .collect())
}

struct Look<'a, 'v> {
    target: &'a Target<'a>,
    options: &'a Options<'a>,
    fields: Fields,
    reasons: Vec<Arc<str>>,
    finalizer_runs: bool,
    unwinder: Unwinder<'a>,
    stacks: Stacks<'a>,
    labels: LabelReader<'a>,
    creators: HashMap<u64, Option<usize>>,
    /// Bytes of stacks that may still be read.
    stack_bytes_left: u64,
    /// Words that may still be tried as return addresses.
    guesses_left: usize,
    dump: Goroutines,
    visit: Option<Visit<'v>>,
}

/// Where a goroutine's stack begins, and the bytes to read of it.
struct Place {
    start: Start,
    range: Range,
    approximate: bool,
    /// The registers that the goroutine works with.
    general: Option<[u64; GENERAL_REGISTERS_MAX]>,
}

/// Where a running goroutine stands, whether that is approximate, and its registers.
type Running = (Start, bool, Option<[u64; GENERAL_REGISTERS_MAX]>);

impl<'a, 'v> Look<'a, 'v> {
    fn new(
        target: &'a Target<'a>,
        options: &'a Options<'a>,
        visit: Option<Visit<'v>>,
    ) -> Result<Self, InspectError> {
        let status = target
            .finalizer_status
            .and_then(|addr| target.memory.u32(addr).ok());
        let form = if target.minor >= 24 {
            Form::List
        } else {
            Form::Map
        };
        Ok(Self {
            target,
            options,
            fields: Fields::of(target.layout)?,
            reasons: wait_reasons(target.memory, target.wait_reasons),
            // `fingRunningFinalizer`.
            finalizer_runs: status.is_some_and(|status| status & 2 != 0),
            unwinder: Unwinder::new(&target.code),
            stacks: Stacks::new(&target.code, target.memory),
            labels: LabelReader::new(target.memory, form),
            creators: HashMap::new(),
            stack_bytes_left: limits::STACKS_READ_BYTES_MAX,
            guesses_left: limits::RETURN_ADDRESSES_TRIED_MAX,
            dump: Goroutines::default(),
            visit,
        })
    }

    /// Takes the goroutines at `addrs`; gives back those that moved meanwhile, unless this is the last round.
    fn round(
        &mut self,
        addrs: &[u64],
        is_first: bool,
        is_last: bool,
    ) -> Result<Vec<u64>, InspectError> {
        let (first, unreadable) = self.read_records(addrs, self.fields.size);
        if is_first {
            self.dump.unreadable += unreadable as u64;
        }
        let live: Vec<RawGoroutine> = first
            .into_iter()
            .filter(|raw| raw.status.is_live())
            .collect();
        let live = self.without_system(live);
        let places: Vec<Option<Place>> = live.iter().map(|raw| self.place(raw)).collect();
        let waits = waits(self.target.memory, self.target.layout, &live)?;
        let mut moved = Vec::new();
        let mut waits = waits.into_iter();
        for group in groups_of_bytes(&places) {
            let (raws, places) = (&live[group.clone()], &places[group.clone()]);
            let bytes = self.read_stacks(places);
            let addrs: Vec<u64> = raws.iter().map(|raw| raw.addr).collect();
            let (later, _) = self.read_records(&addrs, self.fields.place_size);
            let mut rest = bytes.as_slice();
            for ((raw, place), later) in raws.iter().zip(places).zip(&later) {
                let len = place.as_ref().map_or(0, |place| place.range.len);
                let (stack, tail) = rest.split_at(len);
                rest = tail;
                let waits = waits.next().unwrap_or_default();
                let (frames, end) = self.unwind(place.as_ref(), stack);
                // A goroutine that moved and came back to the same place is seen by the stack it left.
                let is_whole = end.is_none_or(|end| end == End::Top);
                let has_moved = raw.has_moved(later);
                if (has_moved || !is_whole) && !is_last {
                    moved.push(raw.addr);
                    continue;
                }
                let number = end.and_then(|end| self.stacks.number(&frames, end));
                match &place {
                    Some(place) => {
                        let base = place.range.addr;
                        let general = place.general.as_ref().map_or(&[][..], |all| all);
                        let runs = raw.status == Status::Running && !raw.in_syscall;
                        self.show(&SeenStack {
                            addr: raw.addr,
                            frames: &frames,
                            bytes: StackBytes { base, bytes: stack },
                            standing: match runs {
                                true => Standing::Between,
                                false => Standing::AtCall,
                            },
                            general,
                            own: raw.own,
                            threads: [raw.thread, raw.locked],
                        });
                    }
                    None => self.show_unknown(raw),
                }
                let mut goroutine = self.explain(raw, place.as_ref(), number);
                goroutine.approximate |= has_moved || end == Some(End::Broken);
                goroutine.waits = waits;
                self.dump.goroutines.push(goroutine);
            }
        }
        Ok(moved)
    }

    /// The first `size` bytes of the records at `addrs`, and how many could not be read; those read as dead.
    fn read_records(&self, addrs: &[u64], size: usize) -> (Vec<RawGoroutine>, usize) {
        let (bytes, unreadable) = self.target.memory.records(addrs.iter().copied(), size);
        let records = addrs.iter().zip(bytes.chunks_exact(size));
        let records = records.map(|(&addr, bytes)| self.fields.decode(addr, bytes));
        (records.collect(), unreadable)
    }

    fn read_stacks(&self, places: &[Option<Place>]) -> Vec<u8> {
        let ranges: Vec<Range> = places.iter().flatten().map(|place| place.range).collect();
        let mut bytes = vec![0; ranges.iter().map(|range| range.len).sum()];
        self.target.memory.read_many(&ranges, &mut bytes);
        bytes
    }

    fn without_system(&mut self, live: Vec<RawGoroutine>) -> Vec<RawGoroutine> {
        if self.options.system {
            return live;
        }
        let before = live.len();
        let kept: Vec<RawGoroutine> = live
            .into_iter()
            .filter(|raw| !self.is_system(raw))
            .collect();
        self.dump.system_left_out += (before - kept.len()) as u64;
        kept
    }

    fn is_system(&self, raw: &RawGoroutine) -> bool {
        let code = &self.target.code;
        code.find(raw.start_pc).is_some_and(|(module, function)| {
            let functions = code.module(module);
            let finalizer_runs = self.finalizer_runs;
            is_system(
                &code.ids,
                functions,
                function,
                finalizer_runs,
                raw.cleanup_runs,
            )
        })
    }

    /// Where to unwind from: nothing when the goroutine runs and nobody tells its registers, or when what the
    /// record says is no stack.
    fn place(&mut self, raw: &RawGoroutine) -> Option<Place> {
        let mut start = Start {
            pc: raw.pc,
            sp: raw.sp,
            lr: raw.lr,
            in_syscall: raw.in_syscall,
            trap: false,
        };
        let mut approximate = raw.status == Status::CopyStack;
        let mut general = None;
        if raw.status == Status::Running && !raw.in_syscall {
            (start, approximate, general) = self.running(raw)?;
        }
        let (low, high) = raw.stack;
        let is_stack =
            (low..high).contains(&start.sp) && high - low <= limits::STACK_ALLOCATED_BYTES_MAX;
        if !is_stack {
            return None;
        }
        let len = (high - start.sp).min(limits::STACK_BYTES_MAX);
        self.stack_bytes_left = self.stack_bytes_left.checked_sub(len)?;
        let len = len as usize;
        let range = Range {
            addr: start.sp,
            len,
        };
        Some(Place {
            start,
            range,
            approximate,
            general,
        })
    }

    /// A running goroutine's place, from its thread's registers, and whether that is approximate: a thread on its
    /// system or signal stack may have left the goroutine further on than where it last stopped. The general registers
    /// are the goroutine's own only while the thread is on its stack.
    fn running(&self, raw: &RawGoroutine) -> Option<Running> {
        let (layout, memory) = (self.target.layout, self.target.memory);
        let registers = self.options.registers?;
        let word = |name: &str| {
            let field = layout.find(name)?;
            memory.u64(raw.thread.checked_add(field.offset)?).ok()
        };
        let Registers {
            pc,
            sp,
            lr,
            general,
        } = registers(word("m.procid")?)?;
        let last_stop = Start {
            pc: raw.pc,
            sp: raw.sp,
            lr: raw.lr,
            in_syscall: false,
            trap: false,
        };
        let is_here = |sp| (raw.stack.0..raw.stack.1).contains(&sp);
        if is_here(sp) && self.target.code.find(pc).is_some() {
            let trap = true;
            return Some((
                Start {
                    pc,
                    sp,
                    lr,
                    trap,
                    ..last_stop
                },
                false,
                Some(general),
            ));
        }
        // The kernel's clock functions run on the system stack, after a note of who called them.
        match (word("m.vdsoPC"), word("m.vdsoSP")) {
            (Some(pc), Some(sp)) if is_here(sp) => Some((
                Start {
                    pc,
                    sp,
                    lr: 0,
                    ..last_stop
                },
                false,
                None,
            )),
            _ => Some((last_stop, true, None)),
        }
    }

    /// The frames below `place`, and how they end; nothing without a place.
    fn unwind(&mut self, place: Option<&Place>, bytes: &[u8]) -> (Vec<PhysicalFrame>, Option<End>) {
        let mut frames = Vec::new();
        let end = place.map(|place| {
            let base = place.range.addr;
            let (bytes, max) = (StackBytes { base, bytes }, limits::FRAMES_MAX);
            self.unwinder.unwind(place.start, bytes, max, &mut frames)
        });
        (frames, end)
    }

    fn explain(
        &mut self,
        raw: &RawGoroutine,
        place: Option<&Place>,
        stack: Option<usize>,
    ) -> Goroutine {
        let waits = matches!(raw.status, Status::Waiting | Status::Leaked);
        let reason = self.reasons.get(raw.wait_reason).filter(|_| waits);
        let (low, high) = raw.stack;
        Goroutine {
            id: raw.id,
            addr: raw.addr,
            status: raw.status,
            scan: raw.scan,
            wait_reason: reason.cloned().unwrap_or_default(),
            waited_ns: self.waited_ns(raw),
            locked_to_thread: raw.locked != 0,
            bubble: self.bubble(raw.bubble),
            system: self.is_system(raw),
            stack,
            entry: match stack {
                Some(_) => None,
                None => self.entry(raw),
            },
            stack_bytes: StackSize {
                allocated: high.saturating_sub(low),
                used: place.map_or(0, |place| high.saturating_sub(place.start.sp)),
            },
            approximate: place.is_some_and(|place| place.approximate),
            creator: self.creator(raw),
            parent: raw.parent,
            labels: if self.options.no_labels {
                Arc::default()
            } else {
                self.labels.labels(raw.labels)
            },
            waits: Vec::new(),
        }
    }

    fn show(&mut self, seen: &SeenStack<'_>) {
        if let Some(visit) = &mut self.visit {
            visit(seen);
        }
    }

    /// Shows the stack of a goroutine that runs where nobody knows: all of it.
    fn show_unknown(&mut self, raw: &RawGoroutine) {
        if self.visit.is_none() {
            return;
        }
        let (base, bytes) = self.whole_stack(raw).unwrap_or_default();
        let bytes = StackBytes {
            base,
            bytes: &bytes,
        };
        let frames = self.guess(bytes);
        self.show(&SeenStack {
            addr: raw.addr,
            frames: &frames,
            bytes,
            standing: Standing::Guessed,
            general: &[],
            own: raw.own,
            threads: [raw.thread, raw.locked],
        });
    }

    /// Where a stack begins, and its bytes; nothing when what the record says is no stack.
    fn whole_stack(&mut self, raw: &RawGoroutine) -> Option<(u64, Vec<u8>)> {
        let (low, high) = raw.stack;
        let len = high.saturating_sub(low);
        if len > limits::STACK_ALLOCATED_BYTES_MAX {
            return None;
        }
        let len = len.min(limits::STACK_BYTES_MAX);
        self.stack_bytes_left = self.stack_bytes_left.checked_sub(len)?;
        let (memory, base) = (self.target.memory, high - len);
        let bytes = memory.bytes("stack", base, len, limits::STACK_BYTES_MAX);
        Some((base, bytes.ok()?))
    }

    /// The frames below the lowest return address from which the whole stack can be unwound.
    fn guess(&mut self, stack: StackBytes<'_>) -> Vec<PhysicalFrame> {
        let mut frames = Vec::new();
        for (at, word) in stack.bytes.chunks_exact(8).enumerate() {
            let pc = le64(word, 0);
            if self.target.code.find(pc).is_none() {
                continue;
            }
            let Some(left) = self.guesses_left.checked_sub(1) else {
                break;
            };
            self.guesses_left = left;
            let start = Start {
                pc,
                sp: stack.base + 8 * (at as u64 + 1),
                lr: 0,
                in_syscall: false,
                trap: false,
            };
            frames.clear();
            let max = limits::GUESSED_FRAMES_MAX;
            if self.unwinder.unwind(start, stack, max, &mut frames) == End::Top {
                return frames;
            }
        }
        Vec::new()
    }

    /// The name of the function that a goroutine began in; behind what the compiler made of a `go` statement with
    /// arguments, the function that it calls.
    fn entry(&mut self, raw: &RawGoroutine) -> Option<Arc<str>> {
        let code = &self.target.code;
        let (module, function) = code.find(raw.start_pc)?;
        let functions = code.module(module);
        let name = functions.name(function);
        if name == "runtime.main" {
            return Some("main.main".into());
        }
        let is_wrapper = code.ids.is_elided(functions.func_id(function), 0);
        let called = is_wrapper
            .then(|| called(self.target.memory, code, functions, function))
            .flatten();
        Some(called.unwrap_or(name).into())
    }

    fn waited_ns(&self, raw: &RawGoroutine) -> Option<u64> {
        let waits = matches!(
            raw.status,
            Status::Waiting | Status::Syscall | Status::Leaked
        );
        let since = Some(raw.wait_since).filter(|&since| waits && since != 0)?;
        self.options.now_ns?.checked_sub(since)
    }

    fn bubble(&self, addr: u64) -> Option<Bubble> {
        let (layout, memory) = (self.target.layout, self.target.memory);
        let read = |addr: u64, name: &str| {
            let field = layout.find(name)?;
            memory.u64(addr.checked_add(field.offset)?).ok()
        };
        if addr == 0 {
            return None;
        }
        if layout.find("g.bubble").is_some() {
            let id = read(addr, "synctestBubble.id")?;
            return Some(Bubble {
                id,
                is_group: false,
            });
        }
        let id = read(read(addr, "synctestGroup.root")?, "g.goid")?;
        Some(Bubble { id, is_group: true })
    }

    fn creator(&mut self, raw: &RawGoroutine) -> Option<usize> {
        if raw.id == 1 {
            return None;
        }
        if let Some(&known) = self.creators.get(&raw.created_at) {
            return known;
        }
        if self.creators.len() >= limits::PCS_KEPT_MAX {
            return None;
        }
        let number = self.stacks.creator(raw.created_at).map(|frame| {
            self.dump.creators.push(frame);
            self.dump.creators.len() - 1
        });
        self.creators.insert(raw.created_at, number);
        number
    }

    /// Puts the goroutines back into the runtime's order, which later rounds have left.
    fn finish(self, addrs: &[u64]) -> Goroutines {
        let mut dump = self.dump;
        dump.stacks = self.stacks.stacks;
        let order: HashMap<u64, usize> = addrs
            .iter()
            .enumerate()
            .map(|(at, &addr)| (addr, at))
            .collect();
        dump.goroutines
            .sort_by_key(|goroutine| order.get(&goroutine.addr).copied());
        dump
    }
}

/// The first function outside of the runtime that a wrapper calls, by amd64's instruction for that: 0xe8, and the
/// distance from the next instruction.
fn called<'a>(
    memory: &dyn Memory,
    code: &Code<'a>,
    functions: &Functions,
    wrapper: FunctionId,
) -> Option<&'a str> {
    const WRAPPER_BYTES_MAX: u64 = 4096;
    let (entry, end) = (functions.entry(wrapper), functions.end(wrapper));
    let len = end.saturating_sub(entry).min(WRAPPER_BYTES_MAX);
    let bytes = memory.bytes("code", entry, len, WRAPPER_BYTES_MAX).ok()?;
    bytes.windows(5).enumerate().find_map(|(at, call)| {
        let next = entry.wrapping_add(at as u64 + 5);
        let target = next.wrapping_add_signed((le32(call, 1) as i32).into());
        let (module, function) = code.find(target).filter(|_| call[0] == 0xe8)?;
        let functions = code.module(module);
        let name = functions.name(function);
        (functions.entry(function) == target && !name.starts_with("runtime.")).then_some(name)
    })
}

/// Runs of places whose stacks are held at a time.
fn groups_of_bytes(places: &[Option<Place>]) -> Vec<std::ops::Range<usize>> {
    let (mut groups, mut from, mut held) = (Vec::new(), 0, 0_u64);
    for (at, place) in places.iter().enumerate() {
        let len = place.as_ref().map_or(0, |place| place.range.len as u64);
        if held + len > limits::STACKS_HELD_BYTES_MAX && at > from {
            groups.push(from..at);
            (from, held) = (at, 0);
        }
        held += len;
    }
    if from < places.len() {
        groups.push(from..places.len());
    }
    groups
}
