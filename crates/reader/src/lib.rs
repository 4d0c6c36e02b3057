//! What needs privileges, and nothing else: the *reader*, a child process that alone keeps the
//! capabilities, and [`Reader`], the client that the rest of the program calls.
//!
//! Start at [`Reader::start`]: called before any thread starts, it starts this same executable once more as
//! the *keeper*, which keeps the privileges there are and starts the reader, and then drops every
//! capability of the calling process. A reader that is lost is started again, with the same rights, by the
//! keeper; where there is nothing to keep, it is a child of the calling process. The executable's `main`
//! hands control to [`serve`] when [`is_reader`] says so. From then on every look at another process is one
//! typed, bounded request over a socket: [`Reader::discover`], [`Reader::read`], [`Reader::read_with_go`],
//! [`Reader::mappings`], [`Reader::ended`], [`Reader::host`], [`Reader::doctor`]. [`Reader::start_look`] has a child of the reader's
//! own look, by the one argument [`HOLDERS_ARGUMENT`]: `main` then does [`find_holders`] when [`is_holders`] says so.
//!
//! [`Reader::dial`] opens a socket in the network namespace of a process, through the keeper, which alone has
//! `CAP_SYS_ADMIN`, where there was one to keep.
//!
//! Processes are named by [`model::ProcessKey`]: a request for a pid that was used again since is
//! answered with [`ReadFailure::Gone`], never with the new process's numbers.
//!
//! [`Reader::read_with_go`] reads figures of the Go runtime out of the process's memory. What to read
//! there is found out by a short-lived child of the reader's with limits of its own, since the
//! executable may be anybody's.
//!
//! What it deliberately does not do: no HTTP, no storing, no judging, no duty cycles (the caller
//! decides how often to ask for [`Reader::mappings`], which holds a lock of the target). Raw memory,
//! command lines and environments of other processes never cross the socket: of an environment only
//! the three variables in [`GoEnv`] do.
#![forbid(unsafe_code)]

mod answers;
mod cgroup;
mod child;
mod client;
mod clock;
mod container;
mod discover;
mod error;
mod eviction;
mod executables;
mod exits;
mod files;
mod frame;
mod holders;
mod host;
mod identity;
mod keeper;
mod kills;
mod listeners;
mod log;
mod mappings;
mod names;
mod opener;
mod privileges;
mod proc_dir;
mod process;
mod procfs;
mod root;
mod runtimes;
mod serve;

pub use answers::{
    Ability, Access, CgroupVersion, ContainerIdentity, ContainerRuntime, Discovery, EndStatus,
    Ended, GoBuild, GoEnv, GoFailure, GoFigures, GoProcess, Greeting, Handlers, Host, LimitMet,
    Mappings, OutOfMemory, PodIdentity, QosClass, ReadFailure, Reading,
};
pub use client::{Reader, ReaderOptions, ReaderStatus};
pub use error::ReaderError;
pub use eviction::{EVICTION_DEFAULT_BYTES, KubeletEviction};
pub use exits::{Exits, WaitedFor};
pub use holders::{
    BudgetPart, Call, Found, GoroutineStack, GoroutinesLook, HOLDERS_ARGUMENT, HoldersBudget,
    HoldersCost, HoldersFailure, HoldersLook, LookAt, find_holders, is_holders,
};
pub use keeper::DialFailure;
pub use log::{LogPiece, LogPlace, log_piece};
pub use proc_dir::PERMISSION_HINT;
pub use process::lives;
pub use serve::{READER_ARGUMENT, is_reader, serve};

/// Feeds arbitrary bytes to every parser of this crate. For fuzzers: must return without a panic.
#[doc(hidden)]
pub fn fuzz_one(bytes: &[u8]) {
    procfs::fuzz_one(bytes);
    cgroup::fuzz_one(bytes);
    container::fuzz_one(bytes);
    frame::fuzz_one(bytes);
    keeper::fuzz_one(bytes);
    identity::fuzz_one(bytes);
    eviction::fuzz_one(bytes);
}
