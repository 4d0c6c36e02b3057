//! The runtime's `moduledata`: where code, types, data and the function table of one linked module lie.
//!
//! A program has one; each plugin it has opened adds one, linked by `next`.

use std::sync::OnceLock;

use crate::InspectError;
use crate::functions::{Functions, Tables};
use crate::layout::Layout;
use crate::limits;
use crate::memory::{Memory, le64};

/// One linked module of a running program. Addresses are the process's own.
#[derive(Debug)]
pub struct Module {
    /// Where this structure itself lies.
    pub addr: u64,
    /// Code.
    pub text: u64,
    /// Code's end.
    pub etext: u64,
    /// Type descriptors.
    pub types: u64,
    /// Their end.
    pub etypes: u64,
    /// Read-only data.
    pub rodata: u64,
    /// What the function table's `funcdata` offsets count from.
    pub gofunc: u64,
    /// Initialised variables that may hold pointers: start and end.
    pub data: (u64, u64),
    /// Zeroed variables that may hold pointers: start and end.
    pub bss: (u64, u64),
    /// The mask of `data`: its address and its length in bits, one a word.
    pub data_mask: (u64, u64),
    /// The mask of `bss`.
    pub bss_mask: (u64, u64),
    pc_range: (u64, u64),
    tables: TableRanges,
    functions: OnceLock<Result<Functions, String>>,
}

/// Address and count of entries of each table of functions.
#[derive(Debug, Clone, Copy)]
struct TableRanges {
    names: (u64, u64),
    cutab: (u64, u64),
    files: (u64, u64),
    pctab: (u64, u64),
    functions: (u64, u64),
    ftab: (u64, u64),
    quantum: u8,
}

impl Module {
    /// Reads the `moduledata` at `addr` and the address of the next one; zero ends the list.
    pub(crate) fn read(
        memory: &dyn Memory,
        layout: &Layout,
        addr: u64,
    ) -> Result<(Self, u64), InspectError> {
        let len = layout.size("moduledata")?;
        let bytes = memory.bytes("moduledata", addr, len, limits::STRUCTURE_BYTES_MAX)?;
        let word = |name: &str| Ok::<u64, InspectError>(layout.field(name)?.get(&bytes));
        let pair = |name: &str| {
            let at = layout.field(name)?.offset as usize;
            Ok::<_, InspectError>((le64(&bytes, at), le64(&bytes, at + 8)))
        };
        let header = memory.bytes("function table", word("moduledata.pcHeader")?, 8, 8)?;
        // A mask is a bitvector: an int32 count and, after padding, the address.
        let mask = |name| pair(name).map(|(bits, addr)| (addr, bits & 0xffff_ffff));
        let module = Self {
            addr,
            text: word("moduledata.text")?,
            etext: word("moduledata.etext")?,
            types: word("moduledata.types")?,
            etypes: word("moduledata.etypes")?,
            rodata: word("moduledata.rodata")?,
            gofunc: word("moduledata.gofunc")?,
            data: (word("moduledata.data")?, word("moduledata.edata")?),
            bss: (word("moduledata.bss")?, word("moduledata.ebss")?),
            data_mask: mask("moduledata.gcdatamask")?,
            bss_mask: mask("moduledata.gcbssmask")?,
            pc_range: (word("moduledata.minpc")?, word("moduledata.maxpc")?),
            tables: TableRanges {
                names: pair("moduledata.funcnametab")?,
                cutab: pair("moduledata.cutab")?,
                files: pair("moduledata.filetab")?,
                pctab: pair("moduledata.pctab")?,
                functions: pair("moduledata.pclntable")?,
                ftab: pair("moduledata.ftab")?,
                quantum: header[6],
            },
            functions: OnceLock::new(),
        };
        module.check(&header)?;
        Ok((module, word("moduledata.next")?))
    }

    /// What must hold of any moduledata, so that a wrong layout or address is refused.
    fn check(&self, header: &[u8]) -> Result<(), InspectError> {
        let ordered = |pair: (u64, u64)| pair.0 <= pair.1 && pair.1 - pair.0 < 1 << 40;
        let words = |range: (u64, u64)| (range.1.saturating_sub(range.0)) / 8;
        // The mask may cover a last word that the range only begins.
        let covers = |mask: (u64, u64), range| mask.1 <= words(range) + 1;
        let good = header.starts_with(&[0xf1, 0xff, 0xff, 0xff, 0, 0])
            && self.text != 0
            && ordered((self.text, self.etext))
            && ordered((self.types, self.etypes))
            && ordered(self.data)
            && ordered(self.bss)
            && ordered(self.pc_range)
            && self.pc_range.0 >= self.text
            && covers(self.data_mask, self.data)
            && covers(self.bss_mask, self.bss)
            && self.tables.ftab.1 >= 2
            && self.tables.ftab.1 <= limits::FUNCTIONS_MAX;
        good.then_some(()).ok_or(InspectError::Contradiction {
            what: "a module's description",
            addr: self.addr,
        })
    }

    /// Whether this code address is the module's.
    pub fn has_pc(&self, pc: u64) -> bool {
        (self.pc_range.0..self.pc_range.1).contains(&pc)
    }

    /// Whether this address is one of the module's type descriptors.
    pub fn has_type(&self, addr: u64) -> bool {
        (self.types..self.etypes).contains(&addr)
    }

    /// The table of functions, copied from the target on first use: about a fifth of the executable's size.
    ///
    /// # Errors
    /// When it can't be read, or contradicts itself.
    pub fn functions(&self, memory: &dyn Memory) -> Result<&Functions, InspectError> {
        let read = self.functions.get_or_init(|| {
            self.read_functions(memory)
                .map_err(|error| error.to_string())
        });
        // The first error stays: the table doesn't change while a program runs.
        read.as_ref().map_err(|_| InspectError::Contradiction {
            what: "the table of functions",
            addr: self.tables.ftab.0,
        })
    }

    fn read_functions(&self, memory: &dyn Memory) -> Result<Functions, InspectError> {
        let max = limits::FUNCTION_TABLE_BYTES_MAX;
        let read = |(addr, count): (u64, u64), bytes: u64| {
            let len = count.saturating_mul(bytes);
            memory.bytes("the table of functions", addr, len, max)
        };
        Functions::new(Tables {
            text: self.text,
            min_pc: self.pc_range.0,
            max_pc: self.pc_range.1,
            gofunc: self.gofunc,
            quantum: self.tables.quantum,
            names: read(self.tables.names, 1)?,
            cutab: read(self.tables.cutab, 4)?,
            files: read(self.tables.files, 1)?,
            pctab: read(self.tables.pctab, 1)?,
            functions: read(self.tables.functions, 1)?,
            ftab: read(self.tables.ftab, 8)?,
        })
    }
}
