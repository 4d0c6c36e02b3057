//! Who may change something: the operator, on loopback too, where every user of the machine may read
//! the pages.
//!
//! A program proves it with `Authorization: Bearer TOKEN`, a browser with a cookie that it gets for
//! the same token. Whoever reaches the watcher by its own socket, which only its user may, needs
//! neither.

use axum::Form;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use serde::Deserialize;

use crate::error::ApiError;
use crate::pages;
use crate::state::Shared;

const COOKIE: &str = "unswept_operator";
/// A browser forgets after a month.
const COOKIE_S: u32 = 30 * 86_400;

/// Who is the operator.
#[derive(Clone)]
pub enum Operator {
    /// Whoever gets here: for a socket that is guarded by its file.
    Anybody,
    /// Whoever has the token, whose file is named to those who have not.
    Token {
        /// The secret.
        token: String,
        /// Where it lies.
        file: String,
    },
}

impl Operator {
    /// Whether a request with these headers is the operator's.
    pub(crate) fn is(&self, headers: &HeaderMap) -> bool {
        let Self::Token { token, .. } = self else {
            return true;
        };
        let bearer = text(headers, &header::AUTHORIZATION)
            .and_then(|value| value.strip_prefix("Bearer "))
            .map(str::trim);
        let cookies = headers.get_all(header::COOKIE).iter();
        let mut cookies = cookies
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(';'))
            .filter_map(|one| one.trim().strip_prefix(COOKIE)?.strip_prefix('='));
        bearer.is_some_and(|given| same(given, token)) || cookies.any(|given| same(given, token))
    }

    /// Refuses whoever is not the operator, and says how to be.
    pub(crate) fn check(&self, headers: &HeaderMap) -> Result<(), ApiError> {
        match self {
            Self::Token { file, .. } if !self.is(headers) => Err(ApiError::unauthorized(format!(
                "only the operator may do this: send `Authorization: Bearer TOKEN` with the token \
                 in {file} on the watcher's host"
            ))),
            _ => Ok(()),
        }
    }

    /// Where the token lies.
    pub(crate) fn file(&self) -> &str {
        match self {
            Self::Anybody => "",
            Self::Token { file, .. } => file,
        }
    }
}

/// Compares without telling by its time how much is right.
fn same(given: &str, token: &str) -> bool {
    let pairs = given.bytes().zip(token.bytes());
    let differ = pairs.fold(0, |differ, (a, b)| differ | (a ^ b));
    given.len() == token.len() && !token.is_empty() && differ == 0
}

fn text<'a>(headers: &'a HeaderMap, name: &header::HeaderName) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// Where to go once logged in.
#[derive(Deserialize)]
pub(crate) struct Next {
    next: Option<String>,
}

/// The form of a login.
#[derive(Deserialize)]
pub(crate) struct Login {
    token: String,
    next: Option<String>,
}

/// The page that asks for the token.
pub(crate) async fn login_page(State(shared): State<Shared>, Query(next): Query<Next>) -> Response {
    let next = own_path(next.next.as_deref());
    pages::login(shared.seams.operator.file(), next, false).into_response()
}

/// Takes the token and gives the browser its cookie.
pub(crate) async fn login(State(shared): State<Shared>, Form(login): Form<Login>) -> Response {
    let next = own_path(login.next.as_deref());
    let operator = &shared.seams.operator;
    let Operator::Token { token, file } = operator else {
        return Redirect::to(next).into_response();
    };
    if !same(login.token.trim(), token) {
        let page = pages::login(file, next, true);
        return (StatusCode::FORBIDDEN, page).into_response();
    }
    let cookie = format!("{COOKIE}={token}; Path=/; HttpOnly; SameSite=Strict; Max-Age={COOKIE_S}");
    let Ok(mut cookie) = HeaderValue::from_str(&cookie) else {
        return Redirect::to(next).into_response();
    };
    cookie.set_sensitive(true);
    ([(header::SET_COOKIE, cookie)], Redirect::to(next)).into_response()
}

/// A path of ours; anything else, such as another site, becomes the first page.
fn own_path(path: Option<&str>) -> &str {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-~%".contains(c);
    let path = path.unwrap_or("/");
    let ours = path.starts_with('/') && !path.starts_with("//") && path.chars().all(plain);
    if ours { path } else { "/" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_operator_has_the_token() {
        let operator = Operator::Token {
            token: "abcdef".into(),
            file: "/data/operator-token".into(),
        };
        for (name, header, value, wanted) in [
            ("a program", "authorization", "Bearer abcdef", true),
            ("another token", "authorization", "Bearer abcdeg", false),
            ("its beginning", "authorization", "Bearer abc", false),
            ("another way", "authorization", "Basic abcdef", false),
            ("a browser", "cookie", "a=b; unswept_operator=abcdef", true),
            (
                "another cookie",
                "cookie",
                "unswept_operators=abcdef",
                false,
            ),
            ("an empty one", "cookie", "unswept_operator=", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header, HeaderValue::from_static(value));
            assert_eq!(operator.is(&headers), wanted, "{name}");
            assert_eq!(operator.check(&headers).is_ok(), wanted, "{name}");
            assert!(Operator::Anybody.is(&headers), "{name}");
        }
        let nobody = Operator::Token {
            token: String::new(),
            file: String::new(),
        };
        let mut headers = HeaderMap::new();
        headers.insert("authorization", HeaderValue::from_static("Bearer "));
        assert!(!nobody.is(&headers), "an empty token is nobody's");
    }

    #[test]
    fn one_goes_on_to_our_own_pages_only() {
        for (path, wanted) in [
            (Some("/incidents/2026-shop"), "/incidents/2026-shop"),
            (Some("//evil.example"), "/"),
            (Some("https://evil.example"), "/"),
            (Some("/\\evil.example"), "/"),
            (Some("/a\r\nset-cookie: x"), "/"),
            (None, "/"),
        ] {
            assert_eq!(own_path(path), wanted, "{path:?}");
        }
    }
}
