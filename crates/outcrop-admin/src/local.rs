//! Who may ask: programs on this machine, not pages in its browser.
//!
//! The listener is on loopback, but a browser lets any page send requests there. It names the page in
//! `Origin`, and a DNS name that was rebound to loopback shows in `Host`; both are refused.

use std::net::IpAddr;

use axum::extract::Request;
use axum::http::header::{HOST, ORIGIN};
use axum::http::{HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::Response;

use crate::routes::refuse;

/// Lets requests to loopback names pass, unless a page from elsewhere sends them.
pub(crate) async fn only(request: Request, next: Next) -> Response {
    let headers = request.headers();
    let all = |name, fits: fn(&str) -> bool| {
        headers.get_all(name).iter().all(|value: &HeaderValue| value.to_str().is_ok_and(fits))
    };
    let absolute_ok = request.uri().authority().is_none_or(|authority| is_loopback(authority.as_str()));
    if absolute_ok && all(HOST, is_loopback) && all(ORIGIN, is_local_page) {
        next.run(request).await
    } else {
        refuse(
            StatusCode::FORBIDDEN,
            "The admin listener answers to loopback names only, and to no web page from elsewhere.",
        )
    }
}

fn is_local_page(origin: &str) -> bool {
    origin.split_once("://").is_some_and(|(_, host)| is_loopback(host))
}

/// Whether `host[:port]` is this machine.
fn is_loopback(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    };
    let bare = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(name);
    bare.eq_ignore_ascii_case("localhost") || bare.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}
