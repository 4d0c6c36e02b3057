//! The main process's side: starts the dialer while there are privileges to pass on, and asks it.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use model::ProcessKey;

use super::{Answer, DIALER_ARGUMENT, DialFailure, Request, child, descriptor};
use crate::clock::SystemClock;
use crate::frame::{self, Frame};
use crate::host::Boot;
use crate::privileges;

/// It never waits for a target, so an answer takes less than a millisecond on an idle machine.
const DEADLINE: Duration = Duration::from_secs(5);

/// Who dials.
#[derive(Debug)]
pub(crate) struct Dialer(Way);

#[derive(Debug)]
enum Way {
    /// A child with the capability.
    Child(Mutex<Link>),
    /// This process, with whatever it may do.
    Here,
    /// Nobody.
    Nobody(DialFailure),
}

#[derive(Debug)]
struct Link {
    socket: UnixStream,
    child: Child,
    last_id: u64,
    /// It is never started again: the privileges for that are gone.
    lost: Option<DialFailure>,
}

impl Dialer {
    /// Starts the dialer where this process has what it needs. To be called before privileges are
    /// given up.
    pub(crate) fn start(program: &Path) -> Self {
        let have = privileges::effective();
        if !have.contains(privileges::DIALING) {
            let missing = privileges::names(privileges::DIALING.difference(have));
            let why = format!("unswept has no {}", missing.join(" and no "));
            return Self::nobody(DialFailure::unavailable(why));
        }
        privileges::pass_on(privileges::DIALING);
        let started = crate::child::start(program, DIALER_ARGUMENT, Stdio::inherit());
        let (socket, child) = match started {
            Ok(started) => started,
            Err(error) => return Self::nobody(DialFailure::lost(error)),
        };
        let mut link = Link {
            socket,
            child,
            last_id: 0,
            lost: None,
        };
        match link.call(Request::Hello) {
            Ok((Answer::Hello { .. }, _)) => Self(Way::Child(Mutex::new(link))),
            Ok((other, _)) => Self::nobody(DialFailure::lost(format!("it answers {other:?}"))),
            Err(failure) => Self::nobody(failure),
        }
    }

    /// Dials in this process: for a reader that is a thread of it.
    pub(crate) fn here() -> Self {
        Self(Way::Here)
    }

    /// Told not to.
    pub(crate) fn off() -> Self {
        Self::nobody(DialFailure::Unavailable {
            why: "it is switched off".to_owned(),
            hint: "set discovery.network_namespaces to true".to_owned(),
        })
    }

    fn nobody(why: DialFailure) -> Self {
        Self(Way::Nobody(why))
    }

    /// The child's pid.
    pub(crate) fn pid(&self) -> Option<u32> {
        match &self.0 {
            Way::Child(link) => {
                let link = link.lock().unwrap_or_else(PoisonError::into_inner);
                Some(link.child.id())
            }
            Way::Here | Way::Nobody(_) => None,
        }
    }

    /// Whether there is somebody to dial.
    pub(crate) fn ready(&self) -> Result<(), DialFailure> {
        match &self.0 {
            Way::Here => Ok(()),
            Way::Nobody(why) => Err(why.clone()),
            Way::Child(link) => {
                let link = link.lock().unwrap_or_else(PoisonError::into_inner);
                link.lost.clone().map_or(Ok(()), Err)
            }
        }
    }

    pub(crate) fn dial(
        &self,
        key: &ProcessKey,
        address: SocketAddr,
    ) -> Result<TcpStream, DialFailure> {
        match &self.0 {
            Way::Nobody(why) => Err(why.clone()),
            Way::Here => {
                let boot = Boot::now(&SystemClock).id;
                child::dial(&boot, key, address).map(TcpStream::from)
            }
            Way::Child(link) => {
                let mut link = link.lock().unwrap_or_else(PoisonError::into_inner);
                link.dial(key, address)
            }
        }
    }
}

impl Link {
    fn dial(&mut self, key: &ProcessKey, address: SocketAddr) -> Result<TcpStream, DialFailure> {
        if let Some(lost) = &self.lost {
            return Err(lost.clone());
        }
        let key = key.clone();
        let dialed = match self.call(Request::Dial { key, address }) {
            Ok((Answer::Dialed(Ok(())), Some(socket))) => return Ok(socket),
            Ok((Answer::Dialed(Err(failure)), _)) => return Err(failure),
            Ok((other, _)) => DialFailure::lost(format!("it answers {other:?}")),
            Err(failure) => failure,
        };
        // What comes next on the socket belongs to no request that is known.
        tracing::warn!(%dialed, "the dialer was lost");
        let _ = self.child.kill();
        self.lost = Some(dialed.clone());
        Err(dialed)
    }

    fn call(&mut self, body: Request) -> Result<(Answer, Option<TcpStream>), DialFailure> {
        self.exchange(body).map_err(DialFailure::lost)
    }

    fn exchange(&mut self, body: Request) -> io::Result<(Answer, Option<TcpStream>)> {
        self.last_id += 1;
        let id = self.last_id;
        let deadline = Some(Instant::now() + DEADLINE);
        frame::write(&self.socket, &Frame { id, body }, deadline)?;
        let answer = frame::read::<Answer>(&self.socket, deadline)?;
        let answer = answer.ok_or(io::ErrorKind::UnexpectedEof)?;
        if answer.id != id {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let socket = match answer.body {
            Answer::Dialed(Ok(())) => Some(descriptor::receive(&self.socket, DEADLINE)?.into()),
            _ => None,
        };
        Ok((answer.body, socket))
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        // It holds nothing that a kill could harm.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
