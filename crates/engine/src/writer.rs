//! The one thread that writes the store. Everything else hands it jobs and waits for none, so a slow disk, or
//! one that hangs, holds up neither reading nor judging. What a failing disk does not take is tried again.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use model::{Append, Batch, Clock, EvidenceFile, EvidenceRef, Incident, IncidentId, TargetId};
use store::Store;
use tokio::sync::{mpsc, oneshot};

use crate::late::{self, Late};
use crate::waiting::{Job, Left, Next, Waiting};

/// What became of files of evidence. More may be heard of those that wait.
#[derive(Debug, Default)]
pub(crate) struct Stored {
    /// Those that lie on the disk.
    pub(crate) refs: Vec<EvidenceRef>,
    /// How many wait in memory for the disk.
    pub(crate) waiting: usize,
    /// How many are given up.
    pub(crate) lost: usize,
}

/// Hands jobs to the writing thread. Dropping the last one ends the thread once all is written.
pub(crate) struct Writer {
    waiting: Arc<Waiting>,
    thread: Option<JoinHandle<()>>,
    counts: Arc<Counts>,
}

/// What became of jobs, for the status page.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) stored: AtomicU64,
    /// Readings and snapshots given up because too many waited.
    pub(crate) dropped: AtomicU64,
    pub(crate) failed: AtomicU64,
    /// Incidents and files of evidence that wait for the disk.
    pub(crate) late: AtomicU64,
}

impl Writer {
    pub(crate) fn start(store: Arc<Store>, clock: Arc<dyn Clock>) -> std::io::Result<Self> {
        let waiting = Arc::new(Waiting::default());
        let inbox = Arc::clone(&waiting);
        let counts = Arc::new(Counts::default());
        let shared = Arc::clone(&counts);
        let work = move || work(&store, &*clock, &inbox, &shared);
        let thread = std::thread::Builder::new()
            .name("store-writer".into())
            .spawn(work)?;
        Ok(Self {
            waiting,
            thread: Some(thread),
            counts,
        })
    }

    pub(crate) fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Stores samples. When the disk cannot keep up the batch is dropped and counted: the next
    /// round brings the next.
    pub(crate) fn append(&self, batch: Batch) {
        self.offer(Job::Append(batch));
    }

    pub(crate) fn ring(&self, target: TargetId, files: Vec<EvidenceFile>) {
        self.offer(Job::Ring(target, files));
    }

    /// Stores evidence. What becomes of the files is said when the disk was asked, and again of those that
    /// wait for a failing disk.
    pub(crate) fn evidence(
        &self,
        incident: IncidentId,
        files: Vec<EvidenceFile>,
    ) -> mpsc::UnboundedReceiver<Stored> {
        let (done, answers) = mpsc::unbounded_channel();
        self.waiting.evidence(incident, files, done);
        answers
    }

    pub(crate) fn incident(&self, incident: &Incident) {
        self.waiting.incident(incident.clone(), None);
    }

    /// As [`Writer::incident`], and says whether it lies on the disk.
    pub(crate) fn incident_safely(&self, incident: &Incident) -> oneshot::Receiver<bool> {
        let (done, answer) = oneshot::channel();
        self.waiting.incident(incident.clone(), Some(done));
        answer
    }

    fn offer(&self, job: Job) {
        if !self.waiting.offer(job) {
            self.counts.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// What the disk did not take before the watcher ended.
#[derive(Debug, thiserror::Error)]
#[error(
    "the disk of the data directory has not answered for {} s; not written: {}; what was written before is \
     kept, and is there at the next start",
    waited.as_secs(),
    self.in_words()
)]
pub struct NotWritten {
    waited: Duration,
    left: Left,
    late: u64,
}

impl NotWritten {
    fn in_words(&self) -> String {
        let Left {
            readings,
            snapshots,
            incidents,
            evidence_files,
        } = self.left;
        let counted = [
            (readings as u64, "rounds of readings"),
            (snapshots as u64, "snapshots"),
            (incidents as u64, "incidents"),
            (evidence_files as u64, "files of evidence"),
            (self.late, "incidents and files that had failed before"),
        ];
        let counted = counted.into_iter().filter(|(count, _)| *count > 0);
        let counted: Vec<String> = counted
            .map(|(count, what)| format!("{count} {what}"))
            .collect();
        match counted.is_empty() {
            true => "nothing that is known of, but the store could not be closed".into(),
            false => counted.join(", "),
        }
    }
}

/// Ends the writing, and closes the store: what is left has `limit` to be written. A disk that hangs for longer
/// is not waited for; the threads that hang on it end with the process, or when the disk answers.
///
/// # Errors
/// [`NotWritten`].
pub(crate) async fn close(
    writer: Writer,
    store: Arc<Store>,
    limit: Duration,
) -> Result<(), NotWritten> {
    let (waiting, counts) = (Arc::clone(&writer.waiting), Arc::clone(&writer.counts));
    let (done, closed) = oneshot::channel();
    let work = move || {
        drop(writer);
        if let Err(error) = store.close() {
            tracing::warn!(%error, "the store did not close cleanly");
        }
        // Nobody waits any more where it took too long.
        let _ = done.send(());
    };
    // Not one of the runtime's threads, which may all hang on that disk. Where there is no thread to be had,
    // all was dropped with `work`, and that has waited for the disk.
    let thread = std::thread::Builder::new().name("store-closer".into());
    if let Err(error) = thread.spawn(work) {
        tracing::warn!(%error, "the store was closed without a limit of time");
        return Ok(());
    }
    if tokio::time::timeout(limit, closed).await.is_ok() {
        return Ok(());
    }
    Err(NotWritten {
        waited: limit,
        left: waiting.left(),
        late: counts.late.load(Ordering::Relaxed),
    })
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.waiting.close();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn work(store: &Store, clock: &dyn Clock, inbox: &Waiting, counts: &Counts) {
    let mut late = Late::default();
    loop {
        let at_most = (!late.is_empty()).then_some(late::RETRY);
        match inbox.next(at_most) {
            Next::Job(job) => write(store, job, &mut late, counts),
            Next::Nothing => {}
            Next::Closed => break,
        }
        if late.is_due(clock.monotonic()) {
            late.try_again(store);
        }
        counts.late.store(late.len() as u64, Ordering::Relaxed);
    }
    // The last chance of what waits.
    late.try_again(store);
}

fn write(store: &Store, job: Job, late: &mut Late, counts: &Counts) {
    let failed = |what: &str, error: &dyn std::error::Error| {
        counts.failed.fetch_add(1, Ordering::Relaxed);
        tracing::warn!(%error, cause = error.source().map(tracing::field::display), "{what}");
    };
    match job {
        Job::Append(batch) => match store.append(&batch) {
            Ok(appended) => {
                counts
                    .stored
                    .fetch_add(appended.stored as u64, Ordering::Relaxed);
            }
            Err(error) => failed("samples not stored", &error),
        },
        Job::Ring(target, files) => {
            for file in files {
                if let Err(error) = store.put_ring(&target, &file) {
                    failed("snapshot not stored", &error);
                }
            }
        }
        Job::Evidence(incident, files, done) => {
            let mut stored = Stored::default();
            for file in files {
                match store.put_evidence(&incident, &file) {
                    Ok(taken) => stored.refs.push(taken),
                    Err(error) => {
                        failed("evidence not stored", &error);
                        let waits = error.may_pass() && late.evidence(&incident, file, &done);
                        stored.waiting += usize::from(waits);
                        stored.lost += usize::from(!waits);
                    }
                }
            }
            // Nobody waits any more when the watcher is ending; the files are stored.
            let _ = done.send(stored);
        }
        Job::Incident(incident, asked) => {
            let saved = store.save_incident(&incident);
            for asked in asked {
                // Whoever asked may have gone away.
                let _ = asked.send(saved.is_ok());
            }
            match saved {
                Ok(()) => late.is_saved(&incident.id),
                Err(error) => {
                    failed("incident not stored", &error);
                    if error.may_pass() {
                        late.incident(*incident);
                    }
                }
            }
        }
    }
}
