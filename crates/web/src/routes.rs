//! Every route in one table, so that a test can hold it against `docs/openapi.yaml`.

use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, FromRef, Request};
use axum::middleware::{from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post};
use model::FleetRead;

use crate::error::ApiError;
use crate::state::{self, Inner, Shared, WebState};
use crate::{api, assets, events, evidence, guard, history, metrics, operator, pages, prometheus};

/// The largest body that is read: a long query as a form.
const BODY_BYTES_MAX: usize = 64 << 10;

/// What the open routes know.
#[derive(Clone)]
pub(crate) struct Open(pub(crate) Arc<dyn FleetRead>);

impl FromRef<Shared> for Open {
    fn from_ref(shared: &Shared) -> Self {
        Self(shared.seams.fleet.clone())
    }
}

/// One line of the table: method, path, handler.
pub(crate) type Route<S> = (&'static str, &'static str, MethodRouter<S>);

/// The routes that tell nothing but metrics and health.
pub(crate) fn open_routes<S>() -> Vec<Route<S>>
where
    S: Clone + Send + Sync + 'static,
    Open: FromRef<S>,
{
    vec![
        ("GET", "/metrics", get(metrics::metrics)),
        ("GET", "/-/healthy", get(api::healthy)),
        ("GET", "/-/ready", get(api::ready)),
    ]
}

/// All routes but the open ones.
pub(crate) fn own_routes() -> Vec<Route<Shared>> {
    vec![
        ("GET", "/", get(pages::fleet)),
        ("GET", "/targets/{id}", get(pages::target)),
        ("GET", "/incidents", get(pages::incidents)),
        ("GET", "/incidents/{id}", get(pages::incident)),
        (
            "POST",
            "/incidents/{id}/answers",
            post(pages::answers::answer),
        ),
        ("GET", "/login", get(operator::login_page)),
        ("POST", "/login", post(operator::login)),
        ("GET", "/assets/{name}", get(assets::asset)),
        ("GET", "/events", get(events::events)),
        ("POST", "/-/reload", post(api::reload)),
        ("GET", "/api/v1/query", get(prometheus::instant)),
        ("POST", "/api/v1/query", post(prometheus::instant)),
        ("GET", "/api/v1/query_range", get(prometheus::range)),
        ("POST", "/api/v1/query_range", post(prometheus::range)),
        ("GET", "/api/v1/unswept/targets", get(api::targets)),
        ("GET", "/api/v1/unswept/targets/{id}", get(api::target)),
        (
            "GET",
            "/api/v1/unswept/targets/{id}/history",
            get(history::history),
        ),
        ("GET", "/api/v1/unswept/verdicts", get(api::verdicts)),
        (
            "GET",
            "/api/v1/unswept/verdicts/{target}",
            get(api::verdict),
        ),
        ("GET", "/api/v1/unswept/incidents", get(api::incidents)),
        ("GET", "/api/v1/unswept/incidents/{id}", get(api::incident)),
        (
            "GET",
            "/api/v1/unswept/incidents/{id}/evidence/{name}",
            get(evidence::download),
        ),
        (
            "GET",
            "/api/v1/unswept/incidents/{id}/flame",
            get(evidence::flame),
        ),
        ("POST", "/api/v1/unswept/commands", post(api::command)),
    ]
}

/// API and pages. Requests whose `Host` is a name that [`WebState::allowed_hosts`] has not, and
/// changes asked by other web sites, are refused.
pub fn router(state: WebState) -> Router {
    let shared = Inner::new(state);
    let routes = own_routes().into_iter().chain(open_routes());
    let router = routes.fold(Router::new(), |router, (_, path, handler)| {
        router.route(path, handler)
    });
    router
        .fallback(nothing_here)
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(from_fn_with_state(shared.clone(), guard::same_site))
        .layer(from_fn_with_state(shared.clone(), state::within_budget))
        .layer(from_fn(guard::secured))
        .with_state(shared)
}

/// `/metrics`, `/-/healthy` and `/-/ready` only: may be open to a network, under any name.
pub fn metrics_router(fleet: Arc<dyn FleetRead>) -> Router {
    let routes = open_routes::<Open>().into_iter();
    let router = routes.fold(Router::new(), |router, (_, path, handler)| {
        router.route(path, handler)
    });
    router
        .layer(from_fn(guard::secured))
        .with_state(Open(fleet))
}

async fn nothing_here(request: Request) -> Response {
    match request.uri().path().starts_with("/api/") {
        true => ApiError::not_found("there is nothing at this path").into_response(),
        false => pages::not_found("There is nothing at this address."),
    }
}
