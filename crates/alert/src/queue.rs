//! What waits for one receiver: the newest state of each incident, and when it is due. No clock and no
//! socket, so that tests walk it by hand.

use std::sync::Arc;
use std::time::Duration;

use crate::{Alert, AlertStatus, Repeat};

/// Alerts kept per receiver; beyond it the oldest is dropped and counted.
const QUEUE_MAX: usize = 1_000;

/// The alerts of one receiver. Times are since some fixed moment.
#[derive(Debug)]
pub(crate) struct Queue {
    entries: Vec<Entry>,
    repeat: Option<Repeat>,
    send_resolved: bool,
    dropped: u64,
}

#[derive(Debug)]
struct Entry {
    alert: Arc<Alert>,
    due: Duration,
    /// Whether this state has reached the receiver.
    delivered: bool,
    /// When the receiver first heard that it is over.
    over_since: Option<Duration>,
}

impl Queue {
    pub(crate) fn new(repeat: Option<Repeat>, send_resolved: bool) -> Self {
        Self {
            entries: Vec::new(),
            repeat,
            send_resolved,
            dropped: 0,
        }
    }

    /// Takes a new state in; it takes the place of an older one of the same incident.
    pub(crate) fn push(&mut self, alert: Arc<Alert>, now: Duration) {
        self.entries
            .retain(|entry| entry.alert.fingerprint != alert.fingerprint);
        if alert.status == AlertStatus::Resolved && !self.send_resolved {
            return;
        }
        // Told once, people need not hear again what they have acknowledged or do not want to hear.
        let known = alert.acknowledged && alert.status == AlertStatus::Firing;
        if self.repeat.is_none() && (known || alert.silenced) {
            return;
        }
        if self.entries.len() >= QUEUE_MAX {
            // What was delivered already is missed least.
            let said = self.entries.iter().position(|entry| entry.delivered);
            let gone = self.entries.remove(said.unwrap_or(0));
            self.dropped += u64::from(!gone.delivered);
        }
        self.entries.push(Entry {
            alert,
            due: now,
            delivered: false,
            over_since: None,
        });
    }

    /// Takes newer figures of an alert that is repeated in any case; nothing becomes due by it.
    pub(crate) fn refresh(&mut self, alert: &Arc<Alert>) {
        let same = |entry: &&mut Entry| {
            entry.alert.fingerprint == alert.fingerprint && entry.alert.status == alert.status
        };
        if self.repeat.is_some()
            && let Some(entry) = self.entries.iter_mut().find(same)
        {
            entry.alert = Arc::clone(alert);
        }
    }

    /// The alert that has been due for longest, and when it is due.
    pub(crate) fn next(&self) -> Option<(Arc<Alert>, Duration)> {
        let first = self.entries.iter().min_by_key(|entry| entry.due)?;
        Some((Arc::clone(&first.alert), first.due))
    }

    /// The receiver took `alert`.
    pub(crate) fn delivered(&mut self, alert: &Arc<Alert>, now: Duration) {
        let Some(at) = self.place(alert) else {
            return;
        };
        let Some(repeat) = &self.repeat else {
            self.entries.remove(at);
            return;
        };
        let entry = &mut self.entries[at];
        entry.delivered = true;
        entry.due = now + repeat.every;
        if alert.status == AlertStatus::Resolved {
            let since = *entry.over_since.get_or_insert(now);
            if now.saturating_sub(since) >= repeat.resolved_for {
                self.entries.remove(at);
            }
        }
    }

    /// The receiver did not take `alert`: another one has its turn first.
    pub(crate) fn failed(&mut self, alert: &Arc<Alert>, now: Duration) {
        if let Some(at) = self.place(alert) {
            self.entries[at].due = now;
            let entry = self.entries.remove(at);
            self.entries.push(entry);
        }
    }

    /// The receiver will never take `alert` as it is.
    pub(crate) fn refused(&mut self, alert: &Arc<Alert>, now: Duration) {
        if let Some(at) = self.place(alert) {
            match &self.repeat {
                // Newer figures may be taken.
                Some(repeat) if alert.status == AlertStatus::Firing => {
                    self.entries[at].due = now + repeat.every;
                }
                _ => {
                    self.entries.remove(at);
                }
            }
        }
    }

    /// Alerts whose state has not reached the receiver.
    pub(crate) fn undelivered(&self) -> Vec<Arc<Alert>> {
        let waiting = self.entries.iter().filter(|entry| !entry.delivered);
        waiting.map(|entry| Arc::clone(&entry.alert)).collect()
    }

    pub(crate) fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Where exactly this state lies; a newer one may have taken its place while it was sent.
    fn place(&self, alert: &Arc<Alert>) -> Option<usize> {
        self.entries
            .iter()
            .position(|entry| Arc::ptr_eq(&entry.alert, alert))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Origin;

    const MINUTE: Duration = Duration::from_secs(60);

    fn alert(fingerprint: &str, status: AlertStatus) -> Arc<Alert> {
        let incident = crate::message::tests::incident();
        Arc::new(Alert {
            status,
            fingerprint: fingerprint.into(),
            ..Alert::of_incident(&incident, &Origin::default())
        })
    }

    fn repeating() -> Queue {
        let repeat = Repeat {
            every: MINUTE,
            resolved_for: 3 * MINUTE,
        };
        Queue::new(Some(repeat), true)
    }

    #[test]
    fn what_people_have_answered_is_not_told_them_again() {
        let firing = alert("a", AlertStatus::Firing);
        let known = Arc::new(Alert {
            acknowledged: true,
            ..Alert::clone(&firing)
        });
        let muted = Arc::new(Alert {
            silenced: true,
            status: AlertStatus::Resolved,
            ..Alert::clone(&firing)
        });
        let over = Arc::new(Alert {
            status: AlertStatus::Resolved,
            ..Alert::clone(&known)
        });
        for (name, told, chat, alertmanager) in [
            ("a new incident", &firing, 1, 1),
            ("an acknowledged one goes on", &known, 0, 1),
            ("an acknowledged one ends", &over, 1, 1),
            ("a muted one", &muted, 0, 1),
        ] {
            for (mut queue, wanted) in [(Queue::new(None, true), chat), (repeating(), alertmanager)]
            {
                queue.push(Arc::clone(&firing), Duration::ZERO);
                queue.push(Arc::clone(told), Duration::ZERO);
                assert_eq!(queue.undelivered().len(), wanted, "{name}");
            }
        }
    }

    #[test]
    fn the_newest_state_replaces_an_older_one() {
        let mut queue = Queue::new(None, true);
        let firing = alert("a", AlertStatus::Firing);
        queue.push(Arc::clone(&firing), Duration::ZERO);
        queue.push(alert("a", AlertStatus::Resolved), MINUTE);
        // The old one arrives after all while the new one waits.
        queue.delivered(&firing, MINUTE);
        let (next, _) = queue.next().unwrap();
        assert_eq!(next.status, AlertStatus::Resolved);
        queue.delivered(&next, MINUTE);
        assert!(queue.next().is_none(), "once is enough");
    }

    #[test]
    fn a_standing_alert_is_repeated_and_its_end_for_a_while() {
        let mut queue = repeating();
        queue.push(alert("a", AlertStatus::Firing), Duration::ZERO);
        for round in 0..10 {
            let (next, due) = queue.next().unwrap();
            assert_eq!(due, round * MINUTE);
            queue.delivered(&next, due);
        }
        queue.push(alert("a", AlertStatus::Resolved), 10 * MINUTE);
        let mut rounds = 0;
        while let Some((next, due)) = queue.next() {
            rounds += 1;
            queue.delivered(&next, due);
        }
        assert_eq!(rounds, 4, "at once and for three minutes");
    }

    #[test]
    fn newer_figures_go_with_the_next_repetition() {
        let mut queue = repeating();
        queue.push(alert("a", AlertStatus::Firing), Duration::ZERO);
        let (first, _) = queue.next().unwrap();
        queue.delivered(&first, Duration::ZERO);
        let newer = alert("a", AlertStatus::Firing);
        queue.refresh(&newer);
        let (next, due) = queue.next().unwrap();
        assert!(Arc::ptr_eq(&next, &newer) && due == MINUTE);
        let mut once = Queue::new(None, true);
        once.refresh(&newer);
        assert!(once.next().is_none());
    }

    #[test]
    fn what_fails_lets_others_go_first() {
        let mut queue = Queue::new(None, true);
        let [a, b] = ["a", "b"].map(|name| alert(name, AlertStatus::Firing));
        queue.push(Arc::clone(&a), Duration::ZERO);
        queue.push(Arc::clone(&b), Duration::ZERO);
        queue.failed(&a, MINUTE);
        assert!(Arc::ptr_eq(&queue.next().unwrap().0, &b));
        queue.refused(&b, MINUTE);
        assert!(Arc::ptr_eq(&queue.next().unwrap().0, &a));
    }

    #[test]
    fn a_receiver_of_no_resolved_ones_gets_none() {
        let mut queue = Queue::new(None, false);
        queue.push(alert("a", AlertStatus::Firing), Duration::ZERO);
        queue.push(alert("a", AlertStatus::Resolved), Duration::ZERO);
        assert!(queue.next().is_none(), "what nobody heard of is over");
    }

    #[test]
    fn it_is_bounded_and_drops_what_was_said_first() {
        let mut queue = repeating();
        for number in 0..QUEUE_MAX {
            queue.push(alert(&number.to_string(), AlertStatus::Firing), MINUTE);
        }
        let said = Arc::clone(&queue.entries[500].alert);
        queue.delivered(&said, MINUTE);
        queue.push(alert("one more", AlertStatus::Firing), MINUTE);
        assert_eq!((queue.entries.len(), queue.dropped()), (QUEUE_MAX, 0));
        queue.push(alert("and one", AlertStatus::Firing), MINUTE);
        assert_eq!((queue.entries.len(), queue.dropped()), (QUEUE_MAX, 1));
        assert_eq!(queue.undelivered()[0].fingerprint, "1");
    }
}
