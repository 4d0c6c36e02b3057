//! What the end-to-end stories share: the sample shop and its renamed copy, the watcher as its users
//! start it, and the few clients and servers that a story needs around them.
//!
//! Start at [`Shop::build`] and [`Watcher::start`], or at [`Target::build`] for what is looked into from
//! outside. A story is a file `tests/story_*.rs` (or
//! `safety_*.rs`); it sees the product as a user does: the built binary, its HTTP API, its files and
//! its exit codes. No crate of the product is known here, so a story cannot agree with a mistake.
//!
//! Every process that a story starts is killed when its handle is dropped, and by the kernel when
//! the story itself is killed. Every wait has a deadline and says what it waited for.
#![forbid(unsafe_code)]

pub mod browser;
pub mod bystander;
pub mod cgroup;
pub mod footprint;
pub mod hostile;
pub mod http;
pub mod planted;
pub mod process;
pub mod server;
pub mod setting;
pub mod shop;
pub mod stalls;
pub mod targets;
pub mod watcher;

pub use browser::Browser;
pub use bystander::Bystander;
pub use footprint::Footprint;
pub use hostile::Hostile;
pub use process::Running;
pub use server::{Behaviour, Server};
pub use setting::Setting;
pub use shop::{Culprit, Shop};
pub use targets::{Form, Program, Release, RunningTarget, Target};
pub use watcher::{Settings, Watcher};

use std::time::{Duration, Instant};

/// Asks `look` again and again until it finds something.
///
/// # Panics
/// After `limit`, with `what` and the last thing that `look` said instead.
pub fn wait_until<T>(
    what: &str,
    limit: Duration,
    mut look: impl FnMut() -> Result<T, String>,
) -> T {
    let started = Instant::now();
    loop {
        let said = match look() {
            Ok(found) => return found,
            Err(said) => said,
        };
        assert!(
            started.elapsed() < limit,
            "waited {limit:?} in vain for {what}; last seen: {said}"
        );
        std::thread::sleep(Duration::from_millis(250));
    }
}

/// Prints `text` with the time since the story's beginning.
pub fn tell(started: Instant, text: impl std::fmt::Display) {
    println!("{:6.1} s  {text}", started.elapsed().as_secs_f64());
}
