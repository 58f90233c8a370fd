//! Reading a `POST /v1/messages` body.
//!
//! The model and the stream flag belong to the envelope. Fields without a word in core stay in
//! `extra` as they came; so do tools that only Anthropic runs (`web_search_…`), under `tools`.

use outcrop_core::ask::{Format, Role, Sampling, Thinking, Tool, ToolChoice, Turn};
use outcrop_core::{Ask, Chat, Protocol};
use serde_json::{Map, Value, json};

use super::block::read_content;
use crate::Rejection;
use crate::dialect::object::{Object, wrong};

/// Reads the body of a message request.
pub(crate) fn decode_request(body: &[u8]) -> Result<Ask, Rejection> {
    let mut fields = Object::parse(body)?;
    for handled in ["model", "stream", "anthropic_version", "anthropic_beta"] {
        fields.take(handled);
    }
    let mut chat = Chat {
        turns: read_turns(&mut fields)?,
        sampling: read_sampling(&mut fields)?,
        protocol: Some(Protocol::AnthropicMessages),
        ..Chat::default()
    };
    let path = fields.path("system");
    if let Some(system) = fields.take("system") {
        chat.system = read_content(system, &path)?;
    }
    let native_tools = read_tools(&mut fields, &mut chat)?;
    read_choice(&mut fields, &mut chat)?;
    chat.thinking = read_thinking(&mut fields)?;
    let left = read_output_config(&mut fields, &mut chat)?;
    let left_user = read_user(&mut fields, &mut chat)?;
    chat.extra = fields.rest();
    for (name, value) in [("tools", native_tools), ("output_config", left), ("metadata", left_user)] {
        if let Some(value) = value {
            chat.extra.insert(name.to_owned(), value);
        }
    }
    Ok(Ask::Chat(Box::new(chat)))
}

fn read_turns(fields: &mut Object) -> Result<Vec<Turn>, Rejection> {
    let messages = fields.list("messages")?;
    if messages.is_empty() {
        return Err(fields.missing("messages"));
    }
    let mut turns = Vec::with_capacity(messages.len());
    for (at, message) in messages {
        let mut message = Object::of(message, at)?;
        let role = match message.required_text("role")?.as_str() {
            "user" => Role::User,
            "assistant" => Role::Assistant,
            _ => return Err(wrong(message.path("role"), "`user` or `assistant`")),
        };
        let path = message.path("content");
        let content = message.take("content").ok_or_else(|| message.missing("content"))?;
        turns.push(Turn { role, parts: read_content(content, &path)? });
    }
    Ok(turns)
}

fn read_sampling(fields: &mut Object) -> Result<Sampling, Rejection> {
    Ok(Sampling {
        max_tokens: fields.count("max_tokens")?,
        temperature: fields.number("temperature")?,
        top_p: fields.number("top_p")?,
        top_k: fields.count("top_k")?,
        stop: fields.texts("stop_sequences")?,
        n: None,
        seed: None,
    })
}

/// Reads the tools into `chat`; hands back those that only Anthropic can run.
fn read_tools(fields: &mut Object, chat: &mut Chat) -> Result<Option<Value>, Rejection> {
    let mut native = Vec::new();
    for (at, tool) in fields.list("tools")? {
        if is_native_tool(&tool) {
            native.push(tool);
            continue;
        }
        let mut tool = Object::of(tool, at)?;
        chat.tools.push(Tool {
            name: tool.required_text("name")?,
            description: tool.text("description")?,
            schema: tool.take("input_schema").ok_or_else(|| tool.missing("input_schema"))?,
            strict: tool.flag("strict")?,
        });
    }
    Ok((!native.is_empty()).then_some(Value::Array(native)))
}

/// Whether a tool says more than core has words for.
fn is_native_tool(tool: &Value) -> bool {
    let known = |(name, value): (&String, &Value)| match name.as_str() {
        "type" => value.is_null() || value == "custom",
        "name" | "description" | "input_schema" | "strict" | "cache_control" | "eager_input_streaming" => {
            true
        }
        _ => false,
    };
    tool.as_object().is_some_and(|fields| !fields.iter().all(known))
}

fn read_choice(fields: &mut Object, chat: &mut Chat) -> Result<(), Rejection> {
    let Some(mut choice) = fields.object("tool_choice")? else { return Ok(()) };
    chat.tool_choice = Some(match choice.required_text("type")?.as_str() {
        "auto" => ToolChoice::Auto,
        "any" => ToolChoice::Any,
        "none" => ToolChoice::None,
        "tool" => ToolChoice::Named(choice.required_text("name")?),
        _ => return Err(wrong(choice.path("type"), "`auto`, `any`, `tool` or `none`")),
    });
    chat.parallel_tools = choice.flag("disable_parallel_tool_use")?.map(|disabled| !disabled);
    Ok(())
}

fn read_thinking(fields: &mut Object) -> Result<Option<Thinking>, Rejection> {
    let Some(form) = fields.take("thinking") else { return Ok(None) };
    let kind = form.get("type").and_then(Value::as_str);
    let budget = form.get("budget_tokens").and_then(Value::as_u64);
    let extras = form.as_object().map_or(0, Map::len);
    match (kind, budget, extras) {
        (None, ..) => Err(wrong(fields.path("thinking"), "an object with a `type`")),
        (Some("disabled"), ..) => Ok(Some(Thinking::Off)),
        (Some("enabled"), Some(budget), 2) => Ok(Some(Thinking::Budget(budget))),
        _ => Ok(Some(Thinking::Native(form))),
    }
}

/// Reads the required shape and, where nothing else says how much to think, the effort. Hands back
/// what core has no place for.
fn read_output_config(fields: &mut Object, chat: &mut Chat) -> Result<Option<Value>, Rejection> {
    let earlier_form = fields.object("output_format")?;
    let Some(mut config) = fields.object("output_config")? else {
        chat.format = earlier_form.map(read_format).transpose()?;
        return Ok(None);
    };
    chat.format = config.object("format")?.or(earlier_form).map(read_format).transpose()?;
    if chat.thinking.is_none() {
        chat.thinking = config.text("effort")?.map(Thinking::Effort);
    }
    let rest = config.rest();
    Ok((!rest.is_empty()).then_some(Value::Object(rest)))
}

fn read_format(mut format: Object) -> Result<Format, Rejection> {
    match format.required_text("type")?.as_str() {
        "json_schema" => Ok(Format::JsonSchema {
            name: "answer".to_owned(),
            schema: format.take("schema").ok_or_else(|| format.missing("schema"))?,
            strict: Some(true),
        }),
        _ => Err(wrong(format.path("type"), "`json_schema`")),
    }
}

fn read_user(fields: &mut Object, chat: &mut Chat) -> Result<Option<Value>, Rejection> {
    let Some(mut metadata) = fields.object("metadata")? else { return Ok(None) };
    chat.user = metadata.text("user_id")?;
    if metadata.is_empty() {
        return Ok(None);
    }
    let mut rest = metadata.rest();
    if let Some(user) = &chat.user {
        rest.insert("user_id".to_owned(), json!(user));
    }
    Ok(Some(Value::Object(rest)))
}
