//! What is taken of leaking services, and what is not for their sake: goroutines one by one where there are
//! few, a forced collection where that is configured, neither near a limit nor with many goroutines, which are read
//! from outside then. Each refusal stands in the incident with its reason.

use std::time::{Duration, Instant};

use e2e::cgroup::MemoryCgroup;
use e2e::stalls::{self, Service};
use e2e::watcher::Incident;
use e2e::{Setting, Settings, Watcher, process, tell, wait_until};
use serde_json::Value;

const HEADROOM: u64 = 64 << 20;
const INCIDENT_WITHIN: Duration = Duration::from_secs(200);

#[test]
fn each_capture_is_taken_or_refused_for_a_reason_in_the_incident() {
    let Some(setting) = Setting::find() else {
        return;
    };
    let story = Instant::now();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let program = stalls::build(&setting, folder.path());
    let settings = Settings {
        force_gc: true,
        ..Settings::default()
    };
    let mut watcher = Watcher::start(&setting, &settings, &folder.path().join("data"));
    let start = |name: &str, arguments: &[&str]| {
        Service::start(name, process::command(&program), arguments)
    };
    let crowded = start("crowded", &["-goroutines", "40000"]);
    let parking = start("parking", &["-goroutines", "100"]);
    // Collections often enough that the floor they leave behind is a line and not a stair.
    let mut command = process::command(&program);
    command.env("GOGC", "10");
    let growing = Service::start("growing", command, &["-heap", "16"]);
    let cgroup = MemoryCgroup::make("story-captures", 1 << 30);
    let tight = cgroup.as_ref().map(|cgroup| {
        let command = cgroup.command(&program);
        let tight = Service::start("tight", command, &["-goroutines", "100", "-heap", "100"]);
        cgroup.set_limit(cgroup.figure("memory.usage_in_bytes", "") + HEADROOM);
        tight
    });
    crowded.ask("leak?each_second=200");
    parking.ask("leak?each_second=8");
    growing.ask("grow?mib_each_second=1");
    tight
        .iter()
        .for_each(|tight| drop(tight.ask("leak?each_second=8")));

    let with = |service: &Service, wanted: &[&str]| {
        let incident = incident_with(&watcher, service.pid(), wanted);
        setting.assert_schema(&incident.manifest);
        tell(story, format!("{wanted:?}"));
        incident
    };
    with(&parking, &["after-goroutine.pb.gz", "after-goroutines.txt"]);
    let grown = with(&growing, &["after-heap.pb.gz", "after-gc-heap.pb.gz"]);
    let told = grown.manifest["timeline"].to_string();
    assert!(told.contains("it is held, and no garbage"), "{told}");
    let many = [
        "after-heap.pb.gz",
        // Read from outside.
        "after-goroutine.pb.gz",
        "goroutine-profile too-many-goroutines",
        "goroutine-stacks too-many-goroutines",
    ];
    let crowded = with(&crowded, &many);
    let told = crowded.manifest["timeline"].to_string();
    assert!(
        told.contains("goroutine profile read from outside"),
        "{told}"
    );
    if let Some(tight) = &tight {
        with(
            tight,
            &["after-goroutine.pb.gz", "goroutine-stacks little-headroom"],
        );
    }
    watcher.running.assert_alive();
    assert!(watcher.running.stop().success(), "the watcher ends cleanly");
}

/// The incident about a service once it has all of `wanted` of it: files of evidence, and refusals as
/// `CAPTURE REASON`. Services of one workload share an incident.
fn incident_with(watcher: &Watcher, pid: u32, wanted: &[&str]) -> Incident {
    wait_until(&format!("{wanted:?}"), INCIDENT_WITHIN, || {
        let row = watcher.target_of(pid)?;
        let id = &row["target"]["id"];
        let mut seen = Vec::new();
        for incident in watcher.incidents() {
            let have = had(&incident.manifest, id);
            if wanted.iter().all(|one| have.iter().any(|name| name == one)) {
                return Ok(incident);
            }
            seen.push(have);
        }
        Err(format!("{seen:?}"))
    })
}

fn had(manifest: &Value, target: &Value) -> Vec<String> {
    let list = |name: &str| manifest[name].as_array().cloned().unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let files = list("evidence")
        .into_iter()
        .filter(|file| file["target"] == *target);
    let mut have: Vec<String> = files
        .map(|file| {
            let name = text(&file["name"]);
            let of_another = name
                .strip_prefix("target-")
                .and_then(|rest| rest.split_once('-'));
            of_another.map_or(name.clone(), |(_, base)| base.to_owned())
        })
        .collect();
    let refused = list("timeline")
        .into_iter()
        .map(|event| event["refused"].clone());
    for refused in refused.filter(|refused| refused["target"] == *target) {
        have.push(format!(
            "{} {}",
            text(&refused["capture"]),
            text(&refused["reason"])
        ));
    }
    have
}
