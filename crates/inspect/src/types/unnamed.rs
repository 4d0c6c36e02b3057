//! Values of variables whose types nobody tells, as in a stripped program: an interface tells its own.

use super::descriptor::Header;
use super::slot::Piece;
use super::{Kind, Slot, TypeId, Types, Words};
use crate::memory::{le32, le64};

/// Bytes of `internal/abi.ITab` up to its methods, the same from Go 1.21 to 1.27: interface, type, the type's hash.
const ITAB_BYTES: usize = 24;
/// Where the hash of a type lies in its descriptor.
const HASH: u64 = 16;

impl Types<'_> {
    /// What the pointer `value` at `at` points at, if both are the second word of an interface with methods. `None` where
    /// the word before is no table of methods: a type alone would be no proof, since variables that point at types lie
    /// beside variables of any type.
    pub fn in_interface(&mut self, at: u64, value: u64, words: &dyn Words) -> Option<Slot> {
        let table = at.checked_sub(8).and_then(|at| words.word(at))?;
        let ty = self.of_table(table)?;
        Some(self.boxed(Piece::default(), Some(ty), value, words))
    }

    /// The type in a table of methods: the table has the type's hash, so nothing else is taken for one.
    fn of_table(&mut self, table: u64) -> Option<TypeId> {
        let memory = self.from.memory;
        let mut bytes = [0; ITAB_BYTES];
        memory.read(table, &mut bytes).ok()?;
        let (interface, ty) = (le64(&bytes, 0), le64(&bytes, 8));
        let hash = memory.u32(ty.checked_add(HASH)?).ok()?;
        let is_interface = Header::read(memory, interface)?.kind() == Kind::Interface;
        if !is_interface || hash == 0 || hash != le32(&bytes, 16) {
            return None;
        }
        self.by_descriptor(ty)
    }
}
