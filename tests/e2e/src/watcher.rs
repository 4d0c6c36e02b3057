//! The watcher, as a user starts it and looks at it.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use crate::process::{self, Running};
use crate::{Setting, http, wait_until};

/// What is in the configuration file. The periods are short, so that a story is short.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Whether the Go processes of this host are watched.
    pub local_processes: bool,
    /// `host:port` of targets that are written down, each a job of its own: name and instance.
    pub jobs: Vec<(String, String)>,
    /// Where alerts are posted.
    pub webhook: Option<String>,
    /// The label `cluster` of all alerts, where it has a value.
    pub cluster: String,
    /// More of the configuration, as it stands in the file.
    pub more: String,
    /// What is logged: `trace` for everything.
    pub log: String,
    /// Between two light snapshots.
    pub ring_interval: Duration,
    /// Where the node's file system is, if not found by itself.
    pub host_root: Option<PathBuf>,
    /// Whether targets may be made to collect their garbage.
    pub force_gc: bool,
    /// As a user without privileges.
    pub as_nobody: bool,
    /// With the product's own periods, as on a node in production.
    pub as_shipped: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            local_processes: true,
            jobs: Vec::new(),
            webhook: None,
            cluster: String::new(),
            more: String::new(),
            log: "warn".into(),
            ring_interval: Duration::from_secs(30),
            host_root: None,
            force_gc: false,
            as_nobody: false,
            as_shipped: false,
        }
    }
}

impl Settings {
    fn yaml(&self) -> String {
        if self.as_shipped {
            return "{}".into();
        }
        let mut text = format!(
            "global: {{scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 3s,\n  \
             external_labels: {{cluster: '{}'}}}}\n\
             discovery: {{local_processes: {}, refresh_interval: 1s, min_age: 1s}}\n\
             evidence: {{ring_interval: {}s, force_gc: {}}}\n",
            self.cluster,
            self.local_processes,
            self.ring_interval.as_secs(),
            self.force_gc
        );
        if let Some(url) = &self.webhook {
            text.push_str(&format!(
                "receivers: [{{name: webhook, webhook_configs: [{{url: '{url}'}}]}}]\n"
            ));
        }
        text.push_str(&self.more);
        if !self.jobs.is_empty() {
            text.push_str("scrape_configs:\n");
        }
        for (name, instance) in &self.jobs {
            text.push_str(&format!(
                "  - {{job_name: {name}, static_configs: [{{targets: ['{instance}']}}]}}\n"
            ));
        }
        text
    }
}

/// A running watcher.
#[derive(Debug)]
pub struct Watcher {
    /// Its process; the reader is its child.
    pub running: Running,
    /// Where its page and API answer: `http://127.0.0.1:PORT`.
    pub url: String,
    data: PathBuf,
}

impl Watcher {
    /// Starts a watcher that keeps its data in `data`, and waits until it listens.
    ///
    /// # Panics
    /// When it does not listen within 15 s.
    #[must_use]
    pub fn start(setting: &Setting, settings: &Settings, data: &Path) -> Self {
        let config = data.with_extension("yml");
        fs::write(&config, settings.yaml()).expect("a configuration file");
        let mut command = match settings.as_nobody {
            true => process::command_as_nobody(&setting.unswept),
            false => process::command(&setting.unswept),
        };
        command
            .env("UNSWEPT_LOG", &settings.log)
            .args(["watch", "--plain", "--listen", "127.0.0.1:0", "--config"])
            .arg(&config)
            .arg("--data")
            .arg(data);
        if let Some(root) = &settings.host_root {
            command.arg("--host-root").arg(root);
        }
        let mut running = Running::start("unswept watch", command);
        let url = wait_until("the watcher to listen", Duration::from_secs(15), || {
            running.assert_alive();
            let text = running.stderr();
            let found = text
                .split_whitespace()
                .find(|word| word.starts_with("http://127."));
            found
                .map(|url| url.trim_end_matches('/').to_owned())
                .ok_or(text.clone())
        });
        Self {
            running,
            url,
            data: data.to_path_buf(),
        }
    }

    /// What `/api/v1/unswept/PATH` answers.
    ///
    /// # Errors
    /// In words.
    pub fn api(&self, path: &str) -> Result<Value, String> {
        http::get_json(&format!("{}/api/v1/unswept/{path}", self.url))
    }

    /// The samples of one series of the last ten minutes, as `query[10m]` has them: seconds and values.
    ///
    /// # Errors
    /// In words, also when there is not exactly one series.
    pub fn samples(&self, selector: &str) -> Result<Vec<(f64, f64)>, String> {
        let mut query = String::new();
        for byte in format!("{selector}[10m]").bytes() {
            query.push_str(&format!("%{byte:02x}"));
        }
        let url = format!("{}/api/v1/query?query={query}", self.url);
        let answer = http::get_json(&url)?;
        let rows = answer["data"]["result"]
            .as_array()
            .ok_or("no list of series")?;
        let [row] = &rows[..] else {
            return Err(format!("{} series of {selector}", rows.len()));
        };
        let number = |value: &Value| match value {
            Value::String(text) => text.parse().unwrap_or(f64::NAN),
            value => value.as_f64().unwrap_or(f64::NAN),
        };
        let points = row["values"].as_array().into_iter().flatten();
        Ok(points.map(|of| (number(&of[0]), number(&of[1]))).collect())
    }

    /// Asks for something as its operator.
    ///
    /// # Errors
    /// In words.
    pub fn command(&self, command: &Value) -> Result<http::Answer, String> {
        let file = self.data.join("operator-token");
        let token =
            fs::read_to_string(&file).map_err(|error| format!("{}: {error}", file.display()))?;
        let url = format!("{}/api/v1/unswept/commands", self.url);
        http::post_json(&url, token.trim(), command)
    }

    /// The row of a process in the API's list of targets.
    ///
    /// # Errors
    /// In words, when it is not (yet) in the list.
    pub fn target_of(&self, pid: u32) -> Result<Value, String> {
        self.find_target(&format!("pid {pid}"), |target| target["pid"] == pid)
    }

    /// The row of a configured job in the API's list of targets.
    ///
    /// # Errors
    /// In words, when it is not (yet) in the list.
    pub fn target_of_job(&self, job: &str) -> Result<Value, String> {
        self.find_target(job, |target| target["labels"]["job"] == job)
    }

    /// The latest verdict on a process.
    ///
    /// # Errors
    /// In words, when there is none (yet).
    pub fn verdict_of(&self, pid: u32) -> Result<Value, String> {
        let row = self.target_of(pid)?;
        let id = row["target"]["id"]
            .as_str()
            .ok_or("a target without an id")?;
        self.api(&format!("verdicts/{id}"))
    }

    fn find_target(&self, what: &str, wanted: impl Fn(&Value) -> bool) -> Result<Value, String> {
        let answer = self.api("targets")?;
        let rows = answer["targets"].as_array().ok_or("no list of targets")?;
        let row = rows.iter().find(|row| wanted(&row["target"]));
        row.cloned()
            .ok_or(format!("{} targets, none with {what}", rows.len()))
    }

    /// The folders of all incidents with their manifests.
    #[must_use]
    pub fn incidents(&self) -> Vec<Incident> {
        let Ok(folders) = fs::read_dir(self.data.join("incidents")) else {
            return Vec::new();
        };
        let mut all: Vec<Incident> = folders
            .filter_map(|entry| Incident::read(&entry.ok()?.path()))
            .collect();
        all.sort_by_key(|incident| incident.text("opened"));
        all
    }

    /// The incidents of a process.
    #[must_use]
    pub fn incidents_of(&self, pid: u32) -> Vec<Incident> {
        let mut all = self.incidents();
        all.retain(|incident| incident.manifest["verdict"]["target"]["pid"] == pid);
        all
    }

    /// The alerts that it has printed, a JSON line each.
    ///
    /// # Panics
    /// When a line of standard output is not JSON: it carries data only.
    #[must_use]
    pub fn alerts(&self) -> Vec<Value> {
        let text = self.running.stdout();
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        let json = |line: &str| {
            serde_json::from_str(line).unwrap_or_else(|error| {
                panic!("stdout has a line that is no JSON ({error}): {line}")
            })
        };
        whole.lines().map(json).collect()
    }
}

/// An incident as it lies on the disk.
#[derive(Debug, Clone)]
pub struct Incident {
    /// Its folder.
    pub folder: PathBuf,
    /// `manifest.json`.
    pub manifest: Value,
}

impl Incident {
    fn read(folder: &Path) -> Option<Self> {
        // Being written right now, or not there yet: the next look finds it.
        let text = fs::read_to_string(folder.join("manifest.json")).ok()?;
        let manifest = serde_json::from_str(&text).ok()?;
        Some(Self {
            folder: folder.to_path_buf(),
            manifest,
        })
    }

    /// A field of the manifest that is a text; empty where it is none.
    #[must_use]
    pub fn text(&self, field: &str) -> String {
        self.manifest[field].as_str().unwrap_or_default().to_owned()
    }

    /// The names of the evidence files that the manifest lists.
    #[must_use]
    pub fn evidence(&self) -> Vec<String> {
        let files = self.manifest["evidence"].as_array();
        let name = |file: &Value| file["name"].as_str().unwrap_or_default().to_owned();
        files.into_iter().flatten().map(name).collect()
    }

    /// The finding that the incident is about.
    #[must_use]
    pub fn finding(&self) -> Value {
        let findings = self.manifest["verdict"]["findings"].as_array();
        let kind = &self.manifest["kind"];
        let found = findings.into_iter().flatten().find(|f| f["kind"] == *kind);
        found.cloned().unwrap_or(Value::Null)
    }
}
