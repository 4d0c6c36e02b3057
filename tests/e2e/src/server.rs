//! Small servers that a story puts beside the shop: one that listens well, and some that do not.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;

use crate::hostile::{self, Hostile};

/// How a server treats its guests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Behaviour {
    /// Takes POSTs, keeps their bodies, says 200.
    Keeps,
    /// Accepts, reads, and never answers.
    Hangs,
    /// Answers with bytes that are no HTTP.
    SpeaksGarbage,
    /// Answers with status 200 and a body that is no metrics.
    SendsGarbage,
    /// Answers with metrics that never end.
    NeverEnds,
    /// Answers with one figure: how often its metrics were asked for, this time included.
    Counts,
    /// Sends its guests to the same path at another address.
    RedirectsTo(SocketAddr),
    /// Means harm.
    Harms(Hostile),
}

/// A server on a free port of the loopback, which ends with the story.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    bodies: Arc<Mutex<Vec<Value>>>,
    asked: Arc<AtomicU64>,
}

impl Server {
    /// Starts one.
    ///
    /// # Panics
    /// When there is no free port.
    #[must_use]
    pub fn start(behaviour: Behaviour) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("an address");
        let bodies = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&bodies);
        let asked = Arc::new(AtomicU64::new(0));
        let counts = Arc::clone(&asked);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (kept, counts) = (Arc::clone(&kept), Arc::clone(&counts));
                std::thread::spawn(move || serve(stream, behaviour, &kept, &counts));
            }
        });
        Self {
            address,
            bodies,
            asked,
        }
    }

    /// How often it was asked; of one that counts, for its metrics.
    #[must_use]
    pub fn asked(&self) -> u64 {
        self.asked.load(Ordering::SeqCst)
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `127.0.0.1:PORT`.
    #[must_use]
    pub fn host_port(&self) -> String {
        self.address.to_string()
    }

    /// Where it is reached.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}/", self.address)
    }

    /// The JSON documents that were posted so far.
    #[must_use]
    pub fn bodies(&self) -> Vec<Value> {
        self.bodies.lock().map_or_else(
            |poisoned| poisoned.into_inner().clone(),
            |bodies| bodies.clone(),
        )
    }
}

fn serve(mut stream: TcpStream, behaviour: Behaviour, kept: &Mutex<Vec<Value>>, asked: &AtomicU64) {
    // Guests come and go as they like: an error here is theirs.
    let _ = stream.set_read_timeout(Some(Duration::from_secs(30)));
    let Some((head, body)) = read_request(&mut stream) else {
        return;
    };
    let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
    let counts = behaviour != Behaviour::Counts || path == "/metrics";
    let number = asked.fetch_add(u64::from(counts), Ordering::SeqCst) + 1;
    let _ = match behaviour {
        Behaviour::Keeps => {
            if head.starts_with("POST")
                && let Ok(value) = serde_json::from_slice(&body)
                && let Ok(mut kept) = kept.lock()
            {
                kept.push(value);
            }
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        }
        Behaviour::Hangs => {
            // Until the guest gives up.
            let mut rest = [0; 256];
            let _ = stream.set_read_timeout(None);
            while stream.read(&mut rest).is_ok_and(|count| count > 0) {}
            Ok(())
        }
        Behaviour::SpeaksGarbage => stream.write_all(&[0xff; 4096]),
        Behaviour::SendsGarbage => stream.write_all(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\n\
              {{{{ \xff\xfe no metrics at all\n1 2 3 4\n\x00\x01\n",
        ),
        Behaviour::NeverEnds => never_end(&mut stream),
        Behaviour::Counts if !counts => stream
            .write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"),
        Behaviour::Counts => {
            let body = format!("answered {number}\n");
            let head = format!(
                "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\nContent-Length: {}\r\n\
                 Connection: close\r\n\r\n",
                body.len()
            );
            stream.write_all((head + &body).as_bytes())
        }
        Behaviour::RedirectsTo(elsewhere) => {
            let head = format!(
                "HTTP/1.1 302 Found\r\nLocation: http://{elsewhere}{path}\r\nContent-Length: 0\r\n\
                 Connection: close\r\n\r\n"
            );
            stream.write_all(head.as_bytes())
        }
        Behaviour::Harms(how) => hostile::answer(&mut stream, how, &path, number),
    };
}

fn never_end(stream: &mut TcpStream) -> std::io::Result<()> {
    stream.write_all(
        b"HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\nConnection: close\r\n\r\n",
    )?;
    let mut number = 0_u64;
    loop {
        let mut lines = String::new();
        for _ in 0..1_000 {
            number += 1;
            lines.push_str(&format!("endless_total{{n=\"{number}\"}} {number}\n"));
        }
        stream.write_all(lines.as_bytes())?;
    }
}

/// The head and, where its length is told, the body.
fn read_request(stream: &mut TcpStream) -> Option<(String, Vec<u8>)> {
    let mut bytes = Vec::new();
    let mut part = [0; 4096];
    loop {
        let count = stream.read(&mut part).ok().filter(|count| *count > 0)?;
        bytes.extend_from_slice(&part[..count]);
        let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else {
            continue;
        };
        let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
        let lower = head.to_ascii_lowercase();
        let length = lower
            .lines()
            .find_map(|line| line.strip_prefix("content-length:"));
        let length: usize = length.map_or(0, |text| text.trim().parse().unwrap_or(0));
        if bytes.len() >= end + 4 + length {
            return Some((head, bytes[end + 4..end + 4 + length].to_vec()));
        }
    }
}
