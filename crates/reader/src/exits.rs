//! Noticing the end of processes when it comes: a descriptor of each, which becomes readable then, and one
//! thread that waits for all of them. In the main process, since it takes no privilege; what is read of a
//! process takes some.

use std::collections::HashMap;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use model::ProcessKey;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::answers::ReadFailure;
use crate::proc_dir::ProcDir;

/// Processes whose end is waited for: descriptors are for sockets first.
const WAITED_FOR_MAX: usize = 512;

/// Waits for the end of processes. Clones share one thread, which lives as long as the process.
#[derive(Debug, Clone)]
pub struct Exits {
    shared: Arc<Shared>,
}

struct Shared {
    epoll: OwnedFd,
    waiting: Mutex<Waiting>,
}

#[derive(Default)]
struct Waiting {
    last: u64,
    of: HashMap<u64, One>,
}

struct One {
    /// Kept open: closing it ends the waiting.
    _descriptor: OwnedFd,
    tell: Box<dyn FnOnce() + Send>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Exits").field("epoll", &self.epoll).finish()
    }
}

/// Dropping it ends the waiting for one process.
#[derive(Debug)]
pub struct WaitedFor {
    shared: Arc<Shared>,
    id: u64,
}

impl Exits {
    /// Starts the thread.
    ///
    /// # Errors
    /// Those of the system, when there is no descriptor or no thread left.
    pub fn start() -> std::io::Result<Self> {
        let shared = Arc::new(Shared {
            epoll: epoll::create(CreateFlags::CLOEXEC)?,
            waiting: Mutex::default(),
        });
        let thread = Arc::clone(&shared);
        std::thread::Builder::new()
            .name("exits".into())
            .spawn(move || thread.wait())?;
        Ok(Self { shared })
    }

    /// Has `tell` called, by the thread, once exactly this process has ended.
    ///
    /// # Errors
    /// [`ReadFailure::Gone`] if it has already; [`ReadFailure::Io`] where the kernel has no such
    /// descriptors (before 5.3), and above 512 processes; those of reading `/proc/PID/stat`.
    pub fn when_ended(
        &self,
        key: &ProcessKey,
        tell: impl FnOnce() + Send + 'static,
    ) -> Result<WaitedFor, ReadFailure> {
        let mut waiting = self.shared.lock();
        if waiting.of.len() >= WAITED_FOR_MAX {
            return Err(no_descriptor(
                key,
                &format!("{WAITED_FOR_MAX} are waited for"),
            ));
        }
        let descriptor = exit_descriptor(key)?;
        waiting.last += 1;
        let id = waiting.last;
        let (epoll, data) = (&self.shared.epoll, EventData::new_u64(id));
        epoll::add(epoll, &descriptor, data, EventFlags::IN)
            .map_err(|errno| no_descriptor(key, &errno.to_string()))?;
        let one = One {
            _descriptor: descriptor,
            tell: Box::new(tell),
        };
        waiting.of.insert(id, one);
        let shared = Arc::clone(&self.shared);
        Ok(WaitedFor { shared, id })
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait(&self) {
        let mut events = [MaybeUninit::uninit(); 64];
        loop {
            let ended: Vec<u64> = match epoll::wait(&self.epoll, &mut events, None) {
                Ok((events, _)) => events.iter().map(|event| event.data.u64()).collect(),
                Err(Errno::INTR) => continue,
                // Without it the next round or discovery notices ends, seconds later.
                Err(_) => return,
            };
            for id in ended {
                // Not under the lock: what it does is not ours.
                let one = self.lock().of.remove(&id);
                if let Some(one) = one {
                    (one.tell)();
                }
            }
        }
    }
}

impl Drop for WaitedFor {
    fn drop(&mut self) {
        self.shared.lock().of.remove(&self.id);
    }
}

fn no_descriptor(key: &ProcessKey, reason: &str) -> ReadFailure {
    ReadFailure::Io {
        path: format!("a descriptor of process {}", key.pid),
        reason: reason.to_owned(),
    }
}

/// A descriptor that polls readable once exactly this process has ended.
fn exit_descriptor(key: &ProcessKey) -> Result<OwnedFd, ReadFailure> {
    let pid = i32::try_from(key.pid.0).ok().and_then(Pid::from_raw);
    let fd = pidfd_open(pid.ok_or(ReadFailure::Gone)?, PidfdFlags::empty());
    let fd = fd.map_err(|errno| match errno {
        Errno::SRCH => ReadFailure::Gone,
        other => no_descriptor(key, &std::io::Error::from(other).to_string()),
    })?;
    // After the descriptor, so that a pid that was used again meanwhile is seen.
    let stat = ProcDir::open(key.pid.0)?.stat()?;
    match stat.start_ticks == key.start_ticks.0 && !stat.has_ended() {
        true => Ok(fd),
        false => Err(ReadFailure::Gone),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{RecvTimeoutError, channel};
    use std::time::Duration;

    use model::{BootId, Pid, StartTicks};

    use super::*;

    #[test]
    fn the_end_is_noticed_of_exactly_this_process() {
        let mut sleep = std::process::Command::new("sleep");
        let mut child = sleep.arg("60").spawn().unwrap();
        let stat = ProcDir::open(child.id()).unwrap().stat().unwrap();
        let key = |start_ticks| ProcessKey {
            boot_id: BootId::default(),
            pid: Pid(child.id()),
            start_ticks: StartTicks(start_ticks),
        };
        let (ours, another) = (key(stat.start_ticks), key(stat.start_ticks + 1));
        let exits = Exits::start().unwrap();
        let gone = exits.when_ended(&another, || ());
        assert_eq!(gone.unwrap_err(), ReadFailure::Gone);
        let (tell, told) = channel();
        let (first, second) = (tell.clone(), tell);
        let _waited = exits
            .when_ended(&ours, move || first.send(1).unwrap())
            .unwrap();
        drop(
            exits
                .when_ended(&ours, move || second.send(2).unwrap())
                .unwrap(),
        );
        let early = told.recv_timeout(Duration::from_millis(1));
        assert_eq!(early, Err(RecvTimeoutError::Timeout));
        child.kill().unwrap();
        assert_eq!(
            told.recv_timeout(Duration::from_secs(5)),
            Ok(1),
            "its parent has not asked"
        );
        let more = told.recv_timeout(Duration::from_secs(1));
        assert_eq!(
            more,
            Err(RecvTimeoutError::Disconnected),
            "the dropped one is not told"
        );
        let gone = exits.when_ended(&ours, || ());
        assert_eq!(gone.unwrap_err(), ReadFailure::Gone);
        child.wait().unwrap();
    }
}
