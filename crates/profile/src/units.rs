//! Values as pprof prints them: scaled to a unit, and as a percentage.
//! The words, factors and rounding are those of `go tool pprof` (its package `measurement`).

struct Unit {
    /// As printed.
    name: &'static str,
    aliases: &'static [&'static str],
    factor: f64,
}

struct Family {
    units: &'static [Unit],
    /// What a value too small for any unit is printed in.
    default: (&'static str, f64),
}

const fn unit(name: &'static str, aliases: &'static [&'static str], factor: f64) -> Unit {
    Unit {
        name,
        aliases,
        factor,
    }
}

const KIB: f64 = 1024.0;

const FAMILIES: [Family; 3] = [
    Family {
        units: &[
            unit("B", &["b", "byte"], 1.0),
            unit("kB", &["kb", "kbyte", "kilobyte"], KIB),
            unit("MB", &["mb", "mbyte", "megabyte"], KIB * KIB),
            unit("GB", &["gb", "gbyte", "gigabyte"], KIB * KIB * KIB),
            unit("TB", &["tb", "tbyte", "terabyte"], KIB * KIB * KIB * KIB),
            unit(
                "PB",
                &["pb", "pbyte", "petabyte"],
                KIB * KIB * KIB * KIB * KIB,
            ),
        ],
        default: ("B", 1.0),
    },
    Family {
        units: &[
            unit("ns", &["ns", "nanosecond"], 1.0),
            unit("us", &["μs", "us", "microsecond"], 1e3),
            unit("ms", &["ms", "millisecond"], 1e6),
            unit("s", &["s", "sec", "second"], 1e9),
            unit("hrs", &["hour", "hr"], 3600e9),
        ],
        default: ("s", 1e9),
    },
    Family {
        units: &[
            unit("n*GCU", &["nanogcu"], 1e-9),
            unit("u*GCU", &["microgcu"], 1e-6),
            unit("m*GCU", &["milligcu"], 1e-3),
            unit("GCU", &["gcu"], 1.0),
            unit("k*GCU", &["kilogcu"], 1e3),
            unit("M*GCU", &["megagcu"], 1e6),
            unit("G*GCU", &["gigagcu"], 1e9),
            unit("T*GCU", &["teragcu"], 1e12),
            unit("P*GCU", &["petagcu"], 1e15),
        ],
        default: ("GCU", 1.0),
    },
];

impl Family {
    fn find(&self, name: &str) -> Option<&'static Unit> {
        let lower = name.to_lowercase();
        let singular = lower
            .strip_suffix('s')
            .filter(|_| lower.len() > 2)
            .unwrap_or(&lower);
        self.units
            .iter()
            .find(|unit| unit.aliases.contains(&singular))
    }

    /// The largest unit of which `value`, in the family's base, is at least one.
    fn auto(&self, value: f64) -> (f64, &'static str) {
        let fits = self
            .units
            .iter()
            .rev()
            .find(|unit| value / unit.factor >= 1.0);
        fits.map_or((value / self.default.1, self.default.0), |u| {
            (value / u.factor, u.name)
        })
    }
}

/// `value` of the unit `from` in the unit `to`, and the word to print after it. `to` may be `auto`
/// or `minimum`: then the largest unit of which it is at least one.
pub(crate) fn scale<'a>(value: i64, from: &str, to: &'a str) -> (f64, &'a str) {
    if value < 0 && value != i64::MIN {
        let (scaled, unit) = scale(-value, from, to);
        return (-scaled, unit);
    }
    let known = FAMILIES
        .iter()
        .find_map(|family| Some((family, family.find(from)?)));
    let Some((family, from)) = known else {
        let silent = matches!(to, "count" | "sample" | "unit" | "minimum" | "auto");
        return (value as f64, if silent { "" } else { to });
    };
    let base = value as f64 * from.factor;
    if matches!(to, "minimum" | "auto") {
        return family.auto(base);
    }
    match family.find(to) {
        Some(to) => (base / to.factor, to.name),
        None => (base / family.default.1, family.default.0),
    }
}

/// `value`, which is in the unit `from`, printed in the unit `to` (or `auto`): `512.50kB`, `3`,
/// `1.10s`. At most two decimals, `.00` left out, zero without a unit.
pub fn scaled_label(value: i64, from: &str, to: &str) -> String {
    let (scaled, unit) = scale(value, from, to);
    let text = format!("{scaled:.2}");
    match text.strip_suffix(".00").unwrap_or(&text) {
        "0" | "-0" => "0".to_owned(),
        number => format!("{number}{unit}"),
    }
}

/// `value` as a share of `total`, in pprof's seven-character form: `43.21%`, ` 0.52%`, `  100%`.
/// The sign is left out, as pprof does; `    0%` of a total of 0.
pub fn percentage(value: i64, total: i64) -> String {
    let ratio = if total == 0 {
        0.0
    } else {
        (value as f64 / total as f64).abs() * 100.0
    };
    if (99.95..=100.05).contains(&ratio) {
        "  100%".to_owned()
    } else if ratio >= 1.0 {
        format!("{ratio:5.2}%")
    } else {
        format!("{:>5}%", two_significant(ratio))
    }
}

/// A number below 1 as C's `%.2g` prints it.
fn two_significant(ratio: f64) -> String {
    let scientific = format!("{ratio:.1e}");
    let Some((mantissa, exponent)) = scientific.split_once('e') else {
        return scientific;
    };
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let trim = |text: &str| match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text.to_owned(),
    };
    if exponent < -4 {
        return format!("{}e-{:02}", trim(mantissa), -exponent);
    }
    trim(&format!("{ratio:.*}", (1 - exponent).max(0) as usize))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_those_of_pprof() {
        for (value, from, to, expected) in [
            (0, "bytes", "auto", "0"),
            (1023, "bytes", "auto", "1023B"),
            (524_800, "bytes", "auto", "512.50kB"),
            (-524_800, "bytes", "auto", "-512.50kB"),
            (1 << 20, "bytes", "auto", "1MB"),
            (1 << 20, "bytes", "kB", "1024kB"),
            (1, "bytes", "MB", "0"),
            (5, "count", "auto", "5"),
            (5, "count", "count", "5"),
            (1_100_000_000, "nanoseconds", "auto", "1.10s"),
            (2, "microseconds", "auto", "2us"),
            (7_200, "s", "auto", "2hrs"),
            (i64::MIN, "bytes", "auto", "-9223372036854775808B"),
        ] {
            assert_eq!(
                scaled_label(value, from, to),
                expected,
                "{value} {from} {to}"
            );
        }
    }

    #[test]
    fn percentages_are_those_of_pprof() {
        for (value, total, expected) in [
            (0, 0, "    0%"),
            (0, 7, "    0%"),
            (1, 1, "  100%"),
            (9_996, 10_000, "  100%"),
            (9_994, 10_000, "99.94%"),
            (-1, 4, "25.00%"),
            (3, 2, "150.00%"),
            (52, 10_000, " 0.52%"),
            (5, 1_000, "  0.5%"),
            (9_999, 1_000_000, "    1%"),
            (1, 10_000_000, "1e-05%"),
            (12, 100_000_000, "1.2e-05%"),
            (1, 1_000_000, "0.0001%"),
        ] {
            assert_eq!(percentage(value, total), expected, "{value} of {total}");
        }
    }
}
