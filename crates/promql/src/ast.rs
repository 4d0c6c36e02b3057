//! The queries this version evaluates, as a tree of our own.

use model::Matcher;

/// An expression that can be evaluated.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Expr {
    Number(f64),
    /// The newest sample of each series, within the lookback.
    Instant(Selector),
    /// All samples of each series in a window; only as a whole query or under [`Expr::OverRange`].
    Range(Selector, u64),
    Negate(Box<Expr>),
    Binary(Box<Binary>),
    OverRange(RangeFunction, Selector, u64),
    Aggregate(Aggregation, Grouping, Box<Expr>),
}

/// Which series, and how far back.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Selector {
    pub(crate) matchers: Vec<Matcher>,
    pub(crate) offset_ms: i64,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Binary {
    pub(crate) op: BinaryOp,
    pub(crate) left: Expr,
    pub(crate) right: Expr,
    /// Of a comparison: answer 0 or 1 instead of filtering.
    pub(crate) return_bool: bool,
    pub(crate) matching: Matching,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BinaryOp {
    Add,
    Subtract,
    Multiply,
    Divide,
    Modulo,
    Power,
    Equal,
    NotEqual,
    Greater,
    Less,
    GreaterOrEqual,
    LessOrEqual,
}

/// On which labels two vectors are matched, one to one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Matching {
    On(Vec<String>),
    /// All but these and the name.
    Ignoring(Vec<String>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RangeFunction {
    Rate,
    Increase,
    Delta,
    Deriv,
    Avg,
    Min,
    Max,
    Sum,
    Count,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Aggregation {
    Sum,
    Min,
    Max,
    Avg,
    Count,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Grouping {
    By(Vec<String>),
    Without(Vec<String>),
}
