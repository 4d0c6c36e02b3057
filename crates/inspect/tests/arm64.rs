//! Programs for arm64, looked into from another machine: a core that `qemu-aarch64` writes of one.
#![allow(
    clippy::unwrap_used,
    reason = "helpers of tests, too, fail by panicking"
)]

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use common::{Release, Running, releases};
use inspect::dwarf::Dwarf;
use inspect::goroutines::{Options as DumpOptions, goroutines};
use inspect::heap::Reading;
use inspect::holders::{Options, Taken};
use inspect::layout::layout_lines;
use inspect::{HeapProfile, MemStatsReader, Program};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

const PLANTED: &str = r#"package main

import (
	"os"
	"runtime"
	"runtime/pprof"
	"time"
)

type session struct {
	id   int
	body []byte
	next *session
}

var sessions = map[int]*session{}
var never = make(chan *session)

//go:noinline
func wait(kept *session) { never <- kept }

//go:noinline
func start() { go wait(&session{body: make([]byte, 1<<20)}) }

func main() {
	for i := 0; i < 128; i++ {
		sessions[i] = &session{id: i, body: make([]byte, 64<<10)}
	}
	for i := 0; i < 20; i++ {
		start()
	}
	time.Sleep(200 * time.Millisecond)
	runtime.GC()
	runtime.GC()
	os.Stdout.WriteString("READY\n")
	if os.Getenv("PROFILE") != "" {
		_ = pprof.WriteHeapProfile(os.Stdout) // Else the linker leaves profiling out.
	}
	os.Stdin.Read(make([]byte, 1))
}
"#;

/// The program, built for a machine.
fn build(release: &Release, arch: &str) -> PathBuf {
    let name = format!("planted-{arch}-{}", release.version);
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"))
        .join("inspect")
        .join(name);
    common::write(&folder.join("main.go"), PLANTED);
    let module = "module example.com/planted\n\ngo 1.21\n";
    common::write(&folder.join("go.mod"), module);
    let args = ["build", "-buildvcs=false", "-o", "program", "."];
    release.run(&args, &folder, &[("CGO_ENABLED", "0"), ("GOARCH", arch)]);
    folder.join("program")
}

/// Runs it until it is ready, then has it killed by a signal, of which the emulator writes a core.
fn core_of(program: &Path) -> PathBuf {
    let folder = program.parent().unwrap();
    let is_core = |path: &PathBuf| path.to_string_lossy().ends_with(".core");
    let cores = || {
        let files = fs::read_dir(folder).unwrap().flatten();
        files
            .map(|file| file.path())
            .filter(is_core)
            .collect::<Vec<PathBuf>>()
    };
    for old in cores() {
        fs::remove_file(old).unwrap();
    }
    let emulator = "qemu-aarch64-static";
    let is_there = Command::new(emulator).arg("--version").output().is_ok();
    assert!(
        is_there,
        "no {emulator}: `apt-get install qemu-user-static`"
    );
    let mut command = Command::new("sh");
    command.args([
        "-c",
        "ulimit -c unlimited; exec qemu-aarch64-static ./program",
    ]);
    command.current_dir(folder).env("GOTRACEBACK", "crash");
    let mut running = Running::from(command.stderr(Stdio::null()));
    kill(Pid::from_raw(running.pid() as i32), Signal::SIGABRT).unwrap();
    running.child.wait().unwrap();
    // The emulator's own, which nobody wants.
    let _ = fs::remove_file(folder.join("core"));
    let [core] = &cores()[..] else {
        panic!("not one core in {}", folder.display());
    };
    core.clone()
}

#[test]
#[ignore = "needs qemu-user-static; `cargo test -p inspect --test arm64 -- --ignored` runs it"]
fn a_core_of_arm64_is_looked_into() {
    for release in releases() {
        let case = format!("go{}", release.version);
        let executable = build(&release, "arm64");
        let program = Program::from_core(&core_of(&executable), Some(&executable)).unwrap();
        let stats = MemStatsReader::new(&program).unwrap().read().unwrap();
        let live = 128 * (64 << 10) + 20 * (1 << 20);
        assert!(
            (live..live + (1 << 20)).contains(&stats.heap_alloc),
            "{case}: {stats:?}"
        );

        let dump = goroutines(&program, &DumpOptions::default()).unwrap();
        let text = dump.text(false).to_string();
        assert_eq!(text.matches("main.wait(").count(), 20, "{case}: {text}");
        assert_eq!(text.matches("[chan send]").count(), 20, "{case}: {text}");

        let profile = HeapProfile::read(&program).unwrap();
        let kept = profile
            .buckets
            .iter()
            .map(|of| (of.allocs - of.frees) * of.size);
        let kept = kept.sum::<u64>();
        assert!(kept > 10 << 20, "{case}: {kept} bytes sampled");

        let options = Options::default();
        let taken = Taken::read(&program, &options, Reading::Copy(Vec::new()), None).unwrap();
        let report = taken.report(&program, &options).unwrap();
        let held = |name: &str| {
            let found = report.holders.iter().find(|of| of.name == name);
            let found = found.unwrap_or_else(|| panic!("{case}: no {name}: {:#?}", report.holders));
            found.retained_bytes
        };
        let is_near = |found: u64, planted: u64| {
            assert!(
                found.abs_diff(planted) * 100 <= planted,
                "{case}: {found}, {planted}"
            );
        };
        is_near(held("main.sessions"), 128 * (64 << 10));
        is_near(held("main.wait"), 20 << 20);
    }
}

/// A table for arm64 would hold what that for amd64 does, but for what lies behind a padding as long as a line of the
/// processor's cache.
#[test]
fn the_runtime_of_arm64_keeps_what_is_read_where_that_of_amd64_does() {
    const BEHIND_PADDING: [&str; 5] = [
        "mheap.allArenas",
        "mheap.arenas",
        "mheap.cachealloc",
        "mheap.heapArenas",
        "mheap.spanalloc",
    ];
    for release in releases() {
        let lines = |arch: &str| {
            let file = fs::File::open(build(&release, arch)).unwrap();
            layout_lines(&Dwarf::read(&file).unwrap().unwrap())
        };
        let (amd64, arm64) = (lines("amd64"), lines("arm64"));
        assert!(amd64.len() > 150, "go{}: {}", release.version, amd64.len());
        let name = |line: &String| line.split(' ').nth(1).unwrap().to_owned();
        let names = |lines: &[String]| lines.iter().map(name).collect::<Vec<String>>();
        assert_eq!(names(&amd64), names(&arm64), "go{}", release.version);
        let pairs = amd64
            .iter()
            .zip(&arm64)
            .filter(|(ours, theirs)| ours != theirs);
        for (ours, theirs) in pairs {
            let is_known = BEHIND_PADDING.contains(&&*name(ours));
            assert!(is_known, "go{}: {ours} against {theirs}", release.version);
        }
    }
}
