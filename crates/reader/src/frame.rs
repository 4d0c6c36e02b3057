//! The protocol: length-prefixed JSON, one request and one answer at a time.
//!
//! A frame is its length as four little-endian bytes and then so many bytes of JSON, at most
//! [`FRAME_BYTES_MAX`]. An answer carries its request's id. Both sides are the same executable, so
//! there is no negotiation: [`PROTOCOL`] must be equal.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use model::ProcessKey;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::answers::{Ability, Discovery, Ended, Greeting, Host, Mappings, ReadFailure, Reading};
use crate::holders::{Found, HoldersBudget, HoldersFailure, LookAt};
use crate::log::{LogPiece, LogPlace};

/// Both sides must have the same.
pub(crate) const PROTOCOL: u32 = 3;

/// Bytes of JSON in one frame.
pub(crate) const FRAME_BYTES_MAX: usize = 8 << 20;

/// Processes in one [`Request::Read`].
pub(crate) const KEYS_MAX: usize = 1024;

/// What the client asks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Request {
    /// First of all. `die_with_parent` must only be set by a thread that lives as long as the
    /// process: the kernel sends the signal when the *thread* ends.
    Hello {
        die_with_parent: bool,
        /// Where the node's file system is mounted, if anywhere.
        host_root: Option<PathBuf>,
    },
    Host,
    Discover,
    Read {
        keys: Vec<ProcessKey>,
        /// The figures of their Go runtimes too.
        go: bool,
    },
    Mappings {
        key: ProcessKey,
        any_size: bool,
    },
    /// What came to a log, at a path of the process's own root, since it was read up to there.
    Log {
        key: ProcessKey,
        path: PathBuf,
        read: Option<LogPlace>,
    },
    /// How a process ended that was read before.
    Ended {
        key: ProcessKey,
    },
    Doctor,
    LookStart {
        key: ProcessKey,
        at: LookAt,
        budget: HoldersBudget,
    },
    LookPoll {
        look: u64,
    },
}

impl Request {
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Hello { .. } => "hello",
            Self::Host => "host",
            Self::Discover => "discover",
            Self::Read { .. } => "read",
            Self::Mappings { .. } => "mappings",
            Self::Log { .. } => "log",
            Self::Ended { .. } => "ended",
            Self::Doctor => "doctor",
            Self::LookStart { .. } | Self::LookPoll { .. } => "look",
        }
    }
}

/// What the reader answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Answer {
    Hello(Greeting),
    Host(Host),
    Discovery(Discovery),
    Readings(Vec<Result<Reading, ReadFailure>>),
    Mappings(Result<Mappings, ReadFailure>),
    Log(Result<LogPiece, ReadFailure>),
    Ended(Option<Ended>),
    Doctor(Vec<Ability>),
    /// The number of the look that was started.
    LookStarted(Result<u64, HoldersFailure>),
    /// `None` while it goes on.
    Looked(Option<Result<Found, HoldersFailure>>),
    Refused {
        reason: String,
    },
}

/// A message with its id.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Frame<T> {
    pub(crate) id: u64,
    pub(crate) body: T,
}

/// Writes one frame.
///
/// # Errors
/// `InvalidData` if it is above [`FRAME_BYTES_MAX`]; `TimedOut`; those of the socket.
pub(crate) fn write<T: Serialize>(
    stream: &UnixStream,
    frame: &Frame<T>,
    deadline: Option<Instant>,
) -> io::Result<()> {
    let mut bytes = vec![0; 4];
    serde_json::to_writer(&mut bytes, frame)?;
    let len = bytes.len() - 4;
    if len > FRAME_BYTES_MAX {
        return Err(too_big(len));
    }
    // At most FRAME_BYTES_MAX, which fits.
    bytes[..4].copy_from_slice(&(len as u32).to_le_bytes());
    let mut sent = 0;
    while sent < bytes.len() {
        stream.set_write_timeout(left(deadline)?)?;
        match (&mut &*stream).write(&bytes[sent..]) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(n) => sent += n,
            Err(error) => retry(error)?,
        }
    }
    Ok(())
}

/// Reads one frame; `None` when the other side closed between frames.
///
/// # Errors
/// `InvalidData` if it is too long or not what is expected; `UnexpectedEof` if it ends early;
/// `TimedOut`; those of the socket.
pub(crate) fn read<T: DeserializeOwned>(
    stream: &UnixStream,
    deadline: Option<Instant>,
) -> io::Result<Option<Frame<T>>> {
    let mut head = [0; 4];
    if !fill(stream, &mut head, deadline)? {
        return Ok(None);
    }
    let len = u32::from_le_bytes(head) as usize;
    if len > FRAME_BYTES_MAX {
        return Err(too_big(len));
    }
    let mut body = vec![0; len];
    if !fill(stream, &mut body, deadline)? && len > 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    parse(&body).map(Some)
}

pub(crate) fn parse<T: DeserializeOwned>(body: &[u8]) -> io::Result<Frame<T>> {
    Ok(serde_json::from_slice(body)?)
}

/// Fills `buf`; `false` if the stream ended before its first byte.
fn fill(stream: &UnixStream, buf: &mut [u8], deadline: Option<Instant>) -> io::Result<bool> {
    let mut got = 0;
    while got < buf.len() {
        stream.set_read_timeout(left(deadline)?)?;
        match (&mut &*stream).read(&mut buf[got..]) {
            Ok(0) if got == 0 => return Ok(false),
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(n) => got += n,
            Err(error) => retry(error)?,
        }
    }
    Ok(true)
}

/// Interrupted calls are made again, and so are timeouts: the deadline is checked before each.
fn retry(error: io::Error) -> io::Result<()> {
    match error.kind() {
        io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Ok(()),
        _ => Err(error),
    }
}

/// The time left, never zero: a zero timeout would mean none.
fn left(deadline: Option<Instant>) -> io::Result<Option<Duration>> {
    let Some(deadline) = deadline else {
        return Ok(None);
    };
    let left = deadline.saturating_duration_since(Instant::now());
    if left < Duration::from_millis(1) {
        return Err(io::ErrorKind::TimedOut.into());
    }
    Ok(Some(left))
}

fn too_big(len: usize) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!("a frame of {len} bytes, above {FRAME_BYTES_MAX}"),
    )
}

pub(crate) fn fuzz_one(bytes: &[u8]) {
    let _ = parse::<Request>(bytes);
    let _ = parse::<Answer>(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::{BootId, Pid, StartTicks};

    #[test]
    fn a_frame_comes_out_as_it_went_in() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let key = ProcessKey {
            boot_id: BootId("b".into()),
            pid: Pid(1),
            start_ticks: StartTicks(u64::MAX),
        };
        for body in [
            Request::Hello {
                die_with_parent: true,
                host_root: Some("/host".into()),
            },
            Request::Host,
            Request::Read {
                keys: vec![key],
                go: true,
            },
        ] {
            let frame = Frame { id: 7, body };
            write(&ours, &frame, None).unwrap();
            assert_eq!(read::<Request>(&theirs, None).unwrap(), Some(frame));
        }
        drop(ours);
        assert!(read::<Request>(&theirs, None).unwrap().is_none());
    }

    #[test]
    fn bad_frames_are_refused() {
        let huge = u32::try_from(FRAME_BYTES_MAX + 1).unwrap().to_le_bytes();
        let rows: [(&str, &[u8], io::ErrorKind); 5] = [
            ("too long", &huge, io::ErrorKind::InvalidData),
            ("cut head", &[1, 0], io::ErrorKind::UnexpectedEof),
            (
                "cut body",
                &[9, 0, 0, 0, b'{'],
                io::ErrorKind::UnexpectedEof,
            ),
            ("empty body", &[0, 0, 0, 0], io::ErrorKind::UnexpectedEof),
            ("not a request", b"\x02\0\0\0{}", io::ErrorKind::InvalidData),
        ];
        for (name, bytes, kind) in rows {
            let (mut ours, theirs) = UnixStream::pair().unwrap();
            ours.write_all(bytes).unwrap();
            drop(ours);
            let error = read::<Request>(&theirs, None).unwrap_err();
            assert_eq!(error.kind(), kind, "{name}: {error}");
        }
    }

    #[test]
    fn a_silent_other_side_ends_at_the_deadline() {
        let (_ours, theirs) = UnixStream::pair().unwrap();
        let start = Instant::now();
        let error = read::<Answer>(&theirs, Some(start + Duration::from_millis(30))).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(start.elapsed() < Duration::from_secs(2));
    }
}
