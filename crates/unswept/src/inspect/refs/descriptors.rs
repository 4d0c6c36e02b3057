//! Open descriptors as lines for people: who holds them, or ever more of them.

use inspect::holders::{DescriptorGroup, DescriptorKind, Descriptors, Diff, KindCount};

use super::tree::{INDENT, more, name};
use crate::text::{Line, Style};
use crate::words;

/// Groups shown; JSON has more.
const SHOWN: usize = 8;

/// Who holds most, below a heading.
pub(super) fn lines(descriptors: &Descriptors) -> Vec<Line> {
    let heading = "      COUNT   SHARE       KIND  DESCRIPTORS OF FILES AND CONNECTIONS";
    let mut lines = vec![Line::default(), Line::new(Style::Faint, heading)];
    let held: u64 = descriptors.held.iter().map(|group| group.count).sum();
    let all = descriptors.open.unwrap_or(held + descriptors.left_out);
    for group in descriptors.held.iter().take(SHOWN) {
        let share = group.count as f64 / all.max(1) as f64;
        let figures = format!(
            "{:>11} {:>7} {:>10}  ",
            words::count(group.count),
            words::percent(share),
            group.kind.as_str()
        );
        group_lines(group, figures, &mut lines);
    }
    let rest = descriptors.held.iter().skip(SHOWN);
    let rest = rest.map(|group| group.count).sum::<u64>() + descriptors.left_out;
    let mut note = |count: u64, text: &str| {
        if count > 0 {
            let text = format!("{:>11} {text}", words::count(count));
            lines.push(Line::new(Style::Faint, text));
        }
    };
    note(rest, "in groups that are left out (--json)");
    note(
        descriptors.unreached,
        "that nothing reaches any more: the next collection closes them",
    );
    let others = descriptors.others.iter().map(|one| one.count).sum();
    let kinds: Vec<String> = descriptors.others.iter().map(kinds).collect();
    let others_are = format!(
        "that no file or connection of Go's has ({}): system calls, C or the runtime opened them, or another process",
        kinds.join(", ")
    );
    note(others, &others_are);
    lines
}

/// `3 pipes`.
fn kinds(of: &KindCount) -> String {
    let kind = match (of.kind, of.count) {
        (DescriptorKind::Other, _) => "of the kernel's own".to_owned(),
        (kind, 1) => kind.as_str().to_owned(),
        (kind, _) => format!("{}s", kind.as_str()),
    };
    format!("{} {kind}", words::count(of.count))
}

/// Who holds more than before, below a heading; nothing when nobody does.
pub(super) fn diff_lines(diff: &Diff) -> Vec<Line> {
    if diff.descriptors.is_empty() {
        return Vec::new();
    }
    let mut lines = vec![
        Line::default(),
        Line::new(
            Style::Faint,
            "     GROWTH     PER MINUTE        NOW  DESCRIPTORS OF FILES AND CONNECTIONS",
        ),
    ];
    for change in diff.descriptors.iter().take(SHOWN) {
        let per_minute = change.growth as f64 * 60.0 / diff.seconds.max(0.001);
        let figures = format!(
            "{:>+11} {per_minute:>+14.0} {:>10}  ",
            change.growth,
            words::count(change.group.count)
        );
        group_lines(&change.group, figures, &mut lines);
    }
    lines
}

fn group_lines(group: &DescriptorGroup, figures: String, lines: &mut Vec<Line>) {
    let mut line = Line::new(Style::Plain, figures);
    let holder = format!("{}{}", group.holder, group.path);
    name(group.holder_kind, &holder, 1, &mut line);
    if !group.ty.is_empty() {
        line.push(Style::Faint, format!("  {}", group.ty));
    }
    lines.push(line);
    more(&group.used_by, &[], lines);
    if let Some(site) = group.allocated_at.first() {
        let file = site.file.rsplit('/').next().unwrap_or_default();
        let text = format!("{INDENT}opened in {} {file}:{}", site.function, site.line);
        lines.push(Line::new(Style::Faint, text));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(holder: &str, count: u64) -> DescriptorGroup {
        serde_json::from_value(serde_json::json!({
            "holder": holder, "holder_kind": "global", "path": "[*]", "type": "os.File", "kind": "file",
            "count": count,
            "allocated_at": [{"function": "main.keep", "file": "/src/keep.go", "line": 26, "bytes": 152, "samples": 1}],
        }))
        .unwrap()
    }

    fn text(lines: &[Line]) -> String {
        let lines = lines.iter().map(|line| line.paint(false) + "\n");
        lines.collect()
    }

    #[test]
    fn who_holds_them_and_what_nobody_holds() {
        let descriptors: Descriptors = serde_json::from_value(serde_json::json!({
            "open": 430,
            "held": [group("main.openFiles", 412), group("main.log", 1)],
            "left_out": 4, "unreached": 2,
            "others": [{"kind": "pipe", "count": 3}, {"kind": "other", "count": 8}],
        }))
        .unwrap();
        let text = text(&lines(&descriptors));
        for part in [
            "412    96 %       file  main.openFiles[*]  os.File\n",
            "opened in main.keep keep.go:26\n",
            "4 in groups that are left out",
            "2 that nothing reaches any more",
            "11 that no file or connection of Go's has (3 pipes, 8 of the kernel's own)",
        ] {
            assert!(text.contains(part), "{part}\n{text}");
        }
    }

    #[test]
    fn who_holds_ever_more() {
        let mut diff = serde_json::json!({"seconds": 30.0, "growth_bytes": 0, "changes": []});
        let none: Diff = serde_json::from_value(diff.clone()).unwrap();
        assert_eq!(diff_lines(&none), []);
        let mut change = serde_json::to_value(group("main.openFiles", 412)).unwrap();
        change["before"] = 352.into();
        change["growth"] = 60.into();
        diff["descriptors"] = serde_json::json!([change]);
        let diff: Diff = serde_json::from_value(diff).unwrap();
        let text = text(&diff_lines(&diff));
        assert!(
            text.contains("+60           +120        412  main.openFiles[*]  os.File"),
            "{text}"
        );
    }
}
