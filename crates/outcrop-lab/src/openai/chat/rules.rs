//! The rules a chat request must keep, each with the service's own refusal.

use serde_json::Value;

use crate::openai::refusal::Refusal;

pub(super) fn check_message(index: usize, message: &Value) -> Result<(), Refusal> {
    let role = message.get("role").and_then(Value::as_str).unwrap_or_default();
    if !matches!(role, "system" | "developer" | "user" | "assistant" | "tool" | "function") {
        let param = format!("messages[{index}].role");
        let text = format!(
            "Invalid value: '{role}'. Supported values are: 'system', 'assistant', 'user', 'function', 'tool', and 'developer'."
        );
        return Err(Refusal::invalid(&param, Some("invalid_value"), text));
    }
    let content = message.get("content").unwrap_or(&Value::Null);
    if content.is_null() && role != "assistant" {
        let param = format!("messages[{index}].content");
        let text = format!("Invalid value for 'content': expected a string, got null (message {index}).");
        return Err(Refusal::invalid(&param, None, text));
    }
    for (place, part) in content.as_array().into_iter().flatten().enumerate() {
        check_part(part).map_err(|text| {
            Refusal::invalid(&format!("messages[{index}].content[{place}]"), Some("invalid_value"), text)
        })?;
    }
    Ok(())
}

fn check_part(part: &Value) -> Result<(), String> {
    let kind = part.get("type").and_then(Value::as_str).unwrap_or_default();
    match kind {
        "text" if part["text"].is_string() => Ok(()),
        "image_url" => {
            let url = part.pointer("/image_url/url").and_then(Value::as_str).unwrap_or_default();
            if url.starts_with("data:image/") || url.starts_with("https://") || url.starts_with("http://") {
                Ok(())
            } else {
                Err("Invalid image URL. Expected a base64-encoded data URL with an image MIME type or an http(s) URL.".to_owned())
            }
        }
        "input_audio" | "file" | "refusal" => Ok(()),
        _ => Err(format!(
            "Invalid value: '{kind}'. Supported values are: 'text', 'image_url', 'input_audio', 'refusal', and 'file'."
        )),
    }
}

/// A tool result answers a call, and each call is answered before the conversation goes on.
pub(super) fn check_tool_order(messages: &[Value]) -> Result<(), Refusal> {
    let mut open: Vec<&str> = Vec::new();
    for message in messages {
        if message["role"] == "tool" {
            let id = message["tool_call_id"].as_str().unwrap_or_default();
            let place = open.iter().position(|call| *call == id).ok_or_else(|| {
                let text =
                    "messages with role 'tool' must be a response to a preceeding message with 'tool_calls'.";
                Refusal::invalid("messages", None, format!("Invalid parameter: {text}"))
            })?;
            open.remove(place);
            continue;
        }
        refuse_open_calls(&open)?;
        let calls = message.get("tool_calls").and_then(Value::as_array).into_iter().flatten();
        open = calls.filter_map(|call| call["id"].as_str()).collect();
    }
    refuse_open_calls(&open)
}

fn refuse_open_calls(open: &[&str]) -> Result<(), Refusal> {
    if open.is_empty() {
        return Ok(());
    }
    let text = format!(
        "An assistant message with 'tool_calls' must be followed by tool messages responding to each 'tool_call_id'. \
         The following tool_call_ids did not have response messages: {}",
        open.join(", ")
    );
    Err(Refusal::invalid("messages", None, text))
}

pub(super) fn check_streaming(body: &Value, stream: bool) -> Result<(), Refusal> {
    if !stream && body.get("stream_options").is_some_and(|options| !options.is_null()) {
        let text = "The 'stream_options' parameter is only allowed when 'stream' is enabled.";
        return Err(Refusal::invalid("stream_options", None, text));
    }
    Ok(())
}

pub(super) fn check_range(body: &Value, name: &str, low: f64, high: f64) -> Result<(), Refusal> {
    let Some(value) = body.get(name).filter(|value| !value.is_null()) else {
        return Ok(());
    };
    let number = value.as_f64().ok_or_else(|| {
        Refusal::invalid(
            name,
            Some("invalid_type"),
            format!("Invalid type for '{name}': expected a decimal."),
        )
    })?;
    if (low..=high).contains(&number) {
        return Ok(());
    }
    let (code, bound) = if number < low {
        ("decimal_below_min_value", format!("below minimum value. Expected a value >= {low}"))
    } else {
        ("decimal_above_max_value", format!("above maximum value. Expected a value <= {high}"))
    };
    Err(Refusal::invalid(
        name,
        Some(code),
        format!("Invalid '{name}': decimal {bound}, but got {number} instead."),
    ))
}

pub(super) fn count(body: &Value, name: &str, max: u64) -> Result<Option<u64>, Refusal> {
    let Some(value) = body.get(name).filter(|value| !value.is_null()) else {
        return Ok(None);
    };
    let number = value.as_i64().ok_or_else(|| {
        Refusal::invalid(
            name,
            Some("invalid_type"),
            format!("Invalid type for '{name}': expected an integer."),
        )
    })?;
    if number < 1 {
        let text = format!(
            "Invalid '{name}': integer below minimum value. Expected a value >= 1, but got {number} instead."
        );
        return Err(Refusal::invalid(name, Some("integer_below_min_value"), text));
    }
    if number.unsigned_abs() > max {
        let text = format!(
            "Invalid '{name}': integer above maximum value. Expected a value <= {max}, but got {number} instead."
        );
        return Err(Refusal::invalid(name, Some("integer_above_max_value"), text));
    }
    Ok(Some(number.unsigned_abs()))
}

/// JSON mode without the word in the prompt tends to loop, so the service insists on it.
pub(super) fn check_json_word(body: &Value) -> Result<(), Refusal> {
    if body.pointer("/response_format/type").is_none_or(|kind| kind != "json_object")
        || body["messages"].to_string().to_ascii_lowercase().contains("json")
    {
        return Ok(());
    }
    let text = "'messages' must contain the word 'json' in some form, to use 'response_format' of type 'json_object'.";
    Err(Refusal::invalid("messages", None, text))
}
