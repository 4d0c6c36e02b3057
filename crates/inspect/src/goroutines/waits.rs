//! What goroutines wait for: the channels and semaphores that they are queued at (`runtime.sudog`).

use serde::{Deserialize, Serialize};

use crate::InspectError;
use crate::layout::{Field, Layout};
use crate::limits;
use crate::memory::Memory;

use super::raw::RawGoroutine;

/// One thing that a goroutine waits for. A `select` waits for one in each case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wait {
    /// The channel (`runtime.hchan`); zero for a semaphore.
    pub channel: u64,
    /// Where the value is sent from or received to, for a semaphore its address; zero where there is none.
    pub elem: u64,
}

struct Fields {
    size: usize,
    elem: Field,
    channel: Field,
    next: Field,
}

impl Fields {
    fn of(layout: &Layout) -> Result<Self, InspectError> {
        // Go 1.26 put a second copy of either beside the one that the collector sees, and that one may be nil.
        let either = |new: &str, old: &str| layout.find(new).map_or_else(|| layout.field(old), Ok);
        Ok(Self {
            size: layout.size("sudog")?.min(4096) as usize,
            elem: either("sudog.elem.vu", "sudog.elem")?,
            channel: either("sudog.c.maybeTraceablePtr.vu", "sudog.c")?,
            next: layout.field("sudog.waitlink")?,
        })
    }
}

/// What each of `raw` waits for, in their order. Before Go 1.26 a goroutine does not tell its semaphore.
pub(super) fn waits(
    memory: &dyn Memory,
    layout: &Layout,
    raw: &[RawGoroutine],
) -> Result<Vec<Vec<Wait>>, InspectError> {
    let fields = Fields::of(layout)?;
    let mut waits = vec![Vec::new(); raw.len()];
    let indices = raw.iter().enumerate();
    // Each round reads the next link of all chains at once.
    let mut links: Vec<(usize, u64)> = indices
        .map(|(at, raw)| (at, raw.waiting))
        .filter(|&(_, link)| link != 0)
        .collect();
    let mut left = limits::WAITS_MAX;
    // A chain that comes back to a link of it is a circle. That link moves on in ever longer steps, so every
    // circle meets it (Brent's method).
    let mut marks: Vec<u64> = raw.iter().map(|raw| raw.waiting).collect();
    for round in 1..=limits::SELECT_CASES_MAX {
        if links.is_empty() || left < links.len() {
            break;
        }
        left -= links.len();
        let (bytes, _) = memory.records(links.iter().map(|&(_, addr)| addr), fields.size);
        let mut next = Vec::new();
        for (&(at, _), sudog) in links.iter().zip(bytes.chunks_exact(fields.size)) {
            let (channel, elem) = (fields.channel.get(sudog), fields.elem.get(sudog));
            if channel != 0 || elem != 0 {
                waits[at].push(Wait { channel, elem });
            }
            // Of a semaphore the link leads to the others who wait for it.
            let link = if channel == 0 {
                0
            } else {
                fields.next.get(sudog)
            };
            if link != 0 && link != raw[at].waiting && link != marks[at] {
                next.push((at, link));
            }
            if round.is_power_of_two() {
                marks[at] = link;
            }
        }
        links = next;
    }
    Ok(waits)
}
