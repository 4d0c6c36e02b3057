//! What can be wrong with a scrape's body.

/// Why a body gave no samples. A scrape is all or nothing, as in Prometheus: half a scrape would
/// look like series that ended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WireError {
    /// The text is not what the format allows at this place.
    #[error("expected {expected}, found {found} (line {line}, column {column})")]
    Syntax {
        /// What may stand here.
        expected: &'static str,
        /// An excerpt of what stands here, at most 40 characters.
        found: String,
        /// Counted from 1.
        line: usize,
        /// Characters into the line, counted from 1.
        column: usize,
    },
    /// The body is not UTF-8.
    #[error("expected UTF-8, found byte 0x{byte:02x} (line {line}, column {column})")]
    NotUtf8 {
        /// The first byte that does not fit.
        byte: u8,
        /// Counted from 1.
        line: usize,
        /// Bytes into the line, counted from 1.
        column: usize,
    },
    /// An OpenMetrics body whose last line is not `# EOF`: it was cut off on its way.
    #[error("the OpenMetrics text does not end with `# EOF`")]
    NoEof,
    /// More of something than [`crate::Limits`] allows.
    #[error("{what}: {found}, and at most {limit} are allowed")]
    Limit {
        /// What there is too much of, such as `samples`.
        what: &'static str,
        /// How much there is, or where counting stopped.
        found: usize,
        /// The limit.
        limit: usize,
    },
    /// A line that does not end.
    #[error("a line of more than {limit} bytes (line {line})")]
    LongLine {
        /// Counted from 1.
        line: usize,
        /// The limit.
        limit: usize,
    },
    /// The JSON of recorded series is not what it should be.
    #[error("failed to read series in JSON (the document that begins in line {line})")]
    SeriesJson {
        /// Counted from 1; the source counts its lines from there.
        line: usize,
        /// What is wrong.
        #[source]
        source: serde_json::Error,
    },
    /// A content type that is no metrics text.
    #[error("the content type is `{found}`, which is no metrics text")]
    ContentType {
        /// What the server said, at most 80 characters.
        found: String,
    },
    /// The expvar page is not JSON, or not an object.
    #[error("failed to read expvar's JSON")]
    Json(#[source] serde_json::Error),
}

impl WireError {
    /// The same, where the text that it is about begins after so many lines of another.
    pub(crate) fn after_lines(mut self, lines: usize) -> Self {
        if let Self::Syntax { line, .. } | Self::NotUtf8 { line, .. } = &mut self {
            *line += lines;
        }
        self
    }

    /// What a user can do about it, where we know.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::ContentType { found } if found.starts_with("text/html") => {
                Some("the address is a web page; metrics are usually under /metrics")
            }
            Self::ContentType { found } if found.contains("json") => {
                Some("expvar's JSON is read from /debug/vars; metrics are usually under /metrics")
            }
            Self::ContentType { found } if found.contains("protobuf") => {
                Some("the server ignores the Accept header; let it offer text/plain")
            }
            Self::Syntax { found, .. } if found.contains("\\r") => {
                Some("lines end with a line feed alone; Prometheus refuses carriage returns too")
            }
            Self::NoEof => Some("the target or a proxy cut the answer off; see its log"),
            Self::Limit { .. } => Some("drop series at the target, or raise the limit"),
            _ => None,
        }
    }
}

/// At most `chars_max` characters of `text`, quoted, control characters escaped.
pub(crate) fn excerpt(text: &str, chars_max: usize) -> String {
    let line = text.split('\n').next().unwrap_or("");
    if line.is_empty() {
        let end = if text.is_empty() { "text" } else { "line" };
        return format!("the end of the {end}");
    }
    let mut shown = String::new();
    let mut chars = line.chars();
    for c in chars.by_ref().take(chars_max) {
        if c.is_control() {
            shown.extend(c.escape_default());
        } else {
            shown.push(c);
        }
    }
    let more = if chars.as_str().is_empty() { "" } else { "..." };
    format!("`{shown}{more}`")
}
