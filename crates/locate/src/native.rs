//! Which class of mappings grew, where Go's own numbers show nothing.

use model::{Kind, MappingBytes, Suspect, SuspectWhat};

use crate::{Evidence, Interpretation, advice, rank, share};

/// Growth below this is no answer: allocators keep and return memory all the time.
const GROWTH_BYTES_MIN: u64 = 4 << 20;

const NEEDS_TRACING: &str = "Which line allocates it: needs tracing. Go's profiles do not see C \
    allocations; the mappings only tell which class of memory grows.";

struct Class {
    name: &'static str,
    kind: Kind,
    bytes: fn(&MappingBytes) -> u64,
}

const CLASSES: [Class; 4] = [
    Class {
        name: "brk heap (C allocator)",
        kind: Kind::NativeHeap,
        bytes: |m| m.brk_bytes,
    },
    Class {
        name: "glibc arenas (C allocator)",
        kind: Kind::NativeHeap,
        bytes: |m| m.arena_bytes,
    },
    Class {
        name: "thread stacks",
        kind: Kind::Thread,
        bytes: |m| m.stack_bytes,
    },
    Class {
        name: "anonymous mappings (mmap)",
        kind: Kind::NativeMmap,
        bytes: |m| m.anon_other_bytes,
    },
];

pub(crate) fn interpret(evidence: &Evidence<'_>) -> Interpretation {
    let tracing = advice("needs-tracing", NEEDS_TRACING);
    let Some(after) = &evidence.after.mappings else {
        return Interpretation {
            advice: vec![
                advice(
                    "needs-mappings",
                    "The mappings could not be read, so the growing class is not known: run as \
                     root or with CAP_SYS_PTRACE.",
                ),
                tracing,
            ],
            ..Interpretation::default()
        };
    };
    let nothing = MappingBytes::default();
    let before = evidence.before.mappings.as_ref().unwrap_or(&nothing);
    let mut grown: Vec<(&Class, u64)> = CLASSES
        .iter()
        .map(|class| {
            (
                class,
                (class.bytes)(after).saturating_sub((class.bytes)(before)),
            )
        })
        .filter(|(_, growth)| *growth >= GROWTH_BYTES_MIN)
        .collect();
    grown.sort_by_key(|(_, growth)| std::cmp::Reverse(*growth));
    let total: u64 = grown.iter().map(|(_, growth)| growth).sum();
    let mut suspects: Vec<Suspect> = grown
        .iter()
        .map(|(class, growth)| Suspect {
            rank: 0,
            what: SuspectWhat::Mapping,
            function: class.name.into(),
            file: None,
            line: None,
            bytes: Some((class.bytes)(after)),
            count: None,
            bytes_before: evidence.before.mappings.as_ref().map(class.bytes),
            count_before: None,
            growth_share: share(
                i64::try_from(*growth).unwrap_or(i64::MAX),
                i64::try_from(total).unwrap_or(i64::MAX),
            ),
            stack: Vec::new(),
            held_by: None,
            holder: None,
            note: Some("which line: needs tracing".into()),
        })
        .collect();
    rank(&mut suspects);
    // Thread stacks alone are a kind of their own; the judge has seen the threads' number.
    let kind = grown
        .first()
        .map(|(class, _)| class.kind)
        .filter(|kind| *kind != Kind::Thread);
    Interpretation {
        suspects,
        kind,
        advice: vec![tracing],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Look;

    fn mappings(brk: u64, arenas: u64, other: u64) -> Look {
        Look {
            mappings: Some(MappingBytes {
                brk_bytes: brk << 20,
                arena_bytes: arenas << 20,
                anon_other_bytes: other << 20,
                ..MappingBytes::default()
            }),
            ..Look::default()
        }
    }

    #[test]
    fn the_class_that_grew_names_the_kind() {
        let rows = [
            (
                "malloc",
                mappings(1, 10, 5),
                mappings(1, 90, 7),
                Some(Kind::NativeHeap),
                "glibc",
            ),
            (
                "brk",
                mappings(1, 10, 5),
                mappings(80, 12, 5),
                Some(Kind::NativeHeap),
                "brk",
            ),
            (
                "mmap",
                mappings(1, 10, 5),
                mappings(1, 10, 99),
                Some(Kind::NativeMmap),
                "anonymous",
            ),
            ("noise", mappings(1, 10, 5), mappings(2, 11, 6), None, ""),
        ];
        for (name, before, after, kind, first) in rows {
            let evidence = Evidence {
                before: &before,
                after: &after,
                main_module: None,
            };
            let found = interpret(&evidence);
            assert_eq!(found.kind, kind, "{name}");
            let function = found.suspects.first().map_or("", |s| s.function.as_str());
            assert!(function.starts_with(first), "{name}: {function}");
            assert_eq!(found.advice[0].code, "needs-tracing", "{name}");
        }
    }
}
