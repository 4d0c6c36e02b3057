//! Marking: what is reached at all, and what each root reaches alone.

use super::bits::Bits;
use super::edges::Edges;
use super::roots::Roots;
use super::waiting::Waiting;

/// What has been marked so far: three bits per object and a short list.
///
/// Marking goes on from any object at any time, and nothing is taken back.
#[derive(Debug)]
pub struct Reach {
    objects: u32,
    marked: Bits,
    waiting: Waiting,
    /// Objects whose marking is noted.
    watched: Bits,
    noted: Vec<u32>,
}

impl Reach {
    /// Nothing is marked.
    pub fn new<E: Edges>(edges: &E) -> Self {
        let objects = edges.objects();
        Self {
            objects,
            marked: Bits::new(objects as usize),
            waiting: Waiting::new(objects),
            watched: Bits::default(),
            noted: Vec::new(),
        }
    }

    /// Everything that `roots` reach.
    pub fn from_roots<E: Edges>(edges: &E, roots: &Roots) -> Self {
        let mut reach = Self::new(edges);
        for root in 0..roots.count() {
            reach.mark(edges, roots.targets(root));
        }
        reach
    }

    /// Marks `objects` and all that they reach.
    pub fn mark<E: Edges>(&mut self, edges: &E, objects: &[u32]) {
        for &object in objects {
            self.meet(object);
        }
        while let Some(object) = self.waiting.take() {
            edges.each(object, |target| self.meet(target));
        }
    }

    /// Nothing will be reached through `objects`: they count as marked, and as walked.
    pub fn bar(&mut self, objects: &[u32]) {
        for &object in objects {
            self.marked.set(object);
        }
    }

    /// Whether `object` is marked.
    pub fn is_marked(&self, object: u32) -> bool {
        self.marked.get(object)
    }

    /// How many objects are marked, and their bytes.
    pub fn total<E: Edges>(&self, edges: &E) -> (u32, u64) {
        let (mut count, mut sum) = (0, 0);
        edges.bytes_in(0..self.objects, |object, bytes| {
            if self.marked.get(object) {
                count += 1;
                sum += bytes;
            }
        });
        (count, sum)
    }

    /// From now on, notes when one of `objects` is marked.
    pub(crate) fn watch(&mut self, objects: impl Iterator<Item = u32>) {
        self.watched = Bits::new(self.objects as usize);
        for object in objects {
            self.watched.set(object);
        }
    }

    /// Takes one of the watched objects that were marked.
    pub(crate) fn noted(&mut self) -> Option<u32> {
        self.noted.pop()
    }

    #[inline]
    fn meet(&mut self, object: u32) {
        if self.marked.set(object) && object < self.objects {
            self.waiting.add(object);
            if self.watched.get(object) {
                self.noted.push(object);
            }
        }
    }
}

/// What roots hold alone, as (bytes, objects). See [`exclusive`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exclusive {
    /// By root.
    pub by_root: Vec<(u64, u32)>,
    /// What several roots of one class reach.
    pub shared: (u64, u32),
}

/// What each root holds alone, without the tree: the same figures as [`Dominators`](super::Dominators) give for the
/// roots, in a seventh of their memory: two bytes and two bits per object, and a short list.
///
/// `None` for more than 65,534 roots.
pub fn exclusive<E: Edges>(edges: &E, roots: &Roots) -> Option<Exclusive> {
    if roots.count() >= u32::from(SEVERAL) {
        return None;
    }
    let objects = edges.objects();
    let mut owners = Owners {
        owner: vec![NOBODY; objects as usize],
        closed: Bits::new(objects as usize),
        waiting: Waiting::new(objects),
    };
    for class in roots.classes() {
        for (object, &owner) in (0..).zip(&owners.owner) {
            if owner != NOBODY {
                owners.closed.set(object);
            }
        }
        for root in (0..roots.count()).filter(|&root| roots.class(root) == class) {
            for &target in roots.targets(root) {
                owners.give(target, root as u16);
            }
            while let Some(object) = owners.waiting.take() {
                let owner = owners.owner[object as usize];
                edges.each(object, |target| owners.give(target, owner));
            }
        }
    }
    let mut by_root = vec![(0, 0); roots.count() as usize];
    let mut shared = (0, 0);
    edges.bytes_in(0..objects, |object, bytes| {
        let sum = match owners.owner[object as usize] {
            NOBODY => return,
            SEVERAL => &mut shared,
            root => &mut by_root[usize::from(root)],
        };
        sum.0 += bytes;
        sum.1 += 1;
    });
    Some(Exclusive { by_root, shared })
}

/// Not reached so far.
const NOBODY: u16 = u16::MAX;
/// Reached by several roots.
const SEVERAL: u16 = u16::MAX - 1;

struct Owners {
    owner: Vec<u16>,
    /// Belongs to an earlier class of roots.
    closed: Bits,
    waiting: Waiting,
}

impl Owners {
    /// `object` is reached from `from`. It changes hands twice at most, and is walked as often.
    #[inline]
    fn give(&mut self, object: u32, from: u16) {
        let Some(owner) = self.owner.get_mut(object as usize) else {
            return;
        };
        let now = if *owner == NOBODY { from } else { SEVERAL };
        if *owner != from && *owner != SEVERAL && !self.closed.get(object) {
            *owner = now;
            self.waiting.add(object);
        }
    }
}
