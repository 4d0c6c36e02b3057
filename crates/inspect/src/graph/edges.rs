//! What the algorithms ask of a heap: its objects, their sizes and their pointers.

use std::ops::Range;

/// The most objects and roots together that are taken: one bit of a node's number is ours.
pub const NODES_MAX: u32 = (1 << 31) - 2;

/// The objects of a heap and the pointers between them, numbered 0 to [`objects`](Self::objects).
///
/// The same questions must get the same answers each time, so a walk over memory that changes is not one: copy the
/// memory first. Targets that do not exist are ignored. Everything is called millions of times: statically
/// dispatched, and the methods for many objects exist so that a heap made of spans finds, or reads, each span once.
pub trait Edges: Sync {
    /// How many objects there are.
    fn objects(&self) -> u32;

    /// The size of `object`.
    fn bytes(&self, object: u32) -> u64;

    /// Calls `visit` with the target of each pointer of `object` until it answers false.
    ///
    /// `from` is where to begin: 0 for the first pointer, else what an earlier call returned. Returns where to go on
    /// when `visit` stopped it, `None` at the end.
    fn each_from(&self, object: u32, from: u32, visit: impl FnMut(u32) -> bool) -> Option<u32>;

    /// Calls `visit` with the target of each pointer of `object`.
    fn each(&self, object: u32, mut visit: impl FnMut(u32)) {
        self.each_from(object, 0, |target| {
            visit(target);
            true
        });
    }

    /// Calls `visit` with source and target of each pointer of the objects in `range`, in order of the sources.
    fn each_in(&self, range: Range<u32>, mut visit: impl FnMut(u32, u32)) {
        for object in range {
            self.each(object, |target| visit(object, target));
        }
    }

    /// Calls `visit` with source and target of each pointer of `objects`, which are in order, as they are.
    fn each_of(&self, objects: &[u32], mut visit: impl FnMut(u32, u32)) {
        for &object in objects {
            self.each(object, |target| visit(object, target));
        }
    }

    /// Calls `visit` with each object of `range` and its size, in order.
    fn bytes_in(&self, range: Range<u32>, mut visit: impl FnMut(u32, u64)) {
        for object in range {
            visit(object, self.bytes(object));
        }
    }

    /// Reads whatever will be needed first when `object` is walked, so that it is on its way from main memory.
    /// The answer means nothing.
    fn touch(&self, _object: u32) -> u32 {
        0
    }
}
