//! Debug information as Go's linker writes it: types, global variables, constants, captured variables.
//!
//! DWARF 4 up to Go 1.24, DWARF 5 since; both are read alike. The types of the whole program lie in the unit of
//! the package `runtime`, so reading indexes that unit alone; the variables of other packages, functions and closures
//! are indexed when first asked for. An index holds hashes of names and places in `.debug_info`, never the names:
//! a program of 100 MB costs its uncompressed `.debug_info` and a few MB.
//!
//! Attributes of Go's own: `DW_AT_go_kind` 0x2900, `DW_AT_go_key` 0x2901, `DW_AT_go_elem` 0x2902,
//! `DW_AT_go_embedded_field` 0x2903, `DW_AT_go_runtime_type` 0x2904 (an offset from the first type descriptor),
//! `DW_AT_go_closure_offset` 0x2907 (since Go 1.23). Source: cmd/internal/dwarf of Go.

mod entry;
mod index;
mod locals;
mod sections;

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use gimli::{Abbreviations, EndianSlice, LittleEndian};

use crate::InspectError;
use crate::elf::Elf;
use crate::read::ReadAt;

use entry::Entry;
pub use entry::{Capture, Member, TypeEntry, TypeTag};
use index::Index;
pub use locals::{FrameSlot, Frames, Local};
use sections::Sections;

type Slice<'a> = EndianSlice<'a, LittleEndian>;

/// Bytes of a name that are read; anonymous structures carry all their fields in theirs.
pub const NAME_BYTES_MAX: usize = 16 << 10;
/// Typedefs followed, and structures inside structures on the path of a field.
const DEPTH_MAX: usize = 64;
/// Units of one program: one for each package, and for each file of C.
const UNITS_MAX: usize = 1 << 17;
/// Different tables of abbreviations: Go has one, each file of C its own.
const ABBREVIATION_TABLES_MAX: usize = 4096;
/// Bytes of one table of abbreviations: Go's has 400.
const ABBREVIATION_TABLE_BYTES_MAX: usize = 64 << 10;

/// `DW_LANG_Go`.
const LANGUAGE_GO: u64 = 0x16;

/// A place in a `.debug_info`: where the entry of a type begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TypeRef {
    die: u32,
    /// [`Dwarf::numbered`].
    file: u16,
}

/// A global variable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Variable {
    /// With its package's path: `main.sessions`.
    pub name: String,
    /// Where the linker put it; the load bias is not in it.
    pub addr: u64,
    /// Its type, where told.
    pub ty: Option<TypeRef>,
}

/// The debug information of a program.
pub struct Dwarf {
    sections: Sections,
    units: Vec<Unit>,
    tables: Vec<Arc<Abbreviations>>,
    /// Types, and the variables, constants, functions and closures of the package `runtime`.
    first: Index,
    /// Variables, constants, functions and closures of every package.
    all: OnceLock<Index>,
    /// Tells its types from those of other files.
    number: u16,
}

/// One unit that Go's compiler wrote.
#[derive(Debug, Clone, Copy)]
struct Unit {
    start: u32,
    end: u32,
    table: u16,
    addr_base: u64,
    /// What the ranges of DWARF 4 count from.
    low_pc: u64,
    is_runtime: bool,
}

impl std::fmt::Debug for Dwarf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Dwarf")
            .field("info_bytes", &self.sections.info.len())
            .field("units", &self.units.len())
            .finish_non_exhaustive()
    }
}

impl Dwarf {
    /// Reads the debug information of an ELF file; `None` when it has none, or none of Go.
    ///
    /// Costs the uncompressed `.debug_info` in memory, and one pass over the types.
    ///
    /// # Errors
    /// When the file cannot be read, or a debug section cannot be uncompressed. What is malformed inside the debug
    /// information is left out instead.
    pub fn read<R: ReadAt + ?Sized>(reader: &R) -> Result<Option<Self>, InspectError> {
        let elf = Elf::read(reader)?;
        if !elf.is_64 {
            return Ok(None);
        }
        let Some(sections) = Sections::read(reader, &elf)? else {
            return Ok(None);
        };
        Ok(Self::new(sections))
    }

    fn new(sections: Sections) -> Option<Self> {
        let (units, tables) = read_units(&sections);
        if units.is_empty() {
            return None;
        }
        let mut dwarf = Self {
            sections,
            units,
            tables,
            first: Index::default(),
            all: OnceLock::new(),
            number: 0,
        };
        let chosen = dwarf.may_hold_types();
        dwarf.first = Index::types(&dwarf, chosen);
        Some(dwarf)
    }

    /// Gives its types a number, so that they are told from those of other files of one program. It is zero else.
    pub(crate) fn numbered(mut self, number: u16) -> Self {
        self.number = number;
        self
    }

    /// Whether it is one of its types.
    pub(crate) fn has(&self, ty: TypeRef) -> bool {
        ty.file == self.number
    }

    fn type_at(&self, die: u32) -> TypeRef {
        TypeRef {
            die,
            file: self.number,
        }
    }

    /// Where a field lies in a structure, and its size, both in bytes.
    ///
    /// `path` may lead through nested structures (`stack.lo`); typedefs are followed. A last `.value` may be
    /// absent, since the runtime wraps some numbers in atomics in some versions.
    pub fn field(&self, type_name: &str, path: &str) -> Option<(u64, u64)> {
        let ty = self.type_named(type_name)?;
        let found = self.field_at(ty, path);
        found.or_else(|| self.field_at(ty, path.strip_suffix(".value")?))
    }

    fn field_at(&self, ty: TypeRef, path: &str) -> Option<(u64, u64)> {
        let (mut ty, mut offset) = (ty, 0u64);
        for name in path.split('.').take(DEPTH_MAX) {
            let entry = self.entry(self.resolve(ty))?;
            let member = entry
                .members
                .into_iter()
                .find(|member| member.name == name)?;
            offset = offset.checked_add(member.offset)?;
            ty = member.ty?;
        }
        Some((offset, self.size_of(ty)?))
    }

    /// The size of a type in bytes.
    pub fn size(&self, type_name: &str) -> Option<u64> {
        self.size_of(self.type_named(type_name)?)
    }

    /// The value of a constant, as `runtime._KindSpecialProfile`. Negative ones are in two's complement.
    pub fn constant(&self, name: &str) -> Option<u64> {
        let find = |index: &Index| {
            let mut found = index.constants_named(name);
            found.find_map(|die| entry::constant(self, die, name))
        };
        find(&self.first).or_else(|| find(self.all()))
    }

    /// The global variable of that name.
    pub fn variable(&self, name: &str) -> Option<Variable> {
        let find = |index: &Index| {
            let mut found = index.variables_named(name);
            let found = found.find_map(|die| entry::variable(self, die));
            found.filter(|variable| variable.name == name)
        };
        find(&self.first).or_else(|| find(self.all()))
    }

    /// Every global variable of every package, sorted by address. Reads each name: ask once.
    pub fn variables(&self) -> impl Iterator<Item = Variable> {
        let sorted = self.all().variables_by_addr();
        sorted.filter_map(|die| entry::variable(self, die))
    }

    /// Types with that name: the first, where several packages of one name have one each.
    pub fn type_named(&self, name: &str) -> Option<TypeRef> {
        let mut found = self.first.types_named(name);
        found
            .find(|&die| entry::name_is(self, die, name))
            .map(|die| self.type_at(die))
    }

    /// The type whose descriptor lies `offset` bytes behind the first descriptor of the program (`moduledata.types`).
    pub fn type_of_descriptor(&self, offset: u64) -> Option<TypeRef> {
        let die = self.first.type_of_descriptor(offset)?;
        Some(self.type_at(die))
    }

    /// What the closure with this entry keeps, by offset in its object; link-time address. Empty for a function
    /// without captured variables, and for programs built before Go 1.23.
    pub fn captures(&self, entry_pc: u64) -> Vec<Capture> {
        let function = self.all().closure_at(entry_pc);
        function.map_or_else(Vec::new, |die| entry::captures(self, die))
    }

    /// Where functions begin, sorted; link-time addresses.
    pub fn functions(&self) -> impl Iterator<Item = u64> {
        self.all().functions()
    }

    /// How many types, variables and functions with captured variables there are.
    pub fn counts(&self) -> (usize, usize, usize) {
        let (_, variables, closures) = self.all().counts();
        (self.first.counts().0, variables, closures)
    }

    /// What is known of a type. `None` when there is no type at that place, or it is one of another file.
    pub fn entry(&self, ty: TypeRef) -> Option<TypeEntry> {
        self.has(ty).then_some(())?;
        entry::read(self, ty.die)
    }

    /// The name of a type alone, typedefs kept: cheaper than [`Dwarf::entry`].
    pub fn name_of(&self, ty: TypeRef) -> Option<String> {
        self.has(ty).then_some(())?;
        entry::name(self, ty.die)
    }

    /// Follows typedefs. A cycle of them ends somewhere in it.
    pub fn resolve(&self, ty: TypeRef) -> TypeRef {
        self.follow(ty, entry::typedef)
    }

    /// Follows typedefs up to the entry that has a Go kind: every named type has a typedef around it, and a map, a
    /// channel or an interface is a typedef itself.
    pub fn canonical(&self, ty: TypeRef) -> TypeRef {
        self.follow(ty, entry::unnamed)
    }

    fn follow(&self, ty: TypeRef, next: impl Fn(&Self, u32) -> Option<TypeRef>) -> TypeRef {
        let mut at = ty;
        if !self.has(ty) {
            return ty;
        }
        for _ in 0..DEPTH_MAX {
            match next(self, at.die) {
                Some(next) if next != at => at = next,
                _ => break,
            }
        }
        at
    }

    /// The size of a type in bytes; typedefs are followed.
    pub fn size_of(&self, ty: TypeRef) -> Option<u64> {
        self.has(ty).then_some(())?;
        entry::size(self, self.resolve(ty).die)
    }

    /// Indexes variables and functions now, and not when first asked for them.
    pub(crate) fn index(&self) {
        self.all();
    }

    fn all(&self) -> &Index {
        let all = || Index::all(self, &self.first, self.may_hold_types());
        self.all.get_or_init(all)
    }

    /// Which units may hold types. A program without a unit of the name `runtime` was made by a linker that we don't
    /// know: then each may.
    fn may_hold_types(&self) -> impl Fn(&Unit) -> bool + use<> {
        let any = !self.units.iter().any(|unit| unit.is_runtime);
        move |unit| any || unit.is_runtime
    }

    /// The unit around a place in `.debug_info`.
    fn unit_at(&self, die: u32) -> Option<&Unit> {
        let after = self.units.partition_point(|unit| unit.start <= die);
        let unit = self.units.get(after.checked_sub(1)?)?;
        (die < unit.end).then_some(unit)
    }

    fn header(&self, unit: &Unit) -> Option<gimli::UnitHeader<Slice<'_>>> {
        let info = gimli::DebugInfo::new(&self.sections.info, LittleEndian);
        let offset = gimli::DebugInfoOffset(unit.start as usize);
        info.header_from_offset(offset).ok()
    }

    /// The entries of `unit` from `die` on, or all of them.
    fn entries(&self, unit: &Unit, die: Option<u32>) -> Option<gimli::EntriesRaw<'_, Slice<'_>>> {
        let table = self.tables.get(usize::from(unit.table))?;
        let offset = match die {
            Some(die) => Some(gimli::UnitOffset(die.checked_sub(unit.start)? as usize)),
            None => None,
        };
        self.header(unit)?.entries_raw(table, offset).ok()
    }

    fn address(&self, unit: &Unit, index: usize) -> Option<u64> {
        let at = (index as u64).checked_mul(8)?.checked_add(unit.addr_base)?;
        let at = usize::try_from(at).ok()?;
        let word = self.sections.addr.get(at..)?.first_chunk::<8>()?;
        Some(u64::from_le_bytes(*word))
    }
}

/// The units of Go, in the order of their places, with their tables of abbreviations.
fn read_units(sections: &Sections) -> (Vec<Unit>, Vec<Arc<Abbreviations>>) {
    let info = gimli::DebugInfo::new(&sections.info, LittleEndian);
    let (mut units, mut tables) = (Vec::new(), Vec::new());
    let mut table_at: HashMap<usize, Option<u16>> = HashMap::new();
    let mut headers = info.units();
    // A unit whose header is broken ends the list: there is no way to tell where the next begins.
    for _ in 0..UNITS_MAX {
        let Ok(Some(header)) = headers.next() else {
            break;
        };
        let at = header.debug_abbrev_offset().0;
        let table = match table_at.get(&at) {
            Some(&table) => table,
            None if tables.len() < ABBREVIATION_TABLES_MAX => {
                let table = read_table(&sections.abbrev, at).map(|table| {
                    tables.push(Arc::new(table));
                    (tables.len() - 1) as u16 // Below ABBREVIATION_TABLES_MAX.
                });
                table_at.insert(at, table);
                table
            }
            None => None,
        };
        let Some(table) = table else { continue };
        if let Some(unit) = read_unit(&header, table, &tables[usize::from(table)]) {
            units.push(unit);
        }
    }
    (units, tables)
}

fn read_table(abbrev: &[u8], at: usize) -> Option<Abbreviations> {
    let rest = abbrev.get(at..)?;
    let rest = &rest[..rest.len().min(ABBREVIATION_TABLE_BYTES_MAX)];
    let section = gimli::DebugAbbrev::new(rest, LittleEndian);
    section.abbreviations(gimli::DebugAbbrevOffset(0)).ok()
}

/// What the first entry of a unit says, if it is one of Go and of 64-bit addresses.
fn read_unit(
    header: &gimli::UnitHeader<Slice<'_>>,
    table: u16,
    abbreviations: &Abbreviations,
) -> Option<Unit> {
    if header.address_size() != 8 {
        return None;
    }
    let start = header.debug_info_offset()?.0;
    let end = start.checked_add(header.length_including_self())?;
    let mut entries = header.entries_raw(abbreviations, None).ok()?;
    let mut root = Entry::default();
    root.next(&mut entries).then_some(())?;
    let language = root.value(gimli::DW_AT_language)?;
    let is_go = match language {
        gimli::AttributeValue::Language(language) => u64::from(language.0) == LANGUAGE_GO,
        _ => false,
    };
    if !is_go {
        return None;
    }
    let name = root.value(gimli::DW_AT_name);
    let name = name.and_then(entry::string);
    let addr_base = match root.value(gimli::DW_AT_addr_base) {
        Some(gimli::AttributeValue::DebugAddrBase(base)) => base.0 as u64,
        _ => 8, // Behind the header of the section, where there is one.
    };
    let low_pc = match root.value(gimli::DW_AT_low_pc) {
        Some(gimli::AttributeValue::Addr(addr)) => addr,
        _ => 0,
    };
    Some(Unit {
        start: u32::try_from(start).ok()?,
        end: u32::try_from(end).ok()?,
        table,
        addr_base,
        low_pc,
        is_runtime: name == Some(b"runtime"),
    })
}
