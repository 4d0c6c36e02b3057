//! What people answer, done: on the disk before they hear that it is accepted, and told to whoever is
//! told of incidents.

use std::time::Duration;

use model::{Answer, Command, CommandOutcome, Incident, IncidentId, Said, UnixMs};
use tokio::sync::oneshot;

use crate::answering::AnswerError;
use crate::book::Book;
use crate::main_loop::{MainLoop, save};

/// How long who answers waits for the disk.
const DISK_PATIENCE: Duration = Duration::from_secs(5);

/// Applies an answer, or its taking back, to the book.
///
/// # Errors
/// [`AnswerError`]; the book is as it was then.
pub fn apply(book: &mut Book, command: Command, at: UnixMs) -> Result<IncidentId, AnswerError> {
    match command {
        Command::Answer {
            incident,
            answer,
            by,
            note,
        } => {
            // When a ceiling was exceeded is not for people to say.
            let answer = match answer {
                Answer::Expected { ceiling_bytes, .. } => Answer::Expected {
                    ceiling_bytes,
                    exceeded: None,
                },
                answer => answer,
            };
            let said = Said {
                answer,
                at,
                by,
                note,
            };
            book.answer(&incident, said)?;
            Ok(incident)
        }
        Command::TakeBack { incident, sort, by } => {
            book.take_back(&incident, sort, &by, at)?;
            Ok(incident)
        }
        _ => Err(AnswerError::NotSaid),
    }
}

impl MainLoop {
    /// Takes an answer in. Who asked hears of it once it lies on the disk.
    pub(crate) fn answered(&mut self, command: Command, reply: oneshot::Sender<CommandOutcome>) {
        let at = self.clock().now();
        tracing::info!(?command, "command");
        let before = self.silent(&command);
        let id = match apply(&mut self.book, command, at) {
            Ok(id) => id,
            Err(error) => {
                let reason = error.to_string();
                tracing::info!(reason, "command refused");
                // The asker may have gone away.
                let _ = reply.send(CommandOutcome::Refused { reason });
                return;
            }
        };
        let memory = self.biggest(&id);
        self.book.settle(&id, at, memory);
        let Some(incident) = self.book.get(&id).cloned() else {
            return;
        };
        self.tell_after(&incident, before);
        // Whoever answers looks at the page next.
        self.publish();
        let stored = self.writer.incident_safely(&incident);
        let last = incident.timeline.last();
        let text = last.map_or_else(String::new, |event| event.text.clone());
        tokio::spawn(async move {
            // A disk that hangs says nothing; who asked shall hear something.
            let outcome = match tokio::time::timeout(DISK_PATIENCE, stored).await {
                Ok(Ok(true)) => CommandOutcome::Accepted { text },
                _ => CommandOutcome::Refused {
                    reason: "it holds until the watcher ends, but the disk did not take it: see \
                             the watcher's health"
                        .into(),
                },
            };
            // The asker may have gone away.
            let _ = reply.send(outcome);
        });
    }

    /// Ends what has lapsed, and tells what has outgrown its ceiling.
    pub(crate) fn settle_answers(&mut self) {
        let now = self.clock().now();
        let ids: Vec<(IncidentId, bool)> = self
            .book
            .answered()
            .map(|incident| (incident.id.clone(), incident.silence.is_some()))
            .collect();
        for (id, was_silent) in ids {
            let memory = self.biggest(&id);
            if !self.book.settle(&id, now, memory) {
                continue;
            }
            save(&self.book, &self.writer, &id);
            if let Some(incident) = self.book.get(&id).cloned() {
                self.tell_after(&incident, was_silent);
            }
            self.touch();
        }
    }

    fn silent(&self, command: &Command) -> bool {
        let (Command::Answer { incident, .. } | Command::TakeBack { incident, .. }) = command
        else {
            return false;
        };
        let incident = self.book.get(incident);
        incident.is_some_and(|incident| incident.silence.is_some())
    }

    /// Tells people what an answer has changed for them: silence and its end at once; who is on it
    /// with the next repetition.
    fn tell_after(&mut self, incident: &Incident, was_silent: bool) {
        let is_open = incident.state == model::IncidentState::Open;
        let silent = incident.silence.is_some();
        if !is_open {
            return;
        }
        if silent == was_silent {
            self.tell_newer(incident);
        } else if !silent || self.told.contains(&incident.id) {
            self.tell(incident);
        }
    }

    /// The memory of the biggest running target of an incident, in bytes.
    fn biggest(&self, id: &IncidentId) -> Option<u64> {
        let incident = self.book.get(id)?;
        let running = incident.members().filter_map(|target| {
            let tracked = self
                .targets
                .get(target)
                .filter(|tracked| !tracked.is_gone())?;
            Some(tracked.view.process?.rss_bytes)
        });
        running.max()
    }
}
