//! Targets in a network namespace that is not ours, as a pod's: its loopback is reached over sockets
//! that are opened there.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use fetch::{Dial, Fetcher};
use model::ProcessKey;
use reader::Reader;

use crate::probe::Endpoint;
use crate::round::Source;

/// The network namespace of one process.
struct Inside {
    reader: Reader,
    key: ProcessKey,
}

impl Dial for Inside {
    fn dial(&self, address: SocketAddr) -> io::Result<TcpStream> {
        self.reader.dial(&self.key, address).map_err(|failure| {
            io::Error::other(match failure.hint() {
                Some(hint) => format!("{failure}: {hint}"),
                None => failure.to_string(),
            })
        })
    }
}

impl Source {
    /// Who asks `endpoint`: over its process's own network where its URLs mean that one.
    #[must_use]
    pub fn fetcher_for(&self, endpoint: &Endpoint) -> Fetcher {
        match &endpoint.inside {
            None => self.fetcher.clone(),
            Some(key) => self.fetcher.over(Arc::new(Inside {
                reader: self.reader.clone(),
                key: key.clone(),
            })),
        }
    }
}
