//! Earlier lives of a service, in short, for what a new life is compared with.

use crate::growth::Stretch;
use crate::trace::{Trace, Window};

/// Lives that are remembered.
pub(crate) const LIVES_MAX: usize = 6;
/// The shortest life that says anything, in readings.
const READINGS_MIN: f64 = 20.0;
/// Floors of a life's heap that are remembered, evenly over its time from the first to the last.
const POINTS: usize = 9;
/// A life that has grown in its second half by less than this part of all its growth has come to a level.
const LEVEL_PART: f64 = 0.2;
/// And so has one whose second half added less than this part of all that it held.
const LEVEL_NOISE: f64 = 0.08;
/// Paces this much apart are still one.
const PACES_APART: f64 = 3.0;
/// So many lives, or one of this length, must have grown to their end before growth is what they do.
const GREW_LIVES: usize = 2;

/// One earlier life.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Past {
    /// Whether it is the heap's floor that is told of it, or what was resident.
    pub(crate) of_heap: bool,
    seconds: f32,
    /// Its level at its beginning and at the end of each eighth of its time.
    floors: [f32; POINTS],
}

/// What earlier lives say of a growth from birth.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Earlier {
    /// One that came to a level is not exceeded.
    SameLevel { level: f64 },
    /// All that came to a level are exceeded.
    Beyond { level: f64 },
    /// None came to a level; they grew like this one until they ended.
    GrewToo { lives: f64 },
}

impl Past {
    /// What is remembered of a life whose heap's floor was `trace`, or what was resident of it, from when the process
    /// began.
    pub(crate) fn of(trace: &Trace, of_heap: bool, began: f64, period_s: f64) -> Option<Self> {
        let (end, _) = trace.last()?;
        let seconds = end - began;
        if seconds < READINGS_MIN * period_s {
            return None;
        }
        let points = trace.whole();
        let floor_at = |i: usize| {
            let time = began + seconds * i as f64 / (POINTS - 1) as f64;
            points.at(time).map(|floor| floor as f32)
        };
        let mut floors = [0.0; POINTS];
        for (i, floor) in floors.iter_mut().enumerate() {
            *floor = floor_at(i)?;
        }
        Some(Self {
            of_heap,
            seconds: seconds as f32,
            floors,
        })
    }

    fn at(&self, age: f64) -> f64 {
        let last = POINTS - 1;
        let place = age / f64::from(self.seconds) * last as f64;
        let (low, part) = (
            place.floor().clamp(0.0, last as f64),
            place.fract().max(0.0),
        );
        let (one, next) = (low as usize, (low as usize + 1).min(last));
        let (one, next) = (f64::from(self.floors[one]), f64::from(self.floors[next]));
        one + (next - one) * part
    }

    fn end(&self) -> f64 {
        f64::from(self.floors[POINTS - 1])
    }

    fn top(&self) -> f64 {
        self.floors
            .iter()
            .copied()
            .map(f64::from)
            .fold(0.0, f64::max)
    }

    fn half(&self) -> f64 {
        f64::from(self.floors[POINTS / 2])
    }

    /// Bytes that it grew by in its second half.
    fn late(&self) -> f64 {
        self.end() - self.half()
    }

    fn levelled(&self, material: f64) -> bool {
        let grown = self.end() - f64::from(self.floors[0]);
        let noise = LEVEL_NOISE * self.end();
        self.late() < material.max(noise).max(LEVEL_PART * grown)
    }
}

/// What `lives` say of `stretch`, which began with a process that is `age` seconds old.
pub(crate) fn earlier<'a>(
    lives: impl Iterator<Item = &'a Past> + Clone,
    age: f64,
    stretch: &Stretch,
    material: f64,
) -> Option<Earlier> {
    let now = stretch.base + stretch.rise;
    let levelled = lives.clone().filter(|past| past.levelled(material));
    // One that ended before it was so old says nothing of what comes after.
    let old_enough = |past: &&Past| f64::from(past.seconds) >= age;
    let tops = levelled.clone().filter(old_enough).map(Past::top);
    if let Some(top) = tops.max_by(f64::total_cmp) {
        let beyond = now > top + material.max(0.1 * top);
        return Some(match beyond {
            true => Earlier::Beyond { level: top },
            false => Earlier::SameLevel { level: top },
        });
    }
    // A younger one that was level, and higher: this one is still on its way there.
    if let Some(top) = levelled.map(Past::top).find(|top| *top >= now) {
        return Some(Earlier::SameLevel { level: top });
    }
    let pace = |past: &Past| past.late() / (0.5 * f64::from(past.seconds));
    let grew = lives.filter(|past| {
        let apart = pace(past) / stretch.line.slope.max(1e-9);
        !past.levelled(material)
            && (1.0 / PACES_APART..PACES_APART).contains(&apart)
            && past.at(age) > past.half() * 0.5
    });
    let grew = grew.count();
    (grew >= GREW_LIVES).then_some(Earlier::GrewToo { lives: grew as f64 })
}
