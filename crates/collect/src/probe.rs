//! Finds the endpoint of a process that nobody configured.
//!
//! The rules are DESIGN.md section 9's: only listening sockets that the process owns, only through
//! loopback, only when the executable contains a handler worth finding, one GET a port and process
//! life, one second, 64 KiB. Every GET made is a line that people can read.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use fetch::{FetchError, Fetcher, Request};
use model::ProcessKey;

const TIMEOUT: Duration = Duration::from_secs(1);
const BODY_BYTES_MAX: usize = 64 << 10;
/// A process with more ports than this is no service that we know how to ask.
const PORTS_MAX: usize = 16;

/// Where a target answers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Endpoint {
    /// The URL of its metrics in Prometheus' text.
    pub metrics_url: Option<String>,
    /// Where its pprof index may be, best guess first, such as
    /// `http://127.0.0.1:6060/debug/pprof`.
    pub pprof_bases: Vec<String>,
    /// The process in whose network namespace these URLs hold; `None` where that is ours.
    pub inside: Option<ProcessKey>,
}

impl Endpoint {
    /// The endpoint that a person named: a base URL, or the URL of metrics or of a pprof index.
    #[must_use]
    pub fn of_url(url: &str, metrics_path: &str) -> Self {
        let url = url.trim_end_matches('/');
        let base = url.find("/debug/pprof").map(|at| &url[..at]);
        let base = base
            .or_else(|| url.strip_suffix(metrics_path))
            .unwrap_or(url);
        Self {
            metrics_url: Some(format!("{base}{metrics_path}")),
            pprof_bases: vec![format!("{base}/debug/pprof")],
            inside: None,
        }
    }
}

/// What probing found, with a line for each port asked or left alone.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Probed {
    /// Where the process answers.
    pub endpoint: Endpoint,
    /// What was asked and what came back, for the page.
    pub lines: Vec<String>,
}

/// Which handlers the executable contains.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Wanted {
    /// A Prometheus handler.
    pub metrics: bool,
    /// net/http/pprof.
    pub pprof: bool,
}

/// Asks the ports that a process listens on, once each.
pub async fn probe(fetcher: &Fetcher, listening: &[SocketAddr], wanted: Wanted) -> Probed {
    let mut found = Probed::default();
    if !wanted.metrics && !wanted.pprof {
        return found;
    }
    let mut bases = Vec::new();
    for listener in listening.iter().take(PORTS_MAX) {
        let Some(addr) = through_loopback(*listener) else {
            found.lines.push(format!(
                "{listener}: left alone, it is not reached through loopback"
            ));
            continue;
        };
        if !bases.contains(&addr) {
            bases.push(addr);
        }
    }
    let mut speaks_http = Vec::new();
    for addr in bases {
        let path = if wanted.metrics {
            "/metrics"
        } else {
            "/debug/pprof/"
        };
        let url = format!("http://{addr}{path}");
        let request = Request {
            url: &url,
            timeout: TIMEOUT,
            body_bytes_max: BODY_BYTES_MAX,
            accept: None,
        };
        let answer = fetcher.get(&request).await;
        let hit = match &answer {
            Ok(response) if wanted.metrics => looks_like_metrics(&response.body),
            Ok(response) => looks_like_pprof(&response.body),
            // Metrics of more than 64 KiB are still metrics: the first scrape will tell.
            Err(FetchError::TooLarge { .. }) => wanted.metrics,
            Err(_) => false,
        };
        let http = matches!(answer, Ok(_) | Err(FetchError::Status { .. }));
        found
            .lines
            .push(format!("GET {url}: {}", outcome(&answer, hit)));
        let base = format!("http://{addr}");
        if hit && wanted.metrics && found.endpoint.metrics_url.is_none() {
            found.endpoint.metrics_url = Some(url);
        }
        if wanted.pprof && hit {
            found
                .endpoint
                .pprof_bases
                .push(format!("{base}/debug/pprof"));
        } else if wanted.pprof && http {
            speaks_http.push(format!("{base}/debug/pprof"));
        }
    }
    found.endpoint.pprof_bases.extend(speaks_http);
    found
}

fn outcome(answer: &Result<fetch::Response, FetchError>, hit: bool) -> String {
    match answer {
        Ok(_) | Err(FetchError::TooLarge { .. }) if hit => "found".into(),
        Ok(_) => "answers, but not with what we look for".into(),
        Err(FetchError::Status { status, .. }) => format!("status {status}"),
        Err(error) => error.to_string(),
    }
}

/// The address to ask for what listens on `listener`; `None` when loopback does not lead there.
fn through_loopback(listener: SocketAddr) -> Option<SocketAddr> {
    let ip = match listener.ip() {
        ip if ip.is_loopback() => ip,
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        // A socket on `::` takes IPv4 too unless told otherwise, and 127.0.0.1 always exists.
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.to_ipv4_mapped() == Some(Ipv4Addr::LOCALHOST) => {
            Ipv4Addr::LOCALHOST.into()
        }
        IpAddr::V4(_) | IpAddr::V6(_) => return None,
    };
    Some(SocketAddr::new(ip, listener.port()))
}

/// Whether `body` starts like Prometheus' text: a comment of its form, or a name and a number.
fn looks_like_metrics(body: &[u8]) -> bool {
    let text = String::from_utf8_lossy(&body[..body.len().min(4096)]);
    text.lines()
        .take(50)
        .any(|line| line.starts_with("# TYPE ") || line.starts_with("# HELP "))
}

fn looks_like_pprof(body: &[u8]) -> bool {
    let text = String::from_utf8_lossy(&body[..body.len().min(16 << 10)]);
    text.contains("/debug/pprof/") && text.contains("goroutine")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_is_asked() {
        let rows = [
            ("127.0.0.1:80", Some("127.0.0.1:80")),
            ("0.0.0.0:80", Some("127.0.0.1:80")),
            ("[::]:80", Some("127.0.0.1:80")),
            ("[::1]:80", Some("[::1]:80")),
            ("10.0.0.7:80", None),
            ("[fe80::1]:80", None),
        ];
        for (listener, asked) in rows {
            let asked = asked.map(|text| text.parse().unwrap());
            assert_eq!(
                through_loopback(listener.parse().unwrap()),
                asked,
                "{listener}"
            );
        }
    }

    #[test]
    fn a_person_may_name_any_url_of_the_endpoint() {
        let expected = Endpoint {
            metrics_url: Some("http://h:1/metrics".into()),
            pprof_bases: vec!["http://h:1/debug/pprof".into()],
            inside: None,
        };
        let rows = [
            "http://h:1",
            "http://h:1/",
            "http://h:1/metrics",
            "http://h:1/debug/pprof/",
        ];
        for url in rows {
            assert_eq!(Endpoint::of_url(url, "/metrics"), expected, "{url}");
        }
    }

    #[test]
    fn metrics_are_told_from_web_pages() {
        assert!(looks_like_metrics(
            b"# HELP go_goroutines Number\n# TYPE go_goroutines gauge\n"
        ));
        assert!(!looks_like_metrics(b"<!doctype html><title>shop</title>"));
        assert!(!looks_like_metrics(b""));
        assert!(looks_like_pprof(
            b"<html><title>/debug/pprof/</title> goroutine"
        ));
    }

    #[tokio::test]
    async fn an_executable_without_handlers_is_never_asked() {
        let fetcher = Fetcher::new().unwrap();
        let probed = probe(
            &fetcher,
            &["127.0.0.1:1".parse().unwrap()],
            Wanted::default(),
        )
        .await;
        assert_eq!(probed, Probed::default());
    }

    #[tokio::test]
    async fn each_port_asked_is_a_line() {
        let fetcher = Fetcher::new().unwrap();
        let listening = [
            "127.0.0.1:1".parse().unwrap(),
            "10.0.0.1:2".parse().unwrap(),
        ];
        let wanted = Wanted {
            metrics: true,
            pprof: true,
        };
        let probed = probe(&fetcher, &listening, wanted).await;
        assert_eq!(probed.lines.len(), 2, "{:?}", probed.lines);
        assert!(probed.lines[1].contains("refused"), "{:?}", probed.lines);
        assert_eq!(probed.endpoint, Endpoint::default());
    }
}
