//! What a scrape gives: samples, and what the text says of their families.

use std::collections::BTreeMap;

use model::{Labels, UnixMs};

/// How much of everything a body may have. Beyond one of these the scrape is refused, except where
/// noted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the body, decompressed.
    pub body_bytes_max: usize,
    /// Samples.
    pub samples_max: usize,
    /// Labels of one sample, the metric's name not counted.
    pub labels_max: usize,
    /// Bytes of a metric's or label's name.
    pub name_bytes_max: usize,
    /// Bytes of a label's value.
    pub value_bytes_max: usize,
    /// Families kept with type and help; further ones are left out without an error.
    pub families_max: usize,
    /// Bytes of a help text; longer ones are cut.
    pub help_bytes_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body_bytes_max: 32 << 20,
            samples_max: 200_000,
            labels_max: 128,
            name_bytes_max: 1024,
            value_bytes_max: 16 << 10,
            families_max: 20_000,
            help_bytes_max: 1024,
        }
    }
}

/// One sample of a scrape.
#[derive(Debug, Clone, PartialEq)]
pub struct ScrapedSample {
    /// What identifies its series, the metric's name included.
    pub labels: Labels,
    /// Its value; any NaN of the text is the ordinary NaN, never a staleness marker.
    pub value: f64,
    /// The time that the text gives it; most give none.
    pub timestamp: Option<UnixMs>,
}

/// What `# TYPE` may say. The first five are those of text 0.0.4.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum FamilyType {
    /// Only rises, until a restart.
    Counter,
    /// Rises and falls.
    Gauge,
    /// `_bucket`, `_sum` and `_count`.
    Histogram,
    /// Quantiles, `_sum` and `_count`.
    Summary,
    /// `untyped`, OpenMetrics' `unknown`, or no `# TYPE` at all.
    #[default]
    Untyped,
    /// OpenMetrics: a histogram of things that go away again.
    GaugeHistogram,
    /// OpenMetrics: labels that do not change while the process lives.
    Info,
    /// OpenMetrics: booleans.
    StateSet,
}

impl FamilyType {
    /// The word after `# TYPE name` in text 0.0.4, which has no words for OpenMetrics' types.
    #[must_use]
    pub fn text_word(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge | Self::Info | Self::StateSet => "gauge",
            Self::Histogram => "histogram",
            Self::Summary => "summary",
            Self::Untyped | Self::GaugeHistogram => "untyped",
        }
    }

    pub(crate) fn from_word(word: &str) -> Option<Self> {
        Some(match word {
            "counter" => Self::Counter,
            "gauge" => Self::Gauge,
            "histogram" => Self::Histogram,
            "summary" => Self::Summary,
            "untyped" | "unknown" => Self::Untyped,
            "gaugehistogram" => Self::GaugeHistogram,
            "info" => Self::Info,
            "stateset" => Self::StateSet,
            _ => return None,
        })
    }
}

/// What the text says of one metric family.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Family {
    /// `# TYPE`.
    pub kind: FamilyType,
    /// `# HELP`, unescaped, cut to [`Limits::help_bytes_max`].
    pub help: String,
}

/// What one sample is within its family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Role {
    /// A counter's value.
    Counter,
    /// A gauge's value.
    Gauge,
    /// The `_count` of a histogram or summary: a counter of observations.
    Count,
    /// Anything else: sums, buckets, quantiles, start times, infos, untyped values.
    Other,
}

/// A parsed body.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Scrape {
    /// The samples in the order of the text. A series that the text has twice is here twice; the
    /// store keeps the first of two samples of one time.
    pub samples: Vec<ScrapedSample>,
    /// Families by name.
    pub families: BTreeMap<Box<str>, Family>,
    /// Whether OpenMetrics' `# EOF` was there. Always false for text 0.0.4.
    pub eof_seen: bool,
}

/// The suffixes that a sample's name may have over its family's.
const SUFFIXES: [&str; 8] = [
    "_total", "_count", "_sum", "_bucket", "_created", "_info", "_gcount", "_gsum",
];

impl Scrape {
    /// The family that a sample of this name belongs to: the one of its very name, else the one
    /// whose name it extends by a suffix that the family's type has.
    #[must_use]
    pub fn family_of<'a>(&'a self, sample_name: &'a str) -> Option<(&'a str, &'a Family)> {
        if let Some((name, family)) = self.families.get_key_value(sample_name) {
            return Some((name, family));
        }
        SUFFIXES.iter().find_map(|suffix| {
            let name = sample_name.strip_suffix(suffix)?;
            let (name, family) = self.families.get_key_value(name)?;
            suffix_fits(family.kind, suffix).then_some((&**name, family))
        })
    }

    /// What a sample of this name is within its family; [`Role::Other`] without a `# TYPE`.
    #[must_use]
    pub fn role_of(&self, sample_name: &str) -> Role {
        let Some((name, family)) = self.family_of(sample_name) else {
            return Role::Other;
        };
        let suffix = sample_name.strip_prefix(name).unwrap_or("");
        match (family.kind, suffix) {
            (FamilyType::Counter, "" | "_total") => Role::Counter,
            (FamilyType::Gauge, "") => Role::Gauge,
            (FamilyType::Histogram | FamilyType::Summary, "_count") => Role::Count,
            _ => Role::Other,
        }
    }
}

fn suffix_fits(kind: FamilyType, suffix: &str) -> bool {
    match kind {
        FamilyType::Counter => matches!(suffix, "_total" | "_created"),
        FamilyType::Histogram => matches!(suffix, "_count" | "_sum" | "_bucket" | "_created"),
        FamilyType::Summary => matches!(suffix, "_count" | "_sum" | "_created"),
        FamilyType::GaugeHistogram => matches!(suffix, "_gcount" | "_gsum" | "_bucket"),
        FamilyType::Info => suffix == "_info",
        FamilyType::Gauge | FamilyType::Untyped | FamilyType::StateSet => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_finds_its_family_and_role() {
        let mut scrape = Scrape::default();
        for (name, kind) in [
            ("req", FamilyType::Histogram),
            ("req_count", FamilyType::Gauge),
            ("hits", FamilyType::Counter),
            ("size", FamilyType::Gauge),
        ] {
            let help = String::new();
            scrape.families.insert(name.into(), Family { kind, help });
        }
        for (name, family, role) in [
            ("req_count", Some("req_count"), Role::Gauge), // its own name wins over the suffix
            ("req_bucket", Some("req"), Role::Other),
            ("req_sum", Some("req"), Role::Other),
            ("hits", Some("hits"), Role::Counter),
            ("hits_total", Some("hits"), Role::Counter),
            ("hits_created", Some("hits"), Role::Other),
            ("size_count", None, Role::Other), // a gauge has no suffixes
            ("req", Some("req"), Role::Other),
            ("nobody", None, Role::Other),
        ] {
            assert_eq!(
                scrape.family_of(name).map(|(name, _)| name),
                family,
                "{name}"
            );
            assert_eq!(scrape.role_of(name), role, "{name}");
        }
    }
}
