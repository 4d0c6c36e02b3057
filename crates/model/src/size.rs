//! Sizes as people write them: `1GiB`, `512MB`, or bytes.

use serde::{Deserialize, Deserializer, de::Error};

/// A text that is not a size.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected a size such as 1GiB or 512MB, found `{0}`")]
pub struct ParseSizeError(pub String);

/// Reads a whole number with a unit, or of bytes.
///
/// # Errors
/// [`ParseSizeError`] with the text.
pub fn parse_size(text: &str) -> Result<u64, ParseSizeError> {
    size_of(text).ok_or_else(|| ParseSizeError(text.chars().take(60).collect()))
}

fn size_of(text: &str) -> Option<u64> {
    const UNITS: [(&str, u64); 9] = [
        ("KiB", 1 << 10),
        ("MiB", 1 << 20),
        ("GiB", 1 << 30),
        ("TiB", 1 << 40),
        ("KB", 1_000),
        ("MB", 1_000_000),
        ("GB", 1_000_000_000),
        ("TB", 1_000_000_000_000),
        ("B", 1),
    ];
    let (number, unit) = UNITS
        .iter()
        .find_map(|(name, unit)| Some((text.strip_suffix(name)?, *unit)))
        .unwrap_or((text, 1));
    let number = number.trim();
    let digits = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    let number: u64 = digits.then(|| number.parse().ok())??;
    number.checked_mul(unit)
}

/// `30.2 MiB`: three figures are enough to compare by.
#[must_use]
pub fn size_in_words(bytes: f64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let (mut scaled, mut unit) = (bytes, 0);
    while scaled.abs() >= 1000.0 && unit + 1 < UNITS.len() {
        scaled /= 1024.0;
        unit += 1;
    }
    match unit == 0 || scaled.abs() >= 100.0 {
        true => format!("{scaled:.0} {}", UNITS[unit]),
        false => format!("{scaled:.1} {}", UNITS[unit]),
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Written {
    Bytes(u64),
    Text(String),
}

/// `#[serde(deserialize_with = "...")]` for a size: text, or a number of bytes.
///
/// # Errors
/// If it is neither.
pub fn size<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    match Written::deserialize(deserializer)? {
        Written::Bytes(bytes) => Ok(bytes),
        Written::Text(text) => parse_size(&text).map_err(D::Error::custom),
    }
}

/// The same, or `auto`, which is `None`.
///
/// # Errors
/// If it is neither.
pub fn size_or_auto<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    match Written::deserialize(deserializer)? {
        Written::Bytes(bytes) => Ok(Some(bytes)),
        Written::Text(text) if text == "auto" => Ok(None),
        Written::Text(text) => parse_size(&text).map(Some).map_err(D::Error::custom),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_with_their_units() {
        let rows = [
            ("1GiB", Some(1 << 30)),
            ("512 MiB", Some(512 << 20)),
            ("512MB", Some(512_000_000)),
            ("100", Some(100)),
            ("7B", Some(7)),
            ("", None),
            ("GiB", None),
            ("1.5GiB", None),
            ("-1MiB", None),
            ("1Gi", None),
            ("99999999999999TiB", None),
        ];
        for (text, bytes) in rows {
            assert_eq!(parse_size(text).ok(), bytes, "{text:?}");
        }
    }
}
