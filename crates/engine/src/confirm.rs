//! `diagnose --confirm`: collections are forced while it judges, so that what is seen is what lives, and no garbage
//! that waits for the collector. Within the guard rails: what would harm the target is not done, and said.

use std::collections::BTreeMap;
use std::time::Duration;

use collect::Source;
use collect::profiles::{PROFILE_BYTES_MAX, ProfileKind};
use locate::Request;
use model::verdict::Advice;
use model::{Judgement, Reason, Refusal, TargetView, Verdict};

use crate::config::Evidence;
use crate::evidence::Subject;
use crate::rails::{self, Standing};

/// So many in the time that was given: the judge wants several.
const IN_THE_TIME: u32 = 10;
/// Between two of them without a time, and at least.
const APART: Duration = Duration::from_secs(15);
const APART_LEAST: Duration = Duration::from_secs(2);

/// The collections that are forced in one session.
pub(crate) struct Confirming {
    source: Source,
    apart: Duration,
    /// When the next one is due, of the session's time.
    next: Duration,
    under_way: Option<tokio::task::JoinHandle<Result<(), Refusal>>>,
    forced: u32,
    /// It is over, and the next reading is the first that was made after it.
    is_over: bool,
    refused: Option<Refusal>,
    /// What the runtime said was allocated when the first one was asked for.
    before_bytes: Option<f64>,
    /// What the readings after the first and after the last one say: what lives, or where that is not exported what is
    /// allocated, with what came since.
    first_bytes: Option<f64>,
    last_bytes: Option<f64>,
}

impl Confirming {
    pub(crate) fn new(source: Source, duration: Option<Duration>) -> Self {
        let apart = duration.map_or(APART, |whole| (whole / IN_THE_TIME).max(APART_LEAST));
        Self {
            source,
            apart,
            // The first round is a look at the target as it is.
            next: APART_LEAST,
            under_way: None,
            forced: 0,
            is_over: false,
            refused: None,
            before_bytes: None,
            first_bytes: None,
            last_bytes: None,
        }
    }

    /// After a reading: takes note of what the last collection left, and has the next one forced if it is due.
    pub(crate) async fn round(
        &mut self,
        elapsed: Duration,
        view: &TargetView,
        subject: Subject,
        standing: &Standing,
    ) {
        let heap = view.go.and_then(|go| go.live_bytes.or(go.heap_alloc_bytes));
        // The reading of the round in which it is seen to be over may be from before.
        if std::mem::take(&mut self.is_over) {
            self.first_bytes = self.first_bytes.or(heap);
            self.last_bytes = heap.or(self.last_bytes);
        }
        let done = self.under_way.take_if(|task| task.is_finished());
        if let Some(task) = done {
            match task.await {
                Ok(Ok(())) => {
                    self.forced += 1;
                    self.is_over = true;
                }
                Ok(Err(refusal)) => self.refused = Some(refusal),
                Err(_) => {}
            }
        }
        if elapsed < self.next || self.under_way.is_some() {
            return;
        }
        self.next = elapsed + self.apart;
        if subject.endpoint.pprof_bases.is_empty() {
            let why =
                "no pprof endpoint is known for this target, and only that can force one".into();
            self.refused = Some(Refusal::Failed { why });
            return;
        }
        let settings = Evidence::default();
        if let Err(refusal) = rails::allowed(Request::HeapAfterGc, standing, &settings) {
            self.refused = Some(refusal);
            return;
        }
        let heap = view.go.and_then(|go| go.heap_alloc_bytes);
        self.before_bytes = self.before_bytes.or(heap);
        let (source, most) = (self.source.clone(), PROFILE_BYTES_MAX);
        self.under_way = Some(tokio::spawn(async move {
            let kind = ProfileKind::HeapAfterGc;
            subject.profile(&source, kind, most).await.map(drop)
        }));
    }

    /// Adds to the first finding what was done and seen.
    pub(crate) fn tell(&self, verdict: &mut Verdict) {
        let Some(finding) = verdict.findings.first_mut() else {
            return;
        };
        if self.forced > 0 {
            finding.why.push(self.reason(finding.verdict));
        }
        if let Some(refusal) = &self.refused {
            let what = rails::in_words(model::EvidenceKind::HeapProfileGc, refusal);
            finding.advice.push(Advice {
                code: "confirm-refused".into(),
                values: BTreeMap::new(),
                text: format!("No collection was forced: {what}."),
            });
        }
    }

    fn reason(&self, speaks_for: Judgement) -> Reason {
        let named = [
            ("before_bytes", self.before_bytes),
            ("first_bytes", self.first_bytes),
            ("last_bytes", self.last_bytes),
        ];
        let known = named
            .into_iter()
            .filter_map(|(name, value)| Some((name.to_owned(), value?)));
        let mut values: BTreeMap<String, f64> = known.collect();
        values.insert("collections".into(), f64::from(self.forced));
        let mib = |value: Option<f64>| {
            value.map_or("?".into(), |bytes| format!("{:.1}", bytes / 1_048_576.0))
        };
        Reason {
            code: "forced-gc".into(),
            speaks_for,
            text: format!(
                "{} collections were forced: of {} MiB before the first one, {} MiB were there at the next reading, and {} \
                 MiB at the one after the last.",
                self.forced,
                mib(self.before_bytes),
                mib(self.first_bytes),
                mib(self.last_bytes),
            ),
            values,
        }
    }
}
