//! From stored series to a verdict.

use std::time::Duration;

use judge::Track;
use ledger::Chosen;
use model::series::ReadError;
use model::verdict::Judged;
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

/// How far back a look at all that there is of a target goes at this period.
#[must_use]
pub(crate) fn window(period: Duration) -> Duration {
    (period * PERIODS).max(WINDOW_MIN)
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
    let mut judged = remembered.judge(now, facts);
    if leaks(&judged) {
        let found = store.select(now.before(window(store.period)), now)?;
        name_gauges(&mut judged, &found);
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

fn leaks(judged: &Judged) -> bool {
    judged.findings.first().map(|first| first.verdict) == Some(Judgement::Leak)
}

/// Says of a leak which gauges of the service's own, among the `found` series, rise with it.
pub(crate) fn name_gauges(judged: &mut Judged, found: &[Series]) {
    if leaks(judged) {
        let channels = ledger::channels(found);
        let gauges = ledger::risen_gauges(found);
        own_names::name_gauges(&mut judged.findings, &channels, &gauges);
    }
}

/// One target's series.
struct Store<'a> {
    series: &'a dyn SeriesRead,
    target: &'a Target,
    period: Duration,
    started: Option<UnixMs>,
}

impl Store<'_> {
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
        if remembered.is_look_due(now) {
            let found = self.select(now.before(window(self.period)), now)?;
            if remembered.look(&found, facts, now) {
                self.take_in_history(remembered, facts, now)?;
            }
        }
        let late = self.period * LATE_PERIODS;
        let from = remembered.until.map_or(now, |until| until.before(late));
        remembered.take(&self.select(from, now)?, facts);
        Ok(())
    }

    fn take_in_history(
        &self,
        remembered: &mut Remembered,
        facts: &Facts,
        now: UnixMs,
    ) -> Result<(), ReadError> {
        let first = now.before(DAY * HISTORY_DAYS);
        let mut from = self.started.map_or(first, |started| first.max(started));
        while from < now {
            let to = from.after(DAY).min(now);
            remembered.take(&self.select(from, to)?, facts);
            from = to;
        }
        Ok(())
    }
}

impl Remembered {
    /// Whether it is time to look again at which series there are.
    pub(crate) fn is_look_due(&self, now: UnixMs) -> bool {
        self.look_again.is_none_or(|at| now >= at)
    }

    /// Looks at all series there are over the [`window`]. True if others are followed from now on: then nothing of
    /// this process is remembered any more, and what there is has to be taken in again.
    pub(crate) fn look(&mut self, found: &[Series], facts: &Facts, now: UnixMs) -> bool {
        let known = self.from.map_or(0.0, |from| now.since(from).as_secs_f64());
        let pause = Duration::from_secs_f64(known * LOOK_AGAIN_PART).min(LOOK_AGAIN_MAX);
        let period = Duration::try_from_secs_f64(facts.period_s).unwrap_or_default();
        self.look_again = Some(now.after(pause.max(period)));
        let young = known < window(period).as_secs_f64();
        let anew = self.choose(ledger::choose(found), young) || self.track.is_none();
        if anew {
            let fresh = || Track::new(facts.period_s);
            self.track = Some(
                self.track
                    .as_ref()
                    .map_or_else(fresh, Track::without_present),
            );
            (self.from, self.until) = (None, None);
        }
        anew
    }

    /// Takes in what `found` has of the series that are followed, as far as it is new.
    pub(crate) fn take(&mut self, found: &[Series], facts: &Facts) {
        let from = self.until.unwrap_or(UnixMs(i64::MIN));
        let chosen = self.chosen.iter();
        let channels: Vec<ChannelData> = chosen.map(|one| one.follow(found, from)).collect();
        let times = || channels.iter().flat_map(|data| &data.times);
        let (first, last) = (times().min().copied(), times().max().copied());
        if let Some(track) = &mut self.track {
            track.push(&channels, facts.started);
        }
        self.from = self.from.or(first);
        self.until = self.until.max(last);
    }

    /// Judges by what is remembered, with the loads named.
    pub(crate) fn judge(&self, now: UnixMs, facts: &Facts) -> Judged {
        let nothing = Track::new(facts.period_s);
        let mut judged = self.track.as_ref().unwrap_or(&nothing).judge(now, facts);
        let chosen = self.chosen.iter();
        let loads = chosen.filter(|one| one.channel == Channel::LoadLevel);
        let loads: Vec<&str> = loads.map(|one| &*one.source).collect();
        own_names::name_loads(&mut judged.findings, &loads);
        judged
    }

    /// Takes what a look has chosen. True if what was taken in before does not go with it: other series are meant, or
    /// there are more loads and little is lost.
    fn choose(&mut self, mut chosen: Vec<Chosen>, young: bool) -> bool {
        let is_load = |one: &&Chosen| one.channel == Channel::LoadLevel;
        // A load that is none over this window is still followed: it keeps its place.
        let lost = self.chosen.iter().filter(is_load);
        let lost = lost.filter(|one| !chosen.contains(one));
        let lost: Vec<Chosen> = lost.cloned().collect();
        chosen.extend(lost);
        let place = |one: &Chosen| self.chosen.iter().position(|old| old == one);
        chosen.sort_by_key(|one| place(one).unwrap_or(usize::MAX));
        let more = chosen.len() > self.chosen.len();
        let known = &chosen[..self.chosen.len().min(chosen.len())];
        let only_loads =
            known == self.chosen && chosen[known.len()..].iter().all(|one| is_load(&one));
        self.chosen = chosen;
        !only_loads || more && young
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
        "anon-rest" => Channel::Native,
        "native.heap" => Channel::NativeHeap,
        "native.mmap" => Channel::NativeMmap,
        "go.fragmentation" => Channel::GoFragmentation,
        "go.extra-resident" => Channel::GoExtraResident,
        "huge-pages" => Channel::HugePages,
        "swap" => Channel::Swap,
        "anon" => Channel::Anon,
        "file" => Channel::File,
        "shmem" => Channel::Shmem,
        _ => return None,
    })
}
