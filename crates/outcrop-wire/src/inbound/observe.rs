//! Reads the usage of whole answers that pass unchanged.
//!
//! The body is scanned to its end, so a cut one is noticed, but nothing is built from it. Content is
//! only looked for, because an answer of another shape must not pass as a good one.

use outcrop_core::{Protocol, Usage};
use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};

use super::Garbled;
use crate::dialect::openai::UsageWire;
use crate::json::is_object;

#[derive(Deserialize)]
struct OpenAi {
    #[serde(alias = "data")]
    #[expect(dead_code, reason = "required, not read")]
    choices: IgnoredAny,
    #[serde(default)]
    usage: Option<UsageWire>,
}

#[derive(Deserialize)]
struct Anthropic {
    #[expect(dead_code, reason = "required, not read")]
    content: IgnoredAny,
    #[serde(default)]
    usage: Option<SnakeUsage>,
}

#[derive(Deserialize)]
struct Converse {
    #[expect(dead_code, reason = "required, not read")]
    output: IgnoredAny,
    #[serde(default)]
    usage: Option<CamelUsage>,
}

#[derive(Deserialize)]
struct Count {
    #[serde(alias = "inputTokens")]
    #[expect(dead_code, reason = "required, not read")]
    input_tokens: IgnoredAny,
}

#[derive(Deserialize, Default)]
#[expect(clippy::struct_field_names, reason = "as the wire spells them")]
struct SnakeUsage {
    #[serde(default, alias = "prompt_tokens")]
    input_tokens: Option<u64>,
    #[serde(default, alias = "completion_tokens")]
    output_tokens: Option<u64>,
    #[serde(default)]
    cache_read_input_tokens: Option<u64>,
    #[serde(default)]
    cache_creation_input_tokens: Option<u64>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase")]
#[expect(clippy::struct_field_names, reason = "as the wire spells them")]
struct CamelUsage {
    #[serde(default)]
    input_tokens: Option<u64>,
    #[serde(default)]
    output_tokens: Option<u64>,
    #[serde(default, alias = "cacheReadInputTokenCount")]
    cache_read_input_tokens: Option<u64>,
    #[serde(default, alias = "cacheWriteInputTokenCount")]
    cache_write_input_tokens: Option<u64>,
}

/// Bodies of `InvokeModel`: where the known families put their figures.
#[derive(Deserialize)]
struct Invoke {
    #[serde(default)]
    usage: Option<InvokeUsage>,
    /// Titan, text and embeddings.
    #[serde(default, rename = "inputTextTokenCount")]
    titan_input: Option<u64>,
    /// Titan text.
    #[serde(default)]
    results: Option<Vec<TitanResult>>,
    /// Llama.
    #[serde(default)]
    prompt_token_count: Option<u64>,
    /// Llama.
    #[serde(default)]
    generation_token_count: Option<u64>,
}

/// Claude, Nova, and families that answer like OpenAI, in one.
#[derive(Deserialize)]
struct InvokeUsage {
    #[serde(flatten)]
    snake: SnakeUsage,
    #[serde(flatten)]
    camel: CamelUsage,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct TitanResult {
    #[serde(default)]
    token_count: Option<u64>,
}

/// The usage in a whole answer of `protocol`.
pub(super) fn usage(protocol: Protocol, body: &[u8]) -> Result<Usage, Garbled> {
    match protocol {
        Protocol::OpenAiChat | Protocol::McpTool => {
            let answer: OpenAi = read(body)?;
            Ok(answer.usage.map(Usage::from).unwrap_or_default())
        }
        Protocol::OpenAiEmbeddings => {
            let answer: OpenAi = read(body)?;
            let usage = answer.usage.map(Usage::from).unwrap_or_default();
            Ok(Usage { output: usage.output.or(usage.input.map(|_| 0)), ..usage })
        }
        Protocol::AnthropicMessages => {
            read::<Anthropic>(body).map(|answer| answer.usage.unwrap_or_default().into())
        }
        Protocol::BedrockConverse => {
            read::<Converse>(body).map(|answer| answer.usage.unwrap_or_default().into())
        }
        Protocol::BedrockInvoke => read::<Invoke>(body).map(Usage::from),
        Protocol::AnthropicCountTokens | Protocol::BedrockCountTokens => {
            read::<Count>(body).map(|_| Usage::default())
        }
    }
}

fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, Garbled> {
    if !is_object(body) {
        return Err(Garbled("the answer is no JSON object".to_owned()));
    }
    serde_json::from_slice(body).map_err(|error| Garbled(format!("not an answer: {error}")))
}

impl From<SnakeUsage> for Usage {
    fn from(usage: SnakeUsage) -> Self {
        Self {
            input: usage.input_tokens,
            output: usage.output_tokens,
            cache_read: usage.cache_read_input_tokens,
            cache_write: usage.cache_creation_input_tokens,
            cache_write_1h: None,
            reasoning: None,
        }
    }
}

impl From<CamelUsage> for Usage {
    fn from(usage: CamelUsage) -> Self {
        Self {
            input: usage.input_tokens,
            output: usage.output_tokens,
            cache_read: usage.cache_read_input_tokens,
            cache_write: usage.cache_write_input_tokens,
            cache_write_1h: None,
            reasoning: None,
        }
    }
}

impl From<Invoke> for Usage {
    fn from(answer: Invoke) -> Self {
        let mut usage = Usage::default();
        let titan_output = answer.results.into_iter().flatten().filter_map(|r| r.token_count);
        if let Some(input) = answer.titan_input {
            usage.merge(Usage::of(input, titan_output.fold(0, u64::saturating_add)));
        }
        usage.merge(Usage {
            input: answer.prompt_token_count,
            output: answer.generation_token_count,
            ..Usage::default()
        });
        if let Some(InvokeUsage { snake, camel }) = answer.usage {
            usage.merge(snake.into());
            usage.merge(camel.into());
        }
        usage
    }
}

#[cfg(test)]
mod tests;
