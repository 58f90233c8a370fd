//! Usage as Anthropic and, beside it, Bedrock's invoke spell it.
//!
//! Anthropic's `input_tokens` leaves cached tokens out, as `outcrop_core::Usage` does.

use outcrop_core::Usage;
use serde::{Deserialize, Serialize};

/// `usage` of a message, of `message_start` and of `message_delta`.
#[expect(clippy::struct_field_names, reason = "the names on the wire")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
pub(super) struct Counted {
    input_tokens: Option<u64>,
    output_tokens: Option<u64>,
    cache_read_input_tokens: Option<u64>,
    cache_creation_input_tokens: Option<u64>,
}

/// `amazon-bedrock-invocationMetrics`, on the last chunk of an invoke stream.
#[expect(clippy::struct_field_names, reason = "the names on the wire")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Metrics {
    input_token_count: Option<u64>,
    output_token_count: Option<u64>,
    cache_read_input_token_count: Option<u64>,
    cache_write_input_token_count: Option<u64>,
}

/// `usage` as it is written; both counts are required of it.
#[expect(clippy::struct_field_names, reason = "the names on the wire")]
#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct Reported {
    input_tokens: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    cache_creation_input_tokens: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cache_read_input_tokens: Option<u64>,
    output_tokens: u64,
}

impl Counted {
    /// The counts in core's words.
    pub(super) fn usage(self) -> Usage {
        Usage {
            input: self.input_tokens,
            output: self.output_tokens,
            cache_read: self.cache_read_input_tokens,
            cache_write: self.cache_creation_input_tokens,
            cache_write_1h: None,
            reasoning: None,
        }
    }
}

impl Metrics {
    /// What the metrics know that `seen` does not: the model's own usage is the finer account.
    pub(crate) fn beside(self, seen: &Usage) -> Usage {
        Usage {
            input: self.input_token_count.filter(|_| seen.input.is_none()),
            output: self.output_token_count.filter(|_| seen.output.is_none()),
            cache_read: self.cache_read_input_token_count.filter(|_| seen.cache_read.is_none()),
            cache_write: self.cache_write_input_token_count.filter(|_| seen.cache_write.is_none()),
            cache_write_1h: None,
            reasoning: None,
        }
    }
}

impl From<Usage> for Reported {
    fn from(usage: Usage) -> Self {
        Self {
            input_tokens: usage.input.unwrap_or(0),
            cache_creation_input_tokens: usage.cache_write,
            cache_read_input_tokens: usage.cache_read,
            output_tokens: usage.output_or_zero(),
        }
    }
}
