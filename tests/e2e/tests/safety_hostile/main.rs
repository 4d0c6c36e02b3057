//! What the watcher lives through: targets that mean harm, a thousand processes that come and go, a child
//! of its own that dies, a disk that is full. Healthy targets beside it keep their samples.

mod disk;
mod hung_disk;
mod targets;

use std::time::Duration;

use e2e::{Server, Watcher, wait_until};

/// Every answer of a counting server up to its `until`th is stored, in its order.
fn assert_complete(watcher: &Watcher, job: &str, until: u64) {
    let selector = format!("answered{{job=\"{job}\"}}");
    let what = format!("the samples of {job} up to {until}");
    let values = wait_until(&what, Duration::from_secs(10), || {
        let samples = watcher.samples(&selector)?;
        let values: Vec<u64> = samples.iter().map(|(_, value)| *value as u64).collect();
        let last = values.last().copied().unwrap_or(0);
        (last >= until).then_some(values).ok_or(last.to_string())
    });
    let missing: Vec<u64> = (1..=until).filter(|n| !values.contains(n)).collect();
    assert!(missing.is_empty(), "{job} has lost {missing:?} of {until}");
    assert!(values.is_sorted(), "{job} is out of order: {values:?}");
}

/// Waits until a counting server was asked so many times more.
fn wait_for_more(server: &Server, times: u64) -> u64 {
    let until = server.asked() + times;
    wait_until("more readings", Duration::from_secs(60), || {
        let asked = server.asked();
        (asked >= until).then_some(asked).ok_or(asked.to_string())
    })
}
