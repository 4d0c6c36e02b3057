//! Recorded samples in any order of series, within a bound of memory.
//!
//! Texts come series by series, of all targets one after the other, and a judgement needs all series of one
//! target: so samples are kept until the text is at its end. What does not fit is left for another pass over the
//! same text ([`Gather::finish`] says whether one is needed).

use std::collections::{BTreeMap, BTreeSet, HashMap};

use model::{Labels, Sample};
use wire::ScrapedSample;

use super::place::{Place, Side, Unit, What, place};

/// What a series costs beside its samples, in samples.
const SERIES_COST: usize = 40;
/// Series of one process that may tell its load.
const LOADS_MAX: usize = 2_000;

/// Samples that are kept in memory at a time unless told otherwise: 1 GiB.
pub const SAMPLES_DEFAULT: usize = (1 << 30) / size_of::<Sample>();

/// One series.
#[derive(Debug, Clone)]
pub(crate) struct Recorded {
    pub(crate) labels: Labels,
    pub(crate) what: What,
    /// Strictly increasing in time, finite.
    pub(crate) samples: Vec<Sample>,
}

/// What one recorder has of one side of a unit.
#[derive(Debug, Clone)]
pub(crate) struct Member {
    pub(crate) side: Side,
    pub(crate) replica: Box<str>,
    pub(crate) series: Vec<Recorded>,
}

/// Series that are read together.
#[derive(Debug, Clone)]
pub(crate) struct Gathered {
    pub(crate) unit: Unit,
    /// Sorted by side and replica.
    pub(crate) members: Vec<Member>,
}

/// What came of samples that were not kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Samples that were kept.
    pub kept: u64,
    /// Of series that tell nothing about memory or load, or nobody's.
    pub other: u64,
    /// Without a time.
    pub timeless: u64,
    /// Not newer than the one before them in their series.
    pub out_of_order: u64,
    /// Series beyond the number that one process may have.
    pub series_too_many: u64,
}

#[derive(Debug, Clone, Copy)]
struct Slot {
    unit: usize,
    member: usize,
    series: usize,
}

/// Keeps what matters of the samples that it is given.
#[derive(Debug)]
pub struct Gather {
    drop: Vec<String>,
    samples_max: usize,
    held: usize,
    /// In the order of appearance; one that had to go is `None`.
    units: Vec<Option<Gathered>>,
    by_unit: BTreeMap<Unit, usize>,
    slots: HashMap<Labels, Slot>,
    /// Of those, how many are of units that had to go.
    slots_stale: usize,
    last: Option<(Labels, Option<Slot>)>,
    /// Units that an earlier pass has dealt with.
    done: BTreeSet<Unit>,
    /// Units for a later pass.
    later: BTreeSet<Unit>,
    too_large: Vec<Unit>,
    counts: Counts,
}

impl Gather {
    /// An empty one.
    ///
    /// * `drop`: labels that only tell who recorded a series.
    /// * `samples_max`: how many samples may be held at a time; see [`SAMPLES_DEFAULT`].
    #[must_use]
    pub fn new(drop: Vec<String>, samples_max: usize) -> Self {
        Self {
            drop,
            samples_max,
            held: 0,
            units: Vec::new(),
            by_unit: BTreeMap::new(),
            slots: HashMap::new(),
            slots_stale: 0,
            last: None,
            done: BTreeSet::new(),
            later: BTreeSet::new(),
            too_large: Vec::new(),
            counts: Counts::default(),
        }
    }

    /// Takes one sample in. A value that is not finite is no sample.
    pub fn push(&mut self, sample: ScrapedSample) {
        let slot = match &self.last {
            // Mostly the same labels in the same allocation.
            Some((last, slot)) if *last == sample.labels => *slot,
            _ => {
                let slot = self.slot(&sample.labels);
                self.last = Some((sample.labels.clone(), slot));
                slot
            }
        };
        let Some(slot) = slot else {
            self.counts.other += 1;
            return;
        };
        let Some(t) = sample.timestamp else {
            self.counts.timeless += 1;
            return;
        };
        let Some(Some(unit)) = self.units.get_mut(slot.unit) else {
            return; // left for a later pass
        };
        let samples = &mut unit.members[slot.member].series[slot.series].samples;
        if !sample.value.is_finite() {
            return;
        }
        if samples.last().is_some_and(|last| last.t >= t) {
            self.counts.out_of_order += 1;
            return;
        }
        samples.push(Sample { t, v: sample.value });
        self.counts.kept += 1;
        self.hold(1);
    }

    /// All that was gathered, in the order of the units, and whether there is more for another pass.
    pub(crate) fn finish(&mut self) -> (Vec<Gathered>, bool) {
        let mut units: Vec<Gathered> = self.units.drain(..).flatten().collect();
        for unit in &mut units {
            unit.members
                .sort_by(|a, b| (&a.side, &a.replica).cmp(&(&b.side, &b.replica)));
        }
        units.sort_by(|a, b| a.unit.cmp(&b.unit));
        self.done.extend(units.iter().map(|unit| unit.unit.clone()));
        self.by_unit.clear();
        self.slots.clear();
        self.slots_stale = 0;
        self.last = None;
        self.held = 0;
        let more = !self.later.is_empty();
        self.later.clear();
        (units, more)
    }

    /// What was not kept, and why, over all passes.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Targets whose samples alone are more than may be held.
    pub fn too_large(&self) -> impl Iterator<Item = String> {
        self.too_large.iter().map(ToString::to_string)
    }

    fn slot(&mut self, labels: &Labels) -> Option<Slot> {
        if let Some(slot) = self.slots.get(labels) {
            return Some(*slot);
        }
        let place = place(labels, &self.drop)?;
        if self.done.contains(&place.unit) || self.later.contains(&place.unit) {
            return None;
        }
        let slot = self.enter(place)?;
        self.slots.insert(labels.clone(), slot);
        self.hold(SERIES_COST);
        Some(slot)
    }

    fn enter(&mut self, place: Place) -> Option<Slot> {
        let next = self.units.len();
        let at = *self.by_unit.entry(place.unit.clone()).or_insert(next);
        if at == next {
            self.units.push(Some(Gathered {
                unit: place.unit,
                members: Vec::new(),
            }));
        }
        let members = &mut self.units.get_mut(at)?.as_mut()?.members;
        let is_it = |member: &Member| member.side == place.side && member.replica == place.replica;
        let member = members.iter().position(is_it).unwrap_or_else(|| {
            members.push(Member {
                side: place.side.clone(),
                replica: place.replica.clone(),
                series: Vec::new(),
            });
            members.len() - 1
        });
        let series = &mut members[member].series;
        if matches!(place.what, What::Load(_)) && series.len() >= LOADS_MAX {
            self.counts.series_too_many += 1;
            return None;
        }
        series.push(Recorded {
            labels: place.labels,
            what: place.what,
            samples: Vec::new(),
        });
        Some(Slot {
            unit: at,
            member,
            series: series.len() - 1,
        })
    }

    /// Accounts for `cost` samples more. Above the bound the units that came last go.
    fn hold(&mut self, cost: usize) {
        self.held += cost;
        while self.held > self.samples_max {
            let held = self.units.iter().filter(|unit| unit.is_some()).count();
            let Some(unit) = self.units.iter_mut().rev().find_map(Option::take) else {
                return;
            };
            let series = unit.members.iter().flat_map(|member| &member.series);
            let freed: usize = series.map(|one| one.samples.len() + SERIES_COST).sum();
            self.held = self.held.saturating_sub(freed);
            self.slots_stale += unit
                .members
                .iter()
                .map(|one| one.series.len())
                .sum::<usize>();
            if self.slots_stale > self.slots.len() / 2 {
                let units = &self.units;
                let is_held = |slot: &Slot| units.get(slot.unit).is_some_and(Option::is_some);
                self.slots.retain(|_, slot| is_held(slot));
                self.slots_stale = 0;
            }
            // Alone it will not fit the next time either.
            if held == 1 {
                self.too_large.push(unit.unit.clone());
                self.done.insert(unit.unit);
            } else {
                self.later.insert(unit.unit);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use model::UnixMs;

    use super::*;

    fn sample(name: &str, instance: &str, t: i64, value: f64) -> ScrapedSample {
        ScrapedSample {
            labels: Labels::metric(name, [("job", "web"), ("instance", instance)]),
            value,
            timestamp: Some(UnixMs(t)),
        }
    }

    const NAMES: [&str; 2] = ["process_resident_memory_bytes", "go_goroutines"];

    /// Series by series, as texts are.
    fn feed(gather: &mut Gather, instances: &[(&str, i64)]) {
        for name in NAMES {
            for (instance, len) in instances {
                for t in 0..*len {
                    gather.push(sample(name, instance, t, 1.0));
                }
            }
        }
    }

    fn passes(samples_max: usize, instances: &[(&str, i64)]) -> (Vec<Vec<String>>, Gather) {
        let mut gather = Gather::new(Vec::new(), samples_max);
        let mut passes = Vec::new();
        loop {
            feed(&mut gather, instances);
            assert!(gather.held <= samples_max);
            assert!(gather.slots.len() <= 2 * samples_max / SERIES_COST);
            let (units, more) = gather.finish();
            for unit in &units {
                let series = unit.members.iter().flat_map(|member| &member.series);
                let all: Vec<_> = series.map(|one| one.samples.len()).collect();
                let (_, len) = instances
                    .iter()
                    .find(|(name, _)| unit.unit.to_string().ends_with(name))
                    .unwrap();
                assert_eq!(all, [*len as usize; 2], "all or nothing of {}", unit.unit);
            }
            passes.push(units.iter().map(|unit| unit.unit.to_string()).collect());
            if !more {
                return (passes, gather);
            }
        }
    }

    #[test]
    fn what_does_not_fit_comes_in_another_pass() {
        let instances = [("a", 100), ("b", 100), ("c", 100), ("d", 100), ("e", 100)];
        let (all, gather) = passes(10_000, &instances);
        assert_eq!(all.len(), 1);
        assert_eq!(gather.counts().kept, 1000);
        let (some, gather) = passes(600, &instances);
        assert_eq!(
            some,
            [
                vec!["web/a", "web/b"],
                vec!["web/c", "web/d"],
                vec!["web/e"]
            ]
        );
        assert_eq!(gather.too_large().count(), 0);
    }

    #[test]
    fn one_that_never_fits_is_told_and_the_others_are_read() {
        let instances = [("a", 100), ("huge", 5000), ("c", 100)];
        let (passes, gather) = passes(600, &instances);
        let read: Vec<_> = passes.into_iter().flatten().collect();
        assert_eq!(read, ["web/a", "web/c"]);
        assert_eq!(gather.too_large().collect::<Vec<_>>(), ["web/huge"]);
    }

    #[test]
    fn what_is_not_kept_is_counted() {
        let mut gather = Gather::new(Vec::new(), 1000);
        gather.push(sample(NAMES[0], "a", 5, 1.0));
        gather.push(sample(NAMES[0], "a", 5, 2.0));
        gather.push(sample(NAMES[0], "a", 4, 2.0));
        gather.push(sample(NAMES[0], "a", 6, f64::NAN));
        gather.push(sample("go_memstats_lookups_total", "a", 7, 1.0));
        gather.push(ScrapedSample {
            timestamp: None,
            ..sample(NAMES[0], "a", 0, 1.0)
        });
        let want = Counts {
            kept: 1,
            other: 1,
            timeless: 1,
            out_of_order: 2,
            series_too_many: 0,
        };
        assert_eq!(gather.counts(), want);
    }
}
