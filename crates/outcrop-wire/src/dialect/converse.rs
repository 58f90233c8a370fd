//! Bedrock Converse: requests, whole answers, event streams.
//!
//! The model and the stream flag stand in the URL, not here. Shapes are those of the service model of
//! `bedrock-runtime`; unions are objects with one field.

mod block;
mod decoder;
mod encoder;
mod outgoing;
mod outgoing_fields;
mod reply;
mod request;
mod usage;

#[cfg(test)]
mod tests;

pub(crate) use decoder::{Decoder, event_type};
pub(crate) use encoder::Encoder;
pub(crate) use outgoing::encode_request;
pub(crate) use reply::{decode_reply, encode_reply};
pub(crate) use request::decode_request;

use outcrop_core::event::StopReason;

/// A stop reason as Converse spells it. A reason that is not known still ended the turn.
pub(crate) fn stop_reason(name: &str) -> StopReason {
    match name {
        "tool_use" => StopReason::ToolUse,
        "max_tokens" => StopReason::MaxTokens,
        "stop_sequence" => StopReason::StopSequence,
        "guardrail_intervened" | "content_filtered" => StopReason::Filtered,
        "malformed_model_output" | "malformed_tool_use" => StopReason::Malformed,
        "model_context_window_exceeded" => StopReason::ContextWindow,
        _ => StopReason::EndTurn,
    }
}

/// What Converse says for a stop reason.
fn stop_name(reason: StopReason) -> &'static str {
    match reason {
        StopReason::EndTurn | StopReason::Pause => "end_turn",
        StopReason::ToolUse => "tool_use",
        StopReason::MaxTokens => "max_tokens",
        StopReason::StopSequence => "stop_sequence",
        StopReason::Filtered | StopReason::Refusal => "content_filtered",
        StopReason::Malformed => "malformed_model_output",
        StopReason::ContextWindow => "model_context_window_exceeded",
    }
}
