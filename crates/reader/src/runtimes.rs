//! The figures of Go runtimes: which programs are open, and reading them.
//!
//! A program is opened once in its life (see `opener.rs`) and then read in a quarter of a
//! millisecond. What is kept of it is some ten kilobytes, of at most [`PROGRAMS_MAX`] programs, and
//! forgotten when its process ends, executes another program, or is not asked for any more.

use std::collections::HashMap;
use std::time::Duration;

use inspect::memory::LiveMemory;
use inspect::{GoRanges, InspectError, MemStats, Places};
use model::{Clock, ProcessKey, UnixMs};

use crate::answers::{GoFailure, GoFigures, ReadFailure};
use crate::opener::{self, How, Job, Opened, Opener};
use crate::proc_dir::ProcDir;
use crate::procfs::{Exec, Stat};

/// Programs kept; the one asked for longest ago goes first.
const PROGRAMS_MAX: usize = 2048;
/// One that nobody asked for in so long is forgotten.
const UNUSED_MAX: Duration = Duration::from_secs(600);
/// One that could not be opened or read is tried again after so long, doubling: it may have been
/// starting up, or permissions may change.
const PAUSE_MIN: Duration = Duration::from_secs(5);
const PAUSE_MAX: Duration = Duration::from_secs(600);

#[derive(Debug)]
pub(crate) struct Runtimes {
    opener: Opener,
    programs: HashMap<ProcessKey, Known>,
    swept: Duration,
}

#[derive(Debug)]
struct Known {
    exec: Exec,
    used: Duration,
    pause: Duration,
    state: State,
}

#[derive(Debug)]
enum State {
    Opening,
    Open(Box<Open>),
    Failed { failure: GoFailure, again: Duration },
}

#[derive(Debug)]
struct Open {
    places: Places,
    memory: LiveMemory,
}

impl Runtimes {
    pub(crate) fn new(how: How) -> Self {
        Self {
            opener: Opener::new(how),
            programs: HashMap::new(),
            swept: Duration::ZERO,
        }
    }

    /// The figures of the process that `dir` is and `stat` describes.
    pub(crate) fn figures(
        &mut self,
        key: &ProcessKey,
        dir: &ProcDir,
        stat: &Stat,
        clock: &dyn Clock,
    ) -> Result<GoFigures, GoFailure> {
        let now = clock.monotonic();
        let open = self.open(key, stat, now)?;
        let stats = open.places.mem_stats(&open.memory);
        let at = clock.now();
        // Through the folder that was opened before: had the pid been used again since, or had the
        // process executed something else, it would not say the same.
        let stats = match dir.stat() {
            Ok(after) if after.exec == stat.exec && !after.has_ended() => stats,
            Ok(after) if after.has_ended() => Err(gone(key)),
            Ok(_) => {
                self.forget(key);
                return Err(GoFailure::Opening);
            }
            Err(ReadFailure::Gone) => Err(gone(key)),
            Err(_) => stats,
        };
        match stats {
            Ok(stats) => {
                self.is_well(key);
                Ok(figures(&stats, at))
            }
            Err(error) => Err(self.failed(key, opener::of_error(&error), now)),
        }
    }

    /// Go's own address ranges in that process; `None` while they are not known.
    pub(crate) fn ranges(
        &mut self,
        key: &ProcessKey,
        stat: &Stat,
        clock: &dyn Clock,
    ) -> Option<GoRanges> {
        let open = self.open(key, stat, clock.monotonic()).ok()?;
        open.places.go_ranges(&open.memory).ok()
    }

    /// The process has ended.
    pub(crate) fn forget(&mut self, key: &ProcessKey) {
        self.programs.remove(key);
    }

    /// The program, if it is open; else it is asked for, when that is due.
    fn open(&mut self, key: &ProcessKey, stat: &Stat, now: Duration) -> Result<&Open, GoFailure> {
        while let Some(opened) = self.opener.done() {
            self.take(opened, now);
        }
        self.sweep(now);
        if self.programs.get(key).is_some_and(|p| p.exec != stat.exec) {
            self.forget(key);
        }
        if !self.programs.contains_key(key) {
            self.make_room();
        }
        let due = match self.programs.get(key).map(|program| &program.state) {
            None => true,
            Some(State::Failed { again, .. }) => *again <= now,
            Some(State::Opening | State::Open(_)) => false,
        };
        if due {
            let job = Job {
                key: key.clone(),
                exec: stat.exec,
            };
            if !self.opener.ask(job) {
                return Err(GoFailure::Opening);
            }
            let pause = self.programs.get(key).map_or(PAUSE_MIN, |p| p.pause);
            let known = Known {
                exec: stat.exec,
                used: now,
                pause,
                state: State::Opening,
            };
            self.programs.insert(key.clone(), known);
        }
        let Some(program) = self.programs.get_mut(key) else {
            return Err(GoFailure::Opening);
        };
        program.used = now;
        match &program.state {
            State::Open(open) => Ok(open),
            State::Opening => Err(GoFailure::Opening),
            State::Failed { failure, .. } => Err(failure.clone()),
        }
    }

    /// Takes over what the opener found; of a program that was forgotten meanwhile, nothing.
    fn take(&mut self, (job, opened): Opened, now: Duration) {
        let Some(program) = self.programs.get_mut(&job.key) else {
            return;
        };
        if program.exec != job.exec {
            return;
        }
        match opened {
            Ok(places) => {
                let memory = LiveMemory::new(job.key.pid.0);
                program.state = State::Open(Box::new(Open { places, memory }));
            }
            Err(failure) => {
                self.failed(&job.key, failure, now);
            }
        }
    }

    /// Notes a failure, and when to try again.
    fn failed(&mut self, key: &ProcessKey, failure: GoFailure, now: Duration) -> GoFailure {
        if failure == GoFailure::Gone {
            self.forget(key);
        }
        if let Some(program) = self.programs.get_mut(key) {
            program.state = State::Failed {
                failure: failure.clone(),
                again: now + program.pause,
            };
            program.pause = (program.pause * 2).min(PAUSE_MAX);
        }
        failure
    }

    fn is_well(&mut self, key: &ProcessKey) {
        if let Some(program) = self.programs.get_mut(key) {
            program.pause = PAUSE_MIN;
        }
    }

    /// Forgets what nobody asks for; looks each minute.
    fn sweep(&mut self, now: Duration) {
        if now.saturating_sub(self.swept) >= Duration::from_secs(60) {
            self.swept = now;
            self.programs
                .retain(|_, program| now.saturating_sub(program.used) < UNUSED_MAX);
        }
    }

    fn make_room(&mut self) {
        if self.programs.len() >= PROGRAMS_MAX {
            let oldest = self.programs.iter().min_by_key(|(_, p)| p.used);
            if let Some(oldest) = oldest.map(|(key, _)| key.clone()) {
                self.forget(&oldest);
            }
        }
    }
}

fn gone(key: &ProcessKey) -> InspectError {
    InspectError::NoProcess { pid: key.pid.0 }
}

fn figures(stats: &MemStats, at: UnixMs) -> GoFigures {
    let runtime = [
        stats.mspan_inuse,
        stats.mcache_inuse,
        stats.buck_hash_sys,
        stats.gc_sys,
        stats.other_sys,
    ];
    GoFigures {
        at,
        // Before the first collection the pacer pretends a mark of 2 MiB.
        live_bytes: (stats.num_gc > 0).then_some(stats.heap_marked),
        heap_alloc_bytes: stats.heap_alloc,
        heap_inuse_bytes: stats.heap_inuse,
        heap_idle_bytes: stats.heap_idle,
        heap_released_bytes: stats.heap_released,
        heap_objects: stats.heap_objects,
        stack_inuse_bytes: stats.stack_inuse,
        runtime_bytes: runtime
            .iter()
            .fold(0, |sum, part| sum.saturating_add(*part)),
        sys_bytes: stats.sys,
        next_gc_bytes: stats.next_gc,
        gc_cycles: stats.num_gc.into(),
        last_gc_ns: stats.last_gc_ns,
        alloc_bytes_total: stats.total_alloc,
        gogc_percent: stats.gogc,
        gomemlimit_bytes: u64::try_from(stats.memory_limit)
            .ok()
            .filter(|&limit| limit < i64::MAX as u64),
        goroutines: stats.num_goroutine,
        threads: stats.num_thread,
    }
}
