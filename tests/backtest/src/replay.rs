//! One history judged as it came in: only what was known at a moment counts.

use corpus::{History, Reading, Replica};
use judge::Track;
use model::{Judgement, Kind};

use crate::channels::{channels, facts, time};

/// Readings between two judgements. The watcher judges more often; that would take hours here.
const EVERY: usize = 8;
/// Judgements in a row that must find a leak, as the watcher asks.
const STREAK: u32 = 2;

/// What came of one replica of a history.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Outcome {
    /// Judgements made, and those that could not tell.
    pub(crate) judged: u32,
    /// See `judged`.
    pub(crate) unsure: u32,
    /// When a leak was first told while there was one: seconds after it began, and of what kind.
    pub(crate) found: Option<(f64, Kind)>,
    /// When a leak was told and there was none, and of what kind.
    pub(crate) false_alarm: Option<(f64, Kind)>,
    /// What was said of the first false alarm; else what was said last.
    pub(crate) said: String,
}

/// Judges `replica` from its first reading to its last.
pub(crate) fn replay(history: &History, replica: &Replica) -> Outcome {
    let mut outcome = Outcome::default();
    let mut streaks: Vec<(Kind, u32)> = Vec::new();
    let leaks_from = history
        .truth
        .leak
        .filter(|_| replica.leaks)
        .map_or(f64::INFINITY, |leak| leak.from_s);
    let mut track = Track::new(history.period_s);
    let mut end = 0;
    while end < replica.readings.len() {
        let begin = end;
        let started = replica.readings[begin].started_s;
        let of_one = |reading: &&Reading| reading.started_s == started;
        end += replica.readings[begin..]
            .iter()
            .take(EVERY)
            .take_while(of_one)
            .count();
        let before = begin.checked_sub(1).map(|at| &replica.readings[at]);
        let readings = &replica.readings[begin..end];
        let last = &readings[readings.len() - 1];
        track.push(
            &channels(history, before.filter(of_one), readings),
            Some(time(started)),
        );
        let was_false = outcome.false_alarm.is_some();
        let (kinds, said) = leaks_told(history, &track, last, &mut outcome);
        streaks.retain(|(kind, _)| kinds.contains(kind));
        for kind in kinds {
            let streak = match streaks.iter_mut().find(|(of, _)| *of == kind) {
                Some((_, streak)) => {
                    *streak += 1;
                    *streak
                }
                None => {
                    streaks.push((kind, 1));
                    1
                }
            };
            if streak == STREAK && last.at_s < leaks_from {
                outcome.false_alarm.get_or_insert((last.at_s, kind));
            } else if streak >= STREAK && last.at_s >= leaks_from {
                outcome.found.get_or_insert((last.at_s - leaks_from, kind));
            }
        }
        if !was_false {
            outcome.said = said;
        }
    }
    outcome
}

fn leaks_told(
    history: &History,
    track: &Track,
    last: &Reading,
    outcome: &mut Outcome,
) -> (Vec<Kind>, String) {
    let judged = track.judge(time(last.at_s), &facts(history, last));
    outcome.judged += 1;
    let first = judged.findings.first();
    outcome.unsure += u32::from(first.is_some_and(|first| first.verdict == Judgement::Unsure));
    let said = first.map(|first| {
        let why: Vec<&str> = first.why.iter().map(|why| why.text.as_str()).collect();
        format!("{:?} {:?}: {}", first.verdict, first.kind, why.join(" "))
    });
    let said = said.unwrap_or_default();
    let leaks = judged
        .findings
        .into_iter()
        .filter(|finding| finding.verdict == Judgement::Leak);
    (leaks.filter_map(|finding| finding.kind).collect(), said)
}

/// Whether a verdict's kind is what the truth calls it.
pub(crate) fn is_kind(kind: Kind, truth: &str) -> bool {
    match truth {
        "go-heap" => kind == Kind::GoHeap,
        "goroutine" => kind == Kind::Goroutine,
        _ => matches!(kind, Kind::Native | Kind::NativeHeap | Kind::NativeMmap),
    }
}
