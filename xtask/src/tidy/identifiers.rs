//! No name of a sample in the product: a verdict that knows the sample's names proves nothing.
//!
//! A light scan, not a Go parser: declared functions, methods and types, metric names, and file
//! names of `examples/**/*.go`, looked for as whole words in everything below `crates/` but tests.
//! Single words in small letters are left out: Go's unexported `states` is also plain English.

use std::collections::BTreeMap;

use super::files::File;

/// Shorter names are everyday words.
const LENGTH_MIN: usize = 6;

/// Names that programs of any kind have, and what Go's own interfaces and habits make.
const COMMON: &str = "
    Acquire Address Append Applied Buffer Client Clients
    Closed Collect Collector Config Configuration Connect Connection Context Counter
    Decode Default Delete Describe Duration Enabled Encode Engine Errorf Events
    Execute Export Fetcher Filter Format Gauge Handle Handler Handlers Header Health Healthz
    History Import Increment Insert Labels Length Limiter Listen Listener Loader
    Locked Logger Lookup Manager Marshal Message Method Metric Metrics Middleware Mutex
    Options Package Params Parser Payload Percent Period Printf Process
    Processor Profile Publish Publisher Random Reader Receive Record
    Recorder Region Register Registry Release Remove Render Renderer Replay Report Reporter
    Request Requests Reserve Resize Resource Response Result Results Router Routes Runner
    Sample Samples Scenario Scenarios Scheduler Search Server Service Session Sessions
    Settings Shutdown Signal Simulate Snapshot Source Started Status Storage Stream String
    Subscribe Subscriber Summary Switch System Target Targets Template Thread Ticker Timeout
    Timestamp Tracker Update Upload Validate Values Vector Version
    Watcher Window Worker Workers Writer
    MarshalJSON ServeHTTP UnmarshalJSON http_request_duration_seconds http_requests_total readFile writeFile writeJSON
";

/// The verdict's own words; samples are named after what they show.
const VERDICTS: &str = "
    Fragmentation GcIdle GcSawtooth GoHeap GoRuntime Goroutine HugePages Kernel NativeHeap
    NativeMmap NotReturned PageCache Plateau Season Spike Steady Thread WarmUp page_cache
";

/// Metric families that every Go service has.
const COMMON_METRICS: &[&str] = &["go_", "process_", "promhttp_"];

/// Complaints about names of samples in the product.
pub(super) fn check(files: &[File]) -> Vec<String> {
    let mut names: BTreeMap<String, String> = BTreeMap::new();
    for file in files.iter().filter(|file| is_sample(&file.path)) {
        for name in declared(file) {
            names.entry(name).or_insert_with(|| file.path.clone());
        }
    }
    let mut complaints = Vec::new();
    for file in files.iter().filter(|file| is_product(&file.path)) {
        let text = if file.path.ends_with(".rs") {
            without_tests(&file.text)
        } else {
            file.text.clone()
        };
        for (number, line) in text.lines().enumerate() {
            for word in words(line) {
                if let Some(sample) = names.get(word) {
                    complaints.push(format!(
                        "identifiers: {}:{}: `{word}` is a name of {sample}; use a made-up one here. \
                         Is it an everyday word? Then add it to COMMON in \
                         xtask/src/tidy/identifiers.rs",
                        file.path,
                        number + 1
                    ));
                }
            }
        }
    }
    complaints
}

fn is_sample(path: &str) -> bool {
    path.starts_with("examples/")
        && path.ends_with(".go")
        && !path.ends_with("_test.go")
        && !path.contains("/vendor/")
}

/// Product code and what is built into it; not tests, their data, pages, or code of others.
fn is_product(path: &str) -> bool {
    let Some(rest) = path.strip_prefix("crates/") else {
        return false;
    };
    let in_folder = |name: &str| rest.split('/').rev().skip(1).any(|folder| folder == name);
    // Snapshots are what tests compare with.
    let tests = in_folder("tests")
        || in_folder("snapshots")
        || in_folder("testdata")
        || in_folder("benches");
    !tests && !in_folder("vendor") && !rest.ends_with("/tests.rs") && !rest.ends_with(".md")
}

/// The names that a Go file declares and that are long enough to tell something.
fn declared(file: &File) -> Vec<String> {
    let stem = file.name().trim_end_matches(".go");
    let mut names = vec![stem.to_string()];
    for line in file.text.lines() {
        let line = line.trim();
        if let Some(rest) = line.strip_prefix("func ") {
            let rest = rest.trim_start();
            // A method: the name comes behind its receiver.
            let rest = match rest.strip_prefix('(') {
                Some(receiver) => receiver
                    .split_once(')')
                    .map_or("", |(_, rest)| rest.trim_start()),
                None => rest,
            };
            names.extend(first_word(rest));
        } else if let Some(rest) = line.strip_prefix("type ") {
            names.extend(first_word(rest.trim_start()));
        }
        names.extend(metric_name(line));
    }
    names.retain(|name| is_telling(name));
    names
}

/// `x` of `Name: "x"` in a metric's options.
fn metric_name(line: &str) -> Option<String> {
    let (_, rest) = line.split_once("Name:")?;
    let (name, _) = rest.trim_start().strip_prefix('"')?.split_once('"')?;
    Some(name.to_string())
}

fn is_telling(name: &str) -> bool {
    let plain = name.bytes().all(|byte| byte.is_ascii_lowercase());
    let common = COMMON
        .split_whitespace()
        .chain(VERDICTS.split_whitespace())
        .any(|w| w == name);
    let metric = COMMON_METRICS.iter().any(|family| name.starts_with(family));
    name.len() >= LENGTH_MIN && !plain && !common && !metric
}

fn first_word(text: &str) -> Option<String> {
    words(text)
        .next()
        .filter(|word| text.starts_with(word))
        .map(str::to_string)
}

fn words(line: &str) -> impl Iterator<Item = &str> {
    line.split(|c: char| !(c.is_alphanumeric() || c == '_'))
        .filter(|word| !word.is_empty())
}

/// Rust source with its `#[cfg(test)]` modules blanked; lines keep their numbers.
///
/// rustfmt's indentation ends a module: the first line that is a closing brace in the column of its
/// `#[cfg(test)]`. Counting braces would have to know strings and comments.
fn without_tests(text: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    let mut inside: Option<String> = None;
    for line in text.lines() {
        let content = line.trim_start();
        let indent = &line[..line.len() - content.len()];
        match &inside {
            None if content.starts_with("#[cfg(test)]") => inside = Some(format!("{indent}}}")),
            None => kept.push_str(line),
            Some(end) => {
                // A test module in a file of its own, or one item without a body, ends at once.
                let one_line = line.starts_with(indent_of(end))
                    && !line[indent_of(end).len()..].starts_with([' ', '#', '}'])
                    && content.ends_with(';');
                if line == end || one_line {
                    inside = None;
                }
            }
        }
        kept.push('\n');
    }
    kept
}

fn indent_of(end: &str) -> &str {
    end.trim_end_matches('}')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, text: &str) -> File {
        File {
            path: path.to_string(),
            text: text.to_string(),
        }
    }

    const SHOP: &str = r#"
package shop
type basketLedger struct{}
func (b *basketLedger) PutAside(id string) {}
func NewHandler() {}
func restockShelf[T any](x T) {}
func states() {}
var total = prometheus.NewGauge(prometheus.GaugeOpts{Name: "shop_baskets_open", Help: "x"})
var cpu = prometheus.NewGauge(prometheus.GaugeOpts{Name: "go_goroutines"})
"#;

    #[test]
    fn names_of_the_sample() {
        let sample = file("examples/shop/basket_ledger.go", SHOP);
        let rows: &[(&str, &str, &str, &[&str])] = &[
            (
                "a type",
                "crates/judge/src/lib.rs",
                "if name == \"basketLedger\" {",
                &["basketLedger"],
            ),
            (
                "a method in a comment",
                "crates/judge/src/lib.rs",
                "/// As `PutAside` does.",
                &["PutAside"],
            ),
            (
                "a generic function",
                "crates/judge/src/lib.rs",
                "restockShelf(",
                &["restockShelf"],
            ),
            (
                "a metric",
                "crates/ledger/src/dictionary.rs",
                "\"shop_baskets_open\",",
                &["shop_baskets_open"],
            ),
            (
                "a file",
                "crates/web/assets/page.js",
                "basket_ledger.go:41",
                &["basket_ledger"],
            ),
            (
                "plain English",
                "crates/alert/src/lib.rs",
                "//! Rules and states.",
                &[],
            ),
            (
                "plain English",
                "crates/alert/src/lib.rs",
                "//! Rules and states.",
                &[],
            ),
            (
                "part of a longer word",
                "crates/judge/src/lib.rs",
                "let restockShelfs = 1;",
                &[],
            ),
            (
                "a family of all services",
                "crates/ledger/src/dictionary.rs",
                "\"go_goroutines\"",
                &[],
            ),
            (
                "a test's folder",
                "crates/judge/tests/shop.rs",
                "basketLedger",
                &[],
            ),
            ("prose", "crates/judge/README.md", "basketLedger", &[]),
            (
                "not the product",
                "tests/e2e/src/lib.rs",
                "basketLedger",
                &[],
            ),
            (
                "a test module",
                "crates/judge/src/lib.rs",
                "fn a() {}\n#[cfg(test)]\nmod tests {\n    fn restockShelf() {}\n}\n",
                &[],
            ),
            (
                "behind a test module",
                "crates/judge/src/lib.rs",
                "#[cfg(test)]\nmod tests {\n    fn a() {\n    }\n}\nfn restockShelf() {}\n",
                &[":6: `restockShelf`"],
            ),
            (
                "behind a test module in a file of its own",
                "crates/judge/src/lib.rs",
                "#[cfg(test)]\nmod tests;\nfn restockShelf() {}\n",
                &[":3: `restockShelf`"],
            ),
        ];
        for (name, path, text, expected) in rows {
            let found = check(&[sample.clone(), file(path, text)]);
            assert_eq!(found.len(), expected.len(), "{name}: {found:?}");
            for (found, expected) in found.iter().zip(*expected) {
                assert!(found.contains(expected), "{name}: {found}");
            }
        }
    }

    #[test]
    fn declared_names() {
        let names = declared(&file("examples/shop/basket_ledger.go", SHOP));
        let expected = [
            "basket_ledger",
            "basketLedger",
            "PutAside",
            "NewHandler",
            "restockShelf",
            "shop_baskets_open",
        ];
        assert_eq!(names, expected);
    }
}
