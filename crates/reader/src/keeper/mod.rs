//! The *keeper*: a process that alone keeps every privilege for as long as we run, and does two things with
//! them. It starts readers, so that one that was lost comes back with its rights; and it opens sockets inside
//! the network namespaces of targets, such as a pod's loopback.
//!
//! Only who has `CAP_SYS_ADMIN` may enter another network namespace, and that capability allows
//! almost everything else too. So no process that reads anything of a target has it: the main process
//! starts the keeper first of all, where there are privileges to keep. It parses nothing of a target but
//! `/proc/PID/stat`, runs no program but our own with the reader's one argument, and all it hands out is a
//! TCP socket that connects to a loopback address of a process's namespace. Talking over that socket is
//! the caller's.

use std::net::SocketAddr;

use model::ProcessKey;
use serde::{Deserialize, Serialize};

mod child;
mod client;
mod descriptor;

pub(crate) use child::serve;
pub(crate) use client::{Keeper, Kept};

/// The one argument that makes our executable a keeper.
pub(crate) const KEEPER_ARGUMENT: &str = "__keeper";

/// What gives the capability, in the words of who runs us.
const HINT: &str = "give unswept CAP_SYS_ADMIN and CAP_SYS_PTRACE (run it as root; in Kubernetes \
    securityContext.capabilities.add: [SYS_ADMIN, SYS_PTRACE] with hostPID), or serve the endpoint \
    where it can be reached and name it in scrape_configs";

/// What the keeper is asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Request {
    /// First of all: which capabilities it has; without `dials` it gives up the one for that.
    Hello { dials: bool },
    /// A socket to `address` in the network namespace of this process.
    Dial {
        key: ProcessKey,
        address: SocketAddr,
    },
    /// A reader on the socket that follows, as a descriptor with one byte.
    Reader,
}

/// What it answers. A descriptor with one byte follows where something was opened or started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Answer {
    Hello {
        capabilities: Vec<String>,
    },
    /// The socket follows.
    Dialed(Result<(), DialFailure>),
    /// The process follows, as a pidfd; or the kernel's answer.
    Reader(Result<(), String>),
}

/// Why there is no socket in a target's network namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(tag = "failure", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum DialFailure {
    /// The process has ended, or its pid is another's now.
    #[error("the process has ended")]
    Gone,
    /// Nothing but loopback is dialed.
    #[error("{address} is not a loopback address")]
    NotLoopback {
        /// What was asked for.
        address: SocketAddr,
    },
    /// Nobody of ours may enter network namespaces at all.
    #[error("network namespaces of others cannot be entered: {why}")]
    Unavailable {
        /// Why.
        why: String,
        /// What would help.
        hint: String,
    },
    /// The kernel does not let us into this one.
    #[error("no permission to enter the network namespace of process {pid}: {reason}")]
    Denied {
        /// The process.
        pid: u32,
        /// The kernel's answer.
        reason: String,
        /// What would let us.
        hint: String,
    },
    /// Anything else that the kernel answered, such as a refused connection.
    #[error("{step}: {reason}")]
    Io {
        /// What was tried.
        step: String,
        /// The kernel's answer.
        reason: String,
    },
}

impl DialFailure {
    /// What the user can do about it, where that is known.
    #[must_use]
    pub fn hint(&self) -> Option<&str> {
        match self {
            Self::Unavailable { hint, .. } | Self::Denied { hint, .. } => Some(hint),
            _ => None,
        }
    }

    fn unavailable(why: impl Into<String>) -> Self {
        Self::Unavailable {
            why: why.into(),
            hint: HINT.to_owned(),
        }
    }

    fn lost(why: impl std::fmt::Display) -> Self {
        Self::Unavailable {
            why: format!("the process that does it was lost ({why})"),
            hint: "restart unswept".to_owned(),
        }
    }
}

pub(crate) fn fuzz_one(bytes: &[u8]) {
    let _ = crate::frame::parse::<Request>(bytes);
    let _ = crate::frame::parse::<Answer>(bytes);
}
