//! The catalogue's file as `scripts/prices` writes it.

use std::str::FromStr;
use std::sync::Arc;

use outcrop_core::money::{Band, PicoUsd, Price, Rates, Tariff, Tier};
use rust_decimal::Decimal;
use rust_decimal::prelude::ToPrimitive;
use serde::Deserialize;

use super::{CatalogueError, Listed, Origin};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    pub(super) origin: Origin,
    pub(super) sources: Vec<Arc<str>>,
    pub(super) bedrock: Vec<Row>,
    pub(super) openai: Vec<Row>,
    pub(super) anthropic: Vec<Row>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Row {
    pub(super) id: Box<str>,
    region: Option<Box<str>>,
    output_tokens_max: Option<u64>,
    // Position among the sources.
    source: Option<usize>,
    standard: Prices,
    priority: Option<Prices>,
    flex: Option<Prices>,
    batch: Option<Prices>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Prices {
    input: PerMtok,
    output: PerMtok,
    cache_read: Option<PerMtok>,
    cache_write: Option<PerMtok>,
    cache_write_1h: Option<PerMtok>,
    reasoning: Option<PerMtok>,
    #[serde(default)]
    above: Vec<Above>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Above {
    tokens: u64,
    input: PerMtok,
    output: PerMtok,
    cache_read: Option<PerMtok>,
    cache_write: Option<PerMtok>,
    cache_write_1h: Option<PerMtok>,
    reasoning: Option<PerMtok>,
}

/// Dollars per million tokens as decimal text; what is no whole number of pico-dollars is rounded up.
#[derive(Clone, Copy, Deserialize)]
#[serde(try_from = "String")]
struct PerMtok(PicoUsd);

impl TryFrom<String> for PerMtok {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let parsed = Decimal::from_str_exact(&text).or_else(|_| Decimal::from_str(&text));
        let pico = parsed.ok().and_then(|usd| usd.checked_mul(Decimal::from(1_000_000)));
        let pico = pico.filter(|pico| !pico.is_sign_negative()).and_then(|pico| pico.ceil().to_u64());
        pico.map(|pico| Self(PicoUsd(pico))).ok_or_else(|| format!("`{text}` is no price"))
    }
}

impl Row {
    pub(super) fn listed(self, sources: &[Arc<str>], version: &Arc<str>) -> Result<Listed, CatalogueError> {
        let row = match &self.region {
            Some(region) => format!("{} in {region}", self.id),
            None => self.id.to_string(),
        };
        let source = match self.source {
            Some(n) => sources.get(n).cloned().ok_or_else(|| CatalogueError::Source(row.clone()))?,
            None => Arc::from(""),
        };
        let tiers = [(Tier::Priority, self.priority), (Tier::Flex, self.flex), (Tier::Batch, self.batch)];
        let tiers = tiers.into_iter().filter_map(|(tier, prices)| Some((tier, prices?.tariff())));
        let price = Price {
            source,
            tiers: tiers.collect(),
            standard: self.standard.tariff(),
            version: Arc::clone(version),
            ..Price::flat(&row, "", Rates::default())
        };
        Ok(Listed { region: self.region, price: Arc::new(price), output_tokens_max: self.output_tokens_max })
    }
}

impl Prices {
    fn tariff(self) -> Tariff {
        let bands = self.above.iter().map(|above| {
            let base = Rates::of(above.input.0, above.output.0);
            let cache = [above.cache_read, above.cache_write, above.cache_write_1h];
            Band { above: above.tokens, rates: completed(base, cache, above.reasoning) }
        });
        let cache = [self.cache_read, self.cache_write, self.cache_write_1h];
        let base = completed(Rates::of(self.input.0, self.output.0), cache, self.reasoning);
        Tariff::new(base, bands.collect())
    }
}

/// What a row leaves out: cached input costs what input does, an hour what five minutes do, reasoning what
/// output does.
fn completed(base: Rates, cache: [Option<PerMtok>; 3], reasoning: Option<PerMtok>) -> Rates {
    let [read, write, write_1h] = cache.map(|price| price.map(|price| price.0));
    let cache_write = write.unwrap_or(base.cache_write);
    Rates {
        cache_read: read.unwrap_or(base.cache_read),
        cache_write,
        cache_write_1h: write_1h.unwrap_or(cache_write),
        reasoning: reasoning.map_or(base.reasoning, |price| price.0),
        ..base
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prices_are_exact_or_rounded_up() {
        for (text, expected) in [
            ("3.3", Some(3_300_000)),
            ("0", Some(0)),
            ("0.0000001", Some(1)),
            ("1.0000001", Some(1_000_001)),
            ("-1", None),
            ("cheap", None),
            ("99999999999999999999", None),
        ] {
            let read = PerMtok::try_from(text.to_owned()).ok().map(|price| price.0.0);
            assert_eq!(read, expected, "{text}");
        }
    }
}
