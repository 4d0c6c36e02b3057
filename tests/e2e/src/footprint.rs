//! How much memory the watcher takes, all of its processes together.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::process::children_of;

const BETWEEN: Duration = Duration::from_millis(300);

/// Looks again and again, until it is asked.
#[derive(Debug)]
pub struct Footprint {
    most: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Footprint {
    /// Of a process, its children and theirs.
    #[must_use]
    pub fn of(pid: u32) -> Self {
        let (most, stop) = (
            Arc::new(AtomicU64::new(0)),
            Arc::new(AtomicBool::new(false)),
        );
        let (seen, stopped) = (Arc::clone(&most), Arc::clone(&stop));
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::SeqCst) {
                seen.fetch_max(pss_bytes(pid), Ordering::SeqCst);
                std::thread::sleep(BETWEEN);
            }
        });
        Self {
            most,
            stop,
            thread: Some(thread),
        }
    }

    /// The most that was seen, in bytes of `Pss`.
    #[must_use]
    pub fn most_bytes(&self) -> u64 {
        self.most.load(Ordering::SeqCst)
    }
}

impl Drop for Footprint {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn pss_bytes(pid: u32) -> u64 {
    let rollup = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:"));
    let kib = line.and_then(|line| {
        line.trim()
            .trim_end_matches("kB")
            .trim()
            .parse::<u64>()
            .ok()
    });
    let below: u64 = children_of(pid).into_iter().map(pss_bytes).sum();
    kib.unwrap_or(0) * 1024 + below
}
