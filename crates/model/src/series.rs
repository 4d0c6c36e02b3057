//! Samples and series, and the seams through which the layers hand them on.
//!
//! [`SeriesRead`] is synchronous and for blocking threads; [`Query`] is the asynchronous seam that
//! rules, pages and back-tests use; [`Append`] is how collected samples enter a store.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

use crate::labels::Labels;
use crate::time::UnixMs;

/// One value at one time.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// When it was read.
    pub t: UnixMs,
    /// The value; a staleness marker is the NaN of [`stale_marker`].
    pub v: f64,
}

/// The NaN that says "this series has ended", with the bits that Prometheus uses.
#[must_use]
pub fn stale_marker() -> f64 {
    f64::from_bits(0x7ff0_0000_0000_0002)
}

/// Whether `v` is the staleness marker, and not merely some NaN.
#[must_use]
pub fn is_stale_marker(v: f64) -> bool {
    v.to_bits() == 0x7ff0_0000_0000_0002
}

/// One series: its labels and its samples in the order of time.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    /// What identifies it.
    pub labels: Labels,
    /// Strictly increasing in time.
    pub samples: Vec<Sample>,
}

/// The samples that one collection round of one target brought, written as one unit.
#[derive(Debug, Clone, Default)]
pub struct Batch {
    /// The samples. Those of one series must not be older than what the store already has.
    pub samples: Vec<(Labels, Sample)>,
}

/// How a matcher compares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum MatchOp {
    /// `=`
    Equal,
    /// `!=`
    NotEqual,
    /// `=~`, anchored at both ends
    Regex,
    /// `!~`, anchored at both ends
    NotRegex,
}

/// One condition on a label; an absent label has the empty value.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Matcher {
    /// The label's name.
    pub name: String,
    /// How its value is compared.
    pub op: MatchOp,
    /// With what.
    pub value: String,
}

impl Matcher {
    /// `name="value"`.
    pub fn equal(name: impl Into<String>, value: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            op: MatchOp::Equal,
            value: value.into(),
        }
    }

    /// `__name__="name"`.
    pub fn metric(name: impl Into<String>) -> Self {
        Self::equal(crate::METRIC_NAME, name)
    }
}

/// Tells a long read that nobody waits for it any more. Clones share one flag.
#[derive(Debug, Clone, Default)]
pub struct Cancel(Arc<AtomicBool>);

impl Cancel {
    /// Asks everything that holds a clone to stop soon.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether somebody asked.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// How many samples a read may still touch.
#[derive(Debug)]
pub struct Budget(AtomicU64);

impl Budget {
    /// A budget of `samples`.
    #[must_use]
    pub fn samples(samples: u64) -> Self {
        Self(AtomicU64::new(samples))
    }

    /// Takes `samples` out; false, and nothing taken, when fewer are left.
    pub fn take(&self, samples: u64) -> bool {
        let spend = |left: u64| left.checked_sub(samples);
        self.0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, spend)
            .is_ok()
    }
}

/// Why a read gave nothing.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The caller went away.
    #[error("the read was cancelled")]
    Cancelled,
    /// The query touches more samples than it may.
    #[error("the query needs more samples than its budget allows")]
    OverBudget,
    /// A matcher's regular expression is not one.
    #[error("`{pattern}` is not a regular expression: {reason}")]
    Regex {
        /// The pattern as given.
        pattern: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The query's text is wrong.
    #[error("{0}")]
    BadQuery(String),
    /// The storage failed.
    #[error("failed to read stored series")]
    Storage(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Reads stored series; synchronous, for blocking threads.
pub trait SeriesRead: Send + Sync {
    /// All series that match all `matchers`, with their samples in `from..=to`; series without a
    /// sample there are left out. Sorted by labels.
    ///
    /// # Errors
    /// [`ReadError`]; a cancelled or over-budget read gives no partial answer.
    fn select(
        &self,
        matchers: &[Matcher],
        from: UnixMs,
        to: UnixMs,
        budget: &Budget,
        cancel: &Cancel,
    ) -> Result<Vec<Series>, ReadError>;
}

/// Why samples were not stored.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AppendError {
    /// The storage failed; the samples are kept in memory within a bound and written later.
    #[error("failed to store samples")]
    Storage(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The store is closing.
    #[error("the store is closed")]
    Closed,
}

/// Takes collected samples in.
pub trait Append: Send + Sync {
    /// Stores `batch`. A sample not newer than its series' last one is dropped and counted in the
    /// answer.
    ///
    /// # Errors
    /// [`AppendError`]; samples in memory remain readable.
    fn append(&self, batch: &Batch) -> Result<Appended, AppendError>;
}

/// What became of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Appended {
    /// Samples stored.
    pub stored: usize,
    /// Samples dropped because they were not newer than what is stored.
    pub out_of_order: usize,
}

/// What a query gave.
#[derive(Debug, Clone, PartialEq)]
pub enum QueryResult {
    /// One sample a series, at the evaluation time.
    Vector(Vec<(Labels, Sample)>),
    /// Samples at each step, a series each.
    Matrix(Vec<Series>),
    /// One number.
    Scalar(Sample),
}

/// A boxed future, as the asynchronous seams return it.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// PromQL text to result. The embedded engine evaluates it, a remote one is asked.
pub trait Query: Send + Sync {
    /// Evaluates `query` at `at`.
    fn instant(&self, query: &str, at: UnixMs) -> BoxFuture<'_, Result<QueryResult, ReadError>>;

    /// Evaluates `query` at `from`, `from + step_ms`, ... up to `to`.
    fn range(
        &self,
        query: &str,
        from: UnixMs,
        to: UnixMs,
        step_ms: u64,
    ) -> BoxFuture<'_, Result<QueryResult, ReadError>>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_refuses_what_it_does_not_have() {
        let budget = Budget::samples(10);
        assert!(budget.take(7));
        assert!(!budget.take(4), "only three were left");
        assert!(budget.take(3));
    }

    #[test]
    fn the_stale_marker_is_a_nan_of_its_own() {
        assert!(stale_marker().is_nan());
        assert!(is_stale_marker(stale_marker()));
        assert!(!is_stale_marker(f64::NAN));
    }
}
