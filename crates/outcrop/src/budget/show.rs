//! Budgets as people read them.

use std::fmt::Write;

use comfy_table::{ContentArrangement, Table, presets};
use outcrop_policy::ledger::{Amount, Dimension};
use serde_json::Value;

fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::UTF8_BORDERS_ONLY).set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header(header);
    table
}

fn word(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

/// An amount of a dimension.
pub(super) fn amount(amount: &Value, dimension: &Value) -> String {
    let dimension = serde_json::from_value(dimension.clone()).unwrap_or(Dimension::Usd);
    Amount { amount: amount.as_i64().unwrap_or(0), dimension }.to_string()
}

/// All budgets: what is left, what is blocked, when it runs out.
pub(super) fn list(answer: &Value) -> String {
    let mut table = table(&["budget", "scope", "limit", "left", "used", "in suspense", "runs out", "effect"]);
    for budget in items(&answer["budgets"]) {
        let id = word(&budget["id"]);
        let accounts = budget["accounts"].as_array().map_or(&[][..], Vec::as_slice);
        if accounts.is_empty() {
            let limit = amount(&budget["limit"], &budget["dimension"]);
            table.add_row([&*id, &*word(&budget["scope"]), &*limit, &*limit, "nothing yet", "", "", ""]);
        }
        for account in accounts {
            let show = |field: &str| amount(&account[field], &account["dimension"]);
            table.add_row([
                id.clone(),
                word(&account["scope"]),
                show("limit"),
                show("left"),
                share(account),
                show("suspense"),
                runs_out(account),
                word(&account["effect"]),
            ]);
        }
    }
    let mut text = format!("{table}\n");
    if answer["clock_frozen"] == true {
        text.push_str("The wall clock has run ahead and is not believed: `outcrop budget confirm-clock`\n");
    }
    for silent in items(&answer["silent"]) {
        let (replica, accounts) = (word(&silent["replica"]), &silent["accounts"]);
        // Writing into a string cannot fail.
        let _ = writeln!(
            text,
            "The replica {replica} has been silent since {} and holds leases of {accounts} accounts. If it never \
             comes back: `outcrop budget reconcile --replica {replica} --reason …`",
            word(&silent["heard_at"])
        );
    }
    if let Some(count @ 1..) = answer["overshoots"].as_u64() {
        // Writing into a string cannot fail.
        let _ =
            writeln!(text, "{count} attempts cost more than was reserved for them: `outcrop budget alerts`");
    }
    if let Some(more @ 1..) = answer["accounts_left_out"].as_u64() {
        let _ = writeln!(text, "{more} accounts of which less is used are not shown");
    }
    text
}

fn share(account: &Value) -> String {
    let number = |field: &str| i128::from(account[field].as_i64().unwrap_or(0));
    let tenths = number("committed") * 1000 / number("limit").max(1);
    format!("{}.{} %", tenths / 10, tenths % 10)
}

fn runs_out(account: &Value) -> String {
    match account["forecast"]["seconds"].as_i64() {
        None if account["end"].is_string() => "not in this window".to_owned(),
        None => "not at this pace".to_owned(),
        Some(..=0) => "it has".to_owned(),
        Some(seconds @ 1..3_600) => format!("in {} min", seconds / 60 + 1),
        Some(seconds @ 3_600..172_800) => format!("in {} h", seconds / 3_600),
        Some(seconds) => format!("in {} days", seconds / 86_400),
    }
}

/// One budget: its accounts with all numbers, what is in suspense, what was crossed.
pub(super) fn one(answer: &Value) -> String {
    let mut text = list(answer);
    let mut numbers =
        table(&["scope", "posted", "pending", "in suspense", "leased", "earlier", "for emergencies", "ends"]);
    for account in items(&answer["budgets"]).flat_map(|budget| items(&budget["accounts"])) {
        let show = |field: &str| amount(&account[field], &account["dimension"]);
        let fields = ["posted", "pending", "suspense", "leased", "earlier", "carve_out"].map(show);
        numbers
            .add_row([vec![word(&account["scope"])], fields.to_vec(), vec![word(&account["end"])]].concat());
    }
    let mut blocked = table(&["in suspense", "blocks", "since", "model", "path", "why"]);
    for entry in items(&answer["suspended"]) {
        let blocks: Vec<String> = items(&entry["blocks"]).map(|block| word(&block["shown"])).collect();
        let rest = ["since", "model", "path", "why"].map(|field| word(&entry[field]));
        blocked.add_row([vec![word(&entry["attempt"]), blocks.join("\n")], rest.to_vec()].concat());
    }
    let _ = write!(text, "{numbers}\n{blocked}\n{}\n", crossed(&answer["crossings"]));
    text
}

fn crossed(crossings: &Value) -> Table {
    let mut table = table(&["budget", "scope", "crossed", "at"]);
    for crossing in items(crossings) {
        table.add_row(["budget", "scope", "level", "at"].map(|field| word(&crossing[field])));
    }
    table
}

/// Crossed thresholds, what burns too fast, what cost more than was reserved for it, and what the gateway
/// itself takes too much of.
pub(super) fn alerts(answer: &Value) -> String {
    let mut burning = table(&["budget", "scope", "burns", "more than", "over"]);
    for alert in items(&answer["burning"]) {
        let burn = &alert["burn"];
        let number = |field: &str| burn[field].as_i64().unwrap_or(0);
        let times = |field: &str| format!("{}.{} times", number(field) / 10, number(field) % 10);
        let over = format!("{} min and {} min", number("long_minutes"), number("short_minutes"));
        let scopes = [word(&alert["budget"]), word(&alert["scope"])];
        burning
            .add_row([scopes.to_vec(), vec![times("long_tenths"), times("threshold_tenths"), over]].concat());
    }
    let mut over = table(&["overshoot", "reserved", "cost", "at", "key", "model", "path"]);
    for attempt in items(&answer["overshoots"]) {
        let usd = |field: &str| amount(&attempt[field], &Value::from("usd"));
        let rest = ["at", "key", "model", "path"].map(|field| word(&attempt[field]));
        over.add_row(
            [vec![word(&attempt["attempt"]), usd("bound_nusd"), usd("cost_nusd")], rest.to_vec()].concat(),
        );
    }
    let mut takes = table(&["the gateway takes of", "is", "alarms from", "since"]);
    for alarm in items(&answer["impact"]) {
        let percent = alarm["percent"].as_f64().map_or_else(|| "–".to_owned(), |p| format!("{p:.1} %"));
        let from = format!("{} %", alarm["alarm_percent"]);
        takes.add_row([word(&alarm["resource"]), percent, from, word(&alarm["since"])]);
    }
    format!("{burning}\n{}\n{over}\n{takes}\n", crossed(&answer["crossings"]))
}

/// What was spent.
pub(super) fn spend(answer: &Value) -> String {
    let by: Vec<&str> = items(&answer["by"]).filter_map(Value::as_str).collect();
    let mut header = by.clone();
    header.extend(["attempts", "spent", "in suspense", "estimated", "input tokens", "output tokens"]);
    let mut table = table(&header);
    for row in items(&answer["rows"]) {
        let usd = |field: &str| amount(&row[field], &Value::from("usd"));
        let mut cells: Vec<String> = by.iter().map(|name| word(&row[*name])).collect();
        cells.push(row["attempts"].to_string());
        cells.extend(["posted_nusd", "suspense_nusd", "estimated_nusd"].map(usd));
        cells.extend(["input_tokens", "output_tokens"].map(|field| row[field].to_string()));
        table.add_row(cells);
    }
    format!("{table}\n")
}

/// What came of evidence.
pub(super) fn reconciled(answer: &Value) -> String {
    let mut text = String::new();
    if let Some(replica) = answer["released"].as_str() {
        let _ = writeln!(text, "{replica} is given up; what it held is in suspense");
    }
    for entry in items(&answer["resolved"]) {
        let cost = amount(&entry["entry"]["cost_nusd"], &Value::from("usd"));
        let _ = writeln!(text, "{} has cost {cost}", word(&entry["corrects"]));
    }
    for refusal in items(&answer["refused"]) {
        let _ = writeln!(text, "{}: {}", word(&refusal["requestId"]), word(&refusal["message"]));
    }
    if let Some(unmatched @ 1..) = answer["unmatched"].as_u64() {
        let _ = writeln!(text, "{unmatched} records belong to nothing that is in suspense");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_list_says_what_is_left_and_when_it_runs_out() {
        let account = json!({
            "scope": "key:ci", "dimension": "usd", "limit": 100_000_000_000_i64, "left": 19_500_000_000_i64,
            "committed": 80_500_000_000_i64, "suspense": 500_000_000, "forecast": {"seconds": 10_900},
            "effect": "low priority pauses", "end": "2026-12-01T00:00:00Z",
        });
        let budgets = json!({"budgets": [{"id": "key:*/month/USD", "accounts": [account]}]});
        let shown = list(&budgets);
        for part in ["100.00 USD", "19.50 USD", "80.5 %", "0.50 USD", "in 3 h", "low priority"] {
            assert!(shown.contains(part), "{part}: {shown}");
        }
    }
}
