//! All goroutines of a program: what each does, since when, where, who began it, and what it waits for.
//!
//! Start with [`goroutines`]. [`Goroutines::text`] is what `/debug/pprof/goroutine?debug=2` would print,
//! [`Goroutines::groups`] puts those together that stand at the same place.
//!
//! A live program goes on meanwhile. What moved while it was read is read again a few times; what keeps moving
//! is marked [`Goroutine::approximate`]. A goroutine on a thread has its stack in registers, which only a stopped
//! thread tells.

mod groups;
mod labels;
mod look;
mod names;
mod raw;
mod reasons;
mod stacks;
mod text;
mod threads;
mod unwind;
mod waits;

use std::sync::Arc;

use serde::{Deserialize, Serialize};

pub use groups::{Group, Sample, WaitTimes};
pub use labels::Labels;
pub use look::{GENERAL_REGISTERS_MAX, Options, Registers};
pub use raw::Status;
pub use stacks::{Frame, Stack};
pub use text::{GroupsText, Text};
pub use threads::stopped_thread;
pub use unwind::{Code, End, PhysicalFrame, StackBytes, Start, Unwinder};
pub use waits::Wait;

pub(crate) use look::{SeenStack, Standing, Visit};
use look::{Target, look};
pub(crate) use raw::OWN;

use crate::program::minor_version;
use crate::{InspectError, Program};

/// Reads all goroutines of `program`.
///
/// Cost: 10,000 goroutines are about ten calls of the kernel and some tens of milliseconds; memory is what the
/// dump takes, and up to 64 MiB of stacks at a time.
///
/// # Errors
/// When the list of goroutines cannot be found or read. A single goroutine that cannot be read is counted, or
/// has no stack.
pub fn goroutines(program: &Program, options: &Options<'_>) -> Result<Goroutines, InspectError> {
    with_stacks(program, options, None)
}

/// As [`goroutines`], showing each stack's bytes to `visit`.
pub(crate) fn with_stacks(
    program: &Program,
    options: &Options<'_>,
    visit: Option<Visit<'_>>,
) -> Result<Goroutines, InspectError> {
    let target = Target {
        memory: program.memory(),
        layout: program.layout(),
        code: Code::of(program)?,
        minor: minor_version(program.go_version()).unwrap_or(u32::MAX),
        allgs: program.symbol("runtime.allgs")?,
        wait_reasons: program.symbol("runtime.waitReasonStrings").ok(),
        finalizer_status: program.symbol("runtime.fingStatus").ok(),
    };
    look(&target, options, visit)
}

/// A dump.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Goroutines {
    /// The goroutines, in the runtime's order.
    pub goroutines: Vec<Goroutine>,
    /// Distinct stacks.
    pub stacks: Vec<Stack>,
    /// Distinct places where goroutines were begun.
    pub creators: Vec<Frame>,
    /// How many goroutines of the runtime itself were left out.
    pub system_left_out: u64,
    /// How many could not be read.
    pub unreadable: u64,
}

/// One goroutine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Goroutine {
    /// Its number; what tracebacks call it.
    pub id: u64,
    /// Where its `runtime.g` lies.
    pub addr: u64,
    /// What it does.
    pub status: Status,
    /// The collector looks at its stack just now.
    pub scan: bool,
    /// What it waits for, in the runtime's words: `chan receive`, `IO wait`; empty where it does not wait.
    pub wait_reason: Arc<str>,
    /// It has waited for this many nanoseconds at least. The runtime notes the time at the first collection that
    /// finds a goroutine parked, so this is a lower bound, and missing before the first one.
    pub waited_ns: Option<u64>,
    /// Bound to its thread (`runtime.LockOSThread`).
    pub locked_to_thread: bool,
    /// The bubble of `testing/synctest` that it is in.
    pub bubble: Option<Bubble>,
    /// The runtime's own, which a traceback leaves out.
    pub system: bool,
    /// The place in [`Goroutines::stacks`]; nothing for one that runs, unless its thread was stopped.
    pub stack: Option<usize>,
    /// The function that it began in, where no stack tells.
    #[serde(default)]
    pub entry: Option<Arc<str>>,
    /// Bytes of its stack, all of it, and how much of that is in use.
    pub stack_bytes: StackSize,
    /// It moved while it was read, so its stack may be of no one moment; or it runs, and its stack is that of
    /// its last stop.
    pub approximate: bool,
    /// The place in [`Goroutines::creators`]; nothing for the first goroutine and for those that C began.
    pub creator: Option<usize>,
    /// The number of the goroutine that began it; zero where unknown.
    pub parent: u64,
    /// The labels of `pprof.Do`.
    pub labels: Labels,
    /// The channels and semaphores that it is queued at.
    pub waits: Vec<Wait>,
}

/// Sizes of a stack in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StackSize {
    /// As allocated.
    pub allocated: u64,
    /// From the innermost frame on.
    pub used: u64,
}

/// A bubble of `testing/synctest`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bubble {
    /// Its number; in Go 1.24 that of the goroutine that began it.
    pub id: u64,
    /// Go 1.24 called it a group.
    pub is_group: bool,
}

#[cfg(test)]
mod tests;
