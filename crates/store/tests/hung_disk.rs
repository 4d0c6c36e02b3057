//! A disk that hangs: whoever asks how the store is gets an answer, and what was appended meanwhile is there
//! afterwards. Needs root, for a file system that can be frozen; `SKIP` without.
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::fs::File;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use model::{Append, Batch, Clock, Labels, Sample, SimClock, UnixMs};
use store::{Health, Options, Store};

fn ran(program: &str, arguments: &[&str], path: &Path) -> bool {
    let mut command = Command::new(program);
    let output = command.args(arguments).arg(path).output();
    output.is_ok_and(|output| output.status.success())
}

/// A file system of its own, unmounted when dropped.
struct OwnDisk(tempfile::TempDir);

impl OwnDisk {
    fn mount() -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let image = dir.path().join("image");
        File::create(&image).unwrap().set_len(64 << 20).unwrap();
        let of_image = image.to_str().unwrap().to_owned();
        let at = dir.path().join("disk");
        std::fs::create_dir(&at).unwrap();
        let mounted =
            ran("mkfs.ext4", &["-q"], &image) && ran("mount", &["-o", "loop", &of_image], &at);
        let disk = mounted.then(|| Self(dir))?;
        (ran("fsfreeze", &["--freeze"], &at) && ran("fsfreeze", &["--unfreeze"], &at))
            .then_some(disk)
    }

    fn at(&self) -> std::path::PathBuf {
        self.0.path().join("disk")
    }
}

/// Hangs until it is dropped, also when the test fails: whoever waits for a disk cannot be ended.
struct Frozen<'a>(&'a OwnDisk);

impl<'a> Frozen<'a> {
    fn new(disk: &'a OwnDisk) -> Self {
        assert!(ran("fsfreeze", &["--freeze"], &disk.at()));
        Self(disk)
    }
}

impl Drop for Frozen<'_> {
    fn drop(&mut self) {
        ran("fsfreeze", &["--unfreeze"], &self.0.at());
    }
}

impl Drop for OwnDisk {
    fn drop(&mut self) {
        ran("umount", &[], &self.at());
    }
}

fn batch(clock: &SimClock) -> Batch {
    let sample = Sample {
        t: clock.now(),
        v: 1.0,
    };
    Batch {
        samples: vec![(Labels::metric("m", [("i", "1")]), sample)],
    }
}

fn in_time<T>(what: &str, ask: impl FnOnce() -> T) -> T {
    let began = Instant::now();
    let answer = ask();
    let took = began.elapsed();
    assert!(took < Duration::from_secs(1), "{what} took {took:?}");
    answer
}

#[test]
fn a_hung_disk_is_said_and_holds_up_nobody_who_asks() {
    let Some(disk) = OwnDisk::mount() else {
        println!("SKIP: no file system can be made and frozen here");
        return;
    };
    let clock = Arc::new(SimClock::new(UnixMs(1_795_300_200_000)));
    let options = Options {
        background: false,
        ..Options::default()
    };
    let data = disk.at().join("data");
    let store = Store::open(&data, &options, clock.clone()).unwrap();
    store.append(&batch(&clock)).unwrap();
    assert_eq!(store.stats().samples, 1);

    thread::scope(|scope| {
        let frozen = Frozen::new(&disk);
        clock.advance(Duration::from_secs(1));
        let append = scope.spawn(|| store.append(&batch(&clock)));
        thread::sleep(Duration::from_millis(300));
        clock.advance(Duration::from_secs(30));
        let health = in_time("health", || store.health());
        let figures = in_time("stats", || store.stats());
        assert!(!append.is_finished(), "a frozen file system takes nothing");
        assert!(
            matches!(&health, Health::Degraded(why) if why.contains("has not answered for 30 s")),
            "{health:?}"
        );
        assert_eq!(figures.samples, 1);
        drop(frozen);
        assert_eq!(append.join().unwrap().unwrap().stored, 1);
    });
    assert_eq!(store.health(), Health::Good);
    assert_eq!(store.stats().samples, 2);
    drop(store);
}
