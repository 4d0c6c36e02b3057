//! Targets, verdicts, incidents, commands and health as JSON.

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use model::verdict::TimeToLimit;
use model::{
    Command, CommandOutcome, Incident, IncidentId, Judgement, Kind, Siblings, Silence, Target,
    TargetId, TargetState, TargetView, UnixMs, Verdict,
};
use serde::Serialize;

use crate::error::ApiError;
use crate::guard;
use crate::metrics::growth_bytes_per_minute;
use crate::routes::Open;
use crate::state::Shared;

type Answer<T> = Result<Json<T>, ApiError>;

/// One line of the list of targets.
#[derive(Serialize)]
pub(crate) struct TargetRow {
    target: Target,
    state: TargetState,
    rss_bytes: Option<u64>,
    goroutines: Option<f64>,
    verdict: Option<Judgement>,
    kind: Option<Kind>,
    confidence: Option<f64>,
    growth_bytes_per_minute: Option<f64>,
    limit_bytes: Option<u64>,
    seconds_to_limit: Option<TimeToLimit>,
    incidents: Vec<IncidentId>,
}

/// One line of the list of incidents.
#[derive(Serialize)]
pub(crate) struct IncidentRow {
    id: IncidentId,
    state: model::IncidentState,
    title: String,
    workload: String,
    kind: Kind,
    culprit: String,
    opened: String,
    last_seen: String,
    resolved: Option<String>,
    targets: Vec<TargetId>,
    siblings: Option<Siblings>,
    acknowledged: bool,
    silence: Option<Silence>,
}

#[derive(Serialize)]
pub(crate) struct Targets {
    at: String,
    targets: Vec<TargetRow>,
}

#[derive(Serialize)]
pub(crate) struct Verdicts {
    at: String,
    verdicts: Vec<Verdict>,
}

#[derive(Serialize)]
pub(crate) struct Incidents {
    at: String,
    incidents: Vec<IncidentRow>,
}

pub(crate) async fn targets(State(shared): State<Shared>) -> Json<Targets> {
    let view = shared.seams.fleet.view();
    Json(Targets {
        at: view.at.rfc3339(),
        targets: view.targets.iter().map(row).collect(),
    })
}

pub(crate) async fn target(
    State(shared): State<Shared>,
    Path(id): Path<String>,
) -> Answer<TargetView> {
    Ok(Json(find(&shared, id)?))
}

pub(crate) async fn verdicts(State(shared): State<Shared>) -> Json<Verdicts> {
    let view = shared.seams.fleet.view();
    let verdicts = view
        .targets
        .iter()
        .filter_map(|target| target.verdict.clone());
    Json(Verdicts {
        at: view.at.rfc3339(),
        verdicts: verdicts.collect(),
    })
}

pub(crate) async fn verdict(
    State(shared): State<Shared>,
    Path(id): Path<String>,
) -> Answer<Verdict> {
    let missing = || ApiError::not_found("there is no verdict on this target yet");
    let verdict = find(&shared, id)?.verdict;
    Ok(Json(verdict.ok_or_else(missing)?))
}

pub(crate) async fn incidents(State(shared): State<Shared>) -> Json<Incidents> {
    let view = shared.seams.fleet.view();
    Json(Incidents {
        at: view.at.rfc3339(),
        incidents: view
            .incidents
            .iter()
            .map(|incident| incident_row(incident))
            .collect(),
    })
}

pub(crate) async fn incident(
    State(shared): State<Shared>,
    Path(id): Path<String>,
) -> Answer<Incident> {
    let incident = crate::evidence::find(&shared, &id)?;
    Ok(Json((*incident).clone()))
}

/// Hands a command to the engine: 202 when it is accepted, 409 when refused, 429 when busy.
pub(crate) async fn command(
    State(shared): State<Shared>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, ApiError> {
    guard::command_headers(&headers)?;
    shared.seams.operator.check(&headers)?;
    let command = serde_json::from_slice::<Command>(&body)
        .map_err(|error| ApiError::bad_data(format!("not a command: {error}")))?;
    Ok(hand(&shared, command).await)
}

/// Prometheus' way to ask for a reload.
pub(crate) async fn reload(
    State(shared): State<Shared>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    shared.seams.operator.check(&headers)?;
    Ok(hand(&shared, Command::Reload).await)
}

async fn hand(shared: &Shared, command: Command) -> Response {
    let outcome = shared.seams.commands.hand(command).await;
    let status = match outcome {
        CommandOutcome::Accepted { .. } => StatusCode::ACCEPTED,
        CommandOutcome::Refused { .. } => StatusCode::CONFLICT,
        CommandOutcome::Busy => StatusCode::TOO_MANY_REQUESTS,
    };
    (status, Json(outcome)).into_response()
}

pub(crate) async fn healthy() -> &'static str {
    "unswept is healthy.\n"
}

/// 200, or 503 with what is wrong, a line each. A receiver that cannot be told is named, but takes the watcher out of
/// no service: its pages are where one sees why.
pub(crate) async fn ready(State(open): State<Open>) -> Response {
    let view = open.0.view();
    let troubles = &view.health.troubles;
    if troubles.is_empty() {
        let mut text = String::from("unswept is ready.\n");
        for receiver in &view.health.undelivered {
            text += &format!("alerts do not arrive: {receiver}\n");
        }
        return text.into_response();
    }
    let text = format!("unswept is not ready:\n{}\n", troubles.join("\n"));
    (StatusCode::SERVICE_UNAVAILABLE, text).into_response()
}

fn find(shared: &Shared, id: String) -> Result<TargetView, ApiError> {
    let view = shared.seams.fleet.view();
    let found = view.target(&TargetId(id)).cloned();
    found.ok_or_else(|| ApiError::not_found("there is no such target"))
}

fn row(view: &TargetView) -> TargetRow {
    let verdict = view.verdict.as_ref();
    TargetRow {
        target: view.target.clone(),
        state: view.state.clone(),
        rss_bytes: view.process.map(|process| process.rss_bytes),
        goroutines: view.go.and_then(|go| go.goroutines),
        verdict: verdict.map(|verdict| verdict.verdict),
        kind: verdict.and_then(|verdict| verdict.kind),
        confidence: verdict.and_then(|verdict| verdict.confidence),
        growth_bytes_per_minute: verdict.and_then(growth_bytes_per_minute),
        limit_bytes: verdict.and_then(|verdict| verdict.limit_bytes),
        seconds_to_limit: verdict.and_then(|verdict| verdict.seconds_to_limit),
        incidents: view.incidents.clone(),
    }
}

fn incident_row(incident: &Incident) -> IncidentRow {
    IncidentRow {
        id: incident.id.clone(),
        state: incident.state,
        title: crate::pages::incident_title(incident),
        workload: incident.workload.0.clone(),
        kind: incident.kind,
        culprit: incident.culprit.clone(),
        opened: incident.opened.rfc3339(),
        last_seen: incident.last_seen.rfc3339(),
        resolved: incident.resolved.map(UnixMs::rfc3339),
        targets: incident.members().cloned().collect(),
        siblings: incident.siblings,
        acknowledged: incident.is_acknowledged(),
        silence: incident.silence,
    }
}
