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
    /// What its own series say of its work: rates of counters, and gauges.
    #[serde(default)]
    pub series: Vec<OwnSeries>,
    /// When it was last read.
    #[serde(with = "crate::time::rfc3339::option")]
    pub last_read: Option<UnixMs>,
}

/// One figure of a target's own.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OwnSeries {
    /// `rate:NAME` (per second), `gauge:NAME`, or `named:NAME` for a gauge that the configuration calls load.
    pub source: String,
    /// Its last value.
    pub value: f64,
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
    /// Who cannot be told of incidents, and why, in words. It is ready all the same: reading, judging and its pages
    /// do not wait for a receiver.
    #[serde(default)]
    pub undelivered: Vec<String>,
    /// What limits it although it is ready, such as processes that it may not look into.
    #[serde(default)]
    pub notes: Vec<String>,
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
    /// What it uses itself, and may use.
    #[serde(default)]
    pub own: OwnCost,
}

/// What the watcher uses itself, beside its budget.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct OwnCost {
    /// Over how many seconds CPU is averaged; 0 before the first measure.
    pub window_s: f64,
    /// Cores used on average over the window, or since something was last left for later or taken up again.
    pub cpu_cores: Option<f64>,
    /// Cores that may be used.
    pub cpu_budget_cores: f64,
    /// Memory in use: the main process's resident pages and what the others have of their own.
    pub memory_bytes: u64,
    /// Memory that may be used.
    pub memory_budget_bytes: u64,
    /// The same by process.
    pub processes: Vec<OwnProcess>,
    /// What may be left for later to stay within the budget, in the order in which it is.
    pub shed: Vec<Shed>,
}

impl OwnCost {
    /// What is left for later now and why, in words; nothing while the budget is kept.
    #[must_use]
    pub fn in_words(&self) -> Vec<String> {
        let percent = 100.0 * self.cpu_budget_cores;
        let mib = self.memory_budget_bytes as f64 / 1_048_576.0;
        let met = [
            (
                false,
                format!("budget.cpu, {percent:.2} % of a core, was met"),
            ),
            (true, format!("budget.memory, {mib:.0} MiB, was met")),
        ];
        let told = met.into_iter().filter_map(|(for_memory, met)| {
            let now = self.shed.iter().filter(|shed| shed.now);
            let now = now.filter(|shed| shed.for_memory == for_memory);
            let texts: Vec<&str> = now.map(|shed| &*shed.text).collect();
            (!texts.is_empty()).then(|| format!("{met}: {}", texts.join("; ")))
        });
        told.collect()
    }

    /// Whether nothing new may be kept in caches.
    #[must_use]
    pub fn is_short_of_memory(&self) -> bool {
        self.shed
            .iter()
            .any(|shed| shed.now && shed.what == "caches")
    }
}

/// One of our own processes.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct OwnProcess {
    /// `main`, `reader`, `keeper`, or `children`: those of the reader that have ended.
    pub role: String,
    /// CPU time since its start, in seconds.
    pub cpu_seconds: f64,
    /// Its memory.
    pub memory_bytes: u64,
}

/// Something optional.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Shed {
    /// It saves memory; else it saves CPU.
    pub for_memory: bool,
    /// Its short name.
    pub what: String,
    /// What happens when it is left for later, in words.
    pub text: String,
    /// It is left for later now.
    pub now: bool,
    /// How often that has begun.
    pub times: u64,
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
