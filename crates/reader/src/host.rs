//! The machine, and what it and our privileges allow.

use std::path::Path;

use model::{BootId, Clock, UnixMs};

use crate::answers::{Ability, CgroupVersion, Host};
use crate::cgroup::{self, Mount};
use crate::clock::since_boot_ms;
use crate::eviction;
use crate::identity::Identities;
use crate::proc_dir::{PERMISSION_HINT, ProcDir};
use crate::{privileges, procfs};

/// The inode of the machine's first pid namespace: PROC_PID_INIT_INO of the Linux source.
const FIRST_PID_NAMESPACE: u64 = 0xEFFF_FFFC;

/// This boot, and how its ticks become times.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Boot {
    pub(crate) id: BootId,
    /// When it began.
    pub(crate) time: UnixMs,
    pub(crate) ticks_per_s: u64,
}

impl Boot {
    pub(crate) fn now(clock: &dyn Clock) -> Self {
        let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        Self {
            id: BootId(id.trim().to_owned()),
            time: boot_time(clock),
            ticks_per_s: rustix::param::clock_ticks_per_second(),
        }
    }

    /// Follows the wall clock when it was set, and not its slewing: a process's start stays the
    /// same time from call to call.
    pub(crate) fn follow(&mut self, clock: &dyn Clock) {
        let time = boot_time(clock);
        if time.0.abs_diff(self.time.0) > 1000 {
            self.time = time;
        }
    }
}

fn boot_time(clock: &dyn Clock) -> UnixMs {
    UnixMs(clock.now().0.saturating_sub(since_boot_ms()))
}

/// Describes the machine.
pub(crate) fn host(boot: &Boot, mounts: &[Mount], identities: &Identities) -> Host {
    let names = rustix::system::uname();
    let meminfo = std::fs::read("/proc/meminfo").unwrap_or_default();
    let (total, available) = procfs::parse_meminfo(&meminfo);
    let config = identities.node_file(eviction::PATH, eviction::FILE_BYTES_MAX);
    let config = config.map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    Host {
        boot_id: boot.id.clone(),
        hostname: names.nodename().to_string_lossy().into_owned(),
        clock_ticks_per_s: boot.ticks_per_s,
        boot_time: boot.time,
        memory_total_bytes: total.unwrap_or(0),
        memory_available_bytes: available.unwrap_or(0),
        kernel: names.release().to_string_lossy().into_owned(),
        cgroup_version: cgroup::version_of(mounts),
        kubelet: config.and_then(|text| eviction::parse(&text, total.unwrap_or(0))),
    }
}

/// The mounted hierarchies with memory.
pub(crate) fn mounts() -> Vec<Mount> {
    let bytes = std::fs::read("/proc/self/mountinfo").unwrap_or_default();
    let mut mounts = cgroup::parse_mounts(&bytes);
    cgroup::find_ourselves(&mut mounts);
    mounts
}

/// One line for each thing that this host and these privileges allow or not.
pub(crate) fn doctor<'a>(
    mounts: &[Mount],
    pids: &[u32],
    left_alone: impl Iterator<Item = &'a str>,
) -> Vec<Ability> {
    vec![
        kernel(),
        capabilities(),
        other_processes(pids),
        smaps(pids),
        hidden_processes(),
        pid_namespace(),
        cgroups(mounts),
        uprobes(),
        bpf(),
        files(left_alone),
    ]
}

fn ability(name: &str, ok: bool, detail: impl Into<String>, hint: &str) -> Ability {
    Ability {
        name: name.to_owned(),
        ok,
        detail: detail.into(),
        hint: (!ok).then(|| hint.to_owned()),
    }
}

fn kernel() -> Ability {
    let release = rustix::system::uname()
        .release()
        .to_string_lossy()
        .into_owned();
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    let mut next = || numbers.next().and_then(|n| n.parse().ok()).unwrap_or(0_u32);
    let ok = (next(), next()) >= (4, 18);
    ability(
        "kernel",
        ok,
        release,
        "unswept is tried on Linux 4.18 and newer",
    )
}

fn capabilities() -> Ability {
    let names = privileges::names(privileges::effective() & privileges::KEPT);
    let ok = names.iter().any(|name| name == "CAP_SYS_PTRACE");
    let detail = match names.is_empty() {
        true => "the reader has no capabilities".to_owned(),
        false => format!("the reader keeps {}", names.join(", ")),
    };
    ability("capabilities", ok, detail, PERMISSION_HINT)
}

/// Processes of others, judged by opening each one's executable link.
fn other_processes(pids: &[u32]) -> Ability {
    let (mut readable, mut denied) = (0, 0);
    for dir in pids.iter().filter_map(|&pid| ProcDir::open(pid).ok()) {
        match dir.file_stat("exe") {
            Ok(_) => readable += 1,
            Err(crate::ReadFailure::Denied { .. }) => denied += 1,
            Err(_) => {}
        }
    }
    let detail = format!("{readable} processes can be looked into, {denied} cannot");
    ability("processes", denied == 0, detail, PERMISSION_HINT)
}

fn smaps(pids: &[u32]) -> Ability {
    let ours = std::process::id();
    let mut denied = 0;
    for dir in pids.iter().filter_map(|&pid| ProcDir::open(pid).ok()) {
        match dir.open_file("smaps") {
            Ok(_) if dir.pid() != ours => {
                return ability("smaps", true, "mappings of others can be read", "");
            }
            Err(crate::ReadFailure::Denied { .. }) => denied += 1,
            _ => {}
        }
    }
    let detail = format!("mappings of {denied} processes are refused");
    ability("smaps", denied == 0, detail, PERMISSION_HINT)
}

fn hidden_processes() -> Ability {
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let mut options = mounts.lines().filter_map(|line| {
        let mut words = line.split(' ').skip(1);
        (words.next() == Some("/proc")).then(|| words.nth(1).unwrap_or("").to_owned())
    });
    let options = options.next_back().unwrap_or_default();
    let hidden = options
        .split(',')
        .find(|o| o.starts_with("hidepid=") && !matches!(*o, "hidepid=0" | "hidepid=off"));
    let detail = match hidden {
        Some(option) => format!("/proc is mounted with {option}: other users' are not listed"),
        None => "/proc lists all processes".to_owned(),
    };
    let ok = hidden.is_none() || privileges::effective().contains(privileges::KEPT);
    ability(
        "proc",
        ok,
        detail,
        "give unswept CAP_SYS_PTRACE, or mount /proc with hidepid=0",
    )
}

fn pid_namespace() -> Ability {
    let inode = rustix::fs::stat("/proc/self/ns/pid").map(|stat| stat.st_ino);
    let (ok, detail) = match inode {
        Ok(FIRST_PID_NAMESPACE) => (true, "the machine's: all processes are in sight"),
        Ok(_) => (false, "a container's: only its processes are in sight"),
        Err(_) => (false, "it cannot be told"),
    };
    ability(
        "pid-namespace",
        ok,
        detail,
        "for a whole node run with the host's pid namespace (hostPID)",
    )
}

fn cgroups(mounts: &[Mount]) -> Ability {
    let detail = match cgroup::version_of(mounts) {
        CgroupVersion::V1 => "version 1 with the memory controller",
        CgroupVersion::V2 => "version 2",
        CgroupVersion::Hybrid => "both versions; version 1 has the memory controller",
        CgroupVersion::None => "no memory controller is mounted here",
    };
    let own = cgroup::parse_membership(&std::fs::read("/proc/self/cgroup").unwrap_or_default());
    let seen = cgroup::locate(mounts, &own).is_some_and(|(mount, below)| {
        let usage = match mount.version {
            cgroup::Version::V1 => "memory.usage_in_bytes",
            cgroup::Version::V2 => "memory.stat",
        };
        mount.mount_point.join(below).join(usage).exists()
    });
    let hint = "mount /sys/fs/cgroup into the container, read-only";
    ability("cgroup-memory", seen, detail, hint)
}

/// Files of processes that are left alone because their disk hangs.
fn files<'a>(left_alone: impl Iterator<Item = &'a str>) -> Ability {
    let all: Vec<&str> = left_alone.collect();
    let detail = match all.is_empty() {
        true => "every one that was asked for has answered".to_owned(),
        false => all.join("; "),
    };
    ability(
        "files",
        all.is_empty(),
        detail,
        "see to the disk that hangs",
    )
}

fn uprobes() -> Ability {
    let path = Path::new("/sys/bus/event_source/devices/uprobe/type");
    let ok = path.exists();
    let detail = if ok {
        "the kernel has them"
    } else {
        "the kernel shows none"
    };
    ability(
        "uprobes",
        ok,
        detail,
        "needs a kernel with CONFIG_UPROBE_EVENTS, and /sys mounted",
    )
}

fn bpf() -> Ability {
    let btf = Path::new("/sys/kernel/btf/vmlinux").exists();
    let off = std::fs::read_to_string("/proc/sys/kernel/unprivileged_bpf_disabled");
    let (ok, detail) = match (off.is_ok(), btf) {
        (true, true) => (true, "the kernel has it, with type information"),
        (true, false) => (true, "the kernel has it, without type information"),
        (false, _) => (false, "the kernel shows none"),
    };
    ability(
        "bpf",
        ok,
        detail,
        "native traces need a kernel with CONFIG_BPF_SYSCALL",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemClock;

    #[test]
    fn this_host() {
        let boot = Boot::now(&SystemClock);
        let host = host(&boot, &mounts(), &Identities::default());
        assert_eq!(host.boot_id.0.len(), 36);
        assert!(host.memory_total_bytes > host.memory_available_bytes);
        assert!(host.memory_available_bytes > 0);
        assert!(!host.kernel.is_empty() && !host.hostname.is_empty());
        // btime of /proc/stat is the same moment in whole seconds.
        let stat = std::fs::read_to_string("/proc/stat").unwrap();
        let btime = stat
            .lines()
            .find_map(|line| line.strip_prefix("btime "))
            .unwrap();
        let btime: i64 = btime.parse().unwrap();
        assert!(
            (host.boot_time.0 - btime * 1000).abs() <= 2000,
            "{} {btime}",
            host.boot_time.0
        );
    }

    #[test]
    fn the_boot_time_stands_still_until_the_clock_is_set() {
        let mut boot = Boot::now(&SystemClock);
        boot.time = UnixMs(boot.time.0 + 500);
        let slewed = boot.time;
        boot.follow(&SystemClock);
        assert_eq!(boot.time, slewed);
        boot.time = UnixMs(boot.time.0 + 60_000);
        boot.follow(&SystemClock);
        assert!(boot.time.0.abs_diff(slewed.0) <= 1500);
    }

    #[test]
    fn every_no_has_a_hint() {
        for ability in doctor(
            &mounts(),
            &crate::proc_dir::all_pids().unwrap(),
            std::iter::empty(),
        ) {
            assert!(!ability.detail.is_empty(), "{ability:?}");
            let hint = ability.hint.as_deref().unwrap_or("");
            assert_eq!(ability.ok, hint.is_empty(), "{ability:?}");
        }
    }
}
