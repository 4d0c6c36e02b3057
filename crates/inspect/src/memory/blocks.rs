//! Many small reads near each other as few large ones.

use std::collections::{HashMap, VecDeque};

use super::Memory;
use crate::InspectError;

/// Read at once where the memory is there; the runtime's own allocator gets memory in pieces of 256 KiB.
const BLOCK_BYTES: u64 = 64 << 10;
/// Tried where a whole block is not there.
const PAGE_BYTES: u64 = 4 << 10;
/// Blocks kept: those that came first go first.
const BLOCKS_MAX: usize = 64;

/// Copies of the blocks that were read last, at most 4 MiB. For structures that don't change once they are made.
pub(crate) struct Blocks<'a> {
    memory: &'a dyn Memory,
    /// By their first address: whole blocks, and pages where a block is not whole.
    kept: HashMap<u64, Vec<u8>>,
    order: VecDeque<u64>,
}

impl<'a> Blocks<'a> {
    pub(crate) fn new(memory: &'a dyn Memory) -> Self {
        Self {
            memory,
            kept: HashMap::new(),
            order: VecDeque::new(),
        }
    }

    /// As [`Memory::read`].
    pub(crate) fn read(&mut self, addr: u64, buf: &mut [u8]) -> Result<(), InspectError> {
        let (len, mut done) = (buf.len(), 0);
        while done < len {
            let at = addr.checked_add(done as u64);
            let at = at.ok_or(InspectError::Unreadable { addr, len })?;
            let Some(rest) = self.rest(at) else {
                return self.memory.read(at, &mut buf[done..]);
            };
            let n = rest.len().min(len - done);
            buf[done..done + n].copy_from_slice(&rest[..n]);
            done += n;
        }
        Ok(())
    }

    /// What is kept from `at` to the end of its block or page; never empty.
    fn rest(&mut self, at: u64) -> Option<&[u8]> {
        let (block, page) = (at - at % BLOCK_BYTES, at - at % PAGE_BYTES);
        for (start, bytes) in [(block, BLOCK_BYTES), (page, PAGE_BYTES)] {
            let is_kept = |kept: &Vec<u8>| at - start < kept.len() as u64;
            if self.kept.get(&start).is_some_and(is_kept) || self.fetch(start, bytes) {
                return self.kept.get(&start)?.get((at - start) as usize..);
            }
        }
        None
    }

    fn fetch(&mut self, start: u64, bytes: u64) -> bool {
        let mut block = vec![0; bytes as usize];
        if self.memory.read(start, &mut block).is_err() {
            return false;
        }
        if self.kept.insert(start, block).is_none() {
            self.order.push_back(start);
        }
        if self.order.len() > BLOCKS_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.kept.remove(&oldest);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::Pieces;

    #[test]
    fn neighbours_cost_one_read_and_holes_refuse() {
        let mut memory = Pieces::new();
        let bytes: Vec<u8> = (0..BLOCK_BYTES).map(|at| at as u8).collect();
        memory.put(0x10_0000, bytes.clone());
        // Two pages of the next block: no whole one.
        memory.put(0x11_0000, vec![7; 2 * PAGE_BYTES as usize]);
        let mut blocks = Blocks::new(&memory);
        let mut buf = [0; 16];
        for at in (0..BLOCK_BYTES - 16).step_by(1000) {
            blocks.read(0x10_0000 + at, &mut buf).unwrap();
            assert_eq!(buf[..], bytes[at as usize..][..16]);
        }
        assert_eq!(memory.cost().calls, 1);
        blocks.read(0x10_fff8, &mut buf).unwrap();
        assert_eq!(
            buf,
            [
                248, 249, 250, 251, 252, 253, 254, 255, 7, 7, 7, 7, 7, 7, 7, 7
            ]
        );
        for at in [0x11_2000 - 8, 0x11_2000, 0xf_ffff, u64::MAX - 3] {
            assert!(blocks.read(at, &mut buf).is_err(), "{at:#x}");
        }
    }

    #[test]
    fn only_so_many_blocks_are_kept() {
        let mut memory = Pieces::new();
        let all = 3 * BLOCKS_MAX as u64;
        memory.put(0, vec![1; (all * BLOCK_BYTES) as usize]);
        let mut blocks = Blocks::new(&memory);
        for block in 0..all {
            blocks.read(block * BLOCK_BYTES, &mut [0; 8]).unwrap();
            assert!(blocks.kept.len() <= BLOCKS_MAX && blocks.order.len() <= BLOCKS_MAX);
        }
        blocks.read(0, &mut [0; 8]).unwrap();
        assert_eq!(memory.cost().calls, all + 1, "the first is gone");
    }
}
