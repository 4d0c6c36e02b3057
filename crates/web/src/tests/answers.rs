//! The API: guards, bounds, evidence, metrics, events.

use axum::body::Body;
use axum::http::{Request, StatusCode};
use futures_util::StreamExt;
use tower::ServiceExt;

use super::{ask, first, get, get_json, made_up, request, server};
use crate::state::LISTENERS_MAX;

#[tokio::test]
async fn other_web_sites_are_refused() {
    let to = |host: &str, method: &str, path: &str| {
        Request::builder()
            .method(method)
            .uri(path)
            .header("host", host)
    };
    let command = "/api/v1/unswept/commands";
    for (name, asked, status) in [
        (
            "a rebound name",
            to("evil.example", "GET", "/api/v1/unswept/targets"),
            403,
        ),
        ("no host", Request::builder().uri("/"), 403),
        ("the address", to("127.0.0.1:7787", "GET", "/"), 200),
        (
            "a form of another site",
            request("POST", command)
                .header("origin", "http://evil.example")
                .header("x-unswept", "1"),
            403,
        ),
        (
            "a form without the header",
            request("POST", command).header("content-type", "text/plain"),
            403,
        ),
        (
            "our own page",
            request("POST", command)
                .header("origin", "http://localhost:7787")
                .header("x-unswept", "1"),
            202,
        ),
        (
            "JSON",
            request("POST", command).header("content-type", "application/json; charset=utf-8"),
            202,
        ),
        (
            "reload from another site",
            request("POST", "/-/reload").header("origin", "null"),
            403,
        ),
    ] {
        let (got, _, text) = ask(asked.body(Body::from("{\"command\":\"reload\"}")).unwrap()).await;
        assert_eq!(got, status, "{name}: {text}");
    }
}

#[tokio::test]
async fn every_answer_is_guarded_by_its_headers() {
    for path in [
        "/",
        "/assets/live.js",
        "/metrics",
        "/api/v1/unswept/targets",
        "/nothing",
    ] {
        let (_, headers, _) = get(path).await;
        let policy = headers["content-security-policy"].to_str().unwrap();
        assert!(policy.starts_with("default-src 'self'"), "{path}");
        assert_eq!(headers["x-content-type-options"], "nosniff", "{path}");
        assert!(headers.contains_key("cache-control"), "{path}");
    }
}

#[tokio::test]
async fn queries_are_bounded() {
    let long = format!("/api/v1/query?query={}", "x".repeat(17 << 10));
    for (name, path, words) in [
        ("no query", "/api/v1/query", "it is empty"),
        ("too long", long.as_str(), "longer than 16384 bytes"),
        (
            "no start",
            "/api/v1/query_range?query=up&end=1&step=1",
            "missing parameter \\\"start\\\"",
        ),
        (
            "backwards",
            "/api/v1/query_range?query=up&start=2&end=1&step=1",
            "must not be before",
        ),
        (
            "too many points",
            "/api/v1/query_range?query=up&start=0&end=11002&step=1",
            "11000 points",
        ),
        (
            "no step",
            "/api/v1/query_range?query=up&start=0&end=1&step=0",
            "above zero",
        ),
        (
            "not a time",
            "/api/v1/query?query=up&time=%3Cb%3E",
            "found \\\"<b>\\\"",
        ),
    ] {
        let (status, _, text) = get(path).await;
        assert_eq!(status, 400, "{name}");
        assert!(text.contains(words), "{name}: {text}");
    }
    let form = request("POST", "/api/v1/query_range")
        .header("content-type", "application/x-www-form-urlencoded");
    let body = "query=process_resident_memory_bytes&start=1795338000&end=1795338060&step=15s";
    let (status, _, text) = ask(form.body(Body::from(body)).unwrap()).await;
    assert_eq!(status, 200, "{text}");
    assert!(
        text.starts_with(r#"{"status":"success","data":{"resultType":"matrix""#),
        "{text}"
    );
}

#[tokio::test]
async fn a_body_beyond_the_bound_is_refused() {
    let form = request("POST", "/api/v1/query")
        .header("content-type", "application/x-www-form-urlencoded");
    let (status, _, _) = ask(form.body(Body::from(vec![b'x'; 70 << 10])).unwrap()).await;
    assert_eq!(status, 400);
    let command = request("POST", "/api/v1/unswept/commands").header("x-unswept", "1");
    let (status, _, _) = ask(command.body(Body::from(vec![b' '; 70 << 10])).unwrap()).await;
    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE);
}

#[tokio::test]
async fn evidence_is_an_attachment_and_only_what_is_listed() {
    let (_, incident) = first();
    let base = format!("/api/v1/unswept/incidents/{incident}/evidence");
    let (status, headers, _) = get(&format!("{base}/after-heap.pb.gz")).await;
    assert_eq!(status, 200);
    assert_eq!(headers["content-type"], "application/gzip");
    assert_eq!(
        headers["content-disposition"],
        "attachment; filename=\"after-heap.pb.gz\""
    );
    let (_, headers, _) = get(&format!("{base}/metrics.txt")).await;
    assert_eq!(headers["content-type"], "text/plain; charset=utf-8");
    for (name, path) in [
        ("not listed", format!("{base}/before-goroutine.pb.gz")),
        ("a way out", format!("{base}/..%2F..%2Fetc%2Fpasswd")),
        (
            "another incident",
            "/api/v1/unswept/incidents/x/evidence/after-heap.pb.gz".into(),
        ),
    ] {
        assert_eq!(get(&path).await.0, 404, "{name}");
    }
}

#[tokio::test]
async fn the_flame_graph_has_both_sides() {
    let (_, incident) = first();
    let path = format!("/api/v1/unswept/incidents/{incident}/flame");
    let (status, flame) = get_json(&format!("{path}?type=inuse_space")).await;
    assert_eq!(status, 200);
    assert_eq!(flame["root"]["before"], 149 << 20);
    assert_eq!(flame["root"]["after"], 302 << 20);
    assert_eq!(
        get(&format!("{path}?type=goroutine")).await.0,
        404,
        "not taken"
    );
    assert_eq!(get(&format!("{path}?type=cpu")).await.0, 400);
}

#[tokio::test]
async fn metrics_are_readable_and_few() {
    let (status, headers, text) = get("/metrics").await;
    assert_eq!(
        (status, headers["content-type"].to_str().unwrap()),
        (StatusCode::OK, wire::TEXT_CONTENT_TYPE)
    );
    let scrape =
        wire::parse(None, text.as_bytes(), &wire::Limits::default()).expect("our own text");
    let value = |wanted: &str| {
        let mut samples = scrape.samples.iter();
        samples
            .find(|sample| sample.labels.to_string() == wanted)
            .map(|sample| sample.value)
    };
    let of = "workload=\"billing-api.service\"";
    let at = "instance=\"127.0.0.1:6007\"";
    assert_eq!(
        value(&format!("unswept_verdict{{{at},kind=\"go-heap\",{of}}}")),
        Some(1.0)
    );
    assert_eq!(
        value(&format!("unswept_verdict{{{at},kind=\"fd\",{of}}}")),
        Some(0.0)
    );
    assert_eq!(value("unswept_incidents{state=\"open\"}"), Some(3.0));
    assert_eq!(value("unswept_build_info{version=\"0.1.0\"}"), Some(1.0));
    for target in made_up::view(0).targets {
        let workload = target.target.workload.0;
        let series = scrape
            .samples
            .iter()
            .filter(|sample| sample.labels.get("workload") == Some(&workload));
        assert!(series.count() <= 30, "{workload}");
    }
    assert!(
        scrape
            .samples
            .iter()
            .all(|sample| sample.labels.get("pid").is_none())
    );
}

#[tokio::test]
async fn events_tell_each_version_and_end_with_the_engine() {
    let (router, changed) = server();
    let asked = request("GET", "/events").body(Body::empty()).unwrap();
    let answer = router.oneshot(asked).await.unwrap();
    assert_eq!(answer.headers()["content-type"], "text/event-stream");
    let mut lines = answer.into_body().into_data_stream();
    let mut next = async || {
        lines
            .next()
            .await
            .map(|chunk| String::from_utf8(chunk.unwrap().to_vec()).unwrap())
    };
    let first = next().await.expect("the version that is there");
    assert!(
        first.contains("event: view") && first.contains("data: 7"),
        "{first}"
    );
    changed.send_replace(8);
    assert!(next().await.is_some_and(|line| line.contains("data: 8")));
    drop(changed);
    assert_eq!(next().await, None);
}

#[tokio::test]
async fn listeners_are_bounded_and_leave_their_place() {
    let (router, _changed) = server();
    let asked = || request("GET", "/events").body(Body::empty()).unwrap();
    let mut open = Vec::new();
    for _ in 0..LISTENERS_MAX {
        open.push(router.clone().oneshot(asked()).await.unwrap());
    }
    assert_eq!(router.clone().oneshot(asked()).await.unwrap().status(), 503);
    open.pop();
    assert_eq!(router.oneshot(asked()).await.unwrap().status(), 200);
}

#[tokio::test]
async fn the_open_router_has_metrics_and_health_only() {
    let made_up = std::sync::Arc::new(made_up::MadeUp::default());
    let router = crate::metrics_router(made_up);
    for (path, status) in [
        ("/metrics", 200),
        ("/-/healthy", 200),
        ("/-/ready", 200),
        ("/", 404),
        ("/api/v1/unswept/targets", 404),
    ] {
        let asked = Request::builder()
            .uri(path)
            .header("host", "node-7.internal")
            .body(Body::empty())
            .unwrap();
        assert_eq!(
            router.clone().oneshot(asked).await.unwrap().status(),
            status,
            "{path}"
        );
    }
}

#[tokio::test]
async fn a_history_is_the_stored_ledger_in_its_order() {
    let (target, _) = first();
    let (status, history) = get_json(&format!(
        "/api/v1/unswept/targets/{target}/history?minutes=15"
    ))
    .await;
    assert_eq!(status, 200);
    let lines = history["components"].as_array().unwrap();
    let names: Vec<_> = lines
        .iter()
        .map(|line| line["name"].as_str().unwrap())
        .collect();
    assert_eq!(
        (names[0], *names.last().unwrap()),
        ("go.live", "unexplained")
    );
    let points = history["times"].as_array().unwrap().len();
    for values in lines
        .iter()
        .map(|line| &line["values"])
        .chain([&history["rss_bytes"], &history["goroutines"]])
    {
        let values = values.as_array().unwrap();
        assert_eq!(values.len(), points);
        assert!(values.iter().all(|value| value.is_number()), "{values:?}");
    }
}
