//! Jobs that wait for the thread that writes. Nobody who hands one in ever waits: a disk may hang for
//! minutes, and the main loop has to go on.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use model::{Batch, EvidenceFile, Incident, IncidentId, TargetId};
use tokio::sync::{mpsc, oneshot};

use crate::writer::Stored;

/// Readings and snapshots that may wait: at 20 targets a second, some seconds of a stalled disk.
const OFFERED_MAX: usize = 256;
/// Evidence that waits: some big profiles of several incidents.
const EVIDENCE_BYTES_MAX: usize = 64 << 20;

pub(crate) enum Job {
    Append(Batch),
    Ring(TargetId, Vec<EvidenceFile>),
    Evidence(IncidentId, Vec<EvidenceFile>, mpsc::UnboundedSender<Stored>),
    Incident(Box<Incident>, Vec<oneshot::Sender<bool>>),
}

/// What [`Waiting::next`] found.
pub(crate) enum Next {
    Job(Job),
    /// None came within the time.
    Nothing,
    /// All is done, and no more will come.
    Closed,
}

#[derive(Default)]
pub(crate) struct Waiting {
    state: Mutex<State>,
    came: Condvar,
}

/// What waits, or is being written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Left {
    pub(crate) readings: usize,
    pub(crate) snapshots: usize,
    pub(crate) incidents: usize,
    pub(crate) evidence_files: usize,
}

impl Left {
    fn count(&mut self, job: &Job) {
        match job {
            Job::Append(_) => self.readings += 1,
            Job::Ring(_, files) => self.snapshots += files.len(),
            Job::Incident(..) => self.incidents += 1,
            Job::Evidence(_, files, _) => self.evidence_files += files.len(),
        }
    }
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
    /// What was handed out last: it is being written until the next one is asked for.
    in_hand: Left,
    /// How many of them may be refused.
    offered: usize,
    evidence_bytes: usize,
    closed: bool,
}

impl Waiting {
    /// Takes in what may be lost: readings, of which the next round brings the next. False if too much
    /// waits.
    pub(crate) fn offer(&self, job: Job) -> bool {
        let mut state = self.lock();
        if state.offered >= OFFERED_MAX {
            return false;
        }
        state.offered += 1;
        self.push(state, job);
        true
    }

    /// Takes files in. Where they are too many, whoever waits for them hears that they are lost.
    pub(crate) fn evidence(
        &self,
        incident: IncidentId,
        files: Vec<EvidenceFile>,
        done: mpsc::UnboundedSender<Stored>,
    ) {
        let mut state = self.lock();
        let bytes = bytes_of(&files);
        // What comes alone is taken whatever it has: each file has a bound where it is taken.
        if state.evidence_bytes > 0 && state.evidence_bytes + bytes > EVIDENCE_BYTES_MAX {
            // Nobody waits any more when the watcher is ending.
            let _ = done.send(Stored {
                lost: files.len(),
                ..Stored::default()
            });
            return;
        }
        state.evidence_bytes += bytes;
        self.push(state, Job::Evidence(incident, files, done));
    }

    /// Takes an incident in. It takes the place of an older state of the same one, so there are never
    /// more than there are incidents; what it says of its evidence is true there, too, since evidence is
    /// in an incident only once it is stored.
    pub(crate) fn incident(&self, incident: Incident, done: Option<oneshot::Sender<bool>>) {
        let mut state = self.lock();
        let older = state.jobs.iter_mut().find_map(|job| match job {
            Job::Incident(older, waiting) if older.id == incident.id => Some((older, waiting)),
            _ => None,
        });
        match older {
            Some((older, waiting)) => {
                **older = incident;
                waiting.extend(done);
            }
            None => {
                let job = Job::Incident(Box::new(incident), done.into_iter().collect());
                self.push(state, job);
            }
        }
    }

    /// The oldest job. Waits for one, for `at_most` if there is such a time.
    pub(crate) fn next(&self, at_most: Option<Duration>) -> Next {
        let mut state = self.lock();
        state.in_hand = Left::default();
        loop {
            if let Some(job) = state.jobs.pop_front() {
                state.in_hand.count(&job);
                match &job {
                    Job::Append(_) | Job::Ring(..) => state.offered -= 1,
                    Job::Evidence(_, files, _) => state.evidence_bytes -= bytes_of(files),
                    Job::Incident(..) => {}
                }
                return Next::Job(job);
            }
            if state.closed {
                return Next::Closed;
            }
            state = match at_most {
                None => (self.came.wait(state)).unwrap_or_else(PoisonError::into_inner),
                Some(time) => {
                    let waited = self.came.wait_timeout(state, time);
                    let (state, waited) = waited.unwrap_or_else(PoisonError::into_inner);
                    if waited.timed_out() && state.jobs.is_empty() && !state.closed {
                        return Next::Nothing;
                    }
                    state
                }
            };
        }
    }

    /// What is not on the disk yet of all that was handed in.
    pub(crate) fn left(&self) -> Left {
        let state = self.lock();
        let mut left = state.in_hand;
        state.jobs.iter().for_each(|job| left.count(job));
        left
    }

    /// No more will come.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.came.notify_all();
    }

    fn push(&self, mut state: MutexGuard<'_, State>, job: Job) {
        state.jobs.push_back(job);
        drop(state);
        self.came.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn bytes_of(files: &[EvidenceFile]) -> usize {
    files.iter().map(|file| file.bytes.len()).sum()
}

#[cfg(test)]
mod tests {
    use model::{EvidenceKind, UnixMs};

    use super::*;

    fn incident(id: &str, note: &str) -> Incident {
        let text = include_str!("../../alert/tests/data/incident.json");
        let mut incident: Incident = serde_json::from_str(text).unwrap();
        incident.id = IncidentId(id.into());
        incident.note(UnixMs(0), "test", note);
        incident
    }

    fn file(bytes: usize) -> EvidenceFile {
        EvidenceFile {
            kind: EvidenceKind::HeapProfile,
            target: TargetId("a".into()),
            at: UnixMs(0),
            name: "heap.pb.gz".into(),
            bytes: vec![7; bytes],
        }
    }

    /// Ids of incidents and numbers of files, in the order in which they would be written.
    fn order(waiting: &Waiting) -> Vec<String> {
        let mut order = Vec::new();
        while let Next::Job(job) = waiting.next(Some(Duration::ZERO)) {
            order.push(match job {
                Job::Append(_) => "reading".into(),
                Job::Ring(..) => "snapshot".into(),
                Job::Evidence(id, files, _) => format!("{} files of {}", files.len(), id.0),
                Job::Incident(incident, asked) => {
                    let last = incident.timeline.last().map(|event| event.text.clone());
                    format!(
                        "{} {} {}",
                        incident.id.0,
                        last.unwrap_or_default(),
                        asked.len()
                    )
                }
            });
        }
        order
    }

    #[test]
    fn beside_readings_that_wait_incidents_and_evidence_still_find_room() {
        let waiting = Waiting::default();
        for _ in 0..OFFERED_MAX {
            assert!(waiting.offer(Job::Append(Batch::default())));
        }
        assert!(!waiting.offer(Job::Append(Batch::default())), "a bound");
        assert!(!waiting.offer(Job::Ring(TargetId("a".into()), Vec::new())));
        // As many as a bad hour has: none waits for room, which nobody makes here.
        for _ in 0..1_000 {
            waiting.incident(incident("a", "first"), None);
        }
        let (heard, mut answers) = mpsc::unbounded_channel();
        waiting.evidence(IncidentId("a".into()), vec![file(10)], heard);
        waiting.incident(incident("b", "second"), None);
        let order = order(&waiting);
        assert_eq!(order.len(), OFFERED_MAX + 3);
        assert_eq!(
            order[OFFERED_MAX..],
            ["a first 0", "1 files of a", "b second 0"]
        );
        assert!(answers.try_recv().is_err(), "nothing was said yet");
        assert!(waiting.offer(Job::Append(Batch::default())), "room again");
    }

    #[test]
    fn the_newest_state_of_an_incident_is_written_and_all_who_asked_hear_of_it() {
        let waiting = Waiting::default();
        let (first, _first) = oneshot::channel();
        let (second, _second) = oneshot::channel();
        waiting.incident(incident("a", "old"), Some(first));
        waiting.incident(incident("b", "other"), None);
        waiting.incident(incident("a", "new"), Some(second));
        assert_eq!(order(&waiting), ["a new 2", "b other 0"]);
    }

    #[test]
    fn evidence_that_is_too_much_is_said_to_be_lost() {
        let waiting = Waiting::default();
        let (heard, mut answers) = mpsc::unbounded_channel();
        let id = IncidentId("a".into());
        waiting.evidence(
            id.clone(),
            vec![file(EVIDENCE_BYTES_MAX - 1)],
            heard.clone(),
        );
        assert!(answers.try_recv().is_err(), "it waits");
        waiting.evidence(id.clone(), vec![file(1), file(1)], heard.clone());
        assert_eq!(answers.try_recv().unwrap().lost, 2);
        assert_eq!(order(&waiting), ["1 files of a"]);
        waiting.evidence(id, vec![file(1)], heard);
        assert!(answers.try_recv().is_err(), "there is room again");
    }

    #[test]
    fn what_waits_is_handed_out_before_the_end() {
        let waiting = Waiting::default();
        waiting.incident(incident("a", "last"), None);
        assert!(waiting.offer(Job::Append(Batch::default())));
        waiting.close();
        let mut left = Left {
            readings: 1,
            incidents: 1,
            ..Left::default()
        };
        assert_eq!(waiting.left(), left);
        assert!(matches!(waiting.next(None), Next::Job(_)));
        assert_eq!(waiting.left(), left, "it is still being written");
        assert!(matches!(waiting.next(None), Next::Job(_)));
        left.incidents = 0;
        assert_eq!(waiting.left(), left);
        assert!(matches!(waiting.next(None), Next::Closed));
        assert_eq!(waiting.left(), Left::default());
    }
}
