//! A bystander: what happens to anybody on this machine at a moment, whoever is captured. Other machines on the same
//! host and other programs make everybody late; what only the captured one suffers is the capture's doing.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

const PERIOD: Duration = Duration::from_millis(1);
/// Who is less late than this is on time.
const NOTED: Duration = Duration::from_micros(500);

/// A time in which somebody should have run and did not, in microseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span {
    /// When it should have run.
    pub from_us: i64,
    /// When it did.
    pub to_us: i64,
}

impl Span {
    /// How long that is.
    #[must_use]
    pub fn ms(self) -> f64 {
        (self.to_us - self.from_us) as f64 / 1e3
    }
}

/// A thread on each processor that wants to run each millisecond, as the services that measure their stalls do.
#[derive(Debug)]
pub struct Bystander {
    late: Arc<Mutex<Vec<Span>>>,
    /// When each thread ran last.
    ran_us: Arc<Vec<AtomicI64>>,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Bystander {
    /// Starts it.
    ///
    /// # Panics
    /// When the kernel does not tell which processors there are.
    #[must_use]
    pub fn start() -> Self {
        let all = sched_getaffinity(None).expect("the processors that we may run on");
        let all: Vec<usize> = (0..CpuSet::MAX_CPU)
            .filter(|cpu| all.is_set(*cpu))
            .collect();
        let (late, stop) = (Arc::default(), Arc::default());
        let ran_us: Arc<Vec<AtomicI64>> = Arc::new(all.iter().map(|_| AtomicI64::new(0)).collect());
        let threads = all.into_iter().enumerate().map(|(at, cpu)| {
            let (late, ran, stop) = (Arc::clone(&late), Arc::clone(&ran_us), Arc::clone(&stop));
            std::thread::spawn(move || tick(cpu, &late, &ran[at], &stop))
        });
        let threads = threads.collect();
        Self {
            late,
            ran_us,
            stop,
            threads,
        }
    }

    /// How long somebody stood still in `span` while the bystander ran, in milliseconds.
    #[must_use]
    pub fn ran_in(&self, span: Span) -> f64 {
        span.ms() - shared(span, self.late_by(span))
    }

    /// The longest that it was late during `what`, in milliseconds.
    pub fn latest_during(&self, what: impl FnOnce()) -> f64 {
        let from_us = now_us();
        what();
        let to_us = now_us();
        let late = self.late_by(Span { from_us, to_us }).into_iter();
        let late = late.filter(|span| span.to_us > from_us && span.from_us < to_us);
        late.map(Span::ms).fold(0.0, f64::max)
    }

    /// When it was late, to the end of `span` at least: who is late at the moment has not noted it yet.
    fn late_by(&self, span: Span) -> Vec<Span> {
        let is_known = |ran: &AtomicI64| ran.load(Ordering::SeqCst) > span.to_us;
        while !self.ran_us.iter().all(is_known) {
            std::thread::sleep(PERIOD);
        }
        let late = self.late.lock().unwrap_or_else(PoisonError::into_inner);
        late.clone()
    }
}

impl Drop for Bystander {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        for thread in self.threads.drain(..) {
            thread.join().expect("a thread of the bystander's");
        }
    }
}

fn tick(cpu: usize, late: &Mutex<Vec<Span>>, ran_us: &AtomicI64, stop: &AtomicBool) {
    let mut only = CpuSet::new();
    only.set(cpu);
    sched_setaffinity(None, &only).expect("a processor that we may run on");
    while !stop.load(Ordering::SeqCst) {
        let (before, before_us) = (Instant::now(), now_us());
        std::thread::sleep(PERIOD);
        let by = before.elapsed().saturating_sub(PERIOD);
        if by >= NOTED {
            let from_us = before_us + micros(PERIOD);
            let to_us = from_us + micros(by);
            let mut late = late.lock().unwrap_or_else(PoisonError::into_inner);
            late.push(Span { from_us, to_us });
        }
        ran_us.store(now_us(), Ordering::SeqCst);
    }
}

fn now_us() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    micros(since.unwrap_or_default())
}

fn micros(time: Duration) -> i64 {
    i64::try_from(time.as_micros()).unwrap_or(i64::MAX)
}

/// How much of `span` lies in any of `others`, in milliseconds.
fn shared(span: Span, mut others: Vec<Span>) -> f64 {
    others.sort_unstable();
    let (mut at_us, mut sum_us) = (span.from_us, 0);
    for other in others {
        let (from_us, to_us) = (other.from_us.max(at_us), other.to_us.min(span.to_us));
        sum_us += (to_us - from_us).max(0);
        at_us = at_us.max(to_us);
    }
    sum_us as f64 / 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_several_share_counts_once() {
        let span = |from_us, to_us| Span { from_us, to_us };
        let rows = [
            ("nobody else", vec![], 0.0),
            (
                "before and after",
                vec![span(0, 900), span(31_000, 40_000)],
                0.0,
            ),
            ("a part", vec![span(0, 6_000)], 5.0),
            ("all of it", vec![span(0, 99_000)], 30.0),
            (
                "two beside each other",
                vec![span(20_000, 22_000), span(2_000, 3_000)],
                3.0,
            ),
            (
                "two at once",
                vec![span(2_000, 6_000), span(3_000, 5_000), span(4_000, 8_000)],
                6.0,
            ),
        ];
        for (name, others, want) in rows {
            assert_eq!(shared(span(1_000, 31_000), others), want, "{name}");
        }
    }

    #[test]
    fn who_sleeps_while_the_bystander_runs_stood_still_alone() {
        let bystander = Bystander::start();
        std::thread::sleep(Duration::from_millis(5));
        let from_us = now_us();
        std::thread::sleep(Duration::from_millis(50));
        let span = Span {
            from_us,
            to_us: now_us(),
        };
        let ms = bystander.ran_in(span);
        assert!(ms > 1.0 && ms <= span.ms(), "{ms} of {} ms", span.ms());
    }
}
