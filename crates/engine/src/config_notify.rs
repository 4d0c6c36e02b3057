//! Who is told, by the configuration: `notify:`, `alerting:` and `receivers:`, and what of `global:` and
//! `web:` is said to them.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use alert::{Notifier, Origin, Surroundings};
use fetch::Fetcher;
use model::Clock;
use serde::Deserialize;

use crate::config::{Config, ConfigError};
use model::size::size;

const RECEIVERS_MAX: usize = 100;
const LABELS_MAX: usize = 30;
/// What one alert may carry: receivers have limits of their own, and repeat it each minute.
const HEAP_PROFILE_BYTES: std::ops::RangeInclusive<u64> = 1 << 10..=1 << 20;

/// How alerts are told.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Notify {
    /// One JSON line for each alert on standard output.
    pub stdout: bool,
    /// Whether the heap profile goes along as base64, in an annotation, to programs.
    pub heap_profile_base64: bool,
    /// The most that it may have as base64, in bytes; one that has more is left out, with a word.
    #[serde(deserialize_with = "size")]
    pub heap_profile_max: u64,
}

impl Default for Notify {
    fn default() -> Self {
        Self {
            stdout: true,
            heap_profile_base64: false,
            heap_profile_max: 64 << 10,
        }
    }
}

impl Config {
    /// Everybody who is told, beside standard output. Their secrets are read, so that what cannot
    /// work is known before anything starts.
    ///
    /// # Errors
    /// [`ConfigError::Alerting`].
    pub fn notifiers(
        &self,
        fetcher: &Fetcher,
        clock: &Arc<dyn Clock>,
    ) -> Result<Vec<Box<dyn Notifier>>, ConfigError> {
        let around = Surroundings {
            fetcher: fetcher.clone(),
            clock: Arc::clone(clock),
            external_url: self.web.external_url.clone().unwrap_or_default(),
        };
        let cannot = |reason| ConfigError::Alerting { reason };
        let mut all = self.alerting.notifiers(&around).map_err(cannot)?;
        for receiver in &self.receivers {
            all.extend(receiver.notifiers(&around).map_err(cannot)?);
        }
        Ok(all)
    }

    /// What all alerts have in common.
    #[must_use]
    pub fn origin(&self, data_dir: &Path) -> Origin {
        let url = self.web.external_url.as_deref();
        let notify = &self.notify;
        Origin {
            external_url: url.map(|url| url.trim_end_matches('/').to_owned()),
            data_dir: data_dir.to_owned(),
            external_labels: self.global.external_labels.clone(),
            heap_profile_max: notify
                .heap_profile_base64
                .then_some(notify.heap_profile_max),
        }
    }

    /// Whether alerts are told in another way than by `other`.
    pub(crate) fn tells_otherwise(&self, other: &Self) -> bool {
        self.notify != other.notify
            || self.alerting != other.alerting
            || self.receivers != other.receivers
            || self.web != other.web
            || self.global.external_labels != other.global.external_labels
    }

    pub(crate) fn check_alerting(&self) -> Result<(), String> {
        check_labels(&self.global.external_labels)?;
        let max = self.notify.heap_profile_max;
        if !HEAP_PROFILE_BYTES.contains(&max) {
            return Err(format!(
                "notify.heap_profile_max must be 1KiB to 1MiB, it is {max} bytes"
            ));
        }
        if self.receivers.len() > RECEIVERS_MAX {
            return Err(format!("at most {RECEIVERS_MAX} receivers"));
        }
        let mut names = HashSet::from(["stdout", "alertmanager"]);
        for receiver in &self.receivers {
            let name = receiver.name.as_str();
            if name.is_empty() || name.contains(char::is_control) {
                return Err("a receiver's name is empty, or no line of text".into());
            }
            if !names.insert(name) {
                return Err(format!("the receiver's name `{name}` is taken already"));
            }
        }
        Ok(())
    }
}

/// Label names as Prometheus has them; its own begin with two underscores.
fn check_labels(labels: &BTreeMap<String, String>) -> Result<(), String> {
    if labels.len() > LABELS_MAX {
        return Err(format!("at most {LABELS_MAX} global.external_labels"));
    }
    let good = |name: &str| {
        let first = |c: char| c.is_ascii_alphabetic() || c == '_';
        name.starts_with(first)
            && !name.starts_with("__")
            && name.chars().all(|c| first(c) || c.is_ascii_digit())
    };
    match labels.keys().find(|name| !good(name)) {
        Some(name) => Err(format!("global.external_labels: `{name}` is no label name")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use model::{SimClock, UnixMs};

    use super::*;

    fn parse(text: &str) -> Result<Config, String> {
        Config::parse(Path::new("unswept.yml"), text).map_err(|error| error.to_string())
    }

    /// Every place where a secret can stand, each with SECRET in it.
    const SECRETS: &str = "\
alerting:
  alertmanagers:
    - static_configs: [{targets: ['a:9093', 'b:9093']}]
      basic_auth: {username: u, password: SECRET-1}
receivers:
  - name: team
    webhook_configs:
      - url: http://u:SECRET-2@h/SECRET-3
        http_config: {authorization: {credentials: SECRET-4}}
    slack_configs: [{api_url: 'https://h/SECRET-5'}]
    email_configs:
      - {to: a@b.c, from: u@b.c, smarthost: 'h:25', auth_username: u, auth_password: SECRET-6}
    dingtalk_configs: [{url: 'https://h/?t=SECRET-7', secret: SECRET-8}]
    feishu_configs: [{url: 'https://h/SECRET-9', secret: SECRET-10}]
    wecom_configs: [{url: 'https://h/?key=SECRET-11'}]
";

    #[test]
    fn no_secret_is_shown_whatever_is_wrong_beside_it() {
        let config = parse(SECRETS).unwrap();
        assert!(!format!("{config:?}").contains("SECRET"));
        let clock: Arc<dyn Clock> = Arc::new(SimClock::new(UnixMs(0)));
        let all = config.notifiers(&Fetcher::new().unwrap(), &clock).unwrap();
        assert_eq!(all.len(), 8);
        // One mistake after each line, of the kinds that people make.
        let lines: Vec<&str> = SECRETS.lines().collect();
        let mut wrong = 0;
        for at in 0..lines.len() {
            let indent = lines[at].len() - lines[at].trim_start().len();
            for mistake in ["unknwon: x", "- what", "\tx: [", "url: ["] {
                let mistake = format!("{}{mistake}", " ".repeat(indent));
                let mut text = lines.clone();
                text.insert(at + 1, &mistake);
                let said = match parse(&text.join("\n")) {
                    Ok(config) => format!("{config:?}"),
                    Err(error) => {
                        wrong += 1;
                        error
                    }
                };
                assert!(!said.contains("SECRET"), "{said}");
            }
        }
        assert!(wrong > lines.len(), "only {wrong} of them were mistakes");
    }

    #[test]
    fn alertmanagers_and_receivers_are_read_in_their_own_spelling() {
        let config = parse(
            "global: {external_labels: {cluster: eu}}\n\
             notify: {heap_profile_base64: true, heap_profile_max: 32KiB}\n\
             alerting:\n  resend_delay: 30s\n  alertmanagers:\n    - scheme: https\n      \
             path_prefix: /am\n      timeout: 5s\n      api_version: v2\n      \
             static_configs:\n        - targets: ['am-0:9093']\n",
        )
        .unwrap();
        let origin = config.origin(Path::new("/data"));
        assert_eq!(origin.external_labels["cluster"], "eu");
        assert_eq!(origin.heap_profile_max, Some(32 << 10));
        assert_eq!(
            Config::default().origin(Path::new("/")).heap_profile_max,
            None
        );
        assert!(config.tells_otherwise(&Config::default()));
        assert_eq!(
            config.changes(&Config::default()),
            ["global", "alerting", "notify"]
        );
    }

    #[test]
    fn what_is_wrong_is_named() {
        let rows = [
            ("no name", "receivers: [{name: ''}]\n", "name is empty"),
            (
                "twice",
                "receivers: [{name: a}, {name: a}]\n",
                "`a` is taken",
            ),
            ("ours", "receivers: [{name: stdout}]\n", "`stdout` is taken"),
            (
                "label",
                "global: {external_labels: {a-b: c}}\n",
                "`a-b` is no label",
            ),
            (
                "too big",
                "notify: {heap_profile_max: 1GiB}\n",
                "1KiB to 1MiB",
            ),
            (
                "its line",
                "receivers:\n  - name: a\n    wecom_configs:\n      - url: http://h\n        \
                 colour: red\n",
                "5",
            ),
            (
                "a template's line",
                "receivers:\n  - name: a\n    wecom_configs:\n      - url: http://h\n        \
                 title: '{{ .Values }}'\n",
                "not understood at 1:1",
            ),
            (
                "both",
                "receivers: [{name: a, wecom_configs: [{url: x, url_env: Y}]}]\n",
                "only one of url",
            ),
        ];
        for (name, text, expected) in rows {
            let error = parse(text).expect_err(name);
            assert!(error.contains(expected), "{name}: {error}");
        }
    }
}
