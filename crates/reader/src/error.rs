//! What can go wrong with the reader itself. Failures of a single process are
//! [`crate::ReadFailure`].

use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// Why the reader could not be started or asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReaderError {
    /// Capabilities belong to threads, so they must go before there are any.
    #[error("the reader must be started before any thread: {threads} are running")]
    Threads {
        /// Threads of this process.
        threads: usize,
    },
    /// The child could not be started.
    #[error("failed to start the reader from {program}", program = program.display())]
    Start {
        /// The executable.
        program: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The child does not answer as a reader of our version does.
    #[error("the reader does not introduce itself: {found}")]
    Handshake {
        /// What came instead.
        found: String,
    },
    /// A step of giving up privileges was refused.
    #[error("failed to give up privileges: {step}")]
    Privileges {
        /// The step.
        step: &'static str,
        /// Why.
        source: io::Error,
    },
    /// Privileges are still there after they were given up.
    #[error("privileges are left after giving them up: {left}")]
    PrivilegesLeft {
        /// Which.
        left: String,
    },
    /// The connection ended in the middle of a call.
    #[error("the reader was lost while it was asked for `{request}`")]
    Lost {
        /// The request.
        request: &'static str,
        /// What ended it.
        source: io::Error,
    },
    /// No answer in time: something in /proc hangs.
    #[error("the reader gave no answer to `{request}` within {deadline:?} and was ended")]
    Deadline {
        /// The request.
        request: &'static str,
        /// The time it had.
        deadline: Duration,
    },
    /// It was lost a moment ago, and the next one is not due yet.
    #[error("the reader was lost; the next one starts in {wait:?}")]
    Waiting {
        /// Until then.
        wait: Duration,
    },
    /// A frame is not what the protocol allows.
    #[error("malformed frame: {what}")]
    Malformed {
        /// What is wrong with it.
        what: String,
    },
    /// The request was understood and refused.
    #[error("the reader refused: {reason}")]
    Refused {
        /// Why.
        reason: String,
    },
}

impl ReaderError {
    /// What the user can do about it, where that is known.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Lost { .. } | Self::Deadline { .. } | Self::Waiting { .. } => Some(
                "a new reader starts with the next call; if this happens again and again, see the log for why \
                 it ends",
            ),
            Self::Start { .. } => Some("/proc must be mounted and the executable readable"),
            _ => None,
        }
    }
}
