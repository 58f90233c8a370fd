//! Usage as Converse writes it; `inputTokens` leaves cached tokens out.

use outcrop_core::Usage;
use serde::Serialize;

/// `usage` as it is written; three counts are required of it.
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
    #[serde(skip_serializing_if = "Option::is_none")]
    cache_details: Option<[CacheDetail; 2]>,
}

/// What was written for one life in the cache.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "camelCase")]
struct CacheDetail {
    ttl: &'static str,
    input_tokens: u64,
}

impl From<Usage> for Reported {
    fn from(usage: Usage) -> Self {
        let written = usage.cache_write.or(usage.cache_write_1h);
        Self {
            input_tokens: usage.input.unwrap_or(0),
            output_tokens: usage.output_or_zero(),
            total_tokens: usage.total(),
            cache_read_input_tokens: usage.cache_read,
            cache_write_input_tokens: written.map(|_| usage.cache_write_total()),
            cache_details: usage.cache_write_1h.map(|hour| {
                let short = usage.cache_write_5m();
                // The service sorts by life, the longest first.
                [
                    CacheDetail { ttl: "1h", input_tokens: hour },
                    CacheDetail { ttl: "5m", input_tokens: short },
                ]
            }),
        }
    }
}
