//! One channel's answer: it leaks, it is calm and why, or it cannot be told yet.

use model::{Channel, Judgement, Kind, Reason};

use crate::birth::{self, Birth};
use crate::growth::{Demands, Miss, Stretch, scan};
use crate::load::{self, Follows, LoadSays};
use crate::points::Thin;
use crate::stats::fit_line;
use crate::trace::{Trace, Window};
use crate::view::View;
use crate::words::reason;

/// A channel with what it would be called if it leaks.
pub(crate) struct Grower<'a> {
    pub(crate) channel: Channel,
    pub(crate) kind: Kind,
    pub(crate) unit: &'static str,
    pub(crate) points: &'a Trace,
    pub(crate) demands: Demands,
}

/// What was found of a channel.
pub(crate) struct Assessed<'a> {
    pub(crate) grower: Grower<'a>,
    pub(crate) answer: Answer,
    /// The stretch that was weighed last, if any.
    pub(crate) stretch: Option<Stretch>,
    /// How much it grew, or moved where it is calm, in its unit; for the order.
    pub(crate) change: f64,
}

/// The answers.
pub(crate) enum Answer {
    Leak {
        load: LoadSays,
        /// What speaks for a leak although it began with the process.
        birth: Vec<Reason>,
    },
    Calm {
        kind: Kind,
        confidence: f64,
        why: Vec<Reason>,
    },
    Wait {
        why: Vec<Reason>,
    },
}

/// Fewest points that anything is said on.
const POINTS_LEAST: usize = 4;

/// Judges one channel by itself.
pub(crate) fn assess<'a>(view: &View, grower: Grower<'a>) -> Assessed<'a> {
    let scan = scan(grower.points, &grower.demands);
    if let Some(stretch) = scan.leak {
        let load = load::weigh(grower.points, &stretch, view.loads, view.period_s);
        if let (LoadSays::Explains(_), Some(beyond)) = (load, beyond_load(view, &grower)) {
            return leak_beyond(grower, beyond);
        }
        let change = stretch.rise;
        let answer = match load {
            LoadSays::Absent | LoadSays::Unrelated | LoadSays::Beyond { .. } => {
                leak_unless_it_fills(view, &grower, &stretch, load)
            }
            LoadSays::Explains(follows) => follows_load(follows),
            LoadSays::RoseToo { share } => wait(
                "conflicting-load",
                &[("load_share", share), ("wait_seconds", stretch.seconds())],
            ),
        };
        return Assessed {
            grower,
            answer,
            stretch: Some(stretch),
            change,
        };
    }
    let shape = Shape::of(grower.points, &grower.demands);
    let answer = match &shape {
        Some(shape) => calm_or_wait(view, &grower, shape, scan.miss.as_ref()),
        None => short(view, grower.points.span(), grower.demands.seconds),
    };
    let moved = shape
        .as_ref()
        .is_some_and(|shape| shape.range >= shape.material);
    if moved && let Some(beyond) = beyond_load(view, &grower) {
        return leak_beyond(grower, beyond);
    }
    Assessed {
        change: shape.map_or(0.0, |shape| shape.range),
        stretch: scan.miss.map(|(stretch, _)| stretch),
        grower,
        answer,
    }
}

fn leak_unless_it_fills(view: &View, grower: &Grower, stretch: &Stretch, load: LoadSays) -> Answer {
    match birth::weigh(view, grower, stretch) {
        Birth::Clear(birth) => Answer::Leak { load, birth },
        Birth::MayFill(why) => Answer::Wait { why },
        Birth::WarmsUp(why) => calm(Kind::WarmUp, 0.8, why),
    }
}

/// The growth that is left of a channel when the load that it follows is taken out, and what was taken out.
fn beyond_load(view: &View, grower: &Grower) -> Option<(Stretch, LoadSays)> {
    load::beyond(grower.points, view.loads, view.period_s, &grower.demands)
}

fn leak_beyond(grower: Grower<'_>, (stretch, load): (Stretch, LoadSays)) -> Assessed<'_> {
    Assessed {
        grower,
        answer: Answer::Leak {
            load,
            birth: Vec::new(),
        },
        change: stretch.rise,
        stretch: Some(stretch),
    }
}

/// The outline of a channel over the whole window.
pub(crate) struct Shape {
    /// Greatest less least.
    pub(crate) range: f64,
    /// Greatest less the least after it.
    fall: f64,
    /// It rises now: significantly, and by a material amount.
    rising: bool,
    /// Seconds that the middle four fifths of the rise took.
    rise_s: f64,
    /// When the rise ended.
    rise_end: f64,
    /// The least change that counts.
    pub(crate) material: f64,
    seconds: f64,
}

impl Shape {
    fn of(points: &Trace, demands: &Demands) -> Option<Self> {
        let thin = points.whole();
        if thin.len() < POINTS_LEAST {
            return None;
        }
        // Medians of three, so that one wild sample is no spike.
        let smooth = if thin.len() >= 30 {
            thin.in_groups_of(3, Thin::Median)
        } else {
            thin
        };
        let (least, greatest) = smooth.range()?;
        let last = smooth.last()?;
        let mut peak = f64::MIN;
        let mut fall: f64 = 0.0;
        for &value in &smooth.values {
            peak = peak.max(value);
            fall = fall.max(peak - value);
        }
        let crossed = |share: f64| {
            let level = least + share * (greatest - least);
            let i = smooth.values.iter().position(|&value| value >= level)?;
            Some(smooth.times[i])
        };
        let (rise_start, rise_end) = (crossed(0.1)?, crossed(0.9)?);
        let material = demands.material_over(least);
        let recent = points
            .between(last.0 - 0.6 * demands.seconds, f64::MAX)
            .thinned(120, Thin::Median);
        let rising = fit_line(&recent.times, &recent.values).is_some_and(|line| {
            line.slope > 0.0 && line.p_value() < 0.05 && line.slope * recent.span() > 0.5 * material
        });
        Some(Self {
            range: greatest - least,
            fall,
            rising,
            rise_s: rise_end - rise_start,
            rise_end,
            material,
            seconds: points.span(),
        })
    }
}

fn calm_or_wait(
    view: &View,
    grower: &Grower,
    shape: &Shape,
    miss: Option<&(Stretch, Miss)>,
) -> Answer {
    let enough = shape.seconds >= 0.5 * grower.demands.seconds;
    if shape.range < shape.material {
        return if enough {
            steady(grower, shape)
        } else {
            short(view, shape.seconds, grower.demands.seconds)
        };
    }
    let follows = load::follows(grower.points, view.loads, view.period_s);
    // In half the time a load and memory may have gone up and down once by chance.
    let long = shape.seconds >= grower.demands.seconds;
    if let Some(followed) = &follows
        && long
        && followed.fell
        && followed.follows.r2 >= 0.6
    {
        return follows_load(followed.follows);
    }
    if shape.rising {
        return rising(view, grower, shape, miss);
    }
    if !enough {
        return short(view, shape.seconds, grower.demands.seconds);
    }
    if shape.fall >= 0.5 * shape.range {
        return rose_and_fell(grower, shape);
    }
    let (rise, level_s) = (shape.range, shape.seconds - shape.rise_end);
    // A rise that has only just reached its height has not levelled off.
    if level_s < 0.1 * grower.demands.seconds {
        return short(view, level_s, 0.1 * grower.demands.seconds);
    }
    let young = view
        .started
        .is_some_and(|started| shape.rise_end - started < 2.0 * grower.demands.seconds);
    let confidence = 0.6 + 0.35 * (level_s / grower.demands.seconds).min(1.0);
    let values = [(named(grower, "rise"), rise), ("level_seconds", level_s)];
    let (kind, code) = if young {
        (Kind::WarmUp, "levelled-off")
    } else if shape.rise_s <= (0.1 * shape.seconds).max(3.0 * view.period_s) {
        (Kind::Step, "one-step")
    } else {
        (Kind::Plateau, "levelled-off")
    };
    calm(kind, confidence, reason(code, Judgement::NoLeak, &values))
}

/// It rises now, and that is not (yet) a leak's rise.
fn rising(view: &View, grower: &Grower, shape: &Shape, miss: Option<&(Stretch, Miss)>) -> Answer {
    let seconds = grower.demands.seconds;
    let Some((stretch, miss)) = miss else {
        return short(view, shape.seconds, seconds);
    };
    if shape.fall >= 0.5 * shape.range {
        return rose_and_fell(grower, shape);
    }
    match *miss {
        Miss::BeenThere => calm(
            Kind::Spike,
            0.7,
            reason("been-there", Judgement::NoLeak, &[]),
        ),
        Miss::Slowing { tau_s } if stretch.seconds() >= 0.5 * seconds => {
            let kind = if stretch.from_birth {
                Kind::WarmUp
            } else {
                Kind::Plateau
            };
            let spans = stretch.seconds() / tau_s.max(1.0);
            let values = [("last_quarter", stretch.last_quarter.max(0.0))];
            let confidence = 0.5 + 0.4 * (spans / 4.0).min(1.0);
            calm(
                kind,
                confidence,
                reason("slows-down", Judgement::NoLeak, &values),
            )
        }
        Miss::Uneven => wait("conflicting", &[("wait_seconds", 0.5 * stretch.seconds())]),
        Miss::Short { wait_s } => short(view, stretch.seconds(), stretch.seconds() + wait_s),
        Miss::Flat | Miss::Slowing { .. } => {
            short(view, shape.seconds.min(seconds), 1.25 * seconds)
        }
    }
}

fn steady(grower: &Grower, shape: &Shape) -> Answer {
    let values = [
        (named(grower, "range"), shape.range),
        (named(grower, "material"), shape.material),
        ("seconds", shape.seconds),
    ];
    let quiet = 1.0 - shape.range / shape.material;
    let long = (shape.seconds / (4.0 * grower.demands.seconds)).min(1.0);
    let confidence = 0.7 + 0.15 * quiet + 0.14 * long;
    calm(
        Kind::Steady,
        confidence,
        reason("steady", Judgement::NoLeak, &values),
    )
}

fn rose_and_fell(grower: &Grower, shape: &Shape) -> Answer {
    let values = [
        (named(grower, "fall"), shape.fall),
        (named(grower, "range"), shape.range),
    ];
    let confidence = 0.55 + 0.4 * (shape.fall / shape.range).clamp(0.0, 1.0);
    calm(
        Kind::Spike,
        confidence,
        reason("rose-and-fell", Judgement::NoLeak, &values),
    )
}

fn follows_load(Follows { r2, load }: Follows) -> Answer {
    let values = [("r2", r2), ("load", load as f64)];
    calm(
        Kind::Load,
        0.5 + 0.49 * r2,
        reason("follows-load", Judgement::NoLeak, &values),
    )
}

/// Too little yet: `has_s` of the `needs_s` seconds.
fn short(view: &View, has_s: f64, needs_s: f64) -> Answer {
    let wait_s = (needs_s - has_s).max(view.period_s);
    let values = [("seconds", has_s), ("wait_seconds", wait_s)];
    let mut why = vec![reason("short-data", Judgement::Unsure, &values)];
    if let Some(age) = view.age_s().filter(|&age| age < 120.0) {
        why.push(reason("young", Judgement::Unsure, &[("age_seconds", age)]));
    }
    Answer::Wait { why }
}

fn wait(code: &str, values: &[(&str, f64)]) -> Answer {
    Answer::Wait {
        why: vec![reason(code, Judgement::Unsure, values)],
    }
}

fn calm(kind: Kind, confidence: f64, why: Reason) -> Answer {
    Answer::Calm {
        kind,
        confidence: confidence.clamp(0.5, 0.99),
        why: vec![why],
    }
}

/// `NAME_bytes` for channels of bytes, `NAME` for counts.
fn named(grower: &Grower, name: &'static str) -> &'static str {
    match (grower.unit, name) {
        ("bytes", "rise") => "rise_bytes",
        ("bytes", "range") => "range_bytes",
        ("bytes", "fall") => "fall_bytes",
        ("bytes", "material") => "material_bytes",
        _ => name,
    }
}
