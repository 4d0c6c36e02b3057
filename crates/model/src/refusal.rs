//! Evidence that was not taken, and why: so that a hole in an incident is an answer too.

use serde::{Deserialize, Serialize};

use crate::incident::EvidenceKind;
use crate::target::TargetId;

/// Something that was not taken from a target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusedCapture {
    /// What it would have been.
    pub capture: EvidenceKind,
    /// From which target.
    pub target: TargetId,
    /// Why not.
    #[serde(flatten)]
    pub refusal: Refusal,
}

/// Why something was not taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "reason", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Refusal {
    /// It would stop a program with so many goroutines for too long.
    TooManyGoroutines {
        /// How many it has.
        goroutines: u64,
        /// How many it may have.
        allowed: u64,
    },
    /// How many goroutines it has is not known, so neither is how long it would be stopped.
    GoroutinesUnknown,
    /// What it makes the target allocate might bring it to its limit.
    LittleHeadroom {
        /// What is left to the effective limit.
        headroom_bytes: u64,
        /// What must be left.
        needed_bytes: u64,
        /// Which limit.
        limit_source: String,
    },
    /// The target was captured at some cost a short while ago: put off.
    TooSoon {
        /// Until it may be taken.
        wait_s: u64,
    },
    /// A costly capture on the same host or of the same workload is under way: put off.
    Busy {
        /// Of which workload.
        of: String,
    },
    /// It is larger than what is kept.
    TooLarge {
        /// The most that is kept.
        allowed_bytes: u64,
    },
    /// We use more memory than our budget allows: put off.
    OverBudget {
        /// What we use.
        used_bytes: u64,
        /// What we may use.
        budget_bytes: u64,
    },
    /// It was asked for, and not had.
    Failed {
        /// Why, in words.
        why: String,
    },
}

impl Refusal {
    /// Whether it may be had later without anybody doing anything.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        matches!(
            self,
            Self::TooSoon { .. } | Self::Busy { .. } | Self::OverBudget { .. }
        )
    }
}
