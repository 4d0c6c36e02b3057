//! One look at who holds a heap, by a child of the reader's, as the example `probe` starts it.
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use model::{Pid, ProcessKey, StartTicks};
use reader::{
    BudgetPart, Found, HoldersBudget, HoldersFailure, HoldersLook, LookAt, ReadFailure, Reader,
    ReaderOptions,
};

/// A running program that ends with this value.
struct Running {
    child: Child,
    _stdin: ChildStdin,
    lines: BufReader<ChildStdout>,
}

impl Running {
    fn start(command: &mut Command) -> Self {
        let command = command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        Self {
            _stdin: child.stdin.take().unwrap(),
            lines: BufReader::new(child.stdout.take().unwrap()),
            child,
        }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        line
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn target() -> Running {
    let out = Path::new(env!("CARGO_TARGET_TMPDIR")).join("reader-holders");
    std::fs::create_dir_all(&out).unwrap();
    let program = out.join("target");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/target");
    let built = Command::new("go")
        .args(["build", "-o"])
        .arg(&program)
        .arg(".")
        .current_dir(source)
        .env("GOFLAGS", "-mod=mod -buildvcs=false")
        .status();
    assert!(
        built
            .expect("no `go` on PATH: `cargo xtask test` installs one")
            .success()
    );
    let mut running = Running::start(&mut Command::new(program));
    running.line();
    running
}

/// A reader that is a thread, whose looks are children of the example's program.
fn reader() -> Reader {
    let ours = std::env::current_exe().unwrap();
    let mut options = ReaderOptions::default();
    options.program = PathBuf::from(ours.ancestors().nth(2).unwrap()).join("examples/probe");
    Reader::in_thread(options).unwrap()
}

fn key(reader: &Reader, pid: u32) -> ProcessKey {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let after_name = stat.rsplit_once(") ").unwrap().1;
    let start = after_name.split(' ').nth(19).unwrap();
    ProcessKey {
        boot_id: reader.host().unwrap().boot_id,
        pid: Pid(pid),
        start_ticks: StartTicks(start.parse().unwrap()),
    }
}

fn holders(
    reader: &Reader,
    key: &ProcessKey,
    budget: &HoldersBudget,
) -> Result<HoldersLook, HoldersFailure> {
    let found = reader.look(key, LookAt::Holders, budget).unwrap();
    found.map(|found| match found {
        Found::Holders(look) => *look,
        other => panic!("{other:?}"),
    })
}

#[test]
fn a_look_names_the_variable_and_every_refusal_is_an_answer() {
    let (running, reader) = (target(), reader());
    let pid = running.child.id();
    let key = key(&reader, pid);
    let look = |budget: HoldersBudget| holders(&reader, &key, &budget);
    let default = HoldersBudget::default();

    let seen = look(default).unwrap();
    let first = &seen.report.holders[0];
    assert_eq!(first.name, "main.held", "{first:?}");
    assert!((64 << 20..66 << 20).contains(&first.retained_bytes));
    // What has no pointers is not copied.
    assert!(seen.cost.copied_bytes < 16 << 20, "{}", seen.cost);
    assert!(seen.cost.memory_bytes > 0 && seen.cost.memory_bytes < default.memory_bytes);

    let rows = [
        (
            HoldersBudget {
                time: Duration::from_millis(1),
                ..default
            },
            BudgetPart::Time,
        ),
        (
            HoldersBudget {
                copied_bytes: 1,
                ..default
            },
            BudgetPart::Copied,
        ),
    ];
    for (budget, want) in rows {
        match look(budget) {
            Err(HoldersFailure::OverBudget { part, .. }) => assert_eq!(part, want),
            other => panic!("{want:?}: {other:?}"),
        }
    }

    let other = ProcessKey {
        start_ticks: StartTicks(key.start_ticks.0 + 1),
        ..key.clone()
    };
    let gone = HoldersFailure::Process {
        why: ReadFailure::Gone,
    };
    let said = holders(&reader, &other, &default);
    assert_eq!(said.unwrap_err(), gone, "another process's pid");
    let ours = self::key(&reader, std::process::id());
    let said = holders(&reader, &ours, &default);
    assert!(
        matches!(said, Err(HoldersFailure::Unreadable { .. })),
        "not Go: {said:?}"
    );
    // It was never stopped, and never is.
    let state = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    assert!(!state.contains(") T"), "{state}");
}

#[test]
fn goroutines_are_told_by_their_stacks() {
    let (running, reader) = (target(), reader());
    let key = key(&reader, running.child.id());
    let found = reader.look(&key, LookAt::Goroutines, &HoldersBudget::default());
    let Ok(Found::Goroutines(look)) = found.unwrap() else {
        panic!("no goroutines");
    };
    let told: u64 = look.stacks.iter().map(|stack| stack.count).sum();
    assert_eq!(look.count, told + look.without_stack, "{look:?}");
    let serves = look.stacks.iter().find(|stack| {
        let mut calls = stack.calls.iter();
        calls.any(|call| call.function == "net/http.(*Server).Serve")
    });
    let serves = serves.unwrap_or_else(|| panic!("{look:#?}"));
    assert_eq!(serves.count, 1);
    assert_eq!(
        serves.calls[0].function, "runtime.gopark",
        "innermost first"
    );
    let last = serves.calls.last().unwrap();
    assert_ne!(last.function, "runtime.goexit", "as profiles have it");
    assert!(serves.calls.iter().all(|call| call.line > 0), "{serves:?}");
    assert!(look.cost.memory_bytes > 0, "{}", look.cost);
}

#[test]
fn one_look_at_a_time_and_other_calls_go_on() {
    let (running, reader) = (target(), reader());
    let key = key(&reader, running.child.id());
    let budget = HoldersBudget::default();
    let start = || reader.start_look(&key, LookAt::Holders, &budget).unwrap();
    let (look, second) = (start().unwrap(), start());
    let read = reader.read(std::slice::from_ref(&key)).unwrap();
    assert!(read[0].is_ok());
    let begun = Instant::now();
    let said = loop {
        if let Some(said) = reader.poll_look(look).unwrap() {
            break said;
        }
        assert!(begun.elapsed() < budget.time * 2);
        std::thread::sleep(Duration::from_millis(20));
    };
    assert!(said.is_ok(), "{said:?}");
    assert_eq!(second, Err(HoldersFailure::Busy));
    let again = reader.poll_look(look).unwrap();
    assert!(
        matches!(again, Some(Err(HoldersFailure::Died { .. }))),
        "an answer is given once: {again:?}"
    );
}
