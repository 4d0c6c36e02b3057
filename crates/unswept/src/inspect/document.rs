//! What every JSON document of `inspect` begins and ends with.

use std::time::{Duration, Instant};

use inspect::LayoutSource;
use inspect::memory::ReadCost;
use model::UnixMs;
use serde::Serialize;

use super::open::Opened;
use crate::words;

/// Of what, and when.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Head {
    pub(crate) schema: &'static str,
    #[serde(with = "model::time::rfc3339")]
    pub(crate) at: UnixMs,
    pub(crate) at_unix_ms: i64,
    pub(crate) pid: Option<u32>,
    /// Inside its own pid namespace; null where that is the same.
    pub(crate) inner_pid: Option<u32>,
    pub(crate) core: Option<String>,
    pub(crate) name: String,
    pub(crate) executable: String,
    pub(crate) go_version: String,
    /// What told the layout of its runtime: its own debug information, or the table of its version.
    pub(crate) layout: LayoutSource,
}

impl Head {
    pub(crate) fn new(schema: &'static str, opened: &Opened, at: UnixMs) -> Self {
        Self {
            schema,
            at,
            at_unix_ms: at.0,
            pid: opened.pid,
            inner_pid: opened.inner_pid,
            core: opened.core.as_ref().map(|path| path.display().to_string()),
            name: opened.comm.clone(),
            executable: opened.exe.clone(),
            go_version: opened.program.go_version().to_owned(),
            layout: opened.program.layout_source(),
        }
    }
}

/// What a look took: of the target's memory, and of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) struct Cost {
    #[serde(rename = "calls")]
    pub(crate) syscalls: u64,
    pub(crate) bytes: u64,
    /// Without opening the program.
    pub(crate) wall_us: u64,
}

impl Cost {
    pub(crate) fn new(cost: ReadCost, took: Duration) -> Self {
        Self {
            syscalls: cost.calls,
            bytes: cost.bytes,
            wall_us: u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
        }
    }

    /// Runs `look` and tells its time.
    pub(crate) fn timed<T, E>(look: impl FnOnce() -> Result<T, E>) -> Result<(T, Duration), E> {
        let started = Instant::now();
        let found = look()?;
        Ok((found, started.elapsed()))
    }

    /// `read in 21 calls of the kernel, 30.2 KiB and 0.3 ms`.
    pub(crate) fn words(&self) -> String {
        format!(
            "read in {} calls of the kernel, {} and {:.1} ms",
            words::count(self.syscalls),
            words::bytes(self.bytes as f64),
            self.wall_us as f64 / 1000.0
        )
    }
}
