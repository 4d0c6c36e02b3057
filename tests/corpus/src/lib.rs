//! Histories of the memory of Go services, made up from how Go's runtime works, and what is true of each: whether it
//! leaks, what, since when and how fast.
//!
//! A judge of leaks is measured on them, and must not know them: this crate knows nothing of it, and the families and
//! the ranges of their figures (`families.rs`) were there before it was measured. Of one seed and family everything is
//! the same on every machine, up to the last bit of sines and logarithms.
//!
//! ```
//! use corpus::{Family, View, history};
//!
//! let history = history(Family::Linear, 42);
//! let leak = history.truth.leak.expect("one that leaks");
//! assert_eq!(leak.kind, "go-heap");
//! let text = history.replicas[0].open_metrics(&history, View::Rss);
//! assert!(text.contains("process_resident_memory_bytes"));
//! ```
#![forbid(unsafe_code)]

mod families;
mod plan;
mod random;
mod runtime;
mod series;

pub use families::{Family, history};
pub use plan::{Bump, Cache, DAY, Growth, Leak, Load, Plan, Reading, Where};
pub use random::{Random, Wander};
pub use runtime::{Demand, MIB, Memory, Process, Settings};
pub use series::View;

/// What a family's history says, and what is true of it.
#[derive(Debug, Clone, PartialEq)]
pub struct History {
    /// Its family.
    pub family: Family,
    /// The seed that it is made from.
    pub seed: u64,
    /// Seconds between two readings.
    pub period_s: f64,
    /// Bytes at which a process is killed.
    pub limit: f64,
    /// GOGC in percent and GOMEMLIMIT in bytes, in force all the time.
    pub settings: Settings,
    /// The processes of the service, which begin together.
    pub replicas: Vec<Replica>,
    /// What is true.
    pub truth: Truth,
}

/// One process of a service, through its restarts.
#[derive(Debug, Clone, PartialEq)]
pub struct Replica {
    /// `shop-2`.
    pub instance: String,
    /// Whether this one leaks.
    pub leaks: bool,
    /// What was read, in the order of reading.
    pub readings: Vec<Reading>,
}

/// What is true of a history.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Truth {
    /// The leak, if there is one.
    pub leak: Option<Leaking>,
    /// If there is none: what it is instead, as verdicts name it.
    pub instead: &'static str,
}

/// A leak that there is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Leaking {
    /// `go-heap`, `goroutine`, `native`.
    pub kind: &'static str,
    /// Seconds from the beginning of the history.
    pub from_s: f64,
    /// Bytes a minute, from then to the end of the history, while the process ran.
    pub bytes_per_minute: f64,
}
