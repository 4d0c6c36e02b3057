//! What follows from what people answer: whom nobody is told of, and until when. Pure, as the book is.

use std::time::Duration;

use model::answer::{BY_CHARS_MAX, NOTE_CHARS_MAX};
use model::size::size_in_words;
use model::{
    Answer, AnswerSort, Incident, IncidentId, IncidentState, Kind, Said, Silence, SilenceReason,
    Target, UnixMs,
};

use crate::book::{Book, family};

/// Nobody mutes for longer: a typing error would be forgotten.
const MUTE_MAX: Duration = Duration::from_secs(366 * 86_400);

/// Why an answer is not taken.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum AnswerError {
    /// There is no such incident.
    #[error("there is no incident {0}; `unswept incidents list` shows their ids")]
    Unknown(IncidentId),
    /// It is over: nobody needs to work on it.
    #[error("{0} is resolved: there is nothing to acknowledge")]
    Over(IncidentId),
    /// A mute that never ends, or has ended.
    #[error(
        "a mute ends at a time within a year, or with a new revision where the one that runs is known"
    )]
    NoEnd,
    /// A ceiling of nothing.
    #[error("the ceiling of what is expected must be above zero bytes")]
    NoCeiling,
    /// Who answers has no name, or one that cannot be shown.
    #[error("who answers needs a name of at most {BY_CHARS_MAX} characters on one line")]
    BadName,
    /// The note is too long.
    #[error("a note has at most {NOTE_CHARS_MAX} characters, and no control characters")]
    BadNote,
    /// There is no such answer to take back.
    #[error("nothing of this sort was answered")]
    NotSaid,
}

impl Book {
    /// Takes an answer in; it replaces an earlier one of its sort.
    ///
    /// # Errors
    /// [`AnswerError`]; nothing has changed then.
    pub fn answer(&mut self, id: &IncidentId, said: Said) -> Result<(), AnswerError> {
        let unknown = || AnswerError::Unknown(id.clone());
        let incident = self.get(id).ok_or_else(unknown)?;
        check(incident, &said)?;
        let incident = self.get_mut(id).ok_or_else(unknown)?;
        let text = in_words(&said);
        let (at, sort) = (said.at, said.answer.sort());
        incident.answers.retain(|old| old.answer.sort() != sort);
        incident.answers.push(said);
        incident.note(at, "answered", text);
        settle(incident, at, None);
        Ok(())
    }

    /// Takes the answer of this sort back.
    ///
    /// # Errors
    /// [`AnswerError::Unknown`], [`AnswerError::NotSaid`], [`AnswerError::BadName`].
    pub fn take_back(
        &mut self,
        id: &IncidentId,
        sort: AnswerSort,
        by: &str,
        at: UnixMs,
    ) -> Result<(), AnswerError> {
        check_name(by)?;
        let unknown = || AnswerError::Unknown(id.clone());
        self.get(id).ok_or_else(unknown)?;
        let incident = self.get_mut(id).ok_or_else(unknown)?;
        let said = incident.said(sort).ok_or(AnswerError::NotSaid)?;
        let text = format!("{by} took back: {}", in_words(said));
        incident.answers.retain(|old| old.answer.sort() != sort);
        incident.note(at, "taken-back", text);
        settle(incident, at, None);
        Ok(())
    }

    /// Brings an open incident in line with its answers: what has lapsed is over, what has outgrown
    /// its ceiling is told. `memory_bytes` is that of its biggest target. Says whether that changed it.
    pub fn settle(&mut self, id: &IncidentId, now: UnixMs, memory_bytes: Option<u64>) -> bool {
        let Some(incident) = self.get(id).filter(|i| is_answered(i)) else {
            return false;
        };
        let mut settled = incident.clone();
        if !settle(&mut settled, now, memory_bytes) {
            return false;
        }
        self.incidents.insert(id.clone(), settled.into());
        true
    }

    /// Open incidents with answers that may lapse.
    pub fn answered(&self) -> impl Iterator<Item = &Incident> {
        let all = self.incidents.values().map(|incident| &**incident);
        all.filter(|incident| is_answered(incident))
    }

    /// The answers of earlier incidents that hold for a new one of this workload, kind and culprit.
    pub(crate) fn lasting_answers(
        &self,
        target: &Target,
        kind: Kind,
        culprit: &str,
        now: UnixMs,
    ) -> Vec<Said> {
        let same = self.incidents.values().filter(|incident| {
            incident.workload == target.workload
                && family(incident.kind) == family(kind)
                && incident.culprit == culprit
                && incident.state == IncidentState::Resolved
        });
        // The latest has inherited what was said before it.
        let latest = same.max_by_key(|incident| incident.opened);
        let answers = latest.map_or(&[][..], |latest| &latest.answers);
        let lasts = |said: &&Said| match &said.answer {
            Answer::Muted { until, revision } => {
                until.is_none_or(|until| now < until)
                    && revision.as_ref().is_none_or(|of| *of == target.revision)
            }
            Answer::Expected { exceeded, .. } => exceeded.is_none(),
            Answer::FalseAlarm => true,
            _ => false,
        };
        answers.iter().filter(lasts).cloned().collect()
    }
}

/// Gives `incident` the answers of its predecessor, as far as nobody has answered it yet.
pub(crate) fn inherit(incident: &mut Incident, answers: Vec<Said>, at: UnixMs) {
    for said in answers {
        if incident.said(said.answer.sort()).is_none() {
            let text = format!("holds from an earlier incident: {}", in_words(&said));
            incident.answers.push(said);
            incident.note(at, "answered", text);
        }
    }
    settle(incident, at, None);
}

fn is_answered(incident: &Incident) -> bool {
    let is_open = incident.state == IncidentState::Open;
    is_open && (!incident.answers.is_empty() || incident.silence.is_some())
}

fn settle(incident: &mut Incident, now: UnixMs, memory_bytes: Option<u64>) -> bool {
    if incident.state != IncidentState::Open {
        return false;
    }
    let mut changed = outgrow(incident, now, memory_bytes);
    let revision = incident.verdict.target.revision.clone();
    let lapsed = |said: &Said| match &said.answer {
        Answer::Muted { until, .. } if until.is_some_and(|until| now >= until) => {
            Some("the mute has ended")
        }
        Answer::Muted { revision: of, .. } if of.as_ref().is_some_and(|of| *of != revision) => {
            Some("another revision leaks as well: the mute has ended")
        }
        _ => None,
    };
    if let Some(text) = incident.answers.iter().find_map(lapsed) {
        incident.answers.retain(|said| lapsed(said).is_none());
        incident.note(now, "mute-ended", text);
        changed = true;
    }
    let because = incident.answers.iter().find_map(|said| match said.answer {
        Answer::Muted { .. } => Some(SilenceReason::Muted),
        Answer::Expected { exceeded: None, .. } => Some(SilenceReason::Expected),
        Answer::FalseAlarm => Some(SilenceReason::FalseAlarm),
        _ => None,
    });
    if because != incident.silence.map(|silence| silence.because) {
        let since = incident.silence.map_or(now, |silence| silence.since);
        incident.silence = because.map(|because| Silence { since, because });
        changed = true;
    }
    changed
}

/// What is expected up to a ceiling is not expected above it, and stays so until somebody says
/// otherwise: memory that goes up and down around the ceiling is told once.
fn outgrow(incident: &mut Incident, now: UnixMs, memory_bytes: Option<u64>) -> bool {
    let Some(memory) = memory_bytes else {
        return false;
    };
    for said in &mut incident.answers {
        if let Answer::Expected {
            ceiling_bytes,
            exceeded: exceeded @ None,
        } = &mut said.answer
            && memory > *ceiling_bytes
        {
            *exceeded = Some(now);
            let text = format!(
                "a target has {}, more than the {} that {} expected",
                size(memory),
                size(*ceiling_bytes),
                said.by
            );
            incident.note(now, "ceiling-exceeded", text);
            return true;
        }
    }
    false
}

fn check(incident: &Incident, said: &Said) -> Result<(), AnswerError> {
    check_name(&said.by)?;
    let fits = said.note.chars().count() <= NOTE_CHARS_MAX;
    let is_text = said.note.chars().all(|c| !c.is_control() || c == '\n');
    if !fits || !is_text {
        return Err(AnswerError::BadNote);
    }
    match &said.answer {
        Answer::Acknowledged if incident.state == IncidentState::Resolved => {
            Err(AnswerError::Over(incident.id.clone()))
        }
        Answer::Muted { until, revision } => {
            let in_time = |until: UnixMs| until > said.at && until <= said.at.after(MUTE_MAX);
            let named = revision.as_ref().is_none_or(|of| !of.0.is_empty());
            let ends = until.is_some() || revision.is_some();
            match ends && named && until.is_none_or(in_time) {
                true => Ok(()),
                false => Err(AnswerError::NoEnd),
            }
        }
        Answer::Expected {
            ceiling_bytes: 0, ..
        } => Err(AnswerError::NoCeiling),
        _ => Ok(()),
    }
}

fn check_name(by: &str) -> Result<(), AnswerError> {
    let fits = (1..=BY_CHARS_MAX).contains(&by.trim().chars().count());
    match fits && !by.chars().any(char::is_control) {
        true => Ok(()),
        false => Err(AnswerError::BadName),
    }
}

/// `alice muted it until 2026-12-01T10:00:00Z: we know`.
#[must_use]
pub fn in_words(said: &Said) -> String {
    let what = match &said.answer {
        Answer::Acknowledged => "acknowledged it".into(),
        Answer::Muted { until, revision } => {
            let until = until.map(|until| format!("until {until}"));
            let revision = revision
                .as_ref()
                .map(|_| "until another revision leaks".into());
            let ends: Vec<String> = until.into_iter().chain(revision).collect();
            format!("muted it {}", ends.join(" or "))
        }
        Answer::Expected { ceiling_bytes, .. } => {
            format!("expects it, up to {}", size(*ceiling_bytes))
        }
        Answer::FalseAlarm => "marked it a false alarm".into(),
        _ => "marked it a leak".into(),
    };
    match said.note.is_empty() {
        true => format!("{} {what}", said.by),
        false => format!("{} {what}: {}", said.by, said.note),
    }
}

fn size(bytes: u64) -> String {
    size_in_words(bytes as f64)
}

#[cfg(test)]
mod tests;
