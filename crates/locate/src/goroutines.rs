//! Which goroutines piled up: two goroutine profiles, compared by where they are stuck.

use model::{Suspect, SuspectWhat};
use profile::{Diff, Frame, frame_to_look_at, wait_reason};

use crate::heap::{compare, suspect, suspects};
use crate::patterns::asked_by;
use crate::{Evidence, Interpretation, SUSPECTS_MAX, advice, rank};

/// What the note of goroutines that wait begins with; the runtime's word for it follows.
pub(crate) const BLOCKED_IN: &str = "goroutines blocked in: ";

/// Callers named beside a group of goroutines that nobody's own code runs in.
const CALLERS_MAX: usize = 2;

pub(crate) fn interpret(evidence: &Evidence<'_>) -> Interpretation {
    let Some(after) = &evidence.after.goroutine else {
        return Interpretation {
            advice: vec![advice(
                "needs-goroutine-profile",
                "No goroutine profile could be taken, so no line can be named: serve \
                 net/http/pprof on loopback, or give its address with --url.",
            )],
            ..Interpretation::default()
        };
    };
    let before = evidence.before.goroutine.as_ref();
    // Go names the one sample type of this profile in the singular.
    let Some(compared) = compare(before, after, "goroutine") else {
        return Interpretation::default();
    };
    let mut found = suspects(&compared, evidence, SuspectWhat::Goroutine);
    for suspect in &mut found {
        suspect.note = wait_note(&compared, evidence, suspect);
    }
    if let Some(group) = of_a_library(&compared, evidence) {
        let callers = callers(evidence, &group);
        found.splice(0..0, [group].into_iter().chain(callers));
        found.truncate(SUSPECTS_MAX);
        rank(&mut found);
    }
    Interpretation {
        suspects: found,
        kind: None,
        advice: Vec::new(),
    }
}

/// The goroutines in which only the library runs, as a client's for a connection, if most of those that grew are
/// such: named by the function that they began in, since whoever made them is on no stack.
fn of_a_library(compared: &Diff, evidence: &Evidence<'_>) -> Option<Suspect> {
    let frames = compared.by_frame(evidence.main_module);
    let grown = frames.iter().map(|of| of.growth().max(0));
    let grown = grown.fold(0, i64::saturating_add);
    let group = frames.iter().find(|of| of.frame.is_none())?;
    if group.growth() <= grown / 2 {
        return None;
    }
    let mut group = group.clone();
    group.stack = stack_to_show(compared, evidence).unwrap_or(group.stack);
    let began = began(&group.stack)?;
    let mut found = suspect(&group, began, grown, SuspectWhat::Goroutine);
    let reason = wait_reason(&group.stack);
    found.note = reason.map(|reason| format!("{BLOCKED_IN}{reason}"));
    Some(found)
}

/// What a goroutine began in.
fn began<'f, 'p>(stack: &'f [Frame<'p>]) -> Option<&'f Frame<'p>> {
    stack.iter().rfind(|frame| frame.name() != "runtime.goexit")
}

/// Of stacks in which only the library runs, the one to show: where a client's goroutines pile up those of the server at
/// the other end of its connections may do so, too, and somebody asked for the client's.
fn stack_to_show<'d>(compared: &'d Diff, evidence: &Evidence<'_>) -> Option<Vec<Frame<'d>>> {
    let growths = compared.growths();
    let mut stacks =
        growths.filter(|of| frame_to_look_at(&of.stack, evidence.main_module).is_none());
    let first = stacks.next()?;
    let as_large = first.growth() / 2;
    let is_asked_for =
        |stack: &[Frame<'_>]| began(stack).is_some_and(|frame| asked_by(&frame.name()).is_some());
    if is_asked_for(&first.stack) {
        return Some(first.stack);
    }
    let mut others = stacks.take_while(|of| of.growth() >= as_large);
    let asked_for = others.find(|of| is_asked_for(&of.stack));
    Some(asked_for.map_or(first.stack, |of| of.stack))
}

/// Who asked the library for goroutines like `group`: the own code under which memory grew on a way through what asks
/// for them, where that is known, else through the same package. A request or a connection leaves memory behind where it
/// was asked for.
fn callers(evidence: &Evidence<'_>, group: &Suspect) -> Vec<Suspect> {
    let package = package_of(&group.function);
    let asks = asked_by(&group.function);
    let Some(after) = &evidence.after.heap else {
        return Vec::new();
    };
    let Some(compared) = compare(evidence.before.heap.as_ref(), after, "inuse_space") else {
        return Vec::new();
    };
    let through = |frame: &Frame<'_>| {
        let name = frame.name();
        match asks {
            Some(asks) => asks.iter().any(|asks| name.starts_with(asks)),
            None => package_of(&name) == package,
        }
    };
    let frames = compared.by_frame(evidence.main_module);
    let grown: Vec<_> = frames
        .iter()
        .filter(|of| of.growth() > 0 && calls(&of.stack, of.frame.as_ref(), through))
        .collect();
    let sum = grown.iter().map(|of| of.growth());
    let sum = sum.fold(0, i64::saturating_add);
    let named = grown.iter().filter_map(|of| {
        let mut found = suspect(of, of.frame.as_ref()?, sum, SuspectWhat::Allocation);
        found.note = Some(format!(
            "what it asked {package} for grew beside these goroutines"
        ));
        Some(found)
    });
    named.take(CALLERS_MAX).collect()
}

/// Whether `own`, a frame of `stack`, has called something for which `is_it` holds: leaf first, it is above.
fn calls(stack: &[Frame<'_>], own: Option<&Frame<'_>>, is_it: impl Fn(&Frame<'_>) -> bool) -> bool {
    let above = stack.iter().take_while(|frame| Some(*frame) != own);
    above.into_iter().any(is_it)
}

/// `net/http` of `net/http.(*persistConn).readLoop`.
fn package_of(function: &str) -> &str {
    let (folders, name) = function.rsplit_once('/').unwrap_or(("", function));
    let package = name.split('.').next().unwrap_or(name);
    let start = folders.len() + usize::from(!folders.is_empty());
    &function[..start + package.len()]
}

/// What the goroutines at the suspect's place wait for, in the runtime's own words.
fn wait_note(compared: &Diff, evidence: &Evidence<'_>, suspect: &Suspect) -> Option<String> {
    let frames = compared.by_frame(evidence.main_module);
    let growth = frames.iter().find(|growth| {
        growth.frame.as_ref().is_some_and(|frame| {
            frame.name() == suspect.function && u64::try_from(frame.line).ok() == suspect.line
        })
    })?;
    wait_reason(&growth.stack).map(|reason| format!("{BLOCKED_IN}{reason}"))
}

#[cfg(test)]
mod tests {
    use profile::Profile;

    use super::*;
    use crate::Look;

    fn goroutines(rows: &[(&[&str], i64)]) -> Profile {
        profile("goroutine", rows)
    }

    fn profile(sample_type: &str, rows: &[(&[&str], i64)]) -> Profile {
        let mut made = profile::ProfileBuilder::new(&[(sample_type, "count")]);
        let mut at = 1;
        for (stack, count) in rows {
            let mut locations = Vec::new();
            for function in *stack {
                let function = made.function(function, "shop.go", 1);
                locations.push(made.location(at, &[(function, 12)]));
                at += 1;
            }
            made.sample(&locations, &[*count]);
        }
        made.build().unwrap()
    }

    #[test]
    fn the_group_that_grew_is_named_with_what_it_waits_for() {
        let stuck: &[&str] = &[
            "runtime.gopark",
            "runtime.chansend",
            "runtime.chansend1",
            "main.(*Quoter).send",
        ];
        let idle: &[&str] = &[
            "runtime.gopark",
            "internal/poll.runtime_pollWait",
            "main.serve",
        ];
        let before = goroutines(&[(stuck, 3), (idle, 50)]);
        let after = goroutines(&[(stuck, 2_403), (idle, 52)]);
        let (before, after) = (
            Look {
                goroutine: Some(before),
                ..Look::default()
            },
            Look {
                goroutine: Some(after),
                ..Look::default()
            },
        );
        let found = interpret(&Evidence {
            before: &before,
            after: &after,
            main_module: None,
        });
        let first = &found.suspects[0];
        assert_eq!(first.function, "main.(*Quoter).send");
        assert_eq!((first.count_before, first.count), (Some(3), Some(2_403)));
        assert_eq!(first.bytes, None);
        assert_eq!(
            first.note.as_deref(),
            Some("goroutines blocked in: chan send")
        );
    }

    /// Of the goroutines of `net/http` no stack tells who asked; the heap does.
    #[test]
    fn who_asked_a_library_stands_beside_its_goroutines() {
        let read: &[&str] = &["runtime.gopark", "net/http.(*persistConn).readLoop"];
        let write: &[&str] = &["runtime.gopark", "net/http.(*persistConn).writeLoop"];
        let asked: &[&str] = &[
            "runtime.mallocgc",
            "net/http.NewRequestWithContext",
            "net/http.(*Client).Get",
            "main.(*Warehouse).InStock",
            "net/http.HandlerFunc.ServeHTTP",
        ];
        let served: &[&str] = &[
            "runtime.mallocgc",
            "main.(*Cache).Put",
            "net/http.HandlerFunc.ServeHTTP",
        ];
        // The other end of the connections is a server in the same program.
        let serve: &[&str] = &["runtime.gopark", "net/http.(*conn).serve"];
        let written: &[&str] = &[
            "runtime.mallocgc",
            "net/http.Header.Set",
            "main.writePage",
            "net/http.HandlerFunc.ServeHTTP",
        ];
        let look = |factor: i64| Look {
            goroutine: Some(goroutines(&[
                (read, 400 * factor),
                (write, 401 * factor),
                (serve, 402 * factor),
            ])),
            heap: Some(profile(
                "inuse_space",
                &[
                    (asked, 1000 * factor),
                    (served, 9000 * factor),
                    (written, 2000 * factor),
                ],
            )),
            ..Look::default()
        };
        let (before, after) = (look(1), look(4));
        let found = interpret(&Evidence {
            before: &before,
            after: &after,
            main_module: None,
        });
        let names: Vec<(u32, &str)> = found
            .suspects
            .iter()
            .map(|suspect| (suspect.rank, suspect.function.as_str()))
            .collect();
        assert_eq!(
            names,
            [
                (1, "net/http.(*persistConn).writeLoop"),
                (2, "main.(*Warehouse).InStock")
            ]
        );
        assert_eq!(found.suspects[0].count, Some(4812));
    }

    #[test]
    fn a_function_names_its_package() {
        for (function, package) in [
            ("net/http.(*persistConn).readLoop", "net/http"),
            ("main.main", "main"),
            ("example.com/a.b/c/v2.F[...]", "example.com/a.b/c/v2"),
            ("", ""),
        ] {
            assert_eq!(package_of(function), package, "{function}");
        }
    }
}
