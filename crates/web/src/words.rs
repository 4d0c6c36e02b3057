//! Figures and states in words, the same on every page: units are written, times are UTC.

use std::fmt::Write;

use inspect::holders::HolderKind;
use model::size::size_in_words;
use model::verdict::{Growth, SuspectWhat, TimeToLimit};
use model::{GoSource, Judgement, Kind, Setting, SettingSource, TargetState, UnixMs};

/// `30.2 MiB`: three figures are enough to compare by.
pub(crate) fn bytes(value: f64) -> String {
    size_in_words(value).replace('-', "−")
}

/// `+30.2 MiB/min`.
pub(crate) fn bytes_per_minute(value: f64) -> String {
    format!("{}{}/min", plus(value), bytes(value))
}

fn plus(value: f64) -> &'static str {
    if value > 0.0 { "+" } else { "" }
}

/// A whole number with its thousands apart: `1 204` with a narrow space.
pub(crate) fn count(value: f64) -> String {
    let digits = format!("{:.0}", value.abs());
    let mut text = String::from(if value < 0.0 { "−" } else { "" });
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push('\u{202f}');
        }
        text.push(digit);
    }
    text
}

/// `5.3 MiB/min`, `+118 goroutines/min`.
pub(crate) fn growth(growth: &Growth) -> String {
    rate(&growth.unit, growth.per_minute)
}

fn rate(unit: &str, per_minute: f64) -> String {
    match unit {
        "bytes" => bytes_per_minute(per_minute),
        "fds" => format!("{}{} descriptors/min", plus(per_minute), small(per_minute)),
        unit => format!("{}{} {unit}/min", plus(per_minute), small(per_minute)),
    }
}

fn small(value: f64) -> String {
    match value.abs() < 10.0 {
        true => format!("{value:.1}"),
        false => count(value),
    }
}

/// `between 5.1 MiB/min and 5.5 MiB/min (95 % interval)`.
pub(crate) fn interval(growth: &Growth) -> String {
    format!(
        "between {} and {} ({:.0} % interval)",
        rate(&growth.unit, growth.low),
        rate(&growth.unit, growth.high),
        growth.level * 100.0
    )
}

/// `1 min 55 s`, `3 h 10 min`: the two largest units.
pub(crate) fn seconds(value: f64) -> String {
    if !value.is_finite() {
        return "without end".into();
    }
    let total = value.max(0.0).round() as u64;
    let (days, hours) = (total / 86_400, total / 3600 % 24);
    let (minutes, seconds) = (total / 60 % 60, total % 60);
    let pair = |large: u64, large_unit: &str, small: u64, small_unit: &str| match small {
        0 => format!("{large} {large_unit}"),
        _ => format!("{large} {large_unit} {small} {small_unit}"),
    };
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => pair(minutes, "min", seconds, "s"),
        (0, ..) => pair(hours, "h", minutes, "min"),
        (1..=99, ..) => pair(days, "d", hours, "h"),
        _ => format!("{} d", count(days as f64)),
    }
}

/// `1 h 30 min (1 h 25 min to 1 h 37 min)`.
pub(crate) fn time_to_limit(limit: &TimeToLimit) -> (String, String) {
    let range = format!("{} to {}", seconds(limit.low), seconds(limit.high));
    (seconds(limit.estimate), range)
}

/// `2026-11-21 22:30:00 UTC`.
pub(crate) fn date(at: UnixMs) -> String {
    at.rfc3339().replace('T', " ").replace('Z', " UTC")
}

/// `98 %`; what is not zero or all is not rounded to it.
pub(crate) fn percent(share: f64) -> String {
    let percent = share * 100.0;
    match percent {
        p if p > 0.0 && p < 1.0 => "under 1 %".into(),
        p if p > 99.0 && p < 100.0 => "over 99 %".into(),
        p if p < 0.0 => format!("−{:.0} %", -p),
        p => format!("{p:.0} %"),
    }
}

/// What a kind is called, and what it means.
pub(crate) fn kind(kind: Kind) -> (&'static str, &'static str) {
    match kind {
        Kind::GoHeap => ("Go heap", "the live Go heap grows"),
        Kind::Goroutine => ("goroutines", "goroutines pile up, with what they hold"),
        Kind::NativeHeap => ("C allocators", "memory from malloc grows, outside Go"),
        Kind::Resident => ("resident memory", "resident memory grows"),
        Kind::NativeMmap => ("mappings outside Go", "anonymous mappings outside Go grow"),
        Kind::Native => ("memory outside Go", "memory outside Go grows"),
        Kind::Thread => ("threads", "threads pile up"),
        Kind::Fd => ("file descriptors", "open file descriptors pile up"),
        Kind::Shmem => ("shared memory", "shared memory or tmpfs grows"),
        Kind::Kernel => ("kernel memory", "kernel memory of the container grows"),
        Kind::Steady => ("steady", "nothing grows"),
        Kind::WarmUp => ("warm-up", "it is young and still fills what it needs"),
        Kind::Plateau => ("plateau", "growth has levelled off"),
        Kind::Load => ("load", "memory follows the load"),
        Kind::Season => ("season", "memory follows the time of day or week"),
        Kind::GcSawtooth => ("GC saw-tooth", "only the swing between two collections"),
        Kind::GcIdle => ("GC hardly runs", "the collector hardly runs"),
        Kind::NotReturned => ("kept by the runtime", "the runtime keeps freed memory"),
        Kind::Fragmentation => ("fragmentation", "spans are mostly empty"),
        Kind::PageCache => ("page cache", "file pages, which the kernel takes back"),
        Kind::Step => ("step", "one step up, then level"),
        Kind::Spike => ("spike", "up and down again"),
        Kind::HugePages => ("huge pages", "huge pages make more resident than is used"),
        Kind::Swap => ("swap", "pages come and go from swap"),
        Kind::GoRuntime => ("Go runtime", "the runtime's own structures grow"),
        Kind::Oom => ("killed", "killed for lack of memory"),
        other => (other.as_str(), "see the reasons"),
    }
}

/// The answer as a badge says it.
pub(crate) fn judgement(judgement: Judgement) -> &'static str {
    match judgement {
        Judgement::Leak => "leak",
        Judgement::NoLeak => "no leak",
        Judgement::Unsure => "unsure",
    }
}

/// How a suspect belongs to the growth, before its function.
pub(crate) fn suspect_link(what: SuspectWhat) -> &'static str {
    match what {
        SuspectWhat::Allocation | SuspectWhat::NativeAllocation => "allocated in",
        SuspectWhat::Goroutine => "stuck in",
        SuspectWhat::Variable => "held by",
        SuspectWhat::Mapping => "in",
        SuspectWhat::Thread => "threads of",
        SuspectWhat::Fd => "kept open by",
    }
}

/// What a holder is, before its name.
pub(crate) fn holder_kind(kind: HolderKind, count: u64) -> &'static str {
    match kind {
        HolderKind::Goroutine if count == 1 => "goroutine of ",
        HolderKind::Goroutine => "goroutines of ",
        HolderKind::Timer if count == 1 => "timer for ",
        HolderKind::Timer => "timers for ",
        HolderKind::Finalizer => "finalizer ",
        HolderKind::Cleanup => "cleanup ",
        HolderKind::Several => "shared by ",
        HolderKind::Runtime => "the runtime: ",
        HolderKind::Global | HolderKind::Referent => "",
    }
}

/// How watching goes: a short word, more words where there are any, and whether it is trouble.
pub(crate) fn state(state: &TargetState) -> (&'static str, Option<String>, bool) {
    match state {
        TargetState::Pending => ("not read yet", None, false),
        TargetState::Up => ("watched", None, false),
        TargetState::NoEndpoint => (
            "no endpoint",
            Some("its process is read from outside".into()),
            false,
        ),
        TargetState::EndpointFailing { reason } => ("endpoint fails", Some(reason.clone()), true),
        TargetState::NoPermission { hint } => ("no permission", Some(hint.clone()), true),
        TargetState::NotRead { since } => (
            "not read",
            Some(format!("since {}: what is shown is old", date(*since))),
            true,
        ),
        TargetState::Gone { at } => ("gone", Some(format!("since {}", date(*at))), false),
    }
}

/// Where the Go runtime's figures come from.
pub(crate) fn go_source(source: GoSource) -> &'static str {
    match source {
        GoSource::Metrics => "from /metrics",
        GoSource::Process => "read from the process",
        GoSource::Traces => "from gctrace lines in its log",
    }
}

/// A setting of the collector, with a word where it may not be what is in force.
pub(crate) fn setting(setting: Setting, show: impl Fn(f64) -> String) -> String {
    let value = setting.value.map_or_else(|| "off".to_owned(), show);
    match setting.source {
        SettingSource::Metrics | SettingSource::Process => value,
        SettingSource::Environment => format!("{value} (environment: may be changed in code)"),
        SettingSource::Default => format!("{value} (default: may be changed in code)"),
    }
}

/// What a ledger's line is called.
pub(crate) fn component(name: &str) -> &str {
    match name {
        "go.live" => "Go heap, live after GC",
        "go.since-gc" => "Go heap, allocated since GC",
        "go.fragmentation" => "Go heap, empty slots",
        "go.idle" => "Go heap, kept by the runtime",
        "go.stacks" => "Goroutine stacks",
        "go.runtime" => "Go runtime's own",
        "go.not-resident" => "Counted by Go, not resident",
        "go.extra-resident" => "Resident, not counted by Go",
        "anon-rest" => "Anonymous, beyond what Go counts",
        "native.heap" => "C allocators",
        "native.mmap" => "Other mappings outside Go",
        "native.stacks" => "Thread stacks",
        "data" => "The program's variables",
        "file" => "Files mapped",
        "shmem" => "Shared memory",
        "swap" => "Swapped out",
        "huge-pages" => "Huge pages",
        "lazy-free" => "Given back by Go, not taken yet",
        "anon" => "Anonymous",
        "kernel" => "The kernel's own",
        "sockets" => "Socket buffers",
        "processes" => "RSS of its processes",
        "unexplained" => "Unexplained",
        other => other,
    }
}

/// `text` as one segment of a path: nothing in it can end the segment.
pub(crate) fn segment(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                out.push(char::from(byte));
            }
            byte => {
                // Writing to a String does not fail.
                let _ = write!(out, "%{byte:02X}");
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_have_units() {
        for (value, wanted) in [
            (0.0, "0 B"),
            (1023.0, "1.0 KiB"),
            (31_667_200.0, "30.2 MiB"),
            (-5e6, "−4.8 MiB"),
            (1e18, "909495 TiB"),
        ] {
            assert_eq!(bytes(value), wanted);
        }
        assert_eq!(bytes_per_minute(60_817_408.0), "+58.0 MiB/min");
        assert_eq!(count(1_234_567.0), "1\u{202f}234\u{202f}567");
        assert_eq!(count(-12.0), "−12");
        for (value, wanted) in [
            (-3.0, "0 s"),
            (115.0, "1 min 55 s"),
            (7260.0, "2 h 1 min"),
            (90_000.0, "1 d 1 h"),
            (1e9, "11\u{202f}574 d"),
            (f64::INFINITY, "without end"),
        ] {
            assert_eq!(seconds(value), wanted);
        }
        for (share, wanted) in [
            (0.0, "0 %"),
            (0.004, "under 1 %"),
            (0.995, "over 99 %"),
            (1.0, "100 %"),
        ] {
            assert_eq!(percent(share), wanted);
        }
    }

    #[test]
    fn every_kind_has_words() {
        for &each in Kind::ALL {
            assert_ne!(kind(each).1, "see the reasons", "{each:?}");
        }
    }

    #[test]
    fn a_segment_ends_nothing() {
        assert_eq!(segment("../a b?x#<é"), "..%2Fa%20b%3Fx%23%3C%C3%A9");
    }
}
