//! A pause: every thread of the target stands still while the caller's closure runs, and no longer than allowed.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender};
use std::time::{Duration, Instant};

use nix::unistd::gettid;

use super::tracees::{ThreadRegisters, Tracees, hurry};
use super::{Guard, StopError};

/// Limits of a pause.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PauseOptions {
    /// The target runs again after this time at the latest, from the first thread stopped.
    pub max_pause: Duration,
    /// How often the target is stopped at most until `may_stop` agrees.
    pub attempts: u32,
    /// No attempt begins later than this.
    pub overall: Duration,
}

impl Default for PauseOptions {
    /// 200 ms, 30 attempts within five seconds: a collection of a big heap that is busy lasts longer than a few.
    fn default() -> Self {
        Self {
            max_pause: Duration::from_millis(200),
            attempts: 30,
            overall: Duration::from_secs(5),
        }
    }
}

/// A target that stands still, as long as [`Held::runs_again`] is false.
#[derive(Debug)]
pub struct Held<'a> {
    threads: &'a [ThreadRegisters],
    deadline: Instant,
    runs_again: &'a AtomicBool,
}

impl<'a> Held<'a> {
    pub(super) fn new(
        threads: &'a [ThreadRegisters],
        deadline: Instant,
        runs_again: &'a AtomicBool,
    ) -> Self {
        Self {
            threads,
            deadline,
            runs_again,
        }
    }

    /// All threads, with the registers they stopped with.
    pub fn threads(&self) -> &[ThreadRegisters] {
        self.threads
    }

    /// When the target is let go at the latest.
    pub fn deadline(&self) -> Instant {
        self.deadline
    }

    /// True from just before the target is let go: whatever was read before a `false` is exact, what is read after
    /// a `true` is not. A closure asks now and then, and returns what it has.
    pub fn runs_again(&self) -> bool {
        self.runs_again.load(Ordering::Acquire)
    }
}

/// What a pause was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct PauseReport {
    /// How many threads were stopped.
    pub threads: usize,
    /// Which attempt this was, from one.
    pub attempts: u32,
    /// From the first request until all threads stood and their registers were read.
    pub stopping: Duration,
    /// From then until letting go began.
    pub held: Duration,
    /// Letting go of all threads.
    pub detaching: Duration,
    /// True when the limit ended the pause before the closure was done: its result is partial.
    pub cut: bool,
}

/// What came out of a pause.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Paused<T> {
    /// What the closure returned.
    pub value: T,
    /// What it cost the target.
    pub report: PauseReport,
}

/// Stops all threads of `pid`, calls `work` on this thread, and lets the target run on when it returns, or at
/// `max_pause`. `may_stop` is asked first, with the target stopped: on `false` it is let go at once and stopped again
/// a little later (a garbage collection should not be caught in the middle).
///
/// Open and allocate everything before: what `work` does, the target waits for.
///
/// # Errors
/// [`StopError`]; the target then runs. [`StopError::NoGoodMoment`] when `may_stop` never agreed.
///
/// # Panics
/// When `may_stop` or `work` does, after the target was let go.
pub fn pause<T>(
    pid: u32,
    options: &PauseOptions,
    guard: &mut Guard,
    mut may_stop: impl FnMut(&Held<'_>) -> bool,
    work: impl FnOnce(&Held<'_>) -> T,
) -> Result<Paused<T>, StopError> {
    let give_up = Instant::now() + options.overall;
    let mut work = Some(work);
    let mut both = |held: &Held<'_>| {
        if !may_stop(held) {
            return None;
        }
        work.take().map(|work| work(held))
    };
    for attempt in 1.. {
        let failure = match once(pid, options.max_pause, guard, &mut both) {
            Ok((Some(value), mut report)) => {
                report.attempts = attempt;
                return Ok(Paused { value, report });
            }
            Ok((None, _)) => None,
            Err(error) if error.passes() => Some(error),
            Err(error) => return Err(error),
        };
        let backoff = Duration::from_millis(1 << attempt.min(6));
        if attempt >= options.attempts || Instant::now() + backoff >= give_up {
            return Err(failure.unwrap_or(StopError::NoGoodMoment {
                pid,
                attempts: attempt,
            }));
        }
        std::thread::sleep(backoff);
    }
    unreachable!("the attempts end")
}

/// One stop. The tracer is a thread of its own that ends with it: so every way out lets go of everything.
fn once<T>(
    pid: u32,
    max_pause: Duration,
    guard: &mut Guard,
    work: &mut impl FnMut(&Held<'_>) -> Option<T>,
) -> Result<(Option<T>, PauseReport), StopError> {
    let runs_again = AtomicBool::new(false);
    let flag = &runs_again;
    let (tell, told) = mpsc::sync_channel(1);
    let (finish, finished) = mpsc::sync_channel::<()>(1);
    let lent = &mut *guard;
    let outcome = std::thread::scope(|scope| {
        let tracer = std::thread::Builder::new()
            .name("tracer".into())
            .spawn_scoped(scope, move || {
                (
                    gettid(),
                    trace(pid, max_pause, lent, &tell, &finished, flag),
                )
            });
        let tracer = tracer.map_err(|source| StopError::Trace {
            what: "start the tracer",
            tid: pid,
            source,
        })?;
        let value = match told.recv() {
            Ok((threads, deadline)) => work(&Held::new(&threads, deadline, flag)),
            Err(_) => None,
        };
        // Also when `work` unwinds: dropping it says the same.
        drop(finish);
        match tracer.join() {
            Ok((tid, report)) => {
                released(tid);
                report.map(|report| (value, report))
            }
            Err(_) => Err(StopError::Trace {
                what: "trace: our tracer panicked",
                tid: pid,
                source: std::io::ErrorKind::Other.into(),
            }),
        }
    });
    if outcome.is_err() {
        // The tracer's thread has ended, and with it the trace. The guard may be gone, which changes nothing now.
        let _ = guard.done();
    }
    outcome
}

type Stopped = (Vec<ThreadRegisters>, Instant);

/// The tracer's whole life.
fn trace(
    pid: u32,
    max_pause: Duration,
    guard: &mut Guard,
    tell: &SyncSender<Stopped>,
    finished: &Receiver<()>,
    runs_again: &AtomicBool,
) -> Result<PauseReport, StopError> {
    hurry();
    guard.arm(pid, max_pause)?;
    let outcome = hold(pid, max_pause, tell, finished, runs_again);
    if outcome.is_ok() {
        // The guard may be gone; the pause is over all the same. After an error the target is let go by the end of
        // this thread, and the guard is told after that.
        let _ = guard.done();
    }
    outcome
}

fn hold(
    pid: u32,
    max_pause: Duration,
    tell: &SyncSender<Stopped>,
    finished: &Receiver<()>,
    runs_again: &AtomicBool,
) -> Result<PauseReport, StopError> {
    let began = Instant::now();
    let deadline = began + max_pause;
    let tracees = Tracees::stop(pid, began + max_pause / 2)?;
    let registers = tracees.registers();
    let stopped = Instant::now();
    let leave = deadline - leave_reserve(tracees.len(), max_pause);
    // Nobody listens only if the caller has ended; then the answer below says so.
    let _ = tell.send((registers, deadline));
    let left_for_work = leave.saturating_duration_since(Instant::now());
    let cut = finished.recv_timeout(left_for_work) == Err(RecvTimeoutError::Timeout);
    // Before the first thread runs, so that whoever sees `false` after a read has read a target that stood still.
    runs_again.store(true, Ordering::Release);
    let leaving = Instant::now();
    let threads = tracees.len();
    tracees.detach();
    Ok(PauseReport {
        threads,
        attempts: 1,
        stopping: stopped - began,
        held: leaving - stopped,
        detaching: leaving.elapsed(),
        cut,
    })
}

/// Leaving begins so much before the limit: on a loaded machine the tracer wakes up late, and detaching takes its time.
fn leave_reserve(threads: usize, max_pause: Duration) -> Duration {
    let each = Duration::from_micros(10) * u32::try_from(threads).unwrap_or(u32::MAX);
    (max_pause / 20 + each).min(max_pause / 4)
}

/// Waits until the tracer thread is gone for the kernel too: only then has it let go of what was left to its end,
/// and can another thread trace the target.
pub(super) fn released(tracer: nix::unistd::Pid) {
    let path = format!("/proc/self/task/{tracer}");
    let until = Instant::now() + Duration::from_secs(1);
    while std::path::Path::new(&path).exists() && Instant::now() < until {
        std::thread::sleep(Duration::from_micros(50));
    }
}
