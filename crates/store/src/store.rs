//! The store as the other layers see it.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;

use model::series::{AppendError, Appended, ReadError};
use model::{
    Append, Batch, Budget, Cancel, Clock, EvidenceFile, EvidenceRef, Incident, IncidentId, Matcher,
    Series, SeriesRead, TargetId, UnixMs,
};

use crate::busy::Busy;
use crate::dir::{self, DirLock};
use crate::error::StoreError;
use crate::evidence::{EvidenceStore, Problem};
use crate::options::Options;
use crate::series::SeriesStore;

/// Series, incidents and evidence in one directory, which this process alone holds.
///
/// All methods may be called from any thread and block it: on file I/O, or on a lock that is held
/// for such I/O; but for [`Store::health`] and [`Store::stats`], which wait for no disk. Dropping it writes everything down as [`Store::close`] does.
pub struct Store {
    inner: Arc<Inner>,
    background: Mutex<Option<JoinHandle<()>>>,
}

struct Inner {
    series: SeriesStore,
    evidence: EvidenceStore,
    options: Options,
    path: PathBuf,
    busy: Busy,
    stop: Mutex<bool>,
    stopped: Condvar,
    /// Last, so that the directory is free only when all else is closed.
    _lock: DirLock,
}

/// The figures of a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stats {
    /// Series known, ended ones within the retention included.
    pub series: usize,
    /// Samples stored, those in memory included.
    pub samples: u64,
    /// Bytes of evidence, the rings included, and the most there may be.
    pub evidence_bytes: u64,
    /// See `evidence_bytes`.
    pub evidence_bytes_max: u64,
    /// Sealed chunks that wait for a disk that failed.
    pub waiting_bytes: usize,
    /// Samples taken since the store was opened.
    pub samples_appended: u64,
    /// Samples dropped since then because they were not newer than their series' last one.
    pub samples_out_of_order: u64,
    /// Samples dropped since then because they were older than the retention or over an hour ahead
    /// of the clock.
    pub samples_time_refused: u64,
    /// Samples dropped since then because their series would have been one too many.
    pub samples_series_refused: u64,
    /// Samples lost since then because the disk failed for too long.
    pub samples_lost: u64,
    /// Records that could not be read when the store was opened.
    pub records_malformed: u64,
    /// Chunks of samples that were damaged when something read them since then.
    pub chunks_unreadable: u64,
    /// The last thing that went wrong, in words.
    pub last_error: Option<String>,
}

/// How a store is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    /// All is written.
    Good,
    /// It goes on in memory; in words, why.
    Degraded(String),
}

impl Store {
    /// Opens the store in `dir`, creating it if there is none. After a kill this replays the
    /// journal, at most [`Options::journal_bytes_max`] of it.
    ///
    /// # Errors
    /// [`StoreError::Locked`] if another process has the directory, [`StoreError::Newer`] if a
    /// later release wrote it, else what the file system or the database said.
    pub fn open(dir: &Path, options: &Options, clock: Arc<dyn Clock>) -> Result<Self, StoreError> {
        dir::create(dir)?;
        let lock = dir::lock(dir)?;
        dir::remove_temporary(dir);
        dir::check_format(dir)?;
        let series = dir.join("series");
        // Made here, for our user only: the database would make it readable for all.
        dir::create(&series)?;
        let inner = Arc::new(Inner {
            busy: Busy::new(Arc::clone(&clock)),
            series: SeriesStore::open(&series, options, clock)?,
            evidence: EvidenceStore::open(dir, options)?,
            options: options.clone(),
            path: dir.to_owned(),
            stop: Mutex::new(false),
            stopped: Condvar::new(),
            _lock: lock,
        });
        let background = options
            .background
            .then(|| run_in_background(&inner))
            .transpose()?;
        Ok(Self {
            inner,
            background: Mutex::new(background),
        })
    }

    /// Forces all that was appended to the disk. Without it that happens every
    /// [`Options::sync_interval`].
    ///
    /// # Errors
    /// What the disk said; the store then goes on in memory.
    pub fn sync(&self) -> Result<(), StoreError> {
        let _at_work = self.inner.busy.begin();
        self.inner.series.sync()
    }

    /// What the store does from time to time: syncs, seals idle series, drops what is too old,
    /// comes back from disk errors. The background thread calls it.
    pub fn maintain(&self) {
        self.inner.maintain();
    }

    /// Writes everything down and refuses appends from here on. Reads still work. The directory is
    /// free for others when the store is dropped.
    ///
    /// # Errors
    /// What the disk said.
    pub fn close(&self) -> Result<(), StoreError> {
        *lock(&self.inner.stop) = true;
        self.inner.stopped.notify_all();
        if let Some(thread) = lock(&self.background).take() {
            // A panic in the thread has been printed; closing goes on without it.
            let _ = thread.join();
        }
        self.inner.series.close()
    }

    /// Whether all is written, and if not, why. Waits for no disk: where one hangs, that is the answer.
    #[must_use]
    pub fn health(&self) -> Health {
        let hangs = self.inner.busy.hangs_for().map(|time| {
            format!(
                "the disk has not answered for {} s: readings and incidents wait in memory; see whether \
                 the file system of {} hangs",
                time.as_secs(),
                self.inner.path.display()
            )
        });
        hangs
            .or_else(|| self.inner.series.trouble())
            .map_or(Health::Good, Health::Degraded)
    }

    /// Bytes that the data directory takes on the disk. Costs a walk over its few hundred files.
    #[must_use]
    pub fn disk_bytes(&self) -> u64 {
        dir::disk_bytes(&self.inner.path)
    }

    /// Figures. Waits for no disk: while one is at work, they are those of the last time that it was not.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let series = self.inner.series.stats();
        let unreadable = self.inner.series.unreadable();
        Stats {
            series: series.series,
            samples: series.samples,
            evidence_bytes: self.inner.evidence.bytes(),
            evidence_bytes_max: self.inner.evidence.budget_bytes(),
            waiting_bytes: series.waiting_bytes,
            samples_appended: series.counters.samples_appended,
            samples_out_of_order: series.counters.out_of_order,
            samples_time_refused: series.counters.time_refused,
            samples_series_refused: series.counters.series_refused,
            samples_lost: series.counters.samples_lost,
            records_malformed: series.counters.records_malformed,
            chunks_unreadable: unreadable.chunks,
            last_error: (series.counters.last_error)
                .or_else(|| (unreadable.chunks > 0).then_some(unreadable.reason)),
        }
    }

    /// Stores a file in the folder of `incident`, which need not be saved yet. The answer belongs
    /// into [`Incident::evidence`]; its name differs from the file's if that one was taken.
    ///
    /// # Errors
    /// [`StoreError::BadName`], [`StoreError::OverBudget`], or what the file system said.
    pub fn put_evidence(
        &self,
        incident: &IncidentId,
        file: &EvidenceFile,
    ) -> Result<EvidenceRef, StoreError> {
        let _at_work = self.inner.busy.begin();
        self.inner.evidence.put(incident, file)
    }

    /// A stored file; `None` if there is none of that name (any more).
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidInput`] for a name that is no plain file name,
    /// [`io::ErrorKind::InvalidData`] if the file is torn, or what the file system said.
    pub fn read_evidence(&self, incident: &IncidentId, name: &str) -> io::Result<Option<Vec<u8>>> {
        self.inner.evidence.read(incident, name)
    }

    /// Stores an incident, new or changed. References to evidence that is gone are left out.
    ///
    /// # Errors
    /// [`StoreError::BadName`] if its id cannot be a folder, or what the file system said.
    pub fn save_incident(&self, incident: &Incident) -> Result<(), StoreError> {
        let _at_work = self.inner.busy.begin();
        self.inner.evidence.save(incident)
    }

    /// All incidents, by id.
    #[must_use]
    pub fn incidents(&self) -> Vec<Incident> {
        self.inner.evidence.incidents()
    }

    /// One incident.
    #[must_use]
    pub fn incident(&self, id: &IncidentId) -> Option<Incident> {
        self.inner.evidence.incident(id)
    }

    /// What could not be read when the store was opened.
    #[must_use]
    pub fn problems(&self) -> Vec<Problem> {
        let mut problems = self.inner.evidence.problems();
        problems.extend(self.inner.series.problem().cloned());
        problems
    }

    /// Stores a snapshot for later comparison, at most 2 MiB. A target keeps six of each kind, the
    /// newest dense, older ones further apart, none older than a day beside newer ones.
    ///
    /// # Errors
    /// [`StoreError::BadName`], [`StoreError::OverBudget`], or what the file system said.
    pub fn put_ring(
        &self,
        target: &TargetId,
        file: &EvidenceFile,
    ) -> Result<EvidenceRef, StoreError> {
        let _at_work = self.inner.busy.begin();
        self.inner.evidence.put_ring(target, file)
    }

    /// The snapshots of a target, newest first.
    #[must_use]
    pub fn ring(&self, target: &TargetId) -> Vec<EvidenceRef> {
        self.inner.evidence.ring(target)
    }

    /// The bytes of a snapshot that [`Store::ring`] listed; `None` if it has gone since.
    ///
    /// # Errors
    /// As [`Store::read_evidence`].
    pub fn read_ring(&self, snapshot: &EvidenceRef) -> io::Result<Option<Vec<u8>>> {
        self.inner.evidence.read_ring(snapshot)
    }
}

impl Inner {
    fn maintain(&self) {
        let _at_work = self.busy.begin();
        self.series.maintain();
        let now = self.series.time_for_deletion();
        self.evidence.drop_rings(now.before(self.options.ring_keep));
    }
}

fn run_in_background(inner: &Arc<Inner>) -> Result<JoinHandle<()>, StoreError> {
    let inner = Arc::clone(inner);
    let path = inner.path.clone();
    let thread = std::thread::Builder::new().name("store".into());
    let run = move || {
        let mut stop = lock(&inner.stop);
        while !*stop {
            let waited = inner
                .stopped
                .wait_timeout(stop, inner.options.sync_interval);
            stop = waited.unwrap_or_else(PoisonError::into_inner).0;
            if !*stop {
                drop(stop);
                inner.maintain();
                stop = lock(&inner.stop);
            }
        }
    };
    thread
        .spawn(run)
        .map_err(StoreError::io("start a thread for", path))
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Append for Store {
    fn append(&self, batch: &Batch) -> Result<Appended, AppendError> {
        let _at_work = self.inner.busy.begin();
        self.inner.series.append(batch)
    }
}

impl SeriesRead for Store {
    fn select(
        &self,
        matchers: &[Matcher],
        from: UnixMs,
        to: UnixMs,
        budget: &Budget,
        cancel: &Cancel,
    ) -> Result<Vec<Series>, ReadError> {
        self.inner.series.select(matchers, from, to, budget, cancel)
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        if let Err(error) = self.close() {
            tracing::error!(error = error.in_words(), "the store was not closed cleanly");
        }
    }
}
