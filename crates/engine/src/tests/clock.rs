//! The clock is set while the watcher runs: no sample is lost or changes places, and nothing is found.

use std::sync::Arc;

use tokio::sync::watch;

use super::{Counting, SetClock, answered, config, open, parts};
use crate::Watcher;

const HALF_AN_HOUR_MS: i64 = 1_800_000;
const TEN_DAYS_MS: i64 = 864_000_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn samples_survive_a_clock_that_is_set_back_and_ahead() {
    let endpoint = Counting::start();
    let config = config(&format!(
        "discovery: {{local_processes: false}}\n\
         scrape_configs: [{{job_name: counts, static_configs: [{{targets: ['{}']}}]}}]\n",
        endpoint.address
    ));
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(SetClock::default());
    let parts = parts(dir.path(), config, Arc::clone(&clock) as _);
    let store = Arc::clone(&parts.store);
    let (end, stop) = watch::channel(false);
    let (watcher, task) = Watcher::start(parts, stop).unwrap();

    endpoint.more(5).await;
    clock.move_by(-HALF_AN_HOUR_MS);
    endpoint.more(5).await;
    let in_order = answered(&store);
    assert!(
        in_order.iter().copied().eq(1..=in_order.len() as u64) && in_order.len() >= 8,
        "set back a little: {in_order:?}"
    );
    clock.move_by(TEN_DAYS_MS);
    endpoint.more(5).await;
    clock.move_by(-TEN_DAYS_MS);
    endpoint.more(5).await;

    let stats = store.stats();
    assert!(store.incidents().is_empty(), "nothing leaks");
    end.send(true).unwrap();
    task.await.unwrap().unwrap();
    drop((watcher, store));
    let store = open(dir.path(), clock);
    let mut all = answered(&store);
    all.sort_unstable();
    let newest = *all.last().unwrap();
    assert!(newest + 2 >= endpoint.asked(), "it goes on: {all:?}");
    // What was read before the clock was set back by ten days and written after it lies in the future.
    let missing = newest - all.len() as u64;
    assert!(
        missing <= 1 && missing <= stats.samples_time_refused,
        "{missing} of {newest} are missing: {stats:?}"
    );
    all.dedup();
    assert_eq!(newest - missing, all.len() as u64, "none comes twice");
    assert_eq!(stats.samples_out_of_order, 0);
}
