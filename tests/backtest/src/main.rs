//! `backtest SEEDS [FIRST [FAMILY]]`: judges so many histories of each family of the corpus, with all their series, from
//! the seed FIRST on, and prints a table: how many leaks were found and how soon, and how many there were that are none.
#![forbid(unsafe_code)]

mod channels;
mod replay;

use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use corpus::{Family, History, history};

use replay::{Outcome, is_kind, replay};

/// What a family's histories came to.
#[derive(Debug, Default)]
struct Tally {
    leaks: u32,
    found: u32,
    right_kind: u32,
    calm: u32,
    false_alarms: u32,
    judged: u32,
    unsure: u32,
    /// Hours of replicas without a leak.
    calm_hours: f64,
    /// Minutes to detection, and that as a part of the time that the process had until its limit.
    minutes: Vec<f64>,
    parts: Vec<f64>,
    /// Seeds that came out wrong, and how.
    wrong: Vec<(u64, String)>,
}

impl Tally {
    fn add(&mut self, history: &History, outcomes: &[Outcome]) {
        let mut wrong = Vec::new();
        for (replica, outcome) in history.replicas.iter().zip(outcomes) {
            self.judged += outcome.judged;
            self.unsure += outcome.unsure;
            if let Some((at_s, kind)) = outcome.false_alarm {
                self.false_alarms += 1;
                wrong.push(format!(
                    "{}: no leak, {kind:?} told at {:.2} h: {}",
                    replica.instance,
                    at_s / 3600.0,
                    outcome.said
                ));
            }
            let Some(leak) = history.truth.leak.filter(|_| replica.leaks) else {
                self.calm += 1;
                self.calm_hours += replica.readings.len() as f64 * history.period_s / 3600.0;
                continue;
            };
            self.leaks += 1;
            if outcome.found.is_none() {
                wrong.push(format!(
                    "{}: {:.0} KiB/min from {:.2} h to {:.2} h, never told: {}",
                    replica.instance,
                    leak.bytes_per_minute / 1024.0,
                    leak.from_s / 3600.0,
                    replica
                        .readings
                        .last()
                        .map_or(0.0, |last| last.at_s / 3600.0),
                    outcome.said
                ));
            }
            if let Some((after_s, kind)) = outcome.found {
                self.found += 1;
                self.right_kind += u32::from(is_kind(kind, leak.kind));
                self.minutes.push(after_s / 60.0);
                let begin = replica
                    .readings
                    .iter()
                    .find(|reading| reading.at_s >= leak.from_s);
                let used = begin.map_or(0.0, |reading| reading.memory.rss);
                let minutes_to_limit = (history.limit - used) / leak.bytes_per_minute.max(1.0);
                self.parts.push(after_s / 60.0 / minutes_to_limit);
            }
        }
        if !wrong.is_empty() {
            self.wrong.push((history.seed, wrong.join("; ")));
        }
    }
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |at: usize, default: u64| {
        arguments
            .get(at)
            .map_or(Some(default), |text| text.parse().ok())
    };
    let (Some(seeds), Some(first)) = (number(0, 10), number(1, 1)) else {
        eprintln!("usage: backtest SEEDS [FIRST [FAMILY]]");
        return ExitCode::from(2);
    };
    let only = arguments.get(2);
    let families: Vec<Family> = Family::ALL
        .iter()
        .copied()
        .filter(|family| only.is_none_or(|only| family.name() == only))
        .collect();
    let work: Vec<(usize, u64)> = (0..families.len())
        .flat_map(|at| (first..first + seeds).map(move |seed| (at, seed)))
        .collect();
    let tallies: Vec<Mutex<Tally>> = families.iter().map(|_| Mutex::default()).collect();
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                while let Some(&(at, seed)) = work.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let history = history(families[at], seed);
                    let outcomes: Vec<Outcome> = history
                        .replicas
                        .iter()
                        .map(|replica| replay(&history, replica))
                        .collect();
                    let mut tally = tallies[at].lock().unwrap_or_else(PoisonError::into_inner);
                    tally.add(&history, &outcomes);
                }
            });
        }
    });
    println!("{seeds} histories of each family, seeds from {first}, all series\n");
    let all: Vec<Tally> = tallies
        .into_iter()
        .map(|tally| tally.into_inner().unwrap_or_else(PoisonError::into_inner))
        .collect();
    print(&families, all);
    ExitCode::SUCCESS
}

fn print(families: &[Family], tallies: Vec<Tally>) {
    println!(
        "| family | leaks found | right kind | minutes to it | of the time to the limit | false alarms | unsure | wrong seeds |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    let (mut leaks, mut found, mut false_alarms, mut calm_hours) = (0, 0, 0, 0.0);
    for (family, mut tally) in families.iter().zip(tallies) {
        leaks += tally.leaks;
        found += tally.found;
        false_alarms += tally.false_alarms;
        calm_hours += tally.calm_hours;
        tally.wrong.sort_unstable();
        let told = |some: bool, text: String| if some { text } else { String::new() };
        let wrong = tally.wrong.iter().take(8).map(|(seed, _)| seed.to_string());
        let wrong: Vec<String> = wrong.collect();
        println!(
            "| {} | {} | {} | {} | {} | {} of {} | {:.0} % | {} |",
            family.name(),
            told(
                tally.leaks > 0,
                format!("{} of {}", tally.found, tally.leaks)
            ),
            told(tally.found > 0, format!("{}", tally.right_kind)),
            told(
                tally.found > 0,
                format!("{:.0}", median(&mut tally.minutes))
            ),
            told(
                tally.found > 0,
                format!("{:.0} %", 100.0 * median(&mut tally.parts))
            ),
            tally.false_alarms,
            tally.calm + tally.leaks,
            100.0 * f64::from(tally.unsure) / f64::from(tally.judged.max(1)),
            wrong.join(" "),
        );
        if families.len() == 1 {
            for (seed, how) in &tally.wrong {
                println!("\nseed {seed}: {how}");
            }
        }
    }
    let precision = f64::from(found) / f64::from((found + false_alarms).max(1));
    let recall = f64::from(found) / f64::from(leaks.max(1));
    println!(
        "\nprecision {precision:.3}, recall {recall:.3}; {false_alarms} false alarms in {:.2} years of processes that do not leak",
        calm_hours / 24.0 / 365.25
    );
}
