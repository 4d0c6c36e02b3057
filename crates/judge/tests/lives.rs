//! Growth since a process began: how much it must take before it counts, and what earlier lives of the same service
//! say of it.

use judge::Track;
use model::verdict::Judged;
use model::{Channel, ChannelData, Facts, Judgement, Kind, UnixMs};

const MIB: f64 = 1_048_576.0;
const PERIOD_S: f64 = 15.0;
const HOUR_S: f64 = 3_600.0;

/// A process whose live heap is told by its age in seconds, in MiB.
struct Process<'a> {
    began_s: f64,
    heap: &'a dyn Fn(f64) -> f64,
}

impl Process<'_> {
    fn started(&self) -> UnixMs {
        UnixMs((self.began_s * 1_000.0) as i64)
    }

    /// Lives until it is `age` seconds old.
    fn live(&self, track: &mut Track, age: f64) {
        let mut heap = ChannelData {
            channel: Channel::GoLive,
            times: Vec::new(),
            values: Vec::new(),
        };
        for reading in 1..=(age / PERIOD_S) as i64 {
            let at = reading as f64 * PERIOD_S;
            // No two marks are the same, whatever the shape.
            let noise = (at * 0.731).sin() * 0.2;
            heap.times
                .push(UnixMs(((self.began_s + at) * 1_000.0) as i64));
            heap.values.push(((self.heap)(at) + noise) * MIB);
        }
        track.push(&[heap], Some(self.started()));
    }

    fn judge(&self, track: &Track, age: f64, limit_mib: Option<f64>, used_mib: f64) -> Judged {
        let facts = Facts {
            started: Some(self.started()),
            period_s: PERIOD_S,
            limit_bytes: limit_mib.map(|limit| (limit * MIB) as u64),
            limit_used_bytes: limit_mib.map(|_| (used_mib * MIB) as u64),
            ..Facts::default()
        };
        track.judge(UnixMs(((self.began_s + age) * 1_000.0) as i64), &facts)
    }
}

/// The verdict on the first life of a service, `age` seconds old, under a limit.
fn first_life(heap: &dyn Fn(f64) -> f64, age: f64, limit_mib: Option<f64>) -> Judged {
    let process = Process { began_s: 1e6, heap };
    let mut track = Track::new(PERIOD_S);
    process.live(&mut track, age);
    process.judge(&track, age, limit_mib, 2.0 * heap(age))
}

fn said(judged: &Judged, code: &str) -> bool {
    let reasons = judged.findings.iter().flat_map(|finding| &finding.why);
    reasons.into_iter().any(|reason| reason.code == code)
}

fn value(judged: &Judged, code: &str, name: &str) -> f64 {
    let mut reasons = judged.findings.iter().flat_map(|finding| &finding.why);
    let found = reasons.find(|reason| reason.code == code);
    *found
        .and_then(|reason| reason.values.get(name))
        .unwrap_or_else(|| panic!("no {name} of {code} in {judged:?}"))
}

/// 100 MiB, and so many more an hour.
fn line(per_hour: f64) -> impl Fn(f64) -> f64 {
    move |age| 100.0 + per_hour * age / HOUR_S
}

#[test]
fn growth_from_birth_may_be_a_fill_until_it_has_taken_a_tenth_of_its_room() {
    // A heap of 100 MiB takes 200 with GOGC at 100, so 1,000 MiB leave room for 400 of heap.
    let heap = line(20.0);
    let early = first_life(&heap, HOUR_S, Some(1_000.0));
    assert_eq!(early.findings[0].verdict, Judgement::Unsure, "{early:?}");
    let taken = value(&early, "may-fill", "taken");
    assert!((0.03..0.07).contains(&taken), "{taken}");
    // What it says one has to wait is true.
    let wait_s = value(&early, "may-fill", "wait_seconds");
    let later = first_life(&heap, HOUR_S + 1.1 * wait_s, Some(1_000.0));
    assert_eq!(later.findings[0].verdict, Judgement::Leak, "{later:?}");
    assert_eq!(later.findings[0].kind, Some(Kind::GoHeap));
}

#[test]
fn what_slows_down_is_no_leak_while_it_would_end_below_the_limit() {
    // Two thirds of 200 MiB in 10 hours: a room of 400 is never taken.
    let fill = |age: f64| 100.0 + 200.0 * (1.0 - (-age / (10.0 * HOUR_S)).exp());
    for hours in 1..40 {
        let judged = first_life(&fill, f64::from(hours) * HOUR_S, Some(1_000.0));
        let verdict = judged.findings[0].verdict;
        assert_ne!(verdict, Judgement::Leak, "{hours} h: {judged:?}");
    }
    let seen = first_life(&fill, 5.0 * HOUR_S, Some(1_000.0));
    assert_eq!(seen.findings[0].verdict, Judgement::NoLeak, "{seen:?}");
    let end = value(&seen, "slows-to-level", "end");
    assert!((0.5..1.0).contains(&end), "{end}");
}

#[test]
fn without_a_limit_it_must_have_doubled() {
    let heap = line(20.0);
    let early = first_life(&heap, 2.0 * HOUR_S, None);
    assert!(said(&early, "may-fill-no-limit"), "{early:?}");
    assert_eq!(early.findings[0].verdict, Judgement::Unsure);
    let later = first_life(&heap, 5.5 * HOUR_S, None);
    assert_eq!(later.findings[0].verdict, Judgement::Leak, "{later:?}");
}

#[test]
fn nobody_waits_when_the_limit_is_near() {
    // 400 MiB an hour of 20,000: a small part of the room, and a day left.
    let slow = first_life(&line(400.0), 0.5 * HOUR_S, Some(20_000.0));
    assert_eq!(slow.findings[0].verdict, Judgement::Unsure, "{slow:?}");
    // 12,000 an hour: a fifth of the room in ten minutes, and all of it in less than an hour.
    let fast = first_life(&line(12_000.0), 0.17 * HOUR_S, Some(20_000.0));
    assert_eq!(fast.findings[0].verdict, Judgement::Leak, "{fast:?}");
}

#[test]
fn growth_of_three_days_is_no_fill() {
    let heap = line(2.0);
    let two_days = first_life(&heap, 48.0 * HOUR_S, Some(4_000.0));
    assert!(said(&two_days, "may-fill"), "{two_days:?}");
    let four_days = first_life(&heap, 96.0 * HOUR_S, Some(4_000.0));
    assert_eq!(
        four_days.findings[0].verdict,
        Judgement::Leak,
        "{four_days:?}"
    );
}

/// Lives of `hours` each with one heap, then what is said of a last one that is `age_hours` old.
fn after_lives(
    lives: &[(f64, &dyn Fn(f64) -> f64)],
    heap: &dyn Fn(f64) -> f64,
    age_hours: f64,
) -> Judged {
    let mut track = Track::new(PERIOD_S);
    let mut began_s = 1e6;
    for (hours, heap) in lives {
        Process { began_s, heap }.live(&mut track, hours * HOUR_S);
        began_s += hours * HOUR_S + 30.0;
    }
    let (last, age) = (Process { began_s, heap }, age_hours * HOUR_S);
    last.live(&mut track, age);
    last.judge(&track, age, Some(1_000.0), 2.0 * heap(age))
}

#[test]
fn an_earlier_life_that_came_to_a_level_explains_growth_up_to_it() {
    // It fills evenly for five hours, and then is full.
    let fills = |age: f64| line(40.0)(age.min(5.0 * HOUR_S));
    let again = after_lives(&[(20.0, &fills)], &fills, 4.5);
    assert_eq!(again.findings[0].verdict, Judgement::NoLeak, "{again:?}");
    assert!(said(&again, "as-earlier-lives"));
    let level = value(&again, "as-earlier-lives", "level_bytes") / MIB;
    assert!((290.0..310.0).contains(&level), "{level}");
    // The same pace, and no end to it.
    let leaks = line(40.0);
    let beyond = after_lives(&[(20.0, &fills)], &leaks, 8.0);
    assert_eq!(beyond.findings[0].verdict, Judgement::Leak, "{beyond:?}");
    assert!(said(&beyond, "beyond-earlier-lives"));
}

#[test]
fn earlier_lives_that_grew_to_their_end_make_growth_certain_sooner() {
    let leaks = line(20.0);
    let alone = after_lives(&[], &leaks, 2.0);
    assert_eq!(alone.findings[0].verdict, Judgement::Unsure, "{alone:?}");
    let once = after_lives(&[(9.0, &leaks)], &leaks, 2.0);
    assert_eq!(
        once.findings[0].verdict,
        Judgement::Unsure,
        "one life is no habit: {once:?}"
    );
    let again = after_lives(&[(9.0, &leaks), (7.0, &leaks)], &leaks, 2.0);
    assert_eq!(again.findings[0].verdict, Judgement::Leak, "{again:?}");
    assert_eq!(value(&again, "earlier-lives-grew-too", "lives"), 2.0);
    // Ten times slower than they did: something else.
    let slower = after_lives(&[(9.0, &leaks), (7.0, &leaks)], &line(2.0), 6.0);
    assert!(!said(&slower, "earlier-lives-grew-too"), "{slower:?}");
}

#[test]
fn six_lives_are_remembered_and_what_is_too_short_is_none() {
    let fills = |age: f64| line(40.0)(age.min(5.0 * HOUR_S));
    let short: (f64, &dyn Fn(f64) -> f64) = (0.05, &fills);
    // Seven starts that came to nothing push nothing out.
    let mut lives: Vec<(f64, &dyn Fn(f64) -> f64)> = vec![(20.0, &fills)];
    lives.extend([short; 7]);
    let kept = after_lives(&lives, &fills, 4.5);
    assert!(said(&kept, "as-earlier-lives"), "{kept:?}");
    // Six of two hours do: in them it never came to its level.
    lives.truncate(1);
    lives.extend([(2.0, &fills as &dyn Fn(f64) -> f64); 6]);
    let forgotten = after_lives(&lives, &fills, 4.5);
    assert!(!said(&forgotten, "as-earlier-lives"), "{forgotten:?}");
}
