//! Stories that spend most of their time waiting, side by side: each is a module here, with services
//! and a watcher of its own.

mod after_a_kill;
mod answers;
mod budget;
mod by_runtime_figures;
mod captures;
mod diagnose;
mod hard_targets;
mod in_a_pod;
mod killed_for_memory;
mod no_endpoint;
mod page;
