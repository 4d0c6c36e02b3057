//! Profiles from a target's pprof endpoint.
//!
//! What costs the target more than a moment (a forced collection, `debug=2`) is only fetched by who has
//! asked whether it may be. Never `heap?debug=1`. Source: Go's net/http/pprof.

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
    /// The heap profile after a collection that is forced.
    HeapAfterGc,
    /// Goroutines one by one, as text; stops the target.
    GoroutineDump,
    /// Goroutines that nothing can wake again (Go 1.27 and newer); forces a collection.
    GoroutineLeak,
}

impl ProfileKind {
    /// Its name, for people.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Heap | Self::HeapAfterGc => "heap",
            Self::Goroutine | Self::GoroutineDump => "goroutine",
            Self::GoroutineLeak => "goroutineleak",
        }
    }

    /// What stands behind the base in the URL.
    #[must_use]
    pub fn path(self) -> &'static str {
        match self {
            Self::Heap => "heap",
            Self::HeapAfterGc => "heap?gc=1",
            Self::Goroutine => "goroutine",
            Self::GoroutineDump => "goroutine?debug=2",
            Self::GoroutineLeak => "goroutineleak",
        }
    }
}

/// Fetches a profile from the pprof index at `base`, such as `http://127.0.0.1:6060/debug/pprof`.
/// The bytes are `profile.proto`, compressed; text for [`ProfileKind::GoroutineDump`]. With more than
/// `body_bytes_max`, and never more than [`PROFILE_BYTES_MAX`], it is refused.
///
/// # Errors
/// [`FetchError`].
pub async fn fetch_profile(
    fetcher: &Fetcher,
    base: &str,
    kind: ProfileKind,
    body_bytes_max: usize,
) -> Result<Vec<u8>, FetchError> {
    let url = format!("{base}/{}", kind.path());
    let request = Request {
        url: &url,
        timeout: TIMEOUT,
        body_bytes_max: body_bytes_max.min(PROFILE_BYTES_MAX),
        accept: None,
    };
    let Response { body, .. } = fetcher.get(&request).await?;
    Ok(body)
}
