//! `cargo xtask layouts`: makes the tables that tell where each Go release's runtime keeps what, from programs built
//! by that release, or checks that the tables in the tree are what it would make.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitCode, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail};

use crate::process::output_of;
use crate::toolchain;
use crate::workspace::Workspace;

/// Releases that have a table but are not in the test matrix.
const ALSO: [&str; 2] = ["1.23.9", "1.25.5"];
/// Until a program has built its state.
const STARTING: Duration = Duration::from_secs(2);

/// Makes every table, or with `--check` only compares.
///
/// # Errors
/// When a program can't be built or read, or, with `--check`, when a table differs.
pub(crate) fn run(arguments: &[String]) -> anyhow::Result<ExitCode> {
    let is_check = match arguments {
        [] => false,
        [flag] if flag == "--check" => true,
        _ => return Err(crate::usage("layouts takes --check or nothing")),
    };
    let workspace = Workspace::find()?;
    let mut versions = toolchain::releases();
    versions.extend(ALSO);
    toolchain::ensure_releases(&workspace, &versions)?;
    let mut build = workspace.cargo(&[
        "build",
        "--release",
        "-p",
        "inspect",
        "--example",
        "layouts",
    ]);
    if !build.status().context("failed to start cargo")?.success() {
        bail!("could not build the example `layouts` of the crate `inspect`");
    }
    let mut differing = Vec::new();
    for version in versions {
        let text = table(&workspace, version).with_context(|| format!("go{version}"))?;
        let (minor, _) = version.rsplit_once('.').unwrap_or((version, ""));
        let name = format!("crates/inspect/tables/go{minor}-amd64.txt");
        let file = workspace.root.join(&name);
        let known = std::fs::read_to_string(&file).unwrap_or_default();
        match (known == text, is_check) {
            (true, _) => println!("    go{version}: {name} is as it should be"),
            (false, true) => differing.push(name),
            (false, false) => {
                std::fs::write(&file, text).with_context(|| format!("failed to write {name}"))?;
                println!("    go{version}: wrote {name}");
            }
        }
    }
    if !differing.is_empty() {
        bail!(
            "these tables differ from what `cargo xtask layouts` makes: {}",
            differing.join(", ")
        );
    }
    Ok(ExitCode::SUCCESS)
}

/// The table of one release: its program, linked at a fixed and at any address, is started and read.
fn table(workspace: &Workspace, version: &str) -> anyhow::Result<String> {
    let programs = [
        build(workspace, version, "exe")?,
        build(workspace, version, "pie")?,
    ];
    let running: Result<Vec<Running>, _> = programs
        .iter()
        .map(|program| Running::start(program))
        .collect();
    let running = running?;
    std::thread::sleep(STARTING);
    let mut command = Command::new(workspace.root.join("target/release/examples/layouts"));
    for program in &running {
        command.arg(program.child.id().to_string());
    }
    output_of(&mut command).context("the example `layouts` failed")
}

/// The programs of `tests/targets`, built by this release in this mode of building.
pub(crate) fn build(workspace: &Workspace, version: &str, mode: &str) -> anyhow::Result<PathBuf> {
    let folder = workspace.tools().join("layouts");
    std::fs::create_dir_all(&folder).context("failed to make a folder for programs")?;
    let program = folder.join(format!("targets-{version}-{mode}"));
    let go = workspace.tools().join(format!("go-{version}/go/bin/go"));
    let mut command = Command::new(go);
    command
        .args(["build", "-buildmode", mode, "-o"])
        .arg(&program)
        .arg(".")
        .current_dir(workspace.root.join("tests/targets"))
        .env("GOTOOLCHAIN", "local")
        .env("CGO_ENABLED", "0")
        .env("GOCACHE", workspace.tools().join("go-caches/build"))
        .env_remove("GOROOT");
    if !command.status().context("failed to start go")?.success() {
        bail!("could not build tests/targets");
    }
    Ok(program)
}

/// A program that waits for commands; ended with this.
struct Running {
    child: Child,
    _input: Option<ChildStdin>,
}

impl Running {
    fn start(program: &Path) -> anyhow::Result<Self> {
        let mut child = Command::new(program)
            .arg("planted")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .with_context(|| format!("failed to start {}", program.display()))?;
        let mut input = child.stdin.take();
        if let Some(input) = &mut input {
            // A collection, so that every structure of the collector is in use.
            input
                .write_all(b"gc\n")
                .context("the program ended at once")?;
        }
        Ok(Self {
            child,
            _input: input,
        })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
