//! Local variables: which of a function's lies in a slot of its frame at a program counter.
//!
//! The compiler tells a variable's place as one expression, or as a list of them for ranges of code: in DWARF 4
//! (`.debug_loc`, `.debug_ranges`), since Go 1.25 in DWARF 5 (`.debug_loclists`, `.debug_rnglists`). A slot counts from
//! the canonical frame address, the stack pointer of the caller; Go has no other frame base. Inlined calls have their
//! variables in the frame of the function that they are inlined into.

use std::sync::atomic::{AtomicU64, Ordering};

use gimli::{
    AttributeValue, DebugAddr, DebugAddrBase, DebugLoc, DebugLocLists, DebugRanges, DebugRngLists,
    Encoding, Expression, LittleEndian, LocationLists, Operation, RangeLists,
};

use super::entry::At;
use super::sections::section;
use super::{Dwarf, Slice, TypeRef, Unit};
use crate::InspectError;
use crate::elf::Elf;
use crate::read::ReadAt;

/// Variables that one slot may belong to, as far as the debug information tells.
const CANDIDATES_MAX: usize = 8;
/// Entries, ranges and operations looked at for all questions together. A function has some hundred.
const STEPS_MAX: u64 = 1 << 26;

/// Where a word of a frame lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FrameSlot {
    /// So many bytes from the canonical frame address.
    Frame(i64),
    /// In the register of that number.
    Register(u16),
}

/// A local variable or parameter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Local {
    /// As in the source.
    pub name: String,
    /// Its type; of one that was moved to the heap, a pointer to it.
    pub ty: Option<TypeRef>,
    /// Bytes from its start to the slot.
    pub offset: u64,
    /// The function that it belongs to, where that is inlined into the one asked for.
    pub inlined: Option<String>,
}

/// Where functions keep their variables.
#[derive(Debug)]
pub struct Frames {
    loc: Vec<u8>,
    loclists: Vec<u8>,
    ranges: Vec<u8>,
    rnglists: Vec<u8>,
    steps_left: AtomicU64,
}

/// A block of the source or an inlined call, while what it contains is read.
struct Scope {
    depth: isize,
    /// The code address lies in it.
    holds: bool,
    /// The function, of an inlined call.
    inlined: Option<TypeRef>,
}

/// One question.
struct Asked<'a> {
    frames: &'a Frames,
    pc: u64,
    slot: FrameSlot,
    /// Of the unit that the function is in.
    encoding: Encoding,
}

impl Frames {
    /// Reads the lists of places of the same file that a [`Dwarf`] was read from. They may be empty.
    ///
    /// Costs their uncompressed size in memory, about as much as `.debug_info`.
    ///
    /// # Errors
    /// When they cannot be read or uncompressed.
    pub fn read<R: ReadAt + ?Sized>(reader: &R) -> Result<Self, InspectError> {
        let elf = Elf::read(reader)?;
        let lists = |name, what| section(reader, &elf, name, what);
        Ok(Self {
            loc: lists("loc", ".debug_loc")?,
            loclists: lists("loclists", ".debug_loclists")?,
            ranges: lists("ranges", ".debug_ranges")?,
            rnglists: lists("rnglists", ".debug_rnglists")?,
            steps_left: AtomicU64::new(STEPS_MAX),
        })
    }

    /// The variables that may lie in `slot` of the frame of the function that begins at `entry_pc`, while `pc` is
    /// executed: the likeliest first. Link-time addresses. Empty for a value that the source
    /// has no name for.
    ///
    /// Reads the function's entries anew: ask once for each place.
    pub fn locals(&self, dwarf: &Dwarf, entry_pc: u64, pc: u64, slot: FrameSlot) -> Vec<Local> {
        let found = dwarf.all().function_at(entry_pc);
        let found = found.and_then(|die| self.candidates(dwarf, die, pc, slot));
        found.unwrap_or_default()
    }

    fn candidates<'d>(
        &'d self,
        dwarf: &'d Dwarf,
        die: u32,
        pc: u64,
        slot: FrameSlot,
    ) -> Option<Vec<Local>> {
        let mut found = Vec::new();
        let asked = Asked {
            frames: self,
            pc,
            slot,
            encoding: dwarf.header(dwarf.unit_at(die)?)?.encoding(),
        };
        self.each(dwarf, die, pc, |at, inlined| {
            let origin = at.ty(gimli::DW_AT_abstract_origin);
            let origin = origin.and_then(|origin| At::read(dwarf, origin.die));
            let told = origin.as_ref().unwrap_or(at);
            let (name, ty) = (told.name(), told.ty(gimli::DW_AT_type));
            if let Some(offset) = asked.offset(at, ty)
                && is_of_source(&name)
                && found.len() < CANDIDATES_MAX
            {
                let inlined = inlined.and_then(|die| dwarf.name_of(die));
                found.push(Local {
                    name,
                    ty,
                    offset,
                    inlined,
                });
            }
        });
        // Inner blocks come later and hide outer ones.
        found.reverse();
        found.sort_by_key(|local| local.name.contains('.'));
        for local in &mut found {
            self.whole(dwarf, die, pc, local);
        }
        Some(found)
    }

    /// `buf.ptr` is a part of `buf` that has a slot of its own.
    fn whole(&self, dwarf: &Dwarf, die: u32, pc: u64, local: &mut Local) {
        if let Some((name, part)) = local.name.split_once('.') {
            let offset = match part {
                "ptr" | "itab" | "type" => 0,
                "data" => 8,
                _ => return,
            };
            let name = name.to_owned();
            self.each(dwarf, die, pc, |at, _| {
                if at.name() == name {
                    (local.ty, local.offset) = (at.ty(gimli::DW_AT_type), offset);
                }
            });
            local.name = name;
        }
        // One that was moved to the heap has its address in the slot.
        if local.name.starts_with('&') {
            local.name.remove(0);
        }
    }

    /// Shows the function's variables and parameters whose scope has `pc`, each with the inlined call that it is of.
    fn each<'d>(
        &self,
        dwarf: &'d Dwarf,
        die: u32,
        pc: u64,
        mut show: impl FnMut(&At<'d>, Option<TypeRef>),
    ) {
        let Some((mut at, mut entries)) = At::start(dwarf, die).filter(|(at, _)| at.has_children())
        else {
            return;
        };
        let mut scopes: Vec<Scope> = Vec::new();
        loop {
            let depth = entries.next_depth();
            if depth <= 0 || entries.is_empty() || !self.may_go_on() {
                return;
            }
            if !at.entry.next(&mut entries) {
                continue;
            }
            while scopes.last().is_some_and(|scope| scope.depth >= depth) {
                scopes.pop();
            }
            let above = scopes.last();
            let (holds, inlined) = above.map_or((true, None), |above| (above.holds, above.inlined));
            let is_call = at.is(gimli::DW_TAG_inlined_subroutine);
            if is_call || at.is(gimli::DW_TAG_lexical_block) {
                let origin = at.ty(gimli::DW_AT_abstract_origin).filter(|_| is_call);
                scopes.push(Scope {
                    depth,
                    holds: holds && self.holds(&at, pc),
                    inlined: origin.or(inlined),
                });
            } else if holds
                && (at.is(gimli::DW_TAG_variable) || at.is(gimli::DW_TAG_formal_parameter))
            {
                show(&at, inlined);
            }
        }
    }

    /// Whether the block or call at `at` has the code at `pc`.
    fn holds(&self, at: &At<'_>, pc: u64) -> bool {
        if let Some(low) = at.number(gimli::DW_AT_low_pc) {
            let high = match at.entry.value(gimli::DW_AT_high_pc) {
                Some(AttributeValue::Addr(high)) => high,
                Some(value) => low.saturating_add(value.udata_value().unwrap_or(0)),
                None => low,
            };
            return (low..high).contains(&pc);
        }
        match at.entry.value(gimli::DW_AT_ranges) {
            Some(AttributeValue::RangeListsRef(list)) => {
                let list = gimli::RangeListsOffset(list.0);
                self.in_ranges(at, list, pc).unwrap_or(false)
            }
            _ => true,
        }
    }

    fn in_ranges(
        &self,
        at: &At<'_>,
        list: gimli::RangeListsOffset<usize>,
        pc: u64,
    ) -> Option<bool> {
        let lists = RangeLists::new(
            DebugRanges::new(&self.ranges, LittleEndian),
            DebugRngLists::new(&self.rnglists, LittleEndian),
        );
        let (dwarf, unit) = (at.dwarf, at.unit);
        let encoding = dwarf.header(unit)?.encoding();
        let (addr, base) = addresses(dwarf, unit);
        let mut ranges = lists
            .ranges(list, encoding, unit.low_pc, &addr, base)
            .ok()?;
        while self.may_go_on()
            && let Some(range) = ranges.next_raw().ok()?
        {
            // Some entries only tell what the next ones count from.
            if let Some(range) = ranges.convert_raw(range).ok()?
                && (range.begin..range.end).contains(&pc)
            {
                return Some(true);
            }
        }
        Some(false)
    }

    fn may_go_on(&self) -> bool {
        let less = |left: u64| left.checked_sub(1);
        self.steps_left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, less)
            .is_ok()
    }
}

impl<'d> Asked<'d> {
    /// How far behind the start of the variable at `at` the slot lies, if it lies in it.
    fn offset(&self, at: &At<'d>, ty: Option<TypeRef>) -> Option<u64> {
        let expression = match at.entry.value(gimli::DW_AT_location)? {
            AttributeValue::Exprloc(expression) => expression,
            AttributeValue::Block(bytes) => Expression(bytes),
            AttributeValue::LocationListsRef(list) => self.listed(at, list)?,
            _ => return None,
        };
        let bytes = || {
            let size = ty.and_then(|ty| at.dwarf.size_of(ty));
            size.unwrap_or(8).max(8)
        };
        self.offset_in(expression, bytes)
    }

    /// The place that a list has for this code address.
    fn listed(
        &self,
        at: &At<'d>,
        list: gimli::LocationListsOffset<usize>,
    ) -> Option<Expression<Slice<'d>>> {
        let lists = LocationLists::new(
            DebugLoc::new(&self.frames.loc, LittleEndian),
            DebugLocLists::new(&self.frames.loclists, LittleEndian),
        );
        let (addr, base) = addresses(at.dwarf, at.unit);
        let low_pc = at.unit.low_pc;
        let lists = lists.locations(list, self.encoding, low_pc, &addr, base);
        let mut places = lists.ok()?;
        while self.frames.may_go_on()
            && let Some(place) = places.next_raw().ok()?
        {
            if let Some(place) = places.convert_raw(place).ok()?
                && (place.range.begin..place.range.end).contains(&self.pc)
            {
                return Some(place.data);
            }
        }
        None
    }

    /// The same by one expression: a slot, or pieces that lie in slots, in registers or nowhere.
    fn offset_in(&self, expression: Expression<Slice<'_>>, bytes: impl Fn() -> u64) -> Option<u64> {
        let inside = |start: FrameSlot, bytes: u64| match (self.slot, start) {
            (FrameSlot::Frame(slot), FrameSlot::Frame(start)) => {
                let offset = u64::try_from(slot.checked_sub(start)?).ok()?;
                (offset < bytes).then_some(offset)
            }
            (slot, start) => (slot == start).then_some(0),
        };
        let (mut start, mut before, mut is_pieced) = (None, 0u64, false);
        let mut operations = expression.operations(self.encoding);
        while self.frames.may_go_on()
            && let Some(operation) = operations.next().ok()?
        {
            match operation {
                Operation::CallFrameCFA => start = Some(FrameSlot::Frame(0)),
                Operation::FrameOffset { offset } => start = Some(FrameSlot::Frame(offset)),
                Operation::Register { register } => start = Some(FrameSlot::Register(register.0)),
                Operation::Piece { size_in_bits, .. } => {
                    let bytes = size_in_bits / 8;
                    if let Some(offset) = start.and_then(|start| inside(start, bytes)) {
                        return before.checked_add(offset);
                    }
                    before = before.checked_add(bytes)?;
                    (start, is_pieced) = (None, true);
                }
                _ => start = None,
            }
        }
        let start = start.filter(|_| !is_pieced)?;
        inside(start, bytes())
    }
}

/// Results without a name, and what the compiler made for itself.
fn is_of_source(name: &str) -> bool {
    !name.is_empty() && !name.starts_with(['~', '.'])
}

fn addresses<'d>(dwarf: &'d Dwarf, unit: &Unit) -> (DebugAddr<Slice<'d>>, DebugAddrBase<usize>) {
    let addr = DebugAddr::from(Slice::new(&dwarf.sections.addr, LittleEndian));
    let base = usize::try_from(unit.addr_base).unwrap_or(usize::MAX);
    (addr, DebugAddrBase(base))
}
