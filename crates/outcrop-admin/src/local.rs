//! Who may ask: programs on this machine, not pages in its browser.
//!
//! The listener is on loopback, but a browser lets any page send requests there. It names the page in
//! `Origin`, and a DNS name that was rebound to loopback shows in `Host`; both are refused. A unix
//! socket is out of a browser's reach, so the operator's door asks nothing of the kind.

use axum::extract::Request;
use axum::http::header::{HOST, ORIGIN};
use axum::http::{HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::Response;

use outcrop_policy::local::{is_local_page, is_loopback_host};

use crate::refusal::refuse;

/// Where a request came in; an extension of every request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Door {
    /// The operator's unix socket: the file's permission says who may, and they may everything.
    Operator,
    /// The TCP listener.
    Network,
}

/// Lets requests to loopback names pass, unless a page from elsewhere sends them.
pub(crate) async fn only(request: Request, next: Next) -> Response {
    if request.extensions().get() == Some(&Door::Operator) {
        return next.run(request).await;
    }
    let headers = request.headers();
    let all = |name, fits: fn(&str) -> bool| {
        headers.get_all(name).iter().all(|value: &HeaderValue| value.to_str().is_ok_and(fits))
    };
    let absolute_ok = request.uri().authority().is_none_or(|authority| is_loopback_host(authority.as_str()));
    if absolute_ok && all(HOST, is_loopback_host) && all(ORIGIN, is_local_page) {
        next.run(request).await
    } else {
        refuse(
            StatusCode::FORBIDDEN,
            "The admin listener answers to loopback names only, and to no web page from elsewhere.",
        )
    }
}
