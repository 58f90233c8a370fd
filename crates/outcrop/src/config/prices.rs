//! Checks of `[[price]]`, and the catalogue behind the rows.

use std::sync::Arc;

use outcrop_core::money::{Band, PicoUsd, Price, Rates, Tariff, Tier};
use outcrop_policy::price::{Catalogue, FileRow, PriceBook};
use toml::Spanned;

use super::check::Findings;
use super::problem::nearest;
use super::text::Text;
use super::{raw, units};

/// The version of a price that stands in the file.
pub(crate) const FILE: &str = "file";

/// All rows that hold at `unix` or will, over the catalogue that ships.
pub(crate) fn book(raw: &raw::Config, unix: u64, findings: &mut Findings) -> PriceBook {
    let catalogue = match Catalogue::shipped() {
        Ok(catalogue) => Some(catalogue),
        Err(error) => {
            findings.add(0..0, error.to_string(), "this binary is broken; build it anew");
            None
        }
    };
    let rows = raw.price.iter().map(|row| file_row(row, raw, unix, findings)).collect();
    PriceBook::new(rows, catalogue)
}

/// What to do about a model without a price.
pub(crate) fn hint(id: &str) -> String {
    format!(
        "add a [[price]] with model = \"{id}\" and input and output as \"3.30 USD/Mtok\", or with free = true if it \
         costs nothing"
    )
}

/// A row with problems still names its model, so that nothing is told twice.
fn file_row(row: &raw::Price, raw: &raw::Config, unix: u64, findings: &mut Findings) -> FileRow {
    let model = row.model.get_ref();
    if model.is_empty() {
        findings.add(row.model.span(), "a price names a model", "write its id, or `*` for any");
    }
    if let Some(path) = &row.path {
        known_path(path, raw, findings);
    }
    let price = if row.free == Some(true) {
        without_prices(row, findings);
        Price::free(model, FILE)
    } else {
        priced(row, findings)
    };
    let (valid_from, valid_until) = validity(row, unix, findings);
    FileRow {
        model: model.0.clone().into_boxed_str(),
        path: row.path.as_ref().map(|path| path.get_ref().0.clone().into_boxed_str()),
        price: Arc::new(Price { valid_from, valid_until, ..price }),
    }
}

fn known_path(path: &Spanned<Text>, raw: &raw::Config, findings: &mut Findings) {
    let names = || raw.path.iter().map(|row| &**row.name.get_ref());
    let name = &**path.get_ref();
    if !names().any(|known| known == name) {
        let hint = nearest(name, names()).map(|near| format!("did you mean `{near}`?"));
        findings.add(path.span(), format!("there is no path `{name}`"), hint.unwrap_or_default());
    }
}

/// What is free has no prices.
fn without_prices(row: &raw::Price, findings: &mut Findings) {
    let texts = [
        &row.input,
        &row.output,
        &row.cache_read,
        &row.cache_write,
        &row.cache_write_1h,
        &row.reasoning,
        &row.request,
    ];
    let texts = texts.into_iter().flatten().map(Spanned::span);
    let tiers = [&row.priority, &row.flex].into_iter().flatten().map(Spanned::span);
    let spans = texts.chain(row.above.as_ref().map(Spanned::span)).chain(tiers);
    if let Some(span) = spans.min_by_key(|span| span.start) {
        findings.add(span, "what is free has no prices", "leave out `free`, or all prices");
    }
}

fn priced(row: &raw::Price, findings: &mut Findings) -> Price {
    let model = row.model.get_ref();
    let (Some(input), Some(output)) = (&row.input, &row.output) else {
        let message = format!("the price of `{}` needs `input` and `output`", &**model);
        findings.add(row.model.span(), message, "write them as \"3.30 USD/Mtok\", or free = true");
        return Price::free(model, FILE);
    };
    let cache = [&row.cache_read, &row.cache_write, &row.cache_write_1h];
    let base = Written { input, output, cache, reasoning: &row.reasoning }.rates(findings);
    let band = row.above.as_ref().map(|above| {
        let above = above.get_ref();
        Band { above: above.tokens, rates: Written::from(above).rates(findings) }
    });
    let tiers = [(Tier::Priority, &row.priority), (Tier::Flex, &row.flex)];
    let tiers = tiers.into_iter().filter_map(|(tier, prices)| {
        let prices = Written::from(prices.as_ref()?.get_ref());
        Some((tier, Tariff::flat(prices.rates(findings))))
    });
    let tiers = tiers.collect();
    let request = row.request.as_ref();
    let request = request
        .map_or(PicoUsd(0), |text| findings.take(text.span(), units::amount(text.get_ref()), PicoUsd(0)));
    let standard = Tariff::new(base, band.into_iter().collect());
    Price { standard, tiers, request, ..Price::flat(model, FILE, base) }
}

/// `numerator`/`denominator` of a unit price, rounded up.
fn share(price: PicoUsd, numerator: u64, denominator: u64) -> PicoUsd {
    PicoUsd(price.0.saturating_mul(numerator).div_ceil(denominator))
}

/// Unit prices as they are written, wherever they stand.
struct Written<'a> {
    input: &'a Spanned<Text>,
    output: &'a Spanned<Text>,
    /// Read, written for five minutes, written for an hour.
    cache: [&'a Option<Spanned<Text>>; 3],
    reasoning: &'a Option<Spanned<Text>>,
}

impl<'a> From<&'a raw::Above> for Written<'a> {
    fn from(raw: &'a raw::Above) -> Self {
        let cache = [&raw.cache_read, &raw.cache_write, &raw.cache_write_1h];
        Self { input: &raw.input, output: &raw.output, cache, reasoning: &raw.reasoning }
    }
}

impl<'a> From<&'a raw::TierPrices> for Written<'a> {
    fn from(raw: &'a raw::TierPrices) -> Self {
        let cache = [&raw.cache_read, &raw.cache_write, &raw.cache_write_1h];
        Self { input: &raw.input, output: &raw.output, cache, reasoning: &raw.reasoning }
    }
}

impl Written<'_> {
    fn rates(&self, findings: &mut Findings) -> Rates {
        let mut one =
            |text: &Spanned<Text>| findings.take(text.span(), units::price(text.get_ref()), PicoUsd(0));
        let base = Rates::of(one(self.input), one(self.output));
        let mut or = |text: &Option<Spanned<Text>>, or: PicoUsd| text.as_ref().map_or(or, &mut one);
        let [read, write, write_1h] = self.cache;
        // Leaning up: what Anthropic and Bedrock ask for, where a row says nothing.
        let cache_write = or(write, share(base.input, 5, 4));
        Rates {
            cache_read: or(read, base.cache_read),
            cache_write,
            cache_write_1h: or(write_1h, cache_write.max(share(base.input, 2, 1))),
            reasoning: or(self.reasoning, base.reasoning),
            ..base
        }
    }
}

/// From when and until when a row holds; one that has expired is a problem.
fn validity(row: &raw::Price, unix: u64, findings: &mut Findings) -> (Option<u64>, Option<u64>) {
    let mut day = |text: &Option<Spanned<Text>>| {
        let text = text.as_ref()?;
        findings.take(text.span(), units::day(text.get_ref()).map(Some), None)
    };
    let from = day(&row.valid_from).map(|(begin, _)| begin);
    let until = day(&row.valid_until).map(|(_, end)| end);
    let span = row.valid_until.as_ref().map_or(0..0, Spanned::span);
    if until.is_some_and(|end| end <= unix) {
        findings.add(span, "this price has expired", "write the price that holds, or take the row out");
        return (from, None);
    }
    if from.zip(until).is_some_and(|(from, until)| until <= from) {
        findings.add(span, "`valid_until` is before `valid_from`", "");
    }
    (from, until)
}

#[cfg(test)]
mod tests;
