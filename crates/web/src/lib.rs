//! Layer 3: the HTTP API and the pages, over the seams of `model`.
//!
//! Start at [`WebState`], which holds the seams, and at [`router`], which makes an
//! [`axum::Router`] of them; [`metrics_router`] is the part that may be open to a scraper. Every
//! route is in one table (`routes.rs`), which a test holds against `docs/openapi.yaml`.
//!
//! * Pages are made on the server and readable without scripts. A small module listens to
//!   `/events` and fetches the page again, so what is shown is always what the server would send.
//! * Errors are JSON in the shape of Prometheus' API. Nothing here panics on a request, and every
//!   request is bounded: the body, the query's text, its points, the clients of `/events`, the
//!   profiles that are read at a time.
//! * Nothing comes from another host, and no other web site can use a reader's browser to reach
//!   this one: see `guard.rs`.
//!
//! Who may change something is in `operator.rs`. Deliberately not here: listening and TLS (the
//! binary's), every change of state
//! (a [`model::Command`] is handed to the engine), and any knowledge of how figures are collected
//! or stored.
#![forbid(unsafe_code)]

mod api;
mod assets;
mod compare;
mod error;
mod events;
mod evidence;
mod guard;
mod history;
mod holders;
mod kept;
mod metrics;
mod operator;
mod own_metrics;
mod pages;
mod params;
mod prometheus;
mod report;
mod routes;
mod state;
#[cfg(test)]
mod tests;
mod words;

pub use operator::Operator;
pub use report::{ReadEvidence, report};
pub use routes::{metrics_router, router};
pub use state::WebState;
