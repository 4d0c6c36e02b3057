//! `go test -json`: counts, and the output of tests that failed.
//!
//! The events are those of `go doc test2json`. Subtests are part of their test.

use std::collections::HashMap;

use serde_json::Value;

use crate::counts::Counts;
use crate::process::Show;

/// Of one test's output; what comes later is lost.
const OUTPUT_BYTES_MAX: usize = 64 << 10;

/// Goes through the events of one `go test`.
#[derive(Default)]
pub(super) struct GoView {
    pub(super) counts: Counts,
    /// Output of tests that are running, by package and test.
    outputs: HashMap<(String, String), String>,
}

impl GoView {
    pub(super) fn line(&mut self, line: &str) -> Show {
        // Errors of the go command itself are no events.
        let Some(event) = parse(line) else {
            return Show::Line;
        };
        let text = |name: &str| event[name].as_str().unwrap_or_default().to_string();
        let (action, package, test) = (text("Action"), text("Package"), text("Test"));
        let output = text("Output");
        let top = test.split('/').next().unwrap_or_default().to_string();
        match action.as_str() {
            "output" if test.is_empty() && output.trim().is_empty() => Show::Nothing,
            "output" | "build-output" if test.is_empty() => {
                Show::Instead(output.trim_end().to_string())
            }
            "output" => {
                let kept = self.outputs.entry((package, top)).or_default();
                if kept.len() + output.len() <= OUTPUT_BYTES_MAX && !output.starts_with("=== ") {
                    kept.push_str(&output);
                }
                Show::Progress(format!("{test}: {}", output.trim()))
            }
            "pass" | "fail" | "skip" if !test.is_empty() && test == top => {
                let said = self.outputs.remove(&(package, top)).unwrap_or_default();
                self.ended(&action, &test, &said)
            }
            _ => Show::Nothing,
        }
    }

    fn ended(&mut self, action: &str, test: &str, said: &str) -> Show {
        match action {
            "pass" => self.counts.passed += 1,
            "skip" => {
                self.counts.skipped += 1;
                // `    file.go:12: reason`, then `--- SKIP: ...`.
                let reason = said.lines().find_map(|line| line.trim().split_once(".go:"));
                let reason = reason.and_then(|(_, rest)| rest.split_once(": "));
                let reason = reason.map_or("no reason given", |(_, reason)| reason);
                self.counts.reasons.push(format!("{test}: {reason}"));
            }
            _ => {
                self.counts.failed += 1;
                return Show::Instead(said.trim_end().replace('\n', "\n    "));
            }
        }
        Show::Nothing
    }
}

fn parse(line: &str) -> Option<Value> {
    let event: Value = serde_json::from_str(line).ok()?;
    event["Action"].is_string().then_some(event)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events() {
        let lines = [
            r#"{"Action":"start","Package":"p"}"#,
            r#"{"Action":"run","Package":"p","Test":"TestCart"}"#,
            r#"{"Action":"output","Package":"p","Test":"TestCart","Output":"usage of cart\n"}"#,
            r#"{"Action":"pass","Package":"p","Test":"TestCart/empty"}"#,
            r#"{"Action":"pass","Package":"p","Test":"TestCart"}"#,
            r#"{"Action":"output","Package":"p","Test":"TestLogin","Output":"=== RUN TestLogin\n"}"#,
            r#"{"Action":"output","Package":"p","Test":"TestLogin/a","Output":"want 1\n"}"#,
            r#"{"Action":"fail","Package":"p","Test":"TestLogin/a"}"#,
            r#"{"Action":"fail","Package":"p","Test":"TestLogin"}"#,
            r#"{"Action":"output","Package":"p","Test":"TestC","Output":"    c_test.go:7: no cgo\n"}"#,
            r#"{"Action":"skip","Package":"p","Test":"TestC"}"#,
            r#"{"Action":"output","Package":"p","Output":"FAIL\tp\t0.1s\n"}"#,
            r#"{"Action":"fail","Package":"p"}"#,
            "go: no such tool",
        ];
        let mut view = GoView::default();
        let shown: Vec<String> = lines
            .iter()
            .filter_map(|line| match view.line(line) {
                Show::Line => Some((*line).to_string()),
                Show::Instead(text) => Some(text),
                Show::Progress(_) | Show::Nothing => None,
            })
            .collect();
        assert_eq!(shown, ["want 1", "FAIL\tp\t0.1s", "go: no such tool"]);
        assert_eq!(view.counts.line(), "1 passed, 1 failed, 1 skipped");
        assert_eq!(view.counts.reasons, ["TestC: no cgo"]);
    }
}
