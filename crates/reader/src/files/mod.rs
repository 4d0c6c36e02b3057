//! Files of targets, touched by a helper: whoever opens one on a disk that hangs, hangs.
//!
//! The reader answers one request at a time, and what it is lost with cannot come back. So it opens no file
//! that a target has chosen itself: it asks a child of its own, which has its two capabilities and nothing
//! else to do. One that does not answer in time is killed, another takes its place, and what it was asked
//! about is left alone for some minutes, and for as long as it hangs: whoever waits in the kernel for a disk
//! cannot be killed. Such children are counted; beyond a few nothing more is asked.
//!
//! A child and not a thread, because a process with a thread that hangs can neither be ended nor give back
//! its memory. Only short commands and tests, which have no child, use a thread.

mod lane;

use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use model::ProcessKey;
use rustix::fs::{Mode, OFlags};
use serde::{Deserialize, Serialize};

pub(crate) use lane::{Lane, Said, Whose};

use crate::answers::{ContainerIdentity, PodIdentity, ReadFailure};
use crate::error::ReaderError;
use crate::executables::{self, FileId, GoFile};
use crate::frame::{self, Frame};
use crate::identity::Identities;
use crate::log::{LogPiece, LogPlace};
use crate::proc_dir::ProcDir;
use crate::{opener, privileges, process};

/// The one argument that makes our executable such a helper.
pub(crate) const FILES_ARGUMENT: &str = "__files";

/// What it is asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Ask {
    /// Which plain file lies at a path of ours.
    Which { path: PathBuf },
    /// What this executable says of itself.
    Look { path: PathBuf, file: FileId },
    /// Who a container is.
    Names {
        pid: u32,
        host_root: Option<PathBuf>,
        container: ContainerIdentity,
        pod: Option<PodIdentity>,
    },
    /// What came to a log.
    Log {
        key: ProcessKey,
        path: PathBuf,
        read: Option<LogPlace>,
    },
}

/// What it tells; in the order of [`Ask`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Told {
    Which(Option<FileId>),
    /// `Ok(None)`: it is not Go. `Err`: it could not be read this time.
    Look(Result<Option<GoFile>, ()>),
    Names(ContainerIdentity, Option<PodIdentity>),
    Log(Result<LogPiece, ReadFailure>),
}

/// The child's side: answers until the socket closes.
///
/// # Errors
/// [`ReaderError::Privileges`] if they cannot be given up; [`ReaderError::Lost`] if the socket fails.
pub(crate) fn serve(socket: &UnixStream) -> Result<(), ReaderError> {
    privileges::keep_only(privileges::KEPT)?;
    opener::limit_memory();
    serve_here(socket)
}

/// The same in a thread, which gives nothing up.
fn serve_here(socket: &UnixStream) -> Result<(), ReaderError> {
    let lost = |source| ReaderError::Lost {
        request: "a file to look into",
        source,
    };
    while let Some(Frame { id, body }) = frame::read::<Ask>(socket, None).map_err(lost)? {
        let body = tell(body);
        match frame::write(socket, &Frame { id, body }, None) {
            // A log of control characters is longer in words than it is.
            Err(error) if error.kind() == std::io::ErrorKind::InvalidData => {
                let body = Told::Log(Err(ReadFailure::Io {
                    path: "the log".to_owned(),
                    reason: error.to_string(),
                }));
                frame::write(socket, &Frame { id, body }, None).map_err(lost)?;
            }
            other => other.map_err(lost)?,
        }
    }
    Ok(())
}

fn tell(ask: Ask) -> Told {
    match ask {
        Ask::Which { path } => Told::Which(which(&path)),
        Ask::Look { path, file } => Told::Look(look(&path, file)),
        Ask::Names {
            pid,
            host_root,
            mut container,
            mut pod,
        } => {
            if let Ok(dir) = ProcDir::open(pid) {
                Identities { host_root }.complete(&dir, &mut container, &mut pod);
            }
            Told::Names(container, pod)
        }
        Ask::Log { key, path, read } => Told::Log(process::log(&key, &path, read)),
    }
}

fn which(path: &Path) -> Option<FileId> {
    let stat = rustix::fs::stat(path).ok()?;
    // Only plain files: opening a pipe or a device that somebody names would wait or act.
    let kind = rustix::fs::FileType::from_raw_mode(stat.st_mode);
    (kind == rustix::fs::FileType::RegularFile).then(|| stat.into())
}

fn look(path: &Path, file: FileId) -> Result<Option<GoFile>, ()> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let opened = rustix::fs::open(path, flags, Mode::empty()).map_err(drop)?;
    // Another process's, or another one's by now: asked for anew.
    match rustix::fs::fstat(&opened) {
        Ok(stat) if FileId::from(stat) == file => executables::look(&opened.into()),
        _ => Err(()),
    }
}
