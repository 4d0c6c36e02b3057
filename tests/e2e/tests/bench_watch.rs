//! What watching costs: twenty services of about 100 MB and one of 2 GB, everything on, at the periods the product
//! comes with. A measurement, which `cargo xtask bench watch` makes into a page.

use std::fs;
use std::time::{Duration, Instant};

use e2e::targets::{Form, Program, Target, newest};
use e2e::{Setting, Settings, Shop, Watcher, process, tell, wait_until};
use serde_json::json;

const SERVICES: usize = 20;
/// Their page cache fills up, the rest is the shop's own.
const ARGUMENTS: [&str; 6] = [
    "-load",
    "10",
    "-page-cache",
    "70",
    "-scenario",
    "bounded-cache",
];
/// Programs are opened once, and caches fill.
const WARM_UP: Duration = Duration::from_secs(180);
const MEASURED: Duration = Duration::from_secs(600);

#[test]
fn what_watching_costs() {
    let Some(file) = std::env::var_os("UNSWEPT_ROWS") else {
        println!("SKIP: a measurement: `cargo xtask bench watch`");
        return;
    };
    let Some(setting) = Setting::find() else {
        return;
    };
    let story = Instant::now();
    let shop = Shop::build(&setting);
    let services: Vec<_> = (1..=SERVICES)
        .map(|number| shop.start_as(&format!("service-{number}"), None, &ARGUMENTS))
        .collect();
    let big = Target::build(&setting, &newest(), Form::Normal, Program::Targets);
    let big = big.start(&["heap", "--objects", "7800000", "--size", "256"]);
    let settings = Settings {
        as_shipped: true,
        ..Settings::default()
    };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let watcher = Watcher::start(&setting, &settings, &folder.path().join("data"));
    wait_until("all to be watched", Duration::from_secs(60), || {
        let pids = services.iter().map(|service| service.running.pid());
        pids.chain([big.pid()])
            .try_for_each(|pid| watcher.target_of(pid).map(|_| ()))
    });
    std::thread::sleep(WARM_UP);
    tell(story, "warm");

    let ours = || {
        let own = watcher.running.pid();
        let mut all = process::descendants_of(own);
        all.push(own);
        all
    };
    let cpu = || ours().into_iter().map(process::cpu_seconds).sum::<f64>();
    let (before, started) = (cpu(), Instant::now());
    let mut most_kib = 0;
    while started.elapsed() < MEASURED {
        std::thread::sleep(Duration::from_secs(5));
        most_kib = most_kib.max(ours().into_iter().map(pss_kib).sum());
    }
    let cpu_percent = 100.0 * (cpu() - before) / started.elapsed().as_secs_f64();
    let rss = services
        .iter()
        .map(|service| process::status_line(service.running.pid(), "VmRSS"));
    let rss: Vec<String> = rss.flatten().collect();
    let row = json!({
        "cpu_percent": cpu_percent,
        "pss_mib": most_kib as f64 / 1024.0,
        "seconds": started.elapsed().as_secs(),
        "services": services.len() + 1,
        "small_rss": rss[rss.len() / 2],
        "big_rss": process::status_line(big.pid(), "VmRSS"),
    });
    println!("ROW {row}");
    fs::write(file, format!("{row}\n")).expect("room for a row");
}

/// What of a process's memory is its own, shared pages by their share; 0 when it is gone.
fn pss_kib(pid: u32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:"));
    let kib = line.and_then(|rest| rest.split_ascii_whitespace().next());
    kib.and_then(|kib| kib.parse().ok()).unwrap_or(0)
}
