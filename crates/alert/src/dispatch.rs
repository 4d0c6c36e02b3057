//! Delivers alerts: every notifier has a queue and a pace of its own, so that one which hangs holds up
//! nobody else. What fails is tried again with growing pauses.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use crate::queue::Queue;
use crate::{Address, Alert, AlertStatus, Notifier, NotifyError};

const PAUSE_MIN: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(300);
/// Notifiers have shorter deadlines of their own; this one holds whatever they do.
const ATTEMPT_MAX: Duration = Duration::from_secs(120);

/// How one notifier fares.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Delivery {
    /// Messages delivered.
    pub delivered: u64,
    /// Attempts that failed.
    pub failed: u64,
    /// Alerts given up because the receiver will never take them.
    pub refused: u64,
    /// Alerts dropped because too many waited.
    pub dropped: u64,
    /// Alerts whose newest state has not been delivered.
    pub waiting: u64,
    /// What the last failed attempt said; empty once something was delivered again.
    pub trouble: String,
}

/// Hands alerts to all notifiers. Dropping it ends them.
pub struct Dispatcher {
    lanes: Vec<Lane>,
    attempts: Arc<AtomicU64>,
}

struct Lane {
    address: Address,
    line: Arc<Line>,
    delivery: watch::Receiver<Delivery>,
    task: tokio::task::JoinHandle<()>,
}

/// A queue, and a bell for whoever works it off.
struct Line {
    queue: Mutex<Queue>,
    changed: tokio::sync::Notify,
    started: Instant,
    attempts: Arc<AtomicU64>,
}

impl Dispatcher {
    /// Starts a task for each notifier.
    #[must_use]
    pub fn start(notifiers: Vec<Box<dyn Notifier>>) -> Self {
        let attempts = Arc::default();
        let start = |notifier| start_lane(notifier, Arc::clone(&attempts));
        Self {
            lanes: notifiers.into_iter().map(start).collect(),
            attempts,
        }
    }

    /// Attempts so far: [`Dispatcher::deliveries`] says something new when this has changed.
    #[must_use]
    pub fn attempts(&self) -> u64 {
        self.attempts.load(Ordering::Relaxed)
    }

    /// Queues `alert` for every notifier; never waits.
    pub fn send(&self, alert: Alert) {
        let alert = Arc::new(alert);
        for lane in &self.lanes {
            lane.line.push(Arc::clone(&alert));
        }
    }

    /// Has newer figures of an alert that was sent go with its next repetition, where it is repeated.
    pub fn refresh(&self, alert: Alert) {
        let alert = Arc::new(alert);
        for lane in &self.lanes {
            lane.line.lock().refresh(&alert);
        }
    }

    /// Takes over the ends of incidents that `old` could not deliver, way by way; an address may have
    /// been mended. Open incidents are sent anew by whoever replaces it.
    pub fn take_over(&self, old: &Self) {
        for lane in &self.lanes {
            let (receiver, integration) = (&lane.address.receiver, lane.address.integration);
            let same = old.lanes.iter().filter(|old| {
                old.address.receiver == *receiver && old.address.integration == integration
            });
            let waiting = same.flat_map(|old| old.line.lock().undelivered());
            for over in waiting.filter(|alert| alert.status == AlertStatus::Resolved) {
                lane.line.push(over);
            }
        }
    }

    /// Each notifier and how it fares.
    #[must_use]
    pub fn deliveries(&self) -> Vec<(Address, Delivery)> {
        let fares = |lane: &Lane| {
            let queue = lane.line.lock();
            let delivery = Delivery {
                dropped: queue.dropped(),
                waiting: queue.undelivered().len() as u64,
                ..lane.delivery.borrow().clone()
            };
            (lane.address.clone(), delivery)
        };
        self.lanes.iter().map(fares).collect()
    }
}

impl Drop for Dispatcher {
    fn drop(&mut self) {
        for lane in &self.lanes {
            lane.task.abort();
        }
    }
}

impl Line {
    fn push(&self, alert: Arc<Alert>) {
        self.lock().push(alert, self.now());
        self.changed.notify_one();
    }

    /// Waits for the next alert that is due.
    async fn due(&self) -> Arc<Alert> {
        loop {
            let next = self.lock().next();
            match next {
                Some((alert, due)) if due <= self.now() => return alert,
                Some((_, due)) => tokio::select! {
                    () = tokio::time::sleep_until(self.started + due) => {}
                    () = self.changed.notified() => {}
                },
                None => self.changed.notified().await,
            }
        }
    }

    fn now(&self) -> Duration {
        self.started.elapsed()
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn start_lane(notifier: Box<dyn Notifier>, attempts: Arc<AtomicU64>) -> Lane {
    let line = Arc::new(Line {
        queue: Mutex::new(Queue::new(notifier.repeat(), notifier.send_resolved())),
        changed: tokio::sync::Notify::new(),
        started: Instant::now(),
        attempts,
    });
    let (publish, delivery) = watch::channel(Delivery::default());
    let address = notifier.address().clone();
    let task = tokio::spawn(deliver(notifier, Arc::clone(&line), publish));
    Lane {
        address,
        line,
        delivery,
        task,
    }
}

async fn deliver(notifier: Box<dyn Notifier>, line: Arc<Line>, report: watch::Sender<Delivery>) {
    let mut pause = PAUSE_MIN;
    // Whoever is told again and again is not left alone for longer than that.
    let pause_max = notifier.repeat().map_or(PAUSE_MAX, |repeat| repeat.every);
    loop {
        let alert = line.due().await;
        let Err(error) = attempt(&*notifier, &alert).await else {
            line.lock().delivered(&alert, line.now());
            pause = PAUSE_MIN;
            report.send_modify(|d| {
                d.delivered += 1;
                d.trouble.clear();
            });
            line.attempts.fetch_add(1, Ordering::Relaxed);
            continue;
        };
        let trouble = error.in_words();
        let permanent = error.is_permanent();
        tracing::warn!(receiver = %notifier.address(), %trouble, permanent, "alert not delivered");
        report.send_modify(|d| {
            d.failed += 1;
            d.refused += u64::from(permanent);
            d.trouble = trouble;
        });
        line.attempts.fetch_add(1, Ordering::Relaxed);
        if permanent {
            line.lock().refused(&alert, line.now());
            continue;
        }
        line.lock().failed(&alert, line.now());
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(pause_max);
    }
}

async fn attempt(notifier: &dyn Notifier, alert: &Alert) -> Result<(), NotifyError> {
    let with_profile;
    let alert = if notifier.carries_profile() && alert.heap_profile.is_some() {
        with_profile = alert.with_heap_profile().await;
        &with_profile
    } else {
        alert
    };
    let sent = tokio::time::timeout(ATTEMPT_MAX, notifier.notify(alert)).await;
    sent.unwrap_or_else(|_| Err(NotifyError::late(&notifier.address().to, ATTEMPT_MAX)))
}

#[cfg(test)]
mod tests {
    use model::series::BoxFuture;

    use super::*;
    use crate::{Origin, Repeat};

    /// Refuses the first `failures` attempts, then remembers what it gets.
    #[derive(Clone)]
    struct Flaky {
        address: Address,
        failures: Arc<Mutex<u32>>,
        got: Arc<Mutex<Vec<Alert>>>,
        repeat: Option<Repeat>,
        hangs: bool,
    }

    impl Flaky {
        fn new(failures: u32) -> Self {
            Self {
                address: Address::new("team", "flaky", "h"),
                failures: Arc::new(Mutex::new(failures)),
                got: Arc::default(),
                repeat: None,
                hangs: false,
            }
        }
    }

    impl Notifier for Flaky {
        fn address(&self) -> &Address {
            &self.address
        }

        fn repeat(&self) -> Option<Repeat> {
            self.repeat.clone()
        }

        fn notify<'a>(&'a self, alert: &'a Alert) -> BoxFuture<'a, Result<(), NotifyError>> {
            Box::pin(async move {
                if self.hangs {
                    std::future::pending::<()>().await;
                }
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

    fn firing() -> Alert {
        Alert::of_incident(&crate::message::tests::incident(), &Origin::default())
    }

    async fn after(seconds: u64) {
        tokio::time::sleep(Duration::from_secs(seconds)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn what_fails_is_repeated_and_the_newest_state_wins() {
        let notifier = Flaky::new(3);
        let dispatcher = Dispatcher::start(vec![Box::new(notifier.clone())]);
        dispatcher.send(firing());
        tokio::time::sleep(Duration::from_millis(100)).await;
        let delivery = dispatcher.deliveries()[0].1.clone();
        assert_eq!((delivery.failed, delivery.waiting), (1, 1));
        assert_eq!(dispatcher.attempts(), 1);
        assert!(delivery.trouble.contains("refused"), "{delivery:?}");
        let resolved = Alert {
            status: AlertStatus::Resolved,
            ..firing()
        };
        dispatcher.send(resolved.clone());
        after(60).await;
        assert_eq!(
            *notifier.got.lock().unwrap(),
            [resolved],
            "the stale state was never sent"
        );
        let expected = Delivery {
            delivered: 1,
            failed: 3,
            ..Delivery::default()
        };
        assert_eq!(dispatcher.deliveries()[0].1, expected);
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_hangs_holds_up_nobody_and_is_told_of() {
        let mut hanging = Flaky::new(0);
        hanging.hangs = true;
        let good = Flaky::new(0);
        let dispatcher = Dispatcher::start(vec![Box::new(hanging), Box::new(good.clone())]);
        dispatcher.send(firing());
        after(1).await;
        assert_eq!(good.got.lock().unwrap().len(), 1);
        after(ATTEMPT_MAX.as_secs() + 1).await;
        let trouble = &dispatcher.deliveries()[0].1.trouble;
        assert!(trouble.contains("no answer within 120 s"), "{trouble}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_standing_alert_is_sent_each_minute_with_the_newest_figures() {
        let mut notifier = Flaky::new(0);
        notifier.repeat = Some(Repeat {
            every: Duration::from_secs(60),
            resolved_for: Duration::from_secs(120),
        });
        let dispatcher = Dispatcher::start(vec![Box::new(notifier.clone())]);
        dispatcher.send(firing());
        after(90).await;
        let mut newer = firing();
        newer.annotations.insert("growth".into(), "more".into());
        dispatcher.refresh(newer);
        after(60).await;
        let got = notifier.got.lock().unwrap();
        let growth: Vec<&str> = got
            .iter()
            .map(|a| a.annotations["growth"].as_str())
            .collect();
        assert_eq!(growth.len(), 3);
        assert_eq!(growth[2], "more");
        assert_eq!(got[0].labels, got[2].labels);
    }

    #[tokio::test(start_paused = true)]
    async fn an_end_that_was_not_delivered_survives_a_reload() {
        let old = Dispatcher::start(vec![Box::new(Flaky::new(u32::MAX))]);
        let over = Alert {
            status: AlertStatus::Resolved,
            fingerprint: "over".into(),
            ..firing()
        };
        old.send(over.clone());
        old.send(firing());
        after(5).await;
        let (mended, mut other) = (Flaky::new(0), Flaky::new(0));
        other.address.receiver = "others".into();
        let new = Dispatcher::start(vec![Box::new(mended.clone()), Box::new(other.clone())]);
        new.take_over(&old);
        after(1).await;
        assert_eq!(*mended.got.lock().unwrap(), [over]);
        assert_eq!(other.got.lock().unwrap().len(), 0, "they have heard it");
    }
}
