//! Growth since the process began: a leak, or something that fills and then is full?
//!
//! Nothing in memory alone tells a cache that fills evenly from a leak, as long as it fills: there is no level before
//! it to compare with. What tells them apart is how much is taken, how long it goes on, and what earlier lives of the
//! same service did; and when the limit is near, waiting costs more than a false word.

use model::{Channel, Judgement, Kind, Reason};

use crate::assess::Grower;
use crate::growth::Stretch;
use crate::past::Earlier;
use crate::points::Thin;
use crate::stats::fit_line;
use crate::trace::Window;
use crate::view::View;
use crate::words::reason;

/// So much of the room between the first level and the limit must be taken: by then the part of a fill that slows down
/// can be told from the part that does not, and nobody has been told too late.
const TAKEN_MIN: f64 = 0.1;
/// Where no limit is known, so many times the first level is taken for the room, and once for what must be taken.
const ROOM_UNKNOWN: f64 = 4.0;
const GROWN_MIN: f64 = 1.0;
/// Or growth must have lasted so long: caches and warm-ups have seen every hour of the day by then, several times.
const LONG_S: f64 = 3.0 * 86_400.0;
/// Nobody waits if the limit is nearer than this.
const URGENT_S: f64 = 3_600.0;
/// Nor if the process has twice its memory again each so many seconds.
const DOUBLES_S: f64 = 600.0;
/// Who does not wait is not told of what slows down: its last quarter's pace over the greatest one.
const SLOWS_BELOW: f64 = 0.75;
/// How sure it must be how much the second half of a growth was slower than the first: both halves' slopes by their
/// intervals of this level, one at its upper and one at its lower end.
const SLOWING_LEVEL: f64 = 0.8;
/// Points that each half is thinned to.
const HALF_POINTS: usize = 120;
/// Where only what is resident is seen, and no load: growth is told after a day and a half, in which every hour of the day
/// has come and those of day and night have come twice; and it must be as even as this, so that no day is a wave in it.
const UNSEEN_LONG_S: f64 = 1.5 * 86_400.0;
const UNSEEN_LONG_EVEN: f64 = 0.5;
/// Or, after a quiet time, it is told sooner, if it is more than a day's load moves by the way (this part of the level
/// before it), lasts longer than the ramps of tests and batches do, and is straighter than the rise of a wave is over so
/// much of it that the time before was quiet: of a sine that is 46 degrees to each side, and more, and its slowest quarter
/// has at most 0.85 of the fastest.
const UNSEEN_RISE: f64 = 0.25;
const UNSEEN_S: f64 = 3_600.0;
const UNSEEN_EVEN: f64 = 0.88;
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
    /// Earlier lives came to the same level and stayed there, or it would come to one below the limit.
    WarmsUp(Reason),
}

/// Weighs a growth that would else be called a leak.
pub(crate) fn weigh(view: &View, grower: &Grower, stretch: &Stretch) -> Birth {
    let fills = matches!(
        grower.kind,
        Kind::GoHeap | Kind::Native | Kind::NativeHeap | Kind::NativeMmap | Kind::Resident
    );
    let begin = view.started.unwrap_or(0.0);
    let quiet = !stretch.from_birth && was_quiet(grower, stretch, begin);
    let unseen = grower.kind == Kind::Resident;
    if !fills || quiet && (!unseen || outgrows(stretch)) {
        return Birth::Clear(Vec::new());
    }
    if let Some(told) = by_earlier_lives(view, grower, stretch, stretch.to - begin) {
        return told;
    }
    let Room { taken, left_s } = room(view, grower, stretch);
    let of_base = stretch.rise / stretch.base.max(1.0);
    let ends = Ends::of(grower, stretch, taken.unwrap_or(of_base / ROOM_UNKNOWN));
    let doubles_s = stretch.base.max(1.0) / stretch.line.slope;
    let near = left_s.is_some_and(|left| left < URGENT_S) || doubles_s < DOUBLES_S;
    if near && !unseen && stretch.last_quarter >= SLOWS_BELOW {
        return Birth::Clear(Vec::new());
    }
    if ends.latest < 1.0 {
        let by_room = [("seconds", stretch.seconds()), ("end", ends.latest)];
        let by_pace = [("last_quarter", stretch.last_quarter.max(0.0))];
        return Birth::WarmsUp(match taken {
            Some(_) => reason("slows-to-level", Judgement::NoLeak, &by_room),
            None => reason("slows-down", Judgement::NoLeak, &by_pace),
        });
    }
    if unseen {
        return outlasts_a_day(stretch);
    }
    let (part, needed) = match taken {
        Some(taken) => (taken, TAKEN_MIN),
        None => (of_base, GROWN_MIN),
    };
    let much = part >= needed && ends.earliest >= 1.0;
    if much || stretch.seconds() >= LONG_S {
        return Birth::Clear(Vec::new());
    }
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

/// What earlier processes of the workload say of a growth in one that is `age` seconds old.
fn by_earlier_lives(view: &View, grower: &Grower, stretch: &Stretch, age: f64) -> Option<Birth> {
    if !matches!(grower.kind, Kind::GoHeap | Kind::Resident) {
        return None;
    }
    let material = grower.demands.material_over(stretch.base);
    Some(match view.earlier(age, stretch, material)? {
        Earlier::SameLevel { level } => {
            let values = [("level_bytes", level)];
            Birth::WarmsUp(reason("as-earlier-lives", Judgement::NoLeak, &values))
        }
        Earlier::Beyond { level } => {
            let values = [("level_bytes", level)];
            let why = reason("beyond-earlier-lives", Judgement::Leak, &values);
            Birth::Clear(vec![why])
        }
        Earlier::GrewToo { lives } => {
            let values = [("lives", lives)];
            let why = reason("earlier-lives-grew-too", Judgement::Leak, &values);
            Birth::Clear(vec![why])
        }
    })
}

/// Where a growth would end if it was a fill: one that takes so much in each of its times, and so ever less. In parts of
/// the room that there was.
struct Ends {
    /// By the most and the least that it may have been slowing down.
    earliest: f64,
    latest: f64,
}

impl Ends {
    /// A fill slows down by the same part in each half of the stretch: by the part of the slopes it is known how much is
    /// still to come.
    fn of(grower: &Grower, stretch: &Stretch, taken: f64) -> Self {
        let middle = (stretch.from + stretch.to) / 2.0;
        let half = |from: f64, to: f64| {
            let points = grower.points.between(from, to);
            let points = points.thinned(HALF_POINTS, Thin::Median);
            Some(fit_line(&points.times, &points.values)?.interval(SLOWING_LEVEL))
        };
        let halves = half(stretch.from, middle).zip(half(middle, stretch.to));
        let (slowest, fastest) = halves.map_or((0.0, 1.0), |(first, second)| {
            (ratio(second.0, first.1), ratio(second.1, first.0))
        });
        let end = |kept: f64| taken / (1.0 - kept * kept).max(1e-6);
        Self {
            earliest: end(slowest),
            latest: end(fastest),
        }
    }
}

/// `second` over `first`, as slopes of a fill can be: between 0 and 1.
fn ratio(second: f64, first: f64) -> f64 {
    match first > 0.0 {
        true => (second / first).clamp(0.0, 1.0),
        false => 1.0,
    }
}

/// Whether growth after a quiet time is more than the hours of a day make of what nobody sees. A collector makes no such
/// growth: its goal goes up only with what lives.
fn outgrows(stretch: &Stretch) -> bool {
    stretch.rise >= UNSEEN_RISE * stretch.base
        && stretch.seconds() >= UNSEEN_S
        && stretch.evenness >= UNSEEN_EVEN
}

/// What is said of a growth from birth of which only its size is seen.
fn outlasts_a_day(stretch: &Stretch) -> Birth {
    let seconds = stretch.seconds();
    if seconds >= UNSEEN_LONG_S && stretch.evenness >= UNSEEN_LONG_EVEN {
        return Birth::Clear(Vec::new());
    }
    let values = [
        ("seconds", seconds),
        (
            "wait_seconds",
            (UNSEEN_LONG_S - seconds).max(0.25 * seconds),
        ),
    ];
    Birth::MayFill(vec![reason("may-be-usual", Judgement::Unsure, &values)])
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
