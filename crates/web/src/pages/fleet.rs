//! The fleet: who grows, who leaks, who dies when.

use std::collections::BTreeMap;

use maud::{Markup, html};
use model::{FleetView, Judgement, TargetView};

use super::layout::{self, Place};
use super::parts;
use crate::metrics::growth_bytes_per_minute;
use crate::words;

/// Rows of the table; the worst come first, so what is cut is the calmest.
const ROWS_MAX: usize = 1_000;

pub(super) fn page(view: &FleetView, sparks: &BTreeMap<String, Vec<Option<f64>>>) -> Markup {
    let content = html! {
        section #summary data-part {
            h1 { (summary(view)) }
            (open_incidents(view))
        }
        section #targets data-part {
            @if view.targets.is_empty() { (nothing_yet()) } @else { (table(view, sparks)) }
        }
    };
    layout::page("Targets", Place::Fleet, false, view, content)
}

/// `14 targets: 3 leak, 9 do not, 2 are undecided`.
fn summary(view: &FleetView) -> String {
    let of = |wanted: Judgement| {
        let verdicts = view
            .targets
            .iter()
            .filter_map(|target| target.verdict.as_ref());
        verdicts.filter(|verdict| verdict.verdict == wanted).count()
    };
    let total = view.targets.len();
    let (leak, calm) = (of(Judgement::Leak), of(Judgement::NoLeak));
    let verb = |count: usize, one: &str, many: &str| match count {
        1 => format!("1 {one}"),
        count => format!("{count} {many}"),
    };
    let parts = [
        (leak, verb(leak, "leaks", "leak")),
        (calm, verb(calm, "does not", "do not")),
        (
            total - leak - calm,
            verb(total - leak - calm, "is undecided", "are undecided"),
        ),
    ];
    let parts: Vec<_> = parts
        .into_iter()
        .filter(|(count, _)| *count > 0)
        .map(|(_, text)| text)
        .collect();
    let targets = if total == 1 {
        "1 target".into()
    } else {
        format!("{total} targets")
    };
    match parts.is_empty() {
        true => "No targets yet".into(),
        false => format!("{targets}: {}", parts.join(", ")),
    }
}

fn nothing_yet() -> Markup {
    html! {
        p { "No Go process has been found on this host yet. A process is watched as soon as it is "
            "seen, with no setting; " code { "unswept ps" } " shows what can be seen, and "
            code { "unswept doctor" } " what is in the way." }
    }
}

fn open_incidents(view: &FleetView) -> Markup {
    let open = view
        .incidents
        .iter()
        .filter(|incident| incident.wants_attention());
    let open: Vec<_> = open.take(5).collect();
    html! {
        @if !open.is_empty() {
            ul .alerts aria-label="Open incidents" {
                @for incident in open {
                    li {
                        a href={ "/incidents/" (words::segment(&incident.id.0)) } {
                            (super::incident_title(incident))
                        }
                        span .quiet { (parts::lasting(view, incident.onset.unwrap_or(incident.opened))) }
                    }
                }
            }
        }
    }
}

fn table(view: &FleetView, sparks: &BTreeMap<String, Vec<Option<f64>>>) -> Markup {
    html! {
        table .fleet {
            caption .sr { "Targets, the worst first" }
            thead {
                tr {
                    th scope="col" { "Target" }
                    th scope="col" { "Verdict" }
                    th scope="col" .num { "Memory" }
                    th scope="col" .num { "Growth" }
                    th scope="col" .num { "Limit in" }
                    th scope="col" .num { "Goroutines" }
                    th scope="col" { "Incidents" }
                }
            }
            tbody {
                @for target in view.targets.iter().take(ROWS_MAX) {
                    (row(target, sparks.get(&target.target.id.0)))
                }
            }
        }
        @if view.targets.len() > ROWS_MAX {
            p .quiet { "The " (view.targets.len() - ROWS_MAX) " calmest targets are not shown here; "
                "the API has them all." }
        }
    }
}

fn row(view: &TargetView, spark: Option<&Vec<Option<f64>>>) -> Markup {
    let target = &view.target;
    let verdict = view.verdict.as_ref();
    let none = || html! { span .quiet.none { "–" } };
    let leaks = verdict.is_some_and(|verdict| verdict.verdict == Judgement::Leak);
    let growth = verdict.and_then(growth_bytes_per_minute);
    html! {
        tr .leaks[leaks] {
            th scope="row" {
                a .name href={ "/targets/" (words::segment(&target.id.0)) } { (target.name) }
                @if let Some(pid) = target.pid { span .pid { "pid " (pid) } }
                (parts::state(&view.state))
                div .sub { (subtitle(view)) }
            }
            td data-label="Verdict" {
                (parts::verdict_badge(verdict))
                @if let Some(confidence) = verdict.and_then(|verdict| verdict.confidence) {
                    span .confidence { (words::percent(confidence)) " sure" }
                }
            }
            td .num.memory data-label="Memory" {
                @if let Some(process) = view.process {
                    (parts::spark(spark.map_or(&[], Vec::as_slice)))
                    span .figure { (words::bytes(process.rss_bytes as f64)) }
                } @else { (none()) }
            }
            td .num data-label="Growth" {
                @if let Some(growth) = growth { (words::bytes_per_minute(growth)) } @else { (none()) }
            }
            td .num data-label="Limit in" {
                @if let Some(limit) = verdict.and_then(|verdict| verdict.seconds_to_limit) {
                    strong { (words::seconds(limit.estimate)) }
                } @else { (none()) }
            }
            td .num data-label="Goroutines" {
                @if let Some(count) = view.go.and_then(|go| go.goroutines) {
                    (words::count(count))
                } @else { (none()) }
            }
            td data-label="Incidents" {
                @for id in &view.incidents {
                    a href={ "/incidents/" (words::segment(&id.0)) } { "open" span .sr { " incident " (id) } }
                    " "
                }
                @if view.incidents.is_empty() { (none()) }
            }
        }
    }
}

/// Module, Go release, pod or container.
fn subtitle(view: &TargetView) -> Markup {
    let target = &view.target;
    html! {
        @if let Some(module) = &target.module { span { (module) } }
        @if let Some(version) = &target.go_version { span { (version) } }
        @match (&target.pod, target.namespace()) {
            (Some(pod), Some(namespace)) => span { "pod " (namespace) "/" (pod) },
            (Some(pod), None) => span { "pod " (pod) },
            (None, _) => @if let Some(container) = &target.container {
                span { "container " (container) }
            },
        }
    }
}
