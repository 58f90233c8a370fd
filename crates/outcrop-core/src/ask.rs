//! What is asked, decoded from any dialect.
//!
//! The content model is the union of what the dialects can say. A thing that only one protocol can
//! express is kept as `Part::Native` or in `extra` with the protocol it came from, so that encoding
//! to another protocol can refuse it by name instead of dropping it silently.

use serde_json::{Map, Value};

use crate::Protocol;

/// A decoded request.
#[derive(Debug, Clone, PartialEq)]
pub enum Ask {
    /// Generate an answer to a conversation.
    Chat(Box<Chat>),
    /// Turn texts into vectors.
    Embed(Embed),
    /// Count the input tokens of a conversation without answering it.
    CountTokens(Box<Chat>),
    /// A model-native body that no codec here reads; only its own protocol can carry it.
    Opaque,
}

/// A conversation and the limits of its answer.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Chat {
    /// Instructions outside the turns.
    pub system: Vec<Part>,
    /// The turns, oldest first.
    pub turns: Vec<Turn>,
    /// Tools the model may call.
    pub tools: Vec<Tool>,
    /// Which tool it must or may call; `None` leaves the protocol's default.
    pub tool_choice: Option<ToolChoice>,
    /// `Some(false)` forbids several tool calls in one answer.
    pub parallel_tools: Option<bool>,
    /// Limits and sampling.
    pub sampling: Sampling,
    /// Required shape of the answer.
    pub format: Option<Format>,
    /// Extended thinking.
    pub thinking: Option<Thinking>,
    /// Whether the caller asked for usage in the stream (OpenAI `stream_options.include_usage`).
    pub stream_usage: bool,
    /// The caller's own identifier of its end user.
    pub user: Option<String>,
    /// Unknown or single-protocol top-level fields, in order, as the `protocol` spells them.
    pub extra: Map<String, Value>,
    /// The protocol that `extra` and every `Part::Native` belong to.
    pub protocol: Option<Protocol>,
}

/// Limits and sampling parameters.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Sampling {
    /// Most output tokens.
    pub max_tokens: Option<u64>,
    /// As given; ranges differ by provider and are checked there.
    pub temperature: Option<f64>,
    /// Nucleus sampling.
    pub top_p: Option<f64>,
    /// Top-k sampling (Anthropic; Bedrock through additional fields).
    pub top_k: Option<u64>,
    /// Stop sequences.
    pub stop: Vec<String>,
    /// Number of answers; only OpenAI can express more than one.
    pub n: Option<u64>,
    /// Seed (OpenAI).
    pub seed: Option<i64>,
}

/// Who speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The human or the program; tool results travel here too.
    User,
    /// The model.
    Assistant,
}

/// One turn.
#[derive(Debug, Clone, PartialEq)]
pub struct Turn {
    /// Who speaks.
    pub role: Role,
    /// What is said.
    pub parts: Vec<Part>,
}

/// A piece of content.
#[derive(Debug, Clone, PartialEq)]
pub enum Part {
    /// Plain text.
    Text(String),
    /// A picture.
    Image(Media),
    /// A document with an optional name.
    Document {
        /// The bytes.
        media: Media,
        /// File name.
        name: Option<String>,
    },
    /// The model calls a tool.
    ToolUse {
        /// Id that the result refers to.
        id: String,
        /// Name of the tool.
        name: String,
        /// Arguments: a JSON object.
        input: Value,
    },
    /// The result of a tool call.
    ToolResult {
        /// Id of the call.
        id: String,
        /// Content: text, images or documents.
        content: Vec<Part>,
        /// Whether the tool failed.
        is_error: bool,
    },
    /// The model's reasoning; the signature is kept byte for byte.
    Thinking {
        /// The text.
        text: String,
        /// Proof that the provider wrote it.
        signature: Option<String>,
    },
    /// Reasoning that the provider encrypted.
    RedactedThinking(String),
    /// Everything before this point may be cached (`ttl` as the protocol spells it).
    CachePoint {
        /// `5m` or `1h`; `None` is the provider's default.
        ttl: Option<String>,
    },
    /// Content that only the originating protocol can express.
    Native(Value),
}

/// Bytes of an image or document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Media {
    /// IANA media type, `image/png`; empty when only a URL is known.
    pub media_type: String,
    /// Where the bytes are.
    pub source: Source,
}

/// Where media bytes are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// Inline, standard base64 text.
    Base64(String),
    /// Behind a URL that the provider fetches; the gateway never does.
    Url(String),
}

/// A tool the model may call.
#[derive(Debug, Clone, PartialEq)]
pub struct Tool {
    /// `[a-zA-Z0-9_-]{1,64}`.
    pub name: String,
    /// What it does.
    pub description: Option<String>,
    /// JSON Schema of its arguments.
    pub schema: Value,
    /// Whether arguments must match the schema exactly.
    pub strict: Option<bool>,
}

/// Which tool the model must or may call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ToolChoice {
    /// The model decides.
    Auto,
    /// Some tool must be called.
    Any,
    /// No tool may be called.
    None,
    /// This tool must be called.
    Named(String),
}

/// Required shape of the answer.
#[derive(Debug, Clone, PartialEq)]
pub enum Format {
    /// Any JSON object.
    JsonObject,
    /// JSON that matches a schema.
    JsonSchema {
        /// Name of the schema.
        name: String,
        /// The schema.
        schema: Value,
        /// Whether it must match exactly.
        strict: Option<bool>,
    },
}

/// Extended thinking.
#[derive(Debug, Clone, PartialEq)]
pub enum Thinking {
    /// At most this many tokens of reasoning.
    Budget(u64),
    /// `low`, `medium`, `high`, … as OpenAI's `reasoning_effort` spells it.
    Effort(String),
    /// Explicitly off.
    Off,
    /// Another form, as the originating protocol spells it (`{"type": "adaptive"}`).
    Native(Value),
}

/// Texts to turn into vectors.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Embed {
    /// What to embed.
    pub inputs: Vec<EmbedInput>,
    /// Length of the vectors.
    pub dimensions: Option<u64>,
    /// Whether the caller wants vectors as base64 of little-endian `f32`.
    pub base64: bool,
    /// Unknown top-level fields.
    pub extra: Map<String, Value>,
}

/// One input of an embedding request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EmbedInput {
    /// Text.
    Text(String),
    /// Token ids of the model's own vocabulary; only OpenAI can express them.
    Tokens(Vec<u64>),
}

impl Chat {
    /// The text of the last user turn, parts joined by newlines; empty when it has none.
    pub fn last_user_text(&self) -> String {
        let last = self.turns.iter().rev().find(|t| t.role == Role::User);
        let texts = last.into_iter().flat_map(|t| &t.parts).filter_map(|p| match p {
            Part::Text(text) => Some(text.as_str()),
            _ => None,
        });
        texts.collect::<Vec<_>>().join("\n")
    }

    /// Whether any turn carries tool calls or results.
    pub fn has_tool_history(&self) -> bool {
        self.turns
            .iter()
            .flat_map(|t| &t.parts)
            .any(|p| matches!(p, Part::ToolUse { .. } | Part::ToolResult { .. }))
    }
}
