//! A log, piece by piece as it grows.

use std::fs::{File, Metadata};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;

use serde::{Deserialize, Serialize};

/// Bytes read at once; of more that was written meanwhile, the last ones.
const PIECE_BYTES_MAX: u64 = 256 << 10;

/// How far a log has been read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogPlace {
    /// Which file it was.
    pub inode: u64,
    /// Bytes of it that have been read.
    pub at: u64,
}

/// What came to a log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogPiece {
    /// Up to where it has been read now.
    pub place: LogPlace,
    /// The file was replaced or cut since: this is another one's end.
    pub anew: bool,
    /// Whole lines, and what of a line longer than 256 KiB there is; bytes that are no UTF-8 are replaced.
    pub text: String,
}

/// Reads what came to a log since it was read up to `read`, at most 256 KiB: of more, and of one that was not read
/// before, the last. Blocks for as long as its file system does.
///
/// # Errors
/// If it cannot be read.
pub fn log_piece(mut file: File, read: Option<LogPlace>) -> io::Result<LogPiece> {
    let meta = file.metadata()?;
    let (from, anew) = begin(&meta, read);
    file.seek(SeekFrom::Start(from))?;
    let mut piece = Vec::new();
    file.take(PIECE_BYTES_MAX).read_to_end(&mut piece)?;
    // A line that is still being written is left for the next time.
    let whole = piece.iter().rposition(|&byte| byte == b'\n');
    let whole = whole.map_or(0, |end| end + 1);
    let endless = whole == 0 && piece.len() as u64 == PIECE_BYTES_MAX;
    let done = if endless { piece.len() } else { whole };
    let (inode, at) = (meta.ino(), from + done as u64);
    Ok(LogPiece {
        place: LogPlace { inode, at },
        anew,
        text: String::from_utf8_lossy(&piece[..done]).into_owned(),
    })
}

/// Where to go on, and whether it is another file's.
fn begin(meta: &Metadata, read: Option<LogPlace>) -> (u64, bool) {
    let last = meta.len().saturating_sub(PIECE_BYTES_MAX);
    match read {
        Some(LogPlace { inode, at }) if inode == meta.ino() && at <= meta.len() => {
            (at.max(last), false)
        }
        Some(_) => (last, true),
        None => (last, false),
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, OpenOptions};
    use std::io::Write;

    use super::*;

    #[test]
    fn it_is_followed_through_growth_cuts_and_rotation() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let mut place = None;
        let mut piece = || {
            let piece = log_piece(File::open(&path).unwrap(), place).unwrap();
            place = Some(piece.place);
            (piece.text, piece.anew)
        };
        let append = |text: &[u8]| {
            let mut log = OpenOptions::new().append(true).open(&path).unwrap();
            log.write_all(text).unwrap();
        };
        fs::write(&path, "first\nsec").unwrap();
        assert_eq!(piece(), ("first\n".into(), false), "half a line waits");
        append(b"ond\n");
        assert_eq!(piece(), ("second\n".into(), false));
        assert_eq!(piece(), (String::new(), false), "nothing new");
        append(&[b'x'; 3 << 18]);
        append(b"\n\xff\n");
        let (much, anew) = piece();
        assert!(much.ends_with("x\n\u{fffd}\n") && !anew, "the last of much");
        append(&[b'y'; 1 << 19]);
        assert_eq!(piece().0.len(), 1 << 18, "a line without an end");
        fs::write(&path, "cut\n").unwrap();
        assert_eq!(piece(), ("cut\n".into(), true));
        fs::rename(&path, dir.path().join("log.1")).unwrap();
        fs::write(&path, "a new file\n").unwrap();
        assert_eq!(piece(), ("a new file\n".into(), true));
    }
}
