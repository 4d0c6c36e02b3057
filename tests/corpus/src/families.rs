//! The families of histories, and the ranges that their figures are drawn from.
//!
//! Ranges are of services as they are: limits from 128 MiB to 8 GiB, from idle to hundreds of requests a second,
//! leaks that kill within hours and such that take months. Nothing here is chosen by what a judge can tell.

use crate::plan::{Bump, Cache, DAY, Growth, Leak, Load, Plan, Where};
use crate::random::Random;
use crate::runtime::{MIB, Settings};
use crate::{History, Leaking, Replica, Truth};

/// An hour in seconds.
const HOUR: f64 = 3600.0;
/// Readings of one process at most; longer histories are read less often.
const READINGS_MAX: f64 = 50_000.0;

macro_rules! families {
    ($($name:ident $word:literal $what:literal,)*) => {
        /// A kind of history.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[allow(missing_docs, reason = "each has its words below")]
        pub enum Family { $($name,)* }

        impl Family {
            /// All of them, leaks first.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// `rising-floor`.
            pub fn name(self) -> &'static str {
                match self { $(Self::$name => $word,)* }
            }

            /// What happens in it.
            pub fn what(self) -> &'static str {
                match self { $(Self::$name => $what,)* }
            }
        }
    };
}

families! {
    Linear "linear" "bytes are lost at an even pace",
    Accelerating "accelerating" "bytes are lost ever faster",
    Stairs "stairs" "much is lost at a time, each hour or so",
    RisingFloor "rising-floor" "a slow leak below a large saw-tooth of the collector",
    UnderDailyLoad "under-daily-load" "a leak below a day's load that moves more memory than it",
    GrowingTraffic "growing-traffic" "requests grow, and the program leaks besides",
    AfterDeploy "after-deploy" "a new revision leaks, the one before did not",
    Overload "overload" "bytes are lost only while the load is high",
    PerRequest "per-request" "each request loses some bytes",
    OneReplica "one-replica" "one of several replicas leaks",
    Native "native" "memory of C is lost, the heap of Go stays flat",
    Goroutines "goroutines" "goroutines never end",
    ThroughRestarts "through-restarts" "a leak that restarts hide",
    Slow "slow" "about one percent of the limit a day",
    WarmUp "warm-up" "a process fills what it needs, and stays there",
    FillingCache "filling-cache" "a cache grows for hours or days and is full then",
    RandomWalk "random-walk" "what lives wanders up and down",
    Season "season" "days and weeks",
    LoadFollows "load" "memory follows the requests, which grow",
    SawTooth "saw-tooth" "the collector's saw-tooth, and nothing else",
    Steps "steps" "more memory from one moment on, and again",
    Spikes "spikes" "much memory for minutes",
    Restarts "restarts" "a process that is restarted often, and warms up each time",
    BigGogc "big-gogc" "the collector hardly runs",
    IdleHeap "idle-heap" "a peak, after which the runtime keeps the memory for long",
    PageCache "page-cache" "files are read and written, the kernel keeps their pages",
    MemoryLimit "memory-limit" "GOGC is off, GOMEMLIMIT alone limits the heap",
    Sparse "sparse" "half of the readings are missing, and hours of them",
    Resets "counter-resets" "crashes, each of which begins all counters anew",
    ClockJumps "clock-jumps" "the clock of the reader jumps ahead and back",
}

impl Family {
    /// Whether something leaks in it.
    pub fn leaks(self) -> bool {
        (self as usize) < Self::WarmUp as usize
    }

    /// What a verdict says of it when nothing leaks.
    fn instead(self) -> &'static str {
        match self {
            Self::WarmUp | Self::Restarts => "warm-up",
            Self::FillingCache => "plateau",
            Self::Season => "season",
            Self::LoadFollows => "load",
            Self::SawTooth | Self::MemoryLimit => "gc-sawtooth",
            Self::Steps => "step",
            Self::Spikes => "spike",
            Self::BigGogc => "gc-idle",
            Self::IdleHeap => "not-returned",
            Self::PageCache => "page-cache",
            _ => "steady",
        }
    }
}

/// The history of `family` with this seed.
pub fn history(family: Family, seed: u64) -> History {
    let mut random = Random::new(seed ^ (family as u64) << 56);
    let mut plan = usual(&mut random);
    shape(family, &mut plan, &mut random);
    give_room(&mut plan, &mut random);
    let replicas = match family {
        Family::OneReplica => random.whole(3, 6),
        _ => 1,
    };
    let sick = random.whole(1, replicas);
    let replicas: Vec<Replica> = (1..=replicas)
        .map(|number| {
            let leaks = family.leaks() && number == sick;
            let mut plan = plan.clone();
            if !leaks {
                plan.leaks.clear();
            }
            Replica {
                instance: format!("{}-{number}", family.name()),
                leaks,
                readings: plan.run(&mut random.split()),
            }
        })
        .collect();
    let truth = Truth {
        leak: leaking(&plan, &replicas),
        instead: family.instead(),
    };
    History {
        family,
        seed,
        period_s: plan.period_s,
        limit: plan.limit,
        settings: plan.settings,
        replicas,
        truth,
    }
}

/// People give a service the memory that it needs without a leak, and some more.
fn give_room(plan: &mut Plan, random: &mut Random) {
    let healthy = Plan {
        leaks: Vec::new(),
        limit: f64::INFINITY,
        page_cache_per_s: 0.0,
        ..plan.clone()
    };
    let readings = healthy.run(&mut random.split());
    let peak = readings
        .iter()
        .map(|reading| reading.memory.rss)
        .fold(0.0, f64::max);
    plan.limit = plan.limit.max(peak * random.between(1.2, 1.6));
}

fn leaking(plan: &Plan, replicas: &[Replica]) -> Option<Leaking> {
    let leak = plan.leaks.first()?;
    let readings = &replicas.iter().find(|replica| replica.leaks)?.readings;
    let pairs = readings
        .windows(2)
        .filter(|pair| pair[0].started_s == pair[1].started_s);
    let (mut bytes, mut seconds) = (0.0, 0.0);
    for pair in pairs.filter(|pair| pair[0].at_s >= leak.from_s) {
        bytes += pair[1].leaked - pair[0].leaked;
        seconds += pair[1].at_s - pair[0].at_s;
    }
    Some(Leaking {
        kind: match leak.place {
            Where::Heap => "go-heap",
            Where::Goroutines(_) => "goroutine",
            Where::Native => "native",
        },
        from_s: leak.from_s,
        bytes_per_minute: if seconds > 0.0 {
            60.0 * bytes / seconds
        } else {
            0.0
        },
    })
}

/// A service with nothing special about it.
fn usual(random: &mut Random) -> Plan {
    let limit = random.sized(128.0, 8192.0) * MIB;
    let base = limit * random.between(0.04, 0.25);
    let per_s = random.sized(1.0, 300.0);
    let lasts_s = random.sized(4.0 * HOUR, 7.0 * DAY);
    Plan {
        lasts_s,
        period_s: period(lasts_s, random),
        limit,
        settings: Settings {
            gogc: Some(if random.chance(0.8) {
                100.0
            } else {
                random.between(50.0, 200.0)
            }),
            memory_limit: random.chance(0.2).then_some(0.9 * limit),
            fragmentation: random.between(0.03, 0.15),
            stack: random.sized(2048.0, 16_384.0),
            files: random.between(8.0, 40.0) * MIB,
            gives_back: random.sized(0.3, 20.0) * MIB,
        },
        base,
        warms_s: random.sized(10.0, 600.0),
        load: Load {
            per_s,
            daily: if random.chance(0.5) {
                random.between(0.0, 0.5)
            } else {
                0.0
            },
            weekly: if random.chance(0.3) {
                random.between(0.0, 0.2)
            } else {
                0.0
            },
            noise: random.between(0.02, 0.25),
            grows: 0.0,
            takes_s: random.sized(0.005, 1.0),
            // From a full heap each few seconds to one each few minutes.
            allocates: base / per_s / random.sized(5.0, 300.0),
            holds: random.sized(4.0, 256.0) * 1024.0,
        },
        leaks: Vec::new(),
        caches: Vec::new(),
        bumps: Vec::new(),
        wanders: (random.between(0.002, 0.02), random.sized(600.0, 4.0 * HOUR)),
        native: if random.chance(0.3) {
            random.between(1.0, 60.0) * MIB
        } else {
            0.0
        },
        page_cache_per_s: if random.chance(0.3) {
            random.sized(0.1, 20.0) * 1024.0
        } else {
            0.0
        },
        restarts_s: Vec::new(),
        gaps_s: Vec::new(),
        missing: if random.chance(0.3) {
            random.between(0.0, 0.02)
        } else {
            0.0
        },
        jumps_s: Vec::new(),
    }
}

/// A period that people use, long enough that the history stays in bounds.
fn period(lasts_s: f64, random: &mut Random) -> f64 {
    let asked = match random.whole(0, 9) {
        0 => 5.0,
        1..=6 => 15.0,
        7 => 30.0,
        8 => 60.0,
        _ => 300.0,
    };
    let least = lasts_s / READINGS_MAX;
    let periods = [5.0, 15.0, 30.0, 60.0, 300.0];
    periods
        .into_iter()
        .find(|period| *period >= least && *period >= asked)
        .unwrap_or(300.0)
}

/// A leak from a moment in the first half of the history on, which takes a good part of the room that is left, or all of
/// it: bytes a second.
fn pace(plan: &Plan, random: &mut Random) -> (f64, f64) {
    let from_s = if random.chance(0.5) {
        0.0
    } else {
        plan.lasts_s * random.between(0.05, 0.4)
    };
    let room = plan.limit - 2.2 * plan.base;
    (
        from_s,
        room * random.between(0.15, 1.5) / (plan.lasts_s - from_s),
    )
}

fn leak(plan: &mut Plan, from_s: f64, growth: Growth) {
    plan.leaks.push(Leak {
        growth,
        place: Where::Heap,
        from_s,
    });
}

fn lasts(plan: &mut Plan, low_s: f64, high_s: f64, random: &mut Random) {
    plan.lasts_s = random.sized(low_s, high_s);
    plan.period_s = period(plan.lasts_s, random);
}

/// Moments that come about every so many seconds.
fn moments(plan: &Plan, every_s: f64, random: &mut Random) -> Vec<f64> {
    let (mut all, mut at) = (Vec::new(), 0.0);
    loop {
        at += every_s * random.between(0.5, 1.5);
        if at >= plan.lasts_s {
            return all;
        }
        all.push(at);
    }
}

fn shape(family: Family, plan: &mut Plan, random: &mut Random) {
    match family {
        Family::Linear | Family::OneReplica => {
            let (from_s, per_s) = pace(plan, random);
            leak(plan, from_s, Growth::Linear(per_s));
        }
        Family::Accelerating => {
            let (from_s, per_s) = pace(plan, random);
            let doubles_s = (plan.lasts_s - from_s) / random.between(1.5, 4.0);
            leak(
                plan,
                from_s,
                Growth::Accelerating {
                    per_s: per_s / 2.0,
                    doubles_s,
                },
            );
        }
        Family::Stairs => {
            lasts(plan, 8.0 * HOUR, 7.0 * DAY, random);
            let (from_s, per_s) = pace(plan, random);
            let every_s = (plan.lasts_s - from_s) / random.between(8.0, 60.0);
            leak(
                plan,
                from_s,
                Growth::Stairs {
                    bytes: per_s * every_s,
                    every_s,
                },
            );
        }
        Family::RisingFloor => {
            let (from_s, per_s) = pace(plan, random);
            plan.settings.gogc = Some(random.between(150.0, 400.0));
            plan.base = plan.limit * random.between(0.03, 0.12);
            leak(plan, from_s, Growth::Linear(per_s / 2.5));
        }
        Family::UnderDailyLoad => {
            lasts(plan, 3.0 * DAY, 14.0 * DAY, random);
            daily(plan, random);
            let (from_s, per_s) = pace(plan, random);
            leak(plan, from_s, Growth::Linear(per_s));
        }
        Family::GrowingTraffic => {
            lasts(plan, DAY, 14.0 * DAY, random);
            plan.load.grows = random.between(0.02, 0.3);
            plan.load.holds = 0.1 * plan.base / (plan.load.per_s * plan.load.takes_s);
            let (from_s, per_s) = pace(plan, random);
            leak(plan, from_s, Growth::Linear(per_s));
        }
        Family::AfterDeploy => {
            let from_s = plan.lasts_s * random.between(0.2, 0.6);
            let (_, per_s) = pace(plan, random);
            plan.restarts_s = vec![from_s];
            leak(plan, from_s, Growth::Linear(per_s));
        }
        Family::Overload => {
            lasts(plan, 2.0 * DAY, 14.0 * DAY, random);
            plan.load.daily = random.between(0.3, 0.6);
            let (from_s, per_s) = pace(plan, random);
            let above = random.between(0.8, 1.1);
            let bytes = per_s / (0.2 * plan.load.per_s);
            leak(plan, from_s, Growth::Overload { bytes, above });
        }
        Family::PerRequest => {
            let (from_s, per_s) = pace(plan, random);
            leak(plan, from_s, Growth::Request(per_s / plan.load.per_s));
        }
        Family::Native => {
            let (from_s, per_s) = pace(plan, random);
            plan.native = random.between(5.0, 60.0) * MIB;
            leak(plan, from_s, Growth::Linear(per_s));
            plan.leaks[0].place = Where::Native;
        }
        Family::Goroutines => {
            let (from_s, per_s) = pace(plan, random);
            leak(plan, from_s, Growth::Request(per_s / plan.load.per_s));
            plan.leaks[0].place = Where::Goroutines(random.sized(256.0, 65_536.0));
        }
        Family::ThroughRestarts => {
            lasts(plan, 4.0 * DAY, 21.0 * DAY, random);
            let every_s = random.between(0.5, 1.5) * DAY;
            plan.restarts_s = moments(plan, every_s, random);
            let per_s = plan.limit * random.between(0.05, 0.4) / every_s;
            leak(plan, 0.0, Growth::Linear(per_s));
        }
        Family::Slow => {
            lasts(plan, 14.0 * DAY, 60.0 * DAY, random);
            let per_s = plan.limit * random.between(0.007, 0.015) / DAY;
            leak(plan, 0.0, Growth::Linear(per_s));
        }
        _ => calm(family, plan, random),
    }
}

/// The day's load moves a good part of the memory.
fn daily(plan: &mut Plan, random: &mut Random) {
    plan.load.daily = random.between(0.3, 0.7);
    plan.load.weekly = random.between(0.0, 0.25);
    let connections = plan.load.per_s * plan.load.takes_s;
    plan.load.holds = plan.base * random.between(0.3, 1.2) / connections;
}

/// Histories in which nothing leaks.
fn calm(family: Family, plan: &mut Plan, random: &mut Random) {
    match family {
        Family::WarmUp => {
            lasts(plan, 2.0 * HOUR, 2.0 * DAY, random);
            plan.base = plan.limit * random.between(0.1, 0.3);
            plan.warms_s = random.sized(300.0, 0.2 * plan.lasts_s);
        }
        Family::FillingCache => {
            let cache = Cache {
                bytes: plan.limit * random.between(0.08, 0.25),
                fills_s: plan.lasts_s * random.between(0.05, 0.5),
                evenly: random.chance(0.5),
            };
            plan.caches.push(cache);
        }
        Family::RandomWalk => {
            plan.wanders = (random.between(0.08, 0.25), random.sized(HOUR, 12.0 * HOUR));
        }
        Family::Season => {
            lasts(plan, 3.0 * DAY, 21.0 * DAY, random);
            daily(plan, random);
        }
        Family::LoadFollows => {
            lasts(plan, 6.0 * HOUR, 7.0 * DAY, random);
            plan.load.grows = random.between(0.05, 0.6) * DAY / plan.lasts_s;
            let connections = plan.load.per_s * plan.load.takes_s;
            plan.load.holds = plan.base * random.between(0.3, 1.0) / connections;
        }
        Family::SawTooth => {
            plan.load.allocates *= random.between(1.0, 5.0);
            plan.base = plan.limit * random.between(0.1, 0.35);
        }
        Family::Steps => {
            let every_s = plan.lasts_s / random.between(1.5, 4.0);
            for at_s in moments(plan, every_s, random) {
                let bytes = plan.base * random.between(-0.3, 0.5);
                plan.bumps.push(Bump {
                    at_s,
                    for_s: f64::INFINITY,
                    bytes,
                });
            }
        }
        Family::Spikes => {
            let every_s = plan.lasts_s / random.between(2.0, 12.0);
            for at_s in moments(plan, every_s, random) {
                let for_s = random.sized(30.0, 1800.0);
                let bytes = plan.base * random.between(0.3, 1.0);
                plan.bumps.push(Bump { at_s, for_s, bytes });
            }
        }
        Family::Restarts => {
            plan.warms_s = random.sized(60.0, 1800.0);
            let every_s = random.sized(HOUR, DAY).min(plan.lasts_s / 2.0);
            plan.restarts_s = moments(plan, every_s, random);
        }
        Family::BigGogc => {
            plan.base = plan.limit * random.between(0.02, 0.08);
            plan.settings.gogc = Some(random.between(300.0, 900.0));
            plan.load.allocates = plan.base / plan.load.per_s / random.sized(300.0, 7200.0);
        }
        Family::IdleHeap => {
            let at_s = plan.lasts_s * random.between(0.1, 0.5);
            let (for_s, bytes) = (
                random.sized(120.0, HOUR),
                plan.base * random.between(0.5, 1.5),
            );
            plan.bumps.push(Bump { at_s, for_s, bytes });
            plan.settings.gives_back = bytes / (plan.lasts_s * random.between(0.2, 2.0));
        }
        Family::PageCache => {
            plan.page_cache_per_s = plan.limit * random.between(0.3, 3.0) / plan.lasts_s;
        }
        Family::MemoryLimit => {
            plan.settings.gogc = None;
            plan.settings.memory_limit = Some(plan.limit * random.between(0.6, 0.9));
            plan.load.allocates = plan.base / plan.load.per_s / random.sized(30.0, 1800.0);
        }
        Family::Sparse => {
            plan.missing = random.between(0.3, 0.6);
            let every_s = plan.lasts_s / random.between(2.0, 5.0);
            for at_s in moments(plan, every_s, random) {
                plan.gaps_s
                    .push((at_s, random.sized(600.0, 0.15 * plan.lasts_s)));
            }
        }
        Family::Resets => {
            let every_s = random.sized(600.0, 6.0 * HOUR).min(plan.lasts_s / 3.0);
            plan.restarts_s = moments(plan, every_s, random);
        }
        Family::ClockJumps => {
            let every_s = plan.lasts_s / random.between(2.0, 6.0);
            for at_s in moments(plan, every_s, random) {
                let by = random.sized(5.0, 900.0);
                plan.jumps_s
                    .push((at_s, if random.chance(0.5) { by } else { -by }));
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Seeds that each family is looked at with.
    const SEEDS: u64 = 6;

    #[test]
    fn every_history_is_what_its_name_says() {
        for &family in Family::ALL {
            for seed in 0..SEEDS {
                let history = history(family, seed);
                let name = format!("{} {seed}", family.name());
                assert_eq!(history.truth.leak.is_some(), family.leaks(), "{name}");
                for replica in &history.replicas {
                    let readings = &replica.readings;
                    assert!(readings.len() > 20, "{name}: {} readings", readings.len());
                    for reading in readings {
                        let memory = &reading.memory;
                        let all = [
                            memory.heap_alloc,
                            memory.heap_idle,
                            memory.heap_released,
                            memory.rss,
                        ];
                        assert!(
                            all.iter().all(|bytes| bytes.is_finite() && *bytes >= 0.0),
                            "{name}: {reading:?}"
                        );
                        assert!(
                            memory.heap_released <= memory.heap_idle + 1.0,
                            "{name}: {reading:?}"
                        );
                        assert!(
                            memory.heap_alloc >= memory.live * 0.999,
                            "{name}: {reading:?}"
                        );
                        assert!(memory.rss <= 1.1 * history.limit, "{name}: {reading:?}");
                    }
                }
                if let Some(leak) = history.truth.leak {
                    assert!(leak.bytes_per_minute > 0.0, "{name}");
                }
            }
        }
    }

    #[test]
    fn what_does_not_leak_is_not_killed_for_its_memory() {
        let calm = Family::ALL.iter().filter(|family| !family.leaks());
        for &family in calm {
            let ends_itself = matches!(family, Family::Restarts | Family::Resets);
            for seed in 0..SEEDS {
                let history = history(family, seed);
                let readings = &history.replicas[0].readings;
                let lives = readings
                    .windows(2)
                    .filter(|pair| pair[0].started_s != pair[1].started_s);
                assert!(
                    ends_itself || lives.count() == 0,
                    "{} {seed} was restarted",
                    family.name()
                );
            }
        }
    }

    #[test]
    fn a_seed_gives_the_same_history() {
        let of = |seed| history(Family::UnderDailyLoad, seed);
        assert_eq!(of(5), of(5));
        assert_ne!(of(5).replicas, of(6).replicas);
    }
}
