//! Who keeps files and connections open: two looks at the process's own heap, by the descriptors that each holder has.
//! Go closes by itself what nobody holds any more, so one that leaks is held.

use inspect::holders::{DescriptorChange, DescriptorGroup, DescriptorKind, Diff, Report};
use model::{Suspect, SuspectWhat};

use crate::holders::{APART_S_MIN, HoldersLook, SUSPECT_PERCENT, text};
use crate::{Interpretation, SUSPECTS_MAX, advice, rank, share};

/// Descriptors that nothing of Go's holds are the leak when they are so much of all growth, in percent.
const OTHERS_PERCENT: u64 = 50;

/// Names who holds the descriptors as the suspects: they know better than any profile, which samples bytes. Without a
/// look it changes nothing.
pub(crate) fn join(
    found: &mut Interpretation,
    first: Option<&HoldersLook>,
    last: Option<&HoldersLook>,
) {
    let Some(last) = last.or(first) else {
        return;
    };
    let apart = first.filter(|first| last.at.since(first.at).as_secs_f64() >= APART_S_MIN);
    let seen = match apart {
        Some(first) => grown(
            &first.report,
            &last.report,
            last.at.since(first.at).as_secs_f64(),
        ),
        None => Seen::by_number(&last.report),
    };
    found.suspects = suspects(&seen, &last.report);
    found
        .advice
        .retain(|advice| !OWN_CODES.contains(&advice.code.as_str()));
    if seen.others.saturating_mul(100) >= seen.growth.saturating_mul(OTHERS_PERCENT)
        && seen.growth > 0
    {
        found.advice.push(advice(
            "descriptors-not-gos",
            "Most of these descriptors belong to no file or connection of Go's: system calls, C, or a library that has \
             its own made them. `ls -l /proc/PID/fd` tells what they are.",
        ));
    }
    if apart.is_none() && !found.suspects.is_empty() {
        found.advice.push(advice(
            "one-look-only",
            "There is no earlier look at who holds the descriptors: the suspects are those that hold most now, not \
             those that hold ever more.",
        ));
    }
}

/// Advice that each look gives anew.
const OWN_CODES: [&str; 2] = ["descriptors-not-gos", "one-look-only"];

/// What one look tells or two.
struct Seen {
    /// The most grown first; of one look, what there is.
    changes: Vec<DescriptorChange>,
    /// All descriptors that came, whoever holds them.
    growth: u64,
    /// Those that nothing of Go's holds.
    others: u64,
    is_growth: bool,
}

impl Seen {
    fn by_number(report: &Report) -> Self {
        let mut nothing = report.clone();
        nothing.descriptors = Default::default();
        let all = grown(&nothing, report, 1.0);
        Self {
            is_growth: false,
            ..all
        }
    }
}

fn grown(first: &Report, last: &Report, seconds: f64) -> Seen {
    let others = |report: &Report| -> u64 {
        let others = report.descriptors.others.iter();
        others.map(|one| one.count).sum()
    };
    let mut changes = Diff::new(first, last, seconds).descriptors;
    changes.retain(|change| change.growth > 0);
    let others = others(last).saturating_sub(others(first));
    let held = changes.iter().map(|change| change.growth.unsigned_abs());
    Seen {
        growth: held.fold(others, u64::saturating_add),
        changes,
        others,
        is_growth: true,
    }
}

fn suspects(seen: &Seen, last: &Report) -> Vec<Suspect> {
    let growth = i64::try_from(seen.growth).unwrap_or(i64::MAX);
    let told = seen.changes.iter().filter(|change| {
        change.growth.saturating_mul(100) >= growth.saturating_mul(SUSPECT_PERCENT)
    });
    let mut suspects: Vec<Suspect> = told
        .take(SUSPECTS_MAX)
        .map(|change| suspect(change, seen, growth, last))
        .collect();
    rank(&mut suspects);
    suspects
}

fn suspect(change: &DescriptorChange, seen: &Seen, growth: i64, last: &Report) -> Suspect {
    let group = &change.group;
    let holder = text(
        group.holder_kind,
        &group.holder,
        &group.path,
        &group.used_by,
    );
    let site = group.allocated_at.first();
    let file = site.map(|site| site.file.clone());
    Suspect {
        rank: 0,
        what: SuspectWhat::Fd,
        function: holder.clone(),
        file: file.filter(|file| !file.is_empty()),
        line: site.map(|site| site.line.into()),
        bytes: None,
        count: Some(group.count),
        bytes_before: None,
        count_before: seen.is_growth.then_some(change.before),
        growth_share: seen
            .is_growth
            .then(|| share(change.growth, growth))
            .flatten(),
        stack: Vec::new(),
        held_by: Some(holder),
        holder: None,
        note: Some(note(group, last, seen.is_growth)),
    }
}

/// `holds 412 of 430 open descriptors: files (os.File), opened in main.keep by those that the memory profile sampled`.
fn note(group: &DescriptorGroup, last: &Report, is_growth: bool) -> String {
    let of_open = last
        .descriptors
        .open
        .map_or_else(String::new, |open| format!(" of {open} open"));
    let things = match group.kind {
        DescriptorKind::File => "files",
        DescriptorKind::Socket => "sockets",
        DescriptorKind::Pipe => "pipes",
        DescriptorKind::Other => "of the kernel's own, such as epoll",
    };
    let ty = match group.ty.as_str() {
        "" => String::new(),
        ty => format!(" ({ty})"),
    };
    let site = group.allocated_at.first().map_or_else(String::new, |site| {
        format!(
            ", opened in {} by those that the memory profile sampled",
            site.function
        )
    });
    let size = match is_growth {
        true => "",
        false => "; by number now, there is no earlier look to compare with",
    };
    format!(
        "holds {}{of_open} descriptors: {things}{ty}{site}{size}",
        group.count
    )
}

#[cfg(test)]
mod tests {
    use model::{Kind, UnixMs};

    use super::*;

    /// A holder, the way, its kind, and how many descriptors of files.
    type Row<'a> = (&'a str, &'a str, &'a str, u64);

    fn look(at_s: i64, rows: &[Row<'_>], others: u64) -> HoldersLook {
        let group = |(holder, path, kind, count): &Row<'_>| {
            let sites = match *holder {
                "main.claims" => {
                    serde_json::json!([{"function": "main.(*claims).Put", "file": "claims.go",
                                                     "line": 26, "bytes": 152, "samples": 1}])
                }
                _ => serde_json::json!([]),
            };
            serde_json::json!({
                "holder": holder, "holder_kind": kind, "path": path, "type": "os.File", "kind": "file",
                "count": count, "allocated_at": sites,
            })
        };
        let held: Vec<serde_json::Value> = rows.iter().map(group).collect();
        let open = rows.iter().map(|row| row.3).sum::<u64>() + others;
        let report = serde_json::json!({
            "go_version": "go1.27.3", "layout": "dwarf",
            "heap": {"spans": 1, "span_bytes": 1, "scannable_bytes": 1, "objects": 9, "object_bytes": 1},
            "reached_bytes": 1, "reached_objects": 9, "approximate": true, "blurred": 0,
            "holders": [], "left_out": {"holders": 0, "bytes": 0}, "cost": {"calls": 1, "bytes": 1},
            "descriptors": {"open": open, "held": held, "left_out": 0, "unreached": 0,
                            "others": [{"kind": "socket", "count": others}]},
        });
        HoldersLook {
            at: UnixMs(at_s * 1000),
            report: serde_json::from_value(report).unwrap(),
        }
    }

    fn named(first: Option<&HoldersLook>, last: Option<&HoldersLook>) -> Interpretation {
        let mut found = Interpretation::default();
        crate::join(Kind::Fd, &mut found, first, last);
        found
    }

    #[test]
    fn who_holds_ever_more_is_the_suspect_and_who_holds_most_is_not() {
        let rows = |claims, waiting| {
            [
                ("main.pool", "[*]", "global", 900),
                ("main.claims", ".open[*]", "global", claims),
                ("main.serve", " in main.serve.conn", "goroutine", waiting),
            ]
        };
        let first = look(0, &rows(10, 3), 6);
        let last = look(60, &rows(250, 33), 6);
        let found = named(Some(&first), Some(&last));
        let [claims, waiting] = &found.suspects[..] else {
            panic!("{found:?}");
        };
        assert_eq!((claims.rank, claims.what), (1, SuspectWhat::Fd));
        assert_eq!(claims.held_by.as_deref(), Some("main.claims.open[*]"));
        assert_eq!((claims.count_before, claims.count), (Some(10), Some(250)));
        assert_eq!(claims.growth_share, Some(240.0 / 270.0));
        assert_eq!(
            (claims.file.as_deref(), claims.line),
            (Some("claims.go"), Some(26))
        );
        assert_eq!(
            claims.note.as_deref(),
            Some(
                "holds 250 of 1189 open descriptors: files (os.File), opened in main.(*claims).Put by those that the \
                 memory profile sampled"
            )
        );
        assert_eq!(
            waiting.function,
            "goroutines of main.serve, in main.serve.conn"
        );
        assert_eq!(found.advice, []);
    }

    #[test]
    fn one_look_tells_number_and_says_so_until_there_are_two() {
        let first = look(0, &[("main.claims", ".open[*]", "global", 10)], 0);
        let mut found = named(Some(&first), None);
        assert_eq!(found.suspects[0].growth_share, None);
        assert!(
            found.suspects[0]
                .note
                .as_deref()
                .unwrap()
                .contains("by number now")
        );
        assert_eq!(found.advice[0].code, "one-look-only");
        let last = look(60, &[("main.claims", ".open[*]", "global", 90)], 0);
        crate::join(Kind::Fd, &mut found, Some(&first), Some(&last));
        assert_eq!(found.suspects[0].growth_share, Some(1.0));
        assert_eq!(found.advice, []);
        assert_eq!(named(None, None), Interpretation::default());
    }

    #[test]
    fn what_no_object_of_go_has_is_said_to_be_elsewhere() {
        let rows = [("main.claims", ".open[*]", "global", 10)];
        let (first, last) = (look(0, &rows, 3), look(60, &rows, 90));
        let found = named(Some(&first), Some(&last));
        assert_eq!(found.suspects, []);
        assert_eq!(found.advice[0].code, "descriptors-not-gos");
    }
}
