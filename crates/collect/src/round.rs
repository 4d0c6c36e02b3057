//! One reading of one target: the process through the reader and the endpoint by HTTP, side by
//! side, so that both sides of the ledger are of one moment.

use std::sync::Arc;
use std::time::Duration;

use fetch::{FetchError, Fetcher, Request};
use model::{Clock, ProcessKey, UnixMs};
use reader::{GoFailure, ReadFailure, Reader, ReaderError, Reading};
use wire::{Limits, Scrape, SeriesCache, WireError};

use crate::probe::Endpoint;

/// The process is read again when the scrape took longer than this, so that the two sides of the
/// ledger stay of one moment.
const SKEW_MAX: Duration = Duration::from_millis(250);

/// A program is opened once, in tens of milliseconds: the first round that asks for its figures
/// waits for that, so that the first look shows them. Later ones do not.
const OPENING_STEPS: u32 = 20;
const OPENING_STEP: Duration = Duration::from_millis(25);

/// When the Go runtime's figures are read in the process's memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AskProcess {
    /// In every round.
    Always,
    /// In rounds whose scrape fails, which costs a second reading of the process.
    #[default]
    WhenScrapeFails,
}

/// Where the numbers come from and how much to bear.
#[derive(Clone)]
pub struct Source {
    /// Makes the requests.
    pub fetcher: Fetcher,
    /// Reads the processes.
    pub reader: Reader,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
}

/// Reads one target again and again. Keeps the series cache of its scrapes.
pub struct Collector {
    source: Source,
    process: Option<ProcessKey>,
    endpoint: Endpoint,
    timeout: Duration,
    limits: Limits,
    cache: SeriesCache,
    ask_process: AskProcess,
    waited_for_opening: bool,
}

/// A scrape that succeeded.
#[derive(Debug)]
pub struct Scraped {
    /// When the answer was complete.
    pub at: UnixMs,
    /// How long it took.
    pub took: Duration,
    /// What it said.
    pub scrape: Scrape,
    /// The body as it came, for evidence.
    pub body: Vec<u8>,
}

/// Why a scrape gave nothing.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ScrapeError {
    /// The endpoint gave no good answer.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// The answer is no metrics.
    #[error("{url} sends no metrics that can be read: {reason}")]
    Parse {
        /// Which endpoint.
        url: String,
        /// What is wrong with its answer.
        reason: WireError,
    },
}

/// What one round brought. A side that does not exist is `None`.
#[derive(Debug)]
pub struct Round {
    /// When the round began.
    pub started: UnixMs,
    /// The process's side.
    pub reading: Option<Result<Reading, ReadProblem>>,
    /// The endpoint's side.
    pub scraped: Option<Result<Scraped, ScrapeError>>,
}

impl Round {
    /// Whether it is still being found out where Go's figures lie in the process.
    #[must_use]
    pub fn is_opening(&self) -> bool {
        is_opening(&self.reading)
    }
}

/// Why the process could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadProblem {
    /// This process cannot be read.
    #[error(transparent)]
    Process(#[from] ReadFailure),
    /// The reader itself does not answer.
    #[error(transparent)]
    Reader(#[from] ReaderError),
    /// The thread that asked was lost.
    #[error("the reading was cut off")]
    CutOff,
}

impl Collector {
    /// A collector for a process, an endpoint, or both.
    #[must_use]
    pub fn new(
        source: Source,
        process: Option<ProcessKey>,
        endpoint: Endpoint,
        timeout: Duration,
    ) -> Self {
        let limits = Limits::default();
        Self {
            source,
            process,
            endpoint,
            timeout,
            limits,
            cache: SeriesCache::default(),
            ask_process: AskProcess::default(),
            waited_for_opening: false,
        }
    }

    /// The endpoint as it is known now.
    #[must_use]
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Sets the endpoint once it was found.
    pub fn set_endpoint(&mut self, endpoint: Endpoint) {
        self.endpoint = endpoint;
    }

    /// Says when the runtime's figures are read in the process's memory, from the next round on.
    pub fn set_ask_process(&mut self, when: AskProcess) {
        self.ask_process = when;
    }

    /// Reads both sides once. Takes as long as the slower side, at most the scrape's timeout and
    /// the reader's deadline.
    pub async fn round(&mut self) -> Round {
        let started = self.source.clock.now();
        let begin = self.source.clock.monotonic();
        let source = self.source.clone();
        let process = self.process.clone();
        let mut go = self.ask_process == AskProcess::Always;
        let first = read(&source, process.as_ref(), go);
        let (mut reading, scraped) = tokio::join!(first, self.scrape());
        let late = self.source.clock.monotonic().saturating_sub(begin) > SKEW_MAX;
        let failed = matches!(scraped, Some(Err(_))) && !go;
        go |= failed;
        let again = failed || (late && matches!(scraped, Some(Ok(_))));
        if again && matches!(reading, Some(Ok(_))) {
            reading = read(&source, process.as_ref(), go).await;
        }
        if go && !self.waited_for_opening {
            self.waited_for_opening = true;
            for _ in 0..OPENING_STEPS {
                if !is_opening(&reading) {
                    break;
                }
                tokio::time::sleep(OPENING_STEP).await;
                reading = read(&source, process.as_ref(), go).await;
            }
        }
        Round {
            started,
            reading,
            scraped,
        }
    }

    async fn scrape(&mut self) -> Option<Result<Scraped, ScrapeError>> {
        let url = self.endpoint.metrics_url.clone()?;
        Some(self.scrape_url(&url).await)
    }

    async fn scrape_url(&mut self, url: &str) -> Result<Scraped, ScrapeError> {
        let begin = self.source.clock.monotonic();
        let request = Request {
            url,
            timeout: self.timeout,
            body_bytes_max: self.limits.body_bytes_max,
            accept: Some(wire::ACCEPT),
        };
        let response = self
            .source
            .fetcher_for(&self.endpoint)
            .get(&request)
            .await?;
        let at = self.source.clock.now();
        let kind = response.content_type.as_deref();
        let parsed = wire::parse_with_cache(kind, &response.body, &self.limits, &mut self.cache);
        let scrape = parsed.map_err(|reason| ScrapeError::Parse {
            url: url.to_owned(),
            reason,
        })?;
        let took = self.source.clock.monotonic().saturating_sub(begin);
        Ok(Scraped {
            at,
            took,
            scrape,
            body: response.body,
        })
    }
}

fn is_opening(reading: &Option<Result<Reading, ReadProblem>>) -> bool {
    let go = reading.as_ref().and_then(|reading| reading.as_ref().ok());
    let go = go.and_then(|reading| reading.go.as_ref());
    matches!(go, Some(Err(GoFailure::Opening)))
}

async fn read(
    source: &Source,
    key: Option<&ProcessKey>,
    go: bool,
) -> Option<Result<Reading, ReadProblem>> {
    let keys = [key?.clone()];
    let reader = source.reader.clone();
    // The reader's calls block on its socket.
    let read = move || match go {
        true => reader.read_with_go(&keys),
        false => reader.read(&keys),
    };
    let answer = tokio::task::spawn_blocking(read).await;
    Some(match answer {
        Ok(Ok(mut readings)) => match readings.pop() {
            Some(reading) => reading.map_err(ReadProblem::Process),
            None => Err(ReadProblem::CutOff),
        },
        Ok(Err(error)) => Err(ReadProblem::Reader(error)),
        Err(_) => Err(ReadProblem::CutOff),
    })
}
