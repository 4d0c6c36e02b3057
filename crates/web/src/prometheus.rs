//! `/api/v1/query` and `/api/v1/query_range`, in the JSON of Prometheus' HTTP API, so that Grafana
//! and promtool can ask us.

use std::time::Duration;

use axum::extract::rejection::FormRejection;
use axum::extract::{Form, State};
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use model::series::{QueryResult, ReadError};
use model::{Labels, Sample, UnixMs};
use serde::ser::{SerializeMap, SerializeSeq};
use serde::{Deserialize, Serialize, Serializer};

use crate::error::ApiError;
use crate::params;
use crate::state::Shared;

/// The longest query that is read.
const QUERY_BYTES_MAX: usize = 16 << 10;
/// The most points a series, as in Prometheus.
const POINTS_MAX: u64 = 11_000;
/// How long a query may take, waiting for its turn included.
const TIMEOUT: Duration = Duration::from_secs(30);

/// What both forms of a query take; unknown keys are ignored, as Prometheus does.
#[derive(Debug, Deserialize)]
pub(crate) struct Params {
    query: Option<String>,
    time: Option<String>,
    start: Option<String>,
    end: Option<String>,
    step: Option<String>,
}

type Asked = Result<Form<Params>, FormRejection>;

/// One evaluation. Without `time`, at the time of the latest view.
pub(crate) async fn instant(
    State(shared): State<Shared>,
    asked: Asked,
) -> Result<Response, ApiError> {
    let params = accepted(asked)?;
    let query = query_text(&params)?;
    let at = match &params.time {
        Some(text) => params::time("time", text)?,
        None => shared.seams.fleet.view().at,
    };
    let result = bounded(&shared, shared.seams.query.instant(query, at)).await?;
    Ok(answer(&result))
}

/// Evaluations at equal steps.
pub(crate) async fn range(
    State(shared): State<Shared>,
    asked: Asked,
) -> Result<Response, ApiError> {
    let params = accepted(asked)?;
    let query = query_text(&params)?;
    let given = |name: &str, value: &Option<String>| {
        let missing = || ApiError::bad_data(format!("missing parameter \"{name}\""));
        value.clone().ok_or_else(missing)
    };
    let from = params::time("start", &given("start", &params.start)?)?;
    let to = params::time("end", &given("end", &params.end)?)?;
    let step_ms = params::duration_ms("step", &given("step", &params.step)?)?;
    if to < from {
        return Err(ApiError::bad_data(
            "end timestamp must not be before start time",
        ));
    }
    if to.0.abs_diff(from.0) / step_ms > POINTS_MAX {
        return Err(ApiError::bad_data(format!(
            "exceeded maximum resolution of {POINTS_MAX} points per timeseries; use a larger step"
        )));
    }
    let result = bounded(&shared, shared.seams.query.range(query, from, to, step_ms)).await?;
    Ok(answer(&result))
}

/// Waits for a turn and for the answer, both within [`TIMEOUT`].
pub(crate) async fn bounded(
    shared: &Shared,
    asked: impl Future<Output = Result<QueryResult, ReadError>>,
) -> Result<QueryResult, ApiError> {
    let turn = async {
        let _permit = shared.queries.acquire().await;
        asked.await
    };
    match tokio::time::timeout(TIMEOUT, turn).await {
        Ok(result) => Ok(result?),
        Err(_) => Err(ApiError {
            status: axum::http::StatusCode::SERVICE_UNAVAILABLE,
            error_type: "timeout",
            text: format!("the query took longer than {} s", TIMEOUT.as_secs()),
        }),
    }
}

fn accepted(asked: Asked) -> Result<Params, ApiError> {
    let Form(params) = asked.map_err(|error| ApiError::bad_data(error.body_text()))?;
    Ok(params)
}

fn query_text(params: &Params) -> Result<&str, ApiError> {
    let text = params.query.as_deref().unwrap_or("");
    match text.len() {
        0 => Err(ApiError::bad_data(
            "invalid parameter \"query\": it is empty",
        )),
        1..=QUERY_BYTES_MAX => Ok(text),
        _ => Err(ApiError::bad_data(format!(
            "invalid parameter \"query\": it is longer than {QUERY_BYTES_MAX} bytes"
        ))),
    }
}

fn answer(result: &QueryResult) -> Response {
    let body = serde_json::to_string(&Answer {
        status: "success",
        data: Data(result),
    });
    match body {
        Ok(body) => {
            let json = HeaderValue::from_static("application/json");
            ([(header::CONTENT_TYPE, json)], body).into_response()
        }
        Err(error) => ApiError::internal("failed to write the answer", &error).into_response(),
    }
}

#[derive(Serialize)]
struct Answer<'a> {
    status: &'static str,
    data: Data<'a>,
}

/// `{"resultType": ..., "result": ...}`.
struct Data<'a>(&'a QueryResult);

impl Serialize for Data<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(2))?;
        match self.0 {
            QueryResult::Vector(rows) => {
                map.serialize_entry("resultType", "vector")?;
                map.serialize_entry("result", &Vector(rows))?;
            }
            QueryResult::Matrix(rows) => {
                map.serialize_entry("resultType", "matrix")?;
                let rows: Vec<_> = rows
                    .iter()
                    .map(|of| Row::Matrix(&of.labels, Points(&of.samples)))
                    .collect();
                map.serialize_entry("result", &rows)?;
            }
            QueryResult::Scalar(sample) => {
                map.serialize_entry("resultType", "scalar")?;
                map.serialize_entry("result", &Point(*sample))?;
            }
        }
        map.end()
    }
}

struct Vector<'a>(&'a [(Labels, Sample)]);

impl Serialize for Vector<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let rows = self.0.iter();
        serializer.collect_seq(rows.map(|(labels, sample)| Row::Vector(labels, Point(*sample))))
    }
}

enum Row<'a> {
    Vector(&'a Labels, Point),
    Matrix(&'a Labels, Points<'a>),
}

impl Serialize for Row<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(2))?;
        match self {
            Self::Vector(labels, point) => {
                map.serialize_entry("metric", labels)?;
                map.serialize_entry("value", point)?;
            }
            Self::Matrix(labels, points) => {
                map.serialize_entry("metric", labels)?;
                map.serialize_entry("values", points)?;
            }
        }
        map.end()
    }
}

struct Points<'a>(&'a [Sample]);

impl Serialize for Points<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(|sample| Point(*sample)))
    }
}

/// `[seconds, "value"]`.
struct Point(Sample);

impl Serialize for Point {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut pair = serializer.serialize_seq(Some(2))?;
        let UnixMs(millis) = self.0.t;
        match millis % 1000 {
            0 => pair.serialize_element(&(millis / 1000))?,
            _ => pair.serialize_element(&self.0.t.as_secs_f64())?,
        }
        pair.serialize_element(&value_text(self.0.v))?;
        pair.end()
    }
}

/// As Go's `strconv.FormatFloat(v, 'f', -1, 64)`.
fn value_text(value: f64) -> String {
    match value {
        v if v.is_nan() => "NaN".into(),
        f64::INFINITY => "+Inf".into(),
        f64::NEG_INFINITY => "-Inf".into(),
        v => v.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::Series;

    #[test]
    fn the_json_is_prometheus_own() {
        let sample = |t, v| Sample { t: UnixMs(t), v };
        let labels = Labels::metric("m", [("a", "\"")]);
        for (result, wanted) in [
            (
                QueryResult::Vector(vec![(labels.clone(), sample(1500, 0.25))]),
                r#"{"resultType":"vector","result":[{"metric":{"__name__":"m","a":"\""},"value":[1.5,"0.25"]}]}"#,
            ),
            (
                QueryResult::Matrix(vec![Series {
                    labels: Labels::default(),
                    samples: vec![sample(1000, f64::NAN), sample(2000, f64::INFINITY)],
                }]),
                r#"{"resultType":"matrix","result":[{"metric":{},"values":[[1,"NaN"],[2,"+Inf"]]}]}"#,
            ),
            (
                QueryResult::Scalar(sample(0, -1e21)),
                r#"{"resultType":"scalar","result":[0,"-1000000000000000000000"]}"#,
            ),
        ] {
            assert_eq!(serde_json::to_string(&Data(&result)).unwrap(), wanted);
        }
    }
}
