//! The series around an incident: from the watcher that runs, or from the store it left.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail};
use model::{Budget, Cancel, Incident, Matcher, SeriesRead, TARGET_LABEL, TargetId, UnixMs};
use serde::Serialize;
use serde_json::{Value, json};
use store::{Options, Store, StoreError};

use super::answer;
use crate::running::Running;

/// What lies before the growth began, and after the incident was last seen.
const BEFORE: Duration = Duration::from_secs(3_600);
const AFTER: Duration = Duration::from_secs(600);
/// Of a longer incident, its last day.
const LENGTH_MAX: Duration = Duration::from_secs(86_400);
/// Targets whose series go along: those with evidence first.
const TARGETS_MAX: usize = 8;
/// A day of one target at a second a reading.
const SAMPLES_MAX: u64 = 10_000_000;
/// Long enough that a command drops nothing that the watcher's own settings keep.
const FOREVER: Duration = Duration::from_secs(100 * 365 * 86_400);

/// From when to when.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(super) struct Window {
    #[serde(with = "model::time::rfc3339")]
    from: UnixMs,
    #[serde(with = "model::time::rfc3339")]
    to: UnixMs,
}

impl Window {
    pub(super) fn of(incident: &Incident) -> Self {
        let to = incident.resolved.unwrap_or(incident.last_seen).after(AFTER);
        let from = incident.onset.unwrap_or(incident.opened).before(BEFORE);
        Self {
            from: from.max(to.before(LENGTH_MAX)),
            to,
        }
    }
}

/// Where series are read.
pub(super) enum Source {
    /// By a watcher that runs.
    Running(Running),
    /// From the folder itself.
    Store(Box<Store>),
}

impl Source {
    /// Whatever holds the data of `data`.
    pub(super) async fn of(data: &Path) -> anyhow::Result<Self> {
        Ok(match Running::of(data).await? {
            Some(running) => Self::Running(running),
            None => Self::Store(Box::new(open(data)?)),
        })
    }

    /// The series of an incident's targets, each as Prometheus' API writes one: `metric` and `values`.
    pub(super) async fn series(&self, incident: &Incident) -> anyhow::Result<Vec<Value>> {
        let window = Window::of(incident);
        let (with, without): (Vec<&TargetId>, Vec<&TargetId>) = incident
            .members()
            .partition(|target| incident.evidence.iter().any(|file| file.target == **target));
        let mut series = Vec::new();
        for target in with.into_iter().chain(without).take(TARGETS_MAX) {
            match self {
                Self::Running(running) => series.extend(asked(running, target, window).await?),
                Self::Store(store) => series.extend(read(store, target, window)?),
            }
        }
        Ok(series)
    }
}

async fn asked(running: &Running, target: &TargetId, window: Window) -> anyhow::Result<Vec<Value>> {
    let seconds = window.to.since(window.from).as_secs();
    // Ids have letters and digits only.
    let query = format!("%7B{TARGET_LABEL}%3D%22{target}%22%7D%5B{seconds}s%5D");
    let at = window.to.as_secs_f64();
    let mut answer = running
        .json(&format!("/api/v1/query?query={query}&time={at}"))
        .await?;
    match answer["data"]["result"].take() {
        Value::Array(series) => Ok(series),
        _ => bail!("the watcher's answer has no series"),
    }
}

fn read(store: &Store, target: &TargetId, window: Window) -> anyhow::Result<Vec<Value>> {
    let matchers = [Matcher::equal(TARGET_LABEL, target.0.as_str())];
    let budget = Budget::samples(SAMPLES_MAX);
    let found = store
        .select(
            &matchers,
            window.from,
            window.to,
            &budget,
            &Cancel::default(),
        )
        .with_context(|| format!("failed to read the series of target {target}"))?;
    let written = found
        .iter()
        .filter(|series| !series.samples.is_empty())
        .map(|series| {
            let metric: serde_json::Map<_, _> = series
                .labels
                .iter()
                .map(|(name, value)| (name.to_owned(), Value::from(value)))
                .collect();
            let values: Vec<Value> = series
                .samples
                .iter()
                .map(|sample| json!([sample.t.as_secs_f64(), sample.v.to_string()]))
                .collect();
            json!({ "metric": metric, "values": values })
        });
    Ok(written.collect())
}

/// Opens the store of a data folder that no watcher holds.
pub(super) fn open(data: &Path) -> anyhow::Result<Store> {
    if !data.join("FORMAT").exists() {
        bail!("{} is no data folder of a watcher", data.display());
    }
    let options = Options {
        retention: FOREVER,
        background: false,
        ..Options::default()
    };
    let opened = Store::open(data, &options, answer::clock());
    opened.map_err(|error| match error {
        StoreError::Locked { dir, pid } => anyhow::anyhow!(
            "process {pid} holds {} and does not answer on its socket: wait until it has started, \
             or end it",
            dir.display()
        ),
        error => error.into(),
    })
}
