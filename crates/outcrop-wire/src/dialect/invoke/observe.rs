//! What is read of streams in formats that only pass: Nova's, Titan's, Llama's, Mistral's.
//!
//! Nova speaks Converse's events, each as an object with one field; the others repeat one object
//! until a reason to stop. In all of them Bedrock puts `amazon-bedrock-invocationMetrics` into the
//! last chunk, and that is the terminal event.

use outcrop_core::event::StopReason;
use outcrop_core::{Event, Usage};
use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::dialect::Events;
use crate::dialect::anthropic::Metrics;
use crate::dialect::converse::{self, Counted};

#[derive(Deserialize)]
struct Chunk {
    #[serde(rename = "messageStart")]
    nova_start: Option<IgnoredAny>,
    #[serde(rename = "contentBlockStop")]
    nova_block_stop: Option<IgnoredAny>,
    #[serde(rename = "messageStop")]
    nova_stop: Option<NovaStop>,
    metadata: Option<NovaMetadata>,
    /// Llama.
    stop_reason: Option<String>,
    /// Titan.
    #[serde(rename = "completionReason")]
    completion_reason: Option<String>,
    /// Mistral.
    #[serde(default)]
    outputs: Vec<Output>,
    #[serde(rename = "amazon-bedrock-invocationMetrics")]
    metrics: Option<Metrics>,
}

#[derive(Deserialize)]
struct NovaStop {
    #[serde(rename = "stopReason")]
    reason: Option<String>,
}

#[derive(Deserialize)]
struct NovaMetadata {
    usage: Option<Counted>,
}

#[derive(Deserialize)]
struct Output {
    stop_reason: Option<String>,
}

/// Reads one chunk.
pub(super) fn chunk(text: &str, events: &mut Events) -> Result<(), serde_json::Error> {
    let chunk: Chunk = serde_json::from_str(text)?;
    let is_lifecycle = chunk.nova_start.is_some() || chunk.nova_block_stop.is_some();
    if let Some(NovaStop { reason }) = chunk.nova_stop {
        let reason = converse::stop_reason(reason.as_deref().unwrap_or_default());
        events.push(Event::Stop { reason, sequence: None });
    } else if chunk.metadata.is_none() && !is_lifecycle {
        events.push(Event::Content { bytes: 0 });
        let reason = chunk.stop_reason.or(chunk.completion_reason);
        let reason = reason.or_else(|| chunk.outputs.into_iter().find_map(|o| o.stop_reason));
        if let Some(reason) = reason {
            events.push(Event::Stop { reason: plain_reason(&reason), sequence: None });
        }
    }
    let mut seen = Usage::default();
    if let Some(usage) = chunk.metadata.and_then(|metadata| metadata.usage) {
        seen = usage.usage();
        events.push(Event::Usage(seen));
    }
    if let Some(metrics) = chunk.metrics {
        let missing = metrics.beside(&seen);
        if missing != Usage::default() {
            events.push(Event::Usage(missing));
        }
        events.push(Event::Done);
    }
    Ok(())
}

fn plain_reason(name: &str) -> StopReason {
    match name {
        "length" | "LENGTH" | "max_tokens" => StopReason::MaxTokens,
        "CONTENT_FILTERED" => StopReason::Filtered,
        _ => StopReason::EndTurn,
    }
}
