//! A snapshot: the target is stopped for as long as the kernel needs to clone it, and runs on; the clone stands
//! still and is read at leisure.

use std::time::Duration;

use super::cloner::{self, Tracer, panicked};
use super::room::Note;
use super::tracees::ThreadRegisters;
use super::{Guard, Held, StopError};

/// How long a dead clone is tried to be reaped.
pub(super) const REAP_MAX: Duration = Duration::from_secs(5);

/// Limits of a snapshot.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SnapshotOptions {
    /// Refused beforehand if cloning would take longer by an estimate, and ended by the guard if it really does.
    pub max_pause: Duration,
    /// How often the target is stopped at most until `may_stop` agrees and a thread is parked where it must be.
    pub attempts: u32,
    /// No attempt begins later than this.
    pub overall: Duration,
    /// The guard kills the clone at this age: as long as it lives, the target pays for each page it writes.
    pub age_max: Duration,
    /// The share of its written memory that the target may write again in that time; so much must be free.
    pub dirty_share: f64,
    /// Go on although the target filters its system calls. A filter may answer a `clone` by killing the target.
    pub force_seccomp: bool,
}

impl Default for SnapshotOptions {
    /// One second of pause, 30 attempts within five seconds, a minute of age, half of the memory written again.
    fn default() -> Self {
        Self {
            max_pause: Duration::from_secs(1),
            attempts: 30,
            overall: Duration::from_secs(5),
            age_max: Duration::from_secs(60),
            dirty_share: 0.5,
            force_seccomp: false,
        }
    }
}

/// What a snapshot cost the target.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct SnapshotReport {
    /// How many threads were stopped.
    pub threads: usize,
    /// Which attempt this was, from one.
    pub attempts: u32,
    /// Until all threads stood and their registers were read.
    pub stopping: Duration,
    /// `may_stop` and the clone itself.
    pub cloning: Duration,
    /// Letting go of all threads.
    pub detaching: Duration,
    /// What is unusual about the target.
    pub notes: Vec<Note>,
}

impl SnapshotReport {
    /// How long the target stood still, at most.
    pub fn pause(&self) -> Duration {
        self.stopping + self.cloning + self.detaching
    }
}

/// A clone of a process that stands still, and is gone with this value.
///
/// Its memory is read like that of any process: `LiveMemory::new(snapshot.child())`. It has one thread; where all the
/// target's threads were is in [`Snapshot::threads`].
#[derive(Debug)]
pub struct Snapshot {
    pub(super) pid: u32,
    pub(super) child: u32,
    pub(super) threads: Vec<ThreadRegisters>,
    pub(super) report: SnapshotReport,
    pub(super) tracer: Option<Tracer>,
}

impl Snapshot {
    /// Stops `pid`, has it clone itself, and lets it run on. `may_stop` is asked with the target stopped, as in
    /// [`pause`](super::pause).
    ///
    /// The clone is made by a thread of the target, which we have make a system call it would not make: this alters
    /// the target for a moment. It is done only where being killed in the middle is harmless (a thread parked in
    /// `runtime.futex`, at the `syscall` of `runtime.clone`), and refused otherwise. The clone shares no memory with
    /// the target, sends it no signal, never runs its code, and dies with us. When it is dead, the target reaps it
    /// the same way; if we are killed first, the guard has it do so.
    ///
    /// What it costs the target: a stop of 35 to 45 ms per GiB of written memory, then a page fault for each page it
    /// writes while the clone lives, and their memory.
    ///
    /// # Errors
    /// [`StopError`]: all of its refusals come before anything is touched, but [`StopError::Clone`] and
    /// [`StopError::NoParkedThread`], which may also come after a stop. In each case the target runs on.
    pub fn take(
        pid: u32,
        options: &SnapshotOptions,
        guard: Guard,
        may_stop: impl FnMut(&Held<'_>) -> bool,
    ) -> Result<Self, StopError> {
        cloner::take(pid, options, guard, may_stop)
    }

    /// The process that was cloned.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// The clone, as a pid of our own namespace.
    pub fn child(&self) -> u32 {
        self.child
    }

    /// Where all threads of the target were when it was cloned.
    pub fn threads(&self) -> &[ThreadRegisters] {
        &self.threads
    }

    /// What it cost.
    pub fn report(&self) -> &SnapshotReport {
        &self.report
    }

    /// Kills the clone, has the target reap it, and hands back the guard. Dropping does the same without a word.
    ///
    /// # Errors
    /// [`StopError::NotReaped`] when no thread of the target was parked for five seconds; the guard then tries on.
    pub fn end(mut self) -> Result<Guard, StopError> {
        match self.tracer.take() {
            Some(tracer) => match tracer.join() {
                (Some(guard), Ok(())) => Ok(guard),
                (_, outcome) => Err(outcome.err().unwrap_or_else(panicked)),
            },
            None => Err(StopError::NoProcess { pid: self.pid }),
        }
    }
}

impl Drop for Snapshot {
    fn drop(&mut self) {
        if let Some(tracer) = self.tracer.take() {
            let _ = tracer.join();
        }
    }
}

/// Dead clones of earlier snapshots whose owner *and* guard were killed are zombies of `pid`; has it reap them.
/// Returns how many were reaped. Looks at every process once.
///
/// # Errors
/// [`StopError::NoProcess`], [`StopError::NotReaped`] when no thread of the target is parked just now.
pub fn reap_leftovers(pid: u32) -> Result<usize, StopError> {
    cloner::reap_leftovers(pid)
}
