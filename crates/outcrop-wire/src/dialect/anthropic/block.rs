//! Content blocks of Anthropic: read into parts, written from parts.
//!
//! A block that core has no word for, or one with options that change the answer (a document with
//! citations), becomes `Part::Native` whole, so that other protocols refuse it by name.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use outcrop_core::ask::{Media, Part, Source};
use serde::Serialize;
use serde_json::Value;

use crate::Rejection;
use crate::dialect::guidance::tool_id;
use crate::dialect::object::{Object, elements, wrong};

/// Reads the content of a turn, a tool result or the system: a text or a list of blocks.
pub(super) fn read_content(content: Value, at: &str) -> Result<Vec<Part>, Rejection> {
    let mut parts = Vec::new();
    match content {
        Value::String(text) => parts.push(Part::Text(text)),
        list @ Value::Array(_) => {
            for (path, block) in elements(list, at)? {
                read_block(block, path, &mut parts)?;
            }
        }
        _ => return Err(wrong(at.to_owned(), "a string or a list of content blocks")),
    }
    Ok(parts)
}

fn read_block(value: Value, at: String, parts: &mut Vec<Part>) -> Result<(), Rejection> {
    let kind = value.get("type").and_then(Value::as_str).unwrap_or_default().to_owned();
    let native = match kind.as_str() {
        "image" => !has_known_source(&value),
        "document" => !is_plain_document(&value),
        "text" | "tool_use" | "tool_result" | "thinking" | "redacted_thinking" => false,
        "" => return Err(Object::of(value, at)?.missing("type")),
        _ => true,
    };
    if native {
        parts.push(Part::Native(value));
        return Ok(());
    }
    let mut block = Object::of(value, at)?;
    let cached = block.object("cache_control")?;
    parts.push(match kind.as_str() {
        "text" => Part::Text(block.required_text("text")?),
        "image" => Part::Image(read_source(&mut block)?),
        "document" => Part::Document { media: read_source(&mut block)?, name: block.text("title")? },
        "tool_use" => Part::ToolUse {
            id: block.required_text("id")?,
            name: block.required_text("name")?,
            input: block.take("input").unwrap_or_else(|| Value::Object(serde_json::Map::new())),
        },
        "tool_result" => read_result(&mut block)?,
        "thinking" => Part::Thinking {
            text: block.text("thinking")?.unwrap_or_default(),
            signature: block.text("signature")?.filter(|signature| !signature.is_empty()),
        },
        _ => Part::RedactedThinking(block.required_text("data")?),
    });
    if let Some(mut cached) = cached {
        parts.push(Part::CachePoint { ttl: cached.text("ttl")? });
    }
    Ok(())
}

fn read_result(block: &mut Object) -> Result<Part, Rejection> {
    let path = block.path("content");
    let content = block.take("content").map(|content| read_content(content, &path)).transpose()?;
    Ok(Part::ToolResult {
        id: block.required_text("tool_use_id")?,
        content: content.unwrap_or_default(),
        is_error: block.flag("is_error")?.unwrap_or(false),
    })
}

fn has_known_source(block: &Value) -> bool {
    let kind = block.pointer("/source/type").and_then(Value::as_str);
    matches!(kind, Some("base64" | "url" | "text"))
}

/// Whether a document asks for nothing that core has no word for.
fn is_plain_document(block: &Value) -> bool {
    let known = |name: &str| matches!(name, "type" | "source" | "title" | "cache_control");
    let fields = block.as_object().into_iter().flatten();
    has_known_source(block) && fields.into_iter().all(|(name, v)| known(name) || v.is_null())
}

fn read_source(block: &mut Object) -> Result<Media, Rejection> {
    let mut source = block.required_object("source")?;
    let media_type = source.text("media_type")?;
    Ok(match source.required_text("type")?.as_str() {
        "url" => Media {
            media_type: media_type.unwrap_or_default(),
            source: Source::Url(source.required_text("url")?),
        },
        "text" => Media {
            media_type: media_type.unwrap_or_else(|| "text/plain".to_owned()),
            source: Source::Base64(STANDARD.encode(source.required_text("data")?)),
        },
        _ => Media {
            media_type: media_type.ok_or_else(|| source.missing("media_type"))?,
            source: Source::Base64(source.required_text("data")?),
        },
    })
}

/// One block as it is written.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(super) enum Item<'a> {
    /// A block in core's words.
    Own {
        /// The block.
        #[serde(flatten)]
        block: Block<'a>,
        /// Where a cache point followed it.
        #[serde(skip_serializing_if = "Option::is_none")]
        cache_control: Option<CacheControl<'a>>,
    },
    /// A block of the caller's, as it came.
    Native(&'a Value),
}

#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Block<'a> {
    Text {
        text: Cow<'a, str>,
    },
    Image {
        source: Origin<'a>,
    },
    Document {
        source: Origin<'a>,
        #[serde(skip_serializing_if = "Option::is_none")]
        title: Option<&'a str>,
    },
    ToolUse {
        id: Cow<'a, str>,
        name: &'a str,
        input: &'a Value,
    },
    ToolResult {
        tool_use_id: Cow<'a, str>,
        content: Vec<Item<'a>>,
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        is_error: bool,
    },
    Thinking {
        thinking: &'a str,
        signature: &'a str,
    },
    RedactedThinking {
        data: &'a str,
    },
}

#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Origin<'a> {
    Base64 { media_type: &'a str, data: &'a str },
    Url { url: &'a str },
    Text { media_type: &'static str, data: String },
}

#[derive(Debug, Serialize)]
pub(super) struct CacheControl<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    ttl: Option<&'a str>,
}

impl<'a> Item<'a> {
    /// A block without a cache point.
    pub(super) fn own(block: Block<'a>) -> Self {
        Self::Own { block, cache_control: None }
    }

    /// Whether it is the result of a tool.
    pub(super) fn is_tool_result(&self) -> bool {
        matches!(self, Self::Own { block: Block::ToolResult { .. }, .. })
    }

    /// Puts a cache point behind this block, where Anthropic allows one.
    pub(super) fn cache(&mut self, ttl: Option<&'a str>) {
        if let Self::Own { block, cache_control } = self
            && !matches!(block, Block::Thinking { .. } | Block::RedactedThinking { .. })
        {
            *cache_control = Some(CacheControl { kind: "ephemeral", ttl });
        }
    }
}

/// The block of a text; an empty one is left out, because the API refuses it.
pub(super) fn text_block(text: &str) -> Option<Block<'_>> {
    (!text.is_empty()).then_some(Block::Text { text: Cow::Borrowed(text) })
}

/// The block of a tool call.
pub(super) fn tool_block<'a>(id: &'a str, name: &'a str, input: &'a Value) -> Block<'a> {
    Block::ToolUse { id: tool_id(id), name, input }
}

/// Where the bytes of a picture are.
pub(super) fn origin(media: &Media) -> Origin<'_> {
    match &media.source {
        Source::Url(url) => Origin::Url { url },
        Source::Base64(data) => Origin::Base64 { media_type: &media.media_type, data },
    }
}

/// Where the bytes of a document are; `None` where Anthropic cannot read its kind.
pub(super) fn document_origin(media: &Media) -> Option<Origin<'_>> {
    match (&media.source, media.media_type.as_str()) {
        (Source::Url(url), _) => Some(Origin::Url { url }),
        (Source::Base64(data), "application/pdf") => {
            Some(Origin::Base64 { media_type: &media.media_type, data })
        }
        (Source::Base64(data), kind) if kind.starts_with("text/") => {
            let text = String::from_utf8(STANDARD.decode(data).ok()?).ok()?;
            Some(Origin::Text { media_type: "text/plain", data: text })
        }
        (Source::Base64(_), _) => None,
    }
}
