//! The whole watcher on a clock that can be set, with an endpoint that counts who asks.

mod clock;
mod held;
mod refusals;
mod reload;
mod replicas;

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use collect::Source;
use model::time::Steady;
use model::{Budget, Cancel, Clock, Matcher, SeriesRead, UnixMs};
use reader::{Reader, ReaderOptions};
use store::{Options, Store};

use crate::{Config, Parts, SystemClock};

/// The machine's clock, which tests set as people do; steadied as the machine's own.
#[derive(Debug, Default)]
pub(crate) struct SetClock {
    real: SystemClock,
    set_ms: AtomicI64,
    steady: Steady,
}

impl SetClock {
    fn move_by(&self, ms: i64) {
        self.set_ms.fetch_add(ms, Ordering::SeqCst);
    }
}

impl Clock for SetClock {
    fn now(&self) -> UnixMs {
        let wall = self.real.now().0 + self.set_ms.load(Ordering::SeqCst);
        self.steady.show(UnixMs(wall), self.monotonic())
    }

    fn monotonic(&self) -> Duration {
        self.real.monotonic()
    }
}

/// An endpoint whose one figure is how often it was asked.
pub(crate) struct Counting {
    address: SocketAddr,
    asked: Arc<AtomicU64>,
}

impl Counting {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::new(AtomicU64::new(0));
        let counts = Arc::clone(&asked);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                answer(stream, &counts);
            }
        });
        Self { address, asked }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn asked(&self) -> u64 {
        self.asked.load(Ordering::SeqCst)
    }

    /// Waits until it was asked so many times more.
    pub(crate) async fn more(&self, times: u64) {
        let until = self.asked() + times;
        wait_until("the endpoint to be asked", || self.asked() >= until).await;
    }
}

fn answer(mut stream: TcpStream, asked: &AtomicU64) {
    let mut head = [0; 4096];
    let count = stream.read(&mut head).unwrap_or(0);
    let text = match head[..count].starts_with(b"GET /metrics ") {
        true => {
            let number = asked.fetch_add(1, Ordering::SeqCst) + 1;
            let body = format!("# TYPE answered gauge\nanswered {number}\n");
            format!(
                "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\n\
                 Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
                body.len()
            )
        }
        false => "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".into(),
    };
    // Whoever asked may be gone.
    let _ = stream.write_all(text.as_bytes());
}

pub(crate) async fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let started = Instant::now();
    while !done() {
        assert!(
            started.elapsed() < Duration::from_secs(30),
            "waited in vain for {what}"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The configuration in `text`, ten rounds a second.
pub(crate) fn config(text: &str) -> Config {
    let mut config = Config::parse(Path::new("unswept.yml"), text).unwrap();
    config.global.scrape_interval = Duration::from_millis(100);
    config.global.evaluation_interval = Duration::from_millis(500);
    config
}

pub(crate) fn open(dir: &Path, clock: Arc<dyn Clock>) -> Arc<Store> {
    Arc::new(Store::open(dir, &Options::default(), clock).unwrap())
}

pub(crate) fn parts(dir: &Path, config: Config, clock: Arc<dyn Clock>) -> Parts {
    let reader = Reader::in_thread(ReaderOptions::default()).unwrap();
    let store = open(dir, Arc::clone(&clock));
    Parts {
        host: reader.host().unwrap(),
        config,
        config_path: None,
        data_dir: dir.to_owned(),
        store,
        source: Source {
            fetcher: fetch::Fetcher::new().unwrap(),
            reader,
            clock,
        },
        version: "0".into(),
        notifiers: Vec::new(),
        stdout_alerts: false,
    }
}

/// The values of `answered` in the order of time.
pub(crate) fn answered(store: &Store) -> Vec<u64> {
    let budget = Budget::samples(u64::MAX);
    let (from, to) = (UnixMs(0), UnixMs(i64::MAX));
    let matchers = [Matcher::metric("answered")];
    let found = store.select(&matchers, from, to, &budget, &Cancel::default());
    let samples = found.unwrap().into_iter().flat_map(|series| series.samples);
    samples.map(|sample| sample.v as u64).collect()
}
