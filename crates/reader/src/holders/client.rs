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
    /// Looks at who holds the heap of one Go process: by a child of the reader's that lives for
    /// this look and may take `budget`, or less where memory is short. The target is never stopped;
    /// what it costs it is the reading of its heap with pointers. Waits for the answer, while
    /// other calls go on. One look at a time: [`HoldersFailure::Busy`] for a second.
    ///
    /// # Errors
    /// As for [`Reader::host`]; what ails the look is in the answer.
    pub fn holders(
        &self,
        key: &ProcessKey,
        budget: &HoldersBudget,
    ) -> Result<Result<HoldersLook, HoldersFailure>, ReaderError> {
        let request = Request::HoldersStart {
            key: key.clone(),
            budget: *budget,
        };
        let look = match self.call(request)? {
            Answer::HoldersStarted(Ok(look)) => look,
            Answer::HoldersStarted(Err(failure)) => return Ok(Err(failure)),
            other => return Err(unexpected(&other)),
        };
        let deadline = Instant::now() + budget.time + PATIENCE;
        loop {
            std::thread::sleep(ASK_EVERY);
            match self.call(Request::HoldersPoll { look })? {
                Answer::Holders(Some(said)) => return Ok(said.map(|look| *look)),
                Answer::Holders(None) if Instant::now() < deadline => {}
                Answer::Holders(None) => {
                    return Ok(Err(HoldersFailure::Died {
                        how: "it hangs in the kernel".to_owned(),
                    }));
                }
                other => return Err(unexpected(&other)),
            }
        }
    }
}
