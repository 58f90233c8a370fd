//! The rules a messages request must keep, each with the service's own refusal.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::Value;

use crate::anthropic::refusal::Refusal;

/// Smallest thinking budget the service accepts.
const BUDGET_TOKENS_MIN: u64 = 1_024;
const TOOL_NAME_BYTES_MAX: usize = 128;

/// The messages, with roles, blocks and the order of tool calls checked.
pub(super) fn messages(body: &Value) -> Result<&[Value], Refusal> {
    let value = body.get("messages").ok_or_else(|| Refusal::invalid("messages: Field required"))?;
    let list = value.as_array().ok_or_else(|| Refusal::invalid("messages: Input should be a valid list"))?;
    if list.is_empty() {
        return Err(Refusal::invalid("messages: at least one message is required"));
    }
    for (index, message) in list.iter().enumerate() {
        check_role(message)?;
        check_content(index, message)?;
    }
    check_tool_order(list)?;
    Ok(list)
}

fn check_role(message: &Value) -> Result<(), Refusal> {
    match message["role"].as_str().unwrap_or_default() {
        "user" | "assistant" => Ok(()),
        "system" => Err(Refusal::invalid(
            "messages: Unexpected role \"system\". The Messages API accepts a top-level `system` parameter, not \
             \"system\" as an input message role.",
        )),
        role => Err(Refusal::invalid(format!(
            "messages: Unexpected role \"{role}\". Allowed roles are \"user\" or \"assistant\""
        ))),
    }
}

fn check_content(index: usize, message: &Value) -> Result<(), Refusal> {
    match &message["content"] {
        Value::String(text) if text.is_empty() => Err(Refusal::invalid(format!(
            "messages.{index}: all messages must have non-empty content except for the optional final assistant message"
        ))),
        Value::String(_) => Ok(()),
        Value::Array(blocks) => {
            for (place, block) in blocks.iter().enumerate() {
                check_block(&format!("messages.{index}.content.{place}"), block)?;
            }
            Ok(())
        }
        _ => {
            Err(Refusal::invalid(format!("messages.{index}.content: Input should be a valid string or list")))
        }
    }
}

fn check_block(path: &str, block: &Value) -> Result<(), Refusal> {
    match block["type"].as_str().unwrap_or_default() {
        "text" if block["text"].as_str().is_none_or(str::is_empty) => {
            Err(Refusal::invalid("messages: text content blocks must be non-empty"))
        }
        "image"
            if !matches!(
                block.pointer("/source/type").and_then(Value::as_str),
                Some("base64" | "url" | "file")
            ) =>
        {
            Err(Refusal::invalid(format!(
                "{path}.image.source: Input tag does not match any of the expected tags"
            )))
        }
        "tool_use" if !block["input"].is_object() => {
            Err(Refusal::invalid(format!("{path}.tool_use.input: Input should be a valid dictionary")))
        }
        "thinking" => check_signature(path, block),
        "" => Err(Refusal::invalid(format!("{path}.type: Field required"))),
        "text" | "image" | "tool_use" | "tool_result" | "document" | "redacted_thinking"
        | "search_result" => Ok(()),
        kind if kind.starts_with("server_tool_use") || kind.ends_with("_tool_result") => Ok(()),
        kind => Err(Refusal::invalid(format!(
            "{path}: Input tag '{kind}' found using 'type' does not match any of the expected tags: 'document', \
             'image', 'redacted_thinking', 'search_result', 'text', 'thinking', 'tool_result', 'tool_use'"
        ))),
    }
}

/// A signature that was shortened or re-encoded on the way is refused, as the service refuses it.
fn check_signature(path: &str, block: &Value) -> Result<(), Refusal> {
    let signature = block["signature"].as_str().unwrap_or_default();
    if STANDARD.decode(signature).is_ok_and(|bytes| bytes.len() >= 32) {
        return Ok(());
    }
    Err(Refusal::invalid(format!("{path}: Invalid `signature` in `thinking` block")))
}

fn ids<'a>(message: &'a Value, kind: &str, member: &str) -> Vec<&'a str> {
    let blocks = message["content"].as_array().into_iter().flatten();
    blocks.filter(|block| block["type"] == kind).filter_map(|block| block[member].as_str()).collect()
}

/// A tool result answers a call of the message before, and each call is answered in the message after.
fn check_tool_order(messages: &[Value]) -> Result<(), Refusal> {
    let mut open: Vec<&str> = Vec::new();
    for (index, message) in messages.iter().enumerate() {
        let results = ids(message, "tool_result", "tool_use_id");
        if let Some(stray) = results.iter().find(|id| !open.contains(id)) {
            return Err(Refusal::invalid(format!(
                "messages.{index}.content.0: unexpected `tool_use_id` found in `tool_result` blocks: {stray}. Each \
                 `tool_result` block must have a corresponding `tool_use` block in the previous message."
            )));
        }
        open.retain(|id| !results.contains(id));
        if !open.is_empty() {
            return Err(Refusal::invalid(format!(
                "messages.{}: `tool_use` ids were found without `tool_result` blocks immediately after: {}. Each \
                 `tool_use` block must have a corresponding `tool_result` block in the next message.",
                index.saturating_sub(1),
                open.join(", ")
            )));
        }
        open = ids(message, "tool_use", "id");
    }
    Ok(())
}

/// A string or a list of text blocks.
pub(super) fn check_system(body: &Value) -> Result<(), Refusal> {
    match body.get("system") {
        None | Some(Value::Null | Value::String(_)) => Ok(()),
        Some(Value::Array(blocks))
            if blocks.iter().all(|block| block["type"] == "text" && block["text"].is_string()) =>
        {
            Ok(())
        }
        Some(_) => Err(Refusal::invalid("system: Input should be a valid string or list of text blocks")),
    }
}

/// Both sampling members lie in 0 to 1.
pub(super) fn check_range(body: &Value, name: &str) -> Result<(), Refusal> {
    match body.get(name).filter(|value| !value.is_null()) {
        Some(value) if value.as_f64().is_none_or(|number| !(0.0..=1.0).contains(&number)) => {
            Err(Refusal::invalid(format!("{name}: range: 0..1")))
        }
        _ => Ok(()),
    }
}

/// The thinking budget, against its bounds and the members it excludes.
pub(super) fn check_thinking(body: &Value, max_tokens: u64) -> Result<(), Refusal> {
    if body.pointer("/thinking/type").is_none_or(|kind| kind != "enabled") {
        return Ok(());
    }
    let budget = body.pointer("/thinking/budget_tokens").and_then(Value::as_u64);
    let budget = budget.ok_or_else(|| Refusal::invalid("thinking.enabled.budget_tokens: Field required"))?;
    if budget < BUDGET_TOKENS_MIN {
        let text = format!(
            "thinking.enabled.budget_tokens: Input should be greater than or equal to {BUDGET_TOKENS_MIN}"
        );
        return Err(Refusal::invalid(text));
    }
    if max_tokens <= budget {
        return Err(Refusal::invalid("`max_tokens` must be greater than `thinking.budget_tokens`."));
    }
    if body.get("temperature").is_some_and(|value| !value.is_null() && value.as_f64() != Some(1.0)) {
        return Err(Refusal::invalid("`temperature` may only be set to 1 when thinking is enabled."));
    }
    if matches!(body.pointer("/tool_choice/type").and_then(Value::as_str), Some("any" | "tool")) {
        return Err(Refusal::invalid("Thinking may not be enabled when tool_choice forces tool use."));
    }
    Ok(())
}

/// Letters, digits, `_` and `-`.
pub(super) fn check_tool_name(index: usize, tool: &Value) -> Result<(), Refusal> {
    let name = tool["name"].as_str().unwrap_or_default();
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    if !name.is_empty() && name.len() <= TOOL_NAME_BYTES_MAX && name.bytes().all(allowed) {
        return Ok(());
    }
    let text = format!(
        "tools.{index}.custom.name: String should match pattern '^[a-zA-Z0-9_-]{{1,{TOOL_NAME_BYTES_MAX}}}$'"
    );
    Err(Refusal::invalid(text))
}
