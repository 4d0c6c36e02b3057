//! pprof profiles: read, aggregate, compare.
//!
//! A Go program answers `/debug/pprof/heap` and `/debug/pprof/goroutine` with a `profile.proto`
//! message, usually under gzip. This crate reads such bytes into flat arrays and answers from them
//! what `go tool pprof -top` prints, and what it does not: what grew between two profiles, in whose
//! code, and what the goroutines of a group wait for.
//!
//! Where to start:
//! * [`Profile::parse`] reads; [`Limits`] says how much a profile may cost; [`ProfileBuilder`] makes
//!   one by hand and [`Profile::to_proto`] writes it back.
//! * [`top`] and [`Top::render`] are `go tool pprof -top`.
//! * [`diff`] compares two profiles stack by stack, [`Diff::by_frame`] per
//!   [frame to look at](frame_to_look_at).
//! * [`groups`] sums one profile by stack; with [`wait_reason`] that is a goroutine dump by blocked
//!   place.
//! * [`flame`] and [`flame_diff`] make a bounded tree for a flame graph.
//!
//! ```
//! use profile::{Profile, Limits, ProfileBuilder, TopOptions, top};
//!
//! let mut made = ProfileBuilder::new(&[("inuse_space", "bytes")]);
//! let put = made.function("main.(*Shelf).Store", "/app/shelf.go", 40);
//! let here = made.location(0x1000, &[(put, 41)]);
//! made.sample(&[here], &[4096]);
//! let bytes = made.build()?.to_proto();
//!
//! let profile = Profile::parse(&bytes, &Limits::default())?;
//! let index = profile.sample_type_index("inuse_space")?;
//! assert_eq!(top(&profile, index, &TopOptions::default()).rows[0].flat, 4096);
//! # Ok::<(), profile::ProfileError>(())
//! ```
//!
//! **The promise about hostile bytes**: no panic, and time and memory bounded by [`Limits`], after
//! decompression too. An error names the offset in the decompressed bytes.
//!
//! What this crate deliberately does not do: open files or sockets, read a clock, symbolise
//! addresses, or know anything about processes and services. `drop_frames` and `keep_frames` are
//! read and kept, not applied.
//!
//! The format: `proto/profile.proto` of <https://github.com/google/pprof>.

#![forbid(unsafe_code)]

mod build;
mod data;
mod decode;
mod diff;
mod encode;
mod error;
mod flame;
mod frame;
pub mod fuzz;
mod goroutine;
mod stacks;
mod table;
mod top;
mod units;
mod wire;

pub use build::{FunctionRef, LocationRef, MappingRef, ProfileBuilder};
pub use data::{Label, Mapping, Profile, Sample, SampleType};
pub use decode::Limits;
pub use diff::{Change, Diff, FrameGrowth, Growth, diff};
pub use error::ProfileError;
pub use flame::{Flame, FlameLimits, FlameNode, flame, flame_diff};
pub use frame::{Frame, Owner, frame_to_look_at, owner, package_path};
pub use goroutine::wait_reason;
pub use stacks::{Group, Groups, groups};
pub use top::{Inline, Row, Sort, Top, TopOptions, top};
pub use units::{percentage, scaled_label};
