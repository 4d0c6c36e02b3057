//! `unswept watch`: the daemon.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, bail};
use engine::{Config, Parts, Watcher};
use store::{Options, Store};
use tokio::net::TcpListener;

use crate::args::Watch;
use crate::setup;

pub(crate) fn run(arguments: &Watch) -> anyhow::Result<ExitCode> {
    if !arguments.listen.ip().is_loopback() && !arguments.insecure_listen {
        bail!(
            "{} can be reached from other machines, and there is no authentication yet: listen on \
             127.0.0.1, or say --insecure-listen",
            arguments.listen
        );
    }
    let config = match &arguments.config {
        Some(path) => Config::load(path)?,
        None => Config::default(),
    };
    let data_dir = match &arguments.data {
        Some(dir) => dir.clone(),
        None => setup::default_data_dir()?,
    };
    let reader = setup::reader()?;
    setup::logs();
    let source = setup::source(reader)?;
    let options = Options {
        retention: config.storage.retention,
        ..Options::default()
    };
    let store = Store::open(&data_dir, &options, Arc::clone(&source.clock))?;
    let parts = Parts {
        host: source.reader.host()?,
        config,
        config_path: arguments.config.clone(),
        store: Arc::new(store),
        data_dir,
        source,
        version: env!("CARGO_PKG_VERSION").into(),
        stdout_alerts: true,
    };
    setup::runtime()?.block_on(serve(arguments.listen, parts))?;
    Ok(ExitCode::SUCCESS)
}

async fn serve(listen: SocketAddr, parts: Parts) -> anyhow::Result<()> {
    let stop = setup::stop_signal()?;
    let listener = TcpListener::bind(listen)
        .await
        .with_context(|| format!("failed to listen on {listen}"))?;
    let at = listener
        .local_addr()
        .context("failed to read our own address")?;
    eprintln!(
        "unswept watches; page and API: http://{at}/  data: {}",
        parts.data_dir.display()
    );
    let (watcher, task) = Watcher::start(parts, stop).context("failed to start the watcher")?;
    let _ = (listener, watcher);
    task.await.context("the watcher's main loop failed")?;
    Ok(())
}
