//! Single entries: a type with its members, a variable, a constant, what a closure captured.

use gimli::{Attribute, AttributeValue, DwAt, DwTag, EntriesRaw};

use super::{Dwarf, NAME_BYTES_MAX, Slice, TypeRef, Unit, Variable};

const GO_KIND: DwAt = DwAt(0x2900);
const GO_KEY: DwAt = DwAt(0x2901);
const GO_ELEM: DwAt = DwAt(0x2902);
const GO_EMBEDDED: DwAt = DwAt(0x2903);
pub(super) const GO_RUNTIME_TYPE: DwAt = DwAt(0x2904);
pub(super) const GO_CLOSURE_OFFSET: DwAt = DwAt(0x2907);

/// Attributes of one entry; Go's have at most a dozen.
pub(super) const ATTRIBUTES_MAX: usize = 32;
/// Fields of one structure; generated ones have thousands.
const MEMBERS_MAX: usize = 1 << 16;
/// Variables that one closure captured.
const CAPTURES_MAX: usize = 1024;
/// Entries looked at below one function.
const ENTRIES_MAX: usize = 1 << 20;

/// What kind of entry describes a type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TypeTag {
    /// Numbers and booleans.
    Base,
    /// A pointer, with or without a known target.
    Pointer,
    /// A structure; strings, slices and interfaces are structures with a Go kind.
    Structure,
    /// An array.
    Array,
    /// A name for another type; maps, channels and functions are typedefs with a Go kind.
    Typedef,
    /// A function.
    Function,
    /// Nothing is said of it (`unsafe.Pointer`'s target).
    Unspecified,
}

impl TypeTag {
    pub(super) fn of(tag: DwTag) -> Option<Self> {
        Some(match tag {
            gimli::DW_TAG_base_type => Self::Base,
            gimli::DW_TAG_pointer_type => Self::Pointer,
            gimli::DW_TAG_structure_type => Self::Structure,
            gimli::DW_TAG_array_type => Self::Array,
            gimli::DW_TAG_typedef => Self::Typedef,
            gimli::DW_TAG_subroutine_type => Self::Function,
            gimli::DW_TAG_unspecified_type => Self::Unspecified,
            _ => return None,
        })
    }
}

/// One field of a structure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// As in the source; an embedded field has its type's name.
    pub name: String,
    /// Bytes from the structure's start.
    pub offset: u64,
    /// Its type.
    pub ty: Option<TypeRef>,
    /// Embedded: its fields can be named without it.
    pub embedded: bool,
}

/// A type as the debug information describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TypeEntry {
    /// The kind of entry.
    pub tag: TypeTag,
    /// With its package's path, as the compiler writes it.
    pub name: String,
    /// Bytes; zero where not told (typedefs, pointers).
    pub size: u64,
    /// Go's `reflect.Kind`; zero where not told.
    pub kind: u8,
    /// What a pointer points at, an array consists of, or a typedef names.
    pub ty: Option<TypeRef>,
    /// The key's type of a map.
    pub key: Option<TypeRef>,
    /// The element's type of a map, slice or channel.
    pub elem: Option<TypeRef>,
    /// Elements of an array.
    pub count: u64,
    /// Fields of a structure in the order of the source.
    pub members: Vec<Member>,
    /// Where its descriptor lies, from the first descriptor on; zero when it has none.
    pub descriptor: u64,
}

/// A variable that a closure keeps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Capture {
    /// As in the source, with `&` before it when the closure keeps its address.
    pub name: String,
    /// Bytes from the start of the closure's object.
    pub offset: u64,
    /// Its type; of a variable captured by reference, a pointer to it.
    pub ty: Option<TypeRef>,
}

/// The text of an attribute, cut to what is read of a name.
pub(super) fn string<'a>(value: AttributeValue<Slice<'a>>) -> Option<&'a [u8]> {
    let AttributeValue::String(bytes) = value else {
        return None;
    };
    let bytes = bytes.slice();
    Some(&bytes[..bytes.len().min(NAME_BYTES_MAX)])
}

/// A number in any of the forms that it may have.
pub(super) fn number(dwarf: &Dwarf, unit: &Unit, value: AttributeValue<Slice<'_>>) -> Option<u64> {
    match value {
        AttributeValue::Addr(addr) => Some(addr),
        AttributeValue::DebugAddrIndex(index) => dwarf.address(unit, index.0),
        AttributeValue::Sdata(value) => Some(value as u64),
        AttributeValue::Flag(flag) => Some(flag.into()),
        value => value.udata_value(),
    }
}

fn type_ref(dwarf: &Dwarf, unit: &Unit, value: AttributeValue<Slice<'_>>) -> Option<TypeRef> {
    let at = match value {
        AttributeValue::DebugInfoRef(offset) => u32::try_from(offset.0).ok()?,
        AttributeValue::UnitRef(offset) => unit.start.checked_add(u32::try_from(offset.0).ok()?)?,
        _ => return None,
    };
    Some(dwarf.type_at(at))
}

/// One entry's attributes.
#[derive(Default)]
pub(super) struct Entry<'a> {
    tag: Option<DwTag>,
    has_children: bool,
    attributes: Vec<Attribute<Slice<'a>>>,
}

impl<'a> Entry<'a> {
    /// Reads the next entry. False at the end of a list of children, and where there is none that can be read.
    pub(super) fn next(&mut self, entries: &mut EntriesRaw<'_, Slice<'a>>) -> bool {
        self.tag = None;
        self.attributes.clear();
        let Ok(Some(abbreviation)) = entries.read_abbreviation() else {
            return false;
        };
        // Attributes may take no bytes: an entry of one byte must not cost thousands of them.
        let attributes = abbreviation.attributes();
        if attributes.len() > ATTRIBUTES_MAX
            || entries
                .read_attributes(attributes, &mut self.attributes)
                .is_err()
        {
            return false;
        }
        self.tag = Some(abbreviation.tag());
        self.has_children = abbreviation.has_children();
        true
    }

    pub(super) fn value(&self, name: DwAt) -> Option<AttributeValue<Slice<'a>>> {
        let mut attributes = self.attributes.iter();
        let found = attributes.find(|attribute| attribute.name() == name)?;
        Some(found.value())
    }
}

/// An entry with the means to understand its attributes.
pub(super) struct At<'a> {
    pub(super) dwarf: &'a Dwarf,
    pub(super) unit: &'a Unit,
    pub(super) entry: Entry<'a>,
}

impl<'a> At<'a> {
    pub(super) fn read(dwarf: &'a Dwarf, die: u32) -> Option<Self> {
        let (at, _) = Self::start(dwarf, die)?;
        Some(at)
    }

    /// The entry at `die`, and those behind it.
    pub(super) fn start(dwarf: &'a Dwarf, die: u32) -> Option<(Self, EntriesRaw<'a, Slice<'a>>)> {
        let unit = dwarf.unit_at(die)?;
        let mut entries = dwarf.entries(unit, Some(die))?;
        let mut entry = Entry::default();
        entry.next(&mut entries).then_some(())?;
        Some((Self { dwarf, unit, entry }, entries))
    }

    pub(super) fn has_children(&self) -> bool {
        self.entry.has_children
    }

    pub(super) fn is(&self, tag: DwTag) -> bool {
        self.entry.tag == Some(tag)
    }

    fn kind(&self) -> Option<TypeTag> {
        TypeTag::of(self.entry.tag?)
    }

    pub(super) fn number(&self, name: DwAt) -> Option<u64> {
        number(self.dwarf, self.unit, self.entry.value(name)?)
    }

    pub(super) fn ty(&self, name: DwAt) -> Option<TypeRef> {
        type_ref(self.dwarf, self.unit, self.entry.value(name)?)
    }

    fn bytes(&self) -> Option<&'a [u8]> {
        string(self.entry.value(gimli::DW_AT_name)?)
    }

    pub(super) fn name(&self) -> String {
        let bytes = self.bytes().unwrap_or_default();
        String::from_utf8_lossy(bytes).into_owned()
    }
}

pub(super) fn name(dwarf: &Dwarf, die: u32) -> Option<String> {
    Some(At::read(dwarf, die)?.name())
}

pub(super) fn name_is(dwarf: &Dwarf, die: u32, name: &str) -> bool {
    At::read(dwarf, die).and_then(|at| at.bytes()) == Some(name.as_bytes())
}

/// What a typedef names; `None` for every other entry.
pub(super) fn typedef(dwarf: &Dwarf, die: u32) -> Option<TypeRef> {
    let at = At::read(dwarf, die)?;
    at.is(gimli::DW_TAG_typedef).then_some(())?;
    at.ty(gimli::DW_AT_type)
}

/// What a typedef without a kind of its own names: another type of the same name.
pub(super) fn unnamed(dwarf: &Dwarf, die: u32) -> Option<TypeRef> {
    let at = At::read(dwarf, die)?;
    let is_plain = at.is(gimli::DW_TAG_typedef) && at.number(GO_KIND).unwrap_or(0) == 0;
    is_plain.then_some(())?;
    at.ty(gimli::DW_AT_type)
}

pub(super) fn size(dwarf: &Dwarf, die: u32) -> Option<u64> {
    let at = At::read(dwarf, die)?;
    match at.kind()? {
        // Go tells no size for pointers, and for functions that of their code pointer.
        TypeTag::Pointer | TypeTag::Function => Some(8),
        TypeTag::Typedef => None,
        _ => at.number(gimli::DW_AT_byte_size),
    }
}

pub(super) fn constant(dwarf: &Dwarf, die: u32, name: &str) -> Option<u64> {
    let at = At::read(dwarf, die)?;
    (at.bytes() == Some(name.as_bytes())).then_some(())?;
    at.number(gimli::DW_AT_const_value)
}

pub(super) fn variable(dwarf: &Dwarf, die: u32) -> Option<Variable> {
    let at = At::read(dwarf, die)?;
    Some(Variable {
        name: at.name(),
        addr: location(dwarf, at.unit, at.entry.value(gimli::DW_AT_location)?)?,
        ty: at.ty(gimli::DW_AT_type),
    })
}

/// The address of a global variable: the one operation of its location.
pub(super) fn location(
    dwarf: &Dwarf,
    unit: &Unit,
    value: AttributeValue<Slice<'_>>,
) -> Option<u64> {
    let bytes = match value {
        AttributeValue::Exprloc(expression) => expression.0.slice(),
        AttributeValue::Block(bytes) => bytes.slice(),
        _ => return None,
    };
    let (operation, rest) = bytes.split_first()?;
    match gimli::DwOp(*operation) {
        gimli::DW_OP_addr => Some(u64::from_le_bytes(*rest.first_chunk::<8>()?)),
        gimli::DW_OP_addrx => {
            let mut rest = Slice::new(rest, gimli::LittleEndian);
            let index = gimli::Reader::read_uleb128(&mut rest).ok()?;
            dwarf.address(unit, usize::try_from(index).ok()?)
        }
        _ => None,
    }
}

/// The address of a function's first instruction.
pub(super) fn entry_pc(dwarf: &Dwarf, die: u32) -> Option<u64> {
    At::read(dwarf, die)?
        .number(gimli::DW_AT_low_pc)
        .filter(|&pc| pc != 0)
}

/// The type at that place with its members.
pub(super) fn read(dwarf: &Dwarf, die: u32) -> Option<TypeEntry> {
    let (mut at, mut entries) = At::start(dwarf, die)?;
    let mut ty = TypeEntry {
        tag: at.kind()?,
        name: at.name(),
        size: at.number(gimli::DW_AT_byte_size).unwrap_or(0),
        kind: at.number(GO_KIND).unwrap_or(0) as u8 & 31,
        ty: at.ty(gimli::DW_AT_type),
        key: at.ty(GO_KEY),
        elem: at.ty(GO_ELEM),
        count: 0,
        members: Vec::new(),
        descriptor: at.number(GO_RUNTIME_TYPE).unwrap_or(0),
    };
    // A function's children are its parameters, of no use here. Those of other types have none of their own.
    if !at.entry.has_children || ty.tag == TypeTag::Function {
        return Some(ty);
    }
    while ty.members.len() < MEMBERS_MAX && at.entry.next(&mut entries) {
        if at.is(gimli::DW_TAG_member) {
            ty.members.push(Member {
                name: at.name(),
                offset: at.number(gimli::DW_AT_data_member_location).unwrap_or(0),
                ty: at.ty(gimli::DW_AT_type),
                embedded: at.number(GO_EMBEDDED).unwrap_or(0) != 0,
            });
        } else if at.is(gimli::DW_TAG_subrange_type) {
            let upper = || Some(at.number(gimli::DW_AT_upper_bound)?.saturating_add(1));
            ty.count = at.number(gimli::DW_AT_count).or_else(upper).unwrap_or(0);
        }
    }
    Some(ty)
}

/// The captured variables of the function at that place, by their offsets.
pub(super) fn captures(dwarf: &Dwarf, die: u32) -> Vec<Capture> {
    let mut captures = Vec::new();
    let Some((mut at, mut entries)) = At::start(dwarf, die) else {
        return captures;
    };
    for _ in 0..ENTRIES_MAX {
        if entries.next_depth() <= 0 || entries.is_empty() || captures.len() >= CAPTURES_MAX {
            break;
        }
        at.entry.next(&mut entries);
        if let Some(offset) = at.number(GO_CLOSURE_OFFSET) {
            captures.push(Capture {
                name: at.name(),
                offset,
                ty: at.ty(gimli::DW_AT_type),
            });
        }
    }
    captures.sort_by_key(|capture| capture.offset);
    captures
}
