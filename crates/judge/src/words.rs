//! Words for people, made from a code and its values alone, so that another language is another
//! function of the same two.

use std::collections::BTreeMap;

use model::verdict::Advice;
use model::{Judgement, Reason};

/// A reason; its text comes from `code` and `values`. A value that is not finite is left out.
pub(crate) fn reason(code: &str, speaks_for: Judgement, values: &[(&str, f64)]) -> Reason {
    let values = named(values);
    Reason {
        code: code.into(),
        speaks_for,
        text: reason_text(code, &values),
        values,
    }
}

/// A piece of advice; its text comes from `code` and `values`.
pub(crate) fn advice(code: &str, values: &[(&str, f64)]) -> Advice {
    let values = named(values);
    Advice {
        code: code.into(),
        text: advice_text(code, &values),
        values,
    }
}

type Values = BTreeMap<String, f64>;

fn named(values: &[(&str, f64)]) -> Values {
    values
        .iter()
        .filter(|(_, value)| value.is_finite())
        .map(|&(name, value)| (name.to_owned(), value))
        .collect()
}

/// English for a reason's code. Codes are stable; a code unknown here is shown as it is.
fn reason_text(code: &str, values: &Values) -> String {
    let value = |name: &str| values.get(name).copied().unwrap_or(0.0);
    let span = || seconds(value("seconds"));
    let rise = |what: &str| {
        format!(
            "{what} rose by {} over {} ({}/min, 95 % interval {} to {})",
            bytes(value("rise_bytes")),
            span(),
            bytes(value("bytes_per_minute")),
            bytes(value("low_bytes_per_minute")),
            bytes(value("high_bytes_per_minute")),
        )
    };
    let count = |what: &str| {
        format!(
            "{what} rose by {:.0} over {} ({:.1} a minute, 95 % interval {:.1} to {:.1}).",
            value("rise"),
            span(),
            value("per_minute"),
            value("low_per_minute"),
            value("high_per_minute"),
        )
    };
    match code {
        "live-floor-rises" => format!(
            "{}, through {:.0} collections in a row.",
            rise("The live heap after GC"),
            value("collections")
        ),
        "native-rises" => format!("{}.", rise("Anonymous memory outside Go")),
        "native-heap-rises" => format!("{}.", rise("Memory of the C allocators")),
        "native-mmap-rises" => {
            format!(
                "{}.",
                rise("Anonymous mappings that are neither Go's nor an allocator's")
            )
        }
        "shmem-rises" => format!("{}.", rise("Shared memory")),
        "rss-rises" => format!("{}.", rise("Resident memory")),
        "goroutines-rise" => count("Goroutines"),
        "threads-rise" => count("Threads"),
        "fds-rise" => count("Open file descriptors"),
        "grows-evenly" => format!(
            "It grows evenly: its slowest quarter has {:.0} % of the speed of its fastest, and the \
             last one {:.0} %. What fills up or warms up slows down.",
            value("slowest_quarter") * 100.0,
            value("last_quarter") * 100.0
        ),
        "walk-unlikely" => format!(
            "Chance would make steps as regular as these with a probability of {:.1e}.",
            value("p")
        ),
        "from-birth" => {
            "It began with the process, so there is no earlier level to compare with.".into()
        }
        "may-fill" => format!(
            "It has grown since the process began, for {}, and has taken {:.0} % of the room that there was. A cache \
             that fills looks the same: it is called a leak at {:.0} % (later, if it may be slowing down), in about {}.",
            span(),
            value("taken") * 100.0,
            value("needed") * 100.0,
            seconds(value("wait_seconds"))
        ),
        "may-fill-no-limit" => format!(
            "It has grown since the process began, for {}, by {:.0} % of its first level, and no limit is known. A cache \
             that fills looks the same: it is called a leak at {:.0} % (later, if it may be slowing down), in about {}.",
            span(),
            value("taken") * 100.0,
            value("needed") * 100.0,
            seconds(value("wait_seconds"))
        ),
        "slows-to-level" => format!(
            "It has grown since the process began, for {}, and slows down: going on like this it comes to a level at {:.0} % \
             of the room that there was, or sooner.",
            span(),
            value("end") * 100.0
        ),
        "may-be-usual" => format!(
            "It has grown for {}. Where only the resident size is seen, a warm-up, a day's load or the collector's own \
             settings look the same: it is called a leak if it goes on for {} more.",
            span(),
            seconds(value("wait_seconds"))
        ),
        "as-earlier-lives" => format!(
            "Earlier processes of this service came to {} and stayed there; this one is on its way.",
            bytes(value("level_bytes"))
        ),
        "beyond-earlier-lives" => format!(
            "Earlier processes of this service stayed at {} at most; this one has grown beyond that.",
            bytes(value("level_bytes"))
        ),
        "earlier-lives-grew-too" => format!(
            "{:.0} earlier processes of this service grew at this pace until they ended, and came to no level.",
            value("lives")
        ),
        "load-unrelated" => "No load level rose with it.".into(),
        "load-taken-out" => format!(
            "It follows the load, which explains {:.0} % of its changes, and from swing to swing of the load ({} each) it \
             grows all the same: this is the growth without what the load explains.",
            value("r2") * 100.0,
            seconds(value("swing_seconds"))
        ),
        "load-unknown" => "No load is known that could explain it, or rule itself out.".into(),
        "heap-follows-goroutines" => format!(
            "The live heap grows with the goroutines, {} for each: they hold it.",
            bytes(value("bytes_per_goroutine"))
        ),
        "go-is-flat" => format!(
            "Go's own memory accounts for {:.0} % of the growth of anonymous memory.",
            value("go_share") * 100.0
        ),
        "steady" => format!(
            "It changed by {} over {}, less than what would count ({}).",
            amount(values, "range"),
            span(),
            amount(values, "material")
        ),
        "collects-seldom" => {
            let set = match values.get("gogc_percent") {
                Some(percent) if *percent < 0.0 => "GOGC is off".into(),
                Some(percent) => format!("GOGC is {percent:.0}"),
                None => "few allocations".into(),
            };
            format!(
                "HeapAlloc swings by {} between collections, of which there is one in {} ({set}); the floor they leave \
                 behind does not rise.",
                bytes(value("swing_bytes")),
                seconds(value("seconds_between"))
            )
        }
        "free-slots-rise" => format!(
            "Free slots between living objects have grown to {}: the heap is fragmented, not leaking.",
            bytes(value("free_bytes"))
        ),
        "runtime-rises" => format!(
            "The runtime's own tables grew by {}.",
            bytes(value("rise_bytes"))
        ),
        "huge-pages-fill" => format!(
            "The kernel holds {} more of Go's memory than Go counts, in huge pages.",
            bytes(value("extra_bytes"))
        ),
        "swapped-out" => format!("{} of it are in swap.", bytes(value("swap_bytes"))),
        "sawtooth-only" => format!(
            "HeapAlloc swings by {} between collections; the floor they leave behind does not rise.",
            bytes(value("swing_bytes"))
        ),
        "slows-down" => format!(
            "The growth slows down: its last quarter has {:.0} % of the speed of its fastest.",
            value("last_quarter") * 100.0
        ),
        "levelled-off" => format!(
            "It rose by {} and has been level for {}.",
            amount(values, "rise"),
            seconds(value("level_seconds"))
        ),
        "one-step" => format!(
            "It rose by {} in one step, then stayed.",
            amount(values, "rise")
        ),
        "rose-and-fell" => format!(
            "It rose and came down again by {} of {}.",
            amount(values, "fall"),
            amount(values, "range")
        ),
        "been-there" => "It has been as high before and came down by itself.".into(),
        "follows-load" => format!(
            "It follows the load: the load explains {:.0} % of its changes.",
            value("r2") * 100.0
        ),
        "file-pages" => format!(
            "File pages rose by {}: page cache, which the kernel takes back when memory is short.",
            bytes(value("rise_bytes"))
        ),
        "kept-by-runtime" => format!(
            "The Go runtime keeps {} of freed memory and gives it back over minutes.",
            bytes(value("idle_bytes"))
        ),
        "young" => format!(
            "The process is {} old; it may still be warming up.",
            seconds(value("age_seconds"))
        ),
        "short-data" => format!(
            "{} of data so far; {} more are needed.",
            span(),
            seconds(value("wait_seconds"))
        ),
        "no-gc-yet" => format!(
            "{:.0} collections seen; at least {:.0} are needed, in about {}.",
            value("collections"),
            value("collections_needed"),
            seconds(value("wait_seconds"))
        ),
        "conflicting" => format!(
            "It grows, but by fits and starts; {} more may tell.",
            seconds(value("wait_seconds"))
        ),
        "conflicting-load" => format!(
            "A load rose {} at the same time and has not fallen since: it shows whose growth \
             it is when the load falls, or in {} if the load stays.",
            match value("load_share") {
                // Percents in the hundreds are nobody's words.
                share if share > 1.5 => format!("to {:.1} times what it was", 1.0 + share),
                share => format!("by {:.0} %", share * 100.0),
            },
            seconds(value("wait_seconds"))
        ),
        "no-access" => {
            "Only the resident size is seen, not what it is made of: give access to the \
                        Go metrics or to the process."
                .into()
        }
        "no-data" => "No memory figures of this target have been read yet.".into(),
        _ => code.to_owned(),
    }
}

/// English for a code of advice.
fn advice_text(code: &str, values: &Values) -> String {
    let value = |name: &str| values.get(name).copied().unwrap_or(0.0);
    match code {
        "diff-heap-profiles" => "Compare two heap profiles some minutes apart (inuse_space): what \
                                 grows between them is where the leaked memory was allocated."
            .into(),
        "look-at-goroutines" => {
            "Group the goroutines by stack: the group that grows shows the line \
                                 where they are stuck. Look for a channel nobody reads, a missing \
                                 cancel or timeout, a body left unread."
                .into()
        }
        "needs-tracing" => "Which line allocates: needs tracing of malloc. Go's heap profile does \
                            not see C memory."
            .into(),
        "look-at-mappings" => "Compare the mappings over time: the one that grows tells the \
                               allocator or library."
            .into(),
        "look-at-threads" => {
            "Threads that do not end: look for blocking system calls and cgo calls, \
                              and for LockOSThread without its unlock."
                .into()
        }
        "look-at-fds" => "List /proc/PID/fd: sockets point to bodies or connections not closed, \
                          files to a missing Close."
            .into(),
        "look-at-shmem" => {
            "Look for files in tmpfs (/dev/shm, /tmp) and shared mappings: they count \
                            against the container's limit until deleted."
                .into()
        }
        "give-access" => "Give unswept access to Go's figures: serve the metrics of client_golang, or let it read \
                          the process (run it on the same host as root, or with CAP_SYS_PTRACE)."
            .into(),
        "set-gomemlimit" => format!(
            "The limit is {} and GOMEMLIMIT is not set: the heap may reach twice the live size before the next \
             collection. With GOMEMLIMIT={} the collector works harder before the kernel kills. It does not mend a leak.",
            bytes(value("limit_bytes")),
            gomemlimit(value("suggested_bytes"))
        ),
        "gomemlimit-above-limit" => format!(
            "GOMEMLIMIT is {}, the limit {}: the kernel kills before the collector works harder. Set it to nine tenths \
             of the limit at most, less what is not Go's.",
            bytes(value("gomemlimit_bytes")),
            bytes(value("limit_bytes"))
        ),
        "near-gomemlimit" => format!(
            "{} live, GOMEMLIMIT is {}: the collector runs most of the time and frees little. Before it is killed the \
             service gets slow. Raise both limits, or hold less.",
            bytes(value("live_bytes")),
            bytes(value("gomemlimit_bytes"))
        ),
        "gc-off" => "GOGC is off: garbage is not collected until GOMEMLIMIT is reached. Until then a leak cannot be \
                     told from garbage: `unswept diagnose --confirm` forces a collection."
            .into(),
        "gc-off-no-limit" => "GOGC is off and GOMEMLIMIT is not set: nothing is ever collected, and memory grows by \
                              all that is allocated. Set one of them."
            .into(),
        "frees-lazily" => "The runtime gives memory back with MADV_FREE (Go 1.12 to 1.15, or \
                           GODEBUG=madvdontneed=0): it stays resident until the kernel needs it. \
                           GODEBUG=madvdontneed=1 gives it back at once."
            .into(),
        "size-for-the-peak" => "Memory follows the work: size the limit for the peak of the load, or bound the work in \
                                progress (connections, concurrent requests, queues)."
            .into(),
        "kept-by-the-runtime" => "The runtime keeps freed memory for the next peak and gives it back over minutes. If \
                                  somebody else needs it sooner: GOMEMLIMIT below the peak, or debug.FreeOSMemory after it."
            .into(),
        "fragmented-heap" => "Objects that live are scattered over many spans, most of which is free: the heap is larger \
                              than what lives in it until they go. Keep what lives long apart from what does not \
                              (allocate it together, early), and fewer, larger objects."
            .into(),
        "runtime-tables" => "The runtime's own tables grow with the number of spans, of threads and of distinct stacks \
                             that allocate, and do not shrink: look at what has grown once (goroutines, heap, threads)."
            .into(),
        "huge-pages" => "The kernel fills Go's memory up to whole huge pages. Set \
                         /sys/kernel/mm/transparent_hugepage/khugepaged/max_ptes_none to 0, or huge pages to `madvise`."
            .into(),
        "in-swap" => "A part of the process is in swap, so what is resident is less than it has. A collection reads all of the \
                      heap back: give the service memory, or no swap."
            .into(),
        "page-cache" => "File pages are taken back by the kernel when memory is short: alert on the working set or on \
                         anonymous memory instead of usage."
            .into(),
        _ => code.to_owned(),
    }
}

/// `900MiB`, as GOMEMLIMIT takes it.
fn gomemlimit(bytes: f64) -> String {
    format!("{:.0}MiB", (bytes / 1_048_576.0).floor())
}

/// `NAME_bytes` as bytes where that is given, else `NAME` as a count.
fn amount(values: &Values, name: &str) -> String {
    match values.get(&format!("{name}_bytes")) {
        Some(&value) => bytes(value),
        None => format!("{:.0}", values.get(name).copied().unwrap_or(0.0)),
    }
}

/// `30.2 MiB`: three figures are enough to compare by.
pub(crate) fn bytes(value: f64) -> String {
    model::size::size_in_words(value)
}

/// `1 min 55 s`, `3 h 10 min`: the two largest units.
pub(crate) fn seconds(value: f64) -> String {
    let total = value.max(0.0).round() as u64;
    let (days, hours, minutes, seconds) = (
        total / 86_400,
        total / 3600 % 24,
        total / 60 % 60,
        total % 60,
    );
    let pair = |large: u64, large_unit: &str, small: u64, small_unit: &str| match small {
        0 => format!("{large} {large_unit}"),
        _ => format!("{large} {large_unit} {small} {small_unit}"),
    };
    if days > 0 {
        pair(days, "d", hours, "h")
    } else if hours > 0 {
        pair(hours, "h", minutes, "min")
    } else if minutes > 0 {
        pair(minutes, "min", seconds, "s")
    } else {
        format!("{seconds} s")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units() {
        for (value, wanted) in [
            (0.0, "0 B"),
            (999.0, "999 B"),
            (1023.0, "1.0 KiB"),
            (31_667_200.0, "30.2 MiB"),
            (-5e6, "-4.8 MiB"),
            (1e18, "909495 TiB"),
        ] {
            assert_eq!(bytes(value), wanted);
        }
        for (value, wanted) in [
            (-3.0, "0 s"),
            (59.6, "1 min"),
            (115.0, "1 min 55 s"),
            (7260.0, "2 h 1 min"),
            (90_000.0, "1 d 1 h"),
        ] {
            assert_eq!(seconds(value), wanted);
        }
    }

    #[test]
    fn the_sentence_of_a_leak() {
        let mib = 1_048_576.0;
        let reason = reason(
            "live-floor-rises",
            Judgement::Leak,
            &[
                ("rise_bytes", 58.0 * mib),
                ("seconds", 115.0),
                ("bytes_per_minute", 30.2 * mib),
                ("low_bytes_per_minute", 29.0 * mib),
                ("high_bytes_per_minute", 31.0 * mib),
                ("collections", 14.0),
                ("nothing", f64::NAN),
            ],
        );
        assert_eq!(
            reason.text,
            "The live heap after GC rose by 58.0 MiB over 1 min 55 s (30.2 MiB/min, 95 % interval \
             29.0 MiB to 31.0 MiB), through 14 collections in a row."
        );
        assert!(!reason.values.contains_key("nothing"));
    }
}
