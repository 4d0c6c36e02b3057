//! The disk is full while the watcher runs, then it has room again, then the watcher is killed, then the
//! disk is read-only. Needs root, for a small file system of its own.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use e2e::{Behaviour, Running, Server, Setting, Settings, Shop, Watcher, http, planted, process};
use e2e::{tell, wait_until};
use serde_json::{Value, json};

use crate::{assert_complete, wait_for_more};

const INCIDENT: &str = "20261122-planted-0011223344556677";

#[test]
fn a_full_disk_is_said_and_made_up_for_and_a_read_only_one_is_refused() {
    let Some(setting) = Setting::find() else {
        return;
    };
    let Some(disk) = SmallDisk::mount() else {
        println!("SKIP: mounting a small tmpfs needs root");
        return;
    };
    let story = Instant::now();
    let shop = Shop::build_with(&setting, "on-a-full-disk", &[]);
    let open = shop.start(&["-load", "20"]);
    let counts = Server::start(Behaviour::Counts);
    let settings = Settings {
        jobs: vec![("counts".into(), counts.host_port())],
        ..Settings::default()
    };
    let data = disk.path().join("data");
    let _ = planted::incident(&data, INCIDENT, "payments");
    let mut watcher = Watcher::start(&setting, &settings, &data);
    let _ = wait_for_more(&counts, 3);
    let judged = wait_until("a verdict", Duration::from_secs(30), || {
        watcher.verdict_of(open.running.pid())
    });

    let ballast = disk.fill();
    wait_until("the full disk to be said", Duration::from_secs(30), || {
        let ready = http::get(&format!("{}/-/ready", watcher.url))?;
        let said = ready.status == 503 && ready.text().contains("No space left");
        said.then_some(()).ok_or(ready.text())
    });
    let page = http::get(&format!("{}/", watcher.url)).expect("the page");
    assert!(
        page.text().contains("not written to disk"),
        "the page says so"
    );
    tell(story, "the disk is full, and it is said");
    let _ = disk.fill();
    let command = json!({"command": "answer", "incident": INCIDENT, "answer": "acknowledged",
        "by": "e2e", "note": "on a full disk"});
    let answer = watcher.command(&command).expect("an answer");
    let text = answer.text();
    assert!(
        answer.status == 409 && text.contains("disk"),
        "{} {text}",
        answer.status
    );
    wait_until("judging to go on", Duration::from_secs(20), || {
        let verdict = watcher.verdict_of(open.running.pid())?;
        let later = verdict["at"].as_str() > judged["at"].as_str();
        later.then_some(()).ok_or(verdict["at"].to_string())
    });
    let _ = wait_for_more(&counts, 3);

    fs::remove_file(ballast).expect("room again");
    wait_until("it to be well again", Duration::from_secs(60), || {
        let ready = http::get(&format!("{}/-/ready", watcher.url))?;
        (ready.status == 200).then_some(()).ok_or(ready.text())
    });
    wait_until("the answer on the disk", Duration::from_secs(10), || {
        let said = manifest(&data)["answers"].clone();
        (said[0]["by"] == "e2e")
            .then_some(())
            .ok_or(said.to_string())
    });
    tell(story, "there is room, and all is written");
    let until = wait_for_more(&counts, 2) - 1;
    assert_complete(&watcher, "counts", until);
    watcher.running.kill();

    let mut watcher = Watcher::start(&setting, &settings, &data);
    assert_complete(&watcher, "counts", until);
    assert_eq!(manifest(&data)["answers"][0]["by"], "e2e");
    assert!(!watcher.running.stderr().contains("panicked"));
    assert!(watcher.running.stop().success(), "it ends cleanly");
    tell(story, "nothing was lost by kill -9");

    disk.remount("ro");
    let said = refused(&setting, &data);
    tell(story, format!("read-only: {said}"));
    assert!(
        said.contains("Read-only file system") && said.contains("hint"),
        "{said}"
    );
    disk.remount("rw");
    let watcher = Watcher::start(&setting, &settings, &data);
    assert_complete(&watcher, "counts", until);
}

fn manifest(data: &Path) -> Value {
    let file = data.join("incidents").join(INCIDENT).join("manifest.json");
    let text = fs::read_to_string(file).unwrap_or_default();
    serde_json::from_str(&text).unwrap_or_default()
}

/// What a watcher says that cannot start on this data.
fn refused(setting: &Setting, data: &Path) -> String {
    let mut command = process::command(&setting.unswept);
    command
        .args(["watch", "--plain", "--listen", "127.0.0.1:0", "--data"])
        .arg(data);
    let mut running = Running::start("unswept watch", command);
    let end = running.wait(Duration::from_secs(20));
    assert_eq!(end.code(), Some(1), "{}", running.stderr());
    running.stderr()
}

/// A file system of 24 MiB, unmounted when dropped.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn mount() -> Option<Self> {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let mut mount = Command::new("mount");
        let mount = mount.args(["-t", "tmpfs", "-o", "size=24m", "tmpfs"]);
        let mounted = mount.arg(dir.path()).output();
        mounted
            .is_ok_and(|output| output.status.success())
            .then(|| Self(dir))
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    /// Leaves no room.
    fn fill(&self) -> std::path::PathBuf {
        let ballast = self.path().join("ballast");
        let mut open = fs::File::options();
        let mut file = open
            .create(true)
            .append(true)
            .open(&ballast)
            .expect("a file");
        // To the last byte: an error is what it is for.
        let _ = std::io::copy(&mut std::io::repeat(7), &mut file);
        ballast
    }

    fn remount(&self, how: &str) {
        let mut mount = Command::new("mount");
        mount
            .args(["-o", &format!("remount,{how}")])
            .arg(self.path());
        let _ = process::run(mount);
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.path()).status();
    }
}
