//! Writing a message request from a conversation that came in another protocol.
//!
//! Neighbouring turns of one role become one turn and tool results come first in theirs, as the API
//! requires. Empty texts and thinking without a signature are left out, because it refuses both.

use bytes::Bytes;
use outcrop_core::ask::{Part, Role, Turn};
use outcrop_core::{Chat, Protocol};
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::block::{Block, Item, document_origin, origin, text_block, tool_block};
use super::outgoing_tools::{Choice, ToolItem, choice, tools};
use crate::dialect::foreign::{refuse_block, refuse_extra};
use crate::dialect::guidance::{
    Limits, MAX_TOKENS_FALLBACK, enforced_schema, format_instruction, limits, offer, tool_id,
};
use crate::{Inexpressible, TargetModel};

/// What a refusal calls this protocol.
const TARGET: &str = "an Anthropic model";

/// Which body carries the conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// `POST /v1/messages`.
    Messages {
        /// Whether a stream is asked for.
        stream: bool,
    },
    /// Claude's body of Bedrock's `InvokeModel`.
    Invoke,
    /// `POST /v1/messages/count_tokens`: no limits, no sampling.
    CountTokens,
}

#[derive(Debug, Serialize)]
struct Body<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    model: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    anthropic_version: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_tokens: Option<u64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    system: Vec<Item<'a>>,
    messages: Vec<Message<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tools: Vec<ToolItem<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_choice: Option<Choice<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    thinking: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    output_config: Option<Value>,
    #[serde(flatten)]
    sampling: Option<Sampling<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<Value>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    stream: bool,
    #[serde(flatten)]
    extra: Map<String, Value>,
}

#[derive(Debug, Serialize)]
struct Sampling<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_p: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_k: Option<u64>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    stop_sequences: &'a [String],
}

#[derive(Debug, Serialize)]
struct Message<'a> {
    role: &'static str,
    content: Vec<Item<'a>>,
}

/// Writes a message request.
pub(crate) fn encode_request(
    chat: &Chat,
    stream: bool,
    target: &TargetModel<'_>,
) -> Result<Bytes, Inexpressible> {
    encode_form(chat, Form::Messages { stream }, target)
}

/// Writes the body of `form`.
pub(crate) fn encode_form(chat: &Chat, form: Form, target: &TargetModel<'_>) -> Result<Bytes, Inexpressible> {
    let at_home = chat.protocol == Some(Protocol::AnthropicMessages);
    if !at_home {
        refuse_extra(chat, TARGET)?;
    }
    if chat.sampling.n.is_some_and(|n| n > 1) {
        return Err(Inexpressible(format!("`n` above 1 cannot be said to {TARGET}.")));
    }
    let mut extra = if at_home { chat.extra.clone() } else { Map::new() };
    let native_tools = extra.shift_remove("tools");
    let kept_metadata = extra.shift_remove("metadata");
    let kept_config = extra.shift_remove("output_config");
    let fallback = target.max_tokens_default.unwrap_or(MAX_TOKENS_FALLBACK);
    let Limits { max_tokens, thinking, from_effort } = limits(chat, Some(fallback), target.max_tokens_cap)?;
    let chosen = (!from_effort).then_some(&chat.sampling);
    let offer = offer(chat);
    let counts_only = form == Form::CountTokens;
    let body = Body {
        model: (form != Form::Invoke).then_some(target.id),
        anthropic_version: (form == Form::Invoke).then_some("bedrock-2023-05-31"),
        max_tokens: max_tokens.filter(|_| !counts_only),
        system: system(chat)?,
        messages: messages(chat)?,
        tools: tools(&offer, native_tools),
        tool_choice: choice(chat, &offer),
        thinking,
        output_config: output_config(chat, kept_config),
        sampling: (!counts_only).then_some(Sampling {
            temperature: chosen.and_then(|sampling| sampling.temperature),
            top_p: chosen.and_then(|sampling| sampling.top_p),
            top_k: chosen.and_then(|sampling| sampling.top_k),
            stop_sequences: &chat.sampling.stop,
        }),
        metadata: metadata(chat, kept_metadata).filter(|_| !counts_only),
        stream: form == Form::Messages { stream: true },
        extra,
    };
    let bytes = serde_json::to_vec(&body).map_err(|error| Inexpressible(error.to_string()))?;
    Ok(Bytes::from(bytes))
}

fn system(chat: &Chat) -> Result<Vec<Item<'_>>, Inexpressible> {
    let mut items = items(chat, &chat.system)?;
    if let Some(text) = format_instruction(chat) {
        items.push(Item::own(Block::Text { text: text.into() }));
    }
    Ok(items)
}

fn messages(chat: &Chat) -> Result<Vec<Message<'_>>, Inexpressible> {
    let mut messages: Vec<Message<'_>> = Vec::with_capacity(chat.turns.len());
    for Turn { role, parts } in &chat.turns {
        let role = match role {
            Role::User => "user",
            Role::Assistant => "assistant",
        };
        let content = items(chat, parts)?;
        match messages.last_mut() {
            _ if content.is_empty() => {}
            Some(last) if last.role == role => last.content.extend(content),
            _ => messages.push(Message { role, content }),
        }
    }
    for message in &mut messages {
        message.content.sort_by_key(|item| !item.is_tool_result());
    }
    Ok(messages)
}

fn items<'a>(chat: &'a Chat, parts: &'a [Part]) -> Result<Vec<Item<'a>>, Inexpressible> {
    let mut items: Vec<Item<'a>> = Vec::with_capacity(parts.len());
    for part in parts {
        let block = match part {
            Part::Text(text) => text_block(text),
            Part::Image(media) => Some(Block::Image { source: origin(media) }),
            Part::Document { media, name } => {
                let source = document_origin(media).ok_or_else(|| unreadable(&media.media_type))?;
                Some(Block::Document { source, title: name.as_deref() })
            }
            Part::ToolUse { id, name, input } => Some(tool_block(id, name, input)),
            Part::ToolResult { id, content, is_error } => Some(Block::ToolResult {
                tool_use_id: tool_id(id),
                content: self::items(chat, content)?,
                is_error: *is_error,
            }),
            Part::Thinking { text, signature } => {
                signature.as_deref().map(|signature| Block::Thinking { thinking: text, signature })
            }
            Part::RedactedThinking(data) => Some(Block::RedactedThinking { data }),
            Part::CachePoint { ttl } => {
                if let Some(last) = items.last_mut() {
                    last.cache(ttl.as_deref());
                }
                None
            }
            Part::Native(value) => {
                if chat.protocol != Some(Protocol::AnthropicMessages) {
                    return Err(refuse_block(chat, value, TARGET));
                }
                items.push(Item::Native(value));
                None
            }
        };
        items.extend(block.map(Item::own));
    }
    Ok(items)
}

fn unreadable(media_type: &str) -> Inexpressible {
    Inexpressible(format!(
        "A document of type `{media_type}` cannot be read by {TARGET}; send PDF or plain text."
    ))
}

fn output_config(chat: &Chat, kept: Option<Value>) -> Option<Value> {
    let Some((_, schema)) = enforced_schema(chat) else { return kept };
    let mut config = match kept {
        Some(Value::Object(fields)) => fields,
        _ => Map::new(),
    };
    config.insert("format".to_owned(), json!({"type": "json_schema", "schema": schema}));
    Some(Value::Object(config))
}

fn metadata(chat: &Chat, kept: Option<Value>) -> Option<Value> {
    kept.or_else(|| chat.user.as_ref().map(|user| json!({"user_id": user})))
}
