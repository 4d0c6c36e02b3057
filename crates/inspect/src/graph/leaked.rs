//! Goroutines that can never run again: blocked on something that nothing alive can reach.
//!
//! The rule is the one of the runtime's own goroutineleak profile: a goroutine blocked on a channel or semaphore that
//! only blocked goroutines reach, none of which anything else can wake, has leaked. Source: runtime/mgc.go of
//! Go 1.26, `findGoroutineLeaks`; Saioc et al. (2025), Dynamic Partial Deadlock Detection and Recovery via Garbage
//! Collection, ASPLOS.

use std::collections::VecDeque;

use super::edges::{Edges, NODES_MAX};
use super::reach::Reach;
use super::roots::Roots;

/// A goroutine that waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blocked {
    /// Its stack, as a root.
    pub root: u32,
    /// What could wake it: the channels of a `select`, the semaphore's object. Without any it waits for ever, as on a
    /// nil channel.
    pub waits_on: Vec<u32>,
}

/// Which of `blocked` have leaked, as indexes into it.
///
/// All other roots are alive. What they reach is marked; a goroutine blocked on something marked is alive too, and so
/// its stack is marked; and so on until nothing changes. Each object and each goroutine is visited once.
///
/// The runtime's list of all goroutines reaches every channel that one waits on, through its `g` and `sudog`, and so
/// do other waiting goroutines through the channel's queue. That keeps nothing alive: give those objects in `barred`.
pub fn leaked<E: Edges>(
    edges: &E,
    roots: &Roots,
    blocked: &[Blocked],
    barred: &[u32],
) -> Vec<usize> {
    let mut sleeps = vec![false; roots.count() as usize];
    // (object, index of a goroutine that it could wake), sorted.
    let mut waiters: Vec<(u32, usize)> = Vec::new();
    for (at, goroutine) in blocked.iter().enumerate() {
        if let Some(sleeps) = sleeps.get_mut(goroutine.root as usize) {
            *sleeps = true;
        }
        waiters.extend(goroutine.waits_on.iter().map(|&object| (object, at)));
    }
    waiters.sort_unstable();
    let mut reach = Reach::new(edges);
    reach.bar(barred);
    reach.watch(waiters.iter().map(|&(object, _)| object));
    for (root, sleeps) in (0..).zip(&sleeps) {
        if !sleeps {
            reach.mark(edges, roots.targets(root));
        }
    }
    let mut is_alive = vec![false; blocked.len()];
    while let Some(object) = reach.noted() {
        let first = waiters.partition_point(|&(other, _)| other < object);
        for &(_, at) in waiters[first..]
            .iter()
            .take_while(|(other, _)| *other == object)
        {
            if !is_alive[at] {
                is_alive[at] = true;
                reach.mark(edges, roots.targets(blocked[at].root));
            }
        }
    }
    (0..blocked.len()).filter(|&at| !is_alive[at]).collect()
}

/// A way from a root to an object: what keeps it alive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Way {
    /// The root.
    pub root: u32,
    /// The objects from the root's target to the object itself.
    pub objects: Vec<u32>,
}

/// One shortest way from a root that `take` takes to `object`, past the objects in `barred`. 4 bytes per object, and
/// as much for each that waits to be walked.
///
/// To say what keeps a blocked goroutine's channel alive, leave out the goroutine's own root, and bar what [`leaked`]
/// was told to bar.
pub fn way_to<E: Edges>(
    edges: &E,
    roots: &Roots,
    object: u32,
    barred: &[u32],
    take: impl Fn(u32) -> bool,
) -> Option<Way> {
    const UNMET: u32 = u32::MAX;
    /// Not met, and never to be.
    const BARRED: u32 = u32::MAX - 1;
    let objects = edges.objects();
    if object >= objects || barred.contains(&object) || objects > NODES_MAX {
        return None;
    }
    // By object: the object or root (behind the objects) it was met from.
    let mut from = vec![UNMET; objects as usize];
    for &object in barred {
        if let Some(from) = from.get_mut(object as usize) {
            *from = BARRED;
        }
    }
    let mut queue = VecDeque::new();
    for root in (0..roots.count().min(NODES_MAX)).filter(|&root| take(root)) {
        for &target in roots.targets(root) {
            if let Some(unmet) = from.get_mut(target as usize).filter(|from| **from == UNMET) {
                *unmet = objects + root;
                queue.push_back(target);
            }
        }
    }
    while from[object as usize] == UNMET {
        let source = queue.pop_front()?;
        edges.each(source, |target| {
            if let Some(unmet) = from.get_mut(target as usize).filter(|from| **from == UNMET) {
                *unmet = source;
                queue.push_back(target);
            }
        });
    }
    let mut way = vec![object];
    let mut above = from[object as usize];
    while above < objects {
        way.push(above);
        above = from[above as usize];
    }
    way.reverse();
    Some(Way {
        root: above - objects,
        objects: way,
    })
}
