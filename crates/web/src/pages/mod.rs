//! The pages, made on the server. Each is complete without scripts; `live.js` replaces the
//! elements that have `data-part` when there is a newer view.

mod fleet;
mod incident;
mod layout;
mod parts;
mod target;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use model::{IncidentId, Kind, TargetId};

pub(crate) use incident::title as incident_title;

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
        Some(found) => target::page(&view, found).into_response(),
        None => not_found("There is no such target. It may have ended longer ago than is kept."),
    }
}

/// All incidents, the latest first.
pub(crate) async fn incidents(State(shared): State<Shared>) -> Response {
    incident::list_page(&shared.seams.fleet.view()).into_response()
}

/// One incident.
pub(crate) async fn incident(State(shared): State<Shared>, Path(id): Path<String>) -> Response {
    let view = shared.seams.fleet.view();
    let Some(found) = view.incident(&IncidentId(id)).cloned() else {
        return not_found("There is no such incident.");
    };
    let heap = evidence::comparison(&shared, found.clone(), Compared::Heap).await;
    let goroutines = match found.kind {
        Kind::Goroutine => evidence::comparison(&shared, found.clone(), Compared::Goroutines).await,
        _ => Ok(None),
    };
    incident::page(&view, &found, &heap, &goroutines).into_response()
}

/// A page that says what is missing.
pub(crate) fn not_found(text: &str) -> Response {
    (StatusCode::NOT_FOUND, layout::message("Not found", text)).into_response()
}
