//! Content of a message: text, pictures, files, calls of tools, reasoning.
//!
//! Pictures and files inline are `data:` URLs; nothing is ever fetched. A part of an unknown kind
//! stays as it is.

use outcrop_core::ask::{Media, Part, Source};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::Rejection;

/// A call of a tool in the history.
#[derive(Deserialize)]
pub(super) struct ToolCallIn {
    #[serde(default)]
    id: Option<String>,
    #[serde(default)]
    function: Option<FunctionIn>,
    #[serde(flatten)]
    extra: Map<String, Value>,
}

#[derive(Deserialize)]
struct FunctionIn {
    name: String,
    #[serde(default)]
    arguments: Option<String>,
}

impl ToolCallIn {
    /// The call as a part; arguments must be a JSON object, empty text stands for none.
    pub(super) fn part(self, path: &str) -> Result<Part, Rejection> {
        let Some(function) = self.function else {
            return Ok(Part::Native(Value::Object(self.extra)));
        };
        let text = function.arguments.unwrap_or_default();
        let input: Value = match text.trim() {
            "" => json!({}),
            text => serde_json::from_str(text).unwrap_or(Value::Null),
        };
        let path = format!("{path}.function.arguments");
        if !input.is_object() {
            let message = format!("`{path}` must be the text of a JSON object.");
            return Err(Rejection::of(path, message));
        }
        Ok(Part::ToolUse { id: self.id.unwrap_or_default(), name: function.name, input })
    }
}

/// The parts of `content`: a string, a list of parts, or nothing.
pub(in super::super::super) fn parts(content: Option<Value>, path: &str) -> Result<Vec<Part>, Rejection> {
    match content {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::String(text)) => Ok(vec![Part::Text(text)]),
        Some(Value::Array(items)) => {
            let mut parts = Vec::with_capacity(items.len());
            for (index, item) in items.into_iter().enumerate() {
                let point = cache_point(&item);
                parts.push(part(item, &format!("{path}[{index}]"))?);
                parts.extend(point);
            }
            Ok(parts)
        }
        Some(_) => Err(Rejection::of(path, format!("`{path}` must be a string or a list of parts."))),
    }
}

fn part(mut item: Value, path: &str) -> Result<Part, Rejection> {
    let inline_file = item.pointer("/file/file_data").is_some();
    let mut string = |pointer: &str| match item.pointer_mut(pointer).map(Value::take) {
        Some(Value::String(text)) => Some(text),
        _ => None,
    };
    let kind = string("/type").unwrap_or_default();
    let missing = |field: &str| {
        let path = format!("{path}.{field}");
        Rejection::of(path.clone(), format!("`{path}` is missing or no string."))
    };
    match kind.as_str() {
        "text" => string("/text").map(Part::Text).ok_or_else(|| missing("text")),
        "refusal" => string("/refusal").map(Part::Text).ok_or_else(|| missing("refusal")),
        "image_url" => {
            let url = string("/image_url/url").ok_or_else(|| missing("image_url.url"))?;
            Ok(Part::Image(media(url, path)?))
        }
        "file" if inline_file => {
            let data = string("/file/file_data").ok_or_else(|| missing("file.file_data"))?;
            let name = string("/file/filename");
            Ok(Part::Document { media: media(data, path)?, name })
        }
        "" => Err(missing("type")),
        _ => {
            if let Some(object) = item.as_object_mut() {
                object.insert("type".to_owned(), Value::String(kind));
            }
            Ok(Part::Native(item))
        }
    }
}

/// Bytes inline in a `data:` URL, or a URL that the provider fetches.
fn media(url: String, path: &str) -> Result<Media, Rejection> {
    let Some(inline) = url.strip_prefix("data:") else {
        return Ok(Media { media_type: String::new(), source: Source::Url(url) });
    };
    match inline.split_once(";base64,") {
        Some((media_type, data)) if !media_type.is_empty() => {
            let media_type = media_type.split(';').next().unwrap_or_default().to_owned();
            Ok(Media { media_type, source: Source::Base64(data.to_owned()) })
        }
        _ => {
            let message = "A `data:` URL must be `data:<media type>;base64,<data>`.";
            Err(Rejection::of(path, format!("`{path}`: {message}")))
        }
    }
}

/// Anthropic's `cache_control`, which several clients also send here.
fn cache_point(item: &Value) -> Option<Part> {
    let control = item.get("cache_control").filter(|value| value.is_object())?;
    let ttl = control.get("ttl").and_then(Value::as_str).map(str::to_owned);
    Some(Part::CachePoint { ttl })
}

/// Signed reasoning of an earlier answer (`thinking_blocks`); unsigned reasoning is not sent back.
pub(in super::super::super) fn reasoning(extra: &Map<String, Value>) -> Vec<Part> {
    let blocks = extra.get("thinking_blocks").and_then(Value::as_array);
    let mut parts = Vec::new();
    for block in blocks.into_iter().flatten() {
        let text = |key: &str| block.get(key).and_then(Value::as_str).map(str::to_owned);
        match block.get("type").and_then(Value::as_str) {
            Some("redacted_thinking") => {
                parts.extend(text("data").map(Part::RedactedThinking));
            }
            _ => parts.push(Part::Thinking {
                text: text("thinking").unwrap_or_default(),
                signature: text("signature"),
            }),
        }
    }
    parts
}

/// Fields of a message that no other protocol has; empty ones and what was read elsewhere are left
/// out, and so is the bookkeeping that clients send back with an answer.
pub(super) fn native(extra: Map<String, Value>) -> impl Iterator<Item = Part> {
    extra.into_iter().filter_map(|(key, value)| {
        let known = matches!(
            key.as_str(),
            "thinking_blocks"
                | "reasoning_content"
                | "reasoning"
                | "annotations"
                | "tool_call_id"
                | "provider_specific_fields"
        );
        let empty = match &value {
            Value::Null => true,
            Value::Array(items) => items.is_empty(),
            Value::Object(object) => object.is_empty(),
            _ => false,
        };
        match key.as_str() {
            _ if known || empty => None,
            "cache_control" => cache_point(&json!({ "cache_control": value })),
            _ => Some(Part::Native(json!({"type": key, "value": value}))),
        }
    })
}
