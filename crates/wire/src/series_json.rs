//! Recorded series in JSON: one object a line with `labels` and `samples`, or an answer of Prometheus' API.
//!
//! ```json
//! {"labels": {"__name__": "process_resident_memory_bytes", "job": "shop"}, "samples": [[1767225600, 5e7]]}
//! {"status": "success", "data": {"resultType": "matrix", "result": [{"metric": {}, "values": [[1767225600, "5e7"]]}]}}
//! ```
//!
//! Times are seconds since 1970 (see [`crate::unix_ms`]); values are numbers, or numbers in quotes, which may
//! also be `NaN`, `+Inf` and `-Inf`. Other keys are passed over. The labels of a series stand before its samples.
//!
//! Samples are handed out as they are read, so that memory does not depend on the length of the text: no more
//! than [`QUIET_BYTES_MAX`] may pass without one.

use std::cell::Cell;
use std::fmt;
use std::io::{self, BufRead, Read};

use model::Labels;
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::error::WireError;
use crate::float::parse_float;
use crate::scrape::ScrapedSample;
use crate::stream::unix_ms;

/// Bytes that may pass without a sample in them.
pub const QUIET_BYTES_MAX: usize = 4 << 20;

/// What an answer says beside its series.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ApiAnswer {
    /// `status`, empty where the text is no answer of the API.
    pub status: String,
    /// `errorType` and `error`, if it is one.
    pub error: Option<String>,
}

/// Reads all documents of `text`, one after another, and hands out their samples.
///
/// # Errors
/// [`WireError::SeriesJson`], also where the text cannot be read; the samples before the place have been handed
/// out.
pub fn read_series_json(
    text: impl BufRead,
    each: &mut dyn FnMut(ScrapedSample),
) -> Result<ApiAnswer, WireError> {
    let (quiet, lines) = (Cell::new(0), Cell::new(1));
    let mut reader = Bounded {
        inner: text,
        quiet: &quiet,
        lines: &lines,
    };
    let mut told = ApiAnswer::default();
    loop {
        let begins = reader.skip_blanks();
        let line = lines.get();
        let wrong = |source| WireError::SeriesJson { line, source };
        if !begins.map_err(serde_json::Error::io).map_err(wrong)? {
            return Ok(told);
        }
        let out = &mut Out {
            each,
            quiet: &quiet,
            told: &mut told,
        };
        let mut json = serde_json::Deserializer::from_reader(&mut reader);
        Node { out }.deserialize(&mut json).map_err(wrong)?;
    }
}

/// As [`read_series_json`], of one document that is in memory already.
///
/// # Errors
/// [`WireError::SeriesJson`].
pub fn parse_series_json(
    text: &[u8],
    each: &mut dyn FnMut(ScrapedSample),
) -> Result<ApiAnswer, WireError> {
    let wrong = |source| WireError::SeriesJson { line: 1, source };
    let mut told = ApiAnswer::default();
    let out = &mut Out {
        each,
        quiet: &Cell::new(0),
        told: &mut told,
    };
    let mut json = serde_json::Deserializer::from_slice(text);
    Node { out }.deserialize(&mut json).map_err(wrong)?;
    json.end().map_err(wrong)?;
    Ok(told)
}

/// Refuses what goes on for too long without a sample, before it is kept.
struct Bounded<'c, R> {
    inner: R,
    quiet: &'c Cell<usize>,
    lines: &'c Cell<usize>,
}

impl<R: BufRead> Bounded<'_, R> {
    /// Whether anything but blanks follows; on its first byte then.
    fn skip_blanks(&mut self) -> io::Result<bool> {
        loop {
            let bytes = self.inner.fill_buf()?;
            let blank = |byte: &&u8| byte.is_ascii_whitespace();
            let blanks = bytes.iter().take_while(blank).count();
            let feeds = bytes[..blanks]
                .iter()
                .filter(|&&byte| byte == b'\n')
                .count();
            self.lines.set(self.lines.get() + feeds);
            let (found, ended) = (blanks < bytes.len(), bytes.is_empty());
            self.inner.consume(blanks);
            if found || ended {
                return Ok(found);
            }
        }
    }
}

impl<R: Read> Read for Bounded<'_, R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(into)?;
        let bytes = into.get(..read).unwrap_or_default();
        let feeds = bytes.iter().filter(|&&byte| byte == b'\n').count();
        self.lines.set(self.lines.get() + feeds);
        self.quiet.set(self.quiet.get() + read);
        if self.quiet.get() > QUIET_BYTES_MAX {
            let why = format!("{QUIET_BYTES_MAX} bytes without a sample");
            return Err(io::Error::new(io::ErrorKind::InvalidData, why));
        }
        Ok(read)
    }
}

/// Where what is read goes.
struct Out<'o> {
    each: &'o mut dyn FnMut(ScrapedSample),
    quiet: &'o Cell<usize>,
    told: &'o mut ApiAnswer,
}

/// A series, what holds series, or a list of these.
struct Node<'n, 'o> {
    out: &'n mut Out<'o>,
}

impl<'de> DeserializeSeed<'de> for Node<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Node<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with `labels` and `samples`, or an answer of Prometheus' API")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        while list.next_element_seed(Node { out: self.out })?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut labels: Option<Labels> = None;
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "labels" | "metric" => labels = Some(map.next_value()?),
                "samples" | "values" | "value" => {
                    let labels = labels.as_ref().ok_or_else(|| {
                        A::Error::custom(format!("`labels` has to stand before `{key}`"))
                    })?;
                    let out = &mut *self.out;
                    match key.as_str() {
                        "value" => map.next_value_seed(Point { labels, out })?,
                        _ => map.next_value_seed(Points { labels, out })?,
                    }
                }
                "data" | "result" => map.next_value_seed(Node { out: self.out })?,
                "status" => self.out.told.status = map.next_value()?,
                "errorType" | "error" => {
                    let said: String = map.next_value()?;
                    self.out.told.error = Some(match self.out.told.error.take() {
                        Some(before) => format!("{before}: {said}"),
                        None => said,
                    });
                }
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(())
    }
}

/// The samples of one series.
struct Points<'n, 'o> {
    labels: &'n Labels,
    out: &'n mut Out<'o>,
}

impl<'de> DeserializeSeed<'de> for Points<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Points<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of samples")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        let Self { labels, out } = self;
        while list.next_element_seed(Point { labels, out })?.is_some() {}
        Ok(())
    }
}

/// One sample.
struct Point<'n, 'o> {
    labels: &'n Labels,
    out: &'n mut Out<'o>,
}

impl<'de> DeserializeSeed<'de> for Point<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Point<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a sample, [seconds, value]")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut pair: A) -> Result<(), A::Error> {
        let missing = |place| A::Error::invalid_length(place, &"a sample, [seconds, value]");
        let Number(time) = pair.next_element()?.ok_or_else(|| missing(0))?;
        let Number(value) = pair.next_element()?.ok_or_else(|| missing(1))?;
        let wrong = || A::Error::custom(format!("{time} is no time in seconds since 1970"));
        self.out.quiet.set(0);
        (self.out.each)(ScrapedSample {
            labels: self.labels.clone(),
            value,
            timestamp: Some(unix_ms(time).ok_or_else(wrong)?),
        });
        Ok(())
    }
}

/// A number, in quotes or not.
struct Number(f64);

impl<'de> serde::Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        struct Digits;
        impl Visitor<'_> for Digits {
            type Value = Number;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number, in quotes or not")
            }

            fn visit_f64<E>(self, value: f64) -> Result<Number, E> {
                Ok(Number(value))
            }

            fn visit_u64<E>(self, value: u64) -> Result<Number, E> {
                Ok(Number(value as f64))
            }

            fn visit_i64<E>(self, value: i64) -> Result<Number, E> {
                Ok(Number(value as f64))
            }

            fn visit_unit<E>(self) -> Result<Number, E> {
                Ok(Number(f64::NAN)) // what many writers make of NaN
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Number, E> {
                let value = parse_float(text).map(Number);
                value.ok_or_else(|| E::invalid_value(serde::de::Unexpected::Str(text), &self))
            }
        }
        json.deserialize_any(Digits)
    }
}

#[cfg(test)]
mod tests {
    use std::io::BufReader;

    use model::UnixMs;

    use super::*;

    fn read(text: &[u8]) -> Result<(Vec<String>, ApiAnswer), String> {
        let mut got = Vec::new();
        let mut each = |sample: ScrapedSample| {
            let time = sample.timestamp.map_or(0, |time: UnixMs| time.0);
            got.push(format!("{} {} {time}", sample.labels, sample.value));
        };
        let told = read_series_json(BufReader::with_capacity(7, text), &mut each);
        let in_words = |error: WireError| {
            let cause = std::error::Error::source(&error).map(ToString::to_string);
            format!("{error}: {}", cause.unwrap_or_default())
        };
        told.map_err(in_words).map(|told| (got, told))
    }

    #[test]
    fn lines_and_answers_of_the_api_give_their_samples() {
        let lines =
            br#"{"labels":{"__name__":"a","job":"x"},"samples":[[1.5,2],[3,"+Inf"],[4,null]]}

            {"metric":{"__name__":"b"},"more":{"deep":[1]},"values":[[5,"6"]]}"#;
        let want = [
            "a{job=\"x\"} 2 1500",
            "a{job=\"x\"} inf 3000",
            "a{job=\"x\"} NaN 4000",
            "b 6 5000",
        ];
        assert_eq!(read(lines).unwrap().0, want);
        let answer = br#"{"status":"success","data":{"resultType":"matrix","result":[
            {"metric":{"__name__":"a"},"values":[[1,"2"]]},{"metric":{"__name__":"b"},"value":[3,"4"]}]}}"#;
        let (got, told) = read(answer).unwrap();
        assert_eq!(got, ["a 2 1000", "b 4 3000"]);
        assert_eq!((told.status.as_str(), told.error), ("success", None));
        let mut same = Vec::new();
        parse_series_json(answer, &mut |sample| same.push(sample.value)).unwrap();
        assert_eq!(same, [2.0, 4.0]);
        let failed = br#"{"status":"error","errorType":"bad_data","error":"no such"}"#;
        let (got, told) = read(failed).unwrap();
        assert_eq!(
            (got.len(), told.error.as_deref()),
            (0, Some("bad_data: no such"))
        );
        assert_eq!(read(b" \n").unwrap().0.len(), 0, "nothing");
    }

    #[test]
    fn errors_say_where_and_why() {
        for (why, text, want) in [
            ("cut off", "{\"labels\":{}}\n{\"labels\":{\"a\"", "line 2"),
            ("no object", "7", "an object with `labels`"),
            (
                "samples first",
                r#"{"samples":[[1,2]],"labels":{}}"#,
                "`labels` has to stand before `samples`",
            ),
            (
                "half a sample",
                r#"{"labels":{},"samples":[[1]]}"#,
                "[seconds, value]",
            ),
            (
                "no number",
                r#"{"labels":{},"samples":[[1,"x"]]}"#,
                "a number, in quotes or not",
            ),
            (
                "no time",
                r#"{"labels":{},"samples":[[1e300,1]]}"#,
                "is no time",
            ),
        ] {
            let error = read(text.as_bytes()).unwrap_err();
            assert!(error.contains(want), "{why}: {error}");
        }
        let endless = format!("{{\"labels\":{{\"a\":\"{}", "x".repeat(QUIET_BYTES_MAX));
        let error = read(endless.as_bytes()).unwrap_err();
        assert!(error.contains("without a sample"), "{error}");
        let deep = "[".repeat(100_000);
        assert!(read(deep.as_bytes()).is_err());
    }
}
