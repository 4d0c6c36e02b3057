//! E-mail by SMTP, by the settings of Alertmanager's `email_config`.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use lettre::message::header::ContentType;
use lettre::message::{Mailbox, Mailboxes};
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, CertificateStore, Tls, TlsParameters};
use lettre::transport::smtp::extension::ClientId;
use lettre::{AsyncSmtpTransport, AsyncTransport as _, Message, Tokio1Executor};
use model::series::BoxFuture;
use model::{Clock, UnixMs};
use serde::Deserialize;

use crate::http::TlsConfig;
use crate::receiver::{Surroundings, send_resolved, timeout};
use crate::wording::{Wording, cut};
use crate::{
    Address, Alert, AlertStatus, Notifier, NotifyError, Secret, SecretSource, Template, in_words,
};

/// The port where TLS begins at once.
const IMPLICIT_TLS_PORT: u16 = 465;
const SUBJECT_BYTES_MAX: usize = 500;

/// One entry of `email_configs`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Raw")]
pub(crate) struct EmailConfig {
    to: Mailboxes,
    from: Mailbox,
    server: Server,
    wording: Wording,
    send_resolved: bool,
}

/// How mail gets on its way.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Server {
    host: String,
    port: u16,
    hello: Option<String>,
    auth: Option<(String, SecretSource)>,
    require_tls: bool,
    tls: TlsConfig,
    timeout: Duration,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    to: String,
    from: String,
    smarthost: String,
    hello: Option<String>,
    auth_username: Option<String>,
    auth_password: Option<Secret>,
    auth_password_file: Option<PathBuf>,
    auth_password_env: Option<String>,
    #[serde(default = "yes")]
    require_tls: bool,
    #[serde(default)]
    tls_config: TlsConfig,
    #[serde(default)]
    headers: Headers,
    text: Option<Template>,
    #[serde(default = "timeout", deserialize_with = "model::duration::duration")]
    timeout: Duration,
    #[serde(default = "send_resolved")]
    send_resolved: bool,
}

/// Of the headers only this one can be set.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Headers {
    #[serde(rename = "Subject", alias = "subject")]
    subject: Option<Template>,
}

fn yes() -> bool {
    true
}

impl TryFrom<Raw> for EmailConfig {
    type Error = String;

    fn try_from(raw: Raw) -> Result<Self, String> {
        let wrong = |key: &str, text: &str, why: String| format!("{key} `{text}`: {why}");
        let to: Mailboxes = raw
            .to
            .parse()
            .map_err(|e| wrong("to", &raw.to, format!("{e}")))?;
        if to.iter().next().is_none() {
            return Err("to is empty".into());
        }
        let from = raw.from.parse();
        let from = from.map_err(|e| wrong("from", &raw.from, format!("{e}")))?;
        let (host, port) = raw
            .smarthost
            .rsplit_once(':')
            .and_then(|(host, port)| Some((host, port.parse::<u16>().ok()?)))
            .filter(|(host, port)| !host.is_empty() && *port > 0)
            .ok_or_else(|| wrong("smarthost", &raw.smarthost, "it must be host:port".into()))?;
        let host = host.trim_matches(['[', ']']).to_owned();
        let (inline, file, env) = (
            raw.auth_password,
            raw.auth_password_file,
            raw.auth_password_env,
        );
        let password = SecretSource::pick("auth_password", inline, file, env)?;
        let auth = match (raw.auth_username, password) {
            (None, None) => None,
            (Some(name), Some(password)) => Some((name, password)),
            _ => return Err("auth_username and auth_password belong together".into()),
        };
        let here = matches!(host.as_str(), "localhost" | "127.0.0.1" | "::1");
        if auth.is_some() && !raw.require_tls && port != IMPLICIT_TLS_PORT && !here {
            return Err(format!(
                "a password would go to {host} in the clear: leave require_tls at true"
            ));
        }
        Ok(Self {
            to,
            from,
            server: Server {
                host,
                port,
                hello: raw.hello,
                auth,
                require_tls: raw.require_tls,
                tls: raw.tls_config,
                timeout: raw.timeout,
            },
            wording: Wording {
                title: raw.headers.subject,
                text: raw.text,
            },
            send_resolved: raw.send_resolved,
        })
    }
}

impl EmailConfig {
    pub(crate) fn notifier(&self, receiver: &str, around: &Surroundings) -> Result<Email, String> {
        if let Some((_, password)) = &self.server.auth {
            let read = password.read_now();
            read.map_err(|error| in_words(&error))?;
        }
        let Server { host, port, .. } = &self.server;
        Ok(Email {
            address: Address::new(receiver, "email", &format!("{host}:{port}")),
            tls: self.server.tls()?,
            config: self.clone(),
            clock: Arc::clone(&around.clock),
        })
    }
}

impl Server {
    fn tls(&self) -> Result<Tls, String> {
        let implicit = self.port == IMPLICIT_TLS_PORT;
        if !implicit && !self.require_tls {
            return Ok(Tls::None);
        }
        let trust = self.tls.trust()?;
        let mut builder = TlsParameters::builder(self.host.clone())
            .dangerous_accept_invalid_certs(trust.insecure_skip_verify);
        if let Some(pem) = trust.ca_pem {
            let unusable = |_| "the certificates to trust: no PEM".to_owned();
            let certificate = Certificate::from_pem(&pem).map_err(unusable)?;
            builder = builder
                .certificate_store(CertificateStore::None)
                .add_root_certificate(certificate);
        }
        let parameters = builder
            .build()
            .map_err(|error| format!("failed to set up TLS: {error}"))?;
        Ok(match implicit {
            true => Tls::Wrapper(parameters),
            false => Tls::Required(parameters),
        })
    }
}

/// Mail to some people by one server.
pub(crate) struct Email {
    address: Address,
    tls: Tls,
    config: EmailConfig,
    clock: Arc<dyn Clock>,
}

impl Notifier for Email {
    fn address(&self) -> &Address {
        &self.address
    }

    fn notify<'a>(&'a self, alert: &'a Alert) -> BoxFuture<'a, Result<(), NotifyError>> {
        Box::pin(async move {
            let message = self.message(alert)?;
            let transport = self.transport().await?;
            let sent = tokio::time::timeout(self.config.server.timeout, transport.send(message));
            match sent.await {
                Ok(Ok(_)) => Ok(()),
                Ok(Err(error)) => Err(self.refused(&error)),
                Err(_) => Err(NotifyError::late(
                    &self.address.to,
                    self.config.server.timeout,
                )),
            }
        })
    }

    fn send_resolved(&self) -> bool {
        self.config.send_resolved
    }
}

impl Email {
    async fn transport(&self) -> Result<AsyncSmtpTransport<Tokio1Executor>, NotifyError> {
        let server = &self.config.server;
        let mut builder = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(&server.host)
            .port(server.port)
            .timeout(Some(server.timeout))
            .tls(self.tls.clone());
        if let Some(name) = &server.hello {
            builder = builder.hello_name(ClientId::Domain(name.clone()));
        }
        if let Some((name, password)) = &server.auth {
            let password = password.read().await?;
            let password = password.expose().to_owned();
            builder = builder.credentials(Credentials::new(name.clone(), password));
        }
        Ok(builder.build())
    }

    fn message(&self, alert: &Alert) -> Result<Message, NotifyError> {
        let EmailConfig {
            to, from, wording, ..
        } = &self.config;
        // One thread for an incident: its end answers its beginning.
        let thread = format!("<{}@unswept>", alert.fingerprint);
        let mut builder = Message::builder()
            .from(from.clone())
            .subject(cut(&wording.title(alert, str::to_owned), SUBJECT_BYTES_MAX))
            .date(system_time(self.clock.now()))
            .header(ContentType::TEXT_PLAIN);
        builder = match alert.status {
            AlertStatus::Firing => builder.message_id(Some(thread)),
            AlertStatus::Resolved => builder
                .message_id(Some(format!("<{}-resolved@unswept>", alert.fingerprint)))
                .in_reply_to(thread.clone())
                .references(thread),
        };
        for mailbox in to.iter() {
            builder = builder.to(mailbox.clone());
        }
        let message = builder.body(wording.text(alert, str::to_owned));
        message.map_err(|error| self.failed(format!("it cannot be written: {error}"), true))
    }

    fn refused(&self, error: &lettre::transport::smtp::Error) -> NotifyError {
        let mut reason = error.to_string();
        let mut cause = std::error::Error::source(error);
        while let Some(inner) = cause {
            let text = inner.to_string();
            if !reason.contains(&text) {
                reason.push_str(&format!(": {text}"));
            }
            cause = inner.source();
        }
        // What is said of a login (53x) can be mended without another message.
        let login = error
            .status()
            .is_some_and(|code| code.to_string().starts_with("53"));
        self.failed(cut(&reason, 300), error.is_permanent() && !login)
    }

    fn failed(&self, reason: String, permanent: bool) -> NotifyError {
        NotifyError::Receiver {
            host: self.address.to.clone(),
            reason,
            permanent,
        }
    }
}

/// Mail has no dates before 1970.
fn system_time(at: UnixMs) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(u64::try_from(at.0).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::receiver::tests::surroundings;
    use crate::wording::tests::alert;

    fn parse(more: &str) -> Result<EmailConfig, String> {
        let text = format!(
            r#"{{"to": "a@x.example, B <b@x.example>", "from": "unswept <u@x.example>"{more}}}"#
        );
        serde_json::from_str(&text).map_err(|error| error.to_string())
    }

    fn email(more: &str) -> Email {
        let more = format!(r#", "smarthost": "mail.example:587"{more}"#);
        parse(&more)
            .unwrap()
            .notifier("team", &surroundings())
            .unwrap()
    }

    #[test]
    fn the_message_is_a_mail() {
        let email = email(r#", "headers": {"Subject": "{{ .Labels.workload }} é leaks"}"#);
        assert!(matches!(email.tls, Tls::Required(_)));
        let firing = email.message(&alert(AlertStatus::Firing)).unwrap();
        let text = String::from_utf8(firing.formatted()).unwrap();
        let expected = [
            "To: a@x.example, B <b@x.example>\r\n",
            "Subject: shop =?utf-8?b?w6k=?= leaks\r\n",
            "Date: Thu, 01 Jan 1970 00:00:00 +0000\r\n",
            "\r\nSuspects: 1. main.f f.go:7",
        ];
        for part in expected {
            assert!(text.contains(part), "{part:?} in {text}");
        }
        let id = text
            .lines()
            .find_map(|line| line.strip_prefix("Message-ID: "))
            .unwrap();
        let resolved = email.message(&alert(AlertStatus::Resolved)).unwrap();
        let text = String::from_utf8(resolved.formatted()).unwrap();
        assert!(text.contains(&format!("In-Reply-To: {id}")), "{text}");
    }

    #[test]
    fn a_name_in_a_target_cannot_add_headers() {
        let email = email(r#", "headers": {"Subject": "{{ .Annotations.summary }}"}"#);
        let mut firing = alert(AlertStatus::Firing);
        firing
            .annotations
            .insert("summary".into(), "a\r\nBcc: evil@x.example\r\n\r\nb".into());
        let message = email.message(&firing).unwrap();
        let text = String::from_utf8(message.formatted()).unwrap();
        assert!(!text.contains("\nBcc:"), "{text}");
    }

    #[test]
    fn what_cannot_work_is_refused() {
        let auth = r#", "auth_username": "u", "auth_password": "SECRET""#;
        let rows = [
            (
                "no port",
                r#", "smarthost": "mail.example""#.to_owned(),
                "host:port",
            ),
            (
                "port 0",
                r#", "smarthost": "mail.example:0""#.to_owned(),
                "host:port",
            ),
            (
                "in the clear",
                format!(r#", "smarthost": "m.example:25", "require_tls": false{auth}"#),
                "in the clear",
            ),
            (
                "half a login",
                r#", "smarthost": "m.example:25", "auth_username": "u""#.to_owned(),
                "belong together",
            ),
            (
                "another header",
                r#", "smarthost": "m.example:25", "headers": {"X-A": "b"}"#.to_owned(),
                "X-A",
            ),
            (
                "a template",
                r#", "smarthost": "m.example:25", "text": "{{ .Values }}""#.to_owned(),
                "1:1",
            ),
        ];
        for (name, more, expected) in rows {
            let error = parse(&more).expect_err(name);
            assert!(error.contains(expected), "{name}: {error}");
            assert!(!error.contains("SECRET"), "{name}: {error}");
        }
        let bad = r#"{"to": "nobody", "from": "u@x.example", "smarthost": "m:25"}"#;
        assert!(serde_json::from_str::<EmailConfig>(bad).is_err());
        let here = format!(r#", "smarthost": "localhost:25", "require_tls": false{auth}"#);
        let here = parse(&here).unwrap();
        assert!(!format!("{here:?}").contains("SECRET"));
        assert!(matches!(here.server.tls(), Ok(Tls::None)));
    }
}
