//! The most that an attempt may use.

use serde::Serialize;

use crate::Usage;

/// The most tokens that an attempt can come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Bounds {
    /// Input tokens, cached ones included.
    pub input_tokens: u64,
    /// Output tokens of one answer, reasoning included.
    pub output_tokens: u64,
    /// Answers; none counts as one.
    pub answers: u64,
}

impl Bounds {
    /// Bounds of one answer.
    pub fn of(input_tokens: u64, output_tokens: u64) -> Self {
        Self { input_tokens, output_tokens, answers: 1 }
    }

    /// Output tokens of all answers.
    pub fn output_total(&self) -> u64 {
        self.output_tokens.saturating_mul(self.answers.max(1))
    }

    /// Whether a usage stays inside; what was not reported is nothing here.
    pub fn admit(&self, usage: &Usage) -> bool {
        let input = [usage.input.unwrap_or(0), usage.cache_read.unwrap_or(0), usage.cache_write_total()];
        let output = usage.output_or_zero().max(usage.reasoning.unwrap_or(0));
        input.into_iter().map(u128::from).sum::<u128>() <= u128::from(self.input_tokens)
            && output <= self.output_total()
    }
}
