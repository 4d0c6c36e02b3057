//! The two ways of looking that touch the target: [`pause`], which stops it for a moment, and [`Snapshot`], which
//! has it cloned and lets it run on while the clone is read. Everything else in this crate only reads.
//!
//! Both go through `ptrace(2)`, and the promise is the same for both: **the target runs on, whatever happens to us.**
//! Four things keep it:
//! * Every trace is held by a thread of ours that does nothing else. However that thread ends (done, error, panic,
//!   SIGKILL of the process), the kernel lets go of all it held: a pending signal is delivered, a process that
//!   was stopped before us stays stopped.
//! * The tracer's own clock lets go at `max_pause`, whether or not the work is done.
//! * A tracer that is itself stopped (Ctrl-Z, SIGSTOP, a debugger) can't let go. So there is a [`Guard`]: a process
//!   of its own that kills the tracer when `max_pause` has passed by [`GRACE`].
//! * A call that is put into the target (only [`Snapshot`] does) is put where it cannot hurt if we die right then;
//!   see [`Snapshot::take`].
//!
//! Ask [`may_ptrace`] first: it says who refuses, why, and what would help.
//!
//! What this deliberately does not do: no signals to the target (its parent and supervisor see nothing), no
//! writes into its memory, no breakpoints.
//!
//! Source: `ptrace(2)`, `wait(2)`, `proc(5)`.

mod arch;
mod cloner;
mod error;
mod guard;
#[cfg_attr(not(target_arch = "x86_64"), path = "inject_none.rs")]
mod inject;
mod pause;
mod permission;
mod proc;
mod room;
mod snapshot;
mod tracees;

pub use arch::Registers;
pub use error::{Room, StopError};
pub use guard::{GRACE, Guard, guard_main};
pub use pause::{Held, PauseOptions, PauseReport, Paused, pause};
pub use permission::{Refusal, may_ptrace};
pub use room::Note;
pub use snapshot::{Snapshot, SnapshotOptions, SnapshotReport, reap_leftovers};
pub use tracees::ThreadRegisters;
