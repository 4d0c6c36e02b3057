//! Who holds a Go process's heap, or where its goroutines stand: one look by one short-lived child.
//!
//! The target's memory is hostile and may be huge, so the reader does not walk it itself: it starts
//! this executable once more for each look ([`HOLDERS_ARGUMENT`]), with limits that the kernel
//! keeps, and takes one bounded report from it. Whatever becomes of that child is a
//! [`HoldersFailure`], and the reader goes on. The target is never stopped.

mod child;
mod client;
mod goroutines;
mod room;
mod running;

use std::time::Duration;

use inspect::holders::Report;
use model::UnixMs;
use serde::{Deserialize, Serialize};

use crate::answers::ReadFailure;

pub use child::{HOLDERS_ARGUMENT, find_holders, is_holders};
pub use goroutines::{Call, GoroutineStack, GoroutinesLook};
pub(crate) use running::Looks;

/// Bytes of a look's answer.
const ANSWER_BYTES_MAX: u64 = 1 << 20;

/// What one look may cost us. The kernel or the reader ends it when it takes more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct HoldersBudget {
    /// From its start to its answer.
    pub time: Duration,
    /// Processor time, over all its threads.
    pub cpu: Duration,
    /// Memory of its own.
    pub memory_bytes: u64,
    /// Bytes of the target's heap that are copied: only objects with pointers count.
    pub copied_bytes: u64,
}

impl Default for HoldersBudget {
    fn default() -> Self {
        Self::new(Duration::from_secs(30), Duration::from_secs(20), 1 << 30)
    }
}

impl HoldersBudget {
    /// Three quarters of the memory may be copies; the graph takes the rest.
    #[must_use]
    pub fn new(time: Duration, cpu: Duration, memory_bytes: u64) -> Self {
        Self {
            time,
            cpu,
            memory_bytes,
            copied_bytes: memory_bytes / 4 * 3,
        }
    }

    /// The same with less memory.
    fn within(self, room_bytes: u64) -> Self {
        let memory_bytes = self.memory_bytes.min(room_bytes);
        Self {
            memory_bytes,
            copied_bytes: self.copied_bytes.min(memory_bytes / 4 * 3),
            ..self
        }
    }
}

/// What a look is at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LookAt {
    /// Who holds the heap.
    Holders,
    /// Where the goroutines stand.
    Goroutines,
}

/// What a look found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Found {
    /// Who holds the heap.
    Holders(Box<HoldersLook>),
    /// Where the goroutines stand.
    Goroutines(GoroutinesLook),
}

/// One look at who holds a heap.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HoldersLook {
    /// When the heap was copied.
    pub at: UnixMs,
    /// What it cost.
    pub cost: HoldersCost,
    /// What was found.
    pub report: Report,
}

/// What a look cost, of which only the copying touches the target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct HoldersCost {
    /// From the start to the answer, in milliseconds.
    pub time_ms: u64,
    /// Processor time, in milliseconds.
    pub cpu_ms: u64,
    /// Bytes copied out of the target.
    pub copied_bytes: u64,
    /// The most memory that the look had.
    pub memory_bytes: u64,
}

impl std::fmt::Display for HoldersCost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let seconds = |ms: u64| Duration::from_millis(ms).as_secs_f64();
        write!(
            f,
            "{:.2} s, {:.2} s of CPU, {} copied, {} of memory",
            seconds(self.time_ms),
            seconds(self.cpu_ms),
            mebibytes(self.copied_bytes),
            mebibytes(self.memory_bytes),
        )
    }
}

/// The parts of a budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum BudgetPart {
    /// [`HoldersBudget::time`].
    Time,
    /// [`HoldersBudget::cpu`].
    Cpu,
    /// [`HoldersBudget::memory_bytes`].
    Memory,
    /// [`HoldersBudget::copied_bytes`].
    Copied,
}

impl BudgetPart {
    /// As people say it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Time => "time",
            Self::Cpu => "processor time",
            Self::Memory => "memory",
            Self::Copied => "heap with pointers to copy",
        }
    }

    /// The setting that allows more.
    #[must_use]
    pub fn setting(self) -> &'static str {
        match self {
            Self::Time => "inspect.budget.time",
            Self::Cpu => "inspect.budget.cpu",
            Self::Memory | Self::Copied => "inspect.budget.memory",
        }
    }
}

/// Why there is no report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(tag = "failure", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum HoldersFailure {
    /// Something is wrong with the process, or with our access to it.
    #[error("{why}")]
    Process {
        /// What.
        why: ReadFailure,
    },
    /// Another look is being taken: one at a time.
    #[error("another look is being taken")]
    Busy,
    /// It was ended for what it took.
    #[error("it needs more {} than the {allowed} that it may take", part.as_str())]
    OverBudget {
        /// Of what it took too much.
        part: BudgetPart,
        /// How much it might take: `30 s`, `1024 MiB`.
        allowed: String,
    },
    /// A look would bring others near their limits.
    #[error("{room} has only {} to spare", mebibytes(*bytes))]
    NoRoom {
        /// Whose memory is short.
        room: String,
        /// What is left.
        bytes: u64,
    },
    /// This program cannot be looked into.
    #[error("{reason}")]
    Unreadable {
        /// Why not.
        reason: String,
        /// What would help.
        hint: Option<String>,
    },
    /// The child ended without an answer.
    #[error("the look ended without an answer: {how}")]
    Died {
        /// How it ended.
        how: String,
    },
}

impl HoldersFailure {
    /// What the user can do about it, where that is known.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::OverBudget { part, .. } => Some(format!("raise {}", part.setting())),
            Self::Process {
                why: ReadFailure::Denied { hint, .. },
            } => Some(hint.clone()),
            Self::Unreadable { hint, .. } => hint.clone(),
            _ => None,
        }
    }

    /// A look that could not even be ended.
    #[must_use]
    pub fn hangs() -> Self {
        Self::Died {
            how: "it hangs in the kernel".to_owned(),
        }
    }

    /// Whether the next try may go better by itself.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        matches!(self, Self::Busy)
    }
}

impl From<ReadFailure> for HoldersFailure {
    fn from(why: ReadFailure) -> Self {
        Self::Process { why }
    }
}

fn mebibytes(bytes: u64) -> String {
    format!("{} MiB", bytes.div_ceil(1 << 20))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_says_what_was_short_and_which_setting_allows_more() {
        let over = HoldersFailure::OverBudget {
            part: BudgetPart::Memory,
            allowed: mebibytes(1 << 30),
        };
        assert_eq!(
            over.to_string(),
            "it needs more memory than the 1024 MiB that it may take"
        );
        assert_eq!(over.hint().as_deref(), Some("raise inspect.budget.memory"));
        let none = HoldersFailure::NoRoom {
            room: "the host".into(),
            bytes: 5 << 20,
        };
        assert_eq!(none.to_string(), "the host has only 5 MiB to spare");
    }

    #[test]
    fn less_room_is_a_smaller_budget_and_more_is_the_same() {
        let budget = HoldersBudget::default();
        assert_eq!(budget.within(u64::MAX), budget);
        let less = budget.within(400 << 20);
        assert_eq!(
            (less.memory_bytes, less.copied_bytes),
            (400 << 20, 300 << 20)
        );
    }
}
