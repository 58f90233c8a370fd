//! The closed world of paths: which kinds exist, and which protocol each would speak.
//!
//! A further kind is a variant here, one file beside this one and one in `outcrop-core`; every
//! `match` is without `_`, so the compiler lists what is left to decide.

use outcrop_core::{Failure, PathKind, Protocol, Reply};
use outcrop_wire::Envelope;

use crate::anthropic::AnthropicPath;
use crate::bedrock::BedrockPath;
use crate::mcp::McpPath;
use crate::openai::OpenAiPath;
use crate::want::{Want, want};
use crate::{Answer, AnswerBody, Attempt, Whole, outcome};

/// A configured way out, ready to be used.
#[derive(Debug)]
pub enum Path {
    /// Amazon Bedrock runtime.
    Bedrock(BedrockPath),
    /// A tool of an MCP server.
    Mcp(McpPath),
    /// An OpenAI-compatible endpoint.
    OpenAi(OpenAiPath),
    /// The Anthropic API.
    Anthropic(AnthropicPath),
}

impl Path {
    /// The kind of the path.
    pub fn kind(&self) -> PathKind {
        match self {
            Self::Bedrock(_) => PathKind::Bedrock,
            Self::Mcp(_) => PathKind::Mcp,
            Self::OpenAi(_) => PathKind::OpenAi,
            Self::Anthropic(_) => PathKind::Anthropic,
        }
    }

    /// The protocol that an attempt at `model_id` would use; see `speaks`.
    pub fn speaks(&self, envelope: &Envelope, model_id: &str) -> Option<Protocol> {
        speaks(self.kind(), envelope, model_id)
    }

    /// Tries once. Whole answers are complete when this returns; streams have sent their head.
    pub async fn attempt(&self, attempt: Attempt<'_>) -> Result<Answer, Failure> {
        match self {
            Self::Bedrock(path) => path.attempt(attempt).await,
            Self::Mcp(path) => path.attempt(attempt).await,
            Self::OpenAi(path) => path.attempt(attempt).await,
            Self::Anthropic(path) => path.attempt(attempt).await,
        }
    }

    /// Whether its count of an input is what will be charged; `None` where nobody counts.
    pub fn counts_exactly(&self) -> Option<bool> {
        match self {
            // By the documentation of CountTokens it "will match the token count that would be charged".
            Self::Bedrock(_) => Some(true),
            // "The token count should be considered an estimate."
            Self::Anthropic(_) => Some(false),
            Self::Mcp(_) | Self::OpenAi(_) => None,
        }
    }

    /// Asks how many tokens the input of an attempt has, without trying it. Free of charge.
    pub async fn count_input(&self, attempt: Attempt<'_>) -> Result<u64, Failure> {
        let answer = match self {
            Self::Bedrock(path) => path.count_input(attempt).await?,
            Self::Anthropic(path) => path.count_input(attempt).await?,
            Self::Mcp(_) | Self::OpenAi(_) => return Err(outcome::nobody_counts()),
        };
        match answer.body {
            AnswerBody::Whole(Whole { reply: Reply::TokenCount(tokens), .. }) => Ok(tokens),
            AnswerBody::Whole(_) | AnswerBody::Stream(_) => Err(outcome::nobody_counts()),
        }
    }

    pub(crate) async fn close(&self) {
        match self {
            Self::Bedrock(path) => path.close(),
            Self::Mcp(path) => path.close().await,
            Self::OpenAi(_) | Self::Anthropic(_) => {}
        }
    }
}

/// The protocol that a path of this kind would use for `model_id`: the caller's own where it has it. `None`
/// when it cannot carry what is asked.
pub fn speaks(kind: PathKind, envelope: &Envelope, model_id: &str) -> Option<Protocol> {
    match kind {
        PathKind::Bedrock => crate::bedrock::speaks(envelope, model_id),
        PathKind::Mcp => (want(envelope) == Want::Chat).then_some(Protocol::McpTool),
        PathKind::OpenAi => match want(envelope) {
            Want::Chat => Some(Protocol::OpenAiChat),
            Want::Embed => Some(Protocol::OpenAiEmbeddings),
            Want::CountTokens | Want::Native => None,
        },
        PathKind::Anthropic => match want(envelope) {
            Want::Chat => Some(Protocol::AnthropicMessages),
            Want::CountTokens => Some(Protocol::AnthropicCountTokens),
            Want::Embed | Want::Native => None,
        },
    }
}
