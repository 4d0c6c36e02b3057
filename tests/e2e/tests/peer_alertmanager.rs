//! Debian's Alertmanager, a cluster of two, takes our alerts: an incident is one alert at both for its
//! whole life, also through a restart of the watcher, and it is over when the incident is. Whatever is
//! logged, served and written meanwhile holds no secret.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use e2e::process::{command, run};
use e2e::{
    Behaviour, Running, Server, Setting, Settings, Shop, Watcher, http, planted, tell, wait_until,
};
use serde_json::{Value, json};

const INCIDENT: &str = "20261121-alerted-0123456789abcdef";
const WORKLOAD: &str = "alerted (example.com/shop)";
/// Each secret of the configuration has this in it.
const MARK: &str = "HUSH";

#[test]
fn a_cluster_takes_our_alerts_and_no_secret_leaves() {
    let Some(setting) = Setting::find() else {
        return;
    };
    let story = Instant::now();
    let folder = tempfile::tempdir().expect("a temporary folder");
    // The clean successor: it takes most of a minute until it is judged `no-leak`.
    let _clean = Shop::build_with(&setting, "alerted", &[]).start(&["-load", "40"]);
    let behind = Server::start(Behaviour::Keeps);
    let members = cluster(folder.path(), &behind);
    let data = folder.path().join("data");
    let opened = planted::incident(&data, INCIDENT, WORKLOAD);
    let settings = settings(&members, folder.path());
    let mut watcher = Watcher::start(&setting, &settings, &data);

    let mut found = Vec::new();
    for member in &members {
        found.push(wait_until(
            "the alert at a member",
            Duration::from_secs(20),
            || the_alert(&member.url),
        ));
    }
    tell(story, "both members have the alert");
    check_first(&found[0], &opened, &data);
    let amtool = || {
        let mut amtool = command("amtool");
        amtool
            .args([
                "alert",
                "query",
                "alertname=MemoryLeak",
                "cluster=e2e",
                "-o",
                "json",
            ])
            .arg(format!("--alertmanager.url={}", members[1].url));
        let said: Value = serde_json::from_str(&run(amtool)).expect("amtool prints JSON");
        said.as_array().map_or(0, Vec::len)
    };
    assert_eq!(amtool(), 1, "amtool sees it");

    let mut said = heard(&watcher);
    watcher.running.kill();
    let before = the_alert(&members[0].url).expect("it stands for four intervals");
    let ends = |alert: &Value| alert["endsAt"].as_str().unwrap_or_default().to_owned();
    let mut watcher = Watcher::start(&setting, &settings, &data);
    let again = wait_until("the alert again", Duration::from_secs(20), || {
        let alert = the_alert(&members[0].url)?;
        (ends(&alert) > ends(&before))
            .then_some(alert.clone())
            .ok_or(alert.to_string())
    });
    for key in ["fingerprint", "startsAt", "labels"] {
        assert_eq!(again[key], found[0][key], "{key} through a restart");
    }
    tell(
        story,
        "the watcher was killed and started, and it is the same alert",
    );

    for member in &members {
        wait_until(
            "the alert to be over",
            Duration::from_secs(90),
            || match the_alert(&member.url) {
                Err(none) if none == NONE => Ok(()),
                other => Err(format!("{other:?} {:?}", watcher.api("verdicts"))),
            },
        );
    }
    tell(
        story,
        "a clean successor: the alert is over at both members",
    );
    let states = || -> Vec<Value> {
        let bodies = behind.bodies();
        bodies.iter().map(|body| body["status"].clone()).collect()
    };
    wait_until(
        "Alertmanager's own webhook",
        Duration::from_secs(20),
        || {
            let states = states();
            (states.last() == Some(&"resolved".into()))
                .then_some(())
                .ok_or(format!("{states:?}"))
        },
    );
    assert_eq!(states()[0], "firing");

    check_health(&watcher);
    said.push_str(&heard(&watcher));
    assert!(watcher.running.stop().success(), "the watcher ends cleanly");
    said.push_str(&written(&data));
    assert!(
        said.contains("closed.example") && said.len() > 10_000,
        "all of it was read"
    );
    let at = said.find(MARK);
    assert!(
        at.is_none(),
        "a secret: {:?}",
        at.map(|at| &said[at.saturating_sub(300)..at])
    );
    tell(story, "done");
}

struct Member {
    url: String,
    _running: Running,
}

/// Two Alertmanagers that know of one another and tell `behind`.
fn cluster(folder: &Path, behind: &Server) -> [Member; 2] {
    let config = folder.join("alertmanager.yml");
    let text = format!(
        "route: {{receiver: all, group_by: [workload], group_wait: 1s, group_interval: 1s}}\n\
         receivers: [{{name: all, webhook_configs: [{{url: '{}'}}]}}]\n",
        behind.url()
    );
    std::fs::write(&config, text).expect("a configuration file");
    let gossip = [free_port(), free_port()];
    [0, 1].map(|number| {
        let port = free_port();
        let mut alertmanager = command("prometheus-alertmanager");
        alertmanager
            .arg(format!("--config.file={}", config.display()))
            .arg(format!(
                "--storage.path={}",
                folder.join(format!("am-{number}")).display()
            ))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .arg(format!(
                "--cluster.listen-address=127.0.0.1:{}",
                gossip[number]
            ))
            .arg(format!("--cluster.peer=127.0.0.1:{}", gossip[1 - number]))
            .arg("--cluster.settle-timeout=1s");
        let running = Running::start("alertmanager", alertmanager);
        let url = format!("http://127.0.0.1:{port}");
        wait_until("an Alertmanager", Duration::from_secs(20), || {
            http::get(&format!("{url}/-/ready"))
        });
        Member {
            url,
            _running: running,
        }
    })
}

/// The settings: the cluster, and receivers that have secrets and cannot be reached.
fn settings(members: &[Member; 2], folder: &Path) -> Settings {
    let targets: Vec<String> = members
        .iter()
        .map(|member| format!("'{}'", member.url.trim_start_matches("http://")))
        .collect();
    let file = folder.join("token");
    std::fs::write(&file, format!("{MARK}-in-a-file\n")).expect("a file with a secret");
    let more = format!(
        "notify: {{heap_profile_base64: true}}\n\
         alerting:\n  resend_delay: 2s\n  alertmanagers:\n    - static_configs: [{{targets: [{}]}}]\n      \
         basic_auth: {{username: u, password: {MARK}-1}}\n\
         receivers:\n  - name: closed\n    webhook_configs:\n      \
         - url: http://u:{MARK}-2@127.0.0.1:1/{MARK}-3\n        \
         http_config: {{authorization: {{credentials_file: {}}}}}\n    \
         slack_configs: [{{api_url: 'http://closed.example:1/services/{MARK}-4'}}]\n    \
         dingtalk_configs: [{{url: 'http://127.0.0.1:1/?access_token={MARK}-5', secret: {MARK}-6}}]\n    \
         email_configs:\n      - {{to: a@b.example, from: u@b.example, smarthost: 'localhost:1',\n         \
         auth_username: u, auth_password: {MARK}-7, require_tls: false}}\n",
        targets.join(", "),
        file.display()
    );
    Settings {
        more,
        cluster: "e2e".into(),
        log: "trace".into(),
        ..Settings::default()
    }
}

const NONE: &str = "no alert of ours is active";

/// The one alert of ours that is active at a member.
fn the_alert(url: &str) -> Result<Value, String> {
    let all = http::get_json(&format!("{url}/api/v2/alerts?active=true"))?;
    let all = all.as_array().cloned().unwrap_or_default();
    match &all[..] {
        [] => Err(NONE.into()),
        [one] => Ok(one.clone()),
        several => panic!("one incident is one alert: {several:#?}"),
    }
}

fn check_first(alert: &Value, opened: &str, data: &Path) {
    let labels = json!({"alertname": "MemoryLeak", "cluster": "e2e", "kind": "go-heap",
        "incident": INCIDENT, "namespace": "payments", "severity": "warning", "workload": WORKLOAD});
    assert_eq!(alert["labels"], labels);
    let started = alert["startsAt"].as_str().unwrap_or_default();
    assert!(
        started.starts_with(opened.trim_end_matches('Z')),
        "{started}, {opened}"
    );
    let notes = &alert["annotations"];
    assert_eq!(
        notes["summary"],
        format!("{WORKLOAD} leaks: go-heap, 1.0 MiB/min")
    );
    assert_eq!(notes["targets"], "alerted (pid 4242 on h)");
    // Of "\x1f\x8b a heap profile".
    assert_eq!(notes["heap_profile_base64"], "H4sgYSBoZWFwIHByb2ZpbGU=");
    let run = notes["command"].as_str().unwrap_or_default();
    assert!(
        run.contains(INCIDENT) && run.contains(&data.display().to_string()),
        "{run}"
    );
}

/// How the notifiers fare is told at every place where one looks.
fn check_health(watcher: &Watcher) {
    let page = |path: &str| {
        http::get(&format!("{}{path}", watcher.url))
            .expect("an answer")
            .text()
    };
    let metrics = page("/metrics");
    let count = |integration: &str, outcome: &str| -> f64 {
        let lines = metrics
            .lines()
            .filter(|line| line.starts_with("unswept_notifications_total{"))
            .filter(|line| line.contains(&format!("integration=\"{integration}\"")))
            .filter(|line| line.contains(&format!("outcome=\"{outcome}\"")));
        lines
            .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
            .sum()
    };
    assert!(count("alertmanager", "delivered") >= 4.0, "{metrics}");
    for failing in ["slack", "webhook", "email", "dingtalk"] {
        assert!(count(failing, "failed") >= 1.0, "{failing}: {metrics}");
    }
    let ready = http::get(&format!("{}/-/ready", watcher.url)).expect("an answer");
    assert_eq!(ready.status, 200, "pages and judging wait for no receiver");
    let ready = ready.text();
    assert!(
        ready.contains("closed (slack, closed.example:1): failed to deliver"),
        "{ready}"
    );
    assert!(page("/").contains("closed (slack, closed.example:1)"));
}

/// All that a watcher has logged, and what it serves.
fn heard(watcher: &Watcher) -> String {
    let mut all = watcher.running.stderr() + &watcher.running.stdout();
    for path in [
        "/",
        "/incidents",
        "/metrics",
        "/-/ready",
        "/api/v1/unswept/incidents",
    ] {
        let answer = http::get(&format!("{}{path}", watcher.url)).expect("an answer");
        all.push_str(&answer.text());
    }
    all
}

/// All that lies in the data directory.
fn written(folder: &Path) -> String {
    let mut all = String::new();
    let mut left: Vec<PathBuf> = vec![folder.to_owned()];
    while let Some(path) = left.pop() {
        if path.is_dir() {
            let inside = std::fs::read_dir(&path).expect("a folder of ours");
            left.extend(inside.flatten().map(|entry| entry.path()));
        } else {
            let bytes = std::fs::read(&path).expect("a file of ours");
            all.push_str(&String::from_utf8_lossy(&bytes));
        }
    }
    all
}

/// A port that was free a moment ago.
fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("its address").port()
}
