//! Which incident a leak belongs to: one for each (workload, kind, culprit).
//!
//! A culprit is often known only later, and of some targets never. So a leak without one joins an
//! open incident of its workload and kind for the time being: a hundred replicas are one incident.
//! Once its own evidence names a culprit it stays, goes where that culprit is, or has an incident of
//! its own; and an incident that was opened without a culprit ends in the one that has it.

use std::sync::Arc;

use model::{Incident, IncidentId, IncidentState, Kind, TargetId, UnixMs, Workload};

use crate::book::{Book, join};

/// A confirmed leak in one target.
#[derive(Debug, Clone, Copy)]
pub struct Leak<'a> {
    /// Where.
    pub target: &'a TargetId,
    /// Of which workload.
    pub workload: &'a Workload,
    /// Of which kind.
    pub kind: Kind,
    /// What the target's own evidence names; empty while that is unknown.
    pub culprit: &'a str,
}

/// Where a leak belongs.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// The incident; without one it needs a new one.
    pub incident: Option<IncidentId>,
    /// The one that the target was listed in until now, if it is another.
    pub left: Option<IncidentId>,
    /// Incidents that have ended in another.
    pub merged: Vec<IncidentId>,
}

impl Place {
    fn stays(incident: &Incident) -> Self {
        Self {
            incident: Some(incident.id.clone()),
            ..Self::default()
        }
    }
}

impl Book {
    /// Finds the open incident of `leak`, and moves the target there if it was listed in another.
    pub fn place(&mut self, leak: &Leak<'_>, at: UnixMs) -> Place {
        let Leak { kind, culprit, .. } = *leak;
        let Some(own) = self.open_of_target(kind, leak.target) else {
            return self.place_new(leak, at);
        };
        let said = own.captured.get(leak.target);
        // A target is listed once for each kind: what its evidence has named stays named.
        let is_named = said.is_some_and(|said| !said.is_empty() && *said == own.culprit);
        if culprit.is_empty() || own.culprit == culprit || is_named {
            return Place::stays(own);
        }
        let own = own.id.clone();
        let other = self.open_with(leak.workload, kind, |of| of == culprit);
        let other = other.map(|other| other.id.clone());
        if self.get(&own).is_some_and(|own| !own.culprit.is_empty()) {
            self.leave(&own, leak, other.as_ref(), at);
            return Place {
                incident: other,
                left: Some(own),
                ..Place::default()
            };
        }
        match other {
            Some(other) => {
                self.merge(&own, &other, at);
                Place {
                    incident: Some(other),
                    left: Some(own.clone()),
                    merged: vec![own],
                }
            }
            None => {
                self.name(&own, culprit, at);
                Place {
                    incident: Some(own),
                    ..Place::default()
                }
            }
        }
    }

    /// The place of a leak whose target no open incident of the kind lists.
    fn place_new(&mut self, leak: &Leak<'_>, at: UnixMs) -> Place {
        let Leak { kind, culprit, .. } = *leak;
        if culprit.is_empty() {
            let any = self.open_of(leak.workload, kind);
            return any.map_or_else(Place::default, Place::stays);
        }
        if let Some(same) = self.open_with(leak.workload, kind, |of| of == culprit) {
            return Place::stays(same);
        }
        let Some(unknown) = self.open_with(leak.workload, kind, str::is_empty) else {
            return Place::default();
        };
        let place = Place::stays(unknown);
        if let Some(id) = &place.incident {
            self.name(id, culprit, at);
        }
        place
    }

    /// Says what the evidence of `target` names, and so that there is evidence of it.
    pub fn captured(&mut self, id: &IncidentId, target: &TargetId, culprit: &str) {
        let Some(incident) = self.get_mut(id).filter(|i| i.has_target(target)) else {
            return;
        };
        let said = incident.captured.entry(target.clone()).or_default();
        if said.is_empty() {
            culprit.clone_into(said);
        }
    }

    /// Names the culprit of an incident that had none; what was answered for that culprit before holds.
    fn name(&mut self, id: &IncidentId, culprit: &str, at: UnixMs) {
        let Some(incident) = self.get(id) else {
            return;
        };
        let (target, kind) = (incident.verdict.target.clone(), incident.kind);
        let answers = self.lasting_answers(&target, kind, culprit, at);
        if let Some(incident) = self.get_mut(id) {
            culprit.clone_into(&mut incident.culprit);
            crate::answering::inherit(incident, answers, at);
        }
    }

    /// Takes a target out of an incident whose culprit is not its own.
    fn leave(&mut self, from: &IncidentId, leak: &Leak<'_>, to: Option<&IncidentId>, at: UnixMs) {
        let Some(incident) = self.get_mut(from) else {
            return;
        };
        incident.moved.push(leak.target.clone());
        incident.captured.remove(leak.target);
        let place = to.map_or_else(|| "an incident of its own".into(), |to| format!("{to}"));
        let text = format!(
            "target {} turned out to leak in {}: it moved to {place}",
            leak.target, leak.culprit
        );
        incident.note(at, "target-moved", text);
        if incident.members().next().is_none() {
            end(incident, at, "all its targets turned out to leak elsewhere");
        }
        if let Some(to) = to.and_then(|to| self.get_mut(to)) {
            join(to, leak.target);
        }
    }

    /// Ends an incident without a culprit in the one that it turned out to be.
    fn merge(&mut self, from: &IncidentId, to: &IncidentId, at: UnixMs) {
        let Some(mut old) = self.incidents.get(from).map(Arc::clone) else {
            return;
        };
        let Some(new) = self.get_mut(to) else {
            return;
        };
        for target in old.members() {
            join(new, target);
        }
        new.note(at, "merged", format!("{from} turned out to be this one"));
        let old = Arc::make_mut(&mut old);
        let members: Vec<TargetId> = old.members().cloned().collect();
        old.moved.extend(members);
        end(old, at, &format!("it turned out to be {to}"));
        self.incidents.insert(from.clone(), Arc::new(old.clone()));
    }
}

fn end(incident: &mut Incident, at: UnixMs, why: &str) {
    incident.state = IncidentState::Resolved;
    incident.resolved = Some(at);
    incident.note(at, "resolved", why);
}

#[cfg(test)]
mod tests;
