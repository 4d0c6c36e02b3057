//! `cargo xtask bench judge`: how right and how early the judge is on made-up histories whose truth is known, as a
//! page in the book. The seed comes from the commit: nobody could tune anything on it.

use std::process::{Command, ExitCode};

use anyhow::bail;

use super::page::{CHANGED, machine, machine_table, save};
use super::{Results, measure};
use crate::workspace::Workspace;

/// Histories of each family.
const HISTORIES: &str = "40";
/// Years of processes that do not leak, for how often somebody is called for nothing.
const CALM_YEARS: &str = "30";
const BUILD: [&str; 5] = ["build", "--release", "--locked", "-p", "backtest"];

/// Judges and writes `docs/bench/judge.md`.
pub(super) fn run() -> anyhow::Result<ExitCode> {
    let workspace = Workspace::find()?;
    let commit = Results::open(&workspace, "judge")?.commit;
    if !workspace.cargo(&BUILD).status()?.success() {
        bail!("`cargo {}` failed", BUILD.join(" "));
    }
    let seed = workspace.seed()?.to_string();
    let backtest = |arguments: &[&str]| {
        let mut command = Command::new(workspace.target.join("release/backtest"));
        measure::run(command.args(arguments))
    };
    println!("    {HISTORIES} histories of each family, seeds from {seed}: some minutes");
    let all = backtest(&[HISTORIES, &seed])?;
    println!("    {CALM_YEARS} years of processes that do not leak, seeds from {seed}: some more");
    let calm = backtest(&["--calm-years", CALM_YEARS, &seed])?;
    let commit = commit.as_deref().unwrap_or(CHANGED);
    let text = format!(
        "# The judge, measured\n\n\
         Written by `cargo xtask bench judge` at commit `{commit}`; the seed is taken from the commit. Histories are made \
         up by `tests/corpus` from how Go's runtime works, which knows nothing of the judge, and are judged as they came \
         in, every eighth reading; a leak counts as told when two judgements in a row say so. The time to the limit \
         is what the process had left when the leak began, at the leak's pace with the room that GOGC adds. The rules beside it look at every reading; \
         `tests/backtest/src/baselines.rs` says exactly what each does.\n\n{}\n{}\n{}",
        machine_table(&machine("`tests/corpus`".into())),
        String::from_utf8_lossy(&all.output),
        String::from_utf8_lossy(&calm.output),
    );
    println!("\n{}", save(&workspace, "judge", &text)?.display());
    Ok(ExitCode::SUCCESS)
}
