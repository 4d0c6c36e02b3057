//! Which series match: postings per label name and value.

use std::collections::{HashMap, HashSet};

use model::series::ReadError;
use model::{Labels, MatchOp, Matcher};
use regex::{Regex, RegexBuilder};

use crate::record::SeriesId;

/// The compiled size of a matcher's expression, which bounds its memory and its compile time.
const REGEX_BYTES_MAX: usize = 1 << 20;

/// For each label name and value, the series that have it, in the order of their ids.
#[derive(Debug, Default)]
pub(crate) struct Index(HashMap<Box<str>, HashMap<Box<str>, Vec<SeriesId>>>);

impl Index {
    /// Adds a series; ids come in increasing order.
    pub(crate) fn add(&mut self, id: SeriesId, labels: &Labels) {
        for (name, value) in labels.iter() {
            let values = match self.0.get_mut(name) {
                Some(values) => values,
                None => self.0.entry(name.into()).or_default(),
            };
            match values.get_mut(value) {
                Some(ids) => ids.push(id),
                None => drop(values.insert(value.into(), vec![id])),
            }
        }
    }

    /// Removes series that are gone.
    pub(crate) fn remove(&mut self, gone: &[(SeriesId, Labels)]) {
        let ids: HashSet<SeriesId> = gone.iter().map(|(id, _)| *id).collect();
        let pairs: HashSet<(&str, &str)> =
            gone.iter().flat_map(|(_, labels)| labels.iter()).collect();
        for (name, value) in pairs {
            let Some(values) = self.0.get_mut(name) else {
                continue;
            };
            if let Some(have) = values.get_mut(value) {
                have.retain(|id| !ids.contains(id));
                if have.is_empty() {
                    values.remove(value);
                }
            }
            if values.is_empty() {
                self.0.remove(name);
            }
        }
    }

    /// The smallest set of series that the index can name without looking at labels; `None` if
    /// only a look at every series can tell. What it gives must still be checked.
    pub(crate) fn candidates(&self, matchers: &[Compiled<'_>]) -> Option<Vec<SeriesId>> {
        // A matcher that accepts the empty value is also fulfilled by series without the label.
        let telling = matchers.iter().filter(|matcher| !matcher.accepts(""));
        let sets = telling.map(|matcher| self.of_matcher(matcher));
        sets.min_by_key(Vec::len)
    }

    fn of_matcher(&self, matcher: &Compiled<'_>) -> Vec<SeriesId> {
        let Some(values) = self.0.get(matcher.name) else {
            return Vec::new();
        };
        if let Test::Equal(value) = &matcher.test {
            return values.get(*value).cloned().unwrap_or_default();
        }
        let matching = values.iter().filter(|(value, _)| matcher.accepts(value));
        matching.flat_map(|(_, ids)| ids.iter().copied()).collect()
    }
}

/// A matcher that is ready to be asked.
pub(crate) struct Compiled<'a> {
    name: &'a str,
    test: Test<'a>,
}

enum Test<'a> {
    Equal(&'a str),
    NotEqual(&'a str),
    Regex(Regex),
    NotRegex(Regex),
}

impl<'a> Compiled<'a> {
    /// Compiles all `matchers`.
    ///
    /// # Errors
    /// [`ReadError::Regex`] for one that is no expression or compiles to more than a mebibyte.
    pub(crate) fn all(matchers: &'a [Matcher]) -> Result<Vec<Self>, ReadError> {
        matchers.iter().map(Self::new).collect()
    }

    fn new(matcher: &'a Matcher) -> Result<Self, ReadError> {
        let test = match matcher.op {
            MatchOp::Equal => Test::Equal(&matcher.value),
            MatchOp::NotEqual => Test::NotEqual(&matcher.value),
            MatchOp::Regex => Test::Regex(compile(&matcher.value)?),
            MatchOp::NotRegex => Test::NotRegex(compile(&matcher.value)?),
        };
        Ok(Self {
            name: &matcher.name,
            test,
        })
    }

    fn accepts(&self, value: &str) -> bool {
        match &self.test {
            Test::Equal(want) => value == *want,
            Test::NotEqual(not) => value != *not,
            Test::Regex(regex) => regex.is_match(value),
            Test::NotRegex(regex) => !regex.is_match(value),
        }
    }

    /// Whether a series with `labels` fulfils this matcher.
    pub(crate) fn matches(&self, labels: &Labels) -> bool {
        self.accepts(labels.get(self.name).unwrap_or(""))
    }
}

fn compile(pattern: &str) -> Result<Regex, ReadError> {
    RegexBuilder::new(&format!("^(?s:{pattern})$"))
        .size_limit(REGEX_BYTES_MAX)
        .build()
        .map_err(|error| ReadError::Regex {
            pattern: pattern.to_owned(),
            reason: error.to_string(),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fleet() -> (Index, Vec<(SeriesId, Labels)>) {
        let rows = [
            Labels::metric("up", [("job", "shop"), ("pod", "a-1")]),
            Labels::metric("up", [("job", "shop"), ("pod", "b-1")]),
            Labels::metric("up", [("job", "cart")]),
            Labels::metric("heap", [("job", "cart"), ("text", "two\nlines")]),
        ];
        let series: Vec<_> = (1..).zip(rows).collect();
        let mut index = Index::default();
        for (id, labels) in &series {
            index.add(*id, labels);
        }
        (index, series)
    }

    fn find(
        index: &Index,
        series: &[(SeriesId, Labels)],
        matchers: &[Matcher],
    ) -> Result<Vec<SeriesId>, ReadError> {
        let compiled = Compiled::all(matchers)?;
        let candidates = index.candidates(&compiled);
        let named = |id: &SeriesId| candidates.as_ref().is_none_or(|named| named.contains(id));
        let matching = series
            .iter()
            .filter(|(id, labels)| named(id) && compiled.iter().all(|m| m.matches(labels)));
        Ok(matching.map(|(id, _)| *id).collect())
    }

    #[test]
    fn matchers_choose_as_prometheus_does() {
        use MatchOp::{Equal, NotEqual, NotRegex, Regex};
        type Rows<'a> = &'a [(&'a str, MatchOp, &'a str)];
        let rows: [(&str, Rows<'_>, &[SeriesId]); 11] = [
            ("by name", &[("__name__", Equal, "up")], &[1, 2, 3]),
            (
                "two at once",
                &[("__name__", Equal, "up"), ("job", Equal, "cart")],
                &[3],
            ),
            ("no such value", &[("job", Equal, "none")], &[]),
            ("no such label", &[("zone", Equal, "x")], &[]),
            ("absent equals empty", &[("pod", Equal, "")], &[3, 4]),
            (
                "not equal keeps absent",
                &[("pod", NotEqual, "a-1")],
                &[2, 3, 4],
            ),
            ("regex is anchored", &[("pod", Regex, "a|b-1")], &[2]),
            (
                "regex that accepts empty",
                &[("pod", Regex, "a.*|")],
                &[1, 3, 4],
            ),
            ("not regex", &[("pod", NotRegex, ".+")], &[3, 4]),
            ("dot takes newlines", &[("text", Regex, "two.lines")], &[4]),
            ("no matcher", &[], &[1, 2, 3, 4]),
        ];
        let (index, series) = fleet();
        for (name, matchers, expected) in rows {
            let matchers: Vec<Matcher> = matchers
                .iter()
                .map(|&(name, op, value)| Matcher {
                    name: name.into(),
                    op,
                    value: value.into(),
                })
                .collect();
            assert_eq!(
                find(&index, &series, &matchers).unwrap(),
                expected,
                "{name}"
            );
        }
    }

    #[test]
    fn a_bad_or_huge_expression_is_named() {
        for pattern in ["(", "((a{100}){100}){100}"] {
            let matcher = Matcher {
                name: "job".into(),
                op: MatchOp::Regex,
                value: pattern.into(),
            };
            let error = Compiled::new(&matcher).err().unwrap().to_string();
            assert!(error.contains(pattern), "{error}");
        }
    }

    #[test]
    fn removed_series_leave_nothing_behind() {
        let (mut index, series) = fleet();
        index.remove(&series);
        assert!(index.0.is_empty(), "{index:?}");
    }
}
