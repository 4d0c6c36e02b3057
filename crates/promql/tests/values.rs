//! Queries with hand-computed answers, in `values.txt`; the case does not know the engine.
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::sync::Arc;

use model::series::{QueryResult, ReadError, stale_marker};
use model::{Budget, Cancel, Labels, MatchOp, Matcher, Query, Sample, Series, SeriesRead, UnixMs};
use promql::{Embedded, Options};

/// Series in memory; matches by equality only.
struct Loaded(Vec<Series>);

impl SeriesRead for Loaded {
    fn select(
        &self,
        matchers: &[Matcher],
        from: UnixMs,
        to: UnixMs,
        budget: &Budget,
        _: &Cancel,
    ) -> Result<Vec<Series>, ReadError> {
        let holds = |series: &Series, matcher: &Matcher| {
            let equal = series.labels.get(&matcher.name).unwrap_or("") == matcher.value;
            match matcher.op {
                MatchOp::Equal => equal,
                MatchOp::NotEqual => !equal,
                _ => panic!("not for these tests"),
            }
        };
        let mut found = Vec::new();
        for series in self
            .0
            .iter()
            .filter(|s| matchers.iter().all(|m| holds(s, m)))
        {
            let mut series = series.clone();
            series
                .samples
                .retain(|sample| from <= sample.t && sample.t <= to);
            if !budget.take(series.samples.len() as u64) {
                return Err(ReadError::OverBudget);
            }
            if !series.samples.is_empty() {
                found.push(series);
            }
        }
        Ok(found)
    }
}

fn ms(seconds: &str) -> i64 {
    (seconds.parse::<f64>().unwrap() * 1_000.0).round() as i64
}

/// `name{a="b"}` or `{a="b"}`.
fn labels(text: &str) -> Labels {
    let (name, rest) = text.split_once('{').unwrap_or((text, "}"));
    let pairs = rest
        .trim_end_matches('}')
        .split(',')
        .filter(|pair| !pair.is_empty());
    let pairs = pairs.map(|pair| {
        let (name, value) = pair.split_once('=').unwrap();
        (name, value.trim_matches('"'))
    });
    Labels::metric(name, pairs)
}

fn values(text: &str) -> Vec<Option<f64>> {
    let mut values = Vec::new();
    for word in text.split_whitespace() {
        match (word, word.split_once('x')) {
            ("_", _) => values.push(None),
            ("stale", _) => values.push(Some(stale_marker())),
            (_, Some((rule, more))) => {
                let (first, step) = rule.split_once('+').unwrap();
                let (first, step): (f64, f64) = (first.parse().unwrap(), step.parse().unwrap());
                let more: u32 = more.parse().unwrap();
                values.extend((0..=more).map(|n| Some(first + step * f64::from(n))));
            }
            _ => values.push(Some(word.parse().unwrap())),
        }
    }
    values
}

fn load(lines: &[&str], step_ms: i64) -> Loaded {
    let series = lines.iter().map(|line| {
        let (name, rest) = line.trim().split_once(' ').unwrap();
        let samples = (0..).zip(values(rest)).filter_map(|(at, v)| {
            Some(Sample {
                t: UnixMs(at * step_ms),
                v: v?,
            })
        });
        Series {
            labels: labels(name),
            samples: samples.collect(),
        }
    });
    Loaded(series.collect())
}

/// One line a series, as the script has it.
fn answer(result: Result<QueryResult, ReadError>, grid: Option<(i64, i64, i64)>) -> Vec<String> {
    let name = |labels: &Labels| match labels.to_string() {
        text if text.is_empty() => "{}".to_owned(),
        text => text,
    };
    let number = |v: f64| match v {
        f64::INFINITY => "+Inf".to_owned(),
        // Hand-computed values are short; this is closer than any mistake.
        v => format!("{}", (v * 1e9).round() / 1e9),
    };
    let lines: Vec<String> = match result {
        Err(error) => return vec![format!("fail: {error}")],
        Ok(QueryResult::Scalar(sample)) => vec![format!("scalar {}", number(sample.v))],
        Ok(QueryResult::Vector(vector)) => {
            let line = |(labels, sample): &(Labels, Sample)| {
                format!("{} {}", name(labels), number(sample.v))
            };
            vector.iter().map(line).collect()
        }
        Ok(QueryResult::Matrix(series)) => {
            let line = |series: &Series| {
                let at = |t: i64| {
                    let found = series.samples.iter().find(|sample| sample.t.0 == t);
                    found.map_or("_".to_owned(), |sample| number(sample.v))
                };
                let steps: Vec<String> = match grid {
                    Some((from, to, step)) => (from..=to).step_by(step as usize).map(at).collect(),
                    None => series
                        .samples
                        .iter()
                        .map(|sample| number(sample.v))
                        .collect(),
                };
                format!("{} {}", name(&series.labels), steps.join(" "))
            };
            series.iter().map(line).collect()
        }
    };
    if lines.is_empty() {
        return vec!["empty".to_owned()];
    }
    lines
}

fn block_on<T>(mut future: model::series::BoxFuture<'_, T>) -> T {
    use std::task::{Context, Poll, Wake, Waker};
    struct Unpark(std::thread::Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(answer) => return answer,
            Poll::Pending => std::thread::park(),
        }
    }
}

fn embedded(loaded: Loaded, options: Options) -> Embedded {
    let spawn = |job| drop(std::thread::spawn(job));
    Embedded::new(Arc::new(loaded), options, Arc::new(spawn))
}

#[test]
fn values_are_those_worked_out_by_hand() {
    let script = include_str!("values.txt");
    let lines: Vec<&str> = script
        .lines()
        .filter(|line| !line.trim().is_empty() && !line.starts_with('#'))
        .collect();
    let mut at = 0;
    let mut engine = None;
    let mut cases = 0;
    let mut wrong = Vec::new();
    while at < lines.len() {
        let body = &lines[at + 1..];
        let body = &body[..body.iter().take_while(|line| line.starts_with(' ')).count()];
        let words: Vec<&str> = lines[at].splitn(2, ':').collect();
        let command: Vec<&str> = words[0].split(' ').collect();
        at += 1 + body.len();
        let (result, grid) = match command[..] {
            ["load", step] => {
                engine = Some(embedded(load(body, ms(step)), Options::default()));
                continue;
            }
            ["eval", "at", t] => {
                let engine = engine.as_ref().unwrap();
                (block_on(engine.instant(words[1], UnixMs(ms(t)))), None)
            }
            ["range", from, to, step] => {
                let (from, to, step) = (ms(from), ms(to), ms(step));
                let engine = engine.as_ref().unwrap();
                let range = engine.range(words[1], UnixMs(from), UnixMs(to), step as u64);
                (block_on(range), Some((from, to, step)))
            }
            _ => panic!("`{}` is no command", lines[at - 1]),
        };
        cases += 1;
        let have = answer(result, grid);
        let want: Vec<&str> = body.iter().map(|line| line.trim()).collect();
        let fails = |words: &str| have.len() == 1 && have[0].contains(words);
        let right = match want[..] {
            [only] if only.starts_with("fail: ") => {
                have[0].starts_with("fail: ") && fails(&only["fail: ".len()..])
            }
            _ => have == want,
        };
        if !right {
            wrong.push(format!(
                "{}:{}\n  have {have:?}\n  want {want:?}",
                words[0], words[1]
            ));
        }
    }
    assert!(
        wrong.is_empty(),
        "{} of {cases} wrong:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    assert!(cases > 60, "the script was not read: {cases}");
}

#[test]
fn a_query_is_bounded_and_cancelled() {
    let lines = ["m{a=\"1\"} 0+1x99", "m{a=\"2\"} 0+1x99"];
    let small = Options {
        samples_max: 150,
        ..Options::default()
    };
    let engine = embedded(load(&lines, 1_000), small);
    let over = block_on(engine.instant("sum_over_time(m[1h])", UnixMs(100_000)));
    assert!(matches!(over, Err(ReadError::OverBudget)), "{over:?}");
    let cancel = Cancel::default();
    cancel.cancel();
    let range = engine.range_now("m{a=\"1\"}", UnixMs(0), UnixMs(9_000), 1_000, &cancel);
    assert!(matches!(range, Err(ReadError::Cancelled)));
    // A spawner that drops its job must not leave the query waiting.
    let dropping = Embedded::new(Arc::new(Loaded(vec![])), Options::default(), Arc::new(drop));
    let dropped = block_on(dropping.instant("m", UnixMs(0)));
    assert!(matches!(dropped, Err(ReadError::Cancelled)));
}

#[test]
fn hostile_queries_are_refused() {
    let engine = embedded(Loaded(vec![]), Options::default());
    let rows = [
        (
            "brackets",
            format!("{}1{}", "(".repeat(10_000), ")".repeat(10_000)),
        ),
        ("signs", format!("{}m", "-".repeat(60_000))),
        ("sums", format!("m{}", "+m".repeat(30_000))),
        ("words", format!("m{}", " and m".repeat(9_000))),
        (
            "after a comment",
            format!("# it's\nm{}", "+m".repeat(30_000)),
        ),
        (
            "after a text",
            format!("m{{a='\\'\"'}}{}", "+m".repeat(30_000)),
        ),
        (
            "after a raw text",
            format!("m{{a=`\\`}}{}", "+m".repeat(30_000)),
        ),
        ("long", format!("m{{a=\"{}\"}}", "x".repeat(70_000))),
        ("empty", String::new()),
    ];
    for (name, query) in rows {
        let answer = engine.instant_now(&query, UnixMs(0), &Cancel::default());
        assert!(
            matches!(answer, Err(ReadError::BadQuery(_))),
            "{name}: {answer:?}"
        );
    }
}
