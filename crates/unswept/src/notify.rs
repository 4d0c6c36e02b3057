//! `unswept notify test`: one alert that calls itself a test through each way of telling people, on and
//! off again, with what became of it.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use alert::{Alert, AlertStatus, Notifier};
use anyhow::bail;
use engine::{Config, SystemClock};
use fetch::Fetcher;
use model::Clock;

use crate::args::{Notify, NotifyTest};
use crate::{setup, terminal};

/// Receivers have shorter deadlines of their own; this one holds whatever they do.
const ATTEMPT_MAX: Duration = Duration::from_secs(60);

pub(crate) fn run(command: &Notify) -> anyhow::Result<ExitCode> {
    match command {
        Notify::Test(arguments) => test(arguments),
    }
}

fn test(arguments: &NotifyTest) -> anyhow::Result<ExitCode> {
    setup::logs();
    let config = match &arguments.config {
        Some(path) => Config::load(path)?,
        None => Config::default(),
    };
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
    let mut notifiers = config.notifiers(&Fetcher::new()?, &clock)?;
    if let Some(wanted) = &arguments.receiver {
        notifiers.retain(|one| one.address().receiver == *wanted);
        if notifiers.is_empty() {
            bail!("the configuration has no receiver `{wanted}`");
        }
    }
    if notifiers.is_empty() {
        bail!(
            "nobody is told but standard output: write `receivers:` or `alerting:` into a \
             configuration and name it with --config (docs/alerting.md)"
        );
    }
    let origin = config.origin(&setup::default_data_dir().unwrap_or_default());
    let at = clock.now();
    let on = Alert::test(AlertStatus::Firing, &origin, at);
    let off = Alert::test(AlertStatus::Resolved, &origin, at);
    let lines = setup::runtime()?.block_on(send_all(notifiers, on, off));
    let failed = lines.iter().any(|line| line.failed);
    let text: String = lines.into_iter().map(|line| line.text).collect();
    terminal::data(&text)?;
    Ok(ExitCode::from(u8::from(failed)))
}

/// What became of a test at one place.
struct Said {
    text: String,
    failed: bool,
}

/// All at once: one that hangs does not hold up the answer of the others.
async fn send_all(notifiers: Vec<Box<dyn Notifier>>, on: Alert, off: Alert) -> Vec<Said> {
    let alerts = Arc::new([on, off]);
    let under_way: Vec<_> = notifiers
        .into_iter()
        .map(|notifier| {
            let alerts = Arc::clone(&alerts);
            tokio::spawn(async move {
                let mut said = Said {
                    text: String::new(),
                    failed: false,
                };
                let [on, off] = &*alerts;
                said.send(&*notifier, on, "firing").await;
                // What did not arrive cannot be over.
                if !said.failed && notifier.send_resolved() {
                    said.send(&*notifier, off, "resolved").await;
                }
                said
            })
        })
        .collect();
    let mut all = Vec::new();
    for one in under_way {
        all.push(one.await.unwrap_or_else(|error| Said {
            text: format!("a test broke off: {error}\n"),
            failed: true,
        }));
    }
    all
}

impl Said {
    async fn send(&mut self, notifier: &dyn Notifier, alert: &Alert, what: &str) {
        let sent = tokio::time::timeout(ATTEMPT_MAX, notifier.notify(alert)).await;
        let became = match sent {
            Ok(Ok(())) => "delivered".to_owned(),
            Ok(Err(error)) => format!("FAILED: {}", error.in_words()),
            Err(_) => format!("FAILED: no answer within {} s", ATTEMPT_MAX.as_secs()),
        };
        self.failed |= became != "delivered";
        self.text
            .push_str(&format!("{}: {what}: {became}\n", notifier.address()));
    }
}
