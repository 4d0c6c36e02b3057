//! What people answer to an incident: what stands, and the form to say more. Plain forms, so that it
//! works without scripts and by keyboard.

use axum::Form;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Redirect, Response};
use maud::{Markup, html};
use model::duration::parse_duration;
use model::size::parse_size;
use model::{Answer, AnswerSort, Command, CommandOutcome, Incident, IncidentId, Said, UnixMs};
use serde::Deserialize;

use super::{layout, parts};
use crate::state::Shared;
use crate::words;

/// What is chosen to mute until another revision leaks.
const NEXT_REVISION: &str = "revision";
/// What takes an answer back, before its sort.
const TAKE_BACK: &str = "take-back-";

/// The form, as browsers send it.
#[derive(Deserialize)]
pub(crate) struct Given {
    answer: String,
    by: String,
    #[serde(default)]
    note: String,
    #[serde(default)]
    until: String,
    #[serde(default)]
    ceiling: String,
}

/// Takes a form in and goes back to the incident.
pub(crate) async fn answer(
    State(shared): State<Shared>,
    headers: HeaderMap,
    Path(id): Path<String>,
    Form(given): Form<Given>,
) -> Response {
    let refused = |status: StatusCode, text: &str| {
        (status, layout::message("Not taken", text)).into_response()
    };
    if let Err(error) = shared.seams.operator.check(&headers) {
        return refused(error.status, &error.text);
    }
    let view = shared.seams.fleet.view();
    let id = IncidentId(id);
    let Some(incident) = view.incident(&id) else {
        return super::not_found("There is no such incident.");
    };
    let command = match command(incident, given, view.at) {
        Ok(command) => command,
        Err(reason) => return refused(StatusCode::BAD_REQUEST, &reason),
    };
    match shared.seams.commands.hand(command).await {
        CommandOutcome::Accepted { .. } => {
            Redirect::to(&format!("/incidents/{}", words::segment(&id.0))).into_response()
        }
        CommandOutcome::Refused { reason } => refused(StatusCode::CONFLICT, &reason),
        CommandOutcome::Busy => refused(
            StatusCode::TOO_MANY_REQUESTS,
            "Too much is under way: try again in a moment.",
        ),
    }
}

fn command(incident: &Incident, given: Given, now: UnixMs) -> Result<Command, String> {
    let id = incident.id.clone();
    if let Some(sort) = given.answer.strip_prefix(TAKE_BACK) {
        let sorts = [
            AnswerSort::Acknowledgement,
            AnswerSort::Mute,
            AnswerSort::Mark,
        ];
        let sort = sorts.into_iter().find(|one| sort_word(*one) == sort);
        return Ok(Command::TakeBack {
            incident: id,
            sort: sort.ok_or("There is no such answer.")?,
            by: given.by,
        });
    }
    let answer = match given.answer.as_str() {
        "acknowledged" => Answer::Acknowledged,
        "muted" if given.until == NEXT_REVISION => Answer::Muted {
            until: None,
            revision: Some(incident.verdict.target.revision.clone()),
        },
        "muted" => {
            let time = parse_duration(&given.until).map_err(|error| error.to_string())?;
            Answer::Muted {
                until: Some(now.after(time)),
                revision: None,
            }
        }
        "expected" => Answer::Expected {
            ceiling_bytes: parse_size(given.ceiling.trim()).map_err(|error| error.to_string())?,
            exceeded: None,
        },
        "false-alarm" => Answer::FalseAlarm,
        "leak" => Answer::Leak,
        _ => return Err("There is no such answer.".into()),
    };
    Ok(Command::Answer {
        incident: id,
        answer,
        by: given.by,
        note: given.note,
    })
}

fn sort_word(sort: AnswerSort) -> &'static str {
    match sort {
        AnswerSort::Acknowledgement => "acknowledgement",
        AnswerSort::Mute => "mute",
        AnswerSort::Mark => "mark",
    }
}

/// What stands, with how to take it back.
pub(super) fn standing(incident: &Incident, is_operator: bool) -> Markup {
    html! {
        @if !incident.answers.is_empty() {
            h2 { "Answered" }
            ul .answers {
                @for said in &incident.answers {
                    li {
                        span { strong { (in_words(said)) } " by " (said.by) ", " (parts::time(said.at)) }
                        @if !said.note.is_empty() { p .note { (said.note) } }
                        @if is_operator { (take_back(incident, said)) }
                    }
                }
            }
        }
    }
}

fn take_back(incident: &Incident, said: &Said) -> Markup {
    let sort = sort_word(said.answer.sort());
    html! {
        form method="post" action=(action(incident)) {
            input type="hidden" name="by" value="the operator, on the page";
            button .button name="answer" value={ (TAKE_BACK) (sort) } { "Take back" span .sr { " the " (sort) } }
        }
    }
}

/// The form to say more. It is never replaced under somebody's hands.
pub(super) fn form(incident: &Incident, is_operator: bool) -> Markup {
    let page = format!("/incidents/{}", words::segment(&incident.id.0));
    html! {
        details #answer-form { summary { "Answer: acknowledge, mute, mark" }
        @if is_operator {
            form .answer method="post" action=(action(incident)) {
                p {
                    label { "Your name" input name="by" required maxlength="64" autocomplete="username"; }
                    label .wide { "Note" input name="note" maxlength="1000" autocomplete="off"; }
                }
                p {
                    button .button name="answer" value="acknowledged" { "Acknowledge" }
                    span .quiet { "Somebody is on it: chats are not told again." }
                }
                p {
                    button .button name="answer" value="muted" { "Mute" }
                    select name="until" aria-label="Mute for" {
                        @for (value, text) in [("1h", "for an hour"), ("8h", "for 8 hours"), ("1d", "for a day"), ("1w", "for a week"), ("30d", "for 30 days")] {
                            option value=(value) { (text) }
                        }
                        @if !incident.verdict.target.revision.0.is_empty() {
                            option value=(NEXT_REVISION) { "until another revision leaks" }
                        }
                    }
                }
                p {
                    button .button name="answer" value="expected" { "Expected" }
                    label { "up to" input name="ceiling" size="8" placeholder="2GiB" autocomplete="off"; }
                    span .quiet { "of memory in one process; above it, it is told after all." }
                }
                p {
                    button .button name="answer" value="false-alarm" { "False alarm" }
                    button .button name="answer" value="leak" { "It is a leak" }
                }
            }
        } @else {
            p { "To acknowledge, mute or mark it, "
                a href={ "/login?next=" (page) } { "log in as the operator" } ", or run:" }
            pre .commands tabindex="0" { "unswept incidents ack " (incident.id) "\n" }
        }
        }
    }
}

fn action(incident: &Incident) -> String {
    format!("/incidents/{}/answers", words::segment(&incident.id.0))
}

/// `Muted until 1 Dec 2026 10:00`.
fn in_words(said: &Said) -> String {
    match &said.answer {
        Answer::Acknowledged => "Acknowledged".into(),
        Answer::Muted { until, revision } => {
            let until = until.map(|until| format!("until {}", words::date(until)));
            let revision = revision
                .as_ref()
                .map(|_| "until another revision leaks".to_owned());
            let ends: Vec<String> = until.into_iter().chain(revision).collect();
            format!("Muted {}", ends.join(" or "))
        }
        Answer::Expected {
            ceiling_bytes,
            exceeded,
        } => {
            let over = if exceeded.is_some() { ", exceeded" } else { "" };
            format!(
                "Expected up to {}{over}",
                words::bytes(*ceiling_bytes as f64)
            )
        }
        Answer::FalseAlarm => "Marked a false alarm".into(),
        _ => "Marked a leak".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(answer: &str, until: &str, ceiling: &str) -> Given {
        Given {
            answer: answer.into(),
            by: "alice".into(),
            note: String::new(),
            until: until.into(),
            ceiling: ceiling.into(),
        }
    }

    #[test]
    fn forms_are_commands_or_are_refused() {
        let view = crate::tests::made_up::view(0);
        let incident = &view.incidents[0];
        let said = |given| match command(incident, given, UnixMs(0)) {
            Ok(Command::Answer { answer, .. }) => Ok(Some(answer)),
            Ok(_) => Ok(None),
            Err(text) => Err(text),
        };
        let hour = Answer::Muted {
            until: Some(UnixMs(3_600_000)),
            revision: None,
        };
        assert_eq!(said(given("muted", "1h", "")), Ok(Some(hour)));
        let revision = Answer::Muted {
            until: None,
            revision: Some(incident.verdict.target.revision.clone()),
        };
        assert_eq!(said(given("muted", "revision", "")), Ok(Some(revision)));
        let expected = Answer::Expected {
            ceiling_bytes: 2 << 30,
            exceeded: None,
        };
        assert_eq!(said(given("expected", "", " 2GiB")), Ok(Some(expected)));
        assert_eq!(said(given("take-back-mute", "", "")), Ok(None));
        for (name, given) in [
            ("no time", given("muted", "", "")),
            ("no ceiling", given("expected", "", "")),
            ("no answer", given("perhaps", "", "")),
            ("nothing to take back", given("take-back-all", "", "")),
        ] {
            assert!(said(given).is_err(), "{name}");
        }
    }
}
