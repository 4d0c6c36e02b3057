//! From a verdict to an incident: a leak that holds is confirmed, evidence is taken at once and
//! read, and what it names decides which incident it is.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use collect::Source;
use locate::{Evidence, Interpretation, Look, Request};
use model::{
    CommandOutcome, EvidenceFile, EvidenceKind, Finding, Incident, IncidentId, Judgement, Kind,
    RefusedCapture, TargetId, UnixMs, Verdict,
};
use store::Store;
use tokio::sync::watch;
use tokio::task::JoinError;

use crate::book::{Standing, TARGETS_CAPTURED_MAX, family, targets_captured};
use crate::budgeting::was_put_off;
use crate::evidence::{Capture, Subject, Terms, look_of};
use crate::holders::{culprit_of, note_once};
use crate::main_loop::{Event, MainLoop, save};
use crate::outside;
use crate::rails::{self, End};
use crate::ring::REQUESTS;
use crate::ring_files;
use crate::under_load;
use crate::writer::Stored;

/// Judgements in a row that must find the leak: one may be bad luck.
const STREAK_MIN: u32 = 2;
/// Judgements at least that a capture waits for another target's look to end, if it needs one itself.
const WAITS: u32 = 3;
/// An open incident's manifest is written at most so often while only its figures change.
const SAVE_EVERY: Duration = Duration::from_secs(15);

/// Evidence for a leak, taken and read.
pub(crate) struct Captured {
    pub(crate) target: TargetId,
    pub(crate) kind: Kind,
    pub(crate) verdict: Verdict,
    pub(crate) files: Vec<EvidenceFile>,
    pub(crate) refusals: Vec<RefusedCapture>,
    pub(crate) notes: Vec<String>,
    pub(crate) was_outside: bool,
    pub(crate) found: Interpretation,
}

/// A capture for a confirmed leak.
struct Capturing {
    subject: Subject,
    metrics: Option<Vec<u8>>,
    terms: Terms,
    standing: watch::Receiver<rails::Standing>,
    period: Duration,
    source: Source,
    store: Arc<Store>,
    kind: Kind,
    verdict: Verdict,
}

impl Capturing {
    /// What is known of the leak where its evidence cannot be taken or read.
    fn unread(&self) -> Captured {
        Captured {
            target: self.subject.target.clone(),
            kind: self.kind,
            verdict: self.verdict.clone(),
            files: Vec::new(),
            refusals: Vec::new(),
            notes: Vec::new(),
            was_outside: matches!(self.terms.outside, Ok(Some(_))),
            found: Interpretation::default(),
        }
    }

    async fn take(self) -> Result<Captured, JoinError> {
        let (kind, target) = (self.kind, self.subject.target.clone());
        let (subject, source, terms) = (&self.subject, &self.source, &self.terms);
        let finding = finding_of(&self.verdict, kind);
        let abilities = subject.abilities(terms.settings.force_gc);
        let requests = finding.map_or_else(Vec::new, |f| locate::plan(f, abilities));
        let mut capture = subject.capture(source, &requests, terms).await;
        let pause = finding.and_then(|f| under_load::pause(f, self.period));
        if let Some(pause) = pause.filter(|_| capture.look.heap.is_some()) {
            let more = under_load::take(subject, source, terms, pause, self.standing);
            capture.files.extend(more.await);
        }
        let at = source.clock.now();
        if let Some(bytes) = self.metrics {
            capture.files.push(EvidenceFile {
                kind: EvidenceKind::Metrics,
                target: target.clone(),
                at,
                name: "after-metrics.txt".into(),
                bytes,
            });
        }
        let (store, verdict) = (self.store, self.verdict);
        let read = move || read(&store, target, kind, verdict, capture);
        tokio::task::spawn_blocking(read).await
    }
}

/// What was captured, or `otherwise` where that has panicked: what was begun ends in any case, and people hear of the
/// leak.
async fn whatever_happens(
    taken: impl Future<Output = Result<Captured, JoinError>> + Send + 'static,
    otherwise: Captured,
) -> Captured {
    match tokio::spawn(taken).await {
        Ok(Ok(captured)) => captured,
        Ok(Err(error)) | Err(error) => {
            tracing::error!(target = %otherwise.target, %error, "evidence could not be taken");
            otherwise
        }
    }
}

impl MainLoop {
    /// Takes a new verdict in.
    pub(crate) fn weigh(&mut self, id: &TargetId, mut verdict: Verdict) {
        let leaks: Vec<Kind> = verdict
            .findings
            .iter()
            .filter(|finding| finding.verdict == Judgement::Leak)
            .filter_map(|finding| finding.kind)
            .collect();
        let Some(tracked) = self.targets.get_mut(id) else {
            return;
        };
        tracked.streaks.retain(|kind, _| leaks.contains(kind));
        for kind in &leaks {
            *tracked.streaks.entry(*kind).or_default() += 1;
        }
        let confirmed: HashMap<Kind, u32> = tracked.streaks.clone();
        self.carry_over(id, &mut verdict);
        for kind in leaks {
            if confirmed
                .get(&kind)
                .is_some_and(|streak| *streak >= STREAK_MIN)
            {
                self.confirmed(id, kind, &verdict);
            }
        }
        // What costs the target more comes first: of one that is dying there may not be more.
        self.take_owed(id);
        self.look_at_holders(id, &verdict);
        let open = self.book.latest().filter(|incident| {
            incident.state == model::IncidentState::Open && incident.has_target(id)
        });
        let incidents = open.map(|incident| incident.id.clone()).collect();
        if let Some(tracked) = self.targets.get_mut(id) {
            tracked.view.verdict = Some(verdict);
            tracked.view.incidents = incidents;
        }
        if let Some(tracked) = self.targets.get(id) {
            self.tell_pace(tracked);
        }
    }

    /// What evidence has named stays named: a new judgement only brings new figures.
    fn carry_over(&self, id: &TargetId, verdict: &mut Verdict) {
        for finding in &mut verdict.findings {
            let Some(kind) = finding.kind.filter(|_| finding.verdict == Judgement::Leak) else {
                continue;
            };
            let Some(incident) = self.book.open_of_target(kind, id) else {
                continue;
            };
            let told = incident
                .verdict
                .findings
                .iter()
                .find(|f| f.kind == Some(incident.kind));
            if let Some(told) = told {
                finding.kind = Some(incident.kind);
                // Of another target's verdict only where its own evidence says nothing.
                let own = self
                    .targets
                    .get(id)
                    .filter(|_| incident.verdict.target.id != *id);
                let own = own.and_then(|tracked| tracked.found_of(incident.kind));
                finding.suspects = own.map_or_else(|| told.suspects.clone(), |own| own.suspects);
                let new = |advice: &&model::verdict::Advice| {
                    !finding.advice.iter().any(|have| have.code == advice.code)
                };
                let more: Vec<_> = told.advice.iter().filter(new).cloned().collect();
                finding.advice.extend(more);
            }
            verdict.evidence.clone_from(&incident.evidence);
        }
        verdict.kind = verdict.findings.first().and_then(|finding| finding.kind);
        verdict.collect_suspects();
    }

    fn confirmed(&mut self, id: &TargetId, kind: Kind, verdict: &Verdict) {
        let now = self.clock().monotonic();
        let known = self.book.open_of_target(kind, id).or_else(|| {
            // One of many replicas: their evidence says the same, and enough of it was taken.
            let workload = &verdict.target.workload;
            let of_workload = self.book.open_of(workload, kind);
            of_workload.filter(|incident| targets_captured(incident) >= TARGETS_CAPTURED_MAX)
        });
        let known = known.map(|incident| incident.id.clone());
        if let Some(incident) = &known {
            self.support(incident, verdict);
        }
        let every = self.config.evidence.capture_interval;
        let Some(tracked) = self.targets.get_mut(id) else {
            return;
        };
        let recent = tracked
            .captured_at
            .get(&kind)
            .is_some_and(|last| now < *last + every);
        let known = known.and_then(|incident| self.book.get(&incident));
        if recent && known.is_none() && !tracked.capturing {
            self.reopen(id, kind, verdict);
            return;
        }
        let may_now = self.own.keeper.refusal().is_none();
        // After a restart of ours the evidence is there already.
        let enough = known.is_some_and(|incident| {
            if may_now && was_put_off(incident, id) {
                return false;
            }
            incident.evidence.iter().any(|e| e.target == *id)
                || targets_captured(incident) >= TARGETS_CAPTURED_MAX
        });
        if !tracked.may_be_captured() || recent || enough {
            return;
        }
        let waits = self.waits();
        let Some(tracked) = self.targets.get(id) else {
            return;
        };
        let streak = tracked.streaks.get(&kind);
        let is_young = streak.is_none_or(|n| *n < STREAK_MIN + waits);
        let outside = self.begin_outside(id);
        if is_young && matches!(outside, Err(model::Refusal::Busy { .. })) {
            return;
        }
        let Some(tracked) = self.targets.get_mut(id) else {
            return;
        };
        tracked.capturing = true;
        tracked.captured_at.insert(kind, now);
        let capturing = Capturing {
            subject: Subject::new(&tracked.view.target, tracked.endpoint.clone()),
            metrics: tracked.metrics.clone(),
            terms: Terms::for_incident(tracked.standing(), &self.config.evidence)
                .refused_by(self.own.keeper.refusal())
                .with_outside(outside),
            standing: tracked.standings.subscribe(),
            period: tracked.period,
            source: self.source().clone(),
            store: Arc::clone(&self.parts.store),
            kind,
            verdict: verdict.clone(),
        };
        let events = self.events.clone();
        tokio::spawn(async move {
            let otherwise = capturing.unread();
            let captured = whatever_happens(capturing.take(), otherwise).await;
            // An error means that the watcher is ending.
            let _ = events.send(Event::Captured(Box::new(captured))).await;
        });
    }

    /// Judgements that a capture waits for another target's look: as long as one may take.
    fn waits(&self) -> u32 {
        let longest = self.config.inspect.budget.time.as_secs_f64();
        let every = self.config.global.evaluation_interval.as_secs_f64();
        WAITS.max((longest / every.max(1.0)).ceil() as u32)
    }

    /// Evidence is there: name the incident, or open it.
    pub(crate) fn captured(&mut self, captured: Captured) {
        let Captured {
            target,
            kind,
            mut verdict,
            mut files,
            refusals,
            notes,
            was_outside,
            mut found,
        } = captured;
        if was_outside {
            self.rails
                .end(&target, Request::GoroutinesOutside, End::Had);
        }
        let has_looks = kind.has_holders();
        if let Some(tracked) = self.targets.get_mut(&target) {
            tracked.capturing = false;
            tracked.captured_round = Some(tracked.rounds);
            if has_looks {
                tracked.looks.join(kind, &mut found);
                files.extend(tracked.looks.files(&target));
            }
        }
        let kind = name_finding(&mut verdict, kind, &found);
        let at = verdict.at;
        let id = self.settle_place(&target, kind, &verdict, &culprit_of(&found.suspects));
        let enough = self.book.get(&id).is_some_and(|incident| {
            !incident.captured.contains_key(&target)
                && targets_captured(incident) >= TARGETS_CAPTURED_MAX
        });
        if enough {
            // Several were captured at a time, and others were faster.
            save(&self.book, &self.writer, &id);
            return;
        }
        self.book
            .captured(&id, &target, &culprit_of(&found.suspects));
        if let Some(tracked) = self.targets.get_mut(&target) {
            tracked.found.insert(kind, found);
        }
        self.note_refusals(&id, at, refusals);
        self.note_ring_refusals(&id, &target);
        if let Some(finding) = finding_of(&verdict, kind) {
            self.owe(&target, finding, &id);
        }
        if let Some(incident) = self.book.get_mut(&id) {
            for note in notes {
                note_once(incident, at, outside::CODE, note);
            }
            let tracked = self.targets.get(&target).filter(|_| has_looks);
            if let Some(tracked) = tracked {
                tracked.looks.note(incident, &target, at);
            }
        }
        // On disk before anything else happens: the evidence files follow in the same folder.
        save(&self.book, &self.writer, &id);
        if let Ok(bytes) = serde_json::to_vec_pretty(&verdict) {
            let (kind, name) = (EvidenceKind::Verdict, "verdict.json".into());
            files.push(EvidenceFile {
                kind,
                target,
                at,
                name,
                bytes,
            });
        }
        self.store_evidence(id, files);
    }

    /// Says in an incident what was not taken for it.
    fn note_refusals(&mut self, id: &IncidentId, at: UnixMs, refusals: Vec<RefusedCapture>) {
        if let Some(incident) = self.book.get_mut(id) {
            for refused in refusals {
                let text = rails::in_words(refused.capture, &refused.refusal);
                incident.note_refused(at, refused, text);
            }
        }
    }

    /// Says in an incident what the target's ring lacks.
    pub(crate) fn note_ring_refusals(&mut self, id: &IncidentId, target: &TargetId) {
        let at = self.clock().now();
        let tracked = self.targets.get(target);
        let refusals = tracked.map(|tracked| tracked.ring_refusals.clone());
        if let Some(incident) = self.book.get_mut(id) {
            for refused in refusals.unwrap_or_default() {
                let text = rails::in_words(refused.capture, &refused.refusal);
                incident.note_refused(at, refused, format!("from before: {text}"));
            }
        }
    }

    /// Writes evidence beside everything else; the incident hears when it lies there.
    pub(crate) fn store_evidence(&mut self, id: IncidentId, mut files: Vec<EvidenceFile>) {
        if let Some(incident) = self.book.get(&id) {
            for file in &mut files {
                file.name = incident.evidence_name(&file.target, &file.name);
            }
        }
        let mut answers = self.writer.evidence(id.clone(), files);
        let events = self.events.clone();
        tokio::spawn(async move {
            while let Some(stored) = answers.recv().await {
                let event = Event::EvidenceStored(id.clone(), stored);
                // An error means that the watcher is ending.
                if events.send(event).await.is_err() {
                    return;
                }
            }
        });
    }

    pub(crate) fn evidence_stored(&mut self, id: &IncidentId, stored: Stored) {
        let Stored {
            refs,
            waiting,
            lost,
        } = stored;
        let (at, any) = (self.clock().now(), !refs.is_empty());
        let Some(incident) = self.book.get_mut(id) else {
            return;
        };
        if any || waiting + lost == 0 {
            incident.note(at, "evidence", format!("{} files taken", refs.len()));
        }
        if waiting > 0 {
            let text = format!("{waiting} files wait in memory until the disk takes them");
            incident.note(at, "evidence-waits", text);
        }
        if lost > 0 {
            let text = format!("{lost} files are lost: the disk does not take them");
            incident.note(at, "evidence-lost", text);
        }
        incident
            .evidence
            .retain(|old| !refs.iter().any(|new| new.name == old.name));
        incident.evidence.extend(refs);
        incident.verdict.evidence.clone_from(&incident.evidence);
        let incident: Incident = incident.clone();
        self.writer.incident(&incident);
        let taken_of = incident.evidence.last().map(|last| last.target.clone());
        if let Some(target) = taken_of.filter(|_| any) {
            // A look that ended meanwhile found no evidence to lie beside.
            self.join_looks(&target);
            self.take_owed(&target);
        }
        if self.told.contains(id) {
            return;
        }
        if incident.silence.is_none() {
            self.tell(&incident);
        }
        if let Some(tracked) = self.targets.get_mut(&incident.verdict.target.id) {
            tracked.view.verdict = Some(incident.verdict.clone());
            tracked.view.incidents.push(id.clone());
        }
    }

    fn support(&mut self, id: &IncidentId, verdict: &Verdict) {
        let now = self.clock().monotonic();
        let siblings = self.siblings(id, verdict);
        if let Some(incident) = self.book.support(id, verdict) {
            incident.siblings = siblings;
        }
        let last = self.last_saved.get(id);
        if last.is_none_or(|last| now >= *last + SAVE_EVERY) {
            self.last_saved.insert(id.clone(), now);
            save(&self.book, &self.writer, id);
            if let Some(incident) = self.book.get(id) {
                self.tell_newer(incident);
            }
        }
    }

    /// A leak whose evidence was taken lately has no incident any more: it was resolved too early. No more is
    /// taken so soon, so the old incident is opened again.
    fn reopen(&mut self, id: &TargetId, kind: Kind, verdict: &Verdict) {
        let at = self.clock().now();
        let reopened = self.book.reopen(kind, id, at);
        let Some(incident) = reopened.map(|incident| incident.id.clone()) else {
            return;
        };
        self.support(&incident, verdict);
        save(&self.book, &self.writer, &incident);
        let open = self.book.get(&incident).cloned();
        if let Some(incident) = open.filter(|incident| incident.silence.is_none()) {
            self.tell(&incident);
        }
    }

    /// Resolves what successors have shown to be over.
    pub(crate) fn resolve_incidents(&mut self) {
        let (now, monotonic) = (self.clock().now(), self.clock().monotonic());
        for tracked in self.targets.values_mut() {
            tracked.note_age(now, monotonic);
        }
        let standings: Vec<Standing<'_>> = self
            .targets
            .values()
            .map(|tracked| Standing {
                target: &tracked.view.target.id,
                workload: &tracked.view.target.workload,
                revision: &tracked.view.target.revision,
                alive: !tracked.is_gone(),
                started: tracked.view.target.start_time,
                age: tracked.age(monotonic),
                is_process: tracked.view.target.process.is_some(),
                verdict: tracked.view.verdict.as_ref(),
            })
            .collect();
        let resolved = self.book.resolve(&standings, now);
        for id in resolved {
            save(&self.book, &self.writer, &id);
            if let Some(incident) = self.book.get(&id).cloned() {
                self.tell(&incident);
            }
            self.touch();
        }
    }

    /// Takes a light snapshot for the ring now.
    pub(crate) fn snapshot(&mut self, id: &TargetId) -> CommandOutcome {
        let Some(tracked) = self
            .targets
            .get_mut(id)
            .filter(|tracked| !tracked.is_gone())
        else {
            return CommandOutcome::Refused {
                reason: format!("no target {id} is running"),
            };
        };
        if !tracked.may_be_captured() {
            return CommandOutcome::Busy;
        }
        tracked.snapshotting = true;
        let outside = self.begin_outside(id);
        let Some(tracked) = self.targets.get(id) else {
            return CommandOutcome::Busy;
        };
        let subject = Subject::new(&tracked.view.target, tracked.endpoint.clone());
        let terms = Terms::for_ring(tracked.standing(), &self.config.evidence)
            .refused_by(self.own.keeper.refusal())
            .with_outside(outside);
        let (source, events, id) = (self.source().clone(), self.events.clone(), id.clone());
        tokio::spawn(async move {
            let capture = subject.capture(&source, &REQUESTS, &terms).await;
            let report = crate::driver::Report::Ring(capture.into());
            // An error means that the watcher is ending.
            let _ = events.send(Event::Report(id, report)).await;
        });
        CommandOutcome::Accepted {
            text: "heap and goroutine profiles are being taken".into(),
        }
    }
}

/// The finding of `kind`, or of the same leak under a more exact name.
fn finding_of(verdict: &Verdict, kind: Kind) -> Option<&Finding> {
    let mut findings = verdict.findings.iter();
    findings.find(|f| f.kind.is_some_and(|of| family(of) == family(kind)))
}

/// Puts what the evidence named into the verdict's finding of `kind`, and returns the kind as it
/// is called from now on.
pub(crate) fn name_finding(verdict: &mut Verdict, kind: Kind, found: &Interpretation) -> Kind {
    let named = found.kind.unwrap_or(kind);
    let is_it = |f: &&mut Finding| f.kind.is_some_and(|of| family(of) == family(kind));
    if let Some(finding) = verdict.findings.iter_mut().find(is_it) {
        finding.kind = Some(named);
        finding.suspects.clone_from(&found.suspects);
        for advice in &found.advice {
            if !finding.advice.iter().any(|have| have.code == advice.code) {
                finding.advice.push(advice.clone());
            }
        }
    }
    verdict.kind = verdict.findings.first().and_then(|finding| finding.kind);
    verdict.collect_suspects();
    named
}

/// Reads the capture beside the snapshot from before. On a blocking thread: it reads a disk.
fn read(
    store: &Store,
    target: TargetId,
    kind: Kind,
    verdict: Verdict,
    capture: Capture,
) -> Captured {
    let Capture {
        mut files,
        look,
        refusals,
        notes,
        was_outside,
    } = capture;
    let finding = finding_of(&verdict, kind);
    let onset = finding.and_then(|finding| finding.onset);
    let before = ring_files::before(store, &verdict.target.id, onset);
    let earlier: Look = look_of(&before);
    let module = verdict.target.module.clone();
    let evidence = Evidence {
        before: &earlier,
        after: &look,
        main_module: module.as_deref(),
    };
    let beneath = finding
        .filter(|f| f.kind == Some(Kind::GoHeap))
        .and_then(|f| {
            under_load::interpret(store, &target, f, &before, &mut files, module.as_deref())
        });
    let found = beneath
        .or_else(|| finding.map(|f| locate::interpret(f, &evidence)))
        .unwrap_or_default();
    files.extend(before);
    Captured {
        target,
        kind,
        verdict,
        files,
        refusals,
        notes,
        was_outside,
        found,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::book::tests::verdict;

    #[tokio::test]
    async fn evidence_that_cannot_be_read_still_ends_what_was_begun() {
        let leak = verdict("a", 10, 0, Judgement::Leak);
        let captured = |was_outside| Captured {
            target: TargetId("a".into()),
            kind: Kind::GoHeap,
            verdict: leak.clone(),
            files: Vec::new(),
            refusals: Vec::new(),
            notes: Vec::new(),
            was_outside,
            found: Interpretation::default(),
        };
        let good = captured(false);
        let read = async move { tokio::task::spawn_blocking(move || good).await };
        assert!(!whatever_happens(read, captured(true)).await.was_outside);
        let dies = || -> Captured { panic!("a test's own") };
        let read = async move { tokio::task::spawn_blocking(dies).await };
        assert!(whatever_happens(read, captured(true)).await.was_outside);
        let taken = async { panic!("a test's own") };
        assert!(whatever_happens(taken, captured(true)).await.was_outside);
    }
}
