//! What is read of streams in formats that only pass: Nova's, Titan's, Llama's, Mistral's, and those
//! that answer as OpenAI does.
//!
//! Nova speaks Converse's events, each as an object with one field; the others repeat one object
//! until a reason to stop. In all of them Bedrock puts `amazon-bedrock-invocationMetrics` into the
//! last chunk, and that is the terminal event. Counts that run along are an account of what came so
//! far; the metrics overrule them, but not the model's own `usage`.

use outcrop_core::event::StopReason;
use outcrop_core::{Event, Usage};
use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::dialect::counted::{Counted, Tokens};
use crate::dialect::lenient::{List, Maybe};
use crate::dialect::{Events, converse};

/// Reads the chunks of one answer.
#[derive(Debug, Default)]
pub(super) struct Other {
    /// The model's own usage so far.
    seen: Usage,
}

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
    outputs: List<Maybe<Output>>,
    /// Those that answer as OpenAI does.
    #[serde(default)]
    choices: List<Maybe<Choice>>,
    usage: Option<Counted>,
    /// Llama, running along.
    #[serde(default)]
    prompt_token_count: Tokens,
    #[serde(default)]
    generation_token_count: Tokens,
    /// Titan, running along.
    #[serde(default, rename = "inputTextTokenCount")]
    titan_input: Tokens,
    #[serde(default, rename = "totalOutputTextTokenCount")]
    titan_output: Tokens,
    #[serde(rename = "amazon-bedrock-invocationMetrics")]
    metrics: Option<Counted>,
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

#[derive(Deserialize)]
struct Choice {
    finish_reason: Option<String>,
}

impl Other {
    /// Reads one chunk.
    pub(super) fn chunk(&mut self, text: &str, events: &mut Events) -> Result<(), serde_json::Error> {
        let chunk: Chunk = serde_json::from_str(text)?;
        let running = chunk.running();
        let is_lifecycle = chunk.nova_start.is_some() || chunk.nova_block_stop.is_some();
        if let Some(NovaStop { reason }) = chunk.nova_stop {
            let reason = converse::stop_reason(reason.as_deref().unwrap_or_default());
            events.push(Event::Stop { reason, sequence: None });
        } else if chunk.metadata.is_none() && !is_lifecycle {
            events.push(Event::Content { bytes: 0 });
            let reason = chunk.stop_reason.or(chunk.completion_reason);
            let reason = reason.or_else(|| chunk.outputs.0.into_iter().find_map(|o| o.0?.stop_reason));
            let reason = reason.or_else(|| chunk.choices.0.into_iter().find_map(|c| c.0?.finish_reason));
            if let Some(reason) = reason {
                events.push(Event::Stop { reason: plain_reason(&reason), sequence: None });
            }
        }
        count(running, events);
        let own = [chunk.usage, chunk.metadata.and_then(|metadata| metadata.usage)];
        for usage in own.iter().flatten().map(Counted::usage) {
            self.seen.merge(usage);
            count(usage, events);
        }
        if let Some(metrics) = chunk.metrics {
            count(metrics.beside(&self.seen), events);
            events.push(Event::Done);
        }
        Ok(())
    }
}

impl Chunk {
    /// What has run along so far.
    fn running(&self) -> Usage {
        Usage {
            input: self.prompt_token_count.0.or(self.titan_input.0),
            output: self.generation_token_count.0.or(self.titan_output.0),
            ..Usage::default()
        }
    }
}

fn count(usage: Usage, events: &mut Events) {
    if usage != Usage::default() {
        events.push(Event::Usage(usage));
    }
}

fn plain_reason(name: &str) -> StopReason {
    match name {
        "length" | "LENGTH" | "max_tokens" => StopReason::MaxTokens,
        "tool_calls" => StopReason::ToolUse,
        "CONTENT_FILTERED" | "content_filter" => StopReason::Filtered,
        _ => StopReason::EndTurn,
    }
}
