//! What a store does with series, seen from outside.
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use model::series::{ReadError, stale_marker};
use model::{
    Append, Batch, Budget, Cancel, Labels, MatchOp, Matcher, Sample, Series, SeriesRead, SimClock,
    UnixMs,
};
use store::{Health, Options, Store, StoreError};

const NOW: UnixMs = UnixMs(1_795_300_200_000);
const DAY: Duration = Duration::from_secs(86_400);

fn open(dir: &Path, clock: &Arc<SimClock>, options: Options) -> Store {
    let options = Options {
        background: false,
        ..options
    };
    Store::open(dir, &options, Arc::clone(clock) as _).unwrap()
}

fn pod(i: usize) -> Labels {
    Labels::metric("heap", [("pod", format!("p{i:03}").as_str())])
}

fn batch(t: UnixMs, v: f64, series: std::ops::Range<usize>) -> Batch {
    Batch {
        samples: series.map(|i| (pod(i), Sample { t, v })).collect(),
    }
}

fn all(store: &Store) -> Vec<Series> {
    select(store, UnixMs(0), UnixMs(i64::MAX))
}

fn select(store: &Store, from: UnixMs, to: UnixMs) -> Vec<Series> {
    let budget = Budget::samples(u64::MAX);
    let matchers = [Matcher::metric("heap")];
    store
        .select(&matchers, from, to, &budget, &Cancel::default())
        .unwrap()
}

fn bits(series: &[Series]) -> Vec<(i64, u64)> {
    let samples = series.iter().flat_map(|series| &series.samples);
    samples
        .map(|sample| (sample.t.0, sample.v.to_bits()))
        .collect()
}

#[test]
fn samples_come_back_bit_for_bit_over_chunks_days_and_restarts() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(SimClock::new(NOW));
    let start = NOW.before(3 * DAY);
    let values = [
        1.5,
        -0.0,
        f64::INFINITY,
        stale_marker(),
        7.0,
        f64::from_bits(0x7ff8_dead_beef_0001),
    ];
    let mut expected = Vec::new();
    for part in 0..4 {
        let store = open(dir.path(), &clock, Options::default());
        for at in part * 2_000..(part + 1) * 2_000 {
            let t = start.after(Duration::from_secs(30 * at));
            let v = values[at as usize % values.len()];
            store.append(&batch(t, v, 0..1)).unwrap();
            expected.push((t.0, v.to_bits()));
        }
        assert_eq!(bits(&all(&store)), expected, "part {part}");
    }
    let store = open(dir.path(), &clock, Options::default());
    assert_eq!(bits(&all(&store)), expected);
    assert_eq!(store.stats().samples, 8_000);
    let (from, to) = (UnixMs(expected[3_333].0), UnixMs(expected[4_444].0));
    assert_eq!(
        bits(&select(&store, from, to)),
        expected[3_333..=4_444],
        "both ends are in"
    );
}

#[test]
fn a_sample_that_is_not_newer_is_dropped_and_counted() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(SimClock::new(NOW));
    let store = open(dir.path(), &clock, Options::default());
    store.append(&batch(NOW, 1.0, 0..2)).unwrap();
    let again = store.append(&batch(NOW, 2.0, 1..3)).unwrap();
    assert_eq!((again.stored, again.out_of_order), (1, 1));
    for (name, t) in [
        ("too old", NOW.before(31 * DAY)),
        ("too far ahead", NOW.after(DAY)),
    ] {
        let refused = store.append(&batch(t, 1.0, 7..8)).unwrap();
        assert_eq!((refused.stored, refused.out_of_order), (0, 0), "{name}");
    }
    let stats = store.stats();
    assert_eq!(
        (stats.samples_out_of_order, stats.samples_time_refused),
        (1, 2)
    );
    assert_eq!((stats.series, stats.samples), (3, 3));
}

#[test]
fn reads_honour_budget_cancel_and_bad_expressions() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(SimClock::new(NOW));
    let store = open(dir.path(), &clock, Options::default());
    for at in 0..500 {
        store
            .append(&batch(NOW.after(Duration::from_secs(at)), 1.0, 0..4))
            .unwrap();
    }
    let read = |matchers: &[Matcher], budget: u64, cancel: &Cancel| {
        let budget = Budget::samples(budget);
        store.select(matchers, NOW, UnixMs(i64::MAX), &budget, cancel)
    };
    assert_eq!(read(&[], 2_000, &Cancel::default()).unwrap().len(), 4);
    let over = read(&[], 1_999, &Cancel::default());
    assert!(matches!(over, Err(ReadError::OverBudget)));
    let cancel = Cancel::default();
    cancel.cancel();
    assert!(matches!(
        read(&[], 2_000, &cancel),
        Err(ReadError::Cancelled)
    ));
    let bad = Matcher {
        name: "pod".into(),
        op: MatchOp::Regex,
        value: "(".into(),
    };
    assert!(matches!(
        read(&[bad], 2_000, &Cancel::default()),
        Err(ReadError::Regex { .. })
    ));
}

#[test]
fn retention_drops_whole_days_and_forgets_series() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(SimClock::new(NOW));
    let options = Options {
        retention: 2 * DAY,
        ..Options::default()
    };
    let store = open(dir.path(), &clock, options.clone());
    for day in 0..8 {
        // Pod 0 lives on; each day has a pod of its own.
        let t = NOW.after(day * DAY);
        store.append(&batch(t, 1.0, 0..1)).unwrap();
        store
            .append(&batch(t, 1.0, day as usize + 1..day as usize + 2))
            .unwrap();
        clock.advance(DAY);
        store.maintain();
    }
    let kept = all(&store);
    let oldest = kept
        .iter()
        .flat_map(|series| &series.samples)
        .map(|sample| sample.t)
        .min();
    assert_eq!(oldest, Some(NOW.after(6 * DAY)));
    let pods: Vec<_> = kept.iter().map(|series| series.labels.clone()).collect();
    assert_eq!(pods, [pod(0), pod(7), pod(8)]);
    drop(store);
    let store = open(dir.path(), &clock, options);
    assert_eq!(all(&store), kept, "the same after a restart");
    assert_eq!(store.stats().series, 3);
}

#[test]
fn the_number_of_series_is_bounded() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(SimClock::new(NOW));
    let options = Options {
        series_max: 10,
        ..Options::default()
    };
    let store = open(dir.path(), &clock, options);
    let appended = store.append(&batch(NOW, 1.0, 0..15)).unwrap();
    assert_eq!(appended.stored, 10);
    let stats = store.stats();
    assert_eq!((stats.series, stats.samples_series_refused), (10, 5));
    assert!(stats.last_error.unwrap().contains("10 series"));
    // Those that have ended make room, not those that live.
    clock.advance(Duration::from_secs(3_000));
    store
        .append(&batch(NOW.after(Duration::from_secs(3_000)), 1.0, 5..10))
        .unwrap();
    clock.advance(Duration::from_secs(1_000));
    store.maintain();
    let t = NOW.after(Duration::from_secs(4_000));
    assert_eq!(store.append(&batch(t, 1.0, 20..30)).unwrap().stored, 5);
    let pods: Vec<_> = all(&store)
        .into_iter()
        .map(|series| series.labels)
        .collect();
    assert_eq!(pods, [5, 6, 7, 8, 9, 20, 21, 22, 23, 24].map(pod));
}

#[test]
fn one_process_holds_the_directory() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(SimClock::new(NOW));
    let store = open(dir.path(), &clock, Options::default());
    let second = Store::open(dir.path(), &Options::default(), Arc::clone(&clock) as _);
    let error = second.err().unwrap();
    assert!(
        matches!(&error, StoreError::Locked { pid, .. } if *pid == std::process::id().to_string())
    );
    drop(store);
    open(dir.path(), &clock, Options::default());
}

#[test]
fn readers_see_no_gap_while_chunks_are_sealed() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(SimClock::new(NOW));
    let options = Options {
        journal_bytes_max: 5_000,
        ..Options::default()
    };
    let store = open(dir.path(), &clock, options);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for at in 0..3_000 {
                let t = NOW.after(Duration::from_millis(at * 100));
                store.append(&batch(t, at as f64, 0..5)).unwrap();
            }
            done.store(true, Ordering::Relaxed);
        });
        let mut longest = 0;
        while !done.load(Ordering::Relaxed) {
            for series in all(&store) {
                let values = series.samples.iter().map(|sample| sample.v as usize);
                assert!(
                    values.eq(0..series.samples.len()),
                    "a gap in {}",
                    series.labels
                );
                assert!(series.samples.len() >= longest / 2, "samples went away");
                longest = longest.max(series.samples.len());
            }
        }
    });
    assert_eq!(store.stats().samples, 15_000);
}

#[test]
fn the_background_thread_syncs_and_stops() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(SimClock::new(NOW));
    let options = Options {
        sync_interval: Duration::from_millis(5),
        ..Options::default()
    };
    let store = Store::open(dir.path(), &options, clock as _).unwrap();
    store.append(&batch(NOW, 1.0, 0..3)).unwrap();
    std::thread::sleep(Duration::from_millis(50));
    assert_eq!(store.health(), Health::Good);
    store.close().unwrap();
    let late = store.append(&batch(NOW.after(DAY), 1.0, 0..3));
    assert!(matches!(late, Err(model::series::AppendError::Closed)));
    assert_eq!(all(&store).len(), 3, "reads still work");
}
