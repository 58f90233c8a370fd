//! Decodes a messages request as the service does: what it accepts, what it refuses and in which words.
//!
//! Does not answer and does not price; `count_tokens` reads the same body with fewer required members.

mod rules;

use serde_json::Value;

use super::refusal::Refusal;
use crate::answer::{Choice, Prompt, Tool};

/// Members other services know and this one refuses, as it refuses every member it does not know.
const FOREIGN: [&str; 12] = [
    "max_completion_tokens",
    "stream_options",
    "response_format",
    "frequency_penalty",
    "presence_penalty",
    "parallel_tool_calls",
    "logprobs",
    "stop",
    "seed",
    "n",
    "inferenceConfig",
    "toolConfig",
];

/// What a messages request asks for.
#[derive(Debug, Clone)]
pub(crate) struct Ask {
    /// The model as the client named it.
    pub(crate) model: String,
    /// Whether the answer is streamed.
    pub(crate) stream: bool,
    /// What steers the answer.
    pub(crate) prompt: Prompt,
}

impl Ask {
    /// Reads the request of `/v1/messages` at the target called `target`.
    pub(crate) fn decode(target: &str, body: &Value) -> Result<Self, Refusal> {
        let limit = body.get("max_tokens").ok_or_else(|| Refusal::invalid("max_tokens: Field required"))?;
        let limit = limit
            .as_u64()
            .filter(|limit| *limit > 0)
            .ok_or_else(|| Refusal::invalid("max_tokens: Input should be greater than or equal to 1"))?;
        let mut ask = Self::decode_unlimited(target, body)?;
        rules::check_thinking(body, limit)?;
        ask.prompt.max_tokens = Some(limit);
        Ok(ask)
    }

    /// Reads the request of `/v1/messages/count_tokens`, which sets no limit.
    pub(crate) fn decode_unlimited(target: &str, body: &Value) -> Result<Self, Refusal> {
        if let Some(name) = FOREIGN.iter().find(|name| body.get(**name).is_some()) {
            return Err(Refusal::invalid(format!("{name}: Extra inputs are not permitted")));
        }
        let model = body.get("model").and_then(Value::as_str);
        let model = model.ok_or_else(|| Refusal::invalid("model: Field required"))?;
        let messages = rules::messages(body)?;
        rules::check_system(body)?;
        rules::check_range(body, "temperature")?;
        rules::check_range(body, "top_p")?;
        let mut prompt = Prompt {
            target: target.to_owned(),
            last_user_text: last_user_text(messages),
            tool_result: tool_result(messages),
            tools: tools(body)?,
            choice: choice(body)?,
            stop_sequences: stop_sequences(body),
            thinking: body
                .pointer("/thinking/type")
                .is_some_and(|kind| kind == "enabled" || kind == "adaptive"),
            ..Prompt::default()
        };
        let format = body.pointer("/output_config/format").or_else(|| body.get("output_format"));
        if let Some(format) = format.filter(|format| format["type"] == "json_schema") {
            prompt.json = Some(format.get("schema").cloned());
        }
        let stream = body.get("stream").and_then(Value::as_bool).unwrap_or(false);
        Ok(Self { model: model.to_owned(), stream, prompt })
    }
}

/// The text of the last user message that says something; tool results alone say nothing.
fn last_user_text(messages: &[Value]) -> String {
    let users = messages.iter().rev().filter(|message| message["role"] == "user");
    users.map(|message| text_of(&message["content"])).find(|text| !text.is_empty()).unwrap_or_default()
}

fn tool_result(messages: &[Value]) -> Option<String> {
    let blocks = messages.last()?["content"].as_array()?;
    let results: Vec<String> = blocks
        .iter()
        .filter(|block| block["type"] == "tool_result")
        .map(|block| text_of(&block["content"]))
        .collect();
    (!results.is_empty()).then(|| results.join("\n"))
}

fn text_of(content: &Value) -> String {
    match content {
        Value::String(text) => text.clone(),
        Value::Array(blocks) => {
            let texts = blocks.iter().filter(|block| block["type"] == "text");
            texts.filter_map(|block| block["text"].as_str()).collect::<Vec<_>>().join("\n")
        }
        _ => String::new(),
    }
}

/// Server tools (with a dated `type`) are accepted and never called.
fn tools(body: &Value) -> Result<Vec<Tool>, Refusal> {
    let offered = body.get("tools").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let custom =
        offered.iter().enumerate().filter(|(_, tool)| tool["type"].is_null() || tool["type"] == "custom");
    custom
        .map(|(index, tool)| {
            rules::check_tool_name(index, tool)?;
            let schema = tool.get("input_schema").filter(|schema| schema.is_object());
            let schema = schema.ok_or_else(|| {
                Refusal::invalid(format!("tools.{index}.custom.input_schema: Field required"))
            })?;
            let name = tool["name"].as_str().unwrap_or_default().to_owned();
            Ok(Tool { name, schema: schema.clone() })
        })
        .collect()
}

fn choice(body: &Value) -> Result<Choice, Refusal> {
    let Some(value) = body.get("tool_choice").filter(|value| !value.is_null()) else {
        return Ok(Choice::Auto);
    };
    let offered = body.get("tools").and_then(Value::as_array).is_some_and(|tools| !tools.is_empty());
    match value["type"].as_str() {
        Some("none") => Ok(Choice::None),
        Some("auto" | "any" | "tool") if !offered => {
            Err(Refusal::invalid("tool_choice may only be specified while providing tools"))
        }
        Some("auto") => Ok(Choice::Auto),
        Some("any") => Ok(Choice::Any),
        Some("tool") => {
            let name = value["name"]
                .as_str()
                .ok_or_else(|| Refusal::invalid("tool_choice.tool.name: Field required"))?;
            Ok(Choice::Named(name.to_owned()))
        }
        _ => Err(Refusal::invalid(
            "tool_choice: Input tag does not match any of the expected tags: 'auto', 'any', 'tool', 'none'",
        )),
    }
}

fn stop_sequences(body: &Value) -> Vec<String> {
    let list = body.get("stop_sequences").and_then(Value::as_array).into_iter().flatten();
    list.filter_map(Value::as_str).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests;
