//! The main process's side of a look.

use std::time::{Duration, Instant};

use model::ProcessKey;

use super::{HoldersBudget, HoldersFailure, HoldersLook};
use crate::client::{Reader, unexpected};
use crate::error::ReaderError;
use crate::frame::{Answer, Request};

/// Between two questions whether the look is over.
const ASK_EVERY: Duration = Duration::from_millis(50);
/// The reader ends a look at its time; one that it could not end is given up so much later.
const PATIENCE: Duration = Duration::from_secs(5);

impl Reader {
    /// Starts a look at who holds the heap of one Go process: by a child of the reader's that lives
    /// for this look and may take `budget`, or less where memory is short. The target is never
    /// stopped; what it costs it is the reading of its heap with pointers. Ask
    /// [`Self::poll_holders`] with the number that comes back. One look at a time:
    /// [`HoldersFailure::Busy`] for a second.
    ///
    /// # Errors
    /// As for [`Reader::host`]; what ails the look is in the answer.
    pub fn start_holders(
        &self,
        key: &ProcessKey,
        budget: &HoldersBudget,
    ) -> Result<Result<u64, HoldersFailure>, ReaderError> {
        let request = Request::HoldersStart {
            key: key.clone(),
            budget: *budget,
        };
        match self.call(request)? {
            Answer::HoldersStarted(started) => Ok(started),
            other => Err(unexpected(&other)),
        }
    }

    /// What became of a look; `None` while it goes on, which is not much longer than its budget
    /// has time. The answer is given once.
    ///
    /// # Errors
    /// As for [`Reader::host`]; what ails the look is in the answer.
    pub fn poll_holders(
        &self,
        look: u64,
    ) -> Result<Option<Result<HoldersLook, HoldersFailure>>, ReaderError> {
        match self.call(Request::HoldersPoll { look })? {
            Answer::Holders(said) => Ok(said.map(|said| said.map(|look| *look))),
            other => Err(unexpected(&other)),
        }
    }

    /// Starts a look and waits for it, while other calls go on.
    ///
    /// # Errors
    /// As for [`Reader::host`]; what ails the look is in the answer.
    pub fn holders(
        &self,
        key: &ProcessKey,
        budget: &HoldersBudget,
    ) -> Result<Result<HoldersLook, HoldersFailure>, ReaderError> {
        let look = match self.start_holders(key, budget)? {
            Ok(look) => look,
            Err(failure) => return Ok(Err(failure)),
        };
        let deadline = Instant::now() + budget.time + PATIENCE;
        loop {
            std::thread::sleep(ASK_EVERY);
            if let Some(said) = self.poll_holders(look)? {
                return Ok(said);
            }
            if Instant::now() >= deadline {
                return Ok(Err(HoldersFailure::hangs()));
            }
        }
    }
}
