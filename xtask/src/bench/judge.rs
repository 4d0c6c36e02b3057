//! `cargo xtask bench judge`: how right and how early the judge is on made-up histories whose truth is known, as a
//! page in the book. The seed comes from what is judged: nobody could tune anything on it. What was judged is kept,
//! so that it can be stopped, and goes on until the judge is another one.

use std::process::{Command, ExitCode};

use anyhow::{Context as _, bail};

use super::page::{CHANGED, machine, machine_table, save};
use super::{Results, measure};
use crate::process::output_of;
use crate::workspace::Workspace;

/// Histories of each family.
const HISTORIES: &str = "40";
/// Years of processes that do not leak, for how often somebody is called for nothing.
const CALM_YEARS: &str = "30";
const BUILD: [&str; 5] = ["build", "--release", "--locked", "-p", "backtest"];

/// All that decides what comes out.
const JUDGE: [&str; 4] = [
    "crates/judge",
    "crates/model",
    "tests/backtest",
    "tests/corpus",
];

/// A name for the judge as it lies there: a digest of its files.
fn trees(workspace: &Workspace) -> anyhow::Result<String> {
    let mut list = Command::new("git");
    list.arg("-C").arg(&workspace.root);
    list.args(["ls-files", "--stage", "--"]).args(JUDGE);
    let files = output_of(&mut list).context("`git ls-files` failed: this needs a clone")?;
    let mut changed = Command::new("git");
    changed.arg("-C").arg(&workspace.root);
    changed.args(["status", "--porcelain", "--"]).args(JUDGE);
    if output_of(&mut changed).is_none_or(|text| !text.is_empty()) {
        bail!("the judge is changed: commit that first, or nobody can repeat what comes out");
    }
    Ok(format!("{:016x}", fnv(files.as_bytes())))
}

/// FNV-1a: the same on every machine, and in every release of Rust.
fn fnv(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// Judges and writes `docs/bench/judge.md`.
pub(super) fn run() -> anyhow::Result<ExitCode> {
    let workspace = Workspace::find()?;
    let commit = Results::open(&workspace, "judge")?.commit;
    if !workspace.cargo(&BUILD).status()?.success() {
        bail!("`cargo {}` failed", BUILD.join(" "));
    }
    let judge = trees(&workspace)?;
    let seed = u64::from_str_radix(&judge[..8], 16).context("git names trees otherwise")?;
    let seed = seed.to_string();
    let kept = workspace.target.join(format!("bench/judge-{judge}.jsonl"));
    let backtest = |arguments: &[&str]| {
        let mut command = Command::new(workspace.target.join("release/backtest"));
        command.arg("--keep").arg(&kept);
        measure::run(command.args(arguments))
    };
    println!("    {HISTORIES} histories of each family, seeds from {seed}: some minutes");
    let all = backtest(&[HISTORIES, &seed])?;
    println!("    {CALM_YEARS} years of processes that do not leak, seeds from {seed}: some more");
    let calm = backtest(&["--calm-years", CALM_YEARS, &seed])?;
    let commit = commit.as_deref().unwrap_or(CHANGED);
    let text = format!(
        "# The judge, measured\n\n\
         Written by `cargo xtask bench judge` at commit `{commit}`; the seed is taken from the judge. Histories are made \
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
