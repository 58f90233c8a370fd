//! Content blocks of Converse: read into parts, written from parts.
//!
//! A block that core has no word for (guarded content, video, bytes in S3) becomes `Part::Native`
//! whole, so that other protocols refuse it by name.

use std::borrow::Cow;

use outcrop_core::ask::{Media, Part, Source};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::Rejection;
use crate::dialect::guidance::tool_id;
use crate::dialect::object::{Object, elements};

/// Reads a list of blocks.
pub(super) fn read_blocks(blocks: Vec<(String, Value)>) -> Result<Vec<Part>, Rejection> {
    let mut parts = Vec::with_capacity(blocks.len());
    for (at, block) in blocks {
        read_block(block, at, &mut parts)?;
    }
    Ok(parts)
}

fn read_block(value: Value, at: String, parts: &mut Vec<Part>) -> Result<(), Rejection> {
    if is_native(&value) {
        parts.push(Part::Native(value));
        return Ok(());
    }
    let mut block = Object::of(value, at)?;
    if let Some(text) = block.text("text")? {
        parts.push(Part::Text(text));
    } else if let Some(json) = block.take("json") {
        parts.push(Part::Text(json.to_string()));
    } else if let Some(image) = block.object("image")? {
        parts.push(Part::Image(read_media(image, image_type)?));
    } else if let Some(mut document) = block.object("document")? {
        let name = document.text("name")?;
        parts.push(Part::Document { media: read_media(document, document_type)?, name });
    } else if let Some(mut call) = block.object("toolUse")? {
        parts.push(Part::ToolUse {
            id: call.required_text("toolUseId")?,
            name: call.required_text("name")?,
            input: call.take("input").unwrap_or_else(|| Value::Object(Map::new())),
        });
    } else if let Some(mut result) = block.object("toolResult")? {
        parts.push(Part::ToolResult {
            id: result.required_text("toolUseId")?,
            content: read_blocks(result.list("content")?)?,
            is_error: result.text("status")?.as_deref() == Some("error"),
        });
    } else if let Some(mut reasoning) = block.object("reasoningContent")? {
        parts.push(read_reasoning(&mut reasoning)?);
    } else if let Some(mut cited) = block.object("citationsContent")? {
        parts.extend(read_blocks(cited.list("content")?)?);
    } else if let Some(mut point) = block.object("cachePoint")? {
        parts.push(Part::CachePoint { ttl: point.text("ttl")? });
    }
    Ok(())
}

/// Whether core has no word for a block.
fn is_native(block: &Value) -> bool {
    let Some((kind, value)) = block.as_object().and_then(|fields| fields.iter().next()) else {
        return false;
    };
    let has = |pointer: &str| value.pointer(pointer).is_some_and(|found| !found.is_null());
    match kind.as_str() {
        "text" | "json" | "toolResult" | "reasoningContent" | "citationsContent" | "cachePoint" => false,
        "toolUse" => has("/type"),
        "image" => !has("/source/bytes"),
        "document" => !has("/source/bytes") || has("/context") || has("/citations"),
        _ => true,
    }
}

fn read_media(mut media: Object, kind: fn(&str) -> String) -> Result<Media, Rejection> {
    let format = media.text("format")?.unwrap_or_default();
    let mut source = media.required_object("source")?;
    let bytes = source.required_text("bytes")?;
    Ok(Media { media_type: kind(&format), source: Source::Base64(bytes) })
}

fn read_reasoning(reasoning: &mut Object) -> Result<Part, Rejection> {
    if let Some(data) = reasoning.text("redactedContent")? {
        return Ok(Part::RedactedThinking(data));
    }
    let mut text = reasoning.required_object("reasoningText")?;
    Ok(Part::Thinking {
        text: text.text("text")?.unwrap_or_default(),
        signature: text.text("signature")?.filter(|signature| !signature.is_empty()),
    })
}

fn image_type(format: &str) -> String {
    format!("image/{format}")
}

fn document_type(format: &str) -> String {
    let known = DOCUMENTS.iter().find(|(name, _)| *name == format);
    known.map_or_else(String::new, |(_, media_type)| (*media_type).to_owned())
}

/// Formats of documents and their media types.
const DOCUMENTS: [(&str, &str); 9] = [
    ("pdf", "application/pdf"),
    ("csv", "text/csv"),
    ("doc", "application/msword"),
    ("docx", "application/vnd.openxmlformats-officedocument.wordprocessingml.document"),
    ("xls", "application/vnd.ms-excel"),
    ("xlsx", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"),
    ("html", "text/html"),
    ("txt", "text/plain"),
    ("md", "text/markdown"),
];

/// One block as it is written.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Block<'a> {
    Text(Cow<'a, str>),
    Image(File<'a>),
    Document(File<'a>),
    #[serde(rename_all = "camelCase")]
    ToolUse {
        tool_use_id: Cow<'a, str>,
        name: &'a str,
        input: &'a Value,
    },
    #[serde(rename_all = "camelCase")]
    ToolResult {
        tool_use_id: Cow<'a, str>,
        content: Vec<Block<'a>>,
        status: &'static str,
    },
    ReasoningContent(Reasoning<'a>),
    CachePoint {
        #[serde(rename = "type")]
        kind: &'static str,
        #[serde(skip_serializing_if = "Option::is_none")]
        ttl: Option<&'a str>,
    },
    /// A block of the caller's, as it came.
    #[serde(untagged)]
    Native(&'a Value),
}

#[derive(Debug, Serialize)]
pub(super) struct File<'a> {
    format: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    source: Inline<'a>,
}

#[derive(Debug, Serialize)]
struct Inline<'a> {
    bytes: &'a str,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Reasoning<'a> {
    ReasoningText {
        text: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        signature: Option<&'a str>,
    },
    RedactedContent(&'a str),
}

/// The block of a picture; the error says what Converse cannot take.
pub(super) fn image(media: &Media) -> Result<Block<'_>, String> {
    let Source::Base64(bytes) = &media.source else {
        return Err("A picture behind a URL cannot be said to Bedrock Converse; send its bytes as \
                    a `data:` URL."
            .to_owned());
    };
    let format = match media.media_type.as_str() {
        "image/png" => "png",
        "image/jpeg" | "image/jpg" => "jpeg",
        "image/gif" => "gif",
        "image/webp" => "webp",
        other => {
            return Err(format!(
                "A picture of type `{other}` cannot be said to Bedrock Converse; send png, jpeg, \
                 gif or webp."
            ));
        }
    };
    Ok(Block::Image(File { format, name: None, source: Inline { bytes } }))
}

/// The block of a document; the error says what Converse cannot take.
pub(super) fn document<'a>(media: &'a Media, name: Option<&str>) -> Result<Block<'a>, String> {
    let Source::Base64(bytes) = &media.source else {
        return Err("A document behind a URL cannot be said to Bedrock Converse; send its bytes.".to_owned());
    };
    let found = DOCUMENTS.iter().find(|(_, media_type)| *media_type == media.media_type);
    let Some((format, _)) = found else {
        return Err(format!(
            "A document of type `{}` cannot be said to Bedrock Converse; send pdf, csv, doc, docx, \
             xls, xlsx, html, txt or md.",
            media.media_type
        ));
    };
    let name = Some(document_name(name.unwrap_or_default()));
    Ok(Block::Document(File { format, name, source: Inline { bytes } }))
}

/// The name in letters that Converse accepts: it is required, and single spaces are the only blanks.
fn document_name(name: &str) -> String {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '(' | ')' | '[' | ']');
    let mapped: String = name.chars().map(|c| if fits(c) { c } else { ' ' }).collect();
    let words: Vec<&str> = mapped.split_whitespace().collect();
    let joined: String = words.join(" ").chars().take(200).collect();
    if joined.is_empty() { "document".to_owned() } else { joined.trim_end().to_owned() }
}

/// The block of a text; a blank one is left out, because the service refuses it.
pub(super) fn text(text: &str) -> Option<Block<'_>> {
    (!text.trim().is_empty()).then_some(Block::Text(Cow::Borrowed(text)))
}

/// The block of a tool call.
pub(super) fn tool_use<'a>(id: &'a str, name: &'a str, input: &'a Value) -> Block<'a> {
    Block::ToolUse { tool_use_id: tool_id(id), name, input }
}

/// The elements of `content` where it is a list, for replies.
pub(super) fn read_content(content: Value, at: &str) -> Result<Vec<Part>, Rejection> {
    read_blocks(elements(content, at)?)
}
