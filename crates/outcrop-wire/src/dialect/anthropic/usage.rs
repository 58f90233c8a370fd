//! Usage as Anthropic writes it; `input_tokens` leaves cached tokens out, as `outcrop_core::Usage` does.

use outcrop_core::Usage;
use serde::Serialize;

/// `usage` as it is written; both counts are required of it.
#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct Reported {
    input_tokens: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    cache_creation_input_tokens: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cache_read_input_tokens: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cache_creation: Option<Lives>,
    output_tokens: u64,
}

/// The tokens written to the cache by the life they have there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) struct Lives {
    #[serde(rename = "ephemeral_5m_input_tokens")]
    short: u64,
    #[serde(rename = "ephemeral_1h_input_tokens")]
    hour: u64,
}

impl Lives {
    /// The division, where it is known.
    pub(crate) fn of(usage: &Usage) -> Option<Self> {
        usage.cache_write_1h.map(|hour| Self { short: usage.cache_write_5m(), hour })
    }
}

impl From<Usage> for Reported {
    fn from(usage: Usage) -> Self {
        let written = usage.cache_write.or(usage.cache_write_1h);
        Self {
            input_tokens: usage.input.unwrap_or(0),
            cache_creation_input_tokens: written.map(|_| usage.cache_write_total()),
            cache_read_input_tokens: usage.cache_read,
            cache_creation: Lives::of(&usage),
            output_tokens: usage.output_or_zero(),
        }
    }
}
