//! One plain GET to a watcher on this machine: enough for a chore, and no dependency.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// More than any answer we ask for.
const ANSWER_BYTES_MAX: u64 = 8 << 20;

/// The body of `http://ADDRESS/PATH`, if the answer is 200. HTTP/1.0, so the body is not chunked.
pub(crate) fn get(address: SocketAddr, path: &str) -> Option<Vec<u8>> {
    let timeout = Duration::from_secs(2);
    let mut stream = TcpStream::connect_timeout(&address, timeout).ok()?;
    stream.set_read_timeout(Some(timeout)).ok()?;
    stream.set_write_timeout(Some(timeout)).ok()?;
    write!(
        stream,
        "GET {path} HTTP/1.0\r\nHost: {address}\r\nAccept: application/json\r\n\r\n"
    )
    .ok()?;
    let mut answer = Vec::new();
    stream
        .take(ANSWER_BYTES_MAX)
        .read_to_end(&mut answer)
        .ok()?;
    body_of(answer)
}

fn body_of(mut answer: Vec<u8>) -> Option<Vec<u8>> {
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = answer.get(..end)?;
    let status = head.split(|&byte| byte == b' ').nth(1)?;
    (status == b"200").then(|| answer.split_off(end + 4))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies() {
        let rows: &[(&str, &str, Option<&str>)] = &[
            ("fine", "HTTP/1.0 200 OK\r\nA: b\r\n\r\n{}", Some("{}")),
            ("an empty body", "HTTP/1.1 200 OK\r\n\r\n", Some("")),
            ("not found", "HTTP/1.0 404 Not Found\r\n\r\n{}", None),
            ("cut short", "HTTP/1.0 200 OK\r\nA: b", None),
            ("nothing", "", None),
        ];
        for (name, answer, expected) in rows {
            let body = body_of(answer.as_bytes().to_vec());
            assert_eq!(body.as_deref(), expected.map(str::as_bytes), "{name}");
        }
    }
}
