//! The types of a Go program, and what the pointers inside their values point at.
//!
//! One model for two sources: debug information ([`Dwarf`]) where the program has it, and the descriptors that
//! every Go program carries for its runtime (`internal/abi.Type`), read from the target's memory. Types are loaded
//! when first asked for, and kept.
//!
//! Start at [`Types::new`]; [`Types::slot`] says what a word points at, [`Types::by_descriptor`] turns the type
//! word of an interface, or of an object's header, into a type.
//!
//! Which words are pointers is not decided here: the collector's own masks tell that, exactly. A wrong name is a
//! nuisance, a missed pointer would be a wrong answer.

mod closure;
mod descriptor;
mod die;
mod names;
mod slot;
mod special;
#[cfg(test)]
mod tests;
mod unnamed;

use std::collections::HashMap;
use std::sync::Arc;

use crate::Program;
use crate::dwarf::{Dwarf, TypeRef};
use crate::memory::Memory;
use crate::program::minor_version;

pub use names::readable;
use slot::Slots;
pub use slot::{Label, Piece, Slot, Words};
use special::Role;

/// Types of one program; the largest known have a tenth of it.
const TYPES_MAX: usize = 1 << 20;
/// Bytes of all names and fields: many types may be made to share the same million fields.
const BYTES_MAX: usize = 256 << 20;
/// Arrays in arrays, structures in structures and names in names that are followed.
const DEPTH_MAX: usize = 32;

/// A type of the program under inspection. Valid for the [`Types`] that gave it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TypeId(u32);

/// What Go's `reflect` calls a type's kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// Not known, or not a type of Go.
    Unknown,
    /// `bool`.
    Bool,
    /// Integers of every size, signed or not.
    Integer,
    /// Floating-point and complex numbers.
    Float,
    /// An array.
    Array,
    /// A channel.
    Chan,
    /// A function.
    Func,
    /// An interface.
    Interface,
    /// A map.
    Map,
    /// A pointer.
    Pointer,
    /// A slice.
    Slice,
    /// A string.
    String,
    /// A structure.
    Struct,
    /// `unsafe.Pointer`.
    UnsafePointer,
}

impl Kind {
    /// From the number in a descriptor or in debug information.
    pub(crate) fn of(number: u8) -> Self {
        match number {
            1 => Self::Bool,
            2..=12 => Self::Integer,
            13..=16 => Self::Float,
            17 => Self::Array,
            18 => Self::Chan,
            19 => Self::Func,
            20 => Self::Interface,
            21 => Self::Map,
            22 => Self::Pointer,
            23 => Self::Slice,
            24 => Self::String,
            25 => Self::Struct,
            26 => Self::UnsafePointer,
            _ => Self::Unknown,
        }
    }
}

/// One field of a structure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    /// As in the source.
    pub name: Box<str>,
    /// Bytes from the structure's start.
    pub offset: u64,
    /// Its type.
    pub ty: TypeId,
}

/// What a type is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Shape {
    /// No pointers, or none that are known.
    Plain,
    /// A pointer whose target's type is not told.
    UnsafePointer,
    /// A pointer to one value.
    Pointer(TypeId),
    /// Address, length, capacity.
    Slice(TypeId),
    /// Address and length of bytes.
    String,
    /// So many values side by side.
    Array {
        /// Each of this type.
        elem: TypeId,
        /// How many.
        len: u64,
    },
    /// Fields sorted by offset.
    Struct(Arc<[Field]>),
    /// A pointer to the map's header.
    Map {
        /// The keys' type.
        key: TypeId,
        /// The elements' type.
        elem: TypeId,
        /// What the pointer points at.
        header: TypeId,
    },
    /// A pointer to the channel's header.
    Chan {
        /// What goes through it.
        elem: TypeId,
        /// What the pointer points at.
        header: TypeId,
    },
    /// A pointer to a closure's object, whose first word is the function.
    Func,
    /// Two words: a type or a table of methods, and the value or its address.
    Interface {
        /// Without methods: the first word is the type itself.
        empty: bool,
    },
}

/// One type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Type {
    /// As people write it: `map[string]*main.Session`.
    pub name: Box<str>,
    /// Bytes of one value.
    pub size: u64,
    /// Its kind.
    pub kind: Kind,
    /// What it is made of.
    pub shape: Shape,
    /// Whether the runtime or the standard library gives its fields another meaning.
    role: Role,
}

impl Type {
    fn unknown() -> Self {
        Self::made("?", 0, Kind::Unknown, Shape::Plain)
    }

    fn made(name: &str, size: u64, kind: Kind, shape: Shape) -> Self {
        Self {
            name: name.into(),
            size,
            kind,
            shape,
            role: Role::Plain,
        }
    }
}

/// Where a type comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Source {
    Die(TypeRef),
    Descriptor(u64),
    /// Made here; nothing to load.
    Made,
}

/// The type descriptors of one module: addresses as they are in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Descriptors {
    /// `moduledata.types`.
    pub start: u64,
    /// `moduledata.etypes`.
    pub end: u64,
}

/// The debug information of a plugin.
#[derive(Debug, Clone, Copy)]
pub struct PluginSource<'a> {
    /// What its file has.
    pub dwarf: &'a Dwarf,
    /// What must be added to an address in it.
    pub bias: u64,
    /// Its code: start and end.
    pub text: (u64, u64),
}

/// What [`Types`] reads from.
pub struct Sources<'a> {
    /// The target's memory.
    pub memory: &'a dyn Memory,
    /// Debug information of the executable, where it has any.
    pub dwarf: Option<&'a Dwarf>,
    /// What must be added to an address of the debug information.
    pub bias: u64,
    /// Debug information of plugins.
    pub plugins: Vec<PluginSource<'a>>,
    /// Of each module, the executable's first.
    pub modules: Vec<Descriptors>,
    /// 27 of Go 1.27; zero where not known.
    pub go_minor: u32,
    /// The name of the function that begins at this address, if one does.
    pub function: Box<dyn Fn(u64) -> Option<String> + 'a>,
}

impl<'a> Sources<'a> {
    /// What a program offers.
    pub fn of(program: &'a Program) -> Self {
        let modules = program.modules().iter();
        let plugins = program.plugins().iter().filter_map(|plugin| {
            Some(PluginSource {
                dwarf: plugin.dwarf()?,
                bias: plugin.mapped.bias,
                text: plugin.text,
            })
        });
        let function = |pc| {
            let functions = program.functions_of(pc)?;
            let id = functions.find(pc)?;
            (functions.entry(id) == pc).then(|| functions.name(id).to_owned())
        };
        Self {
            memory: program.memory(),
            dwarf: program.dwarf(),
            bias: program.bias(),
            plugins: plugins.collect(),
            modules: modules
                .map(|module| Descriptors {
                    start: module.types,
                    end: module.etypes,
                })
                .collect(),
            go_minor: minor_version(program.go_version()).unwrap_or(0),
            function: Box::new(function),
        }
    }

    /// All debug information, the executable's first.
    fn dwarfs(&self) -> impl Iterator<Item = &'a Dwarf> {
        let plugins = self.plugins.iter().map(|plugin| plugin.dwarf);
        self.dwarf.into_iter().chain(plugins)
    }

    /// That with this type.
    fn dwarf_of(&self, ty: TypeRef) -> Option<&'a Dwarf> {
        self.dwarfs().find(|dwarf| dwarf.has(ty))
    }

    /// That of the module with this code, and what must be added to an address in it.
    fn dwarf_at(&self, pc: u64) -> Option<(&'a Dwarf, u64)> {
        let mut plugins = self.plugins.iter();
        match plugins.find(|plugin| (plugin.text.0..plugin.text.1).contains(&pc)) {
            Some(plugin) => Some((plugin.dwarf, plugin.bias)),
            None => Some((self.dwarf?, self.bias)),
        }
    }
}

/// The types of one program.
pub struct Types<'a> {
    from: Sources<'a>,
    sources: Vec<Source>,
    loaded: Vec<Option<Arc<Type>>>,
    ids: HashMap<Source, TypeId>,
    descriptors: HashMap<u64, Option<TypeId>>,
    itabs: HashMap<u64, Option<TypeId>>,
    closures: HashMap<u64, Option<TypeId>>,
    tries: HashMap<TypeId, TypeId>,
    slots: Slots,
    /// Bytes that names and fields may still take.
    budget: usize,
    /// Types that are being loaded, each for the one before.
    depth: usize,
    unknown: TypeId,
    bytes: TypeId,
    any: TypeId,
    weak: TypeId,
}

impl std::fmt::Debug for Types<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Types")
            .field("types", &self.loaded.len())
            .finish_non_exhaustive()
    }
}

impl<'a> Types<'a> {
    /// No type loaded yet; reads nothing.
    pub fn new(from: Sources<'a>) -> Self {
        let unknown = TypeId(0);
        let mut types = Self {
            from,
            sources: Vec::new(),
            loaded: Vec::new(),
            ids: HashMap::new(),
            descriptors: HashMap::new(),
            itabs: HashMap::new(),
            closures: HashMap::new(),
            tries: HashMap::new(),
            slots: Slots::default(),
            budget: BYTES_MAX,
            depth: 0,
            unknown,
            bytes: unknown,
            any: unknown,
            weak: unknown,
        };
        types.make(Type::unknown());
        types.bytes = types.make(Type::made("string data", 1, Kind::Integer, Shape::Plain));
        let any = Shape::Interface { empty: true };
        types.any = types.make(Type::made("any", 16, Kind::Interface, any));
        types.weak = types.make(Type::made("weak handle", 8, Kind::Integer, Shape::Plain));
        types
    }

    /// The type of a place in the debug information; typedefs lead to what they name.
    pub fn by_die(&mut self, die: TypeRef) -> TypeId {
        let Some(dwarf) = self.from.dwarf_of(die) else {
            return self.unknown;
        };
        self.id(Source::Die(dwarf.canonical(die)))
    }

    /// The type whose descriptor lies at `addr`; `None` when there is none.
    ///
    /// By debug information where the descriptor is one of the executable's own, else by the descriptor.
    pub fn by_descriptor(&mut self, addr: u64) -> Option<TypeId> {
        if let Some(&known) = self.descriptors.get(&addr) {
            return known;
        }
        let found = self.find_descriptor(addr);
        if self.descriptors.len() < TYPES_MAX {
            self.descriptors.insert(addr, found);
        }
        found
    }

    fn find_descriptor(&mut self, addr: u64) -> Option<TypeId> {
        let header = descriptor::Header::read(self.from.memory, addr)?;
        if let Some(die) = self.die_of_descriptor(addr) {
            let id = self.by_die(die);
            // The two must be about the same thing.
            if self.get(id).size == header.size {
                return Some(id);
            }
        }
        Some(self.id(Source::Descriptor(addr)))
    }

    fn die_of_descriptor(&self, addr: u64) -> Option<TypeRef> {
        let first = self.from.modules.first()?;
        let inside = (first.start..first.end).contains(&addr);
        inside.then_some(())?;
        self.from.dwarf?.type_of_descriptor(addr - first.start)
    }

    /// The type of that name, as the compiler writes it; known only from debug information.
    pub fn by_name(&mut self, name: &str) -> Option<TypeId> {
        if name == "interface {}" || name == "any" {
            return Some(self.any);
        }
        let die = self
            .from
            .dwarfs()
            .find_map(|dwarf| dwarf.type_named(name))?;
        Some(self.by_die(die))
    }

    /// A type, loaded if it was not yet.
    pub fn get(&mut self, id: TypeId) -> Arc<Type> {
        let at = id.0 as usize;
        match self.loaded.get(at) {
            Some(Some(ty)) => return Arc::clone(ty),
            None => return Arc::new(Type::unknown()),
            Some(None) => {}
        }
        if self.depth >= DEPTH_MAX || self.budget == 0 {
            return Arc::new(Type::unknown());
        }
        // Whoever asks for it while it is being loaded gets the unknown type: a type may contain its own name.
        self.loaded[at] = Some(Arc::new(Type::unknown()));
        self.depth += 1;
        let ty = match self.sources[at] {
            Source::Die(die) => die::load(self, die),
            Source::Descriptor(addr) => descriptor::load(self, addr),
            Source::Made => None,
        };
        self.depth -= 1;
        let ty = ty.filter(|ty| self.spend(size_of::<Type>() + ty.name.len()));
        let ty = Arc::new(ty.unwrap_or_else(Type::unknown));
        self.loaded[at] = Some(Arc::clone(&ty));
        ty
    }

    /// The size of one value in bytes; zero when it is not known.
    pub fn size(&mut self, id: TypeId) -> u64 {
        match self.loaded.get(id.0 as usize) {
            Some(Some(ty)) => ty.size,
            _ => self.get(id).size,
        }
    }

    /// The name as people write it.
    pub fn name(&mut self, id: TypeId) -> Box<str> {
        self.get(id).name.clone()
    }

    /// Takes from the bytes that names and fields may have; false when they are used up, for good.
    fn spend(&mut self, bytes: usize) -> bool {
        let left = self.budget.checked_sub(bytes);
        self.budget = left.unwrap_or(0);
        left.is_some()
    }

    /// How many types have been met so far.
    pub fn len(&self) -> usize {
        self.loaded.len()
    }

    /// Never: some types are always there.
    pub fn is_empty(&self) -> bool {
        self.loaded.is_empty()
    }

    fn id(&mut self, source: Source) -> TypeId {
        if let Some(&id) = self.ids.get(&source) {
            return id;
        }
        let id = self.push(source, None);
        if id != self.unknown {
            self.ids.insert(source, id);
        }
        id
    }

    fn make(&mut self, ty: Type) -> TypeId {
        self.push(Source::Made, Some(Arc::new(ty)))
    }

    fn replace(&mut self, id: TypeId, ty: Type) {
        if let Some(loaded) = self
            .loaded
            .get_mut(id.0 as usize)
            .filter(|_| id != self.unknown)
        {
            *loaded = Some(Arc::new(ty));
        }
    }

    /// A new type, or the unknown one when there are too many.
    fn push(&mut self, source: Source, ty: Option<Arc<Type>>) -> TypeId {
        if self.loaded.len() >= TYPES_MAX {
            return self.unknown;
        }
        let id = TypeId(self.loaded.len() as u32); // Below TYPES_MAX.
        self.sources.push(source);
        self.loaded.push(ty);
        id
    }

    /// A pointer to `ty`.
    fn pointer_to(&mut self, ty: TypeId) -> TypeId {
        self.make(Type::made("*", 8, Kind::Pointer, Shape::Pointer(ty)))
    }
}
