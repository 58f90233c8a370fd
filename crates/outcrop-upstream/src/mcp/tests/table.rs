//! What each error of a server means.

use outcrop_core::{Class, Failure, Reason};
use rmcp::model::{ErrorCode, ErrorData};
use rmcp::service::ServiceError;
use serde_json::{Value, json};

use crate::mcp::outcome;

fn check(code: i32, data: Option<Value>, class: Class, reason: Reason) {
    let error = ErrorData::new(ErrorCode(code), "text of the server", data);
    let failure: Failure = outcome::of_call(ServiceError::McpError(error), Reason::Reset).into_failure();
    assert_eq!((failure.class, failure.reason), (class, reason), "{code}");
    assert_eq!(failure.message, "text of the server");
    let upstream = failure.upstream.unwrap();
    assert_eq!(upstream.kind, code.to_string());
    assert!((400..600).contains(&upstream.status), "an error keeps an error's status");
}

#[test]
fn errors_of_servers_are_told_apart() {
    check(-32_601, None, Class::NotHere, Reason::NotFound);
    check(-32_602, None, Class::NotHere, Reason::BadRequest);
    check(-32_020, None, Class::NotHere, Reason::BadRequest);
    check(-32_600, None, Class::NotHere, Reason::BadRequest);
    check(-32_603, None, Class::Ambiguous, Reason::Internal);
    check(-32_000, None, Class::Ambiguous, Reason::Internal);
    check(-32_001, None, Class::Ambiguous, Reason::Timeout);
    check(-32_000, Some(json!({"status": 429})), Class::Refused, Reason::Throttled);
    check(-32_000, Some(json!({"status": 503})), Class::Refused, Reason::Unavailable);
    check(-32_000, Some(json!({"status": 200})), Class::Ambiguous, Reason::Internal);
}

#[test]
fn a_connection_that_ends_says_why_if_it_knows() {
    for reason in [Reason::Reset, Reason::Garbled, Reason::Oversized] {
        let failure = outcome::of_call(ServiceError::TransportClosed, reason).into_failure();
        assert_eq!((failure.class, failure.reason), (Class::Ambiguous, reason));
    }
}
