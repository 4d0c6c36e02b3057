//! Go's `expvar` page, `/debug/vars`: one JSON object, with `runtime.MemStats` under `memstats`.
//!
//! Reading this page stops the target's world for a moment (`ReadMemStats`), so it is a source for
//! targets that offer nothing better.

use std::fmt;

use model::Labels;
use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::error::WireError;
use crate::memstats::MemStats;
use crate::scrape::{Limits, Scrape, ScrapedSample};

/// Parses an expvar page: `memstats` under client_golang's names, and every other number at the
/// top of the object as an untyped sample of its own name (signs outside the metric alphabet
/// become `_`).
///
/// # Errors
/// [`WireError::Json`] for what is no JSON object or has a `memstats` of another shape;
/// [`WireError::Limit`] above `limits`.
pub fn parse_expvar(body: &[u8], limits: &Limits) -> Result<Scrape, WireError> {
    let (found, limit) = (body.len(), limits.body_bytes_max);
    if found > limit {
        return Err(WireError::Limit {
            what: "body bytes",
            found,
            limit,
        });
    }
    let page: Page = serde_json::from_slice(body).map_err(WireError::Json)?;
    let mut out = Scrape::default();
    page.memstats.put(&mut out);
    for (key, value) in page.numbers {
        if out.samples.len() >= limits.samples_max {
            let (found, limit) = (out.samples.len() + 1, limits.samples_max);
            return Err(WireError::Limit {
                what: "samples",
                found,
                limit,
            });
        }
        if !key.is_empty() && key.len() <= limits.name_bytes_max {
            out.samples.push(ScrapedSample {
                labels: Labels::metric(&metric_name(&key), []),
                value,
                timestamp: None,
            });
        }
    }
    Ok(out)
}

fn metric_name(key: &str) -> String {
    let fit = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
    let mut name: String = key.chars().map(fit).collect();
    if name.starts_with(|c: char| c.is_ascii_digit()) {
        name.insert(0, '_');
    }
    name
}

#[derive(Default)]
struct Page {
    memstats: MemStats,
    numbers: Vec<(String, f64)>,
}

impl<'de> Deserialize<'de> for Page {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct PageVisitor;
        impl<'de> Visitor<'de> for PageVisitor {
            type Value = Page;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of variables")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Page, A::Error> {
                let mut page = Page::default();
                while let Some(key) = map.next_key::<String>()? {
                    if key == "memstats" {
                        page.memstats = map.next_value()?;
                    } else if let Some(number) = map.next_value::<MaybeNumber>()?.0 {
                        page.numbers.push((key, number));
                    }
                }
                Ok(page)
            }
        }
        deserializer.deserialize_map(PageVisitor)
    }
}

/// A number, or anything else, skipped.
struct MaybeNumber(Option<f64>);

impl<'de> Deserialize<'de> for MaybeNumber {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NumberVisitor;
        impl<'de> Visitor<'de> for NumberVisitor {
            type Value = MaybeNumber;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a variable")
            }
            fn visit_f64<E>(self, value: f64) -> Result<MaybeNumber, E> {
                Ok(MaybeNumber(Some(value)))
            }
            fn visit_u64<E>(self, value: u64) -> Result<MaybeNumber, E> {
                Ok(MaybeNumber(Some(value as f64)))
            }
            fn visit_i64<E>(self, value: i64) -> Result<MaybeNumber, E> {
                Ok(MaybeNumber(Some(value as f64)))
            }
            fn visit_bool<E>(self, _: bool) -> Result<MaybeNumber, E> {
                Ok(MaybeNumber(None))
            }
            fn visit_str<E>(self, _: &str) -> Result<MaybeNumber, E> {
                Ok(MaybeNumber(None))
            }
            fn visit_unit<E>(self) -> Result<MaybeNumber, E> {
                Ok(MaybeNumber(None))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<MaybeNumber, A::Error> {
                while seq.next_element::<IgnoredAny>()?.is_some() {}
                Ok(MaybeNumber(None))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<MaybeNumber, A::Error> {
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(MaybeNumber(None))
            }
        }
        deserializer.deserialize_any(NumberVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memstats_and_plain_numbers_are_read() {
        let body = br#"{
            "cmdline": ["/shop", "-x"], "goroutines": 12, "2.cache size": -1.5, "ok": true,
            "nested": {"a": [1, {"b": null}]}, "nothing": null,
            "memstats": {"HeapAlloc": 1048576, "LastGC": 1795384200123456789, "NumGC": 7,
                "MSpanInuse": 99, "BySize": [{"Size": 8, "Mallocs": 1}], "EnableGC": true}}"#;
        let scrape = parse_expvar(body, &Limits::default()).expect("a good page");
        let value = |name: &str| {
            let mut all = scrape.samples.iter();
            all.find(|sample| sample.labels.name() == name)
                .map(|sample| sample.value)
        };
        assert_eq!(value("go_memstats_heap_alloc_bytes"), Some(1_048_576.0));
        assert_eq!(value("go_memstats_mspan_inuse_bytes"), Some(99.0));
        assert_eq!(value("go_gc_duration_seconds_count"), Some(7.0));
        let last = value("go_memstats_last_gc_time_seconds").expect("the last collection");
        assert!((last - 1_795_384_200.123).abs() < 0.001);
        assert_eq!(
            (value("goroutines"), value("_2_cache_size")),
            (Some(12.0), Some(-1.5))
        );
        assert_eq!(scrape.samples.len(), 6, "absent figures are not zeros");
    }

    #[test]
    fn other_pages_are_errors() {
        let deep = "[".repeat(100_000);
        for (why, body) in [
            ("not JSON", "go_goroutines 1\n"),
            ("not an object", "[1]"),
            ("cut off", r#"{"memstats": {"HeapAlloc": 1"#),
            (
                "memstats of another shape",
                r#"{"memstats": {"HeapAlloc": "much"}}"#,
            ),
            ("too deep", &format!(r#"{{"a": {deep}"#)),
        ] {
            let error = parse_expvar(body.as_bytes(), &Limits::default());
            assert!(matches!(error, Err(WireError::Json(_))), "{why}: {error:?}");
        }
        let limits = Limits {
            body_bytes_max: 3,
            samples_max: 1,
            ..Limits::default()
        };
        assert!(matches!(
            parse_expvar(b"{   }", &limits),
            Err(WireError::Limit { .. })
        ));
        let limits = Limits {
            samples_max: 1,
            ..limits
        };
        let limits = Limits {
            body_bytes_max: 99,
            ..limits
        };
        let error = parse_expvar(br#"{"a": 1, "b": 2}"#, &limits);
        assert!(matches!(
            error,
            Err(WireError::Limit {
                what: "samples",
                ..
            })
        ));
    }
}
