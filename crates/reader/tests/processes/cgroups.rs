//! A container as a kubelet makes it, as far as the kernel goes: a memory cgroup with the kubelet's
//! names, a limit, and a network namespace. Live in the version that accounts for memory here; the
//! other one is held against recorded trees beside its code.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use model::ContainerMemory;
use reader::{QosClass, Reader, ReaderOptions};

use super::{Running, find, is_root, plain, read_one};

const UID: &str = "1b2c3d4e-0000-4aaa-8bbb-1234567890ab";
const LIMIT: u64 = 96 << 20;

/// A memory cgroup and those above it, gone with this value.
struct Cgroup {
    folders: Vec<PathBuf>,
    limit: &'static str,
}

impl Cgroup {
    /// A pod's container; `None`, after a line that says so, where none can be made.
    fn of_container(id: &str) -> Option<Self> {
        let (root, limit) = root()?;
        let own = format!("unswept-{}-{}", std::process::id(), &id[..1]);
        let pod = format!("pod{UID}");
        let mut folders = Vec::new();
        let mut path = root;
        for name in [&own, "kubepods", "burstable", &pod, id] {
            if limit == "memory.max" {
                fs::write(path.join("cgroup.subtree_control"), "+memory").ok()?;
            }
            path.push(name);
            fs::create_dir(&path).ok()?;
            folders.insert(0, path.clone());
        }
        fs::write(path.join(limit), LIMIT.to_string()).ok()?;
        // Where there is swap, what does not fit would go there. Each version has one of the two.
        let _ = fs::write(path.join("memory.swappiness"), "0");
        let _ = fs::write(path.join("memory.swap.max"), "0");
        Some(Self { folders, limit })
    }

    fn folder(&self) -> &Path {
        &self.folders[0]
    }

    /// `command` of a shell, started in it.
    fn start(&self, command: &str) -> Running {
        let procs = self.folder().join("cgroup.procs");
        let script = format!("echo $$ > {} && exec {command}", procs.display());
        Running::start(Command::new("sh").args(["-c", &script]))
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        for folder in &self.folders {
            let begin = Instant::now();
            // What ran in it has ended, and the kernel takes a moment to notice.
            while fs::remove_dir(folder).is_err() && begin.elapsed() < Duration::from_secs(5) {
                std::thread::sleep(Duration::from_millis(10));
            }
        }
    }
}

/// Where memory cgroups are made, and the name of their limit.
fn root() -> Option<(PathBuf, &'static str)> {
    let v1 = Path::new("/sys/fs/cgroup/memory");
    if is_root() && v1.join("memory.limit_in_bytes").exists() {
        eprintln!("memory cgroups of version 1 are live here; version 2 is held against trees");
        return Some((v1.into(), "memory.limit_in_bytes"));
    }
    let v2 = Path::new("/sys/fs/cgroup");
    let controllers = fs::read_to_string(v2.join("cgroup.controllers")).unwrap_or_default();
    if is_root() && controllers.split_whitespace().any(|name| name == "memory") {
        eprintln!("memory cgroups of version 2 are live here; version 1 is held against trees");
        return Some((v2.into(), "memory.max"));
    }
    eprintln!("SKIP: no memory cgroup can be made here; both versions are held against trees");
    None
}

fn container_of(reader: &Reader, pid: u32) -> ContainerMemory {
    let key = find(reader, pid).expect("it is found").key;
    read_one(reader, &key).unwrap().container.unwrap()
}

#[test]
fn a_pod_s_container_is_told_with_its_limit_and_its_names() {
    let id = "6".repeat(64);
    let Some(cgroup) = Cgroup::of_container(&id) else {
        return;
    };
    let mut target = cgroup.start(&plain().display().to_string());
    target.line();
    let nodes = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/nodes");
    let mut options = ReaderOptions::default();
    options.host_root = Some(nodes.join("kubelet"));
    let reader = Reader::in_thread(options).unwrap();
    let found = find(&reader, target.pid()).unwrap();
    let (container, pod) = (found.container.unwrap(), found.pod.unwrap());
    assert_eq!((container.id, container.name), (id, Some("shop".into())));
    assert_eq!(pod.uid.as_deref(), Some(UID));
    assert_eq!(pod.name.as_deref(), Some("shop-7d9c5b6f4d-x2kzp"));
    assert_eq!(pod.namespace.as_deref(), Some("payments"));
    assert_eq!(pod.qos, Some(QosClass::Burstable));

    let memory = container_of(&reader, target.pid());
    assert_eq!(memory.limit_bytes, Some(LIMIT));
    assert!(memory.limit_source.unwrap().starts_with(cgroup.limit));
    assert!(memory.usage_bytes > 64 << 20 && memory.usage_bytes <= LIMIT);
    assert!(memory.processes_rss_bytes > Some(64 << 20));
    assert_eq!(memory.events.oom_kill, Some(0));
}

#[test]
fn kubelet_s_own_configuration_says_where_it_evicts() {
    let nodes = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/nodes");
    let mut options = ReaderOptions::default();
    options.host_root = Some(nodes.join("kubelet"));
    let reader = Reader::in_thread(options).unwrap();
    let kubelet = reader.host().unwrap().kubelet.unwrap();
    assert_eq!(kubelet.available_bytes, 300 << 20);
}

/// A node that is a container itself: its files are seen by the pod's keeper, and not by us.
#[test]
fn the_names_are_where_the_container_s_keeper_sees_them() {
    let id = "7".repeat(64);
    let Some(cgroup) = Cgroup::of_container(&id) else {
        return;
    };
    let log = format!("/var/log/containers/inner-0_tests_app-{id}.log");
    let procs = cgroup.folder().join("cgroup.procs");
    let script = format!(
        "mount -t tmpfs none /var/log && mkdir /var/log/containers && touch {log} || exit 1
         sh -c 'echo $$ > {} && exec {}'
         exit",
        procs.display(),
        plain().display()
    );
    let mut keeper = Running::start(Command::new("unshare").args(["--mount", "sh", "-c", &script]));
    keeper.line();
    assert!(!Path::new(&log).exists(), "not in our own mount namespace");
    let found = super::in_thread().discover().unwrap().processes;
    let found = found.into_iter().find(|found| found.ppid == keeper.pid());
    let found = found.expect("the keeper's child");
    let pod = found.pod.unwrap();
    assert_eq!(pod.name.as_deref(), Some("inner-0"));
    assert_eq!(pod.namespace.as_deref(), Some("tests"));
    assert_eq!(found.container.unwrap().name.as_deref(), Some("app"));
    // Its own end, before its cgroup's.
    drop(keeper.stdin.take());
    keeper.child.wait().unwrap();
}

#[test]
fn a_kill_for_lack_of_memory_is_counted() {
    let Some(cgroup) = Cgroup::of_container(&"a".repeat(64)) else {
        return;
    };
    let mut first = cgroup.start(&plain().display().to_string());
    first.line();
    // The kernel is told whom to take, as a kubelet tells it.
    let kill_me = "sh -c 'echo 1000 > /proc/self/oom_score_adj; exec \"$0\"'";
    let mut second = cgroup.start(&format!("{kill_me} {}", plain().display()));
    let begin = Instant::now();
    let ended = loop {
        if let Some(ended) = second.child.try_wait().unwrap() {
            break ended;
        }
        assert!(begin.elapsed() < Duration::from_secs(30), "it lives on");
        std::thread::sleep(Duration::from_millis(5));
    };
    assert_eq!(ended.code(), None, "64 MB twice do not fit: {ended}");
    let reader = super::in_thread();
    let memory = container_of(&reader, first.pid());
    assert_eq!(memory.events.oom_kill, Some(1), "{memory:?}");
    assert!(memory.events.max > Some(0), "{memory:?}");
}
