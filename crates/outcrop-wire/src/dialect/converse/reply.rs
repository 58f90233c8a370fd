//! Whole answers of Converse.

use bytes::Bytes;
use outcrop_core::ask::Part;
use outcrop_core::reply::ChatReply;
use serde::Serialize;

use super::block::{Block, Reasoning, read_content, text, tool_use};
use super::usage::Reported;
use super::{stop_name, stop_reason};
use crate::dialect::counted::Counted;
use crate::dialect::object::Object;
use crate::{AnswerContext, Garbled, Rejection};

/// Reads an answer.
pub(crate) fn decode_reply(body: &[u8]) -> Result<ChatReply, Garbled> {
    read(body).map_err(|rejection| Garbled(format!("Converse answer: {rejection}")))
}

fn read(body: &[u8]) -> Result<ChatReply, Rejection> {
    let mut answer = Object::parse(body)?;
    let mut message = answer.required_object("output")?.required_object("message")?;
    let path = message.path("content");
    let content = message.take("content").ok_or_else(|| message.missing("content"))?;
    let mut parts = read_content(content, &path)?;
    parts.retain(|part| !matches!(part, Part::Native(_) | Part::CachePoint { .. }));
    let usage = answer.take("usage").unwrap_or_default();
    let usage = serde_json::from_value::<Counted>(usage).map(|counted| counted.usage()).unwrap_or_default();
    let sequence = answer.object("additionalModelResponseFields")?;
    Ok(ChatReply {
        id: String::new(),
        model: String::new(),
        parts,
        stop: answer.text("stopReason")?.as_deref().map(stop_reason),
        stop_sequence: sequence.map(|mut f| f.text("stop_sequence")).transpose()?.flatten(),
        usage,
    })
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Answer<'a> {
    output: Output<'a>,
    stop_reason: &'static str,
    usage: Reported,
    metrics: Metrics,
}

#[derive(Debug, Serialize)]
struct Output<'a> {
    message: Message<'a>,
}

#[derive(Debug, Serialize)]
struct Message<'a> {
    role: &'static str,
    content: Vec<Block<'a>>,
}

/// `metrics`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Metrics {
    /// Milliseconds from accept.
    pub(super) latency_ms: u64,
}

/// Writes an answer.
pub(crate) fn encode_reply(context: &AnswerContext, reply: &ChatReply) -> Bytes {
    let blocks = reply.parts.iter().filter_map(block).collect();
    let written = Answer {
        output: Output { message: Message { role: "assistant", content: blocks } },
        stop_reason: reply.stop.map_or("end_turn", stop_name),
        usage: reply.usage.into(),
        metrics: Metrics { latency_ms: context.latency_ms },
    };
    Bytes::from(serde_json::to_vec(&written).expect("invariant: every key is a string"))
}

fn block(part: &Part) -> Option<Block<'_>> {
    Some(match part {
        Part::Text(content) => return text(content),
        Part::ToolUse { id, name, input } => tool_use(id, name, input),
        Part::Thinking { text, signature } => {
            Block::ReasoningContent(Reasoning::ReasoningText { text, signature: signature.as_deref() })
        }
        Part::RedactedThinking(data) => Block::ReasoningContent(Reasoning::RedactedContent(data)),
        Part::Image(_)
        | Part::Document { .. }
        | Part::ToolResult { .. }
        | Part::CachePoint { .. }
        | Part::Native(_) => return None,
    })
}
