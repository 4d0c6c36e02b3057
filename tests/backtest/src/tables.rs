//! What was measured, as tables that are read on a terminal and in the book.

use std::fmt::Write as _;

use corpus::Family;

use crate::baselines::RULES;
use crate::run::{JUDGES, Measured};
use crate::score::{Judged, PACES, Score, WINDOW_PERIODS, WINDOW_S, median};

/// Wrong seeds of a family that are named.
const WRONG_MAX: usize = 8;
/// One false incident a week in 100 workloads, in incidents of one workload a year.
const ALLOWED_PER_YEAR: f64 = 365.25 / 7.0 / 100.0;

/// Everything that there is to say of `measured`, in Markdown.
pub(crate) fn text(families: &[Family], measured: &[Measured]) -> String {
    let mut scores = <[Score; JUDGES]>::default();
    for one in measured {
        for (sum, score) in scores.iter_mut().zip(&one.scores) {
            sum.join(score);
        }
    }
    let mut text = String::from("### The judge beside four rules\n\n");
    text.push_str(&beside(&scores));
    text.push_str("\n### By family\n\n");
    text.push_str(&by_family(families, measured));
    text.push_str("\n### Why it was unsure\n\n");
    text.push_str(&unsure(&scores[0]));
    text.push_str("\n### What its confidence is worth\n\n");
    text.push_str(&reliability(&scores[0]));
    text
}

/// What a figure is called, and one judge's.
type Figure = (&'static str, fn(&Score) -> String);

const FIGURES: &[Figure] = &[
    ("leaks found", |it| of(it.found, it.leaks)),
    ("recall", |it| figure(it.recall(), 3)),
    ("precision", |it| figure(it.precision(), 3)),
    ("precision, 1 % leak", |it| {
        figure(it.rare_precision().map(|of| of.0), 3)
    }),
    ("... at least", |it| {
        figure(it.rare_precision().map(|of| of.1), 3)
    }),
    ("minutes to detection", |it| figure(median(&it.minutes), 0)),
    ("... of time to limit", |it| percent(median(&it.parts))),
    ("5 MB/min: leaks found", |it| {
        of(it.paced.0.len() as u32, it.paced.1)
    }),
    ("... minutes", |it| figure(median(&it.paced.0), 0)),
    ("calm, alarmed", |it| of(it.calm_alarmed, it.calm)),
    ("false incidents", |it| {
        figure((it.calm > 0).then(|| it.incidents.into()), 0)
    }),
    ("... a service-year", |it| {
        figure(it.incidents_per_year().map(|of| of.0), 2)
    }),
    ("... at most", |it| {
        figure(it.incidents_per_year().map(|of| of.1), 2)
    }),
];

/// One column a judge, one row a figure that any of them has.
fn beside(scores: &[Score; JUDGES]) -> String {
    let mut heads = vec!["", "this judge"];
    heads.extend(RULES.map(|rule| rule.name));
    let rows = FIGURES.iter().filter_map(|(name, value)| {
        let values: Vec<String> = scores.iter().map(value).collect();
        let is_told = values.iter().any(|value| !value.is_empty());
        is_told.then(|| [vec![(*name).to_owned()], values].concat())
    });
    let mut text = grid(&heads, &rows.collect::<Vec<_>>());
    text.push_str(&notes(&scores[0]));
    text
}

/// So many of so many; nothing of none.
fn of(some: u32, all: u32) -> String {
    match all {
        0 => String::new(),
        _ => format!("{some} of {all}"),
    }
}

/// Nothing where there is no figure.
fn figure(value: Option<f64>, digits: usize) -> String {
    value.map_or(String::new(), |value| format!("{value:.digits$}"))
}

fn percent(part: Option<f64>) -> String {
    part.map_or(String::new(), |part| format!("{:.1} %", 100.0 * part))
}

/// What the figures mean.
fn notes(judge: &Score) -> String {
    let mut text = String::from("\n");
    for rule in RULES {
        // Writing to a string never fails.
        let _ = writeln!(text, "* {}: {}", rule.name, rule.what);
    }
    if judge.leaks > 0 {
        let _ = writeln!(
            text,
            "\nA leak is found when an alarm begins after it did; an alarm that begins before is false. Minutes are medians \
             over the leaks found, those at 5 MB/min over leaks of {:.1} to {:.1} MB/min. Precision is that of this mix, \
             and what it would be if one process in a hundred leaked.",
            PACES.0 / 1e6,
            PACES.1 / 1e6,
        );
    }
    if judge.calm > 0 {
        let _ = writeln!(
            text,
            "\nFalse incidents are those of the {:.2} years of processes that do not leak; alarms of one process less than an \
             hour apart are one. `at most` and `at least` hold with 95 % confidence. One incident a week in 100 services is \
             {ALLOWED_PER_YEAR:.2} a service-year.",
            judge.calm_years(),
        );
    }
    let part = |judged: Judged| match judged.part() {
        Some(part) => percent(Some(part)),
        None => "not recorded".to_owned(),
    };
    let _ = writeln!(
        text,
        "\nUnsure: of all judgements {}; of those after a process had been read for {:.0} minutes and {WINDOW_PERIODS} \
         periods {}.",
        part(judge.judged),
        WINDOW_S / 60.0,
        part(judge.late),
    );
    text
}

fn by_family(families: &[Family], measured: &[Measured]) -> String {
    let heads = [
        "family",
        "leaks found",
        "right kind",
        "minutes to it",
        "of the time to the limit",
        "false alarms",
        "unsure",
        "wrong seeds",
    ];
    let (mut rows, mut how) = (Vec::new(), String::new());
    for family in families {
        let mut score = Score::default();
        let mut wrong = Vec::new();
        for one in measured.iter().filter(|one| one.family == *family) {
            score.join(&one.scores[0]);
            if !one.wrong.is_empty() {
                wrong.push(one.seed.to_string());
                let _ = writeln!(how, "\nseed {}: {}", one.seed, one.wrong.join("; "));
            }
        }
        wrong.truncate(WRONG_MAX);
        rows.push(family_row(*family, &score, &wrong.join(" ")));
    }
    let mut text = grid(&heads, &rows);
    if families.len() == 1 {
        text.push_str(&how);
    }
    text
}

fn family_row(family: Family, score: &Score, wrong: &str) -> Vec<String> {
    let told = |some: bool, text: String| if some { text } else { String::new() };
    let middle = |values| median(values).unwrap_or_default();
    let found = score.found > 0;
    vec![
        family.name().to_owned(),
        of(score.found, score.leaks),
        told(found, score.right_kind.to_string()),
        told(found, format!("{:.0}", middle(&score.minutes))),
        told(found, format!("{:.0} %", 100.0 * middle(&score.parts))),
        format!("{} of {}", score.false_alarms(), score.calm + score.leaks),
        format!("{:.0} %", 100.0 * score.judged.part().unwrap_or_default()),
        wrong.to_owned(),
    ]
}

/// First reasons of the judgements that could not tell although they should, most frequent first.
fn unsure(judge: &Score) -> String {
    let mut codes: Vec<(&String, &u32)> = judge.unsure.iter().collect();
    codes.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
    if codes.is_empty() {
        return "It never was, after the time that it is given.\n".to_owned();
    }
    let all = f64::from(judge.late.all);
    let row = |(code, count): (&String, &u32)| {
        let part = f64::from(*count) / all;
        vec![code.clone(), count.to_string(), percent(Some(part))]
    };
    let rows: Vec<Vec<String>> = codes.into_iter().map(row).collect();
    grid(&["first reason", "judgements", "of all by then"], &rows)
}

fn reliability(judge: &Score) -> String {
    let rows: Vec<Vec<String>> = judge
        .reliability
        .rows()
        .iter()
        .map(|row| {
            vec![
                format!("{:.2} to {:.2}", row.between.0, row.between.1),
                row.verdicts.to_string(),
                format!("{:.3}", row.stated),
                format!("{:.3}", row.right),
            ]
        })
        .collect();
    let Some(error) = judge.reliability.error() else {
        return "No leak was told with a confidence.\n".to_owned();
    };
    let mut text = grid(
        &["confidence", "leaks told", "stated in the mean", "right"],
        &rows,
    );
    let _ = writeln!(
        text,
        "\nThe first leak that is told of each process, by the confidence stated then. Stated and right are {error:.3} apart \
         in the mean."
    );
    text
}

/// A Markdown table whose columns stand below each other.
fn grid(heads: &[&str], rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        let widths = cells.map(|cell| cell.chars().count());
        widths.chain([heads[column].chars().count()]).max()
    };
    let widths: Vec<usize> = (0..heads.len()).filter_map(width).collect();
    let mut text = String::new();
    let mut line = |cells: &mut dyn Iterator<Item = &str>| {
        for (cell, width) in cells.zip(&widths) {
            let _ = write!(text, "| {cell:<width$} ");
        }
        text.push_str("|\n");
    };
    line(&mut heads.iter().copied());
    let rules: Vec<String> = widths.iter().map(|width| "-".repeat(*width)).collect();
    line(&mut rules.iter().map(String::as_str));
    for row in rows {
        line(&mut row.iter().map(String::as_str));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_stand_below_each_other() {
        let rows = [
            vec!["a".to_owned(), "12 % – 13 %".to_owned()],
            vec!["longer".to_owned(), String::new()],
        ];
        assert_eq!(
            grid(&["", "part"], &rows),
            "|        | part        |\n\
             | ------ | ----------- |\n\
             | a      | 12 % – 13 % |\n\
             | longer |             |\n"
        );
    }

    #[test]
    fn tables_of_nothing_are_tables() {
        let text = text(&[Family::Linear], &[]);
        assert!(text.contains("| this judge"), "{text}");
        assert!(text.contains("not recorded"), "{text}");
        assert!(text.contains("No leak was told"), "{text}");
    }
}
