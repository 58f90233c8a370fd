//! `outcrop check --prices`: what every target costs, and who says so.

use std::process::ExitCode;

use outcrop_core::money::{Price, Rates, Tariff};
use outcrop_policy::price::Catalogue;
use outcrop_policy::route::{Routes, TargetSpec, target_name};
use rust_decimal::Decimal;
use serde_json::{Value, json};

use super::table;
use crate::config::Checked;
use crate::config::prices::FILE;

/// Prints the prices in force: for people as tables, for programs as JSON.
pub(crate) fn run(checked: &Checked, as_json: bool) -> ExitCode {
    let routes = &checked.routes;
    let catalogue = routes.prices.catalogue();
    if as_json {
        let targets: Vec<Value> = priced(routes).map(|(spec, price)| one(spec, price)).collect();
        let origin = catalogue.map(Catalogue::origin);
        let rows = catalogue.map(Catalogue::rows);
        anstream::println!("{:#}", json!({"catalogue": origin, "catalogue_rows": rows, "targets": targets}));
        return ExitCode::SUCCESS;
    }
    anstream::println!("Prices in force, in USD per million tokens");
    anstream::println!("{}", in_force(routes));
    if let Some(catalogue) = catalogue {
        let origin = catalogue.origin();
        anstream::println!(
            "\nCatalogue inside: {} {} ({}), taken on {}, {} rows, licence {}. [[price]] rows win over it.",
            origin.name,
            origin.version,
            origin.table,
            origin.date,
            catalogue.rows(),
            origin.licence
        );
    }
    ExitCode::SUCCESS
}

/// Targets and their prices, each once though several models may share it; those that stand for raw ids have
/// none before they are asked for.
fn priced(routes: &Routes) -> impl Iterator<Item = (&TargetSpec, &Price)> {
    let same =
        |one: &TargetSpec, other: &TargetSpec| one.path == other.path && one.model_id == other.model_id;
    let first =
        move |n: usize, spec: &TargetSpec| !routes.targets.iter().take(n).any(|other| same(other, spec));
    let targets = routes.targets.iter().enumerate().filter(move |(n, spec)| first(*n, spec));
    targets.filter_map(|(_, spec)| Some((spec, spec.price.as_deref()?)))
}

fn in_force(routes: &Routes) -> comfy_table::Table {
    let mut table = table(&[
        "target",
        "input",
        "output",
        "cache read",
        "write 5m",
        "write 1h",
        "reasoning",
        "request",
        "said by",
    ]);
    for (spec, price) in priced(routes) {
        let mut head = vec![target_name(&spec.path, &spec.model_id)];
        head.extend(if price.free { vec!["free".to_owned(); 6] } else { cells(price.standard.base()) });
        head.extend([request(price), said_by(price)]);
        table.add_row(head);
        for (what, rates) in other_rates(price) {
            let mut row = vec![format!("  {what}")];
            row.extend(cells(rates));
            row.resize(9, String::new());
            table.add_row(row);
        }
    }
    table
}

/// Prices of longer prompts and of other tiers.
fn other_rates(price: &Price) -> Vec<(String, &Rates)> {
    let mut found = bands("", &price.standard);
    for (tier, tariff) in &price.tiers {
        found.push((tier.label().to_owned(), tariff.base()));
        found.extend(bands(tier.label(), tariff));
    }
    found
}

fn bands<'a>(tier: &str, tariff: &'a Tariff) -> Vec<(String, &'a Rates)> {
    let shown = |above: u64| format!("{tier} above {above}").trim_start().to_owned();
    tariff.bands().iter().map(|band| (shown(band.above), &band.rates)).collect()
}

fn cells(rates: &Rates) -> Vec<String> {
    let Rates { input, output, cache_read, cache_write, cache_write_1h, reasoning } = *rates;
    [input, output, cache_read, cache_write, cache_write_1h, reasoning]
        .map(|price| price.to_string())
        .to_vec()
}

/// Dollars for each request.
fn request(price: &Price) -> String {
    if price.request.0 == 0 {
        return "-".to_owned();
    }
    let usd = Decimal::from_i128_with_scale(i128::from(price.request.0), 12);
    format!("{} USD", usd.normalize())
}

fn said_by(price: &Price) -> String {
    if &*price.version == FILE {
        return format!("[[price]] {}", price.row);
    }
    format!("{}: {}\n{}", price.version, price.row, price.source).trim_end().to_owned()
}

fn one(spec: &TargetSpec, price: &Price) -> Value {
    json!({
        "target": target_name(&spec.path, &spec.model_id),
        "path": spec.path,
        "kind": spec.kind,
        "region": spec.region,
        "enabled": spec.enabled,
        "output_tokens_max": spec.output_tokens_max,
        "from": if &*price.version == FILE { "file" } else { "catalogue" },
        "price": price,
    })
}
