//! `cargo xtask fuzz`: damaged bytes for every parser, by the program in `fuzz/`. This builds it, brings the Go
//! releases that its seeds are made with, and hands the rest of the command line on.

use std::process::{Command, ExitCode};

use anyhow::Context as _;

use crate::process::adopt_orphans;
use crate::toolchain;
use crate::usage;
use crate::workspace::Workspace;

/// Rounds of `cargo xtask soak fuzz`, for each parser.
const SOAK_ROUNDS: &str = "1000000";

/// Builds the fuzzer by a profile of its own: optimised, and yet every overflow is a panic.
const BUILD: &[&str] = &[
    "build",
    "--package",
    "fuzz",
    "--profile",
    "fuzzing",
    "--locked",
];

/// Runs `cargo xtask fuzz` with `arguments`.
pub(crate) fn run(arguments: &[String]) -> anyhow::Result<ExitCode> {
    let workspace = Workspace::find()?;
    adopt_orphans();
    let all = toolchain::releases();
    let ends = [all.first(), all.last()].into_iter().flatten().copied();
    toolchain::ensure_releases(&workspace, &ends.collect::<Vec<_>>())?;
    let built = workspace.cargo(BUILD).status();
    if !built.context("failed to start cargo")?.success() {
        anyhow::bail!("could not build the fuzzer");
    }
    let mut command = command(&workspace, "fuzzing");
    let status = command.args(arguments).status();
    match status.context("failed to start the fuzzer")?.code() {
        Some(0) => Ok(ExitCode::SUCCESS),
        Some(2) => Err(usage("the fuzzer did not understand that")),
        _ => Ok(ExitCode::FAILURE),
    }
}

/// A million rounds of each parser. What one run of this commit has done, the next one does not do again.
pub(crate) fn soak() -> anyhow::Result<ExitCode> {
    run(&["--rounds", SOAK_ROUNDS, "--beside", "2"].map(str::to_owned))
}

/// The fuzzer, as it was built by this profile, told where everything is.
pub(crate) fn command(workspace: &Workspace, profile: &str) -> Command {
    let mut command = Command::new(workspace.target.join(profile).join("fuzz"));
    command
        .arg("--root")
        .arg(&workspace.root)
        .arg("--folder")
        .arg(workspace.target.join("fuzz"))
        .arg("--releases")
        .arg(workspace.tools());
    if let Some(commit) = workspace.clean_commit() {
        command.args(["--commit", &commit]);
    }
    command
}
