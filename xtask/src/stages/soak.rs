//! `cargo xtask soak`: what takes too long for every run. Each result is written down as it comes, so
//! that a run that was cut short goes on where it was.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use serde_json::{Value, json};

use super::{Run, steps};
use crate::counts::Counts;
use crate::process::{adopt_orphans, clock};
use crate::toolchain::{self, find_go};
use crate::usage;
use crate::workspace::Workspace;

/// The forms of programs, as `tests/e2e/src/targets.rs` names them.
const FORMS: &[&str] = &["normal", "pie", "stripped", "stripped-pie"];

/// How often `soak kills` kills each way to look.
const KILLS: &str = "1000";
/// How often `soak watcher` kills the watcher, with each of how many seeds.
const WATCHER_KILLS: &str = "50";
const WATCHER_SEEDS: u32 = 4;
/// One test program on one form of one release.
const PATIENCE: Duration = Duration::from_secs(3600);

/// Runs `cargo xtask soak` with `arguments`.
pub(crate) fn run(arguments: &[String]) -> anyhow::Result<ExitCode> {
    match arguments {
        [name] if name == "inspect" => inspect(),
        [name] if name == "kills" => kills(),
        [name] if name == "watcher" => watcher(),
        [name] if name == "fuzz" => crate::fuzz::soak(),
        [] => Err(usage(
            "`soak` needs a name: inspect, kills, watcher or fuzz",
        )),
        _ => Err(usage(format!("`soak` knows no `{}`", arguments.join(" ")))),
    }
}

/// Every way to look into a process, killed a thousand times.
fn kills() -> anyhow::Result<ExitCode> {
    let counts = measure(
        "safety_inspect_kills",
        &[vec![("UNSWEPT_KILL_ROUNDS", KILLS)]],
    )?;
    println!("\n{}", counts.line());
    Ok(ExitCode::SUCCESS)
}

/// Runs the tests of tests/e2e whose names begin with `prefix` on the release build, once with each of these sets
/// of variables.
pub(crate) fn measure(prefix: &str, times: &[Vec<(&str, &str)>]) -> anyhow::Result<Counts> {
    let mut run = prepared()?;
    steps::release(&mut run)?;
    let mut counts = Counts::default();
    let programs = steps::e2e_programs(&run, Instant::now(), prefix)?;
    for variables in times {
        for program in &programs {
            steps::e2e_run(&run, Instant::now(), program, variables, &mut counts)?;
        }
    }
    Ok(counts)
}

/// A run for which everything is installed.
fn prepared() -> anyhow::Result<Run> {
    let workspace = Workspace::find()?;
    adopt_orphans();
    let (go, patience) = (find_go(&workspace), PATIENCE);
    let mut run = Run {
        unswept: workspace.unswept(),
        workspace,
        go,
        patience,
    };
    steps::install(&mut run)?;
    Ok(run)
}

/// The watcher, killed two hundred times: fifty times on the same data with each seed.
fn watcher() -> anyhow::Result<ExitCode> {
    let mut run = prepared()?;
    steps::release(&mut run)?;
    let programs = steps::e2e_programs(&run, Instant::now(), "safety_watcher_kills")?;
    let seeds = (1..=WATCHER_SEEDS).map(|seed| seed.to_string());
    let cases = seeds.map(|seed| {
        let variables = vec![
            ("UNSWEPT_KILL_ROUNDS", WATCHER_KILLS.to_owned()),
            ("UNSWEPT_KILL_SEED", seed.clone()),
        ];
        (format!("seed {seed}"), variables)
    });
    each_once(&run, "watcher", cases, &programs)
}

/// The tests of `inspect` on every release in every form.
fn inspect() -> anyhow::Result<ExitCode> {
    let mut run = prepared()?;
    toolchain::ensure_releases(&run.workspace, &toolchain::releases())?;
    steps::release(&mut run)?;
    let programs = steps::e2e_programs(&run, Instant::now(), "peer_inspect")?;

    let cases = toolchain::releases()
        .into_iter()
        .flat_map(|release| FORMS.iter().map(move |form| format!("{release}/{form}")))
        .map(|case| (case.clone(), vec![("UNSWEPT_ONLY", case)]));
    each_once(&run, "inspect", cases, &programs)
}

/// Runs the programs once for each case with its variables, but for what has passed at this commit.
fn each_once(
    run: &Run,
    name: &str,
    cases: impl Iterator<Item = (String, Vec<(&'static str, String)>)>,
    programs: &[PathBuf],
) -> anyhow::Result<ExitCode> {
    let record = Record::open(&run.workspace, name)?;
    let mut total = Counts::default();
    for (case, variables) in cases {
        let variables: Vec<(&str, &str)> = variables
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
            .collect();
        for program in programs {
            let test = test_name(program);
            if record.has_passed(&case, &test) {
                println!("    {case} {test}: has passed before");
                continue;
            }
            let (started, mut counts) = (Instant::now(), Counts::default());
            let outcome = steps::e2e_run(run, started, program, &variables, &mut counts);
            if outcome.is_err() && counts.failed == 0 {
                counts.failed = 1;
            }
            println!(
                "    {case} {test}: {}, {}",
                counts.line(),
                clock(started.elapsed())
            );
            record.add(&case, &test, &counts, started.elapsed())?;
            total.add(&counts);
        }
    }
    println!("\nresults: {}\n{}", record.file.display(), total.line());
    Ok(match total.failed {
        0 => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    })
}

/// `peer_inspect_heap` of `.../peer_inspect_heap-0123456789abcdef`.
fn test_name(program: &Path) -> String {
    let name = program.file_name().unwrap_or_default().to_string_lossy();
    name.rsplit_once('-')
        .map_or(&*name, |(name, _)| name)
        .to_owned()
}

/// The results so far: a line of JSON each.
struct Record {
    file: PathBuf,
    /// Of what they are the results; `None` where nothing can say that, and nothing is ever done already.
    commit: Option<String>,
    lines: Vec<Value>,
}

impl Record {
    fn open(workspace: &Workspace, name: &str) -> anyhow::Result<Record> {
        let folder = workspace.target.join("soak");
        fs::create_dir_all(&folder).context("failed to make a folder for results")?;
        let file = folder.join(format!("{name}.jsonl"));
        // Not there yet: no results.
        let text = fs::read_to_string(&file).unwrap_or_default();
        if !text.is_empty() && !text.ends_with('\n') {
            append(&file, "\n")?;
        }
        Ok(Record {
            file,
            commit: workspace.clean_commit(),
            lines: parse(&text),
        })
    }

    fn has_passed(&self, case: &str, test: &str) -> bool {
        self.commit.is_some()
            && self.lines.iter().any(|line| {
                line["commit"].as_str() == self.commit.as_deref()
                    && line["case"] == case
                    && line["test"] == test
                    && line["failed"] == 0
            })
    }

    fn add(&self, case: &str, test: &str, counts: &Counts, took: Duration) -> anyhow::Result<()> {
        let ended = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let line = json!({
            "commit": self.commit,
            "case": case,
            "test": test,
            "passed": counts.passed,
            "failed": counts.failed,
            "skipped": counts.skipped,
            "seconds": took.as_secs(),
            "ended_unix_s": ended.as_secs(),
        });
        append(&self.file, &format!("{line}\n"))
    }
}

fn append(file: &Path, text: &str) -> anyhow::Result<()> {
    let opened = fs::File::options().create(true).append(true).open(file);
    let written = opened.and_then(|mut file| file.write_all(text.as_bytes()));
    written.with_context(|| format!("failed to write {}", file.display()))
}

/// The lines that are whole: the last one may have been cut short.
fn parse(text: &str) -> Vec<Value> {
    let lines = text.lines().map(serde_json::from_str);
    lines.filter_map(Result::ok).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_passed_is_not_run_again() {
        let text = "\
            {\"commit\":\"a1\",\"case\":\"1.21.13/pie\",\"test\":\"peer_inspect_heap\",\"failed\":0}\n\
            {\"commit\":\"a1\",\"case\":\"1.22.10/pie\",\"test\":\"peer_inspect_heap\",\"failed\":1}\n\
            {\"commit\":\"a1\",\"case\":\"1.22.10/pie\",\"te";
        let record = |commit: Option<&str>| Record {
            file: PathBuf::new(),
            commit: commit.map(str::to_owned),
            lines: parse(text),
        };
        let rows = [
            (
                "passed",
                Some("a1"),
                "1.21.13/pie",
                "peer_inspect_heap",
                true,
            ),
            (
                "failed",
                Some("a1"),
                "1.22.10/pie",
                "peer_inspect_heap",
                false,
            ),
            (
                "another commit",
                Some("b2"),
                "1.21.13/pie",
                "peer_inspect_heap",
                false,
            ),
            (
                "changed files",
                None,
                "1.21.13/pie",
                "peer_inspect_heap",
                false,
            ),
            (
                "another test",
                Some("a1"),
                "1.21.13/pie",
                "peer_inspect_refs",
                false,
            ),
            (
                "another form",
                Some("a1"),
                "1.21.13/normal",
                "peer_inspect_heap",
                false,
            ),
        ];
        for (name, commit, case, test, expected) in rows {
            assert_eq!(record(commit).has_passed(case, test), expected, "{name}");
        }
    }

    #[test]
    fn names_of_tests() {
        assert_eq!(
            test_name(Path::new("/t/deps/peer_inspect_heap-0f")),
            "peer_inspect_heap"
        );
        assert_eq!(test_name(Path::new("peer")), "peer");
    }
}
