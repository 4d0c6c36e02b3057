//! What a pointer inside a value points at.
//!
//! Half of the answer depends on the type and the offset alone and is worked out once for each: the field's name,
//! and the type behind it or a rule to find it. The other half asks the value: the dynamic type of an interface,
//! the function of a closure, what kind of node a tree's node is.

use std::collections::HashMap;
use std::sync::Arc;

use super::special::{self, Role, SMALL, Show};
use super::{DEPTH_MAX, Field, Shape, TypeId, Types};

/// Values up to this size have a table of their words.
const TABLE_BYTES_MAX: u64 = 4 << 10;
/// Words of all tables, and words of larger values that are remembered.
const WORDS_MAX: usize = 1 << 22;
/// Different pieces of paths.
const PIECES_MAX: usize = 1 << 18;
/// Bytes of one piece; a longer one is cut.
const PIECE_BYTES_MAX: usize = 512;
/// Dynamic types whose table of methods is remembered.
const ITABS_MAX: usize = 1 << 20;

/// The target's words, from a snapshot or from its memory.
pub trait Words {
    /// The word at `addr`, if it can be read.
    fn word(&self, addr: u64) -> Option<u64>;
}

impl<F: Fn(u64) -> Option<u64>> Words for F {
    fn word(&self, addr: u64) -> Option<u64> {
        self(addr)
    }
}

/// What is known of an object: where in it values of which type lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Label {
    /// The type of one value.
    pub ty: TypeId,
    /// Values lie side by side throughout the object.
    pub many: bool,
    /// Bytes from the object's start to the (first known) value: a pointer may lead into an object.
    pub delta: u64,
}

impl Label {
    /// One value at the object's start.
    pub fn one(ty: TypeId) -> Self {
        Self {
            ty,
            many: false,
            delta: 0,
        }
    }

    /// Values side by side from the object's start.
    pub fn many(ty: TypeId) -> Self {
        Self {
            many: true,
            ..Self::one(ty)
        }
    }

    /// Where inside a value of `size` bytes the offset of an object lies.
    fn inside(self, offset: u64, size: u64) -> Option<u64> {
        if self.many && size > 0 {
            // Elements lie before the one pointed at, too.
            return Some(match offset.checked_sub(self.delta) {
                Some(after) => after % size,
                None => (size - (self.delta - offset) % size) % size,
            });
        }
        let inside = offset.checked_sub(self.delta)?;
        (inside < size).then_some(inside)
    }
}

/// A piece of a path: interned, see [`Types::piece`]. The default one is empty.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Piece(u32);

impl Piece {
    /// The empty one.
    pub(crate) const EMPTY: Self = Self(0);

    /// A number below 2^20: equal for equal texts.
    pub fn number(self) -> u32 {
        self.0
    }
}

/// What a pointer word is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Slot {
    /// How the way through it reads: `.entries`, `[*].data`, or nothing.
    pub piece: Piece,
    /// The type of what it points at; `None` when that is not known.
    pub pointee: Option<TypeId>,
    /// It points at values side by side: a slice's, a channel's, a map's.
    pub many: bool,
}

impl Slot {
    /// The label of the object that the word points into, `delta` bytes behind its start.
    pub fn label(&self, delta: u64) -> Option<Label> {
        Some(Label {
            ty: self.pointee?,
            many: self.many,
            delta,
        })
    }
}

/// How to find what a word points at.
#[derive(Debug, Clone, Copy)]
enum Rule {
    Nothing,
    To(TypeId, bool),
    /// The value's word of an interface, whose first word lies before it.
    Interface {
        empty: bool,
    },
    Func,
    /// A map's `dirPtr`; its length lies so many bytes behind.
    Directory {
        directory: TypeId,
        group: TypeId,
        len: u64,
    },
    /// A node of a `sync.Map`, whose first byte says which of the two.
    Node {
        inner: TypeId,
        entry: TypeId,
    },
}

#[derive(Debug, Clone, Copy)]
struct Known {
    piece: Piece,
    /// With `[*]` before it, for a value among many.
    piece_of_many: Piece,
    rule: Rule,
}

/// What has been worked out so far.
#[derive(Debug, Default)]
pub(super) struct Slots {
    known: Vec<Known>,
    /// By type, then by word: an index of `known`, plus one.
    tables: Vec<Box<[u32]>>,
    table_words: usize,
    large: HashMap<(TypeId, u64), u32>,
    texts: Vec<Arc<str>>,
    pieces: HashMap<Arc<str>, Piece>,
    direct: HashMap<TypeId, bool>,
}

impl Slots {
    fn text(&self, piece: Piece) -> &str {
        match piece.0.checked_sub(1) {
            Some(at) => self.texts.get(at as usize).map_or("", |text| text),
            None => "",
        }
    }

    fn intern(&mut self, text: &str) -> Piece {
        if text.is_empty() {
            return Piece::default();
        }
        let text = &text[..text.floor_char_boundary(PIECE_BYTES_MAX)];
        if let Some(&piece) = self.pieces.get(text) {
            return piece;
        }
        if self.texts.len() >= PIECES_MAX {
            return Piece::default();
        }
        let text: Arc<str> = text.into();
        self.texts.push(Arc::clone(&text));
        let piece = Piece(self.texts.len() as u32); // At most PIECES_MAX.
        self.pieces.insert(text, piece);
        piece
    }
}

impl Types<'_> {
    /// The text of a piece.
    pub fn piece(&self, piece: Piece) -> &str {
        self.slots.text(piece)
    }

    /// The piece of a text; equal texts are equal pieces.
    pub fn intern(&mut self, text: &str) -> Piece {
        self.slots.intern(text)
    }

    /// What an object of at least `bytes` bytes holds whose runtime type is told: by its header, by its span. `None`
    /// also where that type says less than whatever leads to the object does.
    pub fn object(&mut self, descriptor: u64, bytes: u64) -> Option<Label> {
        let ty = self.by_descriptor(descriptor)?;
        if special::is_bare_table(self, ty) {
            return None;
        }
        let size = self.size(ty);
        let many = size > 0 && bytes / 2 >= size;
        Some(Label {
            many,
            ..Label::one(ty)
        })
    }

    /// How the objects of a label are called: `main.Session`, `[]string`.
    pub fn label_name(&mut self, label: Label) -> String {
        let ty = self.get(label.ty);
        let whole = !label.many || label.ty == self.bytes || ty.role.is_quiet();
        let prefix = if whole { "" } else { "[]" };
        format!("{prefix}{}", ty.name)
    }

    /// Whether an object is the inside of a map, a channel and the like, which people see through.
    pub fn is_quiet(&mut self, label: Label) -> bool {
        self.get(label.ty).role.is_quiet()
    }

    /// What the pointer word at `offset` of an object points at.
    ///
    /// * `label`: what the object is; `at`: the word's address; `value`: the word itself.
    /// * `words`: the object's other words are asked for, and the first word of what `value` points at.
    ///
    /// Costs a table look-up for most; an interface or function costs a hash look-up and one or two words.
    pub fn slot(
        &mut self,
        label: Label,
        offset: u64,
        at: u64,
        value: u64,
        words: &dyn Words,
    ) -> Slot {
        let size = self.size(label.ty);
        let Some(inside) = label.inside(offset, size) else {
            return Slot::default();
        };
        let known = self.known(label.ty, inside);
        let piece = if label.many {
            known.piece_of_many
        } else {
            known.piece
        };
        let to = |pointee, many| Slot {
            piece,
            pointee: Some(pointee),
            many,
        };
        match known.rule {
            Rule::Nothing => Slot {
                piece,
                ..Slot::default()
            },
            Rule::To(ty, many) => to(ty, many),
            Rule::Directory {
                directory,
                group,
                len,
            } => match at.checked_add(len).and_then(|at| words.word(at)) {
                Some(0) => to(group, false),
                _ => to(directory, true),
            },
            Rule::Node { inner, entry } => match words.word(value) {
                Some(word) => to(if word & 1 == 1 { entry } else { inner }, false),
                None => Slot {
                    piece,
                    ..Slot::default()
                },
            },
            Rule::Func => Slot {
                piece,
                pointee: words.word(value).and_then(|pc| self.closure(pc)),
                many: false,
            },
            Rule::Interface { empty } => {
                let ty = at.checked_sub(8).and_then(|at| words.word(at));
                let ty = ty.and_then(|word| self.dynamic(word, empty));
                self.boxed(piece, ty, value, words)
            }
        }
    }

    /// The dynamic type that the first word of an interface tells.
    fn dynamic(&mut self, word: u64, empty: bool) -> Option<TypeId> {
        if word == 0 {
            return None;
        }
        if empty {
            return self.by_descriptor(word);
        }
        if let Some(&known) = self.itabs.get(&word) {
            return known;
        }
        // internal/abi.ITab: the interface, then the type.
        let ty = word
            .checked_add(8)
            .and_then(|at| self.from.memory.u64(at).ok());
        let found = ty.and_then(|ty| self.by_descriptor(ty));
        if self.itabs.len() < ITABS_MAX {
            self.itabs.insert(word, found);
        }
        found
    }

    /// What the value's word of an interface points at: a value that is a pointer itself lies in that word.
    pub(super) fn boxed(
        &mut self,
        piece: Piece,
        ty: Option<TypeId>,
        value: u64,
        words: &dyn Words,
    ) -> Slot {
        let Some(ty) = ty else {
            return Slot {
                piece,
                ..Slot::default()
            };
        };
        if !self.is_direct(ty) {
            return Slot {
                piece,
                pointee: Some(ty),
                many: false,
            };
        }
        let known = self.known(ty, 0);
        let piece = match (self.piece(piece), self.piece(known.piece)) {
            (_, "") => piece,
            (before, after) => {
                let joined = format!("{before}{after}");
                self.intern(&joined)
            }
        };
        let (pointee, many) = match known.rule {
            Rule::To(ty, many) => (Some(ty), many),
            Rule::Func => (words.word(value).and_then(|pc| self.closure(pc)), false),
            // Neither fits into one word, or neither can be told without its neighbours.
            _ => (None, false),
        };
        Slot {
            piece,
            pointee,
            many,
        }
    }

    /// Whether a value of the type is one pointer and nothing else.
    fn is_direct(&mut self, ty: TypeId) -> bool {
        if let Some(&known) = self.slots.direct.get(&ty) {
            return known;
        }
        let found = self.find_direct(ty, 0);
        self.slots.direct.insert(ty, found);
        found
    }

    fn find_direct(&mut self, ty: TypeId, depth: usize) -> bool {
        let known = self.get(ty);
        match &known.shape {
            _ if depth > DEPTH_MAX || known.size != 8 => false,
            Shape::Pointer(_) | Shape::UnsafePointer | Shape::Func => true,
            Shape::Map { .. } | Shape::Chan { .. } => true,
            Shape::Array { elem, len: 1 } => self.find_direct(*elem, depth + 1),
            Shape::Struct(fields) => {
                let mut sized = fields.iter().filter(|field| self.size(field.ty) > 0);
                match (sized.next(), sized.next()) {
                    (Some(only), None) => self.find_direct(only.ty, depth + 1),
                    _ => false,
                }
            }
            _ => false,
        }
    }

    /// What is known of the word at `offset` of a value.
    fn known(&mut self, ty: TypeId, offset: u64) -> Known {
        let (ty, offset) = (ty, offset & !7);
        if let Some(found) = self.remembered(ty, offset) {
            return found;
        }
        let (text, rule) = self.resolve(ty, offset);
        let is_quiet = self.get(ty).role.is_quiet();
        let piece = self.intern(&text);
        let known = Known {
            piece,
            piece_of_many: if is_quiet {
                piece
            } else {
                self.intern(&format!("[*]{text}"))
            },
            rule,
        };
        self.remember(ty, offset, known);
        known
    }

    fn remembered(&self, ty: TypeId, offset: u64) -> Option<Known> {
        let slots = &self.slots;
        let table = slots.tables.get(ty.0 as usize);
        let at = match table.filter(|table| !table.is_empty()) {
            Some(table) => *table.get((offset / 8) as usize)?,
            None => *slots.large.get(&(ty, offset))?,
        };
        slots.known.get(at.checked_sub(1)? as usize).copied()
    }

    fn remember(&mut self, ty: TypeId, offset: u64, known: Known) {
        let size = self.size(ty);
        let slots = &mut self.slots;
        if slots.known.len() >= WORDS_MAX {
            return;
        }
        slots.known.push(known);
        let at = slots.known.len() as u32; // At most WORDS_MAX.
        let type_at = ty.0 as usize;
        if slots.tables.len() <= type_at {
            slots.tables.resize_with(type_at + 1, Box::default);
        }
        let words = size.div_ceil(8) as usize;
        let table = &mut slots.tables[type_at];
        if table.is_empty() && size <= TABLE_BYTES_MAX && slots.table_words + words <= WORDS_MAX {
            *table = vec![0; words].into();
            slots.table_words += words;
        }
        match table.get_mut((offset / 8) as usize) {
            Some(word) => *word = at,
            // Those of large values: bounded, as `known` is.
            None => drop(slots.large.insert((ty, offset), at)),
        }
    }

    /// Walks from a value down to its word at `offset`.
    fn resolve(&mut self, ty: TypeId, offset: u64) -> (String, Rule) {
        let mut text = String::new();
        let rule = self.walk(ty, offset, &mut text);
        (text, rule.unwrap_or(Rule::Nothing))
    }

    fn walk(&mut self, ty: TypeId, offset: u64, text: &mut String) -> Option<Rule> {
        let (mut ty, mut offset) = (ty, offset);
        // The role of the structure that holds the present value, whether an array's `[*]` is left out, and the
        // inner node of a tree that we came through.
        let (mut holder, mut is_silent, mut inner) = (Role::Plain, false, None);
        let mut many = false;
        for _ in 0..DEPTH_MAX {
            let known = self.get(ty);
            match &known.shape {
                Shape::Array { elem, .. } => {
                    let size = self.size(*elem);
                    offset = offset.checked_rem(size)?;
                    if !is_silent {
                        text.push_str("[*]");
                    }
                    (ty, is_silent) = (*elem, false);
                }
                Shape::Struct(fields) => {
                    // The pairs inside a bucket have no name of their own.
                    let in_bucket = holder == Role::Bucket && known.role == Role::Plain;
                    let is_pair = in_bucket
                        && fields
                            .iter()
                            .take(SMALL)
                            .any(|field| &*field.name == "elem");
                    holder = if is_pair { Role::Entry } else { known.role };
                    if holder == Role::TrieInner {
                        inner = Some(ty);
                    }
                    if let Some(rule) = self.special_struct(ty, holder, fields, inner) {
                        return Some(rule);
                    }
                    let field = self.field_at(fields, offset)?;
                    match holder.show(&field.name) {
                        Show::Name => {
                            text.push('.');
                            text.push_str(&field.name);
                        }
                        Show::Nothing => {}
                        Show::Key => text.push_str("[key]"),
                        Show::Elem => text.push_str("[*]"),
                    }
                    is_silent = !matches!(holder, Role::Entry | Role::List | Role::PoolLocal)
                        && holder.show(&field.name) != Show::Name;
                    if let Some(rule) = self.special_field(ty, holder, field, fields) {
                        return Some(rule);
                    }
                    many = match holder {
                        Role::Groups => &*field.name == "data",
                        Role::OldMap => matches!(&*field.name, "buckets" | "oldbuckets"),
                        Role::Chan => &*field.name == "buf",
                        _ => false,
                    };
                    offset -= field.offset;
                    ty = field.ty;
                }
                shape => return self.pointer_rule(shape, offset, many),
            }
        }
        None
    }

    /// The rule of a word that belongs to no structure.
    fn pointer_rule(&mut self, shape: &Shape, offset: u64, many: bool) -> Option<Rule> {
        if let Shape::Interface { empty } = *shape {
            return (offset == 8).then_some(Rule::Interface { empty });
        }
        if offset != 0 {
            return None;
        }
        match *shape {
            Shape::Pointer(target) => self.to(target, many),
            Shape::Slice(elem) => self.to(elem, true),
            Shape::String => Some(Rule::To(self.bytes, true)),
            Shape::Map { header, .. } | Shape::Chan { header, .. } => self.to(header, false),
            Shape::Func => Some(Rule::Func),
            _ => None,
        }
    }

    fn to(&mut self, target: TypeId, many: bool) -> Option<Rule> {
        if target == self.unknown {
            return None;
        }
        let target = match self.get(target).role {
            // Since Go 1.23 it is the beginning of another structure.
            Role::UserTimer => {
                let real = self.by_name("runtime.timeTimer");
                real.or_else(|| special::timer(self)).unwrap_or(target)
            }
            _ => target,
        };
        Some(Rule::To(target, many))
    }

    /// Structures of one word that stand for a typed pointer.
    fn special_struct(
        &mut self,
        ty: TypeId,
        role: Role,
        fields: &[Field],
        inner: Option<TypeId>,
    ) -> Option<Rule> {
        match role {
            Role::AtomicPointer => {
                let target = special::atomic_target(self, fields)?;
                match (self.get(target).role, inner) {
                    (Role::TrieNode, Some(inner)) => Some(Rule::Node {
                        inner,
                        entry: self.trie_entry(inner),
                    }),
                    _ => self.to(target, false),
                }
            }
            Role::RuntimePointer => {
                let target = special::argument(self, ty, 0)?;
                self.to(target, false)
            }
            Role::Weak => Some(Rule::To(self.weak, false)),
            _ => None,
        }
    }

    fn trie_entry(&mut self, inner: TypeId) -> TypeId {
        if let Some(&known) = self.tries.get(&inner) {
            return known;
        }
        let entry = special::trie_entry(self, inner);
        self.tries.insert(inner, entry);
        entry
    }

    /// Fields whose type in the source does not tell what they point at.
    fn special_field(
        &mut self,
        owner: TypeId,
        role: Role,
        field: &Field,
        fields: &[Field],
    ) -> Option<Rule> {
        match (role, &*field.name) {
            (Role::SwissMap, "dirPtr") => {
                let (directory, group) = special::directory(self, field.ty)?;
                let mut small = fields.iter().take(SMALL);
                let len = small.find(|field| &*field.name == "dirLen")?;
                Some(Rule::Directory {
                    directory,
                    group,
                    len: len.offset.checked_sub(field.offset)?,
                })
            }
            (Role::Bucket, "overflow") => Some(Rule::To(owner, false)),
            (Role::Pool, "local" | "victim") => {
                let local = self.by_name("sync.poolLocal");
                let local = local.unwrap_or_else(|| special::pool_local(self));
                Some(Rule::To(local, true))
            }
            (Role::RuntimeTimer, "c") => {
                let channel = self.by_name("chan time.Time")?;
                match self.get(channel).shape {
                    Shape::Chan { header, .. } => Some(Rule::To(header, false)),
                    _ => None,
                }
            }
            _ => None,
        }
    }

    /// The field around an offset: the last that begins there or before and is not without size.
    fn field_at<'f>(&mut self, fields: &'f [Field], offset: u64) -> Option<&'f Field> {
        const EMPTY_MAX: usize = 16;
        let after = fields.partition_point(|field| field.offset <= offset);
        let mut before = fields[..after].iter().rev().take(EMPTY_MAX);
        before.find(|field| offset - field.offset < self.size(field.ty))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pointer_into_an_object_keeps_its_distance() {
        let label = |many, delta| Label {
            ty: TypeId(0),
            many,
            delta,
        };
        for (name, label, offset, size, want) in [
            ("start", label(false, 0), 8, 16, Some(8)),
            ("behind the value", label(false, 0), 16, 16, None),
            ("before the value", label(false, 8), 0, 16, None),
            ("inside, moved", label(false, 8), 16, 16, Some(8)),
            ("third element", label(true, 0), 40, 16, Some(8)),
            ("before a slice's start", label(true, 32), 8, 16, Some(8)),
            ("before, on a boundary", label(true, 48), 24, 24, Some(0)),
            ("of no size", label(true, 0), 0, 0, None),
        ] {
            assert_eq!(label.inside(offset, size), want, "{name}");
        }
    }
}
