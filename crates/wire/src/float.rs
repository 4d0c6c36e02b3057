//! Numbers as Go reads and writes them.

use std::fmt::Write;

/// A float as Prometheus takes it: Go's `ParseFloat` before 1.13, so neither hexadecimal floats nor
/// underscores; `inf`, `infinity` and `nan` in any case; no sign before `nan`; too big for a
/// float64 is an error and not infinity.
pub(crate) fn parse_float(text: &str) -> Option<f64> {
    let value: f64 = text.parse().ok()?;
    let first = text.bytes().next()?;
    if value.is_nan() && matches!(first, b'+' | b'-') {
        return None;
    }
    let spelled_out = || text.bytes().any(|byte| matches!(byte, b'i' | b'I'));
    if value.is_infinite() && !spelled_out() {
        return None;
    }
    // One NaN only, so that no text can forge a staleness marker.
    Some(if value.is_nan() { f64::NAN } else { value })
}

/// Writes `value` as the formats spell it: `NaN`, `+Inf`, `-Inf`, else the shortest digits that
/// read back equal, with an exponent outside 1e-6 to 1e21.
pub(crate) fn write_float(out: &mut String, value: f64) {
    if value.is_nan() {
        out.push_str("NaN");
    } else if value.is_infinite() {
        out.push_str(if value > 0.0 { "+Inf" } else { "-Inf" });
    } else if value != 0.0 && !(1e-6..1e21).contains(&value.abs()) {
        let _ = write!(out, "{value:e}"); // writing to a String cannot fail
    } else {
        let _ = write!(out, "{value}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_are_taken_as_prometheus_takes_them() {
        for (why, text, want) in [
            ("plain", "1", Some(1.0)),
            ("sign", "+1.5", Some(1.5)),
            ("no digit after the dot", "1.", Some(1.0)),
            ("no digit before it", "-.5", Some(-0.5)),
            ("exponent", "1.8e+07", Some(1.8e7)),
            ("capital exponent", "1E-3", Some(0.001)),
            ("infinity", "+Inf", Some(f64::INFINITY)),
            ("infinity, whole word", "-infinity", Some(f64::NEG_INFINITY)),
            ("infinity, no sign", "INF", Some(f64::INFINITY)),
            (
                "MaxInt64 as Go prints it",
                "9.223372036854776e+18",
                Some(9.223_372_036_854_776e18),
            ),
            ("underflow is zero", "1e-400", Some(0.0)),
            ("overflow", "1e400", None),
            ("hexadecimal", "0x1p-2", None),
            ("hexadecimal, no exponent", "0x10", None),
            ("underscore", "1_000", None),
            ("signed NaN", "+NaN", None),
            ("empty", "", None),
            ("dot", ".", None),
            ("part of a word", "infin", None),
            ("carriage return", "1\r", None),
            ("comma", "1,5", None),
        ] {
            assert_eq!(parse_float(text), want, "{why}: {text:?}");
        }
        for text in ["NaN", "nan"] {
            let value = parse_float(text).expect(text);
            assert!(
                value.is_nan() && !model::series::is_stale_marker(value),
                "{text}"
            );
        }
    }
}
