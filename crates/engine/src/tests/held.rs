//! A watcher's main loop whose events are handled by the test, one after the other.

use std::sync::Arc;
use std::time::{Duration, Instant};

use model::{Clock, Incident};
use store::Store;
use tokio::sync::{mpsc, watch};

use super::{config, parts};
use crate::main_loop::{Event, MainLoop};
use crate::watch::Shared;
use crate::{Config, SystemClock};

/// A main loop, which does what the test has it do and nothing by itself.
pub(super) struct Held {
    pub(super) main: MainLoop,
    inbox: mpsc::Receiver<Event>,
    store: Arc<Store>,
    _dir: tempfile::TempDir,
}

impl Held {
    pub(super) fn new(config: Config, clock: Arc<dyn Clock>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let parts = parts(dir.path(), config, clock);
        let store = Arc::clone(&parts.store);
        let (events, inbox) = mpsc::channel(64);
        let shared = Arc::new(Shared::new(Arc::clone(&store)));
        let (version, _) = watch::channel(0);
        let main = MainLoop::new(parts, shared, events, version).unwrap();
        Self {
            main,
            inbox,
            store,
            _dir: dir,
        }
    }

    /// One that watches nothing.
    pub(super) fn idle() -> Self {
        let nothing = config("discovery: {local_processes: false}\n");
        Self::new(nothing, Arc::new(SystemClock::default()))
    }

    /// Handles what comes until nothing more does.
    pub(super) async fn settle(&mut self) {
        let quiet = Duration::from_millis(500);
        while let Ok(Some(event)) = tokio::time::timeout(quiet, self.inbox.recv()).await {
            self.main.handle(event);
        }
    }

    /// Handles what comes until the watcher is as `done` has it; each moment `again` happens first.
    pub(super) async fn until(
        &mut self,
        what: &str,
        mut again: impl FnMut(&mut MainLoop),
        done: impl Fn(&MainLoop) -> bool,
    ) {
        const MOMENT: Duration = Duration::from_millis(50);
        let (started, mut next) = (Instant::now(), Instant::now());
        while !done(&self.main) {
            let incidents: Vec<_> = self.main.book.latest().collect();
            assert!(
                started.elapsed() < Duration::from_secs(20),
                "waited in vain for {what}: {incidents:#?}"
            );
            if Instant::now() >= next {
                next = Instant::now() + MOMENT;
                again(&mut self.main);
            }
            if let Ok(Some(event)) = tokio::time::timeout(MOMENT, self.inbox.recv()).await {
                self.main.handle(event);
            }
        }
    }

    /// The incidents as they lie on the disk, the watcher having ended.
    pub(super) fn incidents(self) -> Vec<Incident> {
        drop(self.main);
        self.store.incidents()
    }

    /// The one incident, as it lies on the disk.
    pub(super) fn the_incident(self) -> Incident {
        let incidents = self.incidents();
        assert_eq!(incidents.len(), 1, "{incidents:#?}");
        incidents[0].clone()
    }
}
