//! Unit prices, and how they change with the size of a prompt.

use serde::Serialize;

use super::PicoUsd;
use crate::Usage;

/// What one token costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Rates {
    /// Per uncached input token.
    pub input: PicoUsd,
    /// Per output token that is no reasoning.
    pub output: PicoUsd,
    /// Per input token read from the cache.
    pub cache_read: PicoUsd,
    /// Per input token written to the cache for five minutes.
    pub cache_write: PicoUsd,
    /// Per input token written to the cache for an hour or longer.
    pub cache_write_1h: PicoUsd,
    /// Per output token that is reasoning.
    pub reasoning: PicoUsd,
}

impl Rates {
    /// Unit prices that know only input and output: whatever the cache does is input, reasoning is output.
    pub fn of(input: PicoUsd, output: PicoUsd) -> Self {
        Self {
            input,
            output,
            cache_read: input,
            cache_write: input,
            cache_write_1h: input,
            reasoning: output,
        }
    }

    /// What counted tokens cost, in pico-dollars; what was not reported is nothing here.
    pub(super) fn pico(&self, usage: &Usage) -> u128 {
        let text = usage.output_or_zero().saturating_sub(usage.reasoning.unwrap_or(0));
        let parts = [
            (usage.input.unwrap_or(0), self.input),
            (usage.cache_read.unwrap_or(0), self.cache_read),
            (usage.cache_write_5m(), self.cache_write),
            (usage.cache_write_1h.unwrap_or(0), self.cache_write_1h),
            (text, self.output),
            (usage.reasoning.unwrap_or(0), self.reasoning),
        ];
        parts
            .iter()
            .map(|(tokens, price)| u128::from(*tokens).saturating_mul(u128::from(price.0)))
            .fold(0u128, u128::saturating_add)
    }

    /// The dearest usage of so many input and output tokens: each side wholly of its dearest kind.
    pub(super) fn dearest(&self, input: u64, output: u64) -> Usage {
        let none = Usage::of(0, 0);
        let inputs = [
            (self.input, Usage { input: Some(input), ..none }),
            (self.cache_read, Usage { cache_read: Some(input), ..none }),
            (self.cache_write, Usage { cache_write: Some(input), ..none }),
            (self.cache_write_1h, Usage { cache_write: Some(input), cache_write_1h: Some(input), ..none }),
        ];
        let dearest = inputs.into_iter().max_by_key(|(price, _)| *price).map_or(none, |(_, usage)| usage);
        let reasoning = (self.reasoning > self.output).then_some(output);
        Usage { output: Some(output), reasoning, ..dearest }
    }
}

/// Other unit prices for longer prompts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Band {
    /// It begins above so many input tokens, cached ones included, and then holds for all of them.
    pub above: u64,
    /// The unit prices.
    pub rates: Rates,
}

/// Unit prices of one service tier.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Tariff {
    base: Rates,
    // In ascending order.
    bands: Box<[Band]>,
}

impl Tariff {
    /// Unit prices, and those of longer prompts in any order.
    pub fn new(base: Rates, mut bands: Vec<Band>) -> Self {
        bands.sort_by_key(|band| band.above);
        Self { base, bands: bands.into() }
    }

    /// Unit prices whatever the length.
    pub fn flat(base: Rates) -> Self {
        Self::new(base, Vec::new())
    }

    /// Unit prices of short prompts.
    pub fn base(&self) -> &Rates {
        &self.base
    }

    /// Unit prices of longer prompts, in ascending order.
    pub fn bands(&self) -> &[Band] {
        &self.bands
    }

    /// The unit prices of a request with so many input tokens.
    pub fn rates(&self, input_tokens: u64) -> &Rates {
        let reached = self.bands.iter().rev().find(|band| band.above < input_tokens);
        reached.map_or(&self.base, |band| &band.rates)
    }

    /// Input tokens at which some unit prices apply the longest, for all that so many can reach.
    pub(super) fn ends(&self, input_tokens: u64) -> impl Iterator<Item = u64> {
        let short = self.bands.iter().map(|band| band.above).filter(move |above| *above < input_tokens);
        short.chain([input_tokens])
    }
}
