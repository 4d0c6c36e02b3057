//! Answers from the command line: handed to the watcher that runs on the data folder, else written
//! into it by the same rules.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, bail};
use engine::SystemClock;
use engine::book::Book;
use model::{Answer, AnswerSort, Clock, Command, CommandOutcome, Incident};

use super::args::{Ack, Mark, Mute, Sort, Undo, What, Who};
use super::{Found, data_of, window};
use crate::running::Running;
use crate::{setup, terminal};

pub(super) fn ack(arguments: &Ack) -> anyhow::Result<()> {
    answer(&arguments.who, &arguments.note, |_| Answer::Acknowledged)
}

pub(super) fn mute(arguments: &Mute) -> anyhow::Result<()> {
    let now = SystemClock::default().now();
    let ends = arguments.duration.map(|duration| now.after(duration));
    let until = ends.or(arguments.until);
    answer(&arguments.who, &arguments.note, |incident| {
        let revision = incident.verdict.target.revision.clone();
        let revision = arguments.until_revision.then_some(revision);
        Answer::Muted { until, revision }
    })
}

pub(super) fn mark(arguments: &Mark) -> anyhow::Result<()> {
    if arguments.ceiling.is_some() && arguments.what != What::Expected {
        bail!("--ceiling goes with `expected` only");
    }
    answer(&arguments.who, &arguments.note, |_| match arguments.what {
        What::Expected => Answer::Expected {
            ceiling_bytes: arguments.ceiling.unwrap_or_default(),
            exceeded: None,
        },
        What::FalseAlarm => Answer::FalseAlarm,
        What::Leak => Answer::Leak,
    })
}

pub(super) fn undo(arguments: &Undo) -> anyhow::Result<()> {
    let sort = match arguments.answer {
        Sort::Ack => AnswerSort::Acknowledgement,
        Sort::Mute => AnswerSort::Mute,
        Sort::Mark => AnswerSort::Mark,
    };
    hand(&arguments.who, |incident, by| Command::TakeBack {
        incident: incident.id.clone(),
        sort,
        by,
    })
}

fn answer(who: &Who, note: &str, what: impl Fn(&Incident) -> Answer) -> anyhow::Result<()> {
    hand(who, |incident, by| Command::Answer {
        incident: incident.id.clone(),
        answer: what(incident),
        by,
        note: note.to_owned(),
    })
}

/// Hands the command over, and says what came of it.
fn hand(who: &Who, command: impl Fn(&Incident, String) -> Command) -> anyhow::Result<()> {
    let data = data_of(who.data.as_deref())?;
    let folder = data.join("incidents");
    let found = Found::read(&folder)?;
    let incident = found.one(&who.id, &folder)?;
    let command = command(incident, who.by.clone().unwrap_or_else(user));
    let outcome = setup::runtime()?.block_on(async {
        match Running::of(&data).await? {
            Some(running) => running.command(&command).await,
            None => apply(&data, command),
        }
    })?;
    match outcome {
        CommandOutcome::Accepted { text } => terminal::data(&format!("{}: {text}\n", incident.id)),
        CommandOutcome::Refused { reason } => bail!("{reason}"),
        CommandOutcome::Busy => bail!("the watcher is busy: try again in a moment"),
    }
}

/// Applies a command to a data folder that no watcher holds.
fn apply(data: &Path, command: Command) -> anyhow::Result<CommandOutcome> {
    let store = window::open(data)?;
    let now = SystemClock::default().now();
    let mut book = Book::restore(store.incidents());
    let id = match engine::people::apply(&mut book, command, now) {
        Ok(id) => id,
        Err(error) => {
            return Ok(CommandOutcome::Refused {
                reason: error.to_string(),
            });
        }
    };
    let incident = book.get(&id).context("the incident vanished")?;
    store.save_incident(incident)?;
    let last = incident.timeline.last();
    Ok(CommandOutcome::Accepted {
        text: last.map_or_else(String::new, |event| event.text.clone()),
    })
}

/// Who runs this, as the system knows them: behind sudo the one who called it.
fn user() -> String {
    let named = ["SUDO_USER", "USER", "LOGNAME"].into_iter();
    let mut names = named.filter_map(|name| std::env::var(name).ok());
    let known = names.find(|name| !name.trim().is_empty());
    known.unwrap_or_else(|| format!("uid {}", rustix::process::getuid().as_raw()))
}

/// The clock of stores that are opened by a command.
pub(super) fn clock() -> Arc<dyn Clock> {
    Arc::new(SystemClock::default())
}
