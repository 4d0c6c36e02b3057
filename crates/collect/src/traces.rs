//! Where a target's lines of `GODEBUG=gctrace=1,scavtrace=1` are read: a log, or the systemd journal.

use std::io;
use std::path::PathBuf;

use model::ProcessKey;
use reader::Reader;
use wire::Scrape;

use crate::trace_file::TraceFile;
use crate::trace_journal::{JournalOf, TraceJournal};

/// Where the lines are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TraceSource {
    /// In a file.
    File(PathBuf),
    /// In a file as this process sees it, in its own root.
    OfTarget(ProcessKey, PathBuf),
    /// In the journal.
    Journal(JournalOf),
}

/// The same, followed.
#[derive(Debug)]
pub struct TraceLog {
    source: TraceSource,
    reads: Reads,
}

#[derive(Debug)]
enum Reads {
    File(TraceFile),
    Journal(TraceJournal),
}

impl TraceLog {
    /// Nothing is read yet.
    #[must_use]
    pub fn new(source: TraceSource, reader: &Reader) -> Self {
        let reads = match source.clone() {
            TraceSource::File(path) => Reads::File(TraceFile::new(path)),
            TraceSource::OfTarget(key, path) => {
                Reads::File(TraceFile::of_target(path, reader.clone(), key))
            }
            TraceSource::Journal(of) => Reads::Journal(TraceJournal::new("journalctl".into(), of)),
        };
        Self { source, reads }
    }

    /// Reads what was written since the last call, and gives what the latest lines say, as samples; none before
    /// there was a line. Blocks for as long as a file system does.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn read(&mut self) -> io::Result<Scrape> {
        match &mut self.reads {
            Reads::File(file) => file.read(),
            Reads::Journal(journal) => journal.read(),
        }
    }

    /// What is read, for people.
    #[must_use]
    pub fn place(&self) -> String {
        match &self.source {
            TraceSource::File(path) => path.display().to_string(),
            TraceSource::OfTarget(key, path) => format!("{} of pid {}", path.display(), key.pid.0),
            TraceSource::Journal(JournalOf::Unit(unit)) => format!("the journal of {unit}"),
            TraceSource::Journal(JournalOf::Pid(pid)) => format!("the journal of pid {pid}"),
        }
    }

    /// Why it cannot be read, for people.
    #[must_use]
    pub fn in_words(&self, error: &io::Error) -> String {
        match &self.source {
            // It says which file, and of which process.
            TraceSource::OfTarget(..) => error.to_string(),
            _ => format!("failed to read {}: {error}", self.place()),
        }
    }
}
