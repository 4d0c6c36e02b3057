//! What the group robots of DingTalk, Feishu and WeCom have in common: a URL with a token, for some a
//! signature, and answers of status 200 that say in their body whether the message was taken.

use std::path::PathBuf;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::hmac;
use serde::Deserialize;
use serde_json::Value;

use crate::http::{Door, HttpConfig};
use crate::receiver::{Surroundings, send_resolved, timeout};
use crate::wording::{Wording, cut};
use crate::{NotifyError, Secret, SecretSource, Template, in_words};

/// Settings of a robot.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Raw")]
pub(crate) struct RobotConfig {
    url: SecretSource,
    pub(crate) secret: Option<SecretSource>,
    pub(crate) message_type: MessageType,
    pub(crate) wording: Wording,
    timeout: Duration,
    pub(crate) send_resolved: bool,
}

/// How a robot shows a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum MessageType {
    /// As it is.
    #[default]
    Text,
    /// As Markdown, for templates that are written in it.
    Markdown,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    url: Option<Secret>,
    url_file: Option<PathBuf>,
    url_env: Option<String>,
    secret: Option<Secret>,
    secret_file: Option<PathBuf>,
    secret_env: Option<String>,
    #[serde(default)]
    message_type: MessageType,
    title: Option<Template>,
    text: Option<Template>,
    #[serde(default = "timeout", deserialize_with = "model::duration::duration")]
    timeout: Duration,
    #[serde(default = "send_resolved")]
    send_resolved: bool,
}

impl TryFrom<Raw> for RobotConfig {
    type Error = String;

    fn try_from(raw: Raw) -> Result<Self, String> {
        let (inline, file, env) = (raw.secret, raw.secret_file, raw.secret_env);
        Ok(Self {
            url: SecretSource::need("url", raw.url, raw.url_file, raw.url_env)?,
            secret: SecretSource::pick("secret", inline, file, env)?,
            message_type: raw.message_type,
            wording: Wording {
                title: raw.title,
                text: raw.text,
            },
            timeout: raw.timeout,
            send_resolved: raw.send_resolved,
        })
    }
}

impl RobotConfig {
    /// The robot's door; its secret is looked at too.
    pub(crate) fn door(&self, around: &Surroundings) -> Result<Door, String> {
        if let Some(secret) = &self.secret {
            let read = secret.read_now();
            read.map_err(|error| in_words(&error))?;
        }
        let http = HttpConfig::default();
        Door::new(&around.fetcher, &self.url, &http, self.timeout)
    }

    /// The signing key, as it is now.
    pub(crate) async fn key(&self) -> Result<Option<Secret>, NotifyError> {
        match &self.secret {
            Some(source) => Ok(Some(source.read().await?)),
            None => Ok(None),
        }
    }
}

/// HMAC-SHA256 of `message` under `key`, as base64.
pub(crate) fn signature(key: &str, message: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, key.as_bytes());
    STANDARD.encode(hmac::sign(&key, message.as_bytes()))
}

/// Whether a robot has taken a message: one of the fields `codes` of its answer is 0. What it has not
/// taken is tried again, since most reasons pass or can be mended where the robot is set up: too many
/// messages a minute, a keyword, a clock that is wrong.
pub(crate) fn taken(
    door: &Door,
    answer: &[u8],
    codes: [&str; 2],
    text: &str,
) -> Result<(), NotifyError> {
    let said: Value = serde_json::from_slice(answer).unwrap_or(Value::Null);
    let code = codes.iter().find_map(|name| said[*name].as_i64());
    let why = match code {
        Some(0) => return Ok(()),
        Some(code) => {
            let text = said[text].as_str().unwrap_or("no reason given");
            format!("it answered with code {code}: {}", cut(text, 200))
        }
        None => "its answer does not say that it has taken the message".into(),
    };
    Err(door.failed(why, false))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures_are_those_of_rfc_4231() {
        // Test case 2: key "Jefe".
        let found = signature("Jefe", "what do ya want for nothing?");
        let bytes = STANDARD.decode(&found).unwrap();
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(
            hex,
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
    }
}
