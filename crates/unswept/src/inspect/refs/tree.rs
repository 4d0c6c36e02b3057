//! Holders as lines for people.

use inspect::holders::{Change, Diff, Holder, HolderKind, Path, Report, Site, again_words};

use super::super::args::Refs;
use super::super::open::Opened;
use super::look::{Look, Mode};
use super::timers;
use super::{descriptors, groups};
use crate::terminal::Screen;
use crate::text::{Line, Style};
use crate::words;

/// Steps shown below one another, and beside one another.
const STEPS_BESIDE: usize = 3;

/// A look: totals, then holders with their ways, the biggest first.
pub(super) fn lines(arguments: &Refs, opened: &Opened, look: &Look) -> Vec<Line> {
    let report = &look.report;
    let mut lines = vec![
        Line::new(Style::Strong, opened.name()).with(
            Style::Plain,
            format!(
                ": {} of objects, {} of them reached",
                bytes(report.heap.object_bytes),
                bytes(report.reached_bytes)
            ),
        ),
        Line::new(Style::Faint, how(look)),
        Line::default(),
        Line::new(Style::Faint, "   RETAINED   SHARE    OBJECTS  HOLDER"),
    ];
    for holder in report.holders.iter().take(arguments.top) {
        holder_lines(holder, report, arguments.depth, &mut lines);
    }
    if report.left_out.holders > 0 {
        lines.push(Line::default());
        lines.push(Line::new(
            Style::Faint,
            format!(
                "{} smaller holders with {} are left out (--top N)",
                words::count(report.left_out.holders),
                bytes(report.left_out.bytes)
            ),
        ));
    }
    lines.extend(groups::lines(report));
    lines.extend(descriptors::lines(&report.descriptors));
    let width = Screen::stdout().width;
    lines
        .into_iter()
        .map(|line| width.map_or(line.clone(), |width| line.cut(width)))
        .collect()
}

fn how(look: &Look) -> String {
    let way = match look.report.low_memory {
        true => " with little memory",
        false => "",
    };
    let read = format!(
        "{} read in {} calls of the kernel, {:.2} s in all{way}",
        bytes(look.cost.bytes),
        words::count(look.cost.syscalls),
        look.cost.wall_us as f64 / 1e6
    );
    let pause = look
        .pause
        .map_or(0.0, |pause| pause.pause_us as f64 / 1000.0);
    match look.mode {
        Mode::Running if look.is_agreed => {
            format!("{read}; the process ran on: sizes marked ~ moved between two looks")
        }
        Mode::Running => format!("{read}; the process ran on: sizes are of no one moment"),
        Mode::Core => format!("{read}; from a core"),
        Mode::Paused if look.is_agreed => format!(
            "{read}; the process stood still for {pause:.1} ms, its limit (--max-pause), and ran on before all was read: \
             sizes marked ~ moved between two looks"
        ),
        Mode::Paused => format!("{read}; the process stood still for {pause:.1} ms"),
        Mode::Snapshot => {
            format!("{read}; the process stood still for {pause:.1} ms and was cloned")
        }
    }
}

fn holder_lines(holder: &Holder, report: &Report, depth: usize, lines: &mut Vec<Line>) {
    let share = holder.retained_bytes as f64 / report.reached_bytes.max(1) as f64;
    let about = if holder.approximate { "~" } else { "" };
    let mut line = Line::new(
        Style::Plain,
        format!(
            "{:>11} {:>7} {:>10}  ",
            format!("{about}{}", bytes(holder.retained_bytes)),
            words::percent(share),
            words::count(holder.retained_objects)
        ),
    );
    name(holder.kind, &holder.name, holder.count, &mut line);
    if !holder.ty.is_empty() {
        line.push(Style::Faint, format!("  {}", holder.ty));
    }
    lines.push(line);
    if holder.kind == HolderKind::Timer {
        let told = timers::told(report, &holder.name).into_iter();
        lines.extend(told.map(|text| Line::new(Style::Faint, format!("{INDENT}{text}"))));
    }
    if holder.name == "runtime.semtable" {
        let text =
            format!("{INDENT}who waits for locks; what they hold stands with their goroutines");
        lines.push(Line::new(Style::Faint, text));
    }
    more(&holder.used_by, &holder.allocated_at, lines);
    steps(&holder.paths, 1, depth, lines);
}

/// `goroutines in main.worker ×64`, `main.sessions`.
pub(super) fn name(kind: HolderKind, name: &str, count: u64, line: &mut Line) {
    let before = match kind {
        HolderKind::Goroutine if count == 1 => "goroutine in ",
        HolderKind::Goroutine => "goroutines in ",
        HolderKind::Timer if count == 1 => "timer for ",
        HolderKind::Timer => "timers for ",
        HolderKind::Finalizer => "finalizer ",
        HolderKind::Cleanup => "cleanup ",
        HolderKind::Several => "shared by ",
        HolderKind::Runtime => "runtime: ",
        HolderKind::Global | HolderKind::Referent => "",
    };
    line.push(Style::Plain, before);
    line.push(Style::Strong, name);
    let is_counted = match kind {
        HolderKind::Goroutine | HolderKind::Timer => true,
        // The elements of an array without a name.
        HolderKind::Global => name.ends_with("[*]"),
        _ => false,
    };
    if count > 1 && is_counted {
        line.push(Style::Plain, format!(" ×{}", words::count(count)));
    }
}

pub(super) const INDENT: &str = "                                ";

pub(super) fn more(used_by: &[String], sites: &[Site], lines: &mut Vec<Line>) {
    if !used_by.is_empty() {
        let text = format!("{INDENT}used by {}", used_by.join(", "));
        lines.push(Line::new(Style::Faint, text));
    }
    if let Some(site) = sites.first() {
        let file = site.file.rsplit('/').next().unwrap_or_default();
        let text = format!(
            "{INDENT}allocated in {} {file}:{}",
            site.function, site.line
        );
        lines.push(Line::new(Style::Faint, text));
    }
}

fn steps(paths: &[Path], level: usize, depth: usize, lines: &mut Vec<Line>) {
    if level > depth {
        return;
    }
    for path in paths.iter().take(STEPS_BESIDE) {
        // A step without a name of its own, as a pointer's target, is no line.
        if path.path.is_empty() && level == 1 && path.count == 1 {
            steps(&path.children, level, depth, lines);
            continue;
        }
        let indent = "  ".repeat(level);
        let mut line = Line::new(
            Style::Plain,
            format!("{:>11} {:>18}  {indent}", bytes(path.bytes), ""),
        );
        let step = match path.path.trim_start() {
            "" => "→",
            step => step,
        };
        line.push(Style::Plain, step);
        if !path.ty.is_empty() {
            line.push(Style::Faint, format!("  {}", path.ty));
        }
        if path.count > 1 {
            line.push(Style::Faint, format!(" ×{}", words::count(path.count)));
        }
        if !path.again.is_empty() {
            line.push(
                Style::Faint,
                format!(", {} {}", again_words(&path.again), path.again),
            );
        }
        lines.push(line);
        steps(&path.children, level + 1, depth, lines);
    }
}

/// What grew, the most first.
pub(super) fn diff_lines(arguments: &Refs, opened: &Opened, diff: &Diff) -> Vec<Line> {
    let mut lines = vec![
        Line::new(Style::Strong, opened.name()).with(
            Style::Plain,
            format!(
                ": the reached heap changed by {} in {}",
                signed(diff.growth_bytes),
                words::seconds(diff.seconds)
            ),
        ),
        Line::default(),
        Line::new(
            Style::Faint,
            "     GROWTH     PER MINUTE        NOW  HOLDER",
        ),
    ];
    let told = diff
        .changes
        .iter()
        .filter(|change| change.growth_bytes != 0);
    for change in told.take(arguments.top) {
        change_lines(change, diff.seconds, &mut lines);
    }
    if diff.changes.is_empty() {
        lines.push(Line::from("nothing grew and nothing shrank"));
    }
    lines.extend(descriptors::diff_lines(diff));
    let width = Screen::stdout().width;
    lines
        .into_iter()
        .map(|line| width.map_or(line.clone(), |width| line.cut(width)))
        .collect()
}

fn change_lines(change: &Change, seconds: f64, lines: &mut Vec<Line>) {
    let rate = change.growth_bytes as f64 * 60.0 / seconds.max(0.001);
    let about = if change.approximate { "~" } else { "" };
    let mut line = Line::new(
        Style::Plain,
        format!(
            "{:>11} {:>14} {:>10}  ",
            format!("{about}{}", signed(change.growth_bytes)),
            signed(rate as i64),
            bytes(change.after_bytes)
        ),
    );
    name(
        change.kind,
        &format!("{}{}", change.name, change.path),
        1,
        &mut line,
    );
    if change.growth_count != 0 {
        line.push(Style::Plain, format!(" ({:+})", change.growth_count));
    }
    if !change.path_type.is_empty() {
        line.push(Style::Faint, format!("  {}", change.path_type));
    }
    lines.push(line);
    if change.growth_bytes > 0 {
        more(&change.used_by, &change.allocated_at, lines);
    }
}

fn bytes(value: u64) -> String {
    words::bytes(value as f64)
}

fn signed(value: i64) -> String {
    let text = bytes(value.unsigned_abs());
    match value {
        1.. => format!("+{text}"),
        0 => text,
        _ => format!("-{text}"),
    }
}
