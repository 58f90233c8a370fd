//! Reading a request for a chat completion.
//!
//! Instructions (`system`, `developer`) move to the front, results of tools into user turns. What
//! only OpenAI has stays in `extra` or as native content, so that translating can refuse it by name.

mod content;

use outcrop_core::ask::{Format, Part, Role, Sampling, Thinking, Tool, ToolChoice, Turn};
use outcrop_core::{Ask, Chat, Protocol};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Map, Value, json};

pub(in super::super) use content::{parts, reasoning};

use super::super::message::participant_part;
use crate::Rejection;

/// A request; `model` and `stream` are the envelope's business.
#[derive(Deserialize)]
struct Request {
    #[serde(default, rename = "model")]
    _model: IgnoredAny,
    #[serde(default, rename = "stream")]
    _stream: IgnoredAny,
    #[serde(default)]
    messages: Vec<MessageIn>,
    #[serde(default)]
    tools: Option<Vec<Value>>,
    #[serde(default)]
    tool_choice: Option<Value>,
    #[serde(default)]
    parallel_tool_calls: Option<bool>,
    #[serde(default)]
    max_tokens: Option<u64>,
    #[serde(default)]
    max_completion_tokens: Option<u64>,
    #[serde(default)]
    temperature: Option<f64>,
    #[serde(default)]
    top_p: Option<f64>,
    #[serde(default)]
    stop: Option<Stop>,
    #[serde(default)]
    n: Option<u64>,
    #[serde(default)]
    seed: Option<i64>,
    #[serde(default)]
    response_format: Option<Value>,
    #[serde(default)]
    reasoning_effort: Option<String>,
    #[serde(default)]
    stream_options: Option<StreamOptions>,
    #[serde(default)]
    user: Option<String>,
    #[serde(flatten)]
    extra: Map<String, Value>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Stop {
    One(String),
    Many(Vec<String>),
}

#[derive(Deserialize)]
struct StreamOptions {
    #[serde(default)]
    include_usage: Option<bool>,
}

#[derive(Deserialize)]
struct MessageIn {
    role: RoleIn,
    #[serde(default)]
    content: Option<Value>,
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    tool_calls: Option<Vec<content::ToolCallIn>>,
    #[serde(default)]
    tool_call_id: Option<String>,
    #[serde(default)]
    refusal: Option<String>,
    #[serde(flatten)]
    extra: Map<String, Value>,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum RoleIn {
    System,
    Developer,
    User,
    Assistant,
    Tool,
    Function,
}

/// Reads a request.
pub(crate) fn decode_request(body: &[u8]) -> Result<Ask, Rejection> {
    let request: Request = match serde_json::from_slice(body) {
        Ok(request) => request,
        Err(_) => return Err(explain(body)),
    };
    chat(request).map(|chat| Ask::Chat(Box::new(chat)))
}

/// Reads once more to find the path of what is wrong; only failures pay for it.
fn explain(body: &[u8]) -> Rejection {
    let mut parser = serde_json::Deserializer::from_slice(body);
    let result: Result<Request, _> = serde_path_to_error::deserialize(&mut parser);
    match result {
        Err(error) => {
            let path = error.path().to_string();
            Rejection::of(path.clone(), format!("`{path}` cannot be read: {}.", error.inner()))
        }
        Ok(_) => Rejection::of("", "The body is not one JSON object."),
    }
}

fn chat(request: Request) -> Result<Chat, Rejection> {
    let mut chat = Chat {
        protocol: Some(Protocol::OpenAiChat),
        parallel_tools: request.parallel_tool_calls,
        sampling: Sampling {
            max_tokens: request.max_completion_tokens.or(request.max_tokens),
            temperature: request.temperature,
            top_p: request.top_p,
            top_k: None,
            stop: match request.stop {
                None => Vec::new(),
                Some(Stop::One(stop)) => vec![stop],
                Some(Stop::Many(stops)) => stops,
            },
            n: request.n,
            seed: request.seed,
        },
        stream_usage: request.stream_options.and_then(|o| o.include_usage).unwrap_or(false),
        user: request.user,
        extra: request.extra,
        ..Chat::default()
    };
    for (index, message) in request.messages.into_iter().enumerate() {
        push(&mut chat, index, message)?;
    }
    read_tools(&mut chat, request.tools.unwrap_or_default())?;
    read_tool_choice(&mut chat, request.tool_choice);
    read_format(&mut chat, request.response_format);
    chat.thinking = request.reasoning_effort.map(|effort| match effort.as_str() {
        "none" => Thinking::Off,
        _ => Thinking::Effort(effort),
    });
    Ok(chat)
}

fn push(chat: &mut Chat, index: usize, message: MessageIn) -> Result<(), Rejection> {
    let at = |field: &str| format!("messages[{index}].{field}");
    let MessageIn { role, content, name, tool_calls, tool_call_id, refusal, extra } = message;
    let mut parts = content::parts(content, &at("content"))?;
    match role {
        RoleIn::System | RoleIn::Developer => chat.system.append(&mut parts),
        RoleIn::Tool => {
            let Some(id) = tool_call_id else {
                let message = "A tool message needs `tool_call_id`, the id of the call it answers.";
                return Err(Rejection::of(at("tool_call_id"), message));
            };
            let result = Part::ToolResult { id, content: parts, is_error: false };
            push_result(&mut chat.turns, result);
        }
        RoleIn::User | RoleIn::Assistant | RoleIn::Function => {
            let mut lead = content::reasoning(&extra);
            lead.append(&mut parts);
            lead.extend(refusal.filter(|text| !text.is_empty()).map(Part::Text));
            for (number, call) in tool_calls.unwrap_or_default().into_iter().enumerate() {
                lead.push(call.part(&at(&format!("tool_calls[{number}]")))?);
            }
            lead.extend(content::native(extra));
            lead.extend(name.as_deref().map(participant_part));
            if role == RoleIn::Function {
                lead.push(Part::Native(json!({"type": "function message"})));
            }
            let role = if role == RoleIn::Assistant { Role::Assistant } else { Role::User };
            chat.turns.push(Turn { role, parts: lead });
        }
    }
    Ok(())
}

/// Results of one round of calls travel in one turn.
fn push_result(turns: &mut Vec<Turn>, result: Part) {
    match turns.last_mut() {
        Some(Turn { role: Role::User, parts }) if matches!(parts.last(), Some(Part::ToolResult { .. })) => {
            parts.push(result);
        }
        _ => turns.push(Turn { role: Role::User, parts: vec![result] }),
    }
}

#[derive(Deserialize)]
struct Function {
    name: String,
    #[serde(default)]
    description: Option<String>,
    #[serde(default)]
    parameters: Option<Value>,
    #[serde(default)]
    strict: Option<bool>,
}

fn read_tools(chat: &mut Chat, tools: Vec<Value>) -> Result<(), Rejection> {
    for (index, mut tool) in tools.into_iter().enumerate() {
        let kind = tool.get("type").and_then(Value::as_str).unwrap_or("function");
        if kind != "function" {
            let others = chat.extra.entry("tools").or_insert_with(|| json!([]));
            if let Some(list) = others.as_array_mut() {
                list.push(tool);
            }
            continue;
        }
        let function = tool.get_mut("function").map(Value::take).unwrap_or_default();
        let function: Function = serde_json::from_value(function).map_err(|error| {
            let path = format!("tools[{index}].function");
            Rejection::of(path.clone(), format!("`{path}` cannot be read: {error}."))
        })?;
        chat.tools.push(Tool {
            name: function.name,
            description: function.description,
            schema: function
                .parameters
                .filter(|schema| !schema.is_null())
                .unwrap_or_else(|| json!({"type": "object", "properties": {}})),
            strict: function.strict,
        });
    }
    Ok(())
}

fn read_tool_choice(chat: &mut Chat, choice: Option<Value>) {
    let Some(choice) = choice.filter(|value| !value.is_null()) else { return };
    let named = choice.pointer("/function/name").and_then(Value::as_str);
    chat.tool_choice = match (choice.as_str(), named) {
        (Some("auto"), _) => Some(ToolChoice::Auto),
        (Some("none"), _) => Some(ToolChoice::None),
        (Some("required"), _) => Some(ToolChoice::Any),
        (None, Some(name)) => Some(ToolChoice::Named(name.to_owned())),
        _ => {
            chat.extra.insert("tool_choice".to_owned(), choice);
            None
        }
    };
}

fn read_format(chat: &mut Chat, format: Option<Value>) {
    let Some(mut format) = format.filter(|value| !value.is_null()) else { return };
    chat.format = match format.get("type").and_then(Value::as_str) {
        Some("text") => None,
        Some("json_object") => Some(Format::JsonObject),
        Some("json_schema") => {
            let schema = format.pointer_mut("/json_schema/schema").map(Value::take);
            let text = |pointer: &str| format.pointer(pointer).and_then(Value::as_str);
            Some(Format::JsonSchema {
                name: text("/json_schema/name").unwrap_or("answer").to_owned(),
                schema: schema.unwrap_or_else(|| json!({"type": "object"})),
                strict: format.pointer("/json_schema/strict").and_then(Value::as_bool),
            })
        }
        _ => {
            chat.extra.insert("response_format".to_owned(), format);
            None
        }
    };
}
