//! Alerts as one JSON line each on standard output: for journals, pipes and tests.

use std::io::Write;

use model::series::BoxFuture;

use crate::{Alert, Notifier, NotifyError};

/// Writes to standard output.
#[derive(Debug, Default)]
pub struct Stdout;

impl Notifier for Stdout {
    fn name(&self) -> &str {
        "stdout"
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
}
