//! What one look at a target shows, as text: identity, build, the ledger, the collector,
//! goroutines, the limit.

use collect::Endpoint;
use model::{
    ContainerMemory, EffectiveLimit, GcSettings, GoMemory, GoSource, Ledger, LedgerBasis, Setting,
    SettingSource, Target, TargetState, TargetView, UnixMs,
};

use crate::text::{Column, Line, Style, hang, table};
use crate::words;

/// Columns of a full bar.
const BAR: f64 = 24.0;

/// What is shown.
pub(crate) struct Look<'a> {
    pub(crate) view: &'a TargetView,
    pub(crate) endpoint: &'a Endpoint,
    pub(crate) now: UnixMs,
    pub(crate) width: usize,
}

/// The first look as lines.
pub(crate) fn lines(look: &Look<'_>) -> Vec<Line> {
    let mut lines = vec![identity(look)];
    let view = look.view;
    let mut fact = |name: &str, text: String| {
        let begin = Line::new(Style::Faint, format!("{name:<11}"));
        lines.extend(hang(begin, &text, look.width));
    };
    if !view.target.revision.0.is_empty() {
        fact("revision", view.target.revision.0.clone());
    }
    if let Some(place) = place(&view.target) {
        fact("runs in", place);
    }
    fact("endpoint", endpoint(look));
    for probe in &view.probes {
        fact("", format!("asked: {probe}"));
    }
    fact("limit", limit(&view.limit));
    if let Some(container) = &view.container {
        fact("container", words_of_container(container));
    }
    match &view.state {
        TargetState::EndpointFailing { reason } => {
            fact("state", format!("the endpoint fails: {reason}"))
        }
        TargetState::NoPermission { hint } => fact(
            "state",
            format!("no permission to read the process: {hint}"),
        ),
        _ => {}
    }
    if let Some(go) = &view.go {
        fact("Go figures", words::go_source(go.source).to_owned());
        fact("collector", collector(go, look.now));
    }
    if let Some(settings) = settings(&view.settings) {
        fact("settings", settings);
    }
    if let Some(counts) = counts(view) {
        fact("counts", counts);
    }
    if let Some(ledger) = &view.ledger {
        lines.push(Line::default());
        lines.extend(memory(ledger));
    }
    lines
}

fn identity(look: &Look<'_>) -> Line {
    let target = &look.view.target;
    let mut line = Line::new(Style::Strong, &target.name);
    if let Some(pid) = target.pid {
        line.push(Style::Plain, format!("  pid {pid}"));
    }
    for part in [&target.module, &target.go_version].into_iter().flatten() {
        line.push(Style::Plain, format!("  {part}"));
    }
    if let Some(started) = target.start_time {
        line.push(
            Style::Plain,
            format!("  started {}", words::ago(started, look.now)),
        );
    }
    line
}

/// Pod, container and image.
fn place(target: &Target) -> Option<String> {
    let pod = target.pod.as_ref().map(|pod| match target.namespace() {
        Some(namespace) => format!("pod {namespace}/{pod}"),
        None => format!("pod {pod}"),
    });
    let container = target
        .container
        .as_ref()
        .map(|name| format!("container {name}"));
    let image = target.image.as_ref().map(|image| format!("image {image}"));
    let all: Vec<String> = [pod, container, image].into_iter().flatten().collect();
    (!all.is_empty()).then(|| all.join(", "))
}

fn endpoint(look: &Look<'_>) -> String {
    let endpoint = look.endpoint;
    let go = look.view.go.map(|go| go.source);
    match (&endpoint.metrics_url, endpoint.pprof_bases.first()) {
        (Some(metrics), Some(pprof)) => format!("{metrics}, {pprof}/"),
        (Some(metrics), None) => format!("{metrics}; no pprof, so no function can be named"),
        (None, Some(pprof)) if go == Some(GoSource::Process) => format!("{pprof}/; no metrics"),
        (None, Some(pprof)) => format!("{pprof}/; no metrics, so Go's own numbers are not seen"),
        (None, None) if go == Some(GoSource::Process) => {
            "none found, so no function can be named; name one with --url if it has one".into()
        }
        (None, None) => {
            "none found: only the process is seen; name one with --url if it has one".into()
        }
    }
}

fn limit(limit: &EffectiveLimit) -> String {
    let Some(bytes) = limit.bytes else {
        return "not known".into();
    };
    let source = limit.source.as_deref().unwrap_or("source unknown");
    let mut text = format!("{} ({source})", words::bytes(bytes as f64));
    if let Some(used) = limit.used_bytes {
        text.push_str(&format!(", {} of it in use", words::bytes(used as f64)));
    }
    text
}

/// The container's usage against its working set, and where the kernel slows it down.
fn words_of_container(container: &ContainerMemory) -> String {
    let mut text = format!("{} charged", words::bytes(container.usage_bytes as f64));
    if let Some(bytes) = container.working_set_bytes() {
        text.push_str(&format!(
            ", {} of it the working set",
            words::bytes(bytes as f64)
        ));
    }
    if let Some(high) = container.high_bytes {
        let source = container.high_source.as_deref().unwrap_or("memory.high");
        text.push_str(&format!(
            "; slowed down from {} ({source})",
            words::bytes(high as f64)
        ));
    }
    text
}

fn collector(go: &GoMemory, now: UnixMs) -> String {
    let mut parts = Vec::new();
    if let Some(cycles) = go.gc_cycles {
        parts.push(format!("{} collections", words::count_f64(cycles)));
    }
    if let Some(last) = go.last_gc_unix_s.filter(|last| *last > 0.0) {
        let since = (now.as_secs_f64() - last).max(0.0);
        parts.push(match since < 1.0 {
            true => "the last within a second".into(),
            false => format!("the last {} ago", words::seconds(since)),
        });
    }
    if let Some(next) = go.next_gc_bytes {
        parts.push(format!("the next at {}", words::bytes(next)));
    }
    parts.join(", ")
}

/// GOGC and GOMEMLIMIT, each with a word where it may not be what is in force.
fn settings(settings: &GcSettings) -> Option<String> {
    let one = |name: &str, setting: Setting, show: fn(f64) -> String| {
        let value = setting.value.map_or_else(|| "off".to_owned(), show);
        let from = match setting.source {
            SettingSource::Metrics | SettingSource::Process => "",
            SettingSource::Environment => " (environment: may be changed in code)",
            SettingSource::Default => " (default: may be changed in code)",
        };
        format!("{name} {value}{from}")
    };
    let gogc = settings.gogc_percent;
    let limit = settings.gomemlimit_bytes;
    let parts: Vec<String> = gogc
        .map(|gogc| one("GOGC", gogc, |percent| format!("{percent:.0}")))
        .into_iter()
        .chain(limit.map(|limit| one("GOMEMLIMIT", limit, words::bytes)))
        .collect();
    (!parts.is_empty()).then(|| parts.join(", "))
}

fn counts(view: &TargetView) -> Option<String> {
    let goroutines = view.go.and_then(|go| go.goroutines);
    let mut parts = Vec::new();
    if let Some(goroutines) = goroutines {
        parts.push(format!("{} goroutines", words::count_f64(goroutines)));
    }
    if let Some(process) = &view.process {
        parts.push(format!("{} threads", words::count(process.threads)));
        if let Some(fds) = process.fds {
            parts.push(format!("{} descriptors", words::count(fds)));
        }
        if let Some(sockets) = process.sockets {
            parts.push(format!("{} of them sockets", words::count(sockets)));
        }
    }
    (!parts.is_empty()).then(|| parts.join(", "))
}

fn memory(ledger: &Ledger) -> Vec<Line> {
    const COLUMNS: [Column; 4] = [
        Column::text("MEMORY"),
        Column::figure("MiB"),
        Column::figure("SHARE"),
        Column::text(""),
    ];
    let total = ledger.total_bytes as f64;
    let share = |bytes: i64| {
        if total > 0.0 {
            bytes as f64 / total
        } else {
            0.0
        }
    };
    let row = |name: &str, bytes: i64| {
        let bar = (share(bytes).clamp(0.0, 1.0) * BAR).round() as usize;
        let percent = format!("{:.1} %", share(bytes) * 100.0);
        vec![
            name.into(),
            words::mib(bytes).into(),
            percent.into(),
            format!("{} ", "#".repeat(bar)).into(),
        ]
    };
    let outside = |name: &str, bytes: i64| {
        vec![
            name.into(),
            words::mib(bytes).into(),
            " ".into(),
            "beside the sum".into(),
        ]
    };
    let mut rows: Vec<Vec<Line>> = ledger
        .components
        .iter()
        .map(|c| row(&component_name(&c.name, ledger), c.bytes))
        .collect();
    rows.push(row("unexplained", ledger.unexplained_bytes));
    let total_bytes = i64::try_from(ledger.total_bytes).unwrap_or(i64::MAX);
    rows.push(vec![
        Line::new(Style::Strong, "resident (RSS)"),
        Line::new(Style::Strong, words::mib(total_bytes)),
        " ".into(),
        " ".into(),
    ]);
    let beside = ledger.outside.iter().filter(|c| c.bytes != 0);
    rows.extend(beside.map(|c| outside(&c.name, c.bytes)));
    let mut lines = table(&COLUMNS, &rows, None);
    lines.extend(basis(ledger).map(|text| Line::new(Style::Faint, text)));
    lines
}

/// What the lines were held against, where that was not read now.
fn basis(ledger: &Ledger) -> Option<String> {
    match ledger.basis {
        LedgerBasis::Mappings | LedgerBasis::Cgroup => None,
        LedgerBasis::EarlierMappings => Some(format!(
            "Lines of mappings are as of {} s before; `unexplained` is what changed since.",
            ledger.skew_ms / 1000
        )),
        LedgerBasis::None => {
            Some("Mappings were never read: lines of Go are at most what is resident.".into())
        }
    }
}

/// The component's name, with how `go.live` came about.
fn component_name(name: &str, ledger: &Ledger) -> String {
    match (name, ledger.live_source.as_str()) {
        ("go.live", "next-gc") => "go.live (from the next collection's goal)".into(),
        ("go.live", "floor") => "go.live (lower envelope)".into(),
        _ => name.to_owned(),
    }
}

/// One line of progress.
pub(crate) fn progress(
    view: &TargetView,
    verdict: &model::Verdict,
    elapsed: std::time::Duration,
) -> Line {
    let seconds = elapsed.as_secs();
    let mut line = Line::new(
        Style::Faint,
        format!("{:>2}:{:02}", seconds / 60, seconds % 60),
    );
    let mut figure = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            line.push(Style::Faint, format!("  {name} "));
            line.push(Style::Plain, value);
        }
    };
    figure(
        "RSS",
        view.process
            .map(|process| words::bytes(process.rss_bytes as f64)),
    );
    figure(
        "live heap",
        live(view).map(|live| words::bytes(live as f64)),
    );
    let goroutines = view.go.and_then(|go| go.goroutines);
    figure("goroutines", goroutines.map(words::count_f64));
    line.push(Style::Plain, "  ");
    line.push(
        words::verdict_style(verdict.verdict),
        words::verdict(verdict),
    );
    if let Some(growth) = verdict
        .findings
        .first()
        .and_then(|finding| finding.growth.as_ref())
    {
        line.push(Style::Plain, format!("  {}", words::rate(growth)));
    }
    if let Some(waits) = crate::answer::waits_for(verdict) {
        line.push(Style::Plain, format!("  {waits}"));
    }
    line
}

/// The live heap, where it is known.
pub(crate) fn live(view: &TargetView) -> Option<i64> {
    let ledger = view.ledger.as_ref()?;
    let live = ledger
        .components
        .iter()
        .find(|component| component.name == "go.live");
    live.map(|component| component.bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::board::tests::target;

    #[test]
    fn one_look() {
        let view = target("shop", 4242);
        let endpoint = Endpoint::of_url("http://127.0.0.1:6060", "/metrics");
        let look = Look {
            view: &view,
            endpoint: &endpoint,
            now: UnixMs(1_795_300_200_000),
            width: 100,
        };
        let text: String = lines(&look)
            .iter()
            .map(|line| line.paint(false) + "\n")
            .collect();
        insta::assert_snapshot!(text);
    }

    #[test]
    fn a_line_of_progress() {
        let view = target("shop", 4242);
        let verdict = view.verdict.clone().unwrap();
        let line = progress(&view, &verdict, std::time::Duration::from_secs(75));
        insta::assert_snapshot!(line.paint(false));
    }
}
