//! Deploys, restarts and ends of a workload's targets, told from which targets come and go.

use std::collections::{BTreeMap, BTreeSet};

use model::{
    Batch, Incident, IncidentState, Mark, MarkKind, Revision, Target, TargetId, UnixMs, Workload,
};

use crate::main_loop::{MainLoop, save};

/// Revisions of a workload that are known as old ones.
const REVISIONS_MAX: usize = 16;
/// Workloads that are remembered; beyond it, those without a running target go.
const WORKLOADS_MAX: usize = 4_000;
/// Marks of one sort nearer to each other are one on an incident's timeline: a rollout of a hundred
/// replicas is no hundred events.
const NEAR_S: u64 = 60;

/// What is known of each workload's targets.
#[derive(Debug, Default)]
pub(crate) struct Marks {
    workloads: BTreeMap<Workload, Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    revisions: Vec<Revision>,
    /// Running targets, with when each was started.
    running: BTreeMap<TargetId, Option<UnixMs>>,
    /// Targets that have ended and whose place nobody has taken.
    vacant: usize,
}

impl Seen {
    /// Whether `revision` is new; it is not from now on.
    fn is_new(&mut self, revision: &Revision) -> bool {
        if revision.0.is_empty() || self.revisions.contains(revision) {
            return false;
        }
        if self.revisions.len() >= REVISIONS_MAX {
            self.revisions.remove(0);
        }
        self.revisions.push(revision.clone());
        self.revisions.len() > 1
    }
}

impl Marks {
    /// What open incidents tell of their workloads: a deploy while nobody watched is one.
    pub(crate) fn of<'a>(incidents: impl Iterator<Item = &'a Incident>) -> Self {
        let mut marks = Self::default();
        for incident in incidents.filter(|i| i.state == IncidentState::Open) {
            let seen = marks.workloads.entry(incident.workload.clone());
            let seen = seen.or_default();
            seen.is_new(&incident.revision);
            seen.is_new(&incident.verdict.target.revision);
        }
        marks
    }

    /// `target` runs: a mark where that is news of its workload. The first target that is ever seen
    /// of one is none, nor is another replica.
    pub(crate) fn started(&mut self, target: &Target, now: UnixMs) -> Option<Mark> {
        if self.workloads.len() >= WORKLOADS_MAX {
            self.workloads.retain(|_, seen| !seen.running.is_empty());
        }
        let seen = self.workloads.entry(target.workload.clone()).or_default();
        let before = seen.running.get(&target.id).copied();
        let was = before.flatten();
        // A configured target's start is not known until it has been read again, as after a reload of ours.
        let start = target.start_time.or(was);
        seen.running.insert(target.id.clone(), start);
        let again = was.is_some() && was != start;
        let kind = if seen.is_new(&target.revision) {
            seen.vacant = seen.vacant.saturating_sub(1);
            MarkKind::Deploy
        } else if again {
            MarkKind::Restart
        } else if before.is_none() && seen.vacant > 0 {
            seen.vacant -= 1;
            MarkKind::Restart
        } else {
            return None;
        };
        let revision = match kind {
            MarkKind::Deploy => target.revision.clone(),
            _ => Revision::default(),
        };
        Some(Mark {
            at: target.start_time.unwrap_or(now),
            kind,
            workload: target.workload.clone(),
            revision,
        })
    }

    /// `target` has ended.
    pub(crate) fn ended(&mut self, target: &Target, at: UnixMs) -> Option<Mark> {
        let seen = self.workloads.get_mut(&target.workload)?;
        seen.running.remove(&target.id)?;
        seen.vacant += 1;
        Some(simple(target, MarkKind::Exit, at))
    }
}

fn simple(target: &Target, kind: MarkKind, at: UnixMs) -> Mark {
    Mark {
        at,
        kind,
        workload: target.workload.clone(),
        revision: Revision::default(),
    }
}

impl MainLoop {
    /// Marks that `target` runs.
    pub(crate) fn mark_started(&mut self, target: &Target) {
        let now = self.clock().now();
        if let Some(mark) = self.marks.started(target, now) {
            self.mark(&mark);
        }
    }

    /// Marks that a target has ended, and says so in its incidents.
    pub(crate) fn mark_ended(&mut self, id: &TargetId, at: UnixMs) {
        for incident in self.book.target_gone(id, at) {
            save(&self.book, &self.writer, &incident);
        }
        let target = self.targets.get(id).map(|tracked| &tracked.view.target);
        if let Some(mark) = target.and_then(|target| self.marks.ended(target, at)) {
            self.mark(&mark);
        }
    }

    /// Marks that a target was killed for lack of memory; its incidents say so by themselves.
    pub(crate) fn mark_killed(&mut self, target: &Target, at: UnixMs) {
        self.writer.append(Batch {
            samples: vec![simple(target, MarkKind::Oom, at).sample()],
        });
    }

    /// Marks that the kernel has killed something in a target's container, which itself goes on.
    pub(crate) fn mark_oom(&mut self, id: &TargetId, at: UnixMs) {
        if let Some(tracked) = self.targets.get(id) {
            let mark = simple(&tracked.view.target, MarkKind::Oom, at);
            self.mark(&mark);
        }
    }

    /// Stores a mark, and puts it on the timelines of the workload's open incidents.
    fn mark(&mut self, mark: &Mark) {
        self.writer.append(Batch {
            samples: vec![mark.sample()],
        });
        // Ends are there already, each with its target.
        let text = match mark.kind {
            MarkKind::Exit => return,
            MarkKind::Deploy => format!("revision {} was deployed", mark.revision.0),
            MarkKind::Restart => "a target was started in the place of one that had ended".into(),
            MarkKind::Oom => {
                "something in a target's container was killed for lack of memory".into()
            }
        };
        let is_it = |incident: &&Incident| {
            incident.state == IncidentState::Open
                && incident.workload == mark.workload
                && is_apart(incident, mark)
        };
        let touched: BTreeSet<_> = self
            .book
            .latest()
            .map(|incident| &**incident)
            .filter(is_it)
            .map(|incident| incident.id.clone())
            .collect();
        for id in touched {
            if let Some(incident) = self.book.get_mut(&id) {
                incident.note(mark.at, mark.kind.as_str(), text.clone());
            }
            save(&self.book, &self.writer, &id);
        }
    }
}

/// Whether the timeline has no such mark near this one.
fn is_apart(incident: &Incident, mark: &Mark) -> bool {
    let mut same = incident.timeline.iter().rev();
    let last = same.find(|event| event.code == mark.kind.as_str());
    mark.kind == MarkKind::Deploy
        || last.is_none_or(|last| mark.at.0.abs_diff(last.at.0) >= NEAR_S * 1_000)
}

#[cfg(test)]
mod tests {
    use model::Judgement;

    use super::*;
    use crate::book::tests::verdict;

    /// Started then: as a configured target before it is read.
    const UNKNOWN: i64 = -1;

    fn target(id: &str, start_min: i64, revision: &str) -> Target {
        let mut target = verdict(id, 0, start_min, Judgement::NoLeak).target;
        target.revision = Revision(revision.into());
        target
    }

    #[test]
    fn deploys_and_restarts_are_told_from_replicas() {
        let mut marks = Marks::default();
        let now = UnixMs(0);
        let mut start = |id: &str, start_min: i64, revision: &str| {
            let mut target = target(id, start_min, revision);
            if start_min == UNKNOWN {
                target.start_time = None;
            }
            let mark = marks.started(&target, now);
            mark.map(|mark| (mark.kind, mark.at.0 / 60_000, mark.revision.0))
        };
        assert_eq!(start("a", 1, "one"), None, "the first that is seen");
        assert_eq!(start("b", 2, "one"), None, "a replica");
        let deploy = Some((MarkKind::Deploy, 3, "two".to_owned()));
        assert_eq!(start("c", 3, "two"), deploy);
        assert_eq!(start("d", 4, "two"), None, "the rest of the rollout");
        assert_eq!(start("e", 5, "one"), None, "the old one, scaled up");
        assert_eq!(start("a", 1, "one"), None, "a reload of ours");
        assert_eq!(
            start("a", UNKNOWN, "one"),
            None,
            "as a configured target begins"
        );
        assert_eq!(start("a", 1, "one"), None, "the same, once it was read");
        let restart = Some((MarkKind::Restart, 9, String::new()));
        assert_eq!(start("a", 9, "one"), restart, "a configured target");
        assert_eq!(start("f", 9, ""), None, "no revision is known");
        let end = marks.ended(&target("b", 2, "one"), now).unwrap();
        assert_eq!(end.kind, MarkKind::Exit);
        assert_eq!(marks.ended(&target("b", 2, "one"), now), None, "once");
        let mut start = |id: &str| marks.started(&target(id, 9, "one"), now);
        assert_eq!(start("g").map(|mark| mark.kind), Some(MarkKind::Restart));
        assert_eq!(start("h"), None, "one end, one restart");
    }

    #[test]
    fn a_deploy_while_nobody_watched_is_one_of_an_open_incident() {
        let mut book = crate::book::Book::default();
        let mut leak = verdict("a", 10, 0, Judgement::Leak);
        leak.target.revision = Revision("one".into());
        book.open(&leak, model::Kind::GoHeap, "");
        let mut marks = Marks::of(book.latest().map(|incident| &**incident));
        let old = marks.started(&target("b", 11, "one"), UnixMs(0));
        assert_eq!(old, None);
        let new = marks.started(&target("c", 12, "two"), UnixMs(0));
        assert_eq!(new.map(|mark| mark.kind), Some(MarkKind::Deploy));
    }

    #[test]
    fn a_mark_is_a_sample() {
        let mark = Mark {
            at: UnixMs(7),
            kind: MarkKind::Deploy,
            workload: Workload("shop".into()),
            revision: Revision("two".into()),
        };
        let (labels, sample) = mark.sample();
        assert_eq!(labels.name(), "unswept_mark");
        assert_eq!(labels.get("mark"), Some("deploy"));
        assert_eq!(labels.get("revision"), Some("two"));
        assert_eq!((sample.t, sample.v), (UnixMs(7), 1.0));
    }
}
