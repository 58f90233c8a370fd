//! What an MCP server's answers and errors mean for the gateway.
//!
//! The rule is that of every path: `NotSent` needs proof. What a JSON-RPC code means is decided by
//! the one table in `outcrop-wire`; what an `isError` result means depends on the tool's effect.

use std::borrow::Cow;

use outcrop_core::failure::UpstreamError;
use outcrop_core::path::Effect;
use outcrop_core::reply::ChatReply;
use outcrop_core::{Class, Code, Failure, Origin, Protocol, Reason};
use outcrop_wire::mcp::Template;
use rmcp::model::{CallToolResult, ContentBlock, ErrorData, ServerResult};
use rmcp::service::{ClientInitializeError, ServiceError};
use rmcp::transport::DynamicTransportError;
use rmcp::transport::streamable_http_client::StreamableHttpError;

use super::http::{Carried, OVERSIZED};
use crate::outcome;

/// Longest text of a server that is passed on in an error.
const MESSAGE_CHARS_MAX: usize = 1000;

/// How a call fails.
#[derive(Debug)]
pub(super) enum CallError {
    /// The server no longer knows the session; it must be made anew.
    Expired,
    /// Anything else.
    Failed(Failure),
}

impl CallError {
    /// The failure, where nobody can make a session anew.
    pub(super) fn into_failure(self) -> Failure {
        match self {
            Self::Expired => {
                Failure::network(Reason::Reset, Class::Ambiguous, "the server no longer knows the session")
            }
            Self::Failed(failure) => failure,
        }
    }
}

/// A call that got no result; `closed` is why the connection ended, if it did.
pub(super) fn of_call(error: ServiceError, closed: Reason) -> CallError {
    CallError::Failed(match error {
        ServiceError::McpError(error) => of_error(&error),
        ServiceError::TransportSend(error) => return of_transport(&error),
        ServiceError::TransportClosed => {
            Failure::network(closed, Class::Ambiguous, "the connection ended before the result")
        }
        ServiceError::Timeout { .. } => outcome::late("no result in time"),
        other => Failure::network(Reason::Garbled, Class::Ambiguous, other.to_string()),
    })
}

fn of_transport(error: &DynamicTransportError) -> CallError {
    let inner = error.error.as_ref();
    if let Some(error) = inner.downcast_ref::<StreamableHttpError<Carried>>() {
        return of_http(error);
    }
    let broken_pipe = inner
        .downcast_ref::<std::io::Error>()
        .is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe);
    // A pipe nobody reads took no whole line, so nothing could run.
    let class = if broken_pipe { Class::NotSent } else { Class::Ambiguous };
    CallError::Failed(Failure::network(Reason::Reset, class, error.to_string()))
}

fn of_http(error: &StreamableHttpError<Carried>) -> CallError {
    let reason = match error {
        StreamableHttpError::SessionExpired => return CallError::Expired,
        StreamableHttpError::Client(Carried(failure)) => return CallError::Failed(failure.clone()),
        StreamableHttpError::TransportChannelClosed => Reason::Reset,
        _ => Reason::Garbled,
    };
    CallError::Failed(Failure::network(reason, Class::Ambiguous, error.to_string()))
}

/// No connection: whatever the reason, the call itself was never sent.
pub(super) fn of_connect(error: &ClientInitializeError) -> Failure {
    let failure = match error {
        ClientInitializeError::TransportError { error, .. } => of_transport(error).into_failure(),
        ClientInitializeError::JsonRpcError(error) => of_error(error),
        ClientInitializeError::LegacyFallbackFailed { fallback, .. } => of_connect(fallback),
        ClientInitializeError::ConnectionClosed(_) => {
            Failure::network(Reason::Connect, Class::NotSent, error.to_string())
        }
        other => Failure::network(Reason::Garbled, Class::NotSent, other.to_string()),
    };
    match failure.class {
        Class::Refused | Class::Credential => failure,
        // A pipe that broke under the handshake is a program that ended, whichever of the two is seen first.
        Class::NotSent if failure.reason == Reason::Reset => Failure { reason: Reason::Connect, ..failure },
        _ => Failure { class: Class::NotSent, ..failure },
    }
}

/// A JSON-RPC error of the server.
fn of_error(error: &ErrorData) -> Failure {
    if error.code == OVERSIZED {
        return Failure::network(Reason::Oversized, Class::Ambiguous, error.message.clone());
    }
    let told = error.data.as_ref().and_then(|data| data.get("status")?.as_u64());
    let status = match (error.code.0, told.and_then(|status| u16::try_from(status).ok())) {
        (_, Some(status @ 400..=599)) => status,
        (-32601, _) => 404,
        (-32700 | -32600 | -32602 | -32020 | -32021 | -32022, _) => 400,
        // The TypeScript SDK's code for a request that ran out of time on the server.
        (-32001, _) => 504,
        _ => 502,
    };
    let failure = outcome::refused(upstream(status, error.code.0.to_string(), &error.message), None);
    match error.code.0 {
        // The server and this gateway do not understand each other, which says nothing about others.
        -32022..=-32020 => Failure { class: Class::NotHere, ..failure },
        _ => failure,
    }
}

fn upstream(status: u16, kind: String, message: &str) -> UpstreamError {
    UpstreamError {
        protocol: Protocol::McpTool,
        status,
        kind,
        message: message.chars().take(MESSAGE_CHARS_MAX).collect(),
        request_id: String::new(),
    }
}

/// A result that is no tool result.
pub(super) fn of_result(result: ServerResult) -> Result<CallToolResult, Failure> {
    match result {
        ServerResult::CallToolResult(result) => Ok(result),
        ServerResult::InputRequiredResult(_) => Err(Failure {
            origin: Origin::Upstream,
            message: Cow::Borrowed("The tool asks for more input, which this path cannot give."),
            ..Failure::network(Reason::ToolError, Class::Ambiguous, "input_required")
        }),
        _ => Err(Failure::network(
            Reason::Garbled,
            Class::Ambiguous,
            "the answer to tools/call is not a tool result",
        )),
    }
}

/// The answer in a tool's result.
pub(super) fn of_tool(
    result: &CallToolResult,
    template: Option<&Template>,
    effect: Effect,
) -> Result<ChatReply, Failure> {
    let texts: Vec<&str> = result
        .content
        .iter()
        .filter_map(|block| match block {
            ContentBlock::Text(text) => Some(text.text.as_str()),
            _ => None,
        })
        .collect();
    if result.is_error == Some(true) {
        return Err(tool_error(&texts.join("\n"), effect));
    }
    let decoded = match template {
        None => outcrop_wire::mcp::reply(result.structured_content.as_ref(), &texts),
        Some(template) => {
            let whole = serde_json::to_value(result).unwrap_or_default();
            template.reply(&whole)
        }
    };
    decoded.map_err(|error| outcome::garbled(&error))
}

fn tool_error(text: &str, effect: Effect) -> Failure {
    let class = if effect.may_repeat() { Class::Ambiguous } else { Class::Permanent };
    let message = match text {
        "" => Cow::Borrowed("The tool reported an error without saying which."),
        text => Cow::Owned(text.chars().take(MESSAGE_CHARS_MAX).collect()),
    };
    Failure {
        origin: Origin::Upstream,
        reason: Reason::ToolError,
        class,
        code: Code::UpstreamFailed,
        detail: String::from("the result says isError"),
        upstream: Some(Box::new(upstream(502, "tool_error".into(), &message))),
        message,
        retry_after: None,
    }
}
