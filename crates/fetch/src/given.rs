//! GETs over sockets that somebody else opens, such as in another network namespace.
//!
//! Each has a connection of its own, which ends with the answer. Nothing is compressed on the way:
//! it never leaves the machine.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::sync::Arc;

use http_body_util::{BodyExt, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::header::{ACCEPT, CONNECTION, CONTENT_ENCODING, CONTENT_TYPE, HOST, LOCATION};
use hyper_util::rt::TokioIo;
use reqwest::Url;

use crate::{FetchError, REDIRECTS_MAX, Request, Response, USER_AGENT, excerpt, redacted};

/// Opens the connections of a [`crate::Fetcher`] in place of the network that we are in.
pub trait Dial: Send + Sync {
    /// A non-blocking TCP socket that is connected to `address` or connects. Called on a blocking
    /// thread.
    ///
    /// # Errors
    /// Its text is all that people see.
    fn dial(&self, address: SocketAddr) -> io::Result<TcpStream>;
}

/// An answer with any status.
type Answer = (hyper::StatusCode, Response);

pub(crate) async fn get(
    dial: &Arc<dyn Dial>,
    url: Url,
    request: &Request<'_>,
) -> Result<Response, FetchError> {
    let shown = redacted(&url);
    let answer = tokio::time::timeout(request.timeout, follow(dial, url, request)).await;
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

async fn follow(
    dial: &Arc<dyn Dial>,
    mut url: Url,
    request: &Request<'_>,
) -> Result<Answer, FetchError> {
    let first = url.clone();
    for _ in 0..=REDIRECTS_MAX {
        match get_one(dial, &url, request).await? {
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

async fn get_one(
    dial: &Arc<dyn Dial>,
    url: &Url,
    request: &Request<'_>,
) -> Result<Got, FetchError> {
    let shown = redacted(url);
    let failed = |reason: String| FetchError::Protocol {
        url: shown.clone(),
        reason,
    };
    let stream = connect(dial, url).await?;
    let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream));
    let (mut sender, connection) = handshake.await.map_err(|error| failed(chain(&error)))?;
    // It ends with the answer, or with us.
    let _connection = AbortOnDrop(tokio::spawn(connection).abort_handle());
    let sent = sender.send_request(head(url, request).map_err(|e| failed(e.to_string()))?);
    let answer = sent.await.map_err(|error| failed(chain(&error)))?;
    let (parts, body) = answer.into_parts();
    let text = |name| parts.headers.get(name)?.to_str().ok().map(str::to_owned);
    if parts.status.is_redirection()
        && let Some(to) = text(LOCATION)
    {
        return Ok(Got::Redirect(to));
    }
    if parts.headers.contains_key(CONTENT_ENCODING) {
        return Err(failed("it is encoded, which was not asked for".to_owned()));
    }
    let limit_bytes = match parts.status.as_u16() {
        200 => request.body_bytes_max,
        _ => crate::ERROR_BYTES_MAX,
    };
    let body = read(body, limit_bytes, &shown).await?;
    let content_type = text(CONTENT_TYPE);
    Ok(Got::Answer((parts.status, Response { content_type, body })))
}

fn head(
    url: &Url,
    request: &Request<'_>,
) -> Result<hyper::Request<Empty<Bytes>>, hyper::http::Error> {
    let path = match url.query() {
        Some(query) => format!("{}?{query}", url.path()),
        None => url.path().to_owned(),
    };
    let mut head = hyper::Request::get(path)
        .header(HOST, url.authority())
        .header(CONNECTION, "close")
        .header("User-Agent", USER_AGENT);
    if let Some(accept) = request.accept {
        head = head.header(ACCEPT, accept);
    }
    head.body(Empty::new())
}

async fn connect(dial: &Arc<dyn Dial>, url: &Url) -> Result<tokio::net::TcpStream, FetchError> {
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

async fn read(mut body: Incoming, limit_bytes: usize, url: &str) -> Result<Vec<u8>, FetchError> {
    let mut bytes = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| FetchError::Protocol {
            url: url.to_owned(),
            reason: chain(&error),
        })?;
        let Some(chunk) = frame.data_ref() else {
            continue;
        };
        if chunk.len() > limit_bytes - bytes.len() {
            return Err(FetchError::TooLarge {
                url: url.to_owned(),
                limit_bytes,
            });
        }
        bytes.extend_from_slice(chunk);
    }
    Ok(bytes)
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
