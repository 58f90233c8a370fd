//! Anthropic messages: requests, whole answers, streams of named server-sent events.
//!
//! Also the body of Claude on Bedrock's `InvokeModel`, which is the same shape with other wrapping.
//! Invariant: the signature of a thinking block leaves byte for byte as it came.

mod block;
mod decoder;
mod encoder;
mod outgoing;
mod outgoing_tools;
mod reply;
mod request;
mod usage;

#[cfg(test)]
mod tests;

pub(crate) use decoder::Decoder;
pub(crate) use encoder::Encoder;
pub(crate) use outgoing::{Form, encode_form, encode_request};
pub(crate) use reply::{decode_reply, encode_reply};
pub(crate) use request::decode_request;
pub(crate) use usage::Lives;

use outcrop_core::event::StopReason;

/// A stop reason as Anthropic spells it. A reason that is not known still ended the turn.
fn stop_reason(name: &str) -> StopReason {
    match name {
        "max_tokens" => StopReason::MaxTokens,
        "stop_sequence" => StopReason::StopSequence,
        "tool_use" => StopReason::ToolUse,
        "pause_turn" => StopReason::Pause,
        "refusal" => StopReason::Refusal,
        "model_context_window_exceeded" => StopReason::ContextWindow,
        _ => StopReason::EndTurn,
    }
}

/// What Anthropic says for a stop reason; what it cannot say becomes the nearest that does not read
/// as a finished answer.
fn stop_name(reason: StopReason) -> &'static str {
    match reason {
        StopReason::EndTurn => "end_turn",
        StopReason::MaxTokens => "max_tokens",
        StopReason::StopSequence => "stop_sequence",
        StopReason::ToolUse => "tool_use",
        StopReason::Pause => "pause_turn",
        StopReason::Filtered | StopReason::Refusal | StopReason::Malformed => "refusal",
        StopReason::ContextWindow => "model_context_window_exceeded",
    }
}
