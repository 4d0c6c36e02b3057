//! Durations as Prometheus writes them in its configuration: `15s`, `1h30m`.
//!
//! Source: Prometheus' documentation, "Configuration", the placeholder `<duration>`.

use std::time::Duration;

use serde::{Deserialize, Deserializer, de::Error};

/// A text that is not a duration in Prometheus' form.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected a duration such as 15s, 5m or 1h30m, found `{0}`")]
pub struct ParseDurationError(pub String);

/// Reads a duration as Prometheus writes them: numbers with the units `ms`, `s`, `m`, `h`, `d`,
/// `w`, `y`, biggest first; `0` needs none.
///
/// # Errors
/// [`ParseDurationError`] with the text.
pub fn parse_duration(text: &str) -> Result<Duration, ParseDurationError> {
    const UNITS: [(&str, u64); 7] = [
        ("y", 31_536_000_000),
        ("w", 604_800_000),
        ("d", 86_400_000),
        ("h", 3_600_000),
        ("m", 60_000),
        ("s", 1_000),
        ("ms", 1),
    ];
    let wrong = || ParseDurationError(text.chars().take(60).collect());
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let (mut rest, mut total_ms, mut units) = (text, 0_u64, UNITS.iter());
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
        let number: u64 = rest[..digits].parse().map_err(|_| wrong())?;
        let letters = rest[digits..].find(|c: char| c.is_ascii_digit());
        let (unit, after) = rest[digits..].split_at(letters.unwrap_or(rest.len() - digits));
        // Going on from the last unit found makes "biggest first, each once" hold by itself.
        let (_, ms) = units.find(|(name, _)| *name == unit).ok_or_else(wrong)?;
        let part = number.checked_mul(*ms).ok_or_else(wrong)?;
        total_ms = total_ms.checked_add(part).ok_or_else(wrong)?;
        rest = after;
    }
    if text.is_empty() {
        Err(wrong())
    } else {
        Ok(Duration::from_millis(total_ms))
    }
}

/// `#[serde(deserialize_with = "...")]` for a duration.
///
/// # Errors
/// If the text is not one.
pub fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    parse_duration(&text).map_err(D::Error::custom)
}

/// `#[serde(deserialize_with = "...")]` for a duration that may be absent.
///
/// # Errors
/// If the text is not one.
pub fn optional_duration<'de, D: Deserializer<'de>>(d: D) -> Result<Option<Duration>, D::Error> {
    duration(d).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_prometheus_does() {
        let rows = [
            ("15s", Some(15_000)),
            ("1h30m", Some(5_400_000)),
            ("250ms", Some(250)),
            ("1m5ms", Some(60_005)),
            ("30d", Some(2_592_000_000)),
            ("0", Some(0)),
            ("", None),
            ("15", None),
            ("s", None),
            ("30m1h", None),
            ("1h1h", None),
            ("1.5h", None),
            ("-1s", None),
            ("99999999999999999999s", None),
            ("9999999999999999y", None),
        ];
        for (text, ms) in rows {
            assert_eq!(
                parse_duration(text).ok(),
                ms.map(Duration::from_millis),
                "{text}"
            );
        }
    }
}
