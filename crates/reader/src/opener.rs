//! Opening a program: finding out where in its memory its runtime keeps its figures.
//!
//! That reads tables of an executable that anybody may have made, as big as they please. So it is
//! done by a child of the reader's that has a limit for memory and time and hands over nothing but a
//! few addresses; a child that dies is a refusal for that program, and the reader lives on. One
//! program is opened at a time, on a thread of its own: nobody's round waits for it.

use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, Sender, SyncSender, TrySendError, channel, sync_channel};
use std::time::{Duration, Instant};

use inspect::stop::may_ptrace;
use inspect::{InspectError, Places, Program};
use model::ProcessKey;
use rustix::process::{Resource, Rlimit, Signal};

use crate::answers::{GoFailure, ReadFailure};
use crate::error::ReaderError;
use crate::frame::{self, Frame};
use crate::proc_dir::{PERMISSION_HINT, ProcDir};
use crate::procfs::Exec;
use crate::{child, privileges};

/// The one argument that makes our executable an opener.
pub(crate) const OPENER_ARGUMENT: &str = "__open";

/// Programs that wait to be opened; more of them are told to ask again.
const WAITING_MAX: usize = 64;
/// Real programs take milliseconds, those with 100 MB of debug information and no known version a
/// second of computing.
const DEADLINE: Duration = Duration::from_secs(20);
const CPU_S_MAX: u64 = 10;
/// Whoever is killed ends as soon, or hangs in the kernel until a disk answers.
const ENDS_WITHIN: Duration = Duration::from_secs(1);
/// Children that hang at a time.
const STUCK_MAX: usize = 4;
/// Address space of the child. The tables of functions of the largest programs have 200 MB.
const MEMORY_BYTES_MAX: u64 = 1 << 30;
/// To the OOM killer, none is dearer than the reader.
const OOM_SCORE_ADJ: &str = "1000";
/// Behind everything else that wants the processor.
const NICE: i32 = 10;

/// How a program is opened.
#[derive(Debug, Clone)]
pub(crate) enum How {
    /// By a child that this executable becomes.
    Child(PathBuf),
    /// In this process, without limits: where the reader is a thread of a test or a short command.
    Here,
}

/// What is to be opened: a process, and which `exec` of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Job {
    pub(crate) key: ProcessKey,
    pub(crate) exec: Exec,
}

pub(crate) type Opened = (Job, Result<Places, GoFailure>);

/// The thread that opens, and the way to it and back.
#[derive(Debug)]
pub(crate) struct Opener {
    how: How,
    queue: Option<(SyncSender<Job>, Receiver<Opened>)>,
}

impl Opener {
    pub(crate) fn new(how: How) -> Self {
        Self { how, queue: None }
    }

    /// Asks for a program to be opened; `false` when too many wait already. Never waits.
    pub(crate) fn ask(&mut self, job: Job) -> bool {
        if self.queue.is_none() {
            self.queue = start(self.how.clone());
        }
        let Some((jobs, _)) = &self.queue else {
            return false;
        };
        match jobs.try_send(job) {
            Ok(()) => true,
            Err(TrySendError::Full(_)) => false,
            Err(TrySendError::Disconnected(_)) => {
                self.queue = None;
                false
            }
        }
    }

    /// A program that has been opened since, or has not.
    pub(crate) fn done(&self) -> Option<Opened> {
        let (_, opened) = self.queue.as_ref()?;
        opened.try_recv().ok()
    }
}

/// `None` when there is no thread to be had; the next one who asks tries again.
fn start(how: How) -> Option<(SyncSender<Job>, Receiver<Opened>)> {
    let (jobs, waiting) = sync_channel(WAITING_MAX);
    let (results, opened) = channel();
    let thread = std::thread::Builder::new().name("opener".to_owned());
    let started = thread.spawn(move || serve_jobs(&how, &waiting, &results));
    started.is_ok().then_some((jobs, opened))
}

/// Ends when nobody can ask or hear any more. What waits to be heard is bounded by what was asked.
fn serve_jobs(how: &How, jobs: &Receiver<Job>, results: &Sender<Opened>) {
    let mut stuck = Vec::new();
    while let Ok(job) = jobs.recv() {
        let opened = open(how, &job, &mut stuck);
        if results.send((job, opened)).is_err() {
            return;
        }
    }
}

/// Children that could not be ended, and the file systems that they wait for.
type Stuck = Vec<(u64, Child)>;

/// Opens exactly this program: held against its start and its `exec` before and after.
fn open(how: &How, job: &Job, stuck: &mut Stuck) -> Result<Places, GoFailure> {
    let dir = ProcDir::open(job.key.pid.0).map_err(of_read_failure)?;
    // Of one that may not be looked into the child tells the reason.
    let device = dir.file_stat("exe").map_or(0, |stat| stat.file.dev);
    stuck.retain_mut(|(_, child)| matches!(child.try_wait(), Ok(None)));
    if stuck.len() >= STUCK_MAX || stuck.iter().any(|(hangs, _)| *hangs == device) {
        return Err(GoFailure::TooCostly {
            what: "its disk does not answer, and is left alone until it does".to_owned(),
        });
    }
    let same = || match dir.stat() {
        Ok(stat) if stat.start_ticks == job.key.start_ticks.0 && stat.exec == job.exec => Ok(()),
        Ok(_) => Err(GoFailure::Gone),
        Err(failure) => Err(of_read_failure(failure)),
    };
    same()?;
    let places = match how {
        How::Child(program) => {
            let (places, left) = by_child(program, job.key.pid.0);
            stuck.extend(left.map(|child| (device, child)));
            places
        }
        How::Here => places_of(job.key.pid.0),
    };
    same()?;
    places
}

/// What a child finds, and the child if it cannot be ended.
fn by_child(program: &Path, pid: u32) -> (Result<Places, GoFailure>, Option<Child>) {
    // How it dies of a hostile program is our answer, not a line on the user's screen.
    let started = privileges::passing_on(|| child::start(program, OPENER_ARGUMENT, Stdio::null()));
    let (socket, mut child) = match started {
        Ok(started) => started,
        Err(error) => {
            let what = format!("no process could be started to open it: {error}");
            return (Err(GoFailure::Unreadable { what }), None);
        }
    };
    let deadline = Some(Instant::now() + DEADLINE);
    let request = Frame { id: 0, body: pid };
    let answer = frame::write(&socket, &request, deadline)
        .and_then(|()| frame::read::<Result<Places, GoFailure>>(&socket, deadline));
    // It has nothing more to say; one that hangs is not waited for.
    let _ = child.kill();
    let status = child::end_of(&mut child, ENDS_WITHIN);
    let places = match answer {
        Ok(Some(answer)) => answer.body,
        Err(error) if error.kind() == std::io::ErrorKind::TimedOut => Err(GoFailure::TooCostly {
            what: format!("more than {DEADLINE:?}"),
        }),
        // Out of memory or of computing time, it ends without a word.
        Ok(None) | Err(_) => Err(GoFailure::TooCostly {
            what: status.map_or_else(
                || "it hangs".to_owned(),
                |status| format!("it ended by {status}"),
            ),
        }),
    };
    (places, status.is_none().then_some(child))
}

/// Whether this process was started as an opener.
pub(crate) fn is_opener() -> bool {
    let mut arguments = std::env::args_os().skip(1);
    arguments
        .next()
        .is_some_and(|first| first == OPENER_ARGUMENT)
        && arguments.next().is_none()
}

/// The child's side: answers one request and ends.
///
/// # Errors
/// [`ReaderError::Privileges`] if they cannot be given up; [`ReaderError::Lost`] if the socket fails.
pub(crate) fn serve_one(socket: &UnixStream) -> Result<(), ReaderError> {
    privileges::keep_only(privileges::KEPT)?;
    limit_ourselves();
    let lost = |source| ReaderError::Lost {
        request: "a program to open",
        source,
    };
    let Some(request) = frame::read::<u32>(socket, None).map_err(lost)? else {
        return Ok(());
    };
    let answer = Frame {
        id: request.id,
        body: places_of(request.body),
    };
    frame::write(socket, &answer, None).map_err(lost)
}

/// Best effort: each makes a hostile program harmless in another way.
fn limit_ourselves() {
    limit_memory();
    let _ = rustix::process::nice(NICE);
    limit(Resource::Cpu, CPU_S_MAX);
}

/// The part of it for whoever lives longer.
pub(crate) fn limit_memory() {
    let _ = rustix::process::set_parent_process_death_signal(Some(Signal::KILL));
    let _ = std::fs::write("/proc/self/oom_score_adj", OOM_SCORE_ADJ);
    limit(Resource::As, MEMORY_BYTES_MAX);
    limit(Resource::Core, 0);
}

fn limit(resource: Resource, limit: u64) {
    let limit = Rlimit {
        current: Some(limit),
        maximum: Some(limit),
    };
    let _ = rustix::process::setrlimit(resource, limit);
}

fn places_of(pid: u32) -> Result<Places, GoFailure> {
    Program::attach_for_figures(pid)
        .and_then(|program| Places::of(&program))
        .map_err(|error| explained(pid, of_error(&error)))
}

/// A refusal with the kernel's reason for it: user, dumpable, yama, container.
fn explained(pid: u32, failure: GoFailure) -> GoFailure {
    match (failure, may_ptrace(pid)) {
        (GoFailure::Refused { what, .. }, Err(refusal)) => GoFailure::Refused {
            what: format!("{what}: {refusal}"),
            hint: refusal.remedy(),
        },
        (failure, _) => failure,
    }
}

fn of_read_failure(failure: ReadFailure) -> GoFailure {
    match failure {
        ReadFailure::Gone => GoFailure::Gone,
        ReadFailure::Denied { path, hint } => GoFailure::Refused {
            what: format!("no permission to read {path}"),
            hint,
        },
        other => GoFailure::Unreadable {
            what: other.to_string(),
        },
    }
}

/// In the words of answers.
pub(crate) fn of_error(error: &InspectError) -> GoFailure {
    let (what, hint) = (error.to_string(), error.hint());
    match error {
        InspectError::NoProcess { .. } => GoFailure::Gone,
        error if error.is_not_go() => GoFailure::NotGo,
        InspectError::Refused { .. } => GoFailure::Refused {
            what,
            hint: hint.unwrap_or(PERMISSION_HINT).to_owned(),
        },
        InspectError::UnknownLayout { .. } | InspectError::Missing { .. } => {
            GoFailure::UnknownLayout {
                what,
                hint: hint
                    .unwrap_or("a build with DWARF can be read with any Go version")
                    .to_owned(),
            }
        }
        _ => GoFailure::Unreadable { what },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_that_cannot_answer_is_a_refusal() {
        let open = |program: &str| by_child(Path::new(program), std::process::id()).0;
        let ended = open("/bin/false");
        assert!(
            matches!(&ended, Err(GoFailure::TooCostly { what }) if what.contains("exit status")),
            "{ended:?}"
        );
        let none = open("/nonexistent/unswept");
        assert!(
            matches!(none, Err(GoFailure::Unreadable { .. })),
            "{none:?}"
        );
    }

    #[test]
    fn what_is_not_go_or_not_there_is_said() {
        // This test is no Go program.
        assert_eq!(places_of(std::process::id()).unwrap_err(), GoFailure::NotGo);
        assert_eq!(places_of(u32::MAX).unwrap_err(), GoFailure::Gone);
    }
}
