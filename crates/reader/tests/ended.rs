//! How processes ended: real ones, in memory cgroups of version 1 that the test makes. Version 2's
//! controller is tested on recorded trees, in `kills.rs`.
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use model::{Pid, ProcessKey, StartTicks};
use reader::{EndStatus, Ended, Exits, LimitMet, OutOfMemory, Reader, ReaderOptions};

const SPARE: u64 = 64 << 20;
const SMALL: u64 = 16 << 20;

/// A cgroup and one below it, removed at the end.
struct Cgroups(PathBuf);

impl Cgroups {
    fn make(name: &str, outer: u64, inner: u64) -> Option<Self> {
        let root = Path::new("/sys/fs/cgroup/memory");
        let path = root.join(format!("unswept-ended-{name}-{}", std::process::id()));
        if fs::create_dir(&path).is_err() {
            println!("SKIP: no cgroup of version 1 with the memory controller can be made here");
            return None;
        }
        let cgroups = Self(path);
        fs::create_dir(cgroups.0.join("own")).unwrap();
        for (folder, bytes) in [("", outer), ("own", inner)] {
            let limit = cgroups.0.join(folder).join("memory.limit_in_bytes");
            fs::write(limit, bytes.to_string()).unwrap();
        }
        Some(cgroups)
    }

    /// A shell in it that does `script` once it hears a line.
    fn start(&self, script: &str) -> Child {
        let join = format!(
            "echo $$ > {}/own/cgroup.procs && read go && {script}",
            self.0.display()
        );
        let mut shell = Command::new("sh");
        shell
            .args(["-c", &join])
            .stdin(std::process::Stdio::piped());
        shell.spawn().unwrap()
    }

    fn name(&self) -> String {
        self.0.file_name().unwrap().to_string_lossy().into_owned()
    }
}

impl Drop for Cgroups {
    fn drop(&mut self) {
        let _ = fs::remove_dir(self.0.join("own"));
        let _ = fs::remove_dir(&self.0);
    }
}

fn key_of(reader: &Reader, pid: u32) -> ProcessKey {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let ticks = stat.rsplit_once(')').unwrap().1.split(' ').nth(20).unwrap();
    ProcessKey {
        boot_id: reader.host().unwrap().boot_id,
        pid: Pid(pid),
        start_ticks: StartTicks(ticks.parse().unwrap()),
    }
}

/// Reads the child as a watcher does until its cgroup is known, lets it go on, waits for its end.
fn watched(reader: &Reader, child: &mut Child, cgroup: &str) -> (ProcessKey, Ended) {
    let key = key_of(reader, child.id());
    let started = Instant::now();
    loop {
        let reading = reader.read(std::slice::from_ref(&key)).unwrap();
        let container = reading[0].as_ref().unwrap().container.clone();
        if container.is_some_and(|container| container.path.contains(cgroup)) {
            break;
        }
        assert!(
            started.elapsed() < Duration::from_secs(10),
            "it does not join"
        );
        std::thread::sleep(Duration::from_millis(10));
    }
    let (tell, told) = std::sync::mpsc::channel();
    let exits = Exits::start().unwrap();
    let _waited = exits
        .when_ended(&key, move || tell.send(()).unwrap())
        .unwrap();
    let early = reader.ended(&key).unwrap();
    assert_eq!(early, None, "it lives, and nothing of it is forgotten");
    assert!(reader::lives(&key));
    use std::io::Write as _;
    child.stdin.take().unwrap().write_all(b"go\n").unwrap();
    told.recv_timeout(Duration::from_secs(20)).unwrap();
    let ended = reader.ended(&key).unwrap();
    assert!(!reader::lives(&key));
    (key, ended.expect("its end"))
}

#[test]
fn a_kill_for_lack_of_memory_is_told_from_any_other_end() {
    let reader = Reader::in_thread(ReaderOptions::default()).unwrap();
    let name = |cgroups: &Cgroups, inner: &str| format!("/{}{inner}", cgroups.name());
    let grow = "exec tail /dev/zero";
    let rows = [
        (
            "own",
            SPARE,
            SMALL,
            grow,
            Some("/own"),
            Some(EndStatus::Signal(9)),
        ),
        (
            "above",
            SMALL,
            SPARE,
            grow,
            Some(""),
            Some(EndStatus::Signal(9)),
        ),
        (
            "kill",
            SPARE,
            SPARE,
            "kill -9 $$",
            None,
            Some(EndStatus::Signal(9)),
        ),
        (
            "segv",
            SPARE,
            SPARE,
            "kill -11 $$",
            None,
            Some(EndStatus::Signal(11)),
        ),
        (
            "exit",
            SPARE,
            SPARE,
            "exit 3",
            None,
            Some(EndStatus::Exited(3)),
        ),
        ("well", SPARE, SPARE, "exit 0", None, None),
    ];
    for (why, outer, inner, script, limit, status) in rows {
        let Some(cgroups) = Cgroups::make(why, outer, inner) else {
            return;
        };
        let mut child = cgroups.start(script);
        let (key, ended) = watched(&reader, &mut child, &cgroups.name());
        let want = match limit {
            None => OutOfMemory::No,
            Some(level) => OutOfMemory::Killed {
                kills: 1,
                cgroup: name(&cgroups, "/own"),
                limit: LimitMet::Of(format!("memory.limit_in_bytes {}", name(&cgroups, level))),
            },
        };
        assert_eq!(ended.out_of_memory, want, "{why}");
        // Bit 7 would tell of a core.
        assert_eq!(ended.status, status, "{why}");
        let waited = child.wait().unwrap();
        if let Some(EndStatus::Signal(signal)) = status {
            assert_eq!(waited.signal(), i32::try_from(signal).ok(), "{why}");
        }
        let again = reader.ended(&key).unwrap().expect("its end");
        assert_eq!(again.status, None, "{why}: its parent knows");
    }
    println!("live: cgroup version 1; version 2 is tested on recorded trees");
}

/// As `docker run -m 16m --memory-swap 16m` has it: kernels do not count that such a limit was met.
#[test]
fn a_limit_of_memory_and_swap_is_never_taken_for_the_machine_s() {
    let Some(cgroups) = Cgroups::make("memsw", SMALL, SPARE) else {
        return;
    };
    let both = cgroups.0.join("memory.memsw.limit_in_bytes");
    if let Err(error) = fs::write(both, SMALL.to_string()) {
        println!("SKIP: this kernel does not limit memory and swap together: {error}");
        return;
    }
    let reader = Reader::in_thread(ReaderOptions::default()).unwrap();
    let mut child = cgroups.start("exec tail /dev/zero");
    let (_, ended) = watched(&reader, &mut child, &cgroups.name());
    let OutOfMemory::Killed { limit, .. } = ended.out_of_memory else {
        panic!("{:?}", ended.out_of_memory);
    };
    println!("said of a limit of memory and swap: {limit:?}");
    assert_ne!(limit, LimitMet::Machine);
    child.wait().unwrap();
}
