//! Goroutines that can never run again, found from outside, against what the runtime itself finds where it can.
#![allow(
    clippy::unwrap_used,
    reason = "helpers of tests, too, fail by panicking"
)]

use std::collections::BTreeMap;
use std::collections::hash_map::DefaultHasher;
use std::fs;
use std::hash::{Hash, Hasher};
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Mutex;
use std::time::Instant;

use inspect::Program;
use inspect::heap::Reading;
use inspect::holders::{GoroutineGroup, Options, Report, Taken};

const SOURCE: &str = include_str!("main.go");
/// Goroutines of each kind.
const EACH: u64 = 3;

/// The newest and the oldest release below `target/tools`, all of them if `INSPECT_RELEASES=all`; the `go` on PATH
/// where there are none.
fn releases() -> Vec<(String, PathBuf)> {
    let tools = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/tools");
    let folders = fs::read_dir(tools).into_iter().flatten().flatten();
    let mut found: Vec<(String, PathBuf)> = folders
        .filter_map(|folder| {
            let name = folder.file_name().into_string().ok()?;
            let version = name.strip_prefix("go-")?.to_owned();
            Some((version, folder.path().join("go/bin/go")))
        })
        .filter(|(_, go)| go.is_file())
        .collect();
    found.sort();
    if found.is_empty() {
        return vec![("path".to_owned(), PathBuf::from("go"))];
    }
    if std::env::var("INSPECT_RELEASES").is_ok_and(|which| which == "all") {
        return found;
    }
    let last = found.len() - 1;
    let ends = found.into_iter().enumerate();
    ends.filter(|(at, _)| [0, last].contains(at))
        .map(|(_, go)| go)
        .collect()
}

/// The program, built once for each release and form.
fn build(release: &(String, PathBuf), flags: &[&str]) -> PathBuf {
    static BUILDING: Mutex<()> = Mutex::new(());
    let _building = BUILDING.lock();
    let mut hasher = DefaultHasher::new();
    (SOURCE, release, flags).hash(&mut hasher);
    let name = format!("stuck-{}-{:016x}", release.0, hasher.finish());
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let out = folder.join("program");
    if out.is_file() {
        return out;
    }
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("main.go"), SOURCE).unwrap();
    fs::write(
        folder.join("go.mod"),
        "module example.com/stuck\n\ngo 1.21\n",
    )
    .unwrap();
    let go = |experiment: &str| {
        let mut command = Command::new(&release.1);
        command
            .args(["build", "-buildvcs=false", "-o", "unready"])
            .args(flags)
            .arg(".")
            .current_dir(&folder)
            .envs([
                ("GOTOOLCHAIN", "local"),
                ("GOPROXY", "off"),
                ("GOFLAGS", ""),
                ("CGO_ENABLED", "0"),
                ("GOEXPERIMENT", experiment),
            ]);
        command
            .output()
            .expect("`go` must be on PATH or below target/tools")
    };
    // Go 1.26 has the profile only as an experiment, and others do not know that experiment.
    let mut output = go("goroutineleakprofile");
    if !output.status.success() {
        output = go("");
    }
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {errors}", release.0);
    fs::rename(folder.join("unready"), &out).unwrap();
    out
}

/// A running program; killed when dropped.
struct Running {
    child: Child,
    output: BufReader<ChildStdout>,
}

impl Running {
    fn start(program: &Path, arguments: &[&str]) -> Self {
        let mut child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        output.read_line(&mut line).unwrap();
        assert_eq!(line, "READY\n");
        Self { child, output }
    }

    fn report(&self) -> Report {
        let program = Program::attach(self.child.id()).unwrap();
        let options = Options::default();
        let taken = Taken::read(&program, &options, Reading::Copy(Vec::new()), None).unwrap();
        taken.report(&program, &options).unwrap()
    }

    /// What the runtime's own profile says: leaked goroutines by the function that they began in. `None` where it has
    /// no such profile.
    fn own_leaks(&mut self) -> Option<BTreeMap<String, u64>> {
        let input = self.child.stdin.as_mut().unwrap();
        input.write_all(b"leaks\n").unwrap();
        let mut length = String::new();
        self.output.read_line(&mut length).unwrap();
        let mut text = vec![0; length.trim().parse().unwrap()];
        self.output.read_exact(&mut text).unwrap();
        let text = String::from_utf8(text).unwrap();
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
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
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
            let case = format!("go{} {flags:?}", release.0);
            let mut running = Running::start(&build(&release, flags), &[]);
            let report = running.report();
            for group in &report.goroutines {
                // Before Go 1.23 a stopped timer stays in the runtime's list until its time has come.
                let is_listed = group.entry == "main.leakedTicker"
                    && matches!(release.0.get(..5), Some("1.21." | "1.22."));
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
                    if is_hidden && !release.0.starts_with("1.27") {
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
            if let Some(own) = running.own_leaks() {
                let ours: BTreeMap<String, u64> = proven(&report)
                    .into_iter()
                    .filter(|(_, (_, leaked))| *leaked > 0)
                    .map(|(entry, (_, leaked))| (entry, leaked))
                    .collect();
                assert_eq!(ours, own, "{case}");
                // The runtime has marked them meanwhile.
                let again = running.report();
                let words = |report: &Report| proven(report);
                assert_eq!(words(&again), words(&report), "{case}");
                assert!(group(&again, "main.leakedSend").state.ends_with("(leaked)"));
            } else {
                let has_profile = matches!(release.0.get(..5), Some("1.26." | "1.27."));
                assert!(!has_profile, "{case}: it has the profile");
            }
        }
    }
}

#[test]
fn a_hundred_thousand_goroutines_take_seconds() {
    let release = releases().pop().unwrap();
    let running = Running::start(&build(&release, &[]), &["100000"]);
    let begin = Instant::now();
    let report = running.report();
    let took = begin.elapsed();
    assert_eq!(group(&report, "main.leakedRange").proven_leaked, 33_334);
    assert_eq!(group(&report, "main.leakedMutex").proven_leaked, 33_333);
    let kept = group(&report, "main.keptByQueue");
    assert_eq!((kept.count, kept.proven_leaked), (33_333, 0));
    assert_eq!(kept.kept_by[0].path, "main.queue");
    println!("{took:?}");
    assert!(took.as_secs() < 30, "{took:?}");
}
