//! All hostile endpoints at once beside a healthy shop and a healthy endpoint, while a thousand processes
//! come and go and the reader is killed; then what keeps the privileges is.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use e2e::process::{started_with, status_line};
use e2e::{
    Behaviour, Footprint, Hostile, Server, Setting, Settings, Shop, Watcher, http, tell, wait_until,
};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::{assert_complete, wait_for_more};

/// All processes of the watcher together: docs/hardness.md states it.
const MEMORY_BYTES_MAX: u64 = 320 << 20;
/// Rounds of the healthy endpoint, a second each, that the hostile ones are borne.
const ROUNDS: u64 = 25;
/// Processes that come and go, half of them of Go.
const SHORT_LIVED: u32 = 1_000;
const BESIDE: u32 = 8;

#[test]
fn healthy_targets_keep_their_samples_beside_hostile_ones_and_a_storm_of_processes() {
    let Some(setting) = Setting::find() else {
        return;
    };
    let story = Instant::now();
    let shop = Shop::build_with(&setting, "healthy", &[]);
    let open = shop.start(&["-load", "20"]);
    let healthy = Server::start(Behaviour::Counts);
    let elsewhere = Server::start(Behaviour::Counts);
    let hostile = hostile(&elsewhere);
    let mut jobs: Vec<(String, String)> = hostile
        .iter()
        .map(|(name, server)| ((*name).to_owned(), server.host_port()))
        .collect();
    jobs.push(("healthy".into(), healthy.host_port()));
    let settings = Settings {
        jobs,
        ring_interval: Duration::from_secs(10),
        ..Settings::default()
    };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut watcher = Watcher::start(&setting, &settings, &folder.path().join("data"));
    let footprint = Footprint::of(watcher.running.pid());
    let pid = open.running.pid();
    wait_until("the shop to be read", Duration::from_secs(20), || {
        up(&watcher.target_of(pid)?)
    });
    // One with the same rights takes its place.
    kill_own(&watcher, "__reader");

    let rounds = healthy.asked() + ROUNDS;
    storm(&shop.program);
    tell(story, format!("{SHORT_LIVED} processes have come and gone"));
    while healthy.asked() < rounds {
        let _ = wait_for_more(&healthy, 1);
    }
    let until = healthy.asked() - 1;
    assert_complete(&watcher, "healthy", until);
    let most = footprint.most_bytes();
    tell(story, format!("{until} rounds, at most {} MiB", most >> 20));
    for (name, server) in &hostile {
        assert!(server.asked() > 0, "{name} was never asked");
        tell(story, said_of(&watcher, name));
    }
    assert_eq!(
        elsewhere.asked(),
        0,
        "a redirect to another host was followed"
    );
    assert_figures(&watcher, pid);
    assert_no_trace_of_the_storm(&watcher);
    assert_nothing_leaks(&watcher, pid);
    assert!(
        most < MEMORY_BYTES_MAX,
        "all processes together held {most} bytes"
    );

    // And the reader with it, for good.
    kill_own(&watcher, "__keeper");
    wait_until("the loss to be said", Duration::from_secs(20), || {
        let ready = http::get(&format!("{}/-/ready", watcher.url))?;
        let said = ready.status == 503 && ready.text().contains("reader");
        said.then_some(()).ok_or(ready.text())
    });
    let until = wait_for_more(&healthy, 3) - 1;
    assert_complete(&watcher, "healthy", until);
    tell(story, "without its keeper, too");
    watcher.running.assert_alive();
    let stderr = watcher.running.stderr();
    assert!(!stderr.contains("panicked"), "{stderr}");
    assert!(watcher.running.stop().success(), "and ends cleanly");
}

fn hostile(elsewhere: &Server) -> Vec<(&'static str, Server)> {
    let harms = |how| Server::start(Behaviour::Harms(how));
    vec![
        ("hangs", Server::start(Behaviour::Hangs)),
        ("speaks-garbage", Server::start(Behaviour::SpeaksGarbage)),
        ("never-ends", Server::start(Behaviour::NeverEnds)),
        ("drips", harms(Hostile::Drips)),
        ("continues", harms(Hostile::Continues)),
        ("explodes", harms(Hostile::Explodes)),
        ("invalid-text", harms(Hostile::InvalidText)),
        ("giant-labels", harms(Hostile::GiantLabels)),
        ("new-series", harms(Hostile::NewSeries)),
        ("lies", harms(Hostile::Lies)),
        ("breaks-profiles", harms(Hostile::BreaksProfiles)),
        ("floods-profiles", harms(Hostile::FloodsProfiles)),
        (
            "redirects",
            Server::start(Behaviour::RedirectsTo(elsewhere.address())),
        ),
    ]
}

fn up(row: &Value) -> Result<Value, String> {
    let is_up = row["state"]["state"] == "up";
    is_up.then(|| row.clone()).ok_or(row["state"].to_string())
}

/// Its state in words: one that cannot be read says why.
fn said_of(watcher: &Watcher, job: &str) -> String {
    let readable = ["new-series", "lies", "breaks-profiles", "floods-profiles"];
    let row = watcher.target_of_job(job).expect("it is a target");
    let state = &row["state"];
    if readable.contains(&job) {
        assert_eq!(state["state"], "up", "{job}: {state}");
    } else {
        assert_eq!(state["state"], "endpoint-failing", "{job}: {state}");
        let reason = state["reason"].as_str().unwrap_or_default();
        assert!(reason.len() > 10, "{job} fails without a reason: {state}");
    }
    format!("{job}: {state}")
}

/// As many processes as that, a few beside each other: each ends before anybody could look twice.
fn storm(shop: &Path) {
    let program = shop.with_file_name("short-lived");
    std::fs::hard_link(shop, &program).expect("another name in our folder");
    for _ in 0..SHORT_LIVED / BESIDE {
        let children = (0..BESIDE).map(|number| {
            let mut command = match number % 2 {
                // The shop refuses this and ends.
                0 => Command::new(&program),
                _ => Command::new("true"),
            };
            let quiet = command.arg("-nonsense").stdout(Stdio::null());
            quiet.stderr(Stdio::null()).spawn().expect("a process")
        });
        for mut child in children.collect::<Vec<_>>() {
            let _ = child.wait();
        }
    }
}

/// The shop's memory is what the kernel says, and its ledger closes.
fn assert_figures(watcher: &Watcher, pid: u32) {
    let near = |a: f64, b: f64| (a - b).abs() <= f64::from(8 << 20) || (a / b - 1.0).abs() < 0.1;
    wait_until("figures that are right", Duration::from_secs(10), || {
        let row = up(&watcher.target_of(pid)?)?;
        let told = row["rss_bytes"].as_f64().ok_or("no memory")?;
        let kib = status_line(pid, "VmRSS").unwrap_or_default();
        let kib: f64 = kib.trim_end_matches(" kB").parse().unwrap_or(f64::NAN);
        let id = row["target"]["id"].as_str().ok_or("no id")?.to_owned();
        let view = watcher.api(&format!("targets/{id}"))?;
        let unexplained = view["ledger"]["unexplained_bytes"].as_f64();
        let unexplained = unexplained.ok_or_else(|| view["ledger"].to_string())?;
        let right = near(told, kib * 1024.0) && near(told - unexplained, told);
        right.then_some(()).ok_or(format!(
            "told {told}, really {kib} KiB, unexplained {unexplained}"
        ))
    });
}

fn assert_no_trace_of_the_storm(watcher: &Watcher) {
    let answer = watcher.api("targets").expect("the targets");
    let rows = answer["targets"].as_array().expect("a list");
    let short = rows
        .iter()
        .find(|row| row["target"]["name"] == "short-lived");
    assert!(short.is_none(), "it lived for milliseconds: {short:?}");
}

/// No incident of ours; others on this machine are none of our business.
fn assert_nothing_leaks(watcher: &Watcher, pid: u32) {
    for incident in watcher.incidents() {
        let target = &incident.manifest["verdict"]["target"];
        let ours = target["pid"] == pid || !target["labels"]["job"].is_null();
        assert!(!ours, "{:#}", incident.manifest);
    }
}

/// kill -9, in the middle of whatever it does.
fn kill_own(watcher: &Watcher, argument: &str) {
    let pid = started_with(watcher.running.pid(), argument).expect("it runs");
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    kill_process(pid.expect("a pid"), Signal::KILL).expect("it runs");
}
