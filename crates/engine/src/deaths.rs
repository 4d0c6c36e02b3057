//! What follows the end of a process: a target that was killed for lack of memory leaves an incident with
//! the evidence from before, its last series, and the judgement that can be made of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use locate::{Evidence, Interpretation};
use model::{
    EvidenceFile, EvidenceKind, Finding, IncidentId, IncidentState, Judgement, Kind, Reason,
    Target, TargetId, UnixMs, Verdict,
};
use reader::Ended;
use store::Store;

use crate::book::{TARGETS_CAPTURED_MAX, join, targets_captured};
use crate::cause::{self, Cause};
use crate::evidence::look_of;
use crate::holders::culprit_of;
use crate::judging::{Remembered, judge_target};
use crate::leaks::name_finding;
use crate::main_loop::{Event, MainLoop, save};
use crate::rails::Standing;
use crate::ring_files::{around, last_series};

/// A target's end, with all that could be found out about it.
pub(crate) struct Death {
    pub(crate) target: TargetId,
    pub(crate) at: UnixMs,
    pub(crate) cause: Cause,
    pub(crate) text: String,
    pub(crate) verdict: Verdict,
    /// The kind of leak that it was judged last; [`Kind::Oom`] where that was none.
    pub(crate) kind: Kind,
    pub(crate) found: Interpretation,
    pub(crate) files: Vec<EvidenceFile>,
}

/// What is known of a target when it ends.
struct Known {
    target: Target,
    facts: model::Facts,
    ledger: Option<model::Ledger>,
    standing: Standing,
    verdict: Option<Verdict>,
    at: UnixMs,
}

impl MainLoop {
    /// A process has ended: finds out why, beside everything else.
    pub(crate) fn target_ended(&mut self, id: &TargetId, at: UnixMs, ended: Option<Ended>) {
        self.mark_ended(id, at);
        let Some(tracked) = self.targets.get(id) else {
            return;
        };
        let Some(process) = tracked.view.target.process.clone() else {
            return;
        };
        let known = Known {
            target: tracked.view.target.clone(),
            facts: tracked.facts.clone(),
            ledger: tracked.view.ledger.clone(),
            standing: tracked.standing(),
            verdict: tracked.view.verdict.clone(),
            at,
        };
        let (reader, events) = (self.source().reader.clone(), self.events.clone());
        let store = Arc::clone(&self.parts.store);
        tokio::spawn(async move {
            let look = move || {
                let ended = ended.or_else(|| reader.ended(&process).ok()?);
                post_mortem(&store, known, ended.as_ref())
            };
            if let Ok(death) = tokio::task::spawn_blocking(look).await {
                // An error means that the watcher is ending.
                let _ = events.send(Event::Died(Box::new(death))).await;
            }
        });
    }

    /// What there is to know of an end is known: it joins the target's incidents, or opens one.
    pub(crate) fn died(&mut self, death: Death) {
        if death.cause == Cause::OutOfMemory {
            self.mark_killed(&death.verdict.target, death.at);
        }
        let lists = |incident: &model::Incident| incident.has_target(&death.target);
        let open = self
            .book
            .latest()
            .filter(|i| i.state == IncidentState::Open);
        let known: Vec<IncidentId> = open
            .filter(|incident| lists(incident))
            .map(|incident| incident.id.clone())
            .collect();
        let Some(first) = known.first().cloned() else {
            if death.cause != Cause::Other {
                self.open_for(death);
            }
            return;
        };
        for id in &known {
            self.note_death(id, &death);
        }
        if death.cause != Cause::Other {
            self.keep_last(&first, death);
        }
    }

    fn note_death(&mut self, id: &IncidentId, death: &Death) {
        if let Some(incident) = self.book.get_mut(id) {
            let name = death.verdict.target.name_in_words();
            let text = format!("{name}: {}", death.text);
            incident.note(death.at, death.cause.code(), text);
            save(&self.book, &self.writer, id);
        }
        self.touch();
    }

    /// No open incident lists the target: one of its workload takes it in, or a new one is opened.
    fn open_for(&mut self, mut death: Death) {
        let workload = death.verdict.target.workload.clone();
        let kind = match death.kind {
            Kind::Oom => Kind::Oom,
            kind => name_finding(&mut death.verdict, kind, &death.found),
        };
        let culprit = match kind {
            // The kill is the incident, whatever was biggest then.
            Kind::Oom => String::new(),
            _ => culprit_of(&death.found.suspects),
        };
        let of_kind = self.book.open_of(&workload, kind).is_some();
        // The leak is known; this one died before it could be judged.
        let known = self.open_leak_of(&death);
        let id = match known.filter(|_| kind == Kind::Oom && !of_kind) {
            Some(id) => {
                if let Some(incident) = self.book.get_mut(&id) {
                    join(incident, &death.target);
                }
                id
            }
            None => self.settle_place(&death.target, kind, &death.verdict, &culprit),
        };
        self.note_death(&id, &death);
        self.keep_last(&id, death);
    }

    fn open_leak_of(&self, death: &Death) -> Option<IncidentId> {
        let workload = &death.verdict.target.workload;
        let mut open = self.book.latest().filter(|incident| {
            incident.state == IncidentState::Open
                && incident.workload == *workload
                && takes_memory(incident.kind)
        });
        open.next().map(|incident| incident.id.clone())
    }

    /// Puts what there is from before the end into an incident.
    fn keep_last(&mut self, id: &IncidentId, death: Death) {
        let Death {
            target,
            at,
            mut files,
            verdict,
            found,
            ..
        } = death;
        let Some(incident) = self.book.get(id) else {
            return;
        };
        let captured = incident.evidence.iter().any(|e| e.target == target);
        if captured {
            // It has a before and an after of the leak: this is the end.
            files.retain(|file| !file.name.starts_with("before-"));
            for file in &mut files {
                file.name = file.name.replace("after-", "last-");
            }
        } else if targets_captured(incident) >= TARGETS_CAPTURED_MAX {
            return;
        } else if let Ok(bytes) = serde_json::to_vec_pretty(&verdict) {
            files.push(EvidenceFile {
                kind: EvidenceKind::Verdict,
                target: target.clone(),
                at,
                name: "verdict.json".into(),
                bytes,
            });
        }
        // The kill is the incident, whatever was biggest then.
        let culprit = match incident.kind {
            Kind::Oom => String::new(),
            _ => culprit_of(&found.suspects),
        };
        // Counted now, not once it is on the disk: replicas often die together.
        self.book.captured(id, &target, &culprit);
        self.note_ring_refusals(id, &target);
        self.store_evidence(id.clone(), files);
    }
}

fn takes_memory(kind: Kind) -> bool {
    kind.is_leak() && !matches!(kind, Kind::Fd)
}

/// Reads what is left of a target. On a blocking thread: it reads a disk.
fn post_mortem(store: &Store, known: Known, ended: Option<&Ended>) -> Death {
    let Known {
        target,
        facts,
        ledger,
        standing,
        verdict: last,
        at,
    } = known;
    // Once more, with what was read since: its last minutes tell most.
    let judged = {
        let anew = &mut Remembered::default();
        judge_target(store, &target, &facts, ledger.as_ref(), at, anew).ok()
    };
    let leaks = |verdict: &Verdict| verdict.verdict == Judgement::Leak;
    let verdict = judged.filter(leaks).or_else(|| last.clone());
    let mut verdict = verdict.unwrap_or_else(|| unjudged(at, &target, &facts));
    let (cause, text) = cause::of(ended, &standing, Some(&verdict));
    let kind = leak_of(&verdict).unwrap_or(Kind::Oom);
    let mut files = Vec::new();
    let mut found = Interpretation::default();
    if cause != Cause::Other {
        if kind == Kind::Oom {
            verdict.findings.insert(0, finding_of_a_kill(&text));
            verdict.verdict = Judgement::Unsure;
            verdict.kind = Some(Kind::Oom);
            verdict.confidence = None;
        }
        let onset = verdict.findings.first().and_then(|finding| finding.onset);
        let (before, after) = around(store, &target.id, onset);
        found = interpret(&verdict, kind, &before, &after);
        if kind == Kind::Oom {
            verdict.findings[0].suspects.clone_from(&found.suspects);
            verdict.collect_suspects();
        }
        files.extend(before);
        files.extend(after);
        files.extend(last_series(store, &target.id, at));
    }
    Death {
        target: target.id,
        at,
        cause,
        text,
        verdict,
        kind,
        found,
        files,
    }
}

/// The first kind of leak that a verdict found and that takes memory.
fn leak_of(verdict: &Verdict) -> Option<Kind> {
    let leaks = verdict.findings.iter();
    let leaks = leaks.filter(|finding| finding.verdict == Judgement::Leak);
    leaks
        .filter_map(|finding| finding.kind)
        .find(|kind| takes_memory(*kind))
}

fn interpret(
    verdict: &Verdict,
    kind: Kind,
    before: &[EvidenceFile],
    after: &[EvidenceFile],
) -> Interpretation {
    let (before, after) = (look_of(before), look_of(after));
    let evidence = Evidence {
        before: &before,
        after: &after,
        main_module: verdict.target.module.as_deref(),
    };
    let finding = verdict.findings.iter().find(|f| f.kind == Some(kind));
    // Of a kill without a leak that was found: what grew on the Go heap is the best there is.
    let asked = finding.cloned().map(|finding| Finding {
        kind: Some(if kind == Kind::Oom {
            Kind::GoHeap
        } else {
            kind
        }),
        ..finding
    });
    asked.map_or_else(Interpretation::default, |f| {
        locate::interpret(&f, &evidence)
    })
}

fn finding_of_a_kill(text: &str) -> Finding {
    Finding {
        verdict: Judgement::Unsure,
        kind: Some(Kind::Oom),
        confidence: None,
        onset: None,
        growth: None,
        why: vec![Reason {
            code: "oom-kill".into(),
            speaks_for: Judgement::Unsure,
            values: BTreeMap::new(),
            text: format!("It was {text}."),
        }],
        suspects: Vec::new(),
        advice: Vec::new(),
    }
}

/// A target that was never judged.
fn unjudged(at: UnixMs, target: &Target, facts: &model::Facts) -> Verdict {
    let judged = judge::judge(&judge::Input {
        now: at,
        channels: &[],
        facts,
    });
    Verdict::assemble(at, target.clone(), judged, facts, Vec::new())
}
