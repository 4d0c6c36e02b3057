//! The figures of Go runtimes, of programs that know them to the byte.

use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use model::ProcessKey;
use reader::{GoFailure, GoFigures, ReadFailure, Reader};
use serde_json::Value;

use super::{Probe, Running, build_from, find, in_thread, probe_path};

/// Two forms of the targets of all crates: as it comes, and with nothing left that names anything.
fn targets() -> &'static [(&'static str, PathBuf); 2] {
    static TARGETS: OnceLock<[(&str, PathBuf); 2]> = OnceLock::new();
    TARGETS.get_or_init(|| {
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/targets");
        let build = |name, flags: &[&str]| build_from(source.as_ref(), name, flags);
        let bare = ["-buildmode=pie", "-ldflags=-s -w"];
        [
            ("normal", build("targets", &[])),
            (
                "stripped, position-independent",
                build("targets-bare", &bare),
            ),
        ]
    })
}

/// Asks until the program was opened.
fn figures(reader: &Reader, key: &ProcessKey) -> Result<GoFigures, GoFailure> {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let readings = reader.read_with_go(std::slice::from_ref(key)).unwrap();
        match &readings[0] {
            Ok(reading) => match reading.go.clone().expect("it was asked for") {
                Err(GoFailure::Opening) => {}
                other => return other,
            },
            Err(ReadFailure::Gone) => return Err(GoFailure::Gone),
            Err(other) => panic!("{other}"),
        }
        assert!(Instant::now() < deadline, "it is never opened");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// What a probe answers about a runtime once its program was opened, or was not.
pub(super) fn opened(probe: &mut Probe, request: &str) -> Value {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let answer = probe.ask(request);
        let go = &answer[0]["Ok"]["go"];
        assert!(go.is_object(), "{answer}");
        if go["Err"]["failure"] != "opening" {
            return go.clone();
        }
        assert!(Instant::now() < deadline, "it is never opened");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn command(target: &mut Running, text: &str) -> Value {
    writeln!(target.stdin.as_mut().unwrap(), "{text}").unwrap();
    serde_json::from_str(&target.line()).unwrap()
}

fn started(program: &PathBuf) -> Running {
    let mut command = Command::new(program);
    command
        .args(["planted"])
        .env("GOGC", "70")
        .env("GOMEMLIMIT", "3GiB");
    let mut target = Running::start(&mut command);
    assert!(target.line().contains("ready"));
    target
}

#[test]
fn figures_are_what_the_program_says_of_itself() {
    for (form, program) in targets() {
        let mut target = started(program);
        let reader = in_thread();
        let key = find(&reader, target.pid()).unwrap().key;
        let first = figures(&reader, &key).unwrap();
        let answer = command(&mut target, "grow main.blocks 50000000");
        assert!(answer["error"].is_null(), "{answer}");
        command(&mut target, "gc");
        let go = figures(&reader, &key).unwrap();
        let stats = command(&mut target, "memstats");
        let of = |name: &str| stats[name].as_u64().unwrap();
        let want = [
            ("heap_alloc", go.heap_alloc_bytes),
            ("heap_inuse", go.heap_inuse_bytes),
            ("heap_idle", go.heap_idle_bytes),
            ("heap_released", go.heap_released_bytes),
            ("heap_objects", go.heap_objects),
            ("stack_inuse", go.stack_inuse_bytes),
            ("sys", go.sys_bytes),
            ("next_gc", go.next_gc_bytes),
            ("num_gc", go.gc_cycles),
            ("last_gc_ns", go.last_gc_ns),
            ("total_alloc", go.alloc_bytes_total),
        ];
        for (name, got) in want {
            // The answer to `gc` is written after the collection: some kilobytes, and what the
            // scavenger gave back meanwhile.
            let allowed = match name {
                "num_gc" | "last_gc_ns" | "next_gc" => 0,
                "heap_objects" => 200,
                "heap_idle" | "heap_released" => 16 << 20,
                _ => 128 << 10,
            };
            assert!(
                got.abs_diff(of(name)) <= allowed,
                "{form}: {name} is {} not {got}",
                of(name)
            );
        }
        let live = go.live_bytes.unwrap();
        assert!(live <= go.heap_alloc_bytes + (64 << 10), "{form}: {live}");
        let grown = go.heap_alloc_bytes - first.heap_alloc_bytes;
        assert!((50_000_000..60_000_000).contains(&grown), "{form}: {grown}");
        assert!(
            go.heap_alloc_bytes.abs_diff(live) < 1 << 20,
            "{form}: all that is left was marked"
        );
        assert_eq!(
            (go.gogc_percent, go.gomemlimit_bytes),
            (70, Some(3 << 30)),
            "{form}"
        );

        let mappings = reader.mappings(&key, false).unwrap().unwrap().bytes;
        assert_eq!(mappings.go_basis, "runtime", "{form}: {mappings:?}");
        // Much of what was grown has never been touched.
        let resident = 16 << 20..go.sys_bytes;
        assert!(
            resident.contains(&mappings.go_bytes),
            "{form}: {mappings:?}"
        );

        target.child.kill().unwrap();
        target.child.wait().unwrap();
        assert_eq!(figures(&reader, &key), Err(GoFailure::Gone), "{form}");
    }
}

#[test]
fn another_program_under_the_same_pid_is_opened_anew() {
    let [(_, plain), (_, bare)] = targets();
    let script = format!(
        "echo shell; read x; {} planted; exec {} planted",
        plain.display(),
        bare.display()
    );
    // The shell's child reads to the end of its first line's commands: `quit` hands over.
    let mut shell = Running::start(Command::new("sh").arg("-c").arg(script));
    assert_eq!(shell.line(), "shell");
    let reader = in_thread();
    let stat = fs::read_to_string(format!("/proc/{}/stat", shell.pid())).unwrap();
    let ticks = stat.rsplit(')').next().unwrap().split(' ').nth(20).unwrap();
    let key = ProcessKey {
        boot_id: reader.host().unwrap().boot_id,
        pid: model::Pid(shell.pid()),
        start_ticks: model::StartTicks(ticks.parse().unwrap()),
    };
    assert_eq!(figures(&reader, &key), Err(GoFailure::NotGo));
    // One failure is remembered, and not asked for again at once.
    assert_eq!(figures(&reader, &key), Err(GoFailure::NotGo));
    let stdin = shell.stdin.as_mut().unwrap();
    stdin.write_all(b"go\n").unwrap();
    assert!(
        shell.line().contains("ready"),
        "the first program is another process"
    );
    shell.stdin.as_mut().unwrap().write_all(b"quit\n").unwrap();
    assert!(shell.line().contains("ready"));
    let go = figures(&reader, &key).unwrap();
    assert!(go.heap_alloc_bytes > 1 << 20, "{go:?}");
}

#[test]
fn the_reader_has_programs_opened_by_a_child() {
    let [(_, program), _] = targets();
    let target = started(program);
    let mut probe = Probe::start(&mut Command::new(probe_path()));
    let ticks = find(&in_thread(), target.pid()).unwrap().key.start_ticks.0;
    let request = format!("go {} {ticks}", target.pid());
    let first = probe.ask(&request);
    assert_eq!(first[0]["Ok"]["go"]["Err"]["failure"], "opening", "{first}");
    let go = opened(&mut probe, &request);
    assert!(
        go["Ok"]["heap_alloc_bytes"].as_u64() > Some(1 << 20),
        "{go}"
    );
    // The child is gone, and the reader is nobody's parent now.
    let children = format!("/proc/{0}/task/{0}/children", probe.reader);
    let children = fs::read_to_string(children).unwrap_or_default();
    assert_eq!(children.trim(), "");
}
