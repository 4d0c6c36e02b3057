//! The daemon's main loop: all that can wake it is one closed [`Event`], so what it reacts to is on
//! one screen. It never waits for a target, a disk or a person.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use alert::Dispatcher;
use collect::{Endpoint, Source, identity};
use locate::Request;
use model::fleet::NotifierHealth;
use model::{
    Clock, Command, CommandOutcome, FleetView, Incident, Target, TargetId, TargetState, UnixMs,
    Verdict,
};
use reader::{Discovery, GoProcess};
use tokio::sync::{mpsc, oneshot, watch};

use crate::book::Book;
use crate::budgeting::Own;
use crate::config::Config;
use crate::costly::CostlyTaken;
use crate::deaths::Death;
use crate::driver::{Driver, Orders, Report};
use crate::holders::Refusal;
use crate::judging::{Remembered, judge_target};
use crate::leaks::Captured;
use crate::limits::Machine;
use crate::marks::Marks;
use crate::rails::{End, Rails};
use crate::store_words;
use crate::tracked::{Kept, Tracked};
use crate::watch::{Parts, Shared, dispatcher};
use crate::writer::{NotWritten, Stored, Writer};

/// The heartbeat: judging that is due, views that are out of date, incidents that are over.
const BEAT: Duration = Duration::from_millis(500);
/// Judgements at a time; the others wait for the next beat.
const JUDGING_MAX: usize = 4;
const TARGETS_MAX: usize = 20_000;
/// The disk has so long to take what is left when we end.
const CLOSE_MAX: Duration = Duration::from_secs(10);
/// A process that so many looks in a row have not found has ended, or may not be looked into any more.
const UNSEEN_MAX: u32 = 2;

/// All that can wake the main loop beside its heartbeat.
pub(crate) enum Event {
    /// Discovery has looked around.
    Discovered(Result<Box<Discovery>, String>),
    /// A driver reports.
    Report(TargetId, Report),
    /// A judgement is done.
    Judged(TargetId, Result<Box<Verdict>, String>, Box<Remembered>),
    /// Evidence for a leak was taken and read.
    Captured(Box<Captured>),
    /// Evidence lies in its incident's folder, or waits for the disk.
    EvidenceStored(model::IncidentId, Stored),
    /// Evidence of a target was read that belongs to another incident now.
    EvidenceMoved(model::IncidentId, Vec<model::EvidenceFile>),
    /// A look at who holds a target's heap is over.
    Holders(TargetId, Box<Result<reader::HoldersLook, Refusal>>),
    /// A costly capture is over.
    Costly(Box<CostlyTaken>),
    /// What a process's end left to know is known.
    Died(Box<Death>),
    /// Somebody asks for something.
    Command(Command, oneshot::Sender<CommandOutcome>),
}

pub(crate) struct MainLoop {
    pub(crate) config: Config,
    pub(crate) parts: Parts,
    pub(crate) shared: Arc<Shared>,
    pub(crate) events: mpsc::Sender<Event>,
    pub(crate) writer: Writer,
    pub(crate) book: Book,
    pub(crate) targets: BTreeMap<TargetId, Tracked>,
    pub(crate) dispatcher: Dispatcher,
    pub(crate) marks: Marks,
    /// What we cost ourselves.
    pub(crate) own: Own,
    /// Which costly captures are under way.
    pub(crate) rails: Rails,
    /// Incidents whose alert was sent since the start.
    pub(crate) told: HashSet<model::IncidentId>,
    pub(crate) last_saved: HashMap<model::IncidentId, Duration>,
    discovery: Option<tokio::task::JoinHandle<()>>,
    /// What was known of targets before a reload, until they are found again.
    kept: HashMap<TargetId, Kept>,
    /// Ports in network namespaces of their own can be asked: that is decided at the start.
    dials: bool,
    /// Attempts to tell somebody that the latest view knows of.
    attempts: u64,
    version: watch::Sender<u64>,
    views: u64,
    changed: bool,
    started: UnixMs,
    troubles: BTreeMap<&'static str, String>,
    notes: BTreeMap<&'static str, String>,
}

impl MainLoop {
    pub(crate) fn new(
        mut parts: Parts,
        shared: Arc<Shared>,
        events: mpsc::Sender<Event>,
        version: watch::Sender<u64>,
    ) -> std::io::Result<Self> {
        let writer = Writer::start(Arc::clone(&parts.store), Arc::clone(&parts.source.clock))?;
        let damaged = store_words::problems(&parts.store);
        let book = Book::restore(parts.store.incidents());
        let marks = Marks::of(book.latest().map(|incident| &**incident));
        let notifiers = std::mem::take(&mut parts.notifiers);
        let dispatcher = dispatcher(&parts.config, notifiers, parts.stdout_alerts);
        Ok(Self {
            config: parts.config.clone(),
            started: parts.source.clock.now(),
            shared,
            events,
            writer,
            book,
            targets: BTreeMap::new(),
            dispatcher,
            marks,
            own: Own::default(),
            rails: Rails::default(),
            told: HashSet::new(),
            last_saved: HashMap::new(),
            discovery: None,
            kept: HashMap::new(),
            dials: parts.config.discovery.dials(),
            attempts: 0,
            version,
            views: 0,
            changed: true,
            troubles: BTreeMap::new(),
            notes: damaged.map(|text| ("damaged", text)).into_iter().collect(),
            parts,
        })
    }

    pub(crate) async fn run(
        mut self,
        mut inbox: mpsc::Receiver<Event>,
        mut stop: watch::Receiver<bool>,
    ) -> Result<(), NotWritten> {
        self.repeat_open_alerts();
        self.discover();
        let mut beat = tokio::time::interval(BEAT);
        beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                event = inbox.recv() => match event {
                    Some(event) => self.handle(event),
                    None => break,
                },
                _ = beat.tick() => self.beat(),
                _ = stop.changed() => break,
            }
        }
        if let Some(discovery) = &self.discovery {
            discovery.abort();
        }
        for tracked in self.targets.values() {
            if let Some(driver) = &tracked.driver {
                driver.abort();
            }
        }
        let store = Arc::clone(&self.parts.store);
        crate::writer::close(self.writer, store, CLOSE_MAX).await
    }

    pub(crate) fn clock(&self) -> &dyn Clock {
        &*self.parts.source.clock
    }

    pub(crate) fn source(&self) -> &Source {
        &self.parts.source
    }

    pub(crate) fn touch(&mut self) {
        self.changed = true;
    }

    pub(crate) fn handle(&mut self, event: Event) {
        match event {
            Event::Discovered(Ok(discovery)) => self.discovered(*discovery),
            Event::Discovered(Err(reason)) => {
                self.troubles.insert("discovery", reason);
            }
            Event::Report(id, report) => self.reported(&id, report),
            Event::Judged(id, verdict, remembered) => self.judged(&id, verdict, *remembered),
            Event::Holders(id, said) => self.holders_seen(&id, *said),
            Event::Captured(captured) => self.captured(*captured),
            Event::Costly(taken) => self.costly_taken(*taken),
            Event::Died(death) => self.died(*death),
            Event::EvidenceStored(id, stored) => self.evidence_stored(&id, stored),
            Event::EvidenceMoved(id, files) => self.store_evidence(id, files),
            Event::Command(command, answer) => self.command(command, answer),
        }
        self.changed = true;
    }

    fn beat(&mut self) {
        self.keep_budget();
        self.judge_due();
        self.resolve_incidents();
        self.settle_answers();
        self.note_silence();
        let now = self.clock().now();
        let before = self.targets.len();
        self.targets.retain(|_, tracked| !tracked.is_forgotten(now));
        self.changed |= self.targets.len() != before;
        let attempts = self.dispatcher.attempts();
        self.changed |= std::mem::replace(&mut self.attempts, attempts) != attempts;
        if std::mem::take(&mut self.changed) {
            self.publish();
        }
    }

    /// Says of targets that nothing was heard of for long that what is shown of them is old.
    fn note_silence(&mut self) {
        let (now, monotonic) = (self.clock().now(), self.clock().monotonic());
        for tracked in self.targets.values_mut() {
            self.changed |= tracked.note_silence(now, monotonic);
        }
    }

    // --- what to watch ---

    /// Looks for what is to be watched by the configuration as it is now, from here on.
    pub(crate) fn discover(&mut self) {
        if let Some(before) = self.discovery.take() {
            before.abort();
        }
        if self.config.discovery.local_processes {
            self.discovery = Some(self.start_discovery());
        } else {
            self.start_configured(&[]);
        }
    }

    fn start_discovery(&self) -> tokio::task::JoinHandle<()> {
        let (reader, events) = (self.source().reader.clone(), self.events.clone());
        let every = self.config.discovery.refresh_interval;
        tokio::spawn(async move {
            loop {
                let asked = reader.clone();
                let found = tokio::task::spawn_blocking(move || asked.discover()).await;
                let found = match found {
                    Ok(Ok(discovery)) => Ok(Box::new(discovery)),
                    Ok(Err(error)) => Err(error.to_string()),
                    Err(_) => Err("discovery was cut off".into()),
                };
                if events.send(Event::Discovered(found)).await.is_err() {
                    return;
                }
                tokio::time::sleep(every).await;
            }
        })
    }

    fn discovered(&mut self, discovery: Discovery) {
        self.troubles.remove("discovery");
        if !self.config.discovery.local_processes {
            // It was on its way when that was switched off.
            return;
        }
        self.note_unread(&discovery);
        let seen: HashSet<TargetId> = discovery
            .processes
            .iter()
            .map(|p| TargetId::of_process(&p.key))
            .collect();
        let mut ended = Vec::new();
        for (id, tracked) in &mut self.targets {
            let process = tracked.view.target.process.as_ref();
            let Some(process) = process.filter(|_| discovery.pending == 0 && !seen.contains(id))
            else {
                tracked.unseen = 0;
                continue;
            };
            if tracked.is_gone() {
                continue;
            }
            tracked.unseen += 1;
            // Its driver asks at once how it ended, and says so itself right after.
            if tracked.unseen < UNSEEN_MAX {
                continue;
            }
            // A reader without privileges finds fewer than one that had them.
            if reader::lives(process) {
                tracked.is_hidden();
                continue;
            }
            tracked.view.state = TargetState::Gone { at: discovery.at };
            if let Some(driver) = tracked.driver.take() {
                driver.abort();
            }
            ended.push(id.clone());
        }
        for id in ended {
            self.target_ended(&id, discovery.at, None);
        }
        for process in &discovery.processes {
            self.see_process(process, discovery.at);
        }
        self.start_configured(&discovery.processes);
        if discovery.pending == 0 {
            // Who was not found again by now has ended.
            self.kept.clear();
        }
    }

    /// Says what discovery could not look into.
    fn note_unread(&mut self, discovery: &Discovery) {
        let processes = match discovery.unreadable {
            1 => "1 process".into(),
            several => format!("{several} processes"),
        };
        let hint = discovery.hint.as_ref();
        let unreadable = hint
            .filter(|_| discovery.unreadable > 0)
            .map(|hint| format!("{processes} may not be looked into, Go or not: {hint}"));
        let left_alone = discovery.left_alone.join("; ");
        let left_alone = (!left_alone.is_empty()).then_some(left_alone);
        for (name, note) in [("unreadable", unreadable), ("left-alone", left_alone)] {
            match note {
                Some(text) => self.notes.insert(name, text),
                None => self.notes.remove(name),
            };
        }
    }

    fn see_process(&mut self, process: &GoProcess, now: UnixMs) {
        let id = TargetId::of_process(&process.key);
        if let Some(tracked) = self.targets.get_mut(&id) {
            tracked.started_at(process.started);
            if let Some(news) = &tracked.news {
                news.send_if_modified(|old| {
                    let differs = old != process;
                    old.clone_from(process);
                    differs
                });
            }
            return;
        }
        if now.since(process.started) < self.config.discovery.min_age {
            return;
        }
        let mut target = identity::of_process(process, &self.parts.host);
        let configured = self.configured_for(process);
        let endpoint = configured.map(|(endpoint, labels)| {
            target.labels = labels;
            endpoint
        });
        let (news, listen) = watch::channel(process.clone());
        self.start_driver(target, endpoint, Some(listen));
        if let Some(tracked) = self.targets.get_mut(&id) {
            tracked.news = Some(news);
        }
    }

    /// The configured endpoint that this process serves: one target, not two.
    fn configured_for(&self, process: &GoProcess) -> Option<(Endpoint, model::Labels)> {
        if !process.netns_is_ours {
            return None;
        }
        let ports: HashSet<u16> = process.listening.iter().map(|addr| addr.port()).collect();
        self.config.scrape_configs.iter().find_map(|job| {
            job.instances().find_map(|(instance, url, labels)| {
                ports.contains(&local_port(instance)?).then(|| {
                    let target = identity::of_instance(&job.job_name, instance, &url, labels);
                    (Endpoint::of_url(&url, &job.metrics_path), target.labels)
                })
            })
        })
    }

    /// Whether a configured target is a process that is watched as such: one listens on its port, or
    /// was found to, even if its sockets may not be seen at the moment.
    fn is_of_a_process(
        &self,
        target: &Target,
        endpoint: &Endpoint,
        processes: &[GoProcess],
    ) -> bool {
        let instance = target.labels.get("instance").and_then(local_port);
        let listens = |process: &GoProcess| {
            process.netns_is_ours
                && process
                    .listening
                    .iter()
                    .any(|addr| Some(addr.port()) == instance)
        };
        let merged = |tracked: &Tracked| {
            tracked.view.target.process.is_some()
                && !tracked.is_gone()
                && tracked.endpoint.inside.is_none()
                && tracked.endpoint.metrics_url == endpoint.metrics_url
        };
        processes.iter().any(listens) || self.targets.values().any(merged)
    }

    /// Starts the configured targets that are no process here, and ends those that turned out to
    /// be one.
    fn start_configured(&mut self, processes: &[GoProcess]) {
        let mut wanted = Vec::new();
        for job in &self.config.scrape_configs {
            for (instance, url, labels) in job.instances() {
                let target = identity::of_instance(&job.job_name, instance, &url, labels);
                wanted.push((
                    target,
                    Endpoint::of_url(&url, &job.metrics_path),
                    job.scrape_interval,
                ));
            }
        }
        for (target, endpoint, interval) in wanted {
            let here = self.is_of_a_process(&target, &endpoint, processes);
            let known = self.targets.contains_key(&target.id);
            if here && known {
                self.stop(&target.id);
            } else if !here && !known {
                self.start_driver_at(target, Some(endpoint), None, interval);
            }
        }
    }

    fn start_driver(
        &mut self,
        target: Target,
        endpoint: Option<Endpoint>,
        process: Option<watch::Receiver<GoProcess>>,
    ) {
        self.start_driver_at(target, endpoint, process, None);
    }

    fn start_driver_at(
        &mut self,
        target: Target,
        endpoint: Option<Endpoint>,
        process: Option<watch::Receiver<GoProcess>>,
        interval: Option<Duration>,
    ) {
        if self.targets.len() >= TARGETS_MAX {
            self.troubles.insert(
                "targets",
                format!("more than {TARGETS_MAX} targets: the rest is not watched"),
            );
            return;
        }
        let period = interval.unwrap_or(self.config.global.scrape_interval);
        let id = target.id.clone();
        let mut tracked =
            Tracked::new(target.clone(), endpoint.clone().unwrap_or_default(), period);
        let mut logs = self.config.trace_files.iter();
        let log = logs.find(|log| log.name == target.name);
        let kept = self.kept.remove(&id).unwrap_or_default();
        tracked.captured_at.clone_from(&kept.captured_at);
        let driver = Driver::new(Orders {
            before: kept.driver,
            keeps: Arc::clone(&tracked.driver_keeps),
            traces: log.and_then(|log| log.source(target.process.as_ref())),
            target,
            source: self.source().clone(),
            endpoint,
            period,
            timeout: self.config.global.scrape_timeout,
            evidence: self.config.evidence.clone(),
            machine: self.machine(),
            probe_ports: self.config.discovery.probe_ports,
            load_series: self.config.load.series.clone(),
            asked: false,
            pace: tracked.pace.subscribe(),
            process,
        });
        let (events, name) = (self.events.clone(), id.clone());
        tracked.driver = Some(tokio::spawn(async move {
            let (reports, mut inbox) = mpsc::channel(4);
            let drive = tokio::spawn(driver.run(reports));
            let guard = AbortOnDrop(drive.abort_handle());
            while let Some(report) = inbox.recv().await {
                if events
                    .send(Event::Report(name.clone(), report))
                    .await
                    .is_err()
                {
                    break;
                }
            }
            drop(guard);
        }));
        let target = tracked.view.target.clone();
        // A new process is compared with the ones before it.
        let before = self.targets.values().filter(|other| {
            other.view.target.workload == target.workload
                && matches!(other.view.state, TargetState::Gone { .. })
        });
        if let Some(last) = before.max_by_key(|other| other.view.last_read) {
            tracked.remembered = last.remembered.heir();
        }
        self.tell_pace(&tracked);
        self.targets.insert(id, tracked);
        self.mark_started(&target);
    }

    fn stop(&mut self, id: &TargetId) {
        if let Some(tracked) = self.targets.remove(id)
            && let Some(driver) = tracked.driver
        {
            driver.abort();
        }
    }

    // --- what was read ---

    fn machine(&self) -> Machine {
        Machine::of(&self.parts.host, &self.config.limits)
    }

    fn reported(&mut self, id: &TargetId, report: Report) {
        let machine = self.machine();
        let (now, monotonic) = (self.clock().now(), self.clock().monotonic());
        let Some(tracked) = self.targets.get_mut(id) else {
            return;
        };
        tracked.hear(now, monotonic);
        match report {
            Report::Ring(snapshot) => {
                tracked.ring_refusals = snapshot.refusals;
                tracked.snapshotting = false;
                tracked.captured_round = Some(tracked.rounds);
                if snapshot.was_outside {
                    self.rails.end(id, Request::GoroutinesOutside, End::Had);
                }
                self.writer.ring(id.clone(), snapshot.files);
            }
            Report::Round(mut round) => {
                let was_gone = tracked.is_gone();
                let (kills, started) = (tracked.oom_kills(), tracked.view.target.start_time);
                self.writer.append(std::mem::take(&mut round.batch));
                tracked.take(&mut round, machine);
                let is_gone = tracked.is_gone() && !was_gone;
                let killed = kills.is_some_and(|kills| tracked.oom_kills() > Some(kills));
                let again = started != tracked.view.target.start_time;
                let again = again.then(|| tracked.view.target.clone());
                if killed && !is_gone {
                    self.mark_oom(id, round.at);
                }
                if is_gone {
                    self.target_ended(id, round.at, round.ended.take());
                } else if let Some(target) = again {
                    self.mark_started(&target);
                }
            }
        }
    }

    // --- judging ---

    fn judge_due(&mut self) {
        let (now, at) = (self.clock().monotonic(), self.clock().now());
        for tracked in self.targets.values_mut() {
            tracked.forget_stale_verdict(at);
        }
        let every = self.config.global.evaluation_interval;
        let busy = self
            .targets
            .values()
            .filter(|tracked| tracked.judging)
            .count();
        let mut due: Vec<(Option<Duration>, TargetId)> = self
            .targets
            .iter()
            .filter(|(_, t)| !t.judging && !t.is_gone() && t.is_fresh(at))
            .filter(|(_, t)| t.judged_at.is_none_or(|last| now >= last + every))
            .map(|(id, t)| (t.judged_at, id.clone()))
            .collect();
        // Those that have waited longest go first.
        due.sort();
        for (_, id) in due.into_iter().take(JUDGING_MAX.saturating_sub(busy)) {
            let Some(tracked) = self.targets.get_mut(&id) else {
                continue;
            };
            tracked.judging = true;
            tracked.judged_at = Some(now);
            let (target, facts) = (tracked.view.target.clone(), tracked.facts.clone());
            let ledger = tracked.view.ledger.clone();
            let mut remembered = std::mem::take(&mut tracked.remembered);
            let (store, events) = (Arc::clone(&self.parts.store), self.events.clone());
            tokio::spawn(async move {
                let judge = move || {
                    let ledger = ledger.as_ref();
                    let judged =
                        judge_target(&*store, &target, &facts, ledger, at, &mut remembered);
                    (judged, remembered)
                };
                let (verdict, remembered) = match tokio::task::spawn_blocking(judge).await {
                    Ok((verdict, remembered)) => {
                        let verdict = verdict.map(Box::new).map_err(|error| error.to_string());
                        (verdict, remembered)
                    }
                    Err(_) => (Err("judging was cut off".into()), Remembered::default()),
                };
                // An error means that the watcher is ending.
                let judged = Event::Judged(id, verdict, Box::new(remembered));
                let _ = events.send(judged).await;
            });
        }
    }

    fn judged(
        &mut self,
        id: &TargetId,
        verdict: Result<Box<Verdict>, String>,
        remembered: Remembered,
    ) {
        let Some(tracked) = self.targets.get_mut(id) else {
            return;
        };
        tracked.judging = false;
        tracked.remembered = remembered;
        match verdict {
            Ok(verdict) => {
                self.troubles.remove("judging");
                self.weigh(id, *verdict);
            }
            Err(reason) => {
                self.troubles.insert("judging", reason);
            }
        }
    }

    // --- what people ask ---

    fn command(&mut self, command: Command, answer: oneshot::Sender<CommandOutcome>) {
        let outcome = match &command {
            Command::Reload => self.reload(),
            Command::Snapshot { target } => self.snapshot(target),
            Command::Answer { .. } | Command::TakeBack { .. } => {
                return self.answered(command, answer);
            }
            _ => CommandOutcome::Refused {
                reason: "this command is not known here".into(),
            },
        };
        tracing::info!(?command, ?outcome, "command");
        // The asker may have gone away.
        let _ = answer.send(outcome);
    }

    fn reload(&mut self) -> CommandOutcome {
        let Some(path) = &self.parts.config_path else {
            return CommandOutcome::Refused {
                reason: "there is no configuration file".into(),
            };
        };
        let mut config = match Config::load(path) {
            Ok(config) => config,
            Err(error) => {
                return CommandOutcome::Refused {
                    reason: error.to_string(),
                };
            }
        };
        let waiting = self.config.after_restart(&config, self.dials).join(", ");
        config.keep_running(&self.config);
        let changes = self.config.changes(&config).join(", ");
        let told_anew = match self.tell_by(&config) {
            Ok(anew) => anew,
            Err(error) => {
                return CommandOutcome::Refused {
                    reason: error.to_string(),
                };
            }
        };
        if !changes.is_empty() {
            self.apply(config, told_anew);
        }
        self.note_waiting(&waiting);
        let changed = match (changes.is_empty(), waiting.is_empty()) {
            (true, true) => "nothing has changed".into(),
            (true, false) => "nothing has changed yet".into(),
            (false, _) => format!("changed: {changes}"),
        };
        let text = match waiting.is_empty() {
            true => changed,
            false => format!("{changed}; only after a restart: {waiting}"),
        };
        CommandOutcome::Accepted { text }
    }

    /// Goes on by `config`.
    fn apply(&mut self, config: Config, told_anew: bool) {
        self.config = config;
        if told_anew {
            self.repeat_open_alerts();
        }
        // Drivers carry their settings with them: each starts anew, its history is in the store. What a
        // target is asked only once, or seldom, goes over to the next one.
        let stopped: Vec<TargetId> = self.targets.keys().cloned().collect();
        for id in stopped {
            if let Some(tracked) = self.targets.get(&id).filter(|tracked| !tracked.is_gone()) {
                self.kept.insert(id.clone(), tracked.kept());
            }
            self.stop(&id);
        }
        self.discover();
    }

    /// Says on the pages and in the log which settings of the file are not in force; `waiting` may be empty.
    fn note_waiting(&mut self, waiting: &str) {
        if waiting.is_empty() {
            self.notes.remove("restart");
            return;
        }
        let text = format!(
            "the configuration file has changed where only a restart of unswept takes it over: {waiting}"
        );
        tracing::warn!("{text}");
        self.notes.insert("restart", text);
    }

    // --- what faces see ---

    pub(crate) fn publish(&mut self) {
        self.views += 1;
        let mut targets: Vec<model::TargetView> = self
            .targets
            .values()
            .map(|tracked| tracked.view.clone())
            .collect();
        targets.sort_by_cached_key(worst_first);
        let incidents = self.book.latest().cloned().collect();
        let counts = self.writer.counts();
        let stats = self.parts.store.stats();
        let own = self.own_cost();
        let view = FleetView {
            at: self.clock().now(),
            version: self.views,
            targets,
            incidents,
            health: model::fleet::Health {
                started: self.started,
                version: self.parts.version.clone(),
                troubles: self.troubles(),
                undelivered: self.undelivered(),
                notes: self.notes(&stats),
                samples_stored: counts.stored.load(Ordering::Relaxed),
                series: stats.series as u64,
                interval_s: self.config.global.scrape_interval.as_secs_f64(),
                data_dir: self.parts.data_dir.display().to_string(),
                notifiers: self.notifiers(),
                own,
            },
        };
        self.shared.publish(view);
        self.version.send_replace(self.views);
    }

    /// What limits us although all is well: what we may not see, and what our budget does not allow.
    fn notes(&self, stats: &store::Stats) -> Vec<String> {
        let mut notes: Vec<String> = self.notes.values().cloned().collect();
        notes.extend(store_words::gaps(stats));
        notes.extend(self.own_cost().in_words());
        notes
    }

    fn troubles(&self) -> Vec<String> {
        let mut troubles: Vec<String> = self.troubles.values().cloned().collect();
        troubles.extend(self.source().reader.status().trouble());
        if let store::Health::Degraded(reason) = self.parts.store.health() {
            troubles.push(reason);
        }
        let dropped = self.writer.counts().dropped.load(Ordering::Relaxed);
        if dropped > 0 {
            troubles.push(format!(
                "the disk is too slow: {dropped} readings were not stored"
            ));
        }
        let late = self.writer.counts().late.load(Ordering::Relaxed);
        if late > 0 {
            troubles.push(format!(
                "{late} incidents and files of evidence wait for the disk"
            ));
        }
        troubles
    }

    fn undelivered(&self) -> Vec<String> {
        let deliveries = self.dispatcher.deliveries().into_iter();
        deliveries
            .filter(|(_, delivery)| !delivery.trouble.is_empty())
            .map(|(address, delivery)| format!("{address}: {}", delivery.trouble))
            .collect()
    }

    /// How each notifier fares.
    fn notifiers(&self) -> Vec<NotifierHealth> {
        let fares = |(address, delivery): (alert::Address, alert::Delivery)| NotifierHealth {
            name: address.to_string(),
            receiver: address.receiver,
            integration: address.integration.to_owned(),
            to: address.to,
            delivered: delivery.delivered,
            failed: delivery.failed,
            refused: delivery.refused,
            dropped: delivery.dropped,
            waiting: delivery.waiting,
            trouble: delivery.trouble,
        };
        self.dispatcher
            .deliveries()
            .into_iter()
            .map(fares)
            .collect()
    }
}

/// The port of a `host:port` that means this machine.
fn local_port(instance: &str) -> Option<u16> {
    let (host, port) = instance.rsplit_once(':')?;
    let here = matches!(host, "localhost" | "127.0.0.1" | "[::1]");
    here.then(|| port.parse().ok()).flatten()
}

/// Writes an incident's manifest as it stands.
pub(crate) fn save(book: &Book, writer: &Writer, id: &model::IncidentId) {
    if let Some(incident) = book.get(id) {
        writer.incident(incident);
    }
}

/// Leaks first, soonest dead first; then what is unsure; then the biggest.
fn worst_first(view: &model::TargetView) -> (u8, u64, std::cmp::Reverse<u64>) {
    let verdict = view.verdict.as_ref();
    let gone = matches!(view.state, TargetState::Gone { .. });
    let class = match verdict.map(|verdict| verdict.verdict) {
        _ if gone => 3,
        Some(model::Judgement::Leak) => 0,
        Some(model::Judgement::Unsure) | None => 1,
        Some(model::Judgement::NoLeak) => 2,
    };
    let left = verdict.and_then(|verdict| verdict.seconds_to_limit);
    let left = left
        .filter(|_| class == 0)
        .map_or(u64::MAX, |left| left.estimate as u64);
    (
        class,
        left,
        std::cmp::Reverse(view.process.map_or(0, |process| process.rss_bytes)),
    )
}

struct AbortOnDrop(tokio::task::AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl MainLoop {
    /// Open incidents may have been told to nobody when we were killed: receivers that know them
    /// see the same alert again.
    fn repeat_open_alerts(&mut self) {
        let open: Vec<Arc<Incident>> = self
            .book
            .latest()
            .filter(|incident| incident.state == model::IncidentState::Open)
            .cloned()
            .collect();
        for incident in open {
            self.tell(&incident);
        }
    }

    pub(crate) fn tell(&mut self, incident: &Incident) {
        self.dispatcher.send(self.alert_of(incident));
        self.told.insert(incident.id.clone());
    }

    /// Newer figures and suspects of an incident, for those who are told again in any case.
    pub(crate) fn tell_newer(&self, incident: &Incident) {
        if self.told.contains(&incident.id) {
            self.dispatcher.refresh(self.alert_of(incident));
        }
    }

    fn alert_of(&self, incident: &Incident) -> alert::Alert {
        alert::Alert::of_incident(incident, &self.config.origin(&self.parts.data_dir))
    }

    /// Tells people as `config` has it from now on, if that differs; ends that were not delivered yet
    /// go along.
    fn tell_by(&mut self, config: &Config) -> Result<bool, crate::ConfigError> {
        if !self.config.tells_otherwise(config) {
            return Ok(false);
        }
        let source = self.source();
        let notifiers = config.notifiers(&source.fetcher, &source.clock)?;
        let fresh = dispatcher(config, notifiers, self.parts.stdout_alerts);
        fresh.take_over(&self.dispatcher);
        self.dispatcher = fresh;
        Ok(true)
    }
}
