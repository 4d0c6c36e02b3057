//! A log with lines of `GODEBUG=gctrace=1,scavtrace=1` in it, read as it grows.

use std::fs::{File, Metadata};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use wire::{Limits, Scrape, Traces};

/// Bytes read at once; of more that was written meanwhile, the last ones.
const PIECE_BYTES_MAX: u64 = 256 << 10;

/// Follows one file. A file that was replaced or cut is read from its beginning again.
#[derive(Debug)]
pub(crate) struct TraceFile {
    path: PathBuf,
    /// Which file it was, and how much of it has been read.
    read: Option<(u64, u64)>,
    traces: Traces,
}

impl TraceFile {
    /// Nothing is read yet.
    #[must_use]
    pub(crate) fn new(path: PathBuf) -> Self {
        Self {
            path,
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
        // A pipe or a device would be waited for, or never end.
        if !std::fs::metadata(&self.path)?.is_file() {
            return Err(io::Error::other("it is no ordinary file"));
        }
        let mut file = File::open(&self.path)?;
        let meta = file.metadata()?;
        let from = self.begin(&meta);
        file.seek(SeekFrom::Start(from))?;
        let mut piece = Vec::new();
        file.take(PIECE_BYTES_MAX).read_to_end(&mut piece)?;
        // A line that is still being written is left for the next time.
        let whole = piece.iter().rposition(|&byte| byte == b'\n');
        let whole = whole.map_or(0, |end| end + 1);
        wire::parse_traces(&piece[..whole], &Limits::default(), &mut self.traces);
        let cut = whole == 0 && piece.len() as u64 == PIECE_BYTES_MAX;
        let done = if cut { piece.len() } else { whole };
        self.read = Some((meta.ino(), from + done as u64));
        Ok(self.traces.scrape())
    }

    fn begin(&mut self, meta: &Metadata) -> u64 {
        let last = meta.len().saturating_sub(PIECE_BYTES_MAX);
        match self.read {
            Some((inode, at)) if inode == meta.ino() && at <= meta.len() => at.max(last),
            Some(_) => {
                self.traces = Traces::default();
                last
            }
            None => last,
        }
    }
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
