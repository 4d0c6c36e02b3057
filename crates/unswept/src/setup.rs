//! What every command that looks at processes begins with: the reader before any thread, then
//! logs, then the runtime.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use collect::Source;
use engine::{Config, SystemClock};
use fetch::Fetcher;
use model::Clock;
use reader::{Reader, ReaderOptions};
use tokio::sync::watch;
use tracing_subscriber::EnvFilter;

use crate::args::HostArguments;
use crate::live::{self, Face};
use crate::terminal::Screen;

/// Threads of the runtime that are still at work at the end are waited for so long.
const SHUTDOWN_MAX: Duration = Duration::from_secs(2);

/// Starts the reader and gives up every privilege of this process. Must come before any thread.
pub(crate) fn reader(host: &HostArguments) -> anyhow::Result<Reader> {
    Ok(Reader::start(options(host))?)
}

/// As [`reader()`], as the configuration wants it.
pub(crate) fn reader_for(host: &HostArguments, config: &Config) -> anyhow::Result<Reader> {
    let options = options(host);
    let options = if config.discovery.dials() {
        options
    } else {
        options.without_dialing()
    };
    Ok(Reader::start(options)?)
}

fn options(host: &HostArguments) -> ReaderOptions {
    let options = ReaderOptions::with_deadline(Duration::from_secs(5));
    options.with_host_root(host.host_root.clone())
}

/// How targets are read, around `reader`.
pub(crate) fn source(reader: Reader) -> anyhow::Result<Source> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
    Ok(Source {
        fetcher: Fetcher::new()?,
        reader,
        clock,
    })
}

/// Logs go to standard error; `UNSWEPT_LOG` sets what is logged, as `RUST_LOG` does elsewhere.
pub(crate) fn logs() {
    tracing_subscriber::fmt()
        .with_env_filter(filter())
        .with_writer(std::io::stderr)
        .with_ansi(Screen::stderr().colour)
        .init();
}

/// Logs go where `face` wants them: a live screen shows the latest itself.
pub(crate) fn logs_of(face: &Face) {
    let Some(tail) = face.log_tail() else {
        return logs();
    };
    tracing_subscriber::fmt()
        .with_env_filter(filter())
        .with_writer(tail)
        .with_ansi(false)
        .init();
}

fn filter() -> EnvFilter {
    EnvFilter::try_from_env("UNSWEPT_LOG").unwrap_or_else(|_| EnvFilter::new("warn"))
}

/// The runtime: two worker threads carry thousands of targets, whose work is mostly waiting.
pub(crate) fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .max_blocking_threads(16)
        .enable_all()
        .build()
        .context("failed to start the runtime")
}

/// Runs `work`, and ends the runtime without waiting long for threads that hang, on a disk for example.
pub(crate) fn run<T>(work: impl Future<Output = T>) -> anyhow::Result<T> {
    let runtime = runtime()?;
    let done = runtime.block_on(work);
    runtime.shutdown_timeout(SHUTDOWN_MAX);
    Ok(done)
}

/// Turns true on Ctrl-C or SIGTERM.
pub(crate) fn stop_signal() -> anyhow::Result<watch::Receiver<bool>> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut interrupt = signal(SignalKind::interrupt()).context("failed to watch for Ctrl-C")?;
    let mut terminate = signal(SignalKind::terminate()).context("failed to watch for SIGTERM")?;
    let (stop, stopped) = watch::channel(false);
    tokio::spawn(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        // Nobody listens any more when everything has ended by itself.
        let _ = stop.send(true);
        // A second one does not wait for a clean end.
        let code = tokio::select! {
            _ = interrupt.recv() => 130,
            _ = terminate.recv() => 143,
        };
        live::restore();
        std::process::exit(code);
    });
    Ok(stopped)
}

/// Where series, incidents and evidence are kept unless told otherwise: the XDG state directory.
pub(crate) fn default_data_dir() -> anyhow::Result<PathBuf> {
    let absolute = |name: &str| {
        std::env::var_os(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    let state = absolute("XDG_STATE_HOME")
        .or_else(|| absolute("HOME").map(|home| home.join(".local/state")));
    let state =
        state.context("neither XDG_STATE_HOME nor HOME is set: name a place with --data")?;
    Ok(state.join("unswept"))
}
