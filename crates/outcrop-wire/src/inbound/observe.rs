//! Reads the usage of whole answers that pass unchanged.
//!
//! The body is scanned to its end, so a cut one is noticed, but nothing is built from it. Content is
//! only looked for, because an answer of another shape must not pass as a good one. Counting tokens
//! uses none, so its answers report none.

use outcrop_core::{Protocol, Usage};
use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};

use super::Garbled;
use crate::dialect::counted::{Counted, Tokens};
use crate::dialect::lenient::{List, Maybe};
use crate::dialect::openai::embeddings::without_output;
use crate::json::is_object;

#[derive(Deserialize)]
struct OpenAi {
    #[serde(alias = "data")]
    #[expect(dead_code, reason = "required, not read")]
    choices: IgnoredAny,
    #[serde(default)]
    usage: Counted,
}

#[derive(Deserialize)]
struct Anthropic {
    #[expect(dead_code, reason = "required, not read")]
    content: IgnoredAny,
    #[serde(default)]
    usage: Counted,
}

#[derive(Deserialize)]
struct Converse {
    #[expect(dead_code, reason = "required, not read")]
    output: IgnoredAny,
    #[serde(default)]
    usage: Counted,
}

/// The result of the default mapping of an MCP tool: content, or calls of tools alone.
#[derive(Deserialize)]
struct Tool {
    choices: Option<IgnoredAny>,
    content: Option<IgnoredAny>,
    #[serde(rename = "tool_calls")]
    calls: Option<IgnoredAny>,
    #[serde(default)]
    usage: Counted,
}

#[derive(Deserialize)]
struct Count {
    #[serde(alias = "inputTokens")]
    #[expect(dead_code, reason = "required, not read")]
    input_tokens: IgnoredAny,
}

/// Bodies of `InvokeModel`: where the known families put their figures.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Invoke {
    /// Claude, Nova, and families that answer like OpenAI.
    usage: Counted,
    /// Cohere.
    meta: Counted,
    /// Titan, text and embeddings.
    #[serde(rename = "inputTextTokenCount")]
    titan_input: Tokens,
    /// Titan text.
    results: List<Maybe<TitanResult>>,
    /// Llama.
    prompt_token_count: Tokens,
    /// Llama.
    generation_token_count: Tokens,
    #[serde(rename = "amazon-bedrock-invocationMetrics")]
    metrics: Counted,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct TitanResult {
    token_count: Tokens,
}

/// The usage in a whole answer of `protocol`.
pub(super) fn usage(protocol: Protocol, body: &[u8]) -> Result<Usage, Garbled> {
    match protocol {
        Protocol::OpenAiChat => read::<OpenAi>(body).map(|answer| answer.usage.usage()),
        Protocol::McpTool => read::<Tool>(body).and_then(Tool::usage),
        Protocol::OpenAiEmbeddings => read::<OpenAi>(body).map(|answer| without_output(&answer.usage)),
        Protocol::AnthropicMessages => read::<Anthropic>(body).map(|answer| answer.usage.usage()),
        Protocol::BedrockConverse => read::<Converse>(body).map(|answer| answer.usage.usage()),
        Protocol::BedrockInvoke => read::<Invoke>(body).map(|answer| answer.usage()),
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

impl Tool {
    fn usage(self) -> Result<Usage, Garbled> {
        match self.choices.or(self.content).or(self.calls) {
            Some(_) => Ok(self.usage.usage()),
            None => Err(Garbled("the result has neither content nor calls".to_owned())),
        }
    }
}

impl Invoke {
    fn usage(&self) -> Usage {
        let mut usage = Usage {
            input: self.titan_input.0.or(self.prompt_token_count.0),
            output: self.generation_token_count.0.or_else(|| self.titan_output()),
            ..Usage::default()
        };
        usage.merge(self.meta.usage());
        usage.merge(self.usage.usage());
        let missing = self.metrics.beside(&usage);
        usage.merge(missing);
        usage
    }

    /// The tokens of all results; an embedding has none.
    fn titan_output(&self) -> Option<u64> {
        self.titan_input.0?;
        let counts = self.results.0.iter().map(|result| result.0.as_ref()?.token_count.0);
        counts.reduce(|sum, count| Some(sum?.saturating_add(count?))).unwrap_or(Some(0))
    }
}

#[cfg(test)]
mod tests;
