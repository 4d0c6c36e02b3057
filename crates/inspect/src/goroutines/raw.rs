//! The runtime's own record of a goroutine, `runtime.g`, before it is explained.

use serde::{Deserialize, Serialize};

use crate::InspectError;
use crate::layout::{Field, Layout};

/// What a goroutine is doing: `runtime.g.atomicstatus` without its scan bit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Just allocated.
    Idle,
    /// In a run queue.
    Runnable,
    /// On a thread.
    Running,
    /// In a system call, or in C.
    Syscall,
    /// Parked; the wait reason says for what.
    Waiting,
    /// Not in use.
    Dead,
    /// Its stack is being moved.
    CopyStack,
    /// Stopped itself for a stop of the world.
    Preempted,
    /// Parked for ever, as the collector has found (Go 1.26 and newer, when asked for that profile).
    Leaked,
    /// Of a C thread that may call Go; not in use (Go 1.26 and newer).
    DeadExtra,
    /// None of those that we know.
    Other(u32),
}

const SCAN_BIT: u32 = 0x1000;

impl Status {
    fn from_number(number: u32) -> Self {
        match number {
            0 => Self::Idle,
            1 => Self::Runnable,
            2 => Self::Running,
            3 => Self::Syscall,
            4 => Self::Waiting,
            6 => Self::Dead,
            8 => Self::CopyStack,
            9 => Self::Preempted,
            10 => Self::Leaked,
            11 => Self::DeadExtra,
            number => Self::Other(number),
        }
    }

    /// The word that a traceback has for it, where no wait reason says more.
    pub fn word(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Runnable => "runnable",
            Self::Running => "running",
            Self::Syscall => "syscall",
            Self::Waiting => "waiting",
            Self::Dead => "dead",
            Self::CopyStack => "copystack",
            Self::Preempted => "preempted",
            Self::Leaked => "leaked",
            Self::DeadExtra => "waiting for cgo callback",
            Self::Other(_) => "???",
        }
    }

    /// Is this a goroutine at all.
    pub(super) fn is_live(self) -> bool {
        !matches!(self, Self::Idle | Self::Dead | Self::DeadExtra)
    }
}

/// Fields of `g` as numbers. Addresses are the target's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RawGoroutine {
    pub(super) addr: u64,
    pub(super) id: u64,
    pub(super) status: Status,
    pub(super) scan: bool,
    pub(super) stack: (u64, u64),
    pub(super) pc: u64,
    pub(super) sp: u64,
    pub(super) lr: u64,
    pub(super) in_syscall: bool,
    pub(super) thread: u64,
    pub(super) wait_since: u64,
    pub(super) wait_reason: usize,
    /// The thread that it is bound to, or zero.
    pub(super) locked: u64,
    pub(super) parent: u64,
    pub(super) created_at: u64,
    pub(super) start_pc: u64,
    pub(super) waiting: u64,
    pub(super) labels: u64,
    pub(super) bubble: u64,
    pub(super) cleanup_runs: bool,
    /// As [`OWN`]; zero where the runtime has no such field.
    pub(super) own: [u64; OWN.len()],
}

/// Where the fields are.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fields {
    pub(super) size: usize,
    /// The first bytes of a record, as many as tell whether a goroutine has moved.
    pub(super) place_size: usize,
    stack_lo: Field,
    stack_hi: Field,
    m: Field,
    sched_sp: Field,
    sched_pc: Field,
    sched_lr: Option<Field>,
    syscall_sp: Field,
    syscall_pc: Field,
    status: Field,
    id: Field,
    wait_since: Field,
    wait_reason: Field,
    locked: Field,
    parent: Option<Field>,
    created_at: Field,
    start_pc: Field,
    waiting: Option<Field>,
    labels: Option<Field>,
    bubble: Option<Field>,
    cleanup_runs: Option<Field>,
    own: [Option<Field>; OWN.len()],
}

/// What of a goroutine's record only the goroutine itself uses, when it runs.
pub(crate) const OWN: [&str; 3] = ["g._defer", "g.labels", "g.sched.ctxt"];

/// Larger than any `g`: 456 bytes in Go 1.27.
const SIZE_MAX: u64 = 16 << 10;

impl Fields {
    pub(super) fn of(layout: &Layout) -> Result<Self, InspectError> {
        let field = |name: &str| layout.field(&format!("g.{name}"));
        let find = |name: &str| layout.find(&format!("g.{name}"));
        let size = layout.size("g")?;
        if size > SIZE_MAX {
            return Err(InspectError::TooBig {
                what: "structure `g` of the runtime's layout",
                offset: 0,
                len: size,
                max: SIZE_MAX,
            });
        }
        let mut place_size = 0;
        for name in [
            "stack.lo",
            "stack.hi",
            "sched.sp",
            "sched.pc",
            "syscallsp",
            "syscallpc",
            "atomicstatus.value",
            "goid",
        ] {
            let Field { offset, bytes } = field(name)?;
            place_size = offset.saturating_add(bytes).min(size).max(place_size);
        }
        Ok(Self {
            size: size as usize,
            place_size: place_size as usize,
            stack_lo: field("stack.lo")?,
            stack_hi: field("stack.hi")?,
            m: field("m")?,
            sched_sp: field("sched.sp")?,
            sched_pc: field("sched.pc")?,
            sched_lr: find("sched.lr"),
            syscall_sp: field("syscallsp")?,
            syscall_pc: field("syscallpc")?,
            status: field("atomicstatus.value")?,
            id: field("goid")?,
            wait_since: field("waitsince")?,
            wait_reason: field("waitreason")?,
            locked: field("lockedm")?,
            parent: find("parentGoid"),
            created_at: field("gopc")?,
            start_pc: field("startpc")?,
            waiting: find("waiting"),
            labels: find("labels"),
            bubble: find("bubble").or_else(|| find("syncGroup")),
            cleanup_runs: find("runningCleanups.u.value"),
            own: OWN.map(|name| layout.find(name)),
        })
    }

    pub(super) fn decode(&self, addr: u64, bytes: &[u8]) -> RawGoroutine {
        let optional = |field: Option<Field>| field.map_or(0, |field| field.get(bytes));
        let status = self.status.get(bytes) as u32;
        let syscall_sp = self.syscall_sp.get(bytes);
        let in_syscall = syscall_sp != 0;
        let (pc, sp, lr) = if in_syscall {
            (self.syscall_pc.get(bytes), syscall_sp, 0)
        } else {
            let lr = optional(self.sched_lr);
            (self.sched_pc.get(bytes), self.sched_sp.get(bytes), lr)
        };
        RawGoroutine {
            addr,
            id: self.id.get(bytes),
            status: Status::from_number(status & !SCAN_BIT),
            scan: status & SCAN_BIT != 0,
            stack: (self.stack_lo.get(bytes), self.stack_hi.get(bytes)),
            pc,
            sp,
            lr,
            in_syscall,
            thread: self.m.get(bytes),
            wait_since: self.wait_since.get(bytes),
            wait_reason: self.wait_reason.get(bytes) as usize,
            locked: self.locked.get(bytes),
            parent: optional(self.parent),
            created_at: self.created_at.get(bytes),
            start_pc: self.start_pc.get(bytes),
            waiting: optional(self.waiting),
            labels: optional(self.labels),
            bubble: optional(self.bubble),
            cleanup_runs: optional(self.cleanup_runs) != 0,
            own: self.own.map(optional),
        }
    }
}

impl RawGoroutine {
    /// Has it been somewhere else between two reads: then the stack that was read between them may be of
    /// neither.
    pub(super) fn has_moved(&self, later: &Self) -> bool {
        let place = |raw: &Self| (raw.id, raw.status, raw.stack, raw.pc, raw.sp);
        place(self) != place(later)
    }
}
