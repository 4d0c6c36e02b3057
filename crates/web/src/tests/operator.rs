//! Who may change something, and how people answer on the page.

use axum::body::Body;
use axum::http::StatusCode;

use super::{TOKEN, ask, first, get, reader, request};

const FORM: &str = "application/x-www-form-urlencoded";

#[tokio::test]
async fn only_the_operator_changes_something_and_everybody_reads() {
    let (_, incident) = first();
    let answers = format!("/incidents/{incident}/answers");
    let command = "{\"command\":\"reload\"}";
    for (path, kind, body) in [
        ("/-/reload", "application/json", ""),
        ("/api/v1/unswept/commands", "application/json", command),
        (answers.as_str(), FORM, "answer=leak&by=alice"),
    ] {
        let built = reader("POST", path).header("content-type", kind);
        let (status, headers, text) = ask(built.body(Body::from(body)).unwrap()).await;
        assert_eq!(status, StatusCode::UNAUTHORIZED, "{path}");
        assert!(
            text.contains("/var/lib/unswept/operator-token"),
            "{path}: {text}"
        );
        assert!(!text.contains(TOKEN), "{path}");
        assert_eq!(path == answers, headers.get("www-authenticate").is_none());
    }
    let page = reader("GET", &format!("/incidents/{incident}"));
    let (status, _, text) = ask(page.body(Body::empty()).unwrap()).await;
    assert_eq!(status, 200);
    assert!(text.contains("log in as the operator") && !text.contains("name=\"ceiling\""));
}

#[tokio::test]
async fn a_browser_logs_in_and_answers() {
    let (_, incident) = first();
    let page = format!("/incidents/{incident}");
    let login = |token: &str| {
        let body = format!("token={token}&next={page}");
        let built = reader("POST", "/login").header("content-type", FORM);
        ask(built.body(Body::from(body)).unwrap())
    };
    let (status, headers, text) = login("wrong").await;
    assert_eq!(status, 403);
    assert!(headers.get("set-cookie").is_none() && text.contains("not the token"));
    let (status, headers, _) = login(TOKEN).await;
    assert_eq!(
        (status, &headers["location"]),
        (StatusCode::SEE_OTHER, &page.parse().unwrap())
    );
    let cookie = headers["set-cookie"].to_str().unwrap();
    assert!(
        cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict"),
        "{cookie}"
    );
    let cookie = cookie.split(';').next().unwrap();
    let with_cookie = |method: &str, path: &str| reader(method, path).header("cookie", cookie);
    let (_, _, text) = ask(with_cookie("GET", &page).body(Body::empty()).unwrap()).await;
    assert!(text.contains("name=\"ceiling\""), "the form is there");
    for (name, body, status) in [
        (
            "an answer",
            "answer=muted&until=8h&by=alice&note=known",
            303,
        ),
        ("a ceiling", "answer=expected&ceiling=2GiB&by=alice", 303),
        ("no ceiling", "answer=expected&ceiling=much&by=alice", 400),
        ("taken back", "answer=take-back-mute&by=alice", 303),
    ] {
        let built = with_cookie("POST", &format!("{page}/answers"));
        let built = built.header("content-type", FORM);
        let (got, _, text) = ask(built.body(Body::from(body)).unwrap()).await;
        assert_eq!(got, status, "{name}: {text}");
    }
}

#[tokio::test]
async fn a_form_of_another_site_is_refused_whatever_cookie_comes_along() {
    let (_, incident) = first();
    let built = request("POST", &format!("/incidents/{incident}/answers"))
        .header("content-type", FORM)
        .header("origin", "https://evil.example");
    let (status, _, _) = ask(built.body(Body::from("answer=leak&by=x")).unwrap()).await;
    assert_eq!(status, 403);
}

#[tokio::test]
async fn our_own_forms_come_with_their_origin() {
    let (_, headers, _) = get("/login").await;
    assert_eq!(headers["referrer-policy"], "same-origin");
}
