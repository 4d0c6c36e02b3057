//! Series: the head in memory, sealed chunks and the journal on the disk.
//!
//! The path of a sample: [`SeriesStore::append`] puts it into its series' open chunk, journals the
//! batch, and writes a chunk as soon as it is full. A checkpoint writes the open chunks down and
//! empties the journal. After a kill, [`SeriesStore::open`] reads the open chunks of the last
//! checkpoint and replays the journal; a series' head records the last time it has, so samples
//! that come back twice are dropped.
//!
//! Locks: `writer` first, then `state`; the engine has its own, taken last. Readers take `state`
//! for as long as copying the unsealed samples takes, then read chunks without it. Samples only
//! move from memory to disk, so in that order nothing is missed and what is seen twice is dropped.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard, TryLockError,
};
use std::time::Duration;

use model::series::{AppendError, Appended, ReadError, is_stale_marker};
use model::{Batch, Budget, Cancel, Clock, Labels, Matcher, Sample, Series, UnixMs};

use crate::belief::Belief;
use crate::codec;
use crate::dir;
use crate::engine::{Engine, Write, decode_chunk, partition_of};
use crate::error::StoreError;
use crate::evidence::Problem;
use crate::head::OpenChunk;
use crate::index::{Compiled, Index};
use crate::mend;
use crate::options::Options;
use crate::record::{self, SeriesId};

/// A sample this far ahead of the clock is refused: it would keep all later ones out.
const AHEAD_MAX: Duration = Duration::from_secs(3_600);

/// How often idle series and old partitions are looked for.
const SWEEP_INTERVAL: Duration = Duration::from_secs(60);

/// The waits between attempts to come back from a disk error.
const RETRY_FIRST: Duration = Duration::from_secs(1);
const RETRY_LAST: Duration = Duration::from_secs(60);

/// The last time of a series without a sample.
const NEVER: UnixMs = UnixMs(i64::MIN);

/// What must fit on the disk before an attempt: more than the journal of fjall writes at once.
const PROBE_BYTES: usize = 1 << 20;

/// Bytes a part of a checkpoint has, so that a big one does not hold everything in memory twice.
const CHECKPOINT_PART_BYTES: usize = 1 << 20;

/// A checkpoint packs every open chunk again, so with many series it comes after more journal: for
/// this much a chunk has filled up by a third.
const JOURNAL_BYTES_PER_SERIES: u64 = 500;

/// The share of `series_max` that is forgotten at once when it is reached.
const MAKE_ROOM_SHARE: usize = 100;

pub(crate) struct SeriesStore {
    engine: Engine,
    state: RwLock<State>,
    writer: Mutex<Writer>,
    /// What was told last, for those who ask while the disk is at work.
    told: Mutex<Told>,
    options: Options,
    clock: Arc<dyn Clock>,
    path: std::path::PathBuf,
    /// What was damaged when it was opened.
    problem: Option<Problem>,
    opened: UnixMs,
    /// Chunks that could not be read since.
    unreadable: Mutex<Unreadable>,
}

/// Chunks that could not be read, and why the last of them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Unreadable {
    pub(crate) chunks: u64,
    pub(crate) reason: String,
}

/// What readers see.
#[derive(Default)]
struct State {
    ids: HashMap<Labels, SeriesId>,
    entries: HashMap<SeriesId, Entry>,
    index: Index,
}

struct Entry {
    labels: Labels,
    last: UnixMs,
    ended: bool,
    /// Whether its newest sample is of before the store was opened.
    restored: bool,
    open: Option<Box<OpenChunk>>,
    /// Sealed chunks that are not on the disk yet.
    waiting: Vec<Arc<Sealed>>,
    /// Whether the series' record is on the disk.
    recorded: bool,
    /// Whether the head on the disk is older than this.
    changed: bool,
}

struct Sealed {
    last: UnixMs,
    samples: usize,
    bytes: Vec<u8>,
}

/// What only the one who writes needs.
struct Writer {
    next_id: SeriesId,
    next_sequence: u64,
    journal_bytes: u64,
    unsynced: bool,
    /// Sealed chunks that are not on the disk yet, oldest first.
    waiting: VecDeque<(SeriesId, Arc<Sealed>)>,
    waiting_bytes: usize,
    /// Samples in the sealed chunks of each partition.
    counts: BTreeMap<i64, u64>,
    down: Option<Down>,
    closed: bool,
    next_sweep: Duration,
    /// The time that deletion goes by.
    belief: Belief,
    counters: Counters,
}

/// The disk failed, and when to try again.
struct Down {
    reason: String,
    since: UnixMs,
    retry_at: Duration,
    wait: Duration,
}

/// What was refused or lost since the store was opened.
#[derive(Debug, Clone, Default)]
pub(crate) struct Counters {
    pub(crate) samples_appended: u64,
    pub(crate) out_of_order: u64,
    pub(crate) series_refused: u64,
    pub(crate) time_refused: u64,
    pub(crate) samples_lost: u64,
    pub(crate) records_malformed: u64,
    pub(crate) last_error: Option<String>,
}

/// How it was when it was asked last.
#[derive(Debug, Clone, Default)]
struct Told {
    trouble: Option<String>,
    stats: SeriesStats,
}

/// The figures of [`SeriesStore::stats`].
#[derive(Debug, Clone, Default)]
pub(crate) struct SeriesStats {
    pub(crate) series: usize,
    pub(crate) samples: u64,
    pub(crate) waiting_bytes: usize,
    pub(crate) counters: Counters,
}

/// The record of one append as it is made.
#[derive(Default)]
struct Round {
    journal: Vec<(SeriesId, Sample)>,
    created: Vec<(SeriesId, Labels)>,
    /// Series whose chunk was sealed and whose head on the disk must follow.
    sealed: Vec<SeriesId>,
    appended: Appended,
}

impl SeriesStore {
    pub(crate) fn open(
        path: &Path,
        options: &Options,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, StoreError> {
        let now = clock.now();
        let (engine, loaded, problem) = mend::open(path, now)?;
        let mut state = State::default();
        let mut writer = Writer {
            next_id: loaded.next_id,
            next_sequence: loaded.next_sequence,
            journal_bytes: 0,
            unsynced: false,
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            counts: loaded.counts,
            down: None,
            closed: false,
            next_sweep: Duration::ZERO,
            belief: Belief::new(now, clock.monotonic()),
            counters: Counters {
                records_malformed: loaded.malformed,
                ..Counters::default()
            },
        };
        for (id, labels) in loaded.series {
            state.add(id, labels, true);
        }
        for (id, last, samples) in loaded.heads {
            if let Some(entry) = state.entries.get_mut(&id) {
                entry.restore(last, &samples);
            }
        }
        for (&id, entry) in &mut state.entries {
            if entry.last == NEVER
                && let Some(last) = engine.last_chunk(id)
            {
                entry.restore(last, &[]);
            }
        }
        for (id, sample) in loaded.journal.into_iter().flatten() {
            if let Some(entry) = state.entries.get_mut(&id)
                && sample.t > entry.last
            {
                writer.push(id, entry, sample);
                entry.restored = true;
            }
        }
        let lasts = state.entries.values().map(|entry| entry.last);
        if let Some(newest) = lasts.max().filter(|newest| *newest > UnixMs(0)) {
            writer.belief = Belief::new(newest, clock.monotonic());
        }
        let store = Self {
            engine,
            state: RwLock::new(state),
            writer: Mutex::new(writer),
            told: Mutex::default(),
            options: options.clone(),
            clock,
            path: path.to_owned(),
            problem,
            opened: now,
            unreadable: Mutex::default(),
        };
        // What was replayed goes into chunks and heads, so that the next open has less to do.
        store.checkpoint(&mut store.lock_writer())?;
        Ok(store)
    }

    fn lock_writer(&self) -> MutexGuard<'_, Writer> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read_state(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_state(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn append(&self, batch: &Batch) -> Result<Appended, AppendError> {
        let mut writer = self.lock_writer();
        if writer.closed {
            return Err(AppendError::Closed);
        }
        let round = self.put_into_heads(&mut writer, batch);
        writer.counters.samples_appended += round.appended.stored as u64;
        writer.counters.out_of_order += round.appended.out_of_order as u64;
        if let Some(down) = &writer.down {
            let reason = down.reason.clone();
            writer.bound_waiting(&self.state, self.options.waiting_bytes_max);
            return Err(AppendError::Storage(Box::new(StoreError::Down { reason })));
        }
        if round.journal.is_empty() {
            return Ok(round.appended);
        }
        let written = self.write_round(&mut writer, &round);
        written.map_err(|error| {
            self.go_down(&mut writer, &error);
            AppendError::Storage(Box::new(error))
        })?;
        Ok(round.appended)
    }

    /// The part of an append that readers see at once.
    fn put_into_heads(&self, writer: &mut Writer, batch: &Batch) -> Round {
        let now = self.clock.now();
        let (oldest, newest) = (now.before(self.options.retention), now.after(AHEAD_MAX));
        let mut round = Round::default();
        round.journal.reserve(batch.samples.len());
        let mut state = self.write_state();
        for (labels, sample) in &batch.samples {
            if sample.t < oldest || sample.t > newest {
                writer.counters.time_refused += 1;
                continue;
            }
            let id = match state.ids.get(labels) {
                Some(&id) => id,
                None => match self.create(&mut state, writer, labels) {
                    Some(id) => {
                        round.created.push((id, labels.clone()));
                        id
                    }
                    None => {
                        writer.counters.series_refused += 1;
                        continue;
                    }
                },
            };
            let entry = state.entries.get(&id);
            // Else it would wait for that time to come.
            let id = match entry.filter(|entry| self.is_of_a_wrong_clock(entry, newest)) {
                Some(_) => match self.create(&mut state, writer, labels) {
                    Some(id) => {
                        round.created.push((id, labels.clone()));
                        id
                    }
                    None => continue,
                },
                None => id,
            };
            let Some(entry) = state.entries.get_mut(&id) else {
                continue;
            };
            if sample.t <= entry.last {
                round.appended.out_of_order += 1;
                continue;
            }
            if writer.push(id, entry, *sample) {
                round.sealed.push(id);
            }
            round.journal.push((id, *sample));
            round.appended.stored += 1;
        }
        round
    }

    /// Whether a series' newest sample is of a clock that was ahead, and was set back since.
    fn is_of_a_wrong_clock(&self, entry: &Entry, newest: UnixMs) -> bool {
        entry.last > newest || entry.restored && entry.last > self.opened
    }

    /// A new series, if there is room or room can be made.
    fn create(&self, state: &mut State, writer: &mut Writer, labels: &Labels) -> Option<SeriesId> {
        if state.entries.len() >= self.options.series_max && !self.make_room(state, writer) {
            let max = self.options.series_max;
            writer.counters.last_error =
                Some(format!("{max} series are the most, all of them live"));
            return None;
        }
        let id = writer.next_id;
        writer.next_id = id.checked_add(1)?;
        state.add(id, labels.clone(), false);
        Some(id)
    }

    /// Forgets the series that ended longest ago. False if none has ended.
    fn make_room(&self, state: &mut State, writer: &mut Writer) -> bool {
        let entries = state.entries.iter();
        let mut ended: Vec<(UnixMs, SeriesId)> = entries
            .filter(|(_, entry)| entry.open.is_none() && entry.waiting.is_empty())
            .map(|(id, entry)| (entry.last, *id))
            .collect();
        ended.sort_unstable();
        ended.truncate((self.options.series_max / MAKE_ROOM_SHARE).max(1));
        let ids: Vec<SeriesId> = ended.into_iter().map(|(_, id)| id).collect();
        self.forget(state, writer, &ids)
    }

    /// Takes series out of memory and off the disk; their chunks go with their partitions.
    fn forget(&self, state: &mut State, writer: &mut Writer, ids: &[SeriesId]) -> bool {
        if ids.is_empty() {
            return false;
        }
        state.remove(ids);
        if writer.down.is_none()
            && let Err(error) = self.engine.commit(ids.iter().map(|&id| Write::Forget(id)))
        {
            self.go_down(writer, &error);
        }
        true
    }

    /// Journals a round, with the series it created and the chunks it filled, as one unit.
    fn write_round(&self, writer: &mut Writer, round: &Round) -> Result<(), StoreError> {
        let record = record::put_batch(&round.journal);
        writer.journal_bytes += record.len() as u64;
        let sequence = writer.next_sequence;
        writer.next_sequence += 1;
        let waiting: Vec<_> = writer.waiting.iter().cloned().collect();
        let created = round.created.iter();
        let mut writes: Vec<Write<'_>> = created
            .map(|(id, labels)| Write::Series(*id, labels))
            .collect();
        writes.extend(writer.chunk_writes(&waiting));
        {
            let state = self.read_state();
            let heads = round
                .sealed
                .iter()
                .filter_map(|&id| Some(Write::Head(id, state.entries.get(&id)?.head())));
            writes.extend(heads);
        }
        writes.push(Write::Journal(sequence, record));
        self.engine.commit(writes)?;
        writer.unsynced = true;
        if !round.created.is_empty() || !waiting.is_empty() {
            let mut state = self.write_state();
            for (id, _) in &round.created {
                if let Some(entry) = state.entries.get_mut(id) {
                    entry.recorded = true;
                }
            }
            writer.chunks_are_written(&mut state);
        }
        let series = self.read_state().entries.len() as u64;
        let bytes_max = self.options.journal_bytes_max;
        if writer.journal_bytes >= bytes_max.max(series * JOURNAL_BYTES_PER_SERIES) {
            self.checkpoint(writer)?;
        }
        Ok(())
    }

    /// Writes all that is only in memory or only in the journal, then empties the journal.
    fn checkpoint(&self, writer: &mut Writer) -> Result<(), StoreError> {
        let waiting: Vec<_> = writer.waiting.iter().cloned().collect();
        {
            let state = self.read_state();
            let mut writes: Vec<Write<'_>> = writer.chunk_writes(&waiting);
            let mut bytes = writer.waiting_bytes;
            for (&id, entry) in state.entries.iter().filter(|(_, entry)| entry.is_behind()) {
                if !entry.recorded {
                    writes.push(Write::Series(id, &entry.labels));
                }
                let head = entry.head();
                bytes += head.len();
                writes.push(Write::Head(id, head));
                if bytes >= CHECKPOINT_PART_BYTES {
                    self.engine.commit(std::mem::take(&mut writes))?;
                    bytes = 0;
                }
            }
            self.engine.commit(writes)?;
        }
        self.engine.trim_journal(writer.next_sequence)?;
        writer.journal_bytes = 0;
        writer.unsynced = true;
        let mut state = self.write_state();
        writer.chunks_are_written(&mut state);
        for entry in state.entries.values_mut() {
            (entry.recorded, entry.changed) = (true, false);
        }
        Ok(())
    }

    fn go_down(&self, writer: &mut Writer, error: &StoreError) {
        let reason = error.with_advice();
        tracing::error!(
            reason,
            "the disk is not being written; samples stay in memory"
        );
        writer.counters.last_error = Some(reason.clone());
        writer.down = Some(Down {
            reason,
            since: self.clock.now(),
            retry_at: self.clock.monotonic() + RETRY_FIRST,
            wait: RETRY_FIRST,
        });
    }

    /// Forces what was appended to the disk.
    pub(crate) fn sync(&self) -> Result<(), StoreError> {
        let mut writer = self.lock_writer();
        if let Some(down) = &writer.down {
            return Err(StoreError::Down {
                reason: down.reason.clone(),
            });
        }
        if !std::mem::take(&mut writer.unsynced) {
            return Ok(());
        }
        // Appends go on while the disk works; one that fails meanwhile finds its own error.
        drop(writer);
        let synced = self.engine.sync();
        if let Err(error) = &synced {
            self.go_down(&mut self.lock_writer(), error);
        }
        synced
    }

    /// Comes back from a disk error when it is time, forces to the disk what is not there yet, and
    /// once a minute seals what is idle and drops what is old.
    pub(crate) fn maintain(&self) {
        let now = self.clock.monotonic();
        let mut writer = self.lock_writer();
        if writer.closed {
            return;
        }
        if writer
            .down
            .as_ref()
            .is_some_and(|down| down.retry_at <= now)
        {
            self.try_to_come_back(&mut writer);
        }
        if writer.next_sweep <= now {
            writer.next_sweep = now + SWEEP_INTERVAL;
            self.seal_idle(&mut writer);
            if writer.down.is_none()
                && let Err(error) = self.drop_old(&mut writer)
            {
                self.go_down(&mut writer, &error);
            }
        }
        drop(writer);
        // An error is kept in `down` and shown by `health`.
        let _ = self.sync();
    }

    fn try_to_come_back(&self, writer: &mut Writer) {
        // The broken database can still be read, so it is not closed before the disk takes data.
        let probed = dir::probe(&self.path, PROBE_BYTES);
        let result = probed
            .map_err(StoreError::io("write", &self.path))
            .and_then(|()| self.engine.reopen())
            .and_then(|()| self.checkpoint(writer));
        let now = self.clock.monotonic();
        match (result, &mut writer.down) {
            (Ok(()), down) => {
                tracing::info!("the disk is being written again");
                *down = None;
            }
            (Err(error), Some(down)) => {
                down.reason = error.with_advice();
                down.wait = (down.wait * 2).min(RETRY_LAST);
                down.retry_at = now + down.wait;
            }
            (Err(_), None) => {}
        }
    }

    /// Seals the open chunks of series that have gone quiet, so that they cost no more memory than
    /// their labels.
    fn seal_idle(&self, writer: &mut Writer) {
        let before = self.clock.now().before(self.options.idle_after);
        let mut sealed = false;
        let mut state = self.write_state();
        for (&id, entry) in &mut state.entries {
            if entry.open.is_some() && (entry.last < before || entry.ended) {
                writer.seal(id, entry);
                entry.open = None;
                sealed = true;
            }
        }
        drop(state);
        if !sealed || writer.down.is_some() {
            writer.bound_waiting(&self.state, self.options.waiting_bytes_max);
        } else if let Err(error) = self.checkpoint(writer) {
            self.go_down(writer, &error);
        }
    }

    fn drop_old(&self, writer: &mut Writer) -> Result<(), StoreError> {
        let now = self.believed(writer);
        let day = partition_of(now.before(self.options.retention));
        self.engine.drop_partitions(day)?;
        writer.counts = writer.counts.split_off(&day);
        let mut state = self.write_state();
        let entries = state.entries.iter();
        let gone: Vec<SeriesId> = entries
            .filter(|(_, entry)| entry.open.is_none() && partition_of(entry.last) < day)
            .map(|(id, _)| *id)
            .collect();
        self.forget(&mut state, writer, &gone);
        Ok(())
    }

    /// Writes everything down; appends are refused from here on.
    pub(crate) fn close(&self) -> Result<(), StoreError> {
        let mut writer = self.lock_writer();
        if std::mem::replace(&mut writer.closed, true) {
            return Ok(());
        }
        if writer.down.is_some() {
            // The last chance of what waits in memory.
            self.try_to_come_back(&mut writer);
        }
        if let Some(down) = &writer.down {
            let reason = down.reason.clone();
            return Err(StoreError::Down { reason });
        }
        self.checkpoint(&mut writer)?;
        self.engine.sync()
    }

    fn believed(&self, writer: &mut Writer) -> UnixMs {
        let (now, monotonic) = (self.clock.now(), self.clock.monotonic());
        writer.belief.now(now, monotonic)
    }

    /// The time to go by where something is deleted for its age.
    pub(crate) fn time_for_deletion(&self) -> UnixMs {
        self.believed(&mut self.lock_writer())
    }

    /// What was damaged when it was opened.
    pub(crate) fn problem(&self) -> Option<&Problem> {
        self.problem.as_ref()
    }

    /// Chunks whose samples are missing in what was read since it was opened.
    pub(crate) fn unreadable(&self) -> Unreadable {
        let unreadable = self.unreadable.lock();
        unreadable.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A damaged chunk is left out: the samples around it are still true.
    fn note_unreadable(&self, error: &StoreError) {
        let unreadable = self.unreadable.lock();
        let mut unreadable = unreadable.unwrap_or_else(PoisonError::into_inner);
        unreadable.chunks += 1;
        unreadable.reason = error.in_words();
        tracing::warn!(reason = unreadable.reason, "a chunk of samples is damaged");
    }

    /// None while all is well; otherwise what is wrong, in words.
    pub(crate) fn trouble(&self) -> Option<String> {
        self.told().trouble
    }

    pub(crate) fn stats(&self) -> SeriesStats {
        self.told().stats
    }

    /// How it is. Both locks are held while the disk is at work, and a disk may hang: what was told before
    /// is told again then.
    fn told(&self) -> Told {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let writer = match self.writer.try_lock() {
            Ok(writer) => writer,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return told.clone(),
        };
        *told = self.tell(&writer);
        told.clone()
    }

    fn tell(&self, writer: &Writer) -> Told {
        let trouble = writer.down.as_ref().map(|down| {
            format!(
                "series are not written to disk since {}: {}; {} of sealed samples wait in memory, \
                 at most {} do",
                down.since, down.reason, writer.waiting_bytes, self.options.waiting_bytes_max,
            )
        });
        let state = self.read_state();
        let open = state.entries.values().map(|entry| {
            let waiting: usize = entry.waiting.iter().map(|sealed| sealed.samples).sum();
            waiting + entry.open.as_ref().map_or(0, |open| open.len())
        });
        let stats = SeriesStats {
            series: state.entries.len(),
            samples: writer.counts.values().sum::<u64>() + open.sum::<usize>() as u64,
            waiting_bytes: writer.waiting_bytes,
            counters: writer.counters.clone(),
        };
        Told { trouble, stats }
    }

    pub(crate) fn select(
        &self,
        matchers: &[Matcher],
        from: UnixMs,
        to: UnixMs,
        budget: &Budget,
        cancel: &Cancel,
    ) -> Result<Vec<Series>, ReadError> {
        let compiled = Compiled::all(matchers)?;
        let found = self.find(&compiled, from, to, budget, cancel)?;
        let mut series = Vec::with_capacity(found.len());
        for (id, labels, in_memory) in found {
            let read = Read {
                from,
                to,
                budget,
                cancel,
                damaged: &|error| self.note_unreadable(error),
            };
            let samples = read.series(&self.engine, id, in_memory)?;
            if !samples.is_empty() {
                series.push(Series { labels, samples });
            }
        }
        series.sort_by(|a, b| a.labels.cmp(&b.labels));
        Ok(join_equal(series))
    }

    /// The series that match, with their samples that are not on the disk.
    fn find(
        &self,
        matchers: &[Compiled<'_>],
        from: UnixMs,
        to: UnixMs,
        budget: &Budget,
        cancel: &Cancel,
    ) -> Result<Vec<(SeriesId, Labels, Vec<Sample>)>, ReadError> {
        let state = self.read_state();
        let ids = match state.index.candidates(matchers) {
            Some(ids) => ids,
            None => state.entries.keys().copied().collect(),
        };
        let mut found = Vec::new();
        for id in ids {
            if cancel.is_cancelled() {
                return Err(ReadError::Cancelled);
            }
            let Some(entry) = state.entries.get(&id) else {
                continue;
            };
            if entry.last < from
                || !matchers
                    .iter()
                    .all(|matcher| matcher.matches(&entry.labels))
            {
                continue;
            }
            found.push((
                id,
                entry.labels.clone(),
                entry.in_memory(id, from, to, budget)?,
            ));
        }
        Ok(found)
    }
}

/// One series out of those of equal labels: one was continued under another id when the clock was set
/// back far.
fn join_equal(series: Vec<Series>) -> Vec<Series> {
    let mut joined: Vec<Series> = Vec::with_capacity(series.len());
    for mut next in series {
        match joined.last_mut().filter(|last| last.labels == next.labels) {
            Some(last) => {
                last.samples.append(&mut next.samples);
                last.samples.sort_by_key(|sample| sample.t);
                last.samples.dedup_by_key(|sample| sample.t);
            }
            None => joined.push(next),
        }
    }
    joined
}

/// One read of samples in a range.
struct Read<'a> {
    from: UnixMs,
    to: UnixMs,
    budget: &'a Budget,
    cancel: &'a Cancel,
    /// Hears of each chunk that cannot be read.
    damaged: &'a dyn Fn(&StoreError),
}

impl Read<'_> {
    /// The samples of one series: those on the disk, then those `in_memory`.
    fn series(
        &self,
        engine: &Engine,
        id: SeriesId,
        in_memory: Vec<Sample>,
    ) -> Result<Vec<Sample>, ReadError> {
        let mut samples: Vec<Sample> = Vec::new();
        engine.chunks(id, self.from, self.to, |bytes| {
            if self.cancel.is_cancelled() {
                return Err(ReadError::Cancelled);
            }
            let read = bytes.and_then(|bytes| {
                let header = codec::header(&bytes).map_err(|error| {
                    StoreError::malformed(format!("a chunk of series {id}"), error)
                })?;
                Ok((header, bytes))
            });
            let (header, bytes) = match read {
                Ok(read) => read,
                Err(error) => {
                    (self.damaged)(&error);
                    return Ok(ControlFlow::Continue(()));
                }
            };
            if header.first > self.to {
                return Ok(ControlFlow::Break(()));
            }
            if !self.budget.take(header.count as u64) {
                return Err(ReadError::OverBudget);
            }
            match decode_chunk(id, &bytes) {
                Ok(decoded) => self.add(&mut samples, decoded),
                Err(error) => (self.damaged)(&error),
            }
            Ok(ControlFlow::Continue(()))
        })?;
        self.add(&mut samples, in_memory);
        Ok(samples)
    }

    /// Adds what is in range and newer than what is there: after a crash, or while a chunk moves
    /// from memory to disk, samples come twice.
    fn add(&self, samples: &mut Vec<Sample>, more: Vec<Sample>) {
        for sample in more {
            let newer = samples.last().is_none_or(|last| last.t < sample.t);
            if newer && self.from <= sample.t && sample.t <= self.to {
                samples.push(sample);
            }
        }
    }
}

impl State {
    fn add(&mut self, id: SeriesId, labels: Labels, recorded: bool) {
        self.index.add(id, &labels);
        self.ids.insert(labels.clone(), id);
        let entry = Entry {
            labels,
            last: NEVER,
            ended: false,
            restored: false,
            open: None,
            waiting: Vec::new(),
            recorded,
            changed: false,
        };
        self.entries.insert(id, entry);
    }

    fn remove(&mut self, ids: &[SeriesId]) {
        let mut gone = Vec::with_capacity(ids.len());
        for id in ids {
            if let Some(entry) = self.entries.remove(id) {
                // It may have been continued under another id.
                if self.ids.get(&entry.labels) == Some(id) {
                    self.ids.remove(&entry.labels);
                }
                gone.push((*id, entry.labels));
            }
        }
        self.index.remove(&gone);
    }
}

impl Entry {
    /// Takes over what was on the disk.
    fn restore(&mut self, last: UnixMs, samples: &[Sample]) {
        self.last = last;
        self.restored = true;
        if samples.is_empty() {
            return;
        }
        let open = self.open.get_or_insert_default();
        samples.iter().for_each(|sample| open.push(*sample));
        self.ended = samples
            .last()
            .is_some_and(|sample| is_stale_marker(sample.v));
    }

    fn is_behind(&self) -> bool {
        self.changed || !self.recorded
    }

    fn head(&self) -> Vec<u8> {
        let open = self.open.as_ref().map(|open| open.samples());
        record::put_head(self.last, &open.unwrap_or_default())
    }

    /// The samples in `from..=to` that are not on the disk, as far as we know.
    fn in_memory(
        &self,
        id: SeriesId,
        from: UnixMs,
        to: UnixMs,
        budget: &Budget,
    ) -> Result<Vec<Sample>, ReadError> {
        let mut samples = Vec::new();
        let open = self.open.as_ref();
        let open = open.filter(|open| open.first().is_some_and(|first| first <= to));
        let waiting: usize = self.waiting.iter().map(|sealed| sealed.samples).sum();
        let count = waiting + open.map_or(0, |open| open.len());
        if !budget.take(count as u64) {
            return Err(ReadError::OverBudget);
        }
        for sealed in self.waiting.iter().filter(|sealed| sealed.last >= from) {
            let decoded = decode_chunk(id, &sealed.bytes);
            samples.extend(decoded.map_err(|error| ReadError::Storage(Box::new(error)))?);
        }
        if let Some(open) = open {
            samples.extend(open.samples());
        }
        samples.retain(|sample| from <= sample.t && sample.t <= to);
        Ok(samples)
    }
}

impl Writer {
    /// Puts a sample into its series' open chunk. True if a chunk was sealed for it.
    fn push(&mut self, id: SeriesId, entry: &mut Entry, sample: Sample) -> bool {
        let mut sealed = false;
        let other_day = |open: &OpenChunk| open.is_before_partition_of(sample.t);
        if entry.open.as_deref().is_some_and(other_day) {
            self.seal(id, entry);
            sealed = true;
        }
        let open = entry.open.get_or_insert_default();
        open.push(sample);
        let full = open.is_full();
        entry.last = sample.t;
        entry.restored = false;
        entry.ended = is_stale_marker(sample.v);
        entry.changed = true;
        if full {
            self.seal(id, entry);
            sealed = true;
        }
        sealed
    }

    /// Closes the open chunk; an empty one takes its place, so that the series stays live.
    fn seal(&mut self, id: SeriesId, entry: &mut Entry) {
        let Some(open) = entry.open.as_deref_mut() else {
            return;
        };
        let samples = std::mem::take(open).samples();
        let Some(last) = samples.last().map(|sample| sample.t) else {
            return;
        };
        let sealed = Arc::new(Sealed {
            last,
            samples: samples.len(),
            bytes: codec::encode(&samples),
        });
        self.waiting_bytes += sealed.bytes.len();
        entry.changed = true;
        entry.waiting.push(Arc::clone(&sealed));
        self.waiting.push_back((id, sealed));
    }

    /// What writes `waiting`, with the new counts of their partitions.
    fn chunk_writes<'a>(&self, waiting: &'a [(SeriesId, Arc<Sealed>)]) -> Vec<Write<'a>> {
        let mut counts = BTreeMap::new();
        let mut writes = Vec::with_capacity(waiting.len() + 1);
        for (id, sealed) in waiting {
            let day = partition_of(sealed.last);
            let before = self.counts.get(&day).copied().unwrap_or(0);
            *counts.entry(day).or_insert(before) += sealed.samples as u64;
            writes.push(Write::Chunk(*id, sealed.last, &sealed.bytes));
        }
        let counts = counts.into_iter();
        writes.extend(counts.map(|(day, samples)| Write::Count(day, samples)));
        writes
    }

    /// Lets go of the chunks that waited: they are on the disk now.
    fn chunks_are_written(&mut self, state: &mut State) {
        for (id, sealed) in self.waiting.drain(..) {
            let day = partition_of(sealed.last);
            *self.counts.entry(day).or_insert(0) += sealed.samples as u64;
            if let Some(entry) = state.entries.get_mut(&id) {
                entry.waiting.clear();
            }
        }
        self.waiting_bytes = 0;
    }

    /// Gives up the oldest waiting chunks when there are too many.
    fn bound_waiting(&mut self, state: &RwLock<State>, bytes_max: usize) {
        if self.waiting_bytes <= bytes_max {
            return;
        }
        let mut state = state.write().unwrap_or_else(PoisonError::into_inner);
        while self.waiting_bytes > bytes_max
            && let Some((id, sealed)) = self.waiting.pop_front()
        {
            self.waiting_bytes -= sealed.bytes.len();
            self.counters.samples_lost += sealed.samples as u64;
            if let Some(entry) = state.entries.get_mut(&id) {
                entry.waiting.retain(|have| !Arc::ptr_eq(have, &sealed));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use model::SimClock;

    use super::*;

    const NOW: UnixMs = UnixMs(1_795_300_200_000);

    fn store(dir: &Path, options: Options) -> (SeriesStore, Arc<SimClock>) {
        let clock = Arc::new(SimClock::new(NOW));
        let store = SeriesStore::open(dir, &options, Arc::clone(&clock) as Arc<dyn Clock>);
        (store.unwrap(), clock)
    }

    fn batch(at: i64, series: usize) -> Batch {
        let sample = Sample {
            t: UnixMs(NOW.0 + at),
            v: (at as f64).sin(),
        };
        let labels = |i: usize| Labels::metric("m", [("i", i.to_string().as_str())]);
        Batch {
            samples: (0..series).map(|i| (labels(i), sample)).collect(),
        }
    }

    fn count(store: &SeriesStore) -> Vec<usize> {
        let (from, to) = (UnixMs(0), UnixMs(i64::MAX));
        let budget = Budget::samples(u64::MAX);
        let series = store
            .select(&[], from, to, &budget, &Cancel::default())
            .unwrap();
        series.iter().map(|series| series.samples.len()).collect()
    }

    #[test]
    fn a_disk_error_is_survived_in_memory_and_made_up_for() {
        let dir = tempfile::tempdir().unwrap();
        let (store, clock) = store(dir.path(), Options::default());
        store.append(&batch(1, 3)).unwrap();
        store.engine.broken.store(true, Ordering::Relaxed);
        for at in 2..=500 {
            let error = store.append(&batch(at, 3)).unwrap_err();
            assert!(matches!(error, AppendError::Storage(_)), "{error}");
        }
        assert_eq!(count(&store), [500, 500, 500], "memory remains readable");
        let trouble = store.trouble().unwrap();
        assert!(
            trouble.contains("not written to disk since 2026-11-21T22:30:00Z"),
            "{trouble}"
        );

        clock.advance(Duration::from_secs(2));
        store.maintain();
        assert!(store.trouble().is_some(), "still broken");
        store.engine.broken.store(false, Ordering::Relaxed);
        store.maintain();
        assert!(store.trouble().is_some(), "not tried before its time");
        clock.advance(Duration::from_secs(4));
        store.maintain();
        assert_eq!(store.trouble(), None);
        store.append(&batch(501, 3)).unwrap();
        assert_eq!(store.stats().samples, 1_503);
        // No close: as after a kill.
        drop(store);
        let (store, _) = self::store(dir.path(), Options::default());
        assert_eq!(count(&store), [501, 501, 501]);
    }

    #[test]
    fn how_it_is_can_be_asked_while_the_disk_is_at_work() {
        let dir = tempfile::tempdir().unwrap();
        let (store, _) = store(dir.path(), Options::default());
        store.append(&batch(1, 3)).unwrap();
        assert_eq!(store.stats().samples, 3);
        // As an append does that waits for a disk which hangs.
        let at_work = store.lock_writer();
        assert_eq!(store.stats().samples, 3, "the figures of before");
        assert_eq!(store.trouble(), None);
        drop(at_work);
    }

    #[test]
    fn what_waits_for_a_broken_disk_is_bounded() {
        let dir = tempfile::tempdir().unwrap();
        let options = Options {
            waiting_bytes_max: 10_000,
            ..Options::default()
        };
        let (store, _) = store(dir.path(), options);
        store.engine.broken.store(true, Ordering::Relaxed);
        for at in 1..=5_000 {
            let _ = store.append(&batch(at, 3));
        }
        let stats = store.stats();
        assert!(stats.waiting_bytes <= 10_000, "{}", stats.waiting_bytes);
        let kept: usize = count(&store).iter().sum();
        assert!(stats.counters.samples_lost > 0);
        assert_eq!(
            stats.counters.samples_lost + kept as u64,
            15_000,
            "lost ones are counted"
        );
    }

    #[test]
    fn idle_series_leave_the_memory_and_stay_readable() {
        let dir = tempfile::tempdir().unwrap();
        let (store, clock) = store(dir.path(), Options::default());
        store.append(&batch(1, 2)).unwrap();
        clock.advance(Duration::from_secs(3_700));
        store.maintain();
        let open = |store: &SeriesStore| {
            let state = store.read_state();
            state
                .entries
                .values()
                .filter(|entry| entry.open.is_some())
                .count()
        };
        assert_eq!(open(&store), 0);
        assert_eq!(count(&store), [1, 1]);
        assert_eq!(
            store.append(&batch(1, 2)).unwrap().out_of_order,
            2,
            "it still knows the last"
        );
        store.append(&batch(2, 2)).unwrap();
        assert_eq!((open(&store), count(&store)), (2, vec![2, 2]));
    }
}
