//! Slack's incoming webhooks, by the settings of Alertmanager's `slack_config`.
//!
//! Format: Slack's documentation, "Sending messages using incoming webhooks", "Legacy attachments".

use std::path::PathBuf;
use std::time::Duration;

use model::series::BoxFuture;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::http::{Door, HttpConfig};
use crate::receiver::{Surroundings, send_resolved, timeout};
use crate::wording::{Wording, cut};
use crate::{Address, Alert, AlertStatus, Notifier, NotifyError, Secret, SecretSource, Template};

/// Slack cuts longer texts itself, in the middle of an escape if need be.
const TEXT_BYTES_MAX: usize = 8_000;
const TITLE_BYTES_MAX: usize = 1_000;

/// One entry of `slack_configs`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Raw")]
pub(crate) struct SlackConfig {
    api_url: SecretSource,
    look: Look,
    http: HttpConfig,
    timeout: Duration,
    send_resolved: bool,
}

/// How messages look.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Look {
    channel: Option<String>,
    username: Option<String>,
    icon_emoji: Option<String>,
    wording: Wording,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    api_url: Option<Secret>,
    api_url_file: Option<PathBuf>,
    api_url_env: Option<String>,
    channel: Option<String>,
    username: Option<String>,
    icon_emoji: Option<String>,
    title: Option<Template>,
    text: Option<Template>,
    #[serde(default)]
    http_config: HttpConfig,
    #[serde(default = "timeout", deserialize_with = "model::duration::duration")]
    timeout: Duration,
    #[serde(default = "send_resolved")]
    send_resolved: bool,
}

impl TryFrom<Raw> for SlackConfig {
    type Error = String;

    fn try_from(raw: Raw) -> Result<Self, String> {
        let (inline, file, env) = (raw.api_url, raw.api_url_file, raw.api_url_env);
        Ok(Self {
            api_url: SecretSource::need("api_url", inline, file, env)?,
            look: Look {
                channel: raw.channel,
                username: raw.username,
                icon_emoji: raw.icon_emoji,
                wording: Wording {
                    title: raw.title,
                    text: raw.text,
                },
            },
            http: raw.http_config,
            timeout: raw.timeout,
            send_resolved: raw.send_resolved,
        })
    }
}

impl SlackConfig {
    pub(crate) fn notifier(&self, receiver: &str, around: &Surroundings) -> Result<Slack, String> {
        let door = Door::new(&around.fetcher, &self.api_url, &self.http, self.timeout)?;
        Ok(Slack {
            address: Address::new(receiver, "slack", door.host()),
            door,
            look: self.look.clone(),
            send_resolved: self.send_resolved,
        })
    }
}

/// One incoming webhook.
pub(crate) struct Slack {
    address: Address,
    door: Door,
    look: Look,
    send_resolved: bool,
}

impl Notifier for Slack {
    fn address(&self) -> &Address {
        &self.address
    }

    fn notify<'a>(&'a self, alert: &'a Alert) -> BoxFuture<'a, Result<(), NotifyError>> {
        Box::pin(async move {
            let answer = self.door.post(&self.look.message(alert)).await?;
            // Servers that imitate Slack answer as its other API does.
            match serde_json::from_slice::<Value>(&answer) {
                Ok(said) if said["ok"] == false => {
                    let why = said["error"].as_str().unwrap_or("no reason given");
                    let why = cut(why, 200);
                    Err(self.door.failed(format!("it answered: {why}"), false))
                }
                _ => Ok(()),
            }
        })
    }

    fn send_resolved(&self) -> bool {
        self.send_resolved
    }
}

impl Look {
    fn message(&self, alert: &Alert) -> Value {
        let title = cut(&self.wording.title(alert, escaped), TITLE_BYTES_MAX);
        let mut attachment = json!({
            "color": match alert.status {
                AlertStatus::Firing => "danger",
                AlertStatus::Resolved => "good",
            },
            "fallback": title,
            "title": title,
            "text": cut(&self.wording.text(alert, escaped), TEXT_BYTES_MAX),
            "mrkdwn_in": ["text"],
        });
        if !alert.generator_url.is_empty() {
            attachment["title_link"] = json!(alert.generator_url);
        }
        let mut message = json!({ "attachments": [attachment] });
        let more = [
            ("channel", &self.channel),
            ("username", &self.username),
            ("icon_emoji", &self.icon_emoji),
        ];
        for (name, value) in more {
            if let Some(value) = value {
                message[name] = json!(value);
            }
        }
        message
    }
}

/// The three characters that Slack gives a meaning: names in a target's code mention nobody.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::tests::mock;
    use crate::receiver::tests::surroundings;
    use crate::wording::tests::alert;

    fn slack(url: &str, more: &str) -> Slack {
        let text = format!(r#"{{"api_url": "{url}"{more}}}"#);
        let config: SlackConfig = serde_json::from_str(&text).unwrap();
        config.notifier("team", &surroundings()).unwrap()
    }

    #[test]
    fn the_message_is_slacks() {
        let more =
            r##", "channel": "#leaks", "username": "unswept", "title": "{{ .Labels.kind }}""##;
        let slack = slack("https://hooks.example/services/T/B/x", more);
        let mut firing = alert(AlertStatus::Firing);
        firing
            .annotations
            .insert("suspects".into(), "main.F[<!channel>]".into());
        firing.generator_url = "https://u.example/incidents/1".into();
        let message = slack.look.message(&firing);
        assert_eq!(message["channel"], "#leaks");
        assert_eq!(message["username"], "unswept");
        let attachment = &message["attachments"][0];
        assert_eq!(attachment["color"], "danger");
        assert_eq!(attachment["title"], "go-heap");
        assert_eq!(attachment["title_link"], "https://u.example/incidents/1");
        let text = attachment["text"].as_str().unwrap();
        assert!(text.contains("main.F[&lt;!channel&gt;]"), "{text}");
        let resolved = slack.look.message(&alert(AlertStatus::Resolved));
        assert_eq!(resolved["attachments"][0]["color"], "good");
    }

    #[tokio::test]
    async fn what_slack_says_against_it_is_told() {
        let rows = [
            (200, "ok", None),
            (
                200,
                r#"{"ok":false,"error":"invalid_token"}"#,
                Some(("invalid_token", false)),
            ),
            (404, "no_service", Some(("no_service", true))),
            (429, "", Some(("429", false))),
        ];
        for (status, body, expected) in rows {
            let (url, _heard) = mock(status, body);
            let sent = slack(&url, "").notify(&alert(AlertStatus::Firing)).await;
            let told = sent.map_err(|error| (error.to_string(), error.is_permanent()));
            match (told, expected) {
                (Ok(()), None) => {}
                (Err((text, permanent)), Some((part, expected))) => {
                    assert!(text.contains(part), "{text}");
                    assert_eq!(permanent, expected, "{text}");
                }
                (told, expected) => panic!("{told:?} instead of {expected:?}"),
            }
        }
    }
}
