//! The disk hangs while the watcher runs, as a network volume does that was lost, and answers again later.
//! Needs root, for a file system of its own that can be frozen.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use e2e::{Behaviour, Server, Setting, Settings, Watcher, http, planted, tell, wait_until};
use rustix::process::Signal;
use serde_json::json;

use crate::{assert_complete, wait_for_more};

const INCIDENT: &str = "20261122-planted-0011223344556688";

#[test]
fn a_hung_disk_is_said_and_holds_up_neither_reading_nor_pages() {
    let Some(setting) = Setting::find() else {
        return;
    };
    let Some(disk) = OwnDisk::mount() else {
        println!("SKIP: no file system can be made and frozen here");
        return;
    };
    let story = Instant::now();
    let counts = Server::start(Behaviour::Counts);
    let settings = Settings {
        local_processes: false,
        jobs: vec![("counts".into(), counts.host_port())],
        ..Settings::default()
    };
    let data = disk.at().join("data");
    let _ = planted::incident(&data, INCIDENT, "payments");
    let mut watcher = Watcher::start(&setting, &settings, &data);
    let until = wait_for_more(&counts, 3) - 1;

    let frozen = disk.frozen();
    wait_until("the hung disk to be said", Duration::from_secs(30), || {
        let ready = http::get(&format!("{}/-/ready", watcher.url))?;
        let said = ready.status == 503 && ready.text().contains("has not answered");
        said.then_some(()).ok_or(ready.text())
    });
    tell(story, "the disk hangs, and it is said");
    let _ = wait_for_more(&counts, 3);
    let targets = watcher.api("targets").expect("the API answers");
    assert_eq!(targets["targets"][0]["state"]["state"], "up");
    let command = json!({"command": "answer", "incident": INCIDENT, "answer": "acknowledged",
        "by": "e2e", "note": "on a hung disk"});
    let answer = watcher.command(&command).expect("an answer");
    assert!(
        answer.status == 409 && answer.text().contains("disk"),
        "not accepted before it lies on the disk: {} {}",
        answer.status,
        answer.text()
    );

    drop(frozen);
    wait_until("it to be well again", Duration::from_secs(30), || {
        let ready = http::get(&format!("{}/-/ready", watcher.url))?;
        (ready.status == 200).then_some(()).ok_or(ready.text())
    });
    let last = wait_for_more(&counts, 2) - 1;
    assert!(last > until + 10, "{last} readings, {until} before it hung");
    assert_complete(&watcher, "counts", last);
    let manifest = data.join("incidents").join(INCIDENT).join("manifest.json");
    wait_until("the answer on the disk", Duration::from_secs(10), || {
        let text = std::fs::read_to_string(&manifest).unwrap_or_default();
        let there = text.contains("on a hung disk");
        there.then_some(()).ok_or(text)
    });
    tell(story, "it answers, and nothing that waited is missing");
    assert!(!watcher.running.stderr().contains("panicked"));
    assert!(watcher.running.stop().success(), "it ends cleanly");
}

#[test]
fn a_hung_disk_does_not_hold_up_the_end() {
    let Some(setting) = Setting::find() else {
        return;
    };
    let Some(disk) = OwnDisk::mount() else {
        println!("SKIP: no file system can be made and frozen here");
        return;
    };
    let story = Instant::now();
    let counts = Server::start(Behaviour::Counts);
    let settings = Settings {
        local_processes: false,
        jobs: vec![("counts".into(), counts.host_port())],
        ..Settings::default()
    };
    let data = disk.at().join("data");
    let mut watcher = Watcher::start(&setting, &settings, &data);
    let _ = wait_for_more(&counts, 3);

    let frozen = disk.frozen();
    let _ = wait_for_more(&counts, 3);
    let asked_to_end = Instant::now();
    watcher.running.signal(Signal::TERM);
    let said = wait_until("what is not written", Duration::from_secs(20), || {
        let said = watcher.running.stderr();
        let is_it = said.contains("not written:") && said.contains("rounds of readings");
        is_it.then_some(said.clone()).ok_or(said)
    });
    tell(story, said);
    assert!(asked_to_end.elapsed() > Duration::from_secs(9), "it waits");
    // Nobody can end the thread that hangs in the kernel, but all others are gone.
    wait_until("its threads to end", Duration::from_secs(5), || {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", watcher.running.pid()));
        let left = tasks.map_or(0, Iterator::count);
        // The first thread stays as long as any does.
        (left <= 3).then_some(()).ok_or(left.to_string())
    });
    drop(frozen);
    let end = watcher.running.wait(Duration::from_secs(10));
    assert_eq!(end.code(), Some(1), "{}", watcher.running.stderr());
    tell(story, "it has ended, and said what was not written");
}

/// Answers again when dropped.
struct Frozen<'a>(&'a OwnDisk);

impl Drop for Frozen<'_> {
    fn drop(&mut self) {
        self.0.freeze("--unfreeze");
    }
}

/// A file system of 64 MiB in a file, unmounted when dropped.
struct OwnDisk(tempfile::TempDir);

impl OwnDisk {
    fn mount() -> Option<Self> {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let (image, at) = (dir.path().join("image"), dir.path().join("disk"));
        let file = File::create(&image).expect("a file");
        file.set_len(64 << 20).expect("a sparse file");
        std::fs::create_dir(&at).expect("a folder");
        let made = ran("mkfs.ext4", &[Path::new("-q"), &image]);
        let mounted = made && ran("mount", &[Path::new("-oloop"), &image, &at]);
        let disk = mounted.then(|| Self(dir))?;
        let can = disk.freeze("--freeze") && disk.freeze("--unfreeze");
        can.then_some(disk)
    }

    /// Hangs until that is dropped, which it is before the watcher: a process that waits for a disk cannot be ended.
    fn frozen(&self) -> Frozen<'_> {
        assert!(self.freeze("--freeze"), "it could be frozen before");
        Frozen(self)
    }

    fn at(&self) -> PathBuf {
        self.0.path().join("disk")
    }

    fn freeze(&self, how: &str) -> bool {
        ran("fsfreeze", &[Path::new(how), &self.at()])
    }
}

impl Drop for OwnDisk {
    fn drop(&mut self) {
        ran("umount", &[Path::new("-l"), &self.at()]);
    }
}

fn ran(program: &str, arguments: &[&Path]) -> bool {
    let mut command = Command::new(program);
    let output = command.args(arguments).output();
    output.is_ok_and(|output| output.status.success())
}
