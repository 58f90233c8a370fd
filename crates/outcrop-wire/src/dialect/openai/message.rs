//! Messages of a conversation as OpenAI writes them, borrowed from the core's turns.
//!
//! One turn may become several messages, because tool results are messages of their own here. What
//! this protocol cannot carry is refused by name; reasoning of earlier turns is left out where it has
//! no signature, because no OpenAI model accepts it back.

use std::fmt;

use outcrop_core::ask::{Media, Part, Role, Source, Turn};
use outcrop_core::{Chat, Protocol};
use serde::{Serialize, Serializer};
use serde_json::Value;

use crate::Inexpressible;
use crate::dialect::foreign;

/// How refusals name this protocol.
const TARGET: &str = "OpenAI chat completions";

/// A message.
#[derive(Debug, Serialize)]
pub(crate) struct Message<'a> {
    role: &'static str,
    content: Option<Content<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tool_calls: Vec<ToolCall<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_call_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Content<'a> {
    Text(String),
    Borrowed(&'a str),
    Parts(Vec<Piece<'a>>),
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Piece<'a> {
    Known(Known<'a>),
    Native(&'a Value),
}

#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Known<'a> {
    Text { text: &'a str },
    ImageUrl { image_url: ImageUrl<'a> },
    File { file: File<'a> },
}

#[derive(Debug, Serialize)]
struct ImageUrl<'a> {
    url: Url<'a>,
}

#[derive(Debug, Serialize)]
struct File<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    filename: Option<&'a str>,
    file_data: Url<'a>,
}

/// A URL, made from inline bytes where there are some.
#[derive(Debug)]
struct Url<'a>(&'a Media);

impl fmt::Display for Url<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0.source {
            Source::Base64(data) => write!(f, "data:{};base64,{data}", self.0.media_type),
            Source::Url(url) => f.write_str(url),
        }
    }
}

impl Serialize for Url<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A call of a tool.
#[derive(Debug, Serialize)]
pub(super) struct ToolCall<'a> {
    id: &'a str,
    #[serde(rename = "type")]
    kind: &'static str,
    function: FunctionCall<'a>,
}

#[derive(Debug, Serialize)]
struct FunctionCall<'a> {
    name: &'a str,
    arguments: Arguments<'a>,
}

/// Arguments of a call: JSON inside a string.
#[derive(Debug)]
pub(super) struct Arguments<'a>(pub(super) &'a Value);

impl Serialize for Arguments<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            // What an upstream wrote that was no JSON; it was text and stays the same text.
            Value::String(text) => serializer.serialize_str(text),
            value => serializer.collect_str(value),
        }
    }
}

impl<'a> ToolCall<'a> {
    /// The call that `part` is.
    pub(super) fn of(part: &'a Part) -> Option<Self> {
        match part {
            Part::ToolUse { id, name, input } => Some(Self {
                id,
                kind: "function",
                function: FunctionCall { name, arguments: Arguments(input) },
            }),
            _ => None,
        }
    }
}

/// The messages of `chat`, instructions first.
pub(super) fn messages(chat: &Chat) -> Result<Vec<Message<'_>>, Inexpressible> {
    let mut messages = Vec::with_capacity(chat.turns.len() + 1);
    if let Some(content) = content(chat.system.iter(), chat)? {
        messages.push(plain("system", content));
    }
    for turn in &chat.turns {
        match turn.role {
            Role::User => push_user(turn, chat, &mut messages)?,
            Role::Assistant => push_assistant(turn, chat, &mut messages)?,
        }
    }
    Ok(messages)
}

fn plain<'a>(role: &'static str, content: Content<'a>) -> Message<'a> {
    Message { role, content: Some(content), tool_calls: Vec::new(), tool_call_id: None, name: None }
}

/// Tool results come first: they must follow the calls they answer.
fn push_user<'a>(turn: &'a Turn, chat: &Chat, messages: &mut Vec<Message<'a>>) -> Result<(), Inexpressible> {
    for part in &turn.parts {
        if let Part::ToolResult { id, content, is_error } = part {
            let content = result_content(content, *is_error, chat)?;
            messages.push(Message { tool_call_id: Some(id), ..plain("tool", content) });
        }
    }
    let rest = turn.parts.iter().filter(|p| !matches!(p, Part::ToolResult { .. }));
    if let Some(content) = content(rest, chat)? {
        messages.push(Message { name: name_of(turn), ..plain("user", content) });
    }
    Ok(())
}

fn push_assistant<'a>(
    turn: &'a Turn,
    chat: &Chat,
    messages: &mut Vec<Message<'a>>,
) -> Result<(), Inexpressible> {
    let tool_calls: Vec<_> = turn.parts.iter().filter_map(ToolCall::of).collect();
    let rest = turn.parts.iter().filter(|part| {
        !matches!(part, Part::ToolUse { .. } | Part::Thinking { .. } | Part::RedactedThinking(_))
    });
    let content = content(rest, chat)?;
    if content.is_none() && tool_calls.is_empty() {
        return Ok(());
    }
    let name = name_of(turn);
    messages.push(Message { role: "assistant", content, tool_calls, tool_call_id: None, name });
    Ok(())
}

/// A result's content; a failed tool is said in words, because the protocol has no field for it.
fn result_content<'a>(parts: &'a [Part], is_error: bool, chat: &Chat) -> Result<Content<'a>, Inexpressible> {
    if !is_error {
        return Ok(content(parts.iter(), chat)?.unwrap_or(Content::Borrowed("")));
    }
    let texts: Vec<&str> = parts.iter().filter_map(text_of).collect();
    if texts.len() != parts.len() {
        return Err(cannot("a picture or document in the result of a failed tool"));
    }
    Ok(Content::Text(format!("Error: {}", texts.join("\n"))))
}

/// Content of one message: a string for a single text, parts otherwise, nothing for nothing.
fn content<'a>(
    parts: impl Iterator<Item = &'a Part>,
    chat: &Chat,
) -> Result<Option<Content<'a>>, Inexpressible> {
    let mut pieces = Vec::new();
    for part in parts {
        pieces.extend(piece(part, chat)?);
    }
    Ok(match pieces.as_slice() {
        [] => None,
        [Piece::Known(Known::Text { text })] => Some(Content::Borrowed(text)),
        _ => Some(Content::Parts(pieces)),
    })
}

/// A part of a message; `None` for what only steers caching and for a name, written elsewhere.
fn piece<'a>(part: &'a Part, chat: &Chat) -> Result<Option<Piece<'a>>, Inexpressible> {
    let known = match part {
        Part::Text(text) => Known::Text { text },
        Part::Image(media) => Known::ImageUrl { image_url: ImageUrl { url: Url(media) } },
        Part::Document { media, name } => match &media.source {
            Source::Base64(_) => {
                Known::File { file: File { filename: name.as_deref(), file_data: Url(media) } }
            }
            Source::Url(_) => return Err(cannot("a document behind a URL")),
        },
        Part::Native(value) if own(chat) && participant(value).is_some() => return Ok(None),
        Part::Native(value) if own(chat) => return Ok(Some(Piece::Native(value))),
        Part::Native(value) => return Err(foreign::refuse_block(chat, value, TARGET)),
        Part::CachePoint { .. } | Part::Thinking { .. } | Part::RedactedThinking(_) => {
            return Ok(None);
        }
        Part::ToolUse { .. } => return Err(cannot("a tool call in a user turn")),
        Part::ToolResult { .. } => return Err(cannot("a tool result in an assistant turn")),
    };
    Ok(Some(Piece::Known(known)))
}

fn text_of(part: &Part) -> Option<&str> {
    match part {
        Part::Text(text) => Some(text),
        _ => None,
    }
}

/// The speaker's name, kept as native content because only this protocol has one.
pub(super) fn participant_part(name: &str) -> Part {
    Part::Native(serde_json::json!({"type": "participant_name", "name": name}))
}

fn participant(value: &Value) -> Option<&str> {
    let is_name = value.get("type").and_then(Value::as_str) == Some("participant_name");
    is_name.then(|| value.get("name").and_then(Value::as_str)).flatten()
}

fn name_of(turn: &Turn) -> Option<&str> {
    turn.parts.iter().find_map(|part| match part {
        Part::Native(value) => participant(value),
        _ => None,
    })
}

fn own(chat: &Chat) -> bool {
    chat.protocol == Some(Protocol::OpenAiChat)
}

fn cannot(what: &str) -> Inexpressible {
    Inexpressible(format!("{TARGET} cannot carry {what}; send it to another path."))
}
