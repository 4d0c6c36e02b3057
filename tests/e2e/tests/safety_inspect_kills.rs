//! `kill -9` of every way to look into a Go process, at random moments: the process runs on, nobody holds it, and
//! nothing is left: no clone, no zombie, no guard, no file.
//!
//! Each mode is killed 50 times or more, its looks in turn. `UNSWEPT_KILL_ROUNDS` sets how often each look is,
//! `UNSWEPT_SEED` repeats the moments.

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use e2e::process::{children_of, command, status_line};
use e2e::targets::inspect::inspect;
use e2e::targets::newest;
use e2e::{Form, Program, RunningTarget, Setting, Target, tell};
use serde_json::json;
use tempfile::TempDir;

/// What is left after a kill goes within this time: a guard may have a clone to clean up behind.
const GONE_WITHIN: Duration = Duration::from_secs(20);

#[test]
fn a_look_while_it_runs() {
    let looks: [(&str, &[&str]); 6] = [
        ("refs", &["refs", "PID", "--json"]),
        ("refs --low-memory", &["refs", "PID", "--low-memory"]),
        ("refs --diff", &["refs", "PID", "--diff", "100ms"]),
        ("goroutines", &["goroutines", "PID"]),
        ("heap", &["heap", "PID"]),
        ("memstats", &["memstats", "PID"]),
    ];
    kill(9, &looks);
}

#[test]
fn a_look_in_a_pause() {
    let looks: [(&str, &[&str]); 2] = [
        ("refs --pause", &["refs", "PID", "--pause"]),
        (
            "refs --pause --diff",
            &["refs", "PID", "--pause", "--diff", "100ms"],
        ),
    ];
    kill(25, &looks);
}

#[test]
fn a_look_at_a_snapshot() {
    kill(50, &[("refs --snapshot", &["refs", "PID", "--snapshot"])]);
}

#[test]
fn the_children_that_the_watcher_looks_with() {
    kill(
        25,
        &[("__open", &["__open"]), ("__holders", &["__holders"])],
    );
}

#[test]
fn a_pause_that_reaches_its_limit_is_told_as_partial() {
    let Some(setting) = Setting::find() else {
        return;
    };
    let target = Target::build(&setting, &newest(), Form::Stripped, Program::Targets);
    let running = target.start(&["heap", "-objects", "400000"]);
    let pid = running.pid().to_string();
    // That is too short to copy 25 MB; too short to stop all threads is another answer.
    let cut = (0..50).find_map(|_| {
        let words = ["refs", &*pid, "--pause", "--max-pause", "4ms", "--json"];
        let look = inspect(&setting, &words);
        if look.code != Some(0) {
            assert!(look.said.contains("did not stop within"), "{}", look.said);
            return None;
        }
        Some(look)
    });
    let cut = cut.expect("one of fifty stops within its time");
    assert!(
        cut.said.contains("the pause reached its limit of 4ms"),
        "{}",
        cut.said
    );
    let look = cut.json(&setting, "refs --pause", "unswept/inspect-refs/1");
    assert_eq!(look["mode"], "paused");
    assert_eq!(look["pause"]["cut"], true, "{}", look["pause"]);
    assert_eq!(look["approximate"], true);
    let whole = inspect(
        &setting,
        &["refs", &pid, "--pause", "--max-pause", "10s", "--json"],
    );
    let look = whole.json(&setting, "refs --pause", "unswept/inspect-refs/1");
    assert_eq!(look["pause"]["cut"], false, "{}", look["pause"]);
    assert_eq!(look["approximate"], false);
}

/// Kills each of these commands so often, or as often as is asked for, in what an undisturbed one takes.
fn kill(rounds: u32, modes: &[(&str, &[&str])]) {
    let Some(setting) = Setting::find() else {
        return;
    };
    let story = Instant::now();
    let rounds = number("UNSWEPT_KILL_ROUNDS").map_or(rounds, |number| number as u32);
    let seed = number("UNSWEPT_SEED").unwrap_or(setting.seed);
    println!("UNSWEPT_SEED={seed}");
    let target = Target::build(&setting, &newest(), Form::Stripped, Program::Targets);
    let mut running = target.start(&["heap", "-objects", "10000"]);
    running.ask("churn on");
    let tool = Tool::new(&setting);
    let mut random = Random(seed);
    for (name, words) in modes {
        let whole = tool.whole(words, &running);
        tool.must_leave_nothing(name, 0, &running);
        let (mut in_time, mut longest_us) = (0, 0);
        for round in 0..rounds {
            let mut process = tool.start(words, &running);
            let micros = u64::try_from(whole.as_micros()).expect("short");
            std::thread::sleep(Duration::from_micros(random.below(micros + micros / 10)));
            process.kill().expect("a child of ours");
            let end = process.wait().expect("a child of ours");
            // A heap that is rebuilt all the time may be unreadable right then: that is an answer, and no crash.
            if end.code() == Some(1) {
                println!("{name}, round {round}: it said {}", tool.said().trim());
            }
            assert!(
                matches!(end.code(), Some(0 | 1)) || end.signal() == Some(9),
                "{name}, round {round}: it failed by itself: {end}: {}",
                tool.said()
            );
            in_time += u32::from(end.signal() == Some(9));
            tool.must_leave_nothing(name, round, &running);
            longest_us = longest_us.max(must_run(name, round, &mut running));
        }
        assert!(
            in_time * 4 >= rounds,
            "{name}: {in_time} of {rounds} kills came before the end"
        );
        tell(
            story,
            format!(
                "{name}: {rounds} kills, {in_time} of them within its {whole:?}; the longest gap between two ticks \
                 of the target {longest_us} us"
            ),
        );
    }
}

/// The target's own clock ticks on; returns its longest gap in microseconds.
fn must_run(name: &str, round: u32, running: &mut RunningTarget) -> u64 {
    let longest = running.ask("gap")["max_gap_us"].as_u64();
    wait_for_none(|| {
        let gap = running.ask("gap");
        let stands = gap["ticks"].as_u64() == Some(0);
        stands.then(|| format!("{name}, round {round}: the target does not tick: {gap}"))
    });
    longest.expect("a gap")
}

/// The binary under another name, so that all that runs from there is ours.
struct Tool {
    program: PathBuf,
    /// Its working folder, home and folder for temporary files: what it leaves is there.
    empty: PathBuf,
    /// What it says on standard error.
    said: PathBuf,
    _folder: TempDir,
}

impl Tool {
    fn new(setting: &Setting) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (program, empty) = (folder.path().join("unswept"), folder.path().join("empty"));
        fs::copy(&setting.unswept, &program).expect("to copy the binary under test");
        fs::create_dir(&empty).expect("a folder in ours");
        Self {
            said: folder.path().join("said"),
            program,
            empty,
            _folder: folder,
        }
    }

    fn start(&self, words: &[&str], target: &RunningTarget) -> Child {
        let pid = target.pid().to_string();
        let mut tool = command(&self.program);
        let order = match *words {
            ["__open"] => Some(to_open(target.pid())),
            ["__holders"] => Some(to_hold(target.pid())),
            _ => {
                tool.arg("inspect");
                None
            }
        };
        let words = words.iter().map(|word| match *word {
            "PID" => &*pid,
            word => word,
        });
        tool.args(words)
            .current_dir(&self.empty)
            .envs([("HOME", &self.empty), ("TMPDIR", &self.empty)])
            .stdout(Stdio::null())
            .stderr(File::create(&self.said).expect("a file in ours"));
        spawn(tool, order)
    }

    /// How long it takes when nobody kills it: the shortest of five.
    fn whole(&self, words: &[&str], target: &RunningTarget) -> Duration {
        let times = (0..5).filter_map(|_| {
            let began = Instant::now();
            let end = self.start(words, target).wait().expect("a child of ours");
            end.success().then(|| began.elapsed())
        });
        let shortest = times.min();
        shortest.unwrap_or_else(|| panic!("{words:?}: {}", self.said()))
    }

    fn said(&self) -> String {
        fs::read_to_string(&self.said).unwrap_or_default()
    }

    fn must_leave_nothing(&self, name: &str, round: u32, target: &RunningTarget) {
        let pid = target.pid();
        wait_for_none(|| {
            let held = threads_of(pid).into_iter().filter(|thread| {
                let tracer = status_line(*thread, "TracerPid");
                let state = status_line(*thread, "State").unwrap_or_default();
                tracer.is_some_and(|tracer| tracer != "0") || state.starts_with(['t', 'T'])
            });
            let left = [
                ("threads of the target held", held.collect()),
                ("children of the target", children_of(pid)),
                ("processes of ours", processes_of(&self.program)),
            ];
            left.into_iter()
                .find(|(_, found)| !found.is_empty())
                .map(|(what, found)| format!("{name}, round {round}: {what}: {found:?}"))
        });
        let files: Vec<_> = fs::read_dir(&self.empty)
            .expect("a folder of ours")
            .flatten()
            .map(|entry| entry.path())
            .collect();
        assert!(files.is_empty(), "{name}, round {round}: {files:?}");
    }
}

/// What is left goes soon.
fn wait_for_none(mut left: impl FnMut() -> Option<String>) {
    let began = Instant::now();
    while let Some(left) = left() {
        assert!(
            began.elapsed() < GONE_WITHIN,
            "after {GONE_WITHIN:?}: {left}"
        );
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Starts it with this order on its standard input.
fn spawn(mut tool: Command, order: Option<Order>) -> Child {
    let Some(order) = order else {
        return tool.stdin(Stdio::null()).spawn().expect("the tool");
    };
    match order {
        Order::Pipe(bytes) => {
            let mut child = tool.stdin(Stdio::piped()).spawn().expect("the tool");
            let mut input = child.stdin.take().expect("a pipe");
            input.write_all(&bytes).expect("it reads its order");
            child
        }
        Order::Socket(bytes) => {
            let (mut ours, theirs) = std::os::unix::net::UnixStream::pair().expect("a socket");
            let theirs = std::os::fd::OwnedFd::from(theirs);
            let child = tool.stdin(theirs).spawn().expect("the tool");
            ours.write_all(&bytes).expect("it reads its order");
            // It answers once and ends: the socket has room for that.
            std::thread::spawn(move || std::io::copy(&mut ours, &mut std::io::sink()));
            child
        }
    }
}

enum Order {
    Pipe(Vec<u8>),
    Socket(Vec<u8>),
}

/// The order to open a program, as the reader gives it: a frame with a pid.
fn to_open(pid: u32) -> Order {
    let body = json!({ "id": 0, "body": pid }).to_string();
    let length = u32::try_from(body.len()).expect("short");
    Order::Socket([&length.to_le_bytes(), body.as_bytes()].concat())
}

/// The order to look for holders, as the reader gives it.
fn to_hold(pid: u32) -> Order {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("the target runs");
    let (_, fields) = stat.rsplit_once(')').expect("a line of stat");
    let start: u64 = fields
        .split_whitespace()
        .nth(19)
        .and_then(|field| field.parse().ok())
        .expect("a start");
    let time = json!({ "secs": 30, "nanos": 0 });
    let order = json!({
        "key": { "boot_id": "", "pid": pid, "start_ticks": start },
        "at": "holders",
        "budget": { "time": time, "cpu": time, "memory_bytes": 1 << 30, "copied_bytes": 3 << 28 },
    });
    Order::Pipe(order.to_string().into_bytes())
}

fn threads_of(pid: u32) -> Vec<u32> {
    numbers_in(Path::new(&format!("/proc/{pid}/task")))
}

/// The living processes whose executable this is.
fn processes_of(program: &Path) -> Vec<u32> {
    let mut all = numbers_in(Path::new("/proc"));
    all.retain(|pid| fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|exe| exe == program));
    all
}

fn numbers_in(folder: &Path) -> Vec<u32> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect()
}

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().expect("a number"))
}

/// SplitMix64 (Steele, Lea and Flood, 2014).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % limit.max(1)
    }
}
