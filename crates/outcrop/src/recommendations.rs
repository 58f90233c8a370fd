//! `outcrop recommendations`: what the optimizer proposes, and what became of it.

use std::process::ExitCode;

use clap::Args;
use http::Method;
use serde_json::Value;

use crate::check::table;
use crate::impact::show as impact;
use crate::operator::{self, say};

/// Options of `outcrop recommendations`.
#[derive(Debug, Args)]
pub(crate) struct Recommendations {
    #[command(flatten)]
    gateway: operator::Options,
    /// Print JSON, with the evidence and the replay behind each.
    #[arg(long)]
    json: bool,
}

/// `outcrop recommendations`.
pub(crate) fn run(options: &Recommendations) -> ExitCode {
    let found = options.gateway.call(Method::GET, "/admin/v1/recommendations", None);
    say(found, options.json, show)
}

fn show(found: &Value) {
    let rows = found.as_array().map(Vec::as_slice).unwrap_or_default();
    if rows.is_empty() {
        anstream::println!("Nothing to recommend: no change promises enough, or too few requests were seen.");
        return;
    }
    let mut table = table(&["id", "operation", "change", "expected", "evidence", "state", "measured"]);
    for row in rows {
        if let Some(kind) = row["kind"].as_str() {
            table.add_row(impact::advice_row(kind, row));
            continue;
        }
        let percent = |value: &Value| value.as_f64().map(|gain| format!("{gain:+.1} %")).unwrap_or_default();
        let evidence = &row["evidence"];
        table.add_row([
            row["id"].to_string(),
            row["operation"].as_str().unwrap_or_default().to_owned(),
            change(&row["was"], &row["is"]),
            percent(&row["expected_gain_percent"]),
            format!(
                "{} requests, {:.0} ms, {:.6} USD each",
                evidence["samples"],
                evidence["time_us"].as_f64().unwrap_or(0.0) / 1e3,
                evidence["cost_nusd"].as_f64().unwrap_or(0.0) / 1e9
            ),
            row["stage"].as_str().unwrap_or_default().to_owned(),
            percent(&row["measured_gain_percent"]),
        ]);
    }
    anstream::println!("{table}");
}

fn change(was: &Value, is: &Value) -> String {
    let word = |value: &Value| match value {
        Value::String(word) => word.clone(),
        other => other.as_object().and_then(|o| o.values().next()?.as_str()).unwrap_or_default().to_owned(),
    };
    let order = |setting: &Value| {
        setting["order"].as_array().into_iter().flatten().map(word).collect::<Vec<_>>().join(", ")
    };
    if was["strategy"] == is["strategy"] {
        format!("order {} -> {}", order(was), order(is))
    } else {
        format!("strategy {} -> {}", word(&was["strategy"]), word(&is["strategy"]))
    }
}
