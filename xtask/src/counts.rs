//! How many tests passed, failed and were skipped; what `cargo test` prints, counted.
//! (For Go's events see `stages::go`.)
//!
//! A test that can't run on this kernel or with these privileges prints `SKIP: reason` and returns; it
//! is counted as skipped and not as passed, and its reason is listed at the end of the run.

/// Counts of tests, and why some were skipped.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    pub(crate) skipped: u64,
    /// One line a skip: the test or its reason, as far as it is known.
    pub(crate) reasons: Vec<String>,
    /// Tests that have said `SKIP:` and that libtest's next result line will count as passed.
    announced: u64,
}

impl Counts {
    pub(crate) fn add(&mut self, other: &Counts) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
        self.reasons.extend_from_slice(&other.reasons);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.passed + self.failed + self.skipped == 0
    }

    /// `N passed, N failed`, and `, N skipped` where there are any: the form of the run's last line.
    pub(crate) fn line(&self) -> String {
        let mut text = format!("{} passed, {} failed", self.passed, self.failed);
        if self.skipped > 0 {
            text.push_str(&format!(", {} skipped", self.skipped));
        }
        text
    }

    /// One line of `cargo test`'s output.
    pub(crate) fn cargo_line(&mut self, line: &str) {
        if let Some(reason) = skip_reason(line) {
            self.skipped += 1;
            self.announced += 1;
            self.reasons.push(reason.to_string());
        } else if let Some(name) = ignored(line) {
            self.reasons.push(name);
        } else if let Some([passed, failed, ignored]) = test_result(line) {
            self.passed += passed.saturating_sub(self.announced);
            self.failed += failed;
            self.skipped += ignored;
            self.announced = 0;
        }
    }
}

/// The reason of `SKIP: reason`, alone on its line or behind libtest's `test NAME ... `.
fn skip_reason(line: &str) -> Option<&str> {
    let line = line.trim_start();
    line.strip_prefix("SKIP: ").or_else(|| {
        let (_, rest) = line.strip_prefix("test ")?.split_once(" ... ")?;
        rest.strip_prefix("SKIP: ")
    })
}

/// `test NAME ... ignored` and `test NAME ... ignored, REASON`.
fn ignored(line: &str) -> Option<String> {
    let (name, rest) = line.strip_prefix("test ")?.split_once(" ... ignored")?;
    Some(match rest.strip_prefix(", ") {
        Some(reason) => format!("{name}: {reason}"),
        None => format!("{name}: ignored"),
    })
}

/// `test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s`
fn test_result(line: &str) -> Option<[u64; 3]> {
    let (_, rest) = line.strip_prefix("test result: ")?.split_once(". ")?;
    let mut counts = [0; 3];
    for (count, word) in counts.iter_mut().zip(["passed", "failed", "ignored"]) {
        let field = rest
            .split("; ")
            .find_map(|field| field.trim().strip_suffix(word))?;
        *count = field.trim().parse().ok()?;
    }
    Some(counts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cargo_output() {
        let rows: &[(&str, &[&str], &str)] = &[
            (
                "nothing",
                &["   Compiling model v0.1.0"],
                "0 passed, 0 failed",
            ),
            (
                "two binaries",
                &[
                    "test result: ok. 3 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s",
                    "test result: FAILED. 1 passed; 2 failed; 0 ignored; 0 measured; 5 filtered out; finished in 0.01s",
                ],
                "4 passed, 2 failed",
            ),
            (
                "a skip is not a pass",
                &[
                    "SKIP: no user namespaces here",
                    "test result: ok. 3 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s",
                ],
                "2 passed, 0 failed, 1 skipped",
            ),
            (
                "a skip behind the test's name, and one that is ignored",
                &[
                    "test story_one ... SKIP: no ptrace",
                    "ok",
                    "test story_two ... ignored, takes an hour",
                    "test result: ok. 1 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s",
                ],
                "0 passed, 0 failed, 2 skipped",
            ),
            (
                "prose about skips is no skip",
                &["we could SKIP: this", "test result: nonsense"],
                "0 passed, 0 failed",
            ),
        ];
        for (name, lines, expected) in rows {
            let mut counts = Counts::default();
            lines.iter().for_each(|line| counts.cargo_line(line));
            assert_eq!(counts.line(), *expected, "{name}");
        }
    }
}
