//! Writing exposition text 0.0.4, for our own `/metrics`.

use std::borrow::Cow;

use model::METRIC_NAME;

use crate::float::write_float;
use crate::scrape::{FamilyType, ScrapedSample};

/// The content type of what [`exposition`] writes.
pub const TEXT_CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// One family to write.
#[derive(Debug, Clone, PartialEq)]
pub struct ExposedFamily<'a> {
    /// Its name, which its samples' names extend or repeat.
    pub name: &'a str,
    /// Its type.
    pub kind: FamilyType,
    /// Its help; nothing is written for an empty one.
    pub help: &'a str,
    /// Its samples, each with its own metric name in its labels.
    pub samples: Cow<'a, [ScrapedSample]>,
}

/// Writes `families` as exposition text 0.0.4. A family that comes more than once is written as
/// one, at its first place and with its first type and help: the format wants all lines of a
/// family together. A family without samples is left out; so is a sample without a name. Names
/// outside the old alphabet are quoted, as Prometheus 3 reads them.
#[must_use]
pub fn exposition(families: &[ExposedFamily<'_>]) -> String {
    let mut first_at = std::collections::HashMap::<&str, usize>::new();
    let mut groups: Vec<Vec<&ExposedFamily<'_>>> = Vec::new();
    for family in families.iter().filter(|family| !family.samples.is_empty()) {
        let at = *first_at.entry(family.name).or_insert(groups.len());
        if at == groups.len() {
            groups.push(Vec::new());
        }
        groups[at].push(family);
    }
    let mut out = String::new();
    for group in groups {
        write_head(&mut out, group[0]);
        for sample in group.iter().flat_map(|family| family.samples.iter()) {
            write_sample(&mut out, sample);
        }
    }
    out
}

fn write_head(out: &mut String, family: &ExposedFamily<'_>) {
    if !family.help.is_empty() {
        out.push_str("# HELP ");
        write_name(out, family.name, true);
        out.push(' ');
        write_escaped(out, family.help, false);
        out.push('\n');
    }
    out.push_str("# TYPE ");
    write_name(out, family.name, true);
    out.push(' ');
    out.push_str(family.kind.text_word());
    out.push('\n');
}

fn write_sample(out: &mut String, sample: &ScrapedSample) {
    let name = sample.labels.name();
    if name.is_empty() {
        return;
    }
    let plain = is_legacy_name(name, true);
    if plain {
        out.push_str(name);
    }
    let mut separator = '{';
    if !plain {
        out.push('{');
        write_name(out, name, true);
        separator = ',';
    }
    for (label, value) in sample
        .labels
        .iter()
        .filter(|(label, _)| *label != METRIC_NAME)
    {
        out.push(separator);
        separator = ',';
        write_name(out, label, false);
        out.push_str("=\"");
        write_escaped(out, value, true);
        out.push('"');
    }
    if separator == ',' {
        out.push('}');
    }
    out.push(' ');
    write_float(out, sample.value);
    if let Some(at) = sample.timestamp {
        out.push(' ');
        out.push_str(&at.0.to_string());
    }
    out.push('\n');
}

fn write_name(out: &mut String, name: &str, colons: bool) {
    if is_legacy_name(name, colons) {
        out.push_str(name);
    } else {
        out.push('"');
        write_escaped(out, name, true);
        out.push('"');
    }
}

fn is_legacy_name(name: &str, colons: bool) -> bool {
    !name.starts_with(|c: char| c.is_ascii_digit())
        && !name.is_empty()
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || (colons && byte == b':'))
}

fn write_escaped(out: &mut String, text: &str, quotes: bool) {
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '"' if quotes => out.push_str("\\\""),
            c => out.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use model::{Labels, UnixMs};
    use proptest::prelude::*;

    use super::*;
    use crate::{Limits, parse};

    fn sample(labels: Labels, value: f64) -> ScrapedSample {
        ScrapedSample {
            labels,
            value,
            timestamp: None,
        }
    }

    #[test]
    fn families_come_once_with_their_help_escaped() {
        let family = |name, help, samples: Vec<ScrapedSample>| ExposedFamily {
            name,
            kind: FamilyType::Gauge,
            help,
            samples: samples.into(),
        };
        let text = exposition(&[
            family(
                "a",
                "first\\ line\nsecond \"q\"",
                vec![sample(Labels::metric("a", []), 1e300)],
            ),
            family(
                "b c",
                "",
                vec![sample(
                    Labels::metric("b c", [("k l", "v\n\"\\")]),
                    f64::INFINITY,
                )],
            ),
            family("empty", "never shown", vec![]),
            family(
                "a",
                "not this",
                vec![sample(Labels::metric("a", [("x", "1")]), -0.25)],
            ),
        ]);
        assert_eq!(
            text,
            "# HELP a first\\\\ line\\nsecond \"q\"\n# TYPE a gauge\na 1e300\na{x=\"1\"} -0.25\n\
             # TYPE \"b c\" gauge\n{\"b c\",\"k l\"=\"v\\n\\\"\\\\\"} +Inf\n"
        );
        let back = parse(Some(TEXT_CONTENT_TYPE), text.as_bytes(), &Limits::default());
        let back = back.expect("our own text");
        assert_eq!(back.families["a"].help, "first\\ line\nsecond \"q\"");
        assert_eq!((back.families.len(), back.samples.len()), (2, 3));
    }

    fn any_name() -> impl Strategy<Value = String> {
        prop_oneof![
            "[a-zA-Z_:][a-zA-Z0-9_:]{0,12}",
            "\\PC{1,8}",
            any::<String>()
        ]
        .prop_filter("a name is not empty", |name| !name.is_empty())
    }

    fn any_samples() -> impl Strategy<Value = Vec<ScrapedSample>> {
        let labels = proptest::collection::btree_map(any_name(), any::<String>(), 0..5);
        let value = prop_oneof![
            any::<f64>(),
            Just(f64::NAN),
            Just(f64::NEG_INFINITY),
            Just(0.0)
        ];
        let one = (any_name(), labels, value, any::<Option<i64>>());
        let one = one.prop_map(|(name, labels, value, timestamp)| ScrapedSample {
            labels: Labels::from(labels).with([(METRIC_NAME, &*name)]),
            value: if value.is_nan() { f64::NAN } else { value },
            timestamp: timestamp.map(UnixMs),
        });
        proptest::collection::vec(one, 1..8)
    }

    fn bits(samples: &[ScrapedSample]) -> Vec<(Labels, u64, Option<UnixMs>)> {
        let key = |s: &ScrapedSample| (s.labels.clone(), s.value.to_bits(), s.timestamp);
        samples.iter().map(key).collect()
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(samples in any_samples(), help in any::<String>()) {
            let family = ExposedFamily {
                name: "family",
                kind: FamilyType::Untyped,
                help: &help,
                samples: (&samples[..]).into(),
            };
            let text = exposition(std::slice::from_ref(&family));
            let back = parse(None, text.as_bytes(), &Limits::default());
            let back = back.map_err(|error| TestCaseError::fail(format!("{error}\n{text}")))?;
            prop_assert_eq!(bits(&back.samples), bits(&samples), "{}", text);
            let limit = Limits::default().help_bytes_max;
            prop_assert!(help.len() > limit || back.families["family"].help == help);
        }
    }
}
