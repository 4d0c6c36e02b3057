//! A shop leaks until the kernel kills it, sooner than a leak can be judged: there is an incident with
//! the evidence from before, and it names the line. A shop that somebody kills leaves none.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use e2e::cgroup::MemoryCgroup;
use e2e::shop::OpenShop;
use e2e::watcher::Incident;
use e2e::{Setting, Settings, Shop, Watcher, http, tell, wait_until};

const LIMIT: u64 = 192 << 20;
/// To its limit in some ten seconds; what the shop holds anyway is 30 MB.
const RATE: &str = "1000";

#[test]
fn a_kill_for_lack_of_memory_leaves_an_incident_with_evidence_from_before() {
    let Some(setting) = Setting::find() else {
        return;
    };
    let story = Instant::now();
    let Some(cgroup) = MemoryCgroup::make("story-killed", LIMIT) else {
        return;
    };
    let shop = Shop::build(&setting);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut watcher = Watcher::start(&setting, &Settings::default(), &folder.path().join("data"));
    let mut doomed = shop.start_as("doomed", Some(&cgroup), &[]);
    let mut shot = shop.start(&[]);
    let (pid, shot_pid) = (doomed.running.pid(), shot.running.pid());
    let ring = folder.path().join("data/ring");
    wait_until("snapshots of both", Duration::from_secs(60), || {
        let both = [pid, shot_pid].map(|pid| snapshots(&watcher, &ring, pid));
        let [a, b] = both.map(|names| names.unwrap_or_default());
        (heaps(&a) > 0 && heaps(&b) > 0)
            .then_some(())
            .ok_or(format!("{a:?} {b:?}"))
    });
    tell(story, "both have snapshots from before");

    shot.running.kill();
    leak(&doomed);
    let ended = doomed.running.wait(Duration::from_secs(120));
    tell(story, format!("the shop has ended: {ended}"));
    assert_eq!(cgroup.figure("memory.oom_control", "oom_kill "), 1);

    let incident = wait_until("its incident", Duration::from_secs(30), || {
        let incident = watcher.incidents_of(pid).pop().ok_or("none")?;
        let all = incident.evidence().contains(&"last-series.json".to_owned());
        all.then(|| incident.clone())
            .ok_or(format!("{:#}", incident.manifest))
    });
    check(&setting, &incident, &cgroup, &shop);
    tell(story, format!("its incident: {}", incident.text("kind")));

    let row = wait_until("the other one's end", Duration::from_secs(20), || {
        let row = watcher.target_of(shot_pid)?;
        let gone = row["state"]["state"] == "gone";
        gone.then(|| row.clone()).ok_or(row["state"].to_string())
    });
    assert_eq!(
        row["incidents"].as_array().map(Vec::len),
        Some(0),
        "{row:#}"
    );
    assert!(
        watcher.incidents_of(shot_pid).is_empty(),
        "kill -9 is no leak"
    );
    watcher.running.assert_alive();
    assert!(watcher.running.stop().success(), "the watcher ends cleanly");
}

fn leak(shop: &OpenShop) {
    let url = format!("{}/admin/scenario?name=session-cache&rate={RATE}", shop.url);
    http::post(&url).expect("the scenario starts");
}

/// The names of a process's snapshots in the ring.
fn snapshots(watcher: &Watcher, ring: &std::path::Path, pid: u32) -> Result<Vec<String>, String> {
    let row = watcher.target_of(pid)?;
    let id = row["target"]["id"].as_str().ok_or("no id")?;
    let folder: PathBuf = ring.join(id);
    let files = std::fs::read_dir(&folder).map_err(|error| error.to_string())?;
    let names = files.flatten().map(|file| file.file_name());
    Ok(names
        .map(|name| name.to_string_lossy().into_owned())
        .collect())
}

fn heaps(names: &[String]) -> usize {
    names
        .iter()
        .filter(|name| name.contains("heap-profile"))
        .count()
}

fn check(setting: &Setting, incident: &Incident, cgroup: &MemoryCgroup, shop: &Shop) {
    setting.assert_schema(&incident.manifest);
    let told = incident.manifest["timeline"].to_string();
    let limit = format!("memory.limit_in_bytes {}", cgroup.name());
    let killed = format!("killed for lack of memory: the limit of {limit} was met");
    assert!(told.contains(&killed), "{told}");
    let files = incident.evidence();
    // An early snapshot near the limit, and one from the beginning.
    for name in [
        "before-heap.pb.gz",
        "after-heap.pb.gz",
        "after-goroutine.pb.gz",
        "verdict.json",
    ] {
        assert!(
            files.iter().any(|file| file == name),
            "no {name}: {files:?}"
        );
    }
    let suspects = &incident.manifest["verdict"]["suspects"];
    let culprit = shop.culprit("session-cache");
    assert_eq!(
        suspects[0]["function"],
        culprit.function.as_str(),
        "{suspects:#}"
    );
}
