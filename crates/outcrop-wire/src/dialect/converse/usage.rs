//! Usage as Converse spells it; `inputTokens` leaves cached tokens out.

use outcrop_core::Usage;
use serde::{Deserialize, Serialize};

/// `usage` as it is read.
#[expect(clippy::struct_field_names, reason = "the names on the wire")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Counted {
    input_tokens: Option<u64>,
    output_tokens: Option<u64>,
    #[serde(alias = "cacheReadInputTokenCount")]
    cache_read_input_tokens: Option<u64>,
    #[serde(alias = "cacheWriteInputTokenCount")]
    cache_write_input_tokens: Option<u64>,
}

/// `usage` as it is written; three counts are required of it.
#[expect(clippy::struct_field_names, reason = "the names on the wire")]
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Reported {
    input_tokens: u64,
    output_tokens: u64,
    total_tokens: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    cache_read_input_tokens: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cache_write_input_tokens: Option<u64>,
}

impl Counted {
    /// The counts in core's words.
    pub(crate) fn usage(self) -> Usage {
        Usage {
            input: self.input_tokens,
            output: self.output_tokens,
            cache_read: self.cache_read_input_tokens,
            cache_write: self.cache_write_input_tokens,
            cache_write_1h: None,
            reasoning: None,
        }
    }
}

impl From<Usage> for Reported {
    fn from(usage: Usage) -> Self {
        Self {
            input_tokens: usage.input.unwrap_or(0),
            output_tokens: usage.output_or_zero(),
            total_tokens: usage.total(),
            cache_read_input_tokens: usage.cache_read,
            cache_write_input_tokens: usage.cache_write,
        }
    }
}
