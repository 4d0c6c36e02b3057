//! `cargo xtask tidy`: the rules of this repository that a machine can check. Each complaint says what
//! to do about it.
//!
//! Each rule is a pure function from facts (packages, files) to complaints, so its tests use small
//! made-up repositories.

mod arrows;
mod files;
mod identifiers;
mod licences;
mod packages;
mod sources;

use std::process::ExitCode;
use std::time::Instant;

use crate::usage;
use crate::workspace::Workspace;

/// Runs `cargo xtask tidy`.
pub(crate) fn run(arguments: &[String]) -> anyhow::Result<ExitCode> {
    if let Some(argument) = arguments.first() {
        return Err(usage(format!(
            "`tidy` takes no argument, found `{argument}`"
        )));
    }
    let started = Instant::now();
    let complaints = check(&Workspace::find()?)?;
    for complaint in &complaints {
        println!("{complaint}");
    }
    println!(
        "tidy: {} ({:.1} s)",
        match complaints.len() {
            0 => "nothing to complain about".to_string(),
            1 => "1 complaint".to_string(),
            count => format!("{count} complaints"),
        },
        started.elapsed().as_secs_f64()
    );
    Ok(if complaints.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// All complaints about the repository.
///
/// # Errors
/// When cargo's metadata or the repository's files can't be read.
pub(crate) fn check(workspace: &Workspace) -> anyhow::Result<Vec<String>> {
    let mut complaints = Vec::new();
    for platform in packages::PLATFORMS {
        let metadata = packages::load(workspace, platform)?;
        if *platform == packages::PLATFORMS[0] {
            complaints.extend(arrows::check(&metadata.own));
        }
        complaints.extend(licences::check(&metadata.foreign));
    }
    let files = files::load(&workspace.root)?;
    complaints.extend(identifiers::check(&files));
    complaints.extend(files::check(&files, &workspace.root));
    complaints.extend(sources::check(&files));
    complaints.sort();
    complaints.dedup();
    Ok(complaints)
}
