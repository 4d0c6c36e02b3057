//! Structures of the runtime and the standard library whose fields are not what a person wants to read.
//!
//! A map shows as its elements, not as its tables; a `sync.Map`, a `list.List` or a `sync.Pool` likewise. Some
//! pointers have no type in the source and one here: `hchan.buf`, `atomic.Pointer.v`, `sync.Pool.local`.
//! Sources: runtime/map.go and runtime/chan.go of Go 1.21 to 1.27, internal/runtime/maps since 1.24, sync/map.go,
//! internal/sync/hashtriemap.go since 1.24, sync/pool.go, container/list, sync/atomic/type.go, runtime/time.go.

use super::names::type_arguments;
use super::{Field, Kind, Shape, Source, Type, TypeId, Types, descriptor};

/// Fields looked at of a structure that is known to have few.
pub(super) const SMALL: usize = 16;

/// What a structure is, beyond its fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Role {
    /// Nothing more.
    Plain,
    /// Its fields are not shown.
    Hidden,
    /// The header of a map since Go 1.24.
    SwissMap,
    /// The pointers to tables of such a map.
    Directory,
    /// A table of such a map as the runtime's own source has it: of which keys and elements only the map tells.
    BareTable,
    /// What points at the groups of such a map.
    Groups,
    /// The header of a map until Go 1.23.
    OldMap,
    /// Eight keys and elements of either.
    Bucket,
    /// One key and one element.
    Entry,
    /// A channel's header.
    Chan,
    /// `sync/atomic.Pointer[T]`: the pointer is untyped, and a field of no size tells the type.
    AtomicPointer,
    /// `internal/runtime/atomic.Pointer[T]`: only its name tells the type.
    RuntimePointer,
    /// `weak.Pointer[T]`: what it points at does not hold the value.
    Weak,
    /// `internal/sync.indirect[K, V]`, an inner node of a `sync.Map`.
    TrieInner,
    /// `internal/sync.node[K, V]`, which is an inner node or an entry.
    TrieNode,
    /// `container/list` and `container/ring`.
    List,
    /// `sync.Pool`.
    Pool,
    /// Its part for one processor.
    PoolLocal,
    /// `time.Timer` and `time.Ticker` since Go 1.23: the first words of a larger structure.
    UserTimer,
    /// That structure.
    RuntimeTimer,
}

/// How a field shows in a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Show {
    /// `.name`
    Name,
    /// Not at all.
    Nothing,
    /// `[key]`
    Key,
    /// `[*]`
    Elem,
}

impl Role {
    /// By the compiler's name of a structure.
    pub(super) fn of(name: &str) -> Self {
        let name = name.strip_prefix("noalg.").unwrap_or(name);
        for (prefix, role) in [
            ("map<", Self::SwissMap),
            ("table<", Self::Groups),
            ("groupReference<", Self::Groups),
            ("map.group[", Self::Bucket),
            ("hash<", Self::OldMap),
            ("bucket<", Self::Bucket),
            ("map.bucket[", Self::Bucket),
            ("hchan<", Self::Chan),
            ("sync/atomic.Pointer[", Self::AtomicPointer),
            ("internal/runtime/atomic.Pointer[", Self::RuntimePointer),
            ("runtime/internal/atomic.Pointer[", Self::RuntimePointer),
            ("weak.Pointer[", Self::Weak),
            ("internal/sync.HashTrieMap[", Self::Hidden),
            ("internal/sync.indirect[", Self::TrieInner),
            ("internal/sync.node[", Self::TrieNode),
            ("unique.Handle[", Self::Hidden),
        ] {
            if name.starts_with(prefix) {
                return role;
            }
        }
        match name {
            "sync.Map" | "sync.readOnly" | "sync.entry" | "sync/atomic.Value"
            | "runtime.mapextra" | "sync.poolChain" | "sync.poolChainElt" | "sync.poolDequeue" => {
                Self::Hidden
            }
            "container/list.List" | "container/list.Element" | "container/ring.Ring" => Self::List,
            "sync.Pool" => Self::Pool,
            "sync.poolLocal" | "sync.poolLocalInternal" => Self::PoolLocal,
            "time.Timer" | "time.Ticker" => Self::UserTimer,
            "runtime.timeTimer" => Self::RuntimeTimer,
            "internal/runtime/maps.table" => Self::BareTable,
            _ => Self::Plain,
        }
    }

    /// How its field of that name shows.
    pub(super) fn show(self, field: &str) -> Show {
        match (self, field) {
            (Self::Plain | Self::BareTable, _) => Show::Name,
            (Self::Bucket | Self::Entry, "key" | "keys") => Show::Key,
            (Self::Bucket | Self::Entry, "elem" | "elems" | "value" | "values") => Show::Elem,
            (Self::List, "Value") | (Self::PoolLocal, "private") => Show::Elem,
            (Self::Pool, "New") => Show::Name,
            // Until Go 1.22, the runtime's timer was a field of the user's.
            (Self::UserTimer, "r") | (Self::RuntimeTimer, "timer") => Show::Nothing,
            (Self::UserTimer | Self::RuntimeTimer, _) => Show::Name,
            _ => Show::Nothing,
        }
    }

    /// Whether many of them side by side show without `[*]`: their own fields give it.
    pub(super) fn is_quiet(self) -> bool {
        matches!(self, Self::Bucket | Self::Directory | Self::PoolLocal)
    }
}

/// A type made here, of fields that are known by their names.
fn structure(
    types: &mut Types<'_>,
    name: &str,
    size: u64,
    role: Role,
    fields: Vec<Field>,
) -> TypeId {
    types.make(Type {
        name: name.into(),
        size,
        kind: Kind::Struct,
        shape: Shape::Struct(fields.into()),
        role,
    })
}

fn field(name: &str, offset: u64, ty: TypeId) -> Field {
    Field {
        name: name.into(),
        offset,
        ty,
    }
}

/// A channel's header whose buffer has a type.
///
/// `known` is the header in the debug information; without it, the place of the buffer is that of all releases.
pub(super) fn chan_header(types: &mut Types<'_>, known: TypeId, elem: TypeId) -> TypeId {
    const BUF: u64 = 16;
    let buf = types.pointer_to(elem);
    let header = types.get(known);
    let (name, size, fields) = match &header.shape {
        Shape::Struct(fields) => {
            let typed = fields.iter().map(|old| match &*old.name {
                "buf" => field("buf", old.offset, buf),
                _ => old.clone(),
            });
            (header.name.to_string(), header.size, typed.collect())
        }
        _ => {
            let name = format!("chan {}", types.name(elem));
            (name, 96, vec![field("buf", BUF, buf)])
        }
    };
    structure(types, &name, size, Role::Chan, fields)
}

/// A map's header, from the type of its bucket alone.
pub(super) fn map_header(
    types: &mut Types<'_>,
    key: TypeId,
    elem: TypeId,
    bucket: TypeId,
) -> TypeId {
    let is_swiss = match &types.get(bucket).shape {
        Shape::Struct(fields) => fields.iter().any(|field| &*field.name == "ctrl"),
        _ => return types.unknown,
    };
    let name = format!("map[{}]{}", types.name(key), types.name(elem));
    let buckets = types.pointer_to(bucket);
    if !is_swiss {
        let fields = vec![
            field("buckets", 16, buckets),
            field("oldbuckets", 24, buckets),
        ];
        return structure(types, &name, 48, Role::OldMap, fields);
    }
    let fields = vec![field("data", 16, buckets)];
    let table = structure(types, "map table", 32, Role::Groups, fields);
    let table = types.pointer_to(table);
    let directory = types.pointer_to(table);
    let fields = vec![
        field("dirPtr", 16, directory),
        field("dirLen", 24, types.unknown),
    ];
    structure(types, &name, 48, Role::SwissMap, fields)
}

/// What `dirPtr` of a map points at: the directory of many tables, or one group when there is no directory.
pub(super) fn directory(types: &mut Types<'_>, dir_ptr: TypeId) -> Option<(TypeId, TypeId)> {
    let table = pointee(types, dir_ptr)?; // A pointer to a table.
    let groups = pointee(types, table)?;
    let mut at = groups;
    // table.groups.data, or the data right in the table.
    if let Some(inside) = member(types, at, "groups") {
        at = inside;
    }
    let data = member(types, at, "data")?;
    let group = pointee(types, data)?;
    let directory = types.make(Type {
        name: "map directory".into(),
        size: 8,
        kind: Kind::Pointer,
        shape: Shape::Pointer(groups),
        role: Role::Directory,
    });
    Some((directory, group))
}

/// Whether it is a table without the types of its keys and elements, or a pointer to one: what the allocator is told of
/// every map's directory and tables.
pub(super) fn is_bare_table(types: &mut Types<'_>, ty: TypeId) -> bool {
    let table = pointee(types, ty).unwrap_or(ty);
    types.get(table).role == Role::BareTable
}

/// The type of a field of a small structure.
fn member(types: &mut Types<'_>, ty: TypeId, name: &str) -> Option<TypeId> {
    match &types.get(ty).shape {
        Shape::Struct(fields) => {
            let mut fields = fields.iter().take(SMALL);
            Some(fields.find(|field| &*field.name == name)?.ty)
        }
        _ => None,
    }
}

pub(super) fn pointee(types: &mut Types<'_>, pointer: TypeId) -> Option<TypeId> {
    match types.get(pointer).shape {
        Shape::Pointer(target) => Some(target),
        _ => None,
    }
}

/// The target of an `atomic.Pointer[T]`.
pub(super) fn atomic_target(types: &mut Types<'_>, fields: &[Field]) -> Option<TypeId> {
    for field in fields
        .iter()
        .take(SMALL)
        .filter(|field| &*field.name == "_")
    {
        if let Shape::Array { elem, len: 0 } = types.get(field.ty).shape
            && let Some(target) = pointee(types, elem)
        {
            return Some(target);
        }
    }
    None
}

/// The one type argument of a generic type, looked up by its name.
pub(super) fn argument(types: &mut Types<'_>, ty: TypeId, at: usize) -> Option<TypeId> {
    let raw = types.raw_name(ty)?;
    let argument = (*type_arguments(&raw).get(at)?).to_owned();
    types.by_name(&argument)
}

/// An entry of the tree behind `sync.Map`, for keys and values of the types in its inner node's name. The compiler
/// describes only a shape of it: it's written down nowhere but in the functions.
pub(super) fn trie_entry(types: &mut Types<'_>, node: TypeId) -> TypeId {
    const KEY: u64 = 16;
    let key = argument(types, node, 0);
    let value = argument(types, node, 1);
    let mut fields = Vec::new();
    let entry = types.make(Type::unknown());
    let overflow = types.pointer_to(entry);
    fields.push(field("overflow", 8, overflow));
    let mut size = KEY;
    if let Some(key) = key {
        fields.push(field("key", KEY, key));
        let key_bytes = types.size(key);
        if let Some(value) = value {
            let align = alignment(types, value, 0);
            size = KEY.saturating_add(key_bytes).next_multiple_of(align);
            fields.push(field("value", size, value));
            size = size.saturating_add(types.size(value)).next_multiple_of(8);
        }
    }
    types.replace(
        entry,
        Type {
            name: "sync.Map entry".into(),
            size,
            kind: Kind::Struct,
            shape: Shape::Struct(fields.into()),
            role: Role::Entry,
        },
    );
    entry
}

/// `sync.poolLocal`, the same from Go 1.21 to 1.27, for programs without debug information.
pub(super) fn pool_local(types: &mut Types<'_>) -> TypeId {
    let any = types.any;
    let values = Shape::Slice(any);
    let values = types.make(Type::made("[]any", 24, Kind::Slice, values));
    let chunk = types.make(Type::unknown());
    let next = types.pointer_to(chunk);
    let fields = [
        field("vals", 8, values),
        field("next", 32, next),
        field("prev", 40, next),
    ];
    let ty = Type {
        role: Role::Hidden,
        ..Type::made(
            "sync.poolChainElt",
            48,
            Kind::Struct,
            Shape::Struct(fields.into()),
        )
    };
    types.replace(chunk, ty);
    let fields = vec![
        field("private", 0, any),
        field("head", 16, next),
        field("tail", 24, next),
    ];
    structure(types, "sync.poolLocal", 128, Role::PoolLocal, fields)
}

/// `runtime.timeTimer`, for programs without debug information.
pub(super) fn timer(types: &mut Types<'_>) -> Option<TypeId> {
    let (f, size) = match types.from.go_minor {
        23 | 24 => (48, 104),
        25..=27 => (56, 112),
        _ => return None,
    };
    let function = types.make(Type::made("func", 8, Kind::Func, Shape::Func));
    let fields = vec![field("f", f, function), field("arg", f + 8, types.any)];
    Some(structure(
        types,
        "time.Timer",
        size,
        Role::RuntimeTimer,
        fields,
    ))
}

/// Of a value in a structure: 1, 2, 4 or 8.
fn alignment(types: &mut Types<'_>, ty: TypeId, depth: usize) -> u64 {
    let known = types.get(ty);
    match &known.shape {
        _ if depth > super::DEPTH_MAX => 8,
        Shape::Plain => match known.size {
            size @ (1 | 2 | 4) => size,
            _ => 8,
        },
        Shape::Array { elem, .. } => alignment(types, *elem, depth + 1),
        Shape::Struct(fields) => {
            // Of nested structures the first fields tell it, nearly always; bounded, since they may be nested deeply.
            let aligned = fields.iter().take(16);
            let aligned = aligned.map(|field| alignment(types, field.ty, depth + 8));
            aligned.max().unwrap_or(1)
        }
        _ => 8,
    }
}

impl Types<'_> {
    /// The compiler's name of a type.
    fn raw_name(&mut self, ty: TypeId) -> Option<String> {
        match *self.sources.get(ty.0 as usize)? {
            Source::Die(die) => self.from.dwarf_of(die)?.name_of(die),
            Source::Descriptor(addr) => descriptor::raw_name(self, addr),
            Source::Made => None,
        }
    }
}
