//! What the ring and the series have of a target, as files of an incident.

use std::time::Duration;

use model::{
    Budget, Cancel, EvidenceFile, EvidenceKind, EvidenceRef, Matcher, SeriesRead, TARGET_LABEL,
    TargetId, UnixMs,
};
use store::Store;

const KINDS: [(EvidenceKind, &str); 3] = [
    (EvidenceKind::HeapProfile, "heap.pb.gz"),
    (EvidenceKind::GoroutineProfile, "goroutine.pb.gz"),
    (EvidenceKind::Mappings, "mappings.json"),
];

/// So far back the last series reach,
const SERIES_WINDOW: Duration = Duration::from_secs(3_600);
/// with so many samples of each, the latest,
const SAMPLES_EACH: usize = 240;
/// of at most so many series.
const SERIES_MAX: usize = 200;
const SAMPLES_READ_MAX: u64 = 1_000_000;

/// Of each kind of file the ring's snapshot nearest before the onset, else the oldest, named
/// `before-...`.
pub(crate) fn before(store: &Store, target: &TargetId, onset: Option<UnixMs>) -> Vec<EvidenceFile> {
    let mut files = Vec::new();
    for (of_kind, name) in by_kind(store, target) {
        if let Some(chosen) = earlier(&of_kind, onset) {
            files.extend(file(store, chosen, format!("before-{name}")));
        }
    }
    files
}

/// The same, and the newest of each kind, named `after-...`. One that is alone is an `after`.
pub(crate) fn around(
    store: &Store,
    target: &TargetId,
    onset: Option<UnixMs>,
) -> (Vec<EvidenceFile>, Vec<EvidenceFile>) {
    let (mut before, mut after) = (Vec::new(), Vec::new());
    for (of_kind, name) in by_kind(store, target) {
        let Some((newest, older)) = of_kind.split_last() else {
            continue;
        };
        after.extend(file(store, newest, format!("after-{name}")));
        if let Some(chosen) = earlier(older, onset) {
            before.extend(file(store, chosen, format!("before-{name}")));
        }
    }
    (before, after)
}

/// Its heap profiles from `from` on and before `to`, the oldest first, each read as it is asked for.
pub(crate) fn heaps(
    store: &Store,
    target: &TargetId,
    from: UnixMs,
    to: UnixMs,
) -> impl Iterator<Item = EvidenceFile> {
    let mut ring = store.ring(target);
    ring.sort_by_key(|snapshot| snapshot.at);
    ring.retain(|one| one.kind == EvidenceKind::HeapProfile && one.at >= from && one.at < to);
    ring.into_iter()
        .filter_map(|one| file(store, &one, one.name.clone()))
}

/// Its snapshots by kind, the oldest first.
fn by_kind(
    store: &Store,
    target: &TargetId,
) -> impl Iterator<Item = (Vec<EvidenceRef>, &'static str)> {
    let mut ring = store.ring(target);
    ring.sort_by_key(|snapshot| snapshot.at);
    KINDS.into_iter().map(move |(kind, name)| {
        let of_kind = ring.iter().filter(|snapshot| snapshot.kind == kind);
        (of_kind.cloned().collect(), name)
    })
}

fn earlier(of_kind: &[EvidenceRef], onset: Option<UnixMs>) -> Option<&EvidenceRef> {
    let is_before = |s: &&EvidenceRef| onset.is_some_and(|onset| s.at <= onset);
    of_kind.iter().rev().find(is_before).or(of_kind.first())
}

fn file(store: &Store, stored: &EvidenceRef, name: String) -> Option<EvidenceFile> {
    let bytes = store.read_ring(stored).ok()??;
    Some(EvidenceFile {
        kind: stored.kind,
        target: stored.target.clone(),
        at: stored.at,
        name,
        bytes,
    })
}

/// The target's latest series, as Prometheus' API writes a matrix.
pub(crate) fn last_series(
    series: &dyn SeriesRead,
    target: &TargetId,
    now: UnixMs,
) -> Option<EvidenceFile> {
    let matchers = [Matcher::equal(TARGET_LABEL, target.0.as_str())];
    let budget = Budget::samples(SAMPLES_READ_MAX);
    let from = now.before(SERIES_WINDOW);
    let found = series.select(&matchers, from, now, &budget, &Cancel::default());
    let rows = found.ok()?.into_iter().take(SERIES_MAX).map(|series| {
        let late = series.samples.len().saturating_sub(SAMPLES_EACH);
        let values = series.samples[late..].iter();
        let values = values.map(|s| (s.t.0 as f64 / 1000.0, s.v.to_string()));
        let metric: std::collections::BTreeMap<&str, &str> = series.labels.iter().collect();
        serde_json::json!({"metric": metric, "values": values.collect::<Vec<_>>()})
    });
    let rows: Vec<serde_json::Value> = rows.collect();
    let matrix = serde_json::json!({"resultType": "matrix", "result": rows});
    Some(EvidenceFile {
        kind: EvidenceKind::Series,
        target: target.clone(),
        at: now,
        name: "last-series.json".into(),
        bytes: serde_json::to_vec(&matrix).ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot(minute: i64) -> EvidenceRef {
        EvidenceRef {
            kind: EvidenceKind::HeapProfile,
            target: TargetId("t".into()),
            at: UnixMs(minute * 60_000),
            name: "ring-heap.pb.gz".into(),
            bytes: 1,
            crc32: 0,
        }
    }

    #[test]
    fn the_nearest_before_the_onset_else_the_oldest() {
        let ring = [snapshot(10), snapshot(20), snapshot(30)];
        let at = |minute: i64| Some(UnixMs(minute * 60_000));
        for (name, onset, want) in [
            ("between", at(25), 20),
            ("at the moment", at(20), 20),
            ("before all", at(5), 10),
            ("after all", at(99), 30),
            ("unknown", None, 10),
        ] {
            let chosen = earlier(&ring, onset).unwrap();
            assert_eq!(chosen.at.0 / 60_000, want, "{name}");
        }
        assert!(earlier(&[], at(5)).is_none());
    }
}
