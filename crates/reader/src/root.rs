//! A file system seen from its root, whichever that is: no link leads out of it.

use std::fs::File;
use std::io;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{Dir, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use crate::proc_dir::ProcDir;

/// Entries listed of one folder.
const ENTRIES_MAX: usize = 20_000;

/// See the module.
#[derive(Debug)]
pub(crate) struct Root(OwnedFd);

impl Root {
    /// `None` where it cannot be entered.
    pub(crate) fn open(path: &Path) -> Option<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        rustix::fs::open(path, flags, Mode::empty()).ok().map(Self)
    }

    /// The root of a process, whose folder in `/proc` is `dir`.
    ///
    /// # Errors
    /// What the kernel answered.
    pub(crate) fn of(dir: &ProcDir) -> Result<Self, Errno> {
        dir.open_folder("root").map(Self)
    }

    /// A plain file, opened for reading.
    ///
    /// # Errors
    /// What the kernel answered; that it is something else.
    pub(crate) fn file(&self, path: &Path) -> io::Result<File> {
        // Whatever lies there instead of a file must not be waited for.
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
        let file = self.open_below(path, flags)?;
        let stat = rustix::fs::fstat(&file)?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => Ok(File::from(file)),
            _ => Err(io::Error::other("it is no ordinary file")),
        }
    }

    /// A plain file's bytes; `None` also for one that is longer than `bytes_max`.
    pub(crate) fn read(&self, path: &str, bytes_max: u64) -> Option<Vec<u8>> {
        let file = self.file(Path::new(path)).ok()?;
        if file.metadata().ok()?.len() > bytes_max {
            return None;
        }
        let mut bytes = Vec::new();
        file.take(bytes_max).read_to_end(&mut bytes).ok()?;
        Some(bytes)
    }

    /// The names in a folder.
    pub(crate) fn names(&self, path: &str) -> Vec<String> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        let folder = self.open_below(Path::new(path), flags).ok();
        let Some(entries) = folder.and_then(|folder| Dir::new(folder).ok()) else {
            return Vec::new();
        };
        let names = entries.take(ENTRIES_MAX).flatten().filter_map(|entry| {
            let name = entry.file_name().to_str().ok()?;
            (!name.starts_with('.')).then(|| name.to_owned())
        });
        names.collect()
    }

    fn open_below(&self, path: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
        let flags = flags | OFlags::CLOEXEC;
        let within = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        match rustix::fs::openat2(&self.0, path, flags, Mode::empty(), within) {
            // Kernels before 5.6, and filters of that time: links are then not followed at the end,
            // where those who write these files could put them.
            Err(Errno::NOSYS | Errno::PERM) => {
                let flags = flags | OFlags::NOFOLLOW;
                rustix::fs::openat(&self.0, path, flags, Mode::empty())
            }
            opened => opened,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn links_stay_inside_and_only_plain_files_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        fs::create_dir(path.join("data")).unwrap();
        fs::write(path.join("data/file"), "inside").unwrap();
        symlink("/data", path.join("moved")).unwrap();
        symlink("/etc/passwd", path.join("out")).unwrap();
        symlink("../../../../etc/passwd", path.join("up")).unwrap();
        let made = rustix::fs::mkfifoat(rustix::fs::CWD, path.join("pipe"), Mode::RUSR);
        made.unwrap();
        let root = Root::open(path).unwrap();
        for (name, expected) in [
            ("data/file", Some("inside")),
            ("moved/file", Some("inside")),
            ("out", None),
            ("up", None),
            ("pipe", None),
            ("data", None),
            ("none", None),
        ] {
            let read = root.read(name, 100).map(|b| String::from_utf8(b).unwrap());
            assert_eq!(read.as_deref(), expected, "{name}");
        }
        assert_eq!(root.read("data/file", 3), None, "too long");
        assert_eq!(root.names("moved"), ["file"]);
        assert!(root.names("data/file").is_empty());
        assert!(Root::open(&path.join("data/file")).is_none());
    }
}
