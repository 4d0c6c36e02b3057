//! Alerts by HTTP POST, in the JSON that Alertmanager's webhook receiver sends (version 4), so
//! that what already takes Alertmanager's takes ours.
//!
//! Format: Prometheus Alertmanager's documentation, "webhook_config".

use std::time::Duration;

use fetch::{FetchError, Fetcher, Post, Request};
use model::series::BoxFuture;
use serde_json::{Value, json};

use crate::{Alert, Notifier, NotifyError};

const TIMEOUT: Duration = Duration::from_secs(10);

/// Posts to one URL.
pub struct Webhook {
    fetcher: Fetcher,
    url: String,
    host: String,
    name: String,
    external_url: String,
}

impl Webhook {
    /// Posts to `url`; `external_url` goes into the message as the sender's address.
    #[must_use]
    pub fn new(fetcher: Fetcher, url: String, external_url: Option<String>) -> Self {
        let host = host_of(&url);
        Self {
            fetcher,
            name: format!("webhook to {host}"),
            host,
            url,
            external_url: external_url.unwrap_or_default(),
        }
    }
}

impl Notifier for Webhook {
    // The URL's path may carry a token, so only the host is part of the name.
    fn name(&self) -> &str {
        &self.name
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
            let post = Post {
                content_type: "application/json",
                authorization: None,
                body,
            };
            let sent = self.fetcher.post(&request, post).await;
            sent.map_err(|error| refused(&self.host, &error))?;
            Ok(())
        })
    }
}

/// What went wrong, in words that do not hold the URL.
fn refused(host: &str, error: &FetchError) -> NotifyError {
    let (reason, permanent) = match error {
        FetchError::Connect { reason, .. } => (format!("cannot connect: {reason}"), false),
        FetchError::Timeout { timeout, .. } => (
            format!("no answer within {} s", timeout.as_secs_f64()),
            false,
        ),
        FetchError::Status { status, .. } => {
            let later = matches!(status, 408 | 429) || *status >= 500;
            (format!("it answered with status {status}"), !later)
        }
        FetchError::Redirect { reason, .. } => (format!("it redirects: {reason}"), false),
        FetchError::TooLarge { .. } => ("its answer is too large".into(), false),
        FetchError::Protocol { reason, .. } => (format!("no HTTP answer: {reason}"), false),
        _ => ("its URL cannot be used".into(), true),
    };
    NotifyError::Receiver {
        host: host.to_owned(),
        reason,
        permanent,
    }
}

/// Host and port of a URL: what of it may be shown.
fn host_of(url: &str) -> String {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or("");
    let host = authority
        .rsplit_once('@')
        .map_or(authority, |(_, host)| host);
    host.chars().take(100).collect()
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

    #[tokio::test]
    async fn a_token_in_the_path_is_never_said() {
        let url = "http://user:SECRET@127.0.0.1:1/services/SECRET?key=SECRET";
        let webhook = Webhook::new(Fetcher::new().unwrap(), url.into(), None);
        let incident = crate::message::tests::incident();
        let alert = Alert::of_incident(&incident, &Links::default());
        let error = webhook.notify(&alert).await.unwrap_err();
        let said = format!("{} {error} {error:?}", webhook.name());
        assert!(!said.contains("SECRET"), "{said}");
        assert!(said.contains("127.0.0.1:1"), "{said}");
    }

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
