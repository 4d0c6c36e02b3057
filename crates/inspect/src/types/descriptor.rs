//! Types from the descriptors that a Go program carries for its runtime.
//!
//! Layout: `internal/abi.Type` and the structures that embed it, the same from Go 1.21 to 1.27 as far as it is read
//! here. Names are offsets from the first descriptor of their module; types made by `reflect` lie in the heap and
//! have no name that can be found, so theirs is put together from their parts, as `reflect` does.

use super::special::{self, Role};
use super::{Field, Kind, Shape, Type, TypeId, Types, readable};
use crate::memory::{Memory, Range, le32, le64};

/// Bytes that every descriptor has.
const HEADER_BYTES: usize = 48;
/// Bytes behind them that are read: the longest kind's fields that matter here.
const TAIL_BYTES: usize = 24;
/// Fields of one structure.
const FIELDS_MAX: u64 = 1 << 16;
/// Bytes of a field's or type's name.
const NAME_BYTES_MAX: u64 = 4 << 10;
/// Names put together from parts are cut here.
const MADE_NAME_BYTES_MAX: usize = 512;
/// Bytes read of each field's name at once: nearly all are shorter.
const NAME_GUESS_BYTES: usize = 32;
/// Larger than any object that a 64-bit Go program can have.
const SIZE_MAX: u64 = 1 << 48;

const FLAG_UNCOMMON: u8 = 1;
const FLAG_EXTRA_STAR: u8 = 1 << 1;
const FLAG_NAMED: u8 = 1 << 2;

/// What every descriptor begins with.
#[derive(Debug, Clone, Copy)]
pub(super) struct Header {
    pub(super) size: u64,
    flags: u8,
    kind: u8,
    name: i32,
}

impl Header {
    pub(super) fn kind(&self) -> Kind {
        Kind::of(self.kind)
    }

    /// `None` when what lies at `addr` is no descriptor.
    pub(super) fn read(memory: &dyn Memory, addr: u64) -> Option<Self> {
        let mut bytes = [0; HEADER_BYTES];
        memory.read(addr, &mut bytes).ok()?;
        let (size, pointer_bytes) = (le64(&bytes, 0), le64(&bytes, 8));
        // Until Go 1.25 a flag stood in the kind's sixth bit.
        let kind = bytes[23] & 31;
        let aligned = |align: u8| matches!(align, 1 | 2 | 4 | 8);
        let good = size < SIZE_MAX
            && pointer_bytes <= size
            && pointer_bytes % 8 == 0
            && aligned(bytes[21])
            && aligned(bytes[22])
            && (1..=26).contains(&kind);
        good.then_some(Self {
            size,
            flags: bytes[20],
            kind,
            name: le32(&bytes, 40) as i32,
        })
    }
}

pub(super) fn load(types: &mut Types<'_>, addr: u64) -> Option<Type> {
    let header = Header::read(types.from.memory, addr)?;
    let mut tail = [0; TAIL_BYTES];
    let kind = Kind::of(header.kind);
    if !matches!(
        kind,
        Kind::Bool | Kind::Integer | Kind::Float | Kind::String
    ) {
        // A plain type may be the last of its section, with nothing behind it.
        let at = addr.checked_add(HEADER_BYTES as u64)?;
        types.from.memory.read(at, &mut tail).ok()?;
    }
    let raw = name(types, addr, &header);
    let shape = shape(types, kind, &tail);
    let role = match (&shape, &raw) {
        (Shape::Struct(_), Some(raw)) => Role::of(raw),
        _ => Role::Plain,
    };
    let name = match raw {
        Some(raw) => readable(&raw),
        None => made_name(types, &shape),
    };
    Some(Type {
        name: name.into(),
        size: header.size,
        kind,
        shape,
        role,
    })
}

/// The compiler's name of the type whose descriptor lies at `addr`.
pub(super) fn raw_name(types: &Types<'_>, addr: u64) -> Option<String> {
    let header = Header::read(types.from.memory, addr)?;
    name(types, addr, &header)
}

fn shape(types: &mut Types<'_>, kind: Kind, tail: &[u8; TAIL_BYTES]) -> Shape {
    let word = |at: usize| le64(tail, at * 8);
    let mut id = |addr: u64| types.by_descriptor(addr).unwrap_or(types.unknown);
    match kind {
        Kind::Pointer => Shape::Pointer(id(word(0))),
        Kind::UnsafePointer => Shape::UnsafePointer,
        Kind::Slice => Shape::Slice(id(word(0))),
        Kind::String => Shape::String,
        Kind::Func => Shape::Func,
        Kind::Array => Shape::Array {
            elem: id(word(0)),
            len: word(2),
        },
        Kind::Chan => {
            let elem = id(word(0));
            let header = special::chan_header(types, types.unknown, elem);
            Shape::Chan { elem, header }
        }
        Kind::Map => {
            let (key, elem, bucket) = (id(word(0)), id(word(1)), id(word(2)));
            let header = special::map_header(types, key, elem, bucket);
            Shape::Map { key, elem, header }
        }
        // The methods follow the package's path.
        Kind::Interface => Shape::Interface {
            empty: word(2) == 0,
        },
        Kind::Struct => fields(types, word(1), word(2)),
        _ => Shape::Plain,
    }
}

/// `count` fields of name, type and offset.
fn fields(types: &mut Types<'_>, addr: u64, count: u64) -> Shape {
    const FIELD_BYTES: u64 = 24;
    let memory = types.from.memory;
    let bytes = memory.bytes(
        "fields",
        addr,
        count.saturating_mul(FIELD_BYTES),
        FIELDS_MAX * FIELD_BYTES,
    );
    let Ok(bytes) = bytes else {
        return Shape::Plain;
    };
    let raw: Vec<&[u8]> = bytes.chunks_exact(FIELD_BYTES as usize).collect();
    let names: Vec<u64> = raw.iter().map(|field| le64(field, 0)).collect();
    let names = read_names(memory, &names);
    if !types.spend(
        names
            .iter()
            .map(|name| name.len() + size_of::<Field>())
            .sum(),
    ) {
        return Shape::Plain;
    }
    let mut fields: Vec<Field> = Vec::with_capacity(raw.len());
    for (field, name) in raw.iter().zip(names) {
        fields.push(Field {
            name: name.into(),
            offset: le64(field, 16),
            ty: types.by_descriptor(le64(field, 8)).unwrap_or(types.unknown),
        });
    }
    fields.sort_by_key(|field| field.offset);
    Shape::Struct(fields.into())
}

/// The names at those addresses, empty where there is none: most in one call of the kernel.
fn read_names(memory: &dyn Memory, addrs: &[u64]) -> Vec<String> {
    let ranges: Vec<Range> = addrs
        .iter()
        .map(|&addr| Range {
            addr,
            len: NAME_GUESS_BYTES,
        })
        .collect();
    let mut buf = vec![0; addrs.len() * NAME_GUESS_BYTES];
    memory.read_many(&ranges, &mut buf);
    let guesses = buf.chunks_exact(NAME_GUESS_BYTES);
    let name = |(&addr, guess): (&u64, &[u8])| {
        let (start, len) = name_range(guess)?;
        match guess.get(start..start + len) {
            Some(bytes) if len > 0 => Some(String::from_utf8_lossy(bytes).into_owned()),
            _ => read_name(memory, addr),
        }
    };
    let names = addrs.iter().zip(guesses).map(name);
    names.map(Option::unwrap_or_default).collect()
}

/// A name: a byte of flags, a variable-length count, so many bytes.
fn read_name(memory: &dyn Memory, addr: u64) -> Option<String> {
    let mut head = [0; 4];
    // The last name of a section may be shorter than what is read of it.
    let whole = memory.read(addr, &mut head).is_ok();
    if !whole {
        memory.read(addr, &mut head[..2]).ok()?;
    }
    let (start, len) = name_range(&head)?;
    let addr = addr.checked_add(start as u64)?;
    let bytes = memory
        .bytes("name", addr, len as u64, NAME_BYTES_MAX)
        .ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// Where the text of a name begins, and its length.
fn name_range(bytes: &[u8]) -> Option<(usize, usize)> {
    let mut len = 0;
    for (at, byte) in bytes.get(1..4)?.iter().enumerate() {
        len |= usize::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            return Some((2 + at, len));
        }
    }
    None
}

/// The compiler's name of the type, with the whole path of its package; `None` for types that `reflect` made.
fn name(types: &Types<'_>, addr: u64, header: &Header) -> Option<String> {
    let memory = types.from.memory;
    let mut modules = types.from.modules.iter();
    let module = modules.find(|module| (module.start..module.end).contains(&addr))?;
    let at = module.start.checked_add_signed(header.name.into())?;
    let mut name = read_name(memory, at)?;
    if header.flags & FLAG_EXTRA_STAR != 0 && name.starts_with('*') {
        name.remove(0);
    }
    if header.flags & (FLAG_NAMED | FLAG_UNCOMMON) == FLAG_NAMED | FLAG_UNCOMMON {
        let path = package(memory, addr, header.kind)
            .and_then(|offset| module.start.checked_add_signed(offset.into()))
            .and_then(|at| read_name(memory, at));
        if let Some(path) = path.filter(|path| !path.is_empty()) {
            name = with_path(&path, &name);
        }
    }
    Some(name)
}

/// Where the package's path is named: behind the part of the descriptor that its kind has.
fn package(memory: &dyn Memory, addr: u64, kind: u8) -> Option<i32> {
    let words = match Kind::of(kind) {
        Kind::Pointer | Kind::Slice => 1,
        Kind::Func => 1,
        Kind::Chan => 2,
        Kind::Array => 3,
        Kind::Interface | Kind::Struct => 4,
        // The length of a map's part has changed with nearly every release.
        Kind::Map => return None,
        _ => 0,
    };
    let at = addr.checked_add(HEADER_BYTES as u64 + words * 8)?;
    memory.u32(at).ok().map(|offset| offset as i32)
}

/// `example.com/app/store` and `store.Session` give `example.com/app/store.Session`.
fn with_path(path: &str, name: &str) -> String {
    let head = name.split('[').next().unwrap_or_default();
    match head.split_once('.') {
        Some((package, _)) => format!("{path}{}", &name[package.len()..]),
        None => name.to_owned(),
    }
}

/// The name of an unnamed type from its parts.
fn made_name(types: &mut Types<'_>, shape: &Shape) -> String {
    let mut part = |id: TypeId| types.name(id);
    let mut name = match shape {
        Shape::Pointer(target) => format!("*{}", part(*target)),
        Shape::Slice(elem) => format!("[]{}", part(*elem)),
        Shape::Array { elem, len } => format!("[{len}]{}", part(*elem)),
        Shape::Map { key, elem, .. } => format!("map[{}]{}", part(*key), part(*elem)),
        Shape::Chan { elem, .. } => format!("chan {}", part(*elem)),
        Shape::Func => "func".to_owned(),
        Shape::Struct(fields) => {
            let mut text = String::from("struct { ");
            for (at, field) in fields.iter().enumerate() {
                if text.len() > MADE_NAME_BYTES_MAX {
                    break;
                }
                let separator = if at > 0 { "; " } else { "" };
                text += &format!("{separator}{} {}", field.name, part(field.ty));
            }
            text + " }"
        }
        _ => "?".to_owned(),
    };
    if name.len() > MADE_NAME_BYTES_MAX {
        name.truncate(name.floor_char_boundary(MADE_NAME_BYTES_MAX));
        name.push('…');
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_is_replaced_by_its_path() {
        for (path, name, want) in [
            ("example.com/a/store", "store.T", "example.com/a/store.T"),
            (
                "sync/atomic",
                "atomic.Pointer[x/y.T]",
                "sync/atomic.Pointer[x/y.T]",
            ),
            ("main", "main.T", "main.T"),
            ("p", "int", "int"),
        ] {
            assert_eq!(with_path(path, name), want);
        }
    }

    #[test]
    fn names_are_read_with_their_lengths() {
        let mut memory = crate::memory::Pieces::new();
        let long = "x".repeat(200);
        let mut bytes = vec![0, 200, 1];
        bytes.extend(long.as_bytes());
        memory
            .put(100, bytes)
            .put(1000, *b"\x01\x02ab")
            .put(2000, *b"\x00\x7fab");
        memory.put(3000, [0, 0xff, 0xff, 0xff]);
        let names = read_names(&memory, &[100, 1000, 2000, 3000, 4000, u64::MAX]);
        assert_eq!(names, [&long, "ab", "", "", "", ""]);
    }
}
