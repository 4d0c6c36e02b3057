//! Timers one by one: when each fires, how often, and what it holds; those with one function and period together.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::sums::Sums;
use super::{Options, Place, Taken};
use crate::Program;
use crate::graph::Tree;
use crate::roots::Timer;

/// Groups told.
const GROUPS_TOLD: usize = 100;

/// What a timer is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TimerKind {
    /// `time.AfterFunc`: it calls a function.
    Function,
    /// `time.NewTimer`, `time.After`: it sends on a channel, once.
    Channel,
    /// `time.NewTicker`, `time.Tick`: it sends on a channel again and again.
    Ticker,
    /// `time.Sleep`: it wakes a goroutine.
    Sleep,
    /// The runtime's own: deadlines of connections.
    Runtime,
}

/// Timers with the same function and period.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct TimerGroup {
    /// What they are for.
    pub kind: TimerKind,
    /// The function that they call, as [`Holder::name`](super::Holder::name), and where it is written.
    pub calls: Place,
    /// Nanoseconds from one time to the next; zero for once.
    pub period_ns: u64,
    /// How many.
    pub count: u64,
    /// Bytes that would go with them, each taken for itself.
    pub retained_bytes: u64,
    /// The same in objects.
    pub retained_objects: u64,
    /// Tickers whose channel nothing but the ticker itself refers to: nobody can receive from them or stop them any more.
    pub abandoned: u64,
    /// Single ones, those that hold most first, and of them those that fire soonest.
    pub timers: Vec<TimerHolding>,
}

/// One timer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimerHolding {
    /// Nanoseconds until it fires; below zero for one that is late.
    pub fires_in_ns: Option<i64>,
    /// Bytes that would go with it.
    pub retained_bytes: u64,
    /// Objects that would go with it.
    pub retained_objects: u64,
}

/// The timers of a look in groups, those that hold most first.
pub(super) fn groups(
    program: &Program,
    taken: &Taken,
    tree: &Tree,
    sums: &Sums,
    options: &Options,
) -> Vec<TimerGroup> {
    let (heap, timers) = (&taken.heap, &taken.roots.timers);
    if timers.is_empty() {
        return Vec::new();
    }
    let mut groups: HashMap<(u64, u64, i64), TimerGroup> = HashMap::new();
    for timer in timers {
        let at = timer.root as usize;
        let (Some(root), Some(sum)) = (taken.roots.roots.get(at), sums.by_root.get(at)) else {
            continue;
        };
        let node = heap.slots() + timer.root;
        let key = (timer.code, root.at, timer.period_ns);
        let group = groups
            .entry(key)
            .or_insert_with(|| empty(program, timer, root.at));
        let holding = TimerHolding {
            fires_in_ns: options
                .now_ns
                .map(|now| timer.when_ns.saturating_sub_unsigned(now)),
            retained_bytes: sum.bytes,
            retained_objects: sum.objects,
        };
        group.count += 1;
        group.retained_bytes += holding.retained_bytes;
        group.retained_objects += holding.retained_objects;
        let channel = heap.object_at(timer.argument);
        let is_alone = || channel.is_some_and(|channel| is_under(tree, channel, node));
        group.abandoned += u64::from(group.kind == TimerKind::Ticker && is_alone());
        group.timers.push(holding);
    }
    let mut groups: Vec<TimerGroup> = groups.into_values().collect();
    for group in &mut groups {
        let order = |one: &TimerHolding| (std::cmp::Reverse(one.retained_bytes), one.fires_in_ns);
        group.timers.sort_by_key(order);
        group.timers.truncate(options.timers);
    }
    groups.sort_by(|left, right| {
        let order = |group: &TimerGroup| (group.retained_bytes, group.count);
        order(right)
            .cmp(&order(left))
            .then_with(|| left.calls.function.cmp(&right.calls.function))
            .then_with(|| left.period_ns.cmp(&right.period_ns))
    });
    groups.truncate(GROUPS_TOLD);
    groups
}

/// Whether `object` hangs under `above`: a ticker has its channel beside it or one object further on.
fn is_under(tree: &Tree, object: u32, above: u32) -> bool {
    const STEPS_MAX: usize = 4;
    let mut at = object;
    for _ in 0..STEPS_MAX {
        match tree.idom(at) {
            Some(next) if next == above => return true,
            Some(next) => at = next,
            None => return false,
        }
    }
    false
}

fn empty(program: &Program, timer: &Timer, code: u64) -> TimerGroup {
    let place = |code: u64| {
        let functions = program.functions_of(code)?;
        let id = functions.find(code)?;
        let (file, line) = functions.file_line(id, code);
        Some(Place {
            function: functions.name(id).to_owned(),
            file: file.to_owned(),
            line,
        })
    };
    let unknown = || Place {
        function: "timers".to_owned(),
        file: String::new(),
        line: 0,
    };
    let own = place(timer.code).unwrap_or_else(unknown);
    TimerGroup {
        kind: kind(&own.function, timer.period_ns),
        calls: place(code).unwrap_or_else(unknown),
        period_ns: timer.period_ns.max(0).unsigned_abs(),
        count: 0,
        retained_bytes: 0,
        retained_objects: 0,
        abandoned: 0,
        timers: Vec::new(),
    }
}

/// By the runtime's or the standard library's function for it.
fn kind(function: &str, period_ns: i64) -> TimerKind {
    match function {
        "time.goFunc" => TimerKind::Function,
        "time.sendTime" if period_ns > 0 => TimerKind::Ticker,
        "time.sendTime" => TimerKind::Channel,
        "runtime.goroutineReady" => TimerKind::Sleep,
        _ => TimerKind::Runtime,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_told_by_the_function() {
        let rows = [
            ("AfterFunc", "time.goFunc", 0, TimerKind::Function),
            ("After", "time.sendTime", 0, TimerKind::Channel),
            ("NewTicker", "time.sendTime", 5, TimerKind::Ticker),
            ("Sleep", "runtime.goroutineReady", 0, TimerKind::Sleep),
            (
                "a deadline",
                "runtime.netpollReadDeadline",
                0,
                TimerKind::Runtime,
            ),
            ("a broken one", "time.sendTime", -1, TimerKind::Channel),
        ];
        for (name, function, period, want) in rows {
            assert_eq!(kind(function, period), want, "{name}");
        }
    }
}
