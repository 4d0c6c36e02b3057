//! What identifies a process for good: a pid alone is used again, pid, start time and boot are not.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A process id in our pid namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Pid(pub u32);

impl fmt::Display for Pid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// When a process started, in clock ticks since boot: field 22 of `/proc/PID/stat`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct StartTicks(pub u64);

/// The kernel's id of this boot: `/proc/sys/kernel/random/boot_id`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct BootId(pub String);

/// One process, never confused with another that later has its pid.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ProcessKey {
    /// The boot it lives in.
    pub boot_id: BootId,
    /// Its pid.
    pub pid: Pid,
    /// Its start.
    pub start_ticks: StartTicks,
}
