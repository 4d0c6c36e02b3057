//! The main process's side: starts the keeper while there are privileges to pass on, and asks it.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use model::ProcessKey;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Signal, pidfd_send_signal};

use super::{Answer, DialFailure, KEEPER_ARGUMENT, Request, child, descriptor};
use crate::clock::SystemClock;
use crate::frame::{self, Frame};
use crate::host::Boot;
use crate::privileges;

/// It never waits for a target, so an answer takes less than a millisecond on an idle machine.
const DEADLINE: Duration = Duration::from_secs(5);

/// Who has the privileges.
#[derive(Debug)]
pub(crate) struct Keeper(Way);

#[derive(Debug)]
enum Way {
    /// A child with all of them.
    Child(Box<Mutex<Link>>),
    /// This process, with whatever it may do.
    Here,
    /// Nobody: there are none.
    Nobody(DialFailure),
}

#[derive(Debug)]
struct Link {
    socket: UnixStream,
    child: Child,
    last_id: u64,
    /// Why it cannot dial although it lives.
    no_dialing: Option<DialFailure>,
    /// It is never started again: the privileges for that are gone.
    lost: Option<DialFailure>,
}

/// A process that the keeper has started, and waits for.
#[derive(Debug)]
pub(crate) struct Kept(OwnedFd);

impl Kept {
    pub(crate) fn kill(&self) {
        let _ = pidfd_send_signal(&self.0, Signal::KILL);
    }

    pub(crate) fn has_ended(&self) -> bool {
        let at_once = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        let mut ends = [PollFd::new(&self.0, PollFlags::IN)];
        poll(&mut ends, Some(&at_once)).is_ok_and(|ended| ended > 0)
    }
}

impl Keeper {
    /// Starts the keeper where this process has any of what it keeps. To be called before privileges are
    /// given up. Without `dials` it opens no socket.
    pub(crate) fn start(program: &Path, dials: bool) -> Self {
        let have = privileges::effective();
        let no_dialing = match dials {
            false => Some(DialFailure::Unavailable {
                why: "it is switched off".to_owned(),
                hint: "set discovery.network_namespaces to true".to_owned(),
            }),
            true if have.contains(privileges::DIALING) => None,
            true => {
                let missing = privileges::names(privileges::DIALING.difference(have));
                let why = format!("unswept has no {}", missing.join(" and no "));
                Some(DialFailure::unavailable(why))
            }
        };
        let wanted = match no_dialing {
            None => privileges::KEEPING,
            Some(why) if !have.intersects(privileges::KEPT) => return Self(Way::Nobody(why)),
            Some(_) => privileges::KEPT,
        };
        privileges::pass_on(wanted);
        match Link::start(program, no_dialing) {
            Ok(link) => Self(Way::Child(Box::new(Mutex::new(link)))),
            Err(failure) => Self(Way::Nobody(failure)),
        }
    }

    /// This process itself: for a reader that is a thread of it.
    pub(crate) fn here() -> Self {
        Self(Way::Here)
    }

    fn link(&self) -> Option<MutexGuard<'_, Link>> {
        match &self.0 {
            Way::Child(link) => Some(link.lock().unwrap_or_else(PoisonError::into_inner)),
            Way::Here | Way::Nobody(_) => None,
        }
    }

    /// The child's pid.
    pub(crate) fn pid(&self) -> Option<u32> {
        self.link().map(|link| link.child.id())
    }

    /// Whether there is somebody to dial.
    pub(crate) fn can_dial(&self) -> Result<(), DialFailure> {
        match &self.0 {
            Way::Here => Ok(()),
            Way::Nobody(why) => Err(why.clone()),
            Way::Child(_) => self.link().map_or(Ok(()), |link| link.can_dial()),
        }
    }

    pub(crate) fn dial(
        &self,
        key: &ProcessKey,
        address: SocketAddr,
    ) -> Result<TcpStream, DialFailure> {
        match (&self.0, self.link()) {
            (_, Some(mut link)) => link.dial(key, address),
            (Way::Nobody(why), None) => Err(why.clone()),
            (Way::Here | Way::Child(_), None) => {
                let boot = Boot::now(&SystemClock).id;
                child::dial(&boot, key, address).map(TcpStream::from)
            }
        }
    }

    /// A reader with its rights, and our end of its socket; `None` where nobody has any to give.
    pub(crate) fn start_reader(&self) -> Option<io::Result<(UnixStream, Kept)>> {
        let mut link = self.link()?;
        if link.lost.is_some() {
            return None;
        }
        match link.start_reader() {
            // Whoever asks goes on without rights, and says so.
            Err(_) if link.lost.is_some() => None,
            started => Some(started),
        }
    }
}

impl Link {
    fn start(program: &Path, no_dialing: Option<DialFailure>) -> Result<Self, DialFailure> {
        let started = crate::child::start(program, KEEPER_ARGUMENT, Stdio::inherit());
        let (socket, child) = started.map_err(DialFailure::lost)?;
        let dials = no_dialing.is_none();
        let mut link = Self {
            socket,
            child,
            last_id: 0,
            no_dialing,
            lost: None,
        };
        match link.exchange(Request::Hello { dials }, None) {
            Ok((Answer::Hello { .. }, _)) => Ok(link),
            Ok((other, _)) => Err(DialFailure::lost(format!("it answers {other:?}"))),
            Err(error) => Err(DialFailure::lost(error)),
        }
    }

    fn can_dial(&self) -> Result<(), DialFailure> {
        let cannot = self.lost.as_ref().or(self.no_dialing.as_ref());
        cannot.cloned().map_or(Ok(()), Err)
    }

    fn dial(&mut self, key: &ProcessKey, address: SocketAddr) -> Result<TcpStream, DialFailure> {
        self.can_dial()?;
        let key = key.clone();
        match self.exchange(Request::Dial { key, address }, None) {
            Ok((Answer::Dialed(Ok(())), Some(socket))) => Ok(TcpStream::from(socket)),
            Ok((Answer::Dialed(Err(failure)), _)) => Err(failure),
            Ok((other, _)) => Err(self.lose(format!("it answers {other:?}"))),
            Err(error) => Err(self.lose(error)),
        }
    }

    fn start_reader(&mut self) -> io::Result<(UnixStream, Kept)> {
        let (ours, theirs) = UnixStream::pair()?;
        match self.exchange(Request::Reader, Some(theirs.into())) {
            Ok((Answer::Reader(Ok(())), Some(process))) => Ok((ours, Kept(process))),
            Ok((Answer::Reader(Err(reason)), _)) => Err(io::Error::other(reason)),
            Ok((other, _)) => Err(io::Error::other(self.lose(format!("it answers {other:?}")))),
            Err(error) => Err(io::Error::other(self.lose(error))),
        }
    }

    /// What comes next on the socket belongs to no request that is known.
    fn lose(&mut self, why: impl std::fmt::Display) -> DialFailure {
        let failure = DialFailure::lost(why);
        tracing::warn!(%failure, "the keeper was lost");
        // It touches no disk but /proc, so it ends at once.
        let _ = self.child.kill();
        let _ = self.child.wait();
        self.lost.insert(failure).clone()
    }

    fn exchange(
        &mut self,
        body: Request,
        with: Option<OwnedFd>,
    ) -> io::Result<(Answer, Option<OwnedFd>)> {
        self.last_id += 1;
        let id = self.last_id;
        let deadline = Some(Instant::now() + DEADLINE);
        frame::write(&self.socket, &Frame { id, body }, deadline)?;
        if let Some(with) = with {
            descriptor::send(&self.socket, with)?;
        }
        let answer = frame::read::<Answer>(&self.socket, deadline)?;
        let answer = answer.ok_or(io::ErrorKind::UnexpectedEof)?;
        if answer.id != id {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let opened = match answer.body {
            Answer::Dialed(Ok(())) | Answer::Reader(Ok(())) => {
                Some(descriptor::receive(&self.socket, DEADLINE)?)
            }
            _ => None,
        };
        Ok((answer.body, opened))
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        // It holds nothing that a kill could harm; its readers end with it.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
