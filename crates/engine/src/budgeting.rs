//! The main loop's part of the budget: it measures, tells drivers their pace, and shows what is left for
//! later.

use std::time::Duration;

use model::fleet::{OwnCost, OwnProcess, Shed};
use model::{EvidenceKind, EvidenceRef, Incident, Judgement, Refusal, RefusedCapture, TargetId};

use crate::budget::{Allowed, Keeper, Measure, Step, usage};
use crate::main_loop::MainLoop;
use crate::tracked::Tracked;

/// Between two measures at most.
const EVERY: Duration = Duration::from_secs(10);
/// Measures in a window.
const MEASURES: u32 = 30;
/// A target that uses so much of its limit is not calm, whatever is judged of it.
const NEAR_LIMIT: f64 = 0.7;

/// What is known of our own cost.
#[derive(Debug, Default)]
pub(crate) struct Own {
    pub(crate) keeper: Keeper,
    processes: Vec<OwnProcess>,
    due: Duration,
}

impl MainLoop {
    /// Measures what we use, where that is due, and goes by it.
    pub(crate) fn keep_budget(&mut self) {
        let now = self.clock().monotonic();
        if now < self.own.due {
            return;
        }
        let budget = &self.config.budget;
        self.own.due = now + EVERY.min(budget.window / MEASURES);
        let ticks_per_s = self.parts.host.clock_ticks_per_s;
        let processes = usage::of_all(self.source(), ticks_per_s);
        let (cpu, memory_bytes) = usage::sum(&processes);
        let targets = self.targets.values().filter(|t| !t.is_gone()).count();
        let allowed = Allowed {
            cpu_cores: budget.cpu_cores(targets, &self.config.global),
            memory_bytes: budget.memory_bytes(targets),
            window: budget.window,
        };
        let measure = Measure {
            at: now,
            cpu,
            memory_bytes,
        };
        self.own.processes = processes;
        let stepped = self.own.keeper.take(measure, allowed);
        if stepped {
            let shed = self.shed();
            let now: Vec<&str> = shed.iter().filter(|s| s.now).map(|s| &*s.what).collect();
            tracing::info!(left_for_later = ?now, "what we use has met our budget, or no longer does");
            self.touch();
        }
        if self.own.keeper.has(Step::Caches) {
            // The pages' own caches go by the view.
            for tracked in self.targets.values_mut() {
                tracked.metrics = None;
            }
        }
        self.tell_paces();
    }

    /// Tells each driver how often to do what.
    fn tell_paces(&mut self) {
        for tracked in self.targets.values() {
            let pace = self.own.keeper.pace(is_calm(tracked));
            tracked.pace.send_if_modified(|old| {
                let differs = *old != pace;
                *old = pace;
                differs
            });
        }
    }

    /// A target that grows is read at its own period at once.
    pub(crate) fn tell_pace(&self, tracked: &Tracked) {
        tracked
            .pace
            .send_replace(self.own.keeper.pace(is_calm(tracked)));
    }

    /// All that may be left for later, and what is.
    fn shed(&self) -> Vec<Shed> {
        let keeper = &self.own.keeper;
        let shed = |step: Step| Shed {
            for_memory: step.is_for_memory(),
            what: step.as_str().into(),
            text: step.in_words().into(),
            now: keeper.has(step),
            times: keeper.taken(step),
        };
        Step::all().map(shed).collect()
    }

    /// For the faces.
    pub(crate) fn own_cost(&self) -> OwnCost {
        let (allowed, keeper) = (self.own.keeper.allowed(), &self.own.keeper);
        OwnCost {
            window_s: allowed.window.as_secs_f64(),
            cpu_cores: keeper.cpu_cores(),
            cpu_budget_cores: allowed.cpu_cores,
            memory_bytes: usage::sum(&self.own.processes).1,
            memory_budget_bytes: allowed.memory_bytes,
            processes: self.own.processes.clone(),
            shed: self.shed(),
        }
    }
}

/// Whether nobody would miss some of its readings.
fn is_calm(tracked: &Tracked) -> bool {
    let view = &tracked.view;
    let clean = view
        .verdict
        .as_ref()
        .is_some_and(|verdict| verdict.verdict == Judgement::NoLeak);
    let near = view.limit.bytes.zip(view.limit.used_bytes);
    let near = near.is_some_and(|(bytes, used)| used as f64 >= NEAR_LIMIT * bytes as f64);
    clean && view.incidents.is_empty() && !near
}

/// Whether the profiles of `target` that this incident should have were put off for our own memory's sake, and are
/// still to come.
pub(crate) fn was_put_off(incident: &Incident, target: &TargetId) -> bool {
    let of_budget = |refused: &RefusedCapture| {
        let budget = matches!(refused.refusal, Refusal::OverBudget { .. });
        budget && refused.target == *target && refused.capture == EvidenceKind::HeapProfile
    };
    let mut refused = incident.timeline.iter().filter_map(|e| e.refused.as_ref());
    let mut evidence = incident.evidence.iter();
    let is_there = |e: &EvidenceRef| {
        e.target == *target && e.kind == EvidenceKind::HeapProfile && !is_before(e)
    };
    refused.any(of_budget) && !evidence.any(is_there)
}

/// Whether a file is from before the incident.
fn is_before(file: &EvidenceRef) -> bool {
    file.name.contains("before-")
}

#[cfg(test)]
mod tests {
    use model::UnixMs;

    use super::*;

    #[test]
    fn what_was_put_off_for_our_memory_is_still_to_come() {
        let mut incident: Incident =
            serde_json::from_str(include_str!("../../alert/tests/data/incident.json")).unwrap();
        let target = incident.targets[0].clone();
        let file = |name: &str| EvidenceRef {
            kind: EvidenceKind::HeapProfile,
            target: target.clone(),
            at: UnixMs(0),
            name: name.into(),
            bytes: 1,
            crc32: 0,
        };
        incident.evidence = vec![file("before-heap.pb.gz")];
        assert!(!was_put_off(&incident, &target), "nobody has refused it");
        let refused = RefusedCapture {
            capture: EvidenceKind::HeapProfile,
            target: target.clone(),
            refusal: Refusal::OverBudget {
                used_bytes: 2,
                budget_bytes: 1,
            },
        };
        incident.note_refused(UnixMs(0), refused, "in words");
        assert!(was_put_off(&incident, &target));
        assert!(!was_put_off(&incident, &TargetId("another".into())));
        incident.evidence.push(file("after-heap.pb.gz"));
        assert!(!was_put_off(&incident, &target), "it has come");
    }
}
