//! One target's task: reads it at its period, makes the ledger, and reports to the main loop. All
//! waiting for a target happens here, so a target that hangs holds up nobody else.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use collect::probe::{Wanted, probe};
use collect::{
    Collector, Endpoint, ReadProblem, Round, ScrapeError, Scraped, Source, TraceLog, TraceSource,
};
use ledger::{Live, LiveTracker, LoadKind, LoadRow, LoadTracker, LoadValue, Mapped};
use model::fleet::OwnSeries;
use model::{
    Batch, ContainerMemory, GcSettings, GoMemory, GoSource, Labels, Ledger, MappingBytes,
    ProcessMemory, Sample, TARGET_LABEL, Target, TargetState, UnixMs,
};
use reader::{Access, Ended, GoFailure, GoFigures, GoProcess, ReadFailure};
use tokio::sync::{mpsc, watch};
use wire::Role;

use crate::admission::{Admission, LABEL_BYTES_MAX, SERIES_MAX};
use crate::budget::Pace;
use crate::config::Evidence;
use crate::evidence::Subject;
use crate::exit::Exit;
use crate::go_source;
use crate::limits::{self, Known, Machine};
use crate::rails::Standing;
use crate::ring::{Ring, Snapshot};
use crate::trace_reads::TraceReads;

/// Smaps holds the target's mmap lock: read at most so much of the time (one part in a thousand).
const MAPPINGS_DUTY: u32 = 1_000;
/// And not more often than every so many periods, nor than each second.
const MAPPINGS_PERIODS: u32 = 4;
/// Mappings that were refused are left alone for so long at least.
const MAPPINGS_REFUSED: Duration = Duration::from_secs(60);
/// A larger answer of the metrics endpoint is not kept for evidence.
const METRICS_KEPT_MAX: usize = 1 << 20;

/// What a driver knows of a process that the one after it, after a reload, has to know: what is asked once in the
/// process's life, and what is not due again yet.
#[derive(Debug, Clone, Default)]
pub(crate) struct DriverKept {
    asked: HashSet<SocketAddr>,
    /// What was found at these ports, and what is told of them.
    found: Option<Endpoint>,
    probes: Vec<String>,
    mappings_due: Duration,
    /// What reading them takes, on average.
    mappings_took: Option<Duration>,
    ring_due: Duration,
}

/// What a driver is told when it starts.
pub(crate) struct Orders {
    /// What the one before it knew.
    pub(crate) before: DriverKept,
    /// Where it says what it knows, for the one after it.
    pub(crate) keeps: Arc<Mutex<DriverKept>>,
    pub(crate) target: Target,
    pub(crate) source: Source,
    /// A configured endpoint, or none to look for one.
    pub(crate) endpoint: Option<Endpoint>,
    pub(crate) period: Duration,
    pub(crate) timeout: Duration,
    pub(crate) evidence: Evidence,
    /// What its limit is made of beside its container.
    pub(crate) machine: Machine,
    pub(crate) probe_ports: bool,
    /// A log with lines of gctrace and scavtrace.
    pub(crate) traces: Option<TraceSource>,
    /// Series of its scrapes that are load, whatever they look like.
    pub(crate) load_series: Vec<String>,
    /// Somebody asked for this target by itself.
    pub(crate) asked: bool,
    /// How often to do what.
    pub(crate) pace: watch::Receiver<Pace>,
    /// What discovery last said of the process; `None` for a configured target elsewhere.
    pub(crate) process: Option<watch::Receiver<GoProcess>>,
}

/// What a driver reports.
pub(crate) enum Report {
    /// A round is over.
    Round(Box<RoundReport>),
    /// A light snapshot for the ring was taken.
    Ring(Snapshot),
}

/// One round, ready to be stored and shown.
pub(crate) struct RoundReport {
    pub(crate) at: UnixMs,
    pub(crate) state: TargetState,
    pub(crate) process: Option<ProcessMemory>,
    pub(crate) container: Option<ContainerMemory>,
    /// `MemAvailable` of the machine that it was read on.
    pub(crate) machine_available_bytes: Option<u64>,
    pub(crate) go: Option<GoMemory>,
    pub(crate) settings: GcSettings,
    /// What its runtime gives back stays resident until somebody needs it.
    pub(crate) frees_lazily: bool,
    pub(crate) ledger: Option<Ledger>,
    pub(crate) probes: Vec<String>,
    /// What its own series say of its work.
    pub(crate) series: Vec<OwnSeries>,
    pub(crate) endpoint: Endpoint,
    /// When the process started, as a scrape says it, for a target elsewhere.
    pub(crate) started: Option<UnixMs>,
    pub(crate) go_version: Option<String>,
    /// The metrics endpoint's answer as it came, for evidence.
    pub(crate) metrics: Option<Vec<u8>>,
    /// How it ended, where it did and that was asked at once.
    pub(crate) ended: Option<Ended>,
    /// Where Go's figures lie in the process is still being found out.
    pub(crate) opening: bool,
    pub(crate) batch: Batch,
}

pub(crate) struct Driver {
    orders: Orders,
    collector: Collector,
    labels: Labels,
    live: LiveTracker,
    load: LoadTracker,
    admission: Admission,
    traces: Option<TraceReads>,
    known: DriverKept,
    /// Mappings that were read and are not yet in a ledger.
    mappings: Option<MappingBytes>,
    /// The last reading of them, with what else was known then: later ledgers go by it.
    mapped: Option<Mapped>,
    ring: Ring,
    /// How the target stood when it was last read.
    standing: Standing,
    /// The last good answer of the metrics endpoint had all that is asked of the process else.
    scrape_tells: bool,
    /// Rounds left out since the last.
    skipped: u32,
}

impl Driver {
    pub(crate) fn new(mut orders: Orders) -> Self {
        let known = std::mem::take(&mut orders.before);
        // What was found is not used where ports are not to be asked, or somebody has written down what is.
        let found = known.found.clone().filter(|_| orders.probe_ports);
        let endpoint = orders.endpoint.clone().or(found).unwrap_or_default();
        let process = orders.target.process.clone();
        let timeout = orders.timeout.min(orders.period);
        let collector = Collector::new(orders.source.clone(), process, endpoint, timeout);
        let labels = orders
            .target
            .labels
            .with([(TARGET_LABEL, orders.target.id.0.as_str())]);
        let traces = orders.traces.clone();
        let traces =
            traces.map(|of| TraceReads::new(TraceLog::new(of, &orders.source.reader), timeout));
        let load = LoadTracker::with_named(orders.load_series.clone());
        let now = orders.source.clock.monotonic();
        let ring = Ring::new(orders.evidence.clone(), orders.period, known.ring_due, now);
        Self {
            orders,
            collector,
            labels,
            live: LiveTracker::default(),
            load,
            admission: Admission::default(),
            traces,
            known,
            mappings: None,
            mapped: None,
            ring,
            standing: Standing::default(),
            scrape_tells: true,
            skipped: 0,
        }
    }

    /// Reads the target until it is gone or nobody listens any more.
    pub(crate) async fn run(mut self, reports: mpsc::Sender<Report>) {
        let mut ticks = tokio::time::interval(self.orders.period);
        // After a hang the rhythm goes on; missed rounds are not made up for.
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        let mut exit = Exit::of(self.orders.target.process.as_ref());
        loop {
            let (is_over, ended) = tokio::select! {
                _ = ticks.tick() => match self.skips() {
                    true => continue,
                    false => (false, None),
                },
                () = exit.comes() => (true, self.ended().await),
            };
            self.look_for_endpoint().await;
            self.read_mappings().await;
            self.keep();
            let when = go_source::ask_process(self.collector.endpoint(), self.scrape_tells);
            self.collector.set_ask_process(when);
            let round = self.collector.round().await;
            let opening = round.is_opening();
            let traced = self.read_traces().await;
            let mut report = self.report(round, traced);
            report.ended = ended;
            report.opening = opening;
            if is_over {
                // Also where it is hidden from whoever reads.
                let at = self.orders.source.clock.now();
                report.state = TargetState::Gone { at };
            }
            let own_bytes = self.take_standing(&report);
            let gone = matches!(report.state, TargetState::Gone { .. });
            // What may be taken goes by the number of goroutines, which is known in a moment then.
            let is_silent = self.collector.endpoint().metrics_url.is_none() && !opening;
            let answered = report.go.is_some() || is_silent;
            if reports.send(Report::Round(Box::new(report))).await.is_err() || gone {
                return;
            }
            if !answered {
                continue;
            }
            let (subject, standing) = (self.subject(), self.standing.clone());
            let source = &self.orders.source;
            let pace = *self.orders.pace.borrow();
            let taken = self.ring.take(&subject, source, standing, own_bytes, pace);
            let taken = taken.await;
            self.keep();
            if let Some(snapshot) = taken
                && reports.send(Report::Ring(snapshot)).await.is_err()
            {
                return;
            }
        }
    }

    /// Whether this round is left out: our budget is met, and the target calm.
    fn skips(&mut self) -> bool {
        let rounds = self.orders.pace.borrow().rounds;
        self.skipped += 1;
        let skips = self.skipped < rounds;
        if !skips {
            self.skipped = 0;
        }
        skips
    }

    /// How the process ended, asked at once: what tells that is gone in a moment.
    async fn ended(&self) -> Option<Ended> {
        let key = self.orders.target.process.clone()?;
        let reader = self.orders.source.reader.clone();
        let asked = tokio::task::spawn_blocking(move || reader.ended(&key)).await;
        asked.ok()?.ok()?
    }

    /// How the target stands by this round, for what may be taken from it; and what it holds itself.
    fn take_standing(&mut self, report: &RoundReport) -> Option<u64> {
        let rss_bytes = report.process.map(|process| process.rss_bytes);
        if rss_bytes.is_some() {
            let known = Known {
                is_here: self.orders.target.process.is_some(),
                in_pod: self.orders.target.pod.is_some(),
                rss_bytes,
                container: report.container.as_ref(),
                available_bytes: report.machine_available_bytes,
            };
            self.standing.limit = limits::effective(&known, self.orders.machine);
        }
        let goroutines = report.go.and_then(|go| go.goroutines);
        let goroutines = goroutines.map(|goroutines| goroutines as u64);
        self.standing.goroutines = goroutines.or(self.standing.goroutines);
        rss_bytes
    }

    fn now(&self) -> Duration {
        self.orders.source.clock.monotonic()
    }

    /// Asks ports that have not been asked yet, until an endpoint is known. A service opens its
    /// port some time after it starts, so discovery's later news count too.
    async fn look_for_endpoint(&mut self) {
        let may_ask = self.orders.probe_ports && self.orders.pace.borrow().probes;
        if !may_ask || self.collector.endpoint().metrics_url.is_some() {
            return;
        }
        let Some(process) = self
            .orders
            .process
            .as_ref()
            .map(|news| news.borrow().clone())
        else {
            return;
        };
        let fresh: Vec<SocketAddr> = process
            .listening
            .iter()
            .copied()
            .filter(|addr| self.known.asked.insert(*addr))
            .collect();
        if fresh.is_empty() {
            return;
        }
        let wanted = Wanted {
            metrics: process.handlers.metrics,
            pprof: process.handlers.pprof,
        };
        if !process.netns_is_ours && !self.may_go_inside(&fresh, wanted) {
            return;
        }
        let mut endpoint = self.collector.endpoint().clone();
        endpoint.inside = (!process.netns_is_ours).then_some(process.key);
        let place = if endpoint.inside.is_some() {
            " (in its own network namespace)"
        } else {
            ""
        };
        let fetcher = self.orders.source.fetcher_for(&endpoint);
        let probed = probe(&fetcher, &fresh, wanted).await;
        let lines = probed.lines.into_iter();
        self.known.probes.extend(lines.map(|line| line + place));
        endpoint.metrics_url = endpoint.metrics_url.or(probed.endpoint.metrics_url);
        endpoint.pprof_bases.extend(probed.endpoint.pprof_bases);
        self.known.found = Some(endpoint.clone());
        self.collector.set_endpoint(endpoint);
    }

    /// Leaves what is known to the driver after this one.
    fn keep(&mut self) {
        self.known.ring_due = self.ring.due();
        let keeps = self.orders.keeps.lock();
        let mut keeps = keeps.unwrap_or_else(PoisonError::into_inner);
        keeps.clone_from(&self.known);
    }

    /// Whether ports in a network namespace that is not ours can be asked; says so where not.
    fn may_go_inside(&mut self, ports: &[SocketAddr], wanted: Wanted) -> bool {
        let Err(failure) = self.orders.source.reader.can_dial() else {
            return true;
        };
        if wanted.metrics || wanted.pprof {
            let ports: Vec<String> = ports.iter().map(ToString::to_string).collect();
            let hint = failure.hint().unwrap_or_default();
            let text = format!(
                "{}: left alone, on the loopback of a network namespace of its own; {failure}. \
                 To change that: {hint}",
                ports.join(", ")
            );
            self.known.probes.push(text);
        }
        false
    }

    fn subject(&self) -> Subject {
        let subject = Subject::new(&self.orders.target, self.collector.endpoint().clone());
        subject.asked(self.orders.asked)
    }

    /// Reads the mappings when the duty cycle allows.
    async fn read_mappings(&mut self) {
        if self.now() < self.known.mappings_due {
            return;
        }
        let Some(answer) = self.subject().read_mappings(&self.orders.source).await else {
            return;
        };
        let took = answer
            .as_ref()
            .map(|mappings| Duration::from_micros(mappings.elapsed_us));
        // The mean of the last few: on a busy machine one that took long says nothing of the next.
        let mean =
            |before: Option<Duration>, took| before.map_or(took, |mean| (mean * 3 + took) / 4);
        let took = took.ok().map(|took| mean(self.known.mappings_took, took));
        self.known.mappings_took = took;
        let pause = mappings_pause(self.orders.period, took);
        self.mappings = answer.ok().map(|mappings| mappings.bytes);
        self.known.mappings_due = self.now() + pause * self.orders.pace.borrow().mappings;
    }

    /// What the lines in its log say of the collector, where a log is configured; why it cannot be
    /// read otherwise.
    async fn read_traces(&mut self) -> Option<Result<GoMemory, String>> {
        let now = self.now();
        let scrape = match self.traces.as_mut()?.read(now).await {
            Ok(scrape) => scrape,
            Err(why) => return Some(Err(why)),
        };
        let samples = scrape.samples.iter();
        let pairs = samples.map(|sample| (&sample.labels, sample.value));
        let go = ledger::go_memory(pairs, self.orders.source.clock.now())?;
        Some(Ok(GoMemory {
            source: GoSource::Traces,
            ..go
        }))
    }

    fn report(&mut self, round: Round, traced: Option<Result<GoMemory, String>>) -> RoundReport {
        let state = self.state(&round);
        let up = round.scraped.as_ref().map(Result::is_ok);
        let (scraped, reading) = (round.scraped.and_then(Result::ok), round.reading);
        let reading = reading.and_then(Result::ok);
        let available = reading
            .as_ref()
            .and_then(|reading| reading.machine_available_bytes);
        let (memory, container, read) = match reading {
            Some(reading) => (Some(reading.memory), reading.container, reading.go),
            None => (None, None, None),
        };
        let mut report = RoundReport {
            at: round.started,
            state,
            process: memory,
            container,
            machine_available_bytes: available,
            go: None,
            settings: GcSettings::default(),
            frees_lazily: false,
            ledger: None,
            probes: self.known.probes.clone(),
            series: Vec::new(),
            endpoint: self.collector.endpoint().clone(),
            started: None,
            go_version: None,
            metrics: None,
            ended: None,
            opening: false,
            batch: Batch::default(),
        };
        if let Some(up) = up {
            self.tell_up(up, scraped.as_ref(), &mut report);
        }
        let mut load = Vec::new();
        if let Some(scraped) = scraped {
            load = self.take_scrape(scraped, &mut report);
            let own = load.iter().map(|load| OwnSeries {
                source: load.source.clone(),
                value: load.value,
            });
            report.series = own.collect();
            self.scrape_tells = go_source::tells_all(report.go.as_ref());
        }
        // An endpoint says more than a log does.
        match traced {
            Some(Ok(traced)) => report.go = report.go.or(Some(traced)),
            Some(Err(why)) => report.probes.push(why),
            None => {}
        }
        report.probes.extend(self.denied());
        let marked = self.take_read(read, &mut report);
        self.close_ledger(&mut report, marked, &load);
        report
    }

    /// Prometheus' own series about a scrape, under the names that it gives them.
    fn tell_up(&self, up: bool, scraped: Option<&Scraped>, report: &mut RoundReport) {
        let labels = &self.orders.target.labels;
        let mut tell = |name: &str, v: f64| {
            let sample = Sample { t: report.at, v };
            let labels = labels.with([(model::METRIC_NAME, name)]);
            report.batch.samples.push((labels, sample));
        };
        tell("up", f64::from(u8::from(up)));
        if let Some(scraped) = scraped {
            tell("scrape_duration_seconds", scraped.took.as_secs_f64());
            tell(
                "scrape_samples_scraped",
                scraped.scrape.samples.len() as f64,
            );
        }
    }

    /// Go's numbers, load and the target's own series out of a scrape.
    fn take_scrape(&mut self, scraped: Scraped, report: &mut RoundReport) -> Vec<LoadValue> {
        let Scraped {
            at, scrape, body, ..
        } = scraped;
        let pairs = || {
            scrape
                .samples
                .iter()
                .map(|sample| (&sample.labels, sample.value))
        };
        report.go = ledger::go_memory(pairs(), at);
        report.go_version = ledger::go_version(pairs()).map(str::to_owned);
        if let Some(process) = ledger::remote_process(pairs(), at) {
            report.started = process.started;
            // A process on this host was read by the reader, which knows more.
            report.process = report.process.or_else(|| process.memory());
        }
        let rows = scrape.samples.iter().filter_map(|sample| {
            let name = sample.labels.name();
            let kind = match scrape.role_of(name) {
                Role::Counter => LoadKind::Counter,
                Role::Count => LoadKind::Count,
                Role::Gauge => LoadKind::Gauge,
                _ => return None,
            };
            Some(LoadRow {
                name,
                kind,
                value: sample.value,
            })
        });
        let load = self.load.update(at, rows);
        let own = &self.orders.target.labels;
        let scraped = scrape.samples.iter().map(|sample| {
            let t = sample.timestamp.unwrap_or(at);
            let labels = scraped_labels(&sample.labels, own);
            (labels, Sample { t, v: sample.value })
        });
        let containers = ledger::container_series(pairs(), at).into_iter();
        // They are of other containers than the one that tells them.
        let containers = containers.map(|(labels, sample)| (own.with(labels.iter()), sample));
        let now = self.orders.source.clock.monotonic();
        let mut left_out = 0_usize;
        for (labels, sample) in scraped.chain(containers) {
            if self.admission.admits(&labels, now) {
                report.batch.samples.push((labels, sample));
            } else {
                left_out += 1;
            }
        }
        if left_out > 0 {
            report.probes.push(format!(
                "{left_out} series of the scrape are not stored: a target may have {SERIES_MAX}, and \
                 labels of {LABEL_BYTES_MAX} bytes"
            ));
        }
        report.metrics = Some(body).filter(|body| body.len() <= METRICS_KEPT_MAX);
        load
    }

    /// Takes the figures that were read in the process, where they are needed. Returns what its last
    /// mark left, where only it tells that.
    fn take_read(
        &self,
        read: Option<Result<GoFigures, GoFailure>>,
        report: &mut RoundReport,
    ) -> Option<f64> {
        let process = self.orders.process.as_ref().map(|news| news.borrow());
        let chosen = go_source::choose(report.go.take(), read, process.as_deref());
        report.go = chosen.go;
        report.settings = chosen.settings;
        report.probes.extend(chosen.why_not);
        chosen.marked
    }

    /// Whether its runtime gives memory back in the lazy way.
    fn frees_lazily(&self) -> bool {
        self.orders.process.as_ref().is_some_and(|news| {
            let process = news.borrow();
            let godebug = process.env.godebug.as_deref();
            ledger::frees_lazily(&process.build.go_version, godebug)
        })
    }

    fn close_ledger(&mut self, report: &mut RoundReport, marked: Option<f64>, load: &[LoadValue]) {
        let go = report.go.as_ref();
        let live = go.and_then(|go| self.live.update(go, marked));
        let frees_lazily = self.frees_lazily();
        report.frees_lazily = frees_lazily;
        let Some(process) = &report.process else {
            self.store_go_alone(report, live, load);
            return;
        };
        if let Some(maps) = self.mappings.take() {
            self.mapped = Some(Mapped::new(maps, process, go));
        }
        let sides = ledger::Sides {
            kernel: process,
            go,
            maps: self.mapped.as_ref(),
            live,
            frees_lazily,
        };
        report.ledger = Some(ledger::process_ledger(&sides));
        let reading = ledger::Reading {
            at: process.at,
            process: Some(process),
            container: report.container.as_ref(),
            go,
            live,
            native: ledger::native(&sides),
            ledger: report.ledger.as_ref(),
            load,
        };
        let samples = ledger::reading_samples(&self.labels, &reading);
        report.batch.samples.extend(samples);
    }

    /// Stores what an endpoint says that knows the runtime alone, as expvar does: there is no ledger to close without
    /// the kernel's side, but the heap can be judged.
    fn store_go_alone(&self, report: &mut RoundReport, live: Option<Live>, load: &[LoadValue]) {
        let Some(go) = &report.go else {
            return;
        };
        let reading = ledger::Reading {
            at: go.at,
            go: Some(go),
            live,
            load,
            ..ledger::Reading::default()
        };
        let samples = ledger::reading_samples(&self.labels, &reading);
        report.batch.samples.extend(samples);
    }

    fn state(&self, round: &Round) -> TargetState {
        match &round.reading {
            Some(Err(ReadProblem::Process(ReadFailure::Gone))) => {
                return TargetState::Gone {
                    at: self.orders.source.clock.now(),
                };
            }
            Some(Err(ReadProblem::Process(ReadFailure::Denied { hint, .. }))) => {
                return TargetState::NoPermission { hint: hint.clone() };
            }
            Some(Err(problem)) => {
                return TargetState::EndpointFailing {
                    reason: problem.to_string(),
                };
            }
            Some(Ok(_)) | None => {}
        }
        match &round.scraped {
            Some(Ok(_)) => TargetState::Up,
            Some(Err(error)) => TargetState::EndpointFailing {
                reason: chain(error),
            },
            None => self.without_endpoint(),
        }
    }

    /// That its process may not be looked into, where that is so: an endpoint may still answer.
    fn denied(&self) -> Option<String> {
        let process = self.orders.process.as_ref().map(|news| news.borrow());
        match &process?.access {
            Access::Denied { what, hint } => Some(format!("{what} may not be looked into: {hint}")),
            Access::Full => None,
        }
    }

    fn without_endpoint(&self) -> TargetState {
        let access = self
            .orders
            .process
            .as_ref()
            .map(|news| news.borrow().access.clone());
        match access {
            Some(Access::Denied { hint, .. }) => TargetState::NoPermission { hint },
            _ => TargetState::NoEndpoint,
        }
    }
}

/// How long mappings are left alone after a reading that took so long; `None` where they were refused.
fn mappings_pause(period: Duration, took: Option<Duration>) -> Duration {
    let least = (period * MAPPINGS_PERIODS).max(Duration::from_secs(1));
    // What was refused once is not worth asking for every round.
    let cost = took.map_or(MAPPINGS_REFUSED, |took| took.saturating_mul(MAPPINGS_DUTY));
    least.max(cost)
}

/// The labels of a scraped series: the target's own win, as in Prometheus, and a scraped label of the
/// same name is kept with a prefix. Nobody writes series in the name of a target of ours that way, and
/// those of an exporter in a pod, which tells of other pods, stay apart.
fn scraped_labels(scraped: &Labels, own: &Labels) -> Labels {
    let names = own.iter().map(|(name, _)| name).chain([TARGET_LABEL]);
    let exported = names.filter_map(|name| {
        let theirs = scraped.get(name).filter(|theirs| !theirs.is_empty())?;
        Some((format!("exported_{name}"), theirs))
    });
    let exported: Vec<(String, &str)> = exported.collect();
    let exported = exported
        .iter()
        .map(|(name, theirs)| (name.as_str(), *theirs));
    let theirs = scraped.iter().filter(|(name, _)| *name != TARGET_LABEL);
    Labels::new(theirs.chain(exported).chain(own.iter()))
}

/// An error with its causes, on one line.
pub(crate) fn chain(error: &ScrapeError) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        let said = inner.to_string();
        if !text.contains(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
        cause = inner.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mappings_are_read_a_thousandth_of_the_time_at_most() {
        let ms = Duration::from_millis;
        let second = Duration::from_secs(1);
        for (name, period, took, want) in [
            ("small", 15 * second, Some(ms(1)), 60 * second),
            (
                "2 GiB at 20 ms each",
                15 * second,
                Some(ms(40)),
                60 * second,
            ),
            ("30 GiB", 15 * second, Some(ms(600)), 600 * second),
            ("a short period", second, Some(ms(40)), 40 * second),
            ("a very short one", ms(10), Some(ms(0)), second),
            ("refused", 15 * second, None, 60 * second),
        ] {
            let pause = mappings_pause(period, took);
            assert_eq!(pause, want, "{name}");
            assert!(took.unwrap_or_default() * 1_000 <= pause, "{name}");
        }
    }

    /// A Go process that listens there, with metrics in its executable.
    fn process(listening: SocketAddr) -> GoProcess {
        GoProcess {
            key: model::ProcessKey {
                boot_id: model::BootId::default(),
                pid: model::Pid(1),
                start_ticks: model::StartTicks(1),
            },
            started: UnixMs(0),
            ppid: 1,
            uid: 0,
            exe: "/srv/shop".into(),
            exe_deleted: false,
            comm: "shop".into(),
            container: None,
            pod: None,
            systemd_unit: None,
            cgroup: "/".into(),
            pid_namespace_is_ours: true,
            netns_is_ours: true,
            build: reader::GoBuild::default(),
            handlers: reader::Handlers {
                metrics: true,
                ..reader::Handlers::default()
            },
            listening: vec![listening],
            env: reader::GoEnv::default(),
            access: Access::Full,
        }
    }

    #[tokio::test]
    async fn after_a_reload_no_port_is_asked_again_and_nothing_is_due_at_once() {
        let endpoint = crate::tests::Counting::start();
        let dir = tempfile::tempdir().unwrap();
        let clock = Arc::new(crate::SystemClock::default());
        let parts = crate::tests::parts(dir.path(), crate::tests::config(""), clock);
        let incident: model::Incident =
            serde_json::from_str(include_str!("../../alert/tests/data/incident.json")).unwrap();
        let process = process(endpoint.address());
        let driver = |before: DriverKept, probe_ports: bool| {
            let keeps = Arc::default();
            let orders = Orders {
                before,
                keeps: Arc::clone(&keeps),
                target: incident.verdict.target.clone(),
                source: parts.source.clone(),
                endpoint: None,
                period: Duration::from_secs(1),
                timeout: Duration::from_secs(1),
                evidence: Evidence::default(),
                machine: Machine::of(&parts.host, &parts.config.limits),
                probe_ports,
                traces: None,
                load_series: Vec::new(),
                asked: false,
                pace: watch::channel(Pace::default()).1,
                process: Some(watch::channel(process.clone()).1),
            };
            (Driver::new(orders), keeps)
        };
        let (mut first, keeps) = driver(DriverKept::default(), true);
        first.look_for_endpoint().await;
        first.known.mappings_due = Duration::from_secs(70);
        first.keep();
        assert_eq!(endpoint.asked(), 1);
        let found = first.collector.endpoint().clone();
        assert!(found.metrics_url.is_some(), "{:?}", first.known.probes);

        let before: DriverKept = keeps.lock().unwrap().clone();
        let (mut second, _) = driver(before.clone(), true);
        second.look_for_endpoint().await;
        assert_eq!(endpoint.asked(), 1, "one GET a port and process life");
        assert_eq!(second.collector.endpoint().metrics_url, found.metrics_url);
        assert_eq!(second.known.probes, first.known.probes);
        assert_eq!(second.known.mappings_due, Duration::from_secs(70));
        let (mut third, _) = driver(before, false);
        third.look_for_endpoint().await;
        assert_eq!(third.collector.endpoint().metrics_url, None, "not wanted");
    }

    #[test]
    fn the_target_s_labels_win_and_others_of_the_name_are_kept() {
        let own = Labels::new([("job", "local"), ("pod", "exporter-0")]);
        let told = |pairs: &[(&str, &str)]| {
            scraped_labels(&Labels::metric("up", pairs.iter().copied()), &own).to_string()
        };
        let plain = "up{job=\"local\",pod=\"exporter-0\"}";
        assert_eq!(told(&[]), plain);
        assert_eq!(told(&[("pod", "")]), plain);
        assert_eq!(
            told(&[("pod", "shop-1"), ("target_id", "x")]),
            "up{exported_pod=\"shop-1\",exported_target_id=\"x\",job=\"local\",pod=\"exporter-0\"}"
        );
    }
}
