//! What the main loop keeps of one target.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use collect::Endpoint;
use locate::Interpretation;
use model::{
    EffectiveLimit, Facts, GcSettings, Kind, RefusedCapture, Target, TargetState, TargetView,
    UnixMs,
};
use reader::{Access, GoProcess};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::budget::Pace;
use crate::costly::Owed;
use crate::driver::{DriverKept, RoundReport};
use crate::holders::Looks;
use crate::judging::Remembered;
use crate::limits::{self, Known, Machine};
use crate::rails::{Standing, Whose};

/// A gone target stays on the page for so long,
const GONE_SHOWN: Duration = Duration::from_secs(3_600);
/// but one that lived shorter than this, such as a compiler, only for a minute.
const SHORT_LIFE: Duration = Duration::from_secs(300);
const SHORT_LIFE_SHOWN: Duration = Duration::from_secs(60);

/// Without a reading for so many periods, and at least so long, a verdict is stale.
const STALE_PERIODS: u32 = 5;
const STALE_LEAST: Duration = Duration::from_secs(15);

/// What a reload, which starts each driver anew, leaves known of a target.
#[derive(Debug, Clone, Default)]
pub(crate) struct Kept {
    pub(crate) captured_at: HashMap<Kind, Duration>,
    pub(crate) driver: DriverKept,
}

pub(crate) struct Tracked {
    pub(crate) view: TargetView,
    pub(crate) endpoint: Endpoint,
    pub(crate) period: Duration,
    /// Tells the driver what discovery says of the process now.
    pub(crate) news: Option<watch::Sender<GoProcess>>,
    pub(crate) driver: Option<JoinHandle<()>>,
    /// What its driver knows that the next one has to know.
    pub(crate) driver_keeps: Arc<Mutex<DriverKept>>,
    pub(crate) facts: Facts,
    /// Tells the driver how often to do what.
    pub(crate) pace: watch::Sender<Pace>,
    /// Tells whoever takes something over a while how the target stands now.
    pub(crate) standings: watch::Sender<Standing>,
    /// The last answer of its metrics endpoint, for evidence.
    pub(crate) metrics: Option<Vec<u8>>,
    /// How many judgements in a row found a leak of this kind.
    pub(crate) streaks: HashMap<Kind, u32>,
    pub(crate) judging: bool,
    /// What the judge remembers of it; with the judgement while that is under way.
    pub(crate) remembered: Remembered,
    pub(crate) judged_at: Option<Duration>,
    pub(crate) capturing: bool,
    /// A snapshot that somebody asked for is under way.
    pub(crate) snapshotting: bool,
    /// The round after which something was taken last. What that made the target allocate is seen in the
    /// next one only, so nothing light is taken twice between two: garbage adds up.
    pub(crate) captured_round: Option<u64>,
    pub(crate) captured_at: HashMap<Kind, Duration>,
    /// What was seen of who holds its heap.
    pub(crate) looks: Looks,
    /// Whom its own evidence suspects, by the kind of leak.
    pub(crate) found: HashMap<Kind, Interpretation>,
    /// Costly evidence that its incidents are still owed.
    pub(crate) owed: Owed,
    /// What its ring lacks, and why.
    pub(crate) ring_refusals: Vec<RefusedCapture>,
    pub(crate) rounds: u64,
    /// Its figures are still to come, the number of its goroutines among them, by which it is decided what may be
    /// taken of it.
    awaited: bool,
    /// When its driver was last heard of, and what time that was.
    heard: Option<(Duration, UnixMs)>,
    /// Looks of discovery in a row that have not found its process.
    pub(crate) unseen: u32,
    /// Its start, how old it was when that was first heard of, and when that was.
    age: Option<(UnixMs, Duration, Duration)>,
}

impl Tracked {
    pub(crate) fn new(target: Target, endpoint: Endpoint, period: Duration) -> Self {
        let facts = Facts {
            started: target.start_time,
            period_s: period.as_secs_f64(),
            ..Facts::default()
        };
        Self {
            view: TargetView {
                target,
                state: TargetState::Pending,
                process: None,
                container: None,
                container_ledger: None,
                limit: EffectiveLimit::default(),
                go: None,
                settings: GcSettings::default(),
                ledger: None,
                verdict: None,
                incidents: Vec::new(),
                probes: Vec::new(),
                series: Vec::new(),
                last_read: None,
            },
            endpoint,
            period,
            news: None,
            driver: None,
            driver_keeps: Arc::default(),
            facts,
            pace: watch::Sender::default(),
            standings: watch::Sender::default(),
            metrics: None,
            streaks: HashMap::new(),
            judging: false,
            remembered: Remembered::default(),
            judged_at: None,
            capturing: false,
            snapshotting: false,
            captured_round: None,
            captured_at: HashMap::new(),
            looks: Looks::default(),
            found: HashMap::new(),
            owed: Owed::default(),
            ring_refusals: Vec::new(),
            rounds: 0,
            awaited: true,
            heard: None,
            unseen: 0,
            age: None,
        }
    }

    /// Whether it has been read, and what was taken of it last shows in its figures by now.
    pub(crate) fn may_be_captured(&self) -> bool {
        let is_seen = !self.awaited && self.captured_round != Some(self.rounds);
        is_seen && !self.capturing && !self.snapshotting
    }

    /// What is to be known of it after a reload.
    pub(crate) fn kept(&self) -> Kept {
        let driver = self.driver_keeps.lock();
        Kept {
            captured_at: self.captured_at.clone(),
            driver: driver.unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }

    /// Whose a capture of it is.
    pub(crate) fn whose(&self) -> Whose {
        let target = &self.view.target;
        Whose {
            target: target.id.clone(),
            workload: target.workload.clone(),
            host: target.host.clone(),
        }
    }

    /// How it stands, for what may be taken from it.
    pub(crate) fn standing(&self) -> Standing {
        let goroutines = self.view.go.and_then(|go| go.goroutines);
        Standing {
            limit: self.view.limit.clone(),
            goroutines: goroutines.map(|goroutines| goroutines as u64),
        }
    }

    /// Whom its own evidence suspects of a leak, with what was seen of who holds its heap since.
    pub(crate) fn found_of(&self, kind: Kind) -> Option<Interpretation> {
        let mut found = self.found.get(&kind)?.clone();
        if kind.has_holders() {
            self.looks.join(kind, &mut found);
        }
        Some(found)
    }

    /// How many processes of its container the kernel has killed for lack of memory.
    pub(crate) fn oom_kills(&self) -> Option<u64> {
        self.view.container.as_ref()?.events.oom_kill
    }

    pub(crate) fn is_gone(&self) -> bool {
        matches!(self.view.state, TargetState::Gone { .. })
    }

    /// Notes how old it is, the first time after it has started: `monotonic` is of now.
    pub(crate) fn note_age(&mut self, now: UnixMs, monotonic: Duration) {
        let started = self.view.target.start_time;
        if let Some(started) = started.filter(|of| self.age.is_none_or(|(known, ..)| known != *of))
        {
            self.age = Some((started, now.since(started), monotonic));
        }
    }

    /// How old it is: a clock that was set since makes nobody older.
    pub(crate) fn age(&self, monotonic: Duration) -> Duration {
        self.age.map_or(Duration::ZERO, |(_, then, at)| {
            then + monotonic.saturating_sub(at)
        })
    }

    /// Discovery says when its process started: another time than before once the clock was set far.
    pub(crate) fn started_at(&mut self, started: UnixMs) {
        let known = self.view.target.start_time.replace(started);
        self.facts.started = Some(started);
        if let Some((of, ..)) = self.age.as_mut().filter(|(of, ..)| Some(*of) == known) {
            *of = started;
        }
    }

    /// Its process lives, and discovery cannot look into it any more: what was known of it stays, and its
    /// driver says that it is old.
    pub(crate) fn is_hidden(&self) {
        let Some(news) = &self.news else {
            return;
        };
        news.send_if_modified(|process| {
            let known = matches!(process.access, Access::Denied { .. });
            if !known {
                process.access = Access::Denied {
                    what: format!("process {}", process.key.pid),
                    hint: reader::PERMISSION_HINT.to_owned(),
                };
            }
            !known
        });
    }

    /// Whether it has been gone long enough to leave the page.
    pub(crate) fn is_forgotten(&self, now: UnixMs) -> bool {
        let TargetState::Gone { at } = self.view.state else {
            return false;
        };
        let started = self.view.target.start_time;
        let short = started.is_some_and(|started| at.since(started) < SHORT_LIFE);
        let shown = if short && self.view.incidents.is_empty() {
            SHORT_LIFE_SHOWN
        } else {
            GONE_SHOWN
        };
        now.since(at) > shown
    }

    /// Whether it was read lately: what was not cannot be judged, whatever was stored of it.
    pub(crate) fn is_fresh(&self, now: UnixMs) -> bool {
        let patience = (self.period * STALE_PERIODS).max(STALE_LEAST);
        let read = self.view.last_read;
        read.is_some_and(|read| now.since(read) <= patience)
    }

    /// Its driver reports, whatever it has found.
    pub(crate) fn hear(&mut self, now: UnixMs, monotonic: Duration) {
        self.heard = Some((monotonic, now));
    }

    /// Says so where nothing was heard of it for long. True if that is new.
    pub(crate) fn note_silence(&mut self, now: UnixMs, monotonic: Duration) -> bool {
        let (heard, since) = *self.heard.get_or_insert((monotonic, now));
        // A calm target may be read more seldom, to stay within our budget.
        let periods = STALE_PERIODS.saturating_mul(self.pace.borrow().rounds.max(1));
        let patience = self.period.saturating_mul(periods).max(STALE_LEAST);
        let is_silent = monotonic.saturating_sub(heard) > patience;
        let is_known = matches!(self.view.state, TargetState::NotRead { .. });
        if !is_silent || is_known || self.is_gone() {
            return false;
        }
        self.view.state = TargetState::NotRead { since };
        true
    }

    /// A verdict is of now: without readings there is none. The incident keeps its own.
    pub(crate) fn forget_stale_verdict(&mut self, now: UnixMs) {
        if !self.is_gone() && self.view.verdict.is_some() && !self.is_fresh(now) {
            self.view.verdict = None;
            self.view.ledger = None;
            self.streaks.clear();
        }
    }

    /// Takes a round's figures over. What a round did not bring stays as it was: the state says
    /// that it is old.
    pub(crate) fn take(&mut self, report: &mut RoundReport, machine: Machine) {
        self.rounds += 1;
        self.awaited = report.opening;
        let view = &mut self.view;
        view.state = report.state.clone();
        view.process = report.process.or(view.process);
        if let Some(container) = report.container.take() {
            view.container_ledger = Some(ledger::container_ledger(&container));
            view.container = Some(container);
        }
        view.go = report.go.or(view.go);
        let (old, new) = (view.settings, report.settings);
        view.settings = GcSettings {
            gogc_percent: new.gogc_percent.or(old.gogc_percent),
            gomemlimit_bytes: new.gomemlimit_bytes.or(old.gomemlimit_bytes),
        };
        view.ledger = report.ledger.clone().or(view.ledger.take());
        if report.process.is_some() || report.go.is_some() {
            view.last_read = Some(report.at);
        }
        view.probes = std::mem::take(&mut report.probes);
        if !report.series.is_empty() {
            view.series = std::mem::take(&mut report.series);
        }
        let target = &mut view.target;
        // A configured target's process may be another one than a moment ago; that of a discovered
        // one never is.
        target.start_time = match target.process {
            Some(_) => target.start_time,
            None => report.started.or(target.start_time),
        };
        target.go_version = target.go_version.take().or(report.go_version.take());
        target.url = target.url.take().or_else(|| base_url(&report.endpoint));
        target.url_inside = target.url.is_some() && report.endpoint.inside.is_some();
        self.endpoint = report.endpoint.clone();
        // Emptied with other caches: then it is not kept anew either.
        let keeps = self.pace.borrow().keeps_answers;
        self.metrics = report
            .metrics
            .take()
            .or(self.metrics.take())
            .filter(|_| keeps);
        self.facts.started = view.target.start_time;
        self.facts.frees_lazily = report.frees_lazily;
        self.take_limits(machine, report.machine_available_bytes);
        self.standings.send_replace(self.standing());
    }

    /// What the target runs into first, and what its collector goes by.
    fn take_limits(&mut self, machine: Machine, available_bytes: Option<u64>) {
        let view = &self.view;
        let known = Known {
            is_here: view.target.process.is_some(),
            in_pod: view.target.pod.is_some(),
            rss_bytes: view.process.map(|process| process.rss_bytes),
            container: view.container.as_ref(),
            available_bytes,
        };
        let limit = limits::effective(&known, machine);
        let facts = &mut self.facts;
        facts.limit_bytes = limit.bytes;
        facts.limit_source = limit.source.clone();
        facts.limit_used_bytes = limit.used_bytes;
        self.view.limit = limit;
        let GcSettings {
            gogc_percent,
            gomemlimit_bytes,
        } = self.view.settings;
        facts.gogc_percent = gogc_percent.map(|gogc| gogc.value.unwrap_or(-1.0));
        // That the environment sets no limit does not mean that there is none.
        facts.gomemlimit_bytes = gomemlimit_bytes.and_then(|limit| {
            let off = limit.source.is_certain().then_some(f64::INFINITY);
            limit.value.or(off)
        });
    }
}

fn base_url(endpoint: &Endpoint) -> Option<String> {
    let metrics = endpoint.metrics_url.as_ref()?;
    Some(metrics.trim_end_matches("/metrics").to_owned())
}

#[cfg(test)]
mod tests {
    use model::{BootId, Pid, ProcessKey, StartTicks};

    use super::*;

    #[test]
    fn a_target_that_nothing_is_heard_of_says_so() {
        let incident: model::Incident =
            serde_json::from_str(include_str!("../../alert/tests/data/incident.json")).unwrap();
        let period = Duration::from_secs(10);
        let mut tracked = Tracked::new(incident.verdict.target, Endpoint::default(), period);
        let silent = |tracked: &mut Tracked, at: u64| {
            tracked.note_silence(UnixMs(1_000 * at as i64), Duration::from_secs(at))
        };
        assert!(!silent(&mut tracked, 100), "it has only begun");
        assert!(!silent(&mut tracked, 150));
        assert!(silent(&mut tracked, 151), "five periods, and never read");
        tracked.view.state = TargetState::Up;
        tracked.hear(UnixMs(160_000), Duration::from_secs(160));
        assert!(!silent(&mut tracked, 210));
        assert!(silent(&mut tracked, 211));
        let since = UnixMs(160_000);
        assert_eq!(tracked.view.state, TargetState::NotRead { since });
        assert!(!silent(&mut tracked, 300), "said once");
        tracked.hear(UnixMs(300_000), Duration::from_secs(300));
        tracked.view.state = TargetState::Up;
        tracked.pace.send_modify(|pace| pace.rounds = 4);
        assert!(!silent(&mut tracked, 499), "left out on purpose");
        tracked.view.state = TargetState::Gone { at: UnixMs(0) };
        assert!(!silent(&mut tracked, 900), "it has ended");
    }

    #[test]
    fn a_verdict_does_not_outlive_its_readings() {
        let incident: model::Incident =
            serde_json::from_str(include_str!("../../alert/tests/data/incident.json")).unwrap();
        let mut target = incident.verdict.target.clone();
        target.process = Some(ProcessKey {
            boot_id: BootId::default(),
            pid: Pid(1),
            start_ticks: StartTicks(1),
        });
        let mut tracked = Tracked::new(target, Endpoint::default(), Duration::from_secs(1));
        assert!(!tracked.is_fresh(UnixMs(0)), "never read");
        tracked.view.last_read = Some(UnixMs(100_000));
        tracked.view.verdict = Some(incident.verdict);
        tracked.forget_stale_verdict(UnixMs(110_000));
        assert!(tracked.view.verdict.is_some(), "ten seconds are a hiccup");
        tracked.forget_stale_verdict(UnixMs(130_000));
        assert!(tracked.view.verdict.is_none(), "half a minute is not");
    }
}
