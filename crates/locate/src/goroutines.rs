//! Which goroutines piled up: two goroutine profiles, compared by where they are stuck.

use model::{Suspect, SuspectWhat};
use profile::{Diff, wait_reason};

use crate::heap::{compare, suspects};
use crate::{Evidence, Interpretation, advice};

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
    Interpretation {
        suspects: found,
        kind: None,
        advice: Vec::new(),
    }
}

/// What the goroutines at the suspect's place wait for, in the runtime's own words.
fn wait_note(compared: &Diff, evidence: &Evidence<'_>, suspect: &Suspect) -> Option<String> {
    let frames = compared.by_frame(evidence.main_module);
    let growth = frames.iter().find(|growth| {
        growth.frame.as_ref().is_some_and(|frame| {
            frame.name() == suspect.function && u64::try_from(frame.line).ok() == suspect.line
        })
    })?;
    wait_reason(&growth.stack).map(|reason| format!("goroutines blocked in: {reason}"))
}

#[cfg(test)]
mod tests {
    use profile::Profile;

    use super::*;
    use crate::Look;

    fn goroutines(rows: &[(&[&str], i64)]) -> Profile {
        let mut made = profile::ProfileBuilder::new(&[("goroutine", "count")]);
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
}
