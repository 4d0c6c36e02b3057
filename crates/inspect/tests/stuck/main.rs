//! Goroutines that can never run again, found from outside, against what the runtime itself finds where it can.
#![allow(
    clippy::unwrap_used,
    reason = "helpers of tests, too, fail by panicking"
)]

#[path = "../common/mod.rs"]
mod common;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Instant;

use common::{Release, Running, Source, newest, releases};
use inspect::Program;
use inspect::heap::Reading;
use inspect::holders::{GoroutineGroup, Options, Report, Taken};

const SOURCE: Source = Source::new("stuck", &[("main.go", include_str!("main.go"))]);
/// Goroutines of each kind.
const EACH: u64 = 3;

/// Go 1.26 has the profile of leaked goroutines only as an experiment, which others do not know.
fn build(release: &Release, flags: &[&str]) -> PathBuf {
    let experiment = match release.minor {
        26 => "goroutineleakprofile",
        _ => "",
    };
    SOURCE.build_with(release, flags, experiment)
}

fn report_of(running: &Running) -> Report {
    let program = Program::attach(running.pid()).unwrap();
    let options = Options::default();
    let taken = Taken::read(&program, &options, Reading::Copy(Vec::new()), None).unwrap();
    // All of it waits, so nothing moves.
    taken.of_one_moment().report(&program, &options).unwrap()
}

/// What the runtime's own profile says: leaked goroutines by the function that they began in. `None` where it has no
/// such profile.
fn own_leaks(running: &mut Running) -> Option<BTreeMap<String, u64>> {
    let text = running.ask("leaks");
    if text.is_empty() {
        return None;
    }
    let mut leaks = BTreeMap::new();
    for record in text.split("\n\n") {
        let count = record
            .lines()
            .find_map(|line| line.split_once(" @ ")?.0.parse::<u64>().ok());
        let entry = record.lines().rev().find(|line| line.starts_with('#'));
        if let (Some(count), Some(entry)) = (count, entry) {
            let name = entry.split('\t').nth(2).unwrap();
            let name = name.split_once('+').unwrap().0;
            *leaks.entry(name.to_owned()).or_insert(0) += count;
        }
    }
    Some(leaks)
}

/// Count and proven by entry function.
fn proven(report: &Report) -> BTreeMap<String, (u64, u64)> {
    let mut proven = BTreeMap::new();
    for group in &report.goroutines {
        let sum = proven.entry(group.entry.clone()).or_insert((0, 0));
        sum.0 += group.count;
        sum.1 += group.proven_leaked;
    }
    proven
}

fn group<'a>(report: &'a Report, entry: &str) -> &'a GoroutineGroup {
    let mut groups = report.goroutines.iter();
    let found = groups.find(|group| group.entry == entry);
    found.unwrap_or_else(|| panic!("{entry} is not among {:?}", proven(report)))
}

/// The way that keeps what a kind waits on.
const KEPT: [(&str, &str); 10] = [
    ("main.keptByQueue", "main.queue"),
    ("main.keptByMap", "main.registry.jobs[*].done"),
    ("main.keptBySlice", "main.registry.list[*].done"),
    ("main.keptByLock", "main.lock"),
    ("main.keptByCond", "main.cond"),
    ("main.wokenBySleeper", "main.sleeper in main.sleeper"),
    ("main.wokenByKept", "main.keptAndWakes in main.keptAndWakes"),
    ("main.wokenByAfterFunc", "main.wokenByAfterFunc.func1"),
    ("main.wokenByFinalizer", "objects with finalizers"),
    ("main.wokenByTimeout", "context.WithDeadline"),
];

#[test]
fn what_has_leaked_is_proven_and_what_keeps_the_others_is_named() {
    for release in releases() {
        let stripped: &[&str] = &["-buildmode=pie", "-ldflags=-s -w"];
        for flags in [&[], stripped] {
            let case = format!("go{} {flags:?}", release.version);
            let mut running = Running::start(&build(&release, flags), &[]);
            let report = report_of(&running);
            for group in &report.goroutines {
                // Before Go 1.23 a stopped timer stays in the runtime's list until its time has come.
                let is_listed = group.entry == "main.leakedTicker" && release.minor < 23;
                if is_listed && group.proven_leaked < group.count {
                    assert_eq!(group.kept_by[0].path, "time.sendTime", "{case}");
                } else if group.entry.starts_with("main.leaked") {
                    assert_eq!(group.proven_leaked, group.count, "{case}: {group:#?}");
                    assert_eq!(group.kept_by, [], "{case}: {group:#?}");
                    assert_eq!(group.at.as_ref().unwrap().function, group.entry, "{case}");
                } else {
                    assert_eq!(group.proven_leaked, 0, "{case}: {group:#?}");
                }
                let is_one = group.entry == "main.main";
                let count = if is_one { 1 } else { EACH };
                assert_eq!(group.count, count, "{case}: {group:#?}");
            }
            assert_eq!(report.goroutines.len(), 32, "{case}: {:?}", proven(&report));
            if flags.is_empty() {
                for (entry, path) in KEPT {
                    let of_entry = group(&report, entry);
                    let kept = &of_entry.kept_by;
                    // Before Go 1.26 a condition that is a variable is not found.
                    let is_hidden = entry == "main.keptByCond" && of_entry.judged == 0;
                    if is_hidden && release.minor < 27 {
                        continue;
                    }
                    assert!(!kept.is_empty(), "{case}: {of_entry:#?}");
                    assert_eq!((kept.len(), kept[0].count), (1, EACH), "{case}: {kept:?}");
                    let is_same = kept[0].path.starts_with(path);
                    assert!(is_same, "{case} {entry}: {path} against {kept:?}");
                }
            }
            // Each has its buffer, and all have one in common.
            let buffers = group(&report, "main.leakedBuffers");
            let bytes = (1 << 20) + EACH * (64 << 10);
            let is_right = (bytes..bytes + 4096).contains(&buffers.retained_bytes);
            assert!(is_right, "{case}: {buffers:#?}");
            assert!(buffers.retained_objects > EACH, "{case}: {buffers:#?}");
            if let Some(own) = own_leaks(&mut running) {
                let ours: BTreeMap<String, u64> = proven(&report)
                    .into_iter()
                    .filter(|(_, (_, leaked))| *leaked > 0)
                    .map(|(entry, (_, leaked))| (entry, leaked))
                    .collect();
                assert_eq!(ours, own, "{case}");
                // The runtime has marked them meanwhile.
                let again = report_of(&running);
                let words = |report: &Report| proven(report);
                assert_eq!(words(&again), words(&report), "{case}");
                assert!(group(&again, "main.leakedSend").state.ends_with("(leaked)"));
            } else {
                let has_profile = release.minor >= 26;
                assert!(!has_profile, "{case}: it has the profile");
            }
        }
    }
}

#[test]
fn a_hundred_thousand_goroutines_take_seconds() {
    let running = Running::start(&build(&newest(), &[]), &["100000"]);
    let begin = Instant::now();
    let report = report_of(&running);
    let took = begin.elapsed();
    assert_eq!(group(&report, "main.leakedRange").proven_leaked, 33_334);
    assert_eq!(group(&report, "main.leakedMutex").proven_leaked, 33_333);
    let kept = group(&report, "main.keptByQueue");
    assert_eq!((kept.count, kept.proven_leaked), (33_333, 0));
    assert_eq!(kept.kept_by[0].path, "main.queue");
    println!("{took:?}");
    assert!(took.as_secs() < 30, "{took:?}");
}
