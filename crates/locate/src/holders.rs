//! Who keeps it: two looks at the process's own heap, joined to whom the profiles name. Where there
//! are no profiles, the holders that grow are the suspects themselves.

use inspect::holders::{Change, Diff, Holder as Holding, HolderKind as Kept, Report, Site};
use model::{Holder, HolderKind, Kind, Suspect, SuspectWhat, UnixMs};

use crate::{Interpretation, SUSPECTS_MAX, advice, rank, share};

/// Looks closer together than this show noise, not growth.
pub(crate) const APART_S_MIN: f64 = 5.0;
/// A holder without samples of its allocations is the first suspect's if it has so much of all
/// growth, in percent: nothing else can be.
const ALL_BUT_PERCENT: i64 = 80;
/// A line that allocated less than this part of what a holder has, in percent, is not joined to it.
const SITE_PERCENT: u64 = 10;
/// A way longer than this is told by its end.
const WAY_BYTES_MAX: usize = 60;
/// A holder with less of the growth than this, in percent, is no suspect.
pub(crate) const SUSPECT_PERCENT: i64 = 2;

/// One look at who holds a heap.
#[derive(Debug, Clone, PartialEq)]
pub struct HoldersLook {
    /// When the heap was copied.
    pub at: UnixMs,
    /// What was found.
    pub report: Report,
}

/// What one look or two tell.
struct Seen<'a> {
    /// `None` when there is only one look.
    first: Option<&'a Report>,
    last: &'a Report,
    changes: Vec<Change>,
    /// Between the looks; `None` when there is only one: its sizes then stand as growth.
    seconds: Option<f64>,
}

/// See [`crate::join`]. Without a look it changes nothing.
pub(crate) fn join(
    kind: Kind,
    found: &mut Interpretation,
    first: Option<&HoldersLook>,
    last: Option<&HoldersLook>,
) {
    if kind == Kind::Fd {
        return crate::descriptors::join(found, first, last);
    }
    if !kind.has_holders() {
        return;
    }
    let Some(seen) = see(first, last) else {
        return;
    };
    join_seen(kind, found, &seen);
    if kind == Kind::Goroutine && seen.seconds.is_some() && !found.suspects.is_empty() {
        let other = crate::beside::holder(&seen.changes);
        let other = other.map(|change| suspect(Kind::GoHeap, change, seen.growth(), &seen));
        crate::beside::tell(found, other);
    }
}

fn join_seen(kind: Kind, found: &mut Interpretation, seen: &Seen<'_>) {
    // Suspects that an earlier look named are named anew: the second look ranks by growth.
    let by_holders = found.suspects.iter().all(is_by_holders);
    if by_holders {
        found.suspects = suspects(kind, seen);
        if found.suspects.is_empty() {
            return;
        }
        found
            .advice
            .retain(|advice| !advice.code.starts_with("needs-"));
        if seen.seconds.is_some() {
            found.advice.retain(|advice| advice.code != "one-look-only");
        } else if !found.advice.iter().any(|a| a.code == "one-look-only") {
            found.advice.push(advice(
                "one-look-only",
                "There is no earlier look at the heap: the suspects are those that hold most now, \
                 not those that grew.",
            ));
        }
        return;
    }
    for suspect in &mut found.suspects {
        let holder = match suspect.what {
            SuspectWhat::Goroutine => group_of(suspect, seen),
            SuspectWhat::Allocation => holder_of(suspect, seen),
            _ => None,
        };
        if let Some(change) = holder {
            if suspect.what == SuspectWhat::Goroutine {
                suspect.bytes = Some(change.after_bytes);
                suspect.bytes_before = seen.before(change);
            }
            hold(suspect, change, seen);
        }
    }
}

/// Whether a look named this suspect, not a profile.
fn is_by_holders(suspect: &Suspect) -> bool {
    suspect.stack.is_empty() && suspect.holder.is_some()
}

fn see<'a>(first: Option<&'a HoldersLook>, last: Option<&'a HoldersLook>) -> Option<Seen<'a>> {
    let last = last.or(first)?;
    let apart = first.map(|first| last.at.since(first.at).as_secs_f64());
    Some(match first.zip(apart) {
        Some((first, seconds)) if seconds >= APART_S_MIN => Seen {
            first: Some(&first.report),
            last: &last.report,
            changes: Diff::new(&first.report, &last.report, seconds).changes,
            seconds: Some(seconds),
        },
        _ => {
            let mut nothing = last.report.clone();
            nothing.holders.clear();
            nothing.reached_bytes = 0;
            Seen {
                first: None,
                last: &last.report,
                changes: Diff::new(&nothing, &last.report, 1.0).changes,
                seconds: None,
            }
        }
    })
}

impl Seen<'_> {
    /// How many roots of that name there are now.
    fn count(&self, change: &Change) -> u64 {
        let is_it = |holder: &&Holding| holder.kind == change.kind && holder.name == change.name;
        let holder = self.last.holders.iter().find(is_it);
        holder.map_or(0, |holder| holder.count)
    }

    /// What the holder had at the first look. What hangs on two roots is under another name there
    /// when one of them came or went meanwhile, as pools do: then the one that held what the same
    /// line has allocated, and holds it no more.
    fn before(&self, change: &Change) -> Option<u64> {
        let first = self.first?;
        let line = |site: &Site| (site.function.clone(), site.line);
        let site = change.allocated_at.first().map(line);
        if change.before_bytes > 0 || site.is_none() {
            return Some(change.before_bytes);
        }
        let now = |holder: &Holding| {
            let same = |other: &&Holding| other.kind == holder.kind && other.name == holder.name;
            let other = self.last.holders.iter().find(same);
            other.map_or(0, |other| other.retained_bytes)
        };
        let was = first.holders.iter().find(|holder| {
            holder.allocated_at.first().map(line) == site && now(holder) < holder.retained_bytes / 2
        });
        Some(was.map_or(0, |holder| holder.retained_bytes))
    }

    fn grown(&self) -> impl Iterator<Item = &Change> {
        self.changes.iter().filter(|change| change.growth_bytes > 0)
    }

    fn growth(&self) -> i64 {
        let growths = self.grown().map(|change| change.growth_bytes);
        growths.fold(0, i64::saturating_add)
    }
}

/// The holder with most of what the suspect's line has allocated.
fn holder_of<'a>(suspect: &Suspect, seen: &'a Seen<'_>) -> Option<&'a Change> {
    let by_site = seen
        .grown()
        .map(|change| (allocated_by(suspect, change), change))
        .filter(|((closeness, _), _)| *closeness > 0)
        .max_by_key(|(of, change)| (*of, change.growth_bytes));
    if let Some((_, change)) = by_site {
        return Some(change);
    }
    let most = seen.grown().max_by_key(|change| change.growth_bytes)?;
    let is_all = most.growth_bytes / 100 >= seen.growth() / 10_000 * ALL_BUT_PERCENT;
    let is_free = most.allocated_at.is_empty() && seen.seconds.is_some();
    (suspect.rank == 1 && is_all && is_free).then_some(most)
}

/// How near the holder's allocations are to the suspect (its line 3, its function 2, a caller or
/// callee 1, else 0), and how many bytes those are.
fn allocated_by(suspect: &Suspect, change: &Change) -> (u8, u64) {
    let closeness = |site: &Site| {
        if site.function == suspect.function {
            2 + u8::from(suspect.line == Some(site.line.into()))
        } else {
            let is_site = |frame: &String| function_of(frame) == site.function;
            u8::from(suspect.stack.iter().any(is_site))
        }
    };
    // What is a crumb of the holder's says nothing of the holder, nor the holder of it.
    let all: u64 = change.allocated_at.iter().map(|site| site.bytes).sum();
    let sites = change.allocated_at.iter();
    sites
        .filter(|site| site.bytes >= all / 100 * SITE_PERCENT)
        .map(|site| (closeness(site), site.bytes))
        .max()
        .unwrap_or_default()
}

/// The goroutines that stand where the suspect's do: they began in a function of its stack, or most
/// of what they hold hangs on one.
fn group_of<'a>(suspect: &Suspect, seen: &'a Seen<'_>) -> Option<&'a Change> {
    let is_of = |change: &&Change| {
        let on_stack = change.path.strip_prefix(" in ");
        suspect
            .stack
            .iter()
            .map(|frame| function_of(frame))
            .any(|function| {
                let held_on = |path: &str| {
                    let rest = path.strip_prefix(function);
                    rest.is_some_and(|rest| !rest.starts_with(|c: char| c.is_alphanumeric()))
                };
                change.name == function || on_stack.is_some_and(held_on)
            })
    };
    let groups = seen.grown().filter(|change| change.kind == Kept::Goroutine);
    groups
        .filter(is_of)
        .max_by_key(|change| (change.growth_count, change.growth_bytes))
}

/// The function of a line of a suspect's stack: `function file:line`.
fn function_of(frame: &str) -> &str {
    frame
        .rsplit_once(' ')
        .map_or(frame, |(function, _)| function)
}

/// Without profiles: what grew, the most first.
fn suspects(kind: Kind, seen: &Seen<'_>) -> Vec<Suspect> {
    let growth = seen.growth();
    let told = |change: &&Change| {
        let is_kind = match kind {
            Kind::Goroutine => change.kind == Kept::Goroutine && change.growth_count > 0,
            _ => change.kind != Kept::Runtime,
        };
        is_kind && change.growth_bytes >= growth / 100 * SUSPECT_PERCENT
    };
    let suspects = seen.grown().filter(told).take(SUSPECTS_MAX);
    let mut suspects: Vec<Suspect> = suspects
        .map(|change| suspect(kind, change, growth, seen))
        .collect();
    rank(&mut suspects);
    suspects
}

fn suspect(kind: Kind, change: &Change, growth: i64, seen: &Seen<'_>) -> Suspect {
    let site = change.allocated_at.first();
    let goroutines = kind == Kind::Goroutine;
    let file = site
        .map(|site| site.file.clone())
        .filter(|file| !file.is_empty());
    let count = goroutines.then(|| seen.count(change));
    let before = |count: u64| count.checked_add_signed(change.growth_count.saturating_neg());
    let mut suspect = Suspect {
        rank: 0,
        what: if goroutines {
            SuspectWhat::Goroutine
        } else {
            SuspectWhat::Variable
        },
        function: if goroutines {
            change.name.clone()
        } else {
            text_of(change)
        },
        // A goroutine is stuck elsewhere than where what it holds was allocated.
        file: file.filter(|_| !goroutines),
        line: site
            .filter(|site| !goroutines && site.line > 0)
            .map(|site| site.line.into()),
        bytes: Some(change.after_bytes),
        bytes_before: seen.before(change),
        count,
        count_before: seen.seconds.and_then(|_| count.and_then(before)),
        growth_share: seen
            .seconds
            .and_then(|_| share(change.growth_bytes, growth)),
        stack: Vec::new(),
        held_by: None,
        holder: None,
        note: match seen.seconds {
            Some(_) => None,
            None => Some("by size now; there is no earlier look to compare with".into()),
        },
    };
    hold(&mut suspect, change, seen);
    suspect
}

fn hold(suspect: &mut Suspect, change: &Change, seen: &Seen<'_>) {
    let (site, before) = (change.allocated_at.first(), seen.before(change));
    suspect.held_by = Some(text_of(change));
    suspect.holder = Some(Holder {
        name: change.name.clone(),
        kind: kind_of(change.kind),
        path: change.path.clone(),
        ty: match change.path.is_empty() {
            true => change.ty.clone(),
            false => change.path_type.clone(),
        },
        bytes: change.after_bytes,
        bytes_before: before,
        growth_bytes_per_s: before
            .zip(seen.seconds)
            .map(|(before, seconds)| (change.after_bytes as f64 - before as f64) / seconds),
        allocated_in: site.map(|site| site.function.clone()),
        used_by: change.used_by.clone(),
    });
}

fn text_of(change: &Change) -> String {
    text(change.kind, &change.name, &change.path, &change.used_by)
}

/// `main.sessions[key].token`; what is no variable is called what it is.
pub(crate) fn text(kind: Kept, name: &str, path: &str, used_by: &[String]) -> String {
    let named = match kind {
        Kept::Global | Kept::Runtime => name.to_owned(),
        // There is only ever one; of others the number changes, and this text names the culprit.
        Kept::Goroutine if name == "main.main" => format!("goroutine of {name}"),
        Kept::Goroutine => format!("goroutines of {name}"),
        Kept::Timer => format!("timers of {name}"),
        Kept::Finalizer => format!("finalizers {name}"),
        Kept::Cleanup => format!("cleanups {name}"),
        Kept::Referent => format!("objects with finalizers, {name}"),
        // Which of them is to blame cannot be told; where what they share lies can.
        Kept::Several if !path.is_empty() => {
            let way = end_of(path.trim_start_matches('.'));
            return format!("{way}, shared by {name}");
        }
        Kept::Several => format!("{name}, together"),
    };
    let way = match path.strip_prefix(" in ") {
        Some(way) => format!(", in {}", end_of(way)),
        None => end_of(path),
    };
    match used_by.first() {
        // Without the line, which changes with each build.
        Some(user) => format!("{named}{way} (used by {})", function_of(user)),
        None => format!("{named}{way}"),
    }
}

/// The end of a long way, from a step on: it is nearest to what grows.
fn end_of(way: &str) -> String {
    if way.len() <= WAY_BYTES_MAX {
        return way.to_owned();
    }
    let steps = way.match_indices(['.', '[', '\u{2026}']);
    let from = steps
        .map(|(at, _)| at)
        .find(|at| way.len() - at <= WAY_BYTES_MAX);
    match from {
        Some(at) => format!("\u{2026}{}", way[at..].trim_start_matches('\u{2026}')),
        None => way.to_owned(),
    }
}

fn kind_of(kind: Kept) -> HolderKind {
    match kind {
        Kept::Global => HolderKind::Global,
        Kept::Goroutine => HolderKind::Goroutine,
        Kept::Timer => HolderKind::Timer,
        Kept::Finalizer => HolderKind::Finalizer,
        Kept::Cleanup => HolderKind::Cleanup,
        Kept::Referent => HolderKind::Referent,
        Kept::Runtime => HolderKind::Runtime,
        Kept::Several => HolderKind::Several,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A holder: name, kind, MiB, count, function and line of its allocations, the way to what it
    /// holds.
    type Row<'a> = (&'a str, &'a str, u64, u64, Option<(&'a str, u32)>, &'a str);

    fn look(at_s: i64, rows: &[Row<'_>]) -> HoldersLook {
        let holder = |(name, kind, mib, count, site, path): &Row<'_>| {
            let bytes = mib << 20;
            let sites = site.map(|(function, line)| {
                serde_json::json!({"function": function, "file": "cache.go", "line": line,
                                   "bytes": bytes, "samples": 9})
            });
            serde_json::json!({
                "name": name, "kind": kind, "type": "map[string]*main.Entry", "count": count,
                "retained_bytes": bytes, "retained_objects": mib * 10,
                "allocated_at": Vec::from_iter(sites),
                "paths": [{"path": path, "type": "main.Entry", "bytes": bytes, "count": 9,
                           "children": []}],
            })
        };
        let holders: Vec<serde_json::Value> = rows.iter().map(holder).collect();
        let reached: u64 = rows.iter().map(|row| row.2 << 20).sum();
        let report = serde_json::json!({
            "go_version": "go1.27.3", "layout": "dwarf",
            "heap": {"spans": 1, "span_bytes": reached, "scannable_bytes": reached, "objects": 9,
                     "object_bytes": reached},
            "reached_bytes": reached, "reached_objects": 9, "approximate": true, "blurred": 0,
            "holders": holders, "left_out": {"holders": 0, "bytes": 0},
            "cost": {"calls": 1, "bytes": 1},
        });
        HoldersLook {
            at: UnixMs(at_s * 1000),
            report: serde_json::from_value(report).unwrap(),
        }
    }

    fn named(what: SuspectWhat, function: &str, line: u64, stack: &[&str]) -> Interpretation {
        let suspect = Suspect {
            rank: 1,
            what,
            function: function.into(),
            file: None,
            line: Some(line),
            bytes: None,
            bytes_before: None,
            count: None,
            count_before: None,
            growth_share: Some(0.9),
            stack: stack
                .iter()
                .map(|frame| format!("{frame} cache.go:1"))
                .collect(),
            held_by: None,
            holder: None,
            note: None,
        };
        Interpretation {
            suspects: vec![suspect],
            ..Interpretation::default()
        }
    }

    const PUT: Option<(&str, u32)> = Some(("main.(*Cache).Put", 41));

    #[test]
    fn the_allocating_line_is_joined_to_the_variable_that_grows() {
        let first = look(
            0,
            &[
                ("main.catalogue", "global", 900, 1, PUT, ".items"),
                ("main.sessions", "global", 10, 1, PUT, "[key].token"),
            ],
        );
        let last = look(
            60,
            &[
                ("main.catalogue", "global", 900, 1, PUT, ".items"),
                ("main.sessions", "global", 70, 1, PUT, "[key].token"),
                ("main.log", "global", 30, 1, Some(("main.logf", 7)), "[*]"),
            ],
        );
        let mut found = named(
            SuspectWhat::Allocation,
            "main.(*Cache).Put",
            41,
            &["main.(*Cache).Put"],
        );
        join(Kind::GoHeap, &mut found, Some(&first), Some(&last));
        let suspect = &found.suspects[0];
        assert_eq!(suspect.held_by.as_deref(), Some("main.sessions[key].token"));
        let holder = suspect.holder.as_ref().unwrap();
        assert_eq!(
            (holder.bytes, holder.bytes_before),
            (70 << 20, Some(10 << 20))
        );
        assert_eq!(holder.growth_bytes_per_s, Some(f64::from(1 << 20)));
        assert_eq!(holder.allocated_in.as_deref(), Some("main.(*Cache).Put"));
        assert_eq!(holder.ty, "main.Entry");
    }

    #[test]
    fn one_look_tells_size_and_says_so() {
        let only = look(0, &[("main.sessions", "global", 70, 1, PUT, "[key]")]);
        // Too close together to show growth.
        let again = look(2, &[("main.sessions", "global", 71, 1, PUT, "[key]")]);
        for last in [None, Some(&again)] {
            let mut found = named(SuspectWhat::Allocation, "main.(*Cache).Put", 9, &[]);
            join(Kind::GoHeap, &mut found, Some(&only), last);
            // A suspect without a stack is a profile's all the same: it has no holder yet.
            let holder = found.suspects[0].holder.as_ref().unwrap();
            assert_eq!(
                (holder.growth_bytes_per_s, holder.bytes_before),
                (None, None)
            );
        }
        let mut found = Interpretation::default();
        join(Kind::GoHeap, &mut found, Some(&only), None);
        assert_eq!(found.suspects[0].function, "main.sessions[key]");
        assert!(
            found.suspects[0]
                .note
                .as_deref()
                .unwrap()
                .starts_with("by size")
        );
        assert_eq!(found.advice[0].code, "one-look-only");
    }

    #[test]
    fn without_profiles_what_grows_is_the_suspect_and_the_biggest_is_not() {
        let rows = |mib: u64, user: u64| {
            look(
                mib as i64,
                &[
                    ("main.catalogue", "global", 900, 1, None, ".items"),
                    ("main.sessions", "global", mib, 1, PUT, "[key]"),
                    ("main.poll", "goroutine", user, user, None, " in main.wait"),
                    ("runtime.allm", "runtime", mib * 2, 1, None, ""),
                ],
            )
        };
        let (first, last) = (rows(10, 3), rows(70, 13));
        let mut found = Interpretation {
            advice: vec![advice("needs-heap-profile", "")],
            ..Interpretation::default()
        };
        // An earlier look by size is named anew.
        join(Kind::GoHeap, &mut found, Some(&first), None);
        assert_eq!(found.suspects[0].function, "main.catalogue.items");
        join(Kind::GoHeap, &mut found, Some(&first), Some(&last));
        let names: Vec<&str> = found.suspects.iter().map(|s| s.function.as_str()).collect();
        assert_eq!(
            names,
            [
                "main.sessions[key]",
                "goroutines of main.poll, in main.wait"
            ]
        );
        let first_suspect = &found.suspects[0];
        assert_eq!(first_suspect.what, SuspectWhat::Variable);
        assert_eq!((first_suspect.rank, first_suspect.line), (1, Some(41)));
        assert!(
            found
                .advice
                .iter()
                .all(|advice| advice.code != "needs-heap-profile")
        );

        assert_eq!(found.advice, []);

        let mut found = Interpretation::default();
        join(Kind::Goroutine, &mut found, Some(&first), Some(&last));
        let group = &found.suspects[0];
        assert_eq!(
            (found.suspects.len(), group.function.as_str()),
            (1, "main.poll")
        );
        assert_eq!((group.count_before, group.count), (Some(3), Some(13)));
        assert_eq!(group.bytes, Some(13 << 20));
    }

    #[test]
    fn a_group_of_goroutines_gets_the_bytes_that_it_holds() {
        let rows = |n: u64| {
            look(
                n as i64,
                &[
                    (
                        "main.(*Desk).Quote.gowrap1",
                        "goroutine",
                        n,
                        n,
                        None,
                        " in main.(*Desk).ask",
                    ),
                    (
                        "main.other",
                        "goroutine",
                        n * 3,
                        n,
                        None,
                        " in main.(*Desk).asking",
                    ),
                ],
            )
        };
        let (first, last) = (rows(10), rows(50));
        let stack = ["runtime.gopark", "runtime.chansend", "main.(*Desk).ask"];
        let mut found = named(SuspectWhat::Goroutine, "main.(*Desk).ask", 3, &stack);
        join(Kind::Goroutine, &mut found, Some(&first), Some(&last));
        let suspect = &found.suspects[0];
        assert_eq!(suspect.bytes, Some(50 << 20));
        let holder = suspect.holder.as_ref().unwrap();
        assert_eq!(holder.name, "main.(*Desk).Quote.gowrap1");
        assert_eq!(holder.kind, HolderKind::Goroutine);

        let mut elsewhere = named(SuspectWhat::Goroutine, "main.x", 3, &["main.x"]);
        join(Kind::Goroutine, &mut elsewhere, Some(&first), Some(&last));
        assert_eq!(elsewhere.suspects[0].holder, None);
    }

    #[test]
    fn a_leak_of_the_heap_beside_that_of_goroutines_is_told() {
        let ask = "main.(*Desk).ask";
        let rows = |n: u64, mib: u64| {
            [
                (ask, "goroutine", n, n * 100, None, ""),
                ("main.main", "goroutine", mib, 1, PUT, ".watch[key]"),
                ("net/http.pool and main.main", "several", 9 * n, 1, None, ""),
            ]
        };
        let stack = [ask];
        let told = |second: [Row<'_>; 3]| {
            let mut found = named(SuspectWhat::Goroutine, ask, 7, &stack);
            let (first, second) = (look(0, &rows(10, 20)), look(60, &second));
            // As when the incident opened, and again at the second look.
            join(Kind::Goroutine, &mut found, Some(&first), Some(&second));
            join(Kind::Goroutine, &mut found, Some(&first), Some(&second));
            let names = found.suspects.iter().map(|one| one.held_by.clone());
            let codes = found.advice.iter().map(|one| one.code.clone());
            (Vec::from_iter(names.flatten()), Vec::from_iter(codes))
        };
        let (held, codes) = told(rows(12, 80));
        assert_eq!(codes, ["heap-grows-beside"]);
        assert_eq!(held.len(), 2, "{held:?}");
        assert!(held[0].contains(ask), "the goroutines stay first: {held:?}");
        assert!(held[1].contains("watch[key]"), "{held:?}");
        let (held, codes) = told(rows(40, 24));
        assert!(codes.is_empty(), "the goroutines hold most: {codes:?}");
        assert_eq!(held.len(), 1, "{held:?}");
    }

    #[test]
    fn what_hangs_on_more_roots_than_before_has_grown_from_what_it_was() {
        let pools = "net/http.pool and main.main";
        let first = look(0, &[("main.main", "goroutine", 40, 1, PUT, " in main.run")]);
        let last = look(
            60,
            &[
                (pools, "several", 100, 2, PUT, ".handler.sessions"),
                ("main.main", "goroutine", 1, 1, None, " in main.run"),
            ],
        );
        let mut found = named(SuspectWhat::Allocation, "main.(*Cache).Put", 41, &[]);
        join(Kind::GoHeap, &mut found, Some(&first), Some(&last));
        let suspect = &found.suspects[0];
        let through = format!("handler.sessions, shared by {pools}");
        assert_eq!(suspect.held_by, Some(through));
        let holder = suspect.holder.as_ref().unwrap();
        assert_eq!(holder.growth_bytes_per_s, Some(f64::from(1 << 20)));
    }

    #[test]
    fn a_long_way_is_told_by_its_end() {
        let rows = [
            ("[key].token", "[key].token"),
            (
                ".w.responseWriterDelegator.ResponseWriter….server.Handler.tree.emptyChild.children.s",
                "….ResponseWriter….server.Handler.tree.emptyChild.children.s",
            ),
            (
                ".aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
                ".aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
            ),
        ];
        for (way, want) in rows {
            assert_eq!(end_of(way), want);
        }
    }

    #[test]
    fn nobody_is_named_for_what_others_allocated() {
        let rows = |mib: u64| {
            look(
                mib as i64,
                &[
                    ("main.log", "global", mib, 1, Some(("main.logf", 7)), "[*]"),
                    ("main.bare", "global", mib / 9, 1, None, ""),
                ],
            )
        };
        let (first, last) = (rows(9), rows(90));
        let mut found = named(
            SuspectWhat::Allocation,
            "main.(*Cache).Put",
            41,
            &["main.serve"],
        );
        join(Kind::GoHeap, &mut found, Some(&first), Some(&last));
        assert_eq!(found.suspects[0].held_by, None);
        // Memory outside the Go heap has no such holder.
        let mut native = named(SuspectWhat::Mapping, "main.logf", 7, &[]);
        join(Kind::Native, &mut native, Some(&first), Some(&last));
        assert_eq!(native.suspects[0].held_by, None);
    }
}
