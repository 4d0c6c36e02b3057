//! `unswept watch`: the daemon.

use std::future::IntoFuture;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, bail};
use engine::{Config, Parts, Watcher};
use model::SeriesRead;
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
        // Alerts and pages name it to people in other folders.
        Some(dir) => std::path::absolute(dir).context("failed to find the current folder")?,
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
    let mut stop = setup::stop_signal()?;
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
    let series: Arc<dyn SeriesRead> = Arc::clone(&parts.store) as _;
    let external_url = parts.config.web.external_url.clone();
    let (watcher, mut task) =
        Watcher::start(parts, stop.clone()).context("failed to start the watcher")?;
    let spawn = Arc::new(|job| drop(tokio::task::spawn_blocking(job)));
    let query = promql::Embedded::new(series, promql::Options::default(), spawn);
    let seams = Arc::new(watcher);
    let mut state = web::WebState::new(
        Arc::clone(&seams) as _,
        Arc::new(query),
        Arc::clone(&seams) as _,
        seams.changed(),
    );
    drop(seams);
    state
        .allowed_hosts
        .extend(external_url.as_deref().and_then(host_of));
    let shut_down = async move {
        // An error means that the signals' task is gone: then it is time to end as well.
        let _ = stop.changed().await;
    };
    let server = axum::serve(listener, web::router(state)).with_graceful_shutdown(shut_down);
    tokio::select! {
        // Pages that are still open are not waited for.
        ended = &mut task => return ended.context("the watcher's main loop failed"),
        served = server.into_future() => served.context("the web server failed")?,
    }
    // All is written down before the process ends.
    task.await.context("the watcher's main loop failed")
}

/// The host of a URL, without scheme, port and path.
fn host_of(url: &str) -> Option<String> {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let host = rest
        .split(['/', '?'])
        .next()?
        .rsplit_once('@')
        .map_or(rest, |(_, host)| host);
    let host = host.split('/').next()?;
    let host = if host.starts_with('[') {
        host
    } else {
        host.split(':').next()?
    };
    (!host.is_empty()).then(|| host.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::host_of;

    #[test]
    fn the_host_of_a_url() {
        let rows = [
            ("https://unswept.example/u", Some("unswept.example")),
            ("http://U.example:7787", Some("u.example")),
            ("", None),
        ];
        for (url, host) in rows {
            assert_eq!(host_of(url).as_deref(), host, "{url}");
        }
    }
}
