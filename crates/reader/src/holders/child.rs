//! The child's side: one order in, one answer out, and nothing in between that lasts.

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use inspect::graph::Effort;
use inspect::heap::Reading;
use inspect::holders::{Options, Path, Report, Taken};
use inspect::stop::may_ptrace;
use inspect::{InspectError, Program};
use model::{Clock, ProcessKey};
use rustix::process::{Resource, Rlimit, Signal};
use serde::{Deserialize, Serialize};

use super::{
    ANSWER_BYTES_MAX, BudgetPart, Found, HoldersBudget, HoldersCost, HoldersFailure, HoldersLook,
    LookAt, goroutines,
};
use crate::answers::ReadFailure;
use crate::clock::SystemClock;
use crate::error::ReaderError;
use crate::{privileges, procfs};

/// The one argument that makes our executable look for holders. Not for people.
pub const HOLDERS_ARGUMENT: &str = "__holders";

/// The exit code of a child that saw for itself that its time is up.
pub(super) const LATE: i32 = 75;
const ORDER_BYTES_MAX: u64 = 16 << 10;
/// Others run first: 19 would starve us on a busy host until the time is up.
const NICENESS: i32 = 10;
/// The kernel takes this one first when memory is short.
const OOM_SCORE_ADJ: &str = "1000";
/// What the program itself, its stacks and its libraries take beside the look.
const OWN_BYTES: u64 = 64 << 20;
/// Address space costs nothing: this limit is only a second net.
const SPACE_BYTES: u64 = 2 << 30;

/// Enough holders that one which grows is in both looks.
const HOLDERS: usize = 60;
const PATHS: usize = 6;
const DEPTH: usize = 12;

/// What the child is told.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Order {
    pub(super) key: ProcessKey,
    pub(super) at: LookAt,
    pub(super) budget: HoldersBudget,
}

/// What the child says.
pub(super) type Said = Result<Found, HoldersFailure>;

/// Whether this process was started to look for holders: `main` then does nothing but
/// [`find_holders`].
#[must_use]
pub fn is_holders() -> bool {
    let mut arguments = std::env::args_os().skip(1);
    arguments
        .next()
        .is_some_and(|first| first == HOLDERS_ARGUMENT)
        && arguments.next().is_none()
}

/// Reads one order from `input`, limits this process to the order's budget, looks, and writes one
/// answer to `output`.
///
/// # Errors
/// [`ReaderError::Privileges`] if they cannot be given up; [`ReaderError::Malformed`] for what is
/// no order; [`ReaderError::Lost`] if the answer cannot be written.
pub fn find_holders(input: impl Read, mut output: impl Write) -> Result<(), ReaderError> {
    let begun = Instant::now();
    privileges::keep_only(privileges::KEPT)?;
    // It is the reader's alone: without it nobody wants the answer.
    let _ = rustix::process::set_parent_process_death_signal(Some(Signal::KILL));
    let mut order = Vec::new();
    let read = input.take(ORDER_BYTES_MAX).read_to_end(&mut order);
    read.map_err(lost)?;
    let order: Order = serde_json::from_slice(&order).map_err(|error| ReaderError::Malformed {
        what: format!("the order of a look: {error}"),
    })?;
    limit(&order.budget);
    let budget = order.budget;
    // The reader ends us too; this is for when it hangs itself.
    let watchdog = std::thread::Builder::new().spawn(move || {
        std::thread::sleep(budget.time);
        std::process::exit(LATE);
    });
    let said = match watchdog {
        Ok(_) => look(&order, begun),
        Err(error) => Err(HoldersFailure::Died {
            how: format!("no thread could be started: {error}"),
        }),
    };
    output.write_all(&answer(said)).map_err(lost)
}

fn lost(source: std::io::Error) -> ReaderError {
    ReaderError::Lost {
        request: "holders",
        source,
    }
}

/// Limits that the kernel keeps. Best effort each: the reader ends us in any case.
fn limit(budget: &HoldersBudget) {
    let _ = rustix::process::nice(NICENESS);
    let _ = std::fs::write("/proc/self/oom_score_adj", OOM_SCORE_ADJ);
    let cpu = budget.cpu.as_secs().max(1);
    let space = own_space().saturating_add(SPACE_BYTES);
    let limits = [
        // A core dump would hold what we read.
        (Resource::Core, 0, 0),
        (Resource::Cpu, cpu, cpu + 1),
        (Resource::Fsize, ANSWER_BYTES_MAX, ANSWER_BYTES_MAX),
        // What may be written to counts, reserved address space does not.
        (
            Resource::Data,
            budget.memory_bytes + OWN_BYTES,
            budget.memory_bytes + OWN_BYTES,
        ),
        (
            Resource::As,
            budget.memory_bytes.saturating_add(space),
            budget.memory_bytes.saturating_add(space),
        ),
    ];
    for (resource, current, maximum) in limits {
        let limit = Rlimit {
            current: Some(current),
            maximum: Some(maximum),
        };
        let _ = rustix::process::setrlimit(resource, limit);
    }
}

fn look(order: &Order, begun: Instant) -> Said {
    let pid = order.key.pid.0;
    is_still(&order.key)?;
    let program = Program::attach(pid).map_err(|error| failure(pid, error))?;
    let found = match order.at {
        LookAt::Holders => {
            holders(&program, &order.budget).map(|look| Found::Holders(Box::new(look)))
        }
        LookAt::Goroutines => goroutines::read(&program, SystemClock.now()).map(Found::Goroutines),
    };
    let mut found = found.map_err(|error| failure(pid, error))?;
    // What was read is this process's only if it was there all the time.
    is_still(&order.key)?;
    let cost = match &mut found {
        Found::Holders(look) => &mut look.cost,
        Found::Goroutines(look) => &mut look.cost,
    };
    *cost = HoldersCost {
        time_ms: millis(begun.elapsed()),
        cpu_ms: own_cpu_ms(),
        copied_bytes: program.memory().cost().bytes,
        memory_bytes: own_peak(),
    };
    Ok(found)
}

/// Who holds the heap of `program`, which runs on. The cost is the caller's to fill in.
fn holders(program: &Program, budget: &HoldersBudget) -> Result<HoldersLook, InspectError> {
    let options = Options {
        max_bytes: budget.copied_bytes,
        memory_bytes: budget.memory_bytes,
        effort: Effort::Fast { threads: 2 },
        holders: HOLDERS,
        paths: PATHS,
        depth: DEPTH,
        now_ns: u64::try_from(SystemClock.monotonic().as_nanos()).ok(),
        ..Options::default()
    };
    let at = SystemClock.now();
    let taken = Taken::read(program, &options, Reading::Copy(Vec::new()), None)?;
    Ok(HoldersLook {
        at,
        cost: HoldersCost::default(),
        report: taken.report(program, &options)?,
    })
}

/// Refuses a pid that is another's now.
fn is_still(key: &ProcessKey) -> Result<(), HoldersFailure> {
    let stat = std::fs::read(format!("/proc/{}/stat", key.pid)).ok();
    let stat = stat.and_then(|bytes| procfs::parse_stat(&bytes));
    match stat {
        Some(stat) if stat.start_ticks == key.start_ticks.0 && !stat.has_ended() => Ok(()),
        _ => Err(ReadFailure::Gone.into()),
    }
}

fn failure(pid: u32, error: InspectError) -> HoldersFailure {
    match error {
        InspectError::NoProcess { .. } => ReadFailure::Gone.into(),
        InspectError::HeapTooLarge { bytes, max } => HoldersFailure::OverBudget {
            part: BudgetPart::Copied,
            allowed: format!(
                "{} (it has {})",
                super::mebibytes(max),
                super::mebibytes(bytes)
            ),
        },
        InspectError::Refused { .. } => match may_ptrace(pid) {
            Err(refusal) => HoldersFailure::Unreadable {
                reason: refusal.to_string(),
                hint: Some(refusal.remedy()),
            },
            Ok(()) => unreadable(&error),
        },
        error => unreadable(&error),
    }
}

fn unreadable(error: &InspectError) -> HoldersFailure {
    HoldersFailure::Unreadable {
        reason: error.to_string(),
        hint: error.hint().map(str::to_owned),
    }
}

/// The answer as bytes; a report that is too long loses its smallest holders and deepest steps.
fn answer(mut said: Said) -> Vec<u8> {
    loop {
        let bytes = serde_json::to_vec(&said).unwrap_or_default();
        if bytes.len() as u64 <= ANSWER_BYTES_MAX {
            return bytes;
        }
        match &mut said {
            Ok(Found::Holders(look)) if look.report.holders.len() > 1 => shorten(&mut look.report),
            Ok(Found::Goroutines(look)) if look.stacks.len() > 1 => goroutines::shorten(look),
            // One holder whose names are a MiB long, or an error that is: nobody's real program.
            _ => {
                said = Err(HoldersFailure::Unreadable {
                    reason: "its names are too long to be told".to_owned(),
                    hint: None,
                });
            }
        }
    }
}

fn shorten(report: &mut Report) {
    let left_out = report.holders.split_off(report.holders.len().div_ceil(2));
    report.left_out.holders += left_out.len() as u64;
    report.left_out.bytes += left_out
        .iter()
        .map(|holder| holder.retained_bytes)
        .sum::<u64>();
    for holder in &mut report.holders {
        cut(&mut holder.paths, DEPTH / 2);
    }
    let held = &mut report.descriptors.held;
    let left_out = held.split_off(held.len().div_ceil(2));
    report.descriptors.left_out += left_out.iter().map(|group| group.count).sum::<u64>();
}

fn cut(paths: &mut Vec<Path>, depth: usize) {
    if depth == 0 {
        paths.clear();
    }
    for path in paths {
        cut(&mut path.children, depth - 1);
    }
}

fn own_cpu_ms() -> u64 {
    let stat = std::fs::read("/proc/self/stat").ok();
    let ticks = stat.and_then(|bytes| procfs::parse_stat(&bytes));
    let per_s = rustix::param::clock_ticks_per_second().max(1);
    ticks.map_or(0, |stat| stat.cpu_ticks.saturating_mul(1000) / per_s)
}

/// The most memory this process has had, in bytes.
fn own_peak() -> u64 {
    own_status("VmHWM:")
}

/// The address space that this process has before it looks, in bytes.
fn own_space() -> u64 {
    own_status("VmSize:")
}

fn own_status(name: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or(0) << 10
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
