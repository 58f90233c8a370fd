//! Money as integers: prices in pico-dollars per token, costs in nano-dollars.
//!
//! No floats, and every conversion rounds up, so that a cost is never understated. What a row of prices
//! is, and what it makes of counted tokens, stands in `price`; the most that an attempt can cost in `bounds`.

mod bounds;
mod price;
mod tariff;

use std::fmt;

use serde::Serialize;

pub use bounds::Bounds;
pub use price::{Price, Terms, Tier};
pub use tariff::{Band, Rates, Tariff};

/// An amount in nano-US-dollars (1 USD = 1,000,000,000).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Hash, Serialize)]
#[serde(transparent)]
pub struct NanoUsd(pub i64);

impl NanoUsd {
    /// An amount of pico-dollars, rounded up; the largest amount where it would not fit.
    pub fn of_pico(pico: u128) -> Self {
        Self(i64::try_from(pico.div_ceil(1_000)).unwrap_or(i64::MAX))
    }
}

/// A unit price in pico-US-dollars per token (1 USD per million tokens = 1,000,000).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Hash, Serialize)]
#[serde(transparent)]
pub struct PicoUsd(pub u64);

/// Dollars per million tokens, every digit of it: `3.3`, `0.000001`.
impl fmt::Display for PicoUsd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, rest) = (self.0 / 1_000_000, self.0 % 1_000_000);
        if rest == 0 {
            return f.pad(&whole.to_string());
        }
        let digits = format!("{whole}.{rest:06}");
        f.pad(digits.trim_end_matches('0'))
    }
}

#[cfg(test)]
mod tests;
