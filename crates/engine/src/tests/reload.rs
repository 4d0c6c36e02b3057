//! A configuration with an error is refused as a whole, with the line; the one in force stays.

use std::fs;
use std::sync::Arc;

use model::{Command, CommandOutcome, Commands, FleetRead};
use tokio::sync::watch;

use super::{Counting, answered, config, parts, wait_until};
use crate::{SystemClock, Watcher};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_only_a_restart_takes_over_is_said_until_the_file_is_as_it_was() {
    let endpoint = Counting::start();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("unswept.yml");
    let good = format!(
        "discovery: {{local_processes: false}}\nscrape_configs:\n  - job_name: counts\n    \
         static_configs: [{{targets: ['{}']}}]\n",
        endpoint.address
    );
    let clock = Arc::new(SystemClock::default());
    // Periods as the file has them, so that a reload changes nothing else.
    let start = crate::Config::parse(&file, &good).unwrap();
    let mut parts = parts(&dir.path().join("data"), start, clock);
    parts.config_path = Some(file.clone());
    let (end, stop) = watch::channel(false);
    let (watcher, task) = Watcher::start(parts, stop).unwrap();
    endpoint.more(1).await;
    let storage = "storage: {retention: 7d}\nweb: {external_url: 'https://u.example'}\n";
    let both = "only after a restart: storage.retention, web.external_url";
    let rows = [
        (storage, format!("nothing has changed yet; {both}"), true),
        (
            "evidence: {force_gc: true}\nstorage: {retention: 7d}\n",
            "changed: evidence; only after a restart: storage.retention".into(),
            true,
        ),
        (
            "evidence: {force_gc: true}\n",
            "nothing has changed".into(),
            false,
        ),
    ];
    for (more, expected, is_noted) in rows {
        fs::write(&file, format!("{good}{more}")).unwrap();
        let outcome = watcher.hand(Command::Reload).await;
        assert_eq!(outcome, CommandOutcome::Accepted { text: expected });
        wait_until("the page to say so, or not", || {
            let notes = watcher.view().health.notes.clone();
            notes
                .iter()
                .any(|note| note.contains("a restart of unswept"))
                == is_noted
        })
        .await;
    }
    end.send(true).unwrap();
    task.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reload_is_all_or_nothing() {
    let (first, second) = (Counting::start(), Counting::start());
    let of = |address: &std::net::SocketAddr| {
        format!(
            "discovery: {{local_processes: false}}\nscrape_configs:\n  - job_name: counts\n    \
             static_configs: [{{targets: ['{address}']}}]\n"
        )
    };
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("unswept.yml");
    let good = of(&first.address);
    let clock = Arc::new(SystemClock::default());
    let mut parts = parts(&dir.path().join("data"), config(&good), clock);
    parts.config_path = Some(file.clone());
    let store = Arc::clone(&parts.store);
    let (end, stop) = watch::channel(false);
    let (watcher, task) = Watcher::start(parts, stop).unwrap();
    first.more(3).await;
    let name = watcher.view().targets[0].target.id.clone();

    // Each has a good change in it, which must not be taken.
    let change = of(&second.address);
    let rows = [
        ("an unknown key", format!("{change}globl: {{}}\n"), "line 5"),
        (
            "a wrong value",
            format!("{change}global:\n  scrape_interval: soon\n"),
            "soon",
        ),
        ("no YAML", format!("{change}web: [\n"), "line"),
        (
            "a notifier without a place",
            format!("{change}receivers: [{{name: a, webhook_configs: [{{}}]}}]\n"),
            "url",
        ),
    ];
    for (what, text, expected) in rows {
        fs::write(&file, text).unwrap();
        let outcome = watcher.hand(Command::Reload).await;
        let CommandOutcome::Refused { reason } = outcome else {
            panic!("{what}: {outcome:?}");
        };
        assert!(reason.contains(expected), "{what}: {reason}");
        first.more(2).await;
        let targets: Vec<_> = watcher.view().targets.clone();
        assert_eq!(targets.len(), 1, "{what}");
        assert_eq!(targets[0].target.id, name, "{what}");
        assert_eq!(second.asked(), 0, "{what}");
    }
    fs::remove_file(&file).unwrap();
    let outcome = watcher.hand(Command::Reload).await;
    assert!(
        matches!(outcome, CommandOutcome::Refused { .. }),
        "a missing file: {outcome:?}"
    );
    first.more(2).await;
    let kept = answered(&store);
    assert!(kept.iter().copied().eq(1..=kept.len() as u64), "{kept:?}");

    fs::write(&file, change).unwrap();
    let outcome = watcher.hand(Command::Reload).await;
    assert!(
        matches!(outcome, CommandOutcome::Accepted { .. }),
        "{outcome:?}"
    );
    wait_until("the change to be in force", || second.asked() > 0).await;
    end.send(true).unwrap();
    task.await.unwrap().unwrap();
}
