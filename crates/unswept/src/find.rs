//! From what a person wrote to what is looked at: a pid, a name, or a URL.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use model::{Pid, ProcessKey, StartTicks};
use reader::{
    Access, Discovery, GoFailure, GoProcess, Host, ReadFailure, Reader, ReaderError, Reading,
};

/// Passes over `/proc` until every executable was looked into; each has its own time limit.
const PASSES_MAX: usize = 50;
/// Processes named in a message.
const NAMED_MAX: usize = 8;

/// Why there is nothing to look at. The user can mend all of these.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum FindError {
    #[error("there is no process {pid}")]
    NoProcess { pid: u32 },
    #[error("process {pid} ({comm}) is not a Go program")]
    NotGo { pid: u32, comm: String },
    #[error(
        "process {pid} ({comm}) cannot be looked into, so it cannot be told whether it is a Go program"
    )]
    Hidden {
        pid: u32,
        comm: String,
        hint: String,
    },
    #[error("no Go process here is called `{name}`")]
    NoName { name: String, hint: String },
    #[error("{count} Go processes are called `{name}`: {pids}")]
    Ambiguous {
        name: String,
        count: usize,
        pids: String,
    },
    #[error("expected a URL such as http://HOST:PORT, found `{url}`")]
    BadUrl { url: String },
}

impl FindError {
    /// What the user can do about it.
    pub(crate) fn hint(&self) -> &str {
        match self {
            Self::NoProcess { .. } => "`unswept ps` lists the Go processes of this host",
            Self::NotGo { .. } => {
                "`unswept ps` lists the Go processes of this host; for a shell or a supervisor, \
                 name the program that it started"
            }
            Self::Hidden { hint, .. } | Self::NoName { hint, .. } => hint,
            Self::Ambiguous { .. } => "name one of them by its pid",
            Self::BadUrl { .. } => "http and https are understood; the port may be left out",
        }
    }
}

/// What was asked for.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Found {
    /// A process of this host.
    Process(Box<GoProcess>),
    /// A service, with the process that serves it where it runs here.
    Service {
        /// Its base URL as it was given.
        url: String,
        /// `host:port`.
        instance: String,
        process: Option<Box<GoProcess>>,
    },
}

/// Finds all Go processes, also when looking into all executables takes several passes.
pub(crate) fn discover(reader: &Reader) -> Result<Discovery, ReaderError> {
    let mut discovery = reader.discover()?;
    for _ in 1..PASSES_MAX {
        if discovery.pending == 0 {
            break;
        }
        discovery = reader.discover()?;
    }
    Ok(discovery)
}

/// What `target` means among the processes of `discovery`. `is_seen` tells of a pid whether the
/// reader may look into it: it may see more than this process, which has no privileges.
pub(crate) fn find(
    target: &str,
    discovery: &Discovery,
    is_seen: impl Fn(u32) -> bool,
) -> Result<Found, FindError> {
    if target.contains("://") {
        return service(target, discovery);
    }
    match target.parse::<u32>() {
        Ok(pid) => by_pid(pid, discovery, is_seen),
        Err(_) => by_name(target, discovery),
    }
    .map(|process| Found::Process(Box::new(process.clone())))
}

/// Whether the reader may look into a process: its descriptors' links need the same permission as
/// its executable's.
pub(crate) fn is_seen(reader: &Reader, host: &Host, pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let Some(start_ticks) = start_ticks(&stat) else {
        return false;
    };
    let key = ProcessKey {
        boot_id: host.boot_id.clone(),
        pid: Pid(pid),
        start_ticks: StartTicks(start_ticks),
    };
    let readings = reader.read(&[key]).unwrap_or_default();
    readings
        .iter()
        .any(|reading| matches!(reading, Ok(reading) if reading.memory.sockets.is_some()))
}

/// Field 22 of `/proc/PID/stat`. The name before it, in parentheses, may hold anything.
fn start_ticks(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(')')?;
    fields.split_whitespace().nth(19)?.parse().ok()
}

fn by_pid(
    pid: u32,
    discovery: &Discovery,
    is_seen: impl Fn(u32) -> bool,
) -> Result<&GoProcess, FindError> {
    let found = discovery.processes.iter().find(|p| p.key.pid == Pid(pid));
    if let Some(process) = found {
        return Ok(process);
    }
    let Ok(comm) = std::fs::read_to_string(format!("/proc/{pid}/comm")) else {
        return Err(FindError::NoProcess { pid });
    };
    let comm = comm.trim_end().to_owned();
    match &discovery.hint {
        // Discovery counts what it could not look into: only then may this one be hidden.
        Some(hint) if !is_seen(pid) => Err(FindError::Hidden {
            pid,
            comm,
            hint: hint.clone(),
        }),
        _ => Err(FindError::NotGo { pid, comm }),
    }
}

fn by_name<'a>(name: &str, discovery: &'a Discovery) -> Result<&'a GoProcess, FindError> {
    let found: Vec<&GoProcess> = discovery
        .processes
        .iter()
        .filter(|p| is_called(p, name))
        .collect();
    match found.as_slice() {
        [process] => Ok(process),
        [] => {
            let hint = match &discovery.hint {
                Some(hint) => format!(
                    "{} cannot be looked into: {hint}",
                    crate::words::processes(discovery.unreadable)
                ),
                None => "`unswept ps` lists the Go processes of this host".into(),
            };
            Err(FindError::NoName {
                name: name.into(),
                hint,
            })
        }
        several => {
            let pids = several
                .iter()
                .take(NAMED_MAX)
                .map(|p| p.key.pid.to_string());
            let mut pids: Vec<String> = pids.collect();
            if several.len() > NAMED_MAX {
                pids.push("...".into());
            }
            Err(FindError::Ambiguous {
                name: name.into(),
                count: several.len(),
                pids: pids.join(", "),
            })
        }
    }
}

fn is_called(process: &GoProcess, name: &str) -> bool {
    let unit = process.systemd_unit.as_deref();
    let container = process.container.as_ref();
    process.exe == name
        || process.exe.rsplit('/').next() == Some(name)
        || process.comm == name
        || process.build.module.as_deref() == Some(name)
        || unit == Some(name)
        || unit.and_then(|unit| unit.strip_suffix(".service")) == Some(name)
        // Container runtimes show the first twelve digits of an id.
        || name.len() >= 12 && container.is_some_and(|c| c.id.starts_with(name))
        || container.is_some_and(|c| c.name.as_deref() == Some(name))
        || name.strip_prefix("pod/").is_some_and(|pod| is_in_pod(process, pod))
}

/// Whether `path` is `NAMESPACE/POD` or `NAMESPACE/POD/CONTAINER` of the process.
fn is_in_pod(process: &GoProcess, path: &str) -> bool {
    let mut names = path.splitn(3, '/');
    let (namespace, pod, container) = (names.next(), names.next(), names.next());
    let Some(own) = &process.pod else {
        return false;
    };
    let own_container = process.container.as_ref().and_then(|c| c.name.as_deref());
    own.namespace.as_deref() == namespace
        && (own.name.as_deref() == pod && pod.is_some())
        && (container.is_none() || own_container == container)
}

fn service(url: &str, discovery: &Discovery) -> Result<Found, FindError> {
    let bad = || FindError::BadUrl { url: url.into() };
    let (host, port) = host_and_port(url).ok_or_else(bad)?;
    let ip = match host {
        "localhost" => Some(IpAddr::from([127, 0, 0, 1])),
        host => host.parse::<IpAddr>().ok(),
    };
    let process = ip.filter(IpAddr::is_loopback).and_then(|ip| {
        let owns =
            |p: &&GoProcess| p.netns_is_ours && p.listening.iter().any(|at| takes(*at, ip, port));
        discovery.processes.iter().find(owns)
    });
    let instance = match host.contains(':') {
        true => format!("[{host}]:{port}"),
        false => format!("{host}:{port}"),
    };
    Ok(Found::Service {
        url: url.into(),
        instance,
        process: process.map(|process| Box::new(process.clone())),
    })
}

/// Refuses what is no URL of a service.
pub(crate) fn check_url(url: &str) -> Result<(), FindError> {
    match host_and_port(url) {
        Some(_) => Ok(()),
        None => Err(FindError::BadUrl { url: url.into() }),
    }
}

/// Whether `url` is a loopback URL of the network namespace that `process` lives in, and not of ours.
pub(crate) fn is_inside(url: &str, process: &GoProcess) -> bool {
    let Some((host, port)) = host_and_port(url) else {
        return false;
    };
    let ip = host.parse::<IpAddr>().ok().filter(IpAddr::is_loopback);
    let listens = |ip| process.listening.iter().any(|at| takes(*at, ip, port));
    !process.netns_is_ours && ip.is_some_and(listens)
}

/// Whether what listens on `at` answers a connection to `ip` and `port`.
fn takes(at: SocketAddr, ip: IpAddr, port: u16) -> bool {
    at.port() == port && (at.ip() == ip || at.ip().is_unspecified())
}

fn host_and_port(url: &str) -> Option<(&str, u16)> {
    let (scheme, rest) = url.split_once("://")?;
    let usual = match scheme {
        "http" => 80,
        "https" => 443,
        _ => return None,
    };
    let authority = rest.split(['/', '?', '#']).next()?;
    let authority = authority.rsplit('@').next()?;
    let (host, port) = match authority.strip_prefix('[') {
        Some(v6) => {
            let (host, rest) = v6.split_once(']')?;
            (host, rest.strip_prefix(':'))
        }
        None => match authority.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        },
    };
    if host.is_empty() {
        return None;
    }
    Some((host, port.map_or(Some(usual), |port| port.parse().ok())?))
}

/// A process's short name: its executable's.
pub(crate) fn name(process: &GoProcess) -> &str {
    let file = process.exe.rsplit('/').next().unwrap_or("");
    if file.is_empty() { &process.comm } else { file }
}

/// What can be seen of a process without asking it, in words.
pub(crate) fn seen(process: &GoProcess) -> String {
    if let Access::Denied { what, .. } = &process.access {
        return format!("no permission: {what}");
    }
    let handlers = [
        (process.handlers.metrics, "metrics handler"),
        (process.handlers.pprof, "pprof handler"),
        (process.handlers.expvar, "expvar"),
    ];
    let linked: Vec<&str> = handlers
        .iter()
        .filter(|(is, _)| *is)
        .map(|(_, name)| *name)
        .collect();
    match (linked.is_empty(), process.listening.is_empty()) {
        (true, _) => "process, no handler".into(),
        (false, true) => format!("{}; no port open", linked.join(", ")),
        (false, false) => format!("{}; not asked", linked.join(", ")),
    }
}

/// How long to wait for programs to be opened, which happens once for each, one at a time.
const OPENING_MAX: Duration = Duration::from_secs(5);

/// Reads these processes with their Go figures, and waits for those that are still being opened.
pub(crate) fn read_with_go(
    reader: &Reader,
    keys: &[ProcessKey],
) -> anyhow::Result<Vec<Result<Reading, ReadFailure>>> {
    let begin = Instant::now();
    loop {
        let readings = reader.read_with_go(keys)?;
        let opening = |reading: &Result<Reading, ReadFailure>| {
            let go = reading
                .as_ref()
                .ok()
                .and_then(|reading| reading.go.as_ref());
            matches!(go, Some(Err(GoFailure::Opening)))
        };
        if !readings.iter().any(opening) || begin.elapsed() > OPENING_MAX {
            return Ok(readings);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Why Go's figures could not be read, with what would help.
pub(crate) fn go_failure(failure: &GoFailure) -> String {
    match failure.hint() {
        Some(hint) => format!("{failure}: {hint}"),
        None => failure.to_string(),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use model::{BootId, UnixMs};
    use reader::{ContainerIdentity, GoBuild, GoEnv, GoFigures, Handlers, PodIdentity};

    pub(crate) fn figures() -> GoFigures {
        GoFigures {
            at: UnixMs(0),
            live_bytes: Some(20 << 20),
            heap_alloc_bytes: 31 << 20,
            heap_inuse_bytes: 33 << 20,
            heap_idle_bytes: 4 << 20,
            heap_released_bytes: 1 << 20,
            heap_objects: 70_000,
            stack_inuse_bytes: 1 << 20,
            runtime_bytes: 5 << 20,
            sys_bytes: 44 << 20,
            next_gc_bytes: 41 << 20,
            gc_cycles: 17,
            last_gc_ns: 0,
            alloc_bytes_total: 1 << 30,
            gogc_percent: 100,
            gomemlimit_bytes: None,
            goroutines: 1234,
            threads: 7,
        }
    }

    pub(crate) fn process(pid: u32, exe: &str, listening: &[&str]) -> GoProcess {
        GoProcess {
            key: ProcessKey {
                boot_id: BootId("b".into()),
                pid: Pid(pid),
                start_ticks: StartTicks(1),
            },
            started: UnixMs(0),
            ppid: 1,
            uid: 0,
            exe: exe.into(),
            exe_deleted: false,
            comm: exe
                .rsplit('/')
                .next()
                .unwrap_or("")
                .chars()
                .take(15)
                .collect(),
            container: None,
            pod: None,
            systemd_unit: None,
            cgroup: "/".into(),
            pid_namespace_is_ours: true,
            netns_is_ours: true,
            build: GoBuild {
                go_version: "go1.27.3".into(),
                module: Some("example.com/shop".into()),
                ..GoBuild::default()
            },
            handlers: Handlers {
                pprof: true,
                metrics: true,
                expvar: false,
            },
            listening: listening.iter().map(|at| at.parse().unwrap()).collect(),
            env: GoEnv::default(),
            access: Access::Full,
        }
    }

    fn discovery() -> Discovery {
        let mut processes = vec![
            process(7, "/usr/bin/shop", &["127.0.0.1:6060"]),
            process(8, "/usr/bin/depot", &["[::]:8080"]),
            process(9, "/opt/depot", &[]),
        ];
        processes[2].systemd_unit = Some("night.service".into());
        processes[1].build.module = Some("example.com/depot".into());
        processes[2].build.module = Some("example.com/depot".into());
        Discovery {
            processes,
            ..Discovery::default()
        }
    }

    fn pid_of(target: &str) -> Result<Option<u32>, String> {
        match find(target, &discovery(), |_| true) {
            Ok(Found::Process(process)) => Ok(Some(process.key.pid.0)),
            Ok(Found::Service { process, .. }) => Ok(process.map(|process| process.key.pid.0)),
            Err(error) => Err(error.to_string()),
        }
    }

    #[test]
    fn a_target_is_a_pid_a_name_or_a_url() {
        let rows = [
            ("pid", "7", Some(7)),
            ("name", "shop", Some(7)),
            ("path", "/opt/depot", Some(9)),
            ("module", "example.com/shop", Some(7)),
            ("unit", "night", Some(9)),
            ("loopback", "http://127.0.0.1:6060", Some(7)),
            ("localhost", "http://localhost:8080/metrics", Some(8)),
            ("v6 loopback", "http://[::1]:8080", Some(8)),
            ("another port", "http://127.0.0.1:6061", None),
            ("elsewhere", "https://shop.example.com/debug/pprof/", None),
        ];
        for (name, target, pid) in rows {
            assert_eq!(pid_of(target), Ok(pid), "{name}");
        }
    }

    #[test]
    fn a_pod_and_a_container_are_found_by_name() {
        let mut found = discovery();
        let container = |digit: &str, name: &str| ContainerIdentity {
            id: digit.repeat(64),
            name: Some(name.into()),
            ..ContainerIdentity::default()
        };
        let pod = PodIdentity {
            name: Some("shop-0".into()),
            namespace: Some("payments".into()),
            ..PodIdentity::default()
        };
        found.processes[0].container = Some(container("a", "app"));
        found.processes[0].pod = Some(pod.clone());
        found.processes[1].container = Some(container("b", "proxy"));
        found.processes[1].pod = Some(pod);
        for (target, pid) in [
            ("pod/payments/shop-0/app", Some(7)),
            ("pod/payments/shop-0/proxy", Some(8)),
            ("proxy", Some(8)),
            ("aaaaaaaaaaaa", Some(7)),
            // Two are in it.
            ("pod/payments/shop-0", None),
            ("pod/payments/shop-1", None),
            ("pod/payments", None),
            ("pod/", None),
        ] {
            let told = by_name(target, &found).map(|process| process.key.pid.0);
            assert_eq!(told.ok(), pid, "{target}");
        }
    }

    #[test]
    fn a_loopback_url_is_inside_where_its_process_is() {
        let mut shop = process(7, "/srv/shop", &["127.0.0.1:6060"]);
        assert!(!is_inside("http://127.0.0.1:6060", &shop), "ours");
        shop.netns_is_ours = false;
        for (url, inside) in [
            ("http://127.0.0.1:6060/metrics", true),
            ("http://127.0.0.1:6061", false),
            ("http://10.0.0.7:6060", false),
            ("nonsense", false),
        ] {
            assert_eq!(is_inside(url, &shop), inside, "{url}");
        }
    }

    #[test]
    fn what_is_not_found_is_said() {
        let ours = std::process::id();
        let rows = [
            (
                "free pid",
                "4194304".to_owned(),
                "there is no process 4194304",
            ),
            ("not Go", ours.to_string(), "is not a Go program"),
            (
                "no name",
                "bakery".into(),
                "no Go process here is called `bakery`",
            ),
            (
                "two",
                "depot".into(),
                "2 Go processes are called `depot`: 8, 9",
            ),
            ("scheme", "ftp://h:1".into(), "expected a URL"),
            ("port", "http://h:99999".into(), "expected a URL"),
            ("no host", "http://:80".into(), "expected a URL"),
        ];
        for (name, target, text) in rows {
            let error = pid_of(&target).expect_err(name);
            assert!(error.contains(text), "{name}: {error}");
        }
    }

    #[test]
    fn what_is_hidden_is_not_called_something_else() {
        let mut discovery = discovery();
        discovery.hint = Some("be root".into());
        let ours = std::process::id().to_string();
        let hidden = find(&ours, &discovery, |_| false).expect_err("hidden");
        assert!(matches!(hidden, FindError::Hidden { .. }), "{hidden}");
        assert_eq!(hidden.hint(), "be root");
        let seen = find(&ours, &discovery, |_| true).expect_err("seen");
        assert!(matches!(seen, FindError::NotGo { .. }), "{seen}");
    }

    #[test]
    fn a_name_with_a_parenthesis_moves_no_field() {
        let fields: Vec<String> = (3..=52).map(|i: u32| i.to_string()).collect();
        let stat = format!("7 (a) b (c) {}", fields.join(" "));
        assert_eq!(start_ticks(&stat), Some(22));
        assert_eq!(start_ticks("7 (a) S 1"), None);
        assert_eq!(start_ticks(""), None);
    }

    #[test]
    fn instances_keep_their_port() {
        let instance = |url| match find(url, &discovery(), |_| true) {
            Ok(Found::Service { instance, .. }) => instance,
            other => panic!("{other:?}"),
        };
        assert_eq!(instance("http://user:secret@shop/metrics"), "shop:80");
        assert_eq!(instance("https://[fe80::1]"), "[fe80::1]:443");
    }
}
