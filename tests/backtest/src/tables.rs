//! What was measured, as tables that are read on a terminal and in the book.

use std::fmt::Write as _;

use corpus::Family;

use crate::baselines::NAMES;
use crate::run::{JUDGES, Measured};
use crate::score::{PACES, Score, WINDOW_PERIODS, WINDOW_S, median};

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
    text.push_str("\n### What its confidence is worth\n\n");
    text.push_str(&reliability(&scores[0]));
    text
}

fn beside(scores: &[Score; JUDGES]) -> String {
    let names = ["this judge"].into_iter().chain(NAMES);
    let leaks = scores[0].leaks > 0;
    let mut heads = vec![""];
    if leaks {
        heads.extend([
            "precision",
            "recall",
            "precision at 1 %",
            "minutes to it",
            "of the time to the limit",
            "minutes at 5 MB/min",
        ]);
    }
    heads.extend([
        "calm processes alarmed",
        "false incidents",
        "a service-year",
        "at most",
    ]);
    let rows = names.zip(scores).map(|(name, score)| {
        let mut row = vec![name.to_owned()];
        if leaks {
            row.extend(of_leaks(score));
        }
        let per_year = score.incidents_per_year();
        row.extend([
            format!("{} of {}", score.calm_alarmed, score.calm),
            score.incidents.to_string(),
            per_year.map_or(String::new(), |(rate, _)| format!("{rate:.2}")),
            per_year.map_or(String::new(), |(_, bound)| format!("{bound:.2}")),
        ]);
        row
    });
    let mut text = grid(&heads, &rows.collect::<Vec<_>>());
    text.push_str(&notes(&scores[0]));
    text
}

/// The figures of one judge that there are only where something leaks.
fn of_leaks(score: &Score) -> [String; 6] {
    let three = |value: Option<f64>| value.map_or(String::new(), |value| format!("{value:.3}"));
    let minutes = |values| median(values).map_or(String::new(), |value| format!("{value:.0}"));
    let (paced, paced_all) = &score.paced;
    [
        three(score.precision()),
        three(score.recall()),
        score
            .precision_at_one_percent()
            .map_or(String::new(), |(value, least)| {
                format!("{value:.3} (at least {least:.3})")
            }),
        minutes(&score.minutes),
        median(&score.parts).map_or(String::new(), |part| format!("{:.0} %", 100.0 * part)),
        format!("{} ({} of {paced_all})", minutes(paced), paced.len()),
    ]
}

fn notes(judge: &Score) -> String {
    let mut text = String::from("\n");
    let mut line = |words: std::fmt::Arguments| {
        // Writing to a string never fails.
        let _ = writeln!(text, "{words}");
    };
    if judge.leaks > 0 {
        line(format_args!(
            "Found is a leak when an alarm begins after it did. Minutes are medians over the leaks that were found; those \
             at 5 MB/min over leaks of {:.1} to {:.1} MB/min, with how many were found of how many. Precision at 1 % is \
             what it would be if one process in a hundred leaked.",
            PACES.0 / 1e6,
            PACES.1 / 1e6,
        ));
    }
    line(format_args!(
        "False incidents are counted on the {:.2} years of processes that do not leak; alarms of one process less than an \
         hour apart are one. Bounds hold with 95 % confidence. One incident a week in 100 services is \
         {ALLOWED_PER_YEAR:.2} a service-year.",
        judge.calm_years(),
    ));
    let part = |part: Option<f64>| {
        part.map_or("not recorded".to_owned(), |part| {
            format!("{:.1} %", 100.0 * part)
        })
    };
    line(format_args!(
        "Unsure: {} of all judgements; {} of those made once a process had been read for {:.0} minutes and {WINDOW_PERIODS} \
         periods.",
        part(judge.judged.part()),
        part(judge.late.part()),
        WINDOW_S / 60.0,
    ));
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
        told(
            score.leaks > 0,
            format!("{} of {}", score.found, score.leaks),
        ),
        told(found, score.right_kind.to_string()),
        told(found, format!("{:.0}", middle(&score.minutes))),
        told(found, format!("{:.0} %", 100.0 * middle(&score.parts))),
        format!("{} of {}", score.false_alarms(), score.calm + score.leaks),
        format!("{:.0} %", 100.0 * score.judged.part().unwrap_or_default()),
        wrong.to_owned(),
    ]
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
