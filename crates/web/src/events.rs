//! `/events`: tells open pages that there is a newer view, as server-sent events.
//!
//! The format: section 9.2 of the HTML standard. A client gets `event: view` with the version as
//! data, at once and whenever it changes, and a comment every 15 s so that proxies keep the line.

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::State;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use tokio::sync::watch;

use crate::error::ApiError;
use crate::state::Shared;

const HEARTBEAT: Duration = Duration::from_secs(15);
/// Two events are at least this far apart: a page that renders faster is of no use to people.
const PACE: Duration = Duration::from_millis(500);
/// How long a browser waits before it asks again, in milliseconds.
const RETRY: Duration = Duration::from_secs(3);

/// One line for each new version; 503 when too many listen already.
pub(crate) async fn events(State(shared): State<Shared>) -> Response {
    let Ok(permit) = shared.listeners.clone().try_acquire_owned() else {
        return ApiError::busy("too many pages listen already; ask again every few seconds")
            .into_response();
    };
    let mut changed = shared.seams.changed.clone();
    changed.mark_changed();
    // The permit lives as long as the stream, which ends when the client or the engine goes.
    let lines = stream::unfold(
        (changed, permit, true),
        |(mut changed, permit, first)| async move {
            if !first {
                tokio::time::sleep(PACE).await;
            }
            let version = next(&mut changed).await?;
            let event = Event::default()
                .event("view")
                .id(version.to_string())
                .retry(RETRY)
                .data(version.to_string());
            Some((Ok::<_, Infallible>(event), (changed, permit, false)))
        },
    );
    let keep_alive = KeepAlive::new().interval(HEARTBEAT);
    Sse::new(lines).keep_alive(keep_alive).into_response()
}

async fn next(changed: &mut watch::Receiver<u64>) -> Option<u64> {
    changed.changed().await.ok()?;
    Some(*changed.borrow_and_update())
}
