//! Memory made of pieces that a test, or a fuzzer, wrote down.

use std::collections::BTreeMap;

use super::{Counter, Memory, ReadCost};
use crate::InspectError;

/// Memory that consists of the given pieces and nothing else.
#[derive(Debug, Default)]
pub struct Pieces {
    pieces: BTreeMap<u64, Vec<u8>>,
    counter: Counter,
}

impl Pieces {
    /// No memory at all.
    pub fn new() -> Self {
        Self::default()
    }

    /// Puts `bytes` at `addr`. Pieces must not overlap.
    pub fn put(&mut self, addr: u64, bytes: impl Into<Vec<u8>>) -> &mut Self {
        self.pieces.insert(addr, bytes.into());
        self
    }

    fn find(&self, addr: u64) -> Option<&[u8]> {
        let (start, bytes) = self.pieces.range(..=addr).next_back()?;
        bytes
            .get(usize::try_from(addr - start).ok()?..)
            .filter(|rest| !rest.is_empty())
    }
}

impl Memory for Pieces {
    fn read(&self, addr: u64, buf: &mut [u8]) -> Result<(), InspectError> {
        self.counter.add(buf.len());
        let (len, mut done) = (buf.len(), 0);
        while done < len {
            let at = addr.checked_add(done as u64);
            let rest = at.and_then(|at| self.find(at));
            let rest = rest.ok_or(InspectError::Unreadable { addr, len })?;
            let n = rest.len().min(len - done);
            buf[done..done + n].copy_from_slice(&rest[..n]);
            done += n;
        }
        Ok(())
    }

    fn cost(&self) -> ReadCost {
        self.counter.cost()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::Range;

    #[test]
    fn adjacent_pieces_read_as_one_and_gaps_refuse() {
        let mut memory = Pieces::new();
        memory.put(100, [1, 2, 3, 4]).put(104, [5, 6]).put(200, [7]);
        let read = |addr, len| {
            let mut buf = vec![0; len];
            memory.read(addr, &mut buf).map(|()| buf).ok()
        };
        assert_eq!(read(102, 4), Some(vec![3, 4, 5, 6]));
        assert_eq!(read(102, 5), None, "one byte past the end");
        assert_eq!(read(99, 1), None);
        assert_eq!(read(u64::MAX, 2), None, "past the address space");
        let ranges = [
            Range { addr: 100, len: 2 },
            Range { addr: 150, len: 2 },
            Range { addr: 200, len: 1 },
        ];
        let mut buf = [9; 5];
        assert_eq!(memory.read_many(&ranges, &mut buf), 1);
        assert_eq!(buf, [1, 2, 0, 0, 7]);
    }
    #[test]
    fn a_length_is_believed_as_far_as_there_is_memory() {
        let mut memory = Pieces::new();
        memory.put(0x1000, vec![7; 40 << 20]);
        let memory: &dyn Memory = &memory;
        let bytes = |len| memory.bytes("a list", 0x1000, len, u64::MAX);
        assert!(bytes(40 << 20).is_ok_and(|bytes| bytes.len() == 40 << 20));
        assert!(bytes((40 << 20) + 1).is_err(), "one byte past the end");
        assert!(bytes(1 << 46).is_err(), "more than an address space has");
    }
}
