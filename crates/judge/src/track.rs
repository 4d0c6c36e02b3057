//! What is remembered of one target: its present life in detail, earlier ones in short.

use std::collections::{BTreeMap, VecDeque};

use model::{Channel, ChannelData, UnixMs};

use crate::heap::Heap;
use crate::past::{LIVES_MAX, Past};
use crate::trace::{Detail, Keep, Trace, Window};

/// What a judge remembers of one target, fed with samples as they come.
///
/// The same samples give the same memory, and so the same verdict, bit for bit, whatever batches they come in, as long
/// as samples of one moment come together. It stays within some kilobytes however long it is fed: see
/// [`Track::bytes`].
#[derive(Debug, Clone)]
pub struct Track {
    pub(crate) period_s: f64,
    pub(crate) life: Option<Life>,
    /// Earlier lives, the newest last.
    pub(crate) past: VecDeque<Past>,
}

/// One process, from when it was first seen.
#[derive(Debug, Clone)]
pub(crate) struct Life {
    /// The first sample; other times are seconds since then.
    pub(crate) zero: UnixMs,
    pub(crate) started: Option<UnixMs>,
    /// The last sample.
    pub(crate) end: f64,
    pub(crate) channels: BTreeMap<Channel, Trace>,
    pub(crate) loads: Vec<Trace>,
    pub(crate) heap: Heap,
    parts: Parts,
    /// Anonymous memory less what Go holds, where the ledger does not tell it.
    native: Option<Trace>,
}

/// What Go holds, as last read, for the native part by difference.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
struct Parts([Option<f64>; 4]);

const PARTS: [Channel; 4] = [
    Channel::GoHeapInuse,
    Channel::GoIdle,
    Channel::GoStacks,
    Channel::GoRuntime,
];

impl Track {
    /// Nothing yet, of a target that is read every `period_s` seconds.
    #[must_use]
    pub fn new(period_s: f64) -> Self {
        let usable = period_s.is_finite() && period_s >= 0.01;
        Self {
            period_s: if usable { period_s } else { 1.0 },
            life: None,
            past: VecDeque::new(),
        }
    }

    /// Takes in what came since the last time, all of one process, which started at `started` if that is known.
    ///
    /// Samples that are not after the last one of their channel, or not finite, are passed over. Loads are told apart
    /// by their place among the load levels, so one that has nothing new keeps its place with an empty channel.
    pub fn push(&mut self, channels: &[ChannelData], started: Option<UnixMs>) {
        let mut next: Vec<usize> = vec![0; channels.len()];
        let mut order: Vec<(usize, usize)> = Vec::new();
        let mut place = 0;
        for (i, data) in channels.iter().enumerate() {
            order.push((i, place));
            place += usize::from(data.channel == Channel::LoadLevel);
        }
        // What the others are read with comes first: collections before the heap, parts before the whole.
        order.sort_by_key(|(i, _)| rank(channels[*i].channel));
        loop {
            let upcoming = |(i, _): &(usize, usize)| channels[*i].times.get(next[*i]).copied();
            let Some(time) = order.iter().filter_map(upcoming).min() else {
                return;
            };
            for &(i, place) in &order {
                let data = &channels[i];
                if data.times.get(next[i]) == Some(&time) {
                    let value = data.values.get(next[i]).copied().unwrap_or(f64::NAN);
                    next[i] += 1;
                    self.sample(data.channel, place, time, value, started);
                }
            }
        }
    }

    fn sample(
        &mut self,
        channel: Channel,
        place: usize,
        time: UnixMs,
        value: f64,
        started: Option<UnixMs>,
    ) {
        let other = |life: &Life| match (life.started, started) {
            (Some(one), Some(other)) => (one.0 - other.0).abs() > SAME_START_MS && other > one,
            _ => false,
        };
        if self.life.as_ref().is_none_or(other) {
            // A load alone is no life.
            if channel == Channel::LoadLevel || !value.is_finite() {
                return;
            }
            self.end_life();
            self.life = Some(Life::new(time, started));
        }
        let period_s = self.period_s;
        if let Some(life) = &mut self.life {
            life.started = life.started.or(started);
            life.sample(channel, place, time, value, period_s);
        }
    }

    /// What is known when this process has ended and the next one of the same service begins: how earlier lives went.
    #[must_use]
    pub fn heir(&self) -> Self {
        let mut heir = self.clone();
        heir.end_life();
        heir
    }

    /// The same without what was taken in of the present process.
    #[must_use]
    pub fn without_present(&self) -> Self {
        Self {
            period_s: self.period_s,
            life: None,
            past: self.past.clone(),
        }
    }

    fn end_life(&mut self) {
        let period_s = self.period_s;
        let past = self.life.take().and_then(|life| {
            let (level, of_heap) = life.level()?;
            let began = life.started.map_or(0.0, |started| {
                ((started.0 - life.zero.0) as f64 / 1000.0).min(0.0)
            });
            Past::of(level, of_heap, began, period_s)
        });
        self.past.extend(past);
        while self.past.len() > LIVES_MAX {
            self.past.pop_front();
        }
    }

    /// Bytes that it takes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let traces = self.life.iter().flat_map(|life| {
            let heap = [&life.heap.marks, &life.heap.floors, &life.native]
                .into_iter()
                .flatten();
            life.channels.values().chain(&life.loads).chain(heap)
        });
        let keys = size_of::<Channel>() + size_of::<usize>();
        let past = self.past.capacity() * size_of::<Past>();
        size_of::<Self>() + past + traces.map(|trace| trace.bytes() + keys).sum::<usize>()
    }
}

/// Where the Go heap is not seen: what is resident, the best first.
pub(crate) const RESIDENT: [Channel; 4] = [
    Channel::Anon,
    Channel::Rss,
    Channel::ContainerAnon,
    Channel::ContainerUsage,
];

/// Starts nearer to each other than this are one, read twice.
const SAME_START_MS: i64 = 2_000;

fn rank(channel: Channel) -> u8 {
    match channel {
        Channel::GcCycles => 0,
        Channel::Anon => 2,
        Channel::LoadLevel => 3,
        _ => 1,
    }
}

/// How a channel is remembered.
fn kept(channel: Channel) -> (Keep, Detail) {
    match channel {
        Channel::GcCycles => (Keep::Last, Detail::Sketch),
        Channel::LoadLevel => (Keep::Mean, Detail::Full),
        Channel::Goroutines
        | Channel::Threads
        | Channel::Fds
        | Channel::Shmem
        | Channel::Native
        | Channel::NativeHeap
        | Channel::NativeMmap
        | Channel::Rss
        | Channel::Anon
        | Channel::ContainerAnon
        | Channel::ContainerUsage => (Keep::Min, Detail::Full),
        _ => (Keep::Min, Detail::Sketch),
    }
}

impl Life {
    fn new(zero: UnixMs, started: Option<UnixMs>) -> Self {
        Self {
            zero,
            started,
            end: 0.0,
            channels: BTreeMap::new(),
            loads: Vec::new(),
            heap: Heap::default(),
            parts: Parts::default(),
            native: None,
        }
    }

    fn sample(&mut self, channel: Channel, place: usize, time: UnixMs, value: f64, period_s: f64) {
        let at = (time.0.saturating_sub(self.zero.0)) as f64 / 1000.0;
        if at < 0.0 {
            return;
        }
        let (keep, detail) = kept(channel);
        if channel == Channel::LoadLevel {
            while self.loads.len() <= place {
                self.loads.push(Trace::new(keep, detail, period_s));
            }
            self.loads[place].push(at, value);
            return;
        }
        let trace = self
            .channels
            .entry(channel)
            .or_insert_with(|| Trace::new(keep, detail, period_s));
        if !trace.push(at, value) {
            return;
        }
        self.end = self.end.max(at);
        self.heap.sample(channel, at, value, period_s);
        if let Some(part) = PARTS.iter().position(|part| *part == channel) {
            self.parts.0[part] = Some(value);
        }
        if channel == Channel::Anon
            && !self.has_ledger()
            && let [Some(inuse), Some(idle), Some(stacks), Some(runtime)] = self.parts.0
        {
            let native = value - inuse - idle - stacks - runtime;
            let (keep, detail) = kept(Channel::Native);
            self.native
                .get_or_insert_with(|| Trace::new(keep, detail, period_s))
                .push(at, native);
        }
    }

    /// What lives are compared by, and whether that is the heap's floor; else it is what is resident.
    pub(crate) fn level(&self) -> Option<(&Trace, bool)> {
        let floor = self.heap.floor().map(|(_, floor)| (floor, true));
        let mut resident = RESIDENT.iter().filter_map(|it| self.channels.get(it));
        floor.or_else(|| Some((resident.next()?, false)))
    }

    /// Whether the ledger tells the native part itself.
    fn has_ledger(&self) -> bool {
        self.channels.contains_key(&Channel::Native)
    }

    /// Anonymous memory less all that Go holds, where the ledger gives no native channel.
    pub(crate) fn native_by_difference(&self) -> Option<&Trace> {
        let native = self.native.as_ref()?;
        native.ends().is_some().then_some(native)
    }
}
