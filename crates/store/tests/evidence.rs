//! Incidents, their evidence and the rings, seen from outside.
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use model::{
    EvidenceFile, EvidenceKind, Incident, IncidentId, IncidentState, SimClock, TargetId, UnixMs,
};
use store::{Options, Store, StoreError};

const NOW: UnixMs = UnixMs(1_795_300_200_000);

fn open_with(dir: &Path, evidence_bytes_max: u64) -> Store {
    let options = Options {
        evidence_bytes_max,
        background: false,
        ..Options::default()
    };
    Store::open(dir, &options, Arc::new(SimClock::new(NOW))).unwrap()
}

fn open(dir: &Path) -> Store {
    open_with(dir, 1 << 30)
}

fn id(text: &str) -> IncidentId {
    IncidentId(text.into())
}

fn file(name: &str, bytes: Vec<u8>) -> EvidenceFile {
    EvidenceFile {
        kind: EvidenceKind::HeapProfile,
        target: TargetId("00ff".into()),
        at: NOW,
        name: name.into(),
        bytes,
    }
}

fn incident(name: &str, state: IncidentState, opened_s: i64) -> Incident {
    let opened = UnixMs(NOW.0 + opened_s * 1_000);
    let json = serde_json::json!({
        "schema": model::incident::SCHEMA, "id": name, "state": state, "workload": "shop",
        "revision": "r1", "kind": "go-heap", "culprit": "main.put", "opened": opened.rfc3339(),
        "onset": null, "last_seen": opened.rfc3339(), "age_s": 60.0, "targets": ["00ff"],
        "resolved": (state == IncidentState::Resolved).then(|| opened.rfc3339()),
        "evidence": [], "timeline": [],
        "verdict": {
            "schema": "unswept/verdict/1", "id": "v", "at": opened.rfc3339(),
            "window": {"from": opened.rfc3339(), "to": opened.rfc3339()},
            "target": {
                "id": "00ff", "name": "shop", "pid": null, "start_time": null, "host": "h",
                "boot_id": null, "url": null, "container": null, "pod": null, "workload": "shop",
                "revision": "r1", "go_version": null, "module": null, "labels": {},
            },
            "verdict": "leak", "kind": "go-heap", "confidence": 0.9, "limit_bytes": null,
            "limit_source": null, "seconds_to_limit": null, "components": [], "findings": [],
            "suspects": [], "evidence": [],
        },
    });
    serde_json::from_value(json).unwrap()
}

/// Saves an incident with one evidence file of `bytes`.
fn save(store: &Store, name: &str, state: IncidentState, opened_s: i64, bytes: usize) -> Incident {
    let mut incident = incident(name, state, opened_s);
    let stored = store
        .put_evidence(&id(name), &file("heap.pb.gz", vec![7; bytes]))
        .unwrap();
    incident.evidence.push(stored);
    store.save_incident(&incident).unwrap();
    incident
}

#[test]
fn an_incident_lives_through_a_restart_with_its_evidence() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let saved = save(
        &store,
        "2026-11-21-shop-ab12",
        IncidentState::Open,
        0,
        1_000,
    );
    drop(store);
    let store = open(dir.path());
    assert_eq!(store.incidents(), std::slice::from_ref(&saved));
    assert_eq!(store.incident(&saved.id), Some(saved.clone()));
    assert_eq!(
        store.read_evidence(&saved.id, "heap.pb.gz").unwrap(),
        Some(vec![7; 1_000])
    );
    assert_eq!(store.read_evidence(&saved.id, "other").unwrap(), None);
    assert_eq!(store.problems(), []);
    let folder = dir.path().join("incidents").join(&saved.id.0);
    for (path, mode) in [
        (folder.clone(), 0o700),
        (folder.join("manifest.json"), 0o600),
        (folder.join("heap.pb.gz"), 0o600),
    ] {
        let have = fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        assert_eq!(have, mode, "{}", path.display());
    }
}

#[test]
fn evidence_is_checked_and_never_overwritten() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let a = id("a");
    let first = store.put_evidence(&a, &file("x", vec![1; 10])).unwrap();
    let second = store.put_evidence(&a, &file("x", vec![2; 10])).unwrap();
    assert_eq!((first.name.as_str(), second.name.as_str()), ("x", "2-x"));
    let manifest = store
        .put_evidence(&a, &file("manifest.json", vec![3; 10]))
        .unwrap();
    assert_eq!(manifest.name, "2-manifest.json");
    assert_eq!(store.read_evidence(&a, "x").unwrap(), Some(vec![1; 10]));
    for (name, bytes) in [
        ("a bit", vec![9; 10]),
        ("torn", vec![1; 9]),
        ("longer", vec![1; 11]),
    ] {
        fs::write(dir.path().join("incidents/a/x"), bytes).unwrap();
        let error = store.read_evidence(&a, "x").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{name}");
    }
}

#[test]
fn names_cannot_leave_the_folder() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    for bad in ["../x", "..", "", "a/b", ".tmp-x"] {
        let put = store.put_evidence(&id("a"), &file(bad, vec![]));
        assert!(matches!(put, Err(StoreError::BadName { .. })), "{bad}");
        let put = store.put_evidence(&id(bad), &file("x", vec![]));
        assert!(matches!(put, Err(StoreError::BadName { .. })), "{bad}");
        let read = store.read_evidence(&id("a"), bad).unwrap_err();
        assert_eq!(read.kind(), io::ErrorKind::InvalidInput, "{bad}");
        let ring = store.put_ring(&TargetId(bad.into()), &file("x", vec![]));
        assert!(matches!(ring, Err(StoreError::BadName { .. })), "{bad}");
        assert!(
            store
                .save_incident(&incident(bad, IncidentState::Open, 0))
                .is_err(),
            "{bad}"
        );
    }
}

#[test]
fn an_unreadable_manifest_is_set_aside_and_said() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let names = ["good", "torn", "garbage", "foreign", "newer", "none"];
    for name in names {
        save(&store, name, IncidentState::Open, 0, 10);
    }
    drop(store);
    let manifest = |name: &str| {
        dir.path()
            .join("incidents")
            .join(name)
            .join("manifest.json")
    };
    let good = fs::read_to_string(manifest("good")).unwrap();
    fs::write(manifest("torn"), &good[..good.len() / 2]).unwrap();
    fs::write(manifest("garbage"), [0xff; 100]).unwrap();
    fs::write(manifest("foreign"), &good).unwrap();
    fs::write(
        manifest("newer"),
        r#"{"schema": "unswept/incident/2", "all": "new"}"#,
    )
    .unwrap();
    fs::remove_file(manifest("none")).unwrap();

    let store = open(dir.path());
    let ids: Vec<_> = store
        .incidents()
        .into_iter()
        .map(|incident| incident.id.0)
        .collect();
    assert_eq!(ids, ["good"]);
    let mut said: Vec<(String, bool)> = Vec::new();
    for problem in store.problems() {
        let name = problem
            .path
            .file_name()
            .unwrap()
            .to_str()
            .unwrap()
            .to_owned();
        said.push((name, problem.reason.contains("set aside")));
    }
    said.sort();
    let said: Vec<_> = said
        .iter()
        .map(|(name, aside)| (name.as_str(), *aside))
        .collect();
    let expected = [
        ("foreign", true),
        ("garbage", true),
        ("newer", false),
        ("none", false),
        ("torn", true),
    ];
    assert_eq!(said, expected);
    assert!(
        manifest("newer").exists(),
        "a later release's is left alone"
    );
    assert!(!manifest("torn").exists() && manifest("torn").with_file_name("heap.pb.gz").exists());
}

#[test]
fn the_budget_takes_resolved_incidents_first_and_open_ones_last() {
    let dir = tempfile::tempdir().unwrap();
    let store = open_with(dir.path(), 1_000);
    save(&store, "open-old", IncidentState::Open, 0, 300);
    save(&store, "resolved-late", IncidentState::Resolved, 20, 200);
    save(&store, "resolved-early", IncidentState::Resolved, 10, 200);
    store
        .put_ring(&TargetId("t".into()), &file("ring", vec![1; 200]))
        .unwrap();
    let left = |store: &Store| {
        let mut left: Vec<String> = store
            .incidents()
            .into_iter()
            .filter(|incident| !incident.evidence.is_empty())
            .map(|incident| incident.id.0)
            .collect();
        left.extend(
            store
                .ring(&TargetId("t".into()))
                .into_iter()
                .map(|stored| stored.name),
        );
        left
    };
    assert_eq!(
        left(&store),
        ["open-old", "resolved-early", "resolved-late", "ring"]
    );
    save(&store, "n1", IncidentState::Open, 30, 300);
    assert_eq!(left(&store), ["n1", "open-old", "resolved-late", "ring"]);
    save(&store, "n2", IncidentState::Open, 40, 200);
    assert_eq!(left(&store), ["n1", "n2", "open-old", "ring"]);
    save(&store, "n3", IncidentState::Open, 50, 200);
    assert_eq!(left(&store), ["n1", "n2", "n3", "open-old"]);
    let stats = store.stats();
    assert_eq!(
        (stats.evidence_bytes, stats.evidence_bytes_max),
        (1_000, 1_000)
    );
    save(&store, "n4", IncidentState::Open, 60, 100);
    assert_eq!(
        left(&store),
        ["n1", "n2", "n3", "n4"],
        "the oldest open one goes last of all"
    );
    let dropped = store.incident(&id("open-old")).unwrap();
    assert_eq!(dropped.timeline.last().unwrap().code, "evidence-dropped");
    let big = store.put_evidence(&id("n4"), &file("big", vec![0; 1_001]));
    assert!(matches!(big, Err(StoreError::OverBudget { .. })));
    drop(store);
    assert_eq!(open(dir.path()).incident(&id("open-old")).unwrap(), dropped);
}

#[test]
fn a_ring_is_listed_newest_first_and_read_back() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let target = TargetId("00ff".into());
    for at in 0..10_u8 {
        let mut snapshot = file("heap.pb.gz", vec![at; 100]);
        snapshot.at = UnixMs(NOW.0 + i64::from(at) * 600_000);
        store.put_ring(&target, &snapshot).unwrap();
    }
    drop(store);
    let store = open(dir.path());
    let ring = store.ring(&target);
    assert_eq!(ring.len(), 6);
    assert!(ring.is_sorted_by(|a, b| a.at > b.at));
    assert_eq!(store.read_ring(&ring[0]).unwrap(), Some(vec![9; 100]));
    let mut gone = ring[0].clone();
    gone.at = UnixMs(1);
    assert_eq!(store.read_ring(&gone).unwrap(), None);
}

#[test]
fn resolved_incidents_are_bounded_in_number() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options {
        incidents_max: 3,
        background: false,
        ..Options::default()
    };
    let store = Store::open(dir.path(), &options, Arc::new(SimClock::new(NOW))).unwrap();
    for number in 0..5 {
        save(
            &store,
            &format!("r{number}"),
            IncidentState::Resolved,
            number,
            1,
        );
    }
    for number in 0..2 {
        save(
            &store,
            &format!("o{number}"),
            IncidentState::Open,
            number,
            1,
        );
    }
    let ids: Vec<_> = store
        .incidents()
        .into_iter()
        .map(|incident| incident.id.0)
        .collect();
    assert_eq!(ids, ["o0", "o1", "r4"]);
}

#[test]
fn what_people_have_answered_outlives_what_nobody_has() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options {
        incidents_max: 2,
        background: false,
        ..Options::default()
    };
    let store = Store::open(dir.path(), &options, Arc::new(SimClock::new(NOW))).unwrap();
    let mut marked = incident("marked", IncidentState::Resolved, 0);
    marked.answers.push(model::Said {
        answer: model::Answer::FalseAlarm,
        at: NOW,
        by: "alice".into(),
        note: String::new(),
    });
    store.save_incident(&marked).unwrap();
    for number in 1..4 {
        save(
            &store,
            &format!("r{number}"),
            IncidentState::Resolved,
            number,
            1,
        );
    }
    let kept: Vec<_> = store.incidents().into_iter().map(|i| i.id.0).collect();
    assert_eq!(kept, ["marked", "r3"]);
    drop(store);
    let again = Store::open(dir.path(), &options, Arc::new(SimClock::new(NOW))).unwrap();
    assert_eq!(again.incident(&marked.id), Some(marked));
}

#[test]
fn a_manifest_of_before_is_read_as_nobody_having_answered() {
    let before = include_str!("../../alert/tests/data/incident.json");
    assert!(!before.contains("answers") && !before.contains("captured"));
    let dir = tempfile::tempdir().unwrap();
    let options = Options {
        background: false,
        ..Options::default()
    };
    let open = || Store::open(dir.path(), &options, Arc::new(SimClock::new(NOW))).unwrap();
    drop(open());
    let id = "20261121-shop-0011223344556677";
    let folder = dir.path().join("incidents").join(id);
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("manifest.json"), before).unwrap();
    let store = open();
    assert_eq!(store.problems(), []);
    let read = store.incident(&IncidentId(id.into())).unwrap();
    assert!(read.answers.is_empty() && read.silence.is_none() && read.moved.is_empty());
    store.save_incident(&read).unwrap();
    let written = fs::read_to_string(folder.join("manifest.json")).unwrap();
    assert!(
        !written.contains("answers"),
        "nothing is said that nobody said"
    );
}
