//! Receivers as they are written in the configuration, in Alertmanager's spelling where it has the
//! thing. There are no routes: each receiver is told everything, and who wants more has Alertmanager.

use std::sync::Arc;
use std::time::Duration;

use fetch::Fetcher;
use model::Clock;
use serde::Deserialize;

use crate::Notifier;
use crate::dingtalk::DingTalk;
use crate::email::EmailConfig;
use crate::feishu::Feishu;
use crate::http::TIMEOUT;
use crate::robot::RobotConfig;
use crate::slack::SlackConfig;
use crate::webhook::WebhookConfig;
use crate::wecom::WeCom;

/// One entry of `receivers`: a name, and the ways to tell those behind it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Receiver {
    /// Its name.
    pub name: String,
    #[serde(default)]
    webhook_configs: Vec<WebhookConfig>,
    #[serde(default)]
    slack_configs: Vec<SlackConfig>,
    #[serde(default)]
    email_configs: Vec<EmailConfig>,
    #[serde(default)]
    dingtalk_configs: Vec<RobotConfig>,
    #[serde(default)]
    feishu_configs: Vec<RobotConfig>,
    #[serde(default)]
    wecom_configs: Vec<RobotConfig>,
}

/// What notifiers are given beside their settings.
#[derive(Clone)]
pub struct Surroundings {
    /// For whoever trusts what the system trusts.
    pub fetcher: Fetcher,
    /// For what has a time in it.
    pub clock: Arc<dyn Clock>,
    /// Where people reach our pages, or empty.
    pub external_url: String,
}

impl Receiver {
    /// Its notifiers. Secrets are looked at, so that what cannot work is known at the start.
    ///
    /// # Errors
    /// In words: which entry cannot work, and why.
    pub fn notifiers(&self, around: &Surroundings) -> Result<Vec<Box<dyn Notifier>>, String> {
        let mut all: Vec<Box<dyn Notifier>> = Vec::new();
        let name = self.name.as_str();
        self.add("webhook_configs", &self.webhook_configs, &mut all, |one| {
            one.notifier(name, around)
        })?;
        self.add("slack_configs", &self.slack_configs, &mut all, |one| {
            one.notifier(name, around)
        })?;
        self.add("email_configs", &self.email_configs, &mut all, |one| {
            one.notifier(name, around)
        })?;
        self.add(
            "dingtalk_configs",
            &self.dingtalk_configs,
            &mut all,
            |one| DingTalk::new(name, one, around),
        )?;
        self.add("feishu_configs", &self.feishu_configs, &mut all, |one| {
            Feishu::new(name, one, around)
        })?;
        self.add("wecom_configs", &self.wecom_configs, &mut all, |one| {
            WeCom::new(name, one, around)
        })?;
        if all.is_empty() {
            return Err(format!("the receiver `{name}` has nobody to tell"));
        }
        Ok(all)
    }

    fn add<C, N: Notifier + 'static>(
        &self,
        key: &str,
        configs: &[C],
        to: &mut Vec<Box<dyn Notifier>>,
        make: impl Fn(&C) -> Result<N, String>,
    ) -> Result<(), String> {
        for (number, config) in configs.iter().enumerate() {
            let made = make(config).map_err(|error| {
                format!(
                    "receiver `{}`, {key}, entry {}: {error}",
                    self.name,
                    number + 1
                )
            })?;
            to.push(Box::new(made));
        }
        Ok(())
    }
}

/// The default of `timeout`.
pub(crate) fn timeout() -> Duration {
    TIMEOUT
}

/// The default of `send_resolved`, for every way: that a leak is over is rare and worth a word.
pub(crate) fn send_resolved() -> bool {
    true
}

#[cfg(test)]
pub(crate) mod tests {
    use model::{SimClock, UnixMs};

    use super::*;

    pub(crate) fn surroundings() -> Surroundings {
        Surroundings {
            fetcher: Fetcher::new().unwrap(),
            clock: Arc::new(SimClock::new(UnixMs(0))),
            external_url: String::new(),
        }
    }

    #[test]
    fn each_entry_is_a_notifier_with_a_telling_name() {
        let text = r#"{"name": "team",
            "webhook_configs": [{"url": "http://a.example:9/SECRET", "send_resolved": false}],
            "slack_configs": [{"api_url": "https://b.example/SECRET"}],
            "email_configs": [{"to": "x@c.example", "from": "u@c.example", "smarthost": "c.example:25"}],
            "dingtalk_configs": [{"url": "https://d.example/?t=SECRET", "secret": "SECRET"}],
            "feishu_configs": [{"url": "https://e.example/SECRET"}],
            "wecom_configs": [{"url": "https://f.example/?key=SECRET"}]}"#;
        let receiver: Receiver = serde_json::from_str(text).unwrap();
        let all = receiver.notifiers(&surroundings()).unwrap();
        let names: Vec<String> = all.iter().map(|one| one.address().to_string()).collect();
        let expected = [
            "team (webhook, a.example:9)",
            "team (slack, b.example)",
            "team (email, c.example:25)",
            "team (dingtalk, d.example)",
            "team (feishu, e.example)",
            "team (wecom, f.example)",
        ];
        assert_eq!(names, expected);
        assert!(!format!("{receiver:?}").contains("SECRET"));
        for one in &all {
            let is_webhook = one.address().integration == "webhook";
            assert_eq!(one.send_resolved(), !is_webhook, "{}", one.address());
            assert_eq!(one.carries_profile(), is_webhook, "{}", one.address());
        }
    }

    #[test]
    fn what_cannot_work_names_its_entry() {
        let rows = [
            (r#"{"name": "t"}"#, "nobody to tell"),
            (
                r#"{"name": "t", "webhook_configs": [{"url": "http://a"}, {"url": "SECRET"}]}"#,
                "receiver `t`, webhook_configs, entry 2: its url is no",
            ),
            (
                r#"{"name": "t", "wecom_configs": [{"url_file": "/nowhere/x"}]}"#,
                "wecom_configs, entry 1: failed to read the secret in /nowhere/x: No such",
            ),
        ];
        for (text, expected) in rows {
            let receiver: Receiver = serde_json::from_str(text).unwrap();
            let error = receiver.notifiers(&surroundings()).map(drop).unwrap_err();
            assert!(error.contains(expected), "{error}");
            assert!(!error.contains("SECRET"), "{error}");
        }
    }
}
