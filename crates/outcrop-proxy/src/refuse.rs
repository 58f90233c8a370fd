//! Any failure, in the caller's dialect.

use http::header::{CONTENT_LENGTH, RETRY_AFTER};
use http::{HeaderName, HeaderValue, Response, StatusCode};
use outcrop_core::Dialect;
use outcrop_core::failure::{Class, Code, Failure, Reason};
use outcrop_wire::{ErrorBody, encode_error};

use crate::body::Body;
use crate::rates::{tell, whole_seconds};
use crate::settle::{Ending, Record};

/// Settles the exchange as failed and words the answer.
pub(crate) fn refuse(record: Record, dialect: Dialect, failure: &Failure) -> Response<Body> {
    let body = ErrorBody {
        status_override: record.refusal_status(failure),
        ..body_of(failure, record.id().as_str())
    };
    let mut response = answer(&body, dialect, failure);
    let headers = response.headers_mut();
    if record.attempts() > 0 {
        headers.insert("x-outcrop-attempts", HeaderValue::from(record.attempts()));
    }
    headers.insert("x-outcrop-overhead-us", HeaderValue::from(record.overhead_us()));
    if let Ok(operation) = HeaderValue::from_str(record.operation())
        && !operation.is_empty()
    {
        headers.insert("x-outcrop-operation", operation);
    }
    if let (Some(rated), unix) = record.rating() {
        tell(headers, dialect, &rated.standing, unix);
    }
    record.settle(&Ending::Failed(failure));
    response
}

fn answer(body: &ErrorBody<'_>, dialect: Dialect, failure: &Failure) -> Response<Body> {
    let encoded = encode_error(dialect, body);
    let mut response = Response::new(Body::whole(encoded.body.clone()));
    *response.status_mut() =
        StatusCode::from_u16(status_of(failure, encoded.status)).unwrap_or(StatusCode::BAD_GATEWAY);
    let throttled = response.status() == StatusCode::TOO_MANY_REQUESTS;
    let headers = response.headers_mut();
    for (name, value) in encoded.headers {
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
    headers.insert(CONTENT_LENGTH, HeaderValue::from(encoded.body.len()));
    if let Ok(id) = HeaderValue::from_str(body.request_id) {
        headers.insert("x-outcrop-request-id", id);
    }
    if let Some(after) = failure.retry_after {
        headers.insert(RETRY_AFTER, HeaderValue::from(whole_seconds(after)));
        if dialect == Dialect::Bedrock && throttled {
            let ms = u64::try_from(after.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX);
            headers.insert("x-amz-retry-after", HeaderValue::from(ms));
        }
    }
    response
}

/// The failure as the wire wants it.
pub(crate) fn body_of<'a>(failure: &'a Failure, request_id: &'a str) -> ErrorBody<'a> {
    ErrorBody {
        code: failure.code,
        reason: failure.reason,
        message: &failure.message,
        request_id,
        upstream: failure.upstream.as_deref(),
        status_override: None,
    }
}

/// An unknown route is a 404 and a wrong method a 405 although its code is `invalid_request`; a deadline stays a 504 although an
/// upstream had spoken.
fn status_of(failure: &Failure, encoded: u16) -> u16 {
    let unknown_route = failure.code == Code::InvalidRequest
        && failure.reason == Reason::NotFound
        && failure.class == Class::Permanent
        && failure.upstream.is_none();
    match failure.reason {
        Reason::WrongMethod => 405,
        _ if unknown_route => 404,
        _ => encoded,
    }
}
