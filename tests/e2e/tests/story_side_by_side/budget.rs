//! A watcher that may use next to nothing: it leaves for later what is optional, says so and stays ready; and
//! takes all of it up again once it may use more.

use std::fs;
use std::time::{Duration, Instant};

use e2e::{Setting, Settings, Watcher, http, tell, wait_until};
use serde_json::json;

/// Nobody gets along with this.
const TINY: &str = "budget: {cpu: 0.01%, memory: 8MiB, window: 5s}\n";
const PLENTY: &str = "budget: {cpu: 200%, memory: 4GiB, window: 5s}\n";
/// All that is optional, in its order.
const STEPS: [&str; 7] = [
    "mappings",
    "ring",
    "probes",
    "calm-targets",
    "caches",
    "snapshots",
    "captures",
];
/// One step a window, four of them for CPU; and a machine that has much else to do.
const PATIENCE: Duration = Duration::from_secs(120);

#[test]
fn a_watcher_keeps_to_its_budget_and_recovers() {
    let Some(setting) = Setting::find() else {
        return;
    };
    let story = Instant::now();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let data = folder.path().join("data");
    let settings = Settings {
        local_processes: false,
        more: TINY.into(),
        ..Settings::default()
    };
    let mut watcher = Watcher::start(&setting, &settings, &data);

    wait_until("all to be left for later", PATIENCE, || {
        sheds(&watcher, |now| now == 1.0)
    });
    tell(story, "all that is optional is left for later");
    let ready = http::get(&format!("{}/-/ready", watcher.url)).expect("an answer");
    assert_eq!(ready.status, 200, "{}", ready.text());
    let page = http::get(&watcher.url).expect("the page").text();
    for said in [
        "budget.memory, 8 MiB, was met: caches are emptied",
        "profiles for incidents are put off",
        "budget.cpu, 0.01 % of a core, was met: mappings (smaps) are read ten times more seldom",
        "Watching takes",
    ] {
        assert!(page.contains(said), "{said}\n{page}");
    }
    let (used, allowed) = (
        series(&watcher, "unswept_budget_memory_used_bytes"),
        series(&watcher, "unswept_budget_memory_bytes"),
    );
    assert_eq!(allowed, Some(8.0 * 1024.0 * 1024.0));
    assert!(used > allowed, "{used:?}");
    for main in ["process_cpu_seconds_total", "process_resident_memory_bytes"] {
        assert!(series(&watcher, main) > Some(0.0), "{main}");
    }

    let config = data.with_extension("yml");
    let text = fs::read_to_string(&config).expect("the configuration");
    fs::write(&config, text.replace(TINY, PLENTY)).expect("another one");
    let reload = watcher.command(&json!({"command": "reload"}));
    let answer = reload.expect("an answer").text();
    assert!(answer.contains("changed: budget"), "{answer}");
    wait_until("all to be taken up again", PATIENCE, || {
        sheds(&watcher, |now| now == 0.0)
    });
    for step in STEPS {
        let times = series(
            &watcher,
            &format!("unswept_budget_shed_total{{what=\"{step}\"}}"),
        );
        assert!(times >= Some(1.0), "{step}: {times:?}");
    }
    tell(story, "all of it is taken up again");
    assert!(watcher.running.stop().success(), "the watcher ends cleanly");
}

/// Whether each step stands so.
fn sheds(watcher: &Watcher, is_it: impl Fn(f64) -> bool) -> Result<(), String> {
    let stands = |step: &&str| {
        let now = series(watcher, &format!("unswept_budget_shed{{what=\"{step}\"}}"));
        !now.is_some_and(&is_it)
    };
    let others: Vec<&str> = STEPS.into_iter().filter(|step| stands(step)).collect();
    match others.is_empty() {
        true => Ok(()),
        false => Err(format!("not yet: {others:?}")),
    }
}

/// One series of `/metrics`.
fn series(watcher: &Watcher, name: &str) -> Option<f64> {
    let text = http::get(&format!("{}/metrics", watcher.url)).ok()?.text();
    let mut lines = text.lines().filter_map(|line| line.rsplit_once(' '));
    let (_, value) = lines.find(|(found, _)| *found == name)?;
    value.parse().ok()
}
