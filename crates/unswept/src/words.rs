//! Figures in words: bytes, rates, counts and spans as every command prints them.

use std::time::Duration;

use model::{GoSource, Growth, Judgement, UnixMs, Verdict};

use crate::text::Style;

/// `30.2 MiB`: three figures are enough to compare by.
pub(crate) fn bytes(value: f64) -> String {
    model::size::size_in_words(value)
}

/// Where the Go runtime's figures come from.
pub(crate) fn go_source(source: GoSource) -> &'static str {
    match source {
        GoSource::Metrics => "from /metrics",
        GoSource::Process => "read from the process",
        GoSource::Traces => "from gctrace lines in its log",
    }
}

/// Always in MiB, so that the lines of one table compare: `1,234.5`.
pub(crate) fn mib(value: i64) -> String {
    let tenths = (value as f64 * 10.0 / f64::from(1 << 20)).round() as i64;
    let sign = if tenths < 0 { "-" } else { "" };
    let tenths = tenths.unsigned_abs();
    format!("{sign}{}.{}", count(tenths / 10), tenths % 10)
}

/// `1,234,567`.
pub(crate) fn count(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A count that came as a number with a fraction.
pub(crate) fn count_f64(value: f64) -> String {
    count(value.max(0.0).round() as u64)
}

/// `97 %`.
pub(crate) fn percent(share: f64) -> String {
    // A confidence of 0.998 is not certainty.
    if (0.995..1.0).contains(&share) {
        return "> 99 %".into();
    }
    if share > 0.0 && share < 0.005 {
        return "< 1 %".into();
    }
    format!("{:.0} %", share * 100.0)
}

/// `1 min 55 s`, `3 h 10 min`: the two largest units.
pub(crate) fn seconds(value: f64) -> String {
    let total = value.max(0.0).round() as u64;
    let pair = |large: u64, large_unit: &str, small: u64, small_unit: &str| match small {
        0 => format!("{large} {large_unit}"),
        _ => format!("{large} {large_unit} {small} {small_unit}"),
    };
    match total {
        0..60 => format!("{total} s"),
        60..3_600 => pair(total / 60, "min", total % 60, "s"),
        3_600..86_400 => pair(total / 3_600, "h", total / 60 % 60, "min"),
        86_400..31_536_000 => pair(total / 86_400, "d", total / 3_600 % 24, "h"),
        _ => "more than a year".into(),
    }
}

/// `4h10m`: for columns.
pub(crate) fn short_seconds(value: f64) -> String {
    let total = value.max(0.0).round() as u64;
    match total {
        0..60 => format!("{total}s"),
        60..3_600 => format!("{}m{:02}s", total / 60, total % 60),
        3_600..86_400 => format!("{}h{:02}m", total / 3_600, total / 60 % 60),
        86_400..31_536_000 => format!("{}d{:02}h", total / 86_400, total / 3_600 % 24),
        _ => "> 1y".into(),
    }
}

/// `1 process`, `2 processes`.
pub(crate) fn processes(count: usize) -> String {
    format!("{count} process{}", if count == 1 { "" } else { "es" })
}

/// As [`seconds`], of a duration.
pub(crate) fn span(duration: Duration) -> String {
    seconds(duration.as_secs_f64())
}

/// `2 min 3 s ago`.
pub(crate) fn ago(at: UnixMs, now: UnixMs) -> String {
    format!("{} ago", span(now.since(at)))
}

/// `60.2 MiB/min`, `1,200 goroutines/min`.
pub(crate) fn rate(growth: &Growth) -> String {
    match growth.unit.as_str() {
        "bytes" => format!("{}/min", bytes(growth.per_minute)),
        unit => format!("{} {unit}/min", number(growth.per_minute)),
    }
}

/// `60.2 MiB/min (58.9 MiB to 61.5 MiB, 95 %)`.
pub(crate) fn rate_with_interval(growth: &Growth) -> String {
    let end = |value: f64| match growth.unit.as_str() {
        "bytes" => bytes(value),
        _ => number(value),
    };
    format!(
        "{} ({} to {}, {:.0} %)",
        rate(growth),
        end(growth.low),
        end(growth.high),
        growth.level * 100.0
    )
}

fn number(value: f64) -> String {
    if value.abs() < 10.0 {
        format!("{value:.1}")
    } else if value < 0.0 {
        format!("-{}", count_f64(-value))
    } else {
        count_f64(value)
    }
}

/// `1 h 2 min (58 min to 1 h 9 min)`: when the limit is reached.
pub(crate) fn time_to_limit(verdict: &Verdict) -> Option<String> {
    let left = verdict.seconds_to_limit?;
    Some(format!(
        "{} ({} to {})",
        seconds(left.estimate),
        seconds(left.low),
        seconds(left.high)
    ))
}

/// `leak go-heap 98 %`, `unsure`.
pub(crate) fn verdict(verdict: &Verdict) -> String {
    let mut text = verdict.verdict.as_str().to_owned();
    if let Some(kind) = verdict.kind {
        text.push(' ');
        text.push_str(kind.as_str());
    }
    if let Some(confidence) = verdict.confidence {
        text.push(' ');
        text.push_str(&percent(confidence));
    }
    text
}

/// How an answer is painted.
pub(crate) fn verdict_style(judgement: Judgement) -> Style {
    match judgement {
        Judgement::Leak => Style::Bad,
        Judgement::NoLeak => Style::Good,
        Judgement::Unsure => Style::Doubt,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_have_three_digits_and_a_unit() {
        let rows = [
            (0.0, "0 B"),
            (999.0, "999 B"),
            (1023.0, "1.0 KiB"),
            (31.67 * 1048576.0, "31.7 MiB"),
            (-412.3 * 1048576.0, "-412 MiB"),
            (1.5e12, "1.4 TiB"),
        ];
        for (value, text) in rows {
            assert_eq!(bytes(value), text);
        }
        assert_eq!(mib(1 << 30), "1,024.0");
        assert_eq!(mib(-157_286), "-0.1");
        assert_eq!(mib(-10), "0.0");
    }

    #[test]
    fn counts_are_grouped() {
        for (value, text) in [
            (0, "0"),
            (999, "999"),
            (1000, "1,000"),
            (1_234_567, "1,234,567"),
        ] {
            assert_eq!(count(value), text);
        }
    }

    #[test]
    fn spans_have_two_units() {
        let rows = [
            (-1.0, "0 s"),
            (59.6, "1 min"),
            (115.0, "1 min 55 s"),
            (11_400.0, "3 h 10 min"),
            (200_000.0, "2 d 7 h"),
            (1e18, "more than a year"),
            (f64::NAN, "0 s"),
        ];
        for (value, text) in rows {
            assert_eq!(seconds(value), text, "{value}");
        }
        let rows = [
            (59.6, "1m00s"),
            (15_000.0, "4h10m"),
            (2e5, "2d07h"),
            (1e18, "> 1y"),
        ];
        for (value, text) in rows {
            assert_eq!(short_seconds(value), text, "{value}");
        }
    }

    #[test]
    fn growth_carries_its_unit_and_interval() {
        let growth = |unit: &str| Growth {
            unit: unit.into(),
            per_minute: 1200.0,
            low: 1100.0,
            high: 1300.4,
            level: 0.95,
        };
        assert_eq!(
            rate_with_interval(&growth("bytes")),
            "1.2 KiB/min (1.1 KiB to 1.3 KiB, 95 %)"
        );
        assert_eq!(
            rate_with_interval(&growth("goroutines")),
            "1,200 goroutines/min (1,100 to 1,300, 95 %)"
        );
    }

    #[test]
    fn almost_certain_is_not_certain() {
        assert_eq!(percent(0.998), "> 99 %");
        assert_eq!(percent(0.98), "98 %");
        assert_eq!(percent(1.0), "100 %");
        assert_eq!(percent(0.004), "< 1 %");
        assert_eq!(percent(0.0), "0 %");
    }
}
