//! A seeded simulation of a Go process's memory: live heap, allocation, a pacer with GOGC=100 and
//! the least heap of 4 MiB, a scavenger, C memory, file pages, on a noisy machine. Simple on
//! purpose: what the judge must survive is the shape of the numbers, not their last digit.
#![allow(unreachable_pub, dead_code)] // Shared by test programs, each of which uses a part.

use std::collections::BTreeMap;

use model::{Channel, ChannelData, Facts, UnixMs};

pub const MIB: f64 = 1_048_576.0;

/// SplitMix64: small, seeded, the same everywhere.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ 0xD1B5_4A32_D192_ED03)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// From `low` to `high`.
    pub fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Mean 0, standard deviation 1.
    pub fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.between(0.0, 1.0)).sum::<f64>() - 6.0
    }
}

/// What the process is asked to hold at a moment: bytes and counts.
#[derive(Debug, Clone, Copy, Default)]
pub struct Asked {
    /// Reachable Go objects.
    pub live: f64,
    /// Allocated per second, garbage included.
    pub allocates: f64,
    pub goroutines: f64,
    pub native: f64,
    pub file: f64,
    /// Load of work in progress; NaN for none.
    pub load: f64,
}

/// How the samples are taken.
#[derive(Debug, Clone, Copy)]
pub struct Sampling {
    pub period_s: f64,
    pub seconds: f64,
    /// Which heap channels there are.
    pub live: bool,
    pub loads: bool,
    /// Deviation of the native channel.
    pub native_noise: f64,
}

impl Sampling {
    pub fn every_second(seconds: f64) -> Self {
        Self {
            period_s: 1.0,
            seconds,
            live: true,
            loads: false,
            native_noise: 3.0 * MIB,
        }
    }
}

/// A simulated life.
pub struct Life {
    pub channels: Vec<ChannelData>,
    pub facts: Facts,
    pub birth: UnixMs,
}

impl Life {
    /// What was known at `seconds` of age.
    pub fn until(&self, seconds: f64) -> (UnixMs, Vec<ChannelData>) {
        self.between(f64::MIN, seconds)
    }

    /// What was read after `from` seconds, up to `seconds`.
    pub fn between(&self, from: f64, seconds: f64) -> (UnixMs, Vec<ChannelData>) {
        let after = UnixMs(self.birth.0.saturating_add((from * 1000.0) as i64));
        let now = UnixMs(self.birth.0 + (seconds * 1000.0) as i64);
        let channels = self
            .channels
            .iter()
            .map(|data| {
                let begin = data.times.partition_point(|&time| time <= after);
                let end = data.times.partition_point(|&time| time <= now);
                ChannelData {
                    channel: data.channel,
                    times: data.times[begin..end.max(begin)].to_vec(),
                    values: data.values[begin..end.max(begin)].to_vec(),
                }
            })
            .filter(|data| !data.times.is_empty() || data.channel == Channel::LoadLevel)
            .collect();
        (now, channels)
    }
}

/// The heap between two samples.
struct Heap {
    marked: f64,
    alloc: f64,
    next_gc: f64,
    cycles: f64,
    since_gc_s: f64,
    mapped: f64,
    released: f64,
}

impl Heap {
    fn advance(&mut self, asked: &Asked, seconds: f64, random: &mut Random) {
        self.since_gc_s += seconds;
        self.alloc += asked.allocates * seconds;
        // Held objects were allocated: the heap is never below them.
        self.alloc = self.alloc.max(asked.live);
        if self.alloc >= self.next_gc || self.since_gc_s >= 120.0 {
            self.marked = asked.live * (1.0 + 0.004 * random.normal().abs()) + 0.2 * MIB;
            self.alloc = self.marked;
            self.next_gc = (2.0 * self.marked).max(4.0 * MIB);
            self.cycles += 1.0;
            self.since_gc_s = 0.0;
        }
        let inuse = self.alloc * 1.05;
        self.mapped = self.mapped.max(inuse);
        let idle = self.mapped - inuse;
        self.released = self.released.min(idle);
        // The scavenger keeps a tenth over the goal and returns the rest over a minute or so.
        let surplus = (idle - self.released - 0.1 * self.next_gc).max(0.0);
        self.released += surplus * seconds / 60.0;
    }
}

/// Lives through `asked` (of the age in seconds), sampled as `sampling` says.
pub fn live(seed: u64, sampling: &Sampling, asked: impl Fn(f64, &mut Random) -> Asked) -> Life {
    let mut random = Random::new(seed);
    let birth = UnixMs(1_700_000_000_000 + random.between(0.0, 1e9) as i64);
    let mut heap = Heap {
        marked: 0.5 * MIB,
        alloc: 0.5 * MIB,
        next_gc: 4.0 * MIB,
        cycles: 0.0,
        since_gc_s: 0.0,
        mapped: 4.0 * MIB,
        released: 0.0,
    };
    let mut channels: BTreeMap<(Channel, u8), (Vec<UnixMs>, Vec<f64>)> = BTreeMap::new();
    let tick = (sampling.period_s / 5.0).clamp(0.1, 1.0);
    let mut age = 0.0;
    let mut next_sample = random.between(0.2, 1.0) * sampling.period_s.min(5.0);
    while age < sampling.seconds {
        age += tick;
        let now = asked(age, &mut random);
        heap.advance(&now, tick, &mut random);
        if age < next_sample {
            continue;
        }
        next_sample += sampling.period_s;
        if random.between(0.0, 1.0) < 0.01 {
            continue;
        }
        let late = random.between(0.0, 0.15).min(sampling.period_s / 4.0);
        let at = UnixMs(birth.0 + ((age + late) * 1000.0) as i64);
        let native =
            (4.0 * MIB + now.native + sampling.native_noise * random.normal() / 2.0).max(0.0);
        let stacks = 0.5 * MIB + 2048.0 * now.goroutines * 1.1;
        let idle = heap.mapped - heap.alloc * 1.05 - heap.released;
        let anon = heap.alloc * 1.05 + idle + stacks + 5.0 * MIB + 4.0 * MIB + now.native;
        let mut put = |channel, index, value| {
            let (times, values) = channels.entry((channel, index)).or_default();
            times.push(at);
            values.push(value);
        };
        if sampling.live {
            put(Channel::GoLive, 0, heap.marked);
        }
        put(Channel::GoHeapAlloc, 0, heap.alloc);
        put(Channel::GoHeapInuse, 0, heap.alloc * 1.05);
        put(Channel::GoIdle, 0, idle);
        put(Channel::GoStacks, 0, stacks);
        put(Channel::GoRuntime, 0, 5.0 * MIB);
        put(Channel::GoNextGc, 0, heap.next_gc);
        put(Channel::GcCycles, 0, heap.cycles);
        put(Channel::Goroutines, 0, (12.0 + now.goroutines).round());
        put(Channel::Threads, 0, 9.0);
        put(Channel::Fds, 0, 12.0);
        put(Channel::Native, 0, native);
        put(Channel::Anon, 0, anon);
        put(Channel::File, 0, 20.0 * MIB + now.file);
        put(Channel::Rss, 0, anon + 20.0 * MIB + now.file);
        if sampling.loads && now.load.is_finite() {
            let rate =
                (now.load * 40.0 + (now.load * 40.0).max(1.0).sqrt() * random.normal()).max(0.0);
            put(Channel::LoadLevel, 0, rate);
            put(
                Channel::LoadLevel,
                1,
                (now.load + 0.3 * random.normal()).round().max(0.0),
            );
            put(Channel::LoadLevel, 2, 1.0);
        }
    }
    Life {
        channels: channels
            .into_iter()
            .map(|((channel, _), (times, values))| ChannelData {
                channel,
                times,
                values,
            })
            .collect(),
        facts: Facts {
            started: Some(birth),
            limit_bytes: Some(2 << 30),
            limit_source: Some("memory.max".into()),
            limit_used_bytes: None,
            gogc_percent: Some(100.0),
            gomemlimit_bytes: Some(f64::INFINITY),
            period_s: sampling.period_s,
            frees_lazily: false,
            patience_s: None,
        },
        birth,
    }
}

/// A machine that others use too: progress in seconds of a job that runs at full speed alone. The
/// speed changes every few seconds.
pub fn progress(seed: u64, age: f64) -> f64 {
    let mut random = Random::new(seed ^ 0x5EED);
    let (mut done, mut at) = (0.0, 0.0);
    while at < age {
        let spell = random.between(2.0, 8.0).min(age - at);
        done += spell * (1.0 - random.between(0.0, 1.0).powi(3) * 0.35);
        at += spell;
    }
    done
}
