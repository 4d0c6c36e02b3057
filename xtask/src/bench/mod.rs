//! `cargo xtask bench`: how good the product is at what it promises, in figures, on this machine.
//!
//! Each figure is the median of several runs, and is kept in the target folder as it comes: a run that was cut short
//! goes on where it was, as long as the commit is the same. The page under `docs/bench/` is written anew from all that
//! is kept.

mod goref;
mod inspect;
mod judge;
mod measure;
mod page;
mod shop;
mod target;
mod watch;

use std::fs;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use serde_json::{Value, json};

use crate::process::output_of;
use crate::usage;
use crate::workspace::Workspace;

/// Runs `cargo xtask bench` with `arguments`.
pub(crate) fn run(arguments: &[String]) -> anyhow::Result<ExitCode> {
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["inspect"] => inspect::run(false),
        ["inspect", "--quick"] | ["--quick", "inspect"] => inspect::run(true),
        ["judge"] => judge::run(),
        ["shop"] => shop::run(),
        ["watch"] => watch::run(),
        [] => Err(usage("`bench` needs a name: inspect, judge, shop or watch")),
        _ => Err(usage(format!("`bench` knows no `{}`", words.join(" ")))),
    }
}

/// One line of a result: what was asked, what came out, how it was measured.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Figure {
    /// What it is of.
    what: String,
    /// The limit, in words; empty where there is none.
    asked: String,
    /// In words, with the unit.
    measured: String,
    /// Whether the limit was kept; nothing where there is none.
    kept: Option<bool>,
    /// The command or program that was measured.
    by: String,
}

impl Figure {
    fn json(&self) -> Value {
        json!({
            "what": self.what, "asked": self.asked, "measured": self.measured, "kept": self.kept, "by": self.by,
        })
    }

    fn of(value: &Value) -> Option<Self> {
        let text = |name: &str| Some(value[name].as_str()?.to_owned());
        Some(Self {
            what: text("what")?,
            asked: text("asked")?,
            measured: text("measured")?,
            kept: value["kept"].as_bool(),
            by: text("by")?,
        })
    }
}

/// The results so far, a line of JSON for each part of a benchmark.
struct Results {
    file: PathBuf,
    /// `None` when files are changed: then nothing counts as done before.
    commit: Option<String>,
    lines: Vec<Value>,
}

impl Results {
    fn open(workspace: &Workspace, name: &str) -> anyhow::Result<Self> {
        let folder = workspace.target.join("bench");
        fs::create_dir_all(&folder).context("failed to make a folder for results")?;
        let file = folder.join(format!("{name}.jsonl"));
        // Not there yet: no results.
        let text = fs::read_to_string(&file).unwrap_or_default();
        let mut git = std::process::Command::new("git");
        git.arg("-C").arg(&workspace.root).args([
            "status",
            "--porcelain",
            "--",
            ".",
            ":!docs/bench",
        ]);
        let is_clean = output_of(&mut git).is_some_and(|text| text.is_empty());
        Ok(Self {
            file,
            commit: workspace.commit().filter(|_| is_clean),
            // A line that was cut short is none.
            lines: text
                .lines()
                .filter_map(|line| serde_json::from_str(line).ok())
                .collect(),
        })
    }

    /// The figures of `part`, if this commit has them already.
    fn figures(&self, part: &str) -> Option<Vec<Figure>> {
        let commit = self.commit.as_deref()?;
        let is_it = |line: &&Value| line["commit"] == commit && line["part"] == part;
        let line = self.lines.iter().rev().find(is_it)?;
        line["figures"].as_array()?.iter().map(Figure::of).collect()
    }

    fn add(&self, part: &str, figures: &[Figure]) -> anyhow::Result<()> {
        let figures: Vec<Value> = figures.iter().map(Figure::json).collect();
        let line = json!({"commit": self.commit, "part": part, "figures": figures});
        let opened = fs::File::options()
            .create(true)
            .append(true)
            .open(&self.file);
        // Begins a line, since the last one may have been cut short.
        let written = opened.and_then(|mut file| file.write_all(format!("\n{line}\n").as_bytes()));
        written.with_context(|| format!("failed to write {}", self.file.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_done_when_this_commit_has_its_figures() {
        let figure = Figure {
            what: "reading".into(),
            asked: "1 GB/s or more".into(),
            measured: "2.1 GB/s".into(),
            kept: Some(true),
            by: "unswept inspect refs PID --pause".into(),
        };
        let line = |commit: &str, part: &str| json!({"commit": commit, "part": part, "figures": [figure.json()]});
        let results = |commit: Option<&str>| Results {
            file: PathBuf::new(),
            commit: commit.map(str::to_owned),
            lines: vec![line("a1", "read"), line("b2", "big")],
        };
        assert_eq!(
            results(Some("a1")).figures("read"),
            Some(vec![figure.clone()])
        );
        for (name, commit, part) in [
            ("another part", Some("a1"), "big"),
            ("another commit", Some("c3"), "read"),
            ("changed files", None, "read"),
        ] {
            assert_eq!(results(commit).figures(part), None, "{name}");
        }
    }
}
