//! What crosses the socket to the main process: results, never raw memory, command lines or whole
//! environments.

use std::net::SocketAddr;

use model::{
    BootId, ContainerMemory, GoMemory, GoSource, MappingBytes, ProcessKey, ProcessMemory, UnixMs,
};
use serde::{Deserialize, Serialize};

use crate::eviction::KubeletEviction;

/// The machine, as the reader sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Host {
    /// This boot.
    pub boot_id: BootId,
    /// The host's name in our UTS namespace.
    pub hostname: String,
    /// Ticks per second in `/proc/PID/stat`, 100 on all machines we run on.
    pub clock_ticks_per_s: u64,
    /// When this boot began, by the wall clock of now.
    pub boot_time: UnixMs,
    /// `MemTotal`.
    pub memory_total_bytes: u64,
    /// `MemAvailable`.
    pub memory_available_bytes: u64,
    /// The kernel's release, such as `6.18.1`.
    pub kernel: String,
    /// Which cgroup hierarchies are mounted here.
    pub cgroup_version: CgroupVersion,
    /// What kubelet's configuration on this node says of evictions, where there is one.
    pub kubelet: Option<KubeletEviction>,
}

/// Which cgroup hierarchies account for memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CgroupVersion {
    /// Only version 1.
    V1,
    /// Only version 2.
    V2,
    /// Both are mounted, and version 1 has the memory controller.
    Hybrid,
    /// No memory controller can be seen from here.
    None,
}

/// The Go processes that were found.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Discovery {
    /// When they were looked for.
    pub at: UnixMs,
    /// The processes, by pid; at most [`Discovery::PROCESSES_MAX`].
    pub processes: Vec<GoProcess>,
    /// Processes of which we cannot tell whether they are Go.
    pub unreadable: usize,
    /// Executables not looked into yet because this call's time was used up: call again.
    pub pending: usize,
    /// Go processes above the limit, left out.
    pub left_out: usize,
    /// What would make the unreadable ones readable.
    pub hint: Option<String>,
    /// Files that are left alone because their disk does not answer, each with what follows.
    pub left_alone: Vec<String>,
}

impl Discovery {
    /// Processes in one answer.
    pub const PROCESSES_MAX: usize = 4096;
}

/// One Go process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GoProcess {
    /// Which process, for good.
    pub key: ProcessKey,
    /// When it started.
    pub started: UnixMs,
    /// Its parent.
    pub ppid: u32,
    /// Its effective user.
    pub uid: u32,
    /// The executable's path in its own mount namespace. For a process we may not look into:
    /// the path that it claims in its arguments.
    pub exe: String,
    /// The executable's file is gone or was replaced: the path shows a newer one, if any.
    pub exe_deleted: bool,
    /// The name that the kernel shows.
    pub comm: String,
    /// Its container.
    pub container: Option<ContainerIdentity>,
    /// Its pod.
    pub pod: Option<PodIdentity>,
    /// Its systemd service, by its cgroup.
    pub systemd_unit: Option<String>,
    /// Its cgroup: the memory controller's, else the unified one.
    pub cgroup: String,
    /// It lives in our pid namespace; `false` also where that may not be read.
    pub pid_namespace_is_ours: bool,
    /// It lives in our network namespace, so its loopback is ours; `false` also where that may not
    /// be read.
    pub netns_is_ours: bool,
    /// How it was built.
    pub build: GoBuild,
    /// Which HTTP handlers were linked into it.
    pub handlers: Handlers,
    /// Its listening TCP sockets, sorted; at most 64. Addresses mean its own network namespace.
    pub listening: Vec<SocketAddr>,
    /// The garbage collector's settings in its environment.
    pub env: GoEnv,
    /// Whether we may look into it.
    pub access: Access,
}

/// Who a container is. The id is of its cgroup; names are as the node's files have them.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ContainerIdentity {
    /// Its id, as its runtime has it.
    pub id: String,
    /// What runs it.
    pub runtime: Option<ContainerRuntime>,
    /// Its name: within its pod, where it is in one.
    pub name: Option<String>,
    /// Its image, as it was asked for.
    pub image: Option<String>,
    /// The image's digest, `sha256:...`.
    pub image_digest: Option<String>,
    /// The service that it is one of: `PROJECT/SERVICE` of Compose, or a service of Swarm.
    pub service: Option<String>,
}

/// What runs a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ContainerRuntime {
    /// Docker.
    Docker,
    /// containerd, under Kubernetes or by itself.
    Containerd,
    /// CRI-O.
    CriO,
    /// Podman.
    Podman,
    /// LXC and Incus.
    Lxc,
}

/// Who a pod is.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct PodIdentity {
    /// Its uid: for a static pod 32 digits without dashes.
    pub uid: Option<String>,
    /// Its class of service, which says who is evicted first.
    pub qos: Option<QosClass>,
    /// Its name.
    pub name: Option<String>,
    /// Its namespace.
    pub namespace: Option<String>,
}

/// A pod's class of service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum QosClass {
    /// Requests equal limits.
    Guaranteed,
    /// Requests, and limits above them or none.
    Burstable,
    /// Neither.
    BestEffort,
}

/// What the linker recorded.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct GoBuild {
    /// Such as `go1.27.3`; empty for programs of Go before 1.13 or with the record removed.
    pub go_version: String,
    /// The main package's path.
    pub main_path: Option<String>,
    /// The main module's path.
    pub module: Option<String>,
    /// The main module's version, such as `v1.2.3` or `(devel)`.
    pub module_version: Option<String>,
    /// `vcs.revision` of the build settings.
    pub vcs_revision: Option<String>,
    /// GNU build id, else Go's.
    pub build_id: Option<String>,
    /// `CGO_ENABLED` of the build settings.
    pub cgo: Option<bool>,
    /// Position-independent.
    pub pie: bool,
    /// Without symbol table.
    pub stripped: bool,
}

/// Which handlers the executable contains. A handler that is linked in need not be served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Handlers {
    /// `net/http/pprof`.
    pub pprof: bool,
    /// A Prometheus or OpenMetrics handler.
    pub metrics: bool,
    /// `expvar`.
    pub expvar: bool,
}

/// The only variables read out of a process's environment. A program may change them in code.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct GoEnv {
    /// `GOGC`.
    pub gogc: Option<String>,
    /// `GOMEMLIMIT`.
    pub gomemlimit: Option<String>,
    /// `GODEBUG`.
    pub godebug: Option<String>,
}

/// Whether we may look into a process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "access", rename_all = "kebab-case")]
pub enum Access {
    /// All that this crate reads is readable.
    Full,
    /// The kernel keeps something from us.
    Denied {
        /// What.
        what: String,
        /// What would let us.
        hint: String,
    },
}

/// One reading of a process and of the container it is in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reading {
    /// The process's memory.
    pub memory: ProcessMemory,
    /// Its container's, where its cgroup can be seen from here and is not the machine itself.
    pub container: Option<ContainerMemory>,
    /// `MemAvailable` of the machine.
    pub machine_available_bytes: Option<u64>,
    /// The figures of its Go runtime, where they were asked for.
    pub go: Option<Result<GoFigures, GoFailure>>,
}

/// The Go runtime's own figures, read in the process's memory: what `runtime.ReadMemStats` would
/// have said at that moment, without the pause that it makes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GoFigures {
    /// When they were read.
    pub at: UnixMs,
    /// Bytes marked by the last collection; `None` before the first.
    pub live_bytes: Option<u64>,
    /// `HeapAlloc`.
    pub heap_alloc_bytes: u64,
    /// `HeapInuse`.
    pub heap_inuse_bytes: u64,
    /// `HeapIdle`.
    pub heap_idle_bytes: u64,
    /// `HeapReleased`.
    pub heap_released_bytes: u64,
    /// `HeapObjects`.
    pub heap_objects: u64,
    /// `StackInuse`.
    pub stack_inuse_bytes: u64,
    /// `MSpanInuse + MCacheInuse + BuckHashSys + GCSys + OtherSys`.
    pub runtime_bytes: u64,
    /// `Sys`.
    pub sys_bytes: u64,
    /// `NextGC`.
    pub next_gc_bytes: u64,
    /// `NumGC`.
    pub gc_cycles: u64,
    /// `LastGC`: nanoseconds since 1970, zero before the first collection.
    pub last_gc_ns: u64,
    /// `TotalAlloc`.
    pub alloc_bytes_total: u64,
    /// GOGC in force, percent; -1 when off.
    pub gogc_percent: i32,
    /// GOMEMLIMIT in force; `None` when off.
    pub gomemlimit_bytes: Option<u64>,
    /// `runtime.NumGoroutine`.
    pub goroutines: u64,
    /// Threads that the runtime has made and not ended.
    pub threads: u64,
}

impl GoFigures {
    /// In the model's words.
    #[must_use]
    pub fn memory(&self) -> GoMemory {
        let figure = |figure: u64| Some(figure as f64);
        GoMemory {
            at: self.at,
            source: GoSource::Process,
            live_bytes: self.live_bytes.map(|bytes| bytes as f64),
            heap_alloc_bytes: figure(self.heap_alloc_bytes),
            heap_inuse_bytes: figure(self.heap_inuse_bytes),
            heap_idle_bytes: figure(self.heap_idle_bytes),
            heap_released_bytes: figure(self.heap_released_bytes),
            heap_objects: figure(self.heap_objects),
            stack_inuse_bytes: figure(self.stack_inuse_bytes),
            runtime_bytes: figure(self.runtime_bytes),
            sys_bytes: figure(self.sys_bytes),
            next_gc_bytes: figure(self.next_gc_bytes),
            gc_cycles: figure(self.gc_cycles),
            last_gc_unix_s: Some(self.last_gc_ns as f64 / 1e9).filter(|seconds| *seconds > 0.0),
            alloc_bytes_total: figure(self.alloc_bytes_total),
            goroutines: figure(self.goroutines),
            threads: figure(self.threads),
            gogc_percent: Some(f64::from(self.gogc_percent)),
            gomemlimit_bytes: Some(self.gomemlimit_bytes.map_or(f64::INFINITY, |b| b as f64)),
        }
    }
}

/// Why the figures of a Go runtime could not be read. The rest of the reading is well.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(tag = "failure", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum GoFailure {
    /// The program is being opened, which happens once: ask again.
    #[error("the program is still being opened")]
    Opening,
    /// It is no Go program.
    #[error("it is no Go program")]
    NotGo,
    /// The process has ended, or runs another program now.
    #[error("the process has ended")]
    Gone,
    /// The kernel does not let us.
    #[error("{what}")]
    Refused {
        /// What was refused.
        what: String,
        /// What would let us.
        hint: String,
    },
    /// Its runtime is of a build that is not known here.
    #[error("{what}")]
    UnknownLayout {
        /// Version, machine, and which check failed.
        what: String,
        /// What would make it known.
        hint: String,
    },
    /// Opening it took more time or memory than any program may.
    #[error("opening it takes too much: {what}")]
    TooCostly {
        /// What happened.
        what: String,
    },
    /// Its memory holds something else than a runtime's figures.
    #[error("{what}")]
    Unreadable {
        /// What.
        what: String,
    },
}

impl GoFailure {
    /// What the user can do about it, where that is known.
    #[must_use]
    pub fn hint(&self) -> Option<&str> {
        match self {
            Self::Refused { hint, .. } | Self::UnknownLayout { hint, .. } => Some(hint),
            _ => None,
        }
    }
}

/// Resident bytes by class, and what it cost to get them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mappings {
    /// The figures.
    pub bytes: MappingBytes,
    /// How long reading took, in microseconds: so long, at most, the target's mmap lock was held.
    /// The caller keeps the duty cycle.
    pub elapsed_us: u64,
}

/// How a process ended, as far as it can be known from outside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    /// What it ended with; `None` where its parent was told first, or it ended with 0: the kernel
    /// writes that also for those who may not know.
    pub status: Option<EndStatus>,
    /// Whether it was killed for lack of memory.
    pub out_of_memory: OutOfMemory,
}

/// What a process ended with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EndStatus {
    /// It ended itself with this code.
    Exited(u32),
    /// This signal ended it.
    Signal(u32),
}

/// Whether a process was killed for lack of memory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "kebab-case")]
pub enum OutOfMemory {
    /// Kills were counted about its end.
    Killed {
        /// How many.
        kills: u64,
        /// In which cgroup: its own, or the next one above that is still there.
        cgroup: String,
        /// Whose limit was met.
        limit: LimitMet,
    },
    /// None was counted: whatever ended it was something else.
    No,
    /// It cannot be told.
    Unknown {
        /// Why not.
        why: String,
    },
}

/// At whose limit a process was killed for lack of memory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LimitMet {
    /// A cgroup's, such as `memory.max /pod1`.
    Of(String),
    /// None of those above it: the whole machine was short.
    Machine,
    /// No cgroup counted it, which does not mean that there was none: version 1 does not count a limit that memory
    /// and swap meet together, as where swap is forbidden by two equal limits.
    Uncounted,
}

/// Why one process could not be read. The reader itself is well.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(tag = "failure", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum ReadFailure {
    /// The process has ended, or its pid is another's now.
    #[error("the process has ended")]
    Gone,
    /// The kernel does not let us.
    #[error("no permission to read {path}")]
    Denied {
        /// The file.
        path: String,
        /// What would let us.
        hint: String,
    },
    /// Too costly to read unasked.
    #[error("{what} is {bytes} bytes, above the limit of {max_bytes}")]
    TooBig {
        /// What is too big.
        what: String,
        /// How big.
        bytes: u64,
        /// The limit.
        max_bytes: u64,
    },
    /// A file does not have the form we know.
    #[error("{path} has a form that is not known here: {what}")]
    Malformed {
        /// The file.
        path: String,
        /// What is wrong with it.
        what: String,
    },
    /// Anything else that the kernel answered.
    #[error("failed to read {path}: {reason}")]
    Io {
        /// The file.
        path: String,
        /// The kernel's answer.
        reason: String,
    },
}

/// One line of `doctor`: something that this host and these privileges allow, or not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ability {
    /// A short name, such as `ptrace`.
    pub name: String,
    /// It is there.
    pub ok: bool,
    /// What was found.
    pub detail: String,
    /// What would give it.
    pub hint: Option<String>,
}

/// What the reader says of itself when it starts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Greeting {
    /// Its pid; ours when it is a thread.
    pub pid: u32,
    /// The protocol's version.
    pub protocol: u32,
    /// The capabilities it keeps, such as `CAP_SYS_PTRACE`.
    pub capabilities: Vec<String>,
    /// It cannot gain privileges by executing something.
    pub no_new_privs: bool,
    /// Open descriptors beyond its socket and standard error: what a parent before us left open.
    /// They cannot be closed from here, only told.
    pub inherited_fds: usize,
}
