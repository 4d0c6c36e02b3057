//! The heap's saw-tooth reduced to the floor that collections leave behind, as samples come.

use model::Channel;

use crate::trace::{Detail, Keep, Trace, Window};

/// Samples that must follow a collection, or several, before their least value counts as a floor:
/// the first sample comes up to a period late, with what was allocated meanwhile.
const SAMPLES_EACH: u32 = 6;
/// Over so many samples the swing of `HeapAlloc` is told, and over as many before.
const SWING_SAMPLES: u32 = 240;

/// What is known of the Go heap.
#[derive(Debug, Clone, Default)]
pub(crate) struct Heap {
    /// One point for each mark: the live heap only changes when a collection ends, so equal
    /// neighbours are one observation, not many.
    pub(crate) marks: Option<Trace>,
    /// The floor of `HeapAlloc`: its least value between two collections.
    pub(crate) floors: Option<Trace>,
    /// Points of whichever of the two there is.
    pub(crate) seen: u32,
    cycles: Option<f64>,
    live: Option<f64>,
    alloc: Alloc,
    swing: [Option<(f64, f64)>; 2],
    swing_samples: u32,
}

/// Where in its saw-tooth `HeapAlloc` is.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
struct Alloc {
    /// What lies before the first collection is left out: its floor was not seen.
    collected_once: bool,
    /// The least value since the last floor that counted.
    lowest: Option<(f64, f64)>,
    samples: u32,
    before: Option<(f64, Option<f64>)>,
}

impl Heap {
    pub(crate) fn sample(&mut self, channel: Channel, at: f64, value: f64, period_s: f64) {
        match channel {
            Channel::GcCycles => self.cycles = Some(value),
            Channel::GoLive => self.mark(at, value, period_s),
            Channel::GoHeapAlloc => {
                self.swings(value);
                if let Some((at, floor)) = self.alloc.sample(at, value, self.cycles)
                    && self.marks.is_none()
                {
                    self.seen += 1;
                    self.floors
                        .get_or_insert_with(|| full(period_s))
                        .push(at, floor);
                }
            }
            _ => {}
        }
    }

    fn mark(&mut self, at: f64, value: f64, period_s: f64) {
        if self.live == Some(value) {
            return;
        }
        self.live = Some(value);
        if self.marks.is_none() {
            (self.floors, self.seen) = (None, 0);
        }
        self.seen += 1;
        self.marks
            .get_or_insert_with(|| full(period_s))
            .push(at, value);
    }

    fn swings(&mut self, value: f64) {
        if self.swing_samples == SWING_SAMPLES {
            self.swing = [self.swing[1], None];
            self.swing_samples = 0;
        }
        self.swing_samples += 1;
        let (least, greatest) = self.swing[1].unwrap_or((value, value));
        self.swing[1] = Some((least.min(value), greatest.max(value)));
    }

    /// Least and greatest `HeapAlloc` of late.
    pub(crate) fn swing(&self) -> Option<(f64, f64)> {
        let swings = self.swing.into_iter().flatten();
        swings.reduce(|one, other| (one.0.min(other.0), one.1.max(other.1)))
    }

    /// The heap's floor, one point per collection, and where it is from.
    pub(crate) fn floor(&self) -> Option<(Channel, &Trace)> {
        let some = |trace: &&Trace| trace.ends().is_some();
        if let Some(marks) = self.marks.as_ref().filter(some) {
            return Some((Channel::GoLive, marks));
        }
        let floors = self.floors.as_ref().filter(some)?;
        Some((Channel::GoHeapAlloc, floors))
    }
}

fn full(period_s: f64) -> Trace {
    Trace::new(Keep::Min, Detail::Full, period_s)
}

impl Alloc {
    /// A floor that is known now. Collections are told by the counter of cycles where there is one, else by falls.
    fn sample(&mut self, at: f64, value: f64, cycles: Option<f64>) -> Option<(f64, f64)> {
        let collected = self.before.is_some_and(|(value_before, cycles_before)| {
            match (cycles, cycles_before) {
                (Some(cycles), Some(before)) => cycles != before,
                _ => value_before - value > (value_before * 0.03).max(256.0 * 1024.0),
            }
        });
        self.before = Some((value, cycles));
        let mut floor = None;
        if collected && (!self.collected_once || self.samples >= SAMPLES_EACH) {
            floor = self.lowest.filter(|_| self.collected_once);
            self.collected_once = true;
            (self.lowest, self.samples) = (None, 0);
        }
        self.samples += 1;
        if self.lowest.is_none_or(|(_, low)| value < low) {
            self.lowest = Some((at, value));
        }
        floor
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: f64 = 1_048_576.0;

    fn floors(with_cycles: bool) -> Vec<(f64, f64)> {
        let mut heap = Heap::default();
        for i in 0..24 {
            let at = f64::from(i);
            if with_cycles {
                heap.sample(Channel::GcCycles, at, f64::from(i / 6), 1.0);
            }
            heap.sample(
                Channel::GoHeapAlloc,
                at,
                (10.0 + f64::from(i % 6) * 2.0) * MIB,
                1.0,
            );
        }
        let points = heap.floor().map(|(_, floors)| floors.whole());
        let points = points.unwrap_or_default();
        points.times.into_iter().zip(points.values).collect()
    }

    #[test]
    fn floors_by_cycles_and_by_falls() {
        let wanted = [(6.0, 10.0 * MIB), (12.0, 10.0 * MIB)];
        assert_eq!(floors(true), wanted);
        assert_eq!(floors(false), wanted);
    }

    #[test]
    fn a_mark_is_one_point() {
        let mut heap = Heap::default();
        for (at, live) in [(0.0, 5.0), (1.0, 5.0), (2.0, 7.0), (3.0, 7.0), (4.0, 5.0)] {
            heap.sample(Channel::GoLive, at, live, 1.0);
        }
        let marks = heap
            .floor()
            .map(|(_, marks)| marks.whole())
            .unwrap_or_default();
        assert_eq!(marks.times, [0.0, 2.0, 4.0]);
        assert_eq!(heap.seen, 3);
    }
}
