//! The part of the configuration that says what to scrape, in Prometheus' spelling.
//!
//! Source: Prometheus' documentation, "scrape_config".

use std::collections::BTreeMap;
use std::time::Duration;

use model::duration::optional_duration;
use serde::Deserialize;

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

#[cfg(test)]
mod tests {
    use super::*;

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
