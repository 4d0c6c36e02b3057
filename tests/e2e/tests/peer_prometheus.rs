//! What we write, read by Prometheus' own tools: promtool finds nothing to complain about, and a real
//! Prometheus scrapes the verdicts of a real service.

use std::io::Write;
use std::net::TcpListener;
use std::process::Stdio;
use std::time::Duration;

use e2e::process::command;
use e2e::{Running, Setting, Settings, Shop, Watcher, http, wait_until};

#[test]
fn prometheus_reads_our_series() {
    let Some(setting) = Setting::find() else {
        return;
    };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let shop = Shop::build_with(&setting, "scraped", &[]).start(&["-load", "20"]);
    let watcher = Watcher::start(&setting, &Settings::default(), &folder.path().join("data"));
    let pid = shop.running.pid();
    wait_until("a verdict on the shop", Duration::from_secs(60), || {
        watcher.verdict_of(pid)
    });

    let page = http::get(&format!("{}/metrics", watcher.url))
        .expect("our /metrics")
        .text();
    assert!(page.contains("unswept_target_up"), "{page}");
    let mut promtool = command("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool: apt-get install prometheus");
    let mut input = promtool.stdin.take().expect("its standard input");
    input.write_all(page.as_bytes()).expect("promtool to read");
    drop(input);
    let checked = promtool.wait_with_output().expect("promtool to end");
    let said = String::from_utf8_lossy(&checked.stderr);
    assert!(checked.status.success(), "promtool complains:\n{said}");

    let port = free_port();
    let config = folder.path().join("prometheus.yml");
    let target = watcher.url.trim_start_matches("http://");
    let text = format!(
        "global: {{scrape_interval: 1s}}\nscrape_configs:\n  - job_name: unswept\n    \
         honor_labels: true\n    static_configs: [{{targets: ['{target}']}}]\n"
    );
    std::fs::write(&config, text).expect("a configuration file");
    let mut prometheus = command("prometheus");
    prometheus
        .arg(format!("--config.file={}", config.display()))
        .arg(format!(
            "--storage.tsdb.path={}",
            folder.path().join("tsdb").display()
        ))
        .arg(format!("--web.listen-address=127.0.0.1:{port}"));
    let _prometheus = Running::start("prometheus", prometheus);
    let url = format!("http://127.0.0.1:{port}/api/v1/query?query=unswept_target_up");
    let labels = wait_until("Prometheus to scrape us", Duration::from_secs(60), || {
        let answer = http::get_json(&url)?;
        let rows = answer["data"]["result"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        let is_shops =
            |row: &serde_json::Value| row["metric"]["workload"] == "scraped (example.com/shop)";
        let row = rows.into_iter().find(is_shops).ok_or(answer.to_string())?;
        match row["value"][1].as_str() {
            Some("1") => Ok(row["metric"].clone()),
            value => Err(format!("{value:?}")),
        }
    });
    assert!(labels["pid"].is_null(), "a pid is never a label: {labels}");
}

/// A port that was free a moment ago.
fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("its address").port()
}
