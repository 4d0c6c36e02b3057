//! One history judged as it came in: only what was known at a moment counts.

use corpus::{History, Reading, Replica, View};
use judge::Track;
use model::{Judgement, Kind};

use crate::channels::{channels, facts, time};
use crate::score::{Alarm, Told, is_late};

/// Readings between two judgements. The watcher judges more often; that would take hours here.
const EVERY: usize = 8;
/// Judgements in a row that must find a leak, as the watcher asks.
const STREAK: u32 = 2;

/// What a judgement said: leaks of these kinds with their confidence, or none.
struct Said {
    leaks: Vec<(Kind, Option<f64>)>,
    /// The first reason of one that could not tell.
    unsure: Option<String>,
    words: String,
}

/// Judges `replica` from its first reading to its last, by what `view` has of it.
pub(crate) fn replay(history: &History, view: View, replica: &Replica) -> Told {
    let mut told = Told::default();
    let mut streaks: Vec<(Kind, u32)> = Vec::new();
    // Alarms that stand, by kind: where in `told` they are.
    let mut standing: Vec<(Kind, usize)> = Vec::new();
    let mut track = Track::new(history.period_s);
    let (mut end, mut life_began) = (0, 0);
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
        let before = before.filter(of_one);
        if before.is_none() {
            life_began = begin;
        }
        let readings = &replica.readings[begin..end];
        let last = &readings[readings.len() - 1];
        let new = channels(history, view, before, readings);
        track.push(&new, Some(time(started)));
        let said = say(history, view, &track, last);
        told.judged.add(said.unsure.is_some());
        if is_late(
            last.at_s - replica.readings[life_began].at_s,
            history.period_s,
        ) {
            told.late.add(said.unsure.is_some());
            if let Some(code) = said.unsure {
                *told.unsure.entry(code).or_default() += 1;
            }
        }
        let kinds: Vec<Kind> = said.leaks.iter().map(|(kind, _)| *kind).collect();
        streaks.retain(|(kind, _)| kinds.contains(kind));
        standing.retain(|(kind, _)| kinds.contains(kind));
        for (kind, confidence) in said.leaks {
            if let Some((_, at)) = standing.iter().find(|(of, _)| *of == kind) {
                told.alarms[*at].until_s = last.at_s;
                continue;
            }
            if streak(&mut streaks, kind) == STREAK {
                standing.push((kind, told.alarms.len()));
                told.alarms.push(Alarm {
                    kind: Some(kind),
                    confidence,
                    ..Alarm::at(last.at_s)
                });
                if told.alarms.len() == 1 {
                    told.words = said.words.clone();
                }
            }
        }
        if told.alarms.is_empty() {
            told.words = said.words;
        }
    }
    told
}

/// Judgements in a row that have found `kind`, this one included.
fn streak(streaks: &mut Vec<(Kind, u32)>, kind: Kind) -> u32 {
    if let Some((_, streak)) = streaks.iter_mut().find(|(of, _)| *of == kind) {
        *streak += 1;
        return *streak;
    }
    streaks.push((kind, 1));
    1
}

fn say(history: &History, view: View, track: &Track, last: &Reading) -> Said {
    let judged = track.judge(time(last.at_s), &facts(history, view, last));
    let first = judged.findings.first();
    let words = first.map(|first| {
        let why: Vec<&str> = first.why.iter().map(|why| why.text.as_str()).collect();
        format!("{:?} {:?}: {}", first.verdict, first.kind, why.join(" "))
    });
    let unsure = first.filter(|first| first.verdict == Judgement::Unsure);
    let unsure = unsure.map(|first| {
        let why = first.why.first();
        why.map_or(String::new(), |why| why.code.clone())
    });
    let words = words.unwrap_or_default();
    let leaks = judged
        .findings
        .into_iter()
        .filter(|finding| finding.verdict == Judgement::Leak)
        .filter_map(|finding| Some((finding.kind?, finding.confidence)));
    Said {
        leaks: leaks.collect(),
        unsure,
        words,
    }
}

/// Whether a verdict's kind is what the truth calls it. Where only what is resident is seen, any of it is.
pub(crate) fn is_kind(kind: Kind, truth: &str) -> bool {
    if kind == Kind::Resident {
        return true;
    }
    match truth {
        "go-heap" => kind == Kind::GoHeap,
        "goroutine" => kind == Kind::Goroutine,
        _ => matches!(kind, Kind::Native | Kind::NativeHeap | Kind::NativeMmap),
    }
}
