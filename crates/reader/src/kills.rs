//! Whether a process that has ended was killed for lack of memory, and at whose limit: its cgroup and
//! those above it count that, and their counts from before its end are compared with those after it.
//!
//! Formats: Documentation/admin-guide/cgroup-v2.rst (`memory.events`, `memory.events.local`) and
//! cgroup-v1/memory.rst (`memory.oom_control`, `memory.failcnt`). A kill is counted in the cgroup of the
//! process that was killed, whoever's limit was met; version 2 counts it in those above as well.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use model::ProcessKey;

use crate::answers::{LimitMet, OutOfMemory};
use crate::cgroup::Version;
use crate::container::{ancestors, number_in, read_file, value_of};

/// Cgroups looked at, from a process's own upwards.
const LEVELS_MAX: usize = 8;
/// Processes whose counts are remembered; the one read longest ago is forgotten.
const LIVES_MAX: usize = 8192;

/// What a cgroup and those above it have counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Counts {
    mount_point: PathBuf,
    version: Version,
    /// The process's own cgroup.
    own: String,
    /// Processes killed in it.
    kills: Option<u64>,
    levels: Vec<Level>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Level {
    folder: String,
    /// How often its limit was met: and nothing could be given back, where the kernel tells that.
    met: Option<u64>,
    /// Processes killed in it and below; version 2 only.
    kills_below: Option<u64>,
}

impl Counts {
    /// Reads what is counted for the cgroup at `own` of the tree at `mount_point`.
    pub(crate) fn read(mount_point: &Path, version: Version, own: &str) -> Self {
        let own = own.trim_matches('/');
        let levels = ancestors(own).filter(|folder| !folder.is_empty());
        let levels = levels.take(LEVELS_MAX).map(|folder| {
            let path = mount_point.join(folder);
            let (met, kills_below) = match version {
                Version::V1 => (number_in(&path.join("memory.failcnt")), None),
                Version::V2 => (
                    event(&path, b"oom"),
                    file_event(&path, "memory.events", b"oom_kill"),
                ),
            };
            Level {
                folder: folder.to_owned(),
                met,
                kills_below,
            }
        });
        let path = mount_point.join(own);
        let kills = match version {
            Version::V1 => file_event(&path, "memory.oom_control", b"oom_kill"),
            Version::V2 => event(&path, b"oom_kill"),
        };
        Self {
            mount_point: mount_point.to_owned(),
            version,
            own: own.to_owned(),
            kills,
            levels: levels.collect(),
        }
    }

    fn again(&self) -> Self {
        Self::read(&self.mount_point, self.version, &self.own)
    }

    /// What happened between these counts and `now`.
    fn until(&self, now: &Self) -> OutOfMemory {
        let (kills, cgroup) = match (self.kills, now.kills) {
            (Some(before), Some(now)) => (now.saturating_sub(before), self.own.clone()),
            // Its own is gone, as a container's is soon after its end: the next one above tells.
            _ => match self.kills_above(now) {
                Some(found) => found,
                None => {
                    let why = match self.kills {
                        Some(_) => format!("its cgroup /{} is gone", self.own),
                        None => "its kernel does not count such kills".to_owned(),
                    };
                    return OutOfMemory::Unknown { why };
                }
            },
        };
        if kills == 0 {
            return OutOfMemory::No;
        }
        OutOfMemory::Killed {
            kills,
            cgroup: format!("/{cgroup}"),
            limit: self.limit_met(now),
        }
    }

    fn kills_above(&self, now: &Self) -> Option<(u64, String)> {
        let pairs = self.levels.iter().zip(&now.levels).skip(1);
        pairs
            .filter_map(|(before, now)| {
                let kills = now.kills_below?.saturating_sub(before.kills_below?);
                Some((kills, now.folder.clone()))
            })
            .next()
    }

    /// The lowest cgroup whose limit was met meanwhile.
    fn limit_met(&self, now: &Self) -> LimitMet {
        let mut pairs = self.levels.iter().zip(&now.levels);
        match (
            pairs.find(|(before, now)| now.met > before.met),
            self.version,
        ) {
            (Some((_, met)), Version::V1) => {
                LimitMet::Of(format!("memory.limit_in_bytes /{}", met.folder))
            }
            (Some((_, met)), Version::V2) => LimitMet::Of(format!("memory.max /{}", met.folder)),
            (None, Version::V1) => LimitMet::Uncounted,
            (None, Version::V2) => LimitMet::Machine,
        }
    }
}

/// An event of this cgroup alone, where its kernel tells that apart (5.2 and newer).
fn event(folder: &Path, name: &[u8]) -> Option<u64> {
    file_event(folder, "memory.events.local", name)
        .or_else(|| file_event(folder, "memory.events", name))
}

fn file_event(folder: &Path, file: &str, name: &[u8]) -> Option<u64> {
    value_of(&read_file(&folder.join(file))?, name)
}

/// The counts of processes from while they lived.
#[derive(Debug, Default)]
pub(crate) struct Lives {
    of: HashMap<ProcessKey, Life>,
}

#[derive(Debug)]
struct Life {
    at: Duration,
    last: Counts,
    /// Those of the reading before: the last one may lie between a kill and the end that it makes.
    earlier: Option<Counts>,
}

impl Lives {
    /// The process was read, and lives.
    pub(crate) fn saw(&mut self, key: &ProcessKey, counts: Counts, at: Duration) {
        if let Some(life) = self.of.get_mut(key) {
            life.at = at;
            life.earlier = Some(std::mem::replace(&mut life.last, counts));
            return;
        }
        if self.of.len() >= LIVES_MAX {
            let oldest = self.of.iter().min_by_key(|(_, life)| life.at);
            if let Some(oldest) = oldest.map(|(key, _)| key.clone()) {
                self.of.remove(&oldest);
            }
        }
        let life = Life {
            at,
            last: counts,
            earlier: None,
        };
        self.of.insert(key.clone(), life);
    }

    /// The process has ended: how memory had to do with it. It is forgotten after that.
    pub(crate) fn ended(&mut self, key: &ProcessKey) -> OutOfMemory {
        let Some(life) = self.of.remove(key) else {
            let why = "no reading of its cgroup from before its end is remembered".to_owned();
            return OutOfMemory::Unknown { why };
        };
        // A process that moved to another cgroup meanwhile is compared with that one.
        let same = |earlier: &Counts| earlier.own == life.last.own;
        let before = life.earlier.filter(same).unwrap_or(life.last);
        before.until(&before.again())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use model::{BootId, Pid, StartTicks};

    use super::*;

    const OWN: &str = "kubepods.slice/pod1.slice/app.scope";

    /// A recorded tree of version 2, in which the test lets time go by.
    struct Tree(tempfile::TempDir);

    impl Tree {
        fn recorded() -> Self {
            let tree = Self(tempfile::tempdir().unwrap());
            for folder in ancestors(OWN).filter(|folder| !folder.is_empty()) {
                fs::create_dir_all(tree.0.path().join(folder)).unwrap();
                tree.says(folder, 0, 0, 0);
            }
            tree
        }

        /// As a kernel of 6.1 writes them: `oom` and `oom_kill` of the cgroup alone, and `oom_kill` of
        /// all below.
        fn says(&self, folder: &str, oom: u64, oom_kill: u64, below: u64) {
            let path = self.0.path().join(folder);
            let text = |oom: u64, kills: u64| {
                format!("low 0\nhigh 0\nmax 31\noom {oom}\noom_kill {kills}\noom_group_kill 0\n")
            };
            fs::write(path.join("memory.events.local"), text(oom, oom_kill)).unwrap();
            fs::write(path.join("memory.events"), text(oom, below)).unwrap();
        }

        fn read(&self) -> Counts {
            Counts::read(self.0.path(), Version::V2, &format!("/{OWN}"))
        }
    }

    fn killed(cgroup: &str, limit: LimitMet) -> OutOfMemory {
        OutOfMemory::Killed {
            kills: 1,
            cgroup: format!("/{cgroup}"),
            limit,
        }
    }

    fn of(limit: &str) -> LimitMet {
        LimitMet::Of(limit.to_owned())
    }

    #[test]
    fn version_2_on_recorded_trees() {
        let pod = "kubepods.slice/pod1.slice";
        let own_limit = format!("memory.max /{OWN}");
        let pod_limit = format!("memory.max /{pod}");
        // What each level says after it: (folder, oom, oom_kill, oom_kill below).
        type Row<'a> = (&'a str, &'a [(&'a str, u64, u64, u64)], OutOfMemory);
        let rows: [Row<'_>; 4] = [
            ("kill -9 by somebody", &[], OutOfMemory::No),
            (
                "its own limit",
                &[(OWN, 1, 1, 1), (pod, 0, 0, 1)],
                killed(OWN, of(&own_limit)),
            ),
            (
                "its pod's limit",
                &[(OWN, 0, 1, 1), (pod, 1, 0, 1)],
                killed(OWN, of(&pod_limit)),
            ),
            (
                "the machine was short",
                &[(OWN, 0, 1, 1), (pod, 0, 0, 1)],
                killed(OWN, LimitMet::Machine),
            ),
        ];
        for (name, after, want) in rows {
            let tree = Tree::recorded();
            let before = tree.read();
            for (folder, oom, kills, below) in after {
                tree.says(folder, *oom, *kills, *below);
            }
            assert_eq!(before.until(&tree.read()), want, "{name}");
        }
        println!("version 2 was tested on recorded trees");
    }

    #[test]
    fn a_cgroup_that_is_gone_is_answered_for_by_the_one_above() {
        let pod = "kubepods.slice/pod1.slice";
        let tree = Tree::recorded();
        let before = tree.read();
        tree.says(pod, 0, 0, 1);
        fs::remove_dir_all(tree.0.path().join(OWN)).unwrap();
        assert_eq!(before.until(&tree.read()), killed(pod, LimitMet::Machine));
        fs::remove_dir_all(tree.0.path().join("kubepods.slice")).unwrap();
        let said = before.until(&tree.read());
        let OutOfMemory::Unknown { why } = said else {
            panic!("{said:?}");
        };
        assert!(why.contains("is gone"), "{why}");
    }

    #[test]
    fn version_1_counts_kills_in_the_own_cgroup_alone() {
        let dir = tempfile::tempdir().unwrap();
        let own = dir.path().join("docker/abc");
        fs::create_dir_all(&own).unwrap();
        let says = |kills: u64, own_failed: u64, above_failed: u64| {
            let text = format!("oom_kill_disable 0\nunder_oom 0\noom_kill {kills}\n");
            fs::write(own.join("memory.oom_control"), text).unwrap();
            fs::write(own.join("memory.failcnt"), format!("{own_failed}\n")).unwrap();
            let above = dir.path().join("docker/memory.failcnt");
            fs::write(above, format!("{above_failed}\n")).unwrap();
            Counts::read(dir.path(), Version::V1, "/docker/abc")
        };
        let before = says(2, 5, 0);
        assert_eq!(before.until(&says(2, 9, 0)), OutOfMemory::No);
        let own = "memory.limit_in_bytes /docker/abc";
        assert_eq!(before.until(&says(3, 9, 0)), killed("docker/abc", of(own)));
        let above = "memory.limit_in_bytes /docker";
        assert_eq!(
            before.until(&says(3, 5, 1)),
            killed("docker/abc", of(above))
        );
        assert_eq!(
            before.until(&says(3, 5, 0)),
            killed("docker/abc", LimitMet::Uncounted),
            "a limit of memory and swap, or the machine's"
        );
    }

    #[test]
    fn a_reading_between_kill_and_end_hides_nothing() {
        let key = |pid| ProcessKey {
            boot_id: BootId("b".into()),
            pid: Pid(pid),
            start_ticks: StartTicks(1),
        };
        let tree = Tree::recorded();
        let mut lives = Lives::default();
        let at = Duration::from_secs;
        lives.saw(&key(1), tree.read(), at(1));
        lives.saw(&key(2), tree.read(), at(1));
        tree.says(OWN, 1, 1, 1);
        lives.saw(&key(1), tree.read(), at(2));
        lives.saw(&key(2), tree.read(), at(2));
        lives.saw(&key(2), tree.read(), at(3));
        let limit = format!("memory.max /{OWN}");
        assert_eq!(lives.ended(&key(1)), killed(OWN, of(&limit)));
        assert_eq!(
            lives.ended(&key(2)),
            OutOfMemory::No,
            "an old kill is another's"
        );
        let said = lives.ended(&key(1));
        assert!(
            matches!(said, OutOfMemory::Unknown { .. }),
            "once: {said:?}"
        );
    }
}
