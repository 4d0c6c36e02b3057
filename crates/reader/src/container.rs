//! What a memory cgroup says, versions 1 and 2 under one set of meanings: usage and its parts, the
//! limit that binds, events, pressure, and the RSS of its processes beside it.
//!
//! Formats: Documentation/admin-guide/cgroup-v2.rst and cgroup-v1/memory.rst of the Linux source.
//! Version 1's figures are those of the whole subtree, as version 2's are. All functions take the
//! root they read below, so that recorded trees test them.
//!
//! One reading is the cgroup's own files (two to nine), one file an ancestor, and `memory.stat` of
//! those ancestors that have a limit: a tenth of a millisecond in a pod.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use model::{ContainerEvents, ContainerMemory, Pressure, UnixMs};

use crate::cgroup::{self, DEPTH_MAX, Membership, Mount, Version};
use crate::proc_dir::ProcDir;
use crate::procfs::{self, number, words};

/// Bytes read of one cgroup file; `memory.stat` has about 2 KiB.
const FILE_BYTES_MAX: u64 = 64 << 10;

/// Version 1 writes the largest page-aligned number for "no limit"; nobody has 4 EiB.
const V1_NO_LIMIT: u64 = 1 << 62;

/// With more processes than this their RSS is not summed: it costs 30 us for each.
const PROCESSES_MAX: usize = 64;

/// The files of one version.
struct Names {
    usage: &'static str,
    limit: &'static str,
    high: Option<&'static str>,
}

impl Names {
    fn of(version: Version) -> Self {
        match version {
            Version::V1 => Self {
                usage: "memory.usage_in_bytes",
                limit: "memory.limit_in_bytes",
                high: None,
            },
            Version::V2 => Self {
                usage: "memory.current",
                limit: "memory.max",
                high: Some("memory.high"),
            },
        }
    }
}

/// Reads the container of a process: its memory cgroup, and its pressure from version 2's tree,
/// which tells it also where version 1 accounts for memory.
pub(crate) fn read(
    mounts: &[Mount],
    membership: &Membership,
    at: UnixMs,
) -> Option<ContainerMemory> {
    let (mount, below) = cgroup::locate(mounts, membership)?;
    let mut memory = read_memory(&mount.mount_point, mount.version, &below, at)?;
    let procs = mount.mount_point.join(memory.path.trim_start_matches('/'));
    memory.processes_rss_bytes = processes_rss(&procs.join("cgroup.procs"));
    if let Some((mount, below)) = cgroup::locate_in(Version::V2, mounts, membership) {
        let pressure = read_file(&mount.mount_point.join(below).join("memory.pressure"));
        memory.pressure = pressure.and_then(|bytes| parse_pressure(&bytes));
    }
    Some(memory)
}

/// Reads the memory cgroup at `below` in the tree at `mount_point`. Where it has no memory
/// controller of its own, the nearest ancestor that has one answers for it.
///
/// `None` where there is none, and for the machine's own root cgroup, which is no container.
pub(crate) fn read_memory(
    mount_point: &Path,
    version: Version,
    below: &str,
    at: UnixMs,
) -> Option<ContainerMemory> {
    let names = Names::of(version);
    let usage_in = |folder: &str| number_in(&mount_point.join(folder).join(names.usage));
    let own = ancestors(below).find(|folder| usage_in(folder).is_some())?;
    let mut memory = ContainerMemory {
        at,
        path: format!("/{own}"),
        ..ContainerMemory::default()
    };
    let inherited = read_parts(&mut memory, &mount_point.join(own), version)?;
    memory.events = read_events(&mount_point.join(own), version);
    let least = least_limit(mount_point, version, own, names.limit, memory.held_bytes());
    // Version 1 also tells what binds above the part of the tree that is mounted here.
    let hidden = inherited.map(|bytes| Limit {
        bytes,
        others: 0,
        source: "hierarchical_memory_limit /".to_owned(),
    });
    if let Some(limit) = least.into_iter().chain(hidden).reduce(Limit::lower) {
        memory.limit_bytes = Some(limit.bytes);
        memory.limit_others_bytes = limit.others;
        memory.limit_source = Some(limit.source);
    }
    let high = names
        .high
        .and_then(|high| least_limit(mount_point, version, own, high, memory.held_bytes()));
    if let Some(high) = high {
        memory.high_bytes = Some(high.bytes);
        memory.high_source = Some(high.source);
    }
    let is_machine = own.is_empty() && version == Version::V1 && memory.limit_bytes.is_none();
    (!is_machine).then_some(memory)
}

/// A limit, less what others below it cannot give back.
struct Limit {
    bytes: u64,
    others: u64,
    source: String,
}

impl Limit {
    fn lower(self, other: Self) -> Self {
        if other.bytes < self.bytes {
            other
        } else {
            self
        }
    }
}

/// The least limit over a cgroup that cannot give back `held` bytes and its ancestors, of the file
/// `name`.
fn least_limit(
    mount_point: &Path,
    version: Version,
    own: &str,
    name: &str,
    held: u64,
) -> Option<Limit> {
    let limits = ancestors(own).filter_map(|folder| {
        let path = mount_point.join(folder);
        let max = number_in(&path.join(name)).filter(|&bytes| bytes < V1_NO_LIMIT)?;
        let others = match folder == own {
            true => 0,
            false => {
                let mut all = ContainerMemory::default();
                // An ancestor that does not tell leaves nothing known of others.
                let known =
                    read_parts(&mut all, &path, version).is_some() && all.anon_bytes.is_some();
                if known {
                    all.held_bytes().saturating_sub(held)
                } else {
                    0
                }
            }
        };
        Some(Limit {
            bytes: max.saturating_sub(others),
            others,
            source: format!("{name} /{folder}"),
        })
    });
    limits.reduce(Limit::lower)
}

/// Fills in the usage and its parts. Returns version 1's inherited limit; `None` without usage.
fn read_parts(
    memory: &mut ContainerMemory,
    folder: &Path,
    version: Version,
) -> Option<Option<u64>> {
    memory.usage_bytes = number_in(&folder.join(Names::of(version).usage))?;
    let stat = read_file(&folder.join("memory.stat")).unwrap_or_default();
    let stat = parse_stat(&stat, version);
    stat.apply(memory);
    if version == Version::V1 {
        memory.kernel_bytes = number_in(&folder.join("memory.kmem.usage_in_bytes"));
    } else {
        memory.swap_bytes = number_in(&folder.join("memory.swap.current"));
    }
    Some(stat.inherited_limit)
}

/// What we use of `memory.stat`.
#[derive(Debug, Default, PartialEq, Eq)]
struct Stat {
    anon: Option<u64>,
    file: Option<u64>,
    shmem: Option<u64>,
    active_file: Option<u64>,
    inactive_file: Option<u64>,
    kernel: Option<u64>,
    /// The parts of `kernel`, which kernels before 5.18 do not sum.
    kernel_parts: Option<u64>,
    slab_reclaimable: Option<u64>,
    sockets: Option<u64>,
    swap: Option<u64>,
    inherited_limit: Option<u64>,
}

fn parse_stat(bytes: &[u8], version: Version) -> Stat {
    let mut stat = Stat::default();
    for line in bytes.split(|&b| b == b'\n') {
        let mut words = words(line);
        let (Some(name), Some(value)) = (words.next(), words.next().and_then(number)) else {
            continue;
        };
        let slot = match (version, name) {
            (Version::V1, b"total_rss") | (Version::V2, b"anon") => &mut stat.anon,
            (Version::V1, b"total_cache") | (Version::V2, b"file") => &mut stat.file,
            (Version::V1, b"total_shmem") | (Version::V2, b"shmem") => &mut stat.shmem,
            (Version::V1, b"total_active_file") | (Version::V2, b"active_file") => {
                &mut stat.active_file
            }
            (Version::V1, b"total_inactive_file") | (Version::V2, b"inactive_file") => {
                &mut stat.inactive_file
            }
            (Version::V1, b"total_swap") => &mut stat.swap,
            (Version::V1, b"hierarchical_memory_limit") => &mut stat.inherited_limit,
            (Version::V2, b"kernel") => &mut stat.kernel,
            (Version::V2, b"sock") => &mut stat.sockets,
            (Version::V2, b"slab_reclaimable") => &mut stat.slab_reclaimable,
            (
                Version::V2,
                b"kernel_stack" | b"pagetables" | b"sec_pagetables" | b"percpu" | b"slab"
                | b"vmalloc",
            ) => {
                let parts = stat.kernel_parts.unwrap_or(0);
                stat.kernel_parts = Some(parts.saturating_add(value));
                continue;
            }
            _ => continue,
        };
        *slot = Some(value);
    }
    stat.inherited_limit = stat.inherited_limit.filter(|&bytes| bytes < V1_NO_LIMIT);
    stat
}

impl Stat {
    fn apply(&self, memory: &mut ContainerMemory) {
        memory.anon_bytes = self.anon;
        memory.file_bytes = self.file;
        memory.shmem_bytes = self.shmem;
        memory.active_file_bytes = self.active_file;
        memory.inactive_file_bytes = self.inactive_file;
        memory.kernel_bytes = self.kernel.or(self.kernel_parts);
        memory.kernel_reclaimable_bytes = self.slab_reclaimable;
        memory.sockets_bytes = self.sockets;
        memory.swap_bytes = self.swap;
    }
}

fn read_events(folder: &Path, version: Version) -> ContainerEvents {
    match version {
        Version::V1 => {
            let oom = read_file(&folder.join("memory.oom_control")).unwrap_or_default();
            ContainerEvents {
                max: number_in(&folder.join("memory.failcnt")),
                oom_kill: value_of(&oom, b"oom_kill"),
                ..ContainerEvents::default()
            }
        }
        Version::V2 => {
            let events = read_file(&folder.join("memory.events")).unwrap_or_default();
            ContainerEvents {
                high: value_of(&events, b"high"),
                max: value_of(&events, b"max"),
                oom: value_of(&events, b"oom"),
                oom_kill: value_of(&events, b"oom_kill"),
            }
        }
    }
}

/// The number behind a name at the beginning of a line.
pub(crate) fn value_of(bytes: &[u8], name: &[u8]) -> Option<u64> {
    let mut lines = bytes.split(|&b| b == b'\n').map(words);
    let mut line = lines.find_map(|mut words| (words.next()? == name).then_some(words))?;
    number(line.next()?)
}

/// `some avg10=0.00 avg60=0.00 avg300=0.00 total=12345` and the same for `full`.
fn parse_pressure(bytes: &[u8]) -> Option<Pressure> {
    let total = |name: &[u8]| {
        let mut lines = bytes.split(|&b| b == b'\n').map(words);
        let mut line = lines.find_map(|mut words| (words.next()? == name).then_some(words))?;
        number(line.find_map(|word| word.strip_prefix(b"total="))?)
    };
    Some(Pressure {
        some_us: total(b"some")?,
        full_us: total(b"full")?,
    })
}

/// RSS of the processes listed in a `cgroup.procs`, summed. One that has just ended counts nothing.
fn processes_rss(list: &Path) -> Option<u64> {
    let list = read_file(list)?;
    let pids: Vec<u32> = words(&list).map(number).collect::<Option<_>>()?;
    // Zero stands for a process outside our pid namespace.
    if pids.is_empty() || pids.len() > PROCESSES_MAX || pids.contains(&0) {
        return None;
    }
    let rss = |pid| {
        let status = ProcDir::open(pid).and_then(|dir| dir.read("status")).ok()?;
        procfs::parse_status(&status).rss_bytes
    };
    Some(
        pids.into_iter()
            .filter_map(rss)
            .fold(0, u64::saturating_add),
    )
}

/// The path itself and every folder above it, down to the empty one.
pub(crate) fn ancestors(below: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(below), |path| {
        (!path.is_empty()).then(|| path.rsplit_once('/').map_or("", |(front, _)| front))
    })
    .take(DEPTH_MAX)
}

/// The number in a file; `None` for `max`.
pub(crate) fn number_in(path: &Path) -> Option<u64> {
    number(read_file(path)?.trim_ascii())
}

pub(crate) fn read_file(path: &Path) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let file = File::open(path).ok()?;
    file.take(FILE_BYTES_MAX).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

pub(crate) fn fuzz_one(bytes: &[u8]) {
    for version in [Version::V1, Version::V2] {
        let stat = parse_stat(bytes, version);
        let mut memory = ContainerMemory::default();
        stat.apply(&mut memory);
        let _ = (memory.held_bytes(), memory.working_set_bytes());
    }
    let _ = (parse_pressure(bytes), value_of(bytes, b"oom_kill"));
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::PathBuf;

    use super::*;

    const MIB: u64 = 1 << 20;

    fn tree(name: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/data")
            .join(name)
    }

    #[test]
    fn a_tree_of_version_2() {
        let read = |below| read_memory(&tree("cgroup-v2"), Version::V2, below, UnixMs(5));
        let memory = read("kubepods.slice/pod1.slice/app.scope").unwrap();
        let want = ContainerMemory {
            at: UnixMs(5),
            usage_bytes: 300 * MIB,
            anon_bytes: Some(200 * MIB),
            file_bytes: Some(80 * MIB),
            shmem_bytes: Some(10 * MIB),
            kernel_bytes: Some(15 * MIB),
            kernel_reclaimable_bytes: Some(5 * MIB),
            sockets_bytes: Some(2 * MIB),
            active_file_bytes: Some(30 * MIB),
            inactive_file_bytes: Some(40 * MIB),
            swap_bytes: Some(0),
            // The container has 512 MiB, its pod only 400, of which a sidecar holds 64.
            limit_bytes: Some(336 * MIB),
            limit_source: Some("memory.max /kubepods.slice/pod1.slice".into()),
            limit_others_bytes: 64 * MIB,
            high_bytes: Some(320 * MIB),
            high_source: Some("memory.high /kubepods.slice/pod1.slice/app.scope".into()),
            events: ContainerEvents {
                high: Some(7),
                max: Some(3),
                oom: Some(1),
                oom_kill: Some(1),
            },
            pressure: None,
            processes_rss_bytes: None,
            path: "/kubepods.slice/pod1.slice/app.scope".into(),
        };
        assert_eq!(memory, want);
        assert_eq!(memory.working_set_bytes(), Some(260 * MIB));
        assert_eq!(memory.held_bytes(), (200 + 10 + 15 - 5 + 2) * MIB);
        let free = read("system.slice/free.service").unwrap();
        assert_eq!((free.limit_bytes, free.limit_source), (None, None));
        assert_eq!(
            free.kernel_bytes,
            Some(6 * MIB),
            "an old kernel's parts, summed"
        );
        let inner = read("system.slice/free.service/no/controller/here").unwrap();
        assert_eq!(inner.path, "/system.slice/free.service");
        assert_eq!(read(""), None, "the machine is no container");
        assert_eq!(read("gone"), None);
    }

    #[test]
    fn a_tree_of_version_1() {
        let read = |below| read_memory(&tree("cgroup-v1"), Version::V1, below, UnixMs(0));
        let memory = read("docker/abc").unwrap();
        assert_eq!(memory.usage_bytes, 100 * MIB);
        assert_eq!(memory.anon_bytes, Some(60 * MIB), "of the subtree");
        assert_eq!(memory.kernel_bytes, Some(8 * MIB));
        assert_eq!(memory.working_set_bytes(), Some(90 * MIB));
        assert_eq!(memory.sockets_bytes, None, "not part of the usage");
        assert_eq!(memory.events.max, Some(12));
        assert_eq!(memory.events.oom_kill, Some(2));
        assert_eq!(memory.limit_bytes, Some(256 * MIB));
        assert_eq!(
            memory.limit_source.as_deref(),
            Some("memory.limit_in_bytes /docker/abc")
        );
        let free = read("docker/free").unwrap();
        assert_eq!(free.limit_bytes, None, "the largest number means none");
        assert_eq!(
            free.held_bytes(),
            free.usage_bytes,
            "its parts are not known"
        );
        let hidden = read("docker/hidden").unwrap();
        assert_eq!(hidden.limit_bytes, Some(128 * MIB));
        assert_eq!(
            hidden.limit_source.as_deref(),
            Some("hierarchical_memory_limit /")
        );
        assert_eq!(read(""), None, "the machine is no container");
    }

    #[test]
    fn the_tree_of_pressure_may_be_another() {
        let mount = |version, name| Mount {
            version,
            mount_point: tree(name),
            root: "/".into(),
            own: None,
        };
        let mounts = [
            mount(Version::V1, "cgroup-v1"),
            mount(Version::V2, "cgroup-v2"),
        ];
        let membership = Membership {
            v1_memory: Some("/docker/abc".into()),
            v1_systemd: None,
            v2: Some("/system.slice/free.service".into()),
        };
        let memory = read(&mounts, &membership, UnixMs(0)).unwrap();
        assert_eq!(memory.path, "/docker/abc");
        let want = Pressure {
            some_us: 1234,
            full_us: 567,
        };
        assert_eq!(memory.pressure, Some(want));
    }

    #[test]
    fn hostile_files_are_no_numbers() {
        let dir = tempfile::tempdir().unwrap();
        for (name, text, expected) in [
            ("max", "max\n", None),
            ("empty", "", None),
            ("negative", "-1\n", None),
            ("past u64", "99999999999999999999\n", None),
            ("words", "1 2\n", None),
            ("a number", "12\n", Some(12)),
        ] {
            let path = dir.path().join("file");
            fs::write(&path, text).unwrap();
            assert_eq!(number_in(&path), expected, "{name}");
        }
        assert_eq!(number_in(dir.path()), None, "a folder");
        for text in [
            "",
            "some total=x\nfull total=1",
            "some total=1",
            "full avg10=1\nsome total=2",
        ] {
            assert_eq!(parse_pressure(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn our_own_rss_is_summed_and_strangers_are_not() {
        let dir = tempfile::tempdir().unwrap();
        let list = |text: &str| {
            let path = dir.path().join("cgroup.procs");
            fs::write(&path, text).unwrap();
            processes_rss(&path)
        };
        let one = list(&format!("{}\n", std::process::id())).unwrap();
        assert!(one > MIB, "{one}");
        assert_eq!(list(""), None, "nobody is in it");
        assert_eq!(list("0\n1\n"), None, "one of another namespace");
        assert_eq!(list(&"1\n".repeat(65)), None, "too many");
        assert_eq!(list("x\n"), None);
    }

    /// A cgroup of version 1 with this process's own files' tree: made, read and removed.
    struct Live {
        mount_point: PathBuf,
        name: String,
    }

    impl Live {
        fn make() -> Option<Self> {
            let mounts = cgroup::parse_mounts(&fs::read("/proc/self/mountinfo").ok()?);
            let v1 = |m: &&Mount| m.version == Version::V1 && m.root == "/";
            let Some(v1) = mounts.iter().find(v1) else {
                eprintln!("SKIP: no memory controller of cgroup v1 here");
                return None;
            };
            let name = format!("unswept-reader-test-{}", std::process::id());
            let live = Self {
                mount_point: v1.mount_point.clone(),
                name,
            };
            if fs::create_dir(live.folder("")).is_err() {
                eprintln!("SKIP: may not make a cgroup here");
                return None;
            }
            fs::create_dir(live.folder("inner")).unwrap();
            Some(live)
        }

        fn folder(&self, inner: &str) -> PathBuf {
            self.mount_point.join(&self.name).join(inner)
        }
    }

    impl Drop for Live {
        fn drop(&mut self) {
            let _ = fs::remove_dir(self.folder("inner"));
            let _ = fs::remove_dir(self.folder(""));
        }
    }

    #[test]
    fn the_live_memory_controller_of_version_1() {
        let Some(live) = Live::make() else { return };
        fs::write(live.folder("").join("memory.limit_in_bytes"), "67108864").unwrap();
        let below = format!("{}/inner", live.name);
        let memory = read_memory(&live.mount_point, Version::V1, &below, UnixMs(1)).unwrap();
        // The kernel charges the making of `inner` to its parent: some kilobytes that are another's.
        let (limit, others) = (memory.limit_bytes.unwrap(), memory.limit_others_bytes);
        assert_eq!(limit + others, 64 * MIB);
        assert!(others < MIB, "{others}");
        let source = memory.limit_source.unwrap();
        assert_eq!(source, format!("memory.limit_in_bytes /{}", live.name));
        assert!(memory.anon_bytes.is_some() && memory.events.oom_kill == Some(0));
    }
}
