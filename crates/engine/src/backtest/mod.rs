//! Back-test: recorded series judged as they came in, so that only what was known at a moment counts.
//!
//! Recorded samples come from texts ([`files`]) or from a Prometheus ([`prometheus`]) into a [`Gather`], which keeps
//! what tells something about memory and load; then each target is replayed from its first reading to its
//! last: its samples of one time are one reading, which goes through the same dictionary as a scrape does, and the
//! judge looks at what a watcher would have stored until then.
//!
//! Memory: the samples of as many targets as fit into a bound ([`SAMPLES_DEFAULT`]), one name a target, and the
//! judge's window of one target. A text of any size is read in as many passes as that takes.

pub mod files;
mod gather;
mod moments;
mod place;
pub mod prometheus;
mod record;
mod replay;
mod sightings;
mod target;

use std::collections::BTreeMap;

use model::{Labels, METRIC_NAME, UnixMs};

pub use gather::{Counts, Gather, SAMPLES_DEFAULT};
pub use record::{Record, SCHEMA};

use gather::{Gathered, Member};
use moments::Moments;
use place::{Side, Unit};
use target::Target;

/// How a back-test goes.
#[derive(Debug)]
#[non_exhaustive]
pub enum Progress<'a> {
    /// So many bytes of a text have been read, of so many if that is known.
    Read {
        /// The text's name.
        name: &'a str,
        /// Which pass over it this is, from 1.
        pass: u32,
        /// Bytes.
        bytes: u64,
        /// The text's length.
        of: Option<u64>,
    },
    /// A Prometheus is asked for the samples of a target up to this time.
    Asked {
        /// Its place among the targets, from 1.
        target: usize,
        /// How many there are.
        of: usize,
        /// Part of its time, 0 to 1.
        part: f64,
    },
    /// A target is being replayed.
    Judged {
        /// Its labels.
        labels: &'a Labels,
        /// Part of its time, 0 to 1.
        part: f64,
    },
    /// What came of a target.
    Told(&'a Record),
}

/// Told how it goes. An error ends the back-test.
pub type Tell<'a> = dyn FnMut(&Progress<'_>) -> std::io::Result<()> + 'a;

/// Replays everything that was gathered, target by target. Returns whether another pass is needed.
fn replay_all(gather: &mut Gather, tell: &mut Tell<'_>) -> std::io::Result<bool> {
    let (units, more) = gather.finish();
    for unit in units {
        replay_unit(&unit, tell)?;
    }
    Ok(more)
}

fn replay_unit(unit: &Gathered, tell: &mut Tell<'_>) -> std::io::Result<()> {
    let outside: Vec<&Member> = members(unit, |side| *side == Side::Container).collect();
    let mut processes: BTreeMap<&Side, Vec<&Member>> = BTreeMap::new();
    for member in members(unit, |side| *side != Side::Container) {
        processes.entry(&member.side).or_default().push(member);
    }
    // A service may tell its load alone, and a cluster the limits of all its pods: then there is nothing to judge.
    processes.retain(|_, members| tell_memory(members));
    if processes.is_empty() && tell_memory(&outside) {
        return replay_target(&outside, &[], &outside, unit, tell);
    }
    for inside in processes.values() {
        replay_target(inside, inside, &outside, unit, tell)?;
    }
    Ok(())
}

fn tell_memory(members: &[&Member]) -> bool {
    let mut series = members.iter().flat_map(|member| &member.series);
    series.any(|one| one.what.tells_memory(one.labels.name()) && !one.samples.is_empty())
}

fn members(unit: &Gathered, of: impl Fn(&Side) -> bool) -> impl Iterator<Item = &Member> {
    unit.members.iter().filter(move |member| of(&member.side))
}

fn replay_target(
    named_by: &[&Member],
    inside: &[&Member],
    outside: &[&Member],
    unit: &Gathered,
    tell: &mut Tell<'_>,
) -> std::io::Result<()> {
    let labels = common_labels(named_by, &unit.unit);
    let samples = named_by.iter().flat_map(|member| &member.series);
    let ends = samples.filter_map(|one| Some((one.samples.first()?.t, one.samples.last()?.t)));
    let (from, to) = ends.fold((UnixMs(i64::MAX), UnixMs(i64::MIN)), |all, one| {
        (all.0.min(one.0), all.1.max(one.1))
    });
    let whole = to.since(from).as_secs_f64().max(1.0);
    let mut told = Ok(());
    let records = Target::default().run(
        labels.clone(),
        Moments::new(inside.iter().copied()),
        Moments::new(outside.iter().copied()),
        &mut |at| {
            let part = at.since(from).as_secs_f64() / whole;
            let labels = &labels;
            if told.is_ok() {
                told = tell(&Progress::Judged { labels, part });
            }
        },
    );
    told?;
    for record in &records {
        tell(&Progress::Told(record))?;
    }
    Ok(())
}

/// The labels that all series of a target have.
fn common_labels(members: &[&Member], unit: &Unit) -> Labels {
    let mut series = members.iter().flat_map(|member| &member.series);
    let Some(first) = series.next() else {
        return Labels::default();
    };
    let mut common: Vec<(&str, &str)> = first.labels.iter().collect();
    for one in series {
        common.retain(|(name, value)| one.labels.get(name) == Some(value));
    }
    // A series may be the only one: what tells several of one metric apart is no label of the target.
    let own = [
        METRIC_NAME,
        "quantile",
        "resource",
        "unit",
        "id",
        "image",
        "name",
    ];
    let put_in = matches!(unit, Unit::Instance(_)).then_some(place::NO_CONTAINER);
    common.retain(|(name, value)| {
        let is_put_in = *name == "container" && put_in == Some(*value);
        !own.contains(name) && !is_put_in
    });
    Labels::new(common)
}

#[cfg(test)]
mod tests;
