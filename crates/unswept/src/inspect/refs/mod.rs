//! `unswept inspect refs`: who holds the heap, as a tree, as JSON, as a profile; and what grew between two looks.

mod descriptors;
mod flame;
mod groups;
mod look;
mod timers;
mod tree;

use std::fs;
use std::path::Path;

use anyhow::Context;
use engine::SystemClock;
use inspect::holders::{Diff, Report};
use model::UnixMs;
use serde::{Deserialize, Serialize};

use super::args::{Refs, RefsFormat};
use super::document::{Cost, Head};
use super::open::Opened;
use super::output;
use crate::terminal;
use crate::text::Line;
pub(crate) use look::LookError;
use look::{Look, Mode};

const SCHEMA: &str = "unswept/inspect-refs/1";
const DIFF_SCHEMA: &str = "unswept/inspect-refs-diff/1";
/// Of an earlier look's file: generous for thousands of holders.
const FILE_BYTES_MAX: u64 = 256 << 20;

pub(crate) fn run(arguments: &Refs) -> anyhow::Result<()> {
    let earlier = match &arguments.against {
        Some(file) => Some(read(file)?),
        None => None,
    };
    if arguments.print.format() == RefsFormat::Pprof
        && (earlier.is_some() || arguments.diff.is_some())
    {
        anyhow::bail!("a difference is told as a tree or as JSON: leave --format pprof out");
    }
    let mut opened = Opened::open(&arguments.target)?;
    let told = compare(arguments, &mut opened, earlier);
    opened.read(told)
}

/// One look, or two that are compared.
fn compare(arguments: &Refs, opened: &mut Opened, earlier: Option<Earlier>) -> anyhow::Result<()> {
    let clock = SystemClock::default();
    if let Some(interval) = arguments.diff {
        let first = look::take(opened, arguments, &clock)?;
        terminal::note(format!(
            "first look taken, the second one follows in {}",
            crate::words::span(interval)
        ));
        std::thread::sleep(interval);
        let second = look::take(opened, arguments, &clock)?;
        return tell_diff(arguments, opened, &first.report, &second, first.at);
    }
    let look = look::take(opened, arguments, &clock)?;
    match earlier {
        Some(earlier) => tell_diff(arguments, opened, &earlier.report, &look, earlier.head.at),
        None => tell(arguments, opened, &look),
    }
}

/// A look as it is written, and read again for `--against`.
#[derive(Debug, Serialize)]
struct Document<'a> {
    #[serde(flatten)]
    head: Head,
    mode: Mode,
    #[serde(flatten)]
    report: serde_json::Map<String, serde_json::Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pause: Option<&'a look::Pause>,
    cost: Cost,
}

#[derive(Debug, Serialize)]
struct DiffDocument<'a> {
    #[serde(flatten)]
    head: Head,
    mode: Mode,
    #[serde(flatten)]
    diff: &'a Diff,
    cost: Cost,
}

/// What of an earlier look is needed.
#[derive(Debug, Deserialize)]
struct Earlier {
    #[serde(flatten)]
    head: EarlierHead,
    #[serde(flatten)]
    report: Report,
}

#[derive(Debug, Deserialize)]
struct EarlierHead {
    schema: String,
    #[serde(rename = "at_unix_ms")]
    at: UnixMs,
}

fn read(file: &Path) -> anyhow::Result<Earlier> {
    let failed = || format!("failed to read {}", file.display());
    let bytes = fs::metadata(file).with_context(failed)?.len();
    if bytes > FILE_BYTES_MAX {
        anyhow::bail!("{} is too big for a look: {bytes} bytes", file.display());
    }
    let text = fs::read(file).with_context(failed)?;
    // The document's cost is of another shape than the report's, which nobody needs again.
    let mut value: serde_json::Value = serde_json::from_slice(&text).with_context(failed)?;
    if let Some(document) = value.as_object_mut() {
        document.remove("cost");
    }
    let earlier: Earlier = serde_json::from_value(value).with_context(|| {
        format!(
            "{} is no look of `unswept inspect refs --json`",
            file.display()
        )
    })?;
    if earlier.head.schema != SCHEMA {
        anyhow::bail!(
            "{} has schema {}, not {SCHEMA}",
            file.display(),
            earlier.head.schema
        );
    }
    Ok(earlier)
}

fn tell(arguments: &Refs, opened: &Opened, look: &Look) -> anyhow::Result<()> {
    let file = arguments.print.output.as_deref();
    match arguments.print.format() {
        RefsFormat::Json => {
            let mut report = match serde_json::to_value(&look.report) {
                Ok(serde_json::Value::Object(report)) => report,
                _ => serde_json::Map::new(),
            };
            // Head and cost of every document of `inspect` are alike.
            for name in ["cost", "go_version", "layout"] {
                report.remove(name);
            }
            let document = Document {
                head: Head::new(SCHEMA, opened, look.at),
                mode: look.mode,
                report,
                pause: look.pause.as_ref(),
                cost: look.cost,
            };
            output::text(file, &output::json(&document)?)?;
        }
        RefsFormat::Pprof => {
            let profile = flame::profile(&look.report, look.at)?;
            output::bytes(file, &profile.to_gzip())?;
        }
        RefsFormat::Tree => print(file, &tree::lines(arguments, opened, look))?,
    }
    if let Some(file) = file {
        terminal::note(format!("written to {}", file.display()));
    }
    Ok(())
}

fn tell_diff(
    arguments: &Refs,
    opened: &Opened,
    before: &Report,
    after: &Look,
    since: UnixMs,
) -> anyhow::Result<()> {
    let seconds = (after.at.0 - since.0) as f64 / 1000.0;
    let diff = Diff::new(before, &after.report, seconds);
    let file = arguments.print.output.as_deref();
    match arguments.print.format() {
        RefsFormat::Json => {
            let document = DiffDocument {
                head: Head::new(DIFF_SCHEMA, opened, after.at),
                mode: after.mode,
                diff: &diff,
                cost: after.cost,
            };
            output::text(file, &output::json(&document)?)
        }
        RefsFormat::Tree | RefsFormat::Pprof => {
            print(file, &tree::diff_lines(arguments, opened, &diff))
        }
    }
}

fn print(file: Option<&Path>, lines: &[Line]) -> anyhow::Result<()> {
    match file {
        Some(file) => {
            let text: String = lines.iter().map(|line| line.paint(false) + "\n").collect();
            output::text(Some(file), &text)
        }
        None => terminal::lines(lines),
    }
}
