//! What of a program's output a person wants to see.

use crate::process::Show;

/// Cargo's words while it works; they become progress instead of hundreds of lines.
const WORKING: &[&str] = &[
    "Adding",
    "Checking",
    "Compiling",
    "Documenting",
    "Downloaded",
    "Downloading",
    "Executable",
    "Fresh",
    "Generated",
    "Locking",
    "Updating",
];

/// How much to show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Detail {
    /// One line a test binary, and everything about failures.
    Results,
    /// All that the tests print.
    All,
}

/// Goes through the output of cargo and of the tests it runs.
pub(super) struct CargoView {
    detail: Detail,
    crates: u32,
    binary: String,
    /// Between libtest's `successes:` and what comes after: output of tests that passed.
    in_successes: bool,
}

impl CargoView {
    pub(super) fn new(detail: Detail) -> CargoView {
        CargoView {
            detail,
            crates: 0,
            binary: String::new(),
            in_successes: false,
        }
    }

    pub(super) fn line(&mut self, line: &str) -> Show {
        let trimmed = line.trim_start();
        // Cargo right-aligns its words in twelve columns.
        if line.starts_with("  ") {
            let word = trimmed.split(' ').next().unwrap_or_default();
            if WORKING.contains(&word) {
                self.crates += 1;
                return Show::Progress(format!("{} steps, last: {trimmed}", self.crates));
            }
            if matches!(word, "Running" | "Doc-tests") {
                self.binary = binary_name(trimmed);
                return if self.detail == Detail::All {
                    Show::Line
                } else {
                    Show::Nothing
                };
            }
        }
        if self.detail == Detail::All {
            return if line.is_empty() {
                Show::Nothing
            } else {
                Show::Line
            };
        }
        self.result_line(line)
    }

    fn result_line(&mut self, line: &str) -> Show {
        if let Some(result) = line.strip_prefix("test result: ") {
            self.in_successes = false;
            // Nothing was run: most doc-test binaries.
            if result.starts_with("ok. 0 passed; 0 failed; 0 ignored") {
                return Show::Nothing;
            }
            return Show::Instead(format!("{}: {result}", self.binary));
        }
        match line {
            "successes:" => self.in_successes = true,
            "failures:" => self.in_successes = false,
            _ => {}
        }
        let of_one_test = line.starts_with("test ") && line.ends_with(" ... ok");
        let heading = line.starts_with("running ") && line.ends_with(['s', 't']);
        if self.in_successes || of_one_test || line.is_empty() {
            return Show::Nothing;
        }
        if heading {
            return Show::Progress(format!("{}: {line}", self.binary));
        }
        Show::Line
    }
}

/// `model` of `Running unittests src/lib.rs (target/debug/deps/model-0123456789abcdef)`.
fn binary_name(line: &str) -> String {
    let path = line
        .split_once('(')
        .map(|(_, path)| path.trim_end_matches(')'));
    let file = path.and_then(|path| path.rsplit('/').next());
    let name = file
        .and_then(|file| file.rsplit_once('-'))
        .map(|(name, _)| name);
    name.unwrap_or(line).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(detail: Detail, lines: &[&str]) -> Vec<String> {
        let mut view = CargoView::new(detail);
        let show = |line: &&str| match view.line(line) {
            Show::Line => Some((*line).to_string()),
            Show::Instead(text) => Some(text),
            Show::Progress(_) | Show::Nothing => None,
        };
        lines.iter().filter_map(show).collect()
    }

    #[test]
    fn a_passing_binary_is_one_line() {
        let lines = [
            "   Compiling model v0.1.0 (/src/crates/model)",
            "     Running unittests src/lib.rs (target/debug/deps/model-0123456789abcdef)",
            "",
            "running 2 tests",
            "test labels ... ok",
            "test times ... ok",
            "",
            "successes:",
            "",
            "---- labels stdout ----",
            "some words",
            "successes:",
            "    labels",
            "",
            "test result: ok. 2 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out",
        ];
        let expected = "model: ok. 2 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out";
        assert_eq!(shown(Detail::Results, &lines), [expected]);
    }

    #[test]
    fn a_failure_is_shown_whole() {
        let lines = [
            "test labels ... FAILED",
            "successes:",
            "    times",
            "failures:",
            "---- labels stdout ----",
            "assertion failed",
            "test result: FAILED. 1 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out",
        ];
        let seen = shown(Detail::Results, &lines).join("\n");
        assert!(
            seen.contains("assertion failed") && seen.contains("labels ... FAILED"),
            "{seen}"
        );
        assert!(!seen.contains("times"), "{seen}");
    }

    #[test]
    fn all_detail_keeps_what_tests_print() {
        let lines = [
            "   Compiling x v1",
            "test story ... the watcher is up",
            "ok",
        ];
        assert_eq!(shown(Detail::All, &lines), lines[1..]);
    }
}
