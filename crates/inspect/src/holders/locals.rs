//! Variables on goroutines' stacks: what a person calls the slot that a pointer was found in.

use std::collections::HashMap;

use super::label::HeapWords;
use crate::Program;
use crate::dwarf::{FrameSlot, Local};
use crate::functions::Source;
use crate::roots::{FramePlace, RootPointer};
use crate::types::{Label, Piece, Slot, TypeId, Types};

/// Places that are told apart: a goroutine's kind stands at a few. What comes later has its function's name alone.
const PLACES_MAX: usize = 1 << 17;
/// No address of the target: slots are read in the copy of the stack, which is gone by now.
const NOWHERE: u64 = 1 << 63;

/// The names of slots, each worked out once.
#[derive(Default)]
pub(super) struct LocalNames {
    known: HashMap<(u64, FramePlace), Place>,
    /// A place, and the way from its variable on.
    joined: HashMap<(Piece, Piece), Piece>,
}

/// What is known of one slot at one program counter.
#[derive(Clone, Copy)]
struct Place {
    /// ` in main.worker worker.go:31, variable buf`, or the function alone.
    piece: Piece,
    /// The variable's type, and how many bytes from its start the slot lies.
    variable: Option<(TypeId, u64)>,
}

/// A pointer on a stack, named.
pub(super) struct Named {
    pub(super) piece: Piece,
    /// What is known of what it points at.
    pub(super) value: Option<Slot>,
}

impl LocalNames {
    /// Names the slot that `pointer` was found in.
    pub(super) fn at(
        &mut self,
        program: &Program,
        types: &mut Types<'_>,
        pointer: &RootPointer,
        words: &HeapWords<'_>,
    ) -> Named {
        let key = (pointer.place, pointer.slot);
        let place = match self.known.get(&key) {
            Some(&place) => place,
            None => {
                let may_ask = self.known.len() < PLACES_MAX;
                let place = Place::find(program, types, pointer, may_ask, words);
                if may_ask {
                    self.known.insert(key, place);
                }
                place
            }
        };
        let Some((ty, offset)) = place.variable else {
            return Named {
                piece: place.piece,
                value: None,
            };
        };
        let at = NOWHERE ^ offset;
        let value = types.slot(Label::one(ty), offset, at, pointer.value, words);
        let piece = match value.piece == Piece::default() {
            true => place.piece,
            false => *self
                .joined
                .entry((place.piece, value.piece))
                .or_insert_with(|| {
                    let way = format!("{}{}", types.piece(place.piece), types.piece(value.piece));
                    types.intern(&way)
                }),
        };
        Named {
            piece,
            value: Some(value),
        }
    }
}

impl Place {
    fn find(
        program: &Program,
        types: &mut Types<'_>,
        pointer: &RootPointer,
        may_ask: bool,
        words: &HeapWords<'_>,
    ) -> Self {
        let function = || {
            let functions = program.functions_of(pointer.place)?;
            Some((functions, functions.find(pointer.place)?))
        };
        let Some((functions, id)) = function() else {
            return Self {
                piece: Piece::default(),
                variable: None,
            };
        };
        let found = match may_ask {
            true => candidates(program, functions.entry(id), pointer),
            false => None,
        };
        let Some((pc, locals)) = found else {
            let piece = types.intern(&format!(" in {}", functions.name(id)));
            return Self {
                piece,
                variable: None,
            };
        };
        // Slots are used again: the variable that has a pointer there is the one.
        let mut has_pointer = |local: &Local| {
            let at = NOWHERE ^ local.offset;
            let label = local.ty.map(|ty| Label::one(types.by_die(ty)));
            let slot = label.map(|label| types.slot(label, local.offset, at, pointer.value, words));
            slot.is_some_and(|slot| slot.pointee.is_some())
        };
        let local = locals.iter().find(|local| has_pointer(local));
        let local = local.unwrap_or(&locals[0]);
        let sources: Vec<Source<'_>> = functions.sources(program.memory(), id, pc).collect();
        let is_its = |source: &&Source<'_>| match &local.inlined {
            Some(function) => source.function == function.as_str(),
            None => !source.inlined,
        };
        // The innermost call that has it.
        let source = sources.iter().find(is_its).or(sources.last());
        let place = source.map_or_else(String::new, |source| {
            let file = source.file.rsplit('/').next().unwrap_or_default();
            format!("{} {file}:{}", source.function, source.line)
        });
        let piece = types.intern(&format!(" in {place}, variable {}", local.name));
        Self {
            piece,
            variable: local.ty.map(|ty| (types.by_die(ty), local.offset)),
        }
    }
}

/// The variables that the slot may belong to, and the code address by which they were found: that of the call, else
/// the one that it returns to.
fn candidates(program: &Program, entry: u64, pointer: &RootPointer) -> Option<(u64, Vec<Local>)> {
    let slot = pointer.slot.slot()?;
    let (dwarf, frames, bias) = program.frames_at(entry)?;
    let link = |addr: u64| addr.wrapping_sub(bias);
    // Registers are those of the very instruction; what lies in a slot lies there at the call.
    let mut pcs = [pointer.place.saturating_sub(1).max(entry), pointer.place];
    if matches!(slot, FrameSlot::Register(_)) {
        pcs.reverse();
    }
    pcs.into_iter().find_map(|pc| {
        let locals = frames.locals(dwarf, link(entry), link(pc), slot);
        (!locals.is_empty()).then_some((pc, locals))
    })
}
