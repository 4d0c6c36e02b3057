//! What the charts draw: stored series, asked through the `Query` seam and laid on one time axis.
//!
//! The names below are those under which a collected target is stored, each series with the label
//! `target_id`.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::Json;
use axum::extract::{Path, Query, State};
use model::mark::{MARK_LABEL, REVISION_LABEL, WORKLOAD_LABEL};
use model::series::QueryResult;
use model::{Series, TARGET_LABEL, TargetId, UnixMs};
use serde::{Deserialize, Serialize};

use crate::error::ApiError;
use crate::prometheus::bounded;
use crate::state::Shared;

/// Points of a chart: about one for two pixels.
const POINTS_MAX: u64 = 360;
/// The longest stretch, as raw series are kept.
const MINUTES_MAX: u32 = 30 * 24 * 60;
/// Points of a small chart in the table, and how far it goes back.
const SPARK_POINTS: u64 = 40;
const SPARK_MINUTES: u32 = 30;
/// Targets that get a small chart.
const SPARKS_MAX: usize = 500;

/// A component's label.
const COMPONENT_LABEL: &str = "component";

/// What to ask for one target's charts; `$` stands for the matcher of the target.
const COMPONENTS: &str = "unswept_component_bytes{$}";
const UNEXPLAINED: &str = "unswept_unexplained_bytes{$}";
const RSS: &str = "unswept_process_rss_bytes{$}";
const GOROUTINES: &str = "unswept_go_goroutines{$}";
/// Deploys, restarts and ends of the target's workload; `$` stands for the matcher of that.
const MARKS: &str = "unswept_mark{$}";
/// Marks that are drawn, the latest: more would hide the course.
const MARKS_MAX: usize = 60;
const COLLECTIONS: &str = "rate(unswept_go_gc_cycles{$}[2m]) * 60";

/// The query of a history.
#[derive(Deserialize)]
pub(crate) struct HistoryParams {
    minutes: Option<u32>,
}

/// One target's course. Every list has as many values as there are times; `null` is a gap.
#[derive(Debug, Serialize)]
pub(crate) struct History {
    /// Seconds since 1970.
    times: Vec<f64>,
    step_s: f64,
    /// The ledger's lines in its order, those that have a history.
    components: Vec<Line>,
    rss_bytes: Option<Vec<Option<f64>>>,
    goroutines: Option<Vec<Option<f64>>>,
    collections_per_minute: Option<Vec<Option<f64>>>,
    limit_bytes: Option<u64>,
    /// When the growth that is now judged a leak began, in seconds since 1970.
    onset_s: Option<f64>,
    /// What happened to the target's workload meanwhile, oldest first.
    marks: Vec<ChartMark>,
}

#[derive(Debug, Serialize)]
struct ChartMark {
    /// Seconds since 1970.
    at_s: f64,
    mark: String,
    /// Of a deploy.
    revision: Option<String>,
}

#[derive(Debug, Serialize)]
struct Line {
    name: String,
    label: String,
    values: Vec<Option<f64>>,
}

/// A target's course over the last `minutes`, 60 unless told otherwise.
pub(crate) async fn history(
    State(shared): State<Shared>,
    Path(id): Path<String>,
    Query(params): Query<HistoryParams>,
) -> Result<Json<History>, ApiError> {
    let view = shared.seams.fleet.view();
    let id = TargetId(id);
    let found = view.target(&id);
    let target = found.ok_or_else(|| ApiError::not_found("there is no such target"))?;
    let axis = Axis::new(view.at, params.minutes.unwrap_or(60), POINTS_MAX);
    let asked = |query: &str| {
        let selector = format!("{TARGET_LABEL}={}", quoted(&id.0));
        let query = query.replace('$', &selector);
        ask(&shared, query, &axis)
    };
    let mut components = asked(COMPONENTS).await?;
    let rest = asked(UNEXPLAINED).await?.into_iter().map(|row| Series {
        labels: row.labels.with([(COMPONENT_LABEL, "unexplained")]),
        ..row
    });
    components.extend(rest);
    let lines = target.ledger.iter().flat_map(|ledger| &ledger.components);
    let order: Vec<&str> = lines.map(|line| line.name.as_str()).collect();
    let verdict = target.verdict.as_ref();
    let onset = verdict.and_then(|verdict| verdict.findings.first()?.onset);
    Ok(Json(History {
        step_s: axis.step_ms as f64 / 1000.0,
        components: stacked(&components, &order, &axis),
        rss_bytes: first_line(&asked(RSS).await?, &axis),
        goroutines: first_line(&asked(GOROUTINES).await?, &axis),
        collections_per_minute: first_line(&asked(COLLECTIONS).await?, &axis),
        limit_bytes: verdict.and_then(|verdict| verdict.limit_bytes),
        onset_s: onset.map(UnixMs::as_secs_f64),
        marks: marks(&shared, &target.target.workload.0, &axis).await?,
        times: axis.times(),
    }))
}

/// The marks on the axis, as they are stored: not what PromQL would repeat for five minutes.
async fn marks(shared: &Shared, workload: &str, axis: &Axis) -> Result<Vec<ChartMark>, ApiError> {
    let selector = MARKS.replace('$', &format!("{WORKLOAD_LABEL}={}", quoted(workload)));
    let seconds = axis.to.since(axis.from).as_secs();
    // A step is not over: what has just happened lies in it.
    let to = axis.to.after(Duration::from_millis(axis.step_ms));
    let query = format!("{selector}[{}s]", seconds + axis.step_ms.div_ceil(1000));
    let asked = shared.seams.query.instant(&query, to);
    let QueryResult::Matrix(rows) = bounded(shared, asked).await? else {
        return Ok(Vec::new());
    };
    let mut marks: Vec<ChartMark> = rows
        .iter()
        .flat_map(|row| row.samples.iter().map(move |sample| (row, sample)))
        .filter_map(|(row, sample)| {
            Some(ChartMark {
                at_s: sample.t.as_secs_f64(),
                mark: row.labels.get(MARK_LABEL)?.to_owned(),
                revision: row.labels.get(REVISION_LABEL).map(str::to_owned),
            })
        })
        .collect();
    marks.sort_by(|a, b| a.at_s.total_cmp(&b.at_s));
    marks.drain(..marks.len().saturating_sub(MARKS_MAX));
    Ok(marks)
}

/// The course of every target's resident memory over the last half hour, by target; empty where
/// the store does not answer, since the table is of use without it.
pub(crate) async fn sparks(shared: &Shared) -> BTreeMap<String, Vec<Option<f64>>> {
    let axis = Axis::new(shared.seams.fleet.view().at, SPARK_MINUTES, SPARK_POINTS);
    let asked = ask(shared, RSS.replace("{$}", ""), &axis).await;
    let rows = asked.unwrap_or_default();
    let of_target = |row: &Series| {
        let id = row.labels.get(TARGET_LABEL)?.to_owned();
        Some((id, axis.values(row)))
    };
    rows.iter().take(SPARKS_MAX).filter_map(of_target).collect()
}

async fn ask(shared: &Shared, query: String, axis: &Axis) -> Result<Vec<Series>, ApiError> {
    let asked = shared
        .seams
        .query
        .range(&query, axis.from, axis.to, axis.step_ms);
    match bounded(shared, asked).await? {
        QueryResult::Matrix(rows) => Ok(rows),
        QueryResult::Vector(_) | QueryResult::Scalar(_) => Ok(Vec::new()),
    }
}

/// A PromQL string.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '\\' | '"' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// Equal steps from one time to another.
struct Axis {
    from: UnixMs,
    to: UnixMs,
    step_ms: u64,
}

impl Axis {
    /// The last `minutes` before `now`, on multiples of the step so that points stay where they are
    /// from one look to the next.
    fn new(now: UnixMs, minutes: u32, points: u64) -> Self {
        let span_ms = u64::from(minutes.clamp(1, MINUTES_MAX)) * 60_000;
        let step_ms = (span_ms / points).max(1000);
        let step = step_ms as i64;
        let to = now.0.div_euclid(step) * step;
        Self {
            from: UnixMs(to - span_ms as i64),
            to: UnixMs(to),
            step_ms,
        }
    }

    fn len(&self) -> usize {
        (self.to.0.abs_diff(self.from.0) / self.step_ms) as usize + 1
    }

    fn times(&self) -> Vec<f64> {
        let at = |step: usize| (self.from.0 as f64 + (step as u64 * self.step_ms) as f64) / 1000.0;
        (0..self.len()).map(at).collect()
    }

    /// A series' values on the axis; what lies beside it is left out.
    fn values(&self, row: &Series) -> Vec<Option<f64>> {
        let mut values = vec![None; self.len()];
        for sample in row.samples.iter().filter(|sample| sample.v.is_finite()) {
            let Ok(offset) = u64::try_from(sample.t.0.saturating_sub(self.from.0)) else {
                continue;
            };
            if let Some(slot) = values.get_mut((offset / self.step_ms) as usize) {
                *slot = Some(sample.v);
            }
        }
        values
    }
}

/// The lines inside the sum, in the ledger's order, `unexplained` last.
fn stacked(rows: &[Series], order: &[&str], axis: &Axis) -> Vec<Line> {
    let place = |row: &Series| {
        let name = row.labels.get(COMPONENT_LABEL)?;
        let at = order.iter().position(|have| *have == name);
        at.or((name == "unexplained").then_some(usize::MAX))
    };
    let mut known: Vec<_> = rows
        .iter()
        .filter_map(|row| Some((place(row)?, row)))
        .collect();
    known.sort_by_key(|(place, _)| *place);
    let line = |(_, row): (usize, &Series)| {
        let name = row.labels.get(COMPONENT_LABEL).unwrap_or("").to_owned();
        Line {
            label: crate::words::component(&name).to_owned(),
            name,
            values: axis.values(row),
        }
    };
    known.into_iter().map(line).collect()
}

fn first_line(rows: &[Series], axis: &Axis) -> Option<Vec<Option<f64>>> {
    rows.first().map(|row| axis.values(row))
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::{Labels, Sample};

    #[test]
    fn an_axis_has_its_points_at_fixed_places() {
        let axis = Axis::new(UnixMs(3_600_000 + 777), 60, POINTS_MAX);
        assert_eq!(
            (axis.from.0, axis.to.0, axis.step_ms),
            (0, 3_600_000, 10_000)
        );
        assert_eq!((axis.len(), axis.times()[360]), (361, 3600.0));
        assert_eq!(Axis::new(UnixMs(0), u32::MAX, 360).len(), 361);
        assert_eq!(Axis::new(UnixMs(0), 0, 360).len(), 61);
    }

    #[test]
    fn values_beside_the_axis_and_gaps_are_left_out() {
        let axis = Axis::new(UnixMs(60_000), 1, 6);
        let sample = |t, v| Sample { t: UnixMs(t), v };
        let row = Series {
            labels: Labels::default(),
            samples: vec![
                sample(-10_000, 9.0),
                sample(10_000, 1.0),
                sample(20_000, f64::NAN),
                sample(30_000, 3.0),
                sample(90_000, 9.0),
            ],
        };
        let wanted = [None, Some(1.0), None, Some(3.0), None, None, None];
        assert_eq!(axis.values(&row), wanted);
    }

    #[test]
    fn an_id_cannot_leave_its_string() {
        assert_eq!(quoted("a\"} or x{\\\n"), r#""a\"} or x{\\\n""#);
    }
}
