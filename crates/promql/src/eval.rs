//! The tree evaluated, step by step, over series that are read once.

use std::collections::{BTreeMap, HashMap, HashSet};

use model::series::{QueryResult, ReadError, is_stale_marker};
use model::{Budget, Cancel, Labels, METRIC_NAME, Sample, Series, SeriesRead, UnixMs};

use crate::ast::{
    Aggregation, Binary, BinaryOp, Expr, Grouping, Matching, RangeFunction, Selector,
};
use crate::window::{Window, least, most, sum};

/// The most steps of a range query, as in Prometheus.
const STEPS_MAX: u64 = 11_000;

/// What one evaluation reads, when, and within which bounds.
pub(crate) struct Evaluation<'a> {
    pub(crate) read: &'a dyn SeriesRead,
    pub(crate) lookback_ms: u64,
    pub(crate) budget: &'a Budget,
    pub(crate) cancel: &'a Cancel,
    pub(crate) from: UnixMs,
    pub(crate) to: UnixMs,
}

/// An expression whose series have been read.
enum Ready {
    Number(f64),
    Instant(Vec<Series>, i64, u64),
    Negate(Box<Ready>),
    Binary(Box<ReadyBinary>),
    OverRange(RangeFunction, Vec<Series>, i64, u64),
    Aggregate(Aggregation, Grouping, Box<Ready>),
}

struct ReadyBinary {
    op: BinaryOp,
    left: Ready,
    right: Ready,
    return_bool: bool,
    matching: Matching,
}

type Vector = Vec<(Labels, f64)>;

enum Value {
    Scalar(f64),
    Vector(Vector),
}

fn bad(text: impl Into<String>) -> ReadError {
    ReadError::BadQuery(text.into())
}

impl Evaluation<'_> {
    /// Evaluates at `from`, which must be `to`.
    pub(crate) fn instant(&self, expr: &Expr) -> Result<QueryResult, ReadError> {
        let at = self.to;
        if let Expr::Range(selector, range_ms) = expr {
            return self.raw(selector, *range_ms).map(QueryResult::Matrix);
        }
        Ok(match self.ready(expr)?.at(at)? {
            Value::Scalar(v) => QueryResult::Scalar(Sample { t: at, v }),
            Value::Vector(vector) => {
                let mut samples: Vec<_> = vector
                    .into_iter()
                    .map(|(labels, v)| (labels, Sample { t: at, v }))
                    .collect();
                samples.sort_by(|a, b| a.0.cmp(&b.0));
                QueryResult::Vector(samples)
            }
        })
    }

    /// Evaluates at `from`, `from + step_ms`, ... up to `to`.
    pub(crate) fn range(&self, expr: &Expr, step_ms: u64) -> Result<QueryResult, ReadError> {
        if self.to < self.from {
            return Err(bad("the end is before the start"));
        }
        let steps = self.to.0.abs_diff(self.from.0).checked_div(step_ms);
        let steps = steps.ok_or_else(|| bad("a step of zero"))? + 1;
        if steps > STEPS_MAX {
            return Err(bad(format!(
                "{steps} steps are over the limit of {STEPS_MAX}"
            )));
        }
        let ready = self.ready(expr)?;
        let mut series = BTreeMap::<Labels, Vec<Sample>>::new();
        for step in 0..steps {
            if self.cancel.is_cancelled() {
                return Err(ReadError::Cancelled);
            }
            let t = UnixMs(self.from.0.saturating_add_unsigned(step * step_ms));
            let vector = match ready.at(t)? {
                Value::Scalar(v) => vec![(Labels::default(), v)],
                Value::Vector(vector) => vector,
            };
            for (labels, v) in vector {
                series.entry(labels).or_default().push(Sample { t, v });
            }
        }
        let series = series.into_iter();
        let series = series.map(|(labels, samples)| Series { labels, samples });
        Ok(QueryResult::Matrix(series.collect()))
    }

    fn ready(&self, expr: &Expr) -> Result<Ready, ReadError> {
        Ok(match expr {
            Expr::Number(number) => Ready::Number(*number),
            Expr::Instant(selector) => {
                let series = self.select(selector, self.lookback_ms)?;
                Ready::Instant(series, selector.offset_ms, self.lookback_ms)
            }
            Expr::Range(..) => return Err(bad("a range needs a function around it here")),
            Expr::Negate(of) => Ready::Negate(Box::new(self.ready(of)?)),
            Expr::Binary(binary) => Ready::Binary(Box::new(self.ready_binary(binary)?)),
            Expr::OverRange(function, selector, range_ms) => {
                let mut series = self.select(selector, *range_ms)?;
                series.iter_mut().for_each(drop_stale_markers);
                Ready::OverRange(*function, series, selector.offset_ms, *range_ms)
            }
            Expr::Aggregate(aggregation, grouping, of) => {
                Ready::Aggregate(*aggregation, grouping.clone(), Box::new(self.ready(of)?))
            }
        })
    }

    fn ready_binary(&self, binary: &Binary) -> Result<ReadyBinary, ReadError> {
        Ok(ReadyBinary {
            op: binary.op,
            left: self.ready(&binary.left)?,
            right: self.ready(&binary.right)?,
            return_bool: binary.return_bool,
            matching: binary.matching.clone(),
        })
    }

    /// All that the steps can need: windows are open on the left.
    fn select(&self, selector: &Selector, window_ms: u64) -> Result<Vec<Series>, ReadError> {
        let offset = selector.offset_ms;
        let from = self
            .from
            .0
            .saturating_sub(offset)
            .saturating_sub_unsigned(window_ms);
        let (from, to) = (from.saturating_add(1), self.to.0.saturating_sub(offset));
        let (from, to) = (UnixMs(from), UnixMs(to));
        self.read
            .select(&selector.matchers, from, to, self.budget, self.cancel)
    }

    fn raw(&self, selector: &Selector, range_ms: u64) -> Result<Vec<Series>, ReadError> {
        let mut series = self.select(selector, range_ms)?;
        series.iter_mut().for_each(drop_stale_markers);
        series.retain(|series| !series.samples.is_empty());
        Ok(series)
    }
}

fn drop_stale_markers(series: &mut Series) {
    series.samples.retain(|sample| !is_stale_marker(sample.v));
}

/// The samples in `(end - range, end]`.
fn window(samples: &[Sample], end_ms: i64, range_ms: u64) -> &[Sample] {
    let start_ms = end_ms.saturating_sub_unsigned(range_ms);
    let first = samples.partition_point(|sample| sample.t.0 <= start_ms);
    let past = samples.partition_point(|sample| sample.t.0 <= end_ms);
    &samples[first..past.max(first)]
}

impl Ready {
    fn at(&self, t: UnixMs) -> Result<Value, ReadError> {
        match self {
            Self::Number(number) => Ok(Value::Scalar(*number)),
            Self::Instant(series, offset_ms, lookback_ms) => {
                let end_ms = t.0.saturating_sub(*offset_ms);
                let newest = series.iter().filter_map(|series| {
                    let newest = window(&series.samples, end_ms, *lookback_ms).last()?;
                    (!is_stale_marker(newest.v)).then(|| (series.labels.clone(), newest.v))
                });
                Ok(Value::Vector(newest.collect()))
            }
            Self::Negate(of) => match of.at(t)? {
                Value::Scalar(v) => Ok(Value::Scalar(-v)),
                Value::Vector(vector) => {
                    let negated = vector.into_iter().map(|(labels, v)| (unnamed(&labels), -v));
                    unique(negated.collect())
                }
            },
            Self::Binary(binary) => binary.at(t),
            Self::OverRange(function, series, offset_ms, range_ms) => {
                let end_ms = t.0.saturating_sub(*offset_ms);
                let answers = series.iter().filter_map(|series| {
                    let samples = window(&series.samples, end_ms, *range_ms);
                    let window = Window {
                        samples,
                        end_ms,
                        range_ms: *range_ms,
                    };
                    Some((unnamed(&series.labels), window.evaluate(*function)?))
                });
                unique(answers.collect())
            }
            Self::Aggregate(aggregation, grouping, of) => match of.at(t)? {
                Value::Vector(vector) => Ok(aggregate(*aggregation, grouping, vector)),
                Value::Scalar(_) => Err(bad("an aggregation needs a vector")),
            },
        }
    }
}

fn unnamed(labels: &Labels) -> Labels {
    labels.without(METRIC_NAME)
}

/// Refuses two values for one label set, which dropping the name can bring about.
fn unique(vector: Vector) -> Result<Value, ReadError> {
    let mut seen = HashSet::with_capacity(vector.len());
    if let Some((twice, _)) = vector.iter().find(|(labels, _)| !seen.insert(labels)) {
        return Err(bad(format!(
            "two series have the label set `{twice}` once the name is dropped"
        )));
    }
    Ok(Value::Vector(vector))
}

fn aggregate(aggregation: Aggregation, grouping: &Grouping, vector: Vector) -> Value {
    let mut groups = BTreeMap::<Labels, Vec<f64>>::new();
    for (labels, v) in vector {
        let group = match grouping {
            Grouping::By(names) => only(&labels, names),
            Grouping::Without(names) => except(&labels, names),
        };
        groups.entry(group).or_default().push(v);
    }
    let combine = |values: Vec<f64>| {
        let count = values.len() as f64;
        let values = values.into_iter();
        match aggregation {
            Aggregation::Sum => sum(values),
            Aggregation::Min => least(values),
            Aggregation::Max => most(values),
            Aggregation::Avg => sum(values) / count,
            Aggregation::Count => count,
        }
    };
    let groups = groups.into_iter();
    Value::Vector(
        groups
            .map(|(labels, values)| (labels, combine(values)))
            .collect(),
    )
}

fn only(labels: &Labels, names: &[String]) -> Labels {
    Labels::new(
        labels
            .iter()
            .filter(|(name, _)| names.iter().any(|have| have == name)),
    )
}

/// Without `names` and the metric's name.
fn except(labels: &Labels, names: &[String]) -> Labels {
    let kept = |name: &str| name != METRIC_NAME && names.iter().all(|have| have != name);
    Labels::new(labels.iter().filter(|(name, _)| kept(name)))
}

impl BinaryOp {
    fn compares(self) -> bool {
        use BinaryOp::{Equal, Greater, GreaterOrEqual, Less, LessOrEqual, NotEqual};
        matches!(
            self,
            Equal | NotEqual | Greater | Less | GreaterOrEqual | LessOrEqual
        )
    }

    /// The result; of a comparison 1 or 0.
    fn apply(self, left: f64, right: f64) -> f64 {
        let truth = |holds: bool| f64::from(u8::from(holds));
        match self {
            Self::Add => left + right,
            Self::Subtract => left - right,
            Self::Multiply => left * right,
            Self::Divide => left / right,
            Self::Modulo => left % right,
            Self::Power => left.powf(right),
            Self::Equal => truth(left == right),
            Self::NotEqual => truth(left != right),
            Self::Greater => truth(left > right),
            Self::Less => truth(left < right),
            Self::GreaterOrEqual => truth(left >= right),
            Self::LessOrEqual => truth(left <= right),
        }
    }
}

impl ReadyBinary {
    fn at(&self, t: UnixMs) -> Result<Value, ReadError> {
        match (self.left.at(t)?, self.right.at(t)?) {
            (Value::Scalar(left), Value::Scalar(right)) => {
                Ok(Value::Scalar(self.op.apply(left, right)))
            }
            (Value::Vector(vector), Value::Scalar(right)) => {
                self.with_scalar(vector, |v| self.op.apply(v, right))
            }
            (Value::Scalar(left), Value::Vector(vector)) => {
                self.with_scalar(vector, |v| self.op.apply(left, v))
            }
            (Value::Vector(left), Value::Vector(right)) => self.matched(left, right),
        }
    }

    /// Whether the operator leaves out what does not hold and keeps the rest as it is.
    fn filters(&self) -> bool {
        self.op.compares() && !self.return_bool
    }

    fn with_scalar(&self, vector: Vector, apply: impl Fn(f64) -> f64) -> Result<Value, ReadError> {
        if self.filters() {
            let held = vector.into_iter().filter(|(_, v)| apply(*v) == 1.0);
            return Ok(Value::Vector(held.collect()));
        }
        let applied = vector
            .into_iter()
            .map(|(labels, v)| (unnamed(&labels), apply(v)));
        unique(applied.collect())
    }

    /// One-to-one matching.
    fn matched(&self, left: Vector, right: Vector) -> Result<Value, ReadError> {
        let signature = |labels: &Labels| match &self.matching {
            Matching::On(names) => only(labels, names),
            Matching::Ignoring(names) => except(labels, names),
        };
        let several = |side: &str, labels: &Labels| {
            bad(format!(
                "several series on the {side} side match on `{labels}`; this version matches one to one"
            ))
        };
        let mut of_right = HashMap::with_capacity(right.len());
        for (labels, v) in right {
            let signature = signature(&labels);
            if of_right.insert(signature.clone(), v).is_some() {
                return Err(several("right", &signature));
            }
        }
        let mut matched = HashSet::new();
        let mut result = Vec::new();
        for (labels, v) in left {
            let signature = signature(&labels);
            let Some(&right) = of_right.get(&signature) else {
                continue;
            };
            if !matched.insert(signature.clone()) {
                return Err(several("left", &signature));
            }
            let applied = self.op.apply(v, right);
            if !self.filters() {
                result.push((signature, applied));
            } else if applied == 1.0 {
                result.push((self.kept_labels(labels, signature), v));
            }
        }
        Ok(Value::Vector(result))
    }

    /// A filter keeps the left side's name, unless `on` chose the labels.
    fn kept_labels(&self, labels: Labels, signature: Labels) -> Labels {
        match (&self.matching, labels.get(METRIC_NAME)) {
            (Matching::Ignoring(_), Some(name)) => signature.with([(METRIC_NAME, name)]),
            _ => signature,
        }
    }
}
