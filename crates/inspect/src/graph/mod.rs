//! The graph of a heap: what is reached, who holds what, and which goroutines can never run again.
//!
//! Pure: a heap is whatever answers [`Edges`], objects numbered from 0, and [`Roots`] say where the collector begins.
//! - [`Reach`] marks: how much is alive, in three bits per object.
//! - [`exclusive`] tells what each root holds alone, in two bytes per object.
//! - [`Tree`] is the whole tree of dominators: under what each object hangs. [`Dominators`] are that and sizes: what
//!   would go if this object or root let go.
//! - [`leaked`] proves goroutines leaked in three bits per object; [`wakes`] in more, and names what keeps alive the
//!   channel of one that isn't; [`way_to`] names a way to any object.
//!
//! Nothing here is recursive, and nothing takes quadratic time: lists ten million long are ordinary, and a heap may be
//! made to hurt. What it deliberately does not know: addresses, spans, types and names.

mod bits;
mod compact;
mod dominators;
mod edges;
mod huge;
mod leaked;
mod leaves;
mod lists;
mod path;
mod preorder;
mod reach;
mod roots;
mod semi_nca;
mod share;
mod spill;
mod tree;
mod waiting;
mod wakes;
mod whole;

pub(crate) use bits::Bits;
pub use dominators::{Dominators, Effort, Held};
pub use edges::{Edges, NODES_MAX};
pub(crate) use huge::Huge;
pub use leaked::{Blocked, Way, leaked, way_to};
pub use reach::{Exclusive, Reach, exclusive};
pub use roots::Roots;
pub use tree::{Children, Counts, Tops, Tree};
pub use wakes::{Wakes, wakes};

#[cfg(test)]
pub(crate) mod tests;
