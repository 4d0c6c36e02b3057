//! Layer 1: finds what to watch and fetches what it has to say.
//!
//! Start at [`Collector::round`], one reading of one target: its process through the reader and
//! its endpoint by HTTP, side by side. [`probe`] finds the endpoint of a process that nobody
//! configured; [`profiles`] fetches what pprof offers. Everything fetched is bounded in time and
//! size, and what fails is a state that people see.
//!
//! This crate stores nothing and judges nothing.
#![forbid(unsafe_code)]

pub mod config;
pub mod identity;
mod inside;
pub mod probe;
pub mod profiles;
mod round;
mod trace_file;
mod trace_journal;
mod traces;
mod workload;

pub use config::ScrapeConfig;
pub use probe::{Endpoint, Probed};
pub use profiles::ProfileKind;
pub use round::{AskProcess, Collector, ReadProblem, Round, ScrapeError, Scraped, Source};
pub use trace_journal::JournalOf;
pub use traces::{TraceLog, TraceSource};
