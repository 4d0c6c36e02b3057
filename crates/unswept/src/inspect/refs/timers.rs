//! What is told of timers below the line of their holder.

use inspect::holders::{Report, TimerGroup, TimerKind};

use crate::words;

/// `every 5 s; 12 tickers that nobody can receive from: NewTicker without Stop`.
pub(super) fn told(report: &Report, function: &str) -> Vec<String> {
    let groups = report.timers.iter();
    let of = groups.filter(|group| group.calls.function == function);
    of.map(line).collect()
}

fn line(group: &TimerGroup) -> String {
    let what = match group.kind {
        TimerKind::Function => "AfterFunc",
        TimerKind::Channel => "NewTimer or After",
        TimerKind::Ticker => "NewTicker or Tick",
        TimerKind::Sleep => "Sleep",
        TimerKind::Runtime => "of the runtime",
    };
    let mut line = match group.count {
        1 => what.to_owned(),
        count => format!("{what} ×{}", words::count(count)),
    };
    if group.period_ns > 0 {
        line += &format!(", every {}", span(group.period_ns));
    }
    let mut due: Vec<i64> = group
        .timers
        .iter()
        .filter_map(|timer| timer.fires_in_ns)
        .collect();
    due.sort_unstable();
    match (due.first(), due.last()) {
        (Some(first), Some(last)) if last - first < 1_000_000_000 => line += &when(*first),
        (Some(first), Some(last)) => line += &format!("{} to {}", when(*first), span_of(*last)),
        _ => {}
    }
    if group.kind == TimerKind::Function && !group.calls.file.is_empty() {
        let file = group.calls.file.rsplit('/').next().unwrap_or_default();
        line += &format!(", {file}:{}", group.calls.line);
    }
    if group.abandoned > 0 {
        line += &format!(
            "; {} that nobody can receive from or stop any more",
            words::count(group.abandoned)
        );
    }
    line
}

fn when(ns: i64) -> String {
    match ns {
        0.. => format!(", fires in {}", span_of(ns)),
        _ => ", fires now".to_owned(),
    }
}

fn span_of(ns: i64) -> String {
    span(ns.max(0).unsigned_abs())
}

fn span(ns: u64) -> String {
    match ns {
        0 | 1_000_000_000.. => words::seconds(ns as f64 / 1e9),
        1_000_000.. => format!("{} ms", ns / 1_000_000),
        _ => format!("{} µs", ns.div_ceil(1000)),
    }
}

#[cfg(test)]
mod tests {
    use super::span;

    #[test]
    fn short_times_are_told_in_parts_of_a_second() {
        let rows = [
            (0, "0 s"),
            (1, "1 µs"),
            (300_000_000, "300 ms"),
            (5_000_000_000, "5 s"),
        ];
        for (ns, wanted) in rows {
            assert_eq!(span(ns), wanted);
        }
    }
}
