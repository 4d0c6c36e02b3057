//! The guard: a process of its own that lets the target go when its tracer cannot.
//!
//! A tracer that dies lets go by itself. One that is *stopped* (Ctrl-Z, SIGSTOP, a debugger) holds the target for
//! ever. The guard waits at the other end of a pipe: told that a pause begins, it kills the tracer when the pause's
//! limit has passed by [`GRACE`] without a word. It also cleans up behind a snapshot whose owner was killed.
//!
//! It is in a process group of its own, so that Ctrl-Z and Ctrl-C on the terminal do not reach it.
//!
//! The orders, one a line: `guard PID`, then any of `arm TARGET MICROSECONDS`, `done`, `inject TARGET`,
//! `child PID MILLISECONDS`, `reaped`; the end of the input ends the guard. It answers `ready` once.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};

use super::StopError;
use super::proc::{self, Status};
use super::snapshot::{self, reap_leftovers};
use super::tracees::{hurry, raw};

/// How long past its limit a pause may last before the guard ends it with its tracer.
pub const GRACE: Duration = Duration::from_millis(50);

/// A guard that is late by so much was kept waiting, as the tracer was: by a machine that stood still.
const LATE: Duration = Duration::from_millis(5);
/// What a tracer that was kept waiting is given to let go by itself.
const TURN: Duration = Duration::from_millis(10);

/// A line of the orders is no longer.
const LINE_MAX: u64 = 128;
/// How long a guard may take to start; before anything is stopped.
const START_MAX: Duration = Duration::from_secs(10);

/// A running guard process. Dropping it ends the guard.
#[derive(Debug)]
pub struct Guard {
    process: Child,
    orders: Option<ChildStdin>,
}

impl Guard {
    /// Starts `command`, whose program must do nothing but call [`guard_main`] with its standard input and output,
    /// and waits until it is ready. Standard input and output and the process group of `command` are set here; on its
    /// standard error, which is ours unless the caller says otherwise, it tells when it has killed us.
    ///
    /// One guard serves any number of pauses, one at a time.
    ///
    /// # Errors
    /// [`StopError::Guard`] when it does not start or does not answer.
    pub fn start(mut command: Command) -> Result<Self, StopError> {
        let failed = |what| move |source| StopError::Guard { what, source };
        let mut process = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .process_group(0)
            .spawn()
            .map_err(failed("it does not start"))?;
        let (orders, answers) = (process.stdin.take(), process.stdout.take());
        let mut guard = Self { process, orders };
        guard.order(&format!("guard {}", std::process::id()))?;
        let answers = answers.ok_or_else(|| {
            failed("it has no output")(io::Error::from(io::ErrorKind::BrokenPipe))
        })?;
        ready(answers).map_err(failed("it does not answer"))?;
        Ok(guard)
    }

    /// Begins a pause of `target` of at most `limit`.
    pub(super) fn arm(&mut self, target: u32, limit: Duration) -> Result<(), StopError> {
        self.order(&format!("arm {target} {}", (limit + GRACE).as_micros()))
    }

    /// The pause is over.
    pub(super) fn done(&mut self) -> Result<(), StopError> {
        self.order("done")
    }

    /// A call is about to be put into `target`.
    pub(super) fn inject(&mut self, target: u32) -> Result<(), StopError> {
        self.order(&format!("inject {target}"))
    }

    /// The clone is there, and may live so long.
    pub(super) fn child(&mut self, pid: u32, age_max: Duration) -> Result<(), StopError> {
        self.order(&format!("child {pid} {}", age_max.as_millis()))
    }

    /// The clone is gone without a trace.
    pub(super) fn reaped(&mut self) -> Result<(), StopError> {
        self.order("reaped")
    }

    fn order(&mut self, line: &str) -> Result<(), StopError> {
        let broken = || io::Error::from(io::ErrorKind::BrokenPipe);
        self.orders
            .as_mut()
            .ok_or_else(broken)
            .and_then(|pipe| pipe.write_all(format!("{line}\n").as_bytes()))
            .map_err(|source| StopError::Guard {
                what: "it is gone",
                source,
            })
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        drop(self.orders.take());
        let _ = self.process.wait();
    }
}

/// The answer is waited for on a thread, since a pipe has no time limit of its own.
fn ready(mut answers: std::process::ChildStdout) -> io::Result<()> {
    let (tell, told) = mpsc::channel();
    std::thread::Builder::new()
        .name("guard-ready".into())
        .spawn(move || {
            let mut answer = [0; 6];
            let _ = tell.send(answers.read_exact(&mut answer).map(|()| answer));
        })?;
    match told.recv_timeout(START_MAX) {
        Ok(Ok(answer)) if &answer == b"ready\n" => Ok(()),
        Ok(Ok(_)) => Err(io::ErrorKind::InvalidData.into()),
        Ok(Err(error)) => Err(error),
        Err(_) => Err(io::ErrorKind::TimedOut.into()),
    }
}

/// One order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    Guard { tracer: u32 },
    Arm { target: u32, limit: Duration },
    Done,
    Inject { target: u32 },
    Child { pid: u32, age_max: Duration },
    Reaped,
}

impl Order {
    fn parse(line: &str) -> Option<Self> {
        let mut words = line.split_whitespace();
        let verb = words.next()?;
        let mut number = || words.next()?.parse::<u64>().ok();
        let order = match verb {
            "guard" => Self::Guard {
                tracer: u32::try_from(number()?).ok()?,
            },
            "arm" => Self::Arm {
                target: u32::try_from(number()?).ok()?,
                limit: Duration::from_micros(number()?),
            },
            "done" => Self::Done,
            "inject" => Self::Inject {
                target: u32::try_from(number()?).ok()?,
            },
            "child" => Self::Child {
                pid: u32::try_from(number()?).ok()?,
                age_max: Duration::from_millis(number()?),
            },
            "reaped" => Self::Reaped,
            _ => return None,
        };
        words.next().is_none().then_some(order)
    }
}

/// What the guard has to see to the end of.
#[derive(Debug, Default)]
struct Watch {
    /// The process that is held, and when its tracer is to be killed.
    pause: Option<(u32, Instant)>,
    /// The tracer of this pause has been given its turn.
    had_turn: bool,
    /// The process that was cloned.
    target: Option<u32>,
    /// The clone, and when it is to be killed.
    child: Option<(u32, Instant)>,
}

/// The whole of a guard process: reads orders from `input` until it ends. Returns the exit code.
///
/// The process that started it is the tracer it may kill: an order that names another pid is refused, and one whose
/// parent has changed has no tracer left.
pub fn guard_main(input: impl Read + Send + 'static, mut output: impl Write) -> i32 {
    // The reader, too: a thread begins with the priority of the one that starts it.
    hurry();
    let (tell, orders) = mpsc::channel();
    let reader = std::thread::Builder::new()
        .name("orders".into())
        .spawn(move || {
            let mut input = BufReader::new(input);
            let mut line = String::new();
            while let Ok(1..) = input.by_ref().take(LINE_MAX).read_line(&mut line) {
                if tell.send(Order::parse(&line)).is_err() {
                    break;
                }
                line.clear();
            }
        });
    let tracer = match (reader, orders.recv()) {
        (Ok(_), Ok(Some(Order::Guard { tracer }))) if is_parent(tracer) => tracer,
        _ => return 2,
    };
    if output
        .write_all(b"ready\n")
        .and_then(|()| output.flush())
        .is_err()
    {
        return 2;
    }
    let mut watch = Watch::default();
    loop {
        match next(&orders, &watch) {
            Ok(order) => watch.obey(order),
            Err(RecvTimeoutError::Timeout) => watch.act(tracer),
            Err(RecvTimeoutError::Disconnected) => return watch.finish(),
        }
    }
}

fn next(
    orders: &mpsc::Receiver<Option<Order>>,
    watch: &Watch,
) -> Result<Option<Order>, RecvTimeoutError> {
    let times = watch.pause.iter().chain(&watch.child);
    match times.map(|&(_, until)| until).min() {
        Some(until) => orders.recv_timeout(until.saturating_duration_since(Instant::now())),
        None => orders.recv().map_err(|_| RecvTimeoutError::Disconnected),
    }
}

fn is_parent(pid: u32) -> bool {
    std::os::unix::process::parent_id() == pid
}

/// Does a thread of `tracer` hold a thread of `target`?
fn is_held(target: u32, tracer: u32) -> bool {
    let threads = proc::threads(target).unwrap_or_default();
    threads.into_iter().any(|thread| {
        Status::of(thread)
            .and_then(|thread| Status::of(thread.tracer))
            .is_ok_and(|by| by.process == tracer)
    })
}

impl Watch {
    fn obey(&mut self, order: Option<Order>) {
        let now = Instant::now();
        match order {
            Some(Order::Arm { target, limit }) => {
                self.pause = now.checked_add(limit).map(|until| (target, until));
                self.had_turn = false;
            }
            Some(Order::Done) => self.pause = None,
            Some(Order::Inject { target }) => self.target = Some(target),
            Some(Order::Child { pid, age_max }) => {
                self.child = now.checked_add(age_max).map(|until| (pid, until));
            }
            Some(Order::Reaped) => (self.target, self.child) = (None, None),
            Some(Order::Guard { .. }) | None => {}
        }
    }

    /// A time has passed.
    fn act(&mut self, tracer: u32) {
        let now = Instant::now();
        if let Some((target, until)) = self.pause
            && until <= now
        {
            self.pause = self.turn(now, target, until);
        }
        if let Some((target, until)) = self.pause
            && until <= now
        {
            self.pause = None;
            // On a loaded machine the word that the pause is over may still be on its way. And a pid may be used
            // again; but a child's parent is the one that started it, or no longer its parent.
            if is_held(target, tracer) && is_parent(tracer) {
                let _ = kill(raw(tracer), Signal::SIGKILL);
                // Whoever waits for the tracer sees a SIGKILL and nothing else.
                let _ = writeln!(
                    io::stderr(),
                    "process {target} was held longer than allowed and {tracer} did not let it go: {tracer} was killed"
                );
            }
        }
        if let Some((child, until)) = self.child
            && until <= now
        {
            self.child = None;
            self.kill_child(child);
        }
    }

    /// A pause whose time has passed: the same, or a little longer if we could not know whether the tracer was late
    /// or the machine.
    fn turn(&mut self, now: Instant, target: u32, until: Instant) -> Option<(u32, Instant)> {
        let is_late = now - until > LATE && !self.had_turn;
        self.had_turn |= is_late;
        Some((target, if is_late { now + TURN } else { until }))
    }

    /// Kills the clone, if it still is what it was.
    fn kill_child(&self, child: u32) {
        if let (Some(target), Ok(status)) = (self.target, Status::of(child))
            && status.parent == target
            && child != target
        {
            let _ = kill(raw(child), Signal::SIGKILL);
        }
    }

    /// The tracer has ended. If a clone was not reaped before, the target has a zombie for a child, or soon will.
    fn finish(&self) -> i32 {
        let Some(target) = self.target else {
            return 0;
        };
        if let Some((child, _)) = self.child {
            self.kill_child(child);
        }
        let until = Instant::now() + snapshot::REAP_MAX;
        // A clone whose pid we were never told ends by itself; it is given a moment for it.
        let mut quiet = 0;
        while Instant::now() < until && quiet < 5 {
            match reap_leftovers(target) {
                Ok(0) if !self.child.is_some_and(|(child, _)| is_child(child, target)) => {
                    quiet += 1
                }
                Ok(_) => quiet = 0,
                Err(StopError::NoProcess { .. }) => return 0,
                Err(_) => quiet = 0,
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        i32::from(quiet < 5)
    }
}

fn is_child(child: u32, target: u32) -> bool {
    Status::of(child).is_ok_and(|status| status.parent == target)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_are_read_and_bad_ones_are_none() {
        let rows = [
            ("guard 77\n", Some(Order::Guard { tracer: 77 })),
            (
                "arm 5 250000\n",
                Some(Order::Arm {
                    target: 5,
                    limit: Duration::from_millis(250),
                }),
            ),
            ("done", Some(Order::Done)),
            ("inject 5", Some(Order::Inject { target: 5 })),
            (
                "child 9 1500",
                Some(Order::Child {
                    pid: 9,
                    age_max: Duration::from_millis(1500),
                }),
            ),
            ("reaped", Some(Order::Reaped)),
            ("", None),
            ("arm", None),
            ("arm 5", None),
            ("arm 5 x", None),
            ("guard 4294967296", None),
            ("done now", None),
            ("kill 1", None),
        ];
        for (line, want) in rows {
            assert_eq!(Order::parse(line), want, "{line:?}");
        }
    }

    #[test]
    fn a_guard_that_was_kept_waiting_gives_the_tracer_one_turn() {
        let now = Instant::now();
        let ago = |time| now.checked_sub(time).unwrap();
        let mut watch = Watch::default();
        let in_time = ago(LATE);
        assert_eq!(watch.turn(now, 5, in_time), Some((5, in_time)));
        let late = ago(LATE * 10);
        assert_eq!(watch.turn(now, 5, late), Some((5, now + TURN)));
        assert_eq!(watch.turn(now, 5, late), Some((5, late)), "once");
        watch.obey(Order::parse("arm 5 1"));
        assert_eq!(watch.turn(now, 5, late), Some((5, now + TURN)), "another");
    }

    #[test]
    fn a_guard_refuses_a_tracer_that_is_not_its_parent() {
        let us = std::process::id();
        let mut output = Vec::new();
        let order = format!("guard {us}\narm 0\n");
        assert_eq!(guard_main(io::Cursor::new(order), &mut output), 2);
        assert_eq!(guard_main(io::Cursor::new("arm 0\n"), &mut output), 2);
        assert_eq!(guard_main(io::empty(), &mut output), 2);
        assert!(output.is_empty());
    }

    #[test]
    fn a_command_that_is_no_guard_is_an_error() {
        for command in [Command::new("/does/not/exist"), Command::new("true")] {
            assert!(matches!(
                Guard::start(command),
                Err(StopError::Guard { .. })
            ));
        }
    }
}
