//! THE one table: what an upstream's error means, whichever way it was spoken.
//!
//! Names are read first and statuses second, because one status can mean several things (429 is
//! throttling or a model that is not ready). An unknown name falls back to its status, so a further
//! exception of a provider is never worse than its status says.

use outcrop_core::Dialect;
use outcrop_core::failure::{Class, Reason, UpstreamError};

type Verdict = (Class, Reason);

const REFUSED: Verdict = (Class::Refused, Reason::Unavailable);
const THROTTLED: Verdict = (Class::Refused, Reason::Throttled);
const BAD_REQUEST: Verdict = (Class::Permanent, Reason::BadRequest);
const FORBIDDEN: Verdict = (Class::Permanent, Reason::Forbidden);
const NOT_HERE: Verdict = (Class::NotHere, Reason::NotFound);
const CREDENTIAL: Verdict = (Class::Credential, Reason::CredentialsRefused);
const MODEL_ERROR: Verdict = (Class::Ambiguous, Reason::ModelError);
const INTERNAL: Verdict = (Class::Ambiguous, Reason::Internal);
const TIMEOUT: Verdict = (Class::Ambiguous, Reason::Timeout);

/// What an upstream's error means: what may follow, and why it failed. The same for a status and for
/// an error inside a 200 stream (`docs/routing.md`, "Outcomes").
pub fn classify(error: &UpstreamError) -> (Class, Reason) {
    let by_name = match error.protocol.dialect() {
        Dialect::Bedrock => bedrock(canonical(&error.kind).as_ref(), &error.message),
        Dialect::Anthropic => anthropic(&error.kind),
        Dialect::OpenAi => openai(&error.kind),
        Dialect::Mcp => mcp(&error.kind),
    };
    by_name.unwrap_or_else(|| by_status(error.status))
}

/// The status a named Bedrock exception has where no status is given, as in a frame; takes both
/// spellings, `ThrottlingException` and `throttlingException`. Unknown names are 500.
pub fn bedrock_status(kind: &str) -> u16 {
    match canonical(kind).as_ref() {
        "ValidationException" | "ConflictException" | "ServiceQuotaExceededException" => 400,
        "AccessDeniedException"
        | "ExpiredTokenException"
        | "InvalidSignatureException"
        | "UnrecognizedClientException"
        | "IncompleteSignatureException"
        | "MissingAuthenticationTokenException"
        | "InvalidClientTokenId"
        | "SignatureDoesNotMatch"
        | "RequestExpired"
        | "ExpiredToken" => 403,
        "ResourceNotFoundException" => 404,
        "ModelTimeoutException" => 408,
        "ModelErrorException" | "ModelStreamErrorException" => 424,
        "ThrottlingException" | "ModelNotReadyException" | "TooManyRequestsException" => 429,
        "ServiceUnavailableException" => 503,
        _ => 500,
    }
}

/// The exception's name as the API reference spells it: `com.amazon…#throttlingException:http://…`
/// becomes `ThrottlingException`.
pub(super) fn canonical(kind: &str) -> std::borrow::Cow<'_, str> {
    let kind = kind.split(':').next().unwrap_or(kind);
    let kind = kind.rsplit('#').next().unwrap_or(kind).trim();
    match kind.chars().next() {
        Some(first) if first.is_ascii_lowercase() => {
            let rest = kind.get(1..).unwrap_or_default();
            format!("{}{rest}", first.to_ascii_uppercase()).into()
        }
        _ => kind.into(),
    }
}

fn bedrock(kind: &str, message: &str) -> Option<Verdict> {
    Some(match kind {
        "AccessDeniedException" if names_credentials(message) => CREDENTIAL,
        "AccessDeniedException" => FORBIDDEN,
        "ExpiredTokenException"
        | "ExpiredToken"
        | "RequestExpired"
        | "InvalidSignatureException"
        | "SignatureDoesNotMatch"
        | "IncompleteSignatureException"
        | "UnrecognizedClientException"
        | "InvalidClientTokenId"
        | "MissingAuthenticationTokenException" => CREDENTIAL,
        "ValidationException" if names_model(message) => NOT_HERE,
        "ValidationException" | "ConflictException" => BAD_REQUEST,
        "ResourceNotFoundException" => NOT_HERE,
        // The quota of this account and region is spent, which says nothing about another target.
        "ThrottlingException" | "TooManyRequestsException" | "ServiceQuotaExceededException" => THROTTLED,
        "ModelNotReadyException" => (Class::Refused, Reason::ModelNotReady),
        "ServiceUnavailableException" => REFUSED,
        "ModelTimeoutException" | "ModelErrorException" | "ModelStreamErrorException" => MODEL_ERROR,
        "InternalServerException" | "InternalFailure" => INTERNAL,
        _ => return None,
    })
}

/// Bedrock answers a bad or expired bearer key with `AccessDeniedException` too; only its text tells.
fn names_credentials(message: &str) -> bool {
    ["API Key", "Bearer Token", "security token", "Authentication failed"]
        .iter()
        .any(|mark| message.contains(mark))
}

/// A model this account or region does not offer is a `ValidationException` whose text says so.
fn names_model(message: &str) -> bool {
    message.contains("model identifier is invalid") || message.contains("on-demand throughput")
}

fn anthropic(kind: &str) -> Option<Verdict> {
    Some(match kind {
        "invalid_request_error" | "request_too_large" => BAD_REQUEST,
        "authentication_error" => CREDENTIAL,
        "billing_error" | "overloaded_error" => REFUSED,
        "permission_error" => FORBIDDEN,
        "not_found_error" => NOT_HERE,
        "rate_limit_error" => THROTTLED,
        "timeout_error" => TIMEOUT,
        "api_error" => INTERNAL,
        _ => return None,
    })
}

fn openai(kind: &str) -> Option<Verdict> {
    Some(match kind {
        "model_not_found" => NOT_HERE,
        "invalid_api_key" | "authentication_error" => CREDENTIAL,
        "insufficient_quota" | "rate_limit_exceeded" | "rate_limit_error" => THROTTLED,
        "overloaded_error" | "service_unavailable_error" => REFUSED,
        _ => return None,
    })
}

/// JSON-RPC codes as text; `tool_error` is a result with `isError`.
fn mcp(kind: &str) -> Option<Verdict> {
    Some(match kind {
        "tool_error" => (Class::Ambiguous, Reason::ToolError),
        "-32601" => NOT_HERE,
        // The gateway shaped these arguments for this server, so another target may still take them.
        "-32700" | "-32600" | "-32602" => (Class::NotHere, Reason::BadRequest),
        "-32603" => INTERNAL,
        _ => return None,
    })
}

fn by_status(status: u16) -> Verdict {
    match status {
        401 => CREDENTIAL,
        402 | 425 | 503 | 529 => REFUSED,
        403 => FORBIDDEN,
        300..=399 | 404 | 405 | 410 => NOT_HERE,
        408 | 504 => TIMEOUT,
        424 => MODEL_ERROR,
        429 => THROTTLED,
        409 => INTERNAL,
        400..=499 => BAD_REQUEST,
        _ => INTERNAL,
    }
}
