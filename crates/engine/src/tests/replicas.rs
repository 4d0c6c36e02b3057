//! Many replicas of one workload leak, or die, at once: one incident, and evidence of three of them.

use std::collections::BTreeSet;
use std::time::Duration;

use collect::Endpoint;
use locate::Interpretation;
use model::{
    EvidenceFile, EvidenceKind, Incident, IncidentState, Judgement, Kind, TargetId, UnixMs, Verdict,
};

use super::held::Held;
use crate::book::{TARGETS_CAPTURED_MAX, tests::verdict};
use crate::cause::Cause;
use crate::deaths::Death;
use crate::leaks::Captured;
use crate::tracked::Tracked;

const REPLICAS: u32 = 7;

fn name(replica: u32) -> TargetId {
    TargetId(format!("replica-{replica}"))
}

fn leak(replica: u32) -> Verdict {
    verdict(&name(replica).0, 10, 0, Judgement::Leak)
}

fn file(replica: u32) -> EvidenceFile {
    EvidenceFile {
        kind: EvidenceKind::HeapProfile,
        target: name(replica),
        at: UnixMs(0),
        name: "after-heap.pb.gz".into(),
        bytes: vec![7; 100],
    }
}

fn found(verdict: &Verdict) -> Interpretation {
    Interpretation {
        suspects: verdict.findings[0].suspects.clone(),
        ..Interpretation::default()
    }
}

fn assert_three_are_captured(incident: &Incident) {
    let of: BTreeSet<&TargetId> = incident.evidence.iter().map(|file| &file.target).collect();
    assert_eq!(of.len(), TARGETS_CAPTURED_MAX, "{:#?}", incident.evidence);
    assert_eq!(incident.targets.len(), REPLICAS as usize, "all are listed");
}

#[tokio::test]
async fn those_that_die_together_are_one_incident() {
    let mut held = Held::idle();
    for replica in 0..REPLICAS {
        let verdict = leak(replica);
        held.main.died(Death {
            target: name(replica),
            at: UnixMs(0),
            cause: Cause::OutOfMemory,
            text: "killed for lack of memory".into(),
            kind: Kind::GoHeap,
            found: found(&verdict),
            verdict,
            files: vec![file(replica)],
        });
    }
    held.settle().await;
    assert_three_are_captured(&held.the_incident());
}

#[tokio::test]
async fn those_that_are_captured_together_are_one_incident() {
    let mut held = Held::idle();
    for replica in 0..REPLICAS {
        let verdict = leak(replica);
        held.main.captured(Captured {
            target: name(replica),
            kind: Kind::GoHeap,
            found: found(&verdict),
            verdict,
            files: vec![file(replica)],
            refusals: Vec::new(),
            notes: Vec::new(),
            was_outside: false,
        });
    }
    held.settle().await;
    assert_three_are_captured(&held.the_incident());
}

#[tokio::test]
async fn a_leak_whose_incident_was_resolved_too_early_opens_it_again_at_once() {
    let mut held = Held::idle();
    let verdict = leak(1);
    let target = verdict.target.clone();
    let mut tracked = Tracked::new(
        target.clone(),
        Endpoint::default(),
        Duration::from_millis(100),
    );
    tracked
        .captured_at
        .insert(Kind::GoHeap, held.main.clock().monotonic());
    held.main.targets.insert(target.id.clone(), tracked);
    let id = held.main.book.open(&verdict, Kind::GoHeap, "").id.clone();
    let incident = held.main.book.get_mut(&id).unwrap();
    incident.state = IncidentState::Resolved;
    incident.resolved = Some(verdict.at);

    held.main.weigh(&target.id, verdict.clone());
    let state = |held: &Held| held.main.book.get(&id).unwrap().state;
    assert_eq!(state(&held), IncidentState::Resolved, "once may be chance");
    held.main.weigh(&target.id, verdict);
    assert_eq!(state(&held), IncidentState::Open);
    assert!(held.main.told.contains(&id), "people hear of it");
    let kept = held.the_incident();
    assert_eq!(kept.state, IncidentState::Open);
    assert_eq!(kept.resolved, None);
    assert!(kept.timeline.iter().any(|event| event.code == "reopened"));
}
