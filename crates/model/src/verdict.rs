//! The verdict: what the judge says of a target, and the JSON that every face of the product
//! shows. Schema `unswept/verdict/1`; fields are only added within a version.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::incident::EvidenceRef;
use crate::memory::Component;
use crate::target::Target;
use crate::time::UnixMs;

/// The name and version of the verdict's JSON.
pub const SCHEMA: &str = "unswept/verdict/1";

/// The three answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Judgement {
    /// Memory grows that nothing will give back.
    Leak,
    /// What grows, if anything does, has a harmless reason.
    NoLeak,
    /// It cannot be said yet; the reasons say what is missing.
    Unsure,
}

impl Judgement {
    /// The word in JSON and on pages.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Leak => "leak",
            Self::NoLeak => "no-leak",
            Self::Unsure => "unsure",
        }
    }
}

macro_rules! kinds {
    ($($(#[doc = $doc:literal])* $variant:ident = $word:literal,)*) => {
        /// What kind of growth, or of calm, a finding is.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[non_exhaustive]
        pub enum Kind {
            $($(#[doc = $doc])* #[serde(rename = $word)] $variant,)*
        }

        impl Kind {
            /// Every kind, in the order of the design.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The word in JSON, labels and on pages.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)* }
            }
        }
    };
}

kinds! {
    /// The live Go heap grows.
    GoHeap = "go-heap",
    /// Goroutines pile up, with what they hold.
    Goroutine = "goroutine",
    /// The C allocators' heaps grow.
    NativeHeap = "native-heap",
    /// Anonymous mappings grow that are neither Go's nor an allocator's.
    NativeMmap = "native-mmap",
    /// Memory outside Go grows; mappings cannot tell which part.
    Native = "native",
    /// Resident memory grows, and nobody sees what of it.
    Resident = "resident",
    /// Threads pile up.
    Thread = "thread",
    /// File descriptors pile up.
    Fd = "fd",
    /// Shared memory or tmpfs grows.
    Shmem = "shmem",
    /// Kernel memory charged to the container grows.
    Kernel = "kernel",
    /// Nothing grows.
    Steady = "steady",
    /// The process is young and still filling what it needs.
    WarmUp = "warm-up",
    /// Growth has levelled off.
    Plateau = "plateau",
    /// Memory follows the load.
    Load = "load",
    /// Memory follows the time of day or week.
    Season = "season",
    /// Only the saw-tooth between two collections.
    GcSawtooth = "gc-sawtooth",
    /// The collector hardly runs: GOGC or GOMEMLIMIT.
    GcIdle = "gc-idle",
    /// The runtime keeps freed memory.
    NotReturned = "not-returned",
    /// Spans that are mostly empty.
    Fragmentation = "fragmentation",
    /// File pages, which the kernel takes back by itself.
    PageCache = "page-cache",
    /// One step, then level.
    Step = "step",
    /// Up and down again.
    Spike = "spike",
    /// Huge pages make more resident than is used.
    HugePages = "huge-pages",
    /// Pages come and go from swap.
    Swap = "swap",
    /// The runtime's own structures grow.
    GoRuntime = "go-runtime",
    /// Killed for lack of memory: an incident by itself, not yet a leak.
    Oom = "oom",
}

impl Kind {
    /// Whether this kind is a leak when it is found.
    #[must_use]
    pub fn is_leak(self) -> bool {
        matches!(
            self,
            Self::GoHeap
                | Self::Goroutine
                | Self::NativeHeap
                | Self::NativeMmap
                | Self::Native
                | Self::Thread
                | Self::Fd
                | Self::Shmem
                | Self::Kernel
        )
    }

    /// Whether the program's own heap shows who holds what leaks: memory, goroutines, and the objects that stand for
    /// descriptors.
    #[must_use]
    pub fn has_holders(self) -> bool {
        matches!(self, Self::GoHeap | Self::Goroutine | Self::Fd)
    }
}

/// What speaks for or against: a code that programs can rely on, values, and words for people.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Reason {
    /// Stable code, such as `live-floor-rises`.
    pub code: String,
    /// Which answer it speaks for.
    #[serde(rename = "for")]
    pub speaks_for: Judgement,
    /// The figures in the text, with their units in their names.
    pub values: BTreeMap<String, f64>,
    /// The same in words.
    pub text: String,
}

/// What to do about a finding.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Advice {
    /// Stable code, such as `needs-tracing`.
    pub code: String,
    /// The figures in the text.
    pub values: BTreeMap<String, f64>,
    /// The advice in words.
    pub text: String,
}

/// How fast something grows, with the interval of the estimate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Growth {
    /// `bytes`, `goroutines`, `threads` or `fds`.
    pub unit: String,
    /// The estimate, per minute.
    pub per_minute: f64,
    /// The interval's lower end.
    pub low: f64,
    /// The interval's upper end.
    pub high: f64,
    /// The interval's level, such as 0.95.
    pub level: f64,
}

/// What sort of thing a suspect is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SuspectWhat {
    /// A place that allocates on the Go heap.
    Allocation,
    /// A place where goroutines are stuck.
    Goroutine,
    /// A variable that holds memory.
    Variable,
    /// A place that allocates outside the Go heap.
    NativeAllocation,
    /// A mapping, or a class of mappings.
    Mapping,
    /// Threads.
    Thread,
    /// File descriptors.
    Fd,
}

/// What kind of thing keeps memory alive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum HolderKind {
    /// A variable of a package.
    Global,
    /// Goroutines that began in one function.
    Goroutine,
    /// Timers that will run one function.
    Timer,
    /// Finalizers of one function.
    Finalizer,
    /// Cleanups of one function.
    Cleanup,
    /// What objects with finalizers refer to.
    Referent,
    /// The runtime itself.
    Runtime,
    /// Several of the others on separate ways.
    Several,
}

/// What keeps a suspect's memory alive, as the process's own heap shows it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Holder {
    /// The variable, `main.sessions`, or the function of goroutines, timers, finalizers.
    pub name: String,
    /// What kind of thing it is.
    pub kind: HolderKind,
    /// The way from it along which the memory lies, as one would write it in Go: `[key].token`.
    pub path: String,
    /// The type at the end of that way; empty where unknown.
    #[serde(rename = "type")]
    pub ty: String,
    /// Bytes that would go without it.
    pub bytes: u64,
    /// Bytes at the first of two looks.
    pub bytes_before: Option<u64>,
    /// How fast it grows, in bytes per second; `None` with one look, which shows size, not growth.
    pub growth_bytes_per_s: Option<f64>,
    /// The function that allocated most of it, by the samples of the memory profile.
    pub allocated_in: Option<String>,
    /// Functions that use the variable, where its own name was stripped.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub used_by: Vec<String>,
}

/// A ranked culprit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Suspect {
    /// 1 is the first to look at.
    pub rank: u32,
    /// What sort of thing it is.
    pub what: SuspectWhat,
    /// The function, or the mapping's class where there is no function.
    pub function: String,
    /// The source file, where known.
    pub file: Option<String>,
    /// The line, where known.
    pub line: Option<u64>,
    /// Bytes it accounts for now.
    pub bytes: Option<u64>,
    /// How many (objects, goroutines, descriptors) it accounts for now.
    pub count: Option<u64>,
    /// Bytes it accounted for in the earlier look.
    pub bytes_before: Option<u64>,
    /// How many it accounted for in the earlier look.
    pub count_before: Option<u64>,
    /// Its part of the growth between the two looks, 0 to 1.
    pub growth_share: Option<f64>,
    /// The stack, innermost first, each `function file:line`.
    pub stack: Vec<String>,
    /// What holds the memory, where known.
    pub held_by: Option<String>,
    /// The same with its figures.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holder: Option<Holder>,
    /// A remark, such as the goroutines' wait reason or what is still needed to know more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// One judged growth of one kind in one target.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    /// The answer for this growth.
    pub verdict: Judgement,
    /// Its kind; `None` only for `unsure`.
    pub kind: Option<Kind>,
    /// The probability that the answer is right; `None` for `unsure`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub confidence: Option<f64>,
    /// When it began, where that can be told.
    #[serde(with = "crate::time::rfc3339::option")]
    pub onset: Option<UnixMs>,
    /// How fast it grows.
    pub growth: Option<Growth>,
    /// What speaks for and against.
    pub why: Vec<Reason>,
    /// Who does it, best first; filled in once evidence was read.
    pub suspects: Vec<Suspect>,
    /// What to do.
    pub advice: Vec<Advice>,
}

/// When memory runs out if it goes on like this, in seconds from the verdict.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct TimeToLimit {
    /// At the estimated growth.
    pub estimate: f64,
    /// At the interval's upper end.
    pub low: f64,
    /// At the interval's lower end.
    pub high: f64,
}

/// The stretch of time that was judged.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Window {
    /// From.
    #[serde(with = "crate::time::rfc3339")]
    pub from: UnixMs,
    /// To.
    #[serde(with = "crate::time::rfc3339")]
    pub to: UnixMs,
}

/// What `judge` returns: findings ordered by their share of the growth, never empty.
#[derive(Debug, Clone, PartialEq)]
pub struct Judged {
    /// The stretch that was judged.
    pub window: Window,
    /// The findings, first the one that grows most.
    pub findings: Vec<Finding>,
    /// When the effective limit is reached, if something grows towards it.
    pub seconds_to_limit: Option<TimeToLimit>,
    /// Growth per minute of each channel that was looked at.
    pub slopes: Vec<(crate::Channel, f64)>,
}

/// All findings on a target at a time: the product's answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// Always [`SCHEMA`].
    pub schema: String,
    /// Identifies this verdict.
    pub id: String,
    /// When it was made.
    #[serde(with = "crate::time::rfc3339")]
    pub at: UnixMs,
    /// The stretch that was judged.
    pub window: Window,
    /// Of what.
    pub target: Target,
    /// The answer: that of the first finding.
    pub verdict: Judgement,
    /// The kind of the first finding; `None` only for `unsure`.
    pub kind: Option<Kind>,
    /// The confidence of the first finding; absent for `unsure`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub confidence: Option<f64>,
    /// The effective limit.
    pub limit_bytes: Option<u64>,
    /// Where the limit comes from.
    pub limit_source: Option<String>,
    /// When the limit is reached, if something grows towards it.
    pub seconds_to_limit: Option<TimeToLimit>,
    /// The ledger's lines with their growth.
    pub components: Vec<Component>,
    /// The findings, first the one that grows most; never empty.
    pub findings: Vec<Finding>,
    /// The suspects of all findings, best first.
    pub suspects: Vec<Suspect>,
    /// The evidence taken.
    pub evidence: Vec<EvidenceRef>,
}

impl Verdict {
    /// Puts `judged` and what is known of the target together. `suspects` of the findings may be
    /// filled in later: call [`Verdict::collect_suspects`] then.
    #[must_use]
    pub fn assemble(
        at: UnixMs,
        target: Target,
        judged: Judged,
        facts: &crate::Facts,
        components: Vec<Component>,
    ) -> Self {
        let first = judged.findings.first();
        let id = crate::target::fingerprint(&["verdict", &target.id.0, &at.0.to_string()]);
        let mut verdict = Self {
            schema: SCHEMA.into(),
            id,
            at,
            window: judged.window,
            verdict: first.map_or(Judgement::Unsure, |finding| finding.verdict),
            kind: first.and_then(|finding| finding.kind),
            confidence: first.and_then(|finding| finding.confidence),
            limit_bytes: facts.limit_bytes,
            limit_source: facts.limit_source.clone(),
            seconds_to_limit: judged.seconds_to_limit,
            components,
            findings: judged.findings,
            suspects: Vec::new(),
            evidence: Vec::new(),
            target,
        };
        verdict.collect_suspects();
        verdict
    }

    /// Gathers the findings' suspects into the verdict's own list: findings in their order, ranks
    /// counted through.
    pub fn collect_suspects(&mut self) {
        let all = self
            .findings
            .iter()
            .flat_map(|finding| finding.suspects.iter().cloned());
        self.suspects = (1..)
            .zip(all)
            .map(|(rank, s)| Suspect { rank, ..s })
            .collect();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_in_json_are_the_words_of_the_design() {
        for kind in Kind::ALL {
            let json = serde_json::to_string(kind).unwrap();
            assert_eq!(json, format!("\"{}\"", kind.as_str()));
        }
        assert_eq!(
            serde_json::to_string(&Judgement::NoLeak).unwrap(),
            "\"no-leak\""
        );
        assert_eq!(
            serde_json::to_string(&SuspectWhat::NativeAllocation).unwrap(),
            "\"native-allocation\""
        );
    }

    #[test]
    fn only_the_nine_leak_kinds_are_leaks() {
        assert_eq!(Kind::ALL.iter().filter(|kind| kind.is_leak()).count(), 9);
    }
}
