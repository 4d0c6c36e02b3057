//! Where the leaks that were found go: what the book decides, done to evidence, files and faces.

use std::sync::Arc;

use model::{
    EvidenceFile, EvidenceRef, Incident, IncidentId, Judgement, Kind, RefusedCapture, Siblings,
    TargetId, UnixMs, Verdict,
};

use crate::book::family;
use crate::holders::culprit_of;
use crate::joining::{Leak, Place};
use crate::leaks::name_finding;
use crate::main_loop::{Event, MainLoop, save};

impl MainLoop {
    /// The incident of a leak whose evidence names `culprit`: an old one, or a new one.
    pub(crate) fn settle_place(
        &mut self,
        target: &TargetId,
        kind: Kind,
        verdict: &Verdict,
        culprit: &str,
    ) -> IncidentId {
        let leak = Leak {
            target,
            workload: &verdict.target.workload,
            kind,
            culprit,
        };
        let Place {
            incident,
            left,
            merged,
        } = self.book.place(&leak, verdict.at);
        let siblings = self.siblings_of(kind, verdict);
        let id = match incident {
            Some(id) => {
                self.book.support(&id, verdict);
                id
            }
            None => self.book.open(verdict, kind, culprit).id.clone(),
        };
        if let Some(incident) = self.book.get_mut(&id) {
            incident.siblings = siblings;
        }
        if let Some(left) = left {
            self.move_refusals(&left, &id, verdict.at);
            if let Some(tracked) = self.targets.get_mut(target) {
                tracked.owed.moved(&left, &id);
            }
            self.move_evidence(&left, &id, target);
            save(&self.book, &self.writer, &left);
            self.tell_over(&left);
        }
        for old in merged {
            save(&self.book, &self.writer, &old);
            self.tell_over(&old);
        }
        id
    }

    /// Looks at who holds the heap may name whom the profiles could not: the leak goes where that
    /// culprit's incident is.
    pub(crate) fn name_by_looks(&mut self, id: &TargetId) {
        let Some(tracked) = self.targets.get(id) else {
            return;
        };
        let Some(current) = tracked.view.verdict.clone() else {
            return;
        };
        let kinds: Vec<Kind> = tracked.found.keys().copied().collect();
        let named = kinds.into_iter().filter_map(|kind| {
            let found = tracked.found_of(kind)?;
            Some((kind, found))
        });
        for (kind, found) in named.collect::<Vec<_>>() {
            let culprit = culprit_of(&found.suspects);
            let own = self.book.open_of_target(kind, id);
            let is_news = own.is_some_and(|own| {
                own.captured.get(id).is_some_and(String::is_empty) && !culprit.is_empty()
            });
            if !is_news {
                continue;
            }
            let mut verdict = current.clone();
            name_finding(&mut verdict, kind, &found);
            let place = self.settle_place(id, kind, &verdict, &culprit);
            self.book.captured(&place, id, &culprit);
            save(&self.book, &self.writer, &place);
        }
    }

    /// An incident that has ended in another is over for those who were told of it.
    fn tell_over(&mut self, id: &IncidentId) {
        let over = self
            .book
            .get(id)
            .filter(|incident| incident.resolved.is_some());
        if let Some(incident) = over.filter(|_| self.told.contains(id)).cloned() {
            self.tell(&incident);
        }
    }

    /// Says in the incident that targets have moved to what the other says was refused of them.
    fn move_refusals(&mut self, from: &IncidentId, to: &IncidentId, at: UnixMs) {
        let (Some(old), Some(new)) = (self.book.get(from), self.book.get(to)) else {
            return;
        };
        let has_moved = |target: &TargetId| !old.has_target(target) && new.has_target(target);
        let refused = old.timeline.iter().filter_map(|event| {
            let refused = event.refused.clone().filter(|r| has_moved(&r.target))?;
            Some((refused, format!("while in {from}: {}", event.text)))
        });
        let refused: Vec<(RefusedCapture, String)> = refused.collect();
        if let Some(new) = self.book.get_mut(to) {
            for (refused, text) in refused {
                new.note_refused(at, refused, text);
            }
        }
    }

    /// Copies what was taken of `target` into the folder of the incident that it moved to. The files
    /// stay in the old one too: evidence never changes.
    fn move_evidence(&self, from: &IncidentId, to: &IncidentId, target: &TargetId) {
        let Some(old) = self.book.get(from) else {
            return;
        };
        let files: Vec<(EvidenceRef, String)> = old
            .evidence
            .iter()
            .filter(|file| file.target == *target)
            .map(|file| (file.clone(), base_name(old, file)))
            .collect();
        if files.is_empty() {
            return;
        }
        let (store, events) = (Arc::clone(&self.parts.store), self.events.clone());
        let (from, to) = (from.clone(), to.clone());
        tokio::spawn(async move {
            let read = move || -> Vec<EvidenceFile> {
                let read = |(file, name): (EvidenceRef, String)| {
                    let bytes = store.read_evidence(&from, &file.name).ok().flatten()?;
                    let EvidenceRef {
                        kind, target, at, ..
                    } = file;
                    Some(EvidenceFile {
                        kind,
                        target,
                        at,
                        name,
                        bytes,
                    })
                };
                files.into_iter().filter_map(read).collect()
            };
            if let Ok(files) = tokio::task::spawn_blocking(read).await {
                // An error means that the watcher is ending.
                let _ = events.send(Event::EvidenceMoved(to, files)).await;
            }
        });
    }

    /// How the running targets of the verdict's workload stand.
    pub(crate) fn siblings(&self, id: &IncidentId, verdict: &Verdict) -> Option<Siblings> {
        let kind = self.book.get(id)?.kind;
        self.siblings_of(kind, verdict)
    }

    fn siblings_of(&self, kind: Kind, verdict: &Verdict) -> Option<Siblings> {
        let (workload, revision) = (&verdict.target.workload, &verdict.target.revision);
        let mut siblings = Siblings {
            of_revision: 0,
            leaking: 0,
            of_workload: 0,
        };
        let running = self.targets.values().filter(|tracked| !tracked.is_gone());
        for tracked in running.filter(|tracked| tracked.view.target.workload == *workload) {
            siblings.of_workload += 1;
            if tracked.view.target.revision != *revision {
                continue;
            }
            siblings.of_revision += 1;
            // The verdict at hand is newer than the one that the view has.
            let latest = match tracked.view.target.id == verdict.target.id {
                true => Some(verdict),
                false => tracked.view.verdict.as_ref(),
            };
            siblings.leaking += u32::from(latest.is_some_and(|latest| leaks(latest, kind)));
        }
        (siblings.of_workload > 0).then_some(siblings)
    }
}

fn leaks(verdict: &Verdict, kind: Kind) -> bool {
    verdict.findings.iter().any(|finding| {
        finding.verdict == Judgement::Leak
            && finding.kind.is_some_and(|of| family(of) == family(kind))
    })
}

/// The name that `file` had before it was told apart from those of other targets.
fn base_name(incident: &Incident, file: &EvidenceRef) -> String {
    let named = incident.evidence_name(&file.target, "");
    let base = file.name.strip_prefix(&named).unwrap_or(&file.name);
    base.to_owned()
}
