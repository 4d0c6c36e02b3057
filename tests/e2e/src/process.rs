//! Processes that end with the story.

use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// A running program: its output goes to files, and it is killed when this is dropped.
///
/// The kernel kills it too when the thread that started it ends (`PR_SET_PDEATHSIG`, by setpriv), so
/// start processes from the test's own thread.
#[derive(Debug)]
pub struct Running {
    child: Child,
    name: String,
    folder: TempDir,
    ended: Option<ExitStatus>,
}

/// `program`, to be killed by the kernel at our end.
#[must_use]
pub fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--"]).arg(program);
    command
}

/// `program` as a user without any privilege, to be killed by the kernel at our end.
#[must_use]
pub fn command_as_nobody(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new("setpriv");
    command
        .args(["--reuid", "65534", "--regid", "65534", "--clear-groups"])
        .args(["--inh-caps=-all", "--pdeathsig", "KILL", "--"])
        .arg(program);
    command
}

impl Running {
    /// Starts `command` (made by [`command`]) under a `name` for messages.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn start(name: &str, mut command: Command) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = |name: &str| File::create(folder.path().join(name)).expect("a file for output");
        command
            .stdin(Stdio::null())
            .stdout(file("stdout"))
            .stderr(file("stderr"));
        let child = command
            .spawn()
            .unwrap_or_else(|error| panic!("{name} does not start: {error}"));
        Self {
            child,
            name: name.into(),
            folder,
            ended: None,
        }
    }

    /// Its process id. setpriv becomes the program, so it is the program's.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has written to standard output so far.
    #[must_use]
    pub fn stdout(&self) -> String {
        read(&self.folder.path().join("stdout"))
    }

    /// What it has written to standard error so far.
    #[must_use]
    pub fn stderr(&self) -> String {
        read(&self.folder.path().join("stderr"))
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        if self.ended.is_none() {
            self.ended = self.child.try_wait().expect("a child of ours");
        }
        self.ended
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        if self.ended.is_none()
            && let Some(pid) = pid_of(self.pid())
        {
            // An error means that it has ended by itself.
            let _ = kill_process(pid, signal);
        }
    }

    /// kill -9, and waits for its end.
    pub fn kill(&mut self) {
        self.signal(Signal::KILL);
        self.wait(Duration::from_secs(5));
    }

    /// SIGTERM, and waits for its end.
    ///
    /// # Panics
    /// When it takes more than 10 s.
    pub fn stop(&mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        self.wait(Duration::from_secs(10))
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// When it takes longer than `limit`.
    pub fn wait(&mut self, limit: Duration) -> ExitStatus {
        let started = Instant::now();
        loop {
            if let Some(status) = self.ended() {
                return status;
            }
            assert!(
                started.elapsed() < limit,
                "{} (pid {}) has not ended within {limit:?}; stderr:\n{}",
                self.name,
                self.pid(),
                self.stderr()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Says that it still runs.
    ///
    /// # Panics
    /// When it does not, with what it has said.
    pub fn assert_alive(&mut self) {
        if let Some(status) = self.ended() {
            panic!(
                "{} ended: code {:?}, signal {:?}; stderr:\n{}",
                self.name,
                status.code(),
                status.signal(),
                self.stderr()
            );
        }
    }

    /// User and system time of it and its waited-for children so far, in seconds; 0 when it is gone.
    #[must_use]
    pub fn cpu_seconds(&self) -> f64 {
        cpu_seconds(self.pid())
    }
}

/// User and system time of a process, in seconds; 0 when it is gone.
#[must_use]
pub fn cpu_seconds(pid: u32) -> f64 {
    let stat = read(Path::new(&format!("/proc/{pid}/stat")));
    let Some((_, rest)) = stat.rsplit_once(')') else {
        return 0.0;
    };
    let field = |n: usize| {
        let text = rest.split_ascii_whitespace().nth(n);
        text.and_then(|text| text.parse::<f64>().ok())
            .unwrap_or(0.0)
    };
    // utime and stime, in ticks of 10 ms on every Linux we run on.
    (field(11) + field(12)) / 100.0
}

impl Drop for Running {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
        let _ = self.child.wait();
        if std::thread::panicking() {
            let tail = |text: String| {
                let lines: Vec<&str> = text.lines().rev().take(15).collect();
                lines.into_iter().rev().collect::<Vec<_>>().join("\n")
            };
            eprintln!("-- {} said last:\n{}", self.name, tail(self.stderr()));
        }
    }
}

/// The children of a process.
#[must_use]
pub fn children_of(parent: u32) -> Vec<u32> {
    let Ok(folder) = std::fs::read_dir("/proc") else {
        return Vec::new();
    };
    let pids = folder.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|pid| status_line(*pid, "PPid").is_some_and(|text| text == parent.to_string()))
        .collect()
}

/// The children of a process, theirs, and so on.
#[must_use]
pub fn descendants_of(parent: u32) -> Vec<u32> {
    let mut all = children_of(parent);
    let mut at = 0;
    while let Some(&pid) = all.get(at) {
        all.extend(children_of(pid));
        at += 1;
    }
    all
}

/// Which of the processes below `main`, all its own program, was started with this argument.
#[must_use]
pub fn started_with(main: u32, argument: &str) -> Option<u32> {
    let is_it = |pid: &u32| {
        let line = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        line.split('\0').nth(1) == Some(argument)
    };
    descendants_of(main).into_iter().find(is_it)
}

/// A line of `/proc/PID/status`, without its name.
#[must_use]
pub fn status_line(pid: u32, name: &str) -> Option<String> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let prefix = format!("{name}:");
    let line = text.lines().find_map(|line| line.strip_prefix(&prefix))?;
    Some(line.trim().to_owned())
}

fn pid_of(pid: u32) -> Option<Pid> {
    i32::try_from(pid).ok().and_then(Pid::from_raw)
}

fn read(path: &Path) -> String {
    let bytes = std::fs::read(path).unwrap_or_default();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Runs `command` to its end and hands out its standard output.
///
/// # Panics
/// When it fails, with what it has said.
#[must_use]
pub fn run(mut command: Command) -> String {
    let text = format!("{command:?}");
    let output = command
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("{text} does not start: {error}"));
    assert!(
        output.status.success(),
        "{text}: {}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}
