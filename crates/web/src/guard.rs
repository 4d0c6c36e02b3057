//! Keeps other web sites out. Reading takes no login on loopback, and a login is a cookie, so a page from anywhere, open in the
//! same browser, must neither read nor command us:
//!
//! * its name may be made to point at 127.0.0.1 (DNS rebinding): a `Host` that is a name we were
//!   not given is refused; an address cannot be rebound and passes;
//! * it may send a form: a request that changes something and has another `Origin` is refused;
//! * a command needs a JSON content type or `X-Unswept: 1`, neither of which a form can have.

use std::net::IpAddr;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::error::ApiError;
use crate::state::Shared;

/// The header that a program sends with a command.
const COMMAND_HEADER: &str = "x-unswept";

/// Everything that may be loaded comes from here; nobody may frame us.
const CONTENT_SECURITY_POLICY: &str = "default-src 'self'; base-uri 'none'; object-src 'none'; \
     form-action 'self'; frame-ancestors 'none'";

/// Refuses what another site could have sent.
pub(crate) async fn same_site(
    State(shared): State<Shared>,
    request: Request,
    next: Next,
) -> Response {
    match check(
        request.method(),
        request.headers(),
        &shared.seams.allowed_hosts,
    ) {
        Ok(()) => next.run(request).await,
        Err(error) => error.into_response(),
    }
}

/// Adds the headers that every answer has.
pub(crate) async fn secured(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        // With `no-referrer` our own forms would come with the origin `null`.
        (header::REFERRER_POLICY, "same-origin"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers
        .entry(header::CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("no-store"));
    response
}

/// Whether a command's headers are ones that only a program, or our own page, can send.
pub(crate) fn command_headers(headers: &HeaderMap) -> Result<(), ApiError> {
    let json = text(headers, &header::CONTENT_TYPE)
        .is_some_and(|kind| kind.split(';').next().unwrap_or("").trim() == "application/json");
    if json
        || headers
            .get(COMMAND_HEADER)
            .is_some_and(|value| value == "1")
    {
        return Ok(());
    }
    Err(ApiError::forbidden(
        "a command needs the header `X-Unswept: 1` or `Content-Type: application/json`",
    ))
}

fn check(method: &Method, headers: &HeaderMap, allowed: &[String]) -> Result<(), ApiError> {
    let host = text(headers, &header::HOST).unwrap_or("");
    if !host_allowed(host, allowed) {
        return Err(ApiError::forbidden(format!(
            "`{}` is not a name of this server: use localhost or its address, or add the name to \
             its configuration",
            host.escape_debug()
        )));
    }
    if matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS) {
        return Ok(());
    }
    let foreign = || {
        Err(ApiError::forbidden(
            "a request from another web site is refused",
        ))
    };
    match headers.get(header::ORIGIN) {
        Some(origin) if !same_origin(origin.to_str().unwrap_or(""), host) => foreign(),
        _ if headers
            .get("sec-fetch-site")
            .is_some_and(|site| site == "cross-site") =>
        {
            foreign()
        }
        _ => Ok(()),
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

fn host_allowed(host: &str, allowed: &[String]) -> bool {
    let Some(name) = host_name(host) else {
        return false;
    };
    name.eq_ignore_ascii_case("localhost")
        || name.parse::<IpAddr>().is_ok()
        || allowed.iter().any(|have| have.eq_ignore_ascii_case(name))
}

/// The host without its port; `None` for what is not a host.
fn host_name(host: &str) -> Option<&str> {
    if let Some(rest) = host.strip_prefix('[') {
        let (address, port) = rest.split_once(']')?;
        let fits = port.is_empty() || port.strip_prefix(':').is_some_and(is_port);
        return (fits && address.contains(':')).then_some(address);
    }
    match host.split_once(':') {
        None => Some(host).filter(|host| !host.is_empty()),
        Some((name, port)) => (is_port(port) && !name.is_empty()).then_some(name),
    }
}

fn is_port(text: &str) -> bool {
    text.parse::<u16>().is_ok()
}

/// `http://HOST` or `https://HOST`, with the very host that was asked.
fn same_origin(origin: &str, host: &str) -> bool {
    let rest = origin
        .strip_prefix("http://")
        .or_else(|| origin.strip_prefix("https://"));
    rest.is_some_and(|rest| rest.eq_ignore_ascii_case(host))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts() {
        let allowed = ["watch.internal".to_owned()];
        for (name, host, wanted) in [
            ("loopback by name", "localhost:7787", true),
            ("loopback by address", "127.0.0.1:7787", true),
            ("IPv6", "[::1]:7787", true),
            ("IPv6 without a port", "[::1]", true),
            ("an address cannot be rebound", "10.1.2.3:7787", true),
            ("a name from the configuration", "Watch.Internal:80", true),
            ("a rebound name", "evil.example:7787", false),
            ("a name that begins well", "localhost.evil.example", false),
            ("an address as a prefix", "127.0.0.1.evil.example", false),
            ("none", "", false),
            ("only a port", ":7787", false),
            ("not a port", "localhost:evil", false),
            ("an open bracket", "[::1", false),
            ("after the bracket", "[::1]evil", false),
        ] {
            assert_eq!(host_allowed(host, &allowed), wanted, "{name}");
        }
    }

    #[test]
    fn changes_come_from_our_own_pages_or_from_programs() {
        for (name, origin, site, wanted) in [
            ("a program sends no origin", None, None, true),
            ("our own page", Some("http://localhost:7787"), None, true),
            (
                "another port is another site",
                Some("http://localhost:80"),
                None,
                false,
            ),
            ("another site", Some("https://evil.example"), None, false),
            ("a sandboxed page", Some("null"), None, false),
            (
                "cross-site without an origin",
                None,
                Some("cross-site"),
                false,
            ),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, HeaderValue::from_static("localhost:7787"));
            if let Some(origin) = origin {
                headers.insert(header::ORIGIN, HeaderValue::from_static(origin));
            }
            if let Some(site) = site {
                headers.insert("sec-fetch-site", HeaderValue::from_static(site));
            }
            assert_eq!(
                check(&Method::POST, &headers, &[]).is_ok(),
                wanted,
                "{name}"
            );
            assert!(check(&Method::GET, &headers, &[]).is_ok(), "{name}");
        }
    }
}
