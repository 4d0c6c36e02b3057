//! `diagnose`: one target in one session. It shows at once what one look can show, then judges
//! until there is an answer or the time is up, and leaves nothing on disk.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use collect::{Endpoint, Source};
use locate::{Evidence, Interpretation, Look};
use model::verdict::Advice;
use model::{Facts, Judgement, Kind, Target, TargetState, TargetView, Verdict};
use reader::{GoProcess, HoldersBudget, HoldersLook};
use tokio::sync::{mpsc, watch};

use crate::budget::Pace;
use crate::config;
use crate::confirm::Confirming;
use crate::driver::{Driver, DriverKept, Orders, Report, RoundReport};
use crate::evidence::{Subject, Terms, look_of};
use crate::holders::{self, Refusal};
use crate::judging::{Remembered, judge_target};
use crate::limits::Machine;
use crate::memory::MemorySeries;
use crate::outside;
use crate::ring;
use crate::tracked::Tracked;

/// Without `--for` it ends after so long at the latest.
pub const LONGEST: Duration = Duration::from_secs(300);
/// The same where an answer is to be confirmed.
pub const LONGEST_CONFIRMED: Duration = Duration::from_secs(1_800);
/// An answer that has stood for so many judgements is final when no time was given.
const SETTLED: u32 = 3;
/// Without `--for`, an answer of `no-leak` needs this many collections.
const CYCLES_MIN: f64 = 3.0;

/// What to look at, and for how long.
pub struct Order {
    /// The target.
    pub target: Target,
    /// A named endpoint; without one the process's ports are asked.
    pub endpoint: Option<Endpoint>,
    /// What discovery said of the process, where it is one on this host.
    pub process: Option<GoProcess>,
    /// Between two readings.
    pub interval: Duration,
    /// For how long; without it until there is an answer, at most five minutes.
    pub duration: Option<Duration>,
    /// The machine, the limit where there is no other.
    pub machine: Machine,
    /// What a look at who holds the heap may cost; without it none is taken.
    pub inspect: Option<HoldersBudget>,
    /// Whether collections are forced meanwhile, so that only what lives is judged; and, without a time, whether
    /// it may go on for [`LONGEST_CONFIRMED`].
    pub confirm: bool,
    /// How the target is read.
    pub source: Source,
}

/// What is said while it goes on.
pub enum Progress<'a> {
    /// The first reading: what one look shows.
    FirstLook {
        /// Everything read.
        view: &'a TargetView,
        /// Where it answers.
        endpoint: &'a Endpoint,
    },
    /// A reading was judged.
    Judged {
        /// The figures as they stand.
        view: &'a TargetView,
        /// The answer as it stands.
        verdict: &'a Verdict,
        /// How long it has gone on.
        elapsed: Duration,
    },
}

/// Why there is no verdict.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DiagnoseError {
    /// The target ended before anything could be said.
    #[error("the process ended before anything could be read of it")]
    Gone,
    /// Nothing at all can be read.
    #[error("nothing can be read of this target: {reason}")]
    Nothing {
        /// Why.
        reason: String,
    },
}

/// Watches one target and returns the verdict with its suspects. `tell` is called as it goes.
/// `stop` ends it early: the verdict is then of what there is.
///
/// # Errors
/// [`DiagnoseError`] when nothing can be read; too little data is a verdict (`unsure`), no error.
pub async fn diagnose(
    order: Order,
    mut stop: watch::Receiver<bool>,
    mut tell: impl FnMut(Progress<'_>),
) -> Result<Verdict, DiagnoseError> {
    let longest = if order.confirm {
        LONGEST_CONFIRMED
    } else {
        LONGEST
    };
    let mut session = Session::start(order);
    let deadline = session.duration.unwrap_or(longest);
    let source = session.source.clone();
    let begin = source.clock.monotonic();
    let mut timer = Box::pin(tokio::time::sleep(deadline));
    loop {
        let report = tokio::select! {
            report = session.reports.recv() => report,
            () = &mut timer => break,
            _ = stop.changed() => break,
        };
        match report {
            Some(Report::Round(round)) => {
                let elapsed = source.clock.monotonic().saturating_sub(begin);
                session.round(*round, elapsed, &mut tell).await?;
                if session.is_settled() {
                    break;
                }
            }
            Some(Report::Ring(snapshot)) if session.before.is_none() => {
                session.before = Some(look_of(&snapshot.files));
            }
            Some(Report::Ring(_)) => {}
            None => break,
        }
    }
    session.finish().await
}

struct Session {
    source: Source,
    duration: Option<Duration>,
    machine: Machine,
    tracked: Tracked,
    series: Arc<MemorySeries>,
    reports: mpsc::Receiver<Report>,
    driver: tokio::task::JoinHandle<()>,
    before: Option<Look>,
    inspect: Option<HoldersBudget>,
    confirming: Option<Confirming>,
    /// The look from the beginning, while it is under way or once it is there.
    first_holders: Option<tokio::task::JoinHandle<Result<HoldersLook, Refusal>>>,
    verdict: Option<Verdict>,
    same: u32,
    cycles_first: Option<f64>,
}

impl Drop for Session {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Session {
    fn start(order: Order) -> Self {
        // Nobody sends news in a short session: a receiver reads the last value without a sender.
        let process = order.process.map(|process| watch::channel(process).1);
        let tracked = Tracked::new(
            order.target.clone(),
            order.endpoint.clone().unwrap_or_default(),
            order.interval,
        );
        let driver = Driver::new(Orders {
            before: DriverKept::default(),
            keeps: Arc::default(),
            target: order.target,
            source: order.source.clone(),
            endpoint: order.endpoint,
            period: order.interval,
            timeout: Duration::from_secs(10),
            // One snapshot from the beginning is what the end is compared with.
            evidence: config::Evidence {
                ring_interval: LONGEST * 1_000,
                ..config::Evidence::default()
            },
            machine: order.machine,
            probe_ports: true,
            traces: None,
            load_series: Vec::new(),
            // Somebody asked for this one: it is read as asked.
            asked: true,
            pace: watch::channel(Pace::default()).1,
            process,
        });
        let (sender, reports) = mpsc::channel(4);
        let confirming = order
            .confirm
            .then(|| Confirming::new(order.source.clone(), order.duration));
        Self {
            driver: tokio::spawn(driver.run(sender)),
            source: order.source,
            duration: order.duration,
            machine: order.machine,
            tracked,
            series: Arc::default(),
            reports,
            before: None,
            inspect: order.inspect,
            confirming,
            first_holders: None,
            verdict: None,
            same: 0,
            cycles_first: None,
        }
    }

    async fn round(
        &mut self,
        mut round: RoundReport,
        elapsed: Duration,
        tell: &mut impl FnMut(Progress<'_>),
    ) -> Result<(), DiagnoseError> {
        use model::Append;
        let batch = std::mem::take(&mut round.batch);
        // In memory: an error is not possible beyond full, and what is full keeps the latest.
        let _ = self.series.append(&batch);
        self.tracked.take(&mut round, self.machine);
        if self.tracked.rounds == 1 {
            self.first(tell)?;
            self.first_holders = self.look_at_holders().map(tokio::spawn);
        }
        if let Some(confirming) = &mut self.confirming {
            let subject = Subject::new(&self.tracked.view.target, self.tracked.endpoint.clone());
            let (view, standing) = (&self.tracked.view, self.tracked.standing());
            let asked = subject.asked(true);
            confirming.round(elapsed, view, asked, &standing).await;
        }
        let cycles = self.tracked.view.go.and_then(|go| go.gc_cycles);
        self.cycles_first = self.cycles_first.or(cycles);
        let verdict = self.judge().await?;
        let answer = |v: &Verdict| (v.verdict, v.kind);
        let same = self
            .verdict
            .as_ref()
            .is_some_and(|last| answer(last) == answer(&verdict));
        self.same = if same { self.same + 1 } else { 1 };
        tell(Progress::Judged {
            view: &self.tracked.view,
            verdict: &verdict,
            elapsed,
        });
        self.verdict = Some(verdict);
        Ok(())
    }

    fn first(&self, tell: &mut impl FnMut(Progress<'_>)) -> Result<(), DiagnoseError> {
        let view = &self.tracked.view;
        if view.process.is_none() && view.go.is_none() {
            return Err(match &view.state {
                TargetState::Gone { .. } => DiagnoseError::Gone,
                TargetState::EndpointFailing { reason } => DiagnoseError::Nothing {
                    reason: reason.clone(),
                },
                TargetState::NoPermission { hint } => DiagnoseError::Nothing {
                    reason: hint.clone(),
                },
                _ => DiagnoseError::Nothing {
                    reason: "it offers no numbers".into(),
                },
            });
        }
        tell(Progress::FirstLook {
            view,
            endpoint: &self.tracked.endpoint,
        });
        Ok(())
    }

    async fn judge(&self) -> Result<Verdict, DiagnoseError> {
        let (series, now) = (Arc::clone(&self.series), self.source.clock.now());
        let (target, facts) = (self.tracked.view.target.clone(), self.facts());
        let ledger = self.tracked.view.ledger.clone();
        // It takes minutes at most: all of it is looked at each time.
        let judge = move || {
            let anew = &mut Remembered::default();
            judge_target(&*series, &target, &facts, ledger.as_ref(), now, anew)
        };
        match tokio::task::spawn_blocking(judge).await {
            Ok(Ok(verdict)) => Ok(verdict),
            Ok(Err(error)) => Err(DiagnoseError::Nothing {
                reason: error.to_string(),
            }),
            Err(_) => Err(DiagnoseError::Nothing {
                reason: "judging was cut off".into(),
            }),
        }
    }

    fn facts(&self) -> Facts {
        Facts {
            patience_s: self.duration.map(|duration| duration.as_secs_f64()),
            ..self.tracked.facts.clone()
        }
    }

    /// Whether the answer is final: only where no time was given.
    fn is_settled(&self) -> bool {
        if self.duration.is_some() || self.same < SETTLED {
            return false;
        }
        let Some(verdict) = &self.verdict else {
            return false;
        };
        let cycles = self
            .tracked
            .view
            .go
            .and_then(|go| go.gc_cycles)
            .zip(self.cycles_first);
        match verdict.verdict {
            Judgement::Leak => true,
            Judgement::NoLeak => cycles.is_none_or(|(now, first)| now - first >= CYCLES_MIN),
            Judgement::Unsure => false,
        }
    }

    /// Takes the second look and names the suspects of what leaks.
    async fn finish(mut self) -> Result<Verdict, DiagnoseError> {
        let Some(mut verdict) = self.verdict.take() else {
            return Err(DiagnoseError::Gone);
        };
        if let Some(confirming) = &self.confirming {
            confirming.tell(&mut verdict);
        }
        let leaks = |verdict: &Verdict| -> Vec<Kind> {
            let leaks = verdict
                .findings
                .iter()
                .filter(|f| f.verdict == Judgement::Leak);
            leaks.filter_map(|finding| finding.kind).collect()
        };
        if leaks(&verdict).is_empty() {
            return Ok(verdict);
        }
        let subject = Subject::new(&self.tracked.view.target, self.tracked.endpoint.clone());
        let subject = subject.asked(true);
        let settings = config::Evidence::default();
        let terms = Terms::for_incident(self.tracked.standing(), &settings);
        // One target, for somebody who waits: there is nobody to be in the way of.
        let terms = terms.with_outside(Ok(self.inspect));
        let mut capture = subject.capture(&self.source, &ring::REQUESTS, &terms).await;
        let mut before = self.before.take().unwrap_or_default();
        let module = verdict.target.module.clone();
        let kinds = leaks(&verdict);
        let (first, last, refusal) = self.holders(&kinds).await;
        before.holders = first;
        capture.look.holders = last;
        let evidence = Evidence {
            before: &before,
            after: &capture.look,
            main_module: module.as_deref(),
        };
        for kind in kinds {
            let finding = verdict.findings.iter().find(|f| f.kind == Some(kind));
            let mut found: Interpretation = finding
                .map(|f| locate::interpret(f, &evidence))
                .unwrap_or_default();
            if kind.has_holders()
                && let Some(refusal) = &refusal
            {
                found.advice.push(Advice {
                    code: "holders-refused".into(),
                    values: BTreeMap::new(),
                    text: format!("It could not be seen {}.", refusal.text()),
                });
            }
            let of_goroutines = matches!(kind, Kind::Goroutine | Kind::Thread);
            for note in capture.notes.iter().filter(|_| of_goroutines) {
                found.advice.push(Advice {
                    code: outside::CODE.into(),
                    values: BTreeMap::new(),
                    text: format!("The {note}."),
                });
            }
            crate::leaks::name_finding(&mut verdict, kind, &found);
        }
        Ok(verdict)
    }

    /// A look at who holds the heap, where the target is a process here.
    fn look_at_holders(
        &self,
    ) -> Option<impl Future<Output = Result<HoldersLook, Refusal>> + Send + 'static> {
        let (budget, process) = (self.inspect?, self.tracked.view.target.process.clone()?);
        let source = self.source.clone();
        Some(async move { holders::look(&source, process, budget).await })
    }

    /// The look from the beginning and one from now, for a leak that they can tell something of;
    /// and why there is none.
    async fn holders(
        &mut self,
        leaks: &[Kind],
    ) -> (
        Option<locate::HoldersLook>,
        Option<locate::HoldersLook>,
        Option<Refusal>,
    ) {
        let first = self.first_holders.take();
        let (Some(first), true) = (first, leaks.iter().any(|kind| kind.has_holders())) else {
            return (None, None, None);
        };
        // Cut off only together with this session.
        let first = first.await.unwrap_or_else(|_| Err(Refusal::cut_off()));
        let last = match (&first, self.look_at_holders()) {
            (Ok(_), Some(look)) => look.await,
            (Err(refusal), _) => Err(refusal.clone()),
            (Ok(_), None) => Err(Refusal::cut_off()),
        };
        let refusal = last.as_ref().err().cloned();
        let read = |look: Result<HoldersLook, Refusal>| look.ok().map(holders::read);
        (read(first), read(last), refusal)
    }
}
