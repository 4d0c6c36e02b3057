//! A store on a disk that is full goes on in memory and comes back by itself. Needs root, for a
//! small file system of its own; `SKIP` without.
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use model::{Append, Batch, Budget, Cancel, Clock, Labels, Sample, SeriesRead, SimClock, UnixMs};
use store::{Health, Options, Store};

const START: UnixMs = UnixMs(1_795_300_200_000);
const SERIES: u64 = 100;

/// A file system of 40 MiB, unmounted when dropped.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn mount() -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let mut mount = Command::new("mount");
        let mount = mount
            .args(["-t", "tmpfs", "-o", "size=40m", "tmpfs"])
            .arg(dir.path());
        let mounted = mount.output().is_ok_and(|output| output.status.success());
        mounted.then(|| Self(dir))
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.path()).status();
    }
}

fn batch(clock: &SimClock, round: u64) -> Batch {
    let t = clock.now();
    let sample = |series: u64| Sample {
        t,
        // Incompressible: the disk is to be full soon.
        v: f64::from_bits((round * SERIES + series).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 2),
    };
    let labels = |series: u64| Labels::metric("m", [("i", series.to_string().as_str())]);
    Batch {
        samples: (0..SERIES)
            .map(|series| (labels(series), sample(series)))
            .collect(),
    }
}

fn samples(store: &Store) -> Vec<usize> {
    let budget = Budget::samples(u64::MAX);
    let all = store.select(
        &[],
        UnixMs(0),
        UnixMs(i64::MAX),
        &budget,
        &Cancel::default(),
    );
    all.unwrap()
        .iter()
        .map(|series| series.samples.len())
        .collect()
}

#[test]
fn a_full_disk_is_survived() {
    let Some(disk) = SmallDisk::mount() else {
        println!("SKIP: mounting a small tmpfs needs root");
        return;
    };
    let dir = disk.path().join("data");
    let clock = Arc::new(SimClock::new(START));
    let options = Options {
        background: false,
        ..Options::default()
    };
    let store = Store::open(&dir, &options, Arc::clone(&clock) as _).unwrap();
    let ballast = disk.path().join("ballast");
    std::fs::write(&ballast, vec![0; 32 << 20]).unwrap();
    let mut rounds = 0_usize;
    let mut failures = 0;
    while failures < 2_000 {
        clock.advance(Duration::from_secs(1));
        failures += u32::from(store.append(&batch(&clock, rounds as u64)).is_err());
        rounds += 1;
        if rounds.is_multiple_of(100) {
            store.maintain();
        }
        assert!(rounds < 50_000, "the disk never was full");
    }
    println!("{rounds} rounds, {failures} of them on a full disk");
    let Health::Degraded(reason) = store.health() else {
        panic!("nobody noticed");
    };
    println!("{reason}");
    assert_eq!(
        samples(&store),
        [rounds; SERIES as usize],
        "all can be read meanwhile"
    );

    std::fs::remove_file(&ballast).unwrap();
    clock.advance(Duration::from_secs(61));
    store.maintain();
    assert_eq!(store.health(), Health::Good);
    store.append(&batch(&clock, rounds as u64)).unwrap();
    drop(store);
    let store = Store::open(&dir, &options, clock as _).unwrap();
    assert_eq!(
        samples(&store),
        [rounds + 1; SERIES as usize],
        "nothing was lost"
    );
}
