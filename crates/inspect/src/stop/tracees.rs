//! The threads of one process in our hands.
//!
//! `ptrace` belongs to the thread that calls it, so everything here runs on one thread of ours, and the end of that
//! thread is the way out that always works: the kernel detaches whatever is left.
//!
//! Stops are looked at with `WNOWAIT`: a signal that was about to be delivered when we stopped the thread then
//! stays with it, and is delivered even if we are killed.

use std::io;
use std::time::{Duration, Instant};

use nix::sys::ptrace::{self, Options};
use nix::sys::signal::Signal;
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid, waitpid};
use nix::unistd::Pid;

use super::arch::{self, Registers};
use super::{Refusal, StopError, permission, proc};

/// `PTRACE_EVENT_STOP`: the stop of an interrupted or newly attached thread, or of a group stop.
const EVENT_STOP: i32 = 128;
/// Between two looks whether a thread has stopped: first without sleeping, since most stop within microseconds.
const SPIN: Duration = Duration::from_micros(300);
const SLEEP: Duration = Duration::from_micros(50);

/// One thread of the target, and where it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ThreadRegisters {
    /// The thread, as the kernel numbers it (`m.procid` in Go).
    pub tid: u32,
    /// Its registers.
    pub registers: Registers,
}

/// What a look at a thread in our hands shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Seen {
    Running,
    /// Stopped because we asked.
    Trap,
    /// Stopped by SIGSTOP or its like, before us or while we held it; stays so when we leave.
    Group,
    /// About to be handed this signal; `None` is one without a name (a real-time signal).
    Signal(Option<Signal>),
    /// At the beginning or end of a system call.
    Syscall,
    /// At an event that we asked to be told (`PTRACE_EVENT_*`).
    Event(i32),
    Gone,
}

/// Looks, without waiting and without taking the report away.
pub(super) fn look(tid: Pid) -> Seen {
    let flags = WaitPidFlag::WSTOPPED
        | WaitPidFlag::WEXITED
        | WaitPidFlag::WNOHANG
        | WaitPidFlag::WNOWAIT
        | WaitPidFlag::__WALL;
    match waitid(Id::Pid(tid), flags) {
        Ok(WaitStatus::StillAlive) | Err(nix::Error::EINTR) => Seen::Running,
        Ok(WaitStatus::PtraceEvent(_, Signal::SIGTRAP, EVENT_STOP)) => Seen::Trap,
        Ok(WaitStatus::PtraceEvent(_, _, EVENT_STOP)) => Seen::Group,
        Ok(WaitStatus::PtraceEvent(_, signal, 0)) => Seen::Signal(Some(signal)),
        Ok(WaitStatus::PtraceEvent(_, _, event)) => Seen::Event(event),
        Ok(WaitStatus::PtraceSyscall(_)) => Seen::Syscall,
        Ok(WaitStatus::Stopped(_, _)) => Seen::Group,
        // The report names a signal that the library has no name for.
        Err(nix::Error::EINVAL) => Seen::Signal(None),
        Ok(WaitStatus::Exited(..) | WaitStatus::Signaled(..)) => {
            // The dead are held as zombies for their tracer: take the report, so that nothing stays behind.
            let _ = waitpid(tid, Some(WaitPidFlag::__WALL | WaitPidFlag::WNOHANG));
            Seen::Gone
        }
        Ok(WaitStatus::Continued(_)) => Seen::Running,
        Err(_) => Seen::Gone,
    }
}

/// Waits until the thread is no longer [`Seen::Running`]; that, when `until` passes first.
pub(super) fn wait(tid: Pid, until: Instant) -> Seen {
    let began = Instant::now();
    loop {
        let seen = look(tid);
        let now = Instant::now();
        if seen != Seen::Running || now >= until {
            return seen;
        }
        breathe(now - began);
    }
}

fn breathe(waited: Duration) {
    if waited < SPIN {
        std::thread::yield_now();
    } else {
        std::thread::sleep(SLEEP);
    }
}

/// Puts the calling thread first in line for a processor, where we are allowed to: letting go in time is all it does.
pub(super) fn hurry() {
    const FIRST: i32 = -20;
    let _ = rustix::process::setpriority_process(None, FIRST);
}

/// A pid for the kernel; one that no process can have becomes one that none has.
pub(super) fn raw(pid: u32) -> Pid {
    Pid::from_raw(i32::try_from(pid).unwrap_or(i32::MAX))
}

pub(super) fn trace_error(what: &'static str, tid: Pid, errno: nix::Error) -> StopError {
    StopError::Trace {
        what,
        tid: tid.as_raw().unsigned_abs(),
        source: io::Error::from(errno),
    }
}

/// All threads of a process, seized; after [`Tracees::stop`] all stopped.
#[derive(Debug)]
pub(super) struct Tracees {
    pid: u32,
    threads: Vec<Tracee>,
}

#[derive(Debug)]
pub(super) struct Tracee {
    pub(super) tid: Pid,
    pub(super) seen: Seen,
}

impl Tracees {
    /// Stops every thread of `pid`: lists them, seizes and interrupts those that are new, waits until all stand, and
    /// lists again, until a list brings nothing new. A stopped thread starts no other, so that ends.
    ///
    /// On an error the caller ends its thread, and with that lets go of what was seized.
    pub(super) fn stop(pid: u32, until: Instant) -> Result<Self, StopError> {
        let began = Instant::now();
        let mut all = Self {
            pid,
            threads: Vec::new(),
        };
        loop {
            let known: std::collections::HashSet<u32> = all
                .threads
                .iter()
                .map(|t| t.tid.as_raw().unsigned_abs())
                .collect();
            let mut fresh = 0;
            for tid in proc::threads(pid)? {
                if !known.contains(&tid) && all.seize(tid)? {
                    fresh += 1;
                }
            }
            if fresh == 0 {
                break;
            }
            all.wait(began, until)?;
        }
        all.threads.retain(|thread| thread.seen != Seen::Gone);
        if all.threads.is_empty() {
            return Err(StopError::NoProcess { pid });
        }
        Ok(all)
    }

    /// Takes one thread; false when it has ended by now.
    fn seize(&mut self, tid: u32) -> Result<bool, StopError> {
        let thread = raw(tid);
        match ptrace::seize(thread, Options::empty()) {
            Ok(()) => {}
            Err(nix::Error::ESRCH) => return Ok(false),
            // A first thread that has ended stays listed until the others have.
            Err(nix::Error::EPERM) if matches!(proc::thread_state(self.pid, tid), 'Z' | 'X') => {
                return Ok(false);
            }
            Err(nix::Error::EPERM) => {
                let source = permission::may_ptrace(self.pid)
                    .err()
                    .unwrap_or(Refusal::Unexplained);
                return Err(StopError::Refused {
                    pid: self.pid,
                    source,
                });
            }
            Err(errno) => return Err(trace_error("seize", thread, errno)),
        }
        let seen = match ptrace::interrupt(thread) {
            Ok(()) => Seen::Running,
            Err(nix::Error::ESRCH) => look(thread),
            Err(errno) => return Err(trace_error("interrupt", thread, errno)),
        };
        self.threads.push(Tracee { tid: thread, seen });
        Ok(true)
    }

    fn wait(&mut self, began: Instant, until: Instant) -> Result<(), StopError> {
        for thread in &mut self.threads {
            if thread.seen == Seen::Running {
                thread.seen = wait(thread.tid, until);
            }
            if thread.seen == Seen::Running {
                let tid = thread.tid.as_raw().unsigned_abs();
                return Err(StopError::WillNotStop {
                    pid: self.pid,
                    tid,
                    state: proc::thread_state(self.pid, tid),
                    waited: began.elapsed(),
                });
            }
        }
        Ok(())
    }

    pub(super) fn len(&self) -> usize {
        self.threads.len()
    }

    #[cfg_attr(
        not(target_arch = "x86_64"),
        expect(dead_code, reason = "for snapshots")
    )]
    pub(super) fn threads(&mut self) -> &mut [Tracee] {
        &mut self.threads
    }

    /// The registers of all threads; a thread that was killed meanwhile is left out.
    pub(super) fn registers(&self) -> Vec<ThreadRegisters> {
        self.threads
            .iter()
            .filter_map(|thread| {
                Some(ThreadRegisters {
                    tid: thread.tid.as_raw().unsigned_abs(),
                    registers: arch::registers(thread.tid).ok()?,
                })
            })
            .collect()
    }

    /// Lets all run on. Returns how many are left for the end of the calling thread to let go: those with a signal
    /// that only the kernel can pass on.
    pub(super) fn detach(self) -> usize {
        self.threads.iter().filter(|thread| !detach(thread)).count()
    }
}

/// Lets one thread run on; false when that is left to the end of the calling thread.
pub(super) fn detach(thread: &Tracee) -> bool {
    match thread.seen {
        Seen::Signal(None) | Seen::Running => false,
        Seen::Signal(Some(signal)) => ptrace::detach(thread.tid, signal).is_ok(),
        Seen::Trap | Seen::Group | Seen::Syscall | Seen::Event(_) => {
            ptrace::detach(thread.tid, None).is_ok()
        }
        Seen::Gone => true,
    }
}
