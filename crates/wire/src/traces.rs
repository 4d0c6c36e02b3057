//! The lines that Go's runtime writes to standard error with `GODEBUG=gctrace=1,scavtrace=1`, found in
//! a log between lines of the program's own.
//!
//! ```text
//! gc 4 @0.004s 4%: 0.13+0.093+0.001 ms clock, ..., 20->20->18 MB, 36 MB goal, ..., 2 P (forced)
//! scav 0 KiB work (bg), 0 KiB work (eager), 6464 KiB now, 99% util
//! ```
//!
//! Formats: package runtime's documentation, "Environment Variables", go1.12 to go1.27. The runtime
//! writes MB and means MiB, cut down to whole ones.

use model::Labels;

use crate::scrape::{Limits, Scrape, ScrapedSample};

/// What the latest lines say. A figure that no line had is absent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Traces {
    /// Collections completed.
    pub gc_cycles: Option<u64>,
    /// Heap reachable at the last mark, in bytes, exact to a MiB.
    pub live_bytes: Option<u64>,
    /// What the runtime has given back of its heap, in bytes.
    pub released_bytes: Option<u64>,
}

impl Traces {
    /// As samples, under the names of client_golang's collector of `runtime/metrics`.
    #[must_use]
    pub fn scrape(&self) -> Scrape {
        let mut out = Scrape::default();
        for (name, value) in [
            ("go_gc_cycles_total_gc_cycles_total", self.gc_cycles),
            ("go_gc_heap_live_bytes", self.live_bytes),
            ("go_memory_classes_heap_released_bytes", self.released_bytes),
        ] {
            out.samples.extend(value.map(|value| ScrapedSample {
                labels: Labels::metric(name, []),
                value: value as f64,
                timestamp: None,
            }));
        }
        out
    }
}

/// Reads a piece of a log into `traces`; later lines replace earlier ones. Lines that are none of
/// the runtime's are passed over; what stands before one on its line (a time, a name) does not
/// matter. Of the piece at most `limits.body_bytes_max` bytes are read, the last ones.
pub fn parse_traces(log: &[u8], limits: &Limits, traces: &mut Traces) {
    let log = &log[log.len().saturating_sub(limits.body_bytes_max)..];
    for line in log.split(|&byte| byte == b'\n') {
        let Ok(line) = std::str::from_utf8(line) else {
            continue;
        };
        if let Some((cycle, live)) = gc_line(line) {
            (traces.gc_cycles, traces.live_bytes) = (Some(cycle), Some(live));
        } else if let Some(released) = scav_line(line) {
            traces.released_bytes = Some(released);
        }
    }
}

/// The cycle and what it marked.
fn gc_line(line: &str) -> Option<(u64, u64)> {
    let (_, rest) = at_word(line, "gc ")?;
    let (cycle, rest) = rest.split_once(" @")?;
    let (_, rest) = rest.split_once(" ms clock, ")?;
    if !rest.contains(" MB goal, ") {
        return None;
    }
    let heaps = rest.split(", ").find(|part| part.contains("->"))?;
    let mut heaps = heaps.strip_suffix(" MB")?.split("->");
    let (_, _, marked) = (heaps.next()?, heaps.next()?, heaps.next()?);
    Some((cycle.parse().ok()?, scaled(marked, 1 << 20)?))
}

/// What has been given back: `now`, which was called `total` before go1.20.
fn scav_line(line: &str) -> Option<u64> {
    let (_, rest) = at_word(line, "scav ")?;
    if !rest.contains("% util") {
        return None;
    }
    let mut parts = rest.split(", ");
    let now = parts.find_map(|part| {
        let now = part.strip_suffix(" KiB now");
        now.or_else(|| part.strip_suffix(" KiB total"))
    });
    scaled(now?, 1 << 10)
}

/// Splits before a word, at the beginning or behind a blank.
fn at_word<'a>(line: &'a str, word: &str) -> Option<(&'a str, &'a str)> {
    let mut places = line.match_indices(word);
    let (at, _) =
        places.find(|(at, _)| *at == 0 || line.as_bytes()[at - 1].is_ascii_whitespace())?;
    Some((&line[..at], &line[at + word.len()..]))
}

fn scaled(number: &str, unit: u64) -> Option<u64> {
    number.parse::<u64>().ok()?.checked_mul(unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn read(log: &str) -> Traces {
        let mut traces = Traces::default();
        parse_traces(log.as_bytes(), &Limits::default(), &mut traces);
        traces
    }

    #[test]
    fn lines_of_old_and_new_releases_are_read_among_others() {
        let of = |gc_cycles, live_mib: Option<u64>, released_kib: Option<u64>| Traces {
            gc_cycles,
            live_bytes: live_mib.map(|mib| mib * MIB),
            released_bytes: released_kib.map(|kib| kib << 10),
        };
        let new = "gc 4 @0.004s 4%: 0.13+0.093+0.001 ms clock, 0.26+0/0.054/0.053+0.002 ms cpu, 20->21->18 MB, 36 MB goal, 0 MB stacks, 0 MB globals, 2 P (forced)";
        let old = "gc 17 @1.5s 0%: 0.015+0.46+0.041 ms clock, 0.12+0.10/0.35/0.0+0.33 ms cpu, 4->4->1 MB, 5 MB goal, 8 P";
        let scav = "scav 0 KiB work (bg), 0 KiB work (eager), 6464 KiB now, 99% util";
        let rows = [
            ("go1.27", new.to_owned(), of(Some(4), Some(18), None)),
            ("go1.12", old.to_owned(), of(Some(17), Some(1), None)),
            ("scavtrace", scav.to_owned(), of(None, None, Some(6464))),
            (
                "scavtrace, forced",
                format!("{scav} (forced)"),
                of(None, None, Some(6464)),
            ),
            (
                "scavtrace of go1.17",
                "scav 4 KiB work, 5336 KiB total, 33% util".to_owned(),
                of(None, None, Some(5336)),
            ),
            (
                "behind a time",
                format!("2026-11-21T22:30:00Z shop {new}"),
                of(Some(4), Some(18), None),
            ),
            (
                "the last counts",
                format!("{old}\nstarted\n{new}\n{scav}\n"),
                of(Some(4), Some(18), Some(6464)),
            ),
            ("cut off", new[..90].to_owned(), of(None, None, None)),
            (
                "a word that ends so",
                format!("x{new}"),
                of(None, None, None),
            ),
            ("prose", "the gc 4 @home".to_owned(), of(None, None, None)),
            (
                "numbers too large",
                new.replace("->18 MB", "->18446744073709551615 MB"),
                of(None, None, None),
            ),
            ("nothing", String::new(), of(None, None, None)),
        ];
        for (why, log, want) in rows {
            assert_eq!(read(&log), want, "{why}");
        }
    }

    #[test]
    fn only_the_end_of_a_long_piece_is_read() {
        let line = "gc 1 @0s 0%: 0+0+0 ms clock, 0 ms cpu, 1->1->1 MB, 4 MB goal, 2 P\n";
        let limits = Limits {
            body_bytes_max: line.len() - 1,
            ..Limits::default()
        };
        let mut traces = Traces::default();
        parse_traces(line.as_bytes(), &limits, &mut traces);
        assert_eq!(traces, Traces::default());
        assert_eq!(read(line).scrape().samples.len(), 2);
    }
}
