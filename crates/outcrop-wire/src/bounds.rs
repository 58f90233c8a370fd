//! How many input tokens a request can be billed for at most, before it is sent.
//!
//! Sound rather than close: a token of a byte-level vocabulary covers at least one byte, so the bytes
//! of everything that the model may see bound its tokens; what providers add unseen has a named
//! allowance, and an image the largest figure of its provider's formula. What has no formula is named
//! in [`InputBounds::unbounded`] and is never guessed. One pass over the body, once per request;
//! nothing is decoded. Knows nothing of prices, and nothing of output.
#![warn(clippy::arithmetic_side_effects)]

mod place;
mod text;
mod walk;

use outcrop_core::Protocol;

use crate::Envelope;
pub(crate) use walk::Tally;

/// The most a request can be billed for on its input side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InputBounds {
    /// No honest count of the input is above this. Media without a formula are not in it.
    pub input_tokens: u64,
    /// Bytes of all text that the model may see, as the longest form it may see it in.
    pub text_bytes: u64,
    /// Messages, or inputs of an embedding request.
    pub messages: u64,
    /// Images.
    pub images: u64,
    /// What is in the request that no formula bounds: documents, audio, video, files, prompts and
    /// tools on the provider's side. `None` if nothing is.
    pub unbounded: Option<&'static str>,
}

/// Tokens that a conversation has beside its messages: what templates put in front (dates, default
/// instructions; some 100 tokens for Llama 3.1 and gpt-oss), and the sentences with which this
/// gateway says a format or forbids tools (`dialect/guidance.rs`).
const REQUEST_TOKENS: u64 = 512;

/// Tokens around a message. OpenAI's cookbook counts 3, Llama's and Claude's templates up to 6.
const MESSAGE_TOKENS: u64 = 16;

/// Tokens of the prompt that providers add when tools are there. Anthropic's table ("Tool use
/// pricing") has up to 530 for its models until Claude 4 and less than 1,000 for later ones.
const TOOL_PROMPT_TOKENS: u64 = 1_024;

/// Tokens around the definition of a tool, and an empty schema that some models require.
const TOOL_TOKENS: u64 = 64;

/// Tokens around the call of a tool, and a definition of its name where the caller sent none.
const CALL_TOKENS: u64 = 64;

/// Tokens of a tool that Anthropic defines by its type alone: computer 735, text editor 700, bash 245.
const BUILT_IN_TOOL_TOKENS: u64 = 1_024;

/// Tokens of an image for Claude: 4,784 at high resolution (2,576 pixels), 1,600 before that.
/// Source: Anthropic, "Vision".
const CLAUDE_IMAGE_TOKENS: u64 = 4_784;

/// Tokens of an image for OpenAI's models. In high detail an image fills at most 2,048 by 768 pixels,
/// 8 tiles, and gpt-4o-mini counts 2,833 and 5,667 a tile; models that count patches stay below
/// 10,000 patches times 2.46. Source: OpenAI, "Images and vision", "Calculating costs".
const OPENAI_IMAGE_TOKENS: u64 = 48_169;

/// Tokens of an image for the other models on Bedrock; Qwen3-VL has the most, 16,384. Nova, Llama and
/// Pixtral stay below 5,000.
const BEDROCK_IMAGE_TOKENS: u64 = 16_384;

/// The bounds of `envelope` when it is sent to `model` as `protocol`.
pub fn bounds(envelope: &Envelope, protocol: Protocol, model: &str) -> InputBounds {
    let tally = envelope.tally.get_or_init(|| walk::tally(envelope.protocol, &envelope.body));
    InputBounds {
        input_tokens: tokens(tally, envelope.protocol, image_tokens(protocol, model)),
        text_bytes: tally.text_bytes,
        messages: tally.messages,
        images: tally.images,
        unbounded: tally.unbounded,
    }
}

fn tokens(tally: &Tally, asked: Protocol, image_tokens: u64) -> u64 {
    let has_template = asked != Protocol::OpenAiEmbeddings;
    let has_tools = tally.tools > 0 || tally.calls > 0;
    let parts = [
        (tally.text_bytes, 1),
        (tally.listed_tokens, 1),
        (tally.messages, MESSAGE_TOKENS),
        (tally.images, image_tokens),
        (tally.tools, TOOL_TOKENS),
        (tally.built_in_tools, BUILT_IN_TOOL_TOKENS),
        (tally.calls, CALL_TOKENS),
        (u64::from(has_template), REQUEST_TOKENS),
        (u64::from(has_tools), TOOL_PROMPT_TOKENS),
    ];
    parts.into_iter().fold(0, |sum, (count, tokens)| sum.saturating_add(count.saturating_mul(tokens)))
}

/// The most tokens that an image has for a model, by who counts it.
fn image_tokens(protocol: Protocol, model: &str) -> u64 {
    let is_claude = model.contains("anthropic.") || model.contains("claude");
    match protocol {
        Protocol::AnthropicMessages | Protocol::AnthropicCountTokens => CLAUDE_IMAGE_TOKENS,
        Protocol::BedrockConverse | Protocol::BedrockInvoke | Protocol::BedrockCountTokens if is_claude => {
            CLAUDE_IMAGE_TOKENS
        }
        Protocol::BedrockConverse | Protocol::BedrockInvoke | Protocol::BedrockCountTokens => {
            BEDROCK_IMAGE_TOKENS
        }
        // Whoever is behind a tool may count as anyone does.
        Protocol::OpenAiChat | Protocol::OpenAiEmbeddings | Protocol::McpTool => OPENAI_IMAGE_TOKENS,
    }
}

#[cfg(test)]
mod tests;
