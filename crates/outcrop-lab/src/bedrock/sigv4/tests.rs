//! A request signed by botocore 1.44 at a fixed time, and what happens to it when a part is changed.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Version};

use super::verify;
use crate::exchange::Received;

const SIGNED_AT: u64 = 1_767_323_045;

fn golden() -> Received {
    let headers = [
        ("host", "127.0.0.1:9101"),
        ("content-type", "application/json"),
        ("x-amz-date", "20260102T030405Z"),
        ("x-amz-security-token", "session/token+with=="),
        (
            "authorization",
            "AWS4-HMAC-SHA256 Credential=AKIAOUTCROPLAB000001/20260102/eu-central-1/bedrock/aws4_request, \
             SignedHeaders=content-type;host;x-amz-date;x-amz-security-token, \
             Signature=d4a596b0aaf90340f4de592285c69c99103ac6189d857120cba517fb69af33de",
        ),
    ];
    Received {
        method: Method::POST,
        path: "/model/arn%3Aaws%3Abedrock%3Aeu-central-1%3A123456789012%3Ainference-profile%2F\
               eu.anthropic.claude-sonnet-4-5-20250929-v1%3A0/converse"
            .to_owned(),
        query: None,
        headers: headers
            .into_iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect::<HeaderMap>(),
        body: Bytes::from_static(br#"{"messages":[]}"#),
        version: Version::HTTP_11,
    }
}

fn at(offset_s: i64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(SIGNED_AT.checked_add_signed(offset_s).unwrap())
}

/// The name and text of the refusal, empty for none.
fn check(received: &Received, offset_s: i64, expected: &str) {
    let outcome = verify(received, "eu-central-1", at(offset_s));
    let said =
        outcome.map_or_else(|refusal| format!("{}: {}", refusal.name, refusal.message), |()| String::new());
    assert!(said.starts_with(expected) && said.is_empty() == expected.is_empty(), "{said}");
}

#[test]
fn the_signature_of_botocore_is_accepted() {
    check(&golden(), 0, "");
    check(&golden(), 299, "");
    check(&golden(), -299, "");
}

#[test]
fn every_signed_part_counts() {
    let wrong = "InvalidSignatureException: The request signature we calculated does not match";
    check(&Received { body: Bytes::from_static(b"{}"), ..golden() }, 0, wrong);
    check(&Received { method: Method::PUT, ..golden() }, 0, wrong);
    check(&Received { query: Some("a=b".to_owned()), ..golden() }, 0, wrong);
    let path = golden().path.replace("%2F", "/");
    check(&Received { path, ..golden() }, 0, wrong);
    for name in ["host", "content-type", "x-amz-security-token"] {
        let mut changed = golden();
        changed.headers.insert(name, HeaderValue::from_static("other"));
        check(&changed, 0, wrong);
    }
}

#[test]
fn amazon_headers_must_be_signed() {
    let mut received = golden();
    received.headers.insert("x-amz-target", HeaderValue::from_static("smuggled"));
    check(&received, 0, "InvalidSignatureException: 'x-amz-target' must be a 'SignedHeader'");
}

#[test]
fn the_clock_may_be_off_by_five_minutes() {
    check(
        &golden(),
        301,
        "InvalidSignatureException: Signature expired: 20260102T030405Z is now earlier than 20260102T030406Z",
    );
    check(&golden(), -301, "InvalidSignatureException: Signature not yet current: 20260102T030405Z");
}

#[test]
fn each_mistake_earns_its_error() {
    let with = |from: &str, to: &str| {
        let mut received = golden();
        let changed = received.header("authorization").unwrap().replace(from, to);
        received.headers.insert("authorization", HeaderValue::from_str(&changed).unwrap());
        received
    };
    check(&with("AKIAOUTCROPLAB000001", "AKIAOTHER"), 0, "UnrecognizedClientException");
    check(
        &with("eu-central-1", "eu-west-1"),
        0,
        "InvalidSignatureException: Credential should be scoped to a valid region",
    );
    check(
        &with("/bedrock/", "/s3/"),
        0,
        "InvalidSignatureException: Credential should be scoped to correct service",
    );
    check(&with("/20260102/", "/20260103/"), 0, "InvalidSignatureException: Date in Credential scope");
    check(&with("Signature=d4", "Signature=d5"), 0, "InvalidSignatureException: The request signature");
    check(&with("SignedHeaders", "Signed"), 0, "IncompleteSignatureException");
    let mut anonymous = golden();
    anonymous.headers.remove("authorization");
    check(&anonymous, 0, "MissingAuthenticationTokenException");
}

#[test]
fn a_bearer_key_stands_for_a_signature() {
    let mut received = golden();
    received.headers.insert("authorization", HeaderValue::from_static("Bearer outcrop-lab-bedrock-bearer"));
    check(&received, 0, "");
    received.headers.insert("authorization", HeaderValue::from_static("Bearer other"));
    check(&received, 0, "AccessDeniedException");
}
