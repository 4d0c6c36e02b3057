//! The Go program that is measured: `tests/targets heap`, as big as asked.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context as _, bail};
use serde_json::Value;

/// A heap that stands ready. It ends with this.
pub(super) struct Target {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Target {
    /// Starts `program` and waits until its heap is made: some seconds for each million objects.
    pub(super) fn start(program: &Path, words: &[String]) -> anyhow::Result<Self> {
        Self::start_mode(program, "heap", words)
    }

    /// As [`Self::start`], in another mode of the program.
    pub(super) fn start_mode(program: &Path, mode: &str, words: &[String]) -> anyhow::Result<Self> {
        let mut child = Command::new(program)
            .arg(mode)
            .args(words)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("failed to start {}", program.display()))?;
        let (input, output) = (child.stdin.take(), child.stdout.take());
        let mut target = Self {
            child,
            input,
            output: BufReader::new(output.context("a program without an output")?),
        };
        let ready = target.line()?;
        if ready["ready"] != true {
            bail!("the program said {ready} in place of being ready");
        }
        Ok(target)
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a command and returns the answer.
    pub(super) fn ask(&mut self, command: &str) -> anyhow::Result<Value> {
        let input = self.input.as_mut().context("the program has ended")?;
        input
            .write_all(format!("{command}\n").as_bytes())
            .context("the program has ended")?;
        self.line()
    }

    /// The longest time, in seconds, that one of its threads saw nothing happen since the last question.
    pub(super) fn gap_seconds(&mut self) -> anyhow::Result<f64> {
        let answer = self.ask("gap")?;
        let gap = answer["max_gap_us"].as_f64();
        Ok(gap.context("no gap in the answer")? / 1e6)
    }

    fn line(&mut self) -> anyhow::Result<Value> {
        let mut line = String::new();
        let read = self.output.read_line(&mut line);
        read.context("failed to read the program's answer")?;
        serde_json::from_str(&line).with_context(|| format!("the program answered `{line}`"))
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        // The end of its input ends it by itself; this is for when it hangs.
        self.input = None;
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
