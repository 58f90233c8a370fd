//! Reading an upstream's error: status, headers and body, or an error inside a stream.
//!
//! A body that is not the expected JSON is never an error of its own: the status still speaks. Pages
//! of intermediaries are not passed on as messages.

use std::time::Duration;

use outcrop_core::failure::UpstreamError;
use outcrop_core::{Dialect, Protocol};
use serde_json::Value;

use super::table::{bedrock_status, canonical};

/// Longest message that is taken over from an upstream.
const MESSAGE_BYTES_MAX: usize = 4096;
/// Longest body without JSON that still counts as a message.
const PLAIN_BYTES_MAX: usize = 512;

/// Reads an error status of an upstream; `header` looks a response header up by lower-case name.
pub fn decode_error(
    protocol: Protocol,
    status: u16,
    header: &dyn Fn(&str) -> Option<String>,
    body: &[u8],
) -> UpstreamError {
    let json: Value = serde_json::from_slice(body).unwrap_or(Value::Null);
    let (kind, message) = match protocol.dialect() {
        Dialect::Bedrock => bedrock(header, &json),
        Dialect::OpenAi | Dialect::Anthropic => rest(&json),
        Dialect::Mcp => json_rpc(&json),
    };
    let message = if message.is_empty() && json.is_null() { plain_text(body) } else { message };
    UpstreamError { protocol, status, kind, message: capped(message), request_id: request_id(header, &json) }
}

/// When the upstream says a further try may help: `retry-after-ms`, `x-amz-retry-after` (both
/// milliseconds) or `retry-after` (seconds, fractions allowed); a date is not read. The caller caps it.
pub fn retry_hint(header: &dyn Fn(&str) -> Option<String>) -> Option<Duration> {
    let number = |name: &str| header(name).and_then(|text| text.trim().parse::<f64>().ok());
    let milliseconds = number("retry-after-ms").or_else(|| number("x-amz-retry-after"));
    let seconds = milliseconds.map(|ms| ms / 1000.0).or_else(|| number("retry-after"));
    seconds.and_then(|s| Duration::try_from_secs_f64(s).ok())
}

/// Reads an error event of an OpenAI or Anthropic stream, whose status is implied by its type.
pub(crate) fn stream_error(protocol: Protocol, data: &[u8]) -> UpstreamError {
    let json: Value = serde_json::from_slice(data).unwrap_or(Value::Null);
    let (kind, message) = rest(&json);
    UpstreamError {
        protocol,
        status: implied_status(&kind, &json),
        kind,
        message: capped(message),
        request_id: request_id(&|_| None, &json),
    }
}

/// Reads an exception frame of a Bedrock stream.
pub(crate) fn bedrock_exception(protocol: Protocol, kind: &str, payload: &[u8]) -> UpstreamError {
    let json: Value = serde_json::from_slice(payload).unwrap_or(Value::Null);
    UpstreamError {
        protocol,
        status: bedrock_status(kind),
        kind: kind.to_owned(),
        message: capped(first_text(&json, &["message", "Message", "originalMessage"])),
        request_id: String::new(),
    }
}

fn bedrock(header: &dyn Fn(&str) -> Option<String>, json: &Value) -> (String, String) {
    let named = header("x-amzn-errortype").filter(|name| !name.trim().is_empty());
    let named = named.unwrap_or_else(|| first_text(json, &["__type", "code"]));
    (canonical(&named).into_owned(), first_text(json, &["message", "Message", "errorMessage"]))
}

/// `{"error": {"type", "code", "message"}}` of OpenAI and Anthropic, and the looser shapes that
/// compatible servers send.
fn rest(json: &Value) -> (String, String) {
    let Some(error) = json.get("error") else {
        return (String::new(), first_text(json, &["message", "detail"]));
    };
    if let Some(text) = error.as_str() {
        return (String::new(), text.to_owned());
    }
    (first_text(error, &["type", "code"]), first_text(error, &["message"]))
}

fn json_rpc(json: &Value) -> (String, String) {
    let Some(error) = json.get("error") else { return (String::new(), String::new()) };
    let kind = error.get("code").and_then(Value::as_i64).map(|code| code.to_string());
    (kind.unwrap_or_default(), first_text(error, &["message"]))
}

fn implied_status(kind: &str, json: &Value) -> u16 {
    let code = json.get("error").and_then(|error| error.get("code")).and_then(Value::as_u64);
    if let Some(code @ 400..=599) = code {
        return code as u16;
    }
    match kind {
        "invalid_request_error" => 400,
        "authentication_error" | "invalid_api_key" => 401,
        "billing_error" => 402,
        "permission_error" => 403,
        "not_found_error" | "model_not_found" => 404,
        "request_too_large" => 413,
        "requests" | "tokens" | "rate_limit_error" | "rate_limit_exceeded" | "insufficient_quota" => 429,
        "service_unavailable_error" => 503,
        "timeout_error" => 504,
        "overloaded_error" => 529,
        _ => 500,
    }
}

fn request_id(header: &dyn Fn(&str) -> Option<String>, json: &Value) -> String {
    ["x-amzn-requestid", "request-id", "x-request-id"]
        .iter()
        .find_map(|name| header(name))
        .unwrap_or_else(|| first_text(json, &["request_id"]))
}

fn first_text(json: &Value, names: &[&str]) -> String {
    let mut texts = names.iter().filter_map(|name| json.get(name).and_then(Value::as_str));
    texts.find(|text| !text.is_empty()).unwrap_or_default().to_owned()
}

fn plain_text(body: &[u8]) -> String {
    match std::str::from_utf8(body) {
        Ok(text) if body.len() <= PLAIN_BYTES_MAX && !text.trim_start().starts_with('<') => {
            text.trim().to_owned()
        }
        _ => String::new(),
    }
}

fn capped(mut message: String) -> String {
    if message.len() > MESSAGE_BYTES_MAX {
        let end = (0..=MESSAGE_BYTES_MAX).rev().find(|at| message.is_char_boundary(*at));
        message.truncate(end.unwrap_or_default());
    }
    message
}
