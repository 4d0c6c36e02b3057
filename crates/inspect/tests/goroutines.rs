//! Goroutines read from outside against what the program itself prints of them, frame for frame.
#![allow(
    clippy::unwrap_used,
    reason = "helpers of tests, too, fail by panicking"
)]

use std::collections::BTreeMap;
use std::collections::hash_map::DefaultHasher;
use std::fmt::Write as _;
use std::fs;
use std::hash::{Hash, Hasher};
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use inspect::Program;
use inspect::functions::printed_name;
use inspect::goroutines::{End, Goroutines, Options, Status, goroutines, stopped_thread};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rustix::time::{ClockId, clock_gettime};

/// The four forms that every answer must be the same for.
const FORMS: &[(&str, &[&str])] = &[
    ("normal", &[]),
    ("stripped", &["-ldflags=-s -w"]),
    ("pie", &["-buildmode=pie"]),
    ("pie-stripped", &["-buildmode=pie", "-ldflags=-s -w"]),
];

/// The newest and the oldest release below `target/tools`, all of them if `INSPECT_RELEASES=all`; the `go` on PATH
/// where there are none.
fn releases() -> Vec<(String, PathBuf)> {
    let tools = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/tools");
    let folders = fs::read_dir(tools).into_iter().flatten().flatten();
    let mut found: Vec<(String, PathBuf)> = folders
        .filter_map(|folder| {
            let name = folder.file_name().into_string().ok()?;
            let version = name.strip_prefix("go-")?.to_owned();
            Some((version, folder.path().join("go/bin/go")))
        })
        .filter(|(_, go)| go.is_file())
        .collect();
    found.sort();
    if found.is_empty() {
        return vec![("path".to_owned(), PathBuf::from("go"))];
    }
    if std::env::var("INSPECT_RELEASES").is_ok_and(|which| which == "all") {
        return found;
    }
    let last = found.len() - 1;
    found
        .into_iter()
        .enumerate()
        .filter(|(at, _)| [0, last].contains(at))
        .map(|(_, go)| go)
        .collect()
}

/// Source files by their names.
type Sources = &'static [(&'static str, &'static str)];

/// Goroutines parked in every way that needs no C.
const PARKED: Sources = &[
    ("main.go", include_str!("goroutines/main.go")),
    ("coroutine.go", include_str!("goroutines/coroutine.go")),
    (
        "coroutine_old.go",
        include_str!("goroutines/coroutine_old.go"),
    ),
];

/// Goroutines in C and below it.
const CGO: Sources = &[("main.go", include_str!("goroutines/cgo.go"))];

/// A program, built once for each release and form.
fn build(sources: Sources, release: &(String, PathBuf), form: &(&str, &[&str])) -> PathBuf {
    static BUILDING: Mutex<()> = Mutex::new(());
    let _building = BUILDING.lock();
    let mut hasher = DefaultHasher::new();
    (sources, release, form).hash(&mut hasher);
    let name = format!(
        "goroutines-{}-{}-{:016x}",
        release.0,
        form.0,
        hasher.finish()
    );
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let out = folder.join("program");
    if out.is_file() {
        return out;
    }
    fs::create_dir_all(&folder).unwrap();
    let module = ("go.mod", "module example.com/parked\n\ngo 1.21\n");
    for (name, text) in sources.iter().chain([&module]) {
        fs::write(folder.join(name), text).unwrap();
    }
    let cgo = if sources == CGO { "1" } else { "0" };
    let output = Command::new(&release.1)
        .args(["build", "-buildvcs=false", "-o", "unready"])
        .args(form.1)
        .arg(".")
        .current_dir(&folder)
        .envs([
            ("GOTOOLCHAIN", "local"),
            ("GOPROXY", "off"),
            ("GOFLAGS", ""),
            ("CGO_ENABLED", cgo),
        ])
        .output()
        .expect("`go` must be on PATH or below target/tools");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{} {}: {errors}",
        release.0,
        form.0
    );
    fs::rename(folder.join("unready"), &out).unwrap();
    out
}

/// A running program whose goroutines are all parked; killed when dropped.
struct Parked {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Parked {
    fn start(program: &Path, arguments: &[&str]) -> Self {
        let mut child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        output.read_line(&mut line).unwrap();
        assert_eq!(line, "READY\n");
        let input = child.stdin.take().unwrap();
        Self {
            child,
            input,
            output,
        }
    }

    /// What `/debug/pprof/goroutine?debug=2` would say.
    fn own_dump(&mut self) -> String {
        self.ask("dump")
    }

    fn ask(&mut self, line: &str) -> String {
        writeln!(self.input, "{line}").unwrap();
        let mut length = String::new();
        self.output.read_line(&mut length).unwrap();
        let mut text = vec![0; length.trim().parse().unwrap()];
        self.output.read_exact(&mut text).unwrap();
        String::from_utf8(text).unwrap()
    }
}

impl Drop for Parked {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

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

/// Takes a dump from outside and the program's own, and holds the first against the second. How many goroutines were
/// in each state.
fn compare(mut parked: Parked, case: &str) -> BTreeMap<String, usize> {
    let program = Program::attach(parked.child.id()).unwrap();
    let dump = goroutines(&program, &Options::default()).unwrap();
    let (ours, own) = (
        parse(&dump.text(false).to_string()),
        parse(&parked.own_dump()),
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
            let case = format!("go{} {}", release.0, form.0);
            let states = compare(
                Parked::start(&build(PARKED, &release, form), &["20"]),
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
    let states = compare(Parked::start(&usual(), &["270"]), "10,000");
    assert!(states.values().sum::<usize>() > 9_900, "{states:?}");
}

#[test]
fn goroutines_in_c_are_told_as_well() {
    if Command::new("cc").arg("--version").output().is_err() {
        eprintln!("skipped: there is no C compiler");
        return;
    }
    for release in releases() {
        let case = format!("go{} cgo", release.0);
        let states = compare(Parked::start(&build(CGO, &release, &FORMS[0]), &[]), &case);
        assert_eq!(states["syscall"], 3, "{case}: {states:?}");
        assert_eq!(
            states["chan receive, locked to thread"], 6,
            "{case}: {states:?}"
        );
    }
}

/// The newest release in its usual form.
fn usual() -> PathBuf {
    build(PARKED, releases().last().unwrap(), &FORMS[0])
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
            let case = format!("go{} {}", release.0, form.0);
            let mut parked = Parked::start(&build(PARKED, &release, form), &["0"]);
            let program = Program::attach(parked.child.id()).unwrap();
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
        let parked = Parked::start(&build(PARKED, &release, &FORMS[0]), &["3"]);
        let program = Program::attach(parked.child.id()).unwrap();
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
            assert!(named.len() >= 3, "go{}: {name}: {}", release.0, named.len());
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
                release.0
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
    let parked = Parked::start(&usual(), &["0", "spin"]);
    let program = Program::attach(parked.child.id()).unwrap();
    let pid = Pid::from_raw(parked.child.id() as i32);
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
    let registers = |tid| stopped_thread(parked.child.id(), tid);
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
    let parked = Parked::start(&usual(), &["5", "churn"]);
    let program = Program::attach(parked.child.id()).unwrap();
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
