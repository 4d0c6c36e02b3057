//! kill -9 of the watcher at random moments, again and again on the same data: what it had read a second
//! before is there in its next life. `cargo xtask soak watcher` does the same two hundred times.

use std::time::{Duration, Instant};

use e2e::{Behaviour, Server, Setting, Settings, Watcher, tell, wait_until};

/// In each run; the variable is for the soak.
const ROUNDS: u64 = 4;
const ROUNDS_VARIABLE: &str = "UNSWEPT_KILL_ROUNDS";
const SEED_VARIABLE: &str = "UNSWEPT_KILL_SEED";
const ENDPOINTS: usize = 8;
/// What is not forced to the disk yet may be lost by a power failure; by a kill not even that.
const UNSYNCED: Duration = Duration::from_secs(1);
const LIFE_MS_MAX: u64 = 3_000;

#[test]
fn a_killed_watcher_has_all_that_it_read_a_second_before() {
    let Some(setting) = Setting::find() else {
        return;
    };
    let story = Instant::now();
    let rounds = number(ROUNDS_VARIABLE, ROUNDS);
    let mut seed = number(SEED_VARIABLE, setting.seed);
    println!("{rounds} kills, seed {seed}");
    let endpoints: Vec<Server> = (0..ENDPOINTS)
        .map(|_| Server::start(Behaviour::Counts))
        .collect();
    let jobs = endpoints.iter().enumerate();
    let settings = Settings {
        local_processes: false,
        jobs: jobs
            .map(|(number, server)| (job(number), server.host_port()))
            .collect(),
        ..Settings::default()
    };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let data = folder.path().join("data");
    // Of each life: what was asked for when it began, and a second before its end.
    let (mut from, mut to) = (vec![0; ENDPOINTS], vec![0; ENDPOINTS]);
    let (mut began, mut all) = (vec![0; ENDPOINTS], 0);
    for round in 0..=rounds {
        let mut watcher = Watcher::start(&setting, &settings, &data);
        assert_there(&watcher, &from, &to);
        assert!(!watcher.running.stderr().contains("panicked"));
        if round == rounds {
            assert!(watcher.running.stop().success(), "the data is whole");
            break;
        }
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        std::thread::sleep(Duration::from_millis((seed >> 33) % LIFE_MS_MAX));
        let asked = || endpoints.iter().map(Server::asked).collect::<Vec<u64>>();
        (from, to) = (began, asked());
        std::thread::sleep(UNSYNCED);
        watcher.running.kill();
        all += to
            .iter()
            .zip(&from)
            .map(|(to, from)| to - from)
            .sum::<u64>();
        began = asked();
    }
    tell(story, format!("{rounds} kills, {all} readings, none lost"));
    assert!(all >= rounds, "hardly anything was read: {all}");
}

fn job(number: usize) -> String {
    format!("endpoint-{number}")
}

/// Each endpoint's answers after `from` up to `to` are stored, each once.
fn assert_there(watcher: &Watcher, from: &[u64], to: &[u64]) {
    for (number, (from, to)) in from.iter().zip(to).enumerate() {
        if from == to {
            continue;
        }
        let selector = format!("answered{{job=\"{}\"}}", job(number));
        let values: Vec<u64> = wait_until("the samples", Duration::from_secs(10), || {
            let samples = watcher.samples(&selector)?;
            Ok(samples.iter().map(|(_, value)| *value as u64).collect())
        });
        let lost: Vec<u64> = (from + 1..=*to).filter(|n| !values.contains(n)).collect();
        assert!(
            lost.is_empty(),
            "{selector}: lost {lost:?} of {from}..={to}"
        );
        assert!(
            values.is_sorted_by(|a, b| a < b),
            "{selector}: out of order, or twice: {values:?}"
        );
    }
}

fn number(variable: &str, otherwise: u64) -> u64 {
    let text = std::env::var(variable);
    text.map_or(otherwise, |text| text.parse().expect("a number"))
}
