//! One look at a heap: running, paused, or at a clone.

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::Context;
use inspect::goroutines::{self, stopped_thread};
use inspect::graph::Effort;
use inspect::heap::{Heap, Reading};
use inspect::holders::{Options, Report, Taken};
use inspect::stop::{Guard, Held, PauseOptions, Snapshot, SnapshotOptions, ThreadRegisters, pause};
use inspect::{InspectError, Program};
use model::{Clock, UnixMs};
use serde::Serialize;

use super::super::args::{Refs, RefsFormat};
use super::super::document::Cost;
use super::super::goroutines::{monotonic_ns, of_core};
use super::super::open::Opened;
use crate::{terminal, words};

/// So much of a clone's or core's heap is copied. A clone costs the process as long as it lives, so that of a small
/// heap is let go at once; a large heap is read as it is needed, and no copy of it is made.
const COPY_BYTES_MAX: u64 = 256 << 20;
/// How long the clone of a large heap may live.
const CLONE_AGE_MAX: Duration = Duration::from_secs(600);

/// What became of the process while it was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Mode {
    /// It ran on.
    Running,
    /// It was stopped.
    Paused,
    /// It was cloned, and the clone was read.
    Snapshot,
    /// It had ended: its core was read.
    Core,
}

/// Why a look cannot be taken as it was asked for.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LookError {
    #[error(
        "the heap has {} to copy, more than --max-memory {} allows",
        words::bytes(*bytes as f64),
        max >> 20
    )]
    CopyTooLarge { bytes: u64, max: u64 },
}

impl LookError {
    /// What the user can do about it.
    pub(crate) fn hint(&self) -> String {
        let Self::CopyTooLarge { bytes, .. } = self;
        // The program may grow until then.
        let enough = (bytes + bytes / 4).div_ceil(1 << 20);
        format!(
            "--max-memory {enough} is enough for the copy; with --snapshot, and of a core, a large heap is read as it \
             is needed and not copied"
        )
    }
}

/// How long the process stood still.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) struct Pause {
    pub(crate) pause_us: u64,
    /// Our processor time meanwhile, of all threads; of a clone nothing, as it is the kernel that clones, and nothing
    /// when the limit came first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cpu_us: Option<u64>,
    pub(crate) threads: usize,
    /// The limit ended it before everything was read.
    pub(crate) cut: bool,
}

pub(crate) struct Look {
    pub(crate) at: UnixMs,
    pub(crate) mode: Mode,
    /// Two looks at a running process were compared.
    pub(crate) is_agreed: bool,
    pub(crate) report: Report,
    pub(crate) pause: Option<Pause>,
    pub(crate) cost: Cost,
}

pub(crate) fn take(
    opened: &mut Opened,
    arguments: &Refs,
    clock: &impl Clock,
) -> anyhow::Result<Look> {
    let memory = arguments.max_memory.map(|mib| mib << 20);
    // A program cuts for itself.
    let is_for_programs = arguments.print.format() != RefsFormat::Tree;
    let options = Options {
        max_bytes: memory.unwrap_or(Options::default().max_bytes),
        memory_bytes: memory.unwrap_or(Options::default().memory_bytes),
        effort: match arguments.low_memory {
            true => Effort::LowMemory,
            false => Effort::Fast { threads: 2 },
        },
        // A comparison needs more holders than a person reads.
        holders: match arguments.diff.is_some() || arguments.against.is_some() || is_for_programs {
            true => arguments.top.max(500),
            false => arguments.top,
        },
        depth: match is_for_programs {
            true => arguments.depth.max(12),
            false => arguments.depth,
        },
        timers: match is_for_programs {
            true => 1000,
            false => Options::default().timers,
        },
        // A core does not tell what its machine's clock showed.
        now_ns: opened.pid.map(|_| monotonic_ns()),
        ..Options::default()
    };
    let (at, started) = (clock.now(), Instant::now());
    let mut clone = None;
    let (mode, taken, pause) = match opened.pid {
        None if arguments.snapshot || arguments.pause || arguments.diff.is_some() => {
            anyhow::bail!(
                "a core stands still: --pause, --snapshot and --diff TIME are for live processes"
            )
        }
        None => (Mode::Core, core(&opened.program, &options)?, None),
        Some(pid) if arguments.snapshot => {
            let (taken, pause, snapshot) = snapshot(opened, pid, arguments, &options)?;
            clone = snapshot;
            (Mode::Snapshot, taken, Some(pause))
        }
        Some(pid) if arguments.pause => paused(opened, pid, arguments, &options)?,
        Some(_) => (Mode::Running, running(&opened.program, &options)?, None),
    };
    let mut report = explain(opened, &taken, &options)?;
    if let Some(clone) = clone {
        end(opened, clone)?;
    }
    // A running program is looked at twice: what the looks agree about is sure. So is one that was let go too soon.
    let is_cut = pause.is_some_and(|pause: Pause| pause.cut);
    let is_agreed = is_cut || mode == Mode::Running && !arguments.once;
    if is_agreed {
        drop(taken);
        report = agreed(opened, &options, report)?;
    }
    opened.must_be_there()?;
    let cost = Cost::new(report.cost, started.elapsed());
    Ok(Look {
        at,
        mode,
        is_agreed,
        report,
        pause,
        cost,
    })
}

/// Looks again, and compares with the `first` look; once more where one of them lacks a great holder of the other.
fn agreed(opened: &Opened, options: &Options, first: Report) -> anyhow::Result<Report> {
    let again = || explain(opened, &running(&opened.program, options)?, options);
    let differ = |one: &Report, other: &Report| one.lacks_one_of(other) || other.lacks_one_of(one);
    let second = again()?;
    if !differ(&first, &second) {
        return Ok(second.agree(&first));
    }
    let third = again()?;
    let like = if differ(&second, &third) {
        first
    } else {
        second
    };
    Ok(third.agree(&like))
}

fn explain(opened: &Opened, taken: &Taken, options: &Options) -> anyhow::Result<Report> {
    taken
        .report(&opened.program, options)
        .context("failed to work out who holds the heap")
}

/// Of what stands still no more is copied than may be.
fn still(options: &Options) -> Reading {
    Reading::Still {
        copy_max: COPY_BYTES_MAX.min(options.max_bytes),
    }
}

/// Reads as [`Taken::read`], and says what to do about a copy that may not be made.
fn read(
    program: &Program,
    options: &Options,
    reading: Reading,
    registers: &dyn Fn(u64) -> Option<goroutines::Registers>,
) -> anyhow::Result<Taken> {
    match Taken::read(program, options, reading, Some(registers)) {
        Err(InspectError::HeapTooLarge { bytes, max }) => {
            Err(LookError::CopyTooLarge { bytes, max }.into())
        }
        taken => taken.context("failed to read the heap"),
    }
}

/// The registers of a thread that happens to stand are taken, in a running process.
fn running(program: &Program, options: &Options) -> anyhow::Result<Taken> {
    let registers = |tid| stopped_thread(program.pid()?, tid);
    let reading = Reading::Copy(Vec::new());
    Ok(read(program, options, reading, &registers)?.of_several_moments())
}

fn core(program: &Program, options: &Options) -> anyhow::Result<Taken> {
    let threads = program.core().map_or(&[][..], |core| &core.threads);
    let registers = |tid| of_core(threads, tid);
    Ok(read(program, options, still(options), &registers)?.of_one_moment())
}

/// The process that watches over a pause or a clone; see [`inspect::stop::Guard`].
fn guard() -> anyhow::Result<Guard> {
    let ourselves = std::env::current_exe().context("failed to find our own executable")?;
    let mut command = Command::new(ourselves);
    command.arg(crate::args::PAUSE_GUARD);
    Ok(Guard::start(command)?)
}

/// Not in the middle of a collection: its own structures are in flux then.
fn may_stop(program: &Program) -> impl Fn(&Held<'_>) -> bool {
    let phase = program.symbol("runtime.gcphase").ok();
    move |_| phase.is_none_or(|addr| program.memory().u32(addr).is_ok_and(|phase| phase == 0))
}

fn paused(
    opened: &Opened,
    pid: u32,
    arguments: &Refs,
    options: &Options,
) -> anyhow::Result<(Mode, Taken, Option<Pause>)> {
    let program = &opened.program;
    let limits = PauseOptions {
        max_pause: arguments.max_pause,
        ..PauseOptions::default()
    };
    let mut guard = guard()?;
    // Whatever can be done before is done before.
    let reserved = Heap::reserve(program, options.max_bytes)?;
    for module in program.modules() {
        module.functions(program.memory())?;
    }
    program.index_names();
    let numbers = ThreadNumbers::of(pid);
    let work = |held: &Held<'_>| {
        let registers = |tid| numbers.registers(held.threads(), tid);
        let before = cpu_time();
        let taken = read(program, options, Reading::Copy(reserved), &registers);
        (taken, cpu_time().saturating_sub(before))
    };
    let paused = pause(pid, &limits, &mut guard, may_stop(program), work)?;
    let report = paused.report;
    let (taken, cpu) = paused.value;
    let taken = taken?;
    let took = Pause {
        pause_us: micros(report.stopping + report.held + report.detaching),
        // Of a pause that ended meanwhile it is not known which part was in it.
        cpu_us: (!report.cut).then(|| micros(cpu)),
        threads: report.threads,
        cut: report.cut,
    };
    if report.cut {
        terminal::note(format!(
            "the pause reached its limit of {:?}: the rest was read while the process ran; raise it with --max-pause",
            arguments.max_pause
        ));
        return Ok((Mode::Paused, taken.of_several_moments(), Some(took)));
    }
    Ok((Mode::Paused, taken, Some(took)))
}

/// The clone comes with what was read of it as long as it is still needed.
fn snapshot(
    opened: &mut Opened,
    pid: u32,
    arguments: &Refs,
    options: &Options,
) -> anyhow::Result<(Taken, Pause, Option<Snapshot>)> {
    let limits = SnapshotOptions {
        max_pause: arguments
            .max_pause
            .max(SnapshotOptions::default().max_pause),
        age_max: CLONE_AGE_MAX,
        force_seccomp: arguments.force,
        ..SnapshotOptions::default()
    };
    let numbers = ThreadNumbers::of(pid);
    let snapshot = Snapshot::take(pid, &limits, guard()?, may_stop(&opened.program))?;
    let took = Pause {
        pause_us: micros(snapshot.report().pause()),
        cpu_us: None,
        threads: snapshot.threads().len(),
        cut: false,
    };
    opened.program.read_from(snapshot.child());
    let registers = |tid| numbers.registers(snapshot.threads(), tid);
    let taken = read(&opened.program, options, still(options), &registers);
    let taken = taken.context("failed to read the clone")?;
    if !taken.heap().is_copied() {
        return Ok((taken, took, Some(snapshot)));
    }
    end(opened, snapshot)?;
    Ok((taken, took, None))
}

/// Lets the clone go, and reads from the process again.
fn end(opened: &mut Opened, snapshot: Snapshot) -> anyhow::Result<()> {
    let at = opened.program.symbol("runtime.mheap_")?;
    // The guard ends a clone that has become too old.
    let alive = opened.program.memory().u64(at);
    alive.context("the clone was gone before all of it was read")?;
    opened.program.read_from(snapshot.pid());
    // What was found stays true, and the guard tries on.
    if let Err(error) = snapshot.end() {
        terminal::note(format!(
            "the clone has ended, but its parent has not taken note of that yet: {error}"
        ));
    }
    Ok(())
}

/// Processor time of this process so far.
fn cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::try_from(time).unwrap_or_default()
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// The runtime knows its threads by the numbers of its own pid namespace; the kernel tells both in
/// `/proc/PID/task/TID/status`.
struct ThreadNumbers(Vec<(u32, u64)>);

impl ThreadNumbers {
    fn of(pid: u32) -> Self {
        let tasks = std::fs::read_dir(format!("/proc/{pid}/task"));
        let tasks = tasks.into_iter().flatten().flatten();
        let number = |task: std::fs::DirEntry| {
            let tid: u32 = task.file_name().to_str()?.parse().ok()?;
            let status = std::fs::read_to_string(task.path().join("status")).ok()?;
            let line = status.lines().find(|line| line.starts_with("NSpid:"))?;
            Some((tid, line.split_whitespace().last()?.parse().ok()?))
        };
        Self(tasks.filter_map(number).collect())
    }

    fn registers(&self, threads: &[ThreadRegisters], number: u64) -> Option<goroutines::Registers> {
        let known = self.0.iter().find(|(_, inner)| *inner == number);
        let tid = known.map_or_else(|| u32::try_from(number).ok(), |(tid, _)| Some(*tid))?;
        let thread = threads.iter().find(|thread| thread.tid == tid)?;
        let stopped = &thread.registers;
        let (pc, sp, lr) = (stopped.pc, stopped.sp, stopped.lr);
        Some(goroutines::Registers::new(pc, sp, lr, &stopped.general))
    }
}

#[cfg(test)]
mod tests {
    use inspect::holders::Report;
    use serde_json::json;

    fn report(holders: &[(&str, u64)]) -> Report {
        let holders = holders.iter().map(|(name, bytes)| {
            json!({
                "name": name, "kind": "global", "type": "", "count": 1, "retained_bytes": bytes,
                "retained_objects": 1, "paths": [], "allocated_at": []
            })
        });
        let report = json!({
            "go_version": "go1.27.3", "layout": "table",
            "heap": {"spans": 0, "span_bytes": 0, "scannable_bytes": 0, "objects": 0, "object_bytes": 0},
            "reached_bytes": 1000, "reached_objects": 100, "approximate": true, "blurred": 0,
            "holders": holders.collect::<Vec<_>>(), "left_out": {"holders": 0, "bytes": 0},
        });
        serde_json::from_value(report).unwrap()
    }

    #[test]
    fn what_one_look_has_and_the_other_lacks_is_seen() {
        let whole = report(&[
            ("main.sessions", 600),
            ("main.blocks", 130),
            ("main.few", 9),
        ]);
        for (other, lacks) in [
            (
                report(&[("main.sessions", 600), ("main.blocks", 130)]),
                false,
            ),
            (
                report(&[("main.sessions", 400), ("main.blocks", 90)]),
                false,
            ),
            (report(&[("main.sessions", 600)]), true),
            (report(&[("main.sessions", 730), ("main.blocks", 60)]), true),
        ] {
            assert_eq!(other.lacks_one_of(&whole), lacks, "{:?}", other.holders);
            assert!(!whole.lacks_one_of(&whole));
        }
    }
}
