//! Types from debug information.

use super::special::Role;
use super::{Field, Kind, Shape, Type, TypeId, Types, readable};
use crate::dwarf::{Dwarf, Member, TypeEntry, TypeRef, TypeTag};

/// Bytes of an array's or structure's element that the debug information does not tell: a pointer's.
const WORD: u64 = 8;

pub(super) fn load(types: &mut Types<'_>, die: TypeRef) -> Option<Type> {
    let dwarf = types.from.dwarf_of(die)?;
    let entry = dwarf.entry(die)?;
    let (kind, shape) = shape(types, dwarf, &entry);
    let size = match &shape {
        Shape::Interface { .. } => 2 * WORD,
        Shape::Pointer(_) | Shape::UnsafePointer | Shape::Func => WORD,
        Shape::Map { .. } | Shape::Chan { .. } => WORD,
        _ => entry.size,
    };
    Some(Type {
        name: readable(&entry.name).into(),
        size,
        kind,
        role: match shape {
            Shape::Struct(_) => Role::of(&entry.name),
            _ => Role::Plain,
        },
        shape,
    })
}

fn shape(types: &mut Types<'_>, dwarf: &Dwarf, entry: &TypeEntry) -> (Kind, Shape) {
    let kind = Kind::of(entry.kind);
    let mut id = |ty: Option<TypeRef>| ty.map_or(types.unknown, |ty| types.by_die(ty));
    match (entry.tag, kind) {
        (_, Kind::String) => (kind, Shape::String),
        (_, Kind::Slice) => (kind, Shape::Slice(id(entry.elem))),
        (_, Kind::Interface) => {
            let target = entry.ty.and_then(|ty| dwarf.name_of(dwarf.resolve(ty)));
            let empty = target.as_deref() == Some("runtime.eface");
            (kind, Shape::Interface { empty })
        }
        (TypeTag::Typedef, Kind::Map) => {
            let (key, elem) = (id(entry.key), id(entry.elem));
            let header = pointee(types, dwarf, entry.ty);
            (kind, Shape::Map { key, elem, header })
        }
        (TypeTag::Typedef, Kind::Chan) => {
            let elem = id(entry.elem);
            let header = pointee(types, dwarf, entry.ty);
            let header = super::special::chan_header(types, header, elem);
            (kind, Shape::Chan { elem, header })
        }
        (TypeTag::Pointer, _) => match entry.ty {
            Some(ty) => (Kind::Pointer, Shape::Pointer(types.by_die(ty))),
            None => (Kind::UnsafePointer, Shape::UnsafePointer),
        },
        (TypeTag::Function, _) => (Kind::Func, Shape::Func),
        (TypeTag::Array, _) => {
            let (elem, len) = (id(entry.ty), entry.count);
            (Kind::Array, Shape::Array { elem, len })
        }
        (TypeTag::Structure, _) if matches!(&*entry.name, "runtime.eface" | "sync.eface") => {
            (Kind::Interface, Shape::Interface { empty: true })
        }
        (TypeTag::Structure, _) if entry.name == "runtime.iface" => {
            (Kind::Interface, Shape::Interface { empty: false })
        }
        (TypeTag::Structure, _) => (Kind::Struct, fields(types, &entry.members)),
        _ => (kind, Shape::Plain),
    }
}

fn fields(types: &mut Types<'_>, members: &[Member]) -> Shape {
    let bytes = members
        .iter()
        .map(|member| member.name.len() + size_of::<Field>());
    if !types.spend(bytes.sum()) {
        return Shape::Plain;
    }
    let mut fields: Vec<Field> = Vec::with_capacity(members.len());
    for member in members {
        fields.push(Field {
            name: member.name.as_str().into(),
            offset: member.offset,
            ty: member.ty.map_or(types.unknown, |ty| types.by_die(ty)),
        });
    }
    fields.sort_by_key(|field| field.offset);
    Shape::Struct(fields.into())
}

/// What the pointer behind a map's or channel's typedef points at.
fn pointee(types: &mut Types<'_>, dwarf: &Dwarf, pointer: Option<TypeRef>) -> TypeId {
    let pointer = pointer.and_then(|ty| dwarf.entry(dwarf.resolve(ty)));
    match pointer.and_then(|pointer| pointer.ty) {
        Some(ty) => types.by_die(ty),
        None => types.unknown,
    }
}
