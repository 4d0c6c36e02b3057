//! The loops: `watch` reads every target at its period, stores, judges, takes evidence and tells
//! people; `diagnose` does the same for one target in one session.
//!
//! [`backtest`] judges what others have recorded.
//!
//! Start at [`watch::Watcher::start`] or [`diagnose::diagnose`]. Decisions are in pure modules
//! ([`book`] for incidents, the crates `judge`, `ledger` and `locate` for theirs); what is here
//! waits, passes on and keeps budgets. It serves no pages: faces read [`model::FleetRead`] and hand
//! in [`model::Commands`].
#![forbid(unsafe_code)]

mod admission;
pub mod answering;
pub mod backtest;
pub mod book;
mod budget;
mod budgeting;
mod cause;
mod clock;
pub mod config;
mod config_budget;
mod config_inspect;
mod config_notify;
mod config_traces;
mod confirm;
mod costly;
mod deaths;
pub mod diagnose;
mod driver;
pub mod evidence;
mod exit;
mod go_source;
mod holders;
pub mod joining;
pub mod judging;
mod late;
mod leaks;
mod limits;
mod main_loop;
mod marks;
mod memory;
mod outside;
mod own_names;
pub mod people;
mod placing;
pub mod rails;
mod ring;
mod ring_files;
mod store_words;
#[cfg(test)]
mod tests;
mod trace_reads;
mod tracked;
mod under_load;
mod waiting;
pub mod watch;
mod writer;

pub use clock::SystemClock;
pub use config::{Config, ConfigError};
pub use limits::Machine;
pub use memory::MemorySeries;
pub use watch::{Parts, Watcher};
pub use writer::NotWritten;
