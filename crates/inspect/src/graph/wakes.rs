//! The same proof as [`leaked`](super::leaked), which also tells what could wake the others.

use super::bits::Bits;
use super::edges::{Edges, NODES_MAX};
use super::leaked::{Blocked, Way};
use super::roots::Roots;

/// Objects walked before it is asked again whether any are left to be found.
const STEP: usize = 1 << 14;
const UNMET: u32 = u32::MAX;
/// Not met, and never to be.
const BARRED: u32 = u32::MAX - 1;

/// What was found out about goroutines that wait. 4 bytes per object.
#[derive(Debug)]
pub struct Wakes {
    objects: u32,
    /// By object: the object or root (behind the objects) it was met from.
    from: Vec<u32>,
    /// By goroutine: what it waits on and was met first.
    met: Vec<Option<u32>>,
}

/// Which of `blocked` something alive could wake, and along which way: one breadth-first search, so each way is a
/// short one. Ends as soon as all of them are found, which in a healthy program is soon. Takes 4 bytes per object, and
/// as much for each that waits to be walked. Walks level by level, each in the order of the objects: a heap that is read
/// as it is needed is read so with few calls.
///
/// Roots that are `late` begin when all the others reach nothing more: those whose ways tell little. `barred` as for
/// [`leaked`](super::leaked). `None` when there are too many objects to be numbered.
pub fn wakes<E: Edges>(
    edges: &E,
    roots: &Roots,
    blocked: &[Blocked],
    barred: &[u32],
    late: impl Fn(u32) -> bool,
) -> Option<Wakes> {
    let objects = edges.objects();
    if u64::from(objects) + u64::from(roots.count()) > NODES_MAX.into() {
        return None;
    }
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
    let mut search = Search::new(objects, barred, &waiters);
    let mut met = vec![None; blocked.len()];
    let mut left = blocked
        .iter()
        .filter(|one| !one.waits_on.is_empty())
        .count();
    for is_late in [false, true] {
        for (root, _) in (0..).zip(&sleeps).filter(|(_, sleeps)| !**sleeps) {
            if late(root) == is_late {
                search.begin(roots, root);
            }
        }
        while left > 0 {
            if let Some(object) = search.noted.pop() {
                let first = waiters.partition_point(|&(other, _)| other < object);
                let of_object = waiters[first..].iter().take_while(|row| row.0 == object);
                for &(_, at) in of_object {
                    if met[at].is_none() {
                        met[at] = Some(object);
                        left -= 1;
                        search.begin(roots, blocked[at].root);
                    }
                }
            } else if !search.step(edges) {
                break;
            }
        }
    }
    Some(Wakes {
        objects,
        from: search.from,
        met,
    })
}

/// A search that goes on.
struct Search {
    objects: u32,
    from: Vec<u32>,
    /// Objects that are walked one after the other, and how many of them have been.
    level: Vec<u32>,
    walked: usize,
    next_level: Vec<u32>,
    /// Objects that goroutines wait on.
    watched: Bits,
    /// Those of them that were met.
    noted: Vec<u32>,
}

impl Search {
    fn new(objects: u32, barred: &[u32], waiters: &[(u32, usize)]) -> Self {
        let mut from = vec![UNMET; objects as usize];
        for &object in barred {
            if let Some(from) = from.get_mut(object as usize) {
                *from = BARRED;
            }
        }
        let mut watched = Bits::new(objects as usize);
        for &(object, _) in waiters {
            watched.set(object);
        }
        Self {
            objects,
            from,
            level: Vec::new(),
            walked: 0,
            next_level: Vec::new(),
            watched,
            noted: Vec::new(),
        }
    }

    fn begin(&mut self, roots: &Roots, root: u32) {
        for &target in roots.targets(root) {
            self.meet(target, self.objects + root);
        }
    }

    /// Walks some objects; false when there are none left.
    fn step<E: Edges>(&mut self, edges: &E) -> bool {
        if self.walked == self.level.len() {
            std::mem::swap(&mut self.level, &mut self.next_level);
            self.next_level.clear();
            self.level.sort_unstable();
            self.walked = 0;
        }
        let level = std::mem::take(&mut self.level);
        let end = level.len().min(self.walked + STEP);
        let objects = &level[self.walked..end];
        edges.each_of(objects, |source, target| self.meet(target, source));
        let is_done = objects.is_empty();
        (self.level, self.walked) = (level, end);
        !is_done
    }

    #[inline]
    fn meet(&mut self, object: u32, from: u32) {
        if let Some(unmet) = self.from.get_mut(object as usize)
            && *unmet == UNMET
        {
            *unmet = from;
            self.next_level.push(object);
            if self.watched.get(object) {
                self.noted.push(object);
            }
        }
    }
}

impl Wakes {
    /// Whether nothing alive can wake the goroutine at this place of the list.
    pub fn is_leaked(&self, at: usize) -> bool {
        self.met.get(at).is_none_or(Option::is_none)
    }

    /// What keeps alive something that the goroutine waits on; `None` when it has leaked. As long as the way is: of a
    /// long list all its elements.
    pub fn way(&self, at: usize) -> Option<Way> {
        let object = (*self.met.get(at)?)?;
        let mut way = vec![object];
        let mut above = self.from[object as usize];
        while above < self.objects {
            way.push(above);
            above = self.from[above as usize];
        }
        way.reverse();
        Some(Way {
            root: above - self.objects,
            objects: way,
        })
    }
}
