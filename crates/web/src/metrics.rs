//! `/metrics`: every target's verdict and ledger for a team's own Prometheus, and our own health.
//!
//! Labels are `workload`, `namespace`, `pod`, `container` and `instance`, and at most 30 series a
//! target: never a pid or a function, which would make a new series for every restart or line of
//! code. Processes that those labels do not tell apart share series: bytes are added up, the worst
//! verdict and the nearest limit count.

use std::borrow::Cow;
use std::collections::BTreeMap;

use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use model::{FleetView, Judgement, Kind, Labels, TargetState, TargetView, Verdict};
use wire::{ExposedFamily, FamilyType, ScrapedSample, TEXT_CONTENT_TYPE, exposition};

use crate::routes::Open;

/// Lines of a ledger that are shown: with nine kinds and three single figures that makes 28 series.
const COMPONENTS_MAX: usize = 16;

/// The page for scrapers.
pub(crate) async fn metrics(State(open): State<Open>) -> Response {
    let kind = HeaderValue::from_static(TEXT_CONTENT_TYPE);
    ([(header::CONTENT_TYPE, kind)], text(&open.0.view())).into_response()
}

/// How values meet that share their labels.
#[derive(Clone, Copy)]
pub(crate) enum Meet {
    Sum,
    Max,
    Min,
}

pub(crate) struct Family {
    name: &'static str,
    kind: FamilyType,
    help: &'static str,
    meet: Meet,
    samples: BTreeMap<Labels, f64>,
}

impl Family {
    pub(crate) fn gauge(name: &'static str, meet: Meet, help: &'static str) -> Self {
        Self {
            name,
            kind: FamilyType::Gauge,
            help,
            meet,
            samples: BTreeMap::new(),
        }
    }

    pub(crate) fn single(
        name: &'static str,
        kind: FamilyType,
        help: &'static str,
        value: f64,
    ) -> Self {
        let mut family = Self::gauge(name, Meet::Max, help);
        family.kind = kind;
        family.put(&Labels::default(), &[], value);
        family
    }

    pub(crate) fn put(&mut self, labels: &Labels, more: &[(&str, &str)], value: f64) {
        let named = [(model::METRIC_NAME, self.name)];
        let labels = labels.with(more.iter().copied().chain(named));
        let meet = self.meet;
        let merge = |have: &mut f64| {
            *have = match meet {
                Meet::Sum => *have + value,
                Meet::Max => have.max(value),
                Meet::Min => have.min(value),
            };
        };
        self.samples
            .entry(labels)
            .and_modify(merge)
            .or_insert(value);
    }

    /// The same of something that only rises.
    pub(crate) fn counter(name: &'static str, meet: Meet, help: &'static str) -> Self {
        Self {
            kind: FamilyType::Counter,
            ..Self::gauge(name, meet, help)
        }
    }

    fn expose(&self) -> ExposedFamily<'static> {
        let sample = |(labels, value): (&Labels, &f64)| ScrapedSample {
            labels: labels.clone(),
            value: *value,
            timestamp: None,
        };
        ExposedFamily {
            name: self.name,
            kind: self.kind,
            help: self.help,
            samples: Cow::Owned(self.samples.iter().map(sample).collect()),
        }
    }
}

fn text(view: &FleetView) -> String {
    let mut families = of_targets(view);
    families.extend(of_incidents(view));
    families.extend(of_notifiers(view));
    families.extend(of_ourselves(view));
    families.extend(crate::own_metrics::families(&view.health));
    let exposed: Vec<_> = families.iter().map(Family::expose).collect();
    exposition(&exposed)
}

fn of_targets(view: &FleetView) -> Vec<Family> {
    let mut verdicts = Family::gauge(
        "unswept_verdict",
        Meet::Max,
        "1 if a leak of this kind is found now, 0 if not; no series while unsure.",
    );
    let mut growth = Family::gauge(
        "unswept_growth_bytes_per_minute",
        Meet::Sum,
        "Growth of memory over the verdict's window.",
    );
    let mut seconds = Family::gauge(
        "unswept_seconds_to_limit",
        Meet::Min,
        "When the effective limit is reached at the estimated growth.",
    );
    let mut components = Family::gauge(
        "unswept_component_bytes",
        Meet::Sum,
        "Resident memory by line of the ledger.",
    );
    let mut unexplained = Family::gauge(
        "unswept_unexplained_bytes",
        Meet::Sum,
        "Resident memory that no line of the ledger explains; may be below zero.",
    );
    let mut ups = Family::gauge(
        "unswept_target_up",
        Meet::Max,
        "1 if the target is read and its endpoint, where it has one, answers.",
    );
    for target in view.targets.iter().filter(|target| is_there(target)) {
        let labels = labels(target);
        let up = !matches!(
            target.state,
            TargetState::EndpointFailing { .. }
                | TargetState::NoPermission { .. }
                | TargetState::NotRead { .. }
                | TargetState::Pending
        );
        ups.put(&labels, &[], f64::from(u8::from(up)));
        let told = target.verdict.as_ref();
        if let Some(verdict) = told.filter(|verdict| verdict.verdict != Judgement::Unsure) {
            for kind in Kind::ALL.iter().filter(|kind| kind.is_leak()) {
                let found = has_leak(verdict, *kind);
                verdicts.put(
                    &labels,
                    &[("kind", kind.as_str())],
                    f64::from(u8::from(found)),
                );
            }
        }
        if let Some(verdict) = told {
            if let Some(value) = growth_bytes_per_minute(verdict) {
                growth.put(&labels, &[], value);
            }
            if let Some(limit) = verdict.seconds_to_limit {
                seconds.put(&labels, &[], limit.estimate);
            }
        }
        if let Some(ledger) = &target.ledger {
            for line in ledger.components.iter().take(COMPONENTS_MAX) {
                let name = [("component", line.name.as_str())];
                components.put(&labels, &name, line.bytes as f64);
            }
            unexplained.put(&labels, &[], ledger.unexplained_bytes as f64);
        }
    }
    vec![ups, verdicts, growth, seconds, components, unexplained]
}

fn of_incidents(view: &FleetView) -> Vec<Family> {
    let mut incidents = Family::gauge(
        "unswept_incidents",
        Meet::Sum,
        "Incidents by state; silenced ones go on, and people asked not to be told.",
    );
    for state in ["open", "silenced", "resolved"] {
        incidents.put(&Labels::default(), &[("state", state)], 0.0);
    }
    for incident in &view.incidents {
        let state = match incident.state {
            model::IncidentState::Open if incident.silence.is_some() => "silenced",
            model::IncidentState::Open => "open",
            model::IncidentState::Resolved => "resolved",
        };
        incidents.put(&Labels::default(), &[("state", state)], 1.0);
    }
    let mut targets = Family::gauge("unswept_targets", Meet::Sum, "Targets by state.");
    for target in &view.targets {
        let state = match target.state {
            TargetState::Pending => "pending",
            TargetState::Up => "up",
            TargetState::NoEndpoint => "no-endpoint",
            TargetState::EndpointFailing { .. } => "endpoint-failing",
            TargetState::NoPermission { .. } => "no-permission",
            TargetState::NotRead { .. } => "not-read",
            TargetState::Gone { .. } => "gone",
        };
        targets.put(&Labels::default(), &[("state", state)], 1.0);
    }
    vec![incidents, targets]
}

/// By receiver, way and host: as many series as the configuration has ways, times five.
fn of_notifiers(view: &FleetView) -> Vec<Family> {
    let mut messages = Family::counter(
        "unswept_notifications_total",
        Meet::Sum,
        "Messages about incidents by what became of them.",
    );
    let mut waiting = Family::gauge(
        "unswept_notifications_waiting",
        Meet::Sum,
        "Incidents whose newest state has not been delivered.",
    );
    for one in &view.health.notifiers {
        let labels = Labels::new([
            ("receiver", one.receiver.as_str()),
            ("integration", &one.integration),
            ("to", &one.to),
        ]);
        let outcomes = [
            ("delivered", one.delivered),
            ("failed", one.failed),
            ("refused", one.refused),
            ("dropped", one.dropped),
        ];
        for (outcome, count) in outcomes {
            messages.put(&labels, &[("outcome", outcome)], count as f64);
        }
        waiting.put(&labels, &[], one.waiting as f64);
    }
    vec![messages, waiting]
}

fn of_ourselves(view: &FleetView) -> Vec<Family> {
    let health = &view.health;
    let mut build = Family::gauge(
        "unswept_build_info",
        Meet::Max,
        "Always 1, with the version.",
    );
    build.put(&Labels::default(), &[("version", &health.version)], 1.0);
    vec![
        build,
        Family::single(
            "unswept_samples_stored_total",
            FamilyType::Counter,
            "Samples stored since the start.",
            health.samples_stored as f64,
        ),
        Family::single(
            "unswept_series",
            FamilyType::Gauge,
            "Series that have had a sample since the start.",
            health.series as f64,
        ),
        Family::single(
            "unswept_ready",
            FamilyType::Gauge,
            "1 if nothing is wrong with the watcher itself.",
            f64::from(u8::from(health.troubles.is_empty())),
        ),
    ]
}

fn is_there(target: &TargetView) -> bool {
    !matches!(target.state, TargetState::Gone { .. })
}

fn has_leak(verdict: &Verdict, kind: Kind) -> bool {
    let mut findings = verdict.findings.iter();
    findings.any(|finding| finding.verdict == Judgement::Leak && finding.kind == Some(kind))
}

/// How fast the target's memory grows: the first finding in bytes, else what the ledger's lines
/// grow together.
pub(crate) fn growth_bytes_per_minute(verdict: &Verdict) -> Option<f64> {
    let growths = verdict
        .findings
        .iter()
        .filter_map(|finding| finding.growth.as_ref());
    let in_bytes = growths.into_iter().find(|growth| growth.unit == "bytes");
    let lines = verdict
        .components
        .iter()
        .filter_map(|line| line.bytes_per_minute);
    in_bytes
        .map(|growth| growth.per_minute)
        .or_else(|| lines.reduce(|sum, line| sum + line))
}

fn labels(view: &TargetView) -> Labels {
    let target = &view.target;
    let from_url = || {
        target
            .url
            .as_deref()?
            .split_once("://")
            .map(|(_, rest)| rest)
    };
    let instance = target.labels.get("instance").or_else(from_url);
    Labels::new([
        ("workload", target.workload.0.as_str()),
        ("namespace", target.namespace().unwrap_or("")),
        ("pod", target.pod.as_deref().unwrap_or("")),
        ("container", target.container.as_deref().unwrap_or("")),
        ("instance", instance.unwrap_or(&target.host)),
    ])
}
