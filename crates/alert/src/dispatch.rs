//! Delivers alerts: every notifier gets every change, in order, and what fails is tried again with
//! growing pauses, the newest state of an incident replacing an older one that still waits.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::{Alert, Notifier, NotifyError};

const PAUSE_MIN: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(300);
/// Undelivered alerts kept per notifier; beyond it the oldest is dropped and counted.
const QUEUE_MAX: usize = 1_000;

/// How one notifier fares.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Delivery {
    /// Alerts delivered.
    pub delivered: u64,
    /// Attempts that failed.
    pub failed: u64,
    /// Alerts given up because the receiver will never take them.
    pub refused: u64,
    /// Alerts dropped because too many waited.
    pub dropped: u64,
    /// What the last failed attempt said; empty once something was delivered again.
    pub trouble: String,
}

/// Hands alerts to all notifiers, each with a queue and a pace of its own. Dropping it ends them.
pub struct Dispatcher {
    lanes: Vec<Lane>,
}

struct Lane {
    name: String,
    queue: Arc<Queue>,
    delivery: watch::Receiver<Delivery>,
    task: tokio::task::JoinHandle<()>,
}

#[derive(Default)]
struct Queue {
    waiting: std::sync::Mutex<(Vec<Alert>, u64)>,
    changed: tokio::sync::Notify,
}

impl Dispatcher {
    /// Starts a task for each notifier.
    #[must_use]
    pub fn start(notifiers: Vec<Box<dyn Notifier>>) -> Self {
        Self {
            lanes: notifiers.into_iter().map(start_lane).collect(),
        }
    }

    /// Queues `alert` for every notifier; never waits.
    pub fn send(&self, alert: &Alert) {
        for lane in &self.lanes {
            lane.queue.push(alert.clone());
        }
    }

    /// Each notifier's name and how it fares.
    #[must_use]
    pub fn deliveries(&self) -> Vec<(String, Delivery)> {
        self.lanes
            .iter()
            .map(|l| (l.name.clone(), l.delivery.borrow().clone()))
            .collect()
    }
}

impl Drop for Dispatcher {
    fn drop(&mut self) {
        for lane in &self.lanes {
            lane.task.abort();
        }
    }
}

impl Queue {
    fn push(&self, alert: Alert) {
        {
            let mut waiting = self.lock();
            waiting.0.retain(|old| old.fingerprint != alert.fingerprint);
            if waiting.0.len() >= QUEUE_MAX {
                waiting.0.remove(0);
                waiting.1 += 1;
            }
            waiting.0.push(alert);
        }
        self.changed.notify_one();
    }

    async fn oldest(&self) -> Alert {
        loop {
            if let Some(alert) = self.lock().0.first().cloned() {
                return alert;
            }
            self.changed.notified().await;
        }
    }

    /// Takes `alert` out, unless a newer state of its incident has replaced it meanwhile.
    fn done(&self, alert: &Alert) -> u64 {
        let mut waiting = self.lock();
        if waiting.0.first() == Some(alert) {
            waiting.0.remove(0);
        }
        waiting.1
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, (Vec<Alert>, u64)> {
        self.waiting
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

fn start_lane(notifier: Box<dyn Notifier>) -> Lane {
    let queue = Arc::new(Queue::default());
    let (publish, delivery) = watch::channel(Delivery::default());
    let name = notifier.name().to_owned();
    let task = tokio::spawn(deliver(notifier, Arc::clone(&queue), publish));
    Lane {
        name,
        queue,
        delivery,
        task,
    }
}

async fn deliver(notifier: Box<dyn Notifier>, queue: Arc<Queue>, report: watch::Sender<Delivery>) {
    let mut pause = PAUSE_MIN;
    loop {
        let alert = queue.oldest().await;
        match notifier.notify(&alert).await {
            Ok(()) => {
                let dropped = queue.done(&alert);
                pause = PAUSE_MIN;
                report.send_modify(|d| {
                    *d = Delivery {
                        delivered: d.delivered + 1,
                        dropped,
                        trouble: String::new(),
                        ..*d
                    };
                });
            }
            Err(error) => {
                let cause = std::error::Error::source(&error).map(ToString::to_string);
                let trouble = cause.map_or(error.to_string(), |cause| format!("{error}: {cause}"));
                tracing::warn!(notifier = notifier.name(), %trouble, "alert not delivered yet");
                let permanent = matches!(
                    error,
                    NotifyError::Receiver {
                        permanent: true,
                        ..
                    }
                );
                report.send_modify(|d| {
                    d.failed += 1;
                    d.refused += u64::from(permanent);
                    d.trouble = trouble;
                });
                if permanent {
                    queue.done(&alert);
                    continue;
                }
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(PAUSE_MAX);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use model::series::BoxFuture;

    use super::*;
    use crate::{AlertStatus, Links, NotifyError};

    /// Refuses the first `failures` attempts, then remembers what it gets.
    #[derive(Clone, Default)]
    struct Flaky {
        failures: Arc<Mutex<u32>>,
        got: Arc<Mutex<Vec<Alert>>>,
    }

    impl Notifier for Flaky {
        fn name(&self) -> &str {
            "flaky"
        }

        fn notify<'a>(&'a self, alert: &'a Alert) -> BoxFuture<'a, Result<(), NotifyError>> {
            Box::pin(async move {
                let mut failures = self.failures.lock().unwrap();
                if *failures > 0 {
                    *failures -= 1;
                    return Err(std::io::Error::other("refused").into());
                }
                self.got.lock().unwrap().push(alert.clone());
                Ok(())
            })
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_fails_is_repeated_and_the_newest_state_wins() {
        let notifier = Flaky::default();
        *notifier.failures.lock().unwrap() = 3;
        let dispatcher = Dispatcher::start(vec![Box::new(notifier.clone())]);
        let firing = Alert::of_incident(&crate::message::tests::incident(), &Links::default());
        dispatcher.send(&firing);
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert_eq!(dispatcher.deliveries()[0].1.failed, 1);
        let resolved = Alert {
            status: AlertStatus::Resolved,
            ..firing
        };
        dispatcher.send(&resolved);
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!(
            *notifier.got.lock().unwrap(),
            [resolved],
            "the stale state was never sent"
        );
        let delivery = &dispatcher.deliveries()[0].1;
        assert_eq!(
            (
                delivery.delivered,
                delivery.failed,
                delivery.trouble.as_str()
            ),
            (1, 3, "")
        );
    }
}
