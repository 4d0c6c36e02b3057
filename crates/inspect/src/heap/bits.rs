//! The pointer bitmaps of Go 1.21 and older: one bit a word for each arena, apart from the heap.

use std::collections::HashMap;

use crate::layout::{Field, Layout};
use crate::memory::le64;
use crate::{InspectError, Program, limits};

/// Bytes that one arena covers.
const ARENA: u64 = 64 << 20;

/// Bitmaps by the number of their arena.
#[derive(Debug, Default)]
pub(crate) struct ArenaBits {
    arenas: HashMap<u64, Arena>,
}

#[derive(Debug)]
struct Arena {
    /// One bit a word: a pointer.
    pointers: Vec<u8>,
    /// One bit for each 64 words: no pointer of the object follows them.
    no_more: Vec<u8>,
}

impl ArenaBits {
    /// Whether this layout keeps its bitmaps so.
    pub(crate) fn fields(layout: &Layout) -> Option<(Field, Field)> {
        let either = |name: &str| {
            let plain = layout.find(&format!("heapArena.{name}"));
            plain.or_else(|| layout.find(&format!("heapArena.heapArenaPtrScalar.{name}")))
        };
        Some((either("bitmap")?, either("noMorePtrs")?))
    }

    /// Copies the bitmaps of all arenas: a 64th of the heap's address space.
    pub(crate) fn read(program: &Program, fields: (Field, Field)) -> Result<Self, InspectError> {
        let (memory, layout) = (program.memory(), program.layout());
        let heap = program.symbol("runtime.mheap_")?;
        let list = layout
            .find("mheap.allArenas")
            .or_else(|| layout.find("mheap.heapArenas"));
        let list = list.ok_or_else(|| InspectError::Missing {
            what: "list of arenas".to_owned(),
        })?;
        let (indexes, count) = memory.slice_header(heap + list.offset)?;
        let indexes = memory.bytes(
            "the list of arenas",
            indexes,
            count.saturating_mul(8),
            8 * limits::ARENAS_MAX,
        )?;
        let table = memory.u64(heap + layout.field("mheap.arenas")?.offset)?;
        let mut arenas = HashMap::new();
        for index in indexes.chunks_exact(8).map(|word| le64(word, 0)) {
            let arena = memory.u64(table.wrapping_add(index.wrapping_mul(8)))?;
            let copy = |field: Field| {
                memory.bytes(
                    "a heap bitmap",
                    arena.wrapping_add(field.offset),
                    field.bytes,
                    ARENA / 64,
                )
            };
            let base = index
                .wrapping_mul(ARENA)
                .wrapping_add(program.machine().arena_base);
            let arena = Arena {
                pointers: copy(fields.0)?,
                no_more: copy(fields.1)?,
            };
            arenas.insert(base / ARENA, arena);
        }
        Ok(Self { arenas })
    }

    /// The bits of the words from `addr` up to the next border of 64, at least one; how many words that are; and
    /// whether pointers may follow.
    pub(crate) fn at(&self, addr: u64) -> Option<(u64, u64, bool)> {
        let arena = self.arenas.get(&(addr / ARENA))?;
        let word = addr % ARENA / 8;
        let (chunk, shift) = ((word / 64) as usize, word % 64);
        let bits = le64(&arena.pointers, chunk * 8) >> shift;
        let ends = arena.no_more.get(chunk / 8)? >> (chunk % 8) & 1 == 1;
        Some((bits, 64 - shift, !ends))
    }
}
