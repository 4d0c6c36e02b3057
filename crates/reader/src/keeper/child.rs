//! The keeper's side: starts a reader; enters a namespace, makes a socket there, and hands it over.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::Duration;

use model::{BootId, ProcessKey};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, ipproto};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::{Answer, DialFailure, HINT, Request, descriptor};
use crate::answers::ReadFailure;
use crate::clock::SystemClock;
use crate::error::ReaderError;
use crate::frame::{self, Frame};
use crate::host::Boot;
use crate::privileges;
use crate::proc_dir::ProcDir;
use crate::serve::READER_ARGUMENT;
use std::net::SocketAddr;

/// Losing it loses the reader with it, and for good: it goes after the reader, before the main process.
const OOM_SCORE_ADJ: &str = "200";

/// The descriptor that belongs to a request is sent at once.
const FOLLOWS_WITHIN: Duration = Duration::from_secs(5);

/// Answers requests until the main process closes the socket or dies. It keeps what a reader needs, and
/// `CAP_SYS_ADMIN`, to enter namespaces, where it was given that and may.
pub(crate) fn serve(socket: &UnixStream) -> Result<(), ReaderError> {
    // Started by a thread that lives as long as the process does, so its end is the process's.
    let _ = rustix::process::set_parent_process_death_signal(Some(Signal::KILL));
    crate::child::settle(OOM_SCORE_ADJ);
    let starter = Starter::start()?;
    let mut kept = privileges::keep_only(privileges::KEEPING)?;
    let boot = Boot::now(&SystemClock).id;
    while let Some(Frame { id, body }) = frame::read::<Request>(socket, None).map_err(lost)? {
        let (body, opened) = match body {
            Request::Hello { dials } => {
                if !dials {
                    kept = privileges::keep_only(privileges::KEPT)?;
                }
                let capabilities = privileges::names(kept);
                (Answer::Hello { capabilities }, None)
            }
            Request::Dial { key, address } => match dial(&boot, &key, address) {
                Ok(opened) => (Answer::Dialed(Ok(())), Some(opened)),
                Err(failure) => (Answer::Dialed(Err(failure)), None),
            },
            Request::Reader => {
                let theirs = descriptor::receive(socket, FOLLOWS_WITHIN).map_err(lost)?;
                socket.set_read_timeout(None).map_err(lost)?;
                match starter.reader(theirs) {
                    Ok(process) => (Answer::Reader(Ok(())), Some(process)),
                    Err(error) => (Answer::Reader(Err(error.to_string())), None),
                }
            }
        };
        frame::write(socket, &Frame { id, body }, None).map_err(lost)?;
        if let Some(opened) = opened {
            descriptor::send(socket, opened).map_err(lost)?;
        }
    }
    Ok(())
}

fn lost(source: io::Error) -> ReaderError {
    ReaderError::Lost {
        request: "something to do",
        source,
    }
}

/// The thread that starts readers. It has no more privileges than they, in its bounding set too, which a reader could
/// not cut itself; and it lives as long as the process, since a reader dies with the thread that started it.
struct Starter {
    orders: Sender<OwnedFd>,
    answers: Receiver<io::Result<OwnedFd>>,
}

impl Starter {
    fn start() -> Result<Self, ReaderError> {
        let (orders, ordered) = mpsc::channel::<OwnedFd>();
        let (answer, answers) = mpsc::channel();
        let (tell, told) = mpsc::channel();
        let work = move || {
            let kept = privileges::keep_only(privileges::KEPT);
            let may_go_on = kept.is_ok();
            let _ = tell.send(kept);
            let mut started = Vec::new();
            // Its end ends the process, so nobody is left without an answer.
            while may_go_on && let Ok(socket) = ordered.recv() {
                let _ = answer.send(start_reader(&mut started, socket));
            }
        };
        let thread = std::thread::Builder::new().name("starter".to_owned());
        thread.spawn(work).map_err(lost)?;
        told.recv()
            .map_err(|_| lost(io::ErrorKind::BrokenPipe.into()))??;
        Ok(Self { orders, answers })
    }

    /// A reader on this socket: a descriptor of its process.
    fn reader(&self, socket: OwnedFd) -> io::Result<OwnedFd> {
        let ended = || io::Error::from(io::ErrorKind::BrokenPipe);
        self.orders.send(socket).map_err(|_| ended())?;
        self.answers.recv().map_err(|_| ended())?
    }
}

/// `started` are those before, of which all but the last have ended or are about to.
fn start_reader(started: &mut Vec<Child>, socket: OwnedFd) -> io::Result<OwnedFd> {
    started.retain_mut(|child| matches!(child.try_wait(), Ok(None)));
    // Ours, whatever lies at its path by now.
    let program = Path::new("/proc/self/exe");
    let start = || crate::child::start_on(program, READER_ARGUMENT, socket, Stdio::inherit());
    let child = privileges::passing_on(start)?;
    // Nobody but us waits for it, so its number is no other's, even if it has ended already.
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let pid = pid.ok_or(io::ErrorKind::InvalidData)?;
    started.push(child);
    Ok(pidfd_open(pid, PidfdFlags::empty())?)
}

/// A socket in the namespace of exactly this process that connects to `address`, without waiting:
/// a target that does not accept keeps nobody here.
pub(super) fn dial(
    boot: &BootId,
    key: &ProcessKey,
    address: SocketAddr,
) -> Result<OwnedFd, DialFailure> {
    if !address.ip().is_loopback() {
        return Err(DialFailure::NotLoopback { address });
    }
    let namespace = namespace_of(boot, key)?;
    let pid = key.pid.0;
    // The namespace is entered by a thread that ends with it: nothing of ours stays there, and a
    // target's namespace is not kept alive.
    std::thread::scope(|scope| {
        let enter = || connecting(pid, &namespace, address);
        let thread = std::thread::Builder::new().name("dial".to_owned());
        let started = thread.spawn_scoped(scope, enter).map_err(|error| {
            failed(
                "failed to start a thread",
                Errno::from_io_error(&error).unwrap_or(Errno::AGAIN),
            )
        })?;
        let unwound = DialFailure::lost("its thread ended early");
        started.join().unwrap_or(Err(unwound))
    })
}

fn namespace_of(boot: &BootId, key: &ProcessKey) -> Result<OwnedFd, DialFailure> {
    if key.boot_id != *boot {
        return Err(DialFailure::Gone);
    }
    let pid = key.pid.0;
    let refused = |failure| match failure {
        ReadFailure::Gone => DialFailure::Gone,
        ReadFailure::Denied { path, .. } => denied(pid, format!("{path} may not be opened")),
        other => DialFailure::Io {
            step: format!("failed to open the network namespace of process {pid}"),
            reason: other.to_string(),
        },
    };
    // The folder stays this process's, whoever has its pid next.
    let dir = ProcDir::open(pid).map_err(refused)?;
    let stat = dir.stat().map_err(refused)?;
    if stat.start_ticks != key.start_ticks.0 || stat.has_ended() {
        return Err(DialFailure::Gone);
    }
    Ok(dir.open_file("ns/net").map_err(refused)?.into())
}

fn connecting(pid: u32, namespace: &OwnedFd, to: SocketAddr) -> Result<OwnedFd, DialFailure> {
    let network = Some(LinkNameSpaceType::Network);
    move_into_link_name_space(namespace.as_fd(), network).map_err(|errno| match errno {
        Errno::PERM | Errno::ACCESS => denied(pid, io::Error::from(errno).to_string()),
        other => failed("failed to enter its network namespace", other),
    })?;
    let family = match to {
        SocketAddr::V4(_) => AddressFamily::INET,
        SocketAddr::V6(_) => AddressFamily::INET6,
    };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let kind = SocketType::STREAM;
    let socket = rustix::net::socket_with(family, kind, flags, Some(ipproto::TCP))
        .map_err(|errno| failed("failed to make a socket in its network namespace", errno))?;
    match rustix::net::connect(&socket, &to) {
        Ok(()) | Err(Errno::INPROGRESS) => Ok(socket),
        Err(errno) => Err(failed(&format!("failed to connect to {to}"), errno)),
    }
}

fn denied(pid: u32, reason: String) -> DialFailure {
    DialFailure::Denied {
        pid,
        reason,
        hint: HINT.to_owned(),
    }
}

fn failed(step: &str, errno: Errno) -> DialFailure {
    DialFailure::Io {
        step: step.to_owned(),
        reason: io::Error::from(errno).to_string(),
    }
}
