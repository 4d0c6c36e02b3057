//! What a failing disk has not taken yet: incidents in their latest state and files of evidence wait in
//! memory, within a bound, and are tried again until the disk takes them.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use model::{EvidenceFile, Incident, IncidentId};
use store::Store;
use tokio::sync::mpsc::UnboundedSender;

use crate::writer::Stored;

/// Between two attempts.
pub(crate) const RETRY: Duration = Duration::from_secs(2);
/// Evidence that waits: some big profiles.
const EVIDENCE_BYTES_MAX: usize = 32 << 20;
/// Incidents that wait. Beyond it their next change is what brings them to the disk.
const INCIDENTS_MAX: usize = 256;

#[derive(Default)]
pub(crate) struct Late {
    incidents: BTreeMap<IncidentId, Incident>,
    evidence: VecDeque<Waiting>,
    bytes: usize,
    tried: Duration,
}

struct Waiting {
    incident: IncidentId,
    file: EvidenceFile,
    tell: UnboundedSender<Stored>,
}

impl Late {
    pub(crate) fn len(&self) -> usize {
        self.incidents.len() + self.evidence.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Takes a file in; false if it is one too many.
    pub(crate) fn evidence(
        &mut self,
        incident: &IncidentId,
        file: EvidenceFile,
        tell: &UnboundedSender<Stored>,
    ) -> bool {
        if self.bytes + file.bytes.len() > EVIDENCE_BYTES_MAX {
            return false;
        }
        self.bytes += file.bytes.len();
        self.evidence.push_back(Waiting {
            incident: incident.clone(),
            file,
            tell: tell.clone(),
        });
        true
    }

    /// Takes an incident in; its latest state is what counts.
    pub(crate) fn incident(&mut self, incident: Incident) {
        let known = self.incidents.contains_key(&incident.id);
        if known || self.incidents.len() < INCIDENTS_MAX {
            self.incidents.insert(incident.id.clone(), incident);
        }
    }

    /// A later state of this incident lies on the disk.
    pub(crate) fn is_saved(&mut self, id: &IncidentId) {
        self.incidents.remove(id);
    }

    /// Whether it is time for an attempt, which then counts as made.
    pub(crate) fn is_due(&mut self, now: Duration) -> bool {
        let due = !self.is_empty() && now >= self.tried + RETRY;
        if due {
            self.tried = now;
        }
        due
    }

    /// Hands all to the disk, until that refuses something.
    pub(crate) fn try_again(&mut self, store: &Store) {
        while let Some(first) = self.incidents.first_entry() {
            match store.save_incident(first.get()) {
                Err(error) if error.may_pass() => return,
                // What can never be saved does not wait.
                _ => drop(first.remove()),
            }
        }
        while let Some(first) = self.evidence.front() {
            let mut stored = Stored::default();
            match store.put_evidence(&first.incident, &first.file) {
                Ok(taken) => stored.refs.push(taken),
                Err(error) if error.may_pass() => return,
                Err(_) => stored.lost = 1,
            }
            self.bytes -= first.file.bytes.len();
            // Nobody waits any more when the watcher is ending.
            let _ = first.tell.send(stored);
            self.evidence.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::Arc;

    use model::{EvidenceKind, SimClock, TargetId, UnixMs};
    use store::Options;
    use tokio::sync::mpsc;

    use super::*;

    fn file(bytes: usize) -> EvidenceFile {
        EvidenceFile {
            kind: EvidenceKind::HeapProfile,
            target: TargetId("a".into()),
            at: UnixMs(0),
            name: "heap.pb.gz".into(),
            bytes: vec![7; bytes],
        }
    }

    #[test]
    fn what_the_disk_refused_lies_there_once_it_can() {
        let dir = tempfile::tempdir().unwrap();
        let clock = Arc::new(SimClock::new(UnixMs(0)));
        let store = Store::open(dir.path(), &Options::default(), clock).unwrap();
        let text = include_str!("../../alert/tests/data/incident.json");
        let incident: Incident = serde_json::from_str(text).unwrap();
        // A file where the folder has to be: nothing can be written there, even by root.
        let folder = dir.path().join("incidents").join(&incident.id.0);
        fs::write(&folder, "").unwrap();
        let error = store.save_incident(&incident).unwrap_err();
        assert!(error.may_pass(), "{error}");

        let (tell, mut heard) = mpsc::unbounded_channel();
        let mut late = Late::default();
        late.incident(incident.clone());
        assert!(late.evidence(&incident.id, file(100), &tell));
        assert!(
            !late.evidence(&incident.id, file(EVIDENCE_BYTES_MAX), &tell),
            "there is a bound"
        );
        late.try_again(&store);
        assert_eq!((late.len(), heard.try_recv().is_ok()), (2, false));
        fs::remove_file(&folder).unwrap();
        assert!(late.is_due(RETRY) && !late.is_due(RETRY));
        late.try_again(&store);
        assert!(late.is_empty());
        assert_eq!(heard.try_recv().unwrap().refs.len(), 1);
        let kept = store.read_evidence(&incident.id, "heap.pb.gz");
        assert_eq!(kept.unwrap().unwrap(), vec![7; 100]);
        assert!(store.incident(&incident.id).is_some());
    }
}
