//! System calls made by a thread of the target, for [`Snapshot`](super::Snapshot): `clone` and `wait4`. amd64.
//!
//! # Why it is safe to be killed in the middle
//! A tracer may die between any two steps; then the thread runs on from where it is, with the registers it has.
//! So only a thread is taken for which that is harmless at every step: one that is parked in Go's `runtime.futex`,
//! waiting without a time limit. Whatever the call returned, such a thread goes on as after a wakeup without cause,
//! which the runtime expects there: it drops the result and waits again.
//!
//! A clone is a second worry: it must never run the target's code. The call is therefore not made at the futex, but
//! at the `syscall` instruction of `runtime.clone`, which every Go program has. Behind it the parent's way is the
//! same as behind `runtime.futex` (store the result in the same place of the frame, return), while the child's way
//! is: `call r12`, with r12 pointing at the code right behind, which leaves by `exit(111)`. So a clone that is let go
//! at any moment ends by itself, at once. As soon as it is in our hands it also gets `PTRACE_O_EXITKILL`.
//!
//! Steps are taken with `PTRACE_SYSCALL` and `PTRACE_O_TRACESYSGOOD`, never with single steps: a single step whose
//! tracer has died leaves a SIGTRAP behind, which ends a Go program.
//!
//! Source: `sys_linux_amd64.s` of Go's runtime; the bytes are the same in Go 1.21 to 1.27. Whatever looks different
//! is refused.

use std::fs;
use std::time::{Duration, Instant};

use nix::libc;
use nix::sys::ptrace::{self, Options};
use nix::unistd::{Pid, gettid};

use super::pause::released;
use super::tracees::{self, Seen, Tracee, Tracees, raw, trace_error};
use super::{StopError, proc};
use crate::memory::{LiveMemory, Memory};

/// `syscall; cmp rax, 0; je +5; mov [rsp+0x30], eax; ret; mov rsp, rsi; cmp r13, 0; je` and, after the distance,
/// what stands behind the `syscall` of `runtime.clone`.
const CLONE: [u8; 21] = [
    0x0f, 0x05, 0x48, 0x83, 0xf8, 0x00, 0x74, 0x05, 0x89, 0x44, 0x24, 0x30, 0xc3, 0x48, 0x89, 0xf4,
    0x49, 0x83, 0xfd, 0x00, 0x74,
];
/// `call r12; mov edi, 111; mov eax, 60; syscall; jmp -14`: where that jump leads.
const LEAVE: [u8; 17] = [
    0x41, 0xff, 0xd4, 0xbf, 0x6f, 0x00, 0x00, 0x00, 0xb8, 0x3c, 0x00, 0x00, 0x00, 0x0f, 0x05, 0xeb,
    0xf2,
];
/// `syscall; mov [rsp+0x30], eax; ret`: the end of `runtime.futex`.
const FUTEX: [u8; 7] = [0x0f, 0x05, 0x89, 0x44, 0x24, 0x30, 0xc3];
/// Length of `call r12`.
const CALL_LEN: u64 = 3;
/// Length of `syscall`.
const SYSCALL_LEN: u64 = 2;

/// The kernel's own code for "interrupted, to be made again"; `errno.h` of the kernel, not seen by programs.
const ERESTARTSYS: i64 = 512;
/// "Interrupted before it began": a signal waits.
const ERESTARTNOINTR: i64 = 513;
/// `FUTEX_WAIT`, without the flag for private ones.
const FUTEX_WAIT: u64 = 0;
const FUTEX_CMD_MASK: u64 = 0x7f;
/// The code segment of programs of 64 bits.
const CS_64: u64 = 0x33;

/// No more code than this is searched.
const CODE_MAX: u64 = 1 << 30;
const CHUNK: usize = 1 << 20;
/// How long a thread that is to reap may take to stop: it runs until then, so nothing waits for it but us.
const STOP_MAX: Duration = Duration::from_millis(100);
/// So many threads are asked to reap, one after the other.
const REAPERS_MAX: usize = 8;

/// Where in the target a clone can be made. Found before anything is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Site {
    syscall: u64,
    leave: u64,
}

/// A clone in our hands: stopped, and to be killed with us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Clone {
    pub(super) pid: Pid,
    /// Its pid where the target lives.
    pub(super) inner: u32,
}

/// Looks for `runtime.clone` in the code of `pid`. Reads all of it: about 1 ms for 2 MB.
pub(super) fn find_site(pid: u32) -> Result<Site, StopError> {
    let maps = proc::read(pid, &format!("/proc/{pid}/maps"))?;
    let memory: &dyn Memory = &LiveMemory::new(pid);
    let mut left = CODE_MAX;
    for (start, end) in maps.lines().filter_map(code_range) {
        let len = (end - start).min(left);
        left -= len;
        if let Some(site) = search(memory, start, len) {
            return Ok(site);
        }
    }
    Err(StopError::NoSite { pid })
}

/// First and last address of a mapping that holds code of a file.
fn code_range(line: &str) -> Option<(u64, u64)> {
    let mut words = line.split_whitespace();
    let (start, end) = words.next()?.split_once('-')?;
    let executable = words.next()?.as_bytes().get(2) == Some(&b'x');
    let of_file = words.nth(3).is_some_and(|path| path.starts_with('/'));
    let start = u64::from_str_radix(start, 16).ok()?;
    let end = u64::from_str_radix(end, 16).ok()?;
    (executable && of_file && end > start).then_some((start, end))
}

fn search(memory: &dyn Memory, start: u64, len: u64) -> Option<Site> {
    let mut bytes = vec![0; CHUNK];
    let mut at = start;
    let end = start.checked_add(len)?;
    while at < end {
        let want = CHUNK.min((end - at) as usize);
        let chunk = &mut bytes[..want];
        memory.read(at, chunk).ok()?;
        let mut from = 0;
        while let Some(found) = find(&chunk[from..], &CLONE) {
            let site = at + (from + found) as u64;
            if let Some(site) = confirm(memory, site) {
                return Some(site);
            }
            from += found + 1;
        }
        // The pattern may lie across the border.
        at += (want.saturating_sub(CLONE.len()).max(1)) as u64;
    }
    None
}

fn find(bytes: &[u8], pattern: &[u8]) -> Option<usize> {
    bytes
        .windows(pattern.len())
        .position(|window| window == pattern)
}

/// Follows the child's way from the `syscall` at `at`.
fn confirm(memory: &dyn Memory, at: u64) -> Option<Site> {
    let jump = at + CLONE.len() as u64;
    let distance = memory.u8(jump).ok()?;
    let call = jump + 1 + u64::from(distance);
    let mut bytes = [0; LEAVE.len()];
    memory.read(call, &mut bytes).ok()?;
    (distance < 0x80 && bytes == LEAVE).then_some(Site {
        syscall: at,
        leave: call + CALL_LEN,
    })
}

/// Threads of `pid` that look parked in `runtime.futex`, seen without stopping them.
pub(super) fn parked(pid: u32) -> Result<Vec<u32>, StopError> {
    let memory = LiveMemory::new(pid);
    let threads = proc::threads(pid)?;
    Ok(threads
        .into_iter()
        .filter(|tid| {
            fs::read_to_string(format!("/proc/{pid}/task/{tid}/syscall"))
                .ok()
                .and_then(|text| futex_pc(&text))
                .is_some_and(|pc| is_futex(&memory, pc))
        })
        .collect())
}

/// The pc of a thread that waits on a futex without a time limit, out of `/proc/PID/task/TID/syscall`:
/// number, six arguments, stack pointer, pc.
fn futex_pc(text: &str) -> Option<u64> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let hex = |at: usize| u64::from_str_radix(words.get(at)?.strip_prefix("0x")?, 16).ok();
    let nr: i64 = words.first()?.parse().ok()?;
    (nr == libc::SYS_futex && hex(2)? & FUTEX_CMD_MASK == FUTEX_WAIT && hex(4)? == 0)
        .then(|| hex(8))
        .flatten()
}

fn is_futex(memory: &dyn Memory, pc: u64) -> bool {
    let mut bytes = [0; FUTEX.len()];
    pc.checked_sub(SYSCALL_LEN)
        .is_some_and(|at| memory.read(at, &mut bytes).is_ok())
        && bytes == FUTEX
}

/// The registers of a stopped thread, if it is parked as described above.
fn parked_registers(memory: &dyn Memory, thread: &Tracee) -> Option<libc::user_regs_struct> {
    if thread.seen != Seen::Trap {
        return None;
    }
    let regs = ptrace::getregs(thread.tid).ok()?;
    let waits = regs.orig_rax as i64 == libc::SYS_futex
        && regs.rax as i64 == -ERESTARTSYS
        && regs.rsi & FUTEX_CMD_MASK == FUTEX_WAIT
        && regs.r10 == 0
        && regs.cs == CS_64;
    (waits && is_futex(memory, regs.rip)).then_some(regs)
}

/// Has one parked thread of the stopped process clone it. All threads stay stopped, the clone too.
///
/// [`StopError::Overdue`] when that has not happened at `until`: the caller ends its thread, which lets go of all. The
/// clone then ends by itself, as soon as it is there.
pub(super) fn clone(
    pid: u32,
    tracees: &mut Tracees,
    site: Site,
    until: Instant,
) -> Result<Clone, StopError> {
    let memory = LiveMemory::new(pid);
    for thread in tracees.threads() {
        let Some(saved) = parked_registers(&memory, thread) else {
            continue;
        };
        let options = Options::PTRACE_O_TRACESYSGOOD | Options::PTRACE_O_TRACECLONE;
        ptrace::setoptions(thread.tid, options)
            .map_err(|errno| trace_error("set the options of", thread.tid, errno))?;
        match Call::clone(site, saved).make(thread, saved, until)? {
            Done::Interrupted => continue,
            Done::Late => return Err(StopError::Overdue { pid }),
            Done::Returned(ret, Some(child)) if ret > 0 => return hold(pid, child, ret, until),
            Done::Returned(ret, _) => {
                let errno = i32::try_from(-ret).unwrap_or(libc::EINVAL);
                return Err(StopError::Clone {
                    pid,
                    source: std::io::Error::from_raw_os_error(errno),
                });
            }
        }
    }
    Err(StopError::NoParkedThread { pid })
}

/// The new clone's first stop; then its life hangs on ours.
fn hold(pid: u32, child: Pid, inner: i64, until: Instant) -> Result<Clone, StopError> {
    let seen = tracees::wait(child, until);
    if seen == Seen::Running {
        return Err(StopError::Overdue { pid });
    }
    if seen != Seen::Trap {
        return Err(StopError::Clone {
            pid,
            source: std::io::Error::other("it did not stop"),
        });
    }
    ptrace::setoptions(child, Options::PTRACE_O_EXITKILL)
        .map_err(|errno| trace_error("set the options of the clone", child, errno))?;
    Ok(Clone {
        pid: child,
        inner: u32::try_from(inner).unwrap_or(0),
    })
}

/// Has a parked thread of the running process `pid` reap its dead child `inner` (its pid where the target lives).
/// Stops one thread at a time, for well under a millisecond unless the machine is overloaded, and none after `until`.
/// `Ok(true)` when the child is gone.
pub(super) fn reap(pid: u32, inner: u32, until: Instant) -> Result<bool, StopError> {
    for tid in parked(pid)?.into_iter().take(REAPERS_MAX) {
        if Instant::now() >= until {
            break;
        }
        match let_go_after(|| reap_by(pid, raw(tid), inner, until))? {
            Some(Done::Returned(ret, _)) if ret == i64::from(inner) => return Ok(true),
            Some(Done::Returned(ret, _)) if ret == -i64::from(libc::ECHILD) => return Ok(true),
            Some(Done::Returned(0, _)) => return Ok(false),
            _ => {}
        }
    }
    Ok(false)
}

/// Does `work` on a thread of its own, whose end lets go of whatever is still held then: a thread that was asked to
/// stop and has not done so yet would stop later, and for as long as whoever asked lives.
fn let_go_after<T: Send>(
    work: impl FnOnce() -> Result<T, StopError> + Send,
) -> Result<T, StopError> {
    let outcome = std::thread::scope(|scope| {
        let tracer = std::thread::Builder::new().name("reaper".into());
        let tracer = tracer.spawn_scoped(scope, || (gettid(), work()))?;
        tracer
            .join()
            .map_err(|_| std::io::Error::other("our tracer panicked"))
    });
    match outcome {
        Ok((tid, outcome)) => {
            released(tid);
            outcome
        }
        Err(source) => Err(StopError::Trace {
            what: "have a thread of ours reap",
            tid: 0,
            source,
        }),
    }
}

/// What one thread's `wait4` returned; `None` when the thread was not to be had.
fn reap_by(pid: u32, tid: Pid, inner: u32, until: Instant) -> Result<Option<Done>, StopError> {
    if ptrace::seize(tid, Options::PTRACE_O_TRACESYSGOOD).is_err() {
        return Ok(None);
    }
    let mut thread = Tracee {
        tid,
        seen: Seen::Running,
    };
    if ptrace::interrupt(tid).is_ok() {
        thread.seen = tracees::wait(tid, until.min(Instant::now() + STOP_MAX));
    }
    let done = parked_registers(&LiveMemory::new(pid), &thread)
        .map(|saved| Call::wait4(inner, saved).make(&mut thread, saved, until));
    tracees::detach(&thread);
    done.transpose()
}

/// A system call for a parked thread.
struct Call {
    /// The `syscall` instruction to use.
    at: u64,
    nr: i64,
    args: [u64; 4],
    r12: u64,
}

/// A parked thread that is about to make its futex call, rather than in it.
fn wait_again(saved: libc::user_regs_struct) -> libc::user_regs_struct {
    libc::user_regs_struct {
        rip: saved.rip - SYSCALL_LEN,
        rax: libc::SYS_futex as u64,
        // "Not in a system call": the kernel must not restart anything on top.
        orig_rax: u64::MAX,
        ..saved
    }
}

enum Done {
    /// What it returned, and the child it made.
    Returned(i64, Option<Pid>),
    /// A signal came first; nothing was done.
    Interrupted,
    /// It had not returned in time. The thread is still in it: only the end of ours lets go of it, and whatever the call
    /// does is as harmless then as when we are killed.
    Late,
}

impl Call {
    fn clone(site: Site, saved: libc::user_regs_struct) -> Self {
        Self {
            at: site.syscall,
            nr: libc::SYS_clone,
            // No flags: nothing shared, and no signal to the parent when it ends. The child's stack begins where
            // the thread's does, in its own copy.
            args: [0, saved.rsp, 0, 0],
            r12: site.leave,
        }
    }

    fn wait4(child: u32, saved: libc::user_regs_struct) -> Self {
        let flags = libc::__WALL | libc::WNOHANG;
        Self {
            at: saved.rip - SYSCALL_LEN,
            nr: libc::SYS_wait4,
            args: [child.into(), 0, flags as u64, 0],
            r12: saved.r12,
        }
    }

    /// Makes the call and puts the thread back where it was: about to wait on its futex, as the kernel itself would
    /// after an interruption.
    fn make(
        self,
        thread: &mut Tracee,
        saved: libc::user_regs_struct,
        until: Instant,
    ) -> Result<Done, StopError> {
        let tid = thread.tid;
        let again = wait_again(saved);
        ptrace::setregs(tid, self.registers(again))
            .map_err(|errno| trace_error("set the registers of", tid, errno))?;
        let done = self.run(thread, until);
        if let Ok(Done::Late) = done {
            return done;
        }
        ptrace::setregs(tid, again)
            .map_err(|errno| trace_error("restore the registers of", tid, errno))?;
        done
    }

    fn registers(&self, parked: libc::user_regs_struct) -> libc::user_regs_struct {
        let [rdi, rsi, rdx, r10] = self.args;
        libc::user_regs_struct {
            rip: self.at,
            rax: self.nr as u64,
            rdi,
            rsi,
            rdx,
            r10,
            r8: 0,
            r9: 0,
            r12: self.r12,
            // "No m": the child's way goes straight to r12.
            r13: 0,
            ..parked
        }
    }

    fn run(&self, thread: &mut Tracee, until: Instant) -> Result<Done, StopError> {
        let (tid, mut child, mut entered) = (thread.tid, None, false);
        loop {
            ptrace::syscall(tid, None).map_err(|errno| trace_error("continue", tid, errno))?;
            thread.seen = tracees::wait(tid, until);
            match thread.seen {
                Seen::Syscall if !entered => entered = true,
                Seen::Syscall => break,
                Seen::Event(_) => {
                    child = ptrace::getevent(tid)
                        .ok()
                        .map(|pid| Pid::from_raw(pid as i32))
                }
                Seen::Signal(_) | Seen::Group if !entered => return Ok(Done::Interrupted),
                Seen::Trap | Seen::Group | Seen::Signal(_) => {}
                Seen::Running => return Ok(Done::Late),
                Seen::Gone => return Err(trace_error("make a call in", tid, nix::Error::ESRCH)),
            }
        }
        let ret = ptrace::getregs(tid)
            .map_err(|errno| trace_error("read the registers of", tid, errno))?;
        match ret.rax as i64 {
            ret if ret == -ERESTARTNOINTR => Ok(Done::Interrupted),
            ret => Ok(Done::Returned(ret, child)),
        }
    }
}

#[cfg(test)]
#[path = "../../tests/stop/target.rs"]
#[allow(dead_code, reason = "shared with the integration tests")]
mod target;

#[cfg(test)]
mod tests {
    use super::target::{Target, children, eventually};
    use super::*;
    use crate::memory::Pieces;
    use crate::stop::reap_leftovers;

    /// Longer than any step takes, unless something is broken.
    const CALL_MAX: Duration = Duration::from_secs(20);

    /// Begins a call as `clone` and `reap` do, and after so many of its steps ends the tracer as SIGKILL would: the
    /// kernel does the same for the last thread of a process and for this one.
    fn abandon_after(steps: u32, pid: u32, call: fn(Site, libc::user_regs_struct) -> Call) -> bool {
        let site = find_site(pid).unwrap();
        let tracer = std::thread::spawn(move || {
            let memory = LiveMemory::new(pid);
            let mut tracees = Tracees::stop(pid, Instant::now() + CALL_MAX).unwrap();
            let mut parked = tracees.threads().iter().filter_map(|thread| {
                parked_registers(&memory, thread).map(|saved| (thread.tid, saved))
            });
            let Some((tid, saved)) = parked.next() else {
                return false;
            };
            let options = Options::PTRACE_O_TRACESYSGOOD | Options::PTRACE_O_TRACECLONE;
            ptrace::setoptions(tid, options).unwrap();
            let regs = call(site, saved).registers(wait_again(saved));
            ptrace::setregs(tid, regs).unwrap();
            for _ in 0..steps {
                ptrace::syscall(tid, None).unwrap();
                assert_ne!(tracees::wait(tid, Instant::now() + CALL_MAX), Seen::Running);
            }
            true
        });
        tracer.join().unwrap()
    }

    #[test]
    fn a_tracer_that_dies_after_any_step_leaves_the_target_well() {
        let mut target = Target::start(4, 4, 0);
        let pid = target.pid();
        // A clone's steps: registers set; at its beginning; the child made; at its end. A wait's: without the child.
        let clones = (0..=3).map(|steps| (steps, Call::clone as fn(_, _) -> _, 1));
        let wait: fn(_, _) -> _ = |_, saved| Call::wait4(1, saved);
        let waits = (0..=2).map(|steps| (steps, wait, 0));
        for (steps, call, made) in clones.chain(waits) {
            for round in 0..5 {
                let name = format!("after step {steps}, round {round}, {made} child");
                eventually("a thread is parked", || abandon_after(steps, pid, call));
                eventually(&name, || children(pid).len() == made);
                // The child has ended by itself; what is left of it is a zombie.
                eventually(&name, || {
                    reap_leftovers(pid).is_ok_and(|reaped| reaped == made)
                });
                target.must_be_well();
            }
        }
    }

    /// Threads of `pid` that somebody traces.
    fn traced(pid: u32) -> usize {
        let threads = proc::threads(pid).unwrap();
        let traced = threads
            .iter()
            .filter(|&&tid| proc::Status::of(tid).is_ok_and(|thread| thread.tracer != 0));
        traced.count()
    }

    #[test]
    fn a_thread_that_does_not_stop_in_time_is_not_held_any_longer() {
        let mut target = Target::start(0, 4, 0);
        let pid = target.pid();
        let (mut late, past) = (0, Instant::now());
        eventually("a thread had no time to stop", || {
            for tid in parked(pid).unwrap() {
                let done = let_go_after(|| reap_by(pid, raw(tid), 1, past)).unwrap();
                late += u32::from(!matches!(done, Some(Done::Returned(..))));
                // We live on, and so would the trace.
                assert_eq!(traced(pid), 0, "thread {tid}");
            }
            late > 20
        });
        target.must_be_well();
    }

    #[test]
    fn a_clone_that_takes_too_long_is_given_up_and_buried() {
        let mut target = Target::start(64, 4, 0);
        let pid = target.pid();
        let site = find_site(pid).unwrap();
        let mut overdue = 0;
        eventually("clones were given up", || {
            let given_up = let_go_after(|| {
                let mut tracees = Tracees::stop(pid, Instant::now() + CALL_MAX)?;
                clone(pid, &mut tracees, site, Instant::now()).map(|_| ())
            });
            match given_up {
                Err(StopError::Overdue { .. }) => overdue += 1,
                // On a busy machine the target may be done before we look; that clone dies with its tracer.
                Ok(()) | Err(StopError::NoParkedThread { .. }) => {}
                other => panic!("{other:?}"),
            }
            assert_eq!(traced(pid), 0);
            overdue == 5
        });
        let mut reaped = 0;
        eventually("what they left is reaped", || {
            reaped += reap_leftovers(pid).unwrap_or(0);
            children(pid).is_empty()
        });
        println!("{reaped} clones were there in the end");
        target.must_be_well();
    }

    fn code(distance: u8, leave: &[u8]) -> Vec<u8> {
        let mut code = vec![0x90; 5000];
        code.extend(CLONE);
        code.push(distance);
        code.extend([0x90; 0x26]);
        code.extend(leave);
        code.extend([0xcc; 64]);
        code
    }

    #[test]
    fn only_the_very_code_of_the_runtime_is_a_site() {
        let wrong = [0x90; 17];
        let rows = [
            ("as it is", code(0x26, &LEAVE), true),
            ("another way out", code(0x26, &wrong), false),
            ("the jump leads elsewhere", code(0x25, &LEAVE), false),
            ("backwards", code(0xf0, &LEAVE), false),
            ("nothing", vec![0; 6000], false),
        ];
        for (name, code, want) in rows {
            let len = code.len() as u64;
            let mut memory = Pieces::new();
            memory.put(0x40_0000, code);
            let site = search(&memory, 0x40_0000, len);
            let expected = Site {
                syscall: 0x40_0000 + 5000,
                leave: 0x40_0000 + 5000 + 22 + 0x26 + 3,
            };
            assert_eq!(site, want.then_some(expected), "{name}");
        }
    }

    #[test]
    fn a_site_across_the_border_of_two_reads_is_found() {
        let mut code = code(0x26, &LEAVE);
        let mut long = vec![0x90; CHUNK - 5010];
        long.append(&mut code);
        let len = long.len() as u64;
        let mut memory = Pieces::new();
        memory.put(0x1000, long);
        let site = search(&memory, 0x1000, len).unwrap();
        assert_eq!(site.syscall, 0x1000 + CHUNK as u64 - 10);
    }

    #[test]
    fn only_an_endless_wait_is_a_parked_thread() {
        let line = |nr: &str, op: &str, timeout: &str| {
            format!("{nr} 0xc0000a8148 {op} 0x0 {timeout} 0x0 0x0 0x7ffc8 0x47e523\n")
        };
        let rows = [
            ("parked", line("202", "0x80", "0x0"), Some(0x47e523)),
            (
                "parked, shared futex",
                line("202", "0x0", "0x0"),
                Some(0x47e523),
            ),
            ("with a time limit", line("202", "0x80", "0x7ffc0"), None),
            ("waking others", line("202", "0x81", "0x0"), None),
            ("another call", line("281", "0x80", "0x0"), None),
            ("running", "running\n".to_owned(), None),
            (
                "blocked outside a call",
                "-1 0x7ffc8 0x47e523\n".to_owned(),
                None,
            ),
            ("cut", "202 0xc0000a8148 0x80 0x0 0x0".to_owned(), None),
            ("empty", String::new(), None),
        ];
        for (name, text, want) in rows {
            assert_eq!(futex_pc(&text), want, "{name}");
        }
    }

    #[test]
    fn code_is_looked_for_in_files_only() {
        let rows = [
            (
                "00400000-0047f000 r-xp 00001000 fe:00 17 /srv/my api",
                Some((0x40_0000, 0x47_f000)),
            ),
            ("0047f000-00480000 r--p 00001000 fe:00 17 /srv/api", None),
            ("7ff000000000-7ff000001000 r-xp 00000000 00:00 0", None),
            (
                "7fff00000000-7fff00001000 r-xp 00000000 00:00 0 [vdso]",
                None,
            ),
            ("x-y r-xp 0 0 0 /a", None),
            ("2000-1000 r-xp 0 0 0 /a", None),
            ("", None),
        ];
        for (line, want) in rows {
            assert_eq!(code_range(line), want, "{line}");
        }
    }
}
