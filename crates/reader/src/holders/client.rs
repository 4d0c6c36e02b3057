//! The main process's side of a look.

use std::time::{Duration, Instant};

use model::ProcessKey;

use super::{Found, HoldersBudget, HoldersFailure, LookAt};
use crate::client::{Reader, unexpected};
use crate::error::ReaderError;
use crate::frame::{Answer, Request};

/// Between two questions whether the look is over.
const ASK_EVERY: Duration = Duration::from_millis(50);
/// The reader ends a look at its time; one that it could not end is given up so much later.
const PATIENCE: Duration = Duration::from_secs(5);

impl Reader {
    /// Starts a look at one Go process: by a child of the reader's that lives for this look and may take `budget`,
    /// or less where memory is short. The target is never stopped; what it costs it is the reading of its heap with
    /// pointers, or of its goroutines' stacks. Ask [`Self::poll_look`] with the number that comes back. One look at
    /// a time: [`HoldersFailure::Busy`] for a second.
    ///
    /// # Errors
    /// As for [`Reader::host`]; what ails the look is in the answer.
    pub fn start_look(
        &self,
        key: &ProcessKey,
        at: LookAt,
        budget: &HoldersBudget,
    ) -> Result<Result<u64, HoldersFailure>, ReaderError> {
        let request = Request::LookStart {
            key: key.clone(),
            at,
            budget: *budget,
        };
        match self.call(request)? {
            Answer::LookStarted(started) => Ok(started),
            other => Err(unexpected(&other)),
        }
    }

    /// What became of a look; `None` while it goes on, which is not much longer than its budget
    /// has time. The answer is given once.
    ///
    /// # Errors
    /// As for [`Reader::host`]; what ails the look is in the answer.
    pub fn poll_look(
        &self,
        look: u64,
    ) -> Result<Option<Result<Found, HoldersFailure>>, ReaderError> {
        match self.call(Request::LookPoll { look })? {
            Answer::Looked(said) => Ok(said),
            other => Err(unexpected(&other)),
        }
    }

    /// Starts a look and waits for it, while other calls go on.
    ///
    /// # Errors
    /// As for [`Reader::host`]; what ails the look is in the answer.
    pub fn look(
        &self,
        key: &ProcessKey,
        at: LookAt,
        budget: &HoldersBudget,
    ) -> Result<Result<Found, HoldersFailure>, ReaderError> {
        let look = match self.start_look(key, at, budget)? {
            Ok(look) => look,
            Err(failure) => return Ok(Err(failure)),
        };
        let deadline = Instant::now() + budget.time + PATIENCE;
        loop {
            std::thread::sleep(ASK_EVERY);
            if let Some(said) = self.poll_look(look)? {
                return Ok(said);
            }
            if Instant::now() >= deadline {
                return Ok(Err(HoldersFailure::hangs()));
            }
        }
    }
}
