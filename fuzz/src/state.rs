//! What has been done for one parser, on disk: a million rounds are done in pieces.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde_json::{Value, json};

/// The rounds of one seed so far.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct State {
    pub(crate) seed: u64,
    /// Rounds done; the next one has this number.
    pub(crate) rounds: u64,
    pub(crate) bytes: u64,
    pub(crate) seconds: f64,
    /// The longest round.
    pub(crate) worst_ms: u64,
    /// The most memory that a worker had.
    pub(crate) peak_kib: u64,
    pub(crate) findings: u64,
}

/// Where the state of a parser is kept.
pub(crate) fn file(folder: &Path, name: &str) -> PathBuf {
    folder.join(format!("{name}.json"))
}

impl State {
    /// The state that an earlier run of this commit left.
    pub(crate) fn load(file: &Path, commit: Option<&str>) -> Option<Self> {
        Self::of(&serde_json::from_slice(&fs::read(file).ok()?).ok()?, commit)
    }

    fn of(value: &Value, commit: Option<&str>) -> Option<Self> {
        let number = |name: &str| value[name].as_u64();
        (value["commit"].as_str() == Some(commit?)).then_some(())?;
        Some(Self {
            seed: number("seed")?,
            rounds: number("rounds")?,
            bytes: number("bytes")?,
            seconds: value["seconds"].as_f64()?,
            worst_ms: number("worst_ms")?,
            peak_kib: number("peak_kib")?,
            findings: number("findings")?,
        })
    }

    pub(crate) fn save(&self, file: &Path, name: &str, commit: Option<&str>) -> anyhow::Result<()> {
        let mut part = file.to_path_buf();
        part.set_extension("part");
        let text = format!("{:#}\n", self.value(name, commit));
        let written = fs::write(&part, text).and_then(|()| fs::rename(&part, file));
        written.with_context(|| format!("failed to write {}", file.display()))
    }

    fn value(&self, name: &str, commit: Option<&str>) -> Value {
        json!({
            "parser": name,
            "commit": commit,
            "seed": self.seed,
            "rounds": self.rounds,
            "bytes": self.bytes,
            "seconds": self.seconds,
            "worst_ms": self.worst_ms,
            "peak_kib": self.peak_kib,
            "findings": self.findings,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_is_gone_on_with_on_its_own_commit_only() {
        let state = State {
            seed: 3,
            rounds: 70,
            seconds: 1.5,
            ..State::default()
        };
        let written = state.value("wire", Some("a1"));
        assert_eq!(State::of(&written, Some("a1")), Some(state.clone()));
        assert_eq!(State::of(&written, Some("b2")), None);
        // Changed files have no name.
        assert_eq!(State::of(&state.value("wire", None), None), None);
    }
}
