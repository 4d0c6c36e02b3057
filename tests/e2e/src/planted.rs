//! Incidents that a watcher of before has left.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::json;

use crate::process::run;

/// Puts the open incident `id` of `workload` into the folder `data`, opened a minute ago, as the first
/// release wrote manifests; returns when it was opened.
///
/// # Panics
/// When it cannot be written.
#[must_use]
pub fn incident(data: &Path, id: &str, workload: &str) -> String {
    let mut date = Command::new("date");
    date.args(["-u", "-d", "-1 minute", "+%Y-%m-%dT%H:%M:%SZ"]);
    let opened = run(date).trim().to_owned();
    let folder = data.join("incidents").join(id);
    fs::create_dir_all(&folder).expect("a folder");
    let profile = b"\x1f\x8b a heap profile";
    fs::write(folder.join("after-heap.pb.gz"), profile).expect("evidence");
    let target = json!({
        "id": "00ff00ff00ff00ff", "name": "alerted", "pid": 4242, "start_time": opened, "host": "h",
        "boot_id": "b", "url": null, "container": null, "pod": null, "workload": workload,
        "revision": "r", "go_version": null, "module": null, "labels": {},
    });
    let finding = json!({
        "verdict": "leak", "kind": "go-heap", "confidence": 0.9, "onset": null,
        "growth": {"unit": "bytes", "per_minute": 1_048_576.0, "low": 1_000_000.0,
            "high": 1_100_000.0, "level": 0.95},
        "why": [], "suspects": [], "advice": [],
    });
    let verdict = json!({
        "schema": "unswept/verdict/1", "id": "v", "at": opened,
        "window": {"from": opened, "to": opened}, "target": target, "verdict": "leak",
        "kind": "go-heap", "confidence": 0.9, "limit_bytes": null, "limit_source": null,
        "seconds_to_limit": null, "components": [], "suspects": [], "evidence": [],
        "findings": [finding],
    });
    let evidence = json!({
        "kind": "heap-profile", "target": "00ff00ff00ff00ff", "at": opened,
        "name": "after-heap.pb.gz", "bytes": profile.len(), "crc32": 275_062_104,
    });
    let manifest = json!({
        "schema": "unswept/incident/1", "id": id, "state": "open", "workload": workload,
        "namespace": "payments", "revision": "r", "kind": "go-heap", "culprit": "main.f",
        "opened": opened, "onset": null, "last_seen": opened, "resolved": null, "age_s": 5.0,
        "targets": ["00ff00ff00ff00ff"], "timeline": [], "evidence": [evidence],
        "verdict": verdict,
    });
    fs::write(folder.join("manifest.json"), manifest.to_string()).expect("a manifest");
    opened
}
