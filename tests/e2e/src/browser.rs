//! Headless Chromium behind a proxy of ours, which sees every request that it makes.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::process::{self, Running};

/// What Chromium asks for itself at its start, whatever page it shows and whatever its flags say.
const BROWSERS_OWN: &[&str] = &[
    "accounts.google.com",
    "android.clients.google.com",
    "clients2.google.com",
    "clients2.googleusercontent.com",
    "content-autofill.googleapis.com",
    "edgedl.me.gvt1.com",
    "mtalk.google.com",
    "optimizationguide-pa.googleapis.com",
    "redirector.gvt1.com",
    "safebrowsing.googleapis.com",
    "update.googleapis.com",
    "www.google.com",
];

/// One request of the browser.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// `127.0.0.1:7787`, or what else it wanted to reach.
    pub host: String,
    /// The path; empty for a tunnel.
    pub path: String,
    /// What for: `document`, `style`, `script`, `empty` (a script's own), as Fetch Metadata has it.
    pub destination: String,
}

/// A browser for one story.
#[derive(Debug)]
pub struct Browser {
    program: PathBuf,
    proxy: String,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Browser {
    /// A browser that reaches `host` (`127.0.0.1:PORT`) and nothing else.
    ///
    /// # Panics
    /// When there is no free port.
    #[must_use]
    pub fn new(program: PathBuf, host: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let proxy = listener.local_addr().expect("an address").to_string();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (kept, host) = (Arc::clone(&asked), host.to_owned());
        std::thread::spawn(move || {
            for guest in listener.incoming().flatten() {
                let (kept, host) = (Arc::clone(&kept), host.clone());
                // A guest that goes away is its own affair.
                std::thread::spawn(move || pass_on(guest, &host, &kept).ok());
            }
        });
        Self {
            program,
            proxy,
            asked,
        }
    }

    /// All requests so far, but those that the browser makes for itself.
    #[must_use]
    pub fn asked(&self) -> Vec<Asked> {
        self.asked
            .lock()
            .map_or_else(|poisoned| poisoned.into_inner().clone(), |all| all.clone())
    }

    /// Opens `url`, lets its scripts run for `time`, and hands out the page as it is then.
    ///
    /// # Panics
    /// When the browser fails or takes over a minute.
    #[must_use]
    pub fn page_after(&self, url: &str, time: Duration) -> String {
        let (running, _profile) = self.run(time, &["--dump-dom".into(), url.into()]);
        running.stdout()
    }

    /// Opens `url` and keeps a picture of it.
    ///
    /// # Panics
    /// When the browser fails, takes over a minute, or makes no picture.
    pub fn picture(&self, url: &str, size: &str, to: &Path) {
        let screenshot = format!("--screenshot={}", to.display());
        let size = format!("--window-size={size}");
        let (running, _profile) = self.run(
            Duration::from_secs(3),
            &[screenshot, size, "--hide-scrollbars".into(), url.into()],
        );
        let made = std::fs::metadata(to).map_or(0, |meta| meta.len());
        assert!(made > 1_000, "no picture of {url}: {}", running.stderr());
    }

    fn run(&self, time: Duration, arguments: &[String]) -> (Running, tempfile::TempDir) {
        let profile = tempfile::tempdir().expect("a temporary folder");
        let mut command: Command = process::command(&self.program);
        command
            .args([
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-quic",
            ])
            .args(["--no-first-run", "--disable-background-networking"])
            .args(["--disable-component-update", "--disable-sync"])
            .args([
                "--disable-dev-shm-usage",
                "--disable-extensions",
                "--no-pings",
            ])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            // Loopback too goes through the proxy, which is how we see all of it.
            .arg(format!("--proxy-server=http://{}", self.proxy))
            .arg("--proxy-bypass-list=<-loopback>")
            .arg(format!("--timeout={}", time.as_millis()))
            .args(arguments);
        let mut running = Running::start("chromium", command);
        let end = running.wait(Duration::from_secs(60));
        assert!(end.success(), "chromium: {end}\n{}", running.stderr());
        (running, profile)
    }
}

/// Passes one request on, if it is for `host`, and the answer back.
fn pass_on(mut guest: TcpStream, host: &str, kept: &Mutex<Vec<Asked>>) -> std::io::Result<()> {
    let mut head = Vec::new();
    let mut byte = [0; 1];
    while !head.ends_with(b"\r\n\r\n") && head.len() < 64 << 10 {
        guest.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let asked = read_head(&head);
    let known = asked.host == host;
    let path = asked.path.clone();
    let name = asked.host.split(':').next().unwrap_or_default();
    if !BROWSERS_OWN.contains(&name)
        && let Ok(mut kept) = kept.lock()
    {
        kept.push(asked);
    }
    if !known || !head.starts_with("GET ") {
        return guest.write_all(
            b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
        );
    }
    let mut server = TcpStream::connect(host)?;
    let mut request = format!("GET {path} HTTP/1.1\r\nConnection: close\r\n");
    let hop = ["connection:", "proxy-connection:"];
    for line in head.lines().skip(1).filter(|line| !line.is_empty()) {
        let lower = line.to_ascii_lowercase();
        if !hop.iter().any(|name| lower.starts_with(name)) {
            request.push_str(line);
            request.push_str("\r\n");
        }
    }
    request.push_str("\r\n");
    server.write_all(request.as_bytes())?;
    // An event stream goes on until the browser closes; then the write fails.
    std::io::copy(&mut server, &mut guest)?;
    Ok(())
}

fn read_head(head: &str) -> Asked {
    let target = head.split(' ').nth(1).unwrap_or_default();
    let (host, path) = match target.strip_prefix("http://") {
        Some(rest) => match rest.find('/') {
            Some(at) => rest.split_at(at),
            None => (rest, "/"),
        },
        None => (target, ""),
    };
    let field = |name: &str| {
        let mut lines = head.lines();
        let found = lines.find(|line| line.to_ascii_lowercase().starts_with(name));
        found
            .and_then(|line| line.split_once(": "))
            .map(|(_, value)| value.to_owned())
    };
    Asked {
        host: host.to_owned(),
        path: path.to_owned(),
        destination: field("sec-fetch-dest:").unwrap_or_default(),
    }
}
