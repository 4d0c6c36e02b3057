//! `watch`: the daemon. [`Watcher::start`] begins it; what it returns is how faces read it, hand it
//! commands, and learn that something changed.

use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

use alert::{Dispatcher, Notifier, Stdout};
use collect::Source;
use model::series::BoxFuture;
use model::{Command, CommandOutcome, Commands, FleetRead, FleetView, IncidentId};
use store::Store;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use crate::config::Config;
use crate::main_loop::{Event, MainLoop};
use crate::writer::NotWritten;

/// Commands that may wait for the main loop.
const COMMANDS_MAX: usize = 16;
const EVENTS_MAX: usize = 1_024;

/// What a watcher is made of.
pub struct Parts {
    /// The settings.
    pub config: Config,
    /// Where they came from, to be read again.
    pub config_path: Option<PathBuf>,
    /// Where everything is kept.
    pub data_dir: PathBuf,
    /// The store in it.
    pub store: Arc<Store>,
    /// How targets are read.
    pub source: Source,
    /// The host that is watched.
    pub host: reader::Host,
    /// The version to show.
    pub version: String,
    /// Who is told of incidents: [`Config::notifiers`].
    pub notifiers: Vec<Box<dyn Notifier>>,
    /// Whether alerts may go to standard output, which a live screen may occupy.
    pub stdout_alerts: bool,
}

/// A running watcher, as faces see it. Cloning shares it.
#[derive(Clone)]
pub struct Watcher {
    shared: Arc<Shared>,
    events: mpsc::Sender<Event>,
    changed: watch::Receiver<u64>,
}

/// What the main loop publishes.
pub(crate) struct Shared {
    view: RwLock<Arc<FleetView>>,
    store: Arc<Store>,
}

impl Shared {
    pub(crate) fn new(store: Arc<Store>) -> Self {
        Self {
            view: RwLock::default(),
            store,
        }
    }

    pub(crate) fn publish(&self, view: FleetView) {
        *self.view.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(view);
    }
}

impl Watcher {
    /// Starts the main loop. It ends when `stop` changes, with everything written, or with [`NotWritten`] from a
    /// disk that hangs.
    ///
    /// # Errors
    /// If the writing thread cannot be started.
    pub fn start(
        parts: Parts,
        stop: watch::Receiver<bool>,
    ) -> std::io::Result<(Self, JoinHandle<Result<(), NotWritten>>)> {
        let (events, inbox) = mpsc::channel(EVENTS_MAX);
        let (version, changed) = watch::channel(0);
        let shared = Arc::new(Shared::new(Arc::clone(&parts.store)));
        let main = MainLoop::new(parts, Arc::clone(&shared), events.clone(), version)?;
        let task = tokio::spawn(main.run(inbox, stop));
        Ok((
            Self {
                shared,
                events,
                changed,
            },
            task,
        ))
    }

    /// Changes whenever a new view is published, to its version.
    #[must_use]
    pub fn changed(&self) -> watch::Receiver<u64> {
        self.changed.clone()
    }
}

impl FleetRead for Watcher {
    fn view(&self) -> Arc<FleetView> {
        Arc::clone(
            &self
                .shared
                .view
                .read()
                .unwrap_or_else(PoisonError::into_inner),
        )
    }

    fn evidence(&self, incident: &IncidentId, name: &str) -> std::io::Result<Option<Vec<u8>>> {
        self.shared.store.read_evidence(incident, name)
    }
}

impl Commands for Watcher {
    fn hand(&self, command: Command) -> BoxFuture<'_, CommandOutcome> {
        Box::pin(async move {
            let waiting = EVENTS_MAX - self.events.capacity();
            if waiting > EVENTS_MAX - COMMANDS_MAX {
                return CommandOutcome::Busy;
            }
            let (answer, outcome) = oneshot::channel();
            if self
                .events
                .try_send(Event::Command(command, answer))
                .is_err()
            {
                return CommandOutcome::Busy;
            }
            outcome.await.unwrap_or(CommandOutcome::Refused {
                reason: "unswept is ending".into(),
            })
        })
    }
}

/// Starts telling `notifiers`, and standard output where it is wanted and free.
pub(crate) fn dispatcher(
    config: &Config,
    mut notifiers: Vec<Box<dyn Notifier>>,
    stdout_alerts: bool,
) -> Dispatcher {
    if config.notify.stdout && stdout_alerts {
        notifiers.push(Box::<Stdout>::default());
    }
    Dispatcher::start(notifiers)
}
