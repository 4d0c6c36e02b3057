//! A small HTTP/1.1 client: one request a connection, an answer within its time or an error in words.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::Value;

/// No answer that stories ask for is larger.
const BODY_BYTES_MAX: u64 = 64 << 20;

/// An answer.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status: 200.
    pub status: u16,
    /// The header lines, as they came.
    pub headers: String,
    /// The body.
    pub body: Vec<u8>,
}

impl Answer {
    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// GET.
///
/// # Errors
/// In words, when there is no answer that can be read within 10 s.
pub fn get(url: &str) -> Result<Answer, String> {
    request("GET", url, "", "")
}

/// GET of a JSON document.
///
/// # Errors
/// In words, when there is no answer of status 200 that is JSON.
pub fn get_json(url: &str) -> Result<Value, String> {
    let answer = get(url)?;
    if answer.status != 200 {
        return Err(format!(
            "{url}: status {}: {}",
            answer.status,
            answer.text()
        ));
    }
    serde_json::from_slice(&answer.body).map_err(|error| format!("{url}: {error}"))
}

/// POST without a body.
///
/// # Errors
/// In words, when there is no answer that can be read within 10 s.
pub fn post(url: &str) -> Result<Answer, String> {
    request("POST", url, "Content-Length: 0\r\n", "")
}

/// POST of a JSON document by who has the operator's token.
///
/// # Errors
/// In words, when there is no answer that can be read within 10 s.
pub fn post_json(url: &str, token: &str, document: &Value) -> Result<Answer, String> {
    let body = document.to_string();
    let length = body.len();
    let more = format!(
        "Authorization: Bearer {token}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n"
    );
    request("POST", url, &more, &body)
}

fn request(method: &str, url: &str, more: &str, body: &str) -> Result<Answer, String> {
    let rest = url
        .strip_prefix("http://")
        .ok_or(format!("{url}: not http"))?;
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let said = |error: std::io::Error| format!("{method} {url}: {error}");
    let mut stream = TcpStream::connect(host).map_err(said)?;
    stream
        .set_read_timeout(Some(Duration::from_secs(10)))
        .map_err(said)?;
    let head = format!(
        "{method} /{path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{more}\r\n{body}"
    );
    stream.write_all(head.as_bytes()).map_err(said)?;
    let mut bytes = Vec::new();
    stream
        .take(BODY_BYTES_MAX)
        .read_to_end(&mut bytes)
        .map_err(said)?;
    parse(&bytes).ok_or_else(|| format!("{method} {url}: no HTTP answer"))
}

fn parse(bytes: &[u8]) -> Option<Answer> {
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n")?;
    let headers = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let status = headers.split(' ').nth(1)?.parse().ok()?;
    let body = &bytes[end + 4..];
    let chunked = headers
        .to_ascii_lowercase()
        .contains("transfer-encoding: chunked");
    let body = match chunked {
        true => unchunk(body)?,
        false => body.to_vec(),
    };
    Some(Answer {
        status,
        headers,
        body,
    })
}

fn unchunk(mut bytes: &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let end = bytes.windows(2).position(|two| two == b"\r\n")?;
        let size = std::str::from_utf8(&bytes[..end]).ok()?;
        let size = usize::from_str_radix(size.split(';').next()?.trim(), 16).ok()?;
        if size == 0 {
            return Some(body);
        }
        body.extend_from_slice(bytes.get(end + 2..end + 2 + size)?);
        bytes = bytes.get(end + 4 + size..)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read() {
        let rows: &[(&str, &[u8], Option<&str>)] = &[
            ("to the end", b"HTTP/1.1 200 OK\r\nA: b\r\n\r\nhello", Some("hello")),
            (
                "in chunks",
                b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n",
                Some("hello"),
            ),
            (
                "a chunk is cut off",
                b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n9\r\nhe",
                None,
            ),
            ("no HTTP", b"hello", None),
        ];
        for (name, bytes, expected) in rows {
            let text = parse(bytes).map(|answer| answer.text());
            assert_eq!(text.as_deref(), *expected, "{name}");
        }
    }
}
