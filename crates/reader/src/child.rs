//! Starting our own executable once more, with a socket in place of its standard input.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit};

/// What a child of ours does first that lives as long as we: it leaves no core dump, which would hold what it read,
/// and takes its place in the order in which the kernel ends processes for lack of memory. Best effort: both only make
/// an accident smaller.
pub(crate) fn settle(oom_score_adj: &str) {
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    let _ = rustix::process::setrlimit(Resource::Core, none);
    let _ = std::fs::write("/proc/self/oom_score_adj", oom_score_adj);
}

/// How a child ended; `None` if it has not within this time.
pub(crate) fn end_of(child: &mut Child, within: Duration) -> Option<ExitStatus> {
    let began = Instant::now();
    loop {
        if let Ok(Some(status)) = child.try_wait() {
            return Some(status);
        }
        if began.elapsed() >= within {
            return None;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Starts `program` with this one argument; returns our end of the socket. What it says on standard
/// error goes to `stderr`.
///
/// # Errors
/// Those of the socket and of starting it.
pub(crate) fn start(
    program: &Path,
    argument: &str,
    stderr: Stdio,
) -> io::Result<(UnixStream, Child)> {
    let (ours, theirs) = UnixStream::pair()?;
    Ok((ours, start_on(program, argument, theirs.into(), stderr)?))
}

/// As [`start`], with a socket whose other end is somebody's already.
///
/// # Errors
/// Those of starting it.
pub(crate) fn start_on(
    program: &Path,
    argument: &str,
    socket: OwnedFd,
    stderr: Stdio,
) -> io::Result<Child> {
    let mut command = Command::new(program);
    command
        .arg(argument)
        .stdin(Stdio::from(socket))
        .stdout(Stdio::null())
        .stderr(stderr)
        // It needs none of our environment, which may hold secrets.
        .env_clear()
        .current_dir("/")
        // A terminal's Ctrl-C is for the main process, which then closes the socket.
        .process_group(0);
    if let Some(level) = std::env::var_os("RUST_BACKTRACE") {
        command.env("RUST_BACKTRACE", level);
    }
    command.spawn()
}
