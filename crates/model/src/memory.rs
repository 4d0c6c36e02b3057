//! Memory figures: what the kernel says of a process or a container, what the Go runtime says of
//! itself, and the ledger that joins them. All in bytes.

use serde::{Deserialize, Serialize};

use crate::time::UnixMs;

/// What the kernel says of one process, from `/proc/PID/status`, `stat` and `fd`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ProcessMemory {
    /// When it was read.
    pub at: UnixMs,
    /// `VmRSS`: all resident pages.
    pub rss_bytes: u64,
    /// `RssAnon`.
    pub anon_bytes: u64,
    /// `RssFile`.
    pub file_bytes: u64,
    /// `RssShmem`.
    pub shmem_bytes: u64,
    /// `VmSwap`.
    pub swap_bytes: u64,
    /// `Threads`.
    pub threads: u64,
    /// Open descriptors; `None` where they may not be counted.
    pub fds: Option<u64>,
    /// Of those, sockets; `None` where they may not be read.
    pub sockets: Option<u64>,
    /// User and system time since its start, in milliseconds.
    pub cpu_ms: u64,
}

/// Resident bytes by class of mapping, from `/proc/PID/smaps`. Costly for the target (about 20 ms
/// per GiB under its mmap lock), so read on suspicion and within a duty cycle.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct MappingBytes {
    /// When it was read.
    pub at: UnixMs,
    /// The Go runtime's own mappings: heap arenas and what was found of its tables.
    pub go_bytes: u64,
    /// Of those, its tables.
    #[serde(default)]
    pub go_tables_bytes: u64,
    /// All its tables were found, which only the kernel's names tell (Go 1.25 and newer, where the
    /// kernel keeps names). Otherwise a part of them is in `anon_other_bytes`.
    #[serde(default)]
    pub go_tables_whole: bool,
    /// Of Go's mappings, freed with `MADV_FREE` and not taken back by the kernel yet.
    #[serde(default)]
    pub go_lazy_free_bytes: u64,
    /// How the Go mappings were found: `runtime`, `name` or `layout`.
    pub go_basis: String,
    /// The brk heap, glibc's main arena.
    pub brk_bytes: u64,
    /// Other arenas of glibc's allocator.
    pub arena_bytes: u64,
    /// Thread stacks.
    pub stack_bytes: u64,
    /// Variables of the program and its libraries: zero-initialised data, and pages of private
    /// file mappings that were written to.
    #[serde(default)]
    pub data_bytes: u64,
    /// Anonymous memory of none of the classes above.
    pub anon_other_bytes: u64,
    /// Pages of files.
    pub file_bytes: u64,
    /// Shared memory.
    pub shmem_bytes: u64,
    /// Anonymous huge pages, part of the classes above.
    pub huge_bytes: u64,
    /// The biggest mappings of the native classes, largest first, at most 64: so that growth can
    /// be told for a single mapping.
    pub native_mappings: Vec<NativeMapping>,
}

/// One mapping outside Go's own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NativeMapping {
    /// Where it starts in the target; it keeps its identity while it grows.
    pub start: u64,
    /// Its class: `brk heap`, `glibc arena`, `thread stack`, `anonymous`.
    pub class: String,
    /// Resident bytes.
    pub rss_bytes: u64,
}

/// A container's memory under one set of names, whatever the cgroup version. Of the whole subtree.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ContainerMemory {
    /// When it was read.
    pub at: UnixMs,
    /// `memory.current` (v2) or `memory.usage_in_bytes` (v1).
    pub usage_bytes: u64,
    /// Anonymous memory charged to it.
    pub anon_bytes: Option<u64>,
    /// Page cache charged to it, shmem included.
    pub file_bytes: Option<u64>,
    /// Shared memory and tmpfs charged to it.
    pub shmem_bytes: Option<u64>,
    /// The kernel's own memory charged to it: stacks, page tables, slabs and the like.
    pub kernel_bytes: Option<u64>,
    /// Of that, slabs that the kernel gives back under pressure; v2 only.
    pub kernel_reclaimable_bytes: Option<u64>,
    /// Buffers of sockets. Version 1 does not charge them to the memory's usage: `None` there.
    pub sockets_bytes: Option<u64>,
    /// Page cache used more than once lately.
    pub active_file_bytes: Option<u64>,
    /// Page cache that goes first.
    pub inactive_file_bytes: Option<u64>,
    /// Swapped out, beside the usage.
    pub swap_bytes: Option<u64>,
    /// The effective limit: the least over it and its ancestors of their limit less what others
    /// there cannot give back; `None` when there is no limit.
    pub limit_bytes: Option<u64>,
    /// Which file the limit came from, such as `memory.max /pod1`.
    pub limit_source: Option<String>,
    /// What was taken off that file's number for others.
    pub limit_others_bytes: u64,
    /// Where the kernel begins to slow it down: the least `memory.high`, made as the limit is.
    pub high_bytes: Option<u64>,
    /// Which file that came from.
    pub high_source: Option<String>,
    /// What happened at its limits.
    pub events: ContainerEvents,
    /// How long its tasks have waited for memory.
    pub pressure: Option<Pressure>,
    /// RSS of its processes, summed; pages that they share count for each. `None` where they cannot
    /// all be read, or are too many.
    pub processes_rss_bytes: Option<u64>,
    /// The cgroup's path below the controller's mount.
    pub path: String,
}

impl ContainerMemory {
    /// Usage less the page cache that goes first: what kubelet and cAdvisor call so.
    #[must_use]
    pub fn working_set_bytes(&self) -> Option<u64> {
        Some(self.usage_bytes.saturating_sub(self.inactive_file_bytes?))
    }

    /// What it cannot give back under pressure (without swap): anonymous and shared memory, the
    /// kernel's, and sockets. Its whole usage where the parts are not known.
    #[must_use]
    pub fn held_bytes(&self) -> u64 {
        let Some((anon, shmem)) = self.anon_bytes.zip(self.shmem_bytes) else {
            return self.usage_bytes;
        };
        let kernel = self.kernel_bytes.unwrap_or(0);
        let kernel = kernel.saturating_sub(self.kernel_reclaimable_bytes.unwrap_or(0));
        let sockets = self.sockets_bytes.unwrap_or(0);
        [shmem, kernel, sockets]
            .into_iter()
            .fold(anon, u64::saturating_add)
    }
}

/// What a target runs into first.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct EffectiveLimit {
    /// Bytes; `None` where nothing is known to bind it.
    pub bytes: Option<u64>,
    /// The file or figure that it came from.
    pub source: Option<String>,
    /// What counts against it now: what the container cannot give back, or what the machine has in
    /// use.
    pub used_bytes: Option<u64>,
}

/// How often something happened at a container's limits since it was made; `None` where its kernel
/// does not count that.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ContainerEvents {
    /// Slowed down at `memory.high`.
    pub high: Option<u64>,
    /// An allocation met the limit.
    pub max: Option<u64>,
    /// The limit was met and nothing could be given back.
    pub oom: Option<u64>,
    /// A process was killed for that.
    pub oom_kill: Option<u64>,
}

/// Time that tasks have waited for memory, in microseconds, counters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Pressure {
    /// At least one of them.
    pub some_us: u64,
    /// All of them.
    pub full_us: u64,
}

/// Where the Go runtime's numbers came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GoSource {
    /// The target's metrics endpoint.
    #[default]
    Metrics,
    /// The process's memory, read from outside without stopping it.
    Process,
    /// Lines of gctrace and scavtrace in its log.
    Traces,
}

/// The Go runtime's own numbers, from whatever source has them; `None` where it has not.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct GoMemory {
    /// When they were read.
    pub at: UnixMs,
    /// Where they came from.
    #[serde(default)]
    pub source: GoSource,
    /// Heap reachable at the last mark: `/gc/heap/live:bytes`, or read from the process.
    pub live_bytes: Option<f64>,
    /// `HeapAlloc`.
    pub heap_alloc_bytes: Option<f64>,
    /// `HeapInuse`.
    pub heap_inuse_bytes: Option<f64>,
    /// `HeapIdle`.
    pub heap_idle_bytes: Option<f64>,
    /// `HeapReleased`.
    pub heap_released_bytes: Option<f64>,
    /// `HeapObjects`.
    pub heap_objects: Option<f64>,
    /// `StackInuse`.
    pub stack_inuse_bytes: Option<f64>,
    /// `MSpanInuse + MCacheInuse + BuckHashSys + GCSys + OtherSys`.
    pub runtime_bytes: Option<f64>,
    /// `Sys`: all that the runtime took from the system.
    pub sys_bytes: Option<f64>,
    /// `NextGC`: the heap size that starts the next collection.
    pub next_gc_bytes: Option<f64>,
    /// Collections completed since the start.
    pub gc_cycles: Option<f64>,
    /// When the last collection ended, seconds since the epoch.
    pub last_gc_unix_s: Option<f64>,
    /// Bytes allocated since the start, a counter.
    pub alloc_bytes_total: Option<f64>,
    /// Goroutines.
    pub goroutines: Option<f64>,
    /// Threads that the runtime made.
    pub threads: Option<f64>,
    /// GOGC in force, percent; below zero means off.
    pub gogc_percent: Option<f64>,
    /// GOMEMLIMIT in force; `None` when unknown, `f64::INFINITY` when off.
    pub gomemlimit_bytes: Option<f64>,
}

/// Where a setting of the collector is known from, best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SettingSource {
    /// The target's metrics endpoint.
    Metrics,
    /// The process's memory.
    Process,
    /// The process's environment: the program may have changed it in code.
    Environment,
    /// Its environment does not set it: the default, which the program may have changed in code.
    Default,
}

impl SettingSource {
    /// Whether the value is what the runtime goes by, and not only what it started with.
    #[must_use]
    pub fn is_certain(self) -> bool {
        matches!(self, Self::Metrics | Self::Process)
    }
}

/// A setting of the collector.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Setting {
    /// Percent or bytes; `None` is off.
    pub value: Option<f64>,
    /// Where it is known from.
    pub source: SettingSource,
}

/// What the collector goes by; `None` where it is not known.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct GcSettings {
    /// GOGC, percent.
    pub gogc_percent: Option<Setting>,
    /// GOMEMLIMIT, bytes.
    pub gomemlimit_bytes: Option<Setting>,
}

/// One line of a ledger.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Component {
    /// Its name, such as `go.live`; DESIGN.md section 4 has the list.
    pub name: String,
    /// Its size; signed, because `unexplained` and the lines outside the sum may be negative.
    pub bytes: i64,
    /// Its growth over the verdict's window, where there is a verdict.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes_per_minute: Option<f64>,
    /// Its part of the growth of the whole, 0 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub growth_share: Option<f64>,
    /// When the figure was read; of a figure made of several readings, the oldest.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        with = "crate::time::rfc3339::option"
    )]
    pub at: Option<UnixMs>,
}

impl Component {
    /// A line without growth figures and time.
    pub fn new(name: impl Into<String>, bytes: i64) -> Self {
        Self {
            name: name.into(),
            bytes,
            bytes_per_minute: None,
            growth_share: None,
            at: None,
        }
    }
}

/// A process ledger: components that add up to RSS, the rest in `unexplained`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Ledger {
    /// When the kernel's side was read.
    pub at: UnixMs,
    /// The kernel's own number that the lines close on: RSS.
    pub total_bytes: u64,
    /// The lines inside the sum, in the order of DESIGN.md section 4. They and
    /// `unexplained_bytes` add up to `total_bytes`.
    pub components: Vec<Component>,
    /// What the lines do not explain (below zero when they explain more than there is).
    pub unexplained_bytes: i64,
    /// Lines outside the sum: `go.not-resident`, `go.extra-resident`, `lazy-free`, `huge-pages`,
    /// `swap`.
    pub outside: Vec<Component>,
    /// Where `go.live` came from: `exported`, `process`, `next-gc`, `floor`, or empty when there is none.
    pub live_source: String,
    /// Milliseconds between the readings of the two sides: the most that a figure is off the time of
    /// the kernel's.
    pub skew_ms: u64,
    /// What the lines were held against.
    #[serde(default)]
    pub basis: LedgerBasis,
}

/// What a ledger's lines were held against: without that they add up whatever is true.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LedgerBasis {
    /// Mappings that were read within a second of the kernel's side.
    Mappings,
    /// Mappings of before: their lines are as of then, and `unexplained` is what changed since and
    /// Go's numbers do not tell.
    EarlierMappings,
    /// Nothing: mappings were never read. The lines of Go are the most that they can be, and what is
    /// not Go's is what they leave.
    #[default]
    None,
    /// A container's own parts.
    Cgroup,
}

impl Ledger {
    /// Whether the ledger closes: |unexplained| within max(8 MiB, 3 %), both sides read within a
    /// second, and against something that was read by itself: by difference everything closes.
    #[must_use]
    pub fn closes(&self) -> bool {
        let allowed = (self.total_bytes as f64 * 0.03).max(8.0 * 1024.0 * 1024.0);
        let held = matches!(self.basis, LedgerBasis::Mappings | LedgerBasis::Cgroup);
        held && self.skew_ms <= 1000 && (self.unexplained_bytes.unsigned_abs() as f64) <= allowed
    }
}
