//! What a goroutine waits for, told from its stack.
//!
//! The binary goroutine profile has no state, but the frames on the leaf side name it: a goroutine
//! that waits is in `runtime.gopark`, called by what made it wait. The words are the runtime's own
//! (`waitReasonStrings` in `runtime/runtime2.go`), as a `debug=2` dump shows them.

use crate::{Frame, Group};

/// Functions below `runtime.gopark`, and the reason each stands for. Where several are on a stack
/// the one nearest the leaf counts, but for the entries that [`GENERAL`] has.
const REASONS: [(&str, &str); 60] = [
    ("runtime.chansend", "chan send"),
    ("runtime.chansend1", "chan send"),
    ("runtime.chanrecv", "chan receive"),
    ("runtime.chanrecv1", "chan receive"),
    ("runtime.chanrecv2", "chan receive"),
    ("runtime.selectgo", "select"),
    ("runtime.block", "select (no cases)"),
    ("runtime.netpollblock", "IO wait"),
    ("internal/poll.runtime_pollWait", "IO wait"),
    ("time.Sleep", "sleep"),
    ("runtime.timeSleep", "sleep"),
    ("sync.runtime_notifyListWait", "sync.Cond.Wait"),
    ("runtime.notifyListWait", "sync.Cond.Wait"),
    ("sync.(*Cond).Wait", "sync.Cond.Wait"),
    // Go 1.20 named locks apart; before, both lock kinds waited in runtime_SemacquireMutex.
    ("sync.runtime_SemacquireRWMutexR", "sync.RWMutex.RLock"),
    ("sync.runtime_SemacquireRWMutex", "sync.RWMutex.Lock"),
    ("internal/sync.(*Mutex).lockSlow", "sync.Mutex.Lock"),
    ("sync.(*Mutex).lockSlow", "sync.Mutex.Lock"),
    ("internal/sync.(*Mutex).Lock", "sync.Mutex.Lock"),
    ("sync.(*Mutex).Lock", "sync.Mutex.Lock"),
    ("sync.(*RWMutex).rLockSlow", "sync.RWMutex.RLock"),
    ("sync.(*RWMutex).RLock", "sync.RWMutex.RLock"),
    ("sync.(*RWMutex).Lock", "sync.RWMutex.Lock"),
    // Until Go 1.24 the runtime called this one "semacquire".
    ("sync.runtime_SemacquireWaitGroup", "sync.WaitGroup.Wait"),
    ("sync.(*WaitGroup).Wait", "sync.WaitGroup.Wait"),
    ("runtime.semacquire", "semacquire"),
    ("runtime.semacquire1", "semacquire"),
    ("sync.runtime_Semacquire", "semacquire"),
    ("sync.runtime_SemacquireMutex", "semacquire"),
    ("internal/sync.runtime_SemacquireMutex", "semacquire"),
    ("internal/poll.runtime_Semacquire", "semacquire"),
    ("runtime.gcBgMarkWorker", "GC worker (idle)"),
    ("runtime.bgsweep", "GC sweep wait"),
    ("runtime.bgscavenge", "GC scavenge wait"),
    ("runtime.forcegchelper", "force gc (idle)"),
    ("runtime.runfinq", "finalizer wait"),
    ("runtime.runFinalizers", "finalizer wait"),
    ("runtime.runCleanups", "cleanup wait"),
    ("runtime.(*cleanupQueue).dequeue", "cleanup wait"),
    (
        "runtime.updateMaxProcsGoroutine",
        "GOMAXPROCS updater (idle)",
    ),
    ("runtime.gcParkAssist", "GC assist wait"),
    ("runtime.gcWaitOnMark", "wait for GC cycle"),
    ("runtime.gcParkStrongFromWeak", "GC weak to strong wait"),
    ("runtime.coroswitch", "coroutine"),
    ("runtime.coroswitch_m", "coroutine"),
    ("runtime.readTrace0", "trace reader (blocked)"),
    ("runtime/trace.runtime_readTrace", "trace reader (blocked)"),
    ("internal/synctest.Run", "synctest.Run"),
    ("internal/synctest.Wait", "synctest.Wait"),
    // Not parked but out of Go: a system call, C, or the wait for a signal.
    ("runtime.notetsleepg", "syscall"),
    ("runtime.cgocall", "syscall"),
    ("os/signal.signal_recv", "syscall"),
    ("syscall.Syscall", "syscall"),
    ("syscall.Syscall6", "syscall"),
    ("syscall.RawSyscall6", "syscall"),
    ("syscall.syscall", "syscall"),
    ("syscall.syscall6", "syscall"),
    ("internal/runtime/syscall.Syscall6", "syscall"),
    ("internal/runtime/syscall/linux.Syscall6", "syscall"),
    ("runtime/internal/syscall.Syscall6", "syscall"),
];

/// Reasons that a caller can say better: the lock or the group behind a semaphore.
const GENERAL: &str = "semacquire";

/// How far from the leaf the reason can be: the deepest chain has nine frames.
const DEPTH: usize = 12;

/// What the goroutine with this stack (leaf first) waits for, in the runtime's own words: `chan
/// send`, `select`, `sync.Mutex.Lock`, `IO wait`, ...; `syscall` outside Go. `None` if it runs, or
/// its stack does not say. Sends and receives on nil channels are not told apart: the stack has no
/// values.
pub fn wait_reason(stack: &[Frame<'_>]) -> Option<&'static str> {
    let mut general = None;
    for frame in stack.iter().take(DEPTH) {
        let known = REASONS
            .iter()
            .find(|(function, _)| *function == frame.function);
        match known {
            Some(&(_, reason)) if reason == GENERAL => general = Some(reason),
            Some(&(_, reason)) => return Some(reason),
            None if is_waiting_side(frame.function) => {}
            // The program's own code: what it called made it wait, not what called it.
            None => break,
        }
    }
    general
}

fn is_waiting_side(function: &str) -> bool {
    [
        "runtime.",
        "internal/runtime/",
        "sync.",
        "internal/sync.",
        "internal/poll.",
        "syscall.",
    ]
    .iter()
    .any(|package| function.starts_with(package))
        && function != "runtime.goexit"
}

impl Group<'_> {
    /// [`wait_reason`] of the group's stack.
    pub fn wait_reason(&self) -> Option<&'static str> {
        wait_reason(&self.stack)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_in_the_runtimes_words() {
        let rows: [(&str, &[&'static str], Option<&str>); 11] = [
            (
                "send",
                &[
                    "runtime.gopark",
                    "runtime.chansend",
                    "runtime.chansend1",
                    "main.f",
                ],
                Some("chan send"),
            ),
            (
                "receive",
                &["runtime.gopark", "runtime.chanrecv", "main.f"],
                Some("chan receive"),
            ),
            (
                "Go 1.26 mutex",
                &[
                    "runtime.gopark",
                    "runtime.goparkunlock",
                    "runtime.semacquire1",
                    "internal/sync.runtime_SemacquireMutex",
                    "internal/sync.(*Mutex).lockSlow",
                    "internal/sync.(*Mutex).Lock",
                    "sync.(*Mutex).Lock",
                    "main.f",
                ],
                Some("sync.Mutex.Lock"),
            ),
            (
                "Go 1.18 read lock",
                &[
                    "runtime.gopark",
                    "runtime.goparkunlock",
                    "runtime.semacquire1",
                    "sync.runtime_SemacquireMutex",
                    "sync.(*RWMutex).RLock",
                    "main.f",
                ],
                Some("sync.RWMutex.RLock"),
            ),
            (
                "the mutex inside a write lock",
                &[
                    "runtime.gopark",
                    "runtime.semacquire1",
                    "sync.runtime_SemacquireMutex",
                    "sync.(*Mutex).lockSlow",
                    "sync.(*Mutex).Lock",
                    "sync.(*RWMutex).Lock",
                    "main.f",
                ],
                Some("sync.Mutex.Lock"),
            ),
            (
                "Go 1.24 wait group",
                &[
                    "runtime.gopark",
                    "runtime.goparkunlock",
                    "runtime.semacquire1",
                    "sync.runtime_SemacquireWaitGroup",
                    "sync.(*WaitGroup).Wait",
                    "main.f",
                ],
                Some("sync.WaitGroup.Wait"),
            ),
            (
                "a file's lock",
                &[
                    "runtime.gopark",
                    "runtime.semacquire1",
                    "internal/poll.runtime_Semacquire",
                    "internal/poll.(*fdMutex).rwlock",
                    "main.f",
                ],
                Some("semacquire"),
            ),
            (
                "network",
                &[
                    "runtime.gopark",
                    "runtime.netpollblock",
                    "internal/poll.runtime_pollWait",
                    "net.(*conn).Read",
                ],
                Some("IO wait"),
            ),
            ("own code between", &["main.f", "runtime.chansend1"], None),
            (
                "running",
                &["runtime/pprof.runtime_goroutineProfileWithLabels", "main.f"],
                None,
            ),
            ("nothing", &[], None),
        ];
        for (name, functions, expected) in rows {
            let stack: Vec<_> = functions
                .iter()
                .map(|function| Frame {
                    function,
                    ..Frame::default()
                })
                .collect();
            assert_eq!(wait_reason(&stack), expected, "{name}");
        }
    }
}
