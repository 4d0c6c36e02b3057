//! One incident: what leaks, who does it, before and after, and how to go on.

use std::sync::Arc;

use maud::{Markup, html};
use model::verdict::SuspectWhat;
use model::{FleetView, Incident, IncidentState, Kind, Siblings, Suspect};

use super::layout::{self, Place};
use super::{answers, holders, parts};
use crate::compare::{Compared, Comparison};
use crate::error::ApiError;
use crate::words;

/// Where the page is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// On the watcher, by its operator or by somebody who only reads.
    Live { is_operator: bool },
    /// In a file of its own, far from the watcher.
    Report,
}

/// What a comparison came to.
pub(crate) type Outcome = Result<Option<Arc<Comparison>>, ApiError>;

/// `billing leaks: Go heap, +58.0 MiB/min, allocated in main.(*index).Keep, index.go:88`.
pub(crate) fn title(incident: &Incident) -> String {
    let verdict = &incident.verdict;
    let name = &verdict.target.name;
    let kind = words::kind(incident.kind);
    let mut text = match incident.kind.is_leak() {
        true => format!("{name} leaks: {}", kind.0),
        false => format!("{name}: {}", kind.1),
    };
    let finding = verdict
        .findings
        .iter()
        .find(|finding| finding.kind == Some(incident.kind));
    if let Some(growth) = finding.and_then(|finding| finding.growth.as_ref()) {
        text.push_str(&format!(", {}", words::growth(growth)));
    }
    if let Some(first) = own_suspects(incident).first() {
        text.push_str(&format!(
            ", {} {}",
            words::suspect_link(first.what),
            first.function
        ));
        if let Some(place) = place(first) {
            text.push_str(&format!(", {place}"));
        }
    }
    text
}

/// Those of the finding that the incident is of: the verdict may have others of another kind, and who holds
/// descriptors is not who allocates C memory. An end for lack of memory has no finding of its own.
fn own_suspects(incident: &Incident) -> &[Suspect] {
    let verdict = &incident.verdict;
    let mut findings = verdict.findings.iter();
    let own = findings.find(|finding| finding.kind == Some(incident.kind));
    own.map_or(&verdict.suspects, |finding| &finding.suspects)
}

/// `index.go:88`.
fn place(suspect: &Suspect) -> Option<String> {
    let file = suspect.file.as_deref()?;
    let file = file.rsplit('/').next().unwrap_or(file);
    Some(match suspect.line {
        Some(line) => format!("{file}:{line}"),
        None => file.to_owned(),
    })
}

/// All incidents.
pub(super) fn list_page(view: &FleetView) -> Markup {
    let content = html! {
        h1 { "Incidents" }
        section #incidents data-part {
            @if view.incidents.is_empty() {
                p { "No leak has been found so far. An incident opens when a verdict says leak, and "
                    "lives through restarts until it is shown to be over." }
            } @else {
                ul .incidents {
                    @for incident in &view.incidents {
                        li {
                            (state(incident))
                            div {
                                a href={ "/incidents/" (words::segment(&incident.id.0)) } { (title(incident)) }
                                p .quiet {
                                    span { "opened " (parts::ago(view, incident.opened)) }
                                    span { (incident.workload) }
                                    span { (incident.evidence.len()) " files of evidence" }
                                }
                            }
                        }
                    }
                }
            }
        }
    };
    layout::page("Incidents", Place::Incidents, false, view, content)
}

/// One incident.
pub(crate) fn page(
    view: &FleetView,
    incident: &Incident,
    heap: &Outcome,
    goroutines: &Outcome,
    held: &holders::Outcome,
    mode: Mode,
) -> Markup {
    let name = format!(
        "{}: {}",
        incident.verdict.target.name,
        words::kind(incident.kind).0
    );
    let content = content(view, incident, heap, goroutines, held, mode);
    match mode {
        Mode::Live { .. } => layout::page(&name, Place::Incidents, true, view, content),
        Mode::Report => layout::report(&name, view, content),
    }
}

fn content(
    view: &FleetView,
    incident: &Incident,
    heap: &Outcome,
    goroutines: &Outcome,
    held: &holders::Outcome,
    mode: Mode,
) -> Markup {
    let is_live = matches!(mode, Mode::Live { .. });
    let is_operator = mode == Mode::Live { is_operator: true };
    let native = matches!(
        incident.kind,
        Kind::NativeHeap | Kind::NativeMmap | Kind::Native
    );
    html! {
        @if is_live { p .crumbs { a href="/incidents" { "Incidents" } } }
        section #head data-part { (head(view, incident, is_live)) }
        section #answers data-part { (answers::standing(incident, is_operator)) }
        @if is_live { section #answer { (answers::form(incident, is_operator)) } }
        section #suspects data-part {
            @if own_suspects(incident).is_empty() {
                h2 { "Suspects" }
                p .quiet { "None is known yet: it takes two looks, some minutes apart." }
            } @else { (suspects(own_suspects(incident))) }
        }
        @if incident.kind.has_holders() { (holders::sections(incident, held)) }
        @if native { section #native data-part { (native_growth(incident)) } }
        @if incident.kind == Kind::Goroutine {
            (compared(incident, "Goroutines before and after", Compared::Goroutines, goroutines))
        }
        // Go's heap is beside the point when the growth is outside Go, unless it was taken.
        @if !native || !matches!(heap, Ok(None)) {
            (compared(incident, "Heap before and after", Compared::Heap, heap))
        }
        section #why data-part { (why(incident)) }
        section #timeline data-part { (timeline(incident)) }
        section #evidence data-part { (evidence(view, incident, is_live)) }
    }
}

fn state(incident: &Incident) -> Markup {
    match incident.state {
        IncidentState::Open if incident.silence.is_some() => {
            let because = incident
                .silence
                .map_or("", |silence| silence.because.as_str());
            html! { span .badge.none { span .sign aria-hidden="true" { "○" } (because) } }
        }
        IncidentState::Open if incident.is_acknowledged() => {
            html! { span .badge.unsure { span .sign aria-hidden="true" { "●" } "acknowledged" } }
        }
        IncidentState::Open => {
            html! { span .badge.leak { span .sign aria-hidden="true" { "▲" } "open" } }
        }
        IncidentState::Resolved => {
            html! { span .badge.calm { span .sign aria-hidden="true" { "✓" } "resolved" } }
        }
    }
}

fn head(view: &FleetView, incident: &Incident, is_live: bool) -> Markup {
    let verdict = &incident.verdict;
    let target = view.target(&verdict.target.id);
    let finding = verdict
        .findings
        .iter()
        .find(|finding| finding.kind == Some(incident.kind));
    html! {
        p .answer { (state(incident)) (parts::badge(verdict.verdict, Some(incident.kind))) }
        h1 .long { (title(incident)) }
        p .sub {
            @if let Some(onset) = incident.onset { span { "growing since " (parts::time(onset)) } }
            span { "opened " (parts::ago(view, incident.opened)) }
            span { "last seen " (parts::ago(view, incident.last_seen)) }
            @if let Some(at) = incident.resolved { span { "resolved " (parts::time(at)) } }
            span { (incident.workload) }
        }
        dl .figures {
            @if let Some(growth) = finding.and_then(|finding| finding.growth.as_ref()) {
                div { dt { "Growth" } dd { (words::growth(growth)) } dd .note { (words::interval(growth)) } }
            }
            @if let Some(limit) = &verdict.seconds_to_limit {
                @let (estimate, range) = words::time_to_limit(limit);
                div .urgent { dt { "Limit reached in" } dd { (estimate) } dd .note { (range) } }
            }
            @if let Some(limit) = verdict.limit_bytes {
                div {
                    dt { "Limit" } dd { (words::bytes(limit as f64)) }
                    @if let Some(source) = &verdict.limit_source { dd .note { (source) } }
                }
            }
            @if let Some(confidence) = finding.and_then(|finding| finding.confidence) {
                div { dt { "Confidence" } dd { (words::percent(confidence)) } dd .note { "that it is a leak of this kind" } }
            }
        }
        @if let Some(siblings) = incident.siblings { (of_siblings(siblings)) }
        @if is_live { (ledgers(view, incident)) }
        @if target.is_none() && incident.members().next().is_none() {
            p .quiet { "No target is listed." }
        }
    }
}

/// The targets' own pages.
fn ledgers(view: &FleetView, incident: &Incident) -> Markup {
    html! {
        p {
            @for id in incident.members() {
                @match view.target(id) {
                    Some(known) => a .button href={ "/targets/" (words::segment(&id.0)) } {
                        "Ledger of " (known.target.name)
                        @if let Some(pid) = known.target.pid { " (pid " (pid) ")" }
                    },
                    None => span .quiet { "Target " (id) " is no longer watched." },
                }
                " "
            }
        }
    }
}

/// How far the leak is spread.
fn of_siblings(siblings: Siblings) -> Markup {
    let Siblings {
        of_revision,
        leaking,
        of_workload,
    } = siblings;
    let others = of_workload.saturating_sub(of_revision);
    html! {
        p .sub {
            span { strong { (leaking) " of " (of_revision) } " running targets of this revision leak" }
            @if others > 0 { span { (others) " run another revision" } }
        }
    }
}

/// The ranked culprits, on the pages of an incident and of a target.
pub(super) fn suspects(suspects: &[Suspect]) -> Markup {
    html! {
        h2 { "Suspects" }
        ol .suspects {
            @for suspect in suspects { li { (one_suspect(suspect)) } }
        }
    }
}

fn one_suspect(suspect: &Suspect) -> Markup {
    html! {
        div .suspect {
            p .what {
                span .quiet { (words::suspect_link(suspect.what)) " " }
                strong .function { (suspect.function) }
                @if let Some(place) = place(suspect) {
                    span .place title=[suspect.file.as_deref()] { (place) }
                }
            }
            p .change {
                (change(suspect))
                @if let Some(share) = suspect.growth_share {
                    span .share { (parts::bar(share, "fill")) (words::percent(share)) " of the growth" }
                }
            }
            (held(suspect))
            @if let Some(note) = &suspect.note { p .note { (note) } }
            @if !suspect.stack.is_empty() {
                details id={ "stack-" (suspect.rank) } {
                    summary { "Stack, " (suspect.stack.len()) " frames, innermost first" }
                    (frames(&suspect.stack))
                }
            }
        }
    }
}

/// `Held by main.sessions[key], 812 MiB, +5.0 MiB/min`; a suspect that is the holder itself only has
/// the figures.
fn held(suspect: &Suspect) -> Markup {
    let holder = suspect.holder.as_ref();
    let is_itself = suspect.held_by.as_ref() == Some(&suspect.function);
    html! {
        @if let Some(held_by) = suspect.held_by.as_ref().filter(|_| !is_itself || holder.is_some()) {
            p .held {
                @if is_itself { "Keeps" } @else { "Held by " code { (held_by) } @if holder.is_some() { "," } }
                @if let Some(holder) = holder {
                    " " (words::bytes(holder.bytes as f64))
                    @if let Some(per_s) = holder.growth_bytes_per_s {
                        ", " (words::bytes_per_minute(per_s * 60.0))
                    }
                    @if let (true, Some(site)) = (is_itself, &holder.allocated_in) {
                        ", allocated in " code { (site) }
                    }
                }
            }
        }
    }
}

fn frames(stack: &[String]) -> Markup {
    html! { ol .frames { @for frame in stack { li { (frame) } } } }
}

/// `12.1 MiB → 398 MiB, 3 100 → 91 000 objects`.
fn change(suspect: &Suspect) -> Markup {
    let things = match suspect.what {
        SuspectWhat::Goroutine => "goroutines",
        SuspectWhat::Thread => "threads",
        SuspectWhat::Fd => "descriptors",
        SuspectWhat::Mapping => "mappings",
        _ => "objects",
    };
    let bytes = |value: u64| words::bytes(value as f64);
    let count = |value: u64| words::count(value as f64);
    let arrow = |before: Option<String>, after: String| match before {
        Some(before) => format!("{before} → {after}"),
        None => after,
    };
    html! {
        @if let Some(after) = suspect.bytes {
            span { (arrow(suspect.bytes_before.map(bytes), bytes(after))) }
        }
        @if let Some(after) = suspect.count {
            span { (arrow(suspect.count_before.map(count), count(after))) " " (things) }
        }
    }
}

fn native_growth(incident: &Incident) -> Markup {
    let lines = incident.verdict.components.iter();
    let lines: Vec<_> = lines
        .filter(|line| line.name.starts_with("native.") || line.name == "anon-rest")
        .collect();
    html! {
        h2 { "Which memory outside Go grows" }
        @if !lines.is_empty() {
            table {
                thead { tr { th scope="col" { "Class" } th scope="col" .num { "Now" } th scope="col" .num { "Growth" } } }
                tbody {
                    @for line in lines {
                        tr {
                            th scope="row" { (words::component(&line.name)) " " code { (line.name) } }
                            td .num data-label="Now" { (words::bytes(line.bytes as f64)) }
                            td .num data-label="Growth" {
                                @if let Some(growth) = line.bytes_per_minute { (words::bytes_per_minute(growth)) }
                                @else { "–" }
                            }
                        }
                    }
                }
            }
        }
        p .callout {
            strong { "Which line allocates it: needs tracing." }
            " Go's heap profile does not see memory from C's malloc or mmap. The class above says "
            "where to look: cgo calls and the libraries behind them."
        }
    }
}

/// Bars, flame graph and table of two profiles. The graph is kept when the rest is replaced.
fn compared(incident: &Incident, heading: &str, compared: Compared, outcome: &Outcome) -> Markup {
    let kind = compared.sample_type();
    let comparison = match outcome {
        Ok(Some(comparison)) => comparison,
        Ok(None) => {
            return html! {
                section data-part id={ "compare-" (kind) } {
                    h2 { (heading) }
                    p .quiet { "There are no two profiles to compare yet." }
                }
            };
        }
        Err(error) => {
            return html! {
                section data-part id={ "compare-" (kind) } {
                    h2 { (heading) }
                    p .callout { "The profiles cannot be compared: " (error.text) }
                }
            };
        }
    };
    let source = flame_source(incident, kind);
    html! {
        section data-part id={ "compare-" (kind) } { h2 { (heading) } (bars(compared, comparison)) }
        section .flame data-flame=(source) data-unit=(kind) {
            h3 { "Where it grew, from the outermost call down" }
            noscript { p .quiet { "The graph needs scripts; the table above has the same figures." } }
        }
    }
}

/// Where the page's script finds the tree of a graph.
pub(crate) fn flame_source(incident: &Incident, kind: &str) -> String {
    let id = words::segment(&incident.id.0);
    format!("/api/v1/unswept/incidents/{id}/flame?type={kind}")
}

fn amount(compared: Compared, value: i64) -> String {
    match compared {
        Compared::Heap => words::bytes(value as f64),
        Compared::Goroutines => words::count(value as f64),
    }
}

fn bars(compared: Compared, comparison: &Comparison) -> Markup {
    let whole = comparison.total_before.max(comparison.total_after).max(1) as f64;
    let growing = comparison.rows.iter().filter(|row| row.after != row.before);
    html! {
        div .before-after {
            @for (name, class, value) in [
                ("before", "fill before", comparison.total_before),
                ("after", "fill", comparison.total_after),
            ] {
                p { span { (name) } (parts::bar(value as f64 / whole, class)) strong { (amount(compared, value)) } }
            }
        }
        table .stacks {
            caption .sr { "Stacks that changed most" }
            thead {
                tr {
                    th scope="col" { "Function" }
                    @if compared == Compared::Goroutines { th scope="col" { "Waits for" } }
                    th scope="col" .num { "Before" }
                    th scope="col" .num { "After" }
                    th scope="col" .num { "Change" }
                }
            }
            tbody {
                @for (at, row) in growing.enumerate() {
                    tr {
                        th scope="row" {
                            details id={ "stack-" (compared.sample_type()) "-" (at) } {
                                summary { span .function { (row.function) } " " span .place { (row.place) } }
                                (frames(&row.stack))
                            }
                        }
                        @if compared == Compared::Goroutines {
                            td data-label="Waits for" { (row.wait_reason.unwrap_or("–")) }
                        }
                        td .num data-label="Before" { (amount(compared, row.before)) }
                        td .num data-label="After" { (amount(compared, row.after)) }
                        td .num data-label="Change" {
                            @if row.after > row.before { "+" }
                            (amount(compared, row.after.saturating_sub(row.before)))
                        }
                    }
                }
            }
        }
    }
}

fn why(incident: &Incident) -> Markup {
    let finding = incident
        .verdict
        .findings
        .iter()
        .find(|finding| finding.kind == Some(incident.kind));
    html! {
        @if let Some(finding) = finding {
            h2 { "Reasons" }
            (parts::reasons(finding))
            (parts::advice(finding))
        }
    }
}

fn timeline(incident: &Incident) -> Markup {
    html! {
        h2 { "Timeline" }
        ol .timeline {
            @for event in incident.timeline.iter().rev() {
                li { (parts::time(event.at)) span .event { (event.text) } }
            }
        }
    }
}

fn evidence(view: &FleetView, incident: &Incident, is_live: bool) -> Markup {
    let folder = format!(
        "{}/incidents/{}",
        view.health.data_dir.trim_end_matches('/'),
        incident.id
    );
    let base = format!(
        "/api/v1/unswept/incidents/{}/evidence/",
        words::segment(&incident.id.0)
    );
    let pairs = [Compared::Heap, Compared::Goroutines].map(Compared::files);
    let pairs = pairs
        .into_iter()
        .filter_map(|bases| incident.evidence_of_one(bases));
    html! {
        h2 { "Evidence" }
        @if incident.evidence.is_empty() {
            p .quiet { "Nothing has been taken yet; refusals are in the timeline." }
        } @else {
            table .files {
                thead { tr { th scope="col" { "File" } th scope="col" { "What" } th scope="col" { "Taken" } th scope="col" .num { "Size" } } }
                tbody {
                    @for file in &incident.evidence {
                        tr {
                            th scope="row" {
                                @if is_live { a href={ (base) (words::segment(&file.name)) } download { (file.name) } }
                                @else { (file.name) }
                            }
                            td data-label="What" { (file.kind.as_str().replace('-', " ")) }
                            td data-label="Taken" { (parts::time(file.at)) }
                            td .num data-label="Size" { (words::bytes(file.bytes as f64)) }
                        }
                    }
                }
            }
            @if is_live { p { "All of it lies in " code { (folder) } "." } }
            h3 { "To go on by hand" }
            pre .commands tabindex="0" {
                @if is_live { "cd " (quoted(&folder)) "\n" }
                @for [before, after] in pairs {
                    "go tool pprof -diff_base " (before.name) " " (after.name) "\n"
                    "unswept profile diff " (before.name) " " (after.name) "\n"
                }
            }
        }
    }
}

/// A word for a shell.
fn quoted(path: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-".contains(c);
    match path.chars().all(plain) && !path.is_empty() {
        true => path.to_owned(),
        false => format!("'{}'", path.replace('\'', "'\\''")),
    }
}

#[cfg(test)]
mod tests {
    use model::{Suspect, SuspectWhat};

    use super::*;

    #[test]
    fn an_incident_of_descriptors_does_not_name_who_holds_c_memory() {
        let text = include_str!("../../../alert/tests/data/incident.json");
        let mut incident: Incident = serde_json::from_str(text).unwrap();
        let native = Suspect {
            what: SuspectWhat::Mapping,
            function: "glibc arenas (C allocator)".into(),
            ..incident.verdict.findings[0].suspects[0].clone()
        };
        let mut descriptors = incident.verdict.findings[0].clone();
        descriptors.kind = Some(Kind::Fd);
        descriptors.suspects.clear();
        incident.verdict.findings[0].kind = Some(Kind::NativeHeap);
        incident.verdict.findings[0].suspects = vec![native.clone()];
        incident.verdict.findings.push(descriptors);
        incident.verdict.suspects = vec![native];

        incident.kind = Kind::Fd;
        assert!(own_suspects(&incident).is_empty());
        assert!(!title(&incident).contains("glibc"), "{}", title(&incident));
        incident.kind = Kind::NativeHeap;
        assert!(title(&incident).contains("glibc"), "{}", title(&incident));
        incident.kind = Kind::Oom;
        assert_eq!(own_suspects(&incident).len(), 1, "the best that is known");
    }
}
