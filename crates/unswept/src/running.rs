//! A watcher that runs on a data directory, asked through its socket.

use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use fetch::{FetchError, Fetcher, Post, Request};
use model::{Command, CommandOutcome};

use crate::operator::SOCKET;

/// The watcher answers from memory, but for an answer that it waits for the disk.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Series of a day of one incident's targets come to some ten megabytes.
const BODY_BYTES_MAX: usize = 256 << 20;

/// A running watcher.
pub(crate) struct Running {
    fetcher: Fetcher,
}

impl Running {
    /// The watcher of `data`, if one answers there.
    pub(crate) async fn of(data: &Path) -> anyhow::Result<Option<Self>> {
        let socket = data.join(SOCKET);
        if !socket.exists() {
            return Ok(None);
        }
        let running = Self {
            fetcher: Fetcher::over_socket(&socket)?,
        };
        match running.get("/-/healthy").await {
            Ok(_) => Ok(Some(running)),
            // Left behind by one that was killed; whether that is so, the store's lock says.
            Err(FetchError::Connect { .. }) => Ok(None),
            Err(error) => Err(error)
                .with_context(|| format!("failed to ask the watcher at {}", socket.display())),
        }
    }

    /// What the watcher says to a command.
    pub(crate) async fn command(&self, command: &Command) -> anyhow::Result<CommandOutcome> {
        let post = Post {
            content_type: "application/json",
            authorization: None,
            body: serde_json::to_vec(command)?,
        };
        let path = "/api/v1/unswept/commands";
        let asked = self.fetcher.post(&request(&url(path)), post).await;
        match asked {
            Ok(answer) => Ok(serde_json::from_slice(&answer.body)?),
            Err(FetchError::Status {
                status: 409 | 429,
                excerpt,
                ..
            }) => {
                serde_json::from_str(&excerpt).or(Ok(CommandOutcome::Refused { reason: excerpt }))
            }
            Err(error) => Err(error).context("failed to hand the watcher a command"),
        }
    }

    /// A JSON answer to a GET.
    pub(crate) async fn json(&self, path: &str) -> anyhow::Result<serde_json::Value> {
        let answer = self.get(path).await.context("failed to ask the watcher")?;
        Ok(serde_json::from_slice(&answer.body)?)
    }

    async fn get(&self, path: &str) -> Result<fetch::Response, FetchError> {
        self.fetcher.get(&request(&url(path))).await
    }
}

/// The host is a name that every watcher answers to; the socket decides who is asked.
fn url(path: &str) -> String {
    format!("http://localhost{path}")
}

fn request(url: &str) -> Request<'_> {
    Request {
        url,
        timeout: TIMEOUT,
        body_bytes_max: BODY_BYTES_MAX,
        accept: None,
    }
}
