//! The body of an answer, unpacked as it comes and never larger than it may be.

use std::io::{self, Write};

use flate2::write::MultiGzDecoder;
use reqwest::Url;

use crate::{FetchError, redacted};

/// Unpacked at once: others have their turn after each, for a piece may unpack to a thousand times as much.
const PIECE_BYTES: usize = 4 * 1024;

pub(crate) enum Body {
    Plain(Capped),
    /// With how many bytes have come: it is no larger packed than it may be unpacked, or empty pieces without end
    /// would be unpacked for as long as they come.
    Zipped(Box<MultiGzDecoder<Capped>>, usize),
}

/// Why there is no body.
pub(crate) enum Wrong {
    TooLarge { limit_bytes: usize },
    Broken(io::Error),
}

impl Wrong {
    pub(crate) fn of(self, url: &Url) -> FetchError {
        let url = redacted(url);
        match self {
            Self::TooLarge { limit_bytes } => FetchError::TooLarge { url, limit_bytes },
            Self::Broken(error) => FetchError::Protocol {
                url,
                reason: error.to_string(),
            },
        }
    }
}

impl Body {
    pub(crate) fn new(is_zipped: bool, limit_bytes: usize) -> Self {
        let capped = Capped {
            bytes: Vec::new(),
            limit_bytes,
            is_full: false,
        };
        match is_zipped {
            false => Self::Plain(capped),
            true => Self::Zipped(Box::new(MultiGzDecoder::new(capped)), 0),
        }
    }

    pub(crate) async fn push(&mut self, chunk: &[u8]) -> Result<(), Wrong> {
        match self {
            Self::Plain(capped) => capped.write_all(chunk).map_err(|error| capped.wrong(error)),
            Self::Zipped(unzips, came) => {
                *came = came.saturating_add(chunk.len());
                let limit_bytes = unzips.get_ref().limit_bytes;
                if *came > limit_bytes {
                    return Err(Wrong::TooLarge { limit_bytes });
                }
                for piece in chunk.chunks(PIECE_BYTES) {
                    let done = unzips.write_all(piece);
                    done.map_err(|error| unzips.get_ref().wrong(error))?;
                    tokio::task::yield_now().await;
                }
                Ok(())
            }
        }
    }

    /// All of it has come.
    pub(crate) fn finish(self) -> Result<Vec<u8>, Wrong> {
        match self {
            Self::Plain(capped) => Ok(capped.bytes),
            Self::Zipped(mut unzips, _) => match unzips.try_finish() {
                Ok(()) => Ok(std::mem::take(&mut unzips.get_mut().bytes)),
                Err(error) => Err(unzips.get_ref().wrong(error)),
            },
        }
    }
}

pub(crate) struct Capped {
    bytes: Vec<u8>,
    limit_bytes: usize,
    is_full: bool,
}

impl Capped {
    fn wrong(&self, error: io::Error) -> Wrong {
        let limit_bytes = self.limit_bytes;
        match self.is_full {
            true => Wrong::TooLarge { limit_bytes },
            false => Wrong::Broken(error),
        }
    }
}

impl Write for Capped {
    fn write(&mut self, more: &[u8]) -> io::Result<usize> {
        if more.len() > self.limit_bytes - self.bytes.len() {
            self.is_full = true;
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.bytes.extend_from_slice(more);
        Ok(more.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    fn zipped(text: &[u8]) -> Vec<u8> {
        let mut zips = GzEncoder::new(Vec::new(), Compression::fast());
        zips.write_all(text).unwrap();
        zips.finish().unwrap()
    }

    async fn unpacked(chunks: &[&[u8]], limit_bytes: usize) -> Result<Vec<u8>, Wrong> {
        let mut body = Body::new(true, limit_bytes);
        for chunk in chunks {
            body.push(chunk).await?;
        }
        body.finish()
    }

    #[tokio::test]
    async fn what_is_zipped_is_unpacked_up_to_the_limit() {
        let text = vec![b'x'; 100_000];
        let whole = zipped(&text);
        let (a, b) = whole.split_at(whole.len() / 2);
        assert!(
            unpacked(&[a, b], 100_000)
                .await
                .is_ok_and(|got| got == text)
        );
        let twice = unpacked(&[&whole, &whole], 200_000).await;
        assert!(twice.is_ok_and(|got| got.len() == 200_000), "two members");
        let larger = unpacked(&[&whole], 99_999).await;
        assert!(matches!(
            larger,
            Err(Wrong::TooLarge {
                limit_bytes: 99_999
            })
        ));
        assert!(matches!(
            unpacked(&[a], 100_000).await,
            Err(Wrong::Broken(_))
        ));
        assert!(matches!(
            unpacked(&[b"no gzip"], 100).await,
            Err(Wrong::Broken(_))
        ));
        let nothing = zipped(b"").repeat(100);
        let empty = unpacked(&[&nothing], 1_000).await;
        assert!(
            matches!(empty, Err(Wrong::TooLarge { .. })),
            "no end of nothing"
        );
    }
}
