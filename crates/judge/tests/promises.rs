//! What `judge` promises whatever it is given: an answer, the same for the same, in little time.

mod physics;

use std::time::Instant;

use judge::{Input, Track, judge};
use model::{Channel, ChannelData, Facts, Judgement, Kind, UnixMs};
use physics::{Asked, MIB, Sampling, live};
use proptest::prelude::*;

fn growing(seconds: f64, period_s: f64) -> physics::Life {
    let sampling = Sampling {
        period_s,
        loads: true,
        ..Sampling::every_second(seconds)
    };
    live(1, &sampling, |age, random| Asked {
        live: 20.0 * MIB + age * 0.2 * MIB + random.normal() * MIB,
        allocates: 20.0 * MIB,
        goroutines: 20.0,
        native: age * 0.1 * MIB,
        file: 0.0,
        load: 5.0,
    })
}

#[test]
fn nothing_given_is_unsure() {
    let judged = judge(&Input {
        now: UnixMs(5),
        channels: &[],
        facts: &Facts::default(),
    });
    assert_eq!(judged.findings.len(), 1);
    assert_eq!(judged.findings[0].verdict, Judgement::Unsure);
    assert_eq!(judged.findings[0].why[0].code, "no-data");
}

#[test]
fn resident_size_alone_is_no_leak_within_minutes() {
    let life = growing(600.0, 1.0);
    let (now, channels) = life.until(600.0);
    let rss: Vec<ChannelData> = channels
        .into_iter()
        .filter(|data| data.channel == Channel::Rss)
        .collect();
    let judged = judge(&Input {
        now,
        channels: &rss,
        facts: &life.facts,
    });
    assert_eq!(judged.findings[0].verdict, Judgement::Unsure);
    assert!(
        judged.findings[0]
            .why
            .iter()
            .any(|why| why.code == "no-access")
    );
}

#[test]
fn who_asks_for_a_minute_gets_an_answer_with_less_confidence() {
    let line = |value: &dyn Fn(f64) -> f64| {
        let values = (0..60).map(|t| (20.0 + value(f64::from(t)) + f64::from(t % 3) * 0.1) * MIB);
        [ChannelData {
            channel: Channel::Native,
            times: (0..60).map(|second| UnixMs(second * 1000)).collect(),
            values: values.collect(),
        }]
    };
    let answer = |value: &dyn Fn(f64) -> f64, patience_s| {
        let facts = Facts {
            started: Some(UnixMs(-600_000)),
            period_s: 1.0,
            patience_s,
            ..Facts::default()
        };
        let channels = line(value);
        let now = UnixMs(60_000);
        let judged = judge(&Input {
            now,
            channels: &channels,
            facts: &facts,
        });
        (judged.findings[0].verdict, judged.findings[0].confidence)
    };
    assert_eq!(
        answer(&|t| t, None).0,
        Judgement::Unsure,
        "a minute is short"
    );
    let (verdict, confidence) = answer(&|t| t, Some(60.0));
    assert_eq!(verdict, Judgement::Leak);
    assert!(confidence.unwrap() < 0.9, "{confidence:?}");
    for tau in [8.0, 15.0, 25.0] {
        let fill = move |t: f64| 96.0 * (1.0 - (-t / tau).exp());
        assert_ne!(
            answer(&fill, Some(60.0)).0,
            Judgement::Leak,
            "a fill of {tau} s"
        );
    }
    assert_ne!(
        answer(&|t| t.min(30.0), Some(60.0)).0,
        Judgement::Leak,
        "it stopped"
    );
}

#[test]
fn calm_mappings_do_not_vouch_for_a_heap_that_nobody_sees() {
    let life = growing(600.0, 1.0);
    let (now, channels) = life.until(600.0);
    let flat = |channel| ChannelData {
        channel,
        times: (0..600).map(|second| UnixMs(second * 1000)).collect(),
        values: vec![MIB; 600],
    };
    let mut seen: Vec<ChannelData> = channels
        .into_iter()
        .filter(|data| [Channel::Rss, Channel::Anon].contains(&data.channel))
        .collect();
    seen.extend([flat(Channel::NativeHeap), flat(Channel::NativeMmap)]);
    let judged = judge(&Input {
        now,
        channels: &seen,
        facts: &life.facts,
    });
    assert_eq!(judged.findings[0].verdict, Judgement::Unsure);
    assert_eq!(judged.findings[0].why[0].code, "no-access");
}

#[test]
fn two_leaks_at_once_are_two_findings_and_the_time_left_counts_both() {
    let life = growing(300.0, 1.0);
    let (now, channels) = life.until(300.0);
    let judged = judge(&Input {
        now,
        channels: &channels,
        facts: &life.facts,
    });
    let kinds: Vec<&str> = judged
        .findings
        .iter()
        .filter(|finding| finding.verdict == Judgement::Leak)
        .filter_map(|finding| finding.kind.map(Kind::as_str))
        .collect();
    assert_eq!(kinds, ["go-heap", "native"]);
    let left = judged.seconds_to_limit.unwrap();
    // 2 GiB less some 200 MiB at (2 · 0.2 + 0.1) MiB a second.
    assert!((3000.0..4500.0).contains(&left.estimate), "{left:?}");
    assert!(left.low <= left.estimate && left.estimate <= left.high);
    let native = judged.findings[1]
        .advice
        .iter()
        .any(|one| one.code == "needs-tracing");
    assert!(native);
    let live = judged
        .slopes
        .iter()
        .find(|(channel, _)| *channel == Channel::GoLive)
        .unwrap();
    assert!((live.1 / MIB - 12.0).abs() < 1.0, "{live:?}");
}

/// A busy machine: the difference comes each second, the mappings only every 20 s.
#[test]
fn seldom_read_mappings_name_the_kind_and_do_not_hide_the_leak() {
    let line = |channel, every: i64, mib_per_s: f64| ChannelData {
        channel,
        times: (0..=200 / every)
            .map(|i| UnixMs(i * every * 1000))
            .collect(),
        values: (0..=200 / every)
            .map(|i| (20.0 + (i * every) as f64 * mib_per_s) * MIB)
            .collect(),
    };
    let facts = Facts {
        started: Some(UnixMs(-600_000)),
        period_s: 1.0,
        ..Facts::default()
    };
    let first = |heap: f64, mmap: f64| {
        let channels = [
            line(Channel::Native, 1, 1.0),
            line(Channel::NativeHeap, 20, heap),
            line(Channel::NativeMmap, 20, mmap),
        ];
        let now = UnixMs(200_000);
        let judged = judge(&Input {
            now,
            channels: &channels,
            facts: &facts,
        });
        (judged.findings[0].verdict, judged.findings[0].kind)
    };
    assert_eq!(first(1.0, 0.0), (Judgement::Leak, Some(Kind::NativeHeap)));
    assert_eq!(first(0.0, 0.9), (Judgement::Leak, Some(Kind::NativeMmap)));
    assert_eq!(first(0.5, 0.5), (Judgement::Leak, Some(Kind::Native)));
    // The mappings did not grow: the difference must be of something else.
    assert_eq!(first(0.0, 0.1), (Judgement::Unsure, None));
}

#[test]
fn the_same_input_gives_the_same_verdict() {
    let life = growing(300.0, 1.0);
    let (now, mut channels) = life.until(300.0);
    let first = judge(&Input {
        now,
        channels: &channels,
        facts: &life.facts,
    });
    assert_eq!(
        first,
        judge(&Input {
            now,
            channels: &channels,
            facts: &life.facts
        })
    );
    // Load levels keep their order among themselves; all else may come in any.
    channels.sort_by_key(|data| std::cmp::Reverse(data.channel));
    assert_eq!(
        first,
        judge(&Input {
            now,
            channels: &channels,
            facts: &life.facts
        })
    );
}

/// The same samples, one by one, in handfuls, and all at once.
#[test]
fn batches_do_not_matter() {
    let life = growing(600.0, 1.0);
    let told = |step: f64| {
        let mut track = Track::new(1.0);
        let (mut before, mut at) = (f64::MIN, 0.0);
        while at < 600.0 {
            at = f64::min(at + step, 600.0);
            let (_, channels) = life.between(before, at);
            before = at;
            track.push(&channels, life.facts.started);
        }
        track
    };
    let (now, _) = life.until(600.0);
    let once = told(600.0);
    for step in [1.0, 7.0, 45.0] {
        let other = told(step);
        assert_eq!(
            other.judge(now, &life.facts),
            once.judge(now, &life.facts),
            "{step} s at a time"
        );
    }
}

#[test]
fn a_reading_is_cheap_to_judge_and_little_is_remembered() {
    let readings = 2_000;
    let life = growing(f64::from(readings), 1.0);
    let mut track = Track::new(1.0);
    let (mut before, start) = (f64::MIN, Instant::now());
    for second in 1..=readings {
        let (now, channels) = life.between(before, f64::from(second));
        before = f64::from(second);
        track.push(&channels, life.facts.started);
        assert!(!track.judge(now, &life.facts).findings.is_empty());
    }
    let each = start.elapsed().as_secs_f64() * 1e6 / f64::from(readings);
    println!(
        "a reading taken in and judged: {each:.0} us; {} bytes remembered",
        track.bytes()
    );
    // Without optimisation the time says nothing; ten thousand every 15 s on half a core would be 750.
    assert!(cfg!(debug_assertions) || each < 1_500.0, "{each} us");
    assert!(track.bytes() < 64 * 1024, "{} bytes", track.bytes());
}

fn any_channel() -> impl Strategy<Value = Channel> {
    prop::sample::select(vec![
        Channel::Rss,
        Channel::Anon,
        Channel::File,
        Channel::GoLive,
        Channel::GoHeapAlloc,
        Channel::GoIdle,
        Channel::Native,
        Channel::NativeHeap,
        Channel::Goroutines,
        Channel::GcCycles,
        Channel::LoadLevel,
        Channel::Shmem,
    ])
}

fn any_value() -> impl Strategy<Value = f64> {
    prop_oneof![
        6 => 0.0..1e9f64,
        1 => any::<f64>(),
        1 => prop::sample::select(vec![f64::NAN, f64::INFINITY, f64::MAX, -1.0, 0.0]),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn whatever_is_given_there_is_an_answer(
        channels in prop::collection::vec(
            (any_channel(), prop::collection::vec((any::<i16>(), any_value()), 0..60)), 0..8),
        now in any::<i64>(),
        period_s in any_value(),
    ) {
        let channels: Vec<ChannelData> = channels
            .into_iter()
            .map(|(channel, points)| ChannelData {
                channel,
                times: points.iter().map(|(time, _)| UnixMs(i64::from(*time) * 1000)).collect(),
                values: points.iter().map(|(_, value)| *value).collect(),
            })
            .collect();
        let facts = Facts { period_s, limit_bytes: Some(1), started: Some(UnixMs(now)), ..Facts::default() };
        let judged = judge(&Input { now: UnixMs(now), channels: &channels, facts: &facts });
        prop_assert!(!judged.findings.is_empty());
        for finding in &judged.findings {
            prop_assert!(finding.confidence.is_none_or(|c| (0.5..=0.99).contains(&c)));
            prop_assert!(!finding.why.is_empty());
            prop_assert_eq!(finding.kind.is_none(), finding.verdict == Judgement::Unsure);
        }
    }
}
