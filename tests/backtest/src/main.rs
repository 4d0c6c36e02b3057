//! `backtest [--keep FILE] [--series SELECTION] SEEDS [FIRST [FAMILY]]`: judges so many histories of each family of the corpus, with all their series, from
//! the seed FIRST on, and prints tables: how many leaks were found and how soon, and how many there were that are none,
//! beside alarm rules that people use instead. `backtest --calm-years N [FIRST [FAMILY]]` takes only families in which
//! nothing leaks, and as many seeds as make up N years of processes.
//!
//! With `--keep FILE` what comes of each history is written down there, and not judged again by a later call.
//!
//! `--series rss`, `container` or `memstats` judges by those figures alone: what the process collector, cAdvisor or the
//! Go collector tells. `--keep` is for all of them.
//!
//! The same seeds print the same bytes, on however many processors.
#![forbid(unsafe_code)]

mod baselines;
mod channels;
mod kept;
mod reliability;
mod replay;
mod run;
mod score;
mod tables;
mod window;

use std::process::ExitCode;
use std::thread;

use corpus::{Family, View};
use kept::Kept;

const USAGE: &str = "usage: backtest [--keep FILE | --series SELECTION] SEEDS [FIRST [FAMILY]]\n       \
                     backtest [--keep FILE | --series SELECTION] --calm-years N [FIRST [FAMILY]]";

/// Which figures are judged by.
const SERIES: [(&str, View); 4] = [
    ("all", View::All),
    ("rss", View::Rss),
    ("container", View::Container),
    ("memstats", View::MemStats),
];

/// How much is judged.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Amount {
    /// So many histories of each family.
    Seeds(u64),
    /// So many years of processes that do not leak.
    CalmYears(f64),
}

#[derive(Debug, Clone, PartialEq)]
struct Asked {
    series: (&'static str, View),
    amount: Amount,
    first: u64,
    families: Vec<Family>,
}

fn parse(arguments: &[String]) -> Result<Asked, String> {
    let (series, arguments) = match arguments {
        [option, rest @ ..] if option == "--series" => {
            let word = rest.first().map_or("", String::as_str);
            let series = SERIES.into_iter().find(|(name, _)| *name == word);
            let expected = || format!("expected all, rss, container or memstats, found `{word}`");
            (series.ok_or_else(expected)?, &rest[1..])
        }
        _ => (SERIES[0], arguments),
    };
    let (amount, rest) = match arguments {
        [] => (Amount::Seeds(10), arguments),
        [option, years, rest @ ..] if option == "--calm-years" => {
            let usable = years.parse().ok().filter(|it: &f64| it.is_finite());
            let years =
                usable.ok_or_else(|| format!("expected a number of years, found `{years}`"))?;
            (Amount::CalmYears(years), rest)
        }
        [seeds, rest @ ..] => (Amount::Seeds(number(seeds)?), rest),
    };
    if let Some(more) = rest.get(2) {
        return Err(format!("expected no more after FAMILY, found `{more}`"));
    }
    let first = rest.first().map_or(Ok(1), |first| number(first))?;
    let is_asked = |family: &Family| match amount {
        Amount::Seeds(_) => true,
        Amount::CalmYears(_) => !family.leaks(),
    };
    let only = rest.get(1);
    let families: Vec<Family> = Family::ALL
        .iter()
        .copied()
        .filter(|family| is_asked(family) && only.is_none_or(|only| family.name() == only))
        .collect();
    match only {
        Some(only) if families.is_empty() => Err(format!("no such family here: `{only}`")),
        _ => Ok(Asked {
            series,
            amount,
            first,
            families,
        }),
    }
}

fn number(text: &str) -> Result<u64, String> {
    text.parse()
        .map_err(|_| format!("expected a whole number, found `{text}`"))
}

fn main() -> ExitCode {
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    let kept = match arguments.as_slice() {
        [option, file, ..] if option == "--keep" => match Kept::open(file.as_ref()) {
            Ok(kept) => {
                arguments.drain(..2);
                kept
            }
            Err(error) => {
                eprintln!("error: failed to open {file}: {error}");
                return ExitCode::from(2);
            }
        },
        _ => Kept::default(),
    };
    let asked = match parse(&arguments) {
        Ok(asked) => asked,
        Err(why) => {
            eprintln!("error: {why}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    if kept.is_in_a_file() && asked.series.1 != View::All {
        eprintln!("error: --keep is for all series\n{USAGE}");
        return ExitCode::from(2);
    }
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let Asked {
        series: (series, view),
        amount,
        first,
        families,
    } = asked;
    let measured = match amount {
        Amount::Seeds(seeds) => run::seeds(&families, first, seeds, view, threads, &kept),
        Amount::CalmYears(years) => run::calm_years(&families, first, years, view, threads, &kept),
    };
    let histories = measured.len() / families.len().max(1);
    let which = match amount {
        Amount::Seeds(_) => "each family",
        Amount::CalmYears(_) => "each family in which nothing leaks",
    };
    println!("## {histories} histories of {which}, seeds from {first}, series: {series}\n");
    print!("{}", tables::text(&families, &measured));
    ExitCode::SUCCESS
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(line: &str) -> Result<Asked, String> {
        let arguments: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        parse(&arguments)
    }

    #[test]
    fn what_can_be_asked_for() {
        let all = Family::ALL.len();
        for (line, amount, first, families) in [
            ("", Amount::Seeds(10), 1, all),
            ("3", Amount::Seeds(3), 1, all),
            ("3 7", Amount::Seeds(3), 7, all),
            ("3 7 linear", Amount::Seeds(3), 7, 1),
            ("--calm-years 30", Amount::CalmYears(30.0), 1, 16),
            ("--calm-years 0.5 9 steps", Amount::CalmYears(0.5), 9, 1),
            ("--series rss 2 9 steps", Amount::Seeds(2), 9, 1),
        ] {
            let asked = asked(line).unwrap();
            assert_eq!((asked.amount, asked.first), (amount, first), "{line}");
            assert_eq!(asked.families.len(), families, "{line}");
        }
    }

    #[test]
    fn what_cannot() {
        for (line, why) in [
            ("many", "expected a whole number, found `many`"),
            (
                "--series go 3",
                "expected all, rss, container or memstats, found `go`",
            ),
            ("3 -1", "expected a whole number, found `-1`"),
            ("3 7 lineal", "no such family here: `lineal`"),
            ("3 7 linear 4", "expected no more after FAMILY, found `4`"),
            (
                "--calm-years",
                "expected a whole number, found `--calm-years`",
            ),
            (
                "--calm-years inf",
                "expected a number of years, found `inf`",
            ),
            ("--calm-years 3 1 linear", "no such family here: `linear`"),
        ] {
            assert_eq!(asked(line), Err(why.to_owned()), "{line}");
        }
    }
}
