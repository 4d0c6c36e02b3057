//! What reading costs: calls of the kernel must not grow with the number of timers, goroutines and finalizers but by
//! one for a thousand.
#![allow(
    clippy::unwrap_used,
    reason = "helpers of tests, too, fail by panicking"
)]

#[path = "../common/mod.rs"]
mod common;

use std::time::Instant;

use common::{Release, Running, Source, releases};
use inspect::Program;
use inspect::heap::Reading;
use inspect::holders::{Options, Report, Taken, TimerKind};

const SOURCE: Source = Source::new("calls", &[("main.go", include_str!("main.go"))]);

/// What a look at a program with so many timers, goroutines and finalizers told, and the calls that taking and
/// explaining it cost.
fn look(release: &Release, count: u64) -> (Report, u64, u64) {
    let running = Running::start(&SOURCE.build(release, &[]), &[&count.to_string()]);
    let program = Program::attach(running.pid()).unwrap();
    let options = Options {
        holders: 100,
        ..Options::default()
    };
    // What is read once and kept is not what this counts.
    for module in program.modules() {
        module.functions(program.memory()).unwrap();
    }
    let calls = || program.memory().cost().calls;
    let (begun, before) = (Instant::now(), calls());
    let taken = Taken::read(&program, &options, Reading::Copy(Vec::new()), None).unwrap();
    let took = begun.elapsed();
    let read = calls() - before;
    let report = taken.report(&program, &options).unwrap();
    let explained = calls() - before - read;
    println!(
        "go{} {count} of each: {read} calls and {took:?} to read {} bytes, {explained} calls to explain",
        release.version, report.cost.bytes
    );
    (report, read, explained)
}

/// Timers of each kind, and goroutines that began in one of the program's functions.
fn counted(report: &Report, count: u64) {
    let timers = |kind, function: &str| {
        let groups = report.timers.iter();
        let of = groups.filter(|of| of.kind == kind && of.calls.function.starts_with(function));
        of.map(|of| of.count).sum::<u64>()
    };
    for function in ["main.timers.func1", "main.timers.func2"] {
        assert_eq!(
            timers(TimerKind::Function, function),
            count / 4,
            "{function}"
        );
    }
    assert!(timers(TimerKind::Sleep, "") >= count / 4);
    for function in ["main.receive", "main.choose", "main.contend"] {
        let groups = report.goroutines.iter();
        let of = groups.filter(|of| of.entry == function);
        let found = of.map(|of| of.count).sum::<u64>();
        assert!(found.abs_diff(count / 3) <= 1, "{function}: {found}");
    }
}

#[test]
fn calls_grow_by_one_for_a_thousand_things() {
    const FEW: u64 = 1_000;
    const MANY: u64 = 100_000;
    for release in releases() {
        let (few, read_few, explained_few) = look(&release, FEW);
        let (many, read_many, explained_many) = look(&release, MANY);
        counted(&few, FEW);
        counted(&many, MANY);
        // Timers, the goroutines of which a quarter of them are, goroutines, finalizers, and a structure or stack or
        // two of each.
        let things = MANY + MANY / 4 + MANY + MANY;
        let read = read_many - read_few;
        assert!(read < 4 * things / 1000, "{}: {read}", release.version);
        let explained = explained_many.saturating_sub(explained_few);
        assert!(
            explained < things / 1000,
            "{}: {explained}",
            release.version
        );
    }
}
