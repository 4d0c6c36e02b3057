//! GOGC and GOMEMLIMIT in force, and how the runtime gives memory back.
//!
//! What is in force is what the target exports, else what its process has in memory, else what its
//! environment says, which a program may change in code (`debug.SetGCPercent`,
//! `debug.SetMemoryLimit`, automemlimit): the source is told with the value.

use model::{GcSettings, GoMemory, Setting, SettingSource};

/// The variables of a process's environment, as they are written there; `None` for one that is not
/// set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Environment<'a> {
    /// `GOGC`.
    pub gogc: Option<&'a str>,
    /// `GOMEMLIMIT`.
    pub gomemlimit: Option<&'a str>,
}

/// The settings in force, each from the best source that has it.
///
/// * `exported`: what the metrics endpoint said; `read`: what was read in the process.
/// * `environment`: `None` where it may not be read, which is not the same as empty.
#[must_use]
pub fn in_force(
    exported: Option<&GoMemory>,
    read: Option<&GoMemory>,
    environment: Option<Environment<'_>>,
) -> GcSettings {
    let told = [
        (exported, SettingSource::Metrics),
        (read, SettingSource::Process),
    ];
    let first = |value: fn(&GoMemory) -> Option<Option<f64>>| {
        let mut told = told.into_iter();
        told.find_map(|(go, source)| value(go?).map(|value| Setting { value, source }))
    };
    let gogc = |go: &GoMemory| Some(go.gogc_percent?).map(|v| Some(v).filter(|v| *v >= 0.0));
    let limit =
        |go: &GoMemory| Some(go.gomemlimit_bytes?).map(|v| Some(v).filter(|v| v.is_finite()));
    GcSettings {
        gogc_percent: first(gogc).or_else(|| Some(gogc_of(environment?.gogc))),
        gomemlimit_bytes: first(limit).or_else(|| gomemlimit_of(environment?.gomemlimit)),
    }
}

/// What the runtime makes of `GOGC` (`readGOGC` in runtime/mgcpacer.go): `off`, a number, and 100 for
/// anything else.
fn gogc_of(text: Option<&str>) -> Setting {
    let Some(text) = text.filter(|text| !text.is_empty()) else {
        return Setting {
            value: Some(100.0),
            source: SettingSource::Default,
        };
    };
    let percent = match text {
        "off" => -1,
        text => text.parse().unwrap_or(100_i32),
    };
    Setting {
        value: (percent >= 0).then(|| f64::from(percent)),
        source: SettingSource::Environment,
    }
}

/// What the runtime makes of `GOMEMLIMIT` (`readGOMEMLIMIT`): bytes, or bytes with a unit. It refuses
/// to start with anything else, so `None` for that: the text is not what it started with.
fn gomemlimit_of(text: Option<&str>) -> Option<Setting> {
    let Some(text) = text.filter(|text| !text.is_empty()) else {
        return Some(Setting {
            value: None,
            source: SettingSource::Default,
        });
    };
    let value = match text {
        "off" => None,
        text => Some(byte_count(text)? as f64),
    };
    Some(Setting {
        value,
        source: SettingSource::Environment,
    })
}

/// `parseByteCount` of the runtime: digits, then nothing, `B`, or `KiB` to `TiB`.
fn byte_count(text: &str) -> Option<i64> {
    const UNITS: [(&str, u32); 5] = [("KiB", 10), ("MiB", 20), ("GiB", 30), ("TiB", 40), ("B", 0)];
    let unit = UNITS
        .iter()
        .find_map(|(name, shift)| Some((text.strip_suffix(name)?, *shift)));
    let (digits, shift) = unit.unwrap_or((text, 0));
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    digits.parse::<i64>().ok()?.checked_mul(1 << shift)
}

/// Whether the runtime gives memory back with `MADV_FREE`, which leaves it resident until there is
/// pressure: the default of Go 1.12 to 1.15, and what `GODEBUG=madvdontneed=0` asks of later ones.
///
/// * `version`: such as `go1.21.13`; of one that is not known, the present default is assumed.
/// * `godebug`: `GODEBUG` of its environment.
#[must_use]
pub fn frees_lazily(version: &str, godebug: Option<&str>) -> bool {
    let minor = version.strip_prefix("go1.").and_then(|rest| {
        let digits = rest.split(|c: char| !c.is_ascii_digit()).next();
        digits.and_then(|digits| digits.parse::<u32>().ok())
    });
    // The runtime knows the setting since 1.12. Of several, the last counts.
    let mut settings = godebug.unwrap_or("").rsplit(',');
    let asked = settings.find_map(|setting| setting.strip_prefix("madvdontneed="));
    match (minor, asked) {
        (Some(minor), _) if minor < 12 => false,
        (_, Some(asked)) => asked == "0",
        (Some(minor), None) => minor < 16,
        (None, None) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn setting(value: Option<f64>, source: SettingSource) -> Option<Setting> {
        Some(Setting { value, source })
    }

    #[test]
    fn the_best_source_that_has_it_says_it() {
        use SettingSource::{Default as Unset, Environment as Env, Metrics, Process};
        let go = |gogc_percent, gomemlimit_bytes| GoMemory {
            gogc_percent,
            gomemlimit_bytes,
            ..GoMemory::default()
        };
        let exported = go(Some(50.0), None);
        let read = go(Some(-1.0), Some(f64::INFINITY));
        let env = Environment {
            gogc: Some("30"),
            gomemlimit: Some("2GiB"),
        };
        let both = in_force(Some(&exported), Some(&read), Some(env));
        assert_eq!(both.gogc_percent, setting(Some(50.0), Metrics));
        assert_eq!(both.gomemlimit_bytes, setting(None, Process), "off");
        let read = in_force(None, Some(&read), Some(env));
        assert_eq!(read.gogc_percent, setting(None, Process), "off");
        let env = in_force(None, None, Some(env));
        assert_eq!(env.gogc_percent, setting(Some(30.0), Env));
        assert_eq!(
            env.gomemlimit_bytes,
            setting(Some(f64::from(1 << 30) * 2.0), Env)
        );
        let unset = in_force(
            Some(&GoMemory::default()),
            None,
            Some(Environment::default()),
        );
        assert_eq!(unset.gogc_percent, setting(Some(100.0), Unset));
        assert_eq!(unset.gomemlimit_bytes, setting(None, Unset));
        assert_eq!(
            in_force(None, None, None),
            GcSettings::default(),
            "nothing is known"
        );
    }

    #[test]
    fn variables_are_read_as_the_runtime_reads_them() {
        for (text, want) in [
            ("off", None),
            ("0", Some(0.0)),
            ("-5", None),
            ("150", Some(150.0)),
            ("1e3", Some(100.0)),
            ("99999999999", Some(100.0)),
        ] {
            assert_eq!(gogc_of(Some(text)).value, want, "GOGC={text}");
        }
        for (text, want) in [
            ("1000", Some(Some(1000.0))),
            ("7B", Some(Some(7.0))),
            ("400MiB", Some(Some(419_430_400.0))),
            ("1TiB", Some(Some(1_099_511_627_776.0))),
            ("off", Some(None)),
            ("400MB", None),
            ("1.5GiB", None),
            ("GiB", None),
            ("-1", None),
            ("9223372036854775807KiB", None),
        ] {
            let got = gomemlimit_of(Some(text)).map(|setting| setting.value);
            assert_eq!(got, want, "GOMEMLIMIT={text}");
        }
    }

    #[test]
    fn versions_and_godebug_say_how_memory_is_given_back() {
        for (version, godebug, lazily) in [
            ("go1.11.4", None, false),
            ("go1.12", None, true),
            ("go1.15.15", Some("madvdontneed=1"), false),
            ("go1.16", None, false),
            ("go1.26.1", Some("madvdontneed=1,madvdontneed=0"), true),
            ("go1.27.3", Some("gctrace=1,madvdontneed=0"), true),
            ("go1.27rc1", Some("madvdontneed=1"), false),
            ("devel go1.28-abcdef", None, false),
            ("", Some("madvdontneed=0"), true),
        ] {
            assert_eq!(
                frees_lazily(version, godebug),
                lazily,
                "{version} {godebug:?}"
            );
        }
    }
}
