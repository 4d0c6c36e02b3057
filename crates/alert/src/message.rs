//! An incident as an alert: labels that never change, annotations that do.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use model::verdict::{Suspect, TimeToLimit};
use model::{AnswerSort, EvidenceKind, Incident, IncidentState, Kind, Labels, Siblings, UnixMs};
use serde::Serialize;

use crate::HeapProfile;

/// Whether the alert is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum AlertStatus {
    /// The incident is open.
    Firing,
    /// It is over.
    Resolved,
}

/// An alert as notifiers send it; the field names are Alertmanager's.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Alert {
    /// On or over.
    pub status: AlertStatus,
    /// Constant for the incident's life.
    pub labels: Labels,
    /// Figures, suspects, where to look.
    pub annotations: BTreeMap<String, String>,
    /// When the incident opened.
    #[serde(with = "model::time::rfc3339")]
    pub starts_at: UnixMs,
    /// When it was resolved.
    #[serde(with = "model::time::rfc3339::option")]
    pub ends_at: Option<UnixMs>,
    /// The incident's page, or empty.
    #[serde(rename = "generatorURL")]
    pub generator_url: String,
    /// The incident's id: the same alert keeps it.
    pub fingerprint: String,
    /// The heap profile of the moment, where one was taken and is wanted in an annotation.
    #[serde(skip)]
    pub heap_profile: Option<HeapProfile>,
    /// Somebody is on it: receivers that are told once are not told that it goes on.
    #[serde(skip)]
    pub acknowledged: bool,
    /// It is over only in that nobody wants to hear of it: receivers that are told once hear nothing.
    #[serde(skip)]
    pub silenced: bool,
}

/// What all alerts of a watcher have in common.
#[derive(Debug, Clone, Default)]
pub struct Origin {
    /// Prometheus' `external_url`, without a slash at its end; `None` when only this machine
    /// reaches the page, in which case an alert carries the command to run instead of a dead URL.
    pub external_url: Option<String>,
    /// Where incidents' folders lie.
    pub data_dir: PathBuf,
    /// Prometheus' `external_labels`: labels for every alert that has none of the name.
    pub external_labels: BTreeMap<String, String>,
    /// The most that a heap profile in an annotation may have as base64; `None` for none at all.
    pub heap_profile_max: Option<u64>,
}

impl Origin {
    fn folder(&self, incident: &Incident) -> PathBuf {
        self.data_dir.join("incidents").join(&incident.id.0)
    }

    /// The latest heap profile of `incident`, if it may go in an annotation.
    fn heap_profile(&self, incident: &Incident) -> Option<HeapProfile> {
        let base64_bytes_max = self.heap_profile_max?;
        let heaps = incident
            .evidence
            .iter()
            .filter(|file| file.kind == EvidenceKind::HeapProfile);
        let latest = heaps.max_by_key(|file| file.at)?;
        Some(HeapProfile {
            path: self.folder(incident).join(&latest.name),
            base64_bytes_max,
        })
    }
}

impl Alert {
    /// The alert of `incident` as it stands.
    #[must_use]
    pub fn of_incident(incident: &Incident, origin: &Origin) -> Self {
        let status = match (incident.state, incident.silence) {
            (IncidentState::Open, None) => AlertStatus::Firing,
            (IncidentState::Open, Some(_)) | (IncidentState::Resolved, _) => AlertStatus::Resolved,
        };
        // Nothing here may come from the latest verdict: these are the same for the incident's life.
        let own = [
            ("alertname", "MemoryLeak"),
            ("container", incident.container.as_str()),
            // Two culprits in one container differ in nothing else, and the end of one is not that of both.
            ("incident", incident.id.0.as_str()),
            ("kind", incident.kind.as_str()),
            ("namespace", incident.namespace.as_str()),
            ("severity", "warning"),
            ("workload", incident.workload.0.as_str()),
        ];
        let page = origin.external_url.as_ref();
        Self {
            status,
            labels: origin.labels(own),
            annotations: annotations(incident, origin),
            starts_at: incident.opened,
            ends_at: incident
                .resolved
                .or(incident.silence.map(|silence| silence.since)),
            generator_url: page.map_or(String::new(), |url| {
                format!("{url}/incidents/{}", incident.id)
            }),
            fingerprint: incident.id.0.clone(),
            heap_profile: origin
                .heap_profile(incident)
                .filter(|_| status == AlertStatus::Firing),
            acknowledged: incident.is_acknowledged(),
            silenced: incident.silence.is_some(),
        }
    }

    /// An alert that says of itself that it is a test, for `notify test`.
    #[must_use]
    pub fn test(status: AlertStatus, origin: &Origin, at: UnixMs) -> Self {
        let text =
            "This is a test of unswept's alerting. Nothing leaks, and nothing is to be done.";
        Self {
            status,
            labels: origin.labels([
                ("alertname", "UnsweptTest"),
                ("kind", "test"),
                ("severity", "none"),
                ("workload", "unswept-test"),
            ]),
            annotations: [
                ("summary", "TEST of unswept's alerting"),
                ("description", text),
            ]
            .map(|(name, text)| (name.to_owned(), text.to_owned()))
            .into(),
            starts_at: at,
            ends_at: (status == AlertStatus::Resolved).then_some(at),
            generator_url: origin.external_url.clone().unwrap_or_default(),
            fingerprint: format!("unswept-test-{}", at.0),
            heap_profile: None,
            acknowledged: false,
            silenced: false,
        }
    }
}

impl Origin {
    /// `own` labels, and the external ones beside them, as Prometheus adds them.
    fn labels<'a>(&'a self, own: impl IntoIterator<Item = (&'a str, &'a str)>) -> Labels {
        let own = own.into_iter().filter(|(_, value)| !value.is_empty());
        let external = self.external_labels.iter();
        Labels::new(
            external
                .map(|(name, value)| (name.as_str(), value.as_str()))
                .chain(own),
        )
    }
}

fn annotations(incident: &Incident, origin: &Origin) -> BTreeMap<String, String> {
    let verdict = &incident.verdict;
    let finding = verdict
        .findings
        .iter()
        .find(|f| f.kind == Some(incident.kind));
    let mut notes = BTreeMap::new();
    let mut put = |name: &str, text: String| {
        notes.insert(name.to_owned(), text);
    };
    let growth = finding.and_then(|finding| finding.growth.as_ref());
    let grows = growth.map_or(String::new(), |g| {
        format!(", {}", rate(g.per_minute, &g.unit))
    });
    put(
        "summary",
        match incident.kind {
            Kind::Oom => format!("{} was killed for lack of memory", incident.workload),
            kind => format!("{} leaks: {}{grows}", incident.workload, kind.as_str()),
        },
    );
    if let Some(growth) = growth {
        let [low, high] = [growth.low, growth.high].map(|value| rate(value, &growth.unit));
        put(
            "growth",
            format!(
                "{} ({low} to {high})",
                rate(growth.per_minute, &growth.unit)
            ),
        );
    }
    if let Some(left) = verdict.seconds_to_limit {
        put("time_to_limit", time_to_limit(&left));
        put("seconds_to_limit", format!("{:.0}", left.estimate));
    }
    if let Some(finding) = finding {
        let reasons: Vec<&str> = finding.why.iter().map(|why| why.text.as_str()).collect();
        if !reasons.is_empty() {
            put("description", reasons.join(" "));
        }
        let suspects: Vec<String> = finding.suspects.iter().take(3).map(suspect).collect();
        if !suspects.is_empty() {
            put("suspects", suspects.join("; "));
        }
        let held = finding.suspects.iter().find_map(|one| one.held_by.clone());
        if let Some(held) = held {
            put("held_by", held);
        }
    }
    put("targets", targets(incident));
    if let Some(siblings) = incident.siblings {
        put("siblings", siblings_in_words(&siblings));
    }
    if let Some(said) = incident.said(AnswerSort::Acknowledgement) {
        let note = match said.note.is_empty() {
            true => String::new(),
            false => format!(": {}", said.note),
        };
        put("acknowledged", format!("{}{note}", said.by));
    }
    put("evidence", origin.folder(incident).display().to_string());
    match &origin.external_url {
        Some(url) => put("link", format!("{url}/incidents/{}", incident.id)),
        None => put(
            "command",
            format!(
                "unswept incidents show {} --data {}",
                incident.id,
                origin.data_dir.display()
            ),
        ),
    }
    notes
}

/// `3 of 12 running targets of this revision leak`.
fn siblings_in_words(siblings: &Siblings) -> String {
    format!(
        "{} of {} running targets of this revision leak",
        siblings.leaking, siblings.of_revision
    )
}

/// `shop (pid 4242 on host-a), 2 more`; of one that was configured `shop (10.0.0.7:6060)`.
fn targets(incident: &Incident) -> String {
    let target = &incident.verdict.target;
    let name = match target.pid {
        Some(pid) => format!("{} (pid {} on {})", target.name, pid.0, target.host),
        None => target.name_in_words(),
    };
    let more = match incident.members().count() {
        0 | 1 => String::new(),
        several => format!(", {} more", several - 1),
    };
    format!("{name}{more}")
}

fn suspect(suspect: &Suspect) -> String {
    let place = match (&suspect.file, suspect.line) {
        (Some(file), Some(line)) => format!(" {file}:{line}"),
        (Some(file), None) => format!(" {file}"),
        (None, _) => String::new(),
    };
    let share = suspect.growth_share.map_or(String::new(), |share| {
        format!(", {:.0} % of the growth", share * 100.0)
    });
    let held = held(suspect);
    format!("{}. {}{place}{share}{held}", suspect.rank, suspect.function)
}

/// `, held by main.sessions[key] (812.0 MiB, growing 5.0 MiB/min)`.
fn held(suspect: &Suspect) -> String {
    let Some(held_by) = &suspect.held_by else {
        return String::new();
    };
    let figures = suspect.holder.as_ref().map(|holder| {
        let mib = holder.bytes as f64 / (1024.0 * 1024.0);
        let growth = holder.growth_bytes_per_s.map_or_else(String::new, |per_s| {
            format!(", growing {}", rate(per_s * 60.0, "bytes"))
        });
        format!("{mib:.1} MiB{growth}")
    });
    match figures {
        // The suspect is the holder itself.
        Some(figures) if *held_by == suspect.function => format!(", keeps {figures}"),
        Some(figures) => format!(", held by {held_by} ({figures})"),
        None if *held_by == suspect.function => String::new(),
        None => format!(", held by {held_by}"),
    }
}

/// `58.3 MiB/min`, `1200 goroutines/min`.
fn rate(per_minute: f64, unit: &str) -> String {
    match unit {
        "bytes" => format!("{:.1} MiB/min", per_minute / (1024.0 * 1024.0)),
        unit => format!("{per_minute:.0} {unit}/min"),
    }
}

fn time_to_limit(left: &TimeToLimit) -> String {
    let [estimate, low, high] = [left.estimate, left.low, left.high].map(span);
    format!("{estimate} ({low} to {high})")
}

/// `3 h 20 min`, `2 d 4 h`, `45 s`: the two biggest units.
fn span(seconds: f64) -> String {
    let whole = Duration::try_from_secs_f64(seconds.max(0.0))
        .unwrap_or(Duration::MAX)
        .as_secs();
    match whole {
        0..60 => format!("{whole} s"),
        60..3_600 => format!("{} min {} s", whole / 60, whole % 60),
        3_600..86_400 => format!("{} h {} min", whole / 3_600, whole / 60 % 60),
        86_400..315_360_000 => format!("{} d {} h", whole / 86_400, whole / 3_600 % 24),
        _ => "more than 10 years".into(),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use model::EvidenceRef;

    use super::*;

    /// An open incident as the daemon would have it.
    pub(crate) fn incident() -> Incident {
        serde_json::from_str(include_str!("../tests/data/incident.json")).unwrap()
    }

    #[test]
    fn labels_stay_and_annotations_follow() {
        let mut incident = incident();
        let origin = Origin {
            external_url: None,
            data_dir: "/data".into(),
            ..Origin::default()
        };
        let opened = Alert::of_incident(&incident, &origin);
        incident.verdict.findings[0]
            .growth
            .as_mut()
            .unwrap()
            .per_minute *= 2.0;
        incident.verdict.target.labels =
            Labels::new([("namespace", "elsewhere"), ("container", "other")]);
        incident.state = IncidentState::Resolved;
        incident.resolved = Some(UnixMs(0));
        let resolved = Alert::of_incident(&incident, &origin);
        assert_eq!(opened.labels, resolved.labels);
        assert_eq!(opened.fingerprint, resolved.fingerprint);
        assert_ne!(opened.annotations["growth"], resolved.annotations["growth"]);
        assert_eq!(
            (opened.status, resolved.status),
            (AlertStatus::Firing, AlertStatus::Resolved)
        );
    }

    #[test]
    fn two_containers_of_a_pod_are_two_alerts() {
        let labels = |container: &str| {
            let incident = Incident {
                container: container.into(),
                ..incident()
            };
            Alert::of_incident(&incident, &Origin::default()).labels
        };
        assert_eq!(labels("shop").get("container"), Some("shop"));
        assert_ne!(labels("shop"), labels("proxy"));
        assert_eq!(labels("").get("container"), None);
    }

    #[test]
    fn two_culprits_in_one_container_are_two_alerts() {
        let labels = |id: &str, culprit: &str| {
            let incident = Incident {
                id: model::IncidentId(id.into()),
                culprit: culprit.into(),
                container: "app".into(),
                ..incident()
            };
            Alert::of_incident(&incident, &Origin::default()).labels
        };
        assert_ne!(labels("i1", "main.f"), labels("i2", "main.g"));
        assert_eq!(
            labels("i1", ""),
            labels("i1", "main.f"),
            "its culprit may be named later: the labels stay"
        );
    }

    #[test]
    fn figures_and_the_culprit_are_in_words() {
        let alert = Alert::of_incident(&incident(), &Origin::default());
        assert_eq!(
            alert.annotations["summary"],
            "shop leaks: go-heap, 60.0 MiB/min"
        );
        assert_eq!(
            alert.annotations["time_to_limit"],
            "1 h 30 min (1 h 25 min to 1 h 36 min)"
        );
        assert_eq!(
            alert.annotations["suspects"],
            "1. main.f f.go:7, 97 % of the growth"
        );
    }

    #[test]
    fn external_labels_are_added_and_replace_nothing() {
        let origin = Origin {
            external_labels: [("cluster", "eu"), ("kind", "mine")]
                .map(|(name, value)| (name.into(), value.into()))
                .into(),
            ..Origin::default()
        };
        let mut incident = incident();
        incident.namespace = "payments".into();
        let alerts = [
            Alert::of_incident(&incident, &origin),
            Alert::test(AlertStatus::Firing, &origin, UnixMs(0)),
        ];
        for alert in &alerts {
            assert_eq!(alert.labels.get("cluster"), Some("eu"));
            assert_ne!(alert.labels.get("kind"), Some("mine"));
        }
        assert_eq!(alerts[0].labels.get("namespace"), Some("payments"));
    }

    #[test]
    fn the_latest_heap_profile_goes_along_only_where_it_is_wanted() {
        let mut incident = incident();
        let taken = |name: &str, at| EvidenceRef {
            kind: EvidenceKind::HeapProfile,
            target: incident.targets[0].clone(),
            at: UnixMs(at),
            name: name.into(),
            bytes: 1,
            crc32: 0,
        };
        incident.evidence = vec![taken("after-heap.pb.gz", 2), taken("before-heap.pb.gz", 1)];
        let mut origin = Origin {
            data_dir: "/data".into(),
            ..Origin::default()
        };
        assert_eq!(Alert::of_incident(&incident, &origin).heap_profile, None);
        origin.heap_profile_max = Some(9);
        let wanted = Alert::of_incident(&incident, &origin).heap_profile.unwrap();
        assert!(wanted.path.starts_with("/data/incidents"));
        assert!(wanted.path.ends_with("after-heap.pb.gz"));
        incident.state = IncidentState::Resolved;
        assert_eq!(Alert::of_incident(&incident, &origin).heap_profile, None);
    }

    #[test]
    fn a_silent_incident_is_over_for_receivers_and_says_so_itself() {
        let mut incident = incident();
        let origin = Origin::default();
        incident.answers = serde_json::from_value(serde_json::json!([
            {"answer": "acknowledged", "at": "2026-11-21T22:31:00Z", "by": "alice", "note": "on it"},
        ]))
        .unwrap();
        let known = Alert::of_incident(&incident, &origin);
        assert_eq!(known.status, AlertStatus::Firing);
        assert!(known.acknowledged && !known.silenced);
        assert_eq!(known.annotations["acknowledged"], "alice: on it");
        incident.silence = Some(model::Silence {
            since: UnixMs(7_000),
            because: model::SilenceReason::Muted,
        });
        let silent = Alert::of_incident(&incident, &origin);
        assert_eq!(silent.status, AlertStatus::Resolved);
        assert_eq!(silent.ends_at, Some(UnixMs(7_000)));
        assert!(silent.silenced);
        assert_eq!(silent.labels, known.labels);
    }

    #[test]
    fn an_alert_carries_who_holds_the_memory() {
        let mut incident = incident();
        let suspect = &mut incident.verdict.findings[0].suspects[0];
        suspect.held_by = Some("main.sessions[key]".into());
        suspect.holder = serde_json::from_value(serde_json::json!({
            "name": "main.sessions", "kind": "global", "path": "[key]", "type": "*main.Session",
            "bytes": 812 << 20, "bytes_before": 1, "growth_bytes_per_s": 87_381.333,
            "allocated_in": "main.f",
        }))
        .unwrap();
        let text = |incident: &Incident| {
            Alert::of_incident(incident, &Origin::default()).annotations["suspects"].clone()
        };
        assert_eq!(
            text(&incident),
            "1. main.f f.go:7, 97 % of the growth, held by main.sessions[key] \
             (812.0 MiB, growing 5.0 MiB/min)"
        );
        let suspect = &mut incident.verdict.findings[0].suspects[0];
        suspect.function = "main.sessions[key]".into();
        assert!(text(&incident).contains(", keeps 812.0 MiB, growing 5.0 MiB/min"));
    }

    #[test]
    fn a_page_that_nobody_reaches_is_a_command_instead() {
        let alert = Alert::of_incident(&incident(), &Origin::default());
        assert!(alert.annotations["command"].starts_with("unswept incidents show 2026"));
        assert!(!alert.annotations.contains_key("link") && alert.generator_url.is_empty());
        let origin = Origin {
            external_url: Some("https://u.example".into()),
            ..Origin::default()
        };
        let alert = Alert::of_incident(&incident(), &origin);
        assert!(
            alert
                .generator_url
                .starts_with("https://u.example/incidents/2026")
        );
    }

    #[test]
    fn spans_use_their_two_biggest_units() {
        let rows = [(0.4, "0 s"), (75.0, "1 min 15 s"), (9e4, "1 d 1 h")];
        for (seconds, text) in rows {
            assert_eq!(span(seconds), text);
        }
        assert_eq!(span(f64::INFINITY), "more than 10 years");
    }
}
