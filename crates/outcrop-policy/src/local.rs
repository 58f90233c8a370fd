//! Who counts as a program on this machine.
//!
//! A listener on loopback is open to every program here, but a browser lets any page send requests to
//! it: the page shows in `Origin`, and a DNS name that was rebound to loopback shows in `Host`.

use std::net::IpAddr;

/// Whether `host[:port]`, as in a `Host` header, is this machine.
pub fn is_loopback_host(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    };
    let bare = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(name);
    bare.eq_ignore_ascii_case("localhost") || bare.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// Whether an `Origin` header names a page of this machine.
pub fn is_local_page(origin: &str) -> bool {
    origin.split_once("://").is_some_and(|(_, host)| is_loopback_host(host))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_that_cannot_be_rebound_are_this_machine() {
        for (host, expected) in [
            ("127.0.0.1:8080", true),
            ("127.8.9.1", true),
            ("LOCALHOST", true),
            ("[::1]:8080", true),
            ("::1", false), // without brackets the last group reads as a port
            ("[::1", false),
            ("127.0.0.1.evil.example", false),
            ("localhost.evil.example", false),
            ("0.0.0.0", false),
            ("", false),
        ] {
            assert_eq!(is_loopback_host(host), expected, "{host}");
        }
        assert!(is_local_page("http://localhost:3000") && !is_local_page("null"));
        assert!(!is_local_page("https://evil.example"));
    }
}
