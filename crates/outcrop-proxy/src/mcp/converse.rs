//! The tool `converse`: a chat with a model, in the arguments and the result of one call.
//!
//! The arguments are those of an OpenAI chat, so they become the body of one and are read by the same
//! decoder with the same limits. Fields that this tool does not have are refused by name.

use std::sync::LazyLock;

use http::request::Parts;
use outcrop_core::ask::Part;
use outcrop_core::failure::{Code, Failure};
use outcrop_core::reply::ChatReply;
use outcrop_core::{Protocol, Reply};
use outcrop_wire::{AnswerContext, Route, encode_reply};
use rmcp::model::{CallToolResult, ContentBlock, JsonObject, MetaObject, Tool};
use serde_json::{Value, json};

use crate::clock::unix_now;
use crate::exchange::Conversed;
use crate::gateway::Limits;
use crate::headers::Wishes;
use crate::intake::{self, Call};

/// Name of the tool.
pub(super) const NAME: &str = "converse";

static INPUT: LazyLock<JsonObject> = LazyLock::new(|| {
    object(json!({
        "type": "object",
        "properties": {
            "model": {"type": "string", "description": "Which model answers."},
            "messages": {
                "type": "array", "items": {"type": "object"}, "minItems": 1,
                "description": "The conversation as OpenAI chat messages: roles system, user, \
                                assistant and tool; content as text or parts; tool_calls."
            },
            "tools": {
                "type": "array", "items": {"type": "object"},
                "description": "Tools the model may call, as OpenAI function tools."
            },
            "tool_choice": {"description": "`auto`, `none`, `required`, or one named function."},
            "max_tokens": {"type": "integer", "minimum": 1},
            "temperature": {"type": "number"},
            "top_p": {"type": "number"},
            "stop": {"description": "A stop sequence, or a list of them."},
            "response_format": {"type": "object"}
        },
        "required": ["model", "messages"],
        "additionalProperties": false
    }))
});

static OUTPUT: LazyLock<JsonObject> = LazyLock::new(|| {
    object(json!({
        "type": "object",
        "properties": {
            "model": {"type": "string"},
            "role": {"type": "string"},
            "content": {"type": ["string", "null"]},
            "tool_calls": {"type": "array", "items": {"type": "object"}},
            "finish_reason": {"type": ["string", "null"]},
            "usage": {"type": ["object", "null"]}
        },
        "required": ["role"]
    }))
});

/// The tool, for a caller that may use `models`.
pub(super) fn tool(models: &[&str]) -> Tool {
    let mut input = INPUT.clone();
    if let Some(model) = input.get_mut("properties").and_then(|p| p.get_mut("model")) {
        model["enum"] = models.into();
    }
    let mut tool = Tool::new(
        NAME,
        "Answers a conversation with a language model. The text comes as progress while it is made, \
         and whole in the result.",
        input,
    );
    tool.output_schema = Some(OUTPUT.clone().into());
    tool.with_annotations(rmcp::model::ToolAnnotations::new().read_only(true).open_world(true))
}

/// The call that the arguments and the headers of a request make.
pub(super) fn decode(
    arguments: Option<JsonObject>,
    head: &Parts,
    stream: bool,
    limits: &Limits,
) -> Result<Call, Failure> {
    let mut body = arguments.unwrap_or_default();
    let known = INPUT.get("properties").and_then(Value::as_object);
    if let Some(unknown) = body.keys().find(|key| known.is_none_or(|k| !k.contains_key(*key))) {
        let text = format!("`{unknown}` is not an argument of {NAME}; leave it out.");
        return Err(Failure::refusal(Code::InvalidRequest, text));
    }
    if stream {
        body.insert("stream".into(), true.into());
    }
    let route = Route { protocol: Protocol::McpTool, model: None, stream: None };
    let mut call = intake::open(&route, Value::Object(body).to_string().into(), limits)?;
    call.wishes = Wishes::read(&head.headers, unix_now())?;
    Ok(call)
}

/// The answer as the tool's result.
pub(super) fn encode(conversed: Conversed, model: &str) -> Result<CallToolResult, Failure> {
    let Conversed { reply, request_id, path } = conversed;
    let context = AnswerContext {
        request_id: request_id.as_str().to_owned(),
        model: model.to_owned(),
        created: unix_now().as_secs(),
        stream_usage: false,
        base64: false,
        latency_ms: 0,
    };
    let text = text_of(&reply);
    let encoded = encode_reply(Protocol::McpTool, &context, &Reply::Chat(reply));
    let structured = serde_json::from_slice(&encoded.body).map_err(|error| {
        Failure::refusal(Code::UpstreamFailed, "The answer cannot be said in MCP.")
            .with_detail(error.to_string())
    })?;
    let mut result = CallToolResult::structured(structured);
    result.content = vec![ContentBlock::text(text)];
    let mut meta = MetaObject::new();
    meta.0.insert("x-outcrop-request-id".into(), request_id.as_str().into());
    meta.0.insert("x-outcrop-path".into(), (*path).into());
    result.meta = Some(meta);
    Ok(result)
}

fn text_of(reply: &ChatReply) -> String {
    let texts = reply.parts.iter().filter_map(|part| match part {
        Part::Text(text) => Some(text.as_str()),
        _ => None,
    });
    texts.collect()
}

fn object(value: Value) -> JsonObject {
    match value {
        Value::Object(object) => object,
        _ => JsonObject::new(),
    }
}
