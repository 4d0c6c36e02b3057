//! A heap that is read as it is needed, against its copy: the same pointers, the same holders.
#![allow(
    clippy::unwrap_used,
    reason = "helpers of tests, too, fail by panicking"
)]

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use inspect::Program;
use inspect::graph::Edges;
use inspect::heap::{Heap, Reading};
use inspect::holders::{Holder, Options, Taken};

/// The newest and the oldest release below `target/tools`, since the oldest keeps its pointer bitmaps elsewhere; the
/// `go` on PATH where there are none.
fn releases() -> Vec<(String, PathBuf)> {
    let tools = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/tools");
    let folders = fs::read_dir(tools).into_iter().flatten().flatten();
    let releases = folders.filter_map(|folder| {
        let name = folder.file_name().into_string().ok()?;
        let version = name.strip_prefix("go-")?.to_owned();
        Some((version, folder.path().join("go/bin/go")))
    });
    let mut found: Vec<_> = releases.filter(|(_, go)| go.is_file()).collect();
    found.sort();
    match found.len() {
        0 => vec![("path".to_owned(), PathBuf::from("go"))],
        1 => found,
        _ => vec![found.swap_remove(0), found.pop().unwrap()],
    }
}

fn build(version: &str, go: &Path) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("readings-{version}"));
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("main.go"), include_str!("main.go")).unwrap();
    fs::write(
        folder.join("go.mod"),
        "module example.com/readings\n\ngo 1.21\n",
    )
    .unwrap();
    let output = Command::new(go)
        .args(["build", "-buildvcs=false", "-o", "program", "."])
        .current_dir(&folder)
        .envs([
            ("GOTOOLCHAIN", "local"),
            ("GOPROXY", "off"),
            ("GOFLAGS", ""),
            ("CGO_ENABLED", "0"),
        ])
        .output()
        .expect("`go` must be on PATH or below target/tools: `cargo xtask test` installs it");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{version}: {errors}");
    folder.join("program")
}

/// A program that stands still; killed when dropped.
struct Stopped(Child);

impl Stopped {
    fn start(program: &Path) -> Self {
        let mut child = Command::new(program)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        output.read_line(&mut line).unwrap();
        assert_eq!(line, "READY\n");
        let pid = rustix::process::Pid::from_child(&child);
        rustix::process::kill_process(pid, rustix::process::Signal::STOP).unwrap();
        Self(child)
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

const ON_DEMAND: Reading = Reading::Still { copy_max: 0 };

/// Every pointer, by a pass over ranges that end inside of spans.
fn in_order(heap: &Heap) -> Vec<(u32, u32)> {
    let mut found = Vec::new();
    let mut at = 0;
    while at < heap.slots() {
        let end = (at + 70_001).min(heap.slots());
        heap.each_in(at..end, |source, target| found.push((source, target)));
        at = end;
    }
    found
}

/// Every pointer, object by object from the last one, stopping and going on at times.
fn one_by_one(heap: &Heap) -> Vec<(u32, u32)> {
    let mut found = Vec::new();
    let is_taken = |object: &u32| heap.object_at(heap.address(*object)).is_some();
    for object in (0..heap.slots()).rev().filter(is_taken) {
        let mut from = Some(0);
        while let Some(at) = from {
            from = heap.each_from(object, at, |target| {
                found.push((object, target));
                // Now and then: to go on in a long object costs a search.
                found.len() % 1000 != 0
            });
        }
    }
    found.sort_unstable();
    found
}

/// The pointers of every `step`th object, asked for as a list.
fn listed(heap: &Heap, step: usize) -> Vec<(u32, u32)> {
    let mut found = Vec::new();
    let is_taken = |object: &u32| heap.object_at(heap.address(*object)).is_some();
    let objects: Vec<u32> = (0..heap.slots()).step_by(step).filter(is_taken).collect();
    heap.each_of(&objects, |source, target| found.push((source, target)));
    found
}

/// The program's own holders; those of one size come in any order.
fn told(holders: &[Holder]) -> Vec<String> {
    let own = holders.iter().filter(|of| of.name.contains("main."));
    let mut told: Vec<String> = own.map(|holder| format!("{holder:?}")).collect();
    told.sort();
    told
}

#[test]
fn what_is_read_on_demand_is_what_a_copy_has() {
    for (version, go) in releases() {
        let stopped = Stopped::start(&build(&version, &go));
        let program = Program::attach(stopped.0.id()).unwrap();
        let copied = Heap::read(&program, u64::MAX, Reading::Copy(Vec::new())).unwrap();
        let before = program.memory().cost().bytes;
        let on_demand = Heap::read(&program, 0, ON_DEMAND).unwrap();
        let scannable = copied.size().scannable_bytes;
        let read = program.memory().cost().bytes - before;
        assert!(read < scannable / 2, "{version}: {read} of {scannable}");
        assert!(copied.is_copied() && !on_demand.is_copied());
        assert_eq!(on_demand.size(), copied.size(), "{version}");

        let mut wanted = in_order(&copied);
        let found = in_order(&on_demand);
        assert!(wanted.len() > 250_000, "{version}: {}", wanted.len());
        assert!(found == wanted, "{version}: a pass over all objects");
        // All, some of each span, and few.
        for step in [1, 7, 300] {
            let mut wanted = wanted.clone();
            wanted.retain(|&(source, _)| (source as usize).is_multiple_of(step));
            assert!(!wanted.is_empty());
            let name = format!("{version}: every {step}th object");
            assert!(listed(&copied, step) == wanted, "{name}, copied");
            assert!(listed(&on_demand, step) == wanted, "{name}");
        }
        wanted.sort_unstable();
        assert!(
            one_by_one(&copied) == wanted,
            "{version}: object by object, copied"
        );
        assert!(
            one_by_one(&on_demand) == wanted,
            "{version}: object by object"
        );
        assert_eq!((copied.blurred(), on_demand.blurred()), (0, 0), "{version}");
    }
}

#[test]
fn holders_are_the_same_however_the_heap_is_read() {
    let (version, go) = releases().pop().unwrap();
    let stopped = Stopped::start(&build(&format!("{version}-holders"), &go));
    let program = Program::attach(stopped.0.id()).unwrap();
    let report = |reading, memory_bytes| {
        let options = Options {
            memory_bytes,
            ..Options::default()
        };
        let taken = Taken::read(&program, &options, reading, None).unwrap();
        taken.report(&program, &options).unwrap()
    };
    let wanted = report(Reading::Copy(Vec::new()), 1 << 30);
    assert!(!wanted.low_memory);
    assert!(
        wanted
            .holders
            .iter()
            .any(|holder| holder.name == "main.middles")
    );
    for (name, reading, memory_bytes) in [
        ("on demand", ON_DEMAND, 1 << 30),
        ("on demand, with little memory", ON_DEMAND, 1 << 20),
        (
            "small enough to be copied",
            Reading::Still { copy_max: 1 << 30 },
            1 << 30,
        ),
    ] {
        let found = report(reading, memory_bytes);
        for (found, wanted) in told(&found.holders).iter().zip(told(&wanted.holders)) {
            assert_eq!(*found, wanted, "{name}");
        }
        assert_eq!(told(&found.holders).len(), told(&wanted.holders).len());
        assert_eq!(found.reached_bytes, wanted.reached_bytes, "{name}");
        assert_eq!(found.goroutines, wanted.goroutines, "{name}");
        assert_eq!(found.low_memory, memory_bytes < 1 << 30, "{name}");
    }
}
