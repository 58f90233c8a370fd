//! Counted tokens as OpenAI reports them.
//!
//! OpenAI's input figure includes cached tokens and the core's does not, so it is split here in one
//! direction and put together in the other. A figure that is absent stays unknown.

use outcrop_core::Usage;
use serde::{Deserialize, Serialize};

/// `usage` of a completion or a chunk. Input and output are also read by Anthropic's names, which
/// some compatible servers and tools use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct UsageWire {
    #[serde(default, alias = "input_tokens")]
    pub(crate) prompt_tokens: Option<u64>,
    #[serde(default, alias = "output_tokens")]
    pub(crate) completion_tokens: Option<u64>,
    #[serde(default)]
    pub(crate) total_tokens: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    prompt_tokens_details: Option<InputDetails>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    completion_tokens_details: Option<OutputDetails>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
struct InputDetails {
    #[serde(default)]
    cached_tokens: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cache_creation_tokens: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
struct OutputDetails {
    #[serde(default)]
    reasoning_tokens: Option<u64>,
}

impl From<UsageWire> for Usage {
    fn from(wire: UsageWire) -> Self {
        let details = wire.prompt_tokens_details.unwrap_or_default();
        let cached = [details.cached_tokens, details.cache_creation_tokens];
        let cached = cached.into_iter().flatten().fold(0, u64::saturating_add);
        Self {
            input: wire.prompt_tokens.map(|all| all.saturating_sub(cached)),
            output: wire.completion_tokens,
            cache_read: details.cached_tokens,
            cache_write: details.cache_creation_tokens,
            cache_write_1h: None,
            reasoning: wire.completion_tokens_details.and_then(|d| d.reasoning_tokens),
        }
    }
}

impl UsageWire {
    /// As OpenAI reports it; `None` when neither input nor output is known.
    pub(crate) fn of(usage: Usage) -> Option<Self> {
        if usage.input.is_none() && usage.output.is_none() {
            return None;
        }
        let details = InputDetails {
            cached_tokens: Some(usage.cache_read.unwrap_or(0)),
            cache_creation_tokens: usage.cache_write,
        };
        let reasoning = usage.reasoning.map(|n| OutputDetails { reasoning_tokens: Some(n) });
        Some(Self {
            prompt_tokens: Some(usage.input_total()),
            completion_tokens: Some(usage.output_or_zero()),
            total_tokens: Some(usage.total()),
            prompt_tokens_details: Some(details),
            completion_tokens_details: reasoning,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cached_input_is_split_and_put_together() {
        let text = r#"{"prompt_tokens":100,"completion_tokens":7,"total_tokens":107,
            "prompt_tokens_details":{"cached_tokens":60},
            "completion_tokens_details":{"reasoning_tokens":5}}"#;
        let wire: UsageWire = serde_json::from_str(text).unwrap();
        let usage = Usage::from(wire);
        let expected = Usage { cache_read: Some(60), reasoning: Some(5), ..Usage::of(40, 7) };
        assert_eq!(usage, expected);
        assert_eq!(UsageWire::of(usage), Some(wire));
    }

    #[test]
    fn unknown_is_not_zero() {
        let wire: UsageWire = serde_json::from_str("{}").unwrap();
        assert_eq!(Usage::from(wire), Usage::default());
        assert_eq!(UsageWire::of(Usage::default()), None);
    }
}
