//! Profiles from a target's pprof endpoint.
//!
//! Only forms that do not stop the target for long: the heap profile without `gc=1` and without
//! `debug=1`, goroutines as `debug=0` (counts per stack). Source: Go's net/http/pprof.

use std::time::Duration;

use fetch::{FetchError, Fetcher, Request, Response};

/// A profile larger than this is refused: parsing it would cost more memory than a watcher has.
pub const PROFILE_BYTES_MAX: usize = 16 << 20;
const TIMEOUT: Duration = Duration::from_secs(10);

/// Which profile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ProfileKind {
    /// Live objects by where they were allocated, as of the last completed collection.
    Heap,
    /// Goroutines by stack.
    Goroutine,
}

impl ProfileKind {
    /// The name in the URL.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Heap => "heap",
            Self::Goroutine => "goroutine",
        }
    }
}

/// Fetches a profile from the pprof index at `base`, such as `http://127.0.0.1:6060/debug/pprof`.
/// The bytes are `profile.proto`, compressed.
///
/// # Errors
/// [`FetchError`].
pub async fn fetch_profile(
    fetcher: &Fetcher,
    base: &str,
    kind: ProfileKind,
) -> Result<Vec<u8>, FetchError> {
    let url = format!("{base}/{}", kind.as_str());
    let request = Request {
        url: &url,
        timeout: TIMEOUT,
        body_bytes_max: PROFILE_BYTES_MAX,
        accept: None,
    };
    let Response { body, .. } = fetcher.get(&request).await?;
    Ok(body)
}
