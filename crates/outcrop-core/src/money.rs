//! Money as integers: prices in pico-dollars per token, costs in nano-dollars.
//!
//! No floats, and every conversion rounds up, so that a cost is never understated.

use serde::Serialize;

use crate::Usage;

/// An amount in nano-US-dollars (1 USD = 1,000,000,000).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Hash, Serialize)]
#[serde(transparent)]
pub struct NanoUsd(pub i64);

/// A unit price in pico-US-dollars per token (1 USD per million tokens = 1,000,000).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Hash, Serialize)]
#[serde(transparent)]
pub struct PicoUsd(pub u64);

/// The price row of one model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Price {
    /// Per uncached input token.
    pub input: PicoUsd,
    /// Per output token.
    pub output: PicoUsd,
    /// Per cached input token read; the input price where the row names none.
    pub cache_read: PicoUsd,
    /// Per input token written to the cache; the input price where the row names none.
    pub cache_write: PicoUsd,
}

impl Price {
    /// The cost of `usage`, rounded up to a nano-dollar. `None` when input or output is unknown:
    /// unknown is not zero.
    pub fn cost(&self, usage: &Usage) -> Option<NanoUsd> {
        let parts = [
            (usage.input?, self.input),
            (usage.output?, self.output),
            (usage.cache_read.unwrap_or(0), self.cache_read),
            (usage.cache_write.unwrap_or(0), self.cache_write),
        ];
        let pico = parts
            .iter()
            .map(|(tokens, price)| u128::from(*tokens).saturating_mul(u128::from(price.0)))
            .fold(0u128, u128::saturating_add);
        Some(NanoUsd(i64::try_from(pico.div_ceil(1_000)).unwrap_or(i64::MAX)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cost_rounds_up_and_never_guesses() {
        let price = Price {
            input: PicoUsd(3_300_000),
            output: PicoUsd(16_500_000),
            cache_read: PicoUsd(1),
            cache_write: PicoUsd(0),
        };
        assert_eq!(price.cost(&Usage::of(1_000_000, 0)), Some(NanoUsd(3_300_000_000)));
        let cached = Usage { cache_read: Some(1), ..Usage::of(0, 0) };
        assert_eq!(price.cost(&cached), Some(NanoUsd(1)));
        assert_eq!(price.cost(&Usage::default()), None);
        assert_eq!(price.cost(&Usage::of(u64::MAX, u64::MAX)), Some(NanoUsd(i64::MAX)));
    }
}
