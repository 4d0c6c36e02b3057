//! Incidents and their evidence: a folder per incident, whose `manifest.json` is the truth.
//!
//! What is kept in memory is made from the folders when the store is opened. A manifest that
//! cannot be read is set aside and reported; its evidence stays until the budget needs the room.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};

use model::incident::SCHEMA;
use model::{EvidenceFile, EvidenceRef, Incident, IncidentId, IncidentState, TargetId, UnixMs};

use crate::dir;
use crate::error::StoreError;
use crate::options::Options;
use crate::ring::Ring;

const MANIFEST: &str = "manifest.json";

/// What an unreadable manifest is renamed to.
const SET_ASIDE: &str = "manifest.json.unreadable";

/// No manifest of ours comes near this.
const MANIFEST_BYTES_MAX: u64 = 8 << 20;

/// The rings may take this part of the evidence budget.
const RING_SHARE: u64 = 4;

/// Something in the incidents' folder that could not be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The folder.
    pub path: PathBuf,
    /// Why, in words.
    pub reason: String,
}

/// The incidents, their evidence, and the rings of earlier snapshots.
pub(crate) struct EvidenceStore {
    path: PathBuf,
    budget_bytes: u64,
    incidents_max: usize,
    state: Mutex<State>,
    /// What [`EvidenceStore::bytes`] said last.
    bytes_seen: AtomicU64,
}

struct State {
    incidents: BTreeMap<IncidentId, Incident>,
    /// Evidence that was stored and is in no saved manifest yet.
    fresh: HashMap<(IncidentId, String), EvidenceRef>,
    /// Bytes of evidence in each folder, those without a readable manifest included.
    bytes: BTreeMap<IncidentId, u64>,
    ring: Ring,
    problems: Vec<Problem>,
}

impl EvidenceStore {
    pub(crate) fn open(root: &Path, options: &Options) -> Result<Self, StoreError> {
        let path = root.join("incidents");
        dir::create(&path)?;
        let mut state = State {
            incidents: BTreeMap::new(),
            fresh: HashMap::new(),
            bytes: BTreeMap::new(),
            ring: Ring::open(&root.join("ring"))?,
            problems: Vec::new(),
        };
        let folders = fs::read_dir(&path).map_err(StoreError::io("list", &path))?;
        for folder in folders.flatten() {
            state.load(&folder.path());
        }
        Ok(Self {
            budget_bytes: budget_bytes(&path, options),
            path,
            incidents_max: options.incidents_max,
            bytes_seen: AtomicU64::new(state.total_bytes()),
            state: Mutex::new(state),
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn folder(&self, id: &IncidentId) -> Result<PathBuf, StoreError> {
        check_name(&id.0)?;
        Ok(self.path.join(&id.0))
    }

    pub(crate) fn put(
        &self,
        id: &IncidentId,
        file: &EvidenceFile,
    ) -> Result<EvidenceRef, StoreError> {
        let folder = self.folder(id)?;
        check_name(&file.name)?;
        let mut state = self.lock();
        let bytes = file.bytes.len() as u64;
        self.make_room(&mut state, bytes, Some(id))?;
        dir::create(&folder)?;
        let name = free_name(&folder, &file.name);
        dir::write_whole(&folder, &name, &file.bytes)?;
        *state.bytes.entry(id.clone()).or_insert(0) += bytes;
        let stored = reference(file, name.clone());
        state.fresh.insert((id.clone(), name), stored.clone());
        Ok(stored)
    }

    pub(crate) fn read(&self, id: &IncidentId, name: &str) -> io::Result<Option<Vec<u8>>> {
        let invalid = |error: StoreError| io::Error::new(io::ErrorKind::InvalidInput, error);
        let folder = self.folder(id).map_err(invalid)?;
        check_name(name).map_err(invalid)?;
        let Some(stored) = self.lock().find(id, name) else {
            return Ok(None);
        };
        read_checked(&folder.join(name), stored.bytes, stored.crc32)
    }

    pub(crate) fn save(&self, incident: &Incident) -> Result<(), StoreError> {
        let folder = self.folder(&incident.id)?;
        dir::create(&folder)?;
        let mut incident = incident.clone();
        // The caller may not know yet what the budget has thrown away.
        incident.evidence.retain(|stored| {
            dir::is_plain_name(&stored.name) && folder.join(&stored.name).exists()
        });
        let mut state = self.lock();
        write_manifest(&folder, &incident)?;
        for stored in &incident.evidence {
            state
                .fresh
                .remove(&(incident.id.clone(), stored.name.clone()));
        }
        state.bytes.entry(incident.id.clone()).or_insert(0);
        state.incidents.insert(incident.id.clone(), incident);
        self.bound_incidents(&mut state)
    }

    pub(crate) fn incidents(&self) -> Vec<Incident> {
        self.lock().incidents.values().cloned().collect()
    }

    pub(crate) fn incident(&self, id: &IncidentId) -> Option<Incident> {
        self.lock().incidents.get(id).cloned()
    }

    pub(crate) fn problems(&self) -> Vec<Problem> {
        self.lock().problems.clone()
    }

    /// While a file is being written, those of a moment before: nobody who shows it waits for the disk.
    pub(crate) fn bytes(&self) -> u64 {
        let state = match self.state.try_lock() {
            Ok(state) => state,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return self.bytes_seen.load(Ordering::Relaxed),
        };
        let bytes = state.total_bytes();
        self.bytes_seen.store(bytes, Ordering::Relaxed);
        bytes
    }

    pub(crate) fn budget_bytes(&self) -> u64 {
        self.budget_bytes
    }

    pub(crate) fn put_ring(
        &self,
        target: &TargetId,
        file: &EvidenceFile,
    ) -> Result<EvidenceRef, StoreError> {
        check_name(&target.0)?;
        check_name(&file.name)?;
        let mut state = self.lock();
        let bytes = file.bytes.len() as u64;
        let ring_budget = self.budget_bytes / RING_SHARE;
        if bytes > ring_budget {
            return Err(over_budget(bytes, ring_budget));
        }
        while state.ring.bytes() + bytes > ring_budget && state.ring.drop_oldest() {}
        self.make_room(&mut state, bytes, None)?;
        let stored = reference(file, file.name.clone());
        state.ring.put(target, &stored, &file.bytes)?;
        Ok(stored)
    }

    pub(crate) fn ring(&self, target: &TargetId) -> Vec<EvidenceRef> {
        self.lock().ring.list(target)
    }

    pub(crate) fn read_ring(&self, stored: &EvidenceRef) -> io::Result<Option<Vec<u8>>> {
        let path = self.lock().ring.path(stored);
        match path {
            Some(path) => read_checked(&path, stored.bytes, stored.crc32),
            None => Ok(None),
        }
    }

    /// Removes the rings of targets that gave nothing since `before`.
    pub(crate) fn drop_rings(&self, before: UnixMs) {
        self.lock().ring.drop_gone(before);
    }

    /// Throws away until `bytes` more fit: folders without a manifest, then the evidence of
    /// resolved incidents, the longest resolved first, then the rings, then, if it is for the
    /// incident `id`, the evidence of the other open ones, oldest first.
    fn make_room(
        &self,
        state: &mut State,
        bytes: u64,
        id: Option<&IncidentId>,
    ) -> Result<(), StoreError> {
        while state.total_bytes() + bytes > self.budget_bytes {
            if let Some(oldest) = state.first_to_go(id) {
                self.drop_evidence(state, &oldest);
            } else if !state.ring.drop_oldest() {
                let open = id.and_then(|id| state.oldest_open(id));
                let Some(open) = open else {
                    return Err(over_budget(bytes, self.budget_bytes));
                };
                self.drop_evidence(state, &open);
            }
        }
        Ok(())
    }

    /// Removes an incident's evidence; the incident itself stays, and says so.
    fn drop_evidence(&self, state: &mut State, id: &IncidentId) {
        let folder = self.path.join(&id.0);
        let freed = state.bytes.insert(id.clone(), 0).unwrap_or(0);
        state.fresh.retain(|(of, _), _| of != id);
        let Some(incident) = state.incidents.get_mut(id) else {
            state.bytes.remove(id);
            let _ = fs::remove_dir_all(&folder);
            return;
        };
        for file in evidence_files(&folder) {
            let _ = fs::remove_file(file);
        }
        incident.evidence.clear();
        let at = incident.resolved.unwrap_or(incident.last_seen);
        let text = format!("{freed} bytes of evidence made room for newer evidence");
        incident.note(at, "evidence-dropped", text);
        if let Err(error) = write_manifest(&folder, incident) {
            tracing::warn!(incident = %id, error = error.in_words(), "the manifest is out of date");
        }
    }

    fn bound_incidents(&self, state: &mut State) -> Result<(), StoreError> {
        while state.incidents.len() > self.incidents_max
            && let Some(id) = state.longest_resolved()
        {
            let folder = self.path.join(&id.0);
            fs::remove_dir_all(&folder).map_err(StoreError::io("remove", &folder))?;
            state.incidents.remove(&id);
            state.bytes.remove(&id);
        }
        Ok(())
    }
}

impl State {
    /// Takes one folder in, or reports why not.
    fn load(&mut self, folder: &Path) {
        let name = folder
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or("");
        if !folder.is_dir() || !dir::is_plain_name(name) {
            self.report(folder, "not an incident's folder; left alone");
            return;
        }
        dir::remove_temporary(folder);
        let id = IncidentId(name.to_owned());
        let files = evidence_files(folder);
        let sizes = files.iter().filter_map(|file| fs::metadata(file).ok());
        self.bytes
            .insert(id.clone(), sizes.map(|meta| meta.len()).sum());
        match read_manifest(folder, &id) {
            Ok(incident) => {
                self.incidents.insert(id, incident);
            }
            Err(ManifestError::Newer(schema)) => {
                self.bytes.remove(&id);
                let reason = format!("written by a later release as `{schema}`; left alone");
                self.report(folder, &reason);
            }
            Err(ManifestError::Unusable(reason)) => {
                let aside = fs::rename(folder.join(MANIFEST), folder.join(SET_ASIDE));
                let aside = if aside.is_ok() { "; set aside" } else { "" };
                self.report(folder, &format!("{reason}{aside}"));
            }
        }
    }

    fn report(&mut self, path: &Path, reason: &str) {
        tracing::warn!(path = %path.display(), reason, "an incident could not be read");
        self.problems.push(Problem {
            path: path.to_owned(),
            reason: reason.to_owned(),
        });
    }

    fn total_bytes(&self) -> u64 {
        self.bytes.values().sum::<u64>() + self.ring.bytes()
    }

    fn find(&self, id: &IncidentId, name: &str) -> Option<EvidenceRef> {
        let fresh = self.fresh.get(&(id.clone(), name.to_owned()));
        let listed = || {
            let evidence = &self.incidents.get(id)?.evidence;
            evidence.iter().find(|stored| stored.name == name)
        };
        fresh.or_else(listed).cloned()
    }

    /// Whose evidence may go without regret: not `except`, not an open incident.
    fn first_to_go(&self, except: Option<&IncidentId>) -> Option<IncidentId> {
        let holding = self.bytes.iter().filter(|(_, bytes)| **bytes > 0);
        let candidates = holding.filter_map(|(id, _)| match self.incidents.get(id) {
            // Without a manifest: before all others, unless it is being made right now.
            None => Some((None, id)),
            Some(incident) if incident.state == IncidentState::Resolved => {
                Some((Some(incident.resolved), id))
            }
            Some(_) => None,
        });
        let fresh = |id: &IncidentId| self.fresh.keys().any(|(of, _)| of == id);
        candidates
            .filter(|(resolved, id)| Some(*id) != except && (resolved.is_some() || !fresh(id)))
            .min()
            .map(|(_, id)| id.clone())
    }

    fn oldest_open(&self, except: &IncidentId) -> Option<IncidentId> {
        let holding = |id: &IncidentId| self.bytes.get(id).is_some_and(|bytes| *bytes > 0);
        let incidents = self.incidents.values();
        incidents
            .filter(|incident| incident.id != *except && holding(&incident.id))
            .min_by_key(|incident| incident.opened)
            .map(|incident| incident.id.clone())
    }

    /// Which resolved incident goes first: what people have answered holds longer than what nobody has.
    fn longest_resolved(&self) -> Option<IncidentId> {
        let incidents = self.incidents.values();
        incidents
            .filter(|incident| incident.state == IncidentState::Resolved)
            .min_by_key(|incident| (!incident.answers.is_empty(), incident.resolved))
            .map(|incident| incident.id.clone())
    }
}

enum ManifestError {
    Newer(String),
    Unusable(String),
}

fn read_manifest(folder: &Path, id: &IncidentId) -> Result<Incident, ManifestError> {
    let unusable = |reason: String| ManifestError::Unusable(reason);
    let file = File::open(folder.join(MANIFEST));
    let file = file.map_err(|error| unusable(format!("no manifest: {error}")))?;
    let mut bytes = Vec::new();
    let read = file.take(MANIFEST_BYTES_MAX).read_to_end(&mut bytes);
    read.map_err(|error| unusable(format!("the manifest cannot be read: {error}")))?;
    if let Some(schema) = newer_schema(&bytes) {
        return Err(ManifestError::Newer(schema));
    }
    let incident: Incident = serde_json::from_slice(&bytes)
        .map_err(|error| unusable(format!("the manifest is malformed: {error}")))?;
    if incident.schema != SCHEMA || incident.id != *id {
        let (schema, of) = (&incident.schema, &incident.id);
        return Err(unusable(format!("the manifest is `{schema}` of `{of}`")));
    }
    Ok(incident)
}

/// The schema, if it is ours in a later version. Looked at first: the rest may have changed.
fn newer_schema(bytes: &[u8]) -> Option<String> {
    let manifest: serde_json::Value = serde_json::from_slice(bytes).ok()?;
    let schema = manifest.get("schema")?.as_str()?;
    let version = |schema: &str| {
        let (name, version) = schema.rsplit_once('/')?;
        Some((name.to_owned(), version.parse::<u32>().ok()?))
    };
    let ((name, found), (ours, known)) = (version(schema)?, version(SCHEMA)?);
    (name == ours && found > known).then(|| schema.to_owned())
}

fn write_manifest(folder: &Path, incident: &Incident) -> Result<(), StoreError> {
    let text = serde_json::to_vec_pretty(incident)
        .map_err(|error| StoreError::malformed(format!("incident {}", incident.id), error))?;
    dir::write_whole(folder, MANIFEST, &text)
}

/// The files of a folder that are evidence.
fn evidence_files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let paths = entries.map(|entry| entry.path());
    let evidence = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str());
        name.is_some_and(|name| name != MANIFEST && name != SET_ASIDE)
    };
    paths.filter(evidence).collect()
}

/// `name`, or `2-name`, `3-name`, ... if it is taken: stored evidence never changes.
fn free_name(folder: &Path, name: &str) -> String {
    let taken = |name: &str| name == MANIFEST || name == SET_ASIDE || folder.join(name).exists();
    let numbered = (2_u32..).map(|number| format!("{number}-{name}"));
    let mut names = std::iter::once(name.to_owned()).chain(numbered);
    names.find(|name| !taken(name)).unwrap_or_default()
}

fn reference(file: &EvidenceFile, name: String) -> EvidenceRef {
    EvidenceRef {
        kind: file.kind,
        target: file.target.clone(),
        at: file.at,
        name,
        bytes: file.bytes.len() as u64,
        crc32: crc32fast::hash(&file.bytes),
    }
}

/// A file of an incident's folder, read without a store: also while another process holds that.
/// `None` if it is gone.
///
/// # Errors
/// [`io::ErrorKind::InvalidInput`] for a name that is no plain file name,
/// [`io::ErrorKind::InvalidData`] if the file is torn, or what the file system said.
pub fn read_evidence_file(folder: &Path, stored: &EvidenceRef) -> io::Result<Option<Vec<u8>>> {
    check_name(&stored.name).map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
    read_checked(&folder.join(&stored.name), stored.bytes, stored.crc32)
}

/// The bytes of a stored file; `None` if it is gone.
///
/// # Errors
/// [`io::ErrorKind::InvalidData`] if its size or checksum is not what was stored.
fn read_checked(path: &Path, bytes: u64, crc32: u32) -> io::Result<Option<Vec<u8>>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut content = Vec::new();
    file.take(bytes.saturating_add(1))
        .read_to_end(&mut content)?;
    if content.len() as u64 != bytes || crc32fast::hash(&content) != crc32 {
        let text = format!("{} is not what was stored there", path.display());
        return Err(io::Error::new(io::ErrorKind::InvalidData, text));
    }
    Ok(Some(content))
}

fn check_name(name: &str) -> Result<(), StoreError> {
    if dir::is_plain_name(name) {
        return Ok(());
    }
    Err(StoreError::BadName {
        name: name.to_owned(),
    })
}

fn over_budget(bytes: u64, budget_bytes: u64) -> StoreError {
    StoreError::OverBudget {
        bytes,
        budget_bytes,
    }
}

fn budget_bytes(path: &Path, options: &Options) -> u64 {
    let Ok(system) = rustix::fs::statvfs(path) else {
        return options.evidence_bytes_max;
    };
    let share = system.f_blocks as f64 * system.f_frsize as f64 * options.evidence_share_max;
    options.evidence_bytes_max.min(share as u64)
}
