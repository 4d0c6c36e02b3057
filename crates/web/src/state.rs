//! What every handler has: the seams, and the bounds that requests share.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use model::{Commands, FleetRead, Query};
use tokio::sync::{Semaphore, watch};

use crate::compare::Comparisons;
use crate::holders::AllHeld;
use crate::operator::Operator;

/// Pages that may listen to `/events` at a time; the next one is sent away and polls.
pub(crate) const LISTENERS_MAX: usize = 64;
/// Queries evaluated at a time; the next one waits. Prometheus' default is 20, on larger machines.
const QUERIES_MAX: usize = 8;
/// Evidence files and profiles read at a time: each may take a core and tens of megabytes.
const EVIDENCE_MAX: usize = 2;

/// The seams that the faces stand on.
#[derive(Clone)]
pub struct WebState {
    /// Targets, verdicts, incidents and evidence.
    pub fleet: Arc<dyn FleetRead>,
    /// PromQL over the stored series.
    pub query: Arc<dyn Query>,
    /// Where requests to change something go.
    pub commands: Arc<dyn Commands>,
    /// Who may send them there.
    pub operator: Operator,
    /// The version of the latest view. When its sender is dropped the streams of `/events` end, so
    /// that a graceful shutdown is not held up by open pages.
    pub changed: watch::Receiver<u64>,
    /// Host names under which the server may be reached, beside `localhost` and plain addresses;
    /// without ports.
    pub allowed_hosts: Vec<String>,
}

impl WebState {
    /// The state for a server that is reached by `localhost` or an address only.
    #[must_use]
    pub fn new(
        fleet: Arc<dyn FleetRead>,
        query: Arc<dyn Query>,
        commands: Arc<dyn Commands>,
        operator: Operator,
        changed: watch::Receiver<u64>,
    ) -> Self {
        Self {
            fleet,
            query,
            commands,
            operator,
            changed,
            allowed_hosts: Vec::new(),
        }
    }
}

/// [`WebState`] with the shared bounds.
pub(crate) struct Inner {
    pub(crate) seams: WebState,
    pub(crate) listeners: Arc<Semaphore>,
    pub(crate) queries: Semaphore,
    pub(crate) evidence: Semaphore,
    pub(crate) comparisons: Comparisons,
    pub(crate) held: AllHeld,
}

pub(crate) type Shared = Arc<Inner>;

impl Inner {
    pub(crate) fn new(seams: WebState) -> Shared {
        Arc::new(Self {
            seams,
            listeners: Arc::new(Semaphore::new(LISTENERS_MAX)),
            queries: Semaphore::new(QUERIES_MAX),
            evidence: Semaphore::new(EVIDENCE_MAX),
            comparisons: Comparisons::default(),
            held: AllHeld::default(),
        })
    }
}

/// While we use more memory than we may, nothing outlives the request that made it. Scrapers and open pages
/// ask all the time, so this is soon.
pub(crate) async fn within_budget(
    State(inner): State<Shared>,
    request: Request,
    next: Next,
) -> Response {
    if inner.seams.fleet.view().health.own.is_short_of_memory() {
        inner.comparisons.empty();
        inner.held.empty();
    }
    next.run(request).await
}
