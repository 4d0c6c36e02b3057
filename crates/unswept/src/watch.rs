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
use crate::live::Face;
use crate::{operator, setup, terminal};

pub(crate) fn run(arguments: &Watch) -> anyhow::Result<ExitCode> {
    if !arguments.listen.ip().is_loopback() && !arguments.insecure_listen {
        bail!(
            "{} can be reached from other machines, and whoever reaches it may read everything: \
             listen on 127.0.0.1, or say --insecure-listen",
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
    let reader = setup::reader_for(&arguments.host, &config)?;
    let face = Face::choose(arguments.plain);
    setup::logs_of(&face);
    let source = setup::source(reader)?;
    let notifiers = config.notifiers(&source.fetcher, &source.clock)?;
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
        notifiers,
        stdout_alerts: !face.is_live(),
    };
    setup::run(serve(arguments.listen, parts, face))??;
    Ok(ExitCode::SUCCESS)
}

async fn serve(listen: SocketAddr, parts: Parts, face: Face) -> anyhow::Result<()> {
    let stop = setup::stop_signal()?;
    let listener = TcpListener::bind(listen).await.with_context(|| {
        format!(
            "failed to listen on {listen} (if another unswept runs there, choose another port \
                 with --listen)"
        )
    })?;
    let at = listener
        .local_addr()
        .context("failed to read our own address")?;
    terminal::note(format!(
        "unswept watches; page and API: http://{at}/  data: {}",
        parts.data_dir.display()
    ));
    let series: Arc<dyn SeriesRead> = Arc::clone(&parts.store) as _;
    let external_url = parts.config.web.external_url.clone();
    let operator = operator::token(&parts.data_dir)?;
    let data_dir = parts.data_dir.clone();
    let door = operator::listen(&data_dir)?;
    let (watcher, mut task) =
        Watcher::start(parts, stop.clone()).context("failed to start the watcher")?;
    let state = web_state(&watcher, series, operator, external_url.as_deref());
    // By the socket come commands of this user: nobody else may open it.
    let own = web::WebState {
        operator: web::Operator::Anybody,
        ..state.clone()
    };
    let shown = face.show(watcher, at);
    let by_socket = tokio::spawn(axum::serve(door, web::router(own)).into_future());
    let server = axum::serve(listener, web::router(state)).with_graceful_shutdown(stopped(stop));
    let done = tokio::select! {
        // Pages that are still open are not waited for.
        ended = &mut task => ended.context("the watcher's main loop failed"),
        served = server.into_future() => match served {
            // All is written down before the process ends.
            Ok(()) => task.await.context("the watcher's main loop failed"),
            Err(error) => Err(error).context("the web server failed"),
        },
    };
    by_socket.abort();
    let hangs = matches!(&done, Ok(Err(_)));
    if !hangs {
        operator::leave(&data_dir);
    }
    // Awaited, so that the cursor is back before anything else is said.
    shown.abort();
    let _ = shown.await;
    if let Err(not_written) = done? {
        // From here on nothing may touch the disk, nor drop the store: either would wait for the disk.
        crate::exit::failed(&not_written.into());
        std::process::exit(1);
    }
    Ok(())
}

async fn stopped(mut stop: tokio::sync::watch::Receiver<bool>) {
    // An error means that the signals' task is gone: then it is time to end as well.
    let _ = stop.changed().await;
}

/// The seams that the pages stand on.
fn web_state(
    watcher: &Watcher,
    series: Arc<dyn SeriesRead>,
    operator: web::Operator,
    external_url: Option<&str>,
) -> web::WebState {
    let spawn = Arc::new(|job| drop(tokio::task::spawn_blocking(job)));
    let query = promql::Embedded::new(series, promql::Options::default(), spawn);
    let seams = Arc::new(watcher.clone());
    let changed = seams.changed();
    let mut state = web::WebState::new(
        Arc::clone(&seams) as _,
        Arc::new(query),
        seams as _,
        operator,
        changed,
    );
    state.allowed_hosts.extend(external_url.and_then(host_of));
    state
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
