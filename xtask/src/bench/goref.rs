//! The peer: goref, which walks a Go heap as a debugger does.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::bail;

use super::measure;
use crate::toolchain::Go;
use crate::workspace::Workspace;

/// Its command, as `go install` takes it.
pub(super) const INSTALL: &str = "github.com/cloudwego/goref/cmd/grf@latest";

/// Its command, installed in the folder for tools if the module proxy has it; else why it does not.
pub(super) fn find(workspace: &Workspace, go: &Go) -> Result<PathBuf, String> {
    let folder = workspace.tools().join("goref");
    let program = folder.join("grf");
    if program.is_file() {
        return Ok(program);
    }
    let mut install = go.command(&workspace.root, &["install", INSTALL]);
    install.env("GOBIN", &folder).env("GOFLAGS", "-mod=mod");
    let done = install.stdin(Stdio::null()).output();
    let done = done.map_err(|error| format!("`go install` could not be run: {error}"))?;
    if done.status.success() && program.is_file() {
        return Ok(program);
    }
    // The refusal itself is on its last line.
    let errors = String::from_utf8_lossy(&done.stderr);
    let last = errors.lines().rev().find(|line| !line.trim().is_empty());
    let why = last.unwrap_or("it said nothing").trim().to_owned();
    Err(without_hosts(&why))
}

/// What it takes to look at the process once: its run, and the profile that it wrote.
pub(super) fn look(program: &PathBuf, pid: u32, profile: &PathBuf) -> anyhow::Result<measure::Run> {
    let mut command = Command::new(program);
    command
        .args(["attach", &pid.to_string(), "-o"])
        .arg(profile);
    let run = measure::run(&mut command)?;
    if !profile.is_file() {
        bail!("goref wrote no profile");
    }
    Ok(run)
}

/// A message without the name of whatever proxy this machine is set to use: that is no fact about the peer.
fn without_hosts(text: &str) -> String {
    let words = text.split(' ').map(|word| match word.contains("://") {
        true => "URL",
        false => word,
    });
    words.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_left_out() {
        assert_eq!(
            without_hosts("reading https://a.example/x/@v/list: 403 Forbidden"),
            "reading URL 403 Forbidden"
        );
    }
}
