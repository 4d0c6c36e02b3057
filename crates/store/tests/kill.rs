//! A store whose process is killed at random moments loses nothing that it acknowledged.
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use model::{Append, Batch, Budget, Cancel, Labels, Sample, Series, SeriesRead, SimClock, UnixMs};
use store::{Options, Store};

const DIR: &str = "STORE_KILL_TEST_DIR";
const DIR_TO_BEGIN: &str = "STORE_KILL_TEST_DIR_TO_BEGIN";
const START: UnixMs = UnixMs(1_795_300_200_000);
const SERIES: usize = 23;
const KILLS: u32 = 20;

fn open(dir: &Path) -> Store {
    let options = Options {
        // Small, so that checkpoints are hit as well.
        journal_bytes_max: 8_000,
        sync_interval: Duration::from_millis(20),
        ..Options::default()
    };
    let clock = SimClock::new(START.after(Duration::from_secs(20 * 86_400)));
    Store::open(dir, &options, Arc::new(clock)).unwrap()
}

fn time(round: u64) -> UnixMs {
    START.after(Duration::from_secs(10 * round))
}

fn value(round: u64, series: usize) -> f64 {
    // Some series are integers, some are not, one never changes.
    match series % 3 {
        0 => round as f64,
        1 => (round as f64 + series as f64).sin(),
        _ => series as f64,
    }
}

fn labels(series: usize) -> Labels {
    Labels::metric("m", [("series", format!("{series:02}").as_str())])
}

/// Not a test by itself: appends and acknowledges until it is killed.
#[test]
fn child_appends_until_it_is_killed() {
    let Ok(dir) = std::env::var(DIR) else {
        return;
    };
    let store = open(Path::new(&dir));
    let mut out = std::io::stdout();
    // Goes on from whatever the last kill left.
    let from = all(&store)
        .first()
        .map_or(0, |series| series.samples.len() as u64);
    for round in from..from + 50_000 {
        let sample = |series| Sample {
            t: time(round),
            v: value(round, series),
        };
        let samples = (0..SERIES)
            .map(|series| (labels(series), sample(series)))
            .collect();
        assert_eq!(store.append(&Batch { samples }).unwrap().stored, SERIES);
        writeln!(out, "\nacknowledged {round}").unwrap();
        out.flush().unwrap();
    }
}

/// Runs a child for `life` and gives the last round it acknowledged.
fn run_and_kill(dir: &Path, life: Duration) -> Option<u64> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child_appends_until_it_is_killed", "--nocapture"])
        .env(DIR, dir)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let reader = std::thread::spawn(move || {
        let numbers = lines
            .map_while(Result::ok)
            .filter_map(|line| line.strip_prefix("acknowledged ")?.parse().ok());
        numbers.last()
    });
    std::thread::sleep(life);
    child.kill().unwrap();
    child.wait().unwrap();
    reader.join().unwrap()
}

fn all(store: &Store) -> Vec<Series> {
    let budget = Budget::samples(u64::MAX);
    let all = store.select(
        &[],
        UnixMs(0),
        UnixMs(i64::MAX),
        &budget,
        &Cancel::default(),
    );
    all.unwrap()
}

/// Checks all series, and gives the number of rounds that are there. Each kill may have left one
/// round that was stored and not yet acknowledged.
fn check(series: &[Series], acknowledged: Option<u64>, kills: u64) -> u64 {
    let rounds = series
        .first()
        .map_or(0, |series| series.samples.len() as u64);
    let needed = acknowledged.map_or(0, |last| last + 1);
    assert!(
        rounds >= needed,
        "{rounds} rounds of {needed} acknowledged ones are there"
    );
    assert!(
        rounds <= needed + kills,
        "{rounds} rounds, only {needed} were acknowledged"
    );
    for (number, series) in series.iter().enumerate() {
        assert_eq!(series.labels, labels(number));
        assert_eq!(
            series.samples.len() as u64,
            rounds,
            "a batch is stored whole: {number}"
        );
        for (round, sample) in (0..).zip(&series.samples) {
            assert_eq!(sample.t, time(round));
            assert_eq!(sample.v.to_bits(), value(round, number).to_bits());
        }
    }
    rounds
}

/// Not a test by itself: begins a store that is not there yet.
#[test]
fn child_begins_a_store_and_is_killed() {
    if let Ok(dir) = std::env::var(DIR_TO_BEGIN) {
        println!("\nbegins");
        drop(open(Path::new(&dir)));
        println!("\nbegun");
    }
}

/// fjall does not open what it had begun to make when it was killed.
#[test]
fn a_store_that_was_being_made_when_killed_is_made_again() {
    let child = |dir: &Path| {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "child_begins_a_store_and_is_killed",
                "--nocapture",
            ])
            .env(DIR_TO_BEGIN, dir)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        assert!(lines.any(|line| line.unwrap() == "begins"));
        (child, lines)
    };
    // How long it takes, so that the kills are spread over that.
    let dir = tempfile::tempdir().unwrap();
    let start = Instant::now();
    let (mut whole, mut lines) = child(dir.path());
    assert!(lines.any(|line| line.unwrap() == "begun"));
    let takes = start.elapsed();
    whole.wait().unwrap();
    for kill in 0..KILLS {
        let dir = tempfile::tempdir().unwrap();
        // Several in a row, each of which finds what the one before left.
        for again in 0..4 {
            let (mut child, _lines) = child(dir.path());
            std::thread::sleep(takes * (kill + again) / KILLS);
            child.kill().unwrap();
            child.wait().unwrap();
        }
        let store = open(dir.path());
        assert!(store.problems().is_empty(), "{:?}", store.problems());
        let left = std::fs::read_dir(dir.path()).unwrap().flatten();
        let mut left = left.map(|entry| entry.file_name().into_string().unwrap());
        assert!(left.all(|name| !name.starts_with('.') && !name.contains("damaged")));
    }
}

#[test]
fn nothing_acknowledged_is_lost_when_killed_at_random_moments() {
    let dir = tempfile::tempdir().unwrap();
    let mut seed = 0x5eed_u64;
    println!("seed {seed:#x}");
    let (mut rounds, mut acknowledged, mut unchecked) = (0, None, 0);
    for kill in 0..KILLS {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let life = Duration::from_millis(30 + (seed >> 33) % 200);
        acknowledged = run_and_kill(dir.path(), life).or(acknowledged);
        unchecked += 1;
        // Looking tidies up, so half of the time the next child finds what the kill left.
        if kill % 2 == 1 {
            rounds = check(&all(&open(dir.path())), acknowledged, unchecked);
            println!("kill {kill} after {life:?}: {rounds} rounds");
            (acknowledged, unchecked) = (rounds.checked_sub(1), 0);
        }
    }
    assert!(rounds > 1_000, "the children did hardly anything: {rounds}");
}
