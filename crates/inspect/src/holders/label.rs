//! What each object is: its type, and the step that leads to it, found by one breadth-first walk from the roots.
//!
//! The walk goes rank by rank, as the attribution does. The object that a walk came from lies on a shortest way; so if
//! whatever holds an object points at it directly, the walk came from there.

use std::collections::HashMap;

use super::Taken;
use super::locals::{LocalNames, Named};
use crate::Program;
use crate::graph::{Bits, Huge, Tree};
use crate::heap::{Heap, LastType, Listed};
use crate::roots::{Root, RootKind, RootPointer};
use crate::types::{Label, Piece, Sources, Types, Words};

/// No label, or no object.
pub(super) const NONE: u32 = u32::MAX;

/// Labels and steps of all objects. 4 bytes and a bit per object, and the objects of a level of the walk.
pub(super) struct Labels<'a> {
    pub(super) types: Types<'a>,
    /// Distinct labels.
    known: Vec<Label>,
    numbers: HashMap<Label, u32>,
    /// Distinct pairs of a label's number and the step to the object.
    kinds: Vec<Kind>,
    kind_numbers: HashMap<Kind, u32>,
    /// The pair that was asked for last, and its number.
    last_kind: (Kind, u32),
    /// By object: its kind's number; `NONE` when the walk did not reach it.
    kind: Huge<u32>,
    /// By object: the walk came to it from what holds it.
    is_direct: Bits,
    /// Names of labels, worked out when asked for.
    names: HashMap<u32, Piece>,
    locals: LocalNames,
}

/// What an object is, and the last step of a shortest way to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Kind {
    /// The label's number, equal for equal labels; `NONE` where it is not known.
    pub(super) label: u32,
    pub(super) piece: Piece,
}

const UNKNOWN: Kind = Kind {
    label: NONE,
    piece: Piece::EMPTY,
};

/// A heap's words for names: from the copy, else from the program as it is now.
#[derive(Clone, Copy)]
pub(super) struct HeapWords<'a> {
    heap: &'a Heap,
    program: &'a Program,
}

impl Words for HeapWords<'_> {
    fn word(&self, addr: u64) -> Option<u64> {
        let copied = self.heap.word_at(addr);
        copied.or_else(|| self.program.memory().u64(addr).ok())
    }
}

/// The words of the object that is walked, then those of the heap.
struct Near<'a> {
    object: &'a Listed<'a>,
    others: HeapWords<'a>,
}

impl Words for Near<'_> {
    fn word(&self, addr: u64) -> Option<u64> {
        self.object.word(addr).or_else(|| self.others.word(addr))
    }
}

/// The walk.
struct Walk<'a, 'b> {
    labels: &'b mut Labels<'a>,
    heap: &'b Heap,
    tree: &'b Tree,
    words: HeapWords<'b>,
    /// The next level.
    queue: Vec<u32>,
}

impl<'a> Labels<'a> {
    /// Of no object so far.
    pub(super) fn new(program: &'a Program) -> Self {
        Self {
            types: Types::new(Sources::of(program)),
            known: Vec::new(),
            numbers: HashMap::new(),
            kinds: vec![UNKNOWN],
            kind_numbers: HashMap::from([(UNKNOWN, 0)]),
            last_kind: (UNKNOWN, 0),
            kind: Huge::default(),
            is_direct: Bits::default(),
            names: HashMap::new(),
            locals: LocalNames::default(),
        }
    }

    /// Labels all objects. `tree` tells what holds each.
    pub(super) fn walk(&mut self, program: &Program, taken: &Taken, tree: &Tree) {
        let (heap, roots) = (&taken.heap, &taken.roots);
        self.kind = Huge::filled(heap.slots() as usize, NONE);
        self.is_direct = Bits::new(heap.slots() as usize);
        let mut pointers: Vec<&RootPointer> = roots.pointers.iter().collect();
        let rank =
            |pointer: &RootPointer| roots.roots[pointer.root as usize].rank(&roots.goroutines);
        // Stable: pointers of one root stay together, in their order.
        pointers.sort_by_key(|pointer| rank(pointer));
        let mut walk = Walk {
            labels: self,
            heap,
            tree,
            words: HeapWords { heap, program },
            queue: Vec::new(),
        };
        for pointers in pointers.chunk_by(|left, right| rank(left) == rank(right)) {
            for pointer in pointers {
                let root = &roots.roots[pointer.root as usize];
                walk.root(program, taken, root, pointer);
            }
            walk.run();
        }
    }

    /// The label of an object, if it is known.
    pub(super) fn of(&self, object: u32) -> Option<Label> {
        self.label(self.kind_of(object).label)
    }

    /// A label by its number.
    pub(super) fn label(&self, number: u32) -> Option<Label> {
        self.known.get(number as usize).copied()
    }

    fn kind_of(&self, object: u32) -> Kind {
        let number = self.kind.get(object as usize);
        number.map_or(UNKNOWN, |&number| self.kind_by(number))
    }

    /// A kind by its number.
    pub(super) fn kind_by(&self, number: u32) -> Kind {
        self.kinds.get(number as usize).copied().unwrap_or(UNKNOWN)
    }

    /// Whether the step to an object is one from what holds it.
    pub(super) fn is_direct(&self, object: u32) -> bool {
        self.is_direct.get(object)
    }

    /// The numbers of all objects' kinds, which are not known here any more.
    pub(super) fn take_kinds(&mut self) -> Huge<u32> {
        std::mem::take(&mut self.kind)
    }

    /// The readable name of a label by its number, interned; the empty piece where it is unknown.
    pub(super) fn name(&mut self, number: u32) -> Piece {
        if let Some(&known) = self.names.get(&number) {
            return known;
        }
        let name = match self.known.get(number as usize) {
            Some(&label) => self.types.label_name(label),
            None => String::new(),
        };
        let name = self.types.intern(&name);
        self.names.insert(number, name);
        name
    }

    /// The step from a root to what one of its pointers leads to, and what that is.
    fn begin(
        &mut self,
        words: HeapWords<'_>,
        program: &Program,
        taken: &Taken,
        root: &Root,
        pointer: &RootPointer,
    ) -> (Piece, Option<Label>) {
        match root.kind {
            RootKind::Global | RootKind::Runtime if taken.roots.is_global(root) => {
                let global = &taken.roots.globals.all[root.at as usize];
                let at = global.addr + pointer.place;
                let types = &mut self.types;
                let slot = match global.ty.map(|ty| types.by_die(ty)) {
                    Some(ty) => {
                        let label = Label::one(ty);
                        types.slot(label, pointer.place, at, pointer.value, &words)
                    }
                    None => match types.in_interface(at, pointer.value, &words) {
                        Some(slot) => slot,
                        None => return (Piece::default(), None),
                    },
                };
                let object = words.heap.object_at(pointer.value);
                let start = object.map_or(pointer.value, |object| words.heap.address(object));
                (slot.piece, slot.label(pointer.value - start))
            }
            RootKind::Goroutine | RootKind::Runtime if pointer.place != 0 => {
                let Named { piece, value } =
                    self.locals.at(program, &mut self.types, pointer, &words);
                let object = words.heap.object_at(pointer.value);
                let start = object.map_or(pointer.value, |object| words.heap.address(object));
                (
                    piece,
                    value.and_then(|slot| slot.label(pointer.value - start)),
                )
            }
            // A function value's object: its first word is the function.
            RootKind::Timer | RootKind::Finalizer | RootKind::Cleanup => {
                // Of a function value without pointers there is no copy, and its root knows the code.
                let of_root = || (pointer.place == 0).then_some(root.at);
                let code = words.heap.word_at(pointer.value).or_else(of_root);
                let ty = code.and_then(|code| self.types.closure(code));
                (Piece::default(), ty.map(Label::one))
            }
            _ => (Piece::default(), None),
        }
    }

    /// The steps of a way that a root's `pointer` begins, past `objects`, each of which points at the next.
    pub(super) fn way(
        &mut self,
        program: &Program,
        taken: &Taken,
        pointer: &RootPointer,
        objects: &[u32],
    ) -> Vec<Piece> {
        let heap = &taken.heap;
        let words = HeapWords { heap, program };
        let root = &taken.roots.roots[pointer.root as usize];
        let (piece, mut label) = self.begin(words, program, taken, root, pointer);
        let mut pieces = vec![piece];
        for pair in objects.windows(2) {
            let (object, next) = (pair[0], pair[1]);
            // What the walk found out, where the way itself tells nothing.
            let known = label.or_else(|| self.of(object));
            let span = heap.span_of(object);
            let mut step = (Piece::default(), None);
            heap.each_word(span, object - span.first, 0, |word, value| {
                if heap.object_at(value) != Some(next) {
                    return true;
                }
                if let Some(known) = known {
                    let offset = u64::from(word) * 8;
                    let at = heap.address(object) + offset;
                    let slot = self.types.slot(known, offset, at, value, &words);
                    step = (slot.piece, slot.label(value - heap.address(next)));
                }
                false
            });
            pieces.push(step.0);
            label = step.1;
        }
        pieces
    }

    fn number_of(&mut self, label: Label) -> u32 {
        if let Some(&number) = self.numbers.get(&label) {
            return number;
        }
        let number = self.known.len() as u32;
        self.known.push(label);
        self.numbers.insert(label, number);
        number
    }

    fn set_kind(&mut self, object: u32, kind: Kind) {
        if self.last_kind.0 != kind {
            let next = self.kinds.len() as u32;
            let number = *self.kind_numbers.entry(kind).or_insert(next);
            if number == next {
                self.kinds.push(kind);
            }
            self.last_kind = (kind, number);
        }
        self.kind[object as usize] = self.last_kind.1;
    }
}

impl Walk<'_, '_> {
    /// Begins at one pointer of a root.
    fn root(&mut self, program: &Program, taken: &Taken, root: &Root, pointer: &RootPointer) {
        let Some(object) = self.heap.object_at(pointer.value) else {
            return;
        };
        let from = self.heap.slots() + pointer.root;
        let (piece, label) = self.labels.begin(self.words, program, taken, root, pointer);
        self.meet(object, from, piece, label);
    }

    /// Level by level, and each level in the order of addresses: then what is read lies together. The ways stay
    /// shortest ones.
    fn run(&mut self) {
        let (mut level, mut last) = (Vec::new(), LastType::default());
        while !self.queue.is_empty() {
            std::mem::swap(&mut level, &mut self.queue);
            level.sort_unstable();
            let heap = self.heap;
            heap.each_listed(&level, |object| self.expand(object, &mut last));
            level.clear();
        }
    }

    fn expand(&mut self, listed: &Listed<'_>, last: &mut LastType) {
        let (heap, object) = (self.heap, listed.object);
        if let Some((descriptor, delta)) = heap.exact_type_of(listed)
            && let Some(label) = self
                .labels
                .types
                .object(descriptor, listed.span.elem - delta)
        {
            let label = self.labels.number_of(Label { delta, ..label });
            let piece = self.labels.kind_of(object).piece;
            self.labels.set_kind(object, Kind { label, piece });
        }
        let label = self.labels.of(object);
        let addr = listed.addr();
        let words = Near {
            object: listed,
            others: self.words,
        };
        heap.each_word_of(listed, last, |word, value| {
            let Some(target) = heap.object_at(value) else {
                return;
            };
            // Most pointers lead to something already met: then names are worked out no more.
            if !self.is_wanted(target, label.is_some()) {
                return;
            }
            let offset = u64::from(word) * 8;
            let slot = label.map(|label| {
                let types = &mut self.labels.types;
                types.slot(label, offset, addr + offset, value, &words)
            });
            let delta = value - heap.address(target);
            let (piece, found) = slot.map_or((Piece::default(), None), |slot| {
                (slot.piece, slot.label(delta))
            });
            self.meet(target, object, piece, found);
        });
    }

    /// Whether an object was not met before; or was, and its type could be known now.
    #[inline]
    fn is_wanted(&self, object: u32, is_typed: bool) -> bool {
        match self.labels.kind[object as usize] {
            NONE => true,
            number => is_typed && self.labels.kinds[number as usize].label == NONE,
        }
    }

    /// Takes an object that was not met before; or, once, one whose type was not known.
    fn meet(&mut self, object: u32, from: u32, piece: Piece, label: Option<Label>) {
        if !self.is_wanted(object, label.is_some()) {
            return;
        }
        let is_new = self.labels.kind[object as usize] == NONE;
        let is_direct = self.tree.is_under(object, from);
        let piece = match is_new || is_direct == self.labels.is_direct(object) {
            true => piece,
            // The step from what holds it stays.
            false => self.labels.kind_of(object).piece,
        };
        if is_new && is_direct {
            self.labels.is_direct.set(object);
        }
        let label = label.map_or(NONE, |label| self.labels.number_of(label));
        self.labels.set_kind(object, Kind { label, piece });
        self.queue.push(object);
    }
}
