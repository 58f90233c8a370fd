//! Writing a Converse body from a conversation that came in another protocol.
//!
//! Neighbouring turns of one role become one turn, as the service requires. Blank texts and thinking
//! without a signature are left out, because it refuses both.

use bytes::Bytes;
use outcrop_core::ask::{Part, Role, Turn};
use outcrop_core::{Chat, Protocol};
use serde::Serialize;
use serde_json::{Map, Value};

use super::block::{Block, Reasoning, document, image, text, tool_use};
use super::outgoing_fields::{Family, ToolConfig, family_limits, model_fields, output_config, tool_config};
use crate::dialect::foreign::{refuse_block, refuse_extra};
use crate::dialect::guidance::{Limits, NO_TOOLS, Offer, format_instruction, offer, tool_id};
use crate::{Inexpressible, TargetModel};

/// What a refusal calls this protocol.
pub(super) const TARGET: &str = "Bedrock Converse";

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Body<'a> {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    system: Vec<Block<'a>>,
    messages: Vec<Message<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    inference_config: Option<Inference<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_config: Option<ToolConfig<'a>>,
    #[serde(skip_serializing_if = "Map::is_empty")]
    additional_model_request_fields: Map<String, Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    additional_model_response_field_paths: Option<[&'static str; 1]>,
    #[serde(skip_serializing_if = "Map::is_empty")]
    output_config: Map<String, Value>,
    #[serde(flatten)]
    extra: Map<String, Value>,
}

#[derive(Debug, Serialize, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
struct Inference<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    max_tokens: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_p: Option<f64>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    stop_sequences: &'a [String],
}

#[derive(Debug, Serialize)]
struct Message<'a> {
    role: &'static str,
    content: Vec<Block<'a>>,
}

/// Writes a Converse request; whether it streams is said by the URL.
pub(crate) fn encode_request(
    chat: &Chat,
    _stream: bool,
    target: &TargetModel<'_>,
) -> Result<Bytes, Inexpressible> {
    let offer = offer(chat);
    let body = body(chat, &offer, target)?;
    let bytes = serde_json::to_vec(&body).map_err(|error| Inexpressible(error.to_string()))?;
    Ok(Bytes::from(bytes))
}

fn body<'a>(
    chat: &'a Chat,
    offer: &'a Offer<'a>,
    target: &TargetModel<'_>,
) -> Result<Body<'a>, Inexpressible> {
    let mut extra = Map::new();
    if is_home(chat) {
        extra.clone_from(&chat.extra);
    } else {
        refuse_extra(chat, TARGET)?;
    }
    if chat.sampling.n.is_some_and(|n| n > 1) {
        return Err(Inexpressible(format!("`n` above 1 cannot be said to {TARGET}.")));
    }
    let family = Family::of(target.id);
    let Limits { max_tokens, thinking, from_effort } = family_limits(chat, family, target)?;
    let chosen = (!from_effort).then_some(&chat.sampling);
    let top_k = chosen.and_then(|sampling| sampling.top_k);
    let inference = Inference {
        max_tokens,
        temperature: chosen.and_then(|sampling| sampling.temperature),
        top_p: chosen.and_then(|sampling| sampling.top_p),
        stop_sequences: &chat.sampling.stop,
    };
    let names_sequence = family == Family::Claude
        && !chat.sampling.stop.is_empty()
        && chat.protocol == Some(Protocol::AnthropicMessages);
    let native_tools = extra.shift_remove("toolConfig");
    let given = extra.shift_remove("additionalModelRequestFields");
    let kept_output = extra.shift_remove("outputConfig");
    Ok(Body {
        system: system(chat, offer, family)?,
        messages: messages(chat, family)?,
        inference_config: (inference != Inference::default()).then_some(inference),
        tool_config: tool_config(chat, offer, native_tools),
        additional_model_request_fields: model_fields(chat, family, top_k, thinking, given)?,
        additional_model_response_field_paths: names_sequence.then_some(["/stop_sequence"]),
        output_config: output_config(chat, kept_output),
        extra,
    })
}

fn is_home(chat: &Chat) -> bool {
    chat.protocol == Some(Protocol::BedrockConverse)
}

fn system<'a>(chat: &'a Chat, offer: &Offer<'_>, family: Family) -> Result<Vec<Block<'a>>, Inexpressible> {
    let mut system = blocks(chat, &chat.system, family)?;
    if offer.forbidden && chat.has_tool_history() {
        system.push(Block::Text(NO_TOOLS.into()));
    }
    system.extend(format_instruction(chat).map(|text| Block::Text(text.into())));
    Ok(system)
}

fn messages(chat: &Chat, family: Family) -> Result<Vec<Message<'_>>, Inexpressible> {
    let mut messages: Vec<Message<'_>> = Vec::with_capacity(chat.turns.len());
    for Turn { role, parts } in &chat.turns {
        let role = match role {
            Role::User => "user",
            Role::Assistant => "assistant",
        };
        let content = blocks(chat, parts, family)?;
        match messages.last_mut() {
            _ if content.is_empty() => {}
            Some(last) if last.role == role => last.content.extend(content),
            _ => messages.push(Message { role, content }),
        }
    }
    Ok(messages)
}

fn blocks<'a>(chat: &'a Chat, parts: &'a [Part], family: Family) -> Result<Vec<Block<'a>>, Inexpressible> {
    let mut blocks = Vec::with_capacity(parts.len());
    for part in parts {
        blocks.extend(match part {
            Part::Text(content) => text(content),
            Part::Image(media) => Some(image(media).map_err(Inexpressible)?),
            Part::Document { media, name } => Some(document(media, name.as_deref()).map_err(Inexpressible)?),
            Part::ToolUse { id, name, input } => Some(tool_use(id, name, input)),
            Part::ToolResult { id, content, is_error } => Some(Block::ToolResult {
                tool_use_id: tool_id(id),
                content: result_content(self::blocks(chat, content, family)?),
                status: if *is_error { "error" } else { "success" },
            }),
            Part::Thinking { text, signature: Some(signature) } => {
                let signature = Some(signature.as_str());
                Some(Block::ReasoningContent(Reasoning::ReasoningText { text, signature }))
            }
            Part::Thinking { signature: None, .. } => None,
            Part::RedactedThinking(data) => Some(Block::ReasoningContent(Reasoning::RedactedContent(data))),
            Part::CachePoint { ttl } => (family.caches() && !blocks.is_empty())
                .then_some(Block::CachePoint { kind: "default", ttl: ttl.as_deref() }),
            Part::Native(value) if is_home(chat) => Some(Block::Native(value)),
            Part::Native(value) => return Err(refuse_block(chat, value, TARGET)),
        });
    }
    Ok(blocks)
}

/// The content of a result without cache points, which have no place inside one.
fn result_content(mut blocks: Vec<Block<'_>>) -> Vec<Block<'_>> {
    blocks.retain(|block| !matches!(block, Block::CachePoint { .. }));
    blocks
}
