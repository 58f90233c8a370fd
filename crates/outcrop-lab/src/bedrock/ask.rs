//! Decodes a Converse request as the service does: what it accepts, what it refuses and in which words.
//!
//! Unknown members pass, as the service ignores them; the rules that clients meet in practice are in [`rules`].

mod rules;

use serde_json::Value;

use super::{model::Model, refusal::Refusal};
use crate::answer::{Choice, Prompt, Tool};

/// The prompt of a valid Converse request; Nova's `messages-v1` schema is the same shape.
pub(super) fn decode(target: &str, model: Model, body: &Value) -> Result<Prompt, Refusal> {
    rules::check(model, body)?;
    let messages = body.get("messages").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let limit = ["maxTokens", "max_new_tokens"]
        .iter()
        .find_map(|name| body.get("inferenceConfig")?.get(*name)?.as_u64());
    Ok(Prompt {
        target: target.to_owned(),
        last_user_text: last_user_text(messages),
        tool_result: tool_result(messages),
        tools: tools(body),
        choice: choice(body),
        max_tokens: Some(limit.unwrap_or(model.output_tokens_max)),
        stop_sequences: strings(body.pointer("/inferenceConfig/stopSequences")),
        json: asks_for_json(body).then(|| json_schema(body)),
        thinking: body
            .pointer("/additionalModelRequestFields/thinking/type")
            .is_some_and(|kind| kind == "enabled" || kind == "adaptive"),
    })
}

/// The prompt of a request whose tokens are only counted.
pub(super) fn check(model: Model, body: &Value) -> Result<(), Refusal> {
    rules::check(model, body)
}

/// The text of the last user message that says something; tool results alone say nothing.
fn last_user_text(messages: &[Value]) -> String {
    let users = messages.iter().rev().filter(|message| message["role"] == "user");
    users
        .map(|message| strings_at(message.get("content"), "text").join("\n"))
        .find(|text| !text.is_empty())
        .unwrap_or_default()
}

fn tool_result(messages: &[Value]) -> Option<String> {
    let blocks = messages.last()?.get("content")?.as_array()?;
    let results: Vec<String> = blocks
        .iter()
        .filter_map(|block| block.pointer("/toolResult/content")?.as_array())
        .flatten()
        .filter_map(|part| match (part.get("text"), part.get("json")) {
            (Some(text), _) => text.as_str().map(str::to_owned),
            (None, Some(json)) => Some(json.to_string()),
            (None, None) => None,
        })
        .collect();
    let any = blocks.iter().any(|block| block.get("toolResult").is_some());
    any.then(|| results.join("\n"))
}

fn tools(body: &Value) -> Vec<Tool> {
    let offered = body.pointer("/toolConfig/tools").and_then(Value::as_array).into_iter().flatten();
    offered
        .filter_map(|tool| tool.get("toolSpec"))
        .map(|spec| Tool {
            name: spec["name"].as_str().unwrap_or_default().to_owned(),
            schema: spec.pointer("/inputSchema/json").cloned().unwrap_or_default(),
        })
        .collect()
}

fn choice(body: &Value) -> Choice {
    let Some(choice) = body.pointer("/toolConfig/toolChoice") else { return Choice::Auto };
    if let Some(name) = choice.pointer("/tool/name").and_then(Value::as_str) {
        Choice::Named(name.to_owned())
    } else if choice.get("any").is_some() {
        Choice::Any
    } else {
        Choice::Auto
    }
}

fn asks_for_json(body: &Value) -> bool {
    body.pointer("/outputConfig/textFormat/type").is_some_and(|kind| kind == "json_schema")
}

/// The schema arrives as JSON text inside JSON.
fn json_schema(body: &Value) -> Option<Value> {
    let schema = body.pointer("/outputConfig/textFormat/structure/jsonSchema/schema")?;
    serde_json::from_str(schema.as_str()?).ok()
}

fn strings(list: Option<&Value>) -> Vec<String> {
    let list = list.and_then(Value::as_array).into_iter().flatten();
    list.filter_map(Value::as_str).map(str::to_owned).collect()
}

fn strings_at(list: Option<&Value>, name: &str) -> Vec<String> {
    let list = list.and_then(Value::as_array).into_iter().flatten();
    list.filter_map(|item| item.get(name)?.as_str()).map(str::to_owned).collect()
}
