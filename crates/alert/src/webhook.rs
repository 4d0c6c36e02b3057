//! Alerts by HTTP POST, in the JSON that Alertmanager's webhook receiver sends (version 4), so
//! that what already takes Alertmanager's takes ours.
//!
//! Format: Prometheus Alertmanager's documentation, "webhook_config".

use std::path::PathBuf;
use std::time::Duration;

use model::series::BoxFuture;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::http::{Door, HttpConfig};
use crate::receiver::{Surroundings, send_resolved, timeout};
use crate::{Address, Alert, Notifier, NotifyError, Secret, SecretSource};

/// One entry of `webhook_configs`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Raw")]
pub(crate) struct WebhookConfig {
    url: SecretSource,
    http: HttpConfig,
    timeout: Duration,
    send_resolved: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    url: Option<Secret>,
    url_file: Option<PathBuf>,
    url_env: Option<String>,
    #[serde(default)]
    http_config: HttpConfig,
    #[serde(default = "timeout", deserialize_with = "model::duration::duration")]
    timeout: Duration,
    #[serde(default = "send_resolved")]
    send_resolved: bool,
}

impl TryFrom<Raw> for WebhookConfig {
    type Error = String;

    fn try_from(raw: Raw) -> Result<Self, String> {
        Ok(Self {
            url: SecretSource::need("url", raw.url, raw.url_file, raw.url_env)?,
            http: raw.http_config,
            timeout: raw.timeout,
            send_resolved: raw.send_resolved,
        })
    }
}

impl WebhookConfig {
    pub(crate) fn notifier(
        &self,
        receiver: &str,
        around: &Surroundings,
    ) -> Result<Webhook, String> {
        let door = Door::new(&around.fetcher, &self.url, &self.http, self.timeout)?;
        Ok(Webhook {
            address: Address::new(receiver, "webhook", door.host()),
            door,
            external_url: around.external_url.clone(),
            send_resolved: self.send_resolved,
        })
    }
}

/// Posts to one URL.
pub(crate) struct Webhook {
    address: Address,
    door: Door,
    external_url: String,
    send_resolved: bool,
}

impl Notifier for Webhook {
    fn address(&self) -> &Address {
        &self.address
    }

    fn notify<'a>(&'a self, alert: &'a Alert) -> BoxFuture<'a, Result<(), NotifyError>> {
        Box::pin(async move {
            let message = payload(alert, &self.address.receiver, &self.external_url);
            self.door.post(&message).await.map(drop)
        })
    }

    fn send_resolved(&self) -> bool {
        self.send_resolved
    }

    fn carries_profile(&self) -> bool {
        true
    }
}

/// The message: one group that holds this one alert.
#[must_use]
pub fn payload(alert: &Alert, receiver: &str, external_url: &str) -> Value {
    json!({
        "version": "4",
        "groupKey": format!("unswept/{}", alert.fingerprint),
        "truncatedAlerts": 0,
        "status": alert.status,
        "receiver": receiver,
        "groupLabels": {"alertname": alert.labels.get("alertname")},
        "commonLabels": alert.labels,
        "commonAnnotations": alert.annotations,
        "externalURL": external_url,
        "alerts": [alert],
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::AlertStatus;
    use crate::wording::tests::alert;

    #[test]
    fn the_message_has_alertmanagers_keys() {
        let message = payload(&alert(AlertStatus::Firing), "team", "");
        assert_eq!(message["version"], "4");
        assert_eq!(message["status"], "firing");
        assert_eq!(message["receiver"], "team");
        assert_eq!(message["alerts"][0]["startsAt"], "2026-11-21T22:30:00Z");
        assert_eq!(message["alerts"][0]["labels"]["alertname"], "MemoryLeak");
        assert_eq!(message["alerts"][0]["generatorURL"], "");
    }
}
