//! Who holds what leaks, memory, goroutines or descriptors: one look when a leak is first found, one when it is confirmed. The pair
//! shows who grows; a look alone shows only who is big.
//!
//! No verdict and no alert waits for a look: what it says joins the incident when it is there.

use std::time::Duration;

use collect::Source;
use locate::{Interpretation, Request};
use model::{
    EvidenceFile, EvidenceKind, Incident, IncidentId, IncidentState, Judgement, Kind, ProcessKey,
    RefusedCapture, Suspect, SuspectWhat, TargetId, UnixMs, Verdict,
};
use reader::{Found, HoldersBudget, HoldersFailure, HoldersLook, LookAt, ReaderError};

use crate::book::{TARGETS_CAPTURED_MAX, culprit, targets_captured};
use crate::evidence::Subject;
use crate::main_loop::{Event, MainLoop, save};
use crate::rails::{self, End, Turn};

/// Between the two looks lies at least so long: less shows noise.
const APART: Duration = Duration::from_secs(20);
/// After another target's look was in the way.
const BUSY: Duration = Duration::from_secs(5);
/// Between two questions whether a look is over.
const ASK_EVERY: Duration = Duration::from_millis(200);
/// The reader ends a look at its time; one that it could not end is given up so much later.
const PATIENCE: Duration = Duration::from_secs(5);
const NAMES: [&str; 2] = ["holders-1.json", "holders-2.json"];

/// What the main loop keeps of one target's looks: at most two reports, each under a MiB.
#[derive(Debug, Default)]
pub(crate) struct Looks {
    taken: Vec<HoldersLook>,
    /// Another leak has come since the pair was taken: the next look begins another one. Until then this one stands.
    is_stale: bool,
    /// When the first was taken, by the monotonic clock.
    first_at: Duration,
    under_way: bool,
    not_before: Duration,
    /// The leaks that there were when they were taken.
    of: Vec<Kind>,
    /// Why the last one was not to be had, and in words.
    refusal: Option<(model::Refusal, String)>,
}

impl Looks {
    /// Says which kinds leak now. When a new one has come since the pair was taken, that pair tells
    /// of the time before it: another one is due.
    fn begin(&mut self, leaks: &[Kind]) {
        if leaks.iter().all(|kind| self.of.contains(kind)) || self.under_way {
            return;
        }
        if self.taken.len() > 1 {
            self.is_stale = true;
            self.of.clear();
        }
        let new = leaks.iter().filter(|kind| !self.of.contains(kind));
        let new: Vec<Kind> = new.copied().collect();
        self.of.extend(new);
    }

    /// Whether a look is due. The first is as soon as a leak is found, the second once there is
    /// an incident to put it into.
    fn is_due(&self, now: Duration, has_incident: bool) -> bool {
        let due = match self.taken.len() {
            _ if self.is_stale => true,
            0 => true,
            1 => has_incident && now >= self.first_at + APART,
            _ => false,
        };
        due && !self.under_way && now >= self.not_before
    }

    /// Whether the next look is the first or the second of its pair.
    fn turn(&self) -> Turn {
        match self.is_stale || self.taken.is_empty() {
            true => Turn::First,
            false => Turn::Second,
        }
    }

    /// The rails do not allow it now.
    fn put_off(&mut self, now: Duration, refusal: &model::Refusal) {
        let wait = match refusal {
            model::Refusal::TooSoon { wait_s } => Duration::from_secs(*wait_s),
            _ => BUSY,
        };
        self.not_before = now + wait;
        let text = rails::in_words(EvidenceKind::Holders, refusal);
        self.refusal = Some((refusal.clone(), text));
    }

    fn take_in(&mut self, now: Duration, said: Result<HoldersLook, Refusal>, retry: Duration) {
        self.under_way = false;
        match said {
            Ok(look) => {
                if std::mem::take(&mut self.is_stale) {
                    self.taken.clear();
                }
                if self.taken.is_empty() {
                    self.first_at = now;
                }
                self.refusal = None;
                self.taken.push(look);
            }
            Err(Refusal { passing: true, .. }) => self.not_before = now + BUSY,
            Err(refusal) => {
                self.not_before = now + retry;
                let text = refusal.text();
                let why = refusal.reason;
                self.refusal = Some((model::Refusal::Failed { why }, text));
            }
        }
    }

    /// The first look and the latest, as `locate` reads them.
    fn pair(&self) -> (Option<locate::HoldersLook>, Option<locate::HoldersLook>) {
        let read = |look: &HoldersLook| read(look.clone());
        (self.taken.first().map(read), self.taken.get(1).map(read))
    }

    /// The looks as files of an incident.
    pub(crate) fn files(&self, target: &TargetId) -> Vec<EvidenceFile> {
        let named = self.taken.iter().zip(NAMES);
        named
            .filter_map(|(look, name)| file(target, look, name))
            .collect()
    }

    /// Joins what the looks show to the suspects of a finding of `kind`.
    pub(crate) fn join(&self, kind: Kind, found: &mut Interpretation) {
        let (first, last) = self.pair();
        locate::join(kind, found, first.as_ref(), last.as_ref());
    }

    /// Says in an incident which looks were taken of `target` so far, and why the last was refused if it was.
    pub(crate) fn note(&self, incident: &mut Incident, target: &TargetId, at: UnixMs) {
        for (nth, look) in (1..).zip(&self.taken) {
            note_once(incident, at, "holders", line(nth, look));
        }
        if let Some((refusal, text)) = self.refusal.clone() {
            let refused = RefusedCapture {
                capture: EvidenceKind::Holders,
                target: target.clone(),
                refusal,
            };
            incident.note_refused(at, refused, text);
        }
    }
}

/// Why a look was not had.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Refusal {
    /// It may be had in a moment: nothing to tell anybody.
    passing: bool,
    pub(crate) reason: String,
}

impl Refusal {
    fn new(reason: &str) -> Self {
        Self {
            passing: false,
            reason: reason.to_owned(),
        }
    }

    pub(crate) fn is_passing(&self) -> bool {
        self.passing
    }

    /// As the incident tells it.
    pub(crate) fn text(&self) -> String {
        format!("who holds the heap: {}", self.reason)
    }

    pub(crate) fn cut_off() -> Self {
        Self::new("the look was cut off")
    }

    fn of(failure: &HoldersFailure) -> Self {
        let hint = failure.hint();
        let hint = hint.map_or_else(String::new, |hint| format!("; {hint}"));
        Self {
            passing: failure.is_passing(),
            ..Self::new(&format!("{failure}{hint}"))
        }
    }
}

/// Takes one look at who holds the heap through the reader. It may take as long as the budget allows.
pub(crate) async fn look(
    source: &Source,
    process: ProcessKey,
    budget: HoldersBudget,
) -> Result<HoldersLook, Refusal> {
    match looked(source, process, LookAt::Holders, budget).await? {
        Found::Holders(look) => Ok(*look),
        Found::Goroutines(_) => Err(Refusal::new("the reader looked at something else")),
    }
}

/// Takes one look of any sort.
pub(crate) async fn looked(
    source: &Source,
    process: ProcessKey,
    at: LookAt,
    budget: HoldersBudget,
) -> Result<Found, Refusal> {
    let reader = source.reader.clone();
    let start = move || reader.start_look(&process, at, &budget);
    let look = asked(start)
        .await?
        .map_err(|failure| Refusal::of(&failure))?;
    let deadline = source.clock.monotonic() + budget.time + PATIENCE;
    // Asked again and again, not waited for: the end of the watcher waits for nobody's budget.
    while source.clock.monotonic() < deadline {
        tokio::time::sleep(ASK_EVERY).await;
        let reader = source.reader.clone();
        if let Some(said) = asked(move || reader.poll_look(look)).await? {
            return said.map_err(|failure| Refusal::of(&failure));
        }
    }
    Err(Refusal::of(&HoldersFailure::hangs()))
}

/// One call to the reader, on a blocking thread.
async fn asked<T: Send + 'static>(
    ask: impl FnOnce() -> Result<T, ReaderError> + Send + 'static,
) -> Result<T, Refusal> {
    match tokio::task::spawn_blocking(ask).await {
        Ok(answer) => answer.map_err(|error| Refusal::new(&error.to_string())),
        Err(_) => Err(Refusal::cut_off()),
    }
}

/// A look as `locate` reads it.
pub(crate) fn read(look: HoldersLook) -> locate::HoldersLook {
    locate::HoldersLook {
        at: look.at,
        report: look.report,
    }
}

fn file(target: &TargetId, look: &HoldersLook, name: &str) -> Option<EvidenceFile> {
    Some(EvidenceFile {
        kind: EvidenceKind::Holders,
        target: target.clone(),
        at: look.at,
        name: name.to_owned(),
        bytes: serde_json::to_vec_pretty(look).ok()?,
    })
}

fn line(nth: usize, look: &HoldersLook) -> String {
    format!("look {nth} at who holds the heap: {}", look.cost)
}

/// The culprit's name; none while the suspects are ranked by size, which names the biggest and not
/// the one that leaks.
pub(crate) fn culprit_of(suspects: &[Suspect]) -> String {
    let by_size = |suspect: &Suspect| {
        if suspect.what == SuspectWhat::Fd {
            return suspect.growth_share.is_none();
        }
        let holder = suspect.holder.as_ref();
        suspect.stack.is_empty() && holder.is_some_and(|h| h.growth_bytes_per_s.is_none())
    };
    match suspects.first() {
        Some(first) if by_size(first) => String::new(),
        _ => culprit(suspects),
    }
}

impl MainLoop {
    /// Takes the look that is due for a leak that `verdict` has found, if its memory can be read.
    pub(crate) fn look_at_holders(&mut self, id: &TargetId, verdict: &Verdict) {
        let Some(budget) = self.config.inspect.budget() else {
            return;
        };
        let now = self.clock().monotonic();
        let has_incident = self.incidents_to_join(id).next().is_some();
        let Some(tracked) = self.targets.get_mut(id).filter(|t| !t.is_gone()) else {
            return;
        };
        let subject = Subject::new(&tracked.view.target, tracked.endpoint.clone());
        let abilities = subject.abilities(false);
        let wanted = verdict.findings.iter().filter(|finding| {
            finding.verdict == Judgement::Leak
                && locate::plan(finding, abilities).contains(&Request::Holders)
        });
        let leaks: Vec<Kind> = wanted.filter_map(|finding| finding.kind).collect();
        let open = self.book.latest().filter(|incident| {
            incident.state == IncidentState::Open && incident.workload == verdict.target.workload
        });
        let open: Vec<&Incident> = open.map(|incident| &**incident).collect();
        let Some(process) = subject.process.filter(|_| !are_known(&open, id, &leaks)) else {
            return;
        };
        tracked.looks.begin(&leaks);
        // What is taken of the same target is no refusal: the next judgement asks again.
        if !tracked.looks.is_due(now, has_incident) || self.rails.is_busy_with(id) {
            return;
        }
        let (whose, standing, turn) = (tracked.whose(), tracked.standing(), tracked.looks.turn());
        let settings = &self.config.evidence;
        let may = match self.own.keeper.refusal() {
            Some(refusal) => Err(refusal),
            None => self
                .rails
                .begin(Request::Holders, turn, whose, &standing, settings, now),
        };
        if let Err(refusal) = may {
            tracked.looks.put_off(now, &refusal);
            return self.join_looks(id);
        }
        tracked.looks.under_way = true;
        let (source, events, id) = (self.source().clone(), self.events.clone(), id.clone());
        tokio::spawn(async move {
            let said = look(&source, process, budget).await;
            // An error means that the watcher is ending.
            let _ = events.send(Event::Holders(id, Box::new(said))).await;
        });
    }

    /// Open incidents of the target that have evidence of it: its own, not a replica's.
    fn incidents_to_join<'a>(&'a self, id: &'a TargetId) -> impl Iterator<Item = &'a IncidentId> {
        let joins = |incident: &Incident| {
            incident.state == IncidentState::Open
                && incident.kind.has_holders()
                && incident.has_target(id)
                && incident.evidence.iter().any(|e| e.target == *id)
        };
        let all = self.book.latest().filter(move |i| joins(i));
        all.map(|incident| &incident.id)
    }

    /// A look is there, or was refused.
    pub(crate) fn holders_seen(&mut self, id: &TargetId, said: Result<HoldersLook, Refusal>) {
        let now = self.clock().monotonic();
        let end = match &said {
            Err(refusal) if refusal.is_passing() => End::NotBegun,
            _ => End::Had,
        };
        self.rails.end(id, Request::Holders, end);
        let retry = self.rails.wait(id, Request::Holders, now);
        let retry = retry.max(self.config.evidence.capture_interval);
        let Some(tracked) = self.targets.get_mut(id) else {
            return;
        };
        tracked.looks.take_in(now, said, retry);
        self.join_looks(id);
        self.take_owed(id);
    }

    /// Puts what was seen of a target into its incidents, as far as it is not there yet.
    pub(crate) fn join_looks(&mut self, id: &TargetId) {
        let at = self.clock().now();
        self.name_by_looks(id);
        let incidents: Vec<IncidentId> = self.incidents_to_join(id).cloned().collect();
        let Some(tracked) = self.targets.get(id) else {
            return;
        };
        let (looks, mut to_store) = (&tracked.looks, Vec::new());
        for incident_id in incidents {
            let Some(incident) = self.book.get_mut(&incident_id).filter(|i| !has_pair(i)) else {
                continue;
            };
            looks.note(incident, id, at);
            if incident.verdict.target.id == *id {
                held(incident, looks);
            }
            let files = missing(incident, looks.files(id));
            save(&self.book, &self.writer, &incident_id);
            if !files.is_empty() {
                to_store.push((incident_id, files));
            }
        }
        for (incident, files) in to_store {
            self.store_evidence(incident, files);
        }
        self.touch();
    }
}

/// Whether nothing is left to look for: there are no `leaks` of target `id`, or the `open` incidents
/// of its workload have a pair of looks for each: this target's, or another replica's.
fn are_known(open: &[&Incident], id: &TargetId, leaks: &[Kind]) -> bool {
    leaks.iter().all(|kind| {
        let mut of_leak = open.iter().filter(|incident| incident.kind == *kind);
        of_leak.any(|incident| {
            let is_joined = incident.has_target(id);
            has_pair(incident) && (is_joined || targets_captured(incident) >= TARGETS_CAPTURED_MAX)
        })
    })
}

/// Whether the incident has two looks of one target, which tell what there is to tell.
fn has_pair(incident: &Incident) -> bool {
    incident.evidence_of_one(NAMES).is_some()
}

/// Those of the files of a target that are not in the incident yet: what is there stays.
fn missing(incident: &Incident, mut files: Vec<EvidenceFile>) -> Vec<EvidenceFile> {
    files.retain(|file| {
        let name = incident.evidence_name(&file.target, &file.name);
        !incident.evidence.iter().any(|have| have.name == name)
    });
    files
}

/// Tells the suspects of an incident who holds what they allocated.
fn held(incident: &mut Incident, looks: &Looks) {
    let kind = incident.kind;
    let mut findings = incident.verdict.findings.iter_mut();
    let Some(finding) = findings.find(|finding| finding.kind == Some(kind)) else {
        return;
    };
    let mut found = Interpretation {
        suspects: std::mem::take(&mut finding.suspects),
        kind: None,
        advice: std::mem::take(&mut finding.advice),
    };
    looks.join(kind, &mut found);
    finding.suspects = found.suspects;
    finding.advice = found.advice;
    incident.verdict.collect_suspects();
}

/// The same is told once in an incident's life.
pub(crate) fn note_once(incident: &mut Incident, at: UnixMs, code: &str, text: String) {
    let told = incident
        .timeline
        .iter()
        .any(|event| event.code == code && event.text == text);
    if !told {
        incident.note(at, code, text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn a_look(at_s: i64) -> HoldersLook {
        let json = serde_json::json!({
            "at": at_s * 1000,
            "cost": {"time_ms": 420, "cpu_ms": 310, "copied_bytes": 38 << 20, "memory_bytes": 120 << 20},
            "report": {
                "go_version": "go1.27.3", "layout": "table",
                "heap": {"spans": 0, "span_bytes": 0, "scannable_bytes": 0, "objects": 0, "object_bytes": 0},
                "reached_bytes": 0, "reached_objects": 0, "approximate": true, "blurred": 0,
                "holders": [], "left_out": {"holders": 0, "bytes": 0}, "cost": {"calls": 0, "bytes": 0},
            },
        });
        serde_json::from_value(json).unwrap()
    }

    /// What an incident says of them.
    fn told(looks: &Looks) -> Vec<String> {
        let mut incident: Incident =
            serde_json::from_str(include_str!("../../alert/tests/data/incident.json")).unwrap();
        looks.note(&mut incident, &TargetId("t".into()), UnixMs(0));
        looks.note(&mut incident, &TargetId("t".into()), UnixMs(1));
        let events = incident.timeline.iter();
        events
            .map(|event| match &event.refused {
                Some(refused) => format!("{}: {}", refused.capture.as_str(), event.text),
                None => format!("{}: {}", event.code, event.text),
            })
            .collect()
    }

    fn refused(failure: &HoldersFailure) -> Result<HoldersLook, Refusal> {
        Err(Refusal::of(failure))
    }

    const S: fn(u64) -> Duration = Duration::from_secs;

    #[test]
    fn the_first_look_comes_at_once_and_the_second_later_with_an_incident() {
        let mut looks = Looks::default();
        assert!(looks.is_due(S(0), false));
        looks.under_way = true;
        assert!(!looks.is_due(S(1), true), "one at a time");
        looks.take_in(S(2), Ok(a_look(2)), S(600));
        let rows = [
            ("too near", 21, true, false),
            ("no incident", 90, false, false),
            ("both", 22, true, true),
        ];
        for (name, at, incident, due) in rows {
            assert_eq!(looks.is_due(S(at), incident), due, "{name}");
        }
        looks.take_in(S(30), Ok(a_look(30)), S(600));
        assert!(!looks.is_due(S(9_999), true), "two are enough");
        let target = TargetId("t".into());
        let files = looks.files(&target);
        let names: Vec<&str> = files.iter().map(|file| file.name.as_str()).collect();
        assert_eq!(names, NAMES);
        assert_eq!(
            told(&looks)[1],
            "holders: look 2 at who holds the heap: 0.42 s, 0.31 s of CPU, 38 MiB copied, 120 MiB of memory"
        );
    }

    #[test]
    fn another_kind_of_leak_later_has_looks_of_its_own() {
        let mut looks = Looks::default();
        looks.begin(&[Kind::GoHeap]);
        looks.take_in(S(2), Ok(a_look(2)), S(600));
        looks.begin(&[Kind::GoHeap, Kind::Goroutine]);
        assert_eq!(looks.taken.len(), 1, "it came in time for the second look");
        looks.take_in(S(30), Ok(a_look(30)), S(600));
        looks.begin(&[Kind::Goroutine]);
        assert!(!looks.is_due(S(900), true), "the pair has seen it");

        let mut looks = Looks::default();
        looks.begin(&[Kind::GoHeap]);
        looks.take_in(S(2), Ok(a_look(2)), S(600));
        looks.take_in(S(30), Ok(a_look(30)), S(600));
        assert_eq!(looks.turn(), Turn::Second);
        looks.begin(&[Kind::GoHeap, Kind::Goroutine]);
        assert!(looks.is_due(S(900), false), "the pair is from before it");
        assert_eq!(looks.turn(), Turn::First);
        assert_eq!(looks.taken.len(), 2, "it stands until there is another");
        looks.take_in(S(901), Ok(a_look(901)), S(600));
        assert_eq!((looks.taken.len(), looks.turn()), (1, Turn::Second));
        assert!(!looks.is_due(S(902), true));
    }

    fn reference(file: &EvidenceFile, name: String) -> model::EvidenceRef {
        model::EvidenceRef {
            kind: file.kind,
            target: file.target.clone(),
            at: file.at,
            name,
            bytes: 1,
            crc32: 0,
        }
    }

    #[test]
    fn looks_of_one_target_do_not_take_the_place_of_anothers() {
        let mut incident: Incident =
            serde_json::from_str(include_str!("../../alert/tests/data/incident.json")).unwrap();
        incident.evidence.clear();
        incident.targets = ["a", "b"].map(|id| TargetId(id.into())).to_vec();
        let mut looks = Looks::default();
        looks.take_in(S(2), Ok(a_look(2)), S(600));
        for (target, names) in [
            ("a", ["holders-1.json", "holders-2.json"]),
            ("b", ["target-2-holders-1.json", "target-2-holders-2.json"]),
        ] {
            let id = TargetId(target.into());
            for name in names {
                let files = missing(&incident, looks.files(&id));
                let [file] = &files[..] else {
                    panic!("{target}: {files:?}");
                };
                assert_eq!(incident.evidence_name(&id, &file.name), name);
                incident.evidence.push(reference(file, name.to_owned()));
                looks.take_in(S(30), Ok(a_look(30)), S(600));
            }
            assert!(has_pair(&incident));
            looks.taken.truncate(1);
        }
        assert_eq!(incident.evidence.len(), 4);
        let rows = [
            ("a target of the incident", "b", Kind::GoHeap, true),
            ("another kind", "a", Kind::Goroutine, false),
            ("another target", "c", Kind::GoHeap, false),
        ];
        for (name, target, kind, known) in rows {
            let id = TargetId(target.into());
            assert_eq!(are_known(&[&incident], &id, &[kind]), known, "{name}");
        }
    }

    #[test]
    fn what_is_refused_is_told_and_not_asked_for_soon() {
        let mut looks = Looks::default();
        looks.take_in(S(10), refused(&HoldersFailure::Busy), S(600));
        assert!(!looks.is_due(S(12), false) && looks.is_due(S(15), false));
        assert!(told(&looks).is_empty(), "another's look is nothing to tell");
        let over = HoldersFailure::OverBudget {
            part: reader::BudgetPart::Cpu,
            allowed: "20 s".into(),
        };
        looks.take_in(S(20), refused(&over), S(600));
        assert!(!looks.is_due(S(619), false) && looks.is_due(S(620), false));
        let want = "holders: who holds the heap: it needs more processor time than the 20 s that it may take; \
                    raise inspect.budget.cpu";
        assert_eq!(told(&looks), [want]);
        looks.take_in(S(700), Ok(a_look(700)), S(600));
        let [look] = &told(&looks)[..] else {
            panic!("a look takes the refusal back");
        };
        assert!(look.starts_with("holders: look 1"), "{look}");
    }

    #[test]
    fn what_the_rails_refuse_is_told_and_asked_for_again_when_they_say() {
        let mut looks = Looks::default();
        let of = "depot".to_owned();
        looks.put_off(S(10), &model::Refusal::Busy { of });
        assert!(!looks.is_due(S(14), false) && looks.is_due(S(15), false));
        let want = "holders: who holds the heap: put off: such a capture of depot is under way, and there is one at \
                    a time on a host and of a workload";
        assert_eq!(told(&looks), [want]);
        looks.put_off(S(20), &model::Refusal::TooSoon { wait_s: 90 });
        assert!(!looks.is_due(S(109), false) && looks.is_due(S(110), false));
        assert!(told(&looks)[0].contains("put off for 90 s"));
        looks.take_in(S(120), Ok(a_look(120)), S(600));
        let [look] = &told(&looks)[..] else {
            panic!("a look takes it back");
        };
        assert!(look.starts_with("holders: look 1"), "{look}");
    }

    #[test]
    fn the_biggest_is_no_culprit() {
        let incident: Incident =
            serde_json::from_str(include_str!("../../alert/tests/data/incident.json")).unwrap();
        let mut suspects = incident.verdict.findings[0].suspects.clone();
        suspects[0].stack.clear();
        let name = suspects[0].function.clone();
        assert_eq!(culprit_of(&suspects), name, "of a profile");
        let holder = |growth| model::Holder {
            name: "main.sessions".into(),
            kind: model::HolderKind::Global,
            path: String::new(),
            ty: String::new(),
            bytes: 1,
            bytes_before: None,
            growth_bytes_per_s: growth,
            allocated_in: None,
            used_by: Vec::new(),
        };
        suspects[0].holder = Some(holder(None));
        assert_eq!(culprit_of(&suspects), "");
        suspects[0].holder = Some(holder(Some(1.0)));
        assert_eq!(culprit_of(&suspects), name);
        suspects[0].what = SuspectWhat::Fd;
        suspects[0].growth_share = None;
        assert_eq!(culprit_of(&suspects), "", "by number");
        suspects[0].growth_share = Some(0.9);
        assert_eq!(culprit_of(&suspects), name);
    }
}
