//! What happens to a service over its history: the parts that every history is put together from.

use crate::random::{Random, Wander};
use crate::runtime::{Demand, MIB, Memory, Process, Settings};

/// Seconds of a day.
pub const DAY: f64 = 86_400.0;
/// What a process takes that does nothing, and its own goroutines.
const GOROUTINES_MIN: f64 = 12.0;
/// Requests' own noise wanders this fast.
const NOISE_S: f64 = 180.0;
/// A step of the model is at most so long.
const STEP_MAX: f64 = 15.0;
/// Killed for its memory, or ended, a process is back after this time.
const DOWN_S: f64 = 20.0;

/// How many requests come.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Load {
    /// Requests a second, over all.
    pub per_s: f64,
    /// Part by which the day and the week raise and lower it.
    pub daily: f64,
    /// See `daily`.
    pub weekly: f64,
    /// Part by which it wanders.
    pub noise: f64,
    /// Part by which it grows each day.
    pub grows: f64,
    /// Seconds that one request takes.
    pub takes_s: f64,
    /// Bytes that a request allocates.
    pub allocates: f64,
    /// Bytes that live for each connection.
    pub holds: f64,
}

/// How something grows that is not given back.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Growth {
    /// Bytes a second.
    Linear(f64),
    /// Bytes a second at first, twice that after so many seconds, and so on.
    Accelerating {
        /// At first.
        per_s: f64,
        /// Seconds until it is twice that.
        doubles_s: f64,
    },
    /// Bytes at a time, each so many seconds.
    Stairs {
        /// Bytes of a stair.
        bytes: f64,
        /// Seconds between two.
        every_s: f64,
    },
    /// Bytes of each request.
    Request(f64),
    /// Bytes of each request beyond this part of the usual load.
    Overload {
        /// Bytes of each such request.
        bytes: f64,
        /// Part of the usual load.
        above: f64,
    },
}

/// Where it grows.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Where {
    /// On the heap of Go.
    Heap,
    /// In goroutines that never end, each with so many bytes of the heap.
    Goroutines(f64),
    /// In memory of C.
    Native,
}

/// A leak.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Leak {
    /// How.
    pub growth: Growth,
    /// Where.
    pub place: Where,
    /// Seconds after the beginning of the history.
    pub from_s: f64,
}

/// A cache that fills and then does not grow any more.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Cache {
    /// Bytes when full.
    pub bytes: f64,
    /// Seconds in which it fills: at an even pace, or to two thirds.
    pub fills_s: f64,
    /// At an even pace.
    pub evenly: bool,
}

/// More memory for some time, or from then on.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bump {
    /// When.
    pub at_s: f64,
    /// For how long; infinite for a step.
    pub for_s: f64,
    /// Bytes on the heap; below zero for a step down.
    pub bytes: f64,
}

/// Everything about one process of a service.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// Seconds of history.
    pub lasts_s: f64,
    /// Seconds between two readings.
    pub period_s: f64,
    /// Bytes at which the kernel kills it.
    pub limit: f64,
    /// How the runtime is set up.
    pub settings: Settings,
    /// Bytes that live whatever comes.
    pub base: f64,
    /// Seconds in which a process warms up to two thirds of that.
    pub warms_s: f64,
    /// Requests.
    pub load: Load,
    /// Leaks; several at a time.
    pub leaks: Vec<Leak>,
    /// Caches.
    pub caches: Vec<Cache>,
    /// Steps and peaks.
    pub bumps: Vec<Bump>,
    /// Part of the base by which what lives wanders, and how fast.
    pub wanders: (f64, f64),
    /// Bytes of C memory.
    pub native: f64,
    /// Bytes of the page cache that are added each second, until the limit is reached.
    pub page_cache_per_s: f64,
    /// When processes end by themselves.
    pub restarts_s: Vec<f64>,
    /// Seconds of history that nobody read: from and for how long.
    pub gaps_s: Vec<(f64, f64)>,
    /// Part of all readings that is missing.
    pub missing: f64,
    /// When the clock that readings are marked with jumps, and by how many seconds.
    pub jumps_s: Vec<(f64, f64)>,
}

/// All that could be read at a moment.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Reading {
    /// As the clock of the reader has it, in seconds from the beginning of the history.
    pub at_s: f64,
    /// The process's own figures.
    pub memory: Memory,
    /// When it started.
    pub started_s: f64,
    /// Requests since then.
    pub requests: f64,
    /// Connections now.
    pub connections: f64,
    /// Bytes of the page cache.
    pub page_cache: f64,
    /// Bytes that leaks hold.
    pub leaked: f64,
}

/// One life of a process.
struct Life {
    process: Process,
    started_s: f64,
    requests: f64,
    page_cache: f64,
    /// By leak: bytes.
    leaked: Vec<f64>,
    filled: Vec<f64>,
}

impl Life {
    fn new(plan: &Plan, at: f64) -> Self {
        Self {
            process: Process::new(plan.settings),
            started_s: at,
            requests: 0.0,
            page_cache: 0.0,
            leaked: vec![0.0; plan.leaks.len()],
            filled: vec![0.0; plan.caches.len()],
        }
    }
}

impl Plan {
    /// What would have been read.
    pub fn run(&self, random: &mut Random) -> Vec<Reading> {
        let steps = (self.period_s / STEP_MAX).ceil().max(1.0);
        let step = self.period_s / steps;
        let mut noise = Wander::new(NOISE_S, random);
        let mut wander = Wander::new(self.wanders.1, random);
        let mut life = Life::new(self, 0.0);
        let (mut readings, mut at, mut up_at) = (Vec::new(), 0.0, 0.0);
        let mut ends = self.restarts_s.iter().copied().peekable();
        while at < self.lasts_s {
            for _ in 0..steps as u32 {
                at += step;
                let noise = noise.after(step, random);
                let wander = wander.after(step, random);
                if at >= up_at {
                    self.step(&mut life, at, step, noise, wander);
                }
            }
            let is_killed = self.usage(&life) >= self.limit;
            if is_killed || ends.next_if(|end| *end <= at).is_some() {
                up_at = at + DOWN_S;
                life = Life::new(self, up_at);
                continue;
            }
            let is_unread = self
                .gaps_s
                .iter()
                .any(|(from, long)| (*from..from + long).contains(&at));
            if at >= up_at && !is_unread && !random.chance(self.missing) {
                readings.push(self.read(&life, at, noise_of(random)));
            }
        }
        readings
    }

    fn per_s(&self, at: f64, noise: f64) -> f64 {
        let load = &self.load;
        let turn = |length: f64| (std::f64::consts::TAU * at / length).sin();
        let season = 1.0 + load.daily * turn(DAY) + load.weekly * turn(7.0 * DAY);
        let grown = 1.0 + load.grows * at / DAY;
        (load.per_s * season * grown * (1.0 + load.noise * noise)).max(0.0)
    }

    fn step(&self, life: &mut Life, at: f64, step: f64, noise: f64, wander: f64) {
        let per_s = self.per_s(at, noise);
        life.requests += per_s * step;
        let connections = per_s * self.load.takes_s;
        for (leak, leaked) in self.leaks.iter().zip(&mut life.leaked) {
            // A new process leaks as the first one did.
            let age = at - leak.from_s.max(life.started_s);
            *leaked += leak.adds(age, step, per_s, self.load.per_s);
        }
        let age = at - life.started_s;
        for (cache, filled) in self.caches.iter().zip(&mut life.filled) {
            *filled = cache.filled(age);
        }
        let bumps = self
            .bumps
            .iter()
            .filter(|bump| (bump.at_s..bump.at_s + bump.for_s).contains(&at));
        let warm = 1.0 - (-age / self.warms_s.max(1.0)).exp();
        let steady = self.base * (0.3 + 0.7 * warm) * (1.0 + self.wanders.0 * wander);
        let mut live = steady.max(MIB) + connections * self.load.holds;
        live += life.filled.iter().sum::<f64>() + bumps.map(|bump| bump.bytes).sum::<f64>();
        let (mut goroutines, mut native) = (GOROUTINES_MIN + 1.5 * connections, self.native);
        for (leak, leaked) in self.leaks.iter().zip(&life.leaked) {
            match leak.place {
                Where::Heap => live += leaked,
                Where::Native => native += leaked,
                Where::Goroutines(each) => {
                    goroutines += leaked / (each + self.settings.stack);
                    live += leaked * each / (each + self.settings.stack);
                }
            }
        }
        let demand = Demand {
            live: live.max(MIB),
            allocated_per_s: per_s * self.load.allocates,
            goroutines: goroutines.round(),
            native,
        };
        life.process.run(step, demand);
        // The kernel gives the page cache up before it kills.
        let room = (self.limit - life.process.memory().rss).max(0.0);
        life.page_cache = (life.page_cache + self.page_cache_per_s * step).min(0.95 * room);
    }

    fn usage(&self, life: &Life) -> f64 {
        life.process.memory().rss
    }

    fn read(&self, life: &Life, at: f64, noise: f64) -> Reading {
        let mut memory = life.process.memory();
        // What the kernel holds is never quite what the runtime thinks.
        memory.rss *= 1.0 + 0.002 * noise;
        let jumped: f64 = self
            .jumps_s
            .iter()
            .filter(|(from, _)| *from <= at)
            .map(|(_, by)| by)
            .sum();
        Reading {
            at_s: at + jumped,
            memory,
            started_s: life.started_s,
            requests: life.requests.floor(),
            connections: (self.per_s(at, noise) * self.load.takes_s).round(),
            page_cache: life.page_cache,
            leaked: life.leaked.iter().sum(),
        }
    }
}

impl Leak {
    /// Bytes that come in the last `step` seconds, when it has leaked for `age` seconds.
    fn adds(&self, age: f64, step: f64, per_s: f64, usual: f64) -> f64 {
        if age <= 0.0 {
            return 0.0;
        }
        let step = step.min(age);
        match self.growth {
            Growth::Linear(per_s) => per_s * step,
            Growth::Accelerating { per_s, doubles_s } => per_s * (age / doubles_s).exp2() * step,
            Growth::Stairs { bytes, every_s } => {
                let before = ((age - step) / every_s).floor();
                bytes * ((age / every_s).floor() - before)
            }
            Growth::Request(bytes) => bytes * per_s * step,
            Growth::Overload { bytes, above } => bytes * (per_s - above * usual).max(0.0) * step,
        }
    }
}

impl Cache {
    fn filled(&self, age: f64) -> f64 {
        let part = age / self.fills_s;
        match self.evenly {
            true => self.bytes * part.min(1.0),
            false => self.bytes * (1.0 - (-part).exp()),
        }
    }
}

/// Noise of one reading, never far out.
fn noise_of(random: &mut Random) -> f64 {
    random.normal().clamp(-3.0, 3.0)
}
