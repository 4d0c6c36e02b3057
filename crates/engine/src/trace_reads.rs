//! Reads a target's log of gctrace lines without waiting for a disk that hangs: each reading is a thread
//! of its own, for which nobody waits longer than for an endpoint.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use collect::TraceLog;
use tokio::sync::oneshot;
use wire::Scrape;

/// Readings at a time of all targets: those that hang keep their threads for as long as their disks hang.
const READINGS_MAX: usize = 128;
/// Never waited longer for a log, which lies on this host.
const WAIT_MAX: Duration = Duration::from_secs(2);

static READINGS: AtomicUsize = AtomicUsize::new(0);

/// What is read of a log.
pub(crate) trait Log: Send + 'static {
    /// What its latest lines say. Blocks for as long as a file system does.
    fn read(&mut self) -> Result<Scrape, String>;
    /// Which it is, for people.
    fn place(&self) -> String;
}

impl Log for TraceLog {
    fn read(&mut self) -> Result<Scrape, String> {
        TraceLog::read(self).map_err(|error| self.in_words(&error))
    }

    fn place(&self) -> String {
        TraceLog::place(self)
    }
}

type Read<L> = (Result<Scrape, String>, L);

/// A log that is read at most once at a time.
pub(crate) struct TraceReads<L = TraceLog> {
    place: String,
    wait: Duration,
    state: State<L>,
}

enum State<L> {
    Idle(Box<L>),
    /// A thread has it, since then.
    Reading(Duration, oneshot::Receiver<Read<L>>),
    /// The thread has died with it.
    Lost,
}

impl<L: Log> TraceReads<L> {
    /// Nothing is read yet. A reading is waited for as long as `timeout`, at most.
    pub(crate) fn new(log: L, timeout: Duration) -> Self {
        Self {
            place: log.place(),
            wait: timeout.min(WAIT_MAX),
            state: State::Idle(Box::new(log)),
        }
    }

    /// What the latest lines say. One that hangs is waited for once; from then on it is only asked whether
    /// that reading is over, and no other is begun before. `now` is monotonic.
    ///
    /// # Errors
    /// If it cannot be read, or does not answer: for people.
    pub(crate) async fn read(&mut self, now: Duration) -> Result<Scrape, String> {
        let (since, mut answer, wait) = match std::mem::replace(&mut self.state, State::Lost) {
            State::Idle(log) => (now, self.begin(log)?, self.wait),
            State::Reading(since, answer) => (since, answer, Duration::ZERO),
            State::Lost => return Err(self.lost()),
        };
        match tokio::time::timeout(wait, &mut answer).await {
            Ok(Ok((read, log))) => {
                self.state = State::Idle(Box::new(log));
                read
            }
            Ok(Err(_)) => Err(self.lost()),
            Err(_) => {
                self.state = State::Reading(since, answer);
                let hung = now.saturating_sub(since).max(self.wait);
                Err(format!(
                    "failed to read {}: it has not answered for {:.0} s, so its disk may hang; the target is \
                     read from everything else, and the log again once it answers",
                    self.place,
                    hung.as_secs_f64()
                ))
            }
        }
    }

    fn begin(&mut self, mut log: Box<L>) -> Result<oneshot::Receiver<Read<L>>, String> {
        let Some(counted) = Counted::new() else {
            self.state = State::Idle(log);
            let place = &self.place;
            return Err(format!(
                "{place} is not read: {READINGS_MAX} other logs are being read, and do not answer"
            ));
        };
        let (done, answer) = oneshot::channel();
        let work = move || {
            let read = log.read();
            drop(counted);
            // Nobody waits any more where the target is not watched any more.
            let _ = done.send((read, *log));
        };
        // Not one of the runtime's threads: they are few, and it would wait for them at its end.
        let thread = std::thread::Builder::new().name("trace-log".into());
        match thread.spawn(work) {
            Ok(_) => Ok(answer),
            Err(error) => Err(self.no_thread(&error)),
        }
    }

    fn no_thread(&self, error: &io::Error) -> String {
        format!(
            "{} is not read any more: failed to start a thread: {error}; reload the configuration to try \
             again",
            self.place
        )
    }

    fn lost(&self) -> String {
        format!(
            "{} is not read any more: reading it has failed for good; reload the configuration to try again",
            self.place
        )
    }
}

/// One of the readings under way.
struct Counted;

impl Counted {
    fn new() -> Option<Self> {
        let is_room = |readings: usize| (readings < READINGS_MAX).then_some(readings + 1);
        let added = READINGS.fetch_update(Ordering::SeqCst, Ordering::SeqCst, is_room);
        added.is_ok().then_some(Self)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        READINGS.fetch_sub(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Instant;

    use super::*;

    /// Answers when the test says so, as a disk that hangs.
    struct Hangs {
        go_on: mpsc::Receiver<()>,
        began: mpsc::Sender<()>,
    }

    impl Log for Hangs {
        fn read(&mut self) -> Result<Scrape, String> {
            // The test may be over.
            let _ = self.began.send(());
            let _ = self.go_on.recv();
            Ok(Scrape::default())
        }

        fn place(&self) -> String {
            "/var/log/shop.err".into()
        }
    }

    #[tokio::test]
    async fn a_log_that_hangs_is_waited_for_once_and_read_again_when_it_answers() {
        let (answer, go_on) = mpsc::channel();
        let (began, begun) = mpsc::channel();
        let wait = Duration::from_millis(200);
        let mut reads = TraceReads::new(Hangs { go_on, began }, wait);
        let seconds = Duration::from_secs;
        answer.send(()).unwrap();
        assert!(reads.read(seconds(0)).await.is_ok());
        let before = Instant::now();
        let why = reads.read(seconds(10)).await.unwrap_err();
        assert!(before.elapsed() >= wait, "it has its time");
        assert!(why.contains("/var/log/shop.err"), "{why}");
        let before = Instant::now();
        for at in [15, 20, 25] {
            let why = reads.read(seconds(at)).await.unwrap_err();
            let hung = format!("not answered for {} s", at - 10);
            assert!(why.contains(&hung), "{why}");
        }
        assert!(before.elapsed() < wait, "nobody waits for it again");
        assert_eq!(begun.try_iter().count(), 2, "no other reading began");
        answer.send(()).unwrap();
        answer.send(()).unwrap();
        let again = Instant::now();
        while reads.read(seconds(30)).await.is_err() {
            assert!(again.elapsed() < seconds(30), "never read again");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert!(reads.read(seconds(31)).await.is_ok());
    }

    /// Dies while it is read.
    struct Dies;

    impl Log for Dies {
        fn read(&mut self) -> Result<Scrape, String> {
            panic!("a test's own");
        }

        fn place(&self) -> String {
            "/a".into()
        }
    }

    #[tokio::test]
    async fn a_reading_that_dies_is_said() {
        let mut reads = TraceReads::new(Dies, Duration::from_secs(30));
        for _ in 0..2 {
            let why = reads.read(Duration::ZERO).await.unwrap_err();
            assert!(why.contains("not read any more"), "{why}");
        }
    }
}
