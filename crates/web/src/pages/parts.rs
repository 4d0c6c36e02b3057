//! Pieces that several pages show.

use maud::{Markup, html};
use model::fleet::{NotifierHealth, OwnCost};
use model::{Finding, FleetView, Judgement, Kind, TargetState, UnixMs, Verdict};

use crate::words;

/// The answer in a box: sign, word and kind, so that it never hangs on colour alone.
pub(super) fn badge(judgement: Judgement, kind: Option<Kind>) -> Markup {
    let (class, sign) = match judgement {
        Judgement::Leak => ("badge leak", "▲"),
        Judgement::NoLeak => ("badge calm", "✓"),
        Judgement::Unsure => ("badge unsure", "?"),
    };
    html! {
        span class=(class) {
            span .sign aria-hidden="true" { (sign) }
            (words::judgement(judgement))
            @if let Some(kind) = kind {
                span .kind title=(words::kind(kind).1) { (words::kind(kind).0) }
            }
        }
    }
}

/// The verdict's box, or what is there instead of one.
pub(super) fn verdict_badge(verdict: Option<&Verdict>) -> Markup {
    match verdict {
        Some(verdict) => badge(verdict.verdict, verdict.kind),
        None => html! { span .badge.none { "no verdict yet" } },
    }
}

/// How watching goes, where it is not simply going.
pub(super) fn state(state: &TargetState) -> Markup {
    let (word, more, trouble) = words::state(state);
    html! {
        @if *state != TargetState::Up {
            span .state.trouble[trouble] {
                @if trouble { span aria-hidden="true" { "! " } }
                (word)
                @if let Some(more) = more { span .more { ": " (more) } }
            }
        }
    }
}

/// A time that programs can read too.
pub(super) fn time(at: UnixMs) -> Markup {
    html! { time datetime=(at.rfc3339()) { (words::date(at)) } }
}

/// How long before the view something was, with the time itself in reach.
pub(super) fn ago(view: &FleetView, at: UnixMs) -> Markup {
    let text = words::seconds(view.at.since(at).as_secs_f64());
    html! { time datetime=(at.rfc3339()) title=(words::date(at)) { (text) " ago" } }
}

/// How long something has lasted at the view, with its beginning in reach.
pub(super) fn lasting(view: &FleetView, since: UnixMs) -> Markup {
    let text = words::seconds(view.at.since(since).as_secs_f64());
    html! { time datetime=(since.rfc3339()) title={ "since " (words::date(since)) } { "for " (text) } }
}

/// A bar of `part` of a whole, 0 to 1. The figure stands beside it in words.
pub(super) fn bar(part: f64, class: &str) -> Markup {
    let width = if part.is_finite() {
        part.clamp(0.0, 1.0) * 100.0
    } else {
        0.0
    };
    html! {
        svg .bar viewBox="0 0 100 8" preserveAspectRatio="none" aria-hidden="true" {
            rect .track width="100" height="8" {}
            rect class=(class) width=(format!("{width:.1}")) height="8" {}
        }
    }
}

/// A small chart of one series; gaps are left open. Nothing for fewer than two points.
pub(super) fn spark(values: &[Option<f64>]) -> Markup {
    let known: Vec<(usize, f64)> = values
        .iter()
        .enumerate()
        .filter_map(|(at, value)| Some((at, (*value)?)))
        .collect();
    let high = known
        .iter()
        .fold(0.0_f64, |high, &(_, value)| high.max(value));
    if known.len() < 2 || high <= 0.0 {
        return html! { svg .spark viewBox="0 0 100 24" aria-hidden="true" {} };
    }
    // From zero, so that a flat line looks flat whatever its jitter.
    let x = |at: usize| at as f64 * 100.0 / (values.len() - 1) as f64;
    let point =
        |&(at, value): &(usize, f64)| format!("{:.1},{:.1}", x(at), 23.0 - value / high * 21.0);
    let points: Vec<String> = known.iter().map(point).collect();
    let (first, last) = (x(known[0].0), x(known[known.len() - 1].0));
    html! {
        svg .spark viewBox="0 0 100 24" preserveAspectRatio="none" aria-hidden="true" {
            polygon points=(format!("{first:.1},24 {} {last:.1},24", points.join(" "))) {}
            polyline points=(points.join(" ")) {}
        }
    }
}

/// The reasons of a finding: what speaks for its answer, then what speaks against.
pub(super) fn reasons(finding: &Finding) -> Markup {
    let (fors, against): (Vec<_>, Vec<_>) = finding
        .why
        .iter()
        .partition(|reason| reason.speaks_for == finding.verdict);
    html! {
        @for (heading, class, reasons) in [
            ("Why", "for", fors),
            ("What speaks against it", "against", against),
        ] {
            @if !reasons.is_empty() {
                h3 { (heading) }
                ul class={ "reasons " (class) } {
                    @for reason in reasons { li title=(reason.code) { (reason.text) } }
                }
            }
        }
    }
}

/// What to do, if there is anything.
pub(super) fn advice(finding: &Finding) -> Markup {
    html! {
        @if !finding.advice.is_empty() {
            h3 { "What to do" }
            ul .advice { @for advice in &finding.advice { li title=(advice.code) { (advice.text) } } }
        }
    }
}

/// Who is told of incidents, and how that goes.
fn notifiers(notifiers: &[NotifierHealth]) -> Markup {
    html! {
        details .notifiers {
            summary { "Alerts go to " (words::count(notifiers.len() as f64)) @if notifiers.len() == 1 { " receiver" } @else { " receivers" } }
            ul {
                @for one in notifiers {
                    li {
                        (one.name) ": " (one.delivered) " delivered"
                        @if one.waiting > 0 { ", " (one.waiting) " waiting" }
                        @if one.failed > 0 { ", " (one.failed) " attempts failed" }
                        @if one.refused > 0 { ", " (one.refused) " refused" }
                        @if one.dropped > 0 { ", " (one.dropped) " dropped" }
                        @if !one.trouble.is_empty() { "; now: " (one.trouble) }
                    }
                }
            }
        }
    }
}

/// What the watcher uses itself, beside its budget.
fn own_cost(own: &OwnCost) -> Markup {
    let percent = |cores: f64| format!("{:.2} %", 100.0 * cores);
    let used = own.cpu_cores.map_or("no".into(), percent);
    html! {
        details #own-cost {
            summary {
                "Watching takes " (used) " of a core (budget " (percent(own.cpu_budget_cores)) ") and "
                (words::bytes(own.memory_bytes as f64)) " (budget "
                (words::bytes(own.memory_budget_bytes as f64)) ")"
            }
            ul {
                @for one in &own.processes {
                    li {
                        (one.role) ": " (words::seconds(one.cpu_seconds)) " of CPU since its start"
                        @if one.memory_bytes > 0 { ", " (words::bytes(one.memory_bytes as f64)) }
                    }
                }
                @for shed in own.shed.iter().filter(|shed| shed.now || shed.times > 0) {
                    li {
                        @if shed.now { strong { (shed.text) } } @else { "before: " (shed.text) }
                        @if shed.times > 1 { " (" (shed.times) " times)" }
                    }
                }
            }
        }
    }
}

fn troubles(title: &str, troubles: &[String]) -> Markup {
    html! {
        @if !troubles.is_empty() {
            div .troubles role="alert" {
                strong { (title) }
                ul { @for trouble in troubles { li { (trouble) } } }
            }
        }
    }
}

/// The watcher's own health, under every page.
pub(super) fn health(view: &FleetView) -> Markup {
    let health = &view.health;
    html! {
        (troubles("The watcher itself has trouble:", &health.troubles))
        (troubles("Alerts do not arrive:", &health.undelivered))
        @for note in &health.notes { p .note { (note) } }
        @if !health.notifiers.is_empty() { (notifiers(&health.notifiers)) }
        (own_cost(&health.own))
        p {
            span { "unswept " (health.version) }
            span { "watching for " (words::seconds(view.at.since(health.started).as_secs_f64())) }
            span { "every " (words::seconds(health.interval_s)) }
            span { (words::count(health.series as f64)) " series, "
                (words::count(health.samples_stored as f64)) " samples" }
            span { "data in " code { (health.data_dir) } }
            span { "as of " (time(view.at)) }
        }
    }
}
