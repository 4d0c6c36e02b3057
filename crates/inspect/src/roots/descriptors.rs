//! Objects that have a file descriptor: those of `os.File` and of the connections and listeners of `net`.
//!
//! Go closes what nobody reaches any more by a finalizer, and by it they are told from all other objects, in stripped
//! programs too: who closes a file himself takes it off first.

use super::{BATCH, Collector};
use crate::heap::Heap;
use crate::memory::Memory;

/// Where they have the number: both begin with an `internal/poll.FD`, and that with a lock of 16 bytes and `Sysfd`,
/// ever since there is such a type (Go 1.9).
const SYSFD: u64 = 16;
/// The kernel gives no higher numbers (`fs.nr_open`).
const NUMBER_MAX: u64 = 1 << 30;

/// An object that has a descriptor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Descriptor {
    /// The `os.file` or `net.netFD`.
    pub object: u32,
    /// The descriptor, as it stands there.
    pub number: u32,
    /// What the object is.
    pub closer: Closer,
}

/// Whose finalizer it is that closes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Closer {
    /// That of an `os.File`: a file, a pipe, or whatever else was opened through one.
    File,
    /// That of a socket of package `net`.
    Socket,
}

impl Closer {
    /// By the function's name.
    pub(super) fn of(function: &str) -> Option<Self> {
        match function {
            "os.(*file).close" => Some(Self::File),
            "net.(*netFD).Close" => Some(Self::Socket),
            _ => None,
        }
    }
}

impl Collector<'_> {
    /// Those of the objects that have a descriptor now.
    pub(super) fn descriptors(
        &self,
        memory: &dyn Memory,
        closers: &[(u32, Closer)],
    ) -> Vec<Descriptor> {
        let heap: &Heap = self.heap;
        let of = |batch: &[(u32, Closer)]| -> Vec<Descriptor> {
            let addrs = batch
                .iter()
                .map(|&(object, _)| heap.address(object) + SYSFD);
            let numbers = self.words(memory, &addrs.collect::<Vec<u64>>());
            let told = batch.iter().zip(numbers);
            // One that is being closed has -1.
            told.filter(|(_, number)| *number < NUMBER_MAX)
                .map(|(&(object, closer), number)| Descriptor {
                    object,
                    number: number as u32,
                    closer,
                })
                .collect()
        };
        closers.chunks(BATCH).flat_map(of).collect()
    }
}
