//! What all receivers that are reached by HTTP have in common: a URL that may be a secret, credentials,
//! a deadline, and errors that say neither.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use fetch::{FetchError, Fetcher, Post, Request, TlsTrust};
use serde::Deserialize;
use serde_json::Value;

use crate::secret::scrubbed;
use crate::{NotifyError, Secret, SecretSource, in_words};

pub(crate) const TIMEOUT: Duration = Duration::from_secs(10);
const ANSWER_BYTES_MAX: usize = 64 << 10;
const CA_BYTES_MAX: u64 = 1 << 20;

/// Prometheus' `http_config`, as far as it is supported.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(try_from = "RawHttpConfig")]
pub(crate) struct HttpConfig {
    pub(crate) authorization: Option<Authorization>,
    pub(crate) tls: TlsConfig,
}

/// As it is written.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct RawHttpConfig {
    basic_auth: Option<BasicAuth>,
    authorization: Option<Credentials>,
    tls_config: TlsConfig,
}

/// How we say who we are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Authorization {
    Basic(BasicAuth),
    Token(Credentials),
}

/// User and password.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "RawBasicAuth")]
pub(crate) struct BasicAuth {
    username: String,
    password: Option<SecretSource>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawBasicAuth {
    username: String,
    password: Option<Secret>,
    password_file: Option<PathBuf>,
    password_env: Option<String>,
}

/// A token and its kind.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "RawCredentials")]
pub(crate) struct Credentials {
    scheme: String,
    credentials: SecretSource,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawCredentials {
    #[serde(rename = "type", default = "bearer")]
    scheme: String,
    credentials: Option<Secret>,
    credentials_file: Option<PathBuf>,
    credentials_env: Option<String>,
}

/// Whom to believe.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct TlsConfig {
    ca_file: Option<PathBuf>,
    insecure_skip_verify: bool,
}

fn bearer() -> String {
    "Bearer".into()
}

impl TryFrom<RawHttpConfig> for HttpConfig {
    type Error = String;

    fn try_from(raw: RawHttpConfig) -> Result<Self, String> {
        Ok(Self {
            authorization: Authorization::pick(raw.basic_auth, raw.authorization)?,
            tls: raw.tls_config,
        })
    }
}

impl TryFrom<RawBasicAuth> for BasicAuth {
    type Error = String;

    fn try_from(raw: RawBasicAuth) -> Result<Self, String> {
        if raw.username.contains(':') {
            return Err("the username of basic_auth cannot hold a colon".into());
        }
        let (inline, file, env) = (raw.password, raw.password_file, raw.password_env);
        Ok(Self {
            username: raw.username,
            password: SecretSource::pick("password", inline, file, env)?,
        })
    }
}

impl TryFrom<RawCredentials> for Credentials {
    type Error = String;

    fn try_from(raw: RawCredentials) -> Result<Self, String> {
        if raw.scheme.eq_ignore_ascii_case("basic") {
            return Err("authorization of type Basic is written as basic_auth".into());
        }
        let (inline, file, env) = (raw.credentials, raw.credentials_file, raw.credentials_env);
        Ok(Self {
            scheme: raw.scheme,
            credentials: SecretSource::need("credentials", inline, file, env)?,
        })
    }
}

impl Authorization {
    pub(crate) fn pick(
        basic: Option<BasicAuth>,
        token: Option<Credentials>,
    ) -> Result<Option<Self>, String> {
        match (basic, token) {
            (Some(_), Some(_)) => {
                Err("only one of basic_auth and authorization is possible".into())
            }
            (Some(basic), None) => Ok(Some(Self::Basic(basic))),
            (None, token) => Ok(token.map(Self::Token)),
        }
    }

    fn secret(&self) -> Option<&SecretSource> {
        match self {
            Self::Basic(basic) => basic.password.as_ref(),
            Self::Token(token) => Some(&token.credentials),
        }
    }

    /// The header's value, around the secret.
    fn header(&self, secret: Option<&Secret>) -> Secret {
        let secret = secret.map_or("", Secret::expose);
        Secret::new(match self {
            Self::Basic(basic) => {
                let pair = format!("{}:{secret}", basic.username);
                format!("Basic {}", STANDARD.encode(pair))
            }
            Self::Token(token) => format!("{} {secret}", token.scheme),
        })
    }
}

impl TlsConfig {
    /// What is written, with the file read.
    pub(crate) fn trust(&self) -> Result<TlsTrust, String> {
        let ca_pem = match &self.ca_file {
            None => None,
            Some(path) => Some(read_ca(path).map_err(|error| {
                format!("failed to read the ca_file {}: {error}", path.display())
            })?),
        };
        Ok(TlsTrust {
            ca_pem,
            insecure_skip_verify: self.insecure_skip_verify,
        })
    }
}

fn read_ca(path: &Path) -> std::io::Result<Vec<u8>> {
    if !std::fs::metadata(path)?.is_file() {
        return Err(std::io::Error::other("it is no regular file"));
    }
    let mut pem = Vec::new();
    std::fs::File::open(path)?
        .take(CA_BYTES_MAX)
        .read_to_end(&mut pem)?;
    Ok(pem)
}

/// Where messages are POSTed.
#[derive(Debug)]
pub(crate) struct Door {
    fetcher: Fetcher,
    url: SecretSource,
    authorization: Option<Authorization>,
    timeout: Duration,
    host: String,
}

impl Door {
    /// A door at `url`. Everything that it needs is looked at once, so that what cannot work is known
    /// at the start.
    ///
    /// # Errors
    /// In words: a secret that cannot be read, no URL, certificates that are none.
    pub(crate) fn new(
        fetcher: &Fetcher,
        url: &SecretSource,
        http: &HttpConfig,
        timeout: Duration,
    ) -> Result<Self, String> {
        let read = |source: &SecretSource| source.read_now().map_err(|error| in_words(&error));
        let host = checked_host(&read(url)?)?;
        if let Some(source) = http.authorization.as_ref().and_then(Authorization::secret) {
            read(source)?;
        }
        let fetcher = match http.tls == TlsConfig::default() {
            true => fetcher.clone(),
            false => Fetcher::trusting(&http.tls.trust()?).map_err(|error| error.to_string())?,
        };
        Ok(Self {
            fetcher,
            url: url.clone(),
            authorization: http.authorization.clone(),
            timeout,
            host,
        })
    }

    /// Host and port, for people.
    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    /// POSTs a JSON document; the answer's body.
    pub(crate) async fn post(&self, message: &Value) -> Result<Vec<u8>, NotifyError> {
        self.post_at(message, str::to_owned).await
    }

    /// As [`Door::post`], to the URL as `at` has it: a signature may be part of it.
    pub(crate) async fn post_at(
        &self,
        message: &Value,
        at: impl FnOnce(&str) -> String,
    ) -> Result<Vec<u8>, NotifyError> {
        let url = self.url.read().await?;
        // The file may hold another one by now.
        let host = checked_host(&url).map_err(|reason| self.failed(reason, false))?;
        let secret = match self.authorization.as_ref().and_then(Authorization::secret) {
            Some(source) => Some(source.read().await?),
            None => None,
        };
        let header = self.authorization.as_ref();
        let header = header.map(|kind| kind.header(secret.as_ref()));
        let full = Secret::new(at(url.expose()));
        let request = Request {
            url: full.expose(),
            timeout: self.timeout,
            body_bytes_max: ANSWER_BYTES_MAX,
            accept: None,
        };
        let post = Post {
            content_type: "application/json",
            authorization: header.as_ref().map(Secret::expose),
            body: serde_json::to_vec(message)?,
        };
        let sent = self.fetcher.post(&request, post).await;
        let mut secrets = vec![&full];
        secrets.extend(&secret);
        let answer = sent.map_err(|error| refused(&host, &error, &secrets))?;
        Ok(answer.body)
    }

    /// What the receiver said against a message.
    pub(crate) fn failed(&self, reason: String, permanent: bool) -> NotifyError {
        NotifyError::Receiver {
            host: self.host.clone(),
            reason,
            permanent,
        }
    }
}

/// What went wrong, in words that do not hold the URL.
fn refused(host: &str, error: &FetchError, secrets: &[&Secret]) -> NotifyError {
    let (reason, permanent) = match error {
        FetchError::Connect { reason, .. } => (format!("cannot connect: {reason}"), false),
        FetchError::Timeout { timeout, .. } => (
            format!("no answer within {} s", timeout.as_secs_f64()),
            false,
        ),
        FetchError::Status {
            status, excerpt, ..
        } => {
            let said = scrubbed(excerpt.trim(), secrets);
            let colon = if said.is_empty() { "" } else { ": " };
            // Credentials are mended in their file, and it may be busy.
            let later = matches!(status, 401 | 403 | 408 | 429) || *status >= 500;
            (
                format!("it answered with status {status}{colon}{said}"),
                !later,
            )
        }
        FetchError::Redirect { .. } => ("it redirects elsewhere".into(), false),
        FetchError::TooLarge { .. } => ("its answer is too large".into(), false),
        FetchError::Protocol { reason, .. } => (format!("no HTTP answer: {reason}"), false),
        FetchError::Unusable { what } => (format!("cannot use {what}"), false),
        _ => ("its URL cannot be used".into(), true),
    };
    NotifyError::Receiver {
        host: host.to_owned(),
        reason,
        permanent,
    }
}

/// Host and port of a URL: what of it may be shown.
///
/// # Errors
/// If it is no http or https URL; it is not repeated, since it may hold a token.
fn checked_host(url: &Secret) -> Result<String, String> {
    let url = url.expose();
    let rest = url
        .strip_prefix("http://")
        .or_else(|| url.strip_prefix("https://"));
    let authority = rest.and_then(|rest| rest.split(['/', '?', '#']).next());
    let host = authority.map(|text| text.rsplit_once('@').map_or(text, |(_, host)| host));
    let wrong = |c: char| c.is_whitespace() || c.is_control();
    host.filter(|host| host.contains(|c: char| c.is_ascii_alphanumeric()))
        .filter(|host| has_usable_port(host) && !url.contains(wrong))
        .map(|host| host.chars().take(100).collect())
        .ok_or_else(|| "its url is no http or https URL".into())
}

/// Whether a port that is written behind `host` is one. An address of version 6 has colons of its own, in brackets.
fn has_usable_port(host: &str) -> bool {
    let behind = host.rsplit_once(']').map_or(host, |(_, behind)| behind);
    behind
        .split_once(':')
        .is_none_or(|(_, port)| port.parse::<u16>().is_ok_and(|port| port > 0))
}

#[cfg(test)]
pub(crate) mod tests {
    use std::io::Write as _;
    use std::net::TcpListener;
    use std::sync::mpsc;

    use super::*;

    /// A mock receiver: answers each POST with `status` and `body`, and hands out what it was sent.
    pub(crate) fn mock(status: u16, body: &str) -> (String, mpsc::Receiver<String>) {
        let length = body.len();
        // Each connection serves one request and says so: a client that kept it
        // for its next one would meet the close halfway.
        let answer = format!(
            "HTTP/1.1 {status} X\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
        );
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let at = listener.local_addr().unwrap();
        let (said, heard) = mpsc::channel();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let (mut all, mut part) = (Vec::new(), [0; 4096]);
                loop {
                    let count = stream.read(&mut part).unwrap_or(0);
                    all.extend_from_slice(&part[..count]);
                    let text = String::from_utf8_lossy(&all);
                    let whole = text.split_once("\r\n\r\n").is_some_and(|(head, body)| {
                        let length = head.lines().find_map(|line| {
                            let (name, value) = line.split_once(": ")?;
                            name.eq_ignore_ascii_case("content-length").then_some(value)
                        });
                        length.is_none_or(|length| body.len() >= length.parse().unwrap())
                    });
                    if whole || count == 0 {
                        break;
                    }
                }
                stream.write_all(answer.as_bytes()).unwrap();
                if said.send(String::from_utf8(all).unwrap()).is_err() {
                    return;
                }
            }
        });
        (format!("http://{at}"), heard)
    }

    fn door(url: &str, http: &str) -> Result<Door, String> {
        let http: HttpConfig = serde_json::from_str(http).map_err(|error| error.to_string())?;
        let url = SecretSource::Inline(Secret::new(url.into()));
        Door::new(&Fetcher::new().unwrap(), &url, &http, TIMEOUT)
    }

    #[tokio::test]
    async fn credentials_are_sent() {
        let (url, heard) = mock(200, "");
        let rows = [
            (
                r#"{"basic_auth": {"username": "u", "password": "p"}}"#,
                "Basic dTpw",
            ),
            (
                r#"{"authorization": {"credentials": "t0ken"}}"#,
                "Bearer t0ken",
            ),
            (
                r#"{"authorization": {"type": "GenieKey", "credentials": "t"}}"#,
                "GenieKey t",
            ),
        ];
        for (http, expected) in rows {
            door(&url, http).unwrap().post(&Value::Null).await.unwrap();
            let sent = heard.recv().unwrap();
            let header = sent
                .lines()
                .find_map(|line| line.strip_prefix("authorization: "));
            assert_eq!(header, Some(expected));
        }
    }

    #[tokio::test]
    async fn no_secret_is_said() {
        let (url, _heard) = mock(403, "no SECRET-PATH, SECRET-KEY");
        let url = url.replace("http://", "http://user:SECRET-PASS@");
        let url = format!("{url}/services/SECRET-PATH?key=SECRET-KEY");
        let door = door(
            &url,
            r#"{"authorization": {"credentials": "SECRET-TOKEN"}}"#,
        )
        .unwrap();
        let error = door.post(&Value::Null).await.unwrap_err();
        let said = format!("{error} {error:?} {door:?} {}", error.in_words());
        assert!(!said.contains("SECRET"), "{said}");
        assert!(said.contains("status 403: no <secret>, <secret>"), "{said}");
        assert!(!error.is_permanent(), "a token can be mended");
    }

    #[test]
    fn what_cannot_work_is_refused_at_the_start() {
        let both = r#"{"basic_auth": {"username": "u"}, "authorization": {"credentials": "t"}}"#;
        let rows = [
            ("no URL", "file:///SECRET", "{}", "no http or https"),
            ("no host", "http://", "{}", "no http or https"),
            (
                "a port too high",
                "http://h:99999/SECRET",
                "{}",
                "no http or https",
            ),
            ("no port", "http://[::1]:x/SECRET", "{}", "no http or https"),
            ("both", "http://h", both, "only one of basic_auth"),
            ("proxy", "http://h", r#"{"proxy_url": "x"}"#, "proxy_url"),
            (
                "no CA",
                "https://h",
                r#"{"tls_config": {"ca_file": "/nowhere/ca.pem"}}"#,
                "/nowhere/ca.pem",
            ),
            (
                "no token",
                "https://h",
                r#"{"authorization": {"credentials_file": "/nowhere/t"}}"#,
                "/nowhere/t",
            ),
            (
                "nothing",
                "https://h",
                r#"{"authorization": {}}"#,
                "must be written",
            ),
        ];
        for (name, url, http, expected) in rows {
            let error = door(url, http).expect_err(name);
            assert!(error.contains(expected), "{name}: {error}");
            assert!(!error.contains("SECRET"), "{name}: {error}");
        }
    }
}
