//! The names of a service's own series in the reasons of a verdict. The judge sees none of them, so that no rule
//! can depend on one; people want to know which load is meant, and what rises with the memory.

use std::collections::BTreeMap;

use judge::stats::correlation;
use model::{Channel, ChannelData, Finding, Judgement, Kind, Reason, UnixMs};

/// The value of a reason that says which load is meant.
const LOAD: &str = "load";
/// A gauge that follows so closely is told.
const R2_MIN: f64 = 0.95;
/// At so many moments at least.
const MOMENTS_MIN: usize = 20;
const GAUGES_TOLD_MAX: usize = 2;

/// Puts the loads' names, which are in the order of their channels, where reasons mean one.
pub(crate) fn name_loads(findings: &mut [Finding], loads: &[&str]) {
    for reason in findings.iter_mut().flat_map(|finding| &mut finding.why) {
        let Some(place) = reason.values.remove(LOAD) else {
            continue;
        };
        if let Some(source) = loads.get(place as usize) {
            reason
                .text
                .push_str(&format!(" The load is {}.", in_words(source)));
        }
    }
}

fn in_words(source: &str) -> String {
    match source.split_once(':') {
        Some(("rate", name)) => format!("the rate of `{name}`"),
        Some((_, name)) => format!("`{name}`"),
        None => format!("its open {source}"),
    }
}

/// Says in a leak of the Go heap which gauges of the service's own rise as the heap does: perhaps what leaks is
/// counted there.
pub(crate) fn name_gauges(
    findings: &mut [Finding],
    channels: &[ChannelData],
    gauges: &[(&str, ChannelData)],
) {
    let leaks = |finding: &&mut Finding| {
        finding.verdict == Judgement::Leak && finding.kind == Some(Kind::GoHeap)
    };
    let Some(finding) = findings.iter_mut().find(leaks) else {
        return;
    };
    let heap = [Channel::GoLive, Channel::GoHeapAlloc];
    let Some(heap) = heap
        .iter()
        .find_map(|channel| channels.iter().find(|data| data.channel == *channel))
    else {
        return;
    };
    let since = finding.onset.unwrap_or(UnixMs(i64::MIN));
    let mut told: Vec<(f64, &str)> = gauges
        .iter()
        .filter_map(|(name, gauge)| Some((follows(heap, gauge, since)?, *name)))
        .filter(|(r2, _)| *r2 >= R2_MIN)
        .collect();
    told.sort_by(|a, b| b.0.total_cmp(&a.0));
    for (r2, name) in told.into_iter().take(GAUGES_TOLD_MAX) {
        finding.why.push(Reason {
            code: "gauge-rises-too".into(),
            speaks_for: Judgement::Leak,
            values: BTreeMap::from([("r2".to_owned(), r2)]),
            text: format!(
                "`{name}`, a gauge of its own, rises with it ({:.0} % in common): perhaps it counts what leaks.",
                100.0 * r2
            ),
        });
    }
}

/// How closely the heap and the gauge rise together since the growth began.
fn follows(heap: &ChannelData, gauge: &ChannelData, since: UnixMs) -> Option<f64> {
    let (mut of_heap, mut of_gauge) = (Vec::new(), Vec::new());
    let mut at = 0;
    for (time, value) in gauge.times.iter().zip(&gauge.values) {
        while heap.times.get(at + 1).is_some_and(|next| next <= time) {
            at += 1;
        }
        if *time >= since && heap.times.get(at).is_some_and(|then| then <= time) {
            of_heap.push(heap.values[at]);
            of_gauge.push(*value);
        }
    }
    let r = correlation(&of_heap, &of_gauge).filter(|r| *r > 0.0)?;
    (of_heap.len() >= MOMENTS_MIN).then_some(r * r)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(why: Vec<Reason>) -> Finding {
        Finding {
            verdict: Judgement::Leak,
            kind: Some(Kind::GoHeap),
            confidence: Some(0.9),
            onset: Some(UnixMs(10_000)),
            growth: None,
            why,
            suspects: Vec::new(),
            advice: Vec::new(),
        }
    }

    fn data(channel: Channel, value: impl Fn(f64) -> f64) -> ChannelData {
        ChannelData {
            channel,
            times: (0..100).map(|second| UnixMs(second * 1_000)).collect(),
            values: (0..100).map(|second| value(f64::from(second))).collect(),
        }
    }

    #[test]
    fn a_load_is_called_by_its_name() {
        let reason = |load: f64| Reason {
            code: "follows-load".into(),
            speaks_for: Judgement::NoLeak,
            values: BTreeMap::from([(LOAD.to_owned(), load), ("r2".to_owned(), 0.9)]),
            text: "It follows the load.".into(),
        };
        let why = [0.0, 1.0, 2.0, 7.0].map(reason).to_vec();
        let mut findings = [finding(why)];
        let loads = ["gauge:in_flight", "rate:jobs_total", "sockets"];
        name_loads(&mut findings, &loads);
        let texts: Vec<&str> = findings[0].why.iter().map(|why| &*why.text).collect();
        let want = [
            "It follows the load. The load is `in_flight`.",
            "It follows the load. The load is the rate of `jobs_total`.",
            "It follows the load. The load is its open sockets.",
            "It follows the load.",
        ];
        assert_eq!(texts, want);
        assert!(findings[0].why.iter().all(|why| why.values.len() == 1));
    }

    #[test]
    fn a_gauge_that_rises_with_the_heap_is_told() {
        let noise = |t: f64| (t * 7.31).sin();
        let heap = data(Channel::GoLive, |t| 1e8 + 1e6 * t + 1e6 * noise(t));
        let gauges = [
            ("cache_entries", data(Channel::LoadLevel, |t| 40.0 * t)),
            ("falls", data(Channel::LoadLevel, |t| -t)),
            (
                "steps",
                data(Channel::LoadLevel, |t| f64::from(u8::from(t > 50.0))),
            ),
            // Only before the growth began.
            ("early", data(Channel::LoadLevel, |t| t.min(9.0))),
        ];
        let mut findings = [finding(Vec::new())];
        name_gauges(&mut findings, std::slice::from_ref(&heap), &gauges);
        let [why] = &findings[0].why[..] else {
            panic!("{:?}", findings[0].why);
        };
        assert!(
            why.text.starts_with("`cache_entries`, a gauge"),
            "{}",
            why.text
        );
        let mut calm = [Finding {
            verdict: Judgement::NoLeak,
            ..finding(Vec::new())
        }];
        name_gauges(&mut calm, &[heap], &gauges);
        assert!(calm[0].why.is_empty());
    }
}
