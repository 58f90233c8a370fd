//! Decodes a chat-completions request as the service does: what it accepts, what it refuses and in which words.
//!
//! Does not answer. The MCP tool `converse` takes the same messages, tools and limits, so it reads them here too.

mod rules;

use serde_json::{Value, json};

use super::refusal::Refusal;
use crate::{
    answer::{Choice, Prompt, Tool},
    tokens,
};

/// Completions of one request at most.
pub(crate) const CHOICES_MAX: u64 = 8;
const STOPS_MAX: usize = 4;
const NAME_BYTES_MAX: usize = 64;

/// What a chat request asks for.
#[derive(Debug, Clone)]
pub(crate) struct Chat {
    /// The model as the client named it.
    pub(crate) model: String,
    /// Whether the answer is streamed.
    pub(crate) stream: bool,
    /// Whether the stream ends with a chunk that carries the usage.
    pub(crate) include_usage: bool,
    /// Number of completions.
    pub(crate) n: u64,
    /// What steers the answer.
    pub(crate) prompt: Prompt,
    /// Tokens of the prompt as the lab counts them.
    pub(crate) prompt_tokens: u64,
}

impl Chat {
    /// Reads the request of `/v1/chat/completions` at the target called `target`.
    pub(crate) fn decode(target: &str, body: &Value) -> Result<Self, Refusal> {
        let chat = Self::decode_loosely(target, body)?;
        rules::check_tool_order(messages(body)?)?;
        rules::check_streaming(body, chat.stream)?;
        rules::check_json_word(body)?;
        Ok(chat)
    }

    /// Reads the same members without the rules that only the OpenAI service imposes.
    pub(crate) fn decode_loosely(target: &str, body: &Value) -> Result<Self, Refusal> {
        let model = body
            .get("model")
            .and_then(Value::as_str)
            .filter(|model| !model.is_empty())
            .ok_or_else(|| Refusal::invalid("model", None, "you must provide a model parameter"))?;
        let messages = messages(body)?;
        rules::check_range(body, "temperature", 0.0, 2.0)?;
        rules::check_range(body, "top_p", 0.0, 1.0)?;
        let mut prompt = Prompt {
            target: target.to_owned(),
            last_user_text: last_user(messages),
            tool_result: tool_result(messages),
            tools: tools(body)?,
            choice: choice(body)?,
            max_tokens: max_tokens(body)?,
            stop_sequences: stops(body)?,
            ..Prompt::default()
        };
        shape(body, &mut prompt)?;
        let counted = ["messages", "system", "tools", "response_format"];
        Ok(Self {
            model: model.to_owned(),
            stream: body.get("stream").and_then(Value::as_bool).unwrap_or(false),
            include_usage: body
                .pointer("/stream_options/include_usage")
                .and_then(Value::as_bool)
                .unwrap_or(false),
            n: rules::count(body, "n", CHOICES_MAX)?.unwrap_or(1),
            prompt,
            prompt_tokens: tokens::of_prompt(counted.iter().filter_map(|name| body.get(*name))),
        })
    }
}

fn messages(body: &Value) -> Result<&[Value], Refusal> {
    let missing = "Missing required parameter: 'messages'.";
    let value = body
        .get("messages")
        .ok_or_else(|| Refusal::invalid("messages", Some("missing_required_parameter"), missing))?;
    let list = value.as_array().ok_or_else(|| {
        let message = "Invalid type for 'messages': expected an array of objects.";
        Refusal::invalid("messages", Some("invalid_type"), message)
    })?;
    if list.is_empty() {
        let message = "Invalid 'messages': empty array. Expected an array with minimum length 1, but got an empty array instead.";
        return Err(Refusal::invalid("messages", Some("empty_array"), message));
    }
    for (index, message) in list.iter().enumerate() {
        rules::check_message(index, message)?;
    }
    Ok(list)
}

fn max_tokens(body: &Value) -> Result<Option<u64>, Refusal> {
    let names = ["max_tokens", "max_completion_tokens"];
    if names.iter().all(|name| body.get(*name).is_some_and(|value| !value.is_null())) {
        let text = "Setting 'max_tokens' and 'max_completion_tokens' at the same time is not supported.";
        return Err(Refusal::invalid("max_tokens", Some("invalid_parameter_combination"), text));
    }
    let limit = rules::count(body, names[0], u64::from(u32::MAX))?;
    Ok(limit.or(rules::count(body, names[1], u64::from(u32::MAX))?))
}

fn stops(body: &Value) -> Result<Vec<String>, Refusal> {
    let stops: Vec<String> = match body.get("stop") {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::String(text)) => vec![text.clone()],
        Some(Value::Array(list)) => list.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        Some(_) => return Err(Refusal::invalid("stop", Some("invalid_type"), "Invalid type for 'stop'.")),
    };
    if stops.len() > STOPS_MAX {
        let text =
            format!("Invalid 'stop': array too long. Expected an array with maximum length {STOPS_MAX}.");
        return Err(Refusal::invalid("stop", Some("array_above_max_length"), text));
    }
    Ok(stops)
}

fn tools(body: &Value) -> Result<Vec<Tool>, Refusal> {
    let Some(list) = body.get("tools").and_then(Value::as_array) else {
        return Ok(Vec::new());
    };
    if list.is_empty() {
        let text = "Invalid 'tools': empty array. Expected an array with minimum length 1, but got an empty array instead.";
        return Err(Refusal::invalid("tools", Some("empty_array"), text));
    }
    list.iter().enumerate().map(|(index, offer)| tool(index, offer)).collect()
}

fn tool(index: usize, offer: &Value) -> Result<Tool, Refusal> {
    let name = offer.pointer("/function/name").and_then(Value::as_str).unwrap_or_default();
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    if name.is_empty() || name.len() > NAME_BYTES_MAX || !name.bytes().all(allowed) {
        let param = format!("tools[{index}].function.name");
        let text = format!(
            "Invalid '{param}': string does not match pattern. Expected a string that matches the pattern '^[a-zA-Z0-9_-]+$'."
        );
        return Err(Refusal::invalid(&param, Some("invalid_value"), text));
    }
    let schema = offer.pointer("/function/parameters").cloned().unwrap_or_else(|| json!({"type": "object"}));
    Ok(Tool { name: name.to_owned(), schema })
}

fn choice(body: &Value) -> Result<Choice, Refusal> {
    let Some(value) = body.get("tool_choice").filter(|value| !value.is_null()) else {
        return Ok(Choice::Auto);
    };
    if body.get("tools").is_none_or(Value::is_null) && value != "none" {
        let text =
            "Invalid value for 'tool_choice': 'tool_choice' is only allowed when 'tools' are specified.";
        return Err(Refusal::invalid("tool_choice", None, text));
    }
    match value.as_str() {
        Some("auto") => Ok(Choice::Auto),
        Some("none") => Ok(Choice::None),
        Some("required") => Ok(Choice::Any),
        _ => value
            .pointer("/function/name")
            .and_then(Value::as_str)
            .map(|name| Choice::Named(name.to_owned()))
            .ok_or_else(|| {
                Refusal::invalid("tool_choice", Some("invalid_value"), "Invalid value for 'tool_choice'.")
            }),
    }
}

/// Reads the response format: free text, any JSON object, or JSON of a given schema.
fn shape(body: &Value, prompt: &mut Prompt) -> Result<(), Refusal> {
    let Some(value) = body.get("response_format").filter(|value| !value.is_null()) else {
        return Ok(());
    };
    match value["type"].as_str().unwrap_or_default() {
        "text" => {}
        "json_object" => prompt.json = Some(None),
        "json_schema" => {
            let param = "response_format.json_schema";
            let schema = value.pointer("/json_schema/schema").ok_or_else(|| {
                let text = format!("Missing required parameter: '{param}'.");
                Refusal::invalid(param, Some("missing_required_parameter"), text)
            })?;
            prompt.json = Some(Some(schema.clone()));
        }
        other => {
            let text = format!(
                "Invalid value: '{other}'. Supported values are: 'json_object', 'json_schema', and 'text'."
            );
            return Err(Refusal::invalid("response_format.type", Some("invalid_value"), text));
        }
    }
    Ok(())
}

fn last_user(messages: &[Value]) -> String {
    let message = messages.iter().rev().find(|message| message["role"] == "user");
    message.map(|message| text_of(&message["content"])).unwrap_or_default()
}

fn tool_result(messages: &[Value]) -> Option<String> {
    let results: Vec<String> = messages
        .iter()
        .rev()
        .take_while(|message| matches!(message["role"].as_str(), Some("tool" | "function")))
        .map(|message| text_of(&message["content"]))
        .collect();
    if results.is_empty() {
        return None;
    }
    Some(results.into_iter().rev().collect::<Vec<_>>().join("\n"))
}

fn text_of(content: &Value) -> String {
    match content {
        Value::String(text) => text.clone(),
        Value::Array(parts) => {
            parts.iter().filter_map(|part| part["text"].as_str()).collect::<Vec<_>>().join("\n")
        }
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests;
