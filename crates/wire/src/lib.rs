//! Bytes to samples and back: Prometheus' exposition text 0.0.4, OpenMetrics 1.0 text, and the
//! JSON of Go's `expvar`, the figures below a heap profile in text, and the lines of `gctrace` and
//! `scavtrace`.
//!
//! Start at [`parse`] for a scrape's body (or [`parse_with_cache`] for a target that is scraped
//! again and again; both tell these forms apart), at [`TextStream`] or [`read_series_json`] for a recorded
//! history, at [`parse_traces`] for a log, and at [`exposition`] for writing a page of our own.
//!
//! What is accepted is what Prometheus 3 accepts, with a few liberties that [`text`] lists. No input
//! makes it panic, and its time and memory stay within a constant factor of the input, itself
//! bounded by [`Limits`].
//!
//! Deliberately not here: sockets, decompression, relabelling, storing, and what a metric means.
#![forbid(unsafe_code)]

mod cache;
mod error;
mod expvar;
mod float;
mod fuzz;
mod heap_text;
mod memstats;
mod scrape;
pub mod series_json;
pub mod stream;
pub mod text;
mod traces;
mod write;

pub use cache::SeriesCache;
pub use error::WireError;
pub use expvar::parse_expvar;
pub use fuzz::fuzz_one;
pub use heap_text::parse_heap_text;
pub use scrape::{Family, FamilyType, Limits, Role, Scrape, ScrapedSample};
pub use series_json::{ApiAnswer, parse_series_json, read_series_json};
pub use stream::{TextStream, unix_ms};
pub use text::{ACCEPT, parse, parse_with_cache};
pub use traces::{Traces, parse_traces};
pub use write::{ExposedFamily, TEXT_CONTENT_TYPE, exposition};
