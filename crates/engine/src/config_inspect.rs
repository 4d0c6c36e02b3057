//! `inspect:` of the configuration: whether leaking processes are looked into, and at what cost.

use std::time::Duration;

use model::duration::duration;
use reader::HoldersBudget;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

/// The least memory that a look can do anything with, and the most that is a number and no slip.
const MEMORY_MIN: u64 = 64 << 20;
const MEMORY_MAX: u64 = 1 << 40;

/// Looking into processes.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Inspect {
    /// Whether it is done.
    pub enabled: InspectEnabled,
    /// What one look may cost us.
    pub budget: InspectBudget,
}

/// Whether leaking processes are looked into.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum InspectEnabled {
    /// When a leak of the Go heap or of goroutines is found, and there is memory for it.
    #[default]
    Auto,
    /// Never.
    Off,
}

/// What one look may cost us.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct InspectBudget {
    /// From its start to its end.
    #[serde(deserialize_with = "duration")]
    pub time: Duration,
    /// Processor time.
    #[serde(deserialize_with = "duration")]
    pub cpu: Duration,
    /// Memory, in bytes.
    #[serde(deserialize_with = "size")]
    pub memory: u64,
}

impl Default for InspectBudget {
    fn default() -> Self {
        let HoldersBudget {
            time,
            cpu,
            memory_bytes,
            ..
        } = HoldersBudget::default();
        Self {
            time,
            cpu,
            memory: memory_bytes,
        }
    }
}

impl Inspect {
    /// What one look may cost; `None` when there are to be none.
    #[must_use]
    pub fn budget(&self) -> Option<HoldersBudget> {
        let InspectBudget { time, cpu, memory } = self.budget;
        let budget = HoldersBudget::new(time, cpu, memory);
        (self.enabled == InspectEnabled::Auto).then_some(budget)
    }

    pub(crate) fn check(&self) -> Result<(), String> {
        let spans = [
            ("inspect.budget.time", self.budget.time),
            ("inspect.budget.cpu", self.budget.cpu),
        ];
        for (name, span) in spans {
            if !(Duration::from_secs(1)..=Duration::from_secs(600)).contains(&span) {
                return Err(format!("{name} must be 1s to 10m, it is {span:?}"));
            }
        }
        if !(MEMORY_MIN..=MEMORY_MAX).contains(&self.budget.memory) {
            let bytes = self.budget.memory;
            return Err(format!(
                "inspect.budget.memory must be 64MiB to 1TiB, it is {bytes} bytes"
            ));
        }
        Ok(())
    }
}

/// `1GiB`, `512MiB`, `512MB`, or bytes.
pub(crate) fn size<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Written {
        Bytes(u64),
        Text(String),
    }
    match Written::deserialize(deserializer)? {
        Written::Bytes(bytes) => Ok(bytes),
        Written::Text(text) => parse_size(&text).ok_or_else(|| {
            D::Error::custom(format!(
                "expected a size such as `1GiB` or `512MB`, found `{text}`"
            ))
        }),
    }
}

fn parse_size(text: &str) -> Option<u64> {
    const UNITS: [(&str, u64); 9] = [
        ("KiB", 1 << 10),
        ("MiB", 1 << 20),
        ("GiB", 1 << 30),
        ("TiB", 1 << 40),
        ("KB", 1_000),
        ("MB", 1_000_000),
        ("GB", 1_000_000_000),
        ("TB", 1_000_000_000_000),
        ("B", 1),
    ];
    let (number, unit) = UNITS
        .iter()
        .find_map(|(name, unit)| Some((text.strip_suffix(name)?, *unit)))
        .unwrap_or((text, 1));
    let number = number.trim();
    let digits = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    let number: u64 = digits.then(|| number.parse().ok())??;
    number.checked_mul(unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_with_their_units() {
        let rows = [
            ("1GiB", Some(1 << 30)),
            ("512 MiB", Some(512 << 20)),
            ("512MB", Some(512_000_000)),
            ("100", Some(100)),
            ("7B", Some(7)),
            ("", None),
            ("GiB", None),
            ("1.5GiB", None),
            ("-1MiB", None),
            ("1Gi", None),
            ("99999999999999TiB", None),
        ];
        for (text, bytes) in rows {
            assert_eq!(parse_size(text), bytes, "{text:?}");
        }
    }

    #[test]
    fn the_budget_of_a_file_is_checked_and_off_is_off() {
        let parse = |text: &str| -> Result<Inspect, String> {
            let inspect: Inspect =
                serde_saphyr::from_str(text).map_err(|error| error.to_string())?;
            inspect.check().map(|()| inspect)
        };
        assert_eq!(
            parse("{}").unwrap().budget(),
            Some(HoldersBudget::default())
        );
        assert_eq!(parse("enabled: off").unwrap().budget(), None);
        let own = parse("budget: {time: 5s, cpu: 4s, memory: 128MiB}").unwrap();
        let want = HoldersBudget::new(Duration::from_secs(5), Duration::from_secs(4), 128 << 20);
        assert_eq!(own.budget(), Some(want));
        let rows = [
            ("enabled: always", "always"),
            ("budget: {memory: 1MiB}", "64MiB to 1TiB"),
            ("budget: {memory: much}", "`much`"),
            ("budget: {time: 0s}", "inspect.budget.time must be 1s"),
            ("budget: {cpu: 1h}", "inspect.budget.cpu must be 1s"),
            ("budget: {disk: 1h}", "disk"),
        ];
        for (text, want) in rows {
            let error = parse(text).unwrap_err();
            assert!(error.contains(want), "{text}: {error}");
        }
    }
}
