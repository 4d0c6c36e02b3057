//! The whole shop, a service for each of its scenarios, under one watcher: what is said of each, how soon, and
//! whether the line to blame comes first. A measurement, which `cargo xtask bench shop` makes into a page; it
//! fails where nothing could be measured, never because of what came out.
//!
//! `UNSWEPT_BATCH` says which shop and where it runs: `shop/bare`, `copy/bare`, `shop/cgroup`, `copy/cgroup`.

use std::fs::File;
use std::io::Write as _;
use std::process::Command;
use std::time::{Duration, Instant};

use e2e::cgroup::MemoryCgroup;
use e2e::shop::OpenShop;
use e2e::watcher::Incident;
use e2e::{Setting, Settings, Shop, Watcher, process, tell};
use serde_json::{Value, json};

/// Every service is watched for so long: several days of the slow leak, and more waves.
const WATCHED: Duration = Duration::from_secs(450);
/// A day of the slow leak.
const DAY: &str = "30s";
/// More than any scenario takes in that time.
const LIMIT_BYTES: u64 = 2 << 30;
/// Ordinary requests a second of each service.
const LOAD: &str = "50";

/// A service, and what was seen of it.
struct Service {
    /// What `shop -list=json` says of its scenario.
    scenario: Value,
    open: OpenShop,
    started: Instant,
    /// When its first incident was there, with evidence.
    found_after: Option<Duration>,
    /// Ledgers read, those of them that closed, and the largest rest.
    ledgers: u32,
    closed: u32,
    rest_bytes: i64,
    // Last: it can only be taken away once its process has ended.
    _group: Option<MemoryCgroup>,
}

impl Service {
    fn name(&self) -> &str {
        self.scenario["name"].as_str().unwrap_or_default()
    }

    fn pid(&self) -> u32 {
        self.open.running.pid()
    }
}

#[test]
fn what_is_said_of_the_whole_shop() {
    let Ok(batch) = std::env::var("UNSWEPT_BATCH") else {
        println!("SKIP: a measurement: `cargo xtask bench shop`");
        return;
    };
    let Some(setting) = Setting::find() else {
        return;
    };
    let story = Instant::now();
    let (shop, place) = batch.split_once('/').expect("SHOP/PLACE");
    let shop = match shop {
        "copy" => Shop::build_renamed(&setting),
        _ => Shop::build(&setting),
    };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let watcher = Watcher::start(&setting, &Settings::default(), &folder.path().join("data"));
    let mut services = open_all(&shop, place == "cgroup");
    tell(story, format!("{} services run", services.len()));
    while story.elapsed() < WATCHED {
        std::thread::sleep(Duration::from_secs(1));
        for service in &mut services {
            look(&watcher, service);
        }
    }
    let file = std::env::var_os("UNSWEPT_ROWS").map(|name| File::options().append(true).open(name));
    let mut file = file.map(|file| file.expect("UNSWEPT_ROWS names a file"));
    for service in &services {
        let row = row(&shop, &watcher, service, &batch);
        println!("ROW {row}");
        if let Some(file) = &mut file {
            writeln!(file, "{row}").expect("room for a row");
        }
    }
    let cost = |pid| 100.0 * process::cpu_seconds(pid) / story.elapsed().as_secs_f64();
    let others: f64 = process::descendants_of(watcher.running.pid())
        .into_iter()
        .map(cost)
        .sum();
    let own = cost(watcher.running.pid());
    tell(
        story,
        format!("CPU of one core: watcher {own:.1} %, its children {others:.1} %"),
    );
}

fn open_all(shop: &Shop, in_cgroups: bool) -> Vec<Service> {
    let mut list = Command::new(&shop.program);
    list.arg("-list=json");
    let list: Value = serde_json::from_str(&process::run(list)).expect("a list of scenarios");
    let all = list.as_array().expect("a list").iter();
    all.zip(1..)
        .map(|(scenario, number)| {
            let name = scenario["name"].as_str().expect("a name");
            let arguments = ["-load", LOAD, "-day", DAY, "-scenario", name];
            let group =
                in_cgroups.then(|| MemoryCgroup::make(name, LIMIT_BYTES).expect("a memory cgroup"));
            // Replicas of one service would share incidents.
            let open = shop.start_as(&format!("service-{number}"), group.as_ref(), &arguments);
            Service {
                scenario: scenario.clone(),
                open,
                started: Instant::now(),
                found_after: None,
                ledgers: 0,
                closed: 0,
                rest_bytes: 0,
                _group: group,
            }
        })
        .collect()
}

/// Notes the first incident, and whether the ledger closes now.
fn look(watcher: &Watcher, service: &mut Service) {
    if service.found_after.is_none() {
        let incidents = watcher.incidents_of(service.pid());
        if incidents.iter().any(|one| !one.evidence().is_empty()) {
            service.found_after = Some(service.started.elapsed());
        }
    }
    let Ok(row) = watcher.target_of(service.pid()) else {
        return;
    };
    let id = row["target"]["id"].as_str().unwrap_or_default();
    let Ok(target) = watcher.api(&format!("targets/{id}")) else {
        return;
    };
    for ledger in [&target["ledger"], &target["container_ledger"]] {
        let number = |key: &str| ledger[key].as_i64();
        // What was not read within a second closes by chance, and without mappings by construction.
        if !["mappings", "cgroup"].contains(&ledger["basis"].as_str().unwrap_or_default()) {
            continue;
        }
        if let (Some(rest), Some(total), Some(..=1000)) = (
            number("unexplained_bytes"),
            number("total_bytes"),
            number("skew_ms"),
        ) {
            service.ledgers += 1;
            service.closed += u32::from(rest.abs() <= (8 << 20).max(total * 3 / 100));
            if rest.abs() > service.rest_bytes.abs() {
                service.rest_bytes = rest;
            }
        }
    }
}

/// A row of the table: what should be said, and what was.
fn row(shop: &Shop, watcher: &Watcher, service: &Service, batch: &str) -> Value {
    let incidents = watcher.incidents_of(service.pid());
    let kinds: Vec<String> = incidents.iter().map(|one| one.text("kind")).collect();
    let said = watcher.verdict_of(service.pid()).unwrap_or_default();
    let findings = said["findings"].as_array().cloned().unwrap_or_default();
    let findings: Vec<String> = findings
        .iter()
        .map(|finding| format!("{} {}", finding["verdict"], finding["kind"]).replace('"', ""))
        .collect();
    let best = incidents.iter().max_by_key(|one| {
        let kind = one.text("kind");
        (
            kind == service.scenario["kind"],
            wanted(service).contains(&kind),
        )
    });
    json!({
        "batch": batch,
        "scenario": service.name(),
        "wanted_verdict": service.scenario["verdict"],
        "wanted_kinds": wanted(service),
        "incidents": kinds,
        "seconds": service.found_after.map(|after| after.as_secs()),
        "wanted_place": wanted_place(service),
        "place": best.map(|incident| place_of_culprit(shop, service, incident)),
        "first_suspect": best.map(|incident| incident.finding()["suspects"][0].clone()),
        "findings": findings,
        "ledgers": service.ledgers,
        "closed": service.closed,
        "rest_bytes": service.rest_bytes,
    })
}

fn wanted(service: &Service) -> Vec<String> {
    let also = service.scenario["also"].as_array().into_iter().flatten();
    [&service.scenario["kind"]]
        .into_iter()
        .chain(also)
        .filter_map(|kind| Some(kind.as_str()?.to_owned()))
        .collect()
}

/// Where the culprit has to stand among the suspects.
fn wanted_place(service: &Service) -> Option<u32> {
    match service.name() {
        "unread-body" => Some(3),
        _ if service.scenario["verdict"] == "leak" => Some(1),
        _ => None,
    }
}

/// Where the culprit stands among the suspects, from 1; 0 where it does not. Of what no stack holds, the class of
/// mappings is all that can be told, and of descriptors the elements of the one list that holds such.
fn place_of_culprit(shop: &Shop, service: &Service, incident: &Incident) -> usize {
    let finding = incident.finding();
    let suspects = finding["suspects"].as_array().cloned().unwrap_or_default();
    let place = if service.scenario["shows"] == "mappings" {
        suspects.iter().position(|one| one["what"] == "mapping")
    } else if service.name() == "descriptor" {
        let holds = |one: &Value| {
            one["held_by"]
                .as_str()
                .is_some_and(|by| by.ends_with("[*]"))
        };
        suspects
            .iter()
            .position(|one| one["what"] == "fd" && holds(one))
    } else {
        let culprit = shop.culprit(service.name());
        suspects
            .iter()
            .position(|one| one["function"] == culprit.function && one["line"] == culprit.line)
    };
    place.map_or(0, |at| at + 1)
}
