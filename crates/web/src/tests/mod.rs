//! Requests through the router, without a socket, over the made-up fleet of the preview.

mod answers;
mod description;
#[path = "../../examples/preview/made_up.rs"]
pub(crate) mod made_up;
mod operator;
mod pages;

use std::sync::Arc;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Request, StatusCode};
use made_up::MadeUp;
use serde_json::Value;
use tokio::sync::watch;
use tower::ServiceExt;

use crate::{Operator, WebState, router};

const TOKEN: &str = "0123456789abcdef";

/// The router and the sender of its versions.
fn server() -> (Router, watch::Sender<u64>) {
    let made_up = Arc::new(MadeUp::default());
    let (changed, version) = watch::channel(7);
    let operator = Operator::Token {
        token: TOKEN.into(),
        file: "/var/lib/unswept/operator-token".into(),
    };
    let state = WebState::new(made_up.clone(), made_up.clone(), made_up, operator, version);
    (router(state), changed)
}

/// A request of somebody who may read.
fn reader(method: &str, path: &str) -> axum::http::request::Builder {
    let built = Request::builder().method(method).uri(path);
    built.header("host", "localhost:7787")
}

/// A request of the operator.
fn request(method: &str, path: &str) -> axum::http::request::Builder {
    reader(method, path).header("authorization", format!("Bearer {TOKEN}"))
}

/// Status, headers and body of an answer.
async fn ask(request: Request<Body>) -> (StatusCode, HeaderMap, String) {
    let (router, _changed) = server();
    let answer = router.oneshot(request).await.unwrap();
    let (head, body) = answer.into_parts();
    let body = to_bytes(body, 16 << 20).await.unwrap();
    let text = String::from_utf8_lossy(&body).into_owned();
    (head.status, head.headers, text)
}

async fn get(path: &str) -> (StatusCode, HeaderMap, String) {
    ask(request("GET", path).body(Body::empty()).unwrap()).await
}

async fn get_json(path: &str) -> (StatusCode, Value) {
    let (status, _, text) = get(path).await;
    (
        status,
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{path}: {error}: {text}")),
    )
}

/// The first target and its incident: a Go heap that leaks.
fn first() -> (String, String) {
    let view = made_up::view(0);
    (
        view.targets[0].target.id.0.clone(),
        view.incidents[0].id.0.clone(),
    )
}
