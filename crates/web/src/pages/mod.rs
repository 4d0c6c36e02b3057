//! The pages, made on the server. Each is complete without scripts; `live.js` replaces the
//! elements that have `data-part` when there is a newer view.

pub(crate) mod answers;
mod descriptors;
mod fleet;
mod goroutines;
mod holders;
mod incident;
mod layout;
mod parts;
mod target;

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use maud::{Markup, html};
use model::{EvidenceKind, FleetView, Incident, IncidentId, Kind, TargetId};

pub(crate) use holders::graph_source as holders_source;
pub(crate) use incident::title as incident_title;
pub(crate) use incident::{Mode, flame_source, page as incident_page};

use crate::compare::Compared;
use crate::state::Shared;
use crate::{evidence, history};

/// All targets, the worst first.
pub(crate) async fn fleet(State(shared): State<Shared>) -> Response {
    let sparks = history::sparks(&shared).await;
    fleet::page(&shared.seams.fleet.view(), &sparks).into_response()
}

/// One target.
pub(crate) async fn target(State(shared): State<Shared>, Path(id): Path<String>) -> Response {
    let view = shared.seams.fleet.view();
    match view.target(&TargetId(id)) {
        Some(found) => {
            let held = match incident_with_looks(&view, &found.target.id) {
                Some(incident) => {
                    let of = found.target.id.clone();
                    let held = evidence::held(&shared, incident.clone(), of).await;
                    Some((incident, held))
                }
                None => None,
            };
            target::page(&view, found, held.as_ref()).into_response()
        }
        None => not_found("There is no such target. It may have ended longer ago than is kept."),
    }
}

/// All incidents, the latest first.
pub(crate) async fn incidents(State(shared): State<Shared>) -> Response {
    incident::list_page(&shared.seams.fleet.view()).into_response()
}

/// One incident.
pub(crate) async fn incident(
    State(shared): State<Shared>,
    headers: HeaderMap,
    Path(id): Path<String>,
) -> Response {
    let view = shared.seams.fleet.view();
    let Some(found) = view.incident(&IncidentId(id)).cloned() else {
        return not_found("There is no such incident.");
    };
    let heap = evidence::comparison(&shared, found.clone(), Compared::Heap).await;
    let goroutines = match found.kind {
        Kind::Goroutine => evidence::comparison(&shared, found.clone(), Compared::Goroutines).await,
        _ => Ok(None),
    };
    let held = evidence::held(&shared, found.clone(), found.verdict.target.id.clone()).await;
    let is_operator = shared.seams.operator.is(&headers);
    let mode = Mode::Live { is_operator };
    incident::page(&view, &found, &heap, &goroutines, &held, mode).into_response()
}

/// The latest incident in which a target was looked into.
fn incident_with_looks(view: &FleetView, target: &TargetId) -> Option<Arc<Incident>> {
    let looked = |incident: &&Arc<Incident>| {
        let mut files = incident.evidence.iter();
        files.any(|file| file.kind == EvidenceKind::Holders && file.target == *target)
    };
    view.incidents.iter().find(looked).cloned()
}

/// The page that asks for the operator's token, which lies in `file`.
pub(crate) fn login(file: &str, next: &str, is_wrong: bool) -> Markup {
    let form = html! {
        h1 { "Log in as the operator" }
        @if is_wrong { p .callout role="alert" { "That is not the token of this watcher." } }
        p { "Whoever may read the watcher's files may change things here. The token lies in "
            code { (file) } " on its host." }
        form .answer method="post" action="/login" {
            input type="hidden" name="next" value=(next);
            p {
                label .wide { "Token" input name="token" type="password" required autofocus autocomplete="current-password"; }
                button .button { "Log in" }
            }
        }
    };
    layout::plain("Log in", form)
}

/// A page that says what is missing.
pub(crate) fn not_found(text: &str) -> Response {
    (StatusCode::NOT_FOUND, layout::message("Not found", text)).into_response()
}
