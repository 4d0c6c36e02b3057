//! Back-test of recorded texts: OpenMetrics with times, or JSON.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

use wire::{TextStream, WireError, read_series_json};

use super::{Counts, Gather, Progress, Tell, replay_all};

/// Bytes read at a time.
const PIECE: usize = 256 << 10;
/// How much of a text tells which form it has.
const LOOK: usize = 4 << 10;
/// Bytes between two words about how it goes.
const TOLD_BYTES: u64 = 4 << 20;
/// Standard input, where a path is expected.
pub const STDIN: &str = "-";

/// Why recorded texts could not be judged.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FilesError {
    /// A file could not be read.
    #[error("failed to read {}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A text is not of a form that is known.
    #[error("failed to read series from {}", path.display())]
    Parse {
        /// Which.
        path: PathBuf,
        /// What is wrong, and where.
        #[source]
        source: WireError,
    },
    /// Standard input cannot be read twice.
    #[error("standard input has more samples than fit into memory at a time")]
    StdinTooLarge,
    /// Nobody listens any more, or listening failed.
    #[error("failed to tell what was found")]
    Tell(#[source] io::Error),
}

impl FilesError {
    /// What a user can do about it, where we know.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::StdinTooLarge => {
                Some("write it to a file, which is read in several passes, or raise --max-memory")
            }
            Self::Parse { source, .. } => source.hint().or(Some(
                "expected are OpenMetrics text with times, as `promtool tsdb dump-openmetrics` writes it, \
                 or JSON: see `unswept judge --help`",
            )),
            _ => None,
        }
    }
}

/// What is to be said about texts beside what was found in them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Remarks {
    /// Texts in OpenMetrics form that do not end as such texts do: they may have been cut off.
    pub cut: Vec<PathBuf>,
    /// What was not kept of the first pass, which sees all.
    pub counts: Counts,
    /// Targets that have more samples than fit into memory.
    pub too_large: Vec<String>,
}

/// Judges all targets of `paths` together; a path may be `-` for standard input.
///
/// # Errors
/// [`FilesError`]. What was told before it holds.
pub fn judge_files(
    paths: &[PathBuf],
    mut gather: Gather,
    tell: &mut Tell<'_>,
) -> Result<Remarks, FilesError> {
    let mut remarks = Remarks::default();
    for pass in 1.. {
        if pass > 1 && paths.iter().any(|path| is_stdin(path)) {
            return Err(FilesError::StdinTooLarge);
        }
        for path in paths {
            let whole = read_path(path, pass, &mut gather, tell)?;
            if pass == 1 && !whole {
                remarks.cut.push(path.clone());
            }
        }
        if pass == 1 {
            remarks.counts = gather.counts();
        }
        if !replay_all(&mut gather, tell).map_err(FilesError::Tell)? {
            break;
        }
    }
    remarks.too_large = gather.too_large().collect();
    Ok(remarks)
}

fn is_stdin(path: &Path) -> bool {
    path.as_os_str() == STDIN
}

/// Whether the text was whole.
fn read_path(
    path: &Path,
    pass: u32,
    gather: &mut Gather,
    tell: &mut Tell<'_>,
) -> Result<bool, FilesError> {
    let failed = |source| FilesError::Read {
        path: path.to_owned(),
        source,
    };
    let (input, of): (Box<dyn Read>, _) = if is_stdin(path) {
        (Box::new(io::stdin().lock()), None)
    } else {
        let file = File::open(path).map_err(failed)?;
        let of = file.metadata().map_err(failed)?;
        (Box::new(file), of.is_file().then_some(of.len()))
    };
    let name = path.display().to_string();
    let mut input = Told {
        input,
        bytes: 0,
        told: 0,
        broken: None,
        tell: &mut |bytes| {
            tell(&Progress::Read {
                name: &name,
                pass,
                bytes,
                of,
            })
        },
    };
    let read = read_text(&mut input, gather);
    if let Some(error) = input.broken.take() {
        return Err(FilesError::Tell(error));
    }
    read.map_err(|error| match error {
        TextError::Read(source) => failed(source),
        TextError::Parse(source) => FilesError::Parse {
            path: path.to_owned(),
            source,
        },
    })
}

enum TextError {
    Read(io::Error),
    Parse(WireError),
}

fn read_text(input: &mut impl Read, gather: &mut Gather) -> Result<bool, TextError> {
    let mut begin = Vec::with_capacity(LOOK);
    let looked = input.by_ref().take(LOOK as u64).read_to_end(&mut begin);
    looked.map_err(TextError::Read)?;
    let mut each = |sample| gather.push(sample);
    if is_json(&begin) {
        let text = BufReader::with_capacity(PIECE, begin.as_slice().chain(input));
        let read = read_series_json(text, &mut each).map_err(TextError::Parse)?;
        return match read.error {
            Some(said) => Err(TextError::Read(io::Error::other(format!(
                "it is the answer to a query that failed: {said}"
            )))),
            None => Ok(true),
        };
    }
    let mut stream = TextStream::default();
    let mut piece = vec![0; PIECE];
    let fed = stream.feed(&begin, &mut each);
    fed.map_err(TextError::Parse)?;
    loop {
        match input.read(&mut piece) {
            Ok(0) => return stream.finish(&mut each).map_err(TextError::Parse),
            Ok(read) => {
                let fed = stream.feed(piece.get(..read).unwrap_or_default(), &mut each);
                fed.map_err(TextError::Parse)?;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(TextError::Read(error)),
        }
    }
}

/// A text in JSON begins with a list, or an object whose first key is followed by a colon; a series without a name
/// before its labels, as `promtool tsdb dump` writes them, begins with a brace, too.
fn is_json(begin: &[u8]) -> bool {
    let text = begin.trim_ascii_start();
    let Some(inside) = text.strip_prefix(b"{") else {
        return text.starts_with(b"[");
    };
    let Some(key) = inside.trim_ascii_start().strip_prefix(b"\"") else {
        return inside.trim_ascii_start().starts_with(b"}");
    };
    let mut after = key.splitn(2, |&byte| byte == b'"');
    let after = after.nth(1).unwrap_or_default();
    after.trim_ascii_start().starts_with(b":")
}

/// Says how much has been read.
struct Told<'t, R> {
    input: R,
    bytes: u64,
    told: u64,
    /// Nobody listens any more.
    broken: Option<io::Error>,
    tell: &'t mut dyn FnMut(u64) -> io::Result<()>,
}

impl<R: Read> Read for Told<'_, R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.input.read(into)?;
        self.bytes += read as u64;
        if self.bytes - self.told >= TOLD_BYTES || read == 0 {
            self.told = self.bytes;
            if let Err(error) = (self.tell)(self.bytes) {
                self.broken = Some(error);
                return Err(io::ErrorKind::BrokenPipe.into());
            }
        }
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_are_told_apart_by_their_beginnings() {
        for (text, json) in [
            ("{\"labels\":{}}", true),
            (" \n{ \"status\" : \"success\"}", true),
            ("[{\"labels\":{}}]", true),
            ("{}", true),
            ("{__name__=\"up\", job=\"x\"} 1 2", false),
            ("{\"a name\",job=\"x\"} 1 2", false),
            ("# TYPE a gauge\na 1 2\n", false),
            ("", false),
        ] {
            assert_eq!(is_json(text.as_bytes()), json, "{text:?}");
        }
    }
}
