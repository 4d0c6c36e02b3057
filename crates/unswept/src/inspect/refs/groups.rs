//! Goroutines at the same place as lines for people: what they hold, and whether they can ever run again.

use inspect::holders::{GoroutineGroup, HolderKind, KeptBy, Place, Report};

use super::tree::INDENT;
use crate::text::{Line, Style};
use crate::words;

/// Groups shown; JSON has more.
const SHOWN: usize = 8;
/// Ways shown to what a group waits on.
const WAYS: usize = 3;

/// The groups that hold most, below a heading; nothing for a program without goroutines of its own.
pub(super) fn lines(report: &Report) -> Vec<Line> {
    if report.goroutines.is_empty() {
        return Vec::new();
    }
    let mut lines = vec![
        Line::default(),
        Line::new(
            Style::Faint,
            "       HOLD       EACH      COUNT  GOROUTINES, WITH THEIR STACKS",
        ),
    ];
    for group in report.goroutines.iter().take(SHOWN) {
        group_lines(group, &mut lines);
    }
    let left_out = report.goroutines.len().saturating_sub(SHOWN);
    if left_out > 0 {
        let text = format!(
            "{} groups that hold less are left out (--json)",
            words::count(left_out as u64)
        );
        lines.push(Line::new(Style::Faint, text));
    }
    lines
}

fn group_lines(group: &GoroutineGroup, lines: &mut Vec<Line>) {
    let held = group.stack_bytes.saturating_add(group.retained_bytes);
    let mut line = Line::new(
        Style::Plain,
        format!(
            "{:>11} {:>10} {:>10}  ",
            words::bytes(held as f64),
            words::bytes(group.average_bytes as f64),
            words::count(group.count)
        ),
    );
    let function = group.at.as_ref().map_or(&group.entry, |at| &at.function);
    line.push(Style::Strong, function);
    if let Some(at) = &group.at {
        line.push(Style::Plain, place(at));
    }
    line.push(Style::Faint, format!("  {}", state(group)));
    lines.push(line);
    let mut more = |style: Style, text: String| {
        lines.push(Line::new(style, format!("{INDENT}  {text}")));
    };
    if group.entry != *function {
        more(Style::Faint, format!("began in {}", group.entry));
    }
    if let Some(by) = &group.created_by {
        more(
            Style::Faint,
            format!("begun by {}{}", by.function, place(by)),
        );
    }
    if group.proven_leaked > 0 {
        more(Style::Bad, leaked(group, group.proven_leaked, true));
    } else if group.seem_leaked > 0 {
        more(Style::Doubt, leaked(group, group.seem_leaked, false));
    }
    for way in group.kept_by.iter().take(WAYS) {
        more(Style::Faint, kept(group, way));
    }
}

/// ` session.go:41`.
fn place(at: &Place) -> String {
    let file = at.file.rsplit('/').next().unwrap_or_default();
    match at.line {
        0 => String::new(),
        line => format!(" {file}:{line}"),
    }
}

/// `chan send, for 3 min or more`.
fn state(group: &GoroutineGroup) -> String {
    match &group.waited {
        // The runtime notes when a wait began only at the next collection.
        Some(waited) if waited.median_ns > 0 => format!(
            "{}, for {} or more",
            group.state,
            words::seconds(waited.median_ns as f64 / 1e9)
        ),
        _ => group.state.clone(),
    }
}

/// That `count` of the group have leaked, or only seem to: a look at a running program may have missed what moved.
fn leaked(group: &GoroutineGroup, count: u64, is_proven: bool) -> String {
    let is_all = count >= group.count;
    let (who, wait) = match is_all {
        true if group.count == 1 => ("it".to_owned(), "it waits"),
        true => ("all".to_owned(), "they wait"),
        false => (words::count(count), "they wait"),
    };
    let is_one = count == 1 && (group.count == 1 || !is_all);
    if is_proven {
        let are = if is_one { "is" } else { "are" };
        return format!(
            "{who} {are} stuck for good: nothing that could run reaches what {wait} for"
        );
    }
    let seem = if is_one { "seems" } else { "seem" };
    format!(
        "{who} {seem} stuck for good: nothing that could run was seen to reach what {wait} for (no proof, as it ran on: \
         --pause proves it)"
    )
}

/// `main.worker, variable jobs` for `main.worker in main.worker, variable jobs`: a goroutine that is still in the
/// function that it began in.
fn said_once(path: &str) -> String {
    let shorter = path.split_once(" in ").and_then(|(entry, rest)| {
        let rest = rest.strip_prefix(entry)?;
        let is_whole = rest.is_empty() || rest.starts_with([',', ' ']);
        is_whole.then(|| format!("{entry}{rest}"))
    });
    shorter.unwrap_or_else(|| path.to_owned())
}

/// `what they wait for is still reached by main.never`; of several ways each with its part of the sample.
fn kept(group: &GoroutineGroup, way: &KeptBy) -> String {
    let by = match way.kind {
        HolderKind::Goroutine => "a goroutine that can run, ",
        HolderKind::Timer => "a timer, ",
        _ => "",
    };
    let who = if group.count == 1 {
        "it waits"
    } else {
        "they wait"
    };
    let path = said_once(way.path.trim());
    let looked_at = group
        .kept_by
        .iter()
        .fold(0u64, |sum, way| sum.saturating_add(way.count));
    let part = match group.kept_by.len() {
        1 => String::new(),
        _ => format!(
            " ({} of {} looked at)",
            words::count(way.count),
            words::count(looked_at)
        ),
    };
    format!("what {who} for is still reached by {by}{path}{part}")
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_function_is_not_said_twice() {
        let rows = [
            ("main.f in main.f", "main.f"),
            ("main.f in main.f, variable jobs", "main.f, variable jobs"),
            ("main.f in main.g", "main.f in main.g"),
            ("main.f in main.f.func1", "main.f in main.f.func1"),
            ("main.pool", "main.pool"),
        ];
        for (path, wanted) in rows {
            assert_eq!(said_once(path), wanted);
        }
    }

    use super::*;

    fn report() -> Report {
        let place = |function: &str, line: u32| serde_json::json!({"function": function, "file": "/src/shop/quote.go", "line": line});
        let json = serde_json::json!({
            "go_version": "go1.27.3", "layout": "table",
            "heap": {"spans": 0, "span_bytes": 0, "scannable_bytes": 0, "objects": 0, "object_bytes": 0},
            "reached_bytes": 0, "reached_objects": 0, "approximate": true, "blurred": 0,
            "holders": [], "left_out": {"holders": 0, "bytes": 0}, "cost": {"calls": 0, "bytes": 0},
            "goroutines": [
                {
                    "entry": "main.(*QuoteDesk).ask", "state": "chan send", "at": place("main.(*QuoteDesk).ask", 65),
                    "created_by": place("main.(*QuoteDesk).Quote", 41), "count": 4275,
                    "retained_bytes": 20_761_544, "retained_objects": 25_650, "stack_bytes": 17_510_400,
                    "average_bytes": 8952,
                    "waited": {"shortest_ns": 1, "median_ns": 190_000_000_000_u64, "longest_ns": 300_000_000_000_u64},
                    "judged": 4271, "proven_leaked": 4271, "kept_by": []
                },
                {
                    "entry": "main.plantUploads.func1", "state": "chan receive", "at": place("main.wait", 9),
                    "created_by": null, "count": 64, "retained_bytes": 16_777_216, "retained_objects": 64,
                    "stack_bytes": 131_072, "average_bytes": 264_192, "waited": null, "judged": 64,
                    "proven_leaked": 0, "kept_by": [
                        {"kind": "global", "path": "main.never", "count": 8},
                        {"kind": "goroutine", "path": "main.pump in main.pump.in", "count": 1}
                    ]
                },
                {
                    "entry": "main.\u{1b}[2J", "state": "select", "at": null, "created_by": null, "count": 1,
                    "retained_bytes": u64::MAX, "retained_objects": 1, "stack_bytes": u64::MAX, "average_bytes": 1,
                    "waited": null, "judged": 1, "proven_leaked": 1, "kept_by": []
                }
            ],
        });
        serde_json::from_value(json).unwrap()
    }

    fn shown(report: &Report) -> String {
        let lines = lines(report);
        lines.iter().map(|line| line.paint(false) + "\n").collect()
    }

    #[test]
    fn groups_tell_what_they_hold_and_whether_they_go_on() {
        insta::assert_snapshot!(shown(&report()));
    }

    #[test]
    fn a_look_at_a_running_program_is_no_proof_and_many_groups_are_left_out() {
        let mut report = report();
        let of = &mut report.goroutines[0];
        (of.proven_leaked, of.seem_leaked) = (0, 4271);
        assert!(shown(&report).contains("4,271 seem stuck for good"));
        assert!(shown(&report).contains("no proof"));
        let one = report.goroutines[1].clone();
        report.goroutines = vec![one; SHOWN + 2];
        assert!(shown(&report).ends_with("2 groups that hold less are left out (--json)\n"));
        report.goroutines.clear();
        assert_eq!(shown(&report), "");
    }
}
