//! A decision for people: what was asked, which targets there were, and what came of it.

use serde_json::Value;

use crate::check::table;

/// A described request that was decided.
pub(super) fn explained(explained: &Value) {
    record(&explained["decision"]);
    if let Some(message) = explained["refused"]["message"].as_str() {
        let code = explained["refused"]["code"].as_str().unwrap_or_default();
        anstream::println!("\nIt would be refused ({code}): {message}");
    }
}

/// A record.
pub(super) fn record(decision: &Value) {
    let text = |field: &str| decision[field].as_str().unwrap_or_default();
    let mode = if decision["stream"] == true { "streamed" } else { "whole" };
    anstream::println!(
        "model {}, {mode}; operation {} ({}), deadline {} ms; snapshot {}, decided in {} us",
        text("model"),
        text("operation"),
        text("priority"),
        decision["deadline_ms"],
        decision["snapshot"],
        decision["decided_in_ns"].as_u64().unwrap_or(0) / 1000,
    );
    if let Some(stand_in) = decision["stand_in"].as_str() {
        anstream::println!("{stand_in} stood in, because a budget was nearly used up");
    }
    let basis = &decision["basis"];
    if basis.is_object() {
        let strategy = basis["strategy"].as_str().unwrap_or_default();
        let left = basis["remaining_us"].as_u64().unwrap_or(0) / 1000;
        anstream::println!("strategy {strategy}, {left} ms left{}{}", residency(basis), mode_word(basis));
    }
    anstream::println!("{}", candidates(decision));
    if decision["attempts"].as_array().is_some_and(|attempts| !attempts.is_empty()) {
        anstream::println!("{}", attempts(decision));
    }
    outcome(&decision["outcome"]);
}

fn residency(basis: &Value) -> String {
    basis["residency"]
        .as_str()
        .map(|place| format!(", must stay in the {}", place.to_uppercase()))
        .unwrap_or_default()
}

fn mode_word(basis: &Value) -> &'static str {
    match basis["mode"].as_str() {
        Some("lone") => "; one target is legal, so it is asked whatever its health",
        Some("panic") => "; no legal target serves, so one of them is asked, once",
        _ => "",
    }
}

fn candidates(decision: &Value) -> comfy_table::Table {
    let mut table =
        table(&["order", "target", "why not", "breaker", "expected", "success", "in flight", "cost"]);
    let mut rows: Vec<&Value> = decision["candidates"].as_array().into_iter().flatten().collect();
    rows.sort_by_key(|candidate| candidate["rank"].as_u64().unwrap_or(u64::MAX));
    for candidate in rows {
        let standing = &candidate["standing"];
        let order = candidate["rank"].as_u64().map(|rank| (rank + 1).to_string()).unwrap_or_default();
        let success = standing["success_permille"].as_f64().map(|share| format!("{:.1} %", share / 10.0));
        table.add_row([
            order,
            candidate["target"].as_str().unwrap_or_default().to_owned(),
            candidate["excluded"].as_str().unwrap_or_default().to_owned(),
            standing["state"].as_str().unwrap_or_default().to_owned(),
            standing["expected_us"].as_f64().map(ms).unwrap_or_default(),
            success.unwrap_or_default(),
            standing["in_flight"].as_u64().map(|n| n.to_string()).unwrap_or_default(),
            candidate["expected_nusd"].as_f64().map(usd).unwrap_or_default(),
        ]);
    }
    table
}

fn attempts(decision: &Value) -> comfy_table::Table {
    let mut table = table(&["attempt", "target", "began", "took", "end"]);
    for (number, attempt) in (1..).zip(decision["attempts"].as_array().into_iter().flatten()) {
        let failed = &attempt["failed"];
        let end = match failed["reason"].as_str() {
            Some(reason) => format!("{reason} ({})", failed["class"].as_str().unwrap_or_default()),
            None => "answered".to_owned(),
        };
        table.add_row([
            number.to_string(),
            attempt["target"].as_str().unwrap_or_default().to_owned(),
            attempt["started_us"].as_f64().map(ms).unwrap_or_default(),
            attempt["took_us"].as_f64().map(ms).unwrap_or_default(),
            end,
        ]);
    }
    table
}

fn outcome(outcome: &Value) {
    if !outcome.is_object() {
        return;
    }
    let code = outcome["code"].as_str().map(|code| format!(" ({code})")).unwrap_or_default();
    let cost = outcome["cost_nusd"].as_f64().map_or_else(|| "unknown".to_owned(), usd);
    anstream::println!(
        "ended {}{code} after {}; cost {cost}; deadline {}",
        outcome["label"].as_str().unwrap_or_default(),
        outcome["total_us"].as_f64().map(ms).unwrap_or_default(),
        if outcome["deadline_met"] == true { "met" } else { "missed" },
    );
}

/// Microseconds as milliseconds.
pub(crate) fn ms(us: f64) -> String {
    format!("{:.1} ms", us / 1000.0)
}

/// Nano-dollars as dollars.
pub(crate) fn usd(nusd: f64) -> String {
    format!("{:.6} USD", nusd / 1e9)
}
