//! The one thread that writes the store. Everything else hands it jobs over a bounded channel, so
//! a slow disk holds up neither reading nor judging.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;

use model::{Append, Batch, EvidenceFile, EvidenceRef, Incident, IncidentId, TargetId};
use store::Store;
use tokio::sync::oneshot;

/// Jobs that may wait: at 20 targets a second, some seconds of a stalled disk.
const WAITING_MAX: usize = 256;

enum Job {
    Append(Batch),
    Ring(TargetId, Vec<EvidenceFile>),
    Evidence(
        IncidentId,
        Vec<EvidenceFile>,
        oneshot::Sender<Vec<EvidenceRef>>,
    ),
    Incident(Box<Incident>, Option<oneshot::Sender<bool>>),
}

/// Hands jobs to the writing thread. Dropping the last one ends the thread once all is written.
pub(crate) struct Writer {
    jobs: Option<SyncSender<Job>>,
    thread: Option<JoinHandle<()>>,
    counts: Arc<Counts>,
}

/// What became of jobs, for the status page.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) stored: AtomicU64,
    /// Batches given up because the channel was full.
    pub(crate) dropped: AtomicU64,
    pub(crate) failed: AtomicU64,
}

impl Writer {
    pub(crate) fn start(store: Arc<Store>) -> std::io::Result<Self> {
        let (jobs, inbox) = sync_channel(WAITING_MAX);
        let counts = Arc::new(Counts::default());
        let shared = Arc::clone(&counts);
        let work = move || {
            for job in inbox {
                write(&store, job, &shared);
            }
        };
        let thread = std::thread::Builder::new()
            .name("store-writer".into())
            .spawn(work)?;
        Ok(Self {
            jobs: Some(jobs),
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

    /// Stores evidence. Incidents are rare and must not be lost: this waits for room.
    pub(crate) fn evidence(
        &self,
        incident: IncidentId,
        files: Vec<EvidenceFile>,
    ) -> oneshot::Receiver<Vec<EvidenceRef>> {
        let (done, answer) = oneshot::channel();
        self.insist(Job::Evidence(incident, files, done));
        answer
    }

    pub(crate) fn incident(&self, incident: &Incident) {
        self.insist(Job::Incident(Box::new(incident.clone()), None));
    }

    /// As [`Writer::incident`], and says whether it lies on the disk.
    pub(crate) fn incident_safely(&self, incident: &Incident) -> oneshot::Receiver<bool> {
        let (done, answer) = oneshot::channel();
        self.insist(Job::Incident(Box::new(incident.clone()), Some(done)));
        answer
    }

    fn offer(&self, job: Job) {
        if let Some(jobs) = &self.jobs
            && let Err(TrySendError::Full(_)) = jobs.try_send(job)
        {
            self.counts.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn insist(&self, job: Job) {
        if let Some(jobs) = &self.jobs {
            // An error means that the thread is gone, which happens at the end only.
            let _ = jobs.send(job);
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn write(store: &Store, job: Job, counts: &Counts) {
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
            let mut refs = Vec::new();
            for file in files {
                match store.put_evidence(&incident, &file) {
                    Ok(stored) => refs.push(stored),
                    Err(error) => failed("evidence not stored", &error),
                }
            }
            // Nobody waits any more when the watcher is ending; the files are stored.
            let _ = done.send(refs);
        }
        Job::Incident(incident, done) => {
            let saved = store.save_incident(&incident);
            if let Err(error) = &saved {
                failed("incident not stored", error);
            }
            if let Some(done) = done {
                // Whoever asked may have gone away.
                let _ = done.send(saved.is_ok());
            }
        }
    }
}
