//! Failures in the words of MCP: JSON-RPC errors with our stable code in `data`.

use std::time::Duration;

use outcrop_core::failure::Failure;
use outcrop_core::{Class, Code, Dialect};
use outcrop_wire::{ErrorBody, encode_error};
use rmcp::ErrorData;
use rmcp::model::{CallToolResult, ContentBlock, ResultType};
use serde_json::Value;

/// A failed call. The request id is empty where none was given out.
pub(super) fn error(failure: &Failure, request_id: &str) -> ErrorData {
    let body = ErrorBody {
        code: failure.code,
        reason: failure.reason,
        message: &failure.message,
        request_id,
        upstream: failure.upstream.as_deref(),
        status_override: None,
    };
    let encoded = encode_error(Dialect::Mcp, &body).body;
    let answer: Option<Value> = serde_json::from_slice(&encoded).ok();
    let error = answer.and_then(|mut answer| serde_json::from_value(answer["error"].take()).ok());
    let mut error: ErrorData =
        error.unwrap_or_else(|| ErrorData::internal_error(failure.message.clone(), None));
    if let (Some(after), Some(Value::Object(data))) = (failure.retry_after, &mut error.data) {
        let ms = u64::try_from(after.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX);
        data.insert("retryAfterMs".into(), ms.into());
    }
    error
}

/// What a model is told of a tool that rests after its failures: a result, because models read those.
pub(super) fn do_not_retry(tool: &str, rest: Duration) -> CallToolResult {
    let text = format!(
        "The tool `{tool}` failed several times in a row and is not called for the next {} s. Do not retry \
         it: go on without it, or say that it is not available.",
        rest.as_secs().max(1)
    );
    let mut result = CallToolResult::error(vec![ContentBlock::text(text)]);
    result.result_type = Some(ResultType::COMPLETE);
    result
}

/// A federated call that may have run without giving a result: whoever called must look before
/// calling again.
pub(super) fn unknown_outcome(failure: Failure) -> Failure {
    match failure.class {
        Class::Ambiguous | Class::Partial => Failure {
            code: Code::OutcomeUnknown,
            message: format!(
                "The tool may have run, but its result did not arrive ({}); check before calling it \
                 again.",
                failure.message.trim_end_matches('.')
            )
            .into(),
            upstream: None,
            ..failure
        },
        Class::NotSent
        | Class::Refused
        | Class::Permanent
        | Class::NotHere
        | Class::Credential
        | Class::CallerGone => failure,
    }
}
