//! What can go wrong when a process is to be stopped or cloned.

use std::io;
use std::time::Duration;

use super::Refusal;

/// Why a pause or a snapshot did not come about. Unless a variant says otherwise the target runs on, untouched.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StopError {
    /// There is no such process, or it has ended.
    #[error("no process has pid {pid}")]
    NoProcess {
        /// The pid.
        pid: u32,
    },
    /// The kernel does not let us.
    #[error("not allowed to trace process {pid}")]
    Refused {
        /// The process.
        pid: u32,
        /// Who refuses, and why.
        source: Refusal,
    },
    /// Some thread did not stop within the time there was.
    #[error("thread {tid} of process {pid} (state {state}) did not stop within {waited:?}")]
    WillNotStop {
        /// The process.
        pid: u32,
        /// The first thread that still ran.
        tid: u32,
        /// Its state, as `/proc` tells it.
        state: char,
        /// How long we waited.
        waited: Duration,
    },
    /// The caller's own condition was not met by any attempt.
    #[error("no good moment to stop process {pid} in {attempts} attempts")]
    NoGoodMoment {
        /// The process.
        pid: u32,
        /// How often it was stopped and let go.
        attempts: u32,
    },
    /// More threads than this crate stops.
    #[error("process {pid} has {threads} threads, above the limit of {max}")]
    TooManyThreads {
        /// The process.
        pid: u32,
        /// How many it has.
        threads: usize,
        /// The limit.
        max: usize,
    },
    /// The guard process could not be started, or is gone. Without it nothing is stopped.
    #[error("the guard of the pause failed: {what}")]
    Guard {
        /// What failed.
        what: &'static str,
        /// Why.
        source: io::Error,
    },
    /// The kernel refused a step of the trace. What was held has been let go.
    #[error("failed to {what} (thread {tid})")]
    Trace {
        /// The step.
        what: &'static str,
        /// The thread it was for.
        tid: u32,
        /// Why.
        source: io::Error,
    },
    /// A file of `/proc` or of the control groups could not be read.
    #[error("failed to read {path}")]
    Read {
        /// The file.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// Snapshots are not written for this machine.
    #[error("snapshots need amd64; this machine is {arch}")]
    UnsupportedArch {
        /// What it is.
        arch: &'static str,
    },
    /// The target is stopped by a signal already: a thread of it cannot make a call.
    #[error("process {pid} is stopped (state {state})")]
    Stopped {
        /// The process.
        pid: u32,
        /// Its state, as `/proc` tells it.
        state: char,
    },
    /// The target filters its system calls, and nobody can tell from outside what happens to a `clone`.
    #[error(
        "process {pid} runs under a seccomp filter, which may kill it for a system call it does not expect"
    )]
    Seccomp {
        /// The process.
        pid: u32,
    },
    /// Cloning could exhaust something.
    #[error(
        "no room for a snapshot of process {pid}: it may need {need}, and {limit} leaves {free} ({what})"
    )]
    NoRoom {
        /// The process.
        pid: u32,
        /// What is short.
        what: Room,
        /// How much it may need: bytes or processes.
        need: u64,
        /// How much there is.
        free: u64,
        /// Who limits it: a file.
        limit: String,
    },
    /// The stop would take longer than allowed.
    #[error(
        "a snapshot of process {pid} would stop it for about {estimate:?}, above the limit of {max:?}"
    )]
    TooLong {
        /// The process.
        pid: u32,
        /// The estimate, from the memory that it has written.
        estimate: Duration,
        /// The limit.
        max: Duration,
    },
    /// The code that makes a call safe is not in the target.
    #[error("process {pid} has no runtime.clone of Go that we know")]
    NoSite {
        /// The process.
        pid: u32,
    },
    /// No thread waits where a call can be put in safely.
    #[error("no thread of process {pid} is parked in runtime.futex")]
    NoParkedThread {
        /// The process.
        pid: u32,
    },
    /// The target's `clone` failed.
    #[error("process {pid} could not be cloned")]
    Clone {
        /// The process.
        pid: u32,
        /// What its kernel said.
        source: io::Error,
    },
    /// A call that the target was to make took longer than allowed. It was let go in the middle of it.
    #[error("process {pid} took longer than allowed to make a call that was put into it")]
    Overdue {
        /// The process.
        pid: u32,
    },
    /// The clone is dead, but could not be taken off the target's list of children: a zombie without memory.
    #[error("the dead clone {child} is still a zombie of process {pid}")]
    NotReaped {
        /// The target.
        pid: u32,
        /// The clone.
        child: u32,
    },
}

/// What a snapshot needs room in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Room {
    /// Bytes of memory.
    Memory,
    /// Bytes the kernel promises (strict overcommit).
    Commit,
    /// Processes.
    Processes,
}

impl std::fmt::Display for Room {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Memory => "bytes of memory",
            Self::Commit => "bytes that may be committed",
            Self::Processes => "processes",
        })
    }
}

impl StopError {
    /// True when the next moment may be better.
    pub(super) fn passes(&self) -> bool {
        matches!(
            self,
            Self::WillNotStop { .. }
                | Self::NoParkedThread { .. }
                | Self::NoGoodMoment { .. }
                | Self::Refused {
                    source: Refusal::Traced { .. },
                    ..
                }
        )
    }

    /// What the user can do about it, where that is known.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Refused { source, .. } => return Some(source.remedy()),
            Self::WillNotStop { state: 'D', .. } => {
                "the thread waits inside the kernel (a disk, NFS, or a vfork): try again, or look without stopping"
            }
            Self::WillNotStop { .. } | Self::Overdue { .. } => {
                "the machine is overloaded: allow a longer pause, or look without stopping"
            }
            Self::NoGoodMoment { .. } => {
                "it was in the middle of a garbage collection each time: try again, or look without stopping"
            }
            Self::TooManyThreads { .. }
            | Self::UnsupportedArch { .. }
            | Self::NoSite { .. }
            | Self::TooLong { .. } => "look without stopping, or with a pause",
            Self::Stopped { .. } => "continue it first (kill -CONT), or look with a pause",
            Self::Seccomp { .. } => {
                "force it only when you know that its filter allows clone and wait4; else use a pause"
            }
            Self::NoRoom { .. } => {
                "raise the limit for the time of the look, or use a pause, which needs no memory"
            }
            Self::NoParkedThread { .. } => "every thread of it is busy: try again, or use a pause",
            Self::NotReaped { .. } => {
                "it goes away with the target, or with the next snapshot of it"
            }
            _ => return None,
        };
        Some(hint.to_owned())
    }
}
