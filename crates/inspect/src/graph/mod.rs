//! The graph of a heap: what is reached, and who holds what.
mod bits;
mod dominators;
mod edges;
mod preorder;
mod roots;
mod semi_nca;
mod spill;
mod stored;

pub use dominators::{Dominators, Effort, Held};
pub use edges::{Edges, NODES_MAX};
pub use roots::Roots;

#[cfg(test)]
mod tests;
