//! Who grew on the Go heap: two heap profiles, compared by the frame a person should look at.

use model::{Suspect, SuspectWhat};
use profile::{Diff, Frame, FrameGrowth, Profile, diff};

use crate::{Evidence, Interpretation, SUSPECTS_MAX, advice, rank, share, stack_lines};

pub(crate) fn interpret(evidence: &Evidence<'_>) -> Interpretation {
    let Some(after) = &evidence.after.heap else {
        return Interpretation {
            advice: vec![advice(
                "needs-heap-profile",
                "No heap profile could be taken, so no line can be named: serve net/http/pprof \
                 on loopback, or give its address with --url.",
            )],
            ..Interpretation::default()
        };
    };
    let Some(compared) = compare(evidence.before.heap.as_ref(), after, "inuse_space") else {
        return Interpretation::default();
    };
    let mut suspects = suspects(&compared, evidence, SuspectWhat::Allocation);
    let mut advices = Vec::new();
    if evidence.before.heap.is_none() {
        for suspect in &mut suspects {
            suspect.note = Some("by size now; there is no earlier profile to compare with".into());
        }
        advices.push(advice(
            "one-look-only",
            "There is no heap profile from before the growth: the suspects are those that hold \
             most now, not those that grew.",
        ));
    }
    Interpretation {
        suspects,
        kind: None,
        advice: advices,
    }
}

/// The growth of `sample_type` from `before`, or from nothing, to `after`.
pub(crate) fn compare(
    before: Option<&Profile>,
    after: &Profile,
    sample_type: &str,
) -> Option<Diff> {
    let empty;
    let before = match before {
        Some(before) => before,
        None => {
            let unit = after
                .sample_type(after.sample_type_index(sample_type).ok()?)
                .unit;
            empty = profile::ProfileBuilder::new(&[(sample_type, unit)])
                .build()
                .ok()?;
            &empty
        }
    };
    diff(before, after, sample_type).ok()
}

/// What grew, by frame, the most first. The share is that of all that grew: what shrank meanwhile
/// does not make it smaller.
pub(crate) fn suspects(
    compared: &Diff,
    evidence: &Evidence<'_>,
    what: SuspectWhat,
) -> Vec<Suspect> {
    let frames = compared.by_frame(evidence.main_module);
    let grown: i64 = frames
        .iter()
        .map(|f| f.growth().max(0))
        .fold(0, i64::saturating_add);
    let mut suspects: Vec<Suspect> = frames
        .iter()
        .filter(|growth| growth.growth() > 0)
        .filter_map(|growth| Some(suspect(growth, growth.frame.as_ref()?, grown, what)))
        .take(SUSPECTS_MAX)
        .collect();
    rank(&mut suspects);
    suspects
}

/// The suspect that `growth` of `grown` in all makes of `frame`.
pub(crate) fn suspect(
    growth: &FrameGrowth<'_>,
    frame: &Frame<'_>,
    grown: i64,
    what: SuspectWhat,
) -> Suspect {
    let positive = |value: i64| u64::try_from(value).unwrap_or(0);
    let counts = what == SuspectWhat::Goroutine;
    let bytes = |value: i64| (!counts).then(|| positive(value));
    let count = growth.count.as_ref();
    Suspect {
        rank: 0,
        what,
        function: frame.name().into_owned(),
        file: (!frame.file.is_empty()).then(|| frame.file.to_owned()),
        line: u64::try_from(frame.line).ok().filter(|&line| line > 0),
        bytes: bytes(growth.after),
        bytes_before: bytes(growth.before),
        count: if counts {
            Some(positive(growth.after))
        } else {
            count.map(|c| positive(c.after))
        },
        count_before: if counts {
            Some(positive(growth.before))
        } else {
            count.map(|c| positive(c.before))
        },
        growth_share: share(growth.growth(), grown),
        stack: stack_lines(&growth.stack),
        held_by: None,
        holder: None,
        note: None,
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::Look;

    /// A heap profile of (function, line, bytes) allocations, each under `runtime.mallocgc`.
    pub(crate) fn heap(rows: &[(&str, i64, i64)]) -> Profile {
        let mut made =
            profile::ProfileBuilder::new(&[("inuse_objects", "count"), ("inuse_space", "bytes")]);
        let malloc = made.function("runtime.mallocgc", "malloc.go", 1);
        let leaf = made.location(1, &[(malloc, 10)]);
        for (at, (function, line, bytes)) in (100..).zip(rows) {
            let function = made.function(function, "shop.go", 1);
            let here = made.location(at, &[(function, *line)]);
            made.sample(&[leaf, here], &[bytes / 1024, *bytes]);
        }
        made.build().unwrap()
    }

    #[test]
    fn the_line_that_grew_is_first_and_the_biggest_is_not() {
        let before = Look {
            heap: Some(heap(&[
                ("main.catalogue", 5, 90 << 20),
                ("main.(*Cache).Put", 41, 1 << 20),
            ])),
            ..Look::default()
        };
        let after = Look {
            heap: Some(heap(&[
                ("main.catalogue", 5, 91 << 20),
                ("main.(*Cache).Put", 41, 40 << 20),
                ("main.gone", 7, 0),
            ])),
            ..Look::default()
        };
        let evidence = Evidence {
            before: &before,
            after: &after,
            main_module: None,
        };
        let found = interpret(&evidence);
        let first = &found.suspects[0];
        assert_eq!(
            (first.rank, first.function.as_str()),
            (1, "main.(*Cache).Put")
        );
        assert_eq!(
            (first.file.as_deref(), first.line),
            (Some("shop.go"), Some(41))
        );
        assert_eq!(
            (first.bytes_before, first.bytes),
            (Some(1 << 20), Some(40 << 20))
        );
        assert_eq!(first.growth_share, Some(39.0 / 40.0));
        assert_eq!(found.suspects.len(), 2);
        assert_eq!(
            first.stack,
            [
                "runtime.mallocgc malloc.go:10",
                "main.(*Cache).Put shop.go:41"
            ]
        );
    }

    #[test]
    fn without_an_earlier_look_the_size_is_said_to_be_no_growth() {
        let after = Look {
            heap: Some(heap(&[("main.f", 1, 4096)])),
            ..Look::default()
        };
        let before = Look::default();
        let found = interpret(&Evidence {
            before: &before,
            after: &after,
            main_module: None,
        });
        assert_eq!(found.suspects[0].function, "main.f");
        assert!(found.suspects[0].note.is_some());
        assert_eq!(found.advice[0].code, "one-look-only");
    }

    #[test]
    fn without_any_profile_the_advice_says_what_is_missing() {
        let look = Look::default();
        let found = interpret(&Evidence {
            before: &look,
            after: &look,
            main_module: None,
        });
        assert_eq!(found.suspects, []);
        assert_eq!(found.advice[0].code, "needs-heap-profile");
    }
}
