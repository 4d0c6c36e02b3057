//! GETs of targets, whom nobody trusts: over the network, or over sockets that somebody else opens, such as in
//! another network namespace.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use base64::Engine as _;
use http_body_util::{BodyExt, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1::SendRequest;
use hyper::header::{
    ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONNECTION, CONTENT_ENCODING, CONTENT_TYPE, HOST,
    LOCATION,
};
use hyper_util::rt::TokioIo;
use reqwest::Url;

use crate::before_head::{BeforeHead, Counted};
use crate::body::Body;
use crate::network::{Network, Stream};
use crate::{Dial, FetchError, REDIRECTS_MAX, Request, Response, USER_AGENT, excerpt, redacted};

/// Who opens connections.
#[derive(Clone)]
pub(crate) enum Way {
    /// We do, in the network that we are in, and keep them.
    Network(Arc<Network>),
    /// Somebody else. Each connection ends with its answer, and nothing is compressed on the way: it never
    /// leaves the machine.
    Given(Arc<dyn Dial>),
}

/// An answer with any status.
type Answer = (hyper::StatusCode, Response);

pub(crate) async fn get(
    way: &Way,
    url: Url,
    request: &Request<'_>,
) -> Result<Response, FetchError> {
    let shown = redacted(&url);
    let answer = tokio::time::timeout(request.timeout, follow(way, url, request)).await;
    let (status, response) = answer.unwrap_or_else(|_| {
        Err(FetchError::Timeout {
            url: shown.clone(),
            timeout: request.timeout,
        })
    })?;
    match status.as_u16() {
        200 => Ok(response),
        status => Err(FetchError::Status {
            url: shown,
            status,
            excerpt: excerpt(&response.body),
        }),
    }
}

async fn follow(way: &Way, mut url: Url, request: &Request<'_>) -> Result<Answer, FetchError> {
    let first = url.clone();
    for _ in 0..=REDIRECTS_MAX {
        match get_one(way, &url, request).await? {
            Got::Answer(answer) => return Ok(answer),
            Got::Redirect(to) => {
                let refused = |reason| FetchError::Redirect {
                    url: redacted(&first),
                    reason,
                };
                let to = url.join(&to).map_err(|error| refused(error.to_string()))?;
                if let Some(reason) = crate::leads_elsewhere(&first, &to) {
                    return Err(refused(reason));
                }
                url = to;
            }
        }
    }
    Err(FetchError::Redirect {
        url: redacted(&first),
        reason: format!("more than {REDIRECTS_MAX} redirects"),
    })
}

enum Got {
    Answer(Answer),
    Redirect(String),
}

async fn get_one(way: &Way, url: &Url, request: &Request<'_>) -> Result<Got, FetchError> {
    let (head, body, connection) = ask(way, url, request).await?;
    let text = |name| head.headers.get(name)?.to_str().ok().map(str::to_owned);
    if head.status.is_redirection()
        && let Some(to) = text(LOCATION)
    {
        return Ok(Got::Redirect(to));
    }
    let limit_bytes = match head.status.as_u16() {
        200 => request.body_bytes_max,
        _ => crate::ERROR_BYTES_MAX,
    };
    let encoding = text(CONTENT_ENCODING);
    // What was not asked for is not taken.
    let is_zipped = match (encoding.as_deref(), way) {
        (None | Some("identity"), _) => false,
        (Some("gzip" | "x-gzip"), Way::Network(_)) => true,
        (Some(_), _) => {
            let reason = "it is encoded, which was not asked for".to_owned();
            return Err(protocol(url, reason));
        }
    };
    let body = read(body, Body::new(is_zipped, limit_bytes), url).await?;
    if let Way::Network(network) = way {
        network.keep(url, connection);
    }
    let content_type = text(CONTENT_TYPE);
    Ok(Got::Answer((head.status, Response { content_type, body })))
}

/// Asks over a kept connection, and over a new one where there is none, or it was closed meanwhile.
async fn ask(
    way: &Way,
    url: &Url,
    request: &Request<'_>,
) -> Result<(hyper::http::response::Parts, Incoming, Connection), FetchError> {
    let stream: Box<dyn Stream> = match way {
        Way::Network(network) => {
            if let Some(mut connection) = network.take(url)
                && let Ok((head, body)) = connection.send(head(way, url, request)?).await
            {
                return Ok((head, body, connection));
            }
            network.connect(url, request.timeout).await?
        }
        Way::Given(dial) => Box::new(given(dial, url).await?),
    };
    let made = Connection::new(stream).await;
    let mut connection = made.map_err(|error| protocol(url, chain(&error)))?;
    match connection.send(head(way, url, request)?).await {
        Ok((head, body)) => Ok((head, body, connection)),
        Err(error) => {
            let reason = connection.before.reason();
            Err(protocol(url, reason.unwrap_or_else(|| chain(&error))))
        }
    }
}

/// A connection over which one GET at a time goes.
pub(crate) struct Connection {
    sender: SendRequest<Empty<Bytes>>,
    before: BeforeHead,
    _task: AbortOnDrop,
}

impl Connection {
    async fn new(stream: Box<dyn Stream>) -> hyper::Result<Self> {
        let (counted, before) = Counted::new(stream);
        let handshake = hyper::client::conn::http1::handshake(TokioIo::new(counted));
        let (sender, connection) = handshake.await?;
        Ok(Self {
            sender,
            before,
            _task: AbortOnDrop(tokio::spawn(connection).abort_handle()),
        })
    }

    pub(crate) fn is_open(&self) -> bool {
        !self.sender.is_closed()
    }

    async fn send(
        &mut self,
        head: hyper::Request<Empty<Bytes>>,
    ) -> hyper::Result<(hyper::http::response::Parts, Incoming)> {
        self.sender.ready().await?;
        self.before.begin();
        let answer = self.sender.send_request(head).await?;
        self.before.end();
        Ok(answer.into_parts())
    }
}

fn protocol(url: &Url, reason: String) -> FetchError {
    FetchError::Protocol {
        url: redacted(url),
        reason,
    }
}

fn head(
    way: &Way,
    url: &Url,
    request: &Request<'_>,
) -> Result<hyper::Request<Empty<Bytes>>, FetchError> {
    let path = match url.query() {
        Some(query) => format!("{}?{query}", url.path()),
        None => url.path().to_owned(),
    };
    let host = url.host_str().unwrap_or_default();
    let host = match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    };
    let mut head = hyper::Request::get(path)
        .header(HOST, host)
        .header("User-Agent", USER_AGENT)
        .header(ACCEPT, request.accept.unwrap_or("*/*"));
    head = match way {
        Way::Network(_) => head.header(ACCEPT_ENCODING, "gzip"),
        Way::Given(_) => head.header(CONNECTION, "close"),
    };
    if let Some(login) = login(url) {
        head = head.header(AUTHORIZATION, login);
    }
    let made = head.body(Empty::new());
    made.map_err(|error| protocol(url, error.to_string()))
}

/// `Authorization` for a URL with a login in it.
fn login(url: &Url) -> Option<String> {
    if url.username().is_empty() && url.password().is_none() {
        return None;
    }
    let plain = |text: &str| percent_encoding::percent_decode_str(text).collect::<Vec<u8>>();
    let mut login = plain(url.username());
    login.push(b':');
    login.extend(plain(url.password().unwrap_or_default()));
    let login = base64::engine::general_purpose::STANDARD.encode(login);
    Some(format!("Basic {login}"))
}

async fn given(dial: &Arc<dyn Dial>, url: &Url) -> Result<tokio::net::TcpStream, FetchError> {
    let ip = url.host_str().map(|host| host.trim_matches(['[', ']']));
    let ip = ip.and_then(|host| host.parse::<IpAddr>().ok());
    let (Some(ip), "http", Some(port)) = (ip, url.scheme(), url.port_or_known_default()) else {
        let what = "a URL over a given socket: it must be http://IP:PORT/PATH";
        return Err(FetchError::Unusable { what });
    };
    let failed = |error: io::Error| FetchError::Connect {
        url: redacted(url),
        reason: error.to_string(),
    };
    let dial = Arc::clone(dial);
    let dialed = tokio::task::spawn_blocking(move || dial.dial(SocketAddr::new(ip, port)));
    let dialed = dialed
        .await
        .map_err(|_| failed(io::ErrorKind::Interrupted.into()))?;
    let stream = dialed
        .and_then(tokio::net::TcpStream::from_std)
        .map_err(failed)?;
    // Writable is also what could not be connected: the socket's error tells.
    stream.writable().await.map_err(failed)?;
    match stream.take_error() {
        Ok(None) => Ok(stream),
        Ok(Some(error)) | Err(error) => Err(failed(error)),
    }
}

async fn read(mut from: Incoming, mut body: Body, url: &Url) -> Result<Vec<u8>, FetchError> {
    while let Some(frame) = from.frame().await {
        let frame = frame.map_err(|error| protocol(url, chain(&error)))?;
        let Some(chunk) = frame.data_ref() else {
            continue;
        };
        body.push(chunk).await.map_err(|wrong| wrong.of(url))?;
    }
    body.finish().map_err(|wrong| wrong.of(url))
}

/// The innermost cause.
fn chain(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

struct AbortOnDrop(tokio::task::AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}
