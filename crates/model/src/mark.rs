//! Marks on the course of a workload: deploys, restarts, ends. Each is a sample of value 1 of the
//! series [`MARK_SERIES`], so it is kept, queried and drawn as all series are.

use serde::{Deserialize, Serialize};

use crate::labels::Labels;
use crate::series::Sample;
use crate::target::{Revision, Workload};
use crate::time::UnixMs;

/// The name under which marks are stored.
pub const MARK_SERIES: &str = "unswept_mark";
/// The label with the workload's name.
pub const WORKLOAD_LABEL: &str = "workload";
/// The label with the sort of mark.
pub const MARK_LABEL: &str = "mark";
/// The label with the revision, of deploys.
pub const REVISION_LABEL: &str = "revision";

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MarkKind {
    /// The first target of a revision that the workload did not run before.
    Deploy,
    /// A target that takes the place of one that has ended.
    Restart,
    /// A target has ended.
    Exit,
    /// Something in a target's container was killed for lack of memory.
    Oom,
}

impl MarkKind {
    /// The word in labels, timelines and JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Deploy => "deploy",
            Self::Restart => "restart",
            Self::Exit => "exit",
            Self::Oom => "oom",
        }
    }
}

/// One mark.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    /// When.
    pub at: UnixMs,
    /// What happened.
    pub kind: MarkKind,
    /// To which workload.
    pub workload: Workload,
    /// What was deployed; empty for other marks.
    pub revision: Revision,
}

impl Mark {
    /// The mark as it is stored.
    #[must_use]
    pub fn sample(&self) -> (Labels, Sample) {
        let mut labels = vec![
            (WORKLOAD_LABEL, self.workload.0.as_str()),
            (MARK_LABEL, self.kind.as_str()),
        ];
        if !self.revision.0.is_empty() {
            labels.push((REVISION_LABEL, self.revision.0.as_str()));
        }
        let sample = Sample { t: self.at, v: 1.0 };
        (Labels::metric(MARK_SERIES, labels), sample)
    }
}
