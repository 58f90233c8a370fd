//! Every documented Bedrock exception in both positions, and every code in every dialect.

use aws_smithy_eventstream::frame::read_message_from;
use bytes::BytesMut;
use outcrop_core::failure::{Class, Code, Reason, UpstreamError};
use outcrop_core::{Dialect, Protocol};
use serde_json::{Value, json};

use super::*;

const CODES: [Code; 19] = [
    Code::InvalidRequest,
    Code::Unauthenticated,
    Code::BudgetExceeded,
    Code::Forbidden,
    Code::UnknownModel,
    Code::KeyInUse,
    Code::TooLarge,
    Code::KeyReused,
    Code::PriceUnknown,
    Code::RateLimited,
    Code::OutcomeUnknown,
    Code::UpstreamFailed,
    Code::NoLegalTarget,
    Code::LedgerUnavailable,
    Code::Stopped,
    Code::Disabled,
    Code::Overloaded,
    Code::DeadlineInfeasible,
    Code::DeadlineExceeded,
];

const DIALECTS: [Dialect; 4] = [Dialect::OpenAi, Dialect::Anthropic, Dialect::Bedrock, Dialect::Mcp];

/// Name, status, class, reason: Bedrock runtime API reference, "Common errors" of `Converse`,
/// `ConverseStream`, `InvokeModel`, and the signing errors of AWS.
const BEDROCK: [(&str, u16, Class, Reason); 17] = [
    ("AccessDeniedException", 403, Class::Permanent, Reason::Forbidden),
    ("ConflictException", 400, Class::Permanent, Reason::BadRequest),
    ("InternalServerException", 500, Class::Ambiguous, Reason::Internal),
    ("ModelErrorException", 424, Class::Ambiguous, Reason::ModelError),
    ("ModelNotReadyException", 429, Class::Refused, Reason::ModelNotReady),
    ("ModelStreamErrorException", 424, Class::Ambiguous, Reason::ModelError),
    ("ModelTimeoutException", 408, Class::Ambiguous, Reason::ModelError),
    ("ResourceNotFoundException", 404, Class::NotHere, Reason::NotFound),
    ("ServiceQuotaExceededException", 400, Class::Refused, Reason::Throttled),
    ("ServiceUnavailableException", 503, Class::Refused, Reason::Unavailable),
    ("ThrottlingException", 429, Class::Refused, Reason::Throttled),
    ("ValidationException", 400, Class::Permanent, Reason::BadRequest),
    ("ExpiredTokenException", 403, Class::Credential, Reason::CredentialsRefused),
    ("InvalidSignatureException", 403, Class::Credential, Reason::CredentialsRefused),
    ("UnrecognizedClientException", 403, Class::Credential, Reason::CredentialsRefused),
    ("IncompleteSignatureException", 403, Class::Credential, Reason::CredentialsRefused),
    ("MissingAuthenticationTokenException", 403, Class::Credential, Reason::CredentialsRefused),
];

fn no_header(_: &str) -> Option<String> {
    None
}

fn upstream(protocol: Protocol, status: u16, kind: &str) -> UpstreamError {
    UpstreamError {
        protocol,
        status,
        kind: kind.into(),
        message: "upstream says no".into(),
        request_id: "up-1".into(),
    }
}

fn body(code: Code, upstream: Option<&UpstreamError>) -> ErrorBody<'_> {
    let message = "Own words.";
    ErrorBody { code, reason: Reason::Policy, message, request_id: "req-1", upstream, status_override: None }
}

#[test]
fn every_bedrock_exception_as_a_status() {
    for (name, status, class, reason) in BEDROCK {
        let typed = format!("{name}:http://internal.amazon.com/coral/com.amazon.bedrock/");
        let header = |wanted: &str| (wanted == "x-amzn-errortype").then(|| typed.clone());
        let by_header = decode_error(Protocol::BedrockConverse, status, &header, br#"{"message":"no"}"#);
        assert_eq!((by_header.kind.as_str(), by_header.message.as_str()), (name, "no"));
        assert_eq!(classify(&by_header), (class, reason), "{name} by header");

        let json = json!({"__type": format!("com.amazon.coral#{name}"), "Message": "no"});
        let by_body = decode_error(Protocol::BedrockInvoke, status, &no_header, json.to_string().as_bytes());
        assert_eq!((by_body.kind.as_str(), by_body.message.as_str()), (name, "no"));
        assert_eq!(classify(&by_body), (class, reason), "{name} by body");
    }
}

#[test]
fn every_bedrock_exception_as_a_frame() {
    for (name, status, class, reason) in BEDROCK {
        let mut camel = name.to_owned();
        camel[..1].make_ascii_lowercase();
        for spelled in [name, camel.as_str()] {
            let error = bedrock_exception(Protocol::BedrockConverse, spelled, br#"{"message":"no"}"#);
            assert_eq!(error.status, status, "{spelled}");
            assert_eq!(error.message, "no");
            assert_eq!(classify(&error), (class, reason), "{spelled}");
        }
    }
}

#[test]
fn bedrock_texts_that_change_the_meaning_of_a_name() {
    let check = |kind: &str, status, message: &str, expected| {
        let error =
            UpstreamError { message: message.into(), ..upstream(Protocol::BedrockConverse, status, kind) };
        assert_eq!(classify(&error).0, expected, "{message}");
    };
    check("AccessDeniedException", 403, "Bearer Token has expired", Class::Credential);
    check(
        "AccessDeniedException",
        403,
        "Authentication failed: Please make sure your API Key is valid.",
        Class::Credential,
    );
    check("ValidationException", 400, "The provided model identifier is invalid.", Class::NotHere);
    check("ValidationException", 400, "messages: at least one", Class::Permanent);
}

#[test]
fn errors_of_openai_anthropic_and_mcp() {
    use Protocol::{AnthropicMessages as A, McpTool as M, OpenAiChat as O};
    let rows = [
        (O, 400, "invalid_request_error", Class::Permanent, Reason::BadRequest),
        (O, 401, "invalid_request_error", Class::Credential, Reason::CredentialsRefused),
        (O, 403, "", Class::Permanent, Reason::Forbidden),
        (O, 404, "invalid_request_error", Class::NotHere, Reason::NotFound),
        (O, 408, "", Class::Ambiguous, Reason::Timeout),
        (O, 409, "", Class::Ambiguous, Reason::Internal),
        (O, 422, "", Class::Permanent, Reason::BadRequest),
        (O, 429, "tokens", Class::Refused, Reason::Throttled),
        (O, 500, "server_error", Class::Ambiguous, Reason::Internal),
        (O, 503, "server_error", Class::Refused, Reason::Unavailable),
        (O, 504, "", Class::Ambiguous, Reason::Timeout),
        (A, 400, "invalid_request_error", Class::Permanent, Reason::BadRequest),
        (A, 401, "authentication_error", Class::Credential, Reason::CredentialsRefused),
        (A, 402, "billing_error", Class::Refused, Reason::Unavailable),
        (A, 403, "permission_error", Class::Permanent, Reason::Forbidden),
        (A, 404, "not_found_error", Class::NotHere, Reason::NotFound),
        (A, 413, "request_too_large", Class::Permanent, Reason::BadRequest),
        (A, 429, "rate_limit_error", Class::Refused, Reason::Throttled),
        (A, 500, "api_error", Class::Ambiguous, Reason::Internal),
        (A, 504, "timeout_error", Class::Ambiguous, Reason::Timeout),
        (A, 529, "overloaded_error", Class::Refused, Reason::Unavailable),
        (A, 529, "", Class::Refused, Reason::Unavailable),
        (M, 200, "tool_error", Class::Ambiguous, Reason::ToolError),
        (M, 200, "-32601", Class::NotHere, Reason::NotFound),
        (M, 200, "-32602", Class::NotHere, Reason::BadRequest),
        (M, 200, "-32603", Class::Ambiguous, Reason::Internal),
        (M, 401, "", Class::Credential, Reason::CredentialsRefused),
        (M, 503, "", Class::Refused, Reason::Unavailable),
    ];
    for (protocol, status, kind, class, reason) in rows {
        let error = upstream(protocol, status, kind);
        assert_eq!(classify(&error), (class, reason), "{protocol:?} {status} {kind}");
    }
}

#[test]
fn errors_inside_a_stream_have_the_status_of_their_type() {
    let check = |protocol, kind: &str, status, class| {
        let data = json!({"type": "error", "error": {"type": kind, "message": "no"}});
        let error = stream_error(protocol, data.to_string().as_bytes());
        assert_eq!((error.kind.as_str(), error.status), (kind, status));
        assert_eq!(classify(&error).0, class, "{kind}");
    };
    check(Protocol::AnthropicMessages, "overloaded_error", 529, Class::Refused);
    check(Protocol::AnthropicMessages, "rate_limit_error", 429, Class::Refused);
    check(Protocol::AnthropicMessages, "api_error", 500, Class::Ambiguous);
    check(Protocol::AnthropicMessages, "timeout_error", 504, Class::Ambiguous);
    check(Protocol::AnthropicMessages, "invalid_request_error", 400, Class::Permanent);
    check(Protocol::OpenAiChat, "server_error", 500, Class::Ambiguous);
    check(Protocol::OpenAiChat, "requests", 429, Class::Refused);
    let coded = br#"{"error":{"message":"busy","code":503}}"#;
    assert_eq!(stream_error(Protocol::OpenAiChat, coded).status, 503);
}

#[test]
fn bodies_that_are_not_the_dialect_still_speak_by_status() {
    let read = |body: &[u8]| decode_error(Protocol::OpenAiChat, 502, &no_header, body);
    assert_eq!(read(b"<html>secret proxy page</html>").message, "");
    assert_eq!(read(b"upstream connect error\n").message, "upstream connect error");
    assert_eq!(read(br#"{"error":"plain"}"#).message, "plain");
    assert_eq!(read(br#"{"detail":"fastapi"}"#).message, "fastapi");
    assert_eq!(read(&[0xff; 40]).message, "");
    assert_eq!(classify(&read(b"")), (Class::Ambiguous, Reason::Internal));
    let long = format!(r#"{{"error":{{"message":"{}"}}}}"#, "é".repeat(5000));
    assert_eq!(read(long.as_bytes()).message.len(), 4096);
}

#[test]
fn retry_hints() {
    let hint = |name: &'static str, value: &'static str| {
        retry_hint(&|wanted| (wanted == name).then(|| value.to_owned())).map(|d| d.as_millis())
    };
    assert_eq!(hint("retry-after", "2"), Some(2000));
    assert_eq!(hint("retry-after", "0.5"), Some(500));
    assert_eq!(hint("retry-after-ms", "1500"), Some(1500));
    assert_eq!(hint("x-amz-retry-after", "250"), Some(250));
    assert_eq!(hint("retry-after", "-1"), None);
    assert_eq!(hint("retry-after", "NaN"), None);
    assert_eq!(hint("retry-after", "Wed, 21 Oct 2026 07:28:00 GMT"), None);
}

#[test]
fn every_code_in_every_dialect() {
    let mut lines = Vec::new();
    for dialect in DIALECTS {
        for code in CODES {
            let answer = encode_error(dialect, &body(code, None));
            assert_eq!(answer.status, code.status());
            lines.push(printed(&answer));
        }
    }
    insta::assert_snapshot!("own_refusals", lines.join("\n"));
}

#[test]
fn every_upstream_error_in_every_dialect() {
    let mut lines = Vec::new();
    let foreign = [
        (Protocol::AnthropicMessages, 529, "overloaded_error"),
        (Protocol::AnthropicMessages, 402, "billing_error"),
        (Protocol::OpenAiChat, 429, "tokens"),
        (Protocol::OpenAiChat, 400, "invalid_request_error"),
        (Protocol::McpTool, 200, "tool_error"),
        (Protocol::McpTool, 200, "-32603"),
    ];
    let bedrock = BEDROCK.iter().map(|row| (Protocol::BedrockConverse, row.1, row.0));
    for (protocol, status, kind) in bedrock.chain(foreign) {
        lines.push(format!("# {protocol:?} {status} {kind}"));
        let error = upstream(protocol, status, kind);
        for dialect in DIALECTS {
            let answer = encode_error(dialect, &body(Code::UpstreamFailed, Some(&error)));
            lines.push(printed(&answer));
        }
    }
    insta::assert_snapshot!("upstream_errors", lines.join("\n"));
}

#[test]
fn a_throttled_bedrock_target_stays_throttled_for_boto3() {
    let error = upstream(Protocol::BedrockConverse, 429, "throttlingException");
    let answer = encode_error(Dialect::Bedrock, &body(Code::UpstreamFailed, Some(&error)));
    assert_eq!(answer.status, 429);
    assert!(answer.headers.contains(&("x-amzn-errortype", "ThrottlingException".into())));
    let json: Value = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!(json["message"], "upstream says no");
    assert_eq!(json["code"], "upstream_failed");
}

#[test]
fn exception_frames_use_only_names_the_sdks_know() {
    let frame = |error: &ErrorBody<'_>, timeouts| {
        let mut out = BytesMut::new();
        exception_frame(error, timeouts, &mut out);
        let message = read_message_from(&mut out.freeze()).unwrap();
        let header = |name: &str| {
            let found = message.headers().iter().find(|h| h.name().as_str() == name).unwrap();
            found.value().as_string().unwrap().as_str().to_owned()
        };
        assert_eq!(header(":message-type"), "exception");
        assert_eq!(header(":content-type"), "application/json");
        let json: Value = serde_json::from_slice(message.payload()).unwrap();
        (header(":exception-type"), json)
    };
    let known = [
        "internalServerException",
        "modelStreamErrorException",
        "validationException",
        "throttlingException",
        "serviceUnavailableException",
    ];
    for code in CODES {
        let (name, json) = frame(&body(code, None), false);
        assert!(known.contains(&name.as_str()), "{name}");
        assert_eq!(json["code"], code.label());
    }
    let timeout = upstream(Protocol::BedrockInvoke, 408, "ModelTimeoutException");
    let timeout = body(Code::UpstreamFailed, Some(&timeout));
    assert_eq!(frame(&timeout, true).0, "modelTimeoutException");
    let (name, json) = frame(&timeout, false);
    assert_eq!(name, "modelStreamErrorException");
    assert_eq!(json["originalStatusCode"], 408);
}

fn printed(answer: &ErrorAnswer) -> String {
    let headers: Vec<String> =
        answer.headers.iter().map(|(name, value)| format!("{name}: {value}")).collect();
    let body = std::str::from_utf8(&answer.body).unwrap();
    format!("{} | {} | {body}", answer.status, headers.join(", "))
}

/// Whether the Python and the JavaScript SDKs of OpenAI and Anthropic would try again by themselves
/// (`_base_client.py` `_should_retry`, `client.ts` `shouldRetry`).
fn stainless_retries(answer: &ErrorAnswer) -> bool {
    match answer.headers.iter().find(|(name, _)| *name == "x-should-retry") {
        Some((_, value)) => value == "true",
        None => matches!(answer.status, 408 | 409 | 429 | 500..),
    }
}

/// Whether botocore would, in its legacy (`_retry.json`) or its standard mode
/// (`retries/standard.py`), or the JavaScript SDK (`service-error-classification`).
fn aws_retries(answer: &ErrorAnswer) -> bool {
    const NAMES: [&str; 15] = [
        "BandwidthLimitExceeded",
        "EC2ThrottledException",
        "LimitExceededException",
        "PriorRequestNotComplete",
        "ProvisionedThroughputExceededException",
        "RequestLimitExceeded",
        "RequestThrottled",
        "RequestThrottledException",
        "RequestTimeout",
        "RequestTimeoutException",
        "SlowDown",
        "ThrottledException",
        "Throttling",
        "ThrottlingException",
        "TooManyRequestsException",
    ];
    let kind = answer.headers.iter().find(|(name, _)| *name == "x-amzn-errortype").unwrap();
    NAMES.contains(&kind.1.as_str()) || matches!(answer.status, 429 | 500 | 502 | 503 | 504 | 509)
}

#[test]
fn clients_try_again_where_it_helps_and_never_when_money_ran_out() {
    let check = |code: Code, expected: bool| {
        for dialect in DIALECTS {
            let answer = encode_error(dialect, &body(code, None));
            assert_eq!(stainless_retries(&answer), expected, "{dialect:?} {code:?}");
            let inside: Value = serde_json::from_slice(&answer.body).unwrap();
            assert!(inside.to_string().contains(code.label()), "{inside}");
        }
        let answer = encode_error(Dialect::Bedrock, &body(code, None));
        assert_eq!(aws_retries(&answer), expected, "{code:?}");
    };
    check(Code::BudgetExceeded, false);
    check(Code::PriceUnknown, false);
    check(Code::Forbidden, false);
    check(Code::RateLimited, true);
    check(Code::LedgerUnavailable, true);
    check(Code::Stopped, true);
    check(Code::Disabled, true);
    check(Code::Overloaded, true);
}

#[test]
fn a_budget_refusal_can_be_a_429_in_every_dialect() {
    let refused = ErrorBody { status_override: Some(429), ..body(Code::BudgetExceeded, None) };
    let lines = DIALECTS.map(|dialect| printed(&encode_error(dialect, &refused)));
    insta::assert_snapshot!("budget_as_429", lines.join("\n"));
    // An upstream's own error keeps its status.
    let upstream = upstream(Protocol::OpenAiChat, 402, "insufficient_quota");
    let error = ErrorBody { upstream: Some(&upstream), ..refused };
    assert_eq!(encode_error(Dialect::OpenAi, &error).status, 402);
}

#[test]
fn a_signature_that_is_not_believed_has_the_name_that_aws_gives_it() {
    for (reason, name) in [
        (Reason::UnknownPair, "UnrecognizedClientException"),
        (Reason::ExpiredPair, "ExpiredTokenException"),
        (Reason::MalformedSignature, "IncompleteSignatureException"),
        (Reason::WrongSignature, "InvalidSignatureException"),
    ] {
        let body = ErrorBody { reason, ..body(Code::Unauthenticated, None) };
        let answer = encode_error(Dialect::Bedrock, &body);
        let typed = ("x-amzn-errortype", name.to_owned());
        assert!(answer.status == 403 && answer.headers.contains(&typed), "{answer:?}");
        assert_eq!(encode_error(Dialect::OpenAi, &body).status, 401);
    }
}
