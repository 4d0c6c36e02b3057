//! `cargo xtask test`: all checks and tests in stages, each with a time budget.
//!
//! A stage fails when a program in it fails, when it leaves a process running, or when its budget is
//! used up. The last line of the run holds nothing but the counts.

mod go;
pub(crate) mod soak;
mod steps;
mod view;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use crate::counts::Counts;
use crate::process::{adopt_orphans, clock};
use crate::toolchain::{Go, find_go};
use crate::usage;
use crate::workspace::Workspace;

/// Time that some stages may use together.
struct Budget {
    name: &'static str,
    limit: Duration,
}

const fn budget(name: &'static str, minutes: u64) -> Budget {
    Budget {
        name,
        limit: Duration::from_secs(minutes * 60),
    }
}

/// Together 58 minutes, for a cold machine with two cores.
const BUDGETS: &[Budget] = &[
    budget("install", 10),
    budget("build, lint, docs", 18),
    budget("unit", 6),
    budget("peers", 8),
    budget("end-to-end", 12),
    budget("safety", 4),
];

/// One stage of a run.
struct Stage {
    name: &'static str,
    budget: &'static str,
    /// Stages that have to be done before; they run even if not asked for.
    needs: &'static [&'static str],
    run: fn(&mut Run) -> anyhow::Result<Counts>,
}

const STAGES: &[Stage] = &[
    Stage {
        name: "install",
        budget: "install",
        needs: &[],
        run: steps::install,
    },
    Stage {
        name: "format",
        budget: "build, lint, docs",
        needs: &[],
        run: steps::format,
    },
    Stage {
        name: "tidy",
        budget: "build, lint, docs",
        needs: &[],
        run: steps::tidy,
    },
    Stage {
        name: "lint",
        budget: "build, lint, docs",
        needs: &[],
        run: steps::lint,
    },
    Stage {
        name: "docs",
        budget: "build, lint, docs",
        needs: &[],
        run: steps::docs,
    },
    Stage {
        name: "build",
        budget: "build, lint, docs",
        needs: &["install"],
        run: steps::build,
    },
    Stage {
        name: "unit",
        budget: "unit",
        needs: &["install", "build"],
        run: steps::unit,
    },
    Stage {
        name: "peers",
        budget: "peers",
        needs: &["install", "build"],
        run: steps::peers,
    },
    Stage {
        name: "end-to-end",
        budget: "end-to-end",
        needs: &["install", "build"],
        run: steps::end_to_end,
    },
    Stage {
        name: "safety",
        budget: "safety",
        needs: &["install", "build"],
        run: steps::safety,
    },
];

/// What the stages share.
struct Run {
    workspace: Workspace,
    go: Option<Go>,
    /// The program that is tested.
    unswept: PathBuf,
    /// How long the stage that runs now may take before it is stopped.
    patience: Duration,
}

/// How one stage ended.
struct Done {
    stage: &'static Stage,
    time: Duration,
    counts: Counts,
    /// Why it failed, or was not run; `None` if all is well.
    trouble: Option<String>,
}

/// Runs `cargo xtask test` with `arguments`.
pub(crate) fn run(arguments: &[String]) -> anyhow::Result<ExitCode> {
    let Some(asked) = parse(arguments)? else {
        list();
        return Ok(ExitCode::SUCCESS);
    };
    let workspace = Workspace::find()?;
    adopt_orphans();
    let go = find_go(&workspace);
    let mut run = Run {
        unswept: workspace.unswept_with_checks(),
        workspace,
        go,
        patience: Duration::ZERO,
    };
    let mut done: Vec<Done> = Vec::new();
    for stage in STAGES.iter().filter(|stage| wanted(stage, &asked)) {
        done.push(run_stage(&mut run, stage, &done));
    }
    Ok(summary(&done))
}

fn parse(arguments: &[String]) -> anyhow::Result<Option<Vec<&'static str>>> {
    let mut asked = Vec::new();
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--list" => return Ok(None),
            "--stage" => {
                let name = arguments
                    .next()
                    .ok_or_else(|| usage("--stage needs a name"))?;
                let stage = STAGES.iter().find(|stage| stage.name == name);
                let stage = stage.ok_or_else(|| {
                    let names: Vec<&str> = STAGES.iter().map(|stage| stage.name).collect();
                    usage(format!("no stage `{name}`; there are {}", names.join(", ")))
                })?;
                asked.push(stage.name);
            }
            other => return Err(usage(format!("`test` does not know `{other}`"))),
        }
    }
    Ok(Some(asked))
}

/// Whether a run that asks for `asked` (nothing: all) includes `stage`.
fn wanted(stage: &Stage, asked: &[&str]) -> bool {
    asked.is_empty()
        || asked.contains(&stage.name)
        || STAGES
            .iter()
            .any(|other| asked.contains(&other.name) && other.needs.contains(&stage.name))
}

fn list() {
    for budget in BUDGETS {
        let names: Vec<&str> = STAGES
            .iter()
            .filter(|stage| stage.budget == budget.name)
            .map(|stage| stage.name)
            .collect();
        println!("{:>6}  {}", clock(budget.limit), names.join(", "));
    }
}

fn limit_of(stage: &Stage) -> Duration {
    let budget = BUDGETS.iter().find(|budget| budget.name == stage.budget);
    budget.map_or(Duration::ZERO, |budget| budget.limit)
}

fn used(done: &[Done], budget: &str) -> Duration {
    done.iter()
        .filter(|done| done.stage.budget == budget)
        .map(|done| done.time)
        .sum()
}

fn run_stage(run: &mut Run, stage: &'static Stage, before: &[Done]) -> Done {
    let failed = |name: &&str| {
        before
            .iter()
            .any(|done| done.stage.name == *name && done.trouble.is_some())
    };
    if let Some(missing) = stage.needs.iter().copied().find(|name| failed(name)) {
        println!("\n== {}: not run, because `{missing}` failed", stage.name);
        let trouble = Some(format!("not run: `{missing}` failed"));
        return Done {
            stage,
            time: Duration::ZERO,
            counts: Counts::default(),
            trouble,
        };
    }
    let limit = limit_of(stage);
    let already = used(before, stage.budget);
    println!(
        "\n== {} (budget `{}`: {} of {})",
        stage.name,
        stage.budget,
        clock(already),
        clock(limit)
    );
    // Half as much again, so that the report says how much is missing; then the stage is stopped.
    run.patience = (limit + limit / 2).saturating_sub(already);
    let started = Instant::now();
    let outcome = (stage.run)(run);
    let time = started.elapsed();
    let (counts, mut trouble) = match outcome {
        Ok(counts) if counts.failed > 0 => (counts, Some("tests failed".to_string())),
        Ok(counts) => (counts, None),
        Err(steps_error) => match steps_error.downcast::<steps::TestsFailed>() {
            Ok(failed) => (failed.counts, Some(failed.why)),
            Err(error) => (Counts::default(), Some(format!("{error:#}"))),
        },
    };
    if already + time > limit && trouble.is_none() {
        trouble = Some(format!(
            "over budget: `{}` took {} of {}",
            stage.budget,
            clock(already + time),
            clock(limit)
        ));
    }
    match &trouble {
        None => println!("-- {}: ok after {}", stage.name, clock(time)),
        Some(why) => println!("-- {}: FAILED after {}: {why}", stage.name, clock(time)),
    }
    Done {
        stage,
        time,
        counts,
        trouble,
    }
}

/// Prints the tables and the counts; the exit code of the run.
fn summary(done: &[Done]) -> ExitCode {
    let mut total = Counts::default();
    println!("\n{:<12} {:>6}  {:<8} tests", "stage", "time", "result");
    for done in done {
        total.add(&done.counts);
        // Something that failed, and is no test, must not leave the last line at `0 failed`.
        if done.trouble.is_some() && done.counts.failed == 0 {
            total.failed += 1;
        }
        let result = if done.trouble.is_none() {
            "ok"
        } else {
            "FAILED"
        };
        let tests = if done.counts.is_empty() {
            String::new()
        } else {
            done.counts.line()
        };
        println!(
            "{:<12} {:>6}  {result:<8} {tests}",
            done.stage.name,
            clock(done.time)
        );
    }
    println!("\n{:<18} {:>6} {:>9}", "budget", "used", "allowed");
    for budget in BUDGETS
        .iter()
        .filter(|b| done.iter().any(|d| d.stage.budget == b.name))
    {
        let time = used(done, budget.name);
        let over = if time > budget.limit {
            "  OVER BUDGET"
        } else {
            ""
        };
        println!(
            "{:<18} {:>6} {:>9}{over}",
            budget.name,
            clock(time),
            clock(budget.limit)
        );
    }
    let all: Duration = done.iter().map(|done| done.time).sum();
    println!("{:<18} {:>6}", "together", clock(all));
    if !total.reasons.is_empty() {
        println!("\nskipped:");
        total
            .reasons
            .iter()
            .for_each(|reason| println!("  {reason}"));
    }
    if done.iter().any(|done| done.trouble.is_some()) {
        println!("\nfailed:");
        for done in done {
            if let Some(why) = &done.trouble {
                println!("  {}: {why}", done.stage.name);
            }
        }
    }
    println!("\n{}", total.line());
    if total.failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_stage_has_a_budget_and_known_needs() {
        for stage in STAGES {
            assert!(limit_of(stage) > Duration::ZERO, "{}", stage.name);
            for need in stage.needs {
                let place = |name: &str| STAGES.iter().position(|stage| stage.name == name);
                assert!(
                    place(need) < place(stage.name),
                    "{} before {need}",
                    stage.name
                );
                assert!(place(need).is_some(), "{need}");
            }
        }
    }

    #[test]
    fn all_budgets_fit_into_an_hour() {
        let all: Duration = BUDGETS.iter().map(|budget| budget.limit).sum();
        assert!(all < Duration::from_secs(3600));
    }

    #[test]
    fn a_stage_brings_what_it_needs() {
        let names = |asked: &[&str]| -> Vec<&str> {
            STAGES
                .iter()
                .filter(|stage| wanted(stage, asked))
                .map(|stage| stage.name)
                .collect()
        };
        assert_eq!(names(&["safety"]), ["install", "build", "safety"]);
        assert_eq!(names(&["format"]), ["format"]);
        assert_eq!(names(&[]).len(), STAGES.len());
    }

    #[test]
    fn a_failure_without_tests_is_counted() {
        let done = |trouble: Option<&str>| Done {
            stage: &STAGES[1],
            time: Duration::ZERO,
            counts: Counts::default(),
            trouble: trouble.map(str::to_string),
        };
        assert_eq!(summary(&[done(None)]), ExitCode::SUCCESS);
        assert_eq!(
            summary(&[done(None), done(Some("unformatted"))]),
            ExitCode::FAILURE
        );
    }
}
