//! What can go wrong with a store.

use std::io;
use std::path::PathBuf;

/// Why a store could not be opened, or could not keep something.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// Another process has the directory.
    #[error("the data directory {dir} is in use by process {pid}", dir = .dir.display())]
    Locked {
        /// The directory.
        dir: PathBuf,
        /// The process id that holder wrote down, or `?`.
        pid: String,
    },
    /// A later release wrote this.
    #[error("{what} has format version {found}, and this release knows up to {known}")]
    Newer {
        /// Which file or keyspace.
        what: String,
        /// The version found.
        found: u32,
        /// The newest version this release reads.
        known: u32,
    },
    /// A file or record is not what the format says.
    #[error("{what} is malformed: {reason}")]
    Malformed {
        /// Which file or record.
        what: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A file operation failed.
    #[error("failed to {what} {path}", path = .path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// The storage engine failed.
    #[error("failed to {what}")]
    Engine {
        /// What was tried.
        what: &'static str,
        /// Why it failed.
        source: fjall::Error,
    },
    /// A name that could leave its folder, or is not a plain file name.
    #[error("`{name}` cannot be a name in the data directory")]
    BadName {
        /// The name as given.
        name: String,
    },
    /// The evidence does not fit, whatever is thrown away.
    #[error("{bytes} bytes of evidence do not fit into a budget of {budget_bytes}")]
    OverBudget {
        /// The size of what was to be stored.
        bytes: u64,
        /// The budget.
        budget_bytes: u64,
    },
    /// The disk failed earlier, and the store has not come back yet.
    #[error("the disk is not being written: {reason}")]
    Down {
        /// What happened, in words.
        reason: String,
    },
}

impl StoreError {
    /// What the user can do about it, where we know.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Locked { .. } => Some("stop that process, or use another --data directory"),
            Self::Newer { .. } => {
                Some("use the release that wrote it, or another --data directory")
            }
            Self::Io { source, .. } => hint_of_io(source),
            Self::Engine {
                source:
                    fjall::Error::Io(source) | fjall::Error::Storage(fjall::LsmError::Io(source)),
                ..
            } => hint_of_io(source),
            _ => None,
        }
    }

    /// Whether the same may work later: the disk failed, not what was asked of it.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        matches!(
            self,
            Self::Io { .. } | Self::Engine { .. } | Self::Down { .. }
        )
    }

    pub(crate) fn io(
        what: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { what, path, source }
    }

    pub(crate) fn engine(what: &'static str) -> impl FnOnce(fjall::Error) -> Self {
        move |source| Self::Engine { what, source }
    }

    pub(crate) fn malformed(what: impl Into<String>, reason: impl ToString) -> Self {
        Self::Malformed {
            what: what.into(),
            reason: reason.to_string(),
        }
    }

    /// The error with its causes on one line.
    pub(crate) fn in_words(&self) -> String {
        let mut text = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            text.push_str(": ");
            text.push_str(&error.to_string());
            cause = error.source();
        }
        text
    }

    /// The same with what to do about it, where we know.
    pub(crate) fn with_advice(&self) -> String {
        let text = self.in_words();
        match self.hint() {
            Some(hint) => format!("{text} ({hint})"),
            None => text,
        }
    }
}

fn hint_of_io(error: &io::Error) -> Option<&'static str> {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            Some("free space on the file system of the data directory")
        }
        io::ErrorKind::PermissionDenied => {
            Some("give the user of unswept write access to the data directory")
        }
        io::ErrorKind::ReadOnlyFilesystem => Some("choose a --data directory that can be written"),
        _ => None,
    }
}
