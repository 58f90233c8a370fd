//! The wire protocols: which ones exist, and which dialect their errors are spoken in.
//!
//! Only names live here; the bytes are the business of `outcrop-wire`.

use serde::{Deserialize, Serialize};

/// The family of conventions a caller expects in answers and errors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Dialect {
    /// OpenAI REST: `{"error": {...}}`, server-sent events ended by `[DONE]`.
    #[serde(rename = "openai")]
    OpenAi,
    /// Anthropic REST: `{"type": "error", ...}`, named server-sent events.
    Anthropic,
    /// Amazon Bedrock runtime: `x-amzn-ErrorType`, `application/vnd.amazon.eventstream`.
    Bedrock,
    /// Model Context Protocol: JSON-RPC 2.0.
    Mcp,
}

impl Dialect {
    /// The bounded metric label of the API.
    pub fn label(self) -> &'static str {
        match self {
            Self::OpenAi => "openai",
            Self::Anthropic => "anthropic",
            Self::Bedrock => "bedrock",
            Self::Mcp => "mcp",
        }
    }
}

/// One request-and-answer shape on the wire. Equal protocols on both sides pass bytes unchanged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    /// `POST /v1/chat/completions`.
    OpenAiChat,
    /// `POST /v1/embeddings`.
    OpenAiEmbeddings,
    /// `POST /v1/messages`.
    AnthropicMessages,
    /// `POST /v1/messages/count_tokens`.
    AnthropicCountTokens,
    /// `POST /model/{id}/converse` and `/converse-stream`.
    BedrockConverse,
    /// `POST /model/{id}/invoke` and `/invoke-with-response-stream`; the body is the model's own.
    BedrockInvoke,
    /// `POST /model/{id}/count-tokens`.
    BedrockCountTokens,
    /// `tools/call` of the tool that answers a chat.
    McpTool,
}

impl Protocol {
    /// The dialect whose error shapes belong to this protocol.
    pub fn dialect(self) -> Dialect {
        match self {
            Self::OpenAiChat | Self::OpenAiEmbeddings => Dialect::OpenAi,
            Self::AnthropicMessages | Self::AnthropicCountTokens => Dialect::Anthropic,
            Self::BedrockConverse | Self::BedrockInvoke | Self::BedrockCountTokens => Dialect::Bedrock,
            Self::McpTool => Dialect::Mcp,
        }
    }
}
