//! May this be captured now? The one decision before anything is taken from a target, pure: somebody's
//! service must neither stand still nor die for our evidence. What is refused has a type, a reason in
//! plain words, and what to do about it.
//!
//! Figures measured with Go 1.26 on two processors (a goroutine that wants to run each millisecond): a
//! heap profile makes it wait 1 ms; a goroutine profile of 30,000 goroutines 4 ms, and 16 ms when a
//! collection runs meanwhile (100,000: 4 and 29 ms, for the collection alone takes that); `debug=2` of
//! 2,500 goroutines 12 ms, of 10,000 46 ms.

use std::collections::HashMap;
use std::time::Duration;

use locate::Request;
use model::{EffectiveLimit, EvidenceKind, Refusal, TargetId, Workload};

use crate::config::Evidence;

const MIB: u64 = 1 << 20;
/// What must be left to the limit before a costly capture, or a tenth of the limit if that is more.
const COSTLY_HEADROOM: (u64, u64) = (128 * MIB, 10);
/// The same for a light one, or a fiftieth.
const LIGHT_HEADROOM: (u64, u64) = (16 * MIB, 50);
/// What a goroutine profile makes the target allocate for each goroutine: 350 measured.
const GOROUTINE_BYTES: u64 = 512;
/// Between two costly captures lies up to so much more than asked for: targets that started together
/// are not captured together for good.
const JITTER: f64 = 0.1;

/// What is known of a target when something is to be taken from it.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Standing {
    /// The effective limit and what counts against it.
    pub limit: EffectiveLimit,
    /// Its goroutines, where they are known.
    pub goroutines: Option<u64>,
}

impl Standing {
    /// What is left to the limit; `None` where no limit is known.
    fn headroom_bytes(&self) -> Option<u64> {
        let (limit, used) = self.limit.bytes.zip(self.limit.used_bytes)?;
        Some(limit.saturating_sub(used))
    }
}

/// Whether the target pays for it with more than a moment and some kilobytes.
pub(crate) fn is_costly(request: Request) -> bool {
    matches!(
        request,
        Request::HeapAfterGc | Request::GoroutineDump | Request::GoroutineLeak
    )
}

/// Whether `request` may be taken from a target that stands so. Of a costly one this is what the
/// target itself decides; whether another one is under way, or was a short while ago, is the rest.
///
/// # Errors
/// The [`Refusal`].
pub fn allowed(request: Request, standing: &Standing, settings: &Evidence) -> Result<(), Refusal> {
    let goroutines = standing.goroutines;
    let dump_max = settings.goroutine_dump_max;
    let profile_max = settings.goroutine_profile_max;
    match request {
        // Of the kernel and of the target's memory, from outside: it allocates nothing.
        Request::Mappings | Request::Holders | Request::GoroutinesOutside => return Ok(()),
        Request::Heap => {}
        Request::Goroutine | Request::HeapAfterGc | Request::GoroutineLeak => {
            few(goroutines.unwrap_or(0), profile_max)?;
        }
        Request::GoroutineDump => few(goroutines.ok_or(Refusal::GoroutinesUnknown)?, dump_max)?,
    }
    let Some(headroom_bytes) = standing.headroom_bytes() else {
        return Ok(());
    };
    let (least, part) = match is_costly(request) {
        true => COSTLY_HEADROOM,
        false => LIGHT_HEADROOM,
    };
    let mut needed_bytes = least.max(standing.limit.bytes.unwrap_or(0) / part);
    if request == Request::Goroutine {
        // Twice: the collector may not have taken back the last one's yet.
        let made = goroutines.unwrap_or(0).saturating_mul(2 * GOROUTINE_BYTES);
        needed_bytes = needed_bytes.saturating_add(made);
    }
    if headroom_bytes >= needed_bytes {
        return Ok(());
    }
    Err(Refusal::LittleHeadroom {
        headroom_bytes,
        needed_bytes,
        limit_source: standing.limit.source.clone().unwrap_or_default(),
    })
}

fn few(goroutines: u64, allowed: u64) -> Result<(), Refusal> {
    match goroutines <= allowed {
        true => Ok(()),
        false => Err(Refusal::TooManyGoroutines {
            goroutines,
            allowed,
        }),
    }
}

/// Whose costly capture it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Whose {
    pub(crate) target: TargetId,
    pub(crate) workload: Workload,
    pub(crate) host: String,
}

/// What is held apart by itself: two of one sort lie apart, of one target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Sort {
    /// It costs the target: [`is_costly`].
    Costly,
    /// A walk over its heap from outside, which costs this host.
    Holders,
    /// Its goroutines from outside, the same.
    Goroutines,
}

fn sort_of(request: Request) -> Sort {
    match request {
        Request::Holders => Sort::Holders,
        Request::GoroutinesOutside => Sort::Goroutines,
        _ => Sort::Costly,
    }
}

/// Whether a capture is the first of its sort for now, or the second of a pair that tells growth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    First,
    /// It belongs to the first one: the while between pairs counts from there.
    Second,
}

/// How a capture ended that had begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// It was taken, or cost as much as if it had been.
    Had,
    /// It did not come to be: another one is allowed at once.
    NotBegun,
}

/// The captures of a watcher that take their time: which are under way, and when the latest were.
#[derive(Debug, Default)]
pub(crate) struct Rails {
    under_way: Vec<(Whose, Request)>,
    /// When each target's next one of each sort is allowed, by the monotonic clock.
    next: HashMap<(TargetId, Sort), Duration>,
}

impl Rails {
    /// Begins a capture that costs the target more than a moment, or this host a walk over its memory, if it may be:
    /// one at a time for each host and each workload, a while after the target's last one of its sort. That while
    /// differs a little from target to target. [`Rails::end`] ends it.
    ///
    /// # Errors
    /// The [`Refusal`]; nothing has begun then.
    pub(crate) fn begin(
        &mut self,
        request: Request,
        turn: Turn,
        whose: Whose,
        standing: &Standing,
        settings: &Evidence,
        now: Duration,
    ) -> Result<(), Refusal> {
        allowed(request, standing, settings)?;
        let wait = self.wait(&whose.target, request, now);
        if turn == Turn::First && !wait.is_zero() {
            let wait_s = wait.as_secs_f64().ceil() as u64;
            return Err(Refusal::TooSoon { wait_s });
        }
        let in_the_way = |(other, _): &&(Whose, Request)| {
            other.host == whose.host || other.workload == whose.workload
        };
        if let Some((other, _)) = self.under_way.iter().find(in_the_way) {
            let of = other.workload.0.clone();
            return Err(Refusal::Busy { of });
        }
        self.next.retain(|_, next| now < *next);
        if turn == Turn::First {
            let apart = settings.capture_interval;
            let apart = apart + apart.mul_f64(JITTER * jitter_of(&whose.target));
            let key = (whose.target.clone(), sort_of(request));
            self.next.insert(key, now + apart);
        }
        self.under_way.push((whose, request));
        Ok(())
    }

    /// How long until the target's next one of that sort is allowed.
    pub(crate) fn wait(&self, target: &TargetId, request: Request, now: Duration) -> Duration {
        let next = self.next.get(&(target.clone(), sort_of(request)));
        next.map_or(Duration::ZERO, |next| next.saturating_sub(now))
    }

    /// Whether one of the target itself is under way.
    pub(crate) fn is_busy_with(&self, target: &TargetId) -> bool {
        self.under_way
            .iter()
            .any(|(whose, _)| whose.target == *target)
    }

    pub(crate) fn end(&mut self, target: &TargetId, request: Request, end: End) {
        let is_it = |(whose, of): &(Whose, Request)| whose.target == *target && *of == request;
        self.under_way.retain(|one| !is_it(one));
        if end == End::NotBegun {
            self.next.remove(&(target.clone(), sort_of(request)));
        }
    }
}

/// A target's part of the jitter: always the same, and another one for each.
fn jitter_of(target: &TargetId) -> f64 {
    let hash = model::target::fingerprint(&["jitter", &target.0]);
    let bits = u64::from_str_radix(hash.get(..8).unwrap_or("0"), 16).unwrap_or(0);
    bits as f64 / f64::from(u32::MAX)
}

/// What a request brings.
pub(crate) fn evidence_of(request: Request) -> EvidenceKind {
    match request {
        Request::Heap => EvidenceKind::HeapProfile,
        Request::Goroutine | Request::GoroutinesOutside => EvidenceKind::GoroutineProfile,
        Request::Mappings => EvidenceKind::Mappings,
        Request::HeapAfterGc => EvidenceKind::HeapProfileGc,
        Request::GoroutineDump => EvidenceKind::GoroutineStacks,
        Request::GoroutineLeak => EvidenceKind::GoroutineLeakProfile,
        Request::Holders => EvidenceKind::Holders,
    }
}

/// What an incident's timeline says of a refusal, with what to do about it.
pub(crate) fn in_words(capture: EvidenceKind, refusal: &Refusal) -> String {
    let what = match capture {
        EvidenceKind::HeapProfile => "heap profile",
        EvidenceKind::GoroutineProfile => "goroutine profile",
        EvidenceKind::HeapProfileGc => "heap profile after a forced collection",
        EvidenceKind::GoroutineStacks => "goroutines one by one (debug=2)",
        EvidenceKind::GoroutineLeakProfile => "the runtime's own list of leaked goroutines",
        EvidenceKind::Holders => "who holds the heap:",
        other => other.as_str(),
    };
    let mib = |bytes: u64| bytes as f64 / MIB as f64;
    let why = match refusal {
        Refusal::TooManyGoroutines {
            goroutines,
            allowed,
        } => {
            let key = match capture {
                EvidenceKind::GoroutineStacks => "evidence.goroutine_dump_max",
                _ => "evidence.goroutine_profile_max",
            };
            format!(
                "not taken: the service has {goroutines} goroutines, and with more than {allowed} \
                 ({key}) it would stand still for too long; `unswept inspect goroutines PID` \
                 reads them from outside"
            )
        }
        Refusal::GoroutinesUnknown => "not taken: it is not known how many goroutines the service \
             has, so neither how long it would stand still; export its metrics, or let unswept read \
             the process"
            .into(),
        Refusal::LittleHeadroom {
            headroom_bytes,
            needed_bytes,
            limit_source,
        } => format!(
            "not taken: {:.0} MiB are left to its limit ({limit_source}), {:.0} MiB must be, so that \
             taking it does not bring the service to its end; raise the limit to have it next time",
            mib(*headroom_bytes),
            mib(*needed_bytes)
        ),
        Refusal::TooSoon { wait_s } => format!(
            "put off for {wait_s} s: something that costs the service more was taken of it a short \
             while ago (evidence.capture_interval)"
        ),
        Refusal::Busy { of } => format!(
            "put off: such a capture of {of} is under way, and there is one at a time on a host and \
             of a workload"
        ),
        Refusal::OverBudget {
            used_bytes,
            budget_bytes,
        } => format!(
            "put off: unswept itself uses {:.0} MiB, and its budget (budget.memory) is {:.0} MiB",
            mib(*used_bytes),
            mib(*budget_bytes)
        ),
        Refusal::TooLarge { allowed_bytes } => format!(
            "not kept: it is larger than {:.0} MiB, the most that is kept of one",
            mib(*allowed_bytes)
        ),
        Refusal::Failed { why } => format!("not had: {why}"),
        _ => "not taken".into(),
    };
    format!("{what} {why}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    fn standing(headroom: u64, limit: u64, goroutines: Option<u64>) -> Standing {
        Standing {
            limit: EffectiveLimit {
                bytes: Some(limit),
                source: Some("memory.max /pod1".into()),
                used_bytes: Some(limit - headroom),
            },
            goroutines,
        }
    }

    #[test]
    fn what_the_target_itself_decides() {
        use Request::{Goroutine, GoroutineDump, GoroutineLeak, Heap, HeapAfterGc, Mappings};
        let many = |allowed| Some(("many", allowed));
        let short = |needed| Some(("short", needed * MIB));
        let roomy = |goroutines| standing(GIB, 2 * GIB, goroutines);
        type Row<'a> = (&'a str, Request, Standing, Option<(&'a str, u64)>);
        let rows: [Row<'_>; 20] = [
            ("plenty of room", GoroutineDump, roomy(Some(2_500)), None),
            (
                "one too many for debug=2",
                GoroutineDump,
                roomy(Some(2_501)),
                many(2_500),
            ),
            (
                "nobody knows how many",
                GoroutineDump,
                roomy(None),
                Some(("unknown", 0)),
            ),
            (
                "many for a profile",
                Goroutine,
                roomy(Some(30_001)),
                many(30_000),
            ),
            (
                "many for a collection",
                HeapAfterGc,
                roomy(Some(100_000)),
                many(30_000),
            ),
            (
                "many for the leak profile",
                GoroutineLeak,
                roomy(Some(100_000)),
                many(30_000),
            ),
            (
                "the heap has nothing to do with them",
                Heap,
                roomy(Some(100_000)),
                None,
            ),
            (
                "128 MiB",
                HeapAfterGc,
                standing(128 * MIB, GIB, Some(9)),
                None,
            ),
            (
                "less",
                HeapAfterGc,
                standing(128 * MIB - 1, GIB, Some(9)),
                short(128),
            ),
            (
                "less, for debug=2",
                GoroutineDump,
                standing(50 * MIB, GIB, Some(9)),
                short(128),
            ),
            (
                "less, for the leak profile",
                GoroutineLeak,
                standing(50 * MIB, GIB, Some(9)),
                short(128),
            ),
            (
                "a tenth of more",
                HeapAfterGc,
                standing(300 * MIB, 4000 * MIB, Some(9)),
                short(400),
            ),
            (
                "50 MiB do for light ones",
                Goroutine,
                standing(50 * MIB, GIB, Some(1_000)),
                None,
            ),
            (
                "not for so many",
                Goroutine,
                standing(40 * MIB, 100 * MIB, Some(30_000)),
                Some(("short", 16 * MIB + 30_000 * 1024)),
            ),
            (
                "nothing is left",
                Heap,
                standing(15 * MIB, 100 * MIB, None),
                short(16),
            ),
            (
                "a fiftieth of more",
                Heap,
                standing(19 * MIB, 1000 * MIB, None),
                short(20),
            ),
            (
                "read from outside",
                Mappings,
                standing(0, GIB, Some(1_000_000)),
                None,
            ),
            (
                "a walk over the heap from outside",
                Request::Holders,
                standing(0, GIB, Some(1_000_000)),
                None,
            ),
            (
                "goroutines from outside",
                Request::GoroutinesOutside,
                standing(0, GIB, Some(1_000_000)),
                None,
            ),
            ("no limit is known", HeapAfterGc, Standing::default(), None),
        ];
        for (name, request, standing, want) in rows {
            let said = allowed(request, &standing, &Evidence::default());
            let said = said.err().map(|refusal| match refusal {
                Refusal::TooManyGoroutines { allowed, .. } => ("many", allowed),
                Refusal::LittleHeadroom { needed_bytes, .. } => ("short", needed_bytes),
                Refusal::GoroutinesUnknown => ("unknown", 0),
                other => panic!("{name}: {other:?}"),
            });
            assert_eq!(said, want, "{name}");
        }
    }

    fn whose(target: &str, workload: &str, host: &str) -> Whose {
        Whose {
            target: TargetId(target.into()),
            workload: Workload(workload.into()),
            host: host.into(),
        }
    }

    fn try_it(
        rails: &mut Rails,
        request: Request,
        turn: Turn,
        whose: Whose,
        at_s: u64,
    ) -> Result<(), Refusal> {
        let (standing, settings) = (standing(GIB, 2 * GIB, Some(9)), Evidence::default());
        let now = Duration::from_secs(at_s);
        rails.begin(request, turn, whose, &standing, &settings, now)
    }

    fn begin(rails: &mut Rails, whose: Whose, at_s: u64) -> Result<(), Refusal> {
        try_it(rails, Request::GoroutineDump, Turn::First, whose, at_s)
    }

    fn end(rails: &mut Rails, target: &str, request: Request) {
        rails.end(&TargetId(target.into()), request, End::Had);
    }

    #[test]
    fn one_at_a_time_for_each_host_and_workload() {
        let dump = Request::GoroutineDump;
        let mut rails = Rails::default();
        let busy = Err(Refusal::Busy { of: "shop".into() });
        assert_eq!(begin(&mut rails, whose("a", "shop", "n1"), 0), Ok(()));
        assert_eq!(
            begin(&mut rails, whose("b", "depot", "n1"), 1),
            busy,
            "host"
        );
        assert_eq!(
            begin(&mut rails, whose("c", "shop", "n2"), 1),
            busy,
            "workload"
        );
        assert_eq!(begin(&mut rails, whose("d", "depot", "n2"), 1), Ok(()));
        end(&mut rails, "a", dump);
        let other = Err(Refusal::Busy { of: "depot".into() });
        assert_eq!(begin(&mut rails, whose("b", "depot", "n1"), 2), other);
        end(&mut rails, "d", dump);
        assert_eq!(begin(&mut rails, whose("b", "depot", "n1"), 3), Ok(()));
    }

    /// A walk over a heap from outside and a capture that stops its target do not go side by side on one host.
    #[test]
    fn looks_and_captures_wait_for_one_another() {
        use Request::{GoroutineDump, GoroutinesOutside, Holders};
        let mut rails = Rails::default();
        let (a, b) = (|| whose("a", "shop", "n"), || whose("b", "depot", "n"));
        let busy = Err(Refusal::Busy { of: "shop".into() });
        for request in [Holders, GoroutinesOutside, GoroutineDump] {
            assert_eq!(try_it(&mut rails, request, Turn::First, a(), 0), Ok(()));
            assert!(rails.is_busy_with(&TargetId("a".into())));
            assert!(!rails.is_busy_with(&TargetId("b".into())));
            for other in [Holders, GoroutinesOutside, GoroutineDump] {
                let said = try_it(&mut rails, other, Turn::First, b(), 1);
                assert_eq!(said, busy, "{other:?} during {request:?}");
            }
            end(&mut rails, "a", request);
        }
        assert!(!rails.is_busy_with(&TargetId("a".into())));
    }

    #[test]
    fn ten_minutes_and_some_lie_between_two_of_a_target() {
        let mut rails = Rails::default();
        let a = TargetId("a".into());
        // Its part of the jitter.
        let apart = 600.0 * (1.0 + JITTER * jitter_of(&a));
        let apart = apart.ceil() as u64;
        assert!((600..=660).contains(&apart));
        for (at, want) in [
            (0, Ok(())),
            (apart - 1, Err(Refusal::TooSoon { wait_s: 1 })),
            (apart, Ok(())),
            (apart + 1, Err(Refusal::TooSoon { wait_s: apart - 1 })),
        ] {
            let said = begin(&mut rails, whose("a", "shop", "n1"), at);
            assert_eq!(said, want, "at {at} s");
            end(&mut rails, "a", Request::GoroutineDump);
        }
        let b = TargetId("b".into());
        assert!((0.0..=1.0).contains(&jitter_of(&a)));
        assert!((jitter_of(&a) - jitter_of(&b)).abs() > 1e-6);
    }

    #[test]
    fn a_pair_of_looks_is_one_and_captures_of_other_sorts_are_others() {
        use Request::{GoroutineDump, Holders};
        let mut rails = Rails::default();
        let a = || whose("a", "shop", "n");
        let rows = [
            ("the first", Holders, Turn::First, 0, None),
            ("its second", Holders, Turn::Second, 20, None),
            ("of another sort", GoroutineDump, Turn::First, 21, None),
            ("another pair", Holders, Turn::First, 60, Some("too soon")),
            ("a while later", Holders, Turn::First, 700, None),
        ];
        for (name, request, turn, at, refused) in rows {
            let said = try_it(&mut rails, request, turn, a(), at);
            let said = said.err().map(|refusal| match refusal {
                Refusal::TooSoon { .. } => "too soon",
                other => panic!("{name}: {other:?}"),
            });
            assert_eq!(said, refused, "{name}");
            end(&mut rails, "a", request);
        }
        rails.end(&TargetId("a".into()), Holders, End::NotBegun);
        assert_eq!(try_it(&mut rails, Holders, Turn::First, a(), 701), Ok(()));
    }

    #[test]
    fn a_refusal_that_costs_nothing_is_no_capture() {
        let mut rails = Rails::default();
        let settings = Evidence::default();
        let standing = standing(MIB, GIB, Some(9));
        let (request, whose) = (Request::HeapAfterGc, whose("a", "shop", "n"));
        let now = Duration::ZERO;
        let said = rails.begin(
            request,
            Turn::First,
            whose.clone(),
            &standing,
            &settings,
            now,
        );
        assert!(
            matches!(said, Err(Refusal::LittleHeadroom { .. })),
            "{said:?}"
        );
        assert_eq!(begin(&mut rails, whose, 1), Ok(()));
    }

    #[test]
    fn every_refusal_says_what_why_and_what_to_do() {
        let stacks = EvidenceKind::GoroutineStacks;
        let rows = [
            (
                Refusal::TooManyGoroutines {
                    goroutines: 120_000,
                    allowed: 2_500,
                },
                ["debug=2", "120000", "unswept inspect goroutines PID"],
            ),
            (
                Refusal::GoroutinesUnknown,
                ["debug=2", "not known", "export its metrics"],
            ),
            (
                Refusal::LittleHeadroom {
                    headroom_bytes: 90 * MIB,
                    needed_bytes: 128 * MIB,
                    limit_source: "memory.max /pod1".into(),
                },
                ["90 MiB", "memory.max /pod1", "raise the limit"],
            ),
            (
                Refusal::TooSoon { wait_s: 61 },
                ["61 s", "a short while ago", "evidence.capture_interval"],
            ),
            (
                Refusal::Busy { of: "depot".into() },
                ["put off", "depot", "one at a time"],
            ),
            (
                Refusal::TooLarge {
                    allowed_bytes: 2 * MIB,
                },
                ["not kept", "2 MiB", "the most"],
            ),
        ];
        for (refusal, parts) in rows {
            let text = in_words(stacks, &refusal);
            assert!(parts.iter().all(|part| text.contains(part)), "{text}");
        }
    }
}
