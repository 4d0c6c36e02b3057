//! The service that measures its own stalls: `tests/targets/stalls`.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::process::{self, Running};
use crate::{Setting, http, wait_until};

/// A service that measures its own stalls.
#[derive(Debug)]
pub struct Service {
    /// Its process.
    pub running: Running,
    url: String,
}

impl Service {
    /// Starts it with `arguments` and waits until it serves.
    ///
    /// # Panics
    /// When it does not serve within 30 s.
    #[must_use]
    pub fn start(name: &str, mut command: Command, arguments: &[&str]) -> Self {
        command.args(arguments);
        let running = Running::start(name, command);
        let url = wait_until(name, Duration::from_secs(30), || {
            let text = running.stdout();
            let line = text.lines().find_map(|line| line.strip_prefix("READY "));
            line.map(str::to_owned).ok_or(text.clone())
        });
        Self { running, url }
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.running.pid()
    }

    /// What it answers to a GET of `path`.
    ///
    /// # Panics
    /// When it gives no answer.
    pub fn ask(&self, path: &str) -> Value {
        http::get_json(&format!("{}/{path}", self.url)).expect("it answers")
    }

    /// The longest that it stood still since this was last asked.
    ///
    /// # Panics
    /// When it does not tell.
    pub fn stall_ms(&self) -> f64 {
        self.ask("stalls")["worst_ms"].as_f64().expect("a number")
    }
}

/// Builds it into `folder`.
///
/// # Panics
/// When it does not build.
#[must_use]
pub fn build(setting: &Setting, folder: &Path) -> PathBuf {
    let program = folder.join("stalls");
    let mut build = Command::new(&setting.go);
    build
        .current_dir(setting.root.join("tests/targets"))
        .args(["build", "-o"])
        .arg(&program)
        .arg("./stalls");
    let _ = process::run(build);
    program
}
