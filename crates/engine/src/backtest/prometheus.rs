//! Back-test of what a Prometheus has stored: read only, through its HTTP API.
//!
//! Which series there are is asked first (`/api/v1/series`); then target by target the samples themselves, by instant
//! queries of a range (`selector[range]`), which give every sample with its own time. Range queries would give steps
//! instead. A range is cut until an answer fits ([`ANSWER_BYTES_MAX`]) and the server bears it.
//! Format: <https://prometheus.io/docs/prometheus/latest/querying/api/>.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::time::Duration;

use fetch::{FetchError, Fetcher, Post, Request, Response};
use model::{Labels, UnixMs};
use serde::Deserialize;
use wire::{WireError, parse_series_json};

use super::files::Remarks;
use super::place::{Unit, place};
use super::{Counts, Gather, Progress, Tell, replay_all};

/// The longest answer.
pub const ANSWER_BYTES_MAX: usize = 64 << 20;
/// Above this the next range is shorter, below a quarter of it longer.
const ANSWER_BYTES_WANTED: usize = 16 << 20;
const TIMEOUT: Duration = Duration::from_secs(120);
const RANGE_FIRST_MS: i64 = 24 * 3_600_000;
const RANGE_LEAST_MS: i64 = 5 * 60_000;
const RANGE_MOST_MS: i64 = 8 * RANGE_FIRST_MS;
/// Metric names that a query lists; with more of them it asks for all.
const NAMES_MAX: usize = 500;

/// What to ask, and for what.
#[derive(Clone)]
pub struct Order {
    /// Where the API is: what stands before `/api/v1`.
    pub url: String,
    /// Which series: selectors as PromQL has them, such as `{job="shop"}`.
    pub selectors: Vec<String>,
    /// From.
    pub from: UnixMs,
    /// To.
    pub to: UnixMs,
    /// Labels that only tell who recorded a series.
    pub drop_labels: Vec<String>,
    /// Samples of one target that may be held.
    pub samples_max: usize,
    /// The `Authorization` header: a secret.
    pub authorization: Option<String>,
}

/// Why a Prometheus' series could not be judged.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PrometheusError {
    /// No answer, or one that says no.
    #[error("failed to ask Prometheus{}", answered(source))]
    Fetch {
        /// Why.
        #[source]
        source: FetchError,
    },
    /// The answer is no answer of Prometheus' API.
    #[error("failed to read the answer of {url}")]
    Answer {
        /// What was asked.
        url: String,
        /// What is wrong.
        #[source]
        source: WireError,
    },
    /// The list of series is no answer of Prometheus' API.
    #[error("failed to read the list of series of {url}")]
    List {
        /// What was asked.
        url: String,
        /// What is wrong.
        #[source]
        source: serde_json::Error,
    },
    /// Prometheus says no.
    #[error("{url} refused: {said}")]
    Refused {
        /// What was asked.
        url: String,
        /// In its words.
        said: String,
    },
    /// No series tells anything about memory.
    #[error("no series of `{selectors}` between {from} and {to} tells anything about memory")]
    Nothing {
        /// What was asked for.
        selectors: String,
        /// From.
        from: String,
        /// To.
        to: String,
    },
    /// Nobody listens any more, or listening failed.
    #[error("failed to tell what was found")]
    Tell(#[source] io::Error),
}

/// What a server said with a status that is no success.
fn answered(error: &FetchError) -> String {
    match error {
        FetchError::Status { excerpt, .. } if !excerpt.is_empty() => {
            format!(": it says `{}`", excerpt.trim())
        }
        _ => String::new(),
    }
}

impl PrometheusError {
    /// What a user can do about it, where we know.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        let fetch = match self {
            Self::Fetch { source } => source,
            Self::Nothing { .. } => {
                return Some(
                    "a graph of process_resident_memory_bytes with this selector should show something; \
                     containers' series need a selector of their own, which may be given beside the first",
                );
            }
            Self::Answer { .. } | Self::List { .. } => {
                return Some(
                    "the URL is what stands before /api/v1, such as http://prometheus:9090",
                );
            }
            _ => return None,
        };
        match fetch {
            FetchError::TooLarge { .. } | FetchError::Timeout { .. } => {
                Some("ask for less at a time: a narrower --selector, or a shorter --last")
            }
            FetchError::Status {
                status: 401 | 403, ..
            } => Some("credentials: --bearer-token-file FILE, or http://user:password@host"),
            FetchError::Status { status: 400, .. } => {
                Some("is the selector one that PromQL knows? such as '{job=\"shop\"}'")
            }
            FetchError::Status { status: 404, .. } => {
                Some("the URL is what stands before /api/v1, such as http://prometheus:9090")
            }
            _ => None,
        }
    }
}

/// Judges all targets that `order` selects, one after another. Computes between two questions: for a runtime
/// that has nothing else to do.
///
/// # Errors
/// [`PrometheusError`]. What was told before it holds.
pub async fn judge_prometheus(
    order: &Order,
    fetcher: &Fetcher,
    tell: &mut Tell<'_>,
) -> Result<Remarks, PrometheusError> {
    let api = Api { order, fetcher };
    let wanted = api.list().await?;
    if wanted.is_empty() {
        return Err(PrometheusError::Nothing {
            selectors: order.selectors.join(" "),
            from: order.from.rfc3339(),
            to: order.to.rfc3339(),
        });
    }
    let mut remarks = Remarks::default();
    let mut range_ms = RANGE_FIRST_MS;
    for (place, one) in wanted.values().enumerate() {
        let mut gather = Gather::new(order.drop_labels.clone(), order.samples_max);
        for selector in &order.selectors {
            let query = one.query(selector);
            let mut from = order.from;
            while from < order.to {
                let to = api.fetch(&query, from, &mut range_ms, &mut gather).await?;
                let part = to.since(order.from).as_secs_f64()
                    / order.to.since(order.from).as_secs_f64().max(1.0);
                tell(&Progress::Asked {
                    target: place + 1,
                    of: wanted.len(),
                    part,
                })
                .map_err(PrometheusError::Tell)?;
                from = to;
            }
        }
        add(&mut remarks.counts, gather.counts());
        replay_all(&mut gather, tell).map_err(PrometheusError::Tell)?;
        remarks.too_large.extend(gather.too_large());
    }
    Ok(remarks)
}

fn add(all: &mut Counts, one: Counts) {
    all.kept += one.kept;
    all.other += one.other;
    all.timeless += one.timeless;
    all.out_of_order += one.out_of_order;
    all.series_too_many += one.series_too_many;
}

/// The series of one unit.
#[derive(Debug, Default)]
struct Wanted {
    names: BTreeSet<String>,
    /// One of them tells memory: others alone are not worth asking for.
    tells: bool,
    /// What picks them out.
    matchers: Vec<(&'static str, String)>,
}

impl Wanted {
    fn new(unit: &Unit, labels: &Labels) -> Self {
        let kubernetes = |new, old| if labels.get(new).is_some() { new } else { old };
        let (names, values) = match unit {
            Unit::Container(values) => {
                let pod = kubernetes("pod", "pod_name");
                let container = kubernetes("container", "container_name");
                (["cluster", "namespace", pod, container], values)
            }
            Unit::Instance(values) => (["cluster", "namespace", "job", "instance"], values),
        };
        let values = values.iter().map(ToString::to_string);
        Self {
            names: BTreeSet::new(),
            tells: false,
            matchers: names.into_iter().zip(values).collect(),
        }
    }

    /// `selector` with what picks these series out of its own.
    fn query(&self, selector: &str) -> String {
        let selector = selector.trim();
        let mut matchers: Vec<String> = self
            .matchers
            .iter()
            .map(|(name, value)| format!("{name}={}", quoted(value)))
            .collect();
        let named = !selector.starts_with('{');
        // A selector with a name before its braces may have no second one.
        if !named && self.names.len() <= NAMES_MAX {
            // Names of metrics need no escapes in a regular expression.
            let names: Vec<&str> = self.names.iter().map(String::as_str).collect();
            matchers.push(format!("__name__=~{}", quoted(&names.join("|"))));
        }
        let matchers = matchers.join(",");
        match selector.strip_suffix('}') {
            Some(open) => {
                let open = open.trim_end();
                let comma = if open.ends_with(['{', ',']) { "" } else { "," };
                format!("{open}{comma}{matchers}}}")
            }
            None => format!("{selector}{{{matchers}}}"),
        }
    }
}

/// A string literal of PromQL.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// What `/api/v1/series` answers.
#[derive(Deserialize)]
struct Listed {
    #[serde(default)]
    data: Vec<Labels>,
    error: Option<String>,
}

struct Api<'a> {
    order: &'a Order,
    fetcher: &'a Fetcher,
}

impl Api<'_> {
    fn url(&self, of: &str) -> String {
        format!("{}/api/v1/{of}", self.order.url.trim_end_matches('/'))
    }

    async fn post(&self, url: &str, form: &[(&str, &str)]) -> Result<Response, FetchError> {
        let pairs = form
            .iter()
            .map(|(name, value)| format!("{}={}", encoded(name), encoded(value)));
        let request = Request {
            url,
            timeout: TIMEOUT,
            body_bytes_max: ANSWER_BYTES_MAX,
            accept: Some("application/json"),
        };
        let post = Post {
            content_type: "application/x-www-form-urlencoded",
            authorization: self.order.authorization.as_deref(),
            body: pairs.collect::<Vec<_>>().join("&").into_bytes(),
        };
        self.fetcher.post(&request, post).await
    }

    /// The series that matter, by unit.
    async fn list(&self) -> Result<BTreeMap<Unit, Wanted>, PrometheusError> {
        let url = self.url("series");
        let (from, to) = (seconds(self.order.from), seconds(self.order.to));
        let mut wanted = BTreeMap::<Unit, Wanted>::new();
        for selector in &self.order.selectors {
            let form = [
                ("match[]", selector.as_str()),
                ("start", &from),
                ("end", &to),
            ];
            let answer = self.post(&url, &form).await;
            let answer = answer.map_err(|source| PrometheusError::Fetch { source })?;
            let listed: Listed =
                serde_json::from_slice(&answer.body).map_err(|source| PrometheusError::List {
                    url: url.clone(),
                    source,
                })?;
            if let Some(said) = listed.error {
                return Err(PrometheusError::Refused { url, said });
            }
            for labels in &listed.data {
                let Some(place) = place(labels, &self.order.drop_labels) else {
                    continue;
                };
                let entry = wanted.entry(place.unit);
                let one = entry.or_insert_with_key(|unit| Wanted::new(unit, labels));
                one.tells |= place.what.tells_memory(labels.name());
                one.names.insert(labels.name().to_owned());
            }
        }
        wanted.retain(|_, one| one.tells);
        Ok(wanted)
    }

    /// Asks for the samples from `from` on, for as long a time as an answer is borne. Returns its end.
    async fn fetch(
        &self,
        query: &str,
        from: UnixMs,
        range_ms: &mut i64,
        gather: &mut Gather,
    ) -> Result<UnixMs, PrometheusError> {
        let url = self.url("query");
        loop {
            let to = UnixMs(self.order.to.0.min(from.0.saturating_add(*range_ms)));
            // One more: since Prometheus 3 a range has no beginning. What comes twice is kept once.
            let range = to.0.saturating_sub(from.0) + 1;
            let text = format!("{query}[{range}ms]");
            let form = [("query", text.as_str()), ("time", &seconds(to))];
            let answer = match self.post(&url, &form).await {
                Ok(answer) => answer,
                Err(error) if is_too_much(&error) && *range_ms > RANGE_LEAST_MS => {
                    *range_ms = (*range_ms / 2).max(RANGE_LEAST_MS);
                    continue;
                }
                Err(source) => return Err(PrometheusError::Fetch { source }),
            };
            let read = parse_series_json(&answer.body, &mut |sample| gather.push(sample));
            let told = read.map_err(|source| PrometheusError::Answer {
                url: url.clone(),
                source,
            })?;
            if told.status != "success" {
                let said = told
                    .error
                    .unwrap_or_else(|| "it gives no status".to_owned());
                return Err(PrometheusError::Refused { url, said });
            }
            if answer.body.len() > ANSWER_BYTES_WANTED {
                *range_ms = (*range_ms / 2).max(RANGE_LEAST_MS);
            } else if answer.body.len() < ANSWER_BYTES_WANTED / 4 {
                *range_ms = (*range_ms * 2).min(RANGE_MOST_MS);
            }
            return Ok(to);
        }
    }
}

/// Whether less at a time may go well: the answer is too long, took too long, or needs more samples than a query may
/// touch (422), more time than it may take (503, 504), or is refused by the proxy before it (413).
fn is_too_much(error: &FetchError) -> bool {
    matches!(
        error,
        FetchError::TooLarge { .. }
            | FetchError::Timeout { .. }
            | FetchError::Status {
                status: 413 | 422 | 503 | 504,
                ..
            }
    )
}

fn seconds(at: UnixMs) -> String {
    let millis = at.0;
    let sign = if millis < 0 { "-" } else { "" };
    let millis = millis.unsigned_abs();
    format!("{sign}{}.{:03}", millis / 1000, millis % 1000)
}

/// As a form has it.
fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + text.len() / 2);
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' => {
                out.push(char::from(byte))
            }
            byte => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors_are_narrowed() {
        let labels = Labels::metric("up", [("job", "a\"b"), ("instance", "i")]);
        let unit = Unit::Instance(["".into(), "".into(), "a\"b".into(), "i".into()]);
        let mut wanted = Wanted::new(&unit, &labels);
        wanted.names.extend(["x".to_owned(), "y".to_owned()]);
        let own = r#"cluster="",namespace="",job="a\"b",instance="i""#;
        for (selector, want) in [
            (
                r#"{job=~"a.*"}"#,
                format!(r#"{{job=~"a.*",{own},__name__=~"x|y"}}"#),
            ),
            (" {} ", format!(r#"{{{own},__name__=~"x|y"}}"#)),
            (
                r#"{job="a", }"#,
                format!(r#"{{job="a",{own},__name__=~"x|y"}}"#),
            ),
            ("go_goroutines", format!("go_goroutines{{{own}}}")),
            (
                r#"go_goroutines{job="a"}"#,
                format!(r#"go_goroutines{{job="a",{own}}}"#),
            ),
        ] {
            assert_eq!(wanted.query(selector), want);
        }
        let old = Labels::metric(
            "container_memory_rss",
            [("pod_name", "p"), ("container_name", "c")],
        );
        let unit = Unit::Container(["".into(), "n".into(), "p".into(), "c".into()]);
        let query = Wanted::new(&unit, &old).query("container_memory_rss");
        assert_eq!(
            query,
            r#"container_memory_rss{cluster="",namespace="n",pod_name="p",container_name="c"}"#
        );
    }

    #[test]
    fn times_and_forms_are_written_as_they_are_read() {
        assert_eq!(seconds(UnixMs(1_767_225_600_050)), "1767225600.050");
        assert_eq!(seconds(UnixMs(-1_500)), "-1.500");
        assert_eq!(encoded("{a=\"é\"}&b"), "%7Ba%3D%22%C3%A9%22%7D%26b");
    }
}
