//! The headers a request may carry for us: what it wishes for, and what may travel on.
//!
//! A header can narrow what policy allows, never widen it. Nothing is copied to an upstream but the
//! short list at the end of this file.

use std::sync::Arc;
use std::time::Duration;

use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use outcrop_core::Priority;
use outcrop_core::failure::{Code, Failure};
use outcrop_policy::Residency;
use outcrop_policy::local::{is_local_page, is_loopback_host};
use outcrop_policy::scope::Attribution;

/// Longest idempotency key, in bytes.
const KEY_BYTES_MAX: usize = 255;

/// What a request wishes for beside its body.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Wishes {
    pub(crate) operation: Option<String>,
    pub(crate) priority: Option<Priority>,
    pub(crate) deadline: Option<Duration>,
    pub(crate) residency: Option<Residency>,
    pub(crate) path: Option<String>,
    /// End user and run, for attribution; empty is none.
    pub(crate) user: Arc<str>,
    pub(crate) run: Arc<str>,
    pub(crate) idempotency_key: Option<Arc<str>>,
}

impl Wishes {
    /// Reads the `x-outcrop-*` headers and the deadline hints of the SDKs. Our own headers must be
    /// right; a foreign hint that cannot be read is ignored.
    pub(crate) fn read(headers: &HeaderMap, now_unix: Duration) -> Result<Self, Failure> {
        let own = |name: &str| text(headers, name);
        let deadline = own("x-outcrop-deadline-ms").map(deadline_ms).transpose()?;
        Ok(Self {
            operation: own("x-outcrop-operation").map(str::to_owned),
            priority: own("x-outcrop-priority").map(priority).transpose()?,
            deadline: [deadline, sdk_deadline(headers, now_unix)].into_iter().flatten().min(),
            residency: own("x-outcrop-residency").map(residency).transpose()?,
            path: own("x-outcrop-path").map(str::to_owned),
            user: name(headers, "x-outcrop-user"),
            run: name(headers, "x-outcrop-run"),
            idempotency_key: own("idempotency-key").map(idempotency_key).transpose()?,
        })
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|v| v.to_str().ok()).map(str::trim)
}

/// A name that a caller gives; unlike other headers it may be of any script.
fn name(headers: &HeaderMap, header: &str) -> Arc<str> {
    let given = headers.get(header).map_or(&b""[..], HeaderValue::as_bytes);
    Attribution::value(String::from_utf8_lossy(given).trim())
}

fn invalid(message: String) -> Failure {
    Failure::refusal(Code::InvalidRequest, message)
}

fn deadline_ms(value: &str) -> Result<Duration, Failure> {
    match value.parse::<u64>() {
        Ok(ms) if ms > 0 => Ok(Duration::from_millis(ms)),
        _ => Err(invalid("x-outcrop-deadline-ms must be a whole number of milliseconds above 0.".into())),
    }
}

/// A key that names a call, from a header or from the call itself.
pub(crate) fn idempotency_key(value: &str) -> Result<Arc<str>, Failure> {
    if value.is_empty() || value.len() > KEY_BYTES_MAX || !value.bytes().all(|byte| byte.is_ascii_graphic()) {
        let text = format!("idempotency-key must be 1 to {KEY_BYTES_MAX} visible ASCII characters.");
        return Err(invalid(text));
    }
    Ok(value.into())
}

fn priority(value: &str) -> Result<Priority, Failure> {
    [Priority::Low, Priority::Medium, Priority::High, Priority::Critical, Priority::Emergency]
        .into_iter()
        .find(|p| p.label() == value)
        .ok_or_else(|| invalid("x-outcrop-priority must be emergency, critical, high, medium or low.".into()))
}

fn residency(value: &str) -> Result<Residency, Failure> {
    match value {
        "eu" => Ok(Residency::Eu),
        _ => Err(invalid("x-outcrop-residency must be `eu`, the only residency known here.".into())),
    }
}

/// Free deadline hints: `x-stainless-read-timeout`, `x-stainless-timeout` (seconds),
/// `grpc-timeout`, `amz-sdk-request: ttl=…`.
fn sdk_deadline(headers: &HeaderMap, now_unix: Duration) -> Option<Duration> {
    let stainless = ["x-stainless-read-timeout", "x-stainless-timeout"]
        .into_iter()
        .filter_map(|name| text(headers, name)?.parse::<f64>().ok())
        .filter_map(|s| Duration::try_from_secs_f64(s).ok());
    let grpc = text(headers, "grpc-timeout").and_then(grpc_timeout);
    let ttl = text(headers, "amz-sdk-request").and_then(|v| aws_ttl(v, now_unix));
    stainless.chain(grpc).chain(ttl).filter(|d| !d.is_zero()).min()
}

fn grpc_timeout(value: &str) -> Option<Duration> {
    let (digits, unit) = value.split_at_checked(value.len().checked_sub(1)?)?;
    let n: u64 = digits.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(n.checked_mul(3600)?)),
        "M" => Some(Duration::from_secs(n.checked_mul(60)?)),
        "S" => Some(Duration::from_secs(n)),
        "m" => Some(Duration::from_millis(n)),
        "u" => Some(Duration::from_micros(n)),
        "n" => Some(Duration::from_nanos(n)),
        _ => None,
    }
}

/// `attempt=1; max=3; ttl=20261123T181500Z`.
fn aws_ttl(value: &str, now_unix: Duration) -> Option<Duration> {
    let ttl = value.split(';').find_map(|part| part.trim().strip_prefix("ttl="))?;
    let at = jiff::civil::DateTime::strptime("%Y%m%dT%H%M%SZ", ttl).ok()?;
    let at = at.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp().as_second();
    Duration::from_secs(u64::try_from(at).ok()?).checked_sub(now_unix)
}

/// In open mode every program on this machine is a caller, but a web page is not: a browser names the
/// page in `Origin`, and a rebound DNS name shows in `Host`.
pub(crate) fn refuse_foreign_pages(head: &Parts) -> Result<(), Failure> {
    let origin_ok = text(&head.headers, "origin").is_none_or(is_local_page);
    let host_ok = text(&head.headers, "host").is_none_or(is_loopback_host)
        && head.uri.authority().is_none_or(|a| is_loopback_host(a.as_str()));
    if origin_ok && host_ok {
        return Ok(());
    }
    Err(Failure::refusal(
        Code::Forbidden,
        "An open gateway answers only to loopback names and to no foreign web page; use \
         `[auth] mode = \"keys\"` to serve others.",
    ))
}

/// Caller headers that travel to an upstream of the same protocol.
const TRAVELLING: [&str; 9] = [
    "accept",
    "anthropic-version",
    "anthropic-beta",
    "openai-beta",
    "x-amzn-bedrock-accept",
    "x-amzn-bedrock-trace",
    "x-amzn-bedrock-guardrailidentifier",
    "x-amzn-bedrock-guardrailversion",
    "x-amzn-bedrock-performanceconfig-latency",
];

/// The caller headers that may travel on.
pub(crate) fn travelling(headers: &HeaderMap) -> Vec<(HeaderName, HeaderValue)> {
    TRAVELLING
        .into_iter()
        .flat_map(|name| {
            headers.get_all(name).iter().map(move |v| (HeaderName::from_static(name), v.clone()))
        })
        .collect()
}

/// The values of `anthropic-beta`: a comma list, possibly repeated.
pub(crate) fn betas(headers: &HeaderMap) -> Vec<String> {
    headers
        .get_all("anthropic-beta")
        .iter()
        .filter_map(|v| v.to_str().ok())
        .flat_map(|v| v.split(','))
        .map(|beta| beta.trim().to_owned())
        .filter(|beta| !beta.is_empty())
        .collect()
}

/// The content encoding of a body, lower-case; `None` for identity.
pub(crate) fn content_encoding(headers: &HeaderMap) -> Option<String> {
    let value = text(headers, header::CONTENT_ENCODING.as_str())?;
    (!value.is_empty() && !value.eq_ignore_ascii_case("identity")).then(|| value.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(n, v)| (HeaderName::from_static(n), HeaderValue::from_str(v).unwrap())).collect()
    }

    #[test]
    fn the_shortest_deadline_counts_and_foreign_nonsense_is_ignored() {
        let now = Duration::from_mins(29_924_295); // 2026-11-23T18:15:00Z
        for (pairs, expected) in [
            (vec![("x-outcrop-deadline-ms", "1500")], Some(1500)),
            (vec![("x-outcrop-deadline-ms", "1500"), ("x-stainless-timeout", "1")], Some(1000)),
            (vec![("x-stainless-read-timeout", "0.25")], Some(250)),
            (vec![("x-stainless-timeout", "NaN")], None),
            (vec![("x-stainless-timeout", "-1")], None),
            (vec![("grpc-timeout", "250m")], Some(250)),
            (vec![("grpc-timeout", "m")], None),
            (vec![("amz-sdk-request", "attempt=1; max=1; ttl=20261123T181507Z")], Some(7000)),
            (vec![("amz-sdk-request", "attempt=1; ttl=20201123T181507Z")], None),
        ] {
            let wishes = Wishes::read(&headers(&pairs), now).unwrap();
            assert_eq!(wishes.deadline.map(|d| d.as_millis()), expected, "{pairs:?}");
        }
    }

    #[test]
    fn our_own_headers_must_be_right() {
        for (name, value) in [
            ("x-outcrop-deadline-ms", "0"),
            ("x-outcrop-deadline-ms", "soon"),
            ("x-outcrop-priority", "urgent"),
            ("x-outcrop-residency", "EU"),
            ("idempotency-key", "two words"),
        ] {
            let failure = Wishes::read(&headers(&[(name, value)]), Duration::ZERO).unwrap_err();
            assert!(failure.message.contains(name), "{}", failure.message);
        }
    }

    #[test]
    fn users_and_runs_have_names_of_any_script() {
        let mut sent = headers(&[("x-outcrop-run", " nightly ")]);
        sent.insert("x-outcrop-user", HeaderValue::from_bytes("j\u{fc}rgen".as_bytes()).unwrap());
        let wishes = Wishes::read(&sent, Duration::ZERO).unwrap();
        assert_eq!((&*wishes.user, &*wishes.run), ("j\u{fc}rgen", "nightly"));
        assert_eq!(&*Wishes::read(&headers(&[]), Duration::ZERO).unwrap().user, "");
    }

    #[test]
    fn an_open_gateway_answers_no_web_page() {
        for (pairs, expected) in [
            (vec![("host", "127.0.0.1:8080")], true),
            (vec![("host", "localhost")], true),
            (vec![("host", "[::1]:8080")], true),
            (vec![("host", "evil.example:8080")], false),
            (vec![("host", "127.0.0.1.evil.example")], false),
            (vec![("host", "localhost"), ("origin", "https://evil.example")], false),
            (vec![("host", "localhost"), ("origin", "null")], false),
            (vec![("host", "localhost"), ("origin", "http://localhost:3000")], true),
        ] {
            let mut head = http::Request::new(()).into_parts().0;
            head.headers = headers(&pairs);
            assert_eq!(refuse_foreign_pages(&head).is_ok(), expected, "{pairs:?}");
        }
        let mut head = http::Request::new(()).into_parts().0;
        head.uri = http::Uri::from_static("http://evil.example/v1/models");
        assert!(refuse_foreign_pages(&head).is_err(), "HTTP/2 names its host in the URI");
    }

    #[test]
    fn credentials_and_hop_headers_do_not_travel() {
        let sent = headers(&[
            ("authorization", "Bearer x"),
            ("connection", "keep-alive"),
            ("x-outcrop-operation", "standard"),
            ("forwarded", "for=1"),
            ("anthropic-beta", "a, b"),
        ]);
        assert_eq!(travelling(&sent).len(), 1);
        assert_eq!(betas(&sent), ["a", "b"]);
    }
}
