//! Finding the Go processes.
//!
//! Made to be called every few seconds: for a process that is not Go it costs one `stat` of its
//! executable, for which no disk is asked, for a Go process a few small reads; executables are looked into once, and a
//! process's descriptors are listed again only when the listening sockets of its network namespace
//! have changed.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use model::{BootId, Clock, Pid, ProcessKey, StartTicks, UnixMs};

use crate::answers::{
    Access, ContainerIdentity, Discovery, GoEnv, GoProcess, PodIdentity, ReadFailure,
};
use crate::cgroup;
use crate::executables::{Executables, FileId, GoFile};
use crate::files::{Ask, Lane, Said, Told, Whose};
use crate::host::Boot;
use crate::identity::Identities;
use crate::listeners::Namespaces;
use crate::names::names_of;
use crate::opener::How;
use crate::proc_dir::{PERMISSION_HINT, ProcDir, all_pids};
use crate::procfs;

/// Time for looking into new executables in one call: the rest is left to the next one, well
/// inside the client's deadline.
const LOOK_TIME: Duration = Duration::from_secs(2);

/// A file that is not read in so long is asked for again in the next call.
const PATIENCE: Duration = Duration::from_millis(250);

/// The file at a path that a process claims is looked up again after so long.
const CLAIM_MAX_AGE: Duration = Duration::from_secs(60);

/// Descriptors listed to find a process's listening sockets.
const FDS_MAX: u64 = 100_000;

/// Listening sockets told of one process.
const LISTENING_MAX: usize = 64;

/// Sockets can be handed over without any of them opening or closing, so descriptors are listed
/// again at least so often.
const LISTENING_MAX_AGE: Duration = Duration::from_secs(300);

/// Looks for the names of a container.
const IDENTITY_LOOKS_MAX: u32 = 5;

/// Bytes read of an environment: the kernel's own limit for one is larger, programs' are not.
const ENVIRON_BYTES_MAX: u64 = 1 << 20;

/// Finds Go processes, and remembers what does not change.
#[derive(Debug)]
pub(crate) struct Discoverer {
    executables: Executables,
    /// By pid; an entry holds for one start and one executable. Forgotten with the process.
    known: HashMap<u32, Known>,
    namespaces: Namespaces,
    identities: Identities,
    /// Whoever touches their files.
    files: Lane,
    /// By pid, the file that a process claims to be of which we may not see it.
    claims: HashMap<u32, Claim>,
    /// Processes that are ours.
    skip: Vec<u32>,
    our_pid_namespace: Option<u64>,
    our_net_namespace: Option<u64>,
}

/// What does not change between an exec and the next.
#[derive(Debug, Clone)]
struct Known {
    start_ticks: u64,
    file: FileId,
    env: GoEnv,
    pid_namespace_is_ours: bool,
    net_namespace: Option<u64>,
    denied: Option<String>,
    identity: Option<Identity>,
    listening: Vec<SocketAddr>,
    /// The namespace's signature when `listening` was found, and when that was.
    listened: Option<(u64, Duration)>,
}

/// The file at the path that a process claims.
#[derive(Debug)]
struct Claim {
    start_ticks: u64,
    path: PathBuf,
    file: Option<FileId>,
    at: Duration,
}

/// Who its container was found to be.
#[derive(Debug, Clone)]
struct Identity {
    container: ContainerIdentity,
    pod: Option<PodIdentity>,
    looks: u32,
}

/// What one process turned out to be.
enum Found {
    Go(Box<GoProcess>),
    NotGo,
    Unreadable,
    /// Its disk hangs.
    LeftAlone,
    /// Not told yet for lack of time.
    Pending,
}

/// What came of looking into an executable.
enum Looked {
    /// It is Go, or it is not.
    At(Option<Rc<GoFile>>),
    Later,
    Refused,
}

/// What one call carries along.
struct Pass<'a> {
    boot: &'a Boot,
    clock: &'a dyn Clock,
    start: Duration,
    look_until: Duration,
}

impl Pass<'_> {
    /// How long a file is waited for: others wait as long.
    fn patience(&self) -> Duration {
        let left = self.look_until.saturating_sub(self.clock.monotonic());
        left.min(PATIENCE)
    }
}

impl Discoverer {
    /// `skip` are the pids that are ours.
    pub(crate) fn new(skip: Vec<u32>, how: How) -> Self {
        Self {
            executables: Executables::default(),
            known: HashMap::new(),
            namespaces: Namespaces::default(),
            identities: Identities::default(),
            files: Lane::new(how),
            claims: HashMap::new(),
            skip,
            our_pid_namespace: namespace(Path::new("/proc/self/ns/pid")),
            our_net_namespace: namespace(Path::new("/proc/self/ns/net")),
        }
    }

    /// Has the node's files looked for below `root` first.
    pub(crate) fn set_host_root(&mut self, root: Option<PathBuf>) {
        self.identities.host_root = root;
    }

    pub(crate) fn identities(&self) -> &Identities {
        &self.identities
    }

    /// Gives up what hangs. Called at every request.
    pub(crate) fn tick(&mut self) {
        self.files.tick();
    }

    /// What is left alone because its disk hangs.
    pub(crate) fn left_alone(&self) -> impl Iterator<Item = &str> {
        self.files.left_alone()
    }

    /// Goes through all processes once.
    ///
    /// # Errors
    /// If `/proc` cannot be listed.
    pub(crate) fn discover(
        &mut self,
        boot: &Boot,
        clock: &dyn Clock,
    ) -> std::io::Result<Discovery> {
        let mut discovery = Discovery {
            at: clock.now(),
            ..Discovery::default()
        };
        let pass = Pass {
            boot,
            clock,
            start: clock.monotonic(),
            look_until: clock.monotonic() + LOOK_TIME,
        };
        let mut before = std::mem::take(&mut self.known);
        let mut left_alone = 0;
        let pids = all_pids()?;
        self.claims.retain(|pid, _| pids.binary_search(pid).is_ok());
        for pid in pids {
            if self.skip.contains(&pid) {
                continue;
            }
            match self.process(pid, before.remove(&pid), &pass) {
                Ok(Found::Go(_)) if discovery.processes.len() >= Discovery::PROCESSES_MAX => {
                    discovery.left_out += 1;
                }
                Ok(Found::Go(process)) => discovery.processes.push(*process),
                Ok(Found::LeftAlone) => left_alone += 1,
                Ok(Found::Unreadable) => discovery.unreadable += 1,
                Ok(Found::Pending) => discovery.pending += 1,
                // One that ended meanwhile is none.
                Ok(Found::NotGo) | Err(ReadFailure::Gone) => {}
                Err(_) => discovery.unreadable += 1,
            }
        }
        discovery.left_alone = self.left_alone().map(str::to_owned).collect();
        if discovery.unreadable > 0 {
            discovery.hint = Some(PERMISSION_HINT.to_owned());
        }
        discovery.unreadable += left_alone;
        Ok(discovery)
    }

    fn process(
        &mut self,
        pid: u32,
        known: Option<Known>,
        pass: &Pass<'_>,
    ) -> Result<Found, ReadFailure> {
        let dir = ProcDir::open(pid)?;
        // Kernel threads and ended processes have no executable: `Gone`.
        let file: FileId = match dir.file_stat("exe") {
            Ok(stat) => stat.file,
            Err(ReadFailure::Denied { .. }) => return self.denied(pid, &dir, pass),
            Err(failure) => return Err(failure),
        };
        let go = match self.look(format!("/proc/{pid}/exe").into(), file, pass) {
            Looked::At(Some(go)) => go,
            Looked::At(None) => return Ok(Found::NotGo),
            Looked::Later => return Ok(Found::Pending),
            Looked::Refused => return Ok(Found::LeftAlone),
        };
        let stat = dir.stat()?;
        let same = known.filter(|k| k.start_ticks == stat.start_ticks && k.file == file);
        let mut known = match same {
            Some(known) => known,
            None => self.first_look(&dir, file, stat.start_ticks)?,
        };
        self.listening(&dir, &mut known, pass);
        let (exe, exe_deleted) = procfs::parse_exe_link(&dir.read_link("exe")?);
        let mut process = describe(pid, &dir, &stat, &go, pass)?;
        process.exe = exe;
        process.exe_deleted = exe_deleted;
        process.pid_namespace_is_ours = known.pid_namespace_is_ours;
        process.netns_is_ours =
            known.net_namespace.is_some() && known.net_namespace == self.our_net_namespace;
        process.listening.clone_from(&known.listening);
        process.env = known.env.clone();
        let is_new = known.identity.is_none();
        let told = self.identify(&dir, &mut known, &mut process, pass);
        if !told && is_new {
            // Its first name is the one that it keeps.
            return Ok(Found::Pending);
        }
        if let Some(what) = &known.denied {
            process.access = denied(what);
        }
        self.known.insert(pid, known);
        Ok(Found::Go(Box::new(process)))
    }

    /// Brings `known.listening` up to date.
    fn listening(&mut self, dir: &ProcDir, known: &mut Known, pass: &Pass<'_>) {
        let Some(namespace) = known.net_namespace else {
            return;
        };
        // A process seen for the first time wants an answer of this pass.
        let since = known.listened.is_none().then_some(pass.start);
        let found = self
            .namespaces
            .listeners_of(namespace, dir, since, pass.clock);
        let Ok(listeners) = found else {
            return;
        };
        let now = pass.clock.monotonic();
        let fresh = known.listened.is_some_and(|(signature, at)| {
            signature == listeners.signature && now.saturating_sub(at) < LISTENING_MAX_AGE
        });
        if fresh {
            return;
        }
        let mut found = Vec::new();
        let listed = dir.each_socket(FDS_MAX, |inode| {
            if let Some(address) = listeners.by_inode.get(&inode) {
                found.push(*address);
            }
        });
        if listed.is_ok() {
            found.sort_unstable();
            found.dedup();
            found.truncate(LISTENING_MAX);
            known.listening = found;
            known.listened = Some((listeners.signature, now));
        }
    }

    /// Fills in who its container is: looked up once for a container, for a process may be moved into
    /// another; a few times where there is no name, which some files tell only after the start. `false` while
    /// that is not told yet.
    fn identify(
        &mut self,
        dir: &ProcDir,
        known: &mut Known,
        process: &mut GoProcess,
        pass: &Pass<'_>,
    ) -> bool {
        let Some(container) = &mut process.container else {
            return true;
        };
        let same = known.identity.take();
        let same = same.filter(|known| known.container.id == container.id);
        let looks = same.as_ref().map_or(0, |known| known.looks);
        let identity = match same {
            Some(known) if known.container.name.is_some() || looks >= IDENTITY_LOOKS_MAX => known,
            _ => {
                let patience = pass.patience();
                match self.names(dir.pid(), container, &process.pod, patience) {
                    Said::Told(Told::Names(named, pod)) => {
                        *container = named;
                        process.pod = pod;
                    }
                    Said::Told(_) | Said::Later => {
                        known.identity = same;
                        return false;
                    }
                    Said::Refused(_) => {}
                }
                Identity {
                    container: container.clone(),
                    pod: process.pod.clone(),
                    looks: looks + 1,
                }
            }
        };
        container.clone_from(&identity.container);
        process.pod.clone_from(&identity.pod);
        known.identity = Some(identity);
        true
    }

    fn names(
        &mut self,
        pid: u32,
        container: &ContainerIdentity,
        pod: &Option<PodIdentity>,
        patience: Duration,
    ) -> Said {
        let whose = Whose::Container(container.id.clone());
        let ask = Ask::Names {
            pid,
            host_root: self.identities.host_root.clone(),
            container: container.clone(),
            pod: pod.clone(),
        };
        self.files.ask(ask, whose, patience)
    }

    /// What an executable is, remembered or looked into.
    fn look(&mut self, path: PathBuf, file: FileId, pass: &Pass<'_>) -> Looked {
        if let Some(known) = self.executables.known(&file) {
            return Looked::At(known);
        }
        if pass.clock.monotonic() >= pass.look_until {
            return Looked::Later;
        }
        let (ask, whose) = (Ask::Look { path, file }, Whose::Device(file.dev));
        match self.files.ask(ask, whose, pass.patience()) {
            Said::Told(Told::Look(Ok(found))) => {
                let found = found.map(Rc::new);
                self.executables.remember(file, found.clone());
                Looked::At(found)
            }
            // A read that failed may succeed the next time: not remembered.
            Said::Told(_) => Looked::At(None),
            Said::Later => Looked::Later,
            Said::Refused(_) => Looked::Refused,
        }
    }

    /// The plain file at the path that a process claims: asked for once a minute, since the path is its own.
    fn claimed(
        &mut self,
        pid: u32,
        start_ticks: u64,
        path: &Path,
        pass: &Pass<'_>,
    ) -> Result<Option<FileId>, Found> {
        let now = pass.clock.monotonic();
        let known = self.claims.get(&pid).filter(|known| {
            known.start_ticks == start_ticks
                && known.path == path
                && now.saturating_sub(known.at) < CLAIM_MAX_AGE
        });
        if let Some(known) = known {
            return Ok(known.file);
        }
        let (path, whose) = (path.to_owned(), Whose::Path(path.to_owned()));
        let ask = Ask::Which { path: path.clone() };
        match self.files.ask(ask, whose, pass.patience()) {
            Said::Told(Told::Which(file)) => {
                let claim = Claim {
                    start_ticks,
                    path,
                    file,
                    at: now,
                };
                self.claims.insert(pid, claim);
                Ok(file)
            }
            Said::Refused(_) => Err(Found::LeftAlone),
            Said::Told(_) | Said::Later => Err(Found::Pending),
        }
    }

    /// Reads what stays: the environment and the namespaces.
    fn first_look(&self, dir: &ProcDir, file: FileId, start: u64) -> Result<Known, ReadFailure> {
        let mut denied = None;
        let env = match dir.read_up_to("environ", ENVIRON_BYTES_MAX) {
            Ok(bytes) => procfs::parse_environ(&bytes),
            Err(ReadFailure::Denied { path, .. }) => {
                denied = Some(path);
                GoEnv::default()
            }
            Err(failure) => return Err(failure),
        };
        let namespace = |name| dir.file_stat(name).ok().map(|stat| stat.inode);
        let pid_namespace = namespace("ns/pid");
        Ok(Known {
            start_ticks: start,
            file,
            env,
            pid_namespace_is_ours: pid_namespace.is_some()
                && pid_namespace == self.our_pid_namespace,
            net_namespace: namespace("ns/net"),
            denied,
            identity: None,
            listening: Vec::new(),
            listened: None,
        })
    }

    /// A process whose executable we may not see: it is told by the path that it claims.
    fn denied(&mut self, pid: u32, dir: &ProcDir, pass: &Pass<'_>) -> Result<Found, ReadFailure> {
        let cmdline = dir.read("cmdline")?;
        let claimed = procfs::first_argument(&cmdline);
        if claimed.is_empty() {
            return Ok(Found::NotGo); // a kernel thread, or ended
        }
        let Some(path) = std::str::from_utf8(claimed)
            .ok()
            .filter(|path| path.starts_with('/'))
        else {
            return Ok(Found::Unreadable);
        };
        let stat = dir.stat()?;
        let file = match self.claimed(pid, stat.start_ticks, Path::new(path), pass) {
            Ok(Some(file)) => file,
            Ok(None) => return Ok(Found::Unreadable),
            Err(later) => return Ok(later),
        };
        let go = match self.look(path.into(), file, pass) {
            Looked::At(Some(go)) => go,
            Looked::Later => return Ok(Found::Pending),
            Looked::At(None) => return Ok(Found::Unreadable),
            Looked::Refused => return Ok(Found::LeftAlone),
        };
        let mut process = describe(pid, dir, &stat, &go, pass)?;
        process.exe = path.to_owned();
        process.access = denied(&format!("/proc/{pid}/exe"));
        Ok(Found::Go(Box::new(process)))
    }
}

fn denied(what: &str) -> Access {
    Access::Denied {
        what: what.to_owned(),
        hint: PERMISSION_HINT.to_owned(),
    }
}

/// What everybody may read of a process.
fn describe(
    pid: u32,
    dir: &ProcDir,
    stat: &procfs::Stat,
    go: &Rc<GoFile>,
    pass: &Pass<'_>,
) -> Result<GoProcess, ReadFailure> {
    if stat.has_ended() {
        return Err(ReadFailure::Gone);
    }
    let status = procfs::parse_status(&dir.read("status")?);
    let membership = cgroup::parse_membership(&dir.read("cgroup").unwrap_or_default());
    let cgroup = membership.path().to_owned();
    let names = names_of(&cgroup);
    Ok(GoProcess {
        key: key(&pass.boot.id, pid, stat.start_ticks),
        started: pass.boot.time_of(stat.start_ticks),
        ppid: stat.ppid,
        uid: status.euid.unwrap_or(u32::MAX),
        exe: String::new(),
        exe_deleted: false,
        comm: stat.comm.clone(),
        container: names.container(),
        pod: names.pod(),
        systemd_unit: names.systemd_unit,
        cgroup,
        pid_namespace_is_ours: false,
        netns_is_ours: false,
        build: go.build.clone(),
        handlers: go.handlers,
        listening: Vec::new(),
        env: GoEnv::default(),
        access: Access::Full,
    })
}

fn key(boot_id: &BootId, pid: u32, start_ticks: u64) -> ProcessKey {
    ProcessKey {
        boot_id: boot_id.clone(),
        pid: Pid(pid),
        start_ticks: StartTicks(start_ticks),
    }
}

fn namespace(path: &Path) -> Option<u64> {
    rustix::fs::stat(path).ok().map(|stat| stat.st_ino)
}

impl Boot {
    /// When a process with this start began, by the wall clock.
    fn time_of(&self, start_ticks: u64) -> UnixMs {
        let ms = start_ticks.saturating_mul(1000) / self.ticks_per_s.max(1);
        let ms = i64::try_from(ms).unwrap_or(i64::MAX);
        UnixMs(self.time.0.saturating_add(ms))
    }
}
