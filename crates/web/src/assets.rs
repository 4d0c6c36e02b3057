//! Scripts and styles, in the binary: the pages work on a machine without a network.

use axum::extract::{Path, Request};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use crate::error::ApiError;

const SCRIPT: &str = "text/javascript; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";

/// Name, content type, content.
const ASSETS: [(&str, &str, &str); 8] = [
    ("style.css", STYLE, include_str!("../assets/style.css")),
    ("live.js", SCRIPT, include_str!("../assets/live.js")),
    ("figures.js", SCRIPT, include_str!("../assets/figures.js")),
    ("charts.js", SCRIPT, include_str!("../assets/charts.js")),
    ("flame.js", SCRIPT, include_str!("../assets/flame.js")),
    (
        "icon.svg",
        "image/svg+xml",
        include_str!("../assets/icon.svg"),
    ),
    (
        "uplot.js",
        SCRIPT,
        include_str!("../../../vendor/uplot/uPlot.iife.min.js"),
    ),
    (
        "uplot.css",
        STYLE,
        include_str!("../../../vendor/uplot/uPlot.min.css"),
    ),
];

/// A file's text; empty if there is none of that name.
pub(crate) fn text(name: &str) -> &'static str {
    let found = ASSETS.iter().find(|(have, ..)| *have == name);
    found.map_or("", |(_, _, text)| text)
}

/// One file. A browser asks each time whether it changed: a new release is seen at once.
pub(crate) async fn asset(Path(name): Path<String>, request: Request) -> Response {
    let Some((_, kind, text)) = ASSETS.iter().find(|(have, ..)| *have == name) else {
        return ApiError::not_found("there is no such file").into_response();
    };
    let tag = format!("\"{}\"", model::target::fingerprint(&[text]));
    let known = request.headers().get(header::IF_NONE_MATCH);
    if known.is_some_and(|known| known.as_bytes() == tag.as_bytes()) {
        return StatusCode::NOT_MODIFIED.into_response();
    }
    let mut response = (*text).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        headers.insert(header::ETAG, tag);
    }
    response
}
