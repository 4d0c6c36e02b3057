//! A log with lines of `GODEBUG=gctrace=1,scavtrace=1` in it, read as it grows.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use model::ProcessKey;
use reader::{LogPiece, LogPlace, Reader, log_piece};
use wire::{Limits, Scrape, Traces};

/// Follows one file. A file that was replaced or cut is read from its beginning again.
#[derive(Debug)]
pub(crate) struct TraceFile {
    path: PathBuf,
    seen_by: SeenBy,
    read: Option<LogPlace>,
    traces: Traces,
}

/// Whose paths the file's is one of.
#[derive(Debug)]
enum SeenBy {
    Us,
    /// The target, in its own root.
    Target(Reader, ProcessKey),
}

impl TraceFile {
    /// A file of ours. Nothing is read yet.
    #[must_use]
    pub(crate) fn new(path: PathBuf) -> Self {
        Self::seen_by(path, SeenBy::Us)
    }

    /// A file as this process sees it.
    #[must_use]
    pub(crate) fn of_target(path: PathBuf, reader: Reader, key: ProcessKey) -> Self {
        Self::seen_by(path, SeenBy::Target(reader, key))
    }

    fn seen_by(path: PathBuf, seen_by: SeenBy) -> Self {
        Self {
            path,
            seen_by,
            read: None,
            traces: Traces::default(),
        }
    }

    /// Reads what was written since the last call, and gives what the latest lines say, as samples;
    /// none before there was a line. Blocks for as long as a file system does.
    ///
    /// # Errors
    /// If it cannot be read, or is no file.
    pub(crate) fn read(&mut self) -> io::Result<Scrape> {
        let LogPiece { place, anew, text } = match &self.seen_by {
            SeenBy::Us => log_piece(open(&self.path)?, self.read)?,
            SeenBy::Target(reader, key) => {
                let piece = reader.log(key, &self.path, self.read);
                piece.map_err(io::Error::other)?.map_err(io::Error::other)?
            }
        };
        self.read = Some(place);
        if anew {
            self.traces = Traces::default();
        }
        wire::parse_traces(text.as_bytes(), &Limits::default(), &mut self.traces);
        Ok(self.traces.scrape())
    }
}

/// An ordinary file: a pipe or a device would be waited for, or never end.
fn open(path: &Path) -> io::Result<File> {
    if !std::fs::metadata(path)?.is_file() {
        return Err(io::Error::other("it is no ordinary file"));
    }
    File::open(path)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write;

    use super::*;

    fn line(cycle: u32, live: u32) -> String {
        format!("gc {cycle} @1s 0%: 0+0+0 ms clock, 0 ms cpu, 9->9->{live} MB, 9 MB goal, 2 P\n")
    }

    fn live(scrape: &Scrape) -> Option<f64> {
        let mut all = scrape.samples.iter();
        let live = all.find(|sample| sample.labels.name() == "go_gc_heap_live_bytes");
        live.map(|sample| sample.value / f64::from(1 << 20))
    }

    #[test]
    fn it_follows_a_log_through_growth_cuts_and_rotation() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let mut file = TraceFile::new(path.clone());
        assert!(file.read().is_err(), "not there yet");
        fs::write(&path, "hello\n").unwrap();
        assert_eq!(live(&file.read().unwrap()), None);
        let append = |text: &str| {
            let mut log = fs::OpenOptions::new().append(true).open(&path).unwrap();
            log.write_all(text.as_bytes()).unwrap();
        };
        let (first, second) = (line(1, 5), line(2, 6));
        append(&first);
        append(&second[..30]);
        assert_eq!(live(&file.read().unwrap()), Some(5.0), "half a line waits");
        append(&second[30..]);
        assert_eq!(live(&file.read().unwrap()), Some(6.0));
        assert_eq!(live(&file.read().unwrap()), Some(6.0), "nothing new");
        append(&"x".repeat(3 << 18));
        append("\n");
        append(&line(3, 7));
        assert_eq!(live(&file.read().unwrap()), Some(7.0), "the last of much");
        fs::write(&path, "cut\n").unwrap();
        assert_eq!(live(&file.read().unwrap()), None, "another life");
        append(&line(1, 8));
        assert_eq!(live(&file.read().unwrap()), Some(8.0));
        fs::rename(&path, dir.path().join("log.1")).unwrap();
        fs::write(&path, line(1, 9)).unwrap();
        assert_eq!(live(&file.read().unwrap()), Some(9.0), "a new file");
        let mut folder = TraceFile::new(dir.path().to_owned());
        assert!(folder.read().is_err(), "a folder");
    }
}
