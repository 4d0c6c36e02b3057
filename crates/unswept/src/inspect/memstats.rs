//! `unswept inspect memstats`: the runtime's memory figures, once or again and again.

use std::time::{Duration, Instant};

use engine::SystemClock;
use inspect::{MemStats, MemStatsReader};
use model::{Clock, UnixMs};
use serde::Serialize;

use super::args;
use super::document::{Cost, Head};
use super::open::Opened;
use crate::terminal::{self, Screen};
use crate::text::{Column, Line, Style, table};
use crate::words;

const SCHEMA: &str = "unswept/inspect-memstats/1";
/// Lines of polling between two heads.
const LINES_PER_HEAD: u64 = 40;

pub(crate) fn run(arguments: &args::MemStats) -> anyhow::Result<()> {
    let opened = Opened::open(&arguments.target)?;
    opened.read(tell(arguments, &opened))
}

fn tell(arguments: &args::MemStats, opened: &Opened) -> anyhow::Result<()> {
    let reader = MemStatsReader::new(&opened.program)?;
    let clock = SystemClock::default();
    // What a core has does not change.
    match arguments.interval.filter(|_| opened.pid.is_some()) {
        Some(interval) => poll(arguments, opened, &reader, &clock, interval),
        None => {
            let reading = Reading::take(opened, &reader, &clock)?;
            if arguments.json {
                terminal::json(&Document::new(opened, &reading))
            } else {
                terminal::lines(&lines(&opened.name(), &reading))
            }
        }
    }
}

/// Figures, when they were read, and what that took.
#[derive(Debug, Clone, Copy)]
struct Reading {
    at: UnixMs,
    stats: MemStats,
    cost: Cost,
}

impl Reading {
    fn take(
        opened: &Opened,
        reader: &MemStatsReader<'_>,
        clock: &impl Clock,
    ) -> anyhow::Result<Self> {
        let at = opened.at(clock);
        let (stats, took) = Cost::timed(|| reader.read())?;
        let cost = Cost::new(stats.cost, took);
        Ok(Self { at, stats, cost })
    }
}

/// The figures lie beside head and cost, by the names that `runtime.MemStats` has in snake case.
#[derive(Serialize)]
struct Document {
    #[serde(flatten)]
    head: Head,
    #[serde(flatten)]
    figures: serde_json::Map<String, serde_json::Value>,
    cost: Cost,
}

impl Document {
    fn new(opened: &Opened, reading: &Reading) -> Self {
        let figures = match serde_json::to_value(reading.stats) {
            Ok(serde_json::Value::Object(mut figures)) => {
                figures.remove("cost");
                figures
            }
            _ => serde_json::Map::new(),
        };
        Self {
            head: Head::new(SCHEMA, opened, reading.at),
            figures,
            cost: reading.cost,
        }
    }
}

/// Reads until the count is reached or the process has ended, which is no failure once something was read.
fn poll(
    arguments: &args::MemStats,
    opened: &Opened,
    reader: &MemStatsReader<'_>,
    clock: &impl Clock,
    interval: Duration,
) -> anyhow::Result<()> {
    let mut before: Option<Reading> = None;
    let mut due = Instant::now();
    let mut done = 0;
    loop {
        let reading = match Reading::take(opened, reader, clock) {
            Ok(_) | Err(_) if done > 0 && !opened.is_there() => {
                terminal::note(format!("{} has ended", opened.name()));
                return Ok(());
            }
            reading => reading?,
        };
        if arguments.json {
            let mut line = serde_json::to_string(&Document::new(opened, &reading))?;
            line.push('\n');
            terminal::data(&line)?;
        } else {
            let shown = polled(&reading, before.as_ref());
            let from = usize::from(done % LINES_PER_HEAD != 0);
            terminal::lines(&shown[from.min(shown.len())..])?;
        }
        before = Some(reading);
        done += 1;
        if arguments.count.is_some_and(|count| done >= count) {
            return Ok(());
        }
        // A reading that took long, or a machine that slept, is not made up for.
        due = (due + interval).max(Instant::now());
        std::thread::sleep(due - Instant::now());
    }
}

/// A head and the line below it.
fn polled(reading: &Reading, before: Option<&Reading>) -> Vec<Line> {
    const COLUMNS: [Column; 8] = [
        Column::text("TIME"),
        Column::figure("     OBJECTS"),
        Column::figure(" LIVE AT GC"),
        Column::figure("      IN USE"),
        Column::figure("        IDLE"),
        Column::figure("      STACKS"),
        Column::figure("  CYCLES"),
        Column::figure("    ALLOCATED/s"),
    ];
    let stats = &reading.stats;
    let bytes = |value: u64| Line::from(words::bytes(value as f64));
    let rate = before.map_or_else(String::new, |before| {
        let seconds = reading.at.since(before.at).as_secs_f64().max(0.001);
        let grown = stats.total_alloc.saturating_sub(before.stats.total_alloc);
        words::bytes(grown as f64 / seconds)
    });
    let row = vec![
        time(reading.at).into(),
        bytes(stats.heap_alloc),
        bytes(stats.heap_marked),
        bytes(stats.heap_inuse),
        bytes(stats.heap_idle.saturating_sub(stats.heap_released)),
        bytes(stats.stack_inuse),
        words::count(stats.num_gc.into()).into(),
        rate.into(),
    ];
    table(&COLUMNS, &[row], Screen::stdout().width)
}

/// RFC 3339 with milliseconds: intervals may be short.
fn time(at: UnixMs) -> String {
    let seconds = at.rfc3339();
    format!(
        "{}.{:03}Z",
        seconds.trim_end_matches('Z'),
        at.0.rem_euclid(1000)
    )
}

/// One reading for people: a line a figure, grouped by what is asked.
fn lines(name: &str, reading: &Reading) -> Vec<Line> {
    let stats = &reading.stats;
    let bytes = |value: u64| words::bytes(value as f64);
    let mut lines =
        vec![Line::new(Style::Strong, name).with(Style::Plain, format!(", at {}", reading.at))];
    let mut group = |title: &str, rows: &[(&str, String, &str)]| {
        lines.push(Line::default());
        lines.push(Line::new(Style::Strong, title));
        for (what, figure, note) in rows {
            let line = Line::from(format!("  {what:<22}{figure:>12}"));
            lines.push(line.with(Style::Faint, format!("   {note}")));
        }
    };
    let objects = format!("in {} objects", words::count(stats.heap_objects));
    group(
        "What lives",
        &[
            (
                "objects",
                bytes(stats.heap_alloc),
                &format!("{objects}, garbage not swept yet included"),
            ),
            (
                "marked by the last GC",
                bytes(stats.heap_marked),
                "what was reachable then, with stacks and globals scanned",
            ),
            (
                "goroutines' stacks",
                bytes(stats.stack_inuse),
                &format!(
                    "{} goroutines, the runtime's own not counted; {} threads",
                    words::count(stats.num_goroutine),
                    words::count(stats.num_thread)
                ),
            ),
        ],
    );
    let metadata = [
        stats.mspan_sys,
        stats.mcache_sys,
        stats.gc_sys,
        stats.other_sys,
        stats.buck_hash_sys,
    ];
    let metadata = metadata
        .iter()
        .fold(0, |sum: u64, part| sum.saturating_add(*part));
    group(
        "What is kept",
        &[
            (
                "heap in use",
                bytes(stats.heap_inuse),
                "spans with objects in them",
            ),
            (
                "heap idle",
                bytes(stats.heap_idle.saturating_sub(stats.heap_released)),
                "free, and not given back to the system",
            ),
            (
                "heap given back",
                bytes(stats.heap_released),
                "address space only",
            ),
            (
                "the runtime's own",
                bytes(metadata),
                "spans, caches, the collector's and the profiler's tables",
            ),
            (
                "from the system",
                bytes(stats.sys.saturating_sub(stats.heap_released)),
                "all of the above, without what was given back",
            ),
        ],
    );
    let forced = match stats.num_forced_gc {
        0 => String::new(),
        count => format!(
            "{} of them asked for by the program",
            words::count(count.into())
        ),
    };
    let pauses = Duration::from_nanos(stats.pause_total_ns);
    group(
        "The collector",
        &[
            ("cycles", words::count(stats.num_gc.into()), &forced),
            ("last one", last_gc(stats, reading.at), ""),
            (
                "next one at",
                bytes(stats.next_gc),
                "of objects, stacks and globals",
            ),
            (
                "pauses so far",
                format!("{:.1} ms", pauses.as_secs_f64() * 1e3),
                "",
            ),
            (
                "allocated so far",
                bytes(stats.total_alloc),
                &format!(
                    "in {} objects, {} of them freed",
                    words::count(stats.mallocs),
                    words::count(stats.frees)
                ),
            ),
        ],
    );
    group(
        "Limits in force",
        &[
            ("GOGC", gogc(stats.gogc), ""),
            ("GOMEMLIMIT", limit(stats.memory_limit), ""),
        ],
    );
    lines.push(Line::default());
    lines.push(Line::new(Style::Faint, reading.cost.words()));
    lines
}

fn last_gc(stats: &MemStats, now: UnixMs) -> String {
    match i64::try_from(stats.last_gc_ns / 1_000_000) {
        Ok(at) if at > 0 => words::ago(UnixMs(at), now),
        _ => "never".into(),
    }
}

fn gogc(percent: i32) -> String {
    match percent {
        ..0 => "off".into(),
        percent => percent.to_string(),
    }
}

fn limit(bytes: i64) -> String {
    match bytes {
        i64::MAX => "none".into(),
        bytes => words::bytes(bytes as f64),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(seconds: i64, change: impl FnOnce(&mut MemStats)) -> Reading {
        let mut stats = MemStats::default();
        stats.heap_alloc = 31_666_000;
        stats.heap_objects = 173_490;
        stats.heap_marked = 29_000_000;
        stats.stack_inuse = 851_968;
        stats.heap_inuse = 38_000_000;
        stats.heap_idle = 9_000_000;
        stats.heap_released = 5_000_000;
        stats.gc_sys = 3_000_000;
        stats.mspan_sys = 900_000;
        stats.sys = 52_000_000;
        stats.num_gc = 1_234;
        stats.num_forced_gc = 2;
        stats.last_gc_ns = 1_795_000_000_000_000_000;
        stats.next_gc = 60_000_000;
        stats.pause_total_ns = 12_345_678;
        stats.total_alloc = 9_876_543_210;
        stats.mallocs = 1_000_000;
        stats.frees = 826_510;
        stats.gogc = 100;
        stats.memory_limit = i64::MAX;
        stats.num_goroutine = 1_021;
        stats.num_thread = 9;
        change(&mut stats);
        Reading {
            at: UnixMs((1_795_000_000 + seconds) * 1000),
            stats,
            cost: Cost {
                syscalls: 21,
                bytes: 31_000,
                wall_us: 312,
            },
        }
    }

    fn shown(lines: &[Line]) -> String {
        lines.iter().map(|line| line.paint(false) + "\n").collect()
    }

    #[test]
    fn one_reading_in_words() {
        let reading = reading(12, |_| ());
        insta::assert_snapshot!(shown(&lines("shop (pid 4242), go1.27.3", &reading)));
    }

    #[test]
    fn limits_and_beginnings_have_words() {
        let rows = [
            (gogc(-1), "off"),
            (gogc(0), "0"),
            (limit(i64::MAX), "none"),
            (limit(8 << 30), "8.0 GiB"),
            (last_gc(&MemStats::default(), UnixMs(5)), "never"),
        ];
        for (found, want) in rows {
            assert_eq!(found, want);
        }
    }

    #[test]
    fn lines_of_polling_are_as_wide_as_each_other() {
        let first = reading(0, |_| ());
        let later = reading(2, |stats| {
            stats.heap_alloc = 912;
            stats.total_alloc += 50 << 20;
        });
        let both = [polled(&first, None), polled(&later, Some(&first))];
        insta::assert_snapshot!(both.map(|lines| shown(&lines)).concat());
    }
}
