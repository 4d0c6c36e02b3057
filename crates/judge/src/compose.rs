//! From the channels' answers to findings: what is one leak seen twice, what comes first, and the
//! words, advice and time left that go with it.

use model::verdict::TimeToLimit;
use model::{Channel, Finding, Growth, Judgement, Kind, Reason};

use crate::advice;
use crate::assess::{Answer, Assessed, Grower, assess};
use crate::growth::Stretch;
use crate::load::LoadSays;
use crate::points::Thin;
use crate::stats::correlation;
use crate::trace::Window;
use crate::track::RESIDENT;
use crate::view::View;
use crate::words::reason;

/// Collections that a rising floor must be seen through.
const COLLECTIONS_LEAST: f64 = 4.0;
/// More than this for each goroutine is not what a goroutine holds by itself.
const BYTES_PER_GOROUTINE_MAX: f64 = 512.0 * 1024.0;

/// What is not Go's is known at each period or, where Go has memory that was not touched, when mappings are read.
const POINTS_OF_MAPPINGS: usize = 10;
/// From so much on GOGC lets garbage be the greater part of the heap by far.
const GOGC_LAX: f64 = 300.0;
/// The runtime forces a collection every two minutes, and a little goes by until it begins.
const FORCED_S: f64 = 115.0;

/// A finding with what orders it.
pub(crate) struct Ranked {
    pub(crate) finding: Finding,
    /// Bytes (or, for counts, a stand-in) that it grew by.
    weight: f64,
    /// Bytes a minute that it adds to what counts against the limit: low, estimate, high.
    pub(crate) towards_limit: Option<[f64; 3]>,
}

/// All findings, first what leaks, then what cannot be told, then what is harmless; each group by
/// its share of the growth.
pub(crate) fn findings(view: &View) -> Vec<Ranked> {
    let goroutines = grower(view, Channel::Goroutines, Kind::Goroutine, "goroutines");
    let goroutines = goroutines.map(|grower| assess(view, grower));
    let heap = heap(view);
    let mut ranked = Vec::new();
    let held = match (&heap, &goroutines) {
        (Some(heap), Some(goroutines)) => held_by_goroutines(heap, goroutines),
        _ => None,
    };
    let heap_slope = heap.as_ref().and_then(leak_slope);
    if let Some(goroutines) = goroutines {
        ranked.push(finding(view, goroutines, held));
    }
    if let Some(heap) = heap.filter(|_| held.is_none()) {
        ranked.push(finding(view, heap, None));
    }
    for native in natives(view) {
        // The ledger's native line is a difference of numbers read at different moments: a part
        // of a fast heap's growth shows in it.
        let echo = leak_slope(&native).zip(heap_slope);
        if echo.is_none_or(|(native, heap)| native > 0.25 * heap) {
            ranked.push(finding(view, native, None));
        }
    }
    for (channel, kind, unit) in [
        (Channel::Threads, Kind::Thread, "threads"),
        (Channel::Fds, Kind::Fd, "fds"),
        (Channel::Shmem, Kind::Shmem, "bytes"),
    ] {
        if let Some(grower) = grower(view, channel, kind, unit) {
            ranked.push(finding(view, assess(view, grower), None));
        }
    }
    ranked.extend(harmless(view));
    if !can_see_inside(view) {
        ranked.extend(resident_only(view));
    }
    tidy(ranked)
}

/// Drops what is merely steady beside something that is not, and puts the rest in order.
fn tidy(mut ranked: Vec<Ranked>) -> Vec<Ranked> {
    let order = |one: &Ranked| match (one.finding.verdict, one.finding.kind) {
        (Judgement::Leak, _) => 0,
        (Judgement::Unsure, _) => 1,
        (Judgement::NoLeak, Some(Kind::Steady)) => 3,
        (Judgement::NoLeak, _) => 2,
    };
    ranked.sort_by(|a, b| order(a).cmp(&order(b)).then(b.weight.total_cmp(&a.weight)));
    let mut steady = 0;
    let any = ranked.iter().any(|one| order(one) < 3);
    ranked.retain(|one| {
        steady += u32::from(order(one) == 3);
        order(one) < 3 || !any && steady == 1
    });
    ranked
}

/// Whether the Go heap is seen. Where it is not, the classes of mappings are not enough: what grows
/// in Go's own mappings may be live or not.
fn can_see_inside(view: &View) -> bool {
    let heap = [Channel::GoLive, Channel::GoHeapAlloc];
    heap.iter().any(|&channel| view.get(channel).is_some())
}

fn grower<'a>(
    view: &View<'a>,
    channel: Channel,
    kind: Kind,
    unit: &'static str,
) -> Option<Grower<'a>> {
    let points = view.get(channel)?;
    let points_least = match channel {
        Channel::Native => POINTS_OF_MAPPINGS,
        _ => 30,
    };
    Some(Grower {
        channel,
        kind,
        unit,
        demands: view.demands(channel, points_least),
        points,
    })
}

/// The Go heap by its floor; `no-gc-yet` where too few collections were seen.
fn heap<'a>(view: &View<'a>) -> Option<Assessed<'a>> {
    let (channel, points) = view.life.heap.floor()?;
    let grower = Grower {
        channel,
        kind: Kind::GoHeap,
        unit: "bytes",
        demands: view.demands(channel, 6),
        points,
    };
    let seen = f64::from(view.life.heap.seen) - 1.0;
    let mut assessed = assess(view, grower);
    if seen < COLLECTIONS_LEAST && !matches!(assessed.answer, Answer::Calm { .. }) {
        assessed.answer = few_collections(view, &assessed, seen.max(0.0));
    }
    let calm = matches!(
        assessed.answer,
        Answer::Calm {
            kind: Kind::Steady,
            ..
        }
    );
    if let (true, Some(swing)) = (calm, saw_tooth(view)) {
        let (tooth, why) = match seldom(view) {
            Some(each_s) => {
                let values = [
                    ("swing_bytes", swing),
                    ("seconds_between", each_s),
                    ("gogc_percent", view.facts.gogc_percent.unwrap_or(f64::NAN)),
                ];
                let why = reason("collects-seldom", Judgement::NoLeak, &values);
                (Kind::GcIdle, why)
            }
            None => {
                let values = [("swing_bytes", swing)];
                let why = reason("sawtooth-only", Judgement::NoLeak, &values);
                (Kind::GcSawtooth, why)
            }
        };
        if let Answer::Calm {
            kind, why: reasons, ..
        } = &mut assessed.answer
        {
            *kind = tooth;
            reasons.insert(0, why);
        }
    }
    Some(assessed)
}

/// Seconds between two collections, where that is long because of how the collector is set: GOGC is off or far above
/// its usual 100, or nothing but the collection that the runtime forces every two minutes takes place.
fn seldom(view: &View) -> Option<f64> {
    let cycles = view.get(Channel::GcCycles)?;
    let ((from, _), (to, _)) = cycles.ends()?;
    let each_s = (to - from) / view.collections(from, to)?.max(1.0);
    let set = view.facts.gogc_percent;
    let is_lax = set.is_some_and(|percent| !(0.0..GOGC_LAX).contains(&percent));
    (is_lax || each_s >= FORCED_S).then_some(each_s)
}

/// Hardly a collection: level if HeapAlloc is level too, else it cannot be told.
fn few_collections(view: &View, assessed: &Assessed, seen: f64) -> Answer {
    let span = view.get(assessed.grower.channel).map_or(0.0, Window::span);
    let live = || view.get(Channel::GoLive)?.whole().range();
    let range = view.life.heap.swing().or_else(live);
    if let Some((least, greatest)) = range {
        let material = assessed.grower.demands.material_over(least);
        if greatest - least < material && span >= 0.5 * assessed.grower.demands.seconds {
            let values = [
                ("range_bytes", greatest - least),
                ("material_bytes", material),
                ("seconds", span),
            ];
            return Answer::Calm {
                kind: Kind::Steady,
                confidence: 0.7,
                why: vec![reason("steady", Judgement::NoLeak, &values)],
            };
        }
    }
    // The runtime forces a collection at least every two minutes; faster ones are extrapolated.
    let each = if seen > 0.0 {
        (span / seen).min(120.0)
    } else {
        120.0
    };
    let values = [
        ("collections", seen),
        ("collections_needed", COLLECTIONS_LEAST),
        ("wait_seconds", each * (COLLECTIONS_LEAST - seen).max(1.0)),
    ];
    Answer::Wait {
        why: vec![reason("no-gc-yet", Judgement::Unsure, &values)],
    }
}

/// How far `HeapAlloc` swings, if that is by a material amount.
fn saw_tooth(view: &View) -> Option<f64> {
    let (least, greatest) = view.life.heap.swing()?;
    let material = view.demands(Channel::GoHeapAlloc, 0).material_over(least);
    (greatest - least >= material).then_some(greatest - least)
}

/// Memory outside Go. The parts come from mappings, which are read seldom; the whole is a difference
/// that every reading gives. So the parts speak when they can, else the whole does and the parts
/// tell which of them it is.
fn natives<'a>(view: &View<'a>) -> Vec<Assessed<'a>> {
    let parts = NATIVE_PARTS.iter().filter_map(|&(channel, kind)| {
        let grower = grower(view, channel, kind, "bytes")?;
        Some(assess(view, grower))
    });
    let parts: Vec<Assessed<'a>> = parts.collect();
    let told = |one: &Assessed| matches!(one.answer, Answer::Leak { .. });
    if parts.iter().any(told) {
        return parts;
    }
    let whole = grower(view, Channel::Native, Kind::Native, "bytes").or_else(|| {
        Some(Grower {
            channel: Channel::Native,
            kind: Kind::Native,
            unit: "bytes",
            points: view.life.native_by_difference()?,
            demands: view.demands(Channel::Native, POINTS_OF_MAPPINGS),
        })
    });
    let Some(mut whole) = whole.map(|grower| assess(view, grower)) else {
        return parts;
    };
    if told(&whole)
        && let Some(stretch) = &whole.stretch
    {
        let rises = NATIVE_PARTS.map(|(channel, kind)| (kind, rise_within(view, channel, stretch)));
        match which_part(rises, stretch.rise) {
            Some(kind) => whole.grower.kind = kind,
            None => whole.answer = conflicting(stretch),
        }
    }
    vec![whole]
}

const NATIVE_PARTS: [(Channel, Kind); 2] = [
    (Channel::NativeHeap, Kind::NativeHeap),
    (Channel::NativeMmap, Kind::NativeMmap),
];

/// The part that grew by most of `rise`; `native` where the parts were not read or share it;
/// `None` where they were read and did not grow with it.
fn which_part(rises: [(Kind, Option<f64>); 2], rise: f64) -> Option<Kind> {
    let read: Vec<(Kind, f64)> = rises
        .into_iter()
        .filter_map(|(kind, rise)| Some((kind, rise?)))
        .collect();
    if read.is_empty() {
        return Some(Kind::Native);
    }
    let together: f64 = read.iter().map(|(_, rise)| rise.max(0.0)).sum();
    if together < 0.4 * rise {
        return None;
    }
    let most = read.iter().find(|(_, part)| *part > 0.6 * together);
    Some(most.map_or(Kind::Native, |(kind, _)| *kind))
}

/// How much `channel` rose while the stretch lasted, by its line; `None` below three points or
/// where they cover less than a third of it.
fn rise_within(view: &View, channel: Channel, stretch: &Stretch) -> Option<f64> {
    let points = view.get(channel)?.between(stretch.from, stretch.to);
    let enough = points.len() >= 3 && points.span() >= stretch.seconds() / 3.0;
    let slope = enough.then(|| crate::stats::theil_sen_slope(&points.times, &points.values))??;
    Some(slope * stretch.seconds())
}

fn conflicting(stretch: &Stretch) -> Answer {
    let values = [("wait_seconds", 0.5 * stretch.seconds())];
    Answer::Wait {
        why: vec![reason("conflicting", Judgement::Unsure, &values)],
    }
}

/// What grows and is nobody's loss: file pages, what the runtime keeps or needs for itself, what the kernel adds.
fn harmless(view: &View) -> Vec<Ranked> {
    let mut found = Vec::new();
    if let Some(grown) = grown(view, Channel::File) {
        let why = ("file-pages", [("rise_bytes", grown.rise)]);
        found.push(harmless_by(Kind::PageCache, 0.9, &grown, why));
    }
    if let Some(grown) = grown_in_tenths(view, Channel::GoIdle) {
        let why = ("kept-by-runtime", [("idle_bytes", grown.last)]);
        found.push(harmless_by(Kind::NotReturned, 0.8, &grown, why));
    }
    if let Some(grown) = grown_in_tenths(view, Channel::GoFragmentation) {
        let why = ("free-slots-rise", [("free_bytes", grown.last)]);
        found.push(harmless_by(Kind::Fragmentation, 0.8, &grown, why));
    }
    if let Some(grown) = grown_in_tenths(view, Channel::GoRuntime) {
        let why = ("runtime-rises", [("rise_bytes", grown.rise)]);
        found.push(harmless_by(Kind::GoRuntime, 0.7, &grown, why));
    }
    if let Some(grown) = filled_up(view) {
        let why = ("huge-pages-fill", [("extra_bytes", grown.last)]);
        found.push(harmless_by(Kind::HugePages, 0.8, &grown, why));
    }
    if let Some(grown) = grown(view, Channel::Swap) {
        let why = ("swapped-out", [("swap_bytes", grown.last)]);
        found.push(harmless_by(Kind::Swap, 0.8, &grown, why));
    }
    found
}

/// By how much something grew, to what, and what would count.
struct Grown {
    rise: f64,
    last: f64,
    material: f64,
}

impl Grown {
    /// `None` where that is too little to count.
    fn from(view: &View, channel: Channel, first: f64, last: f64) -> Option<Self> {
        let (rise, material) = (last - first, view.demands(channel, 0).material_over(first));
        (rise >= material).then_some(Self {
            rise,
            last,
            material,
        })
    }
}

fn grown(view: &View, channel: Channel) -> Option<Grown> {
    let points = view.get(channel)?.whole();
    let (least, _) = points.range()?;
    let (_, last) = points.last()?;
    (points.len() >= 4).then(|| Grown::from(view, channel, least, last))?
}

/// By the least of each tenth of the window, since every tooth of the heap leaves as much idle, or free between
/// objects, for a moment.
fn grown_in_tenths(view: &View, channel: Channel) -> Option<Grown> {
    let points = view.get(channel)?.whole();
    let tenths = points.in_groups_of(points.len().div_ceil(10), Thin::Min);
    let ((_, first), (_, last)) = (tenths.first()?, tenths.last()?);
    (points.len() >= 30).then(|| Grown::from(view, channel, first, last))?
}

/// What the kernel holds of Go's memory and Go does not count grew, and huge pages are as large: it filled them up.
fn filled_up(view: &View) -> Option<Grown> {
    let extra = grown(view, Channel::GoExtraResident)?;
    let (_, huge) = view.get(Channel::HugePages)?.last()?;
    (huge >= extra.last).then_some(extra)
}

fn harmless_by(kind: Kind, sure: f64, grown: &Grown, why: (&str, [(&str, f64); 1])) -> Ranked {
    // The more it is beyond what would count, the surer.
    let more = 0.9 * (1.0 - sure) * (1.0 - grown.material / grown.rise);
    let why = reason(why.0, Judgement::NoLeak, &why.1);
    calm(kind, sure + more, why, grown.rise)
}

fn calm(kind: Kind, confidence: f64, why: Reason, weight: f64) -> Ranked {
    Ranked {
        finding: Finding {
            verdict: Judgement::NoLeak,
            kind: Some(kind),
            confidence: Some(confidence.clamp(0.5, 0.99)),
            onset: None,
            growth: None,
            why: vec![why],
            suspects: Vec::new(),
            advice: advice::of_kind(kind),
        },
        weight,
        towards_limit: None,
    }
}

/// Only the resident size is known: what grows in it, and why, cannot be told, so it takes longer until it is a leak.
fn resident_only(view: &View) -> Option<Ranked> {
    let channel = RESIDENT
        .into_iter()
        .find(|&channel| view.get(channel).is_some())?;
    let mut assessed = assess(view, grower(view, channel, Kind::Resident, "bytes")?);
    match &mut assessed.answer {
        // Page cache is in it, which the kernel takes back.
        Answer::Leak { .. } if channel == Channel::ContainerUsage => {
            let why = vec![reason("no-access", Judgement::Unsure, &[])];
            assessed.answer = Answer::Wait { why };
        }
        Answer::Leak { birth, .. } => birth.push(reason("no-access", Judgement::Unsure, &[])),
        Answer::Calm { confidence, .. } => *confidence = confidence.min(0.8),
        Answer::Wait { why } => why.insert(0, reason("no-access", Judgement::Unsure, &[])),
    }
    Some(finding(view, assessed, None))
}

/// Bytes a goroutine, if the heap grows because goroutines do.
fn held_by_goroutines(heap: &Assessed, goroutines: &Assessed) -> Option<f64> {
    let growing = |one: &Assessed| !matches!(one.answer, Answer::Calm { .. });
    if !growing(heap) || !growing(goroutines) {
        return None;
    }
    let stretch = goroutines.stretch.as_ref()?;
    if stretch.rise < goroutines.grower.demands.material_over(stretch.base) {
        return None;
    }
    let floor = heap
        .grower
        .points
        .between(stretch.from, stretch.to)
        .thinned(200, Thin::Median);
    let count: Vec<f64> = floor
        .times
        .iter()
        .filter_map(|&time| goroutines.grower.points.at(time))
        .collect();
    let together = correlation(&floor.values, &count)? >= 0.9;
    let slope = crate::stats::fit_line(&floor.times, &floor.values)?.slope;
    let each = slope / stretch.line.slope;
    (together && each > 0.0 && each <= BYTES_PER_GOROUTINE_MAX).then_some(each)
}

fn leak_slope(assessed: &Assessed) -> Option<f64> {
    match assessed.answer {
        Answer::Leak { .. } => assessed.stretch.as_ref().map(|stretch| stretch.line.slope),
        _ => None,
    }
}

/// The finding of one channel; `held`: bytes of heap for each goroutine, for goroutines only.
fn finding(view: &View, assessed: Assessed, held: Option<f64>) -> Ranked {
    // Counts weigh by what they hold at least, so that they can be ordered beside bytes.
    let each = match assessed.grower.unit {
        "goroutines" => held.unwrap_or(0.0) + 2048.0,
        "threads" => 16.0 * 1024.0,
        "fds" => 1024.0,
        _ => 1.0,
    };
    let weight = assessed.change * each;
    let stretch = assessed.stretch.clone();
    let mut finding = Finding {
        verdict: Judgement::Unsure,
        kind: None,
        confidence: None,
        onset: None,
        growth: None,
        why: Vec::new(),
        suspects: Vec::new(),
        advice: Vec::new(),
    };
    let mut towards_limit = None;
    match assessed.answer {
        Answer::Leak { load, birth } => {
            let Some(stretch) = stretch else {
                return Ranked {
                    finding,
                    weight,
                    towards_limit,
                };
            };
            finding.why = leak_reasons(view, &assessed.grower, &stretch, load, held);
            finding.why.extend(birth);
            finding.verdict = Judgement::Leak;
            finding.kind = Some(assessed.grower.kind);
            finding.confidence = Some(confidence(view, &assessed.grower, &stretch, load));
            finding.onset = Some(view.time(stretch.onset));
            let growth = growth(&assessed.grower, &stretch);
            let per_minute = [growth.low, growth.per_minute, growth.high];
            towards_limit = Some(towards(view, assessed.grower.kind, per_minute, each));
            finding.growth = Some(growth);
            finding.advice = advice::of_kind(assessed.grower.kind);
        }
        Answer::Calm {
            kind,
            confidence,
            why,
        } => {
            finding.verdict = Judgement::NoLeak;
            finding.kind = Some(kind);
            finding.confidence = Some(confidence);
            finding.why = why;
            finding.advice = advice::of_kind(kind);
        }
        Answer::Wait { why } => {
            finding.why = why;
        }
    }
    Ranked {
        finding,
        weight,
        towards_limit,
    }
}

/// The growth with its interval, a minute.
fn growth(grower: &Grower, stretch: &Stretch) -> Growth {
    let (low, high) = stretch.line.interval(0.95);
    Growth {
        unit: grower.unit.into(),
        per_minute: stretch.line.slope * 60.0,
        low: low * 60.0,
        high: high * 60.0,
        level: 0.95,
    }
}

fn rises(view: &View, grower: &Grower, stretch: &Stretch) -> Reason {
    let code = match grower.kind {
        Kind::GoHeap => "live-floor-rises",
        Kind::NativeHeap => "native-heap-rises",
        Kind::NativeMmap => "native-mmap-rises",
        Kind::Shmem => "shmem-rises",
        Kind::Goroutine => "goroutines-rise",
        Kind::Thread => "threads-rise",
        Kind::Fd => "fds-rise",
        _ if grower.channel == Channel::Native => "native-rises",
        _ => "rss-rises",
    };
    let growth = growth(grower, stretch);
    let mut values = vec![("seconds", stretch.seconds()), ("r2", stretch.line.r2)];
    values.push(("p", stretch.line.p_value()));
    values.extend(if grower.unit == "bytes" {
        [
            ("rise_bytes", stretch.rise),
            ("bytes_per_minute", growth.per_minute),
            ("low_bytes_per_minute", growth.low),
            ("high_bytes_per_minute", growth.high),
        ]
    } else {
        [
            ("rise", stretch.rise),
            ("per_minute", growth.per_minute),
            ("low_per_minute", growth.low),
            ("high_per_minute", growth.high),
        ]
    });
    if grower.kind == Kind::GoHeap {
        let collections = view.collections(stretch.from, stretch.to);
        values.push(("collections", collections.unwrap_or(stretch.points as f64)));
    }
    reason(code, Judgement::Leak, &values)
}

fn leak_reasons(
    view: &View,
    grower: &Grower,
    stretch: &Stretch,
    load: LoadSays,
    held: Option<f64>,
) -> Vec<Reason> {
    let mut why = vec![rises(view, grower, stretch)];
    let even = [
        ("slowest_quarter", stretch.evenness),
        ("last_quarter", stretch.last_quarter),
    ];
    why.push(reason("grows-evenly", Judgement::Leak, &even));
    why.push(reason(
        "walk-unlikely",
        Judgement::Leak,
        &[("p", stretch.walk_p)],
    ));
    if let Some(each) = held {
        let values = [("bytes_per_goroutine", each)];
        why.push(reason("heap-follows-goroutines", Judgement::Leak, &values));
    }
    if let Some(share) = go_share(view, grower, stretch) {
        why.push(reason(
            "go-is-flat",
            Judgement::Leak,
            &[("go_share", share)],
        ));
    }
    if stretch.from_birth {
        why.push(reason("from-birth", Judgement::NoLeak, &[]));
    }
    match load {
        LoadSays::Absent => why.push(reason("load-unknown", Judgement::Unsure, &[])),
        LoadSays::Beyond { follows, swing_s } => {
            let values = [
                ("r2", follows.r2),
                ("load", follows.load as f64),
                ("swing_seconds", swing_s),
            ];
            why.push(reason("load-taken-out", Judgement::Leak, &values));
        }
        _ => why.push(reason("load-unrelated", Judgement::Leak, &[])),
    }
    why
}

/// Go's part of the growth of anonymous memory, for a native leak.
fn go_share(view: &View, grower: &Grower, stretch: &Stretch) -> Option<f64> {
    if !matches!(
        grower.kind,
        Kind::Native | Kind::NativeHeap | Kind::NativeMmap
    ) {
        return None;
    }
    let (_, floor) = view.life.heap.floor()?;
    let rise = floor.at(stretch.to)? - floor.at(stretch.from)?;
    Some((rise / (stretch.rise + rise.max(0.0))).clamp(0.0, 1.0))
}

/// The probability that it is a leak, from what could still be wrong: chance, a fill or wave of
/// which only the straight part was seen, a warm-up, a load that nobody measured. Each is a doubt
/// between 0 and 1; the answer is right if none of them holds.
fn confidence(view: &View, grower: &Grower, stretch: &Stretch, load: LoadSays) -> f64 {
    let times = stretch.seconds() / grower.demands.seconds;
    let (low, high) = stretch.line.interval(0.95);
    let chance = stretch.walk_p.clamp(0.0, 0.5);
    let width = ((high - low) / (2.0 * stretch.line.slope)).clamp(0.0, 1.0) * 0.2;
    let bent = 0.3 * (1.0 - stretch.evenness.clamp(0.0, 1.0)) / times;
    let warm_up = if stretch.from_birth {
        0.08 / times
    } else {
        0.0
    };
    let unseen_load = match load {
        LoadSays::Absent => 0.06 / times,
        _ => 0.0,
    };
    let young = 0.04 / times;
    let right = [
        chance,
        width,
        bent,
        warm_up,
        unseen_load,
        young,
        view.haste(),
    ]
    .iter()
    .fold(1.0, |right, doubt| right * (1.0 - doubt));
    right.clamp(0.5, 0.99)
}

/// Bytes a minute towards the limit: live memory takes GOGC's headroom with it, since the next
/// collection waits for (1 + GOGC/100) of it.
fn towards(view: &View, kind: Kind, per_minute: [f64; 3], each: f64) -> [f64; 3] {
    let [low, estimate, high] = per_minute.map(|rate| rate * each);
    let headroom = view.headroom(kind);
    [low, estimate * headroom, high * headroom]
}

/// When the limit is reached if all that leaks goes on.
pub(crate) fn time_to_limit(view: &View, ranked: &[Ranked]) -> Option<TimeToLimit> {
    let limit = view.facts.limit_bytes? as f64;
    let resident = || {
        view.get(Channel::Rss)
            .and_then(Window::last)
            .map(|(_, rss)| rss)
    };
    let used = view
        .facts
        .limit_used_bytes
        .map(|used| used as f64)
        .or_else(resident)?;
    let mut rates = [0.0; 3];
    for one in ranked.iter().filter_map(|one| one.towards_limit) {
        for (sum, rate) in rates.iter_mut().zip(one) {
            *sum += rate / 60.0;
        }
    }
    let left = (limit - used).max(0.0);
    if rates[0] <= 0.0 {
        return None;
    }
    Some(TimeToLimit {
        estimate: left / rates[1],
        low: left / rates[2],
        high: left / rates[0],
    })
}
