//! Counted tokens.

use serde::{Deserialize, Serialize};

/// Tokens of one attempt as the upstream counted them. `None` is "not reported", never zero.
///
/// `input` is what the provider bills as uncached input; cache reads and writes are beside it, not
/// inside it (the Anthropic and Bedrock convention; OpenAI's inclusive figure is split on decode).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Usage {
    /// Uncached input tokens.
    pub input: Option<u64>,
    /// Output tokens, reasoning included.
    pub output: Option<u64>,
    /// Input tokens read from the prompt cache.
    pub cache_read: Option<u64>,
    /// Input tokens written to the prompt cache, whatever their life there.
    pub cache_write: Option<u64>,
    /// The part of `cache_write` that lives an hour or longer, and costs more for it.
    pub cache_write_1h: Option<u64>,
    /// The part of `output` that was reasoning.
    pub reasoning: Option<u64>,
}

impl Usage {
    /// Usage of plain input and output.
    pub fn of(input: u64, output: u64) -> Self {
        Self { input: Some(input), output: Some(output), ..Self::default() }
    }

    /// Takes over every figure that `later` reports and keeps the others: usage is merged, never
    /// replaced, because several protocols report it in pieces.
    pub fn merge(&mut self, later: Usage) {
        let Usage { input, output, cache_read, cache_write, cache_write_1h, reasoning } = later;
        self.input = input.or(self.input);
        self.output = output.or(self.output);
        self.cache_read = cache_read.or(self.cache_read);
        self.cache_write = cache_write.or(self.cache_write);
        self.cache_write_1h = cache_write_1h.or(self.cache_write_1h);
        self.reasoning = reasoning.or(self.reasoning);
    }

    /// What an earlier attempt at the same answer counted and this one together; what this one does not
    /// report stays unreported.
    #[must_use]
    pub fn after(self, earlier: Usage) -> Self {
        let sum =
            |now: Option<u64>, before: Option<u64>| now.map(|now| now.saturating_add(before.unwrap_or(0)));
        Self {
            input: sum(self.input, earlier.input),
            output: sum(self.output, earlier.output),
            cache_read: sum(self.cache_read, earlier.cache_read),
            cache_write: sum(self.cache_write, earlier.cache_write),
            cache_write_1h: sum(self.cache_write_1h, earlier.cache_write_1h),
            reasoning: sum(self.reasoning, earlier.reasoning),
        }
    }

    /// Whether input and output are both known, so that the attempt can be settled exactly.
    pub fn is_complete(&self) -> bool {
        self.input.is_some() && self.output.is_some()
    }

    /// All tokens written to the cache, 0 if unknown; a part that exceeds the whole is the whole.
    pub fn cache_write_total(&self) -> u64 {
        self.cache_write.unwrap_or(0).max(self.cache_write_1h.unwrap_or(0))
    }

    /// Tokens written to the cache for less than an hour.
    pub fn cache_write_5m(&self) -> u64 {
        self.cache_write_total().saturating_sub(self.cache_write_1h.unwrap_or(0))
    }

    /// All input tokens, cached or not; saturating.
    pub fn input_total(&self) -> u64 {
        let cached = self.cache_read.unwrap_or(0).saturating_add(self.cache_write_total());
        self.input.unwrap_or(0).saturating_add(cached)
    }

    /// Output tokens, 0 if unknown.
    pub fn output_or_zero(&self) -> u64 {
        self.output.unwrap_or(0)
    }

    /// Input and output together; saturating.
    pub fn total(&self) -> u64 {
        self.input_total().saturating_add(self.output_or_zero())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn merging_keeps_what_the_later_report_omits() {
        let mut usage = Usage { cache_read: Some(7), ..Usage::of(10, 1) };
        usage.merge(Usage { output: Some(25), ..Usage::default() });
        assert_eq!(usage, Usage { cache_read: Some(7), ..Usage::of(10, 25) });
    }

    #[test]
    fn what_went_before_is_added_to_what_is_reported() {
        let earlier = Usage { cache_read: Some(7), reasoning: Some(2), ..Usage::of(10, 4) };
        let sum = Usage { reasoning: Some(1), ..Usage::of(5, 6) }.after(earlier);
        assert_eq!(sum, Usage { reasoning: Some(3), ..Usage::of(15, 10) });
        assert_eq!(Usage::default().after(earlier), Usage::default());
    }

    #[test]
    fn parts_of_the_written_tokens_never_go_below_zero() {
        for (total, hour, expected) in [
            (Some(10), Some(4), (10, 6)),
            (Some(10), None, (10, 10)),
            (None, Some(4), (4, 0)),
            (Some(3), Some(4), (4, 0)),
            (None, None, (0, 0)),
        ] {
            let usage = Usage { cache_write: total, cache_write_1h: hour, ..Usage::of(1, 1) };
            assert_eq!((usage.cache_write_total(), usage.cache_write_5m()), expected);
            assert_eq!(usage.input_total(), 1 + expected.0);
        }
    }

    #[test]
    fn totals_saturate() {
        let usage = Usage { cache_write: Some(u64::MAX), ..Usage::of(u64::MAX, 1) };
        assert_eq!(usage.total(), u64::MAX);
    }
}
