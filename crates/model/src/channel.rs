//! What the judge sees: typed channels of numbers over time, and facts. No label name gets here.

use serde::{Deserialize, Serialize};

use crate::time::UnixMs;

/// What a channel's numbers mean. Bytes unless said otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Channel {
    /// Resident memory of the process: `RSS`.
    Rss,
    /// Its anonymous part.
    Anon,
    /// Its file pages.
    File,
    /// Its shared memory.
    Shmem,
    /// Heap reachable at the last mark.
    GoLive,
    /// `HeapAlloc`.
    GoHeapAlloc,
    /// `HeapInuse`.
    GoHeapInuse,
    /// `HeapIdle` less `HeapReleased`.
    GoIdle,
    /// `StackInuse`.
    GoStacks,
    /// The runtime's own structures.
    GoRuntime,
    /// `HeapInuse` less `HeapAlloc`: free slots between objects.
    GoFragmentation,
    /// What the kernel holds of Go's memory beyond what Go counts.
    GoExtraResident,
    /// `NextGC`.
    GoNextGc,
    /// Anonymous memory that is not Go's: RssAnon less what Go's numbers hold resident.
    Native,
    /// The part of it in C allocators' heaps, where mappings tell.
    NativeHeap,
    /// The part of it in other anonymous mappings, where mappings tell.
    NativeMmap,
    /// Anonymous memory in transparent huge pages.
    HugePages,
    /// Memory of the process that is in swap.
    Swap,
    /// Goroutines (a count).
    Goroutines,
    /// Threads (a count).
    Threads,
    /// Open file descriptors (a count).
    Fds,
    /// Collections completed (a counter).
    GcCycles,
    /// Load: a level that work in progress or work per second has, such as requests a second or
    /// open connections (any unit; there may be several).
    LoadLevel,
    /// A container's charged memory.
    ContainerUsage,
    /// A container's anonymous memory.
    ContainerAnon,
}

/// One channel: times strictly increasing, as many values as times, no NaN.
#[derive(Debug, Clone, PartialEq)]
pub struct ChannelData {
    /// What the numbers mean.
    pub channel: Channel,
    /// Times.
    pub times: Vec<UnixMs>,
    /// Values, one for each time.
    pub values: Vec<f64>,
}

/// Which limit a target runs into first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MemoryLimitKind {
    /// The container's or an ancestor's limit.
    Cgroup,
    /// The machine's memory.
    Machine,
}

/// What is known of a target beside its channels.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Facts {
    /// When the process started.
    pub started: Option<UnixMs>,
    /// The effective limit.
    pub limit_bytes: Option<u64>,
    /// The file or figure that the limit came from.
    pub limit_source: Option<String>,
    /// What counts against that limit now (the container's charged memory, or the machine's in
    /// use); RSS where unknown.
    pub limit_used_bytes: Option<u64>,
    /// GOGC in force, percent; below zero means off.
    pub gogc_percent: Option<f64>,
    /// GOMEMLIMIT in force; infinity when off.
    pub gomemlimit_bytes: Option<f64>,
    /// The runtime gives memory back with `MADV_FREE`: it stays resident until there is pressure.
    #[serde(default)]
    pub frees_lazily: bool,
    /// Seconds between two samples, as configured.
    pub period_s: f64,
    /// How long a person wants to wait for an answer, in seconds, where that is short: the judge
    /// then asks for less and says so by its confidence.
    pub patience_s: Option<f64>,
}
