//! Real processes, stopped, cloned, and left alone by a tool that is killed, stopped or too slow.
//!
//! Everything here is about time and about processes, so the tests of this file run one after the other.
//! `UNSWEPT_STOP_ROUNDS` sets how often the tool is killed (50) and how many pauses are timed (60);
//! `UNSWEPT_SEED` repeats the moments.
#![allow(
    clippy::unwrap_used,
    reason = "helpers of tests, too, fail by panicking"
)]

#[path = "../common/mod.rs"]
mod common;
mod target;

use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::ExitStatusExt;
use std::panic::AssertUnwindSafe;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use inspect::memory::{LiveMemory, Memory};
use inspect::stop::{
    GRACE, Guard, Held, PauseOptions, Refusal, Snapshot, SnapshotOptions, StopError, may_ptrace,
    pause, reap_leftovers,
};
use nix::sys::signal::Signal;
use target::{
    Random, Shell, Target, Tool, children, eventually, example, guards, in_turn, rounds, send,
    status, thread_states,
};

const CAP: Duration = Duration::from_millis(200);
/// What a loaded machine may add to a time that is measured from outside.
const SLACK: Duration = Duration::from_millis(250);
/// A process that is first in line and ticks each millisecond does not stand still so long by itself.
const STALL: Duration = Duration::from_millis(25);

fn guard() -> Guard {
    let mut command = Command::new(example());
    command.arg("guard");
    Guard::start(command).unwrap()
}

fn capped(max_pause: Duration) -> PauseOptions {
    PauseOptions {
        max_pause,
        ..PauseOptions::default()
    }
}

#[test]
fn while_the_closure_runs_every_thread_stands() {
    let _turn = in_turn();
    let sleeper = Shell::start("while :; do sleep 0.01; done");
    let stood = pause(
        sleeper.pid(),
        &capped(CAP),
        &mut guard(),
        |_| true,
        |held| {
            assert!(!held.runs_again() && held.deadline() > Instant::now());
            (thread_states(sleeper.pid()), held.threads().to_vec())
        },
    )
    .unwrap();
    let (states, threads) = stood.value;
    assert_eq!(states, ['t']);
    assert_eq!(threads.len(), 1);
    assert_eq!(threads[0].tid, sleeper.pid());
    let registers = &threads[0].registers;
    assert!(registers.pc != 0 && registers.sp != 0 && registers.general.len() >= 15);
    assert!(!stood.report.cut && stood.report.threads == 1 && stood.report.attempts == 1);
    assert_eq!(status(sleeper.pid(), "TracerPid"), "0");
}

#[test]
fn threads_that_come_and_go_all_stand_too() {
    let _turn = in_turn();
    let mut target = Target::start(0, 8, 4);
    let mut guard = guard();
    for _ in 0..30 {
        let stood = pause(
            target.pid(),
            &capped(CAP),
            &mut guard,
            |_| true,
            |held| (thread_states(target.pid()), held.threads().len()),
        )
        .unwrap();
        let (states, registers) = stood.value;
        assert!(
            states.iter().all(|state| matches!(state, 't' | 'Z' | 'X')),
            "{states:?}"
        );
        let standing = states.iter().filter(|&&state| state == 't').count();
        assert_eq!(
            (standing, registers),
            (stood.report.threads, stood.report.threads)
        );
    }
    target.must_be_well();
}

#[test]
fn a_target_that_starts_programs_all_the_time_is_stopped_and_cloned_too() {
    let _turn = in_turn();
    // Each start is a vfork: a thread that cannot stop, for a moment, and a child with the same memory.
    let mut target = Target::start_executing();
    let (mut guard, options) = (
        guard(),
        SnapshotOptions {
            attempts: 50,
            ..SnapshotOptions::default()
        },
    );
    for _ in 0..10 {
        pause(
            target.pid(),
            &PauseOptions {
                attempts: 50,
                ..capped(CAP)
            },
            &mut guard,
            |_| true,
            |_| (),
        )
        .unwrap();
        let snapshot = Snapshot::take(target.pid(), &options, guard, |_| true).unwrap();
        assert_eq!(thread_states(snapshot.child()), ['t']);
        guard = snapshot.end().unwrap();
    }
    drop(guard);
    assert_eq!(reap_leftovers(target.pid()).unwrap(), 0);
    let (_, work) = target.gap();
    eventually("the target works", || target.gap().1 > work);
}

#[test]
fn a_closure_slower_than_the_limit_is_told_that_the_target_runs() {
    let _turn = in_turn();
    let mut target = Target::start(0, 0, 0);
    let mut guard = guard();
    let began = Instant::now();
    let until_told = |held: &Held<'_>| {
        while !held.runs_again() {
            assert!(began.elapsed() < Duration::from_secs(5), "never told");
            std::thread::sleep(Duration::from_micros(100));
        }
        let told = began.elapsed();
        // Well beyond the guard's limit: it must know that the pause is over, though the closure isn't.
        std::thread::sleep(GRACE * 4);
        (told, status(target.pid(), "TracerPid"))
    };
    let cut = pause(
        target.pid(),
        &capped(CAP / 2),
        &mut guard,
        |_| true,
        until_told,
    )
    .unwrap();
    assert!(cut.report.cut);
    let (told, tracer) = cut.value;
    assert!(told < CAP / 2 + SLACK, "{told:?}");
    assert_eq!(tracer, "0");
    assert!(
        cut.report.stopping + cut.report.held <= CAP / 2 + GRACE,
        "{:?}",
        cut.report
    );
    target.must_be_well();
}

#[test]
fn a_closure_that_panics_lets_go() {
    let _turn = in_turn();
    let sleeper = Shell::start("while :; do sleep 0.01; done");
    let mut guard = guard();
    let panicked = std::panic::catch_unwind(AssertUnwindSafe(|| {
        pause(
            sleeper.pid(),
            &capped(CAP),
            &mut guard,
            |_| true,
            |_| panic!("on purpose"),
        )
        .map(|_: inspect::stop::Paused<()>| ())
    }));
    assert!(panicked.is_err());
    eventually("it runs again", || {
        status(sleeper.pid(), "TracerPid") == "0"
    });
    // And the guard serves on.
    pause(sleeper.pid(), &capped(CAP), &mut guard, |_| true, |_| ()).unwrap();
}

#[test]
fn a_bad_moment_is_left_and_tried_again() {
    let _turn = in_turn();
    let sleeper = Shell::start("while :; do sleep 0.01; done");
    let mut guard = guard();
    let mut asked = 0;
    let third = |_: &Held<'_>| {
        asked += 1;
        asked == 3
    };
    let done = pause(sleeper.pid(), &capped(CAP), &mut guard, third, |_| 7).unwrap();
    assert_eq!((done.value, done.report.attempts), (7, 3));
    let never = pause(sleeper.pid(), &capped(CAP), &mut guard, |_| false, |_| 7);
    assert!(
        matches!(never, Err(StopError::NoGoodMoment { attempts: 30, .. })),
        "{never:?}"
    );
}

#[test]
fn a_process_that_was_stopped_stays_stopped() {
    let _turn = in_turn();
    let mut target = Target::start(0, 4, 0);
    let stopped = || {
        thread_states(target.pid())
            .iter()
            .all(|&state| state == 'T')
    };
    send(target.pid(), Signal::SIGSTOP);
    eventually("it is stopped", stopped);
    pause(target.pid(), &capped(CAP), &mut guard(), |_| true, |_| ()).unwrap();
    eventually("it is stopped again", stopped);
    std::thread::sleep(Duration::from_millis(50));
    assert!(stopped());
    let refused = Snapshot::take(target.pid(), &SnapshotOptions::default(), guard(), |_| true);
    assert!(matches!(
        refused,
        Err(StopError::Stopped { state: 'T', .. })
    ));
    send(target.pid(), Signal::SIGCONT);
    target.must_be_well();
}

#[test]
fn signals_reach_the_target_through_pauses() {
    let _turn = in_turn();
    // 10 is SIGUSR1, 35 a real-time signal, which has no name.
    let mut shell = Shell::start(
        "trap 'echo ten' 10; trap 'echo many' 35; echo up; while :; do sleep 0.002; done",
    );
    assert_eq!(shell.line(), "up");
    let tool = Tool::start(&["pause", &shell.pid().to_string(), "0", "200", "1000000"]);
    for round in 0..40 {
        let (number, word) = if round % 2 == 0 {
            ("10", "ten")
        } else {
            ("35", "many")
        };
        let kill = Command::new("kill")
            .args([&format!("-{number}"), &shell.pid().to_string()])
            .status();
        assert!(kill.unwrap().success());
        assert_eq!(shell.line(), word, "round {round}");
    }
    drop(tool);
    eventually("it runs on", || status(shell.pid(), "TracerPid") == "0");
}

#[test]
fn a_stopped_tool_does_not_hold_the_target() {
    let _turn = in_turn();
    let mut target = Target::start(0, 4, 0);
    let mut tool = Tool::start(&["pause", &target.pid().to_string(), "60000", "200", "1"]);
    eventually("the tool holds it", || {
        thread_states(target.pid()).iter().all(|&s| s == 't')
    });
    let began = Instant::now();
    send(tool.pid(), Signal::SIGSTOP);
    let limit = CAP + GRACE + SLACK;
    while thread_states(target.pid()).contains(&'t') {
        assert!(began.elapsed() < limit, "held beyond {limit:?}");
        std::thread::sleep(Duration::from_millis(1));
    }
    println!("a stopped tool held the target for {:?}", began.elapsed());
    let ended = tool.process.wait().unwrap();
    assert_eq!(
        ended.signal(),
        Some(Signal::SIGKILL as i32),
        "the guard ended it"
    );
    let mut errors = String::new();
    let mut told = tool.process.stderr.take().unwrap();
    told.read_to_string(&mut errors).unwrap();
    let why = format!("{} was killed", tool.pid());
    assert!(errors.contains(&why), "the guard told: {errors:?}");
    target.must_be_well();
}

/// Kills the tool at random moments of what `command` does, and looks after the target.
fn kill_at_random(command: &str, heap_mb: u32) {
    let mut target = Target::start(heap_mb, 4, 1);
    let mut random = Random::seeded();
    let pid = target.pid().to_string();
    let args: &[&str] = match command {
        "pause" => &["pause", &pid, "2", "200", "1000000"],
        _ => &["snapshot", &pid, "0", "1000000"],
    };
    for _ in 0..rounds(50) {
        let mut tool = Tool::start(args);
        std::thread::sleep(Duration::from_micros(random.below(40_000)));
        tool.process.kill().unwrap();
        let ended = tool.process.wait().unwrap();
        assert_eq!(ended.signal(), Some(9), "the tool failed by itself");
        target.must_be_well();
    }
    eventually("no guard is left", || guards().is_empty());
}

#[test]
fn a_tool_killed_in_a_pause_leaves_nothing_behind() {
    let _turn = in_turn();
    kill_at_random("pause", 0);
}

#[test]
fn a_tool_killed_in_a_snapshot_leaves_nothing_behind() {
    let _turn = in_turn();
    kill_at_random("snapshot", 64);
}

#[test]
fn no_pause_is_longer_than_its_limit_under_load() {
    let _turn = in_turn();
    // The second one is left alone: a gap that it has at the same time is the machine's.
    let (mut target, mut control) = (Target::start_first(), Target::start_first());
    let _load: Vec<Shell> = (0..4)
        .map(|_| Shell::start("while [ -d /proc/$PPID ]; do :; done"))
        .collect();
    let (rounds, mut guard) = (rounds(60), guard());
    let (mut gaps, mut controls, mut ours) = (Vec::new(), Vec::new(), Vec::new());
    let (mut stalls, mut longest) = (Vec::new(), Duration::ZERO);
    for round in 0..rounds {
        target.gap();
        control.gap();
        // Every other closure is too slow and gets cut.
        let slow = if round % 2 == 0 {
            CAP * 2
        } else {
            Duration::from_millis(5)
        };
        let work = |held: &Held<'_>| {
            let began = Instant::now();
            while began.elapsed() < slow && !held.runs_again() {
                std::thread::sleep(Duration::from_micros(500));
            }
        };
        let done = pause(target.pid(), &capped(CAP), &mut guard, |_| true, work).unwrap();
        let report = done.report;
        assert_eq!(report.cut, round % 2 == 0, "{report:?}");
        // The gap is seen by the tick that ends it.
        std::thread::sleep(Duration::from_millis(5));
        let (gap, beside) = (target.gap().0, control.gap().0);
        gaps.push(gap);
        controls.push(beside);
        ours.push(report.stopping + report.held + report.detaching);
        match beside > STALL {
            true => stalls.push((gap, beside)),
            false => longest = longest.max(gap),
        }
    }
    for (what, list) in [
        ("gaps of the target", &mut gaps),
        ("gaps of the control beside it", &mut controls),
        ("pauses by our clock", &mut ours),
    ] {
        println!("{rounds} pauses, {what}: {}", distribution(list));
    }
    println!(
        "{} rounds left out, as the control stalled for more than {STALL:?} in them, too; target and control there: \
         {stalls:?}",
        stalls.len()
    );
    assert!(longest >= CAP / 2, "the ticker saw nothing: {longest:?}");
    assert!(
        stalls.len() * 2 <= gaps.len(),
        "the machine is too busy to measure on"
    );
    assert!(longest <= CAP + GRACE, "{longest:?}");
}

fn distribution(list: &mut [Duration]) -> String {
    list.sort_unstable();
    let at = |percent: usize| list[(list.len() - 1) * percent / 100];
    format!(
        "median {:?}, 90 % {:?}, 99 % {:?}, longest {:?}",
        at(50),
        at(90),
        at(99),
        at(100)
    )
}

#[test]
fn a_snapshot_stands_while_the_target_runs_and_is_gone_afterwards() {
    let _turn = in_turn();
    let mut target = Target::start(8, 4, 1);
    let mut guard = guard();
    for _ in 0..5 {
        let snapshot =
            Snapshot::take(target.pid(), &SnapshotOptions::default(), guard, |_| true).unwrap();
        let child = snapshot.child();
        assert_eq!(children(target.pid()), [child]);
        assert_eq!(thread_states(child), ['t']);
        assert_eq!(snapshot.threads().len(), snapshot.report().threads);
        let memory = LiveMemory::new(child);
        let look = || {
            let mut stacks = Vec::new();
            for thread in snapshot.threads() {
                let mut bytes = [0; 64];
                memory.read(thread.registers.sp, &mut bytes).unwrap();
                stacks.push(bytes);
            }
            stacks
        };
        let before = look();
        let (_, work) = target.gap();
        eventually("the target works", || target.gap().1 > work + 100);
        assert_eq!(look(), before);
        guard = snapshot.end().unwrap();
        assert!(children(target.pid()).is_empty());
    }
    drop(guard);
    target.must_be_well();
}

#[test]
fn a_snapshot_that_grows_too_old_is_ended_by_the_guard() {
    let _turn = in_turn();
    let mut target = Target::start(0, 4, 0);
    let options = SnapshotOptions {
        age_max: Duration::from_millis(100),
        ..SnapshotOptions::default()
    };
    let snapshot = Snapshot::take(target.pid(), &options, guard(), |_| true).unwrap();
    let memory = LiveMemory::new(snapshot.child());
    let sp = snapshot.threads()[0].registers.sp;
    memory.read(sp, &mut [0; 8]).unwrap();
    eventually("its memory is gone", || {
        memory.read(sp, &mut [0; 8]).is_err()
    });
    snapshot.end().unwrap();
    target.must_be_well();
}

#[test]
fn what_a_killed_tool_and_a_killed_guard_leave_is_cleaned_up_by_the_next() {
    let _turn = in_turn();
    let mut target = Target::start(0, 4, 0);
    let mut tool = Tool::start(&["snapshot", &target.pid().to_string(), "60000", "1"]);
    eventually("there is a clone", || {
        // One that is held, not one that is being made.
        children(target.pid())
            .first()
            .is_some_and(|&c| thread_states(c) == ['t'])
            && status(target.pid(), "TracerPid") == "0"
    });
    let child = children(target.pid())[0];
    for guard in guards() {
        send(guard, Signal::SIGKILL);
    }
    eventually("no guard is left", || guards().is_empty());
    tool.process.kill().unwrap();
    tool.process.wait().unwrap();
    eventually("the clone died with the tool", || {
        status(child, "State").starts_with('Z')
    });
    assert_eq!(children(target.pid()), [child]);
    eventually("a thread is parked", || {
        reap_leftovers(target.pid()).is_ok_and(|reaped| reaped == 1)
    });
    assert_eq!(reap_leftovers(target.pid()).unwrap(), 0);
    target.must_be_well();
}

#[test]
fn a_program_that_is_not_go_is_not_cloned() {
    let _turn = in_turn();
    let sleeper = Shell::start("while :; do sleep 0.01; done");
    let refused = Snapshot::take(sleeper.pid(), &SnapshotOptions::default(), guard(), |_| {
        true
    });
    assert!(matches!(refused, Err(StopError::NoSite { .. })));
    assert_eq!(status(sleeper.pid(), "TracerPid"), "0");
}

#[test]
fn a_clone_that_finds_no_room_or_time_is_refused_before_it_is_made() {
    let _turn = in_turn();
    let mut target = Target::start(32, 0, 0);
    let soon = SnapshotOptions {
        max_pause: Duration::from_micros(10),
        ..SnapshotOptions::default()
    };
    let refused = Snapshot::take(target.pid(), &soon, guard(), |_| true).unwrap_err();
    assert!(matches!(refused, StopError::TooLong { .. }), "{refused}");
    assert!(refused.hint().is_some());
    target.must_be_well();
}

#[test]
fn only_one_can_trace_and_the_other_is_told_who() {
    let _turn = in_turn();
    let sleeper = Shell::start("while :; do sleep 0.01; done");
    let tool = Tool::start(&["pause", &sleeper.pid().to_string(), "60000", "5000", "1"]);
    eventually("the tool holds it", || {
        status(sleeper.pid(), "TracerPid") != "0"
    });
    let want = Refusal::Traced {
        tracer: tool.pid(),
        name: "stop".into(),
    };
    assert_eq!(may_ptrace(sleeper.pid()), Err(want.clone()));
    match pause(sleeper.pid(), &capped(CAP), &mut guard(), |_| true, |_| ()) {
        Err(StopError::Refused { source, .. }) => assert_eq!(source, want),
        other => panic!("{other:?}"),
    }
}

#[test]
fn each_refusal_names_its_reason() {
    let _turn = in_turn();
    if !status(std::process::id(), "Uid").starts_with("0\t")
        || Command::new("setpriv").arg("--version").output().is_err()
    {
        println!("SKIP: needs root and setpriv");
        return;
    }
    let nobody = ["--reuid=65534", "--regid=65534", "--clear-groups"];
    let capable = [
        &nobody[..],
        &["--inh-caps=+sys_ptrace", "--ambient-caps=+sys_ptrace"],
    ]
    .concat();
    // Where nobody may look, and not where this was built.
    let folder = std::env::temp_dir().join(format!("unswept-stop-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let (tool, hidden) = (folder.join("stop"), folder.join("hidden"));
    std::fs::copy(example(), &tool).unwrap();
    std::fs::copy(target::program(), &hidden).unwrap();
    let all_may_enter = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&folder, all_may_enter).unwrap();

    let ours = Shell::start("while :; do sleep 0.01; done");
    let as_nobody = |program: &str, args: &[&str]| {
        let mut command = Command::new("setpriv");
        command.args(nobody).arg(program).args(args);
        Shell::from(command, Stdio::piped())
    };
    let theirs = as_nobody("sleep", &["100"]);
    eventually("it has become nobody", || {
        status(theirs.pid(), "Uid").starts_with("65534") && status(theirs.pid(), "Name") == "sleep"
    });
    // Uid 65534 here, and root there; the namespace is root's.
    let mut contained = Command::new("unshare");
    let script =
        "echo there; read mapped; exec setpriv --reuid=0 --regid=0 --clear-groups sleep 100";
    contained.args(["-U", "--keep-caps", "sh", "-c", script]);
    let mut contained = Shell::from(contained, Stdio::piped());
    assert_eq!(contained.line(), "there");
    for map in ["uid_map", "gid_map"] {
        std::fs::write(format!("/proc/{}/{map}", contained.pid()), "0 65534 1").unwrap();
    }
    contained.say("mapped");
    eventually("it has become root there", || {
        status(contained.pid(), "Uid").starts_with("65534")
            && status(contained.pid(), "Name") == "sleep"
    });
    let mut undumpable = as_nobody(hidden.to_str().unwrap(), &["0", "0", "0", "hidden"]);
    assert_eq!(undumpable.line(), "ready");
    let rows: &[(&str, &[&str], u32, &str)] = &[
        (
            "another user",
            &nobody,
            ours.pid(),
            "refused: it runs as uid 0, we as uid 65534, without CAP_SYS_PTRACE",
        ),
        ("another user, capable", &capable, ours.pid(), "allowed"),
        ("the same user", &nobody, theirs.pid(), "allowed"),
        (
            "not dumpable",
            &nobody,
            undumpable.pid(),
            "refused: it may not be dumped",
        ),
        (
            "not dumpable, capable",
            &capable,
            undumpable.pid(),
            "allowed",
        ),
        (
            "another user namespace",
            &nobody,
            contained.pid(),
            "refused: it lives in another user namespace (a container), where we have no rights",
        ),
        (
            "another user namespace, capable",
            &capable,
            contained.pid(),
            "allowed",
        ),
        (
            "gone",
            &nobody,
            u32::MAX,
            "refused: there is no such process",
        ),
    ];
    for (name, who, pid, want) in rows {
        let output = Command::new("setpriv")
            .args(*who)
            .arg(&tool)
            .args(["may", &pid.to_string()])
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(
            said.starts_with(want),
            "{name}: {said}{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    // What is allowed is enough to look into another user's program: the capability alone, and no right to its files.
    let looker = folder.join("goroutines");
    std::fs::copy(example().with_file_name("goroutines"), &looker).unwrap();
    for (pid, want) in [(undumpable.pid(), "main.main"), (theirs.pid(), "")] {
        let mut command = Command::new("setpriv");
        command.args(["--reuid=65533", "--regid=65533", "--clear-groups"]);
        command
            .args(&capable[3..])
            .arg(&looker)
            .arg(pid.to_string());
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        let errors = String::from_utf8_lossy(&output.stderr);
        match want {
            "" => assert!(errors.contains("not a Go executable"), "{errors}"),
            function => assert!(said.contains(function), "{said}{errors}"),
        }
    }
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn the_tool_explains_what_it_cannot_do() {
    let _turn = in_turn();
    let output = Command::new(example())
        .args(["pause", "4294967295"])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(!output.status.success());
    let errors: Vec<String> = BufReader::new(&output.stderr[..])
        .lines()
        .map(Result::unwrap)
        .collect();
    assert_eq!(errors, ["error: no process has pid 4294967295"]);
}
