//! From stored series to a verdict.

use std::time::Duration;

use judge::Track;
use ledger::Chosen;
use model::series::ReadError;
use model::{
    Budget, Cancel, Channel, ChannelData, Component, Facts, Judgement, Ledger, Matcher, Series,
    SeriesRead, TARGET_LABEL, Target, UnixMs, Verdict,
};

use crate::own_names;

/// Samples that one look at the store may read: 25 channels over a day at one a second.
const SAMPLES_MAX: u64 = 3_000_000;
/// A look at all that there is of a target goes back over so many periods, and never less than an hour.
const PERIODS: u32 = 1_440;
const WINDOW_MIN: Duration = Duration::from_secs(3_600);
/// When a watcher begins anew, what was stored before is judged along as far back as this, a day at a time.
const HISTORY_DAYS: u32 = 7;
const DAY: Duration = Duration::from_secs(86_400);
/// Which series are taken for which channels is looked at again when what is known has grown by this part, and after
/// an hour at the latest.
const LOOK_AGAIN_PART: f64 = 0.25;
const LOOK_AGAIN_MAX: Duration = Duration::from_secs(3_600);
/// Samples come late by so many periods at most.
const LATE_PERIODS: u32 = 4;

/// What is remembered of a target between two judgements.
#[derive(Debug, Clone, Default)]
pub struct Remembered {
    track: Option<Track>,
    /// In the order that the track knows the loads by.
    chosen: Vec<Chosen>,
    from: Option<UnixMs>,
    until: Option<UnixMs>,
    look_again: Option<UnixMs>,
}

impl Remembered {
    /// What the next process of the same workload is compared with.
    #[must_use]
    pub fn heir(&self) -> Self {
        Self {
            track: self.track.as_ref().map(Track::heir),
            ..Self::default()
        }
    }
}

/// Judges `target` by what is stored of it, and by what was `remembered` when it was judged before. Reads and computes
/// for a millisecond or some, more the first time: call it on a blocking thread.
///
/// # Errors
/// Those of the store.
pub fn judge_target(
    series: &dyn SeriesRead,
    target: &Target,
    facts: &Facts,
    ledger: Option<&Ledger>,
    now: UnixMs,
    remembered: &mut Remembered,
) -> Result<Verdict, ReadError> {
    let store = Store {
        series,
        target,
        period: Duration::try_from_secs_f64(facts.period_s).unwrap_or(Duration::from_secs(15)),
        started: facts.started,
    };
    store.remember(remembered, facts, now)?;
    let track = remembered
        .track
        .get_or_insert_with(|| Track::new(facts.period_s));
    let mut judged = track.judge(now, facts);
    let chosen = remembered.chosen.iter();
    let loads = chosen.filter(|one| one.channel == Channel::LoadLevel);
    let loads: Vec<&str> = loads.map(|one| &*one.source).collect();
    own_names::name_loads(&mut judged.findings, &loads);
    if judged.findings.first().map(|first| first.verdict) == Some(Judgement::Leak) {
        let found = store.select(now.before(store.window()), now)?;
        let channels = ledger::channels(&found);
        let gauges = ledger::risen_gauges(&found);
        own_names::name_gauges(&mut judged.findings, &channels, &gauges);
    }
    let components = components(ledger, &judged.slopes);
    Ok(Verdict::assemble(
        now,
        target.clone(),
        judged,
        facts,
        components,
    ))
}

/// One target's series.
struct Store<'a> {
    series: &'a dyn SeriesRead,
    target: &'a Target,
    period: Duration,
    started: Option<UnixMs>,
}

impl Store<'_> {
    fn window(&self) -> Duration {
        (self.period * PERIODS).max(WINDOW_MIN)
    }

    fn select(&self, from: UnixMs, to: UnixMs) -> Result<Vec<Series>, ReadError> {
        let from = self.started.map_or(from, |started| from.max(started));
        let matchers = [Matcher::equal(TARGET_LABEL, self.target.id.0.as_str())];
        let budget = Budget::samples(SAMPLES_MAX);
        self.series
            .select(&matchers, from, to, &budget, &Cancel::default())
    }

    /// Brings `remembered` up to `now`.
    fn remember(
        &self,
        remembered: &mut Remembered,
        facts: &Facts,
        now: UnixMs,
    ) -> Result<(), ReadError> {
        if remembered.look_again.is_none_or(|at| now >= at) {
            let found = self.select(now.before(self.window()), now)?;
            if remembered.choose(ledger::choose(&found)) {
                self.begin_anew(remembered, facts, now)?;
            }
            let known = remembered
                .from
                .map_or(0.0, |from| now.since(from).as_secs_f64());
            let pause = Duration::from_secs_f64(known * LOOK_AGAIN_PART).min(LOOK_AGAIN_MAX);
            remembered.look_again = Some(now.after(pause.max(self.period)));
        }
        let late = self.period * LATE_PERIODS;
        let from = remembered.until.map_or(now, |until| until.before(late));
        self.take(remembered, facts, from, now)
    }

    /// All that is stored is taken in once more, since other series are followed from now on.
    fn begin_anew(
        &self,
        remembered: &mut Remembered,
        facts: &Facts,
        now: UnixMs,
    ) -> Result<(), ReadError> {
        let fresh = || Track::new(facts.period_s);
        let track = remembered.track.as_ref();
        remembered.track = Some(track.map_or_else(fresh, Track::without_present));
        (remembered.from, remembered.until) = (None, None);
        let longest = DAY * HISTORY_DAYS;
        let first = now.before(longest);
        let mut from = self.started.map_or(first, |started| first.max(started));
        while from < now {
            let to = from.after(DAY).min(now);
            self.take(remembered, facts, from, to)?;
            from = to;
        }
        Ok(())
    }

    fn take(
        &self,
        remembered: &mut Remembered,
        facts: &Facts,
        from: UnixMs,
        to: UnixMs,
    ) -> Result<(), ReadError> {
        let found = self.select(from, to)?;
        let chosen = remembered.chosen.iter();
        let channels: Vec<ChannelData> = chosen.map(|one| one.follow(&found)).collect();
        let times = || channels.iter().flat_map(|data| &data.times);
        let (first, last) = (times().min().copied(), times().max().copied());
        if let Some(track) = &mut remembered.track {
            track.push(&channels, facts.started);
        }
        remembered.from = remembered.from.or(first);
        remembered.until = remembered.until.max(last);
        Ok(())
    }
}

impl Remembered {
    /// Takes what a new look has chosen; true if what was taken in so far has to be taken in anew.
    fn choose(&mut self, mut chosen: Vec<Chosen>) -> bool {
        let is_load = |one: &Chosen| one.channel == Channel::LoadLevel;
        let same = |one: &Chosen, other: &Chosen| {
            one.channel == other.channel && one.source == other.source && one.labels == other.labels
        };
        // A load that is none over this window is still followed: it keeps its place.
        let lost = self.chosen.iter().filter(|one| is_load(one));
        let lost = lost.filter(|one| !chosen.iter().any(|new| same(new, one)));
        let lost: Vec<Chosen> = lost.cloned().collect();
        chosen.extend(lost);
        let place = |one: &Chosen| self.chosen.iter().position(|old| same(old, one));
        chosen.sort_by_key(|one| place(one).unwrap_or(usize::MAX));
        let changed = chosen.len() != self.chosen.len()
            || chosen
                .iter()
                .zip(&self.chosen)
                .any(|(new, old)| !same(new, old));
        self.chosen = chosen;
        changed || self.track.is_none()
    }
}

/// The ledger's lines with their growth, where a channel tells it.
fn components(ledger: Option<&Ledger>, slopes: &[(Channel, f64)]) -> Vec<Component> {
    let Some(ledger) = ledger else {
        return Vec::new();
    };
    let mut lines = ledger.components.clone();
    for line in &mut lines {
        let slope = channel_of(&line.name)
            .and_then(|channel| slopes.iter().find(|(of, _)| *of == channel))
            .map(|(_, slope)| *slope);
        line.bytes_per_minute = slope;
    }
    let risen: f64 = lines
        .iter()
        .filter_map(|l| l.bytes_per_minute)
        .map(|v| v.max(0.0))
        .sum();
    if risen > 0.0 {
        for line in &mut lines {
            line.growth_share = line.bytes_per_minute.map(|slope| slope.max(0.0) / risen);
        }
    }
    lines.push(Component::new("unexplained", ledger.unexplained_bytes));
    lines.extend(ledger.outside.iter().cloned());
    lines
}

fn channel_of(component: &str) -> Option<Channel> {
    Some(match component {
        "go.live" => Channel::GoLive,
        "go.idle" => Channel::GoIdle,
        "go.stacks" => Channel::GoStacks,
        "go.runtime" => Channel::GoRuntime,
        "native" => Channel::Native,
        "native.heap" => Channel::NativeHeap,
        "native.mmap" => Channel::NativeMmap,
        "anon" => Channel::Anon,
        "file" => Channel::File,
        "shmem" => Channel::Shmem,
        _ => return None,
    })
}
