//! Layer 2: series, incidents and evidence in one directory on disk.
//!
//! Start at [`Store::open`]. Series go in through [`model::Append`] and come out through
//! [`model::SeriesRead`]; incidents and evidence files through [`Store`]'s own methods. The
//! formats are in `docs/format/store.md`.
//!
//! What it promises: what [`model::Append::append`] said was stored survives a kill of the process
//! at once, and a power failure after [`Options::sync_interval`]. When the disk fails, samples stay
//! in memory within a bound, [`Store::health`] says so, and it tries again by itself.
//!
//! What it does not do: judge, evaluate PromQL, or talk to the network. It keeps samples as they
//! came: no down-sampling yet, and no samples older than what their series already has.
#![forbid(unsafe_code)]

mod belief;
mod bits;
mod busy;
mod bytes;
mod codec;
mod dir;
mod engine;
mod error;
mod evidence;
mod head;
mod index;
mod lists;
mod mend;
mod options;
mod record;
mod ring;
mod series;
mod store;

pub use error::StoreError;
pub use evidence::{Problem, read_evidence_file};
pub use options::Options;
pub use ring::SNAPSHOT_BYTES_MAX;
pub use store::{Health, Stats, Store};
