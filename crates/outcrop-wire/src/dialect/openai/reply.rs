//! Whole answers of chat completions.
//!
//! Several answers (`n`) pass only between two OpenAI sides; decoding reads the first. Reasoning
//! travels in `reasoning_content`, and with its signature in `thinking_blocks`.

use bytes::Bytes;
use outcrop_core::ask::Part;
use outcrop_core::event::StopReason;
use outcrop_core::reply::ChatReply;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::Reported;
use super::message::ToolCall;
use super::request::{parts, reasoning};
use crate::dialect::counted::Counted;
use crate::json::is_object;
use crate::{AnswerContext, Garbled};

#[derive(Deserialize)]
struct Completion {
    #[serde(default)]
    id: Option<String>,
    #[serde(default)]
    model: Option<String>,
    choices: Vec<Choice>,
    #[serde(default)]
    usage: Counted,
}

#[derive(Deserialize)]
struct Choice {
    message: Message,
    #[serde(default)]
    finish_reason: Option<String>,
}

/// The model's message in an answer.
#[derive(Deserialize, Default)]
pub(crate) struct Message {
    #[serde(default)]
    content: Option<Value>,
    #[serde(default)]
    refusal: Option<String>,
    #[serde(default)]
    tool_calls: Option<Vec<Call>>,
    #[serde(default, alias = "reasoning")]
    reasoning_content: Option<String>,
    #[serde(default)]
    thinking_blocks: Option<Value>,
}

#[derive(Deserialize)]
struct Call {
    #[serde(default)]
    id: Option<String>,
    function: Function,
}

#[derive(Deserialize)]
struct Function {
    name: String,
    #[serde(default)]
    arguments: Option<Value>,
}

/// Reads a whole answer.
pub(crate) fn decode_reply(body: &[u8]) -> Result<ChatReply, Garbled> {
    if !is_object(body) {
        return Err(Garbled("a chat completion that is no object".to_owned()));
    }
    let completion: Completion =
        serde_json::from_slice(body).map_err(|error| Garbled(format!("not a chat completion: {error}")))?;
    let Some(choice) = completion.choices.into_iter().next() else {
        return Err(Garbled("a chat completion without choices".to_owned()));
    };
    let mut reply = answer(choice.message, choice.finish_reason.as_deref())?;
    reply.id = completion.id.unwrap_or_default();
    reply.model = completion.model.unwrap_or_default();
    reply.usage = completion.usage.usage();
    Ok(reply)
}

/// The answer that a message and its finish reason are.
pub(crate) fn answer(message: Message, finish: Option<&str>) -> Result<ChatReply, Garbled> {
    let mut list = thinking(message.reasoning_content, message.thinking_blocks);
    let content = parts(message.content, "content").map_err(|error| Garbled(error.message))?;
    list.extend(content);
    let refusal = message.refusal.filter(|text| !text.is_empty());
    let refused = refusal.is_some();
    list.extend(refusal.map(Part::Text));
    for (index, call) in message.tool_calls.into_iter().flatten().enumerate() {
        list.push(Part::ToolUse {
            id: call.id.filter(|id| !id.is_empty()).unwrap_or_else(|| format!("call_{index}")),
            name: call.function.name,
            input: arguments(call.function.arguments),
        });
    }
    let stop = if refused { Some(StopReason::Refusal) } else { finish.map(stop_reason) };
    Ok(ChatReply { parts: list, stop, ..ChatReply::default() })
}

fn thinking(text: Option<String>, blocks: Option<Value>) -> Vec<Part> {
    let mut fields = Map::new();
    if let Some(blocks) = blocks {
        fields.insert("thinking_blocks".to_owned(), blocks);
    }
    let signed = reasoning(&fields);
    if !signed.is_empty() {
        return signed;
    }
    let text = text.filter(|text| !text.is_empty());
    text.map(|text| Part::Thinking { text, signature: None }).into_iter().collect()
}

/// Arguments as an object; text that is no JSON stays text, so that nothing is lost.
fn arguments(arguments: Option<Value>) -> Value {
    match arguments {
        None | Some(Value::Null) => json!({}),
        Some(Value::String(text)) if text.trim().is_empty() => json!({}),
        Some(Value::String(text)) => serde_json::from_str(&text).unwrap_or(Value::String(text)),
        Some(value) => value,
    }
}

/// The core's reason for a `finish_reason`; an unknown one is a plain end.
pub(crate) fn stop_reason(finish: &str) -> StopReason {
    match finish {
        "length" => StopReason::MaxTokens,
        "tool_calls" | "function_call" => StopReason::ToolUse,
        "content_filter" => StopReason::Filtered,
        _ => StopReason::EndTurn,
    }
}

/// The `finish_reason` for the core's reason.
pub(crate) fn finish_reason(reason: StopReason) -> &'static str {
    match reason {
        StopReason::EndTurn | StopReason::StopSequence | StopReason::Pause | StopReason::Malformed => "stop",
        StopReason::MaxTokens | StopReason::ContextWindow => "length",
        StopReason::ToolUse => "tool_calls",
        StopReason::Filtered | StopReason::Refusal => "content_filter",
    }
}

#[derive(Serialize)]
struct CompletionOut<'a> {
    id: &'a str,
    object: &'static str,
    created: u64,
    model: &'a str,
    choices: [ChoiceOut<'a>; 1],
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<Reported>,
}

#[derive(Serialize)]
struct ChoiceOut<'a> {
    index: u32,
    message: MessageOut<'a>,
    logprobs: Option<()>,
    finish_reason: &'static str,
}

/// The model's message as it is written.
#[derive(Serialize)]
pub(crate) struct MessageOut<'a> {
    role: &'static str,
    content: Option<String>,
    refusal: Option<()>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning_content: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    thinking_blocks: Vec<Value>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tool_calls: Vec<ToolCall<'a>>,
}

/// Writes a whole answer.
pub(crate) fn encode_reply(context: &AnswerContext, reply: &ChatReply) -> Bytes {
    let body = CompletionOut {
        id: if reply.id.is_empty() { &context.request_id } else { &reply.id },
        object: "chat.completion",
        created: context.created,
        model: &context.model,
        choices: [ChoiceOut {
            index: 0,
            message: message_out(&reply.parts),
            logprobs: None,
            finish_reason: finish_reason(reply.stop.unwrap_or(StopReason::EndTurn)),
        }],
        usage: Reported::of(reply.usage),
    };
    Bytes::from(serde_json::to_vec(&body).expect("invariant: string keys and finite numbers"))
}

/// The message that `parts` are.
pub(crate) fn message_out(parts: &[Part]) -> MessageOut<'_> {
    let mut content: Option<String> = None;
    let mut thoughts: Option<String> = None;
    for part in parts {
        match part {
            Part::Text(text) => content.get_or_insert_default().push_str(text),
            Part::Thinking { text, .. } => thoughts.get_or_insert_default().push_str(text),
            _ => {}
        }
    }
    MessageOut {
        role: "assistant",
        content,
        refusal: None,
        reasoning_content: thoughts,
        thinking_blocks: parts.iter().filter_map(thinking_block).collect(),
        tool_calls: parts.iter().filter_map(ToolCall::of).collect(),
    }
}

/// Reasoning that the provider wants back unchanged.
fn thinking_block(part: &Part) -> Option<Value> {
    match part {
        Part::Thinking { text, signature: Some(signature) } => {
            Some(json!({"type": "thinking", "thinking": text, "signature": signature}))
        }
        Part::RedactedThinking(data) => Some(json!({"type": "redacted_thinking", "data": data})),
        _ => None,
    }
}
