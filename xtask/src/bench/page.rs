//! The page that a benchmark leaves in the book.

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::Context as _;

use super::Figure;
use crate::process::output_of;
use crate::workspace::Workspace;

/// Writes `docs/bench/inspect.md`.
pub(super) fn write(
    workspace: &Workspace,
    commit: Option<&str>,
    go_release: &str,
    figures: &[Figure],
) -> anyhow::Result<PathBuf> {
    let target = format!("`tests/targets heap`, go{go_release}, settings of Go as they come");
    let commit = commit.unwrap_or(CHANGED);
    save(
        workspace,
        "inspect",
        &page("inspect", figures, &machine(target), commit),
    )
}

/// In place of a commit.
pub(super) const CHANGED: &str = "none: files were changed";

/// Writes `docs/bench/NAME.md`.
pub(super) fn save(workspace: &Workspace, name: &str, text: &str) -> anyhow::Result<PathBuf> {
    let folder = workspace.root.join("docs/bench");
    fs::create_dir_all(&folder).context("failed to make docs/bench")?;
    let file = folder.join(format!("{name}.md"));
    fs::write(&file, text).with_context(|| format!("failed to write {}", file.display()))?;
    Ok(file)
}

/// What the figures depend on.
pub(super) fn machine(target: String) -> Vec<(&'static str, String)> {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let cpu = read("/proc/cpuinfo");
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name"));
    let model = model.map_or("unknown", |line| line.trim_start_matches([' ', '\t', ':']));
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let memory = read("/proc/meminfo");
    let memory = memory
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"));
    let kib: Option<u64> = memory.and_then(|kib| kib.trim().trim_end_matches(" kB").parse().ok());
    let load = read("/proc/loadavg");
    let load: Vec<&str> = load.split(' ').take(3).collect();
    let pages = read("/sys/kernel/mm/transparent_hugepage/enabled");
    let day = output_of(Command::new("date").args(["-u", "+%Y-%m-%d"])).unwrap_or_default();
    vec![
        ("day", day.trim().to_owned()),
        ("processor", format!("{model}, {cores} cores")),
        ("memory", format!("{} GiB", kib.unwrap_or(0) >> 20)),
        (
            "kernel",
            read("/proc/sys/kernel/osrelease").trim().to_owned(),
        ),
        ("huge pages", pages.trim().to_owned()),
        ("load at the end (1, 5, 15 min)", load.join(", ")),
        ("target", target),
    ]
}

/// The figures of `cargo xtask bench NAME`.
pub(super) fn page(
    name: &str,
    figures: &[Figure],
    machine: &[(&str, String)],
    commit: &str,
) -> String {
    let mut text = format!(
        "# `unswept {name}`, measured\n\n\
         Written by `cargo xtask bench {name}` at commit `{commit}`; run it to get the figures of your own \
         machine. Medians, with the lowest and the highest of the runs in brackets. A ✗ did not keep what was asked.\n\n"
    );
    text.push_str(&machine_table(machine));
    text.push_str("\n| what | asked | measured | | by |\n|---|---|---|---|---|\n");
    for figure in figures {
        text.push_str(&row(figure, &format!("`{}`", figure.by)));
    }
    text
}

/// A figure as a row of five cells, of which `last` is the last.
pub(super) fn row(figure: &Figure, last: &str) -> String {
    let mark = match figure.kept {
        Some(true) => "✓",
        Some(false) => "✗",
        None => "",
    };
    format!(
        "| {} | {} | {} | {mark} | {last} |\n",
        cell(&figure.what),
        cell(&figure.asked),
        cell(&figure.measured)
    )
}

/// The machine as a table.
pub(super) fn machine_table(machine: &[(&str, String)]) -> String {
    let mut text = String::from("| | |\n|---|---|\n");
    for (name, value) in machine {
        let _ = writeln!(text, "| {name} | {} |", cell(value));
    }
    text
}

/// One cell of a table: one line, and no border of its own.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_figure_has_a_row() {
        let figure = Figure {
            what: "pause".into(),
            asked: "under 0.6 s".into(),
            measured: "0.7 s | odd\nlines".into(),
            kept: Some(false),
            by: "unswept".into(),
        };
        let text = page("inspect", &[figure], &[("kernel", "6.1".into())], "0a1b");
        assert!(text.contains("at commit `0a1b`"));
        assert!(text.contains("\n| kernel | 6.1 |\n"));
        let row = "\n| pause | under 0.6 s | 0.7 s \\| odd lines | ✗ | `unswept` |\n";
        assert!(text.contains(row), "{text}");
    }
}
