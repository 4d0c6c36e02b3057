//! The reader's side: starts the child of a look, ends it when its time is up, and reads what it
//! left. Nothing here waits: it is asked again and again.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use model::{Clock, ProcessKey};
use rustix::fs::MemfdFlags;
use rustix::process::Signal;

use super::child::{HOLDERS_ARGUMENT, LATE, Order, Said};
use super::room::room;
use super::{ANSWER_BYTES_MAX, BudgetPart, HoldersBudget, HoldersFailure, LookAt, mebibytes};
use crate::cgroup::Mount;
use crate::{child, privileges};

/// The child ends itself at its time; we do so long after.
const GRACE: Duration = Duration::from_millis(500);
/// One that was killed so long ago hangs in the kernel.
const HANGS_AFTER: Duration = Duration::from_secs(2);
/// Looks that hang at a time.
const STUCK_MAX: usize = 4;

/// At most one look at a time.
#[derive(Debug)]
pub(crate) struct Looks {
    program: PathBuf,
    /// The reader is a process of its own, which passes its two capabilities on.
    passes_on: bool,
    last: u64,
    running: Option<Running>,
    /// Those that were killed and wait for a disk.
    stuck: Vec<Child>,
}

#[derive(Debug)]
struct Running {
    id: u64,
    child: Child,
    answer: File,
    budget: HoldersBudget,
    deadline: Instant,
    /// We have ended it for its time.
    late: bool,
}

impl Looks {
    pub(crate) fn new(program: PathBuf, passes_on: bool) -> Self {
        Self {
            program,
            passes_on,
            last: 0,
            running: None,
            stuck: Vec::new(),
        }
    }

    /// Starts a look; the number is what to ask for.
    pub(crate) fn start(
        &mut self,
        key: &ProcessKey,
        at: LookAt,
        budget: HoldersBudget,
        mounts: &[Mount],
        clock: &dyn Clock,
    ) -> Result<u64, HoldersFailure> {
        self.tick();
        if let Some(running) = &mut self.running {
            // One whose client went away: its answer is nobody's.
            let has_ended = matches!(running.child.try_wait(), Ok(Some(_)));
            if !has_ended && !self.gives_up() {
                return Err(HoldersFailure::Busy);
            }
        }
        let budget = budget.within(room(mounts, clock)?);
        let order = Order {
            key: key.clone(),
            at,
            budget,
        };
        let started = self.spawn(&order).map_err(|error| HoldersFailure::Died {
            how: format!("it could not be started: {error}"),
        });
        let (child, answer) = started?;
        self.last += 1;
        self.running = Some(Running {
            id: self.last,
            child,
            answer,
            budget,
            deadline: Instant::now() + budget.time + GRACE,
            late: false,
        });
        Ok(self.last)
    }

    /// Whether the look that is being taken hangs in the kernel and could be put aside.
    fn gives_up(&mut self) -> bool {
        self.stuck
            .retain_mut(|child| matches!(child.try_wait(), Ok(None)));
        let hangs = |running: &Running| Instant::now() >= running.deadline + HANGS_AFTER;
        let gives_up = self.running.as_ref().is_some_and(hangs) && self.stuck.len() < STUCK_MAX;
        if gives_up {
            self.stuck
                .extend(self.running.take().map(|running| running.child));
        }
        gives_up
    }

    fn spawn(&self, order: &Order) -> io::Result<(Child, File)> {
        // A file in memory: no answer can hold anybody up as a full pipe would.
        let answer = rustix::fs::memfd_create("holders", MemfdFlags::CLOEXEC)?;
        let answer = File::from(answer);
        let mut command = Command::new(&self.program);
        command
            .arg(HOLDERS_ARGUMENT)
            .stdin(Stdio::piped())
            .stdout(Stdio::from(answer.try_clone()?))
            // Running out of memory is an answer, not a line on somebody's terminal.
            .stderr(Stdio::null())
            .env_clear()
            .current_dir("/")
            .process_group(0);
        let mut child = if self.passes_on {
            privileges::passing_on(|| command.spawn())?
        } else {
            command.spawn()?
        };
        let order = serde_json::to_vec(order)?;
        let written = match child.stdin.take() {
            Some(mut stdin) => stdin.write_all(&order),
            None => Err(io::ErrorKind::BrokenPipe.into()),
        };
        if let Err(error) = written {
            let _ = child.kill();
            let _ = child.wait();
            return Err(error);
        }
        Ok((child, answer))
    }

    /// Ends what is late. Called at every request.
    pub(crate) fn tick(&mut self) {
        if let Some(running) = &mut self.running
            && !running.late
            && Instant::now() >= running.deadline
        {
            running.late = true;
            let _ = running.child.kill();
        }
    }

    /// What became of look `id`; `None` while it goes on.
    pub(crate) fn poll(&mut self, id: u64) -> Option<Said> {
        self.tick();
        let running = self.running.as_mut().filter(|running| running.id == id);
        let Some(running) = running else {
            return Some(Err(HoldersFailure::Died {
                how: "the reader was started again meanwhile".to_owned(),
            }));
        };
        let status = match running.child.try_wait() {
            Ok(None) => return None,
            Ok(Some(status)) => status,
            Err(error) => {
                let how = error.to_string();
                return Some(Err(HoldersFailure::Died { how }));
            }
        };
        let running = self.running.take()?;
        Some(running.said(status))
    }
}

impl Drop for Looks {
    fn drop(&mut self) {
        if let Some(running) = &mut self.running {
            let _ = running.child.kill();
            // One that hangs in the kernel is not waited for.
            let _ = child::end_of(&mut running.child, GRACE);
        }
    }
}

impl Running {
    fn said(mut self, status: ExitStatus) -> Said {
        if status.success() {
            let bytes = self.bytes();
            let said = bytes.and_then(|bytes| Ok(serde_json::from_slice::<Said>(&bytes)?));
            return said.unwrap_or_else(|error| {
                let how = format!("its answer is not what was asked for: {error}");
                Err(HoldersFailure::Died { how })
            });
        }
        Err(why(status, self.late, &self.budget))
    }

    fn bytes(&mut self) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.answer.seek(SeekFrom::Start(0))?;
        (&self.answer)
            .take(ANSWER_BYTES_MAX)
            .read_to_end(&mut bytes)?;
        Ok(bytes)
    }
}

/// What an end without an answer means.
fn why(status: ExitStatus, late: bool, budget: &HoldersBudget) -> HoldersFailure {
    let over = |part, allowed| HoldersFailure::OverBudget { part, allowed };
    let seconds = |time: Duration| format!("{} s", time.as_secs_f64());
    let signal = status.signal();
    let is = |of: Signal| signal == Some(of.as_raw());
    if late || status.code() == Some(LATE) {
        over(BudgetPart::Time, seconds(budget.time))
    } else if is(Signal::XCPU) {
        over(BudgetPart::Cpu, seconds(budget.cpu))
    } else if is(Signal::ABORT) {
        // So ends a program of ours when the kernel gives it no more memory.
        over(BudgetPart::Memory, mebibytes(budget.memory_bytes))
    } else if is(Signal::KILL) {
        HoldersFailure::Died {
            how: "it was killed, perhaps by the kernel for lack of memory".to_owned(),
        }
    } else {
        HoldersFailure::Died {
            how: status.to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_end_has_its_words() {
        let budget = HoldersBudget::default();
        let rows = [
            (
                "late",
                ExitStatus::from_raw(9),
                true,
                "more time than the 30 s",
            ),
            (
                "late by itself",
                ExitStatus::from_raw(LATE << 8),
                false,
                "more time than the 30 s",
            ),
            (
                "cpu",
                ExitStatus::from_raw(24),
                false,
                "more processor time than the 20 s",
            ),
            (
                "memory",
                ExitStatus::from_raw(6),
                false,
                "more memory than the 1024 MiB",
            ),
            ("killed", ExitStatus::from_raw(9), false, "was killed"),
            ("fault", ExitStatus::from_raw(101 << 8), false, "101"),
        ];
        for (name, status, late, want) in rows {
            let text = why(status, late, &budget).to_string();
            assert!(text.contains(want), "{name}: {text}");
        }
    }
}
