//! `unswept inspect`, as its users run it.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::Setting;

/// How one call ended.
#[derive(Debug)]
pub struct Inspected {
    /// Its standard output.
    pub output: Vec<u8>,
    /// Its standard error.
    pub said: String,
    /// Its exit code.
    pub code: Option<i32>,
    /// From its start to its end, loading of the executable included.
    pub took: Duration,
}

/// Runs `unswept inspect WORDS`.
///
/// # Panics
/// When it cannot be started.
#[must_use]
pub fn inspect(setting: &Setting, words: &[&str]) -> Inspected {
    let started = Instant::now();
    let mut command = Command::new(&setting.unswept);
    let command = command.arg("inspect").args(words).stdin(Stdio::null());
    let output = command.output().expect("the binary under test");
    Inspected {
        took: started.elapsed(),
        said: String::from_utf8_lossy(&output.stderr).into_owned(),
        code: output.status.code(),
        output: output.stdout,
    }
}

impl Inspected {
    /// Its output.
    ///
    /// # Panics
    /// When it failed, with what it said.
    #[must_use]
    pub fn text(self, of: &str) -> String {
        assert_eq!(self.code, Some(0), "{of}: {}", self.said);
        String::from_utf8(self.output).expect("text")
    }

    /// Its output as JSON that says which schema it has, and keeps to it as docs/ has it.
    ///
    /// # Panics
    /// When it failed, with what it said, is something else, or breaks its schema.
    #[must_use]
    pub fn json(self, setting: &Setting, of: &str, schema: &str) -> Value {
        let text = self.text(of);
        let value: Value = serde_json::from_str(&text).unwrap_or_else(|error| {
            panic!("{of}: no JSON: {error}\n{text}");
        });
        assert_eq!(value["schema"], schema, "{of}");
        setting.assert_schema(&value);
        value
    }
}

/// Whether what wrote `file` has also filled it.
#[must_use]
pub fn is_written(file: &Path) -> bool {
    file.metadata().is_ok_and(|data| data.len() > 0)
}
