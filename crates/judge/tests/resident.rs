//! A process of which only its resident size is seen: what can be told of it, and what cannot.

use judge::Track;
use model::verdict::Judged;
use model::{Channel, ChannelData, Facts, Judgement, Kind, UnixMs};

const MIB: f64 = 1_048_576.0;
const PERIOD_S: f64 = 60.0;
const HOUR_S: f64 = 3_600.0;

/// Takes in a process that lives from `began_s` for `age` seconds with this resident size, in MiB.
fn live(track: &mut Track, channel: Channel, began_s: f64, age: f64, rss: impl Fn(f64) -> f64) {
    let readings = (1..=(age / PERIOD_S) as i64).map(|reading| reading as f64 * PERIOD_S);
    let (times, values) = readings
        .map(|at| {
            let noise = 1.0 + 0.002 * (at * 0.731).sin();
            (time(began_s + at), rss(at) * noise * MIB)
        })
        .unzip();
    let data = ChannelData {
        channel,
        times,
        values,
    };
    track.push(&[data], Some(time(began_s)));
}

fn time(seconds: f64) -> UnixMs {
    UnixMs((seconds * 1_000.0) as i64)
}

/// What is said of a first life when it is so old.
fn judged(channel: Channel, age: f64, rss: impl Fn(f64) -> f64) -> Judged {
    let mut track = Track::new(PERIOD_S);
    live(&mut track, channel, 0.0, age, rss);
    said(&track, 0.0, age)
}

fn said(track: &Track, began_s: f64, age: f64) -> Judged {
    let facts = Facts {
        started: Some(time(began_s)),
        period_s: PERIOD_S,
        ..Facts::default()
    };
    track.judge(time(began_s + age), &facts)
}

fn is_leak(judged: &Judged) -> bool {
    judged.findings[0].verdict == Judgement::Leak
}

#[test]
fn growth_after_a_quiet_time_is_told_once_it_is_a_quarter_of_the_level() {
    let rss = |age: f64| 200.0 + 20.0 * (age / HOUR_S - 10.0).max(0.0);
    for channel in [Channel::Rss, Channel::ContainerAnon] {
        let early = judged(channel, 11.5 * HOUR_S, rss);
        assert!(!is_leak(&early), "{early:?}");
        let later = judged(channel, 14.0 * HOUR_S, rss);
        assert!(is_leak(&later), "{later:?}");
        assert_eq!(later.findings[0].kind, Some(Kind::Resident));
        let why = &later.findings[0].why;
        assert!(why.iter().any(|why| why.code == "no-access"), "{why:?}");
    }
}

#[test]
fn growth_from_birth_is_told_after_a_day_and_a_half() {
    let rss = |age: f64| 200.0 + 10.0 * age / HOUR_S;
    let early = judged(Channel::Rss, 30.0 * HOUR_S, rss);
    assert!(!is_leak(&early), "{early:?}");
    let codes: Vec<&str> = early.findings[0].why.iter().map(|w| &*w.code).collect();
    assert_eq!(codes, ["no-access", "may-be-usual"]);
    assert!(is_leak(&judged(Channel::Rss, 40.0 * HOUR_S, rss)));
}

#[test]
fn days_and_fills_are_no_leaks() {
    let day = |age: f64| 300.0 - 200.0 * (age / HOUR_S / 24.0 * std::f64::consts::TAU).cos();
    let fill = |age: f64| 500.0 - 400.0 * (-age / (20.0 * HOUR_S)).exp();
    for hours in 1..96 {
        let age = f64::from(hours) * HOUR_S;
        let (day, fill) = (
            judged(Channel::Rss, age, day),
            judged(Channel::Rss, age, fill),
        );
        assert!(!is_leak(&day), "day at {hours} h: {day:?}");
        assert!(!is_leak(&fill), "fill at {hours} h: {fill:?}");
    }
}

#[test]
fn lives_that_grew_to_their_end_make_it_certain_sooner() {
    let rss = |age: f64| 200.0 + 20.0 * age / HOUR_S;
    let mut track = Track::new(PERIOD_S);
    for life in 0..2 {
        live(
            &mut track,
            Channel::Rss,
            f64::from(life) * 1e5,
            20.0 * HOUR_S,
            rss,
        );
    }
    live(&mut track, Channel::Rss, 2e5, 11.0 * HOUR_S, rss);
    let judged = said(&track, 2e5, 11.0 * HOUR_S);
    assert!(is_leak(&judged), "{judged:?}");
    let why = &judged.findings[0].why;
    assert!(
        why.iter().any(|why| why.code == "earlier-lives-grew-too"),
        "{why:?}"
    );
}
