//! An incident as an alert: labels that never change, annotations that do.

use std::collections::BTreeMap;
use std::time::Duration;

use model::verdict::{Suspect, TimeToLimit};
use model::{Incident, IncidentState, Labels, UnixMs};
use serde::Serialize;

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
}

/// What links are made from.
#[derive(Debug, Clone, Default)]
pub struct Links {
    /// Prometheus' `external_url`, without a slash at its end; `None` when only this machine
    /// reaches the page, in which case an alert carries the command to run instead of a dead URL.
    pub external_url: Option<String>,
    /// Where incidents' folders lie.
    pub data_dir: String,
}

impl Alert {
    /// The alert of `incident` as it stands.
    #[must_use]
    pub fn of_incident(incident: &Incident, links: &Links) -> Self {
        let status = match incident.state {
            IncidentState::Open => AlertStatus::Firing,
            IncidentState::Resolved => AlertStatus::Resolved,
        };
        let labels = Labels::new([
            ("alertname", "MemoryLeak"),
            ("kind", incident.kind.as_str()),
            ("severity", "warning"),
            ("workload", incident.workload.0.as_str()),
        ]);
        let page = links.external_url.as_ref();
        Self {
            status,
            labels,
            annotations: annotations(incident, links),
            starts_at: incident.opened,
            ends_at: incident.resolved,
            generator_url: page.map_or(String::new(), |url| {
                format!("{url}/incidents/{}", incident.id)
            }),
            fingerprint: incident.id.0.clone(),
        }
    }
}

fn annotations(incident: &Incident, links: &Links) -> BTreeMap<String, String> {
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
        format!(
            "{} leaks: {}{grows}",
            incident.workload,
            incident.kind.as_str()
        ),
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
    }
    if let Some(finding) = finding {
        let reasons: Vec<&str> = finding.why.iter().map(|why| why.text.as_str()).collect();
        put("description", reasons.join(" "));
        let suspects: Vec<String> = finding.suspects.iter().take(3).map(suspect).collect();
        if !suspects.is_empty() {
            put("suspects", suspects.join("; "));
        }
    }
    put(
        "evidence",
        format!("{}/incidents/{}", links.data_dir, incident.id),
    );
    match &links.external_url {
        Some(url) => put("link", format!("{url}/incidents/{}", incident.id)),
        None => put(
            "command",
            format!(
                "unswept incidents show {} --data {}",
                incident.id, links.data_dir
            ),
        ),
    }
    notes
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
    use super::*;

    /// An open incident as the daemon would have it.
    pub(crate) fn incident() -> Incident {
        serde_json::from_str(include_str!("../tests/data/incident.json")).unwrap()
    }

    #[test]
    fn labels_stay_and_annotations_follow() {
        let mut incident = incident();
        let links = Links {
            external_url: None,
            data_dir: "/data".into(),
        };
        let opened = Alert::of_incident(&incident, &links);
        incident.verdict.findings[0]
            .growth
            .as_mut()
            .unwrap()
            .per_minute *= 2.0;
        incident.state = IncidentState::Resolved;
        incident.resolved = Some(UnixMs(0));
        let resolved = Alert::of_incident(&incident, &links);
        assert_eq!(opened.labels, resolved.labels);
        assert_eq!(opened.fingerprint, resolved.fingerprint);
        assert_ne!(opened.annotations["growth"], resolved.annotations["growth"]);
        assert_eq!(
            (opened.status, resolved.status),
            (AlertStatus::Firing, AlertStatus::Resolved)
        );
    }

    #[test]
    fn figures_and_the_culprit_are_in_words() {
        let alert = Alert::of_incident(&incident(), &Links::default());
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
            Alert::of_incident(incident, &Links::default()).annotations["suspects"].clone()
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
        let alert = Alert::of_incident(&incident(), &Links::default());
        assert!(alert.annotations["command"].starts_with("unswept incidents show 2026"));
        assert!(!alert.annotations.contains_key("link") && alert.generator_url.is_empty());
        let links = Links {
            external_url: Some("https://u.example".into()),
            data_dir: String::new(),
        };
        let alert = Alert::of_incident(&incident(), &links);
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
