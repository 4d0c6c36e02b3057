//! Why a process ended, as far as it can be known: pure.

use model::{Judgement, Verdict};
use reader::{EndStatus, Ended, LimitMet, OutOfMemory};

use crate::rails::Standing;

const SIGKILL: u32 = 9;
/// A process that leaked and was so near its limit when it was last read died of that, most likely.
const NEAR: f64 = 0.95;
/// The same of one that is known to have been killed for lack of memory.
const NEAR_FOR_ONE_KILLED: f64 = 0.8;

/// Why a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cause {
    /// It was killed for lack of memory.
    OutOfMemory,
    /// Nobody can tell any more, but it leaked and was near its limit.
    NearLimit,
    /// Something else, or nothing that is known.
    Other,
}

impl Cause {
    /// The timeline's code.
    pub(crate) fn code(self) -> &'static str {
        match self {
            Self::OutOfMemory => "oom-killed",
            Self::NearLimit => "died-near-limit",
            Self::Other => "ended",
        }
    }
}

/// Why a process ended that stood so and was last judged so; and the same in words.
pub(crate) fn of(
    ended: Option<&Ended>,
    standing: &Standing,
    last: Option<&Verdict>,
) -> (Cause, String) {
    let status = ended.and_then(|ended| ended.status);
    let could_be_oom = matches!(status, None | Some(EndStatus::Signal(SIGKILL)));
    let how = in_words(status);
    let no_answer = OutOfMemory::Unknown {
        why: "the reader does not tell".into(),
    };
    match ended.map_or(&no_answer, |ended| &ended.out_of_memory) {
        OutOfMemory::Killed { limit, .. } if could_be_oom => {
            let whose = match limit {
                LimitMet::Of(limit) => format!("the limit of {limit} was met"),
                LimitMet::Machine => "the machine itself was short of it".into(),
                LimitMet::Uncounted => uncounted(standing),
            };
            let used = used(standing).map_or_else(String::new, |used| format!("; {used}"));
            let text = format!("killed for lack of memory: {whose}{used}");
            (Cause::OutOfMemory, text)
        }
        OutOfMemory::Killed { cgroup, .. } => {
            let text = format!("{how}; in {cgroup} another process was killed for lack of memory");
            (Cause::Other, text)
        }
        OutOfMemory::No => (Cause::Other, format!("{how}, not for lack of memory")),
        OutOfMemory::Unknown { why } => {
            let near = is_near(standing, NEAR);
            let leaked = last.is_some_and(|last| last.verdict == Judgement::Leak);
            let unknown = format!("whether for lack of memory cannot be told: {why}");
            match (near && leaked && could_be_oom, used(standing)) {
                (true, Some(used)) => {
                    let text = format!("died near its limit: {used}; {unknown}");
                    (Cause::NearLimit, text)
                }
                _ => (Cause::Other, format!("{how}; {unknown}")),
            }
        }
    }
}

/// Whose limit it was where no cgroup has counted that it was met.
fn uncounted(standing: &Standing) -> String {
    let source = standing.limit.source.as_deref();
    match source.filter(|_| is_near(standing, NEAR_FOR_ONE_KILLED)) {
        Some(source) => {
            format!(
                "most likely at the limit of {source}, though no cgroup counted that it was met"
            )
        }
        None => "at whose limit cannot be told, no cgroup counted that one was met".into(),
    }
}

fn is_near(standing: &Standing, part: f64) -> bool {
    let limit = &standing.limit;
    let used = limit.bytes.zip(limit.used_bytes);
    used.is_some_and(|(of, used)| used as f64 >= part * of as f64)
}

fn in_words(status: Option<EndStatus>) -> String {
    match status {
        None => "it has ended".into(),
        Some(EndStatus::Exited(code)) => format!("it ended itself with code {code}"),
        Some(EndStatus::Signal(signal)) => format!("it was ended by signal {signal}"),
    }
}

fn used(standing: &Standing) -> Option<String> {
    let limit = &standing.limit;
    let (bytes, used) = limit.bytes.zip(limit.used_bytes)?;
    let mib = |bytes: u64| bytes as f64 / 1_048_576.0;
    let source = limit.source.as_deref().unwrap_or("its limit");
    Some(format!(
        "at its last reading {:.0} of {:.0} MiB were used ({source})",
        mib(used),
        mib(bytes)
    ))
}

#[cfg(test)]
mod tests {
    use model::{EffectiveLimit, Incident};

    use super::*;

    fn standing(used_mib: u64) -> Standing {
        Standing {
            limit: EffectiveLimit {
                bytes: Some(100 << 20),
                source: Some("memory.max /pod1".into()),
                used_bytes: Some(used_mib << 20),
            },
            goroutines: None,
        }
    }

    #[test]
    fn an_oom_kill_is_told_from_all_other_ends() {
        let incident: Incident =
            serde_json::from_str(include_str!("../../alert/tests/data/incident.json")).unwrap();
        let leak = incident.verdict;
        let killed = || OutOfMemory::Killed {
            kills: 1,
            cgroup: "/pod1/app".into(),
            limit: LimitMet::Of("memory.max /pod1".into()),
        };
        let unknown = || OutOfMemory::Unknown {
            why: "its cgroup /pod1/app is gone".into(),
        };
        let kill = Some(EndStatus::Signal(9));
        let code = Some(EndStatus::Exited(3));
        let (oom, near, other) = (Cause::OutOfMemory, Cause::NearLimit, Cause::Other);
        let rows = [
            (
                "killed",
                kill,
                killed(),
                99,
                true,
                oom,
                "the limit of memory.max /pod1 was met; at its last reading 99 of 100 MiB were used",
            ),
            (
                "and its status unknown",
                None,
                killed(),
                50,
                false,
                oom,
                "killed for lack of memory",
            ),
            (
                "another was killed",
                code,
                killed(),
                50,
                true,
                other,
                "it ended itself with code 3; in /pod1/app another process was killed",
            ),
            (
                "kill -9",
                kill,
                OutOfMemory::No,
                99,
                true,
                other,
                "ended by signal 9, not for lack of memory",
            ),
            (
                "nobody can tell",
                None,
                unknown(),
                96,
                true,
                near,
                "died near its limit: at its last reading 96 of 100 MiB were used (memory.max /pod1); whether for lack of memory cannot be told: its cgroup /pod1/app is gone",
            ),
            (
                "far from it",
                None,
                unknown(),
                90,
                true,
                other,
                "it has ended; whether",
            ),
            (
                "it never leaked",
                None,
                unknown(),
                99,
                false,
                other,
                "it has ended; whether",
            ),
            (
                "a fault of its own",
                Some(EndStatus::Signal(11)),
                unknown(),
                99,
                true,
                other,
                "by signal 11",
            ),
        ];
        for (name, status, out_of_memory, used, leaks, cause, text) in rows {
            let ended = Ended {
                status,
                out_of_memory,
            };
            let last = leaks.then_some(&leak);
            let said = of(Some(&ended), &standing(used), last);
            assert_eq!(said.0, cause, "{name}: {}", said.1);
            assert!(said.1.contains(text), "{name}: {}", said.1);
        }
        let says = |limit, standing: &Standing| {
            let ended = Ended {
                status: None,
                out_of_memory: OutOfMemory::Killed {
                    kills: 1,
                    cgroup: "/a".into(),
                    limit,
                },
            };
            of(Some(&ended), standing, None).1
        };
        assert_eq!(
            says(LimitMet::Machine, &Standing::default()),
            "killed for lack of memory: the machine itself was short of it"
        );
        assert_eq!(
            says(LimitMet::Uncounted, &standing(90)),
            "killed for lack of memory: most likely at the limit of memory.max /pod1, though no cgroup counted \
             that it was met; at its last reading 90 of 100 MiB were used (memory.max /pod1)"
        );
        let far = says(LimitMet::Uncounted, &standing(50));
        assert!(far.contains("at whose limit cannot be told"), "{far}");
        assert_eq!(of(None, &standing(99), Some(&leak)).0, near);
    }
}
