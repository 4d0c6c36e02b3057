//! The settings of a store.

use std::time::Duration;

/// How much a store keeps, and how carefully. [`Options::default`] is for one machine.
#[derive(Debug, Clone)]
pub struct Options {
    /// How long series are kept. They go a day at a time. Default 30 days.
    pub retention: Duration,
    /// How often what was appended is forced to the disk. What the kernel has is safe from a kill
    /// of ours at once; this is for power failures. Default 1 s.
    pub sync_interval: Duration,
    /// The most series known at one time, ended ones within the retention included. When it is
    /// reached, series that have ended make room, the longest ended first; if none has, new
    /// series are refused and counted. Default 200,000.
    pub series_max: usize,
    /// A series without a sample for this long leaves the memory. Default 1 hour.
    pub idle_after: Duration,
    /// Journal bytes after which the open chunks are written down and the journal is emptied.
    /// Bounds the time to open after a kill. Default 4 MiB; never less than 500 bytes a series.
    pub journal_bytes_max: u64,
    /// Sealed chunks that wait in memory while the disk fails; beyond this the oldest are lost and
    /// counted. Default 64 MiB.
    pub waiting_bytes_max: usize,
    /// All evidence together, the rings of earlier snapshots included. Default 2 GiB.
    pub evidence_bytes_max: u64,
    /// The same as a share of the file system; the lesser of the two counts. Default 0.05.
    pub evidence_share_max: f64,
    /// Incidents that are kept, open ones aside; the longest resolved go. Default 2,000.
    pub incidents_max: usize,
    /// How long the ring of earlier snapshots outlives its target. Default 1 day.
    pub ring_keep: Duration,
    /// Whether the store runs a thread of its own for [`crate::Store::maintain`]. Tests with a
    /// simulated clock turn it off and call that themselves. Default true.
    pub background: bool,
}

impl Default for Options {
    fn default() -> Self {
        const DAY: Duration = Duration::from_secs(86_400);
        Self {
            retention: 30 * DAY,
            sync_interval: Duration::from_secs(1),
            series_max: 200_000,
            idle_after: Duration::from_secs(3_600),
            journal_bytes_max: 4 << 20,
            waiting_bytes_max: 64 << 20,
            evidence_bytes_max: 2 << 30,
            evidence_share_max: 0.05,
            incidents_max: 2_000,
            ring_keep: DAY,
            background: true,
        }
    }
}
