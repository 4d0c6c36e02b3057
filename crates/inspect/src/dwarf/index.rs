//! Where in `.debug_info` the entry of a name lies.

use gimli::{Abbreviation, AttributeValue};

use super::entry::{
    ATTRIBUTES_MAX, GO_CLOSURE_OFFSET, GO_RUNTIME_TYPE, TypeTag, entry_pc, location, number, string,
};
use super::{Dwarf, NAME_BYTES_MAX, Unit};

/// Entries of equal hash that are looked at: a program made to have more of them gets no answer.
const SAME_HASH_MAX: usize = 64;

/// Types, variables, constants or functions that are indexed; the largest known programs have a tenth of it.
const PLACES_MAX: usize = 1 << 22;

/// Places sorted by the hash of their names, by address and by descriptor.
#[derive(Debug, Default)]
pub(super) struct Index {
    types: Vec<(u32, u32)>,
    constants: Vec<(u32, u32)>,
    variables: Vec<(u32, u32)>,
    by_addr: Vec<(u64, u32)>,
    by_descriptor: Vec<(u32, u32)>,
    closures: Vec<(u64, u32)>,
    functions: Vec<(u64, u32)>,
}

impl Index {
    /// Of the units chosen: types, and what [`Self::all`] has.
    pub(super) fn types(dwarf: &Dwarf, chosen: impl Fn(&Unit) -> bool) -> Self {
        let mut index = Self::default();
        for unit in dwarf.units.iter().filter(|unit| chosen(unit)) {
            index.scan(dwarf, unit, true);
        }
        index.sort();
        index
    }

    /// Of every unit: variables, constants, functions and closures. Those of the units `chosen` before are taken from
    /// `first`, since to read a unit is what costs.
    pub(super) fn all(dwarf: &Dwarf, first: &Self, chosen: impl Fn(&Unit) -> bool) -> Self {
        let mut index = Self {
            types: Vec::new(),
            by_descriptor: Vec::new(),
            constants: first.constants.clone(),
            variables: first.variables.clone(),
            by_addr: first.by_addr.clone(),
            closures: first.closures.clone(),
            functions: first.functions.clone(),
        };
        for unit in dwarf.units.iter().filter(|unit| !chosen(unit)) {
            index.scan(dwarf, unit, false);
        }
        index.sort();
        index
    }

    pub(super) fn types_named(&self, name: &str) -> impl Iterator<Item = u32> {
        named(&self.types, name)
    }

    pub(super) fn constants_named(&self, name: &str) -> impl Iterator<Item = u32> {
        named(&self.constants, name)
    }

    pub(super) fn variables_named(&self, name: &str) -> impl Iterator<Item = u32> {
        named(&self.variables, name)
    }

    pub(super) fn variables_by_addr(&self) -> impl Iterator<Item = u32> {
        self.by_addr.iter().map(|&(_, die)| die)
    }

    pub(super) fn type_of_descriptor(&self, offset: u64) -> Option<u32> {
        find(&self.by_descriptor, u32::try_from(offset).ok()?)
    }

    pub(super) fn closure_at(&self, pc: u64) -> Option<u32> {
        find(&self.closures, pc)
    }

    pub(super) fn function_at(&self, pc: u64) -> Option<u32> {
        find(&self.functions, pc)
    }

    pub(super) fn functions(&self) -> impl Iterator<Item = u64> {
        self.functions.iter().map(|&(pc, _)| pc)
    }

    pub(super) fn counts(&self) -> (usize, usize, usize) {
        (self.types.len(), self.by_addr.len(), self.closures.len())
    }

    fn sort(&mut self) {
        let pairs = [
            &mut self.types,
            &mut self.constants,
            &mut self.variables,
            &mut self.by_descriptor,
        ];
        for pairs in pairs {
            pairs.sort_unstable();
            pairs.shrink_to_fit();
        }
        for pairs in [&mut self.by_addr, &mut self.closures, &mut self.functions] {
            pairs.sort_unstable();
            // A closure has one function, and a function many captured variables.
            pairs.dedup();
            pairs.shrink_to_fit();
        }
    }

    /// Notes what a unit holds, with its types or without; up to its first malformed entry.
    fn scan(&mut self, dwarf: &Dwarf, unit: &Unit, with_types: bool) {
        let mut function = None;
        let (mut work, work_max) = (0, 1024 + 4 * (unit.end - unit.start) as usize);
        let Some(mut entries) = dwarf.entries(unit, None) else {
            return;
        };
        while !entries.is_empty() {
            let (at, depth) = (entries.next_offset().0 as u32, entries.next_depth());
            let at = unit.start.saturating_add(at);
            let abbreviation = match entries.read_abbreviation() {
                Ok(Some(abbreviation)) => abbreviation,
                Ok(None) => continue,
                Err(_) => return,
            };
            // Attributes may take no bytes: the cost must stay within that of the unit's length.
            work += 1 + abbreviation.attributes().len();
            if abbreviation.attributes().len() > ATTRIBUTES_MAX || work > work_max {
                return;
            }
            let tag = abbreviation.tag();
            if depth == 1 {
                function = (tag == gimli::DW_TAG_subprogram).then_some(at);
            }
            let global = depth == 1
                && (matches!(tag, gimli::DW_TAG_variable | gimli::DW_TAG_constant)
                    || (with_types && TypeTag::of(tag).is_some())
                    || tag == gimli::DW_TAG_subprogram);
            if global {
                let Some(()) = self.note(dwarf, unit, at, abbreviation, &mut entries) else {
                    return;
                };
                continue;
            }
            let captured = matches!(tag, gimli::DW_TAG_variable | gimli::DW_TAG_formal_parameter)
                && has(abbreviation, GO_CLOSURE_OFFSET);
            if let Some(die) = function.filter(|_| captured) {
                function = None;
                let pc = entry_pc(dwarf, die);
                self.closures.extend(pc.map(|pc| (pc, die)));
            }
            if entries.skip_attributes(abbreviation.attributes()).is_err() {
                return;
            }
        }
    }

    /// Notes a type, variable, constant or function. `None` when its attributes cannot be read.
    fn note(
        &mut self,
        dwarf: &Dwarf,
        unit: &Unit,
        at: u32,
        abbreviation: &Abbreviation,
        entries: &mut gimli::EntriesRaw<'_, super::Slice<'_>>,
    ) -> Option<()> {
        let (mut hash, mut addr, mut descriptor, mut entry) = (None, None, None, None);
        for &attribute in abbreviation.attributes() {
            let attribute = entries.read_attribute(attribute).ok()?;
            match (attribute.name(), attribute.value()) {
                (gimli::DW_AT_name, value) => {
                    hash = string(value).map(hash_of);
                }
                (gimli::DW_AT_location, value) => addr = location(dwarf, unit, value),
                (gimli::DW_AT_low_pc, value) => entry = number(dwarf, unit, value),
                (GO_RUNTIME_TYPE, AttributeValue::Addr(offset)) => {
                    descriptor = u32::try_from(offset).ok().filter(|&offset| offset > 0);
                }
                _ => {}
            }
        }
        let counts = [
            self.types.len(),
            self.by_addr.len(),
            self.constants.len(),
            self.functions.len(),
        ];
        if counts.into_iter().any(|count| count >= PLACES_MAX) {
            return None;
        }
        if abbreviation.tag() == gimli::DW_TAG_subprogram {
            // One without code is only inlined, and one inlined elsewhere has its name there.
            self.functions
                .extend(entry.filter(|&pc| pc != 0).map(|pc| (pc, at)));
            return Some(());
        }
        let Some(hash) = hash else { return Some(()) };
        match abbreviation.tag() {
            gimli::DW_TAG_constant => self.constants.push((hash, at)),
            gimli::DW_TAG_variable => {
                if let Some(addr) = addr.filter(|&addr| addr != 0) {
                    self.variables.push((hash, at));
                    self.by_addr.push((addr, at));
                }
            }
            _ => {
                self.types.push((hash, at));
                self.by_descriptor
                    .extend(descriptor.map(|offset| (offset, at)));
            }
        }
        Some(())
    }
}

fn has(abbreviation: &Abbreviation, name: gimli::DwAt) -> bool {
    let mut attributes = abbreviation.attributes().iter();
    attributes.any(|attribute| attribute.name() == name)
}

fn find<K: Ord + Copy>(pairs: &[(K, u32)], key: K) -> Option<u32> {
    let at = pairs.partition_point(|pair| pair.0 < key);
    pairs
        .get(at)
        .filter(|pair| pair.0 == key)
        .map(|pair| pair.1)
}

fn named(pairs: &[(u32, u32)], name: &str) -> impl Iterator<Item = u32> {
    let hash = hash_of(name.as_bytes());
    let at = pairs.partition_point(|pair| pair.0 < hash);
    let same = pairs[at..].iter().take_while(move |pair| pair.0 == hash);
    same.take(SAME_HASH_MAX).map(|pair| pair.1)
}

/// FNV-1a, of what is read of a name.
fn hash_of(name: &[u8]) -> u32 {
    let name = &name[..name.len().min(NAME_BYTES_MAX)];
    name.iter().fold(0x811c_9dc5, |hash, &byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    })
}
