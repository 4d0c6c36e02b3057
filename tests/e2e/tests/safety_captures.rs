//! Taking evidence harms nobody, measured in the targets: with 100,000 parked goroutines none stands still
//! for more than 20 ms, and with 50 MB to its limit none meets it either. What an incident takes and is refused is in
//! the story `captures`.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use e2e::cgroup::MemoryCgroup;
use e2e::stalls::{self, Service};
use e2e::targets::inspect::inspect;
use e2e::{Bystander, Setting, Settings, Watcher, process, tell, wait_until};
use rustix::process::Signal;
use serde_json::json;

const MB: u64 = 1_000_000;
const HEADROOM: u64 = 50 * MB;
const STALL_MS_MAX: f64 = 20.0;
const CAPTURES: usize = 8;
/// Before each capture.
const PAUSE: Duration = Duration::from_millis(250);
const CROWDED: [&str; 4] = ["-goroutines", "100000", "-heap", "50"];
/// What the service is asked for where it may be asked for its goroutines.
const GOROUTINES: &str = "/debug/pprof/goroutine";

#[test]
fn with_100_000_goroutines_a_capture_stalls_nobody() {
    let Some(setting) = Setting::find() else {
        return;
    };
    let story = Instant::now();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let program = stalls::build(&setting, folder.path());
    let data = folder.path().join("data");
    let mut watcher = Watcher::start(&setting, &Settings::default(), &data);
    let crowded = Service::start("crowded", process::command(&program), &CROWDED);
    let ring = data.join("ring");
    assert_stalls_nobody(story, "a snapshot", &crowded, || {
        snapshot(&watcher, &ring, &crowded);
    });
    assert_profiled(&watcher, &ring, &crowded, ".heap-profile.");
    // Read from outside: once, for the next one is too soon.
    assert_profiled(&watcher, &ring, &crowded, ".goroutine-profile.");
    assert_stalls_nobody(story, "goroutines from outside", &crowded, || {
        let file = folder.path().join("goroutines.pb.gz");
        let file = file.to_str().expect("a name in UTF-8");
        let pid = crowded.pid().to_string();
        let words = ["goroutines", &pid, "--format", "pprof", "-o", file];
        let read = inspect(&setting, &words);
        assert_eq!(read.code, Some(0), "{}", read.said);
    });
    assert_would_be_seen(story, &crowded);
    watcher.running.assert_alive();
    assert!(watcher.running.stop().success(), "the watcher ends cleanly");
}

#[test]
fn with_50_mb_to_its_limit_too_a_capture_pushes_nobody_over_it() {
    let Some(setting) = Setting::find() else {
        return;
    };
    let story = Instant::now();
    let Some(cgroup) = MemoryCgroup::make("safety-captures", 1 << 30) else {
        return;
    };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let program = stalls::build(&setting, folder.path());
    let data = folder.path().join("data");
    let mut watcher = Watcher::start(&setting, &Settings::default(), &data);
    let mut tight = Service::start("tight", cgroup.command(&program), &CROWDED);
    cgroup.set_limit(cgroup.figure("memory.usage_in_bytes", "") + HEADROOM);
    let ring = data.join("ring");
    assert_stalls_nobody(story, "a snapshot near the limit", &tight, || {
        snapshot(&watcher, &ring, &tight);
    });
    assert_profiled(&watcher, &ring, &tight, ".heap-profile.");
    let figure = |file: &str| cgroup.figure(file, "") / MB;
    let (most, limit) = (
        figure("memory.max_usage_in_bytes"),
        figure("memory.limit_in_bytes"),
    );
    tell(
        story,
        format!("it had {most} of {limit} MB at most over {CAPTURES} captures"),
    );
    assert_eq!(cgroup.figure("memory.failcnt", ""), 0, "it met its limit");
    assert_eq!(cgroup.figure("memory.oom_control", "oom_kill "), 0);

    // What was refused all the while is said where somebody looks for it: in the incident of its end.
    tight.ask("grow?mib_each_second=200");
    let ended = tight.running.wait(Duration::from_secs(30));
    tell(story, format!("grown on purpose, it has ended: {ended}"));
    let want = [
        "from before: goroutine profile not taken: the service has 1000",
        "from before: goroutine profile not had: from outside neither: goroutine profile put off for",
    ];
    let told = wait_until("the refusals", Duration::from_secs(30), || {
        let incident = watcher.incidents_of(tight.pid()).pop().ok_or("none yet")?;
        let events = incident.manifest["timeline"].as_array();
        let refused = events.into_iter().flatten();
        let refused = refused.filter(|event| event["refused"]["capture"] == "goroutine-profile");
        let told = refused.filter_map(|event| event["text"].as_str().map(str::to_owned));
        let told: Vec<String> = told.collect();
        let has = |want: &&str| told.iter().any(|text| text.starts_with(want));
        match want.iter().all(has) {
            true => Ok(told),
            false => Err(format!("{told:?}")),
        }
    });
    tell(story, format!("{told:#?}"));
    watcher.running.assert_alive();
    assert!(watcher.running.stop().success(), "the watcher ends cleanly");
}

/// Captures one after the other, the first with all that is done once, each after a pause in which nobody asks for
/// anything. A stall counts as far as a bystander ran meanwhile: while nobody runs on this machine, no capture is what
/// a service waits for. Where the machine is quiet in the pauses, captures do not make it loud either.
fn assert_stalls_nobody(story: Instant, what: &str, service: &Service, capture: impl Fn()) {
    let bystander = Bystander::start();
    let worst = |stalls: &mut dyn Iterator<Item = f64>| stalls.fold(0.0, f64::max);
    let (mut alone, mut all, mut noise) = (Vec::new(), Vec::new(), 0.0_f64);
    for _ in 0..CAPTURES {
        noise = noise.max(bystander.latest_during(|| std::thread::sleep(PAUSE)));
        let before = service.noted();
        capture();
        let noted = service.noted();
        for noted in [&before, &noted] {
            assert_eq!(noted.times_asked(GOROUTINES), 0, "100,000 are too many");
        }
        alone.push(worst(
            &mut noted.stalls.iter().map(|span| bystander.ran_in(*span)),
        ));
        all.push(worst(&mut noted.stalls.iter().map(|span| span.ms())));
    }
    let told = format!(
        "{what}, stalls in ms: {alone:.1?}, shared ones included {all:.1?}, noise in the pauses {noise:.1}"
    );
    tell(story, format!("100,000 goroutines, {told}"));
    assert!(alone.iter().all(|ms| *ms <= STALL_MS_MAX), "{told}");
    // Some of them may meet a disturbance from elsewhere.
    all.sort_by(f64::total_cmp);
    let is_quiet = noise < STALL_MS_MAX / 2.0;
    assert!(!is_quiet || all[CAPTURES / 2] <= STALL_MS_MAX, "{told}");
}

/// A service that is stopped for a bit longer than is allowed is seen to stand still, on a loud machine once at least.
fn assert_would_be_seen(story: Instant, service: &Service) {
    const STOPPED: Duration = Duration::from_millis(30);
    let bystander = Bystander::start();
    let _ = service.noted();
    let stopped = (0..CAPTURES).map(|_| {
        service.running.signal(Signal::STOP);
        std::thread::sleep(STOPPED);
        service.running.signal(Signal::CONT);
        let stalls = service.noted().stalls.into_iter();
        stalls
            .map(|span| bystander.ran_in(span))
            .fold(0.0, f64::max)
    });
    let stopped: Vec<f64> = stopped.collect();
    tell(
        story,
        format!("stopped for {STOPPED:?}, stalls in ms: {stopped:.1?}"),
    );
    assert!(stopped.iter().any(|ms| *ms > STALL_MS_MAX), "{stopped:?}");
}

/// Has a snapshot taken, and waits until it lies in the ring.
fn snapshot(watcher: &Watcher, ring: &Path, service: &Service) {
    let patience = Duration::from_secs(30);
    let target = wait_until("the target", patience, || target_of(watcher, service));
    let command = json!({"command": "snapshot", "target": target});
    let before = files(ring, &target);
    let started = Instant::now();
    loop {
        let answer = watcher.command(&command).expect("an answer");
        match answer.status {
            202 => break,
            // What the last one made the target allocate is not in its figures yet.
            429 => std::thread::sleep(Duration::from_millis(50)),
            other => panic!("{other}: {}", answer.text()),
        }
        assert!(started.elapsed() < patience, "busy for {patience:?}");
    }
    while files(ring, &target).is_subset(&before) {
        assert!(started.elapsed() < patience, "no snapshot in {ring:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn target_of(watcher: &Watcher, service: &Service) -> Result<String, String> {
    let row = watcher.target_of(service.pid())?;
    let id = row["target"]["id"].as_str();
    id.map(str::to_owned).ok_or("no id".to_owned())
}

fn files(ring: &Path, target: &str) -> BTreeSet<String> {
    let files = std::fs::read_dir(ring.join(target)).into_iter().flatten();
    let names = files.flatten().map(|file| file.file_name());
    names
        .map(|name| name.to_string_lossy().into_owned())
        .collect()
}

/// That a profile was taken, and not only mappings.
fn assert_profiled(watcher: &Watcher, ring: &Path, service: &Service, kind: &str) {
    let target = target_of(watcher, service).expect("it is watched");
    let names = files(ring, &target);
    let profiled = names.iter().any(|name| name.contains(kind));
    let row = watcher.target_of(service.pid());
    assert!(profiled, "{kind}: {names:?} of {row:#?}");
}
