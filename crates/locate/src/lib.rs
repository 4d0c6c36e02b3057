//! Layer 5, pure: what evidence a verdict calls for, and whom the evidence names.
//!
//! Start at [`plan`], asked before anything is fetched, and at [`interpret`], given what was
//! fetched. This crate fetches nothing, stores nothing and decides no verdict; of two looks at a
//! target it says who grew.
#![forbid(unsafe_code)]

mod beneath_load;
mod beside;
mod descriptors;
mod goroutines;
mod heap;
mod holders;
mod native;
mod patterns;
mod threads;

pub use beneath_load::OverTime;
pub use holders::HoldersLook;

use std::collections::BTreeMap;

use model::verdict::{Advice, Finding};
use model::{Kind, MappingBytes, Suspect};
use profile::Profile;

/// Suspects named for one finding.
pub const SUSPECTS_MAX: usize = 5;
/// Frames of a stack kept with a suspect.
const STACK_FRAMES_MAX: usize = 32;

/// What can be taken from a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Abilities {
    /// It may have a pprof endpoint.
    pub profiles: bool,
    /// Its mappings can be read.
    pub mappings: bool,
    /// Its memory can be looked into: it is a process here, and that is allowed.
    pub holders: bool,
    /// It may be made to collect its garbage.
    pub force_gc: bool,
}

/// One thing to fetch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Request {
    /// The heap profile.
    Heap,
    /// The goroutine profile.
    Goroutine,
    /// The same, read from outside: where the target may not be asked for it. Never planned, it takes its place.
    GoroutinesOutside,
    /// The mappings by class.
    Mappings,
    /// The heap profile after a collection that is forced: what is left is no garbage.
    HeapAfterGc,
    /// The goroutines one by one, with what they wait for and since when. It stops the target.
    GoroutineDump,
    /// The goroutines that nothing can wake again, by the runtime's own proof, which takes a collection.
    GoroutineLeak,
    /// Who holds its heap: a walk over the heap's pointers, by far the costliest of all.
    Holders,
}

/// What one look at a target gave.
#[derive(Debug, Default)]
pub struct Look {
    /// Its heap profile.
    pub heap: Option<Profile>,
    /// Its goroutine profile.
    pub goroutine: Option<Profile>,
    /// Its mappings.
    pub mappings: Option<MappingBytes>,
    /// Who holds its heap.
    pub holders: Option<HoldersLook>,
}

/// Two looks at one target, the earlier of them perhaps empty.
#[derive(Debug)]
pub struct Evidence<'a> {
    /// From before or early in the growth.
    pub before: &'a Look,
    /// From now.
    pub after: &'a Look,
    /// The target's main module: its own code is named before anybody else's.
    pub main_module: Option<&'a str>,
}

/// What the evidence says of one finding.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Interpretation {
    /// The suspects, best first.
    pub suspects: Vec<Suspect>,
    /// A more exact kind than the finding's, where the evidence tells.
    pub kind: Option<Kind>,
    /// What is still needed to know more.
    pub advice: Vec<Advice>,
}

/// What to fetch for `finding`: light requests first, the most telling before the others, and
/// [`Request::Holders`] last, which may take its time. Everything of a look
/// is taken while it can be: the target may be dead before somebody asks the next question.
#[must_use]
pub fn plan(finding: &Finding, abilities: Abilities) -> Vec<Request> {
    let mut requests = match finding.kind {
        Some(Kind::Goroutine) => vec![
            Request::Goroutine,
            Request::Heap,
            Request::Mappings,
            Request::GoroutineDump,
            Request::GoroutineLeak,
            Request::Holders,
        ],
        Some(Kind::GoHeap) => vec![
            Request::Heap,
            Request::Goroutine,
            Request::Mappings,
            Request::HeapAfterGc,
            Request::Holders,
        ],
        Some(Kind::Native | Kind::NativeHeap | Kind::NativeMmap) => {
            vec![Request::Mappings, Request::Goroutine, Request::Heap]
        }
        Some(Kind::Thread) => vec![Request::Goroutine, Request::Mappings, Request::Heap],
        Some(Kind::Fd) => vec![
            Request::Goroutine,
            Request::Heap,
            Request::Mappings,
            Request::Holders,
        ],
        _ => vec![Request::Heap, Request::Goroutine, Request::Mappings],
    };
    requests.retain(|request| match request {
        Request::Heap | Request::Goroutine | Request::GoroutineDump => abilities.profiles,
        Request::HeapAfterGc | Request::GoroutineLeak => abilities.profiles && abilities.force_gc,
        Request::Mappings => abilities.mappings,
        Request::Holders | Request::GoroutinesOutside => abilities.holders,
    });
    requests
}

/// Reads the suspects of `finding` out of `evidence`.
#[must_use]
pub fn interpret(finding: &Finding, evidence: &Evidence<'_>) -> Interpretation {
    let mut found = match finding.kind {
        Some(Kind::GoHeap) => heap::interpret(evidence),
        Some(Kind::Goroutine) => goroutines::interpret(evidence),
        Some(Kind::Native | Kind::NativeHeap | Kind::NativeMmap) => native::interpret(evidence),
        Some(Kind::Thread) => threads::interpret(evidence),
        _ => Interpretation::default(),
    };
    if let Some(kind) = finding.kind {
        let (first, last) = (&evidence.before.holders, &evidence.after.holders);
        join(kind, &mut found, first.as_ref(), last.as_ref());
    }
    found
}

/// Joins what holds the memory to the suspects of a finding of `kind`; where there are none, names
/// the holders as suspects. Then adds the advice that goes with the patterns that they show.
pub fn join(
    kind: Kind,
    found: &mut Interpretation,
    first: Option<&HoldersLook>,
    last: Option<&HoldersLook>,
) {
    holders::join(kind, found, first, last);
    patterns::advise(kind, found);
}

fn advice(code: &str, text: &str) -> Advice {
    Advice {
        code: code.into(),
        values: BTreeMap::new(),
        text: text.into(),
    }
}

fn rank(suspects: &mut [Suspect]) {
    for (rank, suspect) in (1..).zip(suspects) {
        suspect.rank = rank;
    }
}

/// A stack as suspects carry it: `function file:line`, innermost first.
fn stack_lines(stack: &[profile::Frame<'_>]) -> Vec<String> {
    let line =
        |frame: &profile::Frame<'_>| format!("{} {}:{}", frame.name(), frame.file, frame.line);
    stack.iter().take(STACK_FRAMES_MAX).map(line).collect()
}

/// `part` of `whole`, 0 to 1; `None` when there is no whole.
fn share(part: i64, whole: i64) -> Option<f64> {
    (whole > 0).then(|| (part as f64 / whole as f64).clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(crate) fn finding(kind: Kind) -> Finding {
        Finding {
            verdict: model::Judgement::Leak,
            kind: Some(kind),
            confidence: Some(0.9),
            onset: None,
            growth: None,
            why: Vec::new(),
            suspects: Vec::new(),
            advice: Vec::new(),
        }
    }

    #[test]
    fn the_most_telling_request_comes_first_and_only_what_can_be_had() {
        let all = Abilities {
            profiles: true,
            mappings: true,
            holders: true,
            force_gc: true,
        };
        let unforced = Abilities {
            force_gc: false,
            ..all
        };
        let rows = [
            (Kind::GoHeap, all, Some(Request::Heap), 5),
            (Kind::GoHeap, unforced, Some(Request::Heap), 4),
            (Kind::Goroutine, all, Some(Request::Goroutine), 6),
            (Kind::Goroutine, unforced, Some(Request::Goroutine), 5),
            (Kind::Native, all, Some(Request::Mappings), 3),
            (Kind::Fd, all, Some(Request::Goroutine), 4),
            (
                Kind::GoHeap,
                Abilities {
                    profiles: false,
                    mappings: true,
                    ..Abilities::default()
                },
                Some(Request::Mappings),
                1,
            ),
            (Kind::GoHeap, Abilities::default(), None, 0),
        ];
        for (kind, abilities, first, len) in rows {
            let requests = plan(&finding(kind), abilities);
            assert_eq!(
                (requests.first().copied(), requests.len()),
                (first, len),
                "{kind:?}"
            );
        }
    }
}
