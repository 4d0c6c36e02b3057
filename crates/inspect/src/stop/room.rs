//! Is there room for a snapshot: what is checked before the target is touched.
//!
//! A clone shares all memory with the target, and costs a page for each page that the target writes while the clone
//! lives; besides one process. Sources: `proc(5)`, the kernel's `cgroup-v1/memory.rst`, `cgroup-v2.rst`, and
//! `overcommit-accounting.rst`.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::proc::{self, Status};
use super::{Room, SnapshotOptions, StopError};

/// What a clone costs in page tables and copying per byte of written memory; measured 45 ms per GiB at best.
const NANOS_PER_KIB: u64 = 60;
/// Beside its memory a clone needs a stack in the kernel and tables.
const FIXED_BYTES: u64 = 1 << 20;
/// Figures above are "no limit" (version 1 of control groups writes a huge number for it).
const NO_LIMIT: u64 = 1 << 60;
/// Control groups lie no deeper.
const DEPTH_MAX: usize = 32;
/// So many open files are looked at for rings and the like.
const FDS_MAX: usize = 4096;

/// Something of the target that makes a snapshot less harmless than usual.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[non_exhaustive]
pub enum Note {
    /// It uses io_uring: pages that a ring writes into meanwhile may be seen half written in the snapshot.
    IoUring,
    /// It uses userfaultfd: cloning may wait for whoever serves its faults.
    Userfaultfd,
    /// It filters system calls, and the caller forced the snapshot.
    SeccompForced,
}

/// Checks state, filters and room. Returns what is unusual and yet allowed.
pub(super) fn check(pid: u32, options: &SnapshotOptions) -> Result<Vec<Note>, StopError> {
    let status = Status::of(pid)?;
    if status.is_dead() {
        return Err(StopError::NoProcess { pid });
    }
    if status.state == 'T' {
        return Err(StopError::Stopped {
            pid,
            state: status.state,
        });
    }
    let mut notes = open_files(pid);
    if status.seccomp == 2 {
        if !options.force_seccomp {
            return Err(StopError::Seccomp { pid });
        }
        notes.push(Note::SeccompForced);
    }
    let estimate = Duration::from_nanos(status.rss_anon_bytes / 1024 * NANOS_PER_KIB);
    if estimate > options.max_pause {
        return Err(StopError::TooLong {
            pid,
            estimate,
            max: options.max_pause,
        });
    }
    let files = Files::of(pid)?;
    let dirty = (status.rss_anon_bytes as f64 * options.dirty_share.clamp(0.0, 1.0)) as u64;
    let need = dirty
        .saturating_add(status.page_table_bytes)
        .saturating_add(FIXED_BYTES);
    for limit in files.limits(status.data_bytes) {
        let need = match limit.what {
            Room::Memory => need,
            Room::Commit => status.data_bytes,
            Room::Processes => 1,
        };
        if limit.free < need {
            return Err(StopError::NoRoom {
                pid,
                what: limit.what,
                need,
                free: limit.free,
                limit: limit.path,
            });
        }
    }
    Ok(notes)
}

fn open_files(pid: u32) -> Vec<Note> {
    let mut notes = Vec::new();
    let files = fs::read_dir(format!("/proc/{pid}/fd"));
    for file in files.into_iter().flatten().flatten().take(FDS_MAX) {
        let Ok(link) = fs::read_link(file.path()) else {
            continue;
        };
        let note = match link.to_str() {
            Some("anon_inode:[io_uring]") => Note::IoUring,
            Some("anon_inode:[userfaultfd]") => Note::Userfaultfd,
            _ => continue,
        };
        if !notes.contains(&note) {
            notes.push(note);
        }
    }
    notes
}

/// How much of something is left, and who says so.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Limit {
    what: Room,
    free: u64,
    path: String,
}

/// Where to read: `/` but in tests.
struct Files {
    root: PathBuf,
    groups: String,
}

impl Files {
    fn of(pid: u32) -> Result<Self, StopError> {
        Ok(Self {
            root: PathBuf::from("/"),
            groups: proc::read(pid, &format!("/proc/{pid}/cgroup"))?,
        })
    }

    fn text(&self, path: &str) -> Option<String> {
        fs::read_to_string(self.root.join(path.trim_start_matches('/'))).ok()
    }

    /// What cannot be read does not limit: the kernel's own refusal is still an error then.
    fn limits(&self, commit_need: u64) -> Vec<Limit> {
        let mut limits = Vec::new();
        let meminfo = self.text("proc/meminfo").unwrap_or_default();
        let field = |name: &str| {
            let line = meminfo.lines().find_map(|line| line.strip_prefix(name))?;
            Some(proc::kib(line.trim_start_matches(':')))
        };
        if let Some(free) = field("MemAvailable") {
            limits.push(Limit {
                what: Room::Memory,
                free,
                path: "/proc/meminfo (MemAvailable)".into(),
            });
        }
        let strict = self.text("proc/sys/vm/overcommit_memory");
        if strict.is_some_and(|mode| mode.trim() == "2")
            && commit_need > 0
            && let (Some(limit), Some(used)) = (field("CommitLimit"), field("Committed_AS"))
        {
            limits.push(Limit {
                what: Room::Commit,
                free: limit.saturating_sub(used),
                path: "/proc/meminfo (CommitLimit)".into(),
            });
        }
        for (controllers, group) in self.groups.lines().filter_map(group) {
            self.of_group(controllers, group, &mut limits);
        }
        limits
    }

    /// The limits of one group and those above it.
    fn of_group(&self, controllers: &str, group: &str, limits: &mut Vec<Limit>) {
        let has = |name: &str| controllers.split(',').any(|controller| controller == name);
        let (mounts, kinds): (&[&str], &[Kind]) = match controllers {
            "" => (
                &["sys/fs/cgroup", "sys/fs/cgroup/unified"],
                &[V2_MEMORY, PIDS],
            ),
            _ if has("memory") => (&["sys/fs/cgroup/memory"], &[V1_MEMORY]),
            _ if has("pids") => (&["sys/fs/cgroup/pids"], &[PIDS]),
            _ => return,
        };
        for mount in mounts {
            let folder = Path::new(mount).join(group.trim_start_matches('/'));
            for folder in folder.ancestors().take(DEPTH_MAX) {
                if !folder.starts_with(mount) {
                    break;
                }
                limits.extend(kinds.iter().filter_map(|kind| self.free(folder, *kind)));
            }
        }
    }

    fn free(&self, folder: &Path, kind: Kind) -> Option<Limit> {
        let path = folder.join(kind.max);
        let number = |path: &Path| self.text(path.to_str()?)?.trim().parse::<u64>().ok();
        let max = number(&path).filter(|&max| max < NO_LIMIT)?;
        let used = number(&folder.join(kind.used))?;
        Some(Limit {
            what: kind.what,
            free: max.saturating_sub(used),
            path: format!("/{}", path.display()),
        })
    }
}

/// A limit and its use, as two files of a control group.
#[derive(Clone, Copy)]
struct Kind {
    what: Room,
    max: &'static str,
    used: &'static str,
}

const V2_MEMORY: Kind = Kind {
    what: Room::Memory,
    max: "memory.max",
    used: "memory.current",
};
const V1_MEMORY: Kind = Kind {
    what: Room::Memory,
    max: "memory.limit_in_bytes",
    used: "memory.usage_in_bytes",
};
const PIDS: Kind = Kind {
    what: Room::Processes,
    max: "pids.max",
    used: "pids.current",
};

/// `4:memory:/group`: the controllers, empty for version 2, and the group.
fn group(line: &str) -> Option<(&str, &str)> {
    let (_, rest) = line.split_once(':')?;
    let (controllers, group) = rest.split_once(':')?;
    // A group outside of what this namespace shows begins with `/..`: nothing can be read there.
    (!group.contains("..")).then_some((controllers, group))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(name: &str, groups: &str, files: &[(&str, &str)]) -> Files {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../../target/tmp/room")
            .join(format!("{name}-{}", std::process::id()));
        for (path, text) in files {
            let path = root.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        Files {
            root,
            groups: groups.into(),
        }
    }

    fn frees(files: &Files, what: Room) -> Vec<u64> {
        let limits = files.limits(1);
        let frees = limits.iter().filter(|limit| limit.what == what);
        let frees = frees.map(|limit| limit.free).collect();
        fs::remove_dir_all(&files.root).unwrap();
        frees
    }

    const MEMINFO: &str =
        "MemTotal: 9 kB\nMemAvailable:    7 kB\nCommitLimit: 5 kB\nCommitted_AS: 2 kB\n";

    #[test]
    fn every_group_up_to_the_root_limits() {
        let version2 = files(
            "v2",
            "0::/pod/app\n",
            &[
                ("proc/meminfo", MEMINFO),
                ("sys/fs/cgroup/pod/memory.max", "max\n"),
                ("sys/fs/cgroup/pod/memory.current", "5\n"),
                ("sys/fs/cgroup/pod/app/memory.max", "100\n"),
                ("sys/fs/cgroup/pod/app/memory.current", "40\n"),
                ("sys/fs/cgroup/pod/pids.max", "10\n"),
                ("sys/fs/cgroup/pod/pids.current", "12\n"),
            ],
        );
        let limits = version2.limits(1);
        assert!(
            limits
                .iter()
                .any(|limit| limit.path == "/sys/fs/cgroup/pod/app/memory.max")
        );
        assert_eq!(frees(&version2, Room::Memory), [7 * 1024, 60]);

        let version1 = files(
            "v1",
            "9:name=systemd:/\n8:pids:/a\n4:cpu,memory:/a/b\n3:cpuset:/\nbroken\n",
            &[
                (
                    "sys/fs/cgroup/memory/a/b/memory.limit_in_bytes",
                    "9223372036854771712\n",
                ),
                ("sys/fs/cgroup/memory/a/b/memory.usage_in_bytes", "9\n"),
                ("sys/fs/cgroup/memory/a/memory.limit_in_bytes", "50\n"),
                ("sys/fs/cgroup/memory/a/memory.usage_in_bytes", "9\n"),
            ],
        );
        assert_eq!(frees(&version1, Room::Memory), [41]);
    }

    #[test]
    fn processes_and_strict_overcommit_limit_too() {
        let pids: &[(&str, &str)] = &[
            ("sys/fs/cgroup/pids/a/pids.max", "10\n"),
            ("sys/fs/cgroup/pids/a/pids.current", "10\n"),
        ];
        assert_eq!(
            frees(&files("pids", "8:pids:/a\n", pids), Room::Processes),
            [0]
        );
        let strict: &[(&str, &str)] = &[
            ("proc/meminfo", MEMINFO),
            ("proc/sys/vm/overcommit_memory", "2\n"),
        ];
        assert_eq!(
            frees(&files("strict", "", strict), Room::Commit),
            [3 * 1024]
        );
        let lax: &[(&str, &str)] = &[
            ("proc/meminfo", MEMINFO),
            ("proc/sys/vm/overcommit_memory", "0\n"),
        ];
        assert!(frees(&files("lax", "0::/../x\n", lax), Room::Commit).is_empty());
    }
}
