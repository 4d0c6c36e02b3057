//! A snapshot: the target is stopped for as long as the kernel needs to clone it, and runs on; the clone stands
//! still and is read at leisure.

use std::fs;
use std::sync::mpsc::SyncSender;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::unistd::Pid;

use super::pause::released;
use super::proc::{Stat, Status};
use super::room::Note;
use super::tracees::ThreadRegisters;
use super::{Guard, Held, StopError};

/// How long a dead clone is tried to be reaped.
pub(super) const REAP_MAX: Duration = Duration::from_secs(5);
/// So many processes are looked at for leftovers.
const PROCESSES_MAX: usize = 1 << 17;

/// Limits of a snapshot.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SnapshotOptions {
    /// Refused beforehand if cloning would take longer by an estimate, and ended by the guard if it really does.
    pub max_pause: Duration,
    /// How often the target is stopped at most until `may_stop` agrees and a thread is parked where it must be.
    pub attempts: u32,
    /// No attempt begins later than this.
    pub overall: Duration,
    /// The guard kills the clone at this age: as long as it lives, the target pays for each page it writes.
    pub age_max: Duration,
    /// The share of its written memory that the target may write again in that time; so much must be free.
    pub dirty_share: f64,
    /// Go on although the target filters its system calls. A filter may answer a `clone` by killing the target.
    pub force_seccomp: bool,
}

impl Default for SnapshotOptions {
    /// One second of pause, eight attempts within five seconds, a minute of age, half of the memory written again.
    fn default() -> Self {
        Self {
            max_pause: Duration::from_secs(1),
            attempts: 8,
            overall: Duration::from_secs(5),
            age_max: Duration::from_secs(60),
            dirty_share: 0.5,
            force_seccomp: false,
        }
    }
}

/// What a snapshot cost the target.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct SnapshotReport {
    /// How many threads were stopped.
    pub threads: usize,
    /// Which attempt this was, from one.
    pub attempts: u32,
    /// Until all threads stood and their registers were read.
    pub stopping: Duration,
    /// `may_stop` and the clone itself.
    pub cloning: Duration,
    /// Letting go of all threads.
    pub detaching: Duration,
    /// What is unusual about the target.
    pub notes: Vec<Note>,
}

impl SnapshotReport {
    /// How long the target stood still, at most.
    pub fn pause(&self) -> Duration {
        self.stopping + self.cloning + self.detaching
    }
}

/// A clone of a process that stands still, and is gone with this value.
///
/// Its memory is read like that of any process: `LiveMemory::new(snapshot.child())`. It has one thread; where all the
/// target's threads were is in [`Snapshot::threads`].
#[derive(Debug)]
pub struct Snapshot {
    pid: u32,
    child: u32,
    threads: Vec<ThreadRegisters>,
    report: SnapshotReport,
    tracer: Option<Tracer>,
}

impl Snapshot {
    /// Stops `pid`, has it clone itself, and lets it run on. `may_stop` is asked with the target stopped, as in
    /// [`pause`](super::pause).
    ///
    /// The clone is made by a thread of the target, which we have make a system call it would not make: this alters
    /// the target for a moment. It is done only where being killed in the middle is harmless (a thread parked in
    /// `runtime.futex`, at the `syscall` of `runtime.clone`), and refused otherwise. The clone shares no memory with
    /// the target, sends it no signal, never runs its code, and dies with us. When it is dead, the target reaps it
    /// the same way; if we are killed first, the guard has it do so.
    ///
    /// What it costs the target: a stop of about 45 ms per GiB of written memory, then a page fault for each page it
    /// writes while the clone lives, and their memory.
    ///
    /// # Errors
    /// [`StopError`]: all of its refusals come before anything is touched, but [`StopError::Clone`] and
    /// [`StopError::NoParkedThread`], which may also come after a stop. In each case the target runs on.
    pub fn take(
        pid: u32,
        options: &SnapshotOptions,
        guard: Guard,
        may_stop: impl FnMut(&Held<'_>) -> bool,
    ) -> Result<Self, StopError> {
        imp::take(pid, options, guard, may_stop)
    }

    /// The process that was cloned.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// The clone, as a pid of our own namespace.
    pub fn child(&self) -> u32 {
        self.child
    }

    /// Where all threads of the target were when it was cloned.
    pub fn threads(&self) -> &[ThreadRegisters] {
        &self.threads
    }

    /// What it cost.
    pub fn report(&self) -> &SnapshotReport {
        &self.report
    }

    /// Kills the clone, has the target reap it, and hands back the guard. Dropping does the same without a word.
    ///
    /// # Errors
    /// [`StopError::NotReaped`] when no thread of the target was parked for five seconds; the guard then tries on.
    pub fn end(mut self) -> Result<Guard, StopError> {
        match self.tracer.take() {
            Some(tracer) => match tracer.join() {
                (Some(guard), Ok(())) => Ok(guard),
                (_, outcome) => Err(outcome.err().unwrap_or_else(panicked)),
            },
            None => Err(StopError::NoProcess { pid: self.pid }),
        }
    }
}

impl Drop for Snapshot {
    fn drop(&mut self) {
        if let Some(tracer) = self.tracer.take() {
            let _ = tracer.join();
        }
    }
}

/// The thread that holds the clone, and the guard with it.
#[derive(Debug)]
struct Tracer {
    thread: JoinHandle<(Pid, Guard, Result<(), StopError>)>,
    /// Dropped to end it.
    finish: SyncSender<()>,
}

impl Tracer {
    /// Ends the clone, then the tracer; the guard, unless it was lost to a panic.
    fn join(self) -> (Option<Guard>, Result<(), StopError>) {
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

fn panicked() -> StopError {
    StopError::Trace {
        what: "trace: our tracer panicked",
        tid: 0,
        source: std::io::ErrorKind::Other.into(),
    }
}

/// Dead clones of earlier snapshots whose owner *and* guard were killed are zombies of `pid`; has it reap them.
/// Returns how many were reaped. Looks at every process once.
///
/// # Errors
/// [`StopError::NoProcess`], [`StopError::NotReaped`] when no thread of the target is parked just now.
pub fn reap_leftovers(pid: u32) -> Result<usize, StopError> {
    imp::reap_leftovers(pid)
}

/// Zombies of `pid` that no program of its own would leave: a clone without an exit signal.
fn leftovers(pid: u32) -> Vec<u32> {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    processes
        .take(PROCESSES_MAX)
        .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
        .filter(|process| {
            fs::read_to_string(format!("/proc/{process}/stat"))
                .ok()
                .and_then(|text| Stat::parse(&text))
                .is_some_and(|stat| {
                    stat.parent == pid && stat.state == 'Z' && stat.exit_signal == 0
                })
        })
        .collect()
}

#[cfg(not(target_arch = "x86_64"))]
mod imp {
    use super::*;

    pub(super) fn take(
        _: u32,
        _: &SnapshotOptions,
        _: Guard,
        _: impl FnMut(&Held<'_>) -> bool,
    ) -> Result<Snapshot, StopError> {
        Err(StopError::UnsupportedArch {
            arch: std::env::consts::ARCH,
        })
    }

    pub(super) fn reap_leftovers(_: u32) -> Result<usize, StopError> {
        Ok(0)
    }
}

#[cfg(target_arch = "x86_64")]
mod imp {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::sync::mpsc::{self, Receiver};

    use nix::sys::signal::{Signal, kill};
    use nix::unistd::gettid;

    use super::*;
    use crate::stop::inject::{self, Clone, Site};
    use crate::stop::permission;
    use crate::stop::room;
    use crate::stop::tracees::{self, Tracees};

    /// The limit for one reaping, which stops one thread.
    const REAP_PAUSE: Duration = Duration::from_millis(200);

    pub(super) fn take(
        pid: u32,
        options: &SnapshotOptions,
        mut guard: Guard,
        mut may_stop: impl FnMut(&Held<'_>) -> bool,
    ) -> Result<Snapshot, StopError> {
        permission::may_ptrace(pid).map_err(|source| StopError::Refused { pid, source })?;
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
                Err((_, failure)) => return Err(failure),
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
                let failure = outcome.err();
                Err((Some(guard), failure.unwrap_or(StopError::NoProcess { pid })))
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
        guard.inject(pid)?;
        guard.arm(options.max_pause)?;
        let (clone, report) = stop_and_clone(pid, options.max_pause, site, &line)?;
        // The target runs. If the guard is gone, that changes nothing for it now.
        let _ = guard.done();
        let _ = guard.child(clone.pid.as_raw().unsigned_abs(), options.age_max);
        let Line { tell, finished, .. } = line;
        let _ = tell.send(Told::Cloned(clone, report));
        drop(tell);
        let _ = finished.recv();
        bury(pid, clone, guard)
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
            Ok(true) => inject::clone(pid, &mut tracees, site),
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

    /// Kills the clone and has the target reap it.
    fn bury(pid: u32, clone: Clone, guard: &mut Guard) -> Result<(), StopError> {
        let child = clone.pid.as_raw().unsigned_abs();
        let _ = kill(clone.pid, Signal::SIGKILL);
        let until = Instant::now() + REAP_MAX;
        // It is ours first; when we have seen it dead, it is the target's.
        let _ = tracees::wait(clone.pid, until);
        while Status::of(child).is_ok_and(|status| status.parent == pid) {
            let _ = guard.arm(REAP_PAUSE);
            let reaped = inject::reap(pid, clone.inner);
            let _ = guard.done();
            match reaped {
                Ok(true) | Err(StopError::NoProcess { .. }) => break,
                _ if Instant::now() >= until => return Err(StopError::NotReaped { pid, child }),
                _ => std::thread::sleep(Duration::from_millis(5)),
            }
        }
        guard.reaped()
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
            if !inject::reap(pid, status.innermost_pid)? {
                return Err(StopError::NotReaped { pid, child });
            }
            reaped += 1;
        }
        Ok(reaped)
    }
}
