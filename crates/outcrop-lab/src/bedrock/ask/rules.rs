//! The rules a Converse request must keep, with the service's own texts.
//!
//! Order matters: limits of members first, then the shape of the conversation, as the service does.

use base64::Engine as _;
use serde_json::Value;

use super::super::{model::Model, refusal::Refusal};

/// Members of a content block; a block sets exactly one of them.
const BLOCK_KEYS: [&str; 12] = [
    "text",
    "image",
    "document",
    "video",
    "audio",
    "toolUse",
    "toolResult",
    "guardContent",
    "cachePoint",
    "reasoningContent",
    "citationsContent",
    "searchResult",
];

pub(super) fn check(model: Model, body: &Value) -> Result<(), Refusal> {
    if !model.chats() {
        return Err(Refusal::invalid(
            "This action doesn't support the model that you provided. Try again with a supported text or chat model.",
        ));
    }
    check_limits(model, body)?;
    check_tools(body)?;
    let messages = match body.get("messages") {
        Some(Value::Array(messages)) => messages.as_slice(),
        None | Some(Value::Null) => &[],
        Some(_) => return Err(Refusal::named("SerializationException", "Expected list or null")),
    };
    check_roles(messages)?;
    for (place, message) in messages.iter().enumerate() {
        check_content(place, message)?;
    }
    check_tool_turns(messages, body.get("toolConfig").is_some())
}

fn check_limits(model: Model, body: &Value) -> Result<(), Refusal> {
    let config = &body["inferenceConfig"];
    if let Some(limit) = config.get("maxTokens").filter(|limit| !limit.is_null()) {
        let Some(tokens) = limit.as_i64() else {
            return Err(Refusal::named("SerializationException", "Expected integer for maxTokens"));
        };
        if tokens < 1 {
            return Err(constraint(
                limit,
                "inferenceConfig.maxTokens",
                "Member must have value greater than or equal to 1",
            ));
        }
        if tokens.unsigned_abs() > model.output_tokens_max {
            let most = model.output_tokens_max;
            return Err(Refusal::invalid(format!(
                "The maximum tokens you requested exceeds the model limit of {most}. Try again with a maximum tokens value that is lower than {most}."
            )));
        }
    }
    for name in ["temperature", "topP"] {
        let Some(value) = config.get(name).filter(|value| !value.is_null()) else { continue };
        let member = format!("inferenceConfig.{name}");
        match value.as_f64() {
            None => {
                return Err(Refusal::named("SerializationException", format!("Expected float for {name}")));
            }
            Some(number) if number > 1.0 => {
                return Err(constraint(value, &member, "Member must have value less than or equal to 1"));
            }
            Some(number) if number < 0.0 => {
                return Err(constraint(value, &member, "Member must have value greater than or equal to 0"));
            }
            Some(_) => {}
        }
    }
    Ok(())
}

fn check_tools(body: &Value) -> Result<(), Refusal> {
    let Some(config) = body.get("toolConfig").filter(|config| !config.is_null()) else {
        return Ok(());
    };
    let tools = match config.get("tools") {
        Some(Value::Array(tools)) if !tools.is_empty() => tools,
        Some(empty @ Value::Array(_)) => {
            return Err(constraint(
                empty,
                "toolConfig.tools",
                "Member must have length greater than or equal to 1",
            ));
        }
        _ => return Err(constraint(&Value::Null, "toolConfig.tools", "Member must not be null")),
    };
    for (place, tool) in tools.iter().enumerate() {
        check_tool(place, tool)?;
    }
    let choice = config.get("toolChoice").filter(|choice| !choice.is_null());
    if let Some(choice) = choice {
        let keys: Vec<&str> = choice.as_object().into_iter().flatten().map(|(key, _)| key.as_str()).collect();
        if !matches!(keys.as_slice(), ["auto" | "any" | "tool"]) {
            return Err(Refusal::invalid(
                "The toolChoice object at toolConfig.toolChoice must set one of the following keys: auto, any, tool.",
            ));
        }
    }
    Ok(())
}

fn check_tool(place: usize, tool: &Value) -> Result<(), Refusal> {
    let Some(spec) = tool.get("toolSpec") else {
        return if tool.get("cachePoint").is_some() || tool.get("systemTool").is_some() {
            Ok(())
        } else {
            Err(Refusal::invalid(format!(
                "The Tool object at toolConfig.tools.{place} must set one of the following keys: toolSpec, systemTool, cachePoint."
            )))
        };
    };
    let member = format!("toolConfig.tools.{}.member.toolSpec", place + 1);
    check_tool_name(&spec["name"], &format!("{member}.name"))?;
    let schema = spec.pointer("/inputSchema/json").unwrap_or(&Value::Null);
    if !schema.is_object() {
        return Err(constraint(&Value::Null, &format!("{member}.inputSchema"), "Member must not be null"));
    }
    if schema["type"] != "object" {
        return Err(Refusal::invalid(format!(
            "The value at toolConfig.tools.{place}.toolSpec.inputSchema.json.type must be one of the following: object."
        )));
    }
    Ok(())
}

fn check_tool_name(name: &Value, member: &str) -> Result<(), Refusal> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    let Some(text) = name.as_str() else {
        return Err(constraint(name, member, "Member must not be null"));
    };
    if text.is_empty() || text.len() > 64 {
        return Err(constraint(name, member, "Member must have length less than or equal to 64"));
    }
    if !text.bytes().all(fits) {
        return Err(constraint(
            name,
            member,
            "Member must satisfy regular expression pattern: [a-zA-Z0-9_-]+",
        ));
    }
    Ok(())
}

fn check_roles(messages: &[Value]) -> Result<(), Refusal> {
    for (place, message) in messages.iter().enumerate() {
        let role = &message["role"];
        if role != "user" && role != "assistant" {
            let member = format!("messages.{}.member.role", place + 1);
            return Err(constraint(role, &member, "Member must satisfy enum value set: [user, assistant]"));
        }
    }
    if messages.first().is_none_or(|first| first["role"] != "user") {
        return Err(Refusal::invalid(
            "A conversation must start with a user message. Try again with a conversation that starts with a user message.",
        ));
    }
    if messages.windows(2).any(|pair| pair[0]["role"] == pair[1]["role"]) {
        return Err(Refusal::invalid(
            "A conversation must alternate between user and assistant roles. Make sure the conversation alternates between user and assistant roles and try again.",
        ));
    }
    Ok(())
}

fn check_content(place: usize, message: &Value) -> Result<(), Refusal> {
    let Some(blocks) = message["content"].as_array().filter(|blocks| !blocks.is_empty()) else {
        return Err(Refusal::invalid(format!(
            "The content field in the Message object at messages.{place} is empty. Add a ContentBlock object to the content field and try again."
        )));
    };
    for (index, block) in blocks.iter().enumerate() {
        let at = format!("messages.{place}.content.{index}");
        let set =
            BLOCK_KEYS.iter().filter(|key| block.get(**key).is_some_and(|value| !value.is_null())).count();
        if set != 1 {
            return Err(Refusal::invalid(format!(
                "The ContentBlock object at {at} must set one of the following keys: {}.",
                BLOCK_KEYS.join(", ")
            )));
        }
        if block["text"].as_str().is_some_and(|text| text.trim().is_empty()) {
            return Err(Refusal::invalid(format!(
                "The text field in the ContentBlock object at {at} is blank. Add text to the text field, and try again."
            )));
        }
        check_image(&at, &block["image"])?;
        if let Some(call) = block.get("toolUse") {
            check_tool_name(&call["name"], &format!("{at}.toolUse.name"))?;
        }
    }
    Ok(())
}

fn check_image(at: &str, image: &Value) -> Result<(), Refusal> {
    if image.is_null() {
        return Ok(());
    }
    if !matches!(image["format"].as_str(), Some("png" | "jpeg" | "gif" | "webp")) {
        let member = format!("{at}.image.format");
        return Err(constraint(
            &image["format"],
            &member,
            "Member must satisfy enum value set: [png, jpeg, gif, webp]",
        ));
    }
    let source = &image["source"];
    let decodes = |bytes: &str| {
        base64::engine::general_purpose::STANDARD.decode(bytes).is_ok_and(|bytes| !bytes.is_empty())
    };
    if source["bytes"].as_str().is_some_and(decodes) || source.get("s3Location").is_some() {
        return Ok(());
    }
    Err(Refusal::invalid(format!(
        "The image source at {at} could not be processed. Add a valid image and try again."
    )))
}

/// Every call is answered in the next turn, and only calls are.
fn check_tool_turns(messages: &[Value], configured: bool) -> Result<(), Refusal> {
    let any = messages
        .iter()
        .any(|message| !ids(message, "toolUse").is_empty() || !ids(message, "toolResult").is_empty());
    if any && !configured {
        return Err(Refusal::invalid(
            "The toolConfig field must be defined when using toolUse and toolResult content blocks.",
        ));
    }
    let mut called: Vec<&str> = Vec::new();
    for (place, message) in messages.iter().enumerate() {
        let answered = ids(message, "toolResult");
        if answered.len() > called.len() {
            return Err(Refusal::invalid(format!(
                "The number of toolResult blocks at messages.{place}.content exceeds the number of toolUse blocks of previous turn."
            )));
        }
        let missing: Vec<&str> = called.iter().copied().filter(|id| !answered.contains(id)).collect();
        if !missing.is_empty() {
            return Err(Refusal::invalid(format!(
                "Expected toolResult blocks at messages.{place}.content for the following Ids: {}",
                missing.join(", ")
            )));
        }
        called = ids(message, "toolUse");
    }
    Ok(())
}

fn ids<'a>(message: &'a Value, kind: &str) -> Vec<&'a str> {
    let blocks = message["content"].as_array().into_iter().flatten();
    blocks.filter_map(|block| block.get(kind)?.get("toolUseId")?.as_str()).collect()
}

fn constraint(value: &Value, member: &str, rule: &str) -> Refusal {
    let value = match value {
        Value::String(text) => format!("'{text}'"),
        Value::Null => "null".to_owned(),
        other => format!("'{other}'"),
    };
    Refusal::invalid(format!(
        "1 validation error detected: Value {value} at '{member}' failed to satisfy constraint: {rule}"
    ))
}
