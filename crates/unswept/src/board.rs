//! What the live screen of `watch` shows: from a view of the fleet to lines, and nothing else.

use model::{FleetView, Incident, IncidentState, Ledger, TargetState, TargetView, UnixMs};

use crate::terminal::Screen;
use crate::text::{Column, Line, Style, hang, table};
use crate::{answer, words};

/// Characters of a bar.
const BAR: usize = 12;
/// Lines of logs at the bottom.
const LOGS_MAX: usize = 3;

/// What goes on the screen beside the fleet.
pub(crate) struct Frame<'a> {
    pub(crate) view: &'a FleetView,
    /// Where the page answers.
    pub(crate) url: &'a str,
    pub(crate) now: UnixMs,
    /// The latest log lines, oldest first.
    pub(crate) logs: &'a [String],
}

/// The screen's lines: at most as many, and as wide, as `screen` has room for.
pub(crate) fn paint(frame: &Frame<'_>, screen: &Screen) -> Vec<String> {
    let width = screen.width.unwrap_or(100);
    // One row stays free for the cursor, so that nothing scrolls.
    let rows = screen.height.unwrap_or(usize::MAX).saturating_sub(1);
    let mut lines = header(frame, width);
    let logs: Vec<Line> = frame
        .logs
        .iter()
        .rev()
        .take(LOGS_MAX)
        .rev()
        .map(|line| Line::new(Style::Faint, line))
        .collect();
    let room = rows.saturating_sub(lines.len() + logs.len());
    let incidents = incidents(frame, width);
    let targets = frame.view.targets.len();
    // Heads and legend are three lines with the blank one; incidents get what targets leave, and
    // half of the room at least.
    let for_incidents = incidents
        .len()
        .min((room / 2).max(room.saturating_sub(targets + 4)));
    lines.extend(targets_table(
        frame,
        width,
        room - for_incidents,
        screen.unicode,
    ));
    lines.extend(incidents.into_iter().take(for_incidents));
    lines.extend(logs);
    lines.truncate(rows);
    lines
        .into_iter()
        .map(|line| line.cut(width).paint(screen.colour))
        .collect()
}

fn header(frame: &Frame<'_>, width: usize) -> Vec<Line> {
    let (view, health) = (frame.view, &frame.view.health);
    let alive = view
        .targets
        .iter()
        .filter(|t| !matches!(t.state, TargetState::Gone { .. }))
        .count();
    let open = view
        .incidents
        .iter()
        .filter(|i| i.wants_attention())
        .count();
    let first = Line::new(Style::Strong, format!("unswept {}", health.version))
        .with(Style::Plain, format!("  {}  ", frame.url))
        .with(Style::Strong, plural(alive, "target"))
        .with(Style::Plain, ", ")
        .with(
            if open > 0 { Style::Bad } else { Style::Plain },
            format!("{} open", plural(open, "incident")),
        )
        .with(Style::Faint, format!("  {}", time_of_day(frame.now)));
    let mut second = Line::new(Style::Faint, format!("data {}", health.data_dir));
    if health.interval_s > 0.0 {
        second.push(
            Style::Faint,
            format!("  reads every {}", words::seconds(health.interval_s)),
        );
    }
    if health.own.memory_bytes > 0 {
        let own = words::bytes(health.own.memory_bytes as f64);
        second.push(Style::Faint, format!("  takes {own} itself"));
    }
    let mut lines = vec![first, second];
    let troubles = health.troubles.iter().chain(&health.undelivered);
    for trouble in troubles.take(3) {
        lines.extend(hang(Line::new(Style::Doubt, "trouble: "), trouble, width));
    }
    lines.push(Line::default());
    lines
}

/// `22:30:00Z`.
fn time_of_day(at: UnixMs) -> String {
    let text = at.rfc3339();
    text.split_once('T')
        .map_or(text.clone(), |(_, time)| time.to_owned())
}

fn plural(count: usize, what: &str) -> String {
    let s = if count == 1 { "" } else { "s" };
    format!("{count} {what}{s}")
}

const COLUMNS: [Column; 8] = [
    Column::text("NAME").least(10),
    Column::figure("PID").spare(5),
    Column::figure("RSS"),
    Column::text("MEMORY").spare(2),
    Column::figure("GOROUTINES").spare(4),
    Column::figure("GROWTH").spare(1),
    Column::figure("TO LIMIT").spare(3),
    Column::text("VERDICT").least(18),
];

fn targets_table(frame: &Frame<'_>, width: usize, room: usize, unicode: bool) -> Vec<Line> {
    let targets = &frame.view.targets;
    if targets.is_empty() {
        return vec![
            "looking for Go processes; one that is younger than a minute is left out".into(),
            Line::default(),
        ];
    }
    let fits = room.saturating_sub(3).max(1);
    // The line that says how many are not shown takes a row itself.
    let shown = if targets.len() > fits {
        fits.saturating_sub(1).max(1)
    } else {
        targets.len()
    };
    let rows: Vec<Vec<Line>> = targets
        .iter()
        .take(shown)
        .map(|target| cells(target, frame.now, unicode))
        .collect();
    let mut lines = table(&COLUMNS, &rows, Some(width));
    if shown < targets.len() {
        let more = format!("and {} more, on the page", targets.len() - shown);
        lines.push(Line::new(Style::Faint, more));
    }
    lines.push(legend(unicode));
    lines.push(Line::default());
    lines
}

fn cells(target: &TargetView, now: UnixMs, unicode: bool) -> Vec<Line> {
    let maybe = |text: Option<String>| text.map_or_else(Line::default, Line::from);
    let verdict = target.verdict.as_ref();
    let growth = verdict.and_then(|verdict| verdict.findings.first()?.growth.as_ref());
    vec![
        Line::new(Style::Strong, &target.target.name),
        maybe(target.target.pid.map(|pid| pid.to_string())),
        maybe(rss(target).map(|bytes| words::bytes(bytes as f64))),
        maybe(target.ledger.as_ref().map(|ledger| bar(ledger, unicode))),
        maybe(target.go.and_then(|go| go.goroutines).map(words::count_f64)),
        maybe(growth.map(words::rate)),
        maybe(
            verdict
                .and_then(|v| v.seconds_to_limit)
                .map(|left| words::short_seconds(left.estimate)),
        ),
        standing(target, now),
    ]
}

/// Resident memory; of a target elsewhere what its ledger closes on.
fn rss(target: &TargetView) -> Option<u64> {
    let process = target.process.map(|process| process.rss_bytes);
    process.or(target.ledger.as_ref().map(|ledger| ledger.total_bytes))
}

/// The verdict as it stands, and what stands in the way of a better one.
fn standing(target: &TargetView, now: UnixMs) -> Line {
    let mut line = Line::default();
    if let TargetState::Gone { at } = target.state {
        line.push(Style::Faint, format!("gone, {}", words::ago(at, now)));
        return line;
    }
    if let Some(verdict) = &target.verdict {
        line.push(
            words::verdict_style(verdict.verdict),
            words::verdict(verdict),
        );
    }
    let state = match &target.state {
        TargetState::Pending => Some("not read yet".to_owned()),
        TargetState::Up | TargetState::Gone { .. } => None,
        TargetState::NoEndpoint => Some("no endpoint".into()),
        TargetState::EndpointFailing { reason } => Some(format!("endpoint fails: {reason}")),
        TargetState::NoPermission { .. } => Some("no permission".into()),
        TargetState::NotRead { since } => Some(format!("not read since {since}")),
    };
    let waits = target.verdict.as_ref().and_then(answer::waits_for);
    match (state, waits) {
        (Some(state), _) if line.width() > 0 => line.push(Style::Plain, format!("; {state}")),
        (Some(state), _) => line.push(Style::Plain, state),
        (None, Some(waits)) => line.push(Style::Plain, format!(": {waits}")),
        (None, None) => {}
    }
    line
}

/// The classes of a bar: what they are, and how they are drawn with and without Unicode. They
/// differ by shade, so colour is not needed.
const CLASSES: [(&str, char, char); 5] = [
    ("live heap", '█', '#'),
    ("other Go", '▓', '='),
    ("outside Go", '▒', '+'),
    ("files, shared", '░', '.'),
    ("unexplained", '·', '?'),
];

fn class(component: &str) -> usize {
    match component {
        "go.live" => 0,
        name if name.starts_with("go.") => 1,
        name if name.starts_with("native.") || name == "data" => 2,
        "anon-rest" => 2,
        "file" | "shmem" => 3,
        _ => 4,
    }
}

fn legend(unicode: bool) -> Line {
    let entries =
        CLASSES.map(|(name, fine, plain)| format!("{} {name}", if unicode { fine } else { plain }));
    Line::new(Style::Faint, entries.join("  "))
}

/// What the resident memory is made of; always full, since its size is in the column beside.
fn bar(ledger: &Ledger, unicode: bool) -> String {
    let mut sums = [0_u64; CLASSES.len()];
    for component in &ledger.components {
        let sum = &mut sums[class(&component.name)];
        *sum = sum.saturating_add(u64::try_from(component.bytes).unwrap_or(0));
    }
    sums[4] = sums[4].saturating_add(u64::try_from(ledger.unexplained_bytes).unwrap_or(0));
    let total: u128 = sums.iter().map(|&sum| u128::from(sum)).sum();
    if total == 0 {
        return String::new();
    }
    let mut bar = String::new();
    let (mut so_far, mut drawn) = (0_u128, 0);
    for (sum, (_, fine, plain)) in sums.into_iter().zip(CLASSES) {
        // Rounding what was added up, not each part: the bar comes out exactly full.
        so_far += u128::from(sum);
        let until = (so_far * BAR as u128 + total / 2)
            .checked_div(total)
            .unwrap_or(0);
        let until = usize::try_from(until).unwrap_or(BAR);
        bar.extend(std::iter::repeat_n(
            if unicode { fine } else { plain },
            until - drawn,
        ));
        drawn = until;
    }
    bar
}

fn incidents(frame: &Frame<'_>, width: usize) -> Vec<Line> {
    let all = &frame.view.incidents;
    let (open, rest): (Vec<_>, Vec<_>) = all.iter().partition(|i| i.wants_attention());
    let over = rest.iter().filter(|i| i.state == IncidentState::Resolved);
    let over = over.count();
    let mut lines = Vec::new();
    if !open.is_empty() {
        lines.push(Line::new(Style::Faint, "OPEN INCIDENTS"));
    }
    for incident in &open {
        lines.extend(incident_lines(incident, frame, width));
    }
    for (count, what) in [(rest.len() - over, "silenced"), (over, "resolved")] {
        if count > 0 {
            let text = format!("{} {what}", plural(count, "incident"));
            lines.push(Line::new(Style::Faint, text));
        }
    }
    lines
}

fn incident_lines(incident: &Incident, frame: &Frame<'_>, width: usize) -> Vec<Line> {
    let finding = incident
        .verdict
        .findings
        .iter()
        .find(|f| f.kind == Some(incident.kind));
    let kind = incident.kind.as_str();
    let kind = match incident.kind.is_leak() {
        true => format!("leak {kind}"),
        false => kind.to_owned(),
    };
    let head = Line::new(Style::Bad, kind)
        .with(Style::Plain, "  ")
        .with(Style::Strong, &incident.workload.0)
        .with(
            Style::Faint,
            format!("  opened {}", words::ago(incident.opened, frame.now)),
        );
    let growth = finding
        .and_then(|finding| finding.growth.as_ref())
        .map(words::rate_with_interval);
    let limit = words::time_to_limit(&incident.verdict).map(|left| format!("limit in {left}"));
    let figures: Vec<String> = [growth, limit].into_iter().flatten().collect();
    let mut lines = vec![head];
    if !figures.is_empty() {
        lines.extend(hang("  ".into(), &figures.join(", "), width));
    }
    let suspects = finding
        .map(|finding| finding.suspects.as_slice())
        .unwrap_or_default();
    match suspects.first() {
        Some(suspect) => {
            let line = Line::from("  ").with(Style::Strong, &suspect.function);
            lines.push(line.with(Style::Strong, answer::place(suspect)));
            let note = answer::held(suspect)
                .into_iter()
                .chain(suspect.note.clone());
            let figures: Vec<String> = std::iter::once(answer::figures(suspect))
                .chain(note)
                .collect();
            lines.extend(hang("  ".into(), &figures.join("; "), width));
        }
        None => lines.push("  no suspect named yet".into()),
    }
    lines.push(Line::new(Style::Faint, evidence(incident, frame, width)));
    lines
}

/// The folder of the evidence, or, where a path would be cut, the command that shows it.
fn evidence(incident: &Incident, frame: &Frame<'_>, width: usize) -> String {
    let folder = format!(
        "  evidence {}/incidents/{}",
        frame.view.health.data_dir, incident.id
    );
    match folder.chars().count() <= width {
        true => folder,
        false => format!("  unswept incidents show {}", incident.id),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::Arc;

    use model::verdict::{Finding, Reason, Suspect, TimeToLimit, Window};
    use model::*;

    use super::*;

    const NOW: UnixMs = UnixMs(1_795_300_200_000);
    const MIB: u64 = 1 << 20;

    fn ledger() -> Ledger {
        let lines = [
            ("go.live", 111),
            ("go.since-gc", 40),
            ("go.fragmentation", 2),
            ("go.idle", 12),
            ("native.mmap", 20),
            ("file", 13),
            ("shmem", 0),
        ];
        Ledger {
            at: NOW,
            total_bytes: 200 * MIB,
            components: lines
                .map(|(name, mib)| Component::new(name, mib << 20))
                .to_vec(),
            unexplained_bytes: 2 << 20,
            outside: vec![
                Component::new("go.not-resident", 5 << 20),
                Component::new("swap", 0),
            ],
            live_source: "next-gc".into(),
            skew_ms: 3,
            basis: LedgerBasis::Mappings,
        }
    }

    pub(crate) fn suspect() -> Suspect {
        Suspect {
            rank: 1,
            what: SuspectWhat::Allocation,
            function: "main.(*SessionCache).Put".into(),
            file: Some("session_cache.go".into()),
            line: Some(41),
            bytes: Some(111 * MIB),
            count: Some(123_456),
            bytes_before: Some(12 * MIB),
            count_before: Some(10_000),
            growth_share: Some(0.97),
            stack: (1..=10).map(|i| format!("main.f{i} shop.go:{i}")).collect(),
            held_by: None,
            holder: None,
            note: None,
        }
    }

    fn finding() -> Finding {
        let reason = |speaks_for, text: &str| Reason {
            code: "c".into(),
            speaks_for,
            values: Default::default(),
            text: text.into(),
        };
        let advice = verdict::Advice {
            code: "c".into(),
            values: Default::default(),
            text: "Setting GOMEMLIMIT does not mend a leak.".into(),
        };
        Finding {
            verdict: Judgement::Leak,
            kind: Some(Kind::GoHeap),
            confidence: Some(0.98),
            onset: Some(NOW.before(std::time::Duration::from_secs(130))),
            growth: Some(Growth {
                unit: "bytes".into(),
                per_minute: 60.2 * MIB as f64,
                low: 58.9 * MIB as f64,
                high: 61.5 * MIB as f64,
                level: 0.95,
            }),
            why: vec![
                reason(
                    Judgement::Leak,
                    "The live heap after GC rises by 60.2 MiB a minute, through 45 collections in a row, and does not slow down.",
                ),
                reason(
                    Judgement::NoLeak,
                    "The process is 3 min old; it may still be warming up.",
                ),
            ],
            suspects: vec![suspect()],
            advice: vec![advice],
        }
    }

    /// A leaking target.
    pub(crate) fn target(name: &str, pid: u32) -> TargetView {
        let key = ProcessKey {
            boot_id: BootId("b".into()),
            pid: Pid(pid),
            start_ticks: StartTicks(1),
        };
        let target = Target {
            id: TargetId::of_process(&key),
            name: name.into(),
            process: Some(key),
            pid: Some(Pid(pid)),
            start_time: Some(NOW.before(std::time::Duration::from_secs(180))),
            host: "h".into(),
            boot_id: None,
            url: Some("http://127.0.0.1:6060".into()),
            url_inside: false,
            container: None,
            container_id: None,
            image: None,
            pod: None,
            workload: Workload(format!("example.com/{name}")),
            revision: Revision("5b8c1f".into()),
            go_version: Some("go1.27.3".into()),
            module: Some(format!("example.com/{name}")),
            labels: Labels::default(),
        };
        let judged = verdict::Judged {
            window: Window {
                from: NOW.before(std::time::Duration::from_secs(100)),
                to: NOW,
            },
            findings: vec![finding()],
            seconds_to_limit: Some(TimeToLimit {
                estimate: 15_000.0,
                low: 14_700.0,
                high: 15_300.0,
            }),
            slopes: Vec::new(),
        };
        let facts = Facts {
            limit_bytes: Some(8 << 30),
            limit_source: Some("the machine's memory".into()),
            ..Facts::default()
        };
        let verdict = Verdict::assemble(NOW, target.clone(), judged, &facts, ledger().components);
        TargetView {
            target,
            state: TargetState::Up,
            process: Some(ProcessMemory {
                rss_bytes: 200 * MIB,
                threads: 9,
                fds: Some(14),
                sockets: Some(8),
                ..ProcessMemory::default()
            }),
            container: None,
            container_ledger: None,
            limit: EffectiveLimit {
                bytes: Some(8 << 30),
                source: Some("the machine's memory".into()),
                used_bytes: Some(3 << 30),
            },
            go: Some(GoMemory {
                goroutines: Some(1234.0),
                gc_cycles: Some(4567.0),
                next_gc_bytes: Some(222.0 * MIB as f64),
                last_gc_unix_s: Some(NOW.as_secs_f64() - 12.0),
                ..GoMemory::default()
            }),
            settings: GcSettings {
                gogc_percent: Some(Setting {
                    value: Some(100.0),
                    source: SettingSource::Metrics,
                }),
                gomemlimit_bytes: Some(Setting {
                    value: None,
                    source: SettingSource::Default,
                }),
            },
            ledger: Some(ledger()),
            verdict: Some(verdict),
            incidents: Vec::new(),
            probes: vec!["GET http://127.0.0.1:6060/metrics: found".into()],
            series: Vec::new(),
            last_read: Some(NOW),
        }
    }

    /// A target that cannot be judged yet.
    pub(crate) fn unsure(name: &str, pid: u32) -> TargetView {
        let mut view = target(name, pid);
        let verdict = view.verdict.as_mut().unwrap();
        verdict.verdict = Judgement::Unsure;
        verdict.kind = None;
        verdict.confidence = None;
        verdict.seconds_to_limit = None;
        let finding = &mut verdict.findings[0];
        finding.verdict = Judgement::Unsure;
        finding.growth = None;
        finding.why[0].speaks_for = Judgement::Unsure;
        finding.why[0].text = "41 s of data so far; 1 min 19 s more are needed.".into();
        view
    }

    /// A fleet with one leak, its incident, and targets in other states.
    pub(crate) fn fleet() -> FleetView {
        let leaking = target("shop", 4242);
        let verdict = leaking.verdict.clone().unwrap();
        let incident = Incident {
            schema: "unswept/incident/1".into(),
            id: IncidentId("20261121-223000-shop-0123456789abcdef".into()),
            state: IncidentState::Open,
            workload: leaking.target.workload.clone(),
            namespace: String::new(),
            container: String::new(),
            revision: leaking.target.revision.clone(),
            kind: Kind::GoHeap,
            culprit: "main.(*SessionCache).Put".into(),
            opened: NOW.before(std::time::Duration::from_secs(45)),
            onset: verdict.findings[0].onset,
            last_seen: NOW,
            resolved: None,
            age_s: 100.0,
            targets: vec![leaking.target.id.clone()],
            verdict,
            evidence: Vec::new(),
            timeline: Vec::new(),
            captured: std::collections::BTreeMap::new(),
            moved: Vec::new(),
            siblings: None,
            answers: Vec::new(),
            silence: None,
        };
        let mut gone = target("old-warehouse-of-many-things", 91);
        gone.state = TargetState::Gone {
            at: NOW.before(std::time::Duration::from_secs(70)),
        };
        gone.verdict = None;
        let mut plain = unsure("cron", 17);
        plain.state = TargetState::NoEndpoint;
        (plain.go, plain.ledger) = (None, None);
        FleetView {
            at: NOW,
            version: 7,
            targets: vec![leaking, unsure("depot", 4300), plain, gone],
            incidents: vec![Arc::new(incident)],
            health: fleet::Health {
                version: "0.1.0".into(),
                own: fleet::OwnCost {
                    memory_bytes: 21 * MIB,
                    ..fleet::OwnCost::default()
                },
                interval_s: 15.0,
                data_dir: "/home/ann/.local/state/unswept".into(),
                ..fleet::Health::default()
            },
        }
    }

    fn screen(width: usize, height: usize) -> Screen {
        Screen {
            width: Some(width),
            height: Some(height),
            colour: false,
            unicode: true,
        }
    }

    fn shown(view: &FleetView, screen: &Screen) -> Vec<String> {
        let logs = vec!["WARN something was slow".to_owned()];
        let frame = Frame {
            view,
            url: "http://127.0.0.1:7787/",
            now: NOW,
            logs: &logs,
        };
        paint(&frame, screen)
    }

    #[test]
    fn a_wide_screen() {
        insta::assert_snapshot!(shown(&fleet(), &screen(140, 40)).join("\n"));
    }

    #[test]
    fn an_old_terminal() {
        let screen = Screen {
            unicode: false,
            ..screen(80, 24)
        };
        insta::assert_snapshot!(shown(&fleet(), &screen).join("\n"));
    }

    #[test]
    fn nothing_found_yet() {
        insta::assert_snapshot!(shown(&FleetView::default(), &screen(80, 24)).join("\n"));
    }

    #[test]
    fn any_screen_is_kept_to_and_colour_changes_no_letter() {
        let mut view = fleet();
        let more: Vec<_> = (0..30).map(|i| unsure("depot", 5000 + i)).collect();
        view.targets.extend(more);
        for (width, height) in [(1, 1), (10, 3), (40, 8), (79, 24), (80, 25), (200, 60)] {
            let plain = shown(&view, &screen(width, height));
            assert!(
                plain.len() < height.max(1),
                "{width}x{height}: {} lines",
                plain.len()
            );
            assert!(
                plain.iter().all(|line| line.chars().count() <= width),
                "{width}x{height}"
            );
            let coloured = shown(
                &view,
                &Screen {
                    colour: true,
                    ..screen(width, height)
                },
            );
            let stripped: Vec<String> = coloured.iter().map(|line| strip(line)).collect();
            assert_eq!(stripped, plain, "{width}x{height}");
        }
        let lines = shown(&view, &screen(120, 24));
        assert!(
            lines
                .iter()
                .any(|line| line.contains("main.(*SessionCache).Put")),
            "{lines:#?}"
        );
        assert!(
            lines.iter().any(|line| line.contains("more, on the page")),
            "{lines:#?}"
        );
    }

    fn strip(line: &str) -> String {
        let mut parts = line.split("\x1b[");
        let mut text = parts.next().unwrap_or("").to_owned();
        for part in parts {
            text.push_str(part.split_once('m').unwrap().1);
        }
        text.trim_end_matches(' ').to_owned()
    }

    #[test]
    fn a_bar_is_exactly_full() {
        let mut ledger = ledger();
        assert_eq!(bar(&ledger, false).len(), BAR);
        ledger.components = vec![Component::new("go.live", 1), Component::new("file", -5)];
        ledger.unexplained_bytes = -3;
        assert_eq!(bar(&ledger, false), "#".repeat(BAR));
        assert_eq!(bar(&Ledger::default(), true), "");
    }
}
