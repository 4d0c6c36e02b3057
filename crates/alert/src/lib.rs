//! Layer 4: what people are told. An open incident is one alert with constant labels for its whole
//! life; numbers, suspects and links are annotations, so that Alertmanager and its like never see
//! a new alert where there is an old one with new figures.
//!
//! Start at [`Alert::of_incident`] and [`Dispatcher`]. A new way to notify is one file with a
//! [`Notifier`] and one line where the daemon lists them. This crate does not decide what an
//! incident is.
#![forbid(unsafe_code)]

mod dispatch;
mod message;
mod stdout;
mod webhook;

use model::series::BoxFuture;

pub use dispatch::{Delivery, Dispatcher};
pub use message::{Alert, AlertStatus, Links};
pub use stdout::Stdout;
pub use webhook::{Webhook, payload};

/// Why a notification was not delivered.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NotifyError {
    /// The receiver did not take it. The reason never holds the URL: its path may be a secret.
    #[error("failed to deliver the alert to {host}: {reason}")]
    Receiver {
        /// Whom we tried: host and port only.
        host: String,
        /// Why, without the URL.
        reason: String,
        /// The receiver will never take this message: repeating it would only hold up others.
        permanent: bool,
    },
    /// The message could not be written.
    #[error("failed to write the alert")]
    Write(#[from] std::io::Error),
    /// The message could not be encoded.
    #[error("failed to encode the alert")]
    Encode(#[from] serde_json::Error),
}

/// One way to tell people.
pub trait Notifier: Send + Sync {
    /// Its name in logs and on the status page, without secrets.
    fn name(&self) -> &str;

    /// Delivers `alert` once; the dispatcher repeats what fails.
    fn notify<'a>(&'a self, alert: &'a Alert) -> BoxFuture<'a, Result<(), NotifyError>>;
}
