//! What `watch` says where there is no live screen: one line on standard error when something
//! changes.

use std::collections::HashMap;

use model::{
    FleetView, IncidentId, IncidentState, Judgement, Kind, TargetId, TargetState, TargetView,
};

use crate::text::Line;
use crate::{answer, look, words};

/// What was said last.
#[derive(Debug, Default)]
pub(crate) struct News {
    targets: HashMap<TargetId, Known>,
    incidents: HashMap<IncidentId, IncidentState>,
}

#[derive(Debug, PartialEq)]
struct Known {
    state: &'static str,
    verdict: Option<(Judgement, Option<Kind>)>,
}

impl News {
    /// What is new in `view` since the last one. What the view no longer lists is forgotten.
    pub(crate) fn of(&mut self, view: &FleetView) -> Vec<Line> {
        let mut lines = Vec::new();
        let mut targets = HashMap::new();
        for target in &view.targets {
            let verdict = target.verdict.as_ref().map(|v| (v.verdict, v.kind));
            let known = Known {
                state: state_word(&target.state),
                verdict,
            };
            let before = self.targets.remove(&target.target.id);
            lines.extend(said_of(target, before.as_ref(), &known));
            targets.insert(target.target.id.clone(), known);
        }
        self.targets = targets;
        let mut incidents = HashMap::new();
        for incident in &view.incidents {
            let before = self.incidents.remove(&incident.id);
            let is_news = match before {
                Some(before) => before != incident.state,
                // At the start old incidents are on disk: only those still open matter.
                None => incident.state == IncidentState::Open,
            };
            if is_news {
                lines.push(incident_line(incident, &view.health.data_dir));
            }
            incidents.insert(incident.id.clone(), incident.state);
        }
        self.incidents = incidents;
        let at = view.at;
        lines
            .into_iter()
            .map(|line| Line::from(format!("{at}  {line}")))
            .collect()
    }
}

fn said_of(target: &TargetView, before: Option<&Known>, now: &Known) -> Vec<String> {
    let name = target.target.name_in_words();
    let mut said = Vec::new();
    match before {
        None if now.state == "gone" => {}
        None => {
            let of = [&target.target.module, &target.target.go_version];
            let of: Vec<&str> = of.into_iter().flatten().map(String::as_str).collect();
            // Of one elsewhere neither is known yet.
            let of = match of.is_empty() {
                true => String::new(),
                false => format!(": {}", of.join(", ")),
            };
            said.push(format!("found {name}{of}"));
        }
        Some(before) if before.state != now.state => {
            let reason = match &target.state {
                TargetState::EndpointFailing { reason } => format!(": {reason}"),
                TargetState::NoPermission { hint } => format!(": {hint}"),
                TargetState::NotRead { since } => format!(" since {since}"),
                _ => String::new(),
            };
            said.push(format!("{name} is now: {}{reason}", now.state));
        }
        Some(_) => {}
    }
    let verdict = target.verdict.as_ref();
    let changed = before.is_none_or(|before| before.verdict != now.verdict);
    if let Some(verdict) = verdict.filter(|_| changed && now.state != "gone") {
        let growth = verdict
            .findings
            .first()
            .and_then(|finding| finding.growth.as_ref());
        let growth = growth.map_or_else(String::new, |growth| format!(", {}", words::rate(growth)));
        let waits = answer::waits_for(verdict).map_or_else(String::new, |text| format!(": {text}"));
        let figures = match figures(target) {
            none if none.is_empty() => none,
            figures => format!(" ({figures})"),
        };
        said.push(format!(
            "{name}: {}{growth}{waits}{figures}",
            words::verdict(verdict)
        ));
    }
    said
}

fn incident_line(incident: &model::Incident, data_dir: &str) -> String {
    let finding = incident
        .verdict
        .findings
        .iter()
        .find(|f| f.kind == Some(incident.kind));
    let state = match incident.state {
        IncidentState::Open if incident.silence.is_some() => "open, told to nobody",
        IncidentState::Open => "open",
        IncidentState::Resolved => "resolved",
    };
    let kind = incident.kind.as_str();
    let mut line = match incident.kind.is_leak() {
        true => format!("incident {state}: {kind} leak in {}", incident.workload),
        false => format!("incident {state}: {kind} in {}", incident.workload),
    };
    if let Some(growth) = finding.and_then(|finding| finding.growth.as_ref()) {
        line.push_str(&format!(", {}", words::rate_with_interval(growth)));
    }
    if let Some(suspect) = finding.and_then(|finding| finding.suspects.first()) {
        line.push_str(&format!(", {}{}", suspect.function, answer::place(suspect)));
    }
    line.push_str(&format!("; evidence {data_dir}/incidents/{}", incident.id));
    line
}

/// What the target is now, in one word, for plain lines.
fn state_word(state: &TargetState) -> &'static str {
    match state {
        TargetState::Pending => "not read yet",
        TargetState::Up => "up",
        TargetState::NoEndpoint => "no endpoint",
        TargetState::EndpointFailing { .. } => "endpoint fails",
        TargetState::NoPermission { .. } => "no permission",
        TargetState::NotRead { .. } => "not read",
        TargetState::Gone { .. } => "gone",
    }
}

/// A target's figures in one line, for plain lines.
fn figures(target: &TargetView) -> String {
    let mut parts = Vec::new();
    if let Some(rss) = target.process.map(|process| process.rss_bytes) {
        parts.push(format!("RSS {}", words::bytes(rss as f64)));
    }
    if let Some(live) = look::live(target) {
        parts.push(format!("live heap {}", words::bytes(live as f64)));
    }
    if let Some(goroutines) = target.go.and_then(|go| go.goroutines) {
        parts.push(format!("{} goroutines", words::count_f64(goroutines)));
    }
    parts.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::board::tests::fleet;

    fn said(news: &mut News, view: &FleetView) -> String {
        news.of(view)
            .iter()
            .map(|line| line.paint(false) + "\n")
            .collect()
    }

    #[test]
    fn only_what_changes_is_said() {
        let mut news = News::default();
        insta::assert_snapshot!(said(&mut news, &fleet()));
        assert_eq!(said(&mut news, &fleet()), "", "nothing changed");
    }

    #[test]
    fn ends_and_failures_are_said() {
        let mut news = News::default();
        let mut view = fleet();
        news.of(&view);
        view.targets[0].state = TargetState::Gone { at: view.at };
        let reason = "no answer within 10 s".into();
        view.targets[1].state = TargetState::EndpointFailing { reason };
        let incident = std::sync::Arc::make_mut(&mut view.incidents[0]);
        incident.state = IncidentState::Resolved;
        insta::assert_snapshot!(said(&mut news, &view));
    }

    #[test]
    fn what_is_no_longer_listed_is_forgotten() {
        let mut news = News::default();
        news.of(&fleet());
        news.of(&FleetView::default());
        assert!(news.targets.is_empty() && news.incidents.is_empty());
    }
}
