//! Incidents: a leak (or a kill) of one workload, of one kind, with one culprit, through restarts.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::answer::{Answer, AnswerSort, Said, Silence};
use crate::refusal::{Refusal, RefusedCapture};
use crate::target::{Revision, TargetId, Workload};
use crate::time::UnixMs;
use crate::verdict::{Kind, Verdict};

/// Identifies an incident in URLs, folders and commands: date, workload's short name, fingerprint.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct IncidentId(pub String);

impl std::fmt::Display for IncidentId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// Where an incident stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum IncidentState {
    /// Not yet shown to be over.
    Open,
    /// Successors of comparable age are judged `no-leak`, or a new revision stays clean.
    Resolved,
}

/// What an evidence file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum EvidenceKind {
    /// The heap profile, `profile.proto` compressed.
    HeapProfile,
    /// The goroutine profile, `profile.proto` compressed.
    GoroutineProfile,
    /// The mappings by class, JSON.
    Mappings,
    /// The metrics endpoint's answer as it came.
    Metrics,
    /// The verdict, JSON.
    Verdict,
    /// Who holds the heap, JSON: names, types and sizes, no contents.
    Holders,
    /// The heap profile after a collection that was forced: never compared with ordinary ones.
    HeapProfileGc,
    /// The goroutines one by one, with what they wait for and since when: text.
    GoroutineStacks,
    /// The goroutines that nothing can wake again, as the runtime itself finds them.
    GoroutineLeakProfile,
    /// The target's latest series, JSON.
    Series,
    /// Why something was not taken.
    Refusal,
}

impl EvidenceKind {
    /// The word in file names and JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::HeapProfile => "heap-profile",
            Self::GoroutineProfile => "goroutine-profile",
            Self::Mappings => "mappings",
            Self::Metrics => "metrics",
            Self::Verdict => "verdict",
            Self::Holders => "holders",
            Self::HeapProfileGc => "heap-profile-gc",
            Self::GoroutineStacks => "goroutine-stacks",
            Self::GoroutineLeakProfile => "goroutine-leak-profile",
            Self::Series => "series",
            Self::Refusal => "refusal",
        }
    }
}

/// A file that was taken, before it is stored: the bytes with what they are.
#[derive(Debug, Clone, PartialEq)]
pub struct EvidenceFile {
    /// What it is.
    pub kind: EvidenceKind,
    /// From which target.
    pub target: TargetId,
    /// When it was taken.
    pub at: UnixMs,
    /// Its name in the incident's folder, such as `before-heap.pb.gz`.
    pub name: String,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// A stored evidence file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EvidenceRef {
    /// What it is.
    pub kind: EvidenceKind,
    /// From which target.
    pub target: TargetId,
    /// When it was taken.
    #[serde(with = "crate::time::rfc3339")]
    pub at: UnixMs,
    /// Its name in the incident's folder.
    pub name: String,
    /// Its size in bytes.
    pub bytes: u64,
    /// SHA-256 is not kept; this is the CRC-32 (IEEE) of the bytes, to tell a torn file.
    pub crc32: u32,
}

/// Something that happened in an incident's life.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// When.
    #[serde(with = "crate::time::rfc3339")]
    pub at: UnixMs,
    /// Stable code: `opened`, `evidence`, `refused`, `target-gone`, `target-joined`, `resolved`, ...
    pub code: String,
    /// In words.
    pub text: String,
    /// What was not taken and why, where that is what happened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<RefusedCapture>,
}

/// One incident. Its folder's `manifest.json` is this, and is the truth.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Incident {
    /// The format: `unswept/incident/1`.
    pub schema: String,
    /// Its id.
    pub id: IncidentId,
    /// Where it stands.
    pub state: IncidentState,
    /// Whose.
    pub workload: Workload,
    /// The namespace of its first target, where that has one; it stays, as alerts' labels do.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    /// The name of its first target's container, where that has one; it stays likewise.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub container: String,
    /// The code that was running when it opened.
    pub revision: Revision,
    /// Of what kind.
    pub kind: Kind,
    /// The culprit's fingerprint: its function, or its mapping class; empty while unknown.
    pub culprit: String,
    /// When it was opened.
    #[serde(with = "crate::time::rfc3339")]
    pub opened: UnixMs,
    /// When the growth began, where that can be told.
    #[serde(with = "crate::time::rfc3339::option")]
    pub onset: Option<UnixMs>,
    /// When a verdict last supported it.
    #[serde(with = "crate::time::rfc3339")]
    pub last_seen: UnixMs,
    /// When it was resolved.
    #[serde(with = "crate::time::rfc3339::option")]
    pub resolved: Option<UnixMs>,
    /// The age of the target when it opened, in seconds: its successors must reach it, clean, to
    /// resolve the incident.
    pub age_s: f64,
    /// Its targets.
    pub targets: Vec<TargetId>,
    /// The latest verdict that supports it, suspects included.
    pub verdict: Verdict,
    /// What was taken, at most from three targets.
    pub evidence: Vec<EvidenceRef>,
    /// What happened, oldest first, at most 200.
    pub timeline: Vec<Event>,
    /// The targets that evidence was taken from, each with the culprit that its own evidence names;
    /// empty while that is unknown.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub captured: BTreeMap<TargetId, String>,
    /// Those of the targets that turned out to have another culprit: another incident has them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub moved: Vec<TargetId>,
    /// How the workload's targets stood when a verdict last supported it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub siblings: Option<Siblings>,
    /// What people have answered, at most one of each sort.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub answers: Vec<Said>,
    /// Set while nobody is told of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub silence: Option<Silence>,
}

/// The running targets of an incident's workload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Siblings {
    /// Those of the revision that leaked last.
    pub of_revision: u32,
    /// Those of them that are judged a leak of the incident's kind.
    pub leaking: u32,
    /// Those of the workload, whatever they run.
    pub of_workload: u32,
}

/// The name and version of an incident's manifest.
pub const SCHEMA: &str = "unswept/incident/1";

impl Incident {
    /// Adds an event; the oldest but the first one goes when there are 200.
    pub fn note(&mut self, at: UnixMs, code: &str, text: impl Into<String>) {
        self.add(Event {
            at,
            code: code.into(),
            text: text.into(),
            refused: None,
        });
    }

    /// Adds that something was not taken, in `text` for people; once for each target, capture and
    /// reason, whatever the figures are meanwhile. Says whether it was new.
    pub fn note_refused(
        &mut self,
        at: UnixMs,
        refused: RefusedCapture,
        text: impl Into<String>,
    ) -> bool {
        let of = |refused: &RefusedCapture| {
            let why = match &refused.refusal {
                Refusal::Failed { why } => Some(why.clone()),
                _ => None,
            };
            let reason = std::mem::discriminant(&refused.refusal);
            (refused.capture, refused.target.clone(), reason, why)
        };
        let mut told = self.timeline.iter().filter_map(|e| e.refused.as_ref());
        if told.any(|have| of(have) == of(&refused)) {
            return false;
        }
        self.add(Event {
            at,
            code: "refused".into(),
            text: text.into(),
            refused: Some(refused),
        });
        true
    }

    fn add(&mut self, event: Event) {
        const EVENTS_MAX: usize = 200;
        if self.timeline.len() >= EVENTS_MAX {
            self.timeline.remove(1);
        }
        self.timeline.push(event);
    }

    /// Whether `target` belongs to it, and to no other incident of its kind.
    #[must_use]
    pub fn has_target(&self, target: &TargetId) -> bool {
        self.targets.contains(target) && !self.moved.contains(target)
    }

    /// The targets that belong to it.
    pub fn members(&self) -> impl Iterator<Item = &TargetId> {
        let moved = |target: &&TargetId| !self.moved.contains(target);
        self.targets.iter().filter(moved)
    }

    /// The answer of this sort, if there is one.
    #[must_use]
    pub fn said(&self, sort: AnswerSort) -> Option<&Said> {
        self.answers.iter().find(|said| said.answer.sort() == sort)
    }

    /// Whether it is open and people are told of it.
    #[must_use]
    pub fn wants_attention(&self) -> bool {
        self.state == IncidentState::Open && self.silence.is_none()
    }

    /// Whether somebody has said to be on it.
    #[must_use]
    pub fn is_acknowledged(&self) -> bool {
        let mut answers = self.answers.iter();
        answers.any(|said| said.answer == Answer::Acknowledged)
    }

    /// What the evidence file `base` of `target` is called in this incident's folder: of the first
    /// target so, of another with its place among the targets before it. No target's evidence takes
    /// the place of another's, and what belongs together has one beginning.
    #[must_use]
    pub fn evidence_name(&self, target: &TargetId, base: &str) -> String {
        match self.targets.iter().position(|of| of == target) {
            None | Some(0) => base.to_owned(),
            Some(at) => format!("target-{}-{base}", at + 1),
        }
    }

    /// The files `bases` of the first target that has all of them.
    #[must_use]
    pub fn evidence_of_one<const N: usize>(&self, bases: [&str; N]) -> Option<[&EvidenceRef; N]> {
        self.members().find_map(|target| {
            let found = bases.map(|base| {
                let name = self.evidence_name(target, base);
                self.evidence.iter().find(|file| file.name == name)
            });
            let all = found.into_iter().collect::<Option<Vec<_>>>()?;
            all.try_into().ok()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_told_once_for_each_reason() {
        let mut incident: Incident =
            serde_json::from_str(include_str!("../../alert/tests/data/incident.json")).unwrap();
        let mut note = |target: &str, refusal: Refusal| {
            let refused = RefusedCapture {
                capture: EvidenceKind::GoroutineStacks,
                target: TargetId(target.into()),
                refusal,
            };
            incident.note_refused(UnixMs(0), refused, "in words")
        };
        assert!(note("a", Refusal::TooSoon { wait_s: 60 }));
        assert!(!note("a", Refusal::TooSoon { wait_s: 45 }), "the same");
        assert!(note("b", Refusal::TooSoon { wait_s: 45 }), "of another");
        assert!(note("a", Refusal::GoroutinesUnknown), "for another reason");
        let failed = |why: &str| Refusal::Failed { why: why.into() };
        assert!(note("a", failed("404")) && note("a", failed("timeout")));
        let last = serde_json::to_value(incident.timeline.last()).unwrap();
        assert_eq!(last["refused"]["reason"], "failed", "{last}");
        assert_eq!(last["refused"]["why"], "timeout", "{last}");
    }
}
