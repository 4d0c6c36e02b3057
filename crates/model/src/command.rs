//! What people and programs may ask of the running watcher. Faces change nothing themselves: they
//! hand a command to the engine over a bounded channel, which checks it and keeps an audit line.

use serde::{Deserialize, Serialize};

use crate::series::BoxFuture;
use crate::target::TargetId;

/// Everything that can be asked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Command {
    /// Take evidence from a target now.
    Snapshot {
        /// From which.
        target: TargetId,
    },
    /// Read the configuration again.
    Reload,
}

/// What the engine answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "kebab-case")]
pub enum CommandOutcome {
    /// Done, or under way.
    Accepted {
        /// What happens now, in words.
        text: String,
    },
    /// Not done.
    Refused {
        /// Why, in words.
        reason: String,
    },
    /// Too much is under way; try again.
    Busy,
}

/// Hands commands to the engine.
pub trait Commands: Send + Sync {
    /// Hands one over and waits for the answer; never waits for the work itself.
    fn hand(&self, command: Command) -> BoxFuture<'_, CommandOutcome>;
}
