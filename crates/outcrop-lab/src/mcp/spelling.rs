//! Errors as MCP spells them: protocol errors with a code, and error results that a model reads.
//!
//! The `type` of a scripted error chooses: `tool_error` (or `is_error`) gives an error result, any other a JSON-RPC
//! error of that name or, for a number, of that code. Without a type and with a status it is a plain HTTP error.

use rmcp::model::{CallToolResult, ContentBlock, ErrorCode, ErrorData};
use serde_json::json;

use crate::exchange::Injected;

/// A scripted error, spelled.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Spelled {
    /// An error result.
    Result(CallToolResult),
    /// A JSON-RPC error.
    Rpc(ErrorData),
    /// An HTTP status without JSON-RPC.
    Http,
}

/// Names of JSON-RPC errors and their codes; the last three are MCP's own.
const CODES: [(&str, i32); 8] = [
    ("parse_error", -32_700),
    ("invalid_request", -32_600),
    ("method_not_found", -32_601),
    ("invalid_params", -32_602),
    ("internal_error", -32_603),
    ("resource_not_found", -32_002),
    ("header_mismatch", -32_020),
    ("unsupported_protocol_version", -32_022),
];

/// Spells the error a script asks for.
pub(super) fn spelled(injected: &Injected) -> Spelled {
    let message = "scripted error of the lab";
    match injected.error_type.as_deref() {
        Some("tool_error" | "is_error" | "isError") => Spelled::Result(tool_error("scripted", message)),
        None if injected.status.is_some() => Spelled::Http,
        name => {
            let by_name = CODES.iter().find(|(known, _)| Some(*known) == name).map(|(_, code)| *code);
            let by_number = name.and_then(|name| name.parse().ok());
            let code = by_name.or(by_number).unwrap_or(ErrorCode::INTERNAL_ERROR.0);
            let data = injected.retry_after_s.map(|seconds| json!({"retryAfterSeconds": seconds}));
            Spelled::Rpc(ErrorData::new(ErrorCode(code), message, data))
        }
    }
}

/// An error result of some kind, with the text a model reads.
pub(super) fn tool_error(kind: &str, message: &str) -> CallToolResult {
    let mut result = CallToolResult::error(vec![ContentBlock::text(message)]);
    result.structured_content = Some(json!({"error": {"type": kind, "message": message}}));
    result
}

/// The tokens of this minute are spent.
pub(super) fn exhausted(retry_after_s: u64) -> CallToolResult {
    let message = format!("Rate limit reached. Try again in {retry_after_s} s.");
    let mut result = CallToolResult::error(vec![ContentBlock::text(message.clone())]);
    result.structured_content =
        Some(json!({"error": {"type": "rate_limit", "message": message, "retry_after_s": retry_after_s}}));
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_type_chooses_the_spelling() {
        let code = |error_type: Option<&str>, status: Option<u16>| {
            let injected = Injected {
                status: status.and_then(|status| http::StatusCode::from_u16(status).ok()),
                error_type: error_type.map(str::to_owned),
                retry_after_s: None,
            };
            match spelled(&injected) {
                Spelled::Result(_) => 0,
                Spelled::Rpc(error) => error.code.0,
                Spelled::Http => 1,
            }
        };
        assert_eq!(code(Some("tool_error"), None), 0);
        assert_eq!(code(Some("invalid_params"), None), -32_602);
        assert_eq!(code(Some("-32050"), None), -32_050);
        assert_eq!(code(Some("internal_error"), Some(500)), -32_603);
        assert_eq!(code(None, None), -32_603);
        assert_eq!(code(None, Some(503)), 1);
    }
}
