//! [`Query`] over a [`SeriesRead`] in the same process.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use model::series::{BoxFuture, QueryResult, ReadError};
use model::{Budget, Cancel, Query, SeriesRead, UnixMs};

use crate::eval::Evaluation;
use crate::grammar;

/// Work for a thread that may block.
pub type Job = Box<dyn FnOnce() + Send>;

/// Runs a job on a thread that may block, such as
/// `|job| drop(tokio::task::spawn_blocking(job))`.
pub type Spawn = Arc<dyn Fn(Job) + Send + Sync>;

/// Bounds of one query.
#[derive(Debug, Clone)]
pub struct Options {
    /// How old the newest sample of a series may be. Default 5 minutes, as in Prometheus.
    pub lookback: Duration,
    /// The most samples a query may read. Default 50 million.
    pub samples_max: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            lookback: Duration::from_secs(300),
            samples_max: 50_000_000,
        }
    }
}

/// Evaluates PromQL over stored series. Cloning is cheap.
#[derive(Clone)]
pub struct Embedded {
    read: Arc<dyn SeriesRead>,
    options: Options,
    spawn: Spawn,
}

impl Embedded {
    /// Evaluates over `read`; each query runs as one job through `spawn`. A future that is dropped
    /// cancels its query.
    pub fn new(read: Arc<dyn SeriesRead>, options: Options, spawn: Spawn) -> Self {
        Self {
            read,
            options,
            spawn,
        }
    }

    /// Evaluates `query` at `at`, on this thread.
    ///
    /// # Errors
    /// [`ReadError::BadQuery`] with what is wrong or not evaluated by this version; else those of
    /// the read.
    pub fn instant_now(
        &self,
        query: &str,
        at: UnixMs,
        cancel: &Cancel,
    ) -> Result<QueryResult, ReadError> {
        let expr = grammar::parse(query)?;
        let budget = Budget::samples(self.options.samples_max);
        self.evaluation(at, at, &budget, cancel).instant(&expr)
    }

    /// Evaluates `query` at `from`, `from + step_ms`, ... up to `to`, on this thread.
    ///
    /// # Errors
    /// As [`Embedded::instant_now`]; a step of zero or more than 11,000 steps as well.
    pub fn range_now(
        &self,
        query: &str,
        from: UnixMs,
        to: UnixMs,
        step_ms: u64,
        cancel: &Cancel,
    ) -> Result<QueryResult, ReadError> {
        let expr = grammar::parse(query)?;
        let budget = Budget::samples(self.options.samples_max);
        self.evaluation(from, to, &budget, cancel)
            .range(&expr, step_ms)
    }

    fn evaluation<'a>(
        &'a self,
        from: UnixMs,
        to: UnixMs,
        budget: &'a Budget,
        cancel: &'a Cancel,
    ) -> Evaluation<'a> {
        Evaluation {
            read: &*self.read,
            lookback_ms: u64::try_from(self.options.lookback.as_millis()).unwrap_or(u64::MAX),
            budget,
            cancel,
            from,
            to,
        }
    }

    /// Runs `work` through the spawner. Nothing runs before the future is polled.
    fn run(
        &self,
        work: impl FnOnce(&Self, &Cancel) -> Answer + Send + 'static,
    ) -> BoxFuture<'_, Answer> {
        Box::pin(async move {
            let slot = Arc::new(Slot::default());
            let cancel = Cancel::default();
            let waiting = Waiting {
                slot: Arc::clone(&slot),
                cancel: cancel.clone(),
            };
            let this = self.clone();
            let filler = Filler(slot);
            (self.spawn)(Box::new(move || {
                let answer = work(&this, &cancel);
                filler.0.fill(answer);
            }));
            waiting.await
        })
    }
}

impl Query for Embedded {
    fn instant(&self, query: &str, at: UnixMs) -> BoxFuture<'_, Answer> {
        let query = query.to_owned();
        self.run(move |this, cancel| this.instant_now(&query, at, cancel))
    }

    fn range(&self, query: &str, from: UnixMs, to: UnixMs, step_ms: u64) -> BoxFuture<'_, Answer> {
        let query = query.to_owned();
        self.run(move |this, cancel| this.range_now(&query, from, to, step_ms, cancel))
    }
}

type Answer = Result<QueryResult, ReadError>;

/// Where the job leaves its answer for the future.
#[derive(Default)]
struct Slot(Mutex<(Option<Answer>, Option<Waker>)>);

impl Slot {
    fn fill(&self, answer: Answer) {
        let mut slot = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        slot.0.get_or_insert(answer);
        if let Some(waker) = slot.1.take() {
            waker.wake();
        }
    }
}

/// A job that is dropped unrun, or panics, must not leave its future waiting for ever.
struct Filler(Arc<Slot>);

impl Drop for Filler {
    fn drop(&mut self) {
        self.0.fill(Err(ReadError::Cancelled));
    }
}

struct Waiting {
    slot: Arc<Slot>,
    cancel: Cancel,
}

impl Future for Waiting {
    type Output = Answer;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Answer> {
        let mut slot = self.slot.0.lock().unwrap_or_else(PoisonError::into_inner);
        match slot.0.take() {
            Some(answer) => Poll::Ready(answer),
            None => {
                slot.1 = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.cancel.cancel();
    }
}
