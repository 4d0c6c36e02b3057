//! What a back-test says: one object for each incident, and one for each target without any.

use model::verdict::{Advice, Judged, TimeToLimit, Window};
use model::{Facts, Finding, Growth, Judgement, Kind, Labels, Reason, UnixMs};
use serde::Serialize;

/// The name and version of [`Record`]'s JSON; its schema lies in `docs/schema`.
pub const SCHEMA: &str = "unswept/backtest/1";

/// One line. All of it is what was known at `detected_at`; of a target without an incident, at the end.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Record {
    /// Always [`SCHEMA`].
    pub schema: &'static str,
    /// Those that all series of the target have.
    pub labels: Labels,
    /// The answer; `leak` in every incident.
    pub verdict: Judgement,
    /// The kind; `None` only for `unsure`.
    pub kind: Option<Kind>,
    /// The probability that the answer is right; absent for `unsure`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub confidence: Option<f64>,
    /// When the growth began, as it looked when it was told.
    #[serde(with = "model::time::rfc3339::option")]
    pub onset: Option<UnixMs>,
    /// When it was told; `None` where there was no incident.
    #[serde(with = "model::time::rfc3339::option")]
    pub detected_at: Option<UnixMs>,
    /// When it was no longer found; `None` where it lasted until the end.
    #[serde(with = "model::time::rfc3339::option")]
    pub ended_at: Option<UnixMs>,
    /// When that process began.
    #[serde(with = "model::time::rfc3339::option")]
    pub started: Option<UnixMs>,
    /// How fast it grew.
    pub growth: Option<Growth>,
    /// The limit that it ran towards.
    pub limit_bytes: Option<u64>,
    /// The series that told it.
    pub limit_source: Option<String>,
    /// When that limit would have been reached.
    pub seconds_to_limit: Option<TimeToLimit>,
    /// What speaks for and against.
    pub why: Vec<Reason>,
    /// What to do.
    pub advice: Vec<Advice>,
    /// The stretch that there are readings of.
    pub replayed: Window,
    /// Readings in it.
    pub readings: u64,
    /// Processes that followed one another.
    pub lives: u32,
    /// Judgements made, and those of them that could not tell.
    pub judged: u64,
    /// See `judged`.
    pub unsure: u64,
}

/// What is said of the whole target in each of its lines.
#[derive(Debug, Clone)]
pub(crate) struct Whole {
    pub(crate) labels: Labels,
    pub(crate) replayed: Window,
    pub(crate) readings: u64,
    pub(crate) lives: u32,
    pub(crate) judged: u64,
    pub(crate) unsure: u64,
}

/// One answer at one time.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Answer {
    pub(crate) at: UnixMs,
    pub(crate) finding: Finding,
    pub(crate) started: Option<UnixMs>,
    pub(crate) limit_bytes: Option<u64>,
    pub(crate) limit_source: Option<String>,
    pub(crate) seconds_to_limit: Option<TimeToLimit>,
}

impl Answer {
    /// `finding`, one of `judged`, as it was at `at`.
    pub(crate) fn new(at: UnixMs, finding: &Finding, judged: &Judged, facts: &Facts) -> Self {
        Self {
            at,
            finding: finding.clone(),
            started: facts.started,
            limit_bytes: facts.limit_bytes,
            limit_source: facts.limit_source.clone(),
            seconds_to_limit: judged.seconds_to_limit,
        }
    }

    pub(crate) fn into_record(
        self,
        whole: &Whole,
        detected_at: Option<UnixMs>,
        ended_at: Option<UnixMs>,
    ) -> Record {
        let finding = self.finding;
        Record {
            schema: SCHEMA,
            labels: whole.labels.clone(),
            verdict: finding.verdict,
            kind: finding.kind,
            confidence: finding.confidence,
            onset: finding.onset,
            detected_at,
            ended_at,
            started: self.started,
            growth: finding.growth,
            limit_bytes: self.limit_bytes,
            limit_source: self.limit_source,
            seconds_to_limit: self.seconds_to_limit,
            why: finding.why,
            advice: finding.advice,
            replayed: whole.replayed,
            readings: whole.readings,
            lives: whole.lives,
            judged: whole.judged,
            unsure: whole.unsure,
        }
    }
}
