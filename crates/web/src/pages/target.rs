//! One target: its verdict in words, its ledger over time and as a table, and what is known of it.

use std::sync::Arc;

use maud::{Markup, html};
use model::{
    Component, Finding, FleetView, Incident, Judgement, Ledger, LedgerBasis, Target, TargetView,
    Verdict,
};

use super::layout::{self, Place};
use super::{holders, parts};
use crate::words;

pub(super) fn page(
    view: &FleetView,
    of: &TargetView,
    held: Option<&(Arc<Incident>, holders::Outcome)>,
) -> Markup {
    let content = html! {
        p .crumbs { a href="/" { "Targets" } }
        section #head data-part { (head(view, of)) }
        section #verdict data-part { (verdict(of)) }
        (charts(of))
        section #ledger data-part { (ledger(of)) }
        @match held {
            Some((incident, held)) => (holders::sections(incident, held)),
            None => section #held data-part { (not_looked_into(of)) },
        }
        section #facts data-part { (facts(view, of)) }
    };
    layout::page(&of.target.name, Place::Elsewhere, true, view, content)
}

/// How to look by hand: the watcher itself looks where a leak is.
fn not_looked_into(of: &TargetView) -> Markup {
    html! {
        @if let (Some(pid), true) = (of.target.pid, of.target.process.is_some()) {
            h2 { "What holds the memory" }
            p .quiet { "It is looked into when a leak of the Go heap or of goroutines is found. To look now:" }
            pre .commands tabindex="0" { "unswept inspect refs " (pid) "\n" }
        }
    }
}

fn head(view: &FleetView, of: &TargetView) -> Markup {
    html! {
        h1 {
            (of.target.name)
            @if let Some(pid) = of.target.pid { span .pid { "pid " (pid) } }
        }
        p .sub {
            (parts::state(&of.state))
            @if let Some(module) = &of.target.module { span { (module) } }
            @if let Some(version) = &of.target.go_version { span { (version) } }
            @if let Some(start) = of.target.start_time { span { "started " (parts::ago(view, start)) } }
            @if let Some(read) = of.last_read { span { "last read " (parts::ago(view, read)) } }
        }
        @for id in &of.incidents {
            p .alerts { a href={ "/incidents/" (words::segment(&id.0)) } { "Open incident " (id) } }
        }
    }
}

fn verdict(of: &TargetView) -> Markup {
    let Some(verdict) = &of.verdict else {
        return html! {
            h2 { "No verdict yet" }
            p { "The first verdict needs about two minutes of readings." }
        };
    };
    html! {
        div .answer {
            (parts::badge(verdict.verdict, verdict.kind))
            h2 { (sentence(&of.target.name, verdict)) }
        }
        (figures(of, verdict))
        @for (at, finding) in verdict.findings.iter().enumerate() {
            @if at > 0 { h2 .second { "Also: " (finding_words(finding)) } }
            (parts::reasons(finding))
            (parts::advice(finding))
        }
        @if verdict.suspects.iter().any(|suspect| suspect.rank == 1) {
            (super::incident::suspects(&verdict.suspects))
        }
    }
}

/// `billing leaks: the live Go heap grows.`
fn sentence(name: &str, verdict: &Verdict) -> String {
    let why = verdict
        .kind
        .map_or("more has to be seen first", |kind| words::kind(kind).1);
    match verdict.verdict {
        Judgement::Leak => format!("{name} leaks: {why}."),
        Judgement::NoLeak => format!("{name} does not leak: {why}."),
        Judgement::Unsure => format!("Whether {name} leaks cannot be said yet: {why}."),
    }
}

fn finding_words(finding: &Finding) -> String {
    let kind = finding.kind.map_or("undecided", |kind| words::kind(kind).0);
    format!("{} ({kind})", words::judgement(finding.verdict))
}

/// The figures beside the answer, each with its unit and its interval.
pub(super) fn figures(of: &TargetView, verdict: &Verdict) -> Markup {
    let growth = verdict
        .findings
        .first()
        .and_then(|finding| finding.growth.as_ref());
    let used = of.process.map(|process| process.rss_bytes);
    html! {
        dl .figures {
            @if let Some(growth) = growth {
                div { dt { "Growth" } dd { (words::growth(growth)) } dd .note { (words::interval(growth)) } }
            }
            @if let Some(limit) = &verdict.seconds_to_limit {
                @let (estimate, range) = words::time_to_limit(limit);
                div .urgent { dt { "Limit reached in" } dd { (estimate) } dd .note { (range) } }
            }
            @if let Some(used) = used {
                div {
                    dt { "Memory now" }
                    dd { (words::bytes(used as f64)) }
                    @match verdict.limit_bytes {
                        Some(limit) => {
                            dd { (parts::bar(used as f64 / limit.max(1) as f64, "fill")) }
                            dd .note {
                                (words::percent(used as f64 / limit.max(1) as f64)) " of "
                                (words::bytes(limit as f64))
                                @if let Some(source) = &verdict.limit_source { " (" (source) ")" }
                            }
                        }
                        None => dd .note { "no limit known" },
                    }
                }
            }
            @if let Some(confidence) = verdict.confidence {
                div {
                    dt { "Confidence" }
                    dd { (words::percent(confidence)) }
                    dd .note { "judged over "
                        (words::seconds(verdict.window.to.since(verdict.window.from).as_secs_f64())) }
                }
            }
        }
    }
}

/// Places for the charts: drawn by scripts, kept when the rest is replaced.
fn charts(of: &TargetView) -> Markup {
    let history = format!(
        "/api/v1/unswept/targets/{}/history",
        words::segment(&of.target.id.0)
    );
    html! {
        section .charts data-history=(history) {
            div .row {
                h2 { "Memory over time" span .quiet.small { " (UTC)" } }
                fieldset .ranges {
                    legend .sr { "Shown stretch" }
                    @for (minutes, text) in [(15, "15 min"), (60, "1 h"), (360, "6 h"), (1440, "1 d"), (10080, "7 d")] {
                        label {
                            input type="radio" name="minutes" value=(minutes) checked[minutes == 60];
                            span { (text) }
                        }
                    }
                }
            }
            div #chart-ledger .chart.tall role="img" aria-label="Memory by component over time, stacked; the table below has the figures" {
                noscript { p .quiet { "The charts need scripts; the table below has the figures." } }
            }
            div .pair {
                div { h3 { "Goroutines" } div #chart-goroutines .chart role="img" aria-label="Goroutines over time" {} }
                div { h3 { "Collections per minute" } div #chart-collections .chart role="img" aria-label="Garbage collections per minute over time" {} }
            }
        }
    }
}

fn ledger(of: &TargetView) -> Markup {
    let Some(ledger) = &of.ledger else {
        return html! { h2 { "Ledger" } p .quiet { "Nothing has been read of its memory yet." } };
    };
    html! {
        h2 { "Ledger" }
        p .quiet {
            "What the " (words::bytes(ledger.total_bytes as f64)) " in memory consist of, as of "
            (parts::time(ledger.at)) ". " (closing(ledger))
        }
        (table(of.verdict.as_ref(), ledger, "In memory (RSS)"))
        @if let Some(ledger) = &of.container_ledger { (container(ledger)) }
    }
}

/// The container's ledger, closed like the process's: it closes on another number.
fn container(ledger: &Ledger) -> Markup {
    html! {
        h3 { "Its container" }
        p .quiet {
            "What the " (words::bytes(ledger.total_bytes as f64)) " charged to its cgroup consist of, as of "
            (parts::time(ledger.at)) ". " (closing(ledger))
        }
        (table(None, ledger, "Charged"))
    }
}

fn closing(ledger: &Ledger) -> String {
    let unexplained = words::bytes(ledger.unexplained_bytes as f64);
    let mut text = match (ledger.basis, ledger.closes()) {
        (LedgerBasis::EarlierMappings, _) => format!(
            "Mappings were last read {} before: lines from them are as of then, and {unexplained} of \
             what changed since are unexplained.",
            words::seconds(ledger.skew_ms as f64 / 1000.0)
        ),
        (LedgerBasis::None, _) => format!(
            "Nothing proves it, since mappings were never read: lines of Go are the most that can be \
             resident, and {unexplained} are unexplained."
        ),
        (_, true) => format!("It closes: {unexplained} are unexplained."),
        (_, false) => format!("It does not close: {unexplained} are unexplained."),
    };
    let source = match ledger.live_source.as_str() {
        "exported" => " The live heap is what the program exports.",
        "process" => " The live heap is what the collector marked last, read in the process.",
        "next-gc" => " The live heap is derived from the collector's next goal.",
        "floor" => " The live heap is the floor that collections leave behind.",
        _ => "",
    };
    text.push_str(source);
    text
}

/// The lines of a ledger; with the growth that a verdict has of them, where it is the judged one.
fn table(verdict: Option<&Verdict>, ledger: &Ledger, total_name: &str) -> Markup {
    let judged = |name: &str| {
        let lines = verdict.into_iter().flat_map(|verdict| &verdict.components);
        lines.into_iter().find(|line| line.name == name)
    };
    let total = ledger.total_bytes as f64;
    let unexplained = Component::new("unexplained", ledger.unexplained_bytes);
    let inside = ledger.components.iter().chain([&unexplained]);
    html! {
        table .ledger {
            caption .sr { "Memory by component" }
            thead {
                tr {
                    th scope="col" { "Component" }
                    th scope="col" .num { "Now" }
                    th scope="col" .num { "Part" }
                    th scope="col" .num { "Growth" }
                    th scope="col" .num { "Share of growth" }
                }
            }
            tbody {
                @for line in inside { (line_row(line, judged(&line.name), Some(total))) }
                tr .total {
                    th scope="row" { (total_name) }
                    td .num data-label="Now" { (words::bytes(total)) }
                    td .num data-label="Part" { "100 %" }
                    td {} td {}
                }
                @for line in &ledger.outside { (line_row(line, judged(&line.name), None)) }
            }
        }
        @if !ledger.outside.is_empty() { p .quiet { "Lines below the sum are shown beside it, not in it." } }
    }
}

/// One line; `total` is absent for what is outside the sum.
fn line_row(line: &Component, judged: Option<&Component>, total: Option<f64>) -> Markup {
    let per_minute = line
        .bytes_per_minute
        .or(judged.and_then(|line| line.bytes_per_minute));
    let share = line
        .growth_share
        .or(judged.and_then(|line| line.growth_share));
    let bytes = line.bytes as f64;
    let class = format!("swatch c-{}", line.name.replace('.', "-"));
    html! {
        tr .outside[total.is_none()] {
            th scope="row" {
                svg class=(class) viewBox="0 0 10 10" aria-hidden="true" { rect width="10" height="10" rx="2" {} }
                (words::component(&line.name)) " "
                code { (line.name) }
            }
            td .num data-label="Now" { (words::bytes(bytes)) }
            td .num data-label="Part" {
                @if let Some(total) = total.filter(|total| *total > 0.0) {
                    (parts::bar(bytes / total, "fill")) span .figure { (words::percent(bytes / total)) }
                } @else { span .quiet { "beside it" } }
            }
            td .num data-label="Growth" {
                @if let Some(per_minute) = per_minute { (words::bytes_per_minute(per_minute)) }
                @else { span .quiet.none { "–" } }
            }
            td .num data-label="Share of growth" {
                @if let Some(share) = share { (words::percent(share)) } @else { span .quiet.none { "–" } }
            }
        }
    }
}

/// The effective limit, with its source.
fn limit(of: &TargetView) -> Option<String> {
    let bytes = words::bytes(of.limit.bytes? as f64);
    let source = of.limit.source.as_deref().unwrap_or("source unknown");
    Some(format!("{bytes} ({source})"))
}

/// Where the kernel begins to slow the container down.
fn high(of: &TargetView) -> Option<String> {
    let container = of.container.as_ref()?;
    let bytes = words::bytes(container.high_bytes? as f64);
    Some(format!("{bytes} ({})", container.high_source.as_deref()?))
}

/// The container's name with its id, as the runtime's own tools take it.
fn container_name(target: &Target) -> Option<String> {
    let (name, id) = (target.container.as_ref()?, target.container_id.as_ref());
    Some(match id.filter(|id| *id != name) {
        Some(id) => format!("{name} ({id})"),
        None => name.clone(),
    })
}

fn endpoint(target: &Target) -> Option<String> {
    let url = target.url.as_ref()?;
    Some(match target.url_inside {
        true => format!("{url} in its own network namespace"),
        false => url.clone(),
    })
}

/// A figure of whatever unit: whole where it is large.
fn figure(value: f64) -> String {
    match value.abs() >= 100.0 || value.fract() == 0.0 {
        true => words::count(value.round()),
        false => format!("{value:.2}"),
    }
}

/// What its own series say of its work.
fn own_series(of: &TargetView) -> Markup {
    html! {
        @if !of.series.is_empty() {
            h2 { "Its own rates and gauges" }
            p .quiet { "Tried as explanations of its memory; by now:" }
            dl .facts {
                @for one in &of.series {
                    @let (kind, name) = one.source.split_once(':').unwrap_or(("", &one.source));
                    div {
                        dt { code { (name) } }
                        dd {
                            (figure(one.value))
                            @if kind == "rate" { " a second" }
                            @if kind == "named" { " (load, by load.series)" }
                        }
                    }
                }
            }
        }
    }
}

fn facts(view: &FleetView, of: &TargetView) -> Markup {
    let target = &of.target;
    let known = |value: &Option<String>| value.clone();
    let settings = of.settings;
    let memlimit = settings.gomemlimit_bytes;
    let memlimit = memlimit.map(|limit| words::setting(limit, words::bytes));
    let gogc = settings.gogc_percent;
    let gogc = gogc.map(|gogc| words::setting(gogc, |percent| format!("{percent:.0} %")));
    let process = of.process;
    let rows = [
        ("Workload", Some(target.workload.0.clone())),
        (
            "Revision",
            Some(target.revision.0.clone()).filter(|text| !text.is_empty()),
        ),
        ("Host", Some(target.host.clone())),
        ("Pod", known(&target.pod)),
        ("Container", container_name(target)),
        ("Image", known(&target.image)),
        ("Endpoint", endpoint(target)),
        (
            "Cgroup",
            of.container
                .as_ref()
                .map(|container| container.path.clone()),
        ),
        (
            "Go figures",
            of.go.map(|go| words::go_source(go.source).to_owned()),
        ),
        ("Limit", limit(of)),
        ("Slowed down from", high(of)),
        ("GOGC", gogc),
        ("GOMEMLIMIT", memlimit),
        (
            "Threads",
            process.map(|process| words::count(process.threads as f64)),
        ),
        (
            "Open descriptors",
            process
                .and_then(|process| process.fds)
                .map(|fds| words::count(fds as f64)),
        ),
        (
            "Labels",
            Some(target.labels.to_string()).filter(|text| !text.is_empty()),
        ),
        ("Target id", Some(target.id.0.clone())),
    ];
    html! {
        details #facts-details open {
            summary { h2 { "Facts" } }
            dl .facts {
                @for (name, value) in rows {
                    @if let Some(value) = value { div { dt { (name) } dd { (value) } } }
                }
            }
        }
        (own_series(of))
        h2 { "What was asked of it" }
        @if of.probes.is_empty() {
            p .quiet { "No port was probed; its process is read from the kernel every "
                (words::seconds(view.health.interval_s)) "." }
        } @else {
            ul .probes { @for probe in &of.probes { li { (probe) } } }
        }
    }
}
