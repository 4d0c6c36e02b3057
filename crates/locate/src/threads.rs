//! Who keeps threads: a goroutine that locks its thread, or sits in a call of C, has one of its own.

use crate::{Evidence, Interpretation, advice, goroutines, native};

/// Said of every group.
const NOTE: &str = "each may keep a thread: locked to it (runtime.LockOSThread), or in a call of C";

/// The goroutines that piled up. Where none did, the threads are not Go's, and the mappings are all that tells of them.
pub(crate) fn interpret(evidence: &Evidence<'_>) -> Interpretation {
    let mut found = goroutines::interpret(evidence);
    for suspect in &mut found.suspects {
        suspect.note = Some(match suspect.note.take() {
            Some(waits) => format!("{waits}; {NOTE}"),
            None => NOTE.into(),
        });
    }
    if found.suspects.is_empty() && evidence.after.goroutine.is_some() {
        let mappings = native::interpret(evidence);
        return Interpretation {
            suspects: mappings.suspects,
            kind: None,
            advice: vec![advice(
                "threads-not-gos",
                "No goroutines grew with the threads: they are made by C, or by calls that block. \
                 `ls /proc/PID/task` and their names (`comm`) tell whose they are.",
            )],
        };
    }
    found
}

#[cfg(test)]
mod tests {
    use model::{MappingBytes, SuspectWhat};
    use profile::Profile;

    use super::*;
    use crate::Look;

    fn goroutines(count: i64) -> Profile {
        let mut made = profile::ProfileBuilder::new(&[("goroutine", "count")]);
        let stack: Vec<_> = [
            "runtime.gopark",
            "runtime.chanrecv",
            "main.(*printer).drive",
        ]
        .into_iter()
        .zip(1..)
        .map(|(name, at)| {
            let function = made.function(name, "printer.go", 1);
            made.location(at, &[(function, 30)])
        })
        .collect();
        made.sample(&stack, &[count]);
        made.build().unwrap()
    }

    fn look(count: i64, stack_bytes: u64) -> Look {
        Look {
            goroutine: Some(goroutines(count)),
            mappings: Some(MappingBytes {
                stack_bytes,
                ..MappingBytes::default()
            }),
            ..Look::default()
        }
    }

    #[test]
    fn goroutines_that_grew_keep_them_and_mappings_tell_where_none_did() {
        let before = look(10, 1 << 20);
        let of = |after: &Look| {
            interpret(&Evidence {
                before: &before,
                after,
                main_module: None,
            })
        };
        let found = of(&look(900, 100 << 20));
        assert_eq!(found.suspects[0].function, "main.(*printer).drive");
        let note = found.suspects[0].note.as_deref().unwrap();
        assert!(
            note.contains("chan receive") && note.contains("thread"),
            "{note}"
        );

        let found = of(&look(10, 100 << 20));
        assert_eq!(found.suspects[0].what, SuspectWhat::Mapping);
        assert_eq!(found.advice[0].code, "threads-not-gos");
    }
}
