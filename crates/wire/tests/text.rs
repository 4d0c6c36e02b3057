//! Text formats against tables of good and bad input, mutations, and a big scrape.

use std::time::{Duration, Instant};

use model::{Labels, UnixMs};
use wire::{FamilyType, Limits, SeriesCache, WireError, parse, parse_with_cache};

const OPENMETRICS: Option<&str> =
    Some("application/openmetrics-text; version=1.0.0; charset=utf-8");

/// Each sample as the model prints it, with value and timestamp; `Err` with the error's text.
fn read(content_type: Option<&str>, text: &str) -> Result<Vec<String>, String> {
    let scrape = parse(content_type, text.as_bytes(), &Limits::default());
    let line = |s: wire::ScrapedSample| match s.timestamp {
        Some(UnixMs(at)) => format!("{} {} @{at}", s.labels, s.value),
        None => format!("{} {}", s.labels, s.value),
    };
    match scrape {
        Ok(scrape) => Ok(scrape.samples.into_iter().map(line).collect()),
        Err(error) => Err(error.to_string()),
    }
}

#[test]
fn text_is_read_as_prometheus_reads_it() {
    let rows: &[(&str, &str, &[&str])] = &[
        ("empty body", "", &[]),
        ("blank lines", "\n \t\n\n", &[]),
        ("bare", "up 1\n", &["up 1"]),
        ("no final line feed", "up 1", &["up 1"]),
        (
            "tabs and blanks",
            "\tm \t{ a\t=\t\"b\" ,\tc = \"d\" }\t1 \t 2 \n",
            &["m{a=\"b\",c=\"d\"} 1 @2"],
        ),
        (
            "no blank before the value",
            "m{a=\"b\"}1\n",
            &["m{a=\"b\"} 1"],
        ),
        (
            "sorted",
            "m{z=\"1\",a=\"2\"} 1\n",
            &["m{a=\"2\",z=\"1\"} 1"],
        ),
        ("empty braces", "m{} 1\n", &["m 1"]),
        ("trailing comma", "m{a=\"b\",} 1\n", &["m{a=\"b\"} 1"]),
        (
            "missing comma",
            "m{a=\"b\" c=\"d\"} 1\n",
            &["m{a=\"b\",c=\"d\"} 1"],
        ),
        ("empty value is absent", "m{a=\"\"} 1\n", &["m 1"]),
        (
            "escapes",
            r#"m{a="q\"b\\n\n",b="\x\\"} 1"#,
            &[r#"m{a="q\"b\\n\n",b="\\x\\"} 1"#],
        ),
        (
            "multi-byte after a backslash",
            "m{a=\"\\é\"} 1\n",
            &["m{a=\"\\\\é\"} 1"],
        ),
        (
            "braces in a value",
            "m{a=\"}{ # \"} 1\n",
            &["m{a=\"}{ # \"} 1"],
        ),
        (
            "line feed in a value",
            "m{a=\"x\ny\"} 1\n",
            &["m{a=\"x\\ny\"} 1"],
        ),
        ("NUL in a value", "m{a=\"x\0y\"} 1\n", &["m{a=\"x\0y\"} 1"]),
        ("colons", "a:b:c 1\n:x 2\n", &["a:b:c 1", ":x 2"]),
        (
            "quoted name",
            "{\"my.dotted name\",a=\"b\"} 1\n",
            &["my.dotted name{a=\"b\"} 1"],
        ),
        ("quoted name last", "{a=\"b\",\"x\"} 1\n", &["x{a=\"b\"} 1"]),
        ("quoted label", "m{\"k.l\"=\"v\"} 1\n", &["m{k.l=\"v\"} 1"]),
        (
            "values",
            "a NaN\nb +Inf\nc -inf\nd 1.5e-3\n",
            &["a NaN", "b inf", "c -inf", "d 0.0015"],
        ),
        (
            "timestamps",
            "a 1 1795384200000\nb 1 -5\n",
            &["a 1 @1795384200000", "b 1 @-5"],
        ),
        ("twice the same series", "m 1\nm 2\n", &["m 1", "m 2"]),
        (
            "comments",
            "#\n# x\n#x\n# HELPme x\n#HELP 1\n# EOF\nm 1\n",
            &["m 1"],
        ),
        ("metadata", "# HELP m \n# TYPE\tm\tcounter\nm 1\n", &["m 1"]),
        ("help without text", "# HELP m\nm 1\n", &["m 1"]),
        (
            "quoted metadata",
            "# TYPE \"a b\" gauge\n{\"a b\"} 1\n",
            &["a b 1"],
        ),
    ];
    for (why, text, want) in rows {
        let got = read(None, text).unwrap_or_else(|error| panic!("{why}: {error}"));
        assert_eq!(got, *want, "{why}");
    }
}

#[test]
fn bad_text_says_what_was_expected_and_where() {
    let long = format!("m {}", "é".repeat(500));
    for (why, text, want) in [
        (
            "no value",
            "m\n",
            "expected a number, found the end of the line (line 1, column 2)",
        ),
        (
            "no value at the end",
            "m",
            "expected a number, found the end of the text (line 1, column 2)",
        ),
        (
            "word",
            "a 1\n m x 1\n",
            "expected a number, found `x 1` (line 2, column 4)",
        ),
        (
            "hexadecimal",
            "m 0x1p3",
            "expected a number, found `0x1p3` (line 1, column 3)",
        ),
        (
            "carriage return",
            "m 1\r\n",
            "expected a number, found `1\\r` (line 1, column 3)",
        ),
        (
            "float time",
            "m 1 1.5\n",
            "expected a timestamp or the end of the line, found `1.5` (line 1, column 5)",
        ),
        (
            "more",
            "m 1 1 1\n",
            "expected the end of the line, found `1` (line 1, column 7)",
        ),
        (
            "exemplar",
            "m 1 # {a=\"b\"} 1\n",
            "expected the end of the line, found `# {a=\"b\"} 1` (line 1, column 5)",
        ),
        (
            "digit first",
            "1m 1\n",
            "expected a metric name, found `1m 1` (line 1, column 1)",
        ),
        (
            "no name",
            "{a=\"b\"} 1\n",
            "expected a metric name, found `{a=\"b\"} 1` (line 1, column 1)",
        ),
        (
            "empty name",
            "{\"\"} 1\n",
            "expected a label name or `}`, found `\"\"} 1` (line 1, column 2)",
        ),
        (
            "two names",
            "m{\"x\"} 1\n",
            "expected one metric name, not two, in this series, found `m{\"x\"} 1` (line 1, column 1)",
        ),
        (
            "two quoted names",
            "{\"x\",\"y\"} 1\n",
            "expected `=` after a label name, found `} 1` (line 1, column 9)",
        ),
        (
            "open brace",
            "m{",
            "expected a label name or `}`, found the end of the text (line 1, column 3)",
        ),
        (
            "comma alone",
            "m{,} 1\n",
            "expected a label name or `}`, found `,} 1` (line 1, column 3)",
        ),
        (
            "colon in a label",
            "m{a:b=\"1\"} 1\n",
            "expected `=` after a label name, found `:b=\"1\"} 1` (line 1, column 4)",
        ),
        (
            "no equals",
            "m{a\"1\"} 1\n",
            "expected `=` after a label name, found `\"1\"} 1` (line 1, column 4)",
        ),
        (
            "no quotes",
            "m{a=1} 1\n",
            "expected a quoted label value, found `1} 1` (line 1, column 5)",
        ),
        (
            "open quote",
            "é{",
            "expected a metric name, found `é{` (line 1, column 1)",
        ),
        (
            "open string",
            "m{é",
            "expected a label name or `}`, found `é` (line 1, column 3)",
        ),
        (
            "unclosed",
            "m{k=\"é\\",
            "expected a closing quote for the string here, found `\"é\\` (line 1, column 5)",
        ),
        (
            "label twice",
            "m{a=\"1\",a=\"2\"} 1\n",
            "expected each label once in this series, found `m{a=\"1\",a=\"2\"} 1` (line 1, column 1)",
        ),
        (
            "name twice",
            "m{__name__=\"n\"} 1\n",
            "expected each label once in this series, found `m{__name__=\"n\"} 1` (line 1, column 1)",
        ),
        (
            "type",
            "# TYPE m thing\n",
            "expected a metric type, found ` thing` (line 1, column 9)",
        ),
        (
            "type missing",
            "# TYPE m\n",
            "expected a metric type, found the end of the line (line 1, column 9)",
        ),
        (
            "help of nothing",
            "# HELP 1m x\n",
            "expected a metric name, found `1m x` (line 1, column 8)",
        ),
        (
            "web page",
            "<html>\n",
            "expected a metric name, found `<html>` (line 1, column 1)",
        ),
    ] {
        assert_eq!(read(None, text), Err(want.to_owned()), "{why}");
    }
    let error = read(None, &long).expect_err("no number");
    assert!(
        error.chars().count() < 120,
        "the excerpt is bounded: {error}"
    );
}

#[test]
fn openmetrics_has_its_own_rules() {
    let good = "# TYPE foo counter\n# UNIT foo_seconds seconds\n\
        foo_total{a=\"b\"} 17.0 1520879607.789 # {trace_id=\"x\",s=\"y\"} 0.67 1520879606\n\
        foo_created 1520430000.123\n# TYPE h histogram\nh_bucket{le=\"1\"} 3 # {} 0.5\n# EOF\n";
    let scrape = parse(OPENMETRICS, good.as_bytes(), &Limits::default()).expect("good text");
    assert!(scrape.eof_seen);
    assert_eq!(scrape.families["foo"].kind, FamilyType::Counter);
    assert_eq!(scrape.samples.len(), 3);
    assert_eq!(
        scrape.samples[0].labels,
        Labels::metric("foo_total", [("a", "b")])
    );
    assert_eq!(scrape.samples[0].timestamp, Some(UnixMs(1_520_879_607_789)));
    for (why, text, want) in [
        (
            "cut off",
            "a 1\n",
            "the OpenMetrics text does not end with `# EOF`",
        ),
        (
            "cut off in EOF",
            "a 1\n# EO",
            "the OpenMetrics text does not end with `# EOF`",
        ),
        (
            "more after EOF",
            "# EOF\na 1\n",
            "expected nothing after `# EOF`, found `a 1` (line 2, column 1)",
        ),
        (
            "blank line after EOF",
            "# EOF\n\n",
            "expected nothing after `# EOF`, found the end of the line (line 2, column 1)",
        ),
        (
            "infinite time",
            "a 1 +Inf\n# EOF\n",
            "expected a timestamp or the end of the line, found `+Inf` (line 1, column 5)",
        ),
        (
            "exemplar without braces",
            "a 1 # 1\n# EOF",
            "expected an exemplar's `{`, found `1` (line 1, column 7)",
        ),
        (
            "exemplar without value",
            "a 1 # {}\n# EOF",
            "expected an exemplar's number, found the end of the line (line 1, column 9)",
        ),
        (
            "line feed in a value",
            "a{b=\"\n\"} 1\n# EOF",
            "expected a closing quote for the string here, found `\"` (line 1, column 5)",
        ),
    ] {
        assert_eq!(read(OPENMETRICS, text), Err(want.to_owned()), "{why}");
    }
    assert_eq!(
        read(OPENMETRICS, "# EOF"),
        Ok(vec![]),
        "EOF without a line feed"
    );
}

#[test]
fn other_content_types_and_encodings_are_told_apart() {
    for (content_type, good) in [
        (None, true),
        (Some(""), true),
        (Some("text/plain; version=0.0.4"), true),
        (Some("application/octet-stream"), true), // some hand-made exporters
        (Some("text/html; charset=utf-8"), false),
        (Some("Application/JSON"), false),
        (Some("application/vnd.google.protobuf; proto=x"), false),
    ] {
        let result = parse(content_type, b"a 1\n", &Limits::default());
        assert_eq!(result.is_ok(), good, "{content_type:?}");
        if let Err(error) = result {
            assert!(error.hint().is_some(), "{error}");
        }
    }
    let error = parse(None, b"a 1\nb{c=\"\xff\"} 1\n", &Limits::default());
    let error = error.expect_err("not UTF-8").to_string();
    assert_eq!(error, "expected UTF-8, found byte 0xff (line 2, column 6)");
}

#[test]
fn limits_refuse_and_help_is_cut() {
    let limits = Limits {
        body_bytes_max: 200,
        samples_max: 2,
        labels_max: 2,
        name_bytes_max: 10,
        value_bytes_max: 4,
        families_max: 1,
        help_bytes_max: 3,
    };
    for (why, text, what) in [
        ("body", "#".repeat(201), "body bytes"),
        ("samples", "a 1\n".repeat(3), "samples"),
        (
            "labels",
            "a{b=\"1\",c=\"1\",d=\"1\"} 1\n".into(),
            "labels of a sample",
        ),
        ("metric name", "a".repeat(11) + " 1\n", "bytes of a name"),
        (
            "label name",
            format!("a{{{}=\"1\"}} 1\n", "b".repeat(11)),
            "bytes of a name",
        ),
        (
            "value",
            "a{b=\"12345\"} 1\n".into(),
            "bytes of a label value",
        ),
    ] {
        let error = parse(None, text.as_bytes(), &limits);
        assert!(
            matches!(error, Err(WireError::Limit { what: w, .. }) if w == what),
            "{why}: {error:?}"
        );
    }
    let text = "# HELP a aéé\n# HELP b x\na{b=\"1234\",c=\"1\"} 1\nb 1\n";
    let scrape = parse(None, text.as_bytes(), &limits).expect("just within");
    assert_eq!(scrape.families.len(), 1);
    assert_eq!(
        scrape.families["a"].help, "aé",
        "cut on a character's boundary"
    );
}

#[test]
fn a_recorded_expvar_page_is_read() {
    let page = include_bytes!("data/expvar.json");
    let scrape = wire::parse_expvar(page, &Limits::default()).expect("a page of go1.26.8");
    let value = |name: &str| {
        let mut all = scrape.samples.iter();
        all.find(|s| s.labels.name() == name).map(|s| s.value)
    };
    assert_eq!(scrape.samples.len(), 23, "every figure that has a name");
    assert_eq!(value("go_memstats_heap_alloc_bytes"), Some(35_602_888.0));
    assert_eq!(value("go_memstats_gc_sys_bytes"), Some(2_690_800.0));
    assert_eq!(value("go_memstats_next_gc_bytes"), Some(38_264_833.0));
    assert_eq!(value("go_gc_duration_seconds_count"), Some(11.0));
}

/// A scrape of `series` series, as a Go service with histograms has them.
fn big_scrape(series: usize) -> String {
    let mut text = String::new();
    for n in 0..series {
        if n % 100 == 0 {
            text += &format!("# HELP shop_{}_seconds Time per request.\n", n / 100);
            text += &format!("# TYPE shop_{}_seconds histogram\n", n / 100);
        }
        text += &format!(
            "shop_{}_seconds_bucket{{handler=\"/api/v1/things/{}\",code=\"200\",le=\"{}\"}} {}\n",
            n / 100,
            n % 100 / 10,
            n % 10,
            n * 7919 % 100_000
        );
    }
    text
}

/// xorshift64*: enough to mutate bytes, and the seed is all there is to it.
struct Rng(u64);

impl Rng {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % n.max(1)
    }
}

#[test]
fn mutated_bodies_never_panic() {
    let seeds = [
        "# HELP m h\\n\n# TYPE m counter\nm{a=\"b\\\"\",c=\"\\\\\"} 1 2\n{\"é\",x=\"y\"} +Inf\n",
        "# TYPE f histogram\nf_bucket{le=\"1\"} 1 1.5 # {t=\"x\"} 0.5 1\n# UNIT f s\n# EOF\n",
        r#"{"memstats":{"HeapAlloc":1,"BySize":[{"Size":8}]},"x":1.5e3,"y":{"z":[null]}}"#,
    ];
    let tokens = [
        "\"",
        "\\",
        "{",
        "}",
        "# EOF\n",
        "\n",
        "=",
        ",",
        "\0",
        "é",
        "NaN",
        " ",
        "# TYPE ",
        "\u{10ffff}",
    ];
    let mut rng = Rng(0x5eed_0001);
    let end = Instant::now() + Duration::from_secs(2);
    let mut rounds = 0;
    while rounds < 200 || (Instant::now() < end && rounds < 200_000) {
        let mut body = seeds[rng.below(seeds.len())].as_bytes().to_vec();
        for _ in 0..=rng.below(6) {
            let at = rng.below(body.len() + 1);
            match rng.below(4) {
                0 => body.insert(at, rng.below(256) as u8),
                1 => body.truncate(at),
                2 if at < body.len() => body[at] = rng.below(256) as u8,
                _ => {
                    let token = tokens[rng.below(tokens.len())];
                    body.splice(at..at, token.bytes());
                }
            }
        }
        let caught = std::panic::catch_unwind(|| wire::fuzz_one(&body));
        assert!(
            caught.is_ok(),
            "round {rounds}: {:?}",
            String::from_utf8_lossy(&body)
        );
        rounds += 1;
    }
}

/// `cargo test -p wire --release -- --ignored --nocapture speed`
#[test]
#[ignore = "a measurement, not a check"]
fn speed_of_a_scrape_of_10k_series() {
    let text = big_scrape(10_000);
    let mut cache = SeriesCache::default();
    for (name, cached) in [("first scrape", false), ("repeated scrape", true)] {
        let mut best = f64::INFINITY;
        for _ in 0..30 {
            let mut none = SeriesCache::new(0);
            let cache = if cached { &mut cache } else { &mut none };
            let start = Instant::now();
            let scrape = parse_with_cache(None, text.as_bytes(), &Limits::default(), cache);
            assert_eq!(scrape.expect("good text").samples.len(), 10_000);
            best = best.min(start.elapsed().as_secs_f64());
        }
        let megabytes = text.len() as f64 / 1e6;
        println!(
            "{name}: {:.0} MB/s, {:.2} ms for {megabytes:.2} MB",
            megabytes / best,
            best * 1e3
        );
    }
}
