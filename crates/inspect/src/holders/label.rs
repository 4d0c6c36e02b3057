//! What each object is: its type, and the step that leads to it, found by one breadth-first walk from the roots.
//!
//! The walk goes rank by rank, as the attribution does. The object that a walk came from lies on a shortest way; so if
//! whatever holds an object points at it directly, the walk came from there.

use std::collections::HashMap;

use super::Taken;
use super::locals::{LocalNames, Named};
use crate::Program;
use crate::heap::Heap;
use crate::roots::{Root, RootKind, RootPointer};
use crate::types::{Label, Piece, Sources, Types, Words};

/// No label, or no object.
pub(super) const NONE: u32 = u32::MAX;

/// Labels and steps of all objects. 12 bytes per object.
pub(super) struct Labels<'a> {
    pub(super) types: Types<'a>,
    /// Distinct labels.
    known: Vec<Label>,
    numbers: HashMap<Label, u32>,
    /// By object.
    label: Vec<u32>,
    piece: Vec<Piece>,
    /// By object: the object or root (behind the objects) that the walk came from; `NONE` when it wasn't reached.
    from: Vec<u32>,
    /// Names of labels, worked out when asked for.
    names: HashMap<u32, Piece>,
    locals: LocalNames,
}

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

/// The walk.
struct Walk<'a, 'b> {
    labels: &'b mut Labels<'a>,
    heap: &'b Heap,
    words: HeapWords<'b>,
    /// The next level.
    queue: Vec<u32>,
}

impl<'a> Labels<'a> {
    pub(super) fn new(program: &'a Program, taken: &Taken) -> Self {
        let slots = taken.heap.slots() as usize;
        let mut labels = Self {
            types: Types::new(Sources::of(program)),
            known: Vec::new(),
            numbers: HashMap::new(),
            label: vec![NONE; slots],
            piece: vec![Piece::default(); slots],
            from: vec![NONE; slots],
            names: HashMap::new(),
            locals: LocalNames::default(),
        };
        let (heap, roots) = (&taken.heap, &taken.roots);
        let mut pointers: Vec<&RootPointer> = roots.pointers.iter().collect();
        let rank =
            |pointer: &RootPointer| roots.roots[pointer.root as usize].rank(&roots.goroutines);
        // Stable: pointers of one root stay together, in their order.
        pointers.sort_by_key(|pointer| rank(pointer));
        let mut walk = Walk {
            labels: &mut labels,
            heap,
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
        labels
    }

    /// The label of an object, if it is known.
    pub(super) fn of(&self, object: u32) -> Option<Label> {
        self.known
            .get(self.label[object as usize] as usize)
            .copied()
    }

    /// A number for an object's label: equal for equal labels.
    pub(super) fn number(&self, object: u32) -> u32 {
        self.label[object as usize]
    }

    /// The step to an object from what holds it, when that points at it directly.
    pub(super) fn step(&self, object: u32, above: u32) -> Option<Piece> {
        (self.from[object as usize] == above).then(|| self.piece[object as usize])
    }

    /// The last step of a shortest way to an object.
    pub(super) fn piece(&self, object: u32) -> Piece {
        self.piece[object as usize]
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
                let Some(ty) = global.ty.map(|ty| self.types.by_die(ty)) else {
                    return (Piece::default(), None);
                };
                let at = global.addr + pointer.place;
                let label = Label::one(ty);
                let slot = self
                    .types
                    .slot(label, pointer.place, at, pointer.value, &words);
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
        let mut level = Vec::new();
        while !self.queue.is_empty() {
            std::mem::swap(&mut level, &mut self.queue);
            level.sort_unstable();
            for &object in &level {
                self.expand(object);
            }
            level.clear();
        }
    }

    fn expand(&mut self, object: u32) {
        let heap = self.heap;
        let span = heap.span_of(object);
        if span.is_pointer_free() || heap.is_cut(object) {
            return;
        }
        let index = object - span.first;
        if let Some((descriptor, delta)) = heap.exact_type(span, index)
            && let Some(label) = self.labels.types.object(descriptor, span.elem - delta)
        {
            let label = Label { delta, ..label };
            self.labels.label[object as usize] = self.labels.number_of(label);
        }
        let label = self.labels.of(object);
        let addr = span.base + u64::from(index) * span.elem;
        heap.each_word(span, index, 0, |word, value| {
            let Some(target) = heap.object_at(value) else {
                return true;
            };
            // Most pointers lead to something already met: then names are worked out no more.
            let is_new = self.labels.from[target as usize] == NONE;
            if !is_new && (self.labels.label[target as usize] != NONE || label.is_none()) {
                return true;
            }
            let offset = u64::from(word) * 8;
            let slot = label.map(|label| {
                let types = &mut self.labels.types;
                types.slot(label, offset, addr + offset, value, &self.words)
            });
            let delta = value - heap.address(target);
            let (piece, found) = slot.map_or((Piece::default(), None), |slot| {
                (slot.piece, slot.label(delta))
            });
            self.meet(target, object, piece, found);
            true
        });
    }

    /// Takes an object that was not met before; or, once, one whose type was not known.
    fn meet(&mut self, object: u32, from: u32, piece: Piece, label: Option<Label>) {
        let at = object as usize;
        let is_new = self.labels.from[at] == NONE;
        if !is_new && (self.labels.label[at] != NONE || label.is_none()) {
            return;
        }
        if is_new {
            self.labels.from[at] = from;
        }
        if self.labels.from[at] == from {
            self.labels.piece[at] = piece;
        }
        if let Some(label) = label {
            self.labels.label[at] = self.labels.number_of(label);
        }
        self.queue.push(object);
    }
}
