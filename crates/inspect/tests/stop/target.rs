//! The processes of these tests, and what they can be asked.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::common::{Source, newest};

/// One test at a time.
pub(crate) fn in_turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How often, unless `UNSWEPT_STOP_ROUNDS` says otherwise.
pub(crate) fn rounds(default: u32) -> u32 {
    std::env::var("UNSWEPT_STOP_ROUNDS").map_or(default, |rounds| rounds.parse().unwrap())
}

/// Numbers that look random and can be had again (xorshift64*; G. Marsaglia, S. Vigna).
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn seeded() -> Self {
        let seed: u64 = std::env::var("UNSWEPT_SEED").map_or_else(
            |_| {
                let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
                now.unwrap().subsec_nanos().into()
            },
            |seed| seed.parse().unwrap(),
        );
        println!("UNSWEPT_SEED={seed}");
        Self(seed | 1)
    }

    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32) % limit
    }
}

/// The example `stop`, which is the tool and the guard of these tests; cargo builds it with them.
pub(crate) fn example() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| {
        let test = std::env::current_exe().unwrap();
        let folder = test.parent().and_then(Path::parent).unwrap();
        let path = folder.join("examples/stop");
        let hint = "build it with `cargo build -p inspect --example stop`, as `cargo test` without --test does";
        assert!(path.exists(), "{} is missing: {hint}", path.display());
        path
    })
}

pub(crate) fn send(pid: u32, signal: Signal) {
    kill(Pid::from_raw(i32::try_from(pid).unwrap()), signal).unwrap();
}

/// Waits, ten seconds at most.
#[track_caller]
pub(crate) fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < Duration::from_secs(10), "not so: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// A field of `/proc/PID/status`; empty when it, or the process, is not there.
pub(crate) fn status(pid: u32, field: &str) -> String {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    line.unwrap_or_default().trim().to_owned()
}

/// The state letters of all threads.
pub(crate) fn thread_states(pid: u32) -> Vec<char> {
    let threads = fs::read_dir(format!("/proc/{pid}/task"))
        .into_iter()
        .flatten();
    threads
        .flatten()
        .map(|thread| {
            let stat = fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
            stat.rsplit_once(") ")
                .map_or('X', |(_, rest)| rest.chars().next().unwrap_or('X'))
        })
        .collect()
}

fn processes() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// The children of `pid`, dead ones too.
pub(crate) fn children(pid: u32) -> Vec<u32> {
    processes()
        .filter(|&child| status(child, "PPid") == pid.to_string())
        .collect()
}

/// The guards that run.
pub(crate) fn guards() -> Vec<u32> {
    let wanted = format!("{}\0guard\0", example().display()).into_bytes();
    processes()
        .filter(|pid| fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line == wanted))
        .collect()
}

/// The tool, doing something to a target.
pub(crate) struct Tool {
    pub(crate) process: Child,
}

impl Tool {
    /// Waits until it is about to begin.
    pub(crate) fn start(args: &[&str]) -> Self {
        let mut process = Command::new(example())
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut output = BufReader::new(process.stdout.take().unwrap());
        let mut line = String::new();
        output.read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n", "stop {args:?}");
        // What it tells is read, so that it never waits for us.
        std::thread::spawn(move || std::io::copy(&mut output, &mut std::io::sink()));
        Self { process }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }
}

impl Drop for Tool {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A small process without Go.
pub(crate) struct Shell {
    process: Child,
    output: BufReader<ChildStdout>,
}

impl Shell {
    pub(crate) fn start(script: &str) -> Self {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        Self::from(command, Stdio::null())
    }

    pub(crate) fn from(mut command: Command, input: Stdio) -> Self {
        let mut process = command.stdin(input).stdout(Stdio::piped()).spawn().unwrap();
        let output = BufReader::new(process.stdout.take().unwrap());
        Self { process, output }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Writes a line to its input, which must be a pipe.
    pub(crate) fn say(&mut self, line: &str) {
        let input = self.process.stdin.as_mut().unwrap();
        writeln!(input, "{line}").unwrap();
    }

    pub(crate) fn line(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The Go program beside this file, running.
pub(crate) struct Target {
    process: Child,
    output: BufReader<ChildStdout>,
}

impl Target {
    /// With `heap_mb` of ballast, `threads` that block in system calls, and `churn` goroutines that make and end
    /// threads all the time.
    pub(crate) fn start(heap_mb: u32, threads: u32, churn: u32) -> Self {
        Self::with(&[heap_mb, threads, churn].map(|number| number.to_string()))
    }

    /// First in line for a processor, where we may: what its ticker then misses is not the load's doing.
    pub(crate) fn start_first() -> Self {
        let mut nice = Command::new("nice");
        nice.args(["-n", "-20"])
            .arg(program())
            .args(["0", "8", "1"]);
        Self::run(nice.stderr(Stdio::null()))
    }

    /// Starts programs all the time.
    pub(crate) fn start_executing() -> Self {
        Self::with(&["0", "0", "0", "executing"].map(str::to_owned))
    }

    fn with(args: &[String]) -> Self {
        Self::run(Command::new(program()).args(args))
    }

    fn run(command: &mut Command) -> Self {
        let mut process = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = BufReader::new(process.stdout.take().unwrap());
        let mut target = Self { process, output };
        assert_eq!(target.answer(), "ready");
        target
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }

    fn answer(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    /// The longest time without a tick since the last question, and the work done.
    pub(crate) fn gap(&mut self) -> (Duration, u64) {
        self.process
            .stdin
            .as_mut()
            .unwrap()
            .write_all(b"gap\n")
            .unwrap();
        let answer = self.answer();
        let (gap, work) = answer
            .split_once(' ')
            .unwrap_or_else(|| panic!("the target said {answer:?}"));
        (
            Duration::from_micros(gap.parse().unwrap()),
            work.parse().unwrap(),
        )
    }

    /// Nobody holds it, it has no children, dead or alive, and it works.
    #[track_caller]
    pub(crate) fn must_be_well(&mut self) {
        let pid = self.pid();
        eventually("nobody traces the target", || {
            status(pid, "TracerPid") == "0"
        });
        eventually("all its threads run", || {
            !thread_states(pid)
                .iter()
                .any(|state| matches!(state, 't' | 'T'))
        });
        let began = Instant::now();
        while let left = children(pid)
            && !left.is_empty()
        {
            let states: Vec<String> = left.iter().map(|&child| status(child, "State")).collect();
            assert!(
                began.elapsed() < Duration::from_secs(10),
                "children left: {left:?} {states:?}"
            );
            std::thread::sleep(Duration::from_millis(1));
        }
        let (_, work) = self.gap();
        eventually("the target works", || self.gap().1 > work);
        assert!(self.process.try_wait().unwrap().is_none());
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        // The end of its input ends it, with code 0 unless we broke something.
        drop(self.process.stdin.take());
        if std::thread::panicking() {
            let _ = self.process.kill();
        }
        let ended = self.process.wait().unwrap();
        assert!(
            std::thread::panicking() || ended.success(),
            "the target ended with {ended}"
        );
    }
}

/// Builds the program.
pub(crate) fn program() -> PathBuf {
    const SOURCE: Source = Source::new("stop", &[("main.go", include_str!("target.go"))]);
    SOURCE.build(&newest(), &[])
}
