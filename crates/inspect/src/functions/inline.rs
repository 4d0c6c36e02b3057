//! Calls that the compiler put into their caller: the frames that exist in the source and not on the stack.
//!
//! Format: `runtime.inlinedCall`, 16 bytes: `funcID u8, _ [3]u8, nameOff i32, parentPc i32, startLine i32`. An
//! instruction's pcdata tells the entry of the innermost call; `parentPc` is an instruction of the caller, whose
//! pcdata tells the next.

use super::{FunctionId, Functions, funcdata, pcdata};
use crate::limits::INLINE_DEPTH_MAX;
use crate::memory::{Memory, le32};

const ENTRY_BYTES: u64 = 16;

/// One function of the source at one instruction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Source<'a> {
    /// Its whole name.
    pub function: &'a str,
    /// The file, as the compiler was told it.
    pub file: &'a str,
    /// The line; zero where unknown.
    pub line: u32,
    /// The line of the word `func`.
    pub start_line: i32,
    /// As [`Functions::func_id`].
    pub func_id: u8,
    /// True of a call that was inlined into the next one.
    pub inlined: bool,
}

/// The functions of the source at one instruction, the innermost first; the last one is the function itself.
pub struct InlineWalk<'a> {
    functions: &'a Functions,
    memory: &'a dyn Memory,
    id: FunctionId,
    pc: Option<u64>,
    tree: Option<u64>,
    depth: usize,
}

impl Functions {
    /// What the source has at `pc`, an instruction of `id`: for a caller's frame its return address less one.
    /// Reads 16 bytes of the target for each inlined call.
    pub fn sources<'a>(
        &'a self,
        memory: &'a dyn Memory,
        id: FunctionId,
        pc: u64,
    ) -> InlineWalk<'a> {
        InlineWalk {
            functions: self,
            memory,
            id,
            pc: Some(pc),
            tree: self.funcdata(id, funcdata::INLINE_TREE),
            depth: 0,
        }
    }
}

impl<'a> Iterator for InlineWalk<'a> {
    type Item = Source<'a>;

    fn next(&mut self) -> Option<Source<'a>> {
        let pc = self.pc.take()?;
        let (functions, id) = (self.functions, self.id);
        let (file, line) = functions.file_line(id, pc);
        let Some(call) = self.inlined_at(pc) else {
            return Some(Source {
                function: functions.name(id),
                file,
                line,
                start_line: functions.start_line(id),
                func_id: functions.func_id(id),
                inlined: false,
            });
        };
        self.depth += 1;
        self.pc = functions.entry(id).checked_add(le32(&call, 8).into());
        Some(Source {
            function: functions.name_at(le32(&call, 4)),
            file,
            line,
            start_line: le32(&call, 12) as i32,
            func_id: call[0],
            inlined: true,
        })
    }
}

impl InlineWalk<'_> {
    /// The instruction that the next of [`Iterator::next`] is about: what called the one that was just given.
    pub fn pc(&self) -> Option<u64> {
        self.pc
    }

    /// The inline tree's entry for `pc`. One that cannot be read counts as none, so the function itself still
    /// shows.
    fn inlined_at(&self, pc: u64) -> Option<[u8; ENTRY_BYTES as usize]> {
        let tree = self.tree.filter(|_| self.depth < INLINE_DEPTH_MAX)?;
        let index = self.functions.pcdata(self.id, pcdata::INLINE_INDEX, pc);
        let at = u64::try_from(index).ok()? * ENTRY_BYTES;
        let mut entry = [0; ENTRY_BYTES as usize];
        self.memory.read(tree.checked_add(at)?, &mut entry).ok()?;
        Some(entry)
    }
}
