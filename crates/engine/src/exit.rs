//! A process's end, noticed when it comes.

use std::sync::LazyLock;

use model::ProcessKey;
use reader::{Exits, WaitedFor};
use tokio::sync::oneshot;

/// One for the whole process: it has a thread. Without it the next round or discovery notices an end.
static EXITS: LazyLock<Option<Exits>> = LazyLock::new(|| Exits::start().ok());

/// The end of one process.
pub(crate) struct Exit {
    told: Option<oneshot::Receiver<()>>,
    _waited_for: Option<WaitedFor>,
}

impl Exit {
    /// Of no process here, or of one that cannot be waited for: it never comes.
    pub(crate) fn of(process: Option<&ProcessKey>) -> Self {
        let (tell, told) = oneshot::channel();
        let exits = process.zip(EXITS.as_ref());
        let waited_for = exits.and_then(|(process, exits)| {
            // An error means that nobody listens any more.
            let tell = move || {
                let _ = tell.send(());
            };
            exits.when_ended(process, tell).ok()
        });
        Self {
            told: waited_for.is_some().then_some(told),
            _waited_for: waited_for,
        }
    }

    /// Waits until it has ended; for good, once that was told.
    pub(crate) async fn comes(&mut self) {
        let said = match &mut self.told {
            Some(told) => told.await,
            None => std::future::pending().await,
        };
        self.told = None;
        if said.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
