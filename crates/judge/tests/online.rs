//! Leaks and look-alikes, lived through and judged every five seconds from birth on: the shapes
//! that a watcher meets at a period of a second in the first minutes of a process, and at 15 s over
//! hours. Every failure prints its case and seed.

mod physics;

use judge::Track;
use model::verdict::Judged;
use model::{Judgement, Kind, UnixMs};
use physics::{Asked, Life, MIB, Random, Sampling, live, progress};

/// The statistics are slow without optimisation; there a few seeds keep the code honest.
const SEEDS: u64 = if cfg!(debug_assertions) { 8 } else { 50 };

/// A watcher of one life.
struct Watcher<'a> {
    life: &'a Life,
    track: Track,
    seconds: f64,
}

impl<'a> Watcher<'a> {
    fn of(life: &'a Life) -> Self {
        Self {
            life,
            track: Track::new(life.facts.period_s),
            seconds: f64::MIN,
        }
    }

    fn at(&mut self, seconds: f64) -> Judged {
        let (now, channels) = self.life.between(self.seconds, seconds);
        self.seconds = seconds;
        self.track.push(&channels, self.life.facts.started);
        self.track.judge(now, &self.life.facts)
    }
}

fn leaks(judged: &Judged) -> Option<Kind> {
    judged
        .findings
        .iter()
        .find(|finding| finding.verdict == Judgement::Leak)
        .and_then(|finding| finding.kind)
}

fn show(judged: &Judged) -> String {
    let lines = judged.findings.iter().map(|finding| {
        let why: Vec<&str> = finding.why.iter().map(|why| why.text.as_str()).collect();
        format!(
            "  {} {:?} {:?}: {}",
            finding.verdict.as_str(),
            finding.kind.map(Kind::as_str),
            finding.confidence,
            why.join(" ")
        )
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// Two threads: the machine's tests have that.
fn for_seeds<T: Send>(run: impl Fn(u64) -> T + Sync) -> Vec<T> {
    std::thread::scope(|scope| {
        let half = scope.spawn(|| (0..SEEDS / 2).map(&run).collect::<Vec<_>>());
        let rest: Vec<T> = (SEEDS / 2..SEEDS).map(&run).collect();
        let mut all = half.join().expect("a seed failed, see above");
        all.extend(rest);
        all
    })
}

/// A leak that starts at `start` must be found in every life, of the right kind, and stay found.
fn must_find(name: &str, kind: Kind, start: f64, limit: f64, life: impl Fn(u64) -> Life + Sync) {
    let outcomes = for_seeds(|seed| {
        let life = life(seed);
        let mut watcher = Watcher::of(&life);
        let step = life.facts.period_s.max(5.0);
        let mut age = step;
        while age <= start + limit + step {
            let judged = watcher.at(age);
            if let Some(found) = leaks(&judged) {
                let first = &judged.findings[0];
                let right = found == kind && first.kind == Some(kind);
                let early = age < start;
                if !right || early {
                    return Err(format!("seed {seed} at {age} s:\n{}", show(&judged)));
                }
                let text = show(&judged);
                let onset = first.onset.unwrap_or(UnixMs(0)).0 - life.birth.0;
                return Ok((age - start, onset as f64 / 1000.0 - start, text));
            }
            age += step;
        }
        Err(format!(
            "seed {seed}: not found\n{}",
            show(&watcher.at(age - step))
        ))
    });
    let wrong: Vec<&String> = outcomes
        .iter()
        .filter_map(|one| one.as_ref().err())
        .collect();
    let mut delays: Vec<f64> = outcomes.iter().flatten().map(|one| one.0).collect();
    delays.sort_by(f64::total_cmp);
    let mut onsets: Vec<f64> = outcomes.iter().flatten().map(|one| one.1.abs()).collect();
    onsets.sort_by(f64::total_cmp);
    if let (Some(last), Some(onset)) = (delays.last(), onsets.last()) {
        println!(
            "{name}: found {}/{SEEDS}, delay median {} s, max {last} s; onset off by {:.0} s \
             (median), {onset:.0} s (max)",
            delays.len(),
            delays[delays.len() / 2],
            onsets[onsets.len() / 2]
        );
    }
    if let Some(Ok((_, _, text))) = outcomes.first() {
        println!("{text}");
    }
    assert!(
        wrong.is_empty(),
        "{name}: {} of {SEEDS}: {}",
        wrong.len(),
        wrong[0]
    );
}

/// No moment of a harmless life may be called a leak. Prints what was said at its end.
fn must_not_alarm(name: &str, seconds: f64, life: impl Fn(u64) -> Life + Sync) {
    let outcomes = for_seeds(|seed| {
        let life = life(seed);
        let mut watcher = Watcher::of(&life);
        let step = life.facts.period_s.max(5.0);
        let mut age = step;
        let (mut unsure, mut count) = (0, 0);
        while age <= seconds {
            let judged = watcher.at(age);
            if leaks(&judged).is_some() {
                return Err(format!("seed {seed} at {age} s:\n{}", show(&judged)));
            }
            count += 1;
            unsure += u32::from(judged.findings[0].verdict == Judgement::Unsure);
            age += step;
        }
        let judged = watcher.at(seconds);
        let kind = judged.findings[0].kind.map_or("unsure", Kind::as_str);
        Ok((kind, f64::from(unsure) / f64::from(count)))
    });
    let wrong: Vec<&String> = outcomes
        .iter()
        .filter_map(|one| one.as_ref().err())
        .collect();
    let mut kinds = std::collections::BTreeMap::new();
    let mut unsure = 0.0;
    for (kind, share) in outcomes.iter().flatten() {
        *kinds.entry(*kind).or_insert(0) += 1;
        unsure += share / SEEDS as f64;
    }
    println!(
        "{name}: false leaks {}/{SEEDS}; in the end {kinds:?}; unsure {:.0} % of the time",
        wrong.len(),
        unsure * 100.0
    );
    assert!(
        wrong.is_empty(),
        "{name}: {} of {SEEDS}: {}",
        wrong.len(),
        wrong[0]
    );
}

/// A shop at rest: some live memory after a start-up ramp, and garbage at a rate of its own.
fn shop(seed: u64, age: f64) -> Asked {
    let mut random = Random::new(seed ^ 0xBA5E);
    let base = random.between(2.0, 25.0) * MIB;
    let ramp = random.between(1.0, 6.0);
    Asked {
        live: base * (age / ramp).min(1.0),
        allocates: random.between(4.0, 25.0) * MIB,
        goroutines: 20.0,
        native: 3.0 * MIB * (age / ramp).min(1.0),
        file: 0.0,
        load: 4.0,
    }
}

fn start_of(seed: u64) -> f64 {
    Random::new(seed ^ 0x57A7).between(20.0, 70.0)
}

#[test]
fn leak_session_cache_from_a_moment_on() {
    for (name, live_channel, loads) in [
        ("session cache", true, false),
        ("session cache, loads known", true, true),
        ("session cache, HeapAlloc only", false, false),
    ] {
        let limit = if live_channel { 150.0 } else { 300.0 };
        must_find(name, Kind::GoHeap, 45.0, limit, |seed| {
            let sampling = Sampling {
                live: live_channel,
                loads,
                ..Sampling::every_second(460.0)
            };
            live(seed, &sampling, |age, random| {
                let mut asked = shop(seed, age);
                let leaked = progress(seed, age) - progress(seed, 45.0);
                asked.live += leaked.max(0.0) * MIB + 0.2 * MIB * random.normal();
                asked.allocates += 10.0 * MIB;
                asked
            })
        });
    }
}

#[test]
fn leak_session_cache_from_birth() {
    must_find(
        "session cache from birth",
        Kind::GoHeap,
        0.0,
        155.0,
        |seed| {
            live(seed, &Sampling::every_second(200.0), |age, _| {
                let mut asked = shop(seed, age);
                asked.live += progress(seed, age) * MIB;
                asked.allocates += 10.0 * MIB;
                asked
            })
        },
    );
}

#[test]
fn leak_goroutines() {
    for (name, each) in [
        ("goroutines, 2 KiB", 0.3),
        ("goroutines, 8 KiB", 6.0),
        ("goroutines, 64 KiB", 62.0),
    ] {
        must_find(name, Kind::Goroutine, 45.0, 150.0, |seed| {
            live(seed, &Sampling::every_second(260.0), |age, _| {
                let mut asked = shop(seed, age);
                let leaked = (20.0 * (progress(seed, age) - progress(seed, 45.0))).max(0.0);
                asked.goroutines += leaked.floor();
                asked.live += leaked * each * 1024.0;
                asked
            })
        });
    }
}

#[test]
fn leak_c_memory() {
    for (name, per_minute, limit) in [
        ("C memory 60 MiB/min", 60.0, 150.0),
        ("C memory 20 MiB/min", 20.0, 200.0),
    ] {
        must_find(name, Kind::Native, 45.0, limit, |seed| {
            live(seed, &Sampling::every_second(300.0), |age, _| {
                let mut asked = shop(seed, age);
                let leaked = progress(seed, age) - progress(seed, 45.0);
                asked.native += leaked.max(0.0) * per_minute / 60.0 * MIB;
                asked
            })
        });
    }
}

#[test]
fn leak_slow_at_fifteen_seconds() {
    must_find("5 MiB/min at 15 s", Kind::GoHeap, 1800.0, 1800.0, |seed| {
        let sampling = Sampling {
            period_s: 15.0,
            seconds: 5400.0,
            ..Sampling::every_second(0.0)
        };
        live(seed, &sampling, |age, random| {
            let mut asked = shop(seed, age);
            asked.live += 60.0 * MIB + (age - 1800.0).max(0.0) * 5.0 / 60.0 * MIB;
            asked.live += 1.0 * MIB * random.normal();
            asked
        })
    });
}

#[test]
fn no_leak_bounded_cache() {
    must_not_alarm("cache, exponential fill", 360.0, |seed| {
        let mut random = Random::new(seed);
        let tau = random.between(15.0, 30.0);
        let start = if seed.is_multiple_of(2) {
            0.0
        } else {
            start_of(seed)
        };
        live(seed, &Sampling::every_second(370.0), |age, random| {
            let mut asked = shop(seed, age);
            let filled = -(-(age - start).max(0.0) / tau).exp_m1();
            asked.live += 96.0 * MIB * filled + 0.3 * MIB * random.normal();
            asked
        })
    });
    must_not_alarm("cache, linear fill in 60 s", 360.0, |seed| {
        let start = if seed.is_multiple_of(2) {
            0.0
        } else {
            start_of(seed)
        };
        live(seed, &Sampling::every_second(370.0), |age, random| {
            let mut asked = shop(seed, age);
            asked.live += 96.0 * MIB * ((age - start) / 60.0).clamp(0.0, 1.0);
            asked.live += 0.3 * MIB * random.normal();
            asked
        })
    });
}

fn wave(name: &str, period: f64, loads: bool, seconds: f64) {
    must_not_alarm(name, seconds, |seed| {
        let mut random = Random::new(seed ^ 0x3A7E);
        let crest = random.between(60.0, 100.0);
        let lag = random.between(0.0, 5.0);
        let phase = random.between(0.0, 1.0);
        let sampling = Sampling {
            loads,
            ..Sampling::every_second(seconds + 10.0)
        };
        live(seed, &sampling, |age, random| {
            let mut asked = shop(seed, age);
            let level = |at: f64| 0.5 - 0.5 * (std::f64::consts::TAU * (at / period + phase)).cos();
            asked.live += crest * MIB * level(age - lag) + 0.5 * MIB * random.normal();
            asked.goroutines += 300.0 * level(age - lag);
            asked.allocates *= 0.3 + level(age - lag);
            asked.load = 1.0 + 10.0 * level(age);
            asked
        })
    });
}

#[test]
fn no_leak_traffic_wave_with_loads() {
    for period in [30.0, 60.0, 120.0, 300.0, 600.0] {
        wave(
            &format!("wave of {period} s, loads known"),
            period,
            true,
            (2.5 * period).max(360.0),
        );
    }
}

#[test]
fn no_leak_traffic_wave_without_loads() {
    for period in [30.0, 60.0, 90.0, 150.0, 200.0, 300.0] {
        wave(
            &format!("wave of {period} s, loads unknown"),
            period,
            false,
            (2.5 * period).max(360.0),
        );
    }
}

#[test]
fn no_leak_file_read_and_start_up() {
    must_not_alarm("big file read", 360.0, |seed| {
        let start = start_of(seed);
        live(seed, &Sampling::every_second(370.0), |age, _| {
            let mut asked = shop(seed, age);
            asked.file = 512.0 * MIB * ((age - start) / 90.0).clamp(0.0, 1.0);
            asked
        })
    });
    must_not_alarm(
        "start-up ramp of 40 s, goroutine and C pools too",
        360.0,
        |seed| {
            live(seed, &Sampling::every_second(370.0), |age, _| {
                let mut asked = shop(seed, age);
                let done = (progress(seed, age) / 40.0).min(1.0);
                asked.live += 200.0 * MIB * done;
                asked.native += 80.0 * MIB * done;
                asked.goroutines += 500.0 * done;
                asked
            })
        },
    );
    must_not_alarm("steady", 360.0, |seed| {
        live(seed, &Sampling::every_second(370.0), |age, _| {
            shop(seed, age)
        })
    });
}

#[test]
fn no_leak_spike_steps_and_idle_heap() {
    must_not_alarm("spike", 360.0, |seed| {
        let start = start_of(seed);
        live(seed, &Sampling::every_second(370.0), |age, _| {
            let mut asked = shop(seed, age);
            if (start..start + 30.0).contains(&age) {
                asked.live += 300.0 * MIB;
            }
            asked
        })
    });
    must_not_alarm("steps", 360.0, |seed| {
        let mut random = Random::new(seed ^ 7);
        let steps: Vec<f64> = (0..3).map(|_| random.between(10.0, 350.0)).collect();
        live(seed, &Sampling::every_second(370.0), |age, _| {
            let mut asked = shop(seed, age);
            asked.live += 40.0 * MIB * steps.iter().filter(|&&step| age > step).count() as f64;
            asked
        })
    });
}

#[test]
fn no_leak_random_walk() {
    for (name, sigma) in [("random walk", 3.0), ("random walk, wild", 12.0)] {
        must_not_alarm(name, 900.0, |seed| {
            let mut random = Random::new(seed ^ 0xA1);
            let mut walk = vec![100.0];
            for i in 0..1000 {
                walk.push(f64::max(walk[i] + sigma * random.normal(), 5.0));
            }
            live(seed, &Sampling::every_second(910.0), |age, _| {
                let mut asked = shop(seed, age);
                asked.live += walk[age as usize] * MIB;
                asked.native += walk[999 - age as usize] * MIB;
                asked
            })
        });
    }
}

#[test]
fn no_leak_day_at_fifteen_seconds() {
    let lives = |loads: bool| {
        move |seed: u64| {
            let mut random = Random::new(seed ^ 0xDA7);
            let phase = random.between(0.0, 1.0);
            let sampling = Sampling {
                period_s: 15.0,
                seconds: 6.0 * 3600.0,
                loads,
                ..Sampling::every_second(0.0)
            };
            live(seed, &sampling, move |age, random| {
                let mut asked = shop(seed, age);
                let level = 0.5 - 0.5 * (std::f64::consts::TAU * (age / 86_400.0 + phase)).cos();
                asked.live += 300.0 * MIB * level + 3.0 * MIB * random.normal();
                asked.load = 3.0 + 20.0 * level;
                asked
            })
        }
    };
    // Every tenth minute is enough here: six hours in steps of 15 s are 1,440 verdicts a life.
    let outcomes = for_seeds(|seed| {
        let life = lives(true)(seed);
        let mut watcher = Watcher::of(&life);
        (1..36)
            .map(|i| watcher.at(f64::from(i) * 600.0))
            .find(|judged| leaks(judged).is_some())
            .map(|judged| format!("seed {seed}:\n{}", show(&judged)))
    });
    let wrong: Vec<&String> = outcomes.iter().flatten().collect();
    println!(
        "day's load at 15 s, loads known: false leaks {}/{SEEDS}",
        wrong.len()
    );
    assert!(wrong.is_empty(), "{}", wrong[0]);
}
