//! Growth since the process began: a leak, or something that fills and then is full?
//!
//! Nothing in memory alone tells a cache that fills evenly from a leak, as long as it fills: there is no level before
//! it to compare with. What tells them apart is how much is taken, how long it goes on, and what earlier lives of the
//! same service did; and when the limit is near, waiting costs more than a false word.

use model::{Channel, Judgement, Kind, Reason};

use crate::assess::Grower;
use crate::growth::Stretch;
use crate::past::Earlier;
use crate::trace::Window;
use crate::view::View;
use crate::words::reason;

/// So much of the room between the first level and the limit must be taken.
const TAKEN_MIN: f64 = 0.25;
/// Or growth must have lasted so long: caches and warm-ups have seen every hour of the day by then, several times.
const LONG_S: f64 = 3.0 * 86_400.0;
/// Nobody waits if the limit is nearer than this.
const URGENT_S: f64 = 3_600.0;
/// Nor if the process has twice its memory again each so many seconds.
const DOUBLES_S: f64 = 600.0;
/// What fills slows down before it is full, unless it fills evenly: its last quarter's pace over the greatest one.
const SLOWS_BELOW: f64 = 0.75;
/// A quiet time before a growth lasts at least this part of the growth's own time,
const QUIET_MIN: f64 = 0.5;
/// and memory rises in it by at most this part of what it rises by afterwards.
const QUIET_RISE: f64 = 0.2;

/// What is said of a growth.
pub(crate) enum Birth {
    /// There is no doubt of this kind, or none any more; the reasons, if any are worth telling.
    Clear(Vec<Reason>),
    /// It may still be a fill.
    MayFill(Vec<Reason>),
    /// Earlier lives came to the same level and stayed there.
    WarmsUp(Reason),
}

/// Weighs a growth that would else be called a leak.
pub(crate) fn weigh(view: &View, grower: &Grower, stretch: &Stretch) -> Birth {
    let fills = matches!(
        grower.kind,
        Kind::GoHeap | Kind::Native | Kind::NativeHeap | Kind::NativeMmap
    );
    let begin = view.started.unwrap_or(0.0);
    if !fills || !stretch.from_birth && was_quiet(grower, stretch, begin) {
        return Birth::Clear(Vec::new());
    }
    let age = stretch.to - begin;
    if grower.kind == Kind::GoHeap {
        match view.earlier(age, stretch, grower.demands.material_over(stretch.base)) {
            Some(Earlier::SameLevel { level }) => {
                let values = [("level_bytes", level)];
                return Birth::WarmsUp(reason("as-earlier-lives", Judgement::NoLeak, &values));
            }
            Some(Earlier::Beyond { level }) => {
                let values = [("level_bytes", level)];
                let why = reason("beyond-earlier-lives", Judgement::Leak, &values);
                return Birth::Clear(vec![why]);
            }
            Some(Earlier::GrewToo { lives }) => {
                let values = [("lives", lives)];
                let why = reason("earlier-lives-grew-too", Judgement::Leak, &values);
                return Birth::Clear(vec![why]);
            }
            None => {}
        }
    }
    let Room { taken, left_s } = room(view, grower, stretch);
    let pace = stretch.line.slope;
    let doubles_s = stretch.base.max(1.0) / pace;
    let slows = stretch.last_quarter < SLOWS_BELOW;
    let urgent = left_s.is_some_and(|left| left < URGENT_S) || doubles_s < DOUBLES_S;
    let much = taken.map_or(stretch.rise >= stretch.base, |taken| taken >= TAKEN_MIN);
    if !slows && (urgent || much || stretch.seconds() >= LONG_S) {
        return Birth::Clear(Vec::new());
    }
    let part = taken.unwrap_or(stretch.rise / stretch.base.max(1.0));
    let needed = if taken.is_some() { TAKEN_MIN } else { 1.0 };
    let wait_s = (stretch.seconds() * (needed / part.max(1e-6) - 1.0))
        .min(LONG_S - stretch.seconds())
        .max(0.25 * stretch.seconds())
        .max(view.period_s);
    let values = [
        ("seconds", stretch.seconds()),
        ("taken", part),
        ("needed", needed),
        ("wait_seconds", wait_s),
    ];
    let code = if taken.is_some() {
        "may-fill"
    } else {
        "may-fill-no-limit"
    };
    Birth::MayFill(vec![reason(code, Judgement::Unsure, &values)])
}

/// Whether there was a time just before the growth, at least half as long, in which next to nothing grew.
fn was_quiet(grower: &Grower, stretch: &Stretch, begin: f64) -> bool {
    let since = (stretch.from - stretch.seconds()).max(begin);
    if stretch.from - since < QUIET_MIN * stretch.seconds() {
        return false;
    }
    let before = grower.points.between(since, stretch.from);
    let Some((first, last)) = before.first().zip(before.last()) else {
        // Nothing was collected, so nothing was needed.
        return true;
    };
    last.1 - first.1 < QUIET_RISE * stretch.rise
}

/// The part that a growth has taken of the room that there was, and the seconds that are left at its pace.
struct Room {
    taken: Option<f64>,
    left_s: Option<f64>,
}

fn room(view: &View, grower: &Grower, stretch: &Stretch) -> Room {
    let resident = || view.get(Channel::Rss)?.last().map(|(_, rss)| rss);
    let counted = view.facts.limit_used_bytes.map(|used| used as f64);
    let both = view.facts.limit_bytes.zip(counted.or_else(resident));
    let Some((limit, used)) = both else {
        return Room {
            taken: None,
            left_s: None,
        };
    };
    let each = view.headroom(grower.kind);
    let (taken, left) = (stretch.rise * each, (limit as f64 - used).max(0.0));
    Room {
        taken: Some(taken / (taken + left).max(1.0)),
        left_s: Some(left / (stretch.line.slope * each).max(1e-9)),
    }
}
