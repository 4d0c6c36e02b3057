//! The part of the configuration that says what to scrape, in Prometheus' spelling.
//!
//! Source: Prometheus' documentation, "scrape_config".

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Deserializer, de::Error};

/// One entry of `scrape_configs`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScrapeConfig {
    /// The value of the label `job`.
    pub job_name: String,
    /// Seconds between two scrapes; the global setting where absent.
    #[serde(default, deserialize_with = "optional_duration")]
    pub scrape_interval: Option<Duration>,
    /// How long one scrape may take; the global setting where absent.
    #[serde(default, deserialize_with = "optional_duration")]
    pub scrape_timeout: Option<Duration>,
    /// The path of the metrics.
    #[serde(default = "default_path")]
    pub metrics_path: String,
    /// `http` or `https`.
    #[serde(default)]
    pub scheme: Scheme,
    /// What to scrape.
    #[serde(default)]
    pub static_configs: Vec<StaticConfig>,
}

/// How to reach a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scheme {
    /// Plain.
    #[default]
    Http,
    /// Over TLS.
    Https,
}

/// Targets that are written down, with labels for all of them.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StaticConfig {
    /// `host:port` each.
    #[serde(default)]
    pub targets: Vec<String>,
    /// Labels for their series.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
}

fn default_path() -> String {
    "/metrics".into()
}

impl ScrapeConfig {
    /// Each configured target: its `host:port`, the base URL of its endpoint, and its labels.
    pub fn instances(&self) -> impl Iterator<Item = (&str, String, &BTreeMap<String, String>)> {
        let scheme = match self.scheme {
            Scheme::Http => "http",
            Scheme::Https => "https",
        };
        self.static_configs.iter().flat_map(move |group| {
            group.targets.iter().map(move |instance| {
                (
                    instance.as_str(),
                    format!("{scheme}://{instance}"),
                    &group.labels,
                )
            })
        })
    }
}

/// A text that is not a duration in Prometheus' form.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected a duration such as 15s, 5m or 1h30m, found `{0}`")]
pub struct ParseDurationError(pub String);

/// Reads a duration as Prometheus writes them: numbers with the units `ms`, `s`, `m`, `h`, `d`,
/// `w`, `y`, biggest first; `0` needs none.
///
/// # Errors
/// [`ParseDurationError`] with the text.
pub fn parse_duration(text: &str) -> Result<Duration, ParseDurationError> {
    const UNITS: [(&str, u64); 7] = [
        ("y", 31_536_000_000),
        ("w", 604_800_000),
        ("d", 86_400_000),
        ("h", 3_600_000),
        ("m", 60_000),
        ("s", 1_000),
        ("ms", 1),
    ];
    let wrong = || ParseDurationError(text.chars().take(60).collect());
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let (mut rest, mut total_ms, mut units) = (text, 0_u64, UNITS.iter());
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
        let number: u64 = rest[..digits].parse().map_err(|_| wrong())?;
        let letters = rest[digits..].find(|c: char| c.is_ascii_digit());
        let (unit, after) = rest[digits..].split_at(letters.unwrap_or(rest.len() - digits));
        // Going on from the last unit found makes "biggest first, each once" hold by itself.
        let (_, ms) = units.find(|(name, _)| *name == unit).ok_or_else(wrong)?;
        let part = number.checked_mul(*ms).ok_or_else(wrong)?;
        total_ms = total_ms.checked_add(part).ok_or_else(wrong)?;
        rest = after;
    }
    if text.is_empty() {
        Err(wrong())
    } else {
        Ok(Duration::from_millis(total_ms))
    }
}

/// `#[serde(deserialize_with = "...")]` for a duration.
///
/// # Errors
/// If the text is not one.
pub fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    parse_duration(&text).map_err(D::Error::custom)
}

/// `#[serde(deserialize_with = "...")]` for a duration that may be absent.
///
/// # Errors
/// If the text is not one.
pub fn optional_duration<'de, D: Deserializer<'de>>(d: D) -> Result<Option<Duration>, D::Error> {
    duration(d).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_prometheus_does() {
        let rows = [
            ("15s", Some(15_000)),
            ("1h30m", Some(5_400_000)),
            ("250ms", Some(250)),
            ("1m5ms", Some(60_005)),
            ("30d", Some(2_592_000_000)),
            ("0", Some(0)),
            ("", None),
            ("15", None),
            ("s", None),
            ("30m1h", None),
            ("1h1h", None),
            ("1.5h", None),
            ("-1s", None),
            ("99999999999999999999s", None),
            ("9999999999999999y", None),
        ];
        for (text, ms) in rows {
            assert_eq!(
                parse_duration(text).ok(),
                ms.map(Duration::from_millis),
                "{text}"
            );
        }
    }

    #[test]
    fn a_scrape_config_names_its_instances() {
        let config: ScrapeConfig = serde_json::from_value(serde_json::json!({
            "job_name": "shop", "scrape_interval": "5s",
            "static_configs": [{"targets": ["a:1", "b:2"], "labels": {"team": "x"}}]
        }))
        .unwrap();
        let urls: Vec<String> = config.instances().map(|(_, url, _)| url).collect();
        assert_eq!(urls, ["http://a:1", "http://b:2"]);
        assert_eq!(config.metrics_path, "/metrics");
        let unknown = serde_json::json!({"job_name": "x", "scrape_intervall": "5s"});
        assert!(serde_json::from_value::<ScrapeConfig>(unknown).is_err());
    }
}
