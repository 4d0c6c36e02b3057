//! Alerts by HTTP POST, in the JSON that Alertmanager's webhook receiver sends (version 4), so
//! that what already takes Alertmanager's takes ours.
//!
//! Format: Prometheus Alertmanager's documentation, "webhook_config".

use std::time::Duration;

use fetch::{Fetcher, Request};
use model::series::BoxFuture;
use serde_json::{Value, json};

use crate::{Alert, Notifier, NotifyError};

const TIMEOUT: Duration = Duration::from_secs(10);

/// Posts to one URL.
#[derive(Debug)]
pub struct Webhook {
    fetcher: Fetcher,
    url: String,
    external_url: String,
}

impl Webhook {
    /// Posts to `url`; `external_url` goes into the message as the sender's address.
    #[must_use]
    pub fn new(fetcher: Fetcher, url: String, external_url: Option<String>) -> Self {
        Self {
            fetcher,
            url,
            external_url: external_url.unwrap_or_default(),
        }
    }
}

impl Notifier for Webhook {
    // The URL itself may carry a token, so it is not part of the name.
    fn name(&self) -> &str {
        "webhook"
    }

    fn notify<'a>(&'a self, alert: &'a Alert) -> BoxFuture<'a, Result<(), NotifyError>> {
        Box::pin(async move {
            let body = serde_json::to_vec(&payload(alert, &self.external_url))?;
            let request = Request {
                url: &self.url,
                timeout: TIMEOUT,
                body_bytes_max: 64 << 10,
                accept: None,
            };
            self.fetcher
                .post(&request, "application/json", body)
                .await?;
            Ok(())
        })
    }
}

/// The message: one group that holds this one alert.
#[must_use]
pub fn payload(alert: &Alert, external_url: &str) -> Value {
    json!({
        "version": "4",
        "groupKey": format!("unswept/{}", alert.fingerprint),
        "truncatedAlerts": 0,
        "status": alert.status,
        "receiver": "unswept",
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
    use crate::Links;

    #[test]
    fn the_message_has_alertmanagers_keys() {
        let incident = crate::message::tests::incident();
        let alert = Alert::of_incident(&incident, &Links::default());
        let message = payload(&alert, "");
        assert_eq!(message["version"], "4");
        assert_eq!(message["status"], "firing");
        assert_eq!(message["alerts"][0]["startsAt"], "2026-11-21T22:30:00Z");
        assert_eq!(message["alerts"][0]["labels"]["alertname"], "MemoryLeak");
        assert_eq!(message["alerts"][0]["generatorURL"], "");
    }
}
