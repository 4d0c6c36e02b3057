//! OpenMetrics text with times, read in pieces: recorded histories, which may be larger than any memory.
//!
//! Such texts are what `promtool tsdb dump-openmetrics` writes and `create-blocks-from openmetrics` reads.
//! The rules are those of [`crate::text`], with three liberties, since a history is no scrape: `# EOF` may be
//! missing or come several times (texts that were cut or put together; [`TextStream::finish`] says whether it
//! was the end), and times of a magnitude that no seconds have are milliseconds, as `promtool tsdb dump`
//! writes them.
//!
//! State: the text of one line that is not complete yet (at most [`LINE_BYTES_MAX`]), whatever the whole
//! text's size is.

use model::UnixMs;

use crate::error::WireError;
use crate::scrape::{Limits, ScrapedSample};
use crate::text::parse_lines;

/// The longest line.
pub const LINE_BYTES_MAX: usize = 1 << 20;

/// Seconds since 1970 from which on they must be milliseconds: the year 5138.
const SECONDS_MAX: f64 = 1e11;

/// A time that was written as seconds since 1970, or as milliseconds where seconds would lie beyond the year
/// 5138. `None` if it is no time.
#[must_use]
pub fn unix_ms(written: f64) -> Option<UnixMs> {
    let millis = match written {
        seconds if seconds.abs() < SECONDS_MAX => seconds * 1000.0,
        millis => millis,
    };
    let within = millis.is_finite() && millis.abs() < SECONDS_MAX * 1000.0;
    within.then(|| UnixMs(millis.round() as i64))
}

/// Reads one text in pieces.
#[derive(Debug, Default)]
pub struct TextStream {
    /// The beginning of a line whose end has not come yet.
    pending: Vec<u8>,
    /// Lines before `pending`.
    lines: usize,
    ended: bool,
}

impl TextStream {
    /// Takes the next piece in and hands out the samples of all complete lines, with their times where the
    /// text has them.
    ///
    /// # Errors
    /// [`WireError`], with the line counted from the text's beginning. Samples of the lines before it may have
    /// been handed out already. Nothing useful comes of the stream afterwards.
    pub fn feed(
        &mut self,
        bytes: &[u8],
        each: &mut dyn FnMut(ScrapedSample),
    ) -> Result<(), WireError> {
        let Some(end) = bytes.iter().rposition(|&byte| byte == b'\n') else {
            return self.keep(bytes);
        };
        let (whole, rest) = bytes.split_at(end + 1);
        if self.pending.is_empty() {
            self.lines(whole, each)?;
        } else {
            // Only the line that was begun has to be copied.
            let first = whole.iter().position(|&byte| byte == b'\n').unwrap_or(end);
            let (first, whole) = whole.split_at(first + 1);
            self.keep(first)?;
            let line = std::mem::take(&mut self.pending);
            self.lines(&line, each)?;
            self.lines(whole, each)?;
        }
        self.keep(rest)
    }

    /// Takes the last line in, if no line feed ended it. Returns whether the text's last line was `# EOF`: if
    /// not, it may have been cut off.
    ///
    /// # Errors
    /// [`WireError`].
    pub fn finish(mut self, each: &mut dyn FnMut(ScrapedSample)) -> Result<bool, WireError> {
        let line = std::mem::take(&mut self.pending);
        self.lines(&line, each)?;
        Ok(self.ended)
    }

    fn keep(&mut self, bytes: &[u8]) -> Result<(), WireError> {
        if bytes.len() > LINE_BYTES_MAX - self.pending.len().min(LINE_BYTES_MAX) {
            return Err(WireError::LongLine {
                line: self.lines + 1,
                limit: LINE_BYTES_MAX,
            });
        }
        self.pending.extend_from_slice(bytes);
        Ok(())
    }

    /// Whole lines.
    fn lines(
        &mut self,
        bytes: &[u8],
        each: &mut dyn FnMut(ScrapedSample),
    ) -> Result<(), WireError> {
        if bytes.is_empty() {
            return Ok(());
        }
        let limits = Limits {
            samples_max: usize::MAX,
            body_bytes_max: usize::MAX,
            families_max: 0,
            ..Limits::default()
        };
        let before = self.lines;
        let scrape = parse_lines(bytes, &limits).map_err(|error| error.after_lines(before))?;
        self.lines += bytes.iter().filter(|&&byte| byte == b'\n').count();
        self.ended = scrape.eof_seen || self.ended && scrape.samples.is_empty();
        for mut sample in scrape.samples {
            // The parser took it for seconds.
            sample.timestamp = sample
                .timestamp
                .and_then(|time| unix_ms(time.0 as f64 / 1000.0));
            each(sample);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# TYPE a gauge\na{x=\"1\"} 1 1767225600.5\na{x=\"1\"} 2 1767225615\n\
                        {__name__=\"b\", x=\"é\"} 3 1767225600000\nb_total 4\n# EOF\n";

    fn read(text: &[u8], piece: usize) -> Result<(Vec<String>, bool), WireError> {
        let mut got = Vec::new();
        let mut stream = TextStream::default();
        let mut each = |sample: ScrapedSample| {
            let time = sample.timestamp.map(|time| time.0);
            got.push(format!("{} {} {time:?}", sample.labels, sample.value));
        };
        for bytes in text.chunks(piece) {
            stream.feed(bytes, &mut each)?;
        }
        let whole = stream.finish(&mut each)?;
        Ok((got, whole))
    }

    #[test]
    fn pieces_of_any_size_give_the_same_samples() {
        let want = [
            "a{x=\"1\"} 1 Some(1767225600500)",
            "a{x=\"1\"} 2 Some(1767225615000)",
            "b{x=\"é\"} 3 Some(1767225600000)",
            "b_total 4 None",
        ];
        for piece in [1, 2, 3, 7, 40, 1000] {
            let (got, whole) = read(TEXT.as_bytes(), piece).unwrap();
            assert_eq!(got, want, "pieces of {piece} bytes");
            assert!(whole, "pieces of {piece} bytes");
        }
        let (twice, whole) = read(TEXT.repeat(2).as_bytes(), 50).unwrap();
        assert_eq!((twice.len(), whole), (8, true), "put together");
        let cut = TEXT.trim_end_matches("# EOF\n").trim_end();
        let (got, whole) = read(cut.as_bytes(), 9).unwrap();
        assert_eq!((got.len(), whole), (4, false), "cut off");
    }

    #[test]
    fn errors_name_the_line_of_the_whole_text() {
        let bad = format!("{TEXT}a{{x=1}} 2 3\n");
        for piece in [1, 30, 1000] {
            let error = read(bad.as_bytes(), piece).unwrap_err().to_string();
            assert!(error.contains("line 7,"), "pieces of {piece}: {error}");
        }
        let not_utf8 = [TEXT.as_bytes(), b"a \xff\n"].concat();
        let error = read(&not_utf8, 20).unwrap_err().to_string();
        assert!(error.contains("line 7,"), "{error}");
        let long = format!("{TEXT}a{{x=\"{}", "y".repeat(LINE_BYTES_MAX));
        let error = read(long.as_bytes(), 4096).unwrap_err().to_string();
        assert!(error.contains("(line 7)"), "{error}");
    }

    #[test]
    fn times_are_seconds_unless_they_cannot_be() {
        for (written, want) in [
            (0.0, Some(0)),
            (1_767_225_600.25, Some(1_767_225_600_250)),
            (1_767_225_600_250.0, Some(1_767_225_600_250)),
            (-1.5, Some(-1500)),
            (1e300, None),
            (f64::NAN, None),
            (f64::INFINITY, None),
        ] {
            assert_eq!(unix_ms(written).map(|time| time.0), want, "{written}");
        }
    }
}
