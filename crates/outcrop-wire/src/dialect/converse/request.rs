//! Reading a Converse body.
//!
//! Of `additionalModelRequestFields`, Claude's `thinking` and `top_k` have words in core; the rest
//! stays in `extra`, where other protocols refuse it by name.

use outcrop_core::ask::{Format, Role, Sampling, Thinking, Tool, ToolChoice, Turn};
use outcrop_core::{Ask, Chat, Protocol};
use serde_json::{Map, Value};

use super::block::read_blocks;
use crate::Rejection;
use crate::dialect::object::{Object, wrong};

/// Reads the body of a Converse request.
pub(crate) fn decode_request(body: &[u8]) -> Result<Ask, Rejection> {
    let mut fields = Object::parse(body)?;
    let mut chat = Chat {
        turns: read_turns(&mut fields)?,
        system: read_blocks(fields.list("system")?)?,
        protocol: Some(Protocol::BedrockConverse),
        ..Chat::default()
    };
    if let Some(mut inference) = fields.object("inferenceConfig")? {
        chat.sampling = Sampling {
            max_tokens: inference.count("maxTokens")?,
            temperature: inference.number("temperature")?,
            top_p: inference.number("topP")?,
            stop: inference.texts("stopSequences")?,
            ..Sampling::default()
        };
    }
    let native_tools = read_tools(&mut fields, &mut chat)?;
    let model_fields = read_model_fields(&mut fields, &mut chat)?;
    let output = read_output(&mut fields, &mut chat)?;
    chat.extra = fields.rest();
    let left = [
        ("toolConfig", native_tools),
        ("additionalModelRequestFields", model_fields),
        ("outputConfig", output),
    ];
    for (name, value) in left {
        if let Some(value) = value {
            chat.extra.insert(name.to_owned(), value);
        }
    }
    Ok(Ask::Chat(Box::new(chat)))
}

fn read_turns(fields: &mut Object) -> Result<Vec<Turn>, Rejection> {
    let messages = fields.list("messages")?;
    let mut turns = Vec::with_capacity(messages.len());
    for (at, message) in messages {
        let mut message = Object::of(message, at)?;
        let role = match message.required_text("role")?.as_str() {
            "user" => Role::User,
            "assistant" => Role::Assistant,
            _ => return Err(wrong(message.path("role"), "`user` or `assistant`")),
        };
        turns.push(Turn { role, parts: read_blocks(message.list("content")?)? });
    }
    Ok(turns)
}

/// Reads the tools into `chat`; hands back those that only Bedrock can run.
fn read_tools(fields: &mut Object, chat: &mut Chat) -> Result<Option<Value>, Rejection> {
    let Some(mut config) = fields.object("toolConfig")? else { return Ok(None) };
    let mut native = Vec::new();
    for (at, tool) in config.list("tools")? {
        let mut fields = Object::of(tool, at)?;
        let Some(mut spec) = fields.object("toolSpec")? else {
            let rest = fields.rest();
            if !rest.contains_key("cachePoint") {
                native.push(Value::Object(rest));
            }
            continue;
        };
        chat.tools.push(Tool {
            name: spec.required_text("name")?,
            description: spec.text("description")?,
            schema: spec
                .required_object("inputSchema")?
                .take("json")
                .ok_or_else(|| spec.missing("inputSchema.json"))?,
            strict: spec.flag("strict")?,
        });
    }
    if let Some(mut choice) = config.object("toolChoice")? {
        chat.tool_choice = if let Some(mut tool) = choice.object("tool")? {
            Some(ToolChoice::Named(tool.required_text("name")?))
        } else if choice.take("any").is_some() {
            Some(ToolChoice::Any)
        } else {
            choice.take("auto").map(|_| ToolChoice::Auto)
        };
    }
    let tools = Value::Array(native);
    Ok((tools != Value::Array(Vec::new()))
        .then(|| Value::Object(Map::from_iter([("tools".to_owned(), tools)]))))
}

fn read_model_fields(fields: &mut Object, chat: &mut Chat) -> Result<Option<Value>, Rejection> {
    let Some(mut model) = fields.object("additionalModelRequestFields")? else { return Ok(None) };
    chat.sampling.top_k = model.count("top_k")?;
    if let Some(form) = model.take("thinking") {
        let kind = form.get("type").and_then(Value::as_str);
        let budget = form.get("budget_tokens").and_then(Value::as_u64);
        chat.thinking = Some(match (kind, budget) {
            (Some("disabled"), _) => Thinking::Off,
            (Some("enabled"), Some(budget)) => Thinking::Budget(budget),
            _ => Thinking::Native(form),
        });
    }
    let rest = model.rest();
    Ok((!rest.is_empty()).then_some(Value::Object(rest)))
}

fn read_output(fields: &mut Object, chat: &mut Chat) -> Result<Option<Value>, Rejection> {
    let Some(mut output) = fields.object("outputConfig")? else { return Ok(None) };
    if let Some(mut text) = output.object("textFormat")? {
        let mut schema = text.required_object("structure")?.required_object("jsonSchema")?;
        let written = schema.required_text("schema")?;
        let parsed = serde_json::from_str(&written);
        chat.format = Some(Format::JsonSchema {
            name: schema.text("name")?.unwrap_or_else(|| "answer".to_owned()),
            schema: parsed.map_err(|_| wrong(schema.path("schema"), "a JSON Schema as text"))?,
            strict: Some(true),
        });
    }
    if chat.thinking.is_none() {
        chat.thinking = output.text("effort")?.map(Thinking::Effort);
    }
    let rest = output.rest();
    Ok((!rest.is_empty()).then_some(Value::Object(rest)))
}
