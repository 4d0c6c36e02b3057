//! Label sets, as in Prometheus: sorted by name, no empty values.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// The label that carries the metric's name.
pub const METRIC_NAME: &str = "__name__";

/// The label that all of our own series of a target carry: its [`crate::TargetId`].
pub const TARGET_LABEL: &str = "target_id";

/// A sorted set of label names and values that identifies one series. Cloning is cheap.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(from = "std::collections::BTreeMap<String, String>")]
#[serde(into = "std::collections::BTreeMap<String, String>")]
pub struct Labels(Arc<[(Box<str>, Box<str>)]>);

impl Labels {
    /// The set of these pairs. An empty value means an absent label, as in Prometheus. Of two
    /// pairs with one name the later wins.
    pub fn new<N, V>(pairs: impl IntoIterator<Item = (N, V)>) -> Self
    where
        N: Into<Box<str>>,
        V: Into<Box<str>>,
    {
        let mut map = std::collections::BTreeMap::<Box<str>, Box<str>>::new();
        for (name, value) in pairs {
            map.insert(name.into(), value.into());
        }
        Self(
            map.into_iter()
                .filter(|(_, value)| !value.is_empty())
                .collect(),
        )
    }

    /// The set of one metric name and these pairs.
    pub fn metric<'a>(name: &'a str, pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        Self::new(pairs.into_iter().chain([(METRIC_NAME, name)]))
    }

    /// The value of the label `name`; `None` where it is absent.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        let at = self
            .0
            .binary_search_by(|(have, _)| (**have).cmp(name))
            .ok()?;
        Some(&self.0[at].1)
    }

    /// The metric's name, or the empty text.
    #[must_use]
    pub fn name(&self) -> &str {
        self.get(METRIC_NAME).unwrap_or("")
    }

    /// All pairs, sorted by name.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (&**name, &**value))
    }

    /// How many labels there are, the metric's name included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is no label at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// This set with `pairs` added, replacing what had their names.
    #[must_use]
    pub fn with<'a>(&'a self, pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        Self::new(self.iter().chain(pairs))
    }

    /// This set without the label `name`.
    #[must_use]
    pub fn without(&self, name: &str) -> Self {
        Self::new(self.iter().filter(|(have, _)| *have != name))
    }
}

impl From<std::collections::BTreeMap<String, String>> for Labels {
    fn from(map: std::collections::BTreeMap<String, String>) -> Self {
        Self::new(map)
    }
}

impl From<Labels> for std::collections::BTreeMap<String, String> {
    fn from(labels: Labels) -> Self {
        labels
            .iter()
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect()
    }
}

/// As the exposition format writes it: `name{a="b"}`, with `\`, `"` and newlines escaped.
impl fmt::Display for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())?;
        let mut open = false;
        for (name, value) in self.iter().filter(|(name, _)| *name != METRIC_NAME) {
            f.write_str(if open { "," } else { "{" })?;
            open = true;
            write!(f, "{name}=\"")?;
            for c in value.chars() {
                match c {
                    '\\' => f.write_str("\\\\")?,
                    '"' => f.write_str("\\\"")?,
                    '\n' => f.write_str("\\n")?,
                    c => fmt::Write::write_char(f, c)?,
                }
            }
            f.write_str("\"")?;
        }
        f.write_str(if open { "}" } else { "" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_is_sorted_and_drops_empty_values() {
        let labels = Labels::new([("b", "2"), ("a", "1"), ("c", ""), ("a", "3")]);
        assert_eq!(labels.iter().collect::<Vec<_>>(), [("a", "3"), ("b", "2")]);
        assert_eq!((labels.get("a"), labels.get("c")), (Some("3"), None));
    }

    #[test]
    fn display_escapes_as_the_exposition_format_does() {
        let labels = Labels::metric("m", [("path", "a\"b\\c\nd")]);
        assert_eq!(labels.to_string(), r#"m{path="a\"b\\c\nd"}"#);
        assert_eq!(Labels::metric("up", []).to_string(), "up");
    }
}
