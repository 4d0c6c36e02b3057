//! Alertmanager's API, version 2: every member of a cluster is told every alert, again and again, as
//! Prometheus does it. An alert that is not repeated is over for Alertmanager after four intervals.
//!
//! Source: Alertmanager's `api/v2/openapi.yaml`; Prometheus' documentation, "alertmanager_config".

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use model::series::BoxFuture;
use model::{Clock, Labels, UnixMs};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::http::{Authorization, BasicAuth, Credentials, Door, HttpConfig, TlsConfig};
use crate::receiver::{Surroundings, timeout};
use crate::{Address, Alert, AlertStatus, Notifier, NotifyError, Repeat, Secret, SecretSource};

/// For how long Alertmanager is told that an alert is over, as Prometheus does.
const RESOLVED_FOR: Duration = Duration::from_secs(15 * 60);
/// An alert ends for Alertmanager when so many repetitions in a row did not come.
const MISSED_MAX: u32 = 4;
const MEMBERS_MAX: usize = 100;

/// `alerting:` of the configuration.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Alerting {
    alertmanagers: Vec<AlertmanagerConfig>,
    /// How often an alert that stands is sent again.
    #[serde(deserialize_with = "model::duration::duration")]
    resend_delay: Duration,
}

/// One entry of `alertmanagers`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Raw")]
struct AlertmanagerConfig {
    urls: Vec<String>,
    http: HttpConfig,
    timeout: Duration,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    #[serde(default)]
    scheme: Scheme,
    #[serde(default)]
    path_prefix: String,
    #[serde(default = "timeout", deserialize_with = "model::duration::duration")]
    timeout: Duration,
    #[serde(default)]
    #[expect(dead_code, reason = "there is only one version that it can be")]
    api_version: ApiVersion,
    #[serde(default)]
    static_configs: Vec<StaticConfig>,
    basic_auth: Option<BasicAuth>,
    authorization: Option<Credentials>,
    #[serde(default)]
    tls_config: TlsConfig,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Scheme {
    #[default]
    Http,
    Https,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum ApiVersion {
    #[default]
    V2,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StaticConfig {
    targets: Vec<String>,
}

impl Default for Alerting {
    fn default() -> Self {
        Self {
            alertmanagers: Vec::new(),
            resend_delay: Duration::from_secs(60),
        }
    }
}

impl TryFrom<Raw> for AlertmanagerConfig {
    type Error = String;

    fn try_from(raw: Raw) -> Result<Self, String> {
        let scheme = match raw.scheme {
            Scheme::Http => "http",
            Scheme::Https => "https",
        };
        let prefix = raw.path_prefix.trim_matches('/');
        let prefix = if prefix.is_empty() {
            ""
        } else {
            &format!("/{prefix}")
        };
        let mut urls = Vec::new();
        for member in raw.static_configs.iter().flat_map(|group| &group.targets) {
            if member.contains(['/', '@', '?', '#']) || !member.contains(':') {
                return Err(format!(
                    "target `{}` must be host:port, without a path or a login: a login goes into basic_auth",
                    model::without_secrets(member)
                ));
            }
            urls.push(format!("{scheme}://{member}{prefix}/api/v2/alerts"));
        }
        if urls.is_empty() {
            return Err("an Alertmanager without targets in static_configs".into());
        }
        Ok(Self {
            urls,
            http: HttpConfig {
                authorization: Authorization::pick(raw.basic_auth, raw.authorization)?,
                tls: raw.tls_config,
            },
            timeout: raw.timeout,
        })
    }
}

impl Alerting {
    /// A notifier for each member.
    ///
    /// # Errors
    /// In words: what cannot work.
    pub fn notifiers(&self, around: &Surroundings) -> Result<Vec<Box<dyn Notifier>>, String> {
        if self.resend_delay < Duration::from_secs(1) {
            return Err("alerting.resend_delay must be 1s or more".into());
        }
        let mut notifiers: Vec<Box<dyn Notifier>> = Vec::new();
        for (number, config) in self.alertmanagers.iter().enumerate() {
            let place = |error| format!("alerting.alertmanagers, entry {}: {error}", number + 1);
            for url in &config.urls {
                let url = SecretSource::Inline(Secret::new(url.clone()));
                let door = Door::new(&around.fetcher, &url, &config.http, config.timeout);
                let door = door.map_err(place)?;
                notifiers.push(Box::new(Alertmanager {
                    address: Address::new("alertmanager", "alertmanager", door.host()),
                    door,
                    clock: Arc::clone(&around.clock),
                    every: self.resend_delay,
                }));
            }
        }
        match notifiers.len() > MEMBERS_MAX {
            true => Err(format!("at most {MEMBERS_MAX} Alertmanagers")),
            false => Ok(notifiers),
        }
    }
}

/// One member.
struct Alertmanager {
    address: Address,
    door: Door,
    clock: Arc<dyn Clock>,
    every: Duration,
}

/// An alert as the API takes it. It counts an alert with other labels as another one.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Posted<'a> {
    labels: &'a Labels,
    annotations: &'a BTreeMap<String, String>,
    #[serde(with = "model::time::rfc3339")]
    starts_at: UnixMs,
    #[serde(with = "model::time::rfc3339")]
    ends_at: UnixMs,
    /// An empty one is no URL for it.
    #[serde(rename = "generatorURL", skip_serializing_if = "str::is_empty")]
    generator_url: &'a str,
}

impl<'a> Posted<'a> {
    fn new(alert: &'a Alert, now: UnixMs, every: Duration) -> Self {
        let ends_at = match alert.status {
            AlertStatus::Firing => now.after(every * MISSED_MAX),
            // Never in the future, where it would still stand.
            AlertStatus::Resolved => alert.ends_at.unwrap_or(now).min(now),
        };
        Self {
            labels: &alert.labels,
            annotations: &alert.annotations,
            // It refuses what ends before it starts, and clocks jump.
            starts_at: alert.starts_at.min(ends_at),
            ends_at,
            generator_url: &alert.generator_url,
        }
    }
}

impl Notifier for Alertmanager {
    fn address(&self) -> &Address {
        &self.address
    }

    fn notify<'a>(&'a self, alert: &'a Alert) -> BoxFuture<'a, Result<(), NotifyError>> {
        Box::pin(async move {
            let posted = Posted::new(alert, self.clock.now(), self.every);
            let message = Value::Array(vec![serde_json::to_value(&posted)?]);
            self.door.post(&message).await.map(drop)
        })
    }

    fn repeat(&self) -> Option<Repeat> {
        Some(Repeat {
            every: self.every,
            resolved_for: RESOLVED_FOR,
        })
    }

    fn carries_profile(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use model::SimClock;

    use super::*;
    use crate::http::tests::mock;
    use crate::receiver::tests::surroundings;
    use crate::wording::tests::alert;

    fn parse(text: &str) -> Result<Alerting, String> {
        serde_json::from_str(text).map_err(|error| error.to_string())
    }

    #[tokio::test]
    async fn the_end_moves_on_and_the_start_stays() {
        let (url, heard) = mock(200, "");
        let member = url.trim_start_matches("http://");
        let config = format!(
            r#"{{"alertmanagers": [{{"path_prefix": "/am/", "api_version": "v2",
                "static_configs": [{{"targets": ["{member}"]}}]}}]}}"#
        );
        let start = alert(AlertStatus::Firing).starts_at;
        let clock = Arc::new(SimClock::new(start));
        let mut around = surroundings();
        around.clock = Arc::clone(&clock) as _;
        let notifier = &parse(&config).unwrap().notifiers(&around).unwrap()[0];
        let ends = [
            "2026-11-21T22:35:00Z",
            "2026-11-21T22:36:00Z",
            "2026-11-21T22:31:00Z",
        ];
        let states = [
            AlertStatus::Firing,
            AlertStatus::Firing,
            AlertStatus::Resolved,
        ];
        for (status, end) in states.into_iter().zip(ends) {
            clock.advance(Duration::from_secs(60));
            notifier.notify(&alert(status)).await.unwrap();
            let sent = heard.recv().unwrap();
            assert!(
                sent.starts_with("POST /am/api/v2/alerts HTTP/1.1"),
                "{sent}"
            );
            let (_, body) = sent.split_once("\r\n\r\n").unwrap();
            let body: Value = serde_json::from_str(body).unwrap();
            assert_eq!(body[0]["startsAt"], "2026-11-21T22:30:00Z");
            assert_eq!(body[0]["endsAt"], end);
            assert_eq!(body[0]["labels"]["workload"], "shop");
            assert!(body[0].get("generatorURL").is_none());
        }
        assert_eq!(notifier.repeat().unwrap().every, Duration::from_secs(60));
    }

    #[test]
    fn clocks_that_jump_make_no_alert_that_is_refused() {
        let resolved = alert(AlertStatus::Resolved);
        let earlier = UnixMs(resolved.starts_at.0 - 3_600_000);
        let posted = Posted::new(&resolved, earlier, Duration::from_secs(60));
        assert!(posted.ends_at <= earlier && posted.starts_at <= posted.ends_at);
    }

    #[test]
    fn every_member_is_told_and_what_cannot_work_is_refused() {
        let two = r#"{"alertmanagers": [{"static_configs": [{"targets": ["a:1", "b:2"]}]}]}"#;
        let members = parse(two).unwrap().notifiers(&surroundings()).unwrap();
        let names: Vec<String> = members.iter().map(|m| m.address().to_string()).collect();
        assert_eq!(
            names,
            [
                "alertmanager (alertmanager, a:1)",
                "alertmanager (alertmanager, b:2)"
            ]
        );
        let rows = [
            ("v1", r#""api_version": "v1""#, "v1"),
            ("nobody", r#""static_configs": []"#, "without targets"),
            (
                "a path",
                r#""static_configs": [{"targets": ["a:1/x"]}]"#,
                "without a path",
            ),
            ("discovery", r#""dns_sd_configs": []"#, "dns_sd_configs"),
        ];
        for (name, text, expected) in rows {
            let error = parse(&format!(r#"{{"alertmanagers": [{{{text}}}]}}"#)).expect_err(name);
            assert!(error.contains(expected), "{name}: {error}");
        }
        let fast = parse(r#"{"resend_delay": "1ms"}"#).unwrap();
        assert!(fast.notifiers(&surroundings()).is_err());
    }
}
