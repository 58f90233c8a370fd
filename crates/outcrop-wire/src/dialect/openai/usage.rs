//! Usage as OpenAI writes it: the input figure includes cached tokens and the core's does not, so it is
//! put together here. A usage of which nothing is known is not written.

use outcrop_core::Usage;
use serde::Serialize;

use crate::dialect::anthropic::Lives;

/// `usage` of a completion or a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) struct Reported {
    prompt_tokens: u64,
    completion_tokens: u64,
    total_tokens: u64,
    prompt_tokens_details: InputDetails,
    #[serde(skip_serializing_if = "Option::is_none")]
    completion_tokens_details: Option<OutputDetails>,
}

/// What is inside the input. OpenAI itself writes no cache for money; the names are those that other
/// gateways use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
struct InputDetails {
    cached_tokens: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    cache_creation_tokens: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cache_creation_token_details: Option<Lives>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
struct OutputDetails {
    reasoning_tokens: u64,
}

impl Reported {
    /// As OpenAI reports it; `None` when neither input nor output is known.
    pub(crate) fn of(usage: Usage) -> Option<Self> {
        if usage.input.is_none() && usage.output.is_none() {
            return None;
        }
        let written = usage.cache_write.or(usage.cache_write_1h);
        Some(Self {
            prompt_tokens: usage.input_total(),
            completion_tokens: usage.output_or_zero(),
            total_tokens: usage.total(),
            prompt_tokens_details: InputDetails {
                cached_tokens: usage.cache_read.unwrap_or(0),
                cache_creation_tokens: written.map(|_| usage.cache_write_total()),
                cache_creation_token_details: Lives::of(&usage),
            },
            completion_tokens_details: usage
                .reasoning
                .map(|reasoning_tokens| OutputDetails { reasoning_tokens }),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::counted::Counted;

    #[test]
    fn cached_input_is_put_together_and_split_again() {
        let usage = Usage {
            cache_read: Some(60),
            cache_write: Some(9),
            cache_write_1h: Some(4),
            reasoning: Some(5),
            ..Usage::of(40, 7)
        };
        let written = serde_json::to_value(Reported::of(usage)).unwrap();
        assert_eq!(written["prompt_tokens"], 109);
        assert_eq!(written["total_tokens"], 116);
        assert_eq!(serde_json::from_value::<Counted>(written).unwrap().usage(), usage);
    }

    #[test]
    fn unknown_is_not_zero() {
        assert_eq!(Reported::of(Usage::default()), None);
    }
}
