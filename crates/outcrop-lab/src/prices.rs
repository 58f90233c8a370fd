//! What the simulated models cost: a small fixed table in the order of magnitude of the public list prices.
//!
//! Nano-dollars per token are exact for every listed price (0.035 dollars per million tokens = 35 per thousand),
//! so the table counts nano-dollars per thousand tokens and the sum is rounded up once.

/// Prices of one model family, in billionths of a dollar per thousand tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Price {
    /// Prompt tokens.
    pub input: u64,
    /// Output tokens.
    pub output: u64,
    /// Prompt tokens read from the cache.
    pub cache_read: u64,
    /// Prompt tokens written to the cache.
    pub cache_write: u64,
}

/// Families in order of first match against the model's name.
const TABLE: [(&str, Price); 9] = [
    ("claude-sonnet-4-5", price(3_000_000, 15_000_000, 300_000, 3_750_000)),
    ("claude-3-haiku", price(250_000, 1_250_000, 30_000, 300_000)),
    ("claude", price(3_000_000, 15_000_000, 300_000, 3_750_000)),
    ("nova-lite", price(60_000, 240_000, 15_000, 60_000)),
    ("titan-embed-text-v2", price(20_000, 0, 20_000, 20_000)),
    ("embed-multilingual-v3", price(100_000, 0, 100_000, 100_000)),
    ("gpt-4o-mini", price(150_000, 600_000, 75_000, 150_000)),
    ("text-embedding-3-small", price(20_000, 0, 20_000, 20_000)),
    ("sonnet", price(3_000_000, 15_000_000, 300_000, 3_750_000)),
];

/// The price of any other model.
const OTHER: Price = price(1_000_000, 2_000_000, 1_000_000, 1_000_000);

const fn price(input: u64, output: u64, cache_read: u64, cache_write: u64) -> Price {
    Price { input, output, cache_read, cache_write }
}

/// The price that applies to a model.
pub fn of_model(model: &str) -> Price {
    TABLE.iter().find(|(family, _)| model.contains(family)).map_or(OTHER, |(_, price)| *price)
}

#[cfg(test)]
mod tests {
    use super::of_model;

    #[test]
    fn profiles_and_plain_ids_share_a_price() {
        let plain = of_model("anthropic.claude-3-haiku-20240307-v1:0");
        assert_eq!(plain, of_model("eu.anthropic.claude-3-haiku-20240307-v1:0"));
        assert_eq!(plain.input, 250_000);
    }
}
