//! A target's memory: of a live process, in a core file, or the bytes of a test.
//!
//! Everything that looks into a program goes through [`Memory`], so nothing above it knows where bytes come from.
//! Addresses are the target's own. Reads are counted, because what a look costs is told with every answer.

mod blocks;
mod bytes;
mod core;
mod live;

use std::sync::atomic::{AtomicU64, Ordering};

use crate::InspectError;

pub(crate) use blocks::Blocks;
pub use bytes::Pieces;
pub use core::CoreMemory;
pub(crate) use core::{Source, Stored};
pub use live::LiveMemory;

/// `len` bytes of the target's memory from `addr`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Range {
    /// The first address.
    pub addr: u64,
    /// How many bytes.
    pub len: usize,
}

/// What reading has cost so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ReadCost {
    /// Calls into the kernel.
    pub calls: u64,
    /// Bytes asked for.
    pub bytes: u64,
}

/// The memory of one program. Bytes may change between two reads, unless the target is stopped.
pub trait Memory: Send + Sync {
    /// Fills `buf` from `addr`, whole or not at all.
    ///
    /// # Errors
    /// [`InspectError::Unreadable`] when any byte of the range cannot be read.
    fn read(&self, addr: u64, buf: &mut [u8]) -> Result<(), InspectError>;

    /// Fills `buf` with `ranges`, one behind the other; a range that cannot be read is left as zeros.
    /// Returns how many ranges those were. `buf` must be as long as the ranges together.
    ///
    /// One call of the kernel takes up to a thousand ranges of a live process, so this is how many small
    /// things are read.
    fn read_many(&self, ranges: &[Range], buf: &mut [u8]) -> usize {
        let (mut rest, mut missing) = (buf, 0);
        for range in ranges {
            let (piece, next) = rest.split_at_mut(range.len);
            if self.read(range.addr, piece).is_err() {
                piece.fill(0);
                missing += 1;
            }
            rest = next;
        }
        missing
    }

    /// What reading has cost so far.
    fn cost(&self) -> ReadCost;
}

/// Bytes that are read at once, and allocated before it is known that they exist.
const PIECE: usize = 16 << 20;

/// Reads of common shapes. `what` names the thing for the error.
impl dyn Memory + '_ {
    /// `len` bytes from `addr`; refused above `max`, before anything is allocated. A length is only believed as far as
    /// there is memory: at most 16 MiB more than that are ever allocated.
    ///
    /// # Errors
    /// [`InspectError::TooBig`], or as [`Memory::read`].
    pub fn bytes(
        &self,
        what: &'static str,
        addr: u64,
        len: u64,
        max: u64,
    ) -> Result<Vec<u8>, InspectError> {
        if len > max {
            return Err(InspectError::TooBig {
                what,
                offset: addr,
                len,
                max,
            });
        }
        let mut bytes = Vec::new();
        while (bytes.len() as u64) < len {
            let start = bytes.len();
            let piece = PIECE.min(len as usize - start);
            bytes.reserve_exact(piece);
            bytes.resize(start + piece, 0);
            self.read(addr.wrapping_add(start as u64), &mut bytes[start..])?;
        }
        Ok(bytes)
    }

    /// Structures of `len` bytes at these addresses, one behind the other, and how many of them could not be read:
    /// those are zeros.
    pub(crate) fn records(&self, addrs: impl Iterator<Item = u64>, len: usize) -> (Vec<u8>, usize) {
        let ranges: Vec<Range> = addrs.map(|addr| Range { addr, len }).collect();
        let mut bytes = vec![0; ranges.len() * len];
        let missing = self.read_many(&ranges, &mut bytes);
        (bytes, missing)
    }

    /// A little-endian word of eight bytes.
    ///
    /// # Errors
    /// As [`Memory::read`].
    pub fn u64(&self, addr: u64) -> Result<u64, InspectError> {
        let mut bytes = [0; 8];
        self.read(addr, &mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }

    /// A little-endian word of four bytes.
    ///
    /// # Errors
    /// As [`Memory::read`].
    pub fn u32(&self, addr: u64) -> Result<u32, InspectError> {
        let mut bytes = [0; 4];
        self.read(addr, &mut bytes)?;
        Ok(u32::from_le_bytes(bytes))
    }

    /// One byte.
    ///
    /// # Errors
    /// As [`Memory::read`].
    pub fn u8(&self, addr: u64) -> Result<u8, InspectError> {
        let mut bytes = [0; 1];
        self.read(addr, &mut bytes)?;
        Ok(bytes[0])
    }

    /// Address and length of the Go slice or string whose header lies at `addr`.
    ///
    /// # Errors
    /// As [`Memory::read`].
    pub fn slice_header(&self, addr: u64) -> Result<(u64, u64), InspectError> {
        let mut bytes = [0; 16];
        self.read(addr, &mut bytes)?;
        Ok((le64(&bytes, 0), le64(&bytes, 8)))
    }
}

/// Counts reads; each source of memory has one.
#[derive(Debug, Default)]
pub(crate) struct Counter {
    calls: AtomicU64,
    bytes: AtomicU64,
}

impl Counter {
    pub(crate) fn add(&self, bytes: usize) {
        self.calls.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(crate) fn cost(&self) -> ReadCost {
        ReadCost {
            calls: self.calls.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
        }
    }
}

/// The little-endian word of eight bytes at `at`; zero where `bytes` ends before it.
pub(crate) fn le64(bytes: &[u8], at: usize) -> u64 {
    word::<8>(bytes, at).map_or(0, u64::from_le_bytes)
}

/// As [`le64`], of four bytes.
pub(crate) fn le32(bytes: &[u8], at: usize) -> u32 {
    word::<4>(bytes, at).map_or(0, u32::from_le_bytes)
}

/// As [`le64`], of two bytes.
pub(crate) fn le16(bytes: &[u8], at: usize) -> u16 {
    word::<2>(bytes, at).map_or(0, u16::from_le_bytes)
}

#[inline]
fn word<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk::<N>().copied()
}
