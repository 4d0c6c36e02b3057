//! What differs from machine to machine: one file each.

#[cfg(target_arch = "x86_64")]
mod amd64;
#[cfg(target_arch = "aarch64")]
mod arm64;

#[cfg(target_arch = "x86_64")]
pub(super) use amd64::*;
#[cfg(target_arch = "aarch64")]
pub(super) use arm64::*;

/// The registers of one stopped thread, as far as a walk of its stack and memory needs them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registers {
    /// The next instruction.
    pub pc: u64,
    /// The stack pointer.
    pub sp: u64,
    /// The link register: where the newest call returns to; zero on machines that keep that on the stack.
    pub lr: u64,
    /// The general registers by their numbers in debug information: any of them may hold a pointer that lies nowhere
    /// else.
    pub general: Vec<u64>,
}
