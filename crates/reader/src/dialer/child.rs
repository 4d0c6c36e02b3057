//! The dialer's side: enters a namespace, makes a socket there, and hands it over.

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;

use model::{BootId, ProcessKey};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, ipproto};
use rustix::process::{Resource, Rlimit, Signal};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::{Answer, DialFailure, HINT, Request, descriptor};
use crate::answers::ReadFailure;
use crate::clock::SystemClock;
use crate::error::ReaderError;
use crate::frame::{self, Frame};
use crate::host::Boot;
use crate::privileges;
use crate::proc_dir::ProcDir;
use std::net::SocketAddr;

/// Losing it loses less than the reader, and more than an opener.
const OOM_SCORE_ADJ: &str = "400";

/// Answers requests until the main process closes the socket or dies. It keeps `CAP_SYS_ADMIN`, to
/// enter namespaces, and `CAP_SYS_PTRACE`, to open those of other users' processes.
pub(crate) fn serve(socket: &UnixStream) -> Result<(), ReaderError> {
    privileges::keep_only(privileges::DIALING)?;
    // Started by a thread that lives as long as the process does, so its end is the process's.
    let _ = rustix::process::set_parent_process_death_signal(Some(Signal::KILL));
    let _ = rustix::process::setrlimit(
        Resource::Core,
        Rlimit {
            current: Some(0),
            maximum: Some(0),
        },
    );
    let _ = std::fs::write("/proc/self/oom_score_adj", OOM_SCORE_ADJ);
    let boot = Boot::now(&SystemClock).id;
    let lost = |source| ReaderError::Lost {
        request: "a socket to open",
        source,
    };
    while let Some(Frame { id, body }) = frame::read::<Request>(socket, None).map_err(lost)? {
        let (body, opened) = match body {
            Request::Hello => {
                let capabilities = privileges::names(privileges::effective());
                (Answer::Hello { capabilities }, None)
            }
            Request::Dial { key, address } => match dial(&boot, &key, address) {
                Ok(opened) => (Answer::Dialed(Ok(())), Some(opened)),
                Err(failure) => (Answer::Dialed(Err(failure)), None),
            },
        };
        frame::write(socket, &Frame { id, body }, None).map_err(lost)?;
        if let Some(opened) = opened {
            descriptor::send(socket, opened).map_err(lost)?;
        }
    }
    Ok(())
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
            io(
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
    let failed = |failure| match failure {
        ReadFailure::Gone => DialFailure::Gone,
        ReadFailure::Denied { path, .. } => denied(pid, format!("{path} may not be opened")),
        other => DialFailure::Io {
            step: format!("failed to open the network namespace of process {pid}"),
            reason: other.to_string(),
        },
    };
    // The folder stays this process's, whoever has its pid next.
    let dir = ProcDir::open(pid).map_err(failed)?;
    let stat = dir.stat().map_err(failed)?;
    if stat.start_ticks != key.start_ticks.0 || stat.has_ended() {
        return Err(DialFailure::Gone);
    }
    Ok(dir.open_file("ns/net").map_err(failed)?.into())
}

fn connecting(pid: u32, namespace: &OwnedFd, to: SocketAddr) -> Result<OwnedFd, DialFailure> {
    let network = Some(LinkNameSpaceType::Network);
    move_into_link_name_space(namespace.as_fd(), network).map_err(|errno| match errno {
        Errno::PERM | Errno::ACCESS => denied(pid, std::io::Error::from(errno).to_string()),
        other => io("failed to enter its network namespace", other),
    })?;
    let family = match to {
        SocketAddr::V4(_) => AddressFamily::INET,
        SocketAddr::V6(_) => AddressFamily::INET6,
    };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let kind = SocketType::STREAM;
    let socket = rustix::net::socket_with(family, kind, flags, Some(ipproto::TCP))
        .map_err(|errno| io("failed to make a socket in its network namespace", errno))?;
    match rustix::net::connect(&socket, &to) {
        Ok(()) | Err(Errno::INPROGRESS) => Ok(socket),
        Err(errno) => Err(io(&format!("failed to connect to {to}"), errno)),
    }
}

fn denied(pid: u32, reason: String) -> DialFailure {
    DialFailure::Denied {
        pid,
        reason,
        hint: HINT.to_owned(),
    }
}

fn io(step: &str, errno: Errno) -> DialFailure {
    DialFailure::Io {
        step: step.to_owned(),
        reason: std::io::Error::from(errno).to_string(),
    }
}
