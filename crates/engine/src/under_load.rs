//! Evidence for a leak beneath a load that goes up and down: more heap profiles, spread over one swing of
//! the load, so that who grew can be told from how the load stood.

use std::time::Duration;

use collect::Source;
use locate::{Evidence, Interpretation, Look, OverTime, Request};
use model::{EvidenceFile, EvidenceKind, Finding, Kind, TargetId};
use profile::{Limits, Profile};
use store::Store;
use tokio::sync::watch;

use crate::evidence::{Subject, Terms};
use crate::rails::Standing;
use crate::ring_files;

/// The profiles after the first: together they stand at the quarters of a swing.
const PREFIXES: [&str; 3] = ["swing-1", "swing-2", "swing-3"];
/// An incident waits no longer than this for each.
const PAUSE_MAX: Duration = Duration::from_secs(100);
/// What the incident's first heap profile is called, and the one that is shown.
const SHOWN: &str = "after-heap.pb.gz";

/// How long to wait between two profiles for `finding`; `None` where the load plays no part in it.
pub(crate) fn pause(finding: &Finding, period: Duration) -> Option<Duration> {
    let mut why = finding.why.iter();
    let reason = why.find(|reason| reason.code == "load-taken-out")?;
    let swing = reason.values.get("swing_seconds").copied()?;
    let quarter = Duration::try_from_secs_f64(swing / 4.0).ok()?;
    (finding.kind == Some(Kind::GoHeap)).then_some(quarter.min(PAUSE_MAX).max(period))
}

/// Takes the other heap profiles of a swing. What is refused or fails ends it: the target may be gone.
pub(crate) async fn take(
    subject: &Subject,
    source: &Source,
    terms: &Terms,
    pause: Duration,
    standing: watch::Receiver<Standing>,
) -> Vec<EvidenceFile> {
    let mut files = Vec::new();
    for prefix in PREFIXES {
        tokio::time::sleep(pause).await;
        let standing = standing.borrow().clone();
        let terms = Terms {
            prefix,
            ..Terms::for_ring(standing, &terms.settings).refused_by(terms.refused.clone())
        };
        let capture = subject.capture(source, &[Request::Heap], &terms).await;
        if capture.look.heap.is_none() {
            break;
        }
        files.extend(capture.files);
    }
    files
}

/// Reads who grew beneath the load out of the profile `before`, those that the target's ring has since, and
/// those among `files`. Where it can be told, the file of them at the load most like that of `before` is the one
/// that is shown from now on.
pub(crate) fn interpret(
    store: &Store,
    target: &TargetId,
    finding: &Finding,
    before: &[EvidenceFile],
    files: &mut [EvidenceFile],
    main_module: Option<&str>,
) -> Option<Interpretation> {
    let is_heap = |file: &&EvidenceFile| file.kind == EvidenceKind::HeapProfile;
    let per_minute = finding.growth.as_ref()?.per_minute;
    let first = before.iter().find(is_heap)?;
    let begun = files.iter().filter(is_heap).map(|file| file.at).min()?;
    let mut over_time = OverTime::default();
    let taken = files.iter().filter(is_heap).cloned();
    let ring = ring_files::heaps(store, target, first.at, begun);
    for file in ring.chain(taken) {
        if let Some(heap) = read(&file.bytes) {
            over_time.add(file.at, &heap, main_module);
        }
    }
    let like = over_time.at_like_load(per_minute, begun)?;
    let shown = files
        .iter()
        .position(|file| file.kind == EvidenceKind::HeapProfile && file.at == like)?;
    let before = Look {
        heap: read(&first.bytes),
        ..Look::default()
    };
    let after = Look {
        heap: read(&files[shown].bytes),
        ..Look::default()
    };
    let evidence = Evidence {
        before: &before,
        after: &after,
        main_module,
    };
    let found = over_time.interpret(&evidence, per_minute)?;
    if let Some(now) = files.iter().position(|file| file.name == SHOWN) {
        let name = std::mem::replace(&mut files[shown].name, SHOWN.into());
        if now != shown {
            files[now].name = name;
        }
    }
    Some(found)
}

fn read(bytes: &[u8]) -> Option<Profile> {
    Profile::parse(bytes, &Limits::default()).ok()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use model::{Growth, Judgement, Reason, UnixMs};

    use super::*;

    fn finding(code: &str, swing_s: f64) -> Finding {
        Finding {
            verdict: Judgement::Leak,
            kind: Some(Kind::GoHeap),
            confidence: Some(0.9),
            onset: None,
            growth: Some(Growth {
                unit: "bytes".into(),
                per_minute: 2.0 * 1_048_576.0,
                low: 0.0,
                high: 0.0,
                level: 0.95,
            }),
            why: vec![Reason {
                code: code.into(),
                speaks_for: Judgement::Leak,
                values: BTreeMap::from([("swing_seconds".to_owned(), swing_s)]),
                text: String::new(),
            }],
            suspects: Vec::new(),
            advice: Vec::new(),
        }
    }

    #[test]
    fn profiles_stand_at_the_quarters_of_a_swing() {
        let period = Duration::from_secs(5);
        let pause = |code, swing_s| pause(&finding(code, swing_s), period);
        let rows = [
            ("a short day", 60.0, Some(15)),
            ("no shorter than a period", 4.0, Some(5)),
            ("no longer than an incident may wait", 86_400.0, Some(100)),
            ("broken", f64::NAN, None),
        ];
        for (name, swing_s, want) in rows {
            let want = want.map(Duration::from_secs);
            assert_eq!(pause("load-taken-out", swing_s), want, "{name}");
        }
        assert_eq!(pause("load-unrelated", 60.0), None);
    }

    /// `load` MiB of checkouts, and two a minute that leak.
    fn file(name: &str, minute: i64, load: i64) -> EvidenceFile {
        let mut heap = profile::ProfileBuilder::new(&[("inuse_space", "bytes")]);
        for (at, (name, mib)) in (1..).zip([("main.checkout", load), ("main.keep", 2 * minute)]) {
            let function = heap.function(name, "main.go", 1);
            let frame = heap.location(at, &[(function, 7)]);
            heap.sample(&[frame], &[mib << 20]);
        }
        EvidenceFile {
            kind: EvidenceKind::HeapProfile,
            target: TargetId("t".into()),
            at: UnixMs(minute * 60_000),
            name: name.into(),
            bytes: heap.build().unwrap().to_gzip(),
        }
    }

    #[test]
    fn the_leak_is_named_and_the_profile_at_like_load_is_shown() {
        let folder = tempfile::tempdir().unwrap();
        let clock = Arc::new(model::SimClock::new(UnixMs(0)));
        let store = Store::open(folder.path(), &store::Options::default(), clock).unwrap();
        let target = TargetId("t".into());
        let before = file("before-heap.pb.gz", 0, 10);
        for ring in [
            file("ring-heap.pb.gz", 0, 10),
            file("ring-heap.pb.gz", 3, 30),
        ] {
            store.put_ring(&target, &ring).unwrap();
        }
        let mut files = [
            file("after-heap.pb.gz", 8, 40),
            file("swing-1-heap.pb.gz", 9, 11),
            file("swing-2-heap.pb.gz", 10, 25),
        ];
        let leak = finding("load-taken-out", 60.0);
        let mut interpret =
            |before: &[EvidenceFile]| interpret(&store, &target, &leak, before, &mut files, None);
        assert_eq!(interpret(&[]), None, "nothing from before");
        let found = interpret(&[before]).unwrap();
        assert_eq!(found.suspects[0].function, "main.keep");
        assert!(
            found.suspects[0]
                .note
                .as_deref()
                .unwrap()
                .contains("5 heap profiles")
        );
        let names = files.map(|file| (file.name, file.at.0 / 60_000));
        let want = [
            ("swing-1-heap.pb.gz", 8),
            ("after-heap.pb.gz", 9),
            ("swing-2-heap.pb.gz", 10),
        ];
        assert_eq!(names, want.map(|(name, minute)| (name.to_owned(), minute)));
    }
}
