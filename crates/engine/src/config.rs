//! The configuration: one YAML file, every key optional, Prometheus' spelling wherever Prometheus
//! has the thing. An unknown key is an error that names its line. No file at all is a good
//! configuration.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use alert::{Alerting, Receiver};
use collect::ScrapeConfig;
use model::duration::duration;
use serde::Deserialize;

pub use crate::config_budget::Budget;
pub use crate::config_inspect::{Inspect, InspectBudget, InspectEnabled};
pub use crate::config_notify::Notify;
pub use crate::config_traces::TraceLog;
use model::size::size_or_auto;

/// A configuration file larger than this is refused.
const FILE_BYTES_MAX: u64 = 4 << 20;
const JOBS_MAX: usize = 1_000;
const INSTANCES_MAX: usize = 20_000;
const LOAD_SERIES_MAX: usize = 32;
/// Listing more goroutines one by one stops any service for too long.
const GOROUTINE_DUMP_MAX: u64 = 10_000;

/// All settings.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Periods.
    pub global: Global,
    /// Targets that are written down.
    pub scrape_configs: Vec<ScrapeConfig>,
    /// How processes on this host are found.
    pub discovery: Discovery,
    /// What is kept from before.
    pub evidence: Evidence,
    /// Looking into processes: who holds a leaking heap.
    pub inspect: Inspect,
    /// What watching may cost the machine.
    pub budget: Budget,
    /// Logs with lines of gctrace and scavtrace.
    pub trace_files: Vec<TraceLog>,
    /// What of a target's own series is load.
    pub load: Load,
    /// What targets run into, beside what is read.
    pub limits: Limits,
    /// The Alertmanagers that are told.
    pub alerting: Alerting,
    /// Who is told without one.
    pub receivers: Vec<Receiver>,
    /// How alerts are told.
    pub notify: Notify,
    /// How long series are kept.
    pub storage: Storage,
    /// How the pages are reached from elsewhere.
    pub web: Web,
}

/// Periods for all targets.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Global {
    /// Between two readings of a target.
    #[serde(deserialize_with = "duration")]
    pub scrape_interval: Duration,
    /// How long one scrape may take; never more than the interval.
    #[serde(deserialize_with = "duration")]
    pub scrape_timeout: Duration,
    /// Between two verdicts on a target.
    #[serde(deserialize_with = "duration")]
    pub evaluation_interval: Duration,
    /// Labels for every alert that leaves us.
    pub external_labels: BTreeMap<String, String>,
}

/// How processes on this host are found.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Discovery {
    /// Whether the Go processes of this host are watched.
    pub local_processes: bool,
    /// Whether their listening ports are asked, one GET each, for metrics and profiles.
    pub probe_ports: bool,
    /// Whether that reaches into network namespaces of others, such as pods, where we may.
    pub network_namespaces: bool,
    /// Between two looks for new processes.
    #[serde(deserialize_with = "duration")]
    pub refresh_interval: Duration,
    /// Processes younger than this get no series: short-lived tools are no services.
    #[serde(deserialize_with = "duration")]
    pub min_age: Duration,
}

/// What is kept from before an incident.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Evidence {
    /// Between two light snapshots (heap and goroutine profile) of a target.
    #[serde(deserialize_with = "duration")]
    pub ring_interval: Duration,
    /// The least time between two captures for incidents of one target.
    #[serde(deserialize_with = "duration")]
    pub capture_interval: Duration,
    /// Whether a target may be made to collect its garbage, to see what is left.
    pub force_gc: bool,
    /// With more goroutines than this no goroutine profile is taken, and no collection forced.
    pub goroutine_profile_max: u64,
    /// With more goroutines than this they are not listed one by one.
    pub goroutine_dump_max: u64,
}

/// What of a target's own series is load.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Load {
    /// Names of gauges and counters that memory may follow without leaking, such as a queue's
    /// length, whatever they look like.
    pub series: Vec<String>,
}

/// What targets run into, beside what is read.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// kubelet's `evictionHard: memory.available`: with less available on the node, pods are
    /// evicted. In bytes; 0 for never, and `None` for what kubelet's own configuration says.
    #[serde(deserialize_with = "size_or_auto")]
    pub eviction_available: Option<u64>,
}

/// How long series are kept.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Storage {
    /// Raw series older than this go.
    #[serde(deserialize_with = "duration")]
    pub retention: Duration,
}

/// How the pages are reached from elsewhere.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Web {
    /// The URL under which people reach the pages, for links in alerts.
    pub external_url: Option<String>,
}

impl Default for Global {
    fn default() -> Self {
        Self {
            scrape_interval: Duration::from_secs(15),
            scrape_timeout: Duration::from_secs(10),
            evaluation_interval: Duration::from_secs(15),
            external_labels: BTreeMap::new(),
        }
    }
}

impl Default for Discovery {
    fn default() -> Self {
        Self {
            local_processes: true,
            probe_ports: true,
            network_namespaces: true,
            refresh_interval: Duration::from_secs(5),
            min_age: Duration::from_secs(60),
        }
    }
}

impl Default for Evidence {
    fn default() -> Self {
        Self {
            ring_interval: Duration::from_secs(600),
            capture_interval: Duration::from_secs(600),
            force_gc: false,
            goroutine_profile_max: 30_000,
            goroutine_dump_max: 2_500,
        }
    }
}

impl Default for Storage {
    fn default() -> Self {
        Self {
            retention: Duration::from_secs(30 * 86_400),
        }
    }
}

/// Whether `text` is a URL that can be asked: scheme, host, and nothing that a URL cannot hold.
fn is_http_url(text: &str) -> bool {
    let rest = text
        .strip_prefix("http://")
        .or_else(|| text.strip_prefix("https://"));
    let host = rest.and_then(|rest| rest.split(['/', '?', '#']).next());
    host.is_some_and(|host| host.contains(|c: char| c.is_ascii_alphanumeric()))
        && !text.contains(|c: char| c.is_whitespace() || c.is_control())
}

/// Whether `text` is `host:port`, as targets are written.
fn is_host_and_port(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else {
        return false;
    };
    let wrong = |c: char| c.is_whitespace() || c.is_control() || "/?#@".contains(c);
    !host.is_empty() && !host.contains(wrong) && port.parse::<u16>().is_ok_and(|port| port > 0)
}

/// Why a configuration was refused. Nothing of it is applied then.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file could not be read.
    #[error("failed to read the configuration {}", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is not YAML of the expected shape; the source names the line.
    #[error("the configuration {} is not valid: {reason}", path.display())]
    Parse {
        /// Which file.
        path: PathBuf,
        /// What is wrong and on which line.
        reason: String,
    },
    /// Somebody who is to be told cannot be.
    #[error("the alerting that is configured cannot work: {reason}")]
    Alerting {
        /// Who, and why.
        reason: String,
    },
    /// A value is of the right shape and makes no sense.
    #[error("the configuration {} is not valid: {reason}", path.display())]
    Invalid {
        /// Which file.
        path: PathBuf,
        /// What is wrong and what to write instead.
        reason: String,
    },
}

impl Config {
    /// Reads and checks `path`.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let read = |source| ConfigError::Read {
            path: path.into(),
            source,
        };
        let size = std::fs::metadata(path).map_err(read)?.len();
        if size > FILE_BYTES_MAX {
            let reason = format!("it has {size} bytes, at most {FILE_BYTES_MAX} are read");
            return Err(ConfigError::Invalid {
                path: path.into(),
                reason,
            });
        }
        Self::parse(path, &std::fs::read_to_string(path).map_err(read)?)
    }

    pub(crate) fn parse(path: &Path, text: &str) -> Result<Self, ConfigError> {
        let config: Self = if text.trim().is_empty() {
            Self::default()
        } else {
            // Without a quotation: a secret may stand beside the mistake.
            let options = serde_saphyr::options! { with_snippet: false };
            serde_saphyr::from_str_with_options(text, options).map_err(|error| {
                ConfigError::Parse {
                    path: path.into(),
                    reason: error.to_string(),
                }
            })?
        };
        match config.check() {
            Ok(()) => Ok(config),
            Err(reason) => Err(ConfigError::Invalid {
                path: path.into(),
                reason,
            }),
        }
    }

    fn check(&self) -> Result<(), String> {
        let spans = [
            ("global.scrape_interval", self.global.scrape_interval),
            (
                "global.evaluation_interval",
                self.global.evaluation_interval,
            ),
            (
                "discovery.refresh_interval",
                self.discovery.refresh_interval,
            ),
        ];
        for (name, span) in spans {
            if span < Duration::from_secs(1) {
                return Err(format!("{name} must be 1s or more, it is {span:?}"));
            }
        }
        let spans = [
            ("global.scrape_timeout", self.global.scrape_timeout, 1),
            ("evidence.ring_interval", self.evidence.ring_interval, 10),
            (
                "evidence.capture_interval",
                self.evidence.capture_interval,
                10,
            ),
            ("storage.retention", self.storage.retention, 3_600),
        ];
        for (name, span, least) in spans {
            if span < Duration::from_secs(least) {
                return Err(format!("{name} must be {least}s or more, it is {span:?}"));
            }
        }
        if self.evidence.goroutine_dump_max > GOROUTINE_DUMP_MAX {
            return Err(format!(
                "evidence.goroutine_dump_max must be {GOROUTINE_DUMP_MAX} or less: more stop a \
                 service for too long"
            ));
        }
        self.inspect.check()?;
        self.budget.check()?;
        self.trace_files.iter().try_for_each(TraceLog::check)?;
        if self.load.series.len() > LOAD_SERIES_MAX {
            return Err(format!("at most {LOAD_SERIES_MAX} names in load.series"));
        }
        self.check_alerting()?;
        if let Some(url) = self
            .web
            .external_url
            .as_ref()
            .filter(|url| !is_http_url(url))
        {
            return Err(format!("web.external_url `{url}` is no http or https URL"));
        }
        if self.scrape_configs.len() > JOBS_MAX {
            return Err(format!("at most {JOBS_MAX} entries in scrape_configs"));
        }
        let mut names = std::collections::HashSet::new();
        let mut instances = 0_usize;
        for job in &self.scrape_configs {
            if job.job_name.is_empty() {
                return Err("a job_name in scrape_configs is empty".into());
            }
            if !job.metrics_path.starts_with('/') {
                return Err(format!(
                    "metrics_path `{}` of job `{}` must begin with /",
                    job.metrics_path, job.job_name
                ));
            }
            if !names.insert(&job.job_name) {
                return Err(format!(
                    "two scrape_configs have the job_name `{}`",
                    job.job_name
                ));
            }
            for (instance, _, _) in job.instances() {
                instances += 1;
                if !is_host_and_port(instance) {
                    return Err(format!(
                        "target `{}` of job `{}` must be host:port, without a path or a login",
                        model::without_secrets(instance),
                        job.job_name
                    ));
                }
            }
        }
        if instances > INSTANCES_MAX {
            return Err(format!("at most {INSTANCES_MAX} targets in scrape_configs"));
        }
        Ok(())
    }

    /// What differs from `other`, by the names of the top-level keys.
    #[must_use]
    pub fn changes(&self, other: &Self) -> Vec<&'static str> {
        let keys = [
            ("global", self.global != other.global),
            (
                "scrape_configs",
                self.scrape_configs != other.scrape_configs,
            ),
            ("discovery", self.discovery != other.discovery),
            ("evidence", self.evidence != other.evidence),
            ("inspect", self.inspect != other.inspect),
            ("budget", self.budget != other.budget),
            ("trace_files", self.trace_files != other.trace_files),
            ("load", self.load != other.load),
            ("limits", self.limits != other.limits),
            ("alerting", self.alerting != other.alerting),
            ("receivers", self.receivers != other.receivers),
            ("notify", self.notify != other.notify),
            ("storage", self.storage != other.storage),
            ("web", self.web != other.web),
        ];
        keys.into_iter()
            .filter(|(_, changed)| *changed)
            .map(|(key, _)| key)
            .collect()
    }

    /// Settings of `new` that this process cannot take over while it runs: they have an effect after a restart.
    /// `dials` is whether it was started with somebody who opens sockets in network namespaces.
    #[must_use]
    pub fn after_restart(&self, new: &Self, dials: bool) -> Vec<&'static str> {
        let wanted = &new.discovery;
        // Where no ports are asked nobody dials, whoever could.
        let asks = wanted.local_processes && wanted.probe_ports;
        let settings = [
            (
                "discovery.network_namespaces",
                asks && wanted.dials() != dials,
            ),
            ("storage.retention", self.storage != new.storage),
            ("web.external_url", self.web != new.web),
        ];
        let waiting = settings.into_iter().filter(|(_, waits)| *waits);
        waiting.map(|(key, _)| key).collect()
    }

    /// Keeps of `running` what [`Config::after_restart`] tells.
    pub(crate) fn keep_running(&mut self, running: &Self) {
        self.discovery.network_namespaces = running.discovery.network_namespaces;
        self.storage = running.storage.clone();
        self.web = running.web.clone();
    }
}

impl Discovery {
    /// Whether ports in network namespaces of their own are asked.
    #[must_use]
    pub fn dials(&self) -> bool {
        self.local_processes && self.probe_ports && self.network_namespaces
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Config, String> {
        Config::parse(Path::new("unswept.yml"), text).map_err(|error| error.to_string())
    }

    #[test]
    fn nothing_is_a_good_configuration() {
        for text in ["", "\n", "global:\n  scrape_interval: 15s\n"] {
            assert_eq!(parse(text).unwrap(), Config::default(), "{text:?}");
        }
    }

    #[test]
    fn a_prometheus_file_of_static_targets_is_read() {
        let config = parse(
            "global:\n  scrape_interval: 5s\nscrape_configs:\n  - job_name: shop\n    \
             static_configs:\n      - targets: ['localhost:6060']\n        labels: {team: a}\n",
        )
        .unwrap();
        assert_eq!(config.global.scrape_interval, Duration::from_secs(5));
        assert_eq!(config.scrape_configs[0].instances().count(), 1);
        assert_eq!(
            config.changes(&Config::default()),
            ["global", "scrape_configs"]
        );
    }

    #[test]
    fn what_waits_for_a_restart_is_told_by_its_name() {
        let running = Config::default();
        let no_ports = parse("discovery: {probe_ports: false}\n").unwrap();
        let rows = [
            ("global: {scrape_interval: 5s}\n", &running, vec![]),
            (
                "storage: {retention: 7d}\n",
                &running,
                vec!["storage.retention"],
            ),
            (
                "web: {external_url: 'https://u.example'}\n",
                &running,
                vec!["web.external_url"],
            ),
            (
                "discovery: {network_namespaces: false}\n",
                &running,
                vec!["discovery.network_namespaces"],
            ),
            ("discovery: {probe_ports: false}\n", &running, vec![]),
            ("", &no_ports, vec!["discovery.network_namespaces"]),
        ];
        for (text, running, expected) in rows {
            let mut new = parse(text).unwrap();
            let dials = running.discovery.dials();
            assert_eq!(running.after_restart(&new, dials), expected, "{text}");
            new.keep_running(running);
            assert_eq!(new.storage, running.storage, "{text}");
            assert_eq!(new.web, running.web, "{text}");
        }
    }

    #[test]
    fn what_cannot_be_read_of_a_target_is_written_down() {
        let config = parse(
            "trace_files: [{name: shop, file: /var/log/shop.err}]\n\
             load: {series: [queue_length]}\nlimits: {eviction_available: 1GiB}\n",
        )
        .unwrap();
        assert_eq!(config.trace_files[0].name, "shop");
        assert_eq!(config.load.series, ["queue_length"]);
        assert_eq!(config.limits.eviction_available, Some(1 << 30));
        assert_eq!(Config::default().limits.eviction_available, None);
        let changes = config.changes(&Config::default());
        assert_eq!(
            changes,
            ["trace_files", "load", "limits"],
            "a reload sees them"
        );
    }

    #[test]
    fn what_is_wrong_is_named() {
        let rows = [
            ("unknown key", "globl: {}\n", "globl"),
            (
                "unknown key's line",
                "global:\n  scrape_intervall: 5s\n",
                "2",
            ),
            (
                "not a duration",
                "global: {scrape_interval: soon}\n",
                "found `soon`",
            ),
            (
                "too short",
                "global: {scrape_interval: 10ms}\n",
                "1s or more",
            ),
            (
                "path",
                "scrape_configs: [{job_name: a, static_configs: [{targets: ['h:1/m']}]}]\n",
                "without a path",
            ),
            (
                "login",
                "scrape_configs: [{job_name: a, static_configs: [{targets: ['u:hunter2@h:1']}]}]\n",
                "`...@h:1`",
            ),
            (
                "port",
                "scrape_configs: [{job_name: a, static_configs: [{targets: ['h:99999']}]}]\n",
                "host:port",
            ),
            (
                "no port",
                "scrape_configs: [{job_name: a, static_configs: [{targets: [h]}]}]\n",
                "host:port",
            ),
            (
                "relative path",
                "scrape_configs: [{job_name: a, metrics_path: m}]\n",
                "begin with /",
            ),
            ("zero", "storage: {retention: 0s}\n", "3600s or more"),
            (
                "a log somewhere",
                "trace_files: [{name: shop, file: shop.err}]\n",
                "begin with /",
            ),
            (
                "a long stop",
                "evidence: {goroutine_dump_max: 10001}\n",
                "10000 or less",
            ),
            (
                "no size",
                "limits: {eviction_available: some}\n",
                "found `some`",
            ),
            (
                "external url",
                "web: {external_url: '::::'}\n",
                "no http or https",
            ),
            (
                "twice",
                "scrape_configs: [{job_name: a}, {job_name: a}]\n",
                "two scrape_configs",
            ),
        ];
        for (name, text, expected) in rows {
            let error = parse(text).expect_err(name);
            assert!(error.contains(expected), "{name}: {error}");
        }
    }
}
