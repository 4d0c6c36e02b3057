//! `cargo xtask bench shop`: what is said of each scenario of the sample shop, original and renamed, bare and in a
//! memory cgroup, as a table in the book.

use std::fs;
use std::process::ExitCode;

use anyhow::Context as _;
use serde_json::Value;

use super::page::{CHANGED, machine, machine_table, row, save};
use super::{Figure, Results};
use crate::stages::soak::measure;
use crate::workspace::Workspace;

/// Which shop, and where it runs.
const BATCHES: [&str; 4] = ["shop/bare", "copy/bare", "shop/cgroup", "copy/cgroup"];

/// Runs all batches that this commit has not had yet, and writes `docs/bench/shop.md`.
pub(super) fn run() -> anyhow::Result<ExitCode> {
    let workspace = Workspace::find()?;
    let mut results = Results::open(&workspace, "shop")?;
    let mut rows = Vec::new();
    for batch in BATCHES {
        if results.figures(batch).is_none() {
            let found = run_batch(&workspace, batch)?;
            results.add(batch, &found)?;
            // What was just measured counts, also of changed files.
            rows.extend(found);
        } else {
            println!("    {batch}: measured before, of this commit");
            rows.extend(results.figures(batch).unwrap_or_default());
        }
    }
    let commit = results.commit.take();
    let target = "`examples/shop`, a process for each scenario, all at a time, under one watcher";
    let text = page(&rows, &machine(target.into()), commit.as_deref());
    let file = save(&workspace, "shop", &text)?;
    println!("\n{}", file.display());
    let missed = rows.iter().filter(|row| row.kept == Some(false)).count();
    println!(
        "{} of {} as they should be",
        rows.len() - missed,
        rows.len()
    );
    Ok(ExitCode::SUCCESS)
}

fn run_batch(workspace: &Workspace, batch: &str) -> anyhow::Result<Vec<Figure>> {
    let file = workspace.target.join("bench/rows.jsonl");
    fs::write(&file, "").with_context(|| format!("failed to write {}", file.display()))?;
    let name = file
        .to_str()
        .context("the target folder's name is no text")?;
    let variables = vec![("UNSWEPT_BATCH", batch), ("UNSWEPT_ROWS", name)];
    measure("bench_shop", &[variables])?;
    let text = fs::read_to_string(&file).context("failed to read the rows")?;
    let rows = text.lines().map(|line| {
        let row = serde_json::from_str(line).context("a row is no JSON")?;
        Ok(figure(batch, &row))
    });
    rows.collect()
}

/// A row of the table: the scenario, what should be said of it, what was; in place of how it was measured, how many
/// of its ledgers closed.
fn figure(batch: &str, row: &Value) -> Figure {
    let text = |key: &str| row[key].as_str().unwrap_or_default().to_owned();
    let list = |key: &str| -> Vec<String> {
        let all = row[key].as_array().into_iter().flatten();
        all.filter_map(|one| Some(one.as_str()?.to_owned()))
            .collect()
    };
    let (incidents, kinds) = (list("incidents"), list("wanted_kinds"));
    let (place, wanted_place) = (row["place"].as_u64(), row["wanted_place"].as_u64());
    let is_leak = row["wanted_verdict"] == "leak";
    let named = |place: Option<u64>| match (place, wanted_place) {
        (_, None) => true,
        (Some(place), Some(wanted)) => (1..=wanted).contains(&place),
        (None, Some(_)) => false,
    };
    let kept = match is_leak {
        true => kinds.iter().any(|kind| incidents.contains(kind)) && named(place),
        false => incidents.is_empty(),
    };
    let seconds = row["seconds"].as_u64();
    let after = seconds.map_or(String::new(), |seconds| format!(" after {seconds} s"));
    let culprit = match (is_leak, place) {
        (true, Some(place @ 1..)) => format!(", culprit at {place}"),
        (true, Some(0)) => ", culprit not named".into(),
        _ => String::new(),
    };
    let findings = list("findings");
    let is_asked = |finding: &String| {
        let kind = finding.rsplit(' ').next();
        kinds.iter().any(|asked| Some(asked.as_str()) == kind)
    };
    let said = match incidents.is_empty() {
        true if is_leak || findings.iter().any(is_asked) => {
            format!("no incident; {}", findings.join(", "))
        }
        true => format!("no incident; {}{OTHER_KIND}", findings.join(", ")),
        false => format!("{}{after}{culprit}", incidents.join(", ")),
    };
    let asked = match is_leak {
        true => format!("leak: {}", kinds.join(" or ")),
        false => format!("no incident ({})", kinds.join(" or ")),
    };
    let closed = match (row["closed"].as_u64(), row["ledgers"].as_u64()) {
        (Some(closed), Some(all @ 1..)) => format!("{:.1} %", 100.0 * closed as f64 / all as f64),
        _ => "none read".into(),
    };
    Figure {
        what: format!("{batch} {}", text("scenario")),
        asked,
        measured: said,
        kept: Some(kept),
        by: closed,
    }
}

/// What is said of rows in which all is well but the word for it.
const OTHER_KIND: &str = " (another word)";

/// How many rows are as asked.
fn in_short(rows: &[Figure]) -> String {
    let (leaks, calm): (Vec<&Figure>, Vec<&Figure>) =
        rows.iter().partition(|row| row.asked.starts_with("leak"));
    let kept = |rows: &[&Figure]| rows.iter().filter(|row| row.kept == Some(true)).count();
    let other = calm.iter().filter(|row| row.measured.ends_with(OTHER_KIND));
    let closed = rows.iter().filter(|row| row.by == "100.0 %").count();
    format!(
        "Leaks: {} of {} with the kind, and the culprit in its place. Look-alikes: {} of {} without an incident; what was \
         said of {} in the end is another kind of harmless than asked, such as the collector's teeth that go on after a \
         spike. Ledgers: all readings closed in {} of {} services.\n\n",
        kept(&leaks),
        leaks.len(),
        kept(&calm),
        calm.len(),
        other.count(),
        closed,
        rows.len()
    )
}

fn page(rows: &[Figure], machine: &[(&str, String)], commit: Option<&str>) -> String {
    let commit = commit.unwrap_or(CHANGED);
    let mut text = format!(
        "# The shop, told\n\n\
         Written by `cargo xtask bench shop` at commit `{commit}`. Twenty-five services at a time, each with one scenario \
         and 50 ordinary requests a second, watched for 7.5 minutes at a period of 1 s, a day of the slow leak 30 s: the sample shop (`shop`) and a copy in \
         which everything has another name (`copy`), as plain processes (`bare`) and each in a memory cgroup of 2 GiB \
         (`cgroup`). A ✗ is not what was asked: another kind or none, a culprit that is not where it should be \
         (first; of a body that nobody reads, whose goroutines do not tell who asked, in the first three; of C memory \
         and mappings, the class), or an incident where there is no leak. Ledgers: how many of those read, both sides \
         within a second, closed on the kernel's number within 8 MiB or 3 %; within that second a service whose load \
         swings may take or give back tens of MiB, which no second reading can undo.\n\n"
    );
    text.push_str(&in_short(rows));
    text.push_str(&machine_table(machine));
    text.push_str("\n| service | asked | said | | ledgers |\n|---|---|---|---|---|\n");
    for figure in rows {
        text.push_str(&row(figure, &figure.by));
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn leak(incidents: &[&str], place: u64, wanted_place: u64) -> Value {
        json!({
            "scenario": "timer", "wanted_verdict": "leak", "wanted_kinds": ["go-heap"], "incidents": incidents,
            "seconds": 130, "place": place, "wanted_place": wanted_place, "findings": [], "ledgers": 4, "closed": 3,
        })
    }

    #[test]
    fn a_row_is_kept_when_kind_and_place_are_right() {
        let calm = |incidents: &[&str]| {
            json!({
                "wanted_verdict": "no-leak", "wanted_kinds": ["load"], "incidents": incidents, "findings": ["no-leak load"],
            })
        };
        for (name, row, kept) in [
            ("first", leak(&["go-heap"], 1, 1), true),
            ("second", leak(&["go-heap"], 2, 1), false),
            ("in the first three", leak(&["go-heap"], 3, 3), true),
            ("not named", leak(&["go-heap"], 0, 1), false),
            ("another kind", leak(&["goroutine"], 1, 1), false),
            ("not found", leak(&[], 0, 1), false),
            ("left alone", calm(&[]), true),
            ("accused", calm(&["go-heap"]), false),
        ] {
            assert_eq!(figure("shop/bare", &row).kept, Some(kept), "{name}");
        }
        let said = figure("shop/bare", &leak(&["go-heap"], 1, 1));
        assert_eq!(said.measured, "go-heap after 130 s, culprit at 1");
        assert_eq!(said.by, "75.0 %");
    }

    #[test]
    fn a_look_alike_that_is_called_something_else_is_counted() {
        let calm = |finding: &str| {
            figure(
                "shop/bare",
                &json!({
                    "wanted_verdict": "no-leak", "wanted_kinds": ["spike"], "incidents": [], "findings": [finding],
                }),
            )
        };
        let rows = [
            calm("no-leak spike"),
            calm("no-leak gc-sawtooth"),
            figure("shop/bare", &leak(&["go-heap"], 1, 1)),
        ];
        assert_eq!(
            rows[1].measured,
            "no incident; no-leak gc-sawtooth (another word)"
        );
        let text = in_short(&rows);
        assert!(text.contains("Leaks: 1 of 1"), "{text}");
        assert!(
            text.contains("2 of 2 without an incident; what was said of 1 in"),
            "{text}"
        );
    }

    #[test]
    fn every_row_is_in_the_page() {
        let row = figure("copy/bare", &leak(&[], 0, 1));
        let text = page(&[row], &[("kernel", "6.1".into())], Some("0a1b"));
        assert!(text.contains("at commit `0a1b`"), "{text}");
        let wanted = "\n| copy/bare timer | leak: go-heap | no incident;  | ✗ | 75.0 % |\n";
        assert!(text.contains(wanted), "{text}");
    }
}
