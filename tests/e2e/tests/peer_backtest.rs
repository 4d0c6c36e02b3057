//! `unswept judge` on what a real Prometheus has stored says the same as on the text that was back-filled into it.

use std::net::TcpListener;
use std::path::Path;
use std::process::Output;
use std::time::Duration;

use corpus::{Family, History, View, history};
use e2e::process::command;
use e2e::{Running, Setting, http, wait_until};
use serde_json::Value;

/// Histories that are judged: a leak, one of several replicas, and what is none.
const FAMILIES: [Family; 4] = [
    Family::Linear,
    Family::OneReplica,
    Family::FillingCache,
    Family::Restarts,
];
/// Some hours of each: months take a debug build too long.
const READINGS: usize = 1_200;

#[test]
fn a_prometheus_and_the_text_in_it_are_judged_alike() {
    let Some(setting) = Setting::find() else {
        return;
    };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let text = folder.path().join("recorded.om");
    let histories: Vec<History> = FAMILIES
        .iter()
        .map(|one| shortened(*one, setting.seed))
        .collect();
    std::fs::write(&text, together(&histories)).expect("a file to write");

    let of_text = judge(&setting, &[text.to_str().expect("a path in UTF-8")]);
    let lines = lines(&setting, &of_text);
    let replicas: usize = histories.iter().map(|one| one.replicas.len()).sum();
    let targets: std::collections::BTreeSet<String> = lines
        .iter()
        .map(|line| line["labels"].to_string())
        .collect();
    assert_eq!(targets.len(), replicas, "{lines:#?}");

    let prometheus = back_filled(&text, folder.path());
    let last = histories.iter().flat_map(|one| &one.replicas);
    let last = last
        .filter_map(|one| one.readings.last())
        .map(|one| one.at_s);
    let until = at(last.fold(0.0, f64::max) + 60.0);
    let url = prometheus.1.as_str();
    let asked = judge(
        &setting,
        &[
            "--prometheus",
            url,
            "--selector",
            "{job!=\"\"}",
            "--until",
            &until,
        ],
    );
    assert_eq!(
        String::from_utf8_lossy(&asked.stdout),
        String::from_utf8_lossy(&of_text.stdout),
        "by API, then by text; {}",
        String::from_utf8_lossy(&asked.stderr)
    );

    let saved = folder.path().join("saved.json");
    let query = format!("{url}/api/v1/query?time={until}&query=%7Bjob%21%3D%22%22%7D%5B30d%5D");
    let answer = http::get(&query).expect("an answer of the API");
    std::fs::write(&saved, answer.text()).expect("a file to write");
    let of_answer = judge(&setting, &[saved.to_str().expect("a path in UTF-8")]);
    assert_eq!(of_answer.stdout, of_text.stdout, "by a saved answer");

    let missing = judge(
        &setting,
        &["--prometheus", url, "--selector", "{job=\"nobody\"}"],
    );
    assert_eq!(missing.status.code(), Some(1));
    let bad = judge(&setting, &["--prometheus", url, "--selector", "{job="]);
    let said = String::from_utf8_lossy(&bad.stderr);
    assert_eq!(bad.status.code(), Some(1), "{said}");
    assert!(said.contains("parse error"), "{said}");
}

/// The beginning of a history.
fn shortened(family: Family, seed: u64) -> History {
    let mut whole = history(family, seed);
    for replica in &mut whole.replicas {
        replica.readings.truncate(READINGS);
    }
    whole
}

/// All as one text: every family once, with a header of its own.
fn together(histories: &[History]) -> String {
    let mut text = String::new();
    for history in histories {
        for replica in &history.replicas {
            let one = replica.open_metrics(history, View::All);
            // Types may stand once in a text for promtool, and we go by names.
            let lines = one.lines().filter(|line| !line.starts_with('#'));
            for line in lines {
                text.push_str(line);
                text.push('\n');
            }
        }
    }
    text.push_str("# EOF\n");
    text
}

/// RFC 3339 of so many seconds after the beginning of all histories, which is 2026-01-01.
fn at(seconds: f64) -> String {
    let whole = seconds.ceil() as u64;
    let (days, rest) = (whole / 86_400, whole % 86_400);
    assert!(days < 31, "the histories end in January");
    format!(
        "2026-01-{:02}T{:02}:{:02}:{:02}Z",
        days + 1,
        rest / 3600,
        rest / 60 % 60,
        rest % 60
    )
}

fn judge(setting: &Setting, arguments: &[&str]) -> Output {
    let mut judge = command(&setting.unswept);
    judge.arg("judge").args(arguments);
    judge.output().expect("unswept to run")
}

fn lines(setting: &Setting, output: &Output) -> Vec<Value> {
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let text = String::from_utf8_lossy(&output.stdout);
    let lines = text.lines().map(|line| {
        let value: Value = serde_json::from_str(line).expect("a line of JSON");
        setting.assert_schema(&value);
        value
    });
    lines.collect()
}

/// A Prometheus that has what is in `text`, and its URL.
fn back_filled(text: &Path, folder: &Path) -> (Running, String) {
    let data = folder.join("tsdb");
    let mut promtool = command("promtool");
    promtool
        .args(["tsdb", "create-blocks-from", "openmetrics"])
        .arg(text)
        .arg(&data);
    let filled = promtool
        .output()
        .expect("promtool: apt-get install prometheus");
    let said = String::from_utf8_lossy(&filled.stderr);
    assert!(filled.status.success(), "promtool: {said}");
    let config = folder.join("prometheus.yml");
    std::fs::write(&config, "global: {}\n").expect("a configuration file");
    let port = free_port();
    let mut prometheus = command("prometheus");
    prometheus
        .arg(format!("--config.file={}", config.display()))
        .arg(format!("--storage.tsdb.path={}", data.display()))
        // The histories are of the beginning of the year.
        .arg("--storage.tsdb.retention.time=10y")
        .arg(format!("--web.listen-address=127.0.0.1:{port}"));
    let running = Running::start("prometheus", prometheus);
    let url = format!("http://127.0.0.1:{port}");
    wait_until("Prometheus to be ready", Duration::from_secs(60), || {
        http::get(&format!("{url}/-/ready")).map(|_| ())
    });
    (running, url)
}

/// A port that was free a moment ago.
fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("its address").port()
}
