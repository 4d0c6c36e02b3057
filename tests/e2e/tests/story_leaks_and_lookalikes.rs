//! Three leaks and three kinds of growth that only look like leaks, in the shop and in a copy of it in
//! which everything has another name: twelve services, one watcher. It must find the six leaks, tell
//! their kinds, name the lines, keep the evidence, and say nothing against the other six.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use e2e::shop::OpenShop;
use e2e::watcher::Incident;
use e2e::{Behaviour, Culprit, Server, Setting, Settings, Shop, Watcher, http, process, tell};
use serde_json::Value;

/// From a leak's start to its incident, at most.
const INCIDENT_WITHIN: Duration = Duration::from_secs(180);
/// The look-alikes are watched for this long: three waves, and three times what the cache needs.
const WATCHED: Duration = Duration::from_secs(200);

/// A leak of the shop, and what has to be said about it.
struct Leak {
    scenario: &'static str,
    kinds: &'static [&'static str],
    unit: &'static str,
    /// The rate that the shop is asked for.
    per_minute: f64,
}

const LEAKS: [Leak; 3] = [
    Leak {
        scenario: "session-cache",
        kinds: &["go-heap"],
        unit: "bytes",
        per_minute: 60.0 * 1024.0 * 1024.0,
    },
    Leak {
        scenario: "goroutine",
        kinds: &["goroutine"],
        unit: "goroutines",
        per_minute: 1200.0,
    },
    Leak {
        scenario: "cgo",
        // Only blocks above 128 KiB would get mappings of their own; the shop's are smaller.
        kinds: &["native-heap"],
        unit: "bytes",
        per_minute: 60.0 * 1024.0 * 1024.0,
    },
];
const LOOK_ALIKES: [&str; 3] = ["bounded-cache", "traffic-wave", "big-file"];

/// One of the twelve services.
struct Service<'a> {
    shop: &'a Shop,
    scenario: &'static str,
    open: OpenShop,
    started: Instant,
}

impl Service<'_> {
    fn pid(&self) -> u32 {
        self.open.running.pid()
    }

    fn name(&self) -> String {
        format!("{} {}", self.shop.name, self.scenario)
    }
}

#[test]
fn six_leaks_are_named_and_six_look_alikes_left_alone() {
    let Some(setting) = Setting::find() else {
        return;
    };
    let story = Instant::now();
    let shops = [Shop::build(&setting), Shop::build_renamed(&setting)];
    tell(
        story,
        format!("built the shop and its copy, UNSWEPT_SEED={}", setting.seed),
    );

    let receiver = Server::start(Behaviour::Keeps);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let settings = Settings {
        webhook: Some(receiver.url()),
        ..Settings::default()
    };
    let mut watcher = Watcher::start(&setting, &settings, &folder.path().join("data"));
    let mut services = open_all(&shops);
    tell(story, "twelve services run");

    let found = wait_for_incidents(story, &watcher, &services);
    for service in &services {
        if let Some(leak) = LEAKS.iter().find(|leak| leak.scenario == service.scenario) {
            check_incident(&setting, service, leak, &found[&service.pid()]);
        }
    }
    while services[0].started.elapsed() < WATCHED {
        std::thread::sleep(Duration::from_secs(1));
        assert_look_alikes_are_left_alone(&watcher, &services);
    }
    tell(story, "the look-alikes were left alone to the end");

    check_alerts(&watcher, &receiver, &services);
    check_api(&setting, &watcher, &services);
    services
        .iter_mut()
        .for_each(|service| service.open.running.assert_alive());
    tell_costs(story, &watcher, &services);
    let end = watcher.running.stop();
    assert!(end.success(), "the watcher ends cleanly on SIGTERM: {end}");
    tell(story, "done");
}

fn open_all(shops: &[Shop]) -> Vec<Service<'_>> {
    let scenarios = LEAKS.iter().map(|leak| leak.scenario).chain(LOOK_ALIKES);
    let all = scenarios.flat_map(|scenario| shops.iter().map(move |shop| (shop, scenario)));
    all.map(|(shop, scenario)| Service {
        shop,
        scenario,
        started: Instant::now(),
        open: shop.start(&["-load", "100", "-scenario", scenario]),
    })
    .collect()
}

/// The incident of each leaking service by its pid, once its evidence is there.
fn wait_for_incidents(
    story: Instant,
    watcher: &Watcher,
    services: &[Service<'_>],
) -> BTreeMap<u32, Incident> {
    let mut found = BTreeMap::new();
    loop {
        assert_look_alikes_are_left_alone(watcher, services);
        let leaks = |service: &&Service<'_>| !LOOK_ALIKES.contains(&service.scenario);
        let missing: Vec<&Service<'_>> = services
            .iter()
            .filter(leaks)
            .filter(|service| !found.contains_key(&service.pid()))
            .collect();
        if missing.is_empty() {
            return found;
        }
        for service in missing {
            let time = service.started.elapsed();
            let incidents = watcher.incidents_of(service.pid());
            let names: Vec<String> = incidents.iter().map(|i| i.text("kind")).collect();
            assert!(
                names.len() < 2,
                "{} has several incidents: {names:?}",
                service.name()
            );
            let with_evidence = incidents.into_iter().find(|i| !i.evidence().is_empty());
            if let Some(incident) = with_evidence {
                let seconds = time.as_secs_f64();
                let kind = incident.text("kind");
                tell(
                    story,
                    format!("{}: {kind} after {seconds:.0} s", service.name()),
                );
                found.insert(service.pid(), incident);
            } else {
                assert!(
                    time < INCIDENT_WITHIN,
                    "no incident for {} within {time:?}; the verdict: {}",
                    service.name(),
                    verdict_in_short(watcher, service.pid())
                );
            }
        }
        std::thread::sleep(Duration::from_millis(500));
    }
}

fn assert_look_alikes_are_left_alone(watcher: &Watcher, services: &[Service<'_>]) {
    for service in services
        .iter()
        .filter(|s| LOOK_ALIKES.contains(&s.scenario))
    {
        if let Some(incident) = watcher.incidents_of(service.pid()).first() {
            panic!(
                "{} was accused of {} after {:?}: {:#}",
                service.name(),
                incident.text("kind"),
                service.started.elapsed(),
                incident.finding()
            );
        }
    }
}

fn verdict_in_short(watcher: &Watcher, pid: u32) -> String {
    let verdict = match watcher.verdict_of(pid) {
        Ok(verdict) => verdict,
        Err(said) => return said,
    };
    let mut text = String::new();
    for finding in verdict["findings"].as_array().into_iter().flatten() {
        text.push_str(&format!("\n  {} {}:", finding["verdict"], finding["kind"]));
        for reason in finding["why"].as_array().into_iter().flatten() {
            text.push_str(&format!("\n    for {}: {}", reason["for"], reason["text"]));
        }
    }
    text
}

fn check_incident(setting: &Setting, service: &Service<'_>, leak: &Leak, incident: &Incident) {
    let name = service.name();
    let kind = incident.text("kind");
    assert!(
        leak.kinds.contains(&kind.as_str()),
        "{name} was called {kind}"
    );
    assert_eq!(incident.text("state"), "open", "{name}");
    assert_eq!(incident.text("schema"), "unswept/incident/1", "{name}");
    setting.assert_schema(&incident.manifest);
    let finding = incident.finding();
    assert_eq!(finding["verdict"], "leak", "{name}: {finding:#}");
    check_growth(&name, leak, &finding);
    let left = &incident.manifest["verdict"]["seconds_to_limit"];
    let [estimate, low, high] = ["estimate", "low", "high"].map(|key| left[key].as_f64());
    assert!(
        low <= estimate && estimate <= high && low > Some(0.0),
        "{name}: {left}"
    );
    match leak.scenario {
        "cgo" => check_native_suspect(&name, &finding),
        _ => check_suspect(&name, &service.shop.culprit(leak.scenario), &finding),
    }
    check_evidence(setting, &name, incident);
}

/// The true rate lies in the interval, or near it: the shop's own clock and the sample's edges make
/// it differ by a few percent from what was asked for.
fn check_growth(name: &str, leak: &Leak, finding: &Value) {
    let growth = &finding["growth"];
    assert_eq!(growth["unit"], leak.unit, "{name}");
    let number = |key: &str| growth[key].as_f64().unwrap_or(f64::NAN);
    let [estimate, low, high] = ["per_minute", "low", "high"].map(number);
    println!(
        "          {name}: {:.3} of the true rate, interval {:.3} to {:.3}",
        estimate / leak.per_minute,
        low / leak.per_minute,
        high / leak.per_minute
    );
    assert!(low <= estimate && estimate <= high, "{name}: {growth}");
    let near = 0.9 * leak.per_minute..=1.1 * leak.per_minute;
    assert!(
        near.contains(&estimate) || (low..=high).contains(&leak.per_minute),
        "{name}: the true rate is {}, said was {growth}",
        leak.per_minute
    );
}

fn check_suspect(name: &str, culprit: &Culprit, finding: &Value) {
    let first = &finding["suspects"][0];
    println!(
        "          {name}: {} {}:{}",
        first["function"], first["file"], first["line"]
    );
    assert_eq!(first["rank"], 1, "{name}: {first:#}");
    assert_eq!(first["function"], culprit.function, "{name}: {first:#}");
    assert_eq!(first["line"], culprit.line, "{name}: {first:#}");
    let file = first["file"].as_str().unwrap_or_default();
    let file = Path::new(file).file_name().unwrap_or_default();
    assert_eq!(file, culprit.file.as_str(), "{name}: {first:#}");
    let share = first["growth_share"].as_f64();
    assert!(
        share > Some(0.8),
        "{name}: the culprit's share of the growth: {share:?}"
    );
}

/// C memory: which class of mappings grows, and that the line needs tracing.
fn check_native_suspect(name: &str, finding: &Value) {
    let first = &finding["suspects"][0];
    println!("          {name}: {}, {}", first["function"], first["note"]);
    assert_eq!(first["what"], "mapping", "{name}: {first:#}");
    let class = first["function"].as_str().unwrap_or_default();
    assert!(
        class.contains("arena") || class.contains("brk"),
        "{name}: {class}"
    );
    let text = finding.to_string();
    assert!(text.contains("needs tracing"), "{name}: {finding:#}");
    assert!(
        first["line"].is_null(),
        "{name}: no line is known: {first:#}"
    );
}

fn check_evidence(setting: &Setting, name: &str, incident: &Incident) {
    let wanted = [
        "before-heap.pb.gz",
        "before-goroutine.pb.gz",
        "before-mappings.json",
        "after-heap.pb.gz",
        "after-goroutine.pb.gz",
        "after-mappings.json",
        "after-metrics.txt",
        "verdict.json",
    ];
    let listed: BTreeSet<String> = incident.evidence().into_iter().collect();
    for file in wanted.into_iter().chain(["manifest.json"]) {
        let path = incident.folder.join(file);
        let known = file == "manifest.json" || listed.contains(file);
        assert!(known, "{name}: {file} is not in the manifest: {listed:?}");
        let meta = fs::metadata(&path).unwrap_or_else(|e| panic!("{name}: {file}: {e}"));
        assert!(meta.len() > 0, "{name}: {file} is empty");
        let mode = meta.permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{name}: {file} has mode {mode:o}");
    }
    // What we keep is read by the tools that people have.
    let mut pprof = Command::new(&setting.go);
    pprof
        .args(["tool", "pprof", "-top", "-nodecount=5"])
        .arg(incident.folder.join("after-heap.pb.gz"));
    let top = process::run(pprof);
    assert!(
        top.contains("flat%"),
        "{name}: go tool pprof printed: {top}"
    );
}

/// Alerts are JSON lines on standard output and JSON documents at the webhook; their labels are
/// few and never change.
fn check_alerts(watcher: &Watcher, receiver: &Server, services: &[Service<'_>]) {
    let mut labels: BTreeMap<String, Value> = BTreeMap::new();
    for alert in watcher.alerts() {
        let fingerprint = alert["fingerprint"]
            .as_str()
            .expect("a fingerprint")
            .to_owned();
        let before = labels.insert(fingerprint.clone(), alert["labels"].clone());
        let changed = before.is_some_and(|before| before != alert["labels"]);
        assert!(!changed, "the labels of {fingerprint} have changed");
    }
    let posted = receiver.bodies();
    let posted: BTreeSet<&str> = posted
        .iter()
        .flat_map(|body| body["alerts"].as_array().into_iter().flatten())
        .filter_map(|alert| alert["fingerprint"].as_str())
        .collect();
    for service in services {
        for incident in watcher.incidents_of(service.pid()) {
            let id = incident.text("id");
            let found = labels.get(&id);
            let found = found.unwrap_or_else(|| panic!("no alert for {id} of {}", service.name()));
            let keys: Vec<&String> = found.as_object().expect("labels").keys().collect();
            let wanted = ["alertname", "incident", "kind", "severity", "workload"];
            assert_eq!(keys, wanted, "{id}");
            assert_eq!(found["kind"], incident.text("kind"), "{id}");
            assert!(posted.contains(id.as_str()), "{id} was not posted");
        }
    }
}

/// The API tells the same as the folders, and its verdicts are what the schema says.
fn check_api(setting: &Setting, watcher: &Watcher, services: &[Service<'_>]) {
    let listed = watcher.api("incidents").expect("a list of incidents");
    let listed = listed["incidents"].to_string();
    for service in services {
        let row = watcher
            .target_of(service.pid())
            .expect("every service is a target");
        let leaks = !LOOK_ALIKES.contains(&service.scenario);
        assert_eq!(row["state"]["state"], "up", "{}: {row:#}", service.name());
        // One hasty judgement on a look-alike is no incident, and no failure.
        assert!(
            !leaks || row["verdict"] == "leak",
            "{}: {row:#}",
            service.name()
        );
        println!(
            "          {}: {} {}",
            service.name(),
            row["verdict"],
            row["kind"]
        );
        for incident in watcher.incidents_of(service.pid()) {
            let id = incident.text("id");
            assert!(listed.contains(&id), "{id} is not in the list");
            let path = format!("incidents/{id}/evidence/after-heap.pb.gz");
            let answer = http::get(&format!("{}/api/v1/unswept/{path}", watcher.url));
            let file = fs::read(incident.folder.join("after-heap.pb.gz"));
            let same = answer.expect("an answer").body == file.expect("a file");
            assert!(same, "{path} is the file");
        }
    }
    let answer = watcher.api("verdicts").expect("the verdicts");
    let verdicts = answer["verdicts"].as_array().expect("a list");
    assert!(
        verdicts.len() >= services.len(),
        "{} verdicts",
        verdicts.len()
    );
    for verdict in verdicts {
        setting.assert_schema(verdict);
    }
}

/// Not checked, since other programs share the machine: to be read by people.
fn tell_costs(story: Instant, watcher: &Watcher, services: &[Service<'_>]) {
    let seconds = services[0].started.elapsed().as_secs_f64();
    let of = |pid| 100.0 * process::cpu_seconds(pid) / seconds;
    let shops: f64 = services.iter().map(|service| of(service.pid())).sum();
    let others: f64 = process::descendants_of(watcher.running.pid())
        .into_iter()
        .map(of)
        .sum();
    let own = of(watcher.running.pid());
    tell(
        story,
        format!(
            "CPU of one core: shops {shops:.0} %, watcher {own:.1} %, its children {others:.1} %"
        ),
    );
    for service in services {
        let answer = http::get(&format!("{}/metrics", service.open.url));
        let text = answer.expect("metrics").text();
        let cycles = text
            .lines()
            .find_map(|line| line.strip_prefix("go_gc_duration_seconds_count "));
        let cycles: f64 = cycles
            .and_then(|text| text.parse().ok())
            .unwrap_or(f64::NAN);
        println!(
            "          {}: {:.2} GC cycles a second",
            service.name(),
            cycles / seconds
        );
    }
}
