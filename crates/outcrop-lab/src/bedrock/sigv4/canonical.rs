//! The canonical request of Signature Version 4 over what was really received.
//!
//! Written out here rather than taken from a signer, because a verifier must follow the caller's list of signed headers
//! (HTTP/2 callers sign `:authority`), where a signer makes its own.

use std::fmt::Write as _;

use percent_encoding::percent_decode_str;

use super::AUTHORITY;
use crate::exchange::Received;

/// The canonical request; `None` if a signed header is absent or no text.
pub(super) fn request(received: &Received, signed_headers: &[&str], payload_hash: &str) -> Option<String> {
    let mut headers = String::new();
    for name in signed_headers {
        let sent = if *name == AUTHORITY { "host" } else { name };
        let values: Vec<&str> =
            received.headers.get_all(sent).iter().map(|value| value.to_str().ok()).collect::<Option<_>>()?;
        if values.is_empty() {
            return None;
        }
        let values: Vec<String> = values.iter().map(|value| single_spaced(value)).collect();
        // Writing to a String cannot fail.
        let _ = writeln!(headers, "{name}:{}", values.join(","));
    }
    Some(format!(
        "{}\n{}\n{}\n{headers}\n{}\n{payload_hash}",
        received.method,
        path(&received.path),
        query(received.query.as_deref().unwrap_or_default()),
        signed_headers.join(";"),
    ))
}

/// The path without dot segments and empty segments, percent-encoded once more.
fn path(raw: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    for segment in raw.split('/') {
        match segment {
            "" | "." => {}
            ".." => {
                kept.pop();
            }
            other => kept.push(other),
        }
    }
    let mut path: String =
        kept.iter().flat_map(|segment| ["/".to_owned(), encoded(segment.as_bytes())]).collect();
    if path.is_empty() || raw.ends_with('/') {
        path.push('/');
    }
    path
}

/// The query's pairs, encoded strictly and sorted.
fn query(raw: &str) -> String {
    let mut pairs: Vec<(String, String)> = raw
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let strict = |text: &str| encoded(&percent_decode_str(text).collect::<Vec<u8>>());
            (strict(name), strict(value))
        })
        .collect();
    pairs.sort();
    let pairs: Vec<String> = pairs.iter().map(|(name, value)| format!("{name}={value}")).collect();
    pairs.join("&")
}

fn encoded(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for byte in bytes {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(byte) {
            text.push(char::from(*byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(text, "%{byte:02X}");
        }
    }
    text
}

/// Trimmed, inner spaces collapsed.
fn single_spaced(value: &str) -> String {
    value.split_whitespace().collect::<Vec<_>>().join(" ")
}
