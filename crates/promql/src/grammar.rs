//! Text to tree. The only module that knows the crate `promql-parser`.

use model::series::ReadError;
use model::{METRIC_NAME, MatchOp, Matcher};
use promql_parser::label::MatchOp as TheirMatchOp;
use promql_parser::parser::token;
use promql_parser::parser::{
    self, AggregateExpr, BinaryExpr, Call, Expr as Theirs, LabelModifier, Offset,
    VectorMatchCardinality, VectorSelector,
};

use crate::ast::{
    Aggregation, Binary, BinaryOp, Expr, Grouping, Matching, RangeFunction, Selector,
};

/// A longer query is refused before it is parsed.
const QUERY_BYTES_MAX: usize = 64 << 10;

/// Deeper nesting is refused: the parser and the evaluation recurse.
const DEPTH_MAX: usize = 250;

/// Parses `query`.
///
/// # Errors
/// [`ReadError::BadQuery`] with what is wrong, or with what this version does not evaluate.
pub(crate) fn parse(query: &str) -> Result<Expr, ReadError> {
    if query.len() > QUERY_BYTES_MAX {
        return Err(bad(format!(
            "the query is longer than {QUERY_BYTES_MAX} bytes"
        )));
    }
    if depth_at_most(query) > DEPTH_MAX {
        return Err(bad(format!(
            "the query has more than {DEPTH_MAX} operators and brackets"
        )));
    }
    let theirs = parser::parse(query).map_err(bad)?;
    expression(&theirs, 0)
}

/// An upper bound of how deep the tree of `query` can be: each level needs an operator or a
/// bracket. Told before parsing, since the parser's own tree is checked and dropped recursively,
/// and thousands of levels overflow the stack.
fn depth_at_most(query: &str) -> usize {
    let (mut operators, mut open, mut most_open) = (0, 0_usize, 0);
    let mut bytes = query.bytes();
    let mut word = Vec::new();
    while let Some(byte) = bytes.next() {
        if byte.is_ascii_alphanumeric() || byte == b'_' || byte == b':' {
            word.push(byte.to_ascii_lowercase());
            continue;
        }
        operators += usize::from(is_operator(&word));
        word.clear();
        match byte {
            b'#' => drop(bytes.by_ref().find(|&byte| byte == b'\n')),
            b'"' | b'\'' | b'`' => skip_text(&mut bytes, byte),
            b'(' | b'[' | b'{' => open += 1,
            b')' | b']' | b'}' => open = open.saturating_sub(1),
            b'+' | b'-' | b'*' | b'/' | b'%' | b'^' | b'=' | b'<' | b'>' | b'!' => operators += 1,
            _ => {}
        }
        most_open = most_open.max(open);
    }
    operators + most_open
}

fn is_operator(word: &[u8]) -> bool {
    matches!(word, b"and" | b"or" | b"unless" | b"atan2")
}

/// Skips a quoted text up to its end; only that in backticks knows no escapes.
fn skip_text(bytes: &mut std::str::Bytes<'_>, quote: u8) {
    while let Some(byte) = bytes.next() {
        if byte == quote {
            return;
        }
        if byte == b'\\' && quote != b'`' {
            bytes.next();
        }
    }
}

fn bad(text: impl Into<String>) -> ReadError {
    ReadError::BadQuery(text.into())
}

fn not_evaluated(what: &str) -> ReadError {
    bad(format!("`{what}` is not evaluated by this version"))
}

fn expression(theirs: &Theirs, depth: usize) -> Result<Expr, ReadError> {
    if depth > DEPTH_MAX {
        return Err(bad(format!("the query is nested deeper than {DEPTH_MAX}")));
    }
    match theirs {
        Theirs::NumberLiteral(number) => Ok(Expr::Number(number.val)),
        Theirs::Paren(paren) => expression(&paren.expr, depth + 1),
        Theirs::Unary(unary) => Ok(Expr::Negate(Box::new(expression(&unary.expr, depth + 1)?))),
        Theirs::VectorSelector(vector) => Ok(Expr::Instant(selector(vector)?)),
        Theirs::MatrixSelector(matrix) => {
            Ok(Expr::Range(selector(&matrix.vs)?, millis(matrix.range)))
        }
        Theirs::Binary(binary) => self::binary(binary, depth),
        Theirs::Aggregate(aggregate) => self::aggregate(aggregate, depth),
        Theirs::Call(call) => self::call(call),
        Theirs::Subquery(_) => Err(not_evaluated("[range:step]")),
        Theirs::StringLiteral(_) => Err(not_evaluated("a text")),
        Theirs::Extension(_) => Err(not_evaluated("an extension")),
    }
}

fn selector(vector: &VectorSelector) -> Result<Selector, ReadError> {
    if vector.at.is_some() {
        return Err(not_evaluated("@"));
    }
    if !vector.matchers.or_matchers.is_empty() {
        return Err(not_evaluated("or between matchers"));
    }
    let mut matchers: Vec<Matcher> = vector
        .matchers
        .matchers
        .iter()
        .map(|theirs| Matcher {
            name: theirs.name.clone(),
            op: match theirs.op {
                TheirMatchOp::Equal => MatchOp::Equal,
                TheirMatchOp::NotEqual => MatchOp::NotEqual,
                TheirMatchOp::Re(_) => MatchOp::Regex,
                TheirMatchOp::NotRe(_) => MatchOp::NotRegex,
            },
            value: theirs.value.clone(),
        })
        .collect();
    matchers.extend(
        vector
            .name
            .iter()
            .map(|name| Matcher::equal(METRIC_NAME, name)),
    );
    let offset_ms = match vector.offset {
        None => 0,
        Some(Offset::Pos(offset)) => signed(offset),
        Some(Offset::Neg(offset)) => -signed(offset),
    };
    Ok(Selector {
        matchers,
        offset_ms,
    })
}

fn millis(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn signed(duration: std::time::Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

fn binary(theirs: &BinaryExpr, depth: usize) -> Result<Expr, ReadError> {
    let op = match theirs.op.id() {
        token::T_ADD => BinaryOp::Add,
        token::T_SUB => BinaryOp::Subtract,
        token::T_MUL => BinaryOp::Multiply,
        token::T_DIV => BinaryOp::Divide,
        token::T_MOD => BinaryOp::Modulo,
        token::T_POW => BinaryOp::Power,
        token::T_EQLC => BinaryOp::Equal,
        token::T_NEQ => BinaryOp::NotEqual,
        token::T_GTR => BinaryOp::Greater,
        token::T_LSS => BinaryOp::Less,
        token::T_GTE => BinaryOp::GreaterOrEqual,
        token::T_LTE => BinaryOp::LessOrEqual,
        _ => return Err(not_evaluated(&theirs.op.to_string())),
    };
    let mut matching = Matching::Ignoring(Vec::new());
    if let Some(modifier) = &theirs.modifier {
        match modifier.card {
            VectorMatchCardinality::OneToOne => {}
            VectorMatchCardinality::ManyToOne(_) => return Err(not_evaluated("group_left")),
            VectorMatchCardinality::OneToMany(_) => return Err(not_evaluated("group_right")),
            VectorMatchCardinality::ManyToMany => return Err(not_evaluated("set operators")),
        }
        if modifier.fill_values.lhs.is_some() || modifier.fill_values.rhs.is_some() {
            return Err(not_evaluated("fill"));
        }
        match &modifier.matching {
            Some(LabelModifier::Include(labels)) => matching = Matching::On(labels.labels.clone()),
            Some(LabelModifier::Exclude(labels)) => {
                matching = Matching::Ignoring(labels.labels.clone());
            }
            None => {}
        }
    }
    Ok(Expr::Binary(Box::new(Binary {
        op,
        left: expression(&theirs.lhs, depth + 1)?,
        right: expression(&theirs.rhs, depth + 1)?,
        return_bool: theirs
            .modifier
            .as_ref()
            .is_some_and(|modifier| modifier.return_bool),
        matching,
    })))
}

fn aggregate(theirs: &AggregateExpr, depth: usize) -> Result<Expr, ReadError> {
    let aggregation = match theirs.op.id() {
        token::T_SUM => Aggregation::Sum,
        token::T_MIN => Aggregation::Min,
        token::T_MAX => Aggregation::Max,
        token::T_AVG => Aggregation::Avg,
        token::T_COUNT => Aggregation::Count,
        _ => return Err(not_evaluated(&theirs.op.to_string())),
    };
    let grouping = match &theirs.modifier {
        None => Grouping::By(Vec::new()),
        Some(LabelModifier::Include(labels)) => Grouping::By(labels.labels.clone()),
        Some(LabelModifier::Exclude(labels)) => Grouping::Without(labels.labels.clone()),
    };
    let of = Box::new(expression(&theirs.expr, depth + 1)?);
    Ok(Expr::Aggregate(aggregation, grouping, of))
}

fn call(theirs: &Call) -> Result<Expr, ReadError> {
    let function = match theirs.func.name {
        "rate" => RangeFunction::Rate,
        "increase" => RangeFunction::Increase,
        "delta" => RangeFunction::Delta,
        "deriv" => RangeFunction::Deriv,
        "avg_over_time" => RangeFunction::Avg,
        "min_over_time" => RangeFunction::Min,
        "max_over_time" => RangeFunction::Max,
        "sum_over_time" => RangeFunction::Sum,
        "count_over_time" => RangeFunction::Count,
        name => return Err(not_evaluated(name)),
    };
    let [of] = &theirs.args.args[..] else {
        return Err(bad(format!("`{}` takes one range", theirs.func.name)));
    };
    match expression(of, 0)? {
        Expr::Range(selector, range_ms) => Ok(Expr::OverRange(function, selector, range_ms)),
        _ => Err(bad(format!("`{}` takes a range", theirs.func.name))),
    }
}
