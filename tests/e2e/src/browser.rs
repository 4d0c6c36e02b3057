//! Headless Chromium behind a proxy of ours, which lets it reach the watcher and nobody else.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Duration;

use rustix::fs::{CWD, FileType, Mode, mknodat};
use serde_json::{Value, json};

use crate::process::{self, Running};

/// A browser that takes longer to answer has failed; starting one takes seconds on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A browser for one story.
#[derive(Debug)]
pub struct Browser {
    program: PathBuf,
    proxy: String,
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
        let host = host.to_owned();
        std::thread::spawn(move || {
            for guest in listener.incoming().flatten() {
                let host = host.clone();
                // A guest that goes away is its own affair.
                std::thread::spawn(move || pass_on(guest, &host).ok());
            }
        });
        Self { program, proxy }
    }

    /// Opens `url` in a page that stays open.
    ///
    /// # Panics
    /// When the browser fails.
    #[must_use]
    pub fn open(&self, url: &str) -> Page {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let [to, from] = ["to", "from"].map(|name| folder.path().join(name));
        for pipe in [&to, &from] {
            let mode = Mode::RUSR | Mode::WUSR;
            mknodat(CWD, pipe, FileType::Fifo, mode, 0).expect("a pipe with a name");
        }
        // Chromium takes commands on its file 3 and answers on its file 4.
        let mut command = process::command("sh");
        command
            .args(["-c", r#"exec "$@" 3<"$0/to" 4>"$0/from""#])
            .arg(folder.path())
            .arg(&self.program)
            .args(self.arguments(folder.path()))
            .args(["--remote-debugging-pipe", "about:blank"]);
        let running = Running::start("chromium", command);
        let to = File::options().write(true).open(to).expect("its file 3");
        let from = File::open(from).expect("its file 4");
        let mut page = Page {
            running,
            to,
            answers: answers(from),
            session: Value::Null,
            commands: 0,
            _folder: folder,
        };
        let made = page.command("Target.createTarget", &json!({ "url": url }));
        let whose = json!({ "targetId": made["targetId"], "flatten": true });
        page.session = page.command("Target.attachToTarget", &whose)["sessionId"].clone();
        page
    }

    /// Opens `url` and keeps a picture of it.
    ///
    /// # Panics
    /// When the browser fails, takes over a minute, or makes no picture.
    pub fn picture(&self, url: &str, size: &str, to: &Path) {
        let screenshot = format!("--screenshot={}", to.display());
        let size = format!("--window-size={size}");
        let profile = tempfile::tempdir().expect("a temporary folder");
        let mut command = process::command(&self.program);
        command.args(self.arguments(profile.path())).args([
            &screenshot,
            &size,
            "--hide-scrollbars",
            url,
        ]);
        let mut running = Running::start("chromium", command);
        let end = running.wait(PATIENCE);
        assert!(end.success(), "chromium: {end}\n{}", running.stderr());
        let made = std::fs::metadata(to).map_or(0, |meta| meta.len());
        assert!(made > 1_000, "no picture of {url}: {}", running.stderr());
    }

    fn arguments(&self, profile: &Path) -> Vec<String> {
        let mut arguments: Vec<String> = [
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--disable-extensions",
            "--disable-dev-shm-usage",
            // Loopback too goes through the proxy.
            "--proxy-bypass-list=<-loopback>",
        ]
        .map(str::to_owned)
        .into();
        arguments.push(format!("--proxy-server=http://{}", self.proxy));
        arguments.push(format!(
            "--user-data-dir={}",
            profile.join("profile").display()
        ));
        arguments
    }
}

/// An open page, driven by the DevTools protocol over pipes: JSON messages with a zero byte after each.
#[derive(Debug)]
pub struct Page {
    running: Running,
    to: File,
    answers: mpsc::Receiver<Value>,
    session: Value,
    commands: u64,
    _folder: tempfile::TempDir,
}

impl Page {
    /// What a JavaScript expression is in the page now.
    ///
    /// # Panics
    /// When the browser does not answer, or the expression throws.
    #[must_use]
    pub fn evaluate(&mut self, expression: &str) -> Value {
        let what = json!({ "expression": expression, "returnByValue": true });
        let answer = self.command("Runtime.evaluate", &what);
        assert!(
            answer["exceptionDetails"].is_null(),
            "{expression}: {answer:#}"
        );
        answer["result"]["value"].clone()
    }

    /// The text that a person reads in the page now.
    #[must_use]
    pub fn text(&mut self) -> String {
        let text = self.evaluate("document.body ? document.body.innerText : ''");
        text.as_str().unwrap_or_default().to_owned()
    }

    /// What the page has loaded or named for loading, from anywhere: URLs.
    ///
    /// # Panics
    /// As [`Page::evaluate`].
    #[must_use]
    pub fn sources(&mut self) -> Vec<String> {
        let urls = self.evaluate(
            "[...performance.getEntries().map(one => one.name), \
              ...[...document.querySelectorAll('[src], link[href]')].map(one => one.src || one.href)] \
              .filter(url => url.includes('://'))",
        );
        let urls = urls.as_array().cloned().unwrap_or_default();
        urls.iter()
            .filter_map(|url| url.as_str().map(str::to_owned))
            .collect()
    }

    /// Closes the browser.
    pub fn close(mut self) {
        self.session = Value::Null;
        self.send("Browser.close", &json!({}));
        self.running.wait(PATIENCE);
    }

    fn send(&mut self, method: &str, params: &Value) {
        self.commands += 1;
        let mut message = json!({ "id": self.commands, "method": method, "params": params });
        if !self.session.is_null() {
            message["sessionId"] = self.session.clone();
        }
        let mut bytes = message.to_string().into_bytes();
        bytes.push(0);
        self.to.write_all(&bytes).expect("chromium takes commands");
    }

    fn command(&mut self, method: &str, params: &Value) -> Value {
        self.send(method, params);
        loop {
            let answer = self.answers.recv_timeout(PATIENCE);
            let answer = answer
                .unwrap_or_else(|_| panic!("no answer to {method}: {}", self.running.stderr()));
            if answer["id"] == self.commands {
                assert!(answer["error"].is_null(), "{method}: {answer}");
                return answer["result"].clone();
            }
        }
    }
}

fn answers(from: File) -> mpsc::Receiver<Value> {
    let (sender, answers) = mpsc::channel();
    std::thread::spawn(move || {
        for message in BufReader::new(from).split(0) {
            let Ok(message) = message else { return };
            let Ok(value) = serde_json::from_slice(&message) else {
                continue;
            };
            if sender.send(value).is_err() {
                return;
            }
        }
    });
    answers
}

/// Passes one request on, if it is for `host`, and the answer back.
fn pass_on(mut guest: TcpStream, host: &str) -> std::io::Result<()> {
    let mut head = Vec::new();
    let mut byte = [0; 1];
    while !head.ends_with(b"\r\n\r\n") && head.len() < 64 << 10 {
        guest.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    // A proxy is asked for the whole URL.
    let Some(path) = head.strip_prefix(&format!("GET http://{host}")) else {
        let refusal = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
        return guest.write_all(refusal);
    };
    let path = path.split(' ').next().unwrap_or("/");
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
