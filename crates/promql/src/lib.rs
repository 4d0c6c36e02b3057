//! PromQL over any [`model::SeriesRead`].
//!
//! Start at [`Embedded`]. Semantics are those of Prometheus 3: windows are open on the left, a
//! staleness marker ends a series, a sample is looked for up to five minutes back.
//!
//! Evaluated by this version: selectors with matchers and `offset`; numbers; arithmetic and
//! comparison between numbers and vectors, vectors matched one to one (`on`, `ignoring`); `rate`,
//! `increase`, `delta`, `deriv`, `avg/min/max/sum/count_over_time`; `sum`, `min`, `max`, `avg`,
//! `count` with `by` and `without`. Everything else is parsed and answered with an error that
//! names it. No runtime is known here: the caller says where a query may block.
#![forbid(unsafe_code)]

mod ast;
mod embedded;
mod eval;
mod grammar;
mod window;

pub use embedded::{Embedded, Job, Options, Spawn};
