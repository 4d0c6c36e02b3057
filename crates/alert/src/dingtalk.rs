//! DingTalk's group robots.
//!
//! Format: DingTalk's open platform, "Custom robot access", with its signature: the time in
//! milliseconds and the HMAC of time, newline and secret under the secret, both in the URL.

use std::sync::Arc;

use model::Clock;
use model::series::BoxFuture;
use serde_json::{Value, json};

use crate::http::Door;
use crate::receiver::Surroundings;
use crate::robot::{MessageType, RobotConfig, signature, taken};
use crate::wording::cut;
use crate::{Address, Alert, Notifier, NotifyError};

/// DingTalk takes messages of 20,000 bytes with all that is around the text.
const TEXT_BYTES_MAX: usize = 16_000;
const TITLE_BYTES_MAX: usize = 200;

/// One robot.
pub(crate) struct DingTalk {
    address: Address,
    door: Door,
    config: RobotConfig,
    clock: Arc<dyn Clock>,
}

impl DingTalk {
    pub(crate) fn new(
        receiver: &str,
        config: &RobotConfig,
        around: &Surroundings,
    ) -> Result<Self, String> {
        let door = config.door(around)?;
        Ok(Self {
            address: Address::new(receiver, "dingtalk", door.host()),
            door,
            config: config.clone(),
            clock: Arc::clone(&around.clock),
        })
    }

    fn message(&self, alert: &Alert) -> Value {
        let wording = &self.config.wording;
        let content = wording.whole(alert, TEXT_BYTES_MAX);
        match self.config.message_type {
            MessageType::Text => json!({"msgtype": "text", "text": {"content": content}}),
            MessageType::Markdown => {
                let title = cut(&wording.title(alert, str::to_owned), TITLE_BYTES_MAX);
                json!({"msgtype": "markdown", "markdown": {"title": title, "text": content}})
            }
        }
    }
}

impl Notifier for DingTalk {
    fn address(&self) -> &Address {
        &self.address
    }

    fn notify<'a>(&'a self, alert: &'a Alert) -> BoxFuture<'a, Result<(), NotifyError>> {
        Box::pin(async move {
            let key = self.config.key().await?;
            let now_ms = self.clock.now().0;
            let at = |url: &str| match &key {
                Some(key) => signed(url, key.expose(), now_ms),
                None => url.to_owned(),
            };
            let answer = self.door.post_at(&self.message(alert), at).await?;
            taken(&self.door, &answer, ["errcode", "code"], "errmsg")
        })
    }

    fn send_resolved(&self) -> bool {
        self.config.send_resolved
    }
}

/// `url` with the time and the signature.
fn signed(url: &str, key: &str, now_ms: i64) -> String {
    let sign = signature(key, &format!("{now_ms}\n{key}"));
    // Of base64's letters these three mean something in a URL.
    let sign = sign
        .replace('+', "%2B")
        .replace('/', "%2F")
        .replace('=', "%3D");
    let joint = if url.contains('?') { '&' } else { '?' };
    format!("{url}{joint}timestamp={now_ms}&sign={sign}")
}

#[cfg(test)]
mod tests {
    use model::{SimClock, UnixMs};

    use super::*;
    use crate::AlertStatus;
    use crate::http::tests::mock;
    use crate::receiver::tests::surroundings;
    use crate::wording::tests::alert;

    /// Computed with Python's hmac, base64 and urllib.parse.quote_plus.
    const SIGN: &str = "K9Nd733e0e2V%2FptXzYBJNdN%2BYt4ttSN5lguOC317jyo%3D";

    fn robot(url: &str, more: &str) -> DingTalk {
        let config = format!(r#"{{"url": "{url}/robot/send?access_token=t"{more}}}"#);
        let mut around = surroundings();
        around.clock = Arc::new(SimClock::new(UnixMs(1_795_300_000_000)));
        let config = serde_json::from_str(&config).unwrap();
        DingTalk::new("team", &config, &around).unwrap()
    }

    #[tokio::test]
    async fn messages_are_signed_and_answers_read() {
        let rows = [
            (r#"{"errcode":0,"errmsg":"ok"}"#, Ok(())),
            (
                r#"{"errcode":310000,"errmsg":"sign not match"}"#,
                Err("310000: sign not match"),
            ),
            (r#"{"errcode":130101}"#, Err("130101: no reason given")),
            ("<html>", Err("does not say")),
        ];
        for (body, expected) in rows {
            let (url, heard) = mock(200, body);
            let robot = robot(&url, r#", "secret": "SECx""#);
            let sent = robot.notify(&alert(AlertStatus::Firing)).await;
            match (sent, expected) {
                (Ok(()), Ok(())) => {}
                (Err(error), Err(part)) => {
                    assert!(error.to_string().contains(part), "{error}");
                    assert!(!error.is_permanent());
                }
                (sent, expected) => panic!("{sent:?} instead of {expected:?}"),
            }
            let asked = heard.recv().unwrap();
            let query = format!("access_token=t&timestamp=1795300000000&sign={SIGN} HTTP/1.1");
            assert!(asked.contains(&query), "{asked}");
        }
    }

    #[test]
    fn both_kinds_of_message() {
        let text = robot("http://h", "").message(&alert(AlertStatus::Firing));
        assert_eq!(text["msgtype"], "text");
        let content = text["text"]["content"].as_str().unwrap();
        assert!(content.starts_with("[FIRING] shop leaks"), "{content}");
        let more = r#", "message_type": "markdown", "text": "**{{ .Labels.kind }}**""#;
        let markdown = robot("http://h", more).message(&alert(AlertStatus::Firing));
        assert_eq!(markdown["msgtype"], "markdown");
        assert!(
            markdown["markdown"]["title"]
                .as_str()
                .unwrap()
                .contains("shop")
        );
        assert!(
            markdown["markdown"]["text"]
                .as_str()
                .unwrap()
                .ends_with("**go-heap**")
        );
        assert_eq!(signed("http://h/x", "SECx", 1).matches('?').count(), 1);
    }
}
