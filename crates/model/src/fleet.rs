//! What the faces show of the running watcher: read-only views, replaced as a whole.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::incident::{Incident, IncidentId};
use crate::memory::{ContainerMemory, EffectiveLimit, GcSettings, GoMemory, Ledger, ProcessMemory};
use crate::target::{Target, TargetId, TargetState};
use crate::time::UnixMs;
use crate::verdict::Verdict;

/// One target as it stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TargetView {
    /// The target.
    pub target: Target,
    /// How watching it goes.
    pub state: TargetState,
    /// The last reading of its process.
    pub process: Option<ProcessMemory>,
    /// The last reading of its container.
    pub container: Option<ContainerMemory>,
    /// The ledger made of that, which closes on the container's usage.
    #[serde(default)]
    pub container_ledger: Option<Ledger>,
    /// What it runs into first.
    #[serde(default)]
    pub limit: EffectiveLimit,
    /// The last reading of its Go runtime.
    pub go: Option<GoMemory>,
    /// What its collector goes by.
    #[serde(default)]
    pub settings: GcSettings,
    /// The ledger made of them.
    pub ledger: Option<Ledger>,
    /// The latest verdict.
    pub verdict: Option<Verdict>,
    /// Open incidents that list it.
    pub incidents: Vec<IncidentId>,
    /// GETs made to find its endpoint: port and outcome, in words.
    pub probes: Vec<String>,
    /// When it was last read.
    #[serde(with = "crate::time::rfc3339::option")]
    pub last_read: Option<UnixMs>,
}

/// The watcher's own health, as the page and `/-/ready` tell it.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Health {
    /// When the watcher started.
    pub started: UnixMs,
    /// Its version.
    pub version: String,
    /// Why it is not ready, in words; empty when it is.
    pub troubles: Vec<String>,
    /// What limits it although it is ready, such as processes that it may not look into.
    #[serde(default)]
    pub notes: Vec<String>,
    /// Its own resident memory, all its processes summed, in bytes.
    pub self_rss_bytes: u64,
    /// Samples stored since the start.
    pub samples_stored: u64,
    /// Series that have had a sample since the start.
    pub series: u64,
    /// Seconds between two readings of a target.
    pub interval_s: f64,
    /// Where data and evidence lie.
    pub data_dir: String,
    /// Who is told of incidents, and how that goes.
    #[serde(default)]
    pub notifiers: Vec<NotifierHealth>,
}

/// How telling one receiver in one way goes. Nothing in it is secret.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct NotifierHealth {
    /// For people: `team-a (slack, hooks.slack.com)`.
    pub name: String,
    /// The receiver's name in the configuration.
    pub receiver: String,
    /// By which way: `slack`, `email`.
    pub integration: String,
    /// Host and port.
    pub to: String,
    /// Messages delivered since the start or the last change of the settings.
    pub delivered: u64,
    /// Attempts that failed.
    pub failed: u64,
    /// Alerts given up because the receiver will never take them.
    pub refused: u64,
    /// Alerts dropped because too many waited.
    pub dropped: u64,
    /// Alerts whose newest state has not been delivered.
    pub waiting: u64,
    /// What the last attempt said if it failed; empty if it did not.
    pub trouble: String,
}

/// Everything at one moment. Readers hold an `Arc` and never block the engine.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct FleetView {
    /// When it was made.
    pub at: UnixMs,
    /// Counts up with each view.
    pub version: u64,
    /// The targets, the worst first.
    pub targets: Vec<TargetView>,
    /// Incidents, the latest first, at most 1,000.
    pub incidents: Vec<Arc<Incident>>,
    /// The watcher itself.
    pub health: Health,
}

/// How faces read the running watcher.
pub trait FleetRead: Send + Sync {
    /// The latest view.
    fn view(&self) -> Arc<FleetView>;

    /// One evidence file's bytes; `None` when there is no such file. Synchronous and may read a
    /// disk: call it on a blocking thread.
    ///
    /// # Errors
    /// Those of the file system.
    fn evidence(&self, incident: &IncidentId, name: &str) -> std::io::Result<Option<Vec<u8>>>;
}

impl FleetView {
    /// The target with this id.
    #[must_use]
    pub fn target(&self, id: &TargetId) -> Option<&TargetView> {
        self.targets.iter().find(|view| view.target.id == *id)
    }

    /// The incident with this id.
    #[must_use]
    pub fn incident(&self, id: &IncidentId) -> Option<&Arc<Incident>> {
        self.incidents.iter().find(|incident| incident.id == *id)
    }
}
