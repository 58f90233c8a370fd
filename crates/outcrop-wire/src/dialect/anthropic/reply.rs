//! Whole answers: a message with its content blocks.

use bytes::Bytes;
use outcrop_core::Usage;
use outcrop_core::ask::Part;
use outcrop_core::reply::ChatReply;
use serde::Serialize;
use serde_json::{Value, json};

use super::block::{Block, Item, read_content, text_block, tool_block};
use super::usage::Reported;
use super::{stop_name, stop_reason};
use crate::dialect::counted::Counted;
use crate::dialect::object::Object;
use crate::{AnswerContext, Garbled, Rejection};

/// Reads a message.
pub(crate) fn decode_reply(body: &[u8]) -> Result<ChatReply, Garbled> {
    read(body).map_err(|rejection| Garbled(format!("Anthropic message: {rejection}")))
}

fn read(body: &[u8]) -> Result<ChatReply, Rejection> {
    let mut message = Object::parse(body)?;
    let content = message.take("content").ok_or_else(|| message.missing("content"))?;
    let mut parts = read_content(content, "content")?;
    parts.retain(|part| !matches!(part, Part::Native(_)));
    let usage = message.take("usage").unwrap_or_default();
    let usage = serde_json::from_value::<Counted>(usage).map(|counted| counted.usage()).unwrap_or_default();
    Ok(ChatReply {
        id: message.text("id")?.unwrap_or_default(),
        model: message.text("model")?.unwrap_or_default(),
        parts,
        stop: message.text("stop_reason")?.as_deref().map(stop_reason),
        stop_sequence: message.text("stop_sequence")?,
        usage,
    })
}

#[derive(Debug, Serialize)]
struct Message<'a> {
    id: String,
    #[serde(rename = "type")]
    kind: &'static str,
    role: &'static str,
    model: &'a str,
    content: Vec<Item<'a>>,
    stop_reason: Option<&'static str>,
    stop_sequence: Option<&'a str>,
    usage: Reported,
}

/// Writes a message.
pub(crate) fn encode_reply(context: &AnswerContext, reply: &ChatReply) -> Bytes {
    let message = Message {
        id: message_id(&reply.id, context),
        kind: "message",
        role: "assistant",
        model: &context.model,
        content: reply.parts.iter().filter_map(item).collect(),
        stop_reason: reply.stop.map(stop_name),
        stop_sequence: reply.stop_sequence.as_deref(),
        usage: reply.usage.into(),
    };
    Bytes::from(serde_json::to_vec(&message).expect("invariant: every key is a string"))
}

/// The upstream's id, or one made of ours.
pub(super) fn message_id(id: &str, context: &AnswerContext) -> String {
    if id.is_empty() { format!("msg_{}", context.request_id) } else { id.to_owned() }
}

/// `message_start` of a stream.
pub(super) fn start(id: &str, context: &AnswerContext, usage: Usage) -> Value {
    json!({"type": "message_start", "message": {
        "id": message_id(id, context), "type": "message", "role": "assistant",
        "model": context.model, "content": [], "stop_reason": null, "stop_sequence": null,
        "usage": Reported::from(usage)
    }})
}

fn item(part: &Part) -> Option<Item<'_>> {
    let block = match part {
        Part::Text(text) => text_block(text)?,
        Part::ToolUse { id, name, input } => tool_block(id, name, input),
        Part::Thinking { text, signature } => {
            Block::Thinking { thinking: text, signature: signature.as_deref().unwrap_or_default() }
        }
        Part::RedactedThinking(data) => Block::RedactedThinking { data },
        Part::Image(_)
        | Part::Document { .. }
        | Part::ToolResult { .. }
        | Part::CachePoint { .. }
        | Part::Native(_) => return None,
    };
    Some(Item::own(block))
}
