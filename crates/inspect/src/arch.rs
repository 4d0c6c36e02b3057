//! What differs from machine to machine, in one place.

use crate::elf::Arch;

/// One machine's facts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Machine {
    /// As Go names it.
    pub(crate) name: &'static str,
    /// What the index of a heap arena counts from (`runtime.arenaBaseOffset`).
    pub(crate) arena_base: u64,
    /// Whether a call pushes the return address (else a register holds it, and the callee saves it).
    pub(crate) call_pushes: bool,
    /// Bytes that Go takes a cache line for (`internal/cpu.CacheLinePadSize`).
    pub(crate) cache_line: u64,
}

const AMD64: Machine = Machine {
    name: "amd64",
    arena_base: 0xffff_8000_0000_0000,
    call_pushes: true,
    cache_line: 64,
};

const ARM64: Machine = Machine {
    name: "arm64",
    arena_base: 0,
    call_pushes: false,
    cache_line: 128,
};

impl Machine {
    /// The facts of `arch`, if live programs of it can be read.
    pub(crate) fn of(arch: Arch) -> Option<Self> {
        match arch {
            Arch::Amd64 => Some(AMD64),
            Arch::Arm64 => Some(ARM64),
            _ => None,
        }
    }
}
