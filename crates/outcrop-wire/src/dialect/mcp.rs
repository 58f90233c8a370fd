//! Arguments and results of the MCP tool that answers a chat.
//!
//! The default mapping is for tools made for this gateway: the arguments are an OpenAI conversation,
//! the structured result is an OpenAI message with its usage. A `Template` is for every other tool.
//! Knows nothing of sessions, transports or JSON-RPC; those belong to the official SDK.

mod template;

use bytes::Bytes;
use outcrop_core::ask::Part;
use outcrop_core::event::StopReason;
use outcrop_core::reply::ChatReply;
use outcrop_core::{Ask, Chat, Protocol};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::counted::Counted;
use super::{foreign, openai};
use crate::{AnswerContext, Envelope, Garbled, Inexpressible, Rejection, TargetModel};

pub use template::{ResultPointers, Template, TemplateError};

/// How refusals name this protocol.
const TARGET: &str = "an MCP tool";

/// The arguments of the default mapping: `model`, `messages` (instructions first), and whatever of
/// `tools`, `tool_choice`, `parallel_tool_calls`, `max_tokens`, `temperature`, `top_p`, `stop`,
/// `response_format` was asked.
pub fn arguments(envelope: &Envelope, target: &TargetModel<'_>) -> Result<Map<String, Value>, Inexpressible> {
    let chat = conversation(envelope)?;
    refuse_what_has_no_argument(chat)?;
    let mut arguments = Map::new();
    arguments.insert("model".to_owned(), json!(target.id));
    arguments.insert("messages".to_owned(), value(&openai::messages(chat)?));
    let sampling = &chat.sampling;
    let mut put = |key: &str, argument: Option<Value>| {
        if let Some(argument) = argument {
            arguments.insert(key.to_owned(), argument);
        }
    };
    put("tools", (!chat.tools.is_empty()).then(|| value(&openai::tools(&chat.tools))));
    put("tool_choice", chat.tool_choice.as_ref().map(openai::tool_choice));
    let one_by_one = chat.parallel_tools.filter(|_| !chat.tools.is_empty());
    put("parallel_tool_calls", one_by_one.map(Value::Bool));
    put("max_tokens", target.limit(sampling.max_tokens).map(Value::from));
    put("temperature", sampling.temperature.map(Value::from));
    put("top_p", sampling.top_p.map(Value::from));
    put("stop", (!sampling.stop.is_empty()).then(|| json!(sampling.stop)));
    put("response_format", chat.format.as_ref().map(openai::response_format));
    Ok(arguments)
}

/// The conversation in `envelope`.
fn conversation(envelope: &Envelope) -> Result<&Chat, Inexpressible> {
    match envelope.ask() {
        Ok(Ask::Chat(chat)) => foreign::refuse_empty(chat).map(|()| &**chat),
        Ok(_) => Err(Inexpressible("Only a conversation can travel as an MCP tool.".to_owned())),
        Err(rejection) => Err(Inexpressible(rejection.message.clone())),
    }
}

/// Everything that the arguments have no place for and that would change the answer.
fn refuse_what_has_no_argument(chat: &Chat) -> Result<(), Inexpressible> {
    foreign::refuse_extra(chat, TARGET)?;
    let asked = [
        ("n", chat.sampling.n.is_some_and(|n| n > 1)),
        ("top_k", chat.sampling.top_k.is_some()),
        ("thinking", chat.thinking.as_ref().is_some_and(|t| *t != outcrop_core::ask::Thinking::Off)),
    ];
    match asked.iter().find(|(_, asked)| *asked) {
        Some((field, _)) => Err(Inexpressible(format!(
            "`{field}` cannot be said to {TARGET}; leave it out or use a model that a direct path \
             serves."
        ))),
        None => Ok(()),
    }
}

/// The result of the default mapping.
#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    model: Option<String>,
    #[serde(default)]
    finish_reason: Option<String>,
    #[serde(default)]
    usage: Counted,
    #[serde(flatten)]
    message: openai::Message,
}

/// The answer of the default mapping.
///
/// `structured` is the result's `structuredContent`: `{model, role, content, tool_calls,
/// finish_reason, usage}`. Without it (or when it is of another shape) the text blocks are the
/// answer, unless a single one is itself such an object. Usage that was not reported stays unknown.
pub fn reply(structured: Option<&Value>, texts: &[&str]) -> Result<ChatReply, Garbled> {
    if let Some(answer) = structured.filter(|value| is_answer(value)) {
        return read(answer.clone());
    }
    if let [text] = texts {
        let inner = serde_json::from_str(text).ok().filter(is_answer);
        if let Some(answer) = inner {
            return read(answer);
        }
    }
    let parts: Vec<Part> = texts.iter().map(|text| Part::Text((*text).to_owned())).collect();
    match (parts.is_empty(), structured) {
        (false, _) => Ok(ChatReply { parts, stop: Some(StopReason::EndTurn), ..ChatReply::default() }),
        (true, Some(other)) => Err(Garbled(format!(
            "the tool's structured result has neither `content` nor `tool_calls`: it has {}",
            keys(other)
        ))),
        (true, None) => Err(Garbled("the tool's result holds no text".to_owned())),
    }
}

/// Whether a value is an answer of the default mapping rather than any JSON.
fn is_answer(value: &Value) -> bool {
    let content = value.get("content").is_some_and(|c| c.is_string() || c.is_array());
    content || value.get("tool_calls").is_some_and(Value::is_array)
}

fn read(answer: Value) -> Result<ChatReply, Garbled> {
    let answer: Answer = serde_json::from_value(answer)
        .map_err(|error| Garbled(format!("the tool's structured result: {error}")))?;
    let finish = answer.finish_reason.as_deref();
    let mut reply = openai::answer(answer.message, finish)?;
    if reply.stop.is_none() {
        let calls = reply.parts.iter().any(|part| matches!(part, Part::ToolUse { .. }));
        reply.stop = Some(if calls { StopReason::ToolUse } else { StopReason::EndTurn });
    }
    reply.model = answer.model.unwrap_or_default();
    reply.usage = answer.usage.usage();
    Ok(reply)
}

fn keys(value: &Value) -> String {
    let keys: Vec<&str> = value.as_object().into_iter().flatten().map(|(k, _)| k.as_str()).collect();
    format!("[{}]", keys.join(", "))
}

/// Reads the arguments of a caller's `tools/call`.
pub(crate) fn decode_request(body: &[u8]) -> Result<Ask, Rejection> {
    let mut ask = openai::decode_request(body)?;
    if let Ask::Chat(chat) = &mut ask {
        chat.protocol = Some(Protocol::McpTool);
    }
    Ok(ask)
}

/// Writes the arguments as a body.
pub(crate) fn encode_request(envelope: &Envelope, target: &TargetModel<'_>) -> Result<Bytes, Inexpressible> {
    arguments(envelope, target).map(|arguments| Bytes::from(Value::Object(arguments).to_string()))
}

/// Reads a structured result.
pub(crate) fn decode_reply(body: &[u8]) -> Result<ChatReply, Garbled> {
    let value: Value = serde_json::from_slice(body)
        .map_err(|error| Garbled(format!("the tool's structured result: {error}")))?;
    reply(Some(&value), &[])
}

#[derive(Serialize)]
struct AnswerOut<'a> {
    model: &'a str,
    #[serde(flatten)]
    message: openai::MessageOut<'a>,
    finish_reason: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<openai::Reported>,
}

/// Writes a structured result.
pub(crate) fn encode_reply(context: &AnswerContext, reply: &ChatReply) -> Bytes {
    let body = AnswerOut {
        model: &context.model,
        message: openai::message_out(&reply.parts),
        finish_reason: openai::finish_reason(reply.stop.unwrap_or(StopReason::EndTurn)),
        usage: openai::Reported::of(reply.usage),
    };
    Bytes::from(serde_json::to_vec(&body).expect("invariant: string keys and finite numbers"))
}

fn value(of: &impl Serialize) -> Value {
    serde_json::to_value(of).expect("invariant: string keys and finite numbers")
}

#[cfg(test)]
mod tests;
