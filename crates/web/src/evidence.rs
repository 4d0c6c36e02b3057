//! Evidence for download, and the flame graph made of it. Both read a disk, so both run on blocking
//! threads, few at a time.

use std::sync::Arc;

use axum::extract::{Path, Query, State};
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use model::{Incident, IncidentId, TargetId};
use serde::Deserialize;

use crate::compare::{Compared, Comparison};
use crate::error::ApiError;
use crate::holders::{Held, target_shown};
use crate::state::Shared;

/// One evidence file as it was taken.
pub(crate) async fn download(
    State(shared): State<Shared>,
    Path((id, name)): Path<(String, String)>,
) -> Result<Response, ApiError> {
    let incident = find(&shared, &id)?;
    // Only a name that the incident lists is looked for: the path is the server's, not the request's.
    let listed = incident.evidence.iter().find(|file| file.name == name);
    let missing = || ApiError::not_found("the incident has no such evidence file");
    let name = listed.ok_or_else(missing)?.name.clone();
    let (fleet, of) = (shared.seams.fleet.clone(), incident.id.clone());
    let file_name = name.clone();
    let bytes = on_blocking_thread(&shared, move || fleet.evidence(&of, &file_name))
        .await?
        .map_err(|error| ApiError::internal("failed to read the evidence", &error))?
        .ok_or_else(missing)?;
    let headers = [
        (
            header::CONTENT_TYPE,
            HeaderValue::from_static(content_type(&name)),
        ),
        (header::CONTENT_DISPOSITION, disposition(&name)),
    ];
    Ok((headers, bytes).into_response())
}

/// The `type` of the graph of holders, beside the profiles' sample types.
pub(crate) const HOLDERS_TYPE: &str = "holders";

/// The query of a flame graph.
#[derive(Deserialize)]
pub(crate) struct FlameParams {
    #[serde(rename = "type")]
    sample_type: Option<String>,
    /// Of an incident with several targets.
    target: Option<String>,
}

/// The tree of two profiles of an incident.
pub(crate) async fn flame(
    State(shared): State<Shared>,
    Path(id): Path<String>,
    Query(params): Query<FlameParams>,
) -> Result<Response, ApiError> {
    let wanted = params.sample_type.as_deref().unwrap_or("inuse_space");
    let json = HeaderValue::from_static("application/json");
    let headers = [(header::CONTENT_TYPE, json)];
    if wanted == HOLDERS_TYPE {
        let incident = find(&shared, &id)?;
        let target = params.target.map(TargetId);
        let target = target.unwrap_or_else(|| incident.verdict.target.id.clone());
        let held = held(&shared, incident, target).await?;
        let held = held
            .ok_or_else(|| ApiError::not_found("the incident has no look at who holds the heap"))?;
        return Ok((headers, held.flame_json.clone()).into_response());
    }
    let compared = Compared::of_type(wanted).ok_or_else(|| {
        ApiError::bad_data("invalid parameter \"type\": expected inuse_space, goroutine or holders")
    })?;
    let incident = find(&shared, &id)?;
    let comparison = comparison(&shared, incident, compared).await?;
    let comparison = comparison.ok_or_else(|| {
        let [before, after] = compared.files();
        ApiError::not_found(format!(
            "the incident has no {before} and {after} to compare"
        ))
    })?;
    Ok((headers, comparison.flame_json.clone()).into_response())
}

/// Who holds the heap of a target of an incident, or of another of its targets where there is no
/// look at that one; `None` when none was taken.
pub(crate) async fn held(
    shared: &Shared,
    incident: Arc<Incident>,
    target: TargetId,
) -> Result<Option<Arc<Held>>, ApiError> {
    let Some(target) = target_shown(&incident, &target).cloned() else {
        return Ok(None);
    };
    let of = shared.clone();
    on_blocking_thread(shared, move || {
        of.held.get(&*of.seams.fleet, &incident, &target)
    })
    .await?
}

/// Two profiles of an incident compared; `None` when they were not both taken.
pub(crate) async fn comparison(
    shared: &Shared,
    incident: Arc<Incident>,
    compared: Compared,
) -> Result<Option<Arc<Comparison>>, ApiError> {
    let of = shared.clone();
    on_blocking_thread(shared, move || {
        of.comparisons.get(&*of.seams.fleet, &incident, compared)
    })
    .await?
}

/// The incident with this id.
pub(crate) fn find(shared: &Shared, id: &str) -> Result<Arc<Incident>, ApiError> {
    let view = shared.seams.fleet.view();
    let found = view.incident(&IncidentId(id.to_owned())).cloned();
    found.ok_or_else(|| ApiError::not_found("there is no such incident"))
}

async fn on_blocking_thread<T: Send + 'static>(
    shared: &Shared,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, ApiError> {
    let ended = |error: &dyn std::error::Error| ApiError::internal("the work was stopped", error);
    let _permit = shared
        .evidence
        .acquire()
        .await
        .map_err(|error| ended(&error))?;
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| ended(&error))
}

fn content_type(name: &str) -> &'static str {
    match name.rsplit('.').next() {
        Some("gz") => "application/gzip",
        Some("json") => "application/json",
        Some("txt") => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}

fn disposition(name: &str) -> HeaderValue {
    let safe = |c: char| match c {
        'a'..='z' | 'A'..='Z' | '0'..='9' | '.' | '-' | '_' => c,
        _ => '_',
    };
    let name: String = name.chars().take(128).map(safe).collect();
    HeaderValue::from_str(&format!("attachment; filename=\"{name}\""))
        .unwrap_or(HeaderValue::from_static("attachment"))
}
