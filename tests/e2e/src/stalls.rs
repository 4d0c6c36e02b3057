//! The service that measures its own stalls: `tests/targets/stalls`.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::bystander::Span;
use crate::process::{self, Running};
use crate::{Setting, http, wait_until};

/// What a service noted since it was last asked.
#[derive(Debug)]
pub struct Noted {
    /// The times in which it should have run and did not; shorter than 2 ms none.
    pub stalls: Vec<Span>,
    asked: Value,
}

impl Noted {
    /// How often it was asked for `path`, whatever came behind a question mark.
    #[must_use]
    pub fn times_asked(&self, path: &str) -> u64 {
        self.asked[path].as_u64().unwrap_or(0)
    }
}

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

    /// What it noted since this was last called.
    ///
    /// # Panics
    /// When it does not tell.
    #[must_use]
    pub fn noted(&self) -> Noted {
        let told = self.ask("stalls");
        let late = told["late"].as_array().expect("a list").iter();
        let time = |value: &Value| value.as_i64().expect("a number");
        let stalls = late.map(|stall| Span {
            from_us: time(&stall[0]),
            to_us: time(&stall[1]),
        });
        Noted {
            stalls: stalls.collect(),
            asked: told["asked"].clone(),
        }
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
