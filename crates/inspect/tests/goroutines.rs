//! Goroutines read from outside against what the program itself prints of them, frame for frame.
#![allow(
    clippy::unwrap_used,
    reason = "helpers of tests, too, fail by panicking"
)]

mod common;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use common::{FORMS, Running, Source, newest, releases};
use inspect::functions::printed_name;
use inspect::goroutines::{End, Goroutines, Options, Status, goroutines, stopped_thread};
use inspect::{MemStatsReader, Program};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rustix::time::{ClockId, clock_gettime};

/// Goroutines parked in every way that needs no C.
const PARKED: Source = Source::new(
    "parked",
    &[
        ("main.go", include_str!("goroutines/main.go")),
        ("coroutine.go", include_str!("goroutines/coroutine.go")),
        (
            "coroutine_old.go",
            include_str!("goroutines/coroutine_old.go"),
        ),
    ],
);

/// Goroutines in C and below it.
const CGO: Source = Source {
    name: "parked-cgo",
    files: &[("main.go", include_str!("goroutines/cgo.go"))],
    with_c: true,
};

/// Goroutines of a dump by number: the head line and the lines below it, without arguments, and without labels,
/// which Go prints since 1.27 only.
fn parse(dump: &str) -> BTreeMap<u64, (String, Vec<String>)> {
    let mut goroutines = BTreeMap::new();
    for block in dump.trim().split("\n\n") {
        let (head, rest) = block.split_once('\n').unwrap_or((block, ""));
        let id = head.split(' ').nth(1).unwrap().parse().unwrap();
        let state = head.split_inclusive(']').next().unwrap().to_owned();
        let without_arguments = |line: &str| match line.rfind('(') {
            Some(at) if !line.starts_with('\t') && line.ends_with(')') => {
                format!("{}(...)", &line[..at])
            }
            _ => line.to_owned(),
        };
        goroutines.insert(id, (state, rest.lines().map(without_arguments).collect()));
    }
    goroutines
}

/// A dump in which nobody runs: whoever said that all is ready takes a moment to wait itself, and who runs has no stack.
fn at_rest(program: &Program) -> Goroutines {
    let runs = |dump: &Goroutines| {
        let mut all = dump.goroutines.iter();
        all.any(|goroutine| goroutine.status == Status::Running)
    };
    let begin = Instant::now();
    loop {
        let dump = goroutines(program, &Options::default()).unwrap();
        if !runs(&dump) || begin.elapsed() > Duration::from_secs(5) {
            return dump;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Takes a dump from outside and the program's own, and holds the first against the second. How many goroutines were
/// in each state.
fn compare(mut parked: Running, case: &str) -> BTreeMap<String, usize> {
    let program = Program::attach(parked.pid()).unwrap();
    let dump = at_rest(&program);
    let (ours, own) = (
        parse(&dump.text(false).to_string()),
        parse(&parked.ask("dump")),
    );
    let numbers = |dump: &BTreeMap<u64, _>| dump.keys().copied().collect::<Vec<u64>>();
    assert_eq!(numbers(&ours), numbers(&own), "{case}");
    let mut states = BTreeMap::new();
    for (id, (state, frames)) in &own {
        // The first goroutine waited for the word to dump, and then dumped.
        if *id == 1 {
            continue;
        }
        assert_eq!(&ours[id].0, state, "{case}");
        assert_eq!(
            ours[id].1.join("\n"),
            frames.join("\n"),
            "{case}: goroutine {id}"
        );
        let word = state.split(['[', ']']).nth(1).unwrap();
        *states.entry(word.to_owned()).or_insert(0) += 1;
    }
    assert_eq!(dump.unreadable, 0, "{case}");
    for goroutine in &dump.goroutines {
        let end = goroutine.stack.map(|stack| dump.stacks[stack].end);
        assert_eq!(
            (goroutine.approximate, end),
            (false, Some(End::Top)),
            "{case}"
        );
    }
    states
}

#[test]
fn a_dump_is_what_the_program_prints_itself() {
    for release in releases() {
        for form in FORMS {
            let case = format!("go{} {}", release.version, form.0);
            let states = compare(
                Running::start(&PARKED.build(&release, form.1), &["20"]),
                &case,
            );
            assert!(
                states.values().sum::<usize>() > 20 * 20,
                "{case}: {states:?}"
            );
            assert!(states.len() >= 14, "{case}: {states:?}");
        }
    }
}

#[test]
fn ten_thousand_goroutines_are_told_alike() {
    let states = compare(Running::start(&usual(), &["270"]), "10,000");
    assert!(states.values().sum::<usize>() > 9_900, "{states:?}");
}

#[test]
fn goroutines_in_c_are_told_as_well() {
    for release in releases() {
        for (form, flags) in FORMS {
            let case = format!("go{} cgo {form}", release.version);
            let states = compare(Running::start(&CGO.build(&release, flags), &[]), &case);
            assert_eq!(states["syscall"], 3, "{case}: {states:?}");
            assert_eq!(
                states["chan receive, locked to thread"], 6,
                "{case}: {states:?}"
            );
        }
    }
}

#[test]
fn their_number_is_what_the_program_counts() {
    for release in releases() {
        for form in FORMS {
            let case = format!("go{} {}", release.version, form.0);
            let mut running = Running::start(&PARKED.build(&release, form.1), &["20"]);
            let program = Program::attach(running.pid()).unwrap();
            let reader = MemStatsReader::new(&program).unwrap();
            let counted = |text: String| {
                let (goroutines, threads) = text.split_once(' ').unwrap();
                (goroutines.parse().unwrap(), threads.parse().unwrap())
            };
            // The runtime may start a thread, or one that cleans up, at any moment.
            let same = (0..20).find_map(|_| {
                let own: (u64, u64) = counted(running.ask("count"));
                let stats = reader.read().unwrap();
                let ours = (stats.num_goroutine, stats.num_thread);
                (ours == own && ours == counted(running.ask("count"))).then_some(own)
            });
            let (all, threads) = same.unwrap_or_else(|| panic!("{case}: never the same"));
            assert!(all > 20 * 20 && threads >= 3, "{case}: {all}, {threads}");
            // A dump has the runtime's goroutine for finalizers too while it runs one of the program's, as it does here.
            let dump = goroutines(&program, &Options::default()).unwrap();
            assert_eq!(all + 1, dump.goroutines.len() as u64, "{case}");
        }
    }
}

/// The newest release in its usual form.
fn usual() -> PathBuf {
    PARKED.build(&newest(), FORMS[0].1)
}

fn shown(dump: &Goroutines, stack: Option<usize>) -> Vec<&str> {
    let frames = dump.stacks[stack.unwrap()].frames.iter();
    frames
        .filter(|frame| !frame.hidden)
        .map(|frame| &*frame.function)
        .collect()
}

#[test]
fn functions_are_what_the_runtime_says_of_their_code() {
    for release in releases() {
        for form in [&FORMS[0], &FORMS[3]] {
            let case = format!("go{} {}", release.version, form.0);
            let mut parked = Running::start(&PARKED.build(&release, form.1), &["0"]);
            let program = Program::attach(parked.pid()).unwrap();
            let memory = program.memory();
            let functions = program.modules()[0].functions(memory).unwrap();
            // Some places of every function: 5,000 and more.
            let mut ours = String::new();
            let mut pcs = String::new();
            for id in functions.ids() {
                let (entry, end) = (functions.entry(id), functions.end(id));
                for pc in [
                    entry + 1,
                    entry + (end - entry) / 3,
                    entry + (end - entry) / 2,
                ] {
                    let place = functions.sources(memory, id, pc).next().unwrap();
                    // Between functions is padding, of which nothing is said.
                    if place.line == 0 || functions.find(pc) != Some(id) {
                        continue;
                    }
                    let name = printed_name(place.function);
                    writeln!(
                        ours,
                        "{pc:x} {entry:x} {name} {}:{}",
                        place.file, place.line
                    )
                    .unwrap();
                    write!(pcs, "{pc:x} ").unwrap();
                }
            }
            let own = parked.ask(&pcs);
            // The runtime takes the very first name of its table for none, and folds brackets of what the
            // compiler made in another way before Go 1.27.
            let is_same = |own: &str, ours: &str| {
                own == ours || own.contains("  /") || ours.contains(" type:.eq.")
            };
            let differ = own
                .lines()
                .zip(ours.lines())
                .find(|(own, ours)| !is_same(own, ours));
            assert_eq!(differ, None, "{case}");
            assert_eq!(own.lines().count(), ours.lines().count(), "{case}");
            assert!(
                ours.lines().count() > 5_000,
                "{case}: {}",
                ours.lines().count()
            );
        }
    }
}

#[test]
fn waits_labels_and_what_is_waited_for_are_told() {
    let started = Instant::now();
    for release in releases() {
        let parked = Running::start(&PARKED.build(&release, FORMS[0].1), &["3"]);
        let program = Program::attach(parked.pid()).unwrap();
        let now = clock_gettime(ClockId::Monotonic);
        let now_ns = Some(now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64);
        let dump = goroutines(
            &program,
            &Options {
                now_ns,
                ..Options::default()
            },
        )
        .unwrap();
        let called = |name: &str| {
            let is_named = |stack| {
                shown(&dump, Some(stack))
                    .iter()
                    .any(|frame| frame.starts_with(name))
            };
            let named: Vec<_> = dump
                .goroutines
                .iter()
                .filter(|g| g.stack.is_some_and(is_named))
                .collect();
            assert!(
                named.len() >= 3,
                "go{}: {name}: {}",
                release.version,
                named.len()
            );
            named
        };
        for goroutine in called("main.labelled") {
            let labels: Vec<(&str, &str)> = goroutine
                .labels
                .iter()
                .map(|(key, value)| (&**key, &**value))
                .collect();
            assert_eq!(
                labels,
                [("path", "/v1/items"), ("tenant", "acme")],
                "go{}",
                release.version
            );
            // The program waits 0.3 s after its last collection, which notes the time.
            let waited = Duration::from_nanos(goroutine.waited_ns.unwrap());
            let most = started.elapsed();
            assert!(
                (Duration::from_millis(250)..most).contains(&waited),
                "{waited:?} of {most:?}"
            );
            assert_eq!(goroutine.waits.len(), 1, "one channel");
            assert_ne!(goroutine.waits[0].channel, 0);
        }
        let selects: Vec<_> = dump
            .goroutines
            .iter()
            .filter(|goroutine| &*goroutine.wait_reason == "select" && goroutine.waits.len() == 3)
            .collect();
        assert_eq!(selects.len(), 3, "a channel for each case");
        let never = called("main.labelled")[0].waits[0].channel;
        assert!(
            selects
                .iter()
                .all(|select| select.waits.iter().any(|wait| wait.channel == never))
        );
        let first = dump
            .goroutines
            .iter()
            .find(|goroutine| goroutine.id == 1)
            .unwrap();
        assert_eq!(shown(&dump, first.stack).last(), Some(&"main.main"));
        assert_eq!(first.creator, None);
    }
}

#[test]
fn a_stopped_thread_tells_where_a_running_goroutine_is() {
    let parked = Running::start(&usual(), &["0", "spin"]);
    let program = Program::attach(parked.pid()).unwrap();
    let pid = Pid::from_raw(parked.pid() as i32);
    let running = |registers: Option<&dyn Fn(u64) -> Option<_>>| {
        let dump = goroutines(
            &program,
            &Options {
                registers,
                ..Options::default()
            },
        )
        .unwrap();
        let running = dump
            .goroutines
            .iter()
            .find(|goroutine| goroutine.status == Status::Running);
        running.map(|goroutine| {
            goroutine
                .stack
                .map(|stack| shown(&dump, Some(stack)).join(" "))
        })
    };
    let registers = |tid| stopped_thread(parked.pid(), tid);
    let (mut untold, mut told) = (false, None);
    // It may be caught before it got a thread, or in the middle of a preemption; and its thread takes a moment to
    // stop.
    for _ in 0..100 {
        untold |= running(None) == Some(None);
        kill(pid, Signal::SIGSTOP).unwrap();
        std::thread::sleep(Duration::from_millis(20));
        told = told.or_else(|| {
            running(Some(&registers))
                .flatten()
                .filter(|frames| frames == "main.spin")
        });
        kill(pid, Signal::SIGCONT).unwrap();
        if untold && told.is_some() {
            return;
        }
        std::thread::sleep(Duration::from_millis(7));
    }
    panic!("seen without a stack: {untold}, with one: {told:?}");
}

#[test]
fn a_busy_program_can_be_read() {
    let parked = Running::start(&usual(), &["5", "churn"]);
    let program = Program::attach(parked.pid()).unwrap();
    let (mut all, mut approximate, mut broken) = (0, 0, 0);
    for _ in 0..50 {
        let dump = goroutines(&program, &Options::default()).unwrap();
        let labelled: Vec<_> = dump
            .goroutines
            .iter()
            .filter(|g| !g.labels.is_empty())
            .collect();
        assert_eq!(labelled.len(), 5, "those that stay are always there");
        for goroutine in &labelled {
            let frames = shown(&dump, goroutine.stack);
            assert_eq!(frames.first(), Some(&"main.labelled.func1"));
            assert_eq!(frames.last(), Some(&"main.labelled"));
        }
        for goroutine in &dump.goroutines {
            all += 1;
            approximate += usize::from(goroutine.approximate);
            let end = goroutine.stack.map(|stack| dump.stacks[stack].end);
            let is_whole = end.is_none_or(|end| end == End::Top);
            broken += usize::from(!is_whole && !goroutine.approximate);
        }
    }
    assert!(
        broken * 1000 <= all,
        "{broken} of {all} broken, {approximate} approximate"
    );
    assert!(
        approximate * 20 <= all,
        "{approximate} of {all} approximate"
    );
}
