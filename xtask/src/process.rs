//! Running other programs: their output line by line, a heartbeat while they are silent, an end when
//! they take too long, and nothing of them left behind.
//!
//! Orphans of our children become our own children (`PR_SET_CHILD_SUBREAPER`), so a walk over `/proc`
//! finds everything a stage has started, however deep.

use std::io::{BufRead as _, BufReader};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use rustix::process::{Pid, Signal, WaitOptions};

/// A stage that has printed nothing for this long says that it is alive.
const HEARTBEAT: Duration = Duration::from_secs(10);

/// What to do with one line of a program's output.
pub(crate) enum Show {
    /// Print it.
    Line,
    /// Print this instead.
    Instead(String),
    /// Print nothing, but let the next heartbeat quote it.
    Progress(String),
    /// Print nothing.
    Nothing,
}

/// How a program ended.
pub(crate) enum Ended {
    /// By itself.
    Exited(ExitStatus),
    /// We stopped it, with all it had started, at its limit.
    Stopped,
}

/// Runs `command` to its end, at most `limit`; `on_line` sees each line of its output and its errors,
/// in the order of writing.
///
/// # Errors
/// When the program can't be started.
pub(crate) fn stream(
    mut command: Command,
    limit: Duration,
    on_line: &mut dyn FnMut(&str) -> Show,
) -> anyhow::Result<Ended> {
    let program = command.get_program().display().to_string();
    let (reading, writing) = std::io::pipe().context("failed to make a pipe")?;
    let errors = writing.try_clone().context("failed to make a pipe")?;
    command.stdin(Stdio::null()).stdout(writing).stderr(errors);
    let mut child = command
        .spawn()
        .with_context(|| format!("failed to run `{program}`"))?;
    drop(command); // It holds our copy of the pipe's writing end.

    let (sender, lines) = mpsc::sync_channel::<String>(1024);
    std::thread::spawn(move || {
        let mut reader = BufReader::new(reading);
        let mut line = Vec::new();
        while reader
            .read_until(b'\n', &mut line)
            .is_ok_and(|count| count > 0)
        {
            let text = String::from_utf8_lossy(&line).trim_end().to_string();
            if sender.send(text).is_err() {
                return;
            }
            line.clear();
        }
    });
    let ended = watch(&mut child, &lines, limit, on_line)?;
    // What is still in the pipe. No waiting for its end: an orphan may hold the pipe open for ever.
    while let Ok(line) = lines.recv_timeout(Duration::from_millis(200)) {
        show(&line, on_line);
    }
    Ok(ended)
}

fn watch(
    child: &mut Child,
    lines: &mpsc::Receiver<String>,
    limit: Duration,
    on_line: &mut dyn FnMut(&str) -> Show,
) -> anyhow::Result<Ended> {
    let started = Instant::now();
    let mut printed = Instant::now();
    let mut last = String::new();
    loop {
        match lines.recv_timeout(Duration::from_millis(100)) {
            Ok(line) => match show(&line, on_line) {
                Shown::Printed => printed = Instant::now(),
                Shown::Progress(text) => last = text,
                Shown::Nothing => {}
            },
            Err(mpsc::RecvTimeoutError::Disconnected) => {
                std::thread::sleep(Duration::from_millis(20));
            }
            Err(mpsc::RecvTimeoutError::Timeout) => {}
        }
        if let Some(status) = child.try_wait().context("failed to wait for a program")? {
            return Ok(Ended::Exited(status));
        }
        if started.elapsed() >= limit {
            stop_descendants(Duration::from_secs(5));
            let _ = child.wait();
            return Ok(Ended::Stopped);
        }
        if printed.elapsed() >= HEARTBEAT {
            let semicolon = if last.is_empty() { "" } else { "; " };
            println!(
                "    ... {} so far{semicolon}{last}",
                clock(started.elapsed())
            );
            printed = Instant::now();
        }
    }
}

enum Shown {
    Printed,
    Progress(String),
    Nothing,
}

fn show(line: &str, on_line: &mut dyn FnMut(&str) -> Show) -> Shown {
    match on_line(line) {
        Show::Line => println!("    {line}"),
        Show::Instead(text) => println!("    {text}"),
        Show::Progress(text) => return Shown::Progress(text),
        Show::Nothing => return Shown::Nothing,
    }
    Shown::Printed
}

/// Runs a short `command` silently and returns its standard output; `None` if it can't be run or
/// fails.
pub(crate) fn output_of(command: &mut Command) -> Option<String> {
    let output = command
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .ok()?;
    output
        .status
        .success()
        .then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

/// `m:ss`, as all times here are printed.
pub(crate) fn clock(time: Duration) -> String {
    format!("{}:{:02}", time.as_secs() / 60, time.as_secs() % 60)
}

/// The hidden command that [`guarded`] runs.
pub(crate) const GUARD: &str = "guard";

/// `program` such that the kernel sends it SIGTERM when we die, however we die.
///
/// The order to do so (`PR_SET_PDEATHSIG`) has to be given in the child and outlives `execve`. So the
/// child is this program first, gives the order, and then becomes `program`.
pub(crate) fn guarded(program: &std::path::Path) -> anyhow::Result<Command> {
    let own = std::env::current_exe().context("failed to find the running xtask")?;
    let mut command = Command::new(own);
    command
        .arg(GUARD)
        .arg(std::process::id().to_string())
        .arg(program);
    Ok(command)
}

/// The child's side of [`guarded`]; returns only on failure.
pub(crate) fn exec_guarded(arguments: &[String]) -> anyhow::Error {
    let [parent, program, rest @ ..] = arguments else {
        return crate::usage("guard needs a parent and a program");
    };
    if let Err(error) = rustix::process::set_parent_process_death_signal(Some(Signal::TERM)) {
        return anyhow::Error::new(error).context("failed to ask for a signal at the parent's end");
    }
    // The parent may have died between fork and the order.
    let alive = rustix::process::getppid().map(|pid| pid.as_raw_nonzero().to_string());
    if alive.as_ref() != Some(parent) {
        return anyhow::anyhow!("the parent {parent} has gone");
    }
    let error = Command::new(program).args(rest).exec();
    anyhow::Error::new(error).context(format!("failed to run `{program}`"))
}

/// Makes orphans of our children our own children.
pub(crate) fn adopt_orphans() {
    // Refused only by kernels before 3.4; then orphans are simply not found.
    let _ = rustix::process::set_child_subreaper(Some(rustix::process::getpid()));
}

/// A live process that we, or something we started, have started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Descendant {
    pub(crate) pid: i32,
    pub(crate) name: String,
}

struct StatLine {
    pid: i32,
    name: String,
    state: char,
    parent: i32,
}

/// `/proc/PID/stat`: pid, (name), state, parent. The name may hold spaces and parentheses.
fn parse_stat(text: &str) -> Option<StatLine> {
    let (head, rest) = text.rsplit_once(')')?;
    let (pid, name) = head.split_once(" (")?;
    let mut fields = rest.split_ascii_whitespace();
    Some(StatLine {
        pid: pid.parse().ok()?,
        name: name.to_string(),
        state: fields.next()?.chars().next()?,
        parent: fields.next()?.parse().ok()?,
    })
}

/// All live descendants of this process. Dead ones that are ours to bury are buried.
pub(crate) fn descendants() -> Vec<Descendant> {
    let own = rustix::process::getpid().as_raw_nonzero().get();
    let Ok(folder) = std::fs::read_dir("/proc") else {
        return Vec::new();
    };
    let all: Vec<StatLine> = folder
        .filter_map(|entry| std::fs::read_to_string(entry.ok()?.path().join("stat")).ok())
        .filter_map(|text| parse_stat(&text))
        .collect();
    let mut family = vec![own];
    let mut found = Vec::new();
    let mut next = 0;
    while let Some(&parent) = family.get(next) {
        next += 1;
        for process in all.iter().filter(|process| process.parent == parent) {
            family.push(process.pid);
            if process.state != 'Z' {
                found.push(Descendant {
                    pid: process.pid,
                    name: process.name.clone(),
                });
            }
        }
    }
    found
}

fn bury() {
    // Only orphans are left here: each `Child` of ours has been waited for before this is called.
    while let Ok(Some(_)) = rustix::process::waitpid(None, WaitOptions::NOHANG) {}
}

/// Ends all descendants: SIGTERM, then SIGKILL for those who are still there after `grace`.
/// Returns those that were alive at the call.
pub(crate) fn stop_descendants(grace: Duration) -> Vec<Descendant> {
    let found = descendants();
    signal_all(&found, Signal::TERM);
    let deadline = Instant::now() + grace;
    while Instant::now() < deadline && !descendants().is_empty() {
        std::thread::sleep(Duration::from_millis(50));
    }
    // Again and again: a process that is being killed may just have started another.
    for _ in 0..20 {
        let left = descendants();
        if left.is_empty() {
            break;
        }
        signal_all(&left, Signal::KILL);
        std::thread::sleep(Duration::from_millis(50));
    }
    found
}

/// Descendants that are still alive after `grace`; they are ended. For use between stages, when every
/// child of ours has been waited for.
pub(crate) fn left_behind(grace: Duration) -> Vec<Descendant> {
    let deadline = Instant::now() + grace;
    while Instant::now() < deadline && !descendants().is_empty() {
        std::thread::sleep(Duration::from_millis(50));
    }
    let left = if descendants().is_empty() {
        Vec::new()
    } else {
        stop_descendants(Duration::from_secs(2))
    };
    bury();
    left
}

fn signal_all(processes: &[Descendant], signal: Signal) {
    for process in processes {
        if let Some(pid) = Pid::from_raw(process.pid) {
            // An error means that it has ended by itself.
            let _ = rustix::process::kill_process(pid, signal);
        }
    }
}

/// Ends one child: SIGTERM, then SIGKILL after `grace`.
pub(crate) fn stop_child(child: &mut Child, grace: Duration) {
    if let Ok(Some(_)) = child.try_wait() {
        return;
    }
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    if let Some(pid) = pid {
        let _ = rustix::process::kill_process(pid, Signal::TERM);
    }
    let deadline = Instant::now() + grace;
    while Instant::now() < deadline {
        if let Ok(Some(_)) = child.try_wait() {
            return;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    let _ = child.kill();
    let _ = child.wait();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stat_lines() {
        type Fields = (i32, &'static str, char, i32);
        let rows: &[(&str, &str, Option<Fields>)] = &[
            ("plain", "42 (shop) S 7 42 42 0", Some((42, "shop", 'S', 7))),
            (
                "a name with spaces",
                "42 (Web Content) R 7 1",
                Some((42, "Web Content", 'R', 7)),
            ),
            (
                "a name with parentheses",
                "42 (a) b) Z 7 1",
                Some((42, "a) b", 'Z', 7)),
            ),
            ("cut short", "42 (shop", None),
            ("no parent", "42 (shop) S", None),
        ];
        for (name, text, expected) in rows {
            let found = parse_stat(text);
            let found = found
                .as_ref()
                .map(|s| (s.pid, s.name.as_str(), s.state, s.parent));
            assert_eq!(found, *expected, "{name}");
        }
    }

    #[test]
    fn output_and_errors_come_in_the_order_of_writing() {
        let mut command = Command::new("sh");
        command.args(["-c", "echo one; echo two >&2; echo three; exit 3"]);
        let mut seen = Vec::new();
        let ended = stream(command, Duration::from_secs(20), &mut |line| {
            seen.push(line.to_string());
            Show::Nothing
        });
        assert_eq!(seen, ["one", "two", "three"]);
        assert!(matches!(ended, Ok(Ended::Exited(status)) if status.code() == Some(3)));
    }

    #[test]
    fn a_stubborn_child_is_killed() {
        let mut child = Command::new("sh")
            .args([
                "-c",
                "trap '' TERM; echo ready; while :; do sleep 0.05; done",
            ])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let started = Instant::now();
        stop_child(&mut child, Duration::from_millis(200));
        assert!(
            started.elapsed() >= Duration::from_millis(200),
            "SIGTERM alone ended it"
        );
        assert!(child.try_wait().unwrap().is_some());
    }
}
