//! Why a profile could not be read or compared.

/// What is wrong with a profile, or with what was asked of it. Offsets count decompressed bytes.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProfileError {
    /// No bytes at all.
    #[error("the profile is empty")]
    Empty,
    /// The bytes are text: one of Go's `debug=1` or `debug=2` forms, or a web page.
    #[error("expected a binary profile, found text that starts with {starts:?}")]
    Text {
        /// The first characters of the text.
        starts: String,
    },
    /// The gzip stream is damaged or cut.
    #[error("the profile's gzip stream cannot be decompressed")]
    Gzip {
        /// What the decompressor said.
        #[source]
        source: std::io::Error,
    },
    /// The profile is larger than the caller's [`crate::Limits`] allow.
    #[error("the profile has more than {limit} {what}")]
    TooLarge {
        /// What there is too much of.
        what: &'static str,
        /// The limit that was reached.
        limit: usize,
    },
    /// A field announces more bytes than are left.
    #[error("the profile is cut: expected {expected} more bytes at offset {offset}, found {found}")]
    Truncated {
        /// Where the bytes should have been.
        offset: usize,
        /// How many were announced.
        expected: u64,
        /// How many are there.
        found: usize,
    },
    /// A varint without an end, or one of more than 64 bits.
    #[error("expected a varint of at most 64 bits at offset {offset}")]
    Varint {
        /// Where it starts.
        offset: usize,
    },
    /// A field that this message does not have in this encoding.
    #[error("field {field} has wire type {wire_type} at offset {offset}")]
    WireType {
        /// Where the field starts.
        offset: usize,
        /// The field's number.
        field: u64,
        /// The wire type found.
        wire_type: u8,
    },
    /// `time_nanos` comes twice: two profiles were joined byte by byte.
    #[error("two profiles follow each other in one file (second `time_nanos` at offset {offset})")]
    Concatenated {
        /// Where the second profile was noticed.
        offset: usize,
    },
    /// The first string of the table must be empty.
    #[error("expected string_table[0] to be empty, found {found:?}")]
    FirstString {
        /// What it is instead.
        found: String,
    },
    /// Something refers to an entry that is not in the profile.
    #[error("{from} refers to {what} {id}, which the profile does not have")]
    UnknownId {
        /// Who refers.
        from: &'static str,
        /// Referred to: `string`, `mapping`, `function` or `location`.
        what: &'static str,
        /// The id or string index.
        id: u64,
    },
    /// Id 0 is reserved.
    #[error("a {what} has the reserved id 0")]
    ReservedId {
        /// `mapping`, `function` or `location`.
        what: &'static str,
    },
    /// Two entries have the same id.
    #[error("two {what}s have the id {id}")]
    DuplicateId {
        /// `mapping`, `function` or `location`.
        what: &'static str,
        /// The id.
        id: u64,
    },
    /// A sample must have a value for every sample type.
    #[error("sample {sample} has {found} values, expected {expected}: one for every sample type")]
    ValueCount {
        /// The sample's index.
        sample: usize,
        /// The number of sample types.
        expected: usize,
        /// The number of its values.
        found: usize,
    },
    /// The profile declares no sample type.
    #[error("the profile has no sample types")]
    NoSampleTypes,
    /// The sample type asked for is not in the profile.
    #[error("the profile has no sample type `{wanted}`, only {}", known.join(", "))]
    UnknownSampleType {
        /// What was asked for.
        wanted: String,
        /// What there is.
        known: Vec<String>,
    },
    /// Two profiles measure the same sample type in different units.
    #[error("`{sample_type}` is in {before} in one profile and in {after} in the other")]
    UnitMismatch {
        /// The sample type.
        sample_type: String,
        /// Its unit before.
        before: String,
        /// Its unit after.
        after: String,
    },
}

impl ProfileError {
    /// What the user can do about it, where we know.
    pub fn hint(&self) -> Option<&'static str> {
        Some(match self {
            Self::Empty => "did the request for the profile fail, or is it still being written?",
            Self::Text { starts } if starts.starts_with('<') => {
                "this looks like a web page; ask for the profile itself, e.g. /debug/pprof/heap"
            }
            Self::Text { .. } => "ask for the binary form: leave `debug=1` or `debug=2` out",
            Self::Gzip { .. } | Self::Truncated { .. } => "was the download cut? fetch it again",
            Self::TooLarge { .. } => "raise the limit if the profile can be trusted",
            Self::Concatenated { .. } => "split the file, or merge it with `go tool pprof -proto`",
            _ => return None,
        })
    }
}
