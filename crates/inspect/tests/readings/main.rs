//! A heap that is read as it is needed, against its copy: the same pointers, the same holders.
#![allow(
    clippy::unwrap_used,
    reason = "helpers of tests, too, fail by panicking"
)]

#[path = "../common/mod.rs"]
mod common;

use common::{Running, Source, newest, releases};
use inspect::Program;
use inspect::graph::Edges;
use inspect::heap::{Heap, Reading};
use inspect::holders::{Holder, Options, Taken};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::time::{Duration, Instant};

const SOURCE: Source = Source::new("readings", &[("main.go", include_str!("main.go"))]);

/// A program that stands still; killed when dropped.
fn stopped(program: &std::path::Path) -> Running {
    let running = Running::start(program, &[]);
    let pid = Pid::from_raw(i32::try_from(running.pid()).unwrap());
    kill(pid, Signal::SIGSTOP).unwrap();
    let asked = Instant::now();
    // The signal is one thread's to take; the others run on until they are told.
    while !all_stopped(running.pid()) {
        assert!(asked.elapsed() < Duration::from_secs(10), "it runs on");
        std::thread::sleep(Duration::from_millis(1));
    }
    running
}

fn all_stopped(pid: u32) -> bool {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let mut states = threads.map(|thread| {
        let stat = std::fs::read_to_string(thread.unwrap().path().join("stat")).unwrap();
        // The name stands in parentheses, the state is the word after it.
        stat.rsplit_once(") ").unwrap().1.starts_with('T')
    });
    states.all(|is_stopped| is_stopped)
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
    // The oldest release keeps its pointer bitmaps elsewhere.
    for release in releases() {
        let version = &release.version;
        let stopped = stopped(&SOURCE.build(&release, &[]));
        let program = Program::attach(stopped.pid()).unwrap();
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
    let stopped = stopped(&SOURCE.build(&newest(), &[]));
    let program = Program::attach(stopped.pid()).unwrap();
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
