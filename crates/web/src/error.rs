//! Errors as Prometheus' API writes them.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use model::series::ReadError;

/// Why a request has no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ApiError {
    pub(crate) status: StatusCode,
    /// Prometheus' word for the sort of error.
    pub(crate) error_type: &'static str,
    /// In words.
    pub(crate) text: String,
}

impl ApiError {
    pub(crate) fn bad_data(text: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad_data", text)
    }

    pub(crate) fn not_found(text: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", text)
    }

    pub(crate) fn forbidden(text: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "forbidden", text)
    }

    pub(crate) fn unauthorized(text: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "unauthorized", text)
    }

    pub(crate) fn busy(text: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", text)
    }

    pub(crate) fn execution(text: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "execution", text)
    }

    /// Something of ours or of the machine's; its cause is logged, not sent.
    pub(crate) fn internal(text: &str, cause: &dyn std::error::Error) -> Self {
        let chain = std::iter::successors(Some(cause), |error| error.source());
        let causes: Vec<_> = chain.map(ToString::to_string).collect();
        tracing::warn!(causes = causes.join(": "), "{text}");
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", text)
    }

    fn new(status: StatusCode, error_type: &'static str, text: impl Into<String>) -> Self {
        Self {
            status,
            error_type,
            text: text.into(),
        }
    }
}

impl From<ReadError> for ApiError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::BadQuery(text) => Self::bad_data(text),
            ReadError::Regex { .. } => Self::bad_data(error.to_string()),
            ReadError::OverBudget => Self::execution(error.to_string()),
            ReadError::Cancelled => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "canceled",
                error.to_string(),
            ),
            ReadError::Storage(cause) => Self::internal("failed to read stored series", &*cause),
            other => Self::internal("the query failed", &other),
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let body = serde_json::json!({
            "status": "error", "errorType": self.error_type, "error": self.text,
        });
        let mut response = (self.status, Json(body)).into_response();
        if self.status == StatusCode::UNAUTHORIZED {
            let way = HeaderValue::from_static("Bearer");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, way);
        }
        response
    }
}
