//! Layer 4: what people are told. An open incident is one alert with constant labels for its whole
//! life; numbers, suspects and links are annotations, so that Alertmanager and its like never see
//! a new alert where there is an old one with new figures.
//!
//! Start at [`Alert::of_incident`], [`Dispatcher`] and [`Receiver`], which is how receivers are
//! written down. A new way to notify is one file with its settings and a [`Notifier`], and a line in
//! [`Receiver`]. This crate does not decide what an incident is.
#![forbid(unsafe_code)]

mod alertmanager;
mod dingtalk;
mod dispatch;
mod email;
mod feishu;
mod heap_profile;
mod http;
mod message;
mod queue;
mod receiver;
mod robot;
mod secret;
mod slack;
mod stdout;
mod template;
mod webhook;
mod wecom;
mod wording;

use std::time::Duration;

use model::series::BoxFuture;

pub use alertmanager::Alerting;
pub use dispatch::{Delivery, Dispatcher};
pub use heap_profile::HeapProfile;
pub use message::{Alert, AlertStatus, Origin};
pub use receiver::{Receiver, Surroundings};
pub use secret::{Secret, SecretError, SecretSource};
pub use stdout::Stdout;
pub use template::{Template, TemplateError};
pub use webhook::payload;

/// Why a notification was not delivered. No variant holds a URL: its path may be a secret.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NotifyError {
    /// The receiver did not take it.
    #[error("failed to deliver the alert to {host}: {reason}")]
    Receiver {
        /// Whom we tried: host and port only.
        host: String,
        /// Why, without the URL.
        reason: String,
        /// The receiver will never take this message: repeating it would be in vain.
        permanent: bool,
    },
    /// A token, a password or a URL could not be had.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// The message could not be written.
    #[error("failed to write the alert")]
    Write(#[from] std::io::Error),
    /// The message could not be encoded.
    #[error("failed to encode the alert")]
    Encode(#[from] serde_json::Error),
}

impl NotifyError {
    pub(crate) fn late(host: &str, limit: Duration) -> Self {
        Self::Receiver {
            host: host.to_owned(),
            reason: format!("no answer within {} s", limit.as_secs_f64()),
            permanent: false,
        }
    }

    /// Whether trying again is in vain.
    #[must_use]
    pub fn is_permanent(&self) -> bool {
        matches!(
            self,
            Self::Receiver {
                permanent: true,
                ..
            }
        )
    }

    /// The error with its causes, on one line.
    #[must_use]
    pub fn in_words(&self) -> String {
        in_words(self)
    }
}

/// An error with its causes, on one line.
pub(crate) fn in_words(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    text
}

/// Whom a notifier tells, in words without secrets.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Address {
    /// The receiver's name in the configuration.
    pub receiver: String,
    /// By which way: `slack`, `email`.
    pub integration: &'static str,
    /// Host and port, or what else tells two of one receiver apart.
    pub to: String,
}

impl Address {
    pub(crate) fn new(receiver: &str, integration: &'static str, to: &str) -> Self {
        Self {
            receiver: receiver.to_owned(),
            integration,
            to: to.to_owned(),
        }
    }
}

/// `team-a (slack, hooks.slack.com)`.
impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            receiver,
            integration,
            to,
        } = self;
        match to.is_empty() {
            true => f.write_str(receiver),
            false => write!(f, "{receiver} ({integration}, {to})"),
        }
    }
}

/// That a receiver forgets alerts which it does not hear of again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repeat {
    /// How often it is told.
    pub every: Duration,
    /// For how long it is told that an alert is over.
    pub resolved_for: Duration,
}

/// One way to tell people.
pub trait Notifier: Send + Sync {
    /// Whom it tells.
    fn address(&self) -> &Address;

    /// Delivers `alert` once, within a deadline of its own; the dispatcher repeats what fails.
    fn notify<'a>(&'a self, alert: &'a Alert) -> BoxFuture<'a, Result<(), NotifyError>>;

    /// Whether it is told again and again while an alert stands.
    fn repeat(&self) -> Option<Repeat> {
        None
    }

    /// Whether it is told that an alert is over.
    fn send_resolved(&self) -> bool {
        true
    }

    /// Whether a heap profile may go in an annotation: to programs, not to people.
    fn carries_profile(&self) -> bool {
        false
    }
}
