//! The durable half: keyspaces of one fjall database.
//!
//! fjall gives the journal, atomic batches and recovery. What it does not give is a way back from
//! a failed write, so [`Engine::reopen`] closes and opens it.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock, RwLockReadGuard};

use fjall::{Database, Keyspace, KeyspaceCreateOptions, OwnedWriteBatch, PersistMode};
use model::{Labels, Sample, UnixMs};

use crate::bytes::Malformed;
use crate::codec;
use crate::dir::check_version;
use crate::error::StoreError;
use crate::record::{self, SeriesId};

/// The version of the layout of every keyspace, under its name in `meta`.
const KEYSPACE_VERSION: u32 = 1;

/// Chunks of one UTC day are in one keyspace, so that retention drops it whole.
pub(crate) const PARTITION_MS: i64 = 86_400_000;

const PARTITION_PREFIX: &str = "chunks-";

/// The day a time belongs to, counted from the epoch.
pub(crate) fn partition_of(t: UnixMs) -> i64 {
    t.0.div_euclid(PARTITION_MS)
}

/// One thing to write; all of a [`Engine::commit`] is written or nothing.
#[derive(Debug)]
pub(crate) enum Write<'a> {
    /// A new series.
    Series(SeriesId, &'a Labels),
    /// The state of a series' head.
    Head(SeriesId, Vec<u8>),
    /// A sealed chunk, which ends at this time.
    Chunk(SeriesId, UnixMs, &'a [u8]),
    /// The number of samples in the sealed chunks of a partition.
    Count(i64, u64),
    /// The samples of one append.
    Journal(u64, Vec<u8>),
    /// A series that nothing is left of.
    Forget(SeriesId),
}

/// What is on the disk about series, as [`Engine::load`] gives it.
#[derive(Debug, Default)]
pub(crate) struct Loaded {
    pub(crate) series: Vec<(SeriesId, Labels)>,
    pub(crate) heads: Vec<(SeriesId, UnixMs, Vec<Sample>)>,
    pub(crate) journal: Vec<Vec<(SeriesId, Sample)>>,
    pub(crate) next_sequence: u64,
    /// Above every id that anything on the disk is of, also of what could not be read otherwise: chunks
    /// must not become those of another series.
    pub(crate) next_id: SeriesId,
    pub(crate) counts: BTreeMap<i64, u64>,
    /// Records that were not what the format says; they are left out.
    pub(crate) malformed: u64,
}

pub(crate) struct Engine {
    path: PathBuf,
    open: RwLock<Option<Keyspaces>>,
    /// Makes every write fail, for tests of what happens then.
    #[cfg(test)]
    pub(crate) broken: std::sync::atomic::AtomicBool,
}

struct Keyspaces {
    meta: Keyspace,
    series: Keyspace,
    heads: Keyspace,
    journal: Keyspace,
    partitions: BTreeMap<i64, Keyspace>,
    /// Last, so that the keyspaces are dropped before it.
    db: Database,
}

impl Engine {
    pub(crate) fn open(path: &Path) -> Result<Self, StoreError> {
        Ok(Self {
            path: path.to_owned(),
            open: RwLock::new(Some(Keyspaces::open(path)?)),
            #[cfg(test)]
            broken: std::sync::atomic::AtomicBool::new(false),
        })
    }

    /// Closes the database, which after a failed write takes nothing any more, and opens it again.
    /// Readers wait meanwhile. If it cannot be opened, reads find nothing and writes fail until a
    /// later call can.
    pub(crate) fn reopen(&self) -> Result<(), StoreError> {
        let mut open = self.open.write().unwrap_or_else(PoisonError::into_inner);
        drop(open.take());
        *open = Some(Keyspaces::open(&self.path)?);
        Ok(())
    }

    fn read(&self) -> RwLockReadGuard<'_, Option<Keyspaces>> {
        self.open.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn fault(&self) -> Result<(), StoreError> {
        #[cfg(test)]
        if self.broken.load(std::sync::atomic::Ordering::Relaxed) {
            let source = fjall::Error::Io(std::io::ErrorKind::StorageFull.into());
            return Err(StoreError::Engine {
                what: "write series",
                source,
            });
        }
        Ok(())
    }

    /// Writes all of `writes` or nothing, and hands it to the kernel: from then on it outlives us.
    pub(crate) fn commit<'a>(
        &self,
        writes: impl IntoIterator<Item = Write<'a>>,
    ) -> Result<(), StoreError> {
        self.fault()?;
        let writes: Vec<Write<'a>> = writes.into_iter().collect();
        let missing = self.missing_partitions(&writes);
        if !missing.is_empty() {
            self.create_partitions(&missing)?;
        }
        let open = self.read();
        let open = open.as_ref().ok_or_else(closed)?;
        let mut batch = open.batch();
        for write in writes {
            open.put(&mut batch, write)?;
        }
        batch.commit().map_err(StoreError::engine("write series"))
    }

    fn missing_partitions(&self, writes: &[Write<'_>]) -> Vec<i64> {
        let open = self.read();
        let have = |day: &i64| {
            let open = open.as_ref();
            open.is_some_and(|open| open.partitions.contains_key(day))
        };
        let days = writes.iter().filter_map(|write| match write {
            Write::Chunk(_, last, _) => Some(partition_of(*last)),
            _ => None,
        });
        days.filter(|day| !have(day)).collect()
    }

    fn create_partitions(&self, days: &[i64]) -> Result<(), StoreError> {
        let mut open = self.open.write().unwrap_or_else(PoisonError::into_inner);
        let open = open.as_mut().ok_or_else(closed)?;
        for &day in days {
            let keyspace = keyspace(&open.db, &open.meta, &format!("{PARTITION_PREFIX}{day}"))?;
            open.partitions.insert(day, keyspace);
        }
        Ok(())
    }

    /// Removes all journal records before `sequence`.
    pub(crate) fn trim_journal(&self, sequence: u64) -> Result<(), StoreError> {
        self.fault()?;
        let open = self.read();
        let open = open.as_ref().ok_or_else(closed)?;
        let mut batch = open.batch();
        for item in open.journal.range(..sequence.to_be_bytes()) {
            let key = item.key().map_err(StoreError::engine("read the journal"))?;
            batch.remove(&open.journal, key);
        }
        batch
            .commit()
            .map_err(StoreError::engine("trim the journal"))
    }

    /// Forces all that was committed to the disk.
    pub(crate) fn sync(&self) -> Result<(), StoreError> {
        self.fault()?;
        let open = self.read();
        let open = open.as_ref().ok_or_else(closed)?;
        let synced = open.db.persist(PersistMode::SyncData);
        synced.map_err(StoreError::engine("force series to the disk"))
    }

    /// Hands the chunks of `id` that reach into `from..` to `visit` in the order of time, until it
    /// breaks. Nothing while the database is closed. Of a day whose chunks cannot be read, the rest is
    /// one error.
    pub(crate) fn chunks<E>(
        &self,
        id: SeriesId,
        from: UnixMs,
        to: UnixMs,
        mut visit: impl FnMut(Result<fjall::Slice, StoreError>) -> Result<ControlFlow<()>, E>,
    ) -> Result<(), E> {
        let open = self.read();
        let Some(open) = open.as_ref() else {
            return Ok(());
        };
        let days = partition_of(from)..=partition_of(to).max(partition_of(from));
        let last_key = record::chunk_key(id, UnixMs(i64::MAX));
        for (_, keyspace) in open.partitions.range(days) {
            for item in keyspace.range(record::chunk_key(id, from)..=last_key) {
                let value = item.value().map_err(StoreError::engine("read a chunk"));
                let unreadable = value.is_err();
                if visit(value)?.is_break() {
                    return Ok(());
                }
                if unreadable {
                    break;
                }
            }
        }
        Ok(())
    }

    /// When the newest chunk of `id` ends, for a series whose head is lost.
    pub(crate) fn last_chunk(&self, id: SeriesId) -> Option<UnixMs> {
        let (first, last) = (UnixMs(i64::MIN), UnixMs(i64::MAX));
        let keys = record::chunk_key(id, first)..=record::chunk_key(id, last);
        let open = self.read();
        let newest_first = open.as_ref()?.partitions.values().rev();
        let mut ends = newest_first.filter_map(|partition| {
            let newest = partition.range(keys.clone()).next_back()?;
            record::parse_chunk_time(&newest.key().ok()?).ok()
        });
        ends.next()
    }

    /// Drops the partitions before `day`, and says how many those were.
    pub(crate) fn drop_partitions(&self, day: i64) -> Result<usize, StoreError> {
        let mut open = self.open.write().unwrap_or_else(PoisonError::into_inner);
        let open = open.as_mut().ok_or_else(closed)?;
        let keep = open.partitions.split_off(&day);
        let old = std::mem::replace(&mut open.partitions, keep);
        let dropped = old.len();
        for (day, keyspace) in old {
            let deleted = open.db.delete_keyspace(keyspace);
            deleted.map_err(StoreError::engine("drop old series"))?;
            let removed = open.meta.remove(count_key(day));
            removed.map_err(StoreError::engine("drop old series"))?;
        }
        Ok(dropped)
    }

    /// Reads everything that is kept in memory.
    pub(crate) fn load(&self) -> Result<Loaded, StoreError> {
        let open = self.read();
        open.as_ref().ok_or_else(closed)?.load()
    }
}

fn closed() -> StoreError {
    StoreError::Down {
        reason: "the database could not be opened again".into(),
    }
}

fn count_key(day: i64) -> String {
    format!("count/{day}")
}

impl Keyspaces {
    fn open(path: &Path) -> Result<Self, StoreError> {
        let db = Database::builder(path)
            .cache_size(4 << 20)
            .worker_threads(1)
            .max_journaling_size(64 << 20)
            .open()
            .map_err(StoreError::engine("open the series database"))?;
        let meta = db.keyspace("meta", keyspace_options);
        let meta = meta.map_err(StoreError::engine("open the series database"))?;
        let mut partitions = BTreeMap::new();
        for name in db.list_keyspace_names() {
            let day = name.strip_prefix(PARTITION_PREFIX);
            if let Some(day) = day.and_then(|day| day.parse().ok()) {
                partitions.insert(day, keyspace(&db, &meta, &name)?);
            }
        }
        Ok(Self {
            series: keyspace(&db, &meta, "series")?,
            heads: keyspace(&db, &meta, "heads")?,
            journal: keyspace(&db, &meta, "journal")?,
            partitions,
            meta,
            db,
        })
    }

    /// A batch that is handed to the kernel when it is committed, not later.
    fn batch(&self) -> OwnedWriteBatch {
        self.db.batch().durability(Some(PersistMode::Buffer))
    }

    fn put(&self, batch: &mut OwnedWriteBatch, write: Write<'_>) -> Result<(), StoreError> {
        match write {
            Write::Series(id, labels) => {
                batch.insert(
                    &self.series,
                    record::series_key(id),
                    record::put_labels(labels),
                );
            }
            Write::Head(id, head) => batch.insert(&self.heads, record::series_key(id), head),
            Write::Chunk(id, last, bytes) => {
                let keyspace = self
                    .partitions
                    .get(&partition_of(last))
                    .ok_or_else(closed)?;
                batch.insert(keyspace, record::chunk_key(id, last), bytes);
            }
            Write::Count(day, samples) => {
                batch.insert(&self.meta, count_key(day), samples.to_le_bytes());
            }
            Write::Journal(sequence, record) => {
                batch.insert(&self.journal, sequence.to_be_bytes(), record);
            }
            Write::Forget(id) => {
                batch.remove(&self.series, record::series_key(id));
                batch.remove(&self.heads, record::series_key(id));
            }
        }
        Ok(())
    }

    fn load(&self) -> Result<Loaded, StoreError> {
        let mut loaded = Loaded::default();
        let (mut malformed, mut next_id) = (0, 0);
        each(&self.series, &mut malformed, |key, value| {
            let id = record::parse_series_key(key)?;
            next_id = next_id.max(id.saturating_add(1));
            loaded.series.push((id, record::take_labels(value)?));
            Ok(())
        })?;
        each(&self.heads, &mut malformed, |key, value| {
            let id = record::parse_series_key(key)?;
            next_id = next_id.max(id.saturating_add(1));
            let (last, open) = record::take_head(value)?;
            loaded.heads.push((id, last, open));
            Ok(())
        })?;
        each(&self.journal, &mut malformed, |key, value| {
            let sequence = key.try_into().map_err(|_| Malformed("journal key"))?;
            loaded.next_sequence = u64::from_be_bytes(sequence) + 1;
            loaded.journal.push(record::take_batch(value)?);
            Ok(())
        })?;
        for (&day, partition) in &self.partitions {
            let last = partition
                .last_key_value()
                .map(|last| last.key())
                .transpose();
            let last = last.map_err(StoreError::engine("read the series database"))?;
            let id = last.and_then(|key| record::parse_chunk_key(&key).ok());
            next_id = next_id.max(id.map_or(0, |id| id.saturating_add(1)));
            let count = self.meta.get(count_key(day));
            let count = count.map_err(StoreError::engine("read the series database"))?;
            let count =
                count.and_then(|count| Some(u64::from_le_bytes(count[..].try_into().ok()?)));
            loaded.counts.insert(day, count.unwrap_or(0));
        }
        loaded.malformed = malformed;
        loaded.next_id = next_id;
        Ok(loaded)
    }
}

/// Visits all of a keyspace in the order of its keys; counts what is malformed and goes on.
fn each(
    keyspace: &Keyspace,
    malformed: &mut u64,
    mut visit: impl FnMut(&[u8], &[u8]) -> Result<(), Malformed>,
) -> Result<(), StoreError> {
    for item in keyspace.iter() {
        let item = item.into_inner();
        let (key, value) = item.map_err(StoreError::engine("read the series database"))?;
        if visit(&key, &value).is_err() {
            *malformed += 1;
        }
    }
    Ok(())
}

fn keyspace_options() -> KeyspaceCreateOptions {
    // Small memtables: their sum is most of our resident memory.
    KeyspaceCreateOptions::default().max_memtable_size(2 << 20)
}

/// Opens or creates the keyspace `name`, refusing one of a later release.
fn keyspace(db: &Database, meta: &Keyspace, name: &str) -> Result<Keyspace, StoreError> {
    let what = format!("keyspace `{name}`");
    let key = format!("format/{name}");
    let written = meta
        .get(&key)
        .map_err(StoreError::engine("read the series database"))?;
    match written {
        Some(version) => {
            let version = version[..].try_into().map(u32::from_le_bytes);
            let found = version.map_err(|_| StoreError::malformed(&what, "its version"))?;
            check_version(&what, found, KEYSPACE_VERSION)?;
        }
        None => {
            let inserted = meta.insert(&key, KEYSPACE_VERSION.to_le_bytes());
            inserted.map_err(StoreError::engine("write the series database"))?;
        }
    }
    let opened = db.keyspace(name, keyspace_options);
    opened.map_err(StoreError::engine("open a keyspace"))
}

/// The bytes of a chunk, decoded; an unreadable one is an error that names the series.
pub(crate) fn decode_chunk(id: SeriesId, bytes: &[u8]) -> Result<Vec<Sample>, StoreError> {
    let what = || format!("a chunk of series {id}");
    codec::decode(bytes).map_err(|error| StoreError::malformed(what(), error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_newer_keyspace_is_refused_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let engine = Engine::open(dir.path()).unwrap();
        let newer = (KEYSPACE_VERSION + 1).to_le_bytes();
        let open = engine.read();
        open.as_ref()
            .unwrap()
            .meta
            .insert("format/heads", newer)
            .unwrap();
        drop(open);
        drop(engine);
        let error = Engine::open(dir.path()).err().unwrap();
        let text = "keyspace `heads` has format version 2, and this release knows up to 1";
        assert_eq!(error.to_string(), text);
    }
}
