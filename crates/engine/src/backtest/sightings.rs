//! Which judgements in a row make an incident, and which end it.

use std::time::Duration;

use model::verdict::Judged;
use model::{Facts, Judgement, Kind, UnixMs};

use super::record::Answer;

/// Judgements in a row that must find a leak, as the watcher asks.
const STREAK: u32 = 2;
/// Judgements in a row without it that end an incident.
const MISSES: u32 = 10;
/// Incidents of one target that are told. Nobody reads more, and each has its reasons.
const INCIDENTS_MAX: usize = 1_000;

/// Follows the judgements on one target.
#[derive(Debug, Default)]
pub(crate) struct Sightings {
    streaks: Vec<(Kind, u32)>,
    incidents: Vec<Sighted>,
    last: Option<Answer>,
    pub(crate) judged: u64,
    pub(crate) unsure: u64,
}

/// A leak that was told.
#[derive(Debug, Clone)]
pub(crate) struct Sighted {
    kind: Kind,
    /// As it was when it was told.
    pub(crate) answer: Answer,
    /// The age of the process then.
    age: Option<Duration>,
    misses: u32,
    missed_since: Option<UnixMs>,
    pub(crate) ended_at: Option<UnixMs>,
}

impl Sightings {
    /// Takes the judgement at `now` in. Two in a row that find a leak make an incident; ten in a row that do
    /// not end it, but those on a process younger than the one in which it was found say nothing about it: a
    /// leak that took a day to show is not over an hour after a restart.
    pub(crate) fn judged(&mut self, now: UnixMs, judged: &Judged, facts: &Facts) {
        self.look(now, judged, facts);
        let age = facts.started.map(|started| now.since(started));
        let leaks = judged
            .findings
            .iter()
            .filter(|finding| finding.verdict == Judgement::Leak);
        let found: Vec<_> = leaks.filter_map(|leak| Some((leak.kind?, leak))).collect();
        let is_found = |kind: Kind| found.iter().any(|(of, _)| *of == kind);
        self.streaks.retain(|(kind, _)| is_found(*kind));
        for open in self
            .incidents
            .iter_mut()
            .filter(|one| one.ended_at.is_none())
        {
            open.seen(now, age, is_found(open.kind));
        }
        for (kind, finding) in &found {
            let kind = *kind;
            let streak = match self.streaks.iter_mut().find(|(of, _)| *of == kind) {
                Some((_, streak)) => {
                    *streak = streak.saturating_add(1);
                    *streak
                }
                None => {
                    self.streaks.push((kind, 1));
                    1
                }
            };
            let is_open = |one: &Sighted| one.kind == kind && one.ended_at.is_none();
            let is_known = self.incidents.iter().any(is_open);
            if streak >= STREAK && !is_known && self.incidents.len() < INCIDENTS_MAX {
                self.incidents.push(Sighted {
                    kind,
                    answer: Answer::new(now, finding, judged, facts),
                    age,
                    misses: 0,
                    missed_since: None,
                    ended_at: None,
                });
            }
        }
    }

    /// Takes a judgement in that confirms nothing: the last one, made wherever the readings end.
    pub(crate) fn look(&mut self, now: UnixMs, judged: &Judged, facts: &Facts) {
        let Some(first) = judged.findings.first() else {
            return;
        };
        self.judged += 1;
        self.unsure += u64::from(first.verdict == Judgement::Unsure);
        self.last = Some(Answer::new(now, first, judged, facts));
    }

    /// A new process: what was found in the one before is not confirmed by it.
    pub(crate) fn restarted(&mut self) {
        self.streaks.clear();
    }

    /// The incidents, in the order in which they were told, and the last answer.
    pub(crate) fn finish(self) -> (Vec<Sighted>, Option<Answer>) {
        (self.incidents, self.last)
    }
}

impl Sighted {
    fn seen(&mut self, now: UnixMs, age: Option<Duration>, found: bool) {
        if found {
            (self.misses, self.missed_since) = (0, None);
            return;
        }
        if age < self.age {
            return;
        }
        self.misses += 1;
        let since = *self.missed_since.get_or_insert(now);
        if self.misses >= MISSES {
            self.ended_at = Some(since);
        }
    }
}

#[cfg(test)]
mod tests {
    use model::Finding;
    use model::verdict::Window;

    use super::*;

    fn at(n: i64) -> UnixMs {
        UnixMs(n * 300_000)
    }

    fn judged(kinds: &[Kind]) -> Judged {
        let finding = |verdict, kind| Finding {
            verdict,
            kind: Some(kind),
            confidence: Some(0.9),
            onset: None,
            growth: None,
            why: Vec::new(),
            suspects: Vec::new(),
            advice: Vec::new(),
        };
        let mut findings: Vec<Finding> = kinds
            .iter()
            .map(|kind| finding(Judgement::Leak, *kind))
            .collect();
        if findings.is_empty() {
            findings.push(finding(Judgement::NoLeak, Kind::Steady));
        }
        Judged {
            window: Window {
                from: at(0),
                to: at(0),
            },
            findings,
            seconds_to_limit: None,
            slopes: Vec::new(),
        }
    }

    /// When each was told and ended. `g` finds a leak of the heap, `t` of threads, `b` both, `.` none, `|` is a
    /// restart.
    fn told(judgements: &str) -> Vec<(Kind, i64, Option<i64>)> {
        let mut sightings = Sightings::default();
        let mut facts = Facts {
            started: Some(at(0)),
            ..Facts::default()
        };
        for (n, c) in (0..).zip(judgements.chars()) {
            let kinds: &[Kind] = match c {
                'g' => &[Kind::GoHeap],
                't' => &[Kind::Thread],
                'b' => &[Kind::GoHeap, Kind::Thread],
                '|' => {
                    facts.started = Some(at(n));
                    sightings.restarted();
                    continue;
                }
                _ => &[],
            };
            sightings.judged(at(n), &judged(kinds), &facts);
        }
        let (incidents, _) = sightings.finish();
        let place = |at: UnixMs| at.0 / 300_000;
        incidents
            .iter()
            .map(|one| (one.kind, place(one.answer.at), one.ended_at.map(place)))
            .collect()
    }

    #[test]
    fn two_in_a_row_make_one_and_ten_in_a_row_end_it() {
        use Kind::{GoHeap, Thread};
        for (why, judgements, want) in [
            ("never", "....", vec![]),
            ("not in a row", "g.g.g.", vec![]),
            ("another kind", "gtgt", vec![]),
            ("at once", ".gg", vec![(GoHeap, 2, None)]),
            ("once only", "ggggg", vec![(GoHeap, 1, None)]),
            ("with holes", "gg.........g", vec![(GoHeap, 1, None)]),
            ("over", "gg..........", vec![(GoHeap, 1, Some(2))]),
            (
                "again",
                "gg..........gg",
                vec![(GoHeap, 1, Some(2)), (GoHeap, 13, None)],
            ),
            ("two", "gbb", vec![(GoHeap, 1, None), (Thread, 2, None)]),
            ("a restart between", "g|g", vec![]),
            (
                "younger ones say nothing",
                "....gg|.....",
                vec![(GoHeap, 5, None)],
            ),
            (
                "older ones do",
                "....gg|..............",
                vec![(GoHeap, 5, Some(11))],
            ),
        ] {
            assert_eq!(told(judgements), want, "{why}");
        }
    }

    #[test]
    fn the_last_judgement_confirms_nothing() {
        let mut sightings = Sightings::default();
        let facts = Facts::default();
        sightings.judged(at(1), &judged(&[Kind::GoHeap]), &facts);
        sightings.look(at(2), &judged(&[Kind::GoHeap]), &facts);
        let judged = sightings.judged;
        let (incidents, last) = sightings.finish();
        assert_eq!((incidents.len(), judged), (0, 2));
        assert_eq!(last.map(|last| last.finding.verdict), Some(Judgement::Leak));
    }
}
