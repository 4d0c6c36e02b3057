//! What people answer to an incident. An answer holds for the incident's (workload, kind, culprit)
//! only, and lasts until it is taken back; what follows from it is the engine's to decide.

use serde::{Deserialize, Serialize};

use crate::target::Revision;
use crate::time::UnixMs;

/// The longest name of whoever answers, in characters.
pub const BY_CHARS_MAX: usize = 64;
/// The longest note, in characters.
pub const NOTE_CHARS_MAX: usize = 1_000;

/// One answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Answer {
    /// Somebody is on it: it is told to nobody again, and goes on.
    Acknowledged,
    /// Nobody wants to hear of it for a while.
    Muted {
        /// Until then; `None` where only a new revision ends it.
        #[serde(default, with = "crate::time::rfc3339::option")]
        until: Option<UnixMs>,
        /// The revision that was running: another one that leaks ends it; `None` where only the
        /// time does.
        #[serde(default)]
        revision: Option<Revision>,
    },
    /// It is meant to grow, up to a ceiling.
    Expected {
        /// The memory of one target, in bytes, above which it is told after all.
        ceiling_bytes: u64,
        /// When that happened.
        #[serde(default, with = "crate::time::rfc3339::option")]
        exceeded: Option<UnixMs>,
    },
    /// It is no leak.
    FalseAlarm,
    /// It is one.
    Leak,
}

/// What sort of answer: an incident has at most one of each, and a new one replaces an older one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AnswerSort {
    /// Who is on it.
    Acknowledgement,
    /// For how long nobody is told.
    Mute,
    /// What it is: expected, a false alarm, a leak.
    Mark,
}

impl Answer {
    /// Which sort of answer this is.
    #[must_use]
    pub fn sort(&self) -> AnswerSort {
        match self {
            Self::Acknowledged => AnswerSort::Acknowledgement,
            Self::Muted { .. } => AnswerSort::Mute,
            Self::Expected { .. } | Self::FalseAlarm | Self::Leak => AnswerSort::Mark,
        }
    }
}

/// An answer, with who gave it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Said {
    /// What.
    #[serde(flatten)]
    pub answer: Answer,
    /// When.
    #[serde(with = "crate::time::rfc3339")]
    pub at: UnixMs,
    /// Who, as they call themselves; nobody checks it.
    pub by: String,
    /// Why, in their words.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub note: String,
}

/// Why nobody is told of an open incident.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SilenceReason {
    /// It is muted.
    Muted,
    /// It is expected to grow and below its ceiling.
    Expected,
    /// It is no leak.
    FalseAlarm,
}

impl SilenceReason {
    /// The word in lists and on pages.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Muted => "muted",
            Self::Expected => "expected",
            Self::FalseAlarm => "false alarm",
        }
    }
}

/// That nobody is told of an open incident, as the engine has decided from its answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Silence {
    /// Since when.
    #[serde(with = "crate::time::rfc3339")]
    pub since: UnixMs,
    /// Why.
    pub because: SilenceReason,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_one_flat_object() {
        let said = Said {
            answer: Answer::Expected {
                ceiling_bytes: 1 << 30,
                exceeded: None,
            },
            at: UnixMs(0),
            by: "alice".into(),
            note: String::new(),
        };
        let json = serde_json::to_value(&said).unwrap();
        assert_eq!(
            json,
            serde_json::json!({
                "answer": "expected", "ceiling_bytes": 1_u64 << 30, "exceeded": null,
                "at": "1970-01-01T00:00:00Z", "by": "alice",
            })
        );
        assert_eq!(serde_json::from_value::<Said>(json).unwrap(), said);
        let short: Said = serde_json::from_str(
            r#"{"answer":"muted","until":"2026-12-01T00:00:00Z","at":"2026-11-21T22:30:00Z","by":"a"}"#,
        )
        .unwrap();
        assert_eq!(short.answer.sort(), AnswerSort::Mute);
    }
}
