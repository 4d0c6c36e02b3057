//! What goroutines wait on, as objects of the heap, and the runtime's structures in between.

use std::collections::HashMap;

use super::super::Taken;
use crate::Program;
use crate::goroutines::{Goroutine, Status};
use crate::graph::{Blocked, Roots, Wakes, wakes};
use crate::layout::{Field, Layout};
use crate::memory::le64;
use crate::roots::RootKind;

/// Larger than any `sudog`: 104 bytes in Go 1.27.
const SUDOG_BYTES_MAX: u64 = 512;
/// The calls of the standard library that wait on a semaphore; `semacquire` is what `sync.WaitGroup` and others said
/// before Go 1.25.
const SEMAPHORES: [&str; 6] = [
    "semacquire",
    "sync.Cond.Wait",
    "sync.Mutex.Lock",
    "sync.RWMutex.Lock",
    "sync.RWMutex.RLock",
    "sync.WaitGroup.Wait",
];

/// Goroutines of which it is known what could wake them.
#[derive(Default)]
pub(super) struct Waiting {
    pub(super) blocked: Vec<Blocked>,
    /// By the place in `blocked`: the goroutine's place in the dump.
    pub(super) goroutines: Vec<u32>,
    /// Goroutines that wait on something outside the heap, such as a mutex that is a variable, and its address. Nothing
    /// can be proven of those.
    pub(super) outside: HashMap<u32, u64>,
    /// The `sudog`s that lead from a channel to those who wait on it.
    barred: Vec<u32>,
}

/// What could wake a goroutine.
enum Waker {
    /// Nothing whatever, as on a nil channel.
    Nothing,
    /// One of these addresses.
    At(Vec<u64>),
    /// Something else, or it moved while it was read.
    Unknown,
}

impl Waiting {
    pub(super) fn new(program: &Program, taken: &Taken) -> Self {
        let sudogs = Sudogs::read(program.layout(), taken);
        let conds = conds(program, taken);
        let mut waiting = Self {
            barred: sudogs.objects,
            ..Self::default()
        };
        for (root, at) in goroutine_roots(taken) {
            let goroutine = &taken.roots.goroutines.goroutines[at as usize];
            let queued = sudogs.of.get(&at).map_or(&[][..], Vec::as_slice);
            let found = conds.get(&root).map_or(&[][..], Vec::as_slice);
            let waits_on = match waker(goroutine, queued, found) {
                Waker::Unknown => continue,
                Waker::Nothing => Vec::new(),
                Waker::At(addrs) => {
                    let inside = |addr: &u64| taken.heap.object_at(*addr).ok_or(*addr);
                    let objects: Result<Vec<u32>, u64> = addrs.iter().map(inside).collect();
                    match objects {
                        Ok(objects) => objects,
                        Err(addr) => {
                            waiting.outside.insert(at, addr);
                            continue;
                        }
                    }
                }
            };
            waiting.blocked.push(Blocked { root, waits_on });
            waiting.goroutines.push(at);
        }
        waiting
    }

    /// What could wake whom; `None` when nobody waits.
    pub(super) fn wakes(&self, taken: &Taken, roots: &Roots) -> Option<Wakes> {
        if self.blocked.is_empty() {
            return None;
        }
        // What only the runtime reaches is reached some other way as well, which tells more.
        let is_late = |root: u32| {
            let root = taken.roots.roots.get(root as usize);
            root.is_none_or(|root| matches!(root.kind, RootKind::Runtime | RootKind::Referent))
        };
        wakes(&taken.heap, roots, &self.blocked, &self.barred, is_late)
    }

    /// Whether this is the first goroutine, which many programs park for good: no leak.
    pub(super) fn is_idle_main(&self, taken: &Taken, goroutine: u32) -> bool {
        let goroutine = taken.roots.goroutines.goroutines.get(goroutine as usize);
        goroutine.is_some_and(|one| one.id == 1 && &*one.wait_reason == "select (no cases)")
    }
}

/// The roots that are goroutines of the program's own, and their places in the dump.
fn goroutine_roots(taken: &Taken) -> impl Iterator<Item = (u32, u32)> + '_ {
    let count = taken.roots.goroutines.goroutines.len() as u64;
    let roots = (0..).zip(&taken.roots.roots);
    roots
        .filter(move |(_, root)| root.kind == RootKind::Goroutine && root.at < count)
        .map(|(number, root)| (number, root.at as u32))
}

/// What could wake `goroutine`: by what it was queued at in the heap's copy, by its own record, which was read later,
/// and by the `sync.Cond` on its stack. They must agree, else it moved meanwhile.
fn waker(goroutine: &Goroutine, queued: &[Queued], conds: &[u64]) -> Waker {
    let waits = matches!(goroutine.status, Status::Waiting | Status::Leaked);
    // Time in a bubble goes on when all of it waits.
    if !waits || goroutine.approximate || goroutine.bubble.is_some() {
        return Waker::Unknown;
    }
    let reason = &*goroutine.wait_reason;
    let own = goroutine.waits.iter().map(|wait| Queued {
        channel: wait.channel,
        elem: wait.elem,
    });
    let (channels, semaphores) = addresses(queued.iter().copied());
    let (channels_later, semaphores_later) = addresses(own);
    match reason {
        "chan receive (nil chan)" | "chan send (nil chan)" | "select (no cases)" => Waker::Nothing,
        "chan receive" | "chan send" | "select" => {
            match channels.is_empty() {
                _ if channels_later != channels => Waker::Unknown,
                // All its channels are nil.
                true if reason == "select" => Waker::Nothing,
                true => Waker::Unknown,
                false => Waker::At(channels),
            }
        }
        _ if SEMAPHORES.contains(&reason) => {
            let addrs = match semaphores.as_slice() {
                [] if reason == "sync.Cond.Wait" => conds.to_vec(),
                _ => semaphores,
            };
            let differ = !semaphores_later.is_empty() && semaphores_later != addrs;
            match addrs.is_empty() || differ {
                true => Waker::Unknown,
                false => Waker::At(addrs),
            }
        }
        _ => Waker::Unknown,
    }
}

/// The channels, and the semaphores, each once.
fn addresses(queued: impl Iterator<Item = Queued>) -> (Vec<u64>, Vec<u64>) {
    let (mut channels, mut semaphores) = (Vec::new(), Vec::new());
    for Queued { channel, elem } in queued {
        match channel {
            0 if elem != 0 => semaphores.push(elem),
            0 => {}
            _ => channels.push(channel),
        }
    }
    for addrs in [&mut channels, &mut semaphores] {
        addrs.sort_unstable();
        addrs.dedup();
    }
    (channels, semaphores)
}

/// Where a goroutine is queued, by a `sudog` in the heap's copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Queued {
    channel: u64,
    elem: u64,
}

/// The `sudog`s of goroutines. Nothing leads to those of semaphores before Go 1.26 but a table outside the heap; in the
/// heap they are told by their size and by their goroutine, which is their first field.
#[derive(Default)]
struct Sudogs {
    /// By the goroutine's place in the dump.
    of: HashMap<u32, Vec<Queued>>,
    objects: Vec<u32>,
}

impl Sudogs {
    fn read(layout: &Layout, taken: &Taken) -> Self {
        let mut sudogs = Self::default();
        let either = |new: &str, old: &str| layout.find(new).or_else(|| layout.find(old));
        // Go 1.26 put a second copy of either beside the one that the collector sees, and that one may be nil.
        let (Ok(size), Some(goroutine), Some(channel), Some(elem)) = (
            layout.size("sudog"),
            layout.find("sudog.g"),
            either("sudog.c.maybeTraceablePtr.vu", "sudog.c"),
            either("sudog.elem.vu", "sudog.elem"),
        ) else {
            return sudogs;
        };
        let goroutines = &taken.roots.goroutines.goroutines;
        let of: HashMap<u64, u32> = (0..)
            .zip(goroutines)
            .map(|(at, goroutine)| (goroutine.addr, at))
            .collect();
        let (Some(&low), Some(&high)) = (of.keys().min(), of.keys().max()) else {
            return sudogs;
        };
        let word = |bytes: &[u8], field: Field| le64(bytes, field.offset as usize);
        let size = size.min(SUDOG_BYTES_MAX);
        taken.heap.each_of_size(size, |object, bytes| {
            let addr = word(bytes, goroutine);
            // Most objects of that size are something else.
            if !(low..=high).contains(&addr) {
                return;
            }
            if let Some(&at) = of.get(&addr) {
                sudogs.objects.push(object);
                let queued = Queued {
                    channel: word(bytes, channel),
                    elem: word(bytes, elem),
                };
                // One that is not in use says neither.
                if queued.channel != 0 || queued.elem != 0 {
                    sudogs.of.entry(at).or_default().push(queued);
                }
            }
        });
        sudogs
    }
}

/// By root: the objects of the heap that the frame of `sync.(*Cond).Wait` has, before Go 1.26, when nothing else told
/// which one it is. The method uses nothing else that lies in the heap.
fn conds(program: &Program, taken: &Taken) -> HashMap<u32, Vec<u64>> {
    let mut found: HashMap<u32, Vec<u64>> = HashMap::new();
    if program.layout().find("sudog.elem.vu").is_some() {
        return found;
    }
    let dump = &taken.roots.goroutines;
    let mut frames: HashMap<u32, u64> = HashMap::new();
    for (root, at) in goroutine_roots(taken) {
        let goroutine = &dump.goroutines[at as usize];
        let stack = goroutine.stack.and_then(|stack| dump.stacks.get(stack));
        let Some(stack) = stack.filter(|_| &*goroutine.wait_reason == "sync.Cond.Wait") else {
            continue;
        };
        let wait = |frame: &&crate::goroutines::Frame| &*frame.function == "sync.(*Cond).Wait";
        if let Some(frame) = stack.frames.iter().find(wait) {
            frames.insert(root, frame.pc);
        }
    }
    for pointer in &taken.roots.pointers {
        if frames.get(&pointer.root) == Some(&pointer.place) {
            found.entry(pointer.root).or_default().push(pointer.value);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::goroutines::{Bubble, StackSize, Wait};

    const CHANNEL: (u64, u64) = (0x10, 0x99);
    const SEMAPHORE: (u64, u64) = (0, 0x30);

    fn waiting(reason: &str, waits: &[(u64, u64)]) -> Goroutine {
        let wait = |&(channel, elem): &(u64, u64)| Wait { channel, elem };
        Goroutine {
            id: 9,
            addr: 0,
            status: Status::Waiting,
            scan: false,
            wait_reason: reason.into(),
            waited_ns: None,
            locked_to_thread: false,
            bubble: None,
            system: false,
            entry: None,
            stack: None,
            stack_bytes: StackSize::default(),
            approximate: false,
            creator: None,
            parent: 1,
            labels: Default::default(),
            waits: waits.iter().map(wait).collect(),
        }
    }

    /// "never", the addresses, or nothing.
    fn told(goroutine: &Goroutine, queued: &[(u64, u64)], conds: &[u64]) -> String {
        let queued: Vec<Queued> = queued
            .iter()
            .map(|&(channel, elem)| Queued { channel, elem })
            .collect();
        match waker(goroutine, &queued, conds) {
            Waker::Nothing => "never".to_owned(),
            Waker::At(addrs) => format!("{addrs:x?}"),
            Waker::Unknown => String::new(),
        }
    }

    #[test]
    fn what_could_wake_a_goroutine_is_known_only_when_both_looks_agree() {
        let two = [(0x20, 0), (0x10, 0x99)];
        let rows = [
            (
                "a channel",
                "chan receive",
                &[CHANNEL][..],
                &[CHANNEL][..],
                "[10]",
            ),
            ("sent to it", "chan send", &[CHANNEL], &[CHANNEL], "[10]"),
            (
                "two cases, in any order",
                "select",
                &[CHANNEL, (0x20, 7)],
                &two,
                "[10, 20]",
            ),
            (
                "a nil channel",
                "chan receive (nil chan)",
                &[],
                &[],
                "never",
            ),
            ("no case", "select (no cases)", &[], &[], "never"),
            ("nil in all cases", "select", &[], &[], "never"),
            ("it was queued meanwhile", "select", &[CHANNEL], &[], ""),
            ("it was woken meanwhile", "chan send", &[], &[CHANNEL], ""),
            (
                "another channel by then",
                "chan send",
                &[CHANNEL],
                &[(0x20, 0)],
                "",
            ),
            ("one case was not read", "select", &[CHANNEL], &two, ""),
            ("a channel that nobody tells", "chan receive", &[], &[], ""),
            (
                "a semaphore",
                "sync.Mutex.Lock",
                &[SEMAPHORE],
                &[SEMAPHORE],
                "[30]",
            ),
            (
                "before Go 1.26",
                "sync.Mutex.Lock",
                &[],
                &[SEMAPHORE],
                "[30]",
            ),
            (
                "another by then",
                "semacquire",
                &[SEMAPHORE],
                &[(0, 0x38)],
                "",
            ),
            ("no semaphore found", "sync.WaitGroup.Wait", &[], &[], ""),
            (
                "a condition, told by the stack",
                "sync.Cond.Wait",
                &[],
                &[],
                "[50]",
            ),
            ("a timer", "sleep", &[], &[], ""),
            ("the network", "IO wait", &[], &[], ""),
            (
                "in a bubble",
                "chan receive (durable)",
                &[CHANNEL],
                &[CHANNEL],
                "",
            ),
        ];
        for (row, reason, own, queued, want) in rows {
            assert_eq!(told(&waiting(reason, own), queued, &[0x50]), want, "{row}");
        }
    }

    #[test]
    fn only_what_surely_waits_is_judged() {
        let channel = || waiting("chan receive", &[CHANNEL]);
        let bubble = Bubble {
            id: 1,
            is_group: false,
        };
        let rows = [
            ("as it is", channel(), "[10]"),
            (
                "the runtime says that it leaked",
                Goroutine {
                    status: Status::Leaked,
                    ..channel()
                },
                "[10]",
            ),
            (
                "it moved",
                Goroutine {
                    approximate: true,
                    ..channel()
                },
                "",
            ),
            (
                "runnable",
                Goroutine {
                    status: Status::Runnable,
                    ..channel()
                },
                "",
            ),
            (
                "in a bubble",
                Goroutine {
                    bubble: Some(bubble),
                    ..channel()
                },
                "",
            ),
        ];
        for (row, goroutine, want) in rows {
            assert_eq!(told(&goroutine, &[CHANNEL], &[]), want, "{row}");
        }
    }
}
