//! Whole back-tests over recorded texts.

use std::fmt::Write as _;
use std::path::PathBuf;

use model::{Judgement, Kind};

use super::files::{Remarks, judge_files};
use super::*;

const EPOCH_S: i64 = 1_767_225_600;
const MIB: f64 = 1_048_576.0;

/// A text of one gauge, series by series.
struct Text(String);

impl Text {
    fn new() -> Self {
        Self(String::new())
    }

    /// `value` of the reading's number, every 15 s.
    fn series(&mut self, name: &str, labels: &str, readings: i64, value: impl Fn(i64) -> f64) {
        for n in 0..readings {
            let at = EPOCH_S + n * 15;
            writeln!(self.0, "{name}{{{labels}}} {} {at}", value(n)).unwrap();
        }
    }
}

fn told(text: &str, samples_max: usize) -> (Vec<Record>, Remarks) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("recorded.om");
    std::fs::write(&path, text).unwrap();
    let mut records = Vec::new();
    let gather = Gather::new(vec!["replica".into()], samples_max);
    let remarks = judge_files(&[path], gather, &mut |progress| {
        if let Progress::Told(record) = progress {
            records.push((*record).clone());
        }
        Ok(())
    });
    (records, remarks.unwrap())
}

/// A heap that leaks 5 MiB a minute after an hour, with collections every minute.
fn leaking(text: &mut Text, labels: &str) {
    let live = |n: i64| 40.0 * MIB + ((n - 240).max(0) as f64) * 1.25 * MIB;
    let n = 600;
    text.series("go_gc_heap_live_bytes", labels, n, live);
    text.series("go_memstats_heap_alloc_bytes", labels, n, |n| {
        live(n) + (n % 4) as f64 * 4.0 * MIB
    });
    text.series("go_gc_cycles_total_gc_cycles_total", labels, n, |n| {
        (n / 4) as f64
    });
    text.series("process_resident_memory_bytes", labels, n, |n| {
        live(n) * 2.0
    });
    text.series("process_start_time_seconds", labels, n, |_| {
        EPOCH_S as f64 - 100.0
    });
}

fn calm(text: &mut Text, labels: &str, start: impl Fn(i64) -> f64) {
    let n = 600;
    text.series("process_resident_memory_bytes", labels, n, |n| {
        60.0 * MIB + (n % 7) as f64 * 1e5
    });
    text.series("go_memstats_heap_alloc_bytes", labels, n, |n| {
        30.0 * MIB + (n % 5) as f64 * MIB
    });
    text.series("go_gc_cycles_total_gc_cycles_total", labels, n, |n| {
        (n / 5) as f64
    });
    text.series("process_start_time_seconds", labels, n, start);
}

#[test]
fn a_leak_is_told_when_it_could_be_known_and_a_calm_one_once() {
    let mut text = Text::new();
    leaking(&mut text, "job=\"shop\",instance=\"a\",env=\"prod\"");
    calm(&mut text, "job=\"shop\",instance=\"b\"", |_| EPOCH_S as f64);
    text.0 += "# EOF\n";
    let (records, remarks) = told(&text.0, SAMPLES_DEFAULT);
    assert_eq!(remarks.cut, Vec::<PathBuf>::new());
    let [leak, calm] = &records[..] else {
        panic!("{records:#?}");
    };
    assert_eq!(
        (leak.verdict, leak.kind),
        (Judgement::Leak, Some(Kind::GoHeap))
    );
    let labels = "{env=\"prod\",instance=\"a\",job=\"shop\"}";
    assert_eq!(leak.labels.to_string(), labels);
    let began = UnixMs((EPOCH_S + 3_600) * 1000);
    let detected = leak.detected_at.expect("an incident");
    assert!(detected > began, "{}", detected.rfc3339());
    assert!(
        detected.since(began).as_secs() < 40 * 60,
        "{}",
        detected.rfc3339()
    );
    assert!(leak.onset.is_some_and(|onset| onset <= detected));
    assert!(leak.growth.is_some() && !leak.why.is_empty());
    assert_eq!((leak.readings, leak.lives, leak.ended_at), (600, 1, None));
    assert_eq!((calm.verdict, calm.detected_at), (Judgement::NoLeak, None));
    assert_eq!(calm.labels.get("instance"), Some("b"));

    let (again, _) = told(&text.0, 4_000);
    assert_eq!(again, records, "in several passes");
    let mut later = text.0.replace("# EOF\n", "");
    writeln!(
        later,
        "go_gc_heap_live_bytes{{job=\"shop\",instance=\"a\"}} 1 {}",
        EPOCH_S + 86_400
    )
    .unwrap();
    let (with_later, remarks) = told(&later, SAMPLES_DEFAULT);
    assert_eq!(
        with_later[0].detected_at, leak.detected_at,
        "what comes later changes nothing"
    );
    assert_eq!(remarks.cut.len(), 1, "no # EOF");
}

#[test]
fn restarts_split_lives_and_limits_come_from_the_container() {
    let mut text = Text::new();
    let pod = "namespace=\"shop\",pod=\"web-1\",container=\"app\"";
    let scraped = format!("job=\"web\",instance=\"10.0.0.1:80\",{pod}");
    calm(&mut text, &scraped, |n| {
        EPOCH_S as f64 + if n < 300 { 0.0 } else { 4_500.0 }
    });
    let kubelet = format!("job=\"kubelet\",instance=\"node\",id=\"/x\",{pod}");
    text.series("container_spec_memory_limit_bytes", &kubelet, 600, |_| {
        512.0 * MIB
    });
    text.series("container_memory_working_set_bytes", &kubelet, 600, |_| {
        80.0 * MIB
    });
    text.series(
        "container_memory_usage_bytes",
        "job=\"kubelet\",id=\"/\"",
        600,
        |_| 7e9,
    );
    let (records, _) = told(&text.0, SAMPLES_DEFAULT);
    let [one] = &records[..] else {
        panic!("{records:#?}");
    };
    assert_eq!(one.lives, 2);
    assert_eq!(one.limit_bytes, Some(512 << 20));
    assert_eq!(
        one.limit_source.as_deref(),
        Some("container_spec_memory_limit_bytes")
    );
    assert_eq!(one.labels.get("pod"), Some("web-1"));
    assert_eq!(one.started, Some(UnixMs((EPOCH_S + 4_500) * 1000)));
}

#[test]
fn a_container_is_judged_alone_and_replicas_are_one() {
    let mut text = Text::new();
    for (replica, shift) in [("a", 0.0), ("b", 1.0)] {
        let labels = format!("namespace=\"n\",pod=\"p\",container=\"c\",replica=\"{replica}\"");
        text.series("container_memory_usage_bytes", &labels, 400, |n| {
            5e7 + n as f64 + shift
        });
        text.series("container_memory_rss", &labels, 400, |n| {
            4e7 + n as f64 + shift
        });
    }
    let (records, _) = told(&text.0, SAMPLES_DEFAULT);
    let [one] = &records[..] else {
        panic!("{records:#?}");
    };
    assert_eq!(
        one.labels.to_string(),
        "{container=\"c\",namespace=\"n\",pod=\"p\"}"
    );
    assert_eq!((one.readings, one.lives), (400, 1));
}

#[test]
fn a_container_and_its_predecessor_are_told_apart() {
    let mut text = Text::new();
    let of = |id: &str| format!("namespace=\"n\",pod=\"p\",container=\"c\",id=\"{id}\"");
    for (id, readings, start) in [("/old", 300, 0.0), ("/new", 600, 100.0)] {
        // The new one begins with the text, and both are told for a while.
        text.series("container_memory_usage_bytes", &of(id), readings, |_| 5e7);
        text.series("container_start_time_seconds", &of(id), readings, |_| {
            EPOCH_S as f64 + start
        });
    }
    let (records, _) = told(&text.0, SAMPLES_DEFAULT);
    assert_eq!(records.len(), 1);
    assert_eq!(records[0].lives, 1, "{records:#?}");
    let started = UnixMs((EPOCH_S + 100) * 1000);
    assert_eq!(records[0].started, Some(started), "the newer one's");
}

#[test]
fn every_line_is_as_its_schema_says() {
    let schema = include_str!("../../../../docs/schema/backtest-1.schema.json");
    let schema: serde_json::Value = serde_json::from_str(schema).unwrap();
    let verdict = include_str!("../../../../docs/schema/verdict-1.schema.json");
    let verdict: serde_json::Value = serde_json::from_str(verdict).unwrap();
    let registry = jsonschema::Registry::new()
        .add(verdict["$id"].as_str().unwrap(), verdict.clone())
        .unwrap()
        .prepare()
        .unwrap();
    let validator = jsonschema::options()
        .with_draft(jsonschema::Draft::Draft202012)
        .with_registry(&registry)
        .build(&schema)
        .unwrap();
    let mut text = Text::new();
    leaking(&mut text, "job=\"shop\",instance=\"a\"");
    calm(&mut text, "job=\"shop\",instance=\"b\"", |_| EPOCH_S as f64);
    text.series("go_goroutines", "job=\"young\"", 3, |_| 7.0);
    let (records, _) = told(&text.0, SAMPLES_DEFAULT);
    assert_eq!(records.len(), 3);
    for record in &records {
        let value = serde_json::to_value(record).unwrap();
        let wrong = validator.iter_errors(&value);
        let wrong: Vec<String> = wrong
            .map(|e| format!("{}: {e}", e.instance_path()))
            .collect();
        assert!(wrong.is_empty(), "{wrong:?}\n{value:#}");
        let strict = validator.is_valid(&serde_json::json!({"schema": SCHEMA}));
        assert!(!strict, "the schema asks for something");
    }
}
