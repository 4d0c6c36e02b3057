//! Real Go programs for seeds: built, started, copied, and ended again. Kept under names that say what they were made
//! of, so that a failure can be repeated on the same bytes.

use std::fs;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};

#[path = "../../crates/inspect/tests/core_files/make.rs"]
mod make;

const SOURCE: &str = include_str!("program.go");
const MODULE: &str = "module example.com/fuzz\n\ngo 1.21\n";
/// The pinned releases, oldest first.
const RELEASES: &str = include_str!("../../tests/targets/releases");
/// Names, debug information that is not packed (damage to packed bytes is found by their checksum), and neither.
const FORMS: &[(&str, &[&str])] = &[
    ("normal", &["-ldflags=-compressdwarf=false"]),
    ("stripped-pie", &["-buildmode=pie", "-ldflags=-s -w"]),
];
const FILES: [&str; 3] = ["program", "core", "whole"];

/// A program and its memory, in files that are read when they are asked for.
pub(crate) struct Made {
    pub(crate) name: String,
    place: PathBuf,
}

impl Made {
    /// The executable.
    pub(crate) fn program(&self) -> anyhow::Result<Arc<Vec<u8>>> {
        self.read(FILES[0])
    }

    /// A core as the kernel writes it by default.
    pub(crate) fn core(&self) -> anyhow::Result<Arc<Vec<u8>>> {
        self.read(FILES[1])
    }

    /// A core with all memory.
    pub(crate) fn whole(&self) -> anyhow::Result<Arc<Vec<u8>>> {
        self.read(FILES[2])
    }

    fn read(&self, file: &str) -> anyhow::Result<Arc<Vec<u8>>> {
        let path = self.place.join(file);
        let bytes = fs::read(&path).with_context(|| format!("no {}", path.display()));
        bytes.map(Arc::new)
    }
}

/// Makes what `folder` lacks: programs of the oldest and the newest release below `releases`.
pub(crate) fn ensure(folder: &Path, releases: &Path) -> anyhow::Result<()> {
    for (release, form, flags) in cases() {
        let place = folder.join(name(release, form, flags));
        if !FILES.iter().all(|file| place.join(file).is_file()) {
            let go = releases.join(format!("go-{release}/go/bin/go"));
            make_one(&place, &go, flags).with_context(|| format!("go{release}, {form}"))?;
        }
    }
    Ok(())
}

/// All that were made.
pub(crate) fn programs(folder: &Path) -> Vec<Made> {
    let made = cases().map(|(release, form, flags)| {
        let name = name(release, form, flags);
        let place = folder.join(&name);
        Made { name, place }
    });
    made.collect()
}

type Case = (&'static str, &'static str, &'static [&'static str]);

fn cases() -> impl Iterator<Item = Case> {
    let ends = [RELEASES.lines().next(), RELEASES.lines().last()];
    let releases = ends.into_iter().flatten();
    releases.flat_map(|release| {
        FORMS
            .iter()
            .map(move |(form, flags)| (release, *form, *flags))
    })
}

fn name(release: &str, form: &str, flags: &[&str]) -> String {
    let mut hasher = DefaultHasher::new();
    (SOURCE, MODULE, flags).hash(&mut hasher);
    format!("{release}-{form}-{:016x}", hasher.finish())
}

fn make_one(place: &Path, go: &Path, flags: &[&str]) -> anyhow::Result<()> {
    fs::create_dir_all(place)?;
    fs::write(place.join("main.go"), SOURCE)?;
    fs::write(place.join("go.mod"), MODULE)?;
    let output = Command::new(go)
        .args(["build", "-trimpath", "-buildvcs=false", "-o", FILES[0]])
        .args(flags)
        .arg(".")
        .current_dir(place)
        .envs([
            ("GOTOOLCHAIN", "local"),
            ("GOPROXY", "off"),
            ("GOFLAGS", ""),
        ])
        .envs([("CGO_ENABLED", "0")])
        .env_remove("GOROOT")
        .output()
        .with_context(|| format!("no {}: `cargo xtask fuzz` installs it", go.display()))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "go build: {said}");
    let image = image(&place.join(FILES[0]))?;
    for (file, whole) in [(FILES[1], false), (FILES[2], true)] {
        write(&place.join(file), &image.core(whole))?;
    }
    Ok(())
}

fn image(program: &Path) -> anyhow::Result<make::Image> {
    let mut command = Command::new(program);
    // As on any machine.
    let command = command.env("GOMAXPROCS", "2");
    let command = command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().context("the program does not start")?;
    let mut line = String::new();
    if let Some(output) = child.stdout.take() {
        BufReader::new(output).read_line(&mut line)?;
    }
    // It says that it is ready, and goes to wait then.
    std::thread::sleep(Duration::from_millis(50));
    let image = make::Image::of(child.id());
    drop(child.stdin.take());
    child.wait()?;
    ensure!(line == "ready\n", "the program said `{line}`");
    Ok(image)
}

/// Whole or not at all.
fn write(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let mut part = PathBuf::from(path);
    part.set_extension("part");
    fs::write(&part, bytes)?;
    Ok(fs::rename(&part, path)?)
}
