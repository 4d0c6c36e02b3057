//! One process's folder in `/proc`, held open: whatever is read through it is the same process's,
//! also when its pid is used again meanwhile. After its end every read fails.

use std::fs::File;
use std::io::Read;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, CWD, Mode, OFlags, RawDir, StatxFlags};
use rustix::io::Errno;

use crate::answers::ReadFailure;
use crate::executables::FileId;
use crate::procfs::{self, Stat};

/// What would let us read other users' processes.
pub const PERMISSION_HINT: &str =
    "run unswept as root or as the process's user, or give it CAP_SYS_PTRACE";

/// Bytes read of one small file.
const SMALL_BYTES_MAX: u64 = 64 << 10;

/// An open `/proc/PID`.
#[derive(Debug)]
pub(crate) struct ProcDir {
    fd: OwnedFd,
    pid: u32,
}

/// What is used of a file's description.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FileStat {
    pub(crate) file: FileId,
    pub(crate) inode: u64,
    pub(crate) size: u64,
}

/// What a walk over `/proc/PID/fd` found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct FdCount {
    pub(crate) fds: u64,
    pub(crate) sockets: u64,
    /// There were more than could be looked at: both counts are too low.
    pub(crate) cut: bool,
}

impl ProcDir {
    /// Opens the folder of `pid`.
    ///
    /// # Errors
    /// [`ReadFailure::Gone`] if there is no such process; [`ReadFailure::Denied`] if it is hidden from us.
    pub(crate) fn open(pid: u32) -> Result<Self, ReadFailure> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        match rustix::fs::openat(CWD, format!("/proc/{pid}"), flags, Mode::empty()) {
            Ok(fd) => Ok(Self { fd, pid }),
            // With `hidepid` those of others are not there, and have not ended for that.
            Err(Errno::NOENT) if is_taken(pid) => Err(failure(pid, "", Errno::ACCESS)),
            Err(errno) => Err(failure(pid, "", errno)),
        }
    }

    /// The pid it was opened for.
    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    /// Opens one of its files for reading.
    ///
    /// # Errors
    /// [`ReadFailure::Gone`], [`ReadFailure::Denied`], [`ReadFailure::Io`], as for all below.
    pub(crate) fn open_file(&self, name: &str) -> Result<File, ReadFailure> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        let fd = rustix::fs::openat(&self.fd, name, flags, Mode::empty());
        fd.map(File::from)
            .map_err(|errno| self.failure(name, errno))
    }

    /// The folder that one of its links leads to, to open what is below it.
    pub(crate) fn open_folder(&self, name: &str) -> Result<OwnedFd, Errno> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        rustix::fs::openat(&self.fd, name, flags, Mode::empty())
    }

    /// Reads one of its small files, cut at 64 KiB.
    pub(crate) fn read(&self, name: &str) -> Result<Vec<u8>, ReadFailure> {
        self.read_up_to(name, SMALL_BYTES_MAX)
    }

    /// Reads one of its files, cut at `bytes_max`.
    pub(crate) fn read_up_to(&self, name: &str, bytes_max: u64) -> Result<Vec<u8>, ReadFailure> {
        let mut bytes = Vec::with_capacity(2048);
        let read = self
            .open_file(name)?
            .take(bytes_max)
            .read_to_end(&mut bytes);
        match read {
            Ok(_) => Ok(bytes),
            Err(error) => Err(self.io_failure(name, &error)),
        }
    }

    /// Reads `stat`.
    pub(crate) fn stat(&self) -> Result<Stat, ReadFailure> {
        let bytes = self.read("stat")?;
        procfs::parse_stat(&bytes).ok_or_else(|| ReadFailure::Malformed {
            path: self.path("stat"),
            what: "not the known fields".to_owned(),
        })
    }

    /// Where one of its links leads, as the kernel writes it.
    pub(crate) fn read_link(&self, name: &str) -> Result<Vec<u8>, ReadFailure> {
        rustix::fs::readlinkat(&self.fd, name, Vec::new())
            .map(std::ffi::CString::into_bytes)
            .map_err(|errno| self.failure(name, errno))
    }

    /// The file that one of its links leads to, as the kernel remembers it: its disk is not asked, which may
    /// hang. File systems that do not heed that are few, and all local ones remember what is open.
    pub(crate) fn file_stat(&self, name: &str) -> Result<FileStat, ReadFailure> {
        let (flags, mask) = (AtFlags::STATX_DONT_SYNC, StatxFlags::BASIC_STATS);
        match rustix::fs::statx(&self.fd, name, flags, mask) {
            Ok(stat) => Ok(FileStat {
                file: FileId::from(stat),
                inode: stat.stx_ino,
                size: stat.stx_size,
            }),
            // Filters of system calls that do not know this one.
            Err(Errno::NOSYS | Errno::PERM) => self.file_stat_of_old(name),
            Err(errno) => Err(self.failure(name, errno)),
        }
    }

    fn file_stat_of_old(&self, name: &str) -> Result<FileStat, ReadFailure> {
        let stat = rustix::fs::statat(&self.fd, name, AtFlags::empty())
            .map_err(|errno| self.failure(name, errno))?;
        Ok(FileStat {
            file: FileId::from(stat),
            inode: stat.st_ino as _,
            size: stat.st_size as _,
        })
    }

    /// How many descriptors it has, without listing them; kernels before 6.2 do not tell.
    pub(crate) fn fd_count(&self) -> Option<u64> {
        let count = self.file_stat("fd").ok()?.size;
        (count > 0).then_some(count)
    }

    /// Lists its descriptors, at most `max`, and hands each socket's inode to `socket`. About a
    /// microsecond for each.
    pub(crate) fn each_socket(
        &self,
        max: u64,
        mut socket: impl FnMut(u64),
    ) -> Result<FdCount, ReadFailure> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = rustix::fs::openat(&self.fd, "fd", flags, Mode::empty())
            .map_err(|errno| self.failure("fd", errno))?;
        let mut buffer = [MaybeUninit::uninit(); 8192];
        let mut entries = RawDir::new(&folder, &mut buffer);
        let mut count = FdCount::default();
        while let Some(entry) = entries.next() {
            let entry = entry.map_err(|errno| self.failure("fd", errno))?;
            let name = entry.file_name();
            if name.to_bytes().starts_with(b".") {
                continue;
            }
            if count.fds == max {
                count.cut = true;
                break;
            }
            count.fds += 1;
            let mut link = [0_u8; 64];
            // One that was closed meanwhile is not counted among the sockets.
            let Ok(len) = rustix::fs::readlinkat_raw(&folder, name, &mut link) else {
                continue;
            };
            if let Some(inode) = procfs::parse_socket_link(&link[..len]) {
                count.sockets += 1;
                socket(inode);
            }
        }
        Ok(count)
    }

    fn path(&self, name: &str) -> String {
        format!("/proc/{}/{name}", self.pid)
    }

    pub(crate) fn io_failure(&self, name: &str, error: &std::io::Error) -> ReadFailure {
        match Errno::from_io_error(error) {
            Some(errno) => self.failure(name, errno),
            None => ReadFailure::Io {
                path: self.path(name),
                reason: error.to_string(),
            },
        }
    }

    fn failure(&self, name: &str, errno: Errno) -> ReadFailure {
        failure(self.pid, name, errno)
    }
}

fn failure(pid: u32, name: &str, errno: Errno) -> ReadFailure {
    let path = format!("/proc/{pid}/{name}");
    match errno {
        Errno::NOENT | Errno::SRCH => ReadFailure::Gone,
        Errno::ACCESS | Errno::PERM => ReadFailure::Denied {
            path,
            hint: PERMISSION_HINT.to_owned(),
        },
        other => ReadFailure::Io {
            path,
            reason: std::io::Error::from(other).to_string(),
        },
    }
}

/// Whether a process has this pid, seen or not.
fn is_taken(pid: u32) -> bool {
    let pid = i32::try_from(pid)
        .ok()
        .and_then(rustix::process::Pid::from_raw);
    pid.is_some_and(|pid| rustix::process::test_kill_process(pid) != Err(Errno::SRCH))
}

/// Every pid in our pid namespace, ascending.
pub(crate) fn all_pids() -> std::io::Result<Vec<u32>> {
    let mut pids: Vec<u32> = std::fs::read_dir("/proc")?
        .flatten()
        .filter_map(|entry| procfs::number(entry.file_name().as_encoded_bytes()))
        .collect();
    pids.sort_unstable();
    Ok(pids)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsRawFd;

    #[test]
    fn our_own_folder() {
        let ours = ProcDir::open(std::process::id()).unwrap();
        assert!(ours.stat().unwrap().start_ticks > 0);
        let (a, _b) = std::os::unix::net::UnixStream::pair().unwrap();
        let inode = rustix::fs::fstat(&a).unwrap().st_ino;
        let mut sockets = Vec::new();
        let count = ours
            .each_socket(100_000, |inode| sockets.push(inode))
            .unwrap();
        assert!(sockets.contains(&inode) && count.sockets == sockets.len() as u64);
        assert!(!count.cut && count.fds > a.as_raw_fd().unsigned_abs().into());
        let cut = ours.each_socket(1, |_| ()).unwrap();
        assert!(cut.cut && cut.fds == 1);
        assert!(
            matches!(ours.read("fd"), Err(ReadFailure::Io { .. })),
            "a folder"
        );
    }

    #[test]
    fn a_process_that_ended_is_gone() {
        let mut child = std::process::Command::new("sleep")
            .arg("60")
            .spawn()
            .unwrap();
        let folder = ProcDir::open(child.id()).unwrap();
        assert!(folder.stat().is_ok());
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(folder.stat(), Err(ReadFailure::Gone));
        assert_eq!(ProcDir::open(child.id()).unwrap_err(), ReadFailure::Gone);
    }
}
