//! The life of incidents: pure, so that tests walk it by hand.
//!
//! An incident belongs to (workload, kind, culprit), lists its targets and lives through restarts.
//! It resolves only when a successor of comparable age is judged `no-leak`, never because a target
//! died.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use model::incident::SCHEMA;
use model::verdict::Suspect;
use model::{
    Incident, IncidentId, IncidentState, Judgement, Kind, Revision, TargetId, UnixMs, Verdict,
    Workload,
};

/// Evidence is taken from at most this many targets of an incident.
pub const TARGETS_CAPTURED_MAX: usize = 3;
const INCIDENTS_SHOWN_MAX: usize = 1_000;

/// All incidents of this watcher.
#[derive(Debug, Default)]
pub struct Book {
    /// Shared with the views that faces hold: changed by copy when one does.
    pub(crate) incidents: BTreeMap<IncidentId, Arc<Incident>>,
    /// Open incidents that, by the clock as it is now, begin in the future, and since when that is known:
    /// the clock was far ahead when they were opened.
    ahead: BTreeMap<IncidentId, UnixMs>,
}

/// A target as the book sees it when it decides what is over.
#[derive(Debug, Clone)]
pub struct Standing<'a> {
    /// Which.
    pub target: &'a TargetId,
    /// Whose.
    pub workload: &'a Workload,
    /// The code it runs.
    pub revision: &'a Revision,
    /// Whether it still runs.
    pub alive: bool,
    /// When it started.
    pub started: Option<UnixMs>,
    /// How old it is, whatever was done to the clock since it was first seen.
    pub age: Duration,
    /// Whether its id is that of one process; a configured target keeps its id over restarts.
    pub is_process: bool,
    /// Its latest verdict.
    pub verdict: Option<&'a Verdict>,
}

/// From how many of its targets `incident` has evidence, or has it on its way to the disk.
#[must_use]
pub fn targets_captured(incident: &Incident) -> usize {
    let taken = incident.evidence.iter().map(|file| &file.target);
    let all: HashSet<&TargetId> = taken.chain(incident.captured.keys()).collect();
    all.iter().filter(|one| incident.has_target(one)).count()
}

/// Lists `target` as one of the incident's own, also where it had been another's meanwhile.
pub(crate) fn join(incident: &mut Incident, target: &TargetId) {
    incident.moved.retain(|moved| moved != target);
    if !incident.targets.contains(target) {
        incident.targets.push(target.clone());
    }
}

/// What names a culprit over restarts: the function where there is one, never a line, since lines
/// move from revision to revision.
#[must_use]
pub fn culprit(suspects: &[Suspect]) -> String {
    suspects
        .first()
        .map_or(String::new(), |suspect| suspect.function.clone())
}

/// Kinds that are one leak seen more or less exactly: by difference it is `native`, and once the
/// mappings were read it is known which part.
pub(crate) fn family(kind: Kind) -> Kind {
    match kind {
        Kind::NativeHeap | Kind::NativeMmap => Kind::Native,
        kind => kind,
    }
}

impl Book {
    /// A book with what was on disk.
    #[must_use]
    pub fn restore(incidents: Vec<Incident>) -> Self {
        Self {
            incidents: incidents
                .into_iter()
                .map(|i| (i.id.clone(), Arc::new(i)))
                .collect(),
            ahead: BTreeMap::new(),
        }
    }

    /// The open incident that a leak of `kind` in `target` belongs to while its culprit is not
    /// known: one that already lists the target.
    #[must_use]
    pub fn open_of_target(&self, kind: Kind, target: &TargetId) -> Option<&Incident> {
        let open =
            |i: &&Arc<Incident>| i.state == IncidentState::Open && family(i.kind) == family(kind);
        self.incidents
            .values()
            .filter(open)
            .find(|i| i.has_target(target))
            .map(|i| &**i)
    }

    /// An open incident that a leak of this workload and kind may belong to while its culprit is not
    /// known: the first one.
    #[must_use]
    pub fn open_of(&self, workload: &Workload, kind: Kind) -> Option<&Incident> {
        self.open_with(workload, kind, |_| true)
    }

    /// The first open incident of this workload and kind whose culprit is `wanted`.
    pub(crate) fn open_with(
        &self,
        workload: &Workload,
        kind: Kind,
        wanted: impl Fn(&str) -> bool,
    ) -> Option<&Incident> {
        let is_it = |i: &&Arc<Incident>| {
            i.state == IncidentState::Open
                && i.workload == *workload
                && family(i.kind) == family(kind)
                && wanted(&i.culprit)
        };
        self.incidents.values().find(is_it).map(|i| &**i)
    }

    /// Opens an incident for the leak of `kind` that `verdict` has found; `culprit` is empty while it
    /// is not known.
    pub fn open(&mut self, verdict: &Verdict, kind: Kind, culprit: &str) -> &mut Incident {
        let target = &verdict.target;
        let culprit = culprit.to_owned();
        let finding = verdict
            .findings
            .iter()
            .find(|finding| finding.kind == Some(kind));
        let at = verdict.at;
        let id = incident_id(at, target, kind, &culprit);
        let answers = self.lasting_answers(target, kind, &culprit, at);
        let age = target
            .start_time
            .map_or(0.0, |started| at.since(started).as_secs_f64());
        let mut incident = Incident {
            schema: SCHEMA.into(),
            id: id.clone(),
            state: IncidentState::Open,
            workload: target.workload.clone(),
            namespace: target.namespace().unwrap_or_default().to_owned(),
            container: target.container_name().unwrap_or_default().to_owned(),
            revision: target.revision.clone(),
            kind,
            culprit,
            opened: at,
            onset: finding.and_then(|finding| finding.onset),
            last_seen: at,
            resolved: None,
            age_s: age,
            targets: vec![target.id.clone()],
            verdict: verdict.clone(),
            evidence: Vec::new(),
            timeline: Vec::new(),
            captured: BTreeMap::new(),
            moved: Vec::new(),
            siblings: None,
            answers: Vec::new(),
            silence: None,
        };
        incident.note(
            at,
            "opened",
            match kind {
                Kind::Oom => format!("{} was killed before a leak was found", target.name),
                kind => format!("{} judged a leak of kind {}", target.name, kind.as_str()),
            },
        );
        crate::answering::inherit(&mut incident, answers, at);
        Arc::make_mut(
            self.incidents
                .entry(id)
                .insert_entry(Arc::new(incident))
                .into_mut(),
        )
    }

    /// Records that `verdict` supports the incident `id`.
    pub fn support(&mut self, id: &IncidentId, verdict: &Verdict) -> Option<&mut Incident> {
        let incident = Arc::make_mut(self.incidents.get_mut(id)?);
        let target = &verdict.target.id;
        if !incident.has_target(target) {
            let enough = targets_captured(incident) >= TARGETS_CAPTURED_MAX;
            join(incident, target);
            let name = verdict.target.name_in_words();
            let more = if enough {
                "; not captured: already three"
            } else {
                ""
            };
            let text = format!("{name} leaks too{more}");
            incident.note(verdict.at, "target-joined", text);
        }
        incident.last_seen = verdict.at;
        incident.verdict = verdict.clone();
        Some(incident)
    }

    /// Records that `target` has ended, in every open incident that lists it.
    pub fn target_gone(&mut self, target: &TargetId, at: UnixMs) -> Vec<IncidentId> {
        let mut touched = Vec::new();
        for incident in self.incidents.values_mut() {
            if incident.state == IncidentState::Open && incident.has_target(target) {
                let incident = Arc::make_mut(incident);
                incident.note(at, "target-gone", format!("target {target} has ended"));
                touched.push(incident.id.clone());
            }
        }
        touched
    }

    /// Resolves the open incidents that `standings` show to be over, and names them.
    pub fn resolve(&mut self, standings: &[Standing<'_>], now: UnixMs) -> Vec<IncidentId> {
        self.note_ahead(now);
        let mut resolved = Vec::new();
        for incident in self.incidents.values_mut() {
            let is_held = |standing| still_leaks(incident, standing);
            if incident.state != IncidentState::Open || standings.iter().any(is_held) {
                continue;
            }
            let since = self.ahead.get(&incident.id).copied();
            let since = since.unwrap_or(incident.opened);
            let is_successor = |s: &&Standing<'_>| is_clean_successor(incident, since, s);
            let Some(successor) = standings.iter().find(is_successor) else {
                continue;
            };
            let incident = Arc::make_mut(incident);
            incident.state = IncidentState::Resolved;
            incident.resolved = Some(now);
            let text = if *successor.revision == incident.revision {
                "a successor of the same age is judged no-leak"
            } else {
                "a new revision stays clean at the same age"
            };
            incident.note(
                now,
                "resolved",
                format!("{text} (target {})", successor.target),
            );
            resolved.push(incident.id.clone());
        }
        resolved
    }

    /// Opens the latest incident of this leak of `target` again, if it was resolved: `target` leaks
    /// although that was said to be over.
    pub fn reopen(&mut self, kind: Kind, target: &TargetId, now: UnixMs) -> Option<&mut Incident> {
        let is_it = |i: &&mut Arc<Incident>| {
            i.state == IncidentState::Resolved
                && family(i.kind) == family(kind)
                && i.has_target(target)
        };
        let resolved = self.incidents.values_mut().filter(is_it);
        let incident = Arc::make_mut(resolved.max_by_key(|i| i.resolved)?);
        incident.state = IncidentState::Open;
        incident.resolved = None;
        let text = format!("target {target} still leaks: it was resolved too early");
        incident.note(now, "reopened", text);
        Some(incident)
    }

    /// Notes which open incidents begin in the future. Who started since that was noted first is a
    /// successor of theirs: by the time at which they were opened nobody ever would be.
    fn note_ahead(&mut self, now: UnixMs) {
        let is_ahead = |i: &&Arc<Incident>| i.state == IncidentState::Open && i.opened > now;
        let ahead = self.incidents.values().filter(is_ahead);
        let ahead = ahead.map(|incident| {
            let noted = self.ahead.get(&incident.id).copied();
            (incident.id.clone(), noted.unwrap_or(now))
        });
        self.ahead = ahead.collect();
    }

    /// One incident.
    #[must_use]
    pub fn get(&self, id: &IncidentId) -> Option<&Incident> {
        self.incidents.get(id).map(|incident| &**incident)
    }

    /// One incident, to be changed.
    pub fn get_mut(&mut self, id: &IncidentId) -> Option<&mut Incident> {
        self.incidents.get_mut(id).map(Arc::make_mut)
    }

    /// The incidents, the latest first.
    pub fn latest(&self) -> impl Iterator<Item = &Arc<Incident>> {
        let mut all: Vec<&Arc<Incident>> = self.incidents.values().collect();
        all.sort_by_key(|i| {
            (
                i.state == IncidentState::Resolved,
                std::cmp::Reverse(i.opened),
            )
        });
        all.into_iter().take(INCIDENTS_SHOWN_MAX)
    }
}

/// Whether `standing` keeps `incident` open: it is a target of it and lives, or it is of its workload
/// and has a leak of its kind, whoever else is clean. A configured target keeps its id over restarts: one
/// that started later is another process, and is judged like one.
fn still_leaks(incident: &Incident, standing: &Standing<'_>) -> bool {
    if !standing.alive {
        return false;
    }
    let started = standing.started;
    let same = standing.is_process || started.is_none_or(|started| started <= incident.opened);
    let said = standing.verdict;
    let is_listed = incident.has_target(standing.target);
    if is_listed && (same || said.is_none_or(|said| said.verdict != Judgement::NoLeak)) {
        return true;
    }
    let is_it = |kind: Kind| family(kind) == family(incident.kind);
    *standing.workload == incident.workload
        && said.is_some_and(|said| {
            let mut findings = said.findings.iter();
            findings.any(|of| of.verdict == Judgement::Leak && of.kind.is_some_and(is_it))
        })
}

/// Whether `standing` shows that `incident` is over: it started after `since`, it has reached the age at
/// which the incident opened, and it is judged `no-leak`.
fn is_clean_successor(incident: &Incident, since: UnixMs, standing: &Standing<'_>) -> bool {
    let Some((started, verdict)) = standing.started.zip(standing.verdict) else {
        return false;
    };
    standing.alive
        && *standing.workload == incident.workload
        && started > since
        && standing.age.as_secs_f64() >= incident.age_s
        && verdict.verdict == Judgement::NoLeak
}

/// `20261121-shop-0123456789abcdef`: sorts by day, says whose it is, and is a safe file name.
fn incident_id(at: UnixMs, target: &model::Target, kind: Kind, culprit: &str) -> IncidentId {
    let day: String = at
        .rfc3339()
        .chars()
        .filter(char::is_ascii_digit)
        .take(8)
        .collect();
    let safe = |c: char| {
        if c.is_ascii_alphanumeric() {
            c.to_ascii_lowercase()
        } else {
            '-'
        }
    };
    let name: String = target.name.chars().map(safe).take(40).collect();
    let parts = [
        &target.workload.0,
        kind.as_str(),
        culprit,
        &at.0.to_string(),
    ];
    IncidentId(format!(
        "{day}-{name}-{}",
        model::target::fingerprint(&parts)
    ))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) const MINUTE: i64 = 60_000;

    pub(crate) fn verdict(
        target: &str,
        at_min: i64,
        started_min: i64,
        answer: Judgement,
    ) -> Verdict {
        let mut incident: Incident =
            serde_json::from_str(include_str!("../../alert/tests/data/incident.json")).unwrap();
        let verdict = &mut incident.verdict;
        verdict.at = UnixMs(at_min * MINUTE);
        verdict.verdict = answer;
        for finding in &mut verdict.findings {
            finding.verdict = answer;
        }
        verdict.target.id = TargetId(target.into());
        verdict.target.start_time = Some(UnixMs(started_min * MINUTE));
        incident.verdict
    }

    fn standing<'a>(verdict: &'a Verdict, alive: bool) -> Standing<'a> {
        Standing {
            target: &verdict.target.id,
            workload: &verdict.target.workload,
            revision: &verdict.target.revision,
            alive,
            started: verdict.target.start_time,
            age: Duration::ZERO,
            is_process: false,
            verdict: Some(verdict),
        }
    }

    /// As [`standing`], of a process of this host.
    fn process(verdict: &Verdict) -> Standing<'_> {
        Standing {
            is_process: true,
            ..standing(verdict, true)
        }
    }

    /// The same ones as old as they are at that minute.
    fn aged<'a>(standings: &[Standing<'a>], at_min: i64) -> Vec<Standing<'a>> {
        let aged = standings.iter().map(|standing| Standing {
            age: UnixMs(at_min * MINUTE).since(standing.started.unwrap_or_default()),
            ..standing.clone()
        });
        aged.collect()
    }

    #[test]
    fn an_incident_is_found_again_by_target_and_by_culprit() {
        let mut book = Book::default();
        let first = verdict("a", 10, 0, Judgement::Leak);
        let suspects = first.findings[0].suspects.clone();
        let id = book
            .open(&first, Kind::GoHeap, &culprit(&suspects))
            .id
            .clone();
        assert!(
            book.open_of_target(Kind::GoHeap, &TargetId("a".into()))
                .is_some()
        );
        assert!(
            book.open_of_target(Kind::Goroutine, &TargetId("a".into()))
                .is_none()
        );
        let shop = Workload("shop".into());
        assert!(book.open_of(&shop, Kind::GoHeap).is_some());
        assert!(
            book.open_with(&shop, Kind::GoHeap, |of| of == "main.g")
                .is_none(),
            "another culprit"
        );
        assert!(
            book.open_of(&Workload("x".into()), Kind::GoHeap).is_none(),
            "another workload"
        );
        let second = verdict("b", 12, 1, Judgement::Leak);
        let incident = book.support(&id, &second).unwrap();
        assert_eq!(incident.targets.len(), 2);
        assert_eq!(incident.timeline.last().unwrap().code, "target-joined");
    }

    #[test]
    fn two_containers_of_a_pod_have_an_incident_each_with_its_name() {
        let mut book = Book::default();
        let mut opened = |container: Option<&str>, culprit: &str| {
            let mut leak = verdict("a", 10, 0, Judgement::Leak);
            let name = container.map(|name| ("container", name));
            leak.target.labels = leak.target.labels.with(name);
            let incident = book.open(&leak, Kind::GoHeap, culprit);
            incident.container.clone()
        };
        assert_eq!(opened(Some("shop"), "main.f"), "shop");
        assert_eq!(opened(Some("proxy"), "main.g"), "proxy");
        assert_eq!(opened(None, "main.h"), "", "a process of the host");
    }

    #[test]
    fn only_a_clean_successor_of_the_same_age_resolves() {
        let mut book = Book::default();
        let leak = verdict("a", 10, 0, Judgement::Leak);
        let id = book.open(&leak, Kind::GoHeap, "").id.clone();
        let now = |min: i64| UnixMs(min * MINUTE);
        let young = verdict("b", 15, 12, Judgement::NoLeak);
        let sibling = verdict("c", 15, 1, Judgement::NoLeak);
        let leaky = verdict("d", 40, 12, Judgement::Leak);
        let same_id = verdict("a", 15, 12, Judgement::NoLeak);
        let rows = [
            (
                "the leaking target still runs",
                vec![standing(&leak, true), standing(&young, true)],
                40,
            ),
            (
                "it died, and nothing followed",
                vec![standing(&leak, false)],
                40,
            ),
            (
                "the successor is too young",
                vec![standing(&young, true)],
                15,
            ),
            (
                "a sibling that ran beside it",
                vec![standing(&sibling, true)],
                40,
            ),
            (
                "the successor leaks as well",
                vec![standing(&leaky, true)],
                40,
            ),
            ("the successor died", vec![standing(&young, false)], 40),
        ];
        for (name, standings, at) in rows {
            assert_eq!(book.resolve(&aged(&standings, at), now(at)), [], "{name}");
        }
        let successor = [standing(&young, true)];
        assert_eq!(
            book.resolve(&aged(&successor, 15), now(5_000)),
            [],
            "the clock was set ahead, which makes nobody older"
        );
        let aged_enough = aged(&successor, 22);
        assert_eq!(
            book.resolve(&aged_enough, now(22)),
            std::slice::from_ref(&id)
        );
        let mut configured = Book::default();
        let again = configured.open(&leak, Kind::GoHeap, "").id.clone();
        let restarted = [standing(&same_id, true)];
        assert_eq!(
            configured.resolve(&aged(&restarted, 22), now(22)),
            std::slice::from_ref(&again),
            "a configured target keeps its id over a restart"
        );
        assert_eq!(book.get(&id).unwrap().state, IncidentState::Resolved);
        assert_eq!(book.resolve(&aged_enough, now(23)), [], "once");
    }

    #[test]
    fn nothing_resolves_while_one_that_leaks_lives() {
        let leak = verdict("a", 10, 0, Judgement::Leak);
        let next = verdict("b", 14, 11, Judgement::Leak);
        let clean = verdict("c", 40, 12, Judgement::NoLeak);
        let unsure = verdict("b", 40, 11, Judgement::Unsure);
        let calm = verdict("b", 40, 11, Judgement::NoLeak);
        let other = verdict("d", 40, 11, Judgement::Leak);
        let unjudged = Standing {
            verdict: None,
            ..standing(&next, true)
        };
        let mut elsewhere = verdict("d", 40, 11, Judgement::Leak);
        elsewhere.target.workload = Workload("x".into());
        let mut goroutines = verdict("d", 40, 11, Judgement::Leak);
        goroutines.findings[0].kind = Some(Kind::Goroutine);
        let dead = standing(&next, false);
        let rows = [
            ("one that joined leaks", process(&next), false),
            ("it is unsure by now", process(&unsure), false),
            ("it is calm by now", process(&calm), false),
            ("it is not read any more", unjudged, false),
            ("it leaks, and was not listed", process(&other), false),
            ("it has ended", dead, true),
            ("another workload leaks", process(&elsewhere), true),
            ("a leak of another kind", process(&goroutines), true),
            (
                "a configured one that is restarted",
                standing(&calm, true),
                true,
            ),
        ];
        for (name, beside, over) in rows {
            let mut book = Book::default();
            let id = book.open(&leak, Kind::GoHeap, "").id.clone();
            book.support(&id, &next);
            let standings = [standing(&leak, false), beside, process(&clean)];
            let resolved = book.resolve(&aged(&standings, 40), UnixMs(40 * MINUTE));
            assert_eq!(!resolved.is_empty(), over, "{name}");
        }
    }

    #[test]
    fn what_was_resolved_too_early_is_opened_again() {
        let mut book = Book::default();
        let leak = verdict("a", 10, 0, Judgement::Leak);
        let clean = verdict("c", 40, 12, Judgement::NoLeak);
        let id = book.open(&leak, Kind::NativeHeap, "").id.clone();
        let (a, now) = (TargetId("a".into()), UnixMs(40 * MINUTE));
        assert!(book.reopen(Kind::Native, &a, now).is_none(), "it is open");
        let resolved = book.resolve(&aged(&[process(&clean)], 40), now);
        assert_eq!(resolved, std::slice::from_ref(&id));
        assert!(book.reopen(Kind::Goroutine, &a, now).is_none());
        assert!(book.reopen(Kind::Native, &clean.target.id, now).is_none());
        let again = book.reopen(Kind::Native, &a, now).unwrap();
        assert_eq!((&again.id, again.state), (&id, IncidentState::Open));
        assert_eq!(again.resolved, None);
        assert_eq!(again.timeline.last().unwrap().code, "reopened");
        assert!(book.open_of_target(Kind::Native, &a).is_some());
    }

    #[test]
    fn one_that_was_opened_while_the_clock_was_ahead_is_resolved_by_who_starts_later() {
        let mut book = Book::default();
        let mut leak = verdict("a", 100_000, 99_990, Judgement::Leak);
        let id = book.open(&leak, Kind::GoHeap, "").id.clone();
        // The clock is right again, and so is what is known of its start.
        leak.target.start_time = Some(UnixMs(0));
        let at = |minute: i64, standings: &[Standing<'_>], book: &mut Book| {
            book.resolve(&aged(standings, minute), UnixMs(minute * MINUTE))
        };
        let sibling = verdict("b", 20, 1, Judgement::NoLeak);
        let beside = [standing(&leak, true), process(&sibling)];
        assert_eq!(at(20, &beside, &mut book), [], "it still runs");
        let beside = [standing(&leak, false), process(&sibling)];
        assert_eq!(at(21, &beside, &mut book), [], "one that ran beside it");
        let successor = verdict("c", 40, 22, Judgement::NoLeak);
        assert_eq!(at(25, &[process(&successor)], &mut book), [], "too young");
        assert_eq!(at(40, &[process(&successor)], &mut book), [id]);
    }

    #[test]
    fn an_id_is_a_safe_file_name() {
        let mut leak = verdict("a", 0, 0, Judgement::Leak);
        leak.target.name = "../../etc/Shop v2".into();
        let id = Book::default().open(&leak, Kind::GoHeap, "").id.clone();
        assert!(id.0.starts_with("19700101-------etc-shop-v2-"), "{id}");
        assert!(id.0.chars().all(|c| c.is_ascii_alphanumeric() || c == '-'));
    }
}
