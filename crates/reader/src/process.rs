//! Reading one process's memory: the figures of every period, and the mappings on suspicion.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use model::{Clock, ContainerMemory, ProcessKey, ProcessMemory};

use crate::answers::{EndStatus, Ended, Mappings, ReadFailure, Reading};
use crate::cgroup::{self, Mount};
use crate::container;
use crate::host::Boot;
use crate::kills::{Counts, Lives};
use crate::log::{LogPiece, LogPlace, log_piece};
use crate::opener::How;
use crate::proc_dir::{FdCount, ProcDir};
use crate::procfs::{self, Stat};
use crate::root::Root;
use crate::runtimes::Runtimes;

/// A process this big is only mapped when asked: 20 ms per GiB under its mmap lock.
pub(crate) const MAPPINGS_RSS_BYTES_MAX: u64 = 32 << 30;

/// Up to so many descriptors are listed at every reading; a listing costs a microsecond each.
const FDS_ALWAYS: u64 = 1000;
/// Beyond that a listing may take this part of our time: 100,000 are listed every 100 seconds.
const FDS_DUTY: u32 = 1000;
/// Descriptors listed at most.
const FDS_MAX: u64 = 100_000;
/// Processes whose listing is remembered; the one listed longest ago is forgotten.
const LISTINGS_MAX: usize = 4096;

/// Reads processes, and remembers when their descriptors may be listed again, and the Go programs
/// that they run.
#[derive(Debug)]
pub(crate) struct ProcessReader {
    runtimes: Runtimes,
    /// For processes with many descriptors: when the next listing is allowed.
    not_before: HashMap<ProcessKey, Duration>,
    lives: Lives,
}

impl ProcessReader {
    pub(crate) fn new(how: How) -> Self {
        Self {
            runtimes: Runtimes::new(how),
            not_before: HashMap::new(),
            lives: Lives::default(),
        }
    }

    /// How a process ended that was read before; `None` while it lives, and what is remembered of it stays.
    pub(crate) fn ended(&mut self, key: &ProcessKey, boot: &Boot) -> Option<Ended> {
        if key.boot_id == boot.id && lives(key) {
            return None;
        }
        Some(Ended {
            status: end_status(key, boot),
            out_of_memory: self.lives.ended(key),
        })
    }

    /// Reads every process of `keys`, in order; with `go`, the figures of their Go runtimes too.
    pub(crate) fn read(
        &mut self,
        keys: &[ProcessKey],
        go: bool,
        boot: &Boot,
        mounts: &[Mount],
        clock: &dyn Clock,
    ) -> Vec<Result<Reading, ReadFailure>> {
        // Processes of one container share its reading.
        let mut containers = HashMap::new();
        keys.iter()
            .map(|key| {
                let reading = self.read_one(key, go, boot, mounts, clock, &mut containers);
                if reading == Err(ReadFailure::Gone) {
                    self.runtimes.forget(key);
                }
                reading
            })
            .collect()
    }

    fn read_one(
        &mut self,
        key: &ProcessKey,
        go: bool,
        boot: &Boot,
        mounts: &[Mount],
        clock: &dyn Clock,
        containers: &mut Containers,
    ) -> Result<Reading, ReadFailure> {
        let dir = open(key, boot)?;
        let stat = live(key, &dir)?;
        let memory = self.memory(key, &dir, &stat, boot, clock)?;
        // Next to the kernel's figures, so that both are of one moment.
        let go = go.then(|| self.runtimes.figures(key, &dir, &stat, clock));
        let container = container_of(&dir, mounts, clock, containers)?;
        let container = container.map(|(container, counts)| {
            self.lives.saw(key, counts, clock.monotonic());
            container
        });
        Ok(Reading {
            memory,
            container,
            machine_available_bytes: available_bytes(),
            go,
        })
    }

    fn memory(
        &mut self,
        key: &ProcessKey,
        dir: &ProcDir,
        stat: &Stat,
        boot: &Boot,
        clock: &dyn Clock,
    ) -> Result<ProcessMemory, ReadFailure> {
        let status = procfs::parse_status(&dir.read("status")?);
        let at = clock.now();
        // Without memory it is ending: its pages went first.
        let rss_bytes = status.rss_bytes.ok_or(ReadFailure::Gone)?;
        let (fds, sockets) = self.descriptors(key, dir, clock)?;
        Ok(ProcessMemory {
            at,
            rss_bytes,
            anon_bytes: status.anon_bytes.unwrap_or(0),
            file_bytes: status.file_bytes.unwrap_or(0),
            shmem_bytes: status.shmem_bytes.unwrap_or(0),
            swap_bytes: status.swap_bytes.unwrap_or(0),
            threads: status.threads.unwrap_or(0),
            fds,
            sockets,
            cpu_ms: stat.cpu_ticks.saturating_mul(1000) / boot.ticks_per_s.max(1),
        })
    }

    /// Descriptors and sockets. The number of descriptors is free on kernels from 6.2 on; sockets
    /// are `None` between two listings, never an old figure.
    fn descriptors(
        &mut self,
        key: &ProcessKey,
        dir: &ProcDir,
        clock: &dyn Clock,
    ) -> Result<(Option<u64>, Option<u64>), ReadFailure> {
        let free_count = dir.fd_count();
        let start = clock.monotonic();
        if self.not_before.get(key).is_some_and(|&due| start < due) {
            return Ok((free_count, None));
        }
        let listed = match dir.each_socket(FDS_MAX, |_| ()) {
            Ok(listed) => listed,
            Err(ReadFailure::Denied { .. }) => return Ok((free_count, None)),
            Err(failure) => return Err(failure),
        };
        self.remember(key, listed, start, clock.monotonic());
        if listed.cut {
            return Ok((free_count, None));
        }
        Ok((Some(listed.fds), Some(listed.sockets)))
    }

    fn remember(&mut self, key: &ProcessKey, listed: FdCount, start: Duration, end: Duration) {
        if listed.fds <= FDS_ALWAYS {
            self.not_before.remove(key);
            return;
        }
        if self.not_before.len() >= LISTINGS_MAX {
            let oldest = self.not_before.iter().min_by_key(|(_, due)| **due);
            if let Some(oldest) = oldest.map(|(key, _)| key.clone()) {
                self.not_before.remove(&oldest);
            }
        }
        let due = end + (end.saturating_sub(start)) * FDS_DUTY;
        self.not_before.insert(key.clone(), due);
    }
}

/// Opens the folder of exactly this process.
fn open(key: &ProcessKey, boot: &Boot) -> Result<ProcDir, ReadFailure> {
    if key.boot_id != boot.id {
        return Err(ReadFailure::Gone);
    }
    ProcDir::open(key.pid.0)
}

/// Checks that the folder is this process's and that it runs.
fn live(key: &ProcessKey, dir: &ProcDir) -> Result<Stat, ReadFailure> {
    let stat = dir.stat()?;
    if stat.start_ticks != key.start_ticks.0 || stat.has_ended() {
        return Err(ReadFailure::Gone);
    }
    Ok(stat)
}

/// Whether exactly this process lives, as far as anybody may know: only what the kernel says is an end.
///
/// It takes no privilege, and waits for nothing: `/proc/PID/stat` is for everybody to read. Where `/proc`
/// hides the process (`hidepid`), it lives as long as somebody has its pid.
#[must_use]
pub fn lives(key: &ProcessKey) -> bool {
    let has_memory = |dir: ProcDir| {
        live(key, &dir)?;
        // Without memory it is ending: its pages went first.
        let status = procfs::parse_status(&dir.read("status")?);
        status.rss_bytes.map(|_| ()).ok_or(ReadFailure::Gone)
    };
    ProcDir::open(key.pid.0).and_then(has_memory) != Err(ReadFailure::Gone)
}

/// `MemAvailable`, beside the process's figures: it changes by the second.
fn available_bytes() -> Option<u64> {
    procfs::parse_meminfo(&std::fs::read("/proc/meminfo").ok()?).1
}

/// By mount and path below it.
type Containers = HashMap<(PathBuf, String), Option<(ContainerMemory, Counts)>>;

fn container_of(
    dir: &ProcDir,
    mounts: &[Mount],
    clock: &dyn Clock,
    read: &mut Containers,
) -> Result<Option<(ContainerMemory, Counts)>, ReadFailure> {
    let membership = cgroup::parse_membership(&dir.read("cgroup")?);
    let Some((mount, below)) = cgroup::locate(mounts, &membership) else {
        return Ok(None);
    };
    let cgroup = (mount.mount_point.clone(), below);
    let found = read.entry(cgroup).or_insert_with(|| {
        let memory = container::read(mounts, &membership, clock.now())?;
        let counts = Counts::read(&mount.mount_point, mount.version, &memory.path);
        Some((memory, counts))
    });
    Ok(found.clone())
}

/// What a process ended with, while its parent has not asked for that yet.
fn end_status(key: &ProcessKey, boot: &Boot) -> Option<EndStatus> {
    let stat = open(key, boot).ok()?.stat().ok()?;
    let is_it = stat.start_ticks == key.start_ticks.0 && stat.has_ended();
    match (stat.exit_code & 0x7f, stat.exit_code >> 8) {
        _ if !is_it => None,
        (0, 0) => None,
        (0, code) => Some(EndStatus::Exited(code)),
        (signal, _) => Some(EndStatus::Signal(signal)),
    }
}

/// What came to a log of one process, at a path of its own root, since it was read up to there. Waits for its
/// disk, so only who may hang asks for it (see `files`).
pub(crate) fn log(
    key: &ProcessKey,
    path: &Path,
    read: Option<LogPlace>,
) -> Result<LogPiece, ReadFailure> {
    let dir = ProcDir::open(key.pid.0)?;
    live(key, &dir)?;
    let root = Root::of(&dir).map_err(|errno| dir.io_failure("root", &errno.into()))?;
    let piece = root.file(path).and_then(|file| log_piece(file, read));
    piece.map_err(|error| ReadFailure::Io {
        path: format!("{} in the root of process {}", path.display(), key.pid),
        reason: error.to_string(),
    })
}

/// Reads the classes of mappings of one process.
///
/// # Errors
/// [`ReadFailure::TooBig`] for a process above 32 GiB, unless `any_size`.
pub(crate) fn mappings(
    reader: &mut ProcessReader,
    key: &ProcessKey,
    any_size: bool,
    boot: &Boot,
    clock: &dyn Clock,
) -> Result<Mappings, ReadFailure> {
    let dir = open(key, boot)?;
    let stat = live(key, &dir)?;
    let status = procfs::parse_status(&dir.read("status")?);
    let rss_bytes = status.rss_bytes.ok_or(ReadFailure::Gone)?;
    may_be_mapped(rss_bytes, any_size)?;
    let file = dir.open_file("smaps")?;
    // Before the mappings: an arena that is made meanwhile is told by its layout.
    let go = reader.runtimes.ranges(key, &stat, clock);
    let start = clock.monotonic();
    let limits = dir.read("limits").unwrap_or_default();
    let stack_bytes = procfs::parse_stack_limit(&limits);
    let bytes = crate::mappings::classify(file, stack_bytes, go, clock.now());
    let bytes = bytes.map_err(|error| match error {
        native::MapsError::Read { source, .. } => dir.io_failure("smaps", &source),
        other => ReadFailure::Malformed {
            path: format!("/proc/{}/smaps", key.pid),
            what: other.to_string(),
        },
    })?;
    let elapsed = clock.monotonic().saturating_sub(start);
    Ok(Mappings {
        bytes,
        elapsed_us: u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX),
    })
}

/// Whether the mappings of a process so big may be read; `any_size` where somebody asks for it.
fn may_be_mapped(rss_bytes: u64, any_size: bool) -> Result<(), ReadFailure> {
    if any_size || rss_bytes <= MAPPINGS_RSS_BYTES_MAX {
        return Ok(());
    }
    Err(ReadFailure::TooBig {
        what: "resident memory".to_owned(),
        bytes: rss_bytes,
        max_bytes: MAPPINGS_RSS_BYTES_MAX,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_s_32_gib_are_mapped_unasked() {
        let gib = 1 << 30;
        assert_eq!(may_be_mapped(32 * gib, false), Ok(()));
        let refused = may_be_mapped(32 * gib + 1, false).unwrap_err();
        assert!(matches!(refused, ReadFailure::TooBig { max_bytes, .. } if max_bytes == 32 * gib));
        assert_eq!(may_be_mapped(500 * gib, true), Ok(()));
    }
}
