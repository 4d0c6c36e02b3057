use std::collections::{BTreeMap, BTreeSet};

use model::Judgement;
use proptest::prelude::*;

use super::*;
use crate::book::tests::{MINUTE, verdict};
use crate::book::{TARGETS_CAPTURED_MAX, targets_captured};

/// What the main loop does with a leak whose evidence was taken or named: place, support or open,
/// record.
fn see(book: &mut Book, target: &str, at_min: i64, culprit: &str) -> (IncidentId, Place) {
    let verdict = verdict(target, at_min, 0, Judgement::Leak);
    let id = verdict.target.id.clone();
    let leak = Leak {
        target: &id,
        workload: &verdict.target.workload,
        kind: Kind::Goroutine,
        culprit,
    };
    let place = book.place(&leak, verdict.at);
    let incident = match &place.incident {
        Some(incident) => {
            book.support(incident, &verdict);
            incident.clone()
        }
        None => book.open(&verdict, Kind::Goroutine, culprit).id.clone(),
    };
    book.captured(&incident, &id, culprit);
    (incident, place)
}

fn members(book: &Book, id: &IncidentId) -> Vec<String> {
    let members = book.get(id).unwrap().members();
    members.map(|target| target.0.clone()).collect()
}

#[test]
fn two_targets_with_different_culprits_are_two_incidents_once_that_is_known() {
    let mut book = Book::default();
    let (first, _) = see(&mut book, "a", 10, "");
    let (same, _) = see(&mut book, "b", 11, "");
    assert_eq!(first, same, "one for the time being");
    see(&mut book, "a", 12, "main.f");
    let (second, place) = see(&mut book, "b", 13, "main.g");
    assert_eq!(place.left, Some(first.clone()));
    assert_ne!(first, second);
    assert_eq!(members(&book, &first), ["a"]);
    assert_eq!(members(&book, &second), ["b"]);
    let told = &book.get(&first).unwrap().timeline;
    assert!(told.iter().any(|event| event.code == "target-moved"));
    assert_eq!(
        book.get(&first).unwrap().targets.len(),
        2,
        "places in the list name files: they stay"
    );
    let (third, _) = see(&mut book, "c", 14, "main.g");
    assert_eq!(
        third, second,
        "a restart or a replica with the same culprit"
    );
    let (again, _) = see(&mut book, "b", 15, "");
    assert_eq!(
        again, second,
        "a later look that names nobody changes nothing"
    );
}

#[test]
fn the_same_culprit_is_one_incident_whoever_is_named_first() {
    let mut book = Book::default();
    let (first, _) = see(&mut book, "a", 10, "");
    let (second, _) = see(&mut book, "b", 11, "main.f");
    let (third, place) = see(&mut book, "a", 12, "main.f");
    assert_eq!((&first, &first), (&second, &third));
    assert_eq!(place.left, None);
    assert_eq!(book.get(&first).unwrap().culprit, "main.f");
}

#[test]
fn one_without_a_culprit_ends_in_the_one_that_it_turns_out_to_be() {
    let mut book = Book::default();
    let leak = |target| verdict(target, 10, 0, Judgement::Leak);
    // As a watcher from before may have left them.
    let known = book.open(&leak("a"), Kind::Goroutine, "main.f").id.clone();
    let unknown = book.open(&leak("b"), Kind::Goroutine, "").id.clone();
    book.captured(&unknown, &TargetId("b".into()), "");
    let (place, how) = see(&mut book, "b", 12, "main.f");
    assert_eq!(place, known);
    assert_eq!(how.merged, std::slice::from_ref(&unknown));
    assert_eq!(members(&book, &known), ["a", "b"]);
    let old = book.get(&unknown).unwrap();
    assert_eq!(old.state, IncidentState::Resolved);
    assert_eq!(
        old.timeline.last().unwrap().text,
        format!("it turned out to be {known}")
    );
}

#[test]
fn what_a_targets_evidence_has_named_stays_named() {
    let mut book = Book::default();
    let (first, _) = see(&mut book, "a", 10, "main.f");
    let (second, place) = see(&mut book, "a", 12, "main.g");
    assert_eq!((first, None), (second, place.left));
}

#[test]
fn evidence_is_of_three_targets_and_the_rest_is_told() {
    let mut book = Book::default();
    for target in ["a", "b", "c"] {
        see(&mut book, target, 10, "main.f");
    }
    let fourth = verdict("d", 11, 0, Judgement::Leak);
    let shop = fourth.target.workload.clone();
    let id = book.open_of(&shop, Kind::Goroutine).unwrap().id.clone();
    assert_eq!(
        targets_captured(book.get(&id).unwrap()),
        TARGETS_CAPTURED_MAX
    );
    let incident = book.support(&id, &fourth).unwrap();
    let told = &incident.timeline.last().unwrap().text;
    assert!(
        told.ends_with("leaks too; not captured: already three"),
        "{told}"
    );
}

/// What holds whatever is seen in whatever order.
fn holds(book: &Book, named: &BTreeMap<String, String>) {
    let open: Vec<&Incident> = book
        .latest()
        .map(|incident| &**incident)
        .filter(|incident| incident.state == IncidentState::Open)
        .collect();
    let culprits: BTreeSet<&str> = open.iter().map(|i| i.culprit.as_str()).collect();
    assert_eq!(culprits.len(), open.len(), "one incident a culprit");
    for (target, culprit) in named {
        let id = TargetId(target.clone());
        let of: Vec<&&Incident> = open.iter().filter(|i| i.has_target(&id)).collect();
        assert_eq!(of.len(), 1, "{target} is in one incident");
        if !culprit.is_empty() {
            assert_eq!(of[0].culprit, *culprit, "{target} is where its culprit is");
        }
    }
    for incident in open {
        assert!(
            incident.members().next().is_some(),
            "nobody's incident is open"
        );
    }
}

proptest! {
    #[test]
    fn every_leak_is_in_one_incident_and_every_culprit_has_one(
        seen in prop::collection::vec((0..6_usize, 0..4_usize), 1..60),
    ) {
        let mut book = Book::default();
        let mut named = BTreeMap::new();
        for (at, (target, culprit)) in (1..).zip(seen) {
            let target = ["a", "b", "c", "d", "e", "f"][target];
            let culprit = ["", "main.f", "main.g", "main.h"][culprit];
            see(&mut book, target, at * MINUTE, culprit);
            let known: &mut String = named.entry(target.to_owned()).or_default();
            if known.is_empty() {
                culprit.clone_into(known);
            }
            holds(&book, &named);
        }
    }
}
