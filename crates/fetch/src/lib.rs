//! All outgoing HTTP. Every request has a deadline and a cap on the answer's size, also after
//! decompression, and a redirect never leaves the host that was asked.
//!
//! Start at [`Fetcher::get`]. Where a target's address means nothing in our own network, as
//! a pod's loopback, [`Fetcher::over`] has the connections opened by a [`Dial`].
//! This crate does not know who asks or why, keeps no state beside
//! pooled connections, and does not retry: that is the caller's policy.
#![forbid(unsafe_code)]

mod before_head;
mod body;
mod get;
mod names;
mod network;

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use reqwest::redirect::{Attempt, Policy};

use get::Way;
use network::Network;

/// What we call ourselves, as operators find it in their access logs.
pub const USER_AGENT: &str = concat!("unswept/", env!("CARGO_PKG_VERSION"));

const REDIRECTS_MAX: usize = 3;
/// An error page is only quoted, so a short start of it is enough.
const ERROR_BYTES_MAX: usize = 64 * 1024;

/// Why a request gave no answer. `Display` names the URL without its user information.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FetchError {
    /// The client could not be made.
    #[error("failed to set up the HTTP client")]
    Setup(#[source] reqwest::Error),
    /// What secures connections could not be set up, such as the system's certificates.
    #[error(
        "failed to set up TLS; is there a certificate store on this machine (ca-certificates)?"
    )]
    Tls(#[source] rustls::Error),
    /// What was given to trust or to say in a header is not of the form that it must have.
    #[error("failed to use {what}")]
    Unusable {
        /// What it is; never the value, which may be a secret.
        what: &'static str,
    },
    /// The text is not an http or https URL.
    #[error("`{url}` is not an http or https URL")]
    BadUrl {
        /// As given.
        url: String,
    },
    /// Nothing listens there, or the network is in the way.
    #[error("failed to connect to {url}: {reason}")]
    Connect {
        /// What was asked for.
        url: String,
        /// The innermost cause, such as `Connection refused (os error 111)`.
        reason: String,
    },
    /// The deadline passed.
    #[error("{url} gave no complete answer within {} s", timeout.as_secs_f64())]
    Timeout {
        /// What was asked for.
        url: String,
        /// How long we waited.
        timeout: Duration,
    },
    /// The answer is bigger than it may be.
    #[error("{url} sent more than {limit_bytes} bytes")]
    TooLarge {
        /// What was asked for.
        url: String,
        /// The cap.
        limit_bytes: usize,
    },
    /// The answer's status is not 200.
    #[error("{url} answered with status {status}")]
    Status {
        /// What was asked for.
        url: String,
        /// The HTTP status.
        status: u16,
        /// The start of the body, for people: at most 200 characters.
        excerpt: String,
    },
    /// A redirect led to another host, or there were too many.
    #[error("{url} redirects where we do not follow: {reason}")]
    Redirect {
        /// What was asked for.
        url: String,
        /// Which rule it broke.
        reason: String,
    },
    /// The answer is not HTTP, or broke off.
    #[error("{url} sent something that is not a complete HTTP answer: {reason}")]
    Protocol {
        /// What was asked for.
        url: String,
        /// The innermost cause.
        reason: String,
    },
}

/// What to ask for and how much to bear.
#[derive(Debug, Clone)]
pub struct Request<'a> {
    /// http or https.
    pub url: &'a str,
    /// From start to the body's last byte.
    pub timeout: Duration,
    /// The cap on the body, after decompression.
    pub body_bytes_max: usize,
    /// The `Accept` header.
    pub accept: Option<&'a str>,
}

/// What is POSTed.
#[derive(Clone, Default)]
pub struct Post<'a> {
    /// The `Content-Type` header.
    pub content_type: &'static str,
    /// The `Authorization` header, where there is one: a secret.
    pub authorization: Option<&'a str>,
    /// The body.
    pub body: Vec<u8>,
}

/// How a server's certificate is judged.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TlsTrust {
    /// Certificates in PEM form; with them, only who is signed by one of them is believed. Without,
    /// the system's store decides.
    pub ca_pem: Option<Vec<u8>>,
    /// Believes everybody: only for tests of a connection.
    pub insecure_skip_verify: bool,
}

/// A complete answer with status 200 (for POST: any 2xx).
#[derive(Debug, Clone)]
pub struct Response {
    /// The `Content-Type` header.
    pub content_type: Option<String>,
    /// The body, decompressed.
    pub body: Vec<u8>,
}

/// Opens the connections of a [`Fetcher`] in place of the network that we are in.
pub trait Dial: Send + Sync {
    /// A non-blocking TCP socket that is connected to `address` or connects. Called on a blocking
    /// thread.
    ///
    /// # Errors
    /// Its text is all that people see.
    fn dial(&self, address: SocketAddr) -> io::Result<TcpStream>;
}

/// Makes requests. Cloning is cheap and shares the connection pool.
#[derive(Clone)]
pub struct Fetcher {
    client: reqwest::Client,
    /// For GETs of targets; without, `client` makes them, too, where those who answer are trusted.
    way: Option<Way>,
}

impl std::fmt::Debug for Fetcher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let given = matches!(self.way, Some(Way::Given(_)));
        f.debug_struct("Fetcher")
            .field("given", &given)
            .finish_non_exhaustive()
    }
}

impl Fetcher {
    /// A fetcher with its own connection pool. It uses no proxy from the environment: a target on
    /// loopback must never be asked through one.
    ///
    /// # Errors
    /// [`FetchError::Setup`] and [`FetchError::Tls`] if TLS cannot be set up.
    pub fn new() -> Result<Self, FetchError> {
        Ok(Self {
            way: Some(Way::Network(Arc::new(Network::new()?))),
            ..Self::trusting(&TlsTrust::default())?
        })
    }

    /// As [`Fetcher::new`], with a say in whom to believe: for whoever is told of incidents, not for targets, since
    /// what comes before the head of an answer has no bound here.
    ///
    /// # Errors
    /// [`FetchError::Unusable`] for certificates that are none; [`FetchError::Setup`].
    pub fn trusting(trust: &TlsTrust) -> Result<Self, FetchError> {
        Self::build(trust, |builder| builder)
    }

    /// A fetcher that sends every request to the Unix socket `path`, whatever host its URL names: to a watcher of
    /// ours, since what comes before the head of an answer has no bound here.
    ///
    /// # Errors
    /// [`FetchError::Setup`].
    pub fn over_socket(path: &Path) -> Result<Self, FetchError> {
        Self::build(&TlsTrust::default(), |builder| builder.unix_socket(path))
    }

    fn build(
        trust: &TlsTrust,
        more: impl FnOnce(reqwest::ClientBuilder) -> reqwest::ClientBuilder,
    ) -> Result<Self, FetchError> {
        // An error only says that a provider is installed already, which is what we want.
        let _already = rustls::crypto::ring::default_provider().install_default();
        let mut builder = reqwest::Client::builder();
        if let Some(pem) = &trust.ca_pem {
            let what = "the certificates to trust: no PEM";
            let wrong = |_| FetchError::Unusable { what };
            let certificates = reqwest::Certificate::from_pem_bundle(pem).map_err(wrong)?;
            if certificates.is_empty() {
                return Err(FetchError::Unusable { what });
            }
            builder = builder.tls_certs_only(certificates);
        }
        let client = more(builder)
            .tls_danger_accept_invalid_certs(trust.insecure_skip_verify)
            .user_agent(USER_AGENT)
            .redirect(Policy::custom(same_host))
            .no_proxy()
            .pool_idle_timeout(Duration::from_secs(90))
            .pool_max_idle_per_host(1)
            .dns_resolver(names::ForPosts)
            .build()
            .map_err(FetchError::Setup)?;
        Ok(Self { client, way: None })
    }

    /// The same, with every GET over a connection that `dial` opens; POSTs stay on the network.
    #[must_use]
    pub fn over(&self, dial: Arc<dyn Dial>) -> Self {
        Self {
            client: self.client.clone(),
            way: Some(Way::Given(dial)),
        }
    }

    /// GETs `request.url`.
    ///
    /// # Errors
    /// [`FetchError`]; a status other than 200 is an error.
    pub async fn get(&self, request: &Request<'_>) -> Result<Response, FetchError> {
        let url = parse_url(request.url)?;
        if let Some(way) = &self.way {
            return get::get(way, url, request).await;
        }
        let shown = redacted(&url);
        let mut builder = self.client.get(url).timeout(request.timeout);
        if let Some(accept) = request
            .accept
            .and_then(|text| HeaderValue::from_str(text).ok())
        {
            builder = builder.header(ACCEPT, accept);
        }
        let answer = builder
            .send()
            .await
            .map_err(|e| explain(&shown, request.timeout, e))?;
        let status = answer.status();
        let cap = match status.as_u16() {
            200 => request.body_bytes_max,
            _ => ERROR_BYTES_MAX,
        };
        let response = read_body(answer, &shown, cap, request.timeout).await?;
        match status.as_u16() {
            200 => Ok(response),
            status => Err(FetchError::Status {
                url: shown,
                status,
                excerpt: excerpt(&response.body),
            }),
        }
    }

    /// POSTs `post`.
    ///
    /// # Errors
    /// [`FetchError`]; a status outside 200 to 299 is an error.
    pub async fn post(
        &self,
        request: &Request<'_>,
        post: Post<'_>,
    ) -> Result<Response, FetchError> {
        let url = parse_url(request.url)?;
        let shown = redacted(&url);
        let mut builder = self.client.post(url).timeout(request.timeout);
        builder = builder.header(CONTENT_TYPE, HeaderValue::from_static(post.content_type));
        if let Some(text) = post.authorization {
            let what = "the credentials: they hold what no header may hold";
            let mut value =
                HeaderValue::from_str(text).map_err(|_| FetchError::Unusable { what })?;
            // So that no log of the layers below shows it.
            value.set_sensitive(true);
            builder = builder.header(AUTHORIZATION, value);
        }
        let sent = builder.body(post.body).send().await;
        let answer = sent.map_err(|e| explain(&shown, request.timeout, e))?;
        let status = answer.status();
        let response = read_body(answer, &shown, request.body_bytes_max, request.timeout).await?;
        if status.is_success() {
            return Ok(response);
        }
        let excerpt = excerpt(&response.body);
        Err(FetchError::Status {
            url: shown,
            status: status.as_u16(),
            excerpt,
        })
    }
}

fn parse_url(text: &str) -> Result<reqwest::Url, FetchError> {
    match reqwest::Url::parse(text) {
        Ok(url) if matches!(url.scheme(), "http" | "https") && url.has_host() => Ok(url),
        _ => Err(FetchError::BadUrl {
            url: text.chars().take(200).collect(),
        }),
    }
}

/// The URL as it may be shown: passwords in URLs happen.
fn redacted(url: &reqwest::Url) -> String {
    let mut url = url.clone();
    if url.password().is_some() || !url.username().is_empty() {
        // Both fail only for URLs without a host, which `parse_url` refuses.
        let _ = url.set_password(None);
        let _ = url.set_username("");
    }
    url.to_string()
}

fn same_host(attempt: Attempt<'_>) -> reqwest::redirect::Action {
    let from = attempt.previous().first();
    if attempt.previous().len() > REDIRECTS_MAX {
        return attempt.error(format!("more than {REDIRECTS_MAX} redirects"));
    }
    match from.and_then(|from| leads_elsewhere(from, attempt.url())) {
        None => attempt.follow(),
        Some(reason) => attempt.error(reason),
    }
}

/// Why a redirect is not followed, if it leads to another host or port: on our own loopback every port is
/// somebody else. From plain HTTP to HTTPS, each on its usual port, is the same place.
pub(crate) fn leads_elsewhere(from: &reqwest::Url, to: &reqwest::Url) -> Option<String> {
    let place = |url: &reqwest::Url| {
        let port = url.port_or_known_default();
        (url.host_str().map(str::to_owned), port)
    };
    let ((host, port), (to_host, to_port)) = (place(from), place(to));
    let secured = from.scheme() == "http" && to.scheme() == "https";
    let same_port = port == to_port || secured && port == Some(80) && to_port == Some(443);
    if host == to_host && same_port {
        return None;
    }
    let host = to_host.unwrap_or_else(|| "no host".into());
    let port = to_port.map_or_else(String::new, |port| format!(":{port}"));
    Some(format!("it leads to another host or port, {host}{port}"))
}

async fn read_body(
    mut answer: reqwest::Response,
    url: &str,
    limit_bytes: usize,
    timeout: Duration,
) -> Result<Response, FetchError> {
    let content_type = answer.headers().get(CONTENT_TYPE);
    let content_type = content_type
        .and_then(|value| value.to_str().ok())
        .map(str::to_owned);
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(|e| explain(url, timeout, e))? {
        if chunk.len() > limit_bytes - body.len() {
            return Err(FetchError::TooLarge {
                url: url.into(),
                limit_bytes,
            });
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Response { content_type, body })
}

fn explain(url: &str, timeout: Duration, error: reqwest::Error) -> FetchError {
    let url = url.to_owned();
    let mut cause: &dyn std::error::Error = &error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    let reason = cause.to_string();
    if error.is_timeout() {
        FetchError::Timeout { url, timeout }
    } else if error.is_redirect() {
        FetchError::Redirect { url, reason }
    } else if error.is_connect() {
        FetchError::Connect { url, reason }
    } else {
        FetchError::Protocol { url, reason }
    }
}

fn excerpt(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(&body[..body.len().min(800)]);
    text.chars()
        .filter(|c| !c.is_control() || *c == '\n')
        .take(200)
        .collect()
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::thread;

    use super::*;

    /// A server that answers every connection with `answer`, then waits or closes.
    fn serve(answer: impl Fn(SocketAddr) -> Vec<u8> + Send + 'static, hang: bool) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let at = listener.local_addr().unwrap();
        thread::spawn(move || {
            let mut kept = Vec::new();
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let _ = stream.read(&mut [0; 4096]);
                let _ = stream.write_all(&answer(at));
                if hang {
                    kept.push(stream);
                }
            }
        });
        format!("http://{at}/metrics")
    }

    /// A server that sends so many answers that are none yet, and then one that is.
    fn continues(times: usize) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let at = listener.local_addr().unwrap();
        let flood = move |mut stream: TcpStream| {
            let _ = stream.read(&mut [0; 4096]);
            let piece = "HTTP/1.1 100 Continue\r\n\r\n".repeat(times.min(1_000));
            // Whoever asked breaks off.
            for _ in 0..times.div_ceil(1_000) {
                if stream.write_all(piece.as_bytes()).is_err() {
                    return;
                }
            }
            let _ = stream.write_all(&http("200 OK", "up 1\n"));
        };
        thread::spawn(move || {
            for stream in listener.incoming() {
                thread::spawn(move || flood(stream.unwrap()));
            }
        });
        format!("http://{at}/metrics")
    }

    fn http(head: &str, body: &str) -> Vec<u8> {
        format!(
            "HTTP/1.1 {head}\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
        .into_bytes()
    }

    /// Opens connections in our own network, as another namespace's would be.
    struct Plain;

    impl Dial for Plain {
        fn dial(&self, address: SocketAddr) -> io::Result<TcpStream> {
            let stream = TcpStream::connect(address)?;
            stream.set_nonblocking(true)?;
            Ok(stream)
        }
    }

    /// Asks by either way, which must come to the same.
    async fn get(url: &str) -> Result<Response, FetchError> {
        let fetcher = Fetcher::new().unwrap();
        let over = get_by(&fetcher.over(Arc::new(Plain)), url).await;
        let answer = get_by(&fetcher, url).await;
        let kind = |answer: &Result<Response, FetchError>| match answer {
            Ok(response) => format!("{:?} {:?}", response.content_type, response.body),
            Err(error) => format!("{:?}", std::mem::discriminant(error)),
        };
        assert_eq!(kind(&answer), kind(&over), "{answer:?} {over:?}");
        answer
    }

    async fn get_by(fetcher: &Fetcher, url: &str) -> Result<Response, FetchError> {
        let timeout = Duration::from_millis(1500);
        let request = Request {
            url,
            timeout,
            body_bytes_max: 1000,
            accept: None,
        };
        fetcher.get(&request).await
    }

    #[tokio::test]
    async fn a_plain_answer_comes_through() {
        let url = serve(
            |_| http("200 OK\r\nContent-Type: text/plain", "up 1\n"),
            false,
        );
        let response = get(&url).await.unwrap();
        assert_eq!(response.body, b"up 1\n");
        assert_eq!(response.content_type.as_deref(), Some("text/plain"));
    }

    #[tokio::test]
    async fn a_few_answers_that_are_none_yet_are_skipped() {
        assert_eq!(get(&continues(100)).await.unwrap().body, b"up 1\n");
    }

    #[tokio::test]
    async fn a_flood_before_the_head_holds_up_nobody_and_is_not_read_to_its_end() {
        let url = continues(usize::MAX);
        let began = std::time::Instant::now();
        let beat = tokio::spawn(async {
            let mut longest = Duration::ZERO;
            for _ in 0..20 {
                let before = std::time::Instant::now();
                tokio::time::sleep(Duration::from_millis(10)).await;
                longest = longest.max(before.elapsed());
            }
            longest
        });
        let error = get_by(&Fetcher::new().unwrap(), &url).await.unwrap_err();
        assert!(began.elapsed() < Duration::from_secs(1), "{error}");
        let longest = beat.await.unwrap();
        assert!(longest < Duration::from_millis(500), "{longest:?}");
    }

    #[tokio::test]
    async fn a_connection_is_used_again_and_one_that_was_closed_is_not_missed() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let accepted = Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let counts = Arc::clone(&accepted);
        thread::spawn(move || {
            for stream in listener.incoming() {
                counts.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                let mut stream = stream.unwrap();
                for _ in 0..3 {
                    let count = stream.read(&mut [0; 4096]).unwrap_or(0);
                    if count == 0 {
                        break;
                    }
                    let body = "x".repeat(900);
                    stream.write_all(&http("200 OK", &body)).unwrap();
                }
            }
        });
        let fetcher = Fetcher::new().unwrap();
        for number in 0..7 {
            let answer = get_by(&fetcher, &url).await;
            assert!(answer.is_ok(), "{number}: {answer:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let accepted = accepted.load(std::sync::atomic::Ordering::SeqCst);
        assert_eq!(accepted, 3, "three answers on each connection");
    }

    #[tokio::test]
    async fn a_body_far_larger_than_what_may_come_before_the_head_is_read() {
        let body = "x".repeat(3 << 20);
        let url = serve(move |_| http("200 OK", &body), false);
        let fetcher = Fetcher::new().unwrap();
        let request = Request {
            url: &url,
            timeout: Duration::from_secs(20),
            body_bytes_max: 4 << 20,
            accept: None,
        };
        for fetcher in [fetcher.over(Arc::new(Plain)), fetcher] {
            let answer = fetcher.get(&request).await.unwrap();
            assert_eq!(answer.body.len(), 3 << 20);
        }
    }

    #[tokio::test]
    async fn hostile_servers_end_in_errors_that_name_them() {
        let huge = "x".repeat(5000);
        let endless = |_| b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
        type Row = (&'static str, String, fn(&FetchError) -> bool);
        let rows: Vec<Row> = vec![
            ("never answers", serve(|_| Vec::new(), true), |e| {
                matches!(e, FetchError::Timeout { .. })
            }),
            ("never ends", serve(endless, true), |e| {
                matches!(e, FetchError::Timeout { .. })
            }),
            (
                "too large",
                serve(move |_| http("200 OK", &huge), false),
                |e| {
                    matches!(
                        e,
                        FetchError::TooLarge {
                            limit_bytes: 1000,
                            ..
                        }
                    )
                },
            ),
            (
                "not HTTP",
                serve(|_| b"SSH-2.0-x\r\n".to_vec(), false),
                |e| matches!(e, FetchError::Protocol { .. }),
            ),
            (
                "not found",
                serve(|_| http("404 Not Found", "nope"), false),
                |e| matches!(e, FetchError::Status { status: 404, excerpt, .. } if excerpt == "nope"),
            ),
            (
                "other host",
                serve(|_| http("302 F\r\nLocation: http://localhost/", ""), false),
                |e| matches!(e, FetchError::Redirect { reason, .. } if reason.contains("another host")),
            ),
            (
                "redirect loop",
                serve(
                    |at| http(&format!("302 F\r\nLocation: http://{at}/metrics"), ""),
                    false,
                ),
                |e| matches!(e, FetchError::Redirect { .. }),
            ),
            (
                "nobody there",
                "http://127.0.0.1:1/".into(),
                |e| matches!(e, FetchError::Connect { reason, .. } if reason.contains("refused")),
            ),
            (
                "continues without end",
                continues(usize::MAX),
                |e| matches!(e, FetchError::Protocol { reason, .. } if reason.contains("256 KiB")),
            ),
            ("other scheme", "file:///etc/passwd".into(), |e| {
                matches!(e, FetchError::BadUrl { .. })
            }),
        ];
        for (name, url, expected) in rows {
            let error = get(&url).await.expect_err(name);
            assert!(expected(&error), "{name}: {error:?}");
        }
    }

    #[test]
    fn a_redirect_stays_where_it_began() {
        let rows = [
            ("a path", "http://h:1/a", "http://h:1/b", true),
            ("another host", "http://h/a", "http://g/a", false),
            (
                "another port",
                "http://127.0.0.1:1/a",
                "http://127.0.0.1:2/a",
                false,
            ),
            ("to HTTPS", "http://h/a", "https://h/a", true),
            (
                "to HTTPS elsewhere",
                "http://h:8080/a",
                "https://h/a",
                false,
            ),
            ("from HTTPS", "https://h/a", "http://h/a", false),
        ];
        for (name, from, to, follows) in rows {
            let (from, to) = (parse_url(from).unwrap(), parse_url(to).unwrap());
            assert_eq!(leads_elsewhere(&from, &to).is_none(), follows, "{name}");
        }
    }

    #[tokio::test]
    async fn credentials_go_out_and_are_not_shown() {
        let (said, heard) = std::sync::mpsc::channel();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut head = [0; 4096];
            let count = stream.read(&mut head).unwrap();
            stream.write_all(&http("200 OK", "")).unwrap();
            said.send(String::from_utf8_lossy(&head[..count]).into_owned())
        });
        let request = Request {
            url: &url,
            timeout: Duration::from_secs(5),
            body_bytes_max: 10,
            accept: None,
        };
        let post = |authorization| Post {
            content_type: "application/json",
            authorization: Some(authorization),
            body: b"{}".to_vec(),
        };
        let fetcher = Fetcher::new().unwrap();
        fetcher.post(&request, post("Bearer x")).await.unwrap();
        let head = heard.recv().unwrap().to_ascii_lowercase();
        assert!(head.contains("authorization: bearer x"), "{head}");
        let error = fetcher.post(&request, post("a\nb")).await.unwrap_err();
        assert!(matches!(error, FetchError::Unusable { .. }), "{error}");
    }

    #[test]
    fn certificates_to_trust_must_be_some() {
        for pem in ["", "no certificate"] {
            let trust = TlsTrust {
                ca_pem: Some(pem.into()),
                insecure_skip_verify: false,
            };
            let error = Fetcher::trusting(&trust).unwrap_err();
            assert!(matches!(error, FetchError::Unusable { .. }), "{error}");
        }
    }

    #[tokio::test]
    async fn a_password_in_a_url_is_not_shown() {
        let error = get("http://user:secret@127.0.0.1:1/").await.unwrap_err();
        assert!(!error.to_string().contains("secret"), "{error}");
    }
}
