//! The runtime's function table: which function a program counter lies in, its name, file and line, the calls
//! inlined there, and what the compiler noted for the collector and for unwinding.
//!
//! The table stays in stripped programs, since the runtime needs it to grow and scan stacks. Formats:
//! `cmd/internal/obj/pcln.go`, `cmd/link/internal/ld/pcln.go` and `runtime/symtab.go` of the Go source; unchanged
//! from Go 1.20 to 1.27. A program counter here is an address of the target, never an offset.

mod inline;
mod name;
mod table;

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::OnceLock;

use crate::InspectError;
use crate::limits::PC_TABLE_PAIRS_MAX;
use crate::memory::le32;

pub use inline::{InlineWalk, Source};
pub use name::printed_name;
use table::pc_value;

/// Length of `runtime._func` without the tables behind it, in bytes.
const RECORD_BYTES: usize = 44;

/// Tables of [`Functions::pcdata`].
pub mod pcdata {
    /// May the goroutine be preempted here.
    pub const UNSAFE_POINT: u32 = 0;
    /// Which bitmap of the stack maps holds here.
    pub const STACK_MAP_INDEX: u32 = 1;
    /// Which entry of the inline tree is the innermost call here.
    pub const INLINE_INDEX: u32 = 2;
}

/// Tables of [`Functions::funcdata`].
pub mod funcdata {
    /// Stack maps of the arguments.
    pub const ARGS_POINTER_MAPS: u32 = 0;
    /// Stack maps of the locals.
    pub const LOCALS_POINTER_MAPS: u32 = 1;
    /// Locals whose address is taken.
    pub const STACK_OBJECTS: u32 = 2;
    /// The calls inlined into the function.
    pub const INLINE_TREE: u32 = 3;
}

/// Bits of [`Functions::flags`]: `abi.FuncFlag`.
pub mod flag {
    /// The outermost function of a stack; unwinding ends there.
    pub const TOP_FRAME: u8 = 1;
    /// It writes the stack pointer in a way that no table describes.
    pub const SP_WRITE: u8 = 2;
    /// Written in assembly.
    pub const ASM: u8 = 4;
}

/// One module's tables as its moduledata points at them, copied out of the target.
#[derive(Debug, Clone, Default)]
pub struct Tables {
    /// Where the module's code begins; entries count from there.
    pub text: u64,
    /// Where its first function begins.
    pub min_pc: u64,
    /// Behind its last function.
    pub max_pc: u64,
    /// What the offsets of funcdata count from; an address.
    pub gofunc: u64,
    /// The length of the machine's shortest instruction in bytes: 1 on amd64, 4 on arm64.
    pub quantum: u8,
    /// `funcnametab`: names, each ended by a NUL.
    pub names: Vec<u8>,
    /// `cutab`: per unit, the offsets of its files in `files`; four bytes each.
    pub cutab: Vec<u8>,
    /// `filetab`: file names, each ended by a NUL.
    pub files: Vec<u8>,
    /// `pctab`: the tables that tell a value for a program counter.
    pub pctab: Vec<u8>,
    /// `pclntable`: the functions' records (`runtime._func`).
    pub functions: Vec<u8>,
    /// `ftab`: where each function begins and where its record lies; eight bytes each and one more entry at
    /// the end.
    pub ftab: Vec<u8>,
}

/// One function of one module: its place in `ftab`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FunctionId(u32);

/// The functions of one module. Pure: all of it but the inline tree is in memory here.
///
/// Every accessor answers for every id and pc, however broken the tables are: an empty name, `-1` or zero where
/// there is no answer. A lookup is a binary search and a walk through one function's table, 50 ns to some
/// microseconds: callers that ask for the same pc again and again keep the answer.
#[derive(Debug)]
pub struct Functions {
    tables: Tables,
    by_name: OnceLock<ByName>,
}

/// Ids by the hash of their names; whoever looks up compares the name.
#[derive(Debug)]
struct ByName {
    hasher: RandomState,
    ids: HashMap<u64, FunctionId>,
}

impl Functions {
    /// Takes the tables, once they are seen to be in order.
    ///
    /// # Errors
    /// [`InspectError::Malformed`] when `ftab` has no function or is not ascending, when its ends are not
    /// `min_pc` and `max_pc`, or when the quantum is none. The offset in the error is `ftab`'s.
    pub fn new(tables: Tables) -> Result<Self, InspectError> {
        let malformed = |at: usize, expected| InspectError::Malformed {
            what: "function table",
            offset: at as u64,
            expected,
        };
        if ![1, 2, 4].contains(&tables.quantum) {
            return Err(malformed(0, "an instruction quantum of 1, 2 or 4"));
        }
        let entries = tables.ftab.as_chunks::<8>().0;
        if entries.len() < 2 || u32::try_from(entries.len()).is_err() {
            return Err(malformed(0, "at least one function"));
        }
        let entry = |at: usize| u64::from(le32(&tables.ftab, at * 8));
        if let Some(at) = (1..entries.len()).find(|&at| entry(at) < entry(at - 1)) {
            return Err(malformed(at * 8, "ascending entries"));
        }
        let address = |at: usize| tables.text.checked_add(entry(at));
        if address(0) != Some(tables.min_pc) || address(entries.len() - 1) != Some(tables.max_pc) {
            return Err(malformed(
                0,
                "functions from the module's minpc to its maxpc",
            ));
        }
        Ok(Self {
            tables,
            by_name: OnceLock::new(),
        })
    }

    /// How many functions there are; never zero.
    #[expect(clippy::len_without_is_empty, reason = "there is no empty one")]
    pub fn len(&self) -> usize {
        self.tables.ftab.len() / 8 - 1
    }

    /// Where the module's code begins.
    pub fn text(&self) -> u64 {
        self.tables.text
    }

    /// The length of the machine's shortest instruction in bytes.
    pub fn quantum(&self) -> u8 {
        self.tables.quantum
    }

    /// All functions, by ascending entry.
    pub fn ids(&self) -> impl ExactSizeIterator<Item = FunctionId> + use<> {
        (0..self.len() as u32).map(FunctionId)
    }

    /// The function that `pc` lies in. A return address may lie behind its call's function: pass it less one.
    pub fn find(&self, pc: u64) -> Option<FunctionId> {
        if pc < self.tables.min_pc || pc >= self.tables.max_pc {
            return None;
        }
        let offset = u32::try_from(pc - self.tables.text).ok()?;
        let entries = self.tables.ftab.as_chunks::<8>().0;
        let after = entries.partition_point(|entry| le32(entry, 0) <= offset);
        // `min_pc` is the first entry and `max_pc` the last, so `after` is neither 0 nor past the last function.
        u32::try_from(after.checked_sub(1)?).ok().map(FunctionId)
    }

    /// The function with this name. The first call builds an index: some milliseconds for 100,000 functions.
    pub fn by_name(&self, name: &str) -> Option<FunctionId> {
        let index = self.by_name.get_or_init(|| {
            let hasher = RandomState::new();
            let mut ids = HashMap::with_capacity(self.len());
            for id in self.ids() {
                ids.entry(hasher.hash_one(self.name(id))).or_insert(id);
            }
            ByName { hasher, ids }
        });
        let id = *index.ids.get(&index.hasher.hash_one(name))?;
        (self.name(id) == name).then_some(id)
    }

    /// Where the function begins.
    pub fn entry(&self, id: FunctionId) -> u64 {
        let offset = le32(&self.tables.ftab, id.0 as usize * 8);
        self.tables.text.wrapping_add(offset.into())
    }

    /// Behind its last instruction, alignment included: where the next one begins.
    pub fn end(&self, id: FunctionId) -> u64 {
        self.entry(FunctionId(id.0.saturating_add(1)))
    }

    /// Its whole name: `net/http.(*Server).Serve`, of a generic one with `[...]`.
    pub fn name(&self, id: FunctionId) -> &str {
        self.name_at(self.record_u32(id, 4))
    }

    /// Its arguments' bytes on the stack; negative where unknown.
    pub fn args(&self, id: FunctionId) -> i32 {
        self.record_u32(id, 8) as i32
    }

    /// Where it returns to after its deferred calls, from its entry; zero without deferred calls.
    pub fn deferreturn(&self, id: FunctionId) -> u32 {
        self.record_u32(id, 12)
    }

    /// The line of the word `func`.
    pub fn start_line(&self, id: FunctionId) -> i32 {
        self.record_u32(id, 36) as i32
    }

    /// What the runtime knows it by (`abi.FuncID`); the numbers differ between versions, zero is "none of those".
    pub fn func_id(&self, id: FunctionId) -> u8 {
        self.record_u8(id, 40)
    }

    /// Bits of [`flag`].
    pub fn flags(&self, id: FunctionId) -> u8 {
        self.record_u8(id, 41)
    }

    /// File and line of the instruction at `pc`; those of the innermost inlined call. `("?", 0)` where unknown.
    pub fn file_line(&self, id: FunctionId, pc: u64) -> (&str, u32) {
        let file = self.value(id, self.record_u32(id, 20), pc);
        let line = self.value(id, self.record_u32(id, 24), pc);
        match (u32::try_from(file), u32::try_from(line)) {
            (Ok(file), Ok(line)) => self.file(id, file).map_or(("?", 0), |file| (file, line)),
            _ => ("?", 0),
        }
    }

    /// How far the function has moved the stack pointer at `pc`, in bytes, without the return address that a
    /// call pushes on amd64. `None` for functions without that table (foreign code) and outside it.
    pub fn sp_delta(&self, id: FunctionId, pc: u64) -> Option<u64> {
        u64::try_from(self.value(id, self.record_u32(id, 16), pc)).ok()
    }

    /// The value of table `table` of [`pcdata`] at `pc`; `-1` where there is none.
    pub fn pcdata(&self, id: FunctionId, table: u32, pc: u64) -> i32 {
        if table >= self.record_u32(id, 28) {
            return -1;
        }
        let offset = RECORD_BYTES as u64 + u64::from(table) * 4;
        self.value(id, self.record_u32(id, offset), pc)
    }

    /// The address of the function's table `index` of [`funcdata`].
    pub fn funcdata(&self, id: FunctionId, index: u32) -> Option<u64> {
        if index >= u32::from(self.record_u8(id, 43)) {
            return None;
        }
        let before = u64::from(self.record_u32(id, 28)) + u64::from(index);
        let offset = self.record(id, RECORD_BYTES as u64 + before * 4, 4)?;
        match le32(offset, 0) {
            u32::MAX => None,
            offset => self.tables.gofunc.checked_add(offset.into()),
        }
    }

    fn value(&self, id: FunctionId, table: u32, pc: u64) -> i32 {
        let Some(from_entry) = pc.checked_sub(self.entry(id)) else {
            return -1;
        };
        let pairs_max = self.pairs_max(id);
        pc_value(
            &self.tables.pctab,
            table,
            self.tables.quantum,
            from_entry,
            pairs_max,
        )
    }

    /// How many pairs each of the function's tables may have, which is what one look-up costs at most: every pair
    /// is of some code.
    pub(crate) fn pairs_max(&self, id: FunctionId) -> usize {
        let bytes = self.end(id).saturating_sub(self.entry(id));
        let pairs = bytes / u64::from(self.tables.quantum) + 1;
        usize::try_from(pairs).map_or(PC_TABLE_PAIRS_MAX, |pairs| pairs.min(PC_TABLE_PAIRS_MAX))
    }

    fn file(&self, id: FunctionId, number: u32) -> Option<&str> {
        let at = u64::from(self.record_u32(id, 32)) + u64::from(number);
        let at = usize::try_from(at.checked_mul(4)?).ok()?;
        let offset = self.tables.cutab.get(at..at + 4)?;
        text(&self.tables.files, le32(offset, 0)).filter(|file| !file.is_empty())
    }

    fn name_at(&self, offset: u32) -> &str {
        text(&self.tables.names, offset).unwrap_or("")
    }

    fn record_u32(&self, id: FunctionId, offset: u64) -> u32 {
        self.record(id, offset, 4).map_or(0, |bytes| le32(bytes, 0))
    }

    fn record_u8(&self, id: FunctionId, offset: u64) -> u8 {
        self.record(id, offset, 1).map_or(0, |bytes| bytes[0])
    }

    fn record(&self, id: FunctionId, offset: u64, len: usize) -> Option<&[u8]> {
        if id.0 as usize >= self.len() {
            return None;
        }
        let record = le32(&self.tables.ftab, id.0 as usize * 8 + 4);
        let at = usize::try_from(u64::from(record) + offset).ok()?;
        self.tables.functions.get(at..at.checked_add(len)?)
    }
}

/// The text at `offset` up to its NUL; nothing where it isn't UTF-8 or has no end.
fn text(table: &[u8], offset: u32) -> Option<&str> {
    let rest = table.get(offset as usize..)?;
    let rest = &rest[..rest.len().min(crate::limits::NAME_BYTES_MAX)];
    let end = rest.iter().position(|&byte| byte == 0)?;
    str::from_utf8(&rest[..end]).ok()
}

#[cfg(test)]
pub(crate) mod tests;
