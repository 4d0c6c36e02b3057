//! Who grew on the Go heap beneath a load that goes up and down. Two profiles alone show how the load
//! stood at the one and at the other, and what leaks slowly is lost in that. So each frame's bytes in
//! several profiles are explained by two things at once: time, and what the load held then, which is the
//! whole heap less what the verdict says has leaked by then. The growth is the part of time.

use std::collections::HashMap;

use model::{Suspect, SuspectWhat, UnixMs};
use profile::{Frame, Profile};

use crate::heap::{compare, suspect};
use crate::{Evidence, Interpretation, SUSPECTS_MAX, rank, share};

/// A line through time and load has three coefficients: fewer profiles always fit it.
const LOOKS_MIN: usize = 4;
/// A load that has moved by less than this part of the growth does not matter: two profiles tell who grew.
const MOVED_MIN: f64 = 0.25;
/// Time and load that are this much alike cannot be told apart.
const ALIKE_MAX: f64 = 0.9;

/// Heap profiles of one target over time, each reduced to its bytes by frame to look at.
#[derive(Debug, Default)]
pub struct OverTime {
    looks: Vec<Look>,
}

#[derive(Debug)]
struct Look {
    at: UnixMs,
    total: f64,
    by_frame: HashMap<Place, f64>,
}

/// Function, file, line.
type Place = (String, String, i64);

fn place(frame: &Frame<'_>) -> Place {
    (frame.function.to_owned(), frame.file.to_owned(), frame.line)
}

/// What explains bytes, about the mean of each.
struct Explained {
    /// Minutes.
    times: Vec<f64>,
    /// Bytes of the load.
    loads: Vec<f64>,
}

impl OverTime {
    /// Takes in the heap profile of `at`.
    pub fn add(&mut self, at: UnixMs, heap: &Profile, main_module: Option<&str>) {
        let Some(whole) = compare(None, heap, "inuse_space") else {
            return;
        };
        let mut by_frame = HashMap::new();
        for of in whole.by_frame(main_module) {
            if let Some(frame) = &of.frame {
                *by_frame.entry(place(frame)).or_default() += of.after as f64;
            }
        }
        self.looks.push(Look {
            at,
            total: whole.total().after as f64,
            by_frame,
        });
        self.looks.sort_by_key(|look| look.at);
    }

    /// The suspects by their growth at constant load, where the heap as a whole grows by
    /// `per_minute` bytes a minute at constant load. `evidence` has the first profile and one of the later
    /// ones. `None` where there are too few profiles to tell time from load, or no load to speak of.
    #[must_use]
    pub fn interpret(&self, evidence: &Evidence<'_>, per_minute: f64) -> Option<Interpretation> {
        let explained = self.explained(per_minute)?;
        let minutes = explained.times.last()? - explained.times.first()?;
        let (before, after) = (evidence.before.heap.as_ref(), evidence.after.heap.as_ref()?);
        let compared = compare(before, after, "inuse_space")?;
        let frames = compared.by_frame(evidence.main_module);
        let mut grown: Vec<_> = frames
            .iter()
            .filter_map(|of| Some((of, of.frame.as_ref()?)))
            .map(|(of, frame)| (minutes * self.slope(&place(frame), &explained), of, frame))
            .filter(|(growth, ..)| *growth >= 1.0)
            .collect();
        grown.sort_by(|a, b| b.0.total_cmp(&a.0));
        let all = grown.iter().map(|(growth, ..)| growth).sum::<f64>() as i64;
        let named = grown.iter().take(SUSPECTS_MAX);
        let mut suspects: Vec<Suspect> = named
            .map(|(growth, of, frame)| Suspect {
                growth_share: share(*growth as i64, all),
                note: Some(self.note(*growth, minutes)),
                ..suspect(of, frame, all, SuspectWhat::Allocation)
            })
            .collect();
        rank(&mut suspects);
        (!suspects.is_empty()).then(|| Interpretation {
            suspects,
            ..Interpretation::default()
        })
    }

    /// Of the profiles since `from`, when the load was most like it was at the first of all: the one to
    /// compare that with.
    #[must_use]
    pub fn at_like_load(&self, per_minute: f64, from: UnixMs) -> Option<UnixMs> {
        let first = self.looks.first()?;
        let load = |look: &Look| self.load(look, per_minute);
        let apart = |look: &Look| (load(look) - load(first)).abs();
        let later = self.looks.iter().skip(1).filter(|look| look.at >= from);
        let like = later.min_by(|a, b| apart(a).total_cmp(&apart(b)))?;
        Some(like.at)
    }

    fn minutes(&self, look: &Look) -> f64 {
        let first = self.looks.first().map_or(look.at, |first| first.at);
        look.at.since(first).as_secs_f64() / 60.0
    }

    /// What the load holds at a look: what has not leaked since the first.
    fn load(&self, look: &Look, per_minute: f64) -> f64 {
        look.total - per_minute * self.minutes(look)
    }

    fn explained(&self, per_minute: f64) -> Option<Explained> {
        if self.looks.len() < LOOKS_MIN {
            return None;
        }
        let times = about_mean(self.looks.iter().map(|look| self.minutes(look)));
        let loads = about_mean(self.looks.iter().map(|look| self.load(look, per_minute)));
        let range = |values: &[f64]| {
            let most = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            most - values.iter().copied().fold(f64::INFINITY, f64::min)
        };
        if range(&loads) < MOVED_MIN * per_minute * range(&times) {
            return None;
        }
        let (of_time, of_load) = (product(&times, &times), product(&loads, &loads));
        let alike = product(&times, &loads).powi(2) / (of_time * of_load);
        (alike <= ALIKE_MAX).then_some(Explained { times, loads })
    }

    /// Bytes a minute of a frame at constant load, by least squares.
    fn slope(&self, place: &Place, by: &Explained) -> f64 {
        let bytes = |look: &Look| look.by_frame.get(place).copied().unwrap_or(0.0);
        let bytes = about_mean(self.looks.iter().map(bytes));
        let (tt, ll) = (product(&by.times, &by.times), product(&by.loads, &by.loads));
        let tl = product(&by.times, &by.loads);
        let (tb, lb) = (product(&by.times, &bytes), product(&by.loads, &bytes));
        (tb * ll - lb * tl) / (tt * ll - tl * tl)
    }

    fn note(&self, growth: f64, minutes: f64) -> String {
        format!(
            "grew by {:.1} MiB at constant load, by {} heap profiles over {minutes:.0} min: what goes up and \
             down with the load is taken out",
            growth / 1_048_576.0,
            self.looks.len()
        )
    }
}

fn about_mean(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut values: Vec<f64> = values.collect();
    let mean = values.iter().sum::<f64>() / values.len().max(1) as f64;
    values.iter_mut().for_each(|value| *value -= mean);
    values
}

fn product(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::heap::tests::heap;
    use crate::{Look as Taken, interpret};

    const MIB: f64 = 1_048_576.0;
    /// The leak, beneath checkouts of up to 40 MiB and a cache that stays.
    const LEAK: (&str, i64) = ("main.(*SavedSearches).Save", 23);
    const LOAD: (&str, i64) = ("main.checkout", 8);

    /// A heap at a minute: 2 MiB a minute leak, and the load holds so many MiB.
    fn at(minute: f64, load: f64) -> (UnixMs, Profile) {
        let rows = [
            (LOAD.0, LOAD.1, (load * MIB) as i64),
            (LEAK.0, LEAK.1, (2.0 * minute * MIB) as i64),
            ("main.catalogue", 5, 30 << 20),
            // The sampler's noise.
            ("main.session", 9, ((minute * 37.0) % 3.0 * MIB) as i64),
        ];
        (UnixMs((minute * 60_000.0) as i64), heap(&rows))
    }

    fn found(heaps: Vec<(UnixMs, Profile)>, per_minute: f64) -> Option<Vec<Suspect>> {
        let mut over_time = OverTime::default();
        for (at, heap) in &heaps {
            over_time.add(*at, heap, None);
        }
        let mut heaps = heaps.into_iter().map(|(_, heap)| Taken {
            heap: Some(heap),
            ..Taken::default()
        });
        let (before, after) = (heaps.next()?, heaps.next_back()?);
        let evidence = Evidence {
            before: &before,
            after: &after,
            main_module: None,
        };
        let found = over_time.interpret(&evidence, per_minute * MIB)?;
        Some(found.suspects)
    }

    #[test]
    fn the_leak_is_first_wherever_in_the_swing_the_profiles_were_taken() {
        // The last one at the crest, as the plain comparison has it worst; and in other orders.
        for loads in [
            [1.0, 20.0, 2.0, 19.0, 40.0],
            [40.0, 3.0, 22.0, 38.0, 21.0],
            [5.0, 40.0, 20.0, 4.0, 22.0],
        ] {
            for said in [1.6, 2.0, 2.4] {
                let times = [0.0, 5.0, 5.125, 5.25, 5.375];
                let heaps = times.iter().zip(loads).map(|(t, load)| at(*t, load));
                let suspects = found(heaps.collect(), said).unwrap();
                let first = &suspects[0];
                assert_eq!((first.function.as_str(), first.line), (LEAK.0, Some(23)));
                assert!(
                    first.growth_share > Some(0.7),
                    "{loads:?} {said}: {first:?}"
                );
                let note = first.note.as_deref().unwrap();
                assert!(
                    note.contains("at constant load, by 5 heap profiles"),
                    "{note}"
                );
            }
        }
    }

    #[test]
    fn two_profiles_alone_would_name_the_load() {
        let [before, after] = [at(0.0, 1.0), at(5.0, 40.0)].map(|(_, heap)| Taken {
            heap: Some(heap),
            ..Taken::default()
        });
        let evidence = Evidence {
            before: &before,
            after: &after,
            main_module: None,
        };
        let named = interpret(&crate::tests::finding(model::Kind::GoHeap), &evidence);
        assert_eq!(named.suspects[0].function, LOAD.0);
    }

    #[test]
    fn too_few_profiles_and_loads_that_only_rise_or_stay_tell_nothing() {
        let three = [at(0.0, 1.0), at(5.0, 20.0), at(6.0, 3.0)];
        assert_eq!(found(three.to_vec(), 2.0), None);
        let rising = [0.0, 1.0, 2.0, 3.0, 4.0].map(|minute| at(minute, 5.0 * minute));
        assert_eq!(found(rising.to_vec(), 2.0), None);
        let steady = [0.0, 5.0, 10.0, 15.0, 20.0].map(|minute| at(minute, 5.0));
        assert_eq!(found(steady.to_vec(), 2.0), None, "no load to speak of");
    }

    #[test]
    fn the_pair_to_show_is_of_like_load() {
        let mut over_time = OverTime::default();
        for (minute, load) in [(0.0, 10.0), (5.0, 38.0), (5.1, 12.0), (5.2, 2.0)] {
            let (at, heap) = at(minute, load);
            over_time.add(at, &heap, None);
        }
        let like = |from| over_time.at_like_load(2.0 * MIB, UnixMs(from));
        assert_eq!(like(0), Some(UnixMs(306_000)));
        assert_eq!(like(306_001), Some(UnixMs(312_000)), "the only one");
        assert_eq!(OverTime::default().at_like_load(1.0, UnixMs(0)), None);
    }
}
