//! A program without any endpoint, stripped of everything that names anything: the watcher reads Go's
//! figures in its memory, and finds its leak by them.

use std::io::Write as _;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use e2e::process::{self, command};
use e2e::{Setting, Settings, Watcher, tell, wait_until};
use serde_json::Value;

/// What the program keeps more each second: a megabyte with the map and the links around it.
const GROWTH: &str = "grow main.sessions 800000\n";
const PER_MINUTE: f64 = 60e6;
const INCIDENT_WITHIN: Duration = Duration::from_secs(180);

#[test]
fn a_leak_is_found_by_figures_read_in_the_process() {
    let Some(setting) = Setting::find() else {
        return;
    };
    let story = Instant::now();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let program = folder.path().join("silent");
    let mut build = std::process::Command::new(&setting.go);
    build
        .current_dir(setting.root.join("tests/targets"))
        .args(["build", "-buildmode=pie", "-ldflags=-s -w", "-o"])
        .arg(&program)
        .arg(".");
    let _ = process::run(build);
    let mut watcher = Watcher::start(&setting, &Settings::default(), &folder.path().join("data"));
    let mut silent = Silent::start(&program);
    let pid = silent.child.id();

    let view = wait_until("Go's figures", Duration::from_secs(30), || {
        silent.grow();
        let view = view(&watcher, pid)?;
        let closes = view["ledger"]["live_source"] == "process";
        closes.then(|| view.clone()).ok_or(view["go"].to_string())
    });
    assert_eq!(view["go"]["source"], "process", "{view:#}");
    assert_eq!(view["state"]["state"], "no-endpoint", "{view:#}");
    let (unexplained, rss) = (
        &view["ledger"]["unexplained_bytes"],
        &view["ledger"]["total_bytes"],
    );
    let allowed = (rss.as_f64().unwrap_or(0.0) * 0.03).max(8.0 * 1024.0 * 1024.0);
    assert!(
        unexplained
            .as_f64()
            .is_some_and(|rest| rest.abs() <= allowed),
        "the ledger does not close: {:#}",
        view["ledger"]
    );
    tell(story, "its ledger closes on figures of its own memory");
    ps_has_its_figures(&setting, pid);

    let incident = wait_until("the incident", INCIDENT_WITHIN, || {
        silent.grow();
        let mut all = watcher.incidents_of(pid);
        all.pop()
            .ok_or_else(|| format!("{:?}", watcher.verdict_of(pid)))
    });
    assert_eq!(incident.text("kind"), "go-heap", "{:#}", incident.manifest);
    let growth = &incident.finding()["growth"];
    let rate = growth["per_minute"].as_f64().unwrap_or(0.0);
    assert!((rate / PER_MINUTE - 1.0).abs() < 0.3, "{growth:#}");
    tell(story, format!("incident: {:.0} MB a minute", rate / 1e6));
    watcher.running.assert_alive();
    assert!(watcher.running.stop().success(), "the watcher ends cleanly");
}

/// The program, which is told each second to keep more.
struct Silent {
    child: Child,
    grown: Instant,
}

impl Silent {
    fn start(program: &std::path::Path) -> Self {
        let mut command = command(program);
        // Collections often enough that the floor they leave behind is a line and not a stair.
        command.arg("planted").env("GOGC", "10");
        command.stdin(Stdio::piped()).stdout(Stdio::null());
        Self {
            child: command.spawn().expect("it starts"),
            grown: Instant::now(),
        }
    }

    /// Once for each second that went by since the last call.
    fn grow(&mut self) {
        while self.grown.elapsed() >= Duration::from_secs(1) {
            self.grown += Duration::from_secs(1);
            let stdin = self.child.stdin.as_mut().expect("a pipe");
            stdin.write_all(GROWTH.as_bytes()).expect("it runs");
        }
    }
}

impl Drop for Silent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn view(watcher: &Watcher, pid: u32) -> Result<Value, String> {
    let row = watcher.target_of(pid)?;
    let id = row["target"]["id"]
        .as_str()
        .ok_or("a target without an id")?;
    watcher.api(&format!("targets/{id}"))
}

fn ps_has_its_figures(setting: &Setting, pid: u32) {
    let mut ps = command(&setting.unswept);
    ps.args(["ps", "--format", "json"]);
    let document: Value = serde_json::from_str(&process::run(ps)).expect("JSON");
    let rows = document["processes"].as_array().expect("a list");
    let row = rows
        .iter()
        .find(|row| row["pid"] == pid)
        .expect("it is listed");
    assert_eq!(row["go_figures"], "process", "{row:#}");
    assert!(row["live_heap_bytes"].as_u64() > Some(10 << 20), "{row:#}");
}
