//! The child's side: answers requests until the socket closes.

use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use model::{Clock, ProcessKey};
use rustix::process::Signal;

use crate::answers::{Greeting, ReadFailure, Reading};
use crate::cgroup::Mount;
use crate::clock::SystemClock;
use crate::discover::Discoverer;
use crate::error::ReaderError;
use crate::files::{Ask, FILES_ARGUMENT, Lane, Said, Told, Whose};
use crate::frame::{self, Answer, Frame, KEYS_MAX, PROTOCOL, Request};
use crate::holders::Looks;
use crate::host::{self, Boot};
use crate::log::{LogPiece, LogPlace};
use crate::opener::{self, How};
use crate::process::{self, ProcessReader};
use crate::{child, files, keeper, privileges, proc_dir};

/// The one argument that makes our executable a reader. Not for people, so not in `--help`.
pub const READER_ARGUMENT: &str = "__reader";

/// A log is waited for so long; others wait as long.
const LOG_PATIENCE: Duration = Duration::from_millis(500);

/// In the OOM killer's eyes the reader goes before the main process: losing it loses less.
const OOM_SCORE_ADJ: &str = "300";

/// Whether this process was started by a [`Reader`](crate::Reader), as one of its children or a
/// child's helper: `main` then does nothing but [`serve`].
#[must_use]
pub fn is_reader() -> bool {
    opener::is_opener()
        || [READER_ARGUMENT, FILES_ARGUMENT, keeper::KEEPER_ARGUMENT]
            .into_iter()
            .any(is_only)
}

/// Whether our one argument is this one.
fn is_only(argument: &str) -> bool {
    let mut arguments = std::env::args_os().skip(1);
    arguments.next().is_some_and(|first| first == argument) && arguments.next().is_none()
}

/// Serves requests from the socket that is `input` (the child's standard input), until the main
/// process closes it or dies.
///
/// Before anything else it gives up all capabilities but `CAP_SYS_PTRACE` and
/// `CAP_DAC_READ_SEARCH`, and the right to gain any. It opens no socket and writes no file.
///
/// # Errors
/// [`ReaderError::Privileges`] if they cannot be given up; [`ReaderError::Malformed`] if what
/// arrives is no request; [`ReaderError::Lost`] if the socket fails.
pub fn serve(input: impl AsFd) -> Result<(), ReaderError> {
    if opener::is_opener() {
        let socket = input.as_fd().try_clone_to_owned().map_err(lost)?;
        return opener::serve_one(&UnixStream::from(socket));
    }
    if is_only(FILES_ARGUMENT) {
        let socket = input.as_fd().try_clone_to_owned().map_err(lost)?;
        return files::serve(&UnixStream::from(socket));
    }
    if is_only(keeper::KEEPER_ARGUMENT) {
        let socket = input.as_fd().try_clone_to_owned().map_err(lost)?;
        return keeper::serve(&UnixStream::from(socket));
    }
    privileges::keep_only(privileges::KEPT)?;
    child::settle(OOM_SCORE_ADJ);
    let socket = input.as_fd().try_clone_to_owned();
    let socket = socket.map(UnixStream::from).map_err(lost)?;
    let parent = rustix::process::getppid().map(|pid| pid.as_raw_nonzero().get().unsigned_abs());
    // Ours, whatever lies at its path by now.
    let program = PathBuf::from("/proc/self/exe");
    let opens = How::Child(program.clone());
    serve_socket(&socket, parent, program, &SystemClock, opens)
}

fn lost(source: io::Error) -> ReaderError {
    ReaderError::Lost {
        request: "the next request",
        source,
    }
}

/// The loop of requests and answers. `parent` is the process that started us, where we are one.
pub(crate) fn serve_socket(
    socket: &UnixStream,
    parent: Option<u32>,
    program: PathBuf,
    clock: &dyn Clock,
    opens: How,
) -> Result<(), ReaderError> {
    let mut server = Server::new(parent, program, clock, opens);
    loop {
        let request = match frame::read::<Request>(socket, None) {
            Ok(Some(request)) => request,
            Ok(None) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                return Err(ReaderError::Malformed {
                    what: error.to_string(),
                });
            }
            Err(error) => return Err(lost(error)),
        };
        let id = request.id;
        let body = server.answer(request.body);
        match frame::write(socket, &Frame { id, body }, None) {
            // An answer above the frame's size is refused, and the connection goes on.
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                let reason = format!("the answer is too long: {error}");
                let body = Answer::Refused { reason };
                frame::write(socket, &Frame { id, body }, None).map_err(lost)?;
            }
            // The main process ended between asking and hearing.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
            other => other.map_err(lost)?,
        }
    }
}

/// What is remembered between requests.
struct Server<'a> {
    clock: &'a dyn Clock,
    boot: Boot,
    mounts: Vec<Mount>,
    discoverer: Discoverer,
    processes: ProcessReader,
    looks: Looks,
    /// Beside that of executables: whichever hangs, the other goes on.
    logs: Lane,
    has_parent: bool,
}

impl<'a> Server<'a> {
    fn new(parent: Option<u32>, program: PathBuf, clock: &'a dyn Clock, opens: How) -> Self {
        let skip = std::iter::once(std::process::id()).chain(parent).collect();
        Self {
            clock,
            boot: Boot::now(clock),
            mounts: host::mounts(),
            discoverer: Discoverer::new(skip, opens.clone()),
            logs: Lane::new(opens.clone()),
            processes: ProcessReader::new(opens),
            looks: Looks::new(program, parent.is_some()),
            has_parent: parent.is_some(),
        }
    }

    fn answer(&mut self, request: Request) -> Answer {
        self.boot.follow(self.clock);
        self.looks.tick();
        self.logs.tick();
        self.discoverer.tick();
        match request {
            Request::Hello {
                die_with_parent,
                host_root,
            } => {
                self.discoverer.set_host_root(host_root);
                Answer::Hello(self.hello(die_with_parent))
            }
            Request::Host => {
                self.mounts = host::mounts();
                let identities = self.discoverer.identities();
                Answer::Host(host::host(&self.boot, &self.mounts, identities))
            }
            Request::Discover => match self.discoverer.discover(&self.boot, self.clock) {
                Ok(discovery) => Answer::Discovery(discovery),
                Err(error) => Answer::Refused {
                    reason: format!("failed to list /proc: {error}"),
                },
            },
            Request::Read { keys, .. } if keys.len() > KEYS_MAX => Answer::Refused {
                reason: format!("{} processes in one request, above {KEYS_MAX}", keys.len()),
            },
            Request::Read { keys, go } => Answer::Readings(self.read(&keys, go)),
            Request::Mappings { key, any_size } => {
                let reader = &mut self.processes;
                let mappings = process::mappings(reader, &key, any_size, &self.boot, self.clock);
                Answer::Mappings(mappings)
            }
            Request::Log { key, path, read } => Answer::Log(self.log(key, path, read)),
            Request::Ended { key } => Answer::Ended(self.processes.ended(&key, &self.boot)),
            Request::LookStart { key, at, budget } if key.boot_id == self.boot.id => {
                let looks = &mut self.looks;
                let started = looks.start(&key, at, budget, &self.mounts, self.clock);
                Answer::LookStarted(started)
            }
            Request::LookStart { .. } => Answer::LookStarted(Err(ReadFailure::Gone.into())),
            Request::LookPoll { look } => Answer::Looked(self.looks.poll(look)),
            Request::Doctor => {
                let pids = proc_dir::all_pids().unwrap_or_default();
                let left_alone = self.discoverer.left_alone().chain(self.logs.left_alone());
                Answer::Doctor(host::doctor(&self.mounts, &pids, left_alone))
            }
        }
    }

    fn read(&mut self, keys: &[ProcessKey], go: bool) -> Vec<Result<Reading, ReadFailure>> {
        self.processes
            .read(keys, go, &self.boot, &self.mounts, self.clock)
    }

    fn log(
        &mut self,
        key: ProcessKey,
        path: PathBuf,
        read: Option<LogPlace>,
    ) -> Result<LogPiece, ReadFailure> {
        if key.boot_id != self.boot.id {
            return Err(ReadFailure::Gone);
        }
        let name = format!("{} in the root of process {}", path.display(), key.pid);
        let whose = Whose::Log(key.clone(), path.clone());
        let reason = match self
            .logs
            .ask(Ask::Log { key, path, read }, whose, LOG_PATIENCE)
        {
            Said::Told(Told::Log(piece)) => return piece,
            Said::Refused(why) => why,
            Said::Told(_) | Said::Later => "its disk has not answered yet".to_owned(),
        };
        Err(ReadFailure::Io { path: name, reason })
    }

    fn hello(&self, die_with_parent: bool) -> Greeting {
        if die_with_parent && self.has_parent {
            // Should the parent be dead already, the next read of the socket ends us.
            let _ = rustix::process::set_parent_process_death_signal(Some(Signal::KILL));
        }
        let no_new_privs = rustix::thread::no_new_privs() == Ok(true);
        Greeting {
            pid: std::process::id(),
            protocol: PROTOCOL,
            capabilities: privileges::names(privileges::effective()),
            no_new_privs,
            inherited_fds: inherited_fds(),
        }
    }
}

/// Descriptors beyond the socket (twice: as standard input and as ours), standard output and error,
/// and the one that lists them. Rust opens all with CLOEXEC, so these were there before `main`.
fn inherited_fds() -> usize {
    std::fs::read_dir("/proc/self/fd").map_or(0, |entries| entries.count().saturating_sub(5))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn served(bytes: &[u8]) -> Result<(), ReaderError> {
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        ours.write_all(bytes).unwrap();
        drop(ours);
        serve_socket(&theirs, None, PathBuf::new(), &SystemClock, How::Here)
    }

    #[test]
    fn a_closed_socket_ends_it_well_and_garbage_ends_it_badly() {
        assert!(served(b"").is_ok());
        assert!(matches!(
            served(b"\x02\0\0\0{}"),
            Err(ReaderError::Malformed { .. })
        ));
        assert!(matches!(
            served(&[255; 9]),
            Err(ReaderError::Malformed { .. })
        ));
        assert!(matches!(served(&[1, 0]), Err(ReaderError::Lost { .. })));
    }

    #[test]
    fn a_request_for_too_many_is_refused() {
        let key = ProcessKey {
            boot_id: model::BootId::default(),
            pid: model::Pid(1),
            start_ticks: model::StartTicks(0),
        };
        let mut server = Server::new(None, PathBuf::new(), &SystemClock, How::Here);
        let keys = vec![key; KEYS_MAX + 1];
        let answer = server.answer(Request::Read { keys, go: false });
        assert!(matches!(answer, Answer::Refused { .. }), "{answer:?}");
    }
}
