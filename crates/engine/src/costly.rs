//! Costly evidence: what stops a target for a moment or makes it collect its garbage. An incident is
//! opened without it; it is taken when the rails allow, one at a time, and joins the incident then. What
//! they refuse stands in the incident.

use std::sync::Arc;

use collect::ProfileKind;
use locate::Request;
use model::{EvidenceFile, EvidenceKind, Finding, IncidentId, Refusal, TargetId};
use profile::{Limits, Profile};
use store::Store;

use crate::evidence::Subject;
use crate::main_loop::{Event, MainLoop, save};
use crate::rails::{self, End, Turn};

/// A dump of the goroutines that may be listed has some 5 MB; nothing of a target is kept that is larger.
const BYTES_MAX: usize = collect::profiles::PROFILE_BYTES_MAX;
/// The ordinary heap profile that one after a forced collection is compared with.
const ORDINARY: &str = "after-heap.pb.gz";

/// What incidents of one target are still owed, in order.
#[derive(Debug, Default)]
pub(crate) struct Owed {
    requests: Vec<(Request, IncidentId)>,
    under_way: bool,
}

impl Owed {
    /// An incident about `finding` is open: what costs the target more is still to come.
    pub(crate) fn add(&mut self, planned: &[Request], incident: &IncidentId) {
        let costly = planned.iter().filter(|request| rails::is_costly(**request));
        for request in costly {
            let one = (*request, incident.clone());
            if !self.requests.contains(&one) {
                self.requests.push(one);
            }
        }
    }

    /// The target's leak belongs to another incident now, and so does what is owed.
    pub(crate) fn moved(&mut self, from: &IncidentId, to: &IncidentId) {
        let of_old = self.requests.iter_mut().filter(|(_, of)| of == from);
        of_old.for_each(|(_, of)| of.clone_from(to));
    }
}

/// A costly capture is over.
pub(crate) struct CostlyTaken {
    target: TargetId,
    incident: IncidentId,
    request: Request,
    taken: Result<EvidenceFile, Refusal>,
    /// What it shows, in words.
    shows: Option<String>,
}

impl MainLoop {
    /// An incident about `finding` of `target` is open: what costs the target more is taken once the rest
    /// lies there.
    pub(crate) fn owe(&mut self, target: &TargetId, finding: &Finding, incident: &IncidentId) {
        let force_gc = self.config.evidence.force_gc;
        if let Some(tracked) = self.targets.get_mut(target) {
            let subject = Subject::new(&tracked.view.target, tracked.endpoint.clone());
            let planned = locate::plan(finding, subject.abilities(force_gc));
            tracked.owed.add(&planned, incident);
        }
    }

    /// Takes the next of what the target's incidents are owed, if it may be taken now.
    pub(crate) fn take_owed(&mut self, id: &TargetId) {
        let (now, at) = (self.clock().monotonic(), self.clock().now());
        let Some(tracked) = self.targets.get_mut(id).filter(|t| !t.is_gone()) else {
            return;
        };
        // A look at it is no refusal: its end comes back here.
        if tracked.owed.under_way || self.rails.is_busy_with(id) || !tracked.may_be_captured() {
            return;
        }
        let standing = tracked.standing();
        let subject = Subject::new(&tracked.view.target, tracked.endpoint.clone());
        let (whose, settings) = (tracked.whose(), &self.config.evidence);
        let over_budget = self.own.keeper.refusal();
        let mut refused = Vec::new();
        let mut begun = None;
        tracked.owed.requests.retain(|(request, incident)| {
            if begun.is_some() {
                return true;
            }
            let whose = whose.clone();
            let may = match over_budget.clone() {
                Some(refusal) => Err(refusal),
                None => self
                    .rails
                    .begin(*request, Turn::First, whose, &standing, settings, now),
            };
            match may {
                Ok(()) => begun = Some((*request, incident.clone())),
                Err(refusal) => {
                    let waits = refusal.is_passing();
                    refused.push((incident.clone(), *request, refusal));
                    return waits;
                }
            }
            false
        });
        tracked.owed.under_way = begun.is_some();
        for (incident, request, refusal) in refused {
            let refused = subject.refused(request, refusal);
            let text = rails::in_words(refused.capture, &refused.refusal);
            let Some(open) = self.book.get_mut(&incident) else {
                continue;
            };
            if open.note_refused(at, refused, text) {
                save(&self.book, &self.writer, &incident);
                self.touch();
            }
        }
        if let Some((request, incident)) = begun {
            self.take(subject, request, incident);
        }
    }

    fn take(&self, subject: Subject, request: Request, incident: IncidentId) {
        let (source, events) = (self.source().clone(), self.events.clone());
        let store = Arc::clone(&self.parts.store);
        let ordinary = self
            .book
            .get(&incident)
            .map_or_else(String::new, |incident| {
                incident.evidence_name(&subject.target, ORDINARY)
            });
        tokio::spawn(async move {
            let target = subject.target.clone();
            let taken = match request {
                Request::GoroutineDump => stacks(&subject, &source).await,
                Request::HeapAfterGc => {
                    let name = "after-gc-heap.pb.gz";
                    profile(&subject, &source, request, ProfileKind::HeapAfterGc, name).await
                }
                _ => {
                    let name = "after-goroutineleak.pb.gz";
                    profile(&subject, &source, request, ProfileKind::GoroutineLeak, name).await
                }
            };
            let gc = taken
                .as_ref()
                .ok()
                .filter(|_| request == Request::HeapAfterGc);
            let forced = gc.map(|file| file.bytes.clone());
            let id = incident.clone();
            let compare = move || left_by_gc(&store, &id, &ordinary, &forced?);
            let shows = tokio::task::spawn_blocking(compare).await.ok().flatten();
            let taken = CostlyTaken {
                target,
                incident,
                request,
                taken,
                shows,
            };
            // An error means that the watcher is ending.
            let _ = events.send(Event::Costly(Box::new(taken))).await;
        });
    }

    /// A costly capture is over, one way or the other.
    pub(crate) fn costly_taken(&mut self, taken: CostlyTaken) {
        let at = self.clock().now();
        let CostlyTaken {
            target,
            incident,
            request,
            taken,
            shows,
        } = taken;
        self.rails.end(&target, request, End::Had);
        if let Some(tracked) = self.targets.get_mut(&target) {
            tracked.owed.under_way = false;
            tracked.captured_round = Some(tracked.rounds);
        }
        if let Some(open) = self.book.get_mut(&incident) {
            if let Some(shows) = shows {
                open.note(at, "forced-gc", shows);
            }
            match taken {
                Ok(file) => self.store_evidence(incident.clone(), vec![file]),
                Err(refusal) => {
                    let capture = rails::evidence_of(request);
                    let text = rails::in_words(capture, &refusal);
                    let refused = model::RefusedCapture {
                        capture,
                        target: target.clone(),
                        refusal,
                    };
                    open.note_refused(at, refused, text);
                }
            }
            save(&self.book, &self.writer, &incident);
        }
        self.take_owed(&target);
        self.touch();
    }
}

async fn profile(
    subject: &Subject,
    source: &collect::Source,
    request: Request,
    kind: ProfileKind,
    name: &str,
) -> Result<EvidenceFile, Refusal> {
    let (bytes, _) = subject.profile(source, kind, BYTES_MAX).await?;
    let (evidence, at) = (rails::evidence_of(request), source.clock.now());
    Ok(subject.file(evidence, at, name.into(), bytes))
}

async fn stacks(subject: &Subject, source: &collect::Source) -> Result<EvidenceFile, Refusal> {
    let mut said = Vec::new();
    for base in &subject.endpoint.pprof_bases {
        let dump = ProfileKind::GoroutineDump;
        match subject.fetch(source, base, dump, BYTES_MAX).await {
            Ok(bytes) if bytes.starts_with(b"goroutine ") => {
                let (kind, at) = (EvidenceKind::GoroutineStacks, source.clock.now());
                let name = "after-goroutines.txt".into();
                return Ok(subject.file(kind, at, name, bytes));
            }
            Ok(_) => said.push(format!("{base}/{} is no list of goroutines", dump.path())),
            Err(Refusal::Failed { why }) => said.push(why),
            Err(refusal) => return Err(refusal),
        }
    }
    Err(Refusal::Failed {
        why: said.join("; "),
    })
}

/// What a forced collection left of the heap, in words: `ordinary` is the profile from before it.
fn left_by_gc(
    store: &Store,
    incident: &IncidentId,
    ordinary: &str,
    forced: &[u8],
) -> Option<String> {
    let before = store.read_evidence(incident, ordinary).ok()??;
    let (before, after) = (in_use_bytes(&before)?, in_use_bytes(forced)?);
    let mib = |bytes: i64| bytes as f64 / 1_048_576.0;
    let says = match after.saturating_mul(10) >= before.saturating_mul(8) {
        true => "it is held, and no garbage that waits for a collection",
        false => "much of it was garbage: look at GOGC and GOMEMLIMIT before a leak",
    };
    Some(format!(
        "after a forced collection {:.0} MiB of the heap are in use, {:.0} MiB were before: {says}",
        mib(after),
        mib(before)
    ))
}

/// The sum of a heap profile's bytes in use.
fn in_use_bytes(bytes: &[u8]) -> Option<i64> {
    let profile = Profile::parse(bytes, &Limits::default()).ok()?;
    let column = profile.sample_type_index("inuse_space").ok()?;
    let values = profile
        .samples()
        .filter_map(|s| s.values().get(column).copied());
    Some(values.fold(0, i64::saturating_add))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_costs_is_owed_and_only_once() {
        let mut owed = Owed::default();
        let (a, b) = (IncidentId("a".into()), IncidentId("b".into()));
        let planned = [
            Request::Heap,
            Request::Mappings,
            Request::HeapAfterGc,
            Request::Holders,
        ];
        owed.add(&planned, &a);
        owed.add(&planned, &a);
        owed.add(&[Request::GoroutineDump], &b);
        let want = [
            (Request::HeapAfterGc, a.clone()),
            (Request::GoroutineDump, b.clone()),
        ];
        assert_eq!(owed.requests, want);
        owed.moved(&a, &b);
        let want = [
            (Request::HeapAfterGc, b.clone()),
            (Request::GoroutineDump, b),
        ];
        assert_eq!(owed.requests, want);
    }

    #[test]
    fn a_forced_collection_says_garbage_or_held() {
        let folder = tempfile::tempdir().unwrap();
        let clock = Arc::new(model::SimClock::new(model::UnixMs(0)));
        let store = Store::open(folder.path(), &store::Options::default(), clock).unwrap();
        let id = IncidentId("20261121-shop-0".into());
        let heap = |mib: i64| {
            let mut heap = profile::ProfileBuilder::new(&[("inuse_space", "bytes")]);
            let main = heap.function("main.keep", "main.go", 1);
            let frame = heap.location(1, &[(main, 1)]);
            heap.sample(&[frame], &[mib << 20]);
            heap.build().unwrap().to_gzip()
        };
        let file = EvidenceFile {
            kind: EvidenceKind::HeapProfile,
            target: TargetId("t".into()),
            at: model::UnixMs(0),
            name: ORDINARY.into(),
            bytes: heap(400),
        };
        store.put_evidence(&id, &file).unwrap();
        let said = |left| left_by_gc(&store, &id, ORDINARY, &heap(left)).unwrap();
        assert!(said(390).ends_with("390 MiB of the heap are in use, 400 MiB were before: it is held, and no garbage that waits for a collection"), "{}", said(390));
        assert!(said(90).contains("much of it was garbage"), "{}", said(90));
        assert_eq!(left_by_gc(&store, &id, ORDINARY, b"no profile"), None);
    }
}
