//! Stops a process, or has it cloned, and tells what that cost it.
//!
//! `stop may PID`, `stop pause PID [HOLD_MS [MAX_MS [ROUNDS]]]`, `stop snapshot PID [HOLD_MS [ROUNDS]]`.
//! `stop guard` is what it starts itself as.

use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use inspect::memory::{LiveMemory, Memory};
use inspect::stop::{
    Guard, Held, PauseOptions, Snapshot, SnapshotOptions, StopError, guard_main, may_ptrace, pause,
};

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let number = |at: usize, default: u64| {
        let arg = args.get(at).map(|arg| arg.parse::<u64>());
        arg.map_or(Ok(default), |number| number.map_err(|_| usage()))
    };
    let outcome = match args.first().map(String::as_str) {
        Some("guard") => {
            let code = guard_main(std::io::stdin(), std::io::stdout());
            return ExitCode::from(u8::try_from(code).unwrap_or(2));
        }
        Some("may") => number(1, 0).map(|pid| match may_ptrace(pid as u32) {
            Ok(()) => println!("allowed"),
            Err(refusal) => println!("refused: {refusal}\nhint: {}", refusal.remedy()),
        }),
        Some("pause") => pauses(&[number(1, 0), number(2, 0), number(3, 200), number(4, 1)]),
        Some("snapshot") => snapshots(&[number(1, 0), number(2, 0), number(3, 1)]),
        _ => Err(usage()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("error: {message}");
            ExitCode::FAILURE
        }
    }
}

fn usage() -> String {
    "stop may|pause|snapshot PID [HOLD_MS [MAX_MS [ROUNDS]]]".into()
}

fn explain(error: &StopError) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text += &format!("\n  caused by: {cause}");
        source = cause.source();
    }
    match error.hint() {
        Some(hint) => format!("{text}\nhint: {hint}"),
        None => text,
    }
}

fn guard() -> Result<Guard, String> {
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let mut command = Command::new(program);
    command.arg("guard");
    Guard::start(command).map_err(|error| explain(&error))
}

fn pauses(args: &[Result<u64, String>]) -> Result<(), String> {
    let [Ok(pid), Ok(hold), Ok(max), Ok(rounds)] = args else {
        return Err(usage());
    };
    let mut guard = guard()?;
    let options = PauseOptions {
        max_pause: Duration::from_millis(*max),
        ..PauseOptions::default()
    };
    println!("ready");
    for _ in 0..*rounds {
        let work = |held: &Held<'_>| {
            let until = Instant::now() + Duration::from_millis(*hold);
            while Instant::now() < until {
                std::thread::sleep(Duration::from_micros(200));
            }
            held.runs_again()
        };
        let done = pause(*pid as u32, &options, &mut guard, |_| true, work)
            .map_err(|error| explain(&error))?;
        let report = done.report;
        println!(
            "threads {} stopping_us {} held_us {} detaching_us {} cut {} partial {}",
            report.threads,
            report.stopping.as_micros(),
            report.held.as_micros(),
            report.detaching.as_micros(),
            report.cut,
            done.value
        );
    }
    Ok(())
}

fn snapshots(args: &[Result<u64, String>]) -> Result<(), String> {
    let [Ok(pid), Ok(hold), Ok(rounds)] = args else {
        return Err(usage());
    };
    let mut guard = guard()?;
    println!("ready");
    for _ in 0..*rounds {
        let options = SnapshotOptions::default();
        let snapshot = Snapshot::take(*pid as u32, &options, guard, |_| true)
            .map_err(|error| explain(&error))?;
        let memory = LiveMemory::new(snapshot.child());
        let mut word = [0; 8];
        let sp = snapshot.threads().first().map_or(0, |t| t.registers.sp);
        let readable = memory.read(sp, &mut word).is_ok();
        std::thread::sleep(Duration::from_millis(*hold));
        let report = snapshot.report();
        println!(
            "child {} threads {} stopping_us {} cloning_us {} detaching_us {} pause_us {} attempts {} readable {readable}",
            snapshot.child(),
            report.threads,
            report.stopping.as_micros(),
            report.cloning.as_micros(),
            report.detaching.as_micros(),
            report.pause().as_micros(),
            report.attempts,
        );
        guard = snapshot.end().map_err(|error| explain(&error))?;
    }
    Ok(())
}
