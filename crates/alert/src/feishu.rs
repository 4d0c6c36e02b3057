//! Feishu's (Lark's) group robots.
//!
//! Format: Feishu's open platform, "Custom bot usage guide", with its signature, which is not
//! DingTalk's: the HMAC of nothing under time (in seconds), newline and secret, both in the body.

use std::sync::Arc;

use model::Clock;
use model::series::BoxFuture;
use serde_json::{Value, json};

use crate::http::Door;
use crate::receiver::Surroundings;
use crate::robot::{MessageType, RobotConfig, signature, taken};
use crate::{Address, Alert, Notifier, NotifyError};

/// Feishu takes requests of 20 KB.
const TEXT_BYTES_MAX: usize = 16_000;

/// One robot.
pub(crate) struct Feishu {
    address: Address,
    door: Door,
    config: RobotConfig,
    clock: Arc<dyn Clock>,
}

impl Feishu {
    pub(crate) fn new(
        receiver: &str,
        config: &RobotConfig,
        around: &Surroundings,
    ) -> Result<Self, String> {
        if config.message_type == MessageType::Markdown {
            return Err("Feishu's robots take no markdown: leave message_type out".into());
        }
        let door = config.door(around)?;
        Ok(Self {
            address: Address::new(receiver, "feishu", door.host()),
            door,
            config: config.clone(),
            clock: Arc::clone(&around.clock),
        })
    }

    fn message(&self, alert: &Alert, key: Option<&str>) -> Value {
        let text = self.config.wording.whole(alert, TEXT_BYTES_MAX);
        let mut message = json!({"msg_type": "text", "content": {"text": text}});
        if let Some(key) = key {
            let seconds = self.clock.now().0.div_euclid(1_000);
            message["timestamp"] = json!(seconds.to_string());
            message["sign"] = json!(signature(&format!("{seconds}\n{key}"), ""));
        }
        message
    }
}

impl Notifier for Feishu {
    fn address(&self) -> &Address {
        &self.address
    }

    fn notify<'a>(&'a self, alert: &'a Alert) -> BoxFuture<'a, Result<(), NotifyError>> {
        Box::pin(async move {
            let key = self.config.key().await?;
            let message = self.message(alert, key.as_ref().map(crate::Secret::expose));
            let answer = self.door.post(&message).await?;
            // Its older answers have the other field.
            taken(&self.door, &answer, ["code", "StatusCode"], "msg")
        })
    }

    fn send_resolved(&self) -> bool {
        self.config.send_resolved
    }
}

#[cfg(test)]
mod tests {
    use model::{SimClock, UnixMs};

    use super::*;
    use crate::AlertStatus;
    use crate::http::tests::mock;
    use crate::receiver::tests::surroundings;
    use crate::wording::tests::alert;

    fn robot(url: &str, more: &str) -> Result<Feishu, String> {
        let config = format!(r#"{{"url": "{url}/open-apis/bot/v2/hook/t"{more}}}"#);
        let mut around = surroundings();
        around.clock = Arc::new(SimClock::new(UnixMs(1_795_300_000_999)));
        let config = serde_json::from_str(&config).map_err(|error| error.to_string())?;
        Feishu::new("team", &config, &around)
    }

    #[tokio::test]
    async fn messages_are_signed_and_answers_read() {
        let rows = [
            (r#"{"code":0,"msg":"success"}"#, Ok(())),
            (r#"{"StatusCode":0,"StatusMessage":"success"}"#, Ok(())),
            (
                r#"{"code":19021,"msg":"sign match fail"}"#,
                Err("19021: sign match fail"),
            ),
            ("[]", Err("does not say")),
        ];
        for (body, expected) in rows {
            let (url, heard) = mock(200, body);
            let robot = robot(&url, r#", "secret": "SECx""#).unwrap();
            let sent = robot.notify(&alert(AlertStatus::Firing)).await;
            match (sent, expected) {
                (Ok(()), Ok(())) => {}
                (Err(error), Err(part)) => assert!(error.to_string().contains(part), "{error}"),
                (sent, expected) => panic!("{sent:?} instead of {expected:?}"),
            }
            let asked = heard.recv().unwrap();
            let (_, body) = asked.split_once("\r\n\r\n").unwrap();
            let body: Value = serde_json::from_str(body).unwrap();
            assert_eq!(body["timestamp"], "1795300000");
            // Computed with Python's hmac and base64.
            assert_eq!(body["sign"], "Sa3aVbzzb/oSqEiHN10IQS55+BUq0zyAW9DeBmkRGqI=");
            let text = body["content"]["text"].as_str().unwrap();
            assert!(text.starts_with("[FIRING] shop leaks"), "{text}");
        }
    }

    #[test]
    fn without_a_secret_nothing_is_signed_and_markdown_is_refused() {
        let message = robot("http://h", "")
            .unwrap()
            .message(&alert(AlertStatus::Firing), None);
        assert!(message.get("sign").is_none() && message["msg_type"] == "text");
        assert!(robot("http://h", r#", "message_type": "markdown""#).is_err());
    }
}
