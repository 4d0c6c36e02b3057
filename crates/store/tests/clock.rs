//! A clock that is set while the store is open, or while nobody runs.
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use model::{Append, Batch, Budget, Cancel, Clock, Labels, Sample, SeriesRead, SimClock, UnixMs};
use store::{Options, Store};

const NOW: UnixMs = UnixMs(1_795_300_200_000);
const MINUTE: Duration = Duration::from_secs(60);
const YEAR: Duration = Duration::from_secs(365 * 86_400);

fn open(dir: &Path, clock: &Arc<SimClock>) -> Store {
    let options = Options {
        background: false,
        ..Options::default()
    };
    Store::open(dir, &options, Arc::clone(clock) as _).unwrap()
}

/// Stores `rounds` samples a minute apart, each greater by one, and does what is to be done from time
/// to time.
fn live(store: &Store, clock: &SimClock, rounds: u32, next: &mut f64) {
    for _ in 0..rounds {
        clock.advance(MINUTE);
        let sample = Sample {
            t: clock.now(),
            v: *next,
        };
        *next += 1.0;
        let samples = vec![(Labels::metric("m", [("pod", "a")]), sample)];
        assert_eq!(store.append(&Batch { samples }).unwrap().stored, 1);
        store.maintain();
    }
}

/// The values in the order of time; there is one series.
fn values(store: &Store) -> Vec<u32> {
    let budget = Budget::samples(u64::MAX);
    let (from, to) = (UnixMs(0), UnixMs(i64::MAX));
    let found = store
        .select(&[], from, to, &budget, &Cancel::default())
        .unwrap();
    assert_eq!(found.len(), 1, "one series, whatever its ids");
    let samples = &found[0].samples;
    assert!(samples.is_sorted_by(|a, b| a.t < b.t));
    samples.iter().map(|sample| sample.v as u32).collect()
}

fn sorted(mut values: Vec<u32>) -> Vec<u32> {
    values.sort_unstable();
    values
}

#[test]
fn a_year_ahead_and_back_costs_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(SimClock::new(NOW));
    let store = open(dir.path(), &clock);
    let mut next = 0.0;
    live(&store, &clock, 300, &mut next);
    clock.set(clock.now().after(YEAR));
    live(&store, &clock, 30, &mut next);
    clock.set(clock.now().before(YEAR));
    live(&store, &clock, 300, &mut next);
    let all: Vec<u32> = (0..630).collect();
    assert_eq!(sorted(values(&store)), all);
    drop(store);
    let store = open(dir.path(), &clock);
    live(&store, &clock, 5, &mut next);
    assert_eq!(sorted(values(&store)).len(), 635, "after a restart, too");
    assert_eq!(store.stats().samples_out_of_order, 0);
}

#[test]
fn a_clock_that_is_set_back_while_nobody_runs_keeps_nothing_out() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(SimClock::new(NOW));
    let store = open(dir.path(), &clock);
    let mut next = 0.0;
    live(&store, &clock, 50, &mut next);
    drop(store);
    // Not by whole minutes: of two samples of one millisecond one is kept.
    clock.set(clock.now().before(20 * MINUTE + MINUTE / 7));
    let store = open(dir.path(), &clock);
    live(&store, &clock, 50, &mut next);
    assert_eq!(sorted(values(&store)), (0..100).collect::<Vec<_>>());
}

#[test]
fn a_jump_ahead_that_lasts_is_the_time() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(SimClock::new(NOW));
    let store = open(dir.path(), &clock);
    let mut next = 0.0;
    live(&store, &clock, 10, &mut next);
    clock.set(clock.now().after(YEAR));
    live(&store, &clock, 10, &mut next);
    assert_eq!(values(&store).len(), 20, "not believed at once");
    clock.advance(Duration::from_secs(90_000));
    live(&store, &clock, 2, &mut next);
    let kept = values(&store);
    assert_eq!(
        kept,
        (10..22).collect::<Vec<_>>(),
        "what is a year old goes"
    );
}
