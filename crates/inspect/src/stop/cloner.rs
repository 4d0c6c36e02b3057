//! The tracer's side of a snapshot: it stops the target, has it clone itself, holds the clone, and buries it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, gettid};

use super::inject::{self, Clone, Site};
use super::pause::released;
use super::proc::{Stat, Status};
use super::snapshot::{REAP_MAX, Snapshot, SnapshotOptions, SnapshotReport};
use super::tracees::{self, ThreadRegisters, Tracees};
use super::{Guard, Held, Refusal, StopError, permission, room};

/// The limit for reaping one leftover, which stops one idle thread at a time.
const LEFTOVER_PAUSE: Duration = Duration::from_millis(200);
/// So many processes are looked at for leftovers.
const PROCESSES_MAX: usize = 1 << 17;

pub(super) fn take(
    pid: u32,
    options: &SnapshotOptions,
    mut guard: Guard,
    mut may_stop: impl FnMut(&Held<'_>) -> bool,
) -> Result<Snapshot, StopError> {
    match permission::may_ptrace(pid) {
        // Another look may end any moment; the attempts below will see.
        Ok(()) | Err(Refusal::Traced { .. }) => {}
        Err(source) => return Err(StopError::Refused { pid, source }),
    }
    let notes = room::check(pid, options)?;
    let site = inject::find_site(pid)?;
    // What stays of an earlier one is not ours to fail for.
    let _ = reap_leftovers(pid);
    let give_up = Instant::now() + options.overall;
    for attempt in 1.. {
        let failure = match once(pid, options, site, guard, &mut may_stop) {
            Ok(mut snapshot) => {
                (snapshot.report.attempts, snapshot.report.notes) = (attempt, notes);
                return Ok(snapshot);
            }
            Err((Some(back), failure)) if failure.passes() => {
                guard = back;
                failure
            }
            Err((_guard, failure)) => {
                if let StopError::Overdue { .. } = failure {
                    bury_late(pid);
                }
                return Err(failure);
            }
        };
        let backoff = Duration::from_millis(1 << attempt.min(6));
        if attempt >= options.attempts || Instant::now() + backoff >= give_up {
            return Err(match failure {
                StopError::NoGoodMoment { pid, .. } => StopError::NoGoodMoment {
                    pid,
                    attempts: attempt,
                },
                failure => failure,
            });
        }
        std::thread::sleep(backoff);
    }
    unreachable!("the attempts end")
}

/// What the tracer tells while it works.
enum Told {
    Stopped(Vec<ThreadRegisters>, Instant),
    Cloned(Clone, SnapshotReport),
}

/// The tracer's ends of its channels.
struct Line {
    tell: SyncSender<Told>,
    /// What `may_stop` said.
    answers: Receiver<bool>,
    /// Disconnected when the snapshot is to end.
    finished: Receiver<()>,
    runs_again: Arc<AtomicBool>,
}

/// One attempt; on failure with the guard, if it can be used again.
fn once(
    pid: u32,
    options: &SnapshotOptions,
    site: Site,
    mut guard: Guard,
    may_stop: &mut impl FnMut(&Held<'_>) -> bool,
) -> Result<Snapshot, (Option<Guard>, StopError)> {
    let (tell, told) = mpsc::sync_channel(2);
    let (answer, answers) = mpsc::sync_channel(1);
    let (finish, finished) = mpsc::sync_channel(1);
    let runs_again = Arc::new(AtomicBool::new(false));
    let line = Line {
        tell,
        answers,
        finished,
        runs_again: Arc::clone(&runs_again),
    };
    let options = *options;
    let thread = std::thread::Builder::new()
        .name("tracer".into())
        .spawn(move || {
            let outcome = live(pid, &options, site, &mut guard, line);
            (gettid(), guard, outcome)
        })
        .map_err(|source| {
            let what = "start the tracer";
            let tid = pid;
            (None, StopError::Trace { what, tid, source })
        })?;
    let tracer = Tracer { thread, finish };
    let mut stopped = Vec::new();
    if let Ok(Told::Stopped(threads, deadline)) = told.recv() {
        let agreed = may_stop(&Held::new(&threads, deadline, &runs_again));
        let _ = answer.send(agreed);
        stopped = threads;
    }
    if let Ok(Told::Cloned(clone, report)) = told.recv() {
        return Ok(Snapshot {
            pid,
            child: clone.pid.as_raw().unsigned_abs(),
            threads: stopped,
            report,
            tracer: Some(tracer),
        });
    }
    match tracer.join() {
        (Some(mut guard), outcome) => {
            let _ = guard.done();
            let failure = outcome.err().unwrap_or(StopError::NoProcess { pid });
            if failure.passes() {
                // No clone was made; the guard need not look for one.
                let _ = guard.reaped();
            }
            Err((Some(guard), failure))
        }
        (None, outcome) => Err((None, outcome.err().unwrap_or_else(panicked))),
    }
}

/// The tracer's whole life: it holds the target for a moment, and the clone to its end.
fn live(
    pid: u32,
    options: &SnapshotOptions,
    site: Site,
    guard: &mut Guard,
    line: Line,
) -> Result<(), StopError> {
    tracees::hurry();
    guard.inject(pid)?;
    guard.arm(pid, options.max_pause)?;
    let (clone, report) = stop_and_clone(pid, options.max_pause, site, &line)?;
    // The target runs. If the guard is gone, that changes nothing for it now.
    let _ = guard.done();
    let _ = guard.child(clone.pid.as_raw().unsigned_abs(), options.age_max);
    let Line { tell, finished, .. } = line;
    let _ = tell.send(Told::Cloned(clone, report));
    drop(tell);
    let _ = finished.recv();
    bury(pid, clone, options.max_pause, guard)
}

fn stop_and_clone(
    pid: u32,
    max_pause: Duration,
    site: Site,
    line: &Line,
) -> Result<(Clone, SnapshotReport), StopError> {
    let began = Instant::now();
    let deadline = began + max_pause;
    let mut tracees = Tracees::stop(pid, began + max_pause / 2)?;
    let registers = tracees.registers();
    let (threads, stopped) = (tracees.len(), Instant::now());
    let _ = line.tell.send(Told::Stopped(registers, deadline));
    let left = deadline.saturating_duration_since(stopped);
    let clone = match line.answers.recv_timeout(left) {
        Ok(true) => inject::clone(pid, &mut tracees, site, deadline),
        _ => Err(StopError::NoGoodMoment { pid, attempts: 1 }),
    };
    line.runs_again.store(true, Ordering::Release);
    let cloned = Instant::now();
    tracees.detach();
    let report = SnapshotReport {
        threads,
        attempts: 1,
        stopping: stopped - began,
        cloning: cloned - stopped,
        detaching: cloned.elapsed(),
        notes: Vec::new(),
    };
    Ok((clone?, report))
}

/// Kills the clone and has the target reap it. That stops one idle thread at a time, for less than a millisecond unless
/// the machine is overloaded; what was the limit for all threads is the limit for it, too.
fn bury(pid: u32, clone: Clone, max_pause: Duration, guard: &mut Guard) -> Result<(), StopError> {
    let child = clone.pid.as_raw().unsigned_abs();
    let _ = kill(clone.pid, Signal::SIGKILL);
    // It is ours first; when we have seen it dead, it is the target's. The end of a large one takes its time, too.
    let _ = tracees::wait(clone.pid, Instant::now() + REAP_MAX);
    let until = Instant::now() + REAP_MAX;
    while Status::of(child).is_ok_and(|status| status.parent == pid) {
        let _ = guard.arm(pid, max_pause);
        let reaped = inject::reap(pid, clone.inner, Instant::now() + max_pause);
        let _ = guard.done();
        match reaped {
            Ok(true) | Err(StopError::NoProcess { .. }) => break,
            _ if Instant::now() >= until => return Err(StopError::NotReaped { pid, child }),
            _ => std::thread::sleep(Duration::from_millis(5)),
        }
    }
    guard.reaped()
}

/// A clone whose making took too long is there some time later, and ends at once.
fn bury_late(pid: u32) {
    let until = Instant::now() + REAP_MAX;
    while Instant::now() < until {
        match reap_leftovers(pid) {
            Ok(1..) | Err(StopError::NoProcess { .. }) => return,
            Ok(0) | Err(_) => std::thread::sleep(Duration::from_millis(20)),
        }
    }
}

pub(super) fn reap_leftovers(pid: u32) -> Result<usize, StopError> {
    if Status::of(pid)?.is_dead() {
        return Err(StopError::NoProcess { pid });
    }
    let mut reaped = 0;
    for child in leftovers(pid) {
        let Ok(status) = Status::of(child) else {
            continue;
        };
        if !inject::reap(pid, status.innermost_pid, Instant::now() + LEFTOVER_PAUSE)? {
            return Err(StopError::NotReaped { pid, child });
        }
        reaped += 1;
    }
    Ok(reaped)
}

/// Zombies of `pid` that no program of its own would leave: a clone without an exit signal.
fn leftovers(pid: u32) -> Vec<u32> {
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    processes
        .take(PROCESSES_MAX)
        .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
        .filter(|process| {
            std::fs::read_to_string(format!("/proc/{process}/stat"))
                .ok()
                .and_then(|text| Stat::parse(&text))
                .is_some_and(|stat| {
                    stat.parent == pid && stat.state == 'Z' && stat.exit_signal == 0
                })
        })
        .collect()
}

/// The thread that holds the clone, and the guard with it.
#[derive(Debug)]
pub(super) struct Tracer {
    thread: JoinHandle<(Pid, Guard, Result<(), StopError>)>,
    /// Dropped to end it.
    finish: SyncSender<()>,
}

impl Tracer {
    /// Ends the clone, then the tracer; the guard, unless it was lost to a panic.
    pub(super) fn join(self) -> (Option<Guard>, Result<(), StopError>) {
        drop(self.finish);
        match self.thread.join() {
            Ok((tid, guard, outcome)) => {
                released(tid);
                (Some(guard), outcome)
            }
            Err(_) => (None, Err(panicked())),
        }
    }
}

pub(super) fn panicked() -> StopError {
    StopError::Trace {
        what: "trace: our tracer panicked",
        tid: 0,
        source: std::io::ErrorKind::Other.into(),
    }
}
