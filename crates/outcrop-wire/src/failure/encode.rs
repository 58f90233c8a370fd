//! Writing an error the way the caller's dialect spells it, with our stable code beside it.
//!
//! An upstream's error keeps its status; its type too where the dialect is the same, else the type
//! that the caller's dialect uses for that status. Nothing here decides whether to fail.

use std::borrow::Cow;

use bytes::{Bytes, BytesMut};
use outcrop_core::Dialect;
use outcrop_core::failure::{Class, Code, Reason};
use serde_json::{Value, json};

use super::table::{canonical, classify};
use super::{ErrorAnswer, ErrorBody};
use crate::framing::event_stream;

/// Exceptions that the models of both Bedrock stream operations declare; SDKs drop the name of any
/// other.
const FRAME_KINDS: [&str; 6] = [
    "InternalServerException",
    "ModelStreamErrorException",
    "ValidationException",
    "ThrottlingException",
    "ServiceUnavailableException",
    "ModelTimeoutException",
];

/// The error as a whole answer: status, headers of the dialect and body.
pub fn encode_error(dialect: Dialect, error: &ErrorBody<'_>) -> ErrorAnswer {
    let status = match dialect {
        Dialect::Bedrock if signature_kind(error.reason).is_some() => 403,
        Dialect::Bedrock | Dialect::OpenAi | Dialect::Anthropic | Dialect::Mcp => status_of(error),
    };
    let code = error.code.label().to_owned();
    let mut headers = vec![("content-type", "application/json".into()), ("x-outcrop-code", code)];
    let id = error.request_id.to_owned();
    match dialect {
        Dialect::OpenAi => headers.push(("x-request-id", id)),
        Dialect::Anthropic => headers.push(("request-id", id)),
        Dialect::Bedrock => {
            headers.push(("x-amzn-requestid", id));
            headers.push(("x-amzn-errortype", kind_of(dialect, error).into_owned()));
        }
        Dialect::Mcp => {}
    }
    if !may_retry(error) {
        headers.push(("x-should-retry", "false".into()));
    }
    ErrorAnswer { status, headers, body: Bytes::from(error_json(dialect, error)) }
}

/// The error as the JSON of its dialect: the body of a status, or the data of a stream's error event.
pub(crate) fn error_json(dialect: Dialect, error: &ErrorBody<'_>) -> Vec<u8> {
    let kind = kind_of(dialect, error);
    let message = message_of(error);
    let code = error.code.label();
    let body = match dialect {
        Dialect::OpenAi => json!({
            "error": {"message": message, "type": kind, "param": null, "code": code}
        }),
        Dialect::Anthropic => json!({
            "type": "error",
            "error": {"type": kind, "message": message, "code": code},
            "request_id": error.request_id
        }),
        Dialect::Bedrock => json!({"__type": kind, "message": message, "code": code}),
        Dialect::Mcp => json!({
            "jsonrpc": "2.0",
            "id": null,
            "error": {"code": json_rpc_code(error), "message": message, "data": {
                "code": code, "type": kind, "status": status_of(error),
                "requestId": error.request_id
            }}
        }),
    };
    body.to_string().into_bytes()
}

/// The error as an exception frame of a Bedrock stream; `timeouts` where the operation's model
/// declares `modelTimeoutException` (invoke).
pub(crate) fn exception_frame(error: &ErrorBody<'_>, timeouts: bool, out: &mut BytesMut) {
    let name = frame_kind(error, timeouts);
    let mut body = json!({"message": message_of(error), "code": error.code.label()});
    if name == "modelStreamErrorException"
        && let (Some(upstream), Value::Object(fields)) = (error.upstream, &mut body)
    {
        fields.insert("originalStatusCode".into(), upstream.status.into());
        fields.insert("originalMessage".into(), upstream.message.clone().into());
    }
    event_stream::write("exception", &name, Bytes::from(body.to_string()), out);
}

fn frame_kind(error: &ErrorBody<'_>, timeouts: bool) -> String {
    let own = error.upstream.filter(|up| up.protocol.dialect() == Dialect::Bedrock);
    let own = own.map(|up| canonical(&up.kind).into_owned());
    let known = own.filter(|name| FRAME_KINDS.contains(&name.as_str()));
    let name = known.unwrap_or_else(|| {
        match status_of(error) {
            408 | 504 => "ModelTimeoutException",
            424 => "ModelStreamErrorException",
            429 => "ThrottlingException",
            503 | 529 => "ServiceUnavailableException",
            400..=499 => "ValidationException",
            _ => "InternalServerException",
        }
        .to_owned()
    });
    let name = if name == "ModelTimeoutException" && !timeouts {
        "ModelStreamErrorException"
    } else {
        name.as_str()
    };
    let mut chars = name.chars();
    let first = chars.next().map(|c| c.to_ascii_lowercase());
    first.into_iter().chain(chars).collect()
}

fn status_of(error: &ErrorBody<'_>) -> u16 {
    match (error.upstream.map(|upstream| upstream.status), error.status_override) {
        (Some(status @ 400..=599), _) | (None, Some(status @ 400..=599)) => status,
        _ => error.code.status(),
    }
}

fn message_of<'a>(error: &ErrorBody<'a>) -> &'a str {
    match error.upstream {
        Some(upstream) if !upstream.message.is_empty() => &upstream.message,
        _ => error.message,
    }
}

fn kind_of<'a>(dialect: Dialect, error: &ErrorBody<'a>) -> Cow<'a, str> {
    match error.upstream {
        Some(upstream) if upstream.protocol.dialect() == dialect && !upstream.kind.is_empty() => {
            match dialect {
                Dialect::Bedrock => canonical(&upstream.kind),
                Dialect::OpenAi | Dialect::Anthropic | Dialect::Mcp => (&*upstream.kind).into(),
            }
        }
        Some(_) => kind_of_status(dialect, status_of(error)).into(),
        None => match (dialect, signature_kind(error.reason), error.status_override) {
            (Dialect::Bedrock, Some(kind), _) => kind.into(),
            (_, _, Some(status)) => kind_of_override(dialect, error.code, status).into(),
            _ => kind_of_code(dialect, error.code).into(),
        },
    }
}

/// The type beside a status that is not the code's own. OpenAI itself says with 429 that money ran
/// out, in a type of its own.
fn kind_of_override(dialect: Dialect, code: Code, status: u16) -> &'static str {
    match (dialect, code) {
        (Dialect::OpenAi | Dialect::Mcp, Code::BudgetExceeded) => kind_of_code(dialect, code),
        (Dialect::OpenAi | Dialect::Anthropic | Dialect::Bedrock | Dialect::Mcp, _) => {
            kind_of_status(dialect, status)
        }
    }
}

/// AWS's names for a signature that is not believed; all of them are 403 and known to the SDKs.
fn signature_kind(reason: Reason) -> Option<&'static str> {
    match reason {
        Reason::UnknownPair => Some("UnrecognizedClientException"),
        Reason::ExpiredPair => Some("ExpiredTokenException"),
        Reason::MalformedSignature => Some("IncompleteSignatureException"),
        Reason::WrongSignature => Some("InvalidSignatureException"),
        Reason::Dns
        | Reason::Connect
        | Reason::Tls
        | Reason::NoCredentials
        | Reason::CredentialsRefused
        | Reason::Reset
        | Reason::Timeout
        | Reason::Stalled
        | Reason::Truncated
        | Reason::Garbled
        | Reason::Oversized
        | Reason::Throttled
        | Reason::Unavailable
        | Reason::ModelNotReady
        | Reason::Internal
        | Reason::ModelError
        | Reason::BadRequest
        | Reason::NotFound
        | Reason::WrongMethod
        | Reason::Forbidden
        | Reason::ToolError
        | Reason::Inexpressible
        | Reason::CallerGone
        | Reason::Outrun
        | Reason::Policy => None,
    }
}

/// The type a dialect uses where the gateway itself refuses; where the status alone would mislead.
fn kind_of_code(dialect: Dialect, code: Code) -> &'static str {
    match (dialect, code) {
        (
            Dialect::Anthropic,
            Code::NoLegalTarget | Code::LedgerUnavailable | Code::Stopped | Code::Disabled,
        ) => "api_error",
        (Dialect::Bedrock, Code::UpstreamFailed) => "ServiceUnavailableException",
        (Dialect::Mcp, _) => code.label(),
        (Dialect::OpenAi | Dialect::Anthropic | Dialect::Bedrock, _) => {
            kind_of_status(dialect, code.status())
        }
    }
}

fn kind_of_status(dialect: Dialect, status: u16) -> &'static str {
    match dialect {
        Dialect::OpenAi => match status {
            402 => "insufficient_quota",
            403 => "permission_error",
            429 => "requests",
            408 | 424 | 500.. => "server_error",
            _ => "invalid_request_error",
        },
        Dialect::Anthropic => match status {
            401 => "authentication_error",
            402 => "billing_error",
            403 => "permission_error",
            404 => "not_found_error",
            408 | 504 => "timeout_error",
            413 => "request_too_large",
            429 => "rate_limit_error",
            503 | 529 => "overloaded_error",
            424 | 500.. => "api_error",
            _ => "invalid_request_error",
        },
        Dialect::Bedrock => match status {
            401 | 403 => "AccessDeniedException",
            // Neither its name nor 402 is in a retry table of an SDK: botocore's legacy mode
            // (`_retry.json`) and standard mode (`retries/standard.py`) retry names of throttling
            // and 429, 500, 502, 503, 504, 509; the JavaScript SDK (`service-error-classification`)
            // the same names and 429, 500, 502, 503, 504; its model marks it as the sender's fault.
            402 => "ServiceQuotaExceededException",
            404 => "ResourceNotFoundException",
            408 | 504 => "ModelTimeoutException",
            409 => "ConflictException",
            424 => "ModelErrorException",
            429 => "ThrottlingException",
            503 | 529 => "ServiceUnavailableException",
            500.. => "InternalServerException",
            _ => "ValidationException",
        },
        Dialect::Mcp => "upstream_error",
    }
}

fn json_rpc_code(error: &ErrorBody<'_>) -> i32 {
    let own = error.upstream.filter(|up| up.protocol.dialect() == Dialect::Mcp);
    if let Some(code) = own.and_then(|up| up.kind.parse().ok()) {
        return code;
    }
    match error.code {
        Code::InvalidRequest | Code::UnknownModel | Code::TooLarge | Code::KeyReused => -32602,
        Code::Unauthenticated
        | Code::BudgetExceeded
        | Code::Forbidden
        | Code::KeyInUse
        | Code::PriceUnknown
        | Code::RateLimited
        | Code::Overloaded
        | Code::Stopped
        | Code::Disabled => -32000,
        Code::OutcomeUnknown
        | Code::UpstreamFailed
        | Code::NoLegalTarget
        | Code::LedgerUnavailable
        | Code::DeadlineInfeasible
        | Code::DeadlineExceeded => -32603,
    }
}

/// Whether an SDK's own retry could help; the Stainless SDKs read `x-should-retry`.
fn may_retry(error: &ErrorBody<'_>) -> bool {
    match error.code {
        Code::InvalidRequest
        | Code::Unauthenticated
        | Code::BudgetExceeded
        | Code::Forbidden
        | Code::UnknownModel
        | Code::TooLarge
        | Code::KeyReused
        | Code::PriceUnknown
        | Code::OutcomeUnknown
        | Code::DeadlineExceeded => false,
        Code::KeyInUse
        | Code::RateLimited
        | Code::UpstreamFailed
        | Code::NoLegalTarget
        | Code::LedgerUnavailable
        | Code::Stopped
        | Code::Disabled
        | Code::Overloaded
        | Code::DeadlineInfeasible => error.upstream.map(classify).is_none_or(|(class, _)| match class {
            Class::Permanent | Class::NotHere | Class::Credential => false,
            Class::NotSent | Class::Refused | Class::Ambiguous | Class::Partial | Class::CallerGone => true,
        }),
    }
}
