//! What people and programs may ask of the running watcher. Faces change nothing themselves: they
//! hand a command to the engine over a bounded channel, which checks it and keeps an audit line.

use serde::{Deserialize, Serialize};

use crate::answer::{Answer, AnswerSort};
use crate::incident::IncidentId;
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
    /// Answer an incident. It is accepted once the answer lies on the disk.
    Answer {
        /// Which.
        incident: IncidentId,
        /// What is answered.
        #[serde(flatten)]
        answer: Answer,
        /// Who answers.
        by: String,
        /// Why.
        #[serde(default)]
        note: String,
    },
    /// Take an answer back. It is accepted once that lies on the disk.
    TakeBack {
        /// Of which incident.
        incident: IncidentId,
        /// Which of its answers.
        sort: AnswerSort,
        /// Who takes it back.
        by: String,
    },
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
