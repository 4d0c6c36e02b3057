//! Connections over the network that we are in, and those that are kept for the next GET.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use reqwest::Url;
use rustls::pki_types::ServerName;
use rustls_platform_verifier::BuilderVerifierExt;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::get::Connection;
use crate::{FetchError, names, redacted};

/// A connection that nothing was asked over for so long is closed,
const IDLE_MAX: Duration = Duration::from_secs(90);
/// and no more than so many are kept: one for each target of a big host.
const KEPT_MAX: usize = 1_024;

/// What bytes go over.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// Opens connections, and keeps one to each place.
pub(crate) struct Network {
    tls: TlsConnector,
    kept: Mutex<HashMap<String, (Instant, Connection)>>,
}

impl Network {
    pub(crate) fn new() -> Result<Self, FetchError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .and_then(|builder| builder.with_platform_verifier())
            .map_err(FetchError::Tls)?;
        Ok(Self {
            tls: Arc::new(config.with_no_client_auth()).into(),
            kept: Mutex::default(),
        })
    }

    /// A kept connection to where `url` leads.
    pub(crate) fn take(&self, url: &Url) -> Option<Connection> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let (since, connection) = kept.remove(&place(url))?;
        (since.elapsed() < IDLE_MAX && connection.is_open()).then_some(connection)
    }

    /// Keeps a connection for the next GET.
    pub(crate) fn keep(&self, url: &Url, connection: Connection) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.retain(|_, (since, connection)| since.elapsed() < IDLE_MAX && connection.is_open());
        if kept.len() < KEPT_MAX {
            kept.insert(place(url), (Instant::now(), connection));
        }
    }

    /// A new connection to where `url` leads; `patience` is for all of its addresses together.
    pub(crate) async fn connect(
        &self,
        url: &Url,
        patience: Duration,
    ) -> Result<Box<dyn Stream>, FetchError> {
        let failed = |reason: String| FetchError::Connect {
            url: redacted(url),
            reason,
        };
        let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
        let port = url.port_or_known_default().unwrap_or(80);
        let addresses = match host.parse::<IpAddr>() {
            Ok(ip) => vec![SocketAddr::new(ip, port)],
            Err(_) => {
                let found = names::GETS.addresses(host.to_owned(), port).await;
                found.map_err(|error| failed(format!("no address of {host}: {error}")))?
            }
        };
        let stream = first(&addresses, patience).await.map_err(failed)?;
        if url.scheme() != "https" {
            return Ok(Box::new(stream));
        }
        let name = ServerName::try_from(host.to_owned()).map_err(|e| failed(e.to_string()))?;
        let secured = self.tls.connect(name, stream).await;
        Ok(Box::new(
            secured.map_err(|error| failed(error.to_string()))?,
        ))
    }
}

/// The first of the addresses that takes a connection; why the last does not, otherwise.
async fn first(addresses: &[SocketAddr], patience: Duration) -> Result<TcpStream, String> {
    let each = patience / u32::try_from(addresses.len().max(1)).unwrap_or(u32::MAX);
    let mut last = "the name has no address".to_owned();
    for address in addresses {
        match tokio::time::timeout(each, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                // Without it small requests only go out later.
                let _ = stream.set_nodelay(true);
                return Ok(stream);
            }
            Ok(Err(error)) => last = error.to_string(),
            Err(_) => last = format!("{address} does not answer"),
        }
    }
    Err(last)
}

fn place(url: &Url) -> String {
    let port = url.port_or_known_default().unwrap_or(80);
    format!("{}://{}:{port}", url.scheme(), url.host_str().unwrap_or(""))
}
