//! Times and durations in a query string, as Prometheus reads them.

use model::UnixMs;

use crate::error::ApiError;

/// A time: seconds since the epoch with a fraction, or RFC 3339 in UTC.
pub(crate) fn time(name: &str, text: &str) -> Result<UnixMs, ApiError> {
    let bad = || {
        ApiError::bad_data(format!(
            "invalid parameter \"{name}\": expected seconds since 1970 or a time such as \
             2026-11-21T22:30:00Z, found \"{}\"",
            text.chars().take(64).collect::<String>().escape_debug()
        ))
    };
    if let Ok(seconds) = text.parse::<f64>() {
        // A year of 9999 and its mirror: beyond it nothing is stored and sums would saturate.
        return match seconds.abs() < 253_402_300_800.0 {
            true => Ok(UnixMs((seconds * 1000.0).round() as i64)),
            false => Err(bad()),
        };
    }
    rfc3339(text).ok_or_else(bad)
}

/// RFC 3339 in UTC, with or without a fraction.
fn rfc3339(text: &str) -> Option<UnixMs> {
    let Some((whole, fraction)) = text.split_once('.') else {
        return UnixMs::parse_rfc3339(text);
    };
    let digits = fraction.strip_suffix('Z')?;
    if digits.is_empty() || digits.len() > 9 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let at = UnixMs::parse_rfc3339(&format!("{whole}Z"))?;
    let millis = format!("{digits:0<3}")[..3].parse::<i64>().ok()?;
    Some(UnixMs(at.0 + millis))
}

/// A duration in milliseconds: seconds with a fraction, or Prometheus' `1h30m`, `15s`, `500ms`.
pub(crate) fn duration_ms(name: &str, text: &str) -> Result<u64, ApiError> {
    let seconds = text.parse::<f64>().ok().map(|seconds| seconds * 1000.0);
    let millis = match seconds {
        Some(millis) => (1.0..1e15)
            .contains(&millis)
            .then_some(millis.round() as u64),
        None => units(text),
    };
    millis.filter(|&millis| millis > 0).ok_or_else(|| {
        ApiError::bad_data(format!(
            "invalid parameter \"{name}\": expected a duration above zero such as 15s, found \"{}\"",
            text.chars().take(64).collect::<String>().escape_debug()
        ))
    })
}

fn units(text: &str) -> Option<u64> {
    const UNITS: [(&str, u64); 7] = [
        ("ms", 1),
        ("s", 1000),
        ("m", 60_000),
        ("h", 3_600_000),
        ("d", 86_400_000),
        ("w", 604_800_000),
        ("y", 31_536_000_000),
    ];
    let (mut rest, mut sum) = (text, 0_u64);
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let number: u64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let letters = rest
            .find(|c: char| c.is_ascii_digit())
            .unwrap_or(rest.len());
        let (_, factor) = UNITS.iter().find(|(unit, _)| *unit == &rest[..letters])?;
        sum = sum.checked_add(number.checked_mul(*factor)?)?;
        rest = &rest[letters..];
    }
    Some(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        for (text, wanted) in [
            ("0", Some(0)),
            ("1700000000.25", Some(1_700_000_000_250)),
            ("1970-01-01T00:00:01Z", Some(1000)),
            ("1970-01-01T00:00:01.5Z", Some(1500)),
            ("1970-01-01T00:00:01.123456789Z", Some(1123)),
            ("1e300", None),
            ("NaN", None),
            ("", None),
            ("now", None),
            ("1970-01-01T00:00:01.Z", None),
            ("1970-01-01T00:00:01.xZ", None),
        ] {
            assert_eq!(time("time", text).ok().map(|at| at.0), wanted, "{text}");
        }
    }

    #[test]
    fn durations() {
        for (text, wanted) in [
            ("15", Some(15_000)),
            ("0.5", Some(500)),
            ("1h30m", Some(5_400_000)),
            ("500ms", Some(500)),
            ("0", None),
            ("-1", None),
            ("0s", None),
            ("inf", None),
            ("m", None),
            ("5", Some(5000)),
            ("5x", None),
            ("5é", None),
            ("99999999999999999999s", None),
            ("9999999999y", None),
        ] {
            assert_eq!(duration_ms("step", text).ok(), wanted, "{text}");
        }
    }
}
