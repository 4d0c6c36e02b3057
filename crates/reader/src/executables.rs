//! Which executables are Go, and how they were built: the answers of `inspect`, kept by file.
//!
//! A file is known by device, inode, change time and size, so one that was replaced is looked into
//! again, and hundreds of processes of one executable cost one look.

use std::collections::HashMap;
use std::fs::File;
use std::rc::Rc;

use inspect::Executable;
use rustix::fs::{Stat as FileStat, Statx};
use serde::{Deserialize, Serialize};

use crate::answers::{GoBuild, Handlers};

/// Files remembered. One entry is about half a kilobyte for Go, and less for others.
const FILES_MAX: usize = 4096;

/// A version of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct FileId {
    pub(crate) dev: u64,
    inode: u64,
    modified: (i64, i64),
    size: i64,
}

impl From<FileStat> for FileId {
    fn from(stat: FileStat) -> Self {
        Self {
            dev: stat.st_dev as _,
            inode: stat.st_ino as _,
            modified: (stat.st_mtime as _, stat.st_mtime_nsec as _),
            size: stat.st_size as _,
        }
    }
}

impl From<Statx> for FileId {
    fn from(stat: Statx) -> Self {
        Self {
            dev: rustix::fs::makedev(stat.stx_dev_major, stat.stx_dev_minor),
            inode: stat.stx_ino,
            modified: (stat.stx_mtime.tv_sec, stat.stx_mtime.tv_nsec.into()),
            size: stat.stx_size as _,
        }
    }
}

/// What a Go executable says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct GoFile {
    pub(crate) build: GoBuild,
    pub(crate) handlers: Handlers,
}

/// The memory of executables; the least recently asked for are forgotten.
#[derive(Debug)]
pub(crate) struct Executables {
    known: HashMap<FileId, (Option<Rc<GoFile>>, u64)>,
    files_max: usize,
    asked: u64,
}

impl Default for Executables {
    fn default() -> Self {
        Self::with_room(FILES_MAX)
    }
}

impl Executables {
    fn with_room(files_max: usize) -> Self {
        Self {
            known: HashMap::new(),
            files_max,
            asked: 0,
        }
    }

    /// What is remembered of a file: `None` if it was never looked into, `Some(None)` if it is not
    /// Go.
    pub(crate) fn known(&mut self, id: &FileId) -> Option<Option<Rc<GoFile>>> {
        self.asked += 1;
        let (file, used) = self.known.get_mut(id)?;
        *used = self.asked;
        Some(file.clone())
    }

    /// Remembers what a file was found to be: `None` for one that is not Go.
    pub(crate) fn remember(&mut self, id: FileId, found: Option<Rc<GoFile>>) {
        if self.known.len() >= self.files_max {
            // The older half goes at once, so that the cost per file stays constant.
            let mut used: Vec<u64> = self.known.values().map(|(_, used)| *used).collect();
            let (_, middle, _) = used.select_nth_unstable(self.files_max / 2);
            let middle = *middle;
            self.known.retain(|_, (_, used)| *used > middle);
        }
        self.asked += 1;
        self.known.insert(id, (found, self.asked));
    }
}

/// Looks into a file: `Ok(None)` is not Go; with `Err` it could not be read this time. A few reads for a
/// file that is not Go; some milliseconds for a big Go program, whose function names are searched for
/// handlers.
pub(crate) fn look(file: &File) -> Result<Option<GoFile>, ()> {
    match Executable::read(file) {
        Ok(executable) => Ok(Some(go_file(file, &executable))),
        Err(inspect::InspectError::NoBuildInfo) => Ok(Some(GoFile::default())),
        Err(inspect::InspectError::Read { .. }) => Err(()),
        Err(error) => {
            if !error.is_not_go() {
                tracing::debug!(%error, "an executable that cannot be told");
            }
            Ok(None)
        }
    }
}

fn go_file(file: &File, executable: &Executable) -> GoFile {
    let build = &executable.build;
    let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let ids = [&executable.gnu_build_id, &executable.go_build_id];
    let handlers = inspect::handlers(file, executable);
    GoFile {
        build: GoBuild {
            go_version: build.go_version.clone(),
            main_path: text(&build.path),
            module: text(&build.module_path),
            module_version: text(&build.module_version),
            vcs_revision: build.setting("vcs.revision").and_then(text),
            build_id: ids.into_iter().flatten().next().cloned(),
            cgo: build.setting("CGO_ENABLED").map(|value| value == "1"),
            pie: executable.is_pie,
            stripped: !executable.has_symtab,
        },
        handlers: handlers.map_or(Handlers::default(), |found| Handlers {
            pprof: found.pprof,
            metrics: found.metrics,
            expvar: found.expvar,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(inode: u64) -> FileId {
        FileId {
            dev: 1,
            inode,
            modified: (0, 0),
            size: 1,
        }
    }

    #[test]
    fn the_memory_of_files_is_bounded_and_keeps_what_is_asked_for() {
        let mut files = Executables::with_room(10);
        files.remember(id(0), Some(Rc::new(GoFile::default())));
        for inode in 1..1000 {
            files.remember(id(inode), None);
            assert!(files.known.len() <= 10);
            assert!(
                files.known(&id(0)).is_some_and(|file| file.is_some()),
                "{inode}"
            );
        }
        assert!(files.known(&id(1)).is_none(), "forgotten");
    }

    #[test]
    fn we_are_not_go() {
        let file = File::open("/proc/self/exe").unwrap();
        assert_eq!(look(&file), Ok(None));
    }
}
