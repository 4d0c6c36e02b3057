//! The kernel sets the file system read-only while the store is open, as it does when a disk fails: the
//! store goes on in memory, and what was forced to the disk is there after a repair. Needs root and loop
//! devices; `SKIP` without.
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use model::{Append, Batch, Budget, Cancel, Labels, Sample, SeriesRead, SimClock, UnixMs};
use store::{Health, Options, Store};

const START: UnixMs = UnixMs(1_795_300_200_000);
const DISK_BYTES: u64 = 96 << 20;

/// An ext4 file system in a file, unmounted when dropped.
struct Disk {
    dir: tempfile::TempDir,
}

impl Disk {
    fn make() -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let disk = Self { dir };
        File::create(disk.image())
            .unwrap()
            .set_len(DISK_BYTES)
            .unwrap();
        std::fs::create_dir(disk.path()).unwrap();
        let made = run("mkfs.ext4", &["-q", "-F"], &[&disk.image()]);
        (made && disk.mount()).then_some(disk)
    }

    fn image(&self) -> PathBuf {
        self.dir.path().join("image")
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("disk")
    }

    fn mount(&self) -> bool {
        run("mount", &["-o", "loop"], &[&self.image(), &self.path()])
    }

    /// What the kernel does by itself when it can't write the file system's journal.
    fn fail(&self) -> bool {
        run("mount", &["-o", "remount,abort"], &[&self.path()])
    }

    fn unmount(&self) -> bool {
        run("umount", &[], &[&self.path()])
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = self.unmount();
    }
}

fn run(program: &str, options: &[&str], paths: &[&Path]) -> bool {
    let mut command = Command::new(program);
    let output = command.args(options).args(paths).output();
    output.is_ok_and(|output| output.status.success())
}

fn open(disk: &Disk) -> Store {
    let options = Options {
        background: false,
        ..Options::default()
    };
    let clock = SimClock::new(START.after(Duration::from_secs(3_000)));
    Store::open(&disk.path().join("data"), &options, Arc::new(clock)).unwrap()
}

fn append(store: &Store, round: u64) -> bool {
    let sample = Sample {
        t: START.after(Duration::from_secs(round)),
        v: round as f64,
    };
    let samples = vec![(Labels::metric("m", [("pod", "a")]), sample)];
    store.append(&Batch { samples }).is_ok()
}

fn values(store: &Store) -> Vec<u64> {
    let budget = Budget::samples(u64::MAX);
    let (from, to) = (UnixMs(0), UnixMs(i64::MAX));
    let found = store.select(&[], from, to, &budget, &Cancel::default());
    let samples = found.unwrap().into_iter().flat_map(|series| series.samples);
    samples.map(|sample| sample.v as u64).collect()
}

#[test]
fn a_disk_that_turns_read_only_is_survived_in_memory() {
    let Some(disk) = Disk::make() else {
        println!("SKIP: a file system in a file needs root, mkfs.ext4 and loop devices");
        return;
    };
    let store = open(&disk);
    assert!((0..100).all(|round| append(&store, round)));
    store.sync().unwrap();
    if !disk.fail() {
        println!("SKIP: this kernel does not let a file system fail");
        return;
    }
    let refused = (100..300).filter(|round| !append(&store, *round)).count();
    assert!(refused > 0, "nobody noticed");
    let Health::Degraded(reason) = store.health() else {
        panic!("it says that all is well");
    };
    println!("{reason}");
    assert!(reason.contains("Read-only file system"), "{reason}");
    assert_eq!(values(&store), (0..300).collect::<Vec<_>>(), "in memory");
    assert!(store.close().is_err(), "what waits is not written");
    drop(store);

    assert!(disk.unmount() && disk.mount(), "the repair");
    let store = open(&disk);
    let kept = values(&store);
    assert!(kept.len() >= 100, "{kept:?}");
    assert_eq!(kept, (0..kept.len() as u64).collect::<Vec<_>>());
    assert_eq!(store.health(), Health::Good);
}
