//! Endpoints that tell the runtime's own figures and nothing of the process, as expvar does: their leaks are found
//! all the same. Then our configuration is read again, which is no restart of anybody's.

use std::time::{Duration, Instant};

use e2e::watcher::Incident;
use e2e::{Setting, Settings, Shop, Watcher, tell, wait_until};
use serde_json::json;

/// 1 MiB a second, whoever says so.
const PER_MINUTE: f64 = 60.0 * 1_048_576.0;
/// Mostly 140 s; a machine that stands still for seconds makes growth uneven, and a judge wait.
const INCIDENT_WITHIN: Duration = Duration::from_secs(240);

#[test]
fn a_leak_is_found_by_the_runtime_s_figures_alone() {
    let Some(setting) = Setting::find() else {
        return;
    };
    let story = Instant::now();
    let shop = Shop::build_with(&setting, "told", &[]);
    let leaking = shop.start(&["-load", "20", "-scenario", "session-cache"]);
    let place = leaking.url.trim_start_matches("http://").to_owned();
    let job = |name: &str, path: &str| {
        format!(
            "  - {{job_name: {name}, metrics_path: '{path}', static_configs: [{{targets: ['{place}']}}]}}\n"
        )
    };
    let jobs = [
        "scrape_configs:\n".to_owned(),
        job("expvar", "/debug/vars"),
        job("trailer", "/debug/pprof/heap?debug=1"),
        job("metrics", "/metrics"),
    ];
    let folder = tempfile::tempdir().expect("a temporary folder");
    let data = folder.path().join("data");
    let settings = Settings {
        local_processes: false,
        more: jobs.concat(),
        ..Settings::default()
    };
    let mut watcher = Watcher::start(&setting, &settings, &data);

    for name in ["metrics", "expvar", "trailer"] {
        let incident = wait_until("the incident", INCIDENT_WITHIN, || incident(&watcher, name));
        assert_eq!(incident.text("kind"), "go-heap", "{:#}", incident.manifest);
        let rate = incident.finding()["growth"]["per_minute"].as_f64();
        let rate = rate.unwrap_or_default() / PER_MINUTE;
        assert!((rate - 1.0).abs() < 0.3, "{name}: {rate}");
        tell(
            story,
            format!("{name}: an incident, {rate:.2} of the true rate"),
        );
    }

    let file = data.with_extension("yml");
    let text = std::fs::read_to_string(&file).expect("the configuration");
    let other = text.replace("ring_interval: 30s", "ring_interval: 31s");
    assert_ne!(text, other);
    std::fs::write(&file, other).expect("the configuration");
    let answer = watcher.command(&json!({"command": "reload"}));
    let answer = answer.expect("an answer").text();
    assert!(answer.contains("changed: evidence"), "{answer}");
    let read = || watcher.samples("unswept_go_heap_alloc_bytes{job=\"metrics\"}");
    let before = read().expect("its samples").len();
    wait_until("it to be read again", Duration::from_secs(20), || {
        let now = read()?.len();
        (now > before + 2).then_some(()).ok_or(now.to_string())
    });
    let marks = watcher.samples("unswept_mark");
    let none = Err("0 series of unswept_mark".to_owned());
    assert_eq!(marks, none, "nobody has started anything");
    tell(story, "a reload is no restart");
    watcher.running.assert_alive();
    assert!(watcher.running.stop().success(), "the watcher ends cleanly");
}

fn incident(watcher: &Watcher, workload: &str) -> Result<Incident, String> {
    let all = watcher.incidents().into_iter();
    let mut its = all.filter(|incident| incident.text("workload") == workload);
    its.next().ok_or_else(|| {
        let target = watcher.target_of_job(workload);
        format!(
            "{workload}: {:?}",
            target.map(|target| target["verdict"].clone())
        )
    })
}
