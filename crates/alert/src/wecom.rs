//! WeCom's group robots. Alertmanager's `wechat_configs` are another thing: an application of a
//! company, with an id and members that it writes to.
//!
//! Format: WeCom's developer centre, "Group robot configuration".

use model::series::BoxFuture;
use serde_json::{Value, json};

use crate::http::Door;
use crate::receiver::Surroundings;
use crate::robot::{MessageType, RobotConfig, taken};
use crate::{Address, Alert, Notifier, NotifyError};

/// WeCom's limits, in bytes of UTF-8.
const TEXT_BYTES_MAX: usize = 2_048;
const MARKDOWN_BYTES_MAX: usize = 4_096;

/// One robot.
pub(crate) struct WeCom {
    address: Address,
    door: Door,
    config: RobotConfig,
}

impl WeCom {
    pub(crate) fn new(
        receiver: &str,
        config: &RobotConfig,
        around: &Surroundings,
    ) -> Result<Self, String> {
        if config.secret.is_some() {
            return Err("WeCom's robots have no secret beside the key in their url".into());
        }
        let door = config.door(around)?;
        Ok(Self {
            address: Address::new(receiver, "wecom", door.host()),
            door,
            config: config.clone(),
        })
    }

    fn message(&self, alert: &Alert) -> Value {
        let (kind, bytes_max) = match self.config.message_type {
            MessageType::Text => ("text", TEXT_BYTES_MAX),
            MessageType::Markdown => ("markdown", MARKDOWN_BYTES_MAX),
        };
        let content = self.config.wording.whole(alert, bytes_max);
        json!({"msgtype": kind, kind: {"content": content}})
    }
}

impl Notifier for WeCom {
    fn address(&self) -> &Address {
        &self.address
    }

    fn notify<'a>(&'a self, alert: &'a Alert) -> BoxFuture<'a, Result<(), NotifyError>> {
        Box::pin(async move {
            let answer = self.door.post(&self.message(alert)).await?;
            taken(&self.door, &answer, ["errcode", "code"], "errmsg")
        })
    }

    fn send_resolved(&self) -> bool {
        self.config.send_resolved
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::AlertStatus;
    use crate::http::tests::mock;
    use crate::receiver::tests::surroundings;
    use crate::wording::tests::alert;

    fn robot(url: &str, more: &str) -> Result<WeCom, String> {
        let config = format!(r#"{{"url": "{url}/cgi-bin/webhook/send?key=k"{more}}}"#);
        let config = serde_json::from_str(&config).map_err(|error| error.to_string())?;
        WeCom::new("team", &config, &surroundings())
    }

    #[tokio::test]
    async fn a_refusal_in_an_answer_of_status_200_is_one() {
        let body = r#"{"errcode":93000,"errmsg":"invalid webhook url"}"#;
        let (url, _heard) = mock(200, body);
        let sent = robot(&url, "")
            .unwrap()
            .notify(&alert(AlertStatus::Firing))
            .await;
        let error = sent.unwrap_err().to_string();
        assert!(error.contains("93000: invalid webhook url"), "{error}");
    }

    #[test]
    fn messages_stay_within_the_limits() {
        let mut long = alert(AlertStatus::Firing);
        long.annotations
            .insert("suspects".into(), "é".repeat(5_000));
        for (kind, more, max) in [
            ("text", "", 2_048),
            ("markdown", r#", "message_type": "markdown""#, 4_096),
        ] {
            let message = robot("http://h", more).unwrap().message(&long);
            assert_eq!(message["msgtype"], kind);
            let length = message[kind]["content"].as_str().unwrap().len();
            assert!(length <= max && length > max - 4, "{kind}: {length}");
        }
        assert!(robot("http://h", r#", "secret": "x""#).is_err());
    }
}
