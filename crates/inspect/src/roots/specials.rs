//! Records about single objects ("specials"): finalizers, cleanups, weak handles, and samples of the memory profile.
//!
//! They lie outside the heap, one list a span. Lists are followed side by side, so that a heap with a hundred
//! thousand of them costs some hundred calls.

use super::BATCH;
use super::circle::Circle;
use crate::heap::Heap;
use crate::layout::{Field, Layout};
use crate::{InspectError, Program, limits};

/// Bytes read of each record: all fields of every kind lie in them.
const RECORD: usize = 64;

/// What one record says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Special {
    /// The function that runs when the object is no longer reached.
    Finalizer(u64),
    /// The same, since Go 1.24; since 1.26 with its argument beside it.
    Cleanup(u64, u64),
    /// What weak pointers to the object point at.
    WeakHandle(u64),
    /// The bucket of the memory profile that the object was sampled into.
    Sample(u64),
}

/// A kind's number, the field that matters, and what it makes.
type Row = (Option<u64>, Option<Field>, fn(u64) -> Special);

/// The fields of the records.
struct Fields {
    next: Field,
    offset: Field,
    kind: Field,
    kinds: [Row; 3],
    cleanup: Cleanup,
}

/// Where a cleanup has its function and its argument.
struct Cleanup {
    kind: Option<u64>,
    function: Option<Field>,
    argument: Option<Field>,
}

impl Cleanup {
    fn of(layout: &Layout) -> Self {
        let word = |field: Field, at| Field {
            offset: field.offset + at,
            bytes: 8,
        };
        // Since Go 1.26 a structure: an adapter, the function, the argument.
        let (function, argument) = match layout.find("specialCleanup.cleanup") {
            Some(all) => (Some(word(all, 8)), Some(word(all, 16))),
            None => (layout.find("specialCleanup.fn"), None),
        };
        Self {
            kind: layout.constant("_KindSpecialCleanup"),
            function,
            argument,
        }
    }
}

impl Fields {
    fn of(layout: &Layout) -> Result<Self, InspectError> {
        let row =
            |constant, field, make: fn(u64) -> Special| (layout.constant(constant), field, make);
        Ok(Self {
            cleanup: Cleanup::of(layout),
            next: layout.field("special.next")?,
            offset: layout.field("special.offset")?,
            kind: layout.field("special.kind")?,
            kinds: [
                row(
                    "_KindSpecialFinalizer",
                    layout.find("specialfinalizer.fn"),
                    Special::Finalizer,
                ),
                row(
                    "_KindSpecialWeakHandle",
                    layout.find("specialWeakHandle.handle"),
                    Special::WeakHandle,
                ),
                row(
                    "_KindSpecialProfile",
                    layout.find("specialprofile.b"),
                    Special::Sample,
                ),
            ],
        })
    }

    /// What a record in the list of a span says, and of which object.
    fn found(&self, heap: &Heap, list: &List, record: &[u8]) -> Option<(u32, Special)> {
        let span = heap.spans().get(list.span as usize)?;
        let index = u32::try_from(self.offset.get(record) / span.elem).ok()?;
        let object = (index < span.count).then(|| span.first + index)?;
        let is_object = heap.is_allocated(object);
        is_object.then(|| Some((object, self.special(record)?)))?
    }

    fn special(&self, record: &[u8]) -> Option<Special> {
        let kind = self.kind.get(record);
        if self.cleanup.kind == Some(kind) {
            let word = |field: Option<Field>| field.map_or(0, |field| field.get(record));
            return Some(Special::Cleanup(
                word(self.cleanup.function),
                word(self.cleanup.argument),
            ));
        }
        let (_, field, make) = self.kinds.iter().find(|row| row.0 == Some(kind))?;
        Some(make(field.as_ref()?.get(record)))
    }
}

/// Calls `visit` with the records about objects that were handed out, some thousand at a time, each with its object.
pub(super) fn each_batch(
    program: &Program,
    heap: &Heap,
    mut visit: impl FnMut(&[(u32, Special)]),
) -> Result<(), InspectError> {
    let fields = Fields::of(program.layout())?;
    let heads = heap.specials().iter();
    let mut at: Vec<List> = heads
        .map(|&(span, at)| List {
            span,
            at,
            circle: Circle::new(at),
        })
        .collect();
    let mut left = limits::SPECIALS_MAX;
    while !at.is_empty() && left > 0 {
        at.truncate(left);
        left -= at.len();
        let mut next = Vec::new();
        for batch in at.chunks(BATCH) {
            let addrs = batch.iter().map(|list| list.at);
            let (records, _) = program.memory().records(addrs, RECORD);
            let records = records.chunks_exact(RECORD);
            let found = batch.iter().zip(records.clone());
            let found = found.filter_map(|(list, record)| fields.found(heap, list, record));
            visit(&found.collect::<Vec<_>>());
            for (list, record) in batch.iter().zip(records) {
                let mut list = *list;
                list.at = fields.next.get(record);
                if list.at != 0 && !list.circle.closes(list.at) {
                    next.push(list);
                }
            }
        }
        at = next;
    }
    Ok(())
}

/// One span's list of records, as far as it was followed.
#[derive(Clone, Copy)]
struct List {
    span: u32,
    /// Its next record.
    at: u64,
    circle: Circle,
}
