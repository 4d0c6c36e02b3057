//! From a program counter and a stack pointer to the calls below them.
//!
//! By the tables that the runtime itself unwinds with, not by frame pointers: exact in every function that the
//! compiler or the assembler made. The rules for calls that nobody made (signals, preemption) and for
//! functions that leave their stack are those of `runtime/traceback.go`.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::functions::{FunctionId, Functions, flag};
use crate::limits;
use crate::memory::le64;
use crate::{InspectError, Program};

use super::names::Ids;

/// The functions of all modules, with what the runtime knows some of them by.
#[derive(Debug)]
pub struct Code<'a> {
    modules: Vec<&'a Functions>,
    pub(super) ids: Ids,
    link_register: bool,
    /// Pairs of the functions' tables that may still be walked.
    pairs_left: AtomicU64,
}

impl<'a> Code<'a> {
    /// The code of `program`. A plugin whose table of functions cannot be read is left out.
    ///
    /// # Errors
    /// When the program's own cannot.
    pub fn of(program: &'a Program) -> Result<Self, InspectError> {
        let memory = program.memory();
        let mut modules = program
            .modules()
            .iter()
            .map(|module| module.functions(memory));
        let first = modules.next().transpose()?;
        let modules = first.into_iter().chain(modules.flatten()).collect();
        Ok(Self::new(modules, !program.machine().call_pushes))
    }

    /// All modules of one program, the one with the runtime first. `link_register`: the machine keeps the newest
    /// return address in a register (arm64), instead of pushing it.
    pub fn new(modules: Vec<&'a Functions>, link_register: bool) -> Self {
        Self {
            ids: modules
                .first()
                .map_or_else(Ids::default, |first| Ids::learn(first)),
            link_register,
            modules,
            pairs_left: AtomicU64::new(limits::PC_TABLE_PAIRS_WALKED_MAX),
        }
    }

    /// Whether one more look-up in a table of `function` may be made. Broken tables could ask for hours of them.
    pub(super) fn may_look_up(&self, module: usize, function: FunctionId) -> bool {
        let pairs = self.module(module).pairs_max(function) as u64;
        let less = |left: u64| left.checked_sub(pairs);
        self.pairs_left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, less)
            .is_ok()
    }

    /// The module and the function that `pc` lies in.
    pub fn find(&self, pc: u64) -> Option<(usize, FunctionId)> {
        let found = |(at, module): (usize, &&Functions)| module.find(pc).map(|id| (at, id));
        self.modules.iter().enumerate().find_map(found)
    }

    /// The functions of one module.
    pub fn module(&self, at: usize) -> &'a Functions {
        self.modules[at]
    }
}

/// Where to begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Start {
    /// The next instruction.
    pub pc: u64,
    /// The stack pointer there.
    pub sp: u64,
    /// The link register on machines that have one, else zero.
    pub lr: u64,
    /// What a system call left behind on entry, so a later change of the stack pointer does not matter.
    pub in_syscall: bool,
    /// The registers of a thread that was stopped anywhere: `pc` is an instruction, not a return address.
    pub trap: bool,
}

/// A frame of the stack. Inlined calls have none of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PhysicalFrame {
    /// The next instruction of the function.
    pub pc: u64,
    /// The instruction to look lines and pcdata up for: the call, which lies before `pc`, or `pc` itself where
    /// none was made.
    pub call_pc: u64,
    /// The stack pointer.
    pub sp: u64,
    /// The stack pointer of the caller.
    pub fp: u64,
    /// Which module, counted as in [`Code::new`].
    pub module: usize,
    /// The function.
    pub function: FunctionId,
}

/// How unwinding ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// At the stack's outermost function, as it should.
    Top,
    /// At a program counter that is in no Go function, or in one without a table.
    Foreign,
    /// At a function that moved the stack pointer in its own way.
    StackSwitch,
    /// Behind the stack's end, or in a circle.
    Broken,
    /// There are more frames than asked for.
    TooDeep,
}

/// A part of a stack as copied out of the target.
#[derive(Debug, Clone, Copy)]
pub struct StackBytes<'a> {
    /// The address of the first byte.
    pub base: u64,
    /// The copy.
    pub bytes: &'a [u8],
}

impl StackBytes<'_> {
    fn word(&self, addr: u64) -> Option<u64> {
        let at = usize::try_from(addr.checked_sub(self.base)?).ok()?;
        let end = at.checked_add(8)?;
        (end <= self.bytes.len()).then(|| le64(self.bytes, at))
    }
}

/// What the tables say of one program counter.
#[derive(Debug, Clone, Copy)]
struct Known {
    module: usize,
    function: FunctionId,
    entry: u64,
    /// How far the stack pointer has moved; nothing for foreign code.
    delta: Option<u64>,
    id: u8,
    flags: u8,
}

/// Unwinds many stacks. Keeps what it has looked up, since goroutines wait in few places.
#[derive(Debug)]
pub struct Unwinder<'a> {
    code: &'a Code<'a>,
    known: HashMap<u64, Option<Known>>,
}

/// Where unwinding stands.
#[derive(Debug, Clone, Copy)]
struct Cursor {
    pc: u64,
    sp: u64,
    lr: u64,
    known: Known,
    innermost: bool,
    may_switch: bool,
    trap: bool,
}

impl<'a> Unwinder<'a> {
    /// For the stacks of one program.
    pub fn new(code: &'a Code<'a>) -> Self {
        let known = HashMap::new();
        Self { code, known }
    }

    /// Appends the frames from `start` on to `out`, the innermost first, at most `frames_max`.
    pub fn unwind(
        &mut self,
        start: Start,
        stack: StackBytes<'_>,
        frames_max: usize,
        out: &mut Vec<PhysicalFrame>,
    ) -> End {
        let Some(mut cursor) = self.first(start, stack) else {
            return End::Foreign;
        };
        for _ in 0..frames_max {
            match self.step(cursor, stack, out) {
                Ok(next) => cursor = next,
                Err(end) => return end,
            }
        }
        End::TooDeep
    }

    /// A call of a nil function leaves zero as the program counter; its caller is then the first frame.
    fn first(&mut self, start: Start, stack: StackBytes<'_>) -> Option<Cursor> {
        let Start {
            mut pc,
            mut sp,
            mut lr,
            ..
        } = start;
        if pc == 0 {
            pc = stack.word(sp)?;
            if self.code.link_register {
                lr = 0;
            } else {
                sp = sp.checked_add(8)?;
            }
        }
        Some(Cursor {
            pc,
            sp,
            lr,
            known: self.look_up(pc)?,
            innermost: true,
            may_switch: start.in_syscall,
            trap: start.trap,
        })
    }

    /// Notes the frame at `at` and finds its caller.
    fn step(
        &mut self,
        at: Cursor,
        stack: StackBytes<'_>,
        out: &mut Vec<PhysicalFrame>,
    ) -> Result<Cursor, End> {
        let Known {
            module,
            function,
            entry,
            delta,
            id,
            flags,
        } = at.known;
        let pushed = if self.code.link_register { 0 } else { 8 };
        let fp = at.sp.checked_add(delta.ok_or(End::Foreign)?);
        let fp = fp
            .and_then(|fp| fp.checked_add(pushed))
            .ok_or(End::Broken)?;
        let is_call = !at.trap && at.pc > entry;
        out.push(PhysicalFrame {
            pc: at.pc,
            call_pc: at.pc - u64::from(is_call),
            sp: at.sp,
            fp,
            module,
            function,
        });
        if flags & flag::TOP_FRAME != 0 {
            return Err(End::Top);
        }
        // cgocallback switches stacks with valid frames on both. An innermost function that switches has been
        // preempted at its entry, before it wrote anything.
        let ids = self.code.ids;
        let may_switch = at.may_switch || at.innermost || Some(id) == ids.cgocallback;
        if flags & flag::SP_WRITE != 0 && !may_switch {
            return Err(End::StackSwitch);
        }
        let pc = self.return_address(&at, fp, stack).ok_or(End::Broken)?;
        if pc == 0 || (pc == at.pc && fp == at.sp) {
            return Err(End::Broken);
        }
        let mut next = Cursor {
            pc,
            sp: fp,
            lr: 0,
            known: self.look_up(pc).ok_or(End::Foreign)?,
            innermost: false,
            may_switch: false,
            trap: ids.is_injected(id),
        };
        if next.trap && self.code.link_register {
            // The signal handler saved the link register below the call that it made up.
            next.sp = fp.checked_add(16).ok_or(End::Broken)?;
            if next.known.delta == Some(0) {
                next.lr = stack.word(fp).ok_or(End::Broken)?;
            }
        }
        Ok(next)
    }

    fn return_address(&self, at: &Cursor, fp: u64, stack: StackBytes<'_>) -> Option<u64> {
        if !self.code.link_register {
            return stack.word(fp.checked_sub(8)?);
        }
        if (at.innermost && at.sp < fp) || at.lr == 0 {
            return stack.word(at.sp);
        }
        Some(at.lr)
    }

    fn look_up(&mut self, pc: u64) -> Option<Known> {
        if self.known.len() >= limits::PCS_KEPT_MAX {
            self.known.clear();
        }
        *self.known.entry(pc).or_insert_with(|| {
            let (module, function) = self.code.find(pc)?;
            let functions = self.code.module(module);
            if !self.code.may_look_up(module, function) {
                return None;
            }
            Some(Known {
                module,
                function,
                entry: functions.entry(function),
                delta: functions.sp_delta(function, pc),
                id: functions.func_id(function),
                flags: functions.flags(function),
            })
        })
    }
}

#[cfg(test)]
mod tests;
