//! Alerts as one JSON line each on standard output: for journals, pipes and tests.

use std::io::Write;

use model::series::BoxFuture;

use crate::{Address, Alert, Notifier, NotifyError};

/// Writes to standard output.
#[derive(Debug)]
pub struct Stdout {
    address: Address,
}

impl Default for Stdout {
    fn default() -> Self {
        Self {
            address: Address::new("stdout", "stdout", ""),
        }
    }
}

impl Notifier for Stdout {
    fn address(&self) -> &Address {
        &self.address
    }

    fn notify<'a>(&'a self, alert: &'a Alert) -> BoxFuture<'a, Result<(), NotifyError>> {
        Box::pin(async move {
            let mut line = serde_json::to_vec(alert)?;
            line.push(b'\n');
            // One write, so that lines of several writers do not mix.
            let mut out = std::io::stdout().lock();
            out.write_all(&line)?;
            out.flush()?;
            Ok(())
        })
    }

    fn carries_profile(&self) -> bool {
        true
    }
}
