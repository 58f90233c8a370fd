//! The price row of a model: which one it is, and what it makes of counted tokens.

use std::sync::Arc;

use serde::Serialize;

use super::{Bounds, NanoUsd, PicoUsd, Rates, Tariff};
use crate::Usage;

/// Service tiers with unit prices of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Tier {
    /// What one gets without asking.
    #[default]
    Standard,
    /// Dearer and sooner.
    Priority,
    /// Cheaper and later.
    Flex,
    /// Cheaper, within a day.
    Batch,
}

impl Tier {
    /// The bounded label.
    pub fn label(self) -> &'static str {
        match self {
            Self::Standard => "standard",
            Self::Priority => "priority",
            Self::Flex => "flex",
            Self::Batch => "batch",
        }
    }
}

/// What beside the tokens decides about a cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Terms {
    /// The tier it was served in, or is asked to be.
    pub tier: Tier,
    /// Requests or calls of a tool.
    pub requests: u64,
}

impl Default for Terms {
    fn default() -> Self {
        Self { tier: Tier::Standard, requests: 1 }
    }
}

/// The price row of one model, as it was at one time. A reservation keeps the row that it was made with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Price {
    /// What the row says it is for: a model id, with its region where the table has several; a glob.
    pub row: Arc<str>,
    /// Which edition of which table it stands in: `litellm 1.110.2 (2026-11-24)`, `file`.
    pub version: Arc<str>,
    /// Where the table has it from; empty if it does not say.
    pub source: Arc<str>,
    /// Declared to cost nothing, whatever is used.
    pub free: bool,
    /// Seconds since the Unix epoch from which it holds; for ever if there is none.
    pub valid_from: Option<u64>,
    /// Seconds since the Unix epoch from which it holds no longer.
    pub valid_until: Option<u64>,
    /// Per request or call, in pico-dollars.
    pub request: PicoUsd,
    /// Unit prices of the standard tier.
    pub standard: Tariff,
    /// Unit prices of other tiers.
    pub tiers: Box<[(Tier, Tariff)]>,
}

impl Price {
    /// A row of flat unit prices.
    pub fn flat(row: &str, version: &str, rates: Rates) -> Self {
        Self {
            row: row.into(),
            version: version.into(),
            source: "".into(),
            free: false,
            valid_from: None,
            valid_until: None,
            request: PicoUsd(0),
            standard: Tariff::flat(rates),
            tiers: Box::default(),
        }
    }

    /// A row that declares a model to cost nothing.
    pub fn free(row: &str, version: &str) -> Self {
        Self { free: true, ..Self::flat(row, version, Rates::default()) }
    }

    /// Whether it holds at a time in seconds since the Unix epoch.
    pub fn holds_at(&self, unix: u64) -> bool {
        self.valid_from.is_none_or(|from| from <= unix) && self.valid_until.is_none_or(|until| unix < until)
    }

    /// Unit prices of a tier. A cheaper tier that the row does not name costs what the standard one does; a
    /// dearer one is unknown.
    pub fn tariff(&self, tier: Tier) -> Option<&Tariff> {
        let named = self.tiers.iter().find(|(named, _)| *named == tier).map(|(_, tariff)| tariff);
        match tier {
            Tier::Priority => named,
            Tier::Standard | Tier::Flex | Tier::Batch => Some(named.unwrap_or(&self.standard)),
        }
    }

    /// The cost of `usage`, rounded up to a nano-dollar: the one function that prices a reservation and a
    /// settlement alike. `None` when input, output or the tier's prices are unknown: unknown is not zero.
    pub fn cost(&self, usage: &Usage, terms: &Terms) -> Option<NanoUsd> {
        if self.free {
            return Some(NanoUsd(0));
        }
        if !usage.is_complete() {
            return None;
        }
        let tokens = self.tariff(terms.tier)?.rates(usage.input_total()).pico(usage);
        let fees = u128::from(self.request.0).saturating_mul(u128::from(terms.requests));
        Some(NanoUsd::of_pico(tokens.saturating_add(fees)))
    }

    /// The most that any usage within `bounds` can cost: `cost` of the dearest usage under each of the unit
    /// prices that so many input tokens can reach, for a longer prompt is not always the dearer one. `None`
    /// when the tier's prices are unknown.
    pub fn upper_bound(&self, bounds: &Bounds, terms: &Terms) -> Option<NanoUsd> {
        let tariff = self.tariff(terms.tier)?;
        tariff
            .ends(bounds.input_tokens)
            .filter_map(|input| {
                let dearest = tariff.rates(input).dearest(input, bounds.output_total());
                self.cost(&dearest, terms)
            })
            .max()
    }
}
