//! Every file of a data directory with a byte flipped or its end cut off: the store opens and says what is
//! wrong, no sample is another than was stored, and the rest is there.
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use model::{
    Append, Batch, Budget, Cancel, EvidenceFile, EvidenceKind, Incident, IncidentId, Labels,
    Matcher, Sample, Series, SeriesRead, SimClock, TargetId, UnixMs,
};
use store::{Options, Store, StoreError};

const NOW: UnixMs = UnixMs(1_795_300_200_000);
const SERIES: usize = 100;
/// So many that tables of chunks are written beside the journal.
const ROUNDS: u64 = 3_600;
/// What is done to each file, beside cutting it off in its middle.
const FLIPS: u64 = 1;
/// A file as big as this was allocated before it's written: only what is written of it is damaged.
const ALLOCATED: u64 = 8 << 20;

fn open(dir: &Path) -> Result<Store, StoreError> {
    let options = Options {
        background: false,
        // Small, so that there are checkpoints and chunks.
        journal_bytes_max: 200_000,
        ..Options::default()
    };
    let clock = SimClock::new(NOW.after(Duration::from_secs(10 * ROUNDS)));
    Store::open(dir, &options, Arc::new(clock))
}

fn labels(series: usize) -> Labels {
    Labels::metric("m", [("series", format!("{series:02}").as_str())])
}

fn value(round: u64, series: usize) -> f64 {
    (round as f64 + series as f64).sin()
}

fn file(name: &str) -> EvidenceFile {
    EvidenceFile {
        kind: EvidenceKind::HeapProfile,
        target: TargetId("00ff".into()),
        at: NOW,
        name: name.into(),
        bytes: name.repeat(100).into_bytes(),
    }
}

/// A data directory with all kinds of files.
fn fill(dir: &Path) {
    let store = open(dir).unwrap();
    for round in 0..ROUNDS {
        let sample = |series| Sample {
            t: NOW.after(Duration::from_secs(10 * round)),
            v: value(round, series),
        };
        let samples = (0..SERIES).map(|of| (labels(of), sample(of))).collect();
        assert_eq!(store.append(&Batch { samples }).unwrap().stored, SERIES);
    }
    store.sync().unwrap();
    for name in ["first", "second"] {
        let id = IncidentId(name.into());
        let stored = store.put_evidence(&id, &file("heap.pb.gz")).unwrap();
        let text = include_str!("../../alert/tests/data/incident.json");
        let mut incident: Incident = serde_json::from_str(text).unwrap();
        incident.id = id;
        incident.evidence = vec![stored];
        store.save_incident(&incident).unwrap();
    }
    let target = TargetId("00ff".into());
    store.put_ring(&target, &file("ring-heap.pb.gz")).unwrap();
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().flatten() {
        let to = to.join(entry.file_name());
        match entry.path().is_dir() {
            true => copy(&entry.path(), &to),
            false => drop(fs::copy(entry.path(), to).unwrap()),
        }
    }
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut all = Vec::new();
    for entry in fs::read_dir(dir).unwrap().flatten() {
        match entry.path().is_dir() {
            true => all.extend(files(&entry.path())),
            false => all.push(entry.path()),
        }
    }
    all.sort();
    all
}

/// What can be read, as far as it can; and each sample is what was stored.
fn samples(store: &Store) -> usize {
    let budget = Budget::samples(u64::MAX);
    let (from, to) = (UnixMs(0), UnixMs(i64::MAX));
    let all: Vec<Series> = store
        .select(&[], from, to, &budget, &Cancel::default())
        .unwrap();
    let mut count = 0;
    for series in &all {
        let number = (0..SERIES).find(|of| labels(*of) == series.labels);
        let number = number.unwrap_or_else(|| panic!("made-up labels: {}", series.labels));
        for sample in &series.samples {
            let round = sample.t.since(NOW).as_secs() / 10;
            assert_eq!(sample.t, NOW.after(Duration::from_secs(10 * round)));
            assert_eq!(sample.v.to_bits(), value(round, number).to_bits());
        }
        count += series.samples.len();
    }
    count
}

/// Opens what was damaged, and says what became of it.
fn check(dir: &Path, what: &str, damaged: &Path) -> Option<String> {
    let store = match open(dir) {
        Ok(store) => store,
        // Which release wrote the rest is not known then.
        Err(error) if damaged.ends_with("FORMAT") => return Some(error.to_string()),
        Err(error) => panic!("{what}: it does not open: {error:?}"),
    };
    let found = samples(&store);
    let stats = store.stats();
    let mut said: Vec<String> = store.problems().into_iter().map(|p| p.reason).collect();
    said.extend(stats.last_error);
    let all = SERIES * ROUNDS as usize;
    let missing = all - found;
    // A journal that ends early is what a power failure leaves: it's no damage to be told.
    let ends_early = what.contains("jnl cut off");
    assert!(
        missing == 0 || ends_early || !said.is_empty() || stats.records_malformed > 0,
        "{what}: {missing} samples are missing, and nobody says so"
    );
    // Heads hold what is in no chunk yet; the chunks are found without them.
    if damaged.strip_prefix(dir.join("series/keyspaces/3")).is_ok() {
        assert!(missing < all, "{what}: its chunks are there");
    }
    let in_incidents = damaged.strip_prefix(dir.join("incidents")).is_ok();
    let kept = store.incidents().len();
    assert!(kept == 2 || in_incidents && kept == 1, "{what}: {kept}");
    for incident in store.incidents() {
        match store.read_evidence(&incident.id, "heap.pb.gz") {
            Ok(Some(bytes)) => assert_eq!(bytes, file("heap.pb.gz").bytes, "{what}"),
            Ok(None) => panic!("{what}: evidence is gone"),
            Err(error) => {
                assert!(in_incidents, "{what}: {error}");
                said.push(error.to_string());
            }
        }
    }
    for snapshot in store.ring(&TargetId("00ff".into())) {
        match store.read_ring(&snapshot) {
            Ok(bytes) => assert_eq!(bytes.unwrap(), file("ring-heap.pb.gz").bytes, "{what}"),
            Err(error) => said.push(error.to_string()),
        }
    }
    // And it goes on.
    let later = NOW.after(Duration::from_secs(10 * ROUNDS));
    let sample = Sample { t: later, v: 1.0 };
    let samples = vec![(Labels::metric("m", [("series", "new")]), sample)];
    let appended = store.append(&Batch { samples });
    assert_eq!(appended.unwrap().stored, 1, "{what}");
    let matchers = [Matcher::equal("series", "new")];
    let budget = Budget::samples(u64::MAX);
    let new = store.select(
        &matchers,
        UnixMs(0),
        UnixMs(i64::MAX),
        &budget,
        &Cancel::default(),
    );
    let new = &new.unwrap()[0].samples;
    assert_eq!(*new, [sample], "{what}: samples of another series");
    store.close().unwrap();
    println!("{what}: {missing} of {all} samples missing; said: {said:?}");
    said.into_iter().next()
}

/// Every second file from this place on, damaged in each way in a copy of its own: how many copies that makes.
fn damage(lived: &Path, work: &Path, from: usize) -> usize {
    let mut seed = 0x5eed_u64 + from as u64;
    println!("seed {seed:#x}");
    let mut cases = 0;
    for of in files(lived).iter().skip(from).step_by(2) {
        let name = of.strip_prefix(lived).unwrap();
        let len = fs::metadata(of).unwrap().len();
        if len == 0 || name.ends_with("LOCK") || name.ends_with("lock") {
            continue;
        }
        for case in 0..=FLIPS {
            let dir = work.join(format!("{from}-{cases}"));
            copy(lived, &dir);
            let damaged = dir.join(name);
            let mut bytes = fs::read(&damaged).unwrap();
            let used = bytes
                .iter()
                .rposition(|byte| *byte != 0)
                .map_or(1, |at| at + 1);
            bytes.truncate(if len > ALLOCATED { used } else { bytes.len() });
            let len = bytes.len() as u64;
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let at = ((seed >> 33) % len) as usize;
            let what = if case == FLIPS {
                bytes.truncate(bytes.len() / 2);
                format!("{} cut off at {} of {len}", name.display(), len / 2)
            } else {
                bytes[at] ^= 1 << (seed >> 20 & 7);
                format!("{} flipped at {at} of {len}", name.display())
            };
            fs::write(&damaged, &bytes).unwrap();
            check(&dir, &what, &damaged);
            fs::remove_dir_all(&dir).unwrap();
            cases += 1;
        }
    }
    cases
}

#[test]
fn a_flipped_byte_or_a_torn_end_costs_no_more_than_what_it_hit() {
    let whole = tempfile::tempdir().unwrap();
    let work = tempfile::tempdir().unwrap();
    let lived = whole.path().join("lived");
    fill(&lived);
    let (lived, work) = (lived.as_path(), work.path());
    let cases: usize = std::thread::scope(|scope| {
        let halves = [0, 1].map(|from| scope.spawn(move || damage(lived, work, from)));
        halves.into_iter().map(|half| half.join().unwrap()).sum()
    });
    println!("{cases} damaged directories");
    assert!(cases > 50, "only {cases} cases");
}
