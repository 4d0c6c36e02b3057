//! People answer an incident by command, by program and by page. What was accepted is there after a
//! kill in the middle of the next answer; who is told of incidents is told what people want to hear.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use e2e::process::{self, Running};
use e2e::{Behaviour, Server, Setting, Settings, Watcher, http, planted, tell, wait_until};
use serde_json::Value;

const INCIDENT: &str = "20261121-answered-0123456789abcdef";
const WORKLOAD: &str = "answered (example.com/none)";
const ROUNDS: u64 = 6;
const SOON: Duration = Duration::from_secs(20);

struct Story {
    setting: Setting,
    data: PathBuf,
    chat: Server,
    alertmanager: Server,
}

#[test]
fn answers_hold_through_kills_and_are_respected() {
    let Some(setting) = Setting::find() else {
        return;
    };
    let begun = Instant::now();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let story = Story {
        setting,
        data: folder.path().join("data"),
        chat: Server::start(Behaviour::Keeps),
        alertmanager: Server::start(Behaviour::Keeps),
    };
    let _opened = planted::incident(&story.data, INCIDENT, WORKLOAD);
    let watcher = story.watcher();
    let first = wait_until("the chat to hear of it", SOON, || {
        story
            .chat
            .bodies()
            .first()
            .cloned()
            .ok_or("nothing".to_owned())
    });
    assert_eq!(first["status"], "firing");
    only_the_operator_answers(&watcher, &story.data);
    story.people_are_told_what_they_want(watcher);
    tell(begun, "acknowledged and muted");
    story.killed_in_the_middle();
    tell(begun, "killed in the middle of answers");
    story.taken_along(folder.path());
    tell(begun, "done");
}

impl Story {
    fn watcher(&self) -> Watcher {
        let more = format!(
            "alerting: {{resend_delay: 1s, alertmanagers: [{{static_configs: [{{targets: ['{}']}}]}}]}}\n",
            self.alertmanager.host_port()
        );
        let settings = Settings {
            local_processes: false,
            webhook: Some(self.chat.url()),
            more,
            ..Settings::default()
        };
        Watcher::start(&self.setting, &settings, &self.data)
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = process::command(&self.setting.unswept);
        command.args(words).arg("--data").arg(&self.data);
        command
    }

    fn people_are_told_what_they_want(&self, mut watcher: Watcher) {
        let ack = [
            "incidents",
            "ack",
            "20261121-answered",
            "--by",
            "alice",
            "--note",
            "on it",
        ];
        let said = process::run(self.command(&ack));
        assert_eq!(said, format!("{INCIDENT}: alice acknowledged it: on it\n"));
        watcher.running.kill();
        let heard = self.chat.bodies().len();
        let mut watcher = self.watcher();
        wait_until("Alertmanager to hear who is on it", SOON, || {
            let last = self.latest_alert();
            let by = &last["annotations"]["acknowledged"];
            (by == "alice: on it").then_some(()).ok_or(last.to_string())
        });
        assert_eq!(self.chat.bodies().len(), heard, "told once");

        let _ = process::run(self.command(&[
            "incidents",
            "mute",
            INCIDENT,
            "--for",
            "1h",
            "--by",
            "bob",
        ]));
        wait_until("Alertmanager to hear that it is over", SOON, || {
            let last = self.latest_alert();
            let ends = last["endsAt"].as_str().unwrap_or_default().to_owned();
            let over = !ends.is_empty() && ends <= rfc3339_now();
            over.then_some(()).ok_or(last.to_string())
        });
        let metrics = http::get(&format!("{}/metrics", watcher.url))
            .expect("metrics")
            .text();
        assert!(
            metrics.contains("unswept_incidents{state=\"silenced\"} 1"),
            "{metrics}"
        );
        assert_eq!(self.chat.bodies().len(), heard, "a muted one sends nothing");
        assert!(watcher.running.stop().success(), "the watcher ends cleanly");
        // Nobody runs: the command opens the folder.
        for answer in ["mute", "ack"] {
            let _ =
                process::run(self.command(&["incidents", "undo", INCIDENT, answer, "--by", "bob"]));
        }
        assert!(manifest(&self.data)["answers"].is_null());
        let _watcher = self.watcher();
        wait_until("the chat to hear of it again", SOON, || {
            let bodies = self.chat.bodies();
            (bodies.len() > heard)
                .then_some(())
                .ok_or(bodies.len().to_string())
        });
    }

    /// The alert that Alertmanager was sent last.
    fn latest_alert(&self) -> Value {
        let bodies = self.alertmanager.bodies();
        bodies
            .last()
            .map_or(Value::Null, |alerts| alerts[0].clone())
    }

    fn killed_in_the_middle(&self) {
        let mut accepted = 0;
        for round in 0..ROUNDS {
            let mut watcher = self.watcher();
            let (mark, by) = (
                ["leak", "false-alarm"][round as usize % 2],
                format!("r{round}"),
            );
            let before = manifest(&self.data)["answers"].clone();
            let command = self.command(&["incidents", "mark", INCIDENT, mark, "--by", &by]);
            let mut answer = Running::start("unswept incidents mark", command);
            std::thread::sleep(Duration::from_millis(8 * round));
            watcher.running.kill();
            let taken = answer.wait(SOON).success();
            let after = manifest(&self.data)["answers"].clone();
            let is_new = after[0]["by"] == by && after[0]["answer"] == mark;
            assert!(is_new || after == before, "whole or not at all: {after}");
            assert!(is_new || !taken, "what was accepted is there: {after}");
            accepted += u64::from(is_new);
        }
        println!("{accepted} of {ROUNDS} answers were in time");
    }

    fn taken_along(&self, folder: &Path) {
        let expected = [
            "incidents",
            "mark",
            INCIDENT,
            "expected",
            "--ceiling",
            "2GiB",
        ];
        let _ = process::run(self.command(&expected));
        let _watcher = self.watcher();
        let at = |name: &str| folder.join(name).display().to_string();
        let (archive, labels) = (at("one.tar.gz"), at("labels.jsonl"));
        let _ = process::run(self.command(&["incidents", "export", INCIDENT, "-o", &archive]));
        let mut list = process::command("tar");
        list.args(["-tzf", &archive]);
        let names = process::run(list);
        for name in [
            "manifest.json",
            "after-heap.pb.gz",
            "series.jsonl",
            "report.html",
        ] {
            assert!(names.contains(&format!("{INCIDENT}/{name}")), "{names}");
        }
        let _ = process::run(self.command(&["incidents", "export", "--labels", "-o", &labels]));
        let line = fs::read_to_string(&labels).expect("labels");
        let label: Value = serde_json::from_str(&line).expect("one line of JSON");
        assert_eq!(label["schema"], "unswept/label/1");
        assert_eq!(
            (&label["label"], &label["ceiling_bytes"]),
            (&"expected".into(), &(2_u64 << 30).into())
        );
        let report = at("report.html");
        let _ = process::run(self.command(&["report", INCIDENT, "-o", &report]));
        let html = fs::read_to_string(&report).expect("a report");
        assert!(html.contains("<h1") && !html.contains("src=\"/"), "{html}");
    }
}

fn only_the_operator_answers(watcher: &Watcher, data: &Path) {
    let reload = format!("{}/-/reload", watcher.url);
    let refused = http::post(&reload).expect("an answer");
    assert_eq!(refused.status, 401, "{}", refused.text());
    let token = fs::read_to_string(data.join("operator-token")).expect("a token");
    let mut curl = process::command("curl");
    curl.args(["-s", "-X", "POST", "-H"])
        .arg(format!("Authorization: Bearer {}", token.trim()))
        .arg(&reload);
    let said = process::run(curl);
    assert!(said.contains("nothing has changed"), "{said}");
}

fn manifest(data: &Path) -> Value {
    let path = data.join("incidents").join(INCIDENT).join("manifest.json");
    let text = fs::read_to_string(&path).expect("a manifest at any moment");
    serde_json::from_str(&text).expect("a whole manifest at any moment")
}

fn rfc3339_now() -> String {
    let mut date = process::command("date");
    date.args(["-u", "+%Y-%m-%dT%H:%M:%SZ"]);
    process::run(date).trim().to_owned()
}
